//! What is given to a pool to send.

use bytes::Bytes;

/// Bytes (whole messages) to send, and what to call them when telling their fate.
#[derive(Clone)]
pub struct Parcel {
    /// The caller's own name for it.
    pub token: u64,
    /// Parcels of equal affinity take the same connection while connections stay, so that they arrive in order: a CANCEL
    /// must not overtake its INVITE. The others take turns.
    pub affinity: Option<u64>,
    /// What to send.
    pub bytes: Bytes,
}

impl Parcel {
    /// A parcel without affinity.
    pub fn new(token: u64, bytes: Bytes) -> Self {
        Self { token, affinity: None, bytes }
    }

    /// Keeps order with others of the same affinity, for instance a hash of the Call-ID.
    #[must_use]
    pub fn with_affinity(mut self, affinity: u64) -> Self {
        self.affinity = Some(affinity);
        self
    }
}

impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parcel").field("token", &self.token).field("bytes", &self.bytes.len()).finish()
    }
}
