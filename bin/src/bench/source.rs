//! The load: requests of which a bounded number is under way, each answer making room for the next, and who answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use bytes::{Bytes, BytesMut};
use reveille_federation::message;
use reveille_sip::{Message, Method, Name, RequestBuilder};
use reveille_sip_net::{CloseReason, ConnectError, Flow, Handler, Parcel, Pool, Senders, Target};
use tokio::sync::Notify;

use crate::out;

/// How a request's branch begins; its number follows.
pub(super) const BRANCH: &str = "z9hG4bKb";

/// Without any answer for so long, the rest is lost.
const STALLED: Duration = Duration::from_secs(10);

/// For a connection to be there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes the request of a number, whose branch is [`BRANCH`] and that number.
type Write = Box<dyn Fn(usize) -> Bytes + Send + Sync>;

/// Makes requests, and takes their answers: each answer makes room for one more request.
pub(super) struct Source {
    write: Write,
    is_right: fn(&Message) -> bool,
    /// How many there are to be by now.
    goal: AtomicUsize,
    made: AtomicUsize,
    right: AtomicU64,
    wrong: AtomicU64,
    begun: Instant,
    /// Microseconds since `begun` at which each was sent; then how long its answer took.
    times: Vec<AtomicU64>,
    done: Notify,
}

impl Source {
    /// A source of up to `most` requests.
    pub(super) fn new(most: usize, write: Write, is_right: fn(&Message) -> bool) -> Arc<Self> {
        Arc::new(Self {
            write,
            is_right,
            goal: AtomicUsize::new(0),
            made: AtomicUsize::new(0),
            right: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            begun: Instant::now(),
            times: (0..most).map(|_| AtomicU64::new(0)).collect(),
            done: Notify::new(),
        })
    }

    /// Sends through a pool until `goal` requests were made, and waits for every answer.
    pub(super) async fn push_through(&self, pool: &Pool, target: &Target, goal: usize, in_flight: usize) {
        self.goal.store(goal, Ordering::Release);
        for _ in 0..in_flight {
            let Some((index, bytes)) = self.next() else { break };
            if let Err(error) = pool.send(target, Parcel::new(index as u64, bytes)) {
                self.failed(index as u64, &error);
            }
        }
        self.all_answered(goal).await;
    }

    /// The same with the requests under way dealt out evenly over connections that are open.
    pub(super) async fn push_over(&self, flows: &[Arc<Flow>], goal: usize, in_flight: usize) {
        self.goal.store(goal, Ordering::Release);
        for at in 0..in_flight {
            let Some((index, bytes)) = self.next() else { break };
            if flows[at % flows.len()].send(bytes).is_err() {
                self.answered(index, false);
            }
        }
        self.all_answered(goal).await;
    }

    /// Waits for all answers, or until none has come for a while: a relay that loses some is to be seen.
    async fn all_answered(&self, goal: usize) {
        let answered = || {
            let (right, wrong) = self.answers();
            right + wrong
        };
        loop {
            let before = answered();
            if before >= goal as u64 {
                return;
            }
            let waited = tokio::time::timeout(STALLED, self.done.notified()).await;
            if waited.is_err() && answered() == before {
                return out::note(&format!("{} requests have no answer", goal as u64 - before));
            }
        }
    }

    /// How many were answered rightly, and how many not.
    pub(super) fn answers(&self) -> (u64, u64) {
        (self.right.load(Ordering::Relaxed), self.wrong.load(Ordering::Relaxed))
    }

    /// The time within which a share of the answers came, in milliseconds, without the first `skip`.
    pub(super) fn percentiles<const N: usize>(&self, skip: usize, shares: [f64; N]) -> [f64; N] {
        let mut micros: Vec<u64> = self.times.iter().skip(skip).map(|time| time.load(Ordering::Relaxed)).collect();
        micros.sort_unstable();
        shares.map(|share| {
            let index = ((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1));
            micros.get(index).map_or(0.0, |micros| f64::from(u32::try_from(*micros).unwrap_or(u32::MAX)) / 1000.0)
        })
    }

    /// The next request, if any is left.
    fn next(&self) -> Option<(usize, Bytes)> {
        let goal = self.goal.load(Ordering::Acquire);
        let claimed =
            self.made.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |made| (made < goal).then_some(made + 1));
        let index = claimed.ok()?;
        let bytes = (self.write)(index);
        self.times[index].store(self.begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        Some((index, bytes))
    }

    fn answered(&self, index: usize, rightly: bool) {
        if let Some(time) = self.times.get(index) {
            let sent = time.load(Ordering::Relaxed);
            time.store(self.begun.elapsed().as_micros() as u64 - sent, Ordering::Relaxed);
        }
        let counter = if rightly { &self.right } else { &self.wrong };
        counter.fetch_add(1, Ordering::Relaxed);
        let (right, wrong) = self.answers();
        if right + wrong == self.goal.load(Ordering::Relaxed) as u64 {
            self.done.notify_one();
        }
    }
}

impl Handler for Source {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for response in batch.drain(..) {
            let Some(index) = number(&response) else { continue };
            self.answered(index, (self.is_right)(&response));
            if let Some((index, bytes)) = self.next()
                && flow.send(bytes).is_err()
            {
                self.answered(index, false);
            }
        }
    }

    fn closed(&self, _flow: &Arc<Flow>, why: &CloseReason) {
        if !matches!(why, CloseReason::Stopping) {
            out::note(&format!("a connection of the load has ended: {why}"));
        }
    }
}

impl Senders for Source {
    fn failed(&self, token: u64, error: &ConnectError) {
        out::note(&format!("a request was not sent: {error}"));
        self.answered(token as usize, false);
    }
}

/// The number of the request that this answers, if it is one of ours.
pub(super) fn number(response: &Message) -> Option<usize> {
    let branch = response.top_via().ok().and_then(|via| via.branch());
    branch?.strip_prefix(BRANCH)?.parse().ok()
}

/// Waits until a pool has so many connections to a target. Each question, from somebody at `from`, asks it for one more.
pub(super) async fn connected(pool: &Pool, target: &Target, from: &str, count: usize) -> Result<Vec<Arc<Flow>>> {
    let begun = Instant::now();
    let mut asked = 0;
    loop {
        let flows = pool.flows(target);
        if flows.len() >= count {
            return Ok(flows);
        }
        if begun.elapsed() > PATIENCE + Duration::from_millis(10) * u32::try_from(count)? {
            bail!("only {} of {count} connections to {} were made", flows.len(), target.name());
        }
        // One for the first; then as many as may well be under way at once.
        let more = if flows.is_empty() { usize::from(asked == 0) } else { (count - flows.len()).min(64) };
        for _ in 0..more {
            pool.send(target, Parcel::new(u64::MAX, question(target.name(), from)))?;
        }
        asked += more;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What makes a pool connect, and what every server answers by itself.
fn question(to: &str, from: &str) -> Bytes {
    let mut out = BytesMut::new();
    let written = RequestBuilder::new(&mut out, Method::Options, &format!("sip:{to}"))
        .header(Name::Via, "SIP/2.0/TLS asks.example;branch=z9hG4bKq")
        .header(Name::MaxForwards, "1")
        .header(Name::From, format_args!("<sip:asks@{from}>;tag=1"))
        .header(Name::To, format_args!("<sip:{to}>"))
        .header(Name::CallId, "question")
        .header(Name::CSeq, "1 OPTIONS")
        .finish();
    written.expect("the bench's own request can be written");
    out.freeze()
}

/// Answers every request with 202 at once.
pub(super) struct Beyond;

impl Handler for Beyond {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for request in batch.drain(..).filter(Message::is_request) {
            // Whoever asks and goes needs no answer.
            let _ = flow.send(message::respond(&request, 202, "beyond", |_| {}));
        }
    }
}
