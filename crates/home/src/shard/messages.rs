//! A message comes, is kept, is delivered.

use super::*;

impl Shard {
    /// Takes a message: keeps it, and in the same commit the pushes owed for it.
    pub(super) fn message(&mut self, from: Aor, to: Aor, reply: Reply) {
        let now = self.shared.clock.now();
        let kind = kind_of(reply.request().content_type().unwrap_or_default());
        let id = MessageId::from_u128(self.new_id(now));
        let message = stored(reply.request(), from, to.clone(), id, now);
        let pushes = self.needed(&message, kind, now);
        let account = self.accounts.entry(to.clone()).or_default();
        for push in &pushes {
            if let PushState::NotPushed(reason) = push.state {
                debug!(push.id = %push.push, user = %to, device = %push.device, reason = reason.as_str(), "no push");
                metrics::counter!("reveille_home_not_pushed_total", "reason" => reason.as_str()).increment(1);
            }
            if let Some(device) = account.devices.get_mut(&push.device) {
                device.record.last_push = Some((push.push, push.state, now));
            }
        }
        let typing = kind == MessageKind::Notice
            && message.content_type.to_ascii_lowercase().starts_with("application/im-iscomposing");
        if typing && account.live(now).is_empty() {
            // Who is not there need not learn later that somebody was typing.
            return reply.send(202);
        }
        // One transaction: the message and what is owed for it. A crash after this line loses neither.
        let mut changes = vec![HomeChange::KeepMessage(message)];
        changes.extend(pushes.iter().cloned().map(HomeChange::OwePush));
        let kept = self.commit(changes);
        self.then(async move {
            let outcome = kept.await;
            Step::Kept { user: to, message: id, pushes, reply, outcome }
        });
    }

    /// What each device of its receiver needs for a message.
    fn needed(&mut self, message: &StoredMessage, kind: MessageKind, now: Timestamp) -> Vec<OwedPush> {
        let mut ids: Vec<PushId> = (0..=DEVICES_MAX).map(|_| PushId::from_u128(self.new_id(now))).collect();
        let next = || ids.pop().unwrap_or(PushId::from_u128(0));
        let account = self.accounts.entry(message.to.clone()).or_default();
        look(&self.shared, now, |around| pushes_for(account, message, kind, around, next))
    }

    /// The message is on disk: answer now, or within five seconds if it may be delivered until then.
    pub(super) fn kept(
        &mut self,
        user: Aor,
        message: MessageId,
        pushes: Vec<OwedPush>,
        reply: Reply,
        outcome: Result<(), StoreError>,
    ) {
        if let Err(reason) = outcome {
            warn!(user = %user, %reason, "a message could not be kept");
            return reply.send_with(503, |response| {
                response.header(Name::RetryAfter, "5");
            });
        }
        debug!(user = %user, message.id = %message, "kept");
        metrics::counter!("reveille_home_messages_total").increment(1);
        for push in pushes {
            self.owe(push);
        }
        let now = self.shared.clock.now();
        let account = self.accounts.entry(user.clone()).or_default();
        if account.live(now).is_empty() {
            // RFC 3428 §7: taken, and not known to be delivered.
            return reply.send(202);
        }
        account.askers.insert(message, reply);
        self.resume(user.clone());
        self.then(async move {
            tokio::time::sleep(TOLD_WITHIN).await;
            Step::Patience { user, message }
        });
    }

    /// Answers whoever waits for this message, if nobody has.
    pub(super) fn answer_asker(&mut self, user: &Aor, message: MessageId, status: u16) {
        if let Some(reply) = self.accounts.get_mut(user).and_then(|account| account.askers.remove(&message)) {
            reply.send(status);
        }
    }

    /// Delivers what is kept for a user, oldest first.
    pub(super) fn resume(&mut self, user: Aor) {
        let account = self.accounts.entry(user.clone()).or_default();
        if account.resuming != Resuming::Idle {
            account.resuming = Resuming::Again;
            return;
        }
        account.resuming = Resuming::Busy;
        self.fetch(user);
    }

    fn fetch(&self, user: Aor) {
        let (store, now) = (Arc::clone(&self.shared.store), self.shared.clock.now());
        self.then(async move {
            let of = user.clone();
            let read = tokio::task::spawn_blocking(move || store.undelivered(&of, now, RESUME_MAX)).await;
            Step::Fetched { user, messages: read.expect("reading the store does not panic") }
        });
    }

    pub(super) fn fetched(&mut self, user: Aor, messages: Result<Vec<StoredMessage>, StoreError>) {
        match messages {
            Err(reason) => {
                warn!(user = %user, %reason, "kept messages could not be read");
                self.rest(&user);
            }
            Ok(messages) if messages.is_empty() => self.rest(&user),
            Ok(messages) => self.next_message(user, messages),
        }
    }

    /// Delivers the first of `messages`; those behind it wait for its answer, so that the order stays.
    pub(super) fn next_message(&mut self, user: Aor, mut messages: Vec<StoredMessage>) {
        if messages.is_empty() {
            // There may have been more than were read.
            return self.fetch(user);
        }
        let now = self.shared.clock.now();
        let bindings = self.accounts.get(&user).map(|account| account.live(now)).unwrap_or_default();
        if bindings.is_empty() {
            return self.rest(&user);
        }
        let message = messages.remove(0);
        let (requests, name) = (Arc::clone(&self.shared.requests), Arc::clone(&self.shared.name));
        self.accounts.entry(user.clone()).or_default().delivering = messages;
        self.then(async move {
            let delivery = deliver(requests, message.clone(), bindings, name).await;
            Step::Delivered { user, message, delivery }
        });
    }

    pub(super) fn delivered(&mut self, user: Aor, message: StoredMessage, delivery: Delivery) {
        let now = self.shared.clock.now();
        let account = self.accounts.entry(user.clone()).or_default();
        let rest = std::mem::take(&mut account.delivering);
        let status = match delivery {
            Delivery::Done => 200,
            Delivery::Declined(status) => {
                info!(user = %user, message.id = %message.id, sip.status = status, "the client does not take this message");
                202
            }
            Delivery::NotNow { silent } => return self.not_delivered(user, &silent),
        };
        debug!(user = %user, message.id = %message.id, "delivered");
        let mut changes = vec![HomeChange::Delivered { id: message.id, to: user.clone(), at: now }];
        // Pushes that were still owed for it have lost their reason.
        let over: Vec<PushId> =
            account.owed.values().filter(|push| push.message == Some(message.id)).map(|push| push.push).collect();
        for push in over {
            changes.extend(self.end_push(&user, push, PushState::NotPushed(Reason::Foreground), "delivered directly"));
        }
        self.answer_asker(&user, message.id, status);
        let store = Arc::clone(&self.shared.store);
        self.then(async move {
            // Until this is on disk the message counts as undelivered, and would be sent again: nothing goes on before.
            while let Err(reason) = wait(|done| store.commit(changes.clone(), done)).await {
                warn!(user = %user, %reason, "a delivery could not be marked; trying again");
                tokio::time::sleep(MARK_PAUSE).await;
            }
            Step::Marked { user, rest }
        });
    }

    /// No phone has taken the message: those that did not answer are not there, and are owed pushes after all.
    fn not_delivered(&mut self, user: Aor, silent: &[FlowId]) {
        let now = self.shared.clock.now();
        let account = self.accounts.entry(user.clone()).or_default();
        let mut devices = BTreeSet::new();
        for (name, device) in &mut account.devices {
            // Only the binding that was tried: the phone may have registered over another connection meanwhile.
            let was_there = !device.bindings.is_empty();
            device.lose_flows(now, |flow| silent.contains(&flow));
            if was_there && device.bindings.is_empty() {
                devices.insert(name.clone());
            }
        }
        info!(user = %user, suspended = devices.len(), "no device took a message; those that did not answer count as suspended");
        self.rest(&user);
        if devices.is_empty() {
            return;
        }
        let store = Arc::clone(&self.shared.store);
        self.then(async move {
            let of = user.clone();
            let read = tokio::task::spawn_blocking(move || store.undelivered(&of, now, RESUME_MAX)).await;
            Step::Unreached { user, devices, messages: read.expect("reading the store does not panic") }
        });
    }

    /// Owes pushes to devices that were thought to be reachable directly.
    pub(super) fn owe_after_all(
        &mut self,
        user: &Aor,
        devices: &BTreeSet<String>,
        messages: Result<Vec<StoredMessage>, StoreError>,
    ) {
        let now = self.shared.clock.now();
        let messages = match messages {
            Ok(messages) => messages,
            Err(reason) => return warn!(user = %user, %reason, "kept messages could not be read"),
        };
        let mut pushes = Vec::new();
        for message in &messages {
            self.answer_asker(user, message.id, 202);
            let all = self.needed(message, kind_of(&message.content_type), now);
            let account = self.accounts.entry(user.clone()).or_default();
            let owed_already = |push: &OwedPush| {
                account.owed.values().any(|owed| owed.message == push.message && owed.device == push.device)
            };
            pushes.extend(all.into_iter().filter(|push| devices.contains(&push.device) && !owed_already(push)));
        }
        let kept = self.commit(pushes.iter().cloned().map(HomeChange::OwePush).collect());
        self.then(async move {
            match kept.await {
                Ok(()) => Step::Owed { pushes },
                Err(reason) => {
                    warn!(%reason, "pushes that are owed could not be kept");
                    Step::Nothing
                }
            }
        });
    }

    /// At start: phones that were on screen when this home stopped are not connected any more. What they have not got,
    /// and nobody was asked to push, is owed to them now: one push for the newest message brings them back to all.
    pub(super) fn owe_what_a_stop_left(&mut self) {
        let now = self.shared.clock.now();
        let users: Vec<Aor> = self.accounts.keys().cloned().collect();
        for user in users {
            let read = self.shared.store.undelivered(&user, now, RESUME_MAX);
            let known = self.shared.store.pushes_of(&user, OWED_MAX);
            let (Ok(messages), Ok(known)) = (read, known) else {
                warn!(user = %user, "what is kept for a user could not be read at start");
                continue;
            };
            let Some(newest) = messages.iter().rfind(|message| kind_of(&message.content_type) == MessageKind::Content)
            else {
                continue;
            };
            // Believed to be on screen, and told nothing: the only state that a stop leaves without anybody to act.
            let untold = |state| matches!(state, PushState::NotPushed(Reason::Foreground | Reason::HeldConnection));
            let devices: BTreeSet<String> = known
                .iter()
                .filter(|push| push.owed.message == Some(newest.id) && untold(push.owed.state))
                .map(|push| push.owed.device.clone())
                .collect();
            if !devices.is_empty() {
                info!(user = %user, devices = devices.len(), "a push is owed for what was not delivered before the stop");
                self.owe_after_all(&user, &devices, Ok(vec![newest.clone()]));
            }
        }
    }

    /// Delivery has come to its end, unless more has come meanwhile.
    fn rest(&mut self, user: &Aor) {
        let now = self.shared.clock.now();
        let Some(account) = self.accounts.get_mut(user) else { return };
        // A phone that came back while another connection of it was tried has not been served yet.
        let again = account.resuming == Resuming::Again && !account.live(now).is_empty();
        account.resuming = Resuming::Idle;
        if again {
            self.resume(user.clone());
        }
    }
}

/// Looks at users with all that decides about their pushes at this time.
pub(super) fn look<T>(home: &Shared, now: Timestamp, at: impl FnOnce(&Surroundings<'_>) -> T) -> T {
    let settings = Arc::clone(&home.settings.borrow());
    let (publisher, _) = publisher(&settings, home);
    at(&Surroundings { settings: &settings, site: &home.site, publisher: &publisher, grace: home.grace, now })
}

/// Where push requests of this home go: the domain, and the whole SIP URI.
pub(super) fn publisher(settings: &Snapshot, home: &Shared) -> (SipDomain, String) {
    match settings.mcx_at(&home.site, &home.name).record.push_address() {
        Some(address) => (address.domain().clone(), address.to_sip_uri()),
        // The rule of the setting lets nothing else in; a file from elsewhere may.
        None => ("invalid.invalid".parse().expect("a name"), "sip:push@invalid.invalid".into()),
    }
}
