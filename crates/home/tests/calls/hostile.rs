//! What a peer may write and nobody can write again: it is refused, and home lives on.

use reveille_sip::Name;

use crate::rig::{Client, Rig, text};

fn fields(method: &str, number: usize, more: &str) -> String {
    format!(
        "From: <sip:alice@contoso.com>;tag=1\r\nTo: <sip:alice@contoso.com>\r\nCall-ID: hostile-{number}\r\n\
         CSeq: 1 {method}\r\n{more}\r\n"
    )
}

/// Whether home still answers on this connection.
async fn is_heard(client: &mut Client, number: usize) {
    let options = client.request("OPTIONS", "sip:contoso.com", &fields("OPTIONS", number, "X: y"));
    client.send(&options).await;
    let answer = client.expect("200").await;
    assert_eq!(answer.call_id(), Some(&*format!("hostile-{number}")));
}

#[tokio::test]
async fn a_quoted_nul_is_refused_wherever_it_stands_and_nobody_else_notices() {
    let rig = Rig::start().await;
    let digest = "Proxy-Authorization: Digest username=\"a\\\0b\", realm=\"other\", nonce=\"n\", uri=\"sip:x\", \
                  response=\"00112233445566778899aabbccddeeff\"";
    let rows = [
        ("OPTIONS", "sip:contoso.com", "Require: \"\\\0\""),
        ("REGISTER", "sip:contoso.com", "Proxy-Require: \"\\\0\""),
        ("REGISTER", "sip:contoso.com", "Contact: \"A\\\0\" <sip:alice@127.0.0.1>"),
        ("MESSAGE", "sip:x@fabrikam.com", digest),
        ("MESSAGE", "sip:bob@contoso.com", "Content-Type: text/plain;x=\"\\\0\""),
        ("INVITE", "sip:bob@contoso.com", "Record-Route: \"\\\0\" <sip:x;lr>"),
        ("INVITE", "sip:bob@contoso.com", "Subject: \"\\\0\""),
    ];
    for mut client in [rig.client("alice").await, rig.datagram_client("alice").await] {
        for ((method, uri, more), number) in rows.iter().zip(1..) {
            let request = client.request(method, uri, &fields(method, number, more));
            client.send(&request).await;
            let answer = client.expect("400").await;
            let tag = answer.to().expect("To").tag();
            assert!(tag.is_some() && answer.header(Name::Warning).is_some(), "{}", text(&answer));
            is_heard(&mut client, 100 + number).await;
        }
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_name_with_a_quoted_nul_is_a_name() {
    // RFC 4475 §3.1.1.2 has one; all that repeats From and To repeats it as it is.
    let rig = Rig::start().await;
    let mut bob = rig.client("bob").await;
    bob.register("desk", "").await;
    let mut alice = rig.client("alice").await;
    let fields = alice
        .dialog_fields("sip:bob@contoso.com", "named", "")
        .replace("From: <", "From: \"A\\\0\" <")
        .replace("To: <", "To: \"\\\0B\" <");
    let ringing = async {
        let invite = bob.expect("INVITE").await;
        bob.answer(&invite, 486, "").await;
        bob.expect("ACK").await
    };
    let (refused, ack) = tokio::join!(alice.ask("INVITE", "sip:bob@contoso.com", &fields), ringing);
    assert_eq!(refused.status(), Some(486), "{}", text(&refused));
    alice.ack_refusal("sip:bob@contoso.com", &refused).await;
    for message in [&refused, &ack] {
        assert_eq!(message.header(Name::From), Some("\"A\\\0\" <sip:alice@contoso.com>;tag=alice"));
        assert!(message.header(Name::To).is_some_and(|to| to.starts_with("\"\\\0B\" <sip:bob@")), "{}", text(message));
    }
    rig.stop().await;
}

#[tokio::test]
async fn what_was_proven_for_one_target_opens_no_other() {
    let rig = Rig::start().await;
    for mut alice in [rig.client("alice").await, rig.datagram_client("alice").await] {
        let message = |more: &str| fields("MESSAGE", 1, more);
        let first = alice.request("MESSAGE", "sip:bob@contoso.com", &message("X: y"));
        alice.send(&first).await;
        let challenge = alice.expect("407").await;
        let proof = alice.prove(&challenge, Name::ProxyAuthenticate, "MESSAGE", "sip:bob@contoso.com");
        for (target, expected) in [("sip:x@fabrikam.com", "400"), ("sip:bob@contoso.com", "202")] {
            let proven = format!("Proxy-Authorization: {proof}\r\nContent-Type: text/plain");
            let again = alice.request("MESSAGE", target, &message(&proven).replace("CSeq: 1", "CSeq: 2"));
            alice.send(&again).await;
            alice.expect(expected).await;
        }
    }
    rig.stop().await;
}
