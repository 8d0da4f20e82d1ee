//! What is under way, and what of it is found again.

use std::collections::VecDeque;

use reveille_sip::{Side, parse_datagram};
use reveille_sip_net::{CloseReason, Transport};

use super::*;

fn flow() -> Arc<Flow> {
    let address = ([127, 0, 0, 1], 5061).into();
    Flow::carried(Transport::Tls, Side::Initiated, address, address, None, 10_000)
}

const REQUEST: &str = "MESSAGE sip:push@push.example.net SIP/2.0\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bK1\r\n\
    Via: SIP/2.0/TLS home.a.example;branch=z9hG4bK0\r\nFrom: <sip:mcx@a.example>;tag=1\r\n\
    To: <sip:push@push.example.net>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n";

/// A request under way, with number and key 1, that has left on this flow, if on any.
fn under_way(relay: &Relay, back: &Arc<Flow>, left_on: Option<&Flow>) {
    let onward = Onward {
        back: Arc::clone(back),
        from: From::Outside,
        request: message(REQUEST).abridged(back.remote()),
        destination: "push.example.net".parse().unwrap(),
        left_on: left_on.map(Flow::id),
        key: 1,
        stamp_back: StampBack::None,
        passage: crate::partners::tests::passage(),
    };
    relay.shard(1).lock().insert(1, onward);
}

fn message(text: &str) -> Message {
    parse_datagram(text.to_owned().into(), &Limits::default()).unwrap()
}

/// What has been sent back.
fn told(back: &Flow) -> String {
    let mut told = VecDeque::new();
    back.take_queued(&mut told);
    told.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
}

#[test]
fn a_next_hop_that_ends_before_it_was_noted_is_told_to_the_asker() {
    let (relay, back, next_hop) = (Relay::new(&"push.example.net".parse().unwrap()), flow(), flow());
    under_way(&relay, &back, None);
    // The order in which another thread may see it: queued, ended, noted.
    next_hop.finish(&CloseReason::Idle);
    relay.flow_gone(&next_hop);
    assert_eq!(relay.in_flight(), 1);
    relay.sent(1, &next_hop);
    assert_eq!(relay.in_flight(), 0);
    assert!(told(&back).starts_with("SIP/2.0 504 "));
}

#[test]
fn an_answer_goes_back_only_if_it_is_one_and_only_the_way_of_its_request() {
    let sound = "SIP/2.0 200 OK\r\n\
        Via: SIP/2.0/TLS push.example.net;branch=z9hG4bKe0000000000000001.0000000000000001.0000000000000002\r\n\
        Via: SIP/2.0/TLS a.example;branch=z9hG4bK1;received=127.0.0.1\r\n\
        Via: SIP/2.0/TLS home.a.example;branch=z9hG4bK0\r\nFrom: <sip:mcx@a.example>;tag=1\r\n\
        To: <sip:push@push.example.net>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n";
    let back_from = |edited: &str| {
        let start = edited.split_once("Via: ").unwrap().0;
        let fields = edited.split_once("From: ").unwrap().1;
        format!(
            "{start}Via: SIP/2.0/TLS a.example;branch=z9hG4bK1;received=127.0.0.1\r\n\
             Via: SIP/2.0/TLS home.a.example;branch=z9hG4bK0\r\nFrom: {fields}"
        )
    };
    let next = "Via: SIP/2.0/TLS a.example;branch=z9hG4bK1;received=127.0.0.1\r\n";
    let after = "Via: SIP/2.0/TLS home.a.example;branch=z9hG4bK0\r\n";
    for (edits, passes, why) in [
        (&[("", "")][..], true, "as it should be"),
        (&[("a.example;branch=z9hG4bK1", "victim.example;branch=z9hG4bKv")], true, "but not to where it says"),
        (&[("home.a.example", "victim.example")], true, "nor from there on to another"),
        (&[(after, "")], true, "nor without its last hop"),
        (&[(next, ""), (after, "")], false, "it ends here (RFC 3261 §16.7 step 3)"),
        (&[("Call-ID: 1", "Call-ID: 2")], false, "another Call-ID"),
        (&[("CSeq: 1 MESSAGE", "CSeq: 2 MESSAGE")], false, "another number"),
        (&[("CSeq: 1 MESSAGE", "CSeq: 1 BYE")], false, "another method (§17.1.3)"),
        (&[("mcx@a.example>;tag=1", "mcx@a.example>;tag=3")], false, "another caller"),
        (&[("01.0000000000000002", "03.0000000000000002")], false, "another key"),
        (&[("e0000000000000001.", "e0000000000000002.")], false, "nothing under way"),
        (&[("200 OK", "100 Trying")], false, "for us only (§16.7 step 5)"),
        (&[("200 OK", "183 Session Progress")], false, "for nobody (RFC 4320 §4.1)"),
    ] {
        let edited = edits.iter().fold(sound.to_owned(), |text, (from, to)| {
            assert!(text.contains(from), "{why}: {from}");
            text.replacen(from, to, 1)
        });
        let (relay, back, next_hop) = (Relay::new(&"push.example.net".parse().unwrap()), flow(), flow());
        under_way(&relay, &back, Some(&next_hop));
        relay.on_response(&next_hop, &message(&edited));
        let expected = if passes { back_from(&edited) } else { String::new() };
        assert_eq!(told(&back), expected, "{why}");
        assert_eq!(relay.in_flight(), usize::from(!passes), "{why}");
        // What was none has changed nothing.
        relay.on_response(&next_hop, &message(sound));
        assert_eq!(told(&back), if passes { String::new() } else { back_from(sound) }, "{why}");
    }
    let (relay, back, next_hop) = (Relay::new(&"push.example.net".parse().unwrap()), flow(), flow());
    under_way(&relay, &back, Some(&next_hop));
    relay.on_response(&flow(), &message(sound));
    assert_eq!(told(&back), "", "from somebody else");
}

#[test]
fn an_answer_that_cannot_be_written_is_told_of_as_one_that_never_came() {
    let (back, request) = (flow(), message(REQUEST));
    let refusal = unwritable(&"push.example.net".parse().unwrap(), &PrintError::ControlCharacter);
    refuse(&back, &request, From::Outside, "edge", &refusal);
    assert!(told(&back).starts_with("SIP/2.0 504 "));
}

#[test]
fn only_a_branch_of_our_own_form_is_ours() {
    let numbers = Numbers { id: 0x1f, key: 0xaa, mark: u64::MAX };
    let written = format!("{BRANCH}{}", numbers.written());
    assert_eq!(Numbers::of(&written), Some(numbers));
    assert_eq!(Numbers::of(&format!("{written};received=192.0.2.1")), Some(numbers));
    for foreign in [
        "z9hG4bK1",
        "z9hG4bKe1f",
        "z9hG4bKe1f.aa.2",
        &*written.replace('a', "A"),
        &written.replace('a', "`"),
        &written.replace('.', "0"),
        &format!("{written}0"),
        &written[..57],
        "",
    ] {
        assert_eq!(Numbers::of(foreign), None, "{foreign}");
    }
}
