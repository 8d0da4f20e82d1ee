//! What is under way: contexts by number, what finds them, and when each wants to be woken.

use std::collections::hash_map::Entry as Entries;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use reveille_sip::proxy::{Context, LoopHash};
use reveille_sip::{HeaderError, Message, Method, Millis, TransactionKey};
use smallvec::SmallVec;

use super::plan::To;
use crate::flow::{Flow, FlowId};

/// One request under way, and the roads its messages take.
pub(super) struct Entry {
    pub(super) context: Context,
    pub(super) key: ServerKey,
    pub(super) back: Arc<Flow>,
    pub(super) roads: SmallVec<[Road; 1]>,
    pub(super) hash: LoopHash,
    /// Keeps what belongs to one call in order on its way through a pool.
    pub(super) affinity: u64,
    pub(super) deadline: Option<Millis>,
}

/// The way of one leg.
pub(super) struct Road {
    pub(super) to: To,
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
    /// How many keys each peer has among the names.
    peers: Vec<Mutex<HashMap<u64, usize>>>,
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
            hash: RandomState::new(),
        }
    }

    /// The key of a request as if it were of this method.
    pub(super) fn key(&self, flow: &Flow, request: &Message, method: Method<'_>) -> Result<ServerKey, HeaderError> {
        let peer = match flow.peer() {
            // A partner may use several connections, and open another for the CANCEL.
            Some(peer) => self.hash.hash_one(&peer.sha256_fingerprint),
            None => self.hash.hash_one(canonical(flow.remote().ip())),
        };
        Ok(ServerKey { peer, transaction: TransactionKey::server(request, method)? })
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
        if self.names_of(&entry.key).lock().remove(&entry.key).is_some() {
            let mut peers = self.peers_of(&entry.key).lock();
            if let Entries::Occupied(mut held) = peers.entry(entry.key.peer) {
                *held.get_mut() -= 1;
                if *held.get() == 0 {
                    held.remove();
                }
            }
        }
        true
    }

    /// Notes that a context ends or fails with this flow.
    pub(super) fn attach(&self, flow: FlowId, context: u64) {
        self.carried(flow).lock().entry(flow).or_default().contexts.insert(context);
    }

    fn release(&self, flow: FlowId, context: u64) {
        let mut flows = self.carried(flow).lock();
        if let Some(carried) = flows.get_mut(&flow) {
            carried.contexts.remove(&context);
            if carried.contexts.is_empty() && carried.named.is_none() {
                flows.remove(&flow);
            }
        }
    }

    /// Everything that ends or fails with this flow; it is not remembered any more.
    pub(super) fn gone(&self, flow: FlowId) -> HashSet<u64> {
        self.carried(flow).lock().remove(&flow).map(|carried| carried.contexts).unwrap_or_default()
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
