//! From outside: who is admitted, and what everybody else is told.

use std::sync::Arc;

use reveille_sim::phone::RawSip;
use reveille_sip::Name;
use reveille_sip_net::StaticResolver;

use crate::rig::*;

const PROVIDER: &str = "sipfed.online.example";

#[tokio::test]
async fn each_stranger_has_its_own_status_and_diagnosis() {
    let rows = [
        allowed("direct.example", Some("edge.direct.example")),
        allowed("plain.example", None),
        blocked("bad.example"),
    ];
    let mut border = Border::start(settings(rows), StaticResolver::new()).await;
    for (certificate, from, to, status, diagnosis, reason) in [
        ("plain.example", "direct.example", "push.example.net", 403, "1010", "certificate-names-another"),
        // A direct partner must show the ProxyFqdn, not its domain.
        ("direct.example", "direct.example", "push.example.net", 403, "1010", "certificate-names-another"),
        ("edge.direct.example", "plain.example", "push.example.net", 403, "1010", "certificate-names-another"),
        ("stranger.example", "stranger.example", "push.example.net", 403, "90103", "domain-not-allowed"),
        ("bad.example", "bad.example", "push.example.net", 403, "90102", "domain-blocked"),
        ("plain.example", "plain.example", "other.example", 404, "1005", "unknown-destination"),
    ] {
        let mut peer = border.partner(certificate).await;
        let answer = peer.send_and_wait(request(from, to, 1), PATIENCE).await.unwrap();
        assert_eq!(told(&answer), (status, Some(diagnosis), None), "{certificate} for {from} to {to}");
        assert_eq!(border.latest_refusal(), Some(reason));
        assert!(answer.header(Name::Warning).is_some_and(|warning| !warning.contains(EDGE)));
    }
    assert!(border.house.saw_nothing());
    // And the same edge lets in who may come.
    for (certificate, from, source) in [
        ("edge.direct.example", "direct.example", "DirectPartner"),
        ("plain.example", "plain.example", "AutoFederation"),
    ] {
        let mut peer = border.partner(certificate).await;
        peer.send(request(from, "push.example.net", 2), PATIENCE).await.unwrap();
        let came = border.house.answer(202).await;
        assert!(came.header(Name::EdgeTrust).unwrap().starts_with(&format!("ms-source-type={source};")));
        assert_eq!(peer.next(PATIENCE).await.unwrap().status(), Some(202));
    }
    border.end().await;
}

#[tokio::test]
async fn a_from_without_a_domain_proves_nothing() {
    let border = Border::start(settings([allowed("plain.example", None)]), StaticResolver::new()).await;
    let mut peer = border.partner("plain.example").await;
    let nobody = String::from_utf8(request("plain.example", "push.example.net", 1).to_vec()).unwrap();
    let answer = peer.send_and_wait(nobody.replace("mcx@plain.example", "mcx@192.0.2.1"), PATIENCE).await.unwrap();
    assert_eq!((answer.status(), border.latest_refusal()), (Some(400), Some("bad-from")));
    border.end().await;
}

#[tokio::test]
async fn who_shows_no_certificate_does_not_come_in_at_all() {
    let border = Border::start(settings([allowed("plain.example", None)]), StaticResolver::new()).await;
    // In TLS 1.3 the client hears of it after its own handshake.
    let refused = match RawSip::tls(border.external, &border.office.nobody(), EDGE).await {
        Ok(mut peer) => peer.send_and_wait(request("plain.example", "push.example.net", 1), PATIENCE).await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    let noticed = async {
        while border.edge.refusals().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, noticed).await.expect("the refusal is remembered");
    border.end().await;
}

#[tokio::test]
async fn a_change_of_settings_counts_for_the_next_message_of_an_open_connection() {
    let partner = allowed("plain.example", None);
    let mut border = Border::start(settings([partner.clone()]), StaticResolver::new()).await;
    let mut peer = border.partner("plain.example").await;
    let mut number = 0;
    let mut next = || {
        number += 1;
        request("plain.example", "push.example.net", number)
    };
    peer.send(next(), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    assert_eq!(peer.next(PATIENCE).await.unwrap().status(), Some(202));
    border.change(federation(false));
    let answer = peer.send_and_wait(next(), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("90104"), None));
    border.change(federation(true));
    border.remove(&partner);
    let answer = peer.send_and_wait(next(), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("90103"), None));
    border.change(blocked("plain.example"));
    let answer = peer.send_and_wait(next(), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("90102"), None));
    border.remove(&blocked("plain.example"));
    border.change(partner);
    peer.send(next(), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    assert_eq!(peer.next(PATIENCE).await.unwrap().status(), Some(202));
    border.end().await;
}

/// Settings in which a provider carries two domains, and names of which only one leads to it.
fn hosted() -> (reveille_core::settings::Snapshot, StaticResolver) {
    let rows = [allowed("carried.example", None), allowed("other.example", None), provider(PROVIDER, true)];
    let names = srv(StaticResolver::new(), "carried.example", PROVIDER, 5061);
    (settings(rows), srv(names, "other.example", "edge.other.example", 5061))
}

#[tokio::test]
async fn a_hosting_provider_speaks_only_for_domains_whose_srv_record_leads_to_it() {
    let (settings, names) = hosted();
    let mut border = Border::start(settings, names).await;
    let mut peer = border.partner(PROVIDER).await;
    peer.send(request("carried.example", "push.example.net", 1), PATIENCE).await.unwrap();
    let came = border.house.answer(202).await;
    let trust = came.header(Name::EdgeTrust).unwrap();
    assert!(trust.starts_with("ms-source-type=AuthorizedServer;"), "{trust}");
    assert!(trust.contains("ms-source-verified-user=verified;"), "{trust}");
    assert_eq!(peer.next(PATIENCE).await.unwrap().status(), Some(202));
    let answer = peer.send_and_wait(request("other.example", "push.example.net", 2), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("1010"), None));
    // Switched off, it is nobody.
    border.change(provider(PROVIDER, false));
    let answer = peer.send_and_wait(request("carried.example", "push.example.net", 3), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("1010"), None));
    border.end().await;
}

#[tokio::test]
async fn a_providers_first_burst_waits_for_one_look_up_and_comes_in_order() {
    let (settings, names) = hosted();
    let names = Slow::new(names);
    let mut border = Border::asking(settings, Arc::clone(&names) as _).await;
    let mut peer = border.partner(PROVIDER).await;
    let burst: Vec<u8> = (1..=600).flat_map(|n| request("carried.example", "push.example.net", n)).collect();
    peer.send(&burst, PATIENCE).await.unwrap();
    names.asked().await;
    names.answer(1);
    for number in 1..=600 {
        let came = border.house.answer(202).await;
        assert_eq!(came.cseq().unwrap().number, number);
        assert_eq!(peer.next(PATIENCE).await.unwrap().status(), Some(202));
    }
    assert_eq!((names.is_asked_again(), border.latest_refusal()), (false, None));
    border.end().await;
}

#[tokio::test]
async fn a_provider_that_is_switched_off_during_the_look_up_is_not_let_in() {
    let (settings, names) = hosted();
    let names = Slow::new(names);
    let mut border = Border::asking(settings, Arc::clone(&names) as _).await;
    let mut peer = border.partner(PROVIDER).await;
    peer.send(request("carried.example", "push.example.net", 1), PATIENCE).await.unwrap();
    names.asked().await;
    border.change(provider(PROVIDER, false));
    names.answer(9);
    let answer = peer.next(PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("1010"), None));
    assert!(border.house.saw_nothing());
    border.end().await;
}

#[tokio::test]
async fn a_partner_may_ask_whether_the_edge_lives() {
    let border = Border::start(settings([]), StaticResolver::new()).await;
    let mut peer = border.partner("stranger.example").await;
    let ping = String::from_utf8(request("stranger.example", EDGE, 1).to_vec()).unwrap().replace("MESSAGE", "OPTIONS");
    let answer = peer.send_and_wait(ping, PATIENCE).await.unwrap();
    assert_eq!(answer.status(), Some(200));
    assert!(answer.header(Name::Allow).is_some_and(|allow| allow.contains("MESSAGE") && allow.contains("INVITE")));
    border.end().await;
}
