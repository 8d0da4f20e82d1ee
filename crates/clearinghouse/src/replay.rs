//! The task behind [`Dispatch`]: reads back what waits on disk, and sends again what is due.

use std::sync::Arc;
use std::time::Duration;

use reveille_core::delivery::PushState;
use reveille_core::{Channel, Reason, Timestamp};
use reveille_federation::request::read_body;
use reveille_store::{Completed, OpenEntry, wait};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::dispatch::{Dispatch, Fresh, ended};

/// How many open pushes are read back from the journal at once.
const REFILL: usize = 2000;
/// How often the task looks around when nothing wakes it.
const TICK: Duration = Duration::from_millis(500);
/// How often outcomes that are old enough are forgotten.
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// Outcomes forgotten in one transaction.
const PURGE_AT_ONCE: usize = 5000;
/// How long outcomes are remembered for duplicates and trace: longer than the longest life of a request by as much as
/// clocks may differ.
const RETENTION: Duration = Duration::from_secs(25 * 3600);

impl Dispatch {
    /// Runs until `stop`. What is on its way then is the senders' to finish.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(Arc::clone(&self).carry_on(stop.clone()), self.purge(stop));
    }

    async fn carry_on(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            self.refill().await;
            self.rewrite();
            self.pump();
            let now = self.clock.now();
            let next = self.send_due(now);
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
    pub(crate) async fn refill(&self) {
        loop {
            let (cursor, last, limit) = {
                let spill = self.spill.lock();
                let room = self.room();
                if !spill.active || room == 0 {
                    return;
                }
                (spill.cursor, spill.last, REFILL.min(room))
            };
            let journal = Arc::clone(&self.journal);
            let read = tokio::task::spawn_blocking(move || journal.open(cursor, limit)).await;
            let mut open = match read.expect("reading the journal does not panic") {
                Ok(open) => open,
                Err(reason) => {
                    warn!(%reason, "the journal could not be read back; trying again");
                    return;
                }
            };
            let mut spill = self.spill.lock();
            match open.last() {
                Some(newest) => spill.cursor = newest.seq,
                // Nothing was left to read, and nothing has been added since this was asked.
                None if spill.last <= last.max(cursor) => {
                    spill.active = false;
                    spill.ahead.clear();
                    return;
                }
                None => spill.cursor = cursor.max(last),
            }
            let cursor = spill.cursor;
            open.retain(|entry| !spill.ahead.contains_key(&entry.seq));
            spill.ahead = spill.ahead.split_off(&(cursor + 1));
            drop(spill);
            info!(pushes = open.len(), "read back from the journal");
            self.replay(open);
        }
    }

    /// Takes open pushes up again.
    fn replay(&self, open: Vec<OpenEntry>) {
        let now = self.clock.now();
        let (mut go, mut wait, mut over) = (Vec::with_capacity(open.len()), Vec::new(), Vec::new());
        for entry in open {
            let OpenEntry { seq, origin, lane, received, expires, due, attempt, sending, request, .. } = entry;
            let Some(request) = read_body(&request).ok().and_then(|mut requests| requests.pop()) else {
                let state = PushState::NotPushed(Reason::InvalidRequest);
                let detail = "the journaled request cannot be read by this version".to_owned();
                over.push(Completed { seq, state, detail, at: now, feedback: None });
                continue;
            };
            if sending && lane.channel == Channel::Voip {
                // Its first byte may have gone out before the crash: the phone must not ring twice.
                over.push(ended(seq, &request, Reason::OutcomeUnknown, now));
            } else if expires <= now {
                over.push(ended(seq, &request, Reason::Expired, now));
            } else {
                let fresh = Fresh { seq, origin, request, lane, received, expires, attempt };
                if due > now { wait.push((due, fresh)) } else { go.push(fresh) }
            }
        }
        self.end(over);
        self.begin(go);
        self.hold(wait);
    }
}
