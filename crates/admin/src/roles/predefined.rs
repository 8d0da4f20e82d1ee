//! The roles and groups that the documents name, and what each gives here.
//!
//! No public table says which role holds which cmdlet. The documents are sure of RTCUniversalServerAdmins for providers
//! and domains and of CsAdministrator for push, edge and tests (seeds 000, 001), and of the three groups for reading;
//! the rest follows the sentence that describes each role, and each choice is written where it is made.

use std::sync::Arc;

use super::Grant;
use super::reach::{ConfigReach, UserReach};
use crate::cmdlet::{About, Area, Verb};
use crate::cmdlets::CMDLETS;

/// A role, or a local group, that is part of the product.
#[derive(Debug)]
pub struct Role {
    /// Its name.
    pub name: &'static str,
    /// Who is meant, in a sentence without a full stop.
    pub summary: &'static str,
    /// Which cmdlets it has.
    pub has: fn(&About) -> bool,
    /// Which part of the configuration it changes.
    pub config: ConfigReach,
    /// Which users it reaches.
    pub users: UserReach,
}

impl Role {
    /// What it gives.
    pub fn grant(&self) -> Grant {
        let own = CMDLETS.iter().map(|cmdlet| cmdlet.about()).filter(|about| (self.has)(about));
        Grant {
            role: Arc::from(self.name),
            cmdlets: own.map(|about| about.name).collect(),
            config: self.config.clone(),
            users: self.users.clone(),
        }
    }
}

/// The role of that name, in any case.
pub fn predefined(name: &str) -> Option<&'static Role> {
    PREDEFINED.iter().find(|role| role.name.eq_ignore_ascii_case(name))
}

/// The roles, then the groups, that have a cmdlet, for its help page.
pub fn names_with(about: &About) -> (Vec<&'static str>, Vec<&'static str>) {
    let among = |roles: &'static [Role]| roles.iter().filter(|role| (role.has)(about)).map(|role| role.name).collect();
    (among(&PREDEFINED), among(&LOCAL_GROUPS))
}

const fn everything(_: &About) -> bool {
    true
}

const fn nothing(_: &About) -> bool {
    false
}

/// Reads; and what everybody may, since it is his own.
fn reads(about: &About) -> bool {
    about.name.verb == Verb::Get || about.area == Area::Own
}

/// Accounts, tokens and what other administrators did are nobody's business who only looks after servers or users; which
/// roles there are is, since every test's help tells how to look it up.
fn reads_what_is_run(about: &About) -> bool {
    reads(about) && (about.area != Area::Administration || about.name.noun == "CsAdminRole")
}

fn tests(about: &About) -> bool {
    about.name.verb == Verb::Test
}

/// "Manages, monitors and troubleshoots servers and services; no change with global effect": reads, tests, and changes
/// what has a scope; the reach keeps it to records of sites.
fn serves(about: &About) -> bool {
    reads_what_is_run(about) || tests(about) || (about.area == Area::Scoped && about.changes)
}

/// "Users; assigns existing policies and cannot edit them": all that is about users, and reading. A test that is about
/// one user, such as why a push was not sent, is among it.
fn looks_after_users(about: &About) -> bool {
    about.area == Area::Users || reads_what_is_run(about)
}

/// "View, plus some troubleshooting": reads and tests, and changes nothing.
fn helps(about: &About) -> bool {
    reads_what_is_run(about) || (tests(about) && !about.changes)
}

/// The roles that an account may have. The product has nothing yet that the last six look after.
pub static PREDEFINED: [Role; 11] = [
    Role {
        name: "CsAdministrator",
        summary: "Does everything",
        has: everything,
        config: ConfigReach::Everywhere,
        users: UserReach::Everyone,
    },
    Role {
        name: "CsServerAdministrator",
        summary: "Looks after servers and sites: reads, tests, changes records of sites, and nothing of global effect",
        has: serves,
        config: ConfigReach::EverySite,
        users: UserReach::Everyone,
    },
    Role {
        name: "CsUserAdministrator",
        summary: "Looks after users: their policies, devices and pushes; reads everything else",
        has: looks_after_users,
        config: ConfigReach::Nothing,
        users: UserReach::Everyone,
    },
    Role {
        name: "CsViewOnlyAdministrator",
        summary: "Reads everything, also accounts and the audit log",
        has: reads,
        config: ConfigReach::Nothing,
        users: UserReach::Everyone,
    },
    Role {
        name: "CsHelpDesk",
        summary: "Reads and tests",
        has: helps,
        config: ConfigReach::Nothing,
        users: UserReach::Everyone,
    },
    elsewhere("CsVoiceAdministrator", "Looks after telephony, of which there is none here"),
    elsewhere("CsArchivingAdministrator", "Looks after archives, of which there are none here"),
    elsewhere("CsLocationAdministrator", "Looks after places of emergency calls, of which there are none here"),
    elsewhere("CsResponseGroupAdministrator", "Looks after response groups, of which there are none here"),
    elsewhere("CsResponseGroupManager", "Looks after some response groups, of which there are none here"),
    elsewhere("CsPersistentChatAdministrator", "Looks after chat rooms, of which there are none here"),
];

/// The groups of this machine's users, as the documents name them; `[admin.groups]` says which of the machine's own
/// groups each is.
pub static LOCAL_GROUPS: [Role; 3] = [
    Role {
        name: "RTCUniversalServerAdmins",
        summary: "Do everything on this machine",
        has: everything,
        config: ConfigReach::Everywhere,
        users: UserReach::Everyone,
    },
    Role {
        name: "RTCUniversalUserAdmins",
        summary: "Look after users; read everything else",
        has: looks_after_users,
        config: ConfigReach::Nothing,
        users: UserReach::Everyone,
    },
    Role {
        name: "RTCUniversalReadOnlyAdmins",
        summary: "Read everything",
        has: reads,
        config: ConfigReach::Nothing,
        users: UserReach::Everyone,
    },
];

const fn elsewhere(name: &'static str, summary: &'static str) -> Role {
    Role { name, summary, has: nothing, config: ConfigReach::Nothing, users: UserReach::Nobody }
}
