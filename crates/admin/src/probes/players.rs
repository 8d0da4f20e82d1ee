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
