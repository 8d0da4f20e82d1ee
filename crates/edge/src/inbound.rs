//! From outside: which domain a message speaks for, whether its peer has proven that, and the server behind.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_federation::policy::{Admission, Carriage, admit, carried_by};
use reveille_federation::{AdmittedPeer, Refusal, message};
use reveille_sip::{Message, Method, Name};
use reveille_sip_net::{CloseReason, Flow, FlowId, Handler, HandshakeRefusal, Pool};
use tracing::debug;

use crate::edge::Edge;
use crate::outbound::srv_targets;
use crate::relay::{From, Onto, refuse};

/// How long an admission that rests on an SRV record holds.
const CARRIED_FOR: Duration = Duration::from_secs(60);
/// Domains that one connection may speak for at once (a hosting provider's customers).
const DOMAINS_PER_FLOW: usize = 1000;
/// Look-ups under way at once, both sides together.
const LOOKUPS_MAX: usize = 256;

/// An admission that still holds.
struct Admitted {
    /// The trust header, written once.
    trust: String,
    /// The settings that it was made with.
    version: u64,
    until: Option<Instant>,
}

/// The outer side of the edge.
pub(crate) struct Inbound {
    edge: Arc<Edge>,
    inside: OnceLock<Pool>,
    admitted: Mutex<HashMap<FlowId, HashMap<SipDomain, Admitted>>>,
    me: std::sync::Weak<Self>,
}

impl Inbound {
    pub(crate) fn new(edge: &Arc<Edge>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            edge: Arc::clone(edge),
            inside: OnceLock::new(),
            admitted: Mutex::default(),
            me: me.clone(),
        })
    }

    /// Gives it the way inside. Once.
    pub(crate) fn open(&self, inside: Pool) {
        drop(self.inside.set(inside));
    }

    /// Takes one request: admits its peer and passes it on, or refuses it.
    fn request(&self, flow: &Arc<Flow>, message: Message) {
        let domain = match message::from_domain(&message) {
            Ok(domain) => domain,
            Err(refusal) => return self.turn_away(flow, &message, &refusal),
        };
        let settings = Arc::clone(&self.edge.settings.borrow());
        let known = self.admitted.lock().get(&flow.id()).and_then(|domains| domains.get(&domain)).and_then(|known| {
            let holds = known.version == settings.version() && known.until.is_none_or(|until| Instant::now() < until);
            holds.then(|| known.trust.clone())
        });
        if let Some(trust) = known {
            return self.pass(flow, message, &trust);
        }
        let names = |name: &SipDomain| flow.peer().is_some_and(|peer| peer.names(name.as_str(), false));
        match admit(&settings, &domain, &names) {
            Ok(Admission::Admitted(peer)) => {
                let trust = self.remember(flow, &peer, settings.version(), None);
                self.pass(flow, message, &trust);
            }
            Ok(Admission::IfCarriedBy(carriage)) => self.ask_srv(flow, message, carriage, settings.version()),
            Err(refusal) => self.turn_away(flow, &message, &refusal),
        }
    }

    /// Looks up whether the domain's SRV record leads to the provider that speaks for it.
    fn ask_srv(&self, flow: &Arc<Flow>, message: Message, carriage: Carriage, version: u64) {
        if self.edge.lookups.len() >= LOOKUPS_MAX {
            return self.turn_away(flow, &message, &Refusal::Overloaded);
        }
        let Some(this) = self.me.upgrade() else { return };
        let flow = Arc::clone(flow);
        self.edge.lookups.spawn(async move {
            let found = srv_targets(&*this.edge.resolver, carriage.domain()).await;
            let targets = found.map(|targets| targets.into_iter().map(|(target, _)| target).collect::<Vec<_>>());
            match targets.and_then(|targets| carried_by(carriage, &targets)) {
                Ok(peer) => {
                    let trust = this.remember(&flow, &peer, version, Some(Instant::now() + CARRIED_FOR));
                    this.pass(&flow, message, &trust);
                }
                Err(refusal) => this.turn_away(&flow, &message, &refusal),
            }
        });
    }

    /// Keeps an admission for the next message, and answers its trust header.
    fn remember(&self, flow: &Flow, peer: &AdmittedPeer, version: u64, until: Option<Instant>) -> String {
        let remote = flow.peer().and_then(|cert| cert.identities(false).next().map(str::to_owned)).unwrap_or_default();
        let mut trust = String::new();
        peer.trust(&self.edge.config.name, &remote).write(&mut trust);
        let mut admitted = self.admitted.lock();
        // A flow that has closed meanwhile is not remembered: nobody would forget it again.
        if !flow.is_closed() {
            let domains = admitted.entry(flow.id()).or_default();
            if domains.len() < DOMAINS_PER_FLOW {
                debug!(peer.domain = %peer.domain(), remote = %flow.remote(), source = peer.source().as_str(), "admitted");
                domains.insert(peer.domain().clone(), Admitted { trust: trust.clone(), version, until });
            }
        }
        trust
    }

    /// Passes an admitted request to the server behind.
    fn pass(&self, flow: &Arc<Flow>, message: Message, trust: &str) {
        let destination = match message::destination(&message) {
            Ok(destination) => destination,
            Err(refusal) => return self.turn_away(flow, &message, &refusal),
        };
        let Some(served) = self.edge.config.domains.get(&destination) else {
            return self.turn_away(flow, &message, &Refusal::UnknownDestination { domain: destination });
        };
        let Some(inside) = self.inside.get() else { return };
        let copy = message.clone();
        let onto = Onto { destination: &destination, pool: inside, target: &served.target() };
        if let Err(refusal) = self.edge.relay.forward(flow, From::Outside, message, onto, Some(trust)) {
            self.turn_away(flow, &copy, &refusal);
        }
    }

    fn turn_away(&self, flow: &Flow, message: &Message, refusal: &Refusal) {
        self.edge.refusals.request(flow, refusal);
        refuse(flow, message, From::Outside, self.edge.config.name.as_str(), refusal);
    }
}

impl Handler for Inbound {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for message in batch.drain(..) {
            match message.method() {
                None => self.edge.relay.on_response(flow, &message),
                Some(Method::Ack) => {}
                // A partner's way to see whether we live; it needs no more proof than its certificate.
                Some(Method::Options) if for_itself(&message, &self.edge.config.name) => {
                    let bytes = message::respond(&message, 200, "edge", |response| {
                        response.header(Name::Allow, "MESSAGE, OPTIONS");
                    });
                    let _ = flow.send(bytes);
                }
                Some(_) => self.request(flow, message),
            }
        }
    }

    fn closed(&self, flow: &Arc<Flow>, _why: &CloseReason) {
        self.admitted.lock().remove(&flow.id());
        self.edge.relay.flow_gone(flow.id());
    }

    fn refused(&self, remote: SocketAddr, refusal: &HandshakeRefusal) {
        self.edge.refusals.handshake(remote, refusal);
    }
}

/// Whether a request is for the edge and not for a domain behind it.
pub(crate) fn for_itself(message: &Message, name: &SipDomain) -> bool {
    message::destination(message).is_ok_and(|destination| destination == *name)
}
