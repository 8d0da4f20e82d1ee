//! The keys with which roles sign what they write into dialogs: made once, and kept beside the store, so that a call
//! that is under way while a role is started anew can still be ended.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use reveille_core::TokenKey;

use crate::server::StartError;

/// The key that this file holds; a new one where there is none yet.
pub(crate) fn kept(path: &Path) -> Result<TokenKey, StartError> {
    let found = match fs::read(path) {
        Ok(bytes) => read(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path),
        Err(error) => Err(error),
    };
    found.map_err(|source| StartError::TokenKey { path: path.display().to_string(), source })
}

fn read(bytes: &[u8]) -> io::Result<TokenKey> {
    let key = bytes.try_into().map(TokenKey::new);
    key.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("it holds {}", bytes.len())))
}

/// Makes a key and its file, which is whole or not there: a crash in between leaves no half of it.
fn make(path: &Path) -> io::Result<TokenKey> {
    let random: [u8; TokenKey::LEN] = rand::random();
    let partial = path.with_extension("new");
    // One that a crash has left may be anybody's to read.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    file.write_all(&random)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    Ok(TokenKey::new(random))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_one_that_is_broken_is_refused() {
        let folder = std::env::temp_dir().join(format!("reveille-token-key-{:016x}", rand::random::<u64>()));
        fs::create_dir(&folder).expect("a folder");
        let path = folder.join("edge-tokens.key");
        fs::write(folder.join("edge-tokens.new"), "left by a crash").expect("written");
        let made = kept(&path).expect("made");
        assert_eq!(kept(&path).expect("read"), made);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 1);
        assert_ne!(kept(&folder.join("home-tokens.key")).expect("made"), made);
        fs::write(&path, b"short").expect("written");
        let refused = kept(&path).expect_err("no key").to_string();
        assert!(
            refused.contains("edge-tokens.key must hold the 32 bytes") && refused.contains("it holds 5"),
            "{refused}"
        );
        fs::remove_dir_all(&folder).expect("removed");
    }
}
