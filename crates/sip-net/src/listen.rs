//! Listeners: TCP, TLS, UDP and WebSocket. Each owns its conversations and waits for them when it stops.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use reveille_sip::Limits;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::flow::Transport;
use crate::handler::Handler;
use crate::reception::Reception;
use crate::tls::TlsServer;
use crate::udp::{Receiver, UdpSender};
use crate::ws::Origins;

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
    /// Most of them from one address, so that none can hold all places. More wait, within their time.
    pub handshakes_per_address: usize,
    /// For a TLS handshake, from accept to its end; for that of a WebSocket, after it, as much again.
    pub handshake_timeout: Duration,
    /// From open to the first byte of SIP.
    pub first_byte_timeout: Duration,
    /// From the first byte of a message to its last.
    pub message_timeout: Duration,
    /// Without a byte in either direction.
    pub idle_timeout: Duration,
    /// For writing what is queued when a connection ends.
    pub flush_timeout: Duration,
    /// For UDP: most datagrams in a second from one address; more are dropped, and SIP over UDP repeats.
    pub datagrams_per_second: u32,
    /// For UDP: most remotes (ports) of one address that are remembered. Datagrams of others of it are dropped.
    pub remotes_per_address: usize,
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
            handshakes_per_address: 1024,
            handshake_timeout: Duration::from_secs(6),
            first_byte_timeout: Duration::from_secs(30),
            message_timeout: Duration::from_secs(30),
            // RFC 5626 §4.4.1 has clients ping within 120 s; 10 minutes forgive several lost ones.
            idle_timeout: Duration::from_secs(600),
            flush_timeout: Duration::from_secs(5),
            datagrams_per_second: 5_000,
            // A large office behind one address, and a tenth of the table.
            remotes_per_address: 2_000,
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
    /// Gone when nobody listens any more.
    alive: Arc<()>,
}

/// Whether a [`Listener`] listens, for whoever watches over it.
#[derive(Clone, Debug)]
pub struct Pulse(Weak<()>);

impl Pulse {
    /// Whether it listens, or will when it is run; not after it has ended, for whatever reason.
    pub fn beats(&self) -> bool {
        self.0.strong_count() > 0
    }
}

enum Door {
    Tcp(TcpListener),
    Tls(TcpListener, Arc<TlsServer>),
    Udp(UdpSender),
    Ws(TcpListener, Option<Arc<TlsServer>>, Origins),
}

impl Listener {
    /// SIP over TCP. Needs a tokio runtime, like its siblings.
    pub fn tcp(address: SocketAddr, limits: ListenLimits) -> io::Result<Self> {
        let listener = bind_tcp(address)?;
        Ok(Self::of(listener.local_addr()?, Door::Tcp(listener), limits))
    }

    /// SIP over TLS.
    pub fn tls(address: SocketAddr, server: Arc<TlsServer>, limits: ListenLimits) -> io::Result<Self> {
        let listener = bind_tcp(address)?;
        Ok(Self::of(listener.local_addr()?, Door::Tls(listener, server), limits))
    }

    /// SIP over UDP.
    pub fn udp(address: SocketAddr, limits: ListenLimits) -> io::Result<Self> {
        let socket = bind(address, Type::DGRAM, Protocol::UDP)?;
        // A burst of phones that register after an outage; the system may grant less.
        let _ = SockRef::from(&socket).set_recv_buffer_size(UDP_BUFFER_BYTES);
        let sender = UdpSender::new(Arc::new(UdpSocket::from_std(socket.into())?))?;
        Ok(Self::of(sender.local_addr(), Door::Udp(sender), limits))
    }

    /// SIP over WebSocket (RFC 7118).
    pub fn ws(address: SocketAddr, origins: Origins, limits: ListenLimits) -> io::Result<Self> {
        let listener = bind_tcp(address)?;
        Ok(Self::of(listener.local_addr()?, Door::Ws(listener, None, origins), limits))
    }

    /// SIP over WebSocket over TLS.
    pub fn wss(
        address: SocketAddr,
        server: Arc<TlsServer>,
        origins: Origins,
        limits: ListenLimits,
    ) -> io::Result<Self> {
        let listener = bind_tcp(address)?;
        Ok(Self::of(listener.local_addr()?, Door::Ws(listener, Some(server), origins), limits))
    }

    fn of(local: SocketAddr, door: Door, limits: ListenLimits) -> Self {
        Self { door, local, limits, alive: Arc::new(()) }
    }

    /// Tells from now on whether it listens.
    pub fn pulse(&self) -> Pulse {
        Pulse(Arc::downgrade(&self.alive))
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
            Door::Ws(_, None, _) => Transport::Ws,
            Door::Ws(_, Some(_), _) => Transport::Wss,
        }
    }

    /// Sends from this socket, if it is a UDP one.
    pub fn udp_sender(&self) -> Option<UdpSender> {
        match &self.door {
            Door::Udp(sender) => Some(sender.clone()),
            Door::Tcp(_) | Door::Tls(..) | Door::Ws(..) => None,
        }
    }

    /// Takes connections until `stop`; then takes no more, has every conversation write what is queued, and waits for
    /// them.
    pub async fn run(self, handler: Arc<dyn Handler>, stop: CancellationToken) {
        let transport = self.transport();
        let Self { door, local, limits, alive } = self;
        let _end = End { local, transport, stop: stop.clone(), _alive: alive };
        match door {
            Door::Tcp(listener) => Reception::new(local, limits, handler, None, None).run(listener, stop).await,
            Door::Tls(listener, server) => {
                Reception::new(local, limits, handler, Some(server), None).run(listener, stop).await;
            }
            Door::Ws(listener, server, origins) => {
                Reception::new(local, limits, handler, server, Some(origins)).run(listener, stop).await;
            }
            Door::Udp(sender) => {
                let receiver = Receiver { sender, limits };
                receiver.run(&*handler, &stop).await;
            }
        }
    }
}

/// Says so if a listener ends that was not told to.
struct End {
    local: SocketAddr,
    transport: Transport,
    stop: CancellationToken,
    _alive: Arc<()>,
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            let advice = "restart this server, and report the lines before this one";
            tracing::error!(local = %self.local, transport = %self.transport, advice, "a listener has ended by itself");
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({} {})", self.transport(), self.local)
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
const KEEPALIVE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
