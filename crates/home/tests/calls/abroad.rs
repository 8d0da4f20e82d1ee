//! Calls and messages to and from other organisations, by way of the edge.

use reveille_sip::Name;

use crate::rig::{PATIENCE, Rig, response, said, text};
use crate::{BOB, CAROL, TRUST};

#[tokio::test]
async fn a_call_abroad_leaves_by_the_edge_and_what_comes_back_finds_the_caller() {
    let mut rig = Rig::start().await;
    let mut alice = rig.client("alice").await;
    alice.register("desk", "").await;
    let edge = &mut rig.edge;
    let answered = async {
        let first = alice.call(CAROL, "abroad", "P-Asserted-Identity: <sip:ceo@contoso.com>\r\n").await;
        assert_eq!(said(&first), "200", "{}", text(&first));
        first
    };
    let (answer, (flow, invite)) = tokio::join!(answered, async {
        let (flow, invite) = edge.next().await;
        assert_eq!((said(&invite).as_str(), invite.request_uri()), ("INVITE", Some(CAROL)));
        for secret in ["Proxy-Authorization", "P-Asserted-Identity", "ms-edge-proxy"] {
            assert!(!text(&invite).contains(secret), "{secret} has left home");
        }
        let more = "Contact: <sip:carol@192.0.2.9:5060>\r\n";
        flow.send(response(&invite, 200, "carol", more).into()).unwrap();
        (flow, invite)
    });
    let ack = alice.within("ACK", &answer, 2);
    alice.send(&ack).await;
    let (_, ack) = edge.next().await;
    assert_eq!((said(&ack).as_str(), ack.request_uri()), ("ACK", Some("sip:carol@192.0.2.9:5060")));
    assert!(ack.header(Name::Route).is_none(), "the edge of this test has recorded no route: {}", text(&ack));

    // Carol hangs up.
    let routes: String = invite.values(Name::RecordRoute).map(|route| format!("Route: {route}\r\n")).collect();
    let target = invite.address(Name::Contact).unwrap().uri_text().to_owned();
    let bye = |trust: &str, branch: &str| {
        format!(
            "BYE {target} SIP/2.0\r\nVia: SIP/2.0/TLS edge.contoso.com;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n{routes}\
             From: <{CAROL}>;tag=carol\r\nTo: {}\r\nCall-ID: abroad\r\nCSeq: 7 BYE\r\n{trust}Content-Length: 0\r\n\r\n",
            invite.header(Name::From).unwrap()
        )
    };
    edge.inward.send(bye("", "none"), PATIENCE).await.unwrap();
    let refused = edge.inward.next(PATIENCE).await.unwrap();
    assert_eq!(refused.status(), Some(403), "without the edge's word nobody is let in");
    edge.inward.send(bye(TRUST, "some"), PATIENCE).await.unwrap();
    let heard = alice.expect("BYE").await;
    assert!(!text(&heard).contains("ms-edge-proxy"), "{}", text(&heard));
    alice.answer(&heard, 200, "").await;
    let over = edge.inward.next(PATIENCE).await.unwrap();
    assert_eq!(over.status(), Some(200));
    drop(flow);
    rig.stop().await;
}

#[tokio::test]
async fn a_message_abroad_leaves_by_the_edge_and_what_is_answered_there_is_heard_here() {
    let mut rig = Rig::start().await;
    let mut alice = rig.client("alice").await;
    for (status, more) in [(200, ""), (404, "ms-diagnostics: 1003;reason=\"nobody\"\r\n")] {
        let fields = format!(
            "From: <sip:alice@contoso.com>;tag=1\r\nTo: <{CAROL}>\r\nCall-ID: message-{status}\r\nCSeq: 1 MESSAGE\r\n\
             ms-edge-proxy-message-trust: forged\r\n"
        );
        let (heard, ()) = tokio::join!(alice.ask("MESSAGE", CAROL, &fields), async {
            let (flow, message) = rig.edge.next().await;
            assert_eq!((said(&message).as_str(), message.request_uri()), ("MESSAGE", Some(CAROL)));
            assert_eq!((message.max_forwards(), message.headers(Name::Via).count()), (Some(69), 2));
            for secret in ["Proxy-Authorization", "forged"] {
                assert!(!text(&message).contains(secret), "{secret} has left home");
            }
            flow.send(response(&message, status, "carol", more).into()).unwrap();
        });
        assert_eq!((heard.status(), heard.headers(Name::Via).count()), (Some(status), 1));
        assert_eq!(heard.header(Name::MsDiagnostics).is_some(), status == 404);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_call_from_abroad_rings_and_its_caller_may_give_up_but_nothing_passes_on_to_elsewhere() {
    let mut rig = Rig::start().await;
    let mut bob = rig.client("bob").await;
    bob.register("desk", "").await;
    let invite = |to: &str, branch: &str, method: &str| {
        format!(
            "{method} {to} SIP/2.0\r\nVia: SIP/2.0/TLS edge.contoso.com;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
             From: <{CAROL}>;tag=c\r\nTo: <{to}>\r\nCall-ID: in-{branch}\r\nCSeq: 1 {method}\r\n\
             Contact: <sip:carol@192.0.2.9>\r\n{TRUST}Content-Length: 0\r\n\r\n"
        )
    };
    let inward = &mut rig.edge.inward;
    inward.send(invite(BOB, "1", "INVITE"), PATIENCE).await.unwrap();
    let rings = bob.expect("INVITE").await;
    assert!(!text(&rings).contains("ms-edge-proxy"), "{}", text(&rings));
    bob.answer(&rings, 180, "").await;
    while inward.next(PATIENCE).await.unwrap().status() != Some(180) {}
    inward.send(invite(BOB, "1", "CANCEL"), PATIENCE).await.unwrap();
    let cancel = bob.expect("CANCEL").await;
    bob.answer(&cancel, 200, "").await;
    bob.answer(&rings, 487, "").await;
    bob.expect("ACK").await;
    let mut heard = [inward.next(PATIENCE).await.unwrap(), inward.next(PATIENCE).await.unwrap()];
    heard.sort_by_key(|response| response.status());
    assert_eq!(heard.iter().map(|one| one.status().unwrap()).collect::<Vec<_>>(), [200, 487]);

    inward.send(invite("sip:dave@litware.com", "2", "INVITE"), PATIENCE).await.unwrap();
    let refused = inward.send_and_wait("", PATIENCE).await.unwrap();
    assert_eq!(refused.status(), Some(404), "{}", text(&refused));
    rig.stop().await;
}
