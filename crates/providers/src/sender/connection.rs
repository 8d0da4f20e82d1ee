//! One connection: a single task that moves its bytes, takes pushes while it may, and reports what became of them.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use reveille_core::{Timestamp, Verdict};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::dial::{Moving, Open};
use super::dialect::{Answer, Authorization, Reply, Scratch, Then, retry};
use super::exchange::{Exchange, Flight, Said, broken, sentence};
use super::pool::Lane;
use super::queue::Waiting;
use crate::notification::{EXPIRED_BEFORE_SENDING, Outcome};

/// The task of one connection. It ends when the connection has.
pub(super) struct Connection {
    lane: Arc<Lane>,
    /// Unique within the lane, for the queue's list of idle connections.
    number: usize,
    moving: Moving,
    /// Gone once the connection takes no more pushes; h2 then closes it after the last answer.
    requests: Option<SendRequest<Bytes>>,
    /// Told when the connection takes no more pushes, so that another can be opened while answers still come.
    retired: Option<oneshot::Sender<Retired>>,
    pings: Option<PingPong>,
    flights: FuturesUnordered<Exchange>,
    taken: VecDeque<Waiting>,
    done: Vec<Outcome>,
    scratch: Scratch,
    /// Fires at the earliest of everything below that has a time.
    alarm: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    opened: Instant,
    used: Instant,
    pinged: Option<Instant>,
    /// Whatever is left then is given up.
    end: Option<Instant>,
    /// The streams that the peer allowed when last looked at.
    cap: usize,
    /// Whether a push has been accepted here.
    proven: bool,
    /// Suspicious answers in a row.
    suspect: u32,
}

/// A connection takes no more pushes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retired {
    /// Whether it had been of use, so that the next may be opened without a long pause.
    pub(super) useful: bool,
}

impl Connection {
    pub(super) fn new(
        lane: Arc<Lane>,
        number: usize,
        (requests, mut moving): Open,
    ) -> (Self, oneshot::Receiver<Retired>) {
        let (retired, told) = oneshot::channel();
        let now = Instant::now();
        lane.opened();
        let connection = Self {
            pings: moving.ping_pong(),
            alarm: Box::pin(tokio::time::sleep_until(now + lane.config.idle_ping)),
            stop: Box::pin(lane.stop.clone().cancelled_owned()),
            lane,
            number,
            moving,
            requests: Some(requests),
            retired: Some(retired),
            flights: FuturesUnordered::new(),
            taken: VecDeque::new(),
            done: Vec::new(),
            scratch: Scratch::new(),
            opened: now,
            used: now,
            pinged: None,
            end: None,
            cap: 0,
            proven: false,
            suspect: 0,
        };
        (connection, told)
    }

    /// Takes from the queue what the peer allows, and writes it. Answers whether there may be more to take at once.
    fn fill(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(requests) = &mut self.requests else { return false };
        match requests.poll_ready(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Pending => return false,
            // A GOAWAY has come, or the connection is broken.
            Poll::Ready(Err(fault)) => {
                self.retire(&sentence(&fault));
                return false;
            }
        }
        self.cap = requests.current_max_send_streams();
        let cap = self.cap.min(self.lane.config.in_flight_max);
        let room = cap.saturating_sub(self.flights.len()).min(BATCH_MAX);
        if room == 0 {
            return false;
        }
        let now = self.lane.clock.now();
        let Some(authorization) = self.authorization(now, cx) else { return false };
        let mut taken = std::mem::take(&mut self.taken);
        self.lane.queue.take(room, &mut taken, self.number, cx.waker());
        let (count, before) = (taken.len(), self.flights.len());
        if count > 0 {
            self.write(&mut taken, &authorization, now, cx);
        }
        self.taken = taken;
        // All that was asked for has come, and there is room left: the batch was small, or some were not sent.
        count == room && (room == BATCH_MAX || self.flights.len() < before + count)
    }

    /// The credential of this moment. If there is none, whoever fetches it wakes us by way of the queue.
    fn authorization(&self, now: Timestamp, cx: &Context<'_>) -> Option<Authorization> {
        let lane = &self.lane;
        let first = lane.dialect.authorization(now);
        let told = match first {
            Ok(Some(authorization)) => return Some(authorization),
            Ok(None) => {
                lane.queue.wait(self.number, cx.waker());
                // It may have come between the question and the waiting, and the wake-up with it.
                lane.dialect.authorization(now)
            }
            Err(fault) => Err(fault),
        };
        told.unwrap_or_else(|fault| {
            lane.trouble(fault);
            lane.queue.wait(self.number, cx.waker());
            None
        })
    }

    /// Notices what the peer has said without answering a push. Answers whether it allows more than before.
    fn heeds(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(requests) = &mut self.requests else { return false };
        match requests.poll_ready(cx) {
            // GOAWAY: the next connection is opened while the last answers come.
            Poll::Ready(Err(fault)) => {
                self.retire(&sentence(&fault));
                false
            }
            Poll::Ready(Ok(())) | Poll::Pending => requests.current_max_send_streams() > self.cap,
        }
    }

    fn write(
        &mut self,
        taken: &mut VecDeque<Waiting>,
        authorization: &Authorization,
        now: Timestamp,
        cx: &mut Context<'_>,
    ) {
        let started = Instant::now();
        let was_empty = self.flights.is_empty();
        let mut launched = 0;
        while let Some(waiting) = taken.pop_front() {
            let push = &waiting.push;
            let unsent = |verdict| Outcome { key: push.key, verdict, sent: now, status: 0, provider_id: None };
            if push.expires <= now {
                self.done.push(unsent(retry(EXPIRED_BEFORE_SENDING, None, true)));
                continue;
            }
            let (request, body) = match self.lane.dialect.encode(push, authorization, now, &mut self.scratch) {
                Ok(written) => written,
                Err(verdict) => {
                    self.done.push(unsent(verdict));
                    continue;
                }
            };
            let Some(requests) = &mut self.requests else {
                taken.push_front(waiting);
                break;
            };
            match requests.send_request(request, false) {
                Ok((response, mut stream)) => {
                    // If this fails the stream has ended, and the response says how.
                    let _ = stream.send_data(body, true);
                    let flight = Flight { key: push.key, sent: now, started, minted: authorization.minted };
                    self.flights.push(Exchange::new(response, flight));
                    launched += 1;
                }
                Err(fault) => match requests.poll_ready(cx) {
                    // The connection is well, so it is this request that cannot be written.
                    Poll::Ready(Ok(())) => {
                        let reason = format!("the request cannot be written: {fault}");
                        self.done.push(unsent(Verdict::Reject { reason: reason.into() }));
                    }
                    Poll::Pending => {
                        taken.push_front(waiting);
                        break;
                    }
                    Poll::Ready(Err(_)) => {
                        taken.push_front(waiting);
                        self.retire(&sentence(&fault));
                        break;
                    }
                },
            }
        }
        if !taken.is_empty() {
            // Never written: another connection may have them.
            self.lane.queue.give_back(taken);
            self.lane.queue.nudge(Some(self.number));
        }
        if launched > 0 {
            self.used = started;
            self.lane.launched(launched);
            if was_empty {
                self.set_alarm(started, Some(started));
            }
        }
    }

    /// Reads the answers that have come. Answers whether any had.
    fn collect(&mut self, cx: &mut Context<'_>) -> bool {
        let mut landed = 0;
        let mut now = None;
        while let Poll::Ready(Some((flight, said))) = self.flights.poll_next_unpin(cx) {
            landed += 1;
            let now = *now.get_or_insert_with(|| (self.lane.clock.now(), Instant::now()));
            self.land(flight, said, now);
        }
        if landed > 0 {
            self.lane.landed(landed);
            if self.flights.is_empty() && self.requests.is_none() {
                self.linger();
            }
        }
        landed > 0
    }

    fn land(&mut self, flight: Flight, said: Result<Said, h2::Error>, (now, at): (Timestamp, Instant)) {
        let (status, reply) = match &said {
            Ok(said) => {
                self.lane.meter.answered(at.saturating_duration_since(flight.started));
                let Said { status, headers, body } = said;
                let answer = Answer { status: *status, headers, body, minted: flight.minted, proven: self.proven };
                (*status, self.lane.dialect.decode(&answer, now))
            }
            Err(fault) => (0, broken(fault)),
        };
        let Reply { verdict, provider_id, then } = reply;
        match then {
            Then::Continue => self.suspect = 0,
            Then::Suspect => {
                self.suspect += 1;
                if self.suspect == SUSPECT_MAX {
                    self.retire(&format!("{SUSPECT_MAX} failures in a row, the last: {}", reason(&verdict)));
                }
            }
            Then::Retire => self.retire(reason(&verdict)),
        }
        self.proven |= verdict == Verdict::Accepted;
        self.done.push(Outcome { key: flight.key, verdict, sent: flight.sent, status, provider_id });
    }

    /// Takes no more pushes. Those under way may finish.
    fn retire(&mut self, why: &str) {
        if self.leave(why) && self.flights.is_empty() {
            self.linger();
        }
    }

    /// Tells everyone that this connection takes no more pushes. Answers whether it had not been told before.
    fn leave(&mut self, why: &str) -> bool {
        let Some(requests) = self.requests.take() else { return false };
        drop(requests);
        self.pings = None;
        let lived = self.opened.elapsed() >= LONG_LIFE;
        let useful = self.proven || (lived && self.suspect == 0);
        if !self.lane.stop.is_cancelled() {
            self.lane.note(format!("a connection was given up: {why}"));
        }
        self.lane.retired();
        // An idle connection may hold the wake-up for a push that it now will not take.
        self.lane.queue.nudge(Some(self.number));
        if let Some(retired) = self.retired.take() {
            // The slot may have stopped waiting, as the whole lane stops.
            let _ = retired.send(Retired { useful });
        }
        true
    }

    /// Nothing is under way any more: time to say goodbye, but not for ever.
    fn linger(&mut self) {
        let now = Instant::now();
        let end = now + LINGER;
        self.end = Some(self.end.map_or(end, |known| known.min(end)));
        self.set_alarm(now, None);
    }

    /// Looks what is late. Answers whether the connection is to end now.
    fn on_alarm(&mut self) -> bool {
        let now = Instant::now();
        if self.end.is_some_and(|end| end <= now) {
            return true;
        }
        let timeout = self.lane.config.response_timeout;
        let mut oldest = None;
        if self.flights.iter().any(|exchange| exchange.flight.started + timeout <= now) {
            let (late, young): (Vec<_>, Vec<_>) = std::mem::take(&mut self.flights)
                .into_iter()
                .partition(|exchange| exchange.flight.started + timeout <= now);
            self.flights.extend(young);
            let reason = format!("no answer within {} s", timeout.as_secs_f32());
            self.give_up(late, &reason);
            self.retire(&reason);
        }
        for exchange in &self.flights {
            oldest = Some(oldest.map_or(exchange.flight.started, |known: Instant| known.min(exchange.flight.started)));
        }
        if self.flights.is_empty() && self.requests.is_some() {
            match self.pinged {
                Some(pinged) if pinged + timeout <= now => {
                    self.retire("no answer to a ping");
                    return true;
                }
                Some(_) => {}
                None if self.used + self.lane.config.idle_ping <= now => {
                    if let Some(pings) = &mut self.pings
                        && pings.send_ping(Ping::opaque()).is_ok()
                    {
                        self.pinged = Some(now);
                    }
                }
                None => {}
            }
        }
        self.set_alarm(now, oldest);
        false
    }

    /// Sets the alarm to the earliest time that matters; `oldest` is when the oldest push under way was sent.
    fn set_alarm(&mut self, now: Instant, oldest: Option<Instant>) {
        let config = &self.lane.config;
        let answer = oldest.map(|started| started + config.response_timeout);
        let idle = match self.pinged {
            Some(pinged) => pinged + config.response_timeout,
            None => self.used + config.idle_ping,
        };
        // Never at once again: a ping that could not be sent would spin.
        let idle = idle.max(now + Duration::from_millis(50));
        let next = [answer, self.end].into_iter().flatten().fold(idle, Instant::min);
        self.alarm.as_mut().reset(next);
    }

    fn give_up(&mut self, flights: impl IntoIterator<Item = Exchange>, reason: &str) {
        let mut count = 0;
        for exchange in flights {
            let Flight { key, sent, .. } = exchange.flight;
            // It was handed to the connection, and nobody knows how far it got.
            let verdict = retry(reason, None, false);
            self.done.push(Outcome { key, verdict, sent, status: 0, provider_id: None });
            count += 1;
        }
        self.lane.landed(count);
    }

    fn report(&mut self) {
        if !self.done.is_empty() {
            let room = self.done.len();
            self.lane.report(std::mem::replace(&mut self.done, Vec::with_capacity(room)));
        }
    }

    fn on_stop(&mut self) {
        let now = Instant::now();
        self.end = Some(now + self.lane.config.grace);
        self.retire("the lane stops");
        self.set_alarm(now, None);
    }

    fn listen_for_pong(&mut self, cx: &mut Context<'_>) {
        if self.pinged.is_none() {
            return;
        }
        if let Some(pings) = &mut self.pings
            && let Poll::Ready(Ok(_)) = pings.poll_pong(cx)
        {
            let now = Instant::now();
            (self.pinged, self.used) = (None, now);
            if self.flights.is_empty() {
                self.set_alarm(now, None);
            }
        }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.end.is_none() && this.stop.as_mut().poll(cx).is_ready() {
            this.on_stop();
        }
        while this.alarm.as_mut().poll(cx).is_ready() {
            if this.on_alarm() {
                return Poll::Ready(());
            }
        }
        let mut more = this.fill(cx);
        loop {
            let ended = Pin::new(&mut this.moving).poll(cx);
            if let Poll::Ready(ended) = &ended {
                this.leave(&ended.as_ref().map_or_else(sentence, |()| "the provider closed it".into()));
            }
            let landed = this.collect(cx);
            this.report();
            if ended.is_ready() {
                return Poll::Ready(());
            }
            if !this.heeds(cx) && !landed && !more {
                break;
            }
            let before = this.flights.len();
            more = this.fill(cx);
            if this.flights.len() == before && !more {
                break;
            }
        }
        this.listen_for_pong(cx);
        this.report();
        Poll::Pending
    }
}

impl Drop for Connection {
    /// However the task ends, nothing that it took goes without an outcome.
    fn drop(&mut self) {
        // Not `retire`: the alarm's clock may have gone with the runtime.
        self.leave("its task ended");
        self.lane.queue.give_back(&mut self.taken);
        let left = std::mem::take(&mut self.flights);
        self.give_up(left, "the connection ended before the answer");
        self.report();
    }
}

fn reason(verdict: &Verdict) -> &str {
    verdict.provider_reason().unwrap_or_default()
}

/// The most pushes written before bytes are moved again.
const BATCH_MAX: usize = 256;
/// So many suspicious answers in a row end a connection: another server may do better.
const SUSPECT_MAX: u32 = 20;
/// A connection that stood so long was no failure, even if it was never used.
const LONG_LIFE: Duration = Duration::from_secs(60);
/// How long a connection without work may take to say goodbye.
const LINGER: Duration = Duration::from_secs(2);
