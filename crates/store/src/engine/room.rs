//! How much room is left: in the queue to the writer, and on the disk.

use super::{Engine, Memory};

/// How much room a store has left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// How much of what may wait to be written does wait.
    pub queue_percent: u8,
    /// Bytes that the file system has left for us; as many as can be where it does not say.
    pub disk_bytes: u64,
}

impl<M: Memory> Engine<M> {
    /// How much room there is at this moment. Asks the system: not for every record.
    pub(crate) fn room(&self) -> Room {
        let disk = rustix::fs::statvfs(&self.path).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Room { queue_percent: self.queue.percent(), disk_bytes: disk.unwrap_or(u64::MAX) }
    }
}
