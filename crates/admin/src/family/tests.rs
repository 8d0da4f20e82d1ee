//! The settings cmdlets as their callers see them.

use reveille_core::settings::SettingKey;

use super::write::{difference, sentence};
use super::{Record, object};
use crate::call::Caller;
use crate::cmdlet::Outcome;
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::run::run;
use crate::testing::desk;
use crate::value::{Object, Value};

fn with(parameters: &[(&str, Value)]) -> Object {
    parameters.iter().fold(Object::default(), |object, (name, value)| object.with(*name, value.clone()))
}

async fn by(author: &str, name: &str, parameters: &[(&str, Value)], desk: &Desk) -> Result<Outcome, Failure> {
    run(name, &with(parameters), &Caller::owner(author), desk).await
}

async fn ann(name: &str, parameters: &[(&str, Value)], desk: &Desk) -> Outcome {
    by("ann", name, parameters, desk).await.unwrap_or_else(|failure| panic!("{name}: {failure}"))
}

async fn refused(name: &str, parameters: &[(&str, Value)], desk: &Desk) -> Failure {
    by("ann", name, parameters, desk).await.expect_err(name)
}

fn only(outcome: &Outcome) -> &Object {
    assert_eq!(outcome.objects.len(), 1, "{outcome:?}");
    outcome.objects[0].as_object().unwrap()
}

fn text(object: &Object, name: &str) -> String {
    object.property(name).unwrap_or_else(|| panic!("{name} in {object}")).to_string()
}

fn modifier(side: &str, items: &[&str]) -> Value {
    Object::new("").with(side, items.to_vec()).into()
}

#[tokio::test]
async fn the_recipe_of_the_documents_runs_and_shows_what_they_show() {
    let desk = desk();
    let provider = [
        ("Identity", "LyncOnline".into()),
        ("Enabled", true.into()),
        ("ProxyFqdn", "sipfed.online.lync.com".into()),
        ("VerificationLevel", "UseSourceVerification".into()),
    ];
    let made = ann("New-CsHostingProvider", &provider, &desk).await;
    let shown: Vec<String> = only(&made).properties().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        shown.join(" "),
        "Identity=LyncOnline Name=LyncOnline ProxyFqdn=sipfed.online.lync.com VerificationLevel=UseSourceVerification \
         Enabled=True EnabledSharedAddressSpace=False HostsOCSUsers=False IsLocal=False AutodiscoverUrl= \
         SipClientPort=443"
    );
    assert_eq!(only(&made).property("@hidden"), Some(&vec!["SipClientPort"].into()));
    let domain = ann("New-CsAllowedDomain", &[("Identity", "push.lync.com".into())], &desk).await;
    assert_eq!(text(only(&domain), "Domain"), "push.lync.com");
    assert_eq!(text(only(&domain), "VerificationLevel"), "UseSourceVerification");
    let switches =
        [("EnableApplePushNotificationService", true.into()), ("EnableMicrosoftPushNotificationService", true.into())];
    let switched = ann("Set-CsPushNotificationConfiguration", &switches, &desk).await;
    assert!(switched.objects.is_empty());
    assert!(switched.warnings.iter().any(|it| it.contains("-AllowFederatedUsers $True")), "{:?}", switched.warnings);
    let edge = ann("Set-CsAccessEdgeConfiguration", &[("AllowFederatedUsers", true.into())], &desk).await;
    assert_eq!(edge.warnings, [""; 0]);
    assert_eq!(edge.verbose, ["AllowFederatedUsers: false → true"]);
    let edge = ann("Get-CsAccessEdgeConfiguration", &[], &desk).await;
    assert_eq!(text(only(&edge), "Identity"), "Global");
    assert_eq!(text(only(&edge), "AllowFederatedUsers"), "True");
    assert!(only(&edge).property("VerificationLevel").is_none(), "it belongs to a default route");
}

#[tokio::test]
async fn a_second_provider_for_one_edge_is_refused_with_the_name_of_the_first() {
    let desk = desk();
    let provider = |name: &str| {
        [("Identity", name.into()), ("Enabled", true.into()), ("ProxyFqdn", "sipfed.online.lync.com".into())]
    };
    ann("New-CsHostingProvider", &provider("LyncOnline"), &desk).await;
    let second = refused("New-CsHostingProvider", &provider("Other"), &desk).await;
    assert_eq!(second.category, Category::ResourceExists);
    assert_eq!(
        second.message,
        "HostingProvider \"Other\" cannot have sipfed.online.lync.com, which HostingProvider \"LyncOnline\" has already: \
         one edge belongs to one record."
    );
    assert_eq!(second.advice.as_deref(), Some("Get-CsHostingProvider -Identity \"LyncOnline\""));
    let direct = [("Identity", "push.lync.com".into()), ("ProxyFqdn", "sipfed.online.lync.com".into())];
    let direct = refused("New-CsAllowedDomain", &direct, &desk).await;
    assert!(direct.message.contains("\"push.lync.com\"") && direct.message.contains("\"LyncOnline\""), "{direct}");
    assert_eq!(direct.advice.as_deref(), Some("New-CsAllowedDomain -Identity push.lync.com"));
    let again = refused("New-CsHostingProvider", &provider("lynconline"), &desk).await;
    assert_eq!((again.id.as_ref(), again.category), ("AlreadyExists", Category::ResourceExists));
}

#[tokio::test]
async fn a_site_without_a_record_gets_one_of_what_holds_there_and_an_unknown_site_does_not() {
    let desk = desk();
    let at = |site: &str, prefix: &str| [("Identity", site.into()), ("Prefixes", modifier("remove", &[prefix]))];
    let first = ann("Set-CsImFilterConfiguration", &at("site:redmond", "http:"), &desk).await;
    assert_eq!(
        first.warnings,
        ["site:Redmond had no ImFilterConfiguration of its own; it is made now, from the defaults, with the changes."]
    );
    let second = ann("Set-CsImFilterConfiguration", &at("site:Redmond", "HTTPS:"), &desk).await;
    assert_eq!(second.warnings, [""; 0]);
    let site = ann("Get-CsImFilterConfiguration", &[("Identity", "site:Redmond".into())], &desk).await;
    let prefixes = only(&site).property("Prefixes").cloned().unwrap().into_items();
    assert_eq!((prefixes.len(), text(only(&site), "Identity").as_str()), (15, "Site:Redmond"));
    let global = ann("Get-CsImFilterConfiguration", &[("Identity", "Global".into())], &desk).await;
    assert_eq!(only(&global).property("Prefixes").cloned().unwrap().into_items().len(), 17);
    let unknown = refused("Set-CsImFilterConfiguration", &at("site:Paris", "http:"), &desk).await;
    assert_eq!(unknown.id.as_ref(), "SiteNotDeclared");
    assert!(unknown.message.contains("There is no site \"Paris\": declared are site:Redmond."), "{unknown}");
}

#[tokio::test]
async fn what_somebody_else_has_changed_meanwhile_is_not_overwritten() {
    let desk = desk();
    let seen = ann("Get-CsMcxConfiguration", &[], &desk).await.objects.remove(0);
    let shorter = [("SessionExpirationInterval", Value::Int(7200))];
    by("ben", "Set-CsMcxConfiguration", &shorter, &desk).await.unwrap();
    let uri = ("PushNotificationProxyUri", "sip:push@push.example.net".into());
    let late = refused("Set-CsMcxConfiguration", &[("Instance", seen), uri.clone()], &desk).await;
    assert_eq!((late.id.as_ref(), late.category), ("RecordChanged", Category::ResourceBusy));
    assert!(late.message.contains("was made by ben"), "{late}");
    assert_eq!(late.advice.as_deref(), Some("Get-CsMcxConfiguration -Identity \"global\""));
    // Who says what to change, and not what the record should be, loses nothing.
    ann("Set-CsMcxConfiguration", &[uri], &desk).await;
    let now = ann("Get-CsMcxConfiguration", &[], &desk).await;
    assert_eq!(text(only(&now), "SessionExpirationInterval"), "7200");
    assert_eq!(text(only(&now), "PushNotificationProxyUri"), "sip:push@push.example.net");
}

#[tokio::test]
async fn an_object_in_memory_is_kept_by_set_with_instance_and_only_once() {
    let desk = desk();
    let parameters = [("Identity", "contoso.com".into()), ("Comment", "new".into()), ("InMemory", true.into())];
    let object = ann("New-CsAllowedDomain", &parameters, &desk).await.objects.remove(0);
    assert!(ann("Get-CsAllowedDomain", &[], &desk).await.objects.is_empty());
    ann("Set-CsAllowedDomain", &[("Instance", object.clone())], &desk).await;
    assert_eq!(text(only(&ann("Get-CsAllowedDomain", &[], &desk).await), "Comment"), "new");
    let again = [("Instance", object), ("Comment", "newer".into())];
    assert_eq!(refused("Set-CsAllowedDomain", &again, &desk).await.id.as_ref(), "RecordChanged");
    let odd = Object::new("AllowedDomain").with("Identity", "contoso.com").with("Coment", "x");
    let said = refused("Set-CsAllowedDomain", &[("Instance", odd.into())], &desk).await;
    assert!(said.message.contains("no property \"Coment\""), "{said}");
}

#[tokio::test]
async fn with_what_if_a_change_is_told_and_not_made_and_the_rules_hold_all_the_same() {
    let desk = desk();
    let what_if = [("Identity", "contoso.com".into()), ("WhatIf", true.into())];
    let told = ann("New-CsAllowedDomain", &what_if, &desk).await;
    assert_eq!(
        told.what_if,
        ["What if: Performing the operation \"New-CsAllowedDomain\" on target \"AllowedDomain contoso.com\"."]
    );
    assert!(told.objects.is_empty() && ann("Get-CsAllowedDomain", &[], &desk).await.objects.is_empty());
    ann("New-CsBlockedDomain", &[("Domain", "contoso.com".into())], &desk).await;
    let both = refused("New-CsAllowedDomain", &what_if, &desk).await;
    assert_eq!(both.advice.as_deref(), Some("Remove-CsBlockedDomain -Identity contoso.com"));
}

#[tokio::test]
async fn a_global_record_is_reset_and_never_made() {
    let desk = desk();
    ann("Set-CsMcxConfiguration", &[("SessionExpirationInterval", Value::Int(7200))], &desk).await;
    let made = refused("New-CsMcxConfiguration", &[("Identity", "global".into())], &desk).await;
    assert_eq!(made.message, "McxConfiguration \"Global\" exists already. Set-CsMcxConfiguration changes it.");
    let reset = ann("Remove-CsMcxConfiguration", &[("Identity", "Global".into())], &desk).await;
    assert_eq!(reset.warnings, ["The global McxConfiguration cannot be removed; it has its defaults again."]);
    let now = ann("Get-CsMcxConfiguration", &[], &desk).await;
    assert_eq!(text(only(&now), "SessionExpirationInterval"), "259200");
}

#[tokio::test]
async fn the_forms_of_routing_exclude_each_other_and_each_cleans_up_after_the_other() {
    let desk = desk();
    ann(
        "Set-CsAccessEdgeConfiguration",
        &[("UseDnsSrvRouting", true.into()), ("EnablePartnerDiscovery", true.into())],
        &desk,
    )
    .await;
    let route = [("UseDefaultRouting", true.into()), ("DefaultRouteFqdn", "route.example".into())];
    ann("Set-CsAccessEdgeConfiguration", &route, &desk).await;
    let edge = ann("Get-CsAccessEdgeConfiguration", &[], &desk).await;
    assert_eq!(text(only(&edge), "RoutingMethod"), "UseDefaultRouting");
    assert!(only(&edge).property("EnablePartnerDiscovery").is_none(), "not of this form");
    let discovery = refused("Set-CsAccessEdgeConfiguration", &[("EnablePartnerDiscovery", true.into())], &desk).await;
    assert!(discovery.message.contains("belongs to UseDnsSrvRouting"), "{discovery}");
    ann("Set-CsAccessEdgeConfiguration", &[("UseDnsSrvRouting", true.into())], &desk).await;
    let edge = ann("Get-CsAccessEdgeConfiguration", &[], &desk).await;
    assert_eq!(text(only(&edge), "EnablePartnerDiscovery"), "False");
}

#[tokio::test]
async fn a_policy_is_granted_to_a_user_and_taken_back() {
    let desk = desk();
    let ken = || ("Identity", Value::from("sip:ken@contoso.com"));
    let nothing = refused("Grant-CsMobilityPolicy", &[ken(), ("PolicyName", "NoPush".into())], &desk).await;
    assert_eq!(nothing.advice.as_deref(), Some("New-CsMobilityPolicy -Identity \"NoPush\""));
    let policy = [("Identity", "NoPush".into()), ("EnablePushNotifications", false.into())];
    let made = ann("New-CsMobilityPolicy", &policy, &desk).await;
    assert_eq!(text(only(&made), "Identity"), "Tag:NoPush");
    let granted = [ken(), ("PolicyName", "Tag:nopush".into()), ("PassThru", true.into())];
    assert_eq!(text(only(&ann("Grant-CsMobilityPolicy", &granted, &desk).await), "Identity"), "sip:ken@contoso.com");
    let applicable = [("ApplicableTo", "ken@contoso.com".into())];
    let holds = ann("Get-CsMobilityPolicy", &applicable, &desk).await;
    assert_eq!(text(only(&holds), "EnablePushNotifications"), "False");
    let used = refused("Remove-CsMobilityPolicy", &[("Identity", "NoPush".into())], &desk).await;
    assert!(used.message.contains("is granted to ken@contoso.com"), "{used}");
    ann("Grant-CsMobilityPolicy", &[ken(), ("PolicyName", Value::Null)], &desk).await;
    let holds = ann("Get-CsMobilityPolicy", &applicable, &desk).await;
    assert_eq!(text(only(&holds), "Identity"), "Global");
    ann("Remove-CsMobilityPolicy", &[("Identity", "tag:NoPush".into())], &desk).await;
}

#[tokio::test]
async fn what_is_so_already_makes_no_history() {
    let desk = desk();
    let on = [("EnableApplePushNotificationService", true.into())];
    ann("Set-CsPushNotificationConfiguration", &on, &desk).await;
    let before = desk.settings.fresh().unwrap().version();
    let again = ann("Set-CsPushNotificationConfiguration", &on, &desk).await;
    assert_eq!(again.verbose, ["PushNotificationConfiguration \"global\" is so already; nothing is changed."]);
    assert_eq!(desk.settings.fresh().unwrap().version(), before);
}

#[tokio::test]
async fn a_link_of_autodiscover_is_added_and_replaced_by_its_token() {
    let desk = desk();
    let link = |href: &str| Value::from(Object::new("").with("Token", "External/Mcx").with("Href", href));
    let add = |href: &str| [("WebLinks", Value::from(Object::new("").with("Add", link(href))))];
    ann("Set-CsAutodiscoverConfiguration", &add("https://a.example/mcx"), &desk).await;
    ann("Set-CsAutodiscoverConfiguration", &add("https://b.example/mcx"), &desk).await;
    ann("Set-CsAutodiscoverConfiguration", &[("WebLinks", link("https://c.example/mcx"))], &desk).await;
    let now = ann("Get-CsAutodiscoverConfiguration", &[], &desk).await;
    let links = only(&now).property("WebLinks").cloned().unwrap().into_items();
    assert_eq!(links.len(), 1);
    assert_eq!(text(links[0].as_object().unwrap(), "Href"), "https://c.example/mcx");
}

#[tokio::test]
async fn a_record_that_is_not_there_is_not_found_and_the_one_who_forgets_its_name_is_asked_which() {
    let desk = desk();
    for (name, parameters, id, part) in [
        (
            "Get-CsAllowedDomain",
            vec![("Identity", "a.example".into())],
            "ObjectNotFound",
            "no AllowedDomain \"a.example\"",
        ),
        ("Set-CsAllowedDomain", vec![("Comment", "x".into())], "MissingMandatoryParameter", "Which AllowedDomain?"),
        ("Enable-CsHostingProvider", vec![("Identity", "X".into())], "ObjectNotFound", "no HostingProvider \"X\""),
        (
            "Get-CsMcxConfiguration",
            vec![("Identity", "site:Redmond".into())],
            "ObjectNotFound",
            "What is broader holds there.",
        ),
        (
            "Set-CsMcxConfiguration",
            vec![("SessionExpirationInterval", Value::Int(3600))],
            "SettingsConflict",
            "SessionExpirationInterval (3600 s) must be greater",
        ),
    ] {
        let failure = refused(name, &parameters, &desk).await;
        assert_eq!(failure.id.as_ref(), id, "{name}: {failure}");
        assert!(failure.message.contains(part), "{name}: {failure}");
    }
    assert!(desk.settings.snapshot().row(&SettingKey::new("AllowedDomain", "a.example")).is_none());
}

#[test]
fn a_list_takes_what_is_added_and_loses_what_is_removed() {
    let before = serde_json::json!(["http:", "https:", "ftp:"]);
    for (modifier, expected) in [
        (Object::new("ListModifier").with("Remove", vec!["HTTP:"]), serde_json::json!(["https:", "ftp:"])),
        (
            Object::new("ListModifier").with("Add", vec!["ftp:", "sip:"]),
            serde_json::json!(["http:", "https:", "ftp:", "sip:"]),
        ),
        (Object::new("ListModifier").with("Replace", vec!["tel:"]), serde_json::json!(["tel:"])),
    ] {
        assert_eq!(object::modified(Some(&before), &modifier), expected, "{modifier}");
    }
}

#[test]
fn long_lists_are_worked_on_in_a_moment() {
    let many = |from: usize, to: usize| (from..to).map(|index| format!("{index}:")).collect::<Vec<_>>();
    let before = serde_json::json!(many(0, 20_000));
    let begin = std::time::Instant::now();
    let added = object::modified(Some(&before), &Object::new("ListModifier").with("Add", many(10_000, 40_000)));
    let left = object::modified(Some(&added), &Object::new("ListModifier").with("Remove", many(0, 39_999)));
    // Each with each would be a billion comparisons, a minute of them.
    assert!(begin.elapsed() < std::time::Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!((added.as_array().map(Vec::len), left), (Some(40_000), serde_json::json!(["39999:"])));
}

#[test]
fn a_difference_names_each_property_with_before_and_after() {
    let record = |text: &str| -> Record { serde_json::from_str(text).unwrap() };
    let (before, after) = (record(r#"{"Identity":"x","A":1,"B":"b"}"#), record(r#"{"Identity":"x","B":"c","C":true}"#));
    assert_eq!(difference(Some(&before), &after), ["A: 1 → nothing", "B: b → c", "C: nothing → true"]);
}

#[test]
fn a_sentence_begins_with_a_capital_unless_it_begins_with_a_name() {
    for (text, expected) in [
        ("there is nothing", "There is nothing."),
        ("push.lync.com is blocked", "push.lync.com is blocked."),
        ("SessionExpirationInterval is 0.", "SessionExpirationInterval is 0."),
        ("", "."),
    ] {
        assert_eq!(sentence(text), expected);
    }
}

#[tokio::test]
async fn a_set_of_what_is_not_there_names_the_command_that_makes_it() {
    let desk = desk();
    let serves = Object::new("ListModifier").with("Add", vec!["contoso.com", "fabrikam.com"]);
    let app = [("Identity", "org.example.chat".into()), ("Serves", serves.into())];
    let failure = refused("Set-CsPushApp", &app, &desk).await;
    let command = "New-CsPushApp -Identity org.example.chat -Serves contoso.com,fabrikam.com";
    assert_eq!(failure.advice.as_deref(), Some(command));
    assert!(failure.message.ends_with(&format!("To make it: {command}")), "{failure}");
    let policy = [("Identity", "No Push".into()), ("EnablePushNotifications", false.into())];
    let failure = refused("Set-CsMobilityPolicy", &policy, &desk).await;
    assert_eq!(
        failure.advice.as_deref(),
        Some("New-CsMobilityPolicy -Identity 'tag:No Push' -EnablePushNotifications $False")
    );
}

#[tokio::test]
async fn a_pattern_in_the_place_of_an_identity_is_told_of_filter() {
    let desk = desk();
    for (name, pattern, part) in [
        ("Get-CsHostingProvider", "prov*", "A pattern goes with -Filter: Get-CsHostingProvider -Filter 'prov*'."),
        ("Get-CsAllowedDomain", "tmp*", "is not a domain name"),
        ("Get-CsAllowedDomain", "tmp*", "A pattern goes with -Filter."),
    ] {
        let failure = refused(name, &[("Identity", pattern.into())], &desk).await;
        assert!(failure.message.contains(part), "{failure}");
    }
    let removed = refused("Remove-CsAllowedDomain", &[("Identity", "tmp*".into())], &desk).await;
    assert!(!removed.message.contains("-Filter"), "a Remove has none: {removed}");
}
