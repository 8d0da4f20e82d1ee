//! The task behind [`Dispatch`]: finds out what waits on disk, reads it back flow by flow, ends what has waited too long,
//! and sends again what is due.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reveille_core::delivery::PushState;
use reveille_core::{Channel, Reason, SipDomain, Timestamp};
use reveille_federation::PushRequest;
use reveille_federation::request::read_body;
use reveille_store::{Completed, OpenEntry, StoreError, Stretch, wait};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::dispatch::{Dispatch, Fresh, completed, ended};
use crate::lane::Lane;
use crate::leap::{Leaps, waits};

/// How many open pushes of one flow are read back from the journal at once.
const REFILL: usize = 1024;
/// How many blocks of the journal are looked at in one step of a scan: up to 64 pushes each.
const SCAN_BLOCKS: usize = 1024;
/// How many stretches with a push that has ended are read at once.
const ENDED_AT_ONCE: usize = 64;
/// How often the task looks around when nothing wakes it.
const TICK: Duration = Duration::from_millis(500);
/// How often outcomes that are old enough are forgotten.
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// Outcomes forgotten in one transaction.
const PURGE_AT_ONCE: usize = 1000;
/// How long outcomes are remembered for duplicates and trace: longer than the longest life of a request by as much as
/// clocks may differ.
const RETENTION: Duration = Duration::from_secs(25 * 3600);

/// How far ahead a push may be put off, by its provider or by us; what is due later was put off by another clock.
const LATER_MAX: Duration = Duration::from_secs(3600);

/// How far the journal has been looked through for pushes that are on disk only.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    /// What has a smaller number is of a former life.
    first_new: u64,
    /// It does not look at what has a smaller number.
    start: u64,
    /// Everything up to here is noted in its flow.
    cursor: u64,
    /// Everything up to here has been taken over from the writer.
    pub(crate) taken: u64,
    active: bool,
}

impl Scan {
    /// All that is there has to be found.
    pub(crate) const fn from_the_beginning(first_new: u64) -> Self {
        Self { first_new, start: 0, cursor: 0, taken: first_new.saturating_sub(1), active: true }
    }

    /// Whether there is anything that may not have been found yet.
    pub(crate) const fn is_active(&self) -> bool {
        self.active
    }

    /// Whether pushes of a former life may not have been found yet.
    pub(crate) const fn is_behind(&self) -> bool {
        self.active && self.cursor + 1 < self.first_new
    }

    /// Whether these pushes are of a former life.
    pub(crate) const fn is_former(&self, stretch: &Stretch) -> bool {
        !stretch.reaches_to(self.first_new)
    }

    /// Whether it sees everything from this number on.
    pub(crate) const fn begins_before(&self, number: u64) -> bool {
        self.start <= number
    }

    /// Looks through the journal again, from this number on.
    const fn again(&mut self, first: u64) {
        (self.active, self.start, self.cursor) = (true, first, first.saturating_sub(1));
    }
}

/// What was read back of one flow.
#[derive(Default)]
struct ReadBack {
    /// What is sent, each with the time before which it is not, if that lies ahead.
    go: Vec<(Option<Timestamp>, Fresh)>,
    over: Vec<Completed>,
}

impl Dispatch {
    /// Runs until `stop`. What is on its way then is the senders' to finish.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(Arc::clone(&self).carry_on(stop.clone()), self.purge(stop));
    }

    async fn carry_on(self: Arc<Self>, stop: CancellationToken) {
        let mut looked = Instant::now();
        let mut leaps = Leaps::since(self.clock.now());
        while !stop.is_cancelled() {
            let more = self.scan_some().await | self.refill_some().await;
            let now = self.clock.now();
            if looked.elapsed() >= TICK {
                looked = Instant::now();
                self.end_on_disk(now).await;
                self.rewrite();
                self.pump();
            }
            // What is over is not to be sent when its time has come, too.
            let over = self.expire(now);
            let next = [self.send_due(until(&mut leaps, now)), over].into_iter().flatten().min();
            if more {
                continue;
            }
            let wait = next.map_or(TICK, |at| at.since(now).min(TICK));
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.work.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Forgets what is old enough, a little at a time: in between, the writer serves whoever waits.
    async fn purge(self: Arc<Self>, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(PURGE_EVERY)).await.is_some() {
            let now = self.clock.now().millis();
            let before = Timestamp::from_millis(now.saturating_sub(RETENTION.as_millis() as u64));
            loop {
                let outcomes = wait(|done| self.journal.purge(before, PURGE_AT_ONCE, done)).await;
                let feedback = wait(|done| self.journal.feedback_purge(before, PURGE_AT_ONCE, done)).await;
                match (outcomes, feedback) {
                    (Ok(outcomes), Ok(feedback)) if outcomes.max(feedback) >= PURGE_AT_ONCE => {}
                    (Ok(_), Ok(_)) => break,
                    (Err(reason), _) | (_, Err(reason)) => {
                        warn!(%reason, "old outcomes could not be forgotten");
                        break;
                    }
                }
            }
        }
    }

    /// Reads back what waits on disk, as far as there is room.
    #[cfg(test)]
    pub(crate) async fn refill(&self) {
        while self.scan_some().await | self.refill_some().await {}
    }

    /// Looks through some more of the journal for what is on disk only. Answers whether it goes on at once.
    async fn scan_some(&self) -> bool {
        self.noted.store(self.all().iter().map(|lane| lane.stretches()).sum(), Ordering::Relaxed);
        let asked = {
            let mut scan = self.scan.lock();
            if !scan.active {
                // Some have more on disk than is noted of it, and have come to the end of that.
                let Some(first) = self.all().iter().filter_map(|lane| lane.wants_scan()).min() else { return false };
                scan.again(first);
            }
            scan.clone()
        };
        let (after, to) = (asked.cursor, asked.taken);
        if after >= to {
            let mut scan = self.scan.lock();
            if scan.taken == to {
                // Nothing has been taken over meanwhile, and nothing will be while this is held.
                self.all().iter().for_each(|lane| lane.scanned(&asked));
                scan.active = false;
                info!(noted = self.noted.load(Ordering::Relaxed), "what waits on disk only has been found");
            }
            return true;
        }
        let found = self.reading(move |journal| journal.waiting(after, to, SCAN_BLOCKS)).await;
        let (found, seen) = match found {
            Ok(found) => found,
            Err(reason) => {
                warn!(%reason, "the journal could not be looked through; trying again");
                return false;
            }
        };
        let mut homeless = Vec::new();
        for open in found {
            match self.lane(&open.lane) {
                Some(lane) => {
                    let noted = lane.found(&open.origin, open.stretch, &asked, self.noted_max());
                    self.noted.fetch_add(noted, Ordering::Relaxed);
                }
                // What was taken in this life is over by now.
                None if asked.is_former(&open.stretch) => homeless.push(open.stretch),
                None => {}
            }
        }
        self.end_homeless(homeless).await;
        self.scan.lock().cursor = seen;
        true
    }

    /// Ends what has no lane any more.
    async fn end_homeless(&self, stretches: Vec<Stretch>) {
        if stretches.is_empty() {
            return;
        }
        let now = self.clock.now();
        match self.reading(move |journal| journal.read(&stretches)).await {
            Ok(open) => {
                let ReadBack { go, mut over } = sort(open, now);
                over.extend(go.iter().map(|(_, fresh)| self.without_lane(fresh)));
                self.end((Vec::new(), over));
            }
            Err(reason) => warn!(%reason, "pushes of apps that have gone could not be read; they wait for a restart"),
        }
    }

    /// Reads back a chunk of one flow in each lane. Answers whether there was any.
    async fn refill_some(&self) -> bool {
        let mut any = false;
        for lane in self.all() {
            if self.is_held_up() {
                return false;
            }
            if let Some((flow, stretches)) = lane.next_chunk(REFILL) {
                any |= self.read_back(lane, flow, stretches).await;
            }
        }
        any
    }

    /// Takes up again what one flow has on disk. Answers whether that could be read.
    async fn read_back(&self, lane: &Arc<Lane>, flow: u32, stretches: Vec<Stretch>) -> bool {
        let places: usize = stretches.iter().map(Stretch::len).sum();
        let (now, asked) = (self.clock.now(), stretches.clone());
        match self.reading(move |journal| journal.read(&asked).map(|open| sort(open, now))).await {
            Ok(ReadBack { go, over }) => {
                let kept = places - go.len();
                let mut ended = (Vec::new(), over);
                self.begin(lane, go.into_iter().map(|(due, fresh)| (flow, due, fresh)), &mut ended);
                lane.chunk_done(flow, kept, None);
                self.end(ended);
                true
            }
            Err(reason) => {
                warn!(%reason, lane = %lane.key, "the journal could not be read back; trying again");
                lane.chunk_done(flow, places, Some(stretches));
                false
            }
        }
    }

    /// Ends what has waited on disk for longer than it was worth.
    pub(crate) async fn end_on_disk(&self, now: Timestamp) {
        for lane in self.all() {
            for (origin, stretches) in lane.ended_on_disk(now, ENDED_AT_ONCE) {
                if self.is_held_up() {
                    return;
                }
                self.end_some_on_disk(lane, &origin, stretches, now).await;
            }
        }
    }

    async fn end_some_on_disk(&self, lane: &Lane, origin: &SipDomain, stretches: Vec<Stretch>, now: Timestamp) {
        let asked = stretches.clone();
        let open = match self.reading(move |journal| journal.read(&asked)).await {
            Ok(open) => open,
            Err(reason) => return warn!(%reason, lane = %lane.key, "what has ended on disk could not be read"),
        };
        let (over, left): (Vec<_>, Vec<_>) = open.into_iter().partition(|open| open.expires <= now);
        let left = stretches.into_iter().map(|stretch| {
            let mut still: Option<Stretch> = None;
            for open in left.iter().filter(|open| stretch.reaches(open.seq)) {
                match &mut still {
                    Some(still) => still.add(open.seq, open.expires),
                    none => *none = Some(Stretch::of(open.seq, open.expires)),
                }
            }
            (stretch, still)
        });
        lane.prune(origin, &left.collect::<Vec<_>>());
        self.end((Vec::new(), sort(over, now).over));
    }

    /// Asks the journal on a thread where that may take its time.
    async fn reading<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn reveille_store::Journal) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let journal = Arc::clone(&self.journal);
        let read = tokio::task::spawn_blocking(move || read(&*journal)).await;
        read.expect("reading the journal does not panic")
    }
}

/// Until when what waits is due: whatever waits, once the clock was set back.
fn until(leaps: &mut Leaps, now: Timestamp) -> Timestamp {
    let Some(back) = leaps.back(now) else { return now };
    warn!(seconds = back.as_secs(), "the clock was set back; whatever waits to be tried again is tried now");
    Timestamp::from_millis(u64::MAX)
}

/// Sorts what was read back into what is sent and what is over.
fn sort(open: Vec<OpenEntry>, now: Timestamp) -> ReadBack {
    let mut back = ReadBack { go: Vec::with_capacity(open.len()), over: Vec::new() };
    for entry in open {
        let OpenEntry { seq, origin, lane, received, expires, due, attempt, sending, request, .. } = entry;
        let Some(request) = one_request(&request) else {
            let state = PushState::NotPushed(Reason::InvalidRequest);
            back.over.push(completed(seq, state, "the journaled request cannot be read by this version", now, None));
            continue;
        };
        if sending && lane.channel == Channel::Voip {
            // Its first byte may have gone out before the crash: the phone must not ring twice.
            back.over.push(ended(seq, &request, Reason::OutcomeUnknown, now));
        } else if expires <= now {
            back.over.push(ended(seq, &request, Reason::Expired, now));
        } else {
            let fresh = Fresh { seq, origin, request, lane, received, expires, attempt, due: None, sending: false };
            back.go.push((waits(due, now, LATER_MAX).then_some(due), fresh));
        }
    }
    back
}

fn one_request(body: &[u8]) -> Option<PushRequest> {
    read_body(body).ok()?.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_makes_everything_due_once() {
        let (at, late) = (Timestamp::from_millis, Timestamp::from_millis(u64::MAX));
        let mut leaps = Leaps::since(at(9_000_000));
        let seen = [9_000_100, 2_000_000, 2_000_500].map(|now| until(&mut leaps, at(now)));
        assert_eq!(seen, [at(9_000_100), late, at(2_000_500)]);
    }

    #[test]
    fn a_scan_is_behind_until_it_has_seen_all_of_the_former_life() {
        let mut scan = Scan::from_the_beginning(128);
        assert!(scan.is_active() && scan.is_behind());
        scan.cursor = 126;
        assert!(scan.is_behind());
        scan.cursor = 127;
        assert!(scan.is_active() && !scan.is_behind());
        scan.again(300);
        assert_eq!((scan.cursor, scan.is_behind()), (299, false));
        // A journal that was never written to has nothing to look for.
        assert!(!Scan::from_the_beginning(0).is_behind());
    }
}
