//! Values as other kinds of values: truth, numbers, text, and casts.

use reveille_admin::{Object, Value};

use super::moment;
use super::wrong::Wrong;
use crate::ast::Number;
use crate::ast::Type;
use crate::lexer::Lexer;

/// The type of an object that a script has put together.
pub(crate) const CUSTOM: &str = "PSCustomObject";

/// Whether a condition holds: nothing, nought and empty text do not.
pub(crate) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Int(number) => *number != 0,
        Value::Double(number) => *number != 0.0,
        Value::Text(text) => !text.is_empty(),
        Value::Secret(_) | Value::Object(_) => true,
        Value::List(items) => match &items[..] {
            [] => false,
            [only] => truth(only),
            _ => true,
        },
    }
}

/// A number of text as a script would write it.
pub(crate) fn number_of(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.is_empty() {
        return Some(Value::Int(0));
    }
    let (digits, negative) = match text.strip_prefix('-') {
        Some(digits) => (digits, true),
        None => (text.strip_prefix('+').unwrap_or(text), false),
    };
    let mut lexer = Lexer::new(digits);
    let number = lexer.number(|_| false).filter(|_| lexer.rest().is_empty())?;
    Some(match (number, negative) {
        (Number::Int(number), true) => Value::Int(-number),
        (Number::Int(number), false) => Value::Int(number),
        (Number::Double(number), true) => Value::Double(-number),
        (Number::Double(number), false) => Value::Double(number),
    })
}

/// The value as a number, if it can be one: `Int` or `Double`.
pub(crate) fn numeric(value: &Value) -> Option<Value> {
    match value {
        Value::Int(_) | Value::Double(_) => Some(value.clone()),
        Value::Bool(value) => Some(Value::Int((*value).into())),
        Value::Null => Some(Value::Int(0)),
        Value::Text(text) => number_of(text),
        Value::List(items) => match &items[..] {
            [only] => numeric(only),
            _ => None,
        },
        Value::Secret(_) | Value::Object(_) => None,
    }
}

/// A number with a fraction.
#[allow(clippy::cast_precision_loss, reason = "as PowerShell does")]
pub(crate) fn as_double(value: &Value) -> Option<f64> {
    match numeric(value)? {
        Value::Int(number) => Some(number as f64),
        Value::Double(number) => Some(number),
        _ => None,
    }
}

/// A whole number; halves go to the even neighbour, as in .NET.
#[allow(clippy::cast_possible_truncation, reason = "what is out of range has been refused")]
pub(crate) fn as_int(value: &Value) -> Option<i64> {
    match numeric(value)? {
        Value::Int(number) => Some(number),
        Value::Double(number) => {
            let rounded = number.round_ties_even();
            (rounded.abs() < 9.2e18).then_some(rounded as i64)
        }
        _ => None,
    }
}

/// The value made into a type.
pub(crate) fn cast(to: Type, value: Value) -> Result<Value, Wrong> {
    let cannot = |value: &Value, to: &str| {
        let shown = match value {
            Value::Text(text) => format!("\"{text}\""),
            other => format!("a value of type {}", other.type_name()),
        };
        Wrong::new("InvalidCastFromStringToInteger", format!("Cannot convert {shown} to {to}."))
    };
    Ok(match to {
        Type::Array => Value::List(into_list(value)),
        Type::Bool => Value::Bool(truth(&value)),
        Type::Custom => match value {
            Value::Object(object) if object.type_name().is_empty() => Value::Object(
                object.properties().fold(Object::new(CUSTOM), |all, (name, value)| all.with(name, value.clone())),
            ),
            other => other,
        },
        Type::DateTime => match moment::read(&value) {
            Some(at) => moment::moment(at),
            None => {
                return Err(cannot(
                    &value,
                    "a point in time: '2026-11-22', '2026-11-22 19:30' or '2026-11-22T19:30:00Z'",
                ));
            }
        },
        Type::Double => Value::Double(as_double(&value).ok_or_else(|| cannot(&value, "a number"))?),
        Type::Int => Value::Int(as_int(&value).ok_or_else(|| cannot(&value, "a whole number"))?),
        Type::IntArray => {
            let number = |item: Value| as_int(&item).map(Value::Int).ok_or_else(|| cannot(&item, "a whole number"));
            Value::List(into_list(value).into_iter().map(number).collect::<Result<_, _>>()?)
        }
        Type::String => Value::Text(value.to_string()),
        Type::StringArray => Value::List(into_list(value).iter().map(|item| Value::Text(item.to_string())).collect()),
        Type::Hashtable => match value {
            Value::Object(object) => Value::Object(untyped(&object)),
            Value::Null => Value::Null,
            other => return Err(cannot(&other, "a hashtable")),
        },
    })
}

fn untyped(object: &Object) -> Object {
    object.properties().fold(Object::new(""), |all, (name, value)| all.with(name, value.clone()))
}

fn into_list(value: Value) -> Vec<Value> {
    match value {
        Value::List(items) => items,
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

/// Whether the value is of that type.
pub(crate) fn is_of(value: &Value, of: Type) -> bool {
    match (of, value) {
        (Type::Array, Value::List(_))
        | (Type::Bool, Value::Bool(_))
        | (Type::Double, Value::Double(_))
        | (Type::Int, Value::Int(_))
        | (Type::String, Value::Text(_)) => true,
        (Type::Custom, Value::Object(object)) => object.type_name() == CUSTOM,
        (Type::DateTime, Value::Object(object)) => object.type_name() == moment::MOMENT,
        (Type::Hashtable, Value::Object(object)) => object.type_name().is_empty(),
        (Type::IntArray, Value::List(items)) => items.iter().all(|item| matches!(item, Value::Int(_))),
        (Type::StringArray, Value::List(items)) => items.iter().all(|item| matches!(item, Value::Text(_))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_true_and_what_is_a_number_follows_powershell() {
        for (value, holds, number) in [
            (Value::Null, false, Some(0)),
            (Value::Text(String::new()), false, Some(0)),
            ("False".into(), true, None),
            ("0".into(), true, Some(0)),
            (" 10kb ".into(), true, Some(10_240)),
            ("-0x10".into(), true, Some(-16)),
            ("2.5".into(), true, Some(2)),
            (Value::Double(3.5), true, Some(4)),
            (Value::List(vec![]), false, None),
            (Value::List(vec![Value::Int(0)]), false, Some(0)),
            (Value::List(vec![Value::Int(0), Value::Int(0)]), true, None),
            (Object::new("").into(), true, None),
        ] {
            assert_eq!((truth(&value), as_int(&value)), (holds, number), "{value:?}");
        }
    }

    #[test]
    fn casts_make_what_they_say_or_say_why_not() {
        assert_eq!(cast(Type::StringArray, Value::Int(5)).unwrap(), Value::from(vec!["5"]));
        assert_eq!(cast(Type::Int, "7".into()).unwrap(), Value::Int(7));
        assert_eq!(cast(Type::Int, "seven".into()).unwrap_err().message, "Cannot convert \"seven\" to a whole number.");
        assert!(is_of(&Value::from(vec!["a"]), Type::StringArray) && !is_of(&Value::from("a"), Type::Int));
    }
}
