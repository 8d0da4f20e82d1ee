//! RFC 4475 and RFC 5118: every message as the standard has it, one test for each section.
//!
//! `torture/expected.txt` says what becomes of each; `xtask torture` sends the same files to a running home. Where the
//! RFCs leave a choice, that file says which one was made.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use reveille_sip::{
    CSeq, Forward, Frame, Host, Limits, Message, Method, Name, NameAddr, ParseError, PushOffer, Scheme, Side,
    StreamFramer, Transport, Uri, Via, parse_datagram,
};

/// What the parser makes of a datagram and, where it parses, of the addresses in it.
enum Outcome {
    Accepted(Box<Message>),
    Refused { status: u16, why: String },
    Dropped,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

fn bytes_of(file: &str) -> Bytes {
    fs::read(folder().join(format!("{file}.sip"))).unwrap_or_else(|error| panic!("{file}: {error}")).into()
}

/// The parser column of the table, by file.
fn table() -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder().join("expected.txt")).expect("the table");
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    rows.map(|row| {
        let columns: Vec<&str> = row.split('|').map(str::trim).collect();
        assert_eq!(columns.len(), 5, "{row}");
        (columns[0].to_owned(), columns[2].to_owned())
    })
    .collect()
}

fn outcome(file: &str) -> Outcome {
    let refused = |message: &Message, fault: &reveille_sip::Fault| match message.is_request() {
        true => Outcome::Refused { status: fault.status(), why: fault.to_string() },
        false => Outcome::Dropped,
    };
    let outcome = match parse_datagram(bytes_of(file), &Limits::default()) {
        Err(ParseError::Unreadable(_)) => Outcome::Dropped,
        Err(ParseError::Bad { message, fault }) => refused(&message, &fault),
        Ok(message) => match message.check() {
            Ok(()) => Outcome::Accepted(Box::new(message)),
            Err(fault) => refused(&message, &fault),
        },
    };
    let found = match &outcome {
        Outcome::Accepted(_) => "accept".to_owned(),
        Outcome::Refused { status, .. } => status.to_string(),
        Outcome::Dropped => "drop".to_owned(),
    };
    assert_eq!(table().get(file), Some(&found), "{file}");
    outcome
}

/// A message which is taken. Passed on, it must read the same as before, wherever the stream that carries it is cut.
fn accepted(file: &str) -> Box<Message> {
    let Outcome::Accepted(message) = outcome(file) else { panic!("{file} was not taken") };
    let mut out = BytesMut::new();
    Forward::request(&message).write(&mut out).expect("what was taken can be passed on");
    let passed_on = out.freeze();
    let again = parse_datagram(passed_on.clone(), &Limits::default()).expect("what is passed on is taken");
    let read = |message: &Message| {
        let fields = message.fields().map(|field| (field.name, field.value.to_owned())).collect::<Vec<_>>();
        (message.request_uri().map(str::to_owned), message.status(), fields, message.body())
    };
    let (mut before, after) = (read(&message), read(&again));
    if message.header(Name::ContentLength).is_none() {
        before.2.push((Name::ContentLength, message.body().len().to_string()));
    }
    assert_eq!(before, after, "{file}");
    for cut in 0..=passed_on.len() {
        let mut framer = StreamFramer::new(Limits::default(), Side::Accepted);
        let mut buffer = BytesMut::from(&passed_on[..cut]);
        let early = framer.next(&mut buffer).expect("a sound beginning");
        assert_eq!(early.is_some(), cut == passed_on.len(), "{file} cut at {cut}");
        buffer.extend_from_slice(&passed_on[cut..]);
        let whole = early.or_else(|| framer.next(&mut buffer).expect("a sound stream"));
        assert!(matches!(whole, Some(Frame::Message(_))) && buffer.is_empty(), "{file} cut at {cut}");
    }
    message
}

#[track_caller]
fn refused(file: &str, expected: u16, because: &str) {
    let Outcome::Refused { status, why } = outcome(file) else { panic!("{file} was not refused") };
    assert_eq!(status, expected, "{file}: {why}");
    assert!(why.contains(because), "{file}: {why}");
}

#[track_caller]
fn dropped(file: &str) {
    assert!(matches!(outcome(file), Outcome::Dropped), "{file} was not dropped");
}

/// What a stream of these bytes ends with.
fn stream_end(file: &str) -> (Vec<String>, Option<String>) {
    let mut framer = StreamFramer::new(Limits::default(), Side::Accepted);
    let mut buffer = BytesMut::from(&bytes_of(file)[..]);
    let mut frames = Vec::new();
    loop {
        match framer.next(&mut buffer) {
            Ok(None) => return (frames, None),
            Ok(Some(Frame::Bad { fault, .. })) => frames.push(fault.status().to_string()),
            Ok(Some(Frame::Message(message))) => {
                frames.push(message.method().map_or("", |method| method.as_str()).into())
            }
            Ok(Some(Frame::Ping | Frame::Pong)) => frames.push("keep-alive".into()),
            Err(error) => return (frames, Some(error.to_string())),
        }
    }
}

#[test]
fn every_message_has_a_line_in_the_table_and_a_test_here() {
    let own = include_str!("torture.rs");
    let mut files = Vec::new();
    for rfc in ["rfc4475", "rfc5118"] {
        for entry in fs::read_dir(folder().join(rfc)).expect("the folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("a name");
            files.push(format!("{rfc}/{}", name.strip_suffix(".sip").expect("a message")));
        }
    }
    files.sort();
    assert_eq!(files, table().into_keys().collect::<Vec<_>>());
    assert_eq!(files.iter().filter(|file| file.starts_with("rfc4475")).count(), 49);
    for file in &files {
        assert!(own.contains(&format!("\"{file}\"")), "{file} has no test");
    }
}

#[test]
fn rfc4475_3_1_1_1_a_short_tortuous_invite() {
    let message = accepted("rfc4475/3.1.1.1-wsinv");
    assert_eq!(message.max_forwards(), Some(68));
    assert_eq!(message.cseq(), Ok(CSeq { number: 9, method: Method::Invite }));
    assert_eq!(message.body().len(), 150);
    let to = message.to().unwrap();
    assert_eq!((to.uri_text(), to.tag()), ("sip:vivekg@chair-dnrc.example.com", Some("1918181833n")));
    let from = message.from().unwrap();
    assert_eq!((from.display_name().as_deref(), from.tag()), (Some(r#"J Rosenberg \""#), Some("98asjd8")));
    let vias: Vec<_> = message.values(Name::Via).map(|via| Via::parse(via).unwrap()).collect();
    let hops: Vec<_> = vias.iter().map(|via| (via.sent_by(), via.branch())).collect();
    assert_eq!(
        hops,
        [
            ("192.0.2.2", Some("390skdjuw")),
            ("spindle.example.com", Some("z9hG4bK9ikj8")),
            ("192.168.255.111", Some("z9hG4bK30239"))
        ]
    );
    assert_eq!(message.header(Name::Subject), Some(""));
    assert_eq!(message.other_header("UnknownHeaderWithUnusualValue"), Some(";;,,;;,;"));
    assert!(message.other_header("newfangledheader").unwrap().starts_with("newfangled value"));
    let contact = message.address(Name::Contact).unwrap();
    assert_eq!(contact.display_name().as_deref(), Some("Quoted string \"\""));
    assert_eq!((contact.params().value("newparam"), contact.q_thousandths()), (Some("newvalue"), Some(330)));
    let route = message.address(Name::Route).unwrap();
    assert_eq!(route.uri().unwrap().params().value("unknownwith"), Some("value"));
}

#[test]
fn rfc4475_3_1_1_2_wide_range_of_valid_characters() {
    let message = accepted("rfc4475/3.1.1.2-intmeth");
    assert_eq!(message.method(), Some(Method::Other("!interesting-Method0123456789_*+`.%indeed'~")));
    assert_eq!(message.max_forwards(), Some(255));
    let uri = Uri::parse(message.request_uri().unwrap()).unwrap();
    assert_eq!(uri.user(), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(uri.password(), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    let to = message.to().unwrap();
    assert_eq!(to.display_name().as_deref(), Some("BEL:\u{7} NUL:\0 DEL:\u{7f}"));
    let from = message.from().unwrap();
    assert_eq!(from.display_name().as_deref(), Some("token1~` token2'+_ token3*%!.-"));
    assert_eq!(from.params().unquoted("fromParam''~+*_!.-%").as_deref(), Some("работающий"));
    assert_eq!(from.tag(), Some("_token~1'+`*%!-."));
    assert_eq!(message.call_id(), Some(r#"intmeth.word%ZK-!.*_+'@word`~)(><:\/"][?}{"#));
    assert_eq!(message.top_via().unwrap().branch(), Some("z9hG4bK-.!%66*_+`'~"));
    assert_eq!(message.other_header("extensionHeader-!.%*+_`'~"), Some("\u{feff}大停電"));
}

#[test]
fn rfc4475_3_1_1_3_valid_use_of_the_percent_escaping_mechanism() {
    let message = accepted("rfc4475/3.1.1.3-esc01");
    let uri = Uri::parse(message.request_uri().unwrap()).unwrap();
    assert_eq!((uri.scheme(), uri.user()), (Scheme::Sip, Some("sips%3Auser%40example.com")));
    let to = message.to().unwrap();
    assert!(to.uri().unwrap().equivalent(&Uri::parse("sip:user@example.com").unwrap()));
    let contact = message.address(Name::Contact).unwrap();
    assert!(contact.uri().unwrap().equivalent(&Uri::parse("sip:caller@host5.example.net;lr;name=value%2541").unwrap()));
}

#[test]
fn rfc4475_3_1_1_4_escaped_nulls_in_uris() {
    let message = accepted("rfc4475/3.1.1.4-escnull");
    assert_eq!(message.to().unwrap().uri().unwrap().user(), Some("null-%00-null"));
    let contacts: Vec<_> = message.values(Name::Contact).map(|value| NameAddr::parse(value).unwrap()).collect();
    let (one, two) = (contacts[0].uri().unwrap(), contacts[1].uri().unwrap());
    assert_eq!((one.user(), two.user()), (Some("%00"), Some("%00%00")));
    assert!(!one.equivalent(&two), "one NUL is not two");
}

#[test]
fn rfc4475_3_1_1_5_use_of_percent_when_it_is_not_an_escape() {
    let message = accepted("rfc4475/3.1.1.5-esc02");
    assert_eq!(message.method(), Some(Method::Other("RE%47IST%45R")));
    assert_eq!(message.from().unwrap().display_name().as_deref(), Some("%Z%45"));
    assert_eq!(message.values(Name::Contact).count(), 2, "C%6Fntact is another field");
    assert_eq!(message.other_header("C%6Fntact"), Some("<sip:alias2@host2.example.com>"));
}

#[test]
fn rfc4475_3_1_1_6_message_with_no_lws_between_display_name_and_bracket() {
    let message = accepted("rfc4475/3.1.1.6-lwsdisp");
    assert_eq!(message.from().unwrap().display_name().as_deref(), Some("caller"));
}

#[test]
fn rfc4475_3_1_1_7_long_values_in_header_fields() {
    let message = accepted("rfc4475/3.1.1.7-longreq");
    assert_eq!(message.values(Name::Via).count(), 34);
    assert_eq!(message.top_via().unwrap().sent_by(), "sip33.example.com");
    assert_eq!(message.from().unwrap().tag().map(str::len), Some(155));
    assert_eq!(message.to().unwrap().uri().unwrap().port(), Some(6000));
    assert_eq!(message.body().len(), 150);
}

#[test]
fn rfc4475_3_1_1_8_extra_trailing_octets_in_a_udp_datagram() {
    let message = accepted("rfc4475/3.1.1.8-dblreq");
    assert_eq!(message.method(), Some(Method::Register));
    assert!(message.body().is_empty());
    // On a stream the bytes behind it are padding and the next request.
    assert_eq!(stream_end("rfc4475/3.1.1.8-dblreq").0, ["REGISTER", "keep-alive", "INVITE"]);
}

#[test]
fn rfc4475_3_1_1_9_semicolon_separated_parameters_in_uri_user_part() {
    let message = accepted("rfc4475/3.1.1.9-semiuri");
    let uri = Uri::parse(message.request_uri().unwrap()).unwrap();
    assert_eq!((uri.user(), uri.host()), (Some("user;par=u%40example.net"), Some(Host::Domain("example.com"))));
    assert_eq!(uri.params().count(), 0);
    assert_eq!(message.values(Name::Accept).count(), 6);
}

#[test]
fn rfc4475_3_1_1_10_varied_and_unknown_transport_types() {
    let message = accepted("rfc4475/3.1.1.10-transports");
    let transports: Vec<_> = message.values(Name::Via).map(|via| Via::parse(via).unwrap().transport()).collect();
    let unknown = Transport::Other("UNKNOWN");
    assert_eq!(transports, [Transport::Udp, Transport::Sctp, Transport::Tls, unknown, Transport::Tcp]);
}

#[test]
fn rfc4475_3_1_1_11_multipart_mime_message() {
    let message = accepted("rfc4475/3.1.1.11-mpart01");
    assert_eq!(message.body().len(), 553);
    assert!(message.body().contains(&0));
    assert_eq!(message.media_type(), Some("multipart/mixed"));
    assert_eq!(message.top_via().unwrap().rport(), Some(None));
}

#[test]
fn rfc4475_3_1_1_12_unusual_reason_phrase() {
    let message = accepted("rfc4475/3.1.1.12-unreason");
    assert_eq!(message.status(), Some(200));
    assert_eq!(message.reason_phrase(), Some("= 2**3 * 5**2 но сто девяносто девять - простое"));
}

#[test]
fn rfc4475_3_1_1_13_empty_reason_phrase() {
    let message = accepted("rfc4475/3.1.1.13-noreason");
    assert_eq!((message.status(), message.reason_phrase()), (Some(100), Some("")));
}

#[test]
fn rfc4475_3_1_2_1_extraneous_header_field_separators() {
    refused("rfc4475/3.1.2.1-badinv01", 400, "Via");
}

#[test]
fn rfc4475_3_1_2_2_content_length_larger_than_message() {
    refused("rfc4475/3.1.2.2-clerr", 400, "Content-Length says 9999");
    assert_eq!(stream_end("rfc4475/3.1.2.2-clerr"), (vec![], None), "a stream waits for the rest");
}

#[test]
fn rfc4475_3_1_2_3_negative_content_length() {
    refused("rfc4475/3.1.2.3-ncl", 400, "Content-Length is not a decimal number");
    let (frames, end) = stream_end("rfc4475/3.1.2.3-ncl");
    assert_eq!((frames, end.is_some()), (vec!["400".to_owned()], true), "a stream ends behind the answer");
}

#[test]
fn rfc4475_3_1_2_4_request_scalar_fields_with_overlarge_values() {
    refused("rfc4475/3.1.2.4-scalar02", 400, "CSeq");
}

#[test]
fn rfc4475_3_1_2_5_response_scalar_fields_with_overlarge_values() {
    dropped("rfc4475/3.1.2.5-scalarlg");
}

#[test]
fn rfc4475_3_1_2_6_unterminated_quoted_string_in_display_name() {
    refused("rfc4475/3.1.2.6-quotbal", 400, "To is malformed: a quotation mark never closes");
}

#[test]
fn rfc4475_3_1_2_7_angle_brackets_enclosing_the_request_uri() {
    refused("rfc4475/3.1.2.7-ltgtruri", 400, "angle brackets");
}

#[test]
fn rfc4475_3_1_2_8_malformed_sip_request_uri_with_embedded_lws() {
    refused("rfc4475/3.1.2.8-lwsruri", 400, "request line");
}

#[test]
fn rfc4475_3_1_2_9_multiple_sp_separating_request_line_elements() {
    refused("rfc4475/3.1.2.9-lwsstart", 400, "request line");
}

#[test]
fn rfc4475_3_1_2_10_sp_characters_at_end_of_request_line() {
    refused("rfc4475/3.1.2.10-trws", 400, "request line");
}

#[test]
fn rfc4475_3_1_2_11_escaped_headers_in_sip_request_uri() {
    refused("rfc4475/3.1.2.11-escruri", 400, "header part");
}

#[test]
fn rfc4475_3_1_2_12_invalid_time_zone_in_date_header_field() {
    let message = accepted("rfc4475/3.1.2.12-baddate");
    assert!(message.header(Name::Date).is_some_and(|date| date.ends_with("EST")));
}

#[test]
fn rfc4475_3_1_2_13_failure_to_enclose_name_addr_uri_in_brackets() {
    refused("rfc4475/3.1.2.13-regbadct", 400, "Contact is malformed: a URI which needs angle brackets");
}

#[test]
fn rfc4475_3_1_2_14_spaces_within_addr_spec() {
    refused("rfc4475/3.1.2.14-badaspec", 400, "To is malformed: a URI holds white space");
}

#[test]
fn rfc4475_3_1_2_15_non_token_characters_in_display_name() {
    refused("rfc4475/3.1.2.15-baddn", 400, "From is malformed: a display name");
}

#[test]
fn rfc4475_3_1_2_16_unknown_protocol_version() {
    refused("rfc4475/3.1.2.16-badvers", 505, "not SIP/2.0");
}

#[test]
fn rfc4475_3_1_2_17_start_line_and_cseq_method_mismatch() {
    refused("rfc4475/3.1.2.17-mismatch01", 400, "method of CSeq");
}

#[test]
fn rfc4475_3_1_2_18_unknown_method_with_cseq_method_mismatch() {
    refused("rfc4475/3.1.2.18-mismatch02", 400, "method of CSeq");
}

#[test]
fn rfc4475_3_1_2_19_overlarge_response_code() {
    dropped("rfc4475/3.1.2.19-bigcode");
}

#[test]
fn rfc4475_3_2_1_missing_transaction_identifier() {
    let message = accepted("rfc4475/3.2.1-badbranch");
    let key = message.transaction_key().expect("RFC 2543 knows another way to tell transactions apart");
    let text = String::from_utf8(bytes_of("rfc4475/3.2.1-badbranch").to_vec()).unwrap();
    for (part, other) in [("CSeq: 8", "CSeq: 9"), ("sadonfo23", "sadonfo24"), ("tag=33242", "tag=33243")] {
        let another = parse_datagram(text.replace(part, other).into(), &Limits::default()).unwrap();
        assert_ne!(another.transaction_key().unwrap(), key, "{part}");
    }
}

#[test]
fn rfc4475_3_3_1_missing_required_header_fields() {
    refused("rfc4475/3.3.1-insuf", 400, "From is missing");
}

#[test]
fn rfc4475_3_3_2_request_uri_with_unknown_scheme() {
    refused("rfc4475/3.3.2-unkscm", 416, "scheme");
}

#[test]
fn rfc4475_3_3_3_request_uri_with_known_but_atypical_scheme() {
    refused("rfc4475/3.3.3-novelsc", 416, "scheme");
}

#[test]
fn rfc4475_3_3_4_unknown_uri_schemes_in_header_fields() {
    let message = accepted("rfc4475/3.3.4-unksm2");
    assert_eq!(message.to().unwrap().uri().unwrap().scheme(), Scheme::Other("isbn"));
    assert_eq!(message.from().unwrap().uri().unwrap().scheme(), Scheme::Other("http"));
    assert_eq!(message.address(Name::Contact).unwrap().uri().unwrap().scheme(), Scheme::Other("name"));
}

#[test]
fn rfc4475_3_3_5_proxy_require_and_require() {
    let message = accepted("rfc4475/3.3.5-bext01");
    let required: Vec<_> = message.values(Name::Require).collect();
    assert_eq!(required, ["nothingSupportsThis", "nothingSupportsThisEither"]);
    assert_eq!(message.values(Name::ProxyRequire).count(), 2);
}

#[test]
fn rfc4475_3_3_6_unknown_content_type() {
    let message = accepted("rfc4475/3.3.6-invut");
    assert_eq!((message.media_type(), message.body().len()), (Some("application/unknownformat"), 40));
}

#[test]
fn rfc4475_3_3_7_unknown_authorization_scheme() {
    let message = accepted("rfc4475/3.3.7-regaut01");
    let value = message.header(Name::Authorization).unwrap();
    assert!(reveille_sip::auth::Credentials::parse(value).is_err());
}

#[test]
fn rfc4475_3_3_8_multiple_values_in_single_value_required_fields() {
    refused("rfc4475/3.3.8-multi01", 400, "appears more than once");
}

#[test]
fn rfc4475_3_3_9_multiple_content_length_values() {
    refused("rfc4475/3.3.9-mcl01", 400, "Content-Length appears more than once");
    let (frames, end) = stream_end("rfc4475/3.3.9-mcl01");
    assert_eq!((frames, end.is_some()), (vec!["400".to_owned()], true), "a stream ends behind the answer");
}

#[test]
fn rfc4475_3_3_10_200_ok_response_with_broadcast_via_header_field_value() {
    let message = accepted("rfc4475/3.3.10-bcast");
    assert_eq!(message.status(), Some(200));
    let second = message.values(Name::Via).nth(1).map(|via| Via::parse(via).unwrap().host().ip());
    assert_eq!(second, Some(Some("255.255.255.255".parse().unwrap())));
}

#[test]
fn rfc4475_3_3_11_max_forwards_of_zero() {
    assert_eq!(accepted("rfc4475/3.3.11-zeromf").max_forwards(), Some(0));
}

#[test]
fn rfc4475_3_3_12_register_with_a_contact_header_parameter() {
    let message = accepted("rfc4475/3.3.12-cparam01");
    let contact = message.address(Name::Contact).unwrap();
    assert!(contact.params().has("unknownparam") && !contact.uri().unwrap().params().has("unknownparam"));
}

#[test]
fn rfc4475_3_3_13_register_with_a_url_parameter() {
    let message = accepted("rfc4475/3.3.13-cparam02");
    let contact = message.address(Name::Contact).unwrap();
    assert!(!contact.params().has("unknownparam") && contact.uri().unwrap().params().has("unknownparam"));
    assert!(matches!(PushOffer::read(contact.uri().unwrap().params()), Ok(PushOffer::Absent)));
}

#[test]
fn rfc4475_3_3_14_register_with_a_url_escaped_header() {
    let message = accepted("rfc4475/3.3.14-regescrt");
    let contact = message.address(Name::Contact).unwrap();
    assert_eq!(contact.uri().unwrap().headers(), "Route=%3Csip:sip.example.com%3E");
}

#[test]
fn rfc4475_3_3_15_unacceptable_accept_offering() {
    assert_eq!(accepted("rfc4475/3.3.15-sdp01").header(Name::Accept), Some("text/nobodyKnowsThis"));
}

#[test]
fn rfc4475_3_4_1_invite_with_rfc_2543_syntax() {
    let message = accepted("rfc4475/3.4.1-inv2543");
    assert_eq!(message.top_via().unwrap().branch(), None);
    assert_eq!(message.from().unwrap().tag(), None);
    assert!(message.transaction_key().is_ok() && message.body().ends_with(b"RTP/AVP 0\r\n"));
    let (frames, end) = stream_end("rfc4475/3.4.1-inv2543");
    assert_eq!((frames, end.is_some()), (vec!["400".to_owned()], true), "a stream needs Content-Length");
}

/// The host and port of a Request-URI.
fn reached(message: &Message) -> (Option<std::net::IpAddr>, Option<u16>) {
    let uri = Uri::parse(message.request_uri().unwrap()).unwrap();
    (uri.host().unwrap().ip(), uri.port())
}

#[test]
fn rfc5118_4_1_valid_sip_message_with_an_ipv6_reference() {
    let message = accepted("rfc5118/4.1-ipv6-good");
    assert_eq!(reached(&message), ("2001:db8::10".parse().ok(), None));
    assert_eq!(message.top_via().unwrap().host().ip(), "2001:db8::9:1".parse().ok());
}

#[test]
fn rfc5118_4_2_invalid_sip_message_with_an_ipv6_reference() {
    refused("rfc5118/4.2-ipv6-bad", 400, "Request-URI");
}

#[test]
fn rfc5118_4_3_port_ambiguous_in_a_sip_uri() {
    assert_eq!(reached(&accepted("rfc5118/4.3-port-ambiguous")), ("2001:db8::10:5070".parse().ok(), None));
}

#[test]
fn rfc5118_4_4_port_unambiguous_in_a_sip_uri() {
    assert_eq!(reached(&accepted("rfc5118/4.4-port-unambiguous")), ("2001:db8::10".parse().ok(), Some(5070)));
}

#[test]
fn rfc5118_4_5_ipv6_reference_delimiters_in_via_header() {
    for file in ["rfc5118/4.5-via-received-param-with-delim", "rfc5118/4.5-via-received-param-no-delim"] {
        let message = accepted(file);
        let via = message.top_via().unwrap();
        assert_eq!(via.received(), "2001:db8::9:255".parse().ok(), "{file}");
        assert_eq!(via.host().ip(), "2001:db8::9:1".parse().ok(), "{file}");
    }
}

#[test]
fn rfc5118_4_6_sip_request_with_ipv6_addresses_in_sdp_body() {
    let message = accepted("rfc5118/4.6-ipv6-in-sdp");
    assert_eq!((message.body().len(), reached(&message).0), (251, "2001:db8::10".parse().ok()));
    refused("rfc5118/4.6-ipv6-in-sdp-as-printed", 400, "Content-Length says 268, the datagram holds 251");
}

#[test]
fn rfc5118_4_7_multiple_ip_addresses_in_sip_headers() {
    let message = accepted("rfc5118/4.7-mult-ip-in-header");
    let vias: Vec<_> = message.values(Name::Via).map(|via| Via::parse(via).unwrap()).collect();
    assert_eq!((vias[0].host().ip(), vias[0].port()), ("2001:db8::9:1".parse().ok(), Some(6050)));
    assert_eq!(vias[1].host().ip(), "192.0.2.1".parse().ok());
    assert_eq!(vias[2].host().ip(), "2001:db8::9:255".parse().ok());
    assert_eq!(vias[2].received(), "192.0.2.200".parse().ok());
}

#[test]
fn rfc5118_4_8_multiple_ip_addresses_in_sdp() {
    assert_eq!(accepted("rfc5118/4.8-mult-ip-in-sdp").body().len(), 189);
    assert_eq!(accepted("rfc5118/4.8-mult-ip-in-sdp-as-printed").body().len(), 181);
}

#[test]
fn rfc5118_4_9_ipv4_mapped_ipv6_addresses() {
    let message = accepted("rfc5118/4.9-ipv4-mapped-ipv6");
    let vias: Vec<_> = message.values(Name::Via).map(|via| Via::parse(via).unwrap()).collect();
    assert_eq!((vias[0].host().ip(), vias[0].port()), ("::ffff:192.0.2.10".parse().ok(), Some(19823)));
    assert_eq!(message.address(Name::Contact).unwrap().uri().unwrap().host().unwrap().ip(), vias[1].host().ip());
    assert_eq!(accepted("rfc5118/4.9-ipv4-mapped-ipv6-as-printed").body().len(), 236);
}

#[test]
fn rfc5118_4_10_ipv6_reference_bug_in_rfc_3261_abnf() {
    for file in ["rfc5118/4.10-ipv6-bug-abnf-3-colons", "rfc5118/4.10-ipv6-correct-abnf-2-colons"] {
        assert_eq!(reached(&accepted(file)), ("2001:db8::192.0.2.1".parse().ok(), None), "{file}");
    }
}
