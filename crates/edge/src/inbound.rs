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
use crate::outbound::{WAITING_MAX, srv_targets};
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
    /// What waits for a look-up under way, by connection, domain and version of the settings.
    asking: Mutex<HashMap<(FlowId, SipDomain, u64), Vec<Message>>>,
    me: std::sync::Weak<Self>,
}

impl Inbound {
    pub(crate) fn new(edge: &Arc<Edge>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            edge: Arc::clone(edge),
            inside: OnceLock::new(),
            admitted: Mutex::default(),
            asking: Mutex::default(),
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
        if let Some(trust) = self.known(flow, &domain, settings.version()) {
            return self.pass(flow, message, &trust);
        }
        let names = |name: &SipDomain| flow.peer().is_some_and(|peer| peer.names(name.as_str()));
        match admit(&settings, &domain, &names) {
            Ok(Admission::Admitted(peer)) => {
                let trust = self.trust(flow, &peer);
                self.remember(flow, &peer, trust.clone(), settings.version(), None);
                self.pass(flow, message, &trust);
            }
            Ok(Admission::IfCarriedBy(carriage)) => self.ask_srv(flow, message, carriage, settings.version()),
            Err(refusal) => self.turn_away(flow, &message, &refusal),
        }
    }

    /// The trust header of an admission that still holds.
    fn known(&self, flow: &Flow, domain: &SipDomain, version: u64) -> Option<String> {
        let admitted = self.admitted.lock();
        let known = admitted.get(&flow.id())?.get(domain)?;
        let holds = known.version == version && known.until.is_none_or(|until| Instant::now() < until);
        holds.then(|| known.trust.clone())
    }

    /// Looks up whether the domain's SRV record leads to the provider that speaks for it. What comes meanwhile waits
    /// for the same look-up.
    fn ask_srv(&self, flow: &Arc<Flow>, message: Message, carriage: Carriage, version: u64) {
        let key = (flow.id(), carriage.domain().clone(), version);
        let mut asking = self.asking.lock();
        match asking.get_mut(&key) {
            Some(waiting) if waiting.len() < WAITING_MAX => return waiting.push(message),
            None if self.edge.lookups.len() < LOOKUPS_MAX => {
                // A look-up that has ended in this moment has left its answer.
                if let Some(trust) = self.known(flow, carriage.domain(), version) {
                    drop(asking);
                    return self.pass(flow, message, &trust);
                }
                asking.insert(key.clone(), vec![message]);
            }
            Some(_) | None => {
                drop(asking);
                return self.turn_away(flow, &message, &Refusal::Overloaded);
            }
        }
        drop(asking);
        let Some(this) = self.me.upgrade() else { return };
        let flow = Arc::clone(flow);
        self.edge.lookups.spawn(async move {
            let found = srv_targets(&*this.edge.resolver, carriage.domain()).await;
            let targets = found.map(|targets| targets.into_iter().map(|(target, _)| target).collect::<Vec<_>>());
            this.looked_up(&flow, key, targets.and_then(|targets| carried_by(carriage, &targets)));
        });
    }

    /// Lets whoever waits for a look-up go, in order, and then whoever comes.
    fn looked_up(&self, flow: &Arc<Flow>, key: (FlowId, SipDomain, u64), found: Result<AdmittedPeer, Refusal>) {
        let trust = found.as_ref().map(|peer| self.trust(flow, peer));
        loop {
            let mut asking = self.asking.lock();
            let waiting = asking.get_mut(&key).map(std::mem::take).unwrap_or_default();
            if waiting.is_empty() {
                asking.remove(&key);
                if let (Ok(peer), Ok(trust)) = (&found, trust) {
                    self.remember(flow, peer, trust, key.2, Some(Instant::now() + CARRIED_FOR));
                }
                return;
            }
            drop(asking);
            let holds = self.edge.settings.borrow().version() == key.2;
            for message in waiting {
                match &trust {
                    // The settings have changed meanwhile, and those that hold now decide.
                    _ if !holds => self.request(flow, message),
                    Ok(trust) => self.pass(flow, message, trust),
                    Err(refusal) => self.turn_away(flow, &message, refusal),
                }
            }
        }
    }

    /// The trust header for what this peer sends.
    fn trust(&self, flow: &Flow, peer: &AdmittedPeer) -> String {
        let remote = flow.peer().and_then(|cert| cert.identities().next().map(str::to_owned)).unwrap_or_default();
        let mut trust = String::new();
        peer.trust(&self.edge.config.name, &remote).write(&mut trust);
        trust
    }

    /// Keeps an admission for the next message.
    fn remember(&self, flow: &Flow, peer: &AdmittedPeer, trust: String, version: u64, until: Option<Instant>) {
        let mut admitted = self.admitted.lock();
        // A flow that has closed meanwhile is not remembered: nobody would forget it again.
        if !flow.is_closed() {
            let domains = admitted.entry(flow.id()).or_default();
            if domains.len() < DOMAINS_PER_FLOW {
                debug!(peer.domain = %peer.domain(), remote = %flow.remote(), source = peer.source().as_str(), "admitted");
                domains.insert(peer.domain().clone(), Admitted { trust, version, until });
            }
        }
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
