//! One task for the timers of all contexts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reveille_sip::Millis;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Proxy;

/// Says when the timer task has to look again.
pub(super) struct Alarm {
    begun: Instant,
    /// When it will look by itself; `u64::MAX` while it does not know.
    armed: AtomicU64,
    earlier: Notify,
}

impl Alarm {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), armed: AtomicU64::new(u64::MAX), earlier: Notify::new() }
    }

    /// Milliseconds since the proxy was made.
    pub(super) fn now(&self) -> Millis {
        Millis(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Something wants to be woken then.
    pub(super) fn set(&self, at: Millis) {
        if at.0 < self.armed.load(Ordering::Acquire) {
            self.earlier.notify_one();
        }
    }
}

impl Proxy {
    /// Runs the timers until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            // From here on every new deadline rings; whoever sets one while we look is not missed.
            self.alarm.armed.store(u64::MAX, Ordering::Release);
            let next = self.turn();
            let wait = async {
                match next {
                    None => self.alarm.earlier.notified().await,
                    Some(at) => {
                        // Timers that are close together are served together.
                        let at = at.0.max(self.alarm.now().0 + GRAIN_MILLIS);
                        self.alarm.armed.store(at, Ordering::Release);
                        let until = self.alarm.begun + Duration::from_millis(at);
                        tokio::select! {
                            () = tokio::time::sleep_until(until) => {}
                            () = self.alarm.earlier.notified() => {}
                        }
                    }
                }
            };
            if stop.run_until_cancelled(wait).await.is_none() {
                return;
            }
        }
    }

    /// Serves what is due, and says when the next will be.
    fn turn(&self) -> Option<Millis> {
        let now = self.alarm.now();
        let mut next: Option<Millis> = None;
        for mut shard in self.table.shards() {
            let later = shard.deadlines.split_off(&(now + Millis(1), 0));
            let due = std::mem::replace(&mut shard.deadlines, later);
            for (_, number) in due {
                let Some(entry) = shard.entries.get_mut(&number) else { continue };
                entry.deadline = None;
                let todo = entry.context.on_timer(now);
                self.perform(&mut shard, number, todo);
            }
            let first = shard.deadlines.first().map(|(at, _)| *at);
            next = [next, first].into_iter().flatten().min();
        }
        next
    }
}

/// Timers are served at most this often.
const GRAIN_MILLIS: u64 = 5;
