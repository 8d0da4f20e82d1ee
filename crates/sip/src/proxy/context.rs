//! The response context (§16.7): one request received, the legs it was sent to, and the one answer that goes back.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::check::breadth;
use super::choice::{Candidate, Choice};
use super::leg::{Leg, LegPlan, Said, Saying, Times};
use super::reply::{Edits, Failure, FailureKind, Owner, Reply};
use super::routing::Routed;
use super::write::{Passage, back, pass};
use crate::message::Message;
use crate::method::Method;
use crate::timers::{Millis, Reliability, Timer, Timers};
use crate::transaction::{Action, Actions, InviteServerTransaction, ServerTransaction};

/// What the owner of a context has to do now, in this order.
pub type Todo = SmallVec<[Do; 4]>;

/// One thing to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Do {
    /// An ACK was that of a 2xx, which is no business of the transaction: pass it on without state.
    Ack,
    /// Send this on a leg. The first of each leg is the request itself.
    Down(usize, Bytes),
    /// Send this back to where the request came from.
    Up(Bytes),
}

/// The upstream side of a context, and how long things may take.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Where the request came from, for `received` and `rport`.
    pub source: SocketAddr,
    /// Whether its transport repeats what is lost.
    pub reliability: Reliability,
    /// The tag of our own answers.
    pub tag: String,
    /// The timers of all transactions.
    pub timers: Timers,
    /// How long an INVITE may ring (§16.6 step 11: more than three minutes).
    pub timer_c: Millis,
    /// How long whoever decides may take.
    pub decide_within: Millis,
}

/// A request under way through a stateful proxy.
///
/// It begins undecided; [`Context::forward`] or [`Context::answer`] decides. What it says in its [`Todo`] has to be done
/// in that order. Forget it once [`Context::is_over`].
pub struct Context {
    request: Option<Message>,
    invite: bool,
    server: Server,
    owner: Arc<dyn Owner>,
    way: Option<Way>,
    legs: SmallVec<[Leg; 1]>,
    choice: Choice,
    phase: Phase,
    /// Nobody upstream hears us any more.
    deaf: bool,
    upstream: Upstream,
}

/// What is common to all legs, while one may still begin.
struct Way {
    routed: Routed,
    edits: Edits,
}

enum Server {
    Invite(InviteServerTransaction),
    Other(ServerTransaction),
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Phase {
    /// Whoever decides has until then.
    Undecided(Millis),
    /// Legs are under way. For a non-INVITE over UDP: when a 100 may quieten the sender (RFC 4320 §4.1).
    Forwarding(Option<Millis>),
    /// As before, and the sender has cancelled, for this reason.
    Cancelled(Option<String>),
    /// A final response has been given.
    Answered,
}

/// RFC 3326, RFC 3261 §16.7 step 10: why the other phones stop ringing.
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

impl Context {
    /// A request that matched no other. `owner` is asked about answers of our own until [`Context::forward`] names
    /// another.
    pub fn new(request: &Message, upstream: Upstream, now: Millis) -> Self {
        let invite = request.method() == Some(Method::Invite);
        let (timers, reliability) = (upstream.timers, upstream.reliability);
        let server = if invite {
            let trying = Reply::new(100).write(request, &upstream.tag, Some(upstream.source)).ok();
            Server::Invite(InviteServerTransaction::start(trying, reliability, timers, now))
        } else {
            Server::Other(ServerTransaction::start(reliability, timers, now))
        };
        Self {
            request: Some(request.detached()),
            invite,
            server,
            owner: Arc::new(super::Nobody),
            way: None,
            legs: SmallVec::new(),
            choice: Choice::default(),
            phase: Phase::Undecided(now + upstream.decide_within),
            deaf: false,
            upstream,
        }
    }

    /// Sends the request to its legs. Of no effect once it was cancelled or answered.
    pub fn forward(
        &mut self,
        routed: Routed,
        edits: Edits,
        legs: impl IntoIterator<Item = LegPlan>,
        owner: Arc<dyn Owner>,
        now: Millis,
    ) -> Todo {
        let mut todo = Todo::new();
        if !matches!(self.phase, Phase::Undecided(_)) {
            return todo;
        }
        let quieten = match (&self.server, self.upstream.reliability) {
            (Server::Other(_), Reliability::Unreliable) => {
                self.upstream.timers.span(Timer::Provisional, Reliability::Unreliable).map(|span| now + span)
            }
            _ => None,
        };
        self.phase = Phase::Forwarding(quieten);
        (self.owner, self.way) = (owner, Some(Way { routed, edits }));
        self.legs = legs.into_iter().map(Leg::new).collect();
        self.settle(now, &mut todo);
        todo
    }

    /// Answers instead of forwarding, with these bytes.
    pub fn answer(&mut self, status: u16, response: Bytes, now: Millis) -> Todo {
        let mut todo = Todo::new();
        if matches!(self.phase, Phase::Undecided(_)) {
            self.respond(status, response, None, now, &mut todo);
        }
        todo
    }

    /// Whether nobody has said yet what becomes of the request.
    pub fn is_undecided(&self) -> bool {
        matches!(self.phase, Phase::Undecided(_))
    }

    /// The request came again.
    pub fn on_repetition(&mut self) -> Todo {
        let actions = match &mut self.server {
            Server::Invite(transaction) => transaction.on_repetition(),
            Server::Other(transaction) => transaction.on_repetition(),
        };
        self.upward(actions)
    }

    /// An ACK matched the INVITE.
    pub fn on_ack(&mut self, now: Millis) -> Todo {
        let Server::Invite(transaction) = &mut self.server else { return Todo::new() };
        let actions = transaction.on_ack(now);
        let passes = actions.contains(&Action::Deliver);
        passes.then_some(Do::Ack).into_iter().collect()
    }

    /// A CANCEL matched the INVITE (§9.2, §16.10). The 200 for the CANCEL itself is the caller's business.
    pub fn on_cancel(&mut self, reason: Option<&str>, now: Millis) -> Todo {
        let mut todo = Todo::new();
        match self.phase {
            Phase::Undecided(_) if self.invite => self.reply(&Reply::new(487), None, now, &mut todo),
            Phase::Forwarding(_) if self.invite => {
                self.phase = Phase::Cancelled(reason.map(str::to_owned));
                self.cancel_all(reason, now, &mut todo);
                self.settle(now, &mut todo);
            }
            // A CANCEL changes nothing any more, or never could.
            Phase::Undecided(_) | Phase::Forwarding(_) | Phase::Cancelled(_) | Phase::Answered => {}
        }
        todo
    }

    /// A response with this leg's branch came.
    pub fn on_response(&mut self, leg: usize, response: &Message, now: Millis) -> Todo {
        let (mut todo, times) = (Todo::new(), self.times());
        let Some(found) = self.legs.get_mut(leg) else { return todo };
        let saying = found.on_response(response, times, now);
        self.hear(leg, saying, Some(response), now, &mut todo);
        todo
    }

    /// A leg's request never left, or its connection is gone.
    pub fn on_failed(&mut self, leg: usize, why: &Failure, now: Millis) -> Todo {
        let mut todo = Todo::new();
        if self.legs.get_mut(leg).is_some_and(Leg::on_failed) {
            self.count(leg, why, now, &mut todo);
        }
        todo
    }

    /// The connection that the request came on is gone, and with it whoever wanted an answer: as good as a CANCEL.
    pub fn on_upstream_gone(&mut self, now: Millis) -> Todo {
        let mut todo = Todo::new();
        self.deaf = true;
        match &mut self.server {
            Server::Invite(transaction) => drop(transaction.on_transport_failed()),
            Server::Other(transaction) => drop(transaction.on_transport_failed()),
        }
        if self.invite && matches!(self.phase, Phase::Forwarding(_) | Phase::Cancelled(_)) {
            self.phase = Phase::Cancelled(None);
            self.cancel_all(None, now, &mut todo);
            self.settle(now, &mut todo);
        } else {
            self.phase = Phase::Answered;
            // Those whose CANCEL is under way still have to be acknowledged.
            self.legs.iter_mut().filter(|leg| !self.invite || !leg.is_pending()).for_each(Leg::end);
        }
        todo
    }

    /// A deadline has passed. Called early it does nothing.
    pub fn on_timer(&mut self, now: Millis) -> Todo {
        let actions = match &mut self.server {
            Server::Invite(transaction) => transaction.on_timer(now),
            Server::Other(transaction) => transaction.on_timer(now),
        };
        let mut todo = self.upward(actions);
        match self.phase {
            Phase::Undecided(until) if now >= until => self.reply(&Reply::new(500), None, now, &mut todo),
            Phase::Forwarding(Some(at)) if now >= at => {
                self.phase = Phase::Forwarding(None);
                self.reply(&Reply::new(100), None, now, &mut todo);
            }
            Phase::Undecided(_) | Phase::Forwarding(_) | Phase::Cancelled(_) | Phase::Answered => {}
        }
        let times = self.times();
        for leg in 0..self.legs.len() {
            let saying = self.legs[leg].on_timer(times, now);
            self.hear(leg, saying, None, now, &mut todo);
        }
        todo
    }

    /// When to call [`Context::on_timer`]; `None` if nothing is waited for by time.
    pub fn next_deadline(&self) -> Option<Millis> {
        let server = match &self.server {
            Server::Invite(transaction) => transaction.next_deadline(),
            Server::Other(transaction) => transaction.next_deadline(),
        };
        let own = match self.phase {
            Phase::Undecided(until) => Some(until),
            Phase::Forwarding(quieten) => quieten,
            Phase::Cancelled(_) | Phase::Answered => None,
        };
        self.legs.iter().map(Leg::next_deadline).chain([server, own]).flatten().min()
    }

    /// Whether a final answer has been given, so that only its aftermath is left.
    pub fn is_answered(&self) -> bool {
        self.phase == Phase::Answered
    }

    /// Whether nothing is left to do.
    pub fn is_over(&self) -> bool {
        let server = match &self.server {
            Server::Invite(transaction) => transaction.is_terminated(),
            Server::Other(transaction) => transaction.is_terminated(),
        };
        server && self.legs.iter().all(Leg::is_over)
    }

    /// Whether the request is still held, with what it needs to be sent again.
    #[cfg(test)]
    pub(super) fn keeps_messages(&self) -> bool {
        self.request.is_some() || self.way.is_some() || self.legs.iter().any(|leg| !leg.plan.via.is_empty())
    }

    /// Whether a leg has begun and no final answer has come on it.
    pub fn is_pending(&self, leg: usize) -> bool {
        self.legs.get(leg).is_some_and(Leg::is_pending)
    }
}

/// What happens inside.
impl Context {
    fn times(&self) -> Times {
        Times { timers: self.upstream.timers, timer_c: self.upstream.timer_c }
    }

    /// Carries out what a leg said. `response` is the one it just received, if it did.
    fn hear(&mut self, leg: usize, saying: Saying, response: Option<&Message>, now: Millis, todo: &mut Todo) {
        for said in saying {
            match (said, response) {
                (Said::Send(bytes), _) => todo.push(Do::Down(leg, bytes)),
                (Said::Provisional, Some(response)) => self.pass_provisional(response, now, todo),
                (Said::Success, Some(response)) => self.succeed(leg, response, now, todo),
                (Said::Final, Some(response)) => self.refused(leg, response, now, todo),
                (Said::TimedOut, _) => {
                    let sentence = "no final answer came in time".to_owned();
                    let why = Failure { kind: FailureKind::TimedOut, label: "timed-out", sentence, cause: None };
                    self.count(leg, &why, now, todo);
                }
                // Only a response makes a leg say these.
                (Said::Provisional | Said::Success | Said::Final, None) => {}
            }
        }
    }

    /// §16.7 step 5: provisional responses but 100 pass at once.
    fn pass_provisional(&mut self, response: &Message, now: Millis, todo: &mut Todo) {
        let status = response.status().unwrap_or(100);
        if status == 100 || self.phase == Phase::Answered {
            return;
        }
        if let Ok(bytes) = back(response, &self.owner.edits(response), &[]) {
            self.send_up(status, bytes, now, todo);
        }
    }

    /// §16.7 step 5: a 2xx passes at once, and those of other legs to an INVITE too; step 10: the rest is cancelled.
    fn succeed(&mut self, leg: usize, response: &Message, now: Millis, todo: &mut Todo) {
        let status = response.status().unwrap_or(200);
        // A second success of a request that is no INVITE belongs to nobody (RFC 4320 §4.2 would drop it later).
        if self.phase == Phase::Answered && !self.invite {
            return;
        }
        if let Ok(bytes) = back(response, &self.owner.edits(response), &[]) {
            self.respond(status, bytes, Some(leg), now, todo);
        }
        self.cancel_all(Some(ELSEWHERE), now, todo);
    }

    /// §16.7 step 4: a refusal waits for the others.
    fn refused(&mut self, leg: usize, response: &Message, now: Millis, todo: &mut Todo) {
        // RFC 3263 §4.3: after a 503 the next server of the same place is asked.
        if response.status() == Some(503) && self.stand_in(leg, now, todo) {
            return;
        }
        self.choice.add(Candidate::Received(Box::new(response.detached()), leg));
        self.settle(now, todo);
    }

    /// A leg without an answer counts as some answer (§16.8, §16.9), unless another server stands in.
    fn count(&mut self, leg: usize, why: &Failure, now: Millis, todo: &mut Todo) {
        if self.phase == Phase::Answered || self.stand_in(leg, now, todo) {
            return self.settle(now, todo);
        }
        let reply = match (&self.phase, why.kind) {
            // §9.1: an INVITE that does not end after its CANCEL counts as ended by it.
            (Phase::Cancelled(_), FailureKind::TimedOut) => Reply::new(487),
            _ => self.owner.failed(leg, why),
        };
        self.choice.add(Candidate::Made(reply, leg));
        self.settle(now, todo);
    }

    /// Starts the leg that stands by for this one. A cancelled or decided request goes nowhere any more.
    fn stand_in(&mut self, leg: usize, now: Millis, todo: &mut Todo) -> bool {
        let may = matches!(self.phase, Phase::Forwarding(_)) && !self.choice.decided;
        let next = self.legs.iter().position(|other| other.plan.instead_of == Some(leg) && other.is_waiting());
        match next {
            Some(next) if may => {
                // What the failed one had is free again.
                let breadth = self.legs[leg].breadth;
                self.start(next, breadth, now, todo);
                true
            }
            _ => false,
        }
    }

    /// Goes on to the next group of legs, or, with none left, to the answer.
    fn settle(&mut self, now: Millis, todo: &mut Todo) {
        if self.choice.decided {
            // §16.7 step 5: after a 6xx nobody else need ring.
            self.cancel_all(None, now, todo);
        }
        if self.phase == Phase::Answered || self.legs.iter().any(Leg::is_pending) {
            return;
        }
        if matches!(self.phase, Phase::Forwarding(_)) && !self.choice.decided && self.start_group(now, todo) {
            return;
        }
        let cancelled = matches!(self.phase, Phase::Cancelled(_));
        match self.choice.take() {
            Some((best, challenges)) => self.send_best(best, &challenges, now, todo),
            None if cancelled => self.reply(&Reply::new(487), None, now, todo),
            // Nowhere to go at all.
            None => self.reply(&Reply::new(480), None, now, todo),
        }
    }

    fn send_best(&mut self, best: Candidate, challenges: &[(crate::name::Name, String)], now: Millis, todo: &mut Todo) {
        let (status, leg) = (best.status(), best.leg());
        // §16.7 step 6: a 503 would say that nothing at all can pass here; the caller is told of this one failure.
        let unavailable = |reply: Reply| Reply { status: 500, ..reply };
        let written = match best {
            Candidate::Received(response, _) if status == 503 => {
                let retry = response.header(crate::name::Name::RetryAfter).map(str::to_owned);
                let reply =
                    self.owner.edits(&response).insert.into_iter().chain(retry.map(|retry| ("Retry-After", retry)));
                let reply = reply.fold(Reply::new(500), |reply, (name, value)| reply.header(name, value));
                return self.reply(&reply, Some(leg), now, todo);
            }
            Candidate::Received(response, _) => back(&response, &self.owner.edits(&response), challenges),
            Candidate::Made(reply, _) if status == 503 => return self.reply(&unavailable(reply), Some(leg), now, todo),
            Candidate::Made(reply, _) => return self.reply(&reply, Some(leg), now, todo),
        };
        match written {
            Ok(bytes) => self.respond(status, bytes, Some(leg), now, todo),
            Err(_) => self.reply(&Reply::new(500), Some(leg), now, todo),
        }
    }

    /// Starts all legs of the highest q that wait; says whether there were any.
    fn start_group(&mut self, now: Millis, todo: &mut Todo) -> bool {
        let waits = |leg: &&Leg| leg.is_waiting() && leg.plan.instead_of.is_none();
        let Some(q) = self.legs.iter().filter(waits).map(|leg| leg.plan.q).max() else { return false };
        let group: SmallVec<[usize; 4]> =
            (0..self.legs.len()).filter(|at| waits(&&self.legs[*at]) && self.legs[*at].plan.q == q).collect();
        let breadth = usize::from(self.request.as_ref().and_then(breadth).unwrap_or(1));
        if group.len() > breadth {
            // RFC 5393 §5.3.3.1: it must not be spread wider than it says.
            group.iter().for_each(|leg| self.legs[*leg].end());
            self.choice.add(Candidate::Made(Reply::new(440), group[0]));
            self.settle(now, todo);
            return true;
        }
        for (at, leg) in group.iter().enumerate() {
            let share = breadth / group.len() + usize::from(at < breadth % group.len());
            self.start(*leg, u16::try_from(share).unwrap_or(u16::MAX), now, todo);
        }
        true
    }

    fn start(&mut self, at: usize, breadth: u16, now: Millis, todo: &mut Todo) {
        let (Some(request), Some(way)) = (&self.request, &self.way) else { return };
        let leg = &mut self.legs[at];
        leg.breadth = breadth;
        let written = pass(
            request,
            &Passage {
                via: &leg.plan.via,
                request_uri: leg.plan.request_uri.as_deref(),
                routed: &way.routed,
                record_route: &leg.plan.record_route,
                edits: [&way.edits, &leg.plan.edits],
                source: self.upstream.source,
                breadth: Some(breadth),
            },
        );
        match written {
            Ok(bytes) => {
                leg.plan.forget_writing();
                let times = self.times();
                let saying = self.legs[at].start(bytes, self.invite, times, now);
                self.hear(at, saying, None, now, todo);
            }
            Err(error) => {
                self.legs[at].end();
                let sentence = format!("the request could not be written for its next hop: {error}");
                let why = Failure { kind: FailureKind::Unreachable, label: "not-written", sentence, cause: None };
                self.count(at, &why, now, todo);
            }
        }
    }

    fn cancel_all(&mut self, reason: Option<&str>, now: Millis, todo: &mut Todo) {
        let times = self.times();
        for leg in 0..self.legs.len() {
            if self.legs[leg].is_waiting() {
                self.legs[leg].end();
                continue;
            }
            let saying = self.legs[leg].cancel(reason, times, now);
            self.hear(leg, saying, None, now, todo);
        }
    }

    /// An answer of our own.
    fn reply(&mut self, reply: &Reply, leg: Option<usize>, now: Millis, todo: &mut Todo) {
        let Some(request) = &self.request else { return };
        match reply.write(request, &self.upstream.tag, Some(self.upstream.source)) {
            Ok(bytes) if reply.status < 200 => {
                self.send_up(reply.status, bytes, now, todo);
            }
            Ok(bytes) => self.respond(reply.status, bytes, leg, now, todo),
            // The request parsed, so at least a bare answer can be written.
            Err(_) if !reply.headers.is_empty() => self.reply(&Reply::new(reply.status), leg, now, todo),
            Err(_) => self.respond(reply.status, Bytes::new(), leg, now, todo),
        }
    }

    /// A final response: whatever is not needed behind it is let go.
    fn respond(&mut self, status: u16, response: Bytes, leg: Option<usize>, now: Millis, todo: &mut Todo) {
        let first = self.phase != Phase::Answered;
        // A 2xx behind a refusal has nobody to go to.
        if self.send_up(status, response, now, todo) || first {
            self.owner.ended(status, leg);
        }
        self.phase = Phase::Answered;
        (self.request, self.way) = (None, None);
        if !self.invite {
            // RFC 4320 §4.2: what comes later has nowhere to go.
            self.legs.iter_mut().for_each(Leg::end);
        }
    }

    /// Says whether the transaction took it.
    fn send_up(&mut self, status: u16, response: Bytes, now: Millis, todo: &mut Todo) -> bool {
        let actions = match &mut self.server {
            Server::Invite(transaction) => transaction.respond(status, response, now),
            Server::Other(transaction) => transaction.respond(status, response, now),
        };
        let taken = !actions.is_empty();
        todo.extend(self.upward(actions));
        taken
    }

    fn upward(&self, actions: Actions) -> Todo {
        actions
            .into_iter()
            .filter_map(|action| match action {
                Action::Send(bytes) if !self.deaf && !bytes.is_empty() => Some(Do::Up(bytes)),
                // That an ACK never came changes nothing for a proxy.
                Action::Deliver | Action::Send(_) | Action::Terminated | Action::Timeout | Action::TransportFailed => {
                    None
                }
            })
            .collect()
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("invite", &self.invite)
            .field("phase", &self.phase)
            .field("legs", &self.legs.len())
            .field("deaf", &self.deaf)
            .finish_non_exhaustive()
    }
}
