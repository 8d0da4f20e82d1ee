//! What is under way: contexts by number, what finds them, and when each wants to be woken.

use std::collections::hash_map::Entry as Entries;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use reveille_sip::proxy::{Context, LoopHash};
use reveille_sip::{HeaderError, Message, Method, Millis, TransactionKey};
use smallvec::SmallVec;

use super::plan::To;
use super::senders::{Sender, Senders};
use crate::flow::{Flow, FlowId};
use crate::pool::Pool;
use crate::target::Target;

/// One request under way, and the roads its messages take.
pub(super) struct Entry {
    pub(super) context: Context,
    pub(super) key: ServerKey,
    pub(super) back: Arc<Flow>,
    /// Who has sent it, if that is known beyond the connection it came on.
    pub(super) sender: Option<Sender>,
    /// Where that sender listens, if the role knows.
    pub(super) server: Option<(Pool, Target)>,
    pub(super) roads: SmallVec<[Road; 1]>,
    pub(super) hash: LoopHash,
    /// Keeps what belongs to one call in order on its way through a pool.
    pub(super) affinity: u64,
    pub(super) deadline: Option<Millis>,
    /// How many bytes of messages it holds, as last noted.
    pub(super) bytes: usize,
    /// Whether it counts as one of its peer's.
    pub(super) counts: bool,
}

/// The way of one leg.
pub(super) struct Road {
    pub(super) to: To,
    /// Whether it is the next hop of the road before once more, for another of its servers.
    pub(super) again: bool,
    /// Known once its request has left.
    pub(super) flow: Option<Arc<Flow>>,
    /// The part of the branch that only who has seen the request knows.
    pub(super) key: u64,
}

/// What finds the transaction of a request (§17.2.3). Branches are chosen by senders who do not know each other, and one
/// must not be able to cancel another's call: each peer has a space of its own.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct ServerKey {
    peer: u64,
    transaction: TransactionKey,
}

/// Everything under way, cut so that threads seldom meet. Whoever holds the lock of a context may take those of names and
/// flows, never the other way round.
pub(super) struct Table {
    contexts: Vec<Mutex<Shard>>,
    names: Vec<Mutex<HashMap<ServerKey, u64>>>,
    flows: Vec<Mutex<HashMap<FlowId, Carried>>>,
    /// How many contexts each peer has that count.
    peers: Vec<Mutex<HashMap<u64, usize>>>,
    /// Those that do not any more, in the order of their final answers.
    answered: Mutex<VecDeque<u64>>,
    /// How many bytes the contexts of each peer hold.
    weights: Vec<Mutex<HashMap<u64, usize>>>,
    pub(super) senders: Senders,
    hash: RandomState,
}

/// Why a key is not given to a context.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unclaimed {
    /// Its peer has as many as it may.
    Full,
    /// Another context has it.
    Twin,
}

#[derive(Default)]
pub(super) struct Shard {
    pub(super) entries: HashMap<u64, Entry>,
    pub(super) deadlines: BTreeSet<(Millis, u64)>,
}

/// What ends or fails with a flow.
#[derive(Default)]
struct Carried {
    contexts: HashSet<u64>,
    /// Whose connection it is.
    senders: SmallVec<[Sender; 1]>,
    /// Set once a token names the flow.
    named: Option<Weak<Flow>>,
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            contexts: (0..SHARDS).map(|_| Mutex::default()).collect(),
            names: (0..SHARDS).map(|_| Mutex::default()).collect(),
            flows: (0..SHARDS).map(|_| Mutex::default()).collect(),
            peers: (0..SHARDS).map(|_| Mutex::default()).collect(),
            answered: Mutex::default(),
            weights: (0..SHARDS).map(|_| Mutex::default()).collect(),
            senders: Senders::new(),
            hash: RandomState::new(),
        }
    }

    /// The key of a request as if it were of this method.
    pub(super) fn key(&self, flow: &Flow, request: &Message, method: Method<'_>) -> Result<ServerKey, HeaderError> {
        Ok(ServerKey { peer: self.peer(flow), transaction: TransactionKey::server(request, method)? })
    }

    fn peer(&self, flow: &Flow) -> u64 {
        match flow.peer() {
            // A partner may use several connections, and open another for the CANCEL.
            Some(peer) => self.hash.hash_one(&peer.sha256_fingerprint),
            None => self.hash.hash_one(canonical(flow.remote().ip())),
        }
    }

    pub(super) fn affinity(&self, request: &Message) -> u64 {
        self.hash.hash_one(request.call_id())
    }

    /// Makes this key that of `context`, unless another has it or its peer has `most` already.
    pub(super) fn claim(&self, key: &ServerKey, context: u64, most: usize) -> Result<(), Unclaimed> {
        let mut names = self.names_of(key).lock();
        if names.contains_key(key) {
            return Err(Unclaimed::Twin);
        }
        let mut peers = self.peers_of(key).lock();
        let held = peers.get(&key.peer).copied().unwrap_or_default();
        if held >= most {
            return Err(Unclaimed::Full);
        }
        peers.insert(key.peer, held + 1);
        names.insert(key.clone(), context);
        Ok(())
    }

    /// Makes the key of a context one of whoever is on this flow, who may have another address now, and will CANCEL from
    /// there.
    pub(super) fn move_key(&self, entry: &mut Entry, flow: &Flow, context: u64) {
        let moved = ServerKey { peer: self.peer(flow), transaction: entry.key.transaction.clone() };
        if moved != entry.key && self.claim(&moved, context, usize::MAX).is_ok() {
            self.unclaim(entry);
            self.weigh(&entry.key, entry.bytes, 0);
            self.weigh(&moved, 0, entry.bytes);
            entry.key = moved;
            if !entry.counts {
                self.uncount(&entry.key);
            }
        }
    }

    fn unclaim(&self, entry: &Entry) {
        if self.names_of(&entry.key).lock().remove(&entry.key).is_some() && entry.counts {
            self.uncount(&entry.key);
        }
    }

    fn uncount(&self, key: &ServerKey) {
        let mut peers = self.peers_of(key).lock();
        if let Entries::Occupied(mut held) = peers.entry(key.peer) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    /// A context has its final answer. What is remembered of it is a courtesy to who repeats something, and on a
    /// connection nobody has to: it is nobody's burden from now on, and goes first when `most` are remembered.
    pub(super) fn answered(&self, entry: &mut Entry, context: u64, most: usize) {
        if !entry.counts || !entry.back.transport().is_reliable() {
            return;
        }
        entry.counts = false;
        self.uncount(&entry.key);
        let mut answered = self.answered.lock();
        if answered.len() >= most {
            // All but a few of them have been forgotten in their time, the oldest before the others.
            answered.pop_front();
        }
        answered.push_back(context);
    }

    /// Those answered longest ago may be forgotten first.
    pub(super) fn longest_answered(&self) -> Option<u64> {
        self.answered.lock().pop_front()
    }

    /// Notes that a context of this key's peer holds so many bytes now, and not as many as before.
    pub(super) fn weigh(&self, key: &ServerKey, before: usize, now: usize) {
        let mut weights = self.weights[key.peer as usize % SHARDS].lock();
        let held = weights.entry(key.peer).or_default();
        *held = *held + now - before;
        if *held == 0 {
            weights.remove(&key.peer);
        }
    }

    /// How many bytes the contexts of this key's peer hold.
    pub(super) fn weight(&self, key: &ServerKey) -> usize {
        self.weights[key.peer as usize % SHARDS].lock().get(&key.peer).copied().unwrap_or_default()
    }

    pub(super) fn find(&self, key: &ServerKey) -> Option<u64> {
        self.names_of(key).lock().get(key).copied()
    }

    pub(super) fn shard(&self, context: u64) -> MutexGuard<'_, Shard> {
        self.contexts[context as usize % SHARDS].lock()
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.contexts.iter().map(|shard| shard.lock())
    }

    /// Forgets a context; says whether it was there.
    pub(super) fn remove(&self, shard: &mut Shard, context: u64) -> bool {
        let Some(entry) = shard.entries.remove(&context) else { return false };
        if let Some(deadline) = entry.deadline {
            shard.deadlines.remove(&(deadline, context));
        }
        let flows = entry.roads.iter().filter_map(|road| road.flow.as_ref()).chain([&entry.back]);
        for flow in flows {
            self.release(flow.id(), context);
        }
        if let Some(sender) = entry.sender.filter(|_| entry.back.is_closed()) {
            self.senders.leave(sender, context);
        }
        self.unclaim(&entry);
        true
    }

    /// Notes that a context ends or fails with this flow.
    pub(super) fn attach(&self, flow: FlowId, context: u64) {
        self.carried(flow).lock().entry(flow).or_default().contexts.insert(context);
    }

    /// The same for a flow that may have closed in this very moment; says whether it is open.
    pub(super) fn attach_open(&self, flow: &Flow, context: u64) -> bool {
        let mut flows = self.carried(flow.id()).lock();
        // One that has closed already would never be forgotten again.
        let is_open = !flow.is_closed();
        if is_open {
            flows.entry(flow.id()).or_default().contexts.insert(context);
        }
        is_open
    }

    /// A flow is one of this sender's, until it is gone; says which contexts have waited for one.
    pub(super) fn came(&self, sender: Sender, flow: &Arc<Flow>) -> HashSet<u64> {
        let mut flows = self.carried(flow.id()).lock();
        if flow.is_closed() {
            return HashSet::new();
        }
        let carried = flows.entry(flow.id()).or_default();
        if carried.senders.len() >= SENDERS_MAX || carried.senders.contains(&sender) {
            return HashSet::new();
        }
        carried.senders.push(sender);
        self.senders.came(sender, flow)
    }

    fn release(&self, flow: FlowId, context: u64) {
        let mut flows = self.carried(flow).lock();
        if let Some(carried) = flows.get_mut(&flow) {
            carried.contexts.remove(&context);
            if carried.contexts.is_empty() && carried.senders.is_empty() && carried.named.is_none() {
                flows.remove(&flow);
            }
        }
    }

    /// Everything that ends or fails with this flow; it is not remembered any more.
    pub(super) fn gone(&self, flow: &Flow) -> HashSet<u64> {
        let carried = self.carried(flow.id()).lock().remove(&flow.id()).unwrap_or_default();
        carried.senders.into_iter().for_each(|sender| self.senders.went(sender, flow));
        carried.contexts
    }

    /// Makes a flow one that [`Table::named`] finds, until it is gone.
    pub(super) fn name(&self, flow: &Arc<Flow>) {
        let mut flows = self.carried(flow.id()).lock();
        // One that has closed already would never be forgotten again.
        if !flow.is_closed() {
            flows.entry(flow.id()).or_default().named.get_or_insert_with(|| Arc::downgrade(flow));
        }
    }

    pub(super) fn named(&self, flow: u64) -> Option<Arc<Flow>> {
        let flows = self.flows[flow as usize % SHARDS].lock();
        flows.get(&FlowId::from_u64(flow))?.named.as_ref()?.upgrade().filter(|flow| !flow.is_closed())
    }

    #[cfg(test)]
    pub(super) fn weighs_nothing(&self) -> bool {
        self.weights.iter().all(|shard| shard.lock().is_empty())
    }

    #[cfg(test)]
    pub(super) fn remembers_nobody(&self) -> bool {
        self.senders.is_empty() && self.flows.iter().all(|shard| shard.lock().is_empty())
    }

    fn carried(&self, flow: FlowId) -> &Mutex<HashMap<FlowId, Carried>> {
        &self.flows[flow.as_u64() as usize % SHARDS]
    }

    fn peers_of(&self, key: &ServerKey) -> &Mutex<HashMap<u64, usize>> {
        &self.peers[key.peer as usize % SHARDS]
    }

    fn names_of(&self, key: &ServerKey) -> &Mutex<HashMap<ServerKey, u64>> {
        &self.names[self.hash.hash_one(key) as usize % SHARDS]
    }
}

/// An IPv4 address stays the same one when a socket for both families shows it as IPv6.
fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

const SHARDS: usize = 32;
/// Users of one connection who are found on it again.
const SENDERS_MAX: usize = 8;
