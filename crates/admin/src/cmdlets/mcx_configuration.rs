//! `CsMcxConfiguration`: the mobility service (lync.md §1.5).

use reveille_core::settings::{McxConfiguration, Setting};

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::{cmdlet, joined};
use crate::family::parameters::{FILTER, FORCE, IN_MEMORY, LOCAL_STORE, changed, instance, named, removed, wanted};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &[
    "Identity",
    "SessionExpirationInterval",
    "SessionShortExpirationInterval",
    "ExposedWebURL",
    "PushNotificationProxyUri",
];
const FAMILY: Family = Family {
    default: Some(|| Setting::McxConfiguration(McxConfiguration::default())),
    ..Family::new("CsMcxConfiguration", Area::Scoped, OUTPUTS)
};
const SECONDS: Kind = Kind::Int { min: 120, max: 4_294_967_295 };
const WHERE: &str = "Where it applies: global, site:Name, service:WebServer:FQDN";
const INSTANCE: Parameter = instance("McxConfiguration", "The object, as Get-CsMcxConfiguration gives it");
/// The properties that New and Set take.
const PROPERTIES: &[Parameter] = &[
    Parameter::new("ExposedWebURL", Kind::Choice(&["Internal", "External"]), "Which of its addresses phones are told")
        .or("External"),
    Parameter::new(
        "PushNotificationProxyUri",
        Kind::SipUri,
        "Where push requests go: a SIP URI at the publisher's domain",
    )
    .or("sip:push@push.lync.com"),
    Parameter::new(
        "SessionExpirationInterval",
        SECONDS,
        "How long the session of a device that gets push lives without a word from it, in seconds; greater than the \
         short one",
    )
    .or("259200"),
    Parameter::new(
        "SessionShortExpirationInterval",
        SECONDS,
        "The same for a device that holds a connection, in seconds",
    )
    .or("3600"),
];

cmdlet!(
    /// `Get-CsMcxConfiguration`
    Get of FAMILY {
        summary: "Shows settings of the mobility service",
        parameters: &[wanted(Kind::Scope, WHERE), FILTER, LOCAL_STORE],
    }
);

cmdlet!(
    /// `New-CsMcxConfiguration`
    New of FAMILY {
        summary: "Makes settings of the mobility service for a site or server",
        parameters: joined![[named(Kind::Scope, WHERE)], PROPERTIES, [IN_MEMORY, FORCE]],
    }
);

cmdlet!(
    /// `Set-CsMcxConfiguration`
    Set of FAMILY {
        summary: "Changes the mobility service: where push requests go, how long sessions live",
        parameters: joined![[changed(Kind::Scope, WHERE), INSTANCE], PROPERTIES, [FORCE]],
        notes: &[
            "Without -Identity the global record is changed.",
            "The nearest record counts: the service, then the site, then global.",
            "SessionExpirationInterval must be greater than SessionShortExpirationInterval.",
        ],
        examples: &[(
            "Get-CsMcxConfiguration | Set-CsMcxConfiguration -PushNotificationProxyUri \"sip:push@push.lync.com\"",
            "Sends the push requests of all sites to the documents' push service.",
        )],
    }
);

cmdlet!(
    /// `Remove-CsMcxConfiguration`
    Remove of FAMILY {
        summary: "Removes settings of the mobility service; global ones have their defaults again",
        parameters: &[removed(Kind::Scope, WHERE), FORCE],
    }
);
