//! A flow: one connection, or one UDP remote, as everything above sockets sees it (RFC 5626 §3.2).

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Waker};
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

/// What carries SIP here. The `Display` form is that of Via (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// UDP.
    Udp,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS (RFC 7118).
    Wss,
}

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

/// For those who carry a connection: the conversation task, WebSocket doors, tests.
impl Flow {
    /// A flow whose bytes somebody else carries: a WebSocket, or a test. Take them with [`Flow::take_queued`].
    pub fn carried(
        transport: Transport,
        side: Side,
        local: SocketAddr,
        remote: SocketAddr,
        peer: Option<Arc<PeerCertificate>>,
        queued_bytes_max: usize,
    ) -> Arc<Self> {
        let queue = Queue {
            buffer: BytesMut::new(),
            taken: 0,
            bytes_max: queued_bytes_max,
            full_since: None,
            sleeper: None,
            closing: None,
            hold: None,
        };
        Self::of(transport, side, local, remote, peer, Out::Stream(Mutex::new(queue)))
    }

    /// A UDP remote that is to be answered on this port of its address.
    pub(crate) fn datagrams(socket: UdpSender, side: Side, remote: SocketAddr, port: u16) -> Arc<Self> {
        let (local, to) = (socket.local_addr(), SocketAddr::new(remote.ip(), port));
        Self::of(Transport::Udp, side, local, remote, None, Out::Datagrams(socket, to))
    }

    fn of(
        transport: Transport,
        side: Side,
        local: SocketAddr,
        remote: SocketAddr,
        peer: Option<Arc<PeerCertificate>>,
        out: Out,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: FlowId(NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            transport,
            side,
            local,
            remote,
            peer,
            open: AtomicBool::new(true),
            heard: AtomicBool::new(false),
            opened: Instant::now(),
            out,
            gone: CancellationToken::new(),
        })
    }

    /// Moves everything queued to the end of `into`; says whether there was anything. The bytes still count as queued
    /// until [`Flow::written`].
    pub fn take_queued(&self, into: &mut VecDeque<Bytes>) -> bool {
        let Out::Stream(queue) = &self.out else { return false };
        let mut queue = queue.lock();
        if queue.buffer.is_empty() {
            return false;
        }
        let taken = std::mem::take(&mut queue.buffer).freeze();
        queue.taken += taken.len();
        drop(queue);
        into.push_back(taken);
        true
    }

    /// The same for a task that writes from one buffer: an empty one changes places with what is queued, so that its
    /// memory is used again.
    pub(crate) fn take_into(&self, writing: &mut BytesMut) -> bool {
        let Out::Stream(queue) = &self.out else { return false };
        let mut queue = queue.lock();
        if queue.buffer.is_empty() {
            return false;
        }
        queue.taken += queue.buffer.len();
        if writing.is_empty() {
            std::mem::swap(writing, &mut queue.buffer);
        } else {
            writing.extend_from_slice(&queue.buffer);
            queue.buffer.clear();
        }
        true
    }

    /// `count` of the bytes taken have left.
    pub fn written(&self, count: usize) {
        if let Out::Stream(queue) = &self.out {
            let mut queue = queue.lock();
            queue.taken = queue.taken.saturating_sub(count);
            queue.full_since = None;
        }
    }

    /// Why the flow is to be closed, if somebody asked for it.
    pub fn closing(&self) -> Option<CloseReason> {
        match &self.out {
            Out::Datagrams(..) => None,
            Out::Stream(queue) => queue.lock().closing.clone(),
        }
    }

    /// Has the task woken by the next [`Flow::send`] or [`Flow::close`]; `false` if there is something to do already.
    pub fn park(&self, cx: &Context<'_>) -> bool {
        let Out::Stream(queue) = &self.out else { return true };
        let mut queue = queue.lock();
        if !queue.buffer.is_empty() || queue.closing.is_some() {
            return false;
        }
        match &mut queue.sleeper {
            Some(sleeper) => sleeper.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        true
    }

    /// The peer sent something.
    pub fn note_heard(&self) {
        if !self.heard.load(Ordering::Relaxed) {
            self.heard.store(true, Ordering::Release);
        }
    }

    /// The flow is over; wakes everybody in [`Flow::closed`].
    pub fn finish(&self, why: &CloseReason) {
        self.open.store(false, Ordering::Release);
        if let Out::Stream(queue) = &self.out {
            let mut queue = queue.lock();
            queue.closing.get_or_insert_with(|| why.clone());
            queue.buffer = BytesMut::new();
            queue.taken = 0;
        }
        self.gone.cancel();
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

impl Transport {
    /// Whether the transport delivers, so that nothing need be sent twice (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        match self {
            Self::Tcp | Self::Tls | Self::Ws | Self::Wss => true,
            Self::Udp => false,
        }
    }

    /// Whether the way is enciphered.
    pub fn is_secure(self) -> bool {
        match self {
            Self::Tls | Self::Wss => true,
            Self::Tcp | Self::Udp | Self::Ws => false,
        }
    }

    /// The word in Via: `TLS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Udp => "UDP",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// RFC 3261 §19.1.2, for WebSocket RFC 7118: the port if none is given.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Tcp | Self::Udp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A connection of ours whose queue is full and from which nothing has left for so long is over.
const STALLED: Duration = Duration::from_secs(5);

/// The longest that a peer is not read from at a time: less than a message may take to come, of which a part is here.
const HOLD_MAX: Duration = Duration::from_secs(10);

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    use super::*;

    fn carried(bytes_max: usize) -> Arc<Flow> {
        let address: SocketAddr = ([127, 0, 0, 1], 5060).into();
        Flow::carried(Transport::Tcp, Side::Accepted, address, address, None, bytes_max)
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn many_sends_wake_a_sleeping_task_once() {
        let flow = carried(1000);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        assert!(flow.park(&Context::from_waker(&waker)));
        for _ in 0..10 {
            flow.send(Bytes::from_static(b"x")).expect("room");
        }
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(!flow.park(&Context::from_waker(&waker)), "there is work to do");
    }

    #[test]
    fn a_full_queue_closes_the_flow_and_counts_what_is_being_written() {
        let flow = carried(10);
        flow.send(Bytes::from_static(b"123456")).expect("room");
        let mut writing = VecDeque::new();
        assert!(flow.take_queued(&mut writing));
        flow.send(Bytes::from_static(b"7890")).expect("room");
        assert_eq!(flow.queued_bytes(), 10);
        assert_eq!(flow.send(Bytes::from_static(b"x")), Err(SendError::Full));
        assert!(flow.is_closed());
        assert_eq!(flow.closing(), Some(CloseReason::QueueFull { bytes_max: 10 }));
        assert_eq!(flow.send(Bytes::from_static(b"x")), Err(SendError::Closed));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_ours_that_is_full_is_closed_only_when_nothing_leaves() {
        let address: SocketAddr = ([127, 0, 0, 1], 5060).into();
        let flow = Flow::carried(Transport::Tcp, Side::Initiated, address, address, None, 4);
        let byte = || Bytes::from_static(b"x");
        flow.send(Bytes::from_static(b"1234")).expect("room");
        flow.take_queued(&mut VecDeque::new());
        assert_eq!(flow.send(byte()), Err(SendError::Full));
        tokio::time::advance(STALLED - Duration::from_millis(1)).await;
        assert_eq!(flow.send(byte()), Err(SendError::Full));
        flow.written(1);
        flow.send(byte()).expect("room");
        assert_eq!(flow.send(byte()), Err(SendError::Full));
        tokio::time::advance(STALLED - Duration::from_millis(1)).await;
        assert_eq!(flow.send(byte()), Err(SendError::Full));
        assert!(!flow.is_closed(), "a byte has left meanwhile");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(flow.send(byte()), Err(SendError::Full));
        assert_eq!(flow.closing(), Some(CloseReason::QueueFull { bytes_max: 4 }));
    }

    #[test]
    fn a_message_is_written_behind_the_others_or_not_at_all() {
        let flow = carried(10);
        let write = |text: &'static str| {
            move |out: &mut BytesMut| {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
        };
        flow.send(Bytes::from_static(b"123")).expect("room");
        flow.write_with(write("456")).expect("room");
        let wrong = PrintError::ControlCharacter;
        assert_eq!(flow.write_with(|_| Err(wrong)), Err(WriteError::Print(wrong)));
        assert_eq!(flow.write_with(write("789ab")), Err(WriteError::Send(SendError::Full)));
        let mut taken = VecDeque::new();
        assert!(flow.take_queued(&mut taken));
        assert_eq!(taken[0], "123456", "what did not fit is not there");
        assert_eq!(flow.write_with(write("x")), Err(WriteError::Send(SendError::Closed)));
    }

    #[test]
    fn room_comes_back_as_bytes_leave() {
        let flow = carried(4);
        flow.send(Bytes::from_static(b"1234")).expect("room");
        flow.take_queued(&mut VecDeque::new());
        flow.written(3);
        flow.send(Bytes::from_static(b"567")).expect("room again");
        assert_eq!(flow.queued_bytes(), 4);
    }

    #[test]
    fn the_first_reason_to_close_stays() {
        let flow = carried(4);
        flow.close(CloseReason::Asked { why: "first" });
        flow.close(CloseReason::Asked { why: "second" });
        assert_eq!(flow.closing(), Some(CloseReason::Asked { why: "first" }));
        assert_eq!(flow.send(Bytes::new()), Err(SendError::Closed));
    }
}
