//! Removing a role that somebody has made, from two files: first it is nobody's, then it is gone.
//!
//! Whoever has a role stands in one file and the role in another, so there is no commit for both. The first one takes it
//! from every account and says that the role is being removed; the second removes it. A process that stops in between has
//! left nobody with the name, and the next one that starts does the rest.

use reveille_core::Timestamp;
use reveille_core::settings::{AdminRole, Setting, SettingChange, SettingKey, SettingRow, Snapshot};
use reveille_store::{Accounts, Edit, Retirement, RoleSeen, Settings, SettingsError, StoreError, wait};

use crate::cmdlets::unavailable;
use crate::failure::{Category, Failure};
use crate::family::{refusal, sentence};

const KIND: &str = "AdminRole";
/// How often a role is removed anew that somebody else has just changed.
const TRIES: usize = 16;

/// Where roles and those who have them stand.
#[derive(Clone, Copy)]
pub struct Files<'a> {
    /// The roles.
    pub settings: &'a dyn Settings,
    /// Who has them.
    pub accounts: &'a dyn Accounts,
}

/// Removes the role of that name, if `may` allows it for the role as it is then. Answers whose it was; nothing if there
/// is no such role.
pub async fn remove(
    name: &str,
    author: &str,
    now: Timestamp,
    files: Files<'_>,
    may: impl Fn(&AdminRole) -> Result<(), Failure>,
) -> Result<Option<Vec<String>>, Failure> {
    let mut freed: Option<Vec<String>> = None;
    for _ in 0..TRIES {
        // From the second time on it has been taken from its holders already, and whoever is told no is told that too.
        let so_far = |failure| half_done(failure, freed.as_deref().unwrap_or_default());
        let settings = files.settings.fresh().map_err(not_read).map_err(so_far)?;
        let Some((row, role)) = role_row(name, &settings) else { return Ok(freed) };
        may(role).map_err(so_far)?;
        let seen = RoleSeen { name: role.identity.clone(), version: row.version };
        let begun = wait(|done| files.accounts.retire_role(seen, author, now, done)).await;
        let (begun, holders) = begun.map_err(unavailable).map_err(so_far)?;
        freed.get_or_insert_default().extend(holders);
        match take_out(&begun, now, files.settings).await {
            Ok(()) => {
                end(&begun, files.accounts).await;
                return Ok(freed);
            }
            // Somebody was faster: the role is looked at as it is now.
            Err(SettingsError::Changed(_)) => end(&begun, files.accounts).await,
            Err(error) => {
                end(&begun, files.accounts).await;
                return Err(half_done(refusal(&error, name), &freed.unwrap_or_default()));
            }
        }
    }
    let busy = Failure::new(
        Category::ResourceBusy,
        "RecordChanged",
        format!("The role {name} is changed by others all the time and was not removed."),
    );
    Err(half_done(busy.of(name).advise("Remove-CsAdminRole"), &freed.unwrap_or_default()))
}

/// Ends the removals that a stop of this or another process has left half done. Answers the roles that are gone by it.
/// A role that was changed or made anew since stays, and nobody has it.
pub async fn finish(now: Timestamp, files: Files<'_>) -> Result<Vec<String>, SettingsError> {
    let mut gone = Vec::new();
    for begun in files.accounts.open_retirements()? {
        match take_out(&begun, now, files.settings).await {
            Ok(()) => gone.push(begun.role.name.clone()),
            // Gone already, or another one: another process removes it at this moment, or it was made anew.
            Err(SettingsError::Changed(_)) => {}
            Err(error) => return Err(error),
        }
        wait(|done| files.accounts.end_retirement(&begun.role.name, begun.moment, done)).await?;
    }
    Ok(gone)
}

/// The second half: the role itself, as it was when the removal began.
async fn take_out(begun: &Retirement, now: Timestamp, settings: &dyn Settings) -> Result<(), SettingsError> {
    let change = SettingChange::Remove(SettingKey::new(KIND, &begun.role.name));
    let edit = Edit { change, read: Some(begun.role.version) };
    settings.edit(&begun.by, now, vec![edit]).await.map(drop)
}

/// That it is over. Where it cannot be noted the role cannot be given to anybody until a server has started again.
async fn end(begun: &Retirement, accounts: &dyn Accounts) {
    let noted = wait(|done| accounts.end_retirement(&begun.role.name, begun.moment, done)).await;
    if let Err(error) = noted {
        tracing::warn!(%error, role = begun.role.name, "the end of a role's removal was not noted");
    }
}

fn role_row<'a>(name: &str, settings: &'a Snapshot) -> Option<(&'a SettingRow, &'a AdminRole)> {
    let row = settings.row(&SettingKey::new(KIND, name))?;
    match &row.setting {
        Setting::AdminRole(role) => Some((row, role)),
        _ => None,
    }
}

fn half_done(mut failure: Failure, freed: &[String]) -> Failure {
    if !freed.is_empty() {
        failure.message = format!(
            "{} It was taken from {} all the same. Repeat Remove-CsAdminRole, or give it to them again.",
            failure.message,
            freed.join(", ")
        );
    }
    failure
}

fn not_read(error: StoreError) -> Failure {
    Failure::new(Category::ResourceUnavailable, "SettingsNotRead", sentence(&error.to_string()))
}
