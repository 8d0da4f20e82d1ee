//! The reference pages in `docs/reference`: one for each noun and an index by task, made from the catalogue.
//! `cargo xtask reference` writes them, and a test says when they are old.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::bind;
use crate::cmdlet::{About, Area, Parameter, Pipeline};
use crate::cmdlets::{CMDLETS, MISSPELT};
use crate::help::{syntax, who_may};
use crate::kind::Kind;
use crate::roles::names_with;

/// A page: the name of its file, and its text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// For instance `CsHostingProvider.md`.
    pub file: String,
    /// Markdown.
    pub text: String,
}

/// All pages, the index first.
pub fn pages() -> Vec<Page> {
    let mut nouns: BTreeMap<&str, Vec<&About>> = BTreeMap::new();
    for cmdlet in CMDLETS {
        nouns.entry(cmdlet.about().name.noun).or_default().push(cmdlet.about());
    }
    let mut pages = vec![Page { file: "README.md".into(), text: index() }];
    for (noun, mut cmdlets) in nouns {
        cmdlets.sort_by_key(|about| about.name);
        pages.push(Page { file: format!("{noun}.md"), text: noun_page(noun, &cmdlets) });
    }
    pages
}

const MADE: &str = "<!-- Made by `cargo xtask reference` from crates/admin/src/cmdlets. Change it there. -->\n\n";

fn index() -> String {
    let mut text = format!(
        "{MADE}# The cmdlets\n\nWhat `reveille shell` and the admin API can do, by task. In the shell, `Get-Command` lists \
         the same and `Get-Help NAME -Full` shows the same pages. [The language](language.md) says what of PowerShell \
         the shell understands, and [the shell's own commands](shell-commands.md) what works on any object. \
         [openapi.json](openapi.json) describes the admin API.\n"
    );
    for (area, title, what) in TASKS {
        let mut cmdlets: Vec<_> = CMDLETS.iter().map(|it| it.about()).filter(|about| about.area == *area).collect();
        if cmdlets.is_empty() {
            continue;
        }
        cmdlets.sort_by_key(|about| (about.name.noun, about.name.verb));
        let _ = writeln!(text, "\n## {title}\n\n{what}\n\n| cmdlet | does |\n|---|---|");
        for about in cmdlets {
            let (name, noun) = (about.name.to_string(), about.name.noun);
            let _ = writeln!(text, "| [{name}]({noun}.md#{}) | {} |", name.to_lowercase(), cell(about.summary));
        }
    }
    text.push_str("\n## Names that the documents misspell\n\nThey are understood, with a hint.\n\n| written | meant |\n|---|---|\n");
    for (written, meant) in MISSPELT {
        let _ = writeln!(text, "| {written} | {meant} |");
    }
    text.push_str("\n## Parameters that every cmdlet takes\n\n| parameter | aliases | is for |\n|---|---|---|\n");
    // Those of a cmdlet that changes something are all that there are.
    for parameter in bind::common(&About { changes: true, ..About::DEFAULT }) {
        let _ = writeln!(text, "| -{} | {} | {} |", parameter.name, parameter.aliases.join(", "), cell(parameter.help));
    }
    text.push_str("\n`-WhatIf` and `-Confirm` only those that change something.\n");
    text
}

/// The tasks in the order in which somebody new meets them.
const TASKS: &[(Area, &str, &str)] = &[
    (Area::Topology, "Partners, providers and the border", "Records that hold for the whole organisation."),
    (
        Area::Scoped,
        "Push, mobility and filters",
        "Records with a scope: `global`, `site:Name`, a service, or a policy's own name. The narrowest one holds.",
    ),
    (Area::Tests, "Tests", "Real transactions along the real road; they change no setting."),
    (Area::Users, "Users, devices and pushes", "What users have, and why a phone was or was not woken."),
    (Area::Own, "Oneself", "What everybody may change who has an account."),
    (Area::Administration, "Administrators", "Who may do what, and who did what."),
];

fn noun_page(noun: &str, cmdlets: &[&About]) -> String {
    let mut text = format!("{MADE}# {noun}\n\n");
    let names: Vec<_> =
        cmdlets.iter().map(|it| format!("[{}](#{})", it.name, it.name.to_string().to_lowercase())).collect();
    let _ = writeln!(text, "{} · [all cmdlets](README.md)", names.join(" · "));
    for about in cmdlets {
        section(&mut text, about);
    }
    text
}

fn section(text: &mut String, about: &About) {
    let _ = writeln!(text, "\n## {}\n\n{}.", about.name, about.summary);
    if !about.description.is_empty() {
        let _ = writeln!(text, "\n{}", about.description);
    }
    let _ = writeln!(text, "\n```powershell\n{}\n```\n", syntax(about).join("\n"));
    if !about.parameters.is_empty() {
        text.push_str("| parameter | takes | is for |\n|---|---|---|\n");
        about.parameters.iter().for_each(|parameter| row(text, parameter, about));
        text.push('\n');
    }
    match about.outputs {
        [] => text.push_str("**Gives** nothing.\n"),
        names => {
            let _ = writeln!(text, "**Gives** objects with {}.", names.join(", "));
        }
    }
    if let Some(schedule) = about.schedule {
        let _ = writeln!(text, "\n**Verification schedule**: {schedule}. **Testing tool**: the management shell.");
    }
    let (roles, groups) = names_with(about);
    let _ = writeln!(
        text,
        "\n**Permissions required**: on the server's own machine a member of {}; remotely the role {}, or a custom one: \
         `{}`.",
        groups.join(", "),
        roles.join(", "),
        who_may(about)
    );
    if !about.notes.is_empty() {
        text.push('\n');
        about.notes.iter().for_each(|note| {
            let _ = writeln!(text, "- {note}");
        });
    }
    for (command, what) in about.examples {
        let _ = writeln!(text, "\n```powershell\n{command}\n```\n\n{what}");
    }
}

fn row(text: &mut String, parameter: &Parameter, about: &About) {
    let mut marks = Vec::new();
    if parameter.required {
        marks.push("mandatory".to_owned());
    }
    if parameter.position.is_some() {
        marks.push("may stand without its name".into());
    }
    if !parameter.aliases.is_empty() {
        marks.push(format!("also -{}", parameter.aliases.join(", -")));
    }
    match parameter.pipeline {
        Pipeline::No => {}
        Pipeline::ByValue => marks.push("from the pipeline".into()),
        Pipeline::ByName => marks.push("from the pipeline by its name".into()),
        Pipeline::Both => marks.push("from the pipeline, also by its name".into()),
    }
    if let Some(default) = parameter.default.filter(|default| !default.is_empty()) {
        marks.push(format!("default `{default}`"));
    }
    if about.sets.len() > 1 && !parameter.sets.is_empty() {
        marks.push(format!("form {}", parameter.sets.join(", ")));
    }
    let marks = if marks.is_empty() { String::new() } else { format!(" ({})", marks.join("; ")) };
    let _ = writeln!(
        text,
        "| -{} | {} | {}{} |",
        parameter.name,
        cell(&takes(&parameter.kind)),
        cell(parameter.help),
        cell(&marks)
    );
}

fn takes(kind: &Kind) -> String {
    match kind {
        Kind::Int { min, max } => format!("{min} to {max}"),
        Kind::Choice(words) => words.join(", "),
        Kind::Switch => "nothing".into(),
        kind => kind.name(),
    }
}

/// Text that does not end a cell of a table nor begin a tag.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cmdlet_is_in_the_index_and_has_its_section_and_every_area_its_task() {
        let pages = pages();
        for cmdlet in CMDLETS {
            let about = cmdlet.about();
            let name = about.name.to_string();
            assert!(TASKS.iter().any(|(area, ..)| *area == about.area), "{name}");
            assert!(pages[0].text.contains(&format!("[{name}](")), "{name} is not in the index");
            let page = pages.iter().find(|page| page.file == format!("{}.md", about.name.noun)).unwrap();
            assert!(page.text.contains(&format!("\n## {name}\n")), "{name} has no section in {}", page.file);
            for parameter in about.parameters {
                assert!(page.text.contains(&format!("| -{} |", parameter.name)), "{name} -{}", parameter.name);
            }
        }
    }

    #[test]
    fn what_stands_in_a_table_does_not_break_it() {
        assert_eq!(cell("a|b <c>"), "a\\|b &lt;c>");
    }
}
