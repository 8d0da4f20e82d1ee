//! Calls across the border, and whatever else begins or belongs to a dialog: with the state of RFC 3261 §16.
//!
//! Who may pass, and which way, is decided where it is decided for messages; this is how it is carried. Both sides of
//! the edge are put into Record-Route (RFC 5658), with a token that only this edge can have written and that names the
//! two domains of the dialog. A request within the dialog is admitted like any other, and goes to the domain that the
//! token names: what else stands in Route leads nobody anywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_federation::answer::{Answer, PROBLEM_TYPE};
use reveille_federation::{Refusal, message};
use reveille_sip::proxy::{Edits, Failure, FailureKind, Owner, Reply};
use reveille_sip::{Limits, Message, Method, Name};
use reveille_sip_net::proxy::{Leg, Plan, Proxy, ProxyConfig, Share, Taken, To};
use reveille_sip_net::{ConnectError, Flow, Pool, Senders};
use tokio_util::sync::CancellationToken;

use crate::crossing::{Crossing, From, StampBack};
pub(crate) use crate::dialogs::is_within_dialog;

use crate::dialogs::Dialogs;
use crate::edge::Config;
use crate::partners::Passage;
use crate::refusals::{told, unreachable};
use crate::relay::{Relay, too_long};
use crate::said::{self, Said};
use crate::ways_back::WaysBack;

/// What edges do for partners, in the order in which Allow lists it.
pub(crate) const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO, REFER, NOTIFY, SUBSCRIBE, MESSAGE, OPTIONS";

/// The calls through one edge.
pub(crate) struct Calls {
    proxy: Arc<Proxy>,
    name: SipDomain,
    dialogs: Arc<Dialogs>,
    ways_back: WaysBack,
}

impl Calls {
    pub(crate) fn new(config: &Config) -> Self {
        let dialogs = Arc::new(Dialogs::new(config));
        let ours = Arc::clone(&dialogs);
        let proxy = ProxyConfig {
            timer_c: config.limits.ring,
            ..ProxyConfig::new(config.name.as_str(), move |uri| ours.is_ours(uri))
        };
        let ways_back = WaysBack::new(config);
        Self { proxy: Proxy::new(proxy), name: config.name.clone(), dialogs, ways_back }
    }

    /// Tells where its two sides listen, and the ways outside and inside. Once.
    pub(crate) fn open(&self, (outer, outside): (u16, Pool), (inner, inside): (u16, Pool)) {
        self.dialogs.open(outer, inner);
        self.ways_back.open(outside, inside);
    }

    /// Runs its timers.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        Arc::clone(&self.proxy).run(stop).await;
    }

    /// How many requests wait for their final answer.
    pub(crate) fn in_flight(&self) -> usize {
        self.proxy.unanswered()
    }

    /// How many requests hold state, with the calls accepted within the last 32 s.
    pub(crate) fn contexts(&self) -> usize {
        self.proxy.in_flight()
    }

    /// Whether a request is carried here. Messages and questions outside of a dialog need no state, and go by the relay,
    /// unless there is a Route to be read.
    pub(crate) fn carries(request: &Message) -> bool {
        match request.method() {
            None => false,
            Some(Method::Message | Method::Options | Method::Register | Method::Publish) => Self::is_routed(request),
            Some(_) => true,
        }
    }

    /// Takes a request that just came; what is left to decide comes back.
    pub(crate) fn arrived(&self, from: From, flow: &Arc<Flow>, request: Message) -> Option<Message> {
        let (side, share) = match from {
            // Our own servers speak for all of us.
            From::Inside => ("inside", Share::Whole),
            From::Outside => ("outside", Share::Part),
        };
        match self.proxy.take_on(side, share, flow, request) {
            Taken::Done => None,
            Taken::Ack { ack, .. } => Some(ack),
            Taken::Request { request, .. } => Some(request),
            Taken::Refused { request, reply } if reply.status == 483 => {
                self.refuse(flow, &request, from, &Refusal::TooManyHops);
                None
            }
            Taken::Refused { request, reply } if reply.status == 503 => {
                self.refuse(flow, &request, from, &Refusal::Overloaded);
                None
            }
            Taken::Refused { request, reply } if reply.status == 480 => {
                let what = "as many of its calls are under way as one certificate may have".to_owned();
                let refusal = message::from_domain(&request).map(|domain| Refusal::PartnerBusy { domain, what });
                self.refuse(flow, &request, from, &refusal.unwrap_or_else(|bad_from| bad_from));
                None
            }
            Taken::Refused { request, reply } => {
                self.proxy.refuse(flow, &request, &reply);
                None
            }
        }
    }

    /// Whether something else than its Request-URI says where a request goes.
    pub(crate) fn is_routed(request: &Message) -> bool {
        request.header(Name::Route).is_some() || is_within_dialog(request)
    }

    /// The domain that a request is for. Within a dialog that is what this edge wrote down when the dialog began.
    pub(crate) fn destination(&self, from: From, request: &Message) -> Result<SipDomain, Refusal> {
        if !Self::is_routed(request) {
            return message::destination(request);
        }
        self.dialogs.destination(from, request)
    }

    /// The domain that a request comes from: in a dialog the one it has had since it began.
    pub(crate) fn sender(&self, from: From, request: &Message) -> Result<SipDomain, Refusal> {
        self.dialogs.sender(from, request)
    }

    /// Carries a request across.
    pub(crate) fn forward(&self, request: &Message, crossing: Crossing<'_>) {
        let Crossing { back, from, destination, pool, target, stamp, stamp_back, passage } = crossing;
        let is_ack = request.method() == Some(Method::Ack);
        let leg = Leg::to(To::Hop(pool.clone(), target.clone()));
        let retry_in = {
            let (pool, target) = (pool.clone(), target.clone());
            move || pool.state(&target).and_then(|state| state.failures).map(|failures| failures.retry_in)
        };
        let owner = Arc::new(Under {
            from,
            name: self.name.clone(),
            destination: destination.clone(),
            stamp_back,
            retry_in: Box::new(retry_in),
            is_leaving: AtomicBool::new(true),
            books: Mutex::new(Books { passage: Some(passage), diagnosis: None }),
        });
        let mut plan = Plan::to(leg, self.dialogs.route(request), Arc::clone(&owner) as _);
        plan.edits = said::edits(&stamp);
        plan.back = self.ways_back.to(from, back, request);
        plan.record_route = self.dialogs.record_route(request, from, destination);
        if is_ack {
            owner.passed();
            return self.proxy.pass_ack(back, request, plan);
        }
        self.proxy.forward(back, request, plan);
        owner.is_leaving.store(false, Ordering::Release);
    }

    /// Answers a request that goes no further, and forgets it: nobody fills this edge with what it does not pass.
    pub(crate) fn refuse(&self, flow: &Flow, request: &Message, from: From, refusal: &Refusal) {
        if request.method() != Some(Method::Ack) {
            let Answer { status, headers, problem } = told(self.name.as_str(), from, refusal);
            let tag = self.proxy.tag(request);
            let bytes = message::refused_with(request, status, &headers, &problem, &tag);
            self.proxy.refuse_with(flow, request, bytes);
        }
    }

    /// Takes an answer; says whether it is to something carried here.
    pub(crate) fn on_response(&self, flow: &Arc<Flow>, response: &Message) -> bool {
        self.proxy.on_response(flow, response)
    }

    /// A connection is there, by which answers may go back to whoever has lost another.
    pub(crate) fn flow_opened(&self, flow: &Arc<Flow>) {
        self.proxy.flow_opened(flow);
    }

    pub(crate) fn flow_gone(&self, flow: &Flow) {
        self.proxy.flow_gone(flow);
    }
}

/// What is known of a request under way.
struct Under {
    from: From,
    name: SipDomain,
    destination: SipDomain,
    stamp_back: StampBack,
    /// When a next hop that fails at once will be tried again.
    retry_in: Box<dyn Fn() -> Option<std::time::Duration> + Send + Sync>,
    /// A failure now is one that was known before: nothing was tried.
    is_leaving: AtomicBool,
    books: Mutex<Books>,
}

struct Books {
    /// Until the first final answer.
    passage: Option<Passage>,
    /// What that answer says about itself.
    diagnosis: Option<String>,
}

impl Under {
    /// It was an ACK, which has no answer.
    fn passed(&self) {
        if let Some(passage) = self.books.lock().passage.take() {
            passage.passed();
        }
    }

    fn reply(&self, refusal: &Refusal) -> Reply {
        let Answer { status, headers, problem } = told(self.name.as_str(), self.from, refusal);
        Reply { status, headers, content: Some((PROBLEM_TYPE, Bytes::from(problem))) }
    }
}

impl Owner for Under {
    fn edits(&self, response: &Message) -> Edits {
        let said = Said::by(response, self.stamp_back.partner(), self.from, self.name.as_str());
        let mut edits = said::edits(&self.stamp_back.on(response));
        for (name, value) in said.more() {
            edits = edits.insert(name.as_str(), value);
        }
        if response.status().is_some_and(|status| status >= 300) {
            let diagnosis = response.header(Name::MsDiagnostics).or_else(|| response.header(Name::MsDiagnosticsPublic));
            self.books.lock().diagnosis = diagnosis.map(str::to_owned);
        }
        edits
    }

    fn failed(&self, _leg: usize, why: &Failure) -> Reply {
        let closed = ConnectError::Closed { name: self.destination.to_string() };
        let error = why.cause.as_ref().and_then(|cause| cause.downcast_ref::<ConnectError>()).unwrap_or(&closed);
        let retry_in = self.is_leaving.load(Ordering::Acquire).then(|| (self.retry_in)()).flatten();
        let refusal = match why.kind {
            FailureKind::TimedOut => {
                Refusal::PeerUnreachable { domain: self.destination.clone(), why: "it does not answer".into() }
            }
            FailureKind::Gone | FailureKind::Unreachable => {
                metrics::counter!("reveille_edge_unreachable_total", "reason" => error.label()).increment(1);
                if let Some(passage) = self.books.lock().passage.take() {
                    passage.failed(error);
                }
                unreachable(self.destination.clone(), error, self.from, retry_in)
            }
        };
        let reply = self.reply(&refusal);
        // §16.8: silence is a 408, which says more than that nobody could be reached.
        let status = if why.kind == FailureKind::TimedOut { 408 } else { reply.status };
        Reply { status, ..reply }
    }

    fn unfit(&self, response: &Message) -> Option<Reply> {
        let limits = match self.from {
            From::Inside => Limits::default(),
            // A partner would close the connection over it, on which others wait for theirs.
            From::Outside => Limits::between_organisations(),
        };
        (!limits.leave_room(response)).then(|| self.reply(&too_long(response)))
    }

    fn ended(&self, status: u16, _leg: Option<usize>) {
        let mut books = self.books.lock();
        if let Some(passage) = books.passage.take() {
            passage.answered(status, books.diagnosis.as_deref());
        }
    }
}

/// Tells those whose requests a pool could not send: the relay and the calls share the edge's pools.
pub(crate) struct Tellers {
    relay: Arc<Relay>,
    proxy: Arc<Proxy>,
}

impl Tellers {
    pub(crate) fn new(relay: &Arc<Relay>, calls: &Calls) -> Arc<Self> {
        Arc::new(Self { relay: Arc::clone(relay), proxy: Arc::clone(&calls.proxy) })
    }
}

impl Senders for Tellers {
    fn failed(&self, token: u64, error: &ConnectError) {
        match Proxy::owns(token) {
            true => self.proxy.failed(token, error),
            false => self.relay.failed(token, error),
        }
    }

    fn sent(&self, token: u64, flow: &Arc<Flow>) {
        match Proxy::owns(token) {
            true => self.proxy.sent(token, flow),
            false => self.relay.sent(token, flow),
        }
    }
}
