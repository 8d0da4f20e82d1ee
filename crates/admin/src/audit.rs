//! What is written down of a call: who, from where, what with which parameters, and how it ended.
//!
//! Whatever changes something is written down before it begins, and not done if that fails. Reading settings is not
//! written down; reading about users and administrators is, and so is everything that was refused.

use std::time::{Duration, Instant};

use reveille_store::{AuditEntry, AuditOutcome, wait};

use crate::call::{Call, Caller};
use crate::cmdlet::{About, Area, Outcome, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::value::{Object, Value};

/// An entry whose outcome is not known yet.
#[derive(Debug)]
pub struct Begun {
    number: Option<u64>,
    at: Instant,
}

/// Writes down that a call begins, if it is one that is written down: what may change something, or takes long. Of mere
/// reading only the end is.
pub async fn begin(about: &About, call: &Call, desk: &Desk) -> Result<Begun, Failure> {
    let at = Instant::now();
    if !is_noted(about) || reads(about) {
        return Ok(Begun { number: None, at });
    }
    let number = note(about, call, AuditOutcome::Begun, String::new(), Duration::ZERO, desk).await?;
    Ok(Begun { number: Some(number), at })
}

async fn note(
    about: &About,
    call: &Call,
    outcome: AuditOutcome,
    detail: String,
    took: Duration,
    desk: &Desk,
) -> Result<u64, Failure> {
    let parameters = masked(call.values());
    let entry = entry(&call.caller, &about.name.to_string(), parameters, outcome, detail, desk);
    let entry = AuditEntry { millis: millis(took), ..entry };
    wait(|done| desk.audit.note(entry, done)).await.map_err(|error| {
        Failure::new(
            Category::ResourceUnavailable,
            "AuditNotWritten",
            format!("{} was not run, since the audit log does not take its entry: {error}.", about.name),
        )
    })
}

/// Writes down how it ended. What was read is not given if that cannot be written down; what was changed cannot be taken
/// back, so there the log says it.
pub async fn end(
    begun: Begun,
    about: &About,
    call: &Call,
    ended: Result<Outcome, Failure>,
    desk: &Desk,
) -> Result<Outcome, Failure> {
    if !is_noted(about) {
        return ended;
    }
    let (outcome, detail) = match &ended {
        Ok(_) if call.what_if => (AuditOutcome::WhatIf, ""),
        Ok(_) => (AuditOutcome::Done, ""),
        Err(failure) if failure.category == Category::PermissionDenied => {
            (AuditOutcome::Refused, failure.message.as_str())
        }
        Err(failure) => (AuditOutcome::Failed, failure.message.as_str()),
    };
    tracing::info!(
        admin.author = call.caller.name, admin.from = call.caller.from, admin.cmdlet = %call.name,
        admin.outcome = outcome.as_str(), "an administrator ran a cmdlet"
    );
    let took = begun.at.elapsed();
    let Some(number) = begun.number else {
        note(about, call, outcome, detail.to_owned(), took, desk).await?;
        return ended;
    };
    if let Err(error) = wait(|done| desk.audit.close_note(number, outcome, detail, millis(took), done)).await {
        tracing::error!(%error, admin.entry = number, "the audit log did not take how a cmdlet ended");
    }
    ended
}

/// Writes down that somebody was refused before anything began.
pub async fn refused(caller: &Caller, what: &str, parameters: &Object, why: &str, desk: &Desk) {
    tracing::info!(
        admin.author = caller.name,
        admin.from = caller.from,
        admin.cmdlet = what,
        why,
        "an administrator was refused"
    );
    let entry = entry(caller, what, masked(parameters.all()), AuditOutcome::Refused, why.to_owned(), desk);
    if let Err(error) = wait(|done| desk.audit.note(entry, done)).await {
        tracing::error!(%error, "the audit log did not take a refusal");
    }
}

/// Writes down that somebody came in or left.
pub async fn passed(caller: &Caller, what: &str, desk: &Desk) {
    let entry = entry(caller, what, "{}".into(), AuditOutcome::Done, String::new(), desk);
    if let Err(error) = wait(|done| desk.audit.note(entry, done)).await {
        tracing::error!(%error, "the audit log did not take a sign-in");
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

fn reads(about: &About) -> bool {
    !about.changes && about.name.verb == Verb::Get
}

fn is_noted(about: &About) -> bool {
    match about.area {
        Area::Administration => about.changes || about.name.noun != "CsAdminRole",
        Area::Tests | Area::Users => true,
        Area::Scoped | Area::Topology => about.changes,
    }
}

fn entry(
    caller: &Caller,
    cmdlet: &str,
    parameters: String,
    outcome: AuditOutcome,
    detail: String,
    desk: &Desk,
) -> AuditEntry {
    AuditEntry {
        number: 0,
        at: desk.clock.now(),
        author: caller.name.clone(),
        from: caller.from.clone(),
        // What a refused caller asked for is any text of his.
        cmdlet: cmdlet.chars().filter(|c| !c.is_control()).take(80).collect(),
        parameters,
        outcome,
        detail,
        millis: 0,
    }
}

/// Parameters as JSON, with stars for what is secret.
fn masked<'n, 'v>(values: impl Iterator<Item = (&'n str, &'v Value)>) -> String {
    let mut object = Object::default();
    for (name, value) in values {
        object.set(name, without_secrets(name, value));
    }
    serde_json::to_string(&object).unwrap_or_default()
}

fn without_secrets(name: &str, value: &Value) -> Value {
    // What a refused caller sent was not bound, so that a secret may stand there as text.
    let told = ["password", "secret", "token", "credential"].iter().any(|word| name.to_lowercase().contains(word));
    match value {
        Value::Secret(_) => "***".into(),
        Value::Text(_) if told && !name.eq_ignore_ascii_case("tokenid") => "***".into(),
        Value::List(items) => Value::List(items.iter().map(|item| without_secrets(name, item)).collect()),
        Value::Object(object) => {
            let mut clean = Object::new(object.type_name());
            object.all().for_each(|(name, value)| clean.set(name, without_secrets(name, value)));
            clean.into()
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Text(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Secret;

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let credential = Object::new("PSCredential")
            .with("UserName", "kenmyer")
            .with("Password", Value::Secret(Secret::new("ken-9-stars")));
        let values = Object::default()
            .with("UserCredential", credential)
            .with("Password", "typed-in-clear")
            .with("Roles", vec!["CsHelpDesk"])
            .with("List", Value::List(vec![Value::Secret(Secret::new("third"))]));
        let text = masked(values.all());
        assert!(text.contains("kenmyer") && text.contains("CsHelpDesk"), "{text}");
        for secret in ["ken-9-stars", "typed-in-clear", "third"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
