//! The value of an expression.

use reveille_admin::{Category, Object, Value};

use super::compare::compare;
use super::wrong::{Wrong, bounded};
use super::{Evaluator, Flow, Report, Step, convert, method, operate, rolled};
use crate::ast::{Binary, Expression, ExpressionKind, Number, Part, Statement, Step as Way, Unary, Variable};
use crate::span::Span;

impl Evaluator<'_> {
    /// The value of an expression.
    pub(crate) fn expression<'a>(&'a mut self, expression: &'a Expression) -> Step<'a, Value> {
        Box::pin(async move {
            let at = |wrong: Wrong| Flow::from(wrong.at(expression.span));
            Ok(match &expression.kind {
                ExpressionKind::Access { of, steps } => return self.access(of, steps).await,
                ExpressionKind::Array(block) => Value::List(self.block(block).await?),
                ExpressionKind::Block(_) => return Err(stray_block(expression.span)),
                ExpressionKind::Cast { to, of } => {
                    let value = self.expression(of).await?;
                    convert::cast(*to, value).map_err(at)?
                }
                ExpressionKind::Chain { first, rest } => return self.chain(first, rest).await,
                ExpressionKind::Expand(parts) => Value::Text(self.expanded(parts, expression.span).await?),
                ExpressionKind::Hashtable(entries) => self.hashtable(entries).await?,
                ExpressionKind::List(items) => {
                    let mut values = Vec::with_capacity(items.len());
                    for item in items {
                        values.push(self.expression(item).await?);
                    }
                    Value::List(values)
                }
                ExpressionKind::Number(Number::Int(number)) => Value::Int(*number),
                ExpressionKind::Number(Number::Double(number)) => Value::Double(*number),
                ExpressionKind::Paren(pipeline) => return self.pipeline_value(pipeline).await,
                ExpressionKind::Sub(block) => rolled(self.block(block).await?),
                ExpressionKind::Text(text) => Value::Text(text.clone()),
                ExpressionKind::Type(of) => Value::Text(format!("{of:?}")),
                ExpressionKind::Unary { operator, of } => {
                    let value = self.expression(of).await?;
                    unary(*operator, value).map_err(at)?
                }
                ExpressionKind::Variable(variable) => {
                    self.is_known(variable, expression.span)?;
                    self.variable(variable)
                }
            })
        })
    }

    /// The value of a variable.
    pub(crate) fn variable(&self, variable: &Variable) -> Value {
        match variable {
            Variable::Environment(name) => self.terminal.environment(name).into(),
            Variable::Name(name) => self.session.variable(name),
        }
    }

    /// In strict mode a variable that was never set is a mistake.
    pub(super) fn is_known(&self, variable: &Variable, at: Span) -> Result<(), Flow> {
        match variable {
            Variable::Name(name) if self.session.strict >= 1 && !self.session.is_set(name) => {
                let said = format!("The variable '${name}' cannot be retrieved because it has not been set.");
                Err(Report::of_language(at, Category::InvalidArgument, "VariableIsUndefined", said).into())
            }
            _ => Ok(()),
        }
    }

    async fn hashtable(&mut self, entries: &[(Expression, Statement)]) -> Result<Value, Flow> {
        let mut object = Object::new("");
        for (key, value) in entries {
            let name = self.expression(key).await?.to_string();
            let value = self.assigned(value).await?.unwrap_or_default();
            object.set(name, value);
        }
        Ok(Value::Object(object))
    }

    /// Text with the values of its parts.
    async fn expanded(&mut self, parts: &[Part], span: Span) -> Result<String, Flow> {
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Variable(variable, at) => {
                    self.is_known(variable, *at)?;
                    text.push_str(&self.variable(variable).to_string());
                }
                Part::Sub(block) => text.push_str(&rolled(self.block(block).await?).to_string()),
            }
            bounded(text.len()).map_err(|wrong| wrong.at(span))?;
        }
        Ok(text)
    }

    /// Operators of one precedence, from left to right.
    async fn chain(&mut self, first: &Expression, rest: &[(Binary, Expression)]) -> Result<Value, Flow> {
        let mut left = self.expression(first).await?;
        for (operator, right) in rest {
            // What the left side has decided is not asked of the right one.
            match (operator, convert::truth(&left)) {
                (Binary::And, false) => left = Value::Bool(false),
                (Binary::Or, true) => left = Value::Bool(true),
                _ => {
                    let span = first.span.to(right.span);
                    if let (Binary::Is | Binary::IsNot, ExpressionKind::Type(of)) = (operator, &right.kind) {
                        left = Value::Bool(convert::is_of(&left, *of) == (*operator == Binary::Is));
                        continue;
                    }
                    let right = self.expression(right).await?;
                    left = self.apply(*operator, left, right).map_err(|wrong| wrong.at(span))?;
                }
            }
        }
        Ok(left)
    }

    fn apply(&mut self, operator: Binary, left: Value, right: Value) -> Result<Value, Wrong> {
        match operator {
            Binary::Add => operate::add(left, right),
            Binary::And | Binary::Or => Ok(Value::Bool(convert::truth(&right))),
            Binary::Compare(how, exact) => {
                let compared = compare(how, exact, &left, &right)?;
                if let Some(groups) = compared.matches {
                    self.session
                        .set_variable("Matches", groups.into())
                        .map_err(|why| Wrong::new("VariableNotWritable", why))?;
                }
                Ok(compared.value)
            }
            Binary::Divide => operate::divide(&left, &right),
            Binary::Format => match right {
                Value::List(values) => operate::format(&left.to_string(), &values).map(Value::Text),
                one => operate::format(&left.to_string(), &[one]).map(Value::Text),
            },
            Binary::Is => Ok(Value::Bool(left.type_name().eq_ignore_ascii_case(&right.to_string()))),
            Binary::IsNot => Ok(Value::Bool(!left.type_name().eq_ignore_ascii_case(&right.to_string()))),
            Binary::Join => operate::join(&left, &right.to_string()),
            Binary::Multiply => operate::multiply(&left, &right),
            Binary::Range => operate::range(&left, &right),
            Binary::Remainder => operate::remainder(&left, &right),
            Binary::Replace(exact) => operate::replace(&left, &right, exact),
            Binary::Split(exact) => operate::split(&left, &right, exact),
            Binary::Subtract => operate::subtract(&left, &right),
            Binary::Xor => Ok(Value::Bool(convert::truth(&left) != convert::truth(&right))),
        }
    }

    /// From a value along its properties, items and methods.
    async fn access(&mut self, of: &Expression, steps: &[Way]) -> Result<Value, Flow> {
        let held = match &of.kind {
            ExpressionKind::Variable(variable @ Variable::Name(name)) => {
                self.is_known(variable, of.span)?;
                self.session.held(name).is_some().then_some(name)
            }
            _ => None,
        };
        let (mut value, rest) = match (held, steps) {
            (Some(name), [first, rest @ ..]) => {
                let want = self.want(first).await?;
                (want.of(self.session.held(name).unwrap_or(&Value::Null), self.session.strict)?, rest)
            }
            _ => (self.expression(of).await?, steps),
        };
        for step in rest {
            value = self.want(step).await?.of(&value, self.session.strict)?;
        }
        Ok(value)
    }

    /// A step with the values of what stands in it.
    async fn want(&mut self, step: &Way) -> Result<Want, Flow> {
        Ok(match step {
            Way::Index(index) => Want::Item { key: self.expression(index).await?, at: index.span },
            Way::Method { name, span, arguments } => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    values.push(self.expression(argument).await?);
                }
                Want::Call { name: name.clone(), arguments: values, at: *span }
            }
            Way::Property { name } => Want::Property { name: self.expression(name).await?.to_string(), at: name.span },
        })
    }
}

/// What is wanted of a value.
enum Want {
    Call { name: String, arguments: Vec<Value>, at: Span },
    Item { key: Value, at: Span },
    Property { name: String, at: Span },
}

impl Want {
    fn of(self, value: &Value, strict: u8) -> Result<Value, Flow> {
        match self {
            Self::Call { name, arguments, at } => {
                method::call(value, &name, &arguments).map_err(|wrong| wrong.at(at).into())
            }
            Self::Item { key, at } => method::index(value, &key).map_err(|wrong| wrong.at(at).into()),
            Self::Property { name, at } if strict >= 2 && !method::has(value, &name) => {
                let said = format!("The property '{name}' cannot be found on this object: {}.", method::listed(value));
                Err(Report::of_language(at, Category::InvalidArgument, "PropertyNotFoundStrict", said).into())
            }
            Self::Property { name, .. } => Ok(method::property(value, &name)),
        }
    }
}

fn unary(operator: Unary, value: Value) -> Result<Value, Wrong> {
    match operator {
        Unary::Join => operate::join(&value, ""),
        Unary::Minus => operate::subtract(&Value::Int(0), &value),
        Unary::Not => Ok(Value::Bool(!convert::truth(&value))),
        Unary::Plus => operate::add(Value::Int(0), value),
        Unary::Split => Ok(operate::words(&value)),
    }
}

/// A script block where a value is needed.
pub(crate) fn stray_block(span: Span) -> Flow {
    let said = "A script block can only be given to a command that runs it: ForEach-Object { … }, Where-Object { … }, \
                Sort-Object { … }, Select-Object @{Name='…';Expression={ … }}.";
    Report::of_language(span, Category::InvalidArgument, "ScriptBlockNotSupported", said).into()
}
