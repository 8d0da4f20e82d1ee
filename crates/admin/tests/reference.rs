//! The catalogue beside the public reference of the documents' cmdlets: names, parameters, sets, places, aliases, words,
//! what comes along the pipeline, and the order of what is shown.

use reveille_admin::cmdlet::{About, Parameter, Pipeline, Verb};
use reveille_admin::{Kind, cmdlets};
use serde::Deserialize;

/// Parameters that are this product's own, beside the documents'. Tests may have more of them than can be listed.
const OURS: [(&str, &[&str]); 4] = [
    ("CsAdminRole", &["CanRun"]),
    ("CsAccessEdgeConfiguration", &["UnassertedSource"]),
    ("CsHostingProvider", &["PassThru"]),
    (
        "CsPushNotificationConfiguration",
        &[
            "EnableGooglePushNotificationService",
            "EnableWindowsPushNotificationService",
            "EnableWebPushNotificationService",
        ],
    ),
];

/// What is not there yet; each goes from this list with the commit that brings it.
const COMING: [&str; 0] = [];

/// Why a test does not insist on its users.
const USERS_MAY_BE_KEPT: &str = "without them the pool's test users take part, and home vouches for them";

/// Where we differ on purpose: cmdlet, parameter, and why.
const DIFFERENT: [(&str, &str, &str); 15] = [
    ("Test-CsMcxP2PIM", "Authentication", USERS_MAY_BE_KEPT),
    ("Test-CsMcxP2PIM", "SenderSipAddress", USERS_MAY_BE_KEPT),
    ("Test-CsMcxP2PIM", "SenderCredential", USERS_MAY_BE_KEPT),
    ("Test-CsMcxP2PIM", "ReceiverSipAddress", USERS_MAY_BE_KEPT),
    ("Test-CsMcxP2PIM", "ReceiverCredential", USERS_MAY_BE_KEPT),
    ("Test-CsMcxConference", "Authentication", USERS_MAY_BE_KEPT),
    ("Test-CsMcxConference", "OrganizerSipAddress", USERS_MAY_BE_KEPT),
    ("Test-CsMcxConference", "OrganizerCredential", USERS_MAY_BE_KEPT),
    ("Test-CsMcxConference", "UserSipAddress", USERS_MAY_BE_KEPT),
    ("Test-CsMcxConference", "User2SipAddress", USERS_MAY_BE_KEPT),
    ("Test-CsMcxConference", "User2Credential", USERS_MAY_BE_KEPT),
    ("Test-CsMcxConference", "UserCredential", USERS_MAY_BE_KEPT),
    ("Set-CsPushNotificationConfiguration", "Instance", "the reference forgets that it has a set of its own"),
    ("Get-CsImFilterConfiguration", "Identity", "the reference forgets its set"),
    ("Set-CsAdminRole", "Identity", "nothing else says which role is meant"),
];

#[derive(Deserialize)]
struct Documented {
    name: String,
    sets: Vec<String>,
    changes: bool,
    parameters: Vec<Described>,
    outputs: Vec<String>,
}

#[derive(Deserialize)]
struct Described {
    name: String,
    r#type: String,
    required: bool,
    position: Option<u8>,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    values: Vec<String>,
    #[serde(default)]
    sets: Vec<String>,
    pipeline: Option<String>,
}

#[test]
fn every_cmdlet_is_what_the_reference_says() {
    let documented: Vec<Documented> = serde_json::from_str(include_str!("reference.json")).unwrap();
    assert_eq!(documented.len(), 57);
    let mut wrong = Vec::new();
    for reference in &documented {
        match cmdlets::find(&reference.name) {
            Some(cmdlet) => {
                compare(cmdlet.about(), reference, &mut wrong);
                if COMING.contains(&reference.name.as_str()) {
                    wrong.push(format!("{} is there: take it from COMING", reference.name));
                }
            }
            None if COMING.contains(&reference.name.as_str()) => {}
            None => wrong.push(format!("{} is missing", reference.name)),
        }
    }
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

fn compare(about: &About, reference: &Documented, wrong: &mut Vec<String>) {
    let name = about.name;
    let sets: Vec<String> =
        reference.sets.iter().filter(|set| *set != "(one)").map(|set| set.replace(" (Default)", "")).collect();
    let mut ours: Vec<&str> = about.sets.to_vec();
    ours.sort_unstable();
    let mut theirs: Vec<&str> = sets.iter().map(String::as_str).collect();
    theirs.sort_unstable();
    if ours != theirs {
        wrong.push(format!("{name} has the sets {ours:?} and not {theirs:?}"));
    }
    if about.changes != reference.changes {
        wrong.push(format!("{name} has -WhatIf: {} and not {}", about.changes, reference.changes));
    }
    let shown = |documented: &&String| !about.outputs.contains(&documented.as_str());
    wrong.extend(reference.outputs.iter().filter(shown).map(|output| format!("{name} does not show {output}")));
    let common: Vec<&str> =
        about.outputs.iter().copied().filter(|it| reference.outputs.iter().any(|o| o == it)).collect();
    if !reference.outputs.is_empty() && common != reference.outputs {
        wrong.push(format!("{name} shows {common:?} in this order and not {:?}", reference.outputs));
    }
    for described in &reference.parameters {
        let Some(parameter) = about.parameters.iter().find(|it| it.name == described.name) else {
            wrong.push(format!("{name} lacks -{}", described.name));
            continue;
        };
        if DIFFERENT.iter().any(|(cmdlet, parameter, _)| name.is(cmdlet) && *parameter == described.name) {
            continue;
        }
        let differs = differences(parameter, described, &sets);
        wrong.extend(differs.into_iter().map(|it| format!("{name} -{}: {it}", parameter.name)));
    }
    let own = OURS.iter().find(|(noun, _)| *noun == name.noun).map_or(&[][..], |(_, own)| *own);
    for parameter in about.parameters {
        let known = reference.parameters.iter().any(|it| it.name == parameter.name);
        if !known && name.verb != Verb::Test && !own.contains(&parameter.name) {
            wrong.push(format!("{name} -{} is in no document", parameter.name));
        }
    }
}

fn differences(parameter: &Parameter, described: &Described, sets: &[String]) -> Vec<String> {
    let mut differs = Vec::new();
    let mut check = |what: &str, ours: String, theirs: String| {
        if ours != theirs {
            differs.push(format!("{what} is {ours} and not {theirs}"));
        }
    };
    check("required", parameter.required.to_string(), described.required.to_string());
    check("position", format!("{:?}", parameter.position), format!("{:?}", described.position));
    check("aliases", format!("{:?}", parameter.aliases), format!("{:?}", described.aliases));
    let pipeline = match parameter.pipeline {
        Pipeline::No => None,
        Pipeline::ByValue => Some("ByValue"),
        Pipeline::ByName => Some("ByPropertyName"),
        Pipeline::Both => Some("ByPropertyName, ByValue"),
    };
    // That Get takes an Identity along the pipeline is more than the reference says, and does no harm.
    if described.pipeline.is_some() {
        check("pipeline", format!("{pipeline:?}"), format!("{:?}", described.pipeline.as_deref()));
    }
    let form = |it: &str| it.to_owned();
    match described.r#type.as_str() {
        "Boolean" => check("type", parameter.kind.name(), form("Boolean")),
        "SwitchParameter" => check("type", parameter.kind.name(), form("SwitchParameter")),
        "PSCredential" => check("type", parameter.kind.name(), form("PSCredential")),
        "List" => check("list", matches!(parameter.kind, Kind::Modifier(_)).to_string(), form("true")),
        _ if !described.values.is_empty() => {
            let mut words = parameter.kind.words().to_vec();
            let mut values: Vec<&str> = described.values.iter().map(String::as_str).collect();
            words.sort_unstable();
            values.sort_unstable();
            check("words", format!("{words:?}"), format!("{values:?}"));
        }
        _ => {}
    }
    // Where the reference's sets are marked as defaults it has them only half.
    let mut theirs: Vec<&str> = described.sets.iter().map(String::as_str).filter(|set| *set != "(All)").collect();
    theirs.sort_unstable();
    let mut ours = parameter.sets.to_vec();
    ours.sort_unstable();
    let everywhere = theirs.len() == sets.len() && ours.is_empty();
    if !described.sets.is_empty() && !everywhere {
        check("sets", format!("{ours:?}"), format!("{theirs:?}"));
    }
    differs
}
