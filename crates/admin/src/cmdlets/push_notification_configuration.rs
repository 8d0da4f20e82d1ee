//! `CsPushNotificationConfiguration`: which push providers are switched on (lync.md §1.5).

use reveille_core::settings::{PushNotificationConfiguration, Setting};

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::{cmdlet, joined};
use crate::family::parameters::{
    FILTER, FORCE, IN_MEMORY, LOCAL_STORE, TENANT, changed, instance, named, removed, wanted,
};
use crate::kind::Kind;

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
    ..Family::new("CsPushNotificationConfiguration", Area::Scoped, OUTPUTS)
};
const WHERE: &str = "Where it applies: global, site:Name";
const INSTANCE: Parameter =
    instance("PushNotificationConfiguration", "The object, as Get-CsPushNotificationConfiguration gives it");
/// The properties that New and Set take.
const PROPERTIES: &[Parameter] = &[
    Parameter::new("EnableApplePushNotificationService", Kind::Bool, "Whether phones are woken by way of Apple (APNs)")
        .or("False"),
    Parameter::new(
        "EnableMicrosoftPushNotificationService",
        Kind::Bool,
        "Whether phones are woken by way of Microsoft (MPNS)",
    )
    .or("False"),
    Parameter::new(
        "EnableGooglePushNotificationService",
        Kind::Bool,
        "Whether phones are woken by way of Google (FCM)",
    )
    .or("False"),
    Parameter::new("EnableWindowsPushNotificationService", Kind::Bool, "Whether Windows of today is woken (WNS)")
        .or("False"),
    Parameter::new(
        "EnableWebPushNotificationService",
        Kind::Bool,
        "Whether browsers and UnifiedPush are woken (Web Push)",
    )
    .or("False"),
];

cmdlet!(
    /// `Get-CsPushNotificationConfiguration`
    Get of FAMILY {
        summary: "Shows the push switches",
        parameters: &[wanted(Kind::Scope, WHERE).at(1), FILTER, LOCAL_STORE, TENANT],
        notes: &["The last three switches are this product's own."],
    }
);

cmdlet!(
    /// `New-CsPushNotificationConfiguration`
    New of FAMILY {
        summary: "Makes push switches for a site",
        parameters: joined![[named(Kind::Scope, WHERE)], PROPERTIES, [IN_MEMORY, TENANT, FORCE]],
    }
);

cmdlet!(
    /// `Set-CsPushNotificationConfiguration`
    Set of FAMILY {
        summary: "Switches push providers on and off",
        description: "The first of the five gates that a push passes. Everything is off until it is switched on.",
        parameters: joined![[changed(Kind::Scope, WHERE), INSTANCE], PROPERTIES, [TENANT, FORCE]],
        examples: &[(
            "Set-CsPushNotificationConfiguration -EnableApplePushNotificationService $True \
             -EnableMicrosoftPushNotificationService $True",
            "Switches on the two providers of the documents, for all sites that have no switches of their own.",
        )],
    }
);

cmdlet!(
    /// `Remove-CsPushNotificationConfiguration`
    Remove of FAMILY {
        summary: "Removes a site's push switches; global ones are off again",
        parameters: &[removed(Kind::Scope, WHERE), TENANT, FORCE],
    }
);
