//! Which two domains a dialog joins, as this edge itself has written into its Record-Route.
//!
//! The token in there names who has called and who was called, and on which side of the edge each of them lives: a
//! dialog may as well join two partners (a clearing house) or two domains of ours. Nobody else can have written it, and
//! it is of use in that dialog only. From outside nothing passes within a dialog that has none, or that of others: who
//! has guessed, or overheard, what a call is called cannot end it.
//!
//! Its key outlives the process where the configuration gives one, so that a dialog can end through an edge that has
//! been started anew, or through another behind the same name. Pure: what was read goes in.

use std::collections::HashSet;
use std::sync::OnceLock;

use reveille_core::SipDomain;
use reveille_federation::{Refusal, message};
use reveille_sip::proxy::{Routed, Secret, route};
use reveille_sip::{Message, Method, Uri};

use crate::crossing::From;
use crate::edge::Config;

/// The dialogs that pass one edge, none of which it remembers.
pub(crate) struct Dialogs {
    name: SipDomain,
    /// Each domain of ours.
    served: HashSet<SipDomain>,
    secret: Secret,
    ports: OnceLock<Ports>,
}

/// The ports of the two sides.
#[derive(Clone, Copy, Debug)]
struct Ports {
    outer: u16,
    inner: u16,
}

/// Who has called whom.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Between {
    caller: Party,
    callee: Party,
    /// The domain that the caller wrote into To, and the callee has to write into From (RFC 3261 §12.2.1.1). It is another
    /// than the callee's own if the call was redirected.
    called: SipDomain,
}

/// One of the two.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Party {
    domain: SipDomain,
    side: From,
}

impl Dialogs {
    pub(crate) fn new(config: &Config) -> Self {
        let secret = match &config.token_key {
            Some(key) => Secret::new(key.bytes()),
            None => Secret::new(&rand::random::<[u8; 32]>()),
        };
        let served = config.domains.keys().cloned().collect();
        Self { name: config.name.clone(), served, secret, ports: OnceLock::new() }
    }

    /// Tells where the two sides listen. Once.
    pub(crate) fn open(&self, outer: u16, inner: u16) {
        let _ = self.ports.set(Ports { outer, inner });
    }

    /// Whether a URI means this edge.
    pub(crate) fn is_ours(&self, uri: &Uri<'_>) -> bool {
        let own = |host: &str| host.eq_ignore_ascii_case(self.name.as_str());
        let here = uri.host().and_then(|host| host.domain()).is_some_and(own);
        let known = |port| self.ports.get().is_none_or(|ports| port == ports.outer || port == ports.inner);
        here && uri.port().is_none_or(known)
    }

    /// A request's Route without what names this edge.
    pub(crate) fn route(&self, request: &Message) -> Routed {
        route(request, &|uri| self.is_ours(uri))
    }

    /// The domain that a request with a Route, or within a dialog, is for. Within a dialog that is what this edge wrote
    /// down when the dialog began.
    pub(crate) fn destination(&self, from: From, request: &Message) -> Result<SipDomain, Refusal> {
        let routed = self.route(request);
        if let Some([_, other]) = self.parties(&routed, from, request) {
            return Ok(other.domain);
        }
        let within = is_within_dialog(request);
        match from {
            // This edge has put itself into the way of every dialog, and its ends say so (RFC 3261 §12.2.1.1).
            From::Outside if within => Err(Refusal::NoSuchDialog),
            From::Outside => match routed.next().map(host) {
                // Outside of a dialog nobody names our servers.
                Some(Some(domain)) => Err(Refusal::UnknownDestination { domain }),
                Some(None) => Err(Refusal::BadBody("Route leads to a host that this edge does not serve".into())),
                None => message::destination(request),
            },
            // Our own servers are believed, also where the token is that of an edge with another key.
            From::Inside if within && routed.ours => to_domain(request),
            From::Inside => message::destination(request),
        }
    }

    /// The domain that a request comes from, and that its peer has to prove: in a dialog the one it has had since it
    /// began.
    pub(crate) fn sender(&self, from: From, request: &Message) -> Result<SipDomain, Refusal> {
        match self.parties(&self.route(request), from, request) {
            Some([sender, _]) => Ok(sender.domain),
            None => message::from_domain(request),
        }
    }

    /// The sides of this edge, that of the next hop on top; nothing for what begins no dialog.
    pub(crate) fn record_route(&self, request: &Message, from: From, destination: &SipDomain) -> Vec<String> {
        let begins = match request.method() {
            Some(Method::Invite) => true,
            Some(Method::Subscribe | Method::Refer | Method::Notify) => !is_within_dialog(request),
            _ => false,
        };
        let (Some(ports), Ok(sender), true) = (self.ports.get(), self.sender(from, request), begins) else {
            return Vec::new();
        };
        let side = if self.served.contains(destination) { From::Inside } else { From::Outside };
        let callee = Party { domain: destination.clone(), side };
        let called = to_domain(request).unwrap_or_else(|_| destination.clone());
        let between = Between { caller: Party { domain: sender, side: from }, callee, called };
        let token = self.secret.seal(&label(request), &between.write());
        // RFC 3261 §16.6 step 4; §26.2.2: transport=tls has no meaning there.
        let (scheme, by) = if self.route(request).is_secure() { ("sips", "") } else { ("sip", ";transport=tls") };
        let uri = |side| format!("{scheme}:{token}@{}:{}{by};lr", self.name, ports.of(side));
        // RFC 5658 §3: twice only where the two sides differ.
        if side == from { vec![uri(side)] } else { vec![uri(side), uri(from)] }
    }

    /// Who sends a request and who is to have it, if a token of ours says so.
    fn parties(&self, routed: &Routed, from: From, request: &Message) -> Option<[Party; 2]> {
        let between = Between::read(self.secret.open(&label(request), routed.token.as_deref()?)?)?;
        between.sent_from(from, message::from_domain(request).ok().as_ref())
    }
}

impl Ports {
    const fn of(self, side: From) -> u16 {
        match side {
            From::Inside => self.inner,
            From::Outside => self.outer,
        }
    }
}

impl Between {
    /// The sender and the other, of a request that came from a side and whose From names a domain. `None` if neither of
    /// the two can have sent it.
    fn sent_from(self, side: From, named: Option<&SipDomain>) -> Option<[Party; 2]> {
        let Self { caller, callee, called } = self;
        // Our own servers are believed. From of a callee is what the caller has once called, which need not be the callee's
        // own domain; that is the one which has to be proven, whatever From says.
        let is_caller = named == Some(&caller.domain);
        let is_callee = named == Some(&callee.domain) || named == Some(&called);
        match (caller.side == side, callee.side == side) {
            (true, false) => (side == From::Inside || is_caller).then_some([caller, callee]),
            (false, true) => (side == From::Inside || is_callee).then_some([callee, caller]),
            (true, true) if named == Some(&callee.domain) => Some([callee, caller]),
            (true, true) if is_caller => Some([caller, callee]),
            (true, true) if is_callee => Some([callee, caller]),
            (true, true) | (false, false) => None,
        }
    }

    fn write(&self) -> String {
        format!("{}~{}~{}", self.caller.write(), self.callee.write(), self.called)
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '~');
        let (caller, callee, called) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { caller: Party::read(caller)?, callee: Party::read(callee)?, called: called.parse().ok()? })
    }
}

impl Party {
    fn write(&self) -> String {
        let side = match self.side {
            From::Inside => 'i',
            From::Outside => 'o',
        };
        format!("{side}-{}", self.domain)
    }

    fn read(text: &str) -> Option<Self> {
        let (side, domain) = match text.split_once('-')? {
            ("i", domain) => (From::Inside, domain),
            ("o", domain) => (From::Outside, domain),
            _ => return None,
        };
        Some(Self { domain: domain.parse().ok()?, side })
    }
}

/// Whether a request belongs to a dialog (RFC 3261 §12.2.2).
pub(crate) fn is_within_dialog(request: &Message) -> bool {
    request.has_to_tag()
}

/// Under which label the token of a request's dialog is signed: that of one call is none in another.
fn label(request: &Message) -> String {
    format!("dialog {}", request.call_id().unwrap_or_default())
}

fn host(uri: &str) -> Option<SipDomain> {
    Uri::parse(uri).ok()?.host()?.domain()?.parse().ok()
}

fn to_domain(request: &Message) -> Result<SipDomain, Refusal> {
    let domain = || request.to().ok()?.uri().ok()?.host()?.domain()?.parse().ok();
    domain().ok_or_else(|| Refusal::BadBody("the To address names no domain".into()))
}

#[cfg(test)]
mod tests {
    use reveille_core::TokenKey;
    use reveille_sip::{Limits, parse_datagram};

    use super::*;
    use crate::crossing::From;
    use crate::edge::Served;

    fn domain(text: &str) -> SipDomain {
        text.parse().expect("a domain")
    }

    /// An edge with two domains of its own, and the key made of this byte.
    fn edge(key: u8) -> Dialogs {
        let served = |name: &str| Served { name: domain(name), address: ([127, 0, 0, 1], 5070).into() };
        let dialogs = Dialogs::new(&Config {
            name: domain("edge.a.example"),
            inside: Vec::new(),
            domains: [("a.example", "home.a.example"), ("b.example", "home.b.example")]
                .map(|(name, server)| (domain(name), served(server)))
                .into(),
            limits: crate::Limits::default(),
            av: None,
            token_key: Some(TokenKey::new([key; TokenKey::LEN])),
        });
        dialogs.open(5061, 5071);
        dialogs
    }

    fn request(method: &str, from: &str, to: &str, routes: &[String]) -> Message {
        let (uri, tag) = match method {
            "INVITE" => (format!("sip:x@{to}"), ""),
            _ => ("sip:x@10.0.0.1".to_owned(), ";tag=2"),
        };
        let routes: String = routes.iter().map(|route| format!("Route: <{route}>\r\n")).collect();
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/TLS x;branch=z9hG4bK1\r\n{routes}From: <sip:x@{from}>;tag=1\r\n\
             To: <sip:x@{to}>{tag}\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        parse_datagram(text.into(), &Limits::default()).expect("sound")
    }

    fn ports(routes: &[String]) -> Vec<u16> {
        routes.iter().map(|route| Uri::parse(route).expect("sound").port().expect("a port")).collect()
    }

    #[test]
    fn either_party_of_a_dialog_reaches_the_other_whatever_sides_they_are_on() {
        use crate::crossing::From::{Inside, Outside};
        let edge = edge(1);
        // Caller and its side, callee and its side; the ports in Record-Route, the callee's on top.
        for (caller, from, callee, side, expected) in [
            ("far.example", Outside, "a.example", Inside, &[5071, 5061][..]),
            ("a.example", Inside, "far.example", Outside, &[5061, 5071]),
            ("far.example", Outside, "other.example", Outside, &[5061]),
            ("a.example", Inside, "b.example", Inside, &[5071]),
        ] {
            let invite = request("INVITE", caller, callee, &[]);
            let recorded = edge.record_route(&invite, from, &domain(callee));
            assert_eq!(ports(&recorded), expected, "{caller} {callee}");
            // RFC 3261 §12.1: the callee takes them in their order, the caller turns them round.
            let of_callee = recorded.clone();
            let of_caller: Vec<String> = recorded.into_iter().rev().collect();
            let bye = request("BYE", caller, callee, &of_caller);
            assert_eq!(edge.destination(from, &bye), Ok(domain(callee)), "{caller} hangs up");
            assert_eq!(edge.sender(from, &bye), Ok(domain(caller)));
            let bye = request("BYE", callee, caller, &of_callee);
            assert_eq!(edge.destination(side, &bye), Ok(domain(caller)), "{callee} hangs up");
            assert_eq!(edge.sender(side, &bye), Ok(domain(callee)));
        }
    }

    #[test]
    fn a_secured_request_is_recorded_as_such_and_its_dialog_finds_its_way_back() {
        let edge = edge(1);
        let plain = request("INVITE", "far.example", "a.example", &[]);
        let text = String::from_utf8(plain.as_bytes().to_vec()).expect("text");
        let secured = text.replace("INVITE sip:x@a.example", "INVITE sips:x@a.example");
        let routed = text.replace("From: <sip:x@far", "Route: <sips:edge.b.example;lr>\r\nFrom: <sip:x@far");
        for (text, secure) in [(text, false), (secured, true), (routed, true)] {
            let invite = parse_datagram(text.into(), &Limits::default()).expect("sound");
            let mut routes = edge.record_route(&invite, From::Outside, &domain("a.example"));
            for route in &routes {
                assert_eq!(route.starts_with("sips:"), secure, "{route}");
                assert_eq!(route.contains("transport=tls"), !secure, "{route}");
            }
            routes.reverse();
            let bye = request("BYE", "far.example", "a.example", &routes);
            assert_eq!(edge.destination(From::Outside, &bye), Ok(domain("a.example")));
        }
    }

    #[test]
    fn a_callee_that_the_call_was_redirected_to_speaks_under_the_name_that_was_called_and_proves_its_own() {
        use crate::crossing::From::{Inside, Outside};
        let edge = edge(1);
        // a.example calls somebody at b.example, or at other.example, and the call has gone to far.example.
        for called in ["b.example", "other.example"] {
            let invite = request("INVITE", "a.example", called, &[]);
            let recorded = edge.record_route(&invite, Inside, &domain("far.example"));
            let bye = request("BYE", called, "a.example", &recorded);
            assert_eq!(edge.sender(Outside, &bye), Ok(domain("far.example")), "whatever From says");
            assert_eq!(edge.destination(Outside, &bye), Ok(domain("a.example")));
            let third = request("BYE", "third.example", "a.example", &recorded);
            assert_eq!(edge.sender(Outside, &third), Ok(domain("third.example")));
            assert_eq!(edge.destination(Outside, &third), Err(Refusal::NoSuchDialog));
        }
    }

    #[test]
    fn whoever_is_no_party_has_no_use_of_a_token() {
        let edge = edge(1);
        let invite = request("INVITE", "far.example", "other.example", &[]);
        let routes = edge.record_route(&invite, From::Outside, &domain("other.example"));
        let bye = request("BYE", "third.example", "a.example", &routes);
        assert_eq!(edge.destination(From::Outside, &bye), Err(Refusal::NoSuchDialog), "a third party");
        assert_eq!(edge.sender(From::Outside, &bye), Ok(domain("third.example")));
        let bye = request("BYE", "far.example", "a.example", &routes);
        assert_eq!(edge.destination(From::Inside, &bye), Ok(domain("a.example")), "none of the two is inside");
        // Where the two are on different sides, the side alone proves nothing.
        let invite = request("INVITE", "far.example", "a.example", &[]);
        let mut routes = edge.record_route(&invite, From::Outside, &domain("a.example"));
        routes.reverse();
        for (from, expected) in
            [("far.example", Ok(domain("a.example"))), ("third.example", Err(Refusal::NoSuchDialog))]
        {
            let bye = request("BYE", from, "a.example", &routes);
            assert_eq!(edge.destination(From::Outside, &bye), expected, "{from}");
        }
    }

    #[test]
    fn a_token_is_of_no_use_in_another_dialog_and_without_one_nothing_passes_within_any() {
        let edge = edge(1);
        let invite = request("INVITE", "far.example", "a.example", &[]);
        let mut routes = edge.record_route(&invite, From::Outside, &domain("a.example"));
        routes.reverse();
        let own = request("BYE", "far.example", "a.example", &routes);
        assert_eq!(edge.destination(From::Outside, &own), Ok(domain("a.example")));
        let text = String::from_utf8(own.as_bytes().to_vec()).expect("text");
        let other = parse_datagram(text.replace("Call-ID: 1", "Call-ID: 2").into(), &Limits::default()).expect("sound");
        assert_eq!(edge.destination(From::Outside, &other), Err(Refusal::NoSuchDialog));
        for routes in [&[][..], &["sip:edge.a.example;lr".to_owned()]] {
            let bye = request("BYE", "far.example", "a.example", routes);
            assert_eq!(edge.destination(From::Outside, &bye), Err(Refusal::NoSuchDialog), "{routes:?}");
        }
    }

    #[test]
    fn a_token_is_read_by_every_edge_with_its_key_and_wherever_route_leads_it_alone_decides() {
        let invite = request("INVITE", "far.example", "a.example", &[]);
        let mut routes = edge(1).record_route(&invite, From::Outside, &domain("a.example"));
        routes.reverse();
        for (to, more) in [
            ("a.example", &["sip:edge@home.a.example:5070;lr"][..]),
            ("a.example", &["sip:evil.example;lr"]),
            ("evil.example", &["sip:home.b.example;lr"]),
            ("a.example", &[]),
        ] {
            let with = [routes.clone(), more.iter().map(|&route| route.to_owned()).collect()].concat();
            let bye = request("BYE", "far.example", to, &with);
            assert_eq!(edge(1).destination(From::Outside, &bye), Ok(domain("a.example")), "{to} {more:?}");
            assert_eq!(edge(2).destination(From::Outside, &bye), Err(Refusal::NoSuchDialog), "{to} {more:?}");
            assert_eq!(edge(2).destination(From::Inside, &bye), Ok(domain(to)), "our own servers are believed");
        }
        // Outside of a dialog nobody names our servers.
        let unknown = |name: &str| Err(Refusal::UnknownDestination { domain: domain(name) });
        let invite = request("INVITE", "far.example", "a.example", &["sip:home.a.example;lr".to_owned()]);
        assert_eq!(edge(2).destination(From::Outside, &invite), unknown("home.a.example"));
    }
}
