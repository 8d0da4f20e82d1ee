//! Connections that grow with the load and go again, and the way through a proxy.

mod rig;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reveille_core::Verdict;
use reveille_providers::{Proxy, SenderConfig, Target};
use rig::apple::World;
use rig::{is_retry, message, soon, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// How many pushes a second are answered over so many connections, with 10 streams each and answers after 50 ms.
async fn rate(connections: usize) -> f64 {
    let world = World::with(|options| options.streams_max = 10).await;
    let config = SenderConfig { connections, connections_max: connections, ..world.config.clone() };
    let sender = world.sender_of(config);
    // Each connection has its first answer before the clock runs.
    until(|| sender.health().connections == connections).await;
    world.offer(&sender, 0..50);
    world.inbox.wait(50).await;
    world.apple.delay(Duration::from_millis(50));
    let begun = Instant::now();
    let count = 100 * connections as u64;
    world.offer(&sender, 50..50 + count);
    world.inbox.wait(50 + count as usize).await;
    count as f64 / begun.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_connections_carry_nearly_three_times_as_much_where_answers_take_long() {
    let (one, three) = (rate(1).await, rate(3).await);
    // 10 streams and 50 ms allow 200 a second on each.
    assert!((100.0..=205.0).contains(&one), "{one}");
    assert!(three >= 2.2 * one, "{one} and {three}");
}

#[tokio::test]
async fn a_crowd_gets_more_connections_up_to_the_bound_and_they_go_when_it_has_gone() {
    let world = World::with(|options| options.streams_max = 5).await;
    world.apple.delay(Duration::from_millis(20));
    let config = SenderConfig {
        connections_max: 5,
        grow_after: Duration::from_millis(30),
        spare_idle: Duration::from_millis(300),
        ..world.config.clone()
    };
    let sender = world.sender_of(config);
    until(|| sender.health().connections == 2).await;
    world.offer(&sender, 0..3000);
    until(|| sender.health().connections == 5).await;
    let outcomes = world.inbox.wait(3000).await;
    assert!(outcomes.values().all(|outcome| outcome.verdict == Verdict::Accepted));
    assert!(world.apple.connections() <= 5);
    until(|| sender.health().connections == 2).await;
    let trouble = sender.health().trouble.map(|(_, sentence)| sentence);
    assert_eq!(trouble.as_deref(), None, "that is no trouble");
    world.offer(&sender, [9000]);
    assert_eq!(world.inbox.verdict(9000).await, Verdict::Accepted);
}

#[tokio::test]
async fn a_few_pushes_at_once_are_no_crowd() {
    let world = World::new().await;
    let config = SenderConfig { grow_after: Duration::from_millis(1), ..world.config.clone() };
    let sender = world.sender_of(config);
    for key in 0..200 {
        world.offer(&sender, [key]);
        world.inbox.verdict(key).await;
    }
    assert_eq!(world.apple.connections(), 2);
}

#[tokio::test]
async fn a_push_does_not_wait_for_the_answers_to_those_before_it() {
    let world = World::new().await;
    let sender = world.narrow_sender();
    // Apple allows more than one once it has accepted one.
    world.offer(&sender, [0]);
    assert_eq!(world.inbox.verdict(0).await, Verdict::Accepted);
    world.apple.hold();
    // Soon altogether: one that is only found when the connection looks round by itself would take a second.
    soon(async {
        for key in 1..=40 {
            world.offer(&sender, [key]);
            world.held(key as usize).await;
        }
    })
    .await;
    assert_eq!(world.inbox.len(), 1);
    world.apple.release();
    world.inbox.wait(41).await;
}

/// A proxy that leads everybody to `to`, counts tunnels, and wants these credentials.
async fn proxy(to: SocketAddr, wants: Option<&'static str>) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tunnels) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&tunnels);
    tokio::spawn(async move {
        while let Ok((mut guest, _)) = listener.accept().await {
            let counted = Arc::clone(&counted);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(guest.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.starts_with("CONNECT apple.example:443 HTTP/1.1\r\n"), "{head}");
                if wants.is_some_and(|wants| !head.contains(wants)) {
                    let no = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n";
                    return guest.write_all(no).await.unwrap();
                }
                counted.fetch_add(1, Ordering::Relaxed);
                guest.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut guest, &mut server).await;
            });
        }
    });
    (address, tunnels)
}

fn through(world: &World, proxy: Proxy) -> SenderConfig {
    let target = Target { host: "apple.example".into(), port: 443, address: None, proxy: Some(proxy) };
    SenderConfig { target, patience: Duration::from_millis(500), ..world.config.clone() }
}

#[tokio::test]
async fn pushes_go_through_a_proxy_that_never_sees_them() {
    let ca = reveille_sim::certs::Ca::new("Apple behind a proxy").unwrap();
    let leaf = ca.issue(reveille_sim::certs::Leaf::new("apns", &["apple.example"])).unwrap();
    let mut world = World::with(|options| options.identity = leaf).await;
    world.config.trust = reveille_providers::tls::Trust::from_pem(ca.pem().as_bytes()).unwrap();
    let basic = "Proxy-Authorization: Basic cHVzaDpzZWNyZXQ=\r\n";
    let (address, tunnels) = proxy(world.apple.addr(), Some(basic)).await;
    let way = Proxy::new(&address.ip().to_string(), address.port()).with_credentials("push:secret\n");
    let sender = world.sender_of(through(&world, way.clone()));
    world.offer(&sender, 0..100);
    assert!(world.inbox.wait(100).await.values().all(|outcome| outcome.verdict == Verdict::Accepted));
    assert_eq!(tunnels.load(Ordering::Relaxed), 2);

    // What the proxy has against us is told as the proxy's, and nothing was sent.
    let stranger = Proxy::new(&address.ip().to_string(), address.port());
    let sender = world.sender_of(through(&world, stranger));
    sender.offer(message(500, world.now())).unwrap();
    let verdict = soon(world.inbox.verdict(500)).await;
    assert!(is_retry(&verdict, true), "{verdict:?}");
    let expected = format!("the proxy {address} gives no way to the provider: it wants a user name and password (407)");
    assert!(verdict.provider_reason().unwrap().ends_with(&expected), "{verdict:?}");
}
