//! `CsHostingProvider`: someone else's edge that carries the domains of many organisations (lync.md §1.2).

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::{cmdlet, joined};
use crate::family::parameters::{
    FILTER, FORCE, IN_MEMORY, LEVELS, LOCAL_STORE, changed, instance, named, removed, wanted,
};
use crate::kind::Kind;

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
const FAMILY: Family = Family {
    hidden: &["SipClientPort"],
    mirror: Some("Name"),
    ..Family::new("CsHostingProvider", Area::Topology, OUTPUTS)
};
const WHICH: &str = "The provider's name";
const INSTANCE: Parameter = instance("HostingProvider", "The provider, as Get-CsHostingProvider gives it");
const ENABLED: Parameter = Parameter::new("Enabled", Kind::Bool, "Whether it is used").or("False");
const PROXY_FQDN: Parameter = Parameter::new(
    "ProxyFqdn",
    Kind::Domain,
    "Its edge, reached on 5061; its certificate must hold this name. Cannot be changed later",
);
const SWITCHED: &[Parameter] = &[
    changed(Kind::Text, WHICH),
    INSTANCE,
    Parameter::new("PassThru", Kind::Switch, "Gives the provider as it is then"),
    FORCE,
];
/// The properties that New and Set take.
const PROPERTIES: &[Parameter] = &[
    Parameter::new("VerificationLevel", LEVELS, "How far it is believed").or("AlwaysVerifiable"),
    Parameter::new("AutodiscoverUrl", Kind::Text, "Where its clients find it"),
    Parameter::new("EnabledSharedAddressSpace", Kind::Bool, "Whether it shares our address space").or("False"),
    Parameter::new("HostsOCSUsers", Kind::Bool, "Whether it hosts users of the same product").or("False"),
    Parameter::new("IsLocal", Kind::Bool, "Whether it is our own").or("False"),
    Parameter::new("SipClientPort", Kind::Int { min: 1, max: 65_535 }, "Where its clients connect").or("443"),
];

cmdlet!(
    /// `Get-CsHostingProvider`
    Get of FAMILY {
        summary: "Shows hosting providers",
        parameters: &[wanted(Kind::Text, WHICH).at(1), FILTER, LOCAL_STORE],
    }
);

cmdlet!(
    /// `New-CsHostingProvider`
    New of FAMILY {
        summary: "Makes a hosting provider known",
        description: "A domain on the allow list whose SRV record leads to the provider's ProxyFqdn is carried by it.",
        parameters: joined![
            [
                named(Kind::Text, "A name of your choice, unique among hosting and public providers"),
                ENABLED.required(),
                PROXY_FQDN.required(),
            ],
            PROPERTIES,
            [IN_MEMORY, FORCE],
        ],
        notes: &[
            "At most one provider per ProxyFqdn, hosting and public ones together.",
            "Not possible while the Access Edge uses a default route.",
        ],
        examples: &[(
            "New-CsHostingProvider -Identity \"LyncOnline\" -Enabled $True -ProxyFqdn \"sipfed.online.lync.com\" \
             -VerificationLevel UseSourceVerification",
            "The provider of the documents' push recipe.",
        )],
    }
);

cmdlet!(
    /// `Set-CsHostingProvider`
    Set of FAMILY {
        summary: "Changes a hosting provider",
        parameters: joined![
            [changed(Kind::Text, WHICH), INSTANCE, ENABLED],
            PROPERTIES,
            [FORCE],
        ],
        notes: &["The ProxyFqdn of a provider is for life: remove it and make a new one."],
    }
);

cmdlet!(
    /// `Remove-CsHostingProvider`
    Remove of FAMILY {
        summary: "Removes a hosting provider",
        parameters: &[removed(Kind::Text, WHICH), FORCE],
    }
);

cmdlet!(
    /// `Enable-CsHostingProvider`
    Enable of FAMILY {
        summary: "Switches a hosting provider on",
        parameters: SWITCHED,
    }
);

cmdlet!(
    /// `Disable-CsHostingProvider`
    Disable of FAMILY {
        summary: "Switches a hosting provider off and keeps its record",
        parameters: SWITCHED,
    }
);
