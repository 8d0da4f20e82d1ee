//! Changes of settings on their way into the store: what would be done, whether a rule forbids it, who was faster.

use reveille_core::settings::{Conflict, Setting, SettingChange, SettingKey, SettingRow, Snapshot};
use reveille_store::{Edit, SettingsError};

use super::object::record;
use super::{Family, Record, central};
use crate::call::Call;
use crate::cmdlet::Outcome;
use crate::desk::Desk;
use crate::failure::{Category, Failure};

/// How often a change is made anew of what somebody else has just written, before the caller is told.
const TRIES: usize = 16;

/// One change, with what the caller should know of it.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    kind: &'static str,
    edit: Edit,
    target: String,
    verbose: Vec<String>,
    /// Whether there is nothing to do.
    idle: bool,
    /// Whether it belongs to one version of the record, and must not be made of another.
    pub(super) firm: bool,
    /// What is done that nobody asked for in so many words.
    pub(super) said: Vec<String>,
}

impl Planned {
    /// A record in the place of the one before; where there was none it may be made of what was inherited.
    pub(crate) fn put(
        family: &Family,
        setting: Setting,
        before: Option<SettingRow>,
        inherited: Option<Record>,
    ) -> Self {
        let old = before.as_ref().map(|row| record(&row.setting)).or(inherited);
        let verbose = difference(old.as_ref(), &record(&setting));
        let target = setting.identity();
        let idle = before.as_ref().is_some_and(|row| row.setting == setting);
        let read = Some(before.map_or(0, |row| row.version));
        let edit = Edit { change: SettingChange::Put(setting), read };
        Self { kind: family.kind, edit, target, verbose, idle, firm: false, said: Vec::new() }
    }

    /// The record gone.
    pub(super) fn remove(family: &Family, row: SettingRow) -> Self {
        let target = row.setting.identity();
        let mut said = Vec::new();
        let global = family.default.is_some_and(|default| default().key() == row.setting.key());
        if global {
            said.push(format!("The global {} cannot be removed; it has its defaults again.", family.kind));
        }
        Self {
            kind: family.kind,
            edit: Edit { change: SettingChange::Remove(row.setting.key()), read: Some(row.version) },
            verbose: vec![format!("{} \"{target}\" is removed.", family.kind)],
            target,
            idle: row.version == 0,
            firm: false,
            said,
        }
    }

    /// The same, for the record as it was at that version.
    pub(super) const fn read_at(mut self, version: u64) -> Self {
        self.edit.read = Some(version);
        self
    }

    /// Does it, or says what would be done.
    pub(crate) async fn commit(self, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        self.attempt(call, desk).await.map_err(|error| refusal(&error, &self.target))
    }

    async fn attempt(&self, call: &Call, desk: &Desk) -> Result<Outcome, SettingsError> {
        let mut outcome = Outcome { verbose: self.verbose.clone(), ..Outcome::default() };
        let before = desk.settings.snapshot();
        if self.idle {
            outcome.verbose.clear();
            outcome.verbose.push(format!("{} \"{}\" is so already; nothing is changed.", self.kind, self.target));
            return Ok(outcome);
        }
        if call.what_if {
            before.with(&self.edit.change, &call.caller.name, desk.clock.now())?;
            outcome.what_if.push(format!(
                "What if: Performing the operation \"{}\" on target \"{} {}\".",
                call.name, self.kind, self.target
            ));
            return Ok(outcome);
        }
        desk.settings.edit(&call.caller.name, desk.clock.now(), vec![self.edit.clone()]).await?;
        outcome.warnings.extend(self.said.iter().cloned());
        outcome.warnings.extend(new_warnings(&before, &desk.settings.snapshot()));
        Ok(outcome)
    }
}

impl Family {
    /// A record of that name, whatever was there.
    pub(crate) async fn put(&self, setting: Setting, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let plan = |settings: &Snapshot| {
            let row = settings.row(&setting.key()).cloned();
            Ok(Planned::put(self, setting.clone(), row, None))
        };
        settled(call, desk, plan).await
    }

    /// No record of that name; nothing happens if there is none.
    pub(crate) async fn take(&self, identity: &str, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let key = SettingKey::new(self.kind, identity);
        match central(desk)?.row(&key).cloned() {
            Some(row) => Planned::remove(self, row).commit(call, desk).await,
            None => Ok(Outcome::default()),
        }
    }
}

/// Makes a change of the settings as they are, and makes it anew if somebody else was faster: it says what to change and
/// not what the whole record should be. A firm one is refused instead.
pub(crate) async fn settled(
    call: &Call,
    desk: &Desk,
    plan: impl Fn(&Snapshot) -> Result<Planned, Failure>,
) -> Result<Outcome, Failure> {
    for _ in 1..TRIES {
        let planned = plan(&*central(desk)?)?;
        match planned.attempt(call, desk).await {
            Err(SettingsError::Changed(_)) if !planned.firm => {}
            done => return done.map_err(|error| refusal(&error, &planned.target)),
        }
    }
    plan(&*central(desk)?)?.commit(call, desk).await
}

/// What is wrong now and was not before.
fn new_warnings(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let known = before.warnings();
    after.warnings().into_iter().filter(|warning| !known.contains(warning)).map(|it| sentence(&it)).collect()
}

/// Why the store did not take it, as the caller reads it.
pub(crate) fn refusal(error: &SettingsError, target: &str) -> Failure {
    let (category, id) = match error {
        SettingsError::Changed(_) => (Category::ResourceBusy, "RecordChanged"),
        SettingsError::Conflict(
            Conflict::BothLists { .. } | Conflict::IdentityTaken { .. } | Conflict::ProxyTaken { .. },
        ) => (Category::ResourceExists, "SettingsConflict"),
        SettingsError::Conflict(_) => (Category::InvalidData, "SettingsConflict"),
        SettingsError::Store(_) => (Category::ResourceUnavailable, "SettingsNotChanged"),
    };
    let failure = Failure::new(category, id, sentence(&error.to_string())).of(target);
    match error {
        SettingsError::Conflict(conflict) => match conflict.advice() {
            Some(advice) => failure.advise(advice),
            None => failure,
        },
        SettingsError::Changed(changed) => failure.advise(format!("Get-Cs{} -Identity \"{target}\"", changed.key.kind)),
        SettingsError::Store(_) => failure,
    }
}

/// With a capital at the beginning and a full stop at the end; a name at the beginning stays as it is.
pub(crate) fn sentence(text: &str) -> String {
    let first = text.split([' ', '.']).next().unwrap_or_default();
    let is_word =
        first.chars().all(char::is_lowercase) && text.get(first.len()..).is_some_and(|it| it.starts_with(' '));
    let mut said = text.to_owned();
    if is_word && let Some(letter) = said.get_mut(..1) {
        letter.make_ascii_uppercase();
    }
    if !said.ends_with(['.', '?']) {
        said.push('.');
    }
    said
}

/// Which properties differ, one line each.
pub(crate) fn difference(before: Option<&Record>, after: &Record) -> Vec<String> {
    let before = before.cloned().unwrap_or_default();
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let shown = |value: Option<&serde_json::Value>| match value {
        None => "nothing".to_owned(),
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let differs = |name: &&&String| before.get(**name) != after.get(**name);
    let line = |name: &String| format!("{name}: {} → {}", shown(before.get(name)), shown(after.get(name)));
    names.iter().filter(differs).filter(|name| **name != "Identity").map(|name| line(name)).collect()
}
