//! What is known of the connections to one next hop, and which of them takes what comes next.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Goal;
use crate::circuit::{Circuit, Pauses, priority};
use crate::connect::ConnectError;
use crate::drain::{Pulse, Retired};
use crate::flow::{Flow, FlowId, SendError};
use crate::parcel::Parcel;
use crate::pool::PoolLimits;
use crate::target::{Server, Target};

pub(super) struct Books {
    pub(super) servers: Arc<[Server]>,
    pub(super) circuit: Circuit,
    pub(super) links: Vec<Link>,
    /// They take nothing new and stay until what is under way on them is over.
    pub(super) retiring: Vec<Link>,
    pub(super) turn: usize,
    pub(super) connecting: usize,
    pub(super) probing: bool,
    pub(super) waiting: VecDeque<Parcel>,
    pub(super) waiting_bytes: usize,
}

pub(super) struct Link {
    pub(super) flow: Arc<Flow>,
    pub(super) pulse: Arc<Pulse>,
    /// When a new connection should take its place.
    pub(super) renew_at: Option<Instant>,
    /// Parcels sent before the peer said anything; bounded, since a peer that never answers is of no use anyway.
    pub(super) unheard: Vec<u64>,
}

impl Books {
    /// The addresses behind the name are those that the caller found last.
    pub(super) fn meet(&mut self, target: &Target) {
        let servers = target.shared_servers();
        if Arc::ptr_eq(servers, &self.servers) {
            return;
        }
        if **servers != *self.servers {
            self.circuit.keep(servers);
            // Whoever has moved may leave the old place running: it is left soon, however well it works.
            let soon = Instant::now() + UNNAMED_FOR;
            for link in self.links.iter_mut().filter(|link| priority(servers, link.flow.remote()).is_none()) {
                link.renew_at = Some(link.renew_at.map_or(soon, |at| at.min(soon)));
            }
        }
        self.servers = servers.clone();
    }

    pub(super) fn shun(&mut self, address: SocketAddr, error: &ConnectError, until: Instant) {
        // A connection that the peer has made to us does not tell which of its servers it is from.
        if priority(&self.servers, address).is_some() {
            self.circuit.shun(address, error, until);
        }
    }

    /// Which connection takes the next parcel.
    pub(super) fn pick(&mut self, affinity: Option<u64>, now: Instant) -> Option<usize> {
        if !self.circuit.is_clear() && self.links.iter().any(|link| self.circuit.is_shunned(link.flow.remote(), now)) {
            return self.pick_around(affinity, now);
        }
        // Those of equal affinity meet on the connection with the highest rank for it, also when others come and go.
        if let Some(affinity) = affinity {
            let ranked = self.links.iter().enumerate().max_by_key(|(_, link)| rank(affinity, link.flow.id()));
            return ranked.map(|(at, _)| at);
        }
        if self.links.is_empty() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        Some(self.turn % self.links.len())
    }

    /// The same while a peer has asked to be left alone: its connections are used only if there is no other address.
    fn pick_around(&mut self, affinity: Option<u64>, now: Instant) -> Option<usize> {
        let shunned = |link: &Link| self.circuit.is_shunned(link.flow.remote(), now);
        let has_choice = self.circuit.has_sound(&self.servers, now);
        let usable = self.links.iter().enumerate().filter(|(_, link)| !has_choice || !shunned(link));
        let seed = affinity.unwrap_or(self.turn as u64);
        let picked = usable.max_by_key(|(_, link)| rank(seed, link.flow.id())).map(|(at, _)| at);
        self.turn = self.turn.wrapping_add(1);
        picked
    }

    /// Whether one more connection would be good beside those that work.
    pub(super) fn wish(&mut self, most: usize, now: Instant, limits: &PoolLimits) -> Option<Goal> {
        let (links, connecting) = (self.links.len(), self.connecting);
        let due = |link: &Link| link.renew_at.is_some_and(|renew_at| renew_at <= now);
        let grows = links + connecting < most;
        let renews = connecting == 0 && links <= most && self.links.iter().any(due);
        if (grows || renews) && self.circuit.closed_to(now, false).is_none() {
            self.connecting += 1;
            return Some(Goal::Any);
        }
        if self.circuit.is_clear() || self.probing {
            return None;
        }
        let connected: Vec<SocketAddr> = self.links.iter().map(|link| link.flow.remote()).collect();
        let address = self.circuit.probe(&self.servers, &connected, now, pauses(limits))?;
        self.probing = true;
        Some(Goal::Probe(address))
    }

    pub(super) fn attempt_over(&mut self, goal: Goal) {
        match goal {
            Goal::Any => self.connecting = self.connecting.saturating_sub(1),
            Goal::Probe(_) => self.probing = false,
        }
    }

    pub(super) fn retire(&mut self, goes: impl FnMut(&mut Link) -> bool) -> Vec<Retired> {
        self.retiring.retain(|link| !link.flow.is_closed());
        let leaving: Vec<Link> = self.links.extract_if(.., goes).collect();
        let retired =
            leaving.iter().map(|link| Retired { flow: link.flow.clone(), pulse: link.pulse.clone() }).collect();
        self.retiring.extend(leaving);
        retired
    }
}

impl Link {
    pub(super) fn send(&mut self, parcel: &Parcel) -> Result<Arc<Flow>, SendError> {
        self.flow.send(parcel.bytes.clone())?;
        if self.flow.has_heard() {
            self.unheard = Vec::new();
        } else if self.unheard.len() < UNHEARD_MAX {
            self.unheard.push(parcel.token);
        }
        Ok(self.flow.clone())
    }
}

pub(super) fn take(links: &mut Vec<Link>, flow: &Flow) -> Option<Link> {
    links.iter().position(|link| link.flow.id() == flow.id()).map(|at| links.remove(at))
}

pub(super) fn pauses(limits: &PoolLimits) -> Pauses {
    Pauses { first: limits.failure_pause, most: limits.failure_pause_max.max(limits.failure_pause) }
}

/// Up to an eighth more, so that connections made together are not renewed together.
pub(super) fn spread(after: Duration, flow: FlowId) -> Duration {
    after + after / 64 * u32::try_from(flow.as_u64() % 8).unwrap_or_default()
}

/// A mix in which every connection wins for its share of affinities (splitmix64's finaliser).
fn rank(affinity: u64, flow: FlowId) -> u64 {
    let mut mixed = affinity ^ flow.as_u64().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

const UNHEARD_MAX: usize = 4096;
/// A connection to an address that the records do not name any more is renewed after this time. Name servers that name a
/// few of many addresses at a time make that one connection in as long.
pub(super) const UNNAMED_FOR: Duration = Duration::from_secs(30);
