//! `CsHostingProvider`: someone else's edge that carries the domains of many organisations (lync.md §1.2).

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Parameter, Pipeline, Running, Verb};
use crate::desk::Desk;
use crate::family::Family;
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
const FAMILY: Family = Family { kind: "HostingProvider", outputs: OUTPUTS, default: None };
const LEVELS: Kind = Kind::Choice(&["AlwaysVerifiable", "AlwaysUnverifiable", "UseSourceVerification"]);
const INSTANCE: Parameter =
    Parameter::new("Instance", Kind::Instance("HostingProvider"), "The provider, as Get-CsHostingProvider gives it")
        .of(&["Instance"])
        .from(Pipeline::ByValue);
const FORCE: Parameter = Parameter::new("Force", Kind::Switch, "Does not ask");

/// `Get-CsHostingProvider`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, NOUN),
                summary: "Shows hosting providers",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "The provider's name")
                        .at(2)
                        .of(&["Identity"])
                        .from(Pipeline::ByName),
                    Parameter::new("Filter", Kind::Text, "A pattern with * that the name must fit").of(&["Filter"]),
                    Parameter::new("LocalStore", Kind::Switch, "Reads this machine's replica"),
                ],
                sets: &["Identity", "Filter"],
                outputs: OUTPUTS,
                area: Area::Topology,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async { FAMILY.get(call, desk) })
    }
}

/// `New-CsHostingProvider`
pub(super) struct New;

impl Cmdlet for New {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::New, NOUN),
                summary: "Makes a hosting provider known",
                description: "A domain on the allow list whose SRV record leads to the provider's ProxyFqdn is carried by it.",
                parameters: &[
                    Parameter::new(
                        "Identity",
                        Kind::Text,
                        "A name of your choice, unique among hosting and public providers",
                    )
                    .required()
                    .at(2),
                    Parameter::new("Enabled", Kind::Bool, "Whether it is used").required().or("False"),
                    Parameter::new(
                        "ProxyFqdn",
                        Kind::Domain,
                        "Its edge, reached on 5061; its certificate must hold this name. Cannot be changed later",
                    )
                    .required(),
                    Parameter::new("VerificationLevel", LEVELS, "How far it is believed").or("AlwaysVerifiable"),
                    Parameter::new("AutodiscoverUrl", Kind::Text, "Where its clients find it"),
                    Parameter::new("EnabledSharedAddressSpace", Kind::Bool, "Whether it shares our address space")
                        .or("False"),
                    Parameter::new("HostsOCSUsers", Kind::Bool, "Whether it hosts users of the same product")
                        .or("False"),
                    Parameter::new("IsLocal", Kind::Bool, "Whether it is our own").or("False"),
                    Parameter::new("SipClientPort", Kind::Int { min: 1, max: 65_535 }, "Where its clients connect")
                        .or("443"),
                    Parameter::new(
                        "InMemory",
                        Kind::Switch,
                        "Makes the object only; Set-CsHostingProvider -Instance keeps it",
                    ),
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
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(FAMILY.create(call, desk))
    }
}

/// `Set-CsHostingProvider`
pub(super) struct Set;

impl Cmdlet for Set {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Set, NOUN),
                summary: "Changes a hosting provider",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "The provider's name").required().at(2).of(&["Identity"]),
                    INSTANCE,
                    Parameter::new("Enabled", Kind::Bool, "Whether it is used"),
                    Parameter::new("VerificationLevel", LEVELS, "How far it is believed"),
                    Parameter::new("AutodiscoverUrl", Kind::Text, "Where its clients find it"),
                    Parameter::new("EnabledSharedAddressSpace", Kind::Bool, "Whether it shares our address space"),
                    Parameter::new("HostsOCSUsers", Kind::Bool, "Whether it hosts users of the same product"),
                    Parameter::new("IsLocal", Kind::Bool, "Whether it is our own"),
                    Parameter::new("SipClientPort", Kind::Int { min: 1, max: 65_535 }, "Where its clients connect"),
                    FORCE,
                ],
                sets: &["Identity", "Instance"],
                area: Area::Topology,
                changes: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(FAMILY.change(call, desk))
    }
}

/// `Remove-CsHostingProvider`
pub(super) struct Remove;

impl Cmdlet for Remove {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Remove, NOUN),
                summary: "Removes a hosting provider",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "The provider's name")
                        .required()
                        .at(2)
                        .from(Pipeline::ByName),
                    FORCE,
                ],
                area: Area::Topology,
                changes: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(FAMILY.remove(call, desk))
    }
}

const SWITCHED: &[Parameter] = &[
    Parameter::new("Identity", Kind::Text, "The provider's name").required().at(2).of(&["Identity"]),
    INSTANCE,
    Parameter::new("PassThru", Kind::Switch, "Gives the provider as it is then"),
];

/// `Enable-CsHostingProvider`
pub(super) struct Enable;

impl Cmdlet for Enable {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Enable, NOUN),
                summary: "Switches a hosting provider on",
                parameters: SWITCHED,
                sets: &["Identity", "Instance"],
                area: Area::Topology,
                changes: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(FAMILY.switch(true, call, desk))
    }
}

/// `Disable-CsHostingProvider`
pub(super) struct Disable;

impl Cmdlet for Disable {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Disable, NOUN),
                summary: "Switches a hosting provider off and keeps its record",
                parameters: SWITCHED,
                sets: &["Identity", "Instance"],
                area: Area::Topology,
                changes: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(FAMILY.switch(false, call, desk))
    }
}
