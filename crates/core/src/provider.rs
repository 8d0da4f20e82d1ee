//! Push services, and what a lane is made of.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A push service that wakes phones.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// Apple Push Notification service.
    Apns,
    /// Firebase Cloud Messaging, HTTP v1.
    Fcm,
    /// Microsoft Push Notification Service (Windows Phone).
    Mpns,
    /// Web Push (RFC 8030) and UnifiedPush.
    WebPush,
    /// Windows Push Notification Services.
    Wns,
}

impl Provider {
    /// The stable lower-case word for this provider, as on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Apns => "apns",
            Self::Fcm => "fcm",
            Self::Mpns => "mpns",
            Self::WebPush => "webpush",
            Self::Wns => "wns",
        }
    }

    /// The property of `PushNotificationConfiguration` that switches this provider on.
    pub const fn switch(self) -> &'static str {
        match self {
            Self::Apns => "EnableApplePushNotificationService",
            Self::Fcm => "EnableGooglePushNotificationService",
            Self::Mpns => "EnableMicrosoftPushNotificationService",
            Self::WebPush => "EnableWebPushNotificationService",
            Self::Wns => "EnableWindowsPushNotificationService",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Apns, Self::Fcm, Self::Mpns, Self::WebPush, Self::Wns]
            .into_iter()
            .find(|provider| provider.as_str() == text)
            .ok_or_else(|| format!("\"{text}\" is not a provider: known are apns, fcm, mpns, webpush and wns"))
    }
}

/// Which of a provider's worlds an app instance lives in. Only APNs tells them apart.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Apps from the store.
    #[default]
    Production,
    /// Apps built for development.
    Sandbox,
}

impl Environment {
    /// The stable lower-case word, as on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Sandbox => "sandbox",
        }
    }
}

/// The two ways to a suspended app: messages may be batched and quiet, calls must ring at once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Messages, badges, missed calls, probes.
    Message,
    /// Calls, and nothing else (a VoIP push that reports no call gets the app killed on iOS 13 and later).
    Voip,
}

impl Channel {
    /// The stable lower-case word, as on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Voip => "voip",
        }
    }
}

/// One app at one provider: APNs bundle id, FCM project id.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct AppKey {
    /// Whose app it is.
    pub provider: Provider,
    /// The provider's name for the app.
    pub app: Arc<str>,
    /// Store or development.
    pub environment: Environment,
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.app)?;
        match self.environment {
            Environment::Production => Ok(()),
            Environment::Sandbox => f.write_str(" (sandbox)"),
        }
    }
}

/// One lane of the clearing house: pushes that share a provider connection and a fate (DESIGN.md §7).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LaneKey {
    /// The app the lane serves.
    pub app: AppKey,
    /// Calls never wait behind messages, so each channel has a lane of its own.
    pub channel: Channel,
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.app, self.channel.as_str())
    }
}
