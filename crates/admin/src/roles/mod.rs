//! Who may do what: roles, what they reach, and whether a call is within it (lync.md §1.7).
//!
//! A role is a set of cmdlets with two reaches: the configuration that its holder may change, and the users that he may
//! look at and change. What a call touches is worked out from the cmdlet's [`Area`](crate::cmdlet::Area) and from the
//! bound parameters, so that shell, admin API and console cannot differ.

pub mod custom;
mod need;
mod predefined;
mod reach;
pub mod removal;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use reveille_core::settings::{AdminRole, Snapshot};

use crate::call::{Call, Caller};
use crate::cmdlet::{About, Area, Name};
use crate::cmdlets::{self, CMDLETS};
use crate::failure::{Category, Failure};

pub use need::Need;
pub use predefined::{LOCAL_GROUPS, PREDEFINED, Role, names_with, predefined};
pub use reach::{ConfigReach, UserReach, UserScope};

/// Everything that one caller may do: what his roles give him, together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rights {
    grants: Vec<Grant>,
}

/// Whether whoever has an account may run it, whatever his roles name.
fn is_everybodys(name: Name) -> bool {
    CMDLETS.iter().map(|cmdlet| cmdlet.about()).any(|about| about.name == name && about.area == Area::Own)
}

/// What one role gives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Grant {
    /// The role's name.
    pub role: Arc<str>,
    /// The cmdlets.
    pub cmdlets: BTreeSet<Name>,
    /// What of the configuration they may change.
    pub config: ConfigReach,
    /// Whose devices, pushes and policies they may see and change.
    pub users: UserReach,
}

impl Rights {
    /// The right to everything, for tests and for whoever owns the machine.
    pub fn all() -> Self {
        Self { grants: vec![PREDEFINED[0].grant()] }
    }

    /// What these roles give together; a name that is no role any more gives nothing.
    pub fn of_roles<'a>(names: impl IntoIterator<Item = &'a str>, settings: &Snapshot) -> Self {
        Self { grants: names.into_iter().filter_map(|name| grant_of(name, settings)).collect() }
    }

    /// What one of the local groups gives.
    pub fn of_groups(groups: impl IntoIterator<Item = &'static Role>) -> Self {
        Self { grants: groups.into_iter().map(Role::grant).collect() }
    }

    /// What each role gives.
    pub fn grants(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter()
    }

    /// The names of the roles, in order.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.grants.iter().map(|grant| &*grant.role)
    }

    /// Whether there is no role at all.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }

    /// Whether the cmdlet may be called at all, with whatever scope.
    pub fn has(&self, name: Name) -> bool {
        is_everybodys(name) || self.grants.iter().any(|grant| grant.cmdlets.contains(&name))
    }

    /// Whether these rights reach what the call needs.
    pub fn may(&self, about: &About, call: &Call) -> Result<(), Denied> {
        if about.area == Area::Own {
            return Ok(());
        }
        let holding: Vec<&Grant> = self.grants.iter().filter(|it| it.cmdlets.contains(&about.name)).collect();
        if holding.is_empty() {
            return Err(self.without_cmdlet());
        }
        let need = Need::of(about, call);
        if holding.iter().any(|grant| need.is_within(&grant.config, &grant.users)) {
            return Ok(());
        }
        let reach = holding.iter().map(|grant| need.reach_of(&grant.config, &grant.users)).collect::<Vec<_>>();
        Err(Denied::Scope { need, reach: reach.join("; ") })
    }

    fn without_cmdlet(&self) -> Denied {
        Denied::Cmdlet { roles: self.roles().map(Into::into).collect() }
    }

    /// Whether everything that `grant` gives is within these rights: nobody may hand out more than he has.
    pub fn covers(&self, grant: &Grant) -> Result<(), Excess> {
        let within = |name: &Name| {
            is_everybodys(*name)
                || self.grants.iter().any(|own| {
                    own.cmdlets.contains(name) && own.config.contains(&grant.config) && own.users.contains(&grant.users)
                })
        };
        match grant.cmdlets.iter().find(|name| !within(name)) {
            None => Ok(()),
            Some(cmdlet) => Err(Excess { role: Arc::clone(&grant.role), cmdlet: *cmdlet }),
        }
    }

    /// [`Self::covers`] for all of another's rights.
    pub fn cover_all(&self, other: &Self) -> Result<(), Excess> {
        other.grants.iter().try_for_each(|grant| self.covers(grant))
    }
}

impl Caller {
    /// Whether the caller may run that cmdlet at all, as the failure that he is told otherwise.
    pub fn may_run(&self, name: Name) -> Result<(), Failure> {
        if self.rights.has(name) { Ok(()) } else { Err(self.rights.without_cmdlet().failure(self, name)) }
    }

    /// Whether the caller may make this call, as the failure that he is told otherwise.
    pub fn may(&self, about: &About, call: &Call) -> Result<(), Failure> {
        self.rights.may(about, call).map_err(|denied| denied.failure(self, about.name))
    }
}

/// Why a caller may not make a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Denied {
    /// None of his roles has the cmdlet.
    Cmdlet {
        /// His roles.
        roles: Vec<Box<str>>,
    },
    /// His roles have the cmdlet and do not reach what it would touch.
    Scope {
        /// What it would touch.
        need: Need,
        /// What they reach.
        reach: String,
    },
}

impl Denied {
    fn failure(&self, caller: &Caller, cmdlet: Name) -> Failure {
        let (id, message) = match self {
            Self::Cmdlet { roles } if roles.is_empty() => (
                "NoRole",
                format!(
                    "{} may not run {cmdlet}: no role is held. Set-CsAdminAccount -Roles gives an account roles, \
                     [admin.groups] of the server's configuration a user of its machine",
                    caller.name
                ),
            ),
            Self::Cmdlet { roles } => (
                "CmdletNotInRole",
                format!(
                    "{} may not run {cmdlet}: it is not among the cmdlets of {}. Get-CsAdminRole | Where-Object \
                     {{$_.Cmdlets -match \"\\b{cmdlet}\\b\"}} shows the roles that have it",
                    caller.name,
                    roles.join(", ")
                ),
            ),
            Self::Scope { need, reach } => {
                ("OutOfScope", format!("{} may run {cmdlet}, but not on {need}: the role reaches {reach}", caller.name))
            }
        };
        Failure::new(Category::PermissionDenied, id, message + ".").of(cmdlet.to_string())
    }
}

/// What somebody wanted to hand out without having it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Excess {
    /// The role.
    pub role: Arc<str>,
    /// The first cmdlet that is beyond the caller's own rights.
    pub cmdlet: Name,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} gives {} with a reach that the caller does not have", self.role, self.cmdlet)
    }
}

impl Excess {
    /// The failure of whoever wanted `what`.
    pub fn failure(&self, caller: &Caller, what: &str) -> Failure {
        let message = format!(
            "{} may not {what}: the role {self}. Somebody whose own roles have as much must do it.",
            caller.name
        );
        Failure::new(Category::PermissionDenied, "MoreThanOwnRights", message).of(&*self.role)
    }
}

/// What the role of that name gives, predefined or made by somebody.
pub fn grant_of(name: &str, settings: &Snapshot) -> Option<Grant> {
    match predefined(name) {
        Some(role) => Some(role.grant()),
        None => made(name, settings).map(Grant::of_custom),
    }
}

/// The role of that name that somebody has made.
pub fn made<'a>(name: &str, settings: &'a Snapshot) -> Option<&'a AdminRole> {
    settings.admin_roles().find(|role| role.identity.eq_ignore_ascii_case(name))
}

impl Grant {
    /// What a role gives that somebody has made. What it does not name it does not reach.
    pub fn of_custom(role: &AdminRole) -> Self {
        Self {
            role: role.identity.as_str().into(),
            cmdlets: role.cmdlets.iter().filter_map(|name| cmdlets::find(name)).map(|it| it.about().name).collect(),
            config: ConfigReach::of(&role.config_scopes),
            users: UserReach::of(&role.user_scopes),
        }
    }
}
