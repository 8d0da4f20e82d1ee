//! What cmdlets ask of a home: its users' devices, the pushes it owes them, and what it would do.

use std::sync::Arc;

use reveille_core::gates::Gate;
use reveille_core::session::{Next, Reach};
use reveille_core::settings::Snapshot;
use reveille_core::{Aor, Event, PushId, Reason, SipDomain, Timestamp};
use reveille_store::{DeviceRecord, KnownPush, StoreError};

use super::Asked;

/// A home, as far as devices and pushes go.
pub trait Devices: Send + Sync {
    /// The user whom an administrator means: `bob`, `bob@contoso.com`, `sip:bob@contoso.com`.
    fn named(&self, text: &str) -> Option<Aor>;

    /// The home's own name, which its service settings are under.
    fn name(&self) -> String;

    /// The name of the edge that its push requests leave through.
    fn edge(&self) -> String;

    /// The site whose settings hold there.
    fn site(&self) -> String;

    /// The events that this home sends pushes for.
    fn pushed(&self) -> &'static [Event];

    /// What each clearing house said last that it still takes of this organisation.
    fn quotas(&self) -> Vec<QuotaSeen>;

    /// The devices of one user or of all with what a message would need there, by user and device; at most `most`.
    fn devices(&self, user: Option<Aor>, most: usize) -> Asked<'_, Vec<Foreseen>>;

    /// What each of a user's devices would need if this happened now; nothing is sent. `None` while home stops.
    fn explain(&self, user: Aor, event: Event) -> Asked<'_, Option<Explained>>;

    /// Forgets a device with its push identity. `false` if there is none; `None` while home stops.
    fn forget(&self, user: Aor, device: String) -> Asked<'_, Option<Result<bool, StoreError>>>;

    /// One push and what became of it.
    fn push(&self, push: PushId) -> Asked<'_, Result<Option<KnownPush>, StoreError>>;

    /// The pushes of one user or of all, newest first; with `before` only those that are older than it.
    fn pushes(
        &self,
        user: Option<Aor>,
        before: Option<PushId>,
        most: usize,
    ) -> Asked<'_, Result<Vec<KnownPush>, StoreError>>;
}

/// What a clearing house said last that it still takes.
#[derive(Clone, Debug)]
pub struct QuotaSeen {
    /// Its domain.
    pub clearing_house: SipDomain,
    /// When it said so.
    pub at: Timestamp,
    /// Each allowance: its name, how many requests it holds, how many are left, and in how many seconds it is full again.
    pub allowances: Vec<(&'static str, u32, u32, u32)>,
}

/// What would be done if something happened to a user now, with the facts that it was decided on.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The site whose settings hold there.
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

/// How a message comes to a device.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReachedBy {
    /// It is on screen or connected.
    Directly,
    /// The client holds a connection in the background.
    HeldConnection,
    /// A push wakes it.
    Push,
    /// A push for another device wakes it: the app was installed anew and has its old token.
    PushOfAnother,
    /// Not at all until it comes back by itself.
    Unreachable(Reason),
}

impl ReachedBy {
    /// The words that people read.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Directly => "directly",
            Self::HeldConnection => "held connection",
            Self::Push => "push",
            Self::PushOfAnother => "push of another device",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

impl Foreseen {
    /// How it would be reached.
    pub const fn reached_by(&self) -> ReachedBy {
        match self.next {
            Next::Deliver(Reason::HeldConnection) => ReachedBy::HeldConnection,
            Next::Deliver(_) => ReachedBy::Directly,
            Next::Push | Next::Wait { .. } if self.is_twin => ReachedBy::PushOfAnother,
            Next::Push | Next::Wait { .. } => ReachedBy::Push,
            Next::Hold(reason) => ReachedBy::Unreachable(reason),
        }
    }
}
