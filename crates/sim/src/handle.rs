//! What an app does on a device to seal its token (docs/handles.md): it takes the document that the publisher's clearing
//! house has published, and makes a handle that only the clearing house can open.
//!
//! Written from that page alone and with nothing of the clearing house, as an app's developer would.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{Hpke as _, HpkePublicKey};
use serde::Deserialize;

/// What a handle is bound to: for anybody or anything else it does not open.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// `apns`, `fcm`, `mpns`, `wns` or `webpush`.
    pub provider: &'a str,
    /// The provider's name for the app.
    pub app: &'a str,
    /// `production` or `sandbox`.
    pub environment: &'a str,
    /// The SIP domain of the organisation that will send the pushes, in lower case.
    pub origin: &'a str,
}

/// Why no handle could be made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unsealed {
    /// The document names no key to seal with.
    #[error("the publisher has no key to seal with: it makes one with New-CsPushHandleKey")]
    NoKey,
    /// Not the document.
    #[error("this is not what a clearing house publishes about handle keys: {0}")]
    NotTheDocument(String),
    /// A suite of a later version.
    #[error("the publisher asks for a suite or a form that this program does not know: {0}")]
    Suite(String),
    /// The key itself.
    #[error("the published key cannot be used: {0}")]
    Key(String),
}

/// The part of the document that sealing needs.
#[derive(Deserialize)]
struct Document {
    suite: Suite,
    info: String,
    keys: Vec<Key>,
}

#[derive(Deserialize, PartialEq)]
struct Suite {
    kem: String,
    kdf: String,
    aead: String,
}

#[derive(Deserialize)]
struct Key {
    id: String,
    public: String,
    seals: bool,
}

/// Seals a token: HPKE in base mode (RFC 9180 §6.1, single-shot).
pub fn seal(document: &str, bound: Bound<'_>, token: &str) -> Result<String, Unsealed> {
    let document: Document =
        serde_json::from_str(document).map_err(|error| Unsealed::NotTheDocument(error.to_string()))?;
    let Suite { kem, kdf, aead } = &document.suite;
    if (kem.as_str(), kdf.as_str(), aead.as_str()) != ("DHKEM(P-256, HKDF-SHA256)", "HKDF-SHA256", "AES-256-GCM") {
        return Err(Unsealed::Suite(format!("{kem}, {kdf}, {aead}")));
    }
    if document.info != "reveille handle v1" {
        return Err(Unsealed::Suite(document.info));
    }
    let key = document.keys.iter().find(|key| key.seals).ok_or(Unsealed::NoKey)?;
    let public = URL_SAFE_NO_PAD.decode(&key.public).map_err(|error| Unsealed::Key(error.to_string()))?;
    let Bound { provider, app, environment, origin } = bound;
    let binding = format!("{provider}\n{app}\n{environment}\n{origin}");
    let (enc, ciphertext) = DH_KEM_P256_HKDF_SHA256_AES_256
        .seal(document.info.as_bytes(), binding.as_bytes(), token.as_bytes(), &HpkePublicKey(public))
        .map_err(|error| Unsealed::Key(error.to_string()))?;
    let sealed = URL_SAFE_NO_PAD.encode([enc.0, ciphertext].concat());
    Ok(format!("rvh1.{}.{sealed}", key.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_sealed_by_is_said() {
        let bound = Bound { provider: "fcm", app: "demo", environment: "production", origin: "contoso.com" };
        let document = |aead: &str, info: &str, keys: &str| {
            format!(
                r#"{{"suite":{{"kem":"DHKEM(P-256, HKDF-SHA256)","kdf":"HKDF-SHA256","aead":"{aead}"}},"info":"{info}","keys":[{keys}]}}"#
            )
        };
        let old = r#"{"id":"00","public":"AA","seals":false}"#;
        let short = r#"{"id":"00","public":"AA","seals":true}"#;
        for (document, part) in [
            ("{}".to_owned(), "not what a clearing house publishes"),
            (document("AES-256-GCM", "reveille handle v1", ""), "no key to seal with"),
            (document("AES-256-GCM", "reveille handle v1", old), "no key to seal with"),
            (document("AES-128-GCM", "reveille handle v1", short), "AES-128-GCM"),
            (document("AES-256-GCM", "reveille handle v2", short), "v2"),
            (document("AES-256-GCM", "reveille handle v1", short), "cannot be used"),
        ] {
            let said = seal(&document, bound, "token").unwrap_err().to_string();
            assert!(said.contains(part), "{document}: {said}");
        }
    }
}
