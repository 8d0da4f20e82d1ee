//! One connection: a single task that moves its bytes, takes pushes while it may, and reports what became of them.

mod answers;
mod times;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use reveille_core::{Channel, Timestamp, Verdict};
use reveille_http2::Request;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::circuit::Way;
use super::dial::Transport;
use super::dialect::{Authorization, retry, word};
use super::flight::{Flight, Probe};
use super::gates::Lesson;
use super::line::Line;
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
    line: Line<Flight>,
    /// It takes pushes. Once it does not, it is closed after the last answer.
    open: bool,
    /// Told when the connection takes no more pushes, so that another can be opened while answers still come.
    retired: Option<oneshot::Sender<Retired>>,
    taken: VecDeque<Waiting>,
    done: Vec<Outcome>,
    /// The request that is being written.
    request: Request,
    /// What a batch of answers says of the provider.
    lesson: Lesson,
    times: Times,
    /// Fires at the earliest of all times that matter.
    alarm: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    replaced: Pin<Box<WaitForCancellationFutureOwned>>,
    /// It had no room for another push when last looked at.
    full: bool,
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
        transport: Transport,
    ) -> (Self, oneshot::Receiver<Retired>) {
        let (retired, told) = oneshot::channel();
        let now = Instant::now();
        lane.opened();
        let mut connection = Self {
            alarm: Box::pin(tokio::time::sleep_until(now + lane.config.idle_ping)),
            stop: Box::pin(lane.stop.clone().cancelled_owned()),
            replaced: Box::pin(papers.replaced.clone().cancelled_owned()),
            lane,
            papers,
            number,
            line: Line::new(transport),
            open: true,
            retired: Some(retired),
            taken: VecDeque::new(),
            done: Vec::new(),
            request: Request::new(),
            lesson: Lesson::default(),
            times: Times::new(now),
            full: false,
            proven: false,
            suspect: 0,
            spare,
        };
        connection.set_alarm(now);
        (connection, told)
    }

    /// Takes from the queue what the peer allows, and writes it. Answers whether there may be more to take at once.
    fn fill(&mut self, cx: &Context<'_>) -> bool {
        if !self.open {
            return false;
        }
        let more = self.fill_open(cx);
        self.full = self.room().places == 0;
        more
    }

    /// The most pushes that may be under way here.
    fn cap(&self) -> usize {
        self.line.client.streams_max().min(self.lane.config.in_flight_max)
    }

    fn under_way(&self) -> usize {
        self.line.client.under_way()
    }

    /// What it has room for.
    fn room(&self) -> Room {
        // A peer that does not read what waits for it gets no more, whatever it allows.
        let most = self.line.client.room().min(BATCH_MAX);
        Room::left(self.cap(), self.under_way(), most)
    }

    fn fill_open(&mut self, cx: &Context<'_>) -> bool {
        let (cap, room) = (self.cap(), self.room());
        if room.places == 0 && !self.full {
            // It had room when it last asked, and the bell for who came since may have rung here.
            self.lane.queue.nudge(Some(self.number));
        }
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
        let (count, before) = (taken.len(), self.under_way());
        if count > 0 {
            self.write(&mut taken, &authorization, now, probe);
        }
        self.taken = taken;
        if probe {
            self.probe_anyway(before, &authorization, now);
            return false;
        }
        // APNs allows one stream before the first answer: that is no sign of a crowd.
        if more && self.proven && self.under_way() + Room::kept_of(cap) >= cap {
            self.lane.crowded();
        }
        // There is room of which the queue does not know: the batch could not be larger, or some were not sent.
        count == BATCH_MAX || self.under_way() < before + count
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
        if self.under_way() > before {
            return;
        }
        if !self.lane.gates.may_ask_about_nobody(now) {
            // Another lane may have a push.
            return self.lane.gates.unused(Instant::now());
        }
        let probe = crate::notification::nobodys(self.papers.dialect.nobody(), now);
        let started = Instant::now();
        let flight = Flight { key: 0, sent: now, started, minted: authorization.minted, probe: Probe::Own };
        self.request.clear();
        let written = self.papers.dialect.encode(&probe, authorization, now, &mut self.request).is_ok();
        if !written || self.line.client.send(flight, &self.request).is_err() {
            return self.give_up_probe(true);
        }
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
    fn heeds(&mut self) -> bool {
        if !self.open {
            return false;
        }
        if let Some(farewell) = self.line.client.farewell() {
            // GOAWAY: the next connection is opened while the last answers come.
            let why = word(&farewell.why);
            self.retire(&why);
            return false;
        }
        self.full && self.room().places > 0
    }

    fn write(&mut self, taken: &mut VecDeque<Waiting>, authorization: &Authorization, now: Timestamp, probe: bool) {
        let probe = if probe { Probe::Push } else { Probe::No };
        let started = Instant::now();
        let was_empty = self.under_way() == 0;
        let mut launched = 0;
        while let Some(waiting) = taken.pop_front() {
            let push = &waiting.push;
            let unsent = |verdict| Outcome { key: push.key, verdict, sent: now, status: 0, provider_id: None };
            if push.expires <= now {
                self.done.push(unsent(retry(EXPIRED_BEFORE_SENDING, None, true)));
                continue;
            }
            self.request.clear();
            if let Err(verdict) = self.papers.dialect.encode(push, authorization, now, &mut self.request) {
                self.done.push(unsent(verdict));
                continue;
            }
            let flight = Flight { key: push.key, sent: now, started, minted: authorization.minted, probe };
            if self.line.client.send(flight, &self.request).is_err() {
                taken.push_front(waiting);
                break;
            }
            launched += 1;
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
        if self.leave(why) && self.under_way() == 0 {
            self.linger();
        }
    }

    /// Takes no more pushes, as we want it: nothing is wrong.
    fn step_down(&mut self, why: &str) {
        tracing::debug!(lane = %self.lane.config.lane, why, "a connection steps down");
        if self.leave_for(None) && self.under_way() == 0 {
            self.linger();
        }
    }

    /// Tells everyone that this connection takes no more pushes. Answers whether it had not been told before.
    fn leave(&mut self, why: &str) -> bool {
        self.leave_for(Some(why))
    }

    fn leave_for(&mut self, trouble: Option<&str>) -> bool {
        if !std::mem::replace(&mut self.open, false) {
            return false;
        }
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
        if this.open && this.replaced.as_mut().poll(cx).is_ready() {
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
            let ended = this.line.poll(cx);
            if let Poll::Ready(why) = &ended {
                this.leave(&word(why));
            }
            let landed = this.collect();
            this.report();
            if ended.is_ready() {
                return Poll::Ready(());
            }
            let before = this.under_way();
            if this.heeds() || landed || more {
                more = this.fill(cx);
            }
            // Nothing new is to be written, or the peer has to read first.
            if this.under_way() == before && !more && !this.line.is_stirred() {
                break;
            }
        }
        this.listen_for_pong();
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
        let left = self.line.client.take_back(|_| true);
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
