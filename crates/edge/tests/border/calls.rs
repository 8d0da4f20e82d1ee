//! Calls across the border in both directions: their dialogs, their ends, and Routes that lead nowhere.

use std::time::Duration;

use bytes::Bytes;
use reveille_core::TokenKey;
use reveille_edge::Limits;
use reveille_sim::phone::RawSip;
use reveille_sip::{Method, Name};
use reveille_sip_net::StaticResolver;

use crate::party::*;
use crate::rig::*;

#[tokio::test]
async fn a_call_from_outside_rings_is_answered_and_ends_from_either_side() {
    for ends_inside in [false, true] {
        let (mut border, mut outside) = with_partner(Limits::default()).await;
        let (mut caller, mut callee) = (Party::new(THEIRS, "a"), Party::new(OURS, "b"));
        outside.send(caller.invite(OURS), PATIENCE).await.unwrap();
        let (house, invite) = called(&mut border.house, Method::Invite).await;
        assert!(invite.header(Name::EdgeTrust).unwrap().contains("ms-remote-fqdn=edge.contoso.com"));
        assert_eq!(invite.values(Name::RecordRoute).count(), 2, "one for each side");
        assert_eq!(invite.values(Name::Via).count(), 2);
        house.send(answer(&invite, 180, "b")).unwrap();
        assert_eq!(told_by(&mut outside).await.status(), Some(180));
        house.send(answer(&invite, 200, "b")).unwrap();
        let accepted = told_by(&mut outside).await;
        assert_eq!((accepted.status(), accepted.values(Name::Via).count()), (Some(200), 1));
        caller.learn_as_caller(&accepted);
        callee.learn_as_callee(&invite);
        // The Request-URI is an address inside, which no partner could reach and no list names.
        outside.send(caller.within(Method::Ack, &callee), PATIENCE).await.unwrap();
        let (_, ack) = called(&mut border.house, Method::Ack).await;
        assert_eq!((ack.request_uri(), ack.header(Name::Route)), (Some("sip:callee@10.9.9.9:5060"), None));
        if ends_inside {
            house.send(callee.within(Method::Bye, &caller)).unwrap();
            // It leaves by the partner's own way, which this border has none of: it is told so, and by its domain.
            let (_, refused) = border.house.next().await;
            assert_eq!(refused.status(), Some(504));
            assert!(refused.header(Name::MsDiagnostics).unwrap().contains(THEIRS));
        } else {
            outside.send(caller.within(Method::Bye, &callee), PATIENCE).await.unwrap();
            let (house, bye) = called(&mut border.house, Method::Bye).await;
            assert!(bye.header(Name::EdgeTrust).is_some(), "admitted and stamped like any other");
            house.send(answer(&bye, 200, "b")).unwrap();
            assert_eq!(told_by(&mut outside).await.status(), Some(200));
        }
        assert_eq!(border.edge.in_flight(), 0);
        border.end().await;
    }
}

#[tokio::test]
async fn a_call_from_inside_reaches_the_partner_who_can_end_it() {
    let at = partner_address();
    let names = StaticResolver::new().host(THEIR_EDGE, at.ip());
    let border = Border::start(settings([allowed(THEIRS, Some(THEIR_EDGE))]), names).await;
    let mut beyond = Beyond::start(&border.office, THEIR_EDGE, at);
    let mut house = border.insider(HOUSE).await;
    let (mut caller, mut callee) = (Party::new(OURS, "a"), Party::new(THEIRS, "b"));
    house.send(caller.invite(THEIRS), PATIENCE).await.unwrap();
    let (flow, invite) = called(&mut beyond, Method::Invite).await;
    assert_eq!(invite.header(Name::EdgeTrust), None);
    flow.send(answer_with(&invite, 183, "b", &[(Name::EdgeTrust, "forged")])).unwrap();
    let ringing = told_by(&mut house).await;
    assert_eq!(ringing.status(), Some(183));
    assert!(ringing.header(Name::EdgeTrust).is_none_or(|trust| trust != "forged"));
    flow.send(answer(&invite, 200, "b")).unwrap();
    let accepted = told_by(&mut house).await;
    caller.learn_as_caller(&accepted);
    callee.learn_as_callee(&invite);
    house.send(caller.within(Method::Ack, &callee), PATIENCE).await.unwrap();
    called(&mut beyond, Method::Ack).await;
    // A second INVITE within the dialog, and what else phones say to each other.
    for method in [Method::Update, Method::Info, Method::Refer, Method::Notify, Method::Message] {
        house.send(caller.within(method, &callee), PATIENCE).await.unwrap();
        let (flow, came) = called(&mut beyond, method).await;
        flow.send(answer(&came, 200, "b")).unwrap();
        assert_eq!(told_by(&mut house).await.status(), Some(200), "{method:?}");
    }
    flow.send(callee.within(Method::Bye, &caller)).unwrap();
    // The house behind the edge takes what the edge brings on its own connection.
    let mut border = border;
    let (inner, bye) = called(&mut border.house, Method::Bye).await;
    inner.send(answer(&bye, 200, "a")).unwrap();
    assert_eq!(beyond.next().await.1.status(), Some(200));
    assert_eq!(border.edge.in_flight(), 0);
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn a_cancelled_call_ends_with_487_and_a_busy_one_with_486() {
    let (mut border, mut outside) = with_partner(Limits::default()).await;
    let caller = Party::new(THEIRS, "a");
    for busy in [false, true] {
        let invite = caller.request(
            Method::Invite,
            &format!("sip:user@{OURS}"),
            if busy { "busy" } else { "cancelled" },
            (OURS, None),
            1,
        );
        outside.send(&invite, PATIENCE).await.unwrap();
        let (house, came) = called(&mut border.house, Method::Invite).await;
        house.send(answer(&came, 180, "b")).unwrap();
        assert_eq!(told_by(&mut outside).await.status(), Some(180));
        let expected = if busy { 486 } else { 487 };
        if busy {
            let inner = "90777;reason=\"on the phone\";source=\"house\"";
            house.send(answer_with(&came, 486, "b", &[(Name::MsDiagnostics, inner)])).unwrap();
        } else {
            let text = String::from_utf8(invite.to_vec()).unwrap();
            let cancel = text.replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL");
            outside.send(cancel, PATIENCE).await.unwrap();
            let ok = told_by(&mut outside).await;
            assert_eq!((ok.status(), ok.cseq().unwrap().method), (Some(200), Method::Cancel));
            let (house, cancel) = called(&mut border.house, Method::Cancel).await;
            assert_eq!(cancel.top_via().unwrap().branch(), came.top_via().unwrap().branch());
            house.send(answer(&cancel, 200, "b")).unwrap();
            house.send(answer(&came, 487, "b")).unwrap();
        }
        called(&mut border.house, Method::Ack).await;
        let refused = told_by(&mut outside).await;
        assert_eq!(refused.status(), Some(expected));
        assert_eq!(refused.header(Name::MsDiagnostics), None, "what the inside says of itself stays there");
        if busy {
            assert_eq!(refused.header(Name::MsDiagnosticsPublic), Some("90777;reason=\"on the phone\""));
        }
        assert_eq!(border.edge.in_flight(), 0);
    }
    assert!(border.house.saw_nothing());
    border.end().await;
}

#[tokio::test]
async fn a_success_that_crosses_a_cancel_still_comes_back() {
    let (mut border, mut outside) = with_partner(Limits::default()).await;
    let invite = Party::new(THEIRS, "a").invite(OURS);
    outside.send(&invite, PATIENCE).await.unwrap();
    let (house, came) = called(&mut border.house, Method::Invite).await;
    house.send(answer(&came, 180, "b")).unwrap();
    told_by(&mut outside).await;
    let text = String::from_utf8(invite.to_vec()).unwrap();
    outside.send(text.replacen("INVITE", "CANCEL", 1).replace("1 INVITE", "1 CANCEL"), PATIENCE).await.unwrap();
    called(&mut border.house, Method::Cancel).await;
    house.send(answer(&came, 200, "b")).unwrap();
    let first = told_by(&mut outside).await;
    let second = told_by(&mut outside).await;
    let methods = [first, second].map(|answer| (answer.status(), answer.cseq().unwrap().method == Method::Invite));
    assert_eq!(methods, [(Some(200), false), (Some(200), true)]);
    border.end().await;
}

#[tokio::test]
async fn a_call_that_nobody_answers_is_cancelled_when_its_time_is_over() {
    let (mut border, mut outside) =
        with_partner(Limits { ring: Duration::from_millis(100), ..Limits::default() }).await;
    outside.send(Party::new(THEIRS, "a").invite(OURS), PATIENCE).await.unwrap();
    let (house, came) = called(&mut border.house, Method::Invite).await;
    house.send(answer(&came, 180, "b")).unwrap();
    assert_eq!(told_by(&mut outside).await.status(), Some(180));
    called(&mut border.house, Method::Cancel).await;
    house.send(answer(&came, 487, "b")).unwrap();
    assert_eq!(told_by(&mut outside).await.status(), Some(487));
    border.end().await;
}

#[tokio::test]
async fn when_the_partner_is_gone_its_call_is_cancelled() {
    let (mut border, mut outside) = with_partner(Limits::default()).await;
    outside.send(Party::new(THEIRS, "a").invite(OURS), PATIENCE).await.unwrap();
    let (house, came) = called(&mut border.house, Method::Invite).await;
    house.send(answer(&came, 180, "b")).unwrap();
    told_by(&mut outside).await;
    drop(outside);
    called(&mut border.house, Method::Cancel).await;
    house.send(answer(&came, 487, "b")).unwrap();
    called(&mut border.house, Method::Ack).await;
    assert_eq!(border.edge.in_flight(), 0);
    border.end().await;
}

#[tokio::test]
async fn a_refused_call_says_why_and_its_ack_goes_nowhere() {
    let (mut border, _) = with_partner(Limits::default()).await;
    let mut stranger = border.partner("edge.stranger.example").await;
    let invite = Party::new("stranger.example", "a").invite(OURS);
    stranger.send(&invite, PATIENCE).await.unwrap();
    let refused = told_by(&mut stranger).await;
    assert_eq!(told(&refused), (403, Some("90103"), None));
    let to = refused.header(Name::To).unwrap();
    // Nothing of it is kept: the same once more is another request.
    stranger.send(&invite, PATIENCE).await.unwrap();
    let again = told_by(&mut stranger).await;
    assert_eq!((again.status(), again.header(Name::To)), (Some(403), refused.header(Name::To)));
    let text = String::from_utf8(invite.to_vec()).unwrap();
    let ack = text.replacen("INVITE", "ACK", 1).replace("1 INVITE", "1 ACK");
    let ack = ack.replace(&format!("To: <sip:user@{OURS}>"), &format!("To: {to}"));
    stranger.send(ack, PATIENCE).await.unwrap();
    // Behind the ACK on the same connection, so the edge has seen both when this is answered.
    let ping = request_with("stranger.example", EDGE, 9, 70, &[]);
    let ping = String::from_utf8(ping.to_vec()).unwrap().replace("MESSAGE", "OPTIONS");
    let answered = stranger.send_and_wait(ping, PATIENCE).await.unwrap();
    assert!(answered.header(Name::Allow).unwrap().contains("INVITE"));
    assert!(border.house.saw_nothing());
    border.end().await;
}

#[tokio::test]
async fn a_call_to_a_partner_that_is_down_is_told_inside_with_its_reason() {
    let names = StaticResolver::new().host(THEIR_EDGE, partner_address().ip());
    let border = Border::start(settings([allowed(THEIRS, Some(THEIR_EDGE))]), names).await;
    let mut house = border.insider(HOUSE).await;
    house.send(Party::new(OURS, "a").invite(THEIRS), PATIENCE).await.unwrap();
    let refused = told_by(&mut house).await;
    assert_eq!(told(&refused), (504, None, Some("1046")));
    assert!(refused.header(Name::MsDiagnostics).unwrap().contains("source=\"edge.push.example.net\""));
    border.end().await;
}

#[tokio::test]
async fn routes_lead_nobody_where_policy_would_not() {
    let (mut border, mut outside) = with_partner(Limits::default()).await;
    let ours = format!("<sip:{EDGE};lr>");
    let forged = format!("<sip:00112233445566778899.{THEIRS}~evil.example@{EDGE};lr>");
    // Request-URI, Routes, To; what comes of it.
    let table: [(&str, &[&str], &str, u16); 6] = [
        ("sip:user@push.example.net", &["<sip:evil.example;lr>"], OURS, 404),
        ("sip:user@push.example.net", &[&ours, "<sip:evil.example;lr>"], OURS, 404),
        ("sip:user@evil.example", &[&ours], OURS, 404),
        ("sip:user@evil.example", &[], OURS, 404),
        ("sip:user@push.example.net", &["<sip:10.0.0.1;lr>"], OURS, 400),
        ("sip:user@10.0.0.1", &[&forged, "<sip:evil.example;lr>"], "evil.example", 404),
    ];
    for (number, (uri, routes, to, status)) in table.into_iter().enumerate() {
        let mut party = Party::new(THEIRS, "a");
        party.routes = routes.iter().map(|route| (*route).to_owned()).collect();
        let branch = format!("r{number}");
        let bytes = party.request(Method::Invite, uri, &branch, (to, None), number as u32 + 1);
        outside.send(bytes, PATIENCE).await.unwrap();
        let refused = told_by(&mut outside).await;
        assert_eq!(refused.status(), Some(status), "{uri} {routes:?}");
    }
    // Within a dialog whose token was made up, or without any, nothing passes.
    let mut party = Party::new(THEIRS, "a");
    for (number, routes) in [(20, vec![forged]), (21, vec![ours]), (22, Vec::new())] {
        party.routes = routes;
        let branch = format!("f{number}");
        let bye = party.request(Method::Bye, "sip:user@push.example.net", &branch, (OURS, Some("b")), number);
        outside.send(bye, PATIENCE).await.unwrap();
        let refused = told_by(&mut outside).await;
        assert_eq!(told(&refused), (481, Some("90118"), None), "{:?}", party.routes);
    }
    // And one who is not admitted is not, whatever token it has overheard.
    border.remove(&allowed(THEIRS, Some(THEIR_EDGE)));
    let bye = party.request(Method::Bye, "sip:user@10.0.0.1", "h", (OURS, Some("b")), 23);
    outside.send(bye, PATIENCE).await.unwrap();
    assert_eq!(told_by(&mut outside).await.status(), Some(403));
    assert!(border.house.saw_nothing());
    border.end().await;
}

#[tokio::test]
async fn a_clearing_house_lets_either_partner_end_the_call() {
    let (near, far) = (partner_address(), partner_address());
    let names = StaticResolver::new().host(THEIR_EDGE, near.ip()).host("edge.fabrikam.com", far.ip());
    let rows = settings([
        access_edge(|record| record.be_clearing_house = true),
        allowed(THEIRS, Some(THEIR_EDGE)),
        allowed("fabrikam.com", Some("edge.fabrikam.com")),
    ]);
    let border = Border::start(rows, names).await;
    let mut near = Beyond::start(&border.office, THEIR_EDGE, near);
    let mut far = Beyond::start(&border.office, "edge.fabrikam.com", far);
    let mut outside = border.partner(THEIR_EDGE).await;
    let (mut caller, mut callee) = (Party::new(THEIRS, "a"), Party::new("fabrikam.com", "b"));
    outside.send(caller.invite("fabrikam.com"), PATIENCE).await.unwrap();
    let (flow, invite) = called(&mut far, Method::Invite).await;
    flow.send(answer(&invite, 200, "b")).unwrap();
    learn(&mut caller, &mut callee, &invite, &told_by(&mut outside).await);
    // No partner can reach the inner side.
    let port = format!(":{};", border.external.port());
    assert!(callee.routes.iter().all(|route| route.contains(&port)), "{:?}", callee.routes);
    outside.send(caller.within(Method::Ack, &callee), PATIENCE).await.unwrap();
    called(&mut far, Method::Ack).await;
    outside.send(caller.within(Method::Info, &callee), PATIENCE).await.unwrap();
    let (flow, info) = called(&mut far, Method::Info).await;
    flow.send(answer(&info, 200, "b")).unwrap();
    assert_eq!(told_by(&mut outside).await.status(), Some(200));
    // From the callee's own connection, as most edges do it.
    let mut beyond = border.partner("edge.fabrikam.com").await;
    beyond.send(callee.within(Method::Bye, &caller), PATIENCE).await.unwrap();
    let (flow, bye) = called(&mut near, Method::Bye).await;
    flow.send(answer(&bye, 200, "a")).unwrap();
    assert_eq!(told_by(&mut beyond).await.status(), Some(200));
    assert_eq!(border.edge.in_flight(), 0);
    border.end().await;
    near.end().await;
    far.end().await;
}

#[tokio::test]
async fn a_call_between_two_domains_of_ours_ends_from_either_side() {
    let mut border = Border::start(settings([]), StaticResolver::new()).await;
    let (mut corp, mut house) = (border.insider(CORP).await, border.insider(HOUSE).await);
    let (mut caller, mut callee) = (Party::new("corp.example.net", "a"), Party::new(OURS, "b"));
    corp.send(caller.invite(OURS), PATIENCE).await.unwrap();
    let (flow, invite) = called(&mut border.house, Method::Invite).await;
    flow.send(answer(&invite, 200, "b")).unwrap();
    learn(&mut caller, &mut callee, &invite, &told_by(&mut corp).await);
    corp.send(caller.within(Method::Ack, &callee), PATIENCE).await.unwrap();
    called(&mut border.house, Method::Ack).await;
    corp.send(caller.within(Method::Info, &callee), PATIENCE).await.unwrap();
    let (flow, info) = called(&mut border.house, Method::Info).await;
    flow.send(answer(&info, 200, "b")).unwrap();
    assert_eq!(told_by(&mut corp).await.status(), Some(200));
    house.send(callee.within(Method::Bye, &caller), PATIENCE).await.unwrap();
    let (flow, bye) = called(&mut border.corp, Method::Bye).await;
    assert!(bye.header(Name::EdgeTrust).unwrap().contains(HOUSE), "the word of the edge is about who sends");
    flow.send(answer(&bye, 200, "a")).unwrap();
    assert_eq!(told_by(&mut house).await.status(), Some(200));
    assert_eq!(border.edge.in_flight(), 0);
    border.end().await;
}

#[tokio::test]
async fn nobody_ends_a_call_of_two_others_with_what_it_has_overheard() {
    let rows = settings([allowed(THEIRS, Some(THEIR_EDGE)), allowed("fabrikam.com", Some("edge.fabrikam.com"))]);
    let mut border = Border::start(rows, StaticResolver::new()).await;
    let (mut outside, mut third) = (border.partner(THEIR_EDGE).await, border.partner("edge.fabrikam.com").await);
    let (mut caller, mut callee) = (Party::new(THEIRS, "a"), Party::new(OURS, "b"));
    outside.send(caller.invite(OURS), PATIENCE).await.unwrap();
    let (house, invite) = called(&mut border.house, Method::Invite).await;
    house.send(answer(&invite, 200, "b")).unwrap();
    learn(&mut caller, &mut callee, &invite, &told_by(&mut outside).await);
    // With the tags of the call and every Route of it, and with the tags alone.
    let mut eavesdropper = Party::new("fabrikam.com", "a");
    for routes in [caller.routes.clone(), callee.routes.clone(), Vec::new()] {
        eavesdropper.routes = routes;
        for method in [Method::Bye, Method::Info, Method::Update, Method::Invite, Method::Message, Method::Ack] {
            eavesdropper.target = format!("sip:user@{OURS}");
            third.send(eavesdropper.within(method, &callee), PATIENCE).await.unwrap();
            if method != Method::Ack {
                assert_eq!(told_by(&mut third).await.status(), Some(481), "{method:?} {:?}", eavesdropper.routes);
            }
        }
    }
    outside.send(caller.within(Method::Bye, &callee), PATIENCE).await.unwrap();
    let (house, bye) = called(&mut border.house, Method::Bye).await;
    house.send(answer(&bye, 200, "b")).unwrap();
    assert_eq!(told_by(&mut outside).await.status(), Some(200));
    assert!(border.house.saw_nothing());
    border.end().await;
}

#[tokio::test]
async fn a_call_outlives_the_edge_that_it_began_through() {
    let key = || Some(TokenKey::new([7; TokenKey::LEN]));
    for then in [key(), None] {
        let (border, _) = with_partner(Limits { drain: Duration::ZERO, ..Limits::default() }).await;
        let mut border = border.anew(key()).await;
        let mut outside = border.partner(THEIR_EDGE).await;
        let (mut caller, mut callee) = (Party::new(THEIRS, "a"), Party::new(OURS, "b"));
        outside.send(caller.invite(OURS), PATIENCE).await.unwrap();
        let (house, invite) = called(&mut border.house, Method::Invite).await;
        // Home puts itself into the way, below the edge.
        let own = format!("<sip:edge@{HOUSE}:5070;transport=tls;lr>");
        let accepted = String::from_utf8(answer(&invite, 200, "b").to_vec()).unwrap();
        let first = accepted.find("Record-Route: ").unwrap();
        let accepted = format!("{}Record-Route: {own}\r\n{}", &accepted[..first], &accepted[first..]);
        house.send(Bytes::from(accepted)).unwrap();
        learn(&mut caller, &mut callee, &invite, &told_by(&mut outside).await);
        assert_eq!(caller.routes.len(), 3, "both sides of the edge, and home");
        let mut border = border.anew(then.clone()).await;
        let mut outside = border.partner(THEIR_EDGE).await;
        outside.send(caller.within(Method::Bye, &callee), PATIENCE).await.unwrap();
        if then.is_some() {
            let (house, bye) = called(&mut border.house, Method::Bye).await;
            assert_eq!(bye.header(Name::Route), Some(own.as_str()));
            house.send(answer(&bye, 200, "b")).unwrap();
        }
        // Without its key nobody can tell the two ends of a dialog from others.
        let expected = if then.is_some() { 200 } else { 481 };
        assert_eq!(told_by(&mut outside).await.status(), Some(expected));
        // The other end too: nobody is reached there now, but it is the partner whom it is for.
        let mut insider = border.insider(HOUSE).await;
        insider.send(callee.within(Method::Bye, &caller), PATIENCE).await.unwrap();
        let refused = told_by(&mut insider).await;
        assert_eq!(refused.status(), Some(504));
        assert!(refused.header(Name::MsDiagnostics).unwrap().contains(THEIRS));
        border.end().await;
    }
}

#[tokio::test]
async fn nothing_leaves_by_our_certificate_in_the_name_of_another() {
    let at = partner_address();
    let names = StaticResolver::new().host(THEIR_EDGE, at.ip());
    let border = Border::start(settings([allowed(THEIRS, Some(THEIR_EDGE))]), names).await;
    let mut partner = Beyond::start(&border.office, THEIR_EDGE, at);
    let mut house = border.insider(HOUSE).await;
    let stranger = Party::new("anything.example", "a");
    house.send(stranger.invite(THEIRS), PATIENCE).await.unwrap();
    assert_eq!(told_by(&mut house).await.status(), Some(403));
    assert_eq!(border.latest_refusal(), Some("not-its-domain"));
    // An ACK can only be dropped: of another's domain, and of ours without a dialog.
    let uri = format!("sip:user@{THEIRS}");
    for (party, tag) in [(&stranger, Some("b")), (&Party::new(OURS, "a"), None)] {
        let ack = party.request(Method::Ack, &uri, "stray", (THEIRS, tag), 1);
        house.send(ack, PATIENCE).await.unwrap();
    }
    let ours = Party::new(OURS, "c");
    house.send(ours.request(Method::Invite, &uri, "good", (THEIRS, None), 2), PATIENCE).await.unwrap();
    let (flow, invite) = called(&mut partner, Method::Invite).await;
    assert_eq!(invite.cseq().unwrap().number, 2, "the first that left");
    flow.send(answer(&invite, 486, "b")).unwrap();
    assert_eq!(told_by(&mut house).await.status(), Some(486));
    border.end().await;
    partner.end().await;
}

#[tokio::test]
async fn a_partner_whose_connection_ends_while_it_rings_hears_the_answer_on_its_next_and_nobody_else_does() {
    let (mut border, mut first) = with_partner(Limits::default()).await;
    let client = border.office.client(THEIR_EDGE);
    let (mut caller, mut callee) = (Party::new(THEIRS, "a"), Party::new(OURS, "b"));
    let mut outside = RawSip::tls(border.external, &client, EDGE).await.unwrap();
    outside.send(caller.invite(OURS), PATIENCE).await.unwrap();
    let (house, invite) = called(&mut border.house, Method::Invite).await;
    house.send(answer(&invite, 180, "b")).unwrap();
    assert_eq!(told_by(&mut outside).await.status(), Some(180));
    drop(outside);
    // `first` is open all the while, and has another certificate of that name.
    let mut outside = RawSip::tls(border.external, &client, EDGE).await.unwrap();
    assert_eq!(told_by(&mut outside).await.status(), Some(180), "once more: it may have been lost");
    house.send(answer(&invite, 200, "b")).unwrap();
    let accepted = told_by(&mut outside).await;
    assert_eq!(accepted.status(), Some(200));
    caller.learn_as_caller(&accepted);
    callee.learn_as_callee(&invite);
    outside.send(caller.within(Method::Ack, &callee), PATIENCE).await.unwrap();
    called(&mut border.house, Method::Ack).await;
    // What the first one asks is all that it hears.
    first.send(request(THEIRS, OURS, 7), PATIENCE).await.unwrap();
    border.house.answer(200).await;
    assert_eq!(call_id(&next(&mut first).await), "call-7");
    assert_eq!(border.edge.in_flight(), 0);
    border.end().await;
}

#[tokio::test]
async fn an_answer_that_would_be_too_long_for_a_partner_is_refused_in_its_place() {
    let (mut border, mut outside) = with_partner(Limits::default()).await;
    let caller = Party::new(THEIRS, "a");
    outside.send(caller.invite(OURS), PATIENCE).await.unwrap();
    let (house, invite) = called(&mut border.house, Method::Invite).await;
    let long = "x".repeat(23 * 1024);
    house.send(answer_with(&invite, 183, "b", &[(Name::Subject, &long)])).unwrap();
    house.send(answer_with(&invite, 486, "b", &[(Name::Subject, &long)])).unwrap();
    let refused = told_by(&mut outside).await;
    assert_eq!(refused.status(), Some(513), "and nothing of the 183");
    assert!(refused.header(Name::MsDiagnosticsPublic).is_some() && refused.header(Name::Subject).is_none());
    called(&mut border.house, Method::Ack).await;
    border.end().await;
}
