//! What the cmdlets of all settings have in common: Get, New, Set, Remove, Enable and Disable of one kind of record.
//!
//! A record's properties have the names of the cmdlets' parameters, so that record, object and JSON are one form.

use reveille_core::settings::{Setting, SettingChange, SettingKey, SettingRow};
use serde_json::Map;

use crate::call::Call;
use crate::cmdlet::Outcome;
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::value::{Object, Value};

/// One kind of record, as its cmdlets see it.
pub(crate) struct Family {
    /// The setting's kind, and its objects' type.
    pub(crate) kind: &'static str,
    /// The properties in display order.
    pub(crate) outputs: &'static [&'static str],
    /// The record that holds where nobody has made one; none for kinds without a global record.
    pub(crate) default: Option<fn() -> Setting>,
}

/// Parameters that say how to do it and are no properties.
const MANNERS: [&str; 6] = ["Filter", "Force", "Identity", "InMemory", "Instance", "LocalStore"];

impl Family {
    /// `Get-…`: all records, the one with `-Identity`, or those whose identity fits `-Filter`.
    pub(crate) fn get(&self, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let mut rows = self.rows(desk);
        if let Some(identity) = call.text("Identity") {
            rows.retain(|row| row.setting.key().identity.eq_ignore_ascii_case(identity));
            if rows.is_empty() {
                return Err(self.not_found(identity));
            }
        }
        if let Some(filter) = call.text("Filter") {
            rows.retain(|row| fits(filter, &row.setting.key().identity));
        }
        Ok(Outcome::of(rows.iter().map(|row| self.object(row))))
    }

    /// `New-…`: a record that does not exist yet.
    pub(crate) async fn create(&self, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let identity = call.text("Identity").or_else(|| call.text("Domain")).unwrap_or("global").to_owned();
        let setting = self.setting(&identity, Map::new(), call)?;
        let key = setting.key();
        if call.is_on("InMemory") {
            return Ok(Outcome::of([self.object(&unsaved(setting))]));
        }
        if desk.settings.snapshot().rows().any(|row| row.setting.key() == key) {
            return Err(Failure::new(
                Category::ResourceExists,
                "AlreadyExists",
                format!("{} \"{}\" exists already. Set-Cs{} changes it.", self.kind, key.identity, self.kind),
            )
            .of(key.identity));
        }
        self.put(setting, call, desk).await
    }

    /// `Set-…`: changes the properties that are given, of the record with `-Identity` or of the one that `-Instance` is.
    pub(crate) async fn change(&self, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let (identity, before) = match call.object("Instance") {
            Some(instance) => (identity_of(instance), as_map(instance)),
            None => {
                let identity = call.text("Identity").unwrap_or("global");
                let rows = self.rows(desk);
                let row = rows.iter().find(|row| row.setting.key().identity.eq_ignore_ascii_case(identity));
                let row = row.ok_or_else(|| self.not_found(identity))?;
                (row.setting.key().identity, as_map(&self.object(row)))
            }
        };
        let setting = self.setting(&identity, before, call)?;
        let outcome = self.put(setting, call, desk).await?;
        // As in PowerShell, what was set is not given again.
        Ok(Outcome { objects: Vec::new(), ..outcome })
    }

    /// `Remove-…`: the record goes; a global one falls back to its defaults.
    pub(crate) async fn remove(&self, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let identity = call.text("Identity").unwrap_or_default();
        let rows = self.rows(desk);
        let row = rows.iter().find(|row| row.setting.key().identity.eq_ignore_ascii_case(identity));
        let key: SettingKey = row.ok_or_else(|| self.not_found(identity))?.setting.key();
        self.commit(SettingChange::Remove(key.clone()), &key.identity, call, desk).await
    }

    /// `Enable-…` and `Disable-…`.
    pub(crate) async fn switch(&self, on: bool, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let identity = match call.object("Instance") {
            Some(instance) => identity_of(instance),
            None => call.text("Identity").unwrap_or_default().to_owned(),
        };
        let rows = self.rows(desk);
        let row = rows.iter().find(|row| row.setting.key().identity.eq_ignore_ascii_case(&identity));
        let mut before = as_map(&self.object(row.ok_or_else(|| self.not_found(&identity))?));
        before.insert("Enabled".into(), on.into());
        let setting = self.read(&identity, before)?;
        self.put(setting, call, desk).await.map(|outcome| Outcome { objects: Vec::new(), ..outcome })
    }

    /// The records of this kind; a global one that nobody has written stands there with its defaults.
    fn rows(&self, desk: &Desk) -> Vec<SettingRow> {
        let snapshot = desk.settings.snapshot();
        let mut rows: Vec<_> = snapshot.rows().filter(|row| row.setting.kind() == self.kind).cloned().collect();
        if let Some(default) = self.default {
            let global = default();
            if !rows.iter().any(|row| row.setting.key() == global.key()) {
                rows.insert(0, unsaved(global));
            }
        }
        rows
    }

    /// A record as the object that `Get-…` gives.
    pub(crate) fn object(&self, row: &SettingRow) -> Object {
        let record = serde_json::to_value(&row.setting).expect("settings always serialise: their keys are text");
        let mut object = Object::new(self.kind);
        for name in self.outputs {
            let value = record.get(*name).cloned().unwrap_or_default();
            object.set(*name, serde_json::from_value::<Value>(value).unwrap_or_default());
        }
        object.set("Identity", row.setting.key().identity);
        object.with("@version", i64::try_from(row.version).unwrap_or(i64::MAX))
    }

    /// The record that `before` becomes with what the call gives.
    fn setting(
        &self,
        identity: &str,
        mut before: Map<String, serde_json::Value>,
        call: &Call,
    ) -> Result<Setting, Failure> {
        for (name, value) in call.values().filter(|(name, _)| !MANNERS.contains(name)) {
            let value = match value.as_object() {
                Some(modifier) if modifier.type_name() == "ListModifier" => modified(before.get(name), modifier),
                _ => serde_json::to_value(value).unwrap_or_default(),
            };
            before.insert(name.to_owned(), value);
        }
        self.read(identity, before)
    }

    fn read(&self, identity: &str, mut record: Map<String, serde_json::Value>) -> Result<Setting, Failure> {
        record.retain(|name, value| !name.starts_with('@') && !value.is_null());
        record.insert("Kind".into(), self.kind.into());
        record.insert("Identity".into(), identity.into());
        serde_json::from_value(record.into()).map_err(|fault| {
            Failure::new(Category::InvalidData, "InvalidRecord", format!("{} \"{identity}\": {fault}.", self.kind))
                .of(identity)
        })
    }

    async fn put(&self, setting: Setting, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let key = setting.key();
        let mut outcome = self.commit(SettingChange::Put(setting), &key.identity, call, desk).await?;
        let snapshot = desk.settings.snapshot();
        if let (false, Some(row)) = (call.what_if, snapshot.rows().find(|row| row.setting.key() == key)) {
            outcome.objects.push(self.object(row).into());
        }
        Ok(outcome)
    }

    async fn commit(
        &self,
        change: SettingChange,
        identity: &str,
        call: &Call,
        desk: &Desk,
    ) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::default();
        if call.what_if {
            outcome.what_if.push(format!(
                "What if: Performing the operation \"{}\" on target \"{} {identity}\".",
                call.name, self.kind
            ));
            return Ok(outcome);
        }
        let done = desk.settings.change(&call.caller.name, desk.clock.now(), vec![change]).await;
        done.map_err(|error| {
            let category = if error.retry_helps() { Category::ResourceBusy } else { Category::InvalidData };
            Failure::new(category, "SettingsNotChanged", error.to_string()).of(identity)
        })?;
        Ok(outcome)
    }

    fn not_found(&self, identity: &str) -> Failure {
        Failure::new(
            Category::ObjectNotFound,
            "ObjectNotFound",
            format!("There is no {} \"{identity}\". Get-Cs{} shows what there is.", self.kind, self.kind),
        )
        .of(identity)
    }
}

/// A record that is not in the store.
fn unsaved(setting: Setting) -> SettingRow {
    SettingRow { setting, author: String::new(), at: reveille_core::Timestamp::from_millis(0), version: 0 }
}

fn identity_of(instance: &Object) -> String {
    instance.property("Identity").map(ToString::to_string).unwrap_or_default()
}

fn as_map(object: &Object) -> Map<String, serde_json::Value> {
    object.all().map(|(name, value)| (name.to_owned(), serde_json::to_value(value).unwrap_or_default())).collect()
}

/// A list after `@{Add=…;Remove=…}` or `@{Replace=…}`; what is there already is not added again.
fn modified(before: Option<&serde_json::Value>, modifier: &Object) -> serde_json::Value {
    let side = |name: &str| -> Vec<serde_json::Value> {
        let items = modifier.property(name).cloned().unwrap_or_default().into_items();
        items.iter().map(|item| serde_json::to_value(item).unwrap_or_default()).collect()
    };
    if modifier.property("Replace").is_some() {
        return side("Replace").into();
    }
    let mut items = before.and_then(|value| value.as_array().cloned()).unwrap_or_default();
    let removed = side("Remove");
    items.retain(|item| !removed.contains(item));
    for item in side("Add") {
        if !items.contains(&item) {
            items.push(item);
        }
    }
    items.into()
}

/// Whether `text` fits a pattern with `*` and `?`, in any case.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    fn rest(pattern: &[char], text: &[char]) -> bool {
        // The last star and where its match began: enough to go back to, since later stars can take what earlier ones did.
        let (mut p, mut t, mut back) = (0, 0, None);
        while t < text.len() {
            match pattern.get(p) {
                Some('*') => {
                    back = Some((p, t));
                    p += 1;
                }
                Some(c) if *c == '?' || *c == text[t] => {
                    p += 1;
                    t += 1;
                }
                _ => match back {
                    Some((star, from)) => {
                        back = Some((star, from + 1));
                        p = star + 1;
                        t = from + 1;
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == '*')
    }
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    rest(&lower(pattern), &lower(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_fit_whole_names() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("site:*", "site:Redmond", true),
            ("*ONLINE*", "LyncOnline", true),
            ("Lync?nline", "LyncOnline", true),
            ("Lync", "LyncOnline", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_list_takes_what_is_added_and_loses_what_is_removed() {
        let before = serde_json::json!(["http:", "https:", "ftp:"]);
        for (modifier, expected) in [
            (Object::new("ListModifier").with("Remove", vec!["http:"]), serde_json::json!(["https:", "ftp:"])),
            (
                Object::new("ListModifier").with("Add", vec!["ftp:", "sip:"]),
                serde_json::json!(["http:", "https:", "ftp:", "sip:"]),
            ),
            (Object::new("ListModifier").with("Replace", vec!["tel:"]), serde_json::json!(["tel:"])),
        ] {
            assert_eq!(modified(Some(&before), &modifier), expected, "{modifier}");
        }
    }
}
