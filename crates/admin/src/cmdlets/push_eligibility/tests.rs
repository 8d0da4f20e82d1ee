//! Gates, one by one, and the remedy of each.

use std::sync::Arc;

use reveille_core::{DeviceToken, PushId};

use super::*;
use crate::cmdlets::fakes::{self, Home, NOW, column, run};

fn settings(rows: &[&str]) -> Arc<Snapshot> {
    let rows = rows.iter().map(|row| serde_json::from_str::<Setting>(row).expect("a record"));
    Arc::new(Snapshot::of(rows).expect("no rule forbids it"))
}

const ON: &str =
    r#"{"Kind":"PushNotificationConfiguration","Identity":"site:Redmond","EnableApplePushNotificationService":true}"#;
const OFF: &str = r#"{"Kind":"PushNotificationConfiguration","Identity":"site:Redmond"}"#;
const FORBIDDEN: &str = r#"{"Kind":"MobilityPolicy","Identity":"tag:NoPush","EnablePushNotifications":false}"#;
const GRANT: &str = r#"{"Kind":"PolicyGrant","Identity":"bob@contoso.com","MobilityPolicy":"NoPush"}"#;
const ALLOWED: &str = r#"{"Kind":"AllowedDomain","Identity":"push.lync.com"}"#;

#[tokio::test]
async fn the_first_closed_gate_decides_and_its_remedy_is_a_whole_command() {
    let open = || Home { settings: settings(&[ON, ALLOWED]), ..Home::with([fakes::device("phone")]) };
    let mut ended = fakes::device("phone");
    ended.session_expires = NOW;
    let mut dead = fakes::device("phone");
    dead.identity.as_mut().expect("it has one").forget(&DeviceToken::new("00fc13adff78512"));
    let mut unknown = fakes::device("phone");
    unknown.identity = None;
    let of = |device| Home { settings: settings(&[ON, ALLOWED]), ..Home::with([device]) };
    let told = |rows| Home { settings: settings(rows), ..open() };
    for (home, gate, reason, remedy) in [
        (open(), "", "", ""),
        (
            told(&[OFF]),
            "provider-switch",
            "provider-switched-off",
            "Set-CsPushNotificationConfiguration -Identity Site:Redmond -EnableApplePushNotificationService $True",
        ),
        (
            told(&[ON, FORBIDDEN, GRANT]),
            "mobility-policy",
            "policy-forbids",
            "Grant-CsMobilityPolicy -Identity bob@contoso.com -PolicyName $null",
        ),
        (of(ended), "session", "session-expired", "have the user open the app and sign in again"),
        (of(dead), "push-identity", "identity-dead", Reason::IdentityDead.remedy()),
        (of(unknown), "push-identity", "no-identity", Reason::NoIdentity.remedy()),
        (
            Home { route: Some(Reason::DomainNotAllowed), ..open() },
            "federation",
            "domain-not-allowed",
            "New-CsAllowedDomain -Identity push.lync.com",
        ),
        (
            Home { route: Some(Reason::NoRoute), ..open() },
            "federation",
            "no-route",
            "Test-CsFederatedPartner -TargetFqdn edge.contoso.com -Domain push.lync.com -Detailed",
        ),
    ] {
        let desk = fakes::desk(Some(home), None);
        let tested = run(&desk, "Test-CsPushEligibility", &[("User", "bob")]).await.expect("an answer");
        let found = ["ClosedGate", "Reason"].map(|name| column(&tested, name).remove(0));
        assert_eq!(found, [gate, reason]);
        let shown = column(&tested, "Remedy").remove(0);
        assert!(shown.eq_ignore_ascii_case(remedy), "{shown} and not {remedy}");
        assert_eq!(column(&tested, "WouldPush"), [if gate.is_empty() { "True" } else { "False" }], "{gate}");
        let marks: Vec<_> = Gate::ALL.iter().map(|gate| column(&tested, property(*gate)).remove(0)).collect();
        let decided: Vec<_> = marks.iter().filter(|mark| mark.starts_with("CLOSED, and decides")).collect();
        assert_eq!(decided.len(), usize::from(!gate.is_empty()), "{marks:?}");
    }
}

#[tokio::test]
async fn each_gate_shows_the_record_it_goes_by() {
    let home = Home {
        settings: settings(&[ON, ALLOWED, FORBIDDEN, GRANT]),
        route: Some(Reason::FederationOff),
        ..Home::with([fakes::device("phone")])
    };
    let desk = fakes::desk(Some(home), None);
    let tested = run(&desk, "Test-CsPushEligibility", &[("User", "sip:bob@contoso.com")]).await.expect("an answer");
    for (gate, part) in [
        ("ProviderSwitch", "open: EnableApplePushNotificationService is True in PushNotificationConfiguration site:"),
        (
            "MobilityPolicy",
            "CLOSED, and decides: EnableMobility is True and EnablePushNotifications False in MobilityPolicy tag:nopush",
        ),
        ("Session", "open: signed in until 2023-11-14T23:13:20Z"),
        ("PushIdentity", "open: apns/org.example.chat, message token …8512"),
        ("Federation", "closed too: push requests go to push.lync.com: federation is switched off"),
    ] {
        let shown = column(&tested, gate).remove(0);
        assert!(shown.to_lowercase().starts_with(&part.to_lowercase()), "{shown} and not {part}");
    }
}

#[tokio::test]
async fn a_call_asks_for_the_other_token_and_a_device_on_screen_needs_no_push() {
    let mut live = fakes::device("tablet");
    live.last_push = Some((PushId::from_u128(1), PushState::NotPushed(Reason::AppNotGranted), NOW));
    let home = Home { settings: settings(&[ON, ALLOWED]), ..Home::with([fakes::device("phone"), live]) };
    home.devices.lock()[1].1 = true;
    let desk = fakes::desk(Some(home), None);
    let call = [("User", "bob"), ("Event", "call")];
    let tested = run(&desk, "Test-CsPushEligibility", &call).await.expect("an answer");
    assert_eq!(column(&tested, "Reason"), ["no-voip-token", "no-voip-token"]);
    assert_eq!(column(&tested, "Outcome")[1], "delivered directly, without a push");
    assert!(column(&tested, "PushIdentity")[0].ends_with("; its message token is …8512, since 2023-11-14T22:13:20Z"));
    assert!(column(&tested, "LastPush")[1].contains("app-not-granted, the publisher has not granted"));
    assert!(tested.warnings[0].contains("not yet for call"), "{:?}", tested.warnings);
    let one = run(&desk, "Test-CsPushEligibility", &[("User", "bob"), ("Device", "tablet")]).await.expect("an answer");
    assert_eq!((column(&one, "Device"), one.warnings.len()), (vec!["tablet".to_owned()], 0));
}

#[tokio::test]
async fn what_this_version_sends_no_push_for_is_not_said_to_be_pushed_behind_open_gates() {
    let mut device = fakes::device("phone");
    let identity = device.identity.as_mut().expect("it has one");
    identity.voip = identity.message.clone();
    let home = Home { settings: settings(&[ON, ALLOWED]), ..Home::with([device]) };
    let desk = fakes::desk(Some(home), None);
    let call = [("User", "bob"), ("Event", "call")];
    let tested = run(&desk, "Test-CsPushEligibility", &call).await.expect("an answer");
    assert_eq!((column(&tested, "WouldPush"), column(&tested, "ClosedGate")), (vec!["False".into()], vec!["".into()]));
    assert!(column(&tested, "Outcome")[0].starts_with("not pushed: this version does not send pushes for call yet"));
    assert!(column(&tested, "Explanation")[0].contains("shows the gates of call only"));
}

#[tokio::test]
async fn what_the_publisher_refuses_shows_though_every_gate_is_open() {
    let refused = PushState::NotPushed(Reason::AppNotGranted);
    let mut device = fakes::device("phone");
    device.last_push = Some((PushId::from_u128(1), refused, NOW));
    let home = Home { settings: settings(&[ON, ALLOWED]), ..Home::with([device]) };
    let desk = fakes::desk(Some(home), None);
    let tested = run(&desk, "Test-CsPushEligibility", &[("User", "bob")]).await.expect("an answer");
    assert_eq!((column(&tested, "WouldPush"), column(&tested, "ClosedGate")), (vec!["True".into()], vec!["".into()]));
    assert!(column(&tested, "Explanation")[0].contains("the last push came back: the publisher has not granted"));
    assert!(
        column(&tested, "Remedy")[0]
            .contains("Set-CsPushApp -Identity org.example.chat -Serves @{Add=\"contoso.com\"} (or")
    );
}

#[tokio::test]
async fn a_push_that_nobody_takes_shows_what_was_said_to_it() {
    let mut device = fakes::device("phone");
    device.last_push = Some((PushId::from_u128(1), PushState::Owed, NOW));
    let home = Home {
        settings: settings(&[ON, ALLOWED]),
        pushes: vec![fakes::known_push(1, PushState::Owed, "504 1046;reason=\"it does not answer\"")],
        ..Home::with([device])
    };
    let desk = fakes::desk(Some(home), None);
    let tested = run(&desk, "Test-CsPushEligibility", &[("User", "bob")]).await.expect("an answer");
    assert!(column(&tested, "Explanation")[0].contains("was not taken yet: it does not answer (504)"), "{tested:?}");
    assert!(column(&tested, "LastPush")[0].contains("tried 2 times, and again at 2023-11-14T22:13:20Z: it does"));
    assert!(column(&tested, "Remedy")[0].starts_with("Test-CsFederatedPartner -TargetFqdn edge.contoso.com"));
}

#[tokio::test]
async fn a_user_without_devices_has_an_answer_too() {
    let desk = fakes::desk(Some(Home::with([])), None);
    let tested = run(&desk, "Test-CsPushEligibility", &[("User", "bob")]).await.expect("an answer");
    assert_eq!(
        (column(&tested, "Reason"), column(&tested, "WouldPush")),
        (vec!["no-identity".into()], vec!["False".into()])
    );
}
