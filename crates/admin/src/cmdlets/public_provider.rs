//! `CsPublicProvider`: a public messaging service that carries domains (lync.md §1.2).

use crate::cmdlet::{About, Area, Name, Parameter, Verb};
use crate::family::Family;
use crate::family::parameters::{
    CHANGE, FILTER, FIND, FORCE, IN_MEMORY, LEVELS, LOCAL_STORE, changed, cmdlet, instance, named, removed, wanted,
};
use crate::kind::Kind;

const NOUN: &str = "CsPublicProvider";
const OUTPUTS: &[&str] = &["Identity", "Name", "ProxyFqdn", "VerificationLevel", "Enabled", "IconUrl"];
const FAMILY: Family = Family {
    hidden: HIDDEN,
    mirror: Some("Name"),
    fresh: &[("VerificationLevel", "UseSourceVerification")],
    ..Family::new("PublicProvider", OUTPUTS)
};
const HIDDEN: &[&str] = &[
    "EnableSkypeDirectorySearch",
    "EnableSkypeIdRouting",
    "NameDecorationDomain",
    "NameDecorationExcludedDomainList",
    "NameDecorationRoutingDomain",
];
const INSTANCE: Parameter = instance("PublicProvider", "The object, as Get-CsPublicProvider gives it");
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
    Get,
    FAMILY,
    get,
    About {
        name: Name::new(Verb::Get, NOUN),
        summary: "Shows public providers",
        parameters: &[
            wanted(Kind::Text, "The provider's name"),
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
    /// `New-CsPublicProvider`
    New,
    FAMILY,
    create,
    About {
        name: Name::new(Verb::New, NOUN),
        summary: "Makes a public provider known",
        parameters: &[
            named(Kind::Text, "The provider's name"),
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
        outputs: OUTPUTS,
        area: Area::Topology,
        changes: true,
        notes: &["At most one provider per ProxyFqdn, hosting and public ones together.", "Not possible while the Access Edge uses a default route."],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Set-CsPublicProvider`
    Set,
    FAMILY,
    change,
    About {
        name: Name::new(Verb::Set, NOUN),
        summary: "Changes a public provider",
        parameters: &[
            changed(Kind::Text, "The provider's name"),
            INSTANCE,
            ENABLED,
            VERIFICATION_LEVEL,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Remove-CsPublicProvider`
    Remove,
    FAMILY,
    remove,
    About {
        name: Name::new(Verb::Remove, NOUN),
        summary: "Removes a public provider",
        parameters: &[
            removed(Kind::Text, "The provider's name"),
            FORCE,
        ],
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Enable-CsPublicProvider`
    Enable,
    FAMILY,
    switch(true),
    About {
        name: Name::new(Verb::Enable, NOUN),
        summary: "Switches a public provider on",
        parameters: &[
            changed(Kind::Text, "The provider's name"),
            INSTANCE,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Disable-CsPublicProvider`
    Disable,
    FAMILY,
    switch(false),
    About {
        name: Name::new(Verb::Disable, NOUN),
        summary: "Switches a public provider off and keeps its record",
        parameters: &[
            changed(Kind::Text, "The provider's name"),
            INSTANCE,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);
