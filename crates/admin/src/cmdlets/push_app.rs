//! `CsPushApp`: which organisations one of the publisher's apps serves. Its credentials are files of the machine.

use crate::cmdlet::{About, Area, Name, Parameter, Verb};
use crate::family::Family;
use crate::family::parameters::{
    CHANGE, FILTER, FIND, FORCE, IN_MEMORY, LOCAL_STORE, changed, cmdlet, instance, named, removed, wanted,
};
use crate::kind::Kind;

const NOUN: &str = "CsPushApp";
const OUTPUTS: &[&str] = &["Identity", "Serves"];
const FAMILY: Family = Family::new("PushApp", OUTPUTS);
const APP: &str = "The provider's name for the app: a bundle id, a project id";
const SERVES: Parameter =
    Parameter::new("Serves", Kind::Modifier(&Kind::Domain), "The SIP domains of the organisations that may push to it");
const GATE: &str = "Whoever is not served gets app-not-granted, at once and without a restart.";

cmdlet!(
    /// `Get-CsPushApp`
    Get,
    FAMILY,
    get,
    About {
        name: Name::new(Verb::Get, NOUN),
        summary: "Shows which organisations the publisher's apps serve",
        parameters: &[wanted(Kind::Text, APP), FILTER, LOCAL_STORE],
        sets: FIND,
        outputs: OUTPUTS,
        area: Area::Topology,
        notes: &["Get-CsPushCredential shows the apps' credentials."],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `New-CsPushApp`
    New,
    FAMILY,
    create,
    About {
        name: Name::new(Verb::New, NOUN),
        summary: "Opens an app to organisations",
        description: "On the publisher's side: the clearing house takes push requests for an app from the organisations \
                      that it serves, and from nobody else.",
        parameters: &[named(Kind::Text, APP), SERVES.required(), IN_MEMORY, FORCE],
        outputs: OUTPUTS,
        area: Area::Topology,
        changes: true,
        notes: &[GATE, "Its credentials stand in the configuration file of the clearing house."],
        examples: &[("New-CsPushApp -Identity org.example.app -Serves contoso.com", "Lets contoso.com wake the app.")],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Set-CsPushApp`
    Set,
    FAMILY,
    change,
    About {
        name: Name::new(Verb::Set, NOUN),
        summary: "Changes which organisations an app serves",
        parameters: &[
            changed(Kind::Text, APP),
            instance("PushApp", "The object, as Get-CsPushApp gives it"),
            SERVES,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Topology,
        changes: true,
        notes: &[GATE],
        examples: &[(
            "Set-CsPushApp -Identity org.example.app -Serves @{Add=\"fabrikam.com\"}",
            "Lets one more organisation wake the app.",
        )],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Remove-CsPushApp`
    Remove,
    FAMILY,
    remove,
    About {
        name: Name::new(Verb::Remove, NOUN),
        summary: "Closes an app to every organisation",
        parameters: &[removed(Kind::Text, APP), FORCE],
        area: Area::Topology,
        changes: true,
        ..About::DEFAULT
    }
);
