//! `CsPushEligibility`: why something would be pushed to a user's devices, or not. The gates are those of the real road
//! (DESIGN.md §4); nothing is sent.

use reveille_core::delivery::PushState;
use reveille_core::gates::Gate;
use reveille_core::reason::Decider;
use reveille_core::session::Next;
use reveille_core::settings::{Setting, SettingKey, SettingRow, Snapshot};
use reveille_core::{Aor, Channel, Event, Reason};
use reveille_store::KnownPush;

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::cmdlets::push_device::{reason_of, state, token, whole_seconds};
use crate::cmdlets::remedy::{self, Place};
use crate::desk::Desk;
use crate::kind::Kind;
use crate::ports::devices::{Explained, Foreseen};
use crate::value::Object;

const NOUN: &str = "CsPushEligibility";
const OUTPUTS: &[&str] = &[
    "User",
    "Event",
    "Device",
    "Client",
    "WouldPush",
    "Outcome",
    "ClosedGate",
    "Reason",
    "Explanation",
    "Remedy",
    "Reach",
    "ProviderSwitch",
    "MobilityPolicy",
    "Session",
    "PushIdentity",
    "Federation",
    "LastPush",
];
const EVENTS: Kind = Kind::Choice(&[
    "badge",
    "call",
    "group-invitation",
    "invitation",
    "message",
    "missed-call",
    "missed-invitation",
    "missed-message",
    "probe",
    "refresh-wake",
    "voicemail",
]);

/// `Test-CsPushEligibility`
pub(super) struct Test;

impl Cmdlet for Test {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Test, NOUN),
                summary: "Says of each of a user's devices whether an event would be pushed there now, and if not, why",
                description: "Asks the five gates in the order in which home asks them, with the facts that each goes by: the \
                              provider's switch, the user's mobility policy, the device's session, its push identity, and \
                              federation with the publisher. The first closed one decides, and Remedy is the command that \
                              opens it. A device that is on screen or holds a connection is reached without a push, whatever \
                              the gates are. Nothing is sent: Test-CsMcxPushNotification walks the road itself.",
                parameters: &[
                    Parameter::new("User", Kind::User, "Whose devices: bob, bob@contoso.com or sip:bob@contoso.com")
                        .required()
                        .at(1)
                        .from(Pipeline::ByName),
                    Parameter::new("Event", EVENTS, "What happens").at(2).or("message"),
                    Parameter::new("Device", Kind::Text, "One device only, as Get-CsPushDevice shows it")
                        .from(Pipeline::ByName),
                ],
                outputs: OUTPUTS,
                area: Area::Users,
                examples: &[
                    ("Test-CsPushEligibility -User bob -Event message", "Why Bob's phone stays silent."),
                    (
                        "Get-CsPushDevice | Test-CsPushEligibility | Where-Object {$_.ClosedGate} | Format-Table User, ClosedGate, Remedy",
                        "Every device that no push can reach at this moment, and what opens the way.",
                    ),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let home = desk.ports.home()?;
            let user = remedy::user(home, call.text("User").unwrap_or_default())?;
            let name = call.text("Event").unwrap_or("message");
            let event = Event::ALL.into_iter().find(|event| word(*event) == name).unwrap_or(Event::Message);
            let mut explained = home.explain(user.clone(), event).await.ok_or_else(remedy::stopping)?;
            if let Some(device) = call.text("Device") {
                explained.devices.retain(|it| it.record.device == device);
            }
            let (server, edge) = (home.name(), home.edge());
            let place = Place { settings: &explained.settings, site: &explained.site, server: &server, edge: &edge };
            let mut outcome = Outcome::default();
            if !home.pushed().contains(&event) {
                let pushed = home.pushed().iter().map(|event| word(*event)).collect::<Vec<_>>().join(", ");
                outcome.warnings.push(format!(
                    "This version sends pushes for {pushed} only, and not yet for {name}. The gates below are those that \
                     {name} will pass."
                ));
            }
            let is_sent = outcome.warnings.is_empty();
            let view = View { user: &user, event, is_sent, explained: &explained, place: &place };
            for device in &explained.devices {
                let last = match device.record.last_push {
                    Some((push, ..)) => home.push(push).await.map_err(|error| remedy::unread(desk, &error))?,
                    None => None,
                };
                outcome.objects.push(view.object(device, last.as_ref()).into());
            }
            if explained.devices.is_empty() {
                outcome.objects.push(view.nobody().into());
            }
            Ok(outcome)
        })
    }
}

/// The stable word of an event.
pub(super) fn word(event: Event) -> String {
    match serde_json::to_value(event) {
        Ok(serde_json::Value::String(word)) => word,
        _ => unreachable!("an event is serialised as its name"),
    }
}

/// What one answer is written with.
struct View<'a> {
    user: &'a Aor,
    event: Event,
    /// Whether this version sends pushes for the event at all.
    is_sent: bool,
    explained: &'a Explained,
    place: &'a Place<'a>,
}

impl View<'_> {
    /// A user without any device.
    fn nobody(&self) -> Object {
        let reason = Reason::NoIdentity;
        self.begin("", "")
            .with("WouldPush", false)
            .with("Outcome", "kept until a device comes")
            .with("ClosedGate", Gate::PushIdentity.as_str())
            .with("Reason", reason.as_str())
            .with("Explanation", format!("{} has no device here: {}", self.user, reason.sentence()))
            .with("Remedy", self.place.remedy(reason, self.user, None, None))
    }

    fn begin(&self, device: &str, client: &str) -> Object {
        Object::new("PushEligibility")
            .with("User", self.user.to_sip_uri())
            .with("Event", word(self.event))
            .with("Device", device)
            .with("Client", client)
    }

    fn object(&self, device: &Foreseen, last: Option<&KnownPush>) -> Object {
        let record = &device.record;
        let app = record.identity.as_ref().map(|identity| &identity.app);
        let closed = device.gates.iter().find_map(|(gate, reason)| reason.map(|reason| (*gate, reason)));
        let outcome = match device.next {
            Next::Deliver(_) => "delivered directly, without a push".to_owned(),
            Next::Hold(_) => "kept until the device comes by itself".to_owned(),
            Next::Push | Next::Wait { .. } if !self.is_sent => {
                format!("not pushed: this version does not send pushes for {} yet", word(self.event))
            }
            Next::Push | Next::Wait { .. } if device.is_twin => "woken by the push for another device".to_owned(),
            Next::Push => "pushed".to_owned(),
            Next::Wait { until } => format!("pushed at {until}, unless the device is back before"),
        };
        let would_push = self.is_sent && matches!(device.next, Next::Push | Next::Wait { .. }) && !device.is_twin;
        let explanation = match (device.next, closed) {
            (Next::Deliver(reason), _) => reason.sentence().to_owned(),
            (_, Some((_, reason))) => reason.sentence().to_owned(),
            (Next::Hold(reason), None) => reason.sentence().to_owned(),
            (Next::Push | Next::Wait { .. }, None) if !self.is_sent => format!(
                "all five gates are open, and a later version will push here; this one shows the gates of {} only",
                word(self.event)
            ),
            (Next::Push | Next::Wait { .. }, None) if device.is_twin => {
                "another device of the user has the same token: one push wakes both".to_owned()
            }
            (Next::Push | Next::Wait { .. }, None) => match (came_back(device), stuck(last)) {
                (Some(reason), _) => {
                    format!("all five gates are open, but the last push came back: {}", reason.sentence())
                }
                (None, Some(why)) => format!("all five gates are open, but the last push was not taken yet: {why}"),
                (None, None) => "all five gates are open".to_owned(),
            },
        };
        let push = device.record.last_push.map(|(push, ..)| push);
        // What lies behind the gates shows only in what became of pushes.
        let broken = closed.map(|(_, reason)| reason).or_else(|| came_back(device));
        let broken = broken.or_else(|| stuck(last).map(|_| Reason::NoRoute));
        let remedy = broken.map(|reason| self.place.remedy(reason, self.user, app, push));
        let mut object = self
            .begin(&record.device, &record.user_agent)
            .with("WouldPush", would_push)
            .with("Outcome", outcome)
            .with("ClosedGate", closed.map(|(gate, _)| gate.as_str()))
            .with("Reason", closed.map(|(_, reason)| reason.as_str()))
            .with("Explanation", explanation)
            .with("Remedy", remedy)
            .with("Reach", state(device.reach));
        for (gate, reason) in device.gates {
            let mark = match (reason, closed) {
                (None, _) => "open",
                (Some(_), Some((first, _))) if first == gate => "CLOSED, and decides",
                (Some(_), _) => "closed too",
            };
            object.set(property(gate), format!("{mark}: {}", self.facts(gate, reason, device)));
        }
        object.with("LastPush", last_push(device, last))
    }

    /// What a gate goes by.
    fn facts(&self, gate: Gate, closed: Option<Reason>, device: &Foreseen) -> String {
        let (settings, site) = (&self.explained.settings, &self.explained.site);
        let record = &device.record;
        match gate {
            Gate::ProviderSwitch => {
                let Some(identity) = &record.identity else { return "the device has named no push service".to_owned() };
                let switches = settings.push_notification_at(site);
                let provider = identity.app.provider;
                let value = truth(switches.record.is_on(provider));
                let source = source(settings, "PushNotificationConfiguration", switches.from.as_ref());
                format!("{} is {value} {source}", provider.switch())
            }
            Gate::MobilityPolicy => {
                let policy = settings.mobility_policy_of(self.user, site);
                let source = source(settings, "MobilityPolicy", policy.from.as_ref());
                let (mobility, push) = (policy.record.enable_mobility, policy.record.enable_push_notifications);
                format!("EnableMobility is {} and EnablePushNotifications {} {source}", truth(mobility), truth(push))
            }
            Gate::Session => match closed {
                None => format!("signed in until {}", whole_seconds(record.session_expires)),
                Some(_) => format!(
                    "ended {}; last heard of {}",
                    whole_seconds(record.session_expires),
                    whole_seconds(record.last_registered)
                ),
            },
            Gate::PushIdentity => {
                let Some(identity) = &record.identity else { return Reason::NoIdentity.sentence().to_owned() };
                let channel = self.event.rule().channel;
                match closed {
                    None => format!("{}, {} token {}", identity.app, channel.as_str(), token(record, channel)),
                    Some(reason) => format!("{}: {}{}", identity.app, reason.sentence(), other(record, channel)),
                }
            }
            Gate::Federation => {
                let publisher = &self.explained.publisher;
                match (closed, settings.allowed_domain(publisher).map(|record| &record.proxy_fqdn)) {
                    (Some(reason), _) => format!("push requests go to {publisher}: {}", reason.sentence()),
                    (None, Some(Some(proxy))) => {
                        format!("federation is on, and {publisher} is an allowed domain behind {proxy}")
                    }
                    (None, Some(None)) => {
                        format!("federation is on, and {publisher} is an allowed domain, found by its SRV record")
                    }
                    (None, None) => {
                        format!(
                            "federation is on, and {publisher} may be reached by partner discovery or the default route"
                        )
                    }
                }
            }
        }
    }
}

/// The property that tells of a gate.
const fn property(gate: Gate) -> &'static str {
    match gate {
        Gate::ProviderSwitch => "ProviderSwitch",
        Gate::MobilityPolicy => "MobilityPolicy",
        Gate::Session => "Session",
        Gate::PushIdentity => "PushIdentity",
        Gate::Federation => "Federation",
    }
}

const fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// Which record says so, who wrote it and when.
fn source(settings: &Snapshot, kind: &str, from: Option<&reveille_core::settings::Scope>) -> String {
    let Some(scope) = from else { return format!("by default, since no {kind} is set") };
    let row: Option<&SettingRow> = settings.row(&SettingKey::new(kind, &scope.to_string()));
    match row {
        Some(SettingRow { setting, author, at, .. }) => {
            format!("in {kind} {}, set by {author} on {}", Setting::identity(setting), whole_seconds(*at))
        }
        None => format!("in {kind} {scope}"),
    }
}

/// That the device could be reached on its other channel.
fn other(record: &reveille_store::DeviceRecord, wanted: Channel) -> String {
    let other = match wanted {
        Channel::Message => Channel::Voip,
        Channel::Voip => Channel::Message,
    };
    match token(record, other).as_str() {
        "" | "dead" => String::new(),
        token => format!("; its {} token is {token}", other.as_str()),
    }
}

/// Why the last push did not arrive though home had sent it. A dead token is none: the device has another one since, or the
/// gate is closed.
pub(super) fn came_back(device: &Foreseen) -> Option<Reason> {
    let (_, state, _) = device.record.last_push?;
    reason_of(state).filter(|reason| match reason.decided_by() {
        Decider::ClearingHouse | Decider::Partner | Decider::Provider => {
            *reason != Reason::IdentityDead && !reason.remedy().is_empty()
        }
        Decider::Edge | Decider::Home => false,
    })
}

/// What the other side has said to the last push, if that is tried again and again.
fn stuck(last: Option<&KnownPush>) -> Option<String> {
    let known = last.filter(|known| matches!(known.owed.state, PushState::Owed | PushState::Requested))?;
    Some(known.detail.as_str()).filter(|detail| !detail.is_empty()).map(remedy::said)
}

/// How the last push ended, which the gates cannot know beforehand.
fn last_push(device: &Foreseen, last: Option<&KnownPush>) -> String {
    let Some((push, state, at)) = device.record.last_push else { return "none yet".to_owned() };
    if let (Some(why), Some(KnownPush { owed, .. })) = (stuck(last), last) {
        let next = whole_seconds(owed.due);
        return format!("{push}: tried {} times, and again at {next}: {why}", owed.attempt);
    }
    match reason_of(state) {
        Some(reason) => format!("{push}: {reason}, {}, on {}", reason.sentence(), whole_seconds(at)),
        None => format!("{push}: {} on {}", state.as_str(), whole_seconds(at)),
    }
}

#[cfg(test)]
mod tests;
