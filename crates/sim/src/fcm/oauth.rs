//! The OAuth token endpoint for service accounts ("Using OAuth 2.0 for Server to Server Applications", RFC 7523 §2.1).

use std::collections::VecDeque;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::certs::ServiceAccount;
use crate::jwt::{Base64, Jwt};

/// Access tokens that were granted, oldest first.
#[derive(Debug, Default)]
pub(super) struct Grants {
    issued: Mutex<VecDeque<Grant>>,
}

struct Grant {
    token: Box<str>,
    project: Box<str>,
    expires_secs: u64,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("project", &self.project).finish_non_exhaustive()
    }
}

/// An error of the token endpoint (RFC 6749 §5.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct BadGrant {
    error: &'static str,
    description: &'static str,
}

impl BadGrant {
    pub(super) fn json(self) -> Value {
        json!({ "error": self.error, "error_description": self.description })
    }
}

impl Grants {
    /// Answers a token request whose body is the form `body`; `port` is ours, which `aud` must name.
    pub(super) fn grant(
        &self,
        body: &str,
        accounts: &[ServiceAccount],
        port: u16,
        now_secs: u64,
    ) -> Result<Value, BadGrant> {
        let field = |wanted: &str| form(body).find(|(name, _)| name == wanted).map(|(_, value)| value);
        if field("grant_type").as_deref() != Some("urn:ietf:params:oauth:grant-type:jwt-bearer") {
            return Err(BadGrant { error: "unsupported_grant_type", description: "Invalid grant_type" });
        }
        let assertion = field("assertion").unwrap_or_default();
        let account = verify(&assertion, accounts, port, now_secs)?;
        let token = format!("ya29.sim-{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let mut issued = self.issued.lock();
        if issued.len() == GRANTS_MAX {
            issued.pop_front();
        }
        issued.push_back(Grant {
            token: token.as_str().into(),
            project: account.project.as_str().into(),
            expires_secs: now_secs + LIFE_SECS,
        });
        Ok(json!({ "access_token": token, "expires_in": LIFE_SECS, "token_type": "Bearer" }))
    }

    /// The project for which an access token is good now.
    pub(super) fn project_of(&self, token: &str, now_secs: u64) -> Option<Box<str>> {
        let issued = self.issued.lock();
        let grant = issued.iter().rev().find(|grant| *grant.token == *token)?;
        (now_secs < grant.expires_secs).then(|| grant.project.clone())
    }

    /// Makes every access token invalid.
    pub(super) fn revoke_all(&self) {
        self.issued.lock().clear();
    }
}

fn verify<'a>(
    assertion: &str,
    accounts: &'a [ServiceAccount],
    port: u16,
    now_secs: u64,
) -> Result<&'a ServiceAccount, BadGrant> {
    let bad = |description| BadGrant { error: "invalid_grant", description };
    let jwt = Jwt::parse(assertion, Base64::Strict).ok_or_else(|| bad("Bad Request"))?;
    let issuer = jwt.claim("iss").unwrap_or_default();
    let account = accounts
        .iter()
        .find(|account| account.client_email == issuer)
        .ok_or_else(|| bad("Invalid grant: account not found"))?;
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &account.public_key);
    let named = jwt.header("kid").is_none_or(|kid| kid == account.private_key_id);
    if jwt.header("alg") != Some("RS256") || !named || key.verify(jwt.signed.as_bytes(), &jwt.signature).is_err() {
        return Err(bad("Invalid JWT Signature."));
    }
    // The assertion is for this endpoint, by whichever name the sender reached it. Google's Python library names
    // Google's address even when the key file has another token_uri.
    let audience = jwt.claim("aud").unwrap_or_default();
    let ours = audience.starts_with("https://") && audience.ends_with(&format!(":{port}/token"));
    if !ours && audience != GOOGLE_AUDIENCE {
        return Err(bad("Invalid JWT: Failed audience check."));
    }
    let (Some(issued), Some(expires)) = (jwt.seconds("iat"), jwt.seconds("exp")) else { return Err(bad(TIMEFRAME)) };
    let short = expires > issued && expires - issued <= LIFE_MAX_SECS;
    if !short || expires <= now_secs || issued > now_secs + SKEW_SECS {
        return Err(bad(TIMEFRAME));
    }
    let scopes = jwt.claim("scope").unwrap_or_default();
    if !scopes.split(' ').any(|scope| SCOPES.contains(&scope)) {
        return Err(BadGrant {
            error: "invalid_scope",
            description: "Invalid OAuth scope or ID token audience provided.",
        });
    }
    Ok(account)
}

/// The fields of `application/x-www-form-urlencoded` (WHATWG URL §5.1).
fn form(body: &str) -> impl Iterator<Item = (String, String)> {
    body.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((unescape(name)?, unescape(value)?))
    })
}

fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                (high * 16 + low) as u8
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/firebase.messaging", "https://www.googleapis.com/auth/cloud-platform"];
const GOOGLE_AUDIENCE: &str = "https://oauth2.googleapis.com/token";
const TIMEFRAME: &str = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
                         Check your iat and exp values in the JWT claim.";
const LIFE_SECS: u64 = 3599;
const LIFE_MAX_SECS: u64 = 3600;
const SKEW_SECS: u64 = 300;
const GRANTS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa;
    use aws_lc_rs::signature::RSA_PKCS1_SHA256;
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::*;
    use crate::certs::service_account_json;

    const NOW: u64 = 1_800_000_000;
    const AUD: &str = "https://localhost:4443/token";

    fn request(account: &ServiceAccount, header: &Value, claims: &Value) -> String {
        let file: Value = serde_json::from_str(&account.json).unwrap();
        let der = PrivatePkcs8KeyDer::from_pem_slice(file["private_key"].as_str().unwrap().as_bytes()).unwrap();
        let pair = rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        let assertion = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}")
    }

    fn claims(account: &ServiceAccount) -> Value {
        json!({"iss": account.client_email, "scope": SCOPES[0], "aud": AUD, "iat": NOW, "exp": NOW + 3600})
    }

    #[test]
    fn a_good_assertion_buys_an_hour_for_its_project() {
        let account = service_account_json("demo", AUD).unwrap();
        let grants = Grants::default();
        let body = request(&account, &json!({"alg": "RS256", "kid": account.private_key_id}), &claims(&account));
        let answer = grants.grant(&body, std::slice::from_ref(&account), 4443, NOW).unwrap();
        assert_eq!((&answer["expires_in"], &answer["token_type"]), (&json!(3599), &json!("Bearer")));
        let token = answer["access_token"].as_str().unwrap();
        assert_eq!(grants.project_of(token, NOW + 3598).as_deref(), Some("demo"));
        assert_eq!(grants.project_of(token, NOW + 3599), None, "expired");
        assert_eq!(grants.project_of("ya29.other", NOW), None);
        grants.revoke_all();
        assert_eq!(grants.project_of(token, NOW), None, "revoked");
    }

    #[test]
    fn each_flaw_of_an_assertion_is_told() {
        let account = service_account_json("demo", AUD).unwrap();
        let stranger = service_account_json("demo", AUD).unwrap();
        let accounts = std::slice::from_ref(&account);
        let header = json!({"alg": "RS256"});
        let with = |name: &str, value: Value| {
            let mut claims = claims(&account);
            claims[name] = value;
            request(&account, &header, &claims)
        };
        let good = request(&account, &header, &claims(&account));
        let cases = [
            (good.replace("jwt-bearer", "password"), "unsupported_grant_type", "Invalid grant_type"),
            // What is left of the signature's 342 letters is one too many for whole bytes, whatever they are.
            (good[..good.len() - 301].to_owned(), "invalid_grant", "Bad Request"),
            (with("iss", json!("nobody@demo")), "invalid_grant", "Invalid grant: account not found"),
            (request(&stranger, &header, &claims(&account)), "invalid_grant", "Invalid JWT Signature."),
            (
                request(&account, &json!({"alg": "RS256", "kid": "x"}), &claims(&account)),
                "invalid_grant",
                "Invalid JWT Signature.",
            ),
            (request(&account, &json!({"alg": "none"}), &claims(&account)), "invalid_grant", "Invalid JWT Signature."),
            (
                with("aud", json!("https://localhost:4444/token")),
                "invalid_grant",
                "Invalid JWT: Failed audience check.",
            ),
            (with("exp", json!(NOW + 3601)), "invalid_grant", TIMEFRAME),
            (with("exp", json!(NOW)), "invalid_grant", TIMEFRAME),
            (with("iat", json!(NOW + 301)), "invalid_grant", TIMEFRAME),
            (
                with("scope", json!("https://www.googleapis.com/auth/drive")),
                "invalid_scope",
                "Invalid OAuth scope or ID token audience provided.",
            ),
        ];
        for (body, error, description) in cases {
            let told = Grants::default().grant(&body, accounts, 4443, NOW).unwrap_err();
            assert_eq!(told, BadGrant { error, description });
        }
    }

    #[test]
    fn googles_own_address_is_an_audience_too() {
        let account = service_account_json("demo", AUD).unwrap();
        let mut claims = claims(&account);
        claims["aud"] = json!(GOOGLE_AUDIENCE);
        let body = request(&account, &json!({"alg": "RS256"}), &claims);
        assert!(Grants::default().grant(&body, std::slice::from_ref(&account), 4443, NOW).is_ok());
    }

    #[test]
    fn forms_are_unescaped() {
        let fields: Vec<_> = form("a=b%20c+d&broken&e%3D=%2f&bad=%zz").collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(fields, [pair("a", "b c d"), pair("e=", "/")]);
    }
}
