//! What the scheduled tests found: the latest of each, in a file that outlives the process.
//!
//! One small JSON file, written whole beside its old self and put in its place: a crash leaves the one or the other.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use reveille_core::Timestamp;
use serde::{Deserialize, Serialize};

/// Results kept of one test, and tests.
const KEPT: usize = 24;
const TESTS_MAX: usize = 16;

/// What one run found.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Found {
    /// When it began.
    pub at: Timestamp,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// Whether there was nothing to test: what it is about is not set up here.
    #[serde(default)]
    pub skipped: bool,
    /// The stage where it ended, if it did not.
    pub stage: String,
    /// Whose fault that is.
    pub fault: String,
    /// What an administrator reads.
    pub sentence: String,
    /// What to do.
    pub remedy: String,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What is known of one test.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Known {
    /// Since when it is scheduled here: the first run is due one interval later.
    pub since: Timestamp,
    /// The newest first.
    pub found: Vec<Found>,
}

/// The results of all tests.
pub struct Results {
    file: Option<PathBuf>,
    known: Mutex<BTreeMap<String, Known>>,
}

impl Results {
    /// Those of a file, which need not exist yet. A file that cannot be read is left alone and said.
    pub fn open(file: &Path) -> Self {
        let known = match std::fs::read(file) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|fault| {
                tracing::warn!(%fault, file = %file.display(), "the results of earlier tests cannot be read; they begin anew");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        Self { file: Some(file.to_owned()), known: Mutex::new(known) }
    }

    /// Results that nobody keeps.
    pub fn forgotten() -> Self {
        Self { file: None, known: Mutex::default() }
    }

    /// What is known of every test, by name.
    pub fn all(&self) -> BTreeMap<String, Known> {
        self.known.lock().clone()
    }

    /// What is known of one test, which is scheduled from `now` on if it was not before.
    pub fn of(&self, test: &str, now: Timestamp) -> Known {
        let mut known = self.known.lock();
        if let Some(known) = known.get(test) {
            return known.clone();
        }
        let fresh = Known { since: now, found: Vec::new() };
        if known.len() < TESTS_MAX {
            known.insert(test.to_owned(), fresh.clone());
            self.keep(&known);
        }
        fresh
    }

    /// One run more.
    pub fn add(&self, test: &str, found: Found) {
        let mut known = self.known.lock();
        if known.len() >= TESTS_MAX && !known.contains_key(test) {
            return;
        }
        let one = known.entry(test.to_owned()).or_default();
        one.found.insert(0, found);
        one.found.truncate(KEPT);
        self.keep(&known);
    }

    fn keep(&self, known: &BTreeMap<String, Known>) {
        let Some(file) = &self.file else { return };
        if let Err(reason) = replace(file, &serde_json::to_vec_pretty(known).unwrap_or_default()) {
            tracing::warn!(%reason, file = %file.display(), "the results of the tests cannot be kept");
        }
    }
}

/// Writes the whole file beside the old one and puts it in its place.
fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    let beside = file.with_extension("new");
    let mut new = std::fs::File::create(&beside)?;
    new.write_all(text)?;
    new.sync_all()?;
    std::fs::rename(&beside, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(at: u64, succeeded: bool) -> Found {
        let empty = String::new;
        Found {
            at: Timestamp::from_millis(at),
            succeeded,
            skipped: false,
            stage: empty(),
            fault: empty(),
            sentence: empty(),
            remedy: empty(),
            took_ms: 3,
        }
    }

    #[test]
    fn results_outlive_the_process_newest_first_and_bounded() {
        let file = std::env::temp_dir().join(format!("reveille-probes-{}.json", std::process::id()));
        let results = Results::open(&file);
        assert_eq!(results.of("Test-A", Timestamp::from_millis(7)).since.millis(), 7);
        (0..100).for_each(|at| results.add("Test-A", found(at, at % 2 == 0)));
        let again = Results::open(&file);
        let known = again.of("Test-A", Timestamp::from_millis(900));
        assert_eq!((known.since.millis(), known.found.len(), known.found[0].at.millis()), (7, KEPT, 99));
        (0..100).for_each(|number| again.add(&format!("Test-{number}"), found(1, true)));
        assert_eq!(again.all().len(), TESTS_MAX);
        std::fs::write(&file, "no JSON").unwrap();
        assert!(Results::open(&file).all().is_empty());
        std::fs::remove_file(&file).unwrap();
    }
}
