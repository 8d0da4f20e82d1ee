//! `CsAdminToken` and `CsAdminSession`: what stands for an account, for a program or after a sign-in.

use std::time::Duration;

use reveille_store::{Pass, PassKind, wait};

use super::admin_account::{conflict, known, unavailable, what_if};
use crate::accounts::{Issued, TOKEN_MAX, may_touch};
use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::kind::Kind;
use crate::value::Object;

const TOKEN: &str = "CsAdminToken";
const SESSION: &str = "CsAdminSession";
const OUTPUTS: &[&str] = &["Identity", "Account", "Comment", "Created", "CreatedBy", "Expires", "LastUsed"];
const ACCOUNT: Parameter = Parameter::new("Account", Kind::Text, "The account");
const FORCE: Parameter = Parameter::new("Force", Kind::Switch, "Does not ask");
const DAY: u64 = 86_400;

/// `New-CsAdminToken`
pub(super) struct New;

impl Cmdlet for New {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::New, TOKEN),
                summary: "Makes a token with which a program may do what an account may",
                description: "The token is shown this once; the server keeps its digest only. It has what the account \
                              has at the time of each call, and ends with it.",
                parameters: &[
                    ACCOUNT.required().at(1),
                    Parameter::new("Days", Kind::Int { min: 1, max: 366 }, "How long it is good").or("90"),
                    Parameter::new("Comment", Kind::Text, "What it is for"),
                ],
                outputs: &["Identity", "Account", "Comment", "Expires", "Token"],
                area: Area::Administration,
                changes: true,
                examples: &[(
                    "New-CsAdminToken -Account monitoring -Days 30 -Comment \"nightly push test\"",
                    "A token for REVEILLE_TOKEN or an Authorization: Bearer header.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let account = known(call.text("Account").unwrap_or_default(), desk)?;
            may_touch(&account, &call.caller, desk)?;
            if call.what_if {
                return Ok(what_if(call, &account.name));
            }
            let days = call.int("Days").and_then(|days| u64::try_from(days).ok()).unwrap_or(90);
            let life = Duration::from_secs(days * DAY).min(TOKEN_MAX);
            let issued = Issued::new(PassKind::Token);
            let now = desk.clock.now();
            let pass = Pass {
                id: issued.id,
                kind: PassKind::Token,
                digest: issued.digest,
                account: account.name,
                comment: call.text("Comment").unwrap_or_default().chars().take(200).collect(),
                created: now,
                created_by: call.caller.name.clone(),
                expires: now.plus(life),
                used: None,
            };
            let kept = wait(|done| desk.accounts.put_pass(pass.clone(), done)).await.map_err(unavailable)?;
            kept.map_err(|error| conflict(&error))?;
            let shown = Object::new("AdminToken")
                .with("Identity", pass.id)
                .with("Account", pass.account)
                .with("Comment", pass.comment)
                .with("Expires", pass.expires.to_string())
                .with("Token", issued.text);
            let mut outcome = Outcome::of([shown]);
            outcome
                .warnings
                .push("The token is not shown again: keep it now, where only its program can read it.".into());
            if account.disabled {
                outcome.warnings.push("The account is disabled, and so is the token as long as it is.".into());
            }
            Ok(outcome)
        })
    }
}

/// `Get-CsAdminToken`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, TOKEN),
                summary: "Shows which tokens there are, without what is secret of them",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "What the token is called").at(1).from(Pipeline::ByName),
                    ACCOUNT,
                ],
                outputs: OUTPUTS,
                area: Area::Administration,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async { list(PassKind::Token, call, desk) })
    }
}

/// `Remove-CsAdminToken`
pub(super) struct Remove;

impl Cmdlet for Remove {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Remove, TOKEN),
                summary: "Revokes a token: its next use is refused",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "What the token is called, as Get-CsAdminToken shows it")
                        .required()
                        .at(1)
                        .from(Pipeline::ByName),
                    FORCE,
                ],
                area: Area::Administration,
                changes: true,
                asks: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(remove(PassKind::Token, call, desk))
    }
}

/// `Get-CsAdminSession`
pub(super) struct GetSession;

impl Cmdlet for GetSession {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, SESSION),
                summary: "Shows who has signed in from elsewhere, from where and until when",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "What the session is called").at(1).from(Pipeline::ByName),
                    ACCOUNT,
                ],
                outputs: OUTPUTS,
                area: Area::Administration,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async { list(PassKind::Session, call, desk) })
    }
}

/// `Remove-CsAdminSession`
pub(super) struct RemoveSession;

impl Cmdlet for RemoveSession {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Remove, SESSION),
                summary: "Ends a session: whoever has it must sign in again",
                parameters: &[
                    Parameter::new(
                        "Identity",
                        Kind::Text,
                        "What the session is called, as Get-CsAdminSession shows it",
                    )
                    .required()
                    .at(1)
                    .from(Pipeline::ByName),
                    FORCE,
                ],
                area: Area::Administration,
                changes: true,
                asks: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(remove(PassKind::Session, call, desk))
    }
}

fn list(kind: PassKind, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
    let mut passes = desk.accounts.passes(kind).map_err(unavailable)?;
    let now = desk.clock.now();
    passes.retain(|pass| {
        pass.expires > now
            && call.text("Account").is_none_or(|account| account.eq_ignore_ascii_case(&pass.account))
            && call.text("Identity").is_none_or(|id| id == pass.id)
    });
    match call.text("Identity") {
        Some(id) if passes.is_empty() => Err(not_found(kind, id)),
        _ => Ok(Outcome::of(passes.iter().map(object))),
    }
}

async fn remove(kind: PassKind, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
    let id = call.text("Identity").unwrap_or_default();
    let pass = desk.accounts.pass(id).map_err(unavailable)?;
    let pass = pass.filter(|pass| pass.kind == kind).ok_or_else(|| not_found(kind, id))?;
    if let Some(account) = desk.accounts.account(&pass.account).map_err(unavailable)? {
        may_touch(&account, &call.caller, desk)?;
    }
    if call.what_if {
        return Ok(what_if(call, id));
    }
    wait(|done| desk.accounts.remove_pass(id, done)).await.map_err(unavailable)?;
    Ok(Outcome { verbose: vec![format!("{id} of {} is good no more.", pass.account)], ..Outcome::default() })
}

fn object(pass: &Pass) -> Object {
    let kind = match pass.kind {
        PassKind::Session => "AdminSession",
        PassKind::Token => "AdminToken",
    };
    Object::new(kind)
        .with("Identity", pass.id.as_str())
        .with("Account", pass.account.as_str())
        .with("Comment", pass.comment.as_str())
        .with("Created", pass.created.to_string())
        .with("CreatedBy", pass.created_by.as_str())
        .with("Expires", pass.expires.to_string())
        .with("LastUsed", pass.used.map(|at| at.to_string()))
}

fn not_found(kind: PassKind, id: &str) -> Failure {
    let (what, noun) = match kind {
        PassKind::Session => ("session", SESSION),
        PassKind::Token => ("token", TOKEN),
    };
    let message = format!("There is no {what} \"{id}\". Get-{noun} shows which there are.");
    Failure::new(Category::ObjectNotFound, "ObjectNotFound", message).of(id)
}
