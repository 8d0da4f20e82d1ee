//! Listeners: TCP, TLS and UDP. Each owns its conversations and waits for them when it stops.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reveille_sip::{Limits, Side};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::conversation::{Terms, converse};
use crate::flow::{Flow, Transport};
use crate::handler::Handler;
use crate::metric;
use crate::tls::{HandshakeRefusal, TlsServer};
use crate::udp::{Receiver, UdpSender};

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub struct ListenLimits {
    /// Most connections at once, handshakes included. One more is closed at once. For UDP, most remotes remembered.
    pub seats: usize,
    /// Most connections at once from one address.
    pub seats_per_address: usize,
    /// Most TLS handshakes at once. More wait, within their time. Only a connection which has sent something counts, so
    /// that silent ones hold nobody up.
    pub handshakes_in_flight: usize,
    /// For a TLS handshake, from accept to its end.
    pub handshake_timeout: Duration,
    /// From open to the first byte of SIP.
    pub first_byte_timeout: Duration,
    /// From the first byte of a message to its last.
    pub message_timeout: Duration,
    /// Without a byte in either direction.
    pub idle_timeout: Duration,
    /// For writing what is queued when a connection ends.
    pub flush_timeout: Duration,
    /// Bounds of one message.
    pub message: Limits,
    /// Most bytes waiting to be written on one connection. A peer that lets it fill up is closed.
    pub queued_bytes_max: usize,
}

impl Default for ListenLimits {
    fn default() -> Self {
        Self {
            seats: 20_000,
            seats_per_address: 20_000,
            // Half a ClientHello holds a place until its time is over, so there are many places and little time.
            handshakes_in_flight: 4096,
            handshake_timeout: Duration::from_secs(6),
            first_byte_timeout: Duration::from_secs(30),
            message_timeout: Duration::from_secs(30),
            // RFC 5626 §4.4.1 has clients ping within 120 s; 10 minutes forgive several lost ones.
            idle_timeout: Duration::from_secs(600),
            flush_timeout: Duration::from_secs(5),
            message: Limits::default(),
            queued_bytes_max: 1024 * 1024,
        }
    }
}

/// A bound socket which takes SIP.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use reveille_sip_net::{Handler, ListenLimits, Listener};
/// # async fn example(handler: Arc<dyn Handler>) -> std::io::Result<()> {
/// let stop = tokio_util::sync::CancellationToken::new();
/// let listener = Listener::tcp(([127, 0, 0, 1], 0).into(), ListenLimits::default())?;
/// println!("listening on {}", listener.local_addr());
/// listener.run(handler, stop).await;
/// # Ok(()) }
/// ```
pub struct Listener {
    door: Door,
    local: SocketAddr,
    limits: ListenLimits,
}

enum Door {
    Tcp(TcpListener),
    Tls(TcpListener, Arc<TlsServer>),
    Udp(UdpSender),
}

impl Listener {
    /// SIP over TCP. Needs a tokio runtime, like its siblings.
    pub fn tcp(address: SocketAddr, limits: ListenLimits) -> io::Result<Self> {
        let listener = bind_tcp(address)?;
        Ok(Self { local: listener.local_addr()?, door: Door::Tcp(listener), limits })
    }

    /// SIP over TLS.
    pub fn tls(address: SocketAddr, server: Arc<TlsServer>, limits: ListenLimits) -> io::Result<Self> {
        let listener = bind_tcp(address)?;
        Ok(Self { local: listener.local_addr()?, door: Door::Tls(listener, server), limits })
    }

    /// SIP over UDP.
    pub fn udp(address: SocketAddr, limits: ListenLimits) -> io::Result<Self> {
        let socket = bind(address, Type::DGRAM, Protocol::UDP)?;
        // A burst of phones that register after an outage; the system may grant less.
        let _ = SockRef::from(&socket).set_recv_buffer_size(UDP_BUFFER_BYTES);
        let sender = UdpSender::new(Arc::new(UdpSocket::from_std(socket.into())?))?;
        Ok(Self { local: sender.local_addr(), door: Door::Udp(sender), limits })
    }

    /// Where it listens; with the real port if 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What it listens on.
    pub fn transport(&self) -> Transport {
        match self.door {
            Door::Tcp(_) => Transport::Tcp,
            Door::Tls(..) => Transport::Tls,
            Door::Udp(_) => Transport::Udp,
        }
    }

    /// Sends from this socket, if it is a UDP one.
    pub fn udp_sender(&self) -> Option<UdpSender> {
        match &self.door {
            Door::Udp(sender) => Some(sender.clone()),
            Door::Tcp(_) | Door::Tls(..) => None,
        }
    }

    /// Takes connections until `stop`; then takes no more, has every conversation write what is queued, and waits for
    /// them.
    pub async fn run(self, handler: Arc<dyn Handler>, stop: CancellationToken) {
        let Self { door, local, limits } = self;
        match door {
            Door::Tcp(listener) => Reception::new(local, limits, handler, None).run(listener, stop).await,
            Door::Tls(listener, server) => {
                Reception::new(local, limits, handler, Some(server)).run(listener, stop).await;
            }
            Door::Udp(sender) => {
                let idle = limits.idle_timeout;
                let receiver = Receiver { sender, limits: limits.message, remotes_max: limits.seats, idle };
                receiver.run(&*handler, &stop).await;
            }
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({} {})", self.transport(), self.local)
    }
}

/// Accepts connections and seats them.
struct Reception {
    local: SocketAddr,
    limits: ListenLimits,
    handler: Arc<dyn Handler>,
    tls: Option<Arc<TlsServer>>,
    handshakes: Semaphore,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Reception {
    fn new(
        local: SocketAddr,
        limits: ListenLimits,
        handler: Arc<dyn Handler>,
        tls: Option<Arc<TlsServer>>,
    ) -> Arc<Self> {
        let handshakes = Semaphore::new(limits.handshakes_in_flight.max(1));
        Arc::new(Self { local, limits, handler, tls, handshakes, by_address: Mutex::default() })
    }

    async fn run(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let seats = Arc::new(Semaphore::new(self.limits.seats.min(Semaphore::MAX_PERMITS)));
        let conversations = TaskTracker::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, remote) = match accepted {
                Ok(guest) => guest,
                Err(error) => {
                    // Out of descriptors or memory, or the guest has already gone; do not spin on it.
                    tracing::warn!(%error, local = %self.local, "a connection could not be accepted");
                    metric::turned_away("accept-failed");
                    stop.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
                    continue;
                }
            };
            let Some(seat) = self.seat(&seats, remote) else { continue };
            let (reception, stop) = (self.clone(), stop.clone());
            conversations.spawn(async move {
                reception.receive(stream, remote, &stop).await;
                drop(seat);
            });
        }
        drop(listener);
        conversations.close();
        conversations.wait().await;
    }

    /// A seat, or else the guest is turned away by dropping the stream.
    fn seat(self: &Arc<Self>, seats: &Arc<Semaphore>, remote: SocketAddr) -> Option<Seat> {
        let refuse = |why: &'static str| {
            metric::turned_away(why);
            tracing::debug!(peer.address = %remote, local = %self.local, why, "connection turned away");
        };
        let Ok(permit) = seats.clone().try_acquire_owned() else {
            refuse("seats");
            return None;
        };
        let address = remote.ip().to_canonical();
        let mut by_address = self.by_address.lock();
        let count = by_address.entry(address).or_insert(0);
        if *count >= self.limits.seats_per_address {
            drop(by_address);
            refuse("seats-per-address");
            return None;
        }
        *count += 1;
        Some(Seat { reception: self.clone(), address, _permit: permit })
    }

    async fn receive(&self, stream: TcpStream, remote: SocketAddr, stop: &CancellationToken) {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, peer.address = %remote, "the connection ended before it began");
            return;
        }
        let local = stream.local_addr().unwrap_or(self.local);
        let Some(tls) = &self.tls else {
            let flow = self.flow(Transport::Tcp, local, remote, None);
            converse(stream, &flow, &*self.handler, self.terms(), stop).await;
            return;
        };
        let handshake = timeout(self.limits.handshake_timeout, async {
            // Only who has sent something costs more than a seat.
            if !matches!(stream.peek(&mut [0]).await, Ok(1..)) {
                return Err(HandshakeRefusal::HungUp);
            }
            let Ok(_slot) = self.handshakes.acquire().await else { return Err(HandshakeRefusal::HungUp) };
            tls.accept(stream).await
        });
        let outcome = match stop.run_until_cancelled(handshake).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(HandshakeRefusal::TimedOut),
            None => return,
        };
        match outcome {
            Ok((stream, peer)) => {
                let flow = self.flow(Transport::Tls, local, remote, peer);
                let _kept = tls.keep(&flow, stream.get_ref().1.peer_certificates());
                converse(stream, &flow, &*self.handler, self.terms(), stop).await;
            }
            Err(refusal) => {
                metric::handshake_refused(&refusal, "accepted");
                refusal.log(remote, None);
                self.handler.refused(remote, &refusal);
            }
        }
    }

    fn flow(
        &self,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
        peer: Option<Arc<crate::names::PeerCertificate>>,
    ) -> Arc<Flow> {
        Flow::carried(transport, Side::Accepted, local, remote, peer, self.limits.queued_bytes_max)
    }

    fn terms(&self) -> Terms {
        Terms {
            message: self.limits.message,
            first_byte: Some(self.limits.first_byte_timeout),
            message_time: self.limits.message_timeout,
            idle: self.limits.idle_timeout,
            flush: self.limits.flush_timeout,
            ping: None,
            pong: PONG,
        }
    }
}

/// One of the connections allowed, given back when dropped.
struct Seat {
    reception: Arc<Reception>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_address = self.reception.by_address.lock();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

/// No delay for small writes; a peer that vanished is noticed within minutes.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(address, Type::STREAM, Protocol::TCP)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn bind(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    // A restarted server must not wait for the connections of the one before.
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// RFC 5626 §4.4.1: a pong is due within 10 s.
pub(crate) const PONG: Duration = Duration::from_secs(10);
const BACKLOG: i32 = 1024;
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
