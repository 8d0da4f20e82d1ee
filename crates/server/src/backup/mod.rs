//! `reveille backup` and `reveille restore`: everything durable of one configuration, copied while it serves
//! (docs/backup.md).
//!
//! Each file is copied as of one instant; the instants differ, so the order matters. What hands over comes before what
//! it hands over to: a home that is restored to an earlier instant than its clearing house asks again for what that has
//! already, and is told that it is a duplicate. The other way round a push would be lost that both believe done.

mod manifest;
mod restore;
mod take;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

use reveille_store::StoreError;

pub use manifest::{Kept, Kind, Manifest};
pub(crate) use restore::restored_at;
pub use restore::{Restored, restore};
pub use take::take;
pub use verify::verify;

use crate::config::Raw;

/// Why a backup could not be taken, is not good, or could not be put back. The administrator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder is not what it should be.
    #[error("{path} is not empty: each backup needs a folder of its own")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder.
    #[error("{path} cannot be used: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No manifest, or none of ours: the backup was not finished, or this is no backup.
    #[error("{path} holds no finished backup: {why}")]
    NoManifest {
        /// The folder.
        path: PathBuf,
        /// What is wrong with its manifest.
        why: String,
    },
    /// A file is not what it was when it was copied.
    #[error("{name} is not as it was copied: {why}. Take another backup")]
    Damaged {
        /// Which.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Something is there already.
    #[error("{path} exists: restore into an empty store, or say --force, which puts it aside as {aside}")]
    Exists {
        /// Which file.
        path: PathBuf,
        /// What it would be called.
        aside: String,
    },
    /// The store is being served.
    #[error("a server runs on this configuration ({why}): stop it first")]
    Running {
        /// How that is known.
        why: String,
    },
    /// It is somebody else's.
    #[error("the backup is of {of}, and the configuration of {wanted}")]
    Another {
        /// Whose roles the backup is of.
        of: String,
        /// Whose the configuration has.
        wanted: String,
    },
    /// The configuration wants what the backup has not, or the other way round.
    #[error("the backup has no {name}, and the configuration needs it: it was taken of another one")]
    Lacks {
        /// Which file.
        name: String,
    },
    /// A store's file.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// One file of the store: what it is, what it is called in a backup, and where it lies.
struct Place {
    kind: Kind,
    name: String,
    path: PathBuf,
}

/// The store files of a configuration in the order in which they are copied.
///
/// Settings before the accounts that settings are checked against; home before the clearing house, for the reason above.
fn stores(raw: &Raw) -> Vec<Place> {
    let place = |kind, name: &str, path| Place { kind, name: name.into(), path };
    let mut places = vec![
        place(Kind::Settings, "settings.db", raw.settings_path()),
        place(Kind::Admin, "admin.db", raw.accounts_path()),
    ];
    if raw.home.is_some() {
        places.push(place(Kind::Home, "home.db", raw.store.dir.join("home.db")));
    }
    if raw.clearinghouse.is_some() {
        places.push(place(Kind::ClearingHouse, "clearinghouse.db", raw.store.dir.join("clearinghouse.db")));
    }
    places
}

/// The roles of a configuration, each with its domain: what is restored into another's place would speak for the wrong one.
fn whose(raw: &Raw) -> Vec<String> {
    let home = raw.home.as_ref().map(|home| format!("home of {}", home.domain));
    let edge = raw.edge.as_ref().map(|edge| format!("edge {}", edge.name));
    let house = raw.clearinghouse.as_ref().map(|house| format!("clearing house of {}", house.domain));
    home.into_iter().chain(edge).chain(house).collect()
}

/// The folders whose `*.key` files belong to the store, each with its name in a backup: those that sign tokens, and those
/// that open handles. They are copied last, so that no handle is in the copies whose key is not.
fn key_folders(raw: &Raw) -> Vec<(&'static str, PathBuf)> {
    let handles = raw.clearinghouse.as_ref().and_then(|house| house.handles.as_ref());
    let handles = handles.map(|handles| ("handle-keys", handles.keys.clone()));
    std::iter::once(("keys", raw.store.dir.clone())).chain(handles).collect()
}

/// The manifest's name.
const MANIFEST: &str = "manifest.json";
