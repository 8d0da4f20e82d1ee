//! From the journal to the lanes and back: which pushes are in memory, where they go, and what became of them.
//!
//! Each lane has a bounded window of open pushes in memory, shared by its organisations ([`crate::lane`]); what one of
//! them has beyond its share waits in the journal until [`crate::replay`] reads it back in order. Only this
//! organisation's newer pushes of this lane wait behind it. At start the journal is scanned once for what a former life
//! has left; until that is over new messages wait on disk, so that none overtakes an older one, and calls go.

mod ends;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::{Channel, Clock, LaneKey, Reason, SipDomain, Timestamp};
use reveille_federation::PushRequest;
use reveille_providers::{Demand, Sender, Supply};
use reveille_store::{Completed, Journal, StoreError};
use tokio::sync::Notify;
use tracing::warn;

use self::ends::{Ended, add, dead_meanwhile, probe_without_target};
pub(crate) use self::ends::{completed, ended};
use crate::court::Court;
use crate::lane::{Arrival, Lane, LaneLoad, Mark, Window};
use crate::notification::notification;
use crate::replay::Scan;

/// Messages in memory, all lanes together, while no lane has more organisations than places to promise.
const MESSAGES: usize = 65_536;
/// The least and the most of them in one lane.
const LANE_MESSAGES: (usize, usize) = (1024, 16_384);
/// Calls in memory, in one lane: what two thousand phones ring with in one ring's time.
const LANE_CALLS: usize = 2048;
/// Places of a window that each organisation is promised.
const PROMISED: usize = 64;
/// Up to how many stretches on disk, of 24 bytes each, are noted in all; and of one flow before and after that. What is
/// not noted is found by looking through the journal again.
const STRETCHES_MAX: usize = 2_000_000;
const FLOW_STRETCHES: usize = 50_000;
const SCARCE_STRETCHES: usize = 64;
/// How long to wait before the journal is asked again after it could not take an outcome.
const JOURNAL_PAUSE: Duration = Duration::from_millis(500);

/// Where a lane's pushes go: a provider sender, or a test's stand-in.
pub trait Outlet: Send + Sync + 'static {
    /// Takes its pushes from `supply` from now on, as it has room for them. Called once.
    fn serve(&self, supply: Arc<dyn Supply>);

    /// The supply may have something, for whoever found nothing there before.
    fn wake(&self, demand: Demand);
}

impl Outlet for Arc<Sender> {
    fn serve(&self, supply: Arc<dyn Supply>) {
        Sender::serve(self, supply);
    }

    fn wake(&self, demand: Demand) {
        Sender::wake(self, demand);
    }
}

/// A push that has just been journaled.
#[derive(Debug)]
pub struct Fresh {
    /// Its number in the journal.
    pub seq: u64,
    /// Who sent it.
    pub origin: SipDomain,
    /// What was asked for.
    pub request: PushRequest,
    /// Where it goes.
    pub lane: LaneKey,
    /// When it was taken.
    pub received: Timestamp,
    /// When it is of no use any more, by our clock.
    pub expires: Timestamp,
    /// How often sending it has failed.
    pub attempt: u32,
    /// When its device may get it, if not now. Known only until it has to wait on disk.
    pub due: Option<Timestamp>,
    /// Whether it is a call that was journaled as being sent, as [`Dispatch::promise`] has allowed.
    pub sending: bool,
}

/// The lanes, by number and by name.
pub(crate) struct Lanes {
    pub(crate) all: Vec<Arc<Lane>>,
    by_key: HashMap<LaneKey, usize>,
}

/// Sends what the journal holds, and writes down what became of it.
pub struct Dispatch {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    lanes: OnceLock<Lanes>,
    pub(crate) scan: Mutex<Scan>,
    /// How many stretches are noted in all lanes, about.
    pub(crate) noted: AtomicUsize,
    /// How many may be noted of one flow, while there are not too many in all.
    pub(crate) noted_usual: AtomicUsize,
    court: Arc<Court>,
    unwritten: Mutex<Ended>,
    /// Wakes the task of [`crate::replay`].
    pub(crate) work: Notify,
    /// Wakes the task that sends feedback.
    feedback: Arc<Notify>,
    /// A test's window, the same for each lane.
    window: Option<usize>,
    me: Weak<Self>,
}

impl Dispatch {
    /// A dispatch without lanes; `feedback` is notified when feedback has been journaled. Nothing may have been
    /// appended to the journal since it was opened.
    pub fn new(
        journal: Arc<dyn Journal>,
        court: Arc<Court>,
        clock: Arc<dyn Clock>,
        feedback: Arc<Notify>,
    ) -> Arc<Self> {
        Self::with_window(journal, court, clock, feedback, None)
    }

    pub(crate) fn with_window(
        journal: Arc<dyn Journal>,
        court: Arc<Court>,
        clock: Arc<dyn Clock>,
        feedback: Arc<Notify>,
        window: Option<usize>,
    ) -> Arc<Self> {
        let scan = Mutex::new(Scan::from_the_beginning(journal.first_new()));
        Arc::new_cyclic(|me| Self {
            journal,
            clock,
            lanes: OnceLock::new(),
            scan,
            noted: AtomicUsize::new(0),
            noted_usual: AtomicUsize::new(FLOW_STRETCHES),
            court,
            unwritten: Mutex::default(),
            work: Notify::new(),
            feedback,
            window,
            me: me.clone(),
        })
    }

    /// Gives each lane its outlet. Once, before anything is taken.
    pub fn open(&self, outlets: impl IntoIterator<Item = (LaneKey, Box<dyn Outlet>)>) {
        let outlets: Vec<_> = outlets.into_iter().collect();
        let messages = outlets.iter().filter(|(key, _)| key.channel == Channel::Message).count();
        let window = |channel| self.window_of(channel, messages);
        let lane = |(number, (key, outlet)): (u16, (LaneKey, _))| {
            let window = window(key.channel);
            Lane::new(number, key, outlet, Arc::clone(&self.court), self.me.clone(), window)
        };
        let all: Vec<_> = (0..).zip(outlets).map(lane).collect();
        let by_key = all.iter().enumerate().map(|(number, lane)| (lane.key.clone(), number)).collect();
        let opened = all.clone();
        assert!(self.lanes.set(Lanes { all, by_key }).is_ok(), "the lanes are opened once");
        opened.iter().for_each(Lane::open);
    }

    fn window_of(&self, channel: Channel, message_lanes: usize) -> Window {
        let (least, most) = LANE_MESSAGES;
        let pushes = match (self.window, channel) {
            (Some(pushes), _) => pushes,
            (None, Channel::Message) => (MESSAGES / message_lanes.max(1)).clamp(least, most),
            (None, Channel::Voip) => LANE_CALLS,
        };
        Window { pushes, promised: PROMISED.min(pushes / 16).max(1) }
    }

    /// How many pushes are in memory, and whether others wait on disk only.
    pub fn load(&self) -> (usize, bool) {
        let all = self.all().iter().map(|lane| lane.load());
        let (held, spilled) = all.fold((0, false), |(held, spilled), (more, also)| (held + more, spilled || also));
        (held, spilled || self.scan.lock().is_active())
    }

    /// What lies in each lane.
    pub fn lanes(&self) -> Vec<LaneLoad> {
        self.all().iter().map(|lane| lane.shown()).collect()
    }

    /// How many pushes of one organisation are open, as far as is known: what is on disk beyond what is noted is not.
    pub(crate) fn open_of(&self, origin: &SipDomain) -> usize {
        self.all().iter().map(|lane| lane.open_of(origin)).sum()
    }

    pub(crate) fn all(&self) -> &[Arc<Lane>] {
        self.lanes.get().map(|lanes| &*lanes.all).unwrap_or_default()
    }

    pub(crate) fn lane(&self, key: &LaneKey) -> Option<&Arc<Lane>> {
        let lanes = self.lanes.get()?;
        lanes.by_key.get(key).map(|&number| &lanes.all[number])
    }

    /// Takes pushes that have just been journaled, in the order of their numbers. Called on the journal's writer
    /// thread: it does not block.
    pub fn take(&self, fresh: Vec<Fresh>) {
        let Some(last) = fresh.last().map(|fresh| fresh.seq) else { return };
        let mut here = Vec::new();
        let mut ended: Ended = Ended::default();
        let is_put_off = fresh.iter().any(|fresh| fresh.due.is_some());
        {
            // The scan goes on only where this has been, and ends only when nothing has been added.
            let mut scan = self.scan.lock();
            for (lane, fresh) in self.by_lanes(fresh, &mut ended) {
                let (admitted, noted) = lane.admit(fresh, scan.is_behind(), self.noted_max());
                self.noted.fetch_add(noted, Ordering::Relaxed);
                here.push((lane, admitted));
            }
            scan.taken = last;
        }
        for (lane, admitted) in here {
            self.begin(lane, admitted.into_iter().map(|(flow, fresh)| (flow, fresh.due, fresh)), &mut ended);
        }
        if is_put_off {
            self.work.notify_one();
        }
        self.end(ended);
    }

    /// How many stretches may be noted of one flow at this moment.
    pub(crate) fn noted_max(&self) -> usize {
        match self.noted.load(Ordering::Relaxed) < STRETCHES_MAX {
            true => self.noted_usual.load(Ordering::Relaxed),
            false => SCARCE_STRETCHES,
        }
    }

    /// Sorts pushes by their lanes. Those whose lane has gone are over.
    fn by_lanes(&self, fresh: Vec<Fresh>, ended: &mut Ended) -> Vec<(&Arc<Lane>, Vec<Fresh>)> {
        let mut sorted: Vec<(&Arc<Lane>, Vec<Fresh>)> = Vec::new();
        let count = fresh.len();
        for fresh in fresh {
            // There are few lanes, and most batches are of one or two.
            if let Some((_, others)) = sorted.iter_mut().find(|(lane, _)| lane.key == fresh.lane) {
                others.push(fresh);
            } else if let Some(lane) = self.lane(&fresh.lane) {
                let mut first = Vec::with_capacity(count);
                first.push(fresh);
                sorted.push((lane, first));
            } else {
                ended.1.push(self.without_lane(&fresh));
            }
        }
        sorted
    }

    /// Puts pushes into memory and on their way, each in its flow and, where a time is given, not before it. Answers how
    /// many have ended instead, by flow.
    pub(crate) fn begin(
        &self,
        lane: &Arc<Lane>,
        fresh: impl Iterator<Item = (u32, Option<Timestamp>, Fresh)>,
        ended: &mut Ended,
    ) -> usize {
        let now = self.clock.now();
        let mut arrivals = Vec::with_capacity(fresh.size_hint().0);
        let mut over = Vec::new();
        for (flow, due, fresh) in fresh {
            match self.arrival(flow, due, fresh, now) {
                Ok(arrival) => arrivals.push(arrival),
                Err(completed) => {
                    ended.1.push(*completed);
                    over.push(flow);
                }
            }
        }
        let entered = arrivals.len();
        if entered > 0 {
            let coalesced = lane.insert(arrivals);
            self.coalesce(coalesced, now, ended);
        }
        over.into_iter().for_each(|flow| lane.release(flow, 1));
        entered
    }

    /// A push as its lane takes it; or how it ends at once.
    fn arrival(
        &self,
        flow: u32,
        due: Option<Timestamp>,
        fresh: Fresh,
        now: Timestamp,
    ) -> Result<Arrival, Box<Completed>> {
        let Fresh { seq, origin, request, lane, received, expires, attempt, due: _, sending } = fresh;
        // Cut to the time of receipt: nobody can make a token younger than our news about it (DESIGN.md §5).
        let registered = request.registered.min(received);
        let Some(to) = &request.to else { return Err(Box::new(probe_without_target(seq, &request, now))) };
        if let Some(died) = self.court.dead(&origin, &lane.app, &to.token, registered) {
            return Err(Box::new(dead_meanwhile(seq, (request.id, request.identity), died, now)));
        }
        let push = notification(&origin, request, seq, received, expires).expect("a request with a target");
        Ok(Arrival { flow, seq, registered, attempt, push, due, sending })
    }

    /// Whether a call can be given out as soon as it is journaled: then it may be journaled as being sent, and needs no mark.
    /// Each promise comes back with the push, or by [`Self::withdraw`].
    pub(crate) fn promise(&self, lane: &LaneKey, origin: &SipDomain) -> bool {
        self.lane(lane).is_some_and(|lane| lane.promise(origin))
    }

    /// Gives a promise back: its call was not journaled.
    pub(crate) fn withdraw(&self, lane: &LaneKey) {
        if let Some(lane) = self.lane(lane) {
            lane.withdraw();
        }
    }

    /// Marks calls as being sent, syncs that, and only then lets their lane give them out: nobody's phone rings twice.
    pub(crate) fn mark_calls(&self, lane: &Arc<Lane>, marks: Vec<Mark>) {
        let (keys, seqs): (Vec<u64>, Vec<u64>) = marks.into_iter().unzip();
        let (this, lane) = (self.me.clone(), Arc::clone(lane));
        let done = move |outcome: Result<(), StoreError>| {
            let Some(this) = this.upgrade() else { return };
            match outcome {
                Ok(()) => lane.marked(keys),
                Err(reason) => {
                    // Nothing was sent, so nothing can ring twice: they are tried again while they are worth it.
                    warn!(%reason, pushes = keys.len(), "calls could not be marked as being sent");
                    lane.unmarked(keys, this.clock.now().plus(JOURNAL_PAUSE));
                    this.work.notify_one();
                }
            }
        };
        self.journal.mark_sending(seqs, self.clock.now(), Box::new(done));
    }

    /// Takes back that calls are being sent which no connection has had, so that the next life sends them: once no
    /// connection comes any more, before the journal is closed.
    pub fn take_back_marks(&self) {
        let now = self.clock.now();
        for (seq, attempt) in self.all().iter().flat_map(|lane| lane.marked_in_vain()) {
            self.journal.reschedule(seq, now, attempt, Box::new(drop));
        }
    }

    /// Has connections look that may have been away when they were called.
    pub(crate) fn pump(&self) {
        self.all().iter().for_each(|lane| lane.nudge());
    }

    /// Sends again whatever is due. Answers when the next one is.
    pub(crate) fn send_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.all().iter().filter_map(|lane| lane.send_due(now)).min()
    }

    /// Ends what has waited in memory for longer than it was worth. Answers when the next one may.
    pub(crate) fn expire(&self, now: Timestamp) -> Option<Timestamp> {
        let (mut ended, mut next) = (Ended::default(), None);
        for lane in self.all() {
            let (over, then) = lane.expire(now);
            over.into_iter().for_each(|over| add(&mut ended, over, Reason::Expired, now));
            self.condemn(lane, &mut ended, now);
            next = [next, then].into_iter().flatten().min();
        }
        self.end(ended);
        next
    }
}
