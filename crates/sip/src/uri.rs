//! URIs: sip, sips, tel, and others as far as they need to be told apart (§19.1, RFC 3966).

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::error::SyntaxError;
use crate::list::Params;
use crate::text::{decimal_u32, ends_uri, find, split_before, split_once, trim, trim_start, unescape};

/// A URI, taken apart without copying.
///
/// ```
/// use reveille_sip::{Host, Uri};
///
/// let uri = Uri::parse("sip:bob@[2001:db8::1]:5070;transport=tcp")?;
/// assert_eq!(uri.user(), Some("bob"));
/// assert_eq!(uri.port(), Some(5070));
/// assert_eq!(uri.params().value("Transport"), Some("tcp"));
/// # Ok::<(), reveille_sip::SyntaxError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Uri<'a> {
    text: &'a str,
    scheme: Scheme<'a>,
    user: Option<&'a str>,
    password: Option<&'a str>,
    host: Option<Host<'a>>,
    port: Option<u16>,
    params: Params<'a>,
    headers: &'a str,
}

/// What stands before the first colon.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme<'a> {
    /// `sip`.
    Sip,
    /// `sips`.
    Sips,
    /// `tel` (RFC 3966).
    Tel,
    /// Any other, as written.
    Other(&'a str),
}

/// The host of a URI or Via.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// A host or domain name, as written. Names compare without case.
    Domain(&'a str),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, written in square brackets.
    V6(Ipv6Addr),
}

impl<'a> Uri<'a> {
    /// Reads a URI. Any scheme is taken; ask [`Uri::scheme`]. Only sip and sips are taken apart further.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        if text.bytes().any(|byte| NEVER_IN_URI[usize::from(byte)]) {
            return Err(SyntaxError::new("a URI holds white space, quotation marks, brackets or controls"));
        }
        let (scheme_text, rest) = split_once(text, b':').ok_or(SyntaxError::new("a URI has no scheme"))?;
        let scheme = Scheme::parse(scheme_text)?;
        if rest.is_empty() {
            return Err(SyntaxError::new("a URI ends behind its scheme"));
        }
        let mut uri = Self {
            text,
            scheme,
            user: None,
            password: None,
            host: None,
            port: None,
            params: Params::default(),
            headers: "",
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => uri.split_sip(rest)?,
            Scheme::Tel => {
                let (number, params) = split_before(rest, b';');
                (uri.user, uri.params) = (Some(number), Params::new(params));
            }
            Scheme::Other(_) => {}
        }
        Ok(uri)
    }

    fn split_sip(&mut self, rest: &'a str) -> Result<(), SyntaxError> {
        // Neither userinfo nor anything behind it may hold a bare @ (§25.1), while ; ? and / may stand in the user.
        let after_user = match split_once(rest, b'@') {
            None => rest,
            Some((userinfo, after)) => {
                if find(after, b'@').is_some() {
                    return Err(SyntaxError::new("a URI has two @"));
                }
                let (user, password) = match split_once(userinfo, b':') {
                    Some((user, password)) => (user, Some(password)),
                    None => (userinfo, None),
                };
                if user.is_empty() {
                    return Err(SyntaxError::new("a URI has nothing before its @"));
                }
                unescape(userinfo)?;
                (self.user, self.password) = (Some(user), password);
                after
            }
        };
        let (before_headers, headers) = match split_once(after_user, b'?') {
            Some((before, headers)) => (before, headers),
            None => (after_user, ""),
        };
        let (host_port, params) = split_before(before_headers, b';');
        let (host, port) = Host::parse_with_port(host_port)?;
        (self.host, self.port) = (Some(host), port);
        (self.params, self.headers) = (Params::new(params), headers);
        Ok(())
    }

    /// The URI as it was written.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme<'a> {
        self.scheme
    }

    /// Whether the scheme is sip or sips.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// What stands before @, without password, %-escapes as written; for tel the number.
    pub fn user(&self) -> Option<&'a str> {
        self.user
    }

    /// The password, whose use §19.1.1 discourages.
    pub fn password(&self) -> Option<&'a str> {
        self.password
    }

    /// The host; `None` for schemes other than sip and sips.
    pub fn host(&self) -> Option<Host<'a>> {
        self.host
    }

    /// The port, if one is written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The parameters behind the host.
    pub fn params(&self) -> Params<'a> {
        self.params
    }

    /// The header part behind `?`, or nothing.
    pub fn headers(&self) -> &'a str {
        self.headers
    }

    /// Whether both name the same resource (§19.1.4). Schemes other than sip and sips compare as text.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if self.text == other.text || !self.is_sip() || !other.is_sip() {
            return self.text == other.text;
        }
        // A default port written out is not the same as none; a user never equals the absence of one.
        self.scheme == other.scheme
            && has_few(self.params)
            && has_few(other.params)
            && same_escaped(self.user, other.user, false)
            && same_escaped(self.password, other.password, false)
            && self.host == other.host
            && self.port == other.port
            && params_agree(self.params, other.params)
            && params_agree(other.params, self.params)
            && headers_agree(self.headers, other.headers)
    }
}

impl<'a> Scheme<'a> {
    fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        // Most are this one.
        if text.eq_ignore_ascii_case("sip") {
            return Ok(Scheme::Sip);
        }
        // RFC 3986 §3.1.
        let rest_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if !text.starts_with(|first: char| first.is_ascii_alphabetic()) || !text.bytes().all(rest_allowed) {
            return Err(SyntaxError::new("the scheme of a URI is malformed"));
        }
        Ok(if text.eq_ignore_ascii_case("sips") {
            Scheme::Sips
        } else if text.eq_ignore_ascii_case("tel") {
            Scheme::Tel
        } else {
            Scheme::Other(text)
        })
    }
}

impl<'a> Host<'a> {
    /// Reads a host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return ipv6(inner).map(Host::V6).ok_or(SyntaxError::new("an IPv6 address is malformed"));
        }
        // Underscores are no part of §25.1's hostname but stand in real networks.
        let allowed = |byte: u8| IN_HOST[usize::from(byte)];
        if text.is_empty() || text.len() > 255 || !text.bytes().all(allowed) || text.starts_with('.') {
            return Err(SyntaxError::new("a host name is malformed"));
        }
        // Every IPv4 address ends in a digit, and hardly any name does.
        let address = if text.ends_with(|last: char| last.is_ascii_digit()) { text.parse().ok() } else { None };
        Ok(address.map_or(Host::Domain(text), Host::V4))
    }

    /// Reads `host` or `host:port`, with white space around the colon as Via allows it.
    pub(crate) fn parse_with_port(text: &'a str) -> Result<(Self, Option<u16>), SyntaxError> {
        let host_end = if text.starts_with('[') {
            text.find(']').map(|at| at + 1).ok_or(SyntaxError::new("an IPv6 address is not closed"))?
        } else {
            text.bytes().position(|byte| matches!(byte, b':' | b' ' | b'\t')).unwrap_or(text.len())
        };
        let (host, rest) = text.split_at(host_end);
        let host = Self::parse(host)?;
        let rest = trim(rest);
        if rest.is_empty() {
            return Ok((host, None));
        }
        let port = rest
            .strip_prefix(':')
            .and_then(|digits| decimal_u32(trim_start(digits)))
            .and_then(|port| u16::try_from(port).ok())
            .ok_or(SyntaxError::new("a port is not a number up to 65535"))?;
        Ok((host, Some(port)))
    }

    /// The address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Domain(_) => None,
            Host::V4(address) => Some((*address).into()),
            Host::V6(address) => Some((*address).into()),
        }
    }

    /// The name, if the host is one.
    pub fn domain(&self) -> Option<&'a str> {
        match self {
            Host::Domain(name) => Some(name),
            Host::V4(_) | Host::V6(_) => None,
        }
    }
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Host::Domain(one), Host::Domain(another)) => one.eq_ignore_ascii_case(another),
            (one, another) => one.ip().is_some() && one.ip() == another.ip(),
        }
    }
}

impl Eq for Host<'_> {}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Domain(name) => f.write_str(name),
            Host::V4(address) => address.fmt(f),
            Host::V6(address) => write!(f, "[{address}]"),
        }
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

const NEVER_IN_URI: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = ends_uri(byte as u8) || matches!(byte as u8, b'<' | b'>' | b'"');
        byte += 1;
    }
    table
};

const IN_HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'.' | b'_');
        byte += 1;
    }
    table
};

/// An IPv6 address. RFC 5118 §4.10: §25.1 by mistake let `::` be followed by a third colon before an IPv4 address, so that
/// form is read too.
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().or_else(|| {
        let (before, v4) = text.split_once(":::")?;
        v4.parse::<Ipv4Addr>().ok()?;
        format!("{before}::{v4}").parse().ok()
    })
}

/// Each parameter of one URI is looked for in the other. Two with more of them than any peer has a use for are the same only
/// if their text is.
fn has_few(mut params: Params<'_>) -> bool {
    const PARAMS_MAX: usize = 64;
    params.nth(PARAMS_MAX).is_none()
}

/// §19.1.4: a parameter in both must match; of those in one only, these five matter.
fn params_agree(one: Params<'_>, other: Params<'_>) -> bool {
    let mut all = one;
    all.all(|(name, value)| match other.find(name) {
        Some(found) => same_escaped(value, found, true),
        None => !["user", "ttl", "method", "maddr", "transport"].iter().any(|must| name.eq_ignore_ascii_case(must)),
    })
}

/// §19.1.4: header parts are never ignored; their order does not matter.
fn headers_agree(one: &str, other: &str) -> bool {
    let parts = |text: &str| {
        let mut parts: Vec<String> = text
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                format!("{}={}", plain(name).to_ascii_lowercase(), plain(value))
            })
            .collect();
        parts.sort_unstable();
        parts
    };
    one == other || parts(one) == parts(other)
}

fn same_escaped(one: Option<&str>, other: Option<&str>, ignore_case: bool) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) if ignore_case => plain(one).eq_ignore_ascii_case(&plain(other)),
        (Some(one), Some(other)) => one == other || plain(one) == plain(other),
        _ => false,
    }
}

/// Without %-escapes; text whose escapes are broken stands for itself.
fn plain(text: &str) -> Cow<'_, str> {
    unescape(text).unwrap_or(Cow::Borrowed(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_taken_apart() {
        let uri = Uri::parse("SIPS:user;par=u%40example.net:pw@Example.com:5061;lr;x=y?Subject=a&b=c").unwrap();
        assert_eq!(uri.scheme(), Scheme::Sips);
        assert_eq!(uri.user(), Some("user;par=u%40example.net"));
        assert_eq!(uri.password(), Some("pw"));
        assert_eq!(uri.host(), Some(Host::Domain("example.COM")));
        assert_eq!(uri.port(), Some(5061));
        assert!(uri.params().has("lr"));
        assert_eq!(uri.headers(), "Subject=a&b=c");
        let tel = Uri::parse("tel:+1-201;phone-context=x").unwrap();
        assert_eq!((tel.user(), tel.params().value("phone-context")), (Some("+1-201"), Some("x")));
        assert_eq!(Uri::parse("nobodyKnowsThisScheme:totallyopaque").unwrap().host(), None);
        assert_eq!(Uri::parse("sip:[::1]").unwrap().host().and_then(|host| host.ip()), Some("::1".parse().unwrap()));
    }

    #[test]
    fn malformed_uris_are_refused() {
        for bad in [
            "",
            "sip",
            "sip:",
            "sip:@a",
            "sip:a@",
            "sip:a@b@c",
            "sip:a b@c",
            "<sip:a@b>",
            "sip:a@b:99999",
            "sip:a@b:",
            "sip:a@b:5o60",
            "sip:a@[::1",
            "sip:a@[::g]",
            "sip:a%zz@b",
            "1sip:a@b",
            "sip:a@b\"c",
            "sip:a@.b",
            "sip:a@b/c",
        ] {
            assert!(Uri::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn comparison_follows_the_examples_of_section_19_1_4() {
        let same = |one: &str, other: &str| {
            let (one, other) = (Uri::parse(one).unwrap(), Uri::parse(other).unwrap());
            assert_eq!(one.equivalent(&other), other.equivalent(&one), "{one} {other}");
            one.equivalent(&other)
        };
        for (one, other) in [
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            ("sip:carol@chicago.com;security=off", "sip:carol@chicago.com;security=on"),
            ("sip:a@b", "sips:a@b"),
            ("sip:b", "sip:a@b"),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }
}
