//! Where objects and text go: formats, files, nowhere, the terminal.

use reveille_admin::{Category, Failure, Object, Value};

use super::objects::along;
use super::stage::Work::{All, Each};
use super::{Builtin, Given, Item, Parameter, Takes};
use crate::eval::compare::is_like;
use crate::eval::{Evaluator, Flow, Step};
use crate::format;

pub(super) const FORMAT_LIST: Builtin = Builtin {
    name: "Format-List",
    aliases: &["fl"],
    summary: "Shows each object with a line for each property",
    parameters: &[
        Parameter::new("Property", Takes::Ways, "The properties, also with * or calculated").at(0),
        Parameter::new("Force", Takes::Switch, "Accepted; all properties are shown in any case"),
        Parameter::new("GroupBy", Takes::Value, "Accepted, and without effect"),
    ],
    work: All(format_list),
};

fn format_list<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let rows = rows(evaluator, given, &input).await?;
        Ok(vec![format::formatted(format::list(&rows))])
    })
}

pub(super) const FORMAT_TABLE: Builtin = Builtin {
    name: "Format-Table",
    aliases: &["ft"],
    summary: "Shows each object as a row",
    parameters: &[
        Parameter::new("Property", Takes::Ways, "The properties, also with * or calculated").at(0),
        Parameter::new("AutoSize", Takes::Switch, "Accepted; columns are as wide as they need in any case"),
        Parameter::new("Force", Takes::Switch, "Accepted, and without effect"),
        Parameter::new("GroupBy", Takes::Value, "Accepted, and without effect"),
        Parameter::new("HideTableHeaders", Takes::Switch, "The rows only"),
        Parameter::new("Wrap", Takes::Switch, "No value is cut off, however long its row"),
    ],
    work: All(format_table),
};

fn format_table<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let rows = rows(evaluator, given, &input).await?;
        let width = if given.is_on("Wrap") { usize::MAX } else { evaluator.terminal.width() };
        Ok(vec![format::formatted(format::table(&rows, width, !given.is_on("HideTableHeaders")))])
    })
}

/// The properties to show of each object.
async fn rows(evaluator: &mut Evaluator<'_>, given: &Given<'_>, input: &[Value]) -> Result<Vec<Value>, Flow> {
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
                (Item::Calculated(name, how), item) => {
                    let value = along(evaluator, how, item).await?;
                    row.set(name.clone(), value);
                }
                (Item::Block(block), item) => {
                    let value = along(evaluator, &Item::Block(block), item).await?;
                    row.set(evaluator.script[block.span.range()].to_owned(), value);
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
    aliases: &["oh", "Out-Default"],
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
    aliases: &["Set-Content", "sc"],
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
    use std::io::Write as _;
    let Some(path) = given.text("FilePath").or_else(|| given.text("Path")) else {
        return Err(given.fail("MissingArgument", "The name of the file is missing: … | Out-File NAME."));
    };
    let mut options = std::fs::OpenOptions::new();
    match (given.is_on("NoClobber"), given.is_on("Append")) {
        (true, _) => options.write(true).create_new(true),
        (_, true) => options.append(true).create(true),
        _ => options.write(true).create(true).truncate(true),
    };
    let done = options.open(&path).and_then(|mut file| file.write_all(text.as_bytes()));
    done.map_err(|why| {
        let said = format!("The file {path} cannot be written: {why}.");
        given.failure(Failure::new(Category::ResourceUnavailable, "FileOpenFailure", said).of(path.clone()))
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
