//! The tasks of a lane: a slot per connection that opens the next when one retires, more of them while there is a crowd,
//! one that hands back what has waited too long, one that keeps the credential fresh, one that wakes probes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::{Alarm, Clock, Timestamp, Verdict};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::circuit::Way;
use super::connection::{Connection, Retired};
use super::dial::dial;
use super::dialect::{Blame, Dialect, retry};
use super::gates::{Gates, Lesson, Which};
use super::health::{Board, Health};
use super::meter::Meter;
use super::papers::Papers;
use super::queue::{Queue, Waiting};
use super::{Access, SenderConfig, SenderFault};
use crate::notification::{EXPIRED_BEFORE_SENDING, Outcome, Outcomes};
use crate::tls::Trust;

/// What the tasks of one lane share.
pub(super) struct Lane {
    pub(super) config: SenderConfig,
    papers: Mutex<Arc<Papers>>,
    pub(super) gates: Gates,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) queue: Queue,
    pub(super) board: Board,
    pub(super) meter: Meter,
    pub(super) stop: CancellationToken,
    outcomes: Arc<dyn Outcomes>,
    numbers: AtomicUsize,
    /// A connection was full while more waited.
    is_crowded: AtomicBool,
    crowd: Notify,
    /// Connections that were opened for a crowd, and attempts at it.
    spares: AtomicUsize,
}

impl Lane {
    pub(super) fn new(
        config: SenderConfig,
        outcomes: Arc<dyn Outcomes>,
        clock: Arc<dyn Clock>,
        stop: CancellationToken,
    ) -> Result<Self, SenderFault> {
        let papers = Papers::new(&config, config.access.clone(), &config.trust, &clock)?;
        Ok(Self {
            papers: Mutex::new(Arc::new(papers)),
            gates: config.circuits.gates(&config.lane, &config.target),
            clock,
            queue: Queue::new(config.queue_max),
            board: Board::default(),
            meter: Meter::new(&config.lane),
            stop,
            outcomes,
            numbers: AtomicUsize::new(0),
            is_crowded: AtomicBool::new(false),
            crowd: Notify::new(),
            spares: AtomicUsize::new(0),
            config,
        })
    }

    /// As whom the next connection is opened.
    pub(super) fn papers(&self) -> Arc<Papers> {
        Arc::clone(&self.papers.lock())
    }

    /// Comes with another credential from now on. Connections of the old one take no more pushes.
    pub(super) fn renew(&self, access: Access, trust: &Trust) -> Result<(), SenderFault> {
        let fresh = Arc::new(Papers::new(&self.config, access, trust, &self.clock)?);
        let old = std::mem::replace(&mut *self.papers.lock(), fresh);
        old.replaced.cancel();
        self.try_now();
        Ok(())
    }

    /// Asks again at once where a circuit is open.
    pub(super) fn try_now(&self) {
        self.gates.try_now(Instant::now());
        self.queue.nudge(None);
    }

    /// How the lane is.
    pub(super) fn health(&self) -> Health {
        Health { broken: self.gates.broken(), ..self.board.health(self.queue.len()) }
    }

    /// A connection is full while more waits.
    pub(super) fn crowded(&self) {
        if !self.is_crowded.swap(true, Ordering::Relaxed) {
            self.crowd.notify_one();
        }
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
        if accepted < batch.len() {
            for outcome in batch.iter().filter(|outcome| outcome.verdict != Verdict::Accepted) {
                self.meter.outcomes(&outcome.verdict, 1);
            }
        }
        self.outcomes.report(batch);
    }

    /// Learns what a batch of answers says of the provider.
    pub(super) fn learn(&self, lesson: &Lesson, dialect: &dyn Dialect, now: Instant, wall: Timestamp) {
        if lesson.good > 0 {
            self.board.accepted();
        }
        for (which, opened) in self.gates.learn(lesson, |word| dialect.blame(word), now, wall) {
            self.turned(which, opened);
        }
        for bad in &lesson.bad {
            let Verdict::Configuration { reason } = &bad.verdict else { continue };
            let blame = dialect.blame(reason);
            if blame == Blame::Token && !self.gates.tokens_agree() {
                continue;
            }
            // The app's circuit alarms for all its lanes. A topic is of one lane, and that of calls opens none.
            if self.board.refused(wall, reason) && blame == Blame::Channel {
                self.alarm_refused(reason);
            }
        }
    }

    /// Tells that a circuit has opened or closed.
    fn turned(&self, which: Which, opened: bool) {
        let lane = &self.config.lane;
        let why = self.gates.broken().map(|broken| broken.why).unwrap_or_default();
        self.meter.turned(which, opened);
        match (which, opened) {
            // Nothing of this app gets through until a person has mended it.
            (Which::App, true) => self.alarm_refused(&why),
            (which, true) => {
                let circuit = which.as_str();
                tracing::warn!(alarm = %Alarm::PushCircuitOpen, %lane, circuit, provider.reason = %why, "{}", Alarm::PushCircuitOpen.sentence());
            }
            (which, false) => tracing::info!(%lane, circuit = which.as_str(), "pushes are sent again"),
        }
    }

    /// Tells that a person has to mend a key or a topic.
    fn alarm_refused(&self, why: &str) {
        let lane = &self.config.lane;
        tracing::error!(alarm = %Alarm::AppRefused, %lane, provider.reason = why, "{}", Alarm::AppRefused.sentence());
    }

    /// What a provider's clock has said.
    pub(super) fn compare_clocks(&self, ahead_secs: Option<i64>) {
        let Some(secs) = ahead_secs else { return };
        let matters = Some(secs).filter(|secs| secs.unsigned_abs() > SKEW_MAX_SECS);
        if self.board.skewed(matters) {
            let lane = &self.config.lane;
            match matters {
                Some(secs) => {
                    tracing::warn!(alarm = %Alarm::PushClock, %lane, ahead_secs = secs, "{}", Alarm::PushClock.sentence());
                }
                None => tracing::info!(%lane, "this machine's clock and the provider's agree again"),
            }
        }
    }

    /// Why pushes have waited too long, as a sentence.
    fn why_nothing_moves(&self) -> String {
        let trouble = self.board.last_trouble();
        let because = trouble.map_or_else(String::new, |trouble| format!(": {trouble}"));
        if let Some(broken) = self.gates.broken() {
            return match broken.which {
                Which::App => format!("the provider refuses the app: {}", broken.why),
                Which::Host | Which::Lane => format!("the provider fails or asks for a pause: {}", broken.why),
            };
        }
        if self.board.connections() == 0 {
            format!("no connection to the provider{because}")
        } else if !matches!(self.papers().dialect.authorization(self.clock.now()), Ok(Some(_))) {
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
    tasks.spawn(grow_with_the_crowd(Arc::clone(lane), tasks.clone()));
    tasks.spawn(hand_back_in_time(Arc::clone(lane)));
    tasks.spawn(keep_authorized(Arc::clone(lane)));
    tasks.spawn(wake_probes(Arc::clone(lane)));
}

/// Keeps one connection open. A retired one finishes on its own task while the next is opened.
async fn keep_connected(lane: Arc<Lane>, tasks: TaskTracker) {
    let mut failures = 0;
    while let Some(lived) = connect_once(&lane, &tasks, false).await {
        failures = match lived {
            Lived::Useful | Lived::Replaced => 0,
            Lived::InVain => failures + 1,
        };
        // Another credential is no reason to wait.
        if lived != Lived::Replaced {
            let pause = pause(failures, rand::random(), lane.config.reconnect_max);
            if lane.stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }
}

/// What a connection has been, seen from its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lived {
    /// It came to nothing.
    InVain,
    /// Its credential was replaced.
    Replaced,
    /// It has served.
    Useful,
}

/// Opens a connection, and waits until it takes no more pushes. `None` if the lane stops before it is open.
async fn connect_once(lane: &Arc<Lane>, tasks: &TaskTracker, spare: bool) -> Option<Lived> {
    let stop = &lane.stop;
    stop.run_until_cancelled(may_dial(lane)).await?;
    let papers = lane.papers();
    let dialing = dial(&lane.config.target, &papers.tls, lane.config.connect_timeout);
    let reach = &lane.gates.host.reach;
    match stop.run_until_cancelled(dialing).await? {
        Err(fault) => {
            lane.trouble(fault.to_string());
            if fault.is_of_the_host()
                && reach.failed(1, &fault.to_string(), None, Instant::now(), lane.clock.now(), rand::random())
            {
                tracing::error!(alarm = %Alarm::PushHostUnreachable, lane = %lane.config.lane, trouble = %fault, "{}", Alarm::PushHostUnreachable.sentence());
            } else {
                reach.unused(Instant::now());
            }
            Some(Lived::InVain)
        }
        Ok(_) if papers.replaced.is_cancelled() => Some(Lived::Replaced),
        Ok(transport) => {
            reach.close();
            let number = lane.numbers.fetch_add(1, Ordering::Relaxed);
            let (connection, retired) =
                Connection::new(Arc::clone(lane), Arc::clone(&papers), number, spare, transport);
            tasks.spawn(connection);
            let useful = retired.await.is_ok_and(|Retired { useful }| useful);
            Some(match (papers.replaced.is_cancelled(), useful) {
                (true, _) => Lived::Replaced,
                (false, true) => Lived::Useful,
                (false, false) => Lived::InVain,
            })
        }
    }
}

/// Waits while the host cannot be reached and another connection is trying already.
async fn may_dial(lane: &Lane) {
    let reach = &lane.gates.host.reach;
    while reach.way(Instant::now()) == Way::Shut {
        let at = reach.next().unwrap_or_else(Instant::now).min(Instant::now() + DIAL_LOOK);
        tokio::time::sleep_until(at.max(Instant::now() + DIAL_LOOK / 10)).await;
    }
}

/// Opens another connection while those that there are have no room, one after the other, up to the lane's bound. Each
/// goes again when it has been idle for a while.
async fn grow_with_the_crowd(lane: Arc<Lane>, tasks: TaskTracker) {
    let most = lane.config.connections_max.saturating_sub(lane.config.connections);
    loop {
        lane.is_crowded.store(false, Ordering::Relaxed);
        if lane.stop.run_until_cancelled(lane.crowd.notified()).await.is_none() {
            return;
        }
        // A batch that happens to fill a connection is no crowd: it is one if it happens again.
        lane.is_crowded.store(false, Ordering::Relaxed);
        if lane.stop.run_until_cancelled(tokio::time::sleep(lane.config.grow_after)).await.is_none() {
            return;
        }
        let still = lane.is_crowded.load(Ordering::Relaxed);
        if still && lane.spares.load(Ordering::Relaxed) < most {
            lane.spares.fetch_add(1, Ordering::Relaxed);
            tasks.spawn(spare(Arc::clone(&lane), tasks.clone()));
        }
    }
}

/// One connection more, for as long as it is needed.
async fn spare(lane: Arc<Lane>, tasks: TaskTracker) {
    connect_once(&lane, &tasks, true).await;
    lane.spares.fetch_sub(1, Ordering::Relaxed);
}

/// Wakes connections when a circuit closes or a probe is due.
async fn wake_probes(lane: Arc<Lane>) {
    let mut not_before = Instant::now();
    loop {
        let due = lane.gates.next().map(|at| at.max(not_before));
        let wait = async {
            match due {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let told = async {
            tokio::select! {
                () = wait => {}
                () = lane.gates.changed.notified() => {}
            }
        };
        if lane.stop.run_until_cancelled(told).await.is_none() {
            return;
        }
        lane.meter.circuits(|which| lane.gates.is_open(which));
        lane.queue.nudge(None);
        // A probe that nobody takes, since there is no connection, does not spin here.
        not_before = Instant::now() + PROBE_LOOK;
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
    while !lane.stop.is_cancelled() {
        let papers = lane.papers();
        let keep = papers.replaced.run_until_cancelled(papers.dialect.keep(&changed));
        if lane.stop.run_until_cancelled(keep).await.is_none() {
            return;
        }
    }
}

const RECONNECT_BASE: Duration = Duration::from_millis(100);
/// How often it is looked whether a host can be reached again.
const DIAL_LOOK: Duration = Duration::from_millis(500);
/// The least time between two wake-ups for a probe.
const PROBE_LOOK: Duration = Duration::from_millis(250);
/// Clocks that differ by more are worth a word: federation counts the same (DESIGN.md §5).
const SKEW_MAX_SECS: u64 = 30;
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
