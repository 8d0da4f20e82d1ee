//! One test's connection: what is said on it, and what it says of how it was made.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_core::stage::Stage;
use reveille_federation::probe::{Draft, OURSELVES, Told, read};
use reveille_federation::{Refusal, message};
use reveille_sip::{Forward, Limits, Message, Method, Name};
use reveille_sip_net::{
    CloseReason, ConnectError, Failures, Flow, Handler, HandshakeRefusal, PeerCertificate, Pool, RefusedBy,
    RequestError, Requests, Senders, Took,
};

use super::Log;
use crate::crossing::{From, Stamp};
use crate::now::Now;
use crate::outbound::{Found, Outbound};
use crate::refusals::unreachable;
use crate::relay::too_long;
use crate::said::stamped;

/// For the connection with the partner's first words on it: longer than an attempt of the pool may take.
const FIRST_WITHIN: Duration = Duration::from_secs(13);
/// Addresses of the partner that are told of beside the one that counted.
const ADDRESSES_TOLD: usize = 4;
/// For the answer to the request itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// One request over one connection.
pub(super) struct Trip<'a> {
    pub(super) edge: &'a Outbound,
    pub(super) found: &'a Found,
    pub(super) watcher: &'a Watcher,
    pub(super) pool: &'a Pool,
}

impl Trip<'_> {
    pub(super) async fn go(
        &self,
        request: &Message,
        source: SocketAddr,
        now: &Now,
        log: &mut Log,
    ) -> Result<Message, Refusal> {
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
        let made = self.watcher.made.lock().take();
        let failed = match &asked {
            Err(Failed::Request(RequestError::Connect(error))) => error.address(),
            _ => None,
        };
        self.other_addresses([failed, made.as_ref().map(|made| made.remote)], log);
        if let Some(made) = made {
            log.told.push(Told::passed(Stage::Connect, made.took.connect).at(made.remote.to_string()));
            log.told.push(Told::passed(Stage::TheirCertificate, made.took.handshake).at(made.names));
            log.since = made.at;
        }
        match asked {
            Ok(response) => {
                log.pass(Stage::OurCertificate, self.known_as(&response).as_deref());
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

    /// The name of ours by which the partner says that it reaches us, whatever the world's name servers know.
    fn known_as(&self, response: &Message) -> Option<String> {
        let told = read(response.values(Name::ReveilleStage));
        let own = told.into_iter().find(|told| told.stage == Stage::OwnName && told.passed)?.name?;
        own.eq_ignore_ascii_case(self.edge.edge.config.name.as_str()).then_some(own)
    }

    fn found_connected(&self, log: &Log) -> bool {
        log.told.iter().any(|told| told.stage == Stage::TheirCertificate && told.passed)
    }

    /// The addresses that failed beside those that the outcome is about, told as failures that another stage follows.
    fn other_addresses(&self, about: [Option<SocketAddr>; 2], log: &mut Log) {
        let state = self.pool.state(&self.found.target);
        let addresses = state.into_iter().flat_map(|state| state.addresses);
        let failed = addresses.filter(|one| !about.contains(&Some(one.address))).filter_map(|one| {
            let Failures { why, .. } = one.failures?;
            Some(Told::failed(of_connect(&why), Duration::ZERO).at(one.address.to_string()).why(why.label()))
        });
        log.told.extend(failed.take(ADDRESSES_TOLD));
    }

    /// The connection was made and has ended, without an answer: whether by the peer, or by us over what it says.
    fn closed_on_us(&self, domain: SipDomain) -> (Stage, &'static str, Refusal) {
        let (why, ended) = match self.watcher.ended.lock().take() {
            Some(reason @ CloseReason::Framing(_)) => ("not-sip", format!("what answers there is not SIP: {reason}")),
            Some(reason) => ("closed", format!("the connection was made and then lost: {reason}")),
            None => ("closed", "the connection was made and then lost".to_owned()),
        };
        let why_not = format!("{}: {ended}", self.found.target.name());
        (Stage::Sip, why, Refusal::PeerUnreachable { domain, why: why_not })
    }

    /// Whether what was shown to us is our own certificate: the partner's address leads back to this edge.
    fn is_ourselves(&self, error: &ConnectError) -> bool {
        let ConnectError::Tls { refusal, .. } = error else { return false };
        let ours = self.edge.edge.probes.road.get().and_then(|road| road.tls.certificate());
        let of = |certificate: &Arc<PeerCertificate>| certificate.sha256_fingerprint.clone();
        refusal.refused_by() == RefusedBy::Us && refusal.certificate().map(of) == ours.as_ref().map(of)
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
        let shown = first_name(&failed);
        let (stage, why, refusal) = match failed {
            Failed::Unwritable(fault) => (Stage::Sip, "unwritable", Refusal::BadBody(fault)),
            Failed::Request(RequestError::Connect(ConnectError::Closed { .. })) if connected => {
                self.closed_on_us(domain())
            }
            Failed::Request(RequestError::Connect(error)) => {
                let stage = of_connect(&error);
                let why = if self.is_ourselves(&error) { OURSELVES } else { error.label() };
                (stage, why, unreachable(domain(), &error, From::Inside, None))
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
        if let Some(told) = log.told.last_mut() {
            told.shown = shown;
        }
        refusal
    }
}

/// Why a request of a test has no answer.
enum Failed {
    Unwritable(String),
    Request(RequestError),
}

/// The first name of a certificate that names another than it must.
fn first_name(failed: &Failed) -> Option<String> {
    let Failed::Request(RequestError::Connect(ConnectError::Tls { refusal, .. })) = failed else { return None };
    let HandshakeRefusal::NamesAnother { offered, .. } = &**refusal else { return None };
    offered.first().cloned()
}

/// Where a connection that was not made failed.
fn of_connect(error: &ConnectError) -> Stage {
    match error {
        ConnectError::Tls { refusal, .. } => of_handshake(refusal),
        _ => Stage::Connect,
    }
}

/// Whose certificate a handshake failed over. One that ends without a word never came to ours.
fn of_handshake(refusal: &HandshakeRefusal) -> Stage {
    match refusal.refused_by() {
        RefusedBy::Peer => Stage::OurCertificate,
        RefusedBy::Us | RefusedBy::Nobody => Stage::TheirCertificate,
    }
}

/// What is known of the connection, once it is made.
pub(super) struct Made {
    remote: SocketAddr,
    names: String,
    took: Took,
    at: Instant,
}

/// Waits for answers, and notes when the connection was made.
pub(super) struct Watcher {
    pub(super) requests: Arc<Requests>,
    pub(super) made: Mutex<Option<Made>>,
    pub(super) ended: Ended,
}

/// Why the connection of a test has ended, once it has.
pub(super) type Ended = Arc<Mutex<Option<CloseReason>>>;

impl Senders for Watcher {
    fn failed(&self, token: u64, error: &ConnectError) {
        self.requests.failed(token, error);
    }

    fn sent(&self, token: u64, flow: &Arc<Flow>) {
        self.requests.sent(token, flow);
    }

    fn connected(&self, flow: &Arc<Flow>, took: Took) {
        let names = flow.peer().and_then(|peer| peer.identities().next().map(str::to_owned));
        let (remote, names) = (flow.remote(), names.unwrap_or_default());
        *self.made.lock() = Some(Made { remote, names, took, at: Instant::now() });
    }
}

/// Hears what comes on the connection.
pub(super) struct Ear {
    pub(super) requests: Arc<Requests>,
    pub(super) inbound: Weak<dyn Handler>,
    pub(super) ended: Ended,
}

impl Handler for Ear {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        let (answers, mut others): (Vec<_>, Vec<_>) = batch.drain(..).partition(|one| one.method().is_none());
        answers.into_iter().for_each(|answer| self.requests.on_response(answer));
        if let Some(inbound) = self.inbound.upgrade().filter(|_| !others.is_empty()) {
            inbound.messages(flow, &mut others);
        }
    }

    fn closed(&self, flow: &Arc<Flow>, why: &CloseReason) {
        // Before the answers that will not come are given up: whoever waits for them asks why.
        *self.ended.lock() = Some(why.clone());
        self.requests.flow_gone(flow.id());
        if let Some(inbound) = self.inbound.upgrade() {
            inbound.closed(flow, why);
        }
    }
}
