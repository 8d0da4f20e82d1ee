//! The TURN client with servers that others wrote: coturn (`apt install coturn`), and the demo's own on `turn-server-proto`.

#![allow(clippy::disallowed_methods, reason = "coturn goes by the wall clock")]

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reveille_core::Timestamp;
use reveille_core::diagnosis::Failure;
use reveille_core::stage::{Stage, Walk};
use reveille_edge::RelaySecret;
use reveille_federation::media_relay::{Grant, Relay};
use reveille_sim::turn::{TurnOptions, TurnSimulator};
use reveille_sip_net::{StaticResolver, TlsClient, TrustRoots};
use reveille_synthetic::av_edge::{Instead, Reach, through};

/// How long coturn may take to listen.
const STARTS_WITHIN: Duration = Duration::from_secs(10);

/// coturn, for as long as it is held.
struct Coturn(Child);

impl Coturn {
    async fn start(at: SocketAddr, more: &[&str]) -> Self {
        let child = Command::new("turnserver")
            .args(["-n", "--use-auth-secret", "--static-auth-secret=north", "--realm=contoso.com", "--no-cli"])
            .args(["--no-tls", "--no-dtls", "--log-file=stdout", "--simple-log", "--allow-loopback-peers"])
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
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a port");
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
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = tcp.local_addr().expect("bound");
        if UdpSocket::bind(at).is_ok() {
            return at;
        }
    }
}

fn reach() -> Reach {
    let resolver = StaticResolver::new().host("turn.contoso.com", "127.0.0.1".parse().expect("an address"));
    Reach { resolver: Arc::new(resolver), tls: Arc::new(TlsClient::new(None, &TrustRoots::none())) }
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
