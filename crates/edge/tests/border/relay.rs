//! Passing on and back: each answer to its own asker, and nothing to whom it was not meant.

use std::time::Instant;

use bytes::BytesMut;
use reveille_federation::message;
use reveille_sip::{Name, ResponseBuilder};
use reveille_sip_net::{CloseReason, StaticResolver};

use crate::rig::*;

/// Two partners that are allowed, each known by its proxy.
async fn two_partners() -> Border {
    let rows = [allowed("a.example", Some("edge.a.example")), allowed("b.example", Some("edge.b.example"))];
    Border::start(settings(rows), StaticResolver::new()).await
}

#[tokio::test]
async fn an_answer_goes_back_to_whoever_asked() {
    let mut border = two_partners().await;
    let (mut a, mut b) = (border.partner("edge.a.example").await, border.partner("edge.b.example").await);
    // The same branch and Call-ID: partners choose theirs without asking each other.
    a.send(request("a.example", "push.example.net", 7), PATIENCE).await.unwrap();
    let (flow_a, from_a) = border.house.next().await;
    b.send(request("b.example", "push.example.net", 7), PATIENCE).await.unwrap();
    let (flow_b, from_b) = border.house.next().await;
    assert_eq!(border.edge.in_flight(), 2);
    // In the other order, and told apart by their status.
    flow_b.send(message::respond(&from_b, 202, "house", |_| {})).unwrap();
    flow_a.send(message::respond(&from_a, 480, "house", |_| {})).unwrap();
    let (to_a, to_b) = (a.next(PATIENCE).await.unwrap(), b.next(PATIENCE).await.unwrap());
    assert_eq!((to_a.status(), to_b.status()), (Some(480), Some(202)));
    assert_eq!(to_a.top_via().unwrap().branch(), Some("z9hG4bK7"), "our own Via is gone");
    assert_eq!(border.edge.in_flight(), 0, "what is finished is forgotten");
    border.end().await;
}

#[tokio::test]
async fn a_provisional_answer_tells_nobody_anything_and_the_final_one_still_finds_its_way() {
    let mut border = two_partners().await;
    let mut a = border.partner("edge.a.example").await;
    a.send(request("a.example", "push.example.net", 1), PATIENCE).await.unwrap();
    let (flow, asked) = border.house.next().await;
    for status in [100, 183, 199] {
        flow.send(message::respond(&asked, status, "house", |_| {})).unwrap();
    }
    flow.send(message::respond(&asked, 200, "house", |_| {})).unwrap();
    assert_eq!(a.next(PATIENCE).await.unwrap().status(), Some(200));
    // A second final answer is to nothing.
    flow.send(message::respond(&asked, 500, "house", |_| {})).unwrap();
    a.send(request("a.example", "push.example.net", 2), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    assert_eq!(a.next(PATIENCE).await.unwrap().status(), Some(202));
    border.end().await;
}

#[tokio::test]
async fn an_answer_from_elsewhere_or_with_a_guessed_branch_is_dropped() {
    let mut border = two_partners().await;
    let (mut a, mut b) = (border.partner("edge.a.example").await, border.partner("edge.b.example").await);
    a.send(request("a.example", "push.example.net", 1), PATIENCE).await.unwrap();
    let (flow, asked) = border.house.next().await;
    // Whoever has seen the branch may forge an answer, but not from another connection.
    let stolen = message::respond(&asked, 603, "thief", |_| {});
    b.send(&stolen, PATIENCE).await.unwrap();
    let mut insider = border.insider(HOUSE).await;
    insider.send(&stolen, PATIENCE).await.unwrap();
    // And from the right connection not without the branch.
    let branch = asked.top_via().unwrap().branch().unwrap().to_owned();
    let number = branch.split('.').next().unwrap();
    for guess in [format!("{number}.0000000000000000"), number.to_owned(), "z9hG4bK1".into()] {
        let text = String::from_utf8(stolen.to_vec()).unwrap().replace(&branch, &guess);
        flow.send(text.into()).unwrap();
    }
    // An answered OPTIONS on each connection proves that everything before it was read.
    for peer in [&mut b, &mut insider] {
        let ping = String::from_utf8(request("b.example", EDGE, 9).to_vec()).unwrap().replace("MESSAGE", "OPTIONS");
        assert_eq!(peer.send_and_wait(ping, PATIENCE).await.unwrap().status(), Some(200));
    }
    assert_eq!(border.edge.in_flight(), 1);
    flow.send(message::respond(&asked, 202, "house", |_| {})).unwrap();
    assert_eq!(a.next(PATIENCE).await.unwrap().status(), Some(202), "the first that a hears is the true one");
    border.end().await;
}

#[tokio::test]
async fn hops_are_counted_and_at_none_left_the_answer_is_483() {
    let mut border = two_partners().await;
    let mut a = border.partner("edge.a.example").await;
    let tired = request_with("a.example", "push.example.net", 1, 0, &[]);
    let answer = a.send_and_wait(tired, PATIENCE).await.unwrap();
    assert_eq!(answer.status(), Some(483));
    assert_eq!(border.latest_refusal(), Some("too-many-hops"));
    assert!(border.house.saw_nothing());
    a.send(request_with("a.example", "push.example.net", 2, 1, &[]), PATIENCE).await.unwrap();
    assert_eq!(border.house.answer(202).await.max_forwards(), Some(0));
    border.end().await;
}

#[tokio::test]
async fn trust_that_was_brought_along_is_stripped_and_our_own_is_stamped() {
    let mut border = two_partners().await;
    let mut a = border.partner("edge.a.example").await;
    let forged = "ms-source-type=AuthorizedServer;ms-ep-fqdn=edge.push.example.net;ms-source-verified-user=verified";
    let brought = [(Name::EdgeTrust, forged)];
    a.send(request_with("a.example", "push.example.net", 1, 70, &brought), PATIENCE).await.unwrap();
    let came = border.house.answer(202).await;
    let trust: Vec<&str> = came.headers(Name::EdgeTrust).collect();
    let ours = "ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;ms-source-verified-user=unverified;\
                ms-source-network=federation;ms-remote-fqdn=edge.a.example";
    assert_eq!(trust, [ours]);
    border.end().await;
}

#[tokio::test]
async fn what_the_inside_says_about_itself_stays_inside() {
    let mut border = two_partners().await;
    let mut a = border.partner("edge.a.example").await;
    a.send(request("a.example", "push.example.net", 1), PATIENCE).await.unwrap();
    let (flow, asked) = border.house.next().await;
    let refusal = reveille_federation::Refusal::Request { reason: reveille_core::Reason::AppNotGranted };
    let audience = reveille_federation::answer::Audience::Inside { source: HOUSE };
    let bytes = message::refused(&asked, &refusal, audience, None, "house");
    assert!(String::from_utf8_lossy(&bytes).contains(HOUSE), "the inside says who it is");
    flow.send(bytes).unwrap();
    let answer = a.next(PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (403, Some("90109"), None));
    let text = String::from_utf8_lossy(answer.as_bytes());
    assert!(text.contains("the publisher has not granted this app to the organisation"), "{text}");
    assert!(!text.contains(HOUSE), "{text}");
    border.end().await;
}

#[tokio::test]
async fn a_next_hop_that_closes_is_told_to_the_asker_at_once_and_without_its_address() {
    let mut border = two_partners().await;
    let mut a = border.partner("edge.a.example").await;
    // The connection has been of use before.
    a.send(request("a.example", "push.example.net", 1), PATIENCE).await.unwrap();
    border.house.answer(202).await;
    assert_eq!(a.next(PATIENCE).await.unwrap().status(), Some(202));
    let begun = Instant::now();
    a.send(request("a.example", "push.example.net", 2), PATIENCE).await.unwrap();
    let (flow, asked) = border.house.next().await;
    assert_eq!(call_id(&asked), "call-2");
    flow.close(CloseReason::Asked { why: "the test wants it" });
    let answer = a.next(PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (504, Some("1046"), None));
    assert!(begun.elapsed().as_secs() < 10, "not only when a timer ends: {:?}", begun.elapsed());
    assert_eq!(border.edge.in_flight(), 0);
    border.end().await;
}

#[tokio::test]
async fn a_server_behind_that_is_gone_is_a_504_that_does_not_say_where_it_was() {
    let mut border = two_partners().await;
    let behind = border.house.address.to_string();
    let mut a = border.partner("edge.a.example").await;
    border.house.stop().await;
    let answer = a.send_and_wait(request("a.example", "push.example.net", 1), PATIENCE).await.unwrap();
    assert_eq!(told(&answer), (504, Some("1046"), None));
    let text = String::from_utf8_lossy(answer.as_bytes());
    assert!(!text.contains(&behind) && !text.contains(HOUSE), "{text}");
    assert!(border.edge.refusals().is_empty(), "nobody was turned away");
    border.end().await;
}

#[tokio::test]
async fn a_response_keeps_what_is_not_ours_byte_for_byte() {
    let mut border = two_partners().await;
    let mut a = border.partner("edge.a.example").await;
    a.send(request("a.example", "push.example.net", 1), PATIENCE).await.unwrap();
    let (flow, asked) = border.house.next().await;
    let mut out = BytesMut::new();
    ResponseBuilder::to(&mut out, &asked, 202)
        .to_tag("house")
        .header(Name::PushResult, "0;result=journaled")
        .other_header("X-Odd", "a  b\t;c=\"d\"")
        .finish()
        .unwrap();
    flow.send(out.freeze()).unwrap();
    let answer = a.next(PATIENCE).await.unwrap();
    assert_eq!(answer.header(Name::PushResult), Some("0;result=journaled"));
    assert_eq!(answer.other_header("X-Odd"), Some("a  b\t;c=\"d\""));
    border.end().await;
}
