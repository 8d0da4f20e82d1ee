//! Roles that answer cmdlets in tests: everything that they hold was put there.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::delivery::PushState;
use reveille_core::gates::{Gate, GateFacts};
use reveille_core::session::{MessageKind, Reach, on_message};
use reveille_core::{
    Aor, AppKey, Channel, DeviceToken, Environment, Event, IdentityId, LaneKey, Provider, PushId, PushIdentity, Reason,
    SipDomain, Timestamp,
};
use reveille_store::{Brake, BrakeScope, Braked, DeviceRecord, KnownPush, OwedPush, StoreError, TracedPush};

use crate::ports::border::{Border, Partner};
use crate::ports::devices::{Devices, Explained, Foreseen, QuotaSeen};
use crate::ports::house::{Credential, House, Lane, ProviderAnswer};
use crate::ports::machine::{Certificate, Figures, Machine, Part};
use crate::ports::{Asked, Ports};
use crate::testing::{TestDesk, desk_with};
use crate::{Caller, Failure, Object, Outcome, Value};

/// The time at which everything in the fakes happens.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A desk with these roles, at [`NOW`].
pub(super) fn desk(home: Option<Home>, house: Option<ClearingHouse>) -> TestDesk {
    let ports = Ports {
        devices: home.map(|home| Arc::new(home) as _),
        house: house.map(|house| Arc::new(house) as _),
        ..Ports::default()
    };
    desk_of(ports)
}

/// A desk with these ports, at [`NOW`].
pub(super) fn desk_of(ports: Ports) -> TestDesk {
    let desk = desk_with(ports);
    desk.turn_to(NOW);
    desk
}

/// Runs a cmdlet with text for parameters.
pub(super) async fn run(desk: &TestDesk, name: &str, parameters: &[(&str, &str)]) -> Result<Outcome, Failure> {
    let object = parameters.iter().fold(Object::default(), |object, (name, value)| match *value {
        "$true" => object.with(*name, true),
        value => object.with(*name, value),
    });
    crate::run::run(name, &object, &Caller::owner("alice"), desk).await
}

/// One property of each object, as people read it.
pub(super) fn column(outcome: &Outcome, property: &str) -> Vec<String> {
    let objects = outcome.objects.iter().filter_map(Value::as_object);
    objects
        .map(|object| object.property(property).unwrap_or_else(|| panic!("{property} in {object}")).to_string())
        .collect()
}

/// An app at Apple.
pub(super) fn app() -> AppKey {
    AppKey { provider: Provider::Apns, app: "org.example.chat".into(), environment: Environment::Production }
}

/// A device of bob's with a token for messages, suspended a minute ago.
pub(super) fn device(name: &str) -> DeviceRecord {
    let mut identity = PushIdentity::new(IdentityId::from_u128(7), app());
    identity.refresh(Some(DeviceToken::new("00fc13adff78512")), None, NOW, &[]);
    DeviceRecord {
        user: "bob@contoso.com".parse().expect("an address"),
        device: name.into(),
        identity: Some(identity),
        dead_tokens: Vec::new(),
        user_agent: "Chat/5.2 (iPhone; iOS 17)".into(),
        last_registered: NOW,
        session_expires: NOW.plus(Duration::from_secs(3600)),
        suspended_since: Some(Timestamp::from_millis(NOW.millis() - 60_000)),
        last_push: None,
    }
}

/// A push for bob's phone, tried twice.
pub(super) fn known_push(number: u128, state: PushState, detail: &str) -> KnownPush {
    let owed = OwedPush {
        push: PushId::from_u128(number),
        user: "bob@contoso.com".parse().expect("an address"),
        device: "phone".into(),
        identity: IdentityId::from_u128(7),
        generation: 1,
        channel: Channel::Message,
        event: Event::Message,
        message: None,
        clearing_house: "push.lync.com".parse().expect("a domain"),
        created: NOW,
        expires: NOW,
        due: NOW,
        attempt: 2,
        state,
    };
    KnownPush { owed, detail: detail.into(), moved: NOW }
}

/// A home at Redmond whose only user is bob. What a device needs is decided by the rules that the real one goes by.
#[derive(Default)]
pub(super) struct Home {
    pub(super) settings: Arc<reveille_core::settings::Snapshot>,
    pub(super) devices: Mutex<Vec<(DeviceRecord, bool)>>,
    pub(super) route: Option<Reason>,
    pub(super) pushes: Vec<KnownPush>,
    pub(super) quotas: Vec<QuotaSeen>,
}

impl Home {
    /// A home with these devices, each suspended.
    pub(super) fn with(devices: impl IntoIterator<Item = DeviceRecord>) -> Self {
        let devices = devices.into_iter().map(|device| (device, false)).collect();
        Self { devices: Mutex::new(devices), ..Self::default() }
    }

    fn foresee(&self, channel: Channel) -> Vec<Foreseen> {
        let foresee = |(record, is_live): &(DeviceRecord, bool)| {
            let policy = self.settings.mobility_policy_of(&record.user, "Redmond").record;
            let facts = GateFacts {
                provider_on: self.settings.provider_on("Redmond", Provider::Apns),
                policy_permits: policy.permits_push(),
                session_alive: NOW < record.session_expires,
                identity: record.identity.as_ref(),
                channel,
                route: self.route.map_or(Ok(()), Err),
            };
            let since = record.suspended_since.unwrap_or(NOW);
            let reach = if *is_live { Reach::Foreground } else { Reach::Suspended { since } };
            let next = on_message(reach, MessageKind::Content, &facts, Duration::from_secs(2), NOW);
            let gates = Gate::ALL.map(|gate| (gate, gate.closed(&facts)));
            Foreseen { record: record.clone(), reach, gates, next, is_twin: false }
        };
        self.devices.lock().iter().map(foresee).collect()
    }
}

impl Devices for Home {
    fn named(&self, text: &str) -> Option<Aor> {
        let name = text.trim_start_matches("sip:").split('@').next()?;
        (name == "bob").then(|| "bob@contoso.com".parse().expect("an address"))
    }

    fn name(&self) -> String {
        "home.contoso.com".into()
    }

    fn edge(&self) -> String {
        "edge.contoso.com".into()
    }

    fn site(&self) -> String {
        "Redmond".into()
    }

    fn pushed(&self) -> &'static [Event] {
        &[Event::Message]
    }

    fn quotas(&self) -> Vec<QuotaSeen> {
        self.quotas.clone()
    }

    fn devices(&self, _user: Option<Aor>, most: usize) -> Asked<'_, Vec<Foreseen>> {
        Box::pin(async move { self.foresee(Channel::Message).into_iter().take(most).collect() })
    }

    fn explain(&self, _user: Aor, event: Event) -> Asked<'_, Option<Explained>> {
        Box::pin(async move {
            Some(Explained {
                site: "Redmond".into(),
                settings: Arc::clone(&self.settings),
                publisher: "push.lync.com".parse().expect("a domain"),
                devices: self.foresee(event.rule().channel),
            })
        })
    }

    fn forget(&self, _user: Aor, device: String) -> Asked<'_, Option<Result<bool, StoreError>>> {
        let mut devices = self.devices.lock();
        let before = devices.len();
        devices.retain(|(record, _)| record.device != device);
        let gone = devices.len() < before;
        Box::pin(async move { Some(Ok(gone)) })
    }

    fn push(&self, push: PushId) -> Asked<'_, Result<Option<KnownPush>, StoreError>> {
        Box::pin(async move { Ok(self.pushes.iter().find(|known| known.owed.push == push).cloned()) })
    }

    fn pushes(
        &self,
        _user: Option<Aor>,
        before: Option<PushId>,
        most: usize,
    ) -> Asked<'_, Result<Vec<KnownPush>, StoreError>> {
        Box::pin(async move {
            let mut found = self.pushes.clone();
            found.sort_by_key(|known| std::cmp::Reverse(known.owed.push));
            found.retain(|known| before.is_none_or(|before| known.owed.push < before));
            found.truncate(most);
            Ok(found)
        })
    }
}

/// A clearing house.
#[derive(Default)]
pub(super) struct ClearingHouse {
    pub(super) lanes: Vec<Lane>,
    pub(super) credentials: Vec<Credential>,
    pub(super) answer: Option<ProviderAnswer>,
    pub(super) pushes: Vec<TracedPush>,
    pub(super) brakes: parking_lot::Mutex<Vec<Braked>>,
}

impl House for ClearingHouse {
    fn lanes(&self) -> Vec<Lane> {
        self.lanes.clone()
    }

    fn load(&self) -> (usize, bool) {
        (0, false)
    }

    fn credentials(&self) -> Vec<Credential> {
        self.credentials.clone()
    }

    fn ask(&self, _lane: LaneKey) -> Asked<'_, Option<ProviderAnswer>> {
        Box::pin(async { self.answer.clone() })
    }

    fn traces(&self, push: PushId, origin: Option<SipDomain>) -> Asked<'_, Result<Vec<TracedPush>, StoreError>> {
        Box::pin(async move {
            let fit = |it: &&TracedPush| it.id == push && origin.as_ref().is_none_or(|origin| *origin == it.origin);
            Ok(self.pushes.iter().filter(fit).cloned().collect())
        })
    }

    fn latest(&self, origin: Option<SipDomain>, most: usize) -> Asked<'_, Result<Vec<TracedPush>, StoreError>> {
        Box::pin(async move {
            let fit = |it: &&TracedPush| origin.as_ref().is_none_or(|origin| *origin == it.origin);
            Ok(self.pushes.iter().filter(fit).take(most).cloned().collect())
        })
    }

    fn brakes(&self) -> Asked<'_, Result<Vec<Braked>, StoreError>> {
        Box::pin(async { Ok(self.brakes.lock().clone()) })
    }

    fn brake(&self, scope: BrakeScope, reach: Timestamp, why: String) -> Asked<'_, Result<(), StoreError>> {
        let brake = Brake { scope, since: NOW, reach, rejected: 0, answers: 0, word: why };
        self.brakes.lock().push(Braked { brake, frozen: 0 });
        Box::pin(async { Ok(()) })
    }

    fn release_brake(&self, scope: BrakeScope, _right: bool) -> Asked<'_, Result<usize, StoreError>> {
        let mut brakes = self.brakes.lock();
        let frozen: u64 = brakes.iter().filter(|braked| braked.brake.scope == scope).map(|braked| braked.frozen).sum();
        brakes.retain(|braked| braked.brake.scope != scope);
        Box::pin(async move { Ok(usize::try_from(frozen).unwrap_or(usize::MAX)) })
    }
}

/// An edge.
pub(super) struct Edge(pub(super) Vec<Partner>);

impl Border for Edge {
    fn partners(&self) -> Vec<Partner> {
        self.0.clone()
    }
}

/// A process.
#[derive(Default)]
pub(super) struct Process {
    pub(super) parts: Vec<Part>,
    pub(super) certificates: Vec<Certificate>,
    pub(super) unread: Vec<String>,
}

impl Machine for Process {
    fn parts(&self) -> Vec<Part> {
        self.parts.clone()
    }

    fn certificates(&self, peers: bool) -> Vec<Certificate> {
        let wanted = |it: &&Certificate| peers || !it.which.starts_with("peer");
        self.certificates.iter().filter(wanted).cloned().collect()
    }

    fn unread(&self) -> Vec<String> {
        self.unread.clone()
    }

    fn figures(&self) -> Figures {
        Figures { cpu_ms: 1000, peak_rss_bytes: 40_000_000, started: Timestamp::from_millis(NOW.millis() - 3_661_000) }
    }
}
