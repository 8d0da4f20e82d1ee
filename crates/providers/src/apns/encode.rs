//! A push as APNs wants it: header fields (Apple, "Sending notification requests to APNs") and payload ("Generating a
//! remote notification").

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use http::uri::Authority;
use reveille_core::event::Priority;
use reveille_core::{Channel, Event, Timestamp, Verdict};
use reveille_http2::{Keep, Name, Request, name};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::notification::{Alert, Call, Notification, decimal, uuid};
use crate::sender::dialect::Authorization;

/// What is the same for all pushes of a lane.
pub(super) struct Encoder {
    channel: Channel,
    authority: Authority,
    topic: HeaderValue,
}

impl Encoder {
    pub(super) fn new(bundle: &str, channel: Channel, authority: &str) -> Result<Self, http::Error> {
        let topic = match channel {
            Channel::Message => HeaderValue::try_from(bundle)?,
            Channel::Voip => HeaderValue::try_from(format!("{bundle}.voip"))?,
        };
        Ok(Self { channel, authority: Authority::try_from(authority)?, topic })
    }

    pub(super) fn encode(
        &self,
        push: &Notification,
        authorization: &Authorization,
        now: Timestamp,
        request: &mut Request,
    ) -> Result<(), Verdict> {
        let kind = kind(push, self.channel)?;
        let token = push.token.expose();
        // A token is hexadecimal; its length is Apple's affair. Anything else could reach into the path.
        if token.is_empty() || token.len() > TOKEN_MAX || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Verdict::Forget { reason: "BadDeviceToken (not hexadecimal, not sent)".into(), since: None });
        }
        payload(push, kind, &mut request.body)?;

        request.field(name::METHOD, b"POST", Keep::Table);
        request.field(name::SCHEME, b"https", Keep::Table);
        request.field(name::AUTHORITY, self.authority.as_str().as_bytes(), Keep::Table);
        request.field_of(name::PATH, &[b"/3/device/", token.as_bytes()], Keep::Secret);
        if let Some(header) = &authorization.header {
            // It changes once in an hour, so that Apple has it indexed. What RFC 7541 §7.1.3 fears of that needs somebody
            // who adds fields of this name to our connection: no organisation names any field.
            request.field(name::AUTHORIZATION, header.as_bytes(), Keep::Table);
        }
        request.field(TOPIC, self.topic.as_bytes(), Keep::Table);
        request.field(PUSH_TYPE, kind.as_str().as_bytes(), Keep::Table);
        request.field(PRIORITY, priority(push, kind).as_bytes(), Keep::Table);
        let mut id = [0; 36];
        uuid(&push.provider_id, &mut id);
        request.field(ID, &id, Keep::Passing);
        let mut digits = [0; 20];
        request.field(EXPIRATION, decimal(expiration(push, kind, now), &mut digits), Keep::Passing);
        // What a newer push replaces it by. A push without one takes its own id, so that a repeat replaces the first. A
        // call has none: every VoIP push is a call.
        match push.collapse.as_deref() {
            _ if kind == Kind::Voip => {}
            None => request.field(COLLAPSE_ID, &id, Keep::Passing),
            Some(text) if text.len() <= COLLAPSE_MAX && is_plain(text) => {
                request.field(COLLAPSE_ID, text.as_bytes(), Keep::Passing);
            }
            Some(text) => {
                let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()));
                request.field(COLLAPSE_ID, hash.as_bytes(), Keep::Passing);
            }
        }
        Ok(())
    }
}

/// Whether Apple takes a push of this size; else the refusal, with size and limit.
pub(crate) fn fits(push: &Notification) -> Result<(), Verdict> {
    payload(push, kind(push, push.channel)?, &mut Vec::with_capacity(PAYLOAD_USUAL))
}

/// `apns-push-type`, of which three are of use to us.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Alert,
    Background,
    Voip,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Background => "background",
            Self::Voip => "voip",
        }
    }

    /// The largest payload, in bytes.
    const fn bytes_max(self) -> usize {
        match self {
            Self::Alert | Self::Background => 4096,
            Self::Voip => 5120,
        }
    }
}

fn kind(push: &Notification, lane: Channel) -> Result<Kind, Verdict> {
    let reject = |reason: &str| Err(Verdict::Reject { reason: reason.into() });
    match (push.channel, push.event) {
        (channel, _) if channel != lane => reject("the push is for another channel than its lane"),
        (Channel::Voip, Event::Call) => Ok(Kind::Voip),
        // PushKit: an app that reports no call for a VoIP push is killed, and soon gets none any more.
        (Channel::Voip, _) => reject("only a call may take the voip channel"),
        (Channel::Message, _) if push.is_quiet() => Ok(Kind::Background),
        (Channel::Message, _) => Ok(Kind::Alert),
    }
}

/// Background pushes with priority 10 are an error; a call cannot wait.
const fn priority(push: &Notification, kind: Kind) -> &'static str {
    match (kind, push.priority) {
        (Kind::Voip, _) | (Kind::Alert, Priority::High) => "10",
        (Kind::Background, _) | (Kind::Alert, Priority::Normal) => "5",
    }
}

/// Until when Apple may keep it. A call that rings late is worse than one missed: Apple asks for zero or a few seconds.
fn expiration(push: &Notification, kind: Kind, now: Timestamp) -> u64 {
    match kind {
        Kind::Alert | Kind::Background => push.expires.secs(),
        Kind::Voip => push.expires.min(now.plus(RING_MAX)).secs(),
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Writes the payload, and shortens a clear text that is too long for it. Nothing else is ever shortened: a key, a
/// sealed payload or a call's id is of no use in part.
fn payload(push: &Notification, kind: Kind, out: &mut Vec<u8>) -> Result<(), Verdict> {
    let body = push.alert.as_ref().and_then(|alert| alert.body.as_deref());
    write(push, kind, body, out);
    let Some(over) = out.len().checked_sub(kind.bytes_max()).filter(|over| *over > 0) else {
        return Ok(());
    };
    if let Some(short) = body.and_then(|body| crate::notification::shorten(body, over)) {
        write(push, kind, Some(&short), out);
        if out.len() <= kind.bytes_max() {
            return Ok(());
        }
    }
    let reason = format!("the payload has {} bytes, and APNs takes {}", out.len(), kind.bytes_max());
    Err(Verdict::Reject { reason: reason.into() })
}

fn write(push: &Notification, kind: Kind, body: Option<&str>, out: &mut Vec<u8>) {
    out.clear();
    let payload = Payload { aps: Aps { push, kind, body }, reveille: Custom { push } };
    serde_json::to_writer(out, &payload).expect("memory takes all, and all keys are strings");
}

#[derive(Serialize)]
struct Payload<'a> {
    aps: Aps<'a>,
    reveille: Custom<'a>,
}

/// What the system understands.
struct Aps<'a> {
    push: &'a Notification,
    kind: Kind,
    body: Option<&'a str>,
}

impl Serialize for Aps<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match self.kind {
            // The app reports the call itself; nothing here is shown.
            Kind::Voip => {}
            Kind::Background => map.serialize_entry("content-available", &1)?,
            Kind::Alert => {
                let loc_key = self.push.event.rule().loc_key;
                match &self.push.alert {
                    Some(alert) => map.serialize_entry("alert", &Shown { alert, body: self.body, loc_key })?,
                    None => {
                        if let Some(key) = loc_key {
                            map.serialize_entry("alert", &Key { loc_key: key })?;
                        }
                    }
                }
                if let Some(badge) = self.push.badge {
                    map.serialize_entry("badge", &badge)?;
                }
                if let Some(sound) = &self.push.sound {
                    map.serialize_entry("sound", sound)?;
                }
                if self.push.sealed.is_some() {
                    // The app's extension opens the sealed part and may put it in place of what is shown.
                    map.serialize_entry("mutable-content", &1)?;
                }
            }
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Key<'a> {
    loc_key: &'a str,
}

struct Shown<'a> {
    alert: &'a Alert,
    body: Option<&'a str>,
    loc_key: Option<&'static str>,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(title) = &self.alert.title {
            map.serialize_entry("title", title)?;
        }
        match (self.body, self.alert.loc_key.as_deref().or(self.loc_key)) {
            (Some(body), _) => map.serialize_entry("body", body)?,
            (None, Some(key)) => {
                map.serialize_entry("loc-key", key)?;
                if !self.alert.loc_args.is_empty() {
                    map.serialize_entry("loc-args", &self.alert.loc_args)?;
                }
            }
            (None, None) => {}
        }
        map.end()
    }
}

/// What the app understands.
struct Custom<'a> {
    push: &'a Notification,
}

impl Serialize for Custom<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("push", &self.push.push_id)?;
        map.serialize_entry("identity", &self.push.identity)?;
        map.serialize_entry("event", &self.push.event)?;
        if let Some(call) = &self.push.call {
            map.serialize_entry("call", &Ringing(call))?;
        }
        if let Some(sealed) = &self.push.sealed {
            map.serialize_entry("sealed", sealed)?;
        }
        map.end()
    }
}

struct Ringing<'a>(&'a Call);

impl Serialize for Ringing<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.0.id)?;
        map.serialize_entry("media", self.0.media.as_str())?;
        if let Some(caller) = &self.0.caller {
            map.serialize_entry("caller", caller)?;
        }
        if let Some(sealed) = &self.0.caller_sealed {
            map.serialize_entry("caller-sealed", sealed)?;
        }
        map.end()
    }
}

const TOPIC: Name = Name::new("apns-topic");
const PUSH_TYPE: Name = Name::new("apns-push-type");
const PRIORITY: Name = Name::new("apns-priority");
const ID: Name = Name::new("apns-id");
const EXPIRATION: Name = Name::new("apns-expiration");
const COLLAPSE_ID: Name = Name::new("apns-collapse-id");

/// `apns-collapse-id` in bytes.
const COLLAPSE_MAX: usize = 64;
/// More than most payloads take, in bytes.
const PAYLOAD_USUAL: usize = 512;
/// Far longer than any token seen, and short enough for a header block.
const TOKEN_MAX: usize = 512;
/// Nobody lets it ring longer.
const RING_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
