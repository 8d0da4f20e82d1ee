//! Scripts made at random, out of what administrators write.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::{corpus, oracle};

/// A word without quotation marks.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-zA-Z][a-zA-Z0-9]{0,8}",
        "[a-z]{1,6}\\.[a-z]{1,6}\\.com",
        "sip:[a-z]{1,6}@[a-z]{1,6}\\.com",
        "site:[A-Z][a-z]{1,6}",
        "[0-9]{2}:[0-9]{2}:[0-9]{2}",
        Just("*.contoso.com".to_owned()),
        Just("C:\\logs\\push.txt".to_owned()),
    ]
}

fn variable() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\$[a-z_][a-z0-9]{0,5}",
        Just("$_".to_owned()),
        Just("$env:HOME".to_owned()),
        Just("${a b}".to_owned()),
        Just("$true".to_owned()),
        Just("$null".to_owned()),
        Just("$?".to_owned()),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof!["[1-9][0-9]{0,4}", "[1-9]\\.[0-9]{1,3}", Just("10kb".to_owned()), Just("0x1F".to_owned())]
}

fn operator() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "-eq",
        "-ne",
        "-gt",
        "-ge",
        "-lt",
        "-le",
        "-like",
        "-notlike",
        "-match",
        "-notmatch",
        "-contains",
        "-notcontains",
        "-in",
        "-notin",
        "-ceq",
        "-clike",
        "-imatch",
        "-and",
        "-or",
        "-xor",
        "-join",
        "-split",
        "-replace",
        "-creplace",
        "-f",
        "+",
        "-",
        "*",
        "/",
        "%",
        "..",
    ])
}

/// Something in an expression: operands with operators, brackets, properties, calls.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        variable(),
        number(),
        "'[a-z \"$]{0,8}'",
        "\"[a-z ]{0,5}\"",
        Just("\"a $x $($y.z) `n $env:HOME\"".to_owned()),
        Just("@()".to_owned()),
        Just("@{}".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let steps = prop_oneof![
            "\\.[A-Z][a-z]{1,5}",
            "\\[[0-9]\\]",
            Just("['key']".to_owned()),
            Just(".ToLower()".to_owned()),
            Just(".Replace('a', 'b')".to_owned()),
        ];
        prop_oneof![
            (inner.clone(), operator(), inner.clone())
                .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
            inner.clone().prop_map(|inner| format!("({inner})")),
            (inner.clone(), steps).prop_map(|(inner, step)| format!("({inner}){step}")),
            inner.clone().prop_map(|inner| format!("-not {inner}")),
            inner.clone().prop_map(|inner| format!("!({inner})")),
            inner.clone().prop_map(|inner| format!("[string]({inner})")),
            inner.clone().prop_map(|inner| format!("(({inner}) -is [int])")),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|items| format!("@({})", items.join(", "))),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("@{{ Add = {one}; Remove = {other} }}")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("@{{\n  a={one}\n  'b c'={other}\n}}")),
            inner.clone().prop_map(|inner| format!("\"in $({inner}) text\"")),
            (command_name(), inner).prop_map(|(name, inner)| format!("({name} -Filter ({inner})).Name")),
        ]
    })
}

fn command_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "Get-CsAllowedDomain",
        "Set-CsMcxConfiguration",
        "Test-CsFederatedPartner",
        "select",
        "?",
        "%",
        "fl",
        "Where-Object",
        "Format-Table",
    ])
}

fn argument() -> impl Strategy<Value = String> {
    prop_oneof![
        word(),
        "-[A-Z][a-z]{0,8}",
        ("-[A-Z][a-z]{0,8}:", expression()).prop_map(|(name, value)| format!("{name}({value})")),
        variable(),
        number(),
        "'[a-z ]{0,8}'",
        expression().prop_map(|inner| format!("({inner})")),
        expression().prop_map(|inner| format!("{{ {inner} }}")),
        expression().prop_map(|inner| format!("@{{ Add = {inner} }}")),
        prop::collection::vec(word(), 2..4).prop_map(|words| words.join(",")),
    ]
}

fn command() -> impl Strategy<Value = String> {
    let arguments = prop::collection::vec((argument(), prop::sample::select(vec![" ", "  ", " `\n  "])), 0..5);
    (command_name(), arguments).prop_map(|(name, arguments)| {
        arguments.into_iter().fold(name.to_owned(), |line, (argument, blank)| line + blank + &argument)
    })
}

fn statement() -> impl Strategy<Value = String> {
    let pipeline = (prop_oneof![command(), expression()], prop::collection::vec(command(), 0..3));
    let pipeline = pipeline
        .prop_map(|(first, rest)| {
            rest.into_iter().fold(first, |line, next| line + if next.len() % 2 == 0 { " | " } else { " |\n  " } + &next)
        })
        .boxed();
    let simple = prop_oneof![
        4 => pipeline.clone(),
        2 => ("\\$x[a-z0-9]{0,4}", pipeline.clone()).prop_map(|(name, value)| format!("{name} = {value}")),
        1 => pipeline.prop_map(|value| format!("$x += {value}")),
        1 => Just("# a comment".to_owned()),
        1 => Just("<# a\n comment #> 'x'".to_owned()),
        1 => Just("exit 1".to_owned()),
        1 => Just("@\"\ntext $x\n\"@".to_owned()),
    ];
    simple.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (expression(), inner.clone()).prop_map(|(condition, body)| format!("if ({condition}) {{ {body}\n}}")),
            (expression(), inner.clone(), inner.clone()).prop_map(|(condition, body, other)| {
                format!("if ({condition}) {{\n{body}\n}} elseif ($x) {{ {other}\n}} else {{\n{other}\n}}")
            }),
            (expression(), inner).prop_map(|(over, body)| format!("foreach ($d in {over}) {{\n{body}\n}}")),
        ]
    })
}

/// Scripts of several statements, as lines or behind semicolons. A comment ends its line.
fn script() -> impl Strategy<Value = String> {
    prop::collection::vec(statement(), 1..5).prop_map(|lines| lines.join("\n"))
}

/// The same cases each time, so that a run says something about a change; with REVEILLE_CASES as many others.
fn how() -> ProptestConfig {
    let more = std::env::var("REVEILLE_CASES").ok().and_then(|cases| cases.parse().ok());
    let rng_seed = if more.is_some() { RngSeed::Random } else { RngSeed::Fixed(599) };
    ProptestConfig { cases: more.unwrap_or(1500), rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(how())]

    #[test]
    fn what_is_written_by_the_rules_is_accepted_by_both(script in script()) {
        let parsed = reveille_shell::parse(&script);
        prop_assert!(parsed.is_ok(), "{:?}\n{script}", parsed);
        prop_assert_eq!(oracle::check(&script), Ok(()));
    }

    #[test]
    fn what_is_left_of_a_script_that_was_cut_or_changed_is_refused_or_accepted_by_both(
        script in prop_oneof![command(), expression(), statement()],
        at in any::<prop::sample::Index>(),
        put in "[ -~]{0,2}",
        cut in 0usize..4,
    ) {
        let chars: Vec<char> = script.chars().collect();
        let at = at.index(chars.len() + 1);
        let changed: String =
            chars[..at].iter().copied().chain(put.chars()).chain(chars[(at + cut).min(chars.len())..].iter().copied()).collect();
        prop_assert_eq!(oracle::check(&changed), Ok(()));
    }

    #[test]
    fn a_script_of_the_corpus_in_which_some_letters_are_others_is_refused_or_accepted_by_both(
        script in prop::sample::select(corpus::scripts()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[ -~\\n]{0,3}", 0usize..6), 1..5),
    ) {
        let mut chars: Vec<char> = script.chars().collect();
        for (at, put, cut) in changes {
            let at = at.index(chars.len() + 1);
            chars.splice(at..(at + cut).min(chars.len()), put.chars());
        }
        prop_assert_eq!(oracle::check(&chars.into_iter().collect::<String>()), Ok(()));
    }

    #[test]
    fn no_text_makes_the_parser_stumble(text in "[ -~\\n“”–é\\u{a0}]{0,40}") {
        match reveille_shell::parse(&text) {
            Ok(_) => prop_assert_eq!(oracle::check(&text), Ok(())),
            Err(fault) => {
                prop_assert!(fault.span.start <= fault.span.end && fault.span.end <= text.len(), "{fault:?}");
                prop_assert!(fault.render(&text).contains("At line:"));
            }
        }
    }
}
