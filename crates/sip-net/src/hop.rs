//! The books of one next hop: its connections, what waits for one, and whether it failed a moment ago. No sockets.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::connect::ConnectError;
use crate::flow::{Flow, FlowId};
use crate::pool::PoolLimits;

/// Bytes (whole messages) to send, and what to call them when telling their fate.
#[derive(Clone)]
pub struct Parcel {
    /// The caller's own name for it.
    pub token: u64,
    /// Parcels of equal affinity take the same connection while connections stay, so that they arrive in order: a CANCEL
    /// must not overtake its INVITE. The others take turns.
    pub affinity: Option<u64>,
    /// What to send.
    pub bytes: Bytes,
}

impl Parcel {
    /// A parcel without affinity.
    pub fn new(token: u64, bytes: Bytes) -> Self {
        Self { token, affinity: None, bytes }
    }

    /// Keeps order with others of the same affinity, for instance a hash of the Call-ID.
    #[must_use]
    pub fn with_affinity(mut self, affinity: u64) -> Self {
        self.affinity = Some(affinity);
        self
    }
}

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parcel").field("token", &self.token).field("bytes", &self.bytes.len()).finish()
    }
}

/// What happens to a parcel now.
#[derive(Debug)]
pub(crate) enum Next {
    /// It is queued on this flow; `grow` asks for one more connection.
    Sent { flow: Arc<Flow>, grow: bool },
    /// It waits; `connect` asks for a connection.
    Waits { connect: bool },
    /// It will not leave.
    Failed(ConnectError),
}

/// What a new connection did for those who waited.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) sent: Vec<u64>,
    pub(crate) failed: Vec<(u64, ConnectError)>,
}

pub(crate) struct Hop {
    name: String,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    links: Vec<Link>,
    turn: usize,
    connecting: usize,
    waiting: VecDeque<Parcel>,
    waiting_bytes: usize,
    /// Until when parcels fail at once, and with what.
    paused: Option<(Instant, ConnectError)>,
}

struct Link {
    flow: Arc<Flow>,
    /// Parcels sent before the peer said anything; bounded, since a peer that never answers is of no use anyway.
    unheard: Vec<u64>,
}

impl Hop {
    pub(crate) fn new(name: String) -> Self {
        Self { name, books: Mutex::default() }
    }

    /// Takes a parcel. Connections and their order are decided here; the caller connects if asked to.
    pub(crate) fn offer(&self, parcel: Parcel, limits: &PoolLimits) -> Next {
        let now = Instant::now();
        let mut books = self.books.lock();
        books.links.retain(|link| !link.flow.is_closed());
        // A flow that turns out full closes itself; the next one is tried.
        while let Some(at) = books.pick(parcel.affinity) {
            match books.links[at].send(&parcel) {
                Some(flow) => {
                    let grow = books.links.len() + books.connecting < limits.connections_per_target
                        && books.paused_with(now).is_none();
                    if grow {
                        books.connecting += 1;
                    }
                    return Next::Sent { flow, grow };
                }
                None => drop(books.links.remove(at)),
            }
        }
        if books.connecting == 0
            && let Some(error) = books.paused_with(now)
        {
            return Next::Failed(error);
        }
        let bytes = books.waiting_bytes + parcel.bytes.len();
        if bytes > limits.waiting_bytes_max || books.waiting.len() >= limits.waiting_max {
            return Next::Failed(ConnectError::TooMuchWaiting { name: self.name.clone() });
        }
        books.waiting_bytes = bytes;
        books.waiting.push_back(parcel);
        let connect = books.connecting == 0;
        if connect {
            books.connecting += 1;
        }
        Next::Waits { connect }
    }

    /// A connection is there: everything that waits goes to it, in order, before anything newer can.
    pub(crate) fn connected(&self, flow: &Arc<Flow>) -> Moved {
        let mut books = self.books.lock();
        books.connecting = books.connecting.saturating_sub(1);
        books.paused = None;
        let mut link = Link { flow: flow.clone(), unheard: Vec::new() };
        let mut moved = Moved::default();
        books.waiting_bytes = 0;
        for parcel in std::mem::take(&mut books.waiting) {
            match link.send(&parcel) {
                Some(_) => moved.sent.push(parcel.token),
                None => moved.failed.push((parcel.token, ConnectError::Closed { name: self.name.clone() })),
            }
        }
        books.links.push(link);
        moved
    }

    /// An attempt failed: whoever waits is told, unless another attempt or connection may still serve them.
    pub(crate) fn attempt_failed(&self, error: &ConnectError, pause: Duration) -> Vec<u64> {
        let mut books = self.books.lock();
        books.connecting = books.connecting.saturating_sub(1);
        books.paused = Some((Instant::now() + pause, error.clone()));
        if books.connecting > 0 {
            return Vec::new();
        }
        books.waiting_bytes = 0;
        std::mem::take(&mut books.waiting).into_iter().map(|parcel| parcel.token).collect()
    }

    /// A connection ended: the tokens of what it sent without ever hearing from the peer.
    pub(crate) fn disconnected(&self, flow: &Flow) -> Vec<u64> {
        let mut books = self.books.lock();
        let ended = books.links.iter().position(|link| link.flow.id() == flow.id());
        let link = ended.map(|at| books.links.remove(at));
        link.filter(|_| !flow.has_heard()).map(|link| link.unheard).unwrap_or_default()
    }

    /// Fails further parcels at once for a while.
    pub(crate) fn pause(&self, error: &ConnectError, pause: Duration) {
        self.books.lock().paused = Some((Instant::now() + pause, error.clone()));
    }

    /// Whether forgetting this next hop would lose something.
    pub(crate) fn is_in_use(&self) -> bool {
        let books = self.books.lock();
        books.connecting > 0
            || !books.waiting.is_empty()
            || books.links.iter().any(|link| !link.flow.is_closed())
            || books.paused_with(Instant::now()).is_some()
    }

    pub(crate) fn flows(&self) -> Vec<Arc<Flow>> {
        let books = self.books.lock();
        books.links.iter().map(|link| link.flow.clone()).filter(|flow| !flow.is_closed()).collect()
    }
}

impl Books {
    /// Which connection takes the next parcel.
    fn pick(&mut self, affinity: Option<u64>) -> Option<usize> {
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

    fn paused_with(&self, now: Instant) -> Option<ConnectError> {
        self.paused.as_ref().filter(|(until, _)| now < *until).map(|(_, error)| error.clone())
    }
}

impl Link {
    fn send(&mut self, parcel: &Parcel) -> Option<Arc<Flow>> {
        self.flow.send(parcel.bytes.clone()).ok()?;
        if self.flow.has_heard() {
            self.unheard = Vec::new();
        } else if self.unheard.len() < UNHEARD_MAX {
            self.unheard.push(parcel.token);
        }
        Some(self.flow.clone())
    }
}

/// A mix in which every connection wins for its share of affinities (splitmix64's finaliser).
fn rank(affinity: u64, flow: FlowId) -> u64 {
    let mut mixed = affinity ^ flow.as_u64().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

const UNHEARD_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use reveille_sip::Side;

    use super::*;
    use crate::flow::Transport;

    fn flow() -> Arc<Flow> {
        let address: SocketAddr = ([127, 0, 0, 1], 5061).into();
        Flow::carried(Transport::Tls, Side::Initiated, address, address, None, 1000)
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
        ConnectError::Refused { address: ([127, 0, 0, 1], 5061).into() }
    }

    #[tokio::test]
    async fn the_first_parcel_asks_for_a_connection_and_all_leave_in_order_on_it() {
        let (hop, limits) = (Hop::new("edge.example".into()), PoolLimits::default());
        assert!(matches!(hop.offer(parcel(1), &limits), Next::Waits { connect: true }));
        assert!(matches!(hop.offer(parcel(2), &limits), Next::Waits { connect: false }));
        let flow = flow();
        let moved = hop.connected(&flow);
        assert_eq!(moved.sent, [1, 2]);
        assert!(matches!(hop.offer(parcel(3), &limits), Next::Sent { grow: true, .. }));
        assert_eq!(sent(&flow), "123");
    }

    #[tokio::test]
    async fn a_failed_attempt_names_each_waiting_parcel_and_then_fails_fast() {
        let (hop, limits) = (Hop::new("edge.example".into()), PoolLimits::default());
        for token in 1..=3 {
            hop.offer(parcel(token), &limits);
        }
        assert_eq!(hop.attempt_failed(&refused(), limits.failure_pause), [1, 2, 3]);
        assert!(matches!(hop.offer(parcel(4), &limits), Next::Failed(error) if error == refused()));
        let hop = Hop::new("edge.example".into());
        hop.offer(parcel(1), &limits);
        hop.attempt_failed(&refused(), Duration::ZERO);
        assert!(matches!(hop.offer(parcel(2), &limits), Next::Waits { connect: true }), "the pause is over");
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_and_bytes() {
        let hop = Hop::new("edge.example".into());
        let few = PoolLimits { waiting_max: 1, ..PoolLimits::default() };
        hop.offer(parcel(1), &few);
        assert!(matches!(hop.offer(parcel(2), &few), Next::Failed(ConnectError::TooMuchWaiting { .. })));
        let small = PoolLimits { waiting_bytes_max: 1, ..PoolLimits::default() };
        assert!(matches!(hop.offer(parcel(3), &small), Next::Failed(ConnectError::TooMuchWaiting { .. })));
    }

    #[tokio::test]
    async fn connections_take_turns_and_affinity_keeps_to_one() {
        let (hop, limits) = (Hop::new("edge.example".into()), PoolLimits::default());
        let (one, two) = (flow(), flow());
        hop.connected(&one);
        hop.connected(&two);
        for token in 0..4 {
            assert!(matches!(hop.offer(parcel(token), &limits), Next::Sent { grow: false, .. }));
        }
        assert_eq!((sent(&one).len(), sent(&two).len()), (2, 2));
        for token in 0..4 {
            hop.offer(parcel(token).with_affinity(77), &limits);
        }
        let lengths = [sent(&one).len(), sent(&two).len()];
        assert!(lengths.contains(&4) && lengths.contains(&0), "{lengths:?}");
        let mut chosen: Vec<_> = Vec::new();
        for affinity in 0..64 {
            if let Next::Sent { flow, .. } = hop.offer(parcel(0).with_affinity(affinity), &limits) {
                chosen.push(flow.id());
            }
        }
        assert!(chosen.contains(&one.id()) && chosen.contains(&two.id()), "both get a share");
    }

    #[tokio::test]
    async fn parcels_sent_into_silence_are_named_when_the_connection_ends() {
        let (hop, limits) = (Hop::new("edge.example".into()), PoolLimits::default());
        hop.offer(parcel(1), &limits);
        let silent = flow();
        hop.connected(&silent);
        hop.offer(parcel(2), &limits);
        assert_eq!(hop.disconnected(&silent), [1, 2]);
        let heard = flow();
        hop.connected(&heard);
        hop.offer(parcel(3), &limits);
        heard.note_heard();
        assert_eq!(hop.disconnected(&heard), [0_u64; 0]);
    }

    #[tokio::test]
    async fn a_closed_connection_is_passed_over() {
        let (hop, limits) = (Hop::new("edge.example".into()), PoolLimits::default());
        let (one, two) = (flow(), flow());
        hop.connected(&one);
        hop.connected(&two);
        one.close(crate::CloseReason::Idle);
        for token in 0..3 {
            hop.offer(parcel(token), &limits);
        }
        assert_eq!(sent(&two).len(), 3);
    }
}
