//! Where Route leads once what names us is taken off (§16.4, RFC 5658).

use crate::list::Params;
use crate::message::Message;
use crate::name::Name;
use crate::name_addr::NameAddr;
use crate::uri::Uri;

/// A request's way after preprocessing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Routed {
    /// The Request-URI to work with: the one received, unless a strict router or `maddr` hid it.
    pub request_uri: String,
    /// Whether a Route value (or a strict router's Request-URI) named us: as a rule the request belongs to a dialog in
    /// whose way we put ourselves.
    pub ours: bool,
    /// The user part of the Route value that named us, as we wrote it into Record-Route.
    pub token: Option<String>,
    /// What is left of Route, top first: whole values with their brackets.
    pub routes: Vec<String>,
}

impl Routed {
    /// The URI of the topmost Route left: where the request goes next unless the owner knows better (§16.6 step 6).
    pub fn next(&self) -> Option<&str> {
        self.routes.first().and_then(|route| NameAddr::parse(route).ok()).map(|route| route.uri_text())
    }

    /// Whether the request asks for connections that are secured to the end: then whatever we write into Record-Route has
    /// to be a SIPS URI, too (§16.6 step 4).
    pub fn is_secure(&self) -> bool {
        let is_sips = |uri: &str| uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"));
        is_sips(&self.request_uri) || self.next().is_some_and(is_sips)
    }

    /// Request-URI and Route values as they have to leave: for a next hop without `lr` they are turned round (§16.6
    /// step 6).
    pub(crate) fn leaving(&self, request_uri: &str) -> (String, Vec<String>) {
        let strict = self.next().filter(|next| Uri::parse(next).is_ok_and(|uri| !uri.params().has("lr")));
        match strict {
            None => (request_uri.to_owned(), self.routes.clone()),
            Some(next) => {
                let rest = self.routes[1..].iter().cloned();
                (next.to_owned(), rest.chain([format!("<{request_uri}>")]).collect())
            }
        }
    }
}

/// Takes off a request's Route whatever names us. `ours` says of a URI whether it is this proxy's.
pub fn route(request: &Message, ours: &dyn Fn(&Uri<'_>) -> bool) -> Routed {
    let mut routed = Routed {
        request_uri: request.request_uri().unwrap_or_default().to_owned(),
        routes: request.values(Name::Route).map(str::to_owned).collect(),
        ..Routed::default()
    };
    // §16.4: a strict router has put what we once recorded into the Request-URI, and the real one behind all Routes.
    if let Some(user) = own(&routed.request_uri, ours)
        && let Some(real) = routed.routes.last().and_then(|last| uri_of(last))
    {
        routed.routes.pop();
        routed.ours = true;
        routed.token = user;
        routed.request_uri = real;
    }
    if let Some(plain) = without_maddr(&routed.request_uri, ours) {
        routed.request_uri = plain;
    }
    // RFC 5658 §4: we may have recorded ourselves twice, once for each side.
    let names_us = |value: &String| NameAddr::parse(value).ok().and_then(|route| own(route.uri_text(), ours));
    let named = routed.routes.iter().map_while(names_us);
    let (count, token) = named.fold((0, routed.token), |(count, token), user| (count + 1, token.or(user)));
    routed.token = token;
    routed.ours |= count > 0;
    routed.routes.drain(..count);
    routed
}

/// The URI of a Route value, if it reads as one: else it is nothing that a request line could hold.
fn uri_of(route: &str) -> Option<String> {
    let route = NameAddr::parse(route).ok()?;
    route.uri().ok().map(|uri| uri.as_str().to_owned())
}

/// Whether this is a URI that we put into Record-Route, all of which have `lr`; and its user part.
fn own(uri: &str, ours: &dyn Fn(&Uri<'_>) -> bool) -> Option<Option<String>> {
    let uri = Uri::parse(uri).ok()?;
    (uri.params().has("lr") && ours(&uri)).then(|| uri.user().map(str::to_owned))
}

/// §16.4: a Request-URI whose `maddr` is ours loses it, together with a port or transport that only led here.
fn without_maddr(text: &str, ours: &dyn Fn(&Uri<'_>) -> bool) -> Option<String> {
    let uri = Uri::parse(text).ok().filter(Uri::is_sip)?;
    let maddr = uri.params().value("maddr")?;
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    let here = format!("sip:{maddr}{port}");
    if !Uri::parse(&here).is_ok_and(|here| ours(&here)) {
        return None;
    }
    let (before, params) = text.split_at(text.find('@').unwrap_or(0) + text[text.find('@').unwrap_or(0)..].find(';')?);
    let before = before.strip_suffix(&port).unwrap_or(before);
    let (params, headers) = params.split_once('?').map_or((params, None), |(params, headers)| (params, Some(headers)));
    let mut plain = before.to_owned();
    for (name, value) in Params::new(params) {
        if !["maddr", "transport"].iter().any(|dropped| name.eq_ignore_ascii_case(dropped)) {
            plain.push(';');
            plain.push_str(name);
            if let Some(value) = value {
                plain.push('=');
                plain.push_str(value);
            }
        }
    }
    if let Some(headers) = headers {
        plain.push('?');
        plain.push_str(headers);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Limits, parse_datagram};
    use crate::uri::Host;

    fn routed(uri: &str, routes: &[&str]) -> Routed {
        let routes: String = routes.iter().map(|route| format!("Route: {route}\r\n")).collect();
        let text = format!(
            "BYE {uri} SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\n{routes}From: <sip:a@a.example>;tag=1\r\n\
             To: <sip:b@b.example>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 BYE\r\nContent-Length: 0\r\n\r\n"
        );
        let request = parse_datagram(text.into(), &Limits::default()).expect("sound");
        route(&request, &|uri| uri.host() == Some(Host::Domain("edge.example")))
    }

    #[test]
    fn routes_that_name_us_are_taken_off_and_the_rest_stays() {
        // Request-URI, Routes; Request-URI after, token, Routes left.
        type Row<'a> = (&'a str, &'a [&'a str], &'a str, Option<&'a str>, &'a [&'a str]);
        let table: &[Row<'_>] = &[
            ("sip:b@10.0.0.1", &[], "sip:b@10.0.0.1", None, &[]),
            ("sip:b@10.0.0.1", &["<sip:tok@EDGE.example:5061;transport=tls;lr>"], "sip:b@10.0.0.1", Some("tok"), &[]),
            (
                "sip:b@10.0.0.1",
                &["<sip:tok@edge.example;lr>, <sip:tok@edge.example:5062;lr>, <sip:home.example;lr>"],
                "sip:b@10.0.0.1",
                Some("tok"),
                &["<sip:home.example;lr>"],
            ),
            (
                "sip:b@10.0.0.1",
                &["<sip:p.example;lr>", "<sip:edge.example;lr>"],
                "sip:b@10.0.0.1",
                None,
                &["<sip:p.example;lr>", "<sip:edge.example;lr>"],
            ),
            // A strict router in front of us.
            (
                "sip:tok@edge.example;lr",
                &["<sip:p.example;lr>", "<sip:b@10.0.0.1>"],
                "sip:b@10.0.0.1",
                Some("tok"),
                &["<sip:p.example;lr>"],
            ),
            // Nobody's URI stands behind the Routes of this one.
            (
                "sip:tok@edge.example;lr",
                &["<sip:p.example;lr>", "<sip:a b>"],
                "sip:tok@edge.example;lr",
                None,
                &["<sip:p.example;lr>", "<sip:a b>"],
            ),
            // A request for the edge itself is none of those.
            ("sip:edge.example", &["<sip:p.example;lr>"], "sip:edge.example", None, &["<sip:p.example;lr>"]),
            ("sip:edge.example;lr", &[], "sip:edge.example;lr", None, &[]),
            // maddr.
            (
                "sip:b@b.example:5070;maddr=edge.example;transport=tcp;x=1?a=b",
                &[],
                "sip:b@b.example;x=1?a=b",
                None,
                &[],
            ),
            ("sip:b@b.example;maddr=other.example", &[], "sip:b@b.example;maddr=other.example", None, &[]),
        ];
        for (uri, routes, expected, token, left) in table {
            let routed = routed(uri, routes);
            assert_eq!(routed.request_uri, *expected, "{uri} {routes:?}");
            assert_eq!(
                (routed.token.as_deref(), &routed.routes[..]),
                (*token, &left.iter().map(|route| (*route).to_owned()).collect::<Vec<_>>()[..]),
                "{uri}"
            );
        }
    }

    #[test]
    fn a_next_hop_without_lr_gets_its_uri_as_request_uri() {
        let loose = routed("sip:b@10.0.0.1", &["<sip:p.example;lr>", "<sip:q.example;lr>"]);
        assert_eq!(loose.next(), Some("sip:p.example;lr"));
        assert_eq!(loose.leaving("sip:b@10.0.0.1").0, "sip:b@10.0.0.1");
        let strict = routed("sip:b@10.0.0.1", &["<sip:p.example>", "<sip:q.example;lr>"]);
        let (uri, routes) = strict.leaving("sip:b@10.0.0.1");
        assert_eq!(
            (uri.as_str(), routes),
            ("sip:p.example", vec!["<sip:q.example;lr>".into(), "<sip:b@10.0.0.1>".into()])
        );
    }
}
