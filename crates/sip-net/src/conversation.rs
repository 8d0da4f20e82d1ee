//! One connection from its first byte to its last, both directions in one task.
//!
//! Each turn reads all there is, hands the messages over as one batch, and writes all that is queued with as few calls
//! as it takes. That sharing is what makes a message cheap.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut as _, Bytes, BytesMut};
use metrics::Counter;
use reveille_sip::{Frame, FrameError, Limits, Message, StreamFramer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::close::CloseReason;
use crate::flow::Flow;
use crate::guard::{Guarded, Opened};
use crate::handler::{BadMessage, Handler};
use crate::metric;
use crate::spare;

/// How long and how much one connection may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) message: Limits,
    /// For the first byte; only asked of peers who connected to us.
    pub(crate) first_byte: Option<Duration>,
    /// For a message that has begun.
    pub(crate) message_time: Duration,
    /// Without a byte in either direction.
    pub(crate) idle: Duration,
    /// For the last bytes after the end was decided.
    pub(crate) flush: Duration,
    /// Silence after which we ping (RFC 5626 §3.5.1), if we do.
    pub(crate) ping: Option<Duration>,
    /// For the answer to a ping, if the peer ever gave one (RFC 5626 §4.4.1).
    pub(crate) pong: Duration,
}

/// Holds the conversation until either side, or `stop`, ends it; returns why.
pub(crate) async fn converse<S>(
    stream: S,
    flow: &Arc<Flow>,
    handler: &dyn Handler,
    terms: Terms,
    stop: &CancellationToken,
) -> CloseReason
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let handler = Guarded::new(handler);
    let opened = Opened::new(flow, handler);
    let mut conversation = Conversation::new(stream, flow, handler, terms);
    let why = conversation.hold(stop).await;
    // From here on nothing more is taken; what is queued may leave.
    flow.close(why.clone());
    if why.flushes() {
        conversation.say_goodbye(&why).await;
    }
    drop(conversation);
    opened.ends(&why);
    why
}

struct Conversation<'a, S> {
    stream: S,
    flow: &'a Arc<Flow>,
    handler: Guarded<'a>,
    terms: Terms,
    framer: StreamFramer,
    inbox: BytesMut,
    /// Counts the messages that come in.
    received: Counter,
    batch: Vec<Message>,
    /// Room made before each read; grows while reads fill it.
    read_bytes: usize,
    writing: BytesMut,
    /// Whether what is queued has waited for its turn already.
    lingered: bool,
    unflushed: bool,
    opened: Instant,
    /// Last byte in either direction.
    active: Instant,
    /// Last byte from the peer.
    heard: Instant,
    /// When the message in hand began.
    begun: Option<Instant>,
    pinged: Option<Instant>,
    ponged: bool,
    /// Until when nothing is read.
    held: Option<Instant>,
    /// Whether only a little is to be read next: it is the first, or the first after that, and what comes may be more of
    /// what nobody wants.
    tastes: bool,
}

impl<'a, S> Conversation<'a, S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn new(stream: S, flow: &'a Arc<Flow>, handler: Guarded<'a>, terms: Terms) -> Self {
        let now = Instant::now();
        Self {
            stream,
            flow,
            handler,
            terms,
            framer: StreamFramer::new(terms.message, flow.side()),
            inbox: BytesMut::new(),
            received: metric::received(flow.transport()),
            batch: Vec::new(),
            read_bytes: READ_BYTES_MIN,
            writing: BytesMut::new(),
            lingered: false,
            unflushed: false,
            opened: now,
            active: now,
            heard: now,
            begun: None,
            pinged: None,
            ponged: false,
            held: None,
            tastes: true,
        }
    }

    async fn hold(&mut self, stop: &CancellationToken) -> CloseReason {
        // A token of its own: waiting on a shared one takes a shared lock at every wake.
        let stop = stop.child_token();
        let mut stopped = pin!(stop.cancelled());
        let mut alarm = pin!(sleep_until(self.deadline()));
        poll_fn(|cx| {
            if stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(CloseReason::Stopping);
            }
            loop {
                match self.turn(cx) {
                    Ok(Turn::Rest) => {}
                    Ok(Turn::More) => cx.waker().wake_by_ref(),
                    Ok(Turn::Linger) => {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Err(why) => return Poll::Ready(why),
                }
                if self.deadline() < alarm.deadline() {
                    alarm.as_mut().reset(self.deadline());
                }
                while alarm.as_mut().poll(cx).is_ready() {
                    if let Some(why) = self.overdue(Instant::now()) {
                        return Poll::Ready(why);
                    }
                    if self.is_released() {
                        break;
                    }
                    alarm.as_mut().reset(self.deadline());
                }
                if self.is_released() {
                    // Nobody else wakes us for what has come meanwhile.
                    self.held = None;
                    self.tastes = true;
                    continue;
                }
                if self.flow.park(cx) {
                    return Poll::Pending;
                }
                if let Some(why) = self.flow.closing() {
                    return Poll::Ready(why);
                }
            }
        })
        .await
    }

    /// Reads, hands over, writes.
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<Turn, CloseReason> {
        let read = self.read(cx);
        self.deliver();
        let turn = read?;
        if matches!(turn, Turn::Rest) {
            self.rest();
            if self.lingers() {
                return Ok(Turn::Linger);
            }
        }
        self.write(cx)?;
        Ok(turn)
    }

    /// Whether to write one turn later: whoever else is ready to run may have more for this peer, and one record and
    /// one system call carry it all. Nobody else ready means no delay.
    fn lingers(&mut self) -> bool {
        let queued = self.flow.queued_bytes();
        if queued == 0 || queued >= LINGER_BYTES_MAX || !self.writing.is_empty() {
            return false;
        }
        self.lingered = !self.lingered;
        self.lingered
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<Turn, CloseReason> {
        if self.is_held() {
            return Ok(Turn::Rest);
        }
        let mut taken = 0;
        let (at_once, most) = match std::mem::take(&mut self.tastes) {
            true => (READ_BYTES_MIN, 1),
            false => (usize::MAX, TURN_BYTES_MAX),
        };
        while taken < most {
            if self.inbox.capacity() == 0 {
                self.inbox = spare::take();
            }
            if self.inbox.capacity() - self.inbox.len() < READ_BYTES_MIN {
                self.inbox.reserve(self.read_bytes);
            }
            let room = self.inbox.capacity() - self.inbox.len();
            let mut into = (&mut self.inbox).limit(at_once);
            let count = match pin!(self.stream.read_buf(&mut into)).poll(cx) {
                Poll::Pending => {
                    if taken < READ_BYTES_MIN {
                        self.read_bytes = READ_BYTES_MIN;
                    }
                    return Ok(Turn::Rest);
                }
                Poll::Ready(Ok(0)) => return Err(CloseReason::PeerClosed),
                Poll::Ready(Ok(count)) => count,
                Poll::Ready(Err(error)) => return Err(CloseReason::of_io(&error)),
            };
            if taken == 0 {
                self.active = Instant::now();
                self.heard = self.active;
                self.flow.note_heard();
            }
            taken += count;
            if count == room {
                self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
            }
            self.frame().map_err(CloseReason::Framing)?;
        }
        Ok(Turn::More)
    }

    /// Whether the peer has to wait until it is read from again.
    fn is_held(&mut self) -> bool {
        self.held = self.held.max(self.flow.take_hold());
        self.held.is_some()
    }

    /// Whether a peer that had to wait has waited.
    fn is_released(&self) -> bool {
        self.held.is_some_and(|until| Instant::now() >= until)
    }

    fn frame(&mut self) -> Result<(), FrameError> {
        let mut progress = false;
        while let Some(frame) = self.framer.next(&mut self.inbox)? {
            progress = true;
            match frame {
                Frame::Message(message) => {
                    if self.batch.capacity() == 0 {
                        self.batch = spare::take_batch();
                    }
                    self.batch.push(message);
                }
                Frame::Bad { message, fault } => {
                    // What came before it is handed over before it.
                    self.deliver();
                    metric::bad_message(self.flow.transport());
                    self.handler.bad(self.flow, BadMessage { message, fault });
                }
                // RFC 5626 §4.4.1. A peer that has stopped reading is found out by the next write.
                Frame::Ping => drop(self.flow.send(Bytes::from_static(b"\r\n"))),
                Frame::Pong => {
                    self.ponged |= self.pinged.is_some();
                    self.pinged = None;
                }
            }
        }
        if !self.framer.has_begun(&self.inbox) {
            self.begun = None;
        } else if progress || self.begun.is_none() {
            self.begun = Some(self.active);
        }
        Ok(())
    }

    fn deliver(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.received.increment(self.batch.len() as u64);
        self.handler.messages(self.flow, &mut self.batch);
        spare::give_batch(std::mem::take(&mut self.batch));
    }

    /// Nothing more to read now. A quiet connection keeps no buffer: most phones are quiet most of the time. One that
    /// is in the middle of a message keeps what that needs, however much room the buffer had.
    fn rest(&mut self) {
        // A line end that may be half a ping is no message.
        let least = if self.begun.is_some() { READ_BYTES_MIN } else { 0 };
        let needed = self.inbox.len().max(least);
        if self.inbox.is_empty() {
            spare::give(std::mem::take(&mut self.inbox));
        } else if self.inbox.capacity() > 4 * needed {
            let mut begun = BytesMut::with_capacity(needed);
            begun.extend_from_slice(&self.inbox);
            spare::give(std::mem::replace(&mut self.inbox, begun));
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        // Taken even while the stream is not ready, or `park` would find them again and again.
        while self.flow.take_into(&mut self.writing) || !self.writing.is_empty() {
            let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(cx, &self.writing) else {
                break;
            };
            match written {
                Ok(0) => return Err(CloseReason::of_io(&io::ErrorKind::WriteZero.into())),
                Ok(count) => {
                    self.active = Instant::now();
                    self.unflushed = true;
                    self.flow.written(count);
                    self.writing.advance(count);
                }
                Err(error) => return Err(CloseReason::of_io(&error)),
            }
        }
        if self.writing.is_empty() && self.writing.capacity() > 0 {
            spare::give(std::mem::take(&mut self.writing));
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed.map_err(|error| CloseReason::of_io(&error))?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// When to look at the clock next.
    fn deadline(&self) -> Instant {
        let mut first = self.active + self.terms.idle;
        let mut also = |deadline: Instant| first = first.min(deadline);
        if let Some(until) = self.held {
            also(until);
        }
        if let Some(first_byte) = self.terms.first_byte
            && !self.flow.has_heard()
        {
            also(self.opened + first_byte);
        }
        if let Some(begun) = self.begun {
            also(begun + self.terms.message_time);
        }
        match (self.unanswered(), self.terms.ping) {
            (Some(pinged), _) => also(pinged + self.terms.pong),
            (None, Some(ping)) => also(self.active + ping),
            (None, None) => {}
        }
        first
    }

    /// When the ping went out that the peer owes an answer to. Any byte since then shows that it lives.
    fn unanswered(&self) -> Option<Instant> {
        self.pinged.filter(|pinged| self.ponged && self.heard < *pinged)
    }

    /// What a deadline that has passed means; pings are sent from here.
    fn overdue(&mut self, now: Instant) -> Option<CloseReason> {
        let passed = |since: Instant, time: Duration| now >= since + time;
        if self.begun.is_some_and(|begun| passed(begun, self.terms.message_time)) {
            return Some(CloseReason::MessageTimedOut);
        }
        if !self.flow.has_heard() && self.terms.first_byte.is_some_and(|time| passed(self.opened, time)) {
            return Some(CloseReason::NothingCame);
        }
        if self.unanswered().is_some_and(|pinged| passed(pinged, self.terms.pong)) {
            return Some(CloseReason::NoPong);
        }
        if passed(self.active, self.terms.idle) {
            return Some(CloseReason::Idle);
        }
        if self.unanswered().is_none() && self.terms.ping.is_some_and(|time| passed(self.active, time)) {
            self.pinged = Some(now);
            // Not only once it is written, or the alarm would ring for the same silence again.
            self.active = now;
            // If it cannot be taken, the queue is full and the flow closing anyway.
            let _ = self.flow.send(Bytes::from_static(b"\r\n\r\n"));
        }
        None
    }

    /// Writes what is queued and ends our direction, within a time.
    async fn say_goodbye(&mut self, why: &CloseReason) {
        let _ = timeout(self.terms.flush, async {
            poll_fn(|cx| match self.write(cx) {
                Ok(()) if self.writing.is_empty() && !self.unflushed => Poll::Ready(()),
                Ok(()) => Poll::Pending,
                Err(_) => Poll::Ready(()),
            })
            .await;
            let _ = self.stream.shutdown().await;
        })
        .await;
        if matches!(why, CloseReason::Framing(_)) {
            // Closing with bytes unread makes the kernel send a reset, which would overtake our last answer.
            // Not an array: it would lie in the task of every connection for as long as that lives.
            let mut rest = vec![0; READ_BYTES_MIN];
            let _ = timeout(LINGER, async {
                for _ in 0..LINGER_READS_MAX {
                    if !matches!(self.stream.read(&mut rest).await, Ok(1..)) {
                        break;
                    }
                }
            })
            .await;
        }
    }
}

enum Turn {
    /// There may be more to read at once.
    More,
    /// What is queued may wait for one more turn, and that comes at once.
    Linger,
    /// The stream will wake us.
    Rest,
}

/// Read at once from a quiet connection; one TLS record of a few messages.
const READ_BYTES_MIN: usize = 4 * 1024;
/// Read at once from a busy connection.
const READ_BYTES_MAX: usize = 64 * 1024;
/// Read before the batch is handed over and others get their turn: two records' worth. The runtime looks for new events
/// only between turns, so that a few peers who send without end would keep it from hearing the others.
const TURN_BYTES_MAX: usize = 32 * 1024;
/// Queued bytes that are written without waiting for more: a whole TLS record (RFC 8446 §5.1).
const LINGER_BYTES_MAX: usize = 16 * 1024;
/// How long and how much is read after our end of a broken stream.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_READS_MAX: usize = 256;

#[cfg(test)]
mod tests;
