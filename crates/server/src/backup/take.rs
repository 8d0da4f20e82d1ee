//! Takes a backup while the server runs.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use reveille_core::Clock as _;
use reveille_store::{copy_store, inspect_store};

use super::manifest::{digest, private};
use super::{BackupError, Kept, Kind, MANIFEST, Manifest, Place, key_folders, stores, whose};
use crate::SystemClock;
use crate::config::Raw;

/// Copies everything durable of a configuration into `to`, which is made, or is empty. `told` hears of each file.
pub fn take(raw: &Raw, to: &Path, told: &mut dyn FnMut(&Kept)) -> Result<Manifest, BackupError> {
    folder(to)?;
    if std::fs::read_dir(to).map_err(BackupError::io(to))?.next().is_some() {
        return Err(BackupError::NotEmpty { path: to.to_owned() });
    }
    let begun = SystemClock.now();
    let mut files = Vec::new();
    for place in stores(raw) {
        let kept = store(&place, &to.join(&place.name))?;
        told(&kept);
        files.push(kept);
    }
    for (name, from) in key_folders(raw) {
        for path in keys(&from)? {
            let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            folder(&to.join(name))?;
            let kept = key(&path, &to.join(name).join(&file), format!("{name}/{file}"))?;
            told(&kept);
            files.push(kept);
        }
    }
    let manifest = Manifest::new(whose(raw), begun, SystemClock.now(), files);
    manifest.write(to).map_err(BackupError::io(&to.join(MANIFEST)))?;
    Ok(manifest)
}

fn folder(path: &Path) -> Result<(), BackupError> {
    // It will hold tokens and keys.
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(BackupError::io(path))
}

fn store(place: &Place, to: &Path) -> Result<Kept, BackupError> {
    let begun = SystemClock.now();
    // SQLite would say only that it cannot open it.
    std::fs::metadata(&place.path).map_err(BackupError::io(&place.path))?;
    copy_store(&place.path, to)?;
    let ended = SystemClock.now();
    let inspected = inspect_store(to)?;
    let (bytes, sha256) = digest(to).map_err(BackupError::io(to))?;
    let (mark, layout) = (Some(inspected.mark), Some(inspected.layout));
    Ok(Kept { name: place.name.clone(), kind: place.kind, begun, ended, bytes, sha256, mark, layout })
}

fn key(from: &Path, to: &Path, name: String) -> Result<Kept, BackupError> {
    let begun = SystemClock.now();
    let bytes = std::fs::read(from).map_err(BackupError::io(from))?;
    private(to, &bytes).map_err(BackupError::io(to))?;
    let (bytes, sha256) = digest(to).map_err(BackupError::io(to))?;
    Ok(Kept { name, kind: Kind::Key, begun, ended: SystemClock.now(), bytes, sha256, mark: None, layout: None })
}

/// The key files of a folder, by name; none if there is no such folder.
fn keys(folder: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(BackupError::io(folder))?,
    };
    let mut keys = Vec::new();
    for entry in entries {
        let path = entry.map_err(BackupError::io(folder))?.path();
        if path.is_file() && path.extension().is_some_and(|ending| ending == "key") {
            keys.push(path);
        }
    }
    keys.sort();
    Ok(keys)
}
