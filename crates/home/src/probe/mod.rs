//! Tests of the road, run by the home that real requests leave from.
//!
//! A probe is a push request without a target: journaled and answered by the clearing house, and sent to nobody. With a
//! test device it has one, and carries a code that only the device and we know; the device says it back
//! ([`Desk::acknowledge`]), which is the last stage.

mod devices;
mod here;
mod judge;
mod our_edge;
mod own_name;
#[cfg(test)]
mod tests;
mod there;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reveille_core::diagnosis::{Failure, Fault};
use reveille_core::settings::{Setting, Snapshot};
use reveille_core::stage::{Stage, Trouble};
use reveille_core::{Channel, Event, IdentityId, PushId, SipDomain, Timestamp};
use reveille_federation::PushRequest;
use reveille_federation::probe::{Answer, Draft, Goal, Order, Report, TestDevice};
use reveille_federation::request::{CONTENT_TYPE_V1, write_body};
use reveille_sip::Method;
use reveille_sip_net::RequestError;
use tokio::sync::{Semaphore, watch};

use self::devices::{Found, Heard};
use self::judge::{Asked, Facts};
use crate::desk::Desk;
use crate::outbox::Road;

pub use self::devices::Acknowledged;
pub(crate) use self::devices::Devices;

/// Tests under way at once.
const TESTS_MAX: usize = 4;
/// Devices of one user that a test chooses from.
const DEVICES_MAX: usize = 64;
/// How long our edge may take with one: longer than it gives itself for the slowest partner.
const EDGE_WITHIN: Duration = Duration::from_secs(40);
/// How long our edge may take to say that it is there.
const AWAKE_WITHIN: Duration = Duration::from_secs(8);

/// What home needs for tests, besides what every request needs.
pub(crate) struct Probes {
    pub(crate) doors: Doors,
    pub(crate) settings: watch::Receiver<Arc<Snapshot>>,
    pub(crate) site: String,
    pub(crate) devices: Devices,
    seats: Semaphore,
}

/// The names on the road between home and its edge.
#[derive(Clone, Debug)]
pub(crate) struct Doors {
    /// This home.
    pub(crate) home: SipDomain,
    /// Other names of it, by which administrators know it.
    pub(crate) home_also: Vec<SipDomain>,
    /// Our own domains, the first of them first.
    pub(crate) domain: SipDomain,
    /// All of them.
    pub(crate) domains: Vec<SipDomain>,
    /// The edge, by the name that its certificate must hold.
    pub(crate) edge: SipDomain,
    /// Other names of its inner side.
    pub(crate) edge_also: Vec<SipDomain>,
}

impl Doors {
    /// This home by the name that goes with the edge's: of two names the administrator means the one of the same domain.
    pub(crate) fn home_beside(&self, edge: Option<&SipDomain>) -> SipDomain {
        let parent = |name: &SipDomain| name.as_str().split_once('.').map(|(_, parent)| parent.to_owned());
        let beside = |name: &&SipDomain| edge.is_some_and(|edge| parent(edge) == parent(name));
        let mut names = [&self.home].into_iter().chain(&self.home_also);
        names.find(beside).unwrap_or(&self.home).clone()
    }

    /// The names of the edge's inner side; those that are nothing else first.
    pub(crate) fn inner_names(&self) -> Vec<&SipDomain> {
        self.edge_also.iter().chain([&self.edge]).collect()
    }

    /// The edge's outer name, as it told it.
    pub(crate) fn outer(&self, answer: &Answer) -> String {
        let told = answer.told.iter().find(|told| told.stage == Stage::OwnName).and_then(|told| told.name.clone());
        told.unwrap_or_else(|| self.edge.to_string())
    }
}

impl Probes {
    pub(crate) fn new(doors: Doors, settings: watch::Receiver<Arc<Snapshot>>, site: String) -> Self {
        Self { doors, settings, site, devices: Devices::default(), seats: Semaphore::new(TESTS_MAX) }
    }
}

impl Desk {
    /// Runs a test and tells how far it came. `None` while home does not run, or runs as many tests as it may.
    pub async fn probe(&self, order: Order) -> Option<Report> {
        let probes = &self.front.probes;
        let _seat = probes.seats.try_acquire().ok()?;
        let road = self.front.road.get()?;
        let begun = Instant::now();
        let settings = Arc::clone(&probes.settings.borrow());
        let facts = Facts {
            order: &order,
            doors: &probes.doors,
            settings: &settings,
            site: &probes.site,
            now: self.front.clock.now(),
        };
        let mut found = None;
        let destination = match (facts.destination(), &order.goal) {
            (Ok(to), Goal::Push { device: Some(device), .. }) => {
                self.test_device(device, &settings).await.map(|device| {
                    found = Some(device);
                    to
                })
            }
            (destination, _) => destination,
        };
        let settings_took = begun.elapsed();
        let mut report = match destination {
            Err(trouble) => facts.report(settings_took, Err(trouble)),
            Ok(to) => {
                let asked = Instant::now();
                let push = self.probe_request(found.as_ref());
                let waiting = found.is_some().then(|| probes.devices.expect(&push, &facts.publisher()));
                let answer = self.ask(road, &order.goal, &to, &push).await;
                let mut report = facts.report(settings_took, Ok((answer, asked.elapsed())));
                if let (Some(waiting), Goal::Push { patience, .. }, true) =
                    (waiting, &order.goal, report.walk.succeeded())
                {
                    let since = Instant::now();
                    let heard = waiting.heard(*patience).await;
                    device_stage(&mut report, heard, since.elapsed(), *patience);
                }
                report
            }
        };
        report.walk.took = begun.elapsed();
        Some(report)
    }

    /// The device that the test is to wake: one of a test user, so that nobody else's phone is woken for a test.
    async fn test_device(&self, device: &TestDevice, settings: &Snapshot) -> Result<Found, Box<Trouble>> {
        let none = |sentence: String, remedy: String| {
            Box::new(Trouble::new(Stage::Settings, Failure::NoTestDevice, sentence, remedy))
        };
        let user = self.front.users.kept_as(device.user.clone());
        let is_tester = settings.of_kind("HealthMonitoringConfiguration").any(|row| match &row.setting {
            Setting::HealthMonitoringConfiguration(record) => {
                let testers = [&record.first_test_user_sip_uri, &record.second_test_user_sip_uri];
                testers.into_iter().any(|tester| self.front.users.kept_as(tester.clone()) == user)
            }
            _ => false,
        });
        if !is_tester {
            let home = &self.front.probes.doors.home;
            let sentence = format!("{user} is no test user, and nobody else's device is woken for a test");
            let remedy = format!(
                "New-CsHealthMonitoringConfiguration -Identity {home} -FirstTestUserSipUri \"sip:{user}\" \
                 -SecondTestUserSipUri \"sip:ANOTHER-TEST-USER\" -TargetFqdn {home}"
            );
            return Err(none(sentence, remedy));
        }
        let seen = self.devices(Some(&user), DEVICES_MAX).await;
        let is_meant = |record: &str| device.device.as_ref().is_none_or(|wanted| record.eq_ignore_ascii_case(wanted));
        let newest = seen
            .into_iter()
            .filter(|seen| is_meant(&seen.record.device))
            .max_by_key(|seen| seen.record.last_registered);
        let seen = newest.ok_or_else(|| {
            let named = device.device.as_ref().map(|device| format!(" of the name {device}")).unwrap_or_default();
            none(format!("{user} has no device{named} here"), String::new())
        })?;
        Found::of(seen).map_err(|why| none(format!("the device of {user} cannot be woken: {why}"), String::new()))
    }

    /// The push request of a test.
    fn probe_request(&self, found: Option<&Found>) -> PushRequest {
        let now = self.front.clock.now();
        let rule = Event::Probe.rule();
        PushRequest {
            id: PushId::from_parts(now, rand::random()),
            identity: found.map_or_else(|| IdentityId::from_parts(now, rand::random()), |found| found.identity),
            event: Event::Probe,
            channel: Channel::Message,
            to: found.map(|found| found.to.clone()),
            sent: now,
            expires: now.plus(Duration::from_secs(rule.ttl_secs.into())),
            priority: None,
            collapse: None,
            badge: None,
            alert: None,
            sound: None,
            call: None,
            sealed: found.map(|_| format!("{:032x}", rand::random::<u128>()).into()),
            registered: found.map_or(Timestamp::from_millis(0), |found| found.registered),
            traceparent: None,
            must_understand: Vec::new(),
        }
    }

    /// Sends the request by our own edge, which is asked to tell what it meets.
    async fn ask(&self, road: &Road, goal: &Goal, to: &str, push: &PushRequest) -> Asked {
        let ticket = match road.requests.open(rand::random()) {
            Ok(ticket) => ticket,
            Err(error) => return Asked::Unasked(error.to_string()),
        };
        let body = write_body(std::slice::from_ref(push));
        let (method, body) = match goal {
            Goal::Partner { .. } => (Method::Options, None),
            Goal::Push { .. } => (Method::Message, Some((CONTENT_TYPE_V1, &*body))),
        };
        let draft = Draft {
            method,
            sent_by: road.name.as_str(),
            branch: ticket.branch(),
            from: &format!("sip:mcx@{}", road.domain),
            to,
            call_id: &format!("{:032x}", rand::random::<u128>()),
            hops: 70,
            asks: true,
            body,
        };
        let bytes = match draft.write() {
            Ok(bytes) => bytes,
            Err(fault) => return Asked::Unasked(format!("the request cannot be written: {fault}")),
        };
        // Whatever failed a moment ago may have been mended since.
        road.pool.forgive(&road.edge);
        let answered = tokio::select! {
            answered = ticket.through(&road.pool, &road.edge, bytes, EDGE_WITHIN) => answered,
            hangs = self.hangs(road) => Err(hangs),
        };
        match answered {
            Ok(response) => Asked::Answered(Box::new(Answer::of(&response))),
            Err(RequestError::TimedOut { within }) => Asked::Silent(within),
            Err(RequestError::Connect(error)) => Asked::Unreachable(error),
            Err(error) => Asked::Unasked(error.to_string()),
        }
    }
}

impl Desk {
    /// Ends when our edge has let a question wait that it answers at once: a test takes as long as the slowest partner, and
    /// says nothing meanwhile.
    async fn hangs(&self, road: &Road) -> RequestError {
        if let Ok(ticket) = road.requests.open(rand::random()) {
            let draft = Draft {
                method: Method::Options,
                sent_by: road.name.as_str(),
                branch: ticket.branch(),
                from: &format!("sip:mcx@{}", road.domain),
                to: &format!("sip:{}", self.front.probes.doors.edge),
                call_id: &format!("{:032x}", rand::random::<u128>()),
                hops: 0,
                asks: false,
                body: None,
            };
            let asked = match draft.write() {
                Ok(bytes) => ticket.through(&road.pool, &road.edge, bytes, AWAKE_WITHIN).await,
                Err(_) => std::future::pending().await,
            };
            if let Err(error @ RequestError::TimedOut { .. }) = asked {
                return error;
            }
        }
        std::future::pending().await
    }
}

/// The last stage: what was heard of the device.
fn device_stage(report: &mut Report, heard: Heard, took: Duration, patience: Duration) {
    let walk = &mut report.walk;
    match heard {
        Heard::Acknowledged => walk.pass(Stage::Probe, took, "the device has acknowledged"),
        Heard::Verdict { reason } => {
            let sentence = format!("the push service did not take the test push: {reason}");
            walk.fail(took, Trouble::new(Stage::Dispatch, Failure::ProviderRefuses, sentence, ""));
        }
        Heard::Nothing => {
            let sentence = format!(
                "the push service was given the test push, and the device did not acknowledge it within {} s",
                patience.as_secs()
            );
            walk.fail(took, Trouble::new(Stage::Probe, Failure::ProbeUnanswered, sentence, "").by(Fault::Provider));
        }
    }
}
