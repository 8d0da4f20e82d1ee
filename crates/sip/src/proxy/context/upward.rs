//! What goes back to whoever sent the request: §16.7 steps 4 to 10, for the one answer of many.

use bytes::Bytes;

use super::{Context, Do, Ear, Phase, Server, Todo};
use crate::message::Message;
use crate::proxy::choice::Candidate;
use crate::proxy::leg::Leg;
use crate::proxy::reply::Reply;
use crate::proxy::write::back;
use crate::timers::Millis;
use crate::transaction::{Action, Actions};

impl Context {
    /// §16.7 step 5: provisional responses but 100 pass at once.
    pub(super) fn pass_provisional(&mut self, response: &Message, now: Millis, todo: &mut Todo) {
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
    pub(super) fn succeed(&mut self, leg: usize, response: &Message, now: Millis, todo: &mut Todo) {
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

    pub(super) fn send_best(
        &mut self,
        best: Candidate,
        challenges: &[(crate::name::Name, String)],
        now: Millis,
        todo: &mut Todo,
    ) {
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

    /// An answer of our own.
    pub(super) fn reply(&mut self, reply: &Reply, leg: Option<usize>, now: Millis, todo: &mut Todo) {
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
    pub(super) fn respond(&mut self, status: u16, response: Bytes, leg: Option<usize>, now: Millis, todo: &mut Todo) {
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

    pub(super) fn upward(&mut self, is_final: bool, actions: Actions) -> Todo {
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

/// RFC 3326, RFC 3261 §16.7 step 10: why the other phones stop ringing.
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";
