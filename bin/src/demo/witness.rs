//! Listens to what the roles log, so that a journey can show each hop with its time.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Hops remembered at once; a journey has a few dozen.
const HOPS_MAX: usize = 10_000;

/// One hop, as a role logged it.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    pub(crate) role: &'static str,
    pub(crate) step: String,
    pub(crate) at: Instant,
}

/// Remembers hops.
#[derive(Clone, Default)]
pub(crate) struct Witness {
    hops: Arc<Mutex<Vec<Hop>>>,
}

impl Witness {
    /// A hop that no role logs: what the demo itself sees at its phones and simulators.
    pub(crate) fn saw(&self, role: &'static str, step: impl Into<String>) {
        self.add(Hop { role, step: step.into(), at: Instant::now() });
    }

    fn add(&self, hop: Hop) {
        let mut hops = self.hops.lock();
        if hops.len() < HOPS_MAX {
            hops.push(hop);
        }
    }

    /// All hops since the last time, in order.
    pub(crate) fn take(&self) -> Vec<Hop> {
        let mut hops = std::mem::take(&mut *self.hops.lock());
        hops.sort_by_key(|hop| hop.at);
        hops
    }
}

/// The messages of the roles' logs that are hops on a push's way.
const HOPS: [(&str, &str); 11] = [
    ("kept", "the message and the push owed for it are kept in one commit"),
    ("no push", "no push"),
    ("asked for", "asks the clearing house for a push"),
    ("passed on", "passes it on"),
    ("admitted", "admits the peer"),
    ("request refused", "refuses the request"),
    ("journaled", "journals it, then answers 202"),
    ("answered", "has the provider's answer"),
    ("feedback", "hears from the clearing house"),
    ("registered", "Bob's phone registers"),
    ("delivered", "delivers the kept message, and marks it on the phone's 200"),
];

impl<S: Subscriber> Layer<S> for Witness {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(crate_name) =
            event.metadata().target().split("::").next().and_then(|name| name.strip_prefix("reveille_"))
        else {
            return;
        };
        let role = match crate_name {
            "home" => "home",
            "edge" => "edge",
            "clearinghouse" => "clearinghouse",
            _ => return,
        };
        let mut words = Words::default();
        event.record(&mut words);
        let Some((_, step)) = HOPS.iter().find(|(begins, _)| words.message.starts_with(begins)) else { return };
        self.add(Hop { role, step: format!("{step}{}", words.fields), at: Instant::now() });
    }
}

#[derive(Default)]
struct Words {
    message: String,
    fields: String,
}

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            "reason" | "verdict" | "peer.domain" | "to" | "at" | "provider.reason" => {
                write!(self.fields, " · {}", format!("{value:?}").trim_matches('"'))
            }
            _ => Ok(()),
        };
    }
}
