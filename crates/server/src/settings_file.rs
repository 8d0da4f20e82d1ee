//! Settings as a JSON file: what `reveille settings import` takes and `export` gives.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use reveille_core::settings::{Setting, SettingChange, SettingKey, Snapshot};
use reveille_core::{Clock as _, Timestamp};
use reveille_store::{Settings as _, SettingsError, SqliteSettings, StoreError};
use serde::{Deserialize, Serialize};

use crate::clock::SystemClock;

/// Why settings could not be imported or exported. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A rule across records, or the store.
    #[error("the settings were not changed: {0}")]
    Settings(#[from] SettingsError),
    /// The settings file itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be opened.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not the form it should have.
    #[error("{}: {fault}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        fault: serde_json::Error,
    },
}

/// One record on export, with where it came from.
#[derive(Debug, Serialize)]
struct Exported<'a> {
    setting: &'a Setting,
    author: &'a str,
    at: Timestamp,
    version: u64,
}

/// The outer form of the file: a list of records, each a setting with its Kind, or an exported one around it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    settings: Vec<serde_json::Value>,
}

/// Reads a file of settings.
pub fn read(path: &Path) -> Result<Vec<Setting>, FileError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    let wrong = |fault| FileError::Wrong { path: path.to_owned(), fault };
    // First the outer form, then each record by itself, so that a fault names the property and not "no variant fits".
    let file: File = serde_json::from_str(&text).map_err(wrong)?;
    file.settings
        .into_iter()
        .map(|value| match value.get("setting") {
            Some(inner) => serde_json::from_value(inner.clone()),
            None => serde_json::from_value(value),
        })
        .collect::<Result<_, _>>()
        .map_err(wrong)
}

/// Writes every record of `file` into the settings at `store`, all or none. Answers the new version.
pub async fn import(store: &Path, file: &Path, author: &str) -> Result<u64, FileError> {
    let settings = read(file)?;
    let store = SqliteSettings::open(store)?;
    let version = put(&store, settings, author).await;
    store.close();
    version
}

/// Puts records, all or none. One that is so already is no change, and makes no history.
pub async fn put(store: &SqliteSettings, settings: Vec<Setting>, author: &str) -> Result<u64, FileError> {
    let kept = store.fresh()?;
    let mut known: HashMap<SettingKey, Setting> = HashMap::new();
    let mut changes = Vec::new();
    for setting in settings {
        let key = setting.key();
        let before = known.get(&key).or_else(|| kept.row(&key).map(|row| &row.setting));
        if before != Some(&setting) {
            changes.push(SettingChange::Put(setting.clone()));
            known.insert(key, setting);
        }
    }
    Ok(store.change(author, SystemClock.now(), changes).await?)
}

/// Removes one record; a global one falls back to its defaults. Answers the new version, or `None` if there is no such
/// record.
pub async fn remove(store: &Path, kind: &str, identity: &str, author: &str) -> Result<Option<u64>, FileError> {
    let store = SqliteSettings::open(store)?;
    let key = SettingKey::new(kind, identity);
    let known = store.snapshot().row(&key).is_some();
    let version = match known {
        true => Some(store.change(author, SystemClock.now(), vec![SettingChange::Remove(key)]).await),
        false => None,
    };
    store.close();
    Ok(version.transpose()?)
}

/// The settings at `store` as text.
pub fn export(store: &Path) -> Result<String, FileError> {
    let store = SqliteSettings::open(store)?;
    let text = write(&store.snapshot());
    store.close();
    Ok(text)
}

/// Settings as the text of a file.
fn write(snapshot: &Snapshot) -> String {
    let rows: Vec<Exported<'_>> = snapshot
        .rows()
        .map(|row| Exported { setting: &row.setting, author: &row.author, at: row.at, version: row.version })
        .collect();
    let file = serde_json::json!({ "settings": rows });
    serde_json::to_string_pretty(&file).expect("settings always serialise: their keys are text") + "\n"
}
