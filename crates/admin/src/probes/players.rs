//! What the tests with users have in common: parameters, who takes part, and the home that runs them.

use reveille_core::{Aor, SipDomain};
use reveille_federation::probe::Report;

use super::report;
use crate::call::Call;
use crate::cmdlet::{Name, Outcome, Parameter};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::kind::Kind;
use crate::ports::synthetic::{Act, Credential, Order, Player};
use crate::value::{Object, Value};

/// The properties of the documents' result of tests of the mobility service, in their order.
pub(crate) const WEB_RESULT: &[&str] = &["TargetFqdn", "TargetUri", "Result", "Latency", "Error", "Diagnosis"];
/// `-TargetFqdn`
pub(crate) const TARGET: Parameter =
    Parameter::new("TargetFqdn", Kind::Domain, "The home where the users sign in, by one of its names")
        .required()
        .at(2)
        .alias(&["t"]);
/// `-RegistrarPort`
pub(crate) const PORT: Parameter =
    Parameter::new("RegistrarPort", Kind::Int { min: 1, max: 65_535 }, "The port where they sign in over TLS")
        .alias(&["rp"])
        .or("5061");
/// `-Authentication`
pub(crate) const AUTHENTICATION: Parameter = Parameter::new(
    "Authentication",
    Kind::Choice(&["TrustedServer", "Negotiate", "ClientCertificate", "LiveID"]),
    "How the users prove themselves: Negotiate by their passwords; TrustedServer by one that home makes for this test",
)
.alias(&["Ath"]);

/// Who takes part: the user of `-…SipAddress` with `-…Credential`, or one who is kept for tests.
pub(crate) fn player(call: &Call, address: &str, credential: &str) -> Result<Option<Player>, Failure> {
    let given = call.object(credential).map(|object| read(object, credential)).transpose()?;
    let vouched = match call.text("Authentication") {
        Some("TrustedServer") => true,
        Some(other @ ("ClientCertificate" | "LiveID")) => {
            return Err(wrong(format!(
                "-Authentication {other} is not possible: clients of this home prove themselves by digest. Negotiate takes \
                 the password of -{credential}, TrustedServer needs none."
            )));
        }
        Some("Negotiate") if given.is_none() => {
            return Err(wrong(format!("-Authentication Negotiate needs -{credential}: Get-Credential asks for it.")));
        }
        _ => given.is_none(),
    };
    let Some(text) = call.text(address) else {
        return match given {
            None => Ok(None),
            Some(_) => Err(wrong(format!("-{credential} needs -{address}: whose password it is."))),
        };
    };
    let address: Aor =
        text.parse().map_err(|_| wrong(format!("-{address} {text} is no address of the form sip:user@domain.")))?;
    Ok(Some(Player { address, credential: given.filter(|_| !vouched) }))
}

fn read(object: &Object, parameter: &str) -> Result<Credential, Failure> {
    let username = object.property("UserName").and_then(Value::as_text);
    let password = match object.property("Password") {
        Some(Value::Secret(secret)) => Some(secret.clone()),
        _ => None,
    };
    let (Some(username), Some(password)) = (username, password) else {
        return Err(wrong(format!("-{parameter} has no user name and password: Get-Credential makes one that has.")));
    };
    Ok(Credential { username: username.to_owned(), password })
}

fn wrong(message: String) -> Failure {
    Failure::new(Category::InvalidArgument, "InvalidParameter", message)
}

/// Has the home of this process run a test.
pub(crate) async fn run(
    call: &Call,
    desk: &Desk,
    players: Vec<Option<Player>>,
    act: Act,
) -> Result<(SipDomain, Report), Failure> {
    let Some(home) = &desk.ports.synthetic else {
        return Err(Failure::new(
            Category::ResourceUnavailable,
            "NoHome",
            "This process has no home, where the users would sign in: ask the one that has, with --socket or --url.",
        ));
    };
    let target = super::road::domain(call, "TargetFqdn")?;
    let port = call.int("RegistrarPort").and_then(|port| u16::try_from(port).ok());
    let busy = || {
        Failure::new(
            Category::ResourceBusy,
            "TooManyTests",
            "Home runs as many tests as it may, or is about to stop: repeat the test in a moment.",
        )
    };
    let order = Order { target: target.clone(), port, players, act };
    let report = home.run(order).await.ok_or_else(busy)?;
    Ok((target, report))
}

/// The outcome in the layout of tests of the mobility service, which names the address of the service.
pub(crate) fn web_outcome(name: Name, target: &SipDomain, report: &Report, detailed: bool) -> Outcome {
    let mut outcome = report::outcome(name, report, detailed);
    if !detailed && let Some(Value::Object(found)) = outcome.objects.first() {
        let mut object = Object::new("WebTaskOutput");
        for (property, value) in found.properties() {
            object.set(property, value.clone());
            if property == "TargetFqdn" {
                object.set("TargetUri", format!("https://{target}:443/mcx"));
            }
        }
        outcome.objects = vec![object.into()];
    }
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use reveille_core::stage::{Stage, Walk};

    use super::*;
    use crate::call::Caller;
    use crate::ports::synthetic::Synthetic;
    use crate::ports::{Asked, Ports};
    use crate::testing::desk_with;
    use crate::value::Secret;

    /// A home whose tests succeed, or that is busy.
    #[derive(Default)]
    struct Home {
        busy: bool,
        orders: Mutex<Vec<Order>>,
    }

    impl Synthetic for Home {
        fn run(&self, order: Order) -> Asked<'_, Option<Report>> {
            let mut walk = Walk::default();
            walk.pass(Stage::Session, Duration::ZERO, "");
            let report = Report { home: order.target.clone(), walk, status: None, source: "home".into() };
            self.orders.lock().unwrap().push(order);
            Box::pin(std::future::ready((!self.busy).then_some(report)))
        }
    }

    async fn run(name: &str, home: Option<Arc<Home>>, more: &[(&str, Value)]) -> Result<Outcome, Failure> {
        let mut parameters = Object::default();
        parameters.set("TargetFqdn", "home.contoso.com");
        for (name, value) in more {
            parameters.set(*name, value.clone());
        }
        let ports = Ports { synthetic: home.map(|home| home as _), ..Ports::default() };
        crate::run::run(name, &parameters, &Caller::owner("tester"), &desk_with(ports)).await
    }

    fn credential() -> Value {
        let object = Object::new("PSCredential").with("UserName", "litwareinc\\kenmyer");
        object.with("Password", Value::Secret(Secret::new("ken-9-stars"))).into()
    }

    #[tokio::test]
    async fn a_password_counts_unless_home_is_to_vouch_and_what_cannot_be_says_what_can() {
        let ken = ("SenderSipAddress", Value::from("sip:kenmyer@litwareinc.com"));
        let by = |how: &str| ("Authentication", Value::from(how));
        let given = ("SenderCredential", credential());
        for (line, expected) in [
            (vec![], Ok(None)),
            (vec![ken.clone()], Ok(Some(false))),
            (vec![ken.clone(), given.clone()], Ok(Some(true))),
            (vec![ken.clone(), given.clone(), by("TrustedServer")], Ok(Some(false))),
            (vec![ken.clone(), by("Negotiate")], Err("needs -SenderCredential")),
            (vec![ken.clone(), given.clone(), by("LiveID")], Err("Negotiate takes the password")),
            (vec![given.clone()], Err("needs -SenderSipAddress")),
        ] {
            let home = Arc::new(Home::default());
            let outcome = run("Test-CsMcxP2PIM", Some(Arc::clone(&home)), &line).await;
            match expected {
                Ok(expected) => {
                    let order = home.orders.lock().unwrap().remove(0);
                    let proves = order.players[0].as_ref().map(|player| player.credential.is_some());
                    assert_eq!((outcome.is_ok(), proves), (true, expected), "{line:?}");
                    assert_eq!((order.players.len(), order.act), (2, Act::Pair));
                }
                Err(words) => {
                    let failure = outcome.unwrap_err();
                    assert!(failure.message.contains(words), "{line:?}: {failure}");
                    assert!(!failure.message.contains("ken-9-stars"));
                }
            }
        }
    }

    #[tokio::test]
    async fn tests_of_the_mobility_service_name_its_address_and_the_edge_may_be_given() {
        let home = Arc::new(Home::default());
        let outcome = run("Test-CsMcxConference", Some(Arc::clone(&home)), &[]).await.unwrap();
        let object = outcome.objects[0].as_object().unwrap();
        let shown: Vec<&str> = object.properties().map(|(name, _)| name).collect();
        assert_eq!(shown, WEB_RESULT);
        assert_eq!(object.property("TargetUri").and_then(Value::as_text), Some("https://home.contoso.com:443/mcx"));
        run("Test-CsAVEdgeConnectivity", Some(Arc::clone(&home)), &[("AVEdgeUDPPort", Value::Int(9))]).await.unwrap();
        let acts: Vec<Act> = home.orders.lock().unwrap().iter().map(|order| order.act.clone()).collect();
        assert_eq!(acts, [Act::Group, Act::AvEdge { host: None, udp: Some(9), tcp: None }]);
    }

    #[tokio::test]
    async fn without_a_home_or_with_a_busy_one_the_test_says_so() {
        let absent = run("Test-CsMcxP2PIM", None, &[]).await.unwrap_err();
        assert_eq!(absent.category, Category::ResourceUnavailable);
        let home = Home { busy: true, ..Home::default() };
        let busy = run("Test-CsMcxP2PIM", Some(Arc::new(home)), &[]).await.unwrap_err();
        assert_eq!(busy.category, Category::ResourceBusy);
    }
}
