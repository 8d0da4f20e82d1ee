//! `corpus/*.txt`: scripts behind `> `, then what is seen without its empty lines. `= 1` before that is an exit status.
//!
//! `UPDATE_CORPUS=1` writes down what is seen now, for somebody to read before it is committed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::oracle;
use crate::world::World;

/// One script with what is expected of it.
#[derive(Debug, Default)]
struct Entry {
    /// Comments before it, which begin with `#`.
    comments: String,
    script: String,
    expected: String,
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut entry = Entry::default();
    for line in text.lines().chain([""]) {
        match line.strip_prefix('>') {
            Some(script) => {
                if !entry.script.is_empty() {
                    entry.script.push('\n');
                }
                entry.script.push_str(script.strip_prefix(' ').unwrap_or(script));
            }
            None if line.is_empty() => {
                if !entry.script.is_empty() || !entry.comments.is_empty() {
                    entries.push(std::mem::take(&mut entry));
                }
            }
            None if entry.script.is_empty() => writeln!(entry.comments, "{line}").unwrap(),
            None => writeln!(entry.expected, "{line}").unwrap(),
        }
    }
    entries
}

/// All scripts.
pub(crate) fn scripts() -> Vec<String> {
    let texts = files().into_iter().map(|file| std::fs::read_to_string(file).unwrap());
    texts.flat_map(|text| entries(&text)).map(|entry| entry.script).filter(|script| !script.is_empty()).collect()
}

/// What is seen of a script, without empty lines.
fn seen(script: &str) -> String {
    let (seen, status) = World::default().run(script);
    let mut text = if status == 0 { String::new() } else { format!("= {status}\n") };
    for line in seen.lines().filter(|line| !line.trim().is_empty()) {
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    text
}

#[test]
fn every_script_does_what_is_written_down() {
    let update = std::env::var_os("UPDATE_CORPUS").is_some();
    let mut wrong = String::new();
    for file in files() {
        let mut text = String::new();
        for entry in entries(&std::fs::read_to_string(&file).unwrap()) {
            let seen = if entry.script.is_empty() { String::new() } else { seen(&entry.script) };
            if seen != entry.expected && !update {
                let name = file.file_name().unwrap().display();
                let Entry { script, expected, .. } = &entry;
                writeln!(wrong, "--- {name}\n{script}\n--- expected\n{expected}--- seen\n{seen}").unwrap();
            }
            text.push_str(&entry.comments);
            for line in entry.script.lines() {
                text.push_str(format!("> {line}").trim_end());
                text.push('\n');
            }
            text.push_str(&seen);
            text.push('\n');
        }
        if update {
            std::fs::write(&file, text.trim_end().to_owned() + "\n").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn what_ours_accepts_the_other_parser_accepts_too() {
    let mut wrong = String::new();
    for entry in files().iter().flat_map(|file| entries(&std::fs::read_to_string(file).unwrap())) {
        let said: Vec<&str> = entry.comments.lines().filter_map(|line| line.strip_prefix("# other parser: ")).collect();
        let found = match reveille_shell::parse(&entry.script) {
            Ok(block) if !entry.script.is_empty() && !oracle::accepts(&entry.script) => {
                oracle::differences(&entry.script, &block)
            }
            _ => Vec::new(),
        };
        if said != found {
            writeln!(wrong, "{}\n  said {said:?}\n  found {found:?}", entry.script).unwrap();
        }
        assert!(found.iter().all(|name| oracle::DIFFERENCES.iter().any(|known| known.name == *name)), "{found:?}");
        if !entry.script.is_empty() {
            assert_eq!(oracle::check(&entry.script), Ok(()));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn the_corpus_has_two_hundred_lines_and_more() {
    let lines: usize = files()
        .iter()
        .flat_map(|file| entries(&std::fs::read_to_string(file).unwrap()))
        .map(|entry| entry.script.lines().count())
        .sum();
    assert!(lines >= 200, "{lines}");
}
