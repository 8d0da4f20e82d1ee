//! Which push providers are switched on, and which organisations an app serves (lync.md §1.5).

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::names::SipDomain;
use crate::provider::Provider;

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

/// `PushApp`: which organisations one of the publisher's apps serves. Credentials are not here: they are files.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PushApp {
    /// The provider's name for the app: APNs bundle id, FCM project id.
    pub identity: String,
    /// The organisations that may push to it; all others get `app-not-granted`.
    pub serves: Vec<SipDomain>,
    /// Whether verdicts on its tokens are frozen when they are rejected in mass.
    #[serde(default = "braked")]
    pub brake_enabled: bool,
    /// So many rejected tokens within the window are a mass; fewer never are.
    #[serde(default = "brake_rejections")]
    pub brake_rejections: u32,
    /// And so many of a hundred answers within the window.
    #[serde(default = "brake_percent")]
    pub brake_percent: u32,
    /// How long the window is that slides over the answers.
    #[serde(default = "brake_minutes")]
    pub brake_minutes: u32,
}

impl PushApp {
    /// An app that serves these organisations, with the usual brake: 50 rejected tokens that are a quarter of all answers
    /// within ten minutes.
    pub fn new(identity: impl Into<String>, serves: Vec<SipDomain>) -> Self {
        Self {
            identity: identity.into(),
            serves,
            brake_enabled: braked(),
            brake_rejections: brake_rejections(),
            brake_percent: brake_percent(),
            brake_minutes: brake_minutes(),
        }
    }
}

const fn braked() -> bool {
    true
}

const fn brake_rejections() -> u32 {
    50
}

const fn brake_percent() -> u32 {
    25
}

const fn brake_minutes() -> u32 {
    10
}
