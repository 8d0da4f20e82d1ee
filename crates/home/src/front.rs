//! Home's doors: clients over UDP, TCP and TLS, and our own servers over mutual TLS. Who speaks is settled here; what
//! they want is the shard's business.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use reveille_core::{Alarm, Aor, Clock, SipDomain};
use reveille_federation::answer::{Audience, status};
use reveille_federation::policy::{TrustedEdge, readmit, trusted_edge};
use reveille_federation::{AdmittedPeer, Refusal, feedback, media_relay, message};
use reveille_sip::{Message, Method, Name};
use reveille_sip_net::{BadMessage, CloseReason, Flow, Handler, Requests};
use reveille_store::HomeStore;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::auth::{Authenticator, ELSEWHERE, Unproven};
use crate::calls::{Calls, Origin, is_of_call};
use crate::checks;
use crate::flows::Flows;
use crate::identity::believe;
use crate::outbox::Road;
use crate::probe::Probes;
use crate::reply::{Recent, Reply};
use crate::shard::Event;
use crate::users::Users;
use crate::visits::{Open, Visiting, Visits};

/// What is answered to a method that is not for us.
const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO, REFER, NOTIFY, REGISTER, MESSAGE, OPTIONS, SERVICE";
/// What is said to a sender without a name.
const NO_FROM: &str = "the From header field names no user of the form sip:user@domain";
/// What a test hears whose time is over, or that does what it has not announced.
const NO_GUEST: &str = "this request belongs to a test that is over, or that this user takes no part in";
/// Feedback messages under way at once.
const FEEDBACK_MAX: usize = 64;

/// The shards' mailboxes; a user always has the same one.
pub(crate) struct Shards {
    hash: RandomState,
    senders: Vec<mpsc::Sender<Event>>,
}

impl Shards {
    pub(crate) fn new(senders: Vec<mpsc::Sender<Event>>, hash: RandomState) -> Self {
        Self { hash, senders }
    }

    /// Which shard a user belongs to.
    pub(crate) fn index(hash: &RandomState, user: &Aor, shards: usize) -> usize {
        hash.hash_one(user) as usize % shards
    }

    pub(crate) fn of(&self, user: &Aor) -> &mpsc::Sender<Event> {
        &self.senders[Self::index(&self.hash, user, self.senders.len())]
    }

    pub(crate) fn at(&self, index: usize) -> &mpsc::Sender<Event> {
        &self.senders[index]
    }

    pub(crate) fn all(&self) -> &[mpsc::Sender<Event>] {
        &self.senders
    }
}

/// What both doors share.
pub(crate) struct Front {
    pub(crate) users: Users,
    pub(crate) shards: Shards,
    pub(crate) requests: Arc<Requests>,
    /// What has been proven on each connection.
    pub(crate) flows: Arc<Flows>,
    /// Who proxies calls; set when the doors open.
    pub(crate) calls: OnceLock<Arc<Calls>>,
    /// The way out, for tests; set when the doors open.
    pub(crate) road: OnceLock<Arc<Road>>,
    /// Tests under way.
    pub(crate) probes: Probes,
    /// Tests that sign in as users, under way.
    pub(crate) visits: Visits,
    pub(crate) authenticator: Authenticator,
    pub(crate) recent: Arc<Recent>,
    pub(crate) store: Arc<dyn HomeStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) name: Arc<str>,
    pub(crate) tag: Arc<str>,
    /// Certificate names of our edges.
    pub(crate) edges: Vec<SipDomain>,
    /// Certificate names of proxies that have authenticated their users themselves.
    pub(crate) proxies: Vec<SipDomain>,
    /// Messages for other domains, on their way out.
    pub(crate) abroad: mpsc::Sender<Reply>,
    /// Feedback that waits for the store.
    pub(crate) feedback: TaskTracker,
}

/// The door for clients: nobody is believed without a digest.
pub(crate) struct Clients(pub(crate) Arc<Front>);

/// The door for our own servers: certificates tell who they are.
pub(crate) struct Servers(pub(crate) Arc<Front>);

impl Handler for Clients {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for message in batch.drain(..) {
            self.0.client_message(flow, message);
        }
    }

    fn closed(&self, flow: &Arc<Flow>, _why: &CloseReason) {
        self.0.flow_gone(flow);
        self.0.flows.gone(flow.id());
    }
}

impl Handler for Servers {
    fn opened(&self, flow: &Arc<Flow>) {
        if let Some(calls) = self.0.calls.get() {
            calls.proxy().flow_opened(flow);
        }
    }

    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        let names = |name: &SipDomain| flow.peer().is_some_and(|peer| peer.names(name.as_str()));
        let edge = self.0.edge_of(flow);
        let proxy = self.0.proxies.iter().any(names);
        for message in batch.drain(..) {
            if message.method().is_none() {
                self.0.response(flow, message);
                continue;
            }
            if (edge.is_some() || proxy) && is_of_call(&message) {
                let origin = if edge.is_some() { Origin::Edge } else { Origin::Proxy };
                self.0.call(origin, flow, message);
                continue;
            }
            let Some(reply) = Reply::new(flow, message, &self.0.recent, &self.0.tag) else { continue };
            let is_message = matches!(reply.request().method(), Some(Method::Message));
            match (&edge, reply.request().method()) {
                (_, Some(Method::Options)) => reply.send(200),
                (Some(edge), Some(Method::Message)) => {
                    let trust = reply.request().header(Name::EdgeTrust);
                    let from = message::from_domain(reply.request());
                    match from.and_then(|from| readmit(edge, trust, &from)) {
                        Ok(peer) => self.0.message_of_partner(peer, reply),
                        Err(refusal) => self.0.refuse(reply, &refusal),
                    }
                }
                (None, _) if proxy && is_message => self.0.message_of_proxy(reply),
                // The trust header of a host that is no edge counts for nothing (DESIGN.md §6).
                (None, _) => {
                    warn!(remote = %flow.remote(), "a server that is neither edge nor trusted proxy was turned away");
                    self.0.refuse(reply, &Refusal::ForgedTrust);
                }
                (Some(_), _) => not_allowed(reply),
            }
        }
    }

    fn closed(&self, flow: &Arc<Flow>, _why: &CloseReason) {
        self.0.requests.flow_gone(flow.id());
        self.0.flow_gone(flow);
    }
}

impl Front {
    fn flow_gone(&self, flow: &Flow) {
        if let Some(calls) = self.calls.get() {
            calls.proxy().flow_gone(flow);
        }
        for shard in self.shards.all() {
            // A shard with a full mailbox finds out when it next uses the flow.
            let _ = shard.try_send(Event::FlowGone(flow.id()));
        }
    }

    /// An answer: to what was proxied, or to a request of our own.
    fn response(&self, flow: &Arc<Flow>, response: Message) {
        let proxied = self.calls.get().is_some_and(|calls| calls.proxy().on_response(flow, &response));
        if !proxied {
            self.requests.on_response(response);
        }
    }

    /// A request of a call.
    fn call(&self, origin: Origin, flow: &Arc<Flow>, request: Message) {
        if let Some(calls) = self.calls.get() {
            calls.take(self, origin, flow, request);
        }
    }

    /// The edge of ours that this connection is with.
    pub(crate) fn edge_of(&self, flow: &Flow) -> Option<TrustedEdge> {
        trusted_edge(&self.edges, &|name| flow.peer().is_some_and(|peer| peer.names(name.as_str())))
    }

    fn client_message(&self, flow: &Arc<Flow>, message: Message) {
        if message.method().is_none() {
            return self.response(flow, message);
        }
        // RFC 3261 §8.2.2.1: an unknown scheme is a 416; a header field that cannot be read is a 400.
        if let Err(fault) = checks::well_formed(&message) {
            return BadMessage { message, fault }.answer(flow);
        }
        if is_of_call(&message) {
            return self.call(Origin::Client, flow, message);
        }
        let Some(reply) = Reply::new(flow, message, &self.recent, &self.tag) else { return };
        let answered = matches!(
            reply.request().method(),
            Some(Method::Register | Method::Message | Method::Options | Method::Other(media_relay::METHOD))
        );
        if let Some(objection) = checks::objection(reply.request()).filter(|_| answered) {
            return reply.send_with(objection.status(), |response| objection.tell(response));
        }
        match reply.request().method() {
            Some(Method::Register) => self.client_register(reply),
            Some(Method::Message) => self.message_of_client(reply),
            Some(Method::Other(media_relay::METHOD)) => self.relay_credentials(reply),
            Some(Method::Options) => reply.send_with(200, |response| {
                response.header(Name::Allow, ALLOW).header(Name::Accept, "*/*");
            }),
            _ => not_allowed(reply),
        }
    }

    fn client_register(&self, reply: Reply) {
        let user = match self.proven(&reply) {
            Ok(user) => user,
            Err(unproven) => return self.challenge(reply, 401, unproven),
        };
        // RFC 3261 §10.3 step 3: one may only register oneself.
        match address(reply.request(), Name::To).map(|to| self.users.kept_as(to)) {
            Some(to) if to == user => {
                let user = match self.visits.of(reply.request()) {
                    Visiting::No => user,
                    Visiting::Yes(visit) => match visit.stand_in(&user) {
                        Some(user) => user,
                        None => return reply.refuse(403, NO_GUEST),
                    },
                    Visiting::Over => return reply.refuse(403, NO_GUEST),
                };
                self.hand_over(&user.clone(), |reply| Event::Register { user, reply }, reply);
            }
            Some(to) => reply.refuse(403, &format!("{user} may register {user} and not {to}")),
            None => reply.refuse(400, "the To header field names no user of the form sip:user@domain"),
        }
    }

    /// A user asks for credentials of the A/V edge: our edge gives them to whom we have authenticated (MS-AVEDGEA).
    fn relay_credentials(&self, reply: Reply) {
        if !reply.request().media_type().is_some_and(|media| media.eq_ignore_ascii_case(media_relay::CONTENT_TYPE)) {
            return reply.send_with(415, |response| {
                response.header(Name::Accept, media_relay::CONTENT_TYPE);
            });
        }
        if !reply.flow().transport().is_secure() {
            return reply.refuse(403, "credentials of the A/V edge are handed out over TLS only");
        }
        if receiver(reply.request()).is_none_or(|asked| !self.users.serves(asked.domain())) {
            return reply.refuse(404, "the Request-URI names no media relay service of a domain that is served here");
        }
        let user = match self.proven(&reply) {
            Ok(user) => user,
            Err(unproven) => return self.challenge(reply, 407, unproven),
        };
        match address(reply.request(), Name::From) {
            Some(from) if self.users.kept_as(from.clone()) == user => match self.abroad.try_reserve() {
                Ok(place) => place.send(reply),
                Err(_) => overloaded(reply),
            },
            Some(from) => reply.refuse(403, &format!("{user} may ask as {user} and not as {from}")),
            None => reply.refuse(400, NO_FROM),
        }
    }

    fn message_of_client(&self, reply: Reply) {
        let user = match self.proven(&reply) {
            Ok(user) => user,
            Err(unproven) => return self.challenge(reply, 407, unproven),
        };
        match address(reply.request(), Name::From) {
            Some(from) if self.users.kept_as(from.clone()) == user => self.send(from, reply),
            // Nobody speaks in another's name.
            Some(from) => reply.refuse(403, &format!("{user} may write as {user} and not as {from}")),
            None => reply.refuse(400, NO_FROM),
        }
    }

    /// A message whose sender the proxy has authenticated.
    fn message_of_proxy(&self, reply: Reply) {
        match address(reply.request(), Name::From) {
            Some(from) => self.send(from, reply),
            None => reply.refuse(400, NO_FROM),
        }
    }

    /// A message of one of ours: to another of ours, or out by our edge.
    fn send(&self, from: Aor, reply: Reply) {
        match self.visits.of(reply.request()) {
            Visiting::No => {}
            Visiting::Yes(visit) => return self.send_within(&visit, from, reply),
            Visiting::Over => return reply.refuse(403, NO_GUEST),
        }
        let abroad = |to: &Aor| !self.users.serves(to.domain());
        match receiver(reply.request()) {
            Some(to) if abroad(&to) => match self.abroad.try_reserve() {
                Ok(place) => place.send(reply),
                Err(_) => overloaded(reply),
            },
            _ => self.deliver(from, reply),
        }
    }

    /// A message of a test, which reaches nobody but those who take part.
    fn send_within(&self, visit: &Open, from: Aor, reply: Reply) {
        let to = receiver(reply.request()).map(|to| self.users.kept_as(to)).and_then(|to| visit.stand_in(&to));
        match to {
            Some(to) => self.hand_over(&to.clone(), |reply| Event::Message { from, to, reply }, reply),
            None => reply.refuse(403, NO_GUEST),
        }
    }

    /// A message or feedback that came through our edge.
    fn message_of_partner(&self, peer: AdmittedPeer, reply: Reply) {
        if reply.request().content_type().is_some_and(feedback::is_feedback) {
            return self.take_feedback(peer, reply);
        }
        match address(reply.request(), Name::From) {
            Some(from) => self.deliver(from, reply),
            None => reply.refuse(400, NO_FROM),
        }
    }

    fn deliver(&self, from: Aor, reply: Reply) {
        match receiver(reply.request()).map(|to| self.users.kept_as(to)) {
            Some(to) if self.users.knows(&to) => {
                self.hand_over(&to.clone(), |reply| Event::Message { from, to, reply }, reply)
            }
            Some(to) => reply.refuse(404, &format!("{to} is not a user of {}", self.users.domain())),
            None => reply.refuse(400, "the Request-URI names no user of the form sip:user@domain"),
        }
    }

    /// Gives a request to the shard of a user; a mailbox that is full is said on the wire.
    fn hand_over(&self, user: &Aor, event: impl FnOnce(Reply) -> Event, reply: Reply) {
        match self.shards.of(user).try_reserve() {
            Ok(place) => place.send(event(reply)),
            Err(_) => overloaded(reply),
        }
    }

    /// Believes what may be believed, and answers when all of it is on disk.
    fn take_feedback(&self, peer: AdmittedPeer, reply: Reply) {
        let told = match feedback::read_body(reply.request().body_bytes()) {
            Ok(told) => told,
            Err(fault) => return self.refuse(reply, &message::body_refusal(fault)),
        };
        if self.feedback.len() >= FEEDBACK_MAX {
            return reply.send_with(503, |response| {
                response.header(Name::RetryAfter, "2");
            });
        }
        let mut pending = Vec::with_capacity(told.items.len());
        for item in told.items {
            // Of tests nothing is kept but who was asked.
            if self.probes.devices.feedback(&item, peer.domain()) {
                continue;
            }
            let known = match self.store.push(item.push) {
                Ok(known) => known,
                Err(reason) => {
                    warn!(%reason, "feedback could not be looked up");
                    return reply.send(503);
                }
            };
            match believe(known, &item, peer.domain()) {
                Ok(known) => {
                    let (done, answer) = oneshot::channel();
                    let user = known.owed.user.clone();
                    if self.shards.of(&user).try_send(Event::Feedback { known, item, done }).is_ok() {
                        pending.push(answer);
                    } else {
                        return reply.send(503);
                    }
                }
                Err(disbelief) => {
                    // Somebody lies, or two servers disagree about history: someone should look.
                    warn!(alarm = Alarm::FeedbackDisbelieved.as_str(), peer.domain = %peer.domain(), push.id = %item.push, "feedback not believed: {disbelief}");
                    metrics::counter!("reveille_home_feedback_disbelieved_total").increment(1);
                    return reply.send(403);
                }
            }
        }
        self.feedback.spawn(async move {
            for answer in pending {
                if !matches!(answer.await, Ok(true)) {
                    return reply.send(503);
                }
            }
            reply.send(200);
        });
    }

    /// Who has sent a request, if it proves that.
    fn proven(&self, reply: &Reply) -> Result<Aor, Unproven> {
        let visit = match self.visits.of(reply.request()) {
            Visiting::Yes(visit) => Some(visit),
            Visiting::No | Visiting::Over => None,
        };
        let guests = |user: &Aor| visit.as_ref()?.password(user);
        self.authenticator.verify(reply.request(), reply.flow().local(), (&self.users, &guests), self.clock.now())
    }

    fn challenge(&self, reply: Reply, status: u16, unproven: Unproven) {
        if unproven == Unproven::Elsewhere {
            return reply.refuse(400, ELSEWHERE);
        }
        let (transport, stale) = (reply.flow().transport(), unproven == Unproven::Stale);
        let values = self.authenticator.challenges(reply.request(), transport, self.clock.now(), stale);
        let name = if status == 401 { Name::WwwAuthenticate } else { Name::ProxyAuthenticate };
        reply.send_with(status, |response| {
            for value in &values {
                response.header(name, value);
            }
        });
    }

    fn refuse(&self, reply: Reply, refusal: &Refusal) {
        debug!(remote = %reply.flow().remote(), reason = refusal.as_str(), "request refused");
        let audience = Audience::Inside { source: &self.name };
        let bytes = message::refused(reply.request(), refusal, audience, None, &self.tag);
        reply.send_bytes(status(refusal), bytes);
    }
}

fn not_allowed(reply: Reply) {
    reply.send_with(405, |response| {
        response.header(Name::Allow, ALLOW);
    });
}

/// A queue is full: said on the wire.
fn overloaded(reply: Reply) {
    metrics::counter!("reveille_home_overloaded_total").increment(1);
    reply.send_with(503, |response| {
        response.header(Name::RetryAfter, "2");
    });
}

/// Whom a request is for.
fn receiver(request: &Message) -> Option<Aor> {
    aor_of(&reveille_sip::Uri::parse(request.request_uri()?).ok()?)
}

/// The user in a From or To.
pub(crate) fn address(request: &Message, name: Name) -> Option<Aor> {
    aor_of(&request.address(name).ok()?.uri().ok()?)
}

fn aor_of(uri: &reveille_sip::Uri<'_>) -> Option<Aor> {
    Aor::new(uri.user()?, uri.host()?.domain()?.parse().ok()?).ok()
}
