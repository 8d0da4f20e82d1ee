//! Calls through proxies over real connections: connections that end while it rings, and servers that cannot help.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use reveille_sip::proxy::{Nobody, Reply};
use reveille_sip::{Limits, Message, Method, Name, parse_datagram};
use reveille_sip_net::proxy::{Back, Leg, Plan, Proxy, ProxyConfig, Taken, To};
use reveille_sip_net::{
    ClientAuth, CloseReason, ConnectTimes, Flow, Handler, Identity, ListenLimits, Listener, Pool, PoolLimits, Server,
    Target, TlsClient, Transport, Wire, connect,
};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::{Authority, PATIENCE, Raw, Running, Seen, Witness, loopback, server, within};

/// A proxy that sends everything to one next hop, with a door for servers and one for callers.
struct Edge {
    role: Arc<Role>,
    pool: Pool,
    /// For servers with certificates.
    tls: SocketAddr,
    /// For callers over TCP and UDP.
    plain: SocketAddr,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

struct Role {
    proxy: Arc<Proxy>,
    next: OnceLock<(Pool, Target)>,
    /// Where whoever sends something listens.
    listens: OnceLock<(Pool, Target)>,
}

impl Handler for Role {
    fn opened(&self, flow: &Arc<Flow>) {
        self.proxy.flow_opened(flow);
    }

    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for message in batch.drain(..) {
            if message.method().is_none() {
                assert!(self.proxy.on_response(flow, &message), "it is an answer to nothing of ours");
                continue;
            }
            let Some((pool, target)) = self.next.get() else { continue };
            let leg = Leg::to(To::Hop(pool.clone(), target.clone()));
            match self.proxy.take(flow, message) {
                Taken::Request { request, routed } => {
                    let mut plan = Plan::to(leg, routed, Arc::new(Nobody));
                    plan.back = Back { sender: None, server: self.listens.get().cloned() };
                    self.proxy.forward(flow, &request, plan);
                }
                Taken::Ack { ack, routed } => {
                    self.proxy.pass_ack(flow, &ack, Plan::to(leg, routed, Arc::new(Nobody)));
                }
                Taken::Done => {}
                Taken::Refused { request, reply } => self.proxy.refuse(flow, &request, &reply),
            }
        }
    }

    fn closed(&self, flow: &Arc<Flow>, _why: &CloseReason) {
        self.proxy.flow_gone(flow);
    }
}

impl Edge {
    fn start(authority: &Authority, identity: &Identity) -> Self {
        let proxy = Proxy::new(ProxyConfig::new("edge.example", |_| false));
        let role = Arc::new(Role { proxy: Arc::clone(&proxy), next: OnceLock::new(), listens: OnceLock::new() });
        let stop = CancellationToken::new();
        let client = Arc::new(TlsClient::new(Some(identity), &authority.roots()));
        let limits = PoolLimits { connections_per_target: 1, ..PoolLimits::default() };
        let (handler, senders) = (Arc::clone(&role) as _, Arc::clone(&proxy) as _);
        let pool = Pool::new(handler, senders, Some(client), None, limits, stop.clone());
        let door = server(identity, ClientAuth::Required, &authority.roots());
        let tls = Listener::tls(loopback(), door, ListenLimits::default()).expect("a port");
        let tcp = Listener::tcp(loopback(), ListenLimits::default()).expect("a port");
        let udp = Listener::udp(tcp.local_addr(), ListenLimits::default()).expect("the same port");
        let (tls_at, plain) = (tls.local_addr(), tcp.local_addr());
        let mut tasks: Vec<JoinHandle<()>> =
            [tls, tcp, udp].map(|door| tokio::spawn(door.run(Arc::clone(&role) as _, stop.clone()))).into();
        tasks.push(tokio::spawn(proxy.run(stop.clone())));
        Self { role, pool, tls: tls_at, plain, stop, tasks }
    }

    fn sends_to(&self, target: &Target) {
        assert!(self.role.next.set((self.pool.clone(), target.clone())).is_ok());
    }

    fn is_sent_to_by(&self, target: &Target) {
        assert!(self.role.listens.set((self.pool.clone(), target.clone())).is_ok());
    }

    async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            within(task).await.expect("it ends well");
        }
        within(self.pool.finish()).await;
    }
}

/// Whoever is called, and answers when the test wants it.
struct Callee {
    running: Running,
}

impl Callee {
    fn start(authority: &Authority, identity: &Identity) -> Self {
        let door = server(identity, ClientAuth::Required, &authority.roots());
        let listener = Listener::tls(loopback(), door, ListenLimits::default()).expect("a port");
        Self { running: Running::start(listener, Witness::new()) }
    }

    async fn hears(&mut self, method: Method<'_>) -> (Arc<Flow>, Message) {
        loop {
            if let Seen::Batch(flow, batch) = self.running.next().await {
                let [message] = <[Message; 1]>::try_from(batch).expect("one at a time");
                assert_eq!(message.method(), Some(method), "{message:?}");
                return (flow, message);
            }
        }
    }
}

fn says(flow: &Flow, request: &Message, status: u16, more: &[(&'static str, &str)]) {
    let reply = more.iter().fold(Reply::new(status), |reply, (name, value)| reply.header(name, *value));
    flow.send(reply.write(request, "callee", None).expect("written")).expect("a connection");
}

fn request(method: &str, number: u32, transport: &str, to: &str) -> String {
    format!(
        "{method} sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/{transport} a.example;branch=z9hG4bK{method}{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>{to}\r\nCall-ID: c{number}\r\n\
         CSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// The next answer on a connection that is not a 100.
async fn told<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(caller: &mut Raw<S>) -> Message {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(caller.read(1).await);
        }
        let answer = parse_datagram(head.into(), &Limits::default()).expect("an answer without a body");
        if answer.status() != Some(100) {
            return answer;
        }
    }
}

#[tokio::test]
async fn a_call_through_two_proxies_outlives_the_connection_between_them() {
    let authority = Authority::new("CA");
    let [one, two, three] = ["one.example", "two.example", "three.example"].map(|name| authority.named(name));
    let (near, far) = (Edge::start(&authority, &one), Edge::start(&authority, &two));
    let mut callee = Callee::start(&authority, &three);
    let between = Target::at("two.example", far.tls, Transport::Tls);
    near.sends_to(&between);
    far.sends_to(&Target::at("three.example", callee.running.address, Transport::Tls));
    far.is_sent_to_by(&Target::at("one.example", near.tls, Transport::Tls));
    let mut caller = Raw::connect(near.plain).await;
    caller.write(request("INVITE", 1, "TCP", "").as_bytes()).await;
    let (flow, invite) = callee.hears(Method::Invite).await;
    says(&flow, &invite, 180, &[]);
    assert_eq!(told(&mut caller).await.status(), Some(180));
    for _ in 0..2 {
        let open = near.pool.flows(&between);
        assert!(!open.is_empty());
        open.iter().for_each(|flow| flow.close(CloseReason::Asked { why: "test" }));
        // Whatever was said last is said again, so that nothing is lost with a connection.
        assert_eq!(told(&mut caller).await.status(), Some(180));
    }
    says(&flow, &invite, 200, &[]);
    assert_eq!(told(&mut caller).await.status(), Some(200));
    caller.write(request("ACK", 1, "TCP", ";tag=callee").as_bytes()).await;
    callee.hears(Method::Ack).await;
    for edge in [near, far] {
        assert_eq!(edge.role.proxy.unanswered(), 0);
        edge.end().await;
    }
}

#[tokio::test]
async fn whoever_has_lost_its_connection_is_connected_to_where_it_listens() {
    let authority = Authority::new("CA");
    let [one, two, three] = ["one.example", "two.example", "three.example"].map(|name| authority.named(name));
    let edge = Edge::start(&authority, &two);
    let mut callee = Callee::start(&authority, &three);
    edge.sends_to(&Target::at("three.example", callee.running.address, Transport::Tls));
    // It shows one certificate where it listens and where it connects.
    let mut listens = Callee::start(&authority, &one);
    edge.is_sent_to_by(&Target::at("one.example", listens.running.address, Transport::Tls));
    let client = TlsClient::new(Some(&one), &authority.roots());
    let times = ConnectTimes { connect: PATIENCE, handshake: PATIENCE };
    let connected = within(connect("two.example", &[edge.tls], Some(&client), times)).await.expect("connected");
    let Wire::Tls(stream) = connected.stream else { panic!("it is TLS") };
    let mut caller = Raw(stream);
    caller.write(request("INVITE", 1, "TLS", "").as_bytes()).await;
    let (flow, invite) = callee.hears(Method::Invite).await;
    says(&flow, &invite, 180, &[]);
    assert_eq!(told(&mut caller).await.status(), Some(180));
    drop(caller);
    let (back, statuses) = loop {
        if let Seen::Batch(back, batch) = listens.running.next().await {
            break (back, batch.iter().map(Message::status).collect::<Vec<_>>());
        }
    };
    assert_eq!(statuses, [Some(180)]);
    says(&flow, &invite, 486, &[]);
    callee.hears(Method::Ack).await;
    let Seen::Batch(_, batch) = listens.running.next().await else { panic!("the answer") };
    assert_eq!(batch[0].status(), Some(486));
    back.send(request("ACK", 1, "TLS", ";tag=callee").replace("bKACK", "bKINVITE").into()).expect("it is open");
    edge.end().await;
}

/// An edge whose next hop has these servers, the first of which is preferred.
fn to_servers<const COUNT: usize>(authority: &Authority) -> (Edge, [Callee; COUNT]) {
    let identity = authority.named("many.example");
    let edge = Edge::start(authority, &authority.named("edge.example"));
    let servers = [(); COUNT].map(|()| Callee::start(authority, &identity));
    let ranked = servers.iter().enumerate().map(|(rank, callee)| {
        let addresses = vec![callee.running.address];
        Server { priority: rank as u16, weight: 0, addresses }
    });
    edge.sends_to(&Target::served_by("many.example", ranked.collect::<Vec<_>>(), Transport::Tls));
    (edge, servers)
}

#[tokio::test]
async fn another_server_of_the_name_is_called_when_one_is_overloaded_or_hangs_up() {
    let (edge, [mut first, mut second, mut third]) = to_servers(&Authority::new("CA"));
    let mut caller = Raw::connect(edge.plain).await;
    caller.write(request("INVITE", 1, "TCP", "").as_bytes()).await;
    let (flow, invite) = first.hears(Method::Invite).await;
    says(&flow, &invite, 503, &[("Retry-After", "60 (busy)")]);
    first.hears(Method::Ack).await;
    let (flow, again) = second.hears(Method::Invite).await;
    assert_ne!(invite.top_via().expect("ours").branch(), again.top_via().expect("ours").branch());
    assert_eq!(invite.call_id(), again.call_id());
    flow.close(CloseReason::Asked { why: "test" });
    let (flow, invite) = third.hears(Method::Invite).await;
    says(&flow, &invite, 200, &[]);
    assert_eq!(told(&mut caller).await.status(), Some(200));
    // The first has its minute from everybody.
    caller.write(request("INFO", 2, "TCP", "").as_bytes()).await;
    let (flow, info) = third.hears(Method::Info).await;
    says(&flow, &info, 404, &[]);
    assert_eq!(told(&mut caller).await.status(), Some(404));
    while let Ok(seen) = first.running.seen.try_recv() {
        assert!(!matches!(seen, Seen::Batch(..)), "{seen:?}");
    }
    edge.end().await;
}

#[tokio::test]
async fn what_no_server_of_the_name_can_help_with_is_a_500_with_the_first_ones_word() {
    let (edge, [mut first, mut second]) = to_servers(&Authority::new("CA"));
    let mut caller = Raw::connect(edge.plain).await;
    caller.write(request("INFO", 1, "TCP", "").as_bytes()).await;
    for (server, after) in [(&mut first, "7"), (&mut second, "9")] {
        let (flow, info) = server.hears(Method::Info).await;
        says(&flow, &info, 503, &[("Retry-After", after)]);
    }
    let refused = told(&mut caller).await;
    assert_eq!((refused.status(), refused.header(Name::RetryAfter)), (Some(500), Some("7")));
    assert_eq!(edge.role.proxy.in_flight(), 0);
    edge.end().await;
}

#[tokio::test]
async fn an_answer_that_no_datagram_can_carry_is_refused_in_its_place() {
    let authority = Authority::new("CA");
    let edge = Edge::start(&authority, &authority.named("edge.example"));
    let mut callee = Callee::start(&authority, &authority.named("three.example"));
    edge.sends_to(&Target::at("three.example", callee.running.address, Transport::Tls));
    let caller = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    caller.connect(edge.plain).await.expect("a port");
    for (number, body, expected) in [(1, 60_000, 200), (2, 65_500, 513)] {
        caller.send(request("INFO", number, "UDP", "").as_bytes()).await.expect("sent");
        let (flow, info) = callee.hears(Method::Info).await;
        let body = "x".repeat(body);
        let reply = Reply { content: Some(("text/plain", body.into())), ..Reply::new(200) };
        flow.send(reply.write(&info, "callee", None).expect("written")).expect("a connection");
        let mut datagram = vec![0; 65_536];
        let length = within(caller.recv(&mut datagram)).await.expect("an answer");
        let answer = parse_datagram(datagram[..length].to_vec().into(), &Limits::default()).expect("sound");
        assert_eq!((answer.status(), answer.call_id()), (Some(expected), info.call_id()));
    }
    assert_eq!(edge.role.proxy.unanswered(), 0);
    edge.end().await;
}
