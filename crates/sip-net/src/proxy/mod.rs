//! The stateful proxy on real connections: [`reveille_sip::proxy`] with flows, pools and one timer.
//!
//! A role gives every request that it wants proxied to [`Proxy::take`], decides, and says [`Proxy::forward`],
//! [`Proxy::answer`] or, to whom it does not admit, [`Proxy::refuse`]; every response to [`Proxy::on_response`]; and tells
//! of connections that are gone. All of it is synchronous and quick. Nothing here decides who may go where.
//!
//! Cost and bounds: a context is one entry of a table cut in shards; there is no task per request, no global lock, and one
//! timer task. What is finished is freed at once, except an INVITE that was accepted: it stays, without its messages, for
//! the 32 s of timers L and M, in which further 2xx have to find their way (RFC 6026). What is refused leaves nothing behind,
//! and no peer has more than its share.

mod onward;
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
use reveille_sip::proxy::{Context, Do, Failure, FailureKind, LoopHash, Reply, Secret, Todo, Upstream, check, route};
use reveille_sip::{Message, Method, Millis, Name, Reliability};
use smallvec::SmallVec;
use tracing::debug;

pub use plan::{Back, Leg, Plan, ProxyConfig, Share, Taken, To};
pub use tokens::TokenError;

use self::table::{Entry, ServerKey, Shard, Table, Unclaimed};
use self::timing::Alarm;
use self::tokens::Named;
use crate::flow::{Flow, Transport};

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
}

/// There is no room for another: here, or of this peer.
fn full(request: Message, status: u16) -> Taken {
    metrics::counter!("reveille_proxy_full_total").increment(1);
    Taken::Refused { request, reply: Reply::new(status).header("Retry-After", "5") }
}

fn reliability(transport: Transport) -> Reliability {
    if transport.is_reliable() { Reliability::Reliable } else { Reliability::Unreliable }
}

fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// What fits into one datagram over IPv4, which has less room for it than IPv6.
const DATAGRAM_MAX: usize = 65_507;
/// The mark of our tokens; other users of a pool count from 1.
const OWN: u64 = 1 << 63;
/// The label of flow tokens.
const FLOW: &str = "\0flow";
