//! The request body of `messages:send` (discovery document `fcm.v1`, revision 20261023): shapes as data, then rules.

use serde_json::{Map, Value};

use super::error::{Refusal, Violation};
use super::push::Target;

/// A body that keeps the rules.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) validate_only: bool,
    pub(super) target: Target,
    pub(super) token: Box<str>,
    pub(super) priority: Option<&'static str>,
    pub(super) ttl: Option<Box<str>>,
    pub(super) collapse_key: Option<Box<str>>,
    pub(super) message: Value,
}

/// Checks a body.
pub(super) fn check(body: &[u8]) -> Result<Checked, Refusal> {
    let mut root: Value = serde_json::from_slice(body)
        .map_err(|broken| Refusal::plain(400, &format!("Invalid JSON payload received. {broken}")))?;
    let mut violations = Vec::new();
    walk(&mut root, &Shape::Fields(ROOT), "", &mut violations);
    if !violations.is_empty() {
        return Err(Refusal::fields(violations));
    }
    let validate_only = root["validateOnly"].as_bool().unwrap_or(false);
    let message = root["message"].take();
    let (target, token) = one_target(&message)?;
    if target == Target::Topic && !is_topic(&token) {
        return Err(violation("message.topic", "Malformed topic name"));
    }
    // The second documented sample of INVALID_ARGUMENT: a malformed token, with FcmError.
    if matches!(target, Target::Token | Target::Fid) && !is_token(&token) {
        let refusal = violation("message.token", "The registration token is not a valid FCM registration token");
        return Err(Refusal { code: Some("INVALID_ARGUMENT".to_owned()), ..refusal });
    }
    if !message["android"].is_null() && !message["androidV2"].is_null() {
        return Err(violation("message", "android and androidV2 cannot both be set"));
    }
    let limit = if target == Target::Topic { TOPIC_BYTES_MAX } else { BYTES_MAX };
    if payload_bytes(&message) > limit {
        let refusal = Refusal::plain(400, "Android message is too big");
        return Err(Refusal { code: Some("INVALID_ARGUMENT".to_owned()), ..refusal });
    }
    let android = &message["android"];
    let text = |value: &Value| value.as_str().map(Box::from);
    Ok(Checked {
        validate_only,
        target,
        token,
        priority: match android["priority"].as_str().map(str::to_ascii_uppercase).as_deref() {
            Some("HIGH") => Some("HIGH"),
            Some(_) => Some("NORMAL"),
            None => None,
        },
        ttl: text(&android["ttl"]),
        collapse_key: text(&android["collapseKey"]),
        message,
    })
}

fn violation(field: &str, description: &str) -> Refusal {
    Refusal::fields(vec![Violation { field: field.to_owned(), description: description.to_owned() }])
}

fn one_target(message: &Value) -> Result<(Target, Box<str>), Refusal> {
    let named =
        [(Target::Fid, "fid"), (Target::Token, "token"), (Target::Topic, "topic"), (Target::Condition, "condition")];
    let mut set = named.iter().filter_map(|(target, name)| Some((*target, message[*name].as_str()?)));
    match (set.next(), set.next()) {
        (Some((target, value)), None) => Ok((target, value.into())),
        (None, _) => Err(violation("message", "Recipient of the message is not set.")),
        (Some(_), Some(_)) => Err(violation("message", "Exactly one of fid, token, topic, condition must be set")),
    }
}

/// "pattern `[a-zA-Z0-9-_.~%]{1,900}`", without `/topics/`.
fn is_topic(topic: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'%');
    (1..=900).contains(&topic.len()) && topic.bytes().all(allowed)
}

fn is_token(token: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b':');
    (1..=4096).contains(&token.len()) && token.bytes().all(allowed)
}

/// Keys and values of `data`, and the texts of `notification`.
fn payload_bytes(message: &Value) -> usize {
    let texts = |value: &Value| -> usize {
        let fields = value.as_object().map(Map::iter).into_iter().flatten();
        fields.map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum()
    };
    let android = &message["android"];
    let data = if android["data"].is_null() { &message["data"] } else { &android["data"] };
    texts(data) + texts(&message["notification"]).max(texts(&android["notification"]))
}

/// What may stand in a field.
enum Shape {
    Text,
    Flag,
    Number,
    /// A google-duration, 0 to 4 weeks.
    Ttl,
    /// Any google-duration.
    Duration,
    /// `#rrggbb`
    Color,
    /// One of these, in any case.
    OneOf(&'static [&'static str]),
    /// String to string.
    Texts,
    /// String to string, with reserved keys.
    Data,
    ListOf(&'static Self),
    /// Free JSON object.
    Anything,
    Fields(&'static [(&'static str, Self)]),
}

/// Checks a value against its shape, and renames snake_case fields to lowerCamel (protobuf's JSON takes both).
fn walk(value: &mut Value, shape: &Shape, path: &str, violations: &mut Vec<Violation>) {
    let mut wrong = |description: String| violations.push(Violation { field: path.to_owned(), description });
    let invalid = |kind: &str, value: &Value| format!("Invalid value at '{path}' ({kind}), {value}");
    match (shape, &mut *value) {
        // Protobuf's JSON: null is an absent field.
        (_, Value::Null) => {}
        (Shape::Text, Value::String(_)) | (Shape::Flag, Value::Bool(_)) => {}
        (Shape::Number, Value::Number(_)) | (Shape::Anything, Value::Object(_)) => {}
        (Shape::Number, Value::String(digits)) if digits.parse::<f64>().is_ok() => {}
        (Shape::Ttl, Value::String(text)) => match duration_secs(text) {
            Some(secs) if secs <= TTL_SECS_MAX => {}
            Some(_) => wrong(format!("Invalid ttl at '{path}': at most four weeks")),
            None => wrong(invalid("google.protobuf.Duration", value)),
        },
        (Shape::Duration, Value::String(text)) if duration_secs(text).is_some() => {}
        (Shape::Color, Value::String(text)) if is_color(text) => {}
        (Shape::OneOf(words), Value::String(text)) if words.iter().any(|word| word.eq_ignore_ascii_case(text)) => {}
        (Shape::Texts | Shape::Data, Value::Object(fields)) => {
            for (name, value) in fields {
                let path = format!("{path}[{name}]");
                if !value.is_string() {
                    let description = format!("Invalid value at '{path}' (TYPE_STRING), {value}");
                    violations.push(Violation { field: path, description });
                } else if matches!(shape, Shape::Data) && is_reserved(name) {
                    violations
                        .push(Violation { field: path, description: format!("Invalid data payload key: {name}") });
                }
            }
        }
        (Shape::ListOf(inner), Value::Array(items)) => {
            for (at, item) in items.iter_mut().enumerate() {
                walk(item, inner, &format!("{path}[{at}]"), violations);
            }
        }
        (Shape::Fields(known), Value::Object(fields)) => {
            for (name, mut value) in std::mem::take(fields) {
                let Some((camel, shape)) = known.iter().find(|(camel, _)| *camel == name || snake(camel) == name)
                else {
                    let place = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
                    let sentence = "Invalid JSON payload received. Unknown name";
                    let description = format!("{sentence} \"{name}\"{place}: Cannot find field.");
                    violations.push(Violation { field: path.to_owned(), description });
                    continue;
                };
                let path = if path.is_empty() { (*camel).to_owned() } else { format!("{path}.{camel}") };
                walk(&mut value, shape, &path, violations);
                fields.insert((*camel).to_owned(), value);
            }
        }
        (shape, value) => wrong(invalid(shape.kind(), value)),
    }
}

impl Shape {
    fn kind(&self) -> &'static str {
        match self {
            Self::Text | Self::Color => "TYPE_STRING",
            Self::Flag => "TYPE_BOOL",
            Self::Number => "TYPE_DOUBLE",
            Self::Ttl | Self::Duration => "google.protobuf.Duration",
            Self::OneOf(_) => "TYPE_ENUM",
            Self::Texts | Self::Data => "Map",
            Self::ListOf(_) => "repeated",
            Self::Anything => "google.protobuf.Struct",
            Self::Fields(_) => "message",
        }
    }
}

fn snake(camel: &str) -> String {
    let mut out = String::with_capacity(camel.len() + 4);
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

/// `"3.5s"`: seconds with at most nine fractional digits; answers whole seconds, rounded up.
fn duration_secs(text: &str) -> Option<u64> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let more = u64::from(fraction.bytes().any(|byte| byte != b'0'));
    whole.parse::<u64>().ok()?.checked_add(more)
}

fn is_color(text: &str) -> bool {
    text.strip_prefix('#').is_some_and(|hex| hex.len() == 6 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// "must not be `from`, `message_type`, nor start with `google.` or `gcm.notification.`"
fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type") || key.starts_with("google.") || key.starts_with("gcm.notification.")
}

const BYTES_MAX: usize = 4096;
const TOPIC_BYTES_MAX: usize = 2048;
const TTL_SECS_MAX: u64 = 4 * 7 * 86_400;

const ROOT: &[(&str, Shape)] = &[("validateOnly", Shape::Flag), ("message", Shape::Fields(MESSAGE))];

const MESSAGE: &[(&str, Shape)] = &[
    ("name", Shape::Text),
    ("fid", Shape::Text),
    ("token", Shape::Text),
    ("topic", Shape::Text),
    ("condition", Shape::Text),
    ("data", Shape::Data),
    ("notification", Shape::Fields(&[("title", Shape::Text), ("body", Shape::Text), ("image", Shape::Text)])),
    ("android", Shape::Fields(ANDROID)),
    ("androidV2", Shape::Fields(ANDROID_V2)),
    ("apns", Shape::Fields(APNS)),
    ("webpush", Shape::Fields(WEBPUSH)),
    ("fcmOptions", Shape::Fields(ANALYTICS)),
];

const ANALYTICS: &[(&str, Shape)] = &[("analyticsLabel", Shape::Text)];

const ANDROID: &[(&str, Shape)] = &[
    ("collapseKey", Shape::Text),
    ("priority", Shape::OneOf(&["NORMAL", "HIGH"])),
    ("ttl", Shape::Ttl),
    ("restrictedPackageName", Shape::Text),
    ("directBootOk", Shape::Flag),
    ("bandwidthConstrainedOk", Shape::Flag),
    ("restrictedSatelliteOk", Shape::Flag),
    ("data", Shape::Data),
    ("notification", Shape::Fields(ANDROID_NOTIFICATION)),
    ("fcmOptions", Shape::Fields(ANALYTICS)),
];

const ANDROID_V2: &[(&str, Shape)] = &[
    ("backgroundSync", Shape::Fields(&[])),
    (
        "remoteNotification",
        Shape::Fields(&[
            ("mutableContent", Shape::Flag),
            ("notification", Shape::Fields(ANDROID_NOTIFICATION)),
            ("useAsV1DataMessage", Shape::Flag),
        ]),
    ),
    ("collapseKey", Shape::Text),
    ("ttl", Shape::Ttl),
    ("data", Shape::Data),
    ("directBootOk", Shape::Flag),
    ("bandwidthConstrainedOk", Shape::Flag),
    ("restrictedSatelliteOk", Shape::Flag),
    ("restrictedPackageName", Shape::Text),
    ("fcmOptions", Shape::Fields(ANALYTICS)),
];

const ANDROID_NOTIFICATION: &[(&str, Shape)] = &[
    ("title", Shape::Text),
    ("body", Shape::Text),
    ("titleLocKey", Shape::Text),
    ("titleLocArgs", Shape::ListOf(&Shape::Text)),
    ("bodyLocKey", Shape::Text),
    ("bodyLocArgs", Shape::ListOf(&Shape::Text)),
    ("icon", Shape::Text),
    ("color", Shape::Color),
    ("sound", Shape::Text),
    ("tag", Shape::Text),
    ("clickAction", Shape::Text),
    ("channelId", Shape::Text),
    ("ticker", Shape::Text),
    ("sticky", Shape::Flag),
    ("eventTime", Shape::Text),
    ("localOnly", Shape::Flag),
    (
        "notificationPriority",
        Shape::OneOf(&[
            "PRIORITY_UNSPECIFIED",
            "PRIORITY_MIN",
            "PRIORITY_LOW",
            "PRIORITY_DEFAULT",
            "PRIORITY_HIGH",
            "PRIORITY_MAX",
        ]),
    ),
    ("defaultSound", Shape::Flag),
    ("defaultVibrateTimings", Shape::Flag),
    ("defaultLightSettings", Shape::Flag),
    ("vibrateTimings", Shape::ListOf(&Shape::Duration)),
    ("visibility", Shape::OneOf(&["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"])),
    ("notificationCount", Shape::Number),
    (
        "lightSettings",
        Shape::Fields(&[
            (
                "color",
                Shape::Fields(&[
                    ("red", Shape::Number),
                    ("green", Shape::Number),
                    ("blue", Shape::Number),
                    ("alpha", Shape::Number),
                ]),
            ),
            ("lightOnDuration", Shape::Duration),
            ("lightOffDuration", Shape::Duration),
        ]),
    ),
    ("image", Shape::Text),
    ("proxy", Shape::OneOf(&["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"])),
];

const APNS: &[(&str, Shape)] = &[
    ("headers", Shape::Texts),
    ("payload", Shape::Anything),
    ("fcmOptions", Shape::Fields(&[("analyticsLabel", Shape::Text), ("image", Shape::Text)])),
    ("liveActivityToken", Shape::Text),
];

const WEBPUSH: &[(&str, Shape)] = &[
    ("headers", Shape::Texts),
    ("data", Shape::Texts),
    ("notification", Shape::Anything),
    ("fcmOptions", Shape::Fields(&[("link", Shape::Text), ("analyticsLabel", Shape::Text)])),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn checked(message: Value) -> Result<Checked, Refusal> {
        check(json!({ "message": message }).to_string().as_bytes())
    }

    #[test]
    fn a_full_message_is_read_in_either_spelling() {
        for (ttl, collapse, direct) in
            [("ttl", "collapseKey", "directBootOk"), ("ttl", "collapse_key", "direct_boot_ok")]
        {
            let message = json!({
                "token": "dev:APA91_x-1", "data": {"push": "1"},
                "android": {"priority": "high", ttl: "30s", collapse: "c-7", direct: true,
                    "notification": {"title_loc_key": "NEW", "bodyLocArgs": ["a"], "color": "#00ff7f",
                        "vibrateTimings": ["0.5s"], "visibility": "PRIVATE"}},
                "apns": {"headers": {"apns-priority": "5"}, "payload": {"aps": {"badge": 1}}},
            });
            let read = checked(message).unwrap();
            assert_eq!((read.target, &*read.token, read.priority), (Target::Token, "dev:APA91_x-1", Some("HIGH")));
            assert_eq!((read.ttl.as_deref(), read.collapse_key.as_deref()), (Some("30s"), Some("c-7")));
            assert_eq!(read.message["android"]["notification"]["titleLocKey"], "NEW");
            assert_eq!(read.message["android"]["directBootOk"], true);
            assert!(!read.validate_only);
        }
    }

    #[test]
    fn each_target_is_known_and_just_one_is_allowed() {
        let rows = [("fid", Target::Fid), ("token", Target::Token), ("topic", Target::Topic)];
        for (name, target) in rows {
            assert_eq!(checked(json!({ name: "abc" })).unwrap().target, target);
        }
        let condition = checked(json!({"condition": "'a' in topics && 'b' in topics"})).unwrap();
        assert_eq!(condition.target, Target::Condition);
        assert!(checked(json!({"token": "a", "topic": "b"})).is_err());
        assert!(checked(json!({"data": {}})).is_err());
    }

    #[test]
    fn what_breaks_a_rule_is_named_by_field() {
        let big = "x".repeat(4096);
        let topic_big = "x".repeat(2048);
        let cases = [
            (json!({"token": "a", "colour": 1}), "message"),
            (json!({"token": "a", "android": {"ttl": "30"}}), "message.android.ttl"),
            (json!({"token": "a", "android": {"ttl": "2419201s"}}), "message.android.ttl"),
            (json!({"token": "a", "android": {"ttl": "-1s"}}), "message.android.ttl"),
            (json!({"token": "a", "android": {"ttl": 30}}), "message.android.ttl"),
            (json!({"token": "a", "android": {"priority": "URGENT"}}), "message.android.priority"),
            (json!({"token": "a", "android": {"directBootOk": "yes"}}), "message.android.directBootOk"),
            (json!({"token": "a", "data": {"n": 1}}), "message.data[n]"),
            (json!({"token": "a", "data": {"from": "x"}}), "message.data[from]"),
            (json!({"token": "a", "data": {"google.x": "x"}}), "message.data[google.x]"),
            (
                json!({"token": "a", "android": {"data": {"gcm.notification.x": "x"}}}),
                "message.android.data[gcm.notification.x]",
            ),
            (
                json!({"token": "a", "android": {"notification": {"color": "red"}}}),
                "message.android.notification.color",
            ),
            (json!({"token": "a", "apns": {"headers": {"apns-priority": 5}}}), "message.apns.headers[apns-priority]"),
            (json!({"token": "a", "android": {}, "androidV2": {}}), "message"),
            (json!({"token": "two words"}), "message.token"),
            (json!({"topic": "/topics/news"}), "message.topic"),
            (json!({"token": "a", "data": {"k": big}}), "too big"),
            (json!({"topic": "a", "data": {"k": topic_big}}), "too big"),
            (json!("text"), "message"),
        ];
        for (message, field) in cases {
            let refusal = checked(message.clone()).unwrap_err();
            assert_eq!(refusal.status, 400, "{message}");
            match refusal.violations.first() {
                Some(violation) => assert_eq!(violation.field, field, "{message}"),
                None => assert!(refusal.message.contains(field), "{message}"),
            }
        }
        assert!(check(b"{").is_err());
        assert!(check(br#"{"massage":{}}"#).unwrap_err().message.contains("massage"));
    }

    #[test]
    fn a_malformed_token_is_an_fcm_error_and_a_bad_field_is_not() {
        assert_eq!(checked(json!({"token": "a b"})).unwrap_err().code.as_deref(), Some("INVALID_ARGUMENT"));
        assert_eq!(checked(json!({"token": "a", "x": 1})).unwrap_err().code, None);
    }

    #[test]
    fn durations_are_seconds_with_up_to_nine_digits_behind_the_point() {
        let rows = [("0s", Some(0)), ("3.5s", Some(4)), ("2419200s", Some(2_419_200)), ("3.0s", Some(3))];
        for (text, secs) in rows {
            assert_eq!(duration_secs(text), secs, "{text}");
        }
        for text in ["", "s", "3", "3,5s", ".5s", "3.s", "1.0123456789s", "+3s", "3 s"] {
            assert_eq!(duration_secs(text), None, "{text}");
        }
    }
}
