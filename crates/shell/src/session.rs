//! A session: what is remembered from line to line, and how a script is run.

use std::collections::{BTreeMap, BTreeSet};

use reveille_admin::value::AS_TEXT;
use reveille_admin::{Object, Value};

use crate::error::Fault;
use crate::eval::preference::Preference;
use crate::eval::{Evaluator, Flow};
use crate::host::{Host, Terminal};
use crate::parser;

/// How a script has ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Ended {
    /// The exit status: 0, or 1 if an error was reported or the last statement has failed, or what `exit` was given.
    pub status: u8,
    /// Whether `exit` was called.
    pub exit: bool,
}

/// Variables and errors of one person or script.
#[derive(Debug)]
pub struct Session {
    /// By name in lower case.
    variables: BTreeMap<String, Value>,
    /// Those of them that were last set to what a pipeline gave that gave nothing, which goes along no pipeline.
    empty: BTreeSet<String>,
    /// The latest first.
    errors: Vec<Value>,
    /// `Set-StrictMode`: 0 is off, from 1 an unknown variable is a mistake, from 2 an unknown property is one too.
    pub(crate) strict: u8,
    /// `$?`.
    pub(crate) succeeded: bool,
}

/// The errors that `$Error` remembers, as in PowerShell.
const ERRORS_MAX: usize = 256;
/// The variables that a session may have.
const VARIABLES_MAX: usize = 4096;

/// How deep the values of a variable may hold other values.
const VALUE_NESTING_MAX: usize = 64;

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// A session in which nothing has happened.
    pub fn new() -> Self {
        // There from the beginning, so that there is room for it whatever else is set.
        let variables = BTreeMap::from([(ITEM.to_owned(), Value::Null)]);
        Self { variables, empty: BTreeSet::new(), errors: Vec::new(), strict: 0, succeeded: true }
    }

    /// Runs a script or a line. Output is printed as each statement ends; an error ends its statement, and the script goes
    /// on unless `-ErrorAction Stop` or `$ErrorActionPreference` says otherwise.
    pub async fn run(&mut self, script: &str, host: &dyn Host, terminal: &mut dyn Terminal) -> Ended {
        match parser::parse(script) {
            Ok(block) => {
                // What was given up in the middle of a block has left its object there.
                self.put_item_back(Value::Null);
                let mut evaluator = Evaluator::new(self, script, host, terminal);
                let flow = evaluator.print_block(&block).await;
                let failed = evaluator.failed || !evaluator.session.succeeded;
                match flow {
                    Err(Flow::Exit(status)) => Ended { status, exit: true },
                    _ => Ended { status: u8::from(failed), exit: false },
                }
            }
            Err(fault) => {
                terminal.say(&fault.render(script));
                self.keep_error(fault_object(&fault));
                Ended { status: 1, exit: false }
            }
        }
    }

    /// The value of a variable; of one that was never set what holds without it, or nothing.
    pub fn variable(&self, name: &str) -> Value {
        let name = name.to_lowercase();
        match name.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            "?" => Value::Bool(self.succeeded),
            "error" => Value::List(self.errors.clone()),
            "psversiontable" => version_table(),
            "psitem" => self.variables.get("_").cloned().unwrap_or_default(),
            _ => {
                let unset = || Preference::named(&name).map(Preference::default_value).unwrap_or_default();
                self.variables.get(&name).cloned().unwrap_or_else(unset)
            }
        }
    }

    /// Sets a variable. The sentence says why one cannot be set, or not to that value.
    pub fn set_variable(&mut self, name: &str, value: Value) -> Result<(), String> {
        let name = name.to_lowercase();
        if matches!(name.as_str(), "true" | "false" | "null" | "?" | "error" | "psitem" | "psversiontable") {
            return Err(format!("Cannot overwrite variable {name} because it is read-only or constant."));
        }
        if !is_shallow(&value, VALUE_NESTING_MAX) {
            return Err(too_deep());
        }
        let value = match Preference::named(&name) {
            Some(preference) => preference.accept(value)?,
            None => value,
        };
        if self.variables.len() == VARIABLES_MAX && !self.variables.contains_key(&name) {
            return Err(format!("A session has at most {VARIABLES_MAX} variables. Use one again."));
        }
        self.empty.remove(&name);
        self.variables.insert(name, value);
        Ok(())
    }

    /// Makes an object `$_`, for as long as a block is about it. Gives what was there before.
    pub(crate) fn exchange_item(&mut self, item: Value) -> Result<Value, String> {
        if !is_shallow(&item, VALUE_NESTING_MAX) {
            return Err(too_deep());
        }
        self.empty.remove(ITEM);
        Ok(self.variables.insert(ITEM.to_owned(), item).unwrap_or_default())
    }

    /// Makes what it was before `$_` again.
    pub(crate) fn put_item_back(&mut self, before: Value) {
        self.empty.remove(ITEM);
        self.variables.insert(ITEM.to_owned(), before);
    }

    /// What a variable was set to, where it stands: a look at one item of a long list takes no copy of the list.
    pub(crate) fn held(&self, name: &str) -> Option<&Value> {
        let name = name.to_lowercase();
        self.variables.get(if name == "psitem" { ITEM } else { &name })
    }

    /// Whether a variable was set, or holds something without that.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        matches!(&*name, "true" | "false" | "null" | "?" | "error" | "psitem" | "psversiontable" | "_")
            || self.variables.contains_key(&name)
            || Preference::named(&name).is_some()
    }

    /// Remembers that a variable, just set, holds what a pipeline gave that gave nothing.
    pub(crate) fn mark_nothing(&mut self, name: &str) {
        let name = name.to_lowercase();
        if self.variables.contains_key(&name) {
            self.empty.insert(name);
        }
    }

    /// Whether a variable holds what a pipeline gave that gave nothing.
    pub(crate) fn holds_nothing(&self, name: &str) -> bool {
        self.empty.contains(&name.to_lowercase())
    }

    /// The names of all variables that were set, in order.
    pub fn variables(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.variables.iter().filter(|(name, _)| *name != ITEM).map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn keep_error(&mut self, error: Value) {
        self.succeeded = false;
        self.errors.insert(0, error);
        self.errors.truncate(ERRORS_MAX);
    }

    pub(crate) fn forget_variable(&mut self, name: &str) {
        let name = name.to_lowercase();
        self.empty.remove(&name);
        self.variables.remove(&name);
        self.variables.entry(ITEM.to_owned()).or_default();
    }
}

/// `$_`, the object that a block is about.
const ITEM: &str = "_";

fn too_deep() -> String {
    format!("The value holds values within values more than {VALUE_NESTING_MAX} deep.")
}

/// Whether a value holds others at most so deep; what is deeper could not be printed or let go without harm.
fn is_shallow(value: &Value, depth: usize) -> bool {
    match value {
        Value::List(items) => depth > 0 && items.iter().all(|item| is_shallow(item, depth - 1)),
        Value::Object(object) => depth > 0 && object.all().all(|(_, value)| is_shallow(value, depth - 1)),
        _ => true,
    }
}

/// What scripts look at before they use something that is new to them: the language here is a part of this version's.
fn version_table() -> Value {
    let version = Object::new("Version").with("Major", 5i64).with("Minor", 1i64).with(AS_TEXT, "5.1");
    Object::new("").with("PSVersion", version).with("PSEdition", "Reveille").into()
}

fn fault_object(fault: &Fault) -> Value {
    Object::new("ErrorRecord")
        .with("Exception", Object::new("ParseException").with("Message", fault.message.clone()))
        .with("CategoryInfo", "ParserError: (:) [], ParseException")
        .with("FullyQualifiedErrorId", fault.id)
        .into()
}
