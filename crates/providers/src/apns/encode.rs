//! A push as APNs wants it: header fields (Apple, "Sending notification requests to APNs") and payload ("Generating a
//! remote notification").

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use reveille_core::event::Priority;
use reveille_core::{Channel, Event, Timestamp, Verdict};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use crate::notification::{Alert, Call, Notification, uuid};
use crate::sender::dialect::{Authorization, Scratch};

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
        scratch: &mut Scratch,
    ) -> Result<(Request<()>, Bytes), Verdict> {
        let kind = kind(push, self.channel)?;
        let body = payload(push, kind, scratch)?;
        let uri = self.uri(push, scratch)?;

        let mut headers = HeaderMap::with_capacity(8);
        if let Some(header) = &authorization.header {
            headers.insert(AUTHORIZATION, header.clone());
        }
        headers.insert(TOPIC, self.topic.clone());
        headers.insert(PUSH_TYPE, HeaderValue::from_static(kind.as_str()));
        headers.insert(PRIORITY, HeaderValue::from_static(priority(push, kind)));
        let mut id = [0; 36];
        uuid(&push.provider_id, &mut id);
        let id = scratch.passing(&id);
        if let Some(collapse) = collapse(push, kind, &id, scratch) {
            headers.insert(COLLAPSE_ID, collapse);
        }
        headers.insert(ID, id);
        headers.insert(EXPIRATION, expiration(push, kind, now));

        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        Ok((request, body))
    }

    fn uri(&self, push: &Notification, scratch: &mut Scratch) -> Result<Uri, Verdict> {
        let token = push.token.expose();
        // A token is hexadecimal; its length is Apple's affair. Anything else could reach into the path.
        if token.is_empty() || token.len() > TOKEN_MAX || !token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Verdict::Forget { reason: "BadDeviceToken (not hexadecimal, not sent)".into(), since: None });
        }
        let path = PathAndQuery::from_maybe_shared(scratch.piece(&[b"/3/device/", token.as_bytes()]));
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.expect("hexadecimal digits make a path"));
        Ok(Uri::from_parts(parts).expect("scheme, authority and path make a URI"))
    }
}

/// Whether Apple takes a push of this size; else the refusal, with size and limit.
pub(crate) fn fits(push: &Notification) -> Result<(), Verdict> {
    payload(push, kind(push, push.channel)?, &mut Scratch::new()).map(drop)
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
fn expiration(push: &Notification, kind: Kind, now: Timestamp) -> HeaderValue {
    let until = match kind {
        Kind::Alert | Kind::Background => push.expires,
        Kind::Voip => push.expires.min(now.plus(RING_MAX)),
    };
    let mut value = HeaderValue::from(until.secs());
    value.set_sensitive(true);
    value
}

/// What a newer push replaces it by. A push without one takes its own id, so that a repeat replaces the first. A call
/// has none: every VoIP push is a call.
fn collapse(push: &Notification, kind: Kind, id: &HeaderValue, scratch: &mut Scratch) -> Option<HeaderValue> {
    if kind == Kind::Voip {
        return None;
    }
    Some(match push.collapse.as_deref() {
        None => id.clone(),
        Some(text) if text.len() <= COLLAPSE_MAX && is_plain(text) => scratch.passing(text.as_bytes()),
        Some(text) => {
            let hash = URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()));
            scratch.passing(hash.as_bytes())
        }
    })
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Writes the payload, and shortens a clear text that is too long for it. Nothing else is ever shortened: a key, a
/// sealed payload or a call's id is of no use in part.
fn payload(push: &Notification, kind: Kind, scratch: &mut Scratch) -> Result<Bytes, Verdict> {
    let body = push.alert.as_ref().and_then(|alert| alert.body.as_deref());
    let written = write(push, kind, body, scratch);
    let Some(over) = written.len().checked_sub(kind.bytes_max()).filter(|over| *over > 0) else {
        return Ok(written);
    };
    if let Some(short) = body.and_then(|body| crate::notification::shorten(body, over)) {
        let written = write(push, kind, Some(&short), scratch);
        if written.len() <= kind.bytes_max() {
            return Ok(written);
        }
    }
    let reason = format!("the payload has {} bytes, and APNs takes {}", written.len(), kind.bytes_max());
    Err(Verdict::Reject { reason: reason.into() })
}

fn write(push: &Notification, kind: Kind, body: Option<&str>, scratch: &mut Scratch) -> Bytes {
    scratch.json(&Payload { aps: Aps { push, kind, body }, reveille: Custom { push } })
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

const TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const ID: HeaderName = HeaderName::from_static("apns-id");
const EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");

/// `apns-collapse-id` in bytes.
const COLLAPSE_MAX: usize = 64;
/// Far longer than any token seen, and short enough for a header block.
const TOKEN_MAX: usize = 512;
/// Nobody lets it ring longer.
const RING_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
