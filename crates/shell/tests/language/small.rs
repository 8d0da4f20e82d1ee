//! Every text of a few tokens: what is wrong with a grammar shows in something small.

use crate::oracle;

/// What can stand in a script, each in its shortest form.
const TOKENS: &[&str] = &[
    " ",
    "\n",
    ";",
    "|",
    ",",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "@{",
    "@(",
    "$(",
    "$x",
    "$_",
    "$?",
    "$true",
    "${a b}",
    "$env:A",
    "$a:",
    "x",
    "if",
    "else",
    "foreach",
    "in",
    "break",
    "exit",
    "exit-",
    "Get-X",
    "?",
    "%",
    "*",
    "+",
    "-",
    "--",
    "/",
    "\\",
    "..",
    ".",
    ".Name",
    ".Trim(",
    "::",
    ":",
    "=",
    "+=",
    "!",
    "!=",
    "-eq",
    "-not",
    "-join",
    "-f",
    "-is",
    "-and",
    "-a",
    "-a:",
    "-split",
    "data-X",
    "enumX",
    "process-X",
    "do-X",
    "in-X",
    "++",
    "$x++",
    "elseif",
    "1e3",
    "-1",
    "`u{41}",
    "\u{e4}",
    "\u{2013}",
    "\u{201c}",
    "\u{201d}",
    "\t",
    "\r\n",
    "1E3",
    "1Kb",
    "-inotin",
    "@\"\n",
    "\n\"@",
    "\"$(",
    "\n\n",
    "[int]",
    "[int[]]",
    "[0]",
    "1",
    "1.5",
    ".5",
    "0x1",
    "1kb",
    "'a'",
    "\"a\"",
    "\"$x\"",
    "\"",
    "'",
    "`",
    "`\n",
    "#",
    "<#",
    "#>",
    "@",
    "$",
    "&",
    "<",
    ">",
    "~",
    "^",
    "@'\n",
    "\n'@",
    "_",
    "=a",
    "a=",
];

/// Where a text may stand.
const PLACES: &[(&str, &str)] = &[
    ("", ""),
    ("(", ")"),
    ("Get-X ", ""),
    ("Get-X -a ", " b"),
    ("@{ a = ", "; b = 1 }"),
    ("@{", "}"),
    ("$x = ", ""),
    ("$x.Trim(", ")"),
    ("$x[", "]"),
    ("% { ", " }"),
    ("if ($x) { ", " }"),
    ("if (", ") { 1 }"),
    ("\"a", "b\""),
    ("1, ", ""),
    ("$x -eq ", ""),
    ("@\"\n", "\n\"@"),
];

/// The texts of so many tokens, beginning with one of these, that only ours accepts.
fn finds(length: usize, first: &[&str]) -> Vec<String> {
    let choices = |place: usize| if place == 0 { first } else { TOKENS };
    let mut found = Vec::new();
    let mut text = String::new();
    let mut chosen = vec![0; length];
    loop {
        for (before, after) in PLACES {
            text.clear();
            text.push_str(before);
            text.extend(chosen.iter().enumerate().map(|(place, index)| choices(place)[*index]));
            text.push_str(after);
            if oracle::check(&text).is_err() {
                found.push(text.clone());
            }
        }
        // The next choice, counting from behind.
        let Some(place) = (0..length).rev().find(|place| chosen[*place] + 1 < choices(*place).len()) else {
            return found;
        };
        chosen[place] += 1;
        chosen[place + 1..].fill(0);
    }
}

#[test]
fn every_text_of_a_few_tokens_is_refused_or_accepted_by_both() {
    // Three take half a minute when built for release; four, a night.
    let most = std::env::var("REVEILLE_TOKENS").ok().and_then(|most| most.parse().ok()).unwrap_or(2);
    for length in 0..=most {
        let found: Vec<String> = std::thread::scope(|scope| {
            let halves = TOKENS.chunks(TOKENS.len().div_ceil(2));
            let halves: Vec<_> = halves.map(|first| scope.spawn(move || finds(length, first))).collect();
            halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
        });
        assert!(found.is_empty(), "only ours accepts {found:#?}");
    }
}

#[test]
fn each_known_difference_is_one_and_is_needed() {
    for known in oracle::DIFFERENCES {
        let block = reveille_shell::parse(known.example).unwrap();
        assert!(!oracle::accepts(known.example), "{:?} is accepted there, too", known.example);
        assert_eq!(oracle::differences(known.example, &block), [known.name], "{:?}", known.example);
    }
}

#[test]
fn of_what_ours_accepts_most_is_put_to_the_other_parser() {
    let (mut accepted, mut compared) = (0, 0);
    for (before, after) in PLACES {
        for (one, other) in TOKENS.iter().flat_map(|one| TOKENS.iter().map(move |other| (one, other))) {
            let text = format!("{before}{one}{other}{after}");
            if let Ok(block) = reveille_shell::parse(&text) {
                accepted += 1;
                compared += usize::from(oracle::differences(&text, &block).is_empty());
            }
        }
    }
    assert!(compared * 3 > accepted * 2, "{compared} of {accepted}");
}
