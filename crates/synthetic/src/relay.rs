//! A TURN client (RFC 8656): asks for an address of the relay, moves a packet through it in both directions, and gives it
//! back.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use reveille_federation::media_relay::Credentials;
use stun_types::attribute::{ErrorCode, Nonce, Realm, Username, XorMappedAddress};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageIntegrityCredentials,
    MessageType, MessageWrite as _, MessageWriteExt as _, MessageWriteVec, Method, TransactionId,
};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};
use turn_types::AddressFamily;
use turn_types::attribute::{
    Data, Lifetime, RequestedAddressFamily, RequestedTransport, XorPeerAddress, XorRelayedAddress,
};
use turn_types::message::{ALLOCATE, CREATE_PERMISSION, DATA, REFRESH, SEND};

use crate::link::{Link, socket_toward};

/// How long a server may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// RFC 8489 §6.2.1: after which a datagram is sent again; doubled each time.
const RTO: Duration = Duration::from_millis(500);
/// Packets that came while something else was waited for.
const PACKETS_MAX: usize = 16;
/// How long an address is asked for: the least that servers keep one (RFC 8656 §7.2).
const LIFETIME_SECS: u32 = 600;

/// Why a relay is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// What comes back is not what the protocol wants.
    #[error("the answer of the media relay cannot be understood: {0}")]
    Garbled(String),
    /// The connection is lost, or nothing listens.
    #[error("the connection to the media relay failed: {0}")]
    Lost(#[from] io::Error),
    /// It has addresses of IPv6 only (RFC 8656 §19: 440), and was asked for none of them.
    #[error("the media relay has no address of IPv4")]
    NoAddressOfIpv4,
    /// It says no.
    #[error("the media relay answered {code} ({reason}) to {what}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// RFC 8656 §19.
        code: u16,
        /// In its words.
        reason: String,
    },
    /// It says nothing.
    #[error("the media relay did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Silent,
    /// The credentials are not taken.
    #[error("the media relay does not take the credentials: {code} ({reason})")]
    Unauthorised {
        /// 401, or 431 or 441 of some servers.
        code: u16,
        /// In its words.
        reason: String,
    },
}

/// A conversation with one TURN server.
pub struct Relay {
    link: Link,
    credentials: Credentials,
    auth: Option<Auth>,
    packets: VecDeque<(SocketAddr, Vec<u8>)>,
}

/// What every request is signed with.
#[derive(Clone)]
struct Auth {
    realm: String,
    nonce: String,
    key: MessageIntegrityCredentials,
}

/// An address of the relay's that leads to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allocation {
    /// Where peers send to.
    pub relayed: SocketAddr,
    /// For how long.
    pub lifetime: Duration,
}

/// An answer, still as bytes; it is borrowed from to be read.
struct Answer(Vec<u8>);

impl Answer {
    fn message(&self) -> Result<Message<'_>, RelayError> {
        Message::from_bytes(&self.0).map_err(|fault| RelayError::Garbled(fault.to_string()))
    }

    /// The refusal, if it is one.
    fn refusal(&self) -> Result<Option<(u16, String)>, RelayError> {
        let message = self.message()?;
        if !message.has_class(MessageClass::Error) {
            return Ok(None);
        }
        let code = message.attribute::<ErrorCode>().map_err(|fault| RelayError::Garbled(fault.to_string()))?;
        Ok(Some((code.code(), code.reason().chars().take(64).collect())))
    }
}

impl Relay {
    /// Over a connection that is open.
    pub(crate) fn new(link: Link, credentials: Credentials) -> Self {
        Self { link, credentials, auth: None, packets: VecDeque::new() }
    }

    /// Asks who is there: the first request of a conversation, which every TURN server that wants credentials answers
    /// with what they are made of (RFC 8656 §7.1, RFC 8489 §9.2.3).
    pub(crate) async fn greet(&mut self) -> Result<(), RelayError> {
        let answer = self.transact(ALLOCATE, |message| allocate(message, None)).await?;
        match answer.refusal()? {
            Some((401, _)) => self.challenged(&answer),
            Some((code, reason)) => Err(RelayError::Refused { what: "the first request", code, reason }),
            None => {
                Err(RelayError::Garbled("it gives addresses to anybody without credentials: an open relay".to_owned()))
            }
        }
    }

    /// Asks for an address (RFC 8656 §7.1) of IPv4, as whoever does not say otherwise gets it (§7.2).
    pub async fn allocate(&mut self) -> Result<Allocation, RelayError> {
        match self.allocate_of(None).await {
            Err(RelayError::Refused { code: 440, .. }) => Err(RelayError::NoAddressOfIpv4),
            // coturn says so by a success without an address; that allocation has to make way.
            Ok(allocation) if allocation.relayed.ip().is_unspecified() => {
                self.refresh(0).await?;
                Err(RelayError::NoAddressOfIpv4)
            }
            other => other,
        }
    }

    /// The same of IPv6.
    pub async fn allocate_ipv6(&mut self) -> Result<Allocation, RelayError> {
        self.allocate_of(Some(AddressFamily::IPV6)).await
    }

    async fn allocate_of(&mut self, family: Option<AddressFamily>) -> Result<Allocation, RelayError> {
        let answer = match self.request(ALLOCATE, "an allocation", |message, _| allocate(message, family)).await {
            Err(RelayError::Refused { code: code @ (401 | 431 | 441), reason, .. }) => {
                return Err(RelayError::Unauthorised { code, reason });
            }
            other => other?,
        };
        let message = answer.message()?;
        let garbled = |fault: stun_types::message::StunParseError| RelayError::Garbled(fault.to_string());
        let relayed = message.attribute::<XorRelayedAddress>().map_err(garbled)?.addr(message.transaction_id());
        let lifetime = message.attribute::<Lifetime>().map_err(garbled)?.seconds();
        Ok(Allocation { relayed, lifetime: Duration::from_secs(lifetime.into()) })
    }

    /// Lets packets of this peer come (RFC 8656 §10.1).
    pub async fn permit(&mut self, peer: SocketAddr) -> Result<(), RelayError> {
        self.request(CREATE_PERMISSION, "a permission", move |message, id| {
            let _ = message.add_attribute(&XorPeerAddress::new(peer, id));
        })
        .await
        .map(drop)
    }

    /// Keeps the address for longer, or with 0 gives it back (RFC 8656 §8.1).
    pub async fn refresh(&mut self, secs: u32) -> Result<(), RelayError> {
        self.request(REFRESH, "a refresh", move |message, _| {
            let _ = message.add_attribute(&Lifetime::new(secs));
        })
        .await
        .map(drop)
    }

    /// Moves a packet through the relay from a socket of our own, and one back; answers how long both took.
    pub async fn move_packets(&mut self, relayed: SocketAddr, server: SocketAddr) -> Result<Duration, RelayError> {
        let peer = socket_toward(relayed).await?;
        let seen_as = seen_as(&peer, relayed, server).await?;
        self.permit(seen_as).await?;
        let begun = Instant::now();
        let end = begun + ANSWER_WITHIN;
        let there: [u8; 32] = rand::random();
        // The peer begins, so that whatever stands before it lets the relay's packets in. UDP may lose any of them.
        let back_to = loop {
            peer.send_to(&there, relayed).await?;
            match timeout_at((Instant::now() + RTO).min(end), self.packet(&there)).await {
                Ok(from) => break from?,
                Err(_) if Instant::now() >= end => return Err(RelayError::Silent),
                Err(_) => {}
            }
        };
        let back: [u8; 32] = rand::random();
        let mut buffer = [0; 64];
        loop {
            self.send_to(back_to, &back).await?;
            let heard = async {
                loop {
                    let (count, from) = peer.recv_from(&mut buffer).await?;
                    if from == relayed && buffer[..count] == back {
                        return Ok::<_, RelayError>(());
                    }
                }
            };
            match timeout_at((Instant::now() + RTO).min(end), heard).await {
                Ok(heard) => break heard?,
                Err(_) if Instant::now() >= end => return Err(RelayError::Silent),
                Err(_) => {}
            }
        }
        Ok(begun.elapsed())
    }

    /// Waits for a packet with that content; answers where it came from.
    async fn packet(&mut self, content: &[u8]) -> Result<SocketAddr, RelayError> {
        loop {
            while let Some((from, data)) = self.packets.pop_front() {
                if data == content {
                    return Ok(from);
                }
            }
            let bytes = self.link.receive().await?;
            self.note(&bytes);
        }
    }

    /// Sends a packet to a peer through the relay (RFC 8656 §11.1).
    async fn send_to(&mut self, peer: SocketAddr, content: &[u8]) -> Result<(), RelayError> {
        let kind = MessageType::from_class_method(MessageClass::Indication, SEND);
        let id = TransactionId::generate();
        let mut message = Message::builder(kind, id, MessageWriteVec::new());
        let _ = message.add_attribute(&XorPeerAddress::new(peer, id));
        let _ = message.add_attribute(&Data::new(content));
        Ok(self.link.send(&message.finish()).await?)
    }

    /// A signed request; a nonce that has grown old is replaced once (RFC 8489 §9.2.5).
    async fn request(
        &mut self,
        method: Method,
        what: &'static str,
        fill: impl Fn(&mut MessageWriteVec, TransactionId),
    ) -> Result<Answer, RelayError> {
        for again in [true, false] {
            let answer = self.signed(method, &fill).await?;
            match answer.refusal()? {
                None => return Ok(answer),
                Some((438, _)) if again => self.challenged(&answer)?,
                Some((code, reason)) => return Err(RelayError::Refused { what, code, reason }),
            }
        }
        Err(RelayError::Garbled("each nonce that it gives is stale".to_owned()))
    }

    async fn signed(
        &mut self,
        method: Method,
        fill: &impl Fn(&mut MessageWriteVec, TransactionId),
    ) -> Result<Answer, RelayError> {
        let auth = self.auth.clone().ok_or_else(|| RelayError::Garbled("it has given no nonce".to_owned()))?;
        let username = self.credentials.username.clone();
        let sign = |message: &mut MessageWriteVec| -> Result<(), stun_types::message::StunWriteError> {
            let id = message.transaction_id();
            fill(message, id);
            message.add_attribute(&Username::new(&username)?)?;
            message.add_attribute(&Realm::new(&auth.realm)?)?;
            message.add_attribute(&Nonce::new(&auth.nonce)?)?;
            message.add_message_integrity(&auth.key, IntegrityAlgorithm::Sha1)
        };
        let mut wrong = None;
        let answer = self.transact(method, |message| wrong = sign(message).err()).await;
        if let Some(fault) = wrong {
            return Err(RelayError::Garbled(fault.to_string()));
        }
        let answer = answer?;
        let message = answer.message()?;
        // RFC 8489 §9.2.5: a success that is not signed with the password is nobody's word.
        let unsigned = message.has_class(MessageClass::Success) && message.validate_integrity(&auth.key).is_err();
        if unsigned {
            return Err(RelayError::Garbled("it is not signed with the password".to_owned()));
        }
        Ok(answer)
    }

    fn challenged(&mut self, answer: &Answer) -> Result<(), RelayError> {
        let message = answer.message()?;
        let garbled = |fault: stun_types::message::StunParseError| RelayError::Garbled(fault.to_string());
        let realm = message.attribute::<Realm>().map_err(garbled)?.realm().to_owned();
        let nonce = message.attribute::<Nonce>().map_err(garbled)?.nonce().to_owned();
        let Credentials { username, password } = self.credentials.clone();
        let key = LongTermKeyCredentials::new(username, password, realm.clone()).into();
        self.auth = Some(Auth { realm, nonce, key });
        Ok(())
    }

    /// Sends a request and waits for its answer (RFC 8489 §6.2).
    async fn transact(
        &mut self,
        method: Method,
        fill: impl FnOnce(&mut MessageWriteVec),
    ) -> Result<Answer, RelayError> {
        let mut message = Message::builder_request(method, MessageWriteVec::new());
        let id = message.transaction_id();
        fill(&mut message);
        let request = message.finish();
        let end = Instant::now() + ANSWER_WITHIN;
        let mut pause = if self.link.is_reliable() { ANSWER_WITHIN } else { RTO };
        loop {
            self.link.send(&request).await?;
            let answer = timeout_at((Instant::now() + pause).min(end), self.answer(id)).await;
            match answer {
                Ok(answer) => return answer,
                Err(_) if Instant::now() >= end => return Err(RelayError::Silent),
                Err(_) => pause *= 2,
            }
        }
    }

    async fn answer(&mut self, id: TransactionId) -> Result<Answer, RelayError> {
        loop {
            let bytes = self.link.receive().await?;
            let is_it = Message::from_bytes(&bytes)
                .is_ok_and(|message| message.is_response() && message.transaction_id() == id);
            if is_it {
                return Ok(Answer(bytes));
            }
            self.note(&bytes);
        }
    }

    /// Keeps what is a packet of a peer (RFC 8656 §11.3), and lets go of the rest.
    fn note(&mut self, bytes: &[u8]) {
        let Ok(message) = Message::from_bytes(bytes) else { return };
        if !message.has_method(DATA) || self.packets.len() >= PACKETS_MAX {
            return;
        }
        if let (Ok(peer), Ok(data)) = (message.attribute::<XorPeerAddress>(), message.attribute::<Data<'_>>()) {
            self.packets.push_back((peer.addr(message.transaction_id()), data.data().to_vec()));
        }
    }
}

/// What an allocation asks for: datagrams, for ten minutes; of one family where it matters (RFC 8656 §18.8).
fn allocate(message: &mut MessageWriteVec, family: Option<AddressFamily>) {
    let _ = message.add_attribute(&RequestedTransport::new(RequestedTransport::UDP));
    let _ = message.add_attribute(&Lifetime::new(LIFETIME_SECS));
    if let Some(family) = family {
        let _ = message.add_attribute(&RequestedAddressFamily::new(family));
    }
}

/// The address by which the relay will know a socket of ours: behind a NAT only the server can tell (RFC 8489 §2). Where
/// it does not, the address that we know.
async fn seen_as(socket: &UdpSocket, relayed: SocketAddr, server: SocketAddr) -> Result<SocketAddr, RelayError> {
    let ask = Message::builder_request(BINDING, MessageWriteVec::new());
    let id = ask.transaction_id();
    let ask = ask.finish();
    let mut buffer = [0; 1024];
    for _ in 0..2 {
        if socket.send_to(&ask, server).await.is_err() {
            break;
        }
        let Ok(Ok((count, from))) = timeout(RTO, socket.recv_from(&mut buffer)).await else { continue };
        let Ok(message) = Message::from_bytes(&buffer[..count]) else { continue };
        if from == server
            && message.transaction_id() == id
            && let Ok(mapped) = message.attribute::<XorMappedAddress>()
        {
            return Ok(mapped.addr(id));
        }
    }
    // A connected socket knows which of our addresses leads there; it sends nothing for that.
    let finder = socket_toward(relayed).await?;
    finder.connect(relayed).await?;
    Ok(SocketAddr::new(finder.local_addr()?.ip(), socket.local_addr()?.port()))
}
