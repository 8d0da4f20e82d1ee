//! `CsPushCredential`: as whom the publisher comes to the push services. The keys themselves are files that nobody is
//! shown.

use reveille_core::{Channel, Environment, LaneKey, Provider, Timestamp, Verdict};

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::cmdlets::push_lane::remedy_of;
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::fits;
use crate::kind::Kind;
use crate::ports::house::{Credential, House, Lane, ProviderAnswer};
use crate::value::{Object, Value};

const NOUN: &str = "CsPushCredential";
const APP: Parameter = Parameter::new("App", Kind::Text, "One app as its push service calls it, or a pattern with *")
    .at(1)
    .from(Pipeline::ByName);

/// `Get-CsPushCredential`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, NOUN),
                summary: "Shows as whom the clearing house comes to the push services, for each app",
                description: "The key itself is never shown. Apps and their files stand under [[clearinghouse.apps]] in \
                              reveille.toml; which organisations an app serves is Get-CsPushApp. The file is read again \
                              when it changes, or key_id beside it (FileRead): a new key is used from then on. Where it \
                              cannot be used, State says so, Trouble why, and the key that was read before stays in use.",
                parameters: &[APP],
                outputs: &[
                    "App",
                    "Provider",
                    "Environment",
                    "Kind",
                    "KeyId",
                    "Owner",
                    "State",
                    "Trouble",
                    "TroubleAt",
                    "Remedy",
                    "File",
                    "FileWritten",
                    "FileAgeDays",
                    "FileRead",
                    "Expires",
                    "DaysLeft",
                    "Server",
                ],
                area: Area::Topology,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let house = desk.ports.clearing_house()?;
            let (lanes, now) = (house.lanes(), desk.clock.now());
            let wanted = wanted(house, call.text("App"))?;
            Ok(Outcome::of(wanted.iter().map(|credential| object(credential, &lanes, now))))
        })
    }
}

/// `Test-CsPushCredential`
pub(super) struct Test;

impl Cmdlet for Test {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Test, NOUN),
                summary: "Asks the push services whether they take our credentials",
                description: "Sends one push to a token that no device has, on the connection that real pushes take: a push \
                              service that complains of the token has taken the credential. Nobody's phone is woken. For APNs \
                              this proves key, team, environment and connection; whether the app's name is right shows only \
                              with a real token. Where the file holds something that cannot be used, the test is of the key \
                              that was read before, says so, and fails.",
                parameters: &[APP],
                outputs: &["App", "Provider", "Environment", "Result", "LatencyMs", "Answer", "Explanation", "Remedy"],
                area: Area::Tests,
                schedule: Some("monthly, and after every change of a key"),
                examples: &[("Get-CsPushCredential | Test-CsPushCredential", "Tests the credentials of every app.")],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let house = desk.ports.clearing_house()?;
            let mut outcome = Outcome::default();
            for credential in wanted(house, call.text("App"))? {
                let lane = LaneKey { app: credential.app.clone(), channel: Channel::Message };
                outcome.verbose.push(format!("Asking {} about {}.", credential.server, credential.app));
                let answer = house.ask(lane.clone()).await;
                let lanes = house.lanes();
                let lane = lanes.iter().find(|known| known.key == lane);
                outcome.objects.push(tested(&credential, answer.as_ref(), lane).into());
            }
            Ok(outcome)
        })
    }
}

/// The credentials that are asked for; all without a name.
fn wanted(house: &dyn House, app: Option<&str>) -> Result<Vec<Credential>, Failure> {
    let Some(app) = app else { return Ok(house.credentials()) };
    let mut all = house.credentials();
    let names: Vec<_> = all.iter().map(|credential| credential.app.to_string()).collect();
    all.retain(|credential| fits(app, &credential.app.app) || fits(app, &credential.app.to_string()));
    if all.is_empty() {
        let message = format!(
            "This clearing house has no app \"{app}\": it has {}. Others are added under [[clearinghouse.apps]] in its \
             reveille.toml.",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        );
        return Err(Failure::new(Category::ObjectNotFound, "AppNotFound", message).of(app));
    }
    Ok(all)
}

fn begin(kind: &str, credential: &Credential) -> Object {
    Object::new(kind)
        .with("App", &*credential.app.app)
        .with("Provider", credential.app.provider.as_str())
        .with("Environment", credential.app.environment.as_str())
}

fn object(credential: &Credential, lanes: &[Lane], now: Timestamp) -> Object {
    let own: Vec<_> = lanes.iter().filter(|lane| lane.key.app == credential.app).collect();
    let state = match own.first() {
        Some(first) if own.iter().all(|lane| lane.state == first.state) => first.state.to_owned(),
        _ => {
            let each = own.iter().map(|lane| format!("{} {}", lane.key.channel.as_str(), lane.state));
            each.collect::<Vec<_>>().join(", ")
        }
    };
    // The lane may be well for years with a key that no start will find again.
    let state = if credential.differs.is_some() { format!("{state}, not with what the file holds") } else { state };
    // A connection that ended while another stands is no trouble of the credential.
    let broken = own.iter().filter(|lane| lane.state != "ready");
    let trouble = broken.filter_map(|lane| lane.trouble.as_ref()).max_by_key(|(at, _)| *at);
    let trouble = match &credential.differs {
        Some(sentence) => Some((credential.written, sentence)),
        None => trouble.map(|(at, sentence)| (Some(*at), sentence)),
    };
    let days = |span: std::time::Duration| i64::try_from(span.as_secs() / 86_400).unwrap_or(i64::MAX);
    begin("PushCredential", credential)
        .with("Kind", credential.kind)
        .with("KeyId", credential.key_id.as_str())
        .with("Owner", credential.owner.as_str())
        .with("State", state)
        .with("Trouble", trouble.map(|(_, sentence)| sentence.as_str()))
        .with("TroubleAt", trouble.and_then(|(at, _)| at).map(|at| at.to_string()))
        .with("Remedy", replaced(credential).or_else(|| own.iter().find_map(|lane| remedy_of(lane))))
        .with("File", credential.file.as_str())
        .with("FileWritten", credential.written.map(|at| at.to_string()))
        .with("FileAgeDays", credential.written.map(|at| days(now.since(at))))
        .with("FileRead", credential.read.to_string())
        .with("Expires", credential.expires.map(|at| at.to_string()))
        .with("DaysLeft", credential.expires.map(|at| days(at.since(now))))
        .with("Server", credential.server.as_str())
}

/// What to do where the file holds something else than what is in use.
pub(super) fn replaced(credential: &Credential) -> Option<String> {
    credential.differs.as_ref()?;
    Some(format!(
        "put the key as its push service gave it into {}, which is read again by itself; until then the next start would \
         fail",
        credential.file
    ))
}

fn tested(credential: &Credential, answer: Option<&ProviderAnswer>, lane: Option<&Lane>) -> Object {
    let (good, explanation, remedy) = match answer.map(|answer| &answer.verdict) {
        Some(Verdict::Accepted | Verdict::Forget { .. } | Verdict::Reject { .. }) => {
            (true, "the push service has taken the credential".to_owned(), "")
        }
        Some(Verdict::Configuration { reason }) => {
            (false, format!("the push service refuses the credential: {reason}"), mended(credential, reason))
        }
        Some(Verdict::Retry { reason, .. }) => {
            (false, format!("the push service could not be asked: {reason}"), unreachable(credential))
        }
        Some(Verdict::Unknown { status, reason }) => {
            (false, format!("the push service gave an answer that is not documented: {status} {reason}"), "")
        }
        None => {
            let why = lane.and_then(|lane| lane.trouble.as_ref());
            let why = why.map(|(_, sentence)| format!(": {sentence}")).unwrap_or_default();
            (false, format!("the push service has not answered{why}"), unreachable(credential))
        }
    };
    let said = answer.map(|answer| match (answer.status, answer.verdict.provider_reason()) {
        (status, None) => status.to_string(),
        (0, Some(reason)) => reason.to_owned(),
        (status, Some(reason)) => format!("{status} {reason}"),
    });
    // What was tested is what is in use; whoever has just replaced the file means the other one.
    let (good, explanation, remedy) = match (&credential.differs, replaced(credential)) {
        (Some(differs), Some(replaced)) => {
            let read = format!("this was the key that was read at {}; {differs}", credential.read);
            (false, format!("{explanation}, but {read}"), if good { replaced } else { remedy.to_owned() })
        }
        _ => (good, explanation, remedy.to_owned()),
    };
    begin("PushCredentialTest", credential)
        .with("Result", if good { "Success" } else { "Failure" })
        .with("LatencyMs", answer.map_or(Value::Null, |answer| millis(answer.took)))
        .with("Answer", said)
        .with("Explanation", explanation)
        .with("Remedy", remedy)
}

/// Milliseconds with one digit behind the point.
fn millis(span: std::time::Duration) -> Value {
    Value::Double((span.as_secs_f64() * 10_000.0).round() / 10.0)
}

/// What to do about a refusal, by the provider's own word (Apple, "Handling notification responses from APNs"; Firebase,
/// "ErrorCode").
fn mended(credential: &Credential, reason: &str) -> &'static str {
    let says = |word: &str| reason.contains(word);
    match credential.app.provider {
        Provider::Apns if says("clock") => "correct this machine's clock: Apple refuses tokens that are off by an hour",
        Provider::Apns if says("Environment") && credential.app.environment == Environment::Sandbox => {
            "make a key at developer.apple.com that is valid for the sandbox, or set environment = \"production\""
        }
        Provider::Apns if says("Environment") => {
            "make a key at developer.apple.com that is valid for production, or set environment = \"sandbox\""
        }
        Provider::Apns if says("Topic") => {
            "correct app under [[clearinghouse.apps]]: it is the app's bundle id, and the key must be of the same team"
        }
        Provider::Apns => {
            "compare team and key_id under [[clearinghouse.apps]] with developer.apple.com, and see that the key was not \
             revoked there"
        }
        Provider::Fcm if says("SENDER_ID_MISMATCH") => {
            "correct app under [[clearinghouse.apps]]: it is the id of the project that the app was built with"
        }
        Provider::Fcm if says("THIRD_PARTY_AUTH_ERROR") => {
            "give Firebase the APNs key of the app, under project settings, Cloud Messaging"
        }
        Provider::Fcm => {
            "see at console.cloud.google.com that the service account is enabled, its key was not deleted, it has the role \
             Firebase Cloud Messaging API Admin, and the FCM API is switched on"
        }
        Provider::Mpns | Provider::WebPush | Provider::Wns => "",
    }
}

fn unreachable(credential: &Credential) -> &'static str {
    match credential.app.provider {
        Provider::Apns => {
            "let this machine reach the server on its port (443 or 2197 at Apple), also through the firewall"
        }
        Provider::Fcm => "let this machine reach the server and the token_uri of the key file on port 443",
        Provider::Mpns | Provider::WebPush | Provider::Wns => "let this machine reach the server",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cmdlets::fakes::{self, ClearingHouse, NOW, column, run};

    fn house(verdict: Option<Verdict>) -> ClearingHouse {
        let lane = |channel, state, trouble: Option<&str>| Lane {
            key: LaneKey { app: fakes::app(), channel },
            state,
            connections: 0,
            in_flight: 0,
            queued: 0,
            on_disk: 0,
            organisations: 0,
            noisiest: None,
            trouble: trouble.map(|sentence| (NOW, sentence.to_owned())),
        };
        let credential = Credential {
            app: fakes::app(),
            kind: "key",
            key_id: "ABC123DEFG".into(),
            owner: "TEAM123456".into(),
            file: "/etc/reveille/apns.p8".into(),
            read: NOW,
            differs: None,
            written: Some(Timestamp::from_millis(NOW.millis() - 86_400_000 * 3)),
            expires: None,
            server: "api.push.apple.com:443".into(),
        };
        let refused = "the connection was refused";
        ClearingHouse {
            lanes: vec![
                lane(Channel::Message, "ready", Some("the provider closed the connection")),
                lane(Channel::Voip, "unreachable", Some(refused)),
            ],
            credentials: vec![credential],
            answer: verdict.map(|verdict| ProviderAnswer { verdict, status: 400, took: Duration::from_millis(12) }),
            ..ClearingHouse::default()
        }
    }

    #[tokio::test]
    async fn a_credential_shows_whose_it_is_and_how_its_lanes_are_and_not_itself() {
        let desk = fakes::desk(None, Some(house(None)));
        let seen = run(&desk, "Get-CsPushCredential", &[]).await.expect("one");
        for (property, expected) in [
            ("KeyId", "ABC123DEFG"),
            ("State", "message ready, voip unreachable"),
            ("Trouble", "the connection was refused"),
            ("FileAgeDays", "3"),
            ("Remedy", "Test-CsPushCredential -App org.example.chat"),
        ] {
            assert_eq!(column(&seen, property), [expected]);
        }
        let lanes = run(&desk, "Get-CsPushLane", &[("App", "org.example.*")]).await.expect("two");
        assert_eq!(column(&lanes, "State"), ["ready", "unreachable"]);
        assert_eq!(column(&lanes, "Remedy"), ["", "Test-CsPushCredential -App org.example.chat"]);
        let none = run(&desk, "Get-CsPushCredential", &[("App", "org.other")]).await.expect_err("no such app");
        assert!(none.message.contains("it has apns/org.example.chat"), "{none}");
    }

    #[tokio::test]
    async fn the_answer_about_a_token_that_nobody_has_tells_of_the_credential() {
        let retry = |reason: &str| Verdict::Retry { reason: reason.into(), after: None, unprocessed: true };
        for (verdict, result, remedy) in [
            (Some(Verdict::Forget { reason: "BadDeviceToken".into(), since: None }), "Success", ""),
            (
                Some(Verdict::Configuration { reason: "InvalidProviderToken".into() }),
                "Failure",
                "compare team and key_id",
            ),
            (Some(Verdict::Configuration { reason: "TopicDisallowed".into() }), "Failure", "correct app under"),
            (Some(Verdict::Configuration { reason: "BadEnvironmentKeyInToken".into() }), "Failure", "make a key at"),
            (Some(retry("no connection to the provider")), "Failure", "let this machine reach"),
            (None, "Failure", "let this machine reach"),
        ] {
            let desk = fakes::desk(None, Some(house(verdict.clone())));
            let tested = run(&desk, "Test-CsPushCredential", &[]).await.expect("an answer");
            assert_eq!(column(&tested, "Result"), [result], "{verdict:?}");
            assert!(column(&tested, "Remedy")[0].starts_with(remedy), "{verdict:?} {tested:?}");
        }
    }

    #[tokio::test]
    async fn a_key_file_that_cannot_be_used_is_told_though_the_old_key_is_taken() {
        let taken = || Some(Verdict::Forget { reason: "BadDeviceToken".into(), since: None });
        let now = |differs: &str| {
            let mut house = house(taken());
            house.credentials[0].differs = Some(differs.to_owned());
            house.lanes.truncate(1);
            fakes::desk(None, Some(house))
        };
        let desk = now("the file /etc/reveille/apns.p8 cannot be used (credential): it is no key");
        let seen = run(&desk, "Get-CsPushCredential", &[]).await.expect("one");
        assert_eq!(column(&seen, "State"), ["ready, not with what the file holds"]);
        assert!(
            column(&seen, "Trouble")[0].contains("it is no key") && column(&seen, "TroubleAt")[0] < NOW.to_string()
        );
        assert!(column(&seen, "Remedy")[0].contains("into /etc/reveille/apns.p8"), "{seen:?}");
        let tested = run(&desk, "Test-CsPushCredential", &[]).await.expect("an answer");
        assert_eq!(column(&tested, "Result"), ["Failure"]);
        let why = column(&tested, "Explanation").remove(0);
        assert!(
            why.starts_with("the push service has taken the credential, but this was the key that was read"),
            "{why}"
        );
    }
}
