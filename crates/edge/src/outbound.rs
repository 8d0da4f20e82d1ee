//! From inside: where a message for another domain goes, by settings and SRV records, and whom to expect there.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_core::settings::Snapshot;
use reveille_federation::route::{Route, Way, by_srv, way};
use reveille_federation::{Refusal, message};
use reveille_sip::{Message, Method, Name};
use reveille_sip_net::{CloseReason, Flow, Handler, Pool, ResolveError, Resolver, Server, Target, Transport, in_order};

use crate::edge::Edge;
use crate::inbound::for_itself;
use crate::relay::{From, Onto, refuse};

/// Requests that wait for one domain's look-up.
pub(crate) const WAITING_MAX: usize = 1000;
/// How long a way is used before its names are looked up again, whatever their records say.
const ROUTE_FOR: Duration = Duration::from_secs(30);

/// What is known about the way to one domain.
enum Known {
    /// It is being looked up; these wait.
    Asking(Vec<(Arc<Flow>, Message)>),
    /// This way, made with these settings.
    Way { target: Arc<Target>, version: u64, until: Instant },
}

/// The inner side of the edge.
pub(crate) struct Outbound {
    edge: Arc<Edge>,
    outside: OnceLock<Pool>,
    ways: Mutex<HashMap<SipDomain, Known>>,
    me: Weak<Self>,
}

impl Outbound {
    pub(crate) fn new(edge: &Arc<Edge>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            edge: Arc::clone(edge),
            outside: OnceLock::new(),
            ways: Mutex::default(),
            me: me.clone(),
        })
    }

    /// Gives it the way outside. Once.
    pub(crate) fn open(&self, outside: Pool) {
        drop(self.outside.set(outside));
    }

    /// Takes one request: finds its way and passes it on, or refuses it.
    fn request(&self, flow: &Arc<Flow>, message: Message) {
        let domain = match message::destination(&message) {
            Ok(domain) => domain,
            Err(refusal) => return self.turn_away(flow, &message, &refusal),
        };
        let settings = Arc::clone(&self.edge.settings.borrow());
        let mut ways = self.ways.lock();
        match ways.get_mut(&domain) {
            Some(Known::Way { target, version, until })
                if *version == settings.version() && Instant::now() < *until =>
            {
                let target = Arc::clone(target);
                drop(ways);
                return self.pass(flow, message, &domain, &target);
            }
            Some(Known::Asking(waiting)) => {
                if waiting.len() < WAITING_MAX {
                    waiting.push((Arc::clone(flow), message));
                    return;
                }
                drop(ways);
                return self.turn_away(flow, &message, &Refusal::Overloaded);
            }
            _ => {}
        }
        let way = match way(&settings, &domain) {
            Ok(way) => way,
            Err(refusal) => {
                ways.remove(&domain);
                drop(ways);
                return self.turn_away(flow, &message, &refusal);
            }
        };
        ways.insert(domain.clone(), Known::Asking(vec![(Arc::clone(flow), message)]));
        drop(ways);
        let Some(this) = self.me.upgrade() else { return };
        // One look-up per domain at a time, and as many domains as are allowed: bounded.
        self.edge.lookups.spawn(async move { this.look_up(domain, way, &settings).await });
    }

    /// Finds the addresses of a way, and lets whoever waits for it go.
    async fn look_up(&self, domain: SipDomain, way: Way, settings: &Snapshot) {
        let found = find(&*self.edge.resolver, settings, &domain, way).await;
        let mut ways = self.ways.lock();
        let waiting = match ways.remove(&domain) {
            Some(Known::Asking(waiting)) => waiting,
            _ => Vec::new(),
        };
        if self.edge.settings.borrow().version() != settings.version() {
            drop(ways);
            // The settings have changed meanwhile, and those that hold now decide.
            return waiting.into_iter().for_each(|(flow, message)| self.request(&flow, message));
        }
        match found {
            Ok(target) => {
                let (target, until) = (Arc::new(target), Instant::now() + ROUTE_FOR);
                let known = Known::Way { target: Arc::clone(&target), version: settings.version(), until };
                ways.insert(domain.clone(), known);
                drop(ways);
                for (flow, message) in waiting {
                    self.pass(&flow, message, &domain, &target);
                }
            }
            Err(refusal) => {
                drop(ways);
                for (flow, message) in waiting {
                    self.turn_away(&flow, &message, &refusal);
                }
            }
        }
    }

    fn pass(&self, flow: &Arc<Flow>, message: Message, domain: &SipDomain, target: &Target) {
        let Some(outside) = self.outside.get() else { return };
        let copy = message.clone();
        let onto = Onto { destination: domain, pool: outside, target };
        if let Err(refusal) = self.edge.relay.forward(flow, From::Inside, message, onto, None) {
            self.turn_away(flow, &copy, &refusal);
        }
    }

    fn turn_away(&self, flow: &Flow, message: &Message, refusal: &Refusal) {
        self.edge.refusals.request(flow, refusal);
        refuse(flow, message, From::Inside, self.edge.config.name.as_str(), refusal);
    }
}

impl Handler for Outbound {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        let inside = &self.edge.config.inside;
        let behind = self.edge.config.domains.values().map(|served| &served.name);
        let ours =
            flow.peer().is_some_and(|peer| inside.iter().chain(behind).any(|name| peer.names(name.as_str())));
        for message in batch.drain(..) {
            match message.method() {
                None => self.edge.relay.on_response(flow, &message),
                Some(Method::Ack) => {}
                Some(_) if !ours => self.turn_away(flow, &message, &Refusal::ForgedTrust),
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
        self.edge.relay.flow_gone(flow.id());
    }

    fn refused(&self, remote: std::net::SocketAddr, refusal: &reveille_sip_net::HandshakeRefusal) {
        self.edge.refusals.handshake(remote, refusal);
    }
}

/// The next hop for a domain: a name to expect, and addresses in the order to try.
async fn find(resolver: &dyn Resolver, settings: &Snapshot, domain: &SipDomain, way: Way) -> Result<Target, Refusal> {
    let routes = match way {
        Way::Direct(route) => vec![route],
        Way::AskSrv => by_srv(settings, domain, &srv_targets(resolver, domain).await?)?,
    };
    // One next hop has one name; a record that mixes a provider with hosts of its own is used up to the change.
    let name = routes[0].must_name.clone();
    let mut servers = Vec::new();
    let mut why = String::new();
    for (priority, Route { host, port, .. }) in (0..).zip(routes.iter().take_while(|route| route.must_name == name)) {
        match resolver.addresses(host.as_str()).await {
            Ok(found) => {
                let addresses = found.list.into_iter().map(|ip| std::net::SocketAddr::new(ip, *port)).collect();
                servers.push(Server { priority, weight: 0, addresses });
            }
            Err(error) => why = error.to_string(),
        }
    }
    if servers.is_empty() {
        return Err(Refusal::PeerUnreachable { domain: domain.clone(), why });
    }
    Ok(Target::served_by(name.as_str(), servers, Transport::Tls))
}

/// The targets of a domain's federation SRV record, in the order to try.
pub(crate) async fn srv_targets(resolver: &dyn Resolver, domain: &SipDomain) -> Result<Vec<(SipDomain, u16)>, Refusal> {
    let not_found = |error: ResolveError| Refusal::SrvNotFound { domain: domain.clone(), why: error.to_string() };
    let records = resolver.srv(&format!("_sipfederationtls._tcp.{domain}")).await.map_err(not_found)?;
    let ordered = in_order(records, |below| if below == 0 { 0 } else { rand::random::<u32>() % below });
    // A target that is no host name (RFC 2782: "." is "no service here") is no way.
    Ok(ordered.into_iter().filter_map(|record| Some((record.target.parse().ok()?, record.port))).collect())
}
