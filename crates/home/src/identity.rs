//! Feedback from a clearing house: which of it is believed, and what is forgotten because of it.

use reveille_core::delivery::PushState;
use reveille_core::verdict::kills;
use reveille_core::{Channel, Reason, SipDomain, Timestamp};
use reveille_federation::feedback::{FeedbackVerdict, Item};
use reveille_store::{DeviceRecord, HomeChange, KnownPush};

/// Why an item is not believed: an alarm, since either somebody lies or two servers disagree about history.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Disbelief {
    /// It is about another identity than the push was for.
    #[error("the feedback names another push identity than the push was for")]
    IdentityAnother,
    /// It comes from another clearing house than the push was sent to.
    #[error("the feedback comes from {from}, and the push was sent to {sent_to}")]
    SenderAnother {
        /// Who says it.
        from: SipDomain,
        /// Who was asked.
        sent_to: SipDomain,
    },
    /// Nobody here knows that push.
    #[error("no push of that id was sent from here")]
    PushUnknown,
}

/// Whether an item may be believed (DESIGN.md §5): only from the peer that the push was sent to, and only about an
/// identity and push that we know.
pub fn believe(known: Option<KnownPush>, item: &Item, from: &SipDomain) -> Result<KnownPush, Disbelief> {
    let known = known.ok_or(Disbelief::PushUnknown)?;
    if known.owed.clearing_house != *from {
        return Err(Disbelief::SenderAnother { from: from.clone(), sent_to: known.owed.clearing_house });
    }
    if known.owed.identity != item.identity {
        return Err(Disbelief::IdentityAnother);
    }
    Ok(known)
}

/// What an item that is believed changes, in one commit: the push's end and, for a dead token, the device.
pub(crate) fn changes(
    device: Option<&mut DeviceRecord>,
    known: &KnownPush,
    item: &Item,
    now: Timestamp,
) -> Vec<HomeChange> {
    let reason = match item.verdict {
        FeedbackVerdict::Forget => Reason::IdentityDead,
        FeedbackVerdict::State => Reason::parse(&item.reason).unwrap_or(Reason::RejectedByProvider),
        FeedbackVerdict::Reversed => return revived(device, known),
    };
    let state = PushState::NotPushed(reason);
    let push = known.owed.push;
    let detail = item.reason.to_string();
    let mut changes =
        vec![HomeChange::MovePush { push, state, at: now, due: now, attempt: known.owed.attempt, detail }];
    let Some(record) = device else { return changes };
    if record.last_push.is_some_and(|(last, ..)| last == push) {
        record.last_push = Some((push, state, now));
    }
    if item.verdict == FeedbackVerdict::Forget {
        forget(record, known, item);
    }
    changes.push(HomeChange::PutDevice(record.clone()));
    changes
}

/// Takes back the token that the push went to, if a verdict on it is all that has come between. The push itself was not
/// pushed, and stays so.
fn revived(device: Option<&mut DeviceRecord>, known: &KnownPush) -> Vec<HomeChange> {
    let Some(record) = device else { return Vec::new() };
    let identity = record.identity.as_mut().filter(|identity| identity.id == known.owed.identity);
    let Some(token) = identity.and_then(|identity| identity.revive(known.owed.channel, known.owed.generation)) else {
        return Vec::new();
    };
    record.dead_tokens.retain(|dead| *dead != token);
    vec![HomeChange::PutDevice(record.clone())]
}

/// Forgets the token that the push went to, unless the device has another by now.
fn forget(record: &mut DeviceRecord, known: &KnownPush, item: &Item) {
    let Some(identity) = &mut record.identity else { return };
    // Another generation is another token: what was true of the old one says nothing of it.
    if identity.id != known.owed.identity || identity.generation != known.owed.generation {
        return;
    }
    let channel: Channel = known.owed.channel;
    let Some(token) = identity.token(channel).cloned() else { return };
    if !kills(item.provider_time, token.registered, item.at) {
        return;
    }
    identity.forget(&token.token);
    record.dead_tokens.push(token.token);
    let surplus = record.dead_tokens.len().saturating_sub(DeviceRecord::DEAD_TOKENS_MAX);
    record.dead_tokens.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use reveille_core::{AppKey, DeviceToken, Environment, Event, IdentityId, Provider, PushId, PushIdentity};
    use reveille_store::OwedPush;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn known(generation: u32) -> KnownPush {
        let owed = OwedPush {
            push: PushId::from_u128(1),
            user: "bob@contoso.com".parse().unwrap(),
            device: "d".into(),
            identity: IdentityId::from_u128(2),
            generation,
            channel: Channel::Message,
            event: Event::Message,
            message: None,
            clearing_house: "push.example.net".parse().unwrap(),
            created: at(1),
            expires: at(1000),
            due: at(1),
            attempt: 1,
            state: PushState::Journaled,
        };
        KnownPush { owed, detail: String::new(), moved: at(20) }
    }

    fn item(verdict: FeedbackVerdict, provider_time: Option<u64>) -> Item {
        Item {
            push: PushId::from_u128(1),
            identity: IdentityId::from_u128(2),
            verdict,
            reason: "Unregistered".into(),
            provider_time: provider_time.map(at),
            at: at(30),
        }
    }

    fn device() -> DeviceRecord {
        let app = AppKey { provider: Provider::Apns, app: "app".into(), environment: Environment::Production };
        let id = IdentityId::from_u128(2);
        let mut identity = PushIdentity::new(id, app);
        identity.refresh(Some(DeviceToken::new("token-1")), None, at(10), &[]);
        DeviceRecord {
            user: "bob@contoso.com".parse().unwrap(),
            device: "d".into(),
            identity: Some(identity),
            dead_tokens: Vec::new(),
            user_agent: String::new(),
            last_registered: at(10),
            session_expires: at(10_000),
            suspended_since: None,
            last_push: Some((PushId::from_u128(1), PushState::Journaled, at(20))),
        }
    }

    #[test]
    fn only_the_asked_is_believed_and_only_about_what_was_asked() {
        let asked: SipDomain = "push.example.net".parse().unwrap();
        let item = item(FeedbackVerdict::Forget, None);
        assert!(believe(Some(known(1)), &item, &asked).is_ok());
        assert_eq!(believe(None, &item, &asked), Err(Disbelief::PushUnknown));
        let other = believe(Some(known(1)), &item, &"evil.example".parse().unwrap());
        assert!(matches!(other, Err(Disbelief::SenderAnother { .. })));
        let foreign = Item { identity: IdentityId::from_u128(9), ..item };
        assert_eq!(believe(Some(known(1)), &foreign, &asked), Err(Disbelief::IdentityAnother));
    }

    #[test]
    fn a_dead_token_is_forgotten_unless_the_device_has_a_newer_one() {
        for (generation, provider_time, forgotten) in [
            (1, None, true),
            (1, Some(15), true),
            (1, Some(5), false),
            // The push went to an older token than the one that the device has now.
            (0, None, false),
        ] {
            let mut record = device();
            let changes =
                changes(Some(&mut record), &known(generation), &item(FeedbackVerdict::Forget, provider_time), at(40));
            assert_eq!(
                record.identity.as_ref().unwrap().is_dead(Channel::Message),
                forgotten,
                "{generation} {provider_time:?}"
            );
            assert_eq!(record.dead_tokens.len(), usize::from(forgotten));
            assert!(
                matches!(&changes[..], [HomeChange::MovePush { .. }, HomeChange::PutDevice(kept)] if *kept == record)
            );
        }
    }

    #[test]
    fn a_verdict_that_is_taken_back_gives_the_device_its_token_again() {
        let reversed = item(FeedbackVerdict::Reversed, None);
        let mut record = device();
        changes(Some(&mut record), &known(1), &item(FeedbackVerdict::Forget, None), at(40));
        assert!(record.identity.as_ref().unwrap().is_dead(Channel::Message) && !record.dead_tokens.is_empty());
        let told = changes(Some(&mut record), &known(1), &reversed, at(50));
        assert!(matches!(&told[..], [HomeChange::PutDevice(kept)] if *kept == record));
        let identity = record.identity.as_ref().unwrap();
        assert_eq!(identity.token(Channel::Message).unwrap().token, DeviceToken::new("token-1"));
        // It may be offered again, too.
        assert!(record.dead_tokens.is_empty());
        // Said twice, or of a device that has a newer token, it changes nothing.
        let before = record.clone();
        assert!(changes(Some(&mut record), &known(1), &reversed, at(60)).is_empty());
        assert_eq!((record, changes(None, &known(1), &reversed, at(60))), (before, Vec::new()));
    }

    #[test]
    fn a_state_item_only_tells() {
        let mut record = device();
        let told = Item { reason: "expired".into(), ..item(FeedbackVerdict::State, None) };
        changes(Some(&mut record), &known(1), &told, at(40));
        assert!(!record.identity.unwrap().is_dead(Channel::Message));
        let state = PushState::NotPushed(Reason::Expired);
        assert_eq!(record.last_push, Some((PushId::from_u128(1), state, at(40))));
    }
}
