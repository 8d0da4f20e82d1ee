//! Pushes that are owed: when they are asked for, and what becomes of them.

use super::messages::publisher;
use super::*;

impl Shard {
    /// Takes a push into memory that the store has as owed.
    pub(super) fn owe(&mut self, push: OwedPush) {
        if !matches!(push.state, PushState::Owed | PushState::Requested) {
            return;
        }
        let account = self.accounts.entry(push.user.clone()).or_default();
        if account.owed.len() >= OWED_MAX {
            warn!(user = %push.user, limit = OWED_MAX, "a user has too many pushes owed; this one waits for a restart");
            return;
        }
        self.due.insert((push.due, push.push, push.user.clone()));
        account.owed.insert(push.push, push);
    }

    /// Asks for every push that is due.
    pub(super) fn push_due(&mut self) {
        let now = self.shared.clock.now();
        while let Some((at, push, user)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, push, user));
                return;
            }
            self.ask(&user, push, now);
        }
    }

    /// Asks for one push, unless it has lost its reason meanwhile.
    fn ask(&mut self, user: &Aor, push: PushId, now: Timestamp) {
        let settings = Arc::clone(&self.shared.settings.borrow());
        let (domain, uri) = publisher(&settings, &self.shared);
        let Some(account) = self.accounts.get_mut(user) else { return };
        let Some(owed) = account.owed.get(&push).cloned() else { return };
        let device = account.devices.get(&owed.device);
        let identity = device.and_then(|device| device.record.identity.clone());
        if now >= owed.expires {
            return self.give_up(user, push, Reason::Expired, "its life ended before anybody could take it");
        }
        if device.is_some_and(|device| device.is_live(now)) {
            // The phone is back by itself; once the message is delivered this push ends with it.
            return self.put_off(user, push, now.plus(SOON));
        }
        let Some(identity) = identity.filter(|identity| identity.id == owed.identity) else {
            return self.give_up(user, push, Reason::NoIdentity, "the device has signed out");
        };
        let Some(token) = identity.token(owed.channel) else {
            let reason = if identity.is_dead(owed.channel) { Reason::IdentityDead } else { Reason::NoMessageToken };
            return self.give_up(user, push, reason, "the token is gone");
        };
        if identity.generation != owed.generation || domain != owed.clearing_house {
            // The token has changed, or the publisher: feedback must match what is asked for, so it is owed anew.
            return self.owe_anew(owed, identity.generation, domain, now);
        }
        let unread = self.shared.store.unread_count(user, now).unwrap_or_default();
        let request = PushRequest {
            id: push,
            identity: identity.id,
            event: owed.event,
            channel: owed.channel,
            to: Some(To {
                provider: identity.app.provider,
                app: (&*identity.app.app).into(),
                environment: identity.app.environment,
                token: token.token.clone(),
            }),
            sent: now,
            expires: owed.expires,
            priority: None,
            collapse: owed.event.rule().collapses.then(|| identity.id.to_string().into()),
            badge: u32::try_from(unread).ok(),
            alert: None,
            sound: None,
            call: None,
            sealed: None,
            registered: token.registered,
            traceparent: None,
            must_understand: Vec::new(),
        };
        let job = Job { request, to: uri.into(), user: user.clone(), shard: self.index };
        if self.shared.outbox.try_send(job).is_err() {
            return self.put_off(user, push, now.plus(SOON));
        }
        debug!(push.id = %push, user = %user, "asked for");
        // Should the answer get lost on its way back here, it is asked for again: the id makes that safe.
        self.put_off(user, push, now.plus(ASK_AGAIN));
    }

    fn put_off(&mut self, user: &Aor, push: PushId, until: Timestamp) {
        self.due.insert((until, push, user.clone()));
    }

    /// Replaces a push by one for the device's present token.
    fn owe_anew(&mut self, old: OwedPush, generation: u32, clearing_house: SipDomain, now: Timestamp) {
        let push = PushId::from_u128(self.new_id(now));
        let fresh =
            OwedPush { push, generation, clearing_house, due: now, attempt: 0, state: PushState::Owed, ..old.clone() };
        let state = PushState::NotPushed(Reason::Coalesced);
        let mut changes = self.end_push(&old.user, old.push, state, "the device has a new token since");
        changes.push(HomeChange::OwePush(fresh.clone()));
        let kept = self.commit(changes);
        self.then(async move {
            match kept.await {
                Ok(()) => Step::Owed { pushes: vec![fresh] },
                Err(reason) => {
                    warn!(%reason, "a push that is owed anew could not be kept");
                    Step::Nothing
                }
            }
        });
    }

    /// Takes the clearing house's answer for one push.
    pub(super) fn push_answered(&mut self, report: Report) {
        let Report { user, push, answer } = report;
        let now = self.shared.clock.now();
        match answer {
            Answered::Taken => {
                let changes = self.end_push(&user, push, PushState::Journaled, "");
                self.note(changes);
            }
            Answered::Refused { reason, detail } => {
                info!(push.id = %push, user = %user, reason = reason.as_str(), detail, "push refused");
                self.give_up(&user, push, reason, &detail);
            }
            Answered::Later { after, reason, detail } => {
                let Some(owed) = self.accounts.get_mut(&user).and_then(|account| account.owed.get_mut(&push)) else {
                    return;
                };
                owed.attempt += 1;
                let (attempt, expires) = (owed.attempt, owed.expires);
                match Backoff::OUTBOX.next(attempt, rand::random(), now, after, expires) {
                    None => self.give_up(&user, push, reason, &detail),
                    Some(due) => {
                        info!(push.id = %push, attempt, retry.at = %due, detail, "push request not taken yet");
                        let state = PushState::Owed;
                        self.note(vec![HomeChange::MovePush { push, state, at: now, due, attempt, detail }]);
                        self.put_off(&user, push, due);
                    }
                }
            }
        }
    }

    /// Takes feedback that is believed, and says whether it is on disk.
    pub(super) fn feedback(&mut self, known: &KnownPush, item: &Item, done: oneshot::Sender<bool>) {
        let now = self.shared.clock.now();
        let account = self.accounts.entry(known.owed.user.clone()).or_default();
        // It was taken, even if the 202 has got lost: what follows is its end.
        account.owed.remove(&item.push);
        let record = account.devices.get_mut(&known.owed.device).map(|device| &mut device.record);
        info!(
            push.id = %item.push,
            user = %known.owed.user,
            verdict = item.verdict.as_str(),
            provider.reason = %item.reason,
            "feedback"
        );
        let changes = identity::changes(record, known, item, now);
        let kept = self.commit(changes);
        self.then(async move {
            let _ = done.send(kept.await.is_ok());
            Step::Nothing
        });
    }

    /// Ends a push that nobody will send.
    fn give_up(&mut self, user: &Aor, push: PushId, reason: Reason, detail: &str) {
        metrics::counter!("reveille_home_not_pushed_total", "reason" => reason.as_str()).increment(1);
        let changes = self.end_push(user, push, PushState::NotPushed(reason), detail);
        self.note(changes);
    }

    /// Takes a push out of memory; answers what the store must be told.
    pub(super) fn end_push(&mut self, user: &Aor, push: PushId, state: PushState, detail: &str) -> Vec<HomeChange> {
        let now = self.shared.clock.now();
        let Some(account) = self.accounts.get_mut(user) else { return Vec::new() };
        let Some(owed) = account.owed.remove(&push) else { return Vec::new() };
        if let Some(device) = account.devices.get_mut(&owed.device) {
            device.record.last_push = Some((push, state, now));
        }
        let (attempt, detail) = (owed.attempt, detail.to_owned());
        vec![HomeChange::MovePush { push, state, at: now, due: now, attempt, detail }]
    }

    /// Writes down what nobody waits for.
    fn note(&self, changes: Vec<HomeChange>) {
        if changes.is_empty() {
            return;
        }
        let kept = self.commit(changes);
        self.then(async move {
            if let Err(reason) = kept.await {
                // After a restart it is asked for again under the same id, and found to be a duplicate.
                warn!(%reason, "what became of a push could not be written");
            }
            Step::Nothing
        });
    }
}
