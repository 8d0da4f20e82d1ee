//! The non-INVITE server transaction (§17.2.2, with the corrections of RFC 4320): one request in, one answer out.

use bytes::Bytes;
use smallvec::smallvec;

use super::{Action, Actions};
use crate::timers::{Millis, Reliability, Timer, Timers};

/// A request that we were sent and have to answer.
///
/// On a reliable transport it ends with the final response and keeps no copy of it.
#[derive(Debug)]
pub struct ServerTransaction {
    state: State,
    timers: Timers,
    reliability: Reliability,
    /// Before it no 100 may go out (RFC 4320 §4.1).
    provisional_from: Millis,
    /// The last response, for repetitions of the request.
    response: Option<Bytes>,
    /// Timer J.
    end: Option<Millis>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

impl ServerTransaction {
    /// Begins with a request which matched no transaction; the caller has it in hand already.
    pub fn start(reliability: Reliability, timers: Timers, now: Millis) -> Self {
        Self {
            state: State::Trying,
            timers,
            reliability,
            provisional_from: now + timers.span(Timer::Provisional, reliability).unwrap_or_default(),
            response: None,
            end: None,
        }
    }

    /// The same request came again.
    pub fn on_repetition(&mut self) -> Actions {
        match (&self.response, self.state) {
            (Some(response), State::Proceeding | State::Completed) => smallvec![Action::Send(response.clone())],
            // §17.2.2: in Trying repetitions are discarded.
            _ => Actions::new(),
        }
    }

    /// The answer has been decided. Answers which RFC 4320 forbids are swallowed: any provisional but 100, a 100 too
    /// early on an unreliable transport, and a 408, which comes too late by definition and ends the transaction
    /// silently.
    pub fn respond(&mut self, status: u16, response: Bytes, now: Millis) -> Actions {
        match self.state {
            State::Completed | State::Terminated => Actions::new(),
            State::Trying | State::Proceeding if status < 200 => {
                // RFC 4320 §4.1.
                if status != 100 || now < self.provisional_from {
                    return Actions::new();
                }
                self.state = State::Proceeding;
                self.response = Some(response.clone());
                smallvec![Action::Send(response)]
            }
            State::Trying | State::Proceeding => {
                let linger = self.timers.span(Timer::J, self.reliability).unwrap_or_default();
                // RFC 4320 §4.2: a 408 to a non-INVITE request must not be sent.
                let sent = (status != 408).then(|| response.clone());
                if linger == Millis(0) || sent.is_none() {
                    (self.state, self.response) = (State::Terminated, None);
                    return sent.map(Action::Send).into_iter().chain([Action::Terminated]).collect();
                }
                self.state = State::Completed;
                self.end = Some(now + linger);
                self.response = Some(response);
                sent.map(Action::Send).into_iter().collect()
            }
        }
    }

    /// The transport could not send the response.
    pub fn on_transport_failed(&mut self) -> Actions {
        match self.state {
            State::Terminated => Actions::new(),
            State::Trying | State::Proceeding | State::Completed => {
                (self.state, self.response) = (State::Terminated, None);
                smallvec![Action::TransportFailed, Action::Terminated]
            }
        }
    }

    /// A deadline has passed. Called early it does nothing.
    pub fn on_timer(&mut self, now: Millis) -> Actions {
        match self.next_deadline() {
            Some(end) if now >= end => {
                (self.state, self.response) = (State::Terminated, None);
                smallvec![Action::Terminated]
            }
            _ => Actions::new(),
        }
    }

    /// When to call [`ServerTransaction::on_timer`]. `None` while no answer has been decided (bounding that is the
    /// caller's duty) and once it is over.
    pub fn next_deadline(&self) -> Option<Millis> {
        match self.state {
            State::Completed => self.end,
            State::Trying | State::Proceeding | State::Terminated => None,
        }
    }

    /// Bytes of messages that it holds.
    pub fn held(&self) -> usize {
        self.response.as_ref().map_or(0, Bytes::len)
    }

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: Bytes = Bytes::from_static(b"answer");

    fn start(reliability: Reliability) -> ServerTransaction {
        ServerTransaction::start(reliability, Timers::default(), Millis(0))
    }

    #[test]
    fn on_udp_repetitions_get_the_same_answer_for_32_seconds() {
        let mut transaction = start(Reliability::Unreliable);
        assert!(transaction.on_repetition().is_empty());
        assert_eq!(&transaction.respond(200, ANSWER, Millis(10))[..], [Action::Send(ANSWER)]);
        assert_eq!(&transaction.on_repetition()[..], [Action::Send(ANSWER)]);
        assert!(transaction.respond(500, Bytes::new(), Millis(11)).is_empty());
        assert_eq!(transaction.next_deadline(), Some(Millis(32_010)));
        assert!(transaction.on_timer(Millis(32_009)).is_empty());
        assert_eq!(&transaction.on_timer(Millis(32_010))[..], [Action::Terminated]);
        assert!(transaction.on_repetition().is_empty());
    }

    #[test]
    fn on_tcp_the_answer_ends_it_at_once() {
        let mut transaction = start(Reliability::Reliable);
        assert_eq!(&transaction.respond(202, ANSWER, Millis(0))[..], [Action::Send(ANSWER), Action::Terminated]);
        assert!(transaction.is_terminated());
    }

    #[test]
    fn answers_which_rfc_4320_forbids_are_swallowed() {
        let mut udp = start(Reliability::Unreliable);
        assert!(udp.respond(100, ANSWER, Millis(3499)).is_empty());
        assert!(udp.respond(180, ANSWER, Millis(9000)).is_empty());
        assert_eq!(&udp.respond(100, ANSWER, Millis(3500))[..], [Action::Send(ANSWER)]);
        assert_eq!(&udp.on_repetition()[..], [Action::Send(ANSWER)]);
        let mut tcp = start(Reliability::Reliable);
        assert_eq!(&tcp.respond(100, ANSWER, Millis(0))[..], [Action::Send(ANSWER)]);
        for transaction in [&mut udp, &mut tcp] {
            assert_eq!(&transaction.respond(408, ANSWER, Millis(9000))[..], [Action::Terminated]);
        }
    }

    #[test]
    fn a_failed_transport_ends_it() {
        let mut transaction = start(Reliability::Unreliable);
        transaction.respond(200, ANSWER, Millis(0));
        assert_eq!(&transaction.on_transport_failed()[..], [Action::TransportFailed, Action::Terminated]);
    }
}
