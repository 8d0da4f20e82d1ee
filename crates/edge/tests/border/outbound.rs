//! From inside: which way a message for another domain takes, and whom it must meet there.

use std::net::SocketAddr;
use std::sync::Arc;

use reveille_federation::message::respond;
use reveille_sip::{Message, Name};
use reveille_sip_net::StaticResolver;

use crate::rig::*;

const PROVIDER: &str = "sipfed.online.example";

/// What goes out, and what the inside hears: the message as it came there, and the answer.
async fn sent(border: &Border, beyond: &mut Beyond, to: &str) -> (Message, Option<u16>) {
    let mut house = border.insider(HOUSE).await;
    let brought = [(Name::EdgeTrust, "ms-source-type=DirectPartner")];
    house.send(request_with("push.example.net", to, 1, 70, &brought), PATIENCE).await.unwrap();
    let came = beyond.answer(200).await;
    (came, house.next(PATIENCE).await.unwrap().status())
}

#[tokio::test]
async fn the_documents_recipe_a_provider_without_a_domain_and_a_domain_without_a_proxy() {
    let at = partner_address();
    let rows = [allowed("contoso.com", None), provider(PROVIDER, true)];
    // The provider is reached on 5061, whatever the record says.
    let names = srv(StaticResolver::new(), "contoso.com", PROVIDER, 443).host(PROVIDER, at.ip());
    let border = Border::start(settings(rows), names).await;
    let mut beyond = Beyond::start(&border.office, PROVIDER, at);
    let (came, status) = sent(&border, &mut beyond, "contoso.com").await;
    assert_eq!(status, Some(200));
    assert_eq!((came.header(Name::EdgeTrust), came.max_forwards()), (None, Some(69)), "no trust leaves the house");
    // The same connection serves the next one, and from the moment it is switched off, nothing.
    border.change(provider(PROVIDER, false));
    let mut house = border.insider(HOUSE).await;
    let answer = house.send_and_wait(request("push.example.net", "contoso.com", 2), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (504, None, Some("1009")));
    assert!(beyond.saw_nothing());
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn an_allowed_domain_with_a_proxy_is_reached_there_without_asking_for_srv() {
    let at = partner_address();
    let names = {
        // A record that leads elsewhere is not looked at.
        srv(StaticResolver::new(), "contoso.com", "edge.elsewhere.example", 5061).host("edge.contoso.com", at.ip())
    };
    let border = Border::start(settings([allowed("contoso.com", Some("edge.contoso.com"))]), names).await;
    let mut beyond = Beyond::start(&border.office, "edge.contoso.com", at);
    assert_eq!(sent(&border, &mut beyond, "contoso.com").await.1, Some(200));
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn an_srv_target_in_the_same_domain_is_reached_at_its_port_and_must_name_the_domain() {
    let at = SocketAddr::new(partner_address().ip(), 5071);
    let names = { srv(StaticResolver::new(), "contoso.com", "sip.contoso.com", 5071).host("sip.contoso.com", at.ip()) };
    let border = Border::start(settings([allowed("contoso.com", None)]), names).await;
    // One that shows only its host's name is not believed, and is told nothing.
    let mut host = Beyond::start(&border.office, "sip.contoso.com", at);
    let mut house = border.insider(HOUSE).await;
    let answer = house.send_and_wait(request("push.example.net", "contoso.com", 1), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (504, None, Some("1010")));
    assert!(host.saw_nothing());
    host.end().await;
    let mut right = Beyond::start(&border.office, "contoso.com", at);
    // The failed attempt is remembered for a moment; the answer says to come again until then.
    let came = async {
        loop {
            house.send(request("push.example.net", "contoso.com", 2), PATIENCE).await.unwrap();
            tokio::select! {
                (flow, came) = right.next() => {
                    flow.send(respond(&came, 200, "right", |_| {})).unwrap();
                    break;
                }
                refused = house.next(PATIENCE) => assert_eq!(refused.unwrap().status(), Some(504)),
            }
        }
    };
    tokio::time::timeout(PATIENCE, came).await.expect("the right one is reached");
    border.end().await;
    right.end().await;
}

#[tokio::test]
async fn ways_that_lead_nowhere_are_told_inside_with_their_remedy() {
    let rows = [
        allowed("elsewhere.example", None),
        allowed("unlisted.example", None),
        allowed("homeless.example", Some("edge.homeless.example")),
        blocked("bad.example"),
    ];
    let names = srv(StaticResolver::new(), "elsewhere.example", "edge.evil.example", 5061);
    let border = Border::start(settings(rows), names).await;
    let mut house = border.insider(HOUSE).await;
    for (number, to, status, diagnosis, part) in [
        (1, "elsewhere.example", 504, "1009", "leads to edge.evil.example"),
        (2, "unlisted.example", 504, "1008", "_sipfederationtls._tcp"),
        (3, "homeless.example", 504, "1014", "has no address"),
        (4, "stranger.example", 403, "90103", "New-CsAllowedDomain -Identity stranger.example"),
        (5, "bad.example", 403, "90102", "Remove-CsBlockedDomain -Identity bad.example"),
    ] {
        let answer = house.send_and_wait(request("push.example.net", to, number), PATIENCE).await.unwrap();
        assert_eq!(told(&answer), (status, None, Some(diagnosis)), "{to}");
        let said = answer.header(Name::MsDiagnostics).unwrap();
        assert!(said.contains(part) && said.contains("source=\"edge.push.example.net\""), "{said}");
    }
    let not_found = border.edge.border().not_found;
    let not_found: Vec<_> = not_found.iter().map(|one| (one.domain.as_str(), one.last_error.reason)).collect();
    let expected = [
        ("elsewhere.example", "srv-names-another"),
        ("homeless.example", "address-not-found"),
        ("unlisted.example", "srv-not-found"),
    ];
    assert_eq!(not_found, expected);
    border.change(federation(false));
    let answer = house.send_and_wait(request("push.example.net", "unlisted.example", 6), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, None, Some("90104")));
    border.end().await;
}

#[tokio::test]
async fn only_configured_servers_may_use_the_inner_side() {
    let at = partner_address();
    let names = StaticResolver::new().host("edge.contoso.com", at.ip());
    let border = Border::start(settings([allowed("contoso.com", Some("edge.contoso.com"))]), names).await;
    let mut beyond = Beyond::start(&border.office, "edge.contoso.com", at);
    let mut stranger = border.insider("edge.contoso.com").await;
    let answer = stranger.send_and_wait(request("push.example.net", "contoso.com", 1), PATIENCE).await.unwrap();
    assert_eq!(told(&answer).0, 403);
    assert_eq!(border.latest_refusal(), Some("forged-trust"));
    assert!(beyond.saw_nothing());
    // One that is listed by name may, and so may the servers behind the edge.
    for (number, name) in [(2, "console.push.example.net"), (3, HOUSE)] {
        let mut ours = border.insider(name).await;
        ours.send(request("push.example.net", "contoso.com", number), PATIENCE).await.unwrap();
        beyond.answer(200).await;
        assert_eq!(ours.next(PATIENCE).await.unwrap().status(), Some(200));
    }
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn a_partner_answers_and_asks_on_the_connection_that_we_made() {
    let at = partner_address();
    let names = StaticResolver::new().host("edge.contoso.com", at.ip());
    let mut border = Border::start(settings([allowed("contoso.com", Some("edge.contoso.com"))]), names).await;
    let mut beyond = Beyond::start(&border.office, "edge.contoso.com", at);
    let mut house = border.insider(HOUSE).await;
    house.send(request("push.example.net", "contoso.com", 1), PATIENCE).await.unwrap();
    let (flow, asked) = beyond.next().await;
    flow.send(respond(&asked, 200, "contoso", |_| {})).unwrap();
    assert_eq!(house.next(PATIENCE).await.unwrap().status(), Some(200));
    // A request that comes back on it is admitted by the certificate that the partner showed as a server.
    flow.send(request("contoso.com", "push.example.net", 2)).unwrap();
    let came = border.house.answer(202).await;
    assert!(came.header(Name::EdgeTrust).unwrap().contains("ms-remote-fqdn=edge.contoso.com"));
    assert_eq!(beyond.next().await.1.status(), Some(202));
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn what_waits_for_a_look_up_goes_by_the_settings_that_hold_when_it_ends() {
    let contoso = allowed("contoso.com", None);
    let names = Slow::new(srv(StaticResolver::new(), "contoso.com", "edge.contoso.com", 5061));
    let border = Border::asking(settings([contoso.clone()]), Arc::clone(&names) as _).await;
    let mut house = border.insider(HOUSE).await;
    house.send(request("push.example.net", "contoso.com", 1), PATIENCE).await.unwrap();
    names.asked().await;
    border.remove(&contoso);
    border.change(blocked("contoso.com"));
    names.answer(9);
    let answer = house.next(PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, None, Some("90102")));
    border.end().await;
}
