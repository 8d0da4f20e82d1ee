//! Outbound connections: a few per next hop, kept open, with what is sent meanwhile waiting in order.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use reveille_sip::{Limits, Message, Side};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::close::CloseReason;
use crate::connect::{ConnectError, ConnectTimes, Connected, Wire, connect};
use crate::conversation::{Terms, converse};
use crate::flow::{Flow, Transport};
use crate::handler::{BadMessage, Handler};
use crate::hop::{Hop, Next, Parcel};
use crate::listen::PONG;
use crate::metric;
use crate::names::PeerCertificate;
use crate::target::{Key, Target, drawn};
use crate::tls::TlsClient;
use crate::udp::UdpSender;

/// Who is told what became of parcels that could not leave at once. Called from the pool's tasks; must not wait.
pub trait Senders: Send + Sync + 'static {
    /// A parcel did not leave. Said once per parcel.
    fn failed(&self, token: u64, error: &ConnectError);

    /// A parcel which had to wait is now on this flow; if the flow closes, so does the parcel's chance of an answer.
    fn sent(&self, _token: u64, _flow: &Arc<Flow>) {}
}

/// What became of a parcel given to [`Pool::send`].
#[derive(Clone, Debug)]
pub enum Sent {
    /// It is queued on this flow.
    On(Arc<Flow>),
    /// It waits for a connection; [`Senders`] will hear about it.
    Waiting,
}

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Most connections to one next hop. The second is opened when the first is in use.
    pub connections_per_target: usize,
    /// Most next hops at once.
    pub targets_max: usize,
    /// Most bytes that wait for one next hop's connection.
    pub waiting_bytes_max: usize,
    /// Most parcels that wait for one next hop's connection. How long they wait is bounded by the attempt.
    pub waiting_max: usize,
    /// For TCP, per address.
    pub connect_timeout: Duration,
    /// For the TLS handshake, per address.
    pub handshake_timeout: Duration,
    /// For all addresses of one attempt together.
    pub attempt_timeout: Duration,
    /// After a failure, how long further parcels fail at once with the same error.
    pub failure_pause: Duration,
    /// Without a byte in either direction.
    pub idle_timeout: Duration,
    /// Silence after which we ping (RFC 5626 §3.5.1: 95 to 120 s for TCP behind NAT).
    pub ping_after: Option<Duration>,
    /// From the first byte of a message to its last.
    pub message_timeout: Duration,
    /// For writing what is queued when a connection ends.
    pub flush_timeout: Duration,
    /// Bounds of one message.
    pub message: Limits,
    /// Most bytes waiting to be written on one connection.
    pub queued_bytes_max: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            connections_per_target: 2,
            targets_max: 10_000,
            waiting_bytes_max: 512 * 1024,
            waiting_max: 2_000,
            connect_timeout: Duration::from_secs(4),
            handshake_timeout: Duration::from_secs(5),
            // Timer F is 32 s and a caller's patience less; half of it leaves time for another next hop.
            attempt_timeout: Duration::from_secs(12),
            failure_pause: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(900),
            ping_after: Some(Duration::from_secs(95)),
            message_timeout: Duration::from_secs(30),
            flush_timeout: Duration::from_secs(5),
            message: Limits::default(),
            queued_bytes_max: 1024 * 1024,
        }
    }
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
        let hop = inner.hop(target)?;
        let next = hop.offer(parcel, &inner.limits);
        match next {
            Next::Sent { flow, grow } => {
                if grow {
                    inner.connect(target, &hop);
                }
                Ok(Sent::On(flow))
            }
            Next::Waits { connect } => {
                if connect {
                    inner.connect(target, &hop);
                }
                Ok(Sent::Waiting)
            }
            Next::Failed(error) => Err(error),
        }
    }

    /// The live connections to a next hop.
    pub fn flows(&self, target: &Target) -> Vec<Arc<Flow>> {
        self.inner.shard(target).read().get(target.key()).map(|hop| hop.flows()).unwrap_or_default()
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
            return Err(ConnectError::TooManyTargets { name: target.name().to_owned(), limit: self.limits.targets_max });
        }
        let hop = Arc::new(Hop::new(target.name().to_owned()));
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
    fn connect(self: &Arc<Self>, target: &Target, hop: &Arc<Hop>) {
        let (inner, hop, target) = (self.clone(), hop.clone(), target.clone());
        self.tasks.spawn_on(async move { inner.carry(&target, &hop).await }, &self.runtime);
    }

    async fn carry(self: &Arc<Self>, target: &Target, hop: &Arc<Hop>) {
        let connected = match self.attempt(target).await {
            Ok(connected) => connected,
            Err(error) => {
                self.tell(target.name(), &error);
                for token in hop.attempt_failed(&error, self.limits.failure_pause) {
                    self.senders.failed(token, &error);
                }
                return;
            }
        };
        let Connected { stream, local, remote, peer } = connected;
        let max = self.limits.queued_bytes_max;
        let flow = Flow::carried(target.transport(), Side::Initiated, local, remote, peer, max);
        let tls = self.tls.as_ref().filter(|_| matches!(stream, Wire::Tls(_)));
        let judged = tls.and_then(|tls| tls.certificate()).map(|ours| (Instant::now(), ours));
        let arrival = Arrival { inner: self.clone(), name: target.name().to_owned(), hop: hop.clone(), remote, judged };
        match stream {
            Wire::Plain(stream) => converse(stream, &flow, &arrival, self.terms(), &self.stop).await,
            Wire::Tls(stream) => {
                let _kept = tls.map(|tls| tls.keep(&flow, stream.get_ref().1.peer_certificates()));
                converse(stream, &flow, &arrival, self.terms(), &self.stop).await
            }
        };
    }

    /// Counts and logs a failure; a handshake's also goes to the handler, like those of accepted connections.
    fn tell(&self, name: &str, error: &ConnectError) {
        metric::connect_failed(error.label());
        if let ConnectError::Tls { address, refusal, .. } = error {
            refusal.log(*address, Some(name));
            return self.handler.refused(*address, refusal);
        }
        tracing::info!(
            peer.name = name,
            stage = ?error.stage(),
            blame = ?error.blame(),
            why = %error,
            advice = error.advice(),
            "connecting failed"
        );
    }

    async fn attempt(&self, target: &Target) -> Result<Connected, ConnectError> {
        let times = ConnectTimes { connect: self.limits.connect_timeout, handshake: self.limits.handshake_timeout };
        let tls = self.tls.as_deref().filter(|_| target.transport() == Transport::Tls);
        let addresses = drawn(target.servers(), |most| rand::random_range(0..=most));
        let attempt = connect(target.name(), &addresses, tls, times);
        let limited = tokio::time::timeout(self.limits.attempt_timeout, attempt);
        match self.stop.run_until_cancelled(limited).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(ConnectError::TimedOut { address: addresses[0] }),
            None => Err(ConnectError::Stopping),
        }
    }

    fn terms(&self) -> Terms {
        Terms {
            message: self.limits.message,
            first_byte: None,
            message_time: self.limits.message_timeout,
            idle: self.limits.idle_timeout,
            flush: self.limits.flush_timeout,
            ping: self.limits.ping_after,
            pong: PONG,
        }
    }
}

/// Stands between a connection and the pool's handler, to keep the next hop's books.
struct Arrival {
    inner: Arc<Inner>,
    name: String,
    hop: Arc<Hop>,
    remote: SocketAddr,
    /// Since when the peer may judge the certificate that we showed.
    judged: Option<(Instant, Arc<PeerCertificate>)>,
}

impl Handler for Arrival {
    fn opened(&self, flow: &Arc<Flow>) {
        self.inner.handler.opened(flow);
        let moved = self.hop.connected(flow);
        for token in moved.sent {
            self.inner.senders.sent(token, flow);
        }
        for (token, error) in moved.failed {
            self.inner.senders.failed(token, &error);
        }
    }

    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        self.inner.handler.messages(flow, batch);
    }

    fn bad(&self, flow: &Arc<Flow>, bad: BadMessage) {
        self.inner.handler.bad(flow, bad);
    }

    fn closed(&self, flow: &Arc<Flow>, why: &CloseReason) {
        let unheard = self.hop.disconnected(flow);
        // RFC 8446 §4.4.2: our certificate is judged after our handshake. What was written meanwhile was never read.
        let ours = self.judged.as_ref().filter(|(since, _)| !flow.has_heard() && since.elapsed() < JUDGED_WITHIN);
        if let Some(refusal) = why.as_refusal(ours.map(|(_, ours)| ours)) {
            let error = ConnectError::Tls { name: self.name.clone(), address: self.remote, refusal: Box::new(refusal) };
            self.inner.tell(&self.name, &error);
            self.hop.pause(&error, self.inner.limits.failure_pause);
            for token in unheard {
                self.inner.senders.failed(token, &error);
            }
        }
        self.inner.handler.closed(flow, why);
    }
}

fn no_transport(target: &Target) -> ConnectError {
    ConnectError::NoTransport { name: target.name().to_owned(), transport: target.transport() }
}

const SHARDS: usize = 16;
/// A connection that ends without a word within this time was most likely ended for our certificate.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);
