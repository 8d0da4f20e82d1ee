//! Via: the road a request came, and the road its response takes back (§20.42, RFC 3581, RFC 5923).

use std::fmt;
use std::net::IpAddr;

use crate::error::SyntaxError;
use crate::list::Params;
use crate::text::{decimal_u32, split_before, split_once, token_length, trim, trim_start};
use crate::uri::Host;

/// One Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    transport: Transport<'a>,
    sent_by: &'a str,
    host: Host<'a>,
    port: Option<u16>,
    params: Params<'a>,
}

/// The transport that a Via names; compared without case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Transport<'a> {
    /// SCTP (RFC 4168).
    Sctp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// TLS over SCTP (RFC 4168).
    TlsSctp,
    /// UDP.
    Udp,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS (RFC 7118).
    Wss,
    /// Any other token.
    Other(&'a str),
}

impl<'a> Via<'a> {
    /// Reads one Via value: `SIP/2.0/TLS host:port;params`, with white space wherever §25.1 allows it.
    pub fn parse(value: &'a str) -> Result<Self, SyntaxError> {
        let rest = match value.strip_prefix("SIP/2.0/") {
            Some(rest) => rest,
            None => behind_protocol(value)?,
        };
        let rest = trim_start(rest);
        let transport_end = token_length(rest.as_bytes());
        let (transport, rest) = rest.split_at(transport_end);
        if transport.is_empty() || !rest.starts_with([' ', '\t']) {
            return Err(MALFORMED);
        }
        let (sent_by, params) = split_before(rest, b';');
        let sent_by = trim(sent_by);
        let (host, port) = Host::parse_with_port(sent_by)?;
        Ok(Self { transport: Transport::parse(transport), sent_by, host, port, params: Params::new(params) })
    }

    /// The transport over which the request was sent.
    pub fn transport(&self) -> Transport<'a> {
        self.transport
    }

    /// Host and port as written.
    pub fn sent_by(&self) -> &'a str {
        self.sent_by
    }

    /// Where the sender wants responses.
    pub fn host(&self) -> Host<'a> {
        self.host
    }

    /// The port, if one is written; the default is that of the transport (§18.2.2).
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The branch, which identifies the transaction.
    pub fn branch(&self) -> Option<&'a str> {
        self.params.value("branch").filter(|branch| !branch.is_empty())
    }

    /// The address which the request really came from (§18.2.1). IPv6 is read with and without brackets.
    pub fn received(&self) -> Option<IpAddr> {
        self.params.value("received").and_then(|text| text.trim_matches(['[', ']']).parse().ok())
    }

    /// `rport` (RFC 3581): `Some(None)` asks for it, `Some(Some(port))` is the answer.
    pub fn rport(&self) -> Option<Option<u16>> {
        let value = self.params.find("rport")?;
        Some(value.and_then(decimal_u32).and_then(|port| u16::try_from(port).ok()))
    }

    /// Whether the sender lets us send requests of our own over this connection (RFC 5923 §5).
    pub fn alias(&self) -> bool {
        self.params.has("alias")
    }

    /// All parameters.
    pub fn params(&self) -> Params<'a> {
        self.params
    }
}

impl<'a> Transport<'a> {
    /// Reads a transport name, as in Via or in a URI's `transport` parameter.
    pub fn parse(text: &'a str) -> Self {
        const KNOWN: [Transport<'static>; 7] = [
            Transport::Tls,
            Transport::Tcp,
            Transport::Udp,
            Transport::Wss,
            Transport::Ws,
            Transport::Sctp,
            Transport::TlsSctp,
        ];
        match KNOWN.iter().find(|known| known.as_str().eq_ignore_ascii_case(text)) {
            Some(known) => *known,
            None => Transport::Other(text),
        }
    }

    /// The name as Via writes it.
    pub fn as_str(&self) -> &'a str {
        match self {
            Transport::Sctp => "SCTP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::TlsSctp => "TLS-SCTP",
            Transport::Udp => "UDP",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
            Transport::Other(text) => text,
        }
    }

    /// The port meant when none is written (§18.2.2, RFC 7118 §5.2.4).
    pub fn default_port(&self) -> u16 {
        match self {
            Transport::Sctp | Transport::Tcp | Transport::Udp | Transport::Other(_) => 5060,
            Transport::Tls | Transport::TlsSctp => 5061,
            Transport::Ws => 80,
            Transport::Wss => 443,
        }
    }
}

/// What follows the protocol, which most write without white space and in capitals.
fn behind_protocol(value: &str) -> Result<&str, SyntaxError> {
    let (protocol, rest) = split_once(value, b'/').ok_or(MALFORMED)?;
    let (version, rest) = split_once(rest, b'/').ok_or(MALFORMED)?;
    if !trim(protocol).eq_ignore_ascii_case("SIP") || trim(version) != "2.0" {
        return Err(SyntaxError::new("its protocol is not SIP/2.0"));
    }
    Ok(rest)
}

const MALFORMED: SyntaxError = SyntaxError::new("it is not SIP/2.0/transport and a host");

impl fmt::Display for Transport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn via_values_are_taken_apart() {
        let via =
            Via::parse("SIP/2.0/TLS edge.contoso.com:5061;branch=z9hG4bK1;rport;received=192.0.2.1;alias").unwrap();
        assert_eq!(via.transport(), Transport::Tls);
        assert_eq!(via.sent_by(), "edge.contoso.com:5061");
        assert_eq!((via.host(), via.port()), (Host::Domain("edge.contoso.com"), Some(5061)));
        assert_eq!(via.branch(), Some("z9hG4bK1"));
        assert_eq!(via.rport(), Some(None));
        assert_eq!(via.received(), Some("192.0.2.1".parse().unwrap()));
        assert!(via.alias());
    }

    #[test]
    fn white_space_is_allowed_where_the_grammar_allows_it() {
        let via = Via::parse("SIP  /   2.0 /UDP    192.0.2.2 : 5060 ; branch = 390skdjuw").unwrap();
        assert_eq!((via.transport(), via.port(), via.branch()), (Transport::Udp, Some(5060), Some("390skdjuw")));
        let v6 = Via::parse("SIP/2.0/wss [2001:db8::9:1]:6050;received=[2001:db8::9:255];rport=5").unwrap();
        assert_eq!((v6.transport(), v6.port(), v6.rport()), (Transport::Wss, Some(6050), Some(Some(5))));
        assert_eq!(v6.received(), Some("2001:db8::9:255".parse().unwrap()));
        assert_eq!(Via::parse("SIP/2.0/NEW h").unwrap().transport(), Transport::Other("NEW"));
    }

    #[test]
    fn malformed_values_are_refused() {
        for bad in
            ["", "SIP/2.0/UDP", "SIP/2.0/UDP ", "SIP/7.0/UDP h", "HTTP/2.0/TCP h", "SIP/2.0 h", "SIP/2.0/UDP h:x"]
        {
            assert!(Via::parse(bad).is_err(), "{bad}");
        }
    }
}
