//! The tasks of a lane: a slot per connection that opens the next when one retires, one that hands back what has waited
//! too long, one that keeps the credential fresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reveille_core::{Clock, Provider, Verdict};
use rustls::ClientConfig;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::dial::dial;
use super::dialect::{Dialect, retry};
use super::health::Board;
use super::meter::Meter;
use super::queue::{Queue, Waiting};
use super::{Access, SenderConfig, SenderFault};
use crate::apns::{self, Apns};
use crate::fcm::Fcm;
use crate::notification::{EXPIRED_BEFORE_SENDING, Outcome, Outcomes};

/// What the tasks of one lane share.
pub(super) struct Lane {
    pub(super) config: SenderConfig,
    pub(super) dialect: Box<dyn Dialect>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) queue: Queue,
    pub(super) board: Board,
    pub(super) meter: Meter,
    pub(super) stop: CancellationToken,
    outcomes: Arc<dyn Outcomes>,
    tls: Arc<ClientConfig>,
    numbers: AtomicUsize,
}

impl Lane {
    pub(super) fn new(
        config: SenderConfig,
        outcomes: Arc<dyn Outcomes>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<Self, SenderFault> {
        let (app, channel) = (&config.lane.app, config.lane.channel);
        let authority = config.target.authority();
        let mut identity = None;
        let dialect: Box<dyn Dialect> = match (app.provider, &config.access) {
            (Provider::Apns, Access::Apns(access)) => {
                if let apns::Access::Certificate(certificate) = access {
                    identity = Some(Arc::clone(certificate));
                }
                Box::new(Apns::new(access.clone(), &app.app, channel, &authority)?)
            }
            (Provider::Fcm, Access::Fcm(account)) => {
                Box::new(Fcm::new(Arc::clone(account), Arc::clone(&clock), &app.app, channel, &authority)?)
            }
            (lane, Access::Apns(_) | Access::Fcm(_)) => return Err(SenderFault::WrongAccess { lane }),
        };
        Ok(Self {
            dialect,
            clock,
            queue: Queue::new(config.queue_max),
            board: Board::default(),
            meter: Meter::new(&config.lane),
            stop,
            outcomes,
            tls: config.trust.client(identity.as_deref())?,
            numbers: AtomicUsize::new(0),
            config,
        })
    }

    /// A connection takes pushes from now on.
    pub(super) fn opened(&self) {
        self.board.opened();
        self.meter.connections(self.board.connections());
    }

    /// A connection takes no more.
    pub(super) fn retired(&self) {
        self.board.retired();
        self.meter.connections(self.board.connections());
    }

    pub(super) fn launched(&self, count: usize) {
        self.meter.in_flight(self.board.launched(count));
    }

    pub(super) fn landed(&self, count: usize) {
        self.meter.in_flight(self.board.landed(count));
    }

    /// Notes what happens in an ordinary life too: providers close connections as they like.
    pub(super) fn note(&self, sentence: String) {
        tracing::info!(lane = %self.config.lane, reason = %sentence, "provider connection ended");
        self.board.trouble(self.clock.now(), sentence);
    }

    /// Notes what went wrong, for the status page and the log.
    pub(super) fn trouble(&self, sentence: impl Into<Box<str>>) {
        let sentence = sentence.into();
        tracing::warn!(lane = %self.config.lane, trouble = %sentence, "provider trouble");
        self.board.trouble(self.clock.now(), sentence);
    }

    pub(super) fn report(&self, batch: Vec<Outcome>) {
        // Most are accepted, in long runs; the others are few.
        let accepted = batch.iter().filter(|outcome| outcome.verdict == Verdict::Accepted).count();
        self.meter.outcomes(&Verdict::Accepted, accepted as u64);
        if accepted > 0 {
            self.board.accepted();
        }
        for outcome in batch.iter().filter(|outcome| outcome.verdict != Verdict::Accepted) {
            if let Verdict::Configuration { reason } = &outcome.verdict {
                self.board.refused(self.clock.now(), reason);
            }
            self.meter.outcomes(&outcome.verdict, 1);
        }
        self.outcomes.report(batch);
    }

    /// Why pushes have waited too long, as a sentence.
    fn why_nothing_moves(&self) -> String {
        let trouble = self.board.last_trouble();
        let because = trouble.map_or_else(String::new, |trouble| format!(": {trouble}"));
        if self.board.connections() == 0 {
            format!("no connection to the provider{because}")
        } else if !matches!(self.dialect.authorization(self.clock.now()), Ok(Some(_))) {
            format!("no credential for the provider{because}")
        } else {
            "the provider takes pushes too slowly".to_owned()
        }
    }

    /// Closes the queue, and hands back all that waits in it.
    pub(super) fn hand_back_the_rest(&self) {
        self.queue.close();
        self.hand_back(self.queue.overdue(Instant::now()), STOPPED);
    }

    /// Hands back pushes that were never written.
    fn hand_back(&self, waiting: Vec<Waiting>, reason: &str) {
        if waiting.is_empty() {
            return;
        }
        let now = self.clock.now();
        let back = waiting.into_iter().map(|Waiting { push, .. }| {
            let reason = if push.expires <= now { EXPIRED_BEFORE_SENDING } else { reason };
            Outcome { key: push.key, verdict: retry(reason, None, true), sent: now, status: 0, provider_id: None }
        });
        self.report(back.collect());
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("lane", &self.config.lane).field("board", &self.board).finish_non_exhaustive()
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.hand_back_the_rest();
    }
}

/// Starts the lane's tasks; `tasks` is who awaits them.
pub(super) fn run(lane: &Arc<Lane>, tasks: &TaskTracker) {
    for _ in 0..lane.config.connections.max(1) {
        tasks.spawn(keep_connected(Arc::clone(lane), tasks.clone()));
    }
    tasks.spawn(hand_back_in_time(Arc::clone(lane)));
    tasks.spawn(keep_authorized(Arc::clone(lane)));
}

/// Keeps one connection open. A retired one finishes on its own task while the next is opened.
async fn keep_connected(lane: Arc<Lane>, tasks: TaskTracker) {
    let mut failures = 0;
    loop {
        let dialing = dial(&lane.config.target, &lane.tls, lane.config.connect_timeout);
        match lane.stop.run_until_cancelled(dialing).await {
            None => return,
            Some(Err(fault)) => {
                lane.trouble(fault.to_string());
                failures += 1;
            }
            Some(Ok(open)) => {
                let number = lane.numbers.fetch_add(1, Ordering::Relaxed);
                let (connection, retired) = Connection::new(Arc::clone(&lane), number, open);
                tasks.spawn(connection);
                let useful = retired.await.is_ok_and(|retired| retired.useful);
                failures = if useful { 0 } else { failures + 1 };
            }
        }
        let pause = pause(failures, rand::random(), lane.config.reconnect_max);
        if lane.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// How long to wait before connecting, after so many attempts in a row that came to nothing. `unit` is random in
/// `0.0..1.0`. Never quite nothing: APNs takes quick reconnects for an attack.
fn pause(failures: u32, unit: f64, longest: Duration) -> Duration {
    let ceiling = RECONNECT_BASE.saturating_mul(1 << failures.min(16)).min(longest);
    ceiling.mul_f64(unit.clamp(0.1, 1.0))
}

/// Hands back what has waited longer than the lane's patience, and at the end all that waits.
async fn hand_back_in_time(lane: Arc<Lane>) {
    let patience = lane.config.patience;
    loop {
        let next = lane.queue.oldest().unwrap_or_else(Instant::now) + patience;
        if lane.stop.run_until_cancelled(tokio::time::sleep_until(next)).await.is_none() {
            break;
        }
        let Some(limit) = Instant::now().checked_sub(patience) else { continue };
        let overdue = lane.queue.overdue(limit);
        if overdue.is_empty() {
            continue;
        }
        lane.hand_back(overdue, &lane.why_nothing_moves());
    }
    lane.board.draining();
    lane.hand_back_the_rest();
}

async fn keep_authorized(lane: Arc<Lane>) {
    let changed = |trouble: Option<String>| {
        if let Some(trouble) = trouble {
            lane.trouble(trouble);
        }
        lane.queue.nudge(None);
    };
    lane.stop.run_until_cancelled(lane.dialect.keep(&changed)).await;
}

const RECONNECT_BASE: Duration = Duration::from_millis(100);
const STOPPED: &str = "the sender has stopped";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_its_limit_and_is_never_nothing() {
        let longest = Duration::from_secs(10);
        for (failures, unit, millis) in
            [(0, 1.0, 100), (0, 0.0, 10), (1, 1.0, 200), (3, 0.5, 400), (20, 1.0, 10_000), (u32::MAX, 1.0, 10_000)]
        {
            assert_eq!(pause(failures, unit, longest), Duration::from_millis(millis), "{failures} {unit}");
        }
    }
}
