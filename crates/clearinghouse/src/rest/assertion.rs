//! Signed assertions of clients (RFC 7523 §2.2 and §3): who signed one, and whether it was used before.
//!
//! The algorithm is that of the account's key, never one that the assertion chooses: `none` and HMAC do not exist here.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use reveille_core::Timestamp;
use reveille_core::settings::{JwkKey, PublicJwk, PushAccount};
use serde::Deserialize;

/// The longest assertion, in bytes.
pub(super) const BYTES_MAX: usize = 8 * 1024;
/// The longest life that an assertion may still have: for so long it is remembered.
const LIFE_MAX: Duration = Duration::from_secs(600);
/// By how much a client's clock may be ahead of ours.
const AHEAD: Duration = Duration::from_secs(5);
/// How many assertions of one account are remembered: one in 0.6 s.
const PER_ACCOUNT: usize = 1000;
/// How many accounts have assertions that are remembered.
const ACCOUNTS_MAX: usize = 10_000;
/// What assertions may be signed with.
pub(super) const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

/// Why an assertion proves nothing. The client's fault, except for `TooMany`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unproven {
    #[error("the assertion is signed with an algorithm other than RS256, PS256, ES256 and EdDSA")]
    Algorithm,
    #[error("the assertion is not meant for this server alone: its aud must be the issuer or the token endpoint")]
    Audience,
    #[error("the assertion was issued before this server knew what had been used: make a new one")]
    BeforeStart,
    #[error("the assertion has expired")]
    Expired,
    #[error(
        "the assertion cannot be read: it needs a header with alg and kid, and the claims iss, sub, aud, exp, iat, jti"
    )]
    Form,
    #[error("the assertion is issued in the future: this server's clock is more than 5 s behind the client's")]
    FromTheFuture,
    #[error("the assertion is good for more than 10 minutes, which is the most")]
    LivesTooLong,
    #[error("the assertion is not valid yet")]
    NotYet,
    #[error("the assertion was used before")]
    Replayed,
    /// Also where there is no such account, or no such key: a stranger is not told which of them there are.
    #[error("the signature of the assertion is not that of a key of the account that it names")]
    Signature,
    #[error("the iss and sub of the assertion are not one name, that of the account")]
    Subject,
    #[error("the account has used too many assertions in the last minutes: use the access token again")]
    TooMany,
}

/// The assertions that were used.
pub(super) struct Used {
    /// What was issued until then may have been used in a former life of this process.
    since: Timestamp,
    /// For each account the hashes of what was used, with their ends.
    seen: Mutex<HashMap<String, HashMap<[u8; 16], Timestamp>>>,
}

/// An assertion that is of one account as far as it says itself; nothing of it is proven.
pub(super) struct Claimed<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    header: Header,
    claims: Claims,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    /// What must be understood to take it (RFC 7515 §4.1.11): nothing of that kind is.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    iat: f64,
    #[serde(default)]
    nbf: Option<f64>,
    jti: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl<'a> Claimed<'a> {
    /// Reads an assertion (RFC 7515 §7.1).
    pub(super) fn read(text: &'a str) -> Result<Self, Unproven> {
        let (signed, signature) = text.rsplit_once('.').filter(|_| text.len() <= BYTES_MAX).ok_or(Unproven::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(Unproven::Form)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Unproven::Form)?;
        let (header, claims): (Header, Claims) = (part(header)?, part(claims)?);
        if header.crit.is_some() {
            return Err(Unproven::Form);
        }
        Ok(Self { signed, signature, header, claims })
    }

    /// The account that it wants to be.
    pub(super) fn subject(&self) -> &str {
        &self.claims.sub
    }

    /// Checks it as that account's, and that it is used for the first time. Answers the account's text of the key.
    pub(super) fn prove<'b>(
        self,
        account: Option<&'b PushAccount>,
        audiences: &[&str],
        used: &Used,
        now: Timestamp,
    ) -> Result<&'b str, Unproven> {
        // What can be said without an account comes first; whether there is one shows in nothing but the signature.
        if !ALGORITHMS.contains(&self.header.alg.as_str()) {
            return Err(Unproven::Algorithm);
        }
        if !self.claims.iss.eq_ignore_ascii_case(&self.claims.sub) {
            return Err(Unproven::Subject);
        }
        let account = account.filter(|account| account.identity.eq_ignore_ascii_case(&self.claims.sub));
        let account = account.ok_or(Unproven::Signature)?;
        let keys = account.public_keys.iter().filter_map(|text| Some((text, PublicJwk::read(text).ok()?)));
        let (text, key) = { keys }.find(|(_, key)| key.kid == self.header.kid).ok_or(Unproven::Signature)?;
        self.verify(&key)?;
        let heard = |name: &String| audiences.contains(&name.as_str());
        // Whoever else it is meant for has it, and could use it here.
        let meant = match &self.claims.aud {
            Audience::One(name) => heard(name),
            Audience::Several(names) => !names.is_empty() && names.iter().all(heard),
        };
        if !meant {
            return Err(Unproven::Audience);
        }
        let (issued, ends) = (moment(self.claims.iat)?, moment(self.claims.exp)?);
        if ends <= now {
            return Err(Unproven::Expired);
        }
        if self.claims.nbf.map(moment).transpose()?.is_some_and(|from| now.plus(AHEAD) < from) {
            return Err(Unproven::NotYet);
        }
        if now.plus(AHEAD) < issued {
            return Err(Unproven::FromTheFuture);
        }
        if ends.since(now) > LIFE_MAX {
            return Err(Unproven::LivesTooLong);
        }
        used.note(&account.identity, &self.claims.jti, issued, ends, now)?;
        Ok(text)
    }

    fn verify(&self, key: &PublicJwk) -> Result<(), Unproven> {
        if key.alg.as_ref().is_some_and(|alg| *alg != self.header.alg) {
            return Err(Unproven::Signature);
        }
        let number = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Unproven::Signature);
        let (message, signature) = (self.signed.as_bytes(), self.signature.as_slice());
        let verified = match (&key.key, self.header.alg.as_str()) {
            (JwkKey::Ec { x, y, .. }, "ES256") => {
                // SEC 1 §2.3.3: a point that is not compressed.
                let point = [&[4], &number(x)?[..], &number(y)?[..]].concat();
                verify(&signature::ECDSA_P256_SHA256_FIXED, &point, message, signature)
            }
            (JwkKey::Okp { x, .. }, "EdDSA") => verify(&signature::ED25519, &number(x)?, message, signature),
            (JwkKey::Rsa { n, e }, alg @ ("RS256" | "PS256")) => {
                let parameters = match alg {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    _ => &signature::RSA_PSS_2048_8192_SHA256,
                };
                let (n, e) = (number(n)?, number(e)?);
                RsaPublicKeyComponents { n: &n, e: &e }.verify(parameters, message, signature).is_ok()
            }
            _ => return Err(Unproven::Signature),
        };
        if verified { Ok(()) } else { Err(Unproven::Signature) }
    }
}

impl Used {
    /// A memory that begins now.
    pub(super) fn new(now: Timestamp) -> Self {
        Self { since: now, seen: Mutex::default() }
    }

    /// Notes an assertion that is good in every other way.
    fn note(
        &self,
        account: &str,
        jti: &str,
        issued: Timestamp,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<(), Unproven> {
        // A former life took what was issued up to AHEAD after its last moment.
        if issued <= self.since.plus(AHEAD) {
            return Err(Unproven::BeforeStart);
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jti.as_bytes());
        let mut name = [0; 16];
        name.copy_from_slice(&digest.as_ref()[..16]);
        let account = account.to_ascii_lowercase();
        let mut seen = self.seen.lock();
        if seen.len() >= ACCOUNTS_MAX && !seen.contains_key(&account) {
            seen.retain(|_, own| own.values().any(|ends| now < *ends));
            if seen.len() >= ACCOUNTS_MAX {
                return Err(Unproven::TooMany);
            }
        }
        let own = seen.entry(account).or_default();
        if own.get(&name).is_some_and(|ends| now < *ends) {
            return Err(Unproven::Replayed);
        }
        if own.len() >= PER_ACCOUNT {
            own.retain(|_, ends| now < *ends);
            if own.len() >= PER_ACCOUNT {
                return Err(Unproven::TooMany);
            }
        }
        own.insert(name, ends);
        Ok(())
    }
}

fn verify(algorithm: &'static dyn VerificationAlgorithm, key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(algorithm, key).verify(message, signature).is_ok()
}

fn part<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Unproven> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Unproven::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| Unproven::Form)
}

/// RFC 7519 §2: seconds, which may have a fraction.
fn moment(secs: f64) -> Result<Timestamp, Unproven> {
    match secs.is_finite() && (0.0..1e11).contains(&secs) {
        true => Ok(Timestamp::from_millis((secs * 1000.0) as u64)),
        false => Err(Unproven::Form),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// A client with a key of its own.
    pub(in crate::rest) struct Signer(EcdsaKeyPair);

    impl Signer {
        pub(in crate::rest) fn new() -> Self {
            Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
        }

        pub(in crate::rest) fn jwk(&self, kid: &str) -> String {
            let point = self.0.public_key().as_ref();
            let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": number(&point[1..33]), "y": number(&point[33..]) })
                .to_string()
        }

        pub(in crate::rest) fn sign(&self, header: &Value, claims: &Value) -> String {
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(header), part(claims));
            let random = aws_lc_rs::rand::SystemRandom::new();
            let tag = self.0.sign(&random, signed.as_bytes()).unwrap();
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
        }
    }

    fn claims() -> Value {
        json!({ "iss": "a", "sub": "a", "aud": "https://push.example", "exp": NOW + 60, "iat": NOW, "jti": "1" })
    }

    fn header() -> Value {
        json!({ "alg": "ES256", "kid": "one" })
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn what_does_not_prove_who_signed_it_is_refused_with_what_is_wrong() {
        let signer = Signer::new();
        let jwk = signer.jwk("one");
        let account = PushAccount { public_keys: vec![jwk.clone()], ..PushAccount::new("a", "a.b".parse().unwrap()) };
        let changed = |name: &str, value: Value| {
            let mut claims = claims();
            claims[name] = value;
            signer.sign(&header(), &claims)
        };
        let ours = "https://push.example";
        let with = |alg: &str| signer.sign(&json!({ "alg": alg, "kid": "one" }), &claims());
        let good = signer.sign(&header(), &claims());
        let (signed, _) = good.rsplit_once('.').unwrap();
        for (assertion, expected) in [
            (good.clone(), Ok(jwk.as_str())),
            (changed("aud", json!([ours, ours])), Ok(jwk.as_str())),
            (changed("aud", json!(["https://other.example", ours])), Err(Unproven::Audience)),
            (changed("aud", json!([])), Err(Unproven::Audience)),
            (changed("aud", json!("https://other.example")), Err(Unproven::Audience)),
            (changed("exp", json!(NOW)), Err(Unproven::Expired)),
            (changed("exp", json!(NOW + 601)), Err(Unproven::LivesTooLong)),
            (changed("nbf", json!(NOW + 6)), Err(Unproven::NotYet)),
            (changed("iat", json!(NOW + 6)), Err(Unproven::FromTheFuture)),
            (changed("iat", json!(NOW - 100)), Err(Unproven::BeforeStart)),
            (changed("iat", json!("now")), Err(Unproven::Form)),
            (changed("iss", json!("b")), Err(Unproven::Subject)),
            (changed("sub", json!("b")), Err(Unproven::Subject)),
            (with("none"), Err(Unproven::Algorithm)),
            (with("HS256"), Err(Unproven::Algorithm)),
            (with("RS256"), Err(Unproven::Signature)),
            (signer.sign(&json!({ "alg": "ES256", "kid": "one", "crit": ["exp"] }), &claims()), Err(Unproven::Form)),
            (format!("{signed}."), Err(Unproven::Signature)),
            (Signer::new().sign(&header(), &claims()), Err(Unproven::Signature)),
            (signer.sign(&json!({ "alg": "ES256", "kid": "two" }), &claims()), Err(Unproven::Signature)),
            (good.replacen('.', "", 1), Err(Unproven::Form)),
            ("..".into(), Err(Unproven::Form)),
        ] {
            let used = Used::new(at(NOW - 100));
            let read = Claimed::read(&assertion);
            let proven = read.and_then(|claimed| claimed.prove(Some(&account), &[ours], &used, at(NOW)));
            assert_eq!(proven, expected, "{assertion}");
        }
    }

    #[test]
    fn whether_there_is_an_account_or_a_key_shows_in_nothing_that_a_stranger_is_told() {
        let stranger = Signer::new();
        let own = PushAccount {
            public_keys: vec![Signer::new().jwk("one")],
            ..PushAccount::new("a", "a.b".parse().unwrap())
        };
        let used = Used::new(at(NOW - 100));
        for (account, kid, alg) in [
            (None, "one", "ES256"),
            (Some(&own), "one", "ES256"),
            (Some(&own), "two", "ES256"),
            (None, "one", "EdDSA"),
            (Some(&own), "one", "EdDSA"),
        ] {
            let assertion = stranger.sign(&json!({ "alg": alg, "kid": kid }), &claims());
            let proven = Claimed::read(&assertion).unwrap().prove(account, &["https://push.example"], &used, at(NOW));
            assert_eq!(proven, Err(Unproven::Signature), "{kid} {alg}, and an account: {}", account.is_some());
        }
    }

    #[test]
    fn an_assertion_is_good_once_and_not_after_a_restart() {
        let signer = Signer::new();
        let account =
            PushAccount { public_keys: vec![signer.jwk("one")], ..PushAccount::new("a", "a.b".parse().unwrap()) };
        let assertion = signer.sign(&header(), &claims());
        let prove = |used: &Used, now| {
            Claimed::read(&assertion)?
                .prove(Some(&account), &["https://push.example"], used, at(now))
                .map(str::to_owned)
        };
        let used = Used::new(at(NOW - 100));
        assert!(prove(&used, NOW).is_ok());
        for later in [0, 30, 59] {
            assert_eq!(prove(&used, NOW + later), Err(Unproven::Replayed));
        }
        // Whoever starts within the time by which clocks may differ cannot know either.
        for restarted in [NOW - 5, NOW, NOW + 1] {
            assert_eq!(prove(&Used::new(at(restarted)), NOW + 2), Err(Unproven::BeforeStart));
        }
    }

    #[test]
    fn an_account_that_uses_up_its_memory_waits_and_others_do_not() {
        let used = Used::new(at(0));
        let note =
            |account: &str, number: usize, now| used.note(account, &number.to_string(), at(NOW), at(NOW + 60), at(now));
        for number in 0..PER_ACCOUNT {
            note("a", number, NOW).unwrap();
        }
        assert_eq!(note("a", PER_ACCOUNT, NOW), Err(Unproven::TooMany));
        assert_eq!(note("b", 0, NOW), Ok(()));
        assert_eq!(note("a", PER_ACCOUNT, NOW + 60), Ok(()), "what is over is forgotten");
    }
}
