//! The binder: from what was typed, or sent, to a [`Call`].
//!
//! It follows PowerShell: names may be shortened as long as they are clear, arguments without a name go to the places in
//! order, what comes along the pipeline fills parameters that take it, and all of it must fit one parameter set. The
//! shell binds to say what is wrong where it was typed; the server binds again, since it believes nobody.

use std::collections::BTreeMap;

use reveille_core::spelling::distance;

use crate::call::{Call, Caller};
use crate::cmdlet::{About, Parameter, Pipeline};
use crate::failure::{Category, Failure};
use crate::kind::Kind;
use crate::value::{Object, Value};

/// One element of a command after its name.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// `-Name`, or `-Name:value`.
    Parameter {
        /// Without the hyphen.
        name: String,
        /// What stood behind the colon.
        attached: Option<Value>,
    },
    /// An argument that stands by itself.
    Value(Value),
}

/// Why a command cannot be bound.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct BindError {
    /// Which element of the command is wrong, from 0; none if something is missing.
    pub element: Option<usize>,
    /// The sentence.
    pub message: String,
    /// The stable name that PowerShell gives it.
    pub id: &'static str,
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        Self::new(Category::InvalidArgument, error.id, error.message)
    }
}

/// A command whose arguments have found their parameters; it may still lack some.
#[derive(Clone, Debug)]
pub struct Bound {
    about: &'static About,
    values: BTreeMap<&'static str, Value>,
    common: BTreeMap<&'static str, Value>,
}

/// Binds the elements of a command, without what may come along the pipeline.
pub fn bind(about: &'static About, elements: &[Element]) -> Result<Bound, BindError> {
    let mut bound = Bound { about, values: BTreeMap::new(), common: BTreeMap::new() };
    let mut loose = Vec::new();
    let mut rest = elements.iter().enumerate().peekable();
    while let Some((index, element)) = rest.next() {
        match element {
            Element::Value(value) => loose.push((index, value)),
            Element::Parameter { name, attached } => {
                let parameter = bound.parameter(name).map_err(|error| error.at(index))?;
                let value = match (parameter.kind, attached) {
                    (_, Some(value)) => value.clone(),
                    (Kind::Switch, None) => Value::Bool(true),
                    (_, None) => match rest.next_if(|(_, next)| matches!(next, Element::Value(_))) {
                        Some((_, Element::Value(value))) => value.clone(),
                        _ => return Err(BindError::no_argument(parameter).at(index)),
                    },
                };
                bound.put(parameter, value).map_err(|error| error.at(index))?;
            }
        }
    }
    for (index, value) in loose {
        let Some(parameter) = bound.next_place() else {
            return Err(BindError::no_place(about, value).at(index));
        };
        bound.put(parameter, value.clone()).map_err(|error| error.at(index))?;
    }
    bound.sets()?;
    Ok(bound)
}

/// Binds what a program has sent: whole names only.
pub fn bind_object(about: &'static About, parameters: &Object) -> Result<Bound, BindError> {
    let mut bound = Bound { about, values: BTreeMap::new(), common: BTreeMap::new() };
    for (index, (name, value)) in parameters.all().enumerate() {
        let parameter = exactly(about, name).ok_or_else(|| BindError::unknown(about, name).at(index))?;
        bound.put(parameter, value.clone()).map_err(|error| error.at(index))?;
    }
    bound.sets()?;
    Ok(bound)
}

impl Bound {
    /// The definition that was bound to.
    pub const fn about(&self) -> &'static About {
        self.about
    }

    /// The value of one of the [`common`] parameters.
    pub fn common(&self, name: &str) -> Option<&Value> {
        self.common.get(name)
    }

    /// Whether the command takes objects from the pipeline for something that is not bound yet.
    pub fn takes_input(&self) -> bool {
        self.about.parameters.iter().any(|it| it.pipeline != Pipeline::No && !self.values.contains_key(it.name))
    }

    /// The command with one object from the pipeline.
    pub fn with_input(&self, input: &Value) -> Result<Self, BindError> {
        let mut bound = self.clone();
        let mut why = None;
        // The object as a whole where one takes it; PowerShell tries that first as well.
        for parameter in self.open(&[Pipeline::ByValue, Pipeline::Both]) {
            let mut whole = bound.clone();
            match whole.put(parameter, input.clone()).and_then(|()| whole.sets().map(drop)) {
                Ok(()) => {
                    bound = whole;
                    why = None;
                    break;
                }
                Err(error) => why = Some(error),
            }
        }
        let took_whole = bound.values.len() > self.values.len();
        if let (false, Some(object)) = (took_whole, input.as_object()) {
            for parameter in self.open(&[Pipeline::ByName, Pipeline::Both]) {
                let named = std::iter::once(&parameter.name).chain(parameter.aliases);
                let Some(value) = named.into_iter().find_map(|name| object.property(name)) else { continue };
                if *value == Value::Null {
                    continue;
                }
                bound.put(parameter, value.clone())?;
            }
        }
        if bound.values.len() == self.values.len() {
            let reason = why.map(|error| format!(": {error}")).unwrap_or_default();
            return Err(BindError::new(
                "InputObjectNotBound",
                format!("{} cannot take {} from the pipeline{reason}", self.about.name, article(input)),
            ));
        }
        bound.sets()?;
        Ok(bound)
    }

    fn open(&self, ways: &[Pipeline]) -> impl Iterator<Item = &'static Parameter> {
        let (about, bound, ways) = (self.about, &self.values, ways.to_vec());
        about.parameters.iter().filter(move |it| ways.contains(&it.pipeline) && !bound.contains_key(it.name))
    }

    /// The mandatory parameters without a value, which an interactive shell asks for.
    pub fn missing(&self) -> Vec<&'static Parameter> {
        let sets = self.sets().unwrap_or_default();
        let lacking = |set: &str| -> Vec<&'static Parameter> {
            let required = self.about.parameters.iter().filter(|it| it.required && it.is_in(set));
            required.filter(|it| !self.values.contains_key(it.name)).collect()
        };
        // The set that lacks least is the one that was meant; the first in doubt.
        sets.into_iter().map(lacking).min_by_key(Vec::len).unwrap_or_default()
    }

    /// Gives a parameter its value.
    pub fn put(&mut self, parameter: &'static Parameter, value: Value) -> Result<(), BindError> {
        if says_which(parameter) && is_nothing(&value) {
            // An undefined variable or a misspelt member would else mean "all of them", and the pipe go on with all.
            return Err(BindError::new(
                "ParameterArgumentValidationErrorEmptyStringNotAllowed",
                format!(
                    "Cannot bind argument to parameter '{}', because it is empty: name one, or leave the parameter out.",
                    parameter.name
                ),
            ));
        }
        let is_pattern = value.as_text().is_some_and(|text| text.contains('*'));
        let read = parameter.kind.read(value).map_err(|why| {
            let filter = match is_pattern && parameter.name == "Identity" && self.about.parameter("Filter").is_some() {
                true => " A pattern goes with -Filter.",
                false => "",
            };
            BindError::new(
                "ParameterArgumentTransformationError",
                format!("Cannot process argument for parameter '{}': {why}.{filter}", parameter.name),
            )
        })?;
        let is_common = common(self.about).any(|it| it.name == parameter.name);
        let values = if is_common { &mut self.common } else { &mut self.values };
        match values.insert(parameter.name, read) {
            None => Ok(()),
            Some(_) => Err(BindError::new(
                "ParameterAlreadyBound",
                format!("Parameter '{}' is specified more than once.", parameter.name),
            )),
        }
    }

    /// The values as they are sent to the server.
    pub fn to_object(&self) -> Object {
        let mut object = Object::default();
        for (name, value) in &self.values {
            object.set(*name, value.clone());
        }
        if let Some(what_if) = self.common.get("WhatIf") {
            object.set("WhatIf", what_if.clone());
        }
        object
    }

    /// The call, if nothing is missing.
    pub fn finish(self, caller: Caller) -> Result<Call, BindError> {
        let missing = self.missing();
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().map(|it| it.name).collect();
            return Err(BindError::new(
                "MissingMandatoryParameter",
                format!(
                    "Cannot process command because of one or more missing mandatory parameters: {}. \
                     Get-Help {} shows what each is for.",
                    names.join(" "),
                    self.about.name
                ),
            ));
        }
        let set = self.sets()?.first().copied().unwrap_or_default();
        let what_if = self.common.get("WhatIf").and_then(Value::as_bool).unwrap_or(false);
        Ok(Call { name: self.about.name, set, what_if, caller, values: self.values })
    }

    /// The parameter of that name, whole or shortened.
    fn parameter(&self, name: &str) -> Result<&'static Parameter, BindError> {
        if let Some(parameter) = exactly(self.about, name) {
            return Ok(parameter);
        }
        let begins = |it: &&'static Parameter| {
            it.name.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) && !name.is_empty()
        };
        let own: Vec<_> = self.about.parameters.iter().chain(common(self.about)).filter(begins).collect();
        match own[..] {
            [] => Err(BindError::unknown(self.about, name)),
            [one] => Ok(one),
            ref several => {
                let names: Vec<_> = several.iter().map(|it| format!("-{}", it.name)).collect();
                Err(BindError::new(
                    "AmbiguousParameter",
                    format!(
                        "Parameter cannot be processed because the parameter name '{name}' is ambiguous. Possible \
                         matches include: {}.",
                        names.join(" ")
                    ),
                ))
            }
        }
    }

    /// The next place for an argument without a name: one that fits what is bound, else any, which then says what it
    /// clashes with.
    fn next_place(&self) -> Option<&'static Parameter> {
        let sets = self.sets().unwrap_or_default();
        let about = self.about;
        let free = about.parameters.iter().filter(|it| it.position.is_some() && !self.values.contains_key(it.name));
        let fits = |it: &Parameter| sets.iter().any(|set| it.is_in(set));
        free.min_by_key(|it| (!fits(it), it.position))
    }

    /// The sets that everything bound so far fits. Those whose mandatory parameters are all there come first.
    fn sets(&self) -> Result<Vec<&'static str>, BindError> {
        let all: &[&'static str] = if self.about.sets.is_empty() { &[""] } else { self.about.sets };
        let given: Vec<_> = self.about.parameters.iter().filter(|it| self.values.contains_key(it.name)).collect();
        let mut fit: Vec<_> = all.iter().copied().filter(|set| given.iter().all(|it| it.is_in(set))).collect();
        if fit.is_empty() {
            let clash = given.iter().enumerate().find_map(|(index, one)| {
                let apart = |other: &&&Parameter| !all.iter().any(|set| one.is_in(set) && other.is_in(set));
                given[index + 1..].iter().find(apart).map(|other| (one.name, other.name))
            });
            let which = match clash {
                Some((one, other)) => format!("-{one} and -{other} exclude each other"),
                None => {
                    given.iter().map(|it| format!("-{}", it.name)).collect::<Vec<_>>().join(", ")
                        + " do not belong to one form of the command"
                }
            };
            return Err(BindError::new(
                "AmbiguousParameterSet",
                format!("Parameter set cannot be resolved using the specified named parameters: {which}."),
            ));
        }
        let lacks = |set: &&'static str| {
            self.about.parameters.iter().any(|it| it.required && it.is_in(set) && !self.values.contains_key(it.name))
        };
        fit.sort_by_key(lacks);
        Ok(fit)
    }
}

impl BindError {
    fn new(id: &'static str, message: String) -> Self {
        Self { element: None, message, id }
    }

    const fn at(mut self, element: usize) -> Self {
        self.element = Some(element);
        self
    }

    fn unknown(about: &About, name: &str) -> Self {
        let nearest = about.parameters.iter().map(|it| it.name).min_by_key(|known| distance(known, name));
        let hint = match nearest {
            Some(known) if distance(known, name) <= 1 + name.len() / 4 => format!(" Did you mean -{known}?"),
            _ => format!(" Get-Help {} lists them.", about.name),
        };
        Self::new(
            "NamedParameterNotFound",
            format!("A parameter cannot be found that matches parameter name '{name}'.{hint}"),
        )
    }

    fn no_argument(parameter: &Parameter) -> Self {
        Self::new(
            "MissingArgument",
            format!(
                "Missing an argument for parameter '{}'. Specify a parameter of type '{}' and try again.",
                parameter.name,
                parameter.kind.name()
            ),
        )
    }

    fn no_place(about: &About, value: &Value) -> Self {
        let what =
            if matches!(value, Value::Object(_) | Value::List(_)) { article(value) } else { format!("'{value}'") };
        Self::new(
            "PositionalParameterNotFound",
            format!(
                "A positional parameter cannot be found that accepts argument {what}. Get-Help {} shows which \
                 parameters there are.",
                about.name
            ),
        )
    }
}

/// Whether a parameter says which records or users are meant. `$null` as the name of a policy takes it away, as documented.
fn says_which(parameter: &Parameter) -> bool {
    let by_kind = matches!(parameter.kind, Kind::Scope | Kind::SipAddress | Kind::User);
    (by_kind || parameter.required || parameter.position.is_some()) && parameter.name != "PolicyName"
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.trim().is_empty(),
        Value::List(items) => items.iter().any(is_nothing),
        _ => false,
    }
}

/// The parameters that every cmdlet has; `-WhatIf` and `-Confirm` only those that change something.
pub fn common(about: &About) -> impl Iterator<Item = &'static Parameter> {
    let changes = about.changes;
    COMMON.iter().filter(move |it| changes || !matches!(it.name, "WhatIf" | "Confirm"))
}

const ACTIONS: Kind = Kind::Choice(&["Continue", "Ignore", "Inquire", "SilentlyContinue", "Stop"]);

const COMMON: &[Parameter] = &[
    Parameter::new("Confirm", Kind::Switch, "Asks before anything is changed").alias(&["cf"]),
    Parameter::new("Debug", Kind::Switch, "Accepted, and without effect").alias(&["db"]),
    Parameter::new("ErrorAction", ACTIONS, "What a script does after an error").alias(&["ea"]),
    Parameter::new("ErrorVariable", Kind::Variable, "The variable that keeps the errors").alias(&["ev"]),
    Parameter::new("OutVariable", Kind::Variable, "The variable that keeps the output").alias(&["ov"]),
    Parameter::new("Verbose", Kind::Switch, "Says what is done, step by step").alias(&["vb"]),
    Parameter::new("WarningAction", ACTIONS, "Whether warnings are shown").alias(&["wa"]),
    Parameter::new("WarningVariable", Kind::Variable, "The variable that keeps the warnings").alias(&["wv"]),
    Parameter::new("WhatIf", Kind::Switch, "Says what would be changed, and changes nothing").alias(&["wi"]),
];

fn exactly(about: &'static About, name: &str) -> Option<&'static Parameter> {
    about.parameter(name).or_else(|| common(about).find(|it| it.is_called(name)))
}

/// The value with the word before it.
fn article(value: &Value) -> String {
    match value {
        Value::Null => "$null".into(),
        Value::Object(object) if object.type_name().is_empty() => "a hashtable".into(),
        Value::List(_) => "a list".into(),
        other => format!("a {}", other.type_name()),
    }
}

#[cfg(test)]
mod tests;
