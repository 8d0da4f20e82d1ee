//! One branch of a request under way: its client transaction, its CANCEL, and how long it may take.

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::reply::{Edits, Failure};
use crate::message::Message;
use crate::method::Method;
use crate::timers::{Millis, Reliability, Timers};
use crate::transaction::{Action, Actions, ClientTransaction, InviteClientTransaction, cancel};

/// One place that a request is to go to.
#[derive(Clone, Debug)]
pub struct LegPlan {
    /// Our whole Via value, with the branch that is this leg's.
    pub via: String,
    /// The Request-URI for this leg, if it is another one.
    pub request_uri: Option<String>,
    /// Legs of equal q start together, those of lower q when all above have failed (§16.6, "serially").
    pub q: u16,
    /// Starts only if that leg fails or answers 503: another server for the same place (RFC 3263 §4.3).
    pub instead_of: Option<usize>,
    /// Whether it has the same servers to choose from as the leg that it stands in for. When none of them could be
    /// reached at all, it does not begin.
    pub again: bool,
    /// URIs for Record-Route, top first.
    pub record_route: Vec<String>,
    /// Edits for this leg.
    pub edits: Edits,
    /// Whether its transport repeats what is lost.
    pub reliability: Reliability,
}

/// A leg at work.
#[derive(Debug)]
pub(super) struct Leg {
    pub(super) plan: LegPlan,
    /// Its share of the branches that the request may have at once.
    pub(super) breadth: u16,
    client: Client,
    cancel: Cancel,
    /// §16.6 step 11: runs while an INVITE has no final answer.
    timer_c: Option<Millis>,
    /// §9.1: how long a cancelled INVITE is waited for.
    give_up: Option<Millis>,
    /// A final answer came, or none will.
    finished: bool,
    /// Some answer came.
    heard: bool,
    /// Its connection is gone while it rings; so long its answer may come on another (§18.2.2).
    away: Option<Millis>,
    /// Why the leg failed that this one stands in for, unless that answered.
    pub(super) because: Option<Failure>,
}

#[derive(Debug)]
enum Client {
    Invite(InviteClientTransaction),
    Other(ClientTransaction),
    Over,
    Waiting,
}

/// A CANCEL can only follow a provisional answer (§9.1).
#[derive(Debug)]
enum Cancel {
    No,
    Sent(ClientTransaction),
    Wanted(Option<String>),
}

/// What a leg asks of its context.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Said {
    /// The response just received is a final one other than a success.
    Final,
    /// Its connection is gone and has not come back.
    Lost,
    /// The response just received is provisional.
    Provisional,
    /// To be sent on this leg.
    Send(Bytes),
    /// The response just received is a success.
    Success,
    /// No final answer will come.
    TimedOut,
}

pub(super) type Saying = SmallVec<[Said; 2]>;

/// The times that a leg keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) timers: Timers,
    pub(super) timer_c: Millis,
}

impl LegPlan {
    /// Lets go of what only writing the request needed.
    pub(super) fn forget_writing(&mut self) {
        (self.via, self.request_uri) = (String::new(), None);
        (self.record_route, self.edits) = (Vec::new(), Edits::default());
    }
}

impl Leg {
    pub(super) fn new(plan: LegPlan) -> Self {
        Self {
            plan,
            breadth: 1,
            client: Client::Waiting,
            cancel: Cancel::No,
            timer_c: None,
            give_up: None,
            finished: false,
            heard: false,
            away: None,
            because: None,
        }
    }

    /// Sends the request, as it was written for this leg.
    pub(super) fn start(&mut self, request: Bytes, invite: bool, times: Times, now: Millis) -> Saying {
        let (reliability, timers) = (self.plan.reliability, times.timers);
        let actions = if invite {
            self.timer_c = Some(now + times.timer_c);
            let (transaction, actions) = InviteClientTransaction::start(request, reliability, timers, now);
            self.client = Client::Invite(transaction);
            actions
        } else {
            let (transaction, actions) = ClientTransaction::start(request, reliability, timers, now);
            self.client = Client::Other(transaction);
            actions
        };
        self.said(actions, 0)
    }

    /// A response that carries this leg's branch.
    pub(super) fn on_response(&mut self, response: &Message, times: Times, now: Millis) -> Saying {
        let Some(status) = response.status() else { return Saying::new() };
        // §9.1: a CANCEL is a transaction of its own whose answers mean nothing.
        if response.cseq().is_ok_and(|cseq| cseq.method == Method::Cancel) {
            if let Cancel::Sent(cancel) = &mut self.cancel {
                cancel.on_response(status, now);
            }
            return Saying::new();
        }
        let actions = match &mut self.client {
            Client::Invite(transaction) => transaction.on_response(response, now),
            Client::Other(transaction) => transaction.on_response(status, now),
            Client::Over | Client::Waiting => return Saying::new(),
        };
        (self.heard, self.away) = (true, None);
        // §16.7 step 2.
        if (101..200).contains(&status) && self.timer_c.is_some() {
            self.timer_c = Some(now + times.timer_c);
        }
        let mut saying = self.said(actions, status);
        if let Cancel::Wanted(_) = self.cancel
            && let Cancel::Wanted(reason) = std::mem::replace(&mut self.cancel, Cancel::No)
        {
            saying.extend(self.cancel(reason.as_deref(), times, now));
        }
        saying
    }

    /// Nothing can be sent on it any more, or it never left. Says whether an answer was still waited for.
    pub(super) fn on_failed(&mut self) -> bool {
        let pending = self.is_pending();
        self.end();
        pending
    }

    /// Its connection is gone. An INVITE that rings waits until then for what its callee still says; says whether it does.
    pub(super) fn on_away(&mut self, until: Millis) -> bool {
        let rings = matches!(&self.client, Client::Invite(transaction) if transaction.is_proceeding());
        let waits = rings && !self.finished;
        if waits {
            self.away.get_or_insert(until);
        }
        waits
    }

    /// Nobody wants its answer any more. Only an INVITE can be cancelled (§9.1); other requests end by themselves.
    pub(super) fn cancel(&mut self, reason: Option<&str>, times: Times, now: Millis) -> Saying {
        let Client::Invite(transaction) = &self.client else { return Saying::new() };
        if self.finished || matches!(self.cancel, Cancel::Sent(_)) {
            return Saying::new();
        }
        // While its connection is gone there is nobody to be told; who answers on another is told then.
        if !transaction.is_proceeding() || self.away.is_some() {
            self.cancel = Cancel::Wanted(reason.map(str::to_owned));
            return Saying::new();
        }
        self.timer_c = None;
        // §9.1: after 64*T1 without a final answer the INVITE counts as cancelled; so it does if it cannot be told.
        let ended = now + Millis(times.timers.t1.0.saturating_mul(64));
        self.give_up = self.give_up.or(Some(ended));
        let Some(bytes) = transaction.invite().and_then(|invite| cancel(invite, reason)) else { return Saying::new() };
        let (transaction, actions) = ClientTransaction::start(bytes, self.plan.reliability, times.timers, now);
        self.cancel = Cancel::Sent(transaction);
        sends(actions)
    }

    /// A deadline has passed. Called early it does nothing.
    pub(super) fn on_timer(&mut self, times: Times, now: Millis) -> Saying {
        if self.give_up.is_some_and(|at| now >= at) {
            self.end();
            return smallvec![Said::TimedOut];
        }
        if self.away.is_some_and(|at| now >= at) {
            self.end();
            return smallvec![Said::Lost];
        }
        let mut saying = Saying::new();
        let actions = match &mut self.client {
            Client::Invite(transaction) => transaction.on_timer(now),
            Client::Other(transaction) => transaction.on_timer(now),
            Client::Over | Client::Waiting => Actions::new(),
        };
        saying.extend(self.said(actions, 0));
        if let Cancel::Sent(cancel) = &mut self.cancel {
            saying.extend(sends(cancel.on_timer(now)));
        }
        if self.timer_c.is_some_and(|at| now >= at) && !self.finished {
            self.timer_c = None;
            // §16.8. In Calling timer B is shorter, so a provisional answer has come.
            saying.extend(self.cancel(None, times, now));
        }
        saying
    }

    pub(super) fn next_deadline(&self) -> Option<Millis> {
        let client = match &self.client {
            Client::Invite(transaction) => transaction.next_deadline(),
            Client::Other(transaction) => transaction.next_deadline(),
            Client::Over | Client::Waiting => None,
        };
        let cancel = match &self.cancel {
            Cancel::Sent(cancel) => cancel.next_deadline(),
            Cancel::No | Cancel::Wanted(_) => None,
        };
        [client, cancel, self.timer_c, self.give_up, self.away].into_iter().flatten().min()
    }

    /// Bytes of messages that it holds.
    pub(super) fn held(&self) -> usize {
        let client = match &self.client {
            Client::Invite(transaction) => transaction.held(),
            Client::Other(transaction) => transaction.held(),
            Client::Over | Client::Waiting => 0,
        };
        let cancel = match &self.cancel {
            Cancel::Sent(cancel) => cancel.held(),
            Cancel::No | Cancel::Wanted(_) => 0,
        };
        client + cancel
    }

    /// Forgets it, whatever it was waiting for.
    pub(super) fn end(&mut self) {
        self.client = Client::Over;
        self.finish();
    }

    /// Whether it has not begun.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.client, Client::Waiting)
    }

    /// Whether anything at all was heard of it.
    pub(super) fn has_heard(&self) -> bool {
        self.heard
    }

    /// Whether it has begun and has no final answer.
    pub(super) fn is_pending(&self) -> bool {
        !self.finished && !self.is_waiting()
    }

    /// Whether it has nothing left to do.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.client, Client::Over)
    }

    /// No more than absorbing repetitions is left.
    fn finish(&mut self) {
        (self.finished, self.cancel) = (true, Cancel::No);
        (self.timer_c, self.give_up, self.away) = (None, None, None);
    }

    /// What the transaction wants, in the words of a leg.
    fn said(&mut self, actions: Actions, status: u16) -> Saying {
        let mut saying = Saying::new();
        for action in actions {
            match action {
                Action::Send(bytes) => saying.push(Said::Send(bytes)),
                Action::Deliver if status < 200 => saying.push(Said::Provisional),
                Action::Deliver if status < 300 => {
                    self.finish();
                    saying.push(Said::Success);
                }
                Action::Deliver => {
                    self.finish();
                    saying.push(Said::Final);
                }
                Action::Timeout => {
                    self.finish();
                    saying.push(Said::TimedOut);
                }
                Action::Terminated => self.client = Client::Over,
                // A leg learns of its transport from its context, which ends it.
                Action::TransportFailed => {}
            }
        }
        saying
    }
}

/// A CANCEL's own transaction only ever has something to send.
fn sends(actions: Actions) -> Saying {
    actions
        .into_iter()
        .filter_map(|action| match action {
            Action::Send(bytes) => Some(Said::Send(bytes)),
            Action::Deliver | Action::Terminated | Action::Timeout | Action::TransportFailed => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Limits, parse_datagram};

    #[test]
    fn an_invite_that_no_cancel_can_be_made_of_is_given_up_all_the_same() {
        let plan = LegPlan {
            via: String::new(),
            request_uri: None,
            q: 1000,
            instead_of: None,
            again: false,
            record_route: Vec::new(),
            edits: Edits::default(),
            reliability: Reliability::Reliable,
        };
        let times = Times { timers: Timers::default(), timer_c: Millis(181_000) };
        let mut leg = Leg::new(plan);
        leg.start(Bytes::from_static(b"no message"), true, times, Millis(0));
        let ringing = "SIP/2.0 180 Ringing\r\nVia: SIP/2.0/TCP us;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\n\
            Call-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
        leg.on_response(&parse_datagram(ringing.into(), &Limits::default()).expect("sound"), times, Millis(1));
        assert!(leg.cancel(None, times, Millis(10)).is_empty());
        assert_eq!(leg.next_deadline(), Some(Millis(32_010)));
        assert!(leg.cancel(None, times, Millis(20)).is_empty());
        assert_eq!(leg.on_timer(times, Millis(32_010))[..], [Said::TimedOut]);
        assert!(leg.is_over());
    }
}
