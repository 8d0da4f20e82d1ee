//! Looks whether a backup is what it was when it was taken.

use std::path::Path;

use reveille_store::inspect_store;

use super::manifest::digest;
use super::{BackupError, Kept, Kind, Manifest};

/// Reads every file of a backup: sizes and digests, and of stores every page. `told` hears of each good file.
pub fn verify(folder: &Path, told: &mut dyn FnMut(&Kept)) -> Result<Manifest, BackupError> {
    let manifest = Manifest::read(folder)?;
    for file in &manifest.files {
        check(folder, file)?;
        told(file);
    }
    Ok(manifest)
}

fn check(folder: &Path, file: &Kept) -> Result<(), BackupError> {
    let path = folder.join(&file.name);
    let damaged = |why: String| BackupError::Damaged { name: file.name.clone(), why };
    let (bytes, sha256) = digest(&path).map_err(|error| damaged(error.to_string()))?;
    if bytes != file.bytes {
        return Err(damaged(format!("it has {bytes} bytes, and had {}", file.bytes)));
    }
    if sha256 != file.sha256 {
        return Err(damaged("its digest is another".into()));
    }
    if file.kind == Kind::Key {
        return Ok(());
    }
    let found = inspect_store(&path).map_err(|error| damaged(error.to_string()))?;
    if (Some(found.mark), Some(found.layout)) != (file.mark, file.layout) {
        return Err(damaged("it is another store's file".into()));
    }
    Ok(())
}
