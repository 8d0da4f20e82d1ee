//! `CsMcxConfiguration`: the mobility service (lync.md §1.5).

use reveille_core::settings::{McxConfiguration, Setting};

use crate::cmdlet::{About, Area, Name, Parameter, Verb};
use crate::family::Family;
use crate::family::parameters::{
    CHANGE, FILTER, FIND, FORCE, IN_MEMORY, LOCAL_STORE, changed, cmdlet, instance, named, removed, wanted,
};
use crate::kind::Kind;

const NOUN: &str = "CsMcxConfiguration";
const OUTPUTS: &[&str] = &[
    "Identity",
    "SessionExpirationInterval",
    "SessionShortExpirationInterval",
    "ExposedWebURL",
    "PushNotificationProxyUri",
];
const FAMILY: Family = Family {
    default: Some(|| Setting::McxConfiguration(McxConfiguration::default())),
    ..Family::new("McxConfiguration", OUTPUTS)
};
const SECONDS: Kind = Kind::Int { min: 120, max: 4_294_967_295 };
const INSTANCE: Parameter = instance("McxConfiguration", "The object, as Get-CsMcxConfiguration gives it");
const EXPOSED_WEB_URL: Parameter =
    Parameter::new("ExposedWebURL", Kind::Choice(&["Internal", "External"]), "Which of its addresses phones are told")
        .or("External");
const PUSH_NOTIFICATION_PROXY_URI: Parameter = Parameter::new(
    "PushNotificationProxyUri",
    Kind::SipUri,
    "Where push requests go: a SIP URI at the publisher's domain",
)
.or("sip:push@push.lync.com");
const SESSION_EXPIRATION_INTERVAL: Parameter = Parameter::new("SessionExpirationInterval", SECONDS, "How long the session of a device that gets push lives without a word from it, in seconds; greater than the short one").or("259200");
const SESSION_SHORT_EXPIRATION_INTERVAL: Parameter = Parameter::new(
    "SessionShortExpirationInterval",
    SECONDS,
    "The same for a device that holds a connection, in seconds",
)
.or("3600");

cmdlet!(
    /// `Get-CsMcxConfiguration`
    Get,
    FAMILY,
    get,
    About {
        name: Name::new(Verb::Get, NOUN),
        summary: "Shows settings of the mobility service",
        parameters: &[
            wanted(Kind::Scope, "Where it applies: global, site:Name, service:WebServer:FQDN"),
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
    /// `New-CsMcxConfiguration`
    New,
    FAMILY,
    create,
    About {
        name: Name::new(Verb::New, NOUN),
        summary: "Makes settings of the mobility service for a site or server",
        parameters: &[
            named(Kind::Scope, "Where it applies: global, site:Name, service:WebServer:FQDN"),
            EXPOSED_WEB_URL,
            PUSH_NOTIFICATION_PROXY_URI,
            SESSION_EXPIRATION_INTERVAL,
            SESSION_SHORT_EXPIRATION_INTERVAL,
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
    /// `Set-CsMcxConfiguration`
    Set,
    FAMILY,
    change,
    About {
        name: Name::new(Verb::Set, NOUN),
        summary: "Changes the mobility service: where push requests go, how long sessions live",
        parameters: &[
            changed(Kind::Scope, "Where it applies: global, site:Name, service:WebServer:FQDN"),
            INSTANCE,
            EXPOSED_WEB_URL,
            PUSH_NOTIFICATION_PROXY_URI,
            SESSION_EXPIRATION_INTERVAL,
            SESSION_SHORT_EXPIRATION_INTERVAL,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Scoped,
        changes: true,
        notes: &["Without -Identity the global record is changed.", "The nearest record counts: the service, then the site, then global.", "SessionExpirationInterval must be greater than SessionShortExpirationInterval."],
        examples: &[("Get-CsMcxConfiguration | Set-CsMcxConfiguration -PushNotificationProxyUri \"sip:push@push.lync.com\"", "Sends the push requests of all sites to the documents' push service.")],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Remove-CsMcxConfiguration`
    Remove,
    FAMILY,
    remove,
    About {
        name: Name::new(Verb::Remove, NOUN),
        summary: "Removes settings of the mobility service; global ones have their defaults again",
        parameters: &[
            removed(Kind::Scope, "Where it applies: global, site:Name, service:WebServer:FQDN"),
            FORCE,
        ],
        area: Area::Scoped,
        changes: true,
        ..About::DEFAULT
    }
);
