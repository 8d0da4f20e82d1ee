//! What values hold and can do: properties, items, and the few methods.

use reveille_admin::{Object, Value};

use super::convert::as_int;
use super::wrong::{Wrong, bounded};
use super::{compare, moment, operate};
use crate::format::document;

/// A property of a value; of each item for a list. What is not there is nothing.
pub(crate) fn property(of: &Value, name: &str) -> Value {
    let counts = |count: usize| {
        let wanted = name.eq_ignore_ascii_case("Count") || name.eq_ignore_ascii_case("Length");
        wanted.then(|| Value::Int(i64::try_from(count).unwrap_or(i64::MAX)))
    };
    match of {
        Value::Object(object) => match object.property(name) {
            Some(value) => value.clone(),
            None => of_object(object, name).or_else(|| counts(1)).unwrap_or_default(),
        },
        Value::List(items) => counts(items.len()).unwrap_or_else(|| {
            let found = items.iter().filter(|item| has(item, name)).flat_map(|item| match property(item, name) {
                Value::List(values) => values,
                one => vec![one],
            });
            super::rolled(found.collect())
        }),
        Value::Text(text) if name.eq_ignore_ascii_case("Length") => counts(text.chars().count()).unwrap_or_default(),
        Value::Null if name.eq_ignore_ascii_case("Count") => Value::Int(0),
        _ if name.eq_ignore_ascii_case("Count") => Value::Int(1),
        _ => Value::Null,
    }
}

/// Whether a value has a property, or one item of a list has.
pub(crate) fn has(of: &Value, name: &str) -> bool {
    let counted = name.eq_ignore_ascii_case("Count") || name.eq_ignore_ascii_case("Length");
    match of {
        Value::Object(object) => counted || object.property(name).is_some() || of_object(object, name).is_some(),
        Value::List(items) => counted || items.iter().any(|item| has(item, name)),
        Value::Null => false,
        _ => counted,
    }
}

/// What a value has, for whoever has asked for something else.
pub(crate) fn listed(of: &Value) -> String {
    match of {
        Value::Object(object) => {
            let known: Vec<_> = object.properties().map(|(name, _)| name).collect();
            format!("it has {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })
        }
        Value::Null => "it is $null".to_owned(),
        other => format!("it is a {}", other.type_name()),
    }
}

/// What every hashtable has besides its keys.
fn of_object(object: &Object, name: &str) -> Option<Value> {
    if !object.type_name().is_empty() {
        return None;
    }
    Some(match name.to_ascii_lowercase().as_str() {
        "count" => Value::Int(i64::try_from(object.properties().count()).unwrap_or(i64::MAX)),
        "keys" => Value::List(object.properties().map(|(name, _)| name.into()).collect()),
        "values" => Value::List(object.properties().map(|(_, value)| value.clone()).collect()),
        _ => return None,
    })
}

/// An item by its place, from the end if that is negative; a value by its key; several for a list of places.
pub(crate) fn index(of: &Value, key: &Value) -> Result<Value, Wrong> {
    if let Value::List(keys) = key {
        return Ok(Value::List(keys.iter().map(|key| index(of, key)).collect::<Result<_, _>>()?));
    }
    Ok(match of {
        // One object is a list of itself, since nobody sees whether a command gave one or several.
        Value::Object(object) if !object.type_name().is_empty() && matches!(key, Value::Int(_)) => {
            place(key, 1).map(|_| of.clone()).unwrap_or_default()
        }
        Value::Object(object) => object.property(&key.to_string()).cloned().unwrap_or_default(),
        Value::List(items) => place(key, items.len()).map(|place| items[place].clone()).unwrap_or_default(),
        Value::Text(text) => {
            let count = text.chars().count();
            let found = place(key, count).and_then(|place| text.chars().nth(place));
            found.map(|found| Value::Text(found.to_string())).unwrap_or_default()
        }
        Value::Null => return Err(Wrong::new("NullArray", "Cannot index into a null array.")),
        one => place(key, 1).map(|_| one.clone()).unwrap_or_default(),
    })
}

/// The place that a key means among so many.
pub(crate) fn place(key: &Value, count: usize) -> Option<usize> {
    let key = as_int(key)?;
    let place = if key < 0 { i64::try_from(count).ok()?.checked_add(key)? } else { key };
    usize::try_from(place).ok().filter(|place| *place < count)
}

/// Calls one of the methods.
pub(crate) fn call(of: &Value, name: &str, arguments: &[Value]) -> Result<Value, Wrong> {
    if let (Some(at), Some(count)) = (moment::of(of), arguments.first())
        && let Some(moved) = moment::add(at, name, count)
    {
        return moved;
    }
    match (name, of) {
        ("ToString", _) => match arguments.first() {
            None => Ok(Value::Text(of.to_string())),
            Some(form) => operate::formatted(of, &form.to_string())
                .map(Value::Text)
                .ok_or_else(|| Wrong::new("FormatException", format!("\"{of}\" has no form {form}."))),
        },
        ("CompareTo", _) => {
            let order = compare::order(of, argument(name, arguments, 0)?, true)?;
            Ok(Value::Int(order as i64))
        }
        ("Equals", _) => Ok(Value::Bool(compare::equal(of, argument(name, arguments, 0)?, true))),
        ("GetEnumerator", Value::Object(object)) if object.type_name().is_empty() => {
            let entry = |(name, value): (&str, &Value)| {
                let entry = Object::new("DictionaryEntry").with("Name", name).with("Value", value.clone());
                Value::Object(entry.with("Key", name).with("@hidden", vec!["Key"]))
            };
            Ok(Value::List(object.properties().map(entry).collect()))
        }
        ("GetType", _) => Ok(Object::new("Type").with("Name", of.type_name()).into()),
        ("ToHTML", _) => document::html(of).map(Value::Text),
        ("ToXML", _) => document::xml(of).map(Value::Text),
        ("Contains", Value::List(items)) => {
            let wanted = argument(name, arguments, 0)?;
            Ok(Value::Bool(items.iter().any(|item| compare::equal(item, wanted, true))))
        }
        ("Contains" | "ContainsKey", Value::Object(object)) => {
            Ok(Value::Bool(object.property(&argument(name, arguments, 0)?.to_string()).is_some()))
        }
        (_, Value::Text(text)) => of_text(text, name, arguments),
        // Methods are called on each item, as properties are.
        (_, Value::List(items)) => {
            Ok(Value::List(items.iter().map(|item| call(item, name, arguments)).collect::<Result<_, _>>()?))
        }
        (_, Value::Null) => {
            Err(Wrong::new("InvokeMethodOnNull", format!("You cannot call {name} on a null-valued expression.")))
        }
        (_, other) => Err(Wrong::new("MethodNotFound", format!("A {} has no method {name}.", other.type_name()))),
    }
}

fn argument<'a>(name: &str, arguments: &'a [Value], place: usize) -> Result<&'a Value, Wrong> {
    arguments.get(place).ok_or_else(|| {
        let said = format!("{name} needs {} argument(s) in its parentheses.", place + 1);
        Wrong::new("MethodCountCouldNotFindBest", said)
    })
}

fn of_text(text: &str, name: &str, arguments: &[Value]) -> Result<Value, Wrong> {
    let first = || argument(name, arguments, 0).map(Value::to_string);
    let number = |place: usize| -> Result<usize, Wrong> {
        let value = argument(name, arguments, place)?;
        as_int(value).and_then(|number| usize::try_from(number).ok()).ok_or_else(|| {
            Wrong::new("MethodArgumentConversionInvalidCastArgument", format!("\"{value}\" is not a place in text."))
        })
    };
    let count = text.chars().count();
    let part = |from: usize, length: Option<usize>| -> Result<String, Wrong> {
        let end = length.map_or(Some(count), |length| from.checked_add(length));
        match end {
            Some(end) if from <= end && end <= count => Ok(text.chars().skip(from).take(end - from).collect()),
            _ => Err(Wrong::new(
                "ArgumentOutOfRangeException",
                format!("The text has {count} characters, fewer than {name} was asked for."),
            )),
        }
    };
    let found = |at: Option<usize>| Value::Int(at.map_or(-1, |at| text[..at].chars().count() as i64));
    let trimmed = |found: char| match arguments.first() {
        None => found.is_whitespace(),
        Some(set) => set.to_string().contains(found),
    };
    Ok(match name {
        "Contains" => Value::Bool(text.contains(&first()?)),
        "EndsWith" => Value::Bool(text.ends_with(&first()?)),
        "IndexOf" => found(text.find(&first()?)),
        "Insert" => {
            let (at, what) = (number(0)?, argument(name, arguments, 1)?.to_string());
            Value::Text(part(0, Some(at))? + &what + &part(at, None)?)
        }
        "LastIndexOf" => found(text.rfind(&first()?)),
        "PadLeft" | "PadRight" => {
            let width = number(0)?;
            let with = arguments.get(1).and_then(|with| with.to_string().chars().next()).unwrap_or(' ');
            let missing = width.saturating_sub(count);
            bounded(text.len().saturating_add(missing.saturating_mul(with.len_utf8())))?;
            let padding = with.to_string().repeat(missing);
            Value::Text(if name == "PadLeft" { padding + text } else { text.to_owned() + &padding })
        }
        "Remove" => {
            let from = number(0)?;
            let length = if arguments.len() > 1 { number(1)? } else { count.saturating_sub(from) };
            part(from, Some(length))?;
            Value::Text(part(0, Some(from))? + &part(from + length, None)?)
        }
        "Replace" => {
            let (from, to) = (first()?, argument(name, arguments, 1)?.to_string());
            if from.is_empty() {
                return Err(Wrong::new(
                    "ArgumentException",
                    "String cannot be of zero length: Replace('what', 'by what').",
                ));
            }
            bounded(text.len() + text.matches(&from).count().saturating_mul(to.len()))?;
            Value::Text(text.replace(&from, &to))
        }
        "Split" => match arguments {
            [] => operate::words(&Value::from(text)),
            _ => {
                let at = first()?;
                Value::List(text.split(|found| at.contains(found)).map(Value::from).collect())
            }
        },
        "StartsWith" => Value::Bool(text.starts_with(&first()?)),
        "Substring" => {
            let from = number(0)?;
            Value::Text(part(from, if arguments.len() > 1 { Some(number(1)?) } else { None })?)
        }
        "ToCharArray" => Value::List(text.chars().map(|found| Value::Text(found.to_string())).collect()),
        "ToLower" | "ToLowerInvariant" => Value::Text(text.to_lowercase()),
        "ToUpper" | "ToUpperInvariant" => Value::Text(text.to_uppercase()),
        "Trim" => text.trim_matches(trimmed).into(),
        "TrimEnd" => text.trim_end_matches(trimmed).into(),
        "TrimStart" => text.trim_start_matches(trimmed).into(),
        _ => return Err(Wrong::new("MethodNotFound", format!("Text has no method {name}."))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_of_lists_are_those_of_their_items() {
        let two = Value::List(vec![
            Object::new("A").with("Name", "x").with("Tags", vec!["1", "2"]).into(),
            Object::new("A").with("Name", "y").into(),
        ]);
        for (value, name, expected) in [
            (two.clone(), "name", Value::from(vec!["x", "y"])),
            (two.clone(), "Tags", Value::from(vec!["1", "2"])),
            (two.clone(), "Count", Value::Int(2)),
            (two, "Nothing", Value::Null),
            ("abc".into(), "Length", Value::Int(3)),
            (Value::Null, "Count", Value::Int(0)),
            (Value::Int(5), "Count", Value::Int(1)),
            (Object::new("").with("a", 1i64).into(), "Keys", Value::from(vec!["a"])),
        ] {
            assert_eq!(property(&value, name), expected, "{value:?}.{name}");
        }
    }

    #[test]
    fn text_can_do_what_scripts_ask_of_it() {
        for (name, arguments, expected) in [
            ("ToUpper", vec![], Value::from("KENMYER@LITWAREINC.COM")),
            ("Split", vec!["@".into()], vec!["kenmyer", "litwareinc.com"].into()),
            ("Replace", vec!["kenmyer".into(), "ken".into()], "ken@litwareinc.com".into()),
            ("Substring", vec![Value::Int(0), Value::Int(3)], "ken".into()),
            ("IndexOf", vec!["@".into()], Value::Int(7)),
            ("IndexOf", vec!["%".into()], Value::Int(-1)),
            ("Remove", vec![Value::Int(7)], "kenmyer".into()),
            ("StartsWith", vec!["ken".into()], true.into()),
            ("TrimEnd", vec!["mco.".into()], "kenmyer@litwarein".into()),
        ] {
            assert_eq!(call(&"kenmyer@litwareinc.com".into(), name, &arguments).unwrap(), expected, "{name}");
        }
        for (name, arguments) in
            [("Substring", vec![Value::Int(99)]), ("PadLeft", vec![Value::Int(1 << 40)]), ("Contains", vec![])]
        {
            assert!(call(&"x".into(), name, &arguments).is_err(), "{name}");
        }
        assert_eq!(call(&Value::Null, "Trim", &[]).unwrap_err().id, "InvokeMethodOnNull");
    }
}
