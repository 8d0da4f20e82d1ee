//! `CsAutodiscoverConfiguration`: what clients are told when they look for their service (lync.md §4.3).

use reveille_core::settings::{AutodiscoverConfiguration, Setting};

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::{cmdlet, joined};
use crate::family::parameters::{FILTER, FORCE, IN_MEMORY, LOCAL_STORE, changed, instance, named, removed, wanted};
use crate::kind::Kind;

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
    ..Family::new("CsAutodiscoverConfiguration", Area::Scoped, OUTPUTS)
};
const WHERE: &str = "Where it applies: global, site:Name";
const INSTANCE: Parameter =
    instance("AutodiscoverConfiguration", "The object, as Get-CsAutodiscoverConfiguration gives it");
/// The properties that New and Set take.
const PROPERTIES: &[Parameter] = &[
    Parameter::new(
        "EnableCertificateProvisioningServiceUrl",
        Kind::Bool,
        "Whether clients are told where certificates are made",
    )
    .or("True"),
    Parameter::new("ExternalSipClientAccessFqdn", Kind::Domain, "Where SIP clients outside connect"),
    Parameter::new("ExternalSipClientAccessPort", Kind::Int { min: 1, max: 65_535 }, "On which port"),
    Parameter::new(
        "WebLinks",
        Kind::Modifier(&Kind::WebLink),
        "The links that are answered, each as @{Token=\"…\";Href=\"https://…\"}",
    ),
];
const ENABLE_CORS: Parameter =
    Parameter::new("EnableCORS", Kind::Bool, "Whether pages of other origins may ask").or("False");

cmdlet!(
    /// `Get-CsAutodiscoverConfiguration`
    Get of FAMILY {
        summary: "Shows autodiscover settings",
        parameters: &[wanted(Kind::Scope, WHERE), FILTER, LOCAL_STORE],
    }
);

cmdlet!(
    /// `New-CsAutodiscoverConfiguration`
    New of FAMILY {
        summary: "Makes autodiscover settings for a site",
        parameters: joined![[named(Kind::Scope, WHERE)], PROPERTIES, [IN_MEMORY, FORCE]],
    }
);

cmdlet!(
    /// `Set-CsAutodiscoverConfiguration`
    Set of FAMILY {
        summary: "Changes autodiscover settings",
        parameters: joined![[changed(Kind::Scope, WHERE), INSTANCE], PROPERTIES, [ENABLE_CORS, FORCE]],
        notes: &["Kept for the documents' sake: clients of today are configured, or use SIP alone."],
        examples: &[(
            "Set-CsAutodiscoverConfiguration -WebLinks \
             @{Add=@{Token=\"External/Mcx\";Href=\"https://home.contoso.com/mcx\"}}",
            "Adds a link.",
        )],
    }
);

cmdlet!(
    /// `Remove-CsAutodiscoverConfiguration`
    Remove of FAMILY {
        summary: "Removes a site's autodiscover settings; global ones have their defaults again",
        parameters: &[removed(Kind::Scope, WHERE), FORCE],
    }
);
