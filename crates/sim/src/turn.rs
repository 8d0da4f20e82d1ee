//! A TURN server (RFC 8656) over UDP and TCP, for the demo: the protocol is `turn-server-proto`'s, the sockets are ours. It
//! takes the time-limited credentials that coturn takes with `use-auth-secret`, and computes them by itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stun_proto::agent::Transmit;
use stun_types::TransportType;
use stun_types::attribute::{Username, XorMappedAddress};
use stun_types::message::{BINDING, Message, MessageClass, MessageWrite as _, MessageWriteExt as _, MessageWriteVec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use turn_server_proto::api::{SocketAllocateError, TurnServerApi as _, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_types::AddressFamily;
use turn_types::prelude::DelayedTransmitBuild as _;

/// Bytes of a packet.
const PACKET_MAX: usize = 4096;
/// Packets that wait to be looked at.
const PACKETS_WAITING: usize = 256;
/// User names that are remembered; nobody else gets in then.
const USERS_MAX: usize = 1000;
/// Connections, and addresses given to clients.
const SOCKETS_MAX: usize = 256;

/// Where to listen, and whom to believe.
#[derive(Clone, Debug)]
pub struct TurnOptions {
    /// One address for UDP and TCP; its port must not be 0.
    pub listen: SocketAddr,
    /// What credentials are made for.
    pub realm: String,
    /// What is shared with whoever hands out credentials.
    pub secret: String,
}

/// A TURN server that runs.
#[derive(Debug)]
pub struct TurnSimulator {
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl TurnSimulator {
    /// Binds both sockets and begins to serve.
    pub async fn start(options: TurnOptions) -> io::Result<Self> {
        let datagrams = Arc::new(UdpSocket::bind(options.listen).await?);
        let streams = TcpListener::bind(options.listen).await?;
        let stop = CancellationToken::new();
        let addr = options.listen;
        let task = tokio::spawn(Desk::new(options, datagrams).run(streams, stop.clone()));
        Ok(Self { addr, stop, task })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes everything, and waits until that is so.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// What a socket has brought.
struct Packet {
    transport: TransportType,
    local: SocketAddr,
    remote: SocketAddr,
    /// Empty: the connection is over.
    data: Vec<u8>,
}

/// The one task that knows the protocol's state; readers of sockets bring it what comes.
struct Desk {
    options: TurnOptions,
    key: hmac::Key,
    udp: TurnServer,
    tcp: TurnServer,
    datagrams: Arc<UdpSocket>,
    connections: HashMap<SocketAddr, OwnedWriteHalf>,
    /// The addresses given to clients, each with whoever reads it.
    relays: HashMap<SocketAddr, (Arc<UdpSocket>, AbortHandle)>,
    /// Until when each user name holds, in seconds of the epoch.
    users: HashMap<String, u64>,
    readers: JoinSet<()>,
    begun: Instant,
}

impl Desk {
    fn new(options: TurnOptions, datagrams: Arc<UdpSocket>) -> Self {
        let server = |transport| TurnServer::new(transport, options.listen, options.realm.clone());
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, options.secret.as_bytes()),
            udp: server(TransportType::Udp),
            tcp: server(TransportType::Tcp),
            datagrams,
            connections: HashMap::new(),
            relays: HashMap::new(),
            users: HashMap::new(),
            readers: JoinSet::new(),
            begun: Instant::now(),
            options,
        }
    }

    async fn run(mut self, streams: TcpListener, stop: CancellationToken) {
        let (bring, mut packets) = mpsc::channel(PACKETS_WAITING);
        self.readers.spawn(read_datagrams(Arc::clone(&self.datagrams), self.options.listen, bring.clone()));
        loop {
            let wait = self.progress(&bring).await;
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
                Some(packet) = packets.recv() => self.take(packet).await,
                // Readers that have ended: their connections have said so themselves.
                Some(_) = self.readers.join_next() => {}
                guest = streams.accept() => {
                    let Ok((stream, remote)) = guest else { continue };
                    if self.connections.len() >= SOCKETS_MAX {
                        continue;
                    }
                    let _ = stream.set_nodelay(true);
                    let (mut reader, writer) = stream.into_split();
                    self.connections.insert(remote, writer);
                    let (bring, local) = (bring.clone(), self.options.listen);
                    self.readers.spawn(async move {
                        loop {
                            let mut data = vec![0; PACKET_MAX];
                            let count = reader.read(&mut data).await.unwrap_or(0);
                            data.truncate(count);
                            let packet = Packet { transport: TransportType::Tcp, local, remote, data };
                            if bring.send(packet).await.is_err() || count == 0 {
                                return;
                            }
                        }
                    });
                }
            }
        }
        self.readers.shutdown().await;
    }

    /// One packet: from a client, or from a peer to an address that a client has.
    async fn take(&mut self, packet: Packet) {
        let Packet { transport, local, remote, data } = packet;
        if transport == TransportType::Tcp && data.is_empty() {
            self.connections.remove(&remote);
        }
        if let Some(answer) = seen_as(&data, remote).filter(|_| local == self.options.listen) {
            let way = (transport, local, remote);
            return Self::write(&self.datagrams, &self.relays, &mut self.connections, way, &answer).await;
        }
        self.admit(&data);
        let now = self.now();
        // Each side asks whether it is one of its own.
        for server in [&mut self.udp, &mut self.tcp] {
            let is_client = local == self.options.listen;
            if is_client && server.transport() != transport {
                continue;
            }
            let received = Transmit::new(data.as_slice(), transport, remote, local);
            if let Some(reply) = server.recv(received, now) {
                let (transport, from, to) = (reply.transport, reply.from, reply.to);
                let data = reply.data.build();
                Self::write(&self.datagrams, &self.relays, &mut self.connections, (transport, from, to), &data).await;
                return;
            }
        }
    }

    /// Lets in a user whose name says that it holds still, with the password that the secret makes of it.
    fn admit(&mut self, data: &[u8]) {
        let Ok(message) = Message::from_bytes(data) else { return };
        let Ok(username) = message.attribute::<Username>() else { return };
        let username = username.username();
        let Some(until) = username.split(':').next().and_then(|secs| secs.parse::<u64>().ok()) else { return };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let room = self.users.len() < USERS_MAX;
        match self.users.entry(username.to_owned()) {
            Entry::Vacant(place) if until > now && room => {
                let password = STANDARD.encode(hmac::sign(&self.key, username.as_bytes()));
                for server in [&mut self.udp, &mut self.tcp] {
                    server.add_user(username.to_owned(), password.clone());
                }
                place.insert(until);
            }
            Entry::Occupied(known) if *known.get() <= now => {
                // Nobody knows this one: the name does not count any more.
                let nobodys = format!("{:032x}", rand::random::<u128>());
                for server in [&mut self.udp, &mut self.tcp] {
                    server.add_user(username.to_owned(), nobodys.clone());
                }
            }
            Entry::Vacant(_) | Entry::Occupied(_) => {}
        }
    }

    /// Carries out what the protocol wants; answers how long it has time.
    async fn progress(&mut self, bring: &mpsc::Sender<Packet>) -> Duration {
        let now = self.now();
        let mut wait = Duration::from_secs(60);
        for of in [TransportType::Udp, TransportType::Tcp] {
            loop {
                let server = if of == TransportType::Udp { &mut self.udp } else { &mut self.tcp };
                if let Some(Transmit { data, transport, from, to }) = server.poll_transmit(now) {
                    Self::write(&self.datagrams, &self.relays, &mut self.connections, (transport, from, to), &data)
                        .await;
                    continue;
                }
                match server.poll(now) {
                    TurnServerPollRet::WaitUntil(until) => {
                        wait = wait.min(until.saturating_duration_since(now).max(Duration::from_millis(10)));
                        break;
                    }
                    TurnServerPollRet::AllocateSocket {
                        transport,
                        listen_addr,
                        client_addr,
                        allocation_transport,
                        family,
                    } => {
                        let made = match (allocation_transport, family) {
                            (TransportType::Udp, AddressFamily::IPV4) => self.relay(bring).await,
                            _ => Err(SocketAllocateError::AddressFamilyNotSupported),
                        };
                        let server = if of == TransportType::Udp { &mut self.udp } else { &mut self.tcp };
                        server.allocated_socket(
                            transport,
                            listen_addr,
                            client_addr,
                            allocation_transport,
                            family,
                            made,
                            now,
                        );
                    }
                    TurnServerPollRet::SocketClose { listen_addr, .. } => {
                        if let Some((_, reader)) = self.relays.remove(&listen_addr) {
                            reader.abort();
                        }
                    }
                    TurnServerPollRet::TcpClose { remote_addr, .. } => {
                        self.connections.remove(&remote_addr);
                    }
                    // TCP toward peers (RFC 6062) is not for the demo: nobody is given such an address.
                    TurnServerPollRet::TcpConnect { relayed_addr, peer_addr, listen_addr, client_addr } => {
                        let refused = Err(turn_server_proto::api::TcpConnectError::Forbidden);
                        let server = if of == TransportType::Udp { &mut self.udp } else { &mut self.tcp };
                        server.tcp_connected(relayed_addr, peer_addr, listen_addr, client_addr, refused, now);
                    }
                }
            }
        }
        wait
    }

    /// An address for a client.
    async fn relay(&mut self, bring: &mpsc::Sender<Packet>) -> Result<SocketAddr, SocketAllocateError> {
        if self.relays.len() >= SOCKETS_MAX {
            return Err(SocketAllocateError::InsufficientCapacity);
        }
        let bound = UdpSocket::bind((self.options.listen.ip(), 0)).await;
        let (Ok(socket), full) = (bound, SocketAllocateError::InsufficientCapacity) else {
            return Err(SocketAllocateError::InsufficientCapacity);
        };
        let socket = Arc::new(socket);
        let addr = socket.local_addr().map_err(|_| full)?;
        let reader = self.readers.spawn(read_datagrams(Arc::clone(&socket), addr, bring.clone()));
        self.relays.insert(addr, (socket, reader));
        Ok(addr)
    }

    async fn write(
        datagrams: &UdpSocket,
        relays: &HashMap<SocketAddr, (Arc<UdpSocket>, AbortHandle)>,
        connections: &mut HashMap<SocketAddr, OwnedWriteHalf>,
        (transport, from, to): (TransportType, SocketAddr, SocketAddr),
        data: &[u8],
    ) {
        // Who has gone does not miss it; UDP promises nothing.
        match (transport, relays.get(&from)) {
            (TransportType::Tcp, _) => {
                if let Some(connection) = connections.get_mut(&to) {
                    let _ = connection.write_all(data).await;
                }
            }
            (TransportType::Udp, Some((relay, _))) => drop(relay.send_to(data, to).await),
            (TransportType::Udp, None) => drop(datagrams.send_to(data, to).await),
        }
    }

    /// The protocol's own time: since the server was made.
    fn now(&self) -> turn_types::Instant {
        turn_types::Instant::from_std(self.begun)
    }
}

/// The answer to a binding request (RFC 8489 §3). turn-server-proto 0.7.3 sends its own to itself.
fn seen_as(data: &[u8], remote: SocketAddr) -> Option<Vec<u8>> {
    let message = Message::from_bytes(data).ok()?;
    if !message.has_class(MessageClass::Request) || !message.has_method(BINDING) {
        return None;
    }
    let mut answer = Message::builder_success(&message, MessageWriteVec::new());
    answer.add_attribute(&XorMappedAddress::new(remote, message.transaction_id())).ok()?;
    Some(answer.finish())
}

async fn read_datagrams(socket: Arc<UdpSocket>, local: SocketAddr, bring: mpsc::Sender<Packet>) {
    loop {
        let mut data = vec![0; PACKET_MAX];
        // An ICMP error of an earlier packet is no end.
        let Ok((count, remote)) = socket.recv_from(&mut data).await else { continue };
        data.truncate(count);
        if bring.send(Packet { transport: TransportType::Udp, local, remote, data }).await.is_err() {
            return;
        }
    }
}
