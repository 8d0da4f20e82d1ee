//! Outbound connections: a few per next hop, kept open, with what is sent meanwhile waiting in order.

mod arrival;
mod limits;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use reveille_sip::{Message, Name};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::connect::{ConnectError, Took};
use crate::drain::Retired;
use crate::flow::{Flow, Transport};
use crate::handler::Handler;
use crate::hop::{Goal, Hop, HopState, Next};
use crate::parcel::Parcel;
use crate::target::{Key, Target};
use crate::tls::TlsClient;
use crate::udp::UdpSender;

pub use limits::PoolLimits;

/// Who is told what became of parcels that could not leave at once. Called from the pool's tasks; must not wait.
pub trait Senders: Send + Sync + 'static {
    /// A parcel did not leave. Said once per parcel.
    fn failed(&self, token: u64, error: &ConnectError);

    /// A parcel which had to wait is now on this flow; if the flow closes, so does the parcel's chance of an answer.
    fn sent(&self, _token: u64, _flow: &Arc<Flow>) {}

    /// A connection was made, in this time. Before anything is sent on it.
    fn connected(&self, _flow: &Arc<Flow>, _took: Took) {}
}

/// What became of a parcel given to [`Pool::send`].
#[derive(Clone, Debug)]
pub enum Sent {
    /// It is queued on this flow.
    On(Arc<Flow>),
    /// It waits for a connection; [`Senders`] will hear about it.
    Waiting,
}

/// Sends to next hops. Messages that come back on its connections go to its [`Handler`] like all others.
///
/// A clone is the same pool. Stop it with the token given, then await [`Pool::finish`].
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    handler: Arc<dyn Handler>,
    senders: Arc<dyn Senders>,
    tls: Option<Arc<TlsClient>>,
    udp: Option<UdpSender>,
    limits: PoolLimits,
    stop: CancellationToken,
    tasks: TaskTracker,
    runtime: Handle,
    hash: RandomState,
    waiting_in_all: Arc<AtomicUsize>,
    /// Of our certificate, when connections were last retired for a new one.
    generation: AtomicU64,
    /// Cut by hash, so that senders to different next hops do not meet.
    shards: Vec<RwLock<HashMap<Arc<Key>, Arc<Hop>>>>,
}

impl Pool {
    /// A pool without connections. Needs a tokio runtime, whose tasks will carry the connections.
    pub fn new(
        handler: Arc<dyn Handler>,
        senders: Arc<dyn Senders>,
        tls: Option<Arc<TlsClient>>,
        udp: Option<UdpSender>,
        limits: PoolLimits,
        stop: CancellationToken,
    ) -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        let generation = tls.as_ref().map_or(0, |tls| tls.identity_generation());
        Self {
            inner: Arc::new(Inner {
                handler,
                senders,
                tls,
                udp,
                limits,
                stop,
                tasks: TaskTracker::new(),
                runtime: Handle::current(),
                hash: RandomState::new(),
                waiting_in_all: Arc::default(),
                generation: AtomicU64::new(generation),
                shards,
            }),
        }
    }

    /// Sends on a live connection to `target`, or starts connecting and lets the parcel wait. Never blocks.
    ///
    /// An error means that the parcel did not leave and nobody will be told again.
    pub fn send(&self, target: &Target, parcel: Parcel) -> Result<Sent, ConnectError> {
        let inner = &self.inner;
        if inner.stop.is_cancelled() {
            return Err(ConnectError::Stopping);
        }
        let Some(first) = target.first_address() else {
            return Err(ConnectError::NoAddress { name: target.name().to_owned() });
        };
        match target.transport() {
            Transport::Udp => return inner.send_datagram(target, first, &parcel),
            Transport::Tls if inner.tls.is_none() => return Err(no_transport(target)),
            // RFC 7118 §5: it is the client that opens a WebSocket; answers and calls take the one that is open.
            Transport::Ws | Transport::Wss => return Err(no_transport(target)),
            Transport::Tls | Transport::Tcp => {}
        }
        inner.follow_certificate();
        let hop = inner.hop(target)?;
        match hop.offer(parcel, target, &inner.limits) {
            Next::Sent { flow, connect } => {
                if let Some(goal) = connect {
                    inner.connect(target, &hop, goal);
                }
                Ok(Sent::On(flow))
            }
            Next::Waits { connect } => {
                if connect {
                    inner.connect(target, &hop, Goal::Any);
                }
                Ok(Sent::Waiting)
            }
            Next::Failed(error) => Err(error),
        }
    }

    /// Connects to a next hop that nothing has to be sent to now; of no effect while there is a connection. Whoever waits
    /// for its peer hears of it by [`Handler::opened`].
    pub fn reach(&self, target: &Target) {
        let inner = &self.inner;
        let reaches = matches!(target.transport(), Transport::Tcp | Transport::Tls) && target.first_address().is_some();
        if !reaches || inner.stop.is_cancelled() || target.transport() == Transport::Tls && inner.tls.is_none() {
            return;
        }
        // Without room for another next hop this one is not reached, and its peer may still come by itself.
        if let Ok(hop) = inner.hop(target)
            && hop.lacks_connection()
        {
            inner.connect(target, &hop, Goal::Any);
        }
    }

    /// A connection to write on directly with [`Flow::write_with`], which spares a parcel; `None` unless one works and
    /// there is nothing else to do for this next hop. Then, or if the connection does not take what is written, the
    /// way is [`Pool::send`].
    pub fn ready(&self, target: &Target) -> Option<Arc<Flow>> {
        let inner = &self.inner;
        if inner.stop.is_cancelled() || target.transport() == Transport::Udp {
            return None;
        }
        inner.follow_certificate();
        let shard = inner.shard(target).read();
        shard.get(target.key())?.ready(target, &inner.limits)
    }

    /// The live connections to a next hop, also those that take nothing new.
    pub fn flows(&self, target: &Target) -> Vec<Arc<Flow>> {
        self.inner.known(target).map(|hop| hop.flows()).unwrap_or_default()
    }

    /// Shows each live connection, for instance to close those whose peer is not welcome any more.
    pub fn each_flow(&self, mut look: impl FnMut(&Arc<Flow>)) {
        for hop in self.inner.all() {
            hop.flows().iter().for_each(&mut look);
        }
    }

    /// What is known about a next hop, if anything was sent to it.
    pub fn state(&self, target: &Target) -> Option<HopState> {
        self.inner.known(target).map(|hop| hop.state())
    }

    /// Leaves the server behind `flow` alone for a while, since it answered that it can take nothing (503 with
    /// Retry-After). Says whether the next hop has another address: then the same request may be sent again, as a new
    /// transaction (RFC 3263 §4.3).
    pub fn shun(&self, target: &Target, flow: &Flow, pause: Duration) -> bool {
        let error = ConnectError::Overloaded { address: flow.remote() };
        self.inner.known(target).is_some_and(|hop| hop.shun(flow.remote(), &error, pause.min(SHUN_MAX)))
    }

    /// The same for the sake of one request that this server could not help with, so that the next try passes it by.
    pub(crate) fn pass_by(&self, target: &Target, flow: &Flow, pause: Duration) -> bool {
        let error = ConnectError::Overloaded { address: flow.remote() };
        self.inner.known(target).is_some_and(|hop| hop.pass_by(flow.remote(), &error, pause))
    }

    /// Leaves it alone for as long as a 503 asks: without Retry-After it says nothing about other requests (RFC 3261 §21.5.4).
    pub fn heed(&self, target: &Target, flow: &Flow, response: &Message) {
        // §20.33: seconds, and then a comment or parameters.
        let seconds = response.header(Name::RetryAfter).and_then(|value| value.split([' ', '(', ';']).next());
        if response.status() == Some(503)
            && let Some(seconds) = seconds.and_then(|seconds| seconds.parse().ok())
        {
            self.shun(target, flow, Duration::from_secs(seconds));
        }
    }

    /// Forgets what has failed at a next hop: somebody has just seen that it works again, and it need not be waited for.
    pub fn forgive(&self, target: &Target) {
        if let Some(hop) = self.inner.known(target) {
            hop.forgive();
        }
    }

    /// The connections made to a next hop until now take nothing new, and close when nothing is under way on them. The
    /// next parcel opens another.
    pub fn retire(&self, target: &Target) {
        if let Some(hop) = self.inner.known(target) {
            self.inner.drain(hop.retire());
        }
    }

    /// The same for all next hops.
    pub fn retire_all(&self) {
        for hop in self.inner.all() {
            self.inner.drain(hop.retire());
        }
    }

    /// After the stop token: waits until every connection has written what was queued and is closed.
    pub async fn finish(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let targets: usize = self.inner.shards.iter().map(|shard| shard.read().len()).sum();
        f.debug_struct("Pool").field("targets", &targets).finish_non_exhaustive()
    }
}

impl Inner {
    fn shard(&self, target: &Target) -> &RwLock<HashMap<Arc<Key>, Arc<Hop>>> {
        &self.shards[self.hash.hash_one(target.key()) as usize % SHARDS]
    }

    /// After another certificate of ours was put in place, connections that showed the one before take nothing new.
    fn follow_certificate(&self) {
        let Some(tls) = &self.tls else { return };
        let generation = tls.identity_generation();
        if self.generation.load(Ordering::Relaxed) != generation
            && self.generation.swap(generation, Ordering::Relaxed) != generation
        {
            for hop in self.all() {
                self.drain(hop.retire());
            }
        }
    }

    fn known(&self, target: &Target) -> Option<Arc<Hop>> {
        self.shard(target).read().get(target.key()).cloned()
    }

    fn all(&self) -> Vec<Arc<Hop>> {
        self.shards.iter().flat_map(|shard| shard.read().values().cloned().collect::<Vec<_>>()).collect()
    }

    fn hop(&self, target: &Target) -> Result<Arc<Hop>, ConnectError> {
        let shard = self.shard(target);
        if let Some(hop) = shard.read().get(target.key()) {
            return Ok(hop.clone());
        }
        let mut hops = shard.write();
        if let Some(hop) = hops.get(target.key()) {
            return Ok(hop.clone());
        }
        let shard_max = self.limits.targets_max.div_ceil(SHARDS);
        if hops.len() >= shard_max {
            hops.retain(|_, hop| hop.is_in_use());
        }
        if hops.len() >= shard_max {
            return Err(ConnectError::TooManyTargets {
                name: target.name().to_owned(),
                limit: self.limits.targets_max,
            });
        }
        let hop = Arc::new(Hop::new(target, self.waiting_in_all.clone()));
        hops.insert(target.key().clone(), hop.clone());
        Ok(hop)
    }

    fn send_datagram(&self, target: &Target, address: SocketAddr, parcel: &Parcel) -> Result<Sent, ConnectError> {
        let sender = self.udp.as_ref().ok_or_else(|| no_transport(target))?;
        let flow = sender.flow_to(address);
        match flow.send(parcel.bytes.clone()) {
            Ok(()) => Ok(Sent::On(flow)),
            Err(error) => Err(ConnectError::Unreachable { address, detail: error.to_string() }),
        }
    }

    /// Starts one connection to a next hop; the pool's tracker owns its task.
    fn connect(self: &Arc<Self>, target: &Target, hop: &Arc<Hop>, goal: Goal) {
        let (inner, hop, target) = (self.clone(), hop.clone(), target.clone());
        self.tasks.spawn_on(async move { inner.carry(&target, &hop, goal).await }, &self.runtime);
    }

    /// Closes retired connections in their time; the tasks end with their connections.
    fn drain(&self, retired: Vec<Retired>) {
        for retired in retired {
            let drain = retired.drain(self.limits.drain_quiet, self.limits.drain_max);
            self.tasks.spawn_on(drain, &self.runtime);
        }
    }
}

fn no_transport(target: &Target) -> ConnectError {
    ConnectError::NoTransport { name: target.name().to_owned(), transport: target.transport() }
}

const SHARDS: usize = 16;
/// A peer may ask for a longer rest; it is asked again before.
const SHUN_MAX: Duration = Duration::from_secs(120);
