//! Connections as such, against servers made by hand: idle ones, silent ones, and ones that ask for a certificate.

mod rig;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reveille_core::{AppKey, Channel, Clock as _, Environment, LaneKey, Provider, Verdict};
use reveille_providers::apns;
use reveille_providers::tls::{ClientIdentity, Trust};
use reveille_providers::{Access, Sender, SenderConfig, SenderFault, Target};
use reveille_sim::certs::{Ca, Identity, Leaf};
use rig::{Inbox, Wall, is_retry, message, until};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

/// Certificates for both sides.
struct Papers {
    ca: Ca,
    server: Identity,
    client: Identity,
}

impl Papers {
    fn new() -> Self {
        let ca = Ca::new("Authority of this test").unwrap();
        let server = ca.issue(Leaf::new("server", &["localhost"])).unwrap();
        let client = ca.issue(Leaf::new("com.example.chat", &["provider.example"])).unwrap();
        Self { ca, server, client }
    }

    /// A sender that comes with its certificate.
    fn config(&self, address: SocketAddr) -> SenderConfig {
        let identity =
            ClientIdentity::from_pem(self.client.chain_pem().as_bytes(), self.client.key_pem().as_bytes()).unwrap();
        let app =
            AppKey { provider: Provider::Apns, app: "com.example.chat".into(), environment: Environment::Production };
        let lane = LaneKey { app, channel: Channel::Message };
        let access = Access::Apns(apns::Access::Certificate(Arc::new(identity)));
        let mut config = SenderConfig::new(lane, access, Trust::from_pem(self.ca.pem().as_bytes()).unwrap());
        config.target = Target { host: "localhost".into(), port: address.port(), address: Some(address), proxy: None };
        config.connections = 1;
        config
    }

    /// Accepts TLS for ever, and hands each connection to `talk`.
    async fn serve<F>(&self, alpn: &[&[u8]], talk: impl Fn(TlsStream<TcpStream>) -> F + Send + 'static) -> SocketAddr
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(self.ca.roots().unwrap());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.server.chain(), self.server.key())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    tokio::spawn(talk(stream));
                }
            }
        });
        address
    }
}

fn start(config: SenderConfig) -> (Sender, Arc<Inbox>) {
    let inbox = Inbox::new();
    let sender = Sender::start(config, inbox.clone(), Wall::new(), &CancellationToken::new()).unwrap();
    (sender, inbox)
}

fn trouble(sender: &Sender) -> String {
    sender.health().trouble.map_or_else(String::new, |(_, sentence)| sentence.into())
}

/// Answers every request with 200; refuses those that carry an `authorization`.
async fn accept_all(stream: TlsStream<TcpStream>) {
    assert!(stream.get_ref().1.peer_certificates().is_some());
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let status = if request.headers().contains_key("authorization") { 403 } else { 200 };
        respond.send_response(http::Response::builder().status(status).body(()).unwrap(), true).unwrap();
    }
}

/// Says what an HTTP/2 server must at first, then only listens.
async fn say_nothing(stream: TlsStream<TcpStream>) {
    // RFC 9113 §3.4: an empty SETTINGS frame is the server's preface.
    say(stream, &[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
}

/// Allows no byte of any body (RFC 9113 §6.5.2: SETTINGS_INITIAL_WINDOW_SIZE of 0), and never more.
async fn shut_the_windows(stream: TlsStream<TcpStream>) {
    say(stream, &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]).await;
}

async fn say(mut stream: TlsStream<TcpStream>, settings: &[u8]) {
    stream.write_all(settings).await.unwrap();
    stream.flush().await.unwrap();
    let mut sink = [0; 4096];
    while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
}

/// Like [`say_nothing`], but answers pings and counts them.
async fn answer_pings(stream: TlsStream<TcpStream>, pings: Arc<AtomicUsize>) {
    say_and_answer_pings(stream, &[0, 0, 0, 4, 0, 0, 0, 0, 0], pings).await;
}

async fn say_and_answer_pings(mut stream: TlsStream<TcpStream>, settings: &[u8], pings: Arc<AtomicUsize>) {
    stream.write_all(settings).await.unwrap();
    stream.flush().await.unwrap();
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        stream.read_exact(&mut payload).await.unwrap();
        // RFC 9113 §6.7: type 6, and flag 1 for the answer.
        if head[3] == 6 && head[4] & 1 == 0 {
            head[4] = 1;
            stream.write_all(&head).await.unwrap();
            stream.write_all(&payload).await.unwrap();
            stream.flush().await.unwrap();
            pings.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test]
async fn a_certificate_takes_the_place_of_the_token() {
    let papers = Papers::new();
    let address = papers.serve(&[b"h2"], accept_all).await;
    let (sender, inbox) = start(papers.config(address));
    sender.offer(message(1, Wall::new().now())).unwrap();
    assert_eq!(inbox.verdict(1).await, Verdict::Accepted);
}

#[tokio::test]
async fn an_idle_connection_that_answers_pings_is_kept() {
    let papers = Papers::new();
    let (pings, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, opened) = (Arc::clone(&pings), Arc::clone(&connections));
    let talk = move |stream| {
        opened.fetch_add(1, Ordering::Relaxed);
        answer_pings(stream, Arc::clone(&seen))
    };
    let address = papers.serve(&[b"h2"], talk).await;
    let (sender, _) = start(SenderConfig { idle_ping: Duration::from_millis(60), ..papers.config(address) });
    until(|| pings.load(Ordering::Relaxed) >= 3).await;
    assert_eq!((connections.load(Ordering::Relaxed), trouble(&sender)), (1, String::new()));
}

#[tokio::test]
async fn an_idle_connection_that_answers_no_ping_is_replaced() {
    let papers = Papers::new();
    let address = papers.serve(&[b"h2"], say_nothing).await;
    let (idle_ping, response_timeout) = (Duration::from_millis(60), Duration::from_millis(60));
    let (sender, _) = start(SenderConfig { idle_ping, response_timeout, ..papers.config(address) });
    until(|| trouble(&sender) == "a connection was given up: no answer to a ping").await;
    until(|| sender.health().connections == 1).await;
}

#[tokio::test]
async fn a_push_whose_body_is_never_let_out_ends_in_time_and_its_connection_too() {
    let papers = Papers::new();
    let address = papers.serve(&[b"h2"], shut_the_windows).await;
    let (response_timeout, patience) = (Duration::from_millis(200), Duration::from_millis(400));
    let (sender, inbox) = start(SenderConfig { response_timeout, patience, ..papers.config(address) });
    (0..100).for_each(|key| sender.offer(message(key, Wall::new().now())).unwrap());
    let outcomes = inbox.wait(100).await;
    // The bodies of 64 wait for the windows; what is behind them waits for the next connection.
    let lost = outcomes.values().filter(|outcome| is_retry(&outcome.verdict, false)).count();
    let unprocessed = outcomes.values().filter(|outcome| is_retry(&outcome.verdict, true)).count();
    assert!(lost > 0 && lost + unprocessed == 100, "{lost} {unprocessed}");
    assert!(trouble(&sender).starts_with("a connection was given up: no answer "), "{}", trouble(&sender));
}

#[tokio::test]
async fn a_connection_that_allows_no_pushes_for_long_is_left_for_another() {
    let papers = Papers::new();
    let pings = Arc::new(AtomicUsize::new(0));
    // RFC 9113 §6.5.2: SETTINGS_MAX_CONCURRENT_STREAMS of 0.
    let none = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0];
    let talk = move |stream| {
        let pings = Arc::clone(&pings);
        async move { say_and_answer_pings(stream, &none, pings).await }
    };
    let address = papers.serve(&[b"h2"], talk).await;
    let (sender, _) = start(SenderConfig { idle_ping: Duration::from_millis(60), ..papers.config(address) });
    until(|| trouble(&sender) == "a connection was given up: it allows no pushes").await;
    until(|| sender.health().connections == 1).await;
}

#[tokio::test]
async fn our_own_bound_holds_where_the_server_sets_none() {
    let papers = Papers::new();
    // Without MAX_CONCURRENT_STREAMS in its SETTINGS a server sets no limit, so ours holds.
    let address = papers.serve(&[b"h2"], say_nothing).await;
    let config = SenderConfig {
        in_flight_max: 4,
        response_timeout: Duration::from_millis(200),
        patience: Duration::from_millis(100),
        ..papers.config(address)
    };
    let (sender, inbox) = start(config);
    for key in 0..10 {
        sender.offer(message(key, Wall::new().now())).unwrap();
    }
    let outcomes = inbox.wait(10).await;
    let lost = outcomes.values().filter(|outcome| is_retry(&outcome.verdict, false)).count();
    let unprocessed = outcomes.values().filter(|outcome| is_retry(&outcome.verdict, true)).count();
    assert_eq!(lost + unprocessed, 10);
    assert!((1..=4).contains(&lost), "{lost}");
}

#[tokio::test]
async fn a_server_without_http2_is_named() {
    let papers = Papers::new();
    let address = papers.serve(&[], say_nothing).await;
    let (sender, _) = start(papers.config(address));
    until(|| trouble(&sender) == "localhost does not speak HTTP/2").await;
}

#[tokio::test]
async fn a_server_with_anothers_certificate_gets_no_push() {
    let (ours, theirs) = (Papers::new(), Papers::new());
    let address = theirs.serve(&[b"h2"], accept_all).await;
    let (sender, inbox) = start(SenderConfig { patience: Duration::from_millis(200), ..ours.config(address) });
    sender.offer(message(1, Wall::new().now())).unwrap();
    let verdict = inbox.verdict(1).await;
    assert!(is_retry(&verdict, true), "{verdict:?}");
    assert!(trouble(&sender).starts_with("the TLS handshake with localhost failed: "), "{}", trouble(&sender));
}

#[tokio::test]
async fn a_long_answer_is_read_to_its_end_but_not_kept() {
    let papers = Papers::new();
    let talk = |stream| async {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let response = http::Response::builder().status(410).body(()).unwrap();
            let mut body = respond.send_response(response, false).unwrap();
            body.send_data(Bytes::from(vec![b' '; 200_000]), true).unwrap();
        }
    };
    let address = papers.serve(&[b"h2"], talk).await;
    let (sender, inbox) = start(papers.config(address));
    for key in 0..20 {
        sender.offer(message(key, Wall::new().now())).unwrap();
    }
    for (key, outcome) in inbox.wait(20).await {
        assert!(matches!(outcome.verdict, Verdict::Forget { since: None, .. }), "{key}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_lane_and_credentials_of_different_providers_do_not_start() {
    let papers = Papers::new();
    let mut config = papers.config(SocketAddr::from(([127, 0, 0, 1], 1)));
    config.lane.app.provider = Provider::Fcm;
    let fault = Sender::start(config, Inbox::new(), Wall::new(), &CancellationToken::new()).unwrap_err();
    assert!(matches!(fault, SenderFault::WrongAccess { lane: Provider::Fcm }), "{fault}");
}
