//! The grammars of header values: no text makes one panic, and what reads can be written so that it reads the same.

use reveille_sip::auth::{AuthenticationInfo, Challenge, Covered, Credentials, Session};
use reveille_sip::{
    CSeq, Host, Method, NameAddr, Params, PushOffer, Uri, Via, elements, escape_param, quote, strip_push_params,
    unescape, unquote,
};

/// Bytes as the value of each kind of header field.
pub(crate) fn headers(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Parsers only ever see one line.
    if text.contains(['\r', '\n']) {
        return;
    }
    value(text);
    for element in elements(text) {
        value(element);
    }
    for uri in [text.to_owned(), format!("sip:{text}"), format!("sip:a@b;{text}"), format!("sip:{text}@b")] {
        self::uri(&uri);
    }
}

/// One value, read as everything that it may be.
pub(crate) fn value(text: &str) {
    via(text);
    address(text);
    numbered(text);
    digest(text);
    quoting(text);
    let _ = Params::new(text).count();
    assert!(elements(text).all(|element| !element.is_empty() && text.contains(element)));
}

fn via(text: &str) {
    let Ok(via) = Via::parse(text) else { return };
    assert!(text.contains(via.sent_by()));
    host(via.host());
    let _ = (via.branch(), via.received(), via.rport(), via.alias());
    let port = via.port().map(|port| format!(":{port}")).unwrap_or_default();
    let written = format!("SIP/2.0/{} {}{port};{}", via.transport(), via.host(), via.params().as_str());
    let again = Via::parse(&written).expect("a Via reads back");
    assert_eq!((again.transport(), again.host(), again.port()), (via.transport(), via.host(), via.port()));
    assert_eq!((again.branch(), again.received(), again.rport()), (via.branch(), via.received(), via.rport()));
}

fn host(host: Host<'_>) {
    assert_eq!(Host::parse(&host.to_string()), Ok(host));
}

fn address(text: &str) {
    let Ok(address) = NameAddr::parse(text) else { return };
    assert_eq!(&text[address.uri_range()], address.uri_text());
    let _ = (address.expires(), address.q_thousandths(), address.reg_id(), address.instance());
    uri(address.uri_text());
    let display = address.display_name();
    let name = display.as_deref().map(quote).unwrap_or_default();
    let written = format!("{name}<{}>;{}", address.uri_text(), address.params().as_str().trim_start_matches(';'));
    let again = NameAddr::parse(&written).expect("an address reads back");
    // Quoting makes a blank of what may not stand in a line.
    let shown = display.as_deref().map(|name| name.replace('\0', " "));
    assert_eq!((again.display_name().as_deref(), again.uri_text()), (shown.as_deref(), address.uri_text()));
    assert_eq!(again.tag(), address.tag());
}

fn uri(text: &str) {
    let Ok(uri) = Uri::parse(text) else { return };
    assert_eq!(uri.as_str(), text);
    assert!(uri.equivalent(&uri), "{uri} is equivalent to itself");
    if let Some(found) = uri.host() {
        host(found);
    }
    let _ = PushOffer::read(uri.params());
    let stripped = strip_push_params(text);
    assert_eq!(strip_push_params(&stripped), stripped, "stripping twice is stripping once");
    if !uri.is_sip() {
        return;
    }
    let plain = Uri::parse(&stripped).expect("a URI is left");
    assert!(matches!(PushOffer::read(plain.params()), Ok(PushOffer::Absent)), "{stripped} offers nothing");
    assert_eq!((plain.user(), plain.host(), plain.port()), (uri.user(), uri.host(), uri.port()));
    let mut params = uri.params();
    let push = |name: &str| unescape(name).unwrap_or_else(|_| name.into()).to_ascii_lowercase().starts_with("pn-");
    if !params.any(|(name, _)| push(name)) {
        assert_eq!(stripped, text, "nothing else is taken out");
    }
}

fn numbered(text: &str) {
    let Ok(cseq) = CSeq::parse(text) else { return };
    assert_eq!(Method::parse(cseq.method.as_str()), cseq.method);
    let written = format!("{} {}", cseq.number, cseq.method);
    assert_eq!(CSeq::parse(&written), Ok(cseq));
}

fn digest(text: &str) {
    if let Ok(challenge) = Challenge::parse(text) {
        let safe = |text: &str| !text.contains('\0');
        if safe(&challenge.realm) && safe(&challenge.nonce) && challenge.opaque.as_deref().is_none_or(safe) {
            assert_eq!(Challenge::parse(&challenge.to_string()).as_ref(), Ok(&challenge));
            answered(challenge);
        }
    }
    let _ = AuthenticationInfo::parse(text);
    if let Ok(credentials) = Credentials::parse(text) {
        assert!(!format!("{credentials:?}").contains(&*credentials.response), "a digest is not shown");
    }
}

/// Whatever was asked for, the answer reads back.
fn answered(challenge: Challenge<'_>) {
    let (nonce, protection) = (challenge.nonce.clone(), challenge.protection());
    let mut session = Session::new(challenge.clone(), "bob", "secret");
    let value = session.answer(Covered { method: "MESSAGE", uri: "sip:a@b", body: b"x" }, "c");
    let credentials = Credentials::parse(&value).expect("an answer reads back");
    assert_eq!(credentials.nonce, nonce);
    assert_eq!(credentials.qop.map(|qop| qop.protection), protection);
}

fn quoting(text: &str) {
    let plain = text.replace('\0', " ");
    assert_eq!(unquote(&quote(text)), plain);
    assert_eq!(unescape(&escape_param(text)).as_deref(), Ok(text));
    let _ = unescape(text);
    let _ = unquote(text);
}
