//! Users of this machine: their names and groups, by the number that the system gives with a connection.
//!
//! The number (SO_PEERCRED) is the only thing believed. Groups are those of the machine's account database, not those
//! that the calling process happens to run under: a set-group-id program would lend its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;

use crate::call::Caller;
use crate::roles::{LOCAL_GROUPS, Rights, Role};

/// Which of the machine's groups are the three of the documents, in the order of [`LOCAL_GROUPS`].
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Groups {
    /// RTCUniversalServerAdmins.
    pub server_admins: Vec<String>,
    /// RTCUniversalUserAdmins.
    pub user_admins: Vec<String>,
    /// RTCUniversalReadOnlyAdmins.
    pub read_only_admins: Vec<String>,
}

/// The users of this machine, and what they may do here.
#[derive(Clone, Debug)]
pub struct LocalUsers {
    groups: Groups,
    /// The user that the server runs as; like root, who could become it, it may do everything.
    own: u32,
    host: String,
    database: Database,
}

impl LocalUsers {
    /// The users of this machine, with the groups mapped so.
    pub fn new(groups: Groups) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { groups, own: rustix::process::geteuid().as_raw(), host, database: Database::system() }
    }

    /// The caller that this user is. One in no group may do nothing.
    pub async fn caller(&self, uid: u32) -> Caller {
        let user = self.database.user(uid).await;
        let name = user.as_ref().map_or_else(|| format!("uid{uid}"), |user| user.name.clone());
        let rights = if uid == 0 || uid == self.own {
            Rights::of_groups([&LOCAL_GROUPS[0]])
        } else {
            Rights::of_groups(self.groups_of(user.as_ref()).await)
        };
        // Accounts have no at sign in their names, so that none can pass for a user of a machine.
        Caller { name: format!("{name}@{}", self.host), from: "local".into(), rights: Arc::new(rights) }
    }

    async fn groups_of(&self, user: Option<&User>) -> Vec<&'static Role> {
        let Some(user) = user else { return Vec::new() };
        let mapped = [&self.groups.server_admins, &self.groups.user_admins, &self.groups.read_only_admins];
        let mut held = Vec::new();
        for (role, names) in LOCAL_GROUPS.iter().zip(mapped) {
            for name in names {
                if self.database.group(name).await.is_some_and(|group| group.holds(user)) {
                    held.push(role);
                    break;
                }
            }
        }
        held
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct User {
    name: String,
    group: u32,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Group {
    number: u32,
    members: Vec<String>,
}

impl Group {
    fn holds(&self, user: &User) -> bool {
        self.number == user.group || self.members.contains(&user.name)
    }
}

/// The machine's account database: the two files, and whatever else the system asks (LDAP, sssd) through `getent`.
#[derive(Clone, Debug)]
struct Database {
    folder: PathBuf,
    getent: bool,
}

impl Database {
    fn system() -> Self {
        Self { folder: "/etc".into(), getent: true }
    }

    async fn user(&self, uid: u32) -> Option<User> {
        let read = |line: &str| {
            let mut fields = line.split(':');
            let (name, _, number, group) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let fits = number.parse() == Ok(uid) && !name.is_empty();
            fits.then_some(User { name: name.to_owned(), group: group.parse().ok()? })
        };
        self.line("passwd", &uid.to_string(), read).await
    }

    async fn group(&self, wanted: &str) -> Option<Group> {
        let read = |line: &str| {
            let mut fields = line.split(':');
            let (name, _, number, members) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let members = members.trim().split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect();
            (name == wanted).then_some(Group { number: number.parse().ok()?, members })
        };
        self.line("group", wanted, read).await
    }

    /// The first line of that database that reads as what is wanted.
    async fn line<T>(&self, database: &str, key: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let file = tokio::fs::read_to_string(self.folder.join(database)).await.unwrap_or_default();
        if let Some(found) = file.lines().find_map(&read) {
            return Some(found);
        }
        // A key that begins with a hyphen would be an option of the program's.
        if !self.getent || key.starts_with('-') {
            return None;
        }
        let asked = Command::new("getent").args([database, key]).kill_on_drop(true).output();
        let answer = tokio::time::timeout(GETENT_MAX, asked).await.ok()?.ok()?;
        String::from_utf8_lossy(&answer.stdout).lines().find_map(read)
    }
}

/// How long a directory may take to say who somebody is.
const GETENT_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn users(own: u32) -> (LocalUsers, PathBuf) {
        let folder = std::env::temp_dir().join(format!("reveille-local-{}-{own}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let passwd = "root:x:0:0::/root:/bin/sh\nann:x:1001:50::/:/bin/sh\nben:x:1002:1002::/:/bin/sh\n\
                      wheel:x:1003:1003::/:/bin/sh\n";
        std::fs::write(folder.join("passwd"), passwd).unwrap();
        let group = "wheel:x:10:ben,carol\noperators:x:50:\nviewers:x:60:ben,wheel\nwheel2:x:1003:\n";
        std::fs::write(folder.join("group"), group).unwrap();
        let groups = Groups {
            server_admins: vec!["wheel".into(), "missing".into()],
            user_admins: vec!["operators".into()],
            read_only_admins: vec!["viewers".into()],
        };
        let database = Database { folder: folder.clone(), getent: false };
        (LocalUsers { groups, own, host: "atl-cs-001".into(), database }, folder)
    }

    #[tokio::test]
    async fn the_number_gives_the_name_and_the_groups_give_the_right() {
        let (users, folder) = users(990);
        for (uid, name, roles) in [
            (0, "root@atl-cs-001", vec!["RTCUniversalServerAdmins"]),
            (990, "uid990@atl-cs-001", vec!["RTCUniversalServerAdmins"]),
            (1001, "ann@atl-cs-001", vec!["RTCUniversalUserAdmins"]),
            (1002, "ben@atl-cs-001", vec!["RTCUniversalServerAdmins", "RTCUniversalReadOnlyAdmins"]),
            // A user whose name is that of a group, and another whose group is numbered like one that is not mapped.
            (1003, "wheel@atl-cs-001", vec!["RTCUniversalReadOnlyAdmins"]),
            // The number of a group is no user's.
            (10, "uid10@atl-cs-001", vec![]),
            (4_294_967_295, "uid4294967295@atl-cs-001", vec![]),
        ] {
            let caller = users.caller(uid).await;
            assert_eq!((caller.name.as_str(), caller.rights.roles().collect::<Vec<_>>()), (name, roles), "{uid}");
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_mapped_group_that_looks_like_an_option_asks_nobody() {
        let database = Database { folder: "/nonexistent".into(), getent: true };
        assert_eq!(database.group("--help").await, None);
    }
}
