//! Sealed handles: a provider's token that only the clearing house can open (HPKE, RFC 9180), so that the organisation
//! which registers it, keeps it and sends it here never learns it (DESIGN.md §7).
//!
//! A handle takes the place of the token in a push request. Intake opens it and everything behind intake sees the token:
//! the journal keeps it opened, so that what was accepted can be sent whatever becomes of the key, and throttles,
//! verdicts and collapse keys are those of the device however often it seals anew.

mod key;
mod opened;
mod purse;
mod ring;
#[cfg(test)]
mod tests;
mod text;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use reveille_core::{Alarm, Channel, Clock, DeviceToken, Reason, SipDomain, Timestamp};
use reveille_federation::request::To;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use key::KeyFault;
pub use ring::{KeyStatus, Phase};
pub use text::{INFO, KeyId, NoKeyId, PREFIX, is_handle};

use key::Key;
use opened::{Opened, mark};
use purse::Purses;
use ring::{KEYS_MAX, Ring};
use text::{binding, read};

/// How often keys that are about to retire are looked for.
const LOOK: Duration = Duration::from_secs(3600);
/// How long before a key retires it is an alarm that handles under it still come.
const NOTICE: Duration = Duration::from_secs(14 * 86_400);
/// Handles under a key count as still coming if one came within this time.
const STILL: Duration = Duration::from_secs(7 * 86_400);

/// Opens handles, and keeps the keys for it.
pub struct Handles {
    /// Where the keys are, if this clearing house takes handles.
    folder: Option<Folder>,
    ring: ArcSwap<Ring>,
    opened: Mutex<Opened>,
    purses: Mutex<Purses>,
    /// Held while the folder changes.
    changing: Mutex<()>,
    clock: Arc<dyn Clock>,
}

/// Where keys lie, and how long an old one still opens.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The folder of key files.
    pub path: PathBuf,
    /// How long a key opens after a newer one was made.
    pub keep: Duration,
}

/// Why a handle cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unopened {
    /// Its key is not among ours, or has retired.
    KeyGone,
    /// It is not written as handles are, or there is no token in it.
    Malformed,
    /// It was sealed for another organisation, app or environment, or is damaged: which of these cannot be told.
    NotYours,
    /// Too many of this organisation's at once.
    TooMany {
        /// When to come again.
        after: Duration,
    },
}

impl Unopened {
    /// The word for it in answers, traces and metrics.
    pub const fn reason(self) -> Reason {
        match self {
            Self::KeyGone => Reason::HandleKeyGone,
            Self::Malformed => Reason::InvalidRequest,
            Self::NotYours => Reason::HandleNotYours,
            Self::TooMany { .. } => Reason::Throttled,
        }
    }

    /// When it helps to come again, if it does.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::TooMany { after } => Some(after),
            Self::KeyGone | Self::Malformed | Self::NotYours => None,
        }
    }
}

impl Handles {
    /// For a clearing house without handles: every one that comes is refused as [`Unopened::KeyGone`].
    pub fn none(clock: Arc<dyn Clock>) -> Self {
        Self::with(None, Ring::empty(), clock)
    }

    /// Reads the keys of a folder. It may be empty, or not there yet.
    pub fn read(folder: Folder, clock: Arc<dyn Clock>) -> Result<Self, KeyFault> {
        let ring = Ring::read(&folder.path, folder.keep, &Ring::empty())?;
        Ok(Self::with(Some(folder), ring, clock))
    }

    fn with(folder: Option<Folder>, ring: Ring, clock: Arc<dyn Clock>) -> Self {
        Self {
            folder,
            ring: ArcSwap::from_pointee(ring),
            opened: Mutex::default(),
            purses: Mutex::default(),
            changing: Mutex::new(()),
            clock,
        }
    }

    /// Opens the handle in `to` that `origin` has presented for a push on `channel`. Costs some 100 µs where it was not
    /// opened lately, else 2.
    pub fn open(&self, origin: &SipDomain, to: &To, channel: Channel, now: Timestamp) -> Result<DeviceToken, Unopened> {
        let outcome = self.look_up(origin, to, channel, now);
        let word = match &outcome {
            Ok(_) => "opened",
            Err(unopened) => unopened.reason().as_str(),
        };
        metrics::counter!("reveille_handles_total", "outcome" => word).increment(1);
        outcome
    }

    fn look_up(&self, origin: &SipDomain, to: &To, channel: Channel, now: Timestamp) -> Result<DeviceToken, Unopened> {
        let sealed = read(to.token.expose()).ok_or(Unopened::Malformed)?;
        let ring = self.ring.load();
        let key = ring.opening(sealed.key, now).ok_or(Unopened::KeyGone)?;
        let binding = binding(origin, to);
        let mark = mark(&binding, to.token.expose());
        if let Some(token) = self.opened.lock().find(&mark) {
            key.use_of.note(now);
            return Ok(token);
        }
        self.purses.lock().take(origin, channel, now).map_err(|after| Unopened::TooMany { after })?;
        let token = key.open(&sealed.bytes, binding.as_bytes()).ok_or(Unopened::NotYours)?;
        let token = plain(token).ok_or(Unopened::Malformed)?;
        key.use_of.note(now);
        self.opened.lock().keep(mark, token.clone());
        Ok(token)
    }

    /// The document that devices seal by: the suite and the public keys (docs/handles.md). Nothing in it is secret.
    pub fn published(&self) -> String {
        self.ring.load().published(self.clock.now())
    }

    /// Every key, the newest first.
    pub fn keys(&self) -> Vec<KeyStatus> {
        self.ring.load().list(self.clock.now())
    }

    /// Reads the folder again. A fault changes nothing.
    pub fn reread(&self) -> Result<(), KeyFault> {
        let _changing = self.changing.lock();
        match &self.folder {
            Some(folder) => self.take_in(folder),
            None => Ok(()),
        }
    }

    /// Makes a key: from now on devices are told to seal with it, and the one before it retires in time.
    pub fn make_key(&self) -> Result<KeyStatus, KeyFault> {
        let _changing = self.changing.lock();
        let folder = self.folder.as_ref().ok_or(KeyFault::NoFolder)?;
        self.take_in(folder)?;
        let count = self.ring.load().len();
        if count >= KEYS_MAX {
            return Err(KeyFault::TooMany { count: count + 1, max: KEYS_MAX });
        }
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder.path);
        made.map_err(|source| KeyFault::Io { path: folder.path.clone(), source })?;
        let id = Key::make(&folder.path, self.clock.now())?.id;
        self.take_in(folder)?;
        info!(key = %id, "a new key for handles");
        self.status(id)
    }

    /// Removes a key and its file at once: what was sealed with it is refused from now on. The one that seals stays.
    pub fn remove_key(&self, id: KeyId) -> Result<KeyStatus, KeyFault> {
        let _changing = self.changing.lock();
        let folder = self.folder.as_ref().ok_or(KeyFault::NoFolder)?;
        let status = self.status(id)?;
        if status.phase == Phase::Sealing {
            return Err(KeyFault::InUse { id });
        }
        let path = PathBuf::from(&status.file);
        std::fs::remove_file(&path).map_err(|source| KeyFault::Io { path, source })?;
        self.take_in(folder)?;
        info!(key = %id, "a key for handles is removed");
        Ok(status)
    }

    fn status(&self, id: KeyId) -> Result<KeyStatus, KeyFault> {
        self.keys().into_iter().find(|key| key.id == id).ok_or(KeyFault::Unknown { id })
    }

    fn take_in(&self, folder: &Folder) -> Result<(), KeyFault> {
        let ring = Ring::read(&folder.path, folder.keep, &self.ring.load())?;
        self.ring.store(Arc::new(ring));
        Ok(())
    }

    /// Tells in time of keys that go while handles under them still come, until `stop`.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        loop {
            for ending in self.ending(self.clock.now()) {
                let KeyStatus { id, opened, .. } = ending;
                let retires = ending.retires.map(|at| at.to_string()).unwrap_or_default();
                let alarm = Alarm::HandleKeyEnding;
                warn!(alarm = alarm.as_str(), key = %id, retires, opened, "{}", alarm.sentence());
            }
            if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    /// The keys that retire soon and under which handles still come.
    fn ending(&self, now: Timestamp) -> Vec<KeyStatus> {
        let mut keys = self.ring.load().list(now);
        keys.retain(|key| {
            let soon = key.retires.is_some_and(|at| at.since(now) < NOTICE);
            let still = key.last_opened.is_some_and(|at| now.since(at) < STILL);
            key.phase == Phase::Opening && soon && still
        });
        keys
    }
}

/// The token that was in a handle: visible ASCII, as every provider's is, and no other handle.
fn plain(bytes: Vec<u8>) -> Option<DeviceToken> {
    let text = String::from_utf8(bytes).ok()?;
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.starts_with(PREFIX);
    good.then(|| DeviceToken::new(text))
}
