//! Why a push was not sent: one enum with stable names, the same in logs, metrics, answers and `trace`.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal by $by:ident : $sentence:literal, $remedy:literal;)*) => {
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

            /// Who decides it.
            pub const fn decided_by(self) -> Decider {
                match self { $(Self::$name => Decider::$by,)* }
            }

            /// What mends it: a command, or what a person does. The words in capitals ([`PLACEHOLDERS`]) stand for what
            /// is known where it happened. Empty where nothing is broken.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }

            /// The reason of that name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

/// Who decides that a push is not sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decider {
    /// The clearing house.
    ClearingHouse,
    /// The Access Edge; home foresees it.
    Edge,
    /// The mobility service.
    Home,
    /// The Access Edge on the other side, which admits us or not.
    Partner,
    /// The push service.
    Provider,
}

impl Decider {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClearingHouse => "clearing house",
            Self::Edge => "edge",
            Self::Home => "home",
            Self::Partner => "partner",
            Self::Provider => "provider",
        }
    }
}

/// The words in remedies that stand for what is known where it happened: the app, the publisher's domain, our edge, the
/// organisation, the policy's and the switches' record, the push, and the switch itself.
pub const PLACEHOLDERS: [&str; 8] = ["APP", "DOMAIN", "EDGE", "ORIGIN", "POLICY", "PUSH", "SCOPE", "SWITCH"];

impl Reason {
    /// [`Self::remedy`] with the values that are known in the places of their [`PLACEHOLDERS`].
    pub fn remedy_with(self, known: &[(&str, &str)]) -> String {
        let mut filled = String::new();
        let mut rest = self.remedy();
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end.max(rest.chars().next().map_or(0, char::len_utf8)));
            match known.iter().find(|(placeholder, _)| *placeholder == word) {
                Some((_, value)) => filled += value,
                None => filled += word,
            }
            rest = after;
        }
        filled
    }
}

reasons! {
    /// The publisher does not serve this organisation with this app.
    AppNotGranted = "app-not-granted" by ClearingHouse:
        "the publisher has not granted this app to the organisation",
        "ask the publisher to grant it there: Set-CsPushApp -Identity APP -Serves @{Add=\"ORIGIN\"} (or, where \
         Get-CsPushApp does not show it yet: New-CsPushApp -Identity APP -Serves ORIGIN)";
    /// The brake holds what was said about this token: the push was rejected, and the token is kept.
    AppSuspendedByBrake = "app-suspended-by-brake" by ClearingHouse:
        "the push was rejected while the app's tokens are rejected in mass; the token is kept until the publisher decides",
        "ask the publisher why its app lost so many tokens at once; nothing can be done here";
    /// Home's clock and the clearing house's are too far apart: a captured request could ring later (DESIGN.md §5).
    ClockSkew = "clock-skew" by ClearingHouse:
        "the clocks of home and clearing house differ by more than 10 minutes",
        "run timedatectl on this machine: if its clock is wrong, timedatectl set-ntp true; if it is right, tell DOMAIN";
    /// A newer push took its place.
    Coalesced = "coalesced" by Home:
        "a newer push for the same conversation took its place",
        "";
    /// Topic, key, environment or project do not fit.
    ConfigurationBroken = "configuration-broken" by Provider:
        "the provider refuses the app's credentials or its topic",
        "ask the publisher to mend the app's credentials; there Test-CsPushCredential -App APP tells what is wrong";
    /// The partner's domain is on the block list.
    DomainBlocked = "domain-blocked" by Edge:
        "the domain is blocked",
        "Remove-CsBlockedDomain -Identity DOMAIN";
    /// The partner's domain is not on the allow list.
    DomainNotAllowed = "domain-not-allowed" by Edge:
        "the domain is not an allowed domain",
        "New-CsAllowedDomain -Identity DOMAIN";
    /// Its life ran out first.
    Expired = "expired" by ClearingHouse:
        "its time to live ran out before it could be sent",
        "Get-CsPushTrace -Id PUSH tells where it waited";
    /// Federation is switched off.
    FederationOff = "federation-off" by Edge:
        "federation is switched off at the Access Edge",
        "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True";
    /// The app is on screen and was reached directly.
    Foreground = "foreground" by Home:
        "the app was in the foreground and was reached directly",
        "";
    /// The handle's key has retired or was removed, or there never was one here.
    HandleKeyGone = "handle-key-gone" by ClearingHouse:
        "the key that the device's handle was sealed with is gone",
        "open the app on the device once: it seals its token anew with a key that the publisher has; if that does not \
         help, ask the publisher, where Get-CsPushHandleKey lists the keys";
    /// A handle opens only for the organisation and the app that it was sealed for.
    HandleNotYours = "handle-not-yours" by ClearingHouse:
        "the device's handle was sealed for another organisation or another app, or is damaged",
        "open the app on the device once, signed in as a user of ORIGIN: it seals its token anew";
    /// The client keeps a connection open and was reached through it.
    HeldConnection = "held-connection" by Home:
        "the client holds a connection and was reached through it",
        "";
    /// The provider declared the token dead.
    IdentityDead = "identity-dead" by Provider:
        "the provider has declared the device's token dead",
        "open the app on the device once: it fetches a new token and registers it";
    /// The request could not be read or is against the rules.
    InvalidRequest = "invalid-request" by ClearingHouse:
        "the push request is not valid",
        "Get-CsPushTrace -Id PUSH has what the clearing house says is wrong; bring both sides to one version";
    /// Whoever answers for the publisher's domain takes no push requests at that address.
    NoClearingHouse = "no-clearing-house" by Partner:
        "nobody takes push requests at the address in PushNotificationProxyUri",
        "Test-CsMcxPushNotification -AccessEdgeFqdn EDGE -Detailed tells who answers there, and how to name another";
    /// The device never gave a push identity.
    NoIdentity = "no-identity" by Home:
        "no device of the user has registered a push identity",
        "sign in with the app on the device, and allow it to send notifications";
    /// The device has no token for messages.
    NoMessageToken = "no-message-token" by Home:
        "the device has a push identity but no token for the message channel",
        "allow the app to send notifications, and open it once on the device";
    /// There is no way to the clearing house.
    NoRoute = "no-route" by Edge:
        "no route to the clearing house was found",
        "Test-CsFederatedPartner -TargetFqdn EDGE -Domain DOMAIN -Detailed";
    /// Nobody at the clearing house runs this app.
    NoSuchApp = "no-such-app" by ClearingHouse:
        "the clearing house does not know this app",
        "ask the publisher to add the app to its clearing house; there Get-CsPushCredential lists what it has";
    /// The device has no token for calls.
    NoVoipToken = "no-voip-token" by Home:
        "the device has a push identity but no token for the voip channel",
        "open the app once on the device, in a version that registers for calls";
    /// Typing or a receipt.
    NotWorthWaking = "not-worth-waking" by Home:
        "typing notices and receipts never wake a phone",
        "";
    /// A crash left it open whether the provider took it, and it must not ring twice.
    OutcomeUnknown = "outcome-unknown" by ClearingHouse:
        "whether the provider took it is not known, and a call must not ring twice",
        "";
    /// The publisher's edge has our domain on its block list.
    PartnerBlocksUs = "partner-blocks-us" by Partner:
        "the publisher has blocked our domain",
        "ask DOMAIN to run: Remove-CsBlockedDomain -Identity ORIGIN";
    /// The publisher's edge does not have our domain on its allow list.
    PartnerDoesNotAllowUs = "partner-does-not-allow-us" by Partner:
        "the publisher does not allow our domain",
        "ask DOMAIN to run: New-CsAllowedDomain -Identity ORIGIN";
    /// The publisher's edge has federation switched off.
    PartnerFederationOff = "partner-federation-off" by Partner:
        "the publisher has federation switched off",
        "ask DOMAIN to run: Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True";
    /// The publisher's edge does not take our edge's certificate for our domain.
    PartnerRejectsCertificate = "partner-rejects-certificate" by Partner:
        "the publisher does not take the certificate of our edge for our domain",
        "give our edge a certificate that names ORIGIN, or ask DOMAIN which name it expects (ProxyFqdn there); \
         Test-CsMcxPushNotification -AccessEdgeFqdn EDGE -Detailed tells the name to give them";
    /// With what is sealed in it, it is larger than its provider takes.
    PayloadTooLarge = "payload-too-large" by ClearingHouse:
        "with what is sealed in it the push is larger than its provider takes: 4096 bytes, and 5120 for a call at APNs",
        "have the app's own server seal less: a name instead of a text, which the device fetches when it is awake";
    /// The user's mobility policy says no.
    PolicyForbids = "policy-forbids" by Home:
        "the user's mobility policy forbids push notifications",
        "Set-CsMobilityPolicy -Identity POLICY -EnableMobility $True -EnablePushNotifications $True";
    /// The provider is off for this site.
    ProviderSwitchedOff = "provider-switched-off" by Home:
        "the provider is switched off in the push notification configuration",
        "Set-CsPushNotificationConfiguration -Identity SCOPE -SWITCH $True";
    /// The provider says our request is wrong.
    RejectedByProvider = "rejected-by-provider" by Provider:
        "the provider rejected the push as wrong",
        "Get-CsPushTrace -Id PUSH has the provider's own word";
    /// The session ended.
    SessionExpired = "session-expired" by Home:
        "the device's session has expired and the user must sign in again",
        "have the user open the app and sign in again";
    /// Too many for this device, app or organisation.
    Throttled = "throttled" by ClearingHouse:
        "the limit for this device, app or organisation is reached",
        "wait; ask the publisher for a greater quota if it goes on";
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

    #[test]
    fn a_remedy_takes_the_values_that_are_known_and_leaves_the_others() {
        let known = [("SCOPE", "site:redmond"), ("SWITCH", "EnableApplePushNotificationService")];
        assert_eq!(
            Reason::ProviderSwitchedOff.remedy_with(&known),
            "Set-CsPushNotificationConfiguration -Identity site:redmond -EnableApplePushNotificationService $True"
        );
        assert_eq!(Reason::DomainBlocked.remedy_with(&known), "Remove-CsBlockedDomain -Identity DOMAIN");
        assert_eq!(Reason::NoIdentity.remedy_with(&known), Reason::NoIdentity.remedy());
    }

    #[test]
    fn what_is_broken_can_be_mended_and_what_stands_for_a_value_is_declared() {
        use Reason::{Coalesced, Foreground, HeldConnection, NotWorthWaking, OutcomeUnknown};
        for &reason in Reason::ALL {
            let nothing_broken =
                matches!(reason, Coalesced | Foreground | HeldConnection | NotWorthWaking | OutcomeUnknown);
            assert_eq!(reason.remedy().is_empty(), nothing_broken, "{reason}");
            let capitals = |word: &&str| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase());
            for word in reason.remedy().split(|c: char| !c.is_ascii_alphabetic()).filter(capitals) {
                assert!(PLACEHOLDERS.contains(&word), "{reason}: {word}");
            }
        }
    }
}
