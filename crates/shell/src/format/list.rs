//! `Format-List`: a line for each property, the colons below each other.

use reveille_admin::Value;

use super::{cell, properties, table};

/// Objects below each other with blank lines between. Values with line ends go on below where they begin.
pub(crate) fn list(values: &[Value]) -> String {
    if values.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n");
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let properties = properties(value);
        if !matches!(value, Value::Object(_)) {
            text.push_str(&format!("{value}\n"));
        }
        let width = properties.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in properties {
            if let Some(rows) = objects(value) {
                within(&mut text, name, width, rows);
                continue;
            }
            let value = cell(value);
            let mut lines = value.lines();
            let first = lines.next().unwrap_or_default();
            text.push_str(format!("{name:<width$} : {first}").trim_end());
            text.push('\n');
            for line in lines {
                text.push_str(format!("{:indent$}{line}", "", indent = width + 3).trim_end());
                text.push('\n');
            }
        }
    }
    text.push('\n');
    text
}

/// The objects of a list of objects, as the stages of a test are.
fn objects(value: &Value) -> Option<&[Value]> {
    let is_object = |item: &Value| item.as_object().is_some_and(|object| object.displayed().count() > 1);
    match value {
        Value::List(items) if !items.is_empty() && items.iter().all(is_object) => Some(items),
        _ => None,
    }
}

/// A table below the name of the property that holds it; nothing of it is cut off.
fn within(text: &mut String, name: &str, width: usize, rows: &[Value]) {
    text.push_str(&format!("{name:<width$} :\n"));
    for line in table(rows, usize::MAX, true).lines().filter(|line| !line.is_empty()) {
        text.push_str(&format!("    {line}\n"));
    }
}

#[cfg(test)]
mod tests {
    use reveille_admin::Object;

    use super::*;

    #[test]
    fn a_list_of_objects_is_a_table_below_its_name() {
        let stage = |name: &str, took: i64, detail: &str| {
            Value::from(Object::new("TaskStage").with("Stage", name).with("Milliseconds", took).with("Detail", detail))
        };
        let stages = Value::List(vec![stage("Name", 3, "SRV found"), stage("Connect", 12, "")]);
        let result = Object::new("DetailedTaskOutput").with("Result", "Success").with("Stages", stages);
        assert_eq!(
            list(&[result.with("Hints", Value::List(Vec::new())).into()]),
            "\nResult : Success\nStages :\n    Stage   Milliseconds Detail\n    -----   ------------ ------\n    Name               \
             3 SRV found\n    Connect           12\nHints  : {}\n\n"
        );
    }

    #[test]
    fn lines_of_a_value_stand_below_each_other() {
        let result = |diagnosis: &str| Object::new("").with("Result", "Failure").with("Diagnosis", diagnosis);
        let text = list(&[result("ErrorCode=2,\nSource=x").into(), result("").into()]);
        assert_eq!(
            text,
            "\nResult    : Failure\nDiagnosis : ErrorCode=2,\n            Source=x\n\nResult    : Failure\nDiagnosis :\n\n"
        );
        assert_eq!(list(&[]), "");
    }
}
