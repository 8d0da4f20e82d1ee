//! Tests of the way out, for our own homes: walked step by step on a connection made for this one test, and told as it
//! went.
//!
//! The steps are those of every request that leaves: the settings' way, the domain's records, the partner's limits, TLS
//! with the name that must be proven, the request with our stamps, its answer with the partner's trust. Only the
//! connection is never one that exists: that one may have been made before the certificate ran out.

mod trip;

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_core::stage::Stage;
use reveille_federation::answer::Answer;
use reveille_federation::probe::{NAME_SERVERS_FAIL, Told, write};
use reveille_federation::route::{Way, way};
use reveille_federation::{Refusal, message};
use reveille_sip::{Forward, Message, Method, Name};
use reveille_sip_net::{Flow, Handler, Pool, PoolLimits, Requests, Resolver, TlsClient};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::trip::{Ear, Trip, Watcher};
use crate::crossing::{From, StampBack};
use crate::led::{led, locate_led, srv_records};
use crate::limits::Class;
use crate::now::Now;
use crate::outbound::{Found, Outbound};
use crate::partners::Passage;
use crate::refusals::told;
use crate::said::{Said, stamped};
use crate::ways::Waits as _;

/// Tests under way at once.
const TESTS_MAX: usize = 8;
/// For the name servers, for one question and all that follows from it.
const NAMES_WITHIN: Duration = Duration::from_secs(8);

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
pub(super) struct Log {
    pub(super) told: Vec<Told>,
    pub(super) since: Instant,
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

    pub(super) fn pass(&mut self, stage: Stage, name: Option<&str>) {
        let told = Told::passed(stage, self.lap());
        self.told.push(match name {
            Some(name) => told.at(name),
            None => told,
        });
    }

    pub(super) fn fail(&mut self, stage: Stage, name: Option<&str>, why: &str) {
        let told = Told::failed(stage, self.lap()).why(why);
        self.told.push(match name {
            Some(name) => told.at(name),
            None => told,
        });
    }

    /// A refusal of our own at the stage that it belongs to.
    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        let name = match refusal {
            Refusal::SrvNamesAnother { target, .. } => Some(target.as_str()),
            Refusal::AddressNotFound { host, .. } => Some(host.as_str()),
            _ => None,
        };
        self.fail(refusal.failure().stage(), name, why_unfound(refusal));
    }
}

/// The word for a refusal. Records that nobody could be asked for are told from those that are not there.
fn why_unfound(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::SrvNotFound { remedy: Some(_), .. } | Refusal::AddressNotFound { remedy: Some(_), .. } => {
            NAME_SERVERS_FAIL
        }
        other => other.as_str(),
    }
}

impl Outbound {
    /// Takes a test of one of our own homes, if there is a seat for it.
    pub(crate) fn test(&self, flow: &Arc<Flow>, request: &Message) {
        let probes = &self.edge.probes;
        let seat = Arc::clone(&probes.seats).try_acquire_owned();
        let (Ok(seat), Some(this)) = (seat, self.me.upgrade()) else {
            return self.edge.turn_away(flow, request, From::Inside, &Refusal::Shed { what: "tests" });
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
                let Answer { status, mut headers, problem } =
                    told(self.edge.config.name.as_str(), From::Inside, &refusal);
                headers.push((Name::ReveilleStage.as_str(), write(&log.told)));
                // A home that has gone needs no answer.
                let _ = flow.send(message::refused_with(request, status, &headers, &problem, "edge"));
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
                remedy: error.is_passing().then(|| error.advice()),
            })?;
            Ok::<_, Refusal>(target)
        })
        .await;
        let took = begun.elapsed();
        Some(match found {
            Ok(Ok(target)) if target.eq_ignore_ascii_case(ours) => Told::passed(Stage::OwnName, took).at(target),
            Ok(Ok(target)) => Told::passed(Stage::OwnName, took).at(target).why("leads-elsewhere"),
            Ok(Err(refusal)) => Told::failed(Stage::OwnName, took).at(ours).why(why_unfound(&refusal)),
            Err(_) => Told::failed(Stage::OwnName, took).at(ours).why(NAME_SERVERS_FAIL),
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
        let watcher = Arc::new(Watcher { requests: Requests::new(), made: Mutex::default(), ended: Arc::default() });
        let stop = road.stop.child_token();
        let handler = Arc::new(Ear {
            requests: Arc::clone(&watcher.requests),
            inbound: road.inbound.clone(),
            ended: Arc::clone(&watcher.ended),
        });
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
