//! The certificates of the connections that are open, and of those that were: to be looked at again when revocation
//! lists change or time passes, and to warn of before they end.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::chain::{ChainCheck, End};
use super::refusal::HandshakeRefusal;
use crate::close::CloseReason;
use crate::flow::{Flow, FlowId};
use crate::names::PeerCertificate;

/// Certificates, each once, with the connections that rest on it.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// By SHA-256 of the leaf.
    by_fingerprint: HashMap<String, Entry>,
    /// How many of them have no connection.
    idle: usize,
    /// Counts greetings, so that the one longest not seen is known.
    turn: u64,
}

#[derive(Debug)]
struct Entry {
    ders: Arc<[CertificateDer<'static>]>,
    chain: Arc<[Arc<PeerCertificate>]>,
    flows: HashMap<FlowId, Weak<Flow>>,
    seen: u64,
}

/// A peer whose certificate was taken.
#[derive(Clone, Debug)]
pub struct KnownPeer {
    /// Its certificate and those sent with it, its own first.
    pub chain: Arc<[Arc<PeerCertificate>]>,
    /// How many connections rest on it now.
    pub open: usize,
}

/// A certificate that was good when its connections were opened and is not any more.
#[derive(Clone, Debug)]
pub struct Fallen {
    /// Why it would be refused now; with the certificate.
    pub refusal: HandshakeRefusal,
    /// How many connections rest on it.
    pub connections: usize,
    /// Whether they are being closed: a certificate that was revoked or has expired ends its connections, one whose
    /// authority was merely taken off the list of roots only gets no new ones.
    pub closed: bool,
}

/// Keeps a connection on the books of its [`super::TlsServer`] or [`super::TlsClient`] until dropped.
#[must_use = "the connection is on the books only as long as this lives"]
#[derive(Debug)]
pub struct Kept {
    peers: Arc<Peers>,
    at: Option<(String, FlowId)>,
}

impl Peers {
    /// Puts a connection on the books. Without a certificate there is nothing to keep.
    pub(super) fn keep(self: &Arc<Self>, flow: &Arc<Flow>, ders: Option<&[CertificateDer<'_>]>) -> Kept {
        let (Some(leaf), Some(ders)) = (flow.peer(), ders) else { return Kept { peers: self.clone(), at: None } };
        let mut known = self.known.lock();
        known.turn += 1;
        let turn = known.turn;
        let fingerprint = leaf.sha256_fingerprint.clone();
        let mut came_back = false;
        let entry = known
            .by_fingerprint
            .entry(fingerprint.clone())
            .and_modify(|entry| came_back = entry.flows.is_empty())
            .or_insert_with(|| Entry {
                ders: ders.iter().map(|der| der.clone().into_owned()).collect(),
                chain: chain(leaf, ders),
                flows: HashMap::new(),
                seen: turn,
            });
        entry.seen = turn;
        entry.flows.insert(flow.id(), Arc::downgrade(flow));
        known.idle -= usize::from(came_back);
        Kept { peers: self.clone(), at: Some((fingerprint, flow.id())) }
    }

    /// Every peer on the books, the latest seen first.
    pub(super) fn all(&self) -> Vec<KnownPeer> {
        let known = self.known.lock();
        let mut entries: Vec<_> = known.by_fingerprint.values().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.seen));
        entries.iter().map(|entry| KnownPeer { chain: entry.chain.clone(), open: entry.flows.len() }).collect()
    }

    /// The open connections that rest on a certificate.
    fn flows(&self, fingerprint: &str) -> Vec<Arc<Flow>> {
        let known = self.known.lock();
        let flows = known.by_fingerprint.get(fingerprint).into_iter().flat_map(|entry| entry.flows.values());
        flows.filter_map(Weak::upgrade).filter(|flow| !flow.is_closed()).collect()
    }

    /// Checks each certificate that connections rest on again, and closes those of the revoked and the expired.
    pub(super) fn check_again(&self, check: &ChainCheck, end: End, now: UnixTime) -> Vec<Fallen> {
        // Checking takes its time, and others want to keep meanwhile.
        let in_use: Vec<_> = {
            let known = self.known.lock();
            let in_use = known.by_fingerprint.iter().filter(|(_, entry)| !entry.flows.is_empty());
            in_use.map(|(fingerprint, entry)| (fingerprint.clone(), entry.ders.clone())).collect()
        };
        let mut fallen = Vec::new();
        for (fingerprint, ders) in in_use {
            let Err(refusal) = check.check_again(end, &ders, now) else { continue };
            let flows = self.flows(&fingerprint);
            let why = match &refusal {
                HandshakeRefusal::Revoked { .. } => Some("the peer's certificate was revoked"),
                HandshakeRefusal::Expired { .. } => Some("the peer's certificate has expired"),
                _ => None,
            };
            if let Some(why) = why {
                // What is queued is still written; then TLS is ended in order.
                flows.iter().for_each(|flow| flow.close(CloseReason::Asked { why }));
            }
            if !flows.is_empty() {
                fallen.push(Fallen { refusal, connections: flows.len(), closed: why.is_some() });
            }
        }
        fallen
    }
}

impl Known {
    /// Forgets some of those that have no connection, the longest not seen first.
    fn prune(&mut self) {
        if self.idle <= IDLE_MAX {
            return;
        }
        let mut idle: Vec<u64> =
            self.by_fingerprint.values().filter(|entry| entry.flows.is_empty()).map(|entry| entry.seen).collect();
        idle.sort_unstable();
        // A fifth at once, so that a crowd does not make every goodbye a sort.
        let until = idle[idle.len() - IDLE_MAX + IDLE_MAX / 5];
        self.by_fingerprint.retain(|_, entry| !entry.flows.is_empty() || entry.seen > until);
        self.idle = self.by_fingerprint.values().filter(|entry| entry.flows.is_empty()).count();
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let Some((fingerprint, flow)) = &self.at else { return };
        let mut known = self.peers.known.lock();
        let Some(entry) = known.by_fingerprint.get_mut(fingerprint) else { return };
        entry.flows.remove(flow);
        if entry.flows.is_empty() {
            known.idle += 1;
            known.prune();
        }
    }
}

/// The leaf as it was read already, and whatever of the rest can be read.
fn chain(leaf: &Arc<PeerCertificate>, ders: &[CertificateDer<'_>]) -> Arc<[Arc<PeerCertificate>]> {
    let rest = ders.iter().skip(1).filter_map(|der| PeerCertificate::read(der).ok().map(Arc::new));
    std::iter::once(leaf.clone()).chain(rest).collect()
}

/// Certificates remembered though no connection rests on them.
const IDLE_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use reveille_sip::Side;

    use super::*;
    use crate::flow::Transport;

    fn flow(number: usize) -> Arc<Flow> {
        let peer = PeerCertificate { sha256_fingerprint: format!("{number:064x}"), ..PeerCertificate::default() };
        let address = ([127, 0, 0, 1], 5061).into();
        Flow::carried(Transport::Tls, Side::Accepted, address, address, Some(Arc::new(peer)), 1000)
    }

    fn unreadable() -> [CertificateDer<'static>; 1] {
        [CertificateDer::from(vec![0])]
    }

    #[test]
    fn connections_of_one_certificate_are_one_entry_that_outlives_them() {
        let peers = Arc::new(Peers::default());
        let (one, two) = (flow(1), flow(1));
        let kept = [peers.keep(&one, Some(&unreadable())), peers.keep(&two, Some(&unreadable()))];
        assert_eq!(peers.all().iter().map(|peer| peer.open).collect::<Vec<_>>(), [2]);
        drop(kept);
        assert_eq!(peers.all().iter().map(|peer| peer.open).collect::<Vec<_>>(), [0]);
        for _ in 0..3 {
            drop(peers.keep(&one, Some(&unreadable())));
        }
        assert_eq!(peers.known.lock().idle, 1, "who comes and goes is counted once");
        drop(peers.keep(&one, None));
        assert_eq!(peers.all().len(), 1, "a connection without certificate leaves nothing");
    }

    #[test]
    fn strangers_are_remembered_up_to_a_bound_and_those_who_are_here_stay() {
        let peers = Arc::new(Peers::default());
        let guest = flow(0);
        let _kept = peers.keep(&guest, Some(&unreadable()));
        for number in 1..=5 * IDLE_MAX {
            drop(peers.keep(&flow(number), Some(&unreadable())));
        }
        let all = peers.all();
        assert!(all.len() <= IDLE_MAX + 1 && all.len() > IDLE_MAX / 2, "{}", all.len());
        assert_eq!(all[0].chain[0].sha256_fingerprint, format!("{:064x}", 5 * IDLE_MAX), "the latest is kept");
        assert!(all.iter().any(|peer| peer.open == 1), "who is here stays");
    }
}
