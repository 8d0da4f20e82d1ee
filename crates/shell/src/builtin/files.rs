//! Text in files, and lines that are looked for.

use std::path::Path;

use reveille_admin::Value;

use super::output::{write, write_to};
use super::stage::Work::{All, Each, Stage};
use super::{Builtin, Given, Parameter, Takes};
use crate::eval::compare::expression;
use crate::eval::wrong::{bounded, few_enough};
use crate::eval::{self, Evaluator, Flow, More, Sink, Step};
use crate::format;

pub(super) const SET_CONTENT: Builtin = Builtin {
    name: "Set-Content",
    aliases: &["sc"],
    summary: "Writes values to a file, a line each",
    parameters: CONTENT,
    work: All(set_content),
};

pub(super) const ADD_CONTENT: Builtin = Builtin {
    name: "Add-Content",
    aliases: &["ac"],
    summary: "Writes values behind what a file holds, a line each",
    parameters: CONTENT,
    work: All(add_content),
};

const CONTENT: &[Parameter] = &[
    Parameter::new("Path", Takes::Value, "The file").at(0),
    Parameter::new("Value", Takes::Values, "The values, if they do not come along the pipeline").at(1),
    Parameter::new("Encoding", Takes::Value, "Accepted; it is always UTF-8"),
    Parameter::new("Force", Takes::Switch, "Accepted, and without effect"),
    Parameter::new("NoNewline", Takes::Switch, "Nothing between and behind the values"),
];

fn set_content<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move { write(given, &lines(given, input)?).map(|()| Vec::new()) })
}

fn add_content<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, input: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let text = lines(given, input)?;
        let Some(path) = given.text("Path") else {
            return Err(given.fail("MissingArgument", "The name of the file is missing: Add-Content NAME VALUE."));
        };
        write_to(given, &path, &text, true).map(|()| Vec::new())
    })
}

fn lines(given: &Given<'_>, input: Vec<Value>) -> Result<String, Flow> {
    let end = if given.is_on("NoNewline") { "" } else { "\n" };
    let mut text = String::new();
    for value in given.values("Value").into_iter().chain(input) {
        text.push_str(&value.to_string());
        text.push_str(end);
        bounded(text.len()).map_err(|wrong| wrong.at(given.at()))?;
    }
    Ok(text)
}

pub(super) const TEST_PATH: Builtin = Builtin {
    name: "Test-Path",
    aliases: &[],
    summary: "Gives whether there is a file or folder of that name",
    parameters: &[
        Parameter::new("Path", Takes::Values, "The names").at(0),
        Parameter::new("LiteralPath", Takes::Values, "The same as -Path"),
        Parameter::new("PathType", Takes::Value, "Leaf for files only, Container for folders only"),
    ],
    work: Each(test_path),
};

fn test_path<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, item: Option<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let kind = given.text("PathType").unwrap_or_else(|| "Any".to_owned());
        let paths: Vec<Value> =
            given.values("Path").into_iter().chain(given.values("LiteralPath")).chain(item).collect();
        let is_there = |path: &Value| {
            let path = path.to_string();
            let path = Path::new(&path);
            match kind.to_ascii_lowercase().as_str() {
                "leaf" => path.is_file(),
                "container" => path.is_dir(),
                _ => path.exists(),
            }
        };
        match paths.is_empty() {
            true => Err(given.fail("MissingArgument", "Which file? Write Test-Path NAME.")),
            false => Ok(paths.iter().map(|path| Value::Bool(is_there(path))).collect()),
        }
    })
}

pub(super) const SELECT_STRING: Builtin = Builtin {
    name: "Select-String",
    aliases: &["sls"],
    summary: "Lets those lines pass that fit a regular expression",
    parameters: &[
        Parameter::new("Pattern", Takes::Values, "Regular expressions, one of which must fit").at(0),
        Parameter::new("CaseSensitive", Takes::Switch, "Upper and lower case differ"),
        Parameter::new("NotMatch", Takes::Switch, "Those that do not fit"),
        Parameter::new("Quiet", Takes::Switch, "Only whether one fits"),
        Parameter::new("SimpleMatch", Takes::Switch, "The patterns are text, and stand somewhere in the line"),
    ],
    work: All(select_string),
};

fn select_string<'a>(
    evaluator: &'a mut Evaluator<'_>,
    given: &'a Given<'a>,
    input: Vec<Value>,
) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let patterns = given.values("Pattern");
        if patterns.is_empty() {
            return Err(given.fail("MissingArgument", "What is looked for? Write Select-String PATTERN."));
        }
        let mut wanted = Vec::with_capacity(patterns.len());
        for pattern in patterns.iter().map(Value::to_string) {
            let pattern = if given.is_on("SimpleMatch") { regex::escape(&pattern) } else { pattern };
            wanted.push(expression(&pattern, given.is_on("CaseSensitive")).map_err(|wrong| wrong.at(given.at()))?);
        }
        // What is a table or a page is looked through line by line, which is what is meant.
        let width = evaluator.terminal.width();
        let mut found = Vec::new();
        for item in &input {
            let text = match item {
                Value::Text(text) => text.clone(),
                other => format::shown(std::slice::from_ref(other), width),
            };
            let fits = |line: &&str| wanted.iter().any(|it| it.is_match(line)) != given.is_on("NotMatch");
            found.extend(text.lines().filter(fits).map(Value::from));
        }
        Ok(if given.is_on("Quiet") { vec![Value::Bool(!found.is_empty())] } else { found })
    })
}

pub(super) const TEE_OBJECT: Builtin = Builtin {
    name: "Tee-Object",
    aliases: &["tee"],
    summary: "Gives objects on, and keeps them in a variable or writes them to a file as well",
    parameters: &[
        Parameter::new("FilePath", Takes::Value, "The file").at(0),
        Parameter::new("Append", Takes::Switch, "Behind what the file or the variable holds"),
        Parameter::new("Variable", Takes::Value, "The variable, without $"),
    ],
    work: Stage(tee_object),
};

fn tee_object(given: Given<'_>) -> Result<Box<dyn eval::Stage + '_>, Flow> {
    if !given.has("FilePath") && !given.has("Variable") {
        return Err(given.fail("MissingArgument", "Where to? Write Tee-Object NAME, or Tee-Object -Variable NAME."));
    }
    Ok(Box::new(Tee { given, items: Vec::new() }))
}

struct Tee<'c> {
    given: Given<'c>,
    items: Vec<Value>,
}

impl eval::Stage for Tee<'_> {
    fn alone<'a>(&'a mut self, _: &'a mut Evaluator<'_>, _: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn take<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, item: Value, out: &'a mut Sink) -> Step<'a, More> {
        Box::pin(async move {
            self.items.push(item.clone());
            few_enough(self.items.len()).map_err(|wrong| wrong.at(self.given.at()))?;
            self.given.emit(evaluator, vec![item], out)?;
            Ok(More::Yes)
        })
    }

    fn close(&mut self, evaluator: &mut Evaluator<'_>) -> Result<(), Flow> {
        let items = std::mem::take(&mut self.items);
        if let Some(path) = self.given.text("FilePath") {
            let text = format::shown(&items, usize::MAX);
            write_to(&self.given, &path, &text, self.given.is_on("Append"))?;
        }
        match self.given.text("Variable") {
            Some(name) => {
                let name = if self.given.is_on("Append") { format!("+{name}") } else { name };
                evaluator.keep_in(&name, Value::List(items), self.given.at())
            }
            None => Ok(()),
        }
    }
}
