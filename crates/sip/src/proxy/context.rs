//! The response context (§16.7): one request received, the legs it was sent to, and the one answer that goes back.

mod downward;
mod upward;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::choice::Choice;
use super::leg::{Leg, LegPlan};
use super::reply::{Edits, Failure, Owner, Reply};
use super::routing::Routed;
use crate::abridged::Abridged;
use crate::message::Message;
use crate::method::Method;
use crate::timers::{Millis, Reliability, Timer, Timers};
use crate::transaction::{Action, InviteServerTransaction, ServerTransaction};

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
