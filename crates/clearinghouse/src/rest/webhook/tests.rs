//! The road to webhooks, against a receiver with TLS of our own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use reveille_core::settings::{PushAccount, Setting, Snapshot};
use reveille_core::{Clock, IdentityId, PushId, SipDomain, Timestamp};
use reveille_federation::feedback::{Feedback, FeedbackVerdict, Item, read_body};
use reveille_sim::certs::{Ca, Leaf};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::*;

const NOW: u64 = 1_800_000_000;

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(NOW * 1000)
    }
}

/// The road behind, which notes whom it was asked to lead to.
#[derive(Default)]
struct Behind(Mutex<Vec<String>>);

impl Road for Behind {
    fn carry<'a>(&'a self, letter: Letter<'a>) -> BoxFuture<'a, Result<(), Untold>> {
        self.0.lock().push(letter.origin.to_string());
        async { Ok(()) }.boxed()
    }
}

/// What a receiver was sent.
type Heard = Arc<Mutex<Vec<String>>>;

/// A receiver that answers with these lines, one after the other.
async fn receiver(ca: &Ca, answers: Vec<&'static str>) -> (SocketAddr, Heard) {
    let identity = ca.issue(Leaf::new("localhost", &["localhost", "127.0.0.1"])).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(identity.server_config(&[]).unwrap()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (at, heard) = (listener.local_addr().unwrap(), Heard::default());
    let noted = Arc::clone(&heard);
    tokio::spawn(async move {
        for answer in answers {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut text = Vec::new();
            while !whole(&text) {
                let mut part = [0; 4096];
                let count = stream.read(&mut part).await.unwrap();
                assert!(count > 0, "it ended within a request");
                text.extend_from_slice(&part[..count]);
            }
            noted.lock().push(String::from_utf8(text).unwrap());
            stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
            let _ = stream.shutdown().await;
        }
    });
    (at, heard)
}

/// Whether a request has come as a whole.
fn whole(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((fields, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = fields.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn road(ca: &Ca, webhook: Option<String>, allow: &[&str]) -> (Webhooks, Arc<Behind>, Arc<Signer>) {
    let account = PushAccount { webhook, ..PushAccount::new("contoso-mcx", "contoso.com".parse().unwrap()) };
    let settings = Snapshot::of([Setting::PushAccount(account)]).unwrap();
    let (_, settings) = watch::channel(Arc::new(settings));
    let (behind, signer) = (Arc::<Behind>::default(), Arc::new(Signer::of(&[7; 32])));
    let roots = Arc::new(ca.roots().unwrap());
    let allowed = allow.iter().map(|net| net.parse().unwrap()).collect();
    let road = Webhooks::new(Arc::clone(&behind) as _, settings, Arc::clone(&signer), roots, allowed, Arc::new(Still));
    (road.unwrap(), behind, signer)
}

fn feedback() -> Feedback {
    let at = Timestamp::from_millis(5);
    let (push, identity) = (PushId::from_u128(7), IdentityId::from_u128(8));
    let item = Item {
        push,
        identity,
        verdict: FeedbackVerdict::Forget,
        reason: "Unregistered".into(),
        provider_time: None,
        at,
    };
    Feedback { id: 5, items: vec![item] }
}

async fn carry(road: &Webhooks, origin: &str) -> Result<(), Untold> {
    let (origin, feedback): (SipDomain, _) = (origin.parse().unwrap(), feedback());
    let letter = Letter { origin: &origin, asked: None, feedback: &feedback };
    tokio::time::timeout(Duration::from_secs(20), road.carry(letter)).await.unwrap()
}

#[tokio::test]
async fn feedback_is_posted_signed_and_taken_when_the_receiver_says_so() {
    let ca = Ca::new("Webhook test authority").unwrap();
    let (at, heard) = receiver(&ca, vec!["204 No Content", "503 Busy", "302 Found", "410 Gone"]).await;
    let url = format!("https://localhost:{}/feedback?key=hush", at.port());
    let (road, behind, signer) = road(&ca, Some(url), &["127.0.0.0/8", "::1/128"]);
    assert_eq!(carry(&road, "contoso.com").await, Ok(()));
    for part in ["503", "302"] {
        let Err(Untold::Later(why)) = carry(&road, "contoso.com").await else {
            panic!("{part} is no reason to give up")
        };
        assert!(why.contains(part) && !why.contains("hush"), "{why}");
    }
    assert!(matches!(carry(&road, "contoso.com").await, Err(Untold::Refused(_))));
    assert_eq!(carry(&road, "fabrikam.com").await, Ok(()));
    assert_eq!(*behind.0.lock(), ["fabrikam.com"], "who has no webhook is told by federation");

    let heard = heard.lock();
    let (fields, body) = heard[0].split_once("\r\n\r\n").unwrap();
    assert!(fields.starts_with("POST /feedback?key=hush HTTP/1.1\r\n"), "{fields}");
    let field = |name: &str| {
        let line = fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("{name} is not in {fields}"))
    };
    assert_eq!(field("host"), format!("localhost:{}", at.port()));
    assert!(field("webhook-id").starts_with("contoso.com_"), "whose it is stands in what is signed");
    assert_eq!(read_body(body.as_bytes()).unwrap(), feedback());
    let signed = format!("{}.{}.{body}", field("webhook-id"), field("webhook-timestamp"));
    let tag = STANDARD.decode(field("webhook-signature").strip_prefix("v1a,").unwrap()).unwrap();
    let key = STANDARD.decode(signer.public().strip_prefix("whpk_").unwrap()).unwrap();
    assert!(UnparsedPublicKey::new(&ED25519, &key).verify(signed.as_bytes(), &tag).is_ok());
    assert!(heard[1].contains(field("webhook-id")), "a repetition that says the same has the same id");
}

#[tokio::test]
async fn no_webhook_leads_into_our_own_network_and_none_is_believed_without_its_certificate() {
    let (ca, other) = (Ca::new("Webhook test authority").unwrap(), Ca::new("Another authority").unwrap());
    let (at, heard) = receiver(&other, vec!["204 No Content"]).await;
    let url = |host: &str| Some(format!("https://{host}:{}/", at.port()));
    for (host, allow, part) in [
        ("localhost", &[][..], "is not public"),
        ("127.0.0.1", &["10.0.0.0/8"][..], "is not public"),
        ("[::ffff:127.0.0.1]", &[][..], "is not public"),
        ("127.0.0.1", &["127.0.0.0/8"][..], "TLS: "),
    ] {
        let (road, _, _) = road(&ca, url(host), allow);
        let Err(Untold::Later(why)) = carry(&road, "contoso.com").await else { panic!("{host} was told") };
        assert!(why.contains(part), "{host}: {why}");
    }
    assert!(heard.lock().is_empty());
}
