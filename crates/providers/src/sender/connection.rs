//! One connection: a single task that moves its bytes, takes pushes while it may, and reports what became of them.

mod answers;
mod times;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use h2::PingPong;
use h2::client::SendRequest;
use reveille_core::{Channel, Timestamp, Verdict};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::circuit::Way;
use super::dial::{Moving, Open};
use super::dialect::{Authorization, Scratch, retry};
use super::exchange::{Exchange, Flight, Probe, sentence};
use super::gates::Lesson;
use super::papers::Papers;
use super::pool::Lane;
use super::queue::Waiting;
use crate::notification::{EXPIRED_BEFORE_SENDING, Outcome, Room};
use times::Times;

/// The task of one connection. It ends when the connection has.
pub(super) struct Connection {
    lane: Arc<Lane>,
    /// As whom it was opened. It stays bound to them.
    papers: Arc<Papers>,
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
    /// What a batch of answers says of the provider.
    lesson: Lesson,
    times: Times,
    /// Fires at the earliest of all times that matter.
    alarm: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    replaced: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The streams that the peer allowed when last looked at.
    cap: usize,
    /// Whether a push has been accepted here.
    proven: bool,
    /// Suspicious answers in a row.
    suspect: u32,
    /// Opened because the others had no room: it goes when it has been idle for a while.
    spare: bool,
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
        papers: Arc<Papers>,
        number: usize,
        spare: bool,
        (requests, mut moving): Open,
    ) -> (Self, oneshot::Receiver<Retired>) {
        let (retired, told) = oneshot::channel();
        let now = Instant::now();
        lane.opened();
        let mut connection = Self {
            pings: moving.ping_pong(),
            alarm: Box::pin(tokio::time::sleep_until(now + lane.config.idle_ping)),
            stop: Box::pin(lane.stop.clone().cancelled_owned()),
            replaced: Box::pin(papers.replaced.clone().cancelled_owned()),
            lane,
            papers,
            number,
            moving,
            requests: Some(requests),
            retired: Some(retired),
            flights: FuturesUnordered::new(),
            taken: VecDeque::new(),
            done: Vec::new(),
            scratch: Scratch::new(),
            lesson: Lesson::default(),
            times: Times::new(now),
            cap: 0,
            proven: false,
            suspect: 0,
            spare,
        };
        connection.set_alarm(now);
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
        let room = Room::left(cap, self.flights.len(), BATCH_MAX);
        if room.places == 0 || self.rests() {
            return false;
        }
        let (room, probe) = match self.way(cx) {
            Way::Free => (room, false),
            Way::Probe => (Room::for_all(1), true),
            Way::Shut => return false,
        };
        let now = self.lane.clock.now();
        let Some(authorization) = self.authorization(now, cx) else {
            self.give_up_probe(probe);
            return false;
        };
        let mut taken = std::mem::take(&mut self.taken);
        let more = self.lane.queue.take(room, &mut taken, self.number, cx.waker());
        let (count, before) = (taken.len(), self.flights.len());
        if count > 0 {
            self.write(&mut taken, &authorization, now, probe, cx);
        }
        self.taken = taken;
        if probe {
            self.probe_anyway(before, &authorization, now);
            return false;
        }
        // APNs allows one stream before the first answer: that is no sign of a crowd.
        if more && self.proven && self.flights.len() + Room::kept_of(cap) >= cap {
            self.lane.crowded();
        }
        // All that was asked for has come, and there is room left: the batch was small, or some were not sent.
        count == room.places && (count == BATCH_MAX || self.flights.len() < before + count)
    }

    /// Whether circuits let pushes through. Where they do not, whoever closes them wakes us by way of the queue.
    fn way(&mut self, cx: &Context<'_>) -> Way {
        let way = self.lane.gates.way(Instant::now());
        if way == Way::Shut {
            self.lane.queue.wait(self.number, cx.waker());
            // It may have closed in between, and the wake-up with it.
            let again = self.lane.gates.way(Instant::now());
            if again == Way::Shut {
                self.refuse_calls(cx);
            }
            return again;
        }
        way
    }

    /// A call cannot wait until a person has mended the app: it ends now, and says why.
    fn refuse_calls(&mut self, cx: &Context<'_>) {
        if self.lane.config.lane.channel != Channel::Voip {
            return;
        }
        let Some(word) = self.lane.gates.refused() else { return };
        let now = self.lane.clock.now();
        loop {
            let mut taken = std::mem::take(&mut self.taken);
            self.lane.queue.take(Room::for_all(BATCH_MAX), &mut taken, self.number, cx.waker());
            let more = !taken.is_empty();
            self.done.extend(taken.drain(..).map(|Waiting { push, .. }| {
                let reason = format!("{word}: not sent, since the provider has refused the app");
                let verdict = Verdict::Configuration { reason: reason.into() };
                Outcome { key: push.key, verdict, sent: now, status: 0, provider_id: None }
            }));
            self.taken = taken;
            if !more {
                return;
            }
        }
    }

    /// Sends a probe of our own where no push has come to be one, so that what was mended is noticed, and calls, which
    /// never probe, are taken again.
    fn probe_anyway(&mut self, before: usize, authorization: &Authorization, now: Timestamp) {
        if self.flights.len() > before {
            return;
        }
        if !self.lane.gates.may_ask_about_nobody(now) {
            // Another lane may have a push.
            return self.lane.gates.unused(Instant::now());
        }
        let probe = crate::notification::nobodys(self.papers.dialect.nobody(), now);
        let sent = self.requests.as_mut().and_then(|requests| {
            let (request, body) = self.papers.dialect.encode(&probe, authorization, now, &mut self.scratch).ok()?;
            let (response, mut stream) = requests.send_request(request, false).ok()?;
            stream.send_data(body, true).ok()?;
            Some(response)
        });
        let Some(response) = sent else { return self.give_up_probe(true) };
        let started = Instant::now();
        let flight = Flight { key: 0, sent: now, started, minted: authorization.minted, probe: Probe::Own };
        self.flights.push(Exchange::new(response, flight));
        self.lane.launched(1);
        self.times.launched(started);
        self.set_alarm(started);
    }

    fn give_up_probe(&self, probe: bool) {
        if probe {
            self.lane.gates.unused(Instant::now() + PERMIT_REST);
        }
    }

    /// The credential of this moment. If there is none, whoever fetches it wakes us by way of the queue.
    fn authorization(&self, now: Timestamp, cx: &Context<'_>) -> Option<Authorization> {
        let (lane, dialect) = (&self.lane, &self.papers.dialect);
        let first = dialect.authorization(now);
        let told = match first {
            Ok(Some(authorization)) => return Some(authorization),
            Ok(None) => {
                lane.queue.wait(self.number, cx.waker());
                // It may have come between the question and the waiting, and the wake-up with it.
                dialect.authorization(now)
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
        probe: bool,
        cx: &mut Context<'_>,
    ) {
        let probe = if probe { Probe::Push } else { Probe::No };
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
            let (request, body) = match self.papers.dialect.encode(push, authorization, now, &mut self.scratch) {
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
                    let flight = Flight { key: push.key, sent: now, started, minted: authorization.minted, probe };
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
            self.times.launched(started);
            self.lane.launched(launched);
            if was_empty {
                self.set_alarm_for(started);
            }
        }
    }

    /// Takes no more pushes. Those under way may finish.
    fn retire(&mut self, why: &str) {
        if self.leave(why) && self.flights.is_empty() {
            self.linger();
        }
    }

    /// Takes no more pushes, as we want it: nothing is wrong.
    fn step_down(&mut self, why: &str) {
        tracing::debug!(lane = %self.lane.config.lane, why, "a connection steps down");
        if self.leave_for(None) && self.flights.is_empty() {
            self.linger();
        }
    }

    /// Tells everyone that this connection takes no more pushes. Answers whether it had not been told before.
    fn leave(&mut self, why: &str) -> bool {
        self.leave_for(Some(why))
    }

    fn leave_for(&mut self, trouble: Option<&str>) -> bool {
        let Some(requests) = self.requests.take() else { return false };
        drop(requests);
        self.pings = None;
        let lived = self.times.opened.elapsed() >= LONG_LIFE;
        let useful = self.proven || (lived && self.suspect == 0);
        if let Some(why) = trouble
            && !self.lane.stop.is_cancelled()
        {
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

    fn report(&mut self) {
        if !self.done.is_empty() {
            let room = self.done.len();
            self.lane.report(std::mem::replace(&mut self.done, Vec::with_capacity(room)));
        }
    }

    fn on_stop(&mut self) {
        let now = Instant::now();
        self.times.end = Some(now + self.lane.config.grace);
        self.retire("the lane stops");
        self.set_alarm(now);
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.times.end.is_none() && this.stop.as_mut().poll(cx).is_ready() {
            this.on_stop();
        }
        if this.requests.is_some() && this.replaced.as_mut().poll(cx).is_ready() {
            // What is under way was asked with the old one, which its provider may still take.
            this.step_down("its credential was replaced");
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

/// How long a permit rests that decided nothing, since no answer came or there was no way to ask.
const PERMIT_REST: Duration = Duration::from_secs(1);
/// The most pushes written before bytes are moved again.
const BATCH_MAX: usize = 256;
/// A connection that stood so long was no failure, even if it was never used.
const LONG_LIFE: Duration = Duration::from_secs(60);
