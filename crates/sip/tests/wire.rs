//! Fixtures: messages as bytes in `wire/*.sip`, hostile ones in `wire/bad/*.sip`, each with its reading in an `.expect`
//! file of the same name.
//!
//! An `.expect` file holds `key: value` lines and `#` comments. `stream` and `datagram` say what becomes of the bytes:
//!
//! - `message`: taken; `ping`, `pong`: keep-alives; `waits`: more bytes are needed;
//! - `400 sentence` (or 413, 416, 505): a request to be answered so; `drop sentence`: nothing is answered;
//! - `close sentence`: the connection ends. Several frames of a stream are joined by ` | `.
//!
//! `forwarded: canonical` says that it is taken and leaves in another spelling than it came (see `HeaderField::is_odd`).
//!
//! The other keys read the (first) message: `check` (ok, or status and sentence of `Message::check`), `key` (ok if a
//! transaction key can be made), `method`, `uri`, `uri-user`, `uri-host`, `status`, `reason`, `cseq`, `max-forwards`,
//! `from-tag`, `to-tag`, `from-display`, `body` (bytes), `count NAME` (fields), `elements NAME` (list elements), and any
//! header name for the value of its first field.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use reveille_sip::{Fault, Forward, Frame, Limits, Message, Name, ParseError, Side, StreamFramer, Uri, parse_datagram};

#[test]
fn every_fixture_reads_as_the_file_beside_it_says() {
    let mut wrong = Vec::new();
    for path in fixtures() {
        let bytes = fs::read(&path).expect("a fixture can be read");
        let expected = fs::read_to_string(path.with_extension("expect")).expect("an .expect file stands beside it");
        let lines: Vec<_> = expected.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert!(lines.len() >= 2, "{} expects nothing", path.display());
        let message = first_message(&bytes);
        for line in lines {
            let (key, value) = line.split_once(':').expect("key: value");
            let found = reading(&bytes, message.as_ref(), key);
            if found.as_deref() != Some(value.trim()) {
                wrong.push(format!("{}\n  {key}: {}\n  found: {found:?}", path.display(), value.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_is_taken_leaves_again_byte_for_byte_or_in_the_form_that_all_read_alike() {
    let (mut same, mut canonical) = (0, 0);
    for path in fixtures() {
        let bytes = fs::read(&path).expect("a fixture can be read");
        let Ok(message) = parse_datagram(bytes.into(), &Limits::default()) else { continue };
        if message.header(Name::ContentLength).is_none() {
            continue;
        }
        let mut out = BytesMut::new();
        Forward::request(&message).write(&mut out).expect("nothing to refuse");
        let expected = fs::read_to_string(path.with_extension("expect")).expect("an .expect file stands beside it");
        if expected.lines().any(|line| line == "forwarded: canonical") {
            assert_ne!(&out[..], &message.as_bytes()[..], "{}", path.display());
            let again = parse_datagram(out.freeze(), &Limits::default()).expect("it is taken again");
            let fields = |message: &Message| {
                let value = |value: &str| value.trim_start_matches('0').to_owned();
                message.fields().map(|field| (field.name, value(field.value))).collect::<Vec<_>>()
            };
            assert_eq!(fields(&again), fields(&message), "{}", path.display());
            assert!(again.fields().all(|field| !field.value.is_empty()), "{}", path.display());
            canonical += 1;
        } else {
            assert_eq!(&out[..], &message.as_bytes()[..], "{}", path.display());
            same += 1;
        }
    }
    assert!(same >= 5 && canonical >= 4, "only {same} and {canonical} fixtures were forwarded");
}

fn fixtures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut paths: Vec<_> = [root.clone(), root.join("bad")]
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("the folder of fixtures"))
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sip"))
        .collect();
    paths.sort();
    assert!(paths.len() > 40, "only {} fixtures were found", paths.len());
    paths
}

fn reading(bytes: &[u8], message: Option<&Message>, key: &str) -> Option<String> {
    match key {
        "stream" => {
            let (whole, dripped) = (stream(bytes, bytes.len()), stream(bytes, 1));
            assert_eq!(whole, dripped, "arrival byte by byte changes the outcome");
            return Some(whole);
        }
        "datagram" => return Some(datagram(bytes)),
        // The business of the test below.
        "forwarded" => return Some("canonical".to_owned()),
        _ => {}
    }
    let message = message?;
    if let Some(name) = key.strip_prefix("count ") {
        return Some(message.headers(Name::recognise(name.as_bytes())).count().to_string());
    }
    if let Some(name) = key.strip_prefix("elements ") {
        return Some(message.values(Name::recognise(name.as_bytes())).count().to_string());
    }
    match key {
        "body" => Some(message.body().len().to_string()),
        "check" => Some(match message.check() {
            Ok(()) => "ok".to_owned(),
            Err(fault) => format!("{} {fault}", fault.status()),
        }),
        "cseq" => Some(message.cseq().ok()?.number.to_string()),
        "from-display" => Some(message.from().ok()?.display_name()?.into_owned()),
        "from-tag" => Some(message.from().ok()?.tag()?.to_owned()),
        "key" => Some(message.transaction_key().map_or_else(|error| error.to_string(), |_| "ok".into())),
        "max-forwards" => Some(message.max_forwards()?.to_string()),
        "method" => Some(message.method()?.to_string()),
        "reason" => Some(message.reason_phrase()?.to_owned()),
        "status" => Some(message.status()?.to_string()),
        "to-tag" => Some(message.to().ok()?.tag()?.to_owned()),
        "uri" => Some(message.request_uri()?.to_owned()),
        "uri-host" => Some(Uri::parse(message.request_uri()?).ok()?.host()?.to_string()),
        "uri-user" => Some(Uri::parse(message.request_uri()?).ok()?.user()?.to_owned()),
        name => Some(message.other_header(name)?.to_owned()),
    }
}

fn stream(bytes: &[u8], step: usize) -> String {
    let mut framer = StreamFramer::new(Limits::default(), Side::Accepted);
    let mut buffer = BytesMut::new();
    let mut outcomes = Vec::new();
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match framer.next(&mut buffer) {
                Ok(None) => break,
                Ok(Some(Frame::Message(_))) => outcomes.push("message".to_owned()),
                Ok(Some(Frame::Bad { message, fault })) => outcomes.push(answered(&message, &fault)),
                Ok(Some(Frame::Ping)) => outcomes.push("ping".to_owned()),
                Ok(Some(Frame::Pong)) => outcomes.push("pong".to_owned()),
                Err(error) => {
                    outcomes.push(format!("close {error}"));
                    return outcomes.join(" | ");
                }
            }
        }
    }
    if !buffer.is_empty() {
        outcomes.push("waits".to_owned());
    }
    outcomes.join(" | ")
}

fn datagram(bytes: &[u8]) -> String {
    match parse_datagram(Bytes::copy_from_slice(bytes), &Limits::default()) {
        Ok(_) => "message".to_owned(),
        Err(ParseError::Bad { message, fault }) => answered(&message, &fault),
        Err(ParseError::Unreadable(error)) => format!("drop {error}"),
    }
}

fn answered(message: &Message, fault: &Fault) -> String {
    if message.is_request() { format!("{} {fault}", fault.status()) } else { format!("drop {fault}") }
}

fn first_message(bytes: &[u8]) -> Option<Message> {
    match parse_datagram(Bytes::copy_from_slice(bytes), &Limits::default()) {
        Ok(message) => Some(message),
        Err(ParseError::Bad { message, .. }) => Some(*message),
        Err(ParseError::Unreadable(_)) => None,
    }
}
