//! What could stand at the cursor: names of commands, parameters, values, variables, properties and files, each with
//! what it is for.

use std::path::Path;

use reveille_admin::cmdlet::{Name, Parameter, Verb};
use reveille_admin::cmdlets::MISSPELT;
use reveille_admin::{About, Kind, bind};

use super::meaning::meaning;
use super::place::Place;
use crate::builtin::{self, Builtin, Takes};

/// One possibility.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Candidate {
    /// What would be written, with quotation marks where it needs them.
    pub(super) value: String,
    /// What it is for; may be empty.
    pub(super) description: String,
    /// Whether another word follows.
    pub(super) ends: bool,
}

impl Candidate {
    fn new(value: impl Into<String>, description: impl Into<String>) -> Self {
        Self { value: value.into(), description: description.into(), ends: true }
    }
}

/// What is known when a line is typed.
pub(super) trait Known {
    /// The cmdlets that this server has.
    fn cmdlets(&self) -> &[&'static About];
    /// The variables that have a value, without `$`.
    fn variables(&self) -> Vec<String>;
    /// The identities that `Get-NOUN` shows.
    fn identities(&self, noun: &'static str) -> Vec<String>;
    /// The names in a folder; folders end with `/`.
    fn files(&self, folder: &Path) -> Vec<String>;
}

/// What could stand there, in the order in which it is shown.
pub(super) fn suggest(place: &Place, known: &dyn Known) -> Vec<Candidate> {
    let word = place.word.as_str();
    if place.quote.is_none() {
        if let Some((before, _)) = word.rsplit_once('.').filter(|(before, _)| member(place, before)) {
            return properties(place, known, &format!("{before}."));
        }
        if word.starts_with('$') {
            return variables(known, word);
        }
    }
    let Some(name) = place.words.first() else {
        return if place.quote.is_some() { Vec::new() } else { commands(known, word, place.in_block) };
    };
    if name.starts_with('$') {
        return operators(word);
    }
    let name = full_name(name);
    if let Some(about) = known.cmdlets().iter().find(|about| about.name.is(name)) {
        return of_cmdlet(place, known, about);
    }
    builtin::find(name).map(|own| of_own(place, known, own)).unwrap_or_default()
}

/// Whether what stands before a full stop has members that are known.
fn member(place: &Place, before: &str) -> bool {
    before == "$_" || before == "$PSItem" || (before.is_empty() && place.closed.is_some())
}

/// The name that is meant, where the documents misspell one.
fn full_name(name: &str) -> &str {
    let renamed = MISSPELT.iter().find(|(written, _)| written.eq_ignore_ascii_case(name));
    renamed.map_or(name, |(_, meant)| *meant)
}

fn commands(known: &dyn Known, word: &str, in_block: bool) -> Vec<Candidate> {
    let cmdlets = known.cmdlets().iter().map(|about| Candidate::new(about.name.to_string(), about.summary));
    let own = builtin::TABLE.iter().map(|own| Candidate::new(own.name, own.summary));
    let mut all: Vec<_> = cmdlets.chain(own).filter(|it| begins(&it.value, word)).collect();
    all.sort_by(|one, other| one.value.cmp(&other.value));
    if all.is_empty() && word.len() > 2 {
        // Nobody remembers every verb: the noun finds it too.
        let within = known.cmdlets().iter().filter(|about| contains(about.name.noun, word));
        all = within.map(|about| Candidate::new(about.name.to_string(), about.summary)).collect();
    }
    let aliases = builtin::TABLE.iter().flat_map(|own| own.aliases.iter().map(move |alias| (alias, own.name)));
    let aliases = aliases.filter(|(alias, _)| !word.is_empty() && begins(alias, word));
    all.extend(aliases.map(|(alias, meant)| Candidate::new(*alias, format!("is {meant}"))));
    if in_block && word.is_empty() {
        all.insert(0, Candidate { ends: false, ..Candidate::new("$_", "the object that comes along the pipeline") });
    }
    all
}

fn variables(known: &dyn Known, word: &str) -> Vec<Candidate> {
    let fixed = [
        ("$true", "yes"),
        ("$false", "no"),
        ("$null", "nothing"),
        ("$_", "the object that comes along the pipeline"),
        ("$Error", "what went wrong, the newest first"),
    ];
    let own = known.variables().into_iter().map(|name| Candidate::new(format!("${name}"), "a variable"));
    let fixed = fixed.into_iter().map(|(name, what)| Candidate::new(name, what));
    let mut all: Vec<_> = own.chain(fixed).filter(|it| begins(&it.value, word)).collect();
    let mut seen = Vec::new();
    all.retain(|it| {
        let name = it.value.to_ascii_lowercase();
        let new = !seen.contains(&name);
        seen.push(name);
        new
    });
    all
}

fn operators(word: &str) -> Vec<Candidate> {
    const ALL: &[(&str, &str)] = &[
        ("-eq", "is equal to"),
        ("-ne", "is not equal to"),
        ("-like", "fits a pattern with *"),
        ("-notlike", "does not fit a pattern with *"),
        ("-match", "holds a regular expression"),
        ("-notmatch", "does not hold a regular expression"),
        ("-contains", "is a list with"),
        ("-in", "is in a list"),
        ("-gt", "is greater than"),
        ("-ge", "is at least"),
        ("-lt", "is less than"),
        ("-le", "is at most"),
        ("-and", "both"),
        ("-or", "one or both"),
    ];
    let all = ALL.iter().filter(|(name, _)| word.starts_with('-') && begins(name, word));
    all.map(|(name, what)| Candidate::new(*name, *what)).collect()
}

/// The properties of the objects that come along, or of what stands in the brackets before.
fn properties(place: &Place, known: &dyn Known, before: &str) -> Vec<Candidate> {
    let sources = place.closed.iter().filter(|_| before == ".").chain(&place.feeding);
    let mut outputs = sources.filter_map(|name| {
        let name = full_name(name);
        let about = known.cmdlets().iter().find(|about| about.name.is(name))?;
        Some((about.name, about.outputs))
    });
    let Some((name, outputs)) = outputs.find(|(_, outputs)| !outputs.is_empty()) else { return Vec::new() };
    let word = place.word.strip_prefix(before).unwrap_or(&place.word);
    let fit = outputs.iter().filter(|output| begins(output, word));
    // What a property is stands where it is set.
    let set = || known.cmdlets().iter().filter(|about| about.name.noun == name.noun && about.name.verb != Verb::Get);
    let what = |output: &str| {
        let help = set().find_map(|about| about.parameter(output)).map(|parameter| parameter.help.to_owned());
        help.unwrap_or_else(|| format!("of {name}"))
    };
    fit.map(|output| Candidate::new(format!("{before}{output}"), what(output))).collect()
}

/// For a command of the shell.
fn of_own(place: &Place, known: &dyn Known, own: &'static Builtin) -> Vec<Candidate> {
    let word = place.word.as_str();
    if word.starts_with('-') && place.quote.is_none() {
        let useful = own.parameters.iter().filter(|it| word.len() > 1 || !it.help.starts_with("Accepted"));
        let all = useful.map(|it| Candidate::new(format!("-{}", it.name), it.help));
        return all.filter(|it| begins(&it.value, word)).collect();
    }
    let called = |name: &str| own.parameters.iter().find(|it| begins(it.name, name));
    let before = place.words.last().and_then(|last| last.strip_prefix('-')).filter(|_| place.words.len() > 1);
    let by_name = before.and_then(called).filter(|it| it.takes != Takes::Switch);
    let by_place = || own.parameters.iter().filter(|it| it.position.is_some() || it.rest).min_by_key(|it| it.position);
    let Some(parameter) = by_name.or_else(by_place) else { return Vec::new() };
    match (own.name, parameter.name, parameter.takes) {
        ("Get-Help" | "Get-Command", "Name", _) => commands(known, word, false),
        ("Get-Variable" | "Remove-Variable", "Name", _) => {
            let all = known.variables().into_iter().map(|name| Candidate::new(name, "a variable"));
            all.filter(|it| begins(&it.value, word)).collect()
        }
        (_, "FilePath" | "Path", _) => files(place, known),
        (_, _, Takes::Block | Takes::Ways) | (_, "Property" | "ExpandProperty" | "MemberName", _) => {
            properties(place, known, "")
        }
        _ => Vec::new(),
    }
}

fn of_cmdlet(place: &Place, known: &dyn Known, about: &'static About) -> Vec<Candidate> {
    let word = place.word.as_str();
    if place.quote.is_none() && word.starts_with('-') {
        return match word.split_once(':') {
            Some((name, begun)) => {
                let Some(parameter) = parameter_of(about, &name[1..]) else { return Vec::new() };
                let mut all = values(place, known, about, parameter, begun);
                all.iter_mut().for_each(|it| it.value.insert_str(0, &format!("{name}:")));
                all
            }
            None => parameters(place, about, word),
        };
    }
    let last = place.words.last().and_then(|last| last.strip_prefix('-')).filter(|_| place.words.len() > 1);
    let parameter = match last.map(|last| parameter_of(about, last)) {
        Some(Some(parameter)) if parameter.kind != Kind::Switch => Some(parameter),
        _ => next_place(place, about),
    };
    parameter.map(|parameter| values(place, known, about, parameter, word)).unwrap_or_default()
}

/// The parameters that are not there yet; the mandatory ones first.
fn parameters(place: &Place, about: &'static About, word: &str) -> Vec<Candidate> {
    let given: Vec<_> = named(place).filter_map(|name| parameter_of(about, name)).map(|it| it.name).collect();
    let own = about.parameters.iter().filter(|it| it.required).chain(about.parameters.iter().filter(|it| !it.required));
    // What is only accepted, for scripts made elsewhere, is offered to whoever begins to write it.
    let useful = |it: &&Parameter| word.len() > 1 || !it.help.starts_with("Accepted");
    let all = own.chain(bind::common(about)).filter(|it| !given.contains(&it.name)).filter(useful);
    let fit = all.filter(|it| begins(&format!("-{}", it.name), word));
    fit.map(|it| {
        let must = if it.required { " (mandatory)" } else { "" };
        Candidate::new(format!("-{}", it.name), format!("{}{must}", it.help))
    })
    .collect()
}

fn named(place: &Place) -> impl Iterator<Item = &str> {
    place.words.iter().skip(1).filter_map(|word| word.strip_prefix('-'))
}

/// The parameter of that name, or the only one that begins so.
fn parameter_of(about: &'static About, name: &str) -> Option<&'static Parameter> {
    let all = || about.parameters.iter().chain(bind::common(about));
    if let Some(exact) = all().find(|it| it.is_called(name)) {
        return Some(exact);
    }
    let mut short = all().filter(|it| begins(it.name, name));
    short.next().filter(|_| short.next().is_none())
}

/// What an argument without a name would be for at this place.
fn next_place(place: &Place, about: &'static About) -> Option<&'static Parameter> {
    let mut free: Vec<_> = about.parameters.iter().filter(|it| it.position.is_some()).collect();
    free.sort_by_key(|it| it.position);
    let mut loose = 0;
    let mut words = place.words.iter().skip(1).peekable();
    while let Some(word) = words.next() {
        match word.strip_prefix('-').map(|name| parameter_of(about, name)) {
            Some(Some(parameter)) => {
                free.retain(|it| it.name != parameter.name);
                if parameter.kind != Kind::Switch {
                    words.next();
                }
            }
            Some(None) => {}
            None => loose += 1,
        }
    }
    free.get(loose).copied()
}

fn values(
    place: &Place,
    known: &dyn Known,
    about: &'static About,
    parameter: &'static Parameter,
    word: &str,
) -> Vec<Candidate> {
    let words = parameter.kind.words();
    let mut all: Vec<Candidate> = Vec::new();
    if !words.is_empty() {
        let what = |word| meaning(parameter.name, word).unwrap_or(parameter.help);
        all.extend(words.iter().map(|word| Candidate::new(*word, what(*word))));
        // Truth is written without quotation marks, else it is text.
        return all.into_iter().filter(|it| place.quote.is_none() && begins(&it.value, word)).collect();
    }
    match parameter.kind {
        Kind::Credential | Kind::Instance(_) if place.quote.is_none() => {
            let variables = known.variables().into_iter();
            all.extend(variables.map(|name| Candidate::new(format!("${name}"), "a variable")));
        }
        Kind::Variable => {
            all.extend(known.variables().into_iter().map(|name| Candidate::new(name, "a variable")));
        }
        _ => {
            if let Some(noun) = source(about.name, parameter) {
                let what = format!("of Get-{noun}");
                let mut identities = known.identities(noun);
                if parameter.kind == Kind::Scope && !identities.iter().any(|it| it.eq_ignore_ascii_case("global")) {
                    identities.insert(0, "Global".into());
                }
                all.extend(identities.into_iter().map(|identity| Candidate::new(identity, what.clone())));
            }
        }
    }
    all.retain(|it| begins(&it.value, word));
    all.iter_mut().for_each(|it| it.value = in_quotes(&it.value, place.quote));
    all
}

/// The noun whose objects name users: those who have a device.
pub(super) const USERS: &str = "CsPushDevice";

/// Whose identities a parameter takes.
fn source(cmdlet: Name, parameter: &Parameter) -> Option<&'static str> {
    match parameter.name {
        // What is to be made has a name that nothing has yet.
        "Identity" if cmdlet.verb == Verb::New => None,
        _ if matches!(parameter.kind, Kind::User | Kind::SipAddress) => Some(USERS),
        "Identity" => Some(cmdlet.noun),
        "Domain" if cmdlet.noun == "CsFederatedPartner" => Some("CsAllowedDomain"),
        "PolicyName" => Some("CsMobilityPolicy"),
        "Template" | "Roles" => Some("CsAdminRole"),
        _ => None,
    }
}

fn files(place: &Place, known: &dyn Known) -> Vec<Candidate> {
    let (folder, begun) = match place.word.rfind('/') {
        Some(at) => place.word.split_at(at + 1),
        None => ("", place.word.as_str()),
    };
    let names = known.files(Path::new(if folder.is_empty() { "." } else { folder }));
    let fit =
        names.into_iter().filter(|name| name.starts_with(begun) && (!name.starts_with('.') || begun.starts_with('.')));
    let mut all: Vec<_> = fit
        .map(|name| Candidate {
            ends: !name.ends_with('/'),
            ..Candidate::new(in_quotes(&format!("{folder}{name}"), place.quote), "")
        })
        .collect();
    all.sort_by(|one, other| one.value.cmp(&other.value));
    all
}

/// The value as it must be written: with the marks that it was begun with, or those that it needs.
fn in_quotes(value: &str, begun: Option<char>) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || ":._@/\\-*+$".contains(letter);
    match begun {
        None if !value.is_empty() && value.chars().all(plain) => value.to_owned(),
        Some('"') if !value.contains(['$', '`', '"']) => format!("\"{value}\""),
        None if !value.contains(['$', '`', '"']) => format!("\"{value}\""),
        _ => format!("'{}'", value.replace('\'', "''")),
    }
}

fn begins(name: &str, start: &str) -> bool {
    name.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
}

fn contains(name: &str, part: &str) -> bool {
    name.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::super::place::place;
    use super::*;
    use reveille_admin::cmdlets;

    /// The catalogue's hosting providers, and two records.
    struct Little(Vec<&'static About>);

    impl Known for Little {
        fn cmdlets(&self) -> &[&'static About] {
            &self.0
        }
        fn variables(&self) -> Vec<String> {
            vec!["provider".into(), "_".into()]
        }
        fn identities(&self, noun: &'static str) -> Vec<String> {
            match noun {
                "CsHostingProvider" => vec!["LyncOnline".into(), "Our own $5 edge".into()],
                _ => Vec::new(),
            }
        }
        fn files(&self, folder: &Path) -> Vec<String> {
            match folder.to_str() {
                Some(".") => vec!["out.txt".into(), "old/".into(), ".hidden".into(), "two words".into()],
                Some("old/") => vec!["a.txt".into()],
                _ => Vec::new(),
            }
        }
    }

    fn at(line: &str) -> Vec<String> {
        let nouns = ["CsHostingProvider"];
        let cmdlets = cmdlets::CMDLETS.iter().map(|it| it.about()).filter(|it| nouns.contains(&it.name.noun)).collect();
        place(line)
            .map(|place| suggest(&place, &Little(cmdlets)).into_iter().map(|it| it.value).collect())
            .unwrap_or_default()
    }

    #[test]
    fn what_could_stand_at_the_cursor() {
        for (line, expected) in [
            ("get-h", &["Get-Help", "Get-CsHostingProvider"][..1]),
            (
                "hosting",
                &[
                    "Disable-CsHostingProvider",
                    "Enable-CsHostingProvider",
                    "Get-CsHostingProvider",
                    "New-CsHostingProvider",
                    "Remove-CsHostingProvider",
                    "Set-CsHostingProvider",
                ],
            ),
            ("whe", &["Where-Object", "where"]),
            (
                "Get-CsHostingProvider -",
                &[
                    "-Identity",
                    "-Filter",
                    "-LocalStore",
                    "-ErrorAction",
                    "-ErrorVariable",
                    "-OutVariable",
                    "-Verbose",
                    "-WarningAction",
                    "-WarningVariable",
                ],
            ),
            ("Get-CsHostingProvider -Identity Lync -l", &["-LocalStore"]),
            ("New-CsHostingProvider -", &["-Identity"]),
            ("New-CsHostingProvider -Verif", &["-VerificationLevel"]),
            ("New-CsHostingProvider -Verif use", &["UseSourceVerification"]),
            ("New-CsHostingProvider -verif:always", &["-verif:AlwaysVerifiable", "-verif:AlwaysUnverifiable"]),
            ("New-CsHostingProvider -Enabled $", &["$provider", "$_", "$true", "$false", "$null", "$Error"]),
            ("New-CsHostingProvider -Enabled ", &["$True", "$False"]),
            ("New-CsHostingProvider -Identity ", &[]),
            ("Enable-CsHostingProvider ly", &["LyncOnline"]),
            ("Enable-CsHostingProvider -Identity our", &["'Our own $5 edge'"]),
            ("Enable-CsHostingProvider -Identity \"Ly", &["\"LyncOnline\""]),
            ("Enable-CsHostingProvider LyncOnline ", &[]),
            ("Set-CsHostingProvider -Instance ", &["$provider", "$_"]),
            ("Get-CsHostingProvider | Where-Object En", &["Enabled", "EnabledSharedAddressSpace"]),
            ("Get-CsHostingProvider | where {$_.Ena", &["$_.Enabled", "$_.EnabledSharedAddressSpace"]),
            ("Get-CsHostingProvider | where {$_.Enabled -e", &["-eq"]),
            ("(Get-CsHostingProvider).Prox", &[".ProxyFqdn"]),
            ("man New-CsH", &["New-CsHostingProvider"]),
            ("Get-Help -F", &["-Full"]),
            ("Get-CsHostingProvider | Out-File o", &["old/", "out.txt"]),
            ("Get-CsHostingProvider | Out-File old/", &["old/a.txt"]),
            ("Get-CsHostingProvider | Out-File t", &["\"two words\""]),
            ("# Get-", &[]),
            ("Unknown-Command -", &[]),
        ] {
            let found = at(line);
            let expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
            if line.ends_with("New-CsHostingProvider -") {
                assert_eq!(found[..3], ["-Identity", "-Enabled", "-ProxyFqdn"], "the mandatory ones come first");
            } else {
                assert_eq!(found, expected, "{line}");
            }
        }
    }

    #[test]
    fn parameters_say_what_they_are_for() {
        let cmdlets = vec![cmdlets::find("New-CsHostingProvider").unwrap().about()];
        let all = suggest(&place("New-CsHostingProvider -Prox").unwrap(), &Little(cmdlets));
        assert!(all[0].description.ends_with("(mandatory)") && all[0].description.contains("Its edge"), "{all:?}");
    }
}
