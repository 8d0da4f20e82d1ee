//! Who sends requests, beyond the connections they come on, and which of their connections are open now (RFC 3261 §18.2.2).

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::Side;
use crate::flow::Flow;
use crate::names::PeerCertificate;

/// Whoever has proven who it is, by a certificate or to a role.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Sender(u64);

/// The connections of each, and what waits for one. Bounded by the connections that there are, and by contexts.
pub(super) struct Senders {
    shards: Vec<Mutex<HashMap<Sender, Present>>>,
    hash: RandomState,
}

#[derive(Default)]
struct Present {
    flows: Vec<Arc<Flow>>,
    /// Contexts whose answers have nowhere to go until it is back.
    waiting: HashSet<u64>,
}

impl Senders {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), hash: RandomState::new() }
    }

    /// Whoever shows this very certificate. Another one with the same names may be another server, which knows nothing of
    /// what the first one sent; and two authorities may have signed them, one for each side of an edge.
    pub(super) fn by_certificate(&self, peer: &PeerCertificate) -> Sender {
        Sender(self.hash.hash_one(("certificate", &peer.sha256_fingerprint)))
    }

    /// Whoever a role calls so.
    pub(super) fn by_name(&self, name: &str) -> Sender {
        Sender(self.hash.hash_one(("name", name)))
    }

    /// It has this connection, too; says which contexts wait for it.
    pub(super) fn came(&self, sender: Sender, flow: &Arc<Flow>) -> HashSet<u64> {
        let mut shard = self.shard(sender).lock();
        let present = shard.entry(sender).or_default();
        present.flows.push(Arc::clone(flow));
        std::mem::take(&mut present.waiting)
    }

    /// It has this connection no more.
    pub(super) fn went(&self, sender: Sender, flow: &Flow) {
        self.change(sender, |present| present.flows.retain(|other| other.id() != flow.id()));
    }

    /// An open connection of it, if possible from the same host as `before`, and rather one that it has made itself.
    pub(super) fn line(&self, sender: Sender, before: &Flow) -> Option<Arc<Flow>> {
        let shard = self.shard(sender).lock();
        let open = shard.get(&sender)?.flows.iter().filter(|flow| !flow.is_closed());
        let best = |flow: &&Arc<Flow>| (flow.remote().ip() == before.remote().ip(), flow.side() == Side::Accepted);
        open.max_by_key(best).cloned()
    }

    /// A context waits until it comes.
    pub(super) fn wait(&self, sender: Sender, context: u64) {
        self.shard(sender).lock().entry(sender).or_default().waiting.insert(context);
    }

    /// And waits no more.
    pub(super) fn leave(&self, sender: Sender, context: u64) {
        self.change(sender, |present| {
            present.waiting.remove(&context);
        });
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().is_empty())
    }

    fn change(&self, sender: Sender, change: impl FnOnce(&mut Present)) {
        let mut shard = self.shard(sender).lock();
        let Some(present) = shard.get_mut(&sender) else { return };
        change(present);
        if present.flows.is_empty() && present.waiting.is_empty() {
            shard.remove(&sender);
        }
    }

    fn shard(&self, sender: Sender) -> &Mutex<HashMap<Sender, Present>> {
        &self.shards[sender.0 as usize % SHARDS]
    }
}

/// Whether both connections are with whoever shows one and the same certificate.
pub(super) fn is_same_peer(one: &Flow, other: &Flow) -> bool {
    let certificates = one.peer().zip(other.peer());
    certificates.is_some_and(|(one, other)| one.sha256_fingerprint == other.sha256_fingerprint)
}

const SHARDS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;
    use crate::close::CloseReason;

    fn flow(host: u8, side: Side) -> Arc<Flow> {
        let at = |host: u8| ([192, 0, 2, host], 5061).into();
        Flow::carried(Transport::Tls, side, at(100), at(host), None, 1000)
    }

    #[test]
    fn the_best_open_connection_is_of_the_same_host_and_made_by_the_peer() {
        let senders = Senders::new();
        let who = senders.by_name("a");
        let before = flow(1, Side::Accepted);
        assert!(senders.line(who, &before).is_none());
        let lines =
            [(2, Side::Accepted), (1, Side::Initiated), (1, Side::Accepted)].map(|(host, side)| flow(host, side));
        lines.iter().for_each(|flow| drop(senders.came(who, flow)));
        for at in [2, 1, 0] {
            assert_eq!(senders.line(who, &before).map(|flow| flow.id()), Some(lines[at].id()), "{at}");
            lines[at].close(CloseReason::Asked { why: "test" });
        }
        assert!(senders.line(who, &before).is_none());
        lines.iter().for_each(|flow| senders.went(who, flow));
        assert!(senders.is_empty());
    }

    #[test]
    fn whoever_comes_finds_what_waits_for_it_once_and_nobody_else_does() {
        let senders = Senders::new();
        let named =
            |fingerprint: &str| PeerCertificate { sha256_fingerprint: fingerprint.into(), ..Default::default() };
        let (who, other) = (senders.by_certificate(&named("a")), senders.by_certificate(&named("b")));
        assert_ne!(who, senders.by_name("a"));
        [1, 2, 3].into_iter().for_each(|context| senders.wait(who, context));
        senders.leave(who, 2);
        assert!(senders.came(other, &flow(1, Side::Accepted)).is_empty());
        let line = flow(1, Side::Accepted);
        assert_eq!(senders.came(who, &line), HashSet::from([1, 3]));
        assert!(senders.came(who, &line).is_empty());
        senders.wait(who, 4);
        senders.went(who, &line);
        assert_eq!(senders.came(who, &line), HashSet::from([4]), "what waits is kept without a connection");
    }
}
