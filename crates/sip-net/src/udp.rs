//! UDP: one socket, a cheap flow per remote.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reveille_sip::{Message, ParseError, Side, Transport, parse_datagram};
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::close::CloseReason;
use crate::flow::{Flow, SendError};
use crate::guard::Guarded;
use crate::handler::{BadMessage, Handler};
use crate::listen::ListenLimits;
use crate::metric;
use crate::sources::Sources;

/// Sends datagrams from a listener's socket, so that answers come back to the listener.
#[derive(Clone)]
pub struct UdpSender {
    socket: Arc<UdpSocket>,
    local: SocketAddr,
}

impl UdpSender {
    pub(crate) fn new(socket: Arc<UdpSocket>) -> io::Result<Self> {
        let local = socket.local_addr()?;
        Ok(Self { socket, local })
    }

    /// A flow to a remote which has not spoken yet. Never closes by itself.
    pub fn flow_to(&self, remote: SocketAddr) -> Arc<Flow> {
        Flow::datagrams(self.clone(), Side::Initiated, remote, remote.port())
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Straight to the socket: a datagram that does not fit now is as good as lost, and SIP over UDP repeats.
    pub(crate) fn send_to(&self, bytes: &[u8], remote: SocketAddr) -> Result<(), SendError> {
        if bytes.is_empty() {
            return Ok(());
        }
        match SockRef::from(&*self.socket).send_to(bytes, &remote.into()) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                metric::datagram_dropped("send-buffer-full");
                Err(SendError::Full)
            }
            Err(error) => Err(SendError::Io(error.kind())),
        }
    }
}

impl fmt::Debug for UdpSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UdpSender").field(&self.local).finish()
    }
}

/// The receiving half of a UDP socket.
pub(crate) struct Receiver {
    pub(crate) sender: UdpSender,
    pub(crate) limits: ListenLimits,
}

impl Receiver {
    /// Receives until `stop`.
    pub(crate) async fn run(self, handler: &dyn Handler, stop: &CancellationToken) {
        let handler = Guarded::new(handler);
        let mut remotes = Remotes::new(self.sender.clone(), &self.limits);
        let mut scratch = vec![0; DATAGRAM_BYTES_MAX];
        let mut arena = BytesMut::new();
        let mut batch = Batch { flow: None, messages: Vec::new() };
        loop {
            match stop.run_until_cancelled(self.sender.socket.readable()).await {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, local = %self.sender.local, "the UDP socket failed");
                    break;
                }
            }
            let now = Instant::now();
            for _ in 0..TURN_DATAGRAMS_MAX {
                match self.sender.socket.try_recv_from(&mut scratch) {
                    Ok((_, remote)) if !remotes.sources.takes(remote.ip().to_canonical(), now) => {
                        metric::datagram_dropped("source-rate");
                    }
                    Ok((length, remote)) => {
                        arena.extend_from_slice(&scratch[..length]);
                        let datagram = arena.split().freeze();
                        self.take(datagram, remote, &mut remotes, &mut batch, handler, now);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An earlier datagram could not be delivered somewhere (ICMP); says nothing about this socket.
                    Err(_) => continue,
                }
            }
            batch.hand_over(handler);
            remotes.forget_silent(handler, now);
            // So that a busy socket leaves the others of this thread their turn.
            tokio::task::consume_budget().await;
        }
        remotes.forget_all(handler);
    }

    fn take(
        &self,
        datagram: Bytes,
        remote: SocketAddr,
        remotes: &mut Remotes,
        batch: &mut Batch,
        handler: Guarded<'_>,
        now: Instant,
    ) {
        match datagram.as_ref() {
            b"\r\n\r\n" => {
                if let Some(flow) = batch.of(remote, remote.port(), remotes, handler, now) {
                    let _ = flow.send(Bytes::from_static(b"\r\n"));
                }
                return;
            }
            // Other keep-alives: CRLF, NUL bytes or blanks as several phones send them.
            other if other.iter().all(|byte| matches!(byte, 0 | b'\r' | b'\n' | b' ')) => {
                batch.of(remote, remote.port(), remotes, handler, now);
                return;
            }
            _ => {}
        }
        match parse_datagram(datagram, &self.limits.message) {
            Ok(message) => {
                if batch.of(remote, answer_port(&message, remote), remotes, handler, now).is_some() {
                    batch.messages.push(message);
                }
            }
            Err(ParseError::Bad { message, fault }) => {
                let Some(flow) = batch.of(remote, answer_port(&message, remote), remotes, handler, now).cloned() else {
                    return;
                };
                batch.deliver(handler);
                metric::bad_message(flow.transport());
                handler.bad(&flow, BadMessage { message: *message, fault });
            }
            Err(ParseError::Unreadable(error)) => {
                metric::datagram_dropped("unreadable");
                tracing::debug!(%error, peer.address = %remote, "a datagram is not SIP");
            }
        }
    }
}

/// The port that a message's sender hears answers on. RFC 3581 §4: the one it sends from, if its Via asks for that; else
/// RFC 3261 §18.2.2: the one that its Via names, for some phones send from any port and listen on one.
///
/// The address is always the one that the datagram came from. §18.2.2 would have `maddr` name another; whoever can write
/// a datagram could then aim our answers at anybody, and nobody multicasts SIP any more.
fn answer_port(message: &Message, remote: SocketAddr) -> u16 {
    if message.method().is_none() {
        return remote.port();
    }
    match message.top_via() {
        Ok(via) if via.rport().is_none() => {
            via.port().filter(|port| *port != 0).unwrap_or_else(|| Transport::Udp.default_port())
        }
        Ok(_) | Err(_) => remote.port(),
    }
}

/// Messages of one remote that came in a row.
struct Batch {
    flow: Option<Arc<Flow>>,
    messages: Vec<Message>,
}

impl Batch {
    /// The flow of a remote that hears answers on this port. What came before from another is handed over first.
    fn of(
        &mut self,
        remote: SocketAddr,
        port: u16,
        remotes: &mut Remotes,
        handler: Guarded<'_>,
        now: Instant,
    ) -> Option<&Arc<Flow>> {
        let is_its = |flow: &Arc<Flow>| flow.remote() == remote && flow.reaches().port() == port && !flow.is_closed();
        if !self.flow.as_ref().is_some_and(is_its) {
            self.hand_over(handler);
            self.flow = remotes.flow(remote, port, handler, now);
        }
        if self.flow.is_none() {
            metric::datagram_dropped("remotes-per-address");
        }
        self.flow.as_ref()
    }

    fn deliver(&mut self, handler: Guarded<'_>) {
        if let Some(flow) = &self.flow
            && !self.messages.is_empty()
        {
            metric::messages(flow.transport(), self.messages.len());
            handler.messages(flow, &mut self.messages);
            self.messages.clear();
        }
    }

    fn hand_over(&mut self, handler: Guarded<'_>) {
        self.deliver(handler);
        self.flow = None;
    }
}

/// A remote, and the port of its address that it hears answers on.
type Remote = (SocketAddr, u16);

/// Flows by remote, in two generations: whoever is not heard from during a whole generation is forgotten.
struct Remotes {
    sender: UdpSender,
    sources: Sources,
    young: HashMap<Remote, Arc<Flow>>,
    old: HashMap<Remote, Arc<Flow>>,
    generation_max: usize,
    generation: Duration,
    since: Instant,
}

impl Remotes {
    fn new(sender: UdpSender, limits: &ListenLimits) -> Self {
        let now = Instant::now();
        Self {
            sender,
            sources: Sources::new(limits.datagrams_per_second, limits.remotes_per_address, limits.seats, now),
            young: HashMap::new(),
            old: HashMap::new(),
            generation_max: (limits.seats / 2).max(1),
            generation: limits.idle_timeout,
            since: now,
        }
    }

    /// The flow of a remote; a new one, if its address may have one more.
    fn flow(&mut self, remote: SocketAddr, port: u16, handler: Guarded<'_>, now: Instant) -> Option<Arc<Flow>> {
        let key = (remote, port);
        if let Some(flow) = self.young.get(&key)
            && !flow.is_closed()
        {
            return Some(flow.clone());
        }
        let source = remote.ip().to_canonical();
        if let Some(over) = self.young.remove(&key) {
            self.sources.unseat(source);
            handler.closed(&over, &CloseReason::Asked { why: "closed while datagrams still came" });
        }
        if self.young.len() >= self.generation_max {
            self.turn_over(handler, now);
        }
        let flow = match self.old.remove(&key) {
            Some(flow) if !flow.is_closed() => flow,
            over => {
                if let Some(over) = over {
                    self.sources.unseat(source);
                    handler.closed(&over, &CloseReason::Asked { why: "closed while datagrams still came" });
                }
                if !self.sources.seat(source) {
                    return None;
                }
                let flow = Flow::datagrams(self.sender.clone(), Side::Accepted, remote, port);
                flow.note_heard();
                handler.opened(&flow);
                flow
            }
        };
        self.young.insert(key, flow.clone());
        Some(flow)
    }

    fn forget_silent(&mut self, handler: Guarded<'_>, now: Instant) {
        if now.duration_since(self.since) >= self.generation {
            self.turn_over(handler, now);
        }
    }

    fn turn_over(&mut self, handler: Guarded<'_>, now: Instant) {
        self.since = now;
        let forgotten = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
        for (remote, _) in forgotten.keys() {
            self.sources.unseat(remote.ip().to_canonical());
        }
        forget(forgotten, handler, &CloseReason::Forgotten);
    }

    fn forget_all(self, handler: Guarded<'_>) {
        forget(self.young, handler, &CloseReason::Stopping);
        forget(self.old, handler, &CloseReason::Stopping);
    }
}

fn forget(flows: HashMap<Remote, Arc<Flow>>, handler: Guarded<'_>, why: &CloseReason) {
    for flow in flows.into_values() {
        flow.finish(why);
        handler.closed(&flow, why);
    }
}

/// The most that UDP can carry.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// Datagrams received before the batch is handed over.
const TURN_DATAGRAMS_MAX: usize = 256;
