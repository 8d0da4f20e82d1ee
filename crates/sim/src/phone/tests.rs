//! The phone against a registrar on a real socket.

use std::sync::Arc;
use std::time::Duration;

use reveille_sip::auth::Algorithm;
use reveille_sip::{Method, Name};
use reveille_sip_net::{ClientAuth, ConnectError, TlsClient};
use tokio::task::JoinSet;

use super::registrar::{Conduct, PASSWORD, PATIENCE, Registrar};
use super::{Phone, PhoneError, PhoneOptions, RawError, RawSip};
use crate::office::Office;

const INSTANCE: &str = "urn:uuid:00000000-0000-4000-8000-000000000001";
const PUSH: &str = "pn-provider=apns;pn-param=TEAM.app.voip&remote;pn-prid=T1:voip&T2:remote";

fn options(registrar: &Registrar) -> PhoneOptions {
    PhoneOptions {
        user: "bob".into(),
        domain: "contoso.com".into(),
        password: PASSWORD.into(),
        registrar: registrar.address,
        tls: None,
        instance: INSTANCE.into(),
        push: Some(PUSH.into()),
        user_agent: "Test phone".into(),
    }
}

fn bob(registrar: &Registrar) -> Phone {
    Phone::new(options(registrar))
}

#[tokio::test]
async fn signing_in_answers_the_strongest_challenge_and_reads_its_own_binding() {
    let registrar = Registrar::tcp();
    let bob = bob(&registrar);
    let registered = bob.sign_in().await.unwrap();
    assert_eq!((registered.expires_secs, registered.feature_caps.as_deref()), (600, Some("*;+sip.pns=\"apns\"")));
    let seen = registrar.desk.seen(Method::Register);
    assert_eq!(seen.iter().map(|seen| seen.algorithm).collect::<Vec<_>>(), [None, Some(Algorithm::Sha256)]);
    let contact = seen[1].request.address(Name::Contact).unwrap();
    assert_eq!(contact.instance().unwrap(), format!("<{INSTANCE}>"));
    let local = registrar.desk.flow().remote();
    assert_eq!(contact.uri_text(), format!("sip:bob@{local};transport=tcp;{PUSH}"));
    assert_eq!(seen[1].request.expires(), Some(3600));
    // RFC 3261 §10.2: one Call-ID, rising numbers.
    assert_eq!(seen[0].request.call_id(), seen[1].request.call_id());
    assert!(seen[0].request.cseq().unwrap().number < seen[1].request.cseq().unwrap().number);
    bob.shutdown().await;
    registrar.stop().await;
}

#[tokio::test]
async fn md5_is_used_when_it_is_preferred_and_a_stale_nonce_is_replaced() {
    let registrar = Registrar::tcp();
    registrar.desk.conduct(Conduct::StaleOnce);
    let bob = bob(&registrar);
    bob.set_digest(Algorithm::Md5);
    bob.sign_in().await.unwrap();
    let seen: Vec<_> = registrar.desk.seen(Method::Register).iter().map(|seen| seen.algorithm).collect();
    assert_eq!(seen, [None, Some(Algorithm::Md5), Some(Algorithm::Md5)]);
    bob.shutdown().await;
    registrar.stop().await;
}

#[tokio::test]
async fn a_next_nonce_saves_the_challenge_of_the_next_request() {
    let registrar = Registrar::tcp();
    registrar.desk.conduct(Conduct::NextNonce);
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    for _ in 0..2 {
        bob.refresh().await.unwrap();
        assert_eq!(bob.send("alice@contoso.com", "Hello").await.unwrap(), 202);
    }
    let proven = |method| registrar.desk.seen(method).iter().map(|seen| seen.algorithm.is_some()).collect::<Vec<_>>();
    assert_eq!(proven(Method::Register), [false, true, true, true]);
    // The proxy's nonces are others than the registrar's.
    assert_eq!(proven(Method::Message), [false, true, true]);
    bob.shutdown().await;
    registrar.stop().await;
}

#[tokio::test]
async fn a_body_is_covered_where_nothing_less_is_offered() {
    let registrar = Registrar::tcp();
    registrar.desk.conduct(Conduct::AuthInt);
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    assert_eq!(bob.send("alice@contoso.com", "Grüße").await.unwrap(), 202);
    let sent = registrar.desk.seen(Method::Message);
    assert!(sent[1].header(Name::ProxyAuthorization).contains(", qop=auth-int, nc=00000001, "));
    bob.shutdown().await;
    registrar.stop().await;
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_leaves_no_connection() {
    let registrar = Registrar::tcp();
    let eve = Phone::new(PhoneOptions { password: "a guess".into(), ..options(&registrar) });
    let refused = eve.sign_in().await.unwrap_err();
    assert_eq!(refused.to_string(), "REGISTER was refused with 401 Unauthorized");
    assert_eq!(registrar.desk.seen(Method::Register).len(), 2);
    assert!(!eve.is_connected());
    registrar.desk.gone().await;
    registrar.stop().await;
}

#[tokio::test]
async fn a_refusal_is_told_with_its_warning() {
    let registrar = Registrar::tcp();
    registrar.desk.conduct(Conduct::Refuse(403));
    let refused = bob(&registrar).sign_in().await.unwrap_err();
    assert_eq!(refused.to_string(), "REGISTER was refused with 403 Forbidden (399 home \"not today\")");
    registrar.stop().await;
}

#[tokio::test]
async fn messages_are_answered_and_kept_in_order_and_shown_once() {
    let registrar = Registrar::tcp();
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    for (call_id, text) in [("1", "Hello"), ("2", "How are you? ☎"), ("1", "Hello")] {
        assert_eq!(registrar.desk.deliver(call_id, text).await.unwrap(), 200);
    }
    let received = bob.wait_received(3, PATIENCE).await.unwrap();
    let read: Vec<_> = received.iter().map(|one| (one.call_id.as_str(), one.text.as_str())).collect();
    assert_eq!(read, [("1", "Hello"), ("2", "How are you? ☎"), ("1", "Hello")]);
    assert_eq!((received[0].from.as_str(), received[0].content_type.as_str()), ("alice@contoso.com", "text/plain"));
    assert_eq!(bob.shown().iter().map(|one| one.call_id.clone()).collect::<Vec<_>>(), ["1", "2"]);
    let missing = bob.wait_received(4, Duration::ZERO).await.unwrap_err();
    assert_eq!(missing.to_string(), "message 4 (3 came) did not come within 0 ms");
    bob.shutdown().await;
    registrar.stop().await;
}

#[tokio::test]
async fn a_message_that_is_not_taken_is_not_received() {
    let registrar = Registrar::tcp();
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    for (answer, kept) in [(480, 0), (202, 1), (603, 1), (200, 2)] {
        bob.set_answer(Some(answer));
        assert_eq!(registrar.desk.deliver("1", "x").await.unwrap(), answer);
        assert_eq!(bob.received().len(), kept, "after {answer}");
    }
    bob.shutdown().await;
    registrar.stop().await;
}

#[tokio::test]
async fn a_suspended_phone_is_deaf_until_it_signs_in_on_a_new_connection() {
    let registrar = Registrar::tcp();
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    let first = registrar.desk.flow();
    bob.suspend().await;
    registrar.desk.gone().await;
    assert!(registrar.desk.deliver("1", "lost").await.is_err());
    assert!(!bob.is_connected() && bob.received().is_empty());
    // Not a word was said about it.
    assert_eq!(registrar.desk.seen(Method::Register).len(), 2);
    assert!(matches!(bob.send("alice@contoso.com", "x").await, Err(PhoneError::NotSignedIn)));
    assert!(matches!(bob.refresh().await, Err(PhoneError::NotSignedIn)));
    bob.sign_in().await.unwrap();
    assert_ne!(registrar.desk.flow().id(), first.id());
    assert_eq!(registrar.desk.deliver("1", "kept").await.unwrap(), 200);
    assert_eq!(bob.wait_received(1, PATIENCE).await.unwrap()[0].text, "kept");
    bob.shutdown().await;
    registrar.stop().await;
}

#[tokio::test]
async fn a_phone_frozen_in_the_middle_of_signing_in_says_so_at_once() {
    let registrar = Registrar::tcp();
    registrar.desk.conduct(Conduct::Silent);
    let bob = bob(&registrar);
    let freeze = async {
        registrar.desk.wait_seen(1).await;
        bob.suspend().await;
    };
    let (outcome, ()) = tokio::join!(bob.sign_in(), freeze);
    let lost = outcome.unwrap_err();
    assert_eq!(lost.to_string(), "the connection closed before REGISTER was answered");
    registrar.stop().await;
}

#[tokio::test]
async fn a_refresh_keeps_the_connection() {
    let registrar = Registrar::tcp();
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    let flow = registrar.desk.flow().id();
    assert_eq!(bob.refresh().await.unwrap().expires_secs, 600);
    assert_eq!((registrar.desk.flow().id(), registrar.desk.seen(Method::Register).len()), (flow, 4));
    bob.shutdown().await;
    registrar.stop().await;
}

#[tokio::test]
async fn quitting_keeps_the_push_identity_and_signing_out_gives_it_up() {
    let registrar = Registrar::tcp();
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    bob.quit().await.unwrap();
    registrar.desk.gone().await;
    // Not connected any more: it connects in order to say so.
    bob.sign_out().await.unwrap();
    registrar.desk.gone().await;
    assert!(!bob.is_connected());
    let seen = registrar.desk.seen(Method::Register);
    let told = seen.iter().map(|one| (one.request.expires(), one.header(Name::Contact).contains("pn-")));
    let (here, quits, leaves) = ((Some(3600), true), (Some(0), true), (Some(0), false));
    assert_eq!(told.collect::<Vec<_>>(), [here, here, quits, quits, leaves, leaves]);
    registrar.stop().await;
}

#[tokio::test]
async fn a_message_is_sent_with_proof_and_its_final_status_told() {
    let registrar = Registrar::tcp();
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    assert_eq!(bob.send("alice@contoso.com", "Grüße").await.unwrap(), 202);
    assert_eq!(bob.send("nobody@contoso.com", "x").await.unwrap(), 404);
    let seen = registrar.desk.seen(Method::Message);
    let sent = &seen[1];
    assert_eq!(sent.request.body_bytes(), "Grüße".as_bytes());
    assert_eq!(sent.request.request_uri(), Some("sip:alice@contoso.com"));
    assert!(sent.header(Name::From).starts_with("<sip:bob@contoso.com>;tag="), "{}", sent.header(Name::From));
    assert_eq!(sent.header(Name::From), seen[0].header(Name::From));
    // RFC 3428 §4: a Contact has no place in a MESSAGE; nor have push parameters (RFC 8599 §4.1).
    assert!(seen.iter().all(|one| !String::from_utf8_lossy(one.request.as_bytes()).contains("pn-")));
    let forged = bob.send("alice@contoso.com\r\nVia: x", "x").await.unwrap_err();
    assert!(matches!(forged, PhoneError::Unprintable { method: "MESSAGE", .. }), "{forged}");
    bob.shutdown().await;
    registrar.stop().await;
}

#[tokio::test]
async fn many_messages_may_be_under_way_at_once() {
    let registrar = Registrar::tcp();
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    let mut sending = JoinSet::new();
    for number in 0..50 {
        let bob = bob.clone();
        sending.spawn(async move { bob.send("alice@contoso.com", &number.to_string()).await });
    }
    let statuses: Vec<_> = sending.join_all().await.into_iter().map(Result::unwrap).collect();
    assert_eq!(statuses, [202; 50]);
    bob.shutdown().await;
    registrar.stop().await;
}

#[tokio::test]
async fn a_registrar_that_goes_away_or_is_not_there_is_noticed() {
    let registrar = Registrar::tcp();
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    registrar.stop().await;
    tokio::time::timeout(PATIENCE, bob.disconnected()).await.unwrap();
    assert!(!bob.is_connected());
    let refused = bob.sign_in().await.unwrap_err();
    assert!(matches!(refused, PhoneError::Connect(ConnectError::Refused { .. })), "{refused}");
}

#[tokio::test]
async fn a_phone_that_is_dropped_ends_its_connection() {
    let registrar = Registrar::tcp();
    let bob = bob(&registrar);
    bob.sign_in().await.unwrap();
    drop(bob);
    registrar.desk.gone().await;
    registrar.stop().await;
}

#[test]
fn neither_password_nor_tokens_are_in_debug_output() {
    let options = PhoneOptions {
        user: "bob".into(),
        domain: "contoso.com".into(),
        password: PASSWORD.into(),
        registrar: ([127, 0, 0, 1], 5060).into(),
        tls: None,
        instance: INSTANCE.into(),
        push: Some(PUSH.into()),
        user_agent: "Test phone".into(),
    };
    let shown = format!("{options:?} {:?}", Phone::new(options.clone()));
    assert!(shown.contains("bob") && !shown.contains(PASSWORD) && !shown.contains("T1"), "{shown}");
}

#[tokio::test]
async fn over_tls_the_registrar_proves_its_name_and_the_phone_its_certificate() {
    let office = Office::open();
    let server = office.server("home.contoso.com", ClientAuth::Required);
    let (partner, stranger) = (office.client("partner.example"), office.nobody());
    let registrar = Registrar::tls(&server);
    let partner = Arc::new(partner);
    let phone = |client: &Arc<TlsClient>, name: &str| {
        Phone::new(PhoneOptions { tls: Some((Arc::clone(client), name.to_owned())), ..options(&registrar) })
    };
    let bob = phone(&partner, "home.contoso.com");
    bob.sign_in().await.unwrap();
    assert!(registrar.desk.flow().peer().unwrap().names("partner.example"));
    assert_eq!(registrar.desk.deliver("1", "x").await.unwrap(), 200);
    let contact = registrar.desk.seen(Method::Register)[0].header(Name::Contact).to_owned();
    assert!(contact.contains(";transport=tls;"), "{contact}");
    bob.suspend().await;
    registrar.desk.gone().await;
    let misled = phone(&partner, "another.example").sign_in().await.unwrap_err();
    assert!(matches!(misled, PhoneError::Connect(ConnectError::Tls { .. })), "{misled}");
    let unproven = phone(&Arc::new(stranger), "home.contoso.com").sign_in().await.unwrap_err();
    // In TLS 1.3 the refusal comes after the client's handshake is done.
    assert!(matches!(unproven, PhoneError::Connect(_) | PhoneError::ConnectionLost { .. }), "{unproven}");
    registrar.stop().await;
}

fn raw_register(more: &str) -> String {
    format!(
        "REGISTER sip:contoso.com SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:bob@contoso.com>;tag=1\r\n\
         To: <sip:bob@contoso.com>\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn a_raw_connection_sends_what_it_is_given() {
    let office = Office::open();
    let server = office.server("home.contoso.com", ClientAuth::Required);
    let (partner, stranger) = (office.client("partner.example"), office.nobody());
    let registrar = Registrar::tls(&server);
    let mut raw = RawSip::tls(registrar.address, &partner, "home.contoso.com").await.unwrap();
    for (more, status) in [("Call-ID: 1\r\nContent-Length: 0\r\n", 401), ("Content-Length: 0\r\n", 400)] {
        let answer = raw.send_and_wait(raw_register(more), PATIENCE).await.unwrap();
        assert_eq!(answer.status(), Some(status), "{more}");
    }
    raw.send(raw_register("Call-ID: 1\r\nContent-Length: -1\r\n"), PATIENCE).await.unwrap();
    raw.closed(PATIENCE).await.unwrap();
    let refused = match RawSip::tls(registrar.address, &stranger, "home.contoso.com").await {
        Ok(mut raw) => raw.next(PATIENCE).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(refused, RawError::Closed | RawError::Connect(_) | RawError::Io(_)), "{refused}");
    registrar.stop().await;
}

#[tokio::test]
async fn a_raw_connection_keeps_requests_that_come_before_the_answer() {
    let registrar = Registrar::tcp();
    let mut raw = RawSip::tcp(registrar.address).await.unwrap();
    assert!(matches!(raw.next(Duration::ZERO).await, Err(RawError::TimedOut { .. })));
    let first = raw.send_and_wait(raw_register("Call-ID: 1\r\nContent-Length: 0\r\n"), PATIENCE).await.unwrap();
    assert_eq!(first.status(), Some(401));
    // The request is queued before the bytes that are answered leave, so it comes first.
    let delivery = registrar.desk.deliver("7", "x");
    let asking = async {
        let answer = raw.send_and_wait(raw_register("Call-ID: 2\r\nContent-Length: 0\r\n"), PATIENCE).await.unwrap();
        assert_eq!((answer.status(), answer.call_id()), (Some(401), Some("2")));
        assert_eq!(raw.next(PATIENCE).await.unwrap().call_id(), Some("7"));
        drop(raw);
    };
    let (outcome, ()) = tokio::join!(delivery, asking);
    assert!(outcome.is_err(), "a raw connection answers nothing by itself");
    registrar.stop().await;
}
