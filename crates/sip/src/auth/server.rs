//! A server's judgement on credentials.

use aws_lc_rs::constant_time;

use super::{Challenge, Credentials, Ha1, Nonces};
use crate::timers::Millis;

/// A realm, the secret its nonces are made with, and how long they live.
#[derive(Debug)]
pub struct Server {
    realm: Box<str>,
    nonces: Nonces,
    nonce_life: Millis,
}

/// Proof that credentials were right; only [`Server::verify`] makes one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Verified {
    nonce_count: Option<u32>,
    nonce_age: Millis,
}

/// Why credentials were not accepted. Every refusal is answered with a new challenge.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The stored hash is of another algorithm than the credentials.
    #[error("no password hash is kept for the algorithm used")]
    AlgorithmAnother,
    /// They are for another realm.
    #[error("the credentials are for another realm")]
    RealmAnother,
    /// All is right but the nonce is old or unknown: challenge with `stale`, so that nobody is asked for a password.
    #[error("the nonce has expired")]
    Stale,
    /// The digest does not come out.
    #[error("the password is wrong")]
    Wrong,
}

impl Server {
    /// For a realm. `secret` as in [`Nonces::new`].
    pub fn new(realm: &str, secret: &[u8], nonce_life: Millis) -> Self {
        Self { realm: realm.into(), nonces: Nonces::new(secret), nonce_life }
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// A nonce to challenge with; give it to [`Server::challenges`].
    pub fn nonce(&self, now: Millis, random: [u8; 8]) -> String {
        self.nonces.mint(now, random)
    }

    /// The values of two WWW-Authenticate (or Proxy-Authenticate) fields, in this order.
    pub fn challenges<'a>(&'a self, nonce: &'a str, stale: bool) -> [Challenge<'a>; 2] {
        Challenge::pair(&self.realm, nonce, stale)
    }

    /// Judges credentials against the hash stored for their user name.
    ///
    /// Whether the digest's URI fits the Request-URI and whether the nonce count has risen is left to the caller: a
    /// proxy may have rewritten the one, and the other needs memory.
    pub fn verify(
        &self,
        credentials: &Credentials<'_>,
        method: &str,
        ha1: &Ha1,
        now: Millis,
    ) -> Result<Verified, Refusal> {
        if credentials.realm != *self.realm {
            return Err(Refusal::RealmAnother);
        }
        if credentials.algorithm != ha1.algorithm() {
            return Err(Refusal::AlgorithmAnother);
        }
        let expected = ha1.response(method, &credentials.uri, &credentials.nonce, credentials.qop());
        let given = credentials.response.to_ascii_lowercase();
        if constant_time::verify_slices_are_equal(expected.as_bytes(), given.as_bytes()).is_err() {
            return Err(Refusal::Wrong);
        }
        // RFC 7616 §3.3: stale only for those who know the password.
        match self.nonces.check(&credentials.nonce, now, self.nonce_life) {
            Ok(nonce_age) => Ok(Verified { nonce_count: credentials.nonce_count, nonce_age }),
            Err(_) => Err(Refusal::Stale),
        }
    }
}

impl Verified {
    /// How often the client says it has used this nonce: to be higher each time. `None` in the form without qop, which
    /// cannot be told from a replay.
    pub fn nonce_count(&self) -> Option<u32> {
        self.nonce_count
    }

    /// How old the nonce is.
    pub fn nonce_age(&self) -> Millis {
        self.nonce_age
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Algorithm, answer};
    use super::*;

    const NOW: Millis = Millis(1_000_000);

    fn server() -> Server {
        Server::new("contoso.com", &[1; 32], Millis(60_000))
    }

    fn tried(algorithm: Algorithm, password: &str, method: &str, now: Millis) -> Result<Verified, Refusal> {
        let server = server();
        let nonce = server.nonce(NOW, [9; 8]);
        let challenges = server.challenges(&nonce, false);
        let challenge = challenges.iter().find(|challenge| challenge.algorithm == algorithm).unwrap();
        let ha1 = Ha1::of_password(algorithm, "bob", "contoso.com", password);
        let value = answer(challenge, "bob", &ha1, "REGISTER", "sip:contoso.com", "cn", 3).unwrap();
        let credentials = Credentials::parse(&value).unwrap();
        let stored = Ha1::of_password(algorithm, "bob", "contoso.com", "right");
        server.verify(&credentials, method, &stored, now)
    }

    #[test]
    fn right_credentials_are_taken_with_either_algorithm() {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let verified = tried(algorithm, "right", "REGISTER", Millis(NOW.0 + 5)).unwrap();
            assert_eq!((verified.nonce_count(), verified.nonce_age()), (Some(3), Millis(5)));
        }
    }

    #[test]
    fn wrong_ones_are_told_apart() {
        let late = Millis(NOW.0 + 60_001);
        assert_eq!(tried(Algorithm::Sha256, "wrong", "REGISTER", NOW), Err(Refusal::Wrong));
        assert_eq!(tried(Algorithm::Sha256, "right", "MESSAGE", NOW), Err(Refusal::Wrong));
        assert_eq!(tried(Algorithm::Sha256, "right", "REGISTER", late), Err(Refusal::Stale));
        assert_eq!(tried(Algorithm::Sha256, "wrong", "REGISTER", late), Err(Refusal::Wrong));
    }

    #[test]
    fn the_form_without_qop_and_foreign_nonces_are_handled() {
        let server = server();
        let ha1 = Ha1::of_password(Algorithm::Md5, "bob", "contoso.com", "right");
        for (nonce, realm, outcome) in [
            (server.nonce(NOW, [1; 8]), "contoso.com", Ok(None)),
            ("made up".to_owned(), "contoso.com", Err(Refusal::Stale)),
            (server.nonce(NOW, [1; 8]), "fabrikam.com", Err(Refusal::RealmAnother)),
        ] {
            let response = ha1.response("REGISTER", "sip:x", &nonce, None);
            let value = format!(
                "Digest username=\"bob\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"sip:x\", response=\"{response}\""
            );
            let credentials = Credentials::parse(&value).unwrap();
            let verdict = server.verify(&credentials, "REGISTER", &ha1, NOW);
            assert_eq!(verdict.map(|verified| verified.nonce_count()), outcome);
        }
        let sha = Ha1::of_password(Algorithm::Sha256, "bob", "contoso.com", "right");
        let nonce = server.nonce(NOW, [1; 8]);
        let value = format!(
            "Digest username=\"bob\", realm=\"contoso.com\", nonce=\"{nonce}\", uri=\"sip:x\", response=\"{}\"",
            "0".repeat(32)
        );
        let credentials = Credentials::parse(&value).unwrap();
        assert_eq!(server.verify(&credentials, "REGISTER", &sha, NOW), Err(Refusal::AlgorithmAnother));
    }
}
