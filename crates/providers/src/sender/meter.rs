//! What a lane counts. Labels are the app and the channel; never a token.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use reveille_core::{LaneKey, Verdict};

use super::gates::Which;

/// The counters of one lane, looked up once.
pub(super) struct Meter {
    accepted: Counter,
    configuration: Counter,
    forget: Counter,
    reject: Counter,
    retry: Counter,
    unknown: Counter,
    seconds: Histogram,
    in_flight: Gauge,
    connections: Gauge,
    circuits: [(Which, Gauge); 3],
    opened: [(Which, Counter); 3],
}

impl Meter {
    pub(super) fn new(lane: &LaneKey) -> Self {
        describe_counter!(OUTCOMES, "Pushes that have their outcome, by verdict");
        describe_histogram!(SECONDS, Unit::Seconds, "From handing a push to a connection to its answer");
        describe_gauge!(IN_FLIGHT, "Pushes whose answer is awaited");
        describe_gauge!(CONNECTIONS, "Connections to the provider that take pushes");
        describe_gauge!(CIRCUIT, "1 while a circuit is open, so that the lane's pushes wait");
        describe_counter!(CIRCUIT_OPENED, "How often a circuit has opened");
        let labels = [("app", lane.app.to_string()), ("channel", lane.channel.as_str().to_owned())];
        let by = |verdict: &'static str| {
            let [app, channel] = labels.clone();
            counter!(OUTCOMES, &[app, channel, ("verdict", verdict.to_owned())])
        };
        let of = |which: Which| {
            let [app, channel] = labels.clone();
            [app, channel, ("circuit", which.as_str().to_owned())]
        };
        let all = [Which::App, Which::Host, Which::Lane];
        Self {
            circuits: all.map(|which| (which, gauge!(CIRCUIT, &of(which)))),
            opened: all.map(|which| (which, counter!(CIRCUIT_OPENED, &of(which)))),
            accepted: by("accepted"),
            configuration: by("configuration"),
            forget: by("forget"),
            reject: by("reject"),
            retry: by("retry"),
            unknown: by("unknown"),
            seconds: histogram!(SECONDS, &labels),
            in_flight: gauge!(IN_FLIGHT, &labels),
            connections: gauge!(CONNECTIONS, &labels),
        }
    }

    pub(super) fn outcomes(&self, verdict: &Verdict, count: u64) {
        let counter = match verdict {
            Verdict::Accepted => &self.accepted,
            Verdict::Configuration { .. } => &self.configuration,
            Verdict::Forget { .. } => &self.forget,
            Verdict::Reject { .. } => &self.reject,
            Verdict::Retry { .. } => &self.retry,
            Verdict::Unknown { .. } => &self.unknown,
        };
        counter.increment(count);
    }

    pub(super) fn answered(&self, after: Duration) {
        self.seconds.record(after.as_secs_f64());
    }

    pub(super) fn in_flight(&self, count: usize) {
        self.in_flight.set(count as f64);
    }

    pub(super) fn connections(&self, count: usize) {
        self.connections.set(count as f64);
    }

    /// A circuit has opened or closed by an answer on this lane.
    pub(super) fn turned(&self, which: Which, opened: bool) {
        for (_, counter) in self.opened.iter().filter(|(known, _)| opened && *known == which) {
            counter.increment(1);
        }
    }

    /// How the circuits are.
    pub(super) fn circuits(&self, is_open: impl Fn(Which) -> bool) {
        for (which, gauge) in &self.circuits {
            gauge.set(f64::from(u8::from(is_open(*which))));
        }
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

const OUTCOMES: &str = "reveille_push_outcomes_total";
const SECONDS: &str = "reveille_push_answer_seconds";
const IN_FLIGHT: &str = "reveille_push_in_flight";
const CIRCUIT: &str = "reveille_push_circuit_open";
const CIRCUIT_OPENED: &str = "reveille_push_circuit_opened_total";
const CONNECTIONS: &str = "reveille_provider_connections";
