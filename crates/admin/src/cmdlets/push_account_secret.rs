//! `CsPushAccountSecret`: what machine accounts prove themselves with if they have no keys of their own.

use reveille_core::settings::{PushAccount, PushAccountSecret, Setting, SettingKey, SettingRow, Snapshot};

use super::push_account::{ACCOUNT, FAMILY};
use crate::accounts::Issued;
use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::{Planned, settled};
use crate::kind::Kind;
use crate::value::Object;

const NOUN: &str = "CsPushAccountSecret";
const IDENTITY: Parameter = Parameter::new("Identity", Kind::Text, ACCOUNT).required().at(1).from(Pipeline::ByName);
/// What our secrets begin with, so that a scanner of published code finds what should not be there.
const PREFIX: &str = "rvps";

/// `New-CsPushAccountSecret`
pub(super) struct New;

impl Cmdlet for New {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::New, NOUN),
                summary: "Makes a secret that a machine account signs in with",
                description: "The secret is shown this once; its digest only is kept. An account has two at most, so that \
                              the next one can be brought to the machine while the old one still is good: then \
                              Remove-CsPushAccountSecret takes the old one away.",
                parameters: &[IDENTITY],
                outputs: &["Identity", "SecretId", "Organisation", "Secret"],
                area: Area::Topology,
                changes: true,
                examples: &[("New-CsPushAccountSecret -Identity contoso-mcx", "A secret for the account.")],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let identity = call.text("Identity").unwrap_or_default();
            let issued = Issued::with_prefix(PREFIX);
            let digest = issued.digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            let secret = PushAccountSecret { id: issued.id.clone(), digest, made: Some(desk.clock.now()) };
            let plan = |settings: &Snapshot| {
                let (row, mut account) = account(settings, identity)?;
                account.secrets.push(secret.clone());
                Ok(Planned::put(&FAMILY, Setting::PushAccount(account), Some(row), None))
            };
            let mut outcome = settled(call, desk, plan).await?;
            if call.what_if {
                return Ok(outcome);
            }
            let (_, account) = account(&desk.settings.snapshot(), identity)?;
            let shown = Object::new("PushAccountSecret")
                .with("Identity", account.identity)
                .with("SecretId", issued.id)
                .with("Organisation", account.organisation.to_string())
                .with("Secret", issued.text);
            outcome.objects.push(shown.into());
            outcome
                .warnings
                .push("The secret is not shown again: keep it now, where only its machine can read it.".into());
            Ok(outcome)
        })
    }
}

/// `Remove-CsPushAccountSecret`
pub(super) struct Remove;

impl Cmdlet for Remove {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Remove, NOUN),
                summary: "Takes a secret from a machine account, and with it the access tokens that it was good for",
                parameters: &[
                    IDENTITY,
                    Parameter::new(
                        "SecretId",
                        Kind::Text,
                        "What the secret is called: the Id in Get-CsPushAccount's Secrets",
                    )
                    .required()
                    .at(2)
                    .from(Pipeline::ByName),
                    Parameter::new("Force", Kind::Switch, "Does not ask"),
                ],
                area: Area::Topology,
                changes: true,
                asks: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let identity = call.text("Identity").unwrap_or_default();
            let id = call.text("SecretId").unwrap_or_default();
            let plan = |settings: &Snapshot| {
                let (row, mut account) = account(settings, identity)?;
                let before = account.secrets.len();
                account.secrets.retain(|secret| secret.id != id);
                if account.secrets.len() == before {
                    let message = format!("{} has no secret that is called \"{id}\".", account.identity);
                    let failure = Failure::new(Category::ObjectNotFound, "ObjectNotFound", message).of(id);
                    return Err(failure.advise(format!("Get-CsPushAccount -Identity {}", account.identity)));
                }
                Ok(Planned::put(&FAMILY, Setting::PushAccount(account), Some(row), None))
            };
            let outcome = settled(call, desk, plan).await?;
            Ok(Outcome { objects: Vec::new(), ..outcome })
        })
    }
}

/// The account of that name, as it stands in the settings.
fn account(settings: &Snapshot, identity: &str) -> Result<(SettingRow, PushAccount), Failure> {
    let row = settings.row(&SettingKey::new("PushAccount", identity)).cloned();
    match row.as_ref().map(|row| row.setting.clone()) {
        Some(Setting::PushAccount(account)) => Ok((row.expect("it was just looked at"), account)),
        _ => Err(FAMILY.not_found(identity)),
    }
}

#[cfg(test)]
mod tests {
    use crate::call::Caller;
    use crate::run::run;
    use crate::testing::desk;
    use crate::value::{Object, Value};

    #[tokio::test]
    async fn a_secret_is_shown_once_and_two_are_the_most() {
        let desk = desk();
        let ann = Caller::owner("ann");
        let of = || Object::default().with("Identity", "contoso-mcx");
        let missing = run("New-CsPushAccountSecret", &of(), &ann, &desk).await.unwrap_err();
        assert_eq!(&*missing.id, "ObjectNotFound");
        run("New-CsPushAccount", &of().with("Organisation", "contoso.com"), &ann, &desk).await.unwrap();
        let mut secrets = Vec::new();
        for _ in 0..2 {
            let made = run("New-CsPushAccountSecret", &of(), &ann, &desk).await.unwrap();
            let made = made.objects[0].as_object().unwrap().clone();
            let text = |name: &str| made.property(name).and_then(Value::as_text).unwrap().to_owned();
            assert!(text("Secret").starts_with(&format!("rvps_{}_", text("SecretId"))), "it says what it is called");
            secrets.push((text("SecretId"), text("Secret")));
        }
        let third = run("New-CsPushAccountSecret", &of(), &ann, &desk).await.unwrap_err();
        assert!(third.message.contains("two are the most"), "{}", third.message);
        let shown = format!("{:?}", run("Get-CsPushAccount", &of(), &ann, &desk).await.unwrap().objects);
        for (id, secret) in &secrets {
            assert!(shown.contains(id) && !shown.contains(secret), "{shown}");
        }
        let away = of().with("SecretId", secrets[0].0.as_str()).with("Force", true);
        run("Remove-CsPushAccountSecret", &away, &ann, &desk).await.unwrap();
        let again = run("Remove-CsPushAccountSecret", &away, &ann, &desk).await.unwrap_err();
        assert_eq!(&*again.id, "ObjectNotFound");
        let accounts = desk.settings.snapshot();
        let left = &accounts.push_account("CONTOSO-mcx").unwrap().secrets;
        assert_eq!(left.iter().map(|secret| &secret.id).collect::<Vec<_>>(), [&secrets[1].0]);
    }
}
