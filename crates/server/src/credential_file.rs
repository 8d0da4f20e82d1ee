//! The file of an app's credential while the clearing house runs: whether it still holds what was read at the start.
//!
//! A key of APNs has a name of its own, which stands in the configuration beside the file, so that a new key is used from
//! a restart on; until then somebody should know that the file holds something else.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::path::Path;

use reveille_core::{AppKey, Timestamp};

use crate::clearinghouse::{accesses, app_key};
use crate::config::App;
use crate::obstacle::Unread;

/// The file of one app's credential.
pub(crate) struct CredentialFile {
    config: App,
    /// When it was read.
    pub(crate) read: Timestamp,
    /// Tells its content from another; of this process only, and no digest that anybody could try keys against.
    mark: u64,
    marks: RandomState,
}

impl CredentialFile {
    /// The file as it is now, at the start.
    pub(crate) fn of(app: &App, now: Timestamp) -> Self {
        let marks = RandomState::new();
        let mark = marks.hash_one(text(&app.credential).ok());
        Self { config: app.clone(), read: now, mark, marks }
    }

    /// Whether it is this app's.
    pub(crate) fn is_of(&self, app: &AppKey) -> bool {
        app_key(&self.config) == *app
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.config.credential
    }

    /// Reads it again. Nothing if it holds what it held; else what stands there now, as a sentence.
    pub(crate) fn differs(&self) -> Option<String> {
        let path = self.path();
        let text = match text(path) {
            Ok(text) => text,
            Err(error) => return Some(Unread(path, &error).to_string()),
        };
        if self.marks.hash_one(Some(&text)) == self.mark {
            return None;
        }
        Some(match accesses(std::slice::from_ref(&self.config)) {
            Ok(_) => format!("the file {} holds another key than the one in use", path.display()),
            Err((key, fault)) => {
                let key = key.rsplit('.').next().unwrap_or_default();
                format!("the file {} cannot be used ({key}): {fault}", path.display())
            }
        })
    }
}

/// What a file holds, as far as a credential may be long.
fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// Longer than any key or account that push services give out.
const BYTES_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use reveille_core::{Environment, Provider};

    use super::*;

    /// That another key is told from the one in use is shown with real keys by `tests/world/why_not_pushed.rs`.
    #[test]
    fn a_file_that_holds_something_else_is_noticed_and_one_that_was_merely_touched_is_not() {
        let folder = std::env::temp_dir().join(format!("reveille-credential-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder).expect("a folder of our own");
        let path = folder.join("apns.p8");
        std::fs::write(&path, "first").expect("it is written");
        let app = App {
            provider: Provider::Apns,
            app: "org.example.chat".into(),
            environment: Environment::default(),
            credential: path.clone(),
            team: Some("TEAM123456".into()),
            key_id: Some("ABC123DEFG".into()),
            server: None,
            roots: None,
            connections: 2,
        };
        let file = CredentialFile::of(&app, Timestamp::from_millis(5));
        assert_eq!(file.differs(), None);
        for (now, expected) in [
            (Some("garbage"), Some("apns.p8 cannot be used (credential): the key file is not a .p8 file")),
            (Some("first"), None),
            (Some(""), Some("it has no PKCS #8 private key in PEM")),
            (None, Some("apns.p8 cannot be read")),
        ] {
            match now {
                Some(text) => std::fs::write(&path, text).expect("it is written"),
                None => std::fs::remove_file(&path).expect("it is removed"),
            }
            let found = file.differs();
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            assert!(found.as_deref().unwrap_or_default().contains(expected.unwrap_or_default()), "{found:?}");
        }
        std::fs::remove_dir(folder).expect("it is empty");
    }
}
