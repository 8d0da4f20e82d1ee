//! Metrics per partner, with a bounded set of labels: listed partners by their domain, all others together.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::Counter;
use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_federation::policy::Standing;

use crate::partners::Way;

/// Handles by label. As many as there are listed domains, and two more.
#[derive(Default)]
pub(crate) struct MetersOf {
    by_label: Mutex<HashMap<Label, Arc<Meters>>>,
}

/// Under which name a partner is counted.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Label {
    Discovered,
    DefaultRoute,
    Listed(SipDomain),
}

impl Label {
    fn of(standing: &Standing) -> Self {
        if standing.is_listed() {
            Self::Listed(standing.domain().clone())
        } else if standing.is_discovered() {
            Self::Discovered
        } else {
            Self::DefaultRoute
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Discovered => "discovered",
            Self::DefaultRoute => "default-route",
            Self::Listed(domain) => domain.as_str(),
        }
    }
}

impl MetersOf {
    /// The handles of a partner; made once for each label.
    pub(crate) fn of(&self, standing: &Standing) -> Arc<Meters> {
        let label = Label::of(standing);
        let mut by_label = self.by_label.lock();
        if let Some(meters) = by_label.get(&label) {
            return Arc::clone(meters);
        }
        let meters = Arc::new(Meters::new(label.as_str()));
        by_label.insert(label, Arc::clone(&meters));
        meters
    }
}

/// The counters of one label.
pub(crate) struct Meters {
    label: String,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) unanswered: Counter,
    pub(crate) unreachable: Counter,
    /// By direction and class.
    answers: [[Counter; 5]; 2],
}

impl Meters {
    fn new(label: &str) -> Self {
        let partner = label.to_owned();
        let requests = |direction: &'static str| metrics::counter!("reveille_edge_partner_requests_total", "partner" => partner.clone(), "direction" => direction);
        let answers = |direction: &'static str| {
            ["2xx", "3xx", "4xx", "5xx", "6xx"].map(|class| {
                metrics::counter!(
                    "reveille_edge_partner_answers_total",
                    "partner" => partner.clone(), "direction" => direction, "class" => class
                )
            })
        };
        Self {
            received: requests("in"),
            sent: requests("out"),
            answers: [answers("in"), answers("out")],
            unanswered: metrics::counter!("reveille_edge_partner_unanswered_total", "partner" => partner.clone()),
            unreachable: metrics::counter!("reveille_edge_partner_unreachable_total", "partner" => partner.clone()),
            label: partner,
        }
    }

    pub(crate) fn answered(&self, way: Way, class: usize) {
        let direction = match way {
            Way::In => 0,
            Way::Out => 1,
        };
        self.answers[direction][class].increment(1);
    }

    /// Refusals are rare enough to be looked up.
    pub(crate) fn refused(&self, reason: &'static str) {
        metrics::counter!("reveille_edge_partner_refused_total", "partner" => self.label.clone(), "reason" => reason)
            .increment(1);
    }
}
