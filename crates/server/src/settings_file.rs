//! Settings as a JSON file: what `reveille settings import` takes and `export` gives.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use reveille_admin::Failure;
use reveille_admin::roles::{custom, removal};
use reveille_core::settings::{Setting, SettingChange, SettingKey, Snapshot};
use reveille_core::{Clock as _, Timestamp};
use reveille_store::{Accounts as _, Edit, Settings as _, SettingsError, SqliteAdmin, SqliteSettings, StoreError};
use serde::{Deserialize, Serialize};

use crate::clock::SystemClock;
use crate::config::Raw;

/// The settings file, and what must be known to change it as cmdlets do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    settings: PathBuf,
    /// Who has which role; there may be no such file.
    accounts: PathBuf,
    /// The sites that are declared; none where no configuration is given.
    sites: Option<Vec<String>>,
}

impl Place {
    /// The settings of that configuration.
    pub fn of(raw: &Raw) -> Self {
        Self { settings: raw.settings_path(), accounts: raw.accounts_path(), sites: Some(raw.declared_sites()) }
    }

    /// The settings in that file; nobody knows which sites are declared.
    pub fn at(settings: &Path) -> Self {
        Self { settings: settings.to_owned(), accounts: Raw::accounts_beside(settings), sites: None }
    }

    /// The settings file.
    pub fn settings(&self) -> &Path {
        &self.settings
    }

    /// The file of accounts, if there is one: none is made where there are no administrators.
    fn accounts(&self) -> Result<Option<SqliteAdmin>, StoreError> {
        if self.accounts.exists() { SqliteAdmin::open(&self.accounts).map(Some) } else { Ok(None) }
    }
}

/// Why settings could not be imported or exported. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A rule about roles.
    #[error("the settings were not changed: {0}")]
    Role(#[from] Failure),
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

/// Writes every record of `file` into the settings, all or none. Answers the new version.
pub async fn import(place: &Place, file: &Path, author: &str) -> Result<u64, FileError> {
    let mut settings = read(file)?;
    let store = SqliteSettings::open(&place.settings)?;
    let version = match check_roles(&mut settings, &store, place) {
        Ok(()) => put(&store, settings, author).await,
        Err(error) => Err(error),
    };
    store.close();
    version
}

/// What `New-CsAdminRole` and `Set-CsAdminRole` ask of a role. One that is in the store as it is in the file is left alone.
fn check_roles(settings: &mut [Setting], store: &SqliteSettings, place: &Place) -> Result<(), FileError> {
    let kept = store.fresh()?;
    let mut new = Vec::new();
    for setting in settings {
        let row = kept.row(&setting.key());
        let Setting::AdminRole(role) = setting else { continue };
        if row.is_some_and(|row| matches!(&row.setting, Setting::AdminRole(before) if before == role)) {
            continue;
        }
        custom::check_new(role, place.sites.as_deref())?;
        if row.is_none() {
            new.push(role.identity.clone());
        }
    }
    if let (false, Some(admin)) = (new.is_empty(), place.accounts()?) {
        let accounts = admin.accounts();
        admin.close();
        let accounts = accounts?;
        new.iter().try_for_each(|name| custom::check_unheld(name, &accounts))?;
    }
    Ok(())
}

/// Puts records, all or none. One that is so already is no change, and makes no history.
pub async fn put(store: &SqliteSettings, settings: Vec<Setting>, author: &str) -> Result<u64, FileError> {
    for _ in 1..TRIES {
        match store.edit(author, SystemClock.now(), edits(&*store.fresh()?, &settings)).await {
            // What is different has been looked up, and somebody has changed it since.
            Err(SettingsError::Changed(_)) => {}
            done => return Ok(done?),
        }
    }
    Ok(store.edit(author, SystemClock.now(), edits(&*store.fresh()?, &settings)).await?)
}

/// What makes these records of those.
fn edits(kept: &Snapshot, settings: &[Setting]) -> Vec<Edit> {
    let mut known: HashMap<SettingKey, &Setting> = HashMap::new();
    let mut edits = Vec::new();
    for setting in settings {
        let (key, change) = (setting.key(), SettingChange::Put(setting.clone()));
        let row = kept.row(&key);
        match known.insert(key, setting) {
            // A second record of one name in the file: the last one counts.
            Some(before) if before != setting => edits.push(Edit { change, read: None }),
            Some(_) => {}
            None if row.is_some_and(|row| row.setting == *setting) => {}
            None => edits.push(Edit { change, read: Some(row.map_or(0, |row| row.version)) }),
        }
    }
    edits
}

/// How often what is different is looked up anew.
const TRIES: usize = 16;

/// Removes one record; a global one falls back to its defaults, a role is taken from whoever has it. Answers the new
/// version, or `None` if there is no such record.
pub async fn remove(place: &Place, kind: &str, identity: &str, author: &str) -> Result<Option<u64>, FileError> {
    let store = SqliteSettings::open(&place.settings)?;
    let removed = take_out(&store, place, SettingKey::new(kind, identity), author).await;
    store.close();
    removed
}

async fn take_out(
    store: &SqliteSettings,
    place: &Place,
    key: SettingKey,
    author: &str,
) -> Result<Option<u64>, FileError> {
    let Some(row) = store.snapshot().row(&key).cloned() else { return Ok(None) };
    let (Setting::AdminRole(role), Some(accounts)) = (&row.setting, place.accounts()?) else {
        return Ok(Some(store.change(author, SystemClock.now(), vec![SettingChange::Remove(key)]).await?));
    };
    let files = removal::Files { settings: store, accounts: &accounts };
    let removed = removal::remove(&role.identity, author, SystemClock.now(), files, |_| Ok(())).await;
    accounts.close();
    removed?;
    Ok(Some(store.fresh()?.version()))
}

/// The settings as text.
pub fn export(place: &Place) -> Result<String, FileError> {
    let store = SqliteSettings::open(&place.settings)?;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use reveille_store::{Account, Given, Past, wait};
    use serde_json::json;

    use super::*;

    /// A folder with settings that know the site Redmond.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let name = format!("reveille-import-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn place(&self) -> Place {
            Place { sites: Some(vec!["Redmond".into()]), ..Place::at(&self.0.join("settings.db")) }
        }

        async fn import(&self, settings: serde_json::Value) -> Result<u64, String> {
            let file = self.0.join("import.json");
            std::fs::write(&file, json!({ "settings": settings }).to_string()).unwrap();
            import(&self.place(), &file, "ann").await.map_err(|error| error.to_string())
        }

        /// Makes an account with that role, which needs not exist.
        async fn account(&self, name: &str, role: &str) {
            let admin = SqliteAdmin::open(&self.place().accounts).unwrap();
            let now = Timestamp::from_millis(1);
            let account = Account {
                name: name.into(),
                password: None,
                certificate: None,
                roles: vec![role.into()],
                disabled: false,
                created: now,
                created_by: "test".into(),
                changed: now,
                changed_by: "test".into(),
                version: 0,
            };
            wait(|done| admin.put_account(account, 0, Given::default(), done)).await.unwrap().unwrap();
            admin.close();
        }

        fn roles_of(&self, name: &str) -> Vec<String> {
            let admin = SqliteAdmin::open(&self.place().accounts).unwrap();
            let roles = admin.account(name).unwrap().unwrap().roles;
            admin.close();
            roles
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }

    fn role(name: &str, more: serde_json::Value) -> serde_json::Value {
        let mut role = json!({
            "Kind": "AdminRole", "Identity": name, "Template": "CsHelpDesk", "Cmdlets": ["Get-CsAdminRole"],
            "ConfigScopes": ["site:Redmond"]
        });
        for (key, value) in more.as_object().unwrap() {
            role[key] = value.clone();
        }
        role
    }

    #[tokio::test]
    async fn a_role_of_a_file_is_held_to_what_the_cmdlets_hold_it_to() {
        let folder = Folder::new();
        folder.account("mallory", "Old").await;
        for (role, part) in [
            (role("CsAdministrator", json!({})), "predefined"),
            (role("RTCUniversalUserAdmins", json!({})), "predefined"),
            (role("a role", json!({})), "no name for a role"),
            (role("R", json!({ "Template": "Boss" })), "\"Boss\""),
            (role("R", json!({ "Cmdlets": ["Get-CsEverything"] })), "no cmdlet \"Get-CsEverything\""),
            (role("R", json!({ "ConfigScopes": ["site:Nowhere"] })), "no site \"Nowhere\""),
            (role("R", json!({ "ConfigScopes": ["global"], "UserScopes": ["nonsense"] })), "not a user scope"),
            (role("old", json!({})), "mallory still carries that name"),
        ] {
            let told = folder.import(json!([{ "Kind": "BlockedDomain", "Identity": "a.example" }, role])).await;
            let told = told.unwrap_err();
            assert!(told.starts_with("the settings were not changed: ") && told.contains(part), "{role}: {told}");
        }
        let store = SqliteSettings::open(folder.place().settings()).unwrap();
        assert_eq!(store.snapshot().version(), 0, "nothing of a refused file is written");
        store.close();
        let spelt =
            role("R", json!({ "ConfigScopes": ["SITE:redmond", "site:Redmond"], "Cmdlets": ["get-csadminrole"] }));
        assert_eq!(folder.import(json!([spelt])).await, Ok(1));
        assert_eq!(folder.import(json!([role("R", json!({}))])).await, Ok(1), "it is spelt as it is");
        // A role that is there may be changed, whoever has it.
        folder.account("bob", "R").await;
        assert_eq!(folder.import(json!([role("R", json!({ "UserScopes": ["global"] }))])).await, Ok(2));
    }

    #[tokio::test]
    async fn a_role_that_is_removed_is_taken_from_whoever_has_it() {
        let folder = Folder::new();
        folder.import(json!([role("R", json!({}))])).await.unwrap();
        folder.account("bob", "r").await;
        assert_eq!(remove(&folder.place(), "AdminRole", "R", "ann").await.unwrap(), Some(2));
        assert_eq!(folder.roles_of("bob"), Vec::<String>::new());
        assert_eq!(remove(&folder.place(), "AdminRole", "R", "ann").await.unwrap(), None);
        assert_eq!(folder.import(json!([role("R", json!({}))])).await, Ok(3), "its name is free");
    }

    #[tokio::test]
    async fn a_file_that_says_what_is_so_changes_nothing_and_makes_no_history() {
        let folder = Folder::new();
        let blocked = |name: &str| json!({ "Kind": "BlockedDomain", "Identity": name });
        folder.import(json!([blocked("a.example"), blocked("b.example"), role("R", json!({}))])).await.unwrap();
        let file = folder.0.join("export.json");
        std::fs::write(&file, export(&folder.place()).unwrap()).unwrap();
        assert_eq!(import(&folder.place(), &file, "ben").await.unwrap(), 3);
        let store = SqliteSettings::open(folder.place().settings()).unwrap();
        let past = store.history(&Past { limit: 100, ..Past::default() }).unwrap();
        assert!(past.len() == 3 && past.iter().all(|change| change.author == "ann"), "{past:?}");
        store.close();
        // One that is different is one change; of two of one name the last one counts.
        let twice = |comment: &str| json!({ "Kind": "BlockedDomain", "Identity": "a.example", "Comment": comment });
        assert_eq!(folder.import(json!([twice("x"), blocked("b.example"), twice("y")])).await, Ok(5));
    }
}
