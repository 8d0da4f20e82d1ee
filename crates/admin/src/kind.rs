//! What a parameter takes, and how an argument becomes it.

use reveille_core::SipDomain;
use reveille_core::settings::Scope;

use crate::value::{Object, Value};

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `$true` or `$false`, to be written out.
    Bool,
    /// One of these words, in any case.
    Choice(&'static [&'static str]),
    /// A name with its password, from `Get-Credential`.
    Credential,
    /// A SIP domain, also an FQDN.
    Domain,
    /// An object of that type, as a `Get-Cs…` cmdlet gives it.
    Instance(&'static str),
    /// A whole number within these bounds.
    Int {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// Several, or a single one.
    List(&'static Self),
    /// Several that replace what there is, or `@{Add=…;Remove=…;Replace=…}`.
    Modifier(&'static Self),
    /// Where a policy applies: as a scope, and a name by itself is a policy that is granted to users.
    PolicyScope,
    /// Where a setting applies: `global`, `site:Name`, …
    Scope,
    /// Text that is shown to nobody.
    Secret,
    /// `sip:user@domain`, also without `sip:`.
    SipAddress,
    /// A URI that begins with `sip:`.
    SipUri,
    /// On when it is named.
    Switch,
    /// A hashtable of texts, `@{Name="…"}`.
    Table,
    /// Any text.
    Text,
    /// A user: `bob`, `contoso\\bob`, `bob@contoso.com`, also with `sip:`.
    User,
    /// The name of a variable, without `$`.
    Variable,
    /// `@{Token="…";Href="…"}`.
    WebLink,
}

impl Kind {
    /// What help calls it.
    pub fn name(&self) -> String {
        match self {
            Self::Bool => "Boolean".into(),
            Self::Choice(words) => words.join(" | "),
            Self::Credential => "PSCredential".into(),
            Self::Domain => "Fqdn".into(),
            Self::Instance(of) => (*of).into(),
            Self::Int { .. } => "Int64".into(),
            Self::List(of) => format!("{}[]", of.name()),
            Self::Modifier(of) => format!("{}[] or @{{Add=…;Remove=…;Replace=…}}", of.name()),
            Self::PolicyScope | Self::Scope => "Identity".into(),
            Self::Secret => "SecureString".into(),
            Self::SipAddress => "SipAddress".into(),
            Self::SipUri => "SipUri".into(),
            Self::Switch => "SwitchParameter".into(),
            Self::Table => "Hashtable".into(),
            Self::Text => "String".into(),
            Self::User => "UserId".into(),
            Self::Variable => "VariableName".into(),
            Self::WebLink => "WebLink".into(),
        }
    }

    /// The words that are possible, for completion and help; empty when they cannot be listed.
    pub const fn words(&self) -> &'static [&'static str] {
        match self {
            Self::Bool => &["$True", "$False"],
            Self::Choice(words) => words,
            Self::List(of) | Self::Modifier(of) => of.words(),
            _ => &[],
        }
    }

    /// The argument as this kind. The sentence says what is wrong with it, without naming the parameter.
    pub fn read(&self, value: Value) -> Result<Value, String> {
        within_bounds(&value)?;
        without_controls(&value)?;
        match (self, value) {
            (Self::Bool | Self::Switch, value @ Value::Bool(_)) => Ok(value),
            (Self::Bool | Self::Switch, Value::Int(number @ (0 | 1))) => Ok(Value::Bool(number == 1)),
            (Self::Bool | Self::Switch, value) => Err(no_truth(&value)),
            (Self::Choice(words), Value::Text(text)) => {
                match words.iter().find(|word| word.eq_ignore_ascii_case(&text)) {
                    Some(word) => Ok((*word).into()),
                    None => Err(format!("\"{text}\" is not one of {}", words.join(", "))),
                }
            }
            (Self::Credential, Value::Object(object)) if object.type_name() == "PSCredential" => Ok(object.into()),
            (Self::Credential, other) => {
                Err(format!("{} is not a credential: Get-Credential makes one", quoted(&other)))
            }
            // As PowerShell has it, $null is no text; where a record can do without, that takes the property away.
            (Self::Choice(_) | Self::Domain, Value::Null) => Ok(Value::Null),
            (Self::Text, Value::Null) => Ok(Value::Text(String::new())),
            (Self::Domain, Value::Text(text)) if text.is_empty() => Ok(Value::Null),
            (Self::Domain, Value::Text(text)) => match text.parse::<SipDomain>() {
                Ok(domain) => Ok(domain.as_str().into()),
                Err(why) => Err(why.to_string()),
            },
            (Self::Instance(of), Value::Object(object)) if object.type_name().eq_ignore_ascii_case(of) => {
                Ok(object.into())
            }
            (Self::Instance(of), other) => Err(format!("{} is not a {of} object", quoted(&other))),
            (Self::Int { min, max }, Value::Int(number)) if (*min..=*max).contains(&number) => Ok(Value::Int(number)),
            (Self::Int { min, max }, Value::Text(text)) => match text.trim().parse::<i64>() {
                Ok(number) => Self::Int { min: *min, max: *max }.read(Value::Int(number)),
                Err(_) => Err(format!("\"{text}\" is not a whole number")),
            },
            (Self::Int { min, max }, other) => Err(format!("{} is not within {min} to {max}", quoted(&other))),
            (Self::List(of), value) => {
                value.into_items().into_iter().map(|item| of.read(item)).collect::<Result<_, _>>().map(Value::List)
            }
            (Self::Modifier(Self::WebLink), Value::Object(object)) if object.property("Token").is_some() => {
                Ok(Value::List(vec![Self::WebLink.read(object.into())?]))
            }
            (Self::Modifier(of), Value::Object(object)) => modifier(of, &object),
            (Self::Modifier(of), value) => Self::List(of).read(value),
            (Self::PolicyScope, Value::Text(text)) => Scope::of_policy(&text).map(|scope| scope.to_string().into()),
            (Self::Scope, Value::Text(text)) => text.parse::<Scope>().map(|scope| scope.to_string().into()),
            (Self::Secret, value @ Value::Secret(_)) => Ok(value),
            (Self::Secret, _) => {
                Err("this must be a secret: ConvertTo-SecureString or Get-Credential makes one".into())
            }
            (Self::SipAddress, Value::Text(text)) => sip_address(&text).map(Value::Text),
            (Self::User, Value::Text(text)) if text.contains(['@', ':']) => sip_address(&text).map(Value::Text),
            (Self::User, Value::Text(text)) if !text.is_empty() => Ok(Value::Text(text)),
            (Self::SipUri, Value::Text(text)) if text.to_ascii_lowercase().starts_with("sip:") => Ok(Value::Text(text)),
            (Self::SipUri, other) => Err(format!("{} is not a SIP URI: it begins with sip:", quoted(&other))),
            (Self::Table, Value::Object(object)) if object.type_name().is_empty() => {
                let texts = object.all().map(|(name, value)| (name.to_owned(), value.to_string()));
                Ok(texts.fold(Object::new(""), |table, (name, value)| table.with(name, value)).into())
            }
            (Self::Table, other) => Err(format!("{} is not a hashtable: @{{Name=\"…\"}}", quoted(&other))),
            (Self::WebLink, Value::Object(object)) => web_link(&object),
            (Self::WebLink, other) => {
                Err(format!("{} is not a web link: @{{Token=\"…\";Href=\"https://…\"}}", quoted(&other)))
            }
            (Self::Variable, Value::Text(text)) => match text.strip_prefix('$') {
                Some(name) => Err(format!("\"{text}\" is the variable's value; write its name without $: {name}")),
                None => Ok(Value::Text(text)),
            },
            (Self::Text, value @ (Value::Text(_) | Value::Int(_) | Value::Bool(_) | Value::Double(_))) => {
                Ok(Value::Text(value.to_string()))
            }
            (
                Self::Text
                | Self::Choice(_)
                | Self::Domain
                | Self::PolicyScope
                | Self::Scope
                | Self::SipAddress
                | Self::User
                | Self::Variable,
                other,
            ) => Err(format!("{} is not text", quoted(&other))),
        }
    }
}

/// The longest text of one argument, in bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The most items of one list; several calls with Add make a longer one.
const ITEMS_MAX: usize = 1000;

/// Nothing is worked on that is longer than anybody types.
fn within_bounds(value: &Value) -> Result<(), String> {
    match value {
        Value::Text(text) if text.len() > TEXT_BYTES_MAX => {
            Err(format!("this text has {} bytes, and {TEXT_BYTES_MAX} are the most", text.len()))
        }
        Value::List(items) if items.len() > ITEMS_MAX => Err(format!(
            "this list has {} items, and {ITEMS_MAX} are the most at once: @{{Add=…}} makes it longer step by step",
            items.len()
        )),
        _ => Ok(()),
    }
}

/// Whoever reads a setting later sees all of it: no text has characters that a terminal obeys (Unicode's Cc), at any
/// depth.
fn without_controls(value: &Value) -> Result<(), String> {
    match value {
        Value::Text(text) => match text.chars().find(|found| found.is_control()) {
            Some(found) => Err(format!(
                "this text holds a control character, U+{:04X}, and must be a single line without any",
                u32::from(found)
            )),
            None => Ok(()),
        },
        Value::List(items) => items.iter().try_for_each(without_controls),
        Value::Object(object) => object.all().try_for_each(|(_, value)| without_controls(value)),
        _ => Ok(()),
    }
}

/// The argument as a person would write it down.
fn quoted(value: &Value) -> String {
    match value {
        Value::Null => "$null".into(),
        Value::Text(text) => format!("\"{text}\""),
        Value::List(_) => "a list".into(),
        Value::Object(object) if object.type_name().is_empty() => "a hashtable".into(),
        Value::Object(object) => format!("a {} object", object.type_name()),
        other => format!("\"{other}\""),
    }
}

fn no_truth(value: &Value) -> String {
    match value {
        Value::Text(text) if matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no") => {
            let word = if matches!(text.to_ascii_lowercase().as_str(), "true" | "yes") { "$True" } else { "$False" };
            format!("\"{text}\" is text; write {word}")
        }
        other => format!("{} is neither $True nor $False", quoted(other)),
    }
}

/// `@{Add=…;Remove=…;Replace=…}` with each side read; Replace excludes the others.
fn modifier(of: &'static Kind, object: &Object) -> Result<Value, String> {
    let mut read = Object::new("ListModifier");
    for (name, value) in object.all() {
        let known = ["Add", "Remove", "Replace"].into_iter().find(|known| known.eq_ignore_ascii_case(name));
        let Some(known) = known else {
            return Err(format!("\"{name}\" is not one of Add, Remove, Replace"));
        };
        read.set(known, Kind::List(of).read(value.clone())?);
    }
    match (read.all().count(), read.property("Replace").is_some()) {
        (0, _) => Err("the hashtable holds none of Add, Remove, Replace".into()),
        (2.., true) => Err("Replace cannot stand beside Add or Remove".into()),
        _ => Ok(read.into()),
    }
}

/// A link of autodiscover, with both of its properties and no other.
fn web_link(object: &Object) -> Result<Value, String> {
    let text = |name: &str| match object.property(name) {
        Some(Value::Text(text)) if !text.is_empty() => Ok(text.as_str()),
        _ => Err(format!("a web link needs {name}: @{{Token=\"…\";Href=\"https://…\"}}")),
    };
    match object.properties().find(|(name, _)| !["Token", "Href"].iter().any(|it| it.eq_ignore_ascii_case(name))) {
        Some((name, _)) => Err(format!("a web link has Token and Href, and no {name}")),
        None => Ok(Object::new("WebLink").with("Token", text("Token")?).with("Href", text("Href")?).into()),
    }
}

fn sip_address(text: &str) -> Result<String, String> {
    let bare = match text.get(..4) {
        Some(scheme) if scheme.eq_ignore_ascii_case("sip:") => &text[4..],
        _ => text,
    };
    match bare.split_once('@') {
        Some((user, domain)) if !user.is_empty() && domain.parse::<SipDomain>().is_ok() => Ok(format!("sip:{bare}")),
        _ => Err(format!("\"{text}\" is not a SIP address: sip:user@domain")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_what_the_parameter_takes_or_say_why_not() {
        const LEVELS: Kind = Kind::Choice(&["AlwaysVerifiable", "UseSourceVerification"]);
        const PORT: Kind = Kind::Int { min: 1, max: 65_535 };
        let hashtable = |name: &str| Value::from(Object::new("").with(name, "http:"));
        for (kind, value, expected) in [
            (Kind::Bool, Value::from(true), Ok(Value::from(true))),
            (Kind::Bool, "true".into(), Err("write $True")),
            (Kind::Bool, Value::Null, Err("$null is neither")),
            (LEVELS, "usesourceverification".into(), Ok("UseSourceVerification".into())),
            (LEVELS, "Sometimes".into(), Err("\"Sometimes\" is not one of AlwaysVerifiable")),
            (PORT, "443".into(), Ok(Value::Int(443))),
            (PORT, Value::Int(0), Err("\"0\" is not within 1 to 65535")),
            (Kind::Domain, "Push.Lync.com".into(), Ok("push.lync.com".into())),
            (Kind::Domain, Value::Null, Ok(Value::Null)),
            (LEVELS, Value::Null, Ok(Value::Null)),
            (Kind::Text, Value::Null, Ok("".into())),
            (Kind::Scope, "SITE:Redmond".into(), Ok("site:Redmond".into())),
            (Kind::Scope, "Redmond".into(), Err("is not a scope")),
            (Kind::PolicyScope, "Travellers".into(), Ok("tag:Travellers".into())),
            (Kind::PolicyScope, "Global".into(), Ok("global".into())),
            (Kind::Table, hashtable("Domain"), Ok(Object::new("").with("Domain", "http:").into())),
            (Kind::Table, "Domain".into(), Err("is not a hashtable")),
            (Kind::Modifier(&Kind::WebLink), hashtable("Token"), Err("a web link needs Href")),
            (Kind::WebLink, hashtable("Link"), Err("and no Link")),
            (Kind::SipUri, "push.lync.com".into(), Err("begins with sip:")),
            (Kind::SipAddress, "kenmyer@litwareinc.com".into(), Ok("sip:kenmyer@litwareinc.com".into())),
            (Kind::SipAddress, "kenmyer".into(), Err("sip:user@domain")),
            (Kind::User, "kenmyer".into(), Ok("kenmyer".into())),
            (Kind::User, "kenmyer@litwareinc.com".into(), Ok("sip:kenmyer@litwareinc.com".into())),
            (Kind::User, "sip:kenmyer".into(), Err("sip:user@domain")),
            (Kind::List(&Kind::Text), "one".into(), Ok(vec!["one"].into())),
            (Kind::Modifier(&Kind::Text), "one".into(), Ok(vec!["one"].into())),
            (
                Kind::Modifier(&Kind::Text),
                hashtable("remove"),
                Ok(Object::new("ListModifier").with("Remove", vec!["http:"]).into()),
            ),
            (Kind::Modifier(&Kind::Text), hashtable("drop"), Err("\"drop\" is not one of Add, Remove, Replace")),
            (Kind::Text, "Grüße \u{1f44b}".into(), Ok("Grüße \u{1f44b}".into())),
            (Kind::Text, "x\u{1b}[31m".into(), Err("holds a control character, U+001B, and must be a single line")),
            (Kind::Text, "two\nlines".into(), Err("U+000A")),
            (Kind::Text, "\u{9b}".into(), Err("U+009B")),
            (Kind::Text, "\u{7f}".into(), Err("U+007F")),
            (Kind::User, "ken\0".into(), Err("U+0000")),
            (Kind::Modifier(&Kind::Text), Object::new("").with("Add", vec!["a\u{7}"]).into(), Err("U+0007")),
            (Kind::Table, Object::new("").with("Domain", "a\u{8}").into(), Err("U+0008")),
            (Kind::Instance("X"), Object::new("X").with("Comment", "\u{85}").into(), Err("U+0085")),
            (Kind::Variable, "$log".into(), Err("without $: log")),
            (Kind::Text, "x".repeat(65_537).into(), Err("this text has 65537 bytes, and 65536 are the most")),
            (Kind::List(&Kind::Text), vec!["x"; 1001].into(), Err("this list has 1001 items, and 1000 are the most")),
            (
                Kind::Modifier(&Kind::Text),
                Object::new("").with("Add", vec!["x"; 1001]).into(),
                Err("and 1000 are the most at once"),
            ),
        ] {
            match (kind.read(value), expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{kind:?}"),
                (Err(said), Err(part)) => assert!(said.contains(part), "{kind:?}: {said}"),
                (read, expected) => panic!("{kind:?}: {read:?} and not {expected:?}"),
            }
        }
    }
}
