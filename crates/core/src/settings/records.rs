//! The records themselves: fields, names and defaults of the documents' cmdlets (lync.md §1).

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::names::SipDomain;
use crate::provider::Provider;

/// How far a partner's word about its own users is believed (lync.md §3.3).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum VerificationLevel {
    /// Everything from there counts as verified.
    #[default]
    AlwaysVerifiable,
    /// Nothing from there counts as verified.
    AlwaysUnverifiable,
    /// What the partner asserts counts.
    UseSourceVerification,
}

/// `AllowedDomain`: a domain with which federation is allowed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AllowedDomain {
    /// The domain.
    pub identity: SipDomain,
    /// The partner's edge, on 5061; without it the domain's SRV record tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_fqdn: Option<SipDomain>,
    /// How far the partner is believed; without it the source's own assertion counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_level: Option<VerificationLevel>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

impl AllowedDomain {
    /// A domain whose edge its SRV record tells, and that is believed as far as it asserts.
    pub fn new(identity: SipDomain) -> Self {
        Self { identity, proxy_fqdn: None, verification_level: None, comment: String::new() }
    }
}

/// `BlockedDomain`: dropped in both directions, whatever else says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct BlockedDomain {
    /// The domain.
    pub identity: SipDomain,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// `PushNotificationConfiguration`: which providers are switched on. The documents' two, then ours; all off.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct PushNotificationConfiguration {
    /// Where it applies.
    pub identity: Scope,
    /// APNs.
    pub enable_apple_push_notification_service: bool,
    /// MPNS.
    pub enable_microsoft_push_notification_service: bool,
    /// FCM.
    pub enable_google_push_notification_service: bool,
    /// WNS.
    pub enable_windows_push_notification_service: bool,
    /// Web Push.
    pub enable_web_push_notification_service: bool,
}

impl PushNotificationConfiguration {
    /// Whether any provider is switched on.
    pub const fn any_on(&self) -> bool {
        self.enable_apple_push_notification_service
            || self.enable_google_push_notification_service
            || self.enable_microsoft_push_notification_service
            || self.enable_web_push_notification_service
            || self.enable_windows_push_notification_service
    }

    /// Whether `provider` is switched on.
    pub const fn is_on(&self, provider: Provider) -> bool {
        match provider {
            Provider::Apns => self.enable_apple_push_notification_service,
            Provider::Fcm => self.enable_google_push_notification_service,
            Provider::Mpns => self.enable_microsoft_push_notification_service,
            Provider::WebPush => self.enable_web_push_notification_service,
            Provider::Wns => self.enable_windows_push_notification_service,
        }
    }
}

/// `McxConfiguration`: the mobility service.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct McxConfiguration {
    /// Where it applies.
    pub identity: Scope,
    /// How long the session of a device that gets push lives without a word from it, in seconds.
    pub session_expiration_interval: u32,
    /// The same for a device that holds a connection, in seconds; shorter than the other.
    pub session_short_expiration_interval: u32,
    /// Where push requests go: a SIP URI at the publisher's domain.
    pub push_notification_proxy_uri: String,
}

impl Default for McxConfiguration {
    fn default() -> Self {
        Self {
            identity: Scope::Global,
            session_expiration_interval: 259_200,
            session_short_expiration_interval: 3600,
            push_notification_proxy_uri: "sip:push@push.lync.com".into(),
        }
    }
}

/// `MobilityPolicy`: what mobile users may do. The second of the five gates.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct MobilityPolicy {
    /// Where it applies.
    pub identity: Scope,
    /// Whether mobile apps may be used at all.
    pub enable_mobility: bool,
    /// Whether their phones may be woken. Permitted by default, as in the documents' own deployments.
    pub enable_push_notifications: bool,
}

impl Default for MobilityPolicy {
    fn default() -> Self {
        Self { identity: Scope::Global, enable_mobility: true, enable_push_notifications: true }
    }
}

/// `PushApp`: which organisations one of the publisher's apps serves. Credentials are not here: they are files.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PushApp {
    /// The provider's name for the app: APNs bundle id, FCM project id.
    pub identity: String,
    /// The organisations that may push to it; all others get `app-not-granted`.
    pub serves: Vec<SipDomain>,
}
