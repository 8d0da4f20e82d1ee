//! Probes that wait for their device: each with a code that was sent to the device and nowhere else.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::{Channel, IdentityId, PushId, SipDomain, Timestamp};
use reveille_federation::PushRequest;
use reveille_federation::feedback::Item;
use reveille_federation::request::To;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::status::Foreseen;

/// Probes remembered, also those that are over: their feedback may come late, and is nothing to be alarmed about.
const REMEMBERED: usize = 256;

/// The probes that were sent to devices.
#[derive(Default)]
pub(crate) struct Devices {
    sent: Mutex<VecDeque<Sent>>,
}

struct Sent {
    push: PushId,
    code: Box<str>,
    /// Who may tell what became of it.
    publisher: Option<SipDomain>,
    /// Taken when something was heard.
    done: Option<oneshot::Sender<Heard>>,
}

/// What was heard of a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Heard {
    /// It said the code.
    Acknowledged,
    /// Its push service will not deliver.
    Verdict {
        /// The reason, as it came.
        reason: String,
    },
    /// Nothing, for as long as the test waits.
    Nothing,
}

/// What becomes of an acknowledgement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Acknowledged {
    /// It was waited for.
    Taken,
    /// No test waits for it: over, acknowledged already, never sent, or another code.
    Unknown,
}

/// A probe that waits.
pub(crate) struct Waiting(oneshot::Receiver<Heard>);

impl Waiting {
    /// What is heard within `patience`.
    pub(crate) async fn heard(self, patience: Duration) -> Heard {
        timeout(patience, self.0).await.ok().and_then(Result::ok).unwrap_or(Heard::Nothing)
    }
}

impl Devices {
    /// From now on the device of this probe may be heard of.
    pub(crate) fn expect(&self, push: &PushRequest, publisher: &Option<SipDomain>) -> Waiting {
        let (done, heard) = oneshot::channel();
        let mut sent = self.sent.lock();
        if sent.len() >= REMEMBERED {
            sent.pop_front();
        }
        let code = push.sealed.clone().unwrap_or_default();
        sent.push_back(Sent { push: push.id, code, publisher: publisher.clone(), done: Some(done) });
        Waiting(heard)
    }

    /// A device acknowledges.
    pub(crate) fn acknowledge(&self, push: PushId, code: &str) -> Acknowledged {
        let mut sent = self.sent.lock();
        let waits = sent.iter_mut().find(|one| one.push == push && same(&one.code, code));
        match waits.and_then(|one| one.done.take()).map(|done| done.send(Heard::Acknowledged)) {
            Some(Ok(())) => Acknowledged::Taken,
            Some(Err(_)) | None => Acknowledged::Unknown,
        }
    }

    /// Feedback about a probe, from whom it was sent to. Answers whether it was one.
    pub(crate) fn feedback(&self, item: &Item, from: &SipDomain) -> bool {
        let mut sent = self.sent.lock();
        let about = |one: &&mut Sent| one.push == item.push && one.publisher.as_ref() == Some(from);
        let Some(one) = sent.iter_mut().find(about) else { return false };
        if let Some(done) = one.done.take() {
            let _ = done.send(Heard::Verdict { reason: item.reason.to_string() });
        }
        true
    }
}

/// Compares codes in a time that tells nothing of where they differ.
fn same(code: &str, given: &str) -> bool {
    let differ = code.bytes().zip(given.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    !code.is_empty() && code.len() == given.len() && differ == 0
}

/// A device that a test can wake.
pub(crate) struct Found {
    pub(crate) identity: IdentityId,
    pub(crate) to: To,
    pub(crate) registered: Timestamp,
}

impl Found {
    /// The device's identity for messages, if it has one that works.
    pub(crate) fn of(device: Foreseen) -> Result<Self, &'static str> {
        let identity = device.record.identity.ok_or("it has no push identity")?;
        if identity.is_dead(Channel::Message) {
            return Err("its push service has declared its token dead");
        }
        let token = identity.token(Channel::Message).ok_or("it has no token for messages")?;
        let to = To {
            provider: identity.app.provider,
            app: (&*identity.app.app).into(),
            environment: identity.app.environment,
            token: token.token.clone(),
        };
        Ok(Self { identity: identity.id, to, registered: token.registered })
    }
}

#[cfg(test)]
mod tests {
    use reveille_core::Event;

    use super::*;

    fn probe(number: u128, code: &str) -> PushRequest {
        let at = Timestamp::from_millis(5);
        PushRequest {
            id: PushId::from_parts(at, number),
            identity: IdentityId::from_parts(at, 1),
            event: Event::Probe,
            channel: Channel::Message,
            to: None,
            sent: at,
            expires: at.plus(Duration::from_secs(60)),
            priority: None,
            collapse: None,
            badge: None,
            alert: None,
            sound: None,
            call: None,
            sealed: Some(code.into()),
            registered: at,
            traceparent: None,
            must_understand: Vec::new(),
        }
    }

    #[tokio::test]
    async fn a_code_acknowledges_its_own_probe_once_and_no_other() {
        let devices = Devices::default();
        let (one, two) = (probe(1, "c0de"), probe(2, "0ther"));
        let first = devices.expect(&one, &None);
        let second = devices.expect(&two, &None);
        for (push, code) in [(one.id, "0ther"), (one.id, ""), (one.id, "c0d"), (one.id, "c0de1"), (two.id, "c0de")] {
            assert_eq!(devices.acknowledge(push, code), Acknowledged::Unknown, "{push} {code}");
        }
        assert_eq!(devices.acknowledge(one.id, "c0de"), Acknowledged::Taken);
        assert_eq!(devices.acknowledge(one.id, "c0de"), Acknowledged::Unknown, "a code is good for once");
        assert_eq!(first.heard(Duration::ZERO).await, Heard::Acknowledged);
        assert_eq!(second.heard(Duration::ZERO).await, Heard::Nothing);
        assert_eq!(devices.acknowledge(two.id, "0ther"), Acknowledged::Unknown, "too late");
    }

    #[tokio::test]
    async fn what_became_of_a_probe_is_believed_from_whom_it_was_sent_to() {
        let devices = Devices::default();
        let (ours, theirs): (SipDomain, SipDomain) =
            ("push.lync.com".parse().unwrap(), "evil.example".parse().unwrap());
        let push = probe(1, "c0de");
        let waiting = devices.expect(&push, &Some(ours.clone()));
        let item = Item {
            push: push.id,
            identity: push.identity,
            verdict: reveille_federation::feedback::FeedbackVerdict::Forget,
            reason: "BadDeviceToken".into(),
            provider_time: None,
            at: Timestamp::from_millis(9),
        };
        assert!(!devices.feedback(&item, &theirs));
        assert!(devices.feedback(&item, &ours) && devices.feedback(&item, &ours), "also when it is repeated");
        let heard = waiting.heard(Duration::ZERO).await;
        assert_eq!(heard, Heard::Verdict { reason: "BadDeviceToken".into() });
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let devices = Devices::default();
        let all: Vec<_> =
            (0..2 * REMEMBERED as u128).map(|number| devices.expect(&probe(number, "c"), &None)).collect();
        assert_eq!((all.len(), devices.sent.lock().len()), (2 * REMEMBERED, REMEMBERED));
    }
}
