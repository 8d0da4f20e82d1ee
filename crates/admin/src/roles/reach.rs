//! What a role reaches: which part of the configuration, which users.
//!
//! Lync's user scopes name organisational units of a directory. Our users have none, so a scope names their domain or
//! one of them.

use std::fmt;
use std::str::FromStr;

use reveille_core::SipDomain;
use reveille_core::settings::Scope;

/// Which part of the configuration a role may change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum ConfigReach {
    /// None.
    #[default]
    Nothing,
    /// The records of these sites, named in lower case.
    Sites(Vec<String>),
    /// The records of every site, and nothing that holds for the whole organisation.
    EverySite,
    /// All.
    Everywhere,
}

impl ConfigReach {
    /// The reach that a role's `ConfigScopes` name; those that do not read add nothing.
    pub fn of(scopes: &[String]) -> Self {
        let read: Vec<Scope> = scopes.iter().filter_map(|text| text.parse().ok()).collect();
        if read.contains(&Scope::Global) {
            return Self::Everywhere;
        }
        let sites: Vec<String> = read.iter().filter_map(site).collect();
        if sites.is_empty() { Self::Nothing } else { Self::Sites(sites) }
    }

    /// Whether what stands at that scope may be changed. Whatever is neither a site nor below one needs the whole: a
    /// service may serve several sites, a tag's policy users of all.
    pub fn reaches(&self, scope: Option<&Scope>) -> bool {
        let site = scope.and_then(site);
        match self {
            Self::Nothing => false,
            Self::Sites(own) => site.is_some_and(|site| own.contains(&site)),
            Self::EverySite => site.is_some(),
            Self::Everywhere => true,
        }
    }

    /// Whether this is at least as much as `other`.
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Nothing) | (Self::Everywhere, _) | (Self::EverySite, Self::Sites(_) | Self::EverySite) => true,
            (Self::Sites(own), Self::Sites(others)) => others.iter().all(|site| own.contains(site)),
            (Self::Nothing | Self::Sites(_) | Self::EverySite, _) => false,
        }
    }
}

impl fmt::Display for ConfigReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no configuration"),
            Self::Sites(sites) => {
                let sites: Vec<String> = sites.iter().map(|site| format!("site:{site}")).collect();
                f.write_str(&sites.join(", "))
            }
            Self::EverySite => f.write_str("the records of sites, not global ones"),
            Self::Everywhere => f.write_str("the whole configuration"),
        }
    }
}

fn site(scope: &Scope) -> Option<String> {
    match scope {
        Scope::Site(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    }
}

/// Which users a role may look at and change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum UserReach {
    /// None.
    #[default]
    Nobody,
    /// Those within one of these.
    Only(Vec<UserScope>),
    /// All.
    Everyone,
}

impl UserReach {
    /// The reach that a role's `UserScopes` name; those that do not read add nothing.
    pub fn of(scopes: &[String]) -> Self {
        if scopes.iter().any(|text| text.eq_ignore_ascii_case("global")) {
            return Self::Everyone;
        }
        let read: Vec<UserScope> = scopes.iter().filter_map(|text| text.parse().ok()).collect();
        if read.is_empty() { Self::Nobody } else { Self::Only(read) }
    }

    /// Whether that user is within it, named by SIP address.
    pub fn reaches(&self, user: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::Only(scopes) => scopes.iter().any(|scope| scope.holds(user)),
            Self::Everyone => true,
        }
    }

    /// Whether this is at least as much as `other`.
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Nobody) | (Self::Everyone, _) => true,
            (Self::Only(own), Self::Only(others)) => {
                others.iter().all(|theirs| own.iter().any(|scope| scope.contains(theirs)))
            }
            (Self::Nobody | Self::Only(_), _) => false,
        }
    }
}

impl fmt::Display for UserReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("no users"),
            Self::Only(scopes) => f.write_str(&scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            Self::Everyone => f.write_str("all users"),
        }
    }
}

/// One of a role's user scopes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UserScope {
    /// `domain:contoso.com`: everybody of that SIP domain.
    Domain(SipDomain),
    /// `user:alice@contoso.com`: one user.
    User {
        /// Before the at sign.
        name: Box<str>,
        /// Behind it.
        domain: SipDomain,
    },
}

impl UserScope {
    /// Whether it holds the user of that SIP address. Without a domain nobody is meant.
    fn holds(&self, user: &str) -> bool {
        let Some((theirs, at)) = address(user) else { return false };
        match self {
            Self::Domain(domain) => *domain == at,
            // RFC 3261 §19.1.4: the user part is compared with regard to case; ours never differ by it alone.
            Self::User { name, domain } => *domain == at && **name == theirs.to_ascii_lowercase(),
        }
    }

    fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Domain(own), Self::Domain(domain) | Self::User { domain, .. }) => own == domain,
            (Self::User { .. }, other) => self == other,
        }
    }
}

impl fmt::Display for UserScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => write!(f, "domain:{domain}"),
            Self::User { name, domain } => write!(f, "user:{name}@{domain}"),
        }
    }
}

impl FromStr for UserScope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "\"{text}\" is not a user scope: it is global, domain:contoso.com or user:alice@contoso.com. There are \
                 no organisational units here"
            )
        };
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        if kind.eq_ignore_ascii_case("domain") {
            return rest.parse().map(Self::Domain).map_err(|_| wrong());
        }
        if kind.eq_ignore_ascii_case("user") {
            let (name, domain) = address(rest).ok_or_else(wrong)?;
            return Ok(Self::User { name: name.to_ascii_lowercase().into(), domain });
        }
        Err(wrong())
    }
}

/// The two parts of a SIP address, with or without `sip:`. Only what is plainly one: an address with parameters or
/// escapes could mean another than it seems to.
fn address(text: &str) -> Option<(&str, SipDomain)> {
    let bare = match text.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("sip:") => &text[4..],
        _ => text,
    };
    let (name, domain) = bare.split_once('@')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    if name.is_empty() || !name.chars().all(plain) {
        return None;
    }
    Some((name, domain.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(scopes: &[&str]) -> ConfigReach {
        ConfigReach::of(&scopes.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn users(scopes: &[&str]) -> UserReach {
        UserReach::of(&scopes.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_site_is_reached_whatever_its_case_and_nothing_else_is() {
        let redmond = config(&["Site:Redmond"]);
        for (scope, reached) in [
            ("site:REDMOND", true),
            ("site:redmond", true),
            ("site:Redmond ", false),
            ("site:Dublin", false),
            ("global", false),
        ] {
            assert_eq!(redmond.reaches(scope.parse().ok().as_ref()), reached, "{scope:?}");
        }
        assert!(!redmond.reaches(None), "what does not read needs the whole");
        assert!(config(&["global", "site:Redmond"]).reaches(None));
        assert_eq!(config(&["redmond", ""]), ConfigReach::Nothing);
    }

    #[test]
    fn one_reach_is_within_another_or_not() {
        for (own, other, within) in [
            (config(&["global"]), config(&["site:a"]), true),
            (config(&["site:a", "site:b"]), config(&["site:B"]), true),
            (config(&["site:a"]), config(&["site:a", "site:b"]), false),
            (config(&["site:a"]), ConfigReach::EverySite, false),
            (ConfigReach::EverySite, config(&["site:a"]), true),
            (ConfigReach::EverySite, config(&["global"]), false),
            (config(&[]), config(&[]), true),
            (config(&[]), config(&["site:a"]), false),
        ] {
            assert_eq!(own.contains(&other), within, "{own} {other}");
        }
        for (own, other, within) in [
            (users(&["global"]), users(&["domain:a.example"]), true),
            (users(&["domain:a.example"]), users(&["user:bob@A.example"]), true),
            (users(&["user:bob@a.example"]), users(&["domain:a.example"]), false),
            (users(&["domain:a.example"]), users(&["global"]), false),
            (users(&[]), users(&["domain:a.example"]), false),
        ] {
            assert_eq!(own.contains(&other), within, "{own} {other}");
        }
    }

    #[test]
    fn users_are_reached_by_a_plain_address_only() {
        let contoso = users(&["domain:contoso.com", "user:Ken@litwareinc.com"]);
        for (user, reached) in [
            ("sip:alice@contoso.com", true),
            ("SIP:alice@CONTOSO.com", true),
            ("alice@contoso.com", true),
            ("ken@litwareinc.com", true),
            ("sip:KEN@litwareinc.com", true),
            ("sip:bob@litwareinc.com", false),
            ("alice", false),
            ("sip:alice@contoso.com@litwareinc.com", false),
            ("sip:bob%40litwareinc.com@contoso.com", false),
            ("sip:alice@contoso.com;user=phone", false),
            ("*", false),
            ("*@contoso.com", false),
            ("", false),
        ] {
            assert_eq!(contoso.reaches(user), reached, "{user}");
        }
        for text in ["OU:ou=Redmond,dc=contoso", "group:x", "domain:", "user:alice", "alice@contoso.com"] {
            assert!(text.parse::<UserScope>().is_err(), "{text}");
        }
    }
}
