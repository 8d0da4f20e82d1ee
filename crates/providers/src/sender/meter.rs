//! What a lane counts. Labels are the app and the channel; never a token.

use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use reveille_core::{LaneKey, Verdict};

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
}

impl Meter {
    pub(super) fn new(lane: &LaneKey) -> Self {
        describe_counter!(OUTCOMES, "Pushes that have their outcome, by verdict");
        describe_histogram!(SECONDS, Unit::Seconds, "From handing a push to a connection to its answer");
        describe_gauge!(IN_FLIGHT, "Pushes whose answer is awaited");
        describe_gauge!(CONNECTIONS, "Connections to the provider that take pushes");
        let labels = [("app", lane.app.to_string()), ("channel", lane.channel.as_str().to_owned())];
        let by = |verdict: &'static str| {
            let [app, channel] = labels.clone();
            counter!(OUTCOMES, &[app, channel, ("verdict", verdict.to_owned())])
        };
        Self {
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
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

const OUTCOMES: &str = "reveille_push_outcomes_total";
const SECONDS: &str = "reveille_push_answer_seconds";
const IN_FLIGHT: &str = "reveille_push_in_flight";
const CONNECTIONS: &str = "reveille_provider_connections";
