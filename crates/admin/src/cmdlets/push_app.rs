//! `CsPushApp`: which organisations one of the publisher's apps serves. Its credentials are files of the machine.

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::{cmdlet, joined};
use crate::family::parameters::{FILTER, FORCE, IN_MEMORY, LOCAL_STORE, changed, instance, named, removed, wanted};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &["Identity", "Serves", "BrakeEnabled", "BrakeRejections", "BrakePercent", "BrakeMinutes"];
const FAMILY: Family = Family::new("CsPushApp", Area::Topology, OUTPUTS);
const APP: &str = "The provider's name for the app: a bundle id, a project id";
const SERVES: Parameter =
    Parameter::new("Serves", Kind::Modifier(&Kind::Domain), "The SIP domains of the organisations that may push to it");
const BRAKE: [Parameter; 4] = [
    Parameter::new(
        "BrakeEnabled",
        Kind::Bool,
        "Whether verdicts on the app's tokens are frozen when they are rejected in mass; $True",
    ),
    Parameter::new(
        "BrakeRejections",
        Kind::Int { min: 1, max: 1_000_000 },
        "So many rejected tokens within the window are a mass; 50",
    ),
    Parameter::new(
        "BrakePercent",
        Kind::Int { min: 1, max: 100 },
        "And so many of a hundred answers within the window; 25",
    ),
    Parameter::new("BrakeMinutes", Kind::Int { min: 1, max: 1440 }, "How long that window is; 10"),
];
const GATE: &str = "Whoever is not served gets app-not-granted, at once and without a restart.";

cmdlet!(
    /// `Get-CsPushApp`
    Get of FAMILY {
        summary: "Shows which organisations the publisher's apps serve",
        parameters: &[wanted(Kind::Text, APP), FILTER, LOCAL_STORE],
        notes: &["Get-CsPushCredential shows the apps' credentials."],
    }
);

cmdlet!(
    /// `New-CsPushApp`
    New of FAMILY {
        summary: "Opens an app to organisations",
        description: "On the publisher's side: the clearing house takes push requests for an app from the organisations \
                      that it serves, and from nobody else.",
        parameters: joined![[named(Kind::Text, APP), SERVES.required()], BRAKE, [IN_MEMORY, FORCE]],
        notes: &[GATE, "Its credentials stand in the configuration file of the clearing house."],
        examples: &[("New-CsPushApp -Identity org.example.app -Serves contoso.com", "Lets contoso.com wake the app.")],
    }
);

cmdlet!(
    /// `Set-CsPushApp`
    Set of FAMILY {
        summary: "Changes which organisations an app serves",
        parameters: joined![
            [changed(Kind::Text, APP), instance("PushApp", "The object, as Get-CsPushApp gives it"), SERVES],
            BRAKE,
            [FORCE],
        ],
        notes: &[GATE],
        examples: &[(
            "Set-CsPushApp -Identity org.example.app -Serves @{Add=\"fabrikam.com\"}",
            "Lets one more organisation wake the app.",
        )],
    }
);

cmdlet!(
    /// `Remove-CsPushApp`
    Remove of FAMILY {
        summary: "Closes an app to every organisation",
        parameters: &[removed(Kind::Text, APP), FORCE],
    }
);
