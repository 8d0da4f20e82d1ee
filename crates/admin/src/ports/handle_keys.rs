//! The keys that devices seal handles with, as the clearing house has them.

use reveille_core::Timestamp;

use crate::failure::Failure;

/// Whoever keeps them. What changes a file takes milliseconds.
pub trait HandleKeys: Send + Sync {
    /// Every key, the newest first.
    fn keys(&self) -> Vec<HandleKey>;

    /// Makes one, which seals from now on.
    fn make(&self) -> Result<HandleKey, Failure>;

    /// Removes one that does not seal.
    fn remove(&self, id: &str) -> Result<HandleKey, Failure>;

    /// The document that devices seal by, JSON.
    fn published(&self) -> String;
}

/// One key; nothing of it is secret.
#[derive(Clone, Debug)]
pub struct HandleKey {
    /// Its name.
    pub id: String,
    /// `sealing`, `opening`, `retired`.
    pub state: &'static str,
    /// When it was made.
    pub made: Timestamp,
    /// When it opens nothing any more.
    pub retires: Option<Timestamp>,
    /// Pushes whose handle it has opened since the clearing house has started.
    pub opened: u64,
    /// When the last of them came.
    pub last_opened: Option<Timestamp>,
    /// Its public half, base64url.
    pub public: String,
    /// Its file.
    pub file: String,
}
