//! What is written down of a call: who, from where, what with which parameters, and how it ended.
//!
//! Whatever changes something is written down before it begins, and not done if that fails. Reading settings is not
//! written down; reading about users and administrators is, and so is everything that was refused.

use std::time::{Duration, Instant};

use reveille_store::{AuditEntry, AuditOutcome, wait};

use crate::call::{Call, Caller};
use crate::cmdlet::{About, Area, Outcome, Verb};
use crate::cmdlets;
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::kind::Kind;
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
    let entry = entry(caller, what, masked_unbound(what, parameters), AuditOutcome::Refused, why.to_owned(), desk);
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
        Area::Own | Area::Tests | Area::Users => true,
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

/// Parameters that nothing has bound yet, as JSON. What the cmdlet does not have is kept as a name only, since it may be a
/// misspelt secret; what it has is kept by its kind.
fn masked_unbound(cmdlet: &str, parameters: &Object) -> String {
    let about = cmdlets::find(cmdlet).map(|it| it.about());
    let mut object = Object::default();
    for (name, value) in parameters.all() {
        let kind = about.and_then(|about| about.parameter(name)).map(|known| known.kind);
        let what_if = name.eq_ignore_ascii_case("WhatIf") && matches!(value, Value::Bool(_));
        object.set(name, if what_if { value.clone() } else { by_kind(name, kind, value) });
    }
    serde_json::to_string(&object).unwrap_or_default()
}

fn by_kind(name: &str, kind: Option<Kind>, value: &Value) -> Value {
    let only = |object: &Object, kept: &str| {
        let mut clean = Object::new(object.type_name());
        for (name, value) in object.all() {
            let shown = name.eq_ignore_ascii_case(kept) && value.as_text().is_some();
            clean.set(name, if shown { value.clone() } else { STARS.into() });
        }
        Value::from(clean)
    };
    match (kind, value) {
        (None | Some(Kind::Secret), _) => STARS.into(),
        (Some(Kind::Credential), Value::Object(object)) => only(object, "UserName"),
        (Some(Kind::Credential), _) => STARS.into(),
        (Some(Kind::Instance(_)), Value::Object(object)) => only(object, "Identity"),
        (Some(_), _) => without_secrets(name, value),
    }
}

const STARS: &str = "***";

fn without_secrets(name: &str, value: &Value) -> Value {
    // What a refused caller sent was not bound, so that a secret may stand there as text.
    let told = ["password", "secret", "token", "credential"].iter().any(|word| name.to_lowercase().contains(word));
    match value {
        Value::Secret(_) => STARS.into(),
        Value::Text(_) if told && !name.eq_ignore_ascii_case("tokenid") => STARS.into(),
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

    #[test]
    fn what_a_refused_cmdlet_does_not_have_is_kept_as_a_name_only() {
        let credential = Object::new("PSCredential").with("UserName", "kenmyer").with("Pasword", "hidden-1");
        for (cmdlet, parameter, value, kept) in [
            ("New-CsAdminAccount", "Pasword", Value::from("hidden-2"), false),
            ("New-CsAdminAccount", "Pasword", Value::List(vec!["hidden-3".into()]), false),
            ("New-CsAdminAccount", "Password", Value::List(vec![Value::Int(47_114_711)]), false),
            ("New-CsAdminAccount", "Password ", Value::Int(47_114_711), false),
            ("New-CsAdminAccount", "Credential", credential.into(), false),
            ("New-CsAdminAccount", "Credential", "hidden-5".into(), false),
            ("Set-CsAdminAccount", "Instance", Object::new("X").with("Pasword", "hidden-6").into(), false),
            ("New-CsNothing", "Identity", "hidden-7".into(), false),
            ("New-CsAdminAccount", "identity", "hidden-no".into(), true),
            ("New-CsAdminAccount", "WhatIf", "hidden-8".into(), false),
        ] {
            let text = masked_unbound(cmdlet, &Object::default().with(parameter, value));
            let shown = text.contains("hidden") || text.contains("4711");
            assert_eq!((shown, text.contains(parameter)), (kept, true), "{cmdlet} {text}");
        }
        let set = Object::new("AdminAccount").with("Identity", "ann").with("Roles", "x");
        let text = masked_unbound("Set-CsAdminAccount", &Object::default().with("Instance", set).with("WhatIf", true));
        assert!(text.contains("ann") && text.contains("true"), "{text}");
    }
}
