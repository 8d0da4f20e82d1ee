//! Parameters that the cmdlets of most settings share.

use crate::cmdlet::{Parameter, Pipeline};
use crate::kind::Kind;

/// How far a partner is believed.
pub(crate) const LEVELS: Kind = Kind::Choice(&["AlwaysVerifiable", "AlwaysUnverifiable", "UseSourceVerification"]);

/// `-Identity` of a Get.
pub(crate) const fn wanted(kind: Kind, help: &'static str) -> Parameter {
    Parameter::new("Identity", kind, help).at(2).of(&["Identity"]).from(Pipeline::ByName)
}

/// `-Identity` of a New.
pub(crate) const fn named(kind: Kind, help: &'static str) -> Parameter {
    Parameter::new("Identity", kind, help).required().at(2)
}

/// `-Identity` of a Set.
pub(crate) const fn changed(kind: Kind, help: &'static str) -> Parameter {
    Parameter::new("Identity", kind, help).at(2).of(&["Identity"])
}

/// `-Identity` of a Remove.
pub(crate) const fn removed(kind: Kind, help: &'static str) -> Parameter {
    Parameter::new("Identity", kind, help).required().at(2).from(Pipeline::ByName)
}

/// `-Instance` of a Set.
pub(crate) const fn instance(kind: &'static str, help: &'static str) -> Parameter {
    Parameter::new("Instance", Kind::Instance(kind), help).of(&["Instance"]).from(Pipeline::ByValue)
}

/// `-Filter` of a Get.
pub(crate) const FILTER: Parameter =
    Parameter::new("Filter", Kind::Text, "A pattern with * that the identity must fit").of(&["Filter"]);

/// `-LocalStore` of a Get.
pub(crate) const LOCAL_STORE: Parameter =
    Parameter::new("LocalStore", Kind::Switch, "Reads this machine's replica and not the central store");

/// `-Force`.
pub(crate) const FORCE: Parameter = Parameter::new("Force", Kind::Switch, "Does not ask");

/// `-InMemory` of a New.
pub(crate) const IN_MEMORY: Parameter =
    Parameter::new("InMemory", Kind::Switch, "Makes the object only; Set with -Instance keeps it");

/// `-Tenant` of the kinds that hosted organisations have.
pub(crate) const TENANT: Parameter =
    Parameter::new("Tenant", Kind::Text, "Accepted for old scripts: each organisation has a store of its own here");
