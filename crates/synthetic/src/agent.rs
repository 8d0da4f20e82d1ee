//! A SIP client for tests: signs in by digest over TLS, writes, and hears what is written to it. It has no task of its own:
//! whoever waits for an answer, or for a message, drives it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reveille_core::Aor;
use reveille_federation::media_relay::{self, Ask, DocumentError, Grant};
use reveille_sip::auth::{Challenge, Covered, Session};
use reveille_sip::{
    Frame, Limits, Message, Method, Name, PrintError, RequestBuilder, ResponseBuilder, Side, StreamFramer, call_id, tag,
};
use reveille_sip_net::{ConnectError, ConnectTimes, TlsClient, Took, Wire, connect};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

/// How long home may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may take, and its handshake.
const TIMES: ConnectTimes = ConnectTimes { connect: Duration::from_secs(5), handshake: Duration::from_secs(5) };
/// Messages that came while an answer was waited for.
const INBOX_MAX: usize = 64;
/// Seconds that a binding is asked for; it is taken back before.
const BINDING_SECS: u32 = 120;

/// The door of a home that clients come in by.
#[derive(Clone)]
pub struct Door {
    /// The name that its certificate must hold.
    pub name: String,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// How its certificate is checked.
    pub tls: Arc<TlsClient>,
    /// The number of the visit that the test is, for home to leave no trace of it.
    pub visit: String,
}

/// Whom a client plays. Debug shows the address only.
#[derive(Clone)]
pub struct Account {
    /// The address, in the domain that the test names.
    pub address: Aor,
    /// What proves it.
    pub password: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why a client came no further.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Home offers no digest that is known here.
    #[error("home asks for a proof of a kind that is not known here")]
    Challenge,
    /// The document of the A/V edge.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The connection is lost.
    #[error("the connection to home was lost: {0}")]
    Lost(#[from] io::Error),
    /// Something given cannot stand in a SIP message.
    #[error("the request cannot be written: {0}")]
    Print(#[from] PrintError),
    /// Home says no.
    #[error("home answered {status} ({phrase}) to {method}{}", .why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Refused {
        /// What was asked for.
        method: &'static str,
        /// The status.
        status: u16,
        /// Its phrase.
        phrase: String,
        /// What home adds for people.
        why: Option<String>,
    },
    /// Home says nothing.
    #[error("home did not answer {method} within {} s", ANSWER_WITHIN.as_secs())]
    Silent {
        /// What was asked for.
        method: &'static str,
    },
}

/// One signed-in client.
pub struct Agent {
    wire: Box<Wire>,
    framer: StreamFramer,
    buffer: BytesMut,
    inbox: VecDeque<Message>,
    account: Account,
    visit: String,
    local: SocketAddr,
    instance: String,
    registration: String,
    sequence: u32,
    session: Option<(Name, Session)>,
}

/// One request before it is signed.
struct Draft<'a> {
    method: Method<'static>,
    uri: String,
    to: String,
    call_id: &'a str,
    contact: Option<String>,
    expires: Option<u32>,
    content: Option<(&'a str, &'a [u8])>,
}

impl Agent {
    /// Connects; nothing is said yet.
    pub async fn connect(door: &Door, account: Account) -> Result<(Self, Took), ConnectError> {
        let connected = connect(&door.name, &door.addresses, Some(&door.tls), TIMES).await?;
        let random: u128 = rand::random();
        let agent = Self {
            wire: Box::new(connected.stream),
            framer: StreamFramer::new(Limits::default(), Side::Initiated),
            buffer: BytesMut::new(),
            inbox: VecDeque::new(),
            account,
            visit: door.visit.clone(),
            local: connected.local,
            // RFC 5626 §4.1: of version 4.
            instance: uuid(random),
            registration: call_id(rand::random()).to_string(),
            sequence: 0,
            session: None,
        };
        Ok((agent, connected.took))
    }

    /// The address that it plays.
    pub fn address(&self) -> &Aor {
        &self.account.address
    }

    /// Signs in (RFC 3261 §10.2), proving itself when it is challenged.
    pub async fn sign_in(&mut self) -> Result<(), AgentError> {
        self.register(BINDING_SECS).await
    }

    /// Signs out: its binding is taken back.
    pub async fn sign_out(&mut self) -> Result<(), AgentError> {
        self.register(0).await
    }

    async fn register(&mut self, expires: u32) -> Result<(), AgentError> {
        let (local, address) = (self.local, self.account.address.clone());
        let contact = format!("<sip:{}@{local};transport=tls>;+sip.instance=\"<{}>\"", address.user(), self.instance);
        let registration = self.registration.clone();
        let draft = Draft {
            method: Method::Register,
            uri: format!("sip:{}", address.domain()),
            to: format!("sip:{address}"),
            call_id: &registration,
            contact: Some(contact),
            expires: Some(expires),
            content: None,
        };
        self.ask("REGISTER", &draft).await.map(drop)
    }

    /// Writes to somebody (RFC 3428 §4); answers the status, 200 if it was delivered and 202 if it was kept.
    pub async fn write(&mut self, to: &Aor, content_type: &str, body: &[u8]) -> Result<u16, AgentError> {
        let id = call_id(rand::random()).to_string();
        let uri = format!("sip:{to}");
        let content = Some((content_type, body));
        let draft = Draft {
            method: Method::Message,
            to: uri.clone(),
            uri,
            call_id: &id,
            contact: None,
            expires: None,
            content,
        };
        Ok(self.ask("MESSAGE", &draft).await?.status().unwrap_or_default())
    }

    /// Asks for credentials of the A/V edge.
    pub async fn relay_credentials(&mut self, minutes: u32) -> Result<Grant, AgentError> {
        let address = self.account.address.clone();
        let (id, own) = (call_id(rand::random()).to_string(), format!("sip:{address}"));
        let uri = format!("sip:{}@{}", media_relay::USER, address.domain());
        let ask = Ask {
            request_id: format!("{}", rand::random::<u32>()),
            credentials_id: "1".into(),
            version: "2.0".into(),
            to: uri.clone(),
            from: own.clone(),
            identity: own,
            minutes,
        };
        let body = ask.write();
        let content = Some((media_relay::CONTENT_TYPE, body.as_bytes()));
        let method = Method::Other(media_relay::METHOD);
        let draft = Draft { method, to: uri.clone(), uri, call_id: &id, contact: None, expires: None, content };
        let answer = self.ask(media_relay::METHOD, &draft).await?;
        Ok(Grant::read(answer.body_bytes())?)
    }

    /// The next message that somebody has written to it.
    pub async fn hear(&mut self, within: Duration) -> Result<Message, AgentError> {
        let end = Instant::now() + within;
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Ok(message);
            }
            let frame = timeout_at(end, self.frame()).await.map_err(|_| AgentError::Silent { method: "MESSAGE" })??;
            if frame.is_request() {
                self.take(frame).await?;
            }
        }
    }

    /// Sends a request and waits for its final answer, proving itself once if it is asked to.
    async fn ask(&mut self, method: &'static str, draft: &Draft<'_>) -> Result<Message, AgentError> {
        let end = Instant::now() + ANSWER_WITHIN;
        let mut proven = false;
        loop {
            let answer = timeout_at(end, self.exchange(draft)).await.map_err(|_| AgentError::Silent { method })??;
            let status = answer.status().unwrap_or_default();
            match status {
                200..300 => return Ok(answer),
                // A nonce that has grown old is no wrong password: the challenge says so, and is answered once more.
                401 | 407 if !proven => {
                    self.session = Some(self.session_for(&answer)?);
                    proven = true;
                }
                _ => {
                    let why = answer.header(Name::Warning).and_then(quoted);
                    let phrase = answer.reason_phrase().unwrap_or_default().chars().take(64).collect();
                    return Err(AgentError::Refused { method, status, phrase, why });
                }
            }
        }
    }

    fn session_for(&self, answer: &Message) -> Result<(Name, Session), AgentError> {
        let (asks, answers) = match answer.status() {
            Some(401) => (Name::WwwAuthenticate, Name::Authorization),
            _ => (Name::ProxyAuthenticate, Name::ProxyAuthorization),
        };
        let challenge = Challenge::first_supported(answer.headers(asks)).ok_or(AgentError::Challenge)?;
        Ok((answers, Session::new(challenge, self.account.address.user(), &self.account.password)))
    }

    async fn exchange(&mut self, draft: &Draft<'_>) -> Result<Message, AgentError> {
        self.sequence += 1;
        let branch = format!("z9hG4bK{:032x}", rand::random::<u128>());
        let request = self.print(draft, &branch)?;
        self.send(&request).await?;
        loop {
            let frame = self.frame().await?;
            if frame.is_request() {
                self.take(frame).await?;
                continue;
            }
            let is_it = frame.top_via().ok().and_then(|via| via.branch()) == Some(branch.as_str());
            if is_it && frame.status() >= Some(200) {
                return Ok(frame);
            }
        }
    }

    fn print(&mut self, draft: &Draft<'_>, branch: &str) -> Result<Bytes, AgentError> {
        let (address, sequence, method) = (&self.account.address, self.sequence, draft.method);
        let body = draft.content.map(|(_, body)| body).unwrap_or_default();
        let mut out = BytesMut::with_capacity(1024);
        let mut request = RequestBuilder::new(&mut out, method, &draft.uri);
        request
            .header(Name::Via, format_args!("SIP/2.0/TLS {};branch={branch};rport", self.local))
            .header(Name::MaxForwards, "70")
            .header(Name::From, format_args!("<sip:{address}>;tag={}", tag(rand::random())))
            .header(Name::To, format_args!("<{}>", draft.to))
            .header(Name::CallId, draft.call_id)
            .header(Name::CSeq, format_args!("{sequence} {}", method.as_str()))
            .header(Name::UserAgent, "Reveille test")
            .other_header("Reveille-Visit", &*self.visit);
        if let Some(contact) = &draft.contact {
            request.header(Name::Contact, &**contact);
        }
        if let Some(expires) = draft.expires {
            request.header(Name::Expires, format_args!("{expires}"));
        }
        if let Some((name, session)) = &mut self.session {
            let covered = Covered { method: method.as_str(), uri: &draft.uri, body };
            let proof = session.answer(covered, call_id(rand::random()).as_str());
            request.header(*name, &*proof);
        }
        if let Some((content_type, body)) = draft.content {
            request.content(content_type, body);
        }
        request.finish()?;
        drop(request);
        Ok(out.freeze())
    }

    /// Takes a request that came: a message is kept to be heard, and every one is answered.
    async fn take(&mut self, request: Message) -> Result<(), AgentError> {
        let status = match request.method() {
            Some(Method::Message) if self.inbox.len() < INBOX_MAX => 200,
            Some(Method::Message) => 480,
            Some(Method::Options) => 200,
            Some(Method::Ack) => return Ok(()),
            _ => 405,
        };
        let mut out = BytesMut::with_capacity(512);
        ResponseBuilder::to(&mut out, &request, status).to_tag("test").finish()?;
        self.send(&out.freeze()).await?;
        if status == 200 && request.method() == Some(Method::Message) {
            self.inbox.push_back(request.detached());
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &Bytes) -> io::Result<()> {
        match &mut *self.wire {
            Wire::Plain(stream) => stream.write_all(bytes).await,
            Wire::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// The next message from home. May be given up and called again.
    async fn frame(&mut self) -> Result<Message, AgentError> {
        loop {
            let framed = self.framer.next(&mut self.buffer);
            match framed.map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault.to_string()))? {
                Some(Frame::Message(message)) => return Ok(message),
                Some(Frame::Bad { .. } | Frame::Ping | Frame::Pong) => continue,
                None => {}
            }
            let count = match &mut *self.wire {
                Wire::Plain(stream) => stream.read_buf(&mut self.buffer).await?,
                Wire::Tls(stream) => stream.read_buf(&mut self.buffer).await?,
            };
            if count == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "home has closed it").into());
            }
        }
    }
}

/// The text of a Warning (RFC 3261 §20.43).
fn quoted(value: &str) -> Option<String> {
    let (_, rest) = value.split_once('"')?;
    rest.rsplit_once('"').map(|(text, _)| text.chars().take(256).collect())
}

/// A random number as a name of RFC 9562 §5.4.
fn uuid(random: u128) -> String {
    let bits = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    format!("urn:uuid:{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_a_uuid_of_version_four() {
        for random in [0, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let name = uuid(random);
            let digits = name.strip_prefix("urn:uuid:").expect("a URN");
            assert_eq!((digits.len(), &digits[14..15]), (36, "4"), "{name}");
            assert!(matches!(&digits[19..20], "8" | "9" | "a" | "b"), "{name}");
        }
    }

    #[test]
    fn what_home_says_for_people_is_found() {
        assert_eq!(quoted("399 reveille \"no such 'door'\"").as_deref(), Some("no such 'door'"));
        assert_eq!(quoted("399 reveille"), None);
    }

    #[test]
    fn a_password_is_not_in_what_is_logged() {
        let account = Account { address: "ken@contoso.com".parse().unwrap(), password: "9-stars".into() };
        assert!(!format!("{account:?}").contains("9-stars"));
    }
}
