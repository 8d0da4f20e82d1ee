//! What becomes of a push after its provider has answered: a pure function of the verdict and the facts.

use reveille_core::delivery::PushState;
use reveille_core::retry::Backoff;
use reveille_core::verdict::kills;
use reveille_core::{Channel, Reason, Timestamp, Verdict};

/// What is known about the push.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// A call or a message.
    pub channel: Channel,
    /// How often it has been sent before this time.
    pub attempt: u32,
    /// When it is of no use any more.
    pub expires: Timestamp,
    /// When its token was first given to home.
    pub registered: Timestamp,
    /// When it was sent.
    pub sent: Timestamp,
    /// The time now.
    pub now: Timestamp,
    /// A random number in `0.0..1.0`.
    pub unit: f64,
}

/// What to do now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// Send it again at this time.
    Again {
        /// When.
        at: Timestamp,
    },
    /// It is over.
    End {
        /// How.
        state: PushState,
        /// The provider's own word, for the trace.
        detail: String,
        /// Whether its token is dead, and since when if the provider said.
        dead: Option<Option<Timestamp>>,
    },
}

/// Judges one verdict (DESIGN.md §7: the retry table per class, and the rule of dead tokens).
pub fn judge(verdict: &Verdict, facts: &Facts) -> Judgement {
    let detail = || verdict.provider_reason().unwrap_or_default().to_owned();
    let end = |reason| Judgement::End { state: PushState::NotPushed(reason), detail: detail(), dead: None };
    match verdict {
        Verdict::Accepted => Judgement::End { state: PushState::Accepted, detail: String::new(), dead: None },
        Verdict::Forget { since, .. } if kills(*since, facts.registered, facts.sent) => {
            Judgement::End { state: PushState::NotPushed(Reason::IdentityDead), detail: detail(), dead: Some(*since) }
        }
        // News about an earlier life of the token: this one was registered since, and lives.
        Verdict::Forget { .. } | Verdict::Reject { .. } | Verdict::Unknown { .. } => end(Reason::RejectedByProvider),
        // No repetition changes to which project a token belongs, and it is one token's fault until a brake says otherwise.
        Verdict::Configuration { reason } if &**reason == OF_ANOTHER_PROJECT => end(Reason::ConfigurationBroken),
        Verdict::Configuration { .. } => match facts.channel {
            // A person must mend it, and may do so while the message is still worth delivering.
            Channel::Message => again(facts, None).unwrap_or_else(|| end(Reason::ConfigurationBroken)),
            Channel::Voip => end(Reason::ConfigurationBroken),
        },
        Verdict::Retry { after, unprocessed, .. } => match facts.channel {
            Channel::Message => again(facts, *after).unwrap_or_else(|| end(Reason::Expired)),
            // A call is sent again once, at once, and only if it certainly was not processed.
            Channel::Voip if *unprocessed && facts.attempt == 0 && facts.now < facts.expires => {
                Judgement::Again { at: facts.now }
            }
            Channel::Voip if *unprocessed => end(Reason::Expired),
            Channel::Voip => end(Reason::OutcomeUnknown),
        },
    }
}

/// What FCM says of a token that belongs to another project (Firebase, "ErrorCode"), and what is not to be repeated: 403.
const OF_ANOTHER_PROJECT: &str = "SENDER_ID_MISMATCH";

fn again(facts: &Facts, after: Option<std::time::Duration>) -> Option<Judgement> {
    Backoff::PROVIDER
        .next(facts.attempt + 1, facts.unit, facts.now, after, facts.expires)
        .map(|at| Judgement::Again { at })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    const fn facts(channel: Channel, attempt: u32) -> Facts {
        Facts {
            channel,
            attempt,
            expires: Timestamp::from_millis(100_000),
            registered: Timestamp::from_millis(1000),
            sent: Timestamp::from_millis(2000),
            now: Timestamp::from_millis(3000),
            unit: 1.0,
        }
    }

    #[test]
    fn each_class_of_answer_has_its_consequence() {
        use Channel::{Message, Voip};
        let retry = |after: Option<u64>, unprocessed| Verdict::Retry {
            reason: "ServiceUnavailable".into(),
            after: after.map(Duration::from_secs),
            unprocessed,
        };
        let forget = |since: Option<u64>| Verdict::Forget { reason: "Unregistered".into(), since: since.map(at) };
        let broken = Verdict::Configuration { reason: "BadTopic".into() };
        let mismatch = Verdict::Configuration { reason: "SENDER_ID_MISMATCH".into() };
        let wrong = Verdict::Reject { reason: "PayloadTooLarge".into() };
        let not = |reason| Some(PushState::NotPushed(reason));
        for (verdict, channel, attempt, state, again_at) in [
            (Verdict::Accepted, Message, 0, Some(PushState::Accepted), None),
            (forget(None), Message, 0, not(Reason::IdentityDead), None),
            (forget(Some(1500)), Voip, 0, not(Reason::IdentityDead), None),
            (forget(Some(500)), Message, 0, not(Reason::RejectedByProvider), None),
            (wrong, Message, 0, not(Reason::RejectedByProvider), None),
            (broken.clone(), Message, 0, None, Some(5000)),
            (broken, Voip, 0, not(Reason::ConfigurationBroken), None),
            (mismatch.clone(), Message, 0, not(Reason::ConfigurationBroken), None),
            (mismatch, Voip, 0, not(Reason::ConfigurationBroken), None),
            (retry(None, true), Message, 0, None, Some(5000)),
            (retry(None, false), Message, 1, None, Some(7000)),
            (retry(Some(60), false), Message, 0, None, Some(63_000)),
            (retry(Some(97), false), Message, 0, not(Reason::Expired), None),
            (retry(None, true), Voip, 0, None, Some(3000)),
            (retry(None, true), Voip, 1, not(Reason::Expired), None),
            (retry(None, false), Voip, 0, not(Reason::OutcomeUnknown), None),
        ] {
            let found = judge(&verdict, &facts(channel, attempt));
            let expected = match (state, again_at) {
                (None, Some(millis)) => Judgement::Again { at: at(millis) },
                (Some(state), None) => match &found {
                    Judgement::End { state: found, .. } if *found == state => continue,
                    _ => panic!("{verdict:?} {channel:?} {attempt}: {found:?}, not {state:?}"),
                },
                other => panic!("the table itself is wrong: {other:?}"),
            };
            assert_eq!(found, expected, "{verdict:?} {channel:?} {attempt}");
        }
    }

    #[test]
    fn only_a_verdict_that_kills_says_that_the_token_is_dead() {
        let dead = |since: Option<u64>| match judge(
            &Verdict::Forget { reason: "Unregistered".into(), since: since.map(at) },
            &facts(Channel::Message, 0),
        ) {
            Judgement::End { dead, .. } => dead,
            other => panic!("{other:?}"),
        };
        assert_eq!(dead(Some(1500)), Some(Some(at(1500))));
        assert_eq!(dead(None), Some(None));
        assert_eq!(dead(Some(999)), None);
    }
}
