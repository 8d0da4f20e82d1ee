//! What administrators ask of a shard: which devices there are, what each would need, and that one be forgotten.

use reveille_core::gates::Gate;

use super::messages::look;
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
        // Each has a device, so no more of them than devices are wanted; the others need no place in the order.
        if most < users.len() {
            users.select_nth_unstable_by_key(most, |(user, _)| *user);
            users.truncate(most);
        }
        users.sort_unstable_by_key(|(user, _)| *user);
        let channel = reveille_core::Event::Message.rule().channel;
        look(&self.shared, self.shared.clock.now(), |around| {
            let devices = users.into_iter().flat_map(|(user, account)| foreseen(account, user, channel, around));
            devices.take(most).collect()
        })
    }

    /// What each of a user's devices would need if this happened now. Nothing is done about it.
    pub(super) fn explain(&self, user: &Aor, event: reveille_core::Event) -> Explained {
        let account = self.accounts.get(user);
        look(&self.shared, self.shared.clock.now(), |around| Explained {
            site: around.site.to_owned(),
            settings: Arc::clone(&self.shared.settings.borrow()),
            publisher: around.publisher.clone(),
            devices: account.map_or_else(Vec::new, |account| foreseen(account, user, event.rule().channel, around)),
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

#[cfg(test)]
mod tests {
    use reveille_core::{AppKey, DeviceToken, Environment, Event as Occasion, Provider};
    use reveille_store::SqliteHome;

    use super::*;
    use crate::inbox::tests::settings;
    use crate::shard::tests::{NOW, Stopped};

    fn record(user: &str, device: &str) -> DeviceRecord {
        let app = AppKey { provider: Provider::Apns, app: "app".into(), environment: Environment::Production };
        let mut identity = PushIdentity::new(IdentityId::from_u128(9), app);
        identity.refresh(Some(DeviceToken::new("token")), None, NOW, &[]);
        DeviceRecord {
            user: user.parse().unwrap(),
            device: device.into(),
            identity: Some(identity),
            dead_tokens: Vec::new(),
            user_agent: String::new(),
            last_registered: NOW,
            session_expires: NOW.plus(Duration::from_secs(3600)),
            suspended_since: Some(Timestamp::from_millis(1)),
            last_push: None,
        }
    }

    #[tokio::test]
    async fn devices_are_seen_in_order_explained_and_forgotten() {
        let folder = std::env::temp_dir().join(format!("reveille-home-seen-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store = Arc::new(SqliteHome::open(&folder.join("home.db")).unwrap());
        let records =
            [("carol@contoso.com", "a"), ("bob@contoso.com", "b"), ("bob@contoso.com", "a"), ("dave@contoso.com", "a")];
        let records = records.map(|(user, device)| record(user, device)).to_vec();
        let kept = records.iter().cloned().map(HomeChange::PutDevice).collect();
        wait(|done| store.commit(kept, done)).await.unwrap();
        let (outbox, _jobs) = mpsc::channel(8);
        let (_settings, watched) = watch::channel(Arc::new(settings()));
        let shared = Shared {
            name: "home.contoso.com".into(),
            site: "x".into(),
            grace: Duration::from_secs(2),
            store: Arc::clone(&store) as _,
            settings: watched,
            clock: Arc::new(Stopped),
            requests: Requests::new(),
            flows: Arc::default(),
            outbox,
        };
        let mut shard = Shard::new(0, Arc::new(shared), records, Vec::new());
        let names = |seen: Vec<Foreseen>| -> Vec<String> {
            seen.iter().map(|it| format!("{}/{}", it.record.user.user(), it.record.device)).collect()
        };
        assert_eq!(names(shard.devices(None, 9)), ["bob/a", "bob/b", "carol/a", "dave/a"]);
        assert_eq!(names(shard.devices(None, 2)), ["bob/a", "bob/b"]);
        let carol: Aor = "carol@contoso.com".parse().unwrap();
        assert_eq!(names(shard.devices(Some(&carol), 9)), ["carol/a"]);
        let open = shard.explain(&carol, Occasion::Message);
        assert_eq!(
            (open.publisher.as_str(), open.devices[0].next),
            ("push.example.net", reveille_core::session::Next::Push)
        );
        let call = shard.explain(&carol, Occasion::Call);
        assert_eq!(call.devices[0].next, reveille_core::session::Next::Hold(Reason::NoVoipToken));
        for expected in [Ok(true), Ok(false)] {
            let (done, forgotten) = oneshot::channel();
            shard.forget(carol.clone(), "a".into(), done);
            while let Some(step) = shard.work.next().await {
                shard.step(step);
            }
            assert_eq!(forgotten.await.unwrap(), expected);
        }
        assert_eq!(store.devices().unwrap().len(), 3, "it is gone from disk too");
        store.close();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
