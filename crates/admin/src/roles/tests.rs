//! Every cmdlet with every predefined role, every local group and two roles of one's own, compared with the table that
//! a person reads: `tests/rbac.txt`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::cmdlet::Area;
use crate::value::{Object, Value};

/// What a call may touch, with the letter that stands for it in the table.
const TARGETS: &[(char, &str, &str)] = &[
    ('*', "", ""),
    ('g', "Identity", "global"),
    ('R', "Identity", "site:Redmond"),
    ('D', "Identity", "site:Dublin"),
    ('a', "User", "sip:alice@contoso.com"),
    ('k', "User", "sip:ken@litwareinc.com"),
];

/// The two roles of one's own: one that looks after a site, and one that looks after the users of a domain.
pub(crate) fn own_roles() -> [AdminRole; 2] {
    let of = |identity: &str, template: &str, config: &[&str], users: &[&str]| AdminRole {
        identity: identity.into(),
        template: template.into(),
        cmdlets: predefined(template).unwrap().grant().cmdlets.iter().map(ToString::to_string).collect(),
        script_modules: Vec::new(),
        config_scopes: config.iter().map(ToString::to_string).collect(),
        user_scopes: users.iter().map(ToString::to_string).collect(),
    };
    [
        of("RedmondAdministrator", "CsAdministrator", &["site:Redmond"], &[]),
        of("ContosoHelp", "CsUserAdministrator", &[], &["domain:contoso.com"]),
    ]
}

fn call(about: &About, parameter: &str, value: &str) -> Call {
    let mut values: BTreeMap<&'static str, Value> = BTreeMap::new();
    let known = match about.parameter(parameter) {
        // The user of a cmdlet about users is its identity where there is nothing else.
        None if parameter == "User" => about
            .parameters
            .iter()
            .find(|it| matches!(it.kind, crate::kind::Kind::SipAddress | crate::kind::Kind::User)),
        known => known,
    };
    if let Some(known) = known {
        values.insert(known.name, value.into());
    }
    Call { name: about.name, set: "", what_if: true, caller: Caller::default(), values }
}

/// What of the targets a holder of `grant` may touch with a cmdlet: `-` nothing, `all` everything, else their letters.
fn cell(grant: &Grant, about: &About) -> String {
    let rights = Rights { grants: vec![grant.clone()] };
    let possible = TARGETS.iter().filter(|(letter, ..)| match (about.area, letter) {
        (_, '*') => about.area != Area::Scoped || !about.changes,
        (Area::Scoped, 'g' | 'R' | 'D') => about.changes,
        (Area::Users, 'a' | 'k') => true,
        (Area::Tests, 'a' | 'k') => {
            about.parameters.iter().any(|it| matches!(it.kind, crate::kind::Kind::SipAddress | crate::kind::Kind::User))
        }
        _ => false,
    });
    let possible: Vec<_> = possible.collect();
    let may = possible.iter().filter(|(_, name, value)| rights.may(about, &call(about, name, value)).is_ok());
    match may.map(|(letter, ..)| *letter).collect::<String>() {
        none if none.is_empty() => "-".into(),
        all if all.chars().count() == possible.len() => "all".into(),
        some => some,
    }
}

fn table() -> String {
    let mut grants: Vec<(String, Grant)> = Vec::new();
    for (index, role) in PREDEFINED.iter().enumerate() {
        // The last six have nothing, which a test of its own says.
        if index < 5 {
            grants.push((role.name.trim_start_matches("Cs").replace("Administrator", "Adm"), role.grant()));
        }
    }
    for group in &LOCAL_GROUPS {
        grants.push((group.name.trim_start_matches("RTCUniversal").to_owned(), group.grant()));
    }
    for role in &own_roles() {
        grants.push((role.identity.replace("Administrator", "Adm"), Grant::of_custom(role)));
    }
    let mut text = String::from(
        "Who may run what. Columns: the predefined roles (Cs… left out), the groups of this machine (RTCUniversal… left\n\
         out), and two roles of one's own: RedmondAdministrator (CsAdministrator on site:Redmond, no users) and ContosoHelp\n\
         (CsUserAdministrator for domain:contoso.com). The other six predefined roles have nothing.\n\
         -    may not run it\n\
         all  on everything\n\
         *    without naming what it touches; g the global record; R, D those of site:Redmond, site:Dublin;\n\
         a, k the users alice@contoso.com, ken@litwareinc.com\n\n",
    );
    let mut names: Vec<&About> = catalogue().collect();
    names.sort_by_key(|about| (about.name.noun, about.name.verb));
    let _ = write!(text, "{:42}", "");
    for (name, _) in &grants {
        let _ = write!(text, "{name:>18}");
    }
    text.push('\n');
    for about in names {
        let _ = write!(text, "{:42}", about.name.to_string());
        for (_, grant) in &grants {
            let _ = write!(text, "{:>18}", cell(grant, about));
        }
        text.push('\n');
    }
    text
}

fn catalogue() -> impl Iterator<Item = &'static About> {
    cmdlets::CMDLETS.iter().map(|cmdlet| cmdlet.about())
}

#[test]
fn who_may_run_what_is_as_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rbac.txt");
    let now = table();
    if std::env::var_os("REVEILLE_BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = now.lines().zip(written.lines()).find(|(now, written)| now != written);
    assert!(
        now == written,
        "tests/rbac.txt is not current, first here:\n{differs:?}\nLook whether it should be so, and write it anew with \
         REVEILLE_BLESS=1."
    );
}

#[test]
fn the_six_roles_for_what_the_product_does_not_have_have_nothing() {
    for role in &PREDEFINED[5..] {
        assert!(role.grant().cmdlets.is_empty(), "{}", role.name);
    }
    assert!(catalogue().all(|about| PREDEFINED[0].grant().cmdlets.contains(&about.name)));
}

#[test]
fn nobody_but_administrators_changes_what_holds_for_everybody() {
    for about in catalogue().filter(|about| about.changes) {
        let global = call(about, "Identity", "global");
        for role in &PREDEFINED[1..] {
            let rights = Rights { grants: vec![role.grant()] };
            let may = rights.may(about, &global).is_ok();
            assert!(
                !may || matches!(about.area, Area::Own | Area::Users),
                "{} may run {} globally",
                role.name,
                about.name
            );
        }
    }
}

#[test]
fn a_record_of_a_site_is_that_of_whatever_names_it_and_all_must_agree() {
    let redmond = Rights { grants: vec![Grant::of_custom(&own_roles()[0])] };
    let scoped = About { area: Area::Scoped, changes: true, ..*catalogue().find(|it| it.changes).unwrap() };
    let instance = |identity: &str| Value::from(Object::new("McxConfiguration").with("Identity", identity));
    for (values, may) in [
        (vec![("Identity", "site:Redmond".into())], true),
        (vec![("Identity", "SITE:redmond".into())], true),
        (vec![("Identity", "site:Redmond ".into())], false),
        (vec![("Identity", " site:Redmond".into())], false),
        (vec![("Identity", "site:Redmond\u{200b}".into())], false),
        (vec![("Identity", "Redmond".into())], false),
        (vec![("Identity", "global".into())], false),
        (vec![("Identity", "service:WebServer:atl-cs-001.litwareinc.com".into())], false),
        (vec![("Identity", "tag:RedmondMobilityPolicy".into())], false),
        (vec![("Identity", Value::Null)], false),
        (vec![], false),
        (vec![("Instance", instance("site:Redmond"))], true),
        (vec![("Instance", instance("site:Dublin"))], false),
        (vec![("Instance", Object::new("McxConfiguration").into())], false),
        (vec![("Identity", "site:Redmond".into()), ("Instance", instance("global"))], false),
        (
            vec![("Instance", Object::new("X").with("Identity", "site:Redmond").with("@identity", "global").into())],
            false,
        ),
    ] {
        let call = Call {
            name: scoped.name,
            set: "",
            what_if: false,
            caller: Caller::default(),
            values: values.clone().into_iter().collect(),
        };
        assert_eq!(redmond.may(&scoped, &call).is_ok(), may, "{values:?}");
    }
}

/// What somebody may send as a value who looks for a way round.
fn odd_value() -> impl Strategy<Value = serde_json::Value> {
    let text = prop::sample::select(vec![
        "site:Redmond",
        "SITE:REDMOND",
        "site:Dublin",
        "site:Redmond ",
        "global",
        "Redmond",
        "tag:Redmond",
        "service:WebServer:site:Redmond",
        "",
    ])
    .prop_map(serde_json::Value::from);
    let leaf = prop_oneof![
        text,
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into)
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let name =
            prop::sample::select(vec!["Identity", "identity", "@identity", "Scope", "PSTypeName", "@version", "X"]);
        let kind = prop::sample::select(vec!["McxConfiguration", "MobilityPolicy", "PushNotificationConfiguration"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(serde_json::Value::Array),
            (kind, prop::collection::vec((name, inner), 0..4)).prop_map(|(kind, members)| {
                let mut object = serde_json::Map::new();
                object.insert("PSTypeName".into(), kind.into());
                object.extend(members.into_iter().map(|(name, value)| (name.to_owned(), value)));
                object.into()
            }),
        ]
    })
}

proptest! {
    /// Whatever is sent, it is bound or refused; and what a role of one site is let do names that site and no other.
    #[test]
    fn whatever_is_sent_a_role_of_a_site_stays_there(
        cmdlet in 0..CMDLETS_MOST,
        sent in prop::collection::vec((prop_oneof![3 => 0..6usize, 1 => 6..40usize], odd_value()), 1..4),
    ) {
        let scoped: Vec<_> = catalogue().filter(|about| about.area == Area::Scoped && about.changes).collect();
        let about = scoped[cmdlet % scoped.len()];
        let names = ["Identity", "Instance", "identity", "INSTANCE", "WhatIf", "Force"];
        let all: Vec<&str> = names.into_iter().chain(about.parameters.iter().map(|it| it.name)).collect();
        let mut parameters = serde_json::Map::new();
        for (index, value) in sent {
            parameters.insert(all[index % all.len()].to_owned(), value);
        }
        let parameters: Object = serde_json::from_value(parameters.into()).unwrap();
        let redmond = Rights { grants: vec![Grant::of_custom(&own_roles()[0])] };
        let bound = crate::bind::bind_object(about, &parameters).and_then(|it| it.finish(Caller::default()));
        if let Ok(call) = bound && redmond.may(about, &call).is_ok() {
            let instance = call.object("Instance").and_then(|it| it.property("Identity")).and_then(Value::as_text);
            let named: Vec<&str> = call.text("Identity").into_iter().chain(instance).collect();
            prop_assert!(!named.is_empty() && named.iter().all(|it| it.eq_ignore_ascii_case("site:redmond")), "{call:?}");
        }
    }
}

const CMDLETS_MOST: usize = 1000;

#[test]
fn the_predefined_roles_are_those_that_no_record_may_be_called() {
    let mut names: Vec<&str> = PREDEFINED.iter().map(|role| role.name).collect();
    names.sort_unstable();
    assert_eq!(names, reveille_core::settings::PREDEFINED_ROLES);
}
