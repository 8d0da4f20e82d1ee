//! One next hop of a pool: its connections, what waits for one, and what failed a moment ago. No sockets.

mod books;
mod state;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use self::books::{Books, Link, pauses, spread, take};
use crate::circuit::{Circuit, priority};
use crate::connect::ConnectError;
use crate::drain::{Pulse, Retired};
use crate::flow::Flow;
use crate::parcel::Parcel;
use crate::pool::PoolLimits;
use crate::target::Target;

pub use state::{AddressState, Failures, HopState};

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

#[cfg(test)]
mod tests;
