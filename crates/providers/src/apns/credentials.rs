//! Provider tokens (Apple, "Establishing a token-based connection to APNs"): signed from a `.p8` key, kept for most of
//! an hour, one per team and key however many connections use it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use http::HeaderValue;
use parking_lot::Mutex;
use reveille_core::Timestamp;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Serialize;

use crate::jwt;
use crate::sender::dialect::Authorization;

/// Signs the tokens of one team and key. `Debug` shows no key and no token.
pub struct Signer {
    team: Box<str>,
    key_id: Box<str>,
    pair: EcdsaKeyPair,
    current: Mutex<Option<Current>>,
}

struct Current {
    authorization: Authorization,
    /// When it is time for another.
    due: Timestamp,
}

impl Signer {
    /// Takes the ten-character team and key ids, and the `.p8` file's text (PKCS #8 in PEM, EC P-256).
    pub fn new(team: &str, key_id: &str, p8: &str) -> Result<Self, KeyFault> {
        for (what, id) in [("team", team), ("key", key_id)] {
            if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(KeyFault::Id { what, value: id.chars().take(64).collect() });
            }
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(p8.as_bytes()).map_err(|_| KeyFault::NotPem)?;
        // RFC 7518 §3.4: ES256 is the raw r||s of 64 bytes, not the DER form.
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
            .map_err(|_| KeyFault::NotP256)?;
        Ok(Self { team: team.into(), key_id: key_id.into(), pair, current: Mutex::new(None) })
    }

    /// The team's id.
    pub fn team(&self) -> &str {
        &self.team
    }

    /// The key's id.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The token of this moment. Whoever comes when it is due signs, and everyone else waits those microseconds.
    pub(crate) fn authorization(&self, now: Timestamp) -> Result<Authorization, KeyFault> {
        let mut current = self.current.lock();
        if let Some(kept) = &*current {
            // A clock that was put back leaves a token from the future, which is as bad as one from the past.
            let from_the_future = now.plus(YOUNG) < kept.authorization.minted;
            if now < kept.due && !from_the_future {
                return Ok(kept.authorization.clone());
            }
        }
        let authorization = Authorization { header: Some(self.sign(now)?), minted: now };
        let jitter = JITTER.mul_f64(rand::random());
        *current = Some(Current { authorization: authorization.clone(), due: now.plus(REFRESH + jitter) });
        tracing::info!(apns.team = %self.team, apns.key = %self.key_id, "provider token signed");
        Ok(authorization)
    }

    /// Learns that APNs calls the token minted at `minted` expired. Answers whether trying again makes sense: it does
    /// if another token is in use by now, or if this one is old enough to be replaced. If not, the clocks differ, and
    /// signing again would only lead to TooManyProviderTokenUpdates (the loop guard of providers.md §1.4).
    pub(crate) fn refused_as_expired(&self, minted: Timestamp, now: Timestamp) -> bool {
        let mut current = self.current.lock();
        match &*current {
            Some(kept) if kept.authorization.minted == minted => {
                let old_enough = now.since(minted) >= YOUNG;
                if old_enough {
                    *current = None;
                }
                old_enough
            }
            _ => true,
        }
    }

    fn sign(&self, now: Timestamp) -> Result<HeaderValue, KeyFault> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'static str,
            kid: &'a str,
        }
        #[derive(Serialize)]
        struct Claims<'a> {
            iss: &'a str,
            iat: u64,
        }
        let header = Header { alg: "ES256", kid: &self.key_id };
        let claims = Claims { iss: &self.team, iat: now.secs() };
        let token = jwt::compact(&header, &claims, |input| self.pair.sign(&SystemRandom::new(), input))
            .map_err(|_| KeyFault::Signing)?;
        // Apple writes "bearer" in lower case.
        let mut value = HeaderValue::try_from(format!("bearer {token}")).map_err(|_| KeyFault::Signing)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("team", &self.team).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// The signers of this process, so that apps of one team and key share theirs.
#[derive(Debug, Default)]
pub struct Keyring {
    signers: Mutex<HashMap<Place, (Fingerprint, Arc<Signer>)>>,
}

impl Keyring {
    /// The signer of this team and key. The same text gives the same signer; another text (the key file was replaced
    /// under the same id) gives a new one.
    pub fn signer(&self, team: &str, key_id: &str, p8: &str) -> Result<Arc<Signer>, KeyFault> {
        let print = fingerprint(p8);
        let mut signers = self.signers.lock();
        let place = (team.into(), key_id.into());
        if let Some((known, signer)) = signers.get(&place)
            && *known == print
        {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(Signer::new(team, key_id, p8)?);
        signers.insert(place, (print, Arc::clone(&signer)));
        Ok(signer)
    }
}

/// Team and key id.
type Place = (Box<str>, Box<str>);

/// A fingerprint of a key file, so that the text itself need not be kept.
type Fingerprint = [u8; 32];

fn fingerprint(text: &str) -> Fingerprint {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    out
}

/// Why an APNs key cannot be used. The configuration's fault; repeating does not help.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyFault {
    /// A team or key id is not one.
    #[error("\"{value}\" is not a {what} id: Apple's have ten letters and digits")]
    Id {
        /// "team" or "key".
        what: &'static str,
        /// What was given.
        value: String,
    },
    /// The key is of another kind.
    #[error("the key file does not hold an EC P-256 private key, which APNs needs")]
    NotP256,
    /// The file is something else.
    #[error("the key file is not a .p8 file: it has no PKCS #8 private key in PEM")]
    NotPem,
    /// The machine cannot sign; it has run out of randomness.
    #[error("the provider token could not be signed")]
    Signing,
}

/// Apple: refresh no more than once every 20 minutes, and at least once every 60.
const YOUNG: Duration = Duration::from_secs(20 * 60);
/// With its jitter this is 46 to 54 minutes: processes that started together do not sign together.
const REFRESH: Duration = Duration::from_secs(46 * 60);
const JITTER: Duration = Duration::from_secs(8 * 60);

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    fn p8() -> String {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem()
    }

    fn signer() -> Signer {
        Signer::new("TEAM123456", "KEY1234567", &p8()).unwrap()
    }

    fn minute(minutes: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000).plus(Duration::from_secs(60 * minutes))
    }

    #[test]
    fn a_token_says_what_apple_asks_for_and_nothing_else() {
        let signer = signer();
        let header = signer.authorization(minute(0)).unwrap().header.unwrap();
        assert!(header.is_sensitive());
        let token = header.to_str().unwrap().strip_prefix("bearer ").unwrap().to_owned();
        let parts: Vec<_> = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        assert_eq!(parts[0], br#"{"alg":"ES256","kid":"KEY1234567"}"#);
        assert_eq!(parts[1], br#"{"iss":"TEAM123456","iat":1700000000}"#);
        assert_eq!(parts[2].len(), 64, "raw r||s");
        let signed = &token[..token.rfind('.').unwrap()];
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signer.pair.public_key());
        public.verify(signed.as_bytes(), &parts[2]).unwrap();
    }

    #[test]
    fn one_token_lasts_for_most_of_an_hour_and_never_longer() {
        for _ in 0..50 {
            let signer = signer();
            let first = signer.authorization(minute(0)).unwrap();
            assert_eq!(signer.authorization(minute(45)).unwrap().minted, first.minted);
            assert_eq!(signer.authorization(minute(55)).unwrap().minted, minute(55));
        }
    }

    #[test]
    fn a_clock_put_back_makes_a_new_token() {
        let signer = signer();
        signer.authorization(minute(100)).unwrap();
        assert_eq!(signer.authorization(minute(99)).unwrap().minted, minute(100));
        assert_eq!(signer.authorization(minute(10)).unwrap().minted, minute(10));
    }

    #[test]
    fn an_old_token_called_expired_is_replaced_once_and_a_young_one_means_the_clocks_differ() {
        let signer = signer();
        let first = signer.authorization(minute(0)).unwrap();
        assert!(!signer.refused_as_expired(first.minted, minute(19)), "young");
        assert_eq!(signer.authorization(minute(19)).unwrap().minted, first.minted, "and kept");
        assert!(signer.refused_as_expired(first.minted, minute(20)), "old enough");
        let second = signer.authorization(minute(20)).unwrap();
        assert_eq!(second.minted, minute(20));
        assert!(signer.refused_as_expired(first.minted, minute(20)), "pushes sent with the first may go again");
        assert_eq!(signer.authorization(minute(20)).unwrap().minted, second.minted, "without a third token");
        assert!(!signer.refused_as_expired(second.minted, minute(21)), "but the second is not replaced too");
    }

    #[test]
    fn apps_of_one_team_and_key_share_a_signer_until_the_file_changes() {
        let (ring, text) = (Keyring::default(), p8());
        let first = ring.signer("T", "K", &text).unwrap();
        assert!(Arc::ptr_eq(&first, &ring.signer("T", "K", &text).unwrap()));
        assert!(!Arc::ptr_eq(&first, &ring.signer("T", "K2", &text).unwrap()));
        assert!(!Arc::ptr_eq(&first, &ring.signer("T", "K", &p8()).unwrap()));
    }

    #[test]
    fn what_is_no_key_is_refused_with_a_sentence() {
        assert_eq!(Signer::new("T", "K", "").unwrap_err(), KeyFault::NotPem);
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        assert_eq!(Signer::new("T", "K", &p384).unwrap_err(), KeyFault::NotP256);
        let fault = Signer::new("T\n", "K", &p8()).unwrap_err().to_string();
        assert!(fault.contains("is not a team id"), "{fault}");
        assert_eq!(format!("{:?}", signer()), "Signer { team: \"TEAM123456\", key_id: \"KEY1234567\", .. }");
    }
}
