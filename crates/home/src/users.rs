//! The organisation's users and what proves that a client is theirs.

use std::collections::HashMap;
use std::fmt;

use reveille_core::{Aor, SipDomain};
use reveille_sip::auth::{Algorithm, Ha1};

/// One user's password, as the digests of it that SIP knows (RFC 8760).
pub struct User {
    md5: Ha1,
    sha256: Ha1,
    sha512_256: Ha1,
}

impl User {
    /// A user with this password.
    pub fn with_password(aor: &Aor, password: &str) -> Self {
        let ha1 = |algorithm| Ha1::of_password(algorithm, aor.user(), aor.domain().as_str(), password);
        Self { md5: ha1(Algorithm::Md5), sha256: ha1(Algorithm::Sha256), sha512_256: ha1(Algorithm::Sha512_256) }
    }

    /// What credentials of that algorithm are compared with.
    pub fn ha1(&self, algorithm: Algorithm) -> &Ha1 {
        match algorithm {
            Algorithm::Md5 => &self.md5,
            Algorithm::Sha256 => &self.sha256,
            Algorithm::Sha512_256 => &self.sha512_256,
        }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("User")
    }
}

/// All users of one organisation.
#[derive(Debug)]
pub struct Users {
    domain: SipDomain,
    by_name: HashMap<String, User>,
}

impl Users {
    /// The users of `domain` with their passwords.
    pub fn new(domain: SipDomain, users: impl IntoIterator<Item = (Aor, User)>) -> Self {
        let by_name = users.into_iter().map(|(aor, user)| (aor.user().to_owned(), user)).collect();
        Self { domain, by_name }
    }

    /// The organisation's domain.
    pub fn domain(&self) -> &SipDomain {
        &self.domain
    }

    /// The user of that name.
    pub fn user(&self, name: &str) -> Option<&User> {
        self.by_name.get(name)
    }

    /// Whether the address is one of ours.
    pub fn knows(&self, aor: &Aor) -> bool {
        *aor.domain() == self.domain && self.by_name.contains_key(aor.user())
    }
}
