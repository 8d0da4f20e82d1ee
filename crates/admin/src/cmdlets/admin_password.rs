//! `CsAdminPassword`: one's own password, which everybody changes himself.

use std::net::IpAddr;

use reveille_store::{Account, Given, wait};
use tokio::sync::Mutex;

use super::admin_account::{conflict, hashed, unavailable, what_if};
use crate::accounts::{is_name, verify};
use crate::api::Throttle;
use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::kind::Kind;
use crate::value::Value;

const NOUN: &str = "CsAdminPassword";

/// `Set-CsAdminPassword`
pub(super) struct Set;

impl Cmdlet for Set {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Set, NOUN),
                summary: "Changes the password of one's own account",
                description: "Whoever has an account may, with whatever role. The old password is asked for and checked, \
                              and a wrong one counts as a wrong sign-in does. All sessions of the account end, this one \
                              too; tokens stay. Who has forgotten the old one needs a CsAdministrator: \
                              Set-CsAdminAccount.",
                parameters: &[
                    Parameter::new("OldPassword", Kind::Secret, "The password as it is").required(),
                    Parameter::new(
                        "NewPassword",
                        Kind::Secret,
                        "What it shall be: at least 12 characters, and not with the account's name in it",
                    )
                    .required(),
                ],
                area: Area::Own,
                changes: true,
                examples: &[(
                    "Set-CsAdminPassword",
                    "Asks for the old password and for the new one, and shows neither.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let (account, address) = own(call, desk)?;
            if call.what_if {
                return Ok(what_if(call, &account.name));
            }
            let (old, new) = (secret(call, "OldPassword"), secret(call, "NewPassword"));
            prove(&account, old, address, desk).await?;
            if old == new {
                let why = "The new password is the old one.";
                return Err(Failure::new(Category::InvalidArgument, "WeakPassword", why).of(&*account.name));
            }
            let changed = Account {
                password: Some(hashed(&account.name, new)?),
                changed: desk.clock.now(),
                changed_by: call.caller.name.clone(),
                ..account.clone()
            };
            let kept = wait(|done| desk.accounts.put_account(changed, account.version, Given::default(), done)).await;
            kept.map_err(unavailable)?.map_err(|error| conflict(&error))?;
            let warning = "The sessions of the old password have ended: sign in with the new one.";
            Ok(Outcome { warnings: vec![warning.into()], ..Outcome::default() })
        })
    }
}

/// The account that calls, and from where. Over the socket it is a user of the machine, who has none here.
fn own(call: &Call, desk: &Desk) -> Result<(Account, IpAddr), Failure> {
    let name = &call.caller.name;
    let none = || {
        Failure::new(
            Category::InvalidArgument,
            "NoAccount",
            format!(
                "{name} comes from this machine and has no password here. Set-CsAdminAccount -Identity NAME -Password \
                 changes the one of an account."
            ),
        )
        .of(name.as_str())
    };
    let address = call.caller.from.parse().map_err(|_| none())?;
    let account = if is_name(name) { desk.accounts.account(name).map_err(unavailable)? } else { None };
    Ok((account.ok_or_else(none)?, address))
}

/// Whether the caller knows the password: who has found an open session, or a token, does not.
async fn prove(account: &Account, password: &str, address: IpAddr, desk: &Desk) -> Result<(), Failure> {
    // One after the other, so that many tries at once are not all let through before the first has failed.
    static TURN: Mutex<()> = Mutex::const_new(());
    if account.password.is_none() {
        return Err(Failure::new(
            Category::InvalidArgument,
            "NoPassword",
            format!(
                "{} has no password that could be changed. A CsAdministrator gives the first one: Set-CsAdminAccount \
                 -Identity {0} -Password.",
                account.name
            ),
        )
        .of(&*account.name));
    }
    let _turn = TURN.lock().await;
    // What is counted here lies in the store, where those who sign in find it.
    let throttle = Throttle::new(desk.guesses.clone(), desk.clock.clone());
    if let Some(pause) = throttle.wait_to_sign_in(&account.name, address) {
        let said = format!(
            "The password was wrong too often, here or at a sign-in. Come again in {} s.",
            pause.as_secs().max(1)
        );
        return Err(Failure::new(Category::ResourceBusy, "TooManyGuesses", said).of(&*account.name));
    }
    if !verify(password, account.password.as_ref()) {
        throttle.failed_to_sign_in(&account.name, address).await;
        let said = format!("The old password is not that of {}. Nothing was changed.", account.name);
        return Err(Failure::new(Category::PermissionDenied, "WrongPassword", said).of(&*account.name));
    }
    throttle.signed_in(&account.name).await;
    Ok(())
}

fn secret<'a>(call: &'a Call, parameter: &str) -> &'a str {
    match call.value(parameter) {
        Some(Value::Secret(secret)) => secret.expose(),
        Some(Value::Text(text)) => text,
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use reveille_core::Timestamp;
    use reveille_store::{AuditOutcome, AuditQuery, PassKind};

    use super::*;
    use crate::accounts::{admit_pass, check_sign_in, hash, open_session};
    use crate::call::Caller;
    use crate::roles::Rights;
    use crate::run::run;
    use crate::testing::{self, TestDesk};
    use crate::value::{Object, Secret};

    const OLD: &str = "correct horse battery";
    const NEW: &str = "staple of another stable";

    async fn desk_of_bea(password: Option<&str>) -> TestDesk {
        let desk = testing::desk();
        let bea = Account {
            name: "bea".into(),
            password: password.map(|it| hash(it).unwrap()),
            certificate: None,
            roles: vec!["CsVoiceAdministrator".into()],
            disabled: false,
            created: Timestamp::from_millis(0),
            created_by: "test".into(),
            changed: Timestamp::from_millis(0),
            changed_by: "test".into(),
            version: 0,
        };
        wait(|done| desk.accounts.put_account(bea, 0, Given::default(), done)).await.unwrap().unwrap();
        desk
    }

    /// Whoever has that name comes from there with no right to anything.
    async fn change(name: &str, from: &str, old: &str, new: &str, desk: &TestDesk) -> Result<Outcome, Failure> {
        let caller = Caller { name: name.into(), from: from.into(), rights: Arc::new(Rights::default()) };
        let hidden = |text: &str| Value::Secret(Secret::new(text));
        let parameters = Object::default().with("OldPassword", hidden(old)).with("NewPassword", hidden(new));
        run("Set-CsAdminPassword", &parameters, &caller, desk).await
    }

    #[tokio::test]
    async fn everybody_changes_his_own_password_by_the_old_one_and_all_sessions_end() {
        let desk = desk_of_bea(Some(OLD)).await;
        let (session, _) = open_session(&check_sign_in("bea", OLD, &desk).unwrap(), "192.0.2.1", &desk).await.unwrap();
        let outcome = change("bea", "192.0.2.1", OLD, NEW, &desk).await.unwrap();
        assert!(outcome.objects.is_empty() && outcome.warnings[0].contains("sign in with the new one"));
        assert!(check_sign_in("bea", OLD, &desk).is_err() && check_sign_in("bea", NEW, &desk).is_ok());
        assert!(admit_pass(&session.text, "192.0.2.1", &desk).is_err());
        assert_eq!(desk.accounts.passes(PassKind::Session).unwrap(), []);
        let noted = desk.audit.audit(&AuditQuery { limit: 1, ..AuditQuery::default() }).unwrap();
        assert_eq!((noted[0].author.as_str(), noted[0].outcome), ("bea", AuditOutcome::Done));
        assert!(!noted[0].parameters.contains("horse") && !noted[0].parameters.contains("stable"), "{noted:?}");
    }

    #[tokio::test]
    async fn what_is_no_change_of_ones_own_password_changes_nothing_and_says_why() {
        let desk = desk_of_bea(Some(OLD)).await;
        for (name, from, old, new, id) in [
            ("bea", "192.0.2.1", "wrong horse battery", NEW, "WrongPassword"),
            ("bea", "192.0.2.1", OLD, OLD, "WeakPassword"),
            ("bea", "192.0.2.1", OLD, "too brief", "WeakPassword"),
            ("bea", "192.0.2.1", OLD, "the secret of Bea herself", "WeakPassword"),
            ("root@atl-cs-001", "local", OLD, NEW, "NoAccount"),
            ("bea", "local", OLD, NEW, "NoAccount"),
            ("carol", "192.0.2.1", OLD, NEW, "NoAccount"),
        ] {
            let failure = change(name, from, old, new, &desk).await.unwrap_err();
            assert_eq!(&*failure.id, id, "{name} {from} {new}: {}", failure.message);
            assert!(!failure.message.contains(old) && !failure.message.contains(new), "{}", failure.message);
        }
        assert!(check_sign_in("bea", OLD, &desk).is_ok());
        let without = desk_of_bea(None).await;
        let failure = change("bea", "192.0.2.1", "", NEW, &without).await.unwrap_err();
        assert_eq!(&*failure.id, "NoPassword");
    }

    #[tokio::test]
    async fn who_has_an_open_session_guesses_no_faster_than_who_signs_in() {
        let desk = desk_of_bea(Some(OLD)).await;
        for guess in 0..5 {
            let wrong = change("bea", "192.0.2.1", &format!("guess number {guess}"), NEW, &desk).await.unwrap_err();
            assert_eq!(&*wrong.id, "WrongPassword", "{guess}");
        }
        let locked = change("bea", "192.0.2.7", OLD, NEW, &desk).await.unwrap_err();
        assert_eq!((&*locked.id, locked.category), ("TooManyGuesses", Category::ResourceBusy));
        let door = Throttle::new(desk.guesses.clone(), desk.clock.clone());
        assert!(door.wait_to_sign_in("bea", "198.51.100.1".parse().unwrap()).is_some(), "the door knows of it");
        desk.turn_to(desk.clock.now().plus(Duration::from_secs(2)));
        change("bea", "192.0.2.1", OLD, NEW, &desk).await.unwrap();
    }
}
