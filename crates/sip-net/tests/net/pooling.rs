//! The pool: what waits, in which order it leaves, and what is said when it cannot.

use std::sync::Arc;
use std::time::Duration;

use reveille_sip_net::{
    ClientAuth, CloseReason, ConnectError, HandshakeRefusal, ListenLimits, Listener, Pool, PoolLimits, Sent, Side,
    Stage, TlsClient, Transport, TrustRoots,
};
use rustls::AlertDescription;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Authority, Fate, Fates, Raw, Running, Seen, Witness, loopback, numbers, ok, parcel, request, server, target, within,
};

struct Outbound {
    pool: Pool,
    fates: mpsc::UnboundedReceiver<Fate>,
    seen: mpsc::UnboundedReceiver<Seen>,
    stop: CancellationToken,
}

fn outbound(tls: Option<TlsClient>, limits: PoolLimits) -> Outbound {
    let (senders, fates) = Fates::new();
    let (witness, seen) = Witness::new();
    let stop = CancellationToken::new();
    let pool = Pool::new(witness, senders, tls.map(Arc::new), None, limits, stop.clone());
    Outbound { pool, fates, seen, stop }
}

impl Outbound {
    async fn fate(&mut self) -> Fate {
        within(self.fates.recv()).await.expect("the pool lives")
    }
}

fn one_connection() -> PoolLimits {
    PoolLimits { connections_per_target: 1, ..PoolLimits::default() }
}

#[tokio::test]
async fn what_is_sent_before_the_connection_leaves_first_and_in_order() {
    let authority = Authority::new("CA");
    let server = server(&authority.named("edge.example"), ClientAuth::Required, &authority.roots());
    let mut listener = Running::tls(server, ListenLimits::default());
    let client = TlsClient::new(Some(&authority.named("contoso.com")), &authority.roots());
    let mut out = outbound(Some(client), one_connection());
    let hop = target("edge.example", listener.address, Transport::Tls);
    for number in 1..=100 {
        assert!(matches!(out.pool.send(&hop, parcel(number)), Ok(Sent::Waiting)));
    }
    for number in 1..=100 {
        assert_eq!(out.fate().await, Fate::Sent(number));
    }
    let Ok(Sent::On(flow)) = out.pool.send(&hop, parcel(101)) else { panic!("a connection is there") };
    assert_eq!(flow.side(), Side::Initiated);
    assert!(flow.peer().is_some_and(|peer| peer.names("edge.example")));
    let (messages, _) = listener.messages(101).await;
    assert_eq!(numbers(&messages), (1..=101).collect::<Vec<_>>());
    out.stop.cancel();
    within(out.pool.finish()).await;
    assert!(matches!(out.pool.send(&hop, parcel(102)), Err(ConnectError::Stopping)));
}

#[tokio::test]
async fn answers_come_to_the_same_handler() {
    let listener = Running::tcp(ListenLimits::default());
    let mut out = outbound(None, one_connection());
    out.pool.send(&target("edge.example", listener.address, Transport::Tcp), parcel(1)).expect("taken");
    loop {
        match within(out.seen.recv()).await.expect("the pool lives") {
            Seen::Batch(flow, batch) => {
                assert_eq!(batch[0].status(), Some(200));
                assert!(flow.has_heard());
                break;
            }
            Seen::Opened(flow) => assert_eq!(flow.remote(), listener.address),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_second_connection_shares_the_load_when_the_first_is_in_use() {
    let mut listener = Running::tcp(ListenLimits::default());
    let mut out = outbound(None, PoolLimits::default());
    let hop = target("edge.example", listener.address, Transport::Tcp);
    out.pool.send(&hop, parcel(1)).expect("taken");
    assert_eq!(out.fate().await, Fate::Sent(1));
    out.pool.send(&hop, parcel(2)).expect("taken");
    let (first, second) = (listener.opened().await, listener.opened().await);
    assert_ne!(first.id(), second.id());
    let mut opened = 0;
    while opened < 2 {
        opened += usize::from(matches!(within(out.seen.recv()).await, Some(Seen::Opened(_))));
    }
    assert_eq!(out.pool.flows(&hop).len(), 2);
    let used: std::collections::HashSet<_> = (3..=6)
        .map(|number| match out.pool.send(&hop, parcel(number)) {
            Ok(Sent::On(flow)) => flow.id(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(used.len(), 2);
}

#[tokio::test]
async fn each_waiting_parcel_hears_of_a_refused_connection_and_the_next_fails_fast() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let limits = PoolLimits { failure_pause: Duration::from_secs(3600), ..PoolLimits::default() };
    let mut out = outbound(None, limits);
    let hop = target("edge.example", address, Transport::Tcp);
    for number in 1..=3 {
        assert!(matches!(out.pool.send(&hop, parcel(number)), Ok(Sent::Waiting)));
    }
    for number in 1..=3 {
        assert_eq!(out.fate().await, Fate::Failed(number, ConnectError::Refused { address }));
    }
    assert_eq!(out.pool.send(&hop, parcel(4)).err(), Some(ConnectError::Refused { address }));
}

#[tokio::test]
async fn a_next_hop_that_comes_back_is_used_again_after_the_pause() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    let limits = PoolLimits { failure_pause: Duration::ZERO, ..PoolLimits::default() };
    let mut out = outbound(None, limits);
    let hop = target("edge.example", address, Transport::Tcp);
    out.pool.send(&hop, parcel(1)).expect("taken");
    assert!(matches!(out.fate().await, Fate::Failed(1, _)));
    let listener = Listener::tcp(address, ListenLimits::default()).expect("the same port");
    let mut listener = Running::start(listener, Witness::new());
    out.pool.send(&hop, parcel(2)).expect("taken");
    assert_eq!(out.fate().await, Fate::Sent(2));
    assert_eq!(numbers(&listener.messages(1).await.0), [2]);
}

#[tokio::test]
async fn a_server_of_another_name_fails_with_both_names() {
    let authority = Authority::new("CA");
    let server = server(&authority.named("other.example"), ClientAuth::None, &TrustRoots::none());
    let listener = Running::tls(server, ListenLimits::default());
    let mut out = outbound(Some(TlsClient::new(None, &authority.roots())), PoolLimits::default());
    out.pool.send(&target("edge.example", listener.address, Transport::Tls), parcel(1)).expect("taken");
    let Fate::Failed(1, error) = out.fate().await else { panic!("it must not be sent") };
    assert_eq!(error.stage(), Stage::Tls);
    assert!(error.to_string().contains("names other.example, not edge.example"), "{error}");
}

/// TLS 1.3 lets a client finish before the server has looked at its certificate.
#[tokio::test]
async fn our_certificate_being_refused_after_the_handshake_reaches_each_parcel() {
    let (ours, theirs) = (Authority::new("Our CA"), Authority::new("Their CA"));
    let server = server(&ours.named("edge.example"), ClientAuth::Required, &theirs.roots());
    let mut listener = Running::tls(server, ListenLimits::default());
    let client = TlsClient::new(Some(&ours.named("contoso.com")), &ours.roots());
    let limits = PoolLimits { failure_pause: Duration::from_secs(3600), ..one_connection() };
    let mut out = outbound(Some(client), limits);
    let hop = target("edge.example", listener.address, Transport::Tls);
    out.pool.send(&hop, parcel(1)).expect("taken");
    out.pool.send(&hop, parcel(2)).expect("taken");
    let mut failed = Vec::new();
    while failed.len() < 2 {
        if let Fate::Failed(token, ConnectError::Tls { refusal: found, .. }) = out.fate().await {
            let HandshakeRefusal::PeerRejectedOurs { alert: AlertDescription::UnknownCA, ours } = *found else {
                panic!("{found:?}")
            };
            assert!(ours.is_some_and(|ours| ours.subject.contains("contoso.com")));
            failed.push(token);
        }
    }
    assert_eq!(failed, [1, 2]);
    assert!(matches!(listener.refused().await, HandshakeRefusal::UnknownIssuer { .. }));
    let next = out.pool.send(&hop, parcel(3)).err();
    assert!(matches!(next, Some(ConnectError::Tls { .. })), "{next:?}");
}

#[tokio::test]
async fn a_next_hop_that_never_answers_times_out() {
    // Accepts at kernel level and never says a word of TLS.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = mute.local_addr().expect("an address");
    let authority = Authority::new("CA");
    let limits = PoolLimits { handshake_timeout: Duration::from_millis(100), ..PoolLimits::default() };
    let mut out = outbound(Some(TlsClient::new(None, &authority.roots())), limits);
    out.pool.send(&target("edge.example", address, Transport::Tls), parcel(1)).expect("taken");
    let Fate::Failed(1, ConnectError::Tls { refusal, .. }) = out.fate().await else { panic!("it must not be sent") };
    assert_eq!(*refusal, HandshakeRefusal::TimedOut);
}

#[tokio::test]
async fn a_connection_that_ends_is_replaced_by_the_next_parcel() {
    let mut listener = Running::tcp(ListenLimits::default());
    let mut out = outbound(None, one_connection());
    let hop = target("edge.example", listener.address, Transport::Tcp);
    out.pool.send(&hop, parcel(1)).expect("taken");
    assert_eq!(out.fate().await, Fate::Sent(1));
    listener.opened().await.close(CloseReason::Asked { why: "for the test" });
    loop {
        if let Seen::Closed(why) = within(out.seen.recv()).await.expect("the pool lives") {
            assert_eq!(why, CloseReason::PeerClosed);
            break;
        }
    }
    out.pool.send(&hop, parcel(2)).expect("taken");
    assert_eq!(out.fate().await, Fate::Sent(2));
}

#[tokio::test]
async fn stopping_tells_those_who_wait_and_writes_what_is_queued() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let authority = Authority::new("CA");
    let mut out = outbound(Some(TlsClient::new(None, &authority.roots())), PoolLimits::default());
    let address = mute.local_addr().expect("an address");
    out.pool.send(&target("mute.example", address, Transport::Tls), parcel(1)).expect("taken");
    out.stop.cancel();
    within(out.pool.finish()).await;
    assert_eq!(out.fate().await, Fate::Failed(1, ConnectError::Stopping));

    let mut listener = Running::tcp(ListenLimits::default());
    let mut out = outbound(None, one_connection());
    let hop = target("edge.example", listener.address, Transport::Tcp);
    out.pool.send(&hop, parcel(1)).expect("taken");
    assert_eq!(out.fate().await, Fate::Sent(1));
    for number in 2..=50 {
        out.pool.send(&hop, parcel(number)).expect("taken");
    }
    out.stop.cancel();
    within(out.pool.finish()).await;
    assert_eq!(listener.messages(50).await.0.len(), 50);
}

#[tokio::test]
async fn pings_go_out_after_silence_again_and_again() {
    let listener = tokio::net::TcpListener::bind(loopback()).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let limits = PoolLimits { ping_after: Some(Duration::from_millis(50)), ..one_connection() };
    let out = outbound(None, limits);
    out.pool.send(&target("edge.example", address, Transport::Tcp), parcel(1)).expect("taken");
    let mut raw = Raw(within(listener.accept()).await.expect("a connection").0);
    assert_eq!(raw.read(request(1).len()).await, request(1));
    assert_eq!(raw.read(4).await, b"\r\n\r\n");
    raw.write(b"\r\n").await;
    assert_eq!(raw.read(4).await, b"\r\n\r\n", "and again");
}

#[tokio::test]
async fn next_hops_are_bounded_and_forgotten_when_unused() {
    let mut out = outbound(None, PoolLimits { targets_max: 1, failure_pause: Duration::ZERO, ..PoolLimits::default() });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("an address");
    drop(closed);
    // Each of the pool's sixteen parts holds one; sixty-four names meet in some of them.
    for number in 0..64 {
        match out.pool.send(&target(&format!("{number}.example"), address, Transport::Tcp), parcel(number)) {
            Ok(_) => assert!(matches!(out.fate().await, Fate::Failed(token, _) if token == number)),
            Err(error) => panic!("an unused next hop was not forgotten: {error}"),
        }
    }
}

#[tokio::test]
async fn what_cannot_work_is_said_at_once() {
    let out = outbound(None, PoolLimits::default());
    let nowhere = reveille_sip_net::Target::served_by("x.example", vec![], Transport::Tcp);
    assert!(matches!(out.pool.send(&nowhere, parcel(1)), Err(ConnectError::NoAddress { .. })));
    for transport in [Transport::Tls, Transport::Udp] {
        let hop = target("x.example", ([127, 0, 0, 1], 9).into(), transport);
        assert!(matches!(out.pool.send(&hop, parcel(1)), Err(ConnectError::NoTransport { .. })));
    }
}

#[tokio::test]
async fn datagrams_leave_from_the_listener_and_answers_come_back_to_it() {
    let (witness, seen) = Witness::new();
    let home = Listener::udp(loopback(), ListenLimits::default()).expect("a port");
    let sender = home.udp_sender().expect("a UDP socket");
    let mut home = Running::start(home, (witness.clone(), seen));
    let far = Running::start(Listener::udp(loopback(), ListenLimits::default()).expect("a port"), Witness::answering());
    let (senders, _fates) = Fates::new();
    let stop = CancellationToken::new();
    let pool = Pool::new(witness, senders, None, Some(sender), PoolLimits::default(), stop);
    let sent = pool.send(&target("far.example", far.address, Transport::Udp), parcel(1));
    assert!(matches!(sent, Ok(Sent::On(flow)) if flow.transport() == Transport::Udp));
    let (answers, _) = home.messages(1).await;
    assert_eq!(answers[0].as_bytes(), &ok());
}

#[tokio::test]
async fn a_burst_of_a_thousand_push_requests_waits_for_its_connection_and_leaves_in_order() {
    let authority = Authority::new("CA");
    let server = server(&authority.named("edge.example"), ClientAuth::Required, &authority.roots());
    let mut listener = Running::tls(server, ListenLimits::default());
    let client = TlsClient::new(Some(&authority.named("contoso.com")), &authority.roots());
    let out = outbound(Some(client), one_connection());
    let hop = target("edge.example", listener.address, Transport::Tls);
    for number in 1..=1000 {
        let text = String::from_utf8(request(number).to_vec()).expect("text");
        let long = text.replace("Content-Length: 5", "Content-Length: 1505") + &"x".repeat(1500);
        let sent = out.pool.send(&hop, reveille_sip_net::Parcel::new(number, long.into()));
        assert!(matches!(sent, Ok(Sent::Waiting)), "{number}: {sent:?}");
    }
    assert_eq!(out.pool.state(&hop).map(|state| state.waiting), Some(1000));
    let (messages, _) = listener.messages(1000).await;
    assert_eq!(numbers(&messages), (1..=1000).collect::<Vec<_>>());
    assert_eq!(out.pool.state(&hop).map(|state| (state.waiting, state.connections)), Some((0, 1)));
}

#[tokio::test]
async fn retired_connections_take_nothing_new_and_close_when_they_are_quiet() {
    let mut listener = Running::tcp(ListenLimits::default());
    let limits = PoolLimits { drain_quiet: Duration::from_millis(200), ..one_connection() };
    let mut out = outbound(None, limits);
    let hop = target("edge.example", listener.address, Transport::Tcp);
    out.pool.send(&hop, parcel(1)).expect("taken");
    assert_eq!(out.fate().await, Fate::Sent(1));
    let old = listener.opened().await;
    listener.messages(1).await;
    out.pool.retire_all();
    assert!(matches!(out.pool.send(&hop, parcel(2)), Ok(Sent::Waiting)), "the old one takes nothing");
    assert_eq!(out.fate().await, Fate::Sent(2));
    let new = listener.opened().await;
    assert_ne!(old.id(), new.id());
    // What the peer still owes comes on the old one.
    old.send(ok()).expect("it is open");
    loop {
        match within(out.seen.recv()).await.expect("the pool lives") {
            Seen::Closed(why) => break assert_eq!(why, CloseReason::Retired),
            Seen::Batch(..) | Seen::Opened(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(out.pool.state(&hop).map(|state| (state.connections, state.retiring)), Some((1, 0)));
}

#[tokio::test]
async fn another_certificate_of_ours_retires_the_connections_that_showed_the_old_one() {
    let authority = Authority::new("CA");
    let server = server(&authority.named("edge.example"), ClientAuth::Required, &authority.roots());
    let mut listener = Running::tls(server, ListenLimits::default());
    let client = Arc::new(TlsClient::new(Some(&authority.named("contoso.com")), &authority.roots()));
    let ((senders, mut fates), (witness, _seen)) = (Fates::new(), Witness::new());
    let pool = Pool::new(witness, senders, Some(client.clone()), None, one_connection(), CancellationToken::new());
    let hop = target("edge.example", listener.address, Transport::Tls);
    pool.send(&hop, parcel(1)).expect("taken");
    assert_eq!(within(fates.recv()).await, Some(Fate::Sent(1)));
    assert!(listener.opened().await.peer().is_some_and(|peer| peer.names("contoso.com")));
    client.reload(Some(&authority.named("renewed.contoso.com")), &authority.roots());
    assert!(matches!(pool.send(&hop, parcel(2)), Ok(Sent::Waiting)));
    assert_eq!(within(fates.recv()).await, Some(Fate::Sent(2)));
    assert!(listener.opened().await.peer().is_some_and(|peer| peer.names("renewed.contoso.com")));
    assert_eq!(pool.state(&hop).map(|state| (state.connections, state.retiring)), Some((1, 1)));
}
