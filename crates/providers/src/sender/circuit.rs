//! One circuit breaker: closed while all is well; open after failures, until a time; then half open, where one push
//! probes and its answer decides. Pure: the time comes in.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

/// When a circuit opens, and how often it is probed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Patience {
    /// The weight of failures in a row that opens it.
    pub failures: u32,
    /// The first pause before a probe.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

/// Whether pushes may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// As many as there is room for.
    Free,
    /// One, and its answer decides. Whoever is told so holds the only permit.
    Probe,
    /// None.
    Shut,
}

/// Why nothing is sent, for status pages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Open {
    pub(super) since: Timestamp,
    pub(super) why: Box<str>,
}

/// One breaker. What several lanes share is one circuit, told by all of them.
#[derive(Debug)]
pub(super) struct Circuit {
    patience: Patience,
    /// Closed, and no failure counted: the only thing that a push looks at while all is well.
    quiet: AtomicBool,
    state: Mutex<State>,
    /// Whom to tell when it opens and closes.
    lanes: Mutex<Vec<Weak<Notify>>>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// The weight of failures in a row while closed.
    failures: u32,
    /// How often in a row it has opened.
    trips: u32,
    open: Option<Open>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    Closed,
    Open { until: Instant },
    Probing { since: Instant },
}

impl Circuit {
    pub(super) fn new(patience: Patience) -> Self {
        let state = State { phase: Phase::Closed, failures: 0, trips: 0, open: None };
        Self { patience, quiet: AtomicBool::new(true), state: Mutex::new(state), lanes: Mutex::default() }
    }

    /// `told` is notified whenever the circuit opens or closes, for as long as it lives.
    pub(super) fn tell(&self, told: &Arc<Notify>) {
        let mut lanes = self.lanes.lock();
        lanes.retain(|known| known.strong_count() > 0);
        lanes.push(Arc::downgrade(told));
    }

    /// Whether a push would find it closed; no lock while all is well.
    pub(super) fn is_closed(&self) -> bool {
        self.quiet.load(Ordering::Acquire) || self.state.lock().phase == Phase::Closed
    }

    /// Whether a probe is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.state.lock().phase {
            Phase::Closed => false,
            Phase::Open { until } => until <= now,
            Phase::Probing { since } => since + PROBE_LIFE <= now,
        }
    }

    /// When the next probe is due, if it is not closed.
    pub(super) fn next(&self) -> Option<Instant> {
        match self.state.lock().phase {
            Phase::Closed => None,
            Phase::Open { until } => Some(until),
            Phase::Probing { since } => Some(since + PROBE_LIFE),
        }
    }

    /// Asks for the permit to probe where it is not closed.
    pub(super) fn way(&self, now: Instant) -> Way {
        if self.quiet.load(Ordering::Acquire) {
            return Way::Free;
        }
        let mut state = self.state.lock();
        let due = match state.phase {
            Phase::Closed => return Way::Free,
            Phase::Open { until } => until <= now,
            // Whoever had the permit has gone with it.
            Phase::Probing { since } => since + PROBE_LIFE <= now,
        };
        if due {
            state.phase = Phase::Probing { since: now };
            Way::Probe
        } else {
            Way::Shut
        }
    }

    /// The permit has decided nothing, and comes back at this time.
    pub(super) fn unused(&self, until: Instant) {
        let mut state = self.state.lock();
        if let Phase::Probing { .. } = state.phase {
            state.phase = Phase::Open { until };
        }
    }

    /// A failure of this weight; `after` is the least pause that the other side asked for. Answers whether it has
    /// opened the circuit for the first time since all was well.
    pub(super) fn failed(
        &self,
        weight: u32,
        why: &str,
        after: Option<Duration>,
        now: Instant,
        wall: Timestamp,
        unit: f64,
    ) -> bool {
        self.quiet.store(false, Ordering::Release);
        let mut state = self.state.lock();
        match state.phase {
            Phase::Closed => {
                state.failures = state.failures.saturating_add(weight);
                if state.failures < self.patience.failures {
                    return false;
                }
            }
            // Stragglers: they were sent before it opened.
            Phase::Open { until } => {
                let until = until.max(now + after.unwrap_or_default().min(AFTER_MAX));
                state.phase = Phase::Open { until };
                return false;
            }
            Phase::Probing { .. } => {}
        }
        state.trips = state.trips.saturating_add(1);
        let pause = self.patience.pause(state.trips, unit).max(after.unwrap_or_default().min(AFTER_MAX));
        state.phase = Phase::Open { until: now + pause };
        let first = state.open.is_none();
        let since = state.open.as_ref().map_or(wall, |open| open.since);
        state.open = Some(Open { since, why: why.into() });
        drop(state);
        self.notify();
        first
    }

    /// Something succeeded. An open circuit closes by its probe only: what comes while it is open was sent before.
    /// Answers whether it has closed it.
    pub(super) fn succeeded(&self) -> bool {
        self.settle(|phase| matches!(phase, Phase::Closed | Phase::Probing { .. }))
    }

    /// Closes it in any case: what was wrong is certainly over.
    pub(super) fn close(&self) -> bool {
        self.settle(|_| true)
    }

    fn settle(&self, may: impl Fn(Phase) -> bool) -> bool {
        if self.quiet.load(Ordering::Acquire) {
            return false;
        }
        let mut state = self.state.lock();
        if !may(state.phase) {
            return false;
        }
        let was_open = state.open.take().is_some();
        *state = State { phase: Phase::Closed, failures: 0, trips: 0, open: None };
        self.quiet.store(true, Ordering::Release);
        drop(state);
        if was_open {
            self.notify();
        }
        was_open
    }

    /// The next push probes at once: somebody has mended something, or asks.
    pub(super) fn try_now(&self, now: Instant) {
        let mut state = self.state.lock();
        if let Phase::Open { .. } = state.phase {
            state.phase = Phase::Open { until: now };
            state.trips = 0;
            drop(state);
            self.notify();
        }
    }

    /// Why it is not closed.
    pub(super) fn open(&self) -> Option<Open> {
        if self.quiet.load(Ordering::Acquire) { None } else { self.state.lock().open.clone() }
    }

    fn notify(&self) {
        for lane in self.lanes.lock().iter().filter_map(Weak::upgrade) {
            lane.notify_one();
        }
    }
}

impl Patience {
    /// The pause before the next probe, after it has opened so often in a row. `unit` is random in `0.0..1.0`: lanes
    /// that were stopped together do not come back together.
    fn pause(&self, trips: u32, unit: f64) -> Duration {
        let ceiling = self.first.saturating_mul(1 << trips.saturating_sub(1).min(20)).min(self.longest);
        ceiling.mul_f64(unit.clamp(0.0, 1.0).mul_add(0.5, 0.5))
    }
}

/// A probe without an answer for so long is given up, and another may be sent.
const PROBE_LIFE: Duration = Duration::from_secs(20);
/// The longest that a lane stands still because a provider says so; then one push asks again. What each push was told
/// holds for it all the same.
const AFTER_MAX: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { failures: 3, first: Duration::from_secs(4), longest: Duration::from_secs(10) };
    const WALL: Timestamp = Timestamp::from_millis(7);

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn open(now: Instant) -> Circuit {
        let circuit = Circuit::new(PATIENCE);
        assert!(circuit.failed(3, "it fails", None, now, WALL, 1.0));
        circuit
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_a_success_between_them_starts_the_count_anew() {
        let (circuit, now) = (Circuit::new(PATIENCE), Instant::now());
        for (failures, opens) in [(2, false), (2, false), (3, true)] {
            circuit.succeeded();
            for _ in 0..failures {
                circuit.failed(1, "it fails", None, now, WALL, 1.0);
            }
            assert_eq!((circuit.open().is_some(), circuit.way(now) == Way::Shut), (opens, opens), "{failures}");
        }
        assert_eq!(circuit.open(), Some(Open { since: WALL, why: "it fails".into() }));
    }

    #[test]
    fn half_open_it_lets_one_probe_through_whose_answer_decides() {
        let now = Instant::now();
        let circuit = open(now);
        assert_eq!(circuit.way(now + secs(3)), Way::Shut);
        assert_eq!(circuit.way(now + secs(4)), Way::Probe);
        assert_eq!(circuit.way(now + secs(4)), Way::Shut, "there is one permit");
        assert!(
            !circuit.failed(1, "still", None, now + secs(5), Timestamp::from_millis(9), 1.0),
            "it was open already"
        );
        assert_eq!(circuit.next(), Some(now + secs(13)), "the pause has doubled");
        assert_eq!(circuit.open(), Some(Open { since: WALL, why: "still".into() }), "since when stays");
        assert_eq!(circuit.way(now + secs(13)), Way::Probe);
        assert!(circuit.succeeded());
        assert_eq!((circuit.way(now), circuit.open(), circuit.next()), (Way::Free, None, None));
    }

    #[test]
    fn answers_to_what_was_sent_before_it_opened_neither_close_it_nor_make_it_wait_longer() {
        let now = Instant::now();
        let circuit = open(now);
        assert!(!circuit.succeeded());
        circuit.failed(1, "a straggler", None, now + secs(1), WALL, 1.0);
        assert_eq!(circuit.next(), Some(now + secs(4)));
    }

    #[test]
    fn what_the_provider_asks_for_is_the_least_pause_up_to_a_quarter_of_an_hour() {
        let now = Instant::now();
        for (asked, pause) in [(1, 4), (60, 60), (86_400, 900)] {
            let circuit = Circuit::new(PATIENCE);
            circuit.failed(3, "503", Some(secs(asked)), now, WALL, 1.0);
            assert_eq!(circuit.next(), Some(now + secs(pause)), "{asked}");
        }
        let circuit = open(now);
        circuit.failed(1, "503", Some(secs(60)), now, WALL, 1.0);
        assert_eq!(circuit.next(), Some(now + secs(60)), "also if only a straggler brings it");
    }

    #[test]
    fn a_probe_that_is_lost_is_replaced_and_a_permit_that_nobody_used_comes_back() {
        let now = Instant::now();
        let circuit = open(now);
        assert_eq!(circuit.way(now + secs(4)), Way::Probe);
        assert_eq!(circuit.way(now + secs(4) + PROBE_LIFE), Way::Probe);
        circuit.unused(now + secs(31));
        assert_eq!(circuit.way(now + secs(30)), Way::Shut);
        assert_eq!(circuit.way(now + secs(31)), Way::Probe);
    }

    #[test]
    fn who_has_mended_it_need_not_wait() {
        let now = Instant::now();
        let circuit = open(now);
        let told = Arc::new(Notify::new());
        circuit.tell(&told);
        circuit.try_now(now);
        assert!(futures_util::FutureExt::now_or_never(told.notified()).is_some());
        assert_eq!(circuit.way(now), Way::Probe);
        assert!(circuit.close());
        assert!(futures_util::FutureExt::now_or_never(told.notified()).is_some());
        assert!(circuit.is_closed());
    }

    #[test]
    fn the_pause_doubles_to_its_limit_and_half_of_it_is_random() {
        for (trips, unit, millis) in [(1, 1.0, 4000), (1, 0.0, 2000), (2, 1.0, 8000), (3, 1.0, 10_000), (99, 0.5, 7500)]
        {
            assert_eq!(PATIENCE.pause(trips, unit), Duration::from_millis(millis), "{trips} {unit}");
        }
    }
}
