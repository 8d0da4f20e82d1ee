//! What somebody should wake up for: one list with stable codes, the same in logs and in the documentation.
//!
//! An alarm is a log event with the field `alarm`. Whoever watches the logs looks for that field alone.

use std::fmt;

macro_rules! alarms {
    ($($(#[$doc:meta])* $name:ident = $code:literal $severity:ident : $sentence:literal, $remedy:literal;)*) => {
        /// Something that an administrator should know of at once.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Alarm { $($(#[$doc])* $name,)* }

        impl Alarm {
            /// Every alarm there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code, never changed once published.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// How bad it is.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$name => Severity::$severity,)* }
            }

            /// What an administrator reads: the message of the log event.
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }

            /// What to do.
            pub const fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Phones are not woken, or will not be until somebody acts.
    Critical,
    /// Something is lost or at risk; the rest works.
    Warning,
}

impl Severity {
    /// The word for people, and the level of the log event: `error` and `warn`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

alarms! {
    /// The provider refuses an app's key, certificate, topic or environment.
    AppRefused = "push-app-refused" Critical:
        "the push service refuses the app's credentials or its topic: none of its pushes get through",
        "Test-CsPushCredential -App APP tells what is wrong; tokens and pushes are kept meanwhile";
    /// An app's verdicts are frozen.
    BrakeOn = "brake-on" Critical:
        "tokens are rejected in mass: verdicts on them are frozen, and no home forgets a token, until somebody decides",
        "Get-CsPushBrake shows the app and the provider's word; find out whether topic, key and environment are right, \
         then Clear-CsPushBrake -App APP with -Verdict Right or -Verdict Wrong";
    /// So much feedback waits for one home that no more is kept for it.
    FeedbackLost = "feedback-lost" Warning:
        "a home has not taken its feedback for so long that news of its pushes are no longer kept for it; verdicts are",
        "ask the organisation why its edge or webhook does not answer 2xx; the trace has what it was not told";
    /// A home answered that it does not believe feedback.
    FeedbackRefused = "feedback-refused" Warning:
        "home does not believe feedback, which is given up",
        "ask the organisation whether its home was restored from a backup or moved; its own log says what it misses";
    /// Feedback came that this home does not believe.
    FeedbackDisbelieved = "feedback-disbelieved" Warning:
        "feedback is not believed: somebody speaks about pushes that he was not sent, or two servers disagree",
        "compare the sender with PushNotificationProxyUri (Get-CsMcxConfiguration); after a change of publisher or a \
         restored home it ends by itself within 25 hours";
    /// A key for sealed handles retires while handles under it still come.
    HandleKeyEnding = "handle-key-ending" Warning:
        "devices still send handles under a key that retires soon; from then on their pushes are refused as handle-key-gone",
        "have the app seal its token anew, as it does when opened, or raise clearinghouse.handles.keep_days";
    /// The journal cannot be written, and push requests are refused.
    JournalRefuses = "journal-refuses" Critical:
        "the journal takes nothing: push requests are answered 503 until it does",
        "look at the disk of store.dir: full, read-only or failing; the log event has the reason";
    /// Outcomes cannot be written.
    OutcomesUnwritten = "outcomes-unwritten" Critical:
        "outcomes could not be journaled",
        "look at the disk of store.dir; pushes whose outcome is lost are sent again after a restart under the same id, \
         calls are not";
    /// Clocks differ so much that requests will be refused.
    PartnerClock = "partner-clock" Warning:
        "the partner's clock differs from ours",
        "timedatectl on both machines; above 10 minutes its push requests are refused";
    /// A part of a role has ended by itself.
    PartEnded = "part-ended" Critical:
        "a part of a role has ended by itself, and the process ends with it",
        "the service manager starts it again; report the log events before this one";
    /// The certificate that an app shows its provider ends.
    PushCertificateEnds = "push-certificate-ends" Critical:
        "the certificate of an app for its push service ends, or has ended",
        "renew it at the push service and put it in place of the file: it is read again by itself";
    /// A provider fails, or asks a lane for a pause.
    PushCircuitOpen = "push-circuit-open" Warning:
        "the push service fails or asks for a pause: pushes wait, and one probes from time to time",
        "Get-CsPushLane tells since when and what the push service says; nothing is lost while pushes live";
    /// A provider's clock differs from ours.
    PushClock = "push-clock" Warning:
        "this machine's clock and the push service's differ",
        "timedatectl; where clocks differ by minutes, push services refuse credentials";
    /// A credential file holds what cannot be used.
    PushCredentialUnusable = "push-credential-unusable" Critical:
        "the file of a push credential cannot be used: what was read before stays in use, and the next start would fail",
        "put the key as its push service gave it into the file; it is read again by itself";
    /// A provider's host cannot be reached.
    PushHostUnreachable = "push-host-unreachable" Critical:
        "the push service cannot be reached",
        "let this machine reach the address that the log event names, or set [clearinghouse.proxies]";
    /// A store failed to write.
    StoreFailed = "store-failed" Critical:
        "a batch could not be written",
        "look at the disk of store.dir: full, read-only or failing; nothing was acknowledged that is not kept";
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_alarm_as_it_stands_here() {
        let page = include_str!("../../../docs/alarms.md");
        let row = |alarm: &Alarm| {
            let severity = alarm.severity().as_str();
            format!("| `{alarm}` | {severity} | {} | {} |", alarm.sentence(), alarm.remedy())
        };
        let mut rows: Vec<_> = Alarm::ALL.iter().map(row).collect();
        rows.sort_unstable();
        let told: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(told, rows, "docs/alarms.md has these rows:\n{}", rows.join("\n"));
    }

    #[test]
    fn codes_are_words_that_stand_once_and_everything_says_what_to_do() {
        let mut codes = std::collections::BTreeSet::new();
        for alarm in Alarm::ALL {
            let code = alarm.as_str();
            assert!(codes.insert(code), "{code} twice");
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{code}");
            assert!(!alarm.sentence().is_empty() && !alarm.remedy().is_empty(), "{code}");
            assert!(!alarm.sentence().ends_with('.'), "{code}");
        }
    }
}
