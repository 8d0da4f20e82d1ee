//! What the tests of the sender share: a place where outcomes arrive, a clock, notifications, and patience.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::disallowed_methods, reason = "a test's clock may read the machine's")]

pub(crate) mod apple;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use reveille_core::event::Priority;
use reveille_core::{Channel, Clock, DeviceToken, Event, IdentityId, PushId, Timestamp, Verdict};
use reveille_providers::{Call, Media, Notification, Outcome, Outcomes};
use tokio::sync::watch;

/// Where outcomes arrive.
#[derive(Debug)]
pub(crate) struct Inbox {
    seen: watch::Sender<Vec<Outcome>>,
}

impl Inbox {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { seen: watch::Sender::new(Vec::new()) })
    }

    /// Waits for so many outcomes, and answers them by key. A key with two outcomes fails the test.
    pub(crate) async fn wait(&self, count: usize) -> BTreeMap<u64, Outcome> {
        let mut seen = self.seen.subscribe();
        let all = soon(seen.wait_for(|seen| seen.len() >= count)).await.unwrap().clone();
        let by_key: BTreeMap<_, _> = all.iter().map(|outcome| (outcome.key, outcome.clone())).collect();
        assert_eq!(by_key.len(), all.len(), "a push had two outcomes");
        by_key
    }

    /// The verdict of the one push that was sent.
    pub(crate) async fn verdict(&self, key: u64) -> Verdict {
        let mut seen = self.seen.subscribe();
        let seen = soon(seen.wait_for(|seen| seen.iter().any(|outcome| outcome.key == key))).await.unwrap();
        seen.iter().find(|outcome| outcome.key == key).unwrap().verdict.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.borrow().len()
    }
}

impl Outcomes for Inbox {
    fn report(&self, batch: Vec<Outcome>) {
        self.seen.send_modify(|seen| seen.extend(batch));
    }
}

/// A wall clock that can be turned.
#[derive(Debug)]
pub(crate) struct Wall(AtomicU64);

impl Wall {
    /// At the machine's time, and running with it.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(0)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }
}

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(since.as_millis() as u64 + self.0.load(Ordering::Relaxed))
    }
}

/// A message that lives for an hour.
pub(crate) fn message(key: u64, now: Timestamp) -> Notification {
    Notification {
        key,
        provider_id: u128::from(key).to_be_bytes(),
        channel: Channel::Message,
        event: Event::Message,
        token: DeviceToken::new(token(key)),
        priority: Priority::High,
        created: now,
        expires: now.plus(Duration::from_secs(3600)),
        collapse: None,
        badge: Some(1),
        alert: None,
        sound: None,
        call: None,
        sealed: None,
        push_id: PushId::from_u128(u128::from(key)),
        identity: IdentityId::from_u128(1),
    }
}

/// A call that rings for 25 seconds.
pub(crate) fn call(key: u64, now: Timestamp) -> Notification {
    Notification {
        channel: Channel::Voip,
        event: Event::Call,
        badge: None,
        expires: now.plus(Duration::from_secs(25)),
        call: Some(Call { id: format!("call-{key}").into(), media: Media::Audio, caller: None, caller_sealed: None }),
        ..message(key, now)
    }
}

/// The device token of push number `key`.
pub(crate) fn token(key: u64) -> String {
    format!("{key:064x}")
}

/// What a test waits for comes soon, or the test has failed.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("it should have happened by now")
}

/// Waits until something is so that nobody tells us about.
pub(crate) async fn until(so: impl Fn() -> bool) {
    soon(async {
        while !so() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The verdict for a push that was, or was not, provably left unprocessed.
pub(crate) fn is_retry(verdict: &Verdict, unprocessed: bool) -> bool {
    matches!(verdict, Verdict::Retry { unprocessed: told, .. } if *told == unprocessed)
}
