//! Records as objects, and objects and parameters as records.

use std::collections::HashSet;

use reveille_core::settings::{Scope, Setting, SettingRow, Snapshot};

use super::{Family, Record};
use crate::call::Call;
use crate::failure::{Category, Failure};
use crate::value::{HIDDEN, Object, Value};

/// Parameters that say how to do it and are no properties.
const MANNERS: [&str; 8] = ["Filter", "Force", "Identity", "InMemory", "Instance", "LocalStore", "PassThru", "Tenant"];

/// The hidden member with the version at which a record was read.
const VERSION: &str = "@version";

impl Family {
    /// A record as the object that `Get-…` gives.
    pub(crate) fn object(&self, row: &SettingRow) -> Object {
        let record = record(&row.setting);
        let identity = shown_identity(&row.setting);
        let mut object = Object::new(self.kind);
        for name in self.outputs.iter().chain(self.hidden).filter(|name| (self.shows)(name, &record)) {
            let value = match *name {
                "Identity" => identity.as_str().into(),
                mirror if Some(mirror) == self.mirror => row.setting.identity().into(),
                name => match record.get(name) {
                    Some(value) => serde_json::from_value::<Value>(value.clone()).unwrap_or_default(),
                    None => {
                        self.fresh.iter().find(|(known, _)| *known == name).map_or(Value::Null, |(_, it)| (*it).into())
                    }
                },
            };
            object.set(*name, value);
        }
        if !self.hidden.is_empty() {
            object.set(HIDDEN, self.hidden.to_vec());
        }
        object.with(VERSION, i64::try_from(row.version).unwrap_or(i64::MAX))
    }

    /// A setting that holds, as an object; its version is that of the record, if there is one.
    pub(crate) fn object_of(&self, setting: Setting, settings: &Snapshot) -> Object {
        let row = settings.row(&setting.key()).cloned().unwrap_or_else(|| super::unsaved(setting));
        self.object(&row)
    }

    /// Writes what the call gives over the record.
    pub(super) fn give(&self, record: &mut Record, call: &Call) {
        for (name, value) in call.values() {
            if MANNERS.contains(&name) || Some(name) == self.mirror {
                continue;
            }
            let value = match value.as_object() {
                Some(modifier) if modifier.type_name() == "ListModifier" => modified(record.get(name), modifier),
                _ => plain(value),
            };
            record.insert(name.to_owned(), value);
        }
        (self.adjust)(call, record);
    }

    /// Writes an object's properties over the record; what the object does not have stays.
    pub(super) fn overlay(&self, record: &mut Record, instance: &Object) -> Result<(), Failure> {
        for (name, value) in instance.properties() {
            let known = self.outputs.iter().chain(self.hidden).find(|known| known.eq_ignore_ascii_case(name));
            match known {
                Some(name) if *name == "Identity" || Some(*name) == self.mirror => {}
                Some(name) => {
                    record.insert((*name).into(), plain(value));
                }
                None => {
                    return Err(Failure::new(
                        Category::InvalidData,
                        "InvalidRecord",
                        format!("{} has no property \"{name}\": it has {}.", self.kind, self.outputs.join(", ")),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The record as a setting; what is nothing is left out.
    pub(super) fn read(&self, identity: &str, mut record: Record) -> Result<Setting, Failure> {
        record.retain(|_, value| !value.is_null());
        record.insert("Kind".into(), self.kind.into());
        if self.kind == "AccessEdgeConfiguration" {
            record.remove("Identity");
        } else {
            record.insert("Identity".into(), identity.into());
        }
        serde_json::from_value(record.into()).map_err(|fault| {
            Failure::new(Category::InvalidData, "InvalidRecord", format!("{} \"{identity}\": {fault}.", self.kind))
                .of(identity)
        })
    }
}

/// A setting's properties by name, without its kind.
pub(crate) fn record(setting: &Setting) -> Record {
    let value = serde_json::to_value(setting).expect("settings always serialise: their keys are text");
    match value {
        serde_json::Value::Object(mut record) => {
            record.remove("Kind");
            record
        }
        _ => unreachable!("a setting is an object with its kind"),
    }
}

/// The version at which an object was read; none if a person has made it.
pub(super) fn version(instance: &Object) -> Option<u64> {
    instance.property(VERSION).and_then(Value::as_int).and_then(|version| u64::try_from(version).ok())
}

/// The identity as the documents print it: `Global`, `Site:Redmond`.
pub(super) fn shown_identity(setting: &Setting) -> String {
    match setting.scope() {
        None if setting.kind() == "AccessEdgeConfiguration" => "Global".into(),
        None => setting.identity(),
        Some(Scope::Global) => "Global".into(),
        Some(Scope::Site(name)) => format!("Site:{name}"),
        Some(Scope::Service(fqdn)) => format!("Service:WebServer:{fqdn}"),
        Some(Scope::Tag(name)) => format!("Tag:{name}"),
    }
}

/// A value as it stands in a record: objects lose their type.
fn plain(value: &Value) -> serde_json::Value {
    match value {
        Value::List(items) => items.iter().map(plain).collect(),
        Value::Object(object) => object.properties().map(|(name, value)| (name.to_owned(), plain(value))).collect(),
        other => serde_json::to_value(other).unwrap_or_default(),
    }
}

/// A list after `@{Add=…;Remove=…}` or `@{Replace=…}`; what is there already is not added again.
pub(super) fn modified(before: Option<&serde_json::Value>, modifier: &Object) -> serde_json::Value {
    let side = |name: &str| -> Vec<serde_json::Value> {
        let items = modifier.property(name).cloned().unwrap_or_default().into_items();
        items.iter().map(plain).collect()
    };
    if modifier.property("Replace").is_some() {
        return side("Replace").into();
    }
    // By sets of names: who sends long lists must not make this thread compare each with each.
    let removed: HashSet<String> = side("Remove").iter().map(name_of).collect();
    let mut items = before.and_then(|value| value.as_array().cloned()).unwrap_or_default();
    items.retain(|item| !removed.contains(&name_of(item)));
    let mut known: HashSet<String> = items.iter().map(name_of).collect();
    items.extend(side("Add").into_iter().filter(|item| known.insert(name_of(item))));
    items.into()
}

/// What makes two items of a list the same one: text in any case, a link's token.
fn name_of(item: &serde_json::Value) -> String {
    match item.get("Token").unwrap_or(item).as_str() {
        Some(text) => text.to_lowercase(),
        None => item.to_string(),
    }
}
