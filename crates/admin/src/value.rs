//! What cmdlets take and give: values and objects, as the shell holds them and as JSON carries them.
//!
//! An object is a JSON object whose properties keep their order. Its first member `PSTypeName` is the name of its type,
//! and members that begin with `@` are there for programs and are not shown.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, SerializeSeq as _, Serializer};

/// One value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// Nothing, `$null`.
    #[default]
    Null,
    /// `$true` or `$false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Double(f64),
    /// Text.
    Text(String),
    /// Text that is shown to nobody; it travels to the server and no further.
    Secret(Secret),
    /// Several values in order.
    List(Vec<Self>),
    /// Named properties in order.
    Object(Object),
}

impl Value {
    /// The text, if it is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The truth value, if it is one.
    pub const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The whole number, if it is one.
    pub const fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub const fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The values of a list; of anything else itself; of nothing none.
    pub fn into_items(self) -> Vec<Self> {
        match self {
            Self::Null => Vec::new(),
            Self::List(items) => items,
            one => vec![one],
        }
    }

    /// What a person calls this kind of value.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "Boolean",
            Self::Int(_) => "Int64",
            Self::Double(_) => "Double",
            Self::Text(_) => "String",
            Self::Secret(_) => "SecureString",
            Self::List(_) => "Object[]",
            Self::Object(object) => &object.type_name,
        }
    }
}

/// As PowerShell writes a value into text: `True`, numbers, lists with blanks between.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(number) => write!(f, "{number}"),
            Self::Double(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
            Self::Secret(_) => f.write_str("System.Security.SecureString"),
            Self::List(items) => items.iter().enumerate().try_for_each(|(index, item)| match index {
                0 => write!(f, "{item}"),
                _ => write!(f, " {item}"),
            }),
            Self::Object(object) => write!(f, "{object}"),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Object> for Value {
    fn from(value: Object) -> Self {
        Self::Object(value)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Text that neither `Debug` nor the shell shows. It is serialised, since it must reach the server.
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who has to use it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Named properties in order. Names are the same whatever their case.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    type_name: String,
    properties: Vec<(String, Value)>,
}

impl Object {
    /// An object of that type without properties.
    pub fn new(type_name: impl Into<String>) -> Self {
        Self { type_name: type_name.into(), properties: Vec::new() }
    }

    /// What it is, for instance `HostingProvider`; empty if nobody has said.
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// The object with one property more, or another value for one that it has.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a property where it stands, or adds it at the end.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.properties.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            Some((_, known)) => *known = value,
            None => self.properties.push((name, value)),
        }
    }

    /// The property of that name.
    pub fn property(&self, name: &str) -> Option<&Value> {
        self.properties.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// All properties that people see, in order.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.all().filter(|(name, _)| !name.starts_with('@'))
    }

    /// The properties that the default display shows: all but those that `@hidden` names.
    pub fn displayed(&self) -> impl Iterator<Item = (&str, &Value)> {
        let hidden = self.property(HIDDEN);
        let is_hidden = move |name: &str| match hidden {
            Some(Value::List(names)) => {
                names.iter().any(|known| known.as_text().is_some_and(|known| known.eq_ignore_ascii_case(name)))
            }
            _ => false,
        };
        self.properties().filter(move |(name, _)| !is_hidden(name))
    }

    /// All properties, also those that only programs read.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// As PowerShell writes an object into text: `@{Name=value; …}`; one with an identity is called by it.
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Value::Text(text)) = self.property(AS_TEXT) {
            return f.write_str(text);
        }
        f.write_str("@{")?;
        for (index, (name, value)) in self.properties().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{name}={value}")?;
        }
        f.write_str("}")
    }
}

/// The most properties of an object that is read.
const PROPERTIES_MAX: usize = 1000;
/// The member that names what the default display leaves out.
pub(crate) const HIDDEN: &str = "@hidden";
/// The member that names an object's type.
const TYPE: &str = "PSTypeName";
/// The hidden property that an object is written as, where it stands within another or within text.
pub const AS_TEXT: &str = "@text";
/// The member around a secret.
const SECRET: &str = "@secret";

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Double(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Secret(secret) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry(SECRET, &secret.0)?;
                map.end()
            }
            Self::List(items) => {
                let mut sequence = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| sequence.serialize_element(item))?;
                sequence.end()
            }
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.type_name.is_empty() {
            map.serialize_entry(TYPE, &self.type_name)?;
        }
        for (name, value) in &self.properties {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(Value::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(Value::Int(value))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
                i64::try_from(value).map(Value::Int).map_err(|_| E::custom("a number above 2^63"))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(Value::Double(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(Value::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = sequence.next_element()? {
                    items.push(item);
                }
                Ok(Value::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut object = Object::default();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    match (name.as_str(), value) {
                        (SECRET, Value::Text(text)) => return Ok(Value::Secret(Secret(text))),
                        (TYPE, Value::Text(text)) => object.type_name = text,
                        // Each name is looked for among all before it.
                        (..) if object.properties.len() >= PROPERTIES_MAX => {
                            let fault = format!("an object with more than {PROPERTIES_MAX} properties");
                            return Err(de::Error::custom(fault));
                        }
                        (_, value) => object.set(name, value),
                    }
                }
                Ok(Value::Object(object))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Object(object) => Ok(object),
            other => Err(de::Error::custom(format!("{} where an object should be", other.type_name()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_travels_with_its_type_its_order_and_what_is_hidden() {
        let object = Object::new("HostingProvider")
            .with("ProxyFqdn", "sipfed.online.lync.com")
            .with("Enabled", true)
            .with("@version", 7i64);
        let text = serde_json::to_string(&Value::from(object.clone())).unwrap();
        assert_eq!(
            text,
            r#"{"PSTypeName":"HostingProvider","ProxyFqdn":"sipfed.online.lync.com","Enabled":true,"@version":7}"#
        );
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), Value::Object(object.clone()));
        assert_eq!(object.properties().map(|(name, _)| name).collect::<Vec<_>>(), ["ProxyFqdn", "Enabled"]);
        assert_eq!(object.property("enabled"), Some(&Value::Bool(true)));
        let brief = object.with("@hidden", vec!["enabled"]);
        assert_eq!(brief.displayed().map(|(name, _)| name).collect::<Vec<_>>(), ["ProxyFqdn"]);
    }

    #[test]
    fn an_object_with_more_properties_than_any_has_is_not_read() {
        let members = |count: usize| (0..count).map(|index| format!("\"p{index}\":1")).collect::<Vec<_>>().join(",");
        assert!(serde_json::from_str::<Object>(&format!("{{{}}}", members(1000))).is_ok());
        let fault = serde_json::from_str::<Object>(&format!("{{{}}}", members(1001))).unwrap_err().to_string();
        assert!(fault.contains("more than 1000 properties"), "{fault}");
    }

    #[test]
    fn a_secret_travels_and_is_not_shown() {
        let secret = Value::Secret(Secret::new("ken-9-stars"));
        assert!(!format!("{secret:?} {secret}").contains("ken-9-stars"));
        let text = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), secret);
    }

    #[test]
    fn values_read_as_powershell_writes_them_into_text() {
        let list = Value::from(vec!["a", "b"]);
        assert_eq!(list.to_string(), "a b");
        assert_eq!(Value::from(true).to_string(), "True");
        let object = Object::new("").with("A", 1i64).with("B", Value::Null);
        assert_eq!(Value::from(object.clone()).to_string(), "@{A=1; B=}");
        assert_eq!(Value::from(object.with(AS_TEXT, "both")).to_string(), "both");
    }
}
