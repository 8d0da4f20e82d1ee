//! Provider tokens ("Establishing a token-based connection to APNs") and what they bind a connection to.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::options::{Environment, Mode, ProviderKey};
use super::reason::Reason;
use crate::jwt::{Base64, Jwt};

/// What one connection remembers about the tokens it was shown.
#[derive(Debug, Default)]
pub(super) struct Binding {
    /// The `authorization` field that was last found valid, so that it is verified once.
    known: Vec<u8>,
    bound: Option<Bound>,
    /// Too many updates: nothing is taken before this time (seconds since 1970 UTC).
    blocked_until: u64,
}

#[derive(Debug)]
struct Bound {
    /// Index of the key in use.
    key: usize,
    issued_at: u64,
    /// When the token in use came into use; for the first one, when it was made.
    updated_at: u64,
}

/// The rules that do not change during a connection.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    pub(super) keys: &'a [ProviderKey],
    pub(super) mode: Mode,
    pub(super) environment: Environment,
}

impl Binding {
    /// Checks the `authorization` of one push; answers the key that signed it.
    pub(super) fn check<'a>(
        &mut self,
        terms: Terms<'a>,
        authorization: Option<&[u8]>,
        now_secs: u64,
    ) -> Result<&'a ProviderKey, Reason> {
        // "429 TooManyProviderTokenUpdates": the connection is of no use before the window has passed.
        if now_secs < self.blocked_until {
            return Err(Reason::TooManyProviderTokenUpdates);
        }
        let authorization = authorization.ok_or(Reason::MissingProviderToken)?;
        let (key, issued_at) = match &self.bound {
            Some(bound) if authorization == self.known => (bound.key, bound.issued_at),
            _ => verify(terms, authorization)?,
        };
        let found = &terms.keys[key];
        if now_secs.saturating_sub(issued_at) > TOKEN_AGE_MAX_SECS {
            return Err(Reason::ExpiredProviderToken);
        }
        // The issue time must lie within one hour of now, on either side.
        if issued_at.saturating_sub(now_secs) > TOKEN_AGE_MAX_SECS {
            return Err(Reason::InvalidProviderToken);
        }
        if found.environment.is_some_and(|environment| environment != terms.environment) {
            return Err(Reason::BadEnvironmentKeyIdInToken);
        }
        match &mut self.bound {
            None => self.bound = Some(Bound { key, issued_at, updated_at: issued_at.min(now_secs) }),
            Some(bound) if authorization == self.known => {
                debug_assert_eq!(bound.key, key);
                return Ok(found);
            }
            Some(bound) => {
                let current = &terms.keys[bound.key];
                // Apple only says that another team is an error; Forbidden is the one that fits.
                if current.team_id != found.team_id {
                    return Err(Reason::Forbidden);
                }
                let related = |a: &ProviderKey, b: &ProviderKey| a.related_to.as_deref() == Some(b.key_id.as_str());
                if bound.key != key && !related(current, found) && !related(found, current) {
                    return Err(Reason::UnrelatedKeyIdInToken);
                }
                if now_secs < bound.updated_at + UPDATE_EVERY_SECS {
                    self.blocked_until = bound.updated_at + UPDATE_EVERY_SECS;
                    return Err(Reason::TooManyProviderTokenUpdates);
                }
                *bound = Bound { key, issued_at, updated_at: now_secs };
            }
        }
        self.known.clear();
        self.known.extend_from_slice(authorization);
        Ok(found)
    }
}

/// Verifies form and signature; answers the key's index and the issue time.
fn verify(terms: Terms<'_>, authorization: &[u8]) -> Result<(usize, u64), Reason> {
    let text = std::str::from_utf8(authorization).map_err(|_| Reason::InvalidProviderToken)?;
    let (scheme, token) = text.split_once(' ').ok_or(Reason::MissingProviderToken)?;
    let (bearer, base64) = match terms.mode {
        Mode::Strict => (scheme == "bearer", Base64::Strict),
        // Libraries write `Bearer` and pad; the live service takes both.
        Mode::AppleLike => (scheme.eq_ignore_ascii_case("bearer"), Base64::Any),
    };
    if !bearer {
        return Err(Reason::MissingProviderToken);
    }
    let jwt = Jwt::parse(token, base64).ok_or(Reason::InvalidProviderToken)?;
    let (Some("ES256"), Some(key_id), Some(team_id), Some(issued_at)) =
        (jwt.header("alg"), jwt.header("kid"), jwt.claim("iss"), jwt.seconds("iat"))
    else {
        return Err(Reason::InvalidProviderToken);
    };
    let at = terms
        .keys
        .iter()
        .position(|key| key.key_id == key_id && key.team_id == team_id)
        .ok_or(Reason::InvalidProviderToken)?;
    let public_key = &terms.keys[at].public_key;
    let signed = jwt.signed.as_bytes();
    // RFC 7518 §3.4: r and s, 32 octets each. Apple's own shell example makes DER, so the live service takes it.
    let raw = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public_key).verify(signed, &jwt.signature);
    let der = || UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key).verify(signed, &jwt.signature);
    if raw.is_ok() || (terms.mode == Mode::AppleLike && der().is_ok()) {
        Ok((at, issued_at))
    } else {
        Err(Reason::InvalidProviderToken)
    }
}

/// "at least once every 60 minutes".
const TOKEN_AGE_MAX_SECS: u64 = 60 * 60;
/// "no more than once every 20 minutes".
const UPDATE_EVERY_SECS: u64 = 20 * 60;

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        KeyPair as _,
    };
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    const NOW: u64 = 1_800_000_000;

    struct Signer {
        pkcs8: Vec<u8>,
        key: ProviderKey,
    }

    impl Signer {
        fn new(team_id: &str, key_id: &str) -> Self {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
            let key = ProviderKey::new(team_id, key_id, pair.public_key().as_ref().to_vec());
            Self { pkcs8: pkcs8.as_ref().to_vec(), key }
        }

        fn sign(&self, algorithm: &'static EcdsaSigningAlgorithm, signed: &str) -> Vec<u8> {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, &self.pkcs8).unwrap();
            pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap().as_ref().to_vec()
        }

        fn token(&self, iat: u64) -> Vec<u8> {
            let header = format!(r#"{{"alg":"ES256","kid":"{}"}}"#, self.key.key_id);
            self.with(&header, &format!(r#"{{"iss":"{}","iat":{iat}}}"#, self.key.team_id))
        }

        fn with(&self, header: &str, claims: &str) -> Vec<u8> {
            let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
            let signature = self.sign(&ECDSA_P256_SHA256_FIXED_SIGNING, &signed);
            format!("bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature)).into_bytes()
        }
    }

    fn terms(keys: &[ProviderKey], mode: Mode) -> Terms<'_> {
        Terms { keys, mode, environment: Environment::Production }
    }

    fn first(keys: &[ProviderKey], mode: Mode, token: &[u8]) -> Result<(), Reason> {
        Binding::default().check(terms(keys, mode), Some(token), NOW).map(|_| ())
    }

    #[test]
    fn a_fresh_token_of_a_known_key_is_taken_and_need_not_be_verified_twice() {
        let signer = Signer::new("TEAM", "KEY1");
        let keys = [signer.key.clone()];
        let token = signer.token(NOW - 10);
        let mut binding = Binding::default();
        for _ in 0..2 {
            let key = binding.check(terms(&keys, Mode::Strict), Some(&token), NOW).unwrap();
            assert_eq!(key.key_id, "KEY1");
        }
        assert_eq!(binding.known, token);
    }

    #[test]
    fn each_flaw_of_a_token_has_its_reason() {
        let signer = Signer::new("TEAM", "KEY1");
        let stranger = Signer::new("TEAM", "KEY1");
        let keys = [signer.key.clone()];
        let good_header = r#"{"alg":"ES256","kid":"KEY1"}"#;
        let good_claims = format!(r#"{{"iss":"TEAM","iat":{NOW}}}"#);
        let mut tampered = signer.token(NOW);
        tampered[20] ^= 1;
        let cases = [
            ("no scheme", signer.token(NOW)[7..].to_vec(), Reason::MissingProviderToken),
            ("another scheme", b"basic abc".to_vec(), Reason::MissingProviderToken),
            ("not a token", b"bearer abc".to_vec(), Reason::InvalidProviderToken),
            ("tampered", tampered, Reason::InvalidProviderToken),
            ("signed by another", stranger.token(NOW), Reason::InvalidProviderToken),
            (
                "unknown key id",
                signer.with(r#"{"alg":"ES256","kid":"KEY9"}"#, &good_claims),
                Reason::InvalidProviderToken,
            ),
            (
                "unknown team",
                signer.with(good_header, &good_claims.replace("TEAM", "MEAT")),
                Reason::InvalidProviderToken,
            ),
            (
                "another algorithm",
                signer.with(&good_header.replace("ES256", "none"), &good_claims),
                Reason::InvalidProviderToken,
            ),
            ("no issue time", signer.with(good_header, r#"{"iss":"TEAM"}"#), Reason::InvalidProviderToken),
            (
                "issue time as text",
                signer.with(good_header, &format!(r#"{{"iss":"TEAM","iat":"{NOW}"}}"#)),
                Reason::InvalidProviderToken,
            ),
            ("an hour old", signer.token(NOW - 3601), Reason::ExpiredProviderToken),
            ("from the far future", signer.token(NOW + 3601), Reason::InvalidProviderToken),
        ];
        for (what, token, reason) in cases {
            assert_eq!(first(&keys, Mode::Strict, &token), Err(reason), "{what}");
        }
        let missing = Binding::default().check(terms(&keys, Mode::Strict), None, NOW).map(|_| ());
        assert_eq!(missing, Err(Reason::MissingProviderToken));
        assert_eq!(first(&keys, Mode::Strict, &signer.token(NOW - 3600)), Ok(()));
    }

    #[test]
    fn apple_takes_bearer_in_any_case_padding_and_der_where_the_standard_does_not() {
        let signer = Signer::new("TEAM", "KEY1");
        let keys = [signer.key.clone()];
        let token = String::from_utf8(signer.token(NOW)).unwrap();
        let capital = token.replace("bearer", "Bearer").into_bytes();
        let header = STANDARD.encode(r#"{"alg":"ES256","kid":"KEY1"}"#);
        let claims = STANDARD.encode(format!(r#"{{"iss":"TEAM", "iat":{NOW}}}"#));
        assert!(header.ends_with('=') || claims.ends_with('='));
        let signed = format!("{header}.{claims}");
        let raw = signer.sign(&ECDSA_P256_SHA256_FIXED_SIGNING, &signed);
        let padded = format!("bearer {signed}.{}", STANDARD.encode(raw)).into_bytes();
        let signed = token[7..].rsplit_once('.').unwrap().0;
        let der = signer.sign(&ECDSA_P256_SHA256_ASN1_SIGNING, signed);
        let der = format!("bearer {signed}.{}", URL_SAFE_NO_PAD.encode(der)).into_bytes();
        for (what, token) in [("capital", capital), ("padded", padded), ("DER", der)] {
            assert_eq!(first(&keys, Mode::AppleLike, &token), Ok(()), "{what}");
            assert!(first(&keys, Mode::Strict, &token).is_err(), "{what}");
        }
    }

    #[test]
    fn a_connection_is_bound_to_team_key_and_environment() {
        let one = Signer::new("TEAM", "KEY1");
        let unrelated = Signer::new("TEAM", "KEY2");
        let mut related = Signer::new("TEAM", "KEY3");
        related.key.related_to = Some("KEY1".to_owned());
        let other_team = Signer::new("MEAT", "KEY4");
        let mut sandbox = Signer::new("TEAM", "KEY5");
        sandbox.key.environment = Some(Environment::Sandbox);
        let keys = [&one, &unrelated, &related, &other_team, &sandbox].map(|signer| signer.key.clone());
        let terms = terms(&keys, Mode::Strict);
        let old = NOW - 1800;
        let cases = [
            (&unrelated, Err(Reason::UnrelatedKeyIdInToken)),
            (&other_team, Err(Reason::Forbidden)),
            (&sandbox, Err(Reason::BadEnvironmentKeyIdInToken)),
            (&related, Ok("KEY3")),
        ];
        for (signer, expected) in cases {
            let mut binding = Binding::default();
            binding.check(terms, Some(&one.token(old)), NOW).unwrap();
            let answer = binding.check(terms, Some(&signer.token(NOW)), NOW).map(|key| key.key_id.as_str());
            assert_eq!(answer, expected, "{}", signer.key.key_id);
        }
    }

    #[test]
    fn tokens_may_change_every_twenty_minutes_and_a_hasty_connection_is_blocked() {
        let signer = Signer::new("TEAM", "KEY1");
        let keys = [signer.key.clone()];
        let terms = terms(&keys, Mode::Strict);
        let mut binding = Binding::default();
        let mut check = |iat: u64, now: u64| binding.check(terms, Some(&signer.token(iat)), now).map(|_| ());
        // The signature is made anew each time, so each of these is another token.
        assert_eq!(check(NOW - 1500, NOW), Ok(()), "the first token was already old");
        assert_eq!(check(NOW, NOW), Ok(()), "so it may be replaced at once");
        assert_eq!(check(NOW + 60, NOW + 60), Err(Reason::TooManyProviderTokenUpdates));
        assert_eq!(check(NOW, NOW + 1199), Err(Reason::TooManyProviderTokenUpdates), "still blocked");
        assert_eq!(check(NOW + 1200, NOW + 1200), Ok(()));
    }

    #[test]
    fn a_known_token_ages_with_the_clock() {
        let signer = Signer::new("TEAM", "KEY1");
        let keys = [signer.key.clone()];
        let token = signer.token(NOW);
        let mut binding = Binding::default();
        binding.check(terms(&keys, Mode::Strict), Some(&token), NOW).unwrap();
        let later = binding.check(terms(&keys, Mode::Strict), Some(&token), NOW + 3601).map(|_| ());
        assert_eq!(later, Err(Reason::ExpiredProviderToken));
    }
}
