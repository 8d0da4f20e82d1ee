//! One connection of the APNs simulator: judges each request, answers as the rules or a script say, remembers it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::answer::{Act, Answer, GoAway, reason_json};
use super::auth::{Binding, Terms};
use super::options::{Environment, Mode, ProviderKey};
use super::push::{ApnsPush, Outcome};
use super::reason::Reason;
use super::rules::{Fields, Reading, fresh_uuid};
use super::simulator::{Orders, Shared};
use crate::http2::{self, Connection, ErrorCode, Event, Limits, Request, Service};

/// Talks until the connection ends.
pub(super) async fn talk<T>(shared: Arc<Shared>, mut transport: T, number: u64)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // "APNs allows only one stream until the first push with a valid token".
    let limits = Limits { streams_max: 1, body_bytes_kept: BODY_BYTES_KEPT };
    let mut connection = Connection::new(limits);
    let mut orders = shared.orders.subscribe();
    let mut talk = Talk::new(shared, number, orders.borrow_and_update().clone());
    loop {
        tokio::select! {
            biased;
            changed = orders.changed() => {
                if changed.is_err() {
                    return;
                }
                let now = orders.borrow_and_update().clone();
                talk.obey(now, &mut connection);
            }
            () = tokio::time::sleep(DELAY_TICK), if !talk.orders.delay.is_zero() || !talk.late.is_empty() => {
                talk.give_late(&mut connection);
            }
            _ = http2::serve(&mut transport, &mut connection, &mut talk) => break,
        }
    }
    if talk.close_softly {
        http2::close(&mut transport).await;
    }
}

/// What one connection knows.
struct Talk {
    shared: Arc<Shared>,
    number: u64,
    binding: Binding,
    /// The stream cap has been raised.
    raised: bool,
    /// Pushes whose answers wait for a release, oldest first. Bounded by the stream cap.
    held: VecDeque<Held>,
    /// Pushes whose answers come later, the oldest first. Bounded by the stream cap.
    late: VecDeque<(Instant, Held)>,
    orders: Orders,
    /// Requests since the standing order for GOAWAY was seen.
    requests_counted: u64,
    /// The topic of the last push, so that pushes of one app share one string.
    topic: Option<Arc<str>>,
    close_softly: bool,
}

struct Held {
    seq: u64,
    answer: Answer,
    push: ApnsPush,
}

impl Service for Talk {
    fn on_event(&mut self, connection: &mut Connection, event: Event) {
        match event {
            Event::Request(request) => self.on_request(connection, request),
            Event::Cancelled(stream) => {
                self.drop_held(&Outcome::Abandoned, |held| held.push.stream == stream);
            }
        }
    }
}

impl Talk {
    fn new(shared: Arc<Shared>, number: u64, orders: Orders) -> Self {
        Self {
            shared,
            number,
            binding: Binding::default(),
            raised: false,
            held: VecDeque::new(),
            late: VecDeque::new(),
            orders,
            requests_counted: 0,
            topic: None,
            close_softly: true,
        }
    }

    fn on_request(&mut self, connection: &mut Connection, request: Request) {
        let shared = Arc::clone(&self.shared);
        let now_ms = shared.clock.unix_ms();
        let fields = Fields::of(&request.headers);
        let reading = fields.read(shared.mode);
        let terms = Terms { keys: &shared.keys, mode: shared.mode, environment: shared.environment };
        let key = match reading.address_fault {
            // Whether a device is known concerns only whoever is known himself.
            None | Some(Reason::BadDeviceToken) => {
                let key = self.binding.check(terms, fields.authorization, now_ms / 1000);
                key.and_then(|key| reading.address_fault.map_or(Ok(key), Err))
            }
            Some(reason) => Err(reason),
        };
        if key.is_ok() && !self.raised {
            self.raised = true;
            connection.cap_streams(shared.streams_max);
        }
        let judged = key.and_then(|key| judge(&shared, key, &reading, request.body, request.body_bytes));
        let (payload, refused) = match judged {
            Ok(payload) => (payload, None),
            Err(reason) => (None, Some(reason)),
        };
        let push = ApnsPush {
            connection: self.number,
            stream: request.stream,
            token: reading.token.into(),
            topic: reading.topic.map(|topic| self.shared_topic(topic)),
            push_type: reading.push_type,
            priority: reading.priority,
            expiration: reading.expiration,
            collapse_id: reading.collapse_id.map(Box::from),
            apns_id: reading.apns_id.map_or_else(|| fresh_uuid().into(), Box::from),
            payload,
            outcome: Outcome::Held,
        };
        let answer = match refused {
            Some(reason) => Answer {
                status: Some(reason.status()),
                reason: Some(reason.text(shared.mode).into()),
                ..Answer::default()
            },
            None => shared.scripts.next(&push.token).unwrap_or_default(),
        };
        // A refusal by the rules is given at once: holding is for pushes that a phone waits for.
        if refused.is_none() && (self.orders.hold || answer.hold) {
            let seq = shared.recorder.append(now_ms, push.clone());
            self.held.push_back(Held { seq, answer, push });
        } else if refused.is_none() && !self.orders.delay.is_zero() {
            let seq = shared.recorder.append(now_ms, push.clone());
            self.late.push_back((Instant::now() + self.orders.delay, Held { seq, answer, push }));
        } else {
            let outcome = self.give(connection, &push, &answer, now_ms);
            shared.recorder.append(now_ms, ApnsPush { outcome, ..push });
        }
        self.count_request(connection, request.stream);
    }

    /// Carries an answer out, and says what has become of the push.
    fn give(&mut self, connection: &mut Connection, push: &ApnsPush, answer: &Answer, now_ms: u64) -> Outcome {
        match answer.act {
            Act::Answer => {
                let status = answer.status();
                let timestamp = (status == 410).then(|| answer.timestamp.unwrap_or(now_ms));
                if respond(connection, &self.shared, push, status, answer.reason.as_deref(), timestamp) {
                    Outcome::Answered { status, reason: answer.reason.clone(), timestamp }
                } else {
                    Outcome::Abandoned
                }
            }
            Act::Close => {
                connection.abandon();
                self.close_softly = false;
                Outcome::Closed { delivered: answer.delivered }
            }
            Act::GoAway => {
                let reason = answer.reason.as_deref().unwrap_or(const { Reason::Shutdown.name() });
                // Client streams are odd: two below is the one before.
                self.go_away(connection, push.stream.saturating_sub(2), Some(reason));
                Outcome::Dropped
            }
            Act::Refuse => {
                connection.reset(push.stream, ErrorCode::REFUSED_STREAM);
                Outcome::Refused
            }
        }
    }

    /// Carries out what has been ordered since the last time, in the order it was ordered.
    fn obey(&mut self, new: Orders, connection: &mut Connection) {
        let old = std::mem::replace(&mut self.orders, new);
        if old.standing_go_away != self.orders.standing_go_away {
            self.requests_counted = 0;
        }
        let release = (self.orders.released != old.released).then_some(self.orders.released);
        let go_away = self.orders.go_away.clone().filter(|(order, _)| *order > old.last_go_away());
        match (release, go_away) {
            (Some(released), Some((order, go_away))) if order < released => {
                self.send_go_away(connection, &go_away);
                self.release(connection);
            }
            (release, go_away) => {
                if release.is_some() {
                    self.release(connection);
                }
                if let Some((_, go_away)) = go_away {
                    self.send_go_away(connection, &go_away);
                }
            }
        }
    }

    fn release(&mut self, connection: &mut Connection) {
        let now_ms = self.shared.clock.unix_ms();
        while let Some(Held { seq, answer, push }) = self.held.pop_front() {
            let outcome = self.give(connection, &push, &answer, now_ms);
            self.shared.recorder.settle(seq, ApnsPush { outcome, ..push });
        }
    }

    /// Gives the answers whose time has come.
    fn give_late(&mut self, connection: &mut Connection) {
        let (now, now_ms) = (Instant::now(), self.shared.clock.unix_ms());
        while self.late.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, Held { seq, answer, push })) = self.late.pop_front() else { return };
            let outcome = self.give(connection, &push, &answer, now_ms);
            self.shared.recorder.settle(seq, ApnsPush { outcome, ..push });
        }
    }

    fn send_go_away(&mut self, connection: &mut Connection, order: &GoAway) {
        let last_stream = order.last_stream.unwrap_or_else(|| connection.highest_stream());
        self.go_away(connection, last_stream, order.reason.as_deref());
    }

    fn go_away(&mut self, connection: &mut Connection, last_stream: u32, reason: Option<&str>) {
        let debug = reason.map(|reason| reason_json(reason, None)).unwrap_or_default();
        let dropped = connection.go_away(last_stream, ErrorCode::NO_ERROR, &debug);
        self.drop_held(&Outcome::Dropped, |held| dropped.contains(&held.push.stream));
    }

    /// The standing order: GOAWAY after so many requests on each connection.
    fn count_request(&mut self, connection: &mut Connection, stream: u32) {
        let Some(order) = self.orders.standing_go_away.clone() else { return };
        self.requests_counted += 1;
        if Some(self.requests_counted) == order.after_requests {
            self.go_away(connection, order.last_stream.unwrap_or(stream), order.reason.as_deref());
        }
    }

    /// Gives up answers that nobody can get any more.
    fn drop_held(&mut self, outcome: &Outcome, is_lost: impl Fn(&Held) -> bool) {
        let (mut lost, kept): (VecDeque<Held>, _) =
            std::mem::take(&mut self.held).into_iter().partition(|held| is_lost(held));
        self.held = kept;
        let (late, kept): (VecDeque<_>, _) =
            std::mem::take(&mut self.late).into_iter().partition(|(_, held)| is_lost(held));
        self.late = kept;
        lost.extend(late.into_iter().map(|(_, held)| held));
        for Held { seq, push, .. } in lost {
            self.shared.recorder.settle(seq, ApnsPush { outcome: outcome.clone(), ..push });
        }
    }

    fn shared_topic(&mut self, topic: &str) -> Arc<str> {
        match &self.topic {
            Some(known) if **known == *topic => Arc::clone(known),
            _ => Arc::clone(self.topic.insert(topic.into())),
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        // However the connection ended, also by an outage.
        self.drop_held(&Outcome::Abandoned, |_| true);
    }
}

/// The rules that need a valid token; answers the payload.
fn judge(
    shared: &Shared,
    key: &ProviderKey,
    reading: &Reading<'_>,
    body: Vec<u8>,
    body_bytes: usize,
) -> Result<Option<Box<RawValue>>, Reason> {
    reading.check(shared.mode, key, &shared.topics, body_bytes)?;
    let json = String::from_utf8(body).ok().and_then(|text| RawValue::from_string(text).ok());
    match json.filter(|json| json.get().starts_with('{')) {
        Some(payload) => Ok(Some(payload)),
        // The payload must be a JSON dictionary. Apple documents no reason for another: the live service takes it and
        // the phone gets nothing; the nearest documented word is for the strict.
        None if shared.mode == Mode::Strict => Err(Reason::PayloadEmpty),
        None => Ok(None),
    }
}

/// "Handling notification responses from APNs".
fn respond(
    connection: &mut Connection,
    shared: &Shared,
    push: &ApnsPush,
    status: u16,
    reason: Option<&str>,
    timestamp: Option<u64>,
) -> bool {
    let unique_id = (shared.environment == Environment::Sandbox).then(fresh_uuid);
    let mut fields: [(&str, &str); 3] = [("apns-id", &push.apns_id), ("", ""), ("", "")];
    let mut count = 1;
    if let Some(unique_id) = &unique_id {
        fields[count] = ("apns-unique-id", unique_id);
        count += 1;
    }
    let body = reason.map(|reason| reason_json(reason, timestamp)).unwrap_or_default();
    if !body.is_empty() {
        fields[count] = ("content-type", "application/json");
        count += 1;
    }
    connection.respond(push.stream, status, &fields[..count], &body)
}

/// How finely delays are kept.
const DELAY_TICK: Duration = Duration::from_millis(2);
/// Above the largest payload (5120), so that one too large is known as such.
const BODY_BYTES_KEPT: usize = 8 << 10;
