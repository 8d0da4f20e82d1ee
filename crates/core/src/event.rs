//! What can happen to a user, and what each event is worth on a suspended phone: one table.

use serde::{Deserialize, Serialize};

use crate::provider::Channel;

/// Something that may wake a phone.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The unread count changed elsewhere.
    Badge,
    /// Someone calls.
    Call,
    /// An invitation to a conversation of several.
    GroupInvitation,
    /// An invitation to a new conversation.
    Invitation,
    /// A message in a conversation.
    Message,
    /// A call that nobody took.
    MissedCall,
    /// An invitation that ran out.
    MissedInvitation,
    /// A message that was not taken in time.
    MissedMessage,
    /// A test push to a test device.
    Probe,
    /// A wake so that the client renews its binding (RFC 8599 §5.5).
    RefreshWake,
    /// A message was left.
    Voicemail,
}

/// How urgent a push is to its provider.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Now: the user must act.
    High,
    /// When the phone is awake anyway.
    Normal,
}

/// How one event is pushed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventRule {
    /// Which channel it takes where the device has both.
    pub channel: Channel,
    /// How urgent it is.
    pub priority: Priority,
    /// How long it is worth delivering, in seconds.
    pub ttl_secs: u32,
    /// The text the phone's own translations are looked up by; `None` is a quiet push.
    pub loc_key: Option<&'static str>,
    /// Whether a newer push of the same conversation replaces an older one that has not arrived.
    pub collapses: bool,
}

impl Event {
    /// All events, in the order of their names.
    pub const ALL: [Self; 11] = [
        Self::Badge,
        Self::Call,
        Self::GroupInvitation,
        Self::Invitation,
        Self::Message,
        Self::MissedCall,
        Self::MissedInvitation,
        Self::MissedMessage,
        Self::Probe,
        Self::RefreshWake,
        Self::Voicemail,
    ];

    /// The one table from event to channel, priority, time to live and what the phone shows.
    pub const fn rule(self) -> EventRule {
        use Channel::{Message, Voip};
        use Priority::{High, Normal};
        const HOUR: u32 = 3600;
        const DAY: u32 = 24 * HOUR;
        let (channel, priority, ttl_secs, loc_key, collapses) = match self {
            Self::Badge => (Message, Normal, DAY, None, true),
            // Longer than anybody lets it ring is of no use, and a call that rings late is worse than one missed.
            Self::Call => (Voip, High, 25, Some("IC_MSG"), false),
            Self::GroupInvitation => (Message, High, DAY, Some("GC_MSG"), true),
            Self::Invitation => (Message, High, DAY, Some("IM_MSG"), true),
            Self::Message => (Message, High, DAY, Some("IM_MSG"), true),
            Self::MissedCall => (Message, High, DAY, Some("IC_MISSED_MSG"), false),
            Self::MissedInvitation => (Message, High, DAY, Some("IM_MISSED_MSG"), false),
            Self::MissedMessage => (Message, High, DAY, Some("IM_MISSED_MSG"), false),
            Self::Probe => (Message, High, 60, Some("PROBE_MSG"), false),
            // Quiet, and never on the voip channel: no call would be reported for it (DESIGN.md §4).
            Self::RefreshWake => (Message, Normal, 120, None, true),
            Self::Voicemail => (Message, High, DAY, Some("MWI_NOTIFY_STR"), true),
        };
        EventRule { channel, priority, ttl_secs, loc_key, collapses }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_takes_the_voip_channel() {
        for event in Event::ALL {
            assert_eq!(event.rule().channel == Channel::Voip, event == Event::Call, "{event:?}");
        }
    }

    #[test]
    fn a_quiet_push_is_never_urgent() {
        for event in Event::ALL {
            let rule = event.rule();
            assert!(rule.loc_key.is_some() || rule.priority == Priority::Normal, "{event:?}");
        }
    }

    #[test]
    fn nothing_lives_longer_than_duplicates_are_remembered() {
        for event in Event::ALL {
            assert!(event.rule().ttl_secs <= 24 * 3600, "{event:?}");
        }
    }
}
