//! The simulators' clock: the machine's, or one that a test turns by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the simulators take for the time of day. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// A stopped clock shows `shift_ms` itself; a running one adds it to the machine's time.
    stopped: bool,
    shift_ms: AtomicI64,
}

impl Clock {
    /// The machine's own time, until [`Clock::advance`] is called.
    pub fn system() -> Self {
        Self { shared: Arc::new(Shared { stopped: false, shift_ms: AtomicI64::new(0) }) }
    }

    /// A clock that stands still at `unix_ms`, milliseconds since 1970 UTC, until it is turned.
    pub fn stopped_at(unix_ms: u64) -> Self {
        let shift_ms = AtomicI64::new(i64::try_from(unix_ms).unwrap_or(i64::MAX));
        Self { shared: Arc::new(Shared { stopped: true, shift_ms }) }
    }

    /// Turns the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.shared.shift_ms.fetch_add(by, Ordering::Relaxed);
    }

    /// Milliseconds since 1970 UTC.
    pub fn unix_ms(&self) -> u64 {
        let shift = self.shared.shift_ms.load(Ordering::Relaxed);
        let shown = if self.shared.stopped { shift } else { machine_ms().saturating_add(shift) };
        u64::try_from(shown).unwrap_or(0)
    }

    /// Seconds since 1970 UTC.
    pub fn unix_secs(&self) -> u64 {
        self.unix_ms() / 1000
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

fn machine_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_clock_moves_only_when_turned() {
        let clock = Clock::stopped_at(1_000_000);
        let same = clock.clone();
        assert_eq!(clock.unix_ms(), 1_000_000);
        clock.advance(Duration::from_secs(3));
        assert_eq!((same.unix_ms(), same.unix_secs()), (1_003_000, 1003));
    }

    #[test]
    fn a_running_clock_can_be_turned_forward() {
        let clock = Clock::system();
        let before = clock.unix_secs();
        clock.advance(Duration::from_secs(3600));
        assert!(clock.unix_secs() >= before + 3600);
    }
}
