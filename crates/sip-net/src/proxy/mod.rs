//! The stateful proxy on real connections: [`reveille_sip::proxy`] with flows, pools and one timer.
//!
//! A role gives every request that it wants proxied to [`Proxy::take`], decides, and says [`Proxy::forward`],
//! [`Proxy::answer`] or, to whom it does not admit, [`Proxy::refuse`]; every response to [`Proxy::on_response`]; and tells of connections that are gone. All of it is
//! synchronous and quick. Nothing here decides who may go where.
//!
//! Cost and bounds: a context is one entry of a table cut in shards; there is no task per request, no global lock, and one
//! timer task. What is finished is freed at once, except an INVITE that was accepted: it stays, without its messages, for
//! the 32 s of timers L and M, in which further 2xx have to find their way (RFC 6026). What is refused leaves nothing behind,
//! and no peer has more than its share.

mod plan;
mod reunion;
mod senders;
mod table;
#[cfg(test)]
mod tests;
mod timing;
mod tokens;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reveille_sip::proxy::{
    Branch, Context, Do, Failure, FailureKind, LegPlan, LoopHash, Passage, Reply, Secret, Todo, Upstream, check, pass,
    route,
};
use reveille_sip::{Message, Method, Millis, Name, Reliability};
use smallvec::SmallVec;
use tracing::debug;

pub use plan::{Back, Leg, Plan, ProxyConfig, Share, Taken, To};
pub use tokens::TokenError;

use self::senders::is_same_peer;
use self::table::{Entry, Road, ServerKey, Shard, Table, Unclaimed};
use self::timing::Alarm;
use self::tokens::Named;
use crate::connect::ConnectError;
use crate::flow::{Flow, SendError, Transport};
use crate::parcel::Parcel;
use crate::pool::{Senders, Sent};
use crate::target::Target;

/// Places that one request may be sent to.
pub const LEGS_MAX: usize = 64;

/// A stateful proxy (RFC 3261 §16). One serves all sides of a role.
pub struct Proxy {
    config: ProxyConfig,
    secret: Secret,
    table: Table,
    next: AtomicU64,
    in_flight: AtomicUsize,
    bytes: AtomicUsize,
    alarm: Alarm,
}

impl Proxy {
    /// A proxy without anything under way. Its timers run while [`Proxy::run`] does.
    pub fn new(config: ProxyConfig) -> Arc<Self> {
        Arc::new(Self {
            config,
            secret: Secret::new(&rand::random::<[u8; 32]>()),
            table: Table::new(),
            next: AtomicU64::new(1),
            in_flight: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            alarm: Alarm::new(),
        })
    }

    /// How many requests are under way, with those accepted within the last 32 s.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How many bytes of messages they hold.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many of them have no final answer yet.
    pub fn unanswered(&self) -> usize {
        let waits = |entry: &&Entry| !entry.context.is_answered();
        self.table.shards().map(|shard| shard.entries.values().filter(waits).count()).sum()
    }

    /// Takes a request: repetitions, CANCELs and the ACKs of refusals are dealt with; the rest is the caller's to
    /// decide.
    pub fn take(&self, flow: &Arc<Flow>, request: Message) -> Taken {
        self.take_on("", Share::Part, flow, request)
    }

    /// The same where one proxy serves several sides: a request that comes back unchanged on another side is no loop.
    /// `share` is how much of this proxy the peer may have.
    pub fn take_on(&self, side: &'static str, share: Share, flow: &Arc<Flow>, request: Message) -> Taken {
        let method = match request.method() {
            None => return Taken::Done,
            Some(Method::Ack | Method::Cancel) => Method::Invite,
            Some(method) => method,
        };
        let key = match self.table.key(flow, &request, method) {
            Ok(key) => key,
            Err(_) if request.method() == Some(Method::Ack) => return Taken::Done,
            Err(error) => {
                let reply = Reply::new(400).header("Warning", format!("399 reveille \"{error}\""));
                return Taken::Refused { request, reply };
            }
        };
        match request.method() {
            Some(Method::Ack) => self.take_ack(&key, request),
            Some(Method::Cancel) => {
                self.take_cancel(flow, &key, &request);
                Taken::Done
            }
            _ => self.take_new(side, share, flow, key, request),
        }
    }

    fn take_new(&self, side: &'static str, share: Share, flow: &Arc<Flow>, key: ServerKey, request: Message) -> Taken {
        if let Some(context) = self.table.find(&key) {
            self.with(context, |context, _| context.on_repetition());
            return Taken::Done;
        }
        let hash = self.secret.loop_hash(&request, side);
        if let Err(reply) = check(&request, hash, &[]) {
            return Taken::Refused { request, reply };
        }
        if self.in_flight() >= self.config.contexts_max && !self.make_room() {
            return full(request, 503);
        }
        let size = request.as_bytes().len();
        if self.bytes() + size > self.config.bytes_max {
            return full(request, 503);
        }
        if share == Share::Part && self.table.weight(&key) + size > self.config.bytes_per_peer {
            return full(request, 480);
        }
        match self.begin(flow, key, hash, share, &request) {
            Ok(()) => {}
            // Its twin came in this very moment on another connection.
            Err(Unclaimed::Twin) => return Taken::Done,
            // A 503 would keep everybody else away from here as well (§21.5.4).
            Err(Unclaimed::Full) => return full(request, 480),
        }
        if flow.is_closed() {
            // It may have closed before anybody knew that something depends on it.
            self.flow_gone(flow);
        }
        let routed = route(&request, &*self.config.ours);
        Taken::Request { request, routed }
    }

    /// Begins the context of a request that is still to be decided.
    fn begin(
        &self,
        flow: &Arc<Flow>,
        key: ServerKey,
        hash: LoopHash,
        share: Share,
        request: &Message,
    ) -> Result<(), Unclaimed> {
        let most = match share {
            Share::Part => self.config.contexts_per_peer,
            Share::Whole => usize::MAX,
        };
        let upstream = Upstream {
            source: flow.remote(),
            reliability: reliability(flow.transport()),
            tag: self.secret.tag(request),
            timers: self.config.timers,
            timer_c: millis(self.config.timer_c),
            decide_within: millis(self.config.decide_within),
            return_within: millis(self.config.return_within),
            bytes_max: if flow.transport().is_reliable() { usize::MAX } else { DATAGRAM_MAX },
        };
        let entry = Entry {
            context: Context::new(request, upstream, self.alarm.now()),
            key,
            back: Arc::clone(flow),
            sender: flow.peer().map(|peer| self.table.senders.by_certificate(peer)),
            server: None,
            roads: SmallVec::new(),
            hash,
            affinity: self.table.affinity(request),
            deadline: None,
            bytes: 0,
            counts: true,
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Whoever finds the key from now on, a CANCEL on another connection for one, waits for this lock.
        let mut shard = self.table.shard(number);
        self.table.claim(&entry.key, number, most)?;
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        shard.entries.insert(number, entry);
        self.table.attach(flow.id(), number);
        self.perform(&mut shard, number, Todo::new());
        Ok(())
    }

    fn take_ack(&self, key: &ServerKey, ack: Message) -> Taken {
        let mut passes = true;
        if let Some(context) = self.table.find(key) {
            passes = false;
            self.with(context, |context, now| {
                let todo = context.on_ack(now);
                passes = todo.contains(&Do::Ack);
                todo
            });
        }
        // §8.2.7: the ACK of a refusal that we gave without state.
        let tag = self.secret.tag(&ack);
        // §13.2.2.4: the ACK of a success is within its dialog, and has a tag.
        let theirs = ack.to().is_ok_and(|to| to.tag().is_some_and(|other| other != tag));
        // An ACK cannot be refused, so one that must not go on goes nowhere.
        if !passes || !theirs || check(&ack, self.secret.loop_hash(&ack, ""), &[]).is_err() {
            return Taken::Done;
        }
        let routed = route(&ack, &*self.config.ours);
        Taken::Ack { ack, routed }
    }

    /// §9.2, §16.10. A stateful proxy knows every INVITE that it passed, so that a CANCEL of another is answered 481
    /// here and not passed on to somebody who knows even less.
    fn take_cancel(&self, flow: &Arc<Flow>, key: &ServerKey, cancel: &Message) {
        let found = self.table.find(key);
        let status = if found.is_some() { 200 } else { 481 };
        if let Ok(bytes) = Reply::new(status).write(cancel, &self.secret.tag(cancel), Some(flow.remote())) {
            // A peer that has gone needs no answer.
            let _ = flow.send(bytes);
        }
        if let Some(context) = found {
            let reason = cancel.header(Name::Reason);
            self.with(context, |context, now| context.on_cancel(reason, now));
        }
    }

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

    /// Answers a request instead of forwarding it, with these bytes (a whole response). One that was not taken is
    /// answered just so, without being remembered.
    pub fn answer(&self, flow: &Flow, request: &Message, status: u16, bytes: Bytes) {
        match self.number_of(flow, request) {
            Some(context) => self.with(context, |context, now| context.answer(status, bytes, now)),
            // A peer that has gone needs no answer.
            None if request.method() != Some(Method::Ack) => drop(flow.send(bytes)),
            None => {}
        }
    }

    /// The same with a reply that is still to be written.
    pub fn reply(&self, flow: &Flow, request: &Message, reply: &Reply) {
        match reply.write(request, &self.secret.tag(request), Some(flow.remote())) {
            Ok(bytes) => self.answer(flow, request, reply.status, bytes),
            Err(error) => debug!(%error, "a request could not be answered"),
        }
    }

    /// Refuses a request of somebody who was not admitted, and remembers nothing of it: neither memory nor repetitions
    /// (timer G) are for people whom we do not know. Its ACK is known by the tag (RFC 3261 §8.2.7), and another copy is
    /// another request. Of no effect on one that was cancelled meanwhile or is under way.
    pub fn refuse(&self, flow: &Flow, request: &Message, reply: &Reply) {
        match reply.write(request, &self.tag(request), Some(flow.remote())) {
            Ok(bytes) => self.refuse_with(flow, request, bytes),
            Err(error) => debug!(%error, "a request could not be refused"),
        }
    }

    /// The same with these bytes: a whole response, whose tag on To is [`Proxy::tag`].
    pub fn refuse_with(&self, flow: &Flow, request: &Message, bytes: Bytes) {
        if let Some(number) = self.number_of(flow, request) {
            let mut shard = self.table.shard(number);
            if shard.entries.get(&number).is_some_and(|entry| !entry.context.is_undecided()) {
                return;
            }
            self.forget(&mut shard, number);
        }
        if request.method() != Some(Method::Ack) {
            // A peer that has gone needs no answer.
            let _ = flow.send(bytes);
        }
    }

    /// The tag on To of our own answers to a request.
    pub fn tag(&self, request: &Message) -> String {
        self.secret.tag(request)
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

    /// A connection is gone: what came on it is cancelled and what left on it has failed, unless its peer comes back. UDP
    /// remotes do not go.
    pub fn flow_gone(&self, flow: &Flow) {
        let contexts = self.table.gone(flow);
        if !flow.transport().is_reliable() {
            return;
        }
        let why = Failure {
            kind: FailureKind::Gone,
            label: "closed",
            sentence: format!("the connection to {} closed before it answered", flow.remote()),
            cause: None,
        };
        for number in contexts {
            let mut shard = self.table.shard(number);
            let Some(entry) = shard.entries.get_mut(&number) else { continue };
            let now = self.alarm.now();
            let mut todo = Todo::new();
            for at in 0..entry.roads.len() {
                if entry.roads[at].flow.as_ref().is_some_and(|left_on| left_on.id() == flow.id()) {
                    todo.extend(self.leg_went(entry, at, &why, now));
                }
            }
            if entry.back.id() == flow.id() {
                todo.extend(self.sender_went(entry, number, now));
            }
            self.perform(&mut shard, number, todo);
        }
    }

    /// A user part for Record-Route or Path that names this flow and that nobody else can make (RFC 5626 §5.2).
    pub fn flow_token(&self, flow: &Arc<Flow>) -> String {
        let named = Named::of(flow);
        if let Named::Connection(_) = named {
            self.table.name(flow);
        }
        self.secret.seal(FLOW, &named.write())
    }

    /// The flow that such a user part names.
    pub fn flow_of(&self, token: &str) -> Result<Arc<Flow>, TokenError> {
        let payload = self.secret.open(FLOW, token).ok_or(TokenError::Forged)?;
        match Named::read(payload).ok_or(TokenError::Forged)? {
            Named::Connection(number) => self.table.named(number).ok_or(TokenError::Gone),
            Named::Remote(remote) => {
                let udp = self.config.udp.as_ref().ok_or(TokenError::Gone)?;
                Ok(udp.flow_to(remote))
            }
        }
    }

    /// Seals text under a label of the role's own (which holds no NUL), for the user part of a Record-Route URI; see [`Secret::seal`].
    pub fn seal(&self, label: &str, payload: &str) -> String {
        self.secret.seal(label, payload)
    }

    /// What [`Proxy::seal`] was given.
    pub fn open<'a>(&self, label: &str, sealed: &'a str) -> Option<&'a str> {
        self.secret.open(label, sealed)
    }

    /// Whether a parcel with this token is a proxy's; for roles whose pool serves others too.
    pub fn owns(token: u64) -> bool {
        token & OWN != 0
    }
}

/// What happens inside.
impl Proxy {
    fn number_of(&self, flow: &Flow, request: &Message) -> Option<u64> {
        let key = self.table.key(flow, request, request.method()?).ok()?;
        self.table.find(&key)
    }

    /// Our Via for a transport (§16.6 step 8).
    fn via(&self, transport: Transport, branch: Branch) -> String {
        let sent_by = self.config.sent_by.iter().find(|(other, _)| *other == transport);
        let sent_by = sent_by.map_or(&self.config.name, |(_, sent_by)| sent_by);
        // RFC 3581 §3: so that an answer over UDP finds the port that we sent from.
        let rport = if transport == Transport::Udp { ";rport" } else { "" };
        format!("SIP/2.0/{transport} {sent_by};branch={branch}{rport}")
    }

    /// Lets something happen to a context, if it is still there.
    fn with(&self, number: u64, happen: impl FnOnce(&mut Context, Millis) -> Todo) {
        let mut shard = self.table.shard(number);
        let Some(entry) = shard.entries.get_mut(&number) else { return };
        let todo = happen(&mut entry.context, self.alarm.now());
        self.perform(&mut shard, number, todo);
    }

    /// Does what a context wants, in its order: under its lock, so that nothing of it can overtake.
    fn perform(&self, shard: &mut Shard, number: u64, todo: Todo) {
        let Some(entry) = shard.entries.get_mut(&number) else { return };
        let mut queue: VecDeque<Do> = todo.into_iter().collect();
        while let Some(next) = queue.pop_front() {
            match next {
                // Its caller asked.
                Do::Ack => {}
                // A connection that cannot take it is closed, and its end will be told.
                Do::Up(bytes) => drop(entry.back.send(bytes)),
                Do::Down(leg, bytes) => {
                    if let Err(why) = self.send_down(entry, number, leg, bytes) {
                        queue.extend(entry.context.on_failed(leg, &why, self.alarm.now()));
                    }
                }
            }
        }
        self.weigh(entry, entry.context.held());
        if entry.context.is_over() || self.is_burden(entry) {
            return self.forget(shard, number);
        }
        if entry.context.is_answered() {
            self.table.answered(entry, number, self.config.contexts_max);
        }
        let deadline = entry.context.next_deadline();
        if deadline != entry.deadline {
            if let Some(before) = entry.deadline {
                shard.deadlines.remove(&(before, number));
            }
            entry.deadline = deadline;
            if let Some(deadline) = deadline {
                shard.deadlines.insert((deadline, number));
                self.alarm.set(deadline);
            }
        }
    }

    /// Forgets one request that has had its answer; says whether there was one.
    fn make_room(&self) -> bool {
        while let Some(number) = self.table.longest_answered() {
            let mut shard = self.table.shard(number);
            if shard.entries.contains_key(&number) {
                self.forget(&mut shard, number);
                return true;
            }
        }
        false
    }

    /// Notes how many bytes a context holds now.
    fn weigh(&self, entry: &mut Entry, bytes: usize) {
        let before = std::mem::replace(&mut entry.bytes, bytes);
        if bytes != before {
            self.table.weigh(&entry.key, before, bytes);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.bytes.fetch_sub(before, Ordering::Relaxed);
        }
    }

    /// Whether a context only remembers its answer, for which there is no room: answers are let in whatever they hold. On a
    /// connection nobody need repeat anything.
    fn is_burden(&self, entry: &Entry) -> bool {
        self.bytes() > self.config.bytes_max
            && entry.context.is_answered()
            && entry.back.transport().is_reliable()
            && !(0..entry.roads.len()).any(|leg| entry.context.is_pending(leg))
    }

    fn forget(&self, shard: &mut Shard, number: u64) {
        if let Some(entry) = shard.entries.get_mut(&number) {
            self.weigh(entry, 0);
        }
        if self.table.remove(shard, number) {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn send_down(&self, entry: &mut Entry, number: u64, leg: usize, bytes: Bytes) -> Result<(), Failure> {
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

/// There is no room for another: here, or of this peer.
fn full(request: Message, status: u16) -> Taken {
    metrics::counter!("reveille_proxy_full_total").increment(1);
    Taken::Refused { request, reply: Reply::new(status).header("Retry-After", "5") }
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

fn reliability(transport: Transport) -> Reliability {
    if transport.is_reliable() { Reliability::Reliable } else { Reliability::Unreliable }
}

fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// How long a server that could not help with one request stands behind the others of its name: long enough for that request
/// to pass it by. It says nothing about other requests, unless it says for how long (RFC 3261 §21.5.4).
const STAND_ASIDE: Duration = Duration::from_secs(2);
/// What fits into one datagram over IPv4, which has less room for it than IPv6.
const DATAGRAM_MAX: usize = 65_507;
/// The mark of our tokens; other users of a pool count from 1.
const OWN: u64 = 1 << 63;
/// The label of flow tokens.
const FLOW: &str = "\0flow";
