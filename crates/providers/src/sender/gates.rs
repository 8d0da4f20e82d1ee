//! All circuits that the pushes of a lane pass: the app's, which its lanes share, the host's, which all apps there
//! share, and the lane's own.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::{AppKey, Channel, LaneKey, Timestamp, Verdict};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::circuit::{Circuit, Patience, Way};
use super::dial::Target;
use super::dialect::Blame;

/// When circuits open and how often they are probed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Breakers {
    /// After the provider has refused our credential or the app. A person has to mend that, so it is probed slowly.
    pub app: Patience,
    /// After answers that say nothing but that the provider fails.
    pub host: Patience,
    /// After attempts to connect.
    pub reach: Patience,
    /// After answers that ask a lane to slow down.
    pub lane: Patience,
}

impl Default for Breakers {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            // One such word concerns all pushes of the app.
            app: Patience { failures: 1, first: secs(5), longest: secs(600) },
            host: Patience { failures: 40, first: secs(1), longest: secs(60) },
            reach: Patience { failures: 4, first: Duration::from_millis(500), longest: secs(10) },
            // One 503 that names a time, or six limits that may be one device's: see `concerned`.
            lane: Patience { failures: 6, first: secs(1), longest: secs(60) },
        }
    }
}

/// The circuits of one process, so that lanes of one app, and apps of one host, share theirs. As many as the
/// configuration has apps.
#[derive(Clone, Debug, Default)]
pub struct Circuits(Arc<Registry>);

#[derive(Debug, Default)]
struct Registry {
    breakers: Breakers,
    apps: Mutex<HashMap<AppKey, Arc<Circuit>>>,
    hosts: Mutex<HashMap<String, Arc<Host>>>,
}

/// What all lanes to one server share.
#[derive(Debug)]
pub(super) struct Host {
    /// Its answers.
    pub(super) service: Circuit,
    /// Whether it can be reached at all.
    pub(super) reach: Circuit,
}

impl Circuits {
    /// Circuits that open at other times than usual.
    pub fn new(breakers: Breakers) -> Self {
        Self(Arc::new(Registry { breakers, ..Registry::default() }))
    }

    pub(super) fn gates(&self, lane: &LaneKey, target: &Target) -> Gates {
        let breakers = self.0.breakers;
        let app = Arc::clone(
            self.0.apps.lock().entry(lane.app.clone()).or_insert_with(|| Arc::new(Circuit::new(breakers.app))),
        );
        let fresh = || Arc::new(Host { service: Circuit::new(breakers.host), reach: Circuit::new(breakers.reach) });
        let host = Arc::clone(self.0.hosts.lock().entry(target.place()).or_insert_with(fresh));
        let changed = Arc::new(Notify::new());
        app.tell(&changed);
        host.service.tell(&changed);
        host.reach.tell(&changed);
        let own = Circuit::new(breakers.lane);
        own.tell(&changed);
        Gates { channel: lane.channel, app, host, own, changed, of_tokens: AtomicU32::new(0) }
    }
}

/// Which circuit is open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Which {
    /// The provider refuses the app or its credential: both channels stand still, and calls end at once.
    App,
    /// The host answers with failures, or not at all: all apps there stand still.
    Host,
    /// The provider has asked this lane to slow down, or refuses its topic.
    Lane,
}

impl Which {
    /// The stable lower-case word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Host => "host",
            Self::Lane => "lane",
        }
    }
}

/// An open circuit, for status pages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    /// Which one.
    pub which: Which,
    /// Since when.
    pub since: Timestamp,
    /// The provider's own word, or ours.
    pub why: Box<str>,
}

/// The circuits of one lane.
#[derive(Debug)]
pub(super) struct Gates {
    channel: Channel,
    app: Arc<Circuit>,
    pub(super) host: Arc<Host>,
    own: Circuit,
    /// One of them has opened or closed.
    pub(super) changed: Arc<Notify>,
    /// Answers in a row that blame single tokens for what may be the app's fault.
    of_tokens: AtomicU32,
}

/// What a batch of answers says of the provider, beside what each says of its push.
#[derive(Debug, Default)]
pub(super) struct Lesson {
    /// Answers that only a provider in good health gives to somebody whom it knows.
    pub(super) good: usize,
    /// The others.
    pub(super) bad: Vec<Bad>,
}

/// An answer that a provider in good health does not give to somebody whom it knows.
#[derive(Clone, Debug)]
pub(super) struct Bad {
    pub(super) verdict: Verdict,
    pub(super) status: u16,
    /// The time that the provider itself has named in `Retry-After`: what we wait where it names none is of the push alone.
    pub(super) asked: Option<Duration>,
}

impl Gates {
    /// Whether the lane may send at this moment. Calls never probe.
    pub(super) fn way(&self, now: Instant) -> Way {
        let all = self.all();
        if all.iter().all(|circuit| circuit.is_closed()) {
            return Way::Free;
        }
        if self.channel == Channel::Voip || all.iter().any(|circuit| !circuit.is_closed() && !circuit.is_due(now)) {
            return Way::Shut;
        }
        let mut permits = Vec::new();
        for circuit in all {
            match circuit.way(now) {
                Way::Free => {}
                Way::Probe => permits.push(circuit),
                // Another lane was faster.
                Way::Shut => {
                    permits.iter().for_each(|circuit| circuit.unused(now));
                    return Way::Shut;
                }
            }
        }
        if permits.is_empty() { Way::Free } else { Way::Probe }
    }

    /// Whether the provider refuses the app, with its word: then a call would be refused too, and can say so at once.
    pub(super) fn refused(&self) -> Option<Box<str>> {
        self.app.open().map(|open| open.why)
    }

    /// A permit to probe has decided nothing, and comes back at this time.
    pub(super) fn unused(&self, until: Instant) {
        self.all().iter().for_each(|circuit| circuit.unused(until));
    }

    /// Whether a probe of our own may take the place of a push that does not come. It tells much about our credential,
    /// and little about a service that fails behind its front; so a host is asked with it only after a while.
    pub(super) fn may_ask_about_nobody(&self, wall: Timestamp) -> bool {
        let host = self.host.service.open();
        host.is_none_or(|open| wall.since(open.since) >= OWN_AFTER)
    }

    /// When something may change by itself.
    pub(super) fn next(&self) -> Option<Instant> {
        self.all().iter().filter_map(|circuit| circuit.next()).min()
    }

    /// Asks again at once: what was wrong may have been mended.
    pub(super) fn try_now(&self, now: Instant) {
        self.all().iter().for_each(|circuit| circuit.try_now(now));
    }

    /// Learns from answers, in the order in which they came as far as that matters: one good answer among many bad ones
    /// says that not everything fails. Answers which circuits it has opened for the first time, and closed.
    pub(super) fn learn(
        &self,
        lesson: &Lesson,
        blame: impl Fn(&str) -> Blame,
        now: Instant,
        wall: Timestamp,
    ) -> Vec<(Which, bool)> {
        let mut turned = Vec::new();
        if lesson.good > 0 {
            self.of_tokens.store(0, Ordering::Relaxed);
            for (which, circuit) in self.named() {
                if circuit.succeeded() {
                    turned.push((which, false));
                }
            }
            return turned;
        }
        for bad in &lesson.bad {
            let Some((which, circuit, weight)) = self.concerned(bad, &blame) else { continue };
            let (why, after) = match &bad.verdict {
                // What a limit says of the time to wait is meant for whoever met it, which may be one device.
                Verdict::Retry { reason, .. } if bad.status == 429 => (reason, None),
                Verdict::Retry { reason, .. } => (reason, bad.asked),
                Verdict::Configuration { reason } => (reason, None),
                _ => continue,
            };
            if circuit.failed(weight, why, after, now, wall, rand::random()) {
                turned.push((which, true));
            }
        }
        turned
    }

    /// Which circuit an answer concerns, and how much it weighs there.
    fn concerned(&self, bad: &Bad, blame: impl Fn(&str) -> Blame) -> Option<(Which, &Circuit, u32)> {
        match (&bad.verdict, bad.status) {
            (Verdict::Configuration { reason }, _) => match blame(reason) {
                Blame::App => Some((Which::App, &*self.app, 1)),
                // What Apple has against the topic of calls says nothing of messages. Calls never probe, so that their
                // lane could not be closed again; each is refused by itself.
                Blame::Channel if self.channel == Channel::Voip => None,
                Blame::Channel => Some((Which::Lane, &self.own, u32::MAX)),
                Blame::Token => {
                    self.of_tokens.fetch_add(1, Ordering::Relaxed);
                    None
                }
            },
            // Google says the same of one device and of the whole project: in a row they are the project's.
            (Verdict::Retry { reason, .. }, 429) if self.channel == Channel::Message => match blame(reason) {
                Blame::Token => None,
                Blame::App | Blame::Channel => Some((Which::Lane, &self.own, 1)),
            },
            // RFC 9110 §15.6.4: the server says for how long it will be unavailable, and Google wants that honoured. A call
            // cannot wait for it: each is tried.
            (Verdict::Retry { .. }, 503) if bad.asked.is_some() && self.channel == Channel::Message => {
                Some((Which::Lane, &self.own, u32::MAX))
            }
            (Verdict::Retry { .. }, 500..=599) => Some((Which::Host, &self.host.service, 1)),
            _ => None,
        }
    }

    /// Whether answers in a row blame so many tokens that the app itself must be wrong. Nothing is stopped for it: all
    /// may be one tenant's.
    pub(super) fn tokens_agree(&self) -> bool {
        self.of_tokens.load(Ordering::Relaxed) >= TOKENS_AGREE
    }

    /// The gravest circuit that is open.
    pub(super) fn broken(&self) -> Option<Broken> {
        let mut named = self.named().into_iter();
        named.find_map(|(which, circuit)| circuit.open().map(|open| Broken { which, since: open.since, why: open.why }))
    }

    /// Whether one of them is open.
    pub(super) fn is_open(&self, which: Which) -> bool {
        self.named().into_iter().any(|(known, circuit)| known == which && circuit.open().is_some())
    }

    fn named(&self) -> [(Which, &Circuit); 3] {
        [(Which::App, &*self.app), (Which::Host, &self.host.service), (Which::Lane, &self.own)]
    }

    fn all(&self) -> [&Circuit; 3] {
        [&*self.app, &self.host.service, &self.own]
    }
}

/// So long real pushes alone probe a host.
const OWN_AFTER: Duration = Duration::from_secs(30);
/// So many in a row are more than the bad luck of some devices.
const TOKENS_AGREE: u32 = 20;

#[cfg(test)]
mod tests {
    use reveille_core::{Environment, Provider};

    use super::*;

    const WALL: Timestamp = Timestamp::from_millis(7);

    fn gates(circuits: &Circuits, app: &str, host: &str, channel: Channel) -> Gates {
        let app = AppKey { provider: Provider::Apns, app: app.into(), environment: Environment::Production };
        let target = Target { host: host.into(), port: 443, address: None, proxy: None };
        circuits.gates(&LaneKey { app, channel }, &target)
    }

    fn retry(after: Option<u64>) -> Verdict {
        Verdict::Retry { reason: "fails".into(), after: after.map(Duration::from_secs), unprocessed: true }
    }

    fn refused(word: &str) -> Verdict {
        Verdict::Configuration { reason: word.into() }
    }

    fn blame(word: &str) -> Blame {
        match word {
            "topic" => Blame::Channel,
            "sender" => Blame::Token,
            _ => Blame::App,
        }
    }

    fn learn(gates: &Gates, good: usize, verdict: Option<(Verdict, u16)>, times: usize) -> Vec<(Which, bool)> {
        let bad = verdict.into_iter().flat_map(|(verdict, status)| {
            let asked = if let Verdict::Retry { after, .. } = &verdict { *after } else { None };
            std::iter::repeat_n(Bad { verdict, status, asked }, times)
        });
        let bad = bad.collect();
        gates.learn(&Lesson { good, bad }, blame, Instant::now(), WALL)
    }

    #[test]
    fn each_kind_of_answer_opens_its_circuit_and_no_other() {
        use Channel::{Message, Voip};
        for (channel, verdict, status, times, opens) in [
            (Message, refused("InvalidProviderToken"), 403, 1, Some(Which::App)),
            (Voip, refused("InvalidProviderToken"), 403, 1, Some(Which::App)),
            (Message, refused("topic"), 400, 1, Some(Which::Lane)),
            (Voip, refused("topic"), 400, 100, None),
            (Message, refused("sender"), 403, 100, None),
            (Message, retry(Some(9)), 503, 1, Some(Which::Lane)),
            (Message, retry(None), 503, 39, None),
            (Message, retry(None), 503, 40, Some(Which::Host)),
            (Voip, retry(Some(9)), 503, 39, None),
            (Voip, retry(Some(9)), 503, 40, Some(Which::Host)),
            (Message, retry(None), 500, 39, None),
            (Message, retry(None), 500, 40, Some(Which::Host)),
            (Message, retry(Some(60)), 429, 5, None),
            (Message, retry(Some(60)), 429, 6, Some(Which::Lane)),
            (Message, Verdict::Retry { reason: "sender".into(), after: None, unprocessed: true }, 429, 100, None),
            (Message, retry(None), 0, 100, None),
            (Message, Verdict::Reject { reason: "PayloadTooLarge".into() }, 413, 100, None),
        ] {
            let gates = gates(&Circuits::default(), "app", "host", channel);
            let turned = learn(&gates, 0, Some((verdict.clone(), status)), times);
            assert_eq!(turned, opens.map(|which| (which, true)).into_iter().collect::<Vec<_>>(), "{verdict:?} {times}");
            assert_eq!(gates.broken().map(|broken| broken.which), opens);
        }
    }

    #[test]
    fn one_503_that_names_a_time_holds_the_messages_of_its_lane_until_then() {
        for (asked, holds) in [(30, 30), (86_400, 900)] {
            let circuits = Circuits::default();
            let held = gates(&circuits, "app", "host", Channel::Message);
            let others = [("app", Channel::Voip), ("two", Channel::Message)];
            let others = others.map(|(app, channel)| gates(&circuits, app, "host", channel));
            let now = Instant::now();
            learn(&held, 0, Some((retry(Some(asked)), 503)), 1);
            let at = |secs| now + Duration::from_secs(secs);
            assert_eq!((held.way(at(holds - 1)), held.way(at(holds + 1))), (Way::Shut, Way::Probe), "{asked}");
            assert!(others.iter().all(|other| other.way(now) == Way::Free));
        }
    }

    #[test]
    fn a_time_that_is_ours_and_not_the_providers_holds_nobody_but_the_push() {
        let gates = gates(&Circuits::default(), "app", "host", Channel::Message);
        // Google names none: the push waits ten seconds all the same.
        let bad = vec![Bad { verdict: retry(Some(10)), status: 503, asked: None }; 39];
        assert_eq!(gates.learn(&Lesson { good: 0, bad }, blame, Instant::now(), WALL), []);
        assert_eq!(gates.way(Instant::now()), Way::Free);
    }

    #[test]
    fn one_good_answer_among_bad_ones_says_that_not_everything_fails() {
        let gates = gates(&Circuits::default(), "app", "host", Channel::Message);
        for _ in 0..10 {
            assert_eq!(learn(&gates, 1, Some((retry(Some(9)), 503)), 30), []);
        }
        assert_eq!(gates.way(Instant::now()), Way::Free);
    }

    #[test]
    fn lanes_of_one_app_and_apps_of_one_host_share_what_concerns_both() {
        let circuits = Circuits::default();
        let one = gates(&circuits, "one", "host", Channel::Message);
        let calls = gates(&circuits, "one", "host", Channel::Voip);
        let two = gates(&circuits, "two", "host", Channel::Message);
        let elsewhere = gates(&circuits, "three", "elsewhere", Channel::Message);
        learn(&one, 0, Some((refused("InvalidProviderToken"), 403)), 1);
        let now = Instant::now();
        let shut = |gates: &Gates| gates.way(now) == Way::Shut;
        assert_eq!([shut(&one), shut(&calls), shut(&two), shut(&elsewhere)], [true, true, false, false]);
        assert_eq!(calls.refused().as_deref(), Some("InvalidProviderToken"));
        learn(&two, 0, Some((retry(None), 500)), 40);
        assert_eq!([shut(&two), shut(&elsewhere)], [true, false]);
    }

    #[test]
    fn a_call_never_probes_and_one_message_does() {
        let circuits = Circuits::default();
        let (messages, calls) =
            (gates(&circuits, "app", "host", Channel::Message), gates(&circuits, "app", "host", Channel::Voip));
        learn(&messages, 0, Some((refused("InvalidProviderToken"), 403)), 1);
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(calls.way(later), Way::Shut);
        assert_eq!((messages.way(later), messages.way(later)), (Way::Probe, Way::Shut));
        assert_eq!(learn(&messages, 1, None, 0), [(Which::App, false)]);
        assert_eq!((calls.way(later), messages.way(later)), (Way::Free, Way::Free));
    }

    #[test]
    fn many_tokens_that_do_not_fit_are_told_of_and_stop_nobody() {
        let gates = gates(&Circuits::default(), "app", "host", Channel::Message);
        learn(&gates, 0, Some((refused("sender"), 403)), 19);
        assert!(!gates.tokens_agree());
        learn(&gates, 0, Some((refused("sender"), 403)), 1);
        assert_eq!((gates.tokens_agree(), gates.way(Instant::now())), (true, Way::Free));
        learn(&gates, 1, None, 0);
        assert!(!gates.tokens_agree());
    }
}
