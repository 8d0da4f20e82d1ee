//! Where a setting applies: everywhere, at one site, at one service, or for whom it was granted to.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::SipDomain;

/// The scope of a configuration record (lync.md §1.1). Names keep their spelling and compare without regard to case.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everywhere that has nothing nearer.
    #[default]
    Global,
    /// One site, `site:Name`.
    Site(String),
    /// The web services of one server, `service:WebServer:fqdn`.
    Service(SipDomain),
    /// Users that it was granted to, `tag:Name`.
    Tag(String),
}

impl Scope {
    /// The identity of a policy: as other scopes, and a name by itself is a policy that is granted to users.
    pub fn of_policy(text: &str) -> Result<Self, String> {
        match text.parse() {
            Err(_) if !text.contains(':') => Self::named(text, Self::Tag),
            other => other,
        }
    }

    /// Which of the four forms it has, as sentences name it.
    pub const fn form(&self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Site(_) => "site",
            Self::Service(_) => "service",
            Self::Tag(_) => "tag",
        }
    }

    fn named(name: &str, scope: impl FnOnce(String) -> Self) -> Result<Self, String> {
        let printable = |c: char| !c.is_control() && !"*?\"".contains(c);
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || !name.chars().all(printable) {
            let clipped: String = name.chars().take(80).collect();
            return Err(format!(
                "\"{clipped}\" is not a name: it needs 1 to {NAME_CHARS_MAX} printable characters, and none of * ? \""
            ));
        }
        Ok(scope(name.to_owned()))
    }
}

/// The longest name of a site or policy, in characters.
const NAME_CHARS_MAX: usize = 100;

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Site(name) => write!(f, "site:{name}"),
            Self::Service(fqdn) => write!(f, "service:WebServer:{fqdn}"),
            Self::Tag(name) => write!(f, "tag:{name}"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("global") {
            return Ok(Self::Global);
        }
        let wrong = || {
            let clipped: String = text.chars().take(80).collect();
            format!("\"{clipped}\" is not a scope: it is global, site:Name, service:WebServer:FQDN or tag:Name")
        };
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        match kind.to_ascii_lowercase().as_str() {
            "site" => Self::named(name, Self::Site),
            "tag" => Self::named(name, Self::Tag),
            "service" => match name.split_once(':') {
                Some((service, fqdn)) if service.eq_ignore_ascii_case("WebServer") => {
                    fqdn.parse().map(Self::Service).map_err(|why| why.to_string())
                }
                _ => Err(wrong()),
            },
            _ => Err(wrong()),
        }
    }
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Global, Self::Global) => true,
            (Self::Site(one), Self::Site(other)) | (Self::Tag(one), Self::Tag(other)) => {
                one.eq_ignore_ascii_case(other)
            }
            (Self::Service(one), Self::Service(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Scope {}

impl Hash for Scope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to_string().to_ascii_lowercase().hash(state);
    }
}

impl TryFrom<String> for Scope {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_without_regard_to_case_and_keep_their_spelling() {
        for (text, scope, written) in [
            ("Global", Scope::Global, "global"),
            ("Site:Redmond", Scope::Site("redmond".into()), "site:Redmond"),
            ("TAG:Redmond Users", Scope::Tag("redmond users".into()), "tag:Redmond Users"),
            (
                "service:webserver:Pool.Contoso.com",
                Scope::Service("pool.contoso.com".parse().unwrap()),
                "service:WebServer:pool.contoso.com",
            ),
        ] {
            let read: Scope = text.parse().unwrap();
            assert_eq!((&read, read.to_string().as_str()), (&scope, written));
        }
        assert_ne!(Scope::Site("a".into()), Scope::Tag("a".into()));
    }

    #[test]
    fn what_is_no_scope_is_refused_with_the_forms_that_there_are() {
        for (text, part) in [
            ("site:", "is not a name"),
            ("site:a*", "is not a name"),
            ("pool:x", "site:Name, service:WebServer:FQDN or tag:Name"),
            ("service:Registrar:a.b", "is not a scope"),
            ("service:WebServer:192.0.2.1", "it is an address"),
            ("Redmond", "is not a scope"),
        ] {
            let said = text.parse::<Scope>().unwrap_err();
            assert!(said.contains(part), "{text}: {said}");
        }
        assert_eq!(Scope::of_policy("Redmond"), Ok(Scope::Tag("Redmond".into())));
        assert_eq!(Scope::of_policy("site:Redmond"), Ok(Scope::Site("Redmond".into())));
        assert!(Scope::of_policy("pool:x").is_err());
    }
}
