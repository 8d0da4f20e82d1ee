//! What makes two messages belong to one transaction.

use std::fmt;

use smallvec::SmallVec;

use crate::error::HeaderError;
use crate::ident::BRANCH_COOKIE;
use crate::message::Message;
use crate::method::Method;
use crate::name::Name;

/// Identifies a transaction: branch, sent-by and method for servers (§17.2.3), branch and method for clients (§17.1.3).
///
/// Kept in place for branches of common length. Branches compare without case, as all tokens do (§7.3.1).
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct TransactionKey {
    bytes: SmallVec<[u8; 96]>,
}

impl TransactionKey {
    /// The key of a client transaction whose request carries this branch in its top Via.
    pub fn client(branch: &str, method: Method<'_>) -> Self {
        let mut key = Self { bytes: SmallVec::new() };
        key.lower(branch);
        key.exact(method.as_str());
        key
    }

    /// The key of a received message; see [`Message::transaction_key`].
    pub(crate) fn of(message: &Message) -> Result<Self, HeaderError> {
        match message.method() {
            // §17.2.3: an ACK belongs to the transaction of its INVITE.
            Some(Method::Ack) => Self::server(message, Method::Invite),
            Some(method) => Self::server(message, method),
            None => {
                let via = message.top_via()?;
                let branch = via.branch().ok_or(NO_BRANCH)?;
                Ok(Self::client(branch, message.cseq()?.method))
            }
        }
    }

    /// The key which a request would have if it were of another method: a CANCEL finds what it cancels by the key for
    /// INVITE (§9.2).
    pub fn server(request: &Message, method: Method<'_>) -> Result<Self, HeaderError> {
        let via = request.top_via()?;
        let mut key = Self { bytes: SmallVec::new() };
        let branch = via.branch().unwrap_or_default();
        let modern = branch.len() > BRANCH_COOKIE.len()
            && branch.as_bytes()[..BRANCH_COOKIE.len()].eq_ignore_ascii_case(BRANCH_COOKIE.as_bytes());
        if modern {
            key.lower(branch);
            key.lower(via.sent_by());
            key.exact(method.as_str());
            return Ok(key);
        }
        // §17.2.3: a peer of RFC 2543, or a bare cookie (RFC 4475 §3.2.1). An empty first part cannot be a branch.
        key.exact("");
        key.exact(request.request_uri().unwrap_or_default());
        key.exact(request.from()?.tag().unwrap_or_default());
        // The ACK of a refusal has the tag that we gave; what it acknowledges and what a CANCEL ends had none.
        if method != Method::Invite {
            key.exact(request.to()?.tag().unwrap_or_default());
        }
        key.exact(request.required(Name::CallId)?);
        let cseq = request.cseq()?;
        key.bytes.extend_from_slice(&cseq.number.to_be_bytes());
        key.exact(method.as_str());
        key.exact(request.values(Name::Via).next().unwrap_or_default());
        Ok(key)
    }

    fn exact(&mut self, part: &str) {
        self.bytes.extend_from_slice(part.as_bytes());
        // No part of a parsed message holds NUL, so parts cannot run into each other.
        self.bytes.push(0);
    }

    fn lower(&mut self, part: &str) {
        let start = self.bytes.len();
        self.exact(part);
        self.bytes[start..].make_ascii_lowercase();
    }
}

impl fmt::Debug for TransactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionKey({})", self.bytes.escape_ascii())
    }
}

const NO_BRANCH: HeaderError = HeaderError::Malformed { name: Name::Via, problem: "it has no branch" };

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::framing::{Limits, parse_datagram};

    fn key(start: &str, via: &str, method: &str) -> TransactionKey {
        let text = format!(
            "{start}\r\nVia: SIP/2.0/TCP {via}\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>\r\nCall-ID: 1\r\nCSeq: 1 {method}\r\n\r\n"
        );
        let message = parse_datagram(Bytes::from(text), &Limits::default()).expect("a sound message");
        message.transaction_key().expect("a key")
    }

    #[test]
    fn requests_match_by_branch_sent_by_and_method() {
        let one = key("MESSAGE sip:x SIP/2.0", "a:5060;branch=z9hG4bKx", "MESSAGE");
        assert_eq!(one, key("MESSAGE sip:y SIP/2.0", "A:5060;branch=Z9hG4bKX;received=1.2.3.4", "MESSAGE"));
        assert_ne!(one, key("MESSAGE sip:x SIP/2.0", "b:5060;branch=z9hG4bKx", "MESSAGE"));
        assert_ne!(one, key("MESSAGE sip:x SIP/2.0", "a:5060;branch=z9hG4bKy", "MESSAGE"));
        assert_ne!(one, key("INFO sip:x SIP/2.0", "a:5060;branch=z9hG4bKx", "INFO"));
        assert_eq!(
            key("INVITE sip:x SIP/2.0", "a;branch=z9hG4bKx", "INVITE"),
            key("ACK sip:x SIP/2.0", "a;branch=z9hG4bKx", "ACK")
        );
    }

    #[test]
    fn responses_match_the_client_by_branch_and_method() {
        let ours = TransactionKey::client("z9hG4bKx", Method::Message);
        assert_eq!(ours, key("SIP/2.0 202 Accepted", "us;branch=z9hG4bKx", "MESSAGE"));
        assert_ne!(ours, key("SIP/2.0 202 Accepted", "us;branch=z9hG4bKx", "INFO"));
    }

    #[test]
    fn a_peer_without_the_cookie_acknowledges_with_our_tag_and_cancels_without() {
        let tagged = |method: &str, to: &str| {
            let text = format!(
                "{method} sip:x SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>{to}\r\n\
                 Call-ID: 1\r\nCSeq: 1 {method}\r\n\r\n"
            );
            parse_datagram(Bytes::from(text), &Limits::default()).expect("a sound message")
        };
        let key = |method: &str, to: &str| tagged(method, to).transaction_key().expect("a key");
        assert_eq!(key("INVITE", ""), key("ACK", ";tag=ours"));
        assert_eq!(TransactionKey::server(&tagged("CANCEL", ""), Method::Invite), Ok(key("INVITE", "")));
        assert_ne!(key("BYE", ""), key("BYE", ";tag=ours"));
    }

    #[test]
    fn peers_without_the_cookie_match_by_everything_else() {
        let one = key("MESSAGE sip:x SIP/2.0", "a;branch=1", "MESSAGE");
        assert_eq!(one, key("MESSAGE sip:x SIP/2.0", "a;branch=1", "MESSAGE"));
        assert_ne!(one, key("MESSAGE sip:y SIP/2.0", "a;branch=1", "MESSAGE"));
        assert_ne!(one, key("MESSAGE sip:x SIP/2.0", "a;branch=2", "MESSAGE"));
        assert_ne!(
            key("MESSAGE sip:x SIP/2.0", "a;branch=z9hG4bK", "MESSAGE"),
            key("MESSAGE sip:y SIP/2.0", "a;branch=z9hG4bK", "MESSAGE")
        );
    }
}
