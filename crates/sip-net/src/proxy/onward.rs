//! On to the next hops, and what they answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reveille_sip::Message;
use reveille_sip::proxy::{Branch, Failure, FailureKind, LegPlan, Passage, Todo, pass};
use tracing::debug;

use super::plan::{Plan, To};
use super::senders::is_same_peer;
use super::table::{Entry, Road};
use super::{LEGS_MAX, OWN, Proxy, reliability};
use crate::connect::ConnectError;
use crate::flow::{Flow, SendError, Transport};
use crate::parcel::Parcel;
use crate::pool::{Senders, Sent};
use crate::target::Target;

impl Proxy {
    /// Sends a request taken before to its legs. One that was cancelled, answered or given up meanwhile goes nowhere, and
    /// its owner hears that it has ended with 487.
    pub fn forward(&self, flow: &Arc<Flow>, request: &Message, plan: Plan) {
        let Plan { legs, routed, record_route, edits, owner, back } = plan;
        let Some(number) = self.number_of(flow, request) else { return owner.ended(487, None) };
        let mut shard = self.table.shard(number);
        let Some(entry) = shard.entries.get_mut(&number).filter(|entry| entry.context.is_undecided()) else {
            drop(shard);
            return owner.ended(487, None);
        };
        entry.sender = back.sender.map(|name| self.table.senders.by_name(&name)).or(entry.sender);
        entry.server = back.server;
        let mut plans = Vec::new();
        for leg in legs {
            let roads = leg.to.into_iter().flat_map(|to| (0..to.tries()).map(move |again| (to.clone(), again > 0)));
            for (rank, (to, again)) in roads.enumerate() {
                let at = plans.len();
                if at == LEGS_MAX {
                    break;
                }
                let branch = Branch { context: number, leg: at as u8, key: rand::random(), hash: entry.hash };
                plans.push(LegPlan {
                    via: self.via(to.transport(), branch),
                    request_uri: leg.request_uri.clone(),
                    q: leg.q,
                    instead_of: (rank > 0).then(|| at - 1),
                    again,
                    record_route: leg.record_route.clone().unwrap_or_else(|| record_route.clone()),
                    edits: leg.edits.clone(),
                    reliability: reliability(to.transport()),
                });
                entry.roads.push(Road { to, again, flow: None, key: branch.key });
            }
        }
        let todo = entry.context.forward(routed, edits, plans, owner, self.alarm.now());
        self.perform(&mut shard, number, todo);
    }

    /// Passes the ACK of a 2xx on to the first place that the plan names, and forgets it (§16.11).
    pub fn pass_ack(&self, flow: &Arc<Flow>, ack: &Message, plan: Plan) {
        let Some(leg) = plan.legs.first() else { return };
        let Some(to) = leg.to.first() else { return };
        let hash = self.secret.loop_hash(ack, "");
        let branch = Branch { context: 0, leg: 0, key: rand::random(), hash };
        let written = pass(
            ack,
            &Passage {
                via: &self.via(to.transport(), branch),
                request_uri: leg.request_uri.as_deref(),
                routed: &plan.routed,
                record_route: &[],
                edits: [&plan.edits, &leg.edits],
                source: flow.remote(),
                breadth: None,
            },
        );
        let sent = match (written, to) {
            (Ok(bytes), To::Flow(flow)) => flow.send(bytes).map_err(|error| error.to_string()),
            (Ok(bytes), To::Hop(pool, target)) => {
                let parcel = Parcel::new(OWN, bytes).with_affinity(self.table.affinity(ack));
                pool.send(target, parcel).map(drop).map_err(|error| error.to_string())
            }
            (Err(error), _) => Err(error.to_string()),
        };
        if let Err(error) = sent {
            debug!(error, "an ACK could not be passed on");
        }
    }

    /// Takes a response. Says whether it carries a branch of this proxy's form; what belongs to nothing under way any
    /// more is dropped (RFC 6026 §7.3: never passed on without state).
    pub fn on_response(&self, flow: &Arc<Flow>, response: &Message) -> bool {
        let branch = response.top_via().ok().and_then(|via| Branch::parse(via.branch()?));
        let Some(Branch { context: number, leg, key, .. }) = branch else { return false };
        let mut shard = self.table.shard(number);
        // Over UDP an answer may come from another port than the one asked; the key proves enough. A connection is another
        // one if its peer could not answer on the first (§18.2.2).
        let there = |road: &Road| match &road.flow {
            Some(left_on) if flow.transport().is_reliable() => left_on.id() == flow.id() || is_same_peer(left_on, flow),
            Some(_) | None => true,
        };
        let asked = shard.entries.get_mut(&number).and_then(|entry| {
            let road = entry.roads.get_mut(usize::from(leg)).filter(|road| road.key == key && there(road))?;
            entry.context.is_answered_by(response).then_some(road)
        });
        let Some(road) = asked else {
            metrics::counter!("reveille_proxy_stray_responses_total").increment(1);
            return true;
        };
        // An answer can come before the flow is noted.
        if road.flow.as_ref().is_none_or(|left_on| left_on.is_closed()) {
            road.flow = Some(Arc::clone(flow));
            self.table.attach(flow.id(), number);
        }
        if let To::Hop(pool, target) = &road.to {
            pool.heed(target, flow, response);
        }
        let now = self.alarm.now();
        let todo = match shard.entries.get_mut(&number) {
            Some(entry) => entry.context.on_response(usize::from(leg), response, now),
            None => Todo::new(),
        };
        self.perform(&mut shard, number, todo);
        true
    }

    /// Our Via for a transport (§16.6 step 8).
    fn via(&self, transport: Transport, branch: Branch) -> String {
        let sent_by = self.config.sent_by.iter().find(|(other, _)| *other == transport);
        let sent_by = sent_by.map_or(&self.config.name, |(_, sent_by)| sent_by);
        // RFC 3581 §3: so that an answer over UDP finds the port that we sent from.
        let rport = if transport == Transport::Udp { ";rport" } else { "" };
        format!("SIP/2.0/{transport} {sent_by};branch={branch}{rport}")
    }

    pub(super) fn send_down(&self, entry: &mut Entry, number: u64, leg: usize, bytes: Bytes) -> Result<(), Failure> {
        let affinity = entry.affinity;
        let before = leg.checked_sub(1).and_then(|before| entry.roads[before].flow.clone());
        let Some(road) = entry.roads.get_mut(leg) else { return Ok(()) };
        if let Some(flow) = &road.flow {
            return sent_on(flow, bytes);
        }
        let flow = match &road.to {
            To::Flow(flow) => {
                let flow = Arc::clone(flow);
                sent_on(&flow, bytes)?;
                flow
            }
            To::Hop(pool, target) => {
                // RFC 3263 §4.3: to the next server, and not to the same again.
                if let Some(before) = before.filter(|_| road.again)
                    && !pool.pass_by(target, &before, STAND_ASIDE)
                {
                    return Err(nobody_else(target));
                }
                let parcel = Parcel::new(token(number, leg), bytes).with_affinity(affinity);
                match pool.send(target, parcel) {
                    Ok(Sent::On(flow)) => flow,
                    Ok(Sent::Waiting) => return Ok(()),
                    Err(error) => return Err(unreachable(&error)),
                }
            }
        };
        self.left_on(road, number, &flow)
    }

    /// Notes which flow a leg's request left on; it may have closed in this very moment.
    fn left_on(&self, road: &mut Road, number: u64, flow: &Arc<Flow>) -> Result<(), Failure> {
        road.flow = Some(Arc::clone(flow));
        self.table.attach(flow.id(), number);
        match flow.is_closed() && flow.transport().is_reliable() {
            true => Err(closed(flow)),
            false => Ok(()),
        }
    }
}

impl Senders for Proxy {
    fn failed(&self, token: u64, error: &ConnectError) {
        let (number, leg) = numbers(token);
        let mut shard = self.table.shard(number);
        let Some(entry) = shard.entries.get_mut(&number) else { return };
        let mut why = unreachable(error);
        if entry.roads.get(leg).is_some_and(|road| road.flow.is_some()) {
            // It had a connection, which ended without a word: the name may have other servers.
            why.kind = FailureKind::Gone;
        }
        let todo = entry.context.on_failed(leg, &why, self.alarm.now());
        self.perform(&mut shard, number, todo);
    }

    fn sent(&self, token: u64, flow: &Arc<Flow>) {
        let (number, leg) = numbers(token);
        let mut shard = self.table.shard(number);
        let Some(entry) = shard.entries.get_mut(&number) else { return };
        let Some(road) = entry.roads.get_mut(leg) else { return };
        let noted = self.left_on(road, number, flow);
        let todo = match noted {
            Ok(()) => Todo::new(),
            Err(why) => entry.context.on_failed(leg, &why, self.alarm.now()),
        };
        self.perform(&mut shard, number, todo);
    }
}

fn sent_on(flow: &Arc<Flow>, bytes: Bytes) -> Result<(), Failure> {
    match flow.send(bytes) {
        Ok(()) => Ok(()),
        Err(SendError::Full) if flow.transport().is_reliable() => {
            let sentence = format!("{} reads too slowly", flow.remote());
            Err(Failure { kind: FailureKind::Unreachable, label: "full", sentence, cause: None })
        }
        Err(_) if flow.transport().is_reliable() || flow.is_closed() => Err(closed(flow)),
        // A datagram that is lost is sent again.
        Err(_) => Ok(()),
    }
}

fn closed(flow: &Flow) -> Failure {
    let sentence = format!("the connection to {} is closed", flow.remote());
    Failure { kind: FailureKind::Gone, label: "closed", sentence, cause: None }
}

fn nobody_else(target: &Target) -> Failure {
    let sentence = format!("{} has no other server that could be asked", target.name());
    Failure { kind: FailureKind::Unreachable, label: "no-other", sentence, cause: None }
}

fn unreachable(error: &ConnectError) -> Failure {
    let (kind, cause) = (FailureKind::Unreachable, Arc::new(error.clone()));
    Failure { kind, label: error.label(), sentence: error.to_string(), cause: Some(cause) }
}

/// What a leg's request is called while a pool has it.
fn token(number: u64, leg: usize) -> u64 {
    OWN | number << 8 | leg as u64
}

/// The context and leg of such a token.
fn numbers(token: u64) -> (u64, usize) {
    ((token & !OWN) >> 8, (token & 0xff) as usize)
}

/// How long a server that could not help with one request stands behind the others of its name: long enough for that request
/// to pass it by. It says nothing about other requests, unless it says for how long (RFC 3261 §21.5.4).
const STAND_ASIDE: Duration = Duration::from_secs(2);
