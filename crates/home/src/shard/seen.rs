//! What administrators ask of a shard: which devices there are, what each would need, and that one be forgotten.

use reveille_core::gates::Gate;

use super::messages::publisher;
use super::*;
use crate::inbox::needs;
use crate::status::{Explained, Foreseen};

impl Shard {
    /// The devices of one user, or of all users of this shard, by user and device; `most` of them.
    pub(super) fn devices(&self, user: Option<&Aor>, most: usize) -> Vec<Foreseen> {
        let mut users: Vec<_> = match user {
            Some(user) => self.accounts.get_key_value(user).into_iter().collect(),
            None => self.accounts.iter().filter(|(_, account)| !account.devices.is_empty()).collect(),
        };
        users.sort_unstable_by_key(|(user, _)| *user);
        let channel = reveille_core::Event::Message.rule().channel;
        self.look(|around| {
            let devices = users.into_iter().flat_map(|(user, account)| foreseen(account, user, channel, around));
            devices.take(most).collect()
        })
    }

    /// What each of a user's devices would need if this happened now. Nothing is done about it.
    pub(super) fn explain(&self, user: &Aor, event: reveille_core::Event) -> Explained {
        let account = self.accounts.get(user);
        self.look(|around| Explained {
            site: around.site.to_owned(),
            settings: Arc::clone(&self.shared.settings.borrow()),
            publisher: around.publisher.clone(),
            devices: account.map_or_else(Vec::new, |account| foreseen(account, user, event.rule().channel, around)),
        })
    }

    fn look<T>(&self, at: impl FnOnce(&Surroundings<'_>) -> T) -> T {
        let settings = Arc::clone(&self.shared.settings.borrow());
        let (publisher, _) = publisher(&settings, &self.shared);
        at(&Surroundings {
            settings: &settings,
            site: &self.shared.site,
            publisher: &publisher,
            grace: self.shared.grace,
            now: self.shared.clock.now(),
        })
    }

    /// Forgets everything under a name that stood in for a user's.
    pub(super) fn forget_user(&mut self, user: Aor) {
        self.accounts.remove(&user);
        for (_, users) in self.flows.values_mut() {
            users.remove(&user);
        }
        let forgotten = self.commit(vec![HomeChange::ForgetUser { user }]);
        self.then(async move {
            if let Err(reason) = forgotten.await {
                warn!(%reason, "what a test has left could not be forgotten; it goes when its time is over");
            }
            Step::Nothing
        });
    }

    /// Forgets a device with its push identity. What is owed to it ends when it is due; a device that still runs
    /// registers anew.
    pub(super) fn forget(&mut self, user: Aor, device: String, done: oneshot::Sender<Result<bool, StoreError>>) {
        let known = self.accounts.get_mut(&user).is_some_and(|account| account.devices.remove(&device).is_some());
        if !known {
            let _ = done.send(Ok(false));
            return;
        }
        info!(user = %user, device = %device, "a device is forgotten at an administrator's wish");
        let kept = self.commit(vec![HomeChange::RemoveDevice { user, device }]);
        self.then(async move {
            let _ = done.send(kept.await.map(|()| true));
            Step::Nothing
        });
    }
}

fn foreseen(account: &Account, user: &Aor, channel: Channel, around: &Surroundings<'_>) -> Vec<Foreseen> {
    let needs = needs(account, user, MessageKind::Content, channel, around).into_iter();
    let foreseen = needs.map(|need| Foreseen {
        record: need.device.record.clone(),
        reach: need.reach,
        gates: Gate::ALL.map(|gate| (gate, gate.closed(&need.gates))),
        next: need.next,
        is_twin: need.is_twin,
    });
    foreseen.collect()
}
