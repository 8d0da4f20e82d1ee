//! Licences, bans and sources of every dependency, over `cargo metadata`, by the lists of `deny.toml`.
//!
//! The file has cargo-deny's own form and works with it; building that tool costs more than our whole test run.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Rules {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// Checks every package that a build of the workspace on this platform uses.
pub(crate) fn run() -> Result<()> {
    let root = crate::root();
    let text = std::fs::read_to_string(root.join("deny.toml")).context("deny.toml cannot be read")?;
    let rules: Rules = toml::from_str(&text).context("deny.toml")?;
    // What is in the tree is what is built: `cargo metadata` and the lock file also name optional dependencies that
    // nobody switched on.
    let tree = cargo(&root, &["tree", "--workspace", "--locked", "--edges=all", "--prefix=none", "--format={p}"])?;
    let metadata = cargo(&root, &["metadata", "--format-version=1", "--locked"])?;
    let metadata: Value = serde_json::from_str(&metadata).context("the answer of cargo metadata")?;
    let faults = faults(&rules, &used(&tree), &metadata)?;
    match faults.len() {
        0 => {
            crate::shell::say("── deny: licences, bans and sources are as deny.toml says");
            Ok(())
        }
        count => bail!("{count} dependencies are against deny.toml:\n{}", faults.join("\n")),
    }
}

/// What a cargo command prints.
fn cargo(root: &Path, args: &[&str]) -> Result<String> {
    let output = Command::new("cargo").args(args).current_dir(root).output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("cargo {} failed: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("what cargo printed")
}

/// The packages of a tree, as `name version`.
fn used(tree: &str) -> BTreeSet<String> {
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        let (name, version) = (words.next()?, words.next()?);
        Some(format!("{name} {}", version.strip_prefix('v')?))
    };
    tree.lines().filter_map(package).collect()
}

/// One sentence for each package that breaks a rule.
fn faults(rules: &Rules, used: &BTreeSet<String>, metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let mut faults = Vec::new();
    for package in packages {
        let (name, version) = (text(package, "name"), text(package, "version"));
        if !used.contains(&format!("{name} {version}")) {
            continue;
        }
        if let Some(banned) = rules.bans.deny.iter().find(|banned| banned.name == name) {
            faults.push(format!("{name} {version} is banned: {}", banned.reason));
        }
        // Our own packages have no source.
        let source = text(package, "source");
        let known = |registry: &String| source.strip_prefix("registry+").is_some_and(|at| at == registry);
        if !source.is_empty() && !rules.sources.allow_registry.iter().any(known) {
            faults.push(format!("{name} {version} comes from {source}, which is not an allowed registry"));
        }
        let licence = text(package, "license");
        if !satisfied(licence, &rules.licenses.allow) {
            faults.push(format!("{name} {version} has the licence \"{licence}\", and none of its choices is allowed"));
        }
    }
    Ok(faults)
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

/// Whether an SPDX expression can be satisfied with the allowed licences. `/` is the old way to write `OR`.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    let met = either(&words, &mut at, allowed);
    met && at == words.len()
}

fn either(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = both(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(words, at, allowed);
    }
    met
}

fn both(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let mut met = single(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        met &= single(words, at, allowed);
    }
    met
}

fn single(words: &[&str], at: &mut usize, allowed: &[String]) -> bool {
    let word = words.get(*at).copied().unwrap_or_default();
    *at += 1;
    if word == "(" {
        let met = either(words, at, allowed);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return met && closed;
    }
    let mut name = word.to_owned();
    if words.get(*at) == Some(&"WITH") {
        name = format!("{word} WITH {}", words.get(*at + 1).copied().unwrap_or_default());
        *at += 2;
    }
    allowed.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_needs_one_allowed_choice_of_each_alternative() {
        let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
        for (expression, met) in [
            ("MIT", true),
            ("MIT/GPL-3.0", true),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0", false),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Apache-2.0", true),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("MIT WITH LLVM-exception", false),
            ("", false),
            ("MIT GPL-3.0", false),
        ] {
            assert_eq!(satisfied(expression, &allowed), met, "{expression}");
        }
    }

    #[test]
    fn a_banned_package_and_a_foreign_source_are_named() {
        let rules: Rules = toml::from_str(
            "[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [{ crate = \"ring\", reason = \"aws-lc-rs\" }]\n\
             [sources]\nallow-registry = [\"https://good\"]\n",
        )
        .unwrap();
        let metadata = serde_json::json!({
            "packages": [
                { "name": "ring", "version": "1.0.0", "license": "MIT", "source": "registry+https://good" },
                { "name": "own", "version": "1.0.0", "license": "MIT", "source": "git+https://elsewhere" },
                { "name": "ring", "version": "2.0.0", "license": "GPL-3.0", "source": "registry+https://good" }
            ]
        });
        let used = used("own v1.0.0 (/here)\nring v1.0.0\nring v1.0.0 (*)\n\n");
        let faults = faults(&rules, &used, &metadata).unwrap();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("ring 1.0.0 is banned") && faults[1].contains("git+https://elsewhere"));
    }

    #[test]
    fn our_dependencies_are_as_deny_toml_says() {
        run().unwrap();
    }
}
