//! What a relayed MESSAGE asks of the allocator: a whole edge with mutual TLS on both sides, on a thread of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use reveille_bench::{Counting, allocations, count_this_thread};
use reveille_core::settings::{AccessEdgeConfiguration, AllowedDomain, Setting, Snapshot};
use reveille_core::{Clock, SipDomain, Timestamp};
use reveille_edge::{Config, Edge, Limits, Served};
use reveille_federation::message;
use reveille_sim::office::Office;
use reveille_sip::{Message, Method, Name, RequestBuilder};
use reveille_sip_net::{
    ClientAuth, Flow, Handler, ListenLimits, Listener, Parcel, Pool, PoolLimits, Senders, StaticResolver, Target,
    TlsServer, Transport,
};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const EDGE: &str = "edge.contoso.example";
const HOME: &str = "home.contoso.example";
const PARTNER: &str = "edge.fabrikam.example";
/// Messages of one round.
const ROUND: usize = 1024;
/// Messages that come together, as they do from a busy partner.
const TOGETHER: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1)
    }
}

/// Takes requests and keeps them until they are to be answered; counts what comes.
#[derive(Default)]
struct End {
    kept: Mutex<Vec<(Arc<Flow>, Message)>>,
    came: AtomicUsize,
    more: Notify,
}

impl Handler for End {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        let count = batch.len();
        let requests = batch.drain(..).filter(Message::is_request).map(|request| (Arc::clone(flow), request));
        self.kept.lock().extend(requests);
        self.came.fetch_add(count, Ordering::Relaxed);
        self.more.notify_one();
    }
}

impl Senders for End {
    fn failed(&self, token: u64, error: &reveille_sip_net::ConnectError) {
        panic!("request {token} was not sent: {error}");
    }
}

impl End {
    async fn until(&self, count: usize) {
        let all = async {
            while self.came.load(Ordering::Relaxed) < count {
                self.more.notified().await;
            }
        };
        timeout(PATIENCE, all).await.expect("all arrive in time");
    }
}

fn domain(name: &str) -> SipDomain {
    name.parse().unwrap()
}

fn settings() -> Snapshot {
    let allowed = AllowedDomain { proxy_fqdn: Some(domain(PARTNER)), ..AllowedDomain::new(domain("fabrikam.example")) };
    let switch = AccessEdgeConfiguration { allow_federated_users: true, ..Default::default() };
    Snapshot::of([Setting::AccessEdgeConfiguration(switch), Setting::AllowedDomain(allowed)]).unwrap()
}

/// Runs an edge on a thread whose allocations are counted; answers where it listens for partners.
fn edge(office: &Office, home: SocketAddr, stop: CancellationToken) -> (SocketAddr, thread::JoinHandle<()>) {
    let config = Config {
        name: domain(EDGE),
        inside: Vec::new(),
        domains: HashMap::from([(domain("contoso.example"), Served { name: domain(HOME), address: home })]),
        limits: Limits { messages_per_s: 1_000_000, in_flight_per_partner: 2 * ROUND, ..Limits::default() },
        av: None,
        token_key: None,
    };
    let server = [(); 2].map(|()| office.server(EDGE, ClientAuth::Required));
    let clients = [(); 2].map(|()| Arc::new(office.client(EDGE)));
    let (told, address) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let [external, internal] = server.map(listen);
            told.send(external.local_addr()).unwrap();
            let (_settings, watched) = watch::channel(Arc::new(settings()));
            let edge = Edge::new(config, watched, Arc::new(StaticResolver::new()), Arc::new(Still));
            count_this_thread();
            let [outward, inward] = clients;
            edge.run(external, internal, outward, inward, stop).await;
        });
    });
    (address.recv().unwrap(), thread)
}

fn listen(server: Arc<TlsServer>) -> Listener {
    Listener::tls(([127, 0, 0, 1], 0).into(), server, ListenLimits::default()).unwrap()
}

fn request(number: usize) -> Bytes {
    let mut out = BytesMut::new();
    RequestBuilder::new(&mut out, Method::Message, "sip:push@contoso.example")
        .header(Name::Via, format_args!("SIP/2.0/TLS {PARTNER};branch=z9hG4bK{number}"))
        .header(Name::Via, format_args!("SIP/2.0/TLS home.fabrikam.example;branch=z9hG4bKh{number}"))
        .header(Name::MaxForwards, "69")
        .header(Name::From, format_args!("<sip:mcx@fabrikam.example>;tag={number}"))
        .header(Name::To, "<sip:push@contoso.example>")
        .header(Name::CallId, format_args!("{number}@home.fabrikam.example"))
        .header(Name::CSeq, "1 MESSAGE")
        .content("application/vnd.reveille.push+json;v=1", &[b'x'; 900])
        .finish()
        .unwrap();
    out.freeze()
}

/// One round over an edge: what its requests allocate each, and then their answers.
async fn round(partner: &Flow, asked: &End, home: &End, number: usize) -> (f64, f64) {
    let (before, answered) = (allocations(), asked.came.load(Ordering::Relaxed));
    for at in (0..ROUND).step_by(TOGETHER) {
        let mut together = BytesMut::new();
        (at..at + TOGETHER).for_each(|at| together.extend_from_slice(&request(number * ROUND + at)));
        let come = home.came.load(Ordering::Relaxed);
        partner.send(together.freeze()).unwrap();
        home.until(come + TOGETHER).await;
    }
    let between = allocations();
    let mut kept = std::mem::take(&mut *home.kept.lock());
    let mut count = 0;
    while !kept.is_empty() {
        for (flow, request) in kept.drain(..TOGETHER) {
            flow.send(message::respond(&request, 202, "home", |_| {})).unwrap();
        }
        count += TOGETHER;
        asked.until(answered + count).await;
    }
    let each = |count: u64| count as f64 / ROUND as f64;
    (each(between - before), each(allocations() - between))
}

#[test]
fn a_relayed_message_costs_at_most_two_allocations_and_its_answer_as_many() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let office = Office::open();
        let stop = CancellationToken::new();
        let home = Arc::new(End::default());
        let listener = listen(office.server(HOME, ClientAuth::Required));
        let (at, served) = (listener.local_addr(), tokio::spawn(listener.run(Arc::clone(&home) as _, stop.clone())));
        let (external, thread) = edge(&office, at, stop.clone());
        let asked = Arc::new(End::default());
        let client = Some(Arc::new(office.client(PARTNER)));
        let limits = PoolLimits { connections_per_target: 1, ..PoolLimits::default() };
        let pool = Pool::new(Arc::clone(&asked) as _, Arc::clone(&asked) as _, client, None, limits, stop.clone());
        let target = Target::at(EDGE, external, Transport::Tls);
        // Connections to the home are made, paths and tables find their size.
        for number in 0..8 {
            pool.send(&target, Parcel::new(0, request(1_000_000 + number))).unwrap();
            home.until(number + 1).await;
            for (flow, request) in home.kept.lock().drain(..) {
                flow.send(message::respond(&request, 202, "home", |_| {})).unwrap();
            }
            asked.until(number + 1).await;
        }
        let partner = pool.flows(&target).remove(0);
        round(&partner, &asked, &home, 0).await;
        let (requests, answers) = round(&partner, &asked, &home, 1).await;
        assert!(requests <= 2.0, "{requests} for each request");
        assert!(answers <= 2.0, "{answers} for each answer");
        assert!(requests >= 0.5, "{requests}: the edge's own thread must be counted");
        stop.cancel();
        pool.finish().await;
        served.await.unwrap();
        thread.join().unwrap();
    });
}
