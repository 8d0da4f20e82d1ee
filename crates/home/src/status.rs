//! What an administrator can see of a user: presence, devices, and why each push went or did not go.

use std::sync::Arc;

use reveille_core::delivery::PushState;
use reveille_core::gates::Gate;
use reveille_core::session::{Next, Reach};
use reveille_core::settings::Snapshot;
use reveille_core::{Reason, SipDomain, Timestamp};
use reveille_federation::Refusal;
use reveille_store::{DeviceRecord, KnownPush};
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

/// What would be done if something happened to a user now, with the facts that it was decided on.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The site whose settings hold here.
    pub site: String,
    /// The settings.
    pub settings: Arc<Snapshot>,
    /// Where push requests go.
    pub publisher: SipDomain,
    /// Each of the user's devices.
    pub devices: Vec<Foreseen>,
}

/// One device as home holds it at this moment, and what it would need.
#[derive(Clone, Debug)]
pub struct Foreseen {
    /// What is kept of it.
    pub record: DeviceRecord,
    /// How it can be reached now.
    pub reach: Reach,
    /// Each gate in order, and why it is closed if it is.
    pub gates: [(Gate, Option<Reason>); 5],
    /// What would be done.
    pub next: Next,
    /// Whether a push for another device wakes this one too.
    pub is_twin: bool,
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
            detail: match (known.detail.is_empty(), known.owed.state) {
                (true, PushState::NotPushed(reason)) => explained(reason, &known.owed.clearing_house),
                _ => known.detail,
            },
            created: known.owed.created,
            moved: known.moved,
        }
    }
}

/// What an administrator reads of a push that never left, with what he may do where that is known: the fifth gate says
/// what the edge would.
fn explained(reason: Reason, clearing_house: &SipDomain) -> String {
    let domain = || clearing_house.clone();
    let refusal = match reason {
        Reason::DomainBlocked => Refusal::DomainBlocked { domain: domain() },
        Reason::DomainNotAllowed => Refusal::DomainNotAllowed { domain: domain() },
        Reason::FederationOff => Refusal::FederationOff,
        _ => return reason.sentence().to_owned(),
    };
    format!("{refusal}: {}", refusal.advice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_that_never_left_says_what_would_have_let_it_out() {
        let publisher = "push.example.net".parse().unwrap();
        for (reason, expected) in [
            (
                Reason::DomainNotAllowed,
                "push.example.net is not an allowed domain: New-CsAllowedDomain -Identity push.example.net",
            ),
            (Reason::DomainBlocked, "push.example.net is blocked: Remove-CsBlockedDomain -Identity push.example.net"),
            (
                Reason::FederationOff,
                "federation is switched off on this Access Edge: Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True",
            ),
            (Reason::NoIdentity, Reason::NoIdentity.sentence()),
        ] {
            assert_eq!(explained(reason, &publisher), expected);
        }
    }
}
