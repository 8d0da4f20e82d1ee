//! The fuzzers' promises, kept in every test run without a fuzzer: the corpus of `fuzz/seeds`, all fixtures, and random
//! mutations and mixtures of them. `cargo xtask fuzz` looks for longer, and what it finds is put into `fuzz/seeds`.

mod bodies;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// What a fuzzer has found once, each in the folder of its target.
const FOUND: &str = "../../fuzz/seeds";

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .map(|entries| entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file()).collect())
        .unwrap_or_default();
    files.sort();
    files
}

/// Every fixture, and what was found for this target.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let fixtures = ["wire", "wire/bad", "torture/rfc4475", "torture/rfc5118"].map(|name| root.join("tests").join(name));
    let found = [root.join(FOUND).join(target)];
    let paths = fixtures.iter().chain(&found).flat_map(|folder| files(folder));
    let all: Vec<Vec<u8>> = paths
        .filter(|path| path.extension().is_none_or(|extension| extension != "expect"))
        .map(|path| fs::read(path).expect("a file of the corpus"))
        .collect();
    assert!(all.len() > 100, "only {} files", all.len());
    all
}

/// Runs one target over its corpus and over `cases` mutations of it.
fn drive(target: &str, cases: u32, body: fn(&[u8])) {
    let corpus = corpus(target);
    for bytes in &corpus {
        body(bytes);
    }
    // Header bombs tell nothing more when they are mutated, and take long.
    let small: Vec<Vec<u8>> = corpus.into_iter().filter(|bytes| bytes.len() < 4096).collect();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    TestRunner::new(config)
        .run(&mutated(small), |bytes| {
            body(&bytes);
            Ok(())
        })
        .expect("the promise holds");
}

/// A file of the corpus with bytes changed, taken out, put in, or with a piece of another file in it.
fn mutated(corpus: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let one = prop::sample::select(corpus.clone());
    let byte = prop_oneof![3 => prop::sample::select(b"\r\n\0 \t:;,<>\"\\@=%/[]0-".as_slice()), 1 => any::<u8>()];
    let change = prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<Index>(), byte).prop_map(|(at, byte)| Change::Insert(at, byte)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, count)| Change::Cut(at, count)),
        (any::<Index>(), prop::sample::select(corpus), any::<Index>(), 1..200_usize)
            .prop_map(|(at, other, from, count)| Change::Graft(at, other, from, count)),
    ];
    (one, prop::collection::vec(change, 1..6)).prop_map(|(mut bytes, changes)| {
        changes.into_iter().for_each(|change| change.make(&mut bytes));
        bytes
    })
}

#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, u8),
    Cut(Index, usize),
    Graft(Index, Vec<u8>, Index, usize),
}

impl Change {
    fn make(self, bytes: &mut Vec<u8>) {
        match self {
            Self::Set(at, byte) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            Self::Set(..) => {}
            Self::Insert(at, byte) => bytes.insert(at.index(bytes.len() + 1), byte),
            Self::Cut(at, count) => {
                let at = at.index(bytes.len() + 1);
                drop(bytes.drain(at..(at + count).min(bytes.len())));
            }
            Self::Graft(at, other, from, count) => {
                let (at, from) = (at.index(bytes.len() + 1), from.index(other.len() + 1));
                let piece = &other[from..(from + count).min(other.len())];
                drop(bytes.splice(at..at, piece.iter().copied()));
            }
        }
    }
}

#[test]
fn whatever_a_datagram_holds_it_is_read_answered_and_passed_on_safely() {
    drive("message", 3000, bodies::message);
}

#[test]
fn wherever_a_stream_is_cut_it_says_the_same() {
    drive("stream", 400, bodies::stream);
}

#[test]
fn whatever_a_header_holds_it_reads_back_as_it_was_read() {
    drive("headers", 3000, bodies::headers);
    let lines = |bytes: &Vec<u8>| -> Vec<Vec<u8>> {
        let values = bytes.split(|byte| *byte == b'\n').filter_map(|line| line.splitn(2, |byte| *byte == b':').nth(1));
        values.map(|value| value.trim_ascii().to_vec()).collect()
    };
    for value in corpus("headers").iter().flat_map(lines) {
        bodies::headers(&value);
    }
}

#[test]
fn where_two_parsers_differ_the_reason_is_known() {
    drive("differential", 3000, bodies::differential);
    let mut count: HashMap<bodies::Standing, usize> = HashMap::new();
    for bytes in corpus("differential") {
        *count.entry(bodies::standing(&bytes)).or_default() += 1;
    }
    // The comparison must have something to compare.
    assert!(count[&bodies::Standing::Agree] > 45, "{count:?}");
    assert!(count[&bodies::Standing::BothRefuse] > 10, "{count:?}");
}
