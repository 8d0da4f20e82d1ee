//! What somebody may send, and have under way.

use std::time::Instant;

use parking_lot::Mutex;

use crate::limits::{Bucket, Limits, Load};
use crate::pace::Pace;

/// What somebody may send, and have under way.
pub(crate) struct Share {
    pub(super) load: Load,
    pub(super) purse: Mutex<Purse>,
}

/// What may be sent.
pub(super) struct Purse {
    pub(super) bucket: Bucket,
    pub(super) endings: Bucket,
    pub(super) pace: Pace,
}

impl Share {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let bucket = || Bucket::new(limits.messages_per_s, now);
        let purse = Purse { bucket: bucket(), endings: bucket(), pace: Pace::new(now) };
        Self { load: Load::default(), purse: Mutex::new(purse) }
    }

    /// Requests under way.
    pub(crate) const fn load(&self) -> &Load {
        &self.load
    }

    /// Whether it has written to too many addresses.
    pub(crate) fn is_watched(&self) -> bool {
        self.purse.lock().pace.is_watched()
    }

    /// To how many it has written in this period.
    pub(crate) fn contacts(&self) -> usize {
        self.purse.lock().pace.contacts()
    }
}
