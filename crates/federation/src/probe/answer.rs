//! What comes back for a test, read: who answered, how far the request came, and what was said about it.

use std::time::Duration;

use reveille_sip::{Message, Name, Params};

use super::{Times, Told, read};
use crate::push_result::{self, PushResult};

/// The answer to a test.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Answer {
    /// The SIP status.
    pub status: u16,
    /// Its phrase.
    pub phrase: String,
    /// The stages that our own edge tells.
    pub told: Vec<Told>,
    /// The diagnosis, if it has one.
    pub said: Option<Said>,
    /// What became of the push request, if a clearing house says so.
    pub result: Option<PushResult>,
    /// How long the clearing house took with it.
    pub times: Option<Times>,
    /// When repeating may help.
    pub retry_after: Option<Duration>,
}

/// A diagnosis: `ms-diagnostics` of our own servers, `ms-diagnostics-public` of others (lync.md §3.5).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    /// Its number.
    pub number: u32,
    /// Its sentence.
    pub reason: String,
    /// The server of ours that says it; nobody outside tells that.
    pub source: Option<String>,
    /// What it advises.
    pub advice: Option<String>,
}

impl Answer {
    /// Reads one.
    pub fn of(message: &Message) -> Self {
        let results = push_result::read(message.headers(Name::PushResult)).unwrap_or_default();
        let retry_after = message.header(Name::RetryAfter).and_then(|value| {
            let digits = value.trim().split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok().map(Duration::from_secs)
        });
        Self {
            status: message.status().unwrap_or_default(),
            phrase: printable(message.reason_phrase().unwrap_or_default(), 128),
            told: read(message.values(Name::ReveilleStage)),
            said: said(message.header(Name::MsDiagnostics)).or_else(|| said(message.header(Name::MsDiagnosticsPublic))),
            result: results.first().copied(),
            times: message.values(Name::PushResult).next().and_then(Times::read),
            retry_after,
        }
    }

    /// Whether the request left our edge and was answered out there.
    pub fn is_by_partner(&self) -> bool {
        self.told.iter().any(|one| one.stage == reveille_core::stage::Stage::Sip && one.passed)
    }

    /// The number of the diagnosis, 0 without one.
    pub fn number(&self) -> u32 {
        self.said.as_ref().map_or(0, |said| said.number)
    }
}

fn said(value: Option<&str>) -> Option<Said> {
    let (number, params) = value?.split_once(';').unwrap_or((value?, ""));
    let params = Params::new(params);
    // A partner chooses how much it says.
    let text = |name: &str| params.unquoted(name).map(|text| printable(&text, 512));
    Some(Said {
        number: number.trim().split('.').next()?.parse().ok()?,
        reason: text("reason").unwrap_or_default(),
        source: text("source"),
        advice: text("advice"),
    })
}

/// What others wrote, for a terminal: so long, and nothing in it that moves the cursor or changes the direction of text.
fn printable(text: &str, most: usize) -> String {
    let is_plain = |c: &char| {
        !c.is_control() && !matches!(*c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(is_plain).take(most).collect()
}

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits, parse_datagram};

    use super::*;
    use crate::push_result::Taken;

    fn answer(first: &str, more: &str) -> Answer {
        let text = format!(
            "SIP/2.0 {first}\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:mcx@a>;tag=1\r\nTo: <sip:push@b>;tag=2\r\n\
             Call-ID: 1\r\nCSeq: 1 MESSAGE\r\n{more}Content-Length: 0\r\n\r\n"
        );
        Answer::of(&parse_datagram(text.into(), &Limits::default()).unwrap())
    }

    #[test]
    fn who_answered_and_what_it_said_is_read() {
        let taken = answer(
            "202 Accepted",
            "Push-Result: 0;result=journaled;intake-us=1;journal-us=2;dispatch=none\r\n\
             Reveille-Stage: policy;us=3, sip;us=9\r\n",
        );
        assert!(taken.is_by_partner() && taken.times.is_some());
        assert_eq!(taken.result.map(|result| result.taken), Some(Taken::Journaled));
        let ours = answer(
            "504 Server Time-out",
            "ms-diagnostics: 1008;reason=\"the server, \\\"x\\\"\";source=\"edge\";advice=\"do\"\r\n\
             Reveille-Stage: policy;us=3, name;us=9;failed\r\n",
        );
        assert!(!ours.is_by_partner());
        let said = ours.said.unwrap();
        assert_eq!((said.number, said.source.as_deref(), said.advice.as_deref()), (1008, Some("edge"), Some("do")));
        assert_eq!(said.reason, "the server, \"x\"");
        let theirs = answer("403 Forbidden", "ms-diagnostics-public: 90103;reason=\"no\"\r\nRetry-After: 7 (x)\r\n");
        assert_eq!((theirs.number(), theirs.retry_after), (90103, Some(Duration::from_secs(7))));
        assert_eq!(theirs.said.and_then(|said| said.source), None);
    }

    #[test]
    fn what_a_partner_says_is_bounded_and_harmless_on_a_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{202e}c\u{2069}\u{e9}", 9), "a[2Jbc\u{e9}");
        let long = answer("403 No", &format!("ms-diagnostics-public: 1;reason=\"{}\"\r\n", "x".repeat(2000)));
        assert_eq!(long.said.map(|said| said.reason.len()), Some(512));
    }

    #[test]
    fn an_answer_that_says_nothing_is_read_as_that() {
        let bare = answer("488 X", "ms-diagnostics: none\r\nPush-Result: what\r\n");
        assert_eq!((bare.status, bare.number(), bare.result, bare.told.len()), (488, 0, None, 0));
    }
}
