//! Requests of our own that wait for their answer: a non-INVITE client transaction as a future (RFC 3261 §17.1.2).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use reveille_sip::{Action, ClientTransaction, Message, Millis, Reliability, Timers};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::connect::ConnectError;
use crate::flow::{Flow, FlowId, SendError};
use crate::parcel::Parcel;
use crate::pool::{Pool, Senders, Sent};
use crate::target::Target;

/// Requests that may wait at once.
const WAITING_MAX: usize = 20_000;

/// Why a request has no final answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    /// It never left.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It could not be queued on the flow.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Nobody answered in time.
    #[error("no answer came within {} s", within.as_secs())]
    TimedOut {
        /// How long was waited.
        within: Duration,
    },
    /// Too many wait already.
    #[error("{WAITING_MAX} requests wait for their answers already")]
    TooMany,
}

/// The requests under way of one role. Give every response that comes in to [`Requests::on_response`].
#[derive(Default)]
pub struct Requests {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

struct Waiting {
    /// What the answer's branch must be.
    branch: String,
    /// The flow it left on, once that is known.
    flow: Option<FlowId>,
    answer: oneshot::Sender<Result<Message, ConnectError>>,
}

/// A request that is about to be sent: its branch goes into its Via.
pub struct Ticket {
    requests: Arc<Requests>,
    id: u64,
    branch: String,
    answer: oneshot::Receiver<Result<Message, ConnectError>>,
}

impl Requests {
    /// No requests yet.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Opens a transaction; `random` makes its branch one that only who has seen the request can answer.
    pub fn open(self: &Arc<Self>, random: u128) -> Result<Ticket, RequestError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let branch = format!("z9hG4bKq{id:x}.{random:032x}");
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= WAITING_MAX {
            return Err(RequestError::TooMany);
        }
        waiting.insert(id, Waiting { branch: branch.clone(), flow: None, answer: sender });
        drop(waiting);
        Ok(Ticket { requests: Arc::clone(self), id, branch, answer })
    }

    /// Takes a response that came in on any flow. Provisional ones and strangers are dropped.
    pub fn on_response(&self, response: Message) {
        if response.status().is_none_or(|status| status < 200) {
            return;
        }
        let id = response.top_via().ok().and_then(|via| number(via.branch()?));
        let Some(id) = id else { return };
        let mut waiting = self.waiting.lock();
        let ours = waiting.get(&id).is_some_and(|waiting| {
            response.top_via().ok().and_then(|via| via.branch()).is_some_and(|branch| branch == waiting.branch)
        });
        if ours && let Some(found) = waiting.remove(&id) {
            drop(waiting);
            // Whoever asked may have given up in this very moment.
            let _ = found.answer.send(Ok(response));
        }
    }

    /// A flow is gone, and with it the answers that were to come on it. Call it from [`crate::Handler::closed`].
    pub fn flow_gone(&self, flow: FlowId) {
        let mut waiting = self.waiting.lock();
        let ids: Vec<u64> = waiting.iter().filter(|(_, one)| one.flow == Some(flow)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(one) = waiting.remove(&id) {
                let _ = one.answer.send(Err(ConnectError::Closed { name: "the next hop".into() }));
            }
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Senders for Requests {
    fn failed(&self, token: u64, error: &ConnectError) {
        if let Some(waiting) = self.waiting.lock().remove(&token) {
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }

    fn sent(&self, token: u64, flow: &Arc<Flow>) {
        if let Some(waiting) = self.waiting.lock().get_mut(&token) {
            waiting.flow = Some(flow.id());
        }
    }
}

impl Ticket {
    /// The branch for the request's top Via.
    pub fn branch(&self) -> &str {
        &self.branch
    }

    /// Sends through a pool and waits for the final answer.
    pub async fn through(
        mut self,
        pool: &Pool,
        target: &Target,
        request: Bytes,
        within: Duration,
    ) -> Result<Message, RequestError> {
        if let Sent::On(flow) = pool.send(target, Parcel::new(self.id, request))? {
            self.requests.sent(self.id, &flow);
        }
        self.wait(Instant::now() + within, within).await
    }

    /// Sends on a flow and waits for the final answer; repeats on UDP until it comes.
    pub async fn over(mut self, flow: &Flow, request: Bytes, within: Duration) -> Result<Message, RequestError> {
        let begun = Instant::now();
        let now = || Millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        let reliability = if flow.transport().is_reliable() { Reliability::Reliable } else { Reliability::Unreliable };
        let (mut transaction, mut actions) = ClientTransaction::start(request, reliability, Timers::default(), now());
        loop {
            for action in actions {
                match action {
                    Action::Send(bytes) => flow.send(bytes)?,
                    Action::Timeout => return Err(RequestError::TimedOut { within }),
                    // The answer itself comes through the ticket.
                    Action::Deliver | Action::Terminated | Action::TransportFailed => {}
                }
            }
            let deadline = transaction.next_deadline().map_or(within, |at| Duration::from_millis(at.0)).min(within);
            let waited = tokio::select! {
                // An answer that came before the connection closed counts: an app that goes to sleep answers, then closes.
                biased;
                answer = self.wait(begun + deadline, within) => answer,
                () = flow.closed() => match self.answer.try_recv() {
                    Ok(answer) => Ok(answer?),
                    Err(_) => return Err(SendError::Closed.into()),
                },
            };
            match waited {
                // Timer E, unless the caller's own patience is at its end.
                Err(RequestError::TimedOut { .. }) if deadline < within => actions = transaction.on_timer(now()),
                outcome => return outcome,
            }
        }
    }

    async fn wait(&mut self, until: Instant, within: Duration) -> Result<Message, RequestError> {
        match timeout_at(until, &mut self.answer).await {
            Err(_) => Err(RequestError::TimedOut { within }),
            Ok(Ok(answer)) => Ok(answer?),
            // The table outlives its tickets, and only an answer takes an entry out of it.
            Ok(Err(_)) => Err(RequestError::TimedOut { within }),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.requests.waiting.lock().remove(&self.id);
    }
}

/// The number in a branch of ours.
fn number(branch: &str) -> Option<u64> {
    let (id, _) = branch.strip_prefix("z9hG4bKq")?.split_once('.')?;
    u64::from_str_radix(id, 16).ok()
}

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits, Side, parse_datagram};

    use super::*;
    use crate::Transport;

    const SHORT: Duration = Duration::from_millis(500);

    fn response(branch: &str, status: u16) -> Message {
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/TLS a;branch={branch}\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:b@b>;tag=2\r\n\
             Call-ID: 1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
        );
        parse_datagram(text.into(), &Limits::default()).expect("a well-formed response")
    }

    fn flow() -> Arc<Flow> {
        let address = ([127, 0, 0, 1], 5060).into();
        Flow::carried(Transport::Tcp, Side::Accepted, address, address, None, 10_000)
    }

    #[tokio::test]
    async fn the_final_answer_with_the_right_branch_ends_the_wait() {
        let requests = Requests::new();
        let ticket = requests.open(7).expect("room");
        let branch = ticket.branch().to_owned();
        let flow = flow();
        let asked = ticket.over(&flow, Bytes::from_static(b"x"), SHORT);
        tokio::pin!(asked);
        assert!(futures_util::poll!(&mut asked).is_pending());
        requests.on_response(response(&branch.replace('7', "8"), 200));
        requests.on_response(response(&branch, 100));
        requests.on_response(response(&branch, 202));
        assert_eq!(asked.await.expect("answered").status(), Some(202));
        assert!(requests.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_and_failure_are_told_apart_and_leave_nothing_behind() {
        let requests = Requests::new();
        let silent = requests.open(1).expect("room").over(&flow(), Bytes::new(), SHORT).await;
        assert!(matches!(silent, Err(RequestError::TimedOut { .. })), "{silent:?}");
        let ticket = requests.open(2).expect("room");
        requests.failed(ticket.id, &ConnectError::Stopping);
        let failed = ticket.over(&flow(), Bytes::new(), SHORT).await;
        assert!(matches!(failed, Err(RequestError::Connect(ConnectError::Stopping))), "{failed:?}");
        assert!(requests.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn over_udp_a_request_is_repeated_at_the_times_of_timer_e() {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let listener = crate::Listener::udp(([127, 0, 0, 1], 0).into(), crate::ListenLimits::default()).expect("bound");
        let flow = listener.udp_sender().expect("UDP").flow_to(socket.local_addr().expect("an address"));
        let silent =
            Requests::new().open(3).expect("room").over(&flow, Bytes::from_static(b"x"), Duration::from_secs(4));
        assert!(matches!(silent.await, Err(RequestError::TimedOut { .. })));
        let mut copies = 0;
        let mut buffer = [0; 8];
        while socket.try_recv(&mut buffer).is_ok() {
            copies += 1;
        }
        // At 0, 0.5, 1.5 and 3.5 s (RFC 3261 §17.1.2.2).
        assert_eq!(copies, 4);
    }
}
