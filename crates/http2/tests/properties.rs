//! Whatever a peer sends: no panic, bounded memory, and the same events however the bytes are cut.

use proptest::prelude::*;
use reveille_http2::frame::{self, flag, kind};
use reveille_http2::hpack::{put_field, put_status};
use reveille_http2::{Client, Keep, OUT_BYTES_HIGH, Options, Request, name};

const UNDER_WAY: usize = 20;

/// A connection with requests under way on streams 1 to 39.
fn client() -> Client<usize> {
    let mut client = Client::new(Options { wanted: &["date"], body_bytes_max: 1000, window: 1 << 20 });
    let mut settings = Vec::new();
    frame::put_settings(&mut settings, &[]);
    client.receive(&settings);
    let mut request = Request::new();
    request.field(name::METHOD, b"POST", Keep::Table);
    request.field(name::PATH, b"/x", Keep::Secret);
    request.body.extend_from_slice(&[b'x'; 4000]);
    (0..UNDER_WAY).for_each(|number| client.send(number, &request).unwrap());
    client.written(usize::MAX);
    client
}

/// Frames that a server could send, most of them legal.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..40),
        2 => Just(Vec::from([0x88])),
        1 => (200u16..600).prop_map(|status| {
            let mut block = Vec::new();
            put_status(&mut block, status);
            put_field(&mut block, "date", "now");
            block
        }),
        1 => prop::collection::vec(Just(b'y'), 0..16_000),
        1 => prop::collection::vec(any::<u8>(), 4..=4),
        1 => prop::collection::vec(any::<u8>(), 8..=8),
    ];
    let flags = prop_oneof![Just(0), Just(flag::END_STREAM), Just(flag::END_HEADERS), Just(5), any::<u8>()];
    let stream = prop_oneof![4 => (0u32..22).prop_map(|number| 2 * number + 1), 1 => Just(0), 1 => any::<u32>()];
    let one = (0u8..11, flags, stream, payload).prop_map(|(kind, flags, stream, payload)| {
        let stream = match kind {
            kind::SETTINGS | kind::PING | kind::GOAWAY if flags & 2 == 0 => 0,
            _ => stream,
        };
        let mut out = Vec::new();
        frame::put_head(&mut out, payload.len(), kind, flags, stream);
        out.extend_from_slice(&payload);
        out
    });
    prop::collection::vec(one, 0..30).prop_map(|frames| frames.concat())
}

/// All that can be seen of a connection after these bytes.
fn seen(client: &mut Client<usize>) -> (Vec<String>, Vec<u8>, String) {
    let ended = std::iter::from_fn(|| client.next_ended())
        .map(|ended| match ended.how {
            Ok(answer) => format!("{} {answer:?} {:?} {:?}", ended.cargo, answer.fields, answer.body),
            Err(lost) => format!("{} {lost:?}", ended.cargo),
        })
        .collect();
    (ended, client.output().to_vec(), format!("{:?} {} {}", client.farewell(), client.under_way(), client.room()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cut_anywhere_the_same_bytes_are_the_same_events(bytes in frames(), cuts in prop::collection::vec(1usize..300, 1..20)) {
        let (mut whole, mut cut) = (client(), client());
        whole.receive(&bytes);
        let (mut rest, mut lengths) = (&bytes[..], cuts.iter().cycle());
        while !rest.is_empty() {
            let (part, tail) = rest.split_at((*lengths.next().unwrap()).min(rest.len()));
            cut.receive(part);
            rest = tail;
        }
        prop_assert_eq!(seen(&mut whole), seen(&mut cut));
    }

    #[test]
    fn no_bytes_make_it_panic_lose_a_request_or_keep_much(bytes in prop_oneof![frames(), prop::collection::vec(any::<u8>(), 0..2000)]) {
        let mut client = client();
        client.receive(&bytes);
        prop_assert!(client.output().len() < 4 * OUT_BYTES_HIGH);
        let mut numbers: Vec<usize> = std::iter::from_fn(|| client.next_ended()).map(|ended| ended.cargo).collect();
        client.end("the test is over");
        numbers.extend(std::iter::from_fn(|| client.next_ended()).map(|ended| ended.cargo));
        numbers.sort_unstable();
        prop_assert_eq!(numbers, (0..UNDER_WAY).collect::<Vec<_>>());
    }
}
