//! The latest refusals with their sentences, for logs, metrics and status pages.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::{Clock, SipDomain, Timestamp};
use reveille_federation::Refusal;
use reveille_sip_net::{ConnectError, Flow, HandshakeRefusal, PeerCertificate, RefusedBy};
use tracing::info;

use crate::crossing::From;

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
    /// Of a connection: which side refused the other.
    pub refused_by: Option<RefusedBy>,
    /// Of a connection: the certificate that it was about, the peer's or ours.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// Remembers a bounded number of refusals.
pub(crate) struct Refusals {
    clock: Arc<dyn Clock>,
    latest: Mutex<VecDeque<Refused>>,
}

/// What is answered when the next hop for a domain cannot be reached. `retry_in` is given if nothing was tried,
/// because it has failed a moment ago.
pub(crate) fn unreachable(domain: SipDomain, error: &ConnectError, from: From, retry_in: Option<Duration>) -> Refusal {
    // Where our own servers stand, and what they lack, is nobody's business outside.
    if from == From::Outside {
        return Refusal::PeerUnreachable { domain, why: "it does not answer".to_owned() };
    }
    let why = error.to_string();
    if let Some(retry_after) = retry_in {
        return Refusal::PeerPaused { domain, why, retry_after };
    }
    match error {
        ConnectError::TooMuchWaiting { .. } => Refusal::PartnerBusy { domain, what: why },
        ConnectError::Stopping => Refusal::Stopping,
        ConnectError::Tls { refusal, .. } => match **refusal {
            // lync.md §3.2: who does not trust us often just drops the connection.
            HandshakeRefusal::PeerRejectedOurs { .. } | HandshakeRefusal::DroppedOurs { .. } => {
                Refusal::PeerRejectsUs { domain, why }
            }
            HandshakeRefusal::HungUp | HandshakeRefusal::TimedOut => Refusal::PeerUnreachable { domain, why },
            _ => Refusal::PeerUntrusted { domain, why },
        },
        _ => Refusal::PeerUnreachable { domain, why },
    }
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
        self.remember(Refused {
            at: self.clock.now(),
            remote: flow.remote(),
            reason: refusal.as_str(),
            sentence: refusal.to_string(),
            advice: refusal.advice(),
            refused_by: None,
            certificate: None,
        });
    }

    /// A handshake failed, on a connection to us or from us. The log has it already.
    pub(crate) fn handshake(&self, remote: SocketAddr, refusal: &HandshakeRefusal) {
        metrics::counter!("reveille_edge_handshakes_refused_total", "reason" => refusal.label()).increment(1);
        self.remember(Refused {
            at: self.clock.now(),
            remote,
            reason: refusal.label(),
            sentence: refusal.to_string(),
            advice: refusal.advice().to_owned(),
            refused_by: Some(refusal.refused_by()),
            certificate: refusal.certificate().cloned(),
        });
    }

    fn remember(&self, refused: Refused) {
        let mut latest = self.latest.lock();
        if latest.len() == LATEST {
            latest.pop_front();
        }
        latest.push_back(refused);
    }

    pub(crate) fn latest(&self) -> Vec<Refused> {
        self.latest.lock().iter().cloned().collect()
    }
}
