//! Tests of credentials: a push to a token that no device has goes the way of all others, and its answer comes here
//! instead of to dispatch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::event::Priority;
use reveille_core::{Channel, Clock as _, DeviceToken, Event, IdentityId, Provider, PushId};
use reveille_providers::{Notification, Outcome, Outcomes, Sender};
use tokio::sync::oneshot;

use crate::SystemClock;

/// Tests under way at once.
const TESTS_MAX: usize = 16;
/// How long an answer is waited for: longer than a lane's patience and the time that it gives an answer.
const PATIENCE: Duration = Duration::from_secs(16);

/// Stands between the lanes and dispatch.
pub(crate) struct Examiner {
    dispatch: Arc<dyn Outcomes>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
    /// How many wait, so that nobody takes the lock while nothing is tested.
    count: AtomicUsize,
    /// Counts downwards: the journal's numbers begin at the other end.
    next: AtomicU64,
}

impl Examiner {
    pub(crate) fn new(dispatch: Arc<dyn Outcomes>) -> Arc<Self> {
        Arc::new(Self {
            dispatch,
            waiting: Mutex::default(),
            count: AtomicUsize::new(0),
            next: AtomicU64::new(u64::MAX),
        })
    }

    /// Has the lane's provider look at our credential. `None` without an answer in time, or with too many asked for.
    pub(crate) async fn ask(&self, sender: &Sender) -> Option<Outcome> {
        let key = self.next.fetch_sub(1, Ordering::Relaxed);
        let (told, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= TESTS_MAX {
                return None;
            }
            waiting.insert(key, told);
            self.count.store(waiting.len(), Ordering::Release);
        }
        let outcome = match sender.examine(test_push(key, sender.lane().app.provider)) {
            Ok(()) => tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        let mut waiting = self.waiting.lock();
        waiting.remove(&key);
        self.count.store(waiting.len(), Ordering::Release);
        outcome
    }
}

impl Outcomes for Examiner {
    fn report(&self, mut batch: Vec<Outcome>) {
        if self.count.load(Ordering::Acquire) > 0 {
            let mut waiting = self.waiting.lock();
            let mut rest = Vec::with_capacity(batch.len());
            for outcome in batch {
                match waiting.remove(&outcome.key) {
                    Some(told) => drop(told.send(outcome)),
                    None => rest.push(outcome),
                }
            }
            batch = rest;
        }
        // What comes too late for its test dispatch does not know, and passes over.
        if !batch.is_empty() {
            self.dispatch.report(batch);
        }
    }
}

/// A push that no device can get.
fn test_push(key: u64, provider: Provider) -> Notification {
    let now = SystemClock.now();
    let token = match provider {
        // Three digits are no octets: Apple answers BadDeviceToken, after it has read the provider token.
        Provider::Apns => "000",
        // No token of FCM has a blank: it answers INVALID_ARGUMENT for the token, after it has read the access token.
        Provider::Fcm | Provider::Mpns | Provider::WebPush | Provider::Wns => "no device",
    };
    Notification {
        key,
        provider_id: rand::random(),
        channel: Channel::Message,
        event: Event::Probe,
        token: DeviceToken::new(token),
        priority: Priority::Normal,
        created: now,
        expires: now.plus(PATIENCE),
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

#[cfg(test)]
mod tests {
    use reveille_core::{Timestamp, Verdict};

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<u64>>);

    impl Outcomes for Heard {
        fn report(&self, batch: Vec<Outcome>) {
            self.0.lock().extend(batch.iter().map(|outcome| outcome.key));
        }
    }

    fn outcome(key: u64) -> Outcome {
        let sent = Timestamp::from_millis(1);
        Outcome { key, verdict: Verdict::Accepted, sent, status: 200, provider_id: None }
    }

    #[tokio::test]
    async fn the_answer_to_a_test_goes_to_whoever_asked_and_all_others_to_dispatch() {
        let heard = Arc::new(Heard::default());
        let examiner = Examiner::new(Arc::clone(&heard) as _);
        examiner.report(vec![outcome(1)]);
        let (told, answer) = oneshot::channel();
        examiner.waiting.lock().insert(u64::MAX, told);
        examiner.count.store(1, Ordering::Release);
        examiner.report(vec![outcome(2), outcome(u64::MAX), outcome(3)]);
        assert_eq!(answer.await.map(|outcome| outcome.key), Ok(u64::MAX));
        examiner.report(vec![outcome(u64::MAX)]);
        assert_eq!(*heard.0.lock(), [1, 2, 3, u64::MAX]);
    }
}
