//! A message comes for a user: what each device needs, as changes that are kept in one commit.

use std::collections::HashSet;
use std::time::Duration;

use reveille_core::delivery::PushState;
use reveille_core::gates::GateFacts;
use reveille_core::session::{MessageKind, Next, Reach, on_message};
use reveille_core::settings::{MobilityPolicy, Snapshot};
use reveille_core::{Aor, Channel, Event, IdentityId, MessageId, PushId, Reason, SipDomain, Timestamp};
use reveille_federation::Refusal;
use reveille_federation::route::way;
use reveille_sip::Message;
use reveille_store::{OwedPush, StoredMessage};

use crate::account::{Account, Device};

/// How long a message waits for its user.
pub const MESSAGE_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What home sends pushes for; the other events have their rules in `core` and nobody yet who brings them about.
pub const PUSHED: &[Event] = &[Event::GroupInvitation, Event::Message, Event::Probe];

/// The shortest life of a message that was taken.
const MESSAGE_LIFE_MIN: Duration = Duration::from_secs(60);

/// What is the same for all devices of a site at one moment.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The settings.
    pub settings: &'a Snapshot,
    /// This home's site.
    pub site: &'a str,
    /// Where push requests go: the domain of PushNotificationProxyUri.
    pub publisher: &'a SipDomain,
    /// How long after a flow is gone its phone counts as suspended.
    pub grace: Duration,
    /// The time now.
    pub now: Timestamp,
}

impl Surroundings<'_> {
    /// The second gate's policy: the one that holds for this user.
    fn policy(&self, user: &Aor) -> MobilityPolicy {
        self.settings.mobility_policy_of(user, self.site).record
    }

    /// The fifth gate: whether federation is on and the publisher may be reached.
    pub(crate) fn route(&self) -> Result<(), Reason> {
        way(self.settings, self.publisher).map(drop).map_err(|refusal| reason_of(&refusal))
    }
}

/// The reason that a refusal on the way to the clearing house stands for.
pub(crate) fn reason_of(refusal: &Refusal) -> Reason {
    match refusal {
        Refusal::DomainBlocked { .. } => Reason::DomainBlocked,
        Refusal::DomainNotAllowed { .. } => Reason::DomainNotAllowed,
        Refusal::FederationOff => Reason::FederationOff,
        _ => Reason::NoRoute,
    }
}

/// What kind of message this is: typing notices and receipts are no reason to wake anybody (RFC 3994, RFC 5438).
pub fn kind_of(content_type: &str) -> MessageKind {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    const NOTICES: [&str; 2] = ["application/im-iscomposing+xml", "message/imdn+xml"];
    match NOTICES.iter().any(|notice| media.eq_ignore_ascii_case(notice)) {
        true => MessageKind::Notice,
        false => MessageKind::Content,
    }
}

/// What a message of that content is to its receiver: a Lync client invites to a group with a document of MS-CONFIM.
pub fn event_of(content_type: &str) -> Event {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    match media.eq_ignore_ascii_case("application/ms-conf-invite+xml") {
        true => Event::GroupInvitation,
        false => Event::Message,
    }
}

/// The message as it is kept.
pub(crate) fn stored(request: &Message, from: Aor, to: Aor, id: MessageId, now: Timestamp) -> StoredMessage {
    let asked = request.expires().map(|secs| Duration::from_secs(secs.into()));
    StoredMessage {
        id,
        conversation: from.to_string(),
        to,
        from,
        content_type: request.content_type().unwrap_or("text/plain").to_owned(),
        body: request.body_bytes().to_vec(),
        taken: now,
        // RFC 3428 §6: the sender may say how long its message is worth keeping.
        // It is answered as taken, so it lives at least as long as a phone needs to come back.
        expires: now.plus(asked.unwrap_or(MESSAGE_LIFE).clamp(MESSAGE_LIFE_MIN, MESSAGE_LIFE)),
    }
}

/// What each device of a user needs for one message: a push that is owed, or one that is not and why.
pub(crate) fn pushes_for(
    account: &Account,
    message: &StoredMessage,
    kind: MessageKind,
    around: &Surroundings<'_>,
    mut new_id: impl FnMut() -> PushId,
) -> Vec<OwedPush> {
    let mut pushes = Vec::new();
    for need in needs(account, &message.to, kind, event_of(&message.content_type).rule().channel, around) {
        let (state, due) = match need.next {
            Next::Push | Next::Wait { .. } if need.is_twin => (PushState::NotPushed(Reason::Coalesced), around.now),
            Next::Push => (PushState::Owed, around.now),
            Next::Wait { until } => (PushState::Owed, until),
            Next::Deliver(reason) | Next::Hold(reason) => (PushState::NotPushed(reason), around.now),
        };
        pushes.push(owed(Some(need.device), message, around, (new_id(), state, due)));
    }
    if pushes.is_empty() && kind == MessageKind::Content {
        let state = PushState::NotPushed(Reason::NoIdentity);
        pushes.push(owed(None, message, around, (new_id(), state, around.now)));
    }
    pushes
}

/// What one device of a user needs when something happens, and why.
pub(crate) struct Need<'a> {
    /// The device.
    pub(crate) device: &'a Device,
    /// How it can be reached.
    pub(crate) reach: Reach,
    /// What the five gates look at.
    pub(crate) gates: GateFacts<'a>,
    /// What is to be done.
    pub(crate) next: Next,
    /// Whether a push for another device wakes this one too.
    pub(crate) is_twin: bool,
}

/// What each device of a user needs when something of that kind happens. Nothing is done about it.
pub(crate) fn needs<'a>(
    account: &'a Account,
    user: &Aor,
    kind: MessageKind,
    channel: Channel,
    around: &Surroundings<'_>,
) -> Vec<Need<'a>> {
    let route = around.route();
    let policy = around.policy(user);
    let mut tokens = HashSet::new();
    let need = |device: &'a Device| {
        let identity = device.record.identity.as_ref();
        let gates = GateFacts {
            provider_on: identity
                .is_none_or(|identity| around.settings.provider_on(around.site, identity.app.provider)),
            policy_permits: policy.enable_mobility && policy.enable_push_notifications,
            session_alive: around.now < device.record.session_expires,
            identity,
            channel,
            route,
        };
        let reach = device.reach(around.now);
        let next = on_message(reach, kind, &gates, around.grace, around.now);
        // A reinstalled app has a new instance and may have its old token: one push wakes both.
        let token = identity.and_then(|identity| identity.token(channel));
        // Only a push claims its token: the record of an old instance must not silence the living one.
        let claims = matches!(next, Next::Push | Next::Wait { .. });
        let is_twin = claims
            && token.is_some_and(|token| {
                !tokens.insert((identity.map(|identity| identity.app.clone()), token.token.clone()))
            });
        Need { device, reach, gates, next, is_twin }
    };
    account.devices.values().map(need).collect()
}

fn owed(
    device: Option<&Device>,
    message: &StoredMessage,
    around: &Surroundings<'_>,
    (push, state, due): (PushId, PushState, Timestamp),
) -> OwedPush {
    let identity = device.and_then(|device| device.record.identity.as_ref());
    let rule = event_of(&message.content_type).rule();
    let life = Duration::from_secs(rule.ttl_secs.into());
    OwedPush {
        push,
        user: message.to.clone(),
        device: device.map(|device| device.record.device.clone()).unwrap_or_default(),
        identity: identity.map_or(IdentityId::from_u128(0), |identity| identity.id),
        generation: identity.map_or(0, |identity| identity.generation),
        channel: rule.channel,
        event: event_of(&message.content_type),
        message: Some(message.id),
        clearing_house: around.publisher.clone(),
        created: around.now,
        expires: around.now.plus(life).min(message.expires),
        due,
        attempt: 0,
        state,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use reveille_core::settings::{
        AccessEdgeConfiguration, AllowedDomain, McxConfiguration, PushNotificationConfiguration, Setting,
    };
    use reveille_core::{AppKey, DeviceToken, Environment, Provider, PushIdentity};
    use reveille_sip_net::{Flow, Side, Transport};
    use reveille_store::DeviceRecord;

    use super::*;
    use crate::binding::{Binding, Bindings};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    /// Everything that a push by APNs needs, for a site whose publisher is push.example.net.
    pub(crate) fn settings() -> Snapshot {
        let edge = AccessEdgeConfiguration { allow_federated_users: true, ..Default::default() };
        let push = PushNotificationConfiguration { enable_apple_push_notification_service: true, ..Default::default() };
        let push_notification_proxy_uri = "sip:push@push.example.net".into();
        let mcx = McxConfiguration { push_notification_proxy_uri, ..Default::default() };
        let rows = [
            Setting::AccessEdgeConfiguration(edge),
            Setting::AllowedDomain(AllowedDomain::new("push.example.net".parse().unwrap())),
            Setting::PushNotificationConfiguration(push),
            Setting::McxConfiguration(mcx),
        ];
        Snapshot::of(rows).unwrap()
    }

    fn device(name: &str, message: Option<&str>, voip: Option<&str>, live: bool) -> Device {
        let user: Aor = "bob@contoso.com".parse().unwrap();
        let app = AppKey { provider: Provider::Apns, app: "app".into(), environment: Environment::Production };
        let mut identity = PushIdentity::new(IdentityId::from_u128(9), app);
        identity.refresh(message.map(DeviceToken::new), voip.map(DeviceToken::new), NOW, &[]);
        let address = ([127, 0, 0, 1], 5060).into();
        let flow = Flow::carried(Transport::Tcp, Side::Accepted, address, address, None, 1000);
        let mut bindings = Bindings::default();
        if live {
            let expires = NOW.plus(Duration::from_secs(60));
            bindings.put(Binding { flow, uri: "sip:bob@h".into(), value: "<sip:bob@h>".into(), expires, reg_id: None });
        }
        Device {
            record: DeviceRecord {
                user,
                device: name.into(),
                identity: Some(identity),
                dead_tokens: Vec::new(),
                user_agent: String::new(),
                last_registered: NOW,
                session_expires: NOW.plus(Duration::from_secs(3600)),
                suspended_since: (!live).then_some(Timestamp::from_millis(1)),
                last_push: None,
            },
            bindings,
        }
    }

    fn states(devices: Vec<Device>, content_type: &str, settings: &Snapshot) -> Vec<PushState> {
        let mut account = Account::default();
        for device in devices {
            account.devices.insert(device.record.device.clone(), device);
        }
        let text = "MESSAGE sip:bob@contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\n\
                    From: <sip:alice@contoso.com>;tag=1\r\nTo: <sip:bob@contoso.com>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n\
                    Max-Forwards: 70\r\nContent-Length: 2\r\n\r\nhi";
        let request = reveille_sip::parse_datagram(text.into(), &reveille_sip::Limits::default()).unwrap();
        let (alice, bob) = ("alice@contoso.com".parse().unwrap(), "bob@contoso.com".parse().unwrap());
        let message = stored(&request, alice, bob, MessageId::from_u128(3), NOW);
        let publisher = "push.example.net".parse().unwrap();
        let around =
            Surroundings { settings, site: "x", publisher: &publisher, grace: Duration::from_secs(2), now: NOW };
        let pushes = pushes_for(&account, &message, kind_of(content_type), &around, || PushId::from_u128(1));
        pushes.into_iter().map(|push| push.state).collect()
    }

    #[test]
    fn the_content_tells_what_a_message_is_to_its_receiver() {
        for (content_type, event, kind) in [
            ("text/plain", Event::Message, MessageKind::Content),
            ("application/ms-conf-invite+xml", Event::GroupInvitation, MessageKind::Content),
            ("Application/MS-Conf-Invite+XML ;charset=utf-8", Event::GroupInvitation, MessageKind::Content),
            ("application/im-iscomposing+xml", Event::Message, MessageKind::Notice),
        ] {
            assert_eq!((event_of(content_type), kind_of(content_type)), (event, kind), "{content_type}");
        }
    }

    #[test]
    fn each_device_gets_a_push_or_a_reason() {
        let on = settings();
        let not = PushState::NotPushed;
        for (devices, content_type, expected) in [
            (vec![], "text/plain", vec![not(Reason::NoIdentity)]),
            (vec![], "message/imdn+xml", vec![]),
            (vec![device("a", Some("t"), None, false)], "text/plain", vec![PushState::Owed]),
            (vec![device("a", Some("t"), None, true)], "text/plain", vec![not(Reason::Foreground)]),
            (vec![device("a", None, Some("v"), false)], "text/plain", vec![not(Reason::NoMessageToken)]),
            (vec![device("a", Some("t"), None, false)], "message/imdn+xml", vec![not(Reason::NotWorthWaking)]),
            (
                vec![device("a", Some("t"), None, false), device("b", Some("t"), None, false)],
                "text/plain",
                vec![PushState::Owed, not(Reason::Coalesced)],
            ),
            // The record of an old instance, on screen a moment ago, does not claim the token of the new one.
            (
                vec![device("a", Some("t"), None, true), device("b", Some("t"), None, false)],
                "text/plain",
                vec![not(Reason::Foreground), PushState::Owed],
            ),
            (
                vec![device("a", Some("t"), None, true), device("b", Some("u"), None, false)],
                "text/plain",
                vec![not(Reason::Foreground), PushState::Owed],
            ),
        ] {
            assert_eq!(states(devices, content_type, &on), expected);
        }
        let off = states(vec![device("a", Some("t"), None, false)], "text/plain", &Snapshot::default());
        assert_eq!(off, [not(Reason::ProviderSwitchedOff)]);
    }
}
