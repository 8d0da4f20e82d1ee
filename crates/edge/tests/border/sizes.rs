//! What one hop takes, the next one takes too: no message closes a connection that others use.

use reveille_federation::message::respond;
use reveille_sip::{Limits, Name};
use reveille_sip_net::StaticResolver;

use crate::rig::*;

/// The fields of a request of the rig.
const FIELDS: usize = 8;

/// A request with so many header fields.
fn of_fields(from: &str, to: &str, number: u32, fields: usize) -> String {
    with(&request(from, to, number), &"X-Fill: 1\r\n".repeat(fields - FIELDS))
}

/// A request whose header has so many bytes.
fn of_bytes(from: &str, to: &str, number: u32, bytes: usize) -> String {
    let plain = request(from, to, number);
    let more = bytes - (plain.len() - "hello".len()) - "X-Fill: \r\n".len();
    with(&plain, &format!("X-Fill: {}\r\n", "x".repeat(more)))
}

fn with(request: &[u8], more: &str) -> String {
    String::from_utf8(request.to_vec()).unwrap().replacen("Content-Type", &format!("{more}Content-Type"), 1)
}

#[tokio::test]
async fn whatever_a_partner_may_send_fits_the_connection_to_the_server_behind() {
    let mut border = Border::start(settings([allowed("a.example", None)]), StaticResolver::new()).await;
    let limits = Limits::between_organisations();
    let (fields, bytes) = (usize::from(limits.header_count_max), limits.header_bytes_max as usize);
    let mut inner = Vec::new();
    let letter = |number, size, by_fields| match by_fields {
        true => of_fields("a.example", "push.example.net", number, size),
        false => of_bytes("a.example", "push.example.net", number, size),
    };
    for (by_fields, most) in [(true, fields), (false, bytes)] {
        for (number, size, passes) in [(1, most - 1, true), (2, most, true), (3, most + 1, false)] {
            let mut partner = border.partner("a.example").await;
            partner.send(letter(number, size, by_fields), PATIENCE).await.unwrap();
            if passes {
                let (flow, asked) = border.house.next().await;
                flow.send(respond(&asked, 202, "house", |_| {})).unwrap();
                inner.push(flow);
            }
            let answer = partner.next(PATIENCE).await.unwrap().status();
            assert_eq!(answer, Some(if passes { 202 } else { 513 }), "{size}");
        }
    }
    assert!(inner.iter().all(|flow| !flow.is_closed()), "a connection that others use was closed");
    border.end().await;
}

#[tokio::test]
async fn what_would_be_too_long_for_a_partner_stays_inside_and_its_connection_lives() {
    let at = partner_address();
    let names = StaticResolver::new().host("edge.contoso.com", at.ip());
    let border = Border::start(settings([allowed("contoso.com", Some("edge.contoso.com"))]), names).await;
    let mut beyond = Beyond::start(&border.office, "edge.contoso.com", at);
    let mut house = border.insider(HOUSE).await;
    let mut outer = Vec::new();
    for (number, letter, passes) in [
        (1, of_fields("push.example.net", "contoso.com", 1, 88), true),
        (2, of_fields("push.example.net", "contoso.com", 2, 89), false),
        (3, of_bytes("push.example.net", "contoso.com", 3, 21 * 1024), true),
        (4, of_bytes("push.example.net", "contoso.com", 4, 21 * 1024 + 1), false),
        (5, of_fields("push.example.net", "contoso.com", 5, 128), false),
    ] {
        house.send(letter, PATIENCE).await.unwrap();
        if passes {
            let (flow, asked) = beyond.next().await;
            flow.send(respond(&asked, 202, "beyond", |_| {})).unwrap();
            outer.push(flow);
        }
        let answer = house.next(PATIENCE).await.unwrap();
        assert_eq!(answer.status(), Some(if passes { 202 } else { 513 }), "{number}");
    }
    assert_eq!(border.latest_refusal(), Some("header-too-long"));
    assert!(outer.iter().all(|flow| !flow.is_closed()), "a connection that others use was closed");
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn an_answer_too_long_for_the_partner_is_said_shortly_on_the_same_connection() {
    let mut border = Border::start(settings([allowed("a.example", None)]), StaticResolver::new()).await;
    let mut partner = border.partner("a.example").await;
    for (number, more, expected) in [(1, 70, 202), (2, 110, 513), (3, 1, 202)] {
        partner.send(request("a.example", "push.example.net", number), PATIENCE).await.unwrap();
        let (flow, asked) = border.house.next().await;
        let answer = respond(&asked, 202, "house", |answer| {
            for _ in 0..more {
                answer.other_header("X-Fill", "1");
            }
        });
        flow.send(answer).unwrap();
        assert_eq!(partner.next(PATIENCE).await.unwrap().status(), Some(expected), "{number}");
    }
    assert_eq!(border.edge.in_flight(), 0);
    border.end().await;
}

#[tokio::test]
async fn a_message_that_comes_back_as_it_left_is_a_loop_and_a_changed_one_is_not() {
    let mut border = Border::start(settings([allowed("a.example", None)]), StaticResolver::new()).await;
    let mut partner = border.partner("a.example").await;
    partner.send(request("a.example", "push.example.net", 1), PATIENCE).await.unwrap();
    let left = String::from_utf8(border.house.answer(202).await.as_bytes().to_vec()).unwrap();
    assert_eq!(partner.next(PATIENCE).await.unwrap().status(), Some(202));
    // A Via of whoever sends it back, above ours.
    let back = left.replacen("Via:", "Via: SIP/2.0/TLS b.example;branch=z9hG4bKb\r\nVia:", 1);
    let answer = partner.send_and_wait(&back, PATIENCE).await.unwrap();
    assert_eq!((answer.status(), border.latest_refusal()), (Some(482), Some("looped")));
    assert!(border.house.saw_nothing());
    partner.send(back.replacen("sip:push@", "sip:other@", 1), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    assert_eq!(partner.next(PATIENCE).await.unwrap().status(), Some(202), "a spiral may go on");
    border.end().await;
}

#[tokio::test]
async fn an_extension_that_every_proxy_must_know_is_refused_by_its_name() {
    let mut border = Border::start(settings([allowed("a.example", None)]), StaticResolver::new()).await;
    let mut partner = border.partner("a.example").await;
    let asks = [(Name::ProxyRequire, "foo, bar")];
    let answer = partner.send_and_wait(request_with("a.example", "push.example.net", 1, 70, &asks), PATIENCE).await;
    let answer = answer.unwrap();
    assert_eq!((answer.status(), answer.header(Name::Unsupported)), (Some(420), Some("foo, bar")));
    assert!(border.house.saw_nothing());
    border.end().await;
}
