//! Where objects and text go: formats, files, nowhere, the terminal.

use reveille_admin::{Category, Failure, Object, Value};

use super::objects::{along, heading};
use super::stage::Work::{All, Each};
use super::{Builtin, Given, Item, Parameter, Takes};
use crate::eval::compare::{equal, is_like};
use crate::eval::{Evaluator, Flow, Step};
use crate::format;

pub(super) const FORMAT_LIST: Builtin = Builtin {
    name: "Format-List",
    aliases: &["fl"],
    summary: "Shows each object with a line for each property",
    parameters: &[
        Parameter::new("Property", Takes::Ways, "The properties, also with * or calculated").at(0),
        Parameter::new("Force", Takes::Switch, "Accepted; all properties are shown in any case"),
        Parameter::new("GroupBy", Takes::Ways, "A list for each value of this property; sort by it before"),
    ],
    work: All(format_list),
};

fn format_list<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move { grouped(evaluator, given, input, |rows, _| format::list(rows)).await })
}

pub(super) const FORMAT_TABLE: Builtin = Builtin {
    name: "Format-Table",
    aliases: &["ft"],
    summary: "Shows each object as a row",
    parameters: &[
        Parameter::new("Property", Takes::Ways, "The properties, also with * or calculated").at(0),
        Parameter::new("AutoSize", Takes::Switch, "Accepted; columns are as wide as they need in any case"),
        Parameter::new("Force", Takes::Switch, "Accepted, and without effect"),
        Parameter::new("GroupBy", Takes::Ways, "A table for each value of this property; sort by it before"),
        Parameter::new("HideTableHeaders", Takes::Switch, "The rows only"),
        Parameter::new("Wrap", Takes::Switch, "No value is cut off, however long its row"),
    ],
    work: All(format_table),
};

fn format_table<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let (wraps, headers) = (given.is_on("Wrap"), !given.is_on("HideTableHeaders"));
        let table = |rows: &[Value], width| format::table(rows, if wraps { usize::MAX } else { width }, headers);
        grouped(evaluator, given, input, table).await
    })
}

/// The objects in a form, or those with the same value of `-GroupBy` in one each, as they come.
async fn grouped(
    evaluator: &mut Evaluator<'_>,
    given: &Given<'_>,
    input: Vec<Value>,
    form: impl Fn(&[Value], usize) -> String,
) -> Result<Vec<Value>, Flow> {
    let width = evaluator.terminal.width();
    let Some(way) = given.items("GroupBy").first() else {
        let rows = rows(evaluator, given, &input).await?;
        return Ok(vec![format::formatted(form(&rows, width))]);
    };
    let mut groups: Vec<(Value, Vec<Value>)> = Vec::new();
    for item in input {
        let by = along(evaluator, way, &item).await?;
        match groups.last_mut() {
            Some((known, items)) if equal(known, &by, false) => items.push(item),
            _ => groups.push((by, vec![item])),
        }
    }
    let mut shown = Vec::with_capacity(groups.len());
    for (by, items) in groups {
        let rows = rows(evaluator, given, &items).await?;
        let head = format!("\n   {}: {by}\n", heading(evaluator.script, way));
        shown.push(format::formatted(head + &form(&rows, width)));
    }
    Ok(shown)
}

/// The properties to show of each object.
pub(super) async fn rows(
    evaluator: &mut Evaluator<'_>,
    given: &Given<'_>,
    input: &[Value],
) -> Result<Vec<Value>, Flow> {
    let ways = given.items("Property");
    if ways.is_empty() {
        return Ok(input.to_vec());
    }
    let mut rows = Vec::with_capacity(input.len());
    for item in input {
        let mut row = Object::new("");
        for way in ways {
            match (way, item) {
                (Item::Value(name), Value::Object(object)) => {
                    let pattern = name.to_string();
                    let fits: Vec<_> = object.properties().filter(|(known, _)| is_like(known, &pattern)).collect();
                    if fits.is_empty() && !pattern.contains(['*', '?']) {
                        row.set(pattern, Value::Null);
                    }
                    for (known, value) in fits {
                        row.set(known, value.clone());
                    }
                }
                (Item::Value(name), other) => {
                    row.set(name.to_string(), crate::eval::method::property(other, &name.to_string()));
                }
                (way, item) => {
                    let value = along(evaluator, way, item).await?;
                    row.set(heading(evaluator.script, way), value);
                }
            }
        }
        rows.push(row.into());
    }
    Ok(rows)
}

pub(super) const OUT_NULL: Builtin = Builtin {
    name: "Out-Null",
    aliases: &[],
    summary: "Forgets what it is given",
    parameters: &[],
    work: Each(out_null),
};

fn out_null<'a>(_: &'a mut Evaluator<'_>, _: &'a Given<'a>, _: Option<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async { Ok(Vec::new()) })
}

pub(super) const OUT_HOST: Builtin = Builtin {
    name: "Out-Host",
    aliases: &["more", "oh", "Out-Default"],
    summary: "Shows objects as they would be shown at the end",
    parameters: &[Parameter::new("Paging", Takes::Switch, "Accepted, and without effect")],
    work: All(out_host),
};

fn out_host<'a>(evaluator: &'a mut Evaluator<'_>, _: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let text = format::shown(&input, evaluator.terminal.width());
        evaluator.terminal.out(&text);
        Ok(Vec::new())
    })
}

pub(super) const OUT_STRING: Builtin = Builtin {
    name: "Out-String",
    aliases: &["oss"],
    summary: "Gives as text what would be shown",
    parameters: &[
        Parameter::new("Stream", Takes::Switch, "Each line by itself"),
        Parameter::new("Width", Takes::Value, "The characters of a line"),
    ],
    work: All(out_string),
};

fn out_string<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let width = given.count("Width")?.unwrap_or_else(|| evaluator.terminal.width());
        let text = format::shown(&input, width);
        Ok(match given.is_on("Stream") {
            true => text.lines().map(Value::from).collect(),
            false => vec![Value::Text(text)],
        })
    })
}

pub(super) const OUT_FILE: Builtin = Builtin {
    name: "Out-File",
    aliases: &[],
    summary: "Writes to a file what would be shown",
    parameters: &[
        Parameter::new("FilePath", Takes::Value, "The file").at(0),
        Parameter::new("Append", Takes::Switch, "Behind what the file holds"),
        Parameter::new("Encoding", Takes::Value, "Accepted; it is always UTF-8"),
        Parameter::new("Force", Takes::Switch, "Accepted, and without effect"),
        Parameter::new("NoClobber", Takes::Switch, "Only if there is no such file yet"),
        Parameter::new("Path", Takes::Value, "The file"),
        Parameter::new("Width", Takes::Value, "The characters of a line"),
    ],
    work: All(out_file),
};

fn out_file<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let width = given.count("Width")?.unwrap_or(usize::MAX);
        write(given, &format::shown(&input, width))?;
        Ok(Vec::new())
    })
}

/// Writes text to the file that a command was given.
pub(super) fn write(given: &Given<'_>, text: &str) -> Result<(), Flow> {
    let Some(path) = given.text("FilePath").or_else(|| given.text("Path")) else {
        return Err(given.fail("MissingArgument", "The name of the file is missing: … | Out-File NAME."));
    };
    write_to(given, &path, text, given.is_on("Append"))
}

/// Writes text to a file, or behind what it holds.
pub(super) fn write_to(given: &Given<'_>, path: &str, text: &str, append: bool) -> Result<(), Flow> {
    use std::io::Write as _;
    let mut options = std::fs::OpenOptions::new();
    match (given.is_on("NoClobber"), append) {
        (true, _) => options.write(true).create_new(true),
        (_, true) => options.append(true).create(true),
        _ => options.write(true).create(true).truncate(true),
    };
    let done = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    done.map_err(|why| {
        let said = format!("The file {path} cannot be written: {why}.");
        given.failure(Failure::new(Category::ResourceUnavailable, "FileOpenFailure", said).of(path))
    })
}

pub(super) const WRITE_OUTPUT: Builtin = Builtin {
    name: "Write-Output",
    aliases: &["echo", "write"],
    summary: "Gives its arguments on along the pipeline",
    parameters: &[
        Parameter::new("InputObject", Takes::Values, "The values").at(0).rest(),
        Parameter::new("NoEnumerate", Takes::Switch, "Accepted, and without effect"),
    ],
    work: Each(write_output),
};

fn write_output<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, item: Option<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move { Ok(item.map_or_else(|| given.values("InputObject"), |item| vec![item])) })
}

pub(super) const WRITE_HOST: Builtin = Builtin {
    name: "Write-Host",
    aliases: &[],
    summary: "Shows text, without giving it on along the pipeline",
    parameters: &[
        Parameter::new("Object", Takes::Values, "The values").at(0).rest(),
        Parameter::new("BackgroundColor", Takes::Value, "Accepted, and without effect"),
        Parameter::new("ForegroundColor", Takes::Value, "Accepted, and without effect"),
        Parameter::new("NoNewline", Takes::Switch, "The line goes on"),
        Parameter::new("Separator", Takes::Value, "What stands between the values; a blank"),
    ],
    work: Each(write_host),
};

fn write_host<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, item: Option<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let values: Vec<String> = given.values("Object").into_iter().chain(item).map(|it| it.to_string()).collect();
        let between = given.text("Separator").unwrap_or_else(|| " ".to_owned());
        let end = if given.is_on("NoNewline") { "" } else { "\n" };
        evaluator.terminal.out(&format!("{}{end}", values.join(&between)));
        Ok(Vec::new())
    })
}

const MESSAGE: &[Parameter] = &[Parameter::new("Message", Takes::Values, "The text").at(0).rest()];

pub(super) const WRITE_WARNING: Builtin = Builtin {
    name: "Write-Warning",
    aliases: &[],
    summary: "Shows a warning",
    parameters: MESSAGE,
    work: Each(write_warning),
};

fn write_warning<'a>(
    evaluator: &'a mut Evaluator<'_>,
    given: &'a Given<'a>,
    item: Option<Value>,
) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let preference = evaluator.session.variable("WarningPreference").to_string();
        if preference.eq_ignore_ascii_case("Continue") {
            evaluator.terminal.say(&format!("WARNING: {}\n", message(given, item)));
        }
        Ok(Vec::new())
    })
}

pub(super) const WRITE_VERBOSE: Builtin = Builtin {
    name: "Write-Verbose",
    aliases: &["Write-Debug"],
    summary: "Shows text if $VerbosePreference is Continue, or with -Verbose",
    parameters: MESSAGE,
    work: Each(write_verbose),
};

fn write_verbose<'a>(
    evaluator: &'a mut Evaluator<'_>,
    given: &'a Given<'a>,
    item: Option<Value>,
) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let wanted = evaluator.session.variable("VerbosePreference").to_string().eq_ignore_ascii_case("Continue");
        if wanted || given.is_on("Verbose") {
            evaluator.terminal.say(&format!("VERBOSE: {}\n", message(given, item)));
        }
        Ok(Vec::new())
    })
}

pub(super) const WRITE_PROGRESS: Builtin = Builtin {
    name: "Write-Progress",
    aliases: &[],
    summary: "Accepts how far a script has come, and shows nothing",
    parameters: &[
        Parameter::new("Activity", Takes::Value, "What is done").at(0),
        Parameter::new("Status", Takes::Value, "How it stands").at(1),
        Parameter::new("Completed", Takes::Switch, "It is done"),
        Parameter::new("CurrentOperation", Takes::Value, "What is done just now"),
        Parameter::new("Id", Takes::Value, "Which of several"),
        Parameter::new("PercentComplete", Takes::Value, "How far it has come"),
        Parameter::new("SecondsRemaining", Takes::Value, "How long it will take"),
    ],
    work: Each(out_null),
};

pub(super) const WRITE_ERROR: Builtin = Builtin {
    name: "Write-Error",
    aliases: &[],
    summary: "Reports an error of the script itself",
    parameters: MESSAGE,
    work: Each(write_error),
};

fn write_error<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, item: Option<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let mut failure = Failure::new(Category::NotSpecified, "WriteErrorException", message(given, item));
        failure.exception = "WriteErrorException".into();
        Err(given.failure(failure))
    })
}

fn message(given: &Given<'_>, item: Option<Value>) -> String {
    let values: Vec<String> = given.values("Message").into_iter().chain(item).map(|it| it.to_string()).collect();
    values.join(" ")
}
