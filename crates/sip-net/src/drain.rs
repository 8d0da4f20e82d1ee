//! A connection that takes nothing new ends when nothing is under way on it any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::close::CloseReason;
use crate::flow::Flow;

/// A connection that takes nothing new.
#[derive(Debug)]
pub(crate) struct Retired {
    pub(crate) flow: Arc<Flow>,
    pub(crate) pulse: Arc<Pulse>,
}

/// When a peer was last heard from.
#[derive(Debug)]
pub(crate) struct Pulse {
    born: Instant,
    last_ms: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { born: Instant::now(), last_ms: AtomicU64::new(0) })
    }

    /// The peer was heard from; says whether for the first time.
    pub(crate) fn beat(&self) -> bool {
        // 0 is for never.
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        self.last_ms.swap(now, Ordering::Relaxed) == 0
    }

    fn last(&self) -> Instant {
        self.born + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}

impl Retired {
    /// Closes the connection once its peer has been silent for `quiet`, at the latest after `most`.
    pub(crate) async fn drain(self, quiet: Duration, most: Duration) {
        let (since, flow) = (Instant::now(), &self.flow);
        let end = since + most;
        loop {
            let due = (self.pulse.last().max(since) + quiet).min(end);
            if Instant::now() >= due {
                break;
            }
            tokio::select! {
                () = flow.closed() => return,
                () = sleep_until(due) => {}
            }
        }
        tracing::debug!(flow = %flow.id(), peer.address = %flow.remote(), "a retired connection is closed");
        flow.close(CloseReason::Retired);
        flow.closed().await;
    }
}
