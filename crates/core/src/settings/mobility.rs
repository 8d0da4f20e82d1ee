//! `MobilityPolicy`: what mobile users may do, and to whom which policy is granted (lync.md §1.5).

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::names::Aor;

/// Over which network a mobile client makes calls.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum VoiceSettings {
    /// Always over IP.
    VoIPAlways,
    /// Over IP when there is Wi-Fi.
    VoIPOverWiFi,
    /// Always over the mobile network.
    Cellular,
}

/// `MobilityPolicy`. The second of the five gates is made of its first two switches; the others are for clients, which
/// read them, and are kept for the documents' sake.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct MobilityPolicy {
    /// Where it applies; `tag:Name` applies to whom it is granted.
    pub identity: Scope,
    /// Whether mobile apps may be used at all.
    pub enable_mobility: bool,
    /// Whether their phones may be woken. Permitted by default, as in the documents' own deployments.
    pub enable_push_notifications: bool,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Whether a call falls back to the mobile network by itself.
    pub allow_automatic_pstn_fallback: bool,
    /// Whether clients may report how they are used.
    pub allow_customer_experience_improvement_program: bool,
    /// Whether contacts of the device are read.
    pub allow_device_contacts_sync: bool,
    /// Whether the mailbox may be reached.
    pub allow_exchange_connectivity: bool,
    /// Whether the client keeps a list of calls.
    pub allow_save_call_logs: bool,
    /// Whether the client keeps the password.
    pub allow_save_credentials: bool,
    /// Whether the client keeps what was written.
    #[serde(rename = "AllowSaveIMHistory")]
    pub allow_save_im_history: bool,
    /// Whether sound and pictures go over IP.
    #[serde(rename = "EnableIPAudioVideo")]
    pub enable_ip_audio_video: bool,
    /// Whether calls may be made by the work number from outside.
    pub enable_outside_voice: bool,
    /// Whether the client encrypts what it keeps.
    pub encrypt_app_data: bool,
    /// Whether the device must be managed.
    pub require_intune: bool,
    /// Whether sound over IP needs Wi-Fi.
    #[serde(rename = "RequireWIFIForIPAudio")]
    pub require_wifi_for_ip_audio: bool,
    /// Whether pictures over IP need Wi-Fi.
    #[serde(rename = "RequireWIFIForIPVideo")]
    pub require_wifi_for_ip_video: bool,
    /// Whether sharing needs Wi-Fi.
    #[serde(rename = "RequireWiFiForSharing")]
    pub require_wifi_for_sharing: bool,
    /// Over which network calls are made; the client's own choice when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice_settings: Option<VoiceSettings>,
}

impl Default for MobilityPolicy {
    fn default() -> Self {
        Self {
            identity: Scope::Global,
            enable_mobility: true,
            enable_push_notifications: true,
            description: String::new(),
            allow_automatic_pstn_fallback: false,
            allow_customer_experience_improvement_program: true,
            allow_device_contacts_sync: true,
            allow_exchange_connectivity: true,
            allow_save_call_logs: true,
            allow_save_credentials: true,
            allow_save_im_history: true,
            enable_ip_audio_video: true,
            enable_outside_voice: true,
            encrypt_app_data: false,
            require_intune: false,
            require_wifi_for_ip_audio: false,
            require_wifi_for_ip_video: false,
            require_wifi_for_sharing: false,
            voice_settings: None,
        }
    }
}

impl MobilityPolicy {
    /// Whether the phones of those whom it applies to may be woken.
    pub const fn permits_push(&self) -> bool {
        self.enable_mobility && self.enable_push_notifications
    }
}

/// `PolicyGrant`: a user to whom a policy of their own is granted. Without one the site's holds, else the global one.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PolicyGrant {
    /// The user.
    pub identity: Aor,
    /// The name of a mobility policy, without `tag:`.
    pub mobility_policy: String,
}
