//! `CsAutodiscoverConfiguration`: what clients are told when they look for their service (lync.md §4.3).

use reveille_core::settings::{AutodiscoverConfiguration, Setting};

use crate::cmdlet::{About, Area, Name, Parameter, Verb};
use crate::family::Family;
use crate::family::parameters::{
    CHANGE, FILTER, FIND, FORCE, IN_MEMORY, LOCAL_STORE, changed, cmdlet, instance, named, removed, wanted,
};
use crate::kind::Kind;

const NOUN: &str = "CsAutodiscoverConfiguration";
const OUTPUTS: &[&str] = &[
    "Identity",
    "WebLinks",
    "ExternalSipClientAccessFqdn",
    "ExternalSipClientAccessPort",
    "EnableCertificateProvisioningServiceUrl",
    "EnableCORS",
];
const FAMILY: Family = Family {
    default: Some(|| Setting::AutodiscoverConfiguration(AutodiscoverConfiguration::default())),
    ..Family::new("AutodiscoverConfiguration", OUTPUTS)
};
const INSTANCE: Parameter =
    instance("AutodiscoverConfiguration", "The object, as Get-CsAutodiscoverConfiguration gives it");
const ENABLE_CERTIFICATE_PROVISIONING_SERVICE_URL: Parameter = Parameter::new(
    "EnableCertificateProvisioningServiceUrl",
    Kind::Bool,
    "Whether clients are told where certificates are made",
)
.or("True");
const EXTERNAL_SIP_CLIENT_ACCESS_FQDN: Parameter =
    Parameter::new("ExternalSipClientAccessFqdn", Kind::Domain, "Where SIP clients outside connect");
const EXTERNAL_SIP_CLIENT_ACCESS_PORT: Parameter =
    Parameter::new("ExternalSipClientAccessPort", Kind::Int { min: 1, max: 65_535 }, "On which port");
const WEB_LINKS: Parameter = Parameter::new(
    "WebLinks",
    Kind::Modifier(&Kind::WebLink),
    "The links that are answered, each as @{Token=\"…\";Href=\"https://…\"}",
);
const ENABLE_CORS: Parameter =
    Parameter::new("EnableCORS", Kind::Bool, "Whether pages of other origins may ask").or("False");

cmdlet!(
    /// `Get-CsAutodiscoverConfiguration`
    Get,
    FAMILY,
    get,
    About {
        name: Name::new(Verb::Get, NOUN),
        summary: "Shows autodiscover settings",
        parameters: &[
            wanted(Kind::Scope, "Where it applies: global, site:Name"),
            FILTER,
            LOCAL_STORE,
        ],
        sets: FIND,
        outputs: OUTPUTS,
        area: Area::Scoped,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `New-CsAutodiscoverConfiguration`
    New,
    FAMILY,
    create,
    About {
        name: Name::new(Verb::New, NOUN),
        summary: "Makes autodiscover settings for a site",
        parameters: &[
            named(Kind::Scope, "Where it applies: global, site:Name"),
            ENABLE_CERTIFICATE_PROVISIONING_SERVICE_URL,
            EXTERNAL_SIP_CLIENT_ACCESS_FQDN,
            EXTERNAL_SIP_CLIENT_ACCESS_PORT,
            WEB_LINKS,
            IN_MEMORY,
            FORCE,
        ],
        outputs: OUTPUTS,
        area: Area::Scoped,
        changes: true,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Set-CsAutodiscoverConfiguration`
    Set,
    FAMILY,
    change,
    About {
        name: Name::new(Verb::Set, NOUN),
        summary: "Changes autodiscover settings",
        parameters: &[
            changed(Kind::Scope, "Where it applies: global, site:Name"),
            INSTANCE,
            ENABLE_CERTIFICATE_PROVISIONING_SERVICE_URL,
            EXTERNAL_SIP_CLIENT_ACCESS_FQDN,
            EXTERNAL_SIP_CLIENT_ACCESS_PORT,
            WEB_LINKS,
            ENABLE_CORS,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Scoped,
        changes: true,
        notes: &["Kept for the documents' sake: clients of today are configured, or use SIP alone."],
        examples: &[("Set-CsAutodiscoverConfiguration -WebLinks @{Add=@{Token=\"External/Mcx\";Href=\"https://home.contoso.com/mcx\"}}", "Adds a link.")],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Remove-CsAutodiscoverConfiguration`
    Remove,
    FAMILY,
    remove,
    About {
        name: Name::new(Verb::Remove, NOUN),
        summary: "Removes a site's autodiscover settings; global ones have their defaults again",
        parameters: &[
            removed(Kind::Scope, "Where it applies: global, site:Name"),
            FORCE,
        ],
        area: Area::Scoped,
        changes: true,
        ..About::DEFAULT
    }
);
