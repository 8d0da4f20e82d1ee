//! Whatever the product tells an administrator to type exists: every cmdlet that a sentence of the code or of the documents
//! names is in the catalogue, and has the parameters that are written behind it.

use std::path::{Path, PathBuf};

use reveille_admin::bind::common;
use reveille_admin::cmdlets::{MISSPELT, find};
use reveille_core::Reason;

/// Folders with sentences for administrators. The shell's own tests name cmdlets that do not exist.
const FOLDERS: [&str; 15] = [
    "bin/src",
    "crates/admin/src",
    "crates/clearinghouse/src",
    "crates/core/src",
    "crates/edge/src",
    "crates/federation/src",
    "crates/home/src",
    "crates/providers/src",
    "crates/server/src",
    "crates/shell/src/format",
    "crates/sip-net/src",
    "crates/store/src",
    "crates/synthetic/src",
    "docs",
    "examples",
];
const VERBS: [&str; 10] = ["Disable", "Enable", "Get", "Grant", "New", "Remove", "Revoke", "Set", "Test", "Update"];

/// A cmdlet that a text names, with the parameters written behind it.
#[derive(Debug, Eq, PartialEq)]
struct Named<'a> {
    cmdlet: &'a str,
    parameters: Vec<&'a str>,
}

#[test]
fn every_command_that_is_advised_can_be_typed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in FOLDERS {
        sources(&root.join(folder), &mut files);
    }
    assert!(files.len() > 100, "the sources are found");
    let (mut faults, mut count) = (Vec::new(), 0);
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a source is text");
        let text = prose(&text);
        for named in named(&text) {
            count += 1;
            faults.extend(fault(&named).map(|fault| format!("{}: {fault}", file.display())));
        }
    }
    faults.sort();
    faults.dedup();
    assert!(count > 200, "{count} commands were found");
    assert!(faults.is_empty(), "{} commands that do not exist:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn the_remedy_of_every_reason_can_be_typed() {
    for reason in Reason::ALL {
        for named in named(reason.remedy()) {
            assert_eq!(fault(&named), None, "{reason}");
        }
    }
}

#[test]
fn commands_are_found_with_their_parameters_and_no_more() {
    let text = "no: Set-CsMcxConfiguration -Identity \"site:A B\" -PushNotificationProxyUri {uri}; \
                Get-CsPushReason lists them - not all, with -Force. Get-CsFoo | Set-CsBar Test-CsBaz -X 1. All -Of; https://h/Get-CsFoo -H";
    let of = |cmdlet, parameters: &[&'static str]| Named { cmdlet, parameters: parameters.to_vec() };
    assert_eq!(
        named(text),
        [
            of("Set-CsMcxConfiguration", &["Identity", "PushNotificationProxyUri"]),
            of("Get-CsPushReason", &[]),
            of("Get-CsFoo", &[]),
            of("Set-CsBar", &["X"]),
            of("Get-CsFoo", &[]),
        ]
    );
    assert!(fault(&of("Get-CsFoo", &[])).is_some() && fault(&of("Get-CsPushReason", &["Colour"])).is_some());
    assert_eq!(fault(&of("Get-CsPushReason", &["reason", "Verbose"])), None);
}

/// What is wrong with a command.
fn fault(named: &Named<'_>) -> Option<String> {
    if MISSPELT.iter().any(|(wrong, _)| *wrong == named.cmdlet) {
        return None;
    }
    let Some(cmdlet) = find(named.cmdlet) else { return Some(format!("there is no {}", named.cmdlet)) };
    let about = cmdlet.about();
    let knows = |name: &str| {
        let begins = |known: &str| known.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        about.parameter(name).is_some()
            || about.parameters.iter().any(|parameter| begins(parameter.name))
            || common(about).any(|parameter| begins(parameter.name))
    };
    // The switch's name is put in where the provider is known.
    let unknown = named.parameters.iter().find(|name| **name != "SWITCH" && !knows(name))?;
    Some(format!("{} has no -{unknown}", named.cmdlet))
}

/// The commands of a text.
fn named(text: &str) -> Vec<Named<'_>> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("-Cs") {
        let before = rest[..at].rfind(|c: char| !c.is_ascii_alphabetic()).map_or(0, |at| at + 1);
        let end = at + 1 + rest[at + 1..].find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len() - at - 1);
        let (cmdlet, verb, in_path) = (&rest[before..end], &rest[before..at], rest[..before].ends_with('/'));
        rest = &rest[end..];
        // `Get-Cs…` and `Test-Cs*` stand for many.
        if VERBS.contains(&verb) && cmdlet.len() > verb.len() + 3 && !rest.starts_with(['*', '…', '{']) {
            // What follows in the path of a request are the options of another program.
            let parameters = if in_path { Vec::new() } else { parameters(&mut rest) };
            found.push(Named { cmdlet, parameters });
        }
    }
    found
}

/// The parameters that follow a cmdlet's name: up to the end of the command or of the sentence. `text` goes on behind the
/// last of them, since a value may be the name of a cmdlet.
fn parameters<'a>(text: &mut &'a str) -> Vec<&'a str> {
    let (mut found, mut rest) = (Vec::new(), *text);
    loop {
        let trimmed = rest.trim_start_matches(' ');
        if trimmed.len() == rest.len() || trimmed.starts_with('\n') {
            return found;
        }
        if let Some(name) = trimmed.strip_prefix('-').filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
        {
            let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
            found.push(&name[..end]);
            rest = &name[end..];
            // `-Name:$true`
            rest = rest.strip_prefix(':').map_or(rest, |value| &value[word(value)..]);
            *text = rest;
            continue;
        }
        let length = word(trimmed);
        // Prose begins: "Get-CsPushReason lists them".
        if length == 0 || (found.is_empty() && trimmed.starts_with(|c: char| c.is_ascii_lowercase())) {
            return found;
        }
        rest = &trimmed[length..];
        // The sentence ends with the value.
        if trimmed[..length].ends_with('.') {
            return found;
        }
    }
}

/// How long the value at the beginning is; none where a command ends.
fn word(text: &str) -> usize {
    let text = text.strip_prefix('\\').map_or(text, |quoted| quoted);
    if let Some(inner) = text.strip_prefix(['"', '\'']) {
        return inner.find(['"', '\'']).map_or(text.len(), |end| end + 2);
    }
    text.find([' ', '\n', ';', '|', '"', '`', ')', ',']).unwrap_or(text.len())
}

/// A source without its tests, its continued lines joined, its escaped quotation marks plain.
fn prose(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().replace("\\\"", "\"");
    let mut joined = String::with_capacity(code.len());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let mut line = line.to_owned();
        while let Some(begun) = line.strip_suffix('\\') {
            let next = lines.next().unwrap_or_default();
            line = format!("{begun}{}", next.trim_start());
        }
        joined += line.trim_start_matches(['/', '!']);
        joined.push('\n');
    }
    joined
}

fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a folder can be read").path();
        let is_generated = path.ends_with("docs/reference");
        if path.is_dir() && !is_generated {
            sources(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "md") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}
