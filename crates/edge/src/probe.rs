//! Tests of the way out, for our own homes: walked step by step on a connection made for this one test, and told as it
//! went.
//!
//! The steps are those of every request that leaves: the settings' way, the domain's records, the partner's limits, TLS
//! with the name that must be proven, the request with our stamps, its answer with the partner's trust. Only the
//! connection is never one that exists: that one may have been made before the certificate ran out.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_core::stage::Stage;
use reveille_federation::answer::{Audience, answer, status_outbound};
use reveille_federation::probe::{Draft, Told, write};
use reveille_federation::route::{Way, way};
use reveille_federation::{Refusal, message};
use reveille_sip::{Forward, Limits, Message, Method, Name};
use reveille_sip_net::{
    ConnectError, Flow, Handler, HandshakeRefusal, Pool, PoolLimits, RefusedBy, RequestError, Requests, Resolver,
    Senders, TlsClient, Took,
};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::crossing::{From, Stamp, StampBack};
use crate::limits::Class;
use crate::now::Now;
use crate::outbound::{Found, Outbound, led, locate_led, srv_records};
use crate::partners::Passage;
use crate::refusals::unreachable;
use crate::relay::too_long;
use crate::said::{Said, stamped};
use crate::ways::Waits as _;

/// Tests under way at once.
const TESTS_MAX: usize = 8;
/// For the name servers, for one question and all that follows from it.
const NAMES_WITHIN: Duration = Duration::from_secs(8);
/// For the connection with the partner's first words on it: longer than an attempt of the pool may take.
const FIRST_WITHIN: Duration = Duration::from_secs(13);
/// For the answer to the request itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// The tests under way.
pub(crate) struct Probes {
    seats: Arc<Semaphore>,
    tasks: TaskTracker,
    road: OnceLock<Road>,
}

/// How a test connects.
struct Road {
    /// Whatever else the partner says on the connection is handled as always.
    inbound: Weak<dyn Handler>,
    tls: Arc<TlsClient>,
    limits: PoolLimits,
    stop: CancellationToken,
}

impl Probes {
    pub(crate) fn new() -> Self {
        Self { seats: Arc::new(Semaphore::new(TESTS_MAX)), tasks: TaskTracker::new(), road: OnceLock::new() }
    }

    /// Gives it the way outside. Once.
    pub(crate) fn open(
        &self,
        inbound: Weak<dyn Handler>,
        tls: Arc<TlsClient>,
        limits: PoolLimits,
        stop: CancellationToken,
    ) {
        drop(self.road.set(Road { inbound, tls, limits, stop }));
    }

    /// Waits for the tests under way, each of which is bounded in time.
    pub(crate) async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Whether one of our own homes asks for a test. On a request from outside the field says nothing.
pub(crate) fn asks_for_test(request: &Message) -> bool {
    let kind = matches!(request.method(), Some(Method::Message | Method::Options));
    kind && request.header(Name::ReveilleProbe).is_some()
}

/// The stages so far, and since when the one that is next is under way.
struct Log {
    told: Vec<Told>,
    since: Instant,
}

impl Log {
    fn new() -> Self {
        Self { told: Vec::with_capacity(12), since: Instant::now() }
    }

    fn lap(&mut self) -> Duration {
        let took = self.since.elapsed();
        self.since = Instant::now();
        took
    }

    fn pass(&mut self, stage: Stage, name: Option<&str>) {
        let told = Told::passed(stage, self.lap());
        self.told.push(match name {
            Some(name) => told.at(name),
            None => told,
        });
    }

    fn fail(&mut self, stage: Stage, name: Option<&str>, why: &str) {
        let told = Told::failed(stage, self.lap()).why(why);
        self.told.push(match name {
            Some(name) => told.at(name),
            None => told,
        });
    }

    /// A refusal of our own at the stage that it belongs to.
    fn refuse(&mut self, refusal: &Refusal) {
        let name = match refusal {
            Refusal::SrvNamesAnother { target, .. } => Some(target.as_str()),
            Refusal::AddressNotFound { host, .. } => Some(host.as_str()),
            _ => None,
        };
        self.fail(refusal.failure().stage(), name, refusal.as_str());
    }
}

impl Outbound {
    /// Takes a test of one of our own homes, if there is a seat for it.
    pub(crate) fn test(&self, flow: &Arc<Flow>, request: &Message) {
        let probes = &self.edge.probes;
        let seat = Arc::clone(&probes.seats).try_acquire_owned();
        let (Ok(seat), Some(this)) = (seat, self.me.upgrade()) else {
            return self.turn_away(flow, request, From::Inside, &Refusal::Shed { what: "tests" });
        };
        let (flow, request) = (Arc::clone(flow), request.clone().kept());
        probes.tasks.spawn(async move {
            this.walk(&flow, &request).await;
            drop(seat);
        });
    }

    /// Walks the road and answers with what was found on it.
    async fn walk(&self, flow: &Flow, request: &Message) {
        self.edge.refreshed().await;
        let mut log = Log::new();
        let now = self.edge.now();
        let own = message::from_domain(request);
        // Whatever was published a moment ago is to be seen, and not what was kept before.
        let resolver = self.edge.resolver.afresh().unwrap_or_else(|| Arc::clone(&self.edge.resolver));
        let (own_name, outcome) = tokio::join!(
            self.own_name(&*resolver, own.as_ref().ok()),
            self.road(flow, request, (&now, &*resolver), &mut log)
        );
        // What is said of our own name stands first: it is where the partner's road to us begins.
        log.told.splice(0..0, own_name);
        match outcome {
            Ok((response, proven)) => self.tell(flow, request, &response, &proven, &log.told),
            Err(refusal) => {
                self.edge.refusals.request(flow, &refusal);
                let audience = Audience::Inside { source: self.edge.config.name.as_str() };
                let mut answer = answer(&refusal, audience, None);
                answer.headers.push((Name::ReveilleStage.as_str(), write(&log.told)));
                let status = status_outbound(&refusal);
                // A home that has gone needs no answer.
                let _ = flow.send(message::refused_with(request, status, &answer.headers, &answer.problem, "edge"));
            }
        }
    }

    /// The partner's answer on its way home, as the relay passes it, with the stages.
    fn tell(&self, flow: &Flow, request: &Message, response: &Message, back: &StampBack, told: &[Told]) {
        let (stages, stamp) = (write(told), back.on(response));
        let vias = request.abridged(flow.remote()).vias();
        let said = Said::by(response, back.partner(), From::Inside, self.edge.config.name.as_str());
        let mut forward = stamped(Forward::response(response).vias(&vias), &stamp);
        for (name, value) in said.more() {
            forward = forward.insert(name, value);
        }
        let forward = forward.insert(Name::ReveilleStage, stages.as_str());
        if let Err(fault) = flow.write_with(|out| forward.write(out)) {
            tracing::debug!(%fault, "the answer to a test could not be passed on");
        }
    }

    /// Whether our own record leads partners to us, as this edge's name servers see it. Ends nothing: the way out does
    /// not depend on it.
    async fn own_name(&self, resolver: &dyn Resolver, domain: Option<&SipDomain>) -> Option<Told> {
        let domain = domain?;
        let begun = Instant::now();
        let ours = self.edge.config.name.as_str();
        let found = timeout(NAMES_WITHIN, async {
            let records = srv_records(resolver, domain).await?;
            let names_us = records.iter().find(|record| record.target.eq_ignore_ascii_case(ours));
            let target = names_us.or_else(|| records.first()).map(|record| record.target.clone()).unwrap_or_default();
            reveille_sip_net::locate(resolver, &records).await.map_err(|error| Refusal::AddressNotFound {
                domain: domain.clone(),
                host: target.parse().unwrap_or_else(|_| domain.clone()),
                why: error.to_string(),
                remedy: None,
            })?;
            Ok::<_, Refusal>(target)
        })
        .await;
        let took = begun.elapsed();
        Some(match found {
            Ok(Ok(target)) if target.eq_ignore_ascii_case(ours) => Told::passed(Stage::OwnName, took).at(target),
            Ok(Ok(target)) => Told::passed(Stage::OwnName, took).at(target).why("leads-elsewhere"),
            Ok(Err(refusal)) => Told::failed(Stage::OwnName, took).at(ours).why(refusal.as_str()),
            Err(_) => Told::failed(Stage::OwnName, took).at(ours).why("timed-out"),
        })
    }

    /// The road out, up to the partner's answer.
    async fn road(
        &self,
        flow: &Flow,
        request: &Message,
        (now, resolver): (&Now, &dyn Resolver),
        log: &mut Log,
    ) -> Result<(Message, StampBack), Refusal> {
        let (found, passage) = match self.way_to(flow, request, (now, resolver), log).await {
            Ok(found) => found,
            Err(refusal) => {
                log.refuse(&refusal);
                return Err(refusal);
            }
        };
        let Some(road) = self.edge.probes.road.get() else { return Err(Refusal::Stopping) };
        let watcher = Arc::new(Watcher { requests: Requests::new(), made: Mutex::default() });
        let stop = road.stop.child_token();
        let handler = Arc::new(Ear { requests: Arc::clone(&watcher.requests), inbound: road.inbound.clone() });
        let tls = Some(Arc::clone(&road.tls));
        let pool = Pool::new(handler, Arc::clone(&watcher) as _, tls, None, road.limits, stop.clone());
        let trip = Trip { edge: self, found: &found, watcher: &watcher, pool: &pool };
        let outcome = trip.go(request, flow.remote(), now, log).await;
        stop.cancel();
        // Home need not wait until the partner has read what was written.
        self.edge.probes.tasks.spawn(async move { pool.finish().await });
        match outcome {
            Ok(response) => {
                if let Some(outside) = self.outside.get() {
                    outside.forgive(&found.target);
                }
                let diagnosis =
                    response.header(Name::MsDiagnostics).or_else(|| response.header(Name::MsDiagnosticsPublic));
                passage.answered(response.status().unwrap_or_default(), diagnosis);
                Ok((response, StampBack::Trust(Arc::clone(&found.proven))))
            }
            Err(refusal) => {
                passage.refused(&refusal);
                Err(refusal)
            }
        }
    }

    /// Policy, name and address: where the settings and the records lead.
    async fn way_to(
        &self,
        flow: &Flow,
        request: &Message,
        (now, resolver): (&Now, &dyn Resolver),
        log: &mut Log,
    ) -> Result<(Arc<Found>, Passage), Refusal> {
        if self.edge.is_draining() {
            return Err(Refusal::Stopping);
        }
        self.speaks_for_us(flow, request)?;
        let domain = message::destination(request)?;
        if self.edge.config.domains.contains_key(&domain) {
            return Err(Refusal::UnknownDestination { domain });
        }
        let settings = &now.settings;
        let way = way(settings, &domain)?;
        log.pass(Stage::Policy, None);
        let slow = || Refusal::SrvNotFound {
            domain: domain.clone(),
            why: format!("no name server answered within {} s", NAMES_WITHIN.as_secs()),
            remedy: Some("check that this machine's name servers run"),
        };
        let asked = match way {
            Way::AskSrv => {
                let records = timeout(NAMES_WITHIN, srv_records(resolver, &domain)).await;
                Some(
                    records
                        .unwrap_or_else(|_| Err(slow()))
                        .inspect_err(|refusal| self.edge.unfound.failed(&domain, refusal))?,
                )
            }
            Way::Direct(_) => None,
        };
        let led = led(settings, &domain, way, asked)?;
        log.pass(Stage::Name, Some(led.host()));
        let located = timeout(NAMES_WITHIN, locate_led(resolver, settings, &domain, &led)).await;
        let (target, _) = located.unwrap_or_else(|_| Err(slow()))?;
        let address = target.first_address().map(|address| address.to_string());
        log.pass(Stage::Address, address.as_deref());
        if self.edge.unfound.found(&domain) {
            // Others have not found it, and would not for as long as that answer is kept.
            self.edge.resolver.forget();
        }
        let found = self.found(&domain, target, led)?;
        let passage =
            found.proven.partner.send(Class::of(request), request.as_bytes().len()).inspect_err(|refusal| {
                found.proven.partner.refused(refusal);
            })?;
        Ok((found, passage))
    }
}

/// One request over one connection.
struct Trip<'a> {
    edge: &'a Outbound,
    found: &'a Found,
    watcher: &'a Watcher,
    pool: &'a Pool,
}

impl Trip<'_> {
    async fn go(&self, request: &Message, source: SocketAddr, now: &Now, log: &mut Log) -> Result<Message, Refusal> {
        self.first_words(request, log).await?;
        let hops = request.onward_hops().ok_or(Refusal::TooManyHops);
        let hops = hops.inspect_err(|refusal| log.refuse(refusal))?;
        if !Limits::between_organisations().leave_room(request) {
            let refusal = too_long(request);
            log.refuse(&refusal);
            return Err(refusal);
        }
        let stamp = Stamp::Assertion(
            now.access.mark_source_verifiable_on_outgoing_messages && message::asserted(request) != Some(false),
        );
        let abridged = request.abridged(source);
        let vias = abridged.vias();
        let ask = |branch: &str| {
            let via = format!("SIP/2.0/TLS {};branch={branch}", self.edge.edge.config.name);
            let forward = Forward::request(request).push_via(via.as_str()).max_forwards(hops).vias(&vias);
            let mut out = BytesMut::with_capacity(request.as_bytes().len() + 320);
            stamped(forward, &stamp).write(&mut out).map(|()| out.freeze()).map_err(|fault| fault.to_string())
        };
        match self.ask(ask, ANSWER_WITHIN).await {
            Ok(response) => {
                log.pass(Stage::Sip, Some(&response.status().unwrap_or_default().to_string()));
                Ok(response)
            }
            Err(failed) => Err(self.failed(failed, log)),
        }
    }

    /// TCP, TLS, and what the partner says once it has seen our certificate (RFC 8446 §4.4.2: after our handshake). An
    /// OPTIONS that has no hops left ends at the first server (RFC 3261 §16.3 step 3), whatever that answers.
    async fn first_words(&self, request: &Message, log: &mut Log) -> Result<(), Refusal> {
        let from = message::from_domain(request)?;
        let (from, to) = (format!("sip:{from}"), format!("sip:{}", self.found.domain));
        let name = self.edge.edge.config.name.as_str();
        let call_id = format!("{:032x}", rand::random::<u128>());
        let ask = |branch: &str| {
            let draft = Draft {
                method: Method::Options,
                sent_by: name,
                branch,
                from: &from,
                to: &to,
                call_id: &call_id,
                hops: 0,
                asks: false,
                body: None,
            };
            draft.write().map_err(|fault| fault.to_string())
        };
        let asked = self.ask(ask, FIRST_WITHIN).await;
        if let Some(made) = self.watcher.made.lock().take() {
            log.told.push(Told::passed(Stage::Connect, made.took.connect).at(made.remote));
            log.told.push(Told::passed(Stage::TheirCertificate, made.took.handshake).at(made.names));
            log.since = made.at;
        }
        match asked {
            Ok(_) => {
                log.pass(Stage::OurCertificate, None);
                Ok(())
            }
            // It is silent about OPTIONS, and has not closed the connection over our certificate either.
            Err(Failed::Request(RequestError::TimedOut { .. })) if self.found_connected(log) => {
                log.pass(Stage::OurCertificate, None);
                Ok(())
            }
            Err(failed) => Err(self.failed(failed, log)),
        }
    }

    fn found_connected(&self, log: &Log) -> bool {
        log.told.iter().any(|told| told.stage == Stage::TheirCertificate)
    }

    async fn ask(
        &self,
        write: impl FnOnce(&str) -> Result<Bytes, String>,
        within: Duration,
    ) -> Result<Message, Failed> {
        let ticket = self.watcher.requests.open(rand::random()).map_err(Failed::Request)?;
        let bytes = write(ticket.branch()).map_err(Failed::Unwritable)?;
        ticket.through(self.pool, &self.found.target, bytes, within).await.map_err(Failed::Request)
    }

    /// Why there is no answer, told at the stage where it happened.
    fn failed(&self, failed: Failed, log: &mut Log) -> Refusal {
        let domain = || self.found.domain.clone();
        let connected = self.found_connected(log);
        let (stage, why, refusal) = match failed {
            Failed::Unwritable(fault) => (Stage::Sip, "unwritable", Refusal::BadBody(fault)),
            Failed::Request(RequestError::Connect(error)) => {
                let stage = match &error {
                    ConnectError::Tls { refusal, .. } => of_handshake(refusal),
                    ConnectError::Closed { .. } if connected => Stage::Sip,
                    _ => Stage::Connect,
                };
                (stage, error.label(), unreachable(domain(), &error, From::Inside, None))
            }
            Failed::Request(RequestError::TimedOut { within }) => {
                let why = format!("it did not answer the request within {} s", within.as_secs());
                let stage = if connected { Stage::Sip } else { Stage::Connect };
                (stage, "no-answer", Refusal::PeerUnreachable { domain: domain(), why })
            }
            Failed::Request(error @ (RequestError::Send(_) | RequestError::TooMany)) => {
                (Stage::Sip, "closed", Refusal::PeerUnreachable { domain: domain(), why: error.to_string() })
            }
        };
        let why = match &refusal {
            Refusal::PeerRejectsUs { .. } | Refusal::PeerUntrusted { .. } | Refusal::PeerUnreachable { .. } => why,
            other => other.as_str(),
        };
        log.fail(stage, Some(self.found.target.name()), why);
        refusal
    }
}

/// Why a request of a test has no answer.
enum Failed {
    Unwritable(String),
    Request(RequestError),
}

/// Whose certificate a handshake failed over. One that ends without a word never came to ours.
fn of_handshake(refusal: &HandshakeRefusal) -> Stage {
    match refusal.refused_by() {
        RefusedBy::Peer => Stage::OurCertificate,
        RefusedBy::Us | RefusedBy::Nobody => Stage::TheirCertificate,
    }
}

/// What is known of the connection, once it is made.
struct Made {
    remote: String,
    names: String,
    took: Took,
    at: Instant,
}

/// Waits for answers, and notes when the connection was made.
struct Watcher {
    requests: Arc<Requests>,
    made: Mutex<Option<Made>>,
}

impl Senders for Watcher {
    fn failed(&self, token: u64, error: &ConnectError) {
        self.requests.failed(token, error);
    }

    fn sent(&self, token: u64, flow: &Arc<Flow>) {
        self.requests.sent(token, flow);
    }

    fn connected(&self, flow: &Arc<Flow>, took: Took) {
        let names = flow.peer().and_then(|peer| peer.identities().next().map(str::to_owned));
        let (remote, names) = (flow.remote().to_string(), names.unwrap_or_default());
        *self.made.lock() = Some(Made { remote, names, took, at: Instant::now() });
    }
}

/// Hears what comes on the connection.
struct Ear {
    requests: Arc<Requests>,
    inbound: Weak<dyn Handler>,
}

impl Handler for Ear {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        let (answers, mut others): (Vec<_>, Vec<_>) = batch.drain(..).partition(|one| one.method().is_none());
        answers.into_iter().for_each(|answer| self.requests.on_response(answer));
        if let Some(inbound) = self.inbound.upgrade().filter(|_| !others.is_empty()) {
            inbound.messages(flow, &mut others);
        }
    }

    fn closed(&self, flow: &Arc<Flow>, why: &reveille_sip_net::CloseReason) {
        self.requests.flow_gone(flow.id());
        if let Some(inbound) = self.inbound.upgrade() {
            inbound.closed(flow, why);
        }
    }
}
