//! A device registers, leaves, or loses its connection.

use super::*;

/// Seconds within which a client on a connection should be heard (RFC 5626 §4.4.1), well within our idle time.
const FLOW_TIMER: &str = "120";

impl Shard {
    /// Takes an authenticated REGISTER (RFC 3261 §10.3).
    pub(super) fn register(&mut self, user: Aor, reply: Reply) {
        let mut registration = match read(reply.request()) {
            Ok(registration) => registration,
            Err(fault) => return refuse(reply, &fault),
        };
        if !reply.flow().transport().is_reliable() {
            // RFC 5626 §4.4.2: a flow over UDP is kept alive with STUN, which is not spoken here.
            registration.contacts.iter_mut().for_each(|contact| contact.reg_id = None);
        }
        let now = self.shared.clock.now();
        let mut changes = Vec::new();
        if registration.remove_all {
            let account = self.accounts.entry(user.clone()).or_default();
            // RFC 3261 §10.2.2 removes all bindings; the push identities of devices that did not speak stay.
            account.devices.values_mut().for_each(|device| device.suspend(now));
        }
        for contact in &registration.contacts {
            changes.extend(self.contact(&user, contact, &registration, reply.flow(), now));
        }
        // Also a question without contacts is answered through here: it changes nothing.
        let kept = self.commit(changes);
        self.then(async move { Step::Registered { user, reply, outcome: kept.await } });
    }

    /// One contact of a REGISTER; answers what is to be kept of it.
    fn contact(
        &mut self,
        user: &Aor,
        contact: &ContactChange,
        registration: &Registration,
        flow: &Arc<Flow>,
        now: Timestamp,
    ) -> Vec<HomeChange> {
        let fresh_id = IdentityId::from_u128(self.new_id(now));
        let account = self.accounts.entry(user.clone()).or_default();
        if contact.expires.is_zero() {
            return leave(account, user, contact, now);
        }
        let mut changes = Vec::new();
        if account.devices.len() >= DEVICES_MAX && !account.devices.contains_key(&contact.device) {
            changes.extend(make_room(account, user));
        }
        let blank = || Device {
            record: DeviceRecord {
                user: user.clone(),
                device: contact.device.clone(),
                identity: None,
                dead_tokens: Vec::new(),
                user_agent: String::new(),
                last_registered: now,
                session_expires: now,
                suspended_since: None,
                last_push: None,
            },
            bindings: Bindings::default(),
        };
        let device = account.devices.entry(contact.device.clone()).or_insert_with(blank);
        let before = device.record.clone();
        device.record.user_agent.clone_from(&registration.user_agent);
        device.record.last_registered = now;
        device.record.session_expires = now.plus(IDLE_MAX);
        device.record.suspended_since = None;
        if let Some(offer) = &contact.push {
            let known = device.record.identity.take().filter(|identity| identity.app == offer.app);
            let mut identity = known.unwrap_or_else(|| PushIdentity::new(fresh_id, offer.app.clone()));
            let (message, voip) = (offer.token(Channel::Message).cloned(), offer.token(Channel::Voip).cloned());
            identity.refresh(message, voip, now, &device.record.dead_tokens);
            device.record.identity = Some(identity);
        }
        let lasting = self.shared.flows.lasting(flow);
        self.flows
            .entry(lasting.id())
            .or_insert_with(|| (Arc::downgrade(&lasting), BTreeSet::new()))
            .1
            .insert(user.clone());
        device.bindings.put(Binding {
            flow: lasting,
            uri: contact.uri.clone(),
            value: contact.value.clone(),
            expires: now.plus(contact.expires),
            reg_id: contact.reg_id,
        });
        self.shared.flows.proven(flow, user, Some(&contact.device));
        debug!(user = %user, device = %device.record.device, push = device.record.identity.is_some(), "registered");
        // A device that cannot be pushed is nothing without its connection, and needs no place on disk.
        if device.record.identity.is_some() || before.identity.is_some() {
            changes.push(HomeChange::PutDevice(device.record.clone()));
        }
        changes
    }

    /// The registration is on disk: answer, and deliver what was kept.
    pub(super) fn registered(&mut self, user: Aor, reply: Reply, outcome: Result<(), StoreError>) {
        if let Err(reason) = outcome {
            warn!(user = %user, %reason, "a registration could not be kept");
            return reply.send_with(503, |response| {
                response.header(Name::RetryAfter, "5");
            });
        }
        let now = self.shared.clock.now();
        let account = self.accounts.entry(user.clone()).or_default();
        let own = Arc::clone(reply.flow());
        let bindings: Vec<(String, u64)> = account
            .devices
            .values()
            .flat_map(|device| device.bindings.live(now))
            .map(|binding| {
                // A device sees its own parameters again; those of the user's other devices are not its business.
                let value =
                    if is_same(&binding.flow, &own) { binding.value.clone() } else { format!("<{}>", binding.uri) };
                (value, binding.expires.since(now).as_millis().div_ceil(1000) as u64)
            })
            .collect();
        let provider = account
            .devices
            .values()
            .filter(|device| device.bindings.iter().any(|binding| is_same(&binding.flow, &own)))
            .find_map(|device| device.record.identity.as_ref())
            .map(|identity| identity.app.provider);
        let own_binding = account
            .devices
            .values()
            .flat_map(|device| device.bindings.live(now))
            .find(|binding| is_same(&binding.flow, &own) && binding.reg_id.is_some());
        let outbound = own_binding.is_some();
        reply.send_with(200, |response| {
            if outbound {
                // RFC 5626 §6: the client learns that its flows are kept apart; §5.4: and how often it must be heard.
                response.header(Name::Require, "outbound").header(Name::FlowTimer, FLOW_TIMER);
            }
            for (value, secs) in &bindings {
                response.header(Name::Contact, format_args!("{};expires={secs}", without_expires(value)));
            }
            if let Some(provider) = provider {
                // RFC 8599 §5.6.2: says that pushes are asked for from here.
                response.header(Name::FeatureCaps, format_args!("*;+sip.pns=\"{provider}\""));
            }
        });
        self.shared.flows.is_back(&own, &user);
        if !account.live(now).is_empty() {
            self.resume(user);
        }
    }

    /// A connection is gone: its devices count as suspended from now on.
    pub(super) fn flow_gone(&mut self, flow: FlowId) {
        let now = self.shared.clock.now();
        for user in self.flows.remove(&flow).map(|(_, users)| users).unwrap_or_default() {
            if let Some(account) = self.accounts.get_mut(&user) {
                account.flow_gone(flow, now);
                debug!(user = %user, presence = account.presence(now).as_str(), "a connection is gone");
                // A device that cannot be pushed was only there while it was connected.
                account.devices.retain(|_, device| !device.bindings.is_empty() || device.record.identity.is_some());
            }
        }
    }

    /// Finds connections that are gone and of which nobody told.
    pub(super) fn sweep_flows(&mut self) {
        let now = self.shared.clock.now();
        if now.since(self.swept) < SWEEP_EVERY {
            return;
        }
        self.swept = now;
        let is_gone = |flow: &Weak<Flow>| flow.upgrade().is_none_or(|flow| flow.is_closed());
        let gone: Vec<FlowId> = self.flows.iter().filter(|(_, (flow, _))| is_gone(flow)).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|flow| self.flow_gone(flow));
    }

    /// What an administrator can see of a user.
    pub(super) fn status(&self, user: Aor) -> UserStatus {
        let now = self.shared.clock.now();
        let account = self.accounts.get(&user);
        let devices = account.into_iter().flat_map(|account| account.devices.values()).map(|device| {
            let identity = device.record.identity.as_ref();
            let tail = |channel| {
                identity.and_then(|identity| identity.token(channel)).map(|token| token.token.tail().to_owned())
            };
            DeviceStatus {
                device: device.record.device.clone(),
                user_agent: device.record.user_agent.clone(),
                live: device.is_live(now),
                app: identity.map(|identity| identity.app.to_string()),
                message_token: tail(Channel::Message),
                voip_token: tail(Channel::Voip),
                last_registered: device.record.last_registered,
            }
        });
        let pushes = self.shared.store.pushes_of(&user, 50).unwrap_or_default();
        UserStatus {
            user: user.to_string(),
            presence: account
                .map_or(reveille_core::session::Presence::Offline, |account| account.presence(now))
                .as_str(),
            unread: self.shared.store.unread_count(&user, now).unwrap_or_default(),
            devices: devices.collect(),
            pushes: pushes.into_iter().map(PushStatus::from).collect(),
        }
    }
}

/// Ends one binding. With push parameters only that: apps unregister when they quit. Without them it is a sign-out, and
/// the push identity goes too (DESIGN.md §4).
fn leave(account: &mut Account, user: &Aor, contact: &ContactChange, now: Timestamp) -> Vec<HomeChange> {
    // A client without an instance of its own says goodbye by its address alone.
    let by_address = || {
        let at = |device: &Device| device.bindings.iter().any(|binding| binding.uri == contact.uri);
        account.devices.iter().find(|(_, device)| at(device)).map(|(name, _)| name.clone())
    };
    let name = match account.devices.contains_key(&contact.device) {
        true => contact.device.clone(),
        false => by_address().unwrap_or_else(|| contact.device.clone()),
    };
    let sign_out = || HomeChange::RemoveDevice { user: user.clone(), device: name.clone() };
    let Some(device) = account.devices.get_mut(&name) else {
        // Perhaps it is gone from memory only, and the disk had no room to say so: said again, it goes there too.
        return if contact.push.is_none() { vec![sign_out()] } else { Vec::new() };
    };
    if device.bindings.remove(contact.reg_id) {
        device.record.suspended_since = Some(now);
    }
    // RFC 5626 §4.2.2: one flow of several has ended, and the device is still there.
    if !device.bindings.is_empty() {
        return Vec::new();
    }
    if contact.push.is_some() {
        return vec![HomeChange::PutDevice(device.record.clone())];
    }
    account.devices.remove(&name);
    info!(user = %user, device = %name, "signed out");
    vec![sign_out()]
}

/// Lets go of the device that has been silent for longest and is not connected now.
fn make_room(account: &mut Account, user: &Aor) -> Option<HomeChange> {
    let silent = account.devices.values().filter(|device| device.bindings.is_empty());
    let oldest = silent.min_by_key(|device| device.record.last_registered).map(|device| device.record.device.clone());
    let device = oldest.or_else(|| account.devices.keys().next().cloned())?;
    info!(user = %user, device = %device, limit = DEVICES_MAX, "too many devices: the one that was silent for longest is forgotten");
    account.devices.remove(&device);
    Some(HomeChange::RemoveDevice { user: user.clone(), device })
}

/// A Contact value without the expires parameter that the client may have put there.
fn without_expires(value: &str) -> String {
    let Ok(parsed) = NameAddr::parse(value) else { return value.to_owned() };
    let end = parsed.uri_range().end;
    let (address, params) = value.split_at(if value[end..].starts_with('>') { end + 1 } else { end });
    let kept = params.split(';').skip(1).filter(|param| !param.trim().to_ascii_lowercase().starts_with("expires"));
    kept.fold(address.to_owned(), |all, param| format!("{all};{param}"))
}

fn refuse(reply: Reply, fault: &RegisterFault) {
    let sentence = fault.to_string().replace(['"', '\\'], "'");
    match fault {
        RegisterFault::Bad(_) => reply.send_with(400, |response| {
            response.header(Name::Warning, format_args!("399 reveille \"{sentence}\""));
        }),
        RegisterFault::FirstHop => reply.refuse(439, &sentence),
        RegisterFault::TooBrief => reply.send_with(423, |response| {
            response.header(Name::MinExpires, format_args!("{EXPIRES_MIN}"));
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_given_back_without_its_own_expires() {
        for (value, expected) in [
            ("<sip:b@h;expires=1>;expires=60;q=1", "<sip:b@h;expires=1>;q=1"),
            ("<sip:b@h>;+sip.instance=\"<urn:x>\";Expires=9", "<sip:b@h>;+sip.instance=\"<urn:x>\""),
            ("<sip:b@h>", "<sip:b@h>"),
            ("sip:b@h;expires=3", "sip:b@h"),
        ] {
            assert_eq!(without_expires(value), expected);
        }
    }
}
