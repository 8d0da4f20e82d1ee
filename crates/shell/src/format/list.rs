//! `Format-List`: a line for each property, the colons below each other.

use reveille_admin::Value;

use super::{cell, properties};

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

#[cfg(test)]
mod tests {
    use reveille_admin::Object;

    use super::*;

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
