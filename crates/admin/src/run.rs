//! The one way in which a cmdlet is run, whoever asks: find, bind, check the right to it, write it down, do it.

use std::time::Duration;

use crate::audit;
use crate::bind::{bind_object, distance};
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
