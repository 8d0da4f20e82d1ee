//! The map is true, files are in form, nothing is left undone. Runs with the tests.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Words that mean somebody meant to come back.
const UNDONE: [&str; 4] =
    [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("FIX", "ME"), concat!("XX", "X:")];

/// All checks; one sentence for each fault.
pub(crate) fn run() -> Result<()> {
    let root = crate::root();
    let mut faults = map_faults(&root)?;
    let mut files = Vec::new();
    for folder in ["bin", "crates", "tests", "xtask"] {
        sources(&root.join(folder), &mut files)?;
    }
    for file in &files {
        let name = file.strip_prefix(&root).unwrap_or(file).display();
        let text = std::fs::read_to_string(file).with_context(|| name.to_string())?;
        if !text.starts_with("//!") {
            faults.push(format!("{name} does not begin with //! and what lives there"));
        }
        for word in UNDONE {
            if text.contains(word) {
                faults.push(format!("{name} holds {word}"));
            }
        }
    }
    match faults.len() {
        0 => Ok(()),
        count => bail!("{count} untidy places:\n{}", faults.join("\n")),
    }
}

/// Every crate is named in ARCHITECTURE.md, and every path that it or CONTRIBUTING.md names exists.
fn map_faults(root: &Path) -> Result<Vec<String>> {
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(root.join("crates"))? {
        let name = entry?.file_name();
        let name = format!("crates/{}", name.to_string_lossy());
        if !map.contains(&format!("`{name}`")) {
            faults.push(format!("ARCHITECTURE.md does not name `{name}`"));
        }
    }
    let contributing = std::fs::read_to_string(root.join("CONTRIBUTING.md")).context("CONTRIBUTING.md")?;
    for (file, text) in [("ARCHITECTURE.md", &map), ("CONTRIBUTING.md", &contributing)] {
        let missing = paths(text).filter(|path| !root.join(path).exists());
        faults.extend(missing.map(|path| format!("{file} names {path}, which does not exist")));
    }
    Ok(faults)
}

/// What stands between back-ticks and looks like a path of this repository.
fn paths(map: &str) -> impl Iterator<Item = &str> {
    const TOPS: [&str; 8] = ["bin/", "crates/", "tests/", "xtask/", "examples/", "docs/", ".ci/", "bench/"];
    map.split('`').skip(1).step_by(2).filter(|quoted| TOPS.iter().any(|top| quoted.starts_with(top)))
}

/// All Rust files below a folder.
fn sources(folder: &Path, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_the_map() {
        let map = "see `crates/core/src/names.rs`, `cargo test`, and `bin/src/main.rs`";
        assert_eq!(paths(map).collect::<Vec<_>>(), ["crates/core/src/names.rs", "bin/src/main.rs"]);
    }

    #[test]
    fn the_workspace_is_tidy() {
        run().unwrap();
    }
}
