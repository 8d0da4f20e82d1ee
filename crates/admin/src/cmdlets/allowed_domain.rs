//! `CsAllowedDomain`: a domain with which federation is allowed (lync.md §1.3).

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::{cmdlet, joined};
use crate::family::parameters::{
    FILTER, FORCE, IN_MEMORY, LEVELS, LOCAL_STORE, changed, instance, named, removed, wanted,
};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &["Identity", "Domain", "ProxyFqdn", "VerificationLevel", "Comment", "MarkForMonitoring"];
const FAMILY: Family = Family {
    fresh: &[("VerificationLevel", "UseSourceVerification")],
    mirror: Some("Domain"),
    ..Family::new("CsAllowedDomain", Area::Topology, OUTPUTS)
};
const WHICH: &str = "The domain";
const INSTANCE: Parameter = instance("AllowedDomain", "The object, as Get-CsAllowedDomain gives it");
/// The properties that New and Set take.
const PROPERTIES: &[Parameter] = &[
    Parameter::new("Comment", Kind::Text, "For people"),
    Parameter::new(
        "MarkForMonitoring",
        Kind::Bool,
        "Whether the road to it is tested on the schedule of Test-CsFederatedPartner",
    )
    .or("False"),
    Parameter::new(
        "ProxyFqdn",
        Kind::Domain,
        "The partner's edge, reached on 5061; without it the domain's SRV record leads there",
    ),
    Parameter::new("VerificationLevel", LEVELS, "How far the partner is believed").or("UseSourceVerification"),
];
const DOMAIN: Parameter = Parameter::new("Domain", Kind::Domain, "The domain; the same as Identity");

cmdlet!(
    /// `Get-CsAllowedDomain`
    Get of FAMILY {
        summary: "Shows allowed domains",
        parameters: &[wanted(Kind::Domain, WHICH), FILTER, LOCAL_STORE],
    }
);

cmdlet!(
    /// `New-CsAllowedDomain`
    New of FAMILY {
        summary: "Allows federation with a domain",
        description: "The push service's domain must be on this list, unless partners may be discovered. With \
                      -ProxyFqdn it is a direct partner: the Access Edge goes to that host and looks up nothing.",
        parameters: joined![
            [named(Kind::Domain, WHICH).of(&["Identity"]), DOMAIN.required().of(&["ParentAndRelativeKey"])],
            PROPERTIES,
            [IN_MEMORY, FORCE],
        ],
        sets: &["Identity", "ParentAndRelativeKey"],
        notes: &[
            "A domain is on the allow list or on the block list, not on both.",
            "An FQDN is the ProxyFqdn of a provider or of allowed domains, not of both.",
        ],
        examples: &[
            (
                "New-CsAllowedDomain -Identity \"push.lync.com\"",
                "Allows the push service of the documents; its SRV record leads to the hosting provider.",
            ),
            ("New-CsAllowedDomain -Identity push.example.net -ProxyFqdn edge.push.example.net", "A direct partner."),
        ],
    }
);

cmdlet!(
    /// `Set-CsAllowedDomain`
    Set of FAMILY {
        summary: "Changes an allowed domain",
        parameters: joined![[changed(Kind::Domain, WHICH), INSTANCE], PROPERTIES, [FORCE]],
        notes: &["-ProxyFqdn $null has the domain found by its SRV record again."],
    }
);

cmdlet!(
    /// `Remove-CsAllowedDomain`
    Remove of FAMILY {
        summary: "Takes a domain off the allow list",
        parameters: &[removed(Kind::Domain, WHICH), FORCE],
    }
);
