//! Objects as JSON: properties in their order, without what is for programs only.

use reveille_admin::Value;
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

use crate::eval::moment;
use crate::visible::is_obeyed;

/// How many objects are written within each other if nobody says; values are never deeper.
pub(crate) const DEPTH_MAX: usize = 200;

/// The value as JSON, on one line or several.
pub(crate) fn written(value: &Value, depth: usize, compress: bool) -> String {
    let shown = Shown { value, depth };
    let text = if compress { serde_json::to_string(&shown) } else { serde_json::to_string_pretty(&shown) };
    // Numbers that are none are the only thing that could fail, and they are written as nothing.
    escaped(&text.unwrap_or_else(|_| "null".to_owned()))
}

/// RFC 8259 §7: any character may be escaped. Those that command a terminal, or change the order in which text is read,
/// stand within text only, and so none of them is lost and none is obeyed.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for found in text.chars() {
        match is_obeyed(found) {
            true => out.push_str(&format!("\\u{:04x}", u32::from(found))),
            false => out.push(found),
        }
    }
    out
}

struct Shown<'a> {
    value: &'a Value,
    depth: usize,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let within = |value| Shown { value, depth: self.depth.saturating_sub(1) };
        match self.value {
            Value::List(_) | Value::Object(_) if self.depth == 0 => serializer.serialize_str(&self.value.to_string()),
            Value::List(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| sequence.serialize_element(&within(item)))?;
                sequence.end()
            }
            Value::Object(object) if moment::is_either(object) => serializer.serialize_str(&object.to_string()),
            Value::Object(object) => {
                let mut map = serializer.serialize_map(None)?;
                object.properties().try_for_each(|(name, value)| map.serialize_entry(name, &within(value)))?;
                map.end()
            }
            // A secret is not shown, in whatever form.
            Value::Secret(_) => serializer.serialize_str(&self.value.to_string()),
            plain => plain.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use reveille_admin::{Object, Secret};

    use super::*;

    #[test]
    fn json_keeps_the_order_and_hides_what_is_hidden() {
        let object = Object::new("HostingProvider")
            .with("ProxyFqdn", "p.example")
            .with("Enabled", true)
            .with("@version", 7i64)
            .with("Ports", vec![1i64, 2])
            .with("Password", Value::Secret(Secret::new("hush")))
            .with("Inner", Object::new("").with("A", Value::Null));
        let value = Value::from(object);
        let text = written(&value, DEPTH_MAX, true);
        assert_eq!(
            text,
            r#"{"ProxyFqdn":"p.example","Enabled":true,"Ports":[1,2],"Password":"System.Security.SecureString","Inner":{"A":null}}"#
        );
        assert!(written(&value, 1, true).contains(r#""Inner":"@{A=}""#));
        assert!(written(&value, 1, false).starts_with("{\n  \"ProxyFqdn\": "));
        assert_eq!(written(&Value::Double(f64::NAN), 1, true), "null");
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_none_of_it_is_lost() {
        let value = Value::from("\u{1b}[2J \u{9b}\u{7f} \u{202e}x\n ü");
        let text = written(&value, DEPTH_MAX, true);
        assert_eq!(text, r#""\u001b[2J \u009b\u007f \u202ex\n ü""#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
