//! What goes to a provider, and what comes back: in our words, the same for every provider.

use std::fmt;

use reveille_core::event::Priority;
use reveille_core::{Channel, DeviceToken, Event, IdentityId, PushId, Timestamp, Verdict};

/// One push that is to be sent once. Whoever offers it keeps the timetable of repeats.
///
/// `Debug` shows neither the token nor anything that a person wrote.
#[derive(Clone, Eq, PartialEq)]
pub struct Notification {
    /// The caller's own number for it (its place in the journal); comes back in the [`Outcome`], means nothing here.
    pub key: u64,
    /// The same for every repeat, so that the phone shows a repeat once: the `apns-id`, and the collapse id or tag
    /// where no other is given.
    pub provider_id: [u8; 16],
    /// Which channel of the device it takes. Only [`Event::Call`] may take [`Channel::Voip`].
    pub channel: Channel,
    /// What happened.
    pub event: Event,
    /// Where it goes.
    pub token: DeviceToken,
    /// How urgent it is.
    pub priority: Priority,
    /// When it was asked for.
    pub created: Timestamp,
    /// When it is of no use any more: it is not sent after that, and the provider is told not to keep it longer.
    pub expires: Timestamp,
    /// A newer push with the same value replaces an older one. Already made unique to the organisation that chose it:
    /// two organisations may use one token, and must not replace each other's pushes.
    pub collapse: Option<Box<str>>,
    /// The true unread count.
    pub badge: Option<u32>,
    /// What is shown. Without it the event's own translation key is used, if it has one.
    pub alert: Option<Alert>,
    /// The name of the sound in the app.
    pub sound: Option<Box<str>>,
    /// The call that rings.
    pub call: Option<Call>,
    /// Opaque to everyone but the device.
    pub sealed: Option<Box<str>>,
    /// The push request's id, which the device may report back.
    pub push_id: PushId,
    /// The push identity's id at home.
    pub identity: IdentityId,
}

impl Notification {
    /// Whether anything is shown, heard or counted; a quiet push only wakes the app.
    pub(crate) fn is_quiet(&self) -> bool {
        let shown = self.alert.is_some() || self.badge.is_some() || self.sound.is_some();
        self.event == Event::RefreshWake || (!shown && self.event.rule().loc_key.is_none())
    }
}

/// A push that no device can get: it goes to a token that nobody has, and shows whether the provider takes our word.
pub(crate) fn nobodys(token: &str, now: Timestamp) -> Notification {
    Notification {
        key: 0,
        provider_id: rand::random(),
        channel: Channel::Message,
        event: Event::Probe,
        token: DeviceToken::new(token),
        priority: Priority::Normal,
        created: now,
        expires: now.plus(NOBODYS_LIFE),
        collapse: None,
        badge: None,
        alert: None,
        sound: None,
        call: None,
        sealed: None,
        push_id: PushId::from_parts(now, rand::random()),
        identity: IdentityId::from_parts(now, rand::random()),
    }
}

/// Long enough for any answer.
const NOBODYS_LIFE: std::time::Duration = std::time::Duration::from_secs(30);

impl fmt::Debug for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notification")
            .field("key", &self.key)
            .field("push_id", &self.push_id)
            .field("event", &self.event)
            .field("channel", &self.channel)
            .field("token", &self.token)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// What is shown: a translation key with its arguments or, where the organisation opted in, text.
///
/// `Debug` shows the key only.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Alert {
    /// The key that the app's own translations are looked up by.
    pub loc_key: Option<Box<str>>,
    /// What is put into the translation.
    pub loc_args: Vec<Box<str>>,
    /// A title in clear.
    pub title: Option<Box<str>>,
    /// A text in clear; takes the place of the translation.
    pub body: Option<Box<str>>,
}

impl fmt::Debug for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alert").field("loc_key", &self.loc_key).finish_non_exhaustive()
    }
}

/// A call that rings. `Debug` does not say who calls.
#[derive(Clone, Eq, PartialEq)]
pub struct Call {
    /// Pairs the push with the INVITE that follows.
    pub id: Box<str>,
    /// What kind of call it is.
    pub media: Media,
    /// Who calls, in clear, where the organisation opted in.
    pub caller: Option<Box<str>>,
    /// Who calls, readable by the device alone.
    pub caller_sealed: Option<Box<str>>,
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("id", &self.id).field("media", &self.media).finish_non_exhaustive()
    }
}

/// What kind of call it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Media {
    /// Voice only.
    Audio,
    /// Voice and picture.
    Video,
}

impl Media {
    /// The stable lower-case word, as on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// What became of one [`Notification`]. Each that was taken has exactly one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The notification's.
    pub key: u64,
    /// What the provider's answer means.
    pub verdict: Verdict,
    /// When it was handed to the connection; when the verdict was made, if it never was.
    pub sent: Timestamp,
    /// The HTTP status; 0 if there was no answer.
    pub status: u16,
    /// The provider's name for the push, where it is another than the one we gave (FCM's message name, the
    /// `apns-unique-id` of the APNs sandbox).
    pub provider_id: Option<Box<str>>,
}

/// The reason of the verdict `Retry { unprocessed: true }` for a push whose life ended before its turn came.
pub const EXPIRED_BEFORE_SENDING: &str = "expired before sending";

/// Who is told what became of pushes.
pub trait Outcomes: Send + Sync + 'static {
    /// Takes everything that one connection has completed in one wake. Called on the connection's own task: it must
    /// not block and must not panic.
    fn report(&self, batch: Vec<Outcome>);
}

/// Where the pushes of a lane wait until one of its connections has room for them.
pub trait Supply: Send + Sync + 'static {
    /// Gives up to `room.places` pushes in the order in which they are to be sent, and answers who still waits. Each has its
    /// [`Outcome`], as if it had been offered. Called on a connection's own task: it must neither block nor ask the
    /// sender for anything.
    fn take(&self, room: Room, give: &mut dyn FnMut(std::sync::Arc<Notification>)) -> Demand;
}

/// What a connection has room for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// How many pushes.
    pub places: usize,
    /// The last of these places, which are kept for organisations that have little under way: a flood that may be answered
    /// slowly shall not fill every connection, and have others wait for its answers.
    pub kept: usize,
}

impl Room {
    /// What is left of a connection which may have `cap` pushes under way, and is to take no more than `most` at once.
    pub const fn left(cap: usize, under_way: usize, most: usize) -> Self {
        let (left, kept) = (cap.saturating_sub(under_way), Self::kept_of(cap));
        let places = if left < most { left } else { most };
        Self { places, kept: kept.saturating_sub(left - places) }
    }

    /// Room for everybody.
    pub const fn for_all(places: usize) -> Self {
        Self { places, kept: 0 }
    }

    /// Whether there are places, and all of them are kept.
    pub const fn is_kept(self) -> bool {
        self.places > 0 && self.places <= self.kept
    }

    /// How many places of a connection are kept; none of one that is as good as closed until it is proven.
    pub const fn kept_of(cap: usize) -> usize {
        let share = cap / KEPT_SHARE;
        if share < KEPT_MAX { share } else { KEPT_MAX }
    }
}

/// Who waits in a supply for a connection.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Demand {
    /// Nobody.
    None,
    /// Only organisations that have much under way already.
    Crowd,
    /// Somebody for whom places are kept.
    Quiet,
}

/// One place in so many is kept, and never more than so many of one connection.
const KEPT_SHARE: usize = 16;
const KEPT_MAX: usize = 16;

/// 16 bytes as a lower-case UUID, 8-4-4-4-12 (RFC 9562 §4).
pub(crate) fn uuid(id: &[u8; 16], out: &mut [u8; 36]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut at = 0;
    for (index, byte) in id.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out[at] = b'-';
            at += 1;
        }
        out[at] = DIGITS[usize::from(byte >> 4)];
        out[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
}

/// A number in decimal digits.
pub(crate) fn decimal(mut number: u64, out: &mut [u8; 20]) -> &[u8] {
    let mut at = out.len();
    loop {
        at -= 1;
        out[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &out[at..];
        }
    }
}

/// `text` without so much of its end that its JSON form loses `over` bytes, with an ellipsis instead; `None` if nothing
/// would remain.
pub(crate) fn shorten(text: &str, over: usize) -> Option<String> {
    let mut to_cut = over + '…'.len_utf8();
    for (at, c) in text.char_indices().rev() {
        to_cut = to_cut.saturating_sub(json_len(c));
        if to_cut == 0 {
            let kept = text[..at].trim_end();
            return (!kept.is_empty()).then(|| format!("{kept}…"));
        }
    }
    None
}

/// How many bytes a character takes in a JSON string (RFC 8259 §7).
const fn json_len(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => c.len_utf8(),
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! Notifications that tests start from.

    use super::*;

    /// An instant, in milliseconds since the epoch.
    pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_500);

    /// A message for a device, with nothing that may be left out.
    pub(crate) fn message() -> Notification {
        Notification {
            key: 7,
            provider_id: *b"\x12\x3e\x45\x67\xe8\x9b\x12\xd3\xa4\x56\x42\x66\x55\x44\x00\x00",
            channel: Channel::Message,
            event: Event::Message,
            token: DeviceToken::new("00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"),
            priority: Priority::High,
            created: NOW,
            expires: NOW.plus(std::time::Duration::from_secs(3600)),
            collapse: None,
            badge: None,
            alert: None,
            sound: None,
            call: None,
            sealed: None,
            push_id: PushId::from_u128(1),
            identity: IdentityId::from_u128(2),
        }
    }

    /// A call that rings for 25 seconds.
    pub(crate) fn call() -> Notification {
        Notification {
            channel: Channel::Voip,
            event: Event::Call,
            expires: NOW.plus(std::time::Duration::from_secs(25)),
            call: Some(Call { id: "c1".into(), media: Media::Audio, caller: None, caller_sealed: None }),
            ..message()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::samples::*;
    use super::*;

    #[test]
    fn an_id_prints_as_a_lower_case_uuid() {
        let mut out = [0; 36];
        uuid(&message().provider_id, &mut out);
        assert_eq!(std::str::from_utf8(&out).unwrap(), "123e4567-e89b-12d3-a456-426655440000");
    }

    #[test]
    fn a_number_prints_in_decimal_digits() {
        for number in [0, 7, 10, 1_700_003_600, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn debug_output_has_no_token_no_text_and_no_caller() {
        let alert = Alert { body: Some("lunch?".into()), loc_args: vec!["Alice".into()], ..Alert::default() };
        let secret = Call { caller: Some("+15551234".into()), ..call().call.unwrap() };
        let push = Notification { alert: Some(alert), call: Some(secret), sealed: Some("blob".into()), ..message() };
        let shown = format!("{push:?} {:?} {:?}", push.alert, push.call);
        for hidden in ["00fc13ad", "lunch", "Alice", "555", "blob"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }

    #[test]
    fn a_text_is_shortened_by_what_its_json_form_takes() {
        for (text, over, short) in [
            ("abcdefgh", 1, Some("abcd…")),
            ("ab\u{1}\u{1}", 1, Some("ab\u{1}…")),
            ("äöü…", 3, Some("ä…")),
            ("a   bcdefg", 3, Some("a…")),
            ("abc", 1, None),
            ("", 1, None),
        ] {
            assert_eq!(shorten(text, over).as_deref(), short, "{text:?}");
            if let Some(short) = shorten(text, over) {
                let json = |text: &str| serde_json::to_string(text).unwrap().len();
                assert!(json(&short) + over <= json(text), "{text:?}");
            }
        }
    }

    #[test]
    fn what_shows_nothing_is_quiet() {
        let badge = Notification { event: Event::Badge, ..message() };
        for (push, quiet) in [
            (message(), false),
            (badge.clone(), true),
            (Notification { badge: Some(0), ..badge.clone() }, false),
            (Notification { sound: Some("ping".into()), ..badge }, false),
            (Notification { event: Event::RefreshWake, badge: Some(1), ..message() }, true),
        ] {
            assert_eq!(push.is_quiet(), quiet, "{push:?} {:?}", push.badge);
        }
    }
}
