//! Secrets of accounts: passwords are hashed slowly, tokens and sessions are long random numbers and hashed once.

use std::fmt;
use std::sync::OnceLock;

use argon2::password_hash::{PasswordHash as Phc, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::{constant_time, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reveille_store::{PassKind, PasswordHash};

/// The fewest characters of a password.
pub const PASSWORD_MIN: usize = 12;
/// The most bytes of a password: what is longer is no password but work for us.
pub const PASSWORD_MAX: usize = 256;

/// Whether this can be the password of that account; the sentence says what is wrong.
pub fn check_password(account: &str, password: &str) -> Result<(), String> {
    if password.len() > PASSWORD_MAX {
        return Err(format!("The password is longer than {PASSWORD_MAX} bytes."));
    }
    if password.chars().count() < PASSWORD_MIN {
        return Err(format!("The password is shorter than {PASSWORD_MIN} characters."));
    }
    if password.to_lowercase().contains(&account.to_lowercase()) {
        return Err("The password holds the account's name.".into());
    }
    let first = password.chars().next();
    if password.chars().all(|c| Some(c) == first) {
        return Err("The password is one character, repeated.".into());
    }
    Ok(())
}

/// Hashes a password with argon2id, RFC 9106 §4: 19 MiB and two passes, the least that OWASP's cheat sheet on password
/// storage advises. It takes some tens of milliseconds, so call it where blocking is allowed.
pub fn hash(password: &str) -> Result<PasswordHash, String> {
    let salt: [u8; 16] = rand::random();
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    let hashed = argon2().hash_password(password.as_bytes(), &salt).map_err(|error| error.to_string())?;
    Ok(PasswordHash::new(hashed.to_string()))
}

/// Whether the password is the one of the hash. Without a hash it takes as long and is not.
pub fn verify(password: &str, known: Option<&PasswordHash>) -> bool {
    static NOBODYS: OnceLock<Option<PasswordHash>> = OnceLock::new();
    if password.len() > PASSWORD_MAX {
        return false;
    }
    let nobodys = || NOBODYS.get_or_init(|| hash("nobody's password").ok()).as_ref();
    let Some(against) = known.or_else(nobodys) else { return false };
    let right = Phc::new(against.as_str()).is_ok_and(|phc| argon2().verify_password(password.as_bytes(), &phc).is_ok());
    right && known.is_some()
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::DEFAULT)
}

/// A token or session that has just been made. Its text is shown once and kept nowhere.
pub struct Issued {
    /// What it is called.
    pub id: String,
    /// What its holder presents.
    pub text: String,
    /// What is kept of it.
    pub digest: [u8; 32],
}

impl Issued {
    /// A new one: 60 random bits to be called by, and 256 that nobody guesses.
    pub fn new(kind: PassKind) -> Self {
        Self::with_prefix(prefix(kind))
    }

    /// The same for somebody who is no administrator, and whose secrets begin with another word.
    pub(crate) fn with_prefix(prefix: &str) -> Self {
        let name: [u8; 8] = rand::random();
        let id: String = name.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect();
        let secret: [u8; 32] = rand::random();
        let text = format!("{prefix}_{id}_{}", URL_SAFE_NO_PAD.encode(secret));
        Self { digest: sha256(text.as_bytes()), id, text }
    }
}

/// Shows no secret.
impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A token or session as somebody presents it.
pub struct Presented<'a> {
    /// What it is called.
    pub id: &'a str,
    /// Which of the two it says it is.
    pub kind: PassKind,
    /// The digest of all of it.
    pub digest: [u8; 32],
}

/// Shows no digest.
impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Reads what somebody presents; nothing if it cannot be one of ours.
pub fn parse(text: &str) -> Option<Presented<'_>> {
    if text.len() > 128 {
        return None;
    }
    let (kind, rest) = [PassKind::Session, PassKind::Token]
        .into_iter()
        .find_map(|kind| Some((kind, text.strip_prefix(prefix(kind))?.strip_prefix('_')?)))?;
    let (id, secret) = rest.split_once('_')?;
    let plain = !id.is_empty() && id.bytes().all(|byte| LETTERS.contains(&byte));
    (plain && !secret.is_empty()).then(|| Presented { id, kind, digest: sha256(text.as_bytes()) })
}

/// Whether two digests are the same, in a time that does not tell how far they are.
pub(super) fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    constant_time::verify_slices_are_equal(one, other).is_ok()
}

/// So that a scanner of published code finds what should not be there, and says whose it is.
const fn prefix(kind: PassKind) -> &'static str {
    match kind {
        PassKind::Session => "rvls",
        PassKind::Token => "rvlt",
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut whole = [0; 32];
    whole.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    whole
}

/// Without letters that look like digits.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_right_or_not_and_its_hash_does_not_show_it() {
        let known = hash("correct horse battery").unwrap();
        assert!(verify("correct horse battery", Some(&known)));
        assert!(!verify("correct horse batterz", Some(&known)));
        assert!(!verify("nobody's password", None));
        assert!(!verify(&"x".repeat(PASSWORD_MAX + 1), Some(&known)));
        assert!(known.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", known.as_str());
        assert_ne!(hash("correct horse battery").unwrap(), known, "each has a salt of its own");
    }

    #[test]
    fn weak_passwords_are_refused_with_what_is_wrong() {
        for (password, part) in
            [("short", "shorter than 12"), ("bob-is-the-best-1", "the account's name"), ("aaaaaaaaaaaaa", "repeated")]
        {
            assert!(check_password("bob", password).unwrap_err().contains(part), "{password}");
        }
        assert!(check_password("bob", &"x y".repeat(200)).is_err());
        assert_eq!(check_password("bob", "correct horse battery"), Ok(()));
    }

    #[test]
    fn a_token_reads_back_by_all_of_its_letters() {
        let issued = Issued::new(PassKind::Token);
        let presented = parse(&issued.text).unwrap();
        assert_eq!((presented.id, presented.kind), (issued.id.as_str(), PassKind::Token));
        assert!(same(&presented.digest, &issued.digest));
        // The secret may hold underlines itself.
        let secret = issued.text.splitn(3, '_').nth(2).unwrap();
        assert!(secret.len() == 43 && !format!("{issued:?}").contains(secret));
        let session = issued.text.replacen("rvlt", "rvls", 1);
        assert!(!same(&parse(&session).unwrap().digest, &issued.digest), "a token is no session");
        let long = "rvlt_".to_owned() + &"a".repeat(200);
        for text in ["", "rvlt", "rvlt__x", "rvlt_a'b_x", "rvlt_abc_", "rvlx_abc_def", long.as_str()] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
