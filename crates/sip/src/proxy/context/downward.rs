//! What becomes of the legs: which of them begin, which stand in for others, which are cancelled.

use smallvec::SmallVec;

use super::{Context, Do, Phase, Todo};
use crate::message::Message;
use crate::proxy::check::breadth;
use crate::proxy::choice::Candidate;
use crate::proxy::leg::{Leg, Said, Saying, Times};
use crate::proxy::reply::{Failure, FailureKind, Reply};
use crate::proxy::write::{Passage, pass};
use crate::timers::Millis;

impl Context {
    /// Carries out what a leg said. `response` is the one it just received, if it did.
    pub(super) fn hear(
        &mut self,
        leg: usize,
        saying: Saying,
        response: Option<&Message>,
        now: Millis,
        todo: &mut Todo,
    ) {
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
    pub(super) fn count(&mut self, leg: usize, why: &Failure, now: Millis, todo: &mut Todo) {
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
    pub(super) fn settle(&mut self, now: Millis, todo: &mut Todo) {
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
    pub(super) fn lighten(&mut self) {
        (self.whole, self.way) = (None, None);
    }

    pub(super) fn cancel_all(&mut self, reason: Option<&str>, now: Millis, todo: &mut Todo) {
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

    pub(super) fn times(&self) -> Times {
        Times { timers: self.upstream.timers, timer_c: self.upstream.timer_c }
    }
}
