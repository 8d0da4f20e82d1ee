//! What a cmdlet is: data about it, and what it does. Shell, admin API, help, completion and reference pages are made of
//! the same data.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::desk::Desk;
use crate::failure::Failure;
use crate::kind::Kind;
use crate::value::{Object, Value};

/// A command of the management shell and of the admin API. Unit structs, one file per noun, listed in
/// [`crate::cmdlets::CMDLETS`].
pub trait Cmdlet: Sync {
    /// All that is known about it.
    fn about(&self) -> &'static About;

    /// Does it. The caller's right to it has been checked, and the call fits the parameters.
    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a>;
}

/// A cmdlet under way.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<Outcome, Failure>> + Send + 'a>>;

/// The definition of one cmdlet.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Verb and noun.
    pub name: Name,
    /// One sentence without a full stop.
    pub summary: &'static str,
    /// More, in whole sentences; may be empty.
    pub description: &'static str,
    /// Its own parameters; the common ones come by themselves.
    pub parameters: &'static [Parameter],
    /// The names of its parameter sets, the one that is meant in doubt first; empty when there is one only.
    pub sets: &'static [&'static str],
    /// The properties of what it gives, in display order; empty if it gives nothing.
    pub outputs: &'static [&'static str],
    /// What it touches, which decides who may run it.
    pub area: Area,
    /// Whether it changes something, and so has `-WhatIf` and `-Confirm`.
    pub changes: bool,
    /// Whether it asks before it does so, unless told `-Confirm:$false` or `-Force`.
    pub asks: bool,
    /// When it should be run, for tests: the documents' "verification schedule".
    pub schedule: Option<&'static str>,
    /// Remarks for its page.
    pub notes: &'static [&'static str],
    /// Examples: a command, and what it does.
    pub examples: &'static [(&'static str, &'static str)],
}

impl About {
    /// What most cmdlets have in common; to be completed.
    pub const DEFAULT: Self = Self {
        name: Name::new(Verb::Get, ""),
        summary: "",
        description: "",
        parameters: &[],
        sets: &[],
        outputs: &[],
        area: Area::Topology,
        changes: false,
        asks: false,
        schedule: None,
        notes: &[],
        examples: &[],
    };

    /// The parameter of exactly that name or alias, in any case.
    pub fn parameter(&self, name: &str) -> Option<&'static Parameter> {
        self.parameters.iter().find(|parameter| parameter.is_called(name))
    }
}

/// What a cmdlet touches: with its verb the basis of who may run it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Area {
    /// Administrators themselves: roles, accounts, tokens, the audit log.
    Administration,
    /// What belongs to whoever calls: whoever has an account may run these, with whatever role.
    Own,
    /// Records that hold for the whole organisation: domains, providers, the border, apps.
    Topology,
    /// Records with a scope: push switches, mobility service, filter, policies, test users.
    Scoped,
    /// Users: their policies, devices, pushes.
    Users,
    /// Tests: real transactions that change no setting.
    Tests,
}

/// The verbs in use, all of them approved by PowerShell.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "each is its own word")]
pub enum Verb {
    Clear,
    Disable,
    Enable,
    Get,
    Grant,
    New,
    Remove,
    Revoke,
    Set,
    Test,
    Update,
}

impl Verb {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clear => "Clear",
            Self::Disable => "Disable",
            Self::Enable => "Enable",
            Self::Get => "Get",
            Self::Grant => "Grant",
            Self::New => "New",
            Self::Remove => "Remove",
            Self::Revoke => "Revoke",
            Self::Set => "Set",
            Self::Test => "Test",
            Self::Update => "Update",
        }
    }
}

/// A cmdlet's name.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name {
    /// What is done.
    pub verb: Verb,
    /// To what, for instance `CsAllowedDomain`.
    pub noun: &'static str,
}

impl Name {
    /// That verb with that noun.
    pub const fn new(verb: Verb, noun: &'static str) -> Self {
        Self { verb, noun }
    }

    /// Whether `text` is this name, in any case.
    pub fn is(&self, text: &str) -> bool {
        text.split_once('-').is_some_and(|(verb, noun)| {
            verb.eq_ignore_ascii_case(self.verb.as_str()) && noun.eq_ignore_ascii_case(self.noun)
        })
    }

    /// The name without its hyphen and prefix, as it stands in error ids: `TestMcxPushNotification`.
    pub fn type_name(&self) -> String {
        format!("{}{}", self.verb.as_str(), self.noun.strip_prefix("Cs").unwrap_or(self.noun))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.verb.as_str(), self.noun)
    }
}

/// One parameter.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name, without the hyphen.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// One sentence.
    pub help: &'static str,
    /// Whether a call without it is incomplete, in the sets that it belongs to.
    pub required: bool,
    /// Its place among arguments without a name, from 1.
    pub position: Option<u8>,
    /// Other names.
    pub aliases: &'static [&'static str],
    /// The sets that it belongs to; empty for all.
    pub sets: &'static [&'static str],
    /// Whether it takes objects from the pipeline, and how.
    pub pipeline: Pipeline,
    /// The property's default as the documents print it.
    pub default: Option<&'static str>,
}

impl Parameter {
    /// An optional parameter by name only.
    pub const fn new(name: &'static str, kind: Kind, help: &'static str) -> Self {
        Self {
            name,
            kind,
            help,
            required: false,
            position: None,
            aliases: &[],
            sets: &[],
            pipeline: Pipeline::No,
            default: None,
        }
    }

    /// The same, mandatory.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The same, also without its name at that place, from 1.
    #[must_use]
    pub const fn at(mut self, position: u8) -> Self {
        self.position = Some(position);
        self
    }

    /// The same with other names.
    #[must_use]
    pub const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The same, of these sets only.
    #[must_use]
    pub const fn of(mut self, sets: &'static [&'static str]) -> Self {
        self.sets = sets;
        self
    }

    /// The same, also from the pipeline.
    #[must_use]
    pub const fn from(mut self, pipeline: Pipeline) -> Self {
        self.pipeline = pipeline;
        self
    }

    /// The same with the default that help shows.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// Whether it belongs to that set.
    pub fn is_in(&self, set: &str) -> bool {
        self.sets.is_empty() || self.sets.contains(&set)
    }

    /// Whether this is its name or one of its aliases, in any case.
    pub fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) || self.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    }
}

/// How a parameter takes objects from the pipeline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pipeline {
    /// Not at all.
    No,
    /// The object itself.
    ByValue,
    /// The object's property of the parameter's name.
    ByName,
    /// The object itself where it fits, else its property.
    Both,
}

/// What a cmdlet has done.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Outcome {
    /// What goes on along the pipeline.
    pub objects: Vec<Value>,
    /// What the administrator should know though it went well.
    pub warnings: Vec<String>,
    /// What was done, step by step, for `-Verbose`.
    pub verbose: Vec<String>,
    /// What would have been done, for `-WhatIf`.
    pub what_if: Vec<String>,
    /// What a test has recorded, for `-OutLoggerVariable`.
    pub logger: Option<Object>,
}

impl Outcome {
    /// These objects and nothing to say.
    pub fn of(objects: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        Self { objects: objects.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}
