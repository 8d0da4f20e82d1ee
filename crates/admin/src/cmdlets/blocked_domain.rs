//! `CsBlockedDomain`: a domain that nothing goes to or comes from (lync.md §1.3).

use crate::cmdlet::{About, Area, Name, Parameter, Verb};
use crate::family::Family;
use crate::family::parameters::{
    CHANGE, FILTER, FIND, FORCE, IN_MEMORY, LOCAL_STORE, changed, cmdlet, instance, named, removed, wanted,
};
use crate::kind::Kind;

const NOUN: &str = "CsBlockedDomain";
const OUTPUTS: &[&str] = &["Identity", "Domain", "Comment"];
const FAMILY: Family = Family { mirror: Some("Domain"), ..Family::new("BlockedDomain", OUTPUTS) };
const INSTANCE: Parameter = instance("BlockedDomain", "The object, as Get-CsBlockedDomain gives it");
const COMMENT: Parameter = Parameter::new("Comment", Kind::Text, "For people");
const DOMAIN: Parameter = Parameter::new("Domain", Kind::Domain, "The domain; the same as Identity");

cmdlet!(
    /// `Get-CsBlockedDomain`
    Get,
    FAMILY,
    get,
    About {
        name: Name::new(Verb::Get, NOUN),
        summary: "Shows blocked domains",
        parameters: &[
            wanted(Kind::Domain, "The domain"),
            FILTER,
            LOCAL_STORE,
        ],
        sets: FIND,
        outputs: OUTPUTS,
        area: Area::Topology,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `New-CsBlockedDomain`
    New,
    FAMILY,
    create,
    About {
        name: Name::new(Verb::New, NOUN),
        summary: "Blocks a domain in both directions",
        parameters: &[
            named(Kind::Domain, "The domain").of(&["Identity"]),
            DOMAIN.required().of(&["ParentAndRelativeKey"]),
            COMMENT,
            IN_MEMORY,
            FORCE,
        ],
        sets: &["Identity", "ParentAndRelativeKey"],
        outputs: OUTPUTS,
        area: Area::Topology,
        changes: true,
        notes: &["A domain on the allow list must be taken off it first."],
        examples: &[("New-CsBlockedDomain -Identity fabrikam.com -Comment \"Floods us\"", "Drops whatever comes from there or goes there.")],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Set-CsBlockedDomain`
    Set,
    FAMILY,
    change,
    About {
        name: Name::new(Verb::Set, NOUN),
        summary: "Changes the comment of a blocked domain",
        parameters: &[
            changed(Kind::Domain, "The domain"),
            INSTANCE,
            COMMENT,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Remove-CsBlockedDomain`
    Remove,
    FAMILY,
    remove,
    About {
        name: Name::new(Verb::Remove, NOUN),
        summary: "Takes a domain off the block list",
        parameters: &[
            removed(Kind::Domain, "The domain"),
            FORCE,
        ],
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);
