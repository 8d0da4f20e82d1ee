//! Calls: INVITE and whatever belongs to its dialog, between phones of ours, and by our edge with the world.
//!
//! Who speaks, and for whom it is, is decided in [`route`]; the stateful proxy underneath does the rest (RFC 3261 §16).
//! Home stays in the way of every dialog, so that what belongs to a call finds its phone over whatever connection that
//! has by then. A phone that is not connected is not rung: who has no other hears 480.

mod plan;
mod route;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use reveille_core::Aor;
use reveille_federation::policy::readmit;
use reveille_federation::{Refusal, message};
use reveille_sip::proxy::{Reply, Routed};
use reveille_sip::{Host, Message, Method, Name, NameAddr, Uri};
use reveille_sip_net::proxy::{Leg, Plan, Proxy, Taken, To, TokenError};
use reveille_sip_net::{Flow, Pool, Target, Transport};
use tracing::debug;

use crate::account::Phone;
use crate::auth::Unproven;
use crate::flows::is_same;
use crate::front::{Front, address};
use crate::shard::Event;

use plan::{Owner, Side};
pub(crate) use route::Origin;
use route::{EDGE, Facts, Mine, Nowhere, Toward, speaker, toward};
use token::{Party, Tokens};

/// Who proxies the calls of one home.
pub(crate) struct Calls {
    proxy: Arc<Proxy>,
    tokens: Tokens,
    /// The way to our edge.
    pool: Pool,
    edge: Target,
    /// What faces our edge in Record-Route.
    inner: String,
    realm: String,
}

/// One request that was taken, and what is known of it.
struct Ask {
    flow: Arc<Flow>,
    request: Message,
    routed: Routed,
    origin: Origin,
    /// Of a client: who has proven himself.
    user: Option<Aor>,
}

/// Whether a request belongs to a call: whoever takes it up must have it proxied.
pub(crate) fn is_of_call(request: &Message) -> bool {
    match request.method() {
        Some(Method::Invite | Method::Ack | Method::Cancel) => true,
        Some(Method::Bye | Method::Info | Method::Prack | Method::Update) => true,
        Some(Method::Register | Method::Publish) | None => false,
        // Within a dialog anything goes; outside of one the front answers.
        Some(_) => in_dialog(request) && request.header(Name::Route).is_some(),
    }
}

impl Calls {
    /// Proxies with `proxy`, whose own addresses a call of [`ours`] tells.
    pub(crate) fn new(front: &Front, proxy: Arc<Proxy>, pool: Pool, edge: Target, internal: SocketAddr) -> Arc<Self> {
        let inner = format!("sip:{EDGE}@{}:{};transport=tls;lr", front.name, internal.port());
        let tokens = Tokens::new(front.users.domain(), &rand::random());
        let realm = front.users.domain().to_string();
        Arc::new(Self { proxy, tokens, pool, edge, inner, realm })
    }

    pub(crate) fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// Takes a request that [`is_of_call`].
    pub(crate) fn take(self: &Arc<Self>, front: &Front, origin: Origin, flow: &Arc<Flow>, message: Message) {
        match self.proxy.take(flow, message) {
            Taken::Done => {}
            Taken::Refused { request, reply } => self.proxy.reply(flow, &request, &reply),
            Taken::Ack { ack, routed } => {
                let ask = Ask { flow: Arc::clone(flow), request: ack, routed, origin, user: None };
                // An ACK is never answered (RFC 3261 §17): what it names is all that lets it pass.
                if let Ok(toward) = self.toward(front, &ask) {
                    self.pass(front, ask, toward);
                }
            }
            Taken::Request { request, routed } => {
                let mut ask = Ask { flow: Arc::clone(flow), request, routed, origin, user: None };
                match self.permit(front, &mut ask).and_then(|()| self.decide(front, &ask)) {
                    Ok(toward) => self.pass(front, ask, toward),
                    Err(reply) => self.proxy.reply(flow, &ask.request, &reply),
                }
            }
        }
    }

    /// Whether whoever sent the request may: a client must be known on its connection or prove itself (RFC 3261
    /// §22.3), and what comes from our edge must have been admitted there.
    fn permit(&self, front: &Front, ask: &mut Ask) -> Result<(), Reply> {
        match ask.origin {
            Origin::Proxy => Ok(()),
            Origin::Edge => {
                let request = &ask.request;
                let edge = front.edge_of(&ask.flow).ok_or(Refusal::ForgedTrust);
                let admitted = edge
                    .and_then(|edge| readmit(&edge, request.header(Name::EdgeTrust), &message::from_domain(request)?));
                admitted.map(drop).map_err(|refusal| refused(&refusal, &front.name))
            }
            Origin::Client => {
                let mine = self.mine(ask);
                let domain = front.users.domain();
                let from = address(&ask.request, Name::From);
                let speaks = speaker(&facts(ask, &mine), from.as_ref(), domain);
                if let Some(user) = speaks.as_ref().filter(|user| front.flows.trusts(&ask.flow, user)) {
                    ask.user = Some(user.clone());
                    return Ok(());
                }
                let user = match front.authenticator.verify(&ask.request, &front.users, front.clock.now()) {
                    Ok(user) => user,
                    Err(unproven) => {
                        let values = front.authenticator.challenges(
                            ask.flow.transport(),
                            front.clock.now(),
                            unproven == Unproven::Stale,
                        );
                        let reply = Reply::new(407);
                        return Err(values
                            .into_iter()
                            .fold(reply, |reply, value| reply.header(Name::ProxyAuthenticate.as_str(), value)));
                    }
                };
                front.flows.proven(&ask.flow, &user, None);
                if speaks.as_ref() != Some(&user) {
                    let named = speaks.or(from).map_or_else(|| "nobody".to_owned(), |named| named.to_string());
                    return Err(warned(403, &format!("{user} may call as {user} and not as {named}")));
                }
                ask.user = Some(user);
                Ok(())
            }
        }
    }

    /// Where the request goes, or what is answered instead.
    fn decide(&self, front: &Front, ask: &Ask) -> Result<Toward, Reply> {
        if !in_dialog(&ask.request) && ask.request.method() != Some(Method::Invite) {
            // RFC 3261 §12.2.2: it asks for a dialog that it does not name.
            return Err(Reply::new(481));
        }
        self.toward(front, ask).map_err(|nowhere| warned(nowhere.status(), &nowhere.to_string()))
    }

    fn toward(&self, front: &Front, ask: &Ask) -> Result<Toward, Nowhere> {
        let mine = self.mine(ask);
        toward(&facts(ask, &mine), (front.users.domain(), &front.name), |user| front.users.knows(user))
    }

    /// What our own Route values say, top first.
    fn mine(&self, ask: &Ask) -> Vec<Mine> {
        let all = ask.request.values(Name::Route).count();
        let taken = all.saturating_sub(ask.routed.routes.len());
        let mut mine: Vec<Mine> =
            ask.request.values(Name::Route).take(taken).map(|value| self.says(user_of(value).as_deref())).collect();
        // RFC 3261 §16.4: a strict router has put our value into the Request-URI.
        if let (true, Some(token)) = (ask.routed.ours && mine.is_empty(), &ask.routed.token) {
            mine.push(self.says(Some(token)));
        }
        mine
    }

    fn says(&self, user: Option<&str>) -> Mine {
        match user {
            None => Mine::Plain,
            Some(EDGE) => Mine::Edge,
            Some(user) => match self.tokens.read(user) {
                Some(party) => Mine::Party(party),
                None => match self.proxy.flow_of(user) {
                    // What has gone since is said when somebody wants to go there.
                    Ok(_) | Err(TokenError::Gone) => Mine::Flow(user.to_owned()),
                    Err(TokenError::Forged) => Mine::Forged,
                },
            },
        }
    }

    /// Sends the request to wherever it goes; whose phones are to be found is asked of the shard of their user.
    fn pass(self: &Arc<Self>, front: &Front, ask: Ask, toward: Toward) {
        match toward {
            Toward::Edge => {
                let leg = Leg::to(To::Hop(self.pool.clone(), self.edge.clone()));
                self.forward(front, ask, vec![(leg, self.inner.clone())], Side::Edge);
            }
            Toward::Flow(token) => match self.proxy.flow_of(&token) {
                Ok(flow) => {
                    let facing = self.facing_flow(front, &flow, None);
                    self.forward(front, ask, vec![(Leg::to(To::Flow(flow)), facing)], Side::Phone);
                }
                Err(_) => self.unreachable(&ask, 430, "the connection that this dialog belongs to is gone"),
            },
            Toward::Party(party) => self.find(front, ask, party.user.clone(), Some(party)),
            Toward::User(user) => self.find(front, ask, user, None),
        }
    }

    /// Asks where a user can be reached, or one phone of his.
    fn find(self: &Arc<Self>, front: &Front, ask: Ask, user: Aor, party: Option<Party>) {
        let (calls, of, busy) = (Arc::clone(self), user.clone(), (Arc::clone(&ask.flow), ask.request.clone()));
        let name = Arc::clone(&front.name);
        let facing_sender = self.facing_sender(front, &ask);
        let then = move |phones: Vec<Phone>| calls.found(ask, &of, party.as_ref(), phones, (&name, facing_sender));
        if front.shards.of(&user).try_send(Event::Reach { user, then: Box::new(then) }).is_err() {
            metrics::counter!("reveille_home_overloaded_total").increment(1);
            let (flow, request) = busy;
            self.proxy.reply(&flow, &request, &Reply::new(503).header(Name::RetryAfter.as_str(), "2"));
        }
    }

    /// The shard has told where a user can be reached now.
    fn found(&self, mut ask: Ask, user: &Aor, party: Option<&Party>, phones: Vec<Phone>, facing: (&str, String)) {
        let secure = ask.routed.request_uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"));
        let (name, facing_sender) = facing;
        let mut legs = Vec::new();
        for phone in phones {
            let device = self.tokens.mark(user, &phone.device);
            if party.is_some_and(|party| party.device != device) {
                continue;
            }
            let own = |flow: &Arc<Flow>| ask.origin == Origin::Client && party.is_none() && is_same(flow, &ask.flow);
            // RFC 5630 §3.1.3: a sips request is for connections that are secured to the end.
            let usable = |flow: &Arc<Flow>| !own(flow) && (!secure || flow.transport().is_secure());
            let flows: Vec<Arc<Flow>> = phone.flows.into_iter().filter(usable).collect();
            let Some(first) = flows.first() else { continue };
            let token = self.tokens.write(&Party { user: user.clone(), device });
            let facing = facing_uri(&token, first, name);
            let request_uri = party.is_none().then_some(phone.uri);
            let to = flows.iter().map(|flow| To::Flow(Arc::clone(flow))).collect();
            legs.push((Leg { to, request_uri, q: phone.q, ..Leg::to(To::Flow(Arc::clone(first))) }, facing));
        }
        if legs.is_empty() {
            return match party {
                // RFC 5626 §5.3.1.
                Some(_) => self.unreachable(&ask, 430, "the phone in this dialog is not connected any more"),
                None => self.unreachable(&ask, 480, &format!("{user} is not signed in anywhere")),
            };
        }
        // Where a phone is, is its connection's business and nobody's Route.
        ask.routed.routes.clear();
        self.send(ask, legs, &facing_sender, Side::Phone);
    }

    fn forward(&self, front: &Front, ask: Ask, legs: Vec<(Leg, String)>, side: Side) {
        let facing_sender = self.facing_sender(front, &ask);
        self.send(ask, legs, &facing_sender, side);
    }

    /// Hands the request to the proxy.
    fn send(&self, mut ask: Ask, legs: Vec<(Leg, String)>, facing_sender: &str, side: Side) {
        let in_dialog = in_dialog(&ask.request);
        if !in_dialog {
            ask.routed.routes.clear();
        }
        // RFC 3261 §16.6 step 4, RFC 5658 §3: once for each side. A dialog's route set never changes later.
        let record = |facing: String| if in_dialog { Vec::new() } else { vec![facing, facing_sender.to_owned()] };
        let legs = legs.into_iter().map(|(leg, facing)| Leg { record_route: Some(record(facing)), ..leg }).collect();
        let edits = plan::edits(&ask.request, ask.origin, &self.realm);
        debug!(to = ?side, in_dialog, method = ?ask.request.method(), "a call goes on");
        let owner = Arc::new(Owner::new(side, in_dialog));
        let plan = Plan { legs, routed: ask.routed, record_route: Vec::new(), edits, owner };
        match ask.request.method() {
            Some(Method::Ack) => self.proxy.pass_ack(&ask.flow, &ask.request, plan),
            _ => self.proxy.forward(&ask.flow, &ask.request, plan),
        }
    }

    /// The Record-Route URI that faces whoever sent a request.
    fn facing_sender(&self, front: &Front, ask: &Ask) -> String {
        match ask.origin {
            Origin::Edge => self.inner.clone(),
            Origin::Client | Origin::Proxy => self.facing_flow(front, &ask.flow, ask.user.as_ref()),
        }
    }

    /// The Record-Route URI that faces a connection: it names the phone that has registered there, else the connection.
    fn facing_flow(&self, front: &Front, flow: &Arc<Flow>, user: Option<&Aor>) -> String {
        let device = user.and_then(|user| Some((user, front.flows.device(flow, user)?)));
        let token = match device {
            Some((user, device)) => {
                self.tokens.write(&Party { user: user.clone(), device: self.tokens.mark(user, &device) })
            }
            None => self.proxy.flow_token(flow),
        };
        facing_uri(&token, flow, &front.name)
    }

    fn unreachable(&self, ask: &Ask, status: u16, sentence: &str) {
        if ask.request.method() != Some(Method::Ack) {
            self.proxy.reply(&ask.flow, &ask.request, &warned(status, sentence));
        }
    }
}

/// Whether a URI in Route means this home: one of its names, or an address that it listens on.
pub(crate) fn ours(uri: &Uri<'_>, names: &[String], listening: &[SocketAddr]) -> bool {
    let port =
        || uri.port().unwrap_or_else(|| if uri.params().value("transport") == Some("tls") { 5061 } else { 5060 });
    let at = |ip: std::net::IpAddr| {
        listening.iter().any(|own| own.port() == port() && (own.ip() == ip || own.ip().is_unspecified()))
    };
    match uri.host() {
        Some(Host::Domain(host)) => names.iter().any(|name| name.eq_ignore_ascii_case(host)),
        Some(Host::V4(ip)) => at(ip.into()),
        Some(Host::V6(ip)) => at(ip.into()),
        None => false,
    }
}

/// The Record-Route URI of one side: the address that the connection has here, since a client that came by a name or
/// an address which it cannot look up again still has the connection.
fn facing_uri(token: &str, flow: &Flow, name: &str) -> String {
    let transport = parameter(flow.transport());
    let local = flow.local();
    match local.ip().is_unspecified() {
        true => format!("sip:{token}@{name}:{};transport={transport};lr", local.port()),
        false => format!("sip:{token}@{local};transport={transport};lr"),
    }
}

/// The transport as a URI writes it (RFC 3261 §19.1.1, RFC 7118 §5.2.1).
const fn parameter(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Udp => "udp",
        Transport::Ws | Transport::Wss => "ws",
    }
}

fn facts<'a>(ask: &'a Ask, mine: &'a [Mine]) -> Facts<'a> {
    let in_dialog = in_dialog(&ask.request);
    Facts { origin: ask.origin, request_uri: &ask.routed.request_uri, in_dialog, mine }
}

/// RFC 3261 §12.2: a request inside a dialog has a tag on To.
pub(crate) fn in_dialog(request: &Message) -> bool {
    request.to().is_ok_and(|to| to.tag().is_some())
}

fn user_of(route: &str) -> Option<String> {
    NameAddr::parse(route).ok()?.uri().ok()?.user().map(str::to_owned)
}

/// An answer with the sentence that a person reads (RFC 3261 §20.43).
fn warned(status: u16, sentence: &str) -> Reply {
    let sentence = sentence.replace(['"', '\\'], "'");
    Reply::new(status).header(Name::Warning.as_str(), format!("399 reveille \"{sentence}\""))
}

/// What our edge is told.
fn refused(refusal: &Refusal, name: &str) -> Reply {
    use reveille_federation::answer::{Audience, answer};
    let answer = answer(refusal, Audience::Inside { source: name }, None);
    let reply = Reply::new(answer.status);
    answer.headers.into_iter().fold(reply, |reply, (name, value)| reply.header(name, value))
}

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    #[test]
    fn what_belongs_to_a_call() {
        for (method, to, route, expected) in [
            ("INVITE", "", "", true),
            ("ACK", "", "", true),
            ("CANCEL", "", "", true),
            ("BYE", "", "", true),
            ("REGISTER", ";tag=1", "Route: <sip:home;lr>\r\n", false),
            ("PUBLISH", ";tag=1", "Route: <sip:home;lr>\r\n", false),
            ("MESSAGE", "", "Route: <sip:home;lr>\r\n", false),
            ("MESSAGE", ";tag=1", "", false),
            ("MESSAGE", ";tag=1", "Route: <sip:home;lr>\r\n", true),
            ("OPTIONS", ";tag=1", "Route: <sip:home;lr>\r\n", true),
            ("NEWMETHOD", ";tag=1", "Route: <sip:home;lr>\r\n", true),
            ("NEWMETHOD", "", "", false),
        ] {
            let text = format!(
                "{method} sip:bob@contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\n{route}From: <sip:a@b>;tag=1\r\n\
                 To: <sip:b@c>{to}\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
            );
            let request = parse_datagram(text.into(), &Limits::default()).expect("sound");
            assert_eq!(is_of_call(&request), expected, "{method}{to} {route}");
        }
    }

    #[test]
    fn a_route_means_this_home_by_name_and_by_the_addresses_that_it_listens_on() {
        let names = ["home.contoso.com".to_owned(), "contoso.com".to_owned()];
        let listening: Vec<SocketAddr> =
            ["127.0.0.1:5060", "[::1]:5061", "0.0.0.0:5070"].map(|text| text.parse().expect("an address")).into();
        for (uri, expected) in [
            ("sip:HOME.contoso.com;lr", true),
            ("sip:x@contoso.com:5061;lr", true),
            ("sip:edge.contoso.com;lr", false),
            ("sip:127.0.0.1;lr", true),
            ("sip:127.0.0.1:5060;lr", true),
            ("sip:127.0.0.1:5062;lr", false),
            ("sip:127.0.0.1;transport=tls;lr", false),
            ("sip:[::1];transport=tls;lr", true),
            ("sip:192.0.2.9:5070;lr", true),
            ("sip:192.0.2.9:5060;lr", false),
        ] {
            assert_eq!(ours(&Uri::parse(uri).expect("sound"), &names, &listening), expected, "{uri}");
        }
    }
}
