//! What a peer costs that is refused: on however many connections it comes, it is answered at one rate, and whoever is
//! listed keeps the last places of its rate for calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reveille_edge::Limits;
use reveille_sip::Method;
use reveille_sip_net::StaticResolver;

use crate::rig::*;

/// A request with another method, and perhaps for somebody else.
fn asked(from: &str, method: &str, uri: &str, number: u32) -> String {
    let text = String::from_utf8(request(from, "push.example.net", number).to_vec()).unwrap();
    text.replace("MESSAGE", method).replacen("sip:push@push.example.net", uri, 1)
}

const INSIDE: &str = "sip:push@push.example.net";

#[tokio::test]
async fn whoever_is_refused_is_answered_at_one_rate_on_all_its_connections() {
    let border = Border::start(settings([blocked("bad.example")]), StaticResolver::new()).await;
    let itself = "sip:edge.push.example.net";
    for (method, uri, expected) in
        [("MESSAGE", INSIDE, 403), ("INVITE", INSIDE, 403), ("OPTIONS", itself, 200), ("CANCEL", INSIDE, 481)]
    {
        // A certificate for each, since what one owes for the kind before would count.
        let name = format!("{}.bad.example", method.to_lowercase());
        let (mut one, mut other) = (border.partner(&name).await, border.partner(&name).await);
        let begun = Instant::now();
        for number in 0..90 {
            let peer = if number % 2 == 0 { &mut one } else { &mut other };
            let answer = peer.send_and_wait(asked("bad.example", method, uri, number), PATIENCE).await.unwrap();
            assert_eq!(answer.status(), Some(expected), "{method}");
        }
        // 25 at once, and then a hundred in a second; the last one is answered before its peer waits.
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(550), "{method}: {took:?}");
    }
    border.end().await;
}

#[tokio::test]
async fn a_partner_above_its_rate_keeps_its_calls_and_their_speed() {
    let limits = Limits { messages_per_s: 420, drain: Duration::ZERO, ..Limits::default() };
    let rows = settings([allowed("a.example", None)]);
    let mut border = Border::limited(rows, Arc::new(StaticResolver::new()), limits).await;
    let mut a = border.partner("a.example").await;
    let messages: String = (0..500).map(|number| asked("a.example", "MESSAGE", INSIDE, number)).collect();
    a.send(messages, PATIENCE).await.unwrap();
    let sent = Instant::now();
    a.send(asked("a.example", "INVITE", INSIDE, 1000), PATIENCE).await.unwrap();
    let mut passed = 0;
    while border.house.next().await.1.method() == Some(Method::Message) {
        passed += 1;
    }
    assert!((420..500).contains(&passed), "{passed}");
    // More than its rate costs it messages, and a call not even time.
    assert!(sent.elapsed() < Duration::from_millis(500), "{:?}", sent.elapsed());
    border.end().await;
}

/// Domains that nobody's name server answers for, as many as one asks for at once and far more.
fn silent(count: u32) -> String {
    (0..count).map(|number| asked(&format!("d{number}.silent.example"), "MESSAGE", INSIDE, number)).collect()
}

#[tokio::test]
async fn slow_name_servers_for_what_one_peer_names_keep_nobody_else_out_and_nobody_hears_503() {
    let discovery = access_edge(|record| record.enable_partner_discovery = true);
    let rows = [discovery, provider("sip.provider.example", true), allowed("c1.example", None)];
    let resolver = Slow::new(srv(StaticResolver::new(), "c1.example", "sip.provider.example", 5061));
    let mut border = Border::asking(settings(rows), Arc::clone(&resolver) as _).await;
    let mut provider = border.partner("sip.provider.example").await;
    // Eight of them wait for their look-ups; the others are told at once, and that it is about them.
    provider.send(silent(20), PATIENCE).await.unwrap();
    for _ in 8..20 {
        assert_eq!(told(&provider.next(PATIENCE).await.unwrap()), (480, Some("90111"), None));
    }
    // The domain that is listed is asked for all the same, on another connection of the same certificate.
    let mut another = border.partner("sip.provider.example").await;
    another.send(asked("c1.example", "MESSAGE", INSIDE, 100), PATIENCE).await.unwrap();
    for _ in 0..9 {
        resolver.asked().await;
    }
    resolver.answer(9);
    border.house.answer(202).await;
    assert_eq!(another.next(PATIENCE).await.unwrap().status(), Some(202));
    for _ in 0..8 {
        assert_eq!(told(&provider.next(PATIENCE).await.unwrap()).0, 504);
    }
    border.end().await;
}

#[tokio::test]
async fn a_change_of_settings_has_nothing_looked_up_again_that_stays_as_it_was() {
    let at = partner_address();
    let names = srv(StaticResolver::new(), "a.example", "sip.a.example", at.port()).host("sip.a.example", at.ip());
    let names = srv(names, "c1.example", "sip.provider.example", 5061);
    let resolver = Slow::new(names);
    let rows = [allowed("a.example", None), allowed("c1.example", None), provider("sip.provider.example", true)];
    let mut border = Border::asking(settings(rows), Arc::clone(&resolver) as _).await;
    let mut beyond = Beyond::start(&border.office, "a.example", at);
    let (mut house, mut provider) = (border.insider(HOUSE).await, border.partner("sip.provider.example").await);
    resolver.answer(2);
    for number in 1..=3 {
        house.send(request("push.example.net", "a.example", number), PATIENCE).await.unwrap();
        beyond.answer(200).await;
        assert_eq!(house.next(PATIENCE).await.unwrap().status(), Some(200));
        provider.send(asked("c1.example", "MESSAGE", INSIDE, number), PATIENCE).await.unwrap();
        border.house.answer(202).await;
        assert_eq!(provider.next(PATIENCE).await.unwrap().status(), Some(202));
        border.change(allowed(&format!("other{number}.example"), None));
    }
    // What is not as it was is not gone on with.
    border.remove(&allowed("a.example", None));
    let answer = house.send_and_wait(request("push.example.net", "a.example", 9), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, None, Some("90103")));
    border.remove(&allowed("c1.example", None));
    let answer = provider.send_and_wait(asked("c1.example", "MESSAGE", INSIDE, 9), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("90103"), None));
    border.end().await;
    beyond.end().await;
}
