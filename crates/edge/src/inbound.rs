//! From outside: which domain a message speaks for, whether its peer has proven that, and the server behind.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_core::stage::Stage;
use reveille_federation::policy::{Admission, Carriage, Standing, admit, carried_by};
use reveille_federation::probe::{Told, write};
use reveille_federation::trust::SourceType;
use reveille_federation::{Refusal, message};
use reveille_sip::{Message, Method, Name};
use reveille_sip_net::{CloseReason, Flow, FlowId, Handler, HandshakeRefusal, Pool, Side, Target};
use tracing::debug;

use crate::asking::Asking;
use crate::calls::{ALLOW, Calls, is_within_dialog};
use crate::crossing::{Crossing, From, Proven, Stamp, StampBack};
use crate::edge::Edge;
use crate::led::srv_records;
use crate::limits::Class;
use crate::now::Now;
use crate::outbound::{Leaving, Outbound, look_ups_of_one, no_room_to_look_up};
use crate::seats::{Charge, Seats, household};

/// How long an admission that rests on an SRV record holds.
const CARRIED_FOR: Duration = Duration::from_secs(60);
/// Domains that one connection may speak for at once (a hosting provider's customers).
const DOMAINS_PER_FLOW: usize = 1000;

/// Up to so many they are looked through one by one.
pub(crate) const DOMAINS_COMPARED: usize = 8;

/// An admission that still holds.
struct Admitted {
    proven: Arc<Proven>,
    /// The settings that it was made with.
    version: u64,
    until: Option<Instant>,
}

/// Where an admitted request goes.
enum Goes<'a> {
    /// To the server behind.
    In(&'a Behind),
    /// Out again, to this domain.
    Out(SipDomain),
}

/// A domain of ours, and the server behind that serves it as a next hop.
struct Behind {
    domain: SipDomain,
    target: Target,
}

/// The outer side of the edge.
pub(crate) struct Inbound {
    edge: Arc<Edge>,
    /// By the text of the domain, as most write it.
    behind: HashMap<Box<str>, Behind>,
    inside: OnceLock<Pool>,
    outbound: OnceLock<Arc<Outbound>>,
    seats: Seats,
    admitted: Mutex<HashMap<FlowId, HashMap<SipDomain, Admitted>>>,
    /// What waits for a look-up under way, by connection, domain and version of the settings.
    asking: Mutex<Asking<(FlowId, SipDomain, u64)>>,
    /// Keyed, so that nobody can write to many addresses that count as one.
    contacts: RandomState,
    me: std::sync::Weak<Self>,
}

impl Inbound {
    pub(crate) fn new(edge: &Arc<Edge>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            edge: Arc::clone(edge),
            behind: behind(edge),
            inside: OnceLock::new(),
            outbound: OnceLock::new(),
            seats: Seats::new(edge.config.limits.connections_per_partner, edge.config.limits.messages_per_s),
            admitted: Mutex::default(),
            asking: Mutex::new(Asking::new()),
            contacts: RandomState::new(),
            me: me.clone(),
        })
    }

    /// Gives it the way inside, and the other side for what goes out again. Once.
    pub(crate) fn open(&self, inside: Pool, outbound: Arc<Outbound>) {
        drop(self.inside.set(inside));
        drop(self.outbound.set(outbound));
    }

    /// Takes one request: admits its peer and passes it on, or refuses it.
    fn request(&self, flow: &Arc<Flow>, message: &Message, now: &Now) {
        // Calls under way may still end.
        if self.edge.is_draining() && !is_within_dialog(message) {
            return self.turn_away(flow, message, &Refusal::Stopping);
        }
        // From of a callee is what its caller has once called: the dialog knows better.
        let within = is_within_dialog(message).then(|| self.edge.calls.sender(From::Outside, message).ok()).flatten();
        let host = within.as_ref().map(SipDomain::as_str).or_else(|| message::from_host(message));
        if let Some(proven) = host.and_then(|host| self.known(flow, host, now.version())) {
            return self.pass(flow, message, &proven, now);
        }
        let domain = match within.map_or_else(|| message::from_domain(message), Ok) {
            Ok(domain) => domain,
            Err(refusal) => return self.turn_away(flow, message, &refusal),
        };
        let names = |name: &SipDomain| flow.peer().is_some_and(|peer| peer.names(name.as_str()));
        let ours = |name: &SipDomain| self.edge.config.domains.contains_key(name);
        match admit(&now.settings, &ours, &domain, &names) {
            Ok(Admission::Admitted(standing)) => match self.remember(flow, standing, now.version(), None) {
                Ok(proven) => self.pass(flow, message, &proven, now),
                Err(refusal) => self.show_out(flow, message, &refusal),
            },
            Ok(Admission::IfCarriedBy(carriage)) => match self.still_carried(flow, &carriage) {
                Some((standing, until)) => match self.remember(flow, standing, now.version(), Some(until)) {
                    Ok(proven) => self.pass(flow, message, &proven, now),
                    Err(refusal) => self.show_out(flow, message, &refusal),
                },
                None => self.ask_srv(flow, message, carriage, now),
            },
            Err(refusal) => self.turn_away(flow, message, &refusal),
        }
    }

    /// An admission that still holds.
    fn known(&self, flow: &Flow, host: &str, version: u64) -> Option<Arc<Proven>> {
        let admitted = self.admitted.lock();
        let domains = admitted.get(&flow.id())?;
        let known = if domains.len() <= DOMAINS_COMPARED {
            // Most connections speak for one domain: to compare costs less than to make a name of the text.
            domains.iter().find(|(domain, _)| domain.as_str().eq_ignore_ascii_case(host))?.1
        } else {
            domains.get(&host.parse::<SipDomain>().ok()?)?
        };
        let holds = known.version == version && known.until.is_none_or(|until| Instant::now() < until);
        holds.then(|| Arc::clone(&known.proven))
    }

    /// What the record of a domain has said before other settings came. It still says so.
    fn still_carried(&self, flow: &Flow, carriage: &Carriage) -> Option<(Standing, Instant)> {
        let admitted = self.admitted.lock();
        let known = admitted.get(&flow.id())?.get(carriage.domain())?;
        let until = known.until.filter(|until| Instant::now() < *until)?;
        let led_to = known.proven.standing.remote().clone();
        Some((carried_by(carriage.clone(), &[led_to]).ok()?, until))
    }

    /// Looks up whether the domain's SRV record leads to the provider that speaks for it. What comes meanwhile waits
    /// for the same look-up.
    fn ask_srv(&self, flow: &Arc<Flow>, message: &Message, carriage: Carriage, now: &Now) {
        let version = now.version();
        let key = (flow.id(), carriage.domain().clone(), version);
        let mut asking = self.asking.lock();
        let is_under_way = asking.is_under_way(&key);
        // A look-up that has ended in this moment has left its answer.
        if !is_under_way && let Some(proven) = self.known(flow, carriage.domain().as_str(), version) {
            drop(asking);
            return self.pass(flow, message, &proven, now);
        }
        // What is not listed is looked up for anybody who asks, and so leaves room for what is.
        let most = look_ups_of_one(now.settings.allowed_domain(carriage.domain()).is_some());
        let waits = asking.wait(&key, &household(flow), most, message.clone());
        drop(asking);
        match waits {
            Ok(()) if is_under_way => return,
            Ok(()) => {}
            Err(message) => {
                return self.turn_away(flow, &message, &no_room_to_look_up(carriage.domain().clone()));
            }
        }
        let Some(this) = self.me.upgrade() else { return };
        let flow = Arc::clone(flow);
        self.edge.lookups.spawn(async move {
            let found = srv_records(&*this.edge.resolver, carriage.domain()).await;
            let standing = found.and_then(|records| {
                let targets: Vec<SipDomain> =
                    records.into_iter().filter_map(|record| record.target.parse().ok()).collect();
                carried_by(carriage, &targets)
            });
            this.looked_up(&flow, key, standing);
        });
    }

    /// Lets whoever waits for a look-up go, in order, and then whoever comes.
    fn looked_up(&self, flow: &Arc<Flow>, key: (FlowId, SipDomain, u64), found: Result<Standing, Refusal>) {
        let until = Some(Instant::now() + CARRIED_FOR);
        let now = self.edge.now();
        let holds = now.version() == key.2;
        // While the key stands, what comes waits behind what came before.
        let found = match found {
            Ok(standing) if holds => self.proven(flow, standing),
            Ok(_) => Err(Refusal::Overloaded),
            Err(refusal) => Err(refusal),
        };
        loop {
            let mut asking = self.asking.lock();
            let waiting = asking.take(&key);
            if waiting.is_empty() {
                if let Ok(proven) = found.as_ref()
                    && let Err(refusal) = self.keep(flow, proven, key.2, until)
                {
                    debug!(%refusal, "not remembered");
                }
                return;
            }
            drop(asking);
            for message in waiting {
                match &found {
                    // The settings have changed meanwhile, and those that hold now decide.
                    _ if !holds => self.request(flow, &message, &now),
                    Ok(proven) => self.pass(flow, &message, proven, &now),
                    Err(refusal) => self.turn_away(flow, &message, refusal),
                }
            }
        }
    }

    fn proven(&self, flow: &Flow, standing: Standing) -> Result<Arc<Proven>, Refusal> {
        let partner = self.edge.partners.of(&standing, Some(&household(flow)))?;
        Ok(Proven::new(standing, partner, &self.edge.config.name))
    }

    /// Keeps an admission for the next message.
    fn remember(
        &self,
        flow: &Flow,
        standing: Standing,
        version: u64,
        until: Option<Instant>,
    ) -> Result<Arc<Proven>, Refusal> {
        let proven = self.proven(flow, standing)?;
        self.keep(flow, &proven, version, until)?;
        Ok(proven)
    }

    fn keep(&self, flow: &Flow, proven: &Arc<Proven>, version: u64, until: Option<Instant>) -> Result<(), Refusal> {
        let mut admitted = self.admitted.lock();
        // A flow that has closed meanwhile is not remembered: nobody would forget it again.
        if flow.is_closed() {
            return Ok(());
        }
        let domains = admitted.entry(flow.id()).or_default();
        let full = domains.len() >= DOMAINS_PER_FLOW;
        let now = Admitted { proven: Arc::clone(proven), version, until };
        match domains.entry(proven.standing.domain().clone()) {
            Entry::Occupied(mut before) => {
                // It may be another partner now: the same domain, proven by another name.
                before.get().proven.partner.disconnected();
                if let Err(refusal) = proven.partner.connected(flow.peer()) {
                    before.remove();
                    return Err(refusal);
                }
                before.insert(now);
            }
            Entry::Vacant(_) if full => {}
            Entry::Vacant(place) => {
                proven.partner.connected(flow.peer())?;
                let source = proven.standing.source().as_str();
                debug!(peer.domain = %proven.standing.domain(), remote = %flow.remote(), source, "admitted");
                place.insert(now);
                if proven.standing.is_listed() {
                    self.seats.is_listed(flow);
                }
            }
        }
        Ok(())
    }

    /// Passes an admitted request on, if its partner's limits leave room.
    fn pass(&self, flow: &Arc<Flow>, message: &Message, proven: &Arc<Proven>, now: &Now) {
        let contact = || self.contacts.hash_one(message.request_uri().and_then(|uri| uri.split([';', '?']).next()));
        let bytes = message.as_bytes().len();
        let received = proven.partner.receive(Class::of(message), bytes, contact, now.allowance);
        let passage = match received {
            Ok(passage) => passage,
            Err(refusal) => {
                proven.partner.refused(&refusal);
                return self.turn_away(flow, message, &refusal);
            }
        };
        let (goes, verified) = match self.goes(message, proven, now) {
            Ok(goes) => goes,
            Err(refusal) => {
                passage.refused(&refusal);
                return self.turn_away(flow, message, &refusal);
            }
        };
        match goes {
            Goes::Out(destination) => {
                let Some(outbound) = self.outbound.get() else { return };
                outbound.leave(flow, message, &destination, Leaving::Through { passage, verified }, now);
            }
            Goes::In(behind) => {
                let Some(inside) = self.inside.get() else { return };
                let vouch = now.access.mark_source_verifiable_on_outgoing_messages;
                let crossing = Crossing {
                    back: flow,
                    from: From::Outside,
                    destination: &behind.domain,
                    pool: inside,
                    target: &behind.target,
                    stamp: Stamp::Trust(Arc::clone(proven.trust(verified))),
                    stamp_back: StampBack::Assertion(vouch),
                    passage,
                };
                if let Err(refusal) = self.edge.carry(message, crossing) {
                    self.turn_away(flow, message, &refusal);
                }
            }
        }
    }

    /// Where a request goes, and whether its sender counts as verified.
    fn goes(&self, message: &Message, proven: &Proven, now: &Now) -> Result<(Goes<'_>, bool), Refusal> {
        federated(message)?;
        let verified = proven.standing.admit(message::asserted(message))?.verified();
        if !Calls::is_routed(message)
            && let Some(behind) = message::destination_host(message).and_then(|host| self.behind.get(host))
        {
            return Ok((Goes::In(behind), verified));
        }
        let destination = self.edge.calls.destination(From::Outside, message)?;
        if let Some(behind) = self.behind.get(destination.as_str()) {
            return Ok((Goes::In(behind), verified));
        }
        // lync.md §1.4: a clearing house takes any destination from its direct partners, and from nobody else.
        if now.access.be_clearing_house && proven.standing.source() == SourceType::DirectPartner {
            return Ok((Goes::Out(destination), verified));
        }
        Err(Refusal::UnknownDestination { domain: destination })
    }

    /// Whether an OPTIONS is answered here: one for this edge, or one that may go no further (RFC 3261 §16.3 step 3).
    fn ends_options(&self, message: &Message) -> bool {
        let ends = for_itself(message, &self.edge.config.name) || message.max_forwards() == Some(0);
        ends && !self.edge.is_draining()
    }

    fn turn_away(&self, flow: &Flow, message: &Message, refusal: &Refusal) {
        self.edge.turn_away(flow, message, From::Outside, refusal);
        self.ends_here(flow);
    }

    /// Something that a peer has sent goes no further than this edge. To say no costs us as much as to pass it on: who
    /// wants that too often is read more slowly for it, and nobody else is.
    fn ends_here(&self, flow: &Flow) {
        match self.seats.charge(flow, Instant::now()) {
            Charge::Wait(wait) if wait.is_zero() => {}
            Charge::Wait(wait) => flow.hold_back(wait),
            Charge::TooMuch if flow.side() == Side::Accepted => {
                flow.close(CloseReason::Asked {
                    why: "nobody has listed its peer, which has sent too much for too long",
                });
            }
            // A connection of our own serves our own requests as well.
            Charge::TooMuch => flow.hold_back(Duration::MAX),
        }
    }

    /// Turns a peer away that may not have this connection.
    fn show_out(&self, flow: &Flow, message: &Message, refusal: &Refusal) {
        self.turn_away(flow, message, refusal);
        if matches!(refusal, Refusal::PartnerBusy { .. }) {
            flow.close(CloseReason::Asked { why: "the partner has as many connections as it may" });
        }
    }
}

fn behind(edge: &Edge) -> HashMap<Box<str>, Behind> {
    let domains = edge.config.domains.iter();
    domains
        .map(|(domain, served)| (domain.as_str().into(), Behind { domain: domain.clone(), target: served.target() }))
        .collect()
}

/// Whether partners may ask this of each other at all. Registrations and publications are for one's own server.
fn federated(message: &Message) -> Result<(), Refusal> {
    match message.method() {
        Some(method @ (Method::Register | Method::Publish)) => {
            Err(Refusal::MethodNotFederated { method: method.as_str().into() })
        }
        _ => Ok(()),
    }
}

impl Handler for Inbound {
    fn opened(&self, flow: &Arc<Flow>) {
        // Those that we have opened are bounded by the pool.
        if flow.side() == Side::Accepted && !self.seats.sit(flow) {
            let named = flow.peer().and_then(|peer| peer.identities().next()?.parse().ok());
            if let Some(domain) = named {
                let what = format!("{} connections to this edge are open", self.seats.most());
                self.edge.refusals.request(flow, &Refusal::PartnerBusy { domain, what });
            }
            flow.close(CloseReason::Asked { why: "the peer has as many connections as it may" });
        }
        self.edge.calls.flow_opened(flow);
    }

    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        let now = self.edge.now();
        // Not taken out: a message is large enough for that to be felt.
        for message in &*batch {
            match message.method() {
                None => self.edge.answered(flow, message),
                Some(_) if Calls::carries(message) => {
                    match self.edge.calls.arrived(From::Outside, flow, message.clone()) {
                        Some(message) => self.request(flow, &message, &now),
                        // A repetition, a CANCEL, an ACK of our own refusal, something that must not be forwarded.
                        None => self.ends_here(flow),
                    }
                }
                // A partner's way to see whether we live; it needs no more proof than its certificate.
                Some(Method::Options) if self.ends_options(message) => {
                    let known = written_down(flow, message, &now);
                    let bytes = message::respond(message, 200, "edge", |response| {
                        response.header(Name::Allow, ALLOW);
                        if let Some(known) = &known {
                            response.header(Name::ReveilleStage, known.as_str());
                        }
                    });
                    let _ = flow.send(bytes);
                    self.ends_here(flow);
                }
                Some(_) => self.request(flow, message, &now),
            }
        }
    }

    fn closed(&self, flow: &Arc<Flow>, _why: &CloseReason) {
        if flow.side() == Side::Accepted {
            self.seats.leave(flow);
        }
        let domains = self.admitted.lock().remove(&flow.id());
        for known in domains.into_iter().flat_map(HashMap::into_values) {
            known.proven.partner.disconnected();
        }
        self.edge.calls.flow_gone(flow);
        self.edge.relay.flow_gone(flow);
    }

    fn refused(&self, remote: SocketAddr, refusal: &HandshakeRefusal) {
        self.edge.refusals.handshake(remote, refusal);
    }
}

/// The server by which we reach the organisation that this comes from (ProxyFqdn), if it is that very server that asks:
/// nobody else learns what we have written down about others. As the stage of a test that it is about.
fn written_down(flow: &Flow, message: &Message, now: &Now) -> Option<String> {
    let from = message::from_domain(message).ok()?;
    let server = now.settings.allowed_domain(&from)?.proxy_fqdn.as_ref()?;
    let told = || write(&[Told::passed(Stage::OwnName, Duration::ZERO).at(server.as_str())]);
    flow.peer().is_some_and(|peer| peer.names(server.as_str())).then(told)
}

/// Whether a request is for the edge and not for a domain behind it.
pub(crate) fn for_itself(message: &Message, name: &SipDomain) -> bool {
    message::destination(message).is_ok_and(|destination| destination == *name)
}
