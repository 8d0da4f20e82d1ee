//! Passing requests on and their answers back: what is under way, and nothing of what is finished.
//!
//! On reliable transports a finished transaction has nothing left to do (RFC 3261 §17.1.2.2: timer K is 0), so its
//! memory is freed with its final response.

mod numbers;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use metrics::Counter;
use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_federation::answer::Answer;
use reveille_federation::{Refusal, message};
use reveille_sip::{Abridged, Forward, Limits, Message, Name, PrintError, Via};
use reveille_sip_net::{ConnectError, Flow, FlowId, Parcel, Pool, Senders, Sent, Side, WriteError};
use tracing::debug;

use self::numbers::{BRANCH, Numbered, Numbers};
use crate::crossing::{Crossing, From, StampBack};
use crate::limits::IN_FLIGHT_MAX;
use crate::partners::Passage;
use crate::refusals::{told, unreachable};
use crate::said::{Said, stamped};

/// How long an answer is waited for: a little longer than the sender's own timer F (RFC 3261 §17.1.2.2: 64*T1, 32 s).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(34);
/// Cut so that senders seldom meet.
const SHARDS: u64 = 16;

/// One request under way: the way back, and of the request only what an answer of our own would need. The buffer that it
/// came in is free as soon as it has left.
struct Onward {
    /// Where it came from, and where its answer goes.
    back: Arc<Flow>,
    from: From,
    request: Abridged,
    destination: SipDomain,
    /// The flow it left on; an answer counts only from there.
    left_on: Option<FlowId>,
    /// The rest of its branch: a peer that has not seen the request cannot answer it.
    key: u64,
    /// What is written on its answer.
    stamp_back: StampBack,
    /// The places that it holds, since it came.
    passage: Passage,
}

/// What a response is an answer to.
enum Answered {
    /// To this, which is over with it.
    Finally(Onward),
    /// To something under way, which stays so.
    Provisionally,
    /// To nothing, or not from there, or not in its words.
    Nothing,
}

/// Requests under way by their numbers, which we give ourselves, one after the other: there is nothing to hash.
type UnderWay = HashMap<u64, Onward, BuildHasherDefault<Numbered>>;

/// Remembers the way back of each request under way.
pub(crate) struct Relay {
    name: String,
    /// Our Via up to where its branch tells requests apart.
    via: String,
    next: AtomicU64,
    /// The way outside, once it is open.
    outside: OnceLock<Pool>,
    shards: Vec<Mutex<UnderWay>>,
    /// Counts responses to nothing; made at the first.
    strays: OnceLock<Counter>,
    /// Makes marks that nobody else can make.
    marks: RandomState,
}

impl Relay {
    pub(crate) fn new(name: &SipDomain) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let (next, outside, strays) = (AtomicU64::new(1), OnceLock::new(), OnceLock::new());
        let via = format!("SIP/2.0/TLS {name};branch={BRANCH}");
        Arc::new(Self { name: name.to_string(), via, next, outside, shards, strays, marks: RandomState::new() })
    }

    /// Gives it the way outside. Once.
    pub(crate) fn open(&self, outside: Pool) {
        drop(self.outside.set(outside));
    }

    fn shard(&self, id: u64) -> &Mutex<UnderWay> {
        &self.shards[(id % SHARDS) as usize]
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Sends a request on, with the stamp of this edge instead of whatever it brought of the kind.
    pub(crate) fn forward(&self, request: &Message, crossing: Crossing<'_>) -> Result<(), Refusal> {
        let Crossing { back, from, destination, pool, target, stamp, stamp_back, passage } = crossing;
        // RFC 3261 §16.3 step 3: at 0 the request goes no further.
        let Some(hops) = request.onward_hops() else { return Err(refused(passage, Refusal::TooManyHops)) };
        let mark = self.mark(request, from);
        if let Err(refusal) = passable(request, mark) {
            return Err(refused(passage, refusal));
        }
        let (id, key) = (self.next.fetch_add(1, Ordering::Relaxed), rand::random::<u64>());
        let numbers = Numbers { id, key, mark }.written();
        let via = format_args!("{}{numbers}", self.via);
        let abridged = request.abridged(back.remote());
        let vias = abridged.vias();
        let forward = Forward::request(request).push_via(via).max_forwards(hops).vias(&vias);
        let forward = stamped(forward, &stamp);
        let ready = pool.ready(target);
        let onward = Onward {
            back: Arc::clone(back),
            from,
            request: abridged,
            destination: destination.clone(),
            left_on: ready.as_ref().map(|flow| flow.id()),
            key,
            stamp_back,
            passage,
        };
        // Before it is sent: the answer may come on another thread at once.
        self.keep(id, onward)?;
        debug!(at = %self.name, to = %destination, "passed on");
        match ready.map(|flow| (flow.write_with(|out| forward.write(out)), flow)) {
            Some((Ok(()), flow)) => {
                self.lost_if_closed(id, &flow);
                return Ok(());
            }
            Some((Err(WriteError::Print(fault)), _)) => return self.take_back(id, &fault),
            Some((Err(WriteError::Send(_)), _)) | None => {}
        }
        // The long way: through the pool's books, on another connection, or after one is made.
        let mut out = BytesMut::with_capacity(request.as_bytes().len() + 320);
        if let Err(fault) = forward.write(&mut out) {
            return self.take_back(id, &fault);
        }
        if let Some(onward) = self.shard(id).lock().get_mut(&id) {
            onward.left_on = None;
        }
        match pool.send(target, Parcel::new(id, out.freeze())) {
            Ok(Sent::On(flow)) => self.sent(id, &flow),
            Ok(Sent::Waiting) => {}
            Err(error) => {
                let failures = pool.state(target).and_then(|state| state.failures);
                self.failed_with(id, &error, failures.map(|failures| failures.retry_in));
            }
        }
        Ok(())
    }

    /// What a request is that came from this side, as one number, of everything that decides where it goes (RFC 5393
    /// §4.2). Route decides nothing here: what has one goes by the calls.
    fn mark(&self, request: &Message, from: From) -> u64 {
        let mut hasher = self.marks.build_hasher();
        hasher.write_u8(u8::from(from == From::Outside));
        let fields = [Name::CallId, Name::CSeq, Name::From, Name::To].map(|name| request.header_bytes(name));
        for text in [request.request_uri().map(str::as_bytes)].into_iter().chain(fields) {
            // No text holds the byte that ends it.
            hasher.write(text.unwrap_or_default());
            hasher.write_u8(0xff);
        }
        hasher.finish()
    }

    /// Remembers a request, if there is room.
    fn keep(&self, id: u64, onward: Onward) -> Result<(), Refusal> {
        let mut shard = self.shard(id).lock();
        if shard.len() >= IN_FLIGHT_MAX / SHARDS as usize {
            drop(shard);
            return Err(refused(onward.passage, Refusal::Overloaded));
        }
        shard.insert(id, onward);
        Ok(())
    }

    /// A request that could not be written goes nowhere.
    fn take_back(&self, id: u64, fault: &PrintError) -> Result<(), Refusal> {
        let refusal = Refusal::BadBody(fault.to_string());
        let onward = self.shard(id).lock().remove(&id);
        match onward {
            Some(onward) => Err(refused(onward.passage, refusal)),
            None => Err(refusal),
        }
    }

    /// Sends an answer back the way its request came. Says no if it answers nothing of this kind.
    pub(crate) fn on_response(&self, flow: &Flow, response: &Message) -> bool {
        let Some(Numbers { id, key, .. }) = self.numbers_of(response) else { return false };
        match self.answered(id, key, flow, response) {
            Answered::Finally(onward) => self.answer(flow, response, onward),
            // A 100 goes no further (§16.7 step 5), and to anything but an INVITE no other tells anybody anything (RFC 4320
            // §4.1). Nor does it keep a request alive: whoever sent that counts for itself.
            Answered::Provisionally => {}
            Answered::Nothing => self.stray(flow),
        }
        true
    }

    /// What tells the request apart that a response says it answers.
    fn numbers_of(&self, response: &Message) -> Option<Numbers> {
        let top = response.values(Name::Via).next()?;
        // Nearly everybody repeats our Via as we wrote it.
        top.strip_prefix(&self.via).and_then(Numbers::read).or_else(|| Numbers::of(Via::parse(top).ok()?.branch()?))
    }

    /// What a response is to, which is taken out of the books if it is a final one.
    fn answered(&self, id: u64, key: u64, flow: &Flow, response: &Message) -> Answered {
        let mut shard = self.shard(id).lock();
        let Entry::Occupied(entry) = shard.entry(id) else { return Answered::Nothing };
        let onward = entry.get();
        // An answer can come before the flow is noted; then the key alone tells that the peer has the request.
        let there = onward.key == key && onward.left_on.is_none_or(|left_on| left_on == flow.id());
        if !there || !onward.request.is_answered_by(response) {
            return Answered::Nothing;
        }
        match response.status() {
            Some(200..) => Answered::Finally(entry.remove()),
            _ => Answered::Provisionally,
        }
    }

    /// Passes a final answer back: with the Vias of its request, whatever way the answer itself names.
    fn answer(&self, flow: &Flow, response: &Message, onward: Onward) {
        let (stamp, vias) = (onward.stamp_back.on(response), onward.request.vias());
        let said = Said::by(response, onward.stamp_back.partner(), onward.from, &self.name);
        let mut forward = stamped(Forward::response(response).vias(&vias), &stamp);
        for (name, value) in said.more() {
            forward = forward.insert(name, value);
        }
        let fits = onward.from == From::Inside || Limits::between_organisations().leave_room(response);
        let unfit = match fits {
            // A partner would close the connection over it, on which others wait for theirs.
            false => Some(too_long(response)),
            true => match onward.back.write_with(|out| forward.write(out)) {
                Err(WriteError::Print(fault)) => Some(unwritable(&onward.destination, &fault)),
                // A peer that has gone needs no answer.
                Ok(()) | Err(WriteError::Send(_)) => None,
            },
        };
        if let Some(refusal) = unfit {
            refuse(&onward.back, &onward.request.clone().restore(), onward.from, &self.name, &refusal);
        }
        if response.status() == Some(503) {
            self.leave_alone(flow, response, &onward);
        }
        let diagnosis = response.header(Name::MsDiagnostics).or_else(|| response.header(Name::MsDiagnosticsPublic));
        onward.passage.answered(response.status().unwrap_or_default(), diagnosis);
    }

    /// A response to nothing that went this way: late, repeated or made up.
    pub(crate) fn stray(&self, flow: &Flow) {
        self.strays.get_or_init(|| metrics::counter!("reveille_edge_stray_responses_total")).increment(1);
        debug!(remote = %flow.remote(), "a response to nothing that went this way");
    }

    /// A partner's server says that it can take nothing now: its others, if it has any, go first for as long as it asks.
    fn leave_alone(&self, flow: &Flow, response: &Message, onward: &Onward) {
        let target = onward.stamp_back.partner().and_then(|partner| partner.books.lock().target.clone());
        if let Some((target, outside)) = target.zip(self.outside.get()) {
            outside.heed(&target, flow, response);
        }
    }

    /// A flow is gone: requests that left on it get no answer from there, and their senders need not wait for it.
    ///
    /// Requests leave on connections that we made, a few for each next hop, and only when one of those ends is there
    /// something to look for. A peer may connect and go as often as it likes.
    pub(crate) fn flow_gone(&self, flow: &Flow) {
        if flow.side() == Side::Accepted {
            return;
        }
        for shard in &self.shards {
            let left_there = |(_, onward): &(&u64, &Onward)| onward.left_on == Some(flow.id());
            let lost: Vec<u64> = shard.lock().iter().filter(left_there).map(|(id, _)| *id).collect();
            for id in lost {
                self.failed(id, &ConnectError::Closed { name: "the next hop".into() });
            }
        }
    }

    /// Forgets requests that nobody has answered. Their senders' own timers tell them (RFC 4320 §4.2: a 408 to a
    /// non-INVITE request helps nobody).
    pub(crate) fn sweep(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.len();
            shard.retain(|_, onward| onward.passage.age() < ANSWER_TIMEOUT);
            let unanswered = before - shard.len();
            if unanswered > 0 {
                metrics::counter!("reveille_edge_unanswered_total").increment(unanswered as u64);
            }
        }
    }
}

impl Relay {
    /// The flow may have ended before it was noted that the request left on it; then nobody else will tell.
    fn lost_if_closed(&self, id: u64, flow: &Flow) {
        if flow.is_closed() {
            self.failed(id, &ConnectError::Closed { name: "the next hop".into() });
        }
    }

    /// A request did not leave. `retry_in` is given if nothing was tried, since the next hop has failed a moment ago.
    fn failed_with(&self, token: u64, error: &ConnectError, retry_in: Option<Duration>) {
        let Some(onward) = self.shard(token).lock().remove(&token) else { return };
        debug!(at = %self.name, to = %onward.destination, %error, "the next hop cannot be reached");
        let refusal = unreachable(onward.destination, error, onward.from, retry_in);
        metrics::counter!("reveille_edge_unreachable_total", "reason" => error.label()).increment(1);
        onward.passage.failed(error);
        refuse(&onward.back, &onward.request.restore(), onward.from, &self.name, &refusal);
    }
}

impl Senders for Relay {
    fn failed(&self, token: u64, error: &ConnectError) {
        self.failed_with(token, error, None);
    }

    fn sent(&self, token: u64, flow: &Arc<Flow>) {
        if let Some(onward) = self.shard(token).lock().get_mut(&token) {
            onward.left_on = Some(flow.id());
        }
        self.lost_if_closed(token, flow);
    }
}

/// Tells the request's partner why it goes no further.
fn refused(passage: Passage, refusal: Refusal) -> Refusal {
    passage.refused(&refusal);
    refusal
}

/// An answer that cannot be passed on. Its sender is told so, or would wait for one until its own time is up.
fn unwritable(destination: &SipDomain, fault: &PrintError) -> Refusal {
    Refusal::PeerUnreachable { domain: destination.clone(), why: format!("its answer cannot be passed on: {fault}") }
}

/// A message that its next hop would not take as it leaves.
pub(crate) fn too_long(message: &Message) -> Refusal {
    Refusal::HeaderTooLong { fields: message.field_count(), bytes: message.header_len() }
}

/// Answers a request that goes no further.
pub(crate) fn refuse(back: &Flow, request: &Message, from: From, name: &str, refusal: &Refusal) {
    let Answer { status, headers, problem } = told(name, from, refusal);
    // A peer that has gone needs no answer.
    let _ = back.send(message::refused_with(request, status, &headers, &problem, "edge"));
}

/// What a proxy looks at before it passes a request on (RFC 3261 §16.3), besides Max-Forwards.
fn passable(request: &Message, mark: u64) -> Result<(), Refusal> {
    // Step 4: the same request has been here. Whoever comes back changed goes another way now.
    if request.headers(Name::Via).any(|value| value.contains(BRANCH)) {
        let mut seen = request.values(Name::Via).filter_map(|via| Numbers::of(Via::parse(via).ok()?.branch()?));
        if seen.any(|seen| seen.mark == mark) {
            return Err(Refusal::Looped);
        }
    }
    // Step 5: no extension needs anything of this edge, so there is none that it supports.
    match request.values(Name::ProxyRequire).next() {
        Some(_) => Err(Refusal::UnsupportedExtension),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
