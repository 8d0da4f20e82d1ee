//! A server's judgement on credentials.

use aws_lc_rs::constant_time;

use super::{Algorithm, Challenge, Covered, Credentials, Ha1, Nonces};
use crate::timers::Millis;

/// A realm, its algorithms, the secret its nonces are made with, and how long they live.
#[derive(Debug)]
pub struct Server {
    realm: Box<str>,
    algorithms: Box<[Algorithm]>,
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
    /// They use an algorithm that no challenge named.
    #[error("the algorithm used was not offered")]
    AlgorithmNotOffered,
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
    /// For a realm, with the algorithms in the order in which they are offered; no other is accepted. `secret` as in
    /// [`Nonces::new`].
    pub fn new(realm: &str, algorithms: &[Algorithm], secret: &[u8], nonce_life: Millis) -> Self {
        Self { realm: realm.into(), algorithms: algorithms.into(), nonces: Nonces::new(secret), nonce_life }
    }

    /// The realm.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// A nonce to challenge with; give it to [`Server::challenges`].
    pub fn nonce(&self, now: Millis, random: [u8; 8]) -> String {
        self.nonces.mint(now, random)
    }

    /// The values of WWW-Authenticate (or Proxy-Authenticate) fields, one for each algorithm, in the order to be kept:
    /// a client takes the topmost that it knows (RFC 8760 §2.4).
    pub fn challenges<'a>(&'a self, nonce: &'a str, stale: bool) -> impl Iterator<Item = Challenge<'a>> {
        self.algorithms.iter().map(move |algorithm| Challenge {
            realm: (&*self.realm).into(),
            nonce: nonce.into(),
            opaque: None,
            algorithm: *algorithm,
            qop_auth: true,
            // Accepted, and not offered: clients that take it where they could do without would be cut off by whatever
            // alters a body on the way to us.
            qop_auth_int: false,
            stale,
        })
    }

    /// Judges credentials of a request against the hash stored for their user name.
    ///
    /// Whether the digest's URI fits the Request-URI and whether the nonce count has risen is left to the caller: a
    /// proxy may have rewritten the one, and the other needs memory.
    pub fn verify(
        &self,
        credentials: &Credentials<'_>,
        method: &str,
        body: &[u8],
        ha1: &Ha1,
        now: Millis,
    ) -> Result<Verified, Refusal> {
        if credentials.realm != *self.realm {
            return Err(Refusal::RealmAnother);
        }
        if !self.algorithms.contains(&credentials.algorithm) {
            return Err(Refusal::AlgorithmNotOffered);
        }
        if credentials.algorithm != ha1.algorithm() {
            return Err(Refusal::AlgorithmAnother);
        }
        let covered = Covered { method, uri: &credentials.uri, body };
        let expected = ha1.response(covered, &credentials.nonce, credentials.qop.as_ref());
        let given = credentials.response.to_ascii_lowercase();
        if constant_time::verify_slices_are_equal(expected.as_bytes(), given.as_bytes()).is_err() {
            return Err(Refusal::Wrong);
        }
        // RFC 7616 §3.3: stale only for those who know the password.
        match self.nonces.check(&credentials.nonce, now, self.nonce_life) {
            Ok(nonce_age) => {
                Ok(Verified { nonce_count: credentials.qop.as_ref().map(|qop| qop.nonce_count), nonce_age })
            }
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
    use super::super::answer;
    use super::*;

    const NOW: Millis = Millis(1_000_000);

    fn server() -> Server {
        Server::new("contoso.com", &Algorithm::ALL, &[1; 32], Millis(60_000))
    }

    /// What a client sends, and what the server makes of it.
    struct Try<'a> {
        password: &'a str,
        sent: Covered<'a>,
        arrived: Covered<'a>,
        auth_int: bool,
        now: Millis,
    }

    const REGISTER: Covered<'_> = Covered { method: "REGISTER", uri: "sip:contoso.com", body: b"" };
    const RIGHT: Try<'_> = Try { password: "right", sent: REGISTER, arrived: REGISTER, auth_int: false, now: NOW };

    fn tried(algorithm: Algorithm, one: &Try<'_>) -> Result<Verified, Refusal> {
        let server = server();
        let nonce = server.nonce(NOW, [9; 8]);
        let mut challenge = server.challenges(&nonce, false).find(|found| found.algorithm == algorithm).unwrap();
        (challenge.qop_auth, challenge.qop_auth_int) = (!one.auth_int, one.auth_int);
        let ha1 = Ha1::of_password(algorithm, "bob", "contoso.com", one.password);
        let value = answer(&challenge, "bob", &ha1, one.sent, "cn", 3).unwrap();
        let credentials = Credentials::parse(&value).unwrap();
        let stored = Ha1::of_password(algorithm, "bob", "contoso.com", "right");
        server.verify(&credentials, one.arrived.method, one.arrived.body, &stored, one.now)
    }

    #[test]
    fn right_credentials_are_taken_with_each_algorithm() {
        for algorithm in Algorithm::ALL {
            for auth_int in [false, true] {
                let verified = tried(algorithm, &Try { now: Millis(NOW.0 + 5), auth_int, ..RIGHT }).unwrap();
                assert_eq!((verified.nonce_count(), verified.nonce_age()), (Some(3), Millis(5)));
            }
        }
    }

    #[test]
    fn wrong_ones_are_told_apart() {
        let (late, wrong) = (Millis(NOW.0 + 60_001), "wrong");
        let sha = |one: Try<'_>| tried(Algorithm::Sha256, &one);
        let message = Covered { method: "MESSAGE", ..REGISTER };
        assert_eq!(sha(Try { password: wrong, ..RIGHT }), Err(Refusal::Wrong));
        assert_eq!(sha(Try { arrived: message, ..RIGHT }), Err(Refusal::Wrong));
        assert_eq!(sha(Try { now: late, ..RIGHT }), Err(Refusal::Stale));
        assert_eq!(sha(Try { now: late, password: wrong, ..RIGHT }), Err(Refusal::Wrong));
    }

    #[test]
    fn an_altered_body_is_noticed_where_the_digest_covers_it() {
        let sent = Covered { body: b"at nine", ..REGISTER };
        let altered = Try { sent, arrived: Covered { body: b"at ten", ..REGISTER }, ..RIGHT };
        for algorithm in Algorithm::ALL {
            assert!(tried(algorithm, &Try { auth_int: false, ..altered }).is_ok());
            assert_eq!(tried(algorithm, &Try { auth_int: true, ..altered }), Err(Refusal::Wrong));
            assert!(tried(algorithm, &Try { auth_int: true, arrived: sent, ..altered }).is_ok());
        }
    }

    #[test]
    fn only_what_is_offered_is_accepted() {
        let strict = Server::new("contoso.com", &[Algorithm::Sha512_256, Algorithm::Sha256], &[1; 32], Millis(60_000));
        let nonce = strict.nonce(NOW, [9; 8]);
        let offered: Vec<_> = strict.challenges(&nonce, false).map(|challenge| challenge.algorithm).collect();
        assert_eq!(offered, [Algorithm::Sha512_256, Algorithm::Sha256]);
        for (algorithm, refusal) in [(Algorithm::Md5, Some(Refusal::AlgorithmNotOffered)), (Algorithm::Sha256, None)] {
            let generous = server();
            let challenge = generous.challenges(&nonce, false).find(|found| found.algorithm == algorithm).unwrap();
            let ha1 = Ha1::of_password(algorithm, "bob", "contoso.com", "right");
            let value = answer(&challenge, "bob", &ha1, REGISTER, "cn", 1).unwrap();
            let credentials = Credentials::parse(&value).unwrap();
            assert_eq!(strict.verify(&credentials, "REGISTER", b"", &ha1, NOW).err(), refusal);
        }
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
            let response = ha1.response(Covered { uri: "sip:x", ..REGISTER }, &nonce, None);
            let value = format!(
                "Digest username=\"bob\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"sip:x\", response=\"{response}\""
            );
            let credentials = Credentials::parse(&value).unwrap();
            let verdict = server.verify(&credentials, "REGISTER", b"", &ha1, NOW);
            assert_eq!(verdict.map(|verified| verified.nonce_count()), outcome);
        }
        let sha = Ha1::of_password(Algorithm::Sha256, "bob", "contoso.com", "right");
        let nonce = server.nonce(NOW, [1; 8]);
        let value = format!(
            "Digest username=\"bob\", realm=\"contoso.com\", nonce=\"{nonce}\", uri=\"sip:x\", response=\"{}\"",
            "0".repeat(32)
        );
        let credentials = Credentials::parse(&value).unwrap();
        assert_eq!(server.verify(&credentials, "REGISTER", b"", &sha, NOW), Err(Refusal::AlgorithmAnother));
    }
}
