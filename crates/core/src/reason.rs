//! Why a push was not sent: one enum with stable names, the same in logs, metrics, answers and `trace`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal : $sentence:literal,)*) => {
        /// Why one push was not sent, or did not arrive.
        #[derive(
            Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema,
        )]
        #[serde(rename_all = "kebab-case")]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name, never changed once published.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What an administrator reads.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// The reason of that name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// The publisher does not serve this organisation with this app.
    AppNotGranted = "app-not-granted": "the publisher has not granted this app to the organisation",
    /// The brake holds this app's pushes.
    AppSuspendedByBrake = "app-suspended-by-brake": "the app is suspended because its tokens were rejected in mass",
    /// A newer push took its place.
    Coalesced = "coalesced": "a newer push for the same conversation took its place",
    /// Topic, key, environment or project do not fit.
    ConfigurationBroken = "configuration-broken": "the provider refuses the app's credentials or its topic",
    /// The partner's domain is on the block list.
    DomainBlocked = "domain-blocked": "the domain is blocked",
    /// The partner's domain is not on the allow list.
    DomainNotAllowed = "domain-not-allowed": "the domain is not an allowed domain",
    /// Its life ran out first.
    Expired = "expired": "its time to live ran out before it could be sent",
    /// Federation is switched off.
    FederationOff = "federation-off": "federation is switched off at the Access Edge",
    /// The app is on screen and was reached directly.
    Foreground = "foreground": "the app was in the foreground and was reached directly",
    /// The client keeps a connection open and was reached through it.
    HeldConnection = "held-connection": "the client holds a connection and was reached through it",
    /// The provider declared the token dead.
    IdentityDead = "identity-dead": "the provider has declared the device's token dead",
    /// The request could not be read or is against the rules.
    InvalidRequest = "invalid-request": "the push request is not valid",
    /// The device never gave a push identity.
    NoIdentity = "no-identity": "no device of the user has registered a push identity",
    /// The device has no token for messages.
    NoMessageToken = "no-message-token": "the device has a push identity but no token for the message channel",
    /// There is no way to the clearing house.
    NoRoute = "no-route": "no route to the clearing house was found",
    /// Nobody at the clearing house runs this app.
    NoSuchApp = "no-such-app": "the clearing house does not know this app",
    /// The device has no token for calls.
    NoVoipToken = "no-voip-token": "the device has a push identity but no token for the voip channel",
    /// Typing or a receipt.
    NotWorthWaking = "not-worth-waking": "typing notices and receipts never wake a phone",
    /// A crash left it open whether the provider took it, and it must not ring twice.
    OutcomeUnknown = "outcome-unknown": "whether the provider took it is not known, and a call must not ring twice",
    /// The user's mobility policy says no.
    PolicyForbids = "policy-forbids": "the user's mobility policy forbids push notifications",
    /// The provider is off for this site.
    ProviderSwitchedOff = "provider-switched-off": "the provider is switched off in the push notification configuration",
    /// The provider says our request is wrong.
    RejectedByProvider = "rejected-by-provider": "the provider rejected the push as wrong",
    /// The session ended.
    SessionExpired = "session-expired": "the device's session has expired and the user must sign in again",
    /// Too many for this device, app or organisation.
    Throttled = "throttled": "the limit for this device, app or organisation is reached",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_reads_back_from_its_name_and_from_json() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::parse(reason.as_str()), Some(reason));
            assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{reason}\""));
        }
        assert_eq!(Reason::parse("because"), None);
    }
}
