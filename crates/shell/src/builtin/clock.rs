//! Time: now, a while, how long something takes.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use reveille_admin::Value;

use super::stage::Work::{All, Each};
use super::{Builtin, Given, Parameter, Takes};
use crate::eval::{Evaluator, Flow, Sink, Step, convert, moment};

pub(super) const GET_DATE: Builtin = Builtin {
    name: "Get-Date",
    aliases: &["date"],
    summary: "Gives the time, in UTC as it stands in records",
    parameters: &[
        Parameter::new("Date", Takes::Value, "A time instead of now: '2026-11-22', '2026-11-22 19:30'").at(0),
        Parameter::new("Format", Takes::Value, "Text instead: yyyy-MM-dd HH:mm:ss, or one of .NET's letters"),
        Parameter::new("UFormat", Takes::Value, "Text instead: %Y-%m-%d %H:%M:%S"),
    ],
    work: Each(get_date),
};

fn get_date<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, item: Option<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let at = match given.value("Date").or(item.as_ref()) {
            Some(text) => moment::read(text).ok_or_else(|| {
                let said =
                    format!("\"{text}\" is no time. Write it as 2026-11-22, 2026-11-22 19:30 or 2026-11-22T19:30:00Z.");
                given.fail("ParameterArgumentTransformationError", said)
            })?,
            None => i64::try_from(evaluator.terminal.now().millis())
                .ok()
                .and_then(|millis| Timestamp::from_millisecond(millis).ok())
                .unwrap_or_default(),
        };
        let told = match (given.text("Format"), given.text("UFormat")) {
            (Some(form), _) => Value::Text(moment::formatted(at, &form)),
            (None, Some(form)) => {
                let form = form.strip_prefix('+').unwrap_or(&form);
                let text = jiff::fmt::strtime::format(form, &at.to_zoned(jiff::tz::TimeZone::UTC));
                Value::Text(text.map_err(|why| given.fail("FormatError", format!("-UFormat \"{form}\": {why}.")))?)
            }
            (None, None) => moment::moment(at),
        };
        Ok(vec![told])
    })
}

pub(super) const START_SLEEP: Builtin = Builtin {
    name: "Start-Sleep",
    aliases: &["sleep"],
    summary: "Waits; settings are in force at once and need no waiting",
    parameters: &[
        Parameter::new("Seconds", Takes::Value, "How long, a day at most").at(0),
        Parameter::new("Milliseconds", Takes::Value, "How long, in thousandths of a second"),
    ],
    work: All(start_sleep),
};

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

fn start_sleep<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let (value, unit) = match (given.value("Seconds"), given.value("Milliseconds")) {
            (Some(seconds), None) => (seconds, 1.0),
            (None, Some(millis)) => (millis, 0.001),
            _ => return Err(given.fail("MissingArgument", "How long? Write Start-Sleep -Seconds 5.")),
        };
        let wait = convert::as_double(value).and_then(|count| Duration::try_from_secs_f64(count * unit).ok());
        let Some(wait) = wait.filter(|wait| *wait <= WAIT_MAX) else {
            let said = format!("A wait has up to {} seconds, not \"{value}\".", WAIT_MAX.as_secs());
            return Err(given.fail("ParameterArgumentValidationError", said));
        };
        tokio::time::sleep(wait).await;
        Ok(Vec::new())
    })
}

pub(super) const MEASURE_COMMAND: Builtin = Builtin {
    name: "Measure-Command",
    aliases: &[],
    summary: "Gives how long a script block takes; what the block gives is not shown",
    parameters: &[Parameter::new("Expression", Takes::Block, "What is done: { … }").at(0)],
    work: All(measure_command),
};

fn measure_command<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let Some(block) = given.block("Expression") else {
            return Err(given.fail("MissingArgument", "What is measured? Write Measure-Command { … }."));
        };
        let begun = Instant::now();
        evaluator.statements(block, &mut Sink::keep()).await?;
        Ok(vec![moment::span(SignedDuration::try_from(begun.elapsed()).unwrap_or_default())])
    })
}

pub(super) const NEW_TIME_SPAN: Builtin = Builtin {
    name: "New-TimeSpan",
    aliases: &[],
    summary: "Gives a span of time: between two times, or of so many days and hours",
    parameters: &[
        Parameter::new("Start", Takes::Value, "When it begins; now").at(0),
        Parameter::new("End", Takes::Value, "When it ends; now").at(1),
        Parameter::new("Days", Takes::Value, "How many days"),
        Parameter::new("Hours", Takes::Value, "How many hours"),
        Parameter::new("Minutes", Takes::Value, "How many minutes"),
        Parameter::new("Seconds", Takes::Value, "How many seconds"),
    ],
    work: All(new_time_span),
};

fn new_time_span<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        if given.has("Start") || given.has("End") {
            let now = Value::Text(evaluator.terminal.now().to_string());
            let end = |name: &str| -> Result<Timestamp, Flow> {
                let value = given.value(name).unwrap_or(&now);
                moment::read(value).ok_or_else(|| {
                    given
                        .fail("ParameterArgumentTransformationError", format!("-{name} takes a time, not \"{value}\"."))
                })
            };
            return Ok(vec![moment::span(end("End")?.duration_since(end("Start")?))]);
        }
        let mut seconds = 0.0;
        for (name, unit) in [("Days", 86_400.0), ("Hours", 3600.0), ("Minutes", 60.0), ("Seconds", 1.0)] {
            let Some(value) = given.value(name) else { continue };
            let Some(count) = convert::as_double(value).filter(|count| count.abs() < 1e9) else {
                let said = format!("-{name} takes a number, not \"{value}\".");
                return Err(given.fail("ParameterArgumentTransformationError", said));
            };
            seconds += count * unit;
        }
        Ok(vec![moment::span(SignedDuration::from_secs_f64(seconds))])
    })
}
