//! Setting variables, and what they hold.

use reveille_admin::{Category, Value};

use super::preference::Preference;
use super::wrong::Wrong;
use super::{Action, Evaluator, Flow, Report, convert, method, operate};
use crate::ast::{Assign, Step as Way, Target, Variable};
use crate::span::Span;

impl Evaluator<'_> {
    /// Sets a variable as a whole.
    pub(crate) fn set_variable(&mut self, variable: &Variable, value: Value, span: Span) -> Result<(), Flow> {
        let done = match variable {
            // What is given to nothing is thrown away: $null = New-…
            Variable::Name(name) if name.eq_ignore_ascii_case("null") => Ok(()),
            Variable::Name(name) => self.session.set_variable(name, value),
            Variable::Environment(name) => {
                Err(format!("$env:{name} can be read here, and not set. Set it before the shell is started."))
            }
        };
        done.map_err(|why| {
            let report = Report::of_language(span, Category::InvalidArgument, "VariableNotWritable", why);
            // What comes next counts on it.
            Flow::Fail(Box::new(report), is_preference(variable).then_some(Action::Stop))
        })
    }

    /// `$x = …`, `$x.Name += …`, `$x[0] = …`.
    pub(crate) async fn assign(
        &mut self,
        target: &Target,
        how: Assign,
        value: Option<Value>,
        span: Span,
    ) -> Result<(), Flow> {
        let gave_nothing = value.is_none() && how == Assign::Set && target.steps.is_empty() && target.cast.is_none();
        let value = value.unwrap_or_default();
        let mut keys = Vec::with_capacity(target.steps.len());
        for step in &target.steps {
            keys.push(match step {
                Way::Index(index) => (self.expression(index).await?, true),
                Way::Property { name } => (self.expression(name).await?, false),
                Way::Method { .. } => continue,
            });
        }
        if how != Assign::Set || !target.steps.is_empty() {
            self.is_known(&target.variable, span)?;
        }
        let mut whole = self.variable(&target.variable);
        let changed = change(&mut whole, &keys, how, value).and_then(|()| match target.cast {
            Some(to) => convert::cast(to, std::mem::take(&mut whole)).map(|cast| whole = cast),
            None => Ok(()),
        });
        changed.map_err(|wrong| {
            let action = is_preference(&target.variable).then_some(Action::Stop);
            Flow::Fail(Box::new(wrong.at(span)), action)
        })?;
        self.set_variable(&target.variable, whole, span)?;
        if let (true, Variable::Name(name)) = (gave_nothing, &target.variable) {
            self.session.mark_nothing(name);
        }
        Ok(())
    }
}

fn is_preference(variable: &Variable) -> bool {
    matches!(variable, Variable::Name(name) if Preference::named(name).is_some())
}

/// Changes what lies at the end of the way. An item is named by its place or key, a property by its name.
fn change(whole: &mut Value, keys: &[(Value, bool)], how: Assign, value: Value) -> Result<(), Wrong> {
    let Some(((key, _), rest)) = keys.split_first() else {
        let before = std::mem::take(whole);
        *whole = match how {
            Assign::Set => value,
            Assign::Add => operate::add(before, value)?,
            Assign::Subtract => operate::subtract(&before, &value)?,
            Assign::Multiply => operate::multiply(&before, &value)?,
            Assign::Divide => operate::divide(&before, &value)?,
        };
        return Ok(());
    };
    match whole {
        Value::Object(object) => {
            let name = key.to_string();
            let mut inner = object.property(&name).cloned();
            if inner.is_none() && !object.type_name().is_empty() {
                let known: Vec<_> = object.properties().map(|(name, _)| name).collect();
                let said = format!(
                    "Property '{name}' cannot be found on this {}; it has {}.",
                    object.type_name(),
                    known.join(", ")
                );
                return Err(Wrong::new("PropertyNotFound", said));
            }
            let mut inner = inner.take().unwrap_or_default();
            change(&mut inner, rest, how, value)?;
            object.set(name, inner);
            Ok(())
        }
        Value::List(items) => match method::place(key, items.len()) {
            Some(place) => change(&mut items[place], rest, how, value),
            None => {
                let said = format!("Index was outside the bounds of the array: {key} of {}.", items.len());
                Err(Wrong::new("IndexOutOfRange", said))
            }
        },
        other => {
            let said = format!("A {} has nothing that could be set by name or place.", other.type_name());
            Err(Wrong::new("PropertyNotFound", said))
        }
    }
}
