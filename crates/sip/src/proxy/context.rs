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
use crate::abridged::Abridged;
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
    /// How long a peer whose connection is gone, above or below, is waited for (§18.2.2).
    pub return_within: Millis,
    /// Most bytes of one answer: what a datagram holds, where that is what carries it.
    pub bytes_max: usize,
}

/// A request under way through a stateful proxy.
///
/// It begins undecided; [`Context::forward`] or [`Context::answer`] decides. What it says in its [`Todo`] has to be done
/// in that order. Forget it once [`Context::is_over`].
pub struct Context {
    /// The whole request, until every leg has begun.
    whole: Option<Message>,
    /// What answers to it are known by and made of.
    kept: Abridged,
    invite: bool,
    server: Server,
    owner: Arc<dyn Owner>,
    way: Option<Way>,
    legs: SmallVec<[Leg; 1]>,
    choice: Choice,
    phase: Phase,
    ear: Ear,
    /// After that nobody stands in for a server that failed: the sender's patience has an end.
    stand_in_until: Millis,
    upstream: Upstream,
}

/// Whether whoever sent the request can be told anything.
#[derive(Debug)]
enum Ear {
    /// Its connection is gone, and it may be back on another until then. What was to be said last waits, with whether that
    /// is final.
    Away(Millis, Option<(bool, Bytes)>),
    /// Nobody upstream hears us any more.
    Deaf,
    Open,
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

/// From the forwarding of a request to the last beginning of a leg that stands in for another. One server that says
/// nothing takes 64*T1, 32 s, until it is passed over (RFC 3263 §4.3); behind a second one nobody would be waiting still.
const STAND_IN_WITHIN: Millis = Millis(40_000);

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
            whole: Some(request.detached()),
            kept: request.abridged(upstream.source),
            invite,
            server,
            owner: Arc::new(super::Nobody),
            way: None,
            legs: SmallVec::new(),
            choice: Choice::default(),
            phase: Phase::Undecided(now + upstream.decide_within),
            ear: Ear::Open,
            stand_in_until: now,
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
        self.stand_in_until = now + STAND_IN_WITHIN;
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
        self.upward(true, actions)
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
                self.lighten();
                self.cancel_all(reason, now, &mut todo);
                self.settle(now, &mut todo);
            }
            // A CANCEL changes nothing any more, or never could.
            Phase::Undecided(_) | Phase::Forwarding(_) | Phase::Cancelled(_) | Phase::Answered => {}
        }
        todo
    }

    /// Whether a response that carries a branch of ours is one to this request or to its CANCEL. Any other is dropped: its
    /// CSeq, Call-ID and From are those of somebody else's transaction (§17.1.3, §8.2.6.2), or no Via is behind ours (§16.7
    /// step 3).
    pub fn is_answered_by(&self, response: &Message) -> bool {
        self.kept.is_answered_by(response) || self.invite && self.kept.is_cancel_answered_by(response)
    }

    /// A response with this leg's branch came.
    pub fn on_response(&mut self, leg: usize, response: &Message, now: Millis) -> Todo {
        let (mut todo, times) = (Todo::new(), self.times());
        if !self.is_answered_by(response) {
            return todo;
        }
        let Some(found) = self.legs.get_mut(leg) else { return todo };
        let saying = found.on_response(response, times, now);
        self.hear(leg, saying, Some(response), now, &mut todo);
        todo
    }

    /// A leg's request never left, or its connection is gone and nobody would come back.
    pub fn on_failed(&mut self, leg: usize, why: &Failure, now: Millis) -> Todo {
        let mut todo = Todo::new();
        if self.legs.get_mut(leg).is_some_and(Leg::on_failed) {
            self.count(leg, why, now, &mut todo);
        }
        todo
    }

    /// A leg's connection is gone, and its peer has proven who it is. While an INVITE rings there, its answer may come on
    /// another connection of that peer (§18.2.2), for as long as [`Upstream::return_within`]; anything else has failed.
    pub fn on_leg_away(&mut self, leg: usize, why: &Failure, now: Millis) -> Todo {
        let until = now + self.upstream.return_within;
        match self.legs.get_mut(leg).is_some_and(|leg| leg.on_away(until)) {
            true => Todo::new(),
            false => self.on_failed(leg, why, now),
        }
    }

    /// The connection that the request came on is gone, and whoever sent it may come back on another (§18.2.2). Until then
    /// what there is to say waits; after [`Upstream::return_within`] it is as if nobody would.
    pub fn on_upstream_away(&mut self, now: Millis) {
        if let Ear::Open = self.ear {
            self.ear = Ear::Away(now + self.upstream.return_within, None);
        }
    }

    /// Whoever sent the request is back on another connection, and is told what waits for it, or again what may have been
    /// lost with the connection before.
    pub fn on_upstream_back(&mut self) -> Todo {
        let waiting = match &mut self.ear {
            Ear::Away(_, waiting) => waiting.take(),
            Ear::Deaf | Ear::Open => return Todo::new(),
        };
        self.ear = Ear::Open;
        match waiting {
            Some((_, bytes)) => [Do::Up(bytes)].into_iter().collect(),
            None => self.on_repetition(),
        }
    }

    /// Whether whoever sent the request is waited for.
    pub fn is_upstream_away(&self) -> bool {
        matches!(self.ear, Ear::Away(..))
    }

    /// The connection that the request came on is gone, and with it whoever wanted an answer: as good as a CANCEL.
    pub fn on_upstream_gone(&mut self, now: Millis) -> Todo {
        let mut todo = Todo::new();
        self.ear = Ear::Deaf;
        match &mut self.server {
            Server::Invite(transaction) => drop(transaction.on_transport_failed()),
            Server::Other(transaction) => drop(transaction.on_transport_failed()),
        }
        if self.invite && matches!(self.phase, Phase::Forwarding(_) | Phase::Cancelled(_)) {
            self.phase = Phase::Cancelled(None);
            self.lighten();
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
        let mut todo = self.upward(self.is_answered(), actions);
        if matches!(self.ear, Ear::Away(until, _) if now >= until) {
            todo.extend(self.on_upstream_gone(now));
        }
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
        let away = match self.ear {
            Ear::Away(until, _) => Some(until),
            Ear::Deaf | Ear::Open => None,
        };
        self.legs.iter().map(Leg::next_deadline).chain([server, own, away]).flatten().min()
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
        let waits = matches!(self.ear, Ear::Away(_, Some(_)));
        server && !waits && self.legs.iter().all(Leg::is_over)
    }

    /// Bytes of messages that it holds.
    pub fn held(&self) -> usize {
        let server = match &self.server {
            Server::Invite(transaction) => transaction.held(),
            Server::Other(transaction) => transaction.held(),
        };
        let waiting = match &self.ear {
            Ear::Away(_, Some((_, bytes))) => bytes.len(),
            Ear::Away(_, None) | Ear::Deaf | Ear::Open => 0,
        };
        let whole = self.whole.as_ref().map_or(0, |whole| whole.as_bytes().len());
        let legs: usize = self.legs.iter().map(Leg::held).sum();
        whole + self.kept.len() + server + waiting + legs + self.choice.held()
    }

    /// Whether the request is still held, with what it needs to be sent again.
    #[cfg(test)]
    pub(super) fn keeps_messages(&self) -> bool {
        self.whole.is_some() || self.way.is_some() || self.legs.iter().any(|leg| !leg.plan.via.is_empty())
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
                (Said::Lost, _) => {
                    let sentence = "its connection closed before it answered, and it did not come back".to_owned();
                    let why = Failure { kind: FailureKind::Gone, label: "closed", sentence, cause: None };
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
        // One that its way back would not take is one that was lost.
        if let Ok(bytes) = self.fitting(response, &[]) {
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
        match self.fitting(response, &[]) {
            Ok(bytes) => self.respond(status, bytes, Some(leg), now, todo),
            // Behind a success there is nobody to be told.
            Err(_) if self.phase == Phase::Answered => {}
            // The callee hears no ACK and hangs up (§13.3.1.4).
            Err(reply) => self.reply(&reply, Some(leg), now, todo),
        }
        self.cancel_all(Some(ELSEWHERE), now, todo);
    }

    /// §16.7 step 4: a refusal waits for the others.
    fn refused(&mut self, leg: usize, response: &Message, now: Millis, todo: &mut Todo) {
        let candidate = match self.owner.unfit(response) {
            None => Candidate::Received(Box::new(response.detached()), leg),
            Some(reply) => Candidate::Made(reply, leg),
        };
        self.choice.add(candidate);
        // RFC 3263 §4.3: after a 503 the next server of the same place is asked.
        if response.status() == Some(503) && self.stand_in(leg, None, now, todo) {
            return;
        }
        self.settle(now, todo);
    }

    /// A leg without an answer counts as some answer (§16.8, §16.9), unless another server stands in.
    fn count(&mut self, leg: usize, why: &Failure, now: Millis, todo: &mut Todo) {
        if self.phase == Phase::Answered || self.stand_in(leg, Some(why), now, todo) {
            return self.settle(now, todo);
        }
        let found = &mut self.legs[leg];
        let before = match why.kind {
            // There was no other server after all: what counts is what the first one did.
            FailureKind::Unreachable if found.plan.again => Some(found.because.take()),
            FailureKind::Gone | FailureKind::TimedOut | FailureKind::Unreachable => None,
        };
        let why = match &before {
            // It has answered, and that answer is a candidate already.
            Some(None) => return self.settle(now, todo),
            Some(Some(before)) => before,
            None => why,
        };
        let reply = match self.phase {
            // §9.1: an INVITE that does not end after its CANCEL counts as ended by it.
            Phase::Cancelled(_) => Reply::new(487),
            _ => self.owner.failed(leg, why),
        };
        self.choice.add(Candidate::Made(reply, leg));
        self.settle(now, todo);
    }

    /// Starts the leg that stands by for this one, which failed or (`None`) answered 503. A cancelled or decided request
    /// goes nowhere any more.
    fn stand_in(&mut self, leg: usize, failed: Option<&Failure>, now: Millis, todo: &mut Todo) -> bool {
        let kind = failed.map(|failed| failed.kind);
        let may = matches!(self.phase, Phase::Forwarding(_)) && !self.choice.decided && now <= self.stand_in_until;
        // RFC 3263 §4.3: silence is a failure where nothing at all was heard. Whoever sent something else than an INVITE has
        // waited for as long as we have, and waits no longer (RFC 4320 §1.2).
        let silent = kind == Some(FailureKind::TimedOut);
        if !may || silent && (!self.invite || self.legs[leg].has_heard()) {
            return false;
        }
        let mut before = leg;
        loop {
            let stands_by = |other: &Leg| other.plan.instead_of == Some(before) && other.is_waiting();
            let Some(next) = self.legs.iter().position(stands_by) else { return false };
            if kind == Some(FailureKind::Unreachable) && self.legs[next].plan.again {
                // None of the servers that it could choose from can be reached.
                self.legs[next].end();
                before = next;
                continue;
            }
            self.legs[next].because = failed.cloned();
            // What the failed one had is free again.
            let breadth = self.legs[leg].breadth;
            self.start(next, breadth, now, todo);
            return true;
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
            Candidate::Received(response, _) => self.fitting(&response, challenges),
            Candidate::Made(reply, _) if status == 503 => return self.reply(&unavailable(reply), Some(leg), now, todo),
            Candidate::Made(reply, _) => return self.reply(&reply, Some(leg), now, todo),
        };
        match written {
            Ok(bytes) => self.respond(status, bytes, Some(leg), now, todo),
            Err(reply) => self.reply(&reply, Some(leg), now, todo),
        }
    }

    /// A response as it goes back, or what is answered instead of one that cannot go: too long for a datagram, or for whoever
    /// it goes to.
    fn fitting(&self, response: &Message, challenges: &[(crate::name::Name, String)]) -> Result<Bytes, Reply> {
        if let Some(reply) = self.owner.unfit(response) {
            return Err(reply);
        }
        match back(response, &self.kept.vias(), &self.owner.edits(response), challenges) {
            Ok(bytes) if bytes.len() <= self.upstream.bytes_max => Ok(bytes),
            // §21.5.14: a length that exceeds what this way can carry.
            Ok(_) => Err(Reply::new(513)),
            Err(_) => Err(Reply::new(500)),
        }
    }

    /// Starts all legs of the highest q that wait; says whether there were any.
    fn start_group(&mut self, now: Millis, todo: &mut Todo) -> bool {
        let waits = |leg: &&Leg| leg.is_waiting() && leg.plan.instead_of.is_none();
        let Some(q) = self.legs.iter().filter(waits).map(|leg| leg.plan.q).max() else { return false };
        let group: SmallVec<[usize; 4]> =
            (0..self.legs.len()).filter(|at| waits(&&self.legs[*at]) && self.legs[*at].plan.q == q).collect();
        let breadth = usize::from(self.whole.as_ref().and_then(breadth).unwrap_or(1));
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
        let (Some(request), Some(way)) = (&self.whole, &self.way) else { return };
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
                if !self.legs.iter().any(Leg::is_waiting) {
                    self.lighten();
                }
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

    /// Nobody else will be sent the request, and answers need little of it.
    fn lighten(&mut self) {
        (self.whole, self.way) = (None, None);
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
        if self.is_answered() {
            return;
        }
        match reply.write(&self.kept.clone().restore(), &self.upstream.tag, Some(self.upstream.source)) {
            Ok(bytes) if reply.status < 200 => {
                self.send_up(reply.status, bytes, now, todo);
            }
            Ok(bytes) if bytes.len() <= self.upstream.bytes_max => {
                self.respond(reply.status, bytes, leg, now, todo);
            }
            // The request parsed, and came in one piece, so at least a bare answer can be written.
            Ok(_) | Err(_) if !reply.headers.is_empty() || reply.content.is_some() => {
                self.reply(&Reply::new(reply.status), leg, now, todo)
            }
            Ok(_) | Err(_) => self.respond(reply.status, Bytes::new(), leg, now, todo),
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
        self.lighten();
        // RFC 4320 §4.2: what comes later to a request other than an INVITE has nowhere to go. And whoever stood by is not
        // needed any more.
        let invite = self.invite;
        self.legs.iter_mut().filter(|leg| !invite || leg.is_waiting()).for_each(Leg::end);
    }

    /// Says whether the transaction took it.
    fn send_up(&mut self, status: u16, response: Bytes, now: Millis, todo: &mut Todo) -> bool {
        let actions = match &mut self.server {
            Server::Invite(transaction) => transaction.respond(status, response, now),
            Server::Other(transaction) => transaction.respond(status, response, now),
        };
        let taken = !actions.is_empty();
        todo.extend(self.upward(status >= 200, actions));
        taken
    }

    fn upward(&mut self, is_final: bool, actions: Actions) -> Todo {
        let mut todo = Todo::new();
        for action in actions {
            match (action, &mut self.ear) {
                (Action::Send(bytes), _) if bytes.is_empty() => {}
                (Action::Send(bytes), Ear::Open) => todo.push(Do::Up(bytes)),
                // A second 2xx is lost, as it could be anyway: whoever accepted repeats it (§13.3.1.4).
                (Action::Send(_), Ear::Away(_, Some((true, _))) | Ear::Deaf) => {}
                (Action::Send(bytes), Ear::Away(_, waiting)) => *waiting = Some((is_final, bytes)),
                // That an ACK never came changes nothing for a proxy.
                (Action::Deliver | Action::Terminated | Action::Timeout | Action::TransportFailed, _) => {}
            }
        }
        todo
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("invite", &self.invite)
            .field("phase", &self.phase)
            .field("legs", &self.legs.len())
            .field("ear", &self.ear)
            .finish_non_exhaustive()
    }
}
