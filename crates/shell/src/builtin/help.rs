//! Which commands there are, and what they do.

use reveille_admin::cmdlets::MISSPELT;
use reveille_admin::help::{self, Part};
use reveille_admin::{Category, Failure, Object, Value};

use super::stage::Work::All;
use super::{Builtin, Given, Parameter, TABLE, Takes};
use crate::eval::compare::is_like;
use crate::eval::{Evaluator, Step};
use crate::format;

pub(super) const GET_HELP: Builtin = Builtin {
    name: "Get-Help",
    aliases: &["help", "man"],
    summary: "Shows what a command does, how it is written, and who may run it",
    parameters: &[
        Parameter::new("Name", Takes::Value, "The command; with * all that fit").at(0),
        Parameter::new("Detailed", Takes::Switch, "All of it"),
        Parameter::new("Examples", Takes::Switch, "The examples"),
        Parameter::new("Full", Takes::Switch, "All of it"),
        Parameter::new("Online", Takes::Switch, "Accepted; the pages are also in docs/reference"),
        Parameter::new("Parameter", Takes::Value, "The parameters that fit, also with *"),
    ],
    work: All(get_help),
};

fn get_help<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let Some(name) = given.text("Name") else { return Ok(vec![format::formatted(OVERVIEW.to_owned())]) };
        let meant = MISSPELT.iter().find(|(wrong, _)| wrong.eq_ignore_ascii_case(&name)).map_or(&*name, |(_, it)| it);
        if let Some(builtin) = super::find(meant) {
            return Ok(vec![format::formatted(page(builtin))]);
        }
        let cmdlets = evaluator.host.cmdlets();
        if let Some(about) = cmdlets.iter().map(|cmdlet| cmdlet.about()).find(|about| about.name.is(meant)) {
            let pattern = given.text("Parameter");
            let part = match &pattern {
                Some(pattern) => Part::Parameters(pattern),
                None if given.is_on("Full") || given.is_on("Detailed") => Part::Full,
                None if given.is_on("Examples") => Part::Examples,
                None => Part::Overview,
            };
            return match help::page(about, part) {
                page if page.is_empty() => {
                    let said = format!("{} has no parameter {}.", about.name, pattern.unwrap_or_default());
                    Err(given.fail("NoMatchingParameterFound", said))
                }
                page => Ok(vec![format::formatted(page)]),
            };
        }
        if name.to_ascii_lowercase().starts_with("about_") {
            return Ok(vec![format::formatted(LANGUAGE.to_owned())]);
        }
        // As in PowerShell, a part of a name is enough.
        let pattern = if name.contains(['*', '?']) { name.clone() } else { format!("*{name}*") };
        let found = commands(evaluator, &|candidate: &str| is_like(candidate, &pattern));
        match found.is_empty() {
            true => {
                let said = format!("There is no command {name}. Get-Command lists those that there are.");
                Err(given.failure(Failure::new(Category::ObjectNotFound, "HelpNotFound", said).of(name)))
            }
            false => Ok(found),
        }
    })
}

const LANGUAGE: &str = "
What of PowerShell's language there is stands in docs/reference/language.md: commands, values, operators, statements, and
where this shell differs. What it does not know it refuses before anything is run, with what to write instead.
";

const OVERVIEW: &str = "
This shell manages Reveille: which domains and providers are federated with, who is pushed to, and why one was not.

    Get-Command                     all commands
    Get-Command *Push*              those with Push in their names
    Get-Help Test-CsFederatedPartner            what one does and how it is written
    Get-Help Test-CsFederatedPartner -Full      with its parameters, roles, schedule and examples
    Get-CsMcxConfiguration | Format-List *      all that an object holds

Commands are written as in PowerShell: Verb-Noun -Parameter value | Where-Object { $_.Property -eq 'value' }.
Tab completes names and values. A line that is not complete goes on on the next one. exit ends the shell.
";

pub(super) const GET_COMMAND: Builtin = Builtin {
    name: "Get-Command",
    aliases: &["gcm"],
    summary: "Lists the commands",
    parameters: &[
        Parameter::new("Name", Takes::Values, "Names, also with *").at(0),
        Parameter::new("All", Takes::Switch, "Accepted; all are shown in any case"),
        Parameter::new("CommandType", Takes::Value, "Accepted; there are only cmdlets"),
        Parameter::new("Module", Takes::Value, "Lync for what manages the server, Shell for what works on objects"),
        Parameter::new("Noun", Takes::Values, "Nouns, also with *"),
        Parameter::new("Syntax", Takes::Switch, "How each is written"),
        Parameter::new("Verb", Takes::Values, "Verbs, also with *"),
    ],
    work: All(get_command),
};

fn get_command<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let patterns = |name: &str| given.values(name).iter().map(Value::to_string).collect::<Vec<_>>();
        let (names, verbs, nouns) = (patterns("Name"), patterns("Verb"), patterns("Noun"));
        let fits = |patterns: &[String], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| is_like(text, pattern))
        };
        let wanted = |candidate: &str| {
            let (verb, noun) = candidate.split_once('-').unwrap_or(("", candidate));
            fits(&names, candidate) && fits(&verbs, verb) && fits(&nouns, noun)
        };
        if given.is_on("Syntax") {
            let cmdlets = evaluator.host.cmdlets().iter().map(|cmdlet| cmdlet.about());
            let of_cmdlets = cmdlets.filter(|about| wanted(&about.name.to_string())).flat_map(help::syntax);
            let of_builtins = TABLE.iter().filter(|builtin| wanted(builtin.name)).map(syntax);
            return Ok(of_cmdlets.chain(of_builtins).map(Value::Text).collect());
        }
        let module = given.text("Module");
        let mut found = commands(evaluator, &wanted);
        if let Some(module) = &module {
            found.retain(|command| {
                crate::eval::method::property(command, "@module").to_string().eq_ignore_ascii_case(module)
            });
        }
        match (found.is_empty(), names.first()) {
            // A pattern that nothing fits gives nothing; a name that is none is a mistake.
            (true, Some(name)) if !name.contains(['*', '?']) => {
                let said = format!("The term '{name}' is not recognized as the name of a command.");
                let failure = Failure::new(Category::ObjectNotFound, "CommandNotFoundException", said);
                Err(given.failure(failure.of(name.clone())))
            }
            _ => Ok(found),
        }
    })
}

/// The commands whose names are wanted, in order.
fn commands(evaluator: &Evaluator<'_>, wanted: &dyn Fn(&str) -> bool) -> Vec<Value> {
    let cmdlets = evaluator.host.cmdlets().iter().map(|cmdlet| cmdlet.about());
    let of_server = cmdlets.map(|about| (about.name.to_string(), "Lync", about.summary));
    let of_shell = TABLE.iter().map(|builtin| (builtin.name.to_owned(), "Shell", builtin.summary));
    let mut all: Vec<_> = of_server.chain(of_shell).filter(|(name, ..)| wanted(name)).collect();
    // By noun first, so that what belongs together stands together.
    all.sort_by_cached_key(|(name, ..)| {
        let (verb, noun) = name.split_once('-').unwrap_or(("", name));
        (noun.to_lowercase(), verb.to_lowercase())
    });
    let object = |(name, module, summary): (String, &str, &str)| {
        Object::new("CommandInfo").with("Name", name).with("Synopsis", summary).with("@module", module).into()
    };
    all.into_iter().map(object).collect()
}

pub(super) const GET_ALIAS: Builtin = Builtin {
    name: "Get-Alias",
    aliases: &["gal"],
    summary: "Lists the other names of commands",
    parameters: &[Parameter::new("Name", Takes::Values, "Names, also with *").at(0)],
    work: All(get_alias),
};

fn get_alias<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let wanted: Vec<String> = given.values("Name").iter().map(Value::to_string).collect();
        // A name is a name here: ? and % are aliases.
        let fits = |alias: &str| {
            wanted.is_empty()
                || wanted
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(alias) || (name.contains('*') && is_like(alias, name)))
        };
        let all = TABLE.iter().flat_map(|builtin| builtin.aliases.iter().map(move |alias| (*alias, builtin.name)));
        let mut all: Vec<_> = all.filter(|(alias, _)| fits(alias)).collect();
        all.sort_by_key(|(alias, _)| alias.to_lowercase());
        Ok(all
            .into_iter()
            .map(|(alias, name)| Object::new("AliasInfo").with("Name", alias).with("Definition", name).into())
            .collect())
    })
}

/// How a command of the shell is written.
fn syntax(builtin: &Builtin) -> String {
    let mut text = builtin.name.to_owned();
    for parameter in builtin.parameters {
        let name = match parameter.position {
            Some(_) => format!("[-{}]", parameter.name),
            None => format!("-{}", parameter.name),
        };
        let value = match parameter.takes {
            Takes::Block => " <ScriptBlock>",
            Takes::Switch => "",
            Takes::Value => " <Object>",
            Takes::Values | Takes::Ways => " <Object[]>",
        };
        text.push_str(&format!(" [{name}{value}]"));
    }
    text
}

/// The page of a command of the shell.
pub(super) fn page(builtin: &Builtin) -> String {
    let mut text = format!(
        "\nNAME\n    {}\n\nSYNOPSIS\n    {}.\n\nSYNTAX\n    {}\n",
        builtin.name,
        builtin.summary,
        syntax(builtin)
    );
    if !builtin.parameters.is_empty() {
        text.push_str("\nPARAMETERS\n");
        for parameter in builtin.parameters {
            text.push_str(&format!("    -{}\n        {}.\n", parameter.name, parameter.help));
        }
    }
    if !builtin.aliases.is_empty() {
        text.push_str(&format!("\nALIASES\n    {}\n", builtin.aliases.join(", ")));
    }
    text
}
