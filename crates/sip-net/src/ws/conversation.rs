//! One WebSocket from its opening to its end, both directions in one task: one SIP message for each message of the
//! WebSocket (RFC 7118 §5.3).

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, Stream};
use reveille_sip::{Frame, Limits, Message, ParseError, StreamFramer, parse_datagram};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::Metered;
use crate::close::CloseReason;
use crate::conversation::Terms;
use crate::flow::Flow;
use crate::guard::{Guarded, Opened};
use crate::handler::{BadMessage, Handler};
use crate::metric;

/// Holds the conversation until either side, or `stop`, ends it; returns why.
pub(crate) async fn converse<S>(
    stream: WebSocketStream<Metered<S>>,
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
    conversation.say_goodbye(&why).await;
    drop(conversation);
    opened.ends(&why);
    why
}

struct Conversation<'a, S> {
    stream: WebSocketStream<Metered<S>>,
    flow: &'a Arc<Flow>,
    handler: Guarded<'a>,
    terms: Terms,
    batch: Vec<Message>,
    queued: VecDeque<Bytes>,
    /// Cuts what roles queue into messages again, since a queue knows only bytes.
    framer: StreamFramer,
    outgoing: BytesMut,
    unflushed: bool,
    opened: Instant,
    /// Last byte from the peer.
    heard: Instant,
    /// When the message or frame in hand began.
    begun: Option<Instant>,
    /// When the ping went out that the peer owes an answer to.
    pinged: Option<Instant>,
    /// Whether a SIP message ever came.
    spoke: bool,
}

impl<'a, S> Conversation<'a, S>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    fn new(stream: WebSocketStream<Metered<S>>, flow: &'a Arc<Flow>, handler: Guarded<'a>, terms: Terms) -> Self {
        let now = Instant::now();
        Self {
            stream,
            flow,
            handler,
            terms,
            batch: Vec::new(),
            queued: VecDeque::new(),
            framer: StreamFramer::new(OURS, reveille_sip::Side::Initiated),
            outgoing: BytesMut::new(),
            unflushed: false,
            opened: now,
            heard: now,
            begun: None,
            pinged: None,
            spoke: false,
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
                if let Err(why) = self.turn(cx) {
                    return Poll::Ready(why);
                }
                if self.deadline() < alarm.deadline() {
                    alarm.as_mut().reset(self.deadline());
                }
                while alarm.as_mut().poll(cx).is_ready() {
                    if let Some(why) = self.overdue(Instant::now()) {
                        return Poll::Ready(why);
                    }
                    // A ping leaves now, and not with the next thing that happens.
                    if let Err(why) = self.write(cx) {
                        return Poll::Ready(why);
                    }
                    alarm.as_mut().reset(self.deadline());
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
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        let read = self.read(cx);
        self.deliver();
        read?;
        self.write(cx)
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        for _ in 0..TURN_MESSAGES_MAX {
            let next = Pin::new(&mut self.stream).poll_next(cx);
            if self.stream.get_mut().take_fresh() {
                self.heard = Instant::now();
                self.pinged = None;
                self.flow.note_heard();
            }
            let Poll::Ready(next) = next else {
                self.begun = self.stream.get_ref().is_pending().then(|| self.begun.unwrap_or(self.heard));
                return Ok(());
            };
            match next {
                Some(Ok(message)) => self.take(message)?,
                Some(Err(error)) => return Err(reason(error)),
                None => return Err(CloseReason::PeerClosed),
            }
        }
        // There may be more; others get their turn first.
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn take(&mut self, message: tungstenite::Message) -> Result<(), CloseReason> {
        use tungstenite::Message::{Binary, Close, Frame, Ping, Pong, Text};
        let bytes = match message {
            // RFC 7118 §5.2: text where the message is UTF-8, else binary; both are the same to us.
            Text(text) => Bytes::from(text),
            Binary(bytes) => bytes,
            Ping(payload) => {
                self.stream.get_mut().control(payload.len());
                // The pong waits in the stream already.
                self.unflushed = true;
                return Ok(());
            }
            Pong(payload) => {
                self.stream.get_mut().control(payload.len());
                return Ok(());
            }
            Close(_) => {
                // The answer waits in the stream already.
                self.unflushed = true;
                return Err(CloseReason::PeerClosed);
            }
            Frame(_) => return Ok(()),
        };
        // Only a whole message ends what has begun: control frames may come between its fragments (RFC 6455 §5.4).
        self.begun = None;
        self.stream.get_mut().message();
        match bytes.as_ref() {
            // RFC 7118 §6, RFC 5626 §4.4.1.
            b"\r\n\r\n" => drop(self.flow.send(Bytes::from_static(b"\r\n"))),
            other if other.iter().all(|byte| matches!(byte, 0 | b'\r' | b'\n' | b' ')) => {}
            _ => self.read_message(bytes)?,
        }
        Ok(())
    }

    fn read_message(&mut self, bytes: Bytes) -> Result<(), CloseReason> {
        self.spoke = true;
        match parse_datagram(bytes, &self.terms.message) {
            Ok(message) => self.batch.push(message),
            Err(ParseError::Bad { message, fault }) => {
                // What came before it is handed over before it.
                self.deliver();
                metric::bad_message(self.flow.transport());
                self.handler.bad(self.flow, BadMessage { message: *message, fault });
            }
            Err(ParseError::Unreadable(error)) => return Err(CloseReason::Framing(error)),
        }
        Ok(())
    }

    fn deliver(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        metric::messages(self.flow.transport(), self.batch.len());
        self.handler.messages(self.flow, &mut self.batch);
        self.batch.clear();
        self.batch.shrink_to(BATCH_KEPT_MAX);
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        // Taken even while the stream is not ready, or `park` would find them again and again.
        while self.flow.take_queued(&mut self.queued) || !self.queued.is_empty() || !self.outgoing.is_empty() {
            let Poll::Ready(ready) = Pin::new(&mut self.stream).poll_ready(cx) else { break };
            ready.map_err(reason)?;
            let Some(message) = self.next_outgoing()? else { continue };
            self.flow.written(message.len());
            Pin::new(&mut self.stream).start_send(message).map_err(reason)?;
            self.unflushed = true;
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed.map_err(reason)?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// The next whole message of what is queued; `None` when more of the queue has to be looked at.
    fn next_outgoing(&mut self) -> Result<Option<tungstenite::Message>, CloseReason> {
        let before = self.outgoing.len();
        let frame = self.framer.next(&mut self.outgoing).map_err(|error| {
            tracing::warn!(%error, flow = %self.flow.id(), "a message of ours has no end that can be found");
            CloseReason::Framing(error)
        })?;
        let bytes = match frame {
            Some(Frame::Message(message) | Frame::Bad { message, .. }) => message.as_bytes().clone(),
            Some(Frame::Ping | Frame::Pong) => Bytes::from_static(b"\r\n"),
            None => {
                match self.queued.pop_front() {
                    Some(chunk) => self.outgoing.extend_from_slice(&chunk),
                    // Roles queue whole messages, so that nothing is left over.
                    None => self.outgoing.clear(),
                }
                return Ok(None);
            }
        };
        // What the framer threw away has left, too.
        let passed = before - self.outgoing.len();
        self.flow.written(passed.saturating_sub(bytes.len()));
        Ok(Some(match Utf8Bytes::try_from(bytes.clone()) {
            Ok(text) => tungstenite::Message::Text(text),
            Err(_) => tungstenite::Message::Binary(bytes),
        }))
    }

    /// When to look at the clock next.
    fn deadline(&self) -> Instant {
        let silence = match self.pinged {
            Some(pinged) => pinged + PONG,
            None => self.heard + PING_AFTER,
        };
        let begun = self.begun.map(|begun| begun + self.terms.message_time);
        let first = self.terms.first_byte.filter(|_| !self.spoke).map(|time| self.opened + time);
        [begun, first].into_iter().flatten().fold(silence, Instant::min)
    }

    /// What a deadline that has passed means; pings are sent from here (RFC 7118 §6, RFC 6455 §5.5.2).
    fn overdue(&mut self, now: Instant) -> Option<CloseReason> {
        if self.begun.is_some_and(|begun| now >= begun + self.terms.message_time) {
            return Some(CloseReason::MessageTimedOut);
        }
        if !self.spoke && self.terms.first_byte.is_some_and(|time| now >= self.opened + time) {
            return Some(CloseReason::NothingCame);
        }
        match self.pinged {
            Some(pinged) if now >= pinged + PONG => return Some(CloseReason::NoPong),
            None if now >= self.heard + PING_AFTER => {
                self.pinged = Some(now);
                // A stream that takes nothing is found out by the pong that does not come.
                let _ = Pin::new(&mut self.stream).start_send(tungstenite::Message::Ping(Bytes::new()));
                self.unflushed = true;
            }
            _ => {}
        }
        None
    }

    /// Writes what is queued, says why it is over, and waits for the peer's end, within a time.
    async fn say_goodbye(&mut self, why: &CloseReason) {
        let _ = timeout(self.terms.flush, async {
            if why.flushes() {
                poll_fn(|cx| match self.write(cx) {
                    Ok(()) if self.queued.is_empty() && self.outgoing.is_empty() && !self.unflushed => Poll::Ready(()),
                    Ok(()) => Poll::Pending,
                    Err(_) => Poll::Ready(()),
                })
                .await;
            }
            if let Some(code) = code(why) {
                // Every reason's sentence is ours, and none is longer than a control frame (RFC 6455 §5.5).
                let reason = Utf8Bytes::from(cut(&why.to_string(), REASON_BYTES_MAX));
                if self.stream.close(Some(CloseFrame { code, reason })).await.is_err() {
                    return;
                }
                poll_fn(|cx| {
                    // What still comes is not for anybody any more.
                    while let Poll::Ready(next) = Pin::new(&mut self.stream).poll_next(cx) {
                        if !matches!(next, Some(Ok(_))) {
                            return Poll::Ready(());
                        }
                    }
                    Poll::Pending
                })
                .await;
            }
            // RFC 6455 §7.1.1: the server ends the connection below.
            let _ = self.stream.get_mut().shutdown().await;
        })
        .await;
    }
}

fn reason(error: Error) -> CloseReason {
    let told = |code: CloseCode, error: Error| CloseReason::WebSocket { code: code.into(), detail: error.to_string() };
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => CloseReason::PeerClosed,
        Error::Io(error) => CloseReason::of_io(&error),
        Error::Capacity(_) => told(CloseCode::Size, error),
        Error::Utf8(_) => told(CloseCode::Invalid, error),
        // A peer that leaves without a word is no breach of the protocol.
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => CloseReason::PeerClosed,
        other => told(CloseCode::Protocol, other),
    }
}

/// The code that tells the peer why (RFC 6455 §7.4.1); `None` where nobody would hear it.
fn code(why: &CloseReason) -> Option<CloseCode> {
    match why {
        CloseReason::Asked { .. } | CloseReason::Forgotten | CloseReason::Idle | CloseReason::Retired => {
            Some(CloseCode::Normal)
        }
        CloseReason::Framing(_) => Some(CloseCode::Unsupported),
        CloseReason::MessageTimedOut | CloseReason::NothingCame => Some(CloseCode::Policy),
        CloseReason::Stopping => Some(CloseCode::Away),
        CloseReason::WebSocket { code, .. } => Some(CloseCode::from(*code)),
        CloseReason::Io { .. }
        | CloseReason::NoPong
        | CloseReason::PeerAlert { .. }
        | CloseReason::PeerClosed
        | CloseReason::QueueFull { .. }
        | CloseReason::Tls { .. } => None,
    }
}

/// At most so many bytes of a text, without cutting a character.
fn cut(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// Bounds of what we ourselves send; whoever wrote it had bounds of its own.
const OURS: Limits = Limits {
    header_bytes_max: 1024 * 1024,
    header_count_max: u16::MAX,
    body_bytes_max: 16 * 1024 * 1024,
    skip_bytes_max: 0,
};
/// Messages read before others get their turn.
const TURN_MESSAGES_MAX: usize = 64;
/// Batch capacity kept between turns.
const BATCH_KEPT_MAX: usize = 64;
/// Silence after which we ping. A page cannot send pings, so it is for us to keep its way open; proxies forget after a
/// minute.
const PING_AFTER: Duration = Duration::from_secs(30);
/// For the pong, or any other byte.
const PONG: Duration = Duration::from_secs(20);
/// RFC 6455 §5.5: 125 bytes of payload, two of them for the code.
const REASON_BYTES_MAX: usize = 123;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use futures_util::StreamExt;
    use tokio_tungstenite::client_async;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;

    use super::*;
    use crate::flow::Transport;
    use crate::ws::{Origins, upgrade};

    struct Quiet;

    impl Handler for Quiet {
        fn messages(&self, _flow: &Arc<Flow>, _batch: &mut Vec<Message>) {}
    }

    fn patient() -> Terms {
        let hour = Duration::from_secs(3600);
        Terms {
            message: Limits::default(),
            first_byte: None,
            message_time: hour,
            idle: hour,
            flush: hour,
            ping: None,
            pong: hour,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_pinged_and_given_up_when_it_does_not_answer() {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(async move {
            let stream = upgrade(near, &Origins::Any, 10_000).await.expect("a WebSocket");
            let address: SocketAddr = ([127, 0, 0, 1], 80).into();
            let flow = Flow::carried(Transport::Ws, reveille_sip::Side::Accepted, address, address, None, 1000);
            converse(stream, &flow, &Quiet, patient(), &CancellationToken::new()).await
        });
        let mut request = "ws://home.contoso.com/".into_client_request().expect("a request");
        request.headers_mut().insert("sec-websocket-protocol", "sip".parse().expect("a value"));
        let (mut client, _) = client_async(request, far).await.expect("a WebSocket");
        let begun = Instant::now();
        for pings in 1..=3 {
            // Reading answers the ping before.
            let ping = client.next().await.expect("open").expect("sound");
            assert!(matches!(ping, tungstenite::Message::Ping(_)), "{ping:?}");
            assert_eq!(begun.elapsed().as_secs(), pings * PING_AFTER.as_secs());
        }
        // The third is never answered.
        assert_eq!(server.await.expect("it ends well"), CloseReason::NoPong);
        assert_eq!(begun.elapsed().as_secs(), 3 * PING_AFTER.as_secs() + PONG.as_secs());
    }
}
