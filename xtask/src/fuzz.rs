//! `cargo xtask fuzz TARGET`: a long run of one fuzz target. The same promises are kept for some seconds in every test
//! run by `crates/sip/tests/fuzz`, `crates/http2/tests/fuzz` and `crates/shell/tests/language`, without a fuzzer.

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell::{self, has};

/// What can be fuzzed.
const TARGETS: [&str; 6] = ["differential", "headers", "http2", "message", "shell", "stream"];
/// How long it runs if nobody says.
const MINUTES: u64 = 30;

/// Runs `TARGET [--minutes N]`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (target, minutes) = match arguments {
        [target] => (target, MINUTES),
        [target, option, minutes] if option == "--minutes" => {
            (target, minutes.parse().with_context(|| format!("{minutes} is not a number of minutes"))?)
        }
        _ => bail!("cargo xtask fuzz TARGET [--minutes N], where TARGET is one of {}", TARGETS.join(", ")),
    };
    ensure!(TARGETS.contains(&target.as_str()), "{target} is none of the targets {}", TARGETS.join(", "));
    ensure!(has("cargo-fuzz"), "cargo-fuzz is not installed: cargo install cargo-fuzz");
    let root = crate::root();
    // The first folder takes what is found to be new; the others are only read.
    let corpus = format!("fuzz/corpus/{target}");
    std::fs::create_dir_all(root.join(&corpus)).with_context(|| format!("{corpus} cannot be made"))?;
    let seeds = format!("fuzz/seeds/{target}");
    std::fs::create_dir_all(root.join(&seeds)).with_context(|| format!("{seeds} cannot be made"))?;
    let time = format!("-max_total_time={}", minutes * 60);
    let fixtures: &[&str] = match target.as_str() {
        "http2" => &[],
        "shell" => &["crates/shell/tests/corpus", "docs/reference"],
        _ => &["crates/sip/tests/wire", "crates/sip/tests/torture"],
    };
    // All that is fuzzed is safe Rust: promises are what can break, not memory, so no sanitizer slows it down. libFuzzer
    // needs flags that stable compilers only take when told so.
    let line = ["fuzz", "run", "--sanitizer=none", target, &corpus, &seeds];
    let limits = [&*time, "-rss_limit_mb=2048", "-max_len=6000", "-timeout=20", "-print_final_stats=1"];
    shell::run(&root, "cargo", &[&line[..], fixtures, &["--"], &limits[..]].concat(), &[("RUSTC_BOOTSTRAP", "1")])
}
