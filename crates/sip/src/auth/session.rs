//! A client's memory of one realm: what it was challenged with, and how often it has answered.

use std::fmt;

use aws_lc_rs::constant_time;

use super::{AuthenticationInfo, Challenge, Covered, Ha1, Qop, answer};

/// Answers one challenge, for as many requests as its nonce lasts (RFC 7616 §3.4, §3.5).
pub struct Session {
    challenge: Challenge<'static>,
    username: Box<str>,
    ha1: Ha1,
    /// How often the nonce has been used.
    nonce_count: u32,
    said: Option<Said>,
}

/// What the last answer was made of; the server's own digest covers it too.
struct Said {
    uri: Box<str>,
    cnonce: Box<str>,
}

impl Session {
    /// Of a user who is asked by `challenge`.
    pub fn new(challenge: Challenge<'_>, username: &str, password: &str) -> Self {
        let ha1 = Ha1::of_password(challenge.algorithm, username, &challenge.realm, password);
        Self { challenge: challenge.into_owned(), username: username.into(), ha1, nonce_count: 0, said: None }
    }

    /// The value of Authorization or Proxy-Authorization for one more request. `cnonce` is the caller's randomness.
    pub fn answer(&mut self, covered: Covered<'_>, cnonce: &str) -> String {
        self.nonce_count = self.nonce_count.saturating_add(1);
        self.said = Some(Said { uri: covered.uri.into(), cnonce: cnonce.into() });
        answer(&self.challenge, &self.username, &self.ha1, covered, cnonce, self.nonce_count)
            .expect("the hash was made for this challenge")
    }

    /// Takes in what the server says with its answer to the last request; `body` is that answer's. Whether it has given
    /// a nonce for the next request, which then need not wait to be challenged. A server that claims to know the
    /// password (`rspauth`) and does not is not listened to.
    pub fn heard(&mut self, info: &AuthenticationInfo<'_>, body: &[u8]) -> bool {
        let Some(said) = self.said.take() else { return false };
        let lies = |rspauth: &str| !self.is_proven(rspauth, &said, info.qop.as_ref(), body);
        if info.rspauth.as_deref().is_some_and(lies) {
            return false;
        }
        let Some(next) = &info.next_nonce else { return false };
        self.challenge.nonce = next.clone().into_owned().into();
        self.nonce_count = 0;
        true
    }

    fn is_proven(&self, rspauth: &str, said: &Said, qop: Option<&Qop<'_>>, body: &[u8]) -> bool {
        let echoed = match (self.challenge.protection(), qop) {
            (Some(_), Some(qop)) => qop.nonce_count == self.nonce_count && *qop.cnonce == *said.cnonce,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        // RFC 7616 §3.5: as the client's, without a method.
        let covered = Covered { method: "", uri: &said.uri, body };
        let expected = self.ha1.response(covered, &self.challenge.nonce, qop);
        let given = rspauth.to_ascii_lowercase();
        echoed && constant_time::verify_slices_are_equal(expected.as_bytes(), given.as_bytes()).is_ok()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("realm", &self.challenge.realm)
            .field("nonce_count", &self.nonce_count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, Credentials, Protection};
    use super::*;

    const COVERED: Covered<'_> = Covered { method: "REGISTER", uri: "sip:r", body: b"" };

    fn session(more: &str) -> Session {
        let value = format!("Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256{more}");
        Session::new(Challenge::parse(&value).unwrap(), "bob", "secret")
    }

    /// Nonce and count of one more answer.
    fn said(session: &mut Session) -> (String, Option<u32>) {
        let value = session.answer(COVERED, "cn");
        let credentials = Credentials::parse(&value).unwrap();
        (credentials.nonce.into_owned(), credentials.qop.map(|qop| qop.nonce_count))
    }

    #[test]
    fn the_count_of_a_nonce_rises_and_begins_anew_with_the_next() {
        let mut session = session(", qop=\"auth\"");
        assert_eq!(said(&mut session), ("n".into(), Some(1)));
        assert_eq!(said(&mut session), ("n".into(), Some(2)));
        assert!(session.heard(&AuthenticationInfo::parse("nextnonce=\"m\"").unwrap(), b""));
        assert_eq!(said(&mut session), ("m".into(), Some(1)));
        // A repeat of the same answer is not a second offer.
        assert!(!session.heard(&AuthenticationInfo::parse("qop=auth, nc=00000001, cnonce=\"cn\"").unwrap(), b""));
        assert!(!session.heard(&AuthenticationInfo::parse("nextnonce=\"o\"").unwrap(), b""));
        assert_eq!(said(&mut session), ("m".into(), Some(2)));
    }

    #[test]
    fn who_claims_to_know_the_password_must_know_it() {
        let right = Ha1::of_password(Algorithm::Sha256, "bob", "r", "secret");
        let wrong = Ha1::of_password(Algorithm::Sha256, "bob", "r", "guess");
        let of = |ha1: &Ha1, protection, cnonce: &'static str, body| {
            let qop = Qop { protection, nonce_count: 1, cnonce: cnonce.into() };
            let rspauth = ha1.response(Covered { method: "", uri: "sip:r", body }, "n", Some(&qop));
            let qop = protection.as_str();
            format!("nextnonce=\"m\", rspauth=\"{rspauth}\", qop={qop}, cnonce=\"{cnonce}\", nc=00000001")
        };
        for (info, believed) in [
            (of(&right, Protection::Auth, "cn", b""), true),
            (of(&right, Protection::AuthInt, "cn", b"body"), true),
            (of(&right, Protection::AuthInt, "cn", b"another"), false),
            (of(&right, Protection::Auth, "replayed", b""), false),
            (of(&wrong, Protection::Auth, "cn", b""), false),
            (format!("nextnonce=\"m\", rspauth=\"{}\"", right.response(COVERED, "n", None)), false),
        ] {
            let mut session = session(", qop=\"auth\"");
            let _ = said(&mut session);
            assert_eq!(session.heard(&AuthenticationInfo::parse(&info).unwrap(), b"body"), believed, "{info}");
            assert_eq!(said(&mut session).0, if believed { "m" } else { "n" }, "{info}");
        }
    }

    #[test]
    fn the_old_form_is_answered_and_nothing_secret_is_shown() {
        let mut session = session("");
        assert_eq!(said(&mut session), ("n".into(), None));
        let shown = format!("{session:?}");
        assert!(!shown.contains(session.ha1.expose_hex()) && shown.contains("\"r\""), "{shown}");
    }
}
