//! The arguments of a command of the shell, bound to its parameters.

use reveille_admin::{Category, Failure, Value};

use super::{Builtin, Parameter, Takes};
use crate::ast::{Argument, Block, Command, Expression, ExpressionKind, Statement};
use crate::eval::{Action, Evaluator, Flow, Report, Sink, Step, convert, preference, stray_block};
use crate::span::Span;

/// What a command was given.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    name: &'static str,
    at: Span,
    items: Vec<(&'static str, Vec<Item<'a>>)>,
}

/// One thing that a parameter was given.
#[derive(Clone, Debug)]
pub(crate) enum Item<'a> {
    Block(&'a Block),
    Calculated(Box<Calculated<'a>>),
    Value(Value),
}

/// `@{Name='…';Expression={…}}`.
#[derive(Clone, Debug)]
pub(crate) struct Calculated<'a> {
    pub(crate) name: Option<String>,
    pub(crate) how: Item<'a>,
    /// Whether the greatest comes first, where it is said for this key alone.
    pub(crate) descending: Option<bool>,
    /// The form of what is given, as after the colon of `-f`.
    pub(crate) form: Option<String>,
}

/// The parameter that takes what would come along the pipeline.
pub(super) const INPUT: &str = "InputObject";

/// The parameters that all commands of the shell have.
const COMMON: &[Parameter] = &[
    Parameter::new("Debug", Takes::Switch, "Accepted, and without effect"),
    Parameter::new("ErrorAction", Takes::Value, "What a script does after an error"),
    Parameter::new(INPUT, Takes::Values, "The objects, if they do not come along the pipeline"),
    Parameter::new("OutVariable", Takes::Value, "The variable that keeps the output"),
    Parameter::new("Verbose", Takes::Switch, "Accepted, and without effect"),
    Parameter::new("WarningAction", Takes::Value, "Accepted, and without effect"),
];

/// Short names of common parameters.
const SHORT: &[(&str, &str)] = &[("ea", "ErrorAction"), ("ov", "OutVariable"), ("wa", "WarningAction")];

/// Binds the arguments of a command.
pub(super) async fn bind<'a>(
    evaluator: &mut Evaluator<'_>,
    builtin: &'static Builtin,
    command: &'a Command,
) -> Result<Given<'a>, Flow> {
    let mut given = Given { name: builtin.name, at: command.name_span, items: Vec::new() };
    let mut loose = Vec::new();
    let mut rest = command.arguments.iter().peekable();
    while let Some(argument) = rest.next() {
        match argument {
            Argument::Value(value) => loose.push(value),
            Argument::Parameter { name, span, value } => {
                let parameter = given.parameter(builtin, name, *span)?;
                let value = match (value, parameter.takes) {
                    (Some(value), _) => Some(value),
                    (None, Takes::Switch) => None,
                    (None, _) => match rest.next_if(|next| matches!(next, Argument::Value(_))) {
                        Some(Argument::Value(value)) => Some(value),
                        _ => {
                            let said = format!("Missing an argument for parameter '{}'.", parameter.name);
                            return Err(given.wrong(*span, "MissingArgument", said));
                        }
                    },
                };
                let items = match value {
                    Some(value) => items(evaluator, parameter, value).await?,
                    None => vec![Item::Value(Value::Bool(true))],
                };
                given.put(parameter, items, *span)?;
            }
        }
    }
    for value in loose {
        let Some(parameter) = given.next_place(builtin) else {
            let said = "A positional parameter cannot be found that accepts this argument.";
            let said = format!("{said} Get-Help {} shows which parameters there are.", builtin.name);
            return Err(given.wrong(value.span, "PositionalParameterNotFound", said));
        };
        let more = items(evaluator, parameter, value).await?;
        match given.items.iter_mut().find(|(name, _)| parameter.rest && *name == parameter.name) {
            Some((_, known)) => known.extend(more),
            None => given.put(parameter, more, value.span)?,
        }
    }
    Ok(given)
}

/// What one argument is for a parameter.
fn items<'a, 'b>(
    evaluator: &'b mut Evaluator<'_>,
    parameter: &'static Parameter,
    argument: &'a Expression,
) -> Step<'b, Vec<Item<'a>>>
where
    'a: 'b,
{
    Box::pin(async move {
        let ways = parameter.takes == Takes::Ways;
        match &argument.kind {
            ExpressionKind::Block(block) if ways || parameter.takes == Takes::Block => Ok(vec![Item::Block(block)]),
            ExpressionKind::Block(_) => Err(stray_block(argument.span)),
            ExpressionKind::List(parts) if ways => {
                let mut all = Vec::new();
                for part in parts {
                    all.extend(items(evaluator, parameter, part).await?);
                }
                Ok(all)
            }
            ExpressionKind::Hashtable(entries) if ways => {
                Ok(vec![calculated(evaluator, entries, argument.span).await?])
            }
            _ => {
                let value = evaluator.expression(argument).await?;
                Ok(match (parameter.takes, value) {
                    (Takes::Ways | Takes::Values, Value::List(values)) => values.into_iter().map(Item::Value).collect(),
                    (_, value) => vec![Item::Value(value)],
                })
            }
        }
    })
}

/// `@{Name='…';Expression={…}}`, where both names may be shortened.
async fn calculated<'a>(
    evaluator: &mut Evaluator<'_>,
    entries: &'a [(Expression, Statement)],
    span: Span,
) -> Result<Item<'a>, Flow> {
    let (mut name, mut how, mut descending, mut form) = (None, None, None, None);
    for (key, value) in entries {
        let key = evaluator.expression(key).await?.to_string().to_lowercase();
        let is = |whole: &str| !key.is_empty() && whole.starts_with(&key);
        match value.expression().map(|expression| &expression.kind) {
            Some(ExpressionKind::Block(block)) if is("expression") => how = Some(Item::Block(block)),
            _ if is("expression") => how = Some(Item::Value(evaluator.assigned(value).await?.unwrap_or_default())),
            _ if is("name") || is("label") => {
                name = Some(evaluator.assigned(value).await?.unwrap_or_default().to_string())
            }
            _ if is("descending") || is("ascending") => {
                let on = convert::truth(&evaluator.assigned(value).await?.unwrap_or_default());
                descending = Some(on == is("descending"));
            }
            _ if is("formatstring") => form = Some(evaluator.assigned(value).await?.unwrap_or_default().to_string()),
            // How wide and on which side: the table decides itself.
            _ if is("alignment") || is("width") => {}
            _ => {
                let said = format!("\"{key}\" is not known here: @{{Name='…';Expression={{…}}}}");
                return Err(Report::of_language(span, Category::InvalidArgument, "DictionaryKeyUnknown", said).into());
            }
        }
    }
    match how {
        Some(how) => Ok(Item::Calculated(Box::new(Calculated { name, how, descending, form }))),
        None => {
            let said = "The hashtable has no Expression: @{Name='…';Expression={…}}";
            Err(Report::of_language(span, Category::InvalidArgument, "DictionaryKeyMissing", said).into())
        }
    }
}

impl<'a> Given<'a> {
    /// All that a parameter was given; nothing if it was not.
    pub(crate) fn items(&self, name: &str) -> &[Item<'a>] {
        self.items.iter().find(|(known, _)| *known == name).map_or(&[], |(_, items)| items)
    }

    /// Whether a parameter was given at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.items.iter().any(|(known, _)| *known == name)
    }

    /// The block of a parameter.
    pub(crate) fn block(&self, name: &str) -> Option<&'a Block> {
        match self.items(name) {
            [Item::Block(block), ..] => Some(block),
            _ => None,
        }
    }

    /// The value of a parameter.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        match self.items(name) {
            [Item::Value(value), ..] => Some(value),
            _ => None,
        }
    }

    /// All values of a parameter.
    pub(crate) fn values(&self, name: &str) -> Vec<Value> {
        let value = |item: &Item<'_>| match item {
            Item::Value(value) => Some(value.clone()),
            Item::Block(_) | Item::Calculated(_) => None,
        };
        self.items(name).iter().filter_map(value).collect()
    }

    /// The value of a parameter as text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.value(name).map(Value::to_string)
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.value(name).is_some_and(convert::truth)
    }

    /// The value of a parameter as a number of things.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, Flow> {
        let Some(value) = self.value(name) else { return Ok(None) };
        match convert::as_int(value).and_then(|number| usize::try_from(number).ok()) {
            Some(count) => Ok(Some(count)),
            None => {
                Err(self
                    .fail("ParameterArgumentTransformationError", format!("-{name} takes a number, not \"{value}\".")))
            }
        }
    }

    pub(super) fn action(&self) -> Option<Action> {
        self.value("ErrorAction").and_then(preference::action)
    }

    /// A failure of this command.
    pub(crate) fn fail(&self, id: &str, message: impl Into<String>) -> Flow {
        self.failure(Failure::new(Category::InvalidArgument, id, message))
    }

    /// A failure of this command, complete.
    pub(crate) fn failure(&self, failure: Failure) -> Flow {
        Report::of_builtin(self.name, self.at, failure).into()
    }

    /// Gives values on to whoever takes them.
    pub(crate) fn emit(&self, evaluator: &mut Evaluator<'_>, values: Vec<Value>, out: &mut Sink) -> Result<(), Flow> {
        let mut values = values.into_iter();
        values.try_for_each(|value| evaluator.emit(value, out)).map_err(|wrong| wrong.at(self.at).into())
    }

    /// Where the command stands.
    pub(crate) fn at(&self) -> Span {
        self.at
    }

    fn wrong(&self, at: Span, id: &str, message: String) -> Flow {
        Report::of_builtin(self.name, at, Failure::new(Category::InvalidArgument, id, message)).into()
    }

    fn put(&mut self, parameter: &'static Parameter, items: Vec<Item<'a>>, span: Span) -> Result<(), Flow> {
        if self.has(parameter.name) {
            let said = format!("Parameter '{}' is specified more than once.", parameter.name);
            return Err(self.wrong(span, "ParameterAlreadyBound", said));
        }
        self.items.push((parameter.name, items));
        Ok(())
    }

    /// The parameter of that name, whole or shortened.
    fn parameter(&self, builtin: &'static Builtin, name: &str, span: Span) -> Result<&'static Parameter, Flow> {
        let name = SHORT.iter().find(|(short, _)| short.eq_ignore_ascii_case(name)).map_or(name, |(_, whole)| whole);
        let all = || builtin.parameters.iter().chain(COMMON);
        if let Some(exactly) = all().find(|it| it.name.eq_ignore_ascii_case(name)) {
            return Ok(exactly);
        }
        let begins = |it: &&Parameter| it.name.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        match all().filter(begins).collect::<Vec<_>>()[..] {
            [one] => Ok(one),
            [] => {
                let names: Vec<_> = builtin.parameters.iter().map(|it| format!("-{}", it.name)).collect();
                let said = format!(
                    "A parameter cannot be found that matches parameter name '{name}'. {} has {}.",
                    builtin.name,
                    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
                );
                Err(self.wrong(span, "NamedParameterNotFound", said))
            }
            ref several => {
                let names: Vec<_> = several.iter().map(|it| format!("-{}", it.name)).collect();
                let said = format!("The parameter name '{name}' is ambiguous: it may be {}.", names.join(" or "));
                Err(self.wrong(span, "AmbiguousParameter", said))
            }
        }
    }

    fn next_place(&self, builtin: &'static Builtin) -> Option<&'static Parameter> {
        let free = builtin.parameters.iter().filter(|it| it.position.is_some() && (it.rest || !self.has(it.name)));
        free.min_by_key(|it| it.position)
    }
}

pub(super) fn asks_for_help(command: &Command) -> bool {
    matches!(&command.arguments[..], [Argument::Parameter { name, value: None, .. }] if name == "?")
}
