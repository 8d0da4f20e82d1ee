//! `Select-Object`: some properties, some objects.

use std::collections::{BTreeSet, HashSet, VecDeque};

use reveille_admin::{Object, Value};

use super::objects::{along, heading};
use super::stage::Work::Stage;
use super::{Builtin, Given, Item, Parameter, Takes};
use crate::eval::compare::is_like;
use crate::eval::wrong::few_enough;
use crate::eval::{self, Evaluator, Flow, More, Sink, Step, convert, method, unrolled};

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
    work: Stage(select_object),
};

fn select_object(given: Given<'_>) -> Result<Box<dyn eval::Stage + '_>, Flow> {
    let places = given.values("Index");
    let place = |value: &Value| convert::as_int(value).and_then(|place| usize::try_from(place).ok());
    let chosen = if given.has("Index") { Some(places.iter().filter_map(place).collect()) } else { None };
    let (first, last, skip) = (given.count("First")?, given.count("Last")?, given.count("Skip")?.unwrap_or(0));
    Ok(Box::new(Select { given, chosen, first, last, skip, seen: 0, tail: VecDeque::new(), unique: HashSet::new() }))
}

struct Select<'c> {
    given: Given<'c>,
    /// The places that are wanted, if they are said one by one.
    chosen: Option<BTreeSet<usize>>,
    first: Option<usize>,
    last: Option<usize>,
    skip: usize,
    /// How many objects have come.
    seen: usize,
    /// The last ones that have come, as many as are needed to know which are the last of all.
    tail: VecDeque<Value>,
    /// What was given on, in a form that tells values apart, where nothing is to be given twice.
    unique: HashSet<String>,
}

impl Select<'_> {
    /// Takes of an object what was asked for, and gives it on.
    async fn give(&mut self, evaluator: &mut Evaluator<'_>, item: Value, out: &mut Sink) -> Result<(), Flow> {
        let given = &self.given;
        let mut taken = match given.text("ExpandProperty") {
            Some(name) => expanded(given, &item, &name)?,
            None if given.has("Property") || given.has("ExcludeProperty") => {
                vec![properties(evaluator, given, &item).await?]
            }
            None => vec![item],
        };
        if given.is_on("Unique") {
            // Text and whole objects are compared exactly, as in PowerShell.
            taken.retain(|value| self.unique.insert(serde_json::to_string(value).unwrap_or_default()));
            few_enough(self.unique.len()).map_err(|wrong| wrong.at(given.at()))?;
        }
        given.emit(evaluator, taken, out)
    }
}

impl eval::Stage for Select<'_> {
    fn alone<'a>(&'a mut self, _: &'a mut Evaluator<'_>, _: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn take<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, item: Value, out: &'a mut Sink) -> Step<'a, More> {
        Box::pin(async move {
            // Nothing can be taken of it, as in PowerShell.
            if item == Value::Null {
                return Ok(More::Yes);
            }
            let at = self.seen;
            self.seen += 1;
            if let Some(chosen) = &self.chosen {
                if chosen.contains(&at) {
                    self.give(evaluator, item, out).await?;
                }
                let furthest = self.chosen.as_ref().and_then(BTreeSet::last);
                return Ok(if furthest.is_some_and(|furthest| at < *furthest) { More::Yes } else { More::Enough });
            }
            // What is passed over stands at the beginning, or at the end where the last ones are wanted.
            let skipped = if self.last.is_some() && self.first.is_none() { 0 } else { self.skip };
            let end = self.first.map(|first| skipped.saturating_add(first));
            if at < skipped {
                return Ok(More::Yes);
            }
            if end.is_none_or(|end| at < end) && (self.first.is_some() || self.last.is_none()) {
                self.give(evaluator, item, out).await?;
            } else if let Some(last) = self.last {
                self.tail.push_back(item);
                let kept = if self.first.is_some() { last } else { last.saturating_add(self.skip) };
                few_enough(self.tail.len()).map_err(|wrong| wrong.at(self.given.at()))?;
                if self.tail.len() > kept {
                    self.tail.pop_front();
                }
            }
            let enough = self.last.is_none() && end.is_some_and(|end| at + 1 >= end);
            Ok(if enough { More::Enough } else { More::Yes })
        })
    }

    fn end<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            let passed_over = if self.first.is_none() { self.skip } else { 0 };
            let count = self.tail.len().saturating_sub(passed_over);
            for item in std::mem::take(&mut self.tail).into_iter().take(count) {
                self.give(evaluator, item, out).await?;
            }
            Ok(())
        })
    }
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
            way => {
                let value = along(evaluator, way, item).await?;
                taken.set(heading(evaluator.script, way), value);
            }
        }
    }
    let kept = taken.properties().filter(|(name, _)| !left_out.iter().any(|pattern| is_like(name, pattern)));
    Ok(Value::Object(kept.fold(Object::new(&type_name), |all, (name, value)| all.with(name, value.clone()))))
}
