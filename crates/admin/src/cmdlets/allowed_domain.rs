//! `CsAllowedDomain`: a domain with which federation is allowed (lync.md §1.3).

use crate::cmdlet::{About, Area, Name, Parameter, Verb};
use crate::family::Family;
use crate::family::parameters::{
    CHANGE, FILTER, FIND, FORCE, IN_MEMORY, LEVELS, LOCAL_STORE, changed, cmdlet, instance, named, removed, wanted,
};
use crate::kind::Kind;

const NOUN: &str = "CsAllowedDomain";
const OUTPUTS: &[&str] = &["Identity", "Domain", "ProxyFqdn", "VerificationLevel", "Comment", "MarkForMonitoring"];
const FAMILY: Family = Family {
    fresh: &[("VerificationLevel", "UseSourceVerification")],
    mirror: Some("Domain"),
    ..Family::new("AllowedDomain", OUTPUTS)
};
const INSTANCE: Parameter = instance("AllowedDomain", "The object, as Get-CsAllowedDomain gives it");
const COMMENT: Parameter = Parameter::new("Comment", Kind::Text, "For people");
const DOMAIN: Parameter = Parameter::new("Domain", Kind::Domain, "The domain; the same as Identity");
const MARK_FOR_MONITORING: Parameter = Parameter::new(
    "MarkForMonitoring",
    Kind::Bool,
    "Whether the road to it is tested on the schedule of Test-CsFederatedPartner",
)
.or("False");
const PROXY_FQDN: Parameter = Parameter::new(
    "ProxyFqdn",
    Kind::Domain,
    "The partner's edge, reached on 5061; without it the domain's SRV record leads there",
);
const VERIFICATION_LEVEL: Parameter =
    Parameter::new("VerificationLevel", LEVELS, "How far the partner is believed").or("UseSourceVerification");

cmdlet!(
    /// `Get-CsAllowedDomain`
    Get,
    FAMILY,
    get,
    About {
        name: Name::new(Verb::Get, NOUN),
        summary: "Shows allowed domains",
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
    /// `New-CsAllowedDomain`
    New,
    FAMILY,
    create,
    About {
        name: Name::new(Verb::New, NOUN),
        summary: "Allows federation with a domain",
        description: "The push service's domain must be on this list, unless partners may be discovered. With -ProxyFqdn it is a direct partner: the Access Edge goes to that host and looks up nothing.",
        parameters: &[
            named(Kind::Domain, "The domain").of(&["Identity"]),
            DOMAIN.required().of(&["ParentAndRelativeKey"]),
            COMMENT,
            MARK_FOR_MONITORING,
            PROXY_FQDN,
            VERIFICATION_LEVEL,
            IN_MEMORY,
            FORCE,
        ],
        sets: &["Identity", "ParentAndRelativeKey"],
        outputs: OUTPUTS,
        area: Area::Topology,
        changes: true,
        notes: &["A domain is on the allow list or on the block list, not on both.", "An FQDN is the ProxyFqdn of a provider or of allowed domains, not of both."],
        examples: &[("New-CsAllowedDomain -Identity \"push.lync.com\"", "Allows the push service of the documents; its SRV record leads to the hosting provider."), ("New-CsAllowedDomain -Identity push.example.net -ProxyFqdn edge.push.example.net", "A direct partner.")],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Set-CsAllowedDomain`
    Set,
    FAMILY,
    change,
    About {
        name: Name::new(Verb::Set, NOUN),
        summary: "Changes an allowed domain",
        parameters: &[
            changed(Kind::Domain, "The domain"),
            INSTANCE,
            COMMENT,
            MARK_FOR_MONITORING,
            PROXY_FQDN,
            VERIFICATION_LEVEL,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Topology,
        changes: true,
        notes: &["-ProxyFqdn $null has the domain found by its SRV record again."],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Remove-CsAllowedDomain`
    Remove,
    FAMILY,
    remove,
    About {
        name: Name::new(Verb::Remove, NOUN),
        summary: "Takes a domain off the allow list",
        parameters: &[
            removed(Kind::Domain, "The domain"),
            FORCE,
        ],
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);
