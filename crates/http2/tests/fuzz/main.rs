//! The fuzzer's promises, kept in every test run without a fuzzer: what was found once (`fuzz/seeds/http2`), and scripts
//! at random. `cargo xtask fuzz http2` looks for longer.

mod client;
mod onlooker;

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The same scripts each time.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 5000, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn what_a_fuzzer_has_found_once_keeps_every_promise() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/http2");
    for entry in std::fs::read_dir(folder).expect("the folder") {
        client::client(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
    }
}

#[test]
fn whatever_owner_and_peer_do_every_request_ends_once_and_all_that_is_written_is_legal() {
    runner(1000)
        .run(&prop::collection::vec(any::<u8>(), 0..3000), |script| {
            client::client(&script);
            Ok(())
        })
        .expect("the promise holds");
}

#[test]
fn the_same_where_the_peer_mostly_keeps_to_the_rules() {
    let any = any::<u8>;
    // Owner and peer as `client` reads them: sends, writes, settings, windows, answers, and now and then a frame.
    let step = prop_oneof![
        6 => any().prop_map(|size| vec![0, size % 150]),
        3 => Just(vec![4]),
        1 => (1u8..20, any()).prop_map(|(stream, code)| if code > 220 { vec![7, 200, stream, code] } else { vec![6] }),
        1 => any().prop_map(|count| vec![3, count]),
        1 => any().prop_map(|every| vec![5, every]),
        1 => (1u8..7, any(), any()).prop_map(|(name, high, low)| vec![9, name, 0, 0, high, low]),
        2 => (0u8..20, 1u16..5000).prop_map(|(stream, more)| {
            [&[10, stream.saturating_sub(8), 0, 0][..], &more.to_be_bytes()].concat()
        }),
        6 => (1u8..49, any(), any(), any()).prop_map(|(stream, flags, length, status)| vec![11, stream, flags, length, status]),
        1 => (any(), any(), any(), prop::collection::vec(any(), 0..60)).prop_map(|(kind, flags, stream, payload)| {
            [&[15, kind, flags & 0x7f, stream, payload.len() as u8][..], &payload].concat()
        }),
    ];
    let script = prop::collection::vec(step, 1..200).prop_map(|steps| [vec![1], steps.concat()].concat());
    runner(1000)
        .run(&script, |script| {
            client::client(&script);
            Ok(())
        })
        .expect("the promise holds");
}
