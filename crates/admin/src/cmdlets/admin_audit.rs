//! `Get-CsAdminAudit`: what administrators did, and what they were refused.

use std::time::Duration;

use reveille_core::Timestamp;
use reveille_store::{AuditEntry, AuditOutcome, AuditQuery};

use super::admin_account::unavailable;
use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::kind::Kind;
use crate::value::Object;

const OUTCOMES: Kind = Kind::Choice(&["Begun", "Done", "Failed", "Refused", "WhatIf"]);
pub(super) const WHEN: &str = "A time such as 2026-11-22T16:00:00Z, or how long ago: 30m, 6h, 7d";

/// `Get-CsAdminAudit`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, "CsAdminAudit"),
                summary: "Shows who ran what, from where, and how it ended; the newest first",
                description: "Whatever changes something is written down before it begins, tests and looks at users \
                              too, and whatever was refused. Reading settings is not. Secrets are masked.",
                parameters: &[
                    Parameter::new("Author", Kind::Text, "Who"),
                    Parameter::new("Cmdlet", Kind::Text, "What"),
                    Parameter::new("Outcome", OUTCOMES, "How it ended"),
                    Parameter::new("Since", Kind::Text, WHEN),
                    Parameter::new("Until", Kind::Text, WHEN),
                    Parameter::new("Last", Kind::Int { min: 1, max: 1000 }, "How many, of the newest")
                        .alias(&["First"])
                        .or("100"),
                ],
                outputs: &["At", "Author", "From", "Cmdlet", "Outcome", "Parameters", "Detail", "Milliseconds"],
                area: Area::Administration,
                notes: &[
                    "The newest 20,000 entries are kept, and apart from them the newest 5,000 refusals.",
                    "Begun means that the server ended before the cmdlet did.",
                ],
                examples: &[(
                    "Get-CsAdminAudit -Outcome Refused -Since 24h",
                    "What was refused within the last day, to whom.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let now = desk.clock.now();
            let query = AuditQuery {
                author: call.text("Author").map(Into::into),
                cmdlet: call.text("Cmdlet").map(Into::into),
                outcome: AuditOutcome::ALL.into_iter().find(|it| Some(it.as_str()) == call.text("Outcome")),
                since: call.text("Since").map(|text| instant(text, now)).transpose()?,
                until: call.text("Until").map(|text| instant(text, now)).transpose()?,
                limit: call.int("Last").and_then(|last| usize::try_from(last).ok()).unwrap_or(100),
            };
            let entries = desk.audit.audit(&query).map_err(unavailable)?;
            Ok(Outcome::of(entries.iter().map(object)))
        })
    }
}

fn object(entry: &AuditEntry) -> Object {
    Object::new("AdminAudit")
        .with("At", entry.at.to_string())
        .with("Author", entry.author.as_str())
        .with("From", entry.from.as_str())
        .with("Cmdlet", entry.cmdlet.as_str())
        .with("Outcome", entry.outcome.as_str())
        .with("Parameters", entry.parameters.as_str())
        .with("Detail", entry.detail.as_str())
        .with("Milliseconds", i64::try_from(entry.millis).unwrap_or(i64::MAX))
        .with("@number", i64::try_from(entry.number).unwrap_or(i64::MAX))
}

/// A point in time, given as such or as a span before `now`.
pub(super) fn instant(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    let ago = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let seconds = match unit {
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let span = Duration::from_secs(number.parse::<u32>().ok().map(u64::from)?.checked_mul(seconds)?);
        Some(Timestamp::from_millis(now.millis().saturating_sub(u64::try_from(span.as_millis()).ok()?)))
    };
    let written = || {
        let at: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(at.as_millisecond()).ok().map(Timestamp::from_millis)
    };
    ago().or_else(written).ok_or_else(|| {
        let message = format!("\"{text}\" is no time: write 2026-11-22T16:00:00Z, or how long ago as 30m, 6h or 7d.");
        Failure::new(Category::InvalidArgument, "BadTime", message).of(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_out_or_as_a_span_before_now() {
        let now = Timestamp::from_millis(100_000_000);
        for (text, millis) in [
            ("30m", Some(98_200_000)),
            ("1d", Some(13_600_000)),
            ("9d", Some(0)),
            ("1970-01-01T00:00:01Z", Some(1000)),
            ("d", None),
            ("", None),
            ("yesterday", None),
            ("-1h", None),
            ("é", None),
        ] {
            assert_eq!(instant(text, now).ok().map(Timestamp::millis), millis, "{text}");
        }
    }
}
