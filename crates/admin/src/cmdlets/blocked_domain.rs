//! `CsBlockedDomain`: a domain that nothing goes to or comes from (lync.md §1.3).

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::cmdlet;
use crate::family::parameters::{FILTER, FORCE, IN_MEMORY, LOCAL_STORE, changed, instance, named, removed, wanted};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &["Identity", "Domain", "Comment"];
const FAMILY: Family = Family { mirror: Some("Domain"), ..Family::new("CsBlockedDomain", Area::Topology, OUTPUTS) };
const WHICH: &str = "The domain";
const INSTANCE: Parameter = instance("BlockedDomain", "The object, as Get-CsBlockedDomain gives it");
const COMMENT: Parameter = Parameter::new("Comment", Kind::Text, "For people");
const DOMAIN: Parameter = Parameter::new("Domain", Kind::Domain, "The domain; the same as Identity");

cmdlet!(
    /// `Get-CsBlockedDomain`
    Get of FAMILY {
        summary: "Shows blocked domains",
        parameters: &[wanted(Kind::Domain, WHICH), FILTER, LOCAL_STORE],
    }
);

cmdlet!(
    /// `New-CsBlockedDomain`
    New of FAMILY {
        summary: "Blocks a domain in both directions",
        parameters: &[
            named(Kind::Domain, WHICH).of(&["Identity"]),
            DOMAIN.required().of(&["ParentAndRelativeKey"]),
            COMMENT,
            IN_MEMORY,
            FORCE,
        ],
        sets: &["Identity", "ParentAndRelativeKey"],
        notes: &["A domain on the allow list must be taken off it first."],
        examples: &[(
            "New-CsBlockedDomain -Identity fabrikam.com -Comment \"Floods us\"",
            "Drops whatever comes from there or goes there.",
        )],
    }
);

cmdlet!(
    /// `Set-CsBlockedDomain`
    Set of FAMILY {
        summary: "Changes the comment of a blocked domain",
        parameters: &[changed(Kind::Domain, WHICH), INSTANCE, COMMENT, FORCE],
    }
);

cmdlet!(
    /// `Remove-CsBlockedDomain`
    Remove of FAMILY {
        summary: "Takes a domain off the block list",
        parameters: &[removed(Kind::Domain, WHICH), FORCE],
    }
);
