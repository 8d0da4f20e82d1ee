//! Comma-separated values, RFC 4180: every value in quotation marks, as PowerShell writes them.

use reveille_admin::Value;

use super::properties;

/// The names, then a line for each object. The first object says which properties there are.
pub(crate) fn lines(values: &[Value], delimiter: char) -> Vec<String> {
    let Some(first) = values.first() else { return Vec::new() };
    let names: Vec<&str> = match first {
        Value::Object(_) => properties(first).into_iter().map(|(name, _)| name).collect(),
        _ => vec!["Value"],
    };
    let between = delimiter.to_string();
    let mut lines = vec![names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(&between)];
    for value in values {
        let field = |name: &&str| match value {
            Value::Object(object) => object.property(name).map(Value::to_string).unwrap_or_default(),
            plain => plain.to_string(),
        };
        lines.push(names.iter().map(|name| quoted(&field(name))).collect::<Vec<_>>().join(&between));
    }
    lines
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// The fields of each line; RFC 4180 §2: a quoted field may hold delimiters, line ends and doubled quotation marks. Empty
/// lines, and those of PowerShell that name a type, are passed over.
pub(crate) fn rows(text: &str, delimiter: char) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut within, mut was_quoted) = (false, false);
    let mut rest = text.chars().peekable();
    while let Some(found) = rest.next() {
        match found {
            '"' if within && rest.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if within => within = false,
            '"' if field.is_empty() && !was_quoted => (within, was_quoted) = (true, true),
            '\r' if !within && rest.peek() == Some(&'\n') => {}
            '\n' if !within => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
                was_quoted = false;
            }
            _ if found == delimiter && !within => {
                row.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            _ => field.push(found),
        }
    }
    if !field.is_empty() || !row.is_empty() {
        row.push(field);
        rows.push(row);
    }
    rows.retain(|row| !matches!(&row[..], [only] if only.is_empty() || only.starts_with("#TYPE ")));
    rows
}

#[cfg(test)]
mod tests {
    use reveille_admin::Object;

    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let object =
            |name: &str, comment: &str| Value::from(Object::new("").with("Domain", name).with("Comment", comment));
        let values = [object("push.lync.com", "says \"hi\", twice\nand more"), object("x.com", "")];
        let text = lines(&values, ',').join("\r\n") + "\r\n";
        assert_eq!(
            rows(&text, ','),
            [vec!["Domain", "Comment"], vec!["push.lync.com", "says \"hi\", twice\nand more"], vec!["x.com", ""]]
        );
    }

    #[test]
    fn files_of_others_are_read() {
        assert_eq!(rows("#TYPE X\na;b\n\n1;\"2;3\"", ';'), [vec!["a", "b"], vec!["1", "2;3"]]);
        assert_eq!(rows("", ','), Vec::<Vec<String>>::new());
    }
}
