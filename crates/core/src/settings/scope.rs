//! Where a setting applies: `global`, or one site.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The scope of a configuration record (lync.md §1.1).
#[derive(Clone, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// Everywhere that has nothing nearer.
    #[default]
    Global,
    /// One site, `site:Name`.
    Site(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Site(name) => write!(f, "site:{}", name.to_ascii_lowercase()),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("global") {
            return Ok(Self::Global);
        }
        match text.split_once(':') {
            Some((kind, name)) if kind.eq_ignore_ascii_case("site") && !name.is_empty() => {
                Ok(Self::Site(name.to_ascii_lowercase()))
            }
            _ => Err(format!("\"{text}\" is not a scope: it is global or site:Name")),
        }
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
    fn scopes_read_without_regard_to_case() {
        assert_eq!("Global".parse(), Ok(Scope::Global));
        assert_eq!("Site:Redmond".parse::<Scope>().unwrap().to_string(), "site:redmond");
        assert!("site:".parse::<Scope>().is_err());
        assert!("pool:x".parse::<Scope>().is_err());
    }
}
