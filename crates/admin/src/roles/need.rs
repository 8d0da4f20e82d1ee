//! What one call touches.

use std::fmt;

use reveille_core::settings::Scope;

use super::reach::{ConfigReach, UserReach};
use crate::call::Call;
use crate::cmdlet::{About, Area};
use crate::kind::Kind;
use crate::value::Value;

/// What a caller's role must reach for one call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Need {
    /// No more than the cmdlet itself: settings are read, or a test is run.
    Nothing,
    /// To change what holds for the whole organisation.
    Organisation,
    /// To change the record of one scope.
    Record(Scope),
    /// To see or change these users.
    Users(Vec<String>),
    /// To see or change users without saying which.
    AnyUser,
}

impl Need {
    /// What this call touches. In doubt it is the whole.
    pub fn of(about: &About, call: &Call) -> Self {
        match about.area {
            // A test is one of the road and nobody's matter, unless it is told who signs in, writes, or is woken.
            Area::Tests => match users(about, call) {
                Self::AnyUser => Self::Nothing,
                named => named,
            },
            Area::Users => users(about, call),
            Area::Own => Self::Nothing,
            Area::Administration | Area::Scoped | Area::Topology if !about.changes => Self::Nothing,
            Area::Administration | Area::Topology => Self::Organisation,
            Area::Scoped => record(call),
        }
    }

    /// Whether a role with these reaches may.
    pub fn is_within(&self, config: &ConfigReach, users: &UserReach) -> bool {
        match self {
            Self::Nothing => true,
            Self::Organisation => config.reaches(None),
            Self::Record(scope) => config.reaches(Some(scope)),
            Self::Users(named) => named.iter().all(|user| users.reaches(user)),
            Self::AnyUser => *users == UserReach::Everyone,
        }
    }

    /// Which of the two reaches matters, in words.
    pub(super) fn reach_of(&self, config: &ConfigReach, users: &UserReach) -> String {
        match self {
            Self::Nothing | Self::Organisation | Self::Record(_) => config.to_string(),
            Self::Users(_) | Self::AnyUser => users.to_string(),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Organisation => f.write_str("what holds for the whole organisation"),
            Self::Record(scope) => write!(f, "{scope}"),
            Self::Users(named) => f.write_str(&named.join(", ")),
            Self::AnyUser => f.write_str("users that are not named (-User sip:name@domain names one)"),
        }
    }
}

/// The scope that a record with one is changed at. Each parameter that could name it must read, and all must agree:
/// whichever of them the cmdlet goes by, it is the one that was looked at.
fn record(call: &Call) -> Need {
    let mut scopes = Vec::new();
    for (name, value) in call.values() {
        match value {
            Value::Object(object) if name == "Instance" => {
                // Hidden properties are for programs; a record's key may be among them as well.
                for key in ["Identity", "@identity", "Scope"] {
                    scopes.extend(object.property(key).map(|value| value.as_text().map(str::to_owned)));
                }
            }
            value if matches!(name, "Identity" | "Scope" | "Site") => scopes.push(value.as_text().map(str::to_owned)),
            _ => {}
        }
    }
    let read = |text: Option<String>| text?.parse::<Scope>().ok();
    let mut read = scopes.into_iter().map(read);
    match read.next() {
        Some(Some(first)) if read.all(|other| other.as_ref() == Some(&first)) => Need::Record(first),
        Some(_) => Need::Organisation,
        // Without an identity these cmdlets mean the global record.
        None => Need::Record(Scope::Global),
    }
}

/// The users that a call names, by parameters and by objects of the pipeline.
fn users(about: &About, call: &Call) -> Need {
    let names_user = |name: &str| {
        let kind = about.parameter(name).map(|parameter| parameter.kind);
        matches!(kind, Some(Kind::SipAddress | Kind::User | Kind::List(Kind::SipAddress | Kind::User)))
            || matches!(name, "User" | "UserSipAddress")
            || (name == "Identity" && matches!(kind, Some(Kind::Text)))
    };
    let mut named = Vec::new();
    for (name, value) in call.values() {
        match value {
            Value::Object(object) if !names_user(name) => {
                let owners = ["User", "SipAddress", "UserSipAddress"].iter().filter_map(|key| object.property(key));
                named.extend(owners.map(ToString::to_string));
            }
            value if names_user(name) => named.extend(value.clone().into_items().iter().map(ToString::to_string)),
            _ => {}
        }
    }
    if named.is_empty() { Need::AnyUser } else { Need::Users(named) }
}
