//! What one message needs at one device now, as a plain function of the facts.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::gates::{GateFacts, first_closed};
use crate::reason::Reason;

/// How a device can be reached at this moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// On screen, with a live flow or an unexpired binding: reached directly.
    Foreground,
    /// The client keeps a connection open in the background and is reached through it (Android and Nokia of 2010).
    HeldConnection,
    /// Off screen, locked, or its flow is gone since then.
    Suspended {
        /// When the flow went or the client said so.
        since: Timestamp,
    },
}

/// What a message asks for, apart from being kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageKind {
    /// Text or anything else that a person wrote.
    Content,
    /// Typing notices (RFC 3994) and delivery receipts (RFC 5438): never worth a wake.
    Notice,
}

/// What to do for one device. The caller carries it out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Send it over the live connection; no push.
    Deliver(Reason),
    /// Keep it until the device comes back by itself; no push, and this is why.
    Hold(Reason),
    /// Ask the clearing house for a push.
    Push,
    /// The flow went only now: look again at this time, when the client may have come back.
    Wait {
        /// When the grace period is over.
        until: Timestamp,
    },
}

/// What one message needs at one device now.
pub fn on_message(reach: Reach, kind: MessageKind, gates: &GateFacts<'_>, grace: Duration, now: Timestamp) -> Next {
    let since = match reach {
        Reach::Foreground => return Next::Deliver(Reason::Foreground),
        Reach::HeldConnection => return Next::Deliver(Reason::HeldConnection),
        Reach::Suspended { since } => since,
    };
    if kind == MessageKind::Notice {
        return Next::Hold(Reason::NotWorthWaking);
    }
    if let Some(reason) = first_closed(gates) {
        return Next::Hold(reason);
    }
    // A flow that breaks is often a change of network, and the client is back within seconds: a push then would
    // sound for a message that is already on the screen.
    let until = since.plus(grace);
    if now < until { Next::Wait { until } } else { Next::Push }
}

/// What other users see of a user (DESIGN.md §4: a suspended user's presence is *away*).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Presence {
    /// No device is signed in.
    Offline,
    /// All devices are suspended.
    Away,
    /// A device is on screen or holds a connection.
    Online,
}

impl Presence {
    /// The stable lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Away => "away",
            Self::Online => "online",
        }
    }

    /// The presence of a user with these devices: the most present one counts.
    pub fn of(devices: impl IntoIterator<Item = Reach>) -> Self {
        let presence = |reach| match reach {
            Reach::Foreground | Reach::HeldConnection => Self::Online,
            Reach::Suspended { .. } => Self::Away,
        };
        devices.into_iter().map(presence).max().unwrap_or(Self::Offline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{DeviceToken, IdentityId, PushIdentity};
    use crate::provider::{AppKey, Channel, Environment, Provider};

    #[test]
    fn a_message_goes_the_way_its_device_can_be_reached() {
        let at = Timestamp::from_millis;
        let app = AppKey { provider: Provider::Fcm, app: "project".into(), environment: Environment::Production };
        let id = IdentityId::from_u128(1);
        let mut identity = PushIdentity::new(id, app);
        identity.refresh(Some(DeviceToken::new("t")), None, at(1), &[]);
        let gates = GateFacts {
            provider_on: true,
            policy_permits: true,
            session_alive: true,
            identity: Some(&identity),
            channel: Channel::Message,
            route: Ok(()),
        };
        let closed = GateFacts { policy_permits: false, ..gates };
        let gone = Reach::Suspended { since: at(1000) };
        let grace = Duration::from_secs(2);
        use MessageKind::{Content, Notice};
        for (reach, kind, gates, now, expected) in [
            (Reach::Foreground, Content, &gates, 0, Next::Deliver(Reason::Foreground)),
            (Reach::Foreground, Notice, &gates, 0, Next::Deliver(Reason::Foreground)),
            (Reach::HeldConnection, Content, &closed, 0, Next::Deliver(Reason::HeldConnection)),
            (gone, Notice, &gates, 9000, Next::Hold(Reason::NotWorthWaking)),
            (gone, Content, &closed, 9000, Next::Hold(Reason::PolicyForbids)),
            (gone, Content, &gates, 2999, Next::Wait { until: at(3000) }),
            (gone, Content, &gates, 3000, Next::Push),
        ] {
            assert_eq!(on_message(reach, kind, gates, grace, at(now)), expected, "{reach:?} {kind:?} {now}");
        }
    }

    #[test]
    fn the_most_present_device_counts() {
        let away = Reach::Suspended { since: Timestamp::from_millis(1) };
        assert_eq!(Presence::of([]), Presence::Offline);
        assert_eq!(Presence::of([away]), Presence::Away);
        assert_eq!(Presence::of([away, Reach::Foreground]), Presence::Online);
    }
}
