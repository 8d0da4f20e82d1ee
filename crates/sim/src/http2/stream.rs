//! One stream, and what makes a request well formed (RFC 9113 §8.2 and §8.3).

use bytes::Bytes;

use super::Headers;

/// RFC 9113 §5.1: a stream on which a request arrives and one answer leaves.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) headers: Headers,
    pub(super) content_length: Option<usize>,
    /// The beginning of the body, as much as the limits keep.
    pub(super) body: Vec<u8>,
    pub(super) body_bytes: usize,
    /// END_STREAM was received.
    pub(super) remote_closed: bool,
    /// What the peer may still send here (§6.9).
    pub(super) receive_window: i64,
    /// What we may still send here.
    pub(super) send_window: i64,
    /// The rest of the answer's body, for which the windows were too small.
    pub(super) unsent: Bytes,
}

impl Stream {
    pub(super) fn new(headers: Headers, content_length: Option<usize>, receive_window: i64, send_window: i64) -> Self {
        Self {
            headers,
            content_length,
            body: Vec::new(),
            body_bytes: 0,
            remote_closed: false,
            receive_window,
            send_window,
            unsent: Bytes::new(),
        }
    }
}

/// The request is malformed (RFC 9113 §8.1.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

/// Checks a request's header section; answers its content-length.
pub(super) fn check_request(headers: &Headers) -> Result<Option<usize>, Malformed> {
    let (mut method, mut scheme, mut path, mut authority) = (0, 0, 0, 0);
    let mut content_length = None;
    let mut regular_seen = false;
    for (name, value) in headers.iter() {
        check_value(value)?;
        if name.first() == Some(&b':') {
            // §8.3: pseudo-header fields come first, are known, and appear once.
            if regular_seen {
                return Err(Malformed);
            }
            let count = match name {
                b":method" => &mut method,
                b":scheme" => &mut scheme,
                b":path" if !value.is_empty() => &mut path,
                b":authority" => &mut authority,
                _ => return Err(Malformed),
            };
            *count += 1;
            continue;
        }
        regular_seen = true;
        check_name(name)?;
        match name {
            // §8.2.2: what HTTP/1.1 says about connections has no place here.
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding" | b"upgrade" => {
                return Err(Malformed);
            }
            b"te" if value != b"trailers" => return Err(Malformed),
            b"content-length" => {
                let length = decimal(value).ok_or(Malformed)?;
                if content_length.is_some_and(|known| known != length) {
                    return Err(Malformed);
                }
                content_length = Some(length);
            }
            _ => {}
        }
    }
    // §8.3.1: exactly one method, scheme and path; CONNECT is not for us.
    if (method, scheme, path) != (1, 1, 1) || authority > 1 {
        return Err(Malformed);
    }
    Ok(content_length)
}

/// Checks a trailer section: §8.1: no pseudo-header fields.
pub(super) fn check_trailers(headers: &Headers) -> Result<(), Malformed> {
    headers.iter().try_for_each(|(name, value)| check_name(name).and_then(|()| check_value(value)))
}

/// §8.2.1: a name is not empty, in lower case, without space, control characters or a colon.
fn check_name(name: &[u8]) -> Result<(), Malformed> {
    let forbidden = |byte: &u8| matches!(byte, 0x00..=0x20 | b'A'..=b'Z' | b':' | 0x7f..);
    if name.is_empty() || name.iter().any(forbidden) { Err(Malformed) } else { Ok(()) }
}

/// §8.2.1: a value holds no NUL, LF or CR, and neither begins nor ends with blank.
fn check_value(value: &[u8]) -> Result<(), Malformed> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let broken = value.iter().any(|byte| matches!(byte, 0 | b'\n' | b'\r'));
    if broken || blank(value.first()) || blank(value.last()) { Err(Malformed) } else { Ok(()) }
}

fn decimal(value: &[u8]) -> Option<usize> {
    let digits = !value.is_empty() && value.len() <= 12 && value.iter().all(u8::is_ascii_digit);
    digits.then(|| value.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> Headers {
        fields.iter().copied().collect()
    }

    const GOOD: [(&str, &str); 3] = [(":method", "POST"), (":scheme", "https"), (":path", "/x")];

    #[test]
    fn a_plain_request_is_well_formed() {
        assert_eq!(check_request(&headers(&GOOD)), Ok(None));
        let with_length = [&GOOD[..], &[("content-length", "42"), ("te", "trailers")]].concat();
        assert_eq!(check_request(&headers(&with_length)), Ok(Some(42)));
    }

    #[test]
    fn each_violation_of_section_8_is_malformed() {
        let with = |extra: (&'static str, &'static str)| [&GOOD[..], &[extra]].concat();
        let cases = [
            ("upper case", with(("Apns-Topic", "x"))),
            ("empty name", with(("", "x"))),
            ("space in name", with(("a b", "x"))),
            ("colon in name", with(("a:b", "x"))),
            ("line break in value", with(("a", "x\r\ny"))),
            ("leading blank", with(("a", " x"))),
            ("trailing blank", with(("a", "x\t"))),
            ("connection", with(("connection", "close"))),
            ("transfer-encoding", with(("transfer-encoding", "chunked"))),
            ("te", with(("te", "gzip"))),
            ("length not a number", with(("content-length", "4x"))),
            ("two lengths", [&GOOD[..], &[("content-length", "4"), ("content-length", "5")]].concat()),
            ("unknown pseudo-header", [&[(":color", "red")], &GOOD[..]].concat()),
            ("pseudo-header last", [&GOOD[..2], &[("a", "b"), (":path", "/x")]].concat()),
            ("no path", GOOD[..2].to_vec()),
            ("empty path", [&GOOD[..2], &[(":path", "")]].concat()),
            ("method twice", [&GOOD[..1], &GOOD[..]].concat()),
            ("authority twice", [&GOOD[..], &[(":authority", "a"), (":authority", "a")]].concat()),
        ];
        for (what, fields) in cases {
            assert_eq!(check_request(&headers(&fields)), Err(Malformed), "{what}");
        }
    }

    #[test]
    fn trailers_hold_no_pseudo_headers() {
        assert_eq!(check_trailers(&headers(&[("x-sum", "1")])), Ok(()));
        assert_eq!(check_trailers(&headers(&[(":path", "/")])), Err(Malformed));
    }
}
