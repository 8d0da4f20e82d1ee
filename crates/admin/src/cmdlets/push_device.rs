//! `CsPushDevice`: the devices that a home knows, how each is reached, and what became of its last push.

use reveille_core::delivery::PushState;
use reveille_core::session::Reach;
use reveille_core::{Channel, Provider, Reason, Timestamp};
use reveille_store::DeviceRecord;

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::cmdlets::push_eligibility::came_back;
use crate::cmdlets::remedy::{self, Place};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::fits;
use crate::kind::Kind;
use crate::ports::devices::{Foreseen, ReachedBy};
use crate::value::Object;

const NOUN: &str = "CsPushDevice";
const OUTPUTS: &[&str] = &[
    "User",
    "Device",
    "ReachedBy",
    "Reason",
    "Remedy",
    "State",
    "Client",
    "OperatingSystem",
    "Provider",
    "App",
    "MessageToken",
    "VoipToken",
    "LastRegistered",
    "SessionExpires",
    "LastPush",
    "LastPushState",
    "LastPushReason",
    "LastPushAt",
    "PushIdentity",
];
/// The most devices that are shown at once.
const MOST: i64 = 10_000;
/// How many are shown unless told otherwise.
const USUAL: usize = 1000;

/// `Get-CsPushDevice`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, NOUN),
                summary: "Shows the users' devices, and whether each is reached directly, by push, or not at all",
                description: "ReachedBy is what a message would need at this moment: directly (the app is on screen), held \
                              connection, push, or unreachable with Reason and Remedy. Where push stands with a Reason, home \
                              may send it and the last one was turned back on the road. A device without a push identity is \
                              listed while it is connected.",
                parameters: &[
                    Parameter::new("User", Kind::User, "Whose: bob, bob@contoso.com or sip:bob@contoso.com")
                        .at(1)
                        .from(Pipeline::ByName),
                    Parameter::new("Device", Kind::Text, "Which one, by its instance; a pattern with * is taken too"),
                    Parameter::new("Filter", Kind::Text, "A pattern with * that the user's address must fit"),
                    Parameter::new("ResultSize", Kind::Int { min: 1, max: MOST }, "The most that are shown").or("1000"),
                ],
                outputs: OUTPUTS,
                area: Area::Users,
                examples: &[
                    ("Get-CsPushDevice -User bob", "Bob's devices."),
                    (
                        "Get-CsPushDevice | Where-Object {$_.ReachedBy -eq \"unreachable\"} | Format-Table User, Reason, Remedy",
                        "Everybody whom no message reaches at this moment, and what mends it.",
                    ),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let home = desk.ports.home()?;
            let user = call.text("User").map(|text| remedy::user(home, text)).transpose()?;
            let most = call.int("ResultSize").and_then(|most| usize::try_from(most).ok()).unwrap_or(USUAL);
            // One more, to learn that there are more. A filter looks through all that can be shown.
            let filtered = call.value("Filter").is_some() || call.value("Device").is_some();
            let wanted = if filtered { usize::try_from(MOST).unwrap_or(usize::MAX) } else { most };
            let mut devices = home.devices(user, wanted.saturating_add(1)).await;
            let mut outcome = Outcome::default();
            if devices.len() > wanted {
                devices.truncate(wanted);
                outcome.warnings.push(format!(
                    "There are more than {wanted} devices. -ResultSize shows up to {MOST}, and -User those of one user."
                ));
            }
            let fit = |name: &str, text: &str| call.text(name).is_none_or(|pattern| fits(pattern, text));
            devices.retain(|it| fit("Filter", &it.record.user.to_string()) && fit("Device", &it.record.device));
            devices.truncate(most);
            let (settings, site, server, edge) = (desk.settings.snapshot(), home.site(), home.name(), home.edge());
            let place = Place { settings: &settings, site: &site, server: &server, edge: &edge };
            outcome.objects = devices.iter().map(|device| object(device, &place).into()).collect();
            Ok(outcome)
        })
    }
}

/// `Remove-CsPushDevice`
pub(super) struct Remove;

impl Cmdlet for Remove {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Remove, NOUN),
                summary: "Forgets a device with its push identity, so that it is not pushed to any more",
                description: "For a phone that was lost or given away. Its user stays as he is, and his other devices too. A \
                              device on which the app still runs registers anew, with a new push identity: change the \
                              user's password to keep it out.",
                parameters: &[
                    Parameter::new("User", Kind::User, "Whose: bob, bob@contoso.com or sip:bob@contoso.com")
                        .required()
                        .at(1)
                        .from(Pipeline::ByName),
                    Parameter::new("Device", Kind::Text, "Which one, as Get-CsPushDevice shows it")
                        .required()
                        .at(2)
                        .from(Pipeline::ByName),
                    Parameter::new("Force", Kind::Switch, "Does not ask"),
                ],
                area: Area::Users,
                changes: true,
                asks: true,
                examples: &[(
                    "Get-CsPushDevice -User bob | Where-Object {$_.Client -match \"iPhone\"} | Remove-CsPushDevice",
                    "Forgets Bob's iPhones, and asks about each.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let home = desk.ports.home()?;
            let user = remedy::user(home, call.text("User").unwrap_or_default())?;
            let device = call.text("Device").unwrap_or_default().to_owned();
            let known = home.devices(Some(user.clone()), usize::MAX).await;
            if !known.iter().any(|it| it.record.device == device) {
                return Err(not_found(&user.to_string(), &device));
            }
            let mut outcome = Outcome::default();
            if call.what_if {
                outcome.what_if.push(format!(
                    "What if: Performing the operation \"{}\" on target \"{device} of {user}\".",
                    call.name
                ));
                return Ok(outcome);
            }
            match home.forget(user.clone(), device.clone()).await {
                Some(Ok(true)) => Ok(outcome),
                Some(Ok(false)) => Err(not_found(&user.to_string(), &device)),
                Some(Err(error)) => {
                    let message =
                        format!("The device {device} of {user} is forgotten until the next start only: {error}.");
                    Err(Failure::new(Category::ResourceUnavailable, "StoreFailed", message).of(device))
                }
                None => Err(remedy::stopping()),
            }
        })
    }
}

fn not_found(user: &str, device: &str) -> Failure {
    let message = format!("{user} has no device \"{device}\". Get-CsPushDevice -User {user} shows what there is.");
    Failure::new(Category::ObjectNotFound, "DeviceNotFound", message).of(device)
}

/// A device as the shell shows it.
fn object(device: &Foreseen, place: &Place<'_>) -> Object {
    let record = &device.record;
    let identity = record.identity.as_ref();
    let reached_by = device.reached_by();
    let reason = match reached_by {
        ReachedBy::Unreachable(reason) => Some(reason),
        // Home may send it, and the last one was turned back on the road.
        ReachedBy::Push => came_back(device),
        ReachedBy::Directly | ReachedBy::HeldConnection | ReachedBy::PushOfAnother => None,
    };
    let last_push = record.last_push.map(|(push, ..)| push);
    let last_state = record.last_push.map(|(_, state, _)| state);
    let last_reason = last_state.and_then(reason_of);
    Object::new("PushDevice")
        .with("User", record.user.to_sip_uri())
        .with("Device", record.device.as_str())
        .with("ReachedBy", reached_by.as_str())
        .with("Reason", reason.map(Reason::as_str))
        .with("Remedy", reason.map(|it| place.remedy(it, &record.user, identity.map(|it| &it.app), last_push)))
        .with("State", state(device.reach))
        .with("Client", record.user_agent.as_str())
        .with("OperatingSystem", operating_system(&record.user_agent, identity.map(|it| it.app.provider)))
        .with("Provider", identity.map(|it| it.app.provider.as_str()))
        .with("App", identity.map(|it| it.app.to_string()))
        .with("MessageToken", token(record, Channel::Message))
        .with("VoipToken", token(record, Channel::Voip))
        .with("LastRegistered", record.last_registered.to_string())
        .with("SessionExpires", record.session_expires.to_string())
        .with("LastPush", last_push.map(|push| push.to_string()))
        .with("LastPushState", last_state.map(PushState::as_str))
        .with("LastPushReason", last_reason.map(Reason::as_str))
        .with("LastPushAt", record.last_push.map(|(.., at)| at.to_string()))
        .with("PushIdentity", identity.map(|it| it.id.to_string()))
}

/// Why a push did not go or arrive, if it did not.
pub(super) const fn reason_of(state: PushState) -> Option<Reason> {
    match state {
        PushState::NotPushed(reason) => Some(reason),
        _ => None,
    }
}

/// How a device can be reached, in words.
pub(super) fn state(reach: Reach) -> String {
    match reach {
        Reach::Foreground => "live".to_owned(),
        Reach::HeldConnection => "live, by a connection that it holds".to_owned(),
        Reach::Suspended { since } => format!("suspended since {since}"),
    }
}

/// The end of a token, which tells two devices apart, or what became of it.
pub(super) fn token(record: &DeviceRecord, channel: Channel) -> String {
    let Some(identity) = &record.identity else { return String::new() };
    match identity.token(channel) {
        Some(token) => format!("…{}, since {}", token.token.tail(), whole_seconds(token.registered)),
        None if identity.is_dead(channel) => "dead".to_owned(),
        None => String::new(),
    }
}

/// A time that nobody needs by the millisecond.
pub(super) fn whole_seconds(at: Timestamp) -> String {
    Timestamp::from_millis(at.secs() * 1000).to_string()
}

/// The operating system, as far as the client's own name or its push service tells. The app tokens are those of the
/// Lync clients (lync.md §4.1).
fn operating_system(client: &str, provider: Option<Provider>) -> &'static str {
    const WORDS: [(&str, &str); 11] = [
        ("iphonelync", "iOS"),
        ("ipadlync", "iPadOS"),
        ("androidlync", "Android"),
        ("wplync", "Windows Phone"),
        ("nokialync", "Symbian"),
        ("ipad", "iPadOS"),
        ("iphone", "iOS"),
        ("ios", "iOS"),
        ("android", "Android"),
        ("windows phone", "Windows Phone"),
        ("windows", "Windows"),
    ];
    let client = client.to_ascii_lowercase();
    if let Some((_, system)) = WORDS.iter().find(|(word, _)| client.contains(word)) {
        return system;
    }
    match provider {
        // One push service for all of Apple's systems; Google's serves others' too.
        Some(Provider::Apns) => "Apple",
        Some(Provider::Mpns) => "Windows Phone",
        Some(Provider::Wns) => "Windows",
        Some(Provider::Fcm | Provider::WebPush) | None => "",
    }
}

#[cfg(test)]
mod tests {
    use reveille_core::{DeviceToken, PushId};

    use super::*;
    use crate::cmdlets::fakes::{self, Home, NOW, column, run};

    #[tokio::test]
    async fn each_device_says_how_it_is_reached_and_what_would_mend_it() {
        let mut dead = fakes::device("urn:uuid:2");
        dead.identity.as_mut().expect("it has one").forget(&DeviceToken::new("00fc13adff78512"));
        dead.user_agent = "WPLync/5.4".into();
        dead.last_push = Some((PushId::from_u128(9), PushState::NotPushed(Reason::IdentityDead), NOW));
        let mut plain = fakes::device("urn:uuid:3");
        plain.identity = None;
        let home = Home::with([fakes::device("urn:uuid:1"), dead, plain]);
        home.devices.lock()[2].1 = true;
        let desk = fakes::desk(Some(home), None);
        let seen = run(&desk, "Get-CsPushDevice", &[]).await.expect("devices");
        assert_eq!(column(&seen, "ReachedBy"), ["unreachable", "unreachable", "directly"]);
        // Every switch is off by default.
        assert_eq!(column(&seen, "Reason"), ["provider-switched-off", "provider-switched-off", ""]);
        assert_eq!(
            column(&seen, "Remedy")[0],
            "Set-CsPushNotificationConfiguration -Identity global -EnableApplePushNotificationService $True"
        );
        assert_eq!(column(&seen, "MessageToken"), ["…8512, since 2023-11-14T22:13:20Z", "dead", ""]);
        assert_eq!(column(&seen, "OperatingSystem"), ["iOS", "Windows Phone", "iOS"]);
        assert_eq!(column(&seen, "LastPushReason"), ["", "identity-dead", ""]);
        assert!(!format!("{seen:?}").contains("00fc13adff78512"), "no token is shown whole");
        let filtered = run(&desk, "Get-CsPushDevice", &[("Device", "*:3")]).await.expect("devices");
        assert_eq!(column(&filtered, "Device"), ["urn:uuid:3"]);
    }

    #[tokio::test]
    async fn more_devices_than_are_shown_are_mentioned() {
        let home = Home::with((0..4).map(|number| fakes::device(&number.to_string())));
        let desk = fakes::desk(Some(home), None);
        let seen = run(&desk, "Get-CsPushDevice", &[("ResultSize", "3")]).await.expect("devices");
        assert_eq!((seen.objects.len(), seen.warnings.len()), (3, 1));
        let all = run(&desk, "Get-CsPushDevice", &[("ResultSize", "4")]).await.expect("devices");
        assert_eq!((all.objects.len(), all.warnings.len()), (4, 0));
    }

    #[tokio::test]
    async fn a_device_is_forgotten_once_and_not_for_what_if() {
        let desk = fakes::desk(Some(Home::with([fakes::device("urn:uuid:1")])), None);
        let one = [("User", "bob"), ("Device", "urn:uuid:1")];
        let said = run(&desk, "Remove-CsPushDevice", &[one[0], one[1], ("WhatIf", "$true")]).await.expect("said");
        assert!(said.what_if[0].contains("urn:uuid:1 of bob@contoso.com"), "{said:?}");
        assert!(run(&desk, "Remove-CsPushDevice", &one).await.is_ok());
        let gone = run(&desk, "Remove-CsPushDevice", &one).await.expect_err("it is gone");
        assert_eq!((&*gone.id, gone.category), ("DeviceNotFound", Category::ObjectNotFound));
        let nobody = run(&desk, "Get-CsPushDevice", &[("User", "carol")]).await.expect_err("nobody of that name");
        assert_eq!(&*nobody.id, "UserNotFound");
    }

    #[tokio::test]
    async fn a_server_without_a_home_says_whom_to_ask() {
        let desk = fakes::desk(None, None);
        for cmdlet in ["Get-CsPushDevice", "Get-CsPushTrace"] {
            let failure = run(&desk, cmdlet, &[]).await.expect_err("there is no home");
            assert_eq!(&*failure.id, "NotAHome", "{cmdlet}");
            assert!(failure.message.contains("reveille shell --socket"), "{failure}");
        }
    }
}
