//! The non-INVITE client transaction (§17.1.2): one request out, one final response back.

use bytes::Bytes;
use smallvec::smallvec;

use super::{Action, Actions};
use crate::timers::{Millis, Reliability, Timer, Timers};

/// A request that we sent and wait for the answer to.
///
/// On a reliable transport it holds no copy of the request and ends with the final response.
#[derive(Debug)]
pub struct ClientTransaction {
    state: State,
    timers: Timers,
    /// The request, while it may have to be repeated.
    request: Option<Bytes>,
    reliability: Reliability,
    /// Timer E: when to repeat, and the interval that led there.
    repeat: Option<(Millis, Millis)>,
    /// Timer F, then timer K.
    end: Millis,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Trying,
    Proceeding,
    Completed,
    Terminated,
}

impl ClientTransaction {
    /// Sends the request and begins to wait.
    pub fn start(request: Bytes, reliability: Reliability, timers: Timers, now: Millis) -> (Self, Actions) {
        let repeat = timers.span(Timer::E, reliability).map(|interval| (now + interval, interval));
        let transaction = Self {
            state: State::Trying,
            timers,
            request: repeat.is_some().then(|| request.clone()),
            reliability,
            repeat,
            end: now + timers.span(Timer::F, reliability).unwrap_or_default(),
        };
        (transaction, smallvec![Action::Send(request)])
    }

    /// A response with this status matched the transaction's key.
    pub fn on_response(&mut self, status: u16, now: Millis) -> Actions {
        match self.state {
            State::Trying | State::Proceeding if status < 200 => {
                self.state = State::Proceeding;
                Actions::from_iter([Action::Deliver])
            }
            State::Trying | State::Proceeding => {
                (self.request, self.repeat) = (None, None);
                let linger = self.timers.span(Timer::K, self.reliability).unwrap_or_default();
                self.end = now + linger;
                if linger == Millis(0) {
                    self.state = State::Terminated;
                    return smallvec![Action::Deliver, Action::Terminated];
                }
                self.state = State::Completed;
                Actions::from_iter([Action::Deliver])
            }
            // Repetitions of the final response are absorbed.
            State::Completed | State::Terminated => Actions::new(),
        }
    }

    /// The transport could not send, or its connection is gone.
    pub fn on_transport_failed(&mut self) -> Actions {
        match self.state {
            State::Trying | State::Proceeding => {
                self.state = State::Terminated;
                smallvec![Action::TransportFailed, Action::Terminated]
            }
            State::Completed | State::Terminated => Actions::new(),
        }
    }

    /// A deadline has passed. Called early it does nothing.
    pub fn on_timer(&mut self, now: Millis) -> Actions {
        if self.state == State::Terminated {
            return Actions::new();
        }
        if now >= self.end {
            let timed_out = self.state != State::Completed;
            self.state = State::Terminated;
            return match timed_out {
                true => smallvec![Action::Timeout, Action::Terminated],
                false => smallvec![Action::Terminated],
            };
        }
        match (&self.request, self.repeat) {
            (Some(request), Some((at, interval))) if now >= at => {
                // §17.1.2.2: in Proceeding the interval is T2 at once.
                let next = match self.state {
                    State::Proceeding => self.timers.t2,
                    _ => self.timers.backed_off(interval),
                };
                self.repeat = Some((now + next, next));
                smallvec![Action::Send(request.clone())]
            }
            _ => Actions::new(),
        }
    }

    /// When to call [`ClientTransaction::on_timer`]; `None` once it is over.
    pub fn next_deadline(&self) -> Option<Millis> {
        if self.state == State::Terminated {
            return None;
        }
        Some(self.repeat.map_or(self.end, |(at, _)| at.min(self.end)))
    }

    /// Bytes of messages that it holds.
    pub fn held(&self) -> usize {
        self.request.as_ref().map_or(0, Bytes::len)
    }

    /// Whether it is over.
    pub fn is_terminated(&self) -> bool {
        self.state == State::Terminated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(reliability: Reliability) -> ClientTransaction {
        let request = Bytes::from_static(b"request");
        let (transaction, actions) =
            ClientTransaction::start(request.clone(), reliability, Timers::default(), Millis(0));
        assert_eq!(&actions[..], [Action::Send(request)]);
        transaction
    }

    /// Runs it by its own deadlines, noting when it sends.
    fn sends(transaction: &mut ClientTransaction) -> (Vec<u64>, Vec<Action>) {
        let mut times = Vec::new();
        while let Some(at) = transaction.next_deadline() {
            let actions = transaction.on_timer(at);
            if !matches!(actions[..], [Action::Send(_)]) {
                assert_eq!(transaction.next_deadline(), None);
                return (times, actions.to_vec());
            }
            times.push(at.0);
        }
        (times, Vec::new())
    }

    #[test]
    fn unanswered_on_udp_it_repeats_with_doubling_intervals_and_times_out() {
        let (times, end) = sends(&mut start(Reliability::Unreliable));
        assert_eq!(times, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert_eq!(end, [Action::Timeout, Action::Terminated]);
    }

    #[test]
    fn unanswered_on_tcp_it_only_times_out() {
        let mut transaction = start(Reliability::Reliable);
        assert_eq!(transaction.next_deadline(), Some(Millis(32_000)));
        assert_eq!(sends(&mut transaction), (vec![], vec![Action::Timeout, Action::Terminated]));
    }

    #[test]
    fn after_a_provisional_it_repeats_every_t2() {
        let mut transaction = start(Reliability::Unreliable);
        assert_eq!(&transaction.on_response(100, Millis(100))[..], [Action::Deliver]);
        let (times, _) = sends(&mut transaction);
        assert_eq!(times[..3], [500, 4500, 8500]);
    }

    #[test]
    fn on_udp_a_final_response_lingers_for_t4_and_absorbs_repetitions() {
        let mut transaction = start(Reliability::Unreliable);
        assert_eq!(&transaction.on_response(202, Millis(100))[..], [Action::Deliver]);
        assert!(transaction.on_response(202, Millis(200)).is_empty());
        assert_eq!(transaction.next_deadline(), Some(Millis(5100)));
        assert!(transaction.on_timer(Millis(5099)).is_empty());
        assert_eq!(&transaction.on_timer(Millis(5100))[..], [Action::Terminated]);
    }

    #[test]
    fn on_tcp_a_final_response_ends_it_at_once() {
        let mut transaction = start(Reliability::Reliable);
        assert_eq!(&transaction.on_response(202, Millis(1))[..], [Action::Deliver, Action::Terminated]);
        assert!(transaction.is_terminated());
        assert_eq!(transaction.next_deadline(), None);
    }

    #[test]
    fn a_failed_transport_ends_it_once() {
        let mut transaction = start(Reliability::Unreliable);
        assert_eq!(&transaction.on_transport_failed()[..], [Action::TransportFailed, Action::Terminated]);
        assert!(transaction.on_transport_failed().is_empty());
        assert!(transaction.on_response(200, Millis(1)).is_empty());
    }
}
