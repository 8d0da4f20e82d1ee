//! What a backup says of itself: its files with their sizes and digests, and when each was copied.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use reveille_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::{BackupError, MANIFEST};

/// The form of manifests that this version writes and reads.
const FORM: u32 = 1;
/// Far more than a manifest ever has.
const BYTES_MAX: u64 = 1 << 20;

/// `manifest.json`; written last, so that a folder with one holds a whole backup.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Manifest {
    /// The form of this document.
    pub form: u32,
    /// Whose roles it is of: each with its domain.
    pub of: Vec<String>,
    /// The version of Reveille that took the backup.
    pub reveille: String,
    /// When it was begun, in milliseconds since the Unix epoch.
    pub begun: Timestamp,
    /// When its last file was copied.
    pub ended: Timestamp,
    /// The same for people.
    pub ended_text: String,
    /// Its files in the order in which they were copied.
    pub files: Vec<Kept>,
}

/// One file of a backup.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Kept {
    /// Its name in the backup's folder.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The instant that it is a copy of lies between this one and the next.
    pub begun: Timestamp,
    /// When it was copied.
    pub ended: Timestamp,
    /// Its size.
    pub bytes: u64,
    /// Its digest, in hexadecimal digits.
    pub sha256: String,
    /// Of a store: what tells the roles' files apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<i64>,
    /// Of a store: the number of its layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<i64>,
}

/// What a file of a backup is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Administrators and what they did.
    Admin,
    /// The clearing house's journal.
    ClearingHouse,
    /// Devices, messages and pushes.
    Home,
    /// A key that signs tokens or opens handles.
    Key,
    /// What the organisation wants.
    Settings,
}

impl Kind {
    /// The word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::ClearingHouse => "clearing house",
            Self::Home => "home",
            Self::Key => "key",
            Self::Settings => "settings",
        }
    }
}

impl Manifest {
    pub(super) fn new(of: Vec<String>, begun: Timestamp, ended: Timestamp, files: Vec<Kept>) -> Self {
        let reveille = env!("CARGO_PKG_VERSION").to_owned();
        Self { form: FORM, of, reveille, begun, ended, ended_text: ended.to_string(), files }
    }

    pub(super) fn read(folder: &Path) -> Result<Self, BackupError> {
        let none = |why: String| BackupError::NoManifest { path: folder.to_owned(), why };
        let mut text = Vec::new();
        let file = File::open(folder.join(MANIFEST)).map_err(|error| none(format!("{MANIFEST}: {error}")))?;
        file.take(BYTES_MAX).read_to_end(&mut text).map_err(|error| none(format!("{MANIFEST}: {error}")))?;
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| none(format!("{MANIFEST}: {error}")))?;
        if manifest.form != FORM {
            return Err(none(format!("{MANIFEST} has form {}, and this version knows {FORM}", manifest.form)));
        }
        // What is named must lie in the folder: a manifest from elsewhere must not reach out of it.
        let inside = |name: &str| {
            let parts: Vec<_> = name.split('/').collect();
            parts.len() <= 2 && parts.iter().all(|part| !part.is_empty() && *part != "." && *part != "..")
        };
        match manifest.files.iter().find(|file| !inside(&file.name)) {
            Some(file) => Err(none(format!("{MANIFEST} names {:?}, which is not inside of it", file.name))),
            None => Ok(manifest),
        }
    }

    /// Writes it whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("text and numbers always serialise");
        private(&folder.join(MANIFEST), &text)
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> Option<&Kept> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// Writes a file that only this user may read, whole or not at all.
pub(super) fn private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Size and digest of a file.
pub(super) fn digest(path: &Path) -> io::Result<(u64, String)> {
    let (mut file, mut context, mut bytes) = (File::open(path)?, Context::new(&SHA256), 0);
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        context.update(&piece[..read]);
        bytes += read as u64;
    }
    let hex = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((bytes, hex))
}
