//! What a phone hears: messages, which it answers and keeps, and everything else, which it answers as it should.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use reveille_sip::{Frame, Message, Method, Name, ResponseBuilder, tag};
use reveille_sip_net::{BadMessage, Flow, Requests};
use tokio::sync::watch;
use tokio::time::timeout;

use super::PhoneError;

/// One message as it arrived. `Debug` shows neither its text nor its sender.
#[derive(Clone, Eq, PartialEq)]
pub struct Received {
    /// Who wrote it: `alice@contoso.com`.
    pub from: String,
    /// The body; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Content-Type as it came; empty if there was none.
    pub content_type: String,
    /// Call-ID: the same each time home tries to deliver the same message.
    pub call_id: String,
    /// When it was answered.
    pub at: Instant,
}

/// Takes what comes in on any connection of one phone.
pub(super) struct Ear {
    requests: Arc<Requests>,
    user_agent: String,
    answer: Mutex<Option<u16>>,
    received: Mutex<Vec<Received>>,
    count: watch::Sender<usize>,
}

impl Ear {
    pub(super) fn new(requests: Arc<Requests>, user_agent: &str) -> Self {
        Self {
            requests,
            user_agent: user_agent.to_owned(),
            answer: Mutex::new(Some(200)),
            received: Mutex::default(),
            count: watch::Sender::new(0),
        }
    }

    /// Takes one frame. Must not wait: it runs on the connection's task.
    pub(super) fn hear(&self, flow: &Arc<Flow>, frame: Frame) {
        let answer = *self.answer.lock();
        match (frame, answer) {
            (Frame::Message(message), _) if !message.is_request() => self.requests.on_response(message),
            (_, None) | (Frame::Pong, _) => {}
            // A peer that is gone needs no answer.
            (Frame::Ping, Some(_)) => drop(flow.send(Bytes::from_static(b"\r\n"))),
            (Frame::Bad { message, fault }, Some(_)) => BadMessage { message, fault }.answer(flow),
            (Frame::Message(request), Some(status)) => self.take(flow, &request, status),
        }
    }

    pub(super) fn flow_gone(&self, flow: &Flow) {
        self.requests.flow_gone(flow.id());
    }

    pub(super) fn set_answer(&self, status: Option<u16>) {
        *self.answer.lock() = status;
    }

    pub(super) fn received(&self) -> Vec<Received> {
        self.received.lock().clone()
    }

    pub(super) fn shown(&self) -> Vec<Received> {
        let mut seen = HashSet::new();
        self.received.lock().iter().filter(|one| seen.insert(one.call_id.clone())).cloned().collect()
    }

    pub(super) async fn wait_received(&self, count: usize, within: Duration) -> Result<Vec<Received>, PhoneError> {
        let mut counted = self.count.subscribe();
        // The sender is in `self`, so waiting ends only with the count or with the time.
        match timeout(within, counted.wait_for(|so_far| *so_far >= count)).await {
            Ok(_) => Ok(self.received()),
            Err(_) => {
                let awaited = format!("message {count} ({} came)", *self.count.borrow());
                Err(PhoneError::TimedOut { awaited, within })
            }
        }
    }

    fn take(&self, flow: &Flow, request: &Message, status: u16) {
        match request.method() {
            // RFC 3261 §17: an ACK is never answered.
            None | Some(Method::Ack) => {}
            Some(Method::Message) => self.take_message(flow, request, status),
            Some(Method::Options) => self.answer(flow, request, 200),
            // RFC 3261 §9.2: there is no transaction here that could be cancelled.
            Some(Method::Cancel) => self.answer(flow, request, 481),
            Some(_) => self.answer(flow, request, 405),
        }
    }

    fn take_message(&self, flow: &Flow, request: &Message, status: u16) {
        let mut received = self.received.lock();
        if received.len() >= RECEIVED_MAX {
            return self.answer(flow, request, 480);
        }
        self.answer(flow, request, status);
        if (200..300).contains(&status) {
            received.push(Received::of(request));
            self.count.send_replace(received.len());
        }
    }

    fn answer(&self, flow: &Flow, request: &Message, status: u16) {
        let mut out = BytesMut::new();
        let tag = tag(rand::random());
        let mut response = ResponseBuilder::to(&mut out, request, status);
        response.to_tag(tag.as_str()).source(flow.remote()).header(Name::UserAgent, &*self.user_agent);
        // RFC 3261 §21.4.6 and §11.2 ask for it.
        if matches!(status, 405) || matches!(request.method(), Some(Method::Options)) {
            response.header(Name::Allow, ALLOW).header(Name::Accept, "*/*");
        }
        let written = response.finish();
        drop(response);
        match written {
            // The peer may have gone meanwhile; it will try again.
            Ok(()) => drop(flow.send(out.freeze())),
            Err(error) => tracing::debug!(%error, "a phone could not write its answer"),
        }
    }
}

impl Received {
    fn of(request: &Message) -> Self {
        Self {
            from: sender(request).unwrap_or_default(),
            text: String::from_utf8_lossy(request.body_bytes()).into_owned(),
            content_type: request.header(Name::ContentType).unwrap_or_default().to_owned(),
            call_id: request.call_id().unwrap_or_default().to_owned(),
            at: Instant::now(),
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("call_id", &self.call_id)
            .field("content_type", &self.content_type)
            .field("text_bytes", &self.text.len())
            .finish_non_exhaustive()
    }
}

/// `user@host` of From, or the URI as it stands if it has another form.
fn sender(request: &Message) -> Option<String> {
    let from = request.from().ok()?;
    let plain = from.uri().ok().and_then(|uri| Some(format!("{}@{}", uri.user()?, uri.host()?)));
    Some(plain.unwrap_or_else(|| from.uri_text().to_owned()))
}

/// Messages kept; one more is answered with 480.
const RECEIVED_MAX: usize = 10_000;
/// What a phone takes.
const ALLOW: &str = "MESSAGE, OPTIONS";

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use reveille_sip::{Limits, Side, parse_datagram};
    use reveille_sip_net::Transport;

    use super::*;

    fn flow() -> Arc<Flow> {
        let address = ([127, 0, 0, 1], 5060).into();
        Flow::carried(Transport::Tcp, Side::Initiated, address, address, None, 100_000)
    }

    fn request(method: &str, from: &str) -> Message {
        let text = format!(
            "{method} sip:bob@contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: {from};tag=1\r\n\
             To: <sip:bob@contoso.com>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\nContent-Length: 6\r\n\r\nsecret"
        );
        parse_datagram(text.into(), &Limits::default()).unwrap()
    }

    /// What the phone says to one frame.
    fn heard(ear: &Ear, frame: Frame) -> String {
        let flow = flow();
        ear.hear(&flow, frame);
        let mut chunks = VecDeque::new();
        flow.take_queued(&mut chunks);
        chunks.iter().map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect()
    }

    fn alice(method: &str) -> Frame {
        Frame::Message(request(method, "<sip:alice@contoso.com>"))
    }

    #[test]
    fn every_method_gets_the_answer_that_it_should() {
        let ear = Ear::new(Requests::new(), "phone");
        for (method, answer) in [
            ("MESSAGE", "SIP/2.0 200 "),
            ("OPTIONS", "SIP/2.0 200 "),
            ("CANCEL", "SIP/2.0 481 "),
            ("INVITE", "SIP/2.0 405 "),
        ] {
            let said = heard(&ear, alice(method));
            assert!(said.starts_with(answer), "{method}: {said}");
            assert_eq!(said.contains("Allow: MESSAGE, OPTIONS\r\n"), matches!(method, "OPTIONS" | "INVITE"), "{said}");
        }
        assert_eq!(heard(&ear, alice("ACK")), "");
        assert_eq!(heard(&ear, Frame::Ping), "\r\n");
        assert_eq!(heard(&ear, Frame::Pong), "");
    }

    #[test]
    fn a_frozen_app_answers_nothing_at_all() {
        let ear = Ear::new(Requests::new(), "phone");
        ear.set_answer(None);
        for frame in [alice("MESSAGE"), alice("OPTIONS"), Frame::Ping] {
            assert_eq!(heard(&ear, frame), "");
        }
        assert!(ear.received().is_empty());
        ear.set_answer(Some(200));
        assert!(heard(&ear, alice("MESSAGE")).starts_with("SIP/2.0 200 "));
        assert_eq!(ear.received().len(), 1);
    }

    #[test]
    fn a_phone_that_is_full_says_so() {
        let ear = Ear::new(Requests::new(), "phone");
        for _ in 0..RECEIVED_MAX {
            heard(&ear, alice("MESSAGE"));
        }
        assert!(heard(&ear, alice("MESSAGE")).starts_with("SIP/2.0 480 "));
        assert_eq!((ear.received().len(), ear.shown().len()), (RECEIVED_MAX, 1));
    }

    #[test]
    fn the_sender_is_told_without_decoration_and_the_text_not_at_all() {
        for (from, told) in [
            ("\"A\" <sip:alice@contoso.com:5061;user=ip>", "alice@contoso.com"),
            ("sips:alice@contoso.com", "alice@contoso.com"),
            ("<sip:contoso.com>", "sip:contoso.com"),
            ("<tel:+15550100>", "tel:+15550100"),
        ] {
            let received = Received::of(&request("MESSAGE", from));
            assert_eq!(received.from, told);
            assert!(!format!("{received:?}").contains("secret"));
        }
    }
}
