//! JSON Web Tokens as senders make them (RFC 7515 §7.1, compact form), taken apart but not yet believed.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// How exactly base64 must follow RFC 7515 §2.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Base64 {
    /// URL-safe alphabet, no padding.
    Strict,
    /// Either alphabet, padded or not: what live services are known to take.
    Any,
}

/// A token in its parts.
pub(crate) struct Jwt<'a> {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    /// What the signature covers.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart; `None` if it is not one.
    pub(crate) fn parse(text: &'a str, base64: Base64) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |part: &str| -> Option<Value> {
            let value: Value = serde_json::from_slice(&base64.decode(part)?).ok()?;
            value.is_object().then_some(value)
        };
        Some(Self { header: json(header)?, claims: json(claims)?, signed, signature: base64.decode(signature)? })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.header[name].as_str()
    }

    pub(crate) fn claim(&self, name: &str) -> Option<&str> {
        self.claims[name].as_str()
    }

    /// A NumericDate (RFC 7519 §2). A string of digits is not one.
    pub(crate) fn seconds(&self, name: &str) -> Option<u64> {
        let value = &self.claims[name];
        // Fractions are allowed by RFC 7519; `as` cuts them, and turns what is negative into 0.
        value.as_u64().or_else(|| value.as_f64().map(|seconds| seconds as u64))
    }
}

impl Base64 {
    fn decode(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Strict => URL_SAFE_NO_PAD.decode(text).ok(),
            Self::Any => LENIENT_URL.decode(text).or_else(|_| LENIENT_STANDARD.decode(text)).ok(),
        }
    }
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const LENIENT_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
const LENIENT_STANDARD: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose;

    use super::*;

    #[test]
    fn a_token_is_taken_apart() {
        let text = format!(
            "{}.{}.{}",
            URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"K"}"#),
            URL_SAFE_NO_PAD.encode(r#"{"iss":"T","iat":1700000000}"#),
            URL_SAFE_NO_PAD.encode([1, 2, 3])
        );
        let jwt = Jwt::parse(&text, Base64::Strict).unwrap();
        assert_eq!((jwt.header("alg"), jwt.header("kid"), jwt.claim("iss")), (Some("ES256"), Some("K"), Some("T")));
        assert_eq!((jwt.seconds("iat"), jwt.signature.as_slice()), (Some(1_700_000_000), &[1, 2, 3][..]));
        assert_eq!(jwt.signed, &text[..text.rfind('.').unwrap()]);
    }

    #[test]
    fn padding_and_the_standard_alphabet_are_for_the_lenient_only() {
        let padded = general_purpose::STANDARD.encode(r#"{"a":"??>>"}"#);
        assert!(padded.contains(['+', '/', '=']));
        let text = format!("{padded}.{padded}.{}", general_purpose::STANDARD.encode([0xfb, 0xff]));
        assert!(Jwt::parse(&text, Base64::Strict).is_none());
        assert_eq!(Jwt::parse(&text, Base64::Any).unwrap().signature, [0xfb, 0xff]);
    }

    #[test]
    fn what_is_not_a_token_is_refused() {
        for text in ["", "a", "a.b", "a.b.c", "..", "e30.W10.e30", "e30.e30.e30.e30"] {
            assert!(Jwt::parse(text, Base64::Any).is_none(), "{text}");
        }
        let string_iat = format!("e30.{}.e30", URL_SAFE_NO_PAD.encode(r#"{"iat":"1700000000"}"#));
        assert_eq!(Jwt::parse(&string_iat, Base64::Any).unwrap().seconds("iat"), None);
    }
}
