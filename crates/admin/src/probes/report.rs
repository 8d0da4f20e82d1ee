//! How a test went, as an administrator gets it: the documents' object, ours with every stage, the steps in the documents'
//! style, and what `-OutLoggerVariable` keeps (lync.md §2.1, §2.2).

use std::time::Duration;

use reveille_core::stage::{Step, Trouble};
use reveille_federation::probe::Report;

use crate::cmdlet::{Name, Outcome};
use crate::failure::{Category, Failure, Trail};
use crate::value::{AS_TEXT, Object, Value};

/// The properties of the documents' result, in their order.
pub const RESULT: &[&str] = &["TargetFqdn", "Result", "Latency", "Error", "Diagnosis"];
/// The properties that `-Detailed` gives, in order.
pub const DETAILED: &[&str] = &[
    "TargetFqdn",
    "Result",
    "FailedStage",
    "Fault",
    "Sentence",
    "Remedy",
    "RetryHelps",
    "LatencyMs",
    "Stages",
    "Hints",
    "Error",
    "Diagnosis",
];

/// The whole outcome of a test. One that failed is the documents' `Result : Failure`; a cmdlet that must end in an error
/// asks [`terminating`] first.
pub fn outcome(name: Name, report: &Report, detailed: bool) -> Outcome {
    let object = if detailed { full(report) } else { result(report) };
    Outcome {
        objects: vec![object.into()],
        warnings: if detailed { Vec::new() } else { report.walk.hints.clone() },
        verbose: steps(name, report),
        logger: Some(logger(name, report)),
        ..Outcome::default()
    }
}

/// The documents' object.
fn result(report: &Report) -> Object {
    let walk = &report.walk;
    Object::new("TaskOutput")
        .with("TargetFqdn", report.home.as_str())
        .with("Result", word(walk.succeeded()))
        .with("Latency", clock(walk.took))
        .with("Error", error(report))
        .with("Diagnosis", diagnosis(report))
}

/// Ours: where it ended, whose fault that is, what to do, and how long each stage took.
fn full(report: &Report) -> Object {
    let walk = &report.walk;
    let trouble = walk.trouble.as_ref();
    let text = |of: fn(&Trouble) -> &str| trouble.map(of).unwrap_or_default().to_owned();
    Object::new("DetailedTaskOutput")
        .with("TargetFqdn", report.home.as_str())
        .with("Result", word(walk.succeeded()))
        .with("FailedStage", text(|trouble| trouble.stage.as_str()))
        .with("Fault", text(|trouble| trouble.fault.as_str()))
        .with("Sentence", text(|trouble| &trouble.sentence))
        .with("Remedy", text(|trouble| &trouble.remedy))
        .with("RetryHelps", trouble.map(|trouble| trouble.retry_helps))
        .with("LatencyMs", millis(walk.took))
        .with("Stages", walk.steps.iter().map(stage).collect::<Vec<_>>())
        .with("Hints", walk.hints.clone())
        .with("Error", error(report))
        .with("Diagnosis", diagnosis(report))
}

fn stage(step: &Step) -> Object {
    Object::new("TaskStage")
        .with("Stage", step.stage.as_str())
        .with("Milliseconds", millis(step.took))
        .with("Outcome", if step.passed { "Passed" } else { "Failed" })
        .with("Detail", step.detail.as_str())
        .with(AS_TEXT, as_text(step))
}

/// A stage where it stands in a list.
fn as_text(step: &Step) -> String {
    let mark = if step.passed { "" } else { " FAILED" };
    format!("{}{mark} {} ms", step.stage.as_str(), millis(step.took))
}

/// The terminating error of the documents: for a road that did not come to its end, or a request that was rejected.
pub fn terminating(name: Name, report: &Report, rejected: &str) -> Option<Failure> {
    let trouble = report.walk.trouble.as_ref()?;
    let (status, phrase) = status(report, trouble);
    let (message, exception) = match trouble.failure {
        reveille_core::diagnosis::Failure::ImFilterRejects => (rejected.to_owned(), "SyntheticTransactionException"),
        _ => (
            format!(
                "A {status} ({phrase}) response was received from the network and the operation failed. See the exception \
                 details for more information."
            ),
            "FailureResponseException",
        ),
    };
    let mut failure = Failure::new(Category::OperationStopped, "WorkflowNotCompleted", message);
    failure.exception = exception.into();
    // The documents' lines say neither what it was nor what to do: that is said before them.
    let mut warnings = report.walk.hints.clone();
    warnings.push(summary(name, trouble));
    let trail = Trail { warnings, verbose: steps(name, report) };
    let advice = format!("{}: {} {}", trouble.stage.as_str(), trouble.sentence, remedy(trouble));
    Some(failure.advise(advice).after(trail))
}

/// What an administrator must know who has not asked for more.
fn summary(name: Name, trouble: &Trouble) -> String {
    let Trouble { stage, fault, sentence, remedy, .. } = trouble;
    format!(
        "The test ended at the stage {} (fault: {}): {sentence}. Remedy: {remedy}. {name} -Detailed shows every stage.",
        stage.as_str(),
        fault.as_str()
    )
}

fn remedy(trouble: &Trouble) -> String {
    if trouble.remedy.is_empty() { String::new() } else { format!("=> {}", trouble.remedy) }
}

/// What `-Verbose` and `-OutVerboseVariable` tell: activities that start and complete, with what they found.
pub fn steps(name: Name, report: &Report) -> Vec<String> {
    let mut lines = vec![format!("'{}' workflow started.", name.type_name())];
    for step in &report.walk.steps {
        let activity = activity(step);
        lines.push(format!("'{activity}' activity started."));
        if !step.detail.is_empty() {
            lines.push(format!("    {} = {}", if step.passed { "Found" } else { "Error" }, step.detail));
        }
        let end = if step.passed { "completed" } else { "failed" };
        lines.push(format!("'{activity}' activity {end} in '{}' secs.", seconds(step.took)));
    }
    lines.extend(report.walk.hints.iter().map(|hint| format!("Hint: {hint}")));
    lines.push(format!(
        "'{}' workflow {} in '{}' secs.",
        name.type_name(),
        if report.walk.succeeded() { "completed" } else { "failed" },
        seconds(report.walk.took)
    ));
    lines
}

/// What `-OutLoggerVariable` keeps; the shell gives it `ToHTML()` and `ToXML()`.
pub fn logger(name: Name, report: &Report) -> Object {
    let activities: Vec<Value> = report.walk.steps.iter().map(|step| activity_object(step).into()).collect();
    Object::new("Logger")
        .with("Name", name.to_string())
        .with("TargetFqdn", report.home.as_str())
        .with("Result", word(report.walk.succeeded()))
        .with("Latency", clock(report.walk.took))
        .with("Activities", Value::List(activities))
        .with("Remedy", report.walk.trouble.as_ref().map(|trouble| trouble.remedy.clone()))
}

fn activity_object(step: &Step) -> Object {
    Object::new("Activity")
        .with("Name", activity(step))
        .with("Seconds", seconds(step.took))
        .with("Outcome", if step.passed { "Success" } else { "Failure" })
        .with("Detail", step.detail.as_str())
}

/// A stage as the documents name activities: `TheirCertificate`.
fn activity(step: &Step) -> String {
    let words = step.stage.as_str().split('-');
    words.map(|word| format!("{}{}", word[..1].to_ascii_uppercase(), &word[1..])).collect()
}

/// The documents' `504, Server time-out`; empty for a success.
fn error(report: &Report) -> String {
    report
        .walk
        .trouble
        .as_ref()
        .map(|trouble| status(report, trouble))
        .map(|(status, phrase)| format!("{status}, {phrase}"))
        .unwrap_or_default()
}

/// The documents' `ErrorCode=…,Source=…,Reason=…`; empty for a success.
fn diagnosis(report: &Report) -> String {
    let Some(trouble) = &report.walk.trouble else { return String::new() };
    format!("ErrorCode={},Source={},Reason={}", trouble.failure.diagnosis().id, report.source, trouble.sentence)
}

/// What the network answered; what home itself found wrong counts as no route, as it does for real requests.
fn status(report: &Report, trouble: &Trouble) -> (u16, String) {
    let answered = report.status.clone().filter(|(status, _)| *status >= 300);
    // One that was taken, and failed at what came after it.
    let late = || match trouble.stage {
        reveille_core::stage::Stage::Probe => (408, "Request Timeout".to_owned()),
        _ => (504, "Server time-out".to_owned()),
    };
    match answered {
        // The documents' spelling of RFC 3261's phrase.
        Some((504, _)) => (504, "Server time-out".to_owned()),
        Some(answered) => answered,
        None => late(),
    }
}

fn word(succeeded: bool) -> &'static str {
    if succeeded { "Success" } else { "Failure" }
}

/// `hh:mm:ss`, as the documents print it.
fn clock(took: Duration) -> String {
    let secs = took.as_secs();
    format!("{:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

/// Milliseconds with what is below them in hundredths.
#[allow(clippy::cast_precision_loss, reason = "a test takes far less than 2^52 microseconds")]
fn millis(took: Duration) -> Value {
    Value::Double((took.as_micros() / 10) as f64 / 100.0)
}

fn seconds(took: Duration) -> String {
    format!("{}.{:06}", took.as_secs(), took.subsec_micros())
}

#[cfg(test)]
pub(crate) mod tests {
    use reveille_core::diagnosis::Failure as Fault;
    use reveille_core::stage::{Stage, Walk};

    use super::*;
    use crate::cmdlet::Verb;

    const NAME: Name = Name::new(Verb::Test, "CsMcxPushNotification");

    pub(crate) fn report(trouble: Option<Trouble>) -> Report {
        let mut walk = Walk { took: Duration::from_millis(61_234), ..Walk::default() };
        walk.pass(Stage::Settings, Duration::from_micros(25), "");
        walk.pass(Stage::OurEdge, Duration::from_millis(2), "edge.contoso.com");
        let status = trouble.as_ref().map(|_| (504, "Server Time-out".to_owned()));
        if let Some(trouble) = trouble {
            walk.fail(Duration::from_millis(7), trouble);
        }
        let home = "atl-cs-001.litwareinc.com".parse().unwrap();
        Report { home, walk, status, source: "edge.contoso.com".into() }
    }

    pub(crate) fn no_record() -> Trouble {
        Trouble::new(Stage::Name, Fault::SrvNotFound, "no SRV record", "publish it")
    }

    fn text(object: &Object, name: &str) -> String {
        object.property(name).unwrap_or_else(|| panic!("{name}")).to_string()
    }

    #[test]
    fn a_success_and_a_failure_are_printed_as_the_documents_print_them() {
        let success = result(&report(None));
        assert_eq!(success.properties().map(|(name, _)| name).collect::<Vec<_>>(), RESULT);
        let values: Vec<String> = success.properties().map(|(_, value)| value.to_string()).collect();
        assert_eq!(values, ["atl-cs-001.litwareinc.com", "Success", "00:01:01", "", ""]);
        let failure = result(&report(Some(no_record())));
        assert_eq!(text(&failure, "Result"), "Failure");
        assert_eq!(text(&failure, "Error"), "504, Server time-out");
        assert_eq!(text(&failure, "Diagnosis"), "ErrorCode=1008,Source=edge.contoso.com,Reason=no SRV record");
    }

    #[test]
    fn a_road_that_ends_is_the_documents_terminating_error_and_a_filter_the_other_one() {
        assert_eq!(terminating(NAME, &report(None), "rejected."), None);
        let lost = terminating(NAME, &report(Some(no_record())), "rejected.").unwrap();
        assert_eq!(
            lost.message,
            "A 504 (Server time-out) response was received from the network and the operation failed. See the exception \
             details for more information."
        );
        assert_eq!((&*lost.exception, &*lost.id), ("FailureResponseException", "WorkflowNotCompleted"));
        assert_eq!(lost.advice.as_deref(), Some("name: no SRV record => publish it"));
        let trail = lost.trail.expect("the steps up to it are told");
        assert!(trail.verbose.len() > 3, "{trail:?}");
        assert_eq!(
            trail.warnings,
            [
                "The test ended at the stage name (fault: peer): no SRV record. Remedy: publish it. Test-CsMcxPushNotification \
              -Detailed shows every stage."
            ]
        );
        let filter = Trouble::new(Stage::Settings, Fault::ImFilterRejects, "the filter blocks http:", "");
        let rejected = terminating(NAME, &report(Some(filter)), "rejected.").unwrap();
        assert_eq!((rejected.message.as_str(), &*rejected.exception), ("rejected.", "SyntheticTransactionException"));
    }

    #[test]
    fn the_detailed_object_has_every_stage_with_its_time() {
        let object = full(&report(Some(no_record())));
        assert_eq!(object.properties().map(|(name, _)| name).collect::<Vec<_>>(), DETAILED);
        assert_eq!(text(&object, "FailedStage"), "name");
        assert_eq!(text(&object, "RetryHelps"), "True");
        let Some(Value::List(stages)) = object.property("Stages") else { panic!("a list") };
        let stages: Vec<String> = stages.iter().map(ToString::to_string).collect();
        assert_eq!(stages, ["settings 0.02 ms", "our-edge 2 ms", "name FAILED 7 ms"]);
        assert_eq!(full(&report(None)).property("RetryHelps"), Some(&Value::Null));
    }

    #[test]
    fn the_steps_are_told_as_activities() {
        let lines = steps(NAME, &report(Some(no_record())));
        assert_eq!(lines[0], "'TestMcxPushNotification' workflow started.");
        assert!(lines.contains(&"'OurEdge' activity started.".to_owned()), "{lines:?}");
        assert!(lines.contains(&"    Error = no SRV record".to_owned()), "{lines:?}");
        assert_eq!(
            lines.last().map(String::as_str),
            Some("'TestMcxPushNotification' workflow failed in '61.234000' secs.")
        );
        let logger = logger(NAME, &report(None));
        let Some(Value::List(activities)) = logger.property("Activities") else { panic!("a list") };
        assert_eq!(activities.len(), 2);
    }
}
