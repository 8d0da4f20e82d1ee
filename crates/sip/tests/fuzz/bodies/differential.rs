//! Our parser next to `sipx-sip`, which somebody else wrote: where both take a datagram they read the same, and where
//! only one does, the reason is in a list.

use std::borrow::Cow;

use bytes::Bytes;
use reveille_sip::{Fault, FrameError, Limits, Message, Name, NameAddr, ParseError, Uri, Via, parse_datagram};
use sipx_sip::error::{ParseError as TheirError, StartLineError};
use sipx_sip::headers::{From as TheirFrom, MaxForwards, To as TheirTo};

/// How the two parsers stand to each other on one datagram.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Standing {
    /// Both take it, and read the same.
    Agree,
    /// Neither takes it.
    BothRefuse,
    /// Only the other takes it. It leaves to a later step (its `validate`, its typed headers) what we ask of every
    /// message: mandatory fields, no repetitions, UTF-8, CSeq and Max-Forwards in bounds, version 2.0, no NUL out of
    /// place; and its bounds are others.
    WeAskMore,
    /// Only we take it: its bounds are others, and it parses a Request-URI which we only read when it is asked for.
    TheyAskMore,
}

/// Bytes as one datagram for both.
pub(crate) fn differential(data: &[u8]) {
    let _ = standing(data);
}

/// Panics where the two differ for no reason that is known.
pub(crate) fn standing(data: &[u8]) -> Standing {
    // §7.5: we skip line ends before a datagram, too; the other does so on streams only.
    let mut data = data;
    while let Some(rest) = data.strip_prefix(b"\r\n") {
        data = rest;
    }
    let bytes = Bytes::copy_from_slice(data);
    let theirs = sipx_sip::parse_datagram(bytes.clone(), &sipx_sip::Limits::datagram());
    match (parse_datagram(bytes, &Limits::default()), theirs) {
        (Ok(ours), Ok(theirs)) => {
            agree(&ours, &theirs);
            Standing::Agree
        }
        (Err(_), Err(_)) => Standing::BothRefuse,
        (Ok(ours), Err(error)) => {
            let known = match &error {
                TheirError::Limit { .. } => true,
                TheirError::StartLine(StartLineError::Uri(_)) => ours.is_request(),
                _ => false,
            };
            assert!(known, "only we take this: {error}");
            Standing::TheyAskMore
        }
        (Err(error), Ok(_)) => {
            // The other lets a line that begins with a blank continue the first line, whose grammar knows no folding.
            let second = data.windows(2).position(|two| two == b"\r\n").and_then(|end| data.get(end + 2));
            let folded = matches!(second, Some(b' ' | b'\t'));
            let known = match &error {
                _ if folded => true,
                ParseError::Bad { fault, .. } => asked_at_once(fault),
                ParseError::Unreadable(FrameError::NotSip | FrameError::Nul { .. }) => true,
                ParseError::Unreadable(_) => false,
            };
            assert!(known, "only the other takes this: {error}");
            Standing::WeAskMore
        }
    }
}

/// What we ask of every message, and the other of none.
fn asked_at_once(fault: &Fault) -> bool {
    match fault {
        Fault::BodyTooLong { .. }
        | Fault::CSeqMethodMismatch
        | Fault::Framing(FrameError::HeaderTooLong { .. } | FrameError::TooManyHeaders { .. })
        | Fault::HeaderMissing { .. }
        | Fault::HeaderRepeated { .. }
        | Fault::HeaderValue(_)
        | Fault::NotUtf8
        | Fault::NulInHeader
        | Fault::RequestUriMalformed { .. }
        | Fault::VersionUnsupported => true,
        Fault::BodyTruncated { .. }
        | Fault::Framing(_)
        | Fault::HeaderLineMalformed { .. }
        | Fault::RequestLineMalformed
        | Fault::SchemeUnsupported
        | Fault::StatusLineMalformed => false,
    }
}

fn agree(ours: &Message, theirs: &sipx_sip::Message) {
    match theirs {
        sipx_sip::Message::Request(request) => {
            assert_eq!(ours.method().map(|method| method.as_str().as_bytes()), Some(request.method.as_bytes()));
            same_uri(ours.request_uri().unwrap_or_default(), &request.uri);
        }
        sipx_sip::Message::Response(response) => {
            assert_eq!(ours.status(), Some(response.status.code()));
            assert_eq!(ours.reason_phrase().unwrap_or_default().as_bytes(), &response.reason[..]);
        }
    }
    assert_eq!(ours.body_bytes(), &theirs.body()[..]);
    same_fields(ours, theirs.headers());
    same_values(ours, theirs.headers());
}

fn same_fields(ours: &Message, theirs: &sipx_sip::Headers) {
    assert_eq!(ours.fields().count(), theirs.len());
    for (our, their) in ours.fields().zip(theirs.iter()) {
        let known = if our.name == Name::Other { our.name_text } else { our.name.as_str() };
        let name = their.name().canonical();
        // One knows compact forms that the other does not, and the other way round.
        assert!(name.eq_ignore_ascii_case(known.as_bytes()) || our.name_text.len() == 1 || name.len() == 1, "{known}");
        assert_eq!(blanks_joined(our.value.as_bytes()), blanks_joined(&their.value()), "{known}");
    }
}

/// §7.3.1: any run of white space means one blank.
fn blanks_joined(value: &[u8]) -> Cow<'_, str> {
    let words = value.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    Cow::Owned(words.map(String::from_utf8_lossy).collect::<Vec<_>>().join(" "))
}

fn same_values(ours: &Message, theirs: &sipx_sip::Headers) {
    let cseq = ours.cseq().expect("asked of every message");
    let their_cseq = theirs.typed::<sipx_sip::CSeq>().expect("it is there").expect("we could read it");
    assert_eq!((cseq.number, cseq.method.as_str().as_bytes()), (their_cseq.sequence, their_cseq.method.as_bytes()));
    if let Some(Ok(hops)) = theirs.typed::<MaxForwards>() {
        assert_eq!(ours.max_forwards(), Some(hops.0));
    }

    // Vias, if both can read all of them.
    let our_vias: Result<Vec<Via<'_>>, _> = ours.values(Name::Via).map(Via::parse).collect();
    let their_vias: Result<Vec<sipx_sip::Via>, _> = theirs.typed_all::<sipx_sip::Via>().collect();
    if let (Ok(our_vias), Ok(their_vias)) = (our_vias, their_vias) {
        assert_eq!(our_vias.len(), their_vias.len());
        for (our, their) in our_vias.iter().zip(&their_vias) {
            let transport = String::from_utf8_lossy(&their.transport).into_owned();
            assert!(our.transport().as_str().eq_ignore_ascii_case(&transport), "{transport}");
            assert_eq!(our.port(), their.port);
            assert!(same_host(our.host(), &their.host), "{:?} and {:?}", our.host(), their.host);
            // The other takes quotation marks off a branch, which may not have any.
            let branch = our.branch().unwrap_or_default();
            if !branch.contains('"') {
                assert_eq!(branch.as_bytes(), their.branch().unwrap_or_default());
            }
        }
    }

    for (name, their) in [
        (Name::From, theirs.typed::<TheirFrom>().map(|read| read.map(|from| from.0))),
        (Name::To, theirs.typed::<TheirTo>().map(|read| read.map(|to| to.0))),
    ] {
        let (Ok(our), Some(Ok(their))) = (ours.address(name), their) else { continue };
        same_address(&our, &their);
    }
}

fn same_address(our: &NameAddr<'_>, their: &sipx_sip::Address) {
    same_uri(our.uri_text(), &their.uri);
    let tag = our.tag().unwrap_or_default();
    if !tag.contains('"') {
        assert_eq!(tag.as_bytes(), their.tag().unwrap_or_default());
    }
}

fn same_uri(our: &str, their: &sipx_sip::Uri) {
    let Ok(our) = Uri::parse(our) else { return };
    if !our.is_sip() {
        return;
    }
    assert_eq!(our.user().map(str::as_bytes), their.user());
    assert_eq!(our.port(), their.port());
    match (our.host(), their.host()) {
        (Some(our), Some(their)) => assert!(same_host(our, their), "{our:?} and {their:?}"),
        (our, their) => assert_eq!(our.is_some(), their.is_some()),
    }
}

fn same_host(our: reveille_sip::Host<'_>, their: &sipx_sip::Host) -> bool {
    match their {
        sipx_sip::Host::Ip(address) => our.ip() == Some(*address),
        sipx_sip::Host::Name(name) => our.to_string().as_bytes().eq_ignore_ascii_case(name.as_bytes()),
    }
}
