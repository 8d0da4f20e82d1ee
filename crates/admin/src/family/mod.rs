//! What the cmdlets of all settings have in common: Get, New, Set, Remove, Enable and Disable of one kind of record.
//!
//! A record's properties have the names of the cmdlets' parameters, so that record, object and JSON are one form.

pub(crate) mod cmdlet;
mod object;
pub(crate) mod parameters;
mod pattern;
mod write;

use std::sync::Arc;

use reveille_core::settings::{Scope, Setting, SettingKey, SettingRow, Snapshot};
use serde_json::Map;

use crate::call::Call;
use crate::cmdlet::{Area, Outcome};
use crate::cmdlets::{find, quoted};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::value::{Object, Value};

pub(crate) use object::record;
pub(crate) use pattern::fits;
pub(crate) use write::{Planned, difference, refusal, sentence, settled};

/// A record as it is stored: its properties by name.
pub(crate) type Record = Map<String, serde_json::Value>;

/// One kind of record, as its cmdlets see it.
#[derive(Clone, Copy)]
pub(crate) struct Family {
    /// The noun of its cmdlets.
    pub(crate) noun: &'static str,
    /// The setting's kind, and its objects' type: the noun without its prefix.
    pub(crate) kind: &'static str,
    /// What its cmdlets touch.
    pub(crate) area: Area,
    /// The properties in display order.
    pub(crate) outputs: &'static [&'static str],
    /// Properties that are there, and that the default display leaves out.
    pub(crate) hidden: &'static [&'static str],
    /// The record that holds where nobody has made one; none for kinds without a global record.
    pub(crate) default: Option<fn() -> Setting>,
    /// What a new record has where nobody says otherwise and the record itself leaves it open.
    pub(crate) fresh: &'static [(&'static str, &'static str)],
    /// The property that says the same as Identity.
    pub(crate) mirror: Option<&'static str>,
    /// Makes properties of parameters that are none themselves.
    pub(crate) adjust: fn(&Call, &mut Record),
    /// Whether a property is shown, where that depends on the record.
    pub(crate) shows: fn(&str, &Record) -> bool,
}

impl Family {
    /// A kind of record, by the noun of its cmdlets, with these properties in display order.
    pub(crate) const fn new(noun: &'static str, area: Area, outputs: &'static [&'static str]) -> Self {
        let (prefix, kind) = noun.split_at(2);
        assert!(matches!(prefix.as_bytes(), b"Cs"), "a noun begins with Cs");
        Self {
            noun,
            kind,
            area,
            outputs,
            hidden: &[],
            default: None,
            fresh: &[],
            mirror: None,
            adjust: |_, _| (),
            shows: |_, _| true,
        }
    }

    /// `Get-…`: all records, the one with `-Identity`, or those whose identity fits `-Filter`.
    pub(crate) async fn get(&self, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let settings = if call.is_on("LocalStore") { desk.settings.snapshot() } else { central(desk)? };
        let mut rows = self.rows(&settings);
        if let Some(identity) = call.text("Identity") {
            rows.retain(|row| row.setting.key().identity == identity.to_ascii_lowercase());
            if rows.is_empty() {
                return Err(self.not_found(identity));
            }
        }
        if let Some(filter) = call.text("Filter") {
            rows.retain(|row| fits(filter, &row.setting.identity()));
        }
        Ok(Outcome::of(rows.iter().map(|row| self.object(row))))
    }

    /// `New-…`: a record that does not exist yet.
    pub(crate) async fn create(&self, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let mirrored = self.mirror.and_then(|name| call.text(name));
        let identity = self.declared(call.text("Identity").or(mirrored).unwrap_or_default(), desk)?;
        let mut record = Record::new();
        for (name, value) in self.fresh {
            record.insert((*name).into(), (*value).into());
        }
        self.give(&mut record, call);
        let setting = self.read(&identity, record)?;
        if call.is_on("InMemory") {
            return Ok(Outcome::of([self.object(&unsaved(setting))]));
        }
        let settings = central(desk)?;
        let global = self.default.is_some() && setting.scope().is_none_or(|scope| *scope == Scope::Global);
        if global || settings.row(&setting.key()).is_some() {
            return Err(self.exists(&setting));
        }
        let planned = Planned::put(self, setting.clone(), None, None);
        let mut outcome = planned.commit(call, desk).await?;
        if let (false, Some(row)) = (call.what_if, desk.settings.snapshot().row(&setting.key())) {
            outcome.objects.push(self.object(row).into());
        }
        Ok(outcome)
    }

    /// `Set-…`: changes the properties that are given, of the record with `-Identity` or of the one that `-Instance` is.
    pub(crate) async fn change(&self, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let plan = |settings: &Snapshot| self.changed(call, desk, settings);
        write::settled(call, desk, plan).await
    }

    /// The change that a Set asks for, made of the settings as they are.
    fn changed(&self, call: &Call, desk: &Desk, settings: &Snapshot) -> Result<Planned, Failure> {
        let instance = call.object("Instance");
        let named = match instance {
            Some(instance) => identity_of(instance),
            None => call.text("Identity").map(str::to_owned),
        };
        let identity = match (named, self.default) {
            (Some(named), _) => self.declared(&named, desk)?,
            (None, Some(_)) => Scope::Global.to_string(),
            (None, None) => return Err(self.which(call)),
        };
        let key = SettingKey::new(self.kind, &identity);
        let row = self.row(settings, &key);
        let mut said = Vec::new();
        let (identity, before, version) = match (&row, instance) {
            (Some(row), _) => (row.setting.identity(), object::record(&row.setting), row.version),
            // Made with -InMemory, or removed meanwhile: the version that it was read at tells.
            (None, Some(_)) => (identity, Record::new(), 0),
            (None, None) => {
                let inherited = self.inherited(&identity, settings, &mut said);
                (identity.clone(), inherited.map_err(|failure| self.made_instead(failure, &identity, call))?, 0)
            }
        };
        let inherited = row.is_none().then(|| before.clone());
        let (mut record, mut read) = (before, version);
        if let Some(instance) = instance {
            read = object::version(instance).unwrap_or(version);
            self.overlay(&mut record, instance)?;
        }
        self.give(&mut record, call);
        let setting = self.read(&identity, record)?;
        let mut planned = Planned::put(self, setting, row, inherited).read_at(read);
        planned.said = said;
        planned.firm = instance.is_some();
        Ok(planned)
    }

    /// `Set-…` of a record that holds also where nobody has made one: it is made of `base`.
    pub(crate) async fn adapt(
        &self,
        base: impl Fn(&Snapshot) -> Setting,
        call: &Call,
        desk: &Desk,
    ) -> Result<Outcome, Failure> {
        let plan = |settings: &Snapshot| {
            let base = base(settings);
            let row = settings.row(&base.key()).cloned();
            let before = object::record(&base);
            let mut record = before.clone();
            self.give(&mut record, call);
            let setting = self.read(&base.identity(), record)?;
            Ok(Planned::put(self, setting, row, Some(before)))
        };
        write::settled(call, desk, plan).await
    }

    /// `Remove-…`: the record goes; a global one falls back to its defaults.
    pub(crate) async fn remove(&self, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let plan = |settings: &Snapshot| {
            let identity = call.text("Identity").ok_or_else(|| self.which(call))?;
            let key = SettingKey::new(self.kind, identity);
            let row = self.row(settings, &key).ok_or_else(|| self.not_found(identity))?;
            Ok(Planned::remove(self, row))
        };
        write::settled(call, desk, plan).await
    }

    /// `Enable-…` and `Disable-…`.
    pub(crate) async fn switch(&self, on: bool, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
        let named = call.object("Instance").and_then(identity_of);
        let identity = named.or_else(|| call.text("Identity").map(str::to_owned)).ok_or_else(|| self.which(call))?;
        let key = SettingKey::new(self.kind, &identity);
        let plan = |settings: &Snapshot| {
            let row = self.row(settings, &key).ok_or_else(|| self.not_found(&identity))?;
            let mut record = object::record(&row.setting);
            record.insert("Enabled".into(), on.into());
            let setting = self.read(&row.setting.identity(), record)?;
            let version = row.version;
            Ok(Planned::put(self, setting, Some(row), None).read_at(version))
        };
        let mut outcome = write::settled(call, desk, plan).await?;
        if let (true, Some(row)) = (call.is_on("PassThru"), desk.settings.snapshot().row(&key)) {
            outcome.objects.push(self.object(row).into());
        }
        Ok(outcome)
    }

    /// The records of this kind; a global one that nobody has written stands there with its defaults.
    pub(crate) fn rows(&self, settings: &Snapshot) -> Vec<SettingRow> {
        let mut rows: Vec<_> = settings.of_kind(self.kind).cloned().collect();
        if let Some(default) = self.default {
            let global = default();
            if settings.row(&global.key()).is_none() {
                rows.insert(0, unsaved(global));
            }
        }
        rows
    }

    /// The record of that key, a global one also where nobody has written it.
    fn row(&self, settings: &Snapshot, key: &SettingKey) -> Option<SettingRow> {
        let written = settings.row(key).cloned();
        written.or_else(|| self.default.map(|default| unsaved(default())).filter(|row| row.setting.key() == *key))
    }

    /// The record that a site without one of its own starts from: what holds there already.
    fn inherited(&self, identity: &str, settings: &Snapshot, said: &mut Vec<String>) -> Result<Record, Failure> {
        let global = self.default.and_then(|default| self.row(settings, &default().key()));
        match (identity.parse(), global) {
            (Ok(Scope::Site(_)), Some(global)) => {
                let written = if global.version > 0 { "the global record" } else { "the defaults" };
                said.push(format!(
                    "{identity} had no {} of its own; it is made now, from {written}, with the changes.",
                    self.kind
                ));
                Ok(object::record(&global.setting))
            }
            _ => Err(self.not_found(identity)),
        }
    }

    /// The identity as the configuration spells it: a site must be declared there.
    fn declared(&self, identity: &str, desk: &Desk) -> Result<String, Failure> {
        let scoped = self.default.is_some();
        let Ok(Scope::Site(name)) = identity.parse() else { return Ok(identity.to_owned()) };
        if !scoped {
            return Ok(identity.to_owned());
        }
        if let Some(known) = desk.sites.iter().find(|known| known.eq_ignore_ascii_case(&name)) {
            return Ok(Scope::Site(known.clone()).to_string());
        }
        let sites: Vec<_> = desk.sites.iter().map(|site| format!("site:{site}")).collect();
        let there = match sites[..] {
            [] => "no sites are declared".to_owned(),
            _ => format!("declared are {}", sites.join(", ")),
        };
        Err(Failure::new(
            Category::ObjectNotFound,
            "SiteNotDeclared",
            format!("There is no site \"{name}\": {there}. Sites are declared in the configuration file: sites = [\"{name}\"]."),
        )
        .of(identity))
    }

    pub(crate) fn not_found(&self, identity: &str) -> Failure {
        let scoped = self.default.is_some() && identity.parse::<Scope>().is_ok();
        let hint = if scoped { " What is broader holds there." } else { "" };
        Failure::new(
            Category::ObjectNotFound,
            "ObjectNotFound",
            format!(
                "There is no {} \"{identity}\".{hint} Get-Cs{} shows what there is.{}",
                self.kind,
                self.kind,
                if identity.contains('*') {
                    format!(" A pattern goes with -Filter: Get-Cs{} -Filter {}.", self.kind, quoted(identity))
                } else {
                    String::new()
                }
            ),
        )
        .of(identity)
        .advise(format!("Get-Cs{}", self.kind))
    }

    /// Names the command that makes the record that a Set did not find, where there is one, with what the Set has given.
    fn made_instead(&self, failure: Failure, identity: &str, call: &Call) -> Failure {
        let name = format!("New-{}", self.noun);
        let Some(new) = (&*failure.id == "ObjectNotFound").then(|| find(&name)).flatten() else { return failure };
        let mut command = format!("{name} -Identity {}", quoted(identity));
        for (parameter, value) in call.values() {
            let is_taken = parameter != "Identity" && new.about().parameter(parameter).is_some();
            if let Some(value) = typed(value).filter(|_| is_taken) {
                command += &format!(" -{parameter} {value}");
            }
        }
        Failure { message: format!("{} To make it: {command}", failure.message), ..failure }.advise(command)
    }

    fn exists(&self, setting: &Setting) -> Failure {
        let identity = object::shown_identity(setting);
        Failure::new(
            Category::ResourceExists,
            "AlreadyExists",
            format!("{} \"{identity}\" exists already. Set-Cs{} changes it.", self.kind, self.kind),
        )
        .of(identity.clone())
        .advise(format!("Get-Cs{} -Identity \"{identity}\"", self.kind))
    }

    fn which(&self, call: &Call) -> Failure {
        Failure::new(
            Category::InvalidArgument,
            "MissingMandatoryParameter",
            format!("Which {}? Give {} -Identity, or an object from Get-Cs{}.", self.kind, call.name, self.kind),
        )
    }
}

/// The settings as they are in the central file.
pub(crate) fn central(desk: &Desk) -> Result<Arc<Snapshot>, Failure> {
    desk.settings.fresh().map_err(|failure| {
        Failure::new(Category::ResourceUnavailable, "SettingsNotRead", sentence(&failure.to_string()))
    })
}

/// A record that is not in the store.
fn unsaved(setting: Setting) -> SettingRow {
    SettingRow { setting, author: String::new(), at: reveille_core::Timestamp::from_millis(0), version: 0 }
}

/// A value as it is typed, of the kinds that a record is made with; of a list what is added to it.
fn typed(value: &Value) -> Option<String> {
    match value {
        Value::Bool(on) => Some(if *on { "$True" } else { "$False" }.to_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::Text(text) => Some(quoted(text)),
        Value::List(items) => items.iter().map(typed).collect::<Option<Vec<_>>>().map(|items| items.join(",")),
        Value::Object(object) if object.type_name() == "ListModifier" => {
            typed(object.property("Add").or_else(|| object.property("Replace"))?)
        }
        _ => None,
    }
}

fn identity_of(instance: &Object) -> Option<String> {
    instance.property("Identity").map(ToString::to_string)
}

#[cfg(test)]
mod tests;
