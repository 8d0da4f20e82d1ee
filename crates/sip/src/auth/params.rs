//! The parameters of challenges, credentials and Authentication-Info.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::{Algorithm, Protection, Qop};
use crate::error::SyntaxError;
use crate::list::{elements, quoted_end};
use crate::text::{hex, is_token, trim, unquote};

/// Names and values, separated by commas.
pub(super) struct DigestParams<'a> {
    pairs: SmallVec<[(&'a str, &'a str); 12]>,
}

impl<'a> DigestParams<'a> {
    /// Reads what stands behind the word `Digest`.
    pub(super) fn parse(value: &'a str) -> Result<Self, SyntaxError> {
        let (scheme, rest) = trim(value).split_once([' ', '\t']).ok_or(SyntaxError::new("it has no parameters"))?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return Err(SyntaxError::new("its scheme is not Digest"));
        }
        Self::list(rest)
    }

    /// Reads parameters alone.
    pub(super) fn list(text: &'a str) -> Result<Self, SyntaxError> {
        let mut pairs: SmallVec<[(&str, &str); 12]> = SmallVec::new();
        for element in elements(text) {
            let (name, value) = element.split_once('=').ok_or(SyntaxError::new("a parameter has no value"))?;
            let (name, value) = (trim(name), trim(value));
            if !is_token(name.as_bytes()) || (value.starts_with('"') && quoted_end(value) != Some(value.len())) {
                return Err(SyntaxError::new("a parameter is malformed"));
            }
            // Two values for one name would mean two things to two readers.
            if pairs.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                return Err(SyntaxError::new("a parameter stands twice"));
            }
            if pairs.len() == PARAMS_MAX {
                return Err(SyntaxError::new("it has too many parameters"));
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    pub(super) fn find(&self, name: &str) -> Option<Cow<'a, str>> {
        self.pairs.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| unquote(value))
    }

    pub(super) fn required(&self, name: &str) -> Result<Cow<'a, str>, SyntaxError> {
        self.find(name).ok_or(SyntaxError::new("a mandatory digest parameter is missing"))
    }

    /// Whether a parameter is there and `true`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.find(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The algorithm; MD5 if none is named (RFC 7616 §3.3).
    pub(super) fn algorithm(&self) -> Result<Algorithm, SyntaxError> {
        match self.find("algorithm") {
            None => Ok(Algorithm::Md5),
            Some(name) => Algorithm::parse(&name).ok_or(SyntaxError::new("its algorithm is not supported")),
        }
    }

    /// What qop adds, with the two parameters that it makes mandatory (RFC 7616 §3.4).
    pub(super) fn qop(&self) -> Result<Option<Qop<'a>>, SyntaxError> {
        let Some(name) = self.find("qop") else { return Ok(None) };
        let protection = Protection::parse(&name).ok_or(SyntaxError::new("its qop is neither auth nor auth-int"))?;
        Ok(Some(Qop { protection, nonce_count: self.nonce_count()?, cnonce: self.required("cnonce")? }))
    }

    /// Eight hexadecimal digits.
    fn nonce_count(&self) -> Result<u32, SyntaxError> {
        let text = self.required("nc")?;
        if text.len() != 8 || !text.bytes().all(|digit| hex(digit).is_some()) {
            return Err(SyntaxError::new("its nonce count is not eight hexadecimal digits"));
        }
        u32::from_str_radix(&text, 16).map_err(|_| SyntaxError::new("its nonce count is not a number"))
    }
}

/// Refuses what is no digest of that algorithm.
pub(super) fn check_digest(text: &str, algorithm: Algorithm) -> Result<(), SyntaxError> {
    if text.len() == algorithm.hex_length() && text.bytes().all(|digit| hex(digit).is_some()) {
        Ok(())
    } else {
        Err(SyntaxError::new("its response is not a digest of its algorithm"))
    }
}

/// RFC 7616 knows a dozen; more are noise, and looking for repetitions costs their square.
const PARAMS_MAX: usize = 24;
