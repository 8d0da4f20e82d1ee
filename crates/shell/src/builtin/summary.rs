//! What there is in many objects: how many, groups, sums, and which properties.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use reveille_admin::{Object, Value};

use super::objects::{keys, same_text};
use super::stage::Work::All;
use super::{Builtin, Given, Parameter, Takes};
use crate::eval::compare::order;
use crate::eval::wrong::Wrong;
use crate::eval::{Evaluator, Flow, Step, convert, method, operate, rolled};

pub(super) const GROUP_OBJECT: Builtin = Builtin {
    name: "Group-Object",
    aliases: &["group"],
    summary: "Puts objects together that have the same value",
    parameters: &[
        Parameter::new("Property", Takes::Ways, "The properties that must be the same").at(0),
        Parameter::new("AsHashTable", Takes::Switch, "A hashtable: the objects by their value"),
        Parameter::new("AsString", Takes::Switch, "Accepted; the keys of a hashtable are text in any case"),
        Parameter::new("NoElement", Takes::Switch, "Only counts, without the objects"),
    ],
    work: All(group_object),
};

fn group_object<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let mut groups: Vec<(Vec<Value>, Vec<Value>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        for item in input {
            let by = keys(evaluator, given.items("Property"), &item).await?;
            match places.entry(same_text(&by, false)) {
                Entry::Occupied(place) => groups[*place.get()].1.push(item),
                Entry::Vacant(place) => {
                    place.insert(groups.len());
                    groups.push((by, vec![item]));
                }
            }
        }
        let name = |by: &[Value]| by.iter().map(Value::to_string).collect::<Vec<_>>().join(", ");
        if given.is_on("AsHashTable") {
            let by_name = groups.into_iter().map(|(by, items)| (name(&by), Value::List(items)));
            return Ok(vec![by_name.fold(Object::new(""), |all, (name, items)| all.with(name, items)).into()]);
        }
        let object = |(by, items): (Vec<Value>, Vec<Value>)| {
            let count = i64::try_from(items.len()).unwrap_or(i64::MAX);
            let group = Object::new("GroupInfo").with("Count", count).with("Name", name(&by));
            Value::Object(if given.is_on("NoElement") { group } else { group.with("Group", Value::List(items)) })
        };
        Ok(groups.into_iter().map(object).collect())
    })
}

pub(super) const MEASURE_OBJECT: Builtin = Builtin {
    name: "Measure-Object",
    aliases: &["measure"],
    summary: "Counts objects, and adds up a property",
    parameters: &[
        Parameter::new("Property", Takes::Values, "The properties, numbers").at(0),
        Parameter::new("Average", Takes::Switch, "The average"),
        Parameter::new("Character", Takes::Switch, "How many characters of text there are"),
        Parameter::new("Line", Takes::Switch, "How many lines of text there are"),
        Parameter::new("Maximum", Takes::Switch, "The greatest"),
        Parameter::new("Minimum", Takes::Switch, "The least"),
        Parameter::new("Sum", Takes::Switch, "All together"),
        Parameter::new("Word", Takes::Switch, "How many words of text there are"),
    ],
    work: All(measure_object),
};

fn measure_object<'a>(
    _evaluator: &'a mut Evaluator<'_>,
    given: &'a Given<'a>,
    input: Vec<Value>,
) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        if given.is_on("Line") || given.is_on("Word") || given.is_on("Character") {
            return Ok(vec![text_measured(given, &input)]);
        }
        let names = given.values("Property");
        if names.is_empty() {
            return Ok(vec![measured(given, &input, None)?]);
        }
        let mut all = Vec::with_capacity(names.len());
        for name in names.iter().map(Value::to_string) {
            let values: Vec<Value> = input.iter().map(|item| method::property(item, &name)).collect();
            let there: Vec<Value> = values.into_iter().filter(|value| *value != Value::Null).collect();
            all.push(measured(given, &there, Some(name))?);
        }
        Ok(all)
    })
}

fn measured(given: &Given<'_>, values: &[Value], property: Option<String>) -> Result<Value, Flow> {
    let count = i64::try_from(values.len()).unwrap_or(i64::MAX);
    let wrong = |wrong: Wrong| Flow::from(wrong.at(given.at()));
    let mut sum = Value::Null;
    if given.is_on("Sum") || given.is_on("Average") {
        sum = Value::Int(0);
        for value in values {
            sum = operate::add(sum, convert::numeric(value).unwrap_or_else(|| value.clone())).map_err(wrong)?;
        }
    }
    let extreme = |wanted: &str, first: Ordering| -> Result<Value, Flow> {
        let mut found: Option<&Value> = None;
        for value in values.iter().filter(|_| given.is_on(wanted)) {
            if found.is_none() || order(value, found.unwrap_or(value), false).map_err(wrong)? == first {
                found = Some(value);
            }
        }
        Ok(found.cloned().unwrap_or_default())
    };
    let (most, least) = (extreme("Maximum", Ordering::Greater)?, extreme("Minimum", Ordering::Less)?);
    let average = match given.is_on("Average") && count > 0 {
        true => operate::divide(&sum, &Value::Int(count)).map_err(wrong)?,
        false => Value::Null,
    };
    Ok(Object::new("MeasureInfo")
        .with("Count", count)
        .with("Average", average)
        .with("Sum", if given.is_on("Sum") { sum } else { Value::Null })
        .with("Maximum", most)
        .with("Minimum", least)
        .with("Property", property)
        .into())
}

/// `-Line -Word -Character`.
fn text_measured(given: &Given<'_>, input: &[Value]) -> Value {
    let texts: Vec<String> = input.iter().map(Value::to_string).collect();
    let count = |wanted: &str, of: fn(&str) -> usize| {
        let all: usize = texts.iter().map(|text| of(text)).sum();
        given.is_on(wanted).then(|| i64::try_from(all).unwrap_or(i64::MAX))
    };
    Object::new("TextMeasureInfo")
        .with("Lines", count("Line", |text| text.lines().count()))
        .with("Words", count("Word", |text| text.split_whitespace().count()))
        .with("Characters", count("Character", |text| text.chars().count()))
        .into()
}

pub(super) const GET_MEMBER: Builtin = Builtin {
    name: "Get-Member",
    aliases: &["gm"],
    summary: "Lists the properties of objects",
    parameters: &[
        Parameter::new("Name", Takes::Values, "Properties, also with *").at(0),
        Parameter::new("MemberType", Takes::Value, "Accepted; there are only properties"),
    ],
    work: All(get_member),
};

fn get_member<'a>(_evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let wanted: Vec<String> = given.values("Name").iter().map(Value::to_string).collect();
        let mut members: Vec<Value> = Vec::new();
        for item in &input {
            let Value::Object(object) = item else { continue };
            for (name, value) in object.properties() {
                let fits = wanted.is_empty() || wanted.iter().any(|it| crate::eval::compare::is_like(name, it));
                let type_name = if object.type_name().is_empty() { "Hashtable" } else { object.type_name() };
                let member = Object::new("MemberDefinition")
                    .with("TypeName", type_name)
                    .with("Name", name)
                    .with("MemberType", "Property")
                    .with("Definition", format!("{} {name}", value.type_name()));
                let known = |other: &Value| {
                    method::property(other, "Name") == name.into()
                        && method::property(other, "TypeName") == type_name.into()
                };
                if fits && !members.iter().any(known) {
                    members.push(member.into());
                }
            }
        }
        if members.is_empty() && input.iter().any(|item| !matches!(item, Value::Object(_))) {
            let said = format!("{} has no properties of its own.", rolled(input).type_name());
            return Err(given.fail("NoMembers", said));
        }
        Ok(members)
    })
}
