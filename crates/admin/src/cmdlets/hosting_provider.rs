//! `CsHostingProvider`: someone else's edge that carries the domains of many organisations (lync.md §1.2).

use crate::cmdlet::{About, Area, Name, Parameter, Verb};
use crate::family::Family;
use crate::family::parameters::{
    CHANGE, FILTER, FIND, FORCE, IN_MEMORY, LEVELS, LOCAL_STORE, changed, cmdlet, instance, named, removed, wanted,
};
use crate::kind::Kind;

const NOUN: &str = "CsHostingProvider";
const OUTPUTS: &[&str] = &[
    "Identity",
    "Name",
    "ProxyFqdn",
    "VerificationLevel",
    "Enabled",
    "EnabledSharedAddressSpace",
    "HostsOCSUsers",
    "IsLocal",
    "AutodiscoverUrl",
];
const FAMILY: Family =
    Family { hidden: &["SipClientPort"], mirror: Some("Name"), ..Family::new("HostingProvider", OUTPUTS) };
const INSTANCE: Parameter = instance("HostingProvider", "The provider, as Get-CsHostingProvider gives it");
const AUTODISCOVER: Parameter = Parameter::new("AutodiscoverUrl", Kind::Text, "Where its clients find it");
const SHARED: Parameter =
    Parameter::new("EnabledSharedAddressSpace", Kind::Bool, "Whether it shares our address space").or("False");
const HOSTS: Parameter =
    Parameter::new("HostsOCSUsers", Kind::Bool, "Whether it hosts users of the same product").or("False");
const LOCAL: Parameter = Parameter::new("IsLocal", Kind::Bool, "Whether it is our own").or("False");
const LEVEL: Parameter = Parameter::new("VerificationLevel", LEVELS, "How far it is believed").or("AlwaysVerifiable");
const PORT: Parameter =
    Parameter::new("SipClientPort", Kind::Int { min: 1, max: 65_535 }, "Where its clients connect").or("443");

cmdlet!(
    /// `Get-CsHostingProvider`
    Get,
    FAMILY,
    get,
    About {
        name: Name::new(Verb::Get, NOUN),
        summary: "Shows hosting providers",
        parameters: &[wanted(Kind::Text, "The provider's name").at(1), FILTER, LOCAL_STORE],
        sets: FIND,
        outputs: OUTPUTS,
        area: Area::Topology,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `New-CsHostingProvider`
    New,
    FAMILY,
    create,
    About {
        name: Name::new(Verb::New, NOUN),
        summary: "Makes a hosting provider known",
        description: "A domain on the allow list whose SRV record leads to the provider's ProxyFqdn is carried by it.",
        parameters: &[
            named(Kind::Text, "A name of your choice, unique among hosting and public providers"),
            Parameter::new("Enabled", Kind::Bool, "Whether it is used").required().or("False"),
            Parameter::new(
                "ProxyFqdn",
                Kind::Domain,
                "Its edge, reached on 5061; its certificate must hold this name. Cannot be changed later",
            )
            .required(),
            LEVEL,
            AUTODISCOVER,
            SHARED,
            HOSTS,
            LOCAL,
            PORT,
            IN_MEMORY,
            FORCE,
        ],
        outputs: OUTPUTS,
        area: Area::Topology,
        changes: true,
        notes: &[
            "At most one provider per ProxyFqdn, hosting and public ones together.",
            "Not possible while the Access Edge uses a default route.",
        ],
        examples: &[(
            "New-CsHostingProvider -Identity \"LyncOnline\" -Enabled $True -ProxyFqdn \"sipfed.online.lync.com\" -VerificationLevel UseSourceVerification",
            "The provider of the documents' push recipe.",
        )],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Set-CsHostingProvider`
    Set,
    FAMILY,
    change,
    About {
        name: Name::new(Verb::Set, NOUN),
        summary: "Changes a hosting provider",
        parameters: &[
            changed(Kind::Text, "The provider's name"),
            INSTANCE,
            Parameter::new("Enabled", Kind::Bool, "Whether it is used").or("False"),
            LEVEL,
            AUTODISCOVER,
            SHARED,
            HOSTS,
            LOCAL,
            PORT,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Topology,
        changes: true,
        notes: &["The ProxyFqdn of a provider is for life: remove it and make a new one."],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Remove-CsHostingProvider`
    Remove,
    FAMILY,
    remove,
    About {
        name: Name::new(Verb::Remove, NOUN),
        summary: "Removes a hosting provider",
        parameters: &[removed(Kind::Text, "The provider's name"), FORCE],
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);

const SWITCHED: &[Parameter] = &[
    changed(Kind::Text, "The provider's name"),
    INSTANCE,
    Parameter::new("PassThru", Kind::Switch, "Gives the provider as it is then"),
    FORCE,
];

cmdlet!(
    /// `Enable-CsHostingProvider`
    Enable,
    FAMILY,
    switch(true),
    About {
        name: Name::new(Verb::Enable, NOUN),
        summary: "Switches a hosting provider on",
        parameters: SWITCHED,
        sets: CHANGE,
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Disable-CsHostingProvider`
    Disable,
    FAMILY,
    switch(false),
    About {
        name: Name::new(Verb::Disable, NOUN),
        summary: "Switches a hosting provider off and keeps its record",
        parameters: SWITCHED,
        sets: CHANGE,
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);
