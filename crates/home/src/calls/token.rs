//! What home writes into its Record-Route about the phone on one side of a dialog, so that requests find that phone
//! again over whatever connection it has by then. Nobody else can make one (RFC 5626 §5.2 asks the same of flow tokens).

use aws_lc_rs::constant_time;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use reveille_core::{Aor, SipDomain};

/// Bytes of the proof that are written.
const PROOF: usize = 16;
/// Bytes of a device's mark.
const MARK: usize = 8;
/// What tokens of this kind begin with.
const KIND: &str = "p";

/// One of our users' devices, as a token names it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Party {
    /// Whose it is.
    pub(crate) user: Aor,
    /// Tells the user's devices apart without saying more about them.
    pub(crate) device: Mark,
}

/// The mark of one device of one user.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Mark([u8; MARK]);

/// Writes and reads tokens. Where the key outlives the process, calls do: a phone that is back is found again.
pub(crate) struct Tokens {
    key: Key,
    domain: SipDomain,
}

impl Tokens {
    /// Tokens for the users of `domain`; `secret` must be random.
    pub(crate) fn new(domain: &SipDomain, secret: &[u8; 32]) -> Self {
        Self { key: Key::new(HMAC_SHA256, secret), domain: domain.clone() }
    }

    /// The mark of a device.
    pub(crate) fn mark(&self, user: &Aor, device: &str) -> Mark {
        let tag = sign(&self.key, format!("device\0{}\0{device}", user.user()).as_bytes());
        let mut mark = [0; MARK];
        mark.copy_from_slice(&tag.as_ref()[..MARK]);
        Mark(mark)
    }

    /// The user part of a Record-Route URI that names this party: letters, digits and dots only.
    pub(crate) fn write(&self, party: &Party) -> String {
        let (user, mark) = (hex(party.user.user().as_bytes()), hex(&party.device.0));
        format!("{KIND}.{user}.{mark}.{}", hex(&self.proof(party)))
    }

    /// Who is named, if the token is one of ours.
    pub(crate) fn read(&self, token: &str) -> Option<Party> {
        let mut parts = token.split('.');
        let (KIND, Some(user), Some(mark), Some(proof), None) =
            (parts.next()?, parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let user = String::from_utf8(unhex(user)?).ok()?;
        let device = Mark(unhex(mark)?.try_into().ok()?);
        let party = Party { user: Aor::new(&user, self.domain.clone()).ok()?, device };
        constant_time::verify_slices_are_equal(&self.proof(&party), &unhex(proof)?).ok()?;
        Some(party)
    }

    fn proof(&self, party: &Party) -> [u8; PROOF] {
        let mut text = format!("party\0{}\0", party.user.user()).into_bytes();
        text.extend_from_slice(&party.device.0);
        let mut proof = [0; PROOF];
        proof.copy_from_slice(&sign(&self.key, &text).as_ref()[..PROOF]);
        proof
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| text.as_bytes().chunks(2).map(digits).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(secret: u8) -> Tokens {
        Tokens::new(&"contoso.com".parse().expect("a domain"), &[secret; 32])
    }

    #[test]
    fn a_token_names_a_device_and_only_its_maker_reads_it() {
        let tokens_here = tokens(1);
        for (user, device) in [("bob", "urn:uuid:1"), ("b%o.b+x", "contact:<sip:b@h>"), ("ü", "")] {
            let Ok(user) = Aor::new(user, "contoso.com".parse().expect("a domain")) else { continue };
            let party = Party { device: tokens_here.mark(&user, device), user };
            let token = tokens_here.write(&party);
            assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'), "{token}");
            assert_eq!(tokens_here.read(&token), Some(party));
            assert_eq!(tokens(2).read(&token), None);
        }
    }

    #[test]
    fn what_was_changed_or_made_up_names_nobody() {
        let tokens = tokens(1);
        let bob: Aor = "bob@contoso.com".parse().expect("an address");
        let token = tokens.write(&Party { device: tokens.mark(&bob, "a"), user: bob });
        for at in (2..token.len()).filter(|at| token.as_bytes()[*at] != b'.') {
            let other = if token.as_bytes()[at] == b'0' { "1" } else { "0" };
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert_eq!(tokens.read(&changed), None, "{changed}");
        }
        for text in ["", "p", "p...", "p.zz.00.00", "p.626f62", "q.626f62.0011223344556677.00", "p.626f6.00.00"] {
            assert_eq!(tokens.read(text), None, "{text}");
        }
        assert_eq!(tokens.read(&format!("{token}.00")), None);
    }

    #[test]
    fn the_devices_of_a_user_have_marks_of_their_own() {
        let tokens = tokens(1);
        let (bob, alice): (Aor, Aor) =
            ("bob@contoso.com".parse().expect("an address"), "alice@contoso.com".parse().expect("an address"));
        assert_ne!(tokens.mark(&bob, "a"), tokens.mark(&bob, "b"));
        assert_ne!(tokens.mark(&bob, "a"), tokens.mark(&alice, "a"));
    }
}
