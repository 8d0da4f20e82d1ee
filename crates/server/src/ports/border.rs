//! The edge, for cmdlets.

use std::sync::Arc;

use reveille_admin::ports::border::{self, LastError, Partner};
use reveille_core::Timestamp;
use reveille_edge::{Edge, NotFound, PartnerStatus};

/// A running edge.
pub(super) struct Border(pub(super) Arc<Edge>);

impl border::Border for Border {
    fn partners(&self) -> Vec<Partner> {
        let border = self.0.border();
        let mut partners: Vec<_> = border.partners.into_iter().map(partner).collect();
        partners.extend(border.not_found.into_iter().map(not_found));
        partners.sort_by(|a, b| (&a.domain, &a.remote).cmp(&(&b.domain, &b.remote)));
        partners
    }
}

fn partner(status: PartnerStatus) -> Partner {
    let addresses = status.next_hop.iter().flat_map(|hop| &hop.addresses).map(|at| match &at.why {
        Some(why) => format!("{} ({why})", at.address),
        None => at.address.clone(),
    });
    Partner {
        addresses: addresses.collect(),
        domain: status.domain,
        remote: status.remote,
        source: status.source,
        state: status.state.as_str(),
        connections_in: status.connections_in,
        connections_out: status.connections_out,
        in_flight: status.in_flight,
        received: (status.received.requests, status.received.last_minute),
        sent: (status.sent.requests, status.sent.last_minute),
        latency_ms: status.sent.p50_ms,
        refused: status.refused.into_iter().map(|(reason, times)| (reason.to_owned(), times)).collect(),
        failing: status.failing.map(|failing| (failing.in_a_row, failing.since)),
        certificate_ends: status.certificate.map(|certificate| instant(certificate.not_after)),
        last_error: status.last_error.map(last_error),
    }
}

fn not_found(unfound: NotFound) -> Partner {
    let last_error = Some(last_error(unfound.last_error));
    Partner { domain: unfound.domain, state: "not-found", last_error, ..Partner::default() }
}

fn last_error(error: reveille_edge::LastError) -> LastError {
    LastError { at: error.at, reason: error.reason.to_owned(), sentence: error.sentence, advice: error.advice }
}

/// Unix seconds as an instant.
pub(super) fn instant(secs: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(secs).unwrap_or_default().saturating_mul(1000))
}
