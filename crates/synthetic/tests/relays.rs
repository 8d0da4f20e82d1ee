//! The TURN client with servers that others wrote: coturn (`apt install coturn`), and the demo's own on `turn-server-proto`.

#![allow(clippy::disallowed_methods, reason = "coturn goes by the wall clock")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reveille_core::Timestamp;
use reveille_core::diagnosis::Failure;
use reveille_core::stage::{Stage, Walk};
use reveille_edge::RelaySecret;
use reveille_federation::media_relay::{Grant, Relay};
use reveille_sim::certs::{Ca, Identity, Leaf};
use reveille_sim::turn::{TurnOptions, TurnSimulator};
use reveille_sip_net::{StaticResolver, TlsClient, TrustRoots};
use reveille_synthetic::av_edge::{Instead, Reach, through};

/// How long coturn may take to listen.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// coturn, for as long as it is held.
struct Coturn(Child);

impl Coturn {
    async fn start(at: SocketAddr, more: &[&str]) -> Self {
        Self::start_with(at, &[&["--no-tls"], more].concat()).await
    }

    /// The same with TLS on another port, by these files.
    async fn start_tls(at: SocketAddr, port: u16, files: &Files) -> Self {
        let flags = [
            format!("--tls-listening-port={port}"),
            format!("--cert={}", files.at("turn.pem").display()),
            format!("--pkey={}", files.at("turn.key").display()),
        ];
        Self::start_with(at, &flags.each_ref().map(String::as_str)).await
    }

    async fn start_with(at: SocketAddr, more: &[&str]) -> Self {
        let child = Command::new("turnserver")
            .args(["-n", "--use-auth-secret", "--static-auth-secret=north", "--realm=contoso.com", "--no-cli"])
            .args(["--no-dtls", "--log-file=stdout", "--simple-log", "--allow-loopback-peers"])
            .args([format!("--listening-ip={}", at.ip()), format!("--listening-port={}", at.port())])
            .args([format!("--relay-ip={}", at.ip()), "--pidfile=/dev/null".to_owned()])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver is installed: apt install coturn");
        let coturn = Self(child);
        let listens = async {
            while tokio::net::TcpStream::connect(at).await.is_err() {
                tokio::task::yield_now().await;
            }
            // Its datagrams come a moment later: it listens when it answers a binding request (RFC 8489 §5).
            let socket = tokio::net::UdpSocket::bind(SocketAddr::new(at.ip(), 0)).await.expect("a port");
            let ask = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
            let mut answer = [0; 256];
            loop {
                socket.send_to(&ask, at).await.expect("sent");
                let heard = tokio::time::timeout(Duration::from_millis(50), socket.recv_from(&mut answer)).await;
                if matches!(heard, Ok(Ok(_))) {
                    return;
                }
            }
        };
        tokio::time::timeout(STARTS_WITHIN, listens).await.expect("coturn listens");
        coturn
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address of this machine whose port is free for UDP and TCP.
fn free() -> SocketAddr {
    free_at(Ipv4Addr::LOCALHOST.into())
}

fn free_at(ip: IpAddr) -> SocketAddr {
    loop {
        let tcp = TcpListener::bind((ip, 0)).expect("a port");
        let at = tcp.local_addr().expect("bound");
        if UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

fn reach() -> Reach {
    reach_at(&[Ipv4Addr::LOCALHOST.into()], &TrustRoots::none())
}

/// How a TURN server with these addresses is found, for those who trust these roots.
fn reach_at(addresses: &[IpAddr], roots: &TrustRoots) -> Reach {
    let resolver = addresses.iter().fold(StaticResolver::new(), |table, ip| table.host("turn.contoso.com", *ip));
    Reach { resolver: Arc::new(resolver), tls: Arc::new(TlsClient::new(None, roots)) }
}

/// A folder for the files of a server, which goes with this value.
struct Files(PathBuf);

impl Files {
    fn new(identity: &Identity) -> Self {
        let folder = std::env::temp_dir().join(format!("reveille-turn-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder).expect("a folder");
        let files = Self(folder);
        files.hold(identity);
        files
    }

    fn hold(&self, identity: &Identity) {
        std::fs::write(self.at("turn.pem"), identity.chain_pem()).expect("written");
        std::fs::write(self.at("turn.key"), identity.key_pem()).expect("written");
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn roots(ca: &Ca) -> TrustRoots {
    TrustRoots::from_pem(ca.pem().as_bytes()).expect("roots")
}

/// Credentials as our edge makes them, that hold from now for so many seconds.
fn grant(at: SocketAddr, secret: &str, holds: i64) -> Grant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64;
    let until = Timestamp::from_millis((now + holds) as u64 * 1000);
    let port = Some(at.port());
    Grant {
        credentials: RelaySecret::new(secret.as_bytes()).credentials("kenmyer@litwareinc.com", until),
        minutes: 5,
        relays: vec![Relay { host: "turn.contoso.com".into(), udp: port, tcp: port, tls: None }],
    }
}

async fn walked(grant: &Grant, instead: Option<&Instead>) -> Walk {
    let mut walk = Walk::default();
    through(&mut walk, &reach(), grant, instead).await;
    walk
}

/// Where it ended, and why.
fn end(walk: &Walk) -> Option<(Stage, Failure)> {
    walk.trouble.as_ref().map(|trouble| (trouble.stage, trouble.failure))
}

const WHOLE: [Stage; 5] = [Stage::RelayName, Stage::RelayConnect, Stage::RelayAuth, Stage::Allocation, Stage::Packet];

#[tokio::test]
async fn packets_move_through_coturn_by_udp_and_tcp_and_each_failure_is_told_apart() {
    let at = free();
    let coturn = Coturn::start(at, &[]).await;
    let walk = walked(&grant(at, "north", 300), None).await;
    assert_eq!(end(&walk), None, "{walk:#?}");
    let stages: Vec<Stage> = walk.steps.iter().map(|step| step.stage).collect();
    assert_eq!(stages, [WHOLE, WHOLE].concat());
    assert!(walk.hints.is_empty(), "given back: {:?}", walk.hints);

    let rejected = Some((Stage::RelayAuth, Failure::RelayRejectsCredentials));
    assert_eq!(end(&walked(&grant(at, "south", 300), None).await), rejected, "another secret");
    assert_eq!(end(&walked(&grant(at, "north", -60), None).await), rejected, "their time is over");
    let nowhere = Instead { host: Some("turn.fabrikam.com".into()), ..Instead::default() };
    let unknown = walked(&grant(at, "north", 300), Some(&nowhere)).await;
    assert_eq!(end(&unknown), Some((Stage::RelayName, Failure::RelayNameNotFound)));

    drop(coturn);
    let down = walked(&grant(at, "north", 300), None).await;
    assert_eq!(end(&down), Some((Stage::RelayConnect, Failure::RelayUnreachable)));
    assert_eq!(down.steps.iter().filter(|step| !step.passed).count(), 2, "UDP and TCP are each told: {down:#?}");
}

#[tokio::test]
async fn a_relay_that_lets_nothing_through_or_has_no_room_is_told_apart() {
    let at = free();
    let closed = Coturn::start(at, &["--denied-peer-ip=127.0.0.1"]).await;
    let walk = walked(&grant(at, "north", 300), None).await;
    assert_eq!(end(&walk), Some((Stage::Packet, Failure::PacketLost)), "{walk:#?}");
    assert!(walk.trouble.is_some_and(|trouble| trouble.remedy.contains("denied-peer-ip")));
    drop(closed);

    let at = free();
    let _full = Coturn::start(at, &["--total-quota=1", "--max-port=49153", "--min-port=49152"]).await;
    let held = grant(at, "north", 300);
    let (first, second) = tokio::join!(walked(&held, None), walked(&held, None));
    let refused = Some((Stage::Allocation, Failure::RelayRefuses));
    assert!(end(&first) == refused || end(&second) == refused, "{first:#?} {second:#?}");
}

#[tokio::test]
async fn the_demos_server_takes_the_same_credentials_and_no_others() {
    let at = free();
    let options = TurnOptions { listen: at, realm: "contoso.com".into(), secret: "north".into() };
    let server = TurnSimulator::start(options).await.expect("it listens");
    for _ in 0..3 {
        let walk = walked(&grant(at, "north", 300), None).await;
        assert_eq!(end(&walk), None, "{walk:#?}");
    }
    let rejected = Some((Stage::RelayAuth, Failure::RelayRejectsCredentials));
    assert_eq!(end(&walked(&grant(at, "south", 300), None).await), rejected);
    assert_eq!(end(&walked(&grant(at, "north", -60), None).await), rejected);
    server.shutdown().await;
    let down = walked(&grant(at, "north", 300), None).await;
    assert_eq!(end(&down), Some((Stage::RelayConnect, Failure::RelayUnreachable)));
}

/// A grant for TLS only.
fn over_tls(at: SocketAddr, secret: &str, port: u16) -> Grant {
    let mut grant = grant(at, secret, 300);
    grant.relays = vec![Relay { host: "turn.contoso.com".into(), udp: None, tcp: None, tls: Some(port) }];
    grant
}

#[tokio::test]
async fn coturn_is_reached_over_tls_and_each_fault_of_its_certificate_is_told_apart() {
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    let (ca, other) = (Ca::new("Authority of users").expect("a ca"), Ca::new("Nobody's authority").expect("a ca"));
    let good = Leaf::new("turn.contoso.com", &["turn.contoso.com"]);
    let issue = |ca: &Ca, leaf| ca.issue(leaf).expect("a certificate");
    let untrusted = Some((Stage::RelayConnect, Failure::RelayUntrusted));
    for (case, identity, expected, words) in [
        ("good", issue(&ca, good), None, ["", ""]),
        // RFC 8489 §6.2.3: unlike SIP, TURN takes a wildcard as the first label.
        ("a wildcard", issue(&ca, Leaf::new("*.contoso.com", &["*.contoso.com"])), None, ["", ""]),
        (
            "another name",
            issue(&ca, Leaf::new("turn.fabrikam.com", &["turn.fabrikam.com"])),
            untrusted,
            ["names turn.fabrikam.com, not turn.contoso.com", "a certificate that names turn.contoso.com"],
        ),
        (
            "expired",
            issue(&ca, Leaf { not_before: now - day * 9, not_after: now - day, ..good }),
            untrusted,
            ["expired on", "the clock of this machine"],
        ),
        (
            "not begun",
            issue(&ca, Leaf { not_before: now + day, ..good }),
            untrusted,
            ["not valid before", "the clock of this machine"],
        ),
        ("unknown", issue(&other, good), untrusted, ["CN=Nobody's authority", "home.tls.roots_out"]),
    ] {
        let (at, files) = (free(), Files::new(&identity));
        let port = free().port();
        let _coturn = Coturn::start_tls(at, port, &files).await;
        let reach = reach_at(&[at.ip()], &roots(&ca));
        let mut walk = Walk::default();
        through(&mut walk, &reach, &over_tls(at, "north", port), None).await;
        assert_eq!(end(&walk), expected, "{case}: {walk:#?}");
        match &walk.trouble {
            None => {
                let stages: Vec<Stage> = walk.steps.iter().map(|step| step.stage).collect();
                assert_eq!((stages.as_slice(), walk.hints.len()), (&WHOLE[..], 0), "{case}: {:?}", walk.hints);
                let mut walk = Walk::default();
                through(&mut walk, &reach, &over_tls(at, "south", port), None).await;
                let rejected = Some((Stage::RelayAuth, Failure::RelayRejectsCredentials));
                assert_eq!(end(&walk), rejected, "{case}: another secret over TLS");
            }
            Some(trouble) => {
                assert!(trouble.sentence.contains(words[0]), "{case}: {}", trouble.sentence);
                assert!(trouble.remedy.contains(words[1]), "{case}: {}", trouble.remedy);
            }
        }
    }
}

#[tokio::test]
async fn a_port_that_speaks_something_else_is_told_from_one_where_nobody_is() {
    let at = free();
    let coturn = Coturn::start(at, &[]).await;
    let mut walk = Walk::default();
    through(&mut walk, &reach(), &over_tls(at, "north", at.port()), None).await;
    let trouble = walk.trouble.expect("no TLS there");
    assert_eq!((trouble.stage, trouble.failure), (Stage::RelayConnect, Failure::RelayUnreachable));
    assert!(trouble.sentence.contains("does not speak TLS there"), "{}", trouble.sentence);
    assert!(trouble.remedy.contains("tls in [[edge.av.servers]]"), "{}", trouble.remedy);
    drop(coturn);

    // A web server where a TURN server should be.
    let web = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = web.local_addr().expect("bound").port();
    let serving = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let (mut stream, _) = web.accept().await.expect("somebody comes");
        let read = stream.read(&mut [0; 512]).await.expect("a request");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
        read
    });
    let mut asked = grant(at, "north", 300);
    asked.relays = vec![Relay { host: "turn.contoso.com".into(), udp: None, tcp: Some(port), tls: None }];
    let trouble = walked(&asked, None).await.trouble.expect("no TURN there");
    assert!(serving.await.expect("it has served") > 0);
    assert!(trouble.sentence.contains("is no TURN server for users"), "{}", trouble.sentence);
    assert!(trouble.remedy.contains("correct tcp in [[edge.av.servers]]"), "{}", trouble.remedy);
}

#[tokio::test]
async fn packets_move_over_ipv6_where_there_is_nothing_else() {
    let at = free_at(Ipv6Addr::LOCALHOST.into());
    let ca = Ca::new("Authority of users").expect("a ca");
    let identity = ca.issue(Leaf::new("turn.contoso.com", &["turn.contoso.com"])).expect("a certificate");
    let (files, port) = (Files::new(&identity), free_at(at.ip()).port());
    let _coturn = Coturn::start_tls(at, port, &files).await;
    let mut all = grant(at, "north", 300);
    all.relays[0].tls = Some(port);
    let mut walk = Walk::default();
    through(&mut walk, &reach_at(&[at.ip()], &roots(&ca)), &all, None).await;
    assert_eq!(end(&walk), None, "{walk:#?}");
    let stages: Vec<Stage> = walk.steps.iter().map(|step| step.stage).collect();
    assert_eq!(stages, [WHOLE, WHOLE, WHOLE].concat(), "UDP, TCP and TLS");
    let relayed = walk.steps.iter().filter(|step| step.stage == Stage::Allocation);
    assert!(relayed.clone().count() == 3 && relayed.clone().all(|step| step.detail.starts_with("[::1]:")), "{walk:#?}");
    assert_eq!(walk.hints.len(), 3, "{:?}", walk.hints);
    assert!(walk.hints.iter().all(|hint| hint.contains("has addresses of IPv6 only")), "{:?}", walk.hints);
}

#[tokio::test]
async fn an_address_where_nobody_answers_is_a_hint_while_another_serves() {
    let at = free();
    let _coturn = Coturn::start(at, &[]).await;
    let dead = IpAddr::from(Ipv6Addr::LOCALHOST);
    let mut walk = Walk::default();
    through(&mut walk, &reach_at(&[dead, at.ip()], &TrustRoots::none()), &grant(at, "north", 300), None).await;
    assert_eq!(end(&walk), None, "{walk:#?}");
    assert_eq!(walk.hints.len(), 2, "of UDP and of TCP: {:?}", walk.hints);
    assert!(walk.hints.iter().all(|hint| hint.starts_with("turn.contoso.com has the address ::1")), "{:?}", walk.hints);
}
