//! `CsProbeResult`: what the tests that run by themselves have found.

use reveille_core::Timestamp;

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::kind::Kind;
use crate::probes::results::{Found, Known};
use crate::probes::schedule::{SCHEDULED, next};
use crate::value::{Object, Value};

const OUTPUTS: &[&str] =
    &["Test", "Time", "Result", "FailedStage", "Fault", "Sentence", "Remedy", "LatencyMs", "NextRun"];

/// `Get-CsProbeResult`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, "CsProbeResult"),
                summary: "Shows what the scheduled tests have found",
                description: "Tests run by themselves monthly, or as Set-CsProbeSchedule says. The latest run of each test, or \
                              with -All every run that is kept.",
                parameters: &[
                    Parameter::new("Identity", Kind::Choice(&SCHEDULED), "One test").at(2),
                    Parameter::new("All", Kind::Switch, "Every run that is kept, newest first"),
                ],
                outputs: OUTPUTS,
                area: Area::Tests,
                notes: &[
                    "NotSetUp: there was nothing to test, since push, test users or the A/V edge are not set up.",
                    "A failure raises the alarm probe-failed in the log, and the metric reveille_probe_failed until the \
                          test succeeds.",
                ],
                examples: &[(
                    "Get-CsProbeResult | Where-Object Result -eq Failure",
                    "Tests whose last run has failed.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async { results(call, desk) })
    }
}

fn results(call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
    let Some(results) = &desk.ports.results else {
        let message =
            "This process has no home, and runs no tests by itself: ask the one that has, with --socket or --url.";
        return Err(Failure::new(Category::ResourceUnavailable, "NoHome", message));
    };
    let settings = desk.settings.snapshot();
    let wanted = call.text("Identity");
    let mut objects = Vec::new();
    for test in SCHEDULED.into_iter().filter(|test| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(test))) {
        let known = results.of(test, desk.clock.now());
        let is_set = settings.of_kind("ProbeSchedule").any(|row| row.setting.identity().eq_ignore_ascii_case(test));
        let due = next(&settings.probe_schedule(test), is_set, &known);
        objects.extend(rows(test, &known, due, call.is_on("All")));
    }
    Ok(Outcome::of(objects))
}

fn rows(test: &str, known: &Known, due: Option<Timestamp>, all: bool) -> Vec<Object> {
    let many = if all { known.found.len() } else { 1 };
    let mut rows: Vec<Object> = known.found.iter().take(many).map(|found| row(test, found)).collect();
    if rows.is_empty() {
        rows.push(Object::new("ProbeResult").with("Test", test).with("Time", Value::Null).with("Result", "NotRunYet"));
    }
    if let Some(first) = rows.first_mut() {
        first.set("NextRun", due.map(|due| due.to_string()));
    }
    rows
}

fn row(test: &str, found: &Found) -> Object {
    Object::new("ProbeResult")
        .with("Test", test)
        .with("Time", found.at.to_string())
        .with(
            "Result",
            match (found.succeeded, found.skipped) {
                (true, _) => "Success",
                (false, true) => "NotSetUp",
                (false, false) => "Failure",
            },
        )
        .with("FailedStage", found.stage.as_str())
        .with("Fault", found.fault.as_str())
        .with("Sentence", found.sentence.as_str())
        .with("Remedy", found.remedy.as_str())
        .with("LatencyMs", i64::try_from(found.took_ms).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::call::Caller;
    use crate::ports::Ports;
    use crate::probes::report::tests::{no_record, report};
    use crate::probes::results::Results;
    use crate::probes::schedule::found;
    use crate::testing::desk_with;

    const PARTNER: &str = "Test-CsFederatedPartner";
    const PUSH: &str = "Test-CsMcxPushNotification";

    #[tokio::test]
    async fn the_latest_run_of_each_test_is_shown_with_when_the_next_is_due() {
        let results = Arc::new(Results::forgotten());
        let at = Timestamp::from_millis;
        results.of(PARTNER, at(5));
        results.add(PUSH, found(&report(None), at(1_000)));
        results.add(PUSH, found(&report(Some(no_record())), at(2_000)));
        let desk = desk_with(Ports { results: Some(results), ..Ports::default() });
        let run = async |parameters: &Object| {
            crate::run::run("Get-CsProbeResult", parameters, &Caller::owner("tester"), &desk).await.unwrap().objects
        };
        let latest = run(&Object::default()).await;
        assert_eq!(latest.len(), SCHEDULED.len());
        assert!(latest[1].to_string().contains("Result=NotRunYet"), "{}", latest[1]);
        let text = latest[3].to_string();
        assert!(
            text.contains("Result=Failure") && text.contains("FailedStage=name") && text.contains("NextRun=1970-01-31"),
            "{text}"
        );
        let all = run(&Object::default().with("All", true).with("Identity", PUSH)).await;
        assert_eq!(all.len(), 2);
    }
}
