//! The settings of the border on real connections: default route, clearing house, discovery, levels, and who is refused
//! with what.

use std::sync::Arc;
use std::time::Duration;

use reveille_core::settings::{RoutingMethod, Setting, Unasserted, VerificationLevel};
use reveille_edge::{Limits, State};
use reveille_federation::message;
use reveille_sip::{Message, Name};
use reveille_sip_net::StaticResolver;

use crate::rig::*;

const VERIFIED: &str = "ms-source-verified-user=verified";
const UNVERIFIED: &str = "ms-source-verified-user=unverified";

fn trust(message: &Message) -> &str {
    message.header(Name::EdgeTrust).unwrap_or_default()
}

fn assertion(message: &Message) -> Option<&str> {
    message.header(Name::AssertedVerification)
}

#[tokio::test]
async fn the_recipe_of_ocs_2007_r2_one_direct_partner_on_an_empty_store() {
    let at = partner_address();
    let names = StaticResolver::new().host("sipfed.online.lync.com", at.ip());
    let border = Border::start(settings([allowed("push.lync.com", Some("sipfed.online.lync.com"))]), names).await;
    let mut beyond = Beyond::start(&border.office, "sipfed.online.lync.com", at);
    let mut house = border.insider(HOUSE).await;
    house.send(request("push.example.net", "push.lync.com", 1), PATIENCE).await.unwrap();
    let came = beyond.answer(202).await;
    // Nothing of our inside leaves; what we say of our user does.
    assert_eq!((trust(&came), assertion(&came)), ("", Some(VERIFIED)));
    let answer = house.next(PATIENCE).await.unwrap();
    assert_eq!(answer.status(), Some(202));
    assert_eq!(
        trust(&answer),
        "ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;ms-source-verified-user=unverified;\
         ms-source-network=federation;ms-remote-fqdn=sipfed.online.lync.com"
    );
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn everything_that_is_not_ours_goes_by_the_default_route() {
    let at = partner_address();
    let names = StaticResolver::new().host("route.example", at.ip());
    let edge = access_edge(|record| {
        record.routing_method = RoutingMethod::UseDefaultRouting;
        record.default_route_fqdn = Some(domain("route.example"));
        record.verification_level = Some(VerificationLevel::AlwaysVerifiable);
        record.is_public_provider = true;
    });
    let mut border = Border::start(settings([edge, blocked("bad.example")]), names).await;
    let mut beyond = Beyond::start(&border.office, "route.example", at);
    let mut house = border.insider(HOUSE).await;
    for (number, to) in [(1, "anybody.example"), (2, "else.example")] {
        house.send(request("push.example.net", to, number), PATIENCE).await.unwrap();
        beyond.answer(200).await;
        assert_eq!(house.next(PATIENCE).await.unwrap().status(), Some(200), "{to}");
    }
    let answer = house.send_and_wait(request("push.example.net", "bad.example", 3), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, None, Some("90102")));
    // And it speaks for everybody, except for us.
    let mut route = border.partner("route.example").await;
    route.send(request("anybody.example", "push.example.net", 4), PATIENCE).await.unwrap();
    let came = border.house.answer(202).await;
    assert!(trust(&came).contains("AuthorizedServer") && trust(&came).contains("ms-source-network=publiccloud"));
    assert!(trust(&came).contains(VERIFIED));
    assert_eq!(route.next(PATIENCE).await.unwrap().status(), Some(202));
    let answer = route.send_and_wait(request("push.example.net", "push.example.net", 5), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("90114"), None));
    let mut other = border.partner("anybody.example").await;
    let answer = other.send_and_wait(request("anybody.example", "push.example.net", 6), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("1010"), None));
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn a_clearing_house_takes_any_destination_from_direct_partners_and_from_nobody_else() {
    let at = partner_address();
    let names = StaticResolver::new().host("edge.third.example", at.ip());
    let rows = |on: bool| {
        [
            access_edge(|record| record.be_clearing_house = on),
            allowed("direct.example", Some("edge.direct.example")),
            allowed("plain.example", None),
            allowed("third.example", Some("edge.third.example")),
        ]
    };
    let mut border = Border::start(settings(rows(true)), names).await;
    let mut third = Beyond::start(&border.office, "edge.third.example", at);
    let mut direct = border.partner("edge.direct.example").await;
    let brought = [(Name::EdgeTrust, "ms-source-type=InternetUser"), (Name::AssertedVerification, VERIFIED)];
    direct.send(request_with("direct.example", "third.example", 1, 70, &brought), PATIENCE).await.unwrap();
    let came = third.answer(488).await;
    assert_eq!((trust(&came), assertion(&came), came.max_forwards()), ("", Some(VERIFIED), Some(69)));
    let answer = direct.next(PATIENCE).await.unwrap();
    // The third says no without a word; whose word is missing is told without naming us.
    assert_eq!(told(&answer), (488, Some("1034"), None));
    let said = answer.header(Name::MsDiagnosticsPublic).unwrap();
    assert!(said.contains("Domain=\"third.example\"") && !said.contains(EDGE), "{said}");
    assert_eq!(trust(&answer), "");
    // By policy: what this edge itself may not reach, it does not reach for others.
    let answer = direct.send_and_wait(request("direct.example", "stranger.example", 2), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("90103"), None));
    // What comes by another road goes nowhere but here.
    let mut plain = border.partner("plain.example").await;
    let answer = plain.send_and_wait(request("plain.example", "third.example", 3), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (404, Some("1005"), None));
    plain.send(request("plain.example", "push.example.net", 4), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    assert_eq!(plain.next(PATIENCE).await.unwrap().status(), Some(202));
    let [off, ..] = rows(false);
    border.change(off);
    let answer = direct.send_and_wait(request("direct.example", "third.example", 5), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (404, Some("1005"), None));
    assert!(third.saw_nothing());
    assert_eq!(border.edge.in_flight(), 0);
    border.end().await;
    third.end().await;
}

#[tokio::test]
async fn what_a_partner_asserts_of_its_user_counts_as_its_level_says() {
    let level = |level| {
        let mut record = allowed("a.example", None);
        let Setting::AllowedDomain(allowed) = &mut record else { unreachable!() };
        allowed.verification_level = Some(level);
        record
    };
    let strict = access_edge(|record| record.unasserted_source = Unasserted::Reject);
    use VerificationLevel::{AlwaysUnverifiable, AlwaysVerifiable, UseSourceVerification};
    let mut border = Border::start(settings([]), StaticResolver::new()).await;
    let mut a = border.partner("a.example").await;
    let mut number = 0;
    for (rows, asserted, expected) in [
        ([federation(true), level(AlwaysVerifiable)], Some(UNVERIFIED), Some(VERIFIED)),
        ([federation(true), level(AlwaysUnverifiable)], Some(VERIFIED), Some(UNVERIFIED)),
        ([federation(true), level(UseSourceVerification)], Some(VERIFIED), Some(VERIFIED)),
        ([federation(true), level(UseSourceVerification)], Some(UNVERIFIED), Some(UNVERIFIED)),
        ([federation(true), level(UseSourceVerification)], None, Some(UNVERIFIED)),
        ([strict.clone(), level(UseSourceVerification)], Some(VERIFIED), Some(VERIFIED)),
        ([strict.clone(), level(UseSourceVerification)], None, None),
    ] {
        rows.into_iter().for_each(|row| border.change(row));
        number += 1;
        let brought: Vec<_> = asserted.map(|value| (Name::AssertedVerification, value)).into_iter().collect();
        a.send(request_with("a.example", "push.example.net", number, 70, &brought), PATIENCE).await.unwrap();
        match expected {
            Some(expected) => {
                let came = border.house.answer(202).await;
                assert!(trust(&came).contains(expected), "{number}: {}", trust(&came));
                // The partner's word stays at the border; inside, only the edge's counts.
                assert_eq!(assertion(&came), None);
                assert_eq!(a.next(PATIENCE).await.unwrap().status(), Some(202));
            }
            None => assert_eq!(told(&a.next(PATIENCE).await.unwrap()), (403, Some("90113"), None)),
        }
    }
    border.end().await;
}

#[tokio::test]
async fn our_own_word_leaves_as_the_setting_says_and_never_better_than_the_inside_says() {
    let at = partner_address();
    let names = StaticResolver::new().host("edge.a.example", at.ip());
    let border = Border::start(settings([allowed("a.example", Some("edge.a.example"))]), names).await;
    let mut beyond = Beyond::start(&border.office, "edge.a.example", at);
    let mut house = border.insider(HOUSE).await;
    let unmarked = access_edge(|record| record.mark_source_verifiable_on_outgoing_messages = false);
    for (number, setting, said, expected) in [
        (1, federation(true), None, VERIFIED),
        (2, federation(true), Some(UNVERIFIED), UNVERIFIED),
        (3, unmarked.clone(), None, UNVERIFIED),
        (4, unmarked, Some(VERIFIED), UNVERIFIED),
    ] {
        border.change(setting);
        let brought: Vec<_> = said.map(|value| (Name::AssertedVerification, value)).into_iter().collect();
        house.send(request_with("push.example.net", "a.example", number, 70, &brought), PATIENCE).await.unwrap();
        let came = beyond.answer(200).await;
        assert_eq!(came.headers(Name::AssertedVerification).collect::<Vec<_>>(), [expected], "{number}");
        house.next(PATIENCE).await.unwrap();
    }
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn an_answer_from_outside_is_stamped_and_what_it_claims_is_taken_off() {
    let at = partner_address();
    let names = StaticResolver::new().host("edge.a.example", at.ip());
    let border = Border::start(settings([allowed("a.example", Some("edge.a.example"))]), names).await;
    let mut beyond = Beyond::start(&border.office, "edge.a.example", at);
    let mut house = border.insider(HOUSE).await;
    house.send(request("push.example.net", "a.example", 1), PATIENCE).await.unwrap();
    let (flow, asked) = beyond.next().await;
    let forged = "ms-source-type=AuthorizedServer;ms-ep-fqdn=edge.push.example.net;ms-source-verified-user=verified";
    let answer = message::respond(&asked, 403, "beyond", |response| {
        response.header(Name::EdgeTrust, forged).header(Name::AssertedVerification, VERIFIED);
    });
    flow.send(answer).unwrap();
    let answer = house.next(PATIENCE).await.unwrap();
    let stamps: Vec<&str> = answer.headers(Name::EdgeTrust).collect();
    let ours = "ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;ms-source-verified-user=verified;\
                ms-source-network=federation;ms-remote-fqdn=edge.a.example";
    assert_eq!((stamps, assertion(&answer)), (vec![ours], None));
    // And a partner that gives no reason has at least a name.
    let said = answer.header(Name::MsDiagnostics).unwrap();
    let expected = "1034;reason=\"the federated partner gave no reason\";source=\"edge.push.example.net\";\
                    Domain=\"a.example\";PeerServer=\"edge.a.example\"";
    assert_eq!(said, expected);
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn a_discovered_partner_is_held_short_watched_and_free_once_it_is_listed() {
    let discovery = access_edge(|record| {
        record.enable_partner_discovery = true;
        record.max_contacts_per_discovered_partner = 5;
    });
    let mut border = Border::start(settings([discovery]), StaticResolver::new()).await;
    let mut found = border.partner("found.example").await;
    // More than a second's worth at once: 20 pass, the rest is told when to come back.
    let burst: Vec<u8> = (1..=60).flat_map(|n| request("found.example", "push.example.net", n)).collect();
    found.send(&burst, PATIENCE).await.unwrap();
    let mut slowed = 0;
    let mut passed = 0;
    while slowed + passed < 60 {
        tokio::select! {
            (flow, came) = border.house.next() => {
                assert!(trust(&came).starts_with("ms-source-type=AutoFederation;"));
                flow.send(message::respond(&came, 202, "house", |_| {})).unwrap();
            }
            answer = found.next(PATIENCE) => {
                let answer = answer.unwrap();
                match told(&answer) {
                    (202, ..) => passed += 1,
                    (480, Some("90108"), None) => {
                        assert_eq!(answer.header(Name::RetryAfter), Some("1"));
                        slowed += 1;
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    assert!((20..30).contains(&passed), "{passed}");
    let state = |border: &Border| border.edge.border().partners[0].clone();
    assert_eq!(
        (state(&border).state, state(&border).rate_limit_per_s, state(&border).listed),
        (State::Connected, 20, false)
    );
    // Six addresses are one too many.
    let mut last = None;
    for contact in 0..6 {
        let to = String::from_utf8(request("found.example", "push.example.net", 100 + contact).to_vec()).unwrap();
        let to = to.replacen("sip:push@", &format!("sip:user{contact}@"), 1);
        found.send(to, PATIENCE).await.unwrap();
        last = loop {
            tokio::select! {
                (flow, came) = border.house.next() => {
                    flow.send(message::respond(&came, 202, "house", |_| {})).unwrap();
                }
                answer = found.next(PATIENCE) => break Some(answer.unwrap()),
            }
        };
    }
    assert_eq!(told(&last.unwrap()), (403, Some("90112"), None));
    assert_eq!(state(&border).state, State::Watched);
    assert!(state(&border).last_error.unwrap().advice.contains("New-CsAllowedDomain -Identity found.example"));
    border.change(allowed("found.example", None));
    found.send(request("found.example", "push.example.net", 200), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    assert_eq!(found.next(PATIENCE).await.unwrap().status(), Some(202));
    assert_eq!((state(&border).state, state(&border).listed), (State::Connected, true));
    border.end().await;
}

#[tokio::test]
async fn what_does_not_cross_the_border_is_told_apart() {
    let border = Border::start(settings([allowed("a.example", None)]), StaticResolver::new()).await;
    let mut a = border.partner("a.example").await;
    let text = |number| String::from_utf8(request("a.example", "push.example.net", number).to_vec()).unwrap();
    for (wrong, status, diagnosis) in [
        (text(1).replacen("sip:push@push.example.net", "tel:+15550100", 1), 416, "90117"),
        (text(2).replace("MESSAGE", "REGISTER"), 403, "1027"),
        (text(3).replace("MESSAGE", "PUBLISH"), 403, "1027"),
    ] {
        let answer = a.send_and_wait(wrong, PATIENCE).await.unwrap();
        assert_eq!(told(&answer), (status, Some(diagnosis), None));
    }
    border.end().await;
}

#[tokio::test]
async fn one_partner_that_waits_for_all_its_answers_leaves_room_for_others() {
    let limits = Limits { in_flight_per_partner: 7, drain: Duration::ZERO, ..Limits::default() };
    let rows = [allowed("a.example", None), allowed("b.example", None)];
    let mut border = Border::limited(settings(rows), Arc::new(StaticResolver::new()), limits).await;
    let (mut a, mut b) = (border.partner("a.example").await, border.partner("b.example").await);
    for number in 1..=6 {
        a.send(request("a.example", "push.example.net", number), PATIENCE).await.unwrap();
        border.house.next().await;
    }
    let answer = a.send_and_wait(request("a.example", "push.example.net", 7), PATIENCE).await.unwrap();
    assert_eq!((told(&answer), answer.header(Name::RetryAfter)), ((480, Some("90111"), None), Some("1")));
    // A push for a call still has the last place, and the other partner all of its own.
    let urgent = [(Name::Priority, "urgent")];
    a.send(request_with("a.example", "push.example.net", 8, 70, &urgent), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    assert_eq!(a.next(PATIENCE).await.unwrap().status(), Some(202));
    b.send(request("b.example", "push.example.net", 1), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    assert_eq!(b.next(PATIENCE).await.unwrap().status(), Some(202));
    let partners = border.edge.border().partners;
    assert_eq!(partners.iter().map(|partner| partner.in_flight).collect::<Vec<_>>(), [6, 0]);
    assert_eq!(partners[0].refused.get("partner-busy"), Some(&1));
    border.end().await;
}

#[tokio::test]
async fn a_connection_too_many_is_told_so_and_closed() {
    let limits = Limits { connections_per_partner: 1, ..Limits::default() };
    let rows = [allowed("a.example", None)];
    let mut border = Border::limited(settings(rows), Arc::new(StaticResolver::new()), limits).await;
    let (mut first, mut second) = (border.partner("a.example").await, border.partner("a.example").await);
    first.send(request("a.example", "push.example.net", 1), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    assert_eq!(first.next(PATIENCE).await.unwrap().status(), Some(202));
    assert!(second.next(PATIENCE).await.is_err(), "it is closed");
    // A place that is given up is free again.
    drop(first);
    let free = async {
        loop {
            let mut third = border.partner("a.example").await;
            third.send(request("a.example", "push.example.net", 3), PATIENCE).await.unwrap();
            tokio::select! {
                (flow, came) = border.house.next() => {
                    flow.send(message::respond(&came, 202, "house", |_| {})).unwrap();
                    return third.next(PATIENCE).await.unwrap().status();
                }
                answer = third.next(PATIENCE) => assert_eq!(answer.unwrap().status(), Some(480)),
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, free).await.unwrap(), Some(202));
    border.end().await;
}

#[tokio::test]
async fn each_partner_has_its_figures_and_its_last_error() {
    let (here, nowhere) = (partner_address(), partner_address());
    let names = StaticResolver::new().host("edge.a.example", here.ip()).host("edge.gone.example", nowhere.ip());
    let rows = [allowed("a.example", Some("edge.a.example")), allowed("gone.example", Some("edge.gone.example"))];
    let mut border = Border::start(settings(rows), names).await;
    let mut beyond = Beyond::start(&border.office, "edge.a.example", here);
    let mut house = border.insider(HOUSE).await;
    for number in 1..=3 {
        house.send(request("push.example.net", "a.example", number), PATIENCE).await.unwrap();
        beyond.answer(if number == 3 { 486 } else { 200 }).await;
        house.next(PATIENCE).await.unwrap();
    }
    let mut a = border.partner("edge.a.example").await;
    a.send(request("a.example", "push.example.net", 1), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    a.next(PATIENCE).await.unwrap();
    // The first finds out, the next are told at once that it has just failed.
    let answer = house.send_and_wait(request("push.example.net", "gone.example", 4), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (504, None, Some("1046")));
    let answer = house.send_and_wait(request("push.example.net", "gone.example", 5), PATIENCE).await.unwrap();
    assert_eq!((told(&answer), answer.header(Name::RetryAfter)), ((504, None, Some("1007")), Some("1")));
    let status = border.edge.border();
    let [a, gone] = &status.partners[..] else { panic!("{status:?}") };
    assert_eq!((a.domain.as_str(), a.remote.as_str(), a.source), ("a.example", "edge.a.example", "DirectPartner"));
    assert_eq!((a.state, a.connections_in), (State::Connected, 1));
    assert!(a.connections_out >= 1);
    assert_eq!((a.sent.requests, a.sent.answers.taken, a.sent.answers.refused), (3, 2, 1));
    assert_eq!((a.received.requests, a.received.answers.taken), (1, 1));
    assert!(a.sent.p50_ms.is_some_and(|p50| p50 <= a.sent.p99_ms.unwrap()));
    assert_eq!(a.certificate.as_ref().unwrap().names, ["edge.a.example"]);
    assert_eq!(a.last_error.as_ref().unwrap().sentence, "it answered 486");
    let advice = "ask a.example what it means; Test-CsFederatedPartner a.example walks the same way";
    assert_eq!(a.last_error.as_ref().unwrap().advice, advice);
    assert_eq!((gone.state, gone.failing.as_ref().unwrap().in_a_row), (State::Failing, 2));
    assert_eq!((gone.sent.unreachable, gone.last_error.as_ref().unwrap().reason), (2, "refused"));
    let hop = gone.next_hop.as_ref().unwrap();
    assert_eq!((hop.addresses.len(), hop.addresses[0].connections, hop.addresses[0].failures), (1, 0, 1));
    assert!(hop.closed_for_ms.is_some_and(|ms| ms <= 1000), "{hop:?}");
    border.change(blocked("else.example"));
    border.remove(&allowed("a.example", None));
    border.change(blocked("a.example"));
    assert_eq!(border.edge.border().partners[0].state, State::Blocked);
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn a_stop_waits_for_answers_and_takes_nothing_new() {
    let limits = Limits { drain: PATIENCE, ..Limits::default() };
    let rows = [allowed("a.example", None)];
    let mut border = Border::limited(settings(rows), Arc::new(StaticResolver::new()), limits).await;
    let mut a = border.partner("a.example").await;
    a.send(request("a.example", "push.example.net", 1), PATIENCE).await.unwrap();
    let (flow, asked) = border.house.next().await;
    border.begin_stop();
    let refused = async {
        while !border.edge.is_draining() {
            tokio::task::yield_now().await;
        }
        a.send_and_wait(request("a.example", "push.example.net", 2), PATIENCE).await.unwrap()
    };
    let answer = refused.await;
    assert_eq!(told(&answer), (503, Some("90115"), None));
    assert!(answer.header(Name::RetryAfter).is_some());
    flow.send(message::respond(&asked, 202, "house", |_| {})).unwrap();
    assert_eq!(a.next(PATIENCE).await.unwrap().status(), Some(202), "what was under way has its answer");
    border.end().await;
}

#[tokio::test]
async fn servers_of_ours_reach_each_other_without_leaving_and_only_for_their_own_domains() {
    let mut border = Border::start(settings([]), StaticResolver::new()).await;
    let mut corp = border.insider(CORP).await;
    corp.send(request("corp.example.net", "push.example.net", 1), PATIENCE).await.unwrap();
    let came = border.house.answer(202).await;
    assert!(trust(&came).starts_with("ms-source-type=DirectPartner;") && trust(&came).contains(CORP));
    assert_eq!(corp.next(PATIENCE).await.unwrap().status(), Some(202));
    let answer = corp.send_and_wait(request("push.example.net", "push.example.net", 2), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, None, Some("90119")));
    assert!(border.house.saw_nothing());
    border.end().await;
}

#[tokio::test]
async fn a_server_of_ours_speaks_outward_for_its_own_domain_and_for_that_of_no_other() {
    let at = partner_address();
    let names = StaticResolver::new().host("edge.contoso.com", at.ip());
    let border = Border::start(settings([allowed("contoso.com", Some("edge.contoso.com"))]), names).await;
    let mut beyond = Beyond::start(&border.office, "edge.contoso.com", at);
    let mut corp = border.insider(CORP).await;
    let answer = corp.send_and_wait(request("push.example.net", "contoso.com", 1), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, None, Some("90119")));
    assert!(beyond.saw_nothing());
    corp.send(request("corp.example.net", "contoso.com", 2), PATIENCE).await.unwrap();
    beyond.answer(202).await;
    assert_eq!(corp.next(PATIENCE).await.unwrap().status(), Some(202));
    border.end().await;
}
