//! The INVITE server transaction (§17.2.1, with the state Accepted of RFC 6026): one INVITE in, answers out.

use bytes::Bytes;
use smallvec::smallvec;

use super::{Action, Actions};
use crate::timers::{Millis, Reliability, Timer, Timers};

/// An INVITE that we were sent and have to answer.
#[derive(Debug)]
pub struct InviteServerTransaction {
    state: State,
    timers: Timers,
    reliability: Reliability,
    /// The 100 that leaves by itself if nothing else has by then.
    trying: Option<(Millis, Bytes)>,
    /// The last response, for repetitions of the INVITE and for timer G.
    response: Option<Bytes>,
    /// Timer G: when to repeat, and the interval that led there.
    repeat: Option<(Millis, Millis)>,
    /// Timer H, then I; or L.
    end: Option<Millis>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Proceeding,
    Completed,
    Confirmed,
    Accepted,
    Terminated,
}

/// §17.2.1: a 100 within this time, unless something else was sent.
const TRYING_AFTER: Millis = Millis(200);

impl InviteServerTransaction {
    /// Begins with an INVITE which matched no transaction; the caller has it in hand already. `trying` is the 100 to
    /// send when 200 ms pass without another answer.
    pub fn start(trying: Option<Bytes>, reliability: Reliability, timers: Timers, now: Millis) -> Self {
        Self {
            state: State::Proceeding,
            timers,
            reliability,
            trying: trying.map(|trying| (now + TRYING_AFTER, trying)),
            response: None,
            repeat: None,
            end: None,
        }
    }

    /// The same INVITE came again.
    pub fn on_repetition(&mut self) -> Actions {
        match self.state {
            State::Proceeding | State::Completed => self.response.clone().map(Action::Send).into_iter().collect(),
            // RFC 6026 §7.1: absorbed; whoever accepted repeats the 2xx itself.
            State::Confirmed | State::Accepted | State::Terminated => Actions::new(),
        }
    }

    /// An answer has been decided. After the first final answer only further 2xx leave, and only behind a 2xx.
    pub fn respond(&mut self, status: u16, response: Bytes, now: Millis) -> Actions {
        match (self.state, status) {
            (State::Proceeding, ..200) => {
                (self.trying, self.response) = (None, Some(response.clone()));
            }
            (State::Proceeding, 200..300) => {
                (self.state, self.trying, self.response) = (State::Accepted, None, None);
                self.end = Some(now + self.span(Timer::L));
            }
            (State::Proceeding, 300..) => {
                (self.state, self.trying) = (State::Completed, None);
                self.repeat = self.timers.span(Timer::G, self.reliability).map(|interval| (now + interval, interval));
                // Also over a connection, which may end before the answer has arrived.
                self.response = Some(response.clone());
                self.end = Some(now + self.span(Timer::H));
            }
            (State::Accepted, 200..300) => {}
            (State::Accepted | State::Completed | State::Confirmed | State::Terminated, _) => return Actions::new(),
        }
        smallvec![Action::Send(response)]
    }

    /// An ACK matched the transaction's key. [`Action::Deliver`] says that it is the ACK of a 2xx, which is not the
    /// transaction's business.
    pub fn on_ack(&mut self, now: Millis) -> Actions {
        match self.state {
            State::Completed => {
                (self.repeat, self.response) = (None, None);
                let linger = self.span(Timer::I);
                if linger == Millis(0) {
                    self.terminate();
                    return smallvec![Action::Terminated];
                }
                (self.state, self.end) = (State::Confirmed, Some(now + linger));
                Actions::new()
            }
            State::Accepted => smallvec![Action::Deliver],
            State::Proceeding | State::Confirmed | State::Terminated => Actions::new(),
        }
    }

    /// The transport could not send, or its connection is gone.
    pub fn on_transport_failed(&mut self) -> Actions {
        if self.state == State::Terminated {
            return Actions::new();
        }
        self.terminate();
        smallvec![Action::TransportFailed, Action::Terminated]
    }

    /// A deadline has passed. Called early it does nothing.
    pub fn on_timer(&mut self, now: Millis) -> Actions {
        if self.end.is_some_and(|end| now >= end) {
            // §17.2.1, timer H: the ACK never came.
            let unacknowledged = self.state == State::Completed;
            self.terminate();
            return match unacknowledged {
                true => smallvec![Action::Timeout, Action::Terminated],
                false => smallvec![Action::Terminated],
            };
        }
        if let Some((_, trying)) = self.trying.take_if(|(at, _)| now >= *at) {
            self.response = Some(trying.clone());
            return smallvec![Action::Send(trying)];
        }
        match (self.repeat, &self.response) {
            (Some((at, interval)), Some(response)) if now >= at => {
                let next = self.timers.backed_off(interval);
                self.repeat = Some((now + next, next));
                smallvec![Action::Send(response.clone())]
            }
            _ => Actions::new(),
        }
    }

    /// When to call [`InviteServerTransaction::on_timer`]. `None` while no answer has been decided (bounding that is
    /// the caller's duty) and once it is over.
    pub fn next_deadline(&self) -> Option<Millis> {
        let trying = self.trying.as_ref().map(|(at, _)| *at);
        [trying, self.repeat.map(|(at, _)| at), self.end].into_iter().flatten().min()
    }

    /// Whether no final answer has been given.
    pub fn is_proceeding(&self) -> bool {
        self.state == State::Proceeding
    }

    /// Bytes of messages that it holds.
    pub fn held(&self) -> usize {
        self.trying.as_ref().map_or(0, |(_, trying)| trying.len()) + self.response.as_ref().map_or(0, Bytes::len)
    }

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }

    fn span(&self, timer: Timer) -> Millis {
        self.timers.span(timer, self.reliability).unwrap_or_default()
    }

    fn terminate(&mut self) {
        (self.state, self.trying, self.response) = (State::Terminated, None, None);
        (self.repeat, self.end) = (None, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRYING: Bytes = Bytes::from_static(b"100");

    fn start(reliability: Reliability) -> InviteServerTransaction {
        InviteServerTransaction::start(Some(TRYING), reliability, Timers::default(), Millis(0))
    }

    fn bytes(status: u16) -> Bytes {
        status.to_string().into()
    }

    fn words(actions: &Actions) -> String {
        let word = |action: &Action| match action {
            Action::Deliver => "deliver".to_owned(),
            Action::Send(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Action::Terminated => "over".to_owned(),
            Action::Timeout => "timeout".to_owned(),
            Action::TransportFailed => "failed".to_owned(),
        };
        actions.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_event_in_every_state_over_udp() {
        // State, then: repetition, 1xx, 2xx, 3xx-6xx from above, ACK, transport failure, the state's last timer.
        let table: [(State, [&str; 7]); 5] = [
            (State::Proceeding, ["180", "183", "200", "486", "", "failed over", ""]),
            (State::Completed, ["404", "", "", "", "", "failed over", "timeout over"]),
            (State::Confirmed, ["", "", "", "", "", "failed over", "over"]),
            (State::Accepted, ["", "", "200", "", "deliver", "failed over", "over"]),
            (State::Terminated, ["", "", "", "", "", "", ""]),
        ];
        for (state, expected) in table {
            let fresh = || {
                let mut transaction = start(Reliability::Unreliable);
                transaction.respond(180, bytes(180), Millis(10));
                match state {
                    State::Proceeding => {}
                    State::Completed => drop(transaction.respond(404, bytes(404), Millis(20))),
                    State::Confirmed => {
                        transaction.respond(404, bytes(404), Millis(20));
                        transaction.on_ack(Millis(30));
                    }
                    State::Accepted => drop(transaction.respond(200, bytes(200), Millis(20))),
                    State::Terminated => drop(transaction.on_transport_failed()),
                }
                assert_eq!(transaction.state, state);
                transaction
            };
            let seen = [
                words(&fresh().on_repetition()),
                words(&fresh().respond(183, bytes(183), Millis(40))),
                words(&fresh().respond(200, bytes(200), Millis(40))),
                words(&fresh().respond(486, bytes(486), Millis(40))),
                words(&fresh().on_ack(Millis(40))),
                words(&fresh().on_transport_failed()),
                words(&fresh().on_timer(Millis(40_000))),
            ];
            assert_eq!(seen, expected, "{state:?}");
        }
    }

    #[test]
    fn a_100_leaves_by_itself_after_200_ms_and_answers_repetitions() {
        let mut transaction = start(Reliability::Unreliable);
        assert_eq!(words(&transaction.on_repetition()), "");
        assert_eq!(transaction.next_deadline(), Some(Millis(200)));
        assert_eq!(words(&transaction.on_timer(Millis(199))), "");
        assert_eq!(words(&transaction.on_timer(Millis(200))), "100");
        assert_eq!(words(&transaction.on_repetition()), "100");
        assert_eq!(transaction.next_deadline(), None);
        let mut quick = start(Reliability::Reliable);
        quick.respond(407, bytes(407), Millis(5));
        assert_eq!(quick.next_deadline(), Some(Millis(32_005)), "no 100 behind an answer");
    }

    #[test]
    fn a_refusal_on_udp_is_repeated_up_to_every_t2_until_its_ack() {
        let mut transaction = start(Reliability::Unreliable);
        transaction.respond(486, bytes(486), Millis(0));
        let mut times = Vec::new();
        while let Some(at) = transaction.next_deadline() {
            match words(&transaction.on_timer(at)).as_str() {
                "486" => times.push(at.0),
                end => assert_eq!((end, at.0), ("timeout over", 32_000)),
            }
        }
        assert_eq!(times, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        let mut acknowledged = start(Reliability::Unreliable);
        acknowledged.respond(486, bytes(486), Millis(0));
        assert_eq!(words(&acknowledged.on_ack(Millis(100))), "");
        assert_eq!(acknowledged.next_deadline(), Some(Millis(5_100)), "timer I absorbs further ACKs");
    }

    #[test]
    fn on_tcp_a_refusal_is_sent_once_and_its_ack_ends_it() {
        let mut transaction = start(Reliability::Reliable);
        assert_eq!(words(&transaction.respond(486, bytes(486), Millis(0))), "486");
        assert_eq!(transaction.next_deadline(), Some(Millis(32_000)));
        assert_eq!(words(&transaction.on_repetition()), "486", "the caller may be back on another connection");
        assert_eq!(words(&transaction.on_ack(Millis(50))), "over");
        assert_eq!(transaction.response, None);
    }
}
