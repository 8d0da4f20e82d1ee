//! The settings that hold now, with what is asked of them for every message read out of them once.

use std::sync::Arc;

use parking_lot::Mutex;
use reveille_core::settings::{AccessEdgeConfiguration, Snapshot};

use crate::pace::Allowance;

/// One version of the settings.
pub(crate) struct Now {
    pub(crate) settings: Arc<Snapshot>,
    pub(crate) access: AccessEdgeConfiguration,
    pub(crate) allowance: Allowance,
}

/// The latest version that was looked at.
#[derive(Default)]
pub(crate) struct Latest(Mutex<Option<Arc<Now>>>);

impl Now {
    pub(crate) fn of(settings: &Arc<Snapshot>) -> Self {
        let access = settings.access_edge();
        Self { settings: Arc::clone(settings), allowance: Allowance::of(&access), access }
    }

    pub(crate) fn version(&self) -> u64 {
        self.settings.version()
    }
}

impl Latest {
    /// What holds with these settings.
    pub(crate) fn with(&self, settings: &Arc<Snapshot>) -> Arc<Now> {
        let mut latest = self.0.lock();
        match &*latest {
            Some(now) if Arc::ptr_eq(&now.settings, settings) => Arc::clone(now),
            _ => Arc::clone(latest.insert(Arc::new(Now::of(settings)))),
        }
    }
}
