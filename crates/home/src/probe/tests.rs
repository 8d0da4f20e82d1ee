//! What an administrator reads for each way that a test can fail: no two look alike, and each names what mends it.

use reveille_core::settings::Setting;
use reveille_core::stage::Walk;
use reveille_federation::probe::{Said, Times, Told};
use reveille_federation::push_result::{PushResult, Taken};

use super::*;

pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

pub(super) const RECIPE: [&str; 3] = [
    r#"{"Kind":"HostingProvider","Identity":"LyncOnline","ProxyFqdn":"sipfed.online.lync.com","Enabled":true,"VerificationLevel":"UseSourceVerification"}"#,
    r#"{"Kind":"AllowedDomain","Identity":"push.lync.com"}"#,
    r#"{"Kind":"PushNotificationConfiguration","EnableApplePushNotificationService":true}"#,
];

pub(super) fn settings(rows: &[&str]) -> Snapshot {
    Snapshot::of(rows.iter().map(|row| serde_json::from_str::<Setting>(row).unwrap())).unwrap()
}

pub(super) fn domain(text: &str) -> SipDomain {
    text.parse().unwrap()
}

pub(super) fn doors() -> Doors {
    Doors {
        home: domain("home.contoso.com"),
        home_also: vec![domain("atl-cs-001.litwareinc.com")],
        domain: domain("contoso.com"),
        domains: vec![domain("contoso.com"), domain("litwareinc.com")],
        edge: domain("edge.contoso.com"),
        edge_also: vec![domain("accessproxy.contoso.com")],
    }
}

pub(super) fn push(edge: &str) -> Order {
    let goal = Goal::Push { device: None, patience: Duration::from_secs(1) };
    Order { edge: Some(domain(edge)), ignore_own_name: false, goal }
}

pub(super) fn partner(name: &str, proxy: Option<&str>) -> Order {
    let goal = Goal::Partner { domain: domain(name), proxy: proxy.map(domain) };
    Order { edge: Some(domain("accessproxy.contoso.com")), ignore_own_name: false, goal }
}

/// What the edge tells of a way that it walked up to `failed`, if it did not come through.
pub(super) fn told(failed: Option<Told>) -> Vec<Told> {
    let passed = [
        Told::passed(Stage::OwnName, Duration::from_micros(3)).at("edge.contoso.com"),
        Told::passed(Stage::Policy, Duration::from_micros(2)),
        Told::passed(Stage::Name, Duration::from_millis(3)).at("sipfed.online.lync.com"),
        Told::passed(Stage::Address, Duration::from_millis(1)).at("203.0.113.9:5061"),
        Told::passed(Stage::Connect, Duration::from_millis(8)).at("203.0.113.9:5061"),
        Told::passed(Stage::TheirCertificate, Duration::from_millis(9)).at("sipfed.online.lync.com"),
        Told::passed(Stage::OurCertificate, Duration::from_millis(8)),
        Told::passed(Stage::Sip, Duration::from_millis(20)).at("202"),
    ];
    match failed {
        None => passed.to_vec(),
        Some(failed) => {
            passed.into_iter().take_while(|told| told.stage < failed.stage).chain([failed.clone()]).collect()
        }
    }
}

pub(super) fn failed(stage: Stage, why: &str) -> Option<Told> {
    Some(Told::failed(stage, Duration::from_millis(1)).at("sipfed.online.lync.com").why(why))
}

fn said(number: u32, source: Option<&str>) -> Option<Said> {
    let advice = source.map(|_| "do this".to_owned());
    Some(Said { number, reason: "the reason".into(), source: source.map(Into::into), advice })
}

/// Our own edge's refusal at a stage.
pub(super) fn ours(stage: Stage, number: u32, why: &str) -> Answer {
    let phrase = "Server Time-out".into();
    Answer {
        status: 504,
        phrase,
        told: told(failed(stage, why)),
        said: said(number, Some("edge")),
        ..Answer::default()
    }
}

/// The partner's answer.
pub(super) fn theirs(status: u16, number: u32) -> Answer {
    let said = said(number, None).filter(|_| number > 0);
    Answer { status, phrase: "Said".into(), told: told(None), said, ..Answer::default() }
}

pub(super) fn journaled() -> Answer {
    let times =
        Times { intake: Duration::from_micros(9), journal: Duration::from_millis(2), dispatched: false, back: None };
    Answer { result: Some(PushResult::new(Taken::Journaled)), times: Some(times), ..theirs(202, 0) }
}

pub(super) fn walk(order: &Order, settings: &Snapshot, asked: Asked) -> Walk {
    let doors = doors();
    let facts = Facts { order, doors: &doors, settings, site: "Redmond", now: NOW };
    let outcome = facts.destination().map(|_| (asked, Duration::from_millis(60)));
    facts.report(Duration::from_micros(5), outcome).walk
}

pub(super) fn of(order: &Order, rows: &[&str], answer: Answer) -> Walk {
    walk(order, &settings(rows), Asked::Answered(Box::new(answer)))
}

pub(super) const INNER: &str = "accessproxy.contoso.com";

#[test]
fn a_test_that_comes_through_has_every_stage_once_and_in_order() {
    let found = of(&push(INNER), &RECIPE, journaled());
    assert_eq!(found.trouble, None);
    let stages: Vec<_> = found.steps.iter().map(|step| step.stage).collect();
    assert_eq!(stages, Stage::ALL[..14], "all but the device's");
    assert!(found.hints.is_empty() && found.steps.iter().all(|step| step.passed));
    let outside: Duration = found.steps[2..10].iter().map(|step| step.took).sum();
    assert_eq!(found.steps[1].took, Duration::from_millis(60) - outside);
}

#[test]
fn the_settings_of_this_very_home_come_before_its_sites() {
    let home = doors().home;
    let own = format!(
        r#"{{"Kind":"McxConfiguration","Identity":"service:WebServer:{home}","PushNotificationProxyUri":"sip:own@push.lync.com"}}"#
    );
    let site =
        r#"{"Kind":"McxConfiguration","Identity":"site:Redmond","PushNotificationProxyUri":"sip:bell@push.lync.com"}"#;
    let [provider, allowed, on] = RECIPE;
    let (doors, order) = (doors(), push(INNER));
    for (rows, destination) in [
        (&[provider, allowed, on][..], "sip:push@push.lync.com"),
        (&[provider, allowed, on, site], "sip:bell@push.lync.com"),
        (&[provider, allowed, on, site, &own], "sip:own@push.lync.com"),
    ] {
        let settings = settings(rows);
        let facts = Facts { order: &order, doors: &doors, settings: &settings, site: "Redmond", now: NOW };
        assert_eq!(facts.destination().unwrap(), destination);
    }
}

#[test]
fn each_failure_has_its_stage_its_fault_and_its_remedy() {
    use Fault::{Configuration, Peer};
    let off = RECIPE[0].replace("true", "false");
    let wrong = r#"{"Kind":"McxConfiguration","PushNotificationProxyUri":"sip:push@push.wrong.example"}"#;
    let other =
        r#"{"Kind":"McxConfiguration","Identity":"site:Redmond","PushNotificationProxyUri":"sip:bell@push.lync.com"}"#;
    let [provider, allowed, on] = RECIPE;
    let no_answer = |stage, why| ours(stage, 1046, why);
    for (rows, answer, stage, fault, remedy) in [
        (
            &[provider, allowed][..],
            journaled(),
            Stage::Settings,
            Configuration,
            "Set-CsPushNotificationConfiguration -Identity global -EnableApple",
        ),
        (&RECIPE, ours(Stage::Policy, 90104, "federation-off"), Stage::Policy, Configuration, "do this"),
        (&[provider, on], ours(Stage::Policy, 90103, "domain-not-allowed"), Stage::Policy, Configuration, "do this"),
        (
            &[wrong, provider, allowed, on],
            ours(Stage::Policy, 90103, "domain-not-allowed"),
            Stage::Policy,
            Configuration,
            "Set-CsMcxConfiguration -Identity global -PushNotificationProxyUri \"sip:push@push.lync.com\"",
        ),
        (
            &[&off, allowed, on],
            ours(Stage::Name, 1009, "srv-names-another"),
            Stage::Policy,
            Configuration,
            "Enable-CsHostingProvider -Identity \"LyncOnline\"",
        ),
        (
            &[allowed, on],
            ours(Stage::Name, 1009, "srv-names-another"),
            Stage::Policy,
            Configuration,
            "New-CsHostingProvider -Identity \"sipfed.online.lync.com\" -Enabled $True -ProxyFqdn \"sipfed.online.lync.com\"",
        ),
        (
            &RECIPE,
            ours(Stage::Name, 1008, "srv-not-found"),
            Stage::Name,
            Peer,
            "have push.lync.com publish: _sipfederationtls._tcp.push.lync.com. IN SRV 0 0 5061 sipfed.online.lync.com.",
        ),
        (
            &RECIPE,
            ours(Stage::Address, 1014, "address-not-found"),
            Stage::Address,
            Peer,
            "publish an address (A or AAAA) of sipfed.online.lync.com",
        ),
        (&RECIPE, no_answer(Stage::Connect, "refused"), Stage::Connect, Peer, "check that sipfed.online.lync.com runs"),
        (
            &RECIPE,
            ours(Stage::TheirCertificate, 1010, "names-another"),
            Stage::TheirCertificate,
            Peer,
            "ask push.lync.com for a certificate that names sipfed.online.lync.com",
        ),
        (
            &RECIPE,
            ours(Stage::TheirCertificate, 1010, "unknown-issuer"),
            Stage::TheirCertificate,
            Configuration,
            "edge.tls.roots",
        ),
        (
            &RECIPE,
            no_answer(Stage::TheirCertificate, "hung-up"),
            Stage::TheirCertificate,
            Peer,
            "a firewall in between",
        ),
        (
            &RECIPE,
            ours(Stage::OurCertificate, 1047, "peer-rejected-ours"),
            Stage::OurCertificate,
            Peer,
            "have push.lync.com trust the authority",
        ),
        (&RECIPE, no_answer(Stage::Sip, "no-answer"), Stage::Sip, Peer, "did not answer the request"),
        (
            &RECIPE,
            theirs(403, 1010),
            Stage::OurCertificate,
            Peer,
            "Set-CsAllowedDomain -Identity contoso.com -ProxyFqdn edge.contoso.com",
        ),
        (
            &RECIPE,
            theirs(403, 90103),
            Stage::PartnersPolicy,
            Peer,
            "ask push.lync.com to run: New-CsAllowedDomain -Identity contoso.com",
        ),
        (&RECIPE, theirs(403, 90102), Stage::PartnersPolicy, Peer, "Remove-CsBlockedDomain -Identity contoso.com"),
        (
            &RECIPE,
            theirs(403, 90104),
            Stage::PartnersPolicy,
            Peer,
            "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True",
        ),
        (&RECIPE, theirs(403, 1034), Stage::PartnersPolicy, Peer, "ask push.lync.com to allow contoso.com"),
        (
            &RECIPE,
            theirs(404, 1005),
            Stage::PartnersPolicy,
            Configuration,
            "where PUBLISHER is the domain that the publisher of your app has told you",
        ),
        (
            &[other, provider, allowed, on],
            theirs(404, 1003),
            Stage::Intake,
            Configuration,
            "Set-CsMcxConfiguration -Identity site:Redmond -PushNotificationProxyUri \"sip:push@push.lync.com\"",
        ),
        (&RECIPE, theirs(504, 1046), Stage::Intake, Peer, "tell push.lync.com that its clearing house does not answer"),
        (&RECIPE, theirs(503, 90106), Stage::Journal, Peer, "tell push.lync.com"),
        (&RECIPE, theirs(400, 90129), Stage::Intake, Fault::Ours, "timedatectl set-ntp true"),
        (&RECIPE, theirs(400, 90101), Stage::Intake, Fault::Ours, "to one version"),
        (&RECIPE, theirs(415, 0), Stage::Intake, Configuration, "-PushNotificationProxyUri"),
        (&RECIPE, theirs(202, 0), Stage::Intake, Configuration, "-PushNotificationProxyUri"),
    ] {
        let what = format!("{} {}", answer.status, answer.number());
        let walk = of(&push(INNER), rows, answer);
        let trouble = walk.trouble.unwrap_or_else(|| panic!("{what} is a failure"));
        assert_eq!((trouble.stage, trouble.fault), (stage, fault), "{what}: {trouble:?}");
        assert!(trouble.remedy.contains(remedy), "{what}: {}", trouble.remedy);
        assert!(!trouble.sentence.is_empty() && walk.steps.last().is_some_and(|step| !step.passed), "{what}");
    }
}

#[test]
fn a_filter_that_blocks_links_rejects_the_test_until_both_prefixes_are_gone() {
    let blocks = r#"{"Kind":"ImFilterConfiguration","Identity":"site:Redmond","Enabled":true,"Action":"Block","Prefixes":["http:","https:","sip:"]}"#;
    let [provider, allowed, on] = RECIPE;
    let walk = of(&push(INNER), &[blocks, provider, allowed, on], journaled());
    let trouble = walk.trouble.expect("rejected");
    assert_eq!((trouble.stage, trouble.failure), (Stage::Settings, Failure::ImFilterRejects));
    assert_eq!(
        trouble.remedy,
        "Set-CsImFilterConfiguration -Identity site:Redmond -Prefixes @{remove=\"http:\",\"https:\"}"
    );
    let others = blocks.replace("\"http:\",\"https:\",", "");
    assert!(of(&push(INNER), &[&others, provider, allowed, on], journaled()).succeeded());
}

#[test]
fn a_record_that_leads_to_another_than_the_provider_we_know_is_the_records_fault() {
    let mut answer = ours(Stage::Name, 1009, "srv-names-another");
    answer.told.last_mut().unwrap().name = Some("sip.evil.example".into());
    let trouble = of(&push(INNER), &RECIPE, answer.clone()).trouble.expect("it leads elsewhere");
    assert_eq!((trouble.stage, trouble.failure), (Stage::Name, Failure::SrvNamesAnother));
    assert!(trouble.remedy.contains("_sipfederationtls._tcp.push.lync.com. IN SRV 0 0 5061 sipfed.online.lync.com."));
    // What the administrator expects decides before what is configured.
    let order = partner("push.lync.com", Some("sip.evil.example"));
    let trouble = of(&order, &RECIPE, answer).trouble.expect("no provider");
    assert_eq!((trouble.stage, trouble.failure), (Stage::Policy, Failure::ProviderMissing));
}

#[test]
fn the_outer_name_of_the_edge_is_taken_with_a_hint_and_a_strangers_is_not() {
    let outer = of(&push("edge.contoso.com"), &RECIPE, journaled());
    assert!(outer.succeeded() && outer.hints.len() == 1, "{outer:?}");
    assert!(outer.hints[0].contains("-AccessEdgeFqdn accessproxy.contoso.com"));
    let stranger = of(&push("edge.fabrikam.com"), &RECIPE, journaled()).trouble.expect("not ours");
    assert_eq!((stranger.stage, stranger.failure), (Stage::OurEdge, Failure::EdgeUnknown));
    assert_eq!(stranger.remedy, "Test-CsMcxPushNotification -AccessEdgeFqdn edge.contoso.com");
}

#[test]
fn home_is_told_by_the_name_that_goes_with_the_edges() {
    for (edge, home) in [
        ("accessproxy.contoso.com", "home.contoso.com"),
        ("atl-edge-001.litwareinc.com", "atl-cs-001.litwareinc.com"),
        ("edge.fabrikam.com", "home.contoso.com"),
    ] {
        assert_eq!(doors().home_beside(Some(&domain(edge))).as_str(), home, "{edge}");
    }
    assert_eq!(doors().home_beside(None).as_str(), "home.contoso.com");
}

#[test]
fn our_own_missing_record_is_told_when_nothing_worse_is_and_may_be_left_out() {
    let without = |mut answer: Answer| {
        answer.told[0] = Told::failed(Stage::OwnName, Duration::ZERO).at("edge.contoso.com").why("srv-not-found");
        answer
    };
    let walk_of = |order: &Order, answer| of(order, &RECIPE, without(answer));
    let trouble = walk_of(&push(INNER), journaled()).trouble.expect("partners do not find us");
    assert_eq!((trouble.stage, trouble.fault), (Stage::OwnName, Fault::Configuration));
    assert!(
        trouble.remedy.starts_with("publish: _sipfederationtls._tcp.contoso.com. IN SRV 0 0 5061 edge.contoso.com.")
    );
    assert!(
        trouble.remedy.ends_with(": Test-CsMcxPushNotification -AccessEdgeFqdn accessproxy.contoso.com -IgnoreOwnName")
    );
    assert!(
        trouble.sentence.contains("push requests go out (push.lync.com has taken this one)"),
        "{}",
        trouble.sentence
    );
    let known = |server: &str| {
        let times = journaled().times.map(|times| Times { back: Some(domain(server)), ..times });
        walk_of(&push(INNER), Answer { times, ..journaled() })
    };
    for (server, words) in [
        ("edge.contoso.com", "it reaches us at edge.contoso.com, our edge."),
        (
            "old.contoso.com",
            "it reaches us at old.contoso.com, which is not the name edge.contoso.com that our edge goes by",
        ),
    ] {
        let found = known(server);
        assert!(found.succeeded() && found.hints.len() == 1, "{found:?}");
        assert!(found.hints[0].contains(words), "{}", found.hints[0]);
    }
    let to_partner =
        walk_of(&partner("push.lync.com", None), theirs(200, 0)).trouble.expect("nobody says how it finds us");
    assert!(to_partner.remedy.contains("-Domain push.lync.com -IgnoreOwnName"), "{}", to_partner.remedy);
    let mut known = theirs(200, 0);
    let certificate = known.told.iter_mut().find(|told| told.stage == Stage::OurCertificate).expect("it was shown");
    *certificate = certificate.clone().at("edge.contoso.com");
    let known = walk_of(&partner("push.lync.com", None), known);
    assert!(known.succeeded() && known.hints.len() == 1, "{known:?}");
    assert!(known.hints[0].contains("push.lync.com does not need it: it reaches us at edge.contoso.com, our edge"));
    let mut silent = without(journaled());
    silent.told[0].why = Some("name-servers".into());
    let silent = of(&push(INNER), &RECIPE, silent).trouble.expect("not known");
    assert!(silent.fault == Fault::Ours && silent.sentence.contains("is not known"), "{silent:?}");
    let worse = walk_of(&push(INNER), ours(Stage::Policy, 90104, "federation-off"));
    assert_eq!(worse.trouble.map(|trouble| trouble.stage), Some(Stage::Policy));
    assert_eq!(worse.hints.len(), 1);
    let order = Order { ignore_own_name: true, ..push(INNER) };
    let ignored = walk_of(&order, journaled());
    assert!(ignored.succeeded() && ignored.hints.len() == 1);
}

#[test]
fn a_partner_is_listed_and_reached_at_the_server_that_was_named() {
    let order = partner("push.lync.com", Some("sipfed.online.lync.com"));
    for status in [200, 404, 405, 481] {
        assert!(of(&order, &RECIPE, theirs(status, 0)).succeeded(), "{status}: it has let us in");
    }
    let stage = |order: &Order, rows: &[&str], answer| {
        let trouble = of(order, rows, answer).trouble.expect("a failure");
        (trouble.stage, trouble.failure, trouble.remedy)
    };
    let (at, failure, remedy) = stage(&order, &RECIPE[2..], theirs(200, 0));
    assert_eq!((at, failure), (Stage::Policy, Failure::DomainNotAllowed));
    assert_eq!(remedy, "New-CsAllowedDomain -Identity push.lync.com");
    let elsewhere = partner("push.lync.com", Some("edge.other.example"));
    let (at, failure, remedy) = stage(&elsewhere, &RECIPE, theirs(200, 0));
    assert_eq!((at, failure), (Stage::Name, Failure::ProxyDiffers));
    assert!(remedy.ends_with("-Domain push.lync.com -ProxyFqdn sipfed.online.lync.com"));
    assert_eq!(stage(&partner("contoso.com", None), &RECIPE, theirs(200, 0)).1, Failure::NotOurDomain);
    assert_eq!(stage(&order, &RECIPE, theirs(504, 1046)).1, Failure::ClearingHouseDown);
    assert_eq!(stage(&order, &RECIPE, theirs(403, 90103)).0, Stage::PartnersPolicy);
}

#[test]
fn home_and_its_edge_are_told_apart_from_what_lies_beyond() {
    let settings = settings(&RECIPE);
    for (asked, failure, fault) in [
        (Asked::Unasked("the store is full".into()), Failure::EdgeUnreachable, Fault::Ours),
        (Asked::Silent(EDGE_WITHIN), Failure::NoAnswer, Fault::Ours),
    ] {
        let trouble = walk(&push(INNER), &settings, asked).trouble.expect("not there");
        assert_eq!((trouble.stage, trouble.failure, trouble.fault), (Stage::OurEdge, failure, fault));
    }
    // An edge that has no seat for the test, or is too old for one, refuses as it always did.
    let full = Answer { status: 480, phrase: "Busy".into(), said: said(90107, Some("edge")), ..Answer::default() };
    let trouble = of(&push("edge.contoso.com"), &RECIPE, full).trouble.expect("full");
    assert!(trouble.retry_helps && trouble.stage == Stage::Policy, "{trouble:?}");
}
