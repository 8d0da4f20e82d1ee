//! Calls: INVITE and whatever belongs to its dialog, between phones of ours, and by our edge with the world.
//!
//! Who speaks, and for whom it is, is decided in [`route`]; the stateful proxy underneath does the rest (RFC 3261 §16).
//! Home stays in the way of every dialog, so that what belongs to a call finds its phone over whatever connection that
//! has by then. A phone that is not connected is not rung: who has no other hears 480.

mod legs;
mod plan;
mod route;
mod token;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reveille_core::{Aor, SipDomain, TokenKey};
use reveille_federation::policy::readmit;
use reveille_federation::{Refusal, message};
use reveille_sip::proxy::{Reply, Routed};
use reveille_sip::{Host, Message, Method, Name, NameAddr, Scheme, Uri};
use reveille_sip_net::proxy::{Proxy, Share, Taken, TokenError};
use reveille_sip_net::{Flow, Pool, Target};

use crate::auth::{ELSEWHERE, Unproven};
use crate::flows::{is_same, sender};
use crate::front::{Front, address};

pub(crate) use route::Origin;
use route::{EDGE, Facts, Mine, Nowhere, Toward, speaker, stays_in_dialog, toward};
use token::Tokens;

/// Who proxies the calls of one home.
pub(crate) struct Calls {
    proxy: Arc<Proxy>,
    tokens: Tokens,
    /// The way to our edge.
    pool: Pool,
    edge: Target,
    /// Where our edge finds us: name and port.
    inner: String,
    /// The domains whose credentials are ours.
    realms: Vec<SipDomain>,
}

/// One request that was taken, and what is known of it.
struct Ask {
    flow: Arc<Flow>,
    request: Message,
    routed: Routed,
    origin: Origin,
    /// Of a client: who has proven himself.
    user: Option<Aor>,
    /// And, if it has registered, what the proxy calls his device.
    device: Option<String>,
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
    /// Proxies with `proxy`, whose own addresses a call of [`ours`] tells; tokens are signed with `key`, else with one
    /// of this process.
    pub(crate) fn new(
        front: &Front,
        proxy: Arc<Proxy>,
        (pool, edge): (Pool, Target),
        internal: SocketAddr,
        key: Option<TokenKey>,
    ) -> Arc<Self> {
        let inner = format!("{}:{}", front.name, internal.port());
        let key = key.unwrap_or_else(|| TokenKey::new(rand::random()));
        let tokens = Tokens::new(front.users.domain(), key.bytes());
        let realms = front.users.domains().to_vec();
        Arc::new(Self { proxy, tokens, pool, edge, inner, realms })
    }

    pub(crate) fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// Takes a request that [`is_of_call`].
    pub(crate) fn take(self: &Arc<Self>, front: &Front, origin: Origin, flow: &Arc<Flow>, message: Message) {
        let share = match origin {
            Origin::Client => Share::Part,
            // They speak for many.
            Origin::Edge | Origin::Proxy => Share::Whole,
        };
        match self.proxy.take_on("", share, flow, message) {
            Taken::Done => {}
            Taken::Refused { request, reply } => self.proxy.refuse(flow, &request, &reply),
            Taken::Ack { ack, routed } => {
                let ask = Ask { flow: Arc::clone(flow), request: ack, routed, origin, user: None, device: None };
                match self.toward(front, &ask) {
                    Ok(toward) if self.lets_through(front, &ask) => self.pass(front, ask, toward),
                    // An ACK is never answered (RFC 3261 §17), and so nobody can be asked to prove himself.
                    Ok(_) | Err(_) => metrics::counter!("reveille_home_acks_dropped_total").increment(1),
                }
            }
            Taken::Request { request, routed } => {
                let mut ask = Ask { flow: Arc::clone(flow), request, routed, origin, user: None, device: None };
                match self.permit(front, &mut ask).and_then(|()| self.decide(front, &ask)) {
                    Ok(toward) => {
                        ask.device =
                            ask.user.as_ref().and_then(|user| Some(sender(user, &front.flows.device(flow, user)?)));
                        self.pass(front, ask, toward);
                    }
                    // Without state (RFC 3261 §22.3 needs none for a challenge): a stranger costs nothing, and what he
                    // sends in another's name is repeated to nobody.
                    Err(reply) => self.proxy.refuse(flow, &ask.request, &reply),
                }
            }
        }
    }

    /// Whether an ACK may pass: within a dialog, by a token of ours, and from where whoever sends it has proven itself.
    fn lets_through(&self, front: &Front, ask: &Ask) -> bool {
        let mine = self.mine(ask);
        let proven = match (ask.origin, mine.first()) {
            (Origin::Proxy, _) => true,
            (Origin::Edge, _) => self.admitted(front, ask).is_ok(),
            // A datagram proves nobody; what only the phones in this dialog have been told is the least.
            (Origin::Client, Some(Mine::Party(party))) => {
                !ask.flow.transport().is_reliable() || front.flows.trusts(&ask.flow, &party.user)
            }
            (Origin::Client, Some(Mine::Flow(token))) => {
                self.proxy.flow_of(token).is_ok_and(|flow| is_same(&flow, &ask.flow))
            }
            (Origin::Client, Some(Mine::Edge | Mine::Forged | Mine::Plain) | None) => false,
        };
        proven && stays_in_dialog(&facts(ask, &mine))
    }

    /// Whether whoever sent the request may: a client must be known on its connection or prove itself (RFC 3261
    /// §22.3), and what comes from our edge must have been admitted there.
    fn permit(&self, front: &Front, ask: &mut Ask) -> Result<(), Reply> {
        match ask.origin {
            Origin::Proxy => Ok(()),
            Origin::Edge => self.admitted(front, ask).map_err(|refusal| refused(&refusal, &front.name)),
            Origin::Client => self.prove(front, ask),
        }
    }

    /// Whether our edge says that it has admitted whoever sent the request.
    fn admitted(&self, front: &Front, ask: &Ask) -> Result<(), Refusal> {
        let edge = front.edge_of(&ask.flow).ok_or(Refusal::ForgedTrust)?;
        readmit(&edge, ask.request.header(Name::EdgeTrust), &message::from_domain(&ask.request)?).map(drop)
    }

    /// Whether a client is known on its connection or proves itself now, and speaks in no other name.
    fn prove(&self, front: &Front, ask: &mut Ask) -> Result<(), Reply> {
        let mine = self.mine(ask);
        let from = address(&ask.request, Name::From).map(|from| front.users.kept_as(from));
        let speaks = speaker(&facts(ask, &mine), from.as_ref(), front.users.domain());
        if let Some(user) = speaks.as_ref().filter(|user| front.flows.trusts(&ask.flow, user)) {
            ask.user = Some(user.clone());
            return Ok(());
        }
        let now = front.clock.now();
        let proven = front.authenticator.verify(&ask.request, ask.flow.local(), (&front.users, &|_| None), now);
        let user = proven.map_err(|unproven| {
            if unproven == Unproven::Elsewhere {
                return warned(400, ELSEWHERE);
            }
            let stale = unproven == Unproven::Stale;
            let values = front.authenticator.challenges(&ask.request, ask.flow.transport(), now, stale);
            let challenge = |reply: Reply, value| reply.header(Name::ProxyAuthenticate.as_str(), value);
            values.into_iter().fold(Reply::new(407), challenge)
        })?;
        front.flows.proven(&ask.flow, &user, None);
        if speaks.as_ref() != Some(&user) {
            let named = speaks.or(from).map_or_else(|| "nobody".to_owned(), |named| named.to_string());
            return Err(warned(403, &format!("{user} may call as {user} and not as {named}")));
        }
        ask.user = Some(user);
        Ok(())
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
        toward(&facts(ask, &mine), (front.users.domains(), &front.name), |user| front.users.knows(user))
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
}

/// Whether a URI in Route means this home: one of its names, or an address that it listens on.
pub(crate) fn ours(uri: &Uri<'_>, names: &[String], listening: &[SocketAddr]) -> bool {
    let is_secure = || uri.scheme() == Scheme::Sips || uri.params().value("transport") == Some("tls");
    let port = || uri.port().unwrap_or_else(|| if is_secure() { 5061 } else { 5060 });
    let at = |ip: IpAddr| {
        let is_it = |own: IpAddr| own.is_unspecified() || own.to_canonical() == ip.to_canonical();
        listening.iter().any(|own| own.port() == port() && is_it(own.ip()))
    };
    match uri.host() {
        Some(Host::Domain(host)) => names.iter().any(|name| name.eq_ignore_ascii_case(host)),
        Some(Host::V4(ip)) => at(ip.into()),
        Some(Host::V6(ip)) => at(ip.into()),
        None => false,
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
        let listening: Vec<SocketAddr> = ["127.0.0.1:5060", "[::1]:5061", "0.0.0.0:5070", "[::ffff:192.0.2.1]:5080"]
            .map(|text| text.parse().expect("an address"))
            .into();
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
            ("sips:[::1];lr", true),
            ("sips:127.0.0.1;lr", false),
            // One address in two forms.
            ("sip:192.0.2.1:5080;lr", true),
            ("sip:[::ffff:127.0.0.1];lr", true),
            ("sip:[::ffff:192.0.2.2]:5080;lr", false),
        ] {
            assert_eq!(ours(&Uri::parse(uri).expect("sound"), &names, &listening), expected, "{uri}");
        }
    }
}
