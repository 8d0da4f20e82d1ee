//! What cmdlets ask of a clearing house: its lanes, as whom it comes to the push services, and what became of pushes.

use std::time::Duration;

use reveille_core::{AppKey, LaneKey, PushId, SipDomain, Timestamp, Verdict};
use reveille_store::{BrakeScope, Braked, StoreError, TracedPush};

use super::Asked;

/// A clearing house.
pub trait House: Send + Sync {
    /// Each lane and how it is.
    fn lanes(&self) -> Vec<Lane>;

    /// How many accepted pushes are in memory, and whether more wait on disk only.
    fn load(&self) -> (usize, bool);

    /// As whom it comes to the push services, for each app.
    fn credentials(&self) -> Vec<Credential>;

    /// Has the push service look at the credentials of one lane, by a push to a token that no device has. `None` if
    /// there is no such lane, or no answer in time.
    fn ask(&self, lane: LaneKey) -> Asked<'_, Option<ProviderAnswer>>;

    /// The pushes of that id, one for each organisation that has sent one; all or those of `origin`.
    fn traces(&self, push: PushId, origin: Option<SipDomain>) -> Asked<'_, Result<Vec<TracedPush>, StoreError>>;

    /// The newest pushes, newest first: all, or those of `origin`.
    fn latest(&self, origin: Option<SipDomain>, most: usize) -> Asked<'_, Result<Vec<TracedPush>, StoreError>>;

    /// The brakes on apps' verdicts that are on.
    fn brakes(&self) -> Asked<'_, Result<Vec<Braked>, StoreError>>;

    /// Puts a brake on by hand: verdicts since `reach` are frozen, and taken back at home.
    fn brake(&self, scope: BrakeScope, reach: Timestamp, why: String) -> Asked<'_, Result<(), StoreError>>;

    /// Takes a brake off: with `right` what it holds takes effect, else it is forgotten. Answers how much that was.
    fn release_brake(&self, scope: BrakeScope, right: bool) -> Asked<'_, Result<usize, StoreError>>;
}

/// One lane.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Which.
    pub key: LaneKey,
    /// How it is: `ready`, `refused`, `failing`, `paused`, `starting`, `unreachable`, `draining`.
    pub state: &'static str,
    /// Connections that take pushes.
    pub connections: usize,
    /// Pushes whose answer is awaited.
    pub in_flight: usize,
    /// Pushes in memory that wait for their turn or their next attempt.
    pub queued: usize,
    /// Pushes that are known to wait on disk only.
    pub on_disk: usize,
    /// Organisations that have open pushes here.
    pub organisations: usize,
    /// The organisation of which most wait, and how many.
    pub noisiest: Option<(SipDomain, usize)>,
    /// What last went wrong with a connection or the credentials, and when.
    pub trouble: Option<(Timestamp, String)>,
}

/// As whom the publisher comes to a push service for one app. Never the key itself.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The app.
    pub app: AppKey,
    /// What it is: `key`, `certificate`, `service-account`.
    pub kind: &'static str,
    /// Which key, as the push service calls it.
    pub key_id: String,
    /// Whose: Apple's team, the account's address at Google.
    pub owner: String,
    /// The file that it is read from.
    pub file: String,
    /// When what is in use was read.
    pub read: Timestamp,
    /// Why what that file holds now is not in use, as a sentence.
    pub differs: Option<String>,
    /// When that file was last written, if the system says.
    pub written: Option<Timestamp>,
    /// When it ends, if it does: certificates do, keys do not.
    pub expires: Option<Timestamp>,
    /// Where the push service is.
    pub server: String,
}

/// What a push service has said to a test.
#[derive(Clone, Debug)]
pub struct ProviderAnswer {
    /// What it means.
    pub verdict: Verdict,
    /// Its HTTP status; 0 if none came.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
}
