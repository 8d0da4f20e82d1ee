//! Calls through a home over real connections: between its phones, and by its edge with the world.

mod abroad;
mod hostile;
mod rig;

use reveille_core::TokenKey;
use reveille_sip::Name;

use crate::rig::{Rig, response, said, text};

const BOB: &str = "sip:bob@contoso.com";
const CAROL: &str = "sip:carol@fabrikam.com";
/// What our edge says of a partner that it has admitted.
const TRUST: &str = "ms-edge-proxy-message-trust: ms-source-type=AutoFederation;ms-ep-fqdn=edge.contoso.com;\
                     ms-source-verified-user=verified;ms-source-network=federation;ms-remote-fqdn=fabrikam.com\r\n";

#[tokio::test]
async fn all_phones_of_a_user_ring_and_the_first_answer_ends_the_ringing_of_the_others() {
    let rig = Rig::start().await;
    let (mut desk, mut mobile) = (rig.client("bob").await, rig.client("bob").await);
    desk.register("desk", "").await;
    mobile.register("mobile", ";pn-provider=apns;pn-param=TEAM.app.voip;pn-prid=00f").await;
    let mut alice = rig.client("alice").await;
    let fields = alice.dialog_fields(BOB, "forked", "");
    let invite = alice.request("INVITE", BOB, &fields);
    alice.send(&invite).await;
    let challenge = alice.expect("407").await;
    alice.ack_refusal(BOB, &challenge).await;
    // The challenge is answered on the same connection; the phones ring.
    let answered = async {
        let first = alice.call(BOB, "forked-2", "").await;
        if said(&first) == "180" { alice.expect("200").await } else { first }
    };
    let phones = async {
        let at_desk = desk.expect("INVITE").await;
        assert_eq!(at_desk.values(Name::RecordRoute).count(), 2, "once for each side: {}", text(&at_desk));
        assert_eq!(at_desk.request_uri().unwrap(), desk.contact());
        assert!(at_desk.header(Name::ProxyAuthorization).is_none(), "what proves Alice is shown to Bob");
        desk.answer(&at_desk, 180, "").await;
        let on_mobile = mobile.expect("INVITE").await;
        assert!(!text(&on_mobile).contains("pn-"), "{}", text(&on_mobile));
        let own = format!("Contact: <{};pn-provider=apns;pn-param=TEAM.app.voip;pn-prid=00f>\r\n", mobile.contact());
        mobile.send(&response(&on_mobile, 200, "bob", &own)).await;
        let cancel = desk.expect("CANCEL").await;
        desk.answer(&cancel, 200, "").await;
        desk.answer(&at_desk, 487, "").await;
        desk.expect("ACK").await;
        on_mobile
    };
    let (answer, on_mobile) = tokio::join!(answered, phones);
    assert_eq!(
        answer.address(Name::Contact).unwrap().uri_text(),
        mobile.contact(),
        "push parameters are nobody's business"
    );

    // What follows goes to the phone that answered, and back.
    let ack = alice.within("ACK", &answer, 2);
    alice.send(&ack).await;
    mobile.expect("ACK").await;
    let bye = mobile.back("BYE", &on_mobile, 1);
    mobile.send(&bye).await;
    let heard = alice.expect("BYE").await;
    assert!(heard.header(Name::Route).is_none() && heard.header(Name::RecordRoute).is_none(), "{}", text(&heard));
    alice.answer(&heard, 200, "").await;
    mobile.expect("200").await;
    rig.stop().await;
}

#[tokio::test]
async fn who_cannot_be_called_is_said_with_its_reason() {
    let rig = Rig::start().await;
    let mut alice = rig.client("alice").await;
    for (to, call_id, status) in [
        (BOB, "away", "480"),
        ("sip:nobody@contoso.com", "nobody", "404"),
        ("sip:bob@192.0.2.1", "address", "404"),
        // Her own and only phone does not ring itself.
        ("sip:alice@contoso.com", "herself", "480"),
    ] {
        alice.register("phone", "").await;
        let refused = alice.call(to, call_id, "").await;
        assert_eq!(said(&refused), status, "{to}");
        assert!(refused.header(Name::Warning).is_some_and(|warning| warning.starts_with("399 reveille")), "{to}");
        alice.ack_refusal(to, &refused).await;
    }
    // What a proxy must not pass on is said before anybody is asked who he is (RFC 3261 §16.3).
    for (more, hops, status) in [("", 0, "483"), ("Proxy-Require: teleport\r\n", 70, "420")] {
        let fields = alice.dialog_fields(BOB, status, more);
        let invite =
            alice.request("INVITE", BOB, &fields).replace("Max-Forwards: 70", &format!("Max-Forwards: {hops}"));
        alice.send(&invite).await;
        let refused = alice.expect(status).await;
        assert_eq!(refused.header(Name::Unsupported), (status == "420").then_some("teleport"));
        alice.ack_refusal(BOB, &refused).await;
    }
    let fields = alice.dialog_fields(BOB, "stray", "").replace("INVITE", "BYE");
    assert_eq!(said(&alice.ask("BYE", BOB, &fields).await), "481", "it belongs to no dialog");
    let cancel = alice.request("CANCEL", BOB, &fields.replace("1 BYE", "9 CANCEL"));
    alice.send(&cancel).await;
    alice.expect("481").await;
    rig.stop().await;
}

#[tokio::test]
async fn nobody_calls_in_the_name_of_another() {
    let rig = Rig::start().await;
    let mut mallory = rig.client("mallory").await;
    for from in ["alice@contoso.com", "ceo@fabrikam.com"] {
        let fields = mallory.dialog_fields(BOB, from, "").replace("mallory@contoso.com>;tag", &format!("{from}>;tag"));
        let refused = mallory.ask("INVITE", BOB, &fields).await;
        assert_eq!(said(&refused), "403", "{from}");
        mallory.ack_refusal(BOB, &refused).await;
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_dialog_finds_its_phone_again_when_that_has_a_new_connection() {
    let rig = Rig::start().await;
    let mut before = rig.client("bob").await;
    before.register("mobile", "").await;
    let mut alice = rig.secure_client("alice").await;
    alice.register("desk", "").await;
    let (answer, _) = tokio::join!(alice.call(BOB, "moved", ""), async {
        let invite = before.expect("INVITE").await;
        before.answer(&invite, 200, "").await;
        invite
    });
    let ack = alice.within("ACK", &answer, 2);
    alice.send(&ack).await;
    let ack = before.expect("ACK").await;
    drop(before);
    let mut after = rig.client("bob").await;
    after.register("mobile", "").await;
    let bye = alice.within("BYE", &answer, 3);
    alice.send(&bye).await;
    let bye = after.expect("BYE").await;
    assert_eq!(bye.call_id(), ack.call_id());
    after.answer(&bye, 200, "").await;
    alice.expect("200").await;

    // Once it is not there at all, the dialog's other side hears so.
    drop(after);
    let again = loop {
        let bye = alice.within("BYE", &answer, 4);
        alice.send(&bye).await;
        let heard = alice.next().await;
        // The connection may still count as open for a moment.
        if said(&heard) != "100" && said(&heard) != "408" {
            break heard;
        }
    };
    assert_eq!(said(&again), "430", "{}", text(&again));
    rig.stop().await;
}

#[tokio::test]
async fn a_route_that_home_has_not_written_leads_nowhere_and_anothers_must_be_proven() {
    let rig = Rig::start().await;
    let (mut alice, mut bob, mut mallory) =
        (rig.client("alice").await, rig.client("bob").await, rig.client("mallory").await);
    bob.register("desk", "").await;
    alice.register("desk", "").await;
    mallory.register("desk", "").await;
    let (answer, _) = tokio::join!(alice.call(BOB, "secret", ""), async {
        let invite = bob.expect("INVITE").await;
        bob.answer(&invite, 200, "").await;
    });
    // An ACK goes nowhere unless it names the dialog by tokens of ours, and comes from the phone that is in it.
    let stray = format!(
        "From: <sip:ceo@contoso.com>;tag=1\r\nTo: <{BOB}>;tag=2\r\nCall-ID: stray\r\nCSeq: 1 ACK\r\nX-Stray: 1\r\n"
    );
    let ack = mallory.request("ACK", BOB, &stray);
    mallory.send(&ack).await;
    let ack = mallory.request("ACK", BOB, &stray.replace(";tag=2", ""));
    mallory.send(&ack).await;
    let own = alice.within("ACK", &answer, 2);
    mallory.send(&own.replace("CSeq", "X-Stray: 1\r\nCSeq")).await;
    let mut stranger = rig.datagram_client("mallory").await;
    let ack = stranger.request("ACK", BOB, &stray);
    stranger.send(&ack).await;
    let ack = stranger.request("ACK", "sip:carol@fabrikam.com", &stray);
    stranger.send(&ack).await;
    // Mallory has seen the route set, and is not Alice.
    let bye = alice.within("BYE", &answer, 3);
    mallory.via.clone_from(&alice.via);
    mallory.send(&bye).await;
    mallory.expect("407").await;
    // A token that was changed, or is of a life whose key is gone: to the phone the dialog is over.
    let token = answer.values(Name::RecordRoute).next().unwrap().to_owned();
    let (start, end) = token.split_once('@').unwrap();
    let forged = format!("{}0@{end}", &start[..start.len() - 1]);
    let other = if forged == token { format!("{}1@{end}", &start[..start.len() - 1]) } else { forged };
    let bye = alice.within("BYE", &answer, 4).replace(&token, &other);
    alice.send(&bye).await;
    alice.expect("481").await;
    // The dialog itself is untouched.
    let bye = alice.within("BYE", &answer, 5);
    // What was dropped would have come first: it was sent long before.
    alice.send(&own).await;
    let heard = bob.expect("ACK").await;
    assert!(heard.other_header("X-Stray").is_none(), "{}", text(&heard));
    alice.send(&bye).await;
    let heard = bob.expect("BYE").await;
    bob.answer(&heard, 200, "").await;
    alice.expect("200").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_trusted_proxy_calls_for_its_users_and_is_found_again() {
    let rig = Rig::start().await;
    let mut bob = rig.client("bob").await;
    bob.register("desk", "").await;
    let mut proxy = rig.proxy("alice").await;
    let (answer, invite) = tokio::join!(proxy.call(BOB, "by-proxy", ""), async {
        let invite = bob.expect("INVITE").await;
        bob.answer(&invite, 200, "").await;
        invite
    });
    assert_eq!(said(&answer), "200", "nobody is challenged: {}", text(&answer));
    let ack = proxy.within("ACK", &answer, 1);
    proxy.send(&ack).await;
    bob.expect("ACK").await;
    // No phone of Alice has registered on that connection; it is found by itself.
    let bye = bob.back("BYE", &invite, 1);
    bob.send(&bye).await;
    let heard = proxy.expect("BYE").await;
    proxy.answer(&heard, 200, "").await;
    bob.expect("200").await;
    // Once it is gone, nobody else gets what was for it.
    drop(proxy);
    let gone = loop {
        let info = bob.back("INFO", &invite, 2);
        bob.send(&info).await;
        let heard = bob.next().await;
        // The connection may still count as open for a moment.
        if said(&heard) != "100" && said(&heard) != "408" {
            break heard;
        }
    };
    assert_eq!(said(&gone), "430", "{}", text(&gone));
    rig.stop().await;
}

#[tokio::test]
async fn a_phone_with_two_flows_is_rung_once_and_on_the_other_when_the_newer_is_gone() {
    let rig = Rig::start().await;
    let (mut first, mut second) = (rig.client("bob").await, rig.client("bob").await);
    for (client, id) in [(&mut first, 1), (&mut second, 2)] {
        let contact =
            format!("<{}>;+sip.instance=\"<urn:uuid:both>\";reg-id={id}\r\nSupported: outbound", client.contact());
        let registered = client.register_as(&contact, &format!("both-{id}")).await;
        assert_eq!(registered.header(Name::Require), Some("outbound"));
        assert!(registered.header(Name::FlowTimer).is_some());
        assert_eq!(registered.values(Name::Contact).count(), id);
    }
    let mut alice = rig.client("alice").await;
    let (refused, ()) = tokio::join!(alice.call(BOB, "first", ""), async {
        let invite = second.expect("INVITE").await;
        second.answer(&invite, 486, "").await;
        second.expect("ACK").await;
    });
    assert_eq!(said(&refused), "486");
    alice.ack_refusal(BOB, &refused).await;
    // The other flow was not asked: what comes there next is the next call.
    drop(second);
    let (refused, ()) = tokio::join!(alice.call(BOB, "second", ""), async {
        let invite = first.expect("INVITE").await;
        assert_eq!(invite.call_id(), Some("second"));
        first.answer(&invite, 603, "").await;
        first.expect("ACK").await;
    });
    assert_eq!(said(&refused), "603");
    rig.stop().await;
}

#[tokio::test]
async fn a_client_over_udp_rings_although_it_has_been_silent_and_proves_each_request() {
    let rig = Rig::start().await;
    let mut desk = rig.datagram_client("bob").await;
    desk.register("desk", "").await;
    // Others speak meanwhile, and the socket forgets whoever does not.
    for _ in 0..3 {
        let mut other = rig.datagram_client("mallory").await;
        other.register("other", "").await;
    }
    let mut alice = rig.client("alice").await;
    let (answer, invite) = tokio::join!(alice.call(BOB, "datagrams", ""), async {
        let invite = desk.expect("INVITE").await;
        desk.answer(&invite, 200, "").await;
        invite
    });
    assert_eq!(said(&answer), "200");
    let ack = alice.within("ACK", &answer, 2);
    alice.send(&ack).await;
    desk.expect("ACK").await;
    // Anybody could write his source address: a BYE is challenged there.
    let bye = desk.back("BYE", &invite, 1);
    desk.send(&bye).await;
    let challenge = desk.expect("407").await;
    let proof =
        desk.prove(&challenge, Name::ProxyAuthenticate, "BYE", invite.address(Name::Contact).unwrap().uri_text());
    let bye = desk
        .back("BYE", &invite, 2)
        .replace("Content-Length", &format!("Proxy-Authorization: {proof}\r\nContent-Length"));
    desk.send(&bye).await;
    let heard = alice.expect("BYE").await;
    alice.answer(&heard, 200, "").await;
    desk.expect("200").await;
    rig.stop().await;
}

#[tokio::test]
async fn a_sips_call_rings_only_phones_whose_connection_is_enciphered() {
    let rig = Rig::start().await;
    let (mut plain, mut secure) = (rig.client("bob").await, rig.secure_client("bob").await);
    plain.register("plain", "").await;
    let mut alice = rig.secure_client("alice").await;
    let refused = alice.call("sips:bob@contoso.com", "plain", "").await;
    assert_eq!(said(&refused), "480");
    alice.ack_refusal("sips:bob@contoso.com", &refused).await;
    secure.register("secure", "").await;
    let (busy, ()) = tokio::join!(alice.call("sips:bob@contoso.com", "secure", ""), async {
        let invite = secure.expect("INVITE").await;
        secure.answer(&invite, 486, "").await;
        secure.expect("ACK").await;
    });
    assert_eq!(said(&busy), "486");
    rig.stop().await;
}

#[tokio::test]
async fn a_call_outlives_the_home_that_it_began_through_and_without_its_key_is_over() {
    let key = || Some(TokenKey::new([7; TokenKey::LEN]));
    for then in [key(), None] {
        let before = Rig::keyed(key()).await;
        let (mut alice, mut bob) = (before.client("alice").await, before.client("bob").await);
        alice.register("desk", "").await;
        bob.register("desk", "").await;
        let (answer, _) = tokio::join!(alice.call(BOB, "outlived", ""), async {
            let invite = bob.expect("INVITE").await;
            bob.answer(&invite, 200, "").await;
        });
        let bye = alice.within("BYE", &answer, 3);
        let place = before.tcp.to_string();
        before.stop().await;

        // Another process at that place: here the place differs, there it would not.
        let after = Rig::keyed(then.clone()).await;
        let bye = bye.replace(&place, &after.tcp.to_string());
        let (mut alice, mut bob) = (after.client("alice").await, after.client("bob").await);
        alice.register("desk", "").await;
        bob.register("desk", "").await;
        alice.send(&bye).await;
        if then.is_some() {
            let heard = bob.expect("BYE").await;
            bob.answer(&heard, 200, "").await;
            alice.expect("200").await;
        } else {
            alice.expect("481").await;
        }
        after.stop().await;
    }
}

#[tokio::test]
async fn a_phone_that_loses_its_connection_while_it_rings_hears_the_answer_on_the_next() {
    let rig = Rig::start().await;
    let mut bob = rig.client("bob").await;
    bob.register("desk", "").await;
    let mut before = rig.client("alice").await;
    before.register("mobile", "").await;
    let (ringing, invite) = tokio::join!(before.call(BOB, "lost", ""), async {
        let invite = bob.expect("INVITE").await;
        bob.answer(&invite, 180, "").await;
        invite
    });
    assert_eq!(said(&ringing), "180");
    drop(before);
    // Another of her devices is not the one that has called.
    let mut other = rig.secure_client("alice").await;
    other.register("desk", "").await;
    let mut after = rig.secure_client("alice").await;
    after.register("mobile", "").await;
    after.expect("180").await;
    bob.answer(&invite, 200, "").await;
    let answer = after.expect("200").await;
    let ack = after.within("ACK", &answer, 2);
    after.send(&ack).await;
    bob.expect("ACK").await;
    let bye = bob.back("BYE", &invite, 1);
    bob.send(&bye).await;
    let heard = after.expect("BYE").await;
    after.answer(&heard, 200, "").await;
    bob.expect("200").await;
    assert_eq!(said(&other.call("sip:nobody@contoso.com", "first", "").await), "404", "it has heard nothing else");

    // And who calls without having registered has hung up with its connection.
    let mut gone = rig.client("alice").await;
    let (_, invite) = tokio::join!(gone.call(BOB, "gone", ""), async {
        let invite = bob.expect("INVITE").await;
        bob.answer(&invite, 180, "").await;
        invite
    });
    drop(gone);
    let cancel = bob.expect("CANCEL").await;
    assert_eq!(cancel.call_id(), invite.call_id());
    rig.stop().await;
}

#[tokio::test]
async fn a_copy_of_a_request_with_another_branch_is_challenged_and_not_acted_upon_again() {
    let rig = Rig::start().await;
    let mut bob = rig.client("bob").await;
    bob.register("desk", "").await;
    let mut alice = rig.datagram_client("alice").await;
    let fields = "From: <sip:alice@contoso.com>;tag=1\r\nTo: <sip:bob@contoso.com>\r\nCall-ID: merged\r\nCSeq: 1 MESSAGE\r\n\
                  Content-Type: text/plain\r\n";
    let first = alice.request("MESSAGE", BOB, fields);
    alice.send(&first).await;
    let challenge = alice.expect("407").await;
    let proof = alice.prove(&challenge, Name::ProxyAuthenticate, "MESSAGE", BOB);
    let fields = format!("{fields}Proxy-Authorization: {proof}\r\n").replace("CSeq: 1", "CSeq: 2");
    let proven = alice.request("MESSAGE", BOB, &fields);
    alice.send(&proven).await;
    let heard = bob.expect("MESSAGE").await;
    bob.answer(&heard, 200, "").await;
    assert_eq!(alice.next().await.status().map(|status| status / 100), Some(2));
    let merged = alice.request("MESSAGE", BOB, &fields);
    assert_ne!(merged, proven, "a branch of its own");
    alice.send(&merged).await;
    let challenge = alice.expect("407").await;
    assert!(
        challenge.headers(Name::ProxyAuthenticate).all(|value| value.contains("stale=true")),
        "{}",
        text(&challenge)
    );
    // What bob hears next is something else.
    let fields = fields
        .replace("merged", "next")
        .replace(&proof, &alice.prove(&challenge, Name::ProxyAuthenticate, "MESSAGE", BOB));
    let next =
        alice.request("MESSAGE", BOB, &fields).replace("Content-Length: 0\r\n\r\n", "Content-Length: 5\r\n\r\nother");
    alice.send(&next).await;
    let other = bob.expect("MESSAGE").await;
    assert!(text(&other).ends_with("\r\n\r\nother"), "{}", text(&other));
    bob.answer(&other, 200, "").await;
    assert_eq!(alice.next().await.status().map(|status| status / 100), Some(2));
    rig.stop().await;
}
