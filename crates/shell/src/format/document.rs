//! `ToHTML()` and `ToXML()`: what a test has recorded, as a page to keep or to send.

use reveille_admin::{Object, Value};

use super::{cell, properties};
use crate::eval::wrong::{Wrong, bounded};

/// A page of its own.
pub(crate) fn html(value: &Value) -> Result<String, Wrong> {
    let title = match value {
        Value::Object(object) if !object.type_name().is_empty() => object.type_name(),
        _ => "Log",
    };
    let title = escaped(title);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n<style>body{{\
         font-family:sans-serif}}table{{border-collapse:collapse}}th,td{{border:1px solid #888;padding:.2em .5em;\
         text-align:left;vertical-align:top}}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    in_html(&mut text, value)?;
    text.push_str("</body>\n</html>\n");
    Ok(text)
}

fn in_html(text: &mut String, value: &Value) -> Result<(), Wrong> {
    match value {
        Value::Object(object) => {
            text.push_str("<table>\n");
            for (name, value) in object.properties() {
                text.push_str(&format!("<tr><th scope=\"row\">{}</th><td>", escaped(name)));
                in_html(text, value)?;
                text.push_str("</td></tr>\n");
            }
            text.push_str("</table>\n");
        }
        Value::List(items) => {
            text.push_str("<ol>\n");
            for item in items {
                text.push_str("<li>");
                in_html(text, item)?;
                text.push_str("</li>\n");
            }
            text.push_str("</ol>\n");
        }
        plain => text.push_str(&escaped(&plain.to_string()).replace('\n', "<br>\n")),
    }
    bounded(text.len())
}

/// The lines of a table of objects: a row for each, the names of the properties above.
pub(crate) fn html_table(rows: &[Value]) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().flat_map(properties) {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    }
    let row = |element: &str, cells: Vec<String>| {
        let cells: String = cells.iter().map(|cell| format!("<{element}>{}</{element}>", escaped(cell))).collect();
        format!("<tr>{cells}</tr>")
    };
    let mut lines = vec!["<table>".to_owned()];
    if names.is_empty() {
        lines.extend(rows.iter().map(|value| row("td", vec![cell(value)])));
    } else {
        lines.push(row("th", names.iter().map(|name| (*name).to_owned()).collect()));
        for value in rows {
            let of = |name: &&str| value.as_object().and_then(|object| object.property(name)).map(cell);
            lines.push(row("td", names.iter().map(|name| of(name).unwrap_or_default()).collect()));
        }
    }
    lines.push("</table>".to_owned());
    lines
}

/// An XML document, in the form of PowerShell's `ConvertTo-Xml`.
pub(crate) fn xml(value: &Value) -> Result<String, Wrong> {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Objects>\n");
    for item in match value {
        Value::List(items) => &items[..],
        one => std::slice::from_ref(one),
    } {
        in_xml(&mut text, "Object", None, item, 1)?;
    }
    text.push_str("</Objects>\n");
    Ok(text)
}

fn in_xml(text: &mut String, element: &str, name: Option<&str>, value: &Value, depth: usize) -> Result<(), Wrong> {
    let indent = "  ".repeat(depth);
    let name = name.map(|name| format!(" Name=\"{}\"", escaped(name))).unwrap_or_default();
    let type_name = match value {
        Value::Object(object) => type_of(object),
        other => other.type_name().to_owned(),
    };
    let open = format!("{indent}<{element}{name} Type=\"{}\"", escaped(&type_name));
    match value {
        Value::Null => text.push_str(&format!("{open} />\n")),
        Value::Object(object) => {
            text.push_str(&format!("{open}>\n"));
            for (name, value) in object.properties() {
                in_xml(text, "Property", Some(name), value, depth + 1)?;
            }
            text.push_str(&format!("{indent}</{element}>\n"));
        }
        Value::List(items) => {
            text.push_str(&format!("{open}>\n"));
            for item in items {
                in_xml(text, "Property", None, item, depth + 1)?;
            }
            text.push_str(&format!("{indent}</{element}>\n"));
        }
        plain => text.push_str(&format!("{open}>{}</{element}>\n", escaped(&plain.to_string()))),
    }
    bounded(text.len())
}

fn type_of(object: &Object) -> String {
    if object.type_name().is_empty() { "Hashtable".to_owned() } else { object.type_name().to_owned() }
}

/// Text as it may stand within elements and attributes. XML 1.0 §2.2 has no control characters but these three.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for found in text.chars() {
        match found {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\r' | '\t' => out.push(found),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            control if control.is_control() => out.push('\u{fffd}'),
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_recorded_becomes_a_page_that_nothing_in_it_can_break() {
        let step = Object::new("Step").with("Name", "<b>connect</b>").with("Said", "a & \"b\"\u{0}");
        let log =
            Value::from(Object::new("Logger").with("Steps", Value::List(vec![step.into()])).with("Error", Value::Null));
        let page = html(&log).unwrap();
        assert!(page.contains("<title>Logger</title>") && page.contains("&lt;b&gt;connect&lt;/b&gt;"), "{page}");
        assert_eq!(
            xml(&log).unwrap(),
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Objects>\n  <Object Type=\"Logger\">\n    <Property \
             Name=\"Steps\" Type=\"Object[]\">\n      <Property Type=\"Step\">\n        <Property Name=\"Name\" \
             Type=\"String\">&lt;b&gt;connect&lt;/b&gt;</Property>\n        <Property Name=\"Said\" Type=\"String\">a \
             &amp; &quot;b&quot;\u{fffd}</Property>\n      </Property>\n    </Property>\n    <Property Name=\"Error\" \
             Type=\"null\" />\n  </Object>\n</Objects>\n"
        );
    }
}
