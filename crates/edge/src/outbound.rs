//! From inside: where a message for another domain goes, by settings and SRV records, and whom to expect there.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use reveille_core::SipDomain;
use reveille_core::settings::Snapshot;
use reveille_federation::policy::Standing;
use reveille_federation::route::{Way, way};
use reveille_federation::{Refusal, message};
use reveille_sip::{Limits, Message, Method, Name};
use reveille_sip_net::{CloseReason, Flow, Handler, HandshakeRefusal, HopState, Pool, Target};

use crate::av::asks_for_relay;
use crate::calls::{ALLOW, Calls, is_within_dialog};
use crate::crossing::{Crossing, From, Proven, Stamp, StampBack};
use crate::edge::{Edge, LOOKUPS_MAX, Served};
use crate::inbound::{DOMAINS_COMPARED, for_itself};
use crate::led::{Led, find, led};
use crate::limits::Class;
use crate::now::Now;
use crate::partners::Passage;
use crate::probe::asks_for_test;
use crate::relay::too_long;
use crate::ways::{Bounds, Next, Waits, Ways};

/// What is known of the way to one domain.
pub(crate) struct Found {
    pub(crate) domain: SipDomain,
    pub(crate) target: Target,
    pub(crate) proven: Arc<Proven>,
    led: Led,
}

/// Who wants to leave.
pub(crate) enum Leaving {
    /// One of our own, with its own word whether its user is verified.
    Ours { asserted: Option<bool> },
    /// A partner's request that goes on to another: it holds places already.
    Through { passage: Passage, verified: bool },
}

/// A request that waits for its way.
struct Waiting {
    flow: Arc<Flow>,
    message: Message,
    leaving: Leaving,
}

impl Waits for Waiting {
    fn bytes(&self) -> usize {
        self.message.bytes()
    }

    fn asker(&self) -> &str {
        match &self.leaving {
            Leaving::Ours { .. } => "",
            Leaving::Through { passage, .. } => passage.of_whom().as_str(),
        }
    }

    fn kept(self) -> Self {
        Self { message: self.message.kept(), ..self }
    }
}

impl Leaving {
    const fn from(&self) -> From {
        match self {
            Self::Ours { .. } => From::Inside,
            Self::Through { .. } => From::Outside,
        }
    }
}

/// The inner side of the edge.
pub(crate) struct Outbound {
    pub(crate) edge: Arc<Edge>,
    pub(crate) outside: OnceLock<Pool>,
    inside: OnceLock<Pool>,
    ways: Ways<Found, Waiting>,
    /// The same for what partners send through us. Theirs are apart: whatever names they make up, our own find their way.
    through: Ways<Found, Waiting>,
    pub(crate) me: Weak<Self>,
}

impl Outbound {
    pub(crate) fn new(edge: &Arc<Edge>) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            edge: Arc::clone(edge),
            outside: OnceLock::new(),
            inside: OnceLock::new(),
            ways: Ways::new(),
            through: Ways::new(),
            me: me.clone(),
        })
    }

    /// Gives it the way outside, and the way back inside for domains of ours. Once.
    pub(crate) fn open(&self, outside: Pool, inside: Pool) {
        drop(self.outside.set(outside));
        drop(self.inside.set(inside));
    }

    /// Forgets ways whose time is over.
    pub(crate) fn sweep(&self) {
        self.ways.sweep(Instant::now());
        self.through.sweep(Instant::now());
    }

    /// What is known about a next hop.
    pub(crate) fn hop(&self, target: &Target) -> Option<HopState> {
        self.outside.get()?.state(target)
    }

    /// How many ways are known.
    pub(crate) fn ways(&self) -> usize {
        self.ways.len() + self.through.len()
    }

    /// The ways for whoever this comes from.
    const fn ways_of(&self, from: From) -> &Ways<Found, Waiting> {
        match from {
            From::Inside => &self.ways,
            From::Outside => &self.through,
        }
    }

    /// Takes one request of our own: finds its way and passes it on, or refuses it.
    fn request(&self, flow: &Arc<Flow>, message: &Message, now: &Now) {
        if self.edge.is_draining() && !is_within_dialog(message) {
            return self.edge.turn_away(flow, message, From::Inside, &Refusal::Stopping);
        }
        if let Err(refusal) = self.speaks_for_us(flow, message) {
            return self.edge.turn_away(flow, message, From::Inside, &refusal);
        }
        let leaving = Leaving::Ours { asserted: message::asserted(message) };
        if let Some(found) = self.known(message, now) {
            return self.pass(flow, message, leaving, &found, now);
        }
        match self.edge.calls.destination(From::Inside, message) {
            Ok(domain) if self.edge.config.domains.contains_key(&domain) => self.stay(flow, message, &domain),
            Ok(domain) => self.leave(flow, message, &domain, leaving, now),
            Err(refusal) => self.edge.turn_away(flow, message, From::Inside, &refusal),
        }
    }

    /// The way that is known to where a request leads, found without making a name of its text. No way leads to a
    /// domain of ours.
    fn known(&self, message: &Message, now: &Now) -> Option<Arc<Found>> {
        if Calls::is_routed(message) {
            return None;
        }
        self.ways.way(message::destination_host(message)?, now.version(), Instant::now())
    }

    /// Whether a request is of a domain that its server serves: what leaves here is believed by others for its From alone,
    /// and for our certificate.
    pub(crate) fn speaks_for_us(&self, flow: &Flow, message: &Message) -> Result<(), Refusal> {
        let domains = &self.edge.config.domains;
        let serves = |served: &Served| flow.peer().is_some_and(|peer| peer.names(served.name.as_str()));
        let is_host = |host: &str| {
            domains.iter().any(|(domain, served)| domain.as_str().eq_ignore_ascii_case(host) && serves(served))
        };
        // Most houses have few: to compare costs less than to make a name of the text.
        if domains.len() <= DOMAINS_COMPARED && message::from_host(message).is_some_and(is_host) {
            return Ok(());
        }
        // From of a callee is what the caller has once called: the dialog knows better.
        let domain = self.edge.calls.sender(From::Inside, message)?;
        // Who serves none, and is listed under `inside` all the same, may speak for all of them.
        let may = |served: &Served| serves(served) || !domains.values().any(serves);
        if domains.get(&domain).is_some_and(may) { Ok(()) } else { Err(Refusal::NotItsDomain { domain }) }
    }

    /// Sends a request out to a domain that is not ours, as soon as its way is known.
    pub(crate) fn leave(&self, flow: &Arc<Flow>, message: &Message, domain: &SipDomain, leaving: Leaving, now: &Now) {
        let (settings, from) = (&now.settings, leaving.from());
        let ways = self.ways_of(from);
        if let Some(found) = ways.way(domain.as_str(), now.version(), Instant::now()) {
            return self.pass(flow, message, leaving, &found, now);
        }
        // What is not listed is looked up for anybody who asks, and so leaves room for what is.
        let is_listed = settings.allowed_domain(domain).is_some();
        let bounds = Bounds {
            known: now.access.dns_srv_cache_record_count as usize,
            look_ups: if is_listed { LOOKUPS_MAX } else { LOOKUPS_MAX / 2 },
            of_one: look_ups_of_one(is_listed),
        };
        let waiting = Waiting { flow: Arc::clone(flow), message: message.clone(), leaving };
        let renew = |found: &Found| self.renewed(found, now);
        match ways.ask(domain, waiting, settings.version(), Instant::now(), bounds, renew) {
            Next::Go(found, Waiting { leaving, .. }) => self.pass(flow, message, leaving, &found, now),
            Next::Waits => {}
            Next::Full(Waiting { leaving, .. }) => {
                self.give_up(flow, message, leaving, &no_room_to_look_up(domain.clone()));
            }
            Next::LookUp => match way(settings, domain) {
                Ok(way) => {
                    let Some(this) = self.me.upgrade() else { return };
                    let (domain, settings) = (domain.clone(), Arc::clone(settings));
                    self.edge.lookups.spawn(async move { this.look_up(domain, way, from, &settings).await });
                }
                Err(refusal) => self.lost(domain, from, &refusal),
            },
        }
    }

    /// What a way found with other settings is by those that hold now; nothing if they lead elsewhere, or if only a name
    /// server could tell. Otherwise each change of a setting would have every way looked up at once.
    fn renewed(&self, found: &Found, now: &Now) -> Option<Arc<Found>> {
        let way = way(&now.settings, &found.domain).ok()?;
        let led = match way {
            Way::AskSrv => led(&now.settings, &found.domain, way, Some(found.led.asked.clone()?)),
            Way::Direct(_) => led(&now.settings, &found.domain, way, None),
        };
        let led = led.ok()?;
        if led.records != found.led.records || led.standing.remote() != found.led.standing.remote() {
            return None;
        }
        let connections = usize::from(now.access.outgoing_tls_count_for_federated_partners);
        self.found(&found.domain, found.target.clone().with_connections(connections), led).ok()
    }

    pub(crate) fn found(&self, domain: &SipDomain, target: Target, led: Led) -> Result<Arc<Found>, Refusal> {
        let partner = self.edge.partners.of(&led.standing, None)?;
        partner.is_at(&target);
        let proven = Proven::new(led.standing.clone(), partner, &self.edge.config.name);
        Ok(Arc::new(Found { domain: domain.clone(), target, proven, led }))
    }

    /// Finds the addresses of a way, and lets whoever waits for it go.
    async fn look_up(&self, domain: SipDomain, way: Way, from: From, settings: &Arc<Snapshot>) {
        let found = find(&*self.edge.resolver, settings, &domain, way).await;
        let ways = self.ways_of(from);
        if self.edge.settings.borrow().version() != settings.version() {
            // The settings have changed meanwhile, and those that hold now decide.
            let now = self.edge.now();
            for Waiting { flow, message, leaving } in ways.lost(&domain) {
                self.leave(&flow, &message, &domain, leaving, &now);
            }
            return;
        }
        let found = found.and_then(|(target, led, ttl)| Ok((self.found(&domain, target, led)?, ttl)));
        match found {
            Ok((found, ttl)) => {
                self.edge.unfound.found(&domain);
                let waiting = ways.found(&domain, Arc::clone(&found), settings.version(), ttl, Instant::now());
                let now = Now::of(settings);
                for Waiting { flow, message, leaving } in waiting {
                    self.pass(&flow, &message, leaving, &found, &now);
                }
            }
            Err(refusal) => {
                self.edge.unfound.failed(&domain, &refusal);
                self.lost(&domain, from, &refusal);
            }
        }
    }

    /// There is no way: whoever waits for it goes no further.
    fn lost(&self, domain: &SipDomain, from: From, refusal: &Refusal) {
        for Waiting { flow, message, leaving } in self.ways_of(from).lost(domain) {
            self.give_up(&flow, &message, leaving, refusal);
        }
    }

    /// Sends a request on its way, if the partner's limits leave room.
    fn pass(&self, flow: &Arc<Flow>, message: &Message, leaving: Leaving, found: &Found, now: &Now) {
        let Some(outside) = self.outside.get() else { return };
        let from = leaving.from();
        if !Limits::between_organisations().leave_room(message) {
            return self.give_up(flow, message, leaving, &too_long(message));
        }
        let sent = found.proven.partner.send(Class::of(message), message.as_bytes().len());
        let passage = match sent {
            Ok(passage) => passage,
            Err(refusal) => {
                found.proven.partner.refused(&refusal);
                return self.give_up(flow, message, leaving, &refusal);
            }
        };
        let vouch = now.access.mark_source_verifiable_on_outgoing_messages;
        let (stamp, stamp_back, passage) = match leaving {
            Leaving::Ours { asserted } => {
                // Our own server may say less of its user than the setting, and never more.
                let stamp = Stamp::Assertion(vouch && asserted != Some(false));
                (stamp, StampBack::Trust(Arc::clone(&found.proven)), passage)
            }
            Leaving::Through { passage: held, verified } => {
                let stamp = Stamp::Assertion(vouch && verified);
                (stamp, StampBack::PassOn(Arc::clone(&found.proven)), held.with(passage))
            }
        };
        let crossing = Crossing {
            back: flow,
            from,
            destination: &found.domain,
            pool: outside,
            target: &found.target,
            stamp,
            stamp_back,
            passage,
        };
        if let Err(refusal) = self.edge.carry(message, crossing) {
            self.edge.turn_away(flow, message, from, &refusal);
        }
    }

    /// A request from one of our servers to another: nothing federates, and the edge only says who asks.
    fn stay(&self, flow: &Arc<Flow>, message: &Message, domain: &SipDomain) {
        let crossing = || -> Result<_, Refusal> {
            let from = message::from_domain(message)?;
            let not_its = || Refusal::NotItsDomain { domain: from.clone() };
            let origin = self.edge.config.domains.get(&from).ok_or_else(not_its)?;
            // Each server speaks for the domains that it serves, also here.
            if !flow.peer().is_some_and(|peer| peer.names(origin.name.as_str())) {
                return Err(not_its());
            }
            let served = self.edge.config.domains.get(domain);
            let served = served.ok_or_else(|| Refusal::UnknownDestination { domain: domain.clone() })?;
            let proven = self.edge.own(&Standing::own(from, origin.name.clone()))?;
            let passage = proven.partner.send(Class::of(message), message.as_bytes().len())?;
            Ok((served, proven, passage))
        };
        let (served, proven, passage) = match crossing() {
            Ok(found) => found,
            Err(refusal) => return self.edge.turn_away(flow, message, From::Inside, &refusal),
        };
        let Some(inside) = self.inside.get() else { return };
        let crossing = Crossing {
            back: flow,
            from: From::Inside,
            destination: domain,
            pool: inside,
            target: &served.target(),
            stamp: Stamp::Trust(Arc::clone(proven.trust(true))),
            stamp_back: StampBack::None,
            passage,
        };
        if let Err(refusal) = self.edge.carry(message, crossing) {
            self.edge.turn_away(flow, message, From::Inside, &refusal);
        }
    }

    /// A user whom one of our homes has signed in asks for credentials of the A/V edge.
    fn hand_out(&self, flow: &Flow, message: &Message) {
        if let Err(refusal) = self.speaks_for_us(flow, message) {
            return self.edge.turn_away(flow, message, From::Inside, &refusal);
        }
        // Who has gone meanwhile does not need them.
        let _ = flow.send(crate::av::answer(self.edge.config.av.as_ref(), &*self.edge.clock, message));
    }

    /// A request that had to wait, or holds places, goes no further.
    fn give_up(&self, flow: &Flow, message: &Message, leaving: Leaving, refusal: &Refusal) {
        let from = leaving.from();
        if let Leaving::Through { passage, .. } = leaving {
            passage.refused(refusal);
        }
        self.edge.turn_away(flow, message, from, refusal);
    }
}

impl Handler for Outbound {
    fn opened(&self, flow: &Arc<Flow>) {
        self.edge.calls.flow_opened(flow);
    }

    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        let inside = &self.edge.config.inside;
        let behind = self.edge.config.domains.values().map(|served| &served.name);
        let ours = flow.peer().is_some_and(|peer| inside.iter().chain(behind).any(|name| peer.names(name.as_str())));
        let now = self.edge.now();
        // Not taken out: a message is large enough for that to be felt.
        for message in &*batch {
            match message.method() {
                None => self.edge.answered(flow, message),
                Some(Method::Ack) if !ours => {}
                Some(_) if !ours => self.edge.turn_away(flow, message, From::Inside, &Refusal::ForgedTrust),
                Some(_) if asks_for_relay(message) => self.hand_out(flow, message),
                Some(_) if Calls::carries(message) => {
                    if let Some(message) = self.edge.calls.arrived(From::Inside, flow, message.clone()) {
                        self.request(flow, &message, &now);
                    }
                }
                Some(Method::Options) if for_itself(message, &self.edge.config.name) && !self.edge.is_draining() => {
                    let bytes = message::respond(message, 200, "edge", |response| {
                        response.header(Name::Allow, ALLOW);
                    });
                    let _ = flow.send(bytes);
                }
                Some(_) if asks_for_test(message) => self.test(flow, message),
                Some(_) => self.request(flow, message, &now),
            }
        }
    }

    fn closed(&self, flow: &Arc<Flow>, _why: &CloseReason) {
        self.edge.calls.flow_gone(flow);
        self.edge.relay.flow_gone(flow);
    }

    fn refused(&self, remote: std::net::SocketAddr, refusal: &HandshakeRefusal) {
        self.edge.refusals.handshake(remote, refusal);
    }
}

/// How many look-ups one peer may have under way: more for domains that somebody has listed than for whatever it names.
pub(crate) const fn look_ups_of_one(is_listed: bool) -> usize {
    if is_listed { LOOKUPS_MAX / 2 } else { LOOKUPS_MAX / 16 }
}

/// What is said when nothing more can be looked up for one peer, or for one domain. The server as a whole has room.
pub(crate) fn no_room_to_look_up(domain: SipDomain) -> Refusal {
    Refusal::PartnerBusy { domain, what: "too much waits for name servers that are slow to answer".to_owned() }
}
