//! The rules for one request ("Sending notification requests to APNs"), each with its documented reason.

use std::collections::{HashMap, HashSet};

use super::options::{Mode, ProviderKey};
use super::push_type::PushType;
use super::reason::Reason;
use crate::http2::Headers;

/// The fields of one request as they came, unchecked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fields<'a> {
    method: &'a [u8],
    path: &'a [u8],
    pub(super) authorization: Option<&'a [u8]>,
    topic: Option<&'a [u8]>,
    push_type: Option<&'a [u8]>,
    priority: Option<&'a [u8]>,
    expiration: Option<&'a [u8]>,
    collapse_id: Option<&'a [u8]>,
    apns_id: Option<&'a [u8]>,
    duplicate: bool,
    addressed: bool,
}

/// The same, read as far as they can be. What is wrong stands in the order in which it is reported.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading<'a> {
    pub(super) token: &'a str,
    pub(super) topic: Option<&'a str>,
    pub(super) push_type: Option<PushType>,
    pub(super) priority: Option<u8>,
    pub(super) expiration: Option<u64>,
    pub(super) collapse_id: Option<&'a str>,
    pub(super) apns_id: Option<&'a str>,
    /// The first thing wrong with method and path, before anybody is asked for a token.
    pub(super) address_fault: Option<Reason>,
    /// The first thing wrong with the fields.
    pub(super) field_fault: Option<Reason>,
}

impl<'a> Fields<'a> {
    pub(super) fn of(headers: &'a Headers) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers.iter() {
            let slot = match name {
                b":method" => {
                    fields.method = value;
                    continue;
                }
                b":path" => {
                    fields.path = value;
                    continue;
                }
                // Apple's own samples send `host` where RFC 9113 §8.3.1 wants `:authority`.
                b":authority" | b"host" => {
                    fields.addressed = true;
                    continue;
                }
                b"authorization" => &mut fields.authorization,
                b"apns-topic" => &mut fields.topic,
                b"apns-push-type" => &mut fields.push_type,
                b"apns-priority" => &mut fields.priority,
                b"apns-expiration" => &mut fields.expiration,
                b"apns-collapse-id" => &mut fields.collapse_id,
                b"apns-id" => &mut fields.apns_id,
                _ => continue,
            };
            fields.duplicate |= slot.is_some();
            *slot = Some(value);
        }
        fields
    }

    pub(super) fn read(self, mode: Mode) -> Reading<'a> {
        let token = device_token(self.path);
        let topic = self.topic.map(topic);
        let push_type = push_type(self.push_type, mode);
        let priority = self.priority.map(priority);
        let expiration = self.expiration.map(expiration);
        let collapse_id = self.collapse_id.map(collapse_id);
        let apns_id = self.apns_id.map(|id| message_id(id, mode));
        let address_fault = if self.method != b"POST" { Some(Reason::MethodNotAllowed) } else { token.err() };
        let faults = [
            self.duplicate.then_some(Reason::DuplicateHeaders),
            (!self.addressed && mode == Mode::Strict).then_some(Reason::BadPath),
            apns_id.and_then(Result::err),
            push_type.err(),
            topic.map_or(Some(Reason::MissingTopic), Result::err),
            priority.and_then(Result::err),
            expiration.and_then(Result::err),
            collapse_id.and_then(Result::err),
        ];
        Reading {
            token: token.unwrap_or_default(),
            topic: topic.and_then(Result::ok),
            push_type: push_type.ok(),
            priority: priority.and_then(Result::ok),
            expiration: expiration.and_then(Result::ok),
            collapse_id: collapse_id.and_then(Result::ok),
            apns_id: apns_id.and_then(Result::ok),
            address_fault,
            field_fault: faults.into_iter().flatten().next(),
        }
    }
}

impl Reading<'_> {
    /// What the fields ask of each other, of the key, and of the payload.
    pub(super) fn check(
        &self,
        mode: Mode,
        key: &ProviderKey,
        topics: &HashMap<String, HashSet<String>>,
        body_bytes: usize,
    ) -> Result<(), Reason> {
        if let Some(reason) = self.field_fault {
            return Err(reason);
        }
        let (Some(topic), Some(push_type)) = (self.topic, self.push_type) else { return Err(Reason::MissingTopic) };
        let bundle_id = push_type.bundle_id(topic).ok_or(Reason::BadTopic)?;
        if mode == Mode::Strict && push_type.is_foreign(topic) {
            return Err(Reason::BadTopic);
        }
        if topics.get(&key.team_id).is_some_and(|known| !known.contains(bundle_id)) {
            return Err(Reason::BadTopic);
        }
        if !key.topics.is_empty() && !key.topics.iter().any(|allowed| allowed == bundle_id) {
            return Err(Reason::TopicDisallowed);
        }
        // background: "Always use priority 5. Using priority 10 is an error." Absent, it is 10.
        let absent = if mode == Mode::Strict { 10 } else { 5 };
        if push_type == PushType::Background && self.priority.unwrap_or(absent) == 10 {
            return Err(Reason::BadPriority);
        }
        match body_bytes {
            0 => Err(Reason::PayloadEmpty),
            bytes if bytes > push_type.payload_bytes_max() => Err(Reason::PayloadTooLarge),
            _ => Ok(()),
        }
    }
}

/// `/3/device/` and the token in hexadecimal. Its length is Apple's business and may change.
fn device_token(path: &[u8]) -> Result<&str, Reason> {
    let Some(token) = path.strip_prefix(b"/3/device") else { return Err(Reason::BadPath) };
    let token = match token.split_first() {
        None => return Err(Reason::MissingDeviceToken),
        Some((b'/', token)) => token,
        Some(_) => return Err(Reason::BadPath),
    };
    if token.is_empty() {
        return Err(Reason::MissingDeviceToken);
    }
    if token.contains(&b'/') {
        return Err(Reason::BadPath);
    }
    let hex = token.len().is_multiple_of(2) && token.iter().all(u8::is_ascii_hexdigit);
    if !hex || token.len() > TOKEN_CHARS_MAX {
        return Err(Reason::BadDeviceToken);
    }
    std::str::from_utf8(token).map_err(|_| Reason::BadDeviceToken)
}

fn topic(value: &[u8]) -> Result<&str, Reason> {
    match std::str::from_utf8(value) {
        Ok("") => Err(Reason::MissingTopic),
        Ok(topic) if topic.len() <= TOPIC_CHARS_MAX => Ok(topic),
        Ok(_) | Err(_) => Err(Reason::BadTopic),
    }
}

fn push_type(value: Option<&[u8]>, mode: Mode) -> Result<PushType, Reason> {
    match (value, mode) {
        (Some(value), _) => PushType::parse(value).ok_or(Reason::InvalidPushType),
        // Required for watchOS 6 and later and recommended elsewhere; the live service does without.
        (None, Mode::AppleLike) => Ok(PushType::Alert),
        (None, Mode::Strict) => Err(Reason::InvalidPushType),
    }
}

fn priority(value: &[u8]) -> Result<u8, Reason> {
    match value {
        b"10" => Ok(10),
        b"5" => Ok(5),
        b"1" => Ok(1),
        _ => Err(Reason::BadPriority),
    }
}

/// Seconds since 1970 UTC; 0 is "now or never".
fn expiration(value: &[u8]) -> Result<u64, Reason> {
    let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| digits);
    text.and_then(|text| text.parse().ok()).ok_or(Reason::BadExpirationDate)
}

/// "must not exceed 64 bytes".
fn collapse_id(value: &[u8]) -> Result<&str, Reason> {
    let fits = (1..=64).contains(&value.len());
    std::str::from_utf8(value).ok().filter(|_| fits).ok_or(Reason::BadCollapseId)
}

/// "a canonical UUID: 32 lowercase hexadecimal digits, displayed in five groups separated by hyphens 8-4-4-4-12".
fn message_id(value: &[u8], mode: Mode) -> Result<&str, Reason> {
    let digit = |byte: u8| match mode {
        Mode::Strict => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        Mode::AppleLike => byte.is_ascii_hexdigit(),
    };
    let canonical = value.len() == 36
        && value.iter().enumerate().all(|(at, &byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => digit(byte),
        });
    std::str::from_utf8(value).ok().filter(|_| canonical).ok_or(Reason::BadMessageId)
}

/// A fresh random UUID (RFC 9562 §5.4), for pushes that bring none.
pub(super) fn fresh_uuid() -> String {
    let bits = rand::random::<u128>();
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

const TOKEN_CHARS_MAX: usize = 400;
const TOPIC_CHARS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

    /// A good request; a test changes what it is about.
    fn good<'a>() -> Fields<'a> {
        Fields {
            method: b"POST",
            path: b"/3/device/00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0",
            authorization: Some(b"bearer x"),
            topic: Some(b"com.example.app"),
            push_type: Some(b"alert"),
            priority: Some(b"10"),
            expiration: Some(b"0"),
            collapse_id: Some(b"conversation-7"),
            apns_id: Some(b"eabeae54-14a8-11e5-b60b-1697f925ec7b"),
            duplicate: false,
            addressed: true,
        }
    }

    fn key() -> ProviderKey {
        ProviderKey::new("TEAM", "KEY1", vec![])
    }

    fn verdict(fields: Fields<'_>, mode: Mode, body_bytes: usize) -> Result<(), Reason> {
        let reading = fields.read(mode);
        reading.address_fault.map_or(Ok(()), Err)?;
        reading.check(mode, &key(), &HashMap::new(), body_bytes)
    }

    #[test]
    fn a_good_request_is_read_and_passes() {
        let reading = good().read(Mode::Strict);
        assert_eq!((reading.token, reading.topic), (TOKEN, Some("com.example.app")));
        assert_eq!((reading.push_type, reading.priority), (Some(PushType::Alert), Some(10)));
        assert_eq!((reading.expiration, reading.collapse_id), (Some(0), Some("conversation-7")));
        assert_eq!(verdict(good(), Mode::Strict, 100), Ok(()));
    }

    #[test]
    fn each_broken_rule_has_its_documented_reason() {
        let long = [b'x'; 65];
        let cases: [(&str, Fields<'_>, Reason); 27] = [
            ("method", Fields { method: b"GET", ..good() }, Reason::MethodNotAllowed),
            ("path", Fields { path: b"/4/device/ab", ..good() }, Reason::BadPath),
            ("longer word", Fields { path: b"/3/devices/ab", ..good() }, Reason::BadPath),
            ("path behind the token", Fields { path: b"/3/device/ab/cd", ..good() }, Reason::BadPath),
            ("no token", Fields { path: b"/3/device/", ..good() }, Reason::MissingDeviceToken),
            ("no slash", Fields { path: b"/3/device", ..good() }, Reason::MissingDeviceToken),
            ("not hexadecimal", Fields { path: b"/3/device/zz", ..good() }, Reason::BadDeviceToken),
            ("half an octet", Fields { path: b"/3/device/abc", ..good() }, Reason::BadDeviceToken),
            ("repeated", Fields { duplicate: true, ..good() }, Reason::DuplicateHeaders),
            ("no host", Fields { addressed: false, ..good() }, Reason::BadPath),
            ("no topic", Fields { topic: None, ..good() }, Reason::MissingTopic),
            ("empty topic", Fields { topic: Some(b""), ..good() }, Reason::MissingTopic),
            ("odd topic", Fields { topic: Some(b"com.example/app"), ..good() }, Reason::BadTopic),
            ("another type's topic", Fields { topic: Some(b"com.example.app.voip"), ..good() }, Reason::BadTopic),
            ("voip without suffix", Fields { push_type: Some(b"voip"), ..good() }, Reason::BadTopic),
            ("unknown type", Fields { push_type: Some(b"shout"), ..good() }, Reason::InvalidPushType),
            ("no type", Fields { push_type: None, ..good() }, Reason::InvalidPushType),
            ("priority", Fields { priority: Some(b"7"), ..good() }, Reason::BadPriority),
            ("background at 10", Fields { push_type: Some(b"background"), ..good() }, Reason::BadPriority),
            (
                "background at the default",
                Fields { push_type: Some(b"background"), priority: None, ..good() },
                Reason::BadPriority,
            ),
            ("expiration", Fields { expiration: Some(b"soon"), ..good() }, Reason::BadExpirationDate),
            ("negative expiration", Fields { expiration: Some(b"-1"), ..good() }, Reason::BadExpirationDate),
            ("long collapse id", Fields { collapse_id: Some(&long), ..good() }, Reason::BadCollapseId),
            ("apns-id", Fields { apns_id: Some(b"17"), ..good() }, Reason::BadMessageId),
            (
                "apns-id with a digit for a hyphen",
                Fields { apns_id: Some(b"eabeae54114a8-11e5-b60b-1697f925ec7b"), ..good() },
                Reason::BadMessageId,
            ),
            (
                "apns-id in capitals",
                Fields { apns_id: Some(b"EABEAE54-14A8-11E5-B60B-1697F925EC7B"), ..good() },
                Reason::BadMessageId,
            ),
            (
                "many at once: the first rule speaks",
                Fields { topic: None, priority: Some(b"7"), push_type: Some(b"shout"), ..good() },
                Reason::InvalidPushType,
            ),
        ];
        for (what, fields, reason) in cases {
            assert_eq!(verdict(fields, Mode::Strict, 100), Err(reason), "{what}");
        }
    }

    #[test]
    fn what_the_live_service_takes_is_taken_when_apple_like() {
        let cases: [(&str, Fields<'_>); 5] = [
            ("no type", Fields { push_type: None, ..good() }),
            ("no host", Fields { addressed: false, ..good() }),
            ("capital apns-id", Fields { apns_id: Some(b"EABEAE54-14A8-11E5-B60B-1697F925EC7B"), ..good() }),
            ("alert to a voip topic", Fields { topic: Some(b"com.example.app.voip"), ..good() }),
            ("background at the default", Fields { push_type: Some(b"background"), priority: None, ..good() }),
        ];
        for (what, fields) in cases {
            assert_eq!(verdict(fields, Mode::AppleLike, 100), Ok(()), "{what}");
        }
    }

    #[test]
    fn payload_limits_follow_the_push_type() {
        let voip = Fields { push_type: Some(b"voip"), topic: Some(b"com.example.app.voip"), ..good() };
        let cases = [
            (good(), 0, Err(Reason::PayloadEmpty)),
            (good(), 4096, Ok(())),
            (good(), 4097, Err(Reason::PayloadTooLarge)),
            (voip, 5120, Ok(())),
            (voip, 5121, Err(Reason::PayloadTooLarge)),
        ];
        for (fields, bytes, expected) in cases {
            assert_eq!(verdict(fields, Mode::Strict, bytes), expected, "{bytes}");
        }
    }

    #[test]
    fn topics_are_limited_by_team_and_by_key() {
        let topics = HashMap::from([("TEAM".to_owned(), HashSet::from(["com.example.other".to_owned()]))]);
        let reading = good().read(Mode::Strict);
        assert_eq!(reading.check(Mode::Strict, &key(), &topics, 9), Err(Reason::BadTopic));
        let narrow = ProviderKey { topics: vec!["com.example.other".to_owned()], ..key() };
        assert_eq!(reading.check(Mode::Strict, &narrow, &HashMap::new(), 9), Err(Reason::TopicDisallowed));
        let wide = ProviderKey { topics: vec!["com.example.app".to_owned()], ..key() };
        assert_eq!(reading.check(Mode::Strict, &wide, &HashMap::new(), 9), Ok(()));
    }

    #[test]
    fn a_fresh_uuid_is_canonical_and_of_version_4() {
        let id = fresh_uuid();
        assert!(message_id(id.as_bytes(), Mode::Strict).is_ok(), "{id}");
        assert_eq!(&id[14..15], "4");
        assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
        assert_ne!(id, fresh_uuid());
    }
}
