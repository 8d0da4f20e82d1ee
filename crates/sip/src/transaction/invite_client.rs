//! The INVITE client transaction (§17.1.1, with the state Accepted of RFC 6026): one INVITE out, answers back.

use bytes::Bytes;
use smallvec::smallvec;

use super::{Action, Actions, derived};
use crate::message::Message;
use crate::timers::{Millis, Reliability, Timer, Timers};

/// An INVITE that we sent and wait for the answer to. It makes the ACK of an answer of 300 to 699 itself; the ACK of a
/// 2xx is not its business.
#[derive(Debug)]
pub struct InviteClientTransaction {
    state: State,
    timers: Timers,
    reliability: Reliability,
    /// The INVITE while it may have to be repeated, then its stem until it is answered, then the ACK while that may have to
    /// be repeated.
    sent: Option<Bytes>,
    /// Timer A: when to repeat, and the interval that led there.
    repeat: Option<(Millis, Millis)>,
    /// Timer B, then D or M.
    end: Option<Millis>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Calling,
    Proceeding,
    Completed,
    Accepted,
    Terminated,
}

impl InviteClientTransaction {
    /// Sends the INVITE and begins to wait.
    pub fn start(invite: Bytes, reliability: Reliability, timers: Timers, now: Millis) -> (Self, Actions) {
        let repeat = timers.span(Timer::A, reliability).map(|interval| (now + interval, interval));
        let transaction = Self {
            state: State::Calling,
            timers,
            reliability,
            sent: if repeat.is_some() { Some(invite.clone()) } else { derived::stem(&invite) },
            repeat,
            end: timers.span(Timer::B, reliability).map(|span| now + span),
        };
        (transaction, smallvec![Action::Send(invite)])
    }

    /// A response matched the transaction's key.
    pub fn on_response(&mut self, response: &Message, now: Millis) -> Actions {
        let Some(status) = response.status() else { return Actions::new() };
        match (self.state, status) {
            (State::Calling | State::Proceeding, ..200) => {
                // §17.1.1.2: neither repeated nor given up any more; a proxy has timer C for that.
                if self.repeat.is_some() {
                    self.sent = self.sent.as_ref().and_then(derived::stem);
                }
                (self.state, self.repeat, self.end) = (State::Proceeding, None, None);
                Actions::from_iter([Action::Deliver])
            }
            (State::Calling | State::Proceeding, 200..300) => {
                // RFC 6026 §7.2: further 2xx of the same INVITE are passed up until timer M.
                (self.state, self.repeat, self.sent) = (State::Accepted, None, None);
                self.end = Some(now + self.span(Timer::M));
                Actions::from_iter([Action::Deliver])
            }
            (State::Accepted, 200..300) => Actions::from_iter([Action::Deliver]),
            (State::Calling | State::Proceeding, 300..) => self.complete(response, now),
            (State::Completed, 300..) => self.sent.clone().map(Action::Send).into_iter().collect(),
            (State::Accepted | State::Completed | State::Terminated, _) => Actions::new(),
        }
    }

    fn complete(&mut self, response: &Message, now: Millis) -> Actions {
        let ack = self.sent.take().and_then(|invite| derived::ack(&invite, response));
        let mut actions: Actions = ack.clone().map(Action::Send).into_iter().collect();
        actions.push(Action::Deliver);
        let linger = self.span(Timer::D);
        self.repeat = None;
        if linger == Millis(0) {
            (self.state, self.end) = (State::Terminated, None);
            actions.push(Action::Terminated);
        } else {
            (self.state, self.end, self.sent) = (State::Completed, Some(now + linger), ack);
        }
        actions
    }

    /// The transport could not send, or its connection is gone.
    pub fn on_transport_failed(&mut self) -> Actions {
        match self.state {
            State::Calling | State::Proceeding => {
                self.terminate();
                smallvec![Action::TransportFailed, Action::Terminated]
            }
            State::Completed | State::Accepted => {
                self.terminate();
                smallvec![Action::Terminated]
            }
            State::Terminated => Actions::new(),
        }
    }

    /// A deadline has passed. Called early it does nothing.
    pub fn on_timer(&mut self, now: Millis) -> Actions {
        if self.end.is_some_and(|end| now >= end) {
            let gave_up = self.state == State::Calling;
            self.terminate();
            return match gave_up {
                true => smallvec![Action::Timeout, Action::Terminated],
                false => smallvec![Action::Terminated],
            };
        }
        match (self.repeat, &self.sent) {
            (Some((at, interval)), Some(invite)) if now >= at => {
                // §17.1.1.2: timer A doubles each time, without the limit of T2.
                let next = Millis(interval.0.saturating_mul(2));
                self.repeat = Some((now + next, next));
                smallvec![Action::Send(invite.clone())]
            }
            _ => Actions::new(),
        }
    }

    /// When to call [`InviteClientTransaction::on_timer`]. `None` while it proceeds (bounding that is the caller's
    /// duty: timer C) and once it is over.
    pub fn next_deadline(&self) -> Option<Millis> {
        [self.repeat.map(|(at, _)| at), self.end].into_iter().flatten().min()
    }

    /// Whether a provisional answer has come and no final one: the only time for a CANCEL (§9.1).
    pub fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    /// The INVITE as it was sent or its stem, while it has no final answer.
    pub(crate) fn invite(&self) -> Option<&Bytes> {
        self.sent.as_ref().filter(|_| matches!(self.state, State::Calling | State::Proceeding))
    }

    /// Bytes of messages that it holds.
    pub fn held(&self) -> usize {
        self.sent.as_ref().map_or(0, Bytes::len)
    }

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    fn span(&self, timer: Timer) -> Millis {
        self.timers.span(timer, self.reliability).unwrap_or_default()
    }

    fn terminate(&mut self) {
        (self.state, self.sent, self.repeat, self.end) = (State::Terminated, None, None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Limits, parse_datagram};

    const INVITE: Bytes = Bytes::from_static(
        b"INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP us;branch=z9hG4bK2\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\n\
          Call-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
    );

    fn response(status: u16) -> Message {
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP us;branch=z9hG4bK2\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\n\
             Call-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        parse_datagram(text.into(), &Limits::default()).expect("a sound response")
    }

    fn start(reliability: Reliability) -> InviteClientTransaction {
        let (transaction, actions) = InviteClientTransaction::start(INVITE, reliability, Timers::default(), Millis(0));
        assert_eq!(&actions[..], [Action::Send(INVITE)]);
        transaction
    }

    /// What an action is, without its bytes.
    fn words(actions: &Actions) -> String {
        let word = |action: &Action| match action {
            Action::Deliver => "deliver",
            Action::Send(bytes) if bytes.starts_with(b"ACK ") => "ack",
            Action::Send(_) => "send",
            Action::Terminated => "over",
            Action::Timeout => "timeout",
            Action::TransportFailed => "failed",
        };
        actions.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// Brought into a state by the statuses given.
    fn in_state(reliability: Reliability, statuses: &[u16]) -> InviteClientTransaction {
        let mut transaction = start(reliability);
        for status in statuses {
            transaction.on_response(&response(*status), Millis(10));
        }
        transaction
    }

    #[test]
    fn every_event_in_every_state_over_udp() {
        // State (and the statuses that lead there), then 1xx, 2xx, 3xx-6xx, transport failure, and the state's own timer.
        let table: [(State, &[u16], [&str; 5]); 5] = [
            (State::Calling, &[], ["deliver", "deliver", "ack deliver", "failed over", "timeout over"]),
            (State::Proceeding, &[180], ["deliver", "deliver", "ack deliver", "failed over", ""]),
            (State::Completed, &[180, 486], ["", "", "ack", "over", "over"]),
            (State::Accepted, &[180, 200], ["", "deliver", "", "over", "over"]),
            (State::Terminated, &[], ["", "", "", "", ""]),
        ];
        for (state, path, expected) in table {
            let fresh = || {
                let mut transaction = in_state(Reliability::Unreliable, path);
                if state == State::Terminated {
                    transaction.on_transport_failed();
                }
                assert_eq!(transaction.state, state);
                transaction
            };
            let seen = [
                words(&fresh().on_response(&response(183), Millis(20))),
                words(&fresh().on_response(&response(200), Millis(20))),
                words(&fresh().on_response(&response(603), Millis(20))),
                words(&fresh().on_transport_failed()),
                words(&fresh().on_timer(Millis(40_000))),
            ];
            assert_eq!(seen, expected, "{state:?}");
        }
    }

    #[test]
    fn unanswered_on_udp_it_repeats_with_doubling_intervals_and_times_out() {
        let mut transaction = start(Reliability::Unreliable);
        let mut times = Vec::new();
        while let Some(at) = transaction.next_deadline() {
            match words(&transaction.on_timer(at)).as_str() {
                "send" => times.push(at.0),
                end => assert_eq!((end, at.0), ("timeout over", 32_000)),
            }
        }
        assert_eq!(times, [500, 1500, 3500, 7500, 15_500, 31_500]);
    }

    #[test]
    fn after_a_provisional_it_waits_without_a_timer_of_its_own() {
        let transaction = in_state(Reliability::Unreliable, &[100]);
        assert!(transaction.is_proceeding());
        assert_eq!(transaction.next_deadline(), None);
    }

    #[test]
    fn on_tcp_a_refusal_ends_it_at_once_and_is_still_acknowledged() {
        let mut transaction = start(Reliability::Reliable);
        assert_eq!(transaction.next_deadline(), Some(Millis(32_000)));
        assert_eq!(words(&transaction.on_response(&response(486), Millis(1))), "ack deliver over");
        assert!(transaction.is_terminated() && transaction.next_deadline().is_none());
    }

    #[test]
    fn only_while_it_may_be_repeated_is_the_whole_invite_held() {
        let text = String::from_utf8(INVITE.to_vec()).expect("text");
        let long =
            Bytes::from(text.replace("Length: 0\r\n\r\n", &format!("Length: 60000\r\n\r\n{}", "v".repeat(60_000))));
        let start =
            |reliability| InviteClientTransaction::start(long.clone(), reliability, Timers::default(), Millis(0)).0;
        assert!(start(Reliability::Reliable).held() < 500);
        let mut over_udp = start(Reliability::Unreliable);
        assert_eq!(over_udp.held(), long.len());
        over_udp.on_response(&response(180), Millis(10));
        assert!(over_udp.held() < 500);
        assert_eq!(words(&over_udp.on_response(&response(486), Millis(20))), "ack deliver");
    }

    #[test]
    fn a_success_is_passed_up_again_for_timer_m_and_keeps_no_bytes() {
        for reliability in [Reliability::Reliable, Reliability::Unreliable] {
            let mut transaction = in_state(reliability, &[200]);
            assert_eq!(transaction.sent, None);
            assert_eq!(words(&transaction.on_response(&response(200), Millis(500))), "deliver");
            assert_eq!(transaction.next_deadline(), Some(Millis(32_010)));
            assert_eq!(words(&transaction.on_timer(Millis(32_010))), "over");
        }
    }
}
