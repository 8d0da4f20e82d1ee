//! What is asked of every message at once when it is parsed, and what a role may ask beyond that.

use crate::error::{Fault, HeaderError};
use crate::list::Params;
use crate::message::Message;
use crate::name::Name;
use crate::name_addr::{NameAddr, TWO_TAGS};
use crate::text::{decimal_u32, find, split_before};
use crate::uri::{Scheme, Uri};
use crate::via::Via;

/// The first fault of a message whose header could be scanned. Cheap: run on every message. `nul` says that there is a
/// NUL somewhere.
pub(crate) fn first_fault(message: &Message, nul: bool) -> Option<Fault> {
    if std::str::from_utf8(message.head_bytes()).is_err() {
        return Some(Fault::NotUtf8);
    }
    if nul && !message.raw_fields().iter().all(|field| nul_is_taken(field.name, message.raw_value(field))) {
        return Some(Fault::NulInHeader);
    }
    if message.repeated() & ONCE != 0 {
        return first_repeated(message);
    }
    let seen = message.names();
    // §8.1.1: six fields are mandatory; Max-Forwards is let go as §16.3 does for the sake of RFC 2543.
    for name in [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq] {
        if seen & name.bit() == 0 {
            return Some(Fault::HeaderMissing { name });
        }
    }
    if let Some(uri) = message.request_uri()
        && uri.starts_with('<')
    {
        return Some(Fault::RequestUriMalformed { problem: "it stands in angle brackets" });
    }
    let cseq = match message.cseq() {
        Ok(cseq) => cseq,
        Err(error) => return Some(error.into()),
    };
    if let Some(method) = message.method() {
        if method != cseq.method {
            return Some(Fault::CSeqMethodMismatch);
        }
        if let Some(error) = misnamed(message) {
            return Some(error.into());
        }
    }
    if seen & Name::MaxForwards.bit() != 0 && message.max_forwards().is_none() {
        let name = Name::MaxForwards;
        return Some(HeaderError::Malformed { name, problem: "it is not a number up to 255" }.into());
    }
    None
}

/// The first field that stands a second time and may not.
fn first_repeated(message: &Message) -> Option<Fault> {
    let mut seen = 0_u64;
    for field in message.raw_fields() {
        let bit = field.name.bit();
        if seen & bit & ONCE != 0 {
            return Some(Fault::HeaderRepeated { name: field.name });
        }
        seen |= bit;
    }
    None
}

impl Message {
    /// Reads every address, Via and number of the message, and says what is malformed.
    ///
    /// Parsing asks only what framing and routing need. Registrars and user agents, which act on the rest, call this
    /// first; a proxy need not (§16.3 asks it to be lenient on what it does not use).
    pub fn check(&self) -> Result<(), Fault> {
        if let Some(text) = self.request_uri() {
            let uri = Uri::parse(text).map_err(|error| Fault::RequestUriMalformed { problem: error.problem })?;
            if matches!(uri.scheme(), Scheme::Other(_)) {
                return Err(Fault::SchemeUnsupported);
            }
            // §19.1.1, table 1.
            if !uri.headers().is_empty() {
                return Err(Fault::RequestUriMalformed { problem: "it has a header part" });
            }
        }
        for value in self.values(Name::Via) {
            Via::parse(value).map_err(|error| error.of(Name::Via))?;
        }
        for name in [Name::From, Name::To] {
            let address = self.address(name)?;
            address.uri().map_err(|error| error.of(name))?;
            // §25.1, tag-param: the value is a token, which has at least one character.
            if address.has_tag() && address.tag().is_none_or(str::is_empty) {
                return Err(HeaderError::Malformed { name, problem: "its tag is empty" }.into());
            }
        }
        for name in ADDRESSES {
            for value in self.values(*name) {
                if *name == Name::Contact && value == "*" {
                    continue;
                }
                let address = NameAddr::parse(value).map_err(|error| error.of(*name))?;
                address.uri().map_err(|error| error.of(*name))?;
            }
        }
        for name in [Name::Expires, Name::MinExpires] {
            if self.headers(name).any(|value| decimal_u32(value).is_none()) {
                let problem = "it is not a number below 2^32";
                return Err(HeaderError::Malformed { name, problem }.into());
            }
        }
        Ok(())
    }
}

/// §7.3.1: no parameter may stand twice. Two branches would be two transactions to two readers, and two tags two dialogs;
/// without any Via nobody could be answered. Whatever else may be wrong with these fields is found by who reads them.
fn misnamed(request: &Message) -> Option<HeaderError> {
    // Most have one parameter.
    let has_several = |value: &&str| find(value, b';').is_some_and(|first| find(&value[first + 1..], b';').is_some());
    for name in [Name::From, Name::To] {
        let address = request.header(name).filter(has_several).map(NameAddr::parse);
        if let Some(Err(error)) = address
            && error == TWO_TAGS
        {
            return Some(error.of(name));
        }
    }
    // A Via field may be there and be empty.
    let Some(via) = request.values(Name::Via).next() else { return Some(HeaderError::Missing { name: Name::Via }) };
    if !has_several(&via) {
        return None;
    }
    let params = Params::new(split_before(via, b';').1);
    let twice = params.filter(|(name, _)| name.eq_ignore_ascii_case("branch")).nth(1).is_some();
    twice.then_some(HeaderError::Malformed { name: Name::Via, problem: "its branch stands twice" })
}

/// Whether the value of a field has a NUL only where one is taken: behind a backslash in the quoted display name of From
/// or To. §25.1 would let it stand in every quoted string, and RFC 4475 §3.1.1.2 asks for it in To. Nobody needs it
/// elsewhere, where what is read is compared and written again; From and To are only ever copied whole.
pub(crate) fn nul_is_taken(name: Name, value: &[u8]) -> bool {
    let Some(last) = memchr::memrchr(0, value) else { return true };
    if !matches!(name, Name::From | Name::To) || value[0] != b'"' {
        return false;
    }
    let mut at = 1;
    while at < value.len() {
        match value[at] {
            b'\\' => at += 2,
            b'"' => return at > last,
            0 => return false,
            _ => at += 1,
        }
    }
    false
}

/// Fields which may stand only once and whose repetition would mean two things to two readers. Content-Length belongs
/// to them but is the scanner's business.
const ONCE: u64 = Name::CallId.bit()
    | Name::ContentType.bit()
    | Name::CSeq.bit()
    | Name::EdgeTrust.bit()
    | Name::Expires.bit()
    | Name::From.bit()
    | Name::MaxForwards.bit()
    | Name::To.bit();

/// Fields which are lists of addresses.
const ADDRESSES: &[Name] = &[Name::Contact, Name::Route, Name::RecordRoute, Name::Path, Name::ServiceRoute];

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use crate::framing::{Limits, parse_datagram};
    use crate::name_addr::NameAddr;

    fn checked(more: &str) -> Result<(), String> {
        let text = format!(
            "REGISTER sip:c SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:a@c>;tag=1\r\nTo: <sip:a@c>\r\n\
             Call-ID: 1\r\nCSeq: 1 REGISTER\r\n{more}\r\n\r\n"
        );
        let message = parse_datagram(Bytes::from(text), &Limits::default()).expect("a sound message");
        message.check().map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_nul_is_taken_behind_a_backslash_in_the_display_name_of_from_or_to_and_nowhere_else() {
        let parsed = |start: &str, lines: &str| {
            let text = format!(
                "{start}\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n{lines}\r\n\r\n"
            );
            parse_datagram(Bytes::from(text), &Limits::default()).map_err(|error| error.to_string())
        };
        let sound = "To: \"a\\\0b\" <sip:b@c>\r\nf: \"\\\0\\\"\" <sip:a@c>;tag=1";
        let message = parsed("OPTIONS sip:c SIP/2.0", sound).expect("quoted pairs");
        let shown =
            |address: Result<NameAddr<'_>, _>| address.ok().and_then(|one| Some(one.display_name()?.into_owned()));
        assert_eq!((shown(message.to()), shown(message.from())), (Some("a\0b".into()), Some("\0\"".into())));
        for line in [
            "To: \"a\0b\" <sip:b@c>",
            "To: a\\\0b <sip:b@c>",
            "To: \"a\\\\\0b\" <sip:b@c>",
            "To: \"a\\\"\0b\" <sip:b@c>",
            "To: <sip:b@c>;tag=\"\\\0\"",
            "To: \"a\" <sip:b@c>;x=\"\\\0\"",
            "To: \"never closed \\\0 <sip:b@c>",
            "To: <sip:b@c>\r\nContact: \"A\\\0\" <sip:b@c>",
            "To: <sip:b@c>\r\nRequire: \"\\\0\"",
            "To: <sip:b@c>\r\nContent-Type: text/plain;x=\"\\\0\"",
            "To: <sip:b@c>\r\nX-Other: \"\\\0\"",
            "To: <sip:b@c>\r\nVia: SIP/2.0/TLS b;x=\"\\\0\"",
            "To: <sip:b@c>\r\nSubject: \0",
            "To: <sip:b@c>\r\n\0: 1",
        ] {
            for start in ["OPTIONS sip:c SIP/2.0", "SIP/2.0 200 OK"] {
                let said = parsed(start, &format!("f: <sip:a@c>;tag=1\r\n{line}")).expect_err("a NUL out of place");
                assert!(said.contains("NUL") || said.starts_with("header line 6"), "{line:?}: {said}");
            }
        }
    }

    #[test]
    fn what_a_transaction_is_known_by_stands_once() {
        let told = |via: &str, from: &str, to: &str| {
            let text = format!(
                "OPTIONS sip:c SIP/2.0\r\nVia: SIP/2.0/TLS a;{via}\r\nFrom: <sip:a@c>;{from}\r\nTo: <sip:b@c>{to}\r\n\
                 Call-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"
            );
            parse_datagram(Bytes::from(text), &Limits::default()).map(drop).map_err(|error| error.to_string())
        };
        let (sound, two) = ("branch=z9hG4bK1", "branch=z9hG4bK1;rport;Branch=z9hG4bK2");
        assert_eq!(told(&format!("{sound}, SIP/2.0/TLS b;{sound}"), "tag=1", ";tag=2"), Ok(()));
        assert_eq!(told("x\r\nX: 1", "tag=1", ""), Ok(()), "a bare Via");
        assert_eq!(told(two, "tag=1", ""), Err("Via is malformed: its branch stands twice".into()));
        assert_eq!(told(sound, "tag=1;tag=1", ""), Err("From is malformed: its tag stands twice".into()));
        assert_eq!(told(sound, "tag=1", ";tag=1;x=\">\";tag=2"), Err("To is malformed: its tag stands twice".into()));
    }

    #[test]
    fn a_tag_has_a_value() {
        for (to, told) in [
            ("<sip:b@c>;tag=1", Ok(())),
            ("<sip:b@c>;tag", Err("To is malformed: its tag is empty")),
            ("<sip:b@c>;tag ;x=1", Err("To is malformed: its tag is empty")),
            ("<sip:b@c>;TAG=", Err("To is malformed: its tag is empty")),
        ] {
            let text = format!(
                "OPTIONS sip:c SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:a@c>;tag=1\r\nTo: {to}\r\n\
                 Call-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n"
            );
            let message = parse_datagram(Bytes::from(text), &Limits::default()).expect("a proxy takes it");
            assert_eq!(message.check().map_err(|fault| fault.to_string()), told.map_err(str::to_owned), "{to}");
        }
    }

    #[test]
    fn every_element_of_every_address_list_is_read() {
        assert_eq!(checked("Contact: *"), Ok(()));
        assert_eq!(checked("Contact: <sip:a@b>, \"x\" <sip:c@d>;q=1\r\nPath: <sip:p;lr>, <sip:q;lr>"), Ok(()));
        for more in [
            "Contact: <sip:a@b>, <sip:c@d",
            "Contact: <sip:a@b:x>",
            "Path: <sip:p;lr>, p",
            "Route: *",
            "Via: SIP/2.0/TLS b;branch=z9hG4bK2, nonsense",
            "Expires: soon",
            "Expires: 4294967296",
            "Min-Expires: -1",
        ] {
            let name = more.split(':').next().unwrap();
            assert!(checked(more).is_err_and(|told| told.starts_with(name)), "{more}: {:?}", checked(more));
        }
    }
}
