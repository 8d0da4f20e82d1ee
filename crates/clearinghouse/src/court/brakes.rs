//! Brakes over time: onto disk, over what came just before, off again; and what is too old to be taken back.

use std::sync::Arc;
use std::time::Duration;

use reveille_core::{AppKey, Timestamp};
use reveille_store::{Brake, BrakeScope, Braked, StoreError, wait};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Court;

/// How often the court looks around when nothing wakes it.
const TICK: Duration = Duration::from_secs(2);
/// How often what is old is forgotten.
const PURGE_EVERY: Duration = Duration::from_secs(60);
/// Verdicts that are changed in one transaction: the writer serves others in between.
const AT_ONCE: usize = 1000;
/// How long a verdict is kept and can be taken back: as long as outcomes are remembered.
const RETENTION: Duration = Duration::from_secs(25 * 3600);

/// What was decided about a brake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decided {
    /// The provider was right: the tokens are dead, and their homes are told.
    Right,
    /// The provider was not right: the verdicts are forgotten.
    Wrong,
}

impl Court {
    /// Runs until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut purged = tokio::time::Instant::now();
        while !stop.is_cancelled() {
            if let Err(reason) = self.look_after_brakes().await {
                warn!(%reason, "the brakes could not be written; trying again");
            }
            if purged.elapsed() >= PURGE_EVERY {
                purged = tokio::time::Instant::now();
                if let Err(reason) = self.forget_old().await {
                    warn!(%reason, "old verdicts could not be forgotten");
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.work.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    /// Writes down brakes that have come on, freezes what they reach, and takes off those that hold nothing any more.
    pub(crate) async fn look_after_brakes(&self) -> Result<(), StoreError> {
        let tripped = std::mem::take(&mut self.bench.lock().tripped);
        for (index, brake) in tripped.iter().enumerate() {
            if let Err(reason) = wait(|done| self.store.brake(brake.clone(), done)).await {
                self.bench.lock().tripped.extend_from_slice(&tripped[index..]);
                return Err(reason);
            }
        }
        let on: Vec<_> = self.bench.lock().brakes.iter().cloned().collect();
        for scope in on {
            // Also later ones: answers that were judged at the same moment elsewhere may have missed the brake.
            self.freeze(&scope).await?;
            self.let_go(&scope).await?;
        }
        Ok(())
    }

    async fn freeze(&self, scope: &BrakeScope) -> Result<(), StoreError> {
        loop {
            let now = self.clock.now();
            let marks = wait(|done| self.store.freeze(scope.clone(), now, AT_ONCE, done)).await?;
            if marks.is_empty() {
                return Ok(());
            }
            {
                let mut graves = self.graves.write();
                marks.iter().for_each(|token| graves.lift(token));
            }
            metrics::counter!("reveille_verdicts_reversed_total").increment(marks.len() as u64);
            info!(app = %scope.app, verdicts = marks.len(), "verdicts of just before the brake are taken back");
            self.feedback.notify_one();
        }
    }

    /// A brake that holds nothing needs nobody's decision: it goes off when the storm is over.
    async fn let_go(&self, scope: &BrakeScope) -> Result<(), StoreError> {
        let Some(limits) = self.limits(&scope.app) else { return Ok(()) };
        let count = match self.bench.lock().gauges.get_mut(&scope.app) {
            Some(gauges) => gauges.all.count(scope.origin.as_ref(), limits, self.clock.now()),
            // None since the start, which may have been a moment ago.
            None => return Ok(()),
        };
        // A whole window with pushes that were accepted, and hardly one that was not.
        if count.answers == 0 || count.rejected * 10 > limits.rejections {
            return Ok(());
        }
        let held = self.held().await?;
        if held.iter().any(|held| held.brake.scope == *scope && held.frozen == 0) {
            info!(app = %scope.app, "the storm is over, and the brake has held no verdict: it is off");
            self.release(scope, Decided::Wrong).await?;
        }
        Ok(())
    }

    /// The brakes that are on.
    pub async fn held(&self) -> Result<Vec<Braked>, StoreError> {
        let store = Arc::clone(&self.store);
        let read = tokio::task::spawn_blocking(move || store.brakes()).await;
        read.expect("reading the journal does not panic")
    }

    /// Puts a brake on by hand: verdicts since `reach` are frozen, and homes that have heard of them are told so.
    pub async fn apply(&self, scope: BrakeScope, reach: Timestamp, why: String) -> Result<(), StoreError> {
        let brake = Brake { scope: scope.clone(), since: self.clock.now(), reach, rejected: 0, answers: 0, word: why };
        wait(|done| self.store.brake(brake, done)).await?;
        self.bench.lock().brakes.insert(scope.clone());
        self.freeze(&scope).await
    }

    /// Takes a brake off, with what somebody has decided about the verdicts that it holds. Answers how many they were.
    pub async fn release(&self, scope: &BrakeScope, decided: Decided) -> Result<usize, StoreError> {
        // First here, so that what comes now is believed; a crash in between finds it on again.
        {
            let mut bench = self.bench.lock();
            bench.brakes.remove(scope);
            bench.tripped.retain(|brake| brake.scope != *scope);
            if let Some(gauges) = bench.gauges.get_mut(&scope.app) {
                gauges.reset(scope.origin.as_ref());
            }
        }
        let (right, mut all) = (decided == Decided::Right, 0);
        loop {
            let dead = wait(|done| self.store.release(scope.clone(), right, AT_ONCE, done)).await?;
            all += dead.len();
            if right {
                let mut graves = self.graves.write();
                dead.iter().for_each(|dead| graves.bury(*dead));
            }
            self.feedback.notify_one();
            if dead.len() < AT_ONCE {
                return Ok(all);
            }
        }
    }

    async fn forget_old(&self) -> Result<(), StoreError> {
        let now = self.clock.now().millis();
        let before = Timestamp::from_millis(now.saturating_sub(RETENTION.as_millis() as u64));
        self.graves.write().forget(before);
        while wait(|done| self.store.verdicts_purge(before, AT_ONCE, done)).await? >= AT_ONCE {}
        Ok(())
    }

    /// How many tokens are dead, and which apps are braked: for status pages.
    pub fn tally(&self) -> (usize, Vec<AppKey>) {
        let apps = self.bench.lock().brakes.iter().map(|scope| scope.app.clone()).collect();
        (self.graves.read().len(), apps)
    }
}
