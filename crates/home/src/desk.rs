//! What others may ask a running home: administrators, status pages, tests.

use std::sync::Arc;

use reveille_core::{Aor, Event as Occasion, PushId, SipDomain, Timestamp};
use reveille_federation::Quota;
use reveille_store::{KnownPush, StoreError};
use tokio::sync::oneshot;

use crate::front::Front;
use crate::probe::Acknowledged;
use crate::shard::Event;
use crate::status::{Explained, Foreseen, UserStatus};
use crate::visits::{NoVisit, Visit};

/// What others may ask a running home.
#[derive(Clone)]
pub struct Desk {
    pub(crate) front: Arc<Front>,
    pub(crate) site: Arc<str>,
    pub(crate) edge: Arc<str>,
}

impl Desk {
    /// What is known of a user; `None` if there is no such user.
    pub async fn user(&self, name: &str) -> Option<UserStatus> {
        let user = self.named(name)?;
        let (done, status) = oneshot::channel();
        self.front.shards.of(&user).send(Event::Status { user: user.clone(), done }).await.ok()?;
        status.await.ok()
    }

    /// The user whom an administrator means: `bob`, `bob@contoso.com` or `sip:bob@contoso.com`. `None` if there is no
    /// such user here.
    pub fn named(&self, text: &str) -> Option<Aor> {
        self.front.users.named(text)
    }

    /// The server's own name.
    pub fn name(&self) -> &str {
        &self.front.name
    }

    /// The site whose settings hold here.
    pub fn site(&self) -> &str {
        &self.site
    }

    /// The edge that push requests leave through.
    pub fn edge(&self) -> &str {
        &self.edge
    }

    /// What each clearing house said last that it still takes of us, and when.
    pub fn quotas(&self) -> Vec<(SipDomain, Timestamp, Quota)> {
        self.front.road.get().map(|road| road.quotas.seen()).unwrap_or_default()
    }

    /// Begins a test that signs in as these users, and leaves no trace of theirs.
    pub fn visit(&self, users: &[String]) -> Result<Visit, NoVisit> {
        Visit::begin(Arc::clone(&self.front), users)
    }

    /// The devices of one user or of all with what a message would need there, by user and device; at most `most`.
    pub async fn devices(&self, user: Option<&Aor>, most: usize) -> Vec<Foreseen> {
        let mut all = Vec::new();
        for shard in self.front.shards.all() {
            if user.is_some_and(|user| !self.front.shards.of(user).same_channel(shard)) {
                continue;
            }
            let (done, devices) = oneshot::channel();
            if shard.send(Event::Devices { user: user.cloned(), most, done }).await.is_ok() {
                all.extend(devices.await.unwrap_or_default());
            }
        }
        all.sort_by(|a, b| (&a.record.user, &a.record.device).cmp(&(&b.record.user, &b.record.device)));
        all.truncate(most);
        all
    }

    /// What each of a user's devices would need if this happened now; nothing is sent. `None` while home stops.
    pub async fn explain(&self, user: &Aor, event: Occasion) -> Option<Explained> {
        let (done, explained) = oneshot::channel();
        self.front.shards.of(user).send(Event::Explain { user: user.clone(), event, done }).await.ok()?;
        explained.await.ok()
    }

    /// Forgets a device with its push identity, also on disk. `false` if there was none; `None` while home stops.
    pub async fn forget(&self, user: &Aor, device: &str) -> Option<Result<bool, StoreError>> {
        let (done, forgotten) = oneshot::channel();
        let event = Event::Forget { user: user.clone(), device: device.to_owned(), done };
        self.front.shards.of(user).send(event).await.ok()?;
        forgotten.await.ok()
    }

    /// A device says that a test push has woken it.
    pub fn acknowledge(&self, push: PushId, code: &str) -> Acknowledged {
        self.front.probes.devices.acknowledge(push, code)
    }

    /// One push and what became of it. Reads the disk.
    pub fn push(&self, push: PushId) -> Result<Option<KnownPush>, StoreError> {
        self.front.store.push(push)
    }

    /// The pushes of one user, or of all, newest first; with `before` only those older than it. Reads the disk.
    pub fn pushes(
        &self,
        user: Option<&Aor>,
        before: Option<PushId>,
        most: usize,
    ) -> Result<Vec<KnownPush>, StoreError> {
        self.front.store.latest_pushes(user, before, most)
    }
}
