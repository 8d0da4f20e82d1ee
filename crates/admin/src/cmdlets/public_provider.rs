//! `CsPublicProvider`: a public messaging service that carries domains (lync.md §1.2).

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::cmdlet;
use crate::family::parameters::{
    FILTER, FORCE, IN_MEMORY, LEVELS, LOCAL_STORE, changed, instance, named, removed, wanted,
};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &["Identity", "Name", "ProxyFqdn", "VerificationLevel", "Enabled", "IconUrl"];
const FAMILY: Family = Family {
    hidden: HIDDEN,
    mirror: Some("Name"),
    fresh: &[("VerificationLevel", "UseSourceVerification")],
    ..Family::new("CsPublicProvider", Area::Topology, OUTPUTS)
};
const HIDDEN: &[&str] = &[
    "EnableSkypeDirectorySearch",
    "EnableSkypeIdRouting",
    "NameDecorationDomain",
    "NameDecorationExcludedDomainList",
    "NameDecorationRoutingDomain",
];
const WHICH: &str = "The provider's name";
const INSTANCE: Parameter = instance("PublicProvider", "The object, as Get-CsPublicProvider gives it");
const SWITCHED: &[Parameter] = &[changed(Kind::Text, WHICH), INSTANCE, FORCE];
const ENABLED: Parameter = Parameter::new("Enabled", Kind::Bool, "Whether it is used").or("False");
const ENABLE_SKYPE_DIRECTORY_SEARCH: Parameter =
    Parameter::new("EnableSkypeDirectorySearch", Kind::Bool, "Whether its people may be searched").or("False");
const ENABLE_SKYPE_ID_ROUTING: Parameter =
    Parameter::new("EnableSkypeIdRouting", Kind::Bool, "Whether its people may be reached by its own names")
        .or("False");
const ICON_URL: Parameter = Parameter::new("IconUrl", Kind::Text, "A picture for clients");
const NAME_DECORATION_DOMAIN: Parameter =
    Parameter::new("NameDecorationDomain", Kind::Text, "The domain that names are decorated with");
const NAME_DECORATION_EXCLUDED_DOMAIN_LIST: Parameter =
    Parameter::new("NameDecorationExcludedDomainList", Kind::Text, "Domains whose names are not decorated");
const NAME_DECORATION_ROUTING_DOMAIN: Parameter =
    Parameter::new("NameDecorationRoutingDomain", Kind::Text, "The domain that decorated names are sent to");
const PROXY_FQDN: Parameter = Parameter::new(
    "ProxyFqdn",
    Kind::Domain,
    "Its edge, reached on 5061; its certificate must hold this name. Cannot be changed later",
);
const VERIFICATION_LEVEL: Parameter = Parameter::new("VerificationLevel", LEVELS, "How far it is believed");

cmdlet!(
    /// `Get-CsPublicProvider`
    Get of FAMILY {
        summary: "Shows public providers",
        parameters: &[wanted(Kind::Text, WHICH), FILTER, LOCAL_STORE],
    }
);

cmdlet!(
    /// `New-CsPublicProvider`
    New of FAMILY {
        summary: "Makes a public provider known",
        parameters: &[
            named(Kind::Text, WHICH),
            ENABLED.required(),
            PROXY_FQDN.required(),
            ENABLE_SKYPE_DIRECTORY_SEARCH,
            ENABLE_SKYPE_ID_ROUTING,
            ICON_URL,
            NAME_DECORATION_DOMAIN,
            NAME_DECORATION_EXCLUDED_DOMAIN_LIST,
            NAME_DECORATION_ROUTING_DOMAIN,
            VERIFICATION_LEVEL,
            IN_MEMORY,
            FORCE,
        ],
        notes: &[
            "At most one provider per ProxyFqdn, hosting and public ones together.",
            "Not possible while the Access Edge uses a default route.",
        ],
    }
);

cmdlet!(
    /// `Set-CsPublicProvider`
    Set of FAMILY {
        summary: "Changes a public provider",
        parameters: &[
            changed(Kind::Text, WHICH),
            INSTANCE,
            ENABLED,
            VERIFICATION_LEVEL,
            FORCE,
        ],
    }
);

cmdlet!(
    /// `Remove-CsPublicProvider`
    Remove of FAMILY {
        summary: "Removes a public provider",
        parameters: &[removed(Kind::Text, WHICH), FORCE],
    }
);

cmdlet!(
    /// `Enable-CsPublicProvider`
    Enable of FAMILY {
        summary: "Switches a public provider on",
        parameters: SWITCHED,
    }
);

cmdlet!(
    /// `Disable-CsPublicProvider`
    Disable of FAMILY {
        summary: "Switches a public provider off and keeps its record",
        parameters: SWITCHED,
    }
);
