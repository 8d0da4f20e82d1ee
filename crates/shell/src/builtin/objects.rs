//! Choosing objects, doing something with each, and putting them in order.

use std::cmp::Ordering;

use reveille_admin::Value;

use super::stage::Work::{All, Each, Stage};
use super::{Builtin, Given, Item, Parameter, Takes};
use crate::ast::Comparison;
use crate::eval::compare::compare;
use crate::eval::{self, Evaluator, Flow, More, Sink, Step, convert, items_of, method, moment, operate, rolled};

pub(super) const WHERE_OBJECT: Builtin = Builtin {
    name: "Where-Object",
    aliases: &["?", "where"],
    summary: "Lets those objects pass for which a condition holds",
    parameters: &[
        Parameter::new("FilterScript", Takes::Block, "The condition, or the name of a property: { $_.Enabled }").at(0),
        Parameter::new("Value", Takes::Value, "What the property is compared with").at(1),
        Parameter::new("Property", Takes::Value, "The property, if it is not given by its place"),
        Parameter::new("Contains", Takes::Switch, "The property is a list with the value in it"),
        Parameter::new("EQ", Takes::Switch, "The property is the value"),
        Parameter::new("GE", Takes::Switch, "The property is the value or greater"),
        Parameter::new("GT", Takes::Switch, "The property is greater than the value"),
        Parameter::new("In", Takes::Switch, "The property is one of the values"),
        Parameter::new("LE", Takes::Switch, "The property is the value or less"),
        Parameter::new("Like", Takes::Switch, "The property fits the value, a pattern with *"),
        Parameter::new("LT", Takes::Switch, "The property is less than the value"),
        Parameter::new("Match", Takes::Switch, "The property fits the value, a regular expression"),
        Parameter::new("NE", Takes::Switch, "The property is something else than the value"),
        Parameter::new("Not", Takes::Switch, "The property is empty, or $false"),
        Parameter::new("NotContains", Takes::Switch, "The property is a list without the value"),
        Parameter::new("NotIn", Takes::Switch, "The property is none of the values"),
        Parameter::new("NotLike", Takes::Switch, "The property does not fit the value, a pattern with *"),
        Parameter::new("NotMatch", Takes::Switch, "The property does not fit the value, a regular expression"),
    ],
    work: Each(where_object),
};

const COMPARISONS: &[(&str, Comparison)] = &[
    ("Contains", Comparison::Contains),
    ("EQ", Comparison::Eq),
    ("GE", Comparison::Ge),
    ("GT", Comparison::Gt),
    ("In", Comparison::In),
    ("LE", Comparison::Le),
    ("Like", Comparison::Like),
    ("LT", Comparison::Lt),
    ("Match", Comparison::Match),
    ("NE", Comparison::Ne),
    ("NotContains", Comparison::NotContains),
    ("NotIn", Comparison::NotIn),
    ("NotLike", Comparison::NotLike),
    ("NotMatch", Comparison::NotMatch),
];

fn where_object<'a>(
    evaluator: &'a mut Evaluator<'_>,
    given: &'a Given<'a>,
    item: Option<Value>,
) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let block = given.block("FilterScript");
        let property = given.text("Property").or_else(|| given.text("FilterScript"));
        if block.is_none() && property.is_none() {
            let said = "A condition is missing: Where-Object { $_.Enabled }, or Where-Object Enabled -eq $true.";
            return Err(given.fail("MissingArgument", said));
        }
        let Some(item) = item else { return Ok(Vec::new()) };
        let holds = match (block, property) {
            (Some(block), _) => convert::truth(&rolled(evaluator.block_for(block, &item).await?)),
            (None, property) => property_holds(given, &item, &property.unwrap_or_default())?,
        };
        Ok(if holds { vec![item] } else { Vec::new() })
    })
}

/// `Where-Object Enabled -eq $true`.
fn property_holds(given: &Given<'_>, item: &Value, property: &str) -> Result<bool, Flow> {
    // With -Property, the first argument without a name is the value.
    let by_place = if given.has("Property") { given.value("FilterScript") } else { None };
    let right = given.value("Value").or(by_place).cloned().unwrap_or_default();
    let left = method::property(item, property);
    match COMPARISONS.iter().find(|(name, _)| given.is_on(name)) {
        Some((_, how)) => {
            let compared = compare(*how, false, &left, &right).map_err(|wrong| wrong.at(given.at()))?;
            Ok(convert::truth(&compared.value))
        }
        None => Ok(convert::truth(&left) != given.is_on("Not")),
    }
}

pub(super) const FOR_EACH_OBJECT: Builtin = Builtin {
    name: "ForEach-Object",
    aliases: &["%", "foreach"],
    summary: "Does something with each object, which is $_ meanwhile",
    parameters: &[
        Parameter::new("Process", Takes::Block, "What is done, or the name of the property to take").at(0),
        Parameter::new("Begin", Takes::Block, "What is done first"),
        Parameter::new("End", Takes::Block, "What is done last"),
        Parameter::new("MemberName", Takes::Value, "The property to take"),
    ],
    work: Stage(for_each_object),
};

fn for_each_object(given: Given<'_>) -> Result<Box<dyn eval::Stage + '_>, Flow> {
    let property = given.text("MemberName").or_else(|| given.text("Process"));
    if given.block("Process").is_none() && property.is_none() && !given.has("Begin") && !given.has("End") {
        let said = "What is to be done with each object is missing: ForEach-Object { $_.Name }.";
        return Err(given.fail("MissingArgument", said));
    }
    Ok(Box::new(ForEach { given, property }))
}

struct ForEach<'c> {
    given: Given<'c>,
    property: Option<String>,
}

impl ForEach<'_> {
    fn other<'a>(&'a self, name: &str, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        let block = self.given.block(name);
        Box::pin(async move {
            match block {
                Some(block) => evaluator.statements(block, out).await,
                None => Ok(()),
            }
        })
    }
}

impl eval::Stage for ForEach<'_> {
    fn alone<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            self.begin(evaluator, out).await?;
            // As in PowerShell, what has no pipeline before it is done once.
            self.take(evaluator, Value::Null, out).await?;
            self.end(evaluator, out).await
        })
    }

    fn begin<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        self.other("Begin", evaluator, out)
    }

    fn take<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, item: Value, out: &'a mut Sink) -> Step<'a, More> {
        Box::pin(async move {
            match (self.given.block("Process"), &self.property) {
                (Some(block), _) => evaluator.block_into(block, item, out).await?,
                (None, Some(property)) => {
                    let values = items_of(Some(method::property(&item, property)));
                    self.given.emit(evaluator, values, out)?;
                }
                (None, None) => {}
            }
            Ok(More::Yes)
        })
    }

    fn end<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        self.other("End", evaluator, out)
    }
}

pub(super) const SORT_OBJECT: Builtin = Builtin {
    name: "Sort-Object",
    aliases: &["sort"],
    summary: "Puts objects in order, by themselves or by properties",
    parameters: &[
        Parameter::new("Property", Takes::Ways, "The properties, the most important first").at(0),
        Parameter::new("Bottom", Takes::Value, "How many of the end"),
        Parameter::new("CaseSensitive", Takes::Switch, "Upper and lower case differ"),
        Parameter::new("Descending", Takes::Switch, "The greatest first"),
        Parameter::new("Top", Takes::Value, "How many of the beginning"),
        Parameter::new("Unique", Takes::Switch, "Of equal ones only the first stays"),
    ],
    work: All(sort_object),
};

fn sort_object<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let mut keyed = Vec::with_capacity(input.len());
        for item in input {
            keyed.push((keys(evaluator, given.items("Property"), &item).await?, item));
        }
        let exact = given.is_on("CaseSensitive");
        let all = given.is_on("Descending");
        let downwards: Vec<bool> = match given.items("Property") {
            [] => vec![all],
            ways => ways.iter().map(|way| descends(way).unwrap_or(all)).collect(),
        };
        keyed.sort_by(|(one, _), (other, _)| by_keys(one, other, exact, &downwards));
        if given.is_on("Unique") {
            keyed.dedup_by(|(one, _), (other, _)| by_keys(one, other, exact, &downwards) == Ordering::Equal);
        }
        let count = keyed.len();
        let (from, to) = match (given.count("Top")?, given.count("Bottom")?) {
            (Some(top), _) => (0, top.min(count)),
            (None, Some(bottom)) => (count.saturating_sub(bottom), count),
            (None, None) => (0, count),
        };
        Ok(keyed.drain(from..to).map(|(_, item)| item).collect())
    })
}

/// What an object is put in order by: its properties, or it itself.
pub(super) async fn keys(evaluator: &mut Evaluator<'_>, ways: &[Item<'_>], item: &Value) -> Result<Vec<Value>, Flow> {
    if ways.is_empty() {
        return Ok(vec![match item {
            Value::Object(object) => object.property("Identity").cloned().unwrap_or_else(|| item.to_string().into()),
            other => other.clone(),
        }]);
    }
    let mut keys = Vec::with_capacity(ways.len());
    for way in ways {
        keys.push(along(evaluator, way, item).await?);
    }
    Ok(keys)
}

/// Text that is the same for keys that are, so that they are found without looking at all others.
pub(super) fn same_text(keys: &[Value], exact: bool) -> String {
    let text = keys.iter().map(Value::to_string).collect::<Vec<_>>().join("\0");
    if exact { text } else { text.to_lowercase() }
}

/// What a way gives for an object.
pub(super) fn along<'a>(evaluator: &'a mut Evaluator<'_>, way: &'a Item<'a>, item: &'a Value) -> Step<'a, Value> {
    Box::pin(async move {
        match way {
            Item::Block(block) => Ok(rolled(evaluator.block_for(block, item).await?)),
            Item::Calculated(way) => {
                let value = along(evaluator, &way.how, item).await?;
                let shown = way.form.as_deref().and_then(|form| operate::shown(&value, form));
                Ok(shown.map_or(value, Value::Text))
            }
            Item::Value(name) => Ok(method::property(item, &name.to_string())),
        }
    })
}

/// What a way is called: by its name, by the property, or by what stands between its braces.
pub(super) fn heading(script: &str, way: &Item<'_>) -> String {
    match way {
        Item::Block(block) => {
            let text = script.get(block.span.range()).unwrap_or_default();
            text.trim_start_matches('{').trim_end_matches('}').trim().to_owned()
        }
        Item::Calculated(way) => way.name.clone().unwrap_or_else(|| heading(script, &way.how)),
        Item::Value(name) => name.to_string(),
    }
}

/// Whether a key says itself that the greatest comes first.
fn descends(way: &Item<'_>) -> Option<bool> {
    match way {
        Item::Calculated(way) => way.descending,
        Item::Block(_) | Item::Value(_) => None,
    }
}

fn by_keys(one: &[Value], other: &[Value], exact: bool, downwards: &[bool]) -> Ordering {
    let each = one.iter().zip(other).zip(downwards).map(|((one, other), downwards)| {
        let order = by_key(one, other, exact);
        if *downwards { order.reverse() } else { order }
    });
    each.fold(Ordering::Equal, Ordering::then)
}

/// An order of all values that has no circle in it, whatever they are: sorting would find it. Nothing comes first, then
/// numbers, points in time, and the rest as text.
fn by_key(one: &Value, other: &Value, exact: bool) -> Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => 1,
        _ if moment::of(value).is_some() => 2,
        _ => 3,
    };
    let text = |value: &Value| if exact { value.to_string() } else { value.to_string().to_lowercase() };
    rank(one).cmp(&rank(other)).then_with(|| match rank(one) {
        0 => Ordering::Equal,
        1 => {
            let (one, other) = (size(one), size(other));
            one.0.total_cmp(&other.0).then(one.1.cmp(&other.1))
        }
        2 => moment::of(one).cmp(&moment::of(other)),
        _ => text(one).cmp(&text(other)),
    })
}

/// A number as far as it is told apart as a fraction, and then as a whole one: great ones differ in the latter only.
fn size(value: &Value) -> (f64, i128) {
    match value {
        Value::Int(number) => (*number as f64, i128::from(*number)),
        // So that there is one zero.
        Value::Double(number) => (number + 0.0, *number as i128),
        other => (f64::from(u8::from(convert::truth(other))), i128::from(convert::truth(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_sorted_stands_in_a_line_and_in_no_circle() {
        let at = |text: &str| moment::moment(text.parse().unwrap());
        let values = [
            Value::Null,
            Value::Bool(false),
            Value::Bool(true),
            Value::Double(f64::NEG_INFINITY),
            Value::Double(-0.0),
            Value::Int(0),
            Value::Double(0.5),
            Value::Int(5),
            Value::Int(1 << 53),
            Value::Int((1 << 53) + 1),
            Value::Double(9_007_199_254_740_992.0),
            Value::Int(i64::MAX),
            Value::Double(f64::INFINITY),
            Value::Double(f64::NAN),
            at("2026-11-22T19:30:21Z"),
            at("2026-11-22T19:30:21.5Z"),
            "2026-11-22T19:30:21.7Z".into(),
            "".into(),
            "10".into(),
            "9".into(),
            "a".into(),
            "B".into(),
            Value::List(vec![Value::Int(1), Value::Int(2)]),
        ];
        for (one, other) in values.iter().flat_map(|one| values.iter().map(move |other| (one, other))) {
            assert_eq!(by_key(one, other, false), by_key(other, one, false).reverse(), "{one:?} {other:?}");
            for third in &values {
                let follows = by_key(one, other, false).is_le() && by_key(other, third, false).is_le();
                assert!(!follows || by_key(one, third, false).is_le(), "{one:?} {other:?} {third:?}");
            }
        }
        assert_eq!(by_key(&Value::Double(-0.0), &Value::Int(0), false), Ordering::Equal);
        assert_eq!(by_key(&"a".into(), &"A".into(), false), Ordering::Equal);
        assert_eq!(by_key(&"a".into(), &"A".into(), true), Ordering::Greater);
    }
}
