//! A cmdlet's page as text.

use std::fmt::Write as _;

use super::syntax::type_name;
use super::{Part, permissions, syntax, who_may};
use crate::bind;
use crate::cmdlet::{About, Parameter, Pipeline};
use crate::family::fits;
use crate::kind::Kind;
use crate::roles::names_with;

/// That part of the page, in lines of at most 80 characters as far as words allow. A pattern that fits no parameter
/// gives nothing.
pub fn page(about: &About, part: Part<'_>) -> String {
    let mut text = String::new();
    match part {
        Part::Parameters(pattern) => {
            let all = about.parameters.iter().chain(bind::common(about));
            all.filter(|it| fits(pattern.trim_start_matches('-'), it.name)).for_each(|it| entry(&mut text, it, about));
        }
        Part::Examples => {
            name_and_synopsis(&mut text, about);
            examples(&mut text, about);
        }
        Part::Overview => {
            overview(&mut text, about);
            remarks(&mut text, about);
        }
        Part::Full => {
            overview(&mut text, about);
            parameters(&mut text, about);
            outputs(&mut text, about);
            notes(&mut text, about);
            examples(&mut text, about);
        }
    }
    text
}

fn overview(text: &mut String, about: &About) {
    name_and_synopsis(text, about);
    section(text, "SYNTAX");
    for line in syntax(about) {
        wrapped(text, &line, INDENT, INDENT * 2);
        text.push('\n');
    }
    if !about.description.is_empty() {
        section(text, "DESCRIPTION");
        wrapped(text, about.description, INDENT, INDENT);
        text.push('\n');
    }
    if let Some(schedule) = about.schedule {
        section(text, "VERIFICATION SCHEDULE");
        wrapped(text, schedule, INDENT, INDENT);
        text.push('\n');
        section(text, "TESTING TOOL");
        wrapped(text, TOOL, INDENT, INDENT);
        text.push('\n');
    }
    section(text, "PERMISSIONS REQUIRED");
    for paragraph in permissions(about) {
        wrapped(text, &paragraph, INDENT, INDENT);
        text.push('\n');
    }
    // A command stands on one line, so that it can be copied.
    let _ = writeln!(text, "        {}\n", who_may(about));
    section(text, "ROLES");
    wrapped(text, &format!("{}, and custom roles that were given it.", names_with(about).0.join(", ")), INDENT, INDENT);
    text.push('\n');
}

fn name_and_synopsis(text: &mut String, about: &About) {
    section(text, "NAME");
    let _ = writeln!(text, "    {}\n", about.name);
    section(text, "SYNOPSIS");
    wrapped(text, &format!("{}.", about.summary), INDENT, INDENT);
    text.push('\n');
}

fn parameters(text: &mut String, about: &About) {
    section(text, "PARAMETERS");
    about.parameters.iter().for_each(|parameter| entry(text, parameter, about));
    let common: Vec<_> = bind::common(about).map(|it| format!("-{}", it.name)).collect();
    let _ = writeln!(text, "    <CommonParameters>");
    wrapped(text, &format!("All cmdlets take {}.", common.join(", ")), INDENT * 2, INDENT * 2);
    text.push('\n');
}

fn entry(text: &mut String, parameter: &Parameter, about: &About) {
    let heading = match parameter.kind {
        Kind::Switch => format!("-{} [<{}>]", parameter.name, parameter.kind.name()),
        kind => format!("-{} <{}>", parameter.name, type_name(&kind)),
    };
    wrapped(text, &heading, INDENT, INDENT * 2);
    wrapped(text, &format!("{}.", parameter.help), INDENT * 2, INDENT * 2);
    text.push('\n');
    let sets =
        if about.sets.len() > 1 && !parameter.sets.is_empty() { parameter.sets.join(", ") } else { String::new() };
    for (label, value) in [
        ("Required?", truth(parameter.required)),
        ("Position?", parameter.position.map_or_else(|| "named".into(), |place| place.to_string())),
        ("Default value", parameter.default.unwrap_or_default().into()),
        ("Accept pipeline input?", pipeline(parameter.pipeline)),
        ("Values", values(&parameter.kind)),
        ("Aliases", parameter.aliases.join(", ")),
        ("Parameter sets", sets),
    ] {
        // What every parameter has is always said, as PowerShell does; the rest where there is something.
        if !value.is_empty() || label == "Default value" {
            let label = format!("        {label:<28} ");
            text.push_str(if value.is_empty() { label.trim_end() } else { &label });
            flow(text, &value, label.len(), label.len());
        }
    }
    text.push('\n');
}

fn outputs(text: &mut String, about: &About) {
    section(text, "OUTPUTS");
    let said = match about.outputs {
        [] => "None.".to_owned(),
        names => format!("An object with the properties {}.", names.join(", ")),
    };
    wrapped(text, &said, INDENT, INDENT);
    text.push('\n');
}

fn notes(text: &mut String, about: &About) {
    if !about.notes.is_empty() {
        section(text, "NOTES");
        for note in about.notes {
            wrapped(text, note, INDENT, INDENT);
            text.push('\n');
        }
    }
}

fn examples(text: &mut String, about: &About) {
    for (index, (command, what)) in about.examples.iter().enumerate() {
        let _ = writeln!(text, "    -------------------------- EXAMPLE {} --------------------------\n", index + 1);
        for line in command.lines() {
            let _ = writeln!(text, "    {line}");
        }
        text.push('\n');
        wrapped(text, what, INDENT, INDENT);
        text.push('\n');
    }
}

fn remarks(text: &mut String, about: &About) {
    let name = about.name;
    section(text, "REMARKS");
    if !about.examples.is_empty() {
        let _ = writeln!(text, "    To see the examples, type: \"Get-Help {name} -Examples\".");
    }
    let _ = writeln!(text, "    For more information, type: \"Get-Help {name} -Full\".");
    let _ = writeln!(text, "    For one parameter, type: \"Get-Help {name} -Parameter NAME\".");
}

fn section(text: &mut String, title: &str) {
    let _ = writeln!(text, "{title}");
}

/// What can be written, where that can be said shortly.
fn values(kind: &Kind) -> String {
    match kind {
        Kind::Int { min, max } => format!("{min} to {max}"),
        Kind::Modifier(of) => {
            let words = values(of);
            let between = if words.is_empty() { "" } else { "; " };
            format!("a list, or @{{Add=...;Remove=...;Replace=...}}{between}{words}")
        }
        Kind::Switch => String::new(),
        kind => kind.words().join(", "),
    }
}

fn truth(value: bool) -> String {
    if value { "true" } else { "false" }.into()
}

fn pipeline(way: Pipeline) -> String {
    match way {
        Pipeline::No => "false",
        Pipeline::ByValue => "true (ByValue)",
        Pipeline::ByName => "true (ByPropertyName)",
        Pipeline::Both => "true (ByValue, ByPropertyName)",
    }
    .into()
}

/// Writes `words` in lines, the first indented by `first` and the others by `rest`.
fn wrapped(text: &mut String, words: &str, first: usize, rest: usize) {
    text.extend(std::iter::repeat_n(' ', first));
    flow(text, words, first, rest);
}

/// Goes on with `words` in a line that holds `column` characters.
fn flow(text: &mut String, words: &str, mut column: usize, rest: usize) {
    let mut at_start = true;
    for word in units(words) {
        let length = word.chars().count();
        if !at_start && column + 1 + length > WIDTH {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', rest));
            (column, at_start) = (rest, true);
        }
        if !at_start {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
        at_start = false;
    }
    text.push('\n');
}

/// The words of a text; what stands in `[brackets]` stays together, as in a line of syntax, unless it is too long.
fn units(text: &str) -> Vec<&str> {
    let (mut units, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, letter) in text.char_indices() {
        match letter {
            '[' | '<' => depth += 1,
            ']' | '>' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 || at - start > WIDTH / 2 => {
                units.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    units.push(&text[start..]);
    units.retain(|unit| !unit.is_empty());
    units
}

const INDENT: usize = 4;
const WIDTH: usize = 80;
const TOOL: &str = "The management shell: reveille shell.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdlet::{Area, Name, Verb};
    use crate::cmdlets;

    const TEST: About = About {
        name: Name::new(Verb::Test, "CsMcxPushNotification"),
        summary: "Sends a push request to the clearing house and reports the answer",
        parameters: &[Parameter::new("AccessEdgeFqdn", Kind::Domain, "The edge, by its internal name")
            .required()
            .alias(&["fqdn"])],
        area: Area::Tests,
        schedule: Some("Monthly"),
        ..About::DEFAULT
    };

    #[test]
    fn a_test_shows_its_schedule_its_tool_and_who_may_run_it() {
        let text = page(&TEST, Part::Overview);
        let mut rest = text.as_str();
        for part in [
            "NAME\n    Test-CsMcxPushNotification\n",
            "VERIFICATION SCHEDULE\n    Monthly\n",
            "TESTING TOOL\n    The management shell",
            "PERMISSIONS REQUIRED\n",
            "RTCUniversalServerAdmins security",
            "        Get-CsAdminRole | Where-Object {$_.Cmdlets -match \"Test-CsMcxPushNotification\"}\n",
        ] {
            let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} in its place in\n{text}"));
            rest = &rest[at..];
        }
    }

    #[test]
    fn a_parameter_is_found_by_pattern_and_shows_what_powershell_shows() {
        let text = page(&TEST, Part::Parameters("access*"));
        assert_eq!(
            text,
            "    -AccessEdgeFqdn <Fqdn>\n        The edge, by its internal name.\n\n        \
             Required?                    true\n        Position?                    named\n        \
             Default value\n        Accept pipeline input?       false\n        \
             Aliases                      fqdn\n\n"
        );
        assert_eq!(page(&TEST, Part::Parameters("Identity")), "");
    }

    #[test]
    fn no_line_of_any_page_is_longer_than_the_screen_unless_it_is_a_command() {
        for cmdlet in cmdlets::CMDLETS {
            let about = cmdlet.about();
            for line in page(about, Part::Full).lines().filter(|line| line.chars().count() > WIDTH) {
                let command = line.trim_start();
                let is_command = command.starts_with("Get-CsAdminRole |")
                    || about.examples.iter().any(|(example, _)| example.lines().any(|it| it == command));
                assert!(is_command || !command.contains(' '), "{}: {line}", about.name);
            }
        }
    }

    #[test]
    fn a_line_is_cut_between_words_and_never_within_brackets() {
        let mut text = String::new();
        let long = format!("Set-CsThing {}", "[-Name <String>] ".repeat(8));
        wrapped(&mut text, &long, 4, 8);
        assert!(
            text.lines().count() == 3 && text.lines().skip(1).all(|line| line.starts_with("        [-Name")),
            "{text}"
        );
    }
}
