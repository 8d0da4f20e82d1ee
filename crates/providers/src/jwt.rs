//! Signed claims in their compact form (RFC 7519, RFC 7515 §7.1): header, claims and signature, each base64url without
//! padding, joined by dots.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

/// Writes and signs one token. `sign` gets the first two parts as they stand.
pub(crate) fn compact<H, C, S, E>(header: &H, claims: &C, sign: impl FnOnce(&[u8]) -> Result<S, E>) -> Result<String, E>
where
    H: Serialize,
    C: Serialize,
    S: AsRef<[u8]>,
{
    let mut token = String::with_capacity(512);
    part(header, &mut token);
    token.push('.');
    part(claims, &mut token);
    let signature = sign(token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

fn part<T: Serialize>(value: &T, token: &mut String) {
    let json = serde_json::to_vec(value).expect("headers and claims are structs of strings and numbers");
    URL_SAFE_NO_PAD.encode_string(json, token);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_the_first_two_parts_and_nothing_is_padded() {
        let mut signed = Vec::new();
        let token = compact(&serde_json::json!({"alg":"none"}), &serde_json::json!({"a":1}), |input| {
            signed = input.to_vec();
            Ok::<_, ()>([0xff, 0xfe])
        });
        let token = token.unwrap();
        assert_eq!(token, "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.__4");
        assert_eq!(signed, b"eyJhbGciOiJub25lIn0.eyJhIjoxfQ");
    }
}
