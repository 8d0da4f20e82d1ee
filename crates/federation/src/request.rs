//! The push request: one JSON body, defined here once for sender and receiver (DESIGN.md §5).
//!
//! Unknown fields are ignored so that partners can upgrade one at a time, unless the sender names them in
//! `must_understand`.

use std::fmt;
use std::time::Duration;

use reveille_core::event::Priority;
use reveille_core::{
    AppKey, Channel, DeviceToken, Environment, Event, IdentityId, LaneKey, Provider, PushId, Timestamp,
};
use serde::{Deserialize, Serialize};

/// The content type of a push request, without its version parameter.
pub const CONTENT_TYPE: &str = "application/vnd.reveille.push+json";
/// The content type as it is sent.
pub const CONTENT_TYPE_V1: &str = "application/vnd.reveille.push+json;v=1";
/// The most requests that one MESSAGE may carry.
pub const REQUESTS_MAX: usize = 32;
/// The largest body, in bytes.
pub const BODY_BYTES_MAX: usize = 48 * 1024;
/// The longest life of a request, which is also how long duplicates are remembered at the least.
pub const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// Clocks that differ by more than this are reported.
pub const SKEW_REPORTED: Duration = Duration::from_secs(30);
/// Clocks that differ by more than this get no push: else a captured request could ring later.
pub const SKEW_MAX: Duration = Duration::from_secs(600);

/// What home asks of the clearing house: wake this app on this device for this event.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct PushRequest {
    /// Born at home; with the proven origin domain it is the idempotency key.
    pub id: PushId,
    /// The push identity's id at home.
    pub identity: IdentityId,
    /// What happened.
    pub event: Event,
    /// Which channel it takes.
    pub channel: Channel,
    /// Where it goes. Only a probe may leave it out: it is then journaled and answered, not sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<To>,
    /// When home sent it, renewed at each transmission, in milliseconds since the Unix epoch.
    pub sent: Timestamp,
    /// When it is of no use any more; its life is `expires - sent`, counted from receipt.
    pub expires: Timestamp,
    /// How urgent; the event's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// A newer push with the same value replaces this one while it has not arrived. At most 128 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collapse: Option<Box<str>>,
    /// The true unread count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub badge: Option<u32>,
    /// What is shown. Without it the event's own translation key is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<Alert>,
    /// The name of the sound in the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound: Option<Box<str>>,
    /// The call that rings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// Opaque to everyone but the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Box<str>>,
    /// When this token was first given to home; cut to the time of receipt.
    pub registered: Timestamp,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Box<str>>,
    /// Names of fields that the receiver may not ignore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub must_understand: Vec<Box<str>>,
}

/// Where a push goes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct To {
    /// The provider.
    pub provider: Provider,
    /// The provider's name for the app: APNs bundle id, FCM project id.
    pub app: Box<str>,
    /// Store or development.
    #[serde(default)]
    pub environment: Environment,
    /// The provider's address of the app on the device.
    pub token: DeviceToken,
}

impl To {
    /// The app in question.
    pub fn app_key(&self) -> AppKey {
        AppKey { provider: self.provider, app: (&*self.app).into(), environment: self.environment }
    }
}

/// What is shown. Title and body only where the organisation opted in to send text.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Alert {
    /// The key that the app's own translations are looked up by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loc_key: Option<Box<str>>,
    /// What is put into the translation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loc_args: Vec<Box<str>>,
    /// A title in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<Box<str>>,
    /// A text in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<str>>,
}

/// A call that rings.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Call {
    /// Pairs the push with the INVITE that follows.
    pub id: Box<str>,
    /// What kind of call it is.
    pub media: Media,
    /// Who calls: in clear only if the organisation opted in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
}

/// Who calls, as the device may show it: `"Alice"`, or `{"sealed": "…"}` for a device that has given home a key.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Caller {
    /// For everybody on the way to read.
    Clear(Box<str>),
    /// Sealed to a key of the device; opaque to everybody else.
    #[serde(rename_all = "kebab-case")]
    Sealed {
        /// As the device wants it.
        sealed: Box<str>,
    },
}

impl fmt::Debug for Caller {
    /// Nobody's name: a request may be in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(name) => write!(f, "Clear({} bytes)", name.len()),
            Self::Sealed { sealed } => write!(f, "Sealed({} bytes)", sealed.len()),
        }
    }
}

impl From<&str> for Caller {
    fn from(name: &str) -> Self {
        Self::Clear(name.into())
    }
}

/// What kind of call it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Media {
    /// Voice only.
    Audio,
    /// Voice and picture.
    Video,
}

/// Why a body is no push request. The sender's fault; repeating it does not help.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BodyFault {
    /// An array of nothing.
    #[error("the body is an empty array, and must hold 1 to {REQUESTS_MAX} push requests")]
    Empty,
    /// Not JSON, or not of this shape.
    #[error("the body cannot be read: {fault} (line {line}, column {column})")]
    Json {
        /// What the reader says, without any value of the body.
        fault: String,
        /// Where, counted from 1.
        line: usize,
        /// Where, counted from 1.
        column: usize,
    },
    /// Bigger than taken.
    #[error("the body has {bytes} bytes, and at most {BODY_BYTES_MAX} are taken")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// More than taken.
    #[error("the body holds {count} push requests, and at most {REQUESTS_MAX} are taken")]
    TooMany {
        /// How many.
        count: usize,
    },
}

/// Why one request of a sound body is not taken. The sender's fault; repeating it does not help.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequestFault {
    /// The channel and the event contradict each other.
    #[error("event {event:?} cannot take the voip channel: only a call can")]
    ChannelForEvent {
        /// The event.
        event: Event,
    },
    /// Clocks too far apart.
    #[error("the clocks differ by {secs} s, and at most {max} s are taken", max = SKEW_MAX.as_secs())]
    ClockSkew {
        /// By how much, in seconds.
        secs: u64,
    },
    /// A value longer than taken.
    #[error("{field} has {bytes} bytes, and at most {max} are taken")]
    FieldTooLong {
        /// The field's name.
        field: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Over before it began.
    #[error("expires is not later than sent")]
    NoLife,
    /// Only a probe goes nowhere.
    #[error("the field to is missing, and only a probe can do without it")]
    NoTarget,
    /// The sender insists on something newer than this program.
    #[error("must_understand names \"{field}\", which this clearing house does not know")]
    NotUnderstood {
        /// The name.
        field: String,
    },
}

impl PushRequest {
    /// Fields that this version knows, for `must_understand`.
    const KNOWN: [&'static str; 16] = [
        "id",
        "identity",
        "event",
        "channel",
        "to",
        "sent",
        "expires",
        "priority",
        "collapse",
        "badge",
        "alert",
        "sound",
        "call",
        "sealed",
        "registered",
        "traceparent",
    ];

    /// How urgent it is: what it says, else what its event says.
    pub fn effective_priority(&self) -> Priority {
        self.priority.unwrap_or_else(|| self.event.rule().priority)
    }

    /// The lane it belongs to; `None` for a probe without a target.
    pub fn lane(&self) -> Option<LaneKey> {
        self.to.as_ref().map(|to| LaneKey { app: to.app_key(), channel: self.channel })
    }

    /// Checks the request against the rules, at the time of receipt. Answers when it expires by our clock.
    ///
    /// Life is counted from receipt as `expires - sent`, so that a small difference of clocks shortens no push, and is
    /// at most [`LIFE_MAX`].
    pub fn check(&self, now: Timestamp) -> Result<Timestamp, RequestFault> {
        if let Some(field) = self.must_understand.iter().find(|field| !Self::KNOWN.contains(&&***field)) {
            return Err(RequestFault::NotUnderstood { field: field.chars().take(64).collect() });
        }
        if self.channel == Channel::Voip && self.event.rule().channel != Channel::Voip {
            return Err(RequestFault::ChannelForEvent { event: self.event });
        }
        match &self.to {
            Some(to) => {
                within("to.token", to.token.expose(), DeviceToken::BYTES_MAX)?;
                within("to.app", &to.app, 255)?;
            }
            None if self.event == Event::Probe => {}
            None => return Err(RequestFault::NoTarget),
        }
        within("collapse", self.collapse.as_deref().unwrap_or_default(), 128)?;
        let skew = self.skew(now);
        if skew > SKEW_MAX {
            return Err(RequestFault::ClockSkew { secs: skew.as_secs() });
        }
        if self.expires <= self.sent {
            return Err(RequestFault::NoLife);
        }
        Ok(now.plus(self.expires.since(self.sent).min(LIFE_MAX)))
    }

    /// How far the sender's clock is from ours, in either direction; transit counts as skew.
    pub fn skew(&self, now: Timestamp) -> Duration {
        now.since(self.sent).max(self.sent.since(now))
    }
}

fn within(field: &'static str, value: &str, max: usize) -> Result<(), RequestFault> {
    match value.len() {
        bytes if bytes > max => Err(RequestFault::FieldTooLong { field, bytes, max }),
        _ => Ok(()),
    }
}

/// Reads a body: one request or an array of them.
pub fn read_body(body: &[u8]) -> Result<Vec<PushRequest>, BodyFault> {
    if body.len() > BODY_BYTES_MAX {
        return Err(BodyFault::TooLarge { bytes: body.len() });
    }
    let fault = |error: serde_json::Error| BodyFault::Json {
        line: error.line(),
        column: error.column(),
        fault: without_position(&error),
    };
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'[') {
        return Ok(vec![read_json(body).map_err(fault)?]);
    }
    let requests: Vec<PushRequest> = read_json(body).map_err(fault)?;
    match requests.len() {
        0 => Err(BodyFault::Empty),
        count if count > REQUESTS_MAX => Err(BodyFault::TooMany { count }),
        _ => Ok(requests),
    }
}

/// Looks once whether all of it is text, rather than at each string in it; what is not, the reader names.
fn read_json<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    }
}

/// Writes a body: a single request as an object, several as an array.
pub fn write_body(requests: &[PushRequest]) -> Vec<u8> {
    match requests {
        [one] => serde_json::to_vec(one),
        many => serde_json::to_vec(many),
    }
    .expect("a push request always serialises: it holds no map with keys other than text")
}

/// Whether a Content-Type is a push request of a version that is understood here.
pub fn is_push_request(content_type: &str) -> bool {
    is_version_1(content_type, CONTENT_TYPE)
}

/// Whether `content_type` is `expected` with `v=1` or no version.
pub(crate) fn is_version_1(content_type: &str, expected: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let same = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(expected));
    same && parts.all(|param| match param.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("v") => value.trim() == "1",
        _ => true,
    })
}

/// The reader's sentence without its own position (which is given apart) and without any value of the body: values
/// may be tokens.
pub(crate) fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match text.split_once(": ") {
        // "invalid type: string "00fc…", expected u32" and its like quote what was there.
        Some((kind @ ("invalid type" | "invalid value"), rest)) => match rest.rsplit_once(", expected ") {
            Some((_, expected)) => format!("{kind}, expected {expected}"),
            None => kind.to_owned(),
        },
        _ if text.starts_with("unknown variant") => match text.rsplit_once(", expected ") {
            Some((_, expected)) => format!("unknown value, expected {expected}"),
            None => "unknown value".to_owned(),
        },
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn request() -> PushRequest {
        PushRequest {
            id: PushId::from_parts(at(1), 2),
            identity: IdentityId::from_parts(at(1), 3),
            event: Event::Message,
            channel: Channel::Message,
            to: Some(To {
                provider: Provider::Apns,
                app: "org.example.app".into(),
                environment: Environment::Production,
                token: DeviceToken::new("00fc13adff78512"),
            }),
            sent: at(1_000_000),
            expires: at(1_060_000),
            priority: None,
            collapse: None,
            badge: Some(3),
            alert: None,
            sound: None,
            call: None,
            sealed: None,
            registered: at(5),
            traceparent: None,
            must_understand: Vec::new(),
        }
    }

    #[test]
    fn one_request_and_several_read_back_as_written() {
        let one = vec![request()];
        assert_eq!(read_body(&write_body(&one)).unwrap(), one);
        let many = vec![request(); REQUESTS_MAX];
        assert_eq!(read_body(&write_body(&many)).unwrap(), many);
        assert_eq!(read_body(&write_body(&vec![request(); 33])), Err(BodyFault::TooMany { count: 33 }));
        assert_eq!(read_body(b" []"), Err(BodyFault::Empty));
    }

    #[test]
    fn a_bad_body_is_refused_with_its_position_and_without_its_values() {
        for (body, part) in [
            ("", "line 1"),
            ("{", "line 1, column 1"),
            ("{\n \"id\": 7}", "line 2"),
            (r#"{"id":"SECRETSECRETSECRETSECRETSE"}"#, "cannot be read"),
            (r#"{"badge":"SECRET"}"#, "expected u32"),
            (r#"{"event":"SECRET"}"#, "unknown value, expected one of"),
        ] {
            let said = read_body(body.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(part), "{body}: {said}");
            assert!(!said.contains("SECRET"), "{body}: {said}");
        }
        let big = vec![b' '; BODY_BYTES_MAX + 1];
        assert_eq!(read_body(&big), Err(BodyFault::TooLarge { bytes: BODY_BYTES_MAX + 1 }));
    }

    #[test]
    fn a_field_nobody_knows_is_ignored_unless_it_must_be_understood() {
        let mut value = serde_json::to_value(request()).unwrap();
        value["hologram"] = true.into();
        let read = |value: &serde_json::Value| read_body(value.to_string().as_bytes()).unwrap().remove(0);
        assert!(read(&value).check(at(1_000_000)).is_ok());
        value["must_understand"] = serde_json::json!(["badge", "hologram"]);
        let fault = read(&value).check(at(1_000_000)).unwrap_err();
        assert_eq!(fault, RequestFault::NotUnderstood { field: "hologram".into() });
    }

    #[test]
    fn a_caller_is_a_name_or_sealed_and_prints_as_neither() {
        let call = |caller: &str| {
            let text = format!(r#"{{"id":"1","media":"audio","caller":{caller}}}"#);
            serde_json::from_str::<Call>(&text).map(|call| call.caller)
        };
        assert_eq!(call("\"Alice\"").unwrap(), Some("Alice".into()));
        let sealed = call(r#"{"sealed":"BASE64"}"#).unwrap();
        assert_eq!(sealed, Some(Caller::Sealed { sealed: "BASE64".into() }));
        assert_eq!(serde_json::to_string(&sealed).unwrap(), r#"{"sealed":"BASE64"}"#);
        assert!(call("7").is_err());
        for caller in [sealed, Some("Alice".into())] {
            let shown = format!("{caller:?}");
            assert!(!shown.contains("BASE64") && !shown.contains("Alice"), "{shown}");
        }
    }

    #[test]
    fn life_is_counted_from_receipt_and_has_its_limit() {
        assert_eq!(request().check(at(1_010_000)), Ok(at(1_070_000)));
        let long = PushRequest { expires: at(u64::MAX), ..request() };
        assert_eq!(long.check(at(1_000_000)), Ok(at(1_000_000).plus(LIFE_MAX)));
    }

    #[test]
    fn what_the_rules_forbid_is_refused() {
        let now = at(1_000_000);
        let long = "x".repeat(129);
        for (request, part) in [
            (PushRequest { to: None, ..request() }, "only a probe"),
            (PushRequest { channel: Channel::Voip, ..request() }, "only a call"),
            (PushRequest { expires: now, ..request() }, "not later"),
            (PushRequest { sent: at(1_000_000 + 601_000), expires: at(u64::MAX), ..request() }, "differ by 601 s"),
            (PushRequest { sent: at(1_000_000 - 601_000), ..request() }, "differ by 601 s"),
            (PushRequest { collapse: Some(long.into()), ..request() }, "129 bytes"),
        ] {
            let said = request.check(now).unwrap_err().to_string();
            assert!(said.contains(part), "{request:?}: {said}");
        }
        let probe = PushRequest { to: None, event: Event::Probe, ..request() };
        assert!(probe.check(now).is_ok() && probe.lane().is_none());
    }

    #[test]
    fn only_version_one_of_our_content_type_is_a_push_request() {
        for (text, yes) in [
            ("application/vnd.reveille.push+json;v=1", true),
            ("Application/VND.reveille.push+json ; V=1", true),
            ("application/vnd.reveille.push+json", true),
            ("application/vnd.reveille.push+json;v=2", false),
            ("text/plain", false),
            ("", false),
        ] {
            assert_eq!(is_push_request(text), yes, "{text}");
        }
    }
}
