//! `Select-Object`: some properties, some objects.

use reveille_admin::{Object, Value};

use super::objects::along;
use super::{Builtin, Given, Item, Parameter, Takes};
use crate::eval::compare::is_like;
use crate::eval::{Evaluator, Flow, Step, convert, method, unrolled};

pub(super) const SELECT_OBJECT: Builtin = Builtin {
    name: "Select-Object",
    aliases: &["select"],
    summary: "Takes some properties of each object, or some of the objects",
    parameters: &[
        Parameter::new("Property", Takes::Ways, "The properties, also with * or calculated").at(0),
        Parameter::new("ExcludeProperty", Takes::Values, "Properties to leave out, also with *"),
        Parameter::new("ExpandProperty", Takes::Value, "The property whose values are given by themselves"),
        Parameter::new("First", Takes::Value, "How many from the beginning"),
        Parameter::new("Index", Takes::Values, "The objects at these places, from 0"),
        Parameter::new("Last", Takes::Value, "How many from the end"),
        Parameter::new("Skip", Takes::Value, "How many to pass over at the beginning"),
        Parameter::new("Unique", Takes::Switch, "Of equal ones only the first stays"),
    ],
    run: select_object,
};

fn select_object<'a>(
    evaluator: &'a mut Evaluator<'_>,
    given: &'a Given<'a>,
    input: Vec<Value>,
) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let some = some(given, input)?;
        let mut taken = Vec::with_capacity(some.len());
        for item in some {
            match given.text("ExpandProperty") {
                Some(name) => taken.extend(expanded(given, &item, &name)?),
                None if given.has("Property") || given.has("ExcludeProperty") => {
                    taken.push(properties(evaluator, given, &item).await?);
                }
                None => taken.push(item),
            }
        }
        if given.is_on("Unique") {
            let mut unique: Vec<Value> = Vec::new();
            // Text and whole objects are compared exactly, as in PowerShell.
            for value in taken {
                if !unique.contains(&value) {
                    unique.push(value);
                }
            }
            return Ok(unique);
        }
        Ok(taken)
    })
}

/// The objects that were asked for by number.
fn some(given: &Given<'_>, input: Vec<Value>) -> Result<Vec<Value>, Flow> {
    if given.has("Index") {
        let places = given.values("Index");
        let at = |place: &Value| convert::as_int(place).and_then(|place| usize::try_from(place).ok());
        return Ok(places.iter().filter_map(|place| input.get(at(place)?).cloned()).collect());
    }
    let (first, last, skip) = (given.count("First")?, given.count("Last")?, given.count("Skip")?.unwrap_or(0));
    let count = input.len();
    Ok(match (first, last) {
        (None, None) => input.into_iter().skip(skip).collect(),
        (Some(first), None) => input.into_iter().skip(skip).take(first).collect(),
        (None, Some(last)) => {
            let end = count.saturating_sub(skip);
            input.into_iter().take(end).skip(end.saturating_sub(last)).collect()
        }
        (Some(first), Some(last)) => {
            let tail = count.saturating_sub(last).max(first);
            input.into_iter().enumerate().filter(|(at, _)| *at < first || *at >= tail).map(|(_, item)| item).collect()
        }
    })
}

fn expanded(given: &Given<'_>, item: &Value, name: &str) -> Result<Vec<Value>, Flow> {
    match item {
        Value::Object(object) if object.property(name).is_none() => {
            let known: Vec<_> = object.properties().map(|(name, _)| name).collect();
            let said = format!("Property \"{name}\" cannot be found. The object has {}.", known.join(", "));
            Err(given.fail("ExpandPropertyNotFound", said))
        }
        item => Ok(unrolled(method::property(item, name))),
    }
}

/// A new object with what was asked for. Its type is another one, so that no Set- cmdlet takes it for the whole record.
async fn properties(evaluator: &mut Evaluator<'_>, given: &Given<'_>, item: &Value) -> Result<Value, Flow> {
    let all = [Item::Value(Value::from("*"))];
    let ways = if given.has("Property") { given.items("Property") } else { &all[..] };
    let left_out: Vec<String> = given.values("ExcludeProperty").iter().map(Value::to_string).collect();
    let object = item.as_object();
    let type_name = match item.type_name() {
        selected if selected.starts_with("Selected.") => selected.to_owned(),
        other => format!("Selected.{other}"),
    };
    let mut taken = Object::new("");
    for way in ways {
        match way {
            Item::Value(name) => {
                let name = name.to_string();
                let fits: Vec<(&str, &Value)> = match object {
                    Some(object) if name.contains(['*', '?', '[']) => {
                        object.properties().filter(|(known, _)| is_like(known, &name)).collect()
                    }
                    Some(object) => {
                        object.properties().filter(|(known, _)| known.eq_ignore_ascii_case(&name)).collect()
                    }
                    None => Vec::new(),
                };
                if fits.is_empty() && !name.contains('*') {
                    taken.set(name.clone(), method::property(item, &name));
                }
                for (known, value) in fits {
                    taken.set(known, value.clone());
                }
            }
            Item::Calculated(name, how) => {
                let value = along(evaluator, how, item).await?;
                taken.set(name.clone(), value);
            }
            Item::Block(_) => {
                let said = "A script block needs a name here: @{Name='…';Expression={…}}";
                return Err(given.fail("ScriptBlockNotSupported", said));
            }
        }
    }
    let kept = taken.properties().filter(|(name, _)| !left_out.iter().any(|pattern| is_like(name, pattern)));
    Ok(Value::Object(kept.fold(Object::new(&type_name), |all, (name, value)| all.with(name, value.clone()))))
}
