//! The users of an organisation, from a TOML file: `[users.alice]` with `password`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reveille_core::{Aor, SipDomain};
use reveille_home::{User, Users};
use serde::Deserialize;

/// Why the users cannot be read. Nothing of the file's content is in the sentence but names.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// A name that no SIP address could have.
    #[error("home.users: in {}: {fault}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: reveille_core::names::NameError,
    },
    /// The file cannot be opened.
    #[error("home.users: {} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not the form it should have.
    #[error("home.users: {} is not a list of users of the form [users.NAME] with a password (line {line})", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    users: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    password: String,
}

/// Reads the users of an organisation with these domains, the first one first.
pub(crate) fn read(path: &Path, domains: Vec<SipDomain>) -> Result<Users, UsersError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| UsersError::Unreadable { path: path.to_owned(), source })?;
    // The reader's own words could quote a password.
    let file: File = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        UsersError::Wrong { path: path.to_owned(), line: text[..at].matches('\n').count() + 1 }
    })?;
    let mut users = Vec::with_capacity(file.users.len());
    for (name, entry) in file.users {
        let aor =
            Aor::new(&name, domains[0].clone()).map_err(|fault| UsersError::Name { path: path.to_owned(), fault })?;
        let user = User::in_domains(aor.user(), &domains, &entry.password);
        users.push((aor.user().to_owned(), user));
    }
    Ok(Users::in_domains(domains, users))
}
