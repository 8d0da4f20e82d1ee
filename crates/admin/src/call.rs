//! A cmdlet's parameters with their values: what the binder makes and a cmdlet runs on.

use std::collections::BTreeMap;
use std::sync::Arc;

use reveille_core::SipDomain;

use crate::cmdlet::Name;
use crate::roles::Rights;
use crate::value::{Object, Value};

/// One call of one cmdlet, complete and checked against its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The cmdlet.
    pub name: Name,
    /// The parameter set; empty when there is one only.
    pub set: &'static str,
    /// Whether only to say what would be done.
    pub what_if: bool,
    /// Who calls.
    pub caller: Caller,
    pub(crate) values: BTreeMap<&'static str, Value>,
}

/// Who calls, as the server has proven it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Caller {
    /// The name that changes are recorded under.
    pub name: String,
    /// Where from: `local`, or an address.
    pub from: String,
    /// What he may do; nothing if nobody has said.
    pub rights: Arc<Rights>,
}

impl Caller {
    /// Who owns the machine: may everything.
    pub fn owner(name: impl Into<String>) -> Self {
        Self { name: name.into(), from: "local".into(), rights: Arc::new(Rights::all()) }
    }
}

impl Call {
    /// The value given for a parameter, if one was.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// All values given, by parameter.
    pub fn values(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.values.iter().map(|(name, value)| (*name, value))
    }

    /// Whether a switch or truth value was given and is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.value(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// Text that was given.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name).and_then(Value::as_text)
    }

    /// A whole number that was given.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.value(name).and_then(Value::as_int)
    }

    /// A domain that was given; the binder has read it.
    pub fn domain(&self, name: &str) -> Option<SipDomain> {
        self.text(name).and_then(|text| text.parse().ok())
    }

    /// An object that was given.
    pub fn object(&self, name: &str) -> Option<&Object> {
        self.value(name).and_then(Value::as_object)
    }
}
