//! The keys together: which one seals, which still open, and when each retires.

use std::path::Path;
use std::time::Duration;

use reveille_core::Timestamp;
use serde::Serialize;

use super::key::{Key, KeyFault, files};
use super::text::{INFO, KeyId};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How many keys a folder may hold: decades of yearly rotation.
pub(super) const KEYS_MAX: usize = 64;

/// Keys, the newest first. The newest seals; each older one opens until it retires: `keep` after the next was made.
pub(super) struct Ring {
    keys: Vec<Key>,
    keep: Duration,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Devices seal with it.
    Sealing,
    /// What was sealed with it is still opened.
    Opening,
    /// It opens nothing any more.
    Retired,
}

impl Phase {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sealing => "sealing",
            Self::Opening => "opening",
            Self::Retired => "retired",
        }
    }
}

/// One key as administrators see it: nothing of its secret half.
#[derive(Clone, Debug)]
pub struct KeyStatus {
    /// Its name.
    pub id: KeyId,
    /// Where it is in its life.
    pub phase: Phase,
    /// When it was made.
    pub made: Timestamp,
    /// When it retires; never while there is no newer one.
    pub retires: Option<Timestamp>,
    /// Requests whose handle it opened since this process has started.
    pub opened: u64,
    /// When the last of them came.
    pub last_opened: Option<Timestamp>,
    /// The public half as it is published.
    pub public: String,
    /// Its file.
    pub file: String,
}

/// What devices are told (docs/handles.md): how to seal, and to what.
#[derive(Serialize)]
struct Published {
    /// The names of RFC 9180 §7.
    suite: Suite,
    info: &'static str,
    keys: Vec<PublishedKey>,
}

#[derive(Serialize)]
struct Suite {
    kem: &'static str,
    kdf: &'static str,
    aead: &'static str,
}

#[derive(Serialize)]
struct PublishedKey {
    id: String,
    public: String,
    /// Whether to seal with this one. Handles of the others are opened, and should be sealed anew.
    seals: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_until: Option<String>,
}

impl Ring {
    /// No keys.
    pub(super) const fn empty() -> Self {
        Self { keys: Vec::new(), keep: Duration::ZERO }
    }

    /// The keys of a folder. What `before` has counted is kept.
    pub(super) fn read(folder: &Path, keep: Duration, before: &Self) -> Result<Self, KeyFault> {
        let files = files(folder).map_err(|source| KeyFault::Io { path: folder.to_owned(), source })?;
        if files.len() > KEYS_MAX {
            return Err(KeyFault::TooMany { count: files.len(), max: KEYS_MAX });
        }
        let mut keys = Vec::with_capacity(files.len());
        for file in files {
            let key = Key::read(&file)?;
            if let Some(known) = before.key(key.id) {
                key.use_of.take_over(&known.use_of);
            }
            keys.push(key);
        }
        keys.sort_unstable_by_key(|key| std::cmp::Reverse((key.made, key.id)));
        // A copy under another name is the same key.
        keys.dedup_by_key(|key| key.id);
        Ok(Self { keys, keep })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key of that name, whatever its phase.
    pub(super) fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }

    /// The key of that name, if it opens at this time.
    pub(super) fn opening(&self, id: KeyId, now: Timestamp) -> Option<&Key> {
        let index = self.keys.iter().position(|key| key.id == id)?;
        self.retires(index).is_none_or(|at| now < at).then(|| &self.keys[index])
    }

    fn retires(&self, index: usize) -> Option<Timestamp> {
        let newer = index.checked_sub(1)?;
        Some(self.keys[newer].made.plus(self.keep))
    }

    fn phase(&self, index: usize, now: Timestamp) -> Phase {
        match self.retires(index) {
            None => Phase::Sealing,
            Some(at) if now < at => Phase::Opening,
            Some(_) => Phase::Retired,
        }
    }

    /// Every key, the newest first.
    pub(super) fn list(&self, now: Timestamp) -> Vec<KeyStatus> {
        let status = |(index, key): (usize, &Key)| KeyStatus {
            id: key.id,
            phase: self.phase(index, now),
            made: key.made,
            retires: self.retires(index),
            opened: key.use_of.opened(),
            last_opened: key.use_of.last(),
            public: URL_SAFE_NO_PAD.encode(&key.public),
            file: key.path.display().to_string(),
        };
        self.keys.iter().enumerate().map(status).collect()
    }

    /// The document for devices.
    pub(super) fn published(&self, now: Timestamp) -> String {
        let keys = self.list(now).into_iter().filter(|key| key.phase != Phase::Retired);
        let document = Published {
            suite: Suite { kem: "DHKEM(P-256, HKDF-SHA256)", kdf: "HKDF-SHA256", aead: "AES-256-GCM" },
            info: std::str::from_utf8(INFO).expect("it is ASCII"),
            keys: keys
                .map(|key| PublishedKey {
                    id: key.id.to_string(),
                    public: key.public,
                    seals: key.phase == Phase::Sealing,
                    opens_until: key.retires.map(|at| at.to_string()),
                })
                .collect(),
        };
        serde_json::to_string(&document).expect("text and switches always serialise")
    }
}
