//! What gives way when the machine runs short: badges and refreshes first, then messages, calls last.
//!
//! What gives way is refused request by request, with a time to come back. 503 is said only by a journal that can take
//! nothing at all.

use std::time::Duration;

use reveille_core::{Channel, Event};
use reveille_store::Room;

/// What a push is worth beside others, least first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Class {
    /// It changes a number, or renews a binding.
    Quiet,
    /// Somebody wrote, or somebody called.
    Message,
    /// Somebody calls.
    Call,
}

impl Class {
    /// What a push for that event is worth. The channel that it takes counts, so that no message passes for a call.
    pub(crate) const fn of(event: Event, channel: Channel) -> Self {
        match (event, channel) {
            (_, Channel::Voip) => Self::Call,
            (Event::Badge | Event::RefreshWake, Channel::Message) => Self::Quiet,
            (_, Channel::Message) => Self::Message,
        }
    }
}

/// Whether a push of that class gives way while there is so much room.
pub(crate) const fn gives_way(class: Class, room: Room) -> bool {
    let Room { queue_percent, disk_bytes } = room;
    // The journal itself says that it is full at 100 and without a byte.
    let (percent, bytes) = match class {
        Class::Quiet => (50, 1024 * MIB),
        Class::Message => (75, 512 * MIB),
        Class::Call => (95, 64 * MIB),
    };
    queue_percent >= percent || disk_bytes < bytes
}

const MIB: u64 = 1024 * 1024;

/// When what has given way may come back.
pub(crate) const COME_BACK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn badges_go_first_then_messages_and_calls_last() {
        let room = |queue_percent, disk_mib: u64| Room { queue_percent, disk_bytes: disk_mib * MIB };
        for (room, expected) in [
            (room(0, 5000), [false, false, false]),
            (room(49, 1024), [false, false, false]),
            (room(50, 5000), [true, false, false]),
            (room(0, 1023), [true, false, false]),
            (room(75, 5000), [true, true, false]),
            (room(0, 511), [true, true, false]),
            (room(95, 5000), [true, true, true]),
            (room(0, 63), [true, true, true]),
        ] {
            let found = [Class::Quiet, Class::Message, Class::Call].map(|class| gives_way(class, room));
            assert_eq!(found, expected, "{room:?}");
        }
    }

    #[test]
    fn a_class_is_what_the_push_is_and_not_what_it_is_called() {
        for event in Event::ALL {
            assert_eq!(Class::of(event, Channel::Voip), Class::Call);
            let quiet = matches!(event, Event::Badge | Event::RefreshWake);
            let class = if quiet { Class::Quiet } else { Class::Message };
            assert_eq!(Class::of(event, Channel::Message), class, "{event:?}");
        }
    }
}
