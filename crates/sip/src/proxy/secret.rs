//! What comes back to us in other people's messages and has to be ours: signed with a secret of this process.

use aws_lc_rs::hmac;

use crate::message::Message;
use crate::name::Name;
use crate::text::to_hex;

/// Signs loop hashes, tags and tokens.
pub struct Secret {
    key: hmac::Key,
}

/// What a request was when it passed, as one number: whoever comes back equal has gone round in a circle.
///
/// RFC 5393 §4.2 asks that it cover all that decides where a request goes, and that it leave out the method (an ACK or
/// CANCEL of the same INVITE is no loop). It also leaves out the topmost Via, which RFC 3261 §16.6 step 8 had in its
/// list: that one differs on every round, and with it no loop would ever be found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LoopHash(pub u64);

impl Secret {
    /// Of at least 32 random bytes.
    pub fn new(random: &[u8]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, random) }
    }

    /// The loop hash of a request as it was received. `salt` tells apart the sides of one proxy: what came from outside
    /// may well leave on the inside and come back unchanged.
    pub fn loop_hash(&self, request: &Message, salt: &str) -> LoopHash {
        let mut signer = Signer::new(self, "loop");
        signer.part(salt.as_bytes());
        signer.part(request.request_uri().unwrap_or_default().as_bytes());
        signer.part(request.call_id().unwrap_or_default().as_bytes());
        for address in [request.from(), request.to()] {
            signer.part(address.ok().and_then(|address| address.tag()).unwrap_or_default().as_bytes());
        }
        signer.part(&request.cseq().map(|cseq| cseq.number).unwrap_or_default().to_be_bytes());
        for name in [Name::Route, Name::ProxyRequire, Name::ProxyAuthorization] {
            for value in request.headers(name) {
                signer.part(value.as_bytes());
            }
            signer.part(b"");
        }
        LoopHash(signer.number())
    }

    /// The tag that our own answers to this request put on To; the same each time, so that an ACK with it is known to
    /// belong to an answer of ours (§8.2.7).
    pub fn tag(&self, request: &Message) -> String {
        let mut signer = Signer::new(self, "tag");
        signer.part(request.call_id().unwrap_or_default().as_bytes());
        signer.part(request.from().ok().and_then(|from| from.tag()).unwrap_or_default().as_bytes());
        signer.part(&request.cseq().map(|cseq| cseq.number).unwrap_or_default().to_be_bytes());
        format!("p{:016x}", signer.number())
    }

    /// Text that only we can have made, fit for the user part of a URI if `payload` is.
    pub fn seal(&self, label: &str, payload: &str) -> String {
        format!("{}.{payload}", self.mac(label, payload))
    }

    /// What [`Secret::seal`] was given under the same label; `None` if it is not ours.
    pub fn open<'a>(&self, label: &str, sealed: &'a str) -> Option<&'a str> {
        let (mac, payload) = sealed.split_once('.')?;
        let expected = self.mac(label, payload);
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(mac.as_bytes(), expected.as_bytes());
        same.is_ok().then_some(payload)
    }

    /// RFC 5626 §5.2 cuts its example to 80 bits.
    fn mac(&self, label: &str, payload: &str) -> String {
        let mut signer = Signer::new(self, label);
        signer.part(payload.as_bytes());
        to_hex(&signer.0.sign().as_ref()[..10])
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Parts with their lengths, so that none can run into the next.
struct Signer(hmac::Context);

impl Signer {
    fn new(secret: &Secret, label: &str) -> Self {
        let mut signer = Self(hmac::Context::with_key(&secret.key));
        signer.part(label.as_bytes());
        signer
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn number(self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0.sign().as_ref()[..8]);
        u64::from_be_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Limits, parse_datagram};

    fn request(edit: (&str, &str)) -> Message {
        let text = "INVITE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
            From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
            Route: <sip:p;lr>\r\nProxy-Require: x\r\nContent-Length: 0\r\n\r\n";
        assert!(text.contains(edit.0), "{edit:?}");
        parse_datagram(text.replacen(edit.0, edit.1, 1).into(), &Limits::default()).expect("a sound request")
    }

    #[test]
    fn the_loop_hash_changes_with_what_decides_the_way_and_with_nothing_else() {
        let secret = Secret::new(&[7; 32]);
        let hash = |edit| secret.loop_hash(&request(edit), "in");
        let plain = hash(("", ""));
        for (same, why) in [
            (("branch=z9hG4bK1", "branch=z9hG4bK9"), "the Via of a loop is a new one each time"),
            (("Max-Forwards: 70", "Max-Forwards: 69"), "fewer hops are left each time"),
        ] {
            assert_eq!(hash(same), plain, "{why}");
        }
        for other in [
            ("sip:b@b.example SIP", "sip:c@b.example SIP"),
            ("Call-ID: 1", "Call-ID: 2"),
            ("tag=1", "tag=2"),
            ("To: <sip:b@b.example>", "To: <sip:b@b.example>;tag=3"),
            ("CSeq: 1", "CSeq: 2"),
            ("Route: <sip:p;lr>\r\n", ""),
            ("Proxy-Require: x", "Proxy-Require: y"),
        ] {
            assert_ne!(hash(other), plain, "{other:?}");
        }
        assert_ne!(secret.loop_hash(&request(("", "")), "out"), plain, "the other side is no loop");
        assert_ne!(Secret::new(&[8; 32]).loop_hash(&request(("", "")), "in"), plain, "nobody else can make it");
    }

    #[test]
    fn sealed_text_opens_only_unchanged_under_its_label_and_secret() {
        let secret = Secret::new(&[7; 32]);
        let sealed = secret.seal("flow", "17.contoso.com");
        assert_eq!(secret.open("flow", &sealed), Some("17.contoso.com"));
        assert_eq!(secret.open("edge", &sealed), None);
        assert_eq!(secret.open("flow", &sealed.replace("17", "18")), None);
        assert_eq!(Secret::new(&[8; 32]).open("flow", &sealed), None);
        for broken in ["", ".", "17.contoso.com", &sealed[1..]] {
            assert_eq!(secret.open("flow", broken), None, "{broken}");
        }
    }
}
