//! The organisation's users and what proves that a client is theirs.
//!
//! An organisation may have several SIP domains. Its users are the same in each: `kenmyer@litwareinc.com` and
//! `kenmyer@contoso.com` share devices, messages and password. Inside, everything is kept under the first domain.

use std::collections::HashMap;
use std::fmt;

use reveille_core::{Aor, SipDomain};
use reveille_sip::auth::{Algorithm, Ha1};

/// One user's password, as the digests of it that SIP knows (RFC 8760), for each domain and each form of the name.
pub struct User {
    in_domains: Box<[[Digests; 3]]>,
}

/// The digests of one user name in one realm.
struct Digests {
    md5: Ha1,
    sha256: Ha1,
    sha512_256: Ha1,
}

/// How a user's name is written where a client proves itself: a digest covers the name as it was typed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// `kenmyer`.
    Plain,
    /// `litwareinc\kenmyer`: the first label of the domain before it, in small letters.
    Nt,
    /// `kenmyer@litwareinc.com`.
    Whole,
}

impl Form {
    const ALL: [Self; 3] = [Self::Plain, Self::Nt, Self::Whole];

    fn write(self, user: &str, domain: &SipDomain) -> String {
        match self {
            Self::Plain => user.to_owned(),
            Self::Nt => format!("{}\\{user}", first_label(domain)),
            Self::Whole => format!("{user}@{domain}"),
        }
    }
}

impl Digests {
    fn new(username: &str, realm: &SipDomain, password: &str) -> Self {
        let ha1 = |algorithm| Ha1::of_password(algorithm, username, realm.as_str(), password);
        Self { md5: ha1(Algorithm::Md5), sha256: ha1(Algorithm::Sha256), sha512_256: ha1(Algorithm::Sha512_256) }
    }

    fn of(&self, algorithm: Algorithm) -> &Ha1 {
        match algorithm {
            Algorithm::Md5 => &self.md5,
            Algorithm::Sha256 => &self.sha256,
            Algorithm::Sha512_256 => &self.sha512_256,
        }
    }
}

impl User {
    /// A user with this password, in the one domain of its address.
    pub fn with_password(aor: &Aor, password: &str) -> Self {
        Self::in_domains(aor.user(), std::slice::from_ref(aor.domain()), password)
    }

    /// A user of that name in each of these domains, in the order that [`Users::in_domains`] is given them.
    pub fn in_domains(name: &str, domains: &[SipDomain], password: &str) -> Self {
        let digests = |domain| Form::ALL.map(|form| Digests::new(&form.write(name, domain), domain, password));
        Self { in_domains: domains.iter().map(digests).collect() }
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
    /// The first is the one that everything is kept under.
    domains: Vec<SipDomain>,
    by_name: HashMap<String, User>,
}

impl Users {
    /// The users of `domain` with their passwords.
    pub fn new(domain: SipDomain, users: impl IntoIterator<Item = (Aor, User)>) -> Self {
        Self::in_domains(vec![domain], users.into_iter().map(|(aor, user)| (aor.user().to_owned(), user)))
    }

    /// The users of several domains, by name; each was made with the same domains in the same order.
    pub fn in_domains(domains: Vec<SipDomain>, users: impl IntoIterator<Item = (String, User)>) -> Self {
        assert!(!domains.is_empty(), "an organisation has a domain");
        Self { domains, by_name: users.into_iter().collect() }
    }

    /// The organisation's first domain, under which its users are kept.
    pub fn domain(&self) -> &SipDomain {
        &self.domains[0]
    }

    /// All its domains, the first one first.
    pub fn domains(&self) -> &[SipDomain] {
        &self.domains
    }

    /// Whether the domain is one of ours.
    pub fn serves(&self, domain: &SipDomain) -> bool {
        self.domains.contains(domain)
    }

    /// The address that a user's things are kept under: an address in any domain of ours as it is in the first.
    pub fn kept_as(&self, aor: Aor) -> Aor {
        if self.serves(aor.domain()) && aor.domain() != self.domain() {
            return Aor::new(aor.user(), self.domain().clone()).unwrap_or(aor);
        }
        aor
    }

    /// Whether the address is one of ours, as it is kept.
    pub fn knows(&self, aor: &Aor) -> bool {
        aor.domain() == self.domain() && self.by_name.contains_key(aor.user())
    }

    /// The user that a name means, in whichever form it is written: plain, `litwareinc\kenmyer`, or with a domain of
    /// ours, with or without `sip:`. Capital letters in the domain do not count.
    pub fn named(&self, text: &str) -> Option<Aor> {
        let text = text.strip_prefix("sip:").unwrap_or(text);
        let user = match (text.split_once('\\'), text.rsplit_once('@')) {
            (Some((nt, user)), _) => {
                self.domains.iter().any(|domain| first_label(domain).eq_ignore_ascii_case(nt)).then_some(user)?
            }
            (None, Some((user, host))) => self.serves(&host.parse().ok()?).then_some(user)?,
            (None, None) => text,
        };
        Aor::new(user, self.domain().clone()).ok().filter(|aor| self.knows(aor))
    }

    /// Whom credentials of that realm name, and what they are compared with.
    pub(crate) fn proof(&self, realm: &str, username: &str, algorithm: Algorithm) -> Option<(Aor, &Ha1)> {
        let index = self.domains.iter().position(|domain| domain.as_str() == realm)?;
        let aor = self.named(username)?;
        let digests = &self.by_name.get(aor.user())?.in_domains.get(index)?;
        let form = Form::ALL.into_iter().position(|form| form.write(aor.user(), &self.domains[index]) == username)?;
        Some((aor, digests[form].of(algorithm)))
    }
}

/// The name that a Windows domain of this DNS name has by custom.
fn first_label(domain: &SipDomain) -> &str {
    domain.as_str().split('.').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> Users {
        let domains: Vec<SipDomain> = ["contoso.com", "litwareinc.com"].map(|name| name.parse().unwrap()).into();
        let ken = User::in_domains("kenmyer", &domains, "secret");
        Users::in_domains(domains, [("kenmyer".to_owned(), ken)])
    }

    #[test]
    fn a_user_is_the_same_in_every_domain_and_every_form_of_his_name() {
        let users = users();
        for (text, known) in [
            ("kenmyer", true),
            ("sip:kenmyer@litwareinc.com", true),
            ("kenmyer@contoso.com", true),
            ("kenmyer@LITWAREINC.com", true),
            ("litwareinc\\kenmyer", true),
            ("CONTOSO\\kenmyer", true),
            ("fabrikam\\kenmyer", false),
            ("kenmyer@fabrikam.com", false),
            ("litwareinc\\nobody", false),
            ("nobody", false),
            ("", false),
        ] {
            let expected = known.then(|| "kenmyer@contoso.com".parse().unwrap());
            assert_eq!(users.named(text), expected, "{text}");
        }
        let elsewhere: Aor = "kenmyer@fabrikam.com".parse().unwrap();
        assert_eq!(users.kept_as(elsewhere.clone()), elsewhere);
        assert_eq!(users.kept_as("a@litwareinc.com".parse().unwrap()).to_string(), "a@contoso.com");
    }

    #[test]
    fn a_proof_is_for_the_name_as_it_was_typed_and_for_its_own_realm() {
        let users = users();
        for (realm, username, found) in [
            ("contoso.com", "kenmyer", true),
            ("litwareinc.com", "kenmyer", true),
            ("litwareinc.com", "litwareinc\\kenmyer", true),
            ("litwareinc.com", "kenmyer@litwareinc.com", true),
            // The digest that was kept is of another text.
            ("litwareinc.com", "LITWAREINC\\kenmyer", false),
            ("contoso.com", "litwareinc\\kenmyer", false),
            ("fabrikam.com", "kenmyer", false),
        ] {
            let proof = users.proof(realm, username, Algorithm::Sha256);
            assert_eq!(proof.is_some(), found, "{username} in {realm}");
            let expected = Ha1::of_password(Algorithm::Sha256, username, realm, "secret");
            assert!(proof.is_none_or(|(_, ha1)| ha1.expose_hex() == expected.expose_hex()));
        }
    }
}
