//! `[clearinghouse.handles]`: the keys that open sealed handles.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reveille_clearinghouse::handle::{Folder, Handles};
use serde::{Deserialize, Serialize};

use super::check::Fault;
use crate::SystemClock;

/// `[clearinghouse.handles]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HandleKeys {
    /// The folder of key files; `New-CsPushHandleKey` makes it, and the first key in it.
    pub keys: PathBuf,
    /// How many days a key opens handles after a newer one was made.
    #[serde(default = "default_keep_days")]
    pub keep_days: u32,
}

impl HandleKeys {
    /// As the clearing house has it.
    pub(crate) fn folder(&self) -> Folder {
        Folder { path: self.keys.clone(), keep: Duration::from_secs(u64::from(self.keep_days) * 86_400) }
    }
}

/// A season: whoever opens the app once in this time seals anew.
const fn default_keep_days() -> u32 {
    90
}

/// What is wrong with it.
pub(super) fn check(handles: &HandleKeys) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |key: &str, sentence: String| faults.push(Fault { key: key.into(), sentence });
    if !(1..=3650).contains(&handles.keep_days) {
        let sentence = format!("{} is not between 1 day and 3650, which is ten years", handles.keep_days);
        add("clearinghouse.handles.keep_days", sentence);
    }
    if let Err(fault) = Handles::read(handles.folder(), Arc::new(SystemClock)) {
        add("clearinghouse.handles.keys", fault.to_string());
    }
    faults
}
