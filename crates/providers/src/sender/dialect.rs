//! What differs between providers, seen from a connection.

use std::time::Duration;

use http::HeaderValue;
use reveille_core::{Timestamp, Verdict};
use reveille_http2::{Fields, Request};

use crate::notification::Notification;

/// How one provider is spoken to for one lane. Does no work on sockets and never waits.
pub(crate) trait Dialect: Send + Sync + 'static {
    /// What goes with every request of this moment. `Ok(None)` while there is none yet and someone is fetching it;
    /// `Err` with a sentence if it cannot be made.
    fn authorization(&self, now: Timestamp) -> Result<Option<Authorization>, String>;

    /// Writes one push onto an empty page. `Err` is the verdict for a push that cannot be written: the provider need not
    /// be asked, and what stands on the page is of no use.
    fn encode(
        &self,
        push: &Notification,
        authorization: &Authorization,
        now: Timestamp,
        request: &mut Request,
    ) -> Result<(), Verdict>;

    /// What an answer means, for the push and for the connection that it came on.
    fn decode(&self, answer: &Answer<'_>, now: Timestamp) -> Reply;

    /// Whom the provider means by a word of refusal.
    fn blame(&self, word: &str) -> Blame;

    /// A token that no device has and that the provider refuses only after it has taken our credential.
    fn nobody(&self) -> &'static str;

    /// Keeps the credential fresh for as long as it is polled, and calls `changed` whenever [`Self::authorization`]
    /// may have a new answer. Never ends; providers whose credentials need no network do nothing here.
    fn keep<'a>(&'a self, changed: &'a (dyn Fn(Option<String>) + Send + Sync)) -> Keeping<'a>;
}

/// The work of [`Dialect::keep`].
pub(crate) type Keeping<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Who we are to the provider, at this moment.
#[derive(Clone, Debug)]
pub(crate) struct Authorization {
    /// The `authorization` header, marked sensitive; `None` where the client certificate says it.
    pub(crate) header: Option<HeaderValue>,
    /// When it was made, so that an answer about an older one is known as such.
    pub(crate) minted: Timestamp,
}

/// What the provider said to one push.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    /// The HTTP status.
    pub(crate) status: u16,
    /// Those of its header fields that anybody reads.
    pub(crate) fields: &'a Fields,
    /// The body, or the beginning of a long one.
    pub(crate) body: &'a [u8],
    /// [`Authorization::minted`] of the request.
    pub(crate) minted: Timestamp,
    /// Whether this connection has had a push accepted before.
    pub(crate) proven: bool,
}

/// What an answer means.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Reply {
    /// For the push.
    pub(crate) verdict: Verdict,
    /// The provider's own name for the push.
    pub(crate) provider_id: Option<Box<str>>,
    /// For the connection.
    pub(crate) then: Then,
}

impl Reply {
    /// A verdict that says nothing about the connection.
    pub(crate) fn of(verdict: Verdict) -> Self {
        Self { verdict, provider_id: None, then: Then::Continue }
    }
}

/// Whom a refusal concerns beyond its push.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Blame {
    /// All pushes of the app.
    App,
    /// Those of this channel.
    Channel,
    /// Only those to this token: one tenant's bad token must not stop the others.
    Token,
}

/// What becomes of the connection after an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Then {
    /// It goes on.
    Continue,
    /// It takes no more pushes; those under way may finish.
    Retire,
    /// It goes on, but many of these in a row end it.
    Suspect,
}

/// A `Retry` verdict.
pub(crate) fn retry(reason: impl Into<Box<str>>, after: Option<Duration>, unprocessed: bool) -> Verdict {
    Verdict::Retry { reason: reason.into(), after, unprocessed }
}

/// `Retry-After` as a span: seconds, or an HTTP date (RFC 9110 §10.2.3). Longer than a day is cut to a day.
pub(crate) fn retry_after(fields: &Fields, now: Timestamp) -> Option<Duration> {
    let text = fields.get("retry-after")?.trim();
    let span = match text.parse::<u64>() {
        Ok(secs) => Duration::from_secs(secs),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_millisecond();
            Timestamp::from_millis(u64::try_from(at).ok()?).since(now)
        }
    };
    Some(span.min(Duration::from_secs(24 * 3600)))
}

/// By how many seconds our clock is ahead of the one behind this answer, by its Date (RFC 9110 §6.6.1), if it has one.
pub(crate) fn ahead_of(fields: &Fields, now: Timestamp) -> Option<i64> {
    let text = fields.get("date")?;
    let theirs = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_second();
    Some(i64::try_from(now.secs()).ok()? - theirs)
}

/// A provider's word, fit for a log: printable ASCII, and not more than anybody would read.
pub(crate) fn word(text: &str) -> Box<str> {
    text.chars().take(120).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_reads_seconds_and_dates_and_ignores_the_rest() {
        let now = Timestamp::from_millis(784_111_777_000 - 30_000);
        for (text, expected) in [
            ("120", Some(120)),
            (" 5 ", Some(5)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sun, 06 Nov 1993 08:49:37 GMT", None),
            ("Sat, 06 Nov 1993 08:49:37 GMT", Some(0)),
            ("99999999", Some(86_400)),
            ("soon", None),
            ("-1", None),
        ] {
            let fields = Fields::from_iter([("retry-after", text)]);
            assert_eq!(retry_after(&fields, now), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn a_date_tells_how_far_our_clock_is_ahead() {
        let now = Timestamp::from_millis(784_111_777_000);
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:48:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(-60)),
            ("today", None),
        ] {
            let fields = Fields::from_iter([("date", text)]);
            assert_eq!(ahead_of(&fields, now), expected, "{text}");
        }
        assert_eq!(ahead_of(&Fields::new(), now), None);
    }

    #[test]
    fn a_word_cannot_forge_a_log_line() {
        assert_eq!(&*word("Bad\nDevice\u{202e}"), "Bad?Device?");
        assert_eq!(word(&"x".repeat(500)).len(), 120);
    }
}
