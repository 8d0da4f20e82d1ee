//! The books of one next hop: its connections, what waits for one, and what failed a moment ago. No sockets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::circuit::{Circuit, Pauses, priority};
use crate::connect::ConnectError;
use crate::drain::{Pulse, Retired};
use crate::flow::{Flow, FlowId, SendError};
use crate::hop_state::{AddressState, Failures, HopState};
use crate::parcel::Parcel;
use crate::pool::PoolLimits;
use crate::target::{Server, Target};

/// What happens to a parcel now.
#[derive(Debug)]
pub(crate) enum Next {
    /// It is queued on this flow; `connect` asks for one more connection.
    Sent { flow: Arc<Flow>, connect: Option<Goal> },
    /// It waits; `connect` asks for a connection.
    Waits { connect: bool },
    /// It will not leave.
    Failed(ConnectError),
}

/// What a connection is wanted for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Goal {
    /// The first address that works.
    Any,
    /// To see whether this address, which failed before, works again.
    Probe(SocketAddr),
}

/// What a new connection did for those who waited.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) sent: Vec<u64>,
    pub(crate) failed: Vec<(u64, ConnectError)>,
}

pub(crate) struct Hop {
    name: String,
    /// Bytes that wait for connections to any next hop of the pool.
    waiting_in_all: Arc<AtomicUsize>,
    books: Mutex<Books>,
}

struct Books {
    servers: Arc<[Server]>,
    circuit: Circuit,
    links: Vec<Link>,
    /// They take nothing new and stay until what is under way on them is over.
    retiring: Vec<Link>,
    turn: usize,
    connecting: usize,
    probing: bool,
    waiting: VecDeque<Parcel>,
    waiting_bytes: usize,
}

struct Link {
    flow: Arc<Flow>,
    pulse: Arc<Pulse>,
    /// When a new connection should take its place.
    renew_at: Option<Instant>,
    /// Parcels sent before the peer said anything; bounded, since a peer that never answers is of no use anyway.
    unheard: Vec<u64>,
}

impl Hop {
    pub(crate) fn new(target: &Target, waiting_in_all: Arc<AtomicUsize>) -> Self {
        let books = Books {
            servers: target.shared_servers().clone(),
            circuit: Circuit::default(),
            links: Vec::new(),
            retiring: Vec::new(),
            turn: 0,
            connecting: 0,
            probing: false,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        };
        Self { name: target.name().to_owned(), waiting_in_all, books: Mutex::new(books) }
    }

    /// Takes a parcel. Connections and their order are decided here; the caller connects if asked to.
    pub(crate) fn offer(&self, parcel: Parcel, target: &Target, limits: &PoolLimits) -> Next {
        let now = Instant::now();
        let most = target.connections_max().unwrap_or(limits.connections_per_target);
        let mut books = self.books.lock();
        books.meet(target);
        books.links.retain(|link| !link.flow.is_closed());
        // A flow that turns out closed is passed over, and the next one tried.
        let mut full = 0;
        while let Some(at) = books.pick(parcel.affinity, now) {
            match books.links[at].send(&parcel) {
                Ok(flow) => return Next::Sent { flow, connect: books.wish(most, now, limits) },
                // It lives, and its peer is slow: that is an answer to this parcel, and what is under way goes on.
                Err(_) if !books.links[at].flow.is_closed() => {
                    full += 1;
                    if full >= books.links.len() || parcel.affinity.is_some() {
                        return Next::Failed(ConnectError::TooMuchWaiting { name: self.name.clone() });
                    }
                }
                Err(_) => drop(books.links.remove(at)),
            }
        }
        if let Some(error) = books.circuit.closed_to(now, books.connecting > 0) {
            return Next::Failed(error.clone());
        }
        if !self.make_room(&mut books, parcel.bytes.len(), limits) {
            return Next::Failed(ConnectError::TooMuchWaiting { name: self.name.clone() });
        }
        books.waiting.push_back(parcel);
        let connect = books.connecting == 0;
        if connect {
            books.connecting += 1;
        }
        Next::Waits { connect }
    }

    /// Whether a connection is to be made, there being none and none under way.
    pub(crate) fn lacks_connection(&self) -> bool {
        let mut books = self.books.lock();
        books.links.retain(|link| !link.flow.is_closed());
        let lacks = books.links.is_empty() && books.connecting == 0;
        let lacks = lacks && books.circuit.closed_to(Instant::now(), false).is_none();
        books.connecting += usize::from(lacks);
        lacks
    }

    /// A connection whose peer has spoken, whose turn it is, when the books ask for nothing else.
    pub(crate) fn ready(&self, target: &Target, limits: &PoolLimits) -> Option<Arc<Flow>> {
        let most = target.connections_max().unwrap_or(limits.connections_per_target);
        let mut books = self.books.lock();
        let settled = Arc::ptr_eq(target.shared_servers(), &books.servers)
            && books.circuit.is_clear()
            && books.links.len() + books.connecting >= most;
        let count = books.links.len();
        if !settled || count == 0 {
            return None;
        }
        let turn = books.turn.wrapping_add(1);
        let link = &books.links[turn % count];
        // Those due for renewal, closed or unheard are for the books, and it stays their turn.
        let is_plain = link.renew_at.is_none_or(|renew_at| Instant::now() < renew_at);
        if !is_plain || link.flow.is_closed() || !link.flow.has_heard() {
            return None;
        }
        let flow = link.flow.clone();
        books.turn = turn;
        Some(flow)
    }

    /// The addresses in the order for one attempt.
    pub(crate) fn order(&self, random: impl FnMut(u32) -> u32) -> Vec<SocketAddr> {
        let books = self.books.lock();
        books.circuit.order(&books.servers, Instant::now(), random)
    }

    /// A connection is there: everything that waits goes to it, in order, before anything newer can.
    pub(crate) fn connected(&self, flow: &Arc<Flow>, pulse: &Arc<Pulse>, goal: Goal, limits: &PoolLimits) -> Moved {
        let mut books = self.books.lock();
        books.attempt_over(goal);
        let renew_at = limits.renew_after.map(|after| Instant::now() + spread(after, flow.id()));
        let mut link = Link { flow: flow.clone(), pulse: pulse.clone(), renew_at, unheard: Vec::new() };
        let mut moved = Moved::default();
        for parcel in self.leave_room(&mut books) {
            match link.send(&parcel) {
                Ok(_) => moved.sent.push(parcel.token),
                Err(_) => moved.failed.push((parcel.token, ConnectError::Closed { name: self.name.clone() })),
            }
        }
        books.links.push(link);
        moved
    }

    /// The peer spoke on this connection, so its address works, and connections that it makes superfluous may go: those
    /// to servers of lower rank, those due for renewal, and the oldest above the number allowed.
    pub(crate) fn works(&self, flow: &Flow, most: usize) -> Vec<Retired> {
        let now = Instant::now();
        let mut books = self.books.lock();
        books.circuit.succeeded(flow.remote());
        let rank = priority(&books.servers, flow.remote());
        let servers = books.servers.clone();
        let lower = |link: &Link| rank.is_some() && priority(&servers, link.flow.remote()) > rank;
        let due = |link: &Link| link.renew_at.is_some_and(|renew_at| renew_at <= now);
        let mut spare = books.links.len().saturating_sub(most);
        books.retire(|link| {
            let goes = link.flow.id() != flow.id() && (lower(link) || due(link) || spare > 0);
            if goes {
                spare = spare.saturating_sub(1);
            }
            goes
        })
    }

    /// One address failed.
    pub(crate) fn address_failed(&self, address: SocketAddr, error: &ConnectError, limits: &PoolLimits) {
        self.books.lock().circuit.failed(address, error, Instant::now(), pauses(limits));
    }

    /// An attempt failed: whoever waits is told, unless another attempt may still serve them.
    pub(crate) fn attempt_failed(&self, goal: Goal, error: &ConnectError, limits: &PoolLimits) -> Vec<u64> {
        let mut books = self.books.lock();
        books.attempt_over(goal);
        if goal != Goal::Any {
            return Vec::new();
        }
        books.circuit.all_failed(error, Instant::now(), pauses(limits));
        if books.connecting > 0 {
            return Vec::new();
        }
        self.leave_room(&mut books).into_iter().map(|parcel| parcel.token).collect()
    }

    /// A connection ended: the tokens of what it sent without ever hearing from the peer.
    pub(crate) fn disconnected(&self, flow: &Flow) -> Vec<u64> {
        let mut books = self.books.lock();
        let link = take(&mut books.links, flow).or_else(|| take(&mut books.retiring, flow));
        link.filter(|_| !flow.has_heard()).map(|link| link.unheard).unwrap_or_default()
    }

    /// The peer refused us after the connection was made. Without another address, further parcels fail at once for a
    /// while.
    pub(crate) fn turned_down(&self, address: SocketAddr, error: &ConnectError, limits: &PoolLimits) {
        let (now, pauses) = (Instant::now(), pauses(limits));
        let mut books = self.books.lock();
        books.circuit.failed(address, error, now, pauses);
        if !books.circuit.has_sound(&books.servers, now) {
            books.circuit.all_failed(error, now, pauses);
        }
    }

    /// Leaves one address alone for a while; says whether there is another to turn to.
    pub(crate) fn shun(&self, address: SocketAddr, error: &ConnectError, pause: Duration) -> bool {
        let now = Instant::now();
        let mut books = self.books.lock();
        books.shun(address, error, now + pause);
        books.circuit.has_sound(&books.servers, now)
    }

    /// The same for one request's sake, which takes back nothing that the server has asked for itself.
    pub(crate) fn pass_by(&self, address: SocketAddr, error: &ConnectError, pause: Duration) -> bool {
        let now = Instant::now();
        let mut books = self.books.lock();
        if !books.circuit.is_shunned(address, now + pause) {
            books.shun(address, error, now + pause);
        }
        books.circuit.has_sound(&books.servers, now)
    }

    /// Every address that failed is worth a try again; one that asked for a pause keeps it.
    pub(crate) fn forgive(&self) {
        self.books.lock().circuit.forgive();
    }

    /// The connections made until now take nothing new.
    pub(crate) fn retire(&self) -> Vec<Retired> {
        self.books.lock().retire(|_| true)
    }

    /// Whether forgetting this next hop would lose something.
    pub(crate) fn is_in_use(&self) -> bool {
        let books = self.books.lock();
        books.connecting > 0
            || !books.waiting.is_empty()
            || books.links.iter().any(|link| !link.flow.is_closed())
            || books.circuit.closed_to(Instant::now(), false).is_some()
    }

    /// All open connections, also those that take nothing new.
    pub(crate) fn flows(&self) -> Vec<Arc<Flow>> {
        let books = self.books.lock();
        let links = books.links.iter().chain(&books.retiring);
        links.map(|link| link.flow.clone()).filter(|flow| !flow.is_closed()).collect()
    }

    /// What is known about it now.
    pub(crate) fn state(&self) -> HopState {
        let now = Instant::now();
        let books = self.books.lock();
        let open = |link: &&Link| !link.flow.is_closed();
        let mut addresses: Vec<AddressState> = Vec::new();
        for address in books.servers.iter().flat_map(|server| &server.addresses) {
            if addresses.iter().all(|known| known.address != *address) {
                let connections = books.links.iter().filter(open).filter(|link| link.flow.remote() == *address).count();
                let failures = books.circuit.failing(*address).map(|failing| Failures::of(failing, now));
                addresses.push(AddressState { address: *address, connections, failures });
            }
        }
        HopState {
            connections: books.links.iter().filter(open).count(),
            retiring: books.retiring.iter().filter(open).count(),
            connecting: books.connecting > 0,
            waiting: books.waiting.len(),
            failures: books.circuit.whole().map(|failing| Failures::of(failing, now)),
            addresses,
        }
    }

    fn make_room(&self, books: &mut Books, bytes: usize, limits: &PoolLimits) -> bool {
        let in_all = self.waiting_in_all.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let fits = books.waiting_bytes + bytes <= limits.waiting_bytes_max
            && books.waiting.len() < limits.waiting_max
            && in_all <= limits.waiting_in_all_bytes_max;
        if fits {
            books.waiting_bytes += bytes;
        } else {
            self.waiting_in_all.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    fn leave_room(&self, books: &mut Books) -> VecDeque<Parcel> {
        self.waiting_in_all.fetch_sub(books.waiting_bytes, Ordering::Relaxed);
        books.waiting_bytes = 0;
        std::mem::take(&mut books.waiting)
    }
}

impl Books {
    /// The addresses behind the name are those that the caller found last.
    fn meet(&mut self, target: &Target) {
        let servers = target.shared_servers();
        if Arc::ptr_eq(servers, &self.servers) {
            return;
        }
        if **servers != *self.servers {
            self.circuit.keep(servers);
            // Whoever has moved may leave the old place running: it is left soon, however well it works.
            let soon = Instant::now() + UNNAMED_FOR;
            for link in self.links.iter_mut().filter(|link| priority(servers, link.flow.remote()).is_none()) {
                link.renew_at = Some(link.renew_at.map_or(soon, |at| at.min(soon)));
            }
        }
        self.servers = servers.clone();
    }

    fn shun(&mut self, address: SocketAddr, error: &ConnectError, until: Instant) {
        // A connection that the peer has made to us does not tell which of its servers it is from.
        if priority(&self.servers, address).is_some() {
            self.circuit.shun(address, error, until);
        }
    }

    /// Which connection takes the next parcel.
    fn pick(&mut self, affinity: Option<u64>, now: Instant) -> Option<usize> {
        if !self.circuit.is_clear() && self.links.iter().any(|link| self.circuit.is_shunned(link.flow.remote(), now)) {
            return self.pick_around(affinity, now);
        }
        // Those of equal affinity meet on the connection with the highest rank for it, also when others come and go.
        if let Some(affinity) = affinity {
            let ranked = self.links.iter().enumerate().max_by_key(|(_, link)| rank(affinity, link.flow.id()));
            return ranked.map(|(at, _)| at);
        }
        if self.links.is_empty() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        Some(self.turn % self.links.len())
    }

    /// The same while a peer has asked to be left alone: its connections are used only if there is no other address.
    fn pick_around(&mut self, affinity: Option<u64>, now: Instant) -> Option<usize> {
        let shunned = |link: &Link| self.circuit.is_shunned(link.flow.remote(), now);
        let has_choice = self.circuit.has_sound(&self.servers, now);
        let usable = self.links.iter().enumerate().filter(|(_, link)| !has_choice || !shunned(link));
        let seed = affinity.unwrap_or(self.turn as u64);
        let picked = usable.max_by_key(|(_, link)| rank(seed, link.flow.id())).map(|(at, _)| at);
        self.turn = self.turn.wrapping_add(1);
        picked
    }

    /// Whether one more connection would be good beside those that work.
    fn wish(&mut self, most: usize, now: Instant, limits: &PoolLimits) -> Option<Goal> {
        let (links, connecting) = (self.links.len(), self.connecting);
        let due = |link: &Link| link.renew_at.is_some_and(|renew_at| renew_at <= now);
        let grows = links + connecting < most;
        let renews = connecting == 0 && links <= most && self.links.iter().any(due);
        if (grows || renews) && self.circuit.closed_to(now, false).is_none() {
            self.connecting += 1;
            return Some(Goal::Any);
        }
        if self.circuit.is_clear() || self.probing {
            return None;
        }
        let connected: Vec<SocketAddr> = self.links.iter().map(|link| link.flow.remote()).collect();
        let address = self.circuit.probe(&self.servers, &connected, now, pauses(limits))?;
        self.probing = true;
        Some(Goal::Probe(address))
    }

    fn attempt_over(&mut self, goal: Goal) {
        match goal {
            Goal::Any => self.connecting = self.connecting.saturating_sub(1),
            Goal::Probe(_) => self.probing = false,
        }
    }

    fn retire(&mut self, goes: impl FnMut(&mut Link) -> bool) -> Vec<Retired> {
        self.retiring.retain(|link| !link.flow.is_closed());
        let leaving: Vec<Link> = self.links.extract_if(.., goes).collect();
        let retired =
            leaving.iter().map(|link| Retired { flow: link.flow.clone(), pulse: link.pulse.clone() }).collect();
        self.retiring.extend(leaving);
        retired
    }
}

impl Link {
    fn send(&mut self, parcel: &Parcel) -> Result<Arc<Flow>, SendError> {
        self.flow.send(parcel.bytes.clone())?;
        if self.flow.has_heard() {
            self.unheard = Vec::new();
        } else if self.unheard.len() < UNHEARD_MAX {
            self.unheard.push(parcel.token);
        }
        Ok(self.flow.clone())
    }
}

fn take(links: &mut Vec<Link>, flow: &Flow) -> Option<Link> {
    links.iter().position(|link| link.flow.id() == flow.id()).map(|at| links.remove(at))
}

fn pauses(limits: &PoolLimits) -> Pauses {
    Pauses { first: limits.failure_pause, most: limits.failure_pause_max.max(limits.failure_pause) }
}

/// Up to an eighth more, so that connections made together are not renewed together.
fn spread(after: Duration, flow: FlowId) -> Duration {
    after + after / 64 * u32::try_from(flow.as_u64() % 8).unwrap_or_default()
}

/// A mix in which every connection wins for its share of affinities (splitmix64's finaliser).
fn rank(affinity: u64, flow: FlowId) -> u64 {
    let mut mixed = affinity ^ flow.as_u64().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

const UNHEARD_MAX: usize = 4096;
/// A connection to an address that the records do not name any more is renewed after this time. Name servers that name a
/// few of many addresses at a time make that one connection in as long.
const UNNAMED_FOR: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reveille_sip::Side;

    use super::*;
    use crate::flow::Transport;

    fn at(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 5061).into()
    }

    fn server(priority: u16, last: u8) -> Server {
        Server { priority, weight: 0, addresses: vec![at(last)] }
    }

    /// A next hop with its bounds; a flow for each connection.
    struct Bench {
        hop: Hop,
        target: Target,
        limits: PoolLimits,
    }

    impl Bench {
        fn of(servers: Vec<Server>, change: impl FnOnce(&mut PoolLimits)) -> Self {
            let target = Target::served_by("edge.example", servers, Transport::Tls);
            let mut limits = PoolLimits::default();
            change(&mut limits);
            Self { hop: Hop::new(&target, Arc::default()), target, limits }
        }

        fn one() -> Self {
            Self::of(vec![server(0, 1)], |_| {})
        }

        fn offer(&self, number: u64) -> Next {
            self.hop.offer(parcel(number), &self.target, &self.limits)
        }

        fn offer_for(&self, affinity: u64) -> Next {
            self.hop.offer(parcel(0).with_affinity(affinity), &self.target, &self.limits)
        }

        /// A connection to 192.0.2.`last`.
        fn connect(&self, last: u8, goal: Goal) -> (Arc<Flow>, Moved) {
            let flow = Flow::carried(Transport::Tls, Side::Initiated, at(0), at(last), None, 1000);
            let moved = self.hop.connected(&flow, &Pulse::new(), goal, &self.limits);
            (flow, moved)
        }

        fn connected(&self, last: u8) -> Arc<Flow> {
            self.connect(last, Goal::Any).0
        }

        fn fail(&self, last: u8) {
            self.hop.address_failed(at(last), &refused(), &self.limits);
        }

        /// Which server the next parcel goes to.
        fn goes_to(&self) -> SocketAddr {
            match self.offer(0) {
                Next::Sent { flow, .. } => flow.remote(),
                other => panic!("{other:?}"),
            }
        }
    }

    fn parcel(token: u64) -> Parcel {
        Parcel::new(token, Bytes::copy_from_slice(token.to_string().as_bytes()))
    }

    fn sent(flow: &Flow) -> String {
        let mut chunks = VecDeque::new();
        flow.take_queued(&mut chunks);
        chunks.iter().map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect()
    }

    fn refused() -> ConnectError {
        ConnectError::Refused { address: at(1) }
    }

    #[tokio::test]
    async fn the_first_parcel_asks_for_a_connection_and_all_leave_in_order_on_it() {
        let bench = Bench::one();
        assert!(matches!(bench.offer(1), Next::Waits { connect: true }));
        assert!(matches!(bench.offer(2), Next::Waits { connect: false }));
        let (flow, moved) = bench.connect(1, Goal::Any);
        assert_eq!(moved.sent, [1, 2]);
        assert!(matches!(bench.offer(3), Next::Sent { connect: Some(Goal::Any), .. }));
        assert_eq!(sent(&flow), "123");
    }

    #[tokio::test]
    async fn a_failed_attempt_names_each_waiting_parcel_and_then_fails_fast() {
        let bench = Bench::one();
        for token in 1..=3 {
            bench.offer(token);
        }
        assert_eq!(bench.hop.attempt_failed(Goal::Any, &refused(), &bench.limits), [1, 2, 3]);
        assert!(matches!(bench.offer(4), Next::Failed(error) if error == refused()));
        let bench = Bench::of(vec![server(0, 1)], |limits| {
            (limits.failure_pause, limits.failure_pause_max) = (Duration::ZERO, Duration::ZERO);
        });
        bench.offer(1);
        bench.hop.attempt_failed(Goal::Any, &refused(), &bench.limits);
        assert!(matches!(bench.offer(2), Next::Waits { connect: true }), "the pause is over");
    }

    #[tokio::test]
    async fn after_several_failures_one_parcel_tries_and_the_others_do_not_wait_for_it() {
        let bench = Bench::of(vec![server(0, 1)], |limits| {
            (limits.failure_pause, limits.failure_pause_max) = (Duration::ZERO, Duration::ZERO);
        });
        for token in 1..=3 {
            assert!(matches!(bench.offer(token), Next::Waits { connect: true }), "{token}");
            assert_eq!(bench.hop.attempt_failed(Goal::Any, &refused(), &bench.limits), [token]);
        }
        assert!(matches!(bench.offer(4), Next::Waits { connect: true }));
        assert!(matches!(bench.offer(5), Next::Failed(error) if error == refused()));
        let state = bench.hop.state();
        assert_eq!(state.failures.as_ref().map(|failures| failures.in_a_row), Some(3));
        assert_eq!((state.connecting, state.waiting), (true, 1));
        assert_eq!(bench.connect(1, Goal::Any).1.sent, [4]);
        assert!(matches!(bench.offer(6), Next::Sent { .. }));
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_and_bytes_and_over_all_next_hops() {
        let few = Bench::of(vec![server(0, 1)], |limits| limits.waiting_max = 1);
        few.offer(1);
        assert!(matches!(few.offer(2), Next::Failed(ConnectError::TooMuchWaiting { .. })));
        let small = Bench::of(vec![server(0, 1)], |limits| limits.waiting_bytes_max = 0);
        assert!(matches!(small.offer(3), Next::Failed(ConnectError::TooMuchWaiting { .. })));
        let in_all = Arc::new(AtomicUsize::new(0));
        let mut benches = [Bench::one(), Bench::one()];
        for bench in &mut benches {
            bench.hop = Hop::new(&bench.target, in_all.clone());
            bench.limits.waiting_in_all_bytes_max = 1;
        }
        assert!(matches!(benches[0].offer(1), Next::Waits { .. }));
        assert!(matches!(benches[1].offer(2), Next::Failed(ConnectError::TooMuchWaiting { .. })));
        benches[0].hop.attempt_failed(Goal::Any, &refused(), &benches[0].limits);
        assert_eq!(in_all.load(Ordering::Relaxed), 0, "room comes back");
        assert!(matches!(benches[1].offer(3), Next::Waits { .. }));
        benches[1].connected(1);
        assert_eq!(in_all.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn connections_take_turns_and_affinity_keeps_to_one() {
        let bench = Bench::one();
        let (one, two) = (bench.connected(1), bench.connected(1));
        for token in 0..4 {
            assert!(matches!(bench.offer(token), Next::Sent { connect: None, .. }));
        }
        assert_eq!((sent(&one).len(), sent(&two).len()), (2, 2));
        for _ in 0..4 {
            bench.offer_for(77);
        }
        let lengths = [sent(&one).len(), sent(&two).len()];
        assert!(lengths.contains(&4) && lengths.contains(&0), "{lengths:?}");
        let mut chosen: Vec<_> = Vec::new();
        for affinity in 0..64 {
            if let Next::Sent { flow, .. } = bench.offer_for(affinity) {
                chosen.push(flow.id());
            }
        }
        assert!(chosen.contains(&one.id()) && chosen.contains(&two.id()), "both get a share");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_is_named_no_more_is_left_though_its_connection_works() {
        let mut bench = Bench::one();
        bench.target = bench.target.clone().with_connections(1);
        bench.connected(1);
        assert!(matches!(bench.offer(0), Next::Sent { connect: None, .. }));
        bench.target = Target::served_by("edge.example", vec![server(0, 2)], Transport::Tls).with_connections(1);
        tokio::time::advance(UNNAMED_FOR / 2).await;
        assert!(matches!(bench.offer(0), Next::Sent { connect: None, .. }), "it has just been heard of");
        tokio::time::advance(UNNAMED_FOR).await;
        assert!(matches!(bench.offer(0), Next::Sent { connect: Some(Goal::Any), .. }), "what works serves meanwhile");
        assert_eq!(bench.hop.order(|_| 0), [at(2)]);
        let moved = bench.connected(2);
        assert_eq!(bench.hop.works(&moved, 1).len(), 1, "the old connection goes");
        assert_eq!(bench.goes_to(), at(2));
    }

    #[tokio::test]
    async fn the_target_says_how_many_connections_it_may_have() {
        let mut bench = Bench::one();
        bench.target = bench.target.clone().with_connections(3);
        bench.connected(1);
        for _ in 0..2 {
            assert!(matches!(bench.offer(0), Next::Sent { connect: Some(Goal::Any), .. }));
        }
        assert!(matches!(bench.offer(0), Next::Sent { connect: None, .. }), "one is there and two are on their way");
        bench.target = bench.target.clone().with_connections(1);
        let (newest, _) = bench.connect(1, Goal::Any);
        assert_eq!(bench.hop.works(&newest, 1).len(), 1, "fewer are allowed now");
        assert_eq!(bench.hop.state().retiring, 1);
    }

    #[tokio::test]
    async fn parcels_sent_into_silence_are_named_when_the_connection_ends() {
        let bench = Bench::one();
        bench.offer(1);
        let silent = bench.connected(1);
        bench.offer(2);
        bench.hop.retire();
        assert_eq!(bench.hop.disconnected(&silent), [1, 2], "also of one that takes nothing new");
        let heard = bench.connected(1);
        bench.offer(3);
        heard.note_heard();
        assert_eq!(bench.hop.disconnected(&heard), [0_u64; 0]);
    }

    #[tokio::test]
    async fn an_unheard_connection_gets_its_turn_and_is_ready_once_it_has_spoken() {
        let bench = Bench::of(vec![server(0, 1)], |limits| limits.connections_per_target = 2);
        let (one, two) = (bench.connected(1), bench.connected(1));
        one.note_heard();
        let leaves = |token| match bench.hop.ready(&bench.target, &bench.limits) {
            Some(flow) => (flow.id(), "written"),
            None => match bench.offer(token) {
                Next::Sent { flow, .. } => (flow.id(), "sent"),
                other => panic!("{other:?}"),
            },
        };
        let chosen: Vec<_> = (0..4).map(leaves).collect();
        assert!(chosen.contains(&(one.id(), "written")) && chosen.contains(&(two.id(), "sent")), "{chosen:?}");
        two.note_heard();
        assert!((0..4).all(|_| bench.hop.ready(&bench.target, &bench.limits).is_some()));
    }

    #[tokio::test]
    async fn a_closed_connection_is_passed_over() {
        let bench = Bench::one();
        let (one, two) = (bench.connected(1), bench.connected(1));
        one.close(crate::CloseReason::Idle);
        for token in 0..3 {
            bench.offer(token);
        }
        assert_eq!(sent(&two).len(), 3);
    }

    #[tokio::test]
    async fn a_server_that_came_back_takes_over_from_its_spare() {
        let bench = Bench::of(vec![server(10, 1), server(20, 2)], |limits| {
            limits.connections_per_target = 1;
            (limits.failure_pause, limits.failure_pause_max) = (Duration::ZERO, Duration::ZERO);
        });
        bench.fail(1);
        let spare = bench.connected(2);
        let Next::Sent { connect, .. } = bench.offer(1) else { panic!("the spare is there") };
        assert_eq!(connect, Some(Goal::Probe(at(1))), "beside the spare, so that nobody waits for it");
        assert!(matches!(bench.offer(2), Next::Sent { connect: None, .. }), "one at a time");
        let (first, _) = bench.connect(1, Goal::Probe(at(1)));
        assert_eq!(bench.hop.state().connections, 2, "the spare stays until the first has spoken");
        let retired = bench.hop.works(&first, 1);
        assert_eq!(retired.iter().map(|retired| retired.flow.id()).collect::<Vec<_>>(), [spare.id()]);
        assert_eq!(bench.goes_to(), at(1));
        assert!(!spare.is_closed(), "what is under way on it may end");
        assert!(bench.hop.state().addresses.iter().all(|address| address.failures.is_none()));
    }

    #[tokio::test]
    async fn a_probe_that_fails_disturbs_nobody() {
        let bench = Bench::of(vec![server(10, 1), server(20, 2)], |limits| limits.connections_per_target = 1);
        bench.connected(2);
        assert_eq!(bench.hop.attempt_failed(Goal::Probe(at(1)), &refused(), &bench.limits), [0_u64; 0]);
        assert_eq!(bench.goes_to(), at(2));
        assert!(bench.hop.state().failures.is_none());
    }

    #[tokio::test]
    async fn a_server_that_is_overloaded_is_left_alone_if_there_is_another() {
        let bench = Bench::of(vec![server(10, 1), server(10, 2)], |_| {});
        let minute = Duration::from_secs(60);
        bench.connected(1);
        assert!(bench.hop.shun(at(1), &refused(), minute), "there is another");
        assert!(matches!(bench.offer(1), Next::Waits { connect: true }), "it waits for the other");
        bench.connected(2);
        for _ in 0..8 {
            assert_eq!(bench.goes_to(), at(2));
        }
        assert!(bench.hop.pass_by(at(1), &refused(), Duration::ZERO));
        assert_eq!(bench.goes_to(), at(2), "what it has asked for holds");
        assert!(bench.hop.shun(at(9), &refused(), minute), "none of its addresses");
        assert!(!bench.hop.pass_by(at(2), &refused(), minute), "nobody else is left");
        let reached: Vec<SocketAddr> = (0..16).map(|_| bench.goes_to()).collect();
        assert!(reached.contains(&at(1)) && reached.contains(&at(2)), "so both are used");
        bench.hop.shun(at(2), &refused(), Duration::ZERO);
        assert!((0..16).all(|_| bench.goes_to() == at(2)), "its rest is over");
    }

    #[tokio::test]
    async fn an_old_connection_is_renewed_before_it_goes() {
        let bench = Bench::of(vec![server(0, 1)], |limits| {
            limits.connections_per_target = 1;
            limits.renew_after = Some(Duration::ZERO);
        });
        let old = bench.connected(1);
        assert!(matches!(bench.offer(1), Next::Sent { connect: Some(Goal::Any), .. }));
        assert!(matches!(bench.offer(2), Next::Sent { connect: None, .. }), "once");
        let (new, _) = bench.connect(1, Goal::Any);
        let retired = bench.hop.works(&new, 1);
        assert_eq!(retired.iter().map(|retired| retired.flow.id()).collect::<Vec<_>>(), [old.id()]);
        assert_eq!(bench.hop.flows().len(), 2, "it stays open until it is drained");
    }

    #[tokio::test]
    async fn addresses_that_change_keep_the_connections() {
        let mut bench = Bench::of(vec![server(0, 1), server(0, 2)], |_| {});
        bench.fail(2);
        let flow = bench.connected(1);
        bench.target = Target::served_by("edge.example", vec![server(0, 3), server(0, 1)], Transport::Tls);
        assert!(matches!(bench.offer(1), Next::Sent { flow: on, .. } if on.id() == flow.id()));
        let addresses: Vec<_> = bench.hop.state().addresses.iter().map(|state| state.address).collect();
        assert_eq!(addresses, [at(3), at(1)]);
    }
}
