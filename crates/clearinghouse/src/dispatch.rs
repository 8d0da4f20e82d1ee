//! From the journal to the lanes and back: which pushes are in memory, where they go, and what became of them.
//!
//! A bounded window of open pushes is in memory; the rest waits in the journal ("spilled") until [`crate::replay`]
//! reads it back in order. While anything is spilled every newer message spills too, so what is read back is never in
//! memory already. Calls never wait behind messages: they go ahead, and replay passes over them. At start everything
//! counts as spilled: replay after a crash is the same road.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::delivery::PushState;
use reveille_core::{Channel, Clock, DeviceToken, IdentityId, LaneKey, PushId, Reason, SipDomain, Timestamp, Verdict};
use reveille_federation::PushRequest;
use reveille_federation::feedback::FeedbackVerdict;
use reveille_providers::{Notification, Outcome, Outcomes, Sender};
use reveille_store::{Completed, FeedbackItem, Journal};
use tokio::sync::Notify;
use tracing::{debug, error, info, warn};

use crate::notification::notification;
use crate::outcome::{Facts, Judgement, judge};

/// Open pushes held in memory, all lanes together.
const WINDOW: usize = 50_000;
/// How many dead tokens are remembered against pushes that were already on their way.
const DEAD_MAX: usize = 10_000;
/// How long to wait before the journal is asked again after it could not take an outcome.
const JOURNAL_PAUSE: Duration = Duration::from_millis(500);

/// Where a lane's pushes go: a provider sender, or a test's stand-in.
pub trait Outlet: Send + Sync + 'static {
    /// Takes one push; answers `false`, and has not taken it, when its queue is full.
    fn offer(&self, push: Notification) -> bool;
}

impl Outlet for Arc<Sender> {
    fn offer(&self, push: Notification) -> bool {
        Sender::offer(self, push).is_ok()
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
}

/// One lane: its sender, and what the sender has no room for at the moment, in order.
struct Lane {
    outlet: Box<dyn Outlet>,
    waiting: Mutex<VecDeque<u64>>,
}

/// One open push in memory.
struct Entry {
    origin: SipDomain,
    lane: LaneKey,
    registered: Timestamp,
    attempt: u32,
    push: Notification,
}

/// What waits on disk only.
#[derive(Debug)]
pub(crate) struct Spill {
    /// Whether anything does.
    pub(crate) active: bool,
    /// Everything up to here is in memory or has ended.
    pub(crate) cursor: u64,
    /// The newest that is known to wait.
    pub(crate) last: u64,
    /// Calls behind `cursor` that went ahead of what waits, and until when they are of use; bounded by the window.
    pub(crate) ahead: BTreeMap<u64, Timestamp>,
}

/// A token that a provider declared dead, as one origin knows it (DESIGN.md §7: keyed by origin, app and token).
type DeadToken = (SipDomain, LaneKey, DeviceToken);

/// Sends what the journal holds, and writes down what became of it.
pub struct Dispatch {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) clock: Arc<dyn Clock>,
    lanes: OnceLock<HashMap<LaneKey, Lane>>,
    entries: Mutex<HashMap<u64, Entry>>,
    pub(crate) spill: Mutex<Spill>,
    due: Mutex<BinaryHeap<Reverse<(Timestamp, u64)>>>,
    dead: Mutex<HashMap<DeadToken, Timestamp>>,
    unwritten: Mutex<Vec<Completed>>,
    /// Wakes the task of [`crate::replay`].
    pub(crate) work: Notify,
    /// Wakes the task that sends feedback.
    feedback: Arc<Notify>,
    window: usize,
    me: Weak<Self>,
}

impl Dispatch {
    /// A dispatch without lanes; `feedback` is notified when feedback has been journaled.
    pub fn new(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>, feedback: Arc<Notify>) -> Arc<Self> {
        Self::with_window(journal, clock, feedback, WINDOW)
    }

    pub(crate) fn with_window(
        journal: Arc<dyn Journal>,
        clock: Arc<dyn Clock>,
        feedback: Arc<Notify>,
        window: usize,
    ) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            journal,
            clock,
            lanes: OnceLock::new(),
            entries: Mutex::new(HashMap::new()),
            // Whatever a former life has left is read back first.
            spill: Mutex::new(Spill { active: true, cursor: 0, last: 0, ahead: BTreeMap::new() }),
            due: Mutex::new(BinaryHeap::new()),
            dead: Mutex::new(HashMap::new()),
            unwritten: Mutex::default(),
            work: Notify::new(),
            feedback,
            window,
            me: me.clone(),
        })
    }

    /// Gives each lane its outlet. Once, before anything is taken.
    pub fn open(&self, outlets: impl IntoIterator<Item = (LaneKey, Box<dyn Outlet>)>) {
        let lane = |(key, outlet)| (key, Lane { outlet, waiting: Mutex::default() });
        assert!(self.lanes.set(outlets.into_iter().map(lane).collect()).is_ok(), "the lanes are opened once");
    }

    /// How many pushes are in memory, and whether others wait on disk only.
    pub fn load(&self) -> (usize, bool) {
        (self.entries.lock().len(), self.spill.lock().active)
    }

    /// How many more pushes may be read into memory.
    pub(crate) fn room(&self) -> usize {
        self.window.saturating_sub(self.entries.lock().len())
    }

    /// Takes pushes that have just been journaled, in the order of their numbers. Called on the journal's writer
    /// thread: it does not block.
    pub fn take(&self, mut fresh: Vec<Fresh>) {
        {
            let mut spill = self.spill.lock();
            // What is committed can be read back before the writer thread comes to hand it over here.
            fresh.retain(|fresh| fresh.seq > spill.cursor);
            let (Some(first), Some(last)) = (fresh.first(), fresh.last()) else { return };
            if !spill.active && self.room() < fresh.len() {
                info!(window = self.window, "the window is full: new pushes wait in the journal");
                *spill = Spill { active: true, cursor: first.seq - 1, last: last.seq, ahead: BTreeMap::new() };
            }
            if spill.active {
                spill.last = spill.last.max(last.seq);
                self.work.notify_one();
                // A call is worth nothing when the messages before it have had their turn.
                fresh.retain(|fresh| fresh.lane.channel == Channel::Voip);
                if spill.ahead.len() + fresh.len() > self.window {
                    // What replay finds expired it never sends.
                    let now = self.clock.now();
                    spill.ahead.retain(|_, expires| *expires > now);
                }
                fresh.truncate(self.window.saturating_sub(spill.ahead.len()));
                spill.ahead.extend(fresh.iter().map(|fresh| (fresh.seq, fresh.expires)));
            }
        }
        self.begin(fresh);
    }

    /// Puts pushes into memory and on their way.
    pub(crate) fn begin(&self, fresh: Vec<Fresh>) {
        let now = self.clock.now();
        let (mut calls, mut messages) = (Vec::new(), Vec::with_capacity(fresh.len()));
        let (entries, ended) = self.entries_of(fresh, now);
        {
            let mut kept = self.entries.lock();
            for (seq, entry) in entries {
                match entry.lane.channel {
                    Channel::Message => messages.push((entry.lane.clone(), entry.push.clone())),
                    Channel::Voip => calls.push(seq),
                }
                kept.insert(seq, entry);
            }
        }
        for (lane, push) in messages {
            self.offer(&lane, push);
        }
        self.begin_calls(calls, now);
        self.end(ended);
    }

    /// Puts pushes into memory that are to be sent later, each at its own time.
    pub(crate) fn hold(&self, fresh: Vec<(Timestamp, Fresh)>) {
        let times: Vec<_> = fresh.iter().map(|(at, fresh)| Reverse((*at, fresh.seq))).collect();
        let (entries, ended) = self.entries_of(fresh.into_iter().map(|(_, fresh)| fresh).collect(), self.clock.now());
        self.entries.lock().extend(entries);
        self.due.lock().extend(times);
        self.end(ended);
    }

    /// The entries of pushes, and how those end that cannot have one.
    fn entries_of(&self, fresh: Vec<Fresh>, now: Timestamp) -> (Vec<(u64, Entry)>, Vec<Completed>) {
        let (mut entries, mut ended) = (Vec::with_capacity(fresh.len()), Vec::new());
        for fresh in fresh {
            let seq = fresh.seq;
            match self.entry(fresh, now) {
                Ok(entry) => entries.push((seq, entry)),
                Err(completed) => ended.push(*completed),
            }
        }
        (entries, ended)
    }

    /// The entry of a push; or how it ends at once.
    fn entry(&self, fresh: Fresh, now: Timestamp) -> Result<Entry, Box<Completed>> {
        let Fresh { seq, origin, request, lane, received, expires, attempt } = fresh;
        let (push, identity) = (request.id, request.identity);
        // Cut to the time of receipt: nobody can make a token younger than our news about it (DESIGN.md §5).
        let registered = request.registered.min(received);
        let end = |state: PushState, detail: &str, verdict| {
            let feedback = feedback_for(state, push, identity, detail, verdict, now);
            Box::new(Completed { seq, state, detail: detail.to_owned(), at: now, feedback })
        };
        let Some(to) = &request.to else {
            return Err(end(PushState::Accepted, "a probe without a target", None));
        };
        if self.lanes.get().is_none_or(|lanes| !lanes.contains_key(&lane)) {
            return Err(end(PushState::NotPushed(Reason::NoSuchApp), "the app has gone from the configuration", None));
        }
        let known = {
            let dead = self.dead.lock();
            // Nearly always there is nothing to look for.
            if dead.is_empty() { None } else { dead.get(&(origin.clone(), lane.clone(), to.token.clone())).copied() }
        };
        if let Some(died) = known.filter(|&died| registered <= died) {
            let detail = "the token was declared dead while this push waited";
            return Err(end(PushState::NotPushed(Reason::IdentityDead), detail, Some(Some(died))));
        }
        let push = notification(&origin, request, seq, received, expires).expect("a request with a target");
        Ok(Entry { origin, lane, registered, attempt, push })
    }

    /// Marks calls as being sent, syncs that, and only then hands them to their lanes: nobody's phone rings twice.
    fn begin_calls(&self, seqs: Vec<u64>, now: Timestamp) {
        if seqs.is_empty() {
            return;
        }
        let (this, marked) = (self.me.clone(), seqs.clone());
        let done = move |outcome: Result<(), reveille_store::StoreError>| {
            let Some(this) = this.upgrade() else { return };
            match outcome {
                Ok(()) => this.offer_all(&marked),
                Err(reason) => {
                    // Nothing was sent, so nothing can ring twice: they are tried again while they are worth it.
                    warn!(%reason, pushes = marked.len(), "calls could not be marked as being sent");
                    this.schedule(&marked, this.clock.now().plus(JOURNAL_PAUSE));
                }
            }
        };
        self.journal.mark_sending(seqs, now, Box::new(done));
    }

    fn offer_all(&self, seqs: &[u64]) {
        let pushes: Vec<_> = {
            let entries = self.entries.lock();
            seqs.iter()
                .filter_map(|seq| entries.get(seq))
                .map(|entry| (entry.lane.clone(), entry.push.clone()))
                .collect()
        };
        for (lane, push) in pushes {
            self.offer(&lane, push);
        }
    }

    /// Hands one push to its lane; what the sender has no room for waits, in order.
    fn offer(&self, key: &LaneKey, push: Notification) {
        let Some(lane) = self.lanes.get().and_then(|lanes| lanes.get(key)) else { return };
        let mut waiting = lane.waiting.lock();
        let seq = push.key;
        if !waiting.is_empty() || !lane.outlet.offer(push) {
            waiting.push_back(seq);
        }
    }

    /// Moves what waits to the senders as far as they have room.
    pub(crate) fn pump(&self) {
        for lane in self.lanes.get().into_iter().flat_map(HashMap::values) {
            let mut waiting = lane.waiting.lock();
            while let Some(seq) = waiting.front() {
                let push = self.entries.lock().get(seq).map(|entry| entry.push.clone());
                if push.is_some_and(|push| !lane.outlet.offer(push)) {
                    break;
                }
                waiting.pop_front();
            }
        }
    }

    /// Sends these pushes again at `at`.
    pub(crate) fn schedule(&self, seqs: &[u64], at: Timestamp) {
        self.due.lock().extend(seqs.iter().map(|&seq| Reverse((at, seq))));
        self.work.notify_one();
    }

    /// Sends again whatever is due. Answers when the next one is.
    pub(crate) fn send_due(&self, now: Timestamp) -> Option<Timestamp> {
        let mut seqs = Vec::new();
        let next = {
            let mut due = self.due.lock();
            loop {
                match due.peek() {
                    Some(&Reverse((at, seq))) if at <= now => {
                        due.pop();
                        seqs.push(seq);
                    }
                    other => break other.map(|Reverse((at, _))| *at),
                }
            }
        };
        let (calls, messages) = {
            let entries = self.entries.lock();
            let is_call = |seq: &u64| entries.get(seq).is_some_and(|entry| entry.lane.channel == Channel::Voip);
            seqs.into_iter().partition::<Vec<_>, _>(is_call)
        };
        self.offer_all(&messages);
        self.begin_calls(calls, now);
        next
    }

    /// Writes down how pushes ended; only when that is synced do they leave memory.
    pub(crate) fn end(&self, completed: Vec<Completed>) {
        if completed.is_empty() {
            return;
        }
        let (this, again) = (self.me.clone(), completed.clone());
        let done = move |outcome: Result<(), reveille_store::StoreError>| {
            let Some(this) = this.upgrade() else { return };
            match outcome {
                Ok(()) => {
                    let mut entries = this.entries.lock();
                    for completed in &again {
                        entries.remove(&completed.seq);
                    }
                    drop(entries);
                    if again.iter().any(|completed| completed.feedback.is_some()) {
                        this.feedback.notify_one();
                    }
                    if this.spill.lock().active {
                        this.work.notify_one();
                    }
                }
                Err(reason) if reason.retry_helps() => {
                    warn!(%reason, pushes = again.len(), "outcomes could not be journaled; trying again");
                    this.unwritten(again);
                }
                // They stay open in the journal: after a restart a message is sent again under the same id, and a call
                // ends as outcome-unknown.
                Err(reason) => error!(%reason, pushes = again.len(), "outcomes could not be journaled"),
            }
        };
        self.journal.complete(completed, Box::new(done));
    }

    /// Keeps outcomes to be written later; the window bounds how many there can be.
    fn unwritten(&self, completed: Vec<Completed>) {
        self.unwritten.lock().extend(completed);
    }

    /// Writes what could not be written before.
    pub(crate) fn rewrite(&self) {
        let completed = std::mem::take(&mut *self.unwritten.lock());
        self.end(completed);
    }

    /// Remembers a dead token against pushes that are on their way already. Home is the one that forgets it for good.
    fn bury(&self, entry: &Entry, died: Timestamp) {
        let mut dead = self.dead.lock();
        if dead.len() >= DEAD_MAX
            && let Some(oldest) = dead.iter().min_by_key(|(_, at)| **at).map(|(key, _)| key.clone())
        {
            dead.remove(&oldest);
        }
        dead.insert((entry.origin.clone(), entry.lane.clone(), entry.push.token.clone()), died);
    }
}

impl Outcomes for Dispatch {
    fn report(&self, batch: Vec<Outcome>) {
        let now = self.clock.now();
        let (mut ended, mut again) = (Vec::with_capacity(batch.len()), Vec::new());
        {
            let mut entries = self.entries.lock();
            for outcome in batch {
                let Some(entry) = entries.get_mut(&outcome.key) else { continue };
                let facts = Facts {
                    channel: entry.lane.channel,
                    attempt: entry.attempt,
                    expires: entry.push.expires,
                    registered: entry.registered,
                    sent: outcome.sent,
                    now,
                    unit: rand::random(),
                };
                if let Verdict::Configuration { reason } = &outcome.verdict {
                    // Someone should wake up: no push of this app gets through until a person mends it.
                    error!(lane = %entry.lane, provider.reason = %reason, "the provider refuses the app's configuration");
                }
                debug!(push.id = %entry.push.push_id, lane = %entry.lane, verdict = outcome.verdict.as_str(), status = outcome.status, "answered");
                match judge(&outcome.verdict, &facts) {
                    Judgement::Again { at } => {
                        entry.attempt += 1;
                        again.push((at, outcome.key, entry.attempt));
                    }
                    Judgement::End { state, detail, dead } => {
                        if let Some(since) = dead {
                            self.bury(entry, since.unwrap_or(outcome.sent));
                        }
                        let feedback = feedback_for(state, entry.push.push_id, entry.push.identity, &detail, dead, now);
                        ended.push(Completed { seq: outcome.key, state, detail, at: now, feedback });
                    }
                }
            }
        }
        for (at, seq, attempt) in again {
            // Whether this reaches the disk changes only how soon a restart tries again.
            self.journal.reschedule(seq, at, attempt, Box::new(drop));
            self.schedule(&[seq], at);
        }
        self.end(ended);
        self.pump();
    }
}

/// The end of a push that never got as far as an answer.
pub(crate) fn ended(seq: u64, request: &PushRequest, reason: Reason, at: Timestamp) -> Completed {
    let state = PushState::NotPushed(reason);
    let feedback = feedback_for(state, request.id, request.identity, "", None, at);
    Completed { seq, state, detail: reason.sentence().to_owned(), at, feedback }
}

/// What home is told about the end of a push: that its token is dead, or why it was not pushed. A push that the
/// provider accepted is not worth a message.
fn feedback_for(
    state: PushState,
    push: PushId,
    identity: IdentityId,
    detail: &str,
    dead: Option<Option<Timestamp>>,
    at: Timestamp,
) -> Option<FeedbackItem> {
    let PushState::NotPushed(reason) = state else { return None };
    let verdict = if dead.is_some() { FeedbackVerdict::Forget } else { FeedbackVerdict::State };
    Some(FeedbackItem {
        push,
        identity,
        token_generation: 0,
        verdict: verdict.as_str().into(),
        reason: if dead.is_some() { detail.to_owned() } else { reason.as_str().into() },
        provider_time: dead.flatten(),
        at,
    })
}
