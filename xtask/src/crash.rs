//! `cargo xtask crash`: the crash campaign (`bin/tests/campaign`), long, on the release build.

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// Runs the campaign for `--seconds N`, with the faults that `--seed S` draws; `--strict` judges every promise.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let wanted = Wanted::read(arguments)?;
    let root = crate::root();
    shell::run(&root, "cargo", &["build", "--release", "--package", "reveille"], &[])?;
    let binary = root.join("target/release/reveille");
    let (binary, seconds) = (binary.to_string_lossy(), wanted.seconds.to_string());
    let strict = if wanted.strict { "1" } else { "0" };
    let mut env = vec![
        ("REVEILLE_BIN", &*binary),
        ("REVEILLE_CRASH_SECONDS", &*seconds),
        ("REVEILLE_CRASH_STRICT", strict),
        ("RUST_BACKTRACE", "0"),
    ];
    let seed = wanted.seed.map(|seed| seed.to_string());
    env.extend(seed.as_deref().map(|seed| ("REVEILLE_CRASH_SEED", seed)));
    let test =
        ["test", "--quiet", "--package", "reveille", "--test", "campaign", "--", "--nocapture", "nothing_accepted"];
    shell::run(&root, "cargo", &test, &env)
}

#[derive(Debug, Eq, PartialEq)]
struct Wanted {
    seconds: u64,
    /// None: one that the campaign draws and prints.
    seed: Option<u64>,
    strict: bool,
}

impl Wanted {
    fn read(arguments: &[String]) -> Result<Self> {
        let mut wanted = Self { seconds: 60, seed: None, strict: false };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64> {
                let text = words.next().with_context(|| format!("{word} needs a number"))?;
                text.parse().with_context(|| format!("{word} {text}: this is no number"))
            };
            match word.as_str() {
                "--seconds" => wanted.seconds = number()?,
                "--seed" => wanted.seed = Some(number()?),
                "--strict" => wanted.strict = true,
                other => bail!("{other} is not known: cargo xtask crash [--seconds N] [--seed S] [--strict]"),
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_seed_are_read_and_anything_else_is_refused() {
        let read = |words: &[&str]| Wanted::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let wanted = read(&["--seed", "7", "--seconds", "600"]).unwrap();
        assert_eq!(wanted, Wanted { seconds: 600, seed: Some(7), strict: false });
        assert_eq!(read(&[]).unwrap().seed, None);
        for wrong in [&["--seconds"][..], &["--seconds", "many"], &["600"]] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }
}
