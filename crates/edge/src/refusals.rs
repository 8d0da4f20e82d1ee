//! The latest refusals with their sentences, for logs, metrics and status pages.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use reveille_core::{Clock, Timestamp};
use reveille_federation::Refusal;
use reveille_sip_net::{Flow, HandshakeRefusal};
use tracing::info;

/// How many are remembered.
const LATEST: usize = 100;

/// One refusal.
#[derive(Clone, Debug)]
pub struct Refused {
    /// When.
    pub at: Timestamp,
    /// Who was turned away.
    pub remote: SocketAddr,
    /// The stable word.
    pub reason: &'static str,
    /// What an administrator reads.
    pub sentence: String,
    /// What would change it.
    pub advice: String,
}

/// Remembers a bounded number of refusals.
pub(crate) struct Refusals {
    clock: Arc<dyn Clock>,
    latest: Mutex<VecDeque<Refused>>,
}

impl Refusals {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, latest: Mutex::default() }
    }

    /// A request was turned away.
    pub(crate) fn request(&self, flow: &Flow, refusal: &Refusal) {
        let subject = flow.peer().map(|peer| peer.subject.as_str()).unwrap_or_default();
        info!(remote = %flow.remote(), peer.subject = subject, reason = refusal.as_str(), advice = refusal.advice(), "request refused: {refusal}");
        metrics::counter!("reveille_edge_refused_total", "reason" => refusal.as_str()).increment(1);
        self.remember(flow.remote(), refusal.as_str(), refusal.to_string(), refusal.advice());
    }

    /// A connection was turned away.
    pub(crate) fn handshake(&self, remote: SocketAddr, refusal: &HandshakeRefusal) {
        info!(%remote, reason = refusal.label(), advice = refusal.advice(), "connection refused: {refusal}");
        metrics::counter!("reveille_edge_handshakes_refused_total", "reason" => refusal.label()).increment(1);
        self.remember(remote, refusal.label(), refusal.to_string(), refusal.advice().to_owned());
    }

    fn remember(&self, remote: SocketAddr, reason: &'static str, sentence: String, advice: String) {
        let mut latest = self.latest.lock();
        if latest.len() == LATEST {
            latest.pop_front();
        }
        latest.push_back(Refused { at: self.clock.now(), remote, reason, sentence, advice });
    }

    pub(crate) fn latest(&self) -> Vec<Refused> {
        self.latest.lock().iter().cloned().collect()
    }
}
