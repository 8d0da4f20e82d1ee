//! What an administrator can see of a user: presence, devices, and why each push went or did not go.

use reveille_core::Timestamp;
use reveille_core::delivery::PushState;
use reveille_store::KnownPush;
use serde::Serialize;

/// One user.
#[derive(Clone, Debug, Serialize)]
pub struct UserStatus {
    /// The address of record.
    pub user: String,
    /// `online`, `away` or `offline`.
    pub presence: &'static str,
    /// Messages that wait.
    pub unread: u64,
    /// The user's devices.
    pub devices: Vec<DeviceStatus>,
    /// The latest pushes, newest first.
    pub pushes: Vec<PushStatus>,
}

/// One device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceStatus {
    /// Its instance key.
    pub device: String,
    /// What the client calls itself.
    pub user_agent: String,
    /// Whether it can be reached directly now.
    pub live: bool,
    /// The app of its push identity.
    pub app: Option<String>,
    /// The end of its token for messages.
    pub message_token: Option<String>,
    /// The end of its token for calls.
    pub voip_token: Option<String>,
    /// When it last registered.
    pub last_registered: Timestamp,
}

/// One push.
#[derive(Clone, Debug, Serialize)]
pub struct PushStatus {
    /// Its id, the same in every role's log.
    pub push: String,
    /// Which device it was for; empty if the user has none.
    pub device: String,
    /// Where it is in its life.
    pub state: &'static str,
    /// Why it was not sent, if it was not.
    pub reason: Option<&'static str>,
    /// The last diagnosis.
    pub detail: String,
    /// When it came to be owed.
    pub created: Timestamp,
    /// When it came into its state.
    pub moved: Timestamp,
}

impl From<KnownPush> for PushStatus {
    fn from(known: KnownPush) -> Self {
        let reason = match known.owed.state {
            PushState::NotPushed(reason) => Some(reason.as_str()),
            _ => None,
        };
        Self {
            push: known.owed.push.to_string(),
            device: known.owed.device,
            state: known.owed.state.as_str(),
            reason,
            detail: known.detail,
            created: known.owed.created,
            moved: known.moved,
        }
    }
}
