//! What the homes have asked for, what they were told, and what became of their tokens.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use reveille_core::{Channel, PushId, SipDomain};

/// One push request, whatever became of it.
pub(crate) struct Asked {
    pub(crate) origin: SipDomain,
    pub(crate) id: PushId,
    pub(crate) token: String,
    pub(crate) channel: Channel,
    /// Which of the device's conversations it belongs to.
    pub(crate) conversation: usize,
    /// When it was answered as kept, milliseconds since 1970.
    pub(crate) accepted: Option<u64>,
    /// Whether the home had been told before that this token is dead.
    pub(crate) too_late: bool,
}

/// The book of all homes.
#[derive(Default)]
pub(crate) struct Ledger {
    asked: Mutex<Vec<Asked>>,
    /// When a home was told that a token is dead, milliseconds since 1970.
    forgotten: Mutex<HashMap<String, u64>>,
    tokens: Mutex<HashMap<PushId, String>>,
    over: AtomicBool,
    counts: Mutex<Counts>,
}

/// How the requests were answered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: usize,
    pub(crate) repeated: usize,
    pub(crate) duplicates: usize,
    /// Answers other than 202, and what other than "journaled" or "duplicate" stood in a 202.
    pub(crate) refused: usize,
}

impl Ledger {
    /// Enters a request in the order of its conversation; answers its number.
    pub(crate) fn ask(&self, mut asked: Asked) -> usize {
        asked.too_late = self.forgotten.lock().contains_key(&asked.token);
        self.tokens.lock().insert(asked.id, asked.token.clone());
        let mut all = self.asked.lock();
        all.push(asked);
        all.len() - 1
    }

    pub(crate) fn accepted(&self, number: usize) {
        self.asked.lock()[number].accepted.get_or_insert_with(now_ms);
    }

    /// A home hears that the token of this push is dead.
    pub(crate) fn forget(&self, push: PushId) {
        self.forget_at(push, now_ms());
    }

    pub(crate) fn forget_at(&self, push: PushId, unix_ms: u64) {
        if let Some(token) = self.tokens.lock().get(&push) {
            self.forgotten.lock().entry(token.clone()).or_insert(unix_ms);
        }
    }

    pub(crate) fn is_forgotten(&self, token: &str) -> bool {
        self.forgotten.lock().contains_key(token)
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock());
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock()
    }

    /// Homes ask for nothing new from now on.
    pub(crate) fn no_more(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&[Asked], &HashMap<String, u64>) -> T) -> T {
        look(&self.asked.lock(), &self.forgotten.lock())
    }
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
