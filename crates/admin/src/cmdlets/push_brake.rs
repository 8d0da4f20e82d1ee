//! `CsPushBrake`: apps whose tokens were rejected in mass, and what somebody decides about the verdicts.

use std::time::Duration;

use reveille_core::{SipDomain, Timestamp};
use reveille_store::{BrakeScope, Braked, StoreError};

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::cmdlets::remedy;
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::fits;
use crate::kind::Kind;
use crate::value::Object;

const NOUN: &str = "CsPushBrake";
const APP: &str = "The app, or those that fit a pattern with *";
const ORGANISATION: Parameter = Parameter::new("Organisation", Kind::Domain, "Of this organisation's tokens only")
    .alias(&["Origin"])
    .from(Pipeline::ByName);

/// `Get-CsPushBrake`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, NOUN),
                summary: "Shows the apps whose tokens were rejected in mass, so that verdicts on them are frozen",
                description: "A brake comes on by itself when as many tokens of an app are rejected as Get-CsPushApp says \
                              (BrakeRejections, BrakePercent, BrakeMinutes): that is more often a wrong topic, key or \
                              environment of the publisher's than the end of so many phones. While it is on, pushes still \
                              go out, and what the push service says about tokens is kept without effect: no home forgets \
                              one, and verdicts of just before are taken back. Without an Organisation it holds all of \
                              them.",
                parameters: &[Parameter::new("App", Kind::Text, APP).at(1).from(Pipeline::ByName)],
                outputs: &[
                    "App",
                    "Organisation",
                    "Since",
                    "Frozen",
                    "Rejected",
                    "Answers",
                    "Word",
                    "Remedy",
                    "Provider",
                    "Environment",
                ],
                area: Area::Topology,
                examples: &[("Get-CsPushBrake", "The brakes that are on, and what the push service said.")],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let found = held(call, desk).await?;
            Ok(Outcome::of(found.iter().map(object)))
        })
    }
}

/// `Clear-CsPushBrake`
pub(super) struct Clear;

impl Cmdlet for Clear {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Clear, NOUN),
                summary: "Takes a brake off, and decides about the verdicts that it holds",
                description: "Right: the push service was right, the tokens are dead and their homes are told to forget them. \
                              Wrong: it was not, and everything that it said is forgotten; homes keep their tokens. Find out \
                              first with Test-CsPushCredential whether topic, key and environment are as they should be. A \
                              device that has registered since then keeps its token in either case.",
                parameters: &[
                    Parameter::new("App", Kind::Text, APP).required().at(1).from(Pipeline::ByName),
                    Parameter::new(
                        "Verdict",
                        Kind::Choice(&["Right", "Wrong"]),
                        "Whether the push service was right about the tokens",
                    )
                    .required()
                    .at(2),
                    ORGANISATION,
                    Parameter::new("Force", Kind::Switch, "Does not ask"),
                ],
                area: Area::Topology,
                changes: true,
                asks: true,
                examples: &[
                    (
                        "Clear-CsPushBrake -App org.example.app -Verdict Wrong",
                        "The environment was wrong and is mended: no token is forgotten.",
                    ),
                    (
                        "Get-CsPushBrake | Clear-CsPushBrake -Verdict Right -Force",
                        "The app was withdrawn: all those tokens are dead.",
                    ),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let right = call.text("Verdict") == Some("Right");
            let found = held(call, desk).await?;
            if found.is_empty() {
                let app = call.text("App").unwrap_or_default();
                let message = format!("No brake is on for {app}. Get-CsPushBrake shows those that are.");
                return Err(Failure::new(Category::ObjectNotFound, "NoSuchBrake", message).of(app));
            }
            let mut outcome = Outcome::default();
            for Braked { brake, frozen } in found {
                if call.what_if {
                    outcome.what_if.push(format!(
                        "What if: Performing the operation \"{}\" on target \"{} ({frozen} verdicts)\".",
                        call.name, brake.scope
                    ));
                    continue;
                }
                let decided = desk.ports.clearing_house()?.release_brake(brake.scope.clone(), right).await;
                let decided = decided.map_err(|error| unwritten(&brake.scope, &error))?;
                outcome.warnings.push(match right {
                    true => format!("{}: {decided} tokens are dead, and their homes are told so.", brake.scope),
                    false => format!("{}: {decided} verdicts are forgotten, and no home forgets a token.", brake.scope),
                });
            }
            Ok(outcome)
        })
    }
}

/// `Set-CsPushBrake`
pub(super) struct Set;

impl Cmdlet for Set {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Set, NOUN),
                summary: "Puts a brake on by hand, and takes back what homes were told about an app's tokens of late",
                description: "For a mistake that was too small or too slow for the brake to come on by itself: verdicts of the \
                              last minutes are frozen, and the homes that have heard of them take their tokens back. \
                              Clear-CsPushBrake then decides. Verdicts of up to 25 hours can be taken back.",
                parameters: &[
                    Parameter::new("App", Kind::Text, "The app, as Get-CsPushLane shows it").required().at(1),
                    ORGANISATION,
                    Parameter::new("Minutes", Kind::Int { min: 0, max: 1500 }, "How far back").or("60"),
                ],
                area: Area::Topology,
                changes: true,
                examples: &[(
                    "Set-CsPushBrake -App org.example.app -Minutes 120",
                    "Takes back what was said about the app's tokens in the last two hours.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let house = desk.ports.clearing_house()?;
            let wanted = call.text("App").unwrap_or_default();
            let mut apps: Vec<_> = house.lanes().into_iter().map(|lane| lane.key.app).collect();
            apps.retain(|app| app.app.eq_ignore_ascii_case(wanted));
            apps.sort_unstable();
            apps.dedup();
            if apps.is_empty() {
                let message =
                    format!("This clearing house has no app {wanted}. Get-CsPushLane shows those that it has.");
                return Err(Failure::new(Category::ObjectNotFound, "NoSuchApp", message).of(wanted));
            }
            let minutes = call.int("Minutes").and_then(|minutes| u64::try_from(minutes).ok()).unwrap_or(60);
            let back = Duration::from_secs(60 * minutes).as_millis() as u64;
            let reach = Timestamp::from_millis(desk.clock.now().millis().saturating_sub(back));
            let mut outcome = Outcome::default();
            for app in apps {
                let scope = BrakeScope { app, origin: call.domain("Organisation") };
                if call.what_if {
                    outcome
                        .what_if
                        .push(format!("What if: Performing the operation \"{}\" on target \"{scope}\".", call.name));
                    continue;
                }
                let done = house.brake(scope.clone(), reach, "put on by an administrator".into()).await;
                done.map_err(|error| unwritten(&scope, &error))?;
            }
            if !call.what_if {
                let on = held(call, desk).await?;
                outcome.objects = Outcome::of(on.iter().map(object)).objects;
            }
            Ok(outcome)
        })
    }
}

/// The brakes that a call is about.
async fn held(call: &Call, desk: &Desk) -> Result<Vec<Braked>, Failure> {
    let brakes = desk.ports.clearing_house()?.brakes().await.map_err(|error| remedy::unread(desk, &error))?;
    let wanted = call.text("App").unwrap_or("*");
    let organisation: Option<SipDomain> = call.domain("Organisation");
    let fit = |it: &Braked| {
        fits(wanted, &it.brake.scope.app.app) && (organisation.is_none() || it.brake.scope.origin == organisation)
    };
    Ok(brakes.into_iter().filter(fit).collect())
}

/// What mends it: somebody must look, and then decide.
pub(super) fn remedy_of(braked: &Braked) -> String {
    let app = remedy::quoted(&braked.brake.scope.app.app);
    format!(
        "Test-CsPushCredential -App {app}; mend topic, key or environment if they are wrong, and then Clear-CsPushBrake \
         -App {app} -Verdict Wrong; else -Verdict Right"
    )
}

fn object(braked: &Braked) -> Object {
    let Braked { brake, frozen } = braked;
    Object::new("PushBrake")
        .with("App", &*brake.scope.app.app)
        .with("Organisation", brake.scope.origin.as_ref().map(SipDomain::as_str))
        .with("Since", brake.since.to_string())
        .with("Frozen", i64::try_from(*frozen).unwrap_or(i64::MAX))
        .with("Rejected", brake.rejected)
        .with("Answers", brake.answers)
        .with("Word", brake.word.as_str())
        .with("Remedy", remedy_of(braked))
        .with("Provider", brake.scope.app.provider.as_str())
        .with("Environment", brake.scope.app.environment.as_str())
}

fn unwritten(scope: &BrakeScope, error: &StoreError) -> Failure {
    let message = format!("The brake of {scope} is not decided to its end: {error}. Run the command again.");
    Failure::new(Category::ResourceUnavailable, "StoreFailed", message).of(scope.to_string())
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use reveille_core::{Channel, LaneKey};
    use reveille_store::Brake;

    use super::*;
    use crate::cmdlets::fakes::{self, ClearingHouse, NOW, column, run};
    use crate::ports::house::Lane;

    fn braked(origin: Option<&str>) -> Braked {
        let origin = origin.map(|name| name.parse().expect("a domain"));
        let scope = BrakeScope { app: fakes::app(), origin };
        let brake = Brake { scope, since: NOW, reach: NOW, rejected: 50, answers: 60, word: "BadDeviceToken".into() };
        Braked { brake, frozen: 50 }
    }

    fn house(brakes: Vec<Braked>) -> ClearingHouse {
        ClearingHouse { brakes: Mutex::new(brakes), ..ClearingHouse::default() }
    }

    #[tokio::test]
    async fn a_brake_says_why_it_is_on_and_what_to_do_and_goes_off_as_somebody_decides() {
        let both = vec![braked(Some("contoso.com")), braked(Some("fabrikam.com"))];
        let desk = fakes::desk(None, Some(house(both)));
        let on = run(&desk, "Get-CsPushBrake", &[]).await.expect("brakes");
        assert_eq!(column(&on, "Organisation"), ["contoso.com", "fabrikam.com"]);
        assert_eq!((&*column(&on, "Word")[0], &*column(&on, "Frozen")[0]), ("BadDeviceToken", "50"));
        assert!(column(&on, "Remedy")[0].contains("Clear-CsPushBrake -App org.example.chat -Verdict Wrong"));
        let given = [("App", "org.example.chat"), ("Verdict", "Wrong"), ("Organisation", "contoso.com")];
        let cleared = run(&desk, "Clear-CsPushBrake", &given).await.expect("it was on");
        assert!(cleared.warnings[0].contains("50 verdicts are forgotten"), "{:?}", cleared.warnings);
        let on = run(&desk, "Get-CsPushBrake", &[("App", "org.*")]).await.expect("one");
        assert_eq!(column(&on, "Organisation"), ["fabrikam.com"]);
        let none = run(&desk, "Clear-CsPushBrake", &given).await.expect_err("it is off");
        assert_eq!(&*none.id, "NoSuchBrake");
    }

    #[tokio::test]
    async fn a_brake_is_put_on_by_hand_for_an_app_that_there_is() {
        let key = LaneKey { app: fakes::app(), channel: Channel::Message };
        let lane = Lane {
            key,
            state: "ready",
            connections: 1,
            in_flight: 0,
            queued: 0,
            on_disk: 0,
            organisations: 0,
            noisiest: None,
            trouble: None,
        };
        let desk = fakes::desk(None, Some(ClearingHouse { lanes: vec![lane], ..house(Vec::new()) }));
        let set =
            run(&desk, "Set-CsPushBrake", &[("App", "org.example.chat"), ("Minutes", "5")]).await.expect("an app");
        assert_eq!(column(&set, "App"), ["org.example.chat"]);
        let none = run(&desk, "Set-CsPushBrake", &[("App", "org.other")]).await.expect_err("no such app");
        assert_eq!(&*none.id, "NoSuchApp");
    }
}
