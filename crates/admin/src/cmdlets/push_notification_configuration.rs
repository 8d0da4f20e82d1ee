//! `CsPushNotificationConfiguration`: which push providers are switched on (lync.md §1.5).

use reveille_core::settings::{PushNotificationConfiguration, Setting};

use crate::cmdlet::{About, Area, Name, Parameter, Verb};
use crate::family::Family;
use crate::family::parameters::{
    CHANGE, FILTER, FIND, FORCE, IN_MEMORY, LOCAL_STORE, TENANT, changed, cmdlet, instance, named, removed, wanted,
};
use crate::kind::Kind;

const NOUN: &str = "CsPushNotificationConfiguration";
const OUTPUTS: &[&str] = &[
    "Identity",
    "EnableApplePushNotificationService",
    "EnableMicrosoftPushNotificationService",
    "EnableGooglePushNotificationService",
    "EnableWindowsPushNotificationService",
    "EnableWebPushNotificationService",
];
const FAMILY: Family = Family {
    default: Some(|| Setting::PushNotificationConfiguration(PushNotificationConfiguration::default())),
    ..Family::new("PushNotificationConfiguration", OUTPUTS)
};
const INSTANCE: Parameter =
    instance("PushNotificationConfiguration", "The object, as Get-CsPushNotificationConfiguration gives it");
const ENABLE_APPLE_PUSH_NOTIFICATION_SERVICE: Parameter =
    Parameter::new("EnableApplePushNotificationService", Kind::Bool, "Whether phones are woken by way of Apple (APNs)")
        .or("False");
const ENABLE_MICROSOFT_PUSH_NOTIFICATION_SERVICE: Parameter = Parameter::new(
    "EnableMicrosoftPushNotificationService",
    Kind::Bool,
    "Whether phones are woken by way of Microsoft (MPNS)",
)
.or("False");
const ENABLE_GOOGLE_PUSH_NOTIFICATION_SERVICE: Parameter = Parameter::new(
    "EnableGooglePushNotificationService",
    Kind::Bool,
    "Whether phones are woken by way of Google (FCM)",
)
.or("False");
const ENABLE_WINDOWS_PUSH_NOTIFICATION_SERVICE: Parameter =
    Parameter::new("EnableWindowsPushNotificationService", Kind::Bool, "Whether Windows of today is woken (WNS)")
        .or("False");
const ENABLE_WEB_PUSH_NOTIFICATION_SERVICE: Parameter = Parameter::new(
    "EnableWebPushNotificationService",
    Kind::Bool,
    "Whether browsers and UnifiedPush are woken (Web Push)",
)
.or("False");

cmdlet!(
    /// `Get-CsPushNotificationConfiguration`
    Get,
    FAMILY,
    get,
    About {
        name: Name::new(Verb::Get, NOUN),
        summary: "Shows the push switches",
        parameters: &[
            wanted(Kind::Scope, "Where it applies: global, site:Name").at(1),
            FILTER,
            LOCAL_STORE,
            TENANT,
        ],
        sets: FIND,
        outputs: OUTPUTS,
        area: Area::Scoped,
        notes: &["The last three switches are this product's own."],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `New-CsPushNotificationConfiguration`
    New,
    FAMILY,
    create,
    About {
        name: Name::new(Verb::New, NOUN),
        summary: "Makes push switches for a site",
        parameters: &[
            named(Kind::Scope, "Where it applies: global, site:Name"),
            ENABLE_APPLE_PUSH_NOTIFICATION_SERVICE,
            ENABLE_MICROSOFT_PUSH_NOTIFICATION_SERVICE,
            ENABLE_GOOGLE_PUSH_NOTIFICATION_SERVICE,
            ENABLE_WINDOWS_PUSH_NOTIFICATION_SERVICE,
            ENABLE_WEB_PUSH_NOTIFICATION_SERVICE,
            IN_MEMORY,
            TENANT,
            FORCE,
        ],
        outputs: OUTPUTS,
        area: Area::Scoped,
        changes: true,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Set-CsPushNotificationConfiguration`
    Set,
    FAMILY,
    change,
    About {
        name: Name::new(Verb::Set, NOUN),
        summary: "Switches push providers on and off",
        description: "The first of the five gates that a push passes. Everything is off until it is switched on.",
        parameters: &[
            changed(Kind::Scope, "Where it applies: global, site:Name"),
            INSTANCE,
            ENABLE_APPLE_PUSH_NOTIFICATION_SERVICE,
            ENABLE_MICROSOFT_PUSH_NOTIFICATION_SERVICE,
            ENABLE_GOOGLE_PUSH_NOTIFICATION_SERVICE,
            ENABLE_WINDOWS_PUSH_NOTIFICATION_SERVICE,
            ENABLE_WEB_PUSH_NOTIFICATION_SERVICE,
            TENANT,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Scoped,
        changes: true,
        examples: &[("Set-CsPushNotificationConfiguration -EnableApplePushNotificationService $True -EnableMicrosoftPushNotificationService $True", "Switches on the two providers of the documents, for all sites that have no switches of their own.")],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Remove-CsPushNotificationConfiguration`
    Remove,
    FAMILY,
    remove,
    About {
        name: Name::new(Verb::Remove, NOUN),
        summary: "Removes a site's push switches; global ones are off again",
        parameters: &[
            removed(Kind::Scope, "Where it applies: global, site:Name"),
            TENANT,
            FORCE,
        ],
        area: Area::Scoped,
        changes: true,
        ..About::DEFAULT
    }
);
