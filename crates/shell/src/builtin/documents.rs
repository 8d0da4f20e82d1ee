//! Objects as JSON and CSV, and back.

use reveille_admin::{Category, Failure, Object, Value};

use super::output::{rows, write};
use super::stage::Work::{All, AllAndNull};
use super::{Builtin, Given, Parameter, Takes};
use crate::encoding;
use crate::eval::{Evaluator, Flow, Step, rolled};
use crate::format::{csv, document, json};

/// How much of a file is read.
const FILE_BYTES_MAX: u64 = 16 << 20;

pub(super) const CONVERT_TO_JSON: Builtin = Builtin {
    name: "ConvertTo-Json",
    aliases: &[],
    summary: "Gives objects as JSON",
    parameters: &[
        Parameter::new("InputObject", Takes::Value, "The object, if it does not come along the pipeline").at(0),
        Parameter::new("AsArray", Takes::Switch, "An array even of a single object"),
        Parameter::new("Compress", Takes::Switch, "On one line"),
        Parameter::new("Depth", Takes::Value, "How many objects within each other; what is deeper becomes text"),
    ],
    work: AllAndNull(convert_to_json),
};

fn convert_to_json<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let depth = given.count("Depth")?.unwrap_or(json::DEPTH_MAX);
        let value = match (given.value("InputObject"), given.is_on("AsArray")) {
            (Some(value), _) => value.clone(),
            (None, true) => Value::List(input),
            (None, false) => rolled(input),
        };
        Ok(vec![Value::Text(json::written(&value, depth, given.is_on("Compress")))])
    })
}

pub(super) const CONVERT_FROM_JSON: Builtin = Builtin {
    name: "ConvertFrom-Json",
    aliases: &[],
    summary: "Makes objects of JSON",
    parameters: &[Parameter::new("InputObject", Takes::Value, "The text, if it does not come along the pipeline").at(0)],
    work: All(convert_from_json),
};

fn convert_from_json<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let lines: Vec<String> =
            given.values("InputObject").into_iter().chain(input).map(|it| it.to_string()).collect();
        match serde_json::from_str::<Value>(&lines.join("\n")) {
            Ok(value) => Ok(crate::eval::unrolled(value)),
            Err(why) => Err(given.fail("InvalidJson", format!("This is not JSON: {why}."))),
        }
    })
}

pub(super) const CONVERT_TO_CSV: Builtin = Builtin {
    name: "ConvertTo-Csv",
    aliases: &[],
    summary: "Gives objects as comma-separated values",
    parameters: &[
        Parameter::new("Delimiter", Takes::Value, "What stands between values; a comma"),
        Parameter::new("NoTypeInformation", Takes::Switch, "Accepted; no type is written in any case"),
    ],
    work: All(convert_to_csv),
};

fn convert_to_csv<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move { Ok(csv::lines(&input, delimiter(given)?).into_iter().map(Value::Text).collect()) })
}

pub(super) const EXPORT_CSV: Builtin = Builtin {
    name: "Export-Csv",
    aliases: &["epcsv"],
    summary: "Writes objects to a file as comma-separated values",
    parameters: &[
        Parameter::new("Path", Takes::Value, "The file").at(0),
        Parameter::new("Append", Takes::Switch, "Behind what the file holds, whose first line has the names"),
        Parameter::new("Delimiter", Takes::Value, "What stands between values; a comma"),
        Parameter::new("Encoding", Takes::Value, "Accepted; it is always UTF-8"),
        Parameter::new("Force", Takes::Switch, "Accepted, and without effect"),
        Parameter::new("NoClobber", Takes::Switch, "Only if there is no such file yet"),
        Parameter::new("NoTypeInformation", Takes::Switch, "Accepted; no type is written in any case"),
    ],
    work: All(export_csv),
};

fn export_csv<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let mut text = String::new();
        // A file that holds something has its names already.
        let holds = |path: &String| std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
        let named = given.is_on("Append") && given.text("Path").as_ref().is_some_and(holds);
        for line in csv::lines(&input, delimiter(given)?).into_iter().skip(usize::from(named)) {
            text.push_str(&line);
            text.push('\n');
        }
        write(given, &text)?;
        Ok(Vec::new())
    })
}

pub(super) const CONVERT_TO_HTML: Builtin = Builtin {
    name: "ConvertTo-Html",
    aliases: &[],
    summary: "Gives objects as a page with a table",
    parameters: &[
        Parameter::new("Property", Takes::Ways, "The properties, also with * or calculated").at(0),
        Parameter::new("Head", Takes::Values, "What stands in the page's head instead of the title").at(1),
        Parameter::new("Title", Takes::Value, "The page's title").at(2),
        Parameter::new("Body", Takes::Values, "What stands before the table").at(3),
        Parameter::new("Fragment", Takes::Switch, "The table only"),
        Parameter::new("PostContent", Takes::Values, "What stands behind the table"),
        Parameter::new("PreContent", Takes::Values, "What stands before the table"),
    ],
    work: All(convert_to_html),
};

fn convert_to_html<'a>(
    evaluator: &'a mut Evaluator<'_>,
    given: &'a Given<'a>,
    input: Vec<Value>,
) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let rows = rows(evaluator, given, &input).await?;
        let lines = |name: &str| given.values(name).iter().map(Value::to_string).collect::<Vec<_>>();
        let mut page = Vec::new();
        if !given.is_on("Fragment") {
            let title = document::escaped(&given.text("Title").unwrap_or_else(|| "HTML TABLE".to_owned()));
            page.extend(["<!DOCTYPE html>", "<html>", "<head>", "<meta charset=\"utf-8\">"].map(str::to_owned));
            match lines("Head") {
                head if head.is_empty() => page.push(format!("<title>{title}</title>")),
                // A script writes the page; what comes from servers stands in the table.
                head => page.extend(head),
            }
            page.extend(["</head>", "<body>"].map(str::to_owned));
            page.extend(lines("Body"));
        }
        page.extend(lines("PreContent"));
        page.extend(document::html_table(&rows));
        page.extend(lines("PostContent"));
        if !given.is_on("Fragment") {
            page.extend(["</body>", "</html>"].map(str::to_owned));
        }
        Ok(page.into_iter().map(Value::Text).collect())
    })
}

pub(super) const IMPORT_CSV: Builtin = Builtin {
    name: "Import-Csv",
    aliases: &["ipcsv"],
    summary: "Makes objects of a file of comma-separated values, whose first line has the names",
    parameters: &[
        Parameter::new("Path", Takes::Value, "The file").at(0),
        Parameter::new("Delimiter", Takes::Value, "What stands between values; a comma"),
        Parameter::new("Header", Takes::Values, "The names, if the first line has none"),
    ],
    work: All(import_csv),
};

fn import_csv<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let text = read(given)?;
        let mut rows = csv::rows(&text, delimiter(given)?).into_iter();
        let names: Vec<String> = match given.values("Header") {
            names if names.is_empty() => rows.next().unwrap_or_default(),
            names => names.iter().map(Value::to_string).collect(),
        };
        let object = |row: Vec<String>| {
            let mut fields = row.into_iter();
            let named = names.iter().map(|name| (name.clone(), Value::from(fields.next())));
            Value::Object(named.fold(Object::new(""), |all, (name, value)| all.with(name, value)))
        };
        Ok(rows.map(object).collect())
    })
}

pub(super) const GET_CONTENT: Builtin = Builtin {
    name: "Get-Content",
    aliases: &["cat", "gc", "type"],
    summary: "Gives the lines of a file",
    parameters: &[
        Parameter::new("Path", Takes::Value, "The file").at(0),
        Parameter::new("Encoding", Takes::Value, "Accepted; UTF-8, or what the file's byte order mark says"),
        Parameter::new("Raw", Takes::Switch, "All of it as one text"),
    ],
    work: All(get_content),
};

fn get_content<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let text = read(given)?;
        Ok(if given.is_on("Raw") { vec![Value::Text(text)] } else { text.lines().map(Value::from).collect() })
    })
}

/// The text of the file that a command was given.
fn read(given: &Given<'_>) -> Result<String, Flow> {
    let Some(path) = given.text("Path") else {
        return Err(given.fail("MissingArgument", "The name of the file is missing: -Path NAME."));
    };
    let cannot =
        |id: &str, said: String| given.failure(Failure::new(Category::ObjectNotFound, id, said).of(path.clone()));
    let file = std::fs::File::open(&path)
        .map_err(|why| cannot("PathNotFound", format!("The file {path} cannot be read: {why}.")))?;
    let text = encoding::read(&format!("The file {path}"), file, FILE_BYTES_MAX);
    text.map_err(|why| cannot("FileNotReadable", format!("{why}.")))
}

fn delimiter(given: &Given<'_>) -> Result<char, Flow> {
    let text = given.text("Delimiter").unwrap_or_else(|| ",".to_owned());
    match text.chars().collect::<Vec<_>>()[..] {
        [one] if one != '"' && one != '\n' => Ok(one),
        _ => Err(given.fail("InvalidDelimiter", format!("-Delimiter takes one character, not \"{text}\"."))),
    }
}
