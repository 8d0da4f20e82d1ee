//! A push as FCM wants it: one `Message` of the v1 API ("REST Resource: projects.messages").
//!
//! What the system shows by itself goes into `android.notification`; calls, quiet pushes and sealed ones are data only,
//! so that the app wakes and decides.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Uri;
use reveille_core::event::Priority;
use reveille_core::{Channel, Event, Timestamp, Verdict};
use reveille_http2::{Keep, Request, name};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::notification::{Alert, Notification, shorten, uuid};
use crate::sender::dialect::Authorization;

/// What is the same for all pushes of a lane.
pub(super) struct Encoder {
    channel: Channel,
    authority: Box<str>,
    path: Box<str>,
}

impl Encoder {
    pub(super) fn new(project: &str, channel: Channel, authority: &str) -> Result<Self, http::Error> {
        let path = format!("/v1/projects/{project}/messages:send");
        let uri = Uri::builder().scheme("https").authority(authority).path_and_query(path).build()?;
        // What makes a URI can stand in the fields.
        let text = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { channel, authority: authority.into(), path: text.into() })
    }

    pub(super) fn encode(
        &self,
        push: &Notification,
        authorization: &Authorization,
        now: Timestamp,
        request: &mut Request,
    ) -> Result<(), Verdict> {
        let reject = |reason: &str| Err(Verdict::Reject { reason: reason.into() });
        if push.channel != self.channel {
            return reject("the push is for another channel than its lane");
        }
        if push.channel == Channel::Voip && push.event != Event::Call {
            return reject("only a call may take the voip channel");
        }
        payload(push, now, &mut request.body)?;

        request.field(name::METHOD, b"POST", Keep::Table);
        request.field(name::SCHEME, b"https", Keep::Table);
        request.field(name::AUTHORITY, self.authority.as_bytes(), Keep::Table);
        request.field(name::PATH, self.path.as_bytes(), Keep::Table);
        if let Some(header) = &authorization.header {
            request.field(name::AUTHORIZATION, header.as_bytes(), Keep::Table);
        }
        request.field(name::CONTENT_TYPE, b"application/json", Keep::Table);
        Ok(())
    }
}

/// Whether Google takes a push of this size; else the refusal, with size and limit.
pub(crate) fn fits(push: &Notification) -> Result<(), Verdict> {
    payload(push, push.created, &mut Vec::with_capacity(PAYLOAD_USUAL))
}

fn payload(push: &Notification, now: Timestamp, out: &mut Vec<u8>) -> Result<(), Verdict> {
    let body = push.alert.as_ref().and_then(|alert| alert.body.as_deref());
    let size = Parts::of(push, body).bytes();
    let Some(over) = size.checked_sub(PAYLOAD_MAX).filter(|over| *over > 0) else {
        write(push, body, now, out);
        return Ok(());
    };
    if let Some(short) = body.and_then(|body| shorten(body, over))
        && Parts::of(push, Some(&short)).bytes() <= PAYLOAD_MAX
    {
        write(push, Some(&short), now, out);
        return Ok(());
    }
    Err(Verdict::Reject { reason: format!("the payload has {size} bytes, and FCM takes {PAYLOAD_MAX}").into() })
}

fn write(push: &Notification, body: Option<&str>, now: Timestamp, out: &mut Vec<u8>) {
    let parts = Parts::of(push, body);
    let ttl = format!("{}s", push.expires.since(now).min(TTL_MAX).as_secs());
    let message = Envelope {
        message: Message {
            // "fid" will take its place; the service takes either here during the transition.
            token: push.token.expose(),
            data: Strings(&parts.data),
            android: Android {
                priority: priority(push),
                ttl,
                collapse_key: collapse_key(push),
                notification: parts.shown,
            },
        },
    };
    serde_json::to_writer(out, &message).expect("memory takes all, and all keys are strings");
}

/// HIGH is for what is shown at once: Google watches, and lowers the priority of apps that wake phones for nothing.
const fn priority(push: &Notification) -> &'static str {
    match (push.event, push.priority) {
        (Event::Call, _) => "HIGH",
        (Event::Badge | Event::RefreshWake, _) | (_, Priority::Normal) => "NORMAL",
        (_, Priority::High) => "HIGH",
    }
}

/// Quiet events collapse, each kind with its own kind: FCM keeps at most four keys per device and then drops at will, and
/// slows collapsible pushes down to one in three minutes. So what a person wrote never has a key, and is replaced on the
/// screen by its tag instead.
const fn collapse_key(push: &Notification) -> Option<&'static str> {
    match push.event {
        Event::Badge => Some("badge"),
        Event::RefreshWake => Some("refresh-wake"),
        Event::Voicemail => Some("voicemail"),
        Event::Call
        | Event::GroupInvitation
        | Event::Invitation
        | Event::Message
        | Event::MissedCall
        | Event::MissedInvitation
        | Event::MissedMessage
        | Event::Probe => None,
    }
}

/// What replaces what on the screen: the conversation if one is given, else the push itself, so that a repeat shows once.
fn tag(push: &Notification) -> Box<str> {
    match &push.collapse {
        Some(collapse) if collapse.len() <= TAG_MAX => collapse.clone(),
        Some(collapse) => URL_SAFE_NO_PAD.encode(digest(&SHA256, collapse.as_bytes())).into(),
        None => {
            let mut id = [0; 36];
            uuid(&push.provider_id, &mut id);
            id.iter().map(|byte| char::from(*byte)).collect()
        }
    }
}

/// The parts that count for the payload's size.
struct Parts<'a> {
    data: Vec<(&'static str, Box<str>)>,
    shown: Option<Shown<'a>>,
}

impl<'a> Parts<'a> {
    fn of(push: &'a Notification, body: Option<&'a str>) -> Self {
        let mut data = Vec::with_capacity(12);
        data.push(("push", push.push_id.to_string().into()));
        data.push(("identity", push.identity.to_string().into()));
        data.push(("event", name(push.event)));
        data.push(("channel", push.channel.as_str().into()));
        if let Some(badge) = push.badge {
            data.push(("badge", badge.to_string().into()));
        }
        if let Some(call) = &push.call {
            data.push(("call_id", call.id.clone()));
            data.push(("call_media", call.media.as_str().into()));
            data.extend(call.caller.clone().map(|caller| ("caller", caller)));
            data.extend(call.caller_sealed.clone().map(|sealed| ("caller_sealed", sealed)));
        }
        data.extend(push.sealed.clone().map(|sealed| ("sealed", sealed)));

        let none = Alert::default();
        let alert = push.alert.as_ref();
        let loc_key = alert.and_then(|alert| alert.loc_key.as_deref()).or_else(|| push.event.rule().loc_key);
        let loc_key = if body.is_some() { None } else { loc_key };
        let loc_args = alert.unwrap_or(&none).loc_args.as_slice();
        let title = alert.and_then(|alert| alert.title.as_deref());
        // An app whose process sleeps sees the data of a shown push only after a tap: too late for a call, and too late
        // to open what is sealed.
        if push.event == Event::Call || push.sealed.is_some() || push.is_quiet() {
            data.push(("tag", tag(push)));
            data.extend(title.map(|title| ("title", title.into())));
            data.extend(body.map(|body| ("body", body.into())));
            data.extend(push.sound.clone().map(|sound| ("sound", sound)));
            if let Some(key) = loc_key.filter(|_| !push.is_quiet()) {
                data.push(("loc_key", key.into()));
                if !loc_args.is_empty() {
                    let list = serde_json::to_string(loc_args).expect("a list of strings");
                    data.push(("loc_args", list.into()));
                }
            }
            return Self { data, shown: None };
        }
        let args = if loc_key.is_some() && alert.is_some() {
            alert.map(|alert| alert.loc_args.as_slice()).filter(|args| !args.is_empty())
        } else {
            None
        };
        let shown = Shown {
            title,
            body,
            body_loc_key: loc_key,
            body_loc_args: args,
            sound: push.sound.as_deref(),
            tag: tag(push),
            // An Android badge is a count of notifications; zero would be refused.
            notification_count: push.badge.filter(|badge| (1..=i32::MAX as u32).contains(badge)),
        };
        Self { data, shown: Some(shown) }
    }

    /// Keys and values, which is what FCM counts.
    fn bytes(&self) -> usize {
        let data: usize = self.data.iter().map(|(key, value)| key.len() + value.len()).sum();
        let shown = self
            .shown
            .as_ref()
            .map_or(0, |shown| serde_json::to_string(shown).map_or(usize::MAX / 2, |json| json.len()));
        data + shown
    }
}

fn name(event: Event) -> Box<str> {
    match serde_json::to_value(event) {
        Ok(serde_json::Value::String(name)) => name.into(),
        _ => "".into(),
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    message: Message<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    token: &'a str,
    data: Strings<'a>,
    android: Android<'a>,
}

struct Strings<'a>(&'a [(&'static str, Box<str>)]);

impl Serialize for Strings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Protobuf's JSON form has lowerCamelCase.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Android<'a> {
    priority: &'static str,
    ttl: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    collapse_key: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification: Option<Shown<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_loc_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_loc_args: Option<&'a [Box<str>]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sound: Option<&'a str>,
    tag: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notification_count: Option<u32>,
}

/// Keys and values together.
const PAYLOAD_MAX: usize = 4096;
const TAG_MAX: usize = 64;
/// More than most payloads take, in bytes.
const PAYLOAD_USUAL: usize = 1024;
/// Four weeks.
const TTL_MAX: Duration = Duration::from_secs(28 * 24 * 3600);

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::{Value, json};

    use super::*;
    use crate::notification::samples::{NOW, call, message};

    fn encoded(push: &Notification) -> Result<(Request, Value), Verdict> {
        let encoder = Encoder::new("demo", push.channel, "fcm.googleapis.com").unwrap();
        let authorization = Authorization { header: Some(HeaderValue::from_static("Bearer t")), minted: NOW };
        let mut request = Request::new();
        encoder.encode(push, &authorization, NOW, &mut request)?;
        let body = serde_json::from_slice(&request.body).unwrap();
        Ok((request, body))
    }

    fn at_device(push: Notification) -> Notification {
        Notification { token: reveille_core::DeviceToken::new("d:APA91b"), ..push }
    }

    #[test]
    fn a_message_looks_like_this() {
        let alert = Alert { loc_args: vec!["Alice".into()], ..Alert::default() };
        let push = Notification { badge: Some(3), sound: Some("default".into()), alert: Some(alert), ..message() };
        let (request, body) = encoded(&at_device(push)).unwrap();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "fcm.googleapis.com"),
            (":path", "/v1/projects/demo/messages:send"),
            ("authorization", "Bearer t"),
            ("content-type", "application/json"),
        ] {
            assert_eq!(request.get(name), Some(value.as_bytes()), "{name}");
        }
        assert_eq!(request.fields().count(), 6);
        assert_eq!(
            body,
            json!({"message": {
                "token": "d:APA91b",
                "data": {
                    "push": "00000000000000000000000001",
                    "identity": "00000000000000000000000002",
                    "event": "message",
                    "channel": "message",
                    "badge": "3"
                },
                "android": {
                    "priority": "HIGH",
                    "ttl": "3600s",
                    "notification": {
                        "bodyLocKey": "IM_MSG",
                        "bodyLocArgs": ["Alice"],
                        "sound": "default",
                        "tag": "123e4567-e89b-12d3-a456-426655440000",
                        "notificationCount": 3
                    }
                }
            }})
        );
    }

    #[test]
    fn a_call_is_data_only_and_lives_as_long_as_it_rings() {
        let mut push = at_device(call());
        push.call.as_mut().unwrap().caller = Some("+15551234".into());
        let (_, body) = encoded(&push).unwrap();
        assert_eq!(
            body["message"]["android"],
            json!({"priority": "HIGH", "ttl": "25s"}),
            "no collapse key, nothing shown by the system"
        );
        let data = &body["message"]["data"];
        assert_eq!((&data["call_id"], &data["call_media"]), (&json!("c1"), &json!("audio")));
        assert_eq!((&data["caller"], &data["channel"]), (&json!("+15551234"), &json!("voip")));
    }

    #[test]
    fn what_is_sealed_reaches_the_app_and_not_the_screen() {
        let alert = Alert { loc_args: vec!["Alice".into(), "Bob".into()], ..Alert::default() };
        let push = Notification { sealed: Some("blob".into()), alert: Some(alert), ..message() };
        let (_, body) = encoded(&push).unwrap();
        assert!(body["message"]["android"].get("notification").is_none());
        let data = &body["message"]["data"];
        assert_eq!((&data["sealed"], &data["loc_key"]), (&json!("blob"), &json!("IM_MSG")));
        assert_eq!(data["loc_args"], json!(r#"["Alice","Bob"]"#));
    }

    #[test]
    fn quiet_events_are_not_urgent_and_collapse() {
        for (event, key) in [(Event::Badge, "badge"), (Event::RefreshWake, "refresh-wake")] {
            let (_, body) = encoded(&Notification { event, ..message() }).unwrap();
            let android = &body["message"]["android"];
            assert_eq!(*android, json!({"priority": "NORMAL", "ttl": "3600s", "collapseKey": key}));
        }
    }

    #[test]
    fn a_device_never_has_more_than_four_collapse_keys() {
        let keys: std::collections::BTreeSet<_> =
            Event::ALL.into_iter().filter_map(|event| collapse_key(&Notification { event, ..message() })).collect();
        assert!((1..=4).contains(&keys.len()), "{keys:?}");
    }

    #[test]
    fn the_tag_is_the_conversation_or_else_the_push() {
        let of = |collapse: Option<String>| {
            tag(&Notification { collapse: collapse.map(String::into_boxed_str), ..message() }).into_string()
        };
        assert_eq!(of(None), "123e4567-e89b-12d3-a456-426655440000");
        assert_eq!(of(Some("chat".into())), "chat");
        assert_eq!(of(Some("x".repeat(65))).len(), 43);
    }

    #[test]
    fn text_takes_the_place_of_the_translation() {
        let alert = Alert { title: Some("Alice".into()), body: Some("lunch?".into()), ..Alert::default() };
        let (_, body) = encoded(&Notification { alert: Some(alert), ..message() }).unwrap();
        let shown = &body["message"]["android"]["notification"];
        assert_eq!((&shown["title"], &shown["body"]), (&json!("Alice"), &json!("lunch?")));
        assert!(shown.get("bodyLocKey").is_none());
    }

    #[test]
    fn the_payload_fits_or_is_refused() {
        let alert = Alert { body: Some("ä".repeat(4000).into()), ..Alert::default() };
        let (_, body) = encoded(&Notification { alert: Some(alert), ..message() }).unwrap();
        assert!(body["message"]["android"]["notification"]["body"].as_str().unwrap().ends_with('…'));
        let Verdict::Reject { reason } =
            encoded(&Notification { sealed: Some("s".repeat(4100).into()), ..message() }).unwrap_err()
        else {
            panic!("not refused as wrong")
        };
        assert!(reason.ends_with("FCM takes 4096"), "{reason}");
    }

    #[test]
    fn only_calls_ring_and_nothing_takes_anothers_lane() {
        assert!(encoded(&Notification { event: Event::MissedCall, ..call() }).is_err());
        let encoder = Encoder::new("demo", Channel::Voip, "a").unwrap();
        let authorization = Authorization { header: None, minted: NOW };
        assert!(encoder.encode(&message(), &authorization, NOW, &mut Request::new()).is_err());
    }
}
