//! How a signed-in user asks for credentials of the A/V edge, and what is answered: the documents of MS-AVEDGEA, which a
//! Lync client sends as SERVICE to the address of its media relay authentication service.
//!
//! ```text
//! phone ─SERVICE sip:mras@contoso.com─► home ─► edge: 200 with a user name and a password for some hours
//! ```

use std::fmt;
use std::fmt::Write as _;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// The content type of both documents.
pub const CONTENT_TYPE: &str = "application/msrtc-media-relay-auth+xml";
/// The method that they travel with.
pub const METHOD: &str = "SERVICE";
/// The user part of the address that is asked.
pub const USER: &str = "mras";

/// The namespace of both documents.
const NAMESPACE: &str = "http://schemas.microsoft.com/2006/09/sip/mrasp";
/// The namespace of what we add: the port for TURN over TLS.
const OURS: &str = "urn:reveille:media-relay";
/// Bytes of a document, more than which nobody needs.
const BYTES_MAX: usize = 8 * 1024;
/// Relays in one answer.
const RELAYS_MAX: usize = 16;

/// What a user asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ask {
    /// Chosen by who asks, and repeated in the answer.
    pub request_id: String,
    /// The same for the one request inside.
    pub credentials_id: String,
    /// The version that the client speaks.
    pub version: String,
    /// The address that is asked.
    pub to: String,
    /// Who asks, as `sip:user@domain`.
    pub from: String,
    /// For whom.
    pub identity: String,
    /// How long they should hold, in minutes.
    pub minutes: u32,
}

/// What is answered.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Grant {
    /// The credentials.
    pub credentials: Credentials,
    /// How long they hold, in minutes.
    pub minutes: u32,
    /// Where they are good.
    pub relays: Vec<Relay>,
}

/// A user name and a password for a media relay. Debug shows the name only.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// One media relay: a TURN server.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Relay {
    /// Its name or address.
    pub host: String,
    /// Its port for UDP.
    pub udp: Option<u16>,
    /// Its port for TCP.
    pub tcp: Option<u16>,
    /// Its port for TLS over TCP.
    pub tls: Option<u16>,
}

/// Why a document cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DocumentError {
    /// Something that has to be there is not.
    #[error("the document has no {0}")]
    Missing(&'static str),
    /// Not XML, or not of this kind.
    #[error("the document is no {0} of MS-AVEDGEA")]
    NotOne(&'static str),
    /// The service says no in the document itself.
    #[error("the media relay service answered {0:?}")]
    Refused(String),
    /// Longer than anybody needs.
    #[error("the document has more than {BYTES_MAX} bytes")]
    TooLong,
}

impl Ask {
    /// The document.
    pub fn write(&self) -> String {
        let Self { request_id, credentials_id, version, to, from, identity, minutes } = self;
        let mut out = format!("<request xmlns=\"{NAMESPACE}\"");
        for (name, value) in [("requestID", request_id), ("version", version), ("to", to), ("from", from)] {
            attribute(&mut out, name, value);
        }
        out.push_str("><credentialsRequest");
        attribute(&mut out, "credentialsRequestID", credentials_id);
        out.push('>');
        element(&mut out, "identity", identity);
        element(&mut out, "location", "internet");
        element(&mut out, "duration", &minutes.to_string());
        out.push_str("</credentialsRequest></request>");
        out
    }

    /// Reads one that anybody may have written.
    pub fn read(text: &[u8]) -> Result<Self, DocumentError> {
        let mut ask = Self::default();
        walk(text, "request", |path, found| match (path, found) {
            ([], Found::Open(tag)) => {
                ask.request_id = tag.attribute("requestID").unwrap_or_default();
                ask.version = tag.attribute("version").unwrap_or_default();
                ask.to = tag.attribute("to").unwrap_or_default();
                ask.from = tag.attribute("from").unwrap_or_default();
            }
            ([inner], Found::Open(tag)) if inner == "credentialsRequest" => {
                ask.credentials_id = tag.attribute("credentialsRequestID").unwrap_or_default();
            }
            ([inner, leaf], Found::Text(text)) if inner == "credentialsRequest" => match leaf.as_str() {
                "identity" => ask.identity.push_str(&text),
                "duration" => ask.minutes = text.trim().parse().unwrap_or_default(),
                _ => {}
            },
            _ => {}
        })?;
        if ask.identity.trim().is_empty() {
            return Err(DocumentError::Missing("identity"));
        }
        ask.identity = ask.identity.trim().to_owned();
        Ok(ask)
    }
}

impl Grant {
    /// The document that answers `ask`.
    pub fn write(&self, ask: &Ask) -> String {
        let mut out = head(ask, "OK");
        out.push_str("<credentialsResponse");
        attribute(&mut out, "credentialsRequestID", &ask.credentials_id);
        out.push_str("><credentials>");
        element(&mut out, "username", &self.credentials.username);
        element(&mut out, "password", &self.credentials.password);
        element(&mut out, "duration", &self.minutes.to_string());
        out.push_str("</credentials><mediaRelayList>");
        for relay in &self.relays {
            out.push_str("<mediaRelay>");
            element(&mut out, "location", "internet");
            element(&mut out, "hostName", &relay.host);
            for (name, port) in [("udpPort", relay.udp), ("tcpPort", relay.tcp)] {
                if let Some(port) = port {
                    element(&mut out, name, &port.to_string());
                }
            }
            if let Some(port) = relay.tls {
                let _ = write!(out, "<tlsPort xmlns=\"{OURS}\">{port}</tlsPort>");
            }
            out.push_str("</mediaRelay>");
        }
        out.push_str("</mediaRelayList></credentialsResponse></response>");
        out
    }

    /// The document that refuses `ask`; the phrases are MS-AVEDGEA's, for instance `Forbidden` or `Request Malformed`.
    pub fn refuse(ask: &Ask, phrase: &str) -> String {
        head(ask, phrase) + "</response>"
    }

    /// Reads what a service has answered.
    pub fn read(text: &[u8]) -> Result<Self, DocumentError> {
        let (mut grant, mut phrase) = (Self::default(), String::new());
        walk(text, "response", |path, found| match (path, found) {
            ([], Found::Open(tag)) => phrase = tag.attribute("reasonPhrase").unwrap_or_default(),
            ([_, list, relay], Found::Open(_)) if list == "mediaRelayList" && relay == "mediaRelay" => {
                grant.relays.push(Relay::default());
            }
            ([_, credentials, leaf], Found::Text(text)) if credentials == "credentials" => match leaf.as_str() {
                "username" => grant.credentials.username.push_str(&text),
                "password" => grant.credentials.password.push_str(&text),
                "duration" => grant.minutes = text.trim().parse().unwrap_or_default(),
                _ => {}
            },
            ([_, list, _, leaf], Found::Text(text)) if list == "mediaRelayList" => {
                let Some(relay) = grant.relays.last_mut() else { return };
                match leaf.as_str() {
                    "hostName" | "directIPAddress" if relay.host.is_empty() => relay.host = text.trim().to_owned(),
                    "udpPort" => relay.udp = text.trim().parse().ok(),
                    "tcpPort" => relay.tcp = text.trim().parse().ok(),
                    "tlsPort" => relay.tls = text.trim().parse().ok(),
                    _ => {}
                }
            }
            _ => {}
        })?;
        grant.relays.truncate(RELAYS_MAX);
        if phrase != "OK" {
            return Err(DocumentError::Refused(phrase.chars().take(64).collect()));
        }
        if grant.credentials.username.is_empty() || grant.credentials.password.is_empty() {
            return Err(DocumentError::Missing("credentials"));
        }
        if grant.relays.is_empty() {
            return Err(DocumentError::Missing("mediaRelay"));
        }
        Ok(grant)
    }
}

fn head(ask: &Ask, phrase: &str) -> String {
    let Ask { request_id, version, to, from, .. } = ask;
    let mut out = format!("<?xml version=\"1.0\"?><response xmlns=\"{NAMESPACE}\"");
    let given = [("requestID", request_id.as_str()), ("version", version), ("serverVersion", "2.0")];
    for (name, value) in given.into_iter().chain([("to", to.as_str()), ("from", from), ("reasonPhrase", phrase)]) {
        attribute(&mut out, name, value);
    }
    out.push('>');
    out
}

fn attribute(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, " {name}=\"{}\"", quick_xml::escape::escape(value));
}

fn element(out: &mut String, name: &str, text: &str) {
    let _ = write!(out, "<{name}>{}</{name}>", quick_xml::escape::escape(text));
}

/// What is met on the way through a document.
enum Found<'a> {
    /// An element begins.
    Open(Tag<'a>),
    /// Text inside it.
    Text(String),
}

struct Tag<'a>(&'a BytesStart<'a>);

impl Tag<'_> {
    fn attribute(&self, name: &str) -> Option<String> {
        let attribute = self.0.try_get_attribute(name).ok()??;
        quick_xml::escape::unescape(&attribute.value).ok().map(|value| value.chars().take(256).collect())
    }
}

/// Tells each element and text of a document whose root is called `root`, with the path below the root. Names count
/// without prefixes: clients choose those as they like. Entities other than XML's own five are not known, so that no
/// document can grow while it is read.
fn walk(text: &[u8], root: &'static str, mut tell: impl FnMut(&[String], Found<'_>)) -> Result<(), DocumentError> {
    if text.len() > BYTES_MAX {
        return Err(DocumentError::TooLong);
    }
    let not_one = || DocumentError::NotOne(root);
    let text = std::str::from_utf8(text).map_err(|_| not_one())?;
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let mut seen = false;
    loop {
        match reader.read_event().map_err(|_| not_one())? {
            event @ (Event::Start(_) | Event::Empty(_)) => {
                let (tag, is_empty) = match &event {
                    Event::Empty(tag) => (tag, true),
                    Event::Start(tag) => (tag, false),
                    _ => return Err(not_one()),
                };
                let name = tag.local_name().into_inner().to_owned();
                if path.is_empty() && (seen || name != root) {
                    return Err(not_one());
                }
                seen = true;
                path.push(name);
                tell(&path[1..], Found::Open(Tag(tag)));
                if is_empty {
                    path.pop();
                }
            }
            Event::Text(text) if !path.is_empty() => {
                tell(&path[1..], Found::Text(text.as_ref().to_owned()));
            }
            Event::GeneralRef(reference) if !path.is_empty() => {
                let text = format!("&{};", reference.as_ref());
                let text = quick_xml::escape::unescape(&text).map_err(|_| not_one())?.into_owned();
                tell(&path[1..], Found::Text(text));
            }
            Event::End(_) => {
                path.pop();
            }
            Event::DocType(_) => return Err(not_one()),
            Event::Eof if seen && path.is_empty() => return Ok(()),
            Event::Eof => return Err(not_one()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> Ask {
        Ask {
            request_id: "14353616".into(),
            credentials_id: "77".into(),
            version: "2.0".into(),
            to: "sip:mras@contoso.com".into(),
            from: "sip:ken&myer@contoso.com".into(),
            identity: "sip:ken&myer@contoso.com".into(),
            minutes: 480,
        }
    }

    fn grant() -> Grant {
        Grant {
            credentials: Credentials { username: "1700000000:ken&myer@contoso.com".into(), password: "a+/<b=".into() },
            minutes: 480,
            relays: vec![
                Relay { host: "turn.contoso.com".into(), udp: Some(3478), tcp: Some(3478), tls: Some(443) },
                Relay { host: "192.0.2.1".into(), udp: None, tcp: Some(443), tls: None },
            ],
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        assert_eq!(Ask::read(ask().write().as_bytes()), Ok(ask()));
        assert_eq!(Grant::read(grant().write(&ask()).as_bytes()), Ok(grant()));
        let refused = Grant::refuse(&ask(), "Forbidden");
        assert_eq!(Grant::read(refused.as_bytes()), Err(DocumentError::Refused("Forbidden".into())));
    }

    #[test]
    fn a_lync_clients_own_request_is_read_with_any_prefix() {
        let text = "<?xml version=\"1.0\"?>\r\n<m:request requestID=\"1\" m:x='' from=\"sip:b@c\" version=\"1.0\" to=\"sip:MRASLoc.c@c\" \
                    xmlns:m=\"http://schemas.microsoft.com/2006/09/sip/mrasp\"><m:credentialsRequest credentialsRequestID=\"1\">\
                    <m:identity> sip:b@c </m:identity><m:location>internet</m:location><m:duration>480</m:duration>\
                    </m:credentialsRequest></m:request>";
        let read = Ask::read(text.as_bytes()).unwrap();
        assert_eq!((read.identity.as_str(), read.minutes, read.request_id.as_str()), ("sip:b@c", 480, "1"));
    }

    #[test]
    fn what_is_no_request_is_refused_and_grows_no_larger() {
        let bomb = "<!DOCTYPE r [<!ENTITY a \"aaaa\">]><request><credentialsRequest><identity>&a;</identity></credentialsRequest></request>";
        let unknown = "<request><credentialsRequest><identity>&a;</identity></credentialsRequest></request>";
        let two = "<request></request><request></request>";
        let long = format!("<request><!--{}--></request>", "x".repeat(BYTES_MAX));
        for (text, expected) in [
            ("", DocumentError::NotOne("request")),
            ("<request>", DocumentError::NotOne("request")),
            ("<response/>", DocumentError::NotOne("request")),
            ("<request/>", DocumentError::Missing("identity")),
            (bomb, DocumentError::NotOne("request")),
            (unknown, DocumentError::NotOne("request")),
            (two, DocumentError::NotOne("request")),
            (long.as_str(), DocumentError::TooLong),
        ] {
            assert_eq!(Ask::read(text.as_bytes()), Err(expected), "{text:.60}");
        }
    }

    #[test]
    fn a_password_is_not_in_what_is_logged() {
        assert!(!format!("{:?}", grant()).contains("a+/<b="));
    }
}
