//! How objects are printed: a list or a table as PowerShell chooses, and the forms that programs read. No colour, no
//! control characters; what is shown depends on nothing but the objects and the width.

pub(crate) mod csv;
pub(crate) mod document;
pub(crate) mod json;
mod list;
mod table;

pub(crate) use list::list;
pub(crate) use table::table;

use reveille_admin::{Object, Value};

use crate::eval::moment;

/// The type of what has been made into text already.
const FORMATTED: &str = "FormattedText";
/// With more properties than these an object is shown as a list, as in PowerShell.
const TABLE_COLUMNS_MAX: usize = 4;

/// Text that is shown as it is.
pub(crate) fn formatted(text: String) -> Value {
    Object::new(FORMATTED).with("@text", text).into()
}

/// Whether a value is shown in one table or list with those that follow it.
pub(crate) fn waits(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.type_name() != FORMATTED && !moment::is_either(object))
}

/// What is shown of values at the end of a pipeline.
pub(crate) fn shown(values: &[Value], width: usize) -> String {
    let mut text = String::new();
    let mut rest = values;
    while let [first, after @ ..] = rest {
        let Value::Object(object) = first else {
            match first {
                // A list within a list: its items, as PowerShell unrolls them.
                Value::List(items) => text.push_str(&shown(items, width)),
                // It goes along the pipeline, and is not seen at its end.
                Value::Null => {}
                other => line(&mut text, &other.to_string()),
            }
            rest = after;
            continue;
        };
        if moment::is_either(object) {
            line(&mut text, &object.to_string());
            rest = after;
            continue;
        }
        if object.type_name() == FORMATTED {
            line(&mut text, &object.property("@text").map(Value::to_string).unwrap_or_default());
            rest = after;
            continue;
        }
        let alike =
            rest.iter().take_while(|value| value.as_object().is_some_and(|other| are_alike(object, other))).count();
        let (group, after) = rest.split_at(alike);
        text.push_str(&group_shown(object, group, width));
        rest = after;
    }
    text
}

/// Objects of one kind: as a table if they have few properties, else as a list.
fn group_shown(first: &Object, group: &[Value], width: usize) -> String {
    if first.type_name().is_empty() && group.len() == 1 {
        // A hashtable: its keys and values, below each other.
        let pair = |(name, value): (&str, &Value)| {
            Value::Object(Object::new("").with("Name", name).with("Value", value.clone()))
        };
        let pairs: Vec<Value> = first.properties().map(pair).collect();
        return table(&pairs, width, true);
    }
    match first.displayed().count() > TABLE_COLUMNS_MAX {
        true => list(group),
        false => table(group, width, true),
    }
}

fn are_alike(one: &Object, other: &Object) -> bool {
    one.type_name() == other.type_name()
        && one.properties().map(|(name, _)| name).eq(other.properties().map(|(name, _)| name))
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    if !line.ends_with('\n') {
        text.push('\n');
    }
}

/// A value within a list or a table: lists in braces, an object by its identity if it has one.
fn cell(value: &Value) -> String {
    match value {
        Value::List(items) => format!("{{{}}}", items.iter().map(cell).collect::<Vec<_>>().join(", ")),
        Value::Object(object) if !object.type_name().is_empty() => match object.property("Identity") {
            Some(identity) => identity.to_string(),
            None => object.to_string(),
        },
        other => other.to_string(),
    }
}

/// The values of the properties that the default display shows.
fn properties(value: &Value) -> Vec<(&str, &Value)> {
    match value {
        Value::Object(object) => object.displayed().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> Object {
        Object::new("HostingProvider")
            .with("Identity", "LyncOnline")
            .with("ProxyFqdn", "sipfed.online.lync.com")
            .with("VerificationLevel", "UseSourceVerification")
            .with("Enabled", true)
            .with("@version", 3i64)
    }

    #[test]
    fn few_properties_make_a_table_and_many_a_list() {
        let few = shown(&[provider().into()], 120);
        assert_eq!(
            few,
            "\nIdentity   ProxyFqdn              VerificationLevel     Enabled\n--------   ---------              \
             -----------------     -------\nLyncOnline sipfed.online.lync.com UseSourceVerification True\n\n"
        );
        let many =
            shown(&[provider().with("Prefixes", vec!["http:", "https:"]).with("Comment", Value::Null).into()], 120);
        assert_eq!(
            many,
            "\nIdentity          : LyncOnline\nProxyFqdn         : sipfed.online.lync.com\nVerificationLevel : \
             UseSourceVerification\nEnabled           : True\nPrefixes          : {http:, https:}\nComment           :\n\n"
        );
    }

    #[test]
    fn text_numbers_and_hashtables_are_shown_as_in_powershell() {
        let list = Value::List(vec!["a".into(), 5i64.into()]);
        assert_eq!(shown(&["x".into(), list, true.into()], 80), "x\na\n5\nTrue\n");
        let hashtable = Object::new("").with("Add", "x").with("Remove", vec!["y", "z"]);
        assert_eq!(shown(&[hashtable.into()], 80), "\nName   Value\n----   -----\nAdd    x\nRemove {y, z}\n\n");
        assert_eq!(shown(&[formatted("as it is".into())], 80), "as it is\n");
    }
}
