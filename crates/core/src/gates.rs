//! The five gates of DESIGN.md §4, in order; the first closed one is the reason that is recorded.

use crate::identity::PushIdentity;
use crate::provider::Channel;
use crate::reason::Reason;

/// What the five gates look at.
#[derive(Clone, Copy, Debug)]
pub struct GateFacts<'a> {
    /// Gate 1: whether the identity's provider is switched on for this home's site.
    pub provider_on: bool,
    /// Gate 2: whether the user's mobility policy permits push.
    pub policy_permits: bool,
    /// Gate 3: whether the device's session is alive.
    pub session_alive: bool,
    /// Gate 4: the device's push identity.
    pub identity: Option<&'a PushIdentity>,
    /// Gate 4: the channel that the event wants.
    pub channel: Channel,
    /// Gate 5: whether federation is on and a route is known, else why not.
    pub route: Result<(), Reason>,
}

/// One of the five gates.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Gate {
    /// Whether the push service is switched on.
    ProviderSwitch,
    /// Whether the user may be woken.
    MobilityPolicy,
    /// Whether the device is still signed in.
    Session,
    /// Whether the device has told how it is woken.
    PushIdentity,
    /// Whether push requests find their way out.
    Federation,
}

impl Gate {
    /// All of them, in order.
    pub const ALL: [Self; 5] =
        [Self::ProviderSwitch, Self::MobilityPolicy, Self::Session, Self::PushIdentity, Self::Federation];

    /// The stable name, as people read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProviderSwitch => "provider-switch",
            Self::MobilityPolicy => "mobility-policy",
            Self::Session => "session",
            Self::PushIdentity => "push-identity",
            Self::Federation => "federation",
        }
    }

    /// Why this gate is closed, whatever the others are; `None` when it is open.
    pub fn closed(self, facts: &GateFacts<'_>) -> Option<Reason> {
        match self {
            // Nothing can be switched off for a device that has no provider: the fourth gate has the reason.
            Self::ProviderSwitch => {
                (!facts.provider_on && facts.identity.is_some()).then_some(Reason::ProviderSwitchedOff)
            }
            Self::MobilityPolicy => (!facts.policy_permits).then_some(Reason::PolicyForbids),
            Self::Session => (!facts.session_alive).then_some(Reason::SessionExpired),
            Self::PushIdentity => {
                let Some(identity) = facts.identity else { return Some(Reason::NoIdentity) };
                match (identity.token(facts.channel), identity.is_dead(facts.channel), facts.channel) {
                    (Some(_), ..) => None,
                    (None, true, _) => Some(Reason::IdentityDead),
                    (None, false, Channel::Message) => Some(Reason::NoMessageToken),
                    (None, false, Channel::Voip) => Some(Reason::NoVoipToken),
                }
            }
            Self::Federation => facts.route.err(),
        }
    }
}

/// The reason of the first closed gate, or `None` when the push may go.
pub fn first_closed(facts: &GateFacts<'_>) -> Option<Reason> {
    Gate::ALL.into_iter().find_map(|gate| gate.closed(facts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::identity::{DeviceToken, IdentityId};
    use crate::provider::{AppKey, Environment, Provider};

    fn identity(message: bool, voip: bool) -> PushIdentity {
        let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Production };
        let mut identity = PushIdentity::new(IdentityId::from_u128(1), app);
        let now = Timestamp::from_millis(1);
        identity.refresh(message.then(|| DeviceToken::new("m")), voip.then(|| DeviceToken::new("v")), now, &[]);
        identity
    }

    #[test]
    fn the_first_closed_gate_is_the_reason() {
        let (both, voip_only, message_only) = (identity(true, true), identity(false, true), identity(true, false));
        let mut dead = identity(true, false);
        dead.forget(&DeviceToken::new("m"));
        let open = GateFacts {
            provider_on: true,
            policy_permits: true,
            session_alive: true,
            identity: Some(&both),
            channel: Channel::Message,
            route: Ok(()),
        };
        let no_route = Err(Reason::NoRoute);
        for (facts, expected) in [
            (open, None),
            (GateFacts { provider_on: false, policy_permits: false, ..open }, Some(Reason::ProviderSwitchedOff)),
            // Nothing can be switched off for a device that has no provider.
            (GateFacts { provider_on: false, identity: None, ..open }, Some(Reason::NoIdentity)),
            (GateFacts { policy_permits: false, session_alive: false, ..open }, Some(Reason::PolicyForbids)),
            (GateFacts { session_alive: false, identity: None, ..open }, Some(Reason::SessionExpired)),
            (GateFacts { identity: None, route: no_route, ..open }, Some(Reason::NoIdentity)),
            (GateFacts { identity: Some(&voip_only), route: no_route, ..open }, Some(Reason::NoMessageToken)),
            (GateFacts { identity: Some(&message_only), channel: Channel::Voip, ..open }, Some(Reason::NoVoipToken)),
            (GateFacts { identity: Some(&dead), ..open }, Some(Reason::IdentityDead)),
            (GateFacts { route: Err(Reason::FederationOff), ..open }, Some(Reason::FederationOff)),
        ] {
            assert_eq!(first_closed(&facts), expected, "{facts:?}");
        }
    }
}
