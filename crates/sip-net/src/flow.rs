//! A flow: one connection, or one UDP remote, as everything above sockets sees it (RFC 5626 §3.2).

mod carrier;
mod transport;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use reveille_sip::{PrintError, Side};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::close::CloseReason;
use crate::names::PeerCertificate;
use crate::spare;
use crate::udp::UdpSender;

pub use transport::Transport;

/// One connection or one UDP remote.
///
/// Cheap to share; keep it to answer later. It does not keep the connection open.
pub struct Flow {
    id: FlowId,
    transport: Transport,
    side: Side,
    local: SocketAddr,
    remote: SocketAddr,
    peer: Option<Arc<PeerCertificate>>,
    open: AtomicBool,
    heard: AtomicBool,
    opened: Instant,
    out: Out,
    gone: CancellationToken,
}

/// Tells flows apart within this process; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FlowId(u64);

/// Why bytes were not taken for sending.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SendError {
    /// The connection is over, or about to be.
    #[error("the connection is closed")]
    Closed,
    /// Too much is queued already; a connection is closed for it, a datagram dropped.
    #[error("the peer does not read fast enough")]
    Full,
    /// The operating system would not send the datagram.
    #[error("the datagram was not sent: {0}")]
    Io(std::io::ErrorKind),
}

enum Out {
    /// Where to is the peer's address, and not always the port that it sends from.
    Datagrams(UdpSender, SocketAddr),
    Stream(Mutex<Queue>),
}

/// Why a message was not queued by [`Flow::write_with`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// It could not be written as SIP.
    #[error(transparent)]
    Print(#[from] PrintError),
    /// The flow did not take it.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// What waits to be written on a connection.
struct Queue {
    /// Whole messages in their order. One growing buffer and not a piece for each, so that a message costs neither an
    /// allocation nor a slice of the write.
    buffer: BytesMut,
    /// Bytes that the connection's task has taken and not written yet.
    taken: usize,
    bytes_max: usize,
    /// Since when it has been full without a byte leaving.
    full_since: Option<Instant>,
    /// The connection's task, while it sleeps. Taken by whoever wakes it, so that it is woken once.
    sleeper: Option<Waker>,
    closing: Option<CloseReason>,
    /// Until when nothing is to be read from the peer.
    hold: Option<Instant>,
}

impl Flow {
    /// Queues bytes (whole messages) for this peer and returns at once. They leave in the order of calls.
    ///
    /// When the queue is full the bytes are not taken. A connection that a peer made to us is then closed: it has stopped
    /// reading what it asked for. One that we made serves many; it is closed only if nothing has left for
    /// some seconds, and until then being full is the answer to one sender.
    pub fn send(&self, bytes: Bytes) -> Result<(), SendError> {
        match &self.out {
            Out::Datagrams(..) if self.is_closed() => Err(SendError::Closed),
            Out::Datagrams(socket, to) => socket.send_to(&bytes, *to),
            Out::Stream(queue) => {
                let mut queue = queue.lock();
                if queue.closing.is_some() {
                    return Err(SendError::Closed);
                }
                let has_room = queue.bytes().saturating_add(bytes.len()) <= queue.bytes_max;
                if has_room {
                    queue.room_for(bytes.len()).extend_from_slice(&bytes);
                }
                self.queued(queue, has_room)
            }
        }
    }

    /// Like [`Flow::send`] for a message that `write` appends to what is queued: nothing is allocated for it.
    ///
    /// `write` must leave what the buffer holds already as it is; on an error it must have appended nothing, as the
    /// builders of `reveille_sip` do. It is called with the queue locked, so it should only write.
    pub fn write_with(&self, write: impl FnOnce(&mut BytesMut) -> Result<(), PrintError>) -> Result<(), WriteError> {
        match &self.out {
            Out::Datagrams(..) if self.is_closed() => Err(SendError::Closed.into()),
            Out::Datagrams(socket, to) => {
                let mut datagram = spare::take();
                write(&mut datagram)?;
                let sent = socket.send_to(&datagram, *to);
                spare::give(datagram);
                Ok(sent?)
            }
            Out::Stream(queue) => {
                let mut queue = queue.lock();
                if queue.closing.is_some() {
                    return Err(SendError::Closed.into());
                }
                let before = queue.buffer.len();
                write(queue.room_for(0))?;
                let has_room = queue.bytes() <= queue.bytes_max;
                if !has_room {
                    queue.buffer.truncate(before);
                }
                Ok(self.queued(queue, has_room)?)
            }
        }
    }

    /// Something was queued, or the queue is full and with that the flow over: whoever writes has to know.
    fn queued(&self, mut queue: MutexGuard<'_, Queue>, has_room: bool) -> Result<(), SendError> {
        if !has_room && !self.is_only_slow(&mut queue) {
            self.open.store(false, Ordering::Release);
            queue.closing = Some(CloseReason::QueueFull { bytes_max: queue.bytes_max });
        }
        let sleeper = queue.sleeper.take();
        drop(queue);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        if has_room { Ok(()) } else { Err(SendError::Full) }
    }

    /// Whether a full queue may empty itself yet.
    fn is_only_slow(&self, queue: &mut Queue) -> bool {
        if self.side == Side::Accepted {
            return false;
        }
        let now = Instant::now();
        let since = *queue.full_since.get_or_insert(now);
        now.saturating_duration_since(since) < STALLED
    }

    /// Ends the flow. What is queued is still written, if the reason allows it; nothing more is taken.
    pub fn close(&self, why: CloseReason) {
        self.open.store(false, Ordering::Release);
        match &self.out {
            Out::Datagrams(..) => self.gone.cancel(),
            Out::Stream(queue) => {
                let mut queue = queue.lock();
                queue.closing.get_or_insert(why);
                if let Some(sleeper) = queue.sleeper.take() {
                    drop(queue);
                    sleeper.wake();
                }
            }
        }
    }

    /// Reads nothing from this peer for at least so long from now, [`HOLD_MAX`] at most. What it sends meanwhile waits on
    /// its own side: whoever sends more than is taken pays for it with its own time and not with everybody's. Of no effect
    /// on UDP.
    pub fn hold_back(&self, pause: Duration) {
        if let Out::Stream(queue) = &self.out {
            let until = Instant::now() + pause.min(HOLD_MAX);
            let mut queue = queue.lock();
            queue.hold = queue.hold.max(Some(until));
        }
    }

    /// Until when nothing is to be read from now on; asked once, it is forgotten.
    pub(crate) fn take_hold(&self) -> Option<Instant> {
        match &self.out {
            Out::Datagrams(..) => None,
            Out::Stream(queue) => queue.lock().hold.take(),
        }
    }

    /// Whether nothing can be sent any more.
    pub fn is_closed(&self) -> bool {
        !self.open.load(Ordering::Acquire)
    }

    /// Waits until the flow is over and its last bytes are written.
    pub async fn closed(&self) {
        self.gone.cancelled().await;
    }

    /// Its number.
    pub fn id(&self) -> FlowId {
        self.id
    }

    /// What carries it.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Which side opened it.
    pub fn side(&self) -> Side {
        self.side
    }

    /// When it began.
    pub fn opened(&self) -> std::time::Instant {
        self.opened.into_std()
    }

    /// Our address; for UDP the one the socket is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's address, and the port that it sends from.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Where what is sent goes: to where the peer sends from, except over UDP to a peer that wants its answers on
    /// another port of its address (RFC 3261 §18.2.2, RFC 3581 §4).
    pub fn reaches(&self) -> SocketAddr {
        match &self.out {
            Out::Datagrams(_, to) => *to,
            Out::Stream(_) => self.remote,
        }
    }

    /// The peer's certificate, if it showed one; then it was verified.
    pub fn peer(&self) -> Option<&Arc<PeerCertificate>> {
        self.peer.as_ref()
    }

    /// Whether the peer ever sent a byte. On an outbound TLS 1.3 connection this also says that it took our certificate.
    pub fn has_heard(&self) -> bool {
        self.heard.load(Ordering::Acquire)
    }

    /// Bytes waiting to be written. Always 0 for UDP.
    pub fn queued_bytes(&self) -> usize {
        match &self.out {
            Out::Datagrams(..) => 0,
            Out::Stream(queue) => queue.lock().bytes(),
        }
    }
}

impl Queue {
    /// Queued or being written.
    fn bytes(&self) -> usize {
        self.buffer.len() + self.taken
    }

    /// The buffer, with memory that another connection has done with if it has none of its own.
    fn room_for(&mut self, bytes: usize) -> &mut BytesMut {
        if self.buffer.capacity() == 0 && bytes <= spare::BYTES_MAX {
            self.buffer = spare::take();
        }
        &mut self.buffer
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flow")
            .field("id", &self.id.0)
            .field("transport", &self.transport)
            .field("side", &self.side)
            .field("remote", &self.remote)
            .field("peer", &self.peer.as_ref().map(|peer| &peer.subject))
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl FlowId {
    /// As a number.
    pub fn as_u64(self) -> u64 {
        self.0
    }

    /// The flow of a number that [`FlowId::as_u64`] gave.
    pub(crate) fn from_u64(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A connection of ours whose queue is full and from which nothing has left for so long is over.
const STALLED: Duration = Duration::from_secs(5);

/// The longest that a peer is not read from at a time: less than a message may take to come, of which a part is here.
const HOLD_MAX: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
