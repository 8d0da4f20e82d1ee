//! The one way in which a cmdlet is run, whoever asks: find, bind, check the right to it, write it down, do it.

use std::time::Duration;

use reveille_core::spelling::distance;

use crate::audit;
use crate::bind::bind_object;
use crate::call::Caller;
use crate::cmdlet::{Area, Cmdlet, Outcome};
use crate::cmdlets::{CMDLETS, MISSPELT, find};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::value::{Object, Value};

/// Runs the cmdlet of that name with the parameters that a program has sent.
pub async fn run(name: &str, parameters: &Object, caller: &Caller, desk: &Desk) -> Result<Outcome, Failure> {
    let (cmdlet, hint) = named(name)?;
    let about = cmdlet.about();
    // Before the parameters: who may not run it need not learn what it takes, nor make us read it.
    if let Err(denied) = caller.may_run(about.name) {
        audit::refused(caller, &about.name.to_string(), parameters, &denied.message, desk).await;
        return Err(denied);
    }
    let call = bind_object(about, parameters)?.finish(caller.clone())?;
    if let Err(denied) = caller.may(about, &call) {
        audit::refused(caller, &about.name.to_string(), parameters, &denied.message, desk).await;
        return Err(denied);
    }
    if about.area == Area::Tests {
        // A test goes by what was set a moment ago, even if another process of this machine was told. When the file cannot be
        // read the replica serves, and the test itself says what does not work.
        let _ = desk.settings.fresh();
    }
    let begun = audit::begin(about, &call, desk).await?;
    let ended = match tokio::time::timeout(CALL_MAX, cmdlet.run(&call, desk)).await {
        Ok(ended) => ended,
        Err(_) => Err(Failure::new(
            Category::OperationStopped,
            "TooLong",
            format!("{} did not come to its end within {} s and was given up.", about.name, CALL_MAX.as_secs()),
        )),
    };
    let mut ended = audit::end(begun, about, &call, ended, desk).await;
    if let (Ok(outcome), Some(hint)) = (&mut ended, hint) {
        outcome.warnings.insert(0, hint);
    }
    ended
}

/// The cmdlet of that name, and a hint if it is one of the documents' misspellings.
fn named(name: &str) -> Result<(&'static dyn Cmdlet, Option<String>), Failure> {
    if let Some(cmdlet) = find(name) {
        return Ok((cmdlet, None));
    }
    let meant = MISSPELT.iter().find(|(wrong, _)| wrong.eq_ignore_ascii_case(name)).map(|(_, meant)| *meant);
    if let Some(cmdlet) = meant.and_then(find) {
        return Ok((cmdlet, Some(format!("{name} is named {}.", cmdlet.about().name))));
    }
    Err(unknown(name))
}

fn unknown(name: &str) -> Failure {
    let shown: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
    let known = CMDLETS.iter().map(|cmdlet| cmdlet.about().name.to_string());
    let nearest = known.map(|known| (distance(&known, &shown), known)).min();
    let hint = match nearest {
        Some((steps, known)) if steps <= 2 + shown.len() / 6 => format!("Did you mean {known}?"),
        _ => "GET /admin/v1/cmdlets, or Get-Command, lists them.".into(),
    };
    let mut failure = Failure::new(
        Category::ObjectNotFound,
        "CommandNotFoundException",
        format!("There is no cmdlet \"{shown}\". {hint}"),
    );
    failure.exception = "CommandNotFoundException".into();
    failure.of(shown)
}

/// How long a cmdlet may run.
const CALL_MAX: Duration = Duration::from_secs(180);

/// Sets `WhatIf` among parameters that a program sends beside them.
pub fn with_what_if(mut parameters: Object, what_if: bool) -> Object {
    if what_if {
        parameters.set("WhatIf", Value::Bool(true));
    }
    parameters
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reveille_store::{Audit, AuditEntry, AuditOutcome, AuditQuery, Completion, Past, StoreError};

    use super::*;
    use crate::testing;

    /// A record that takes nothing.
    struct Deaf;

    impl Deaf {
        fn closed() -> StoreError {
            StoreError::Closed { file: "admin.db".into() }
        }
    }

    impl Audit for Deaf {
        fn note(&self, _: AuditEntry, done: Completion<u64>) {
            done(Err(Self::closed()));
        }

        fn close_note(&self, _: u64, _: AuditOutcome, _: &str, _: u64, done: Completion<()>) {
            done(Err(Self::closed()));
        }

        fn audit(&self, _: &AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
            Err(Self::closed())
        }
    }

    fn domain(name: &str) -> Object {
        Object::default().with("Identity", name)
    }

    #[tokio::test]
    async fn what_cannot_be_written_down_is_not_done_and_settings_are_still_read() {
        let real = testing::desk();
        let desk = Desk {
            settings: real.settings.clone(),
            accounts: real.accounts.clone(),
            guesses: real.guesses.clone(),
            audit: Arc::new(Deaf),
            clock: real.clock.clone(),
            sites: real.sites.clone(),
            ports: crate::ports::Ports::default(),
        };
        let owner = Caller::owner("root");
        let refused = run("New-CsAllowedDomain", &domain("a.example"), &owner, &desk).await.unwrap_err();
        assert_eq!((&*refused.id, refused.category), ("AuditNotWritten", Category::ResourceUnavailable));
        assert_eq!(desk.settings.snapshot().version(), 0);
        let read = run("Get-CsAdminAccount", &Object::default(), &owner, &desk).await.unwrap_err();
        assert_eq!(&*read.id, "AuditNotWritten", "looks at administrators are written down too");
        assert!(run("Get-CsAllowedDomain", &Object::default(), &owner, &desk).await.is_ok());
    }

    #[tokio::test]
    async fn each_kind_of_end_is_in_the_record_and_reading_settings_is_not() {
        let desk = testing::desk();
        let owner = Caller::owner("root");
        let what_if = domain("b.example").with("WhatIf", true);
        run("New-CsAllowedDomain", &domain("a.example"), &owner, &desk).await.unwrap();
        run("New-CsAllowedDomain", &domain("a.example"), &owner, &desk).await.unwrap_err();
        run("New-CsAllowedDomain", &what_if, &owner, &desk).await.unwrap();
        run("Get-CsAllowedDomain", &Object::default(), &owner, &desk).await.unwrap();
        let nobody = Caller { name: "eve".into(), from: "192.0.2.1".into(), ..Caller::default() };
        run("New-CsAllowedDomain", &domain("c.example"), &nobody, &desk).await.unwrap_err();
        let query = AuditQuery { limit: 10, ..AuditQuery::default() };
        let told: Vec<_> = desk.audit.audit(&query).unwrap().into_iter().rev().collect();
        let told: Vec<_> = told.iter().map(|entry| (entry.author.as_str(), entry.outcome)).collect();
        let expected = [
            ("root", AuditOutcome::Done),
            ("root", AuditOutcome::Failed),
            ("root", AuditOutcome::WhatIf),
            ("eve", AuditOutcome::Refused),
        ];
        assert_eq!(told, expected);
        let history = desk.settings.history(&Past { limit: 10, ..Past::default() }).unwrap();
        assert_eq!(history.iter().map(|it| it.author.as_str()).collect::<Vec<_>>(), ["root"]);
    }

    #[tokio::test]
    async fn a_misspelling_of_the_documents_is_understood_and_named() {
        let desk = testing::desk();
        let uri = Object::default().with("PushNotificationProxyUri", "sip:push@push.lync.com");
        let outcome = run("Set-McxConfiguration", &uri, &Caller::owner("root"), &desk).await.unwrap();
        assert_eq!(outcome.warnings[0], "Set-McxConfiguration is named Set-CsMcxConfiguration.");
        let unknown = run("Get-CsAdminRol", &Object::default(), &Caller::owner("root"), &desk).await.unwrap_err();
        assert!(unknown.message.contains("Did you mean Get-CsAdminRole?"), "{unknown}");
    }
}
