//! One shard: the only writer of its users' state. It never waits for the network or the disk: what takes time is a
//! future of its own, whose outcome comes back as a [`Step`].

mod messages;
mod pushes;
mod registration;
mod seen;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use reveille_core::delivery::PushState;
use reveille_core::retry::Backoff;
use reveille_core::session::MessageKind;
use reveille_core::settings::Snapshot;
use reveille_core::{Aor, Channel, Clock, IdentityId, MessageId, PushId, PushIdentity, Reason, SipDomain, Timestamp};
use reveille_federation::PushRequest;
use reveille_federation::feedback::Item;
use reveille_federation::request::To;
use reveille_sip::{Name, NameAddr};
use reveille_sip_net::{Flow, FlowId, Requests};
use reveille_store::{DeviceRecord, HomeChange, HomeStore, KnownPush, OwedPush, StoreError, StoredMessage, wait};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::account::{Account, DEVICES_MAX, Device, OWED_MAX, Phone, Resuming};
use crate::binding::{Binding, Bindings};
use crate::flows::{Flows, is_same};
use crate::identity;
use crate::inbox::{Surroundings, kind_of, pushes_for, stored};
use crate::outbox::{Answered, Job, Report};
use crate::registrar::{ContactChange, EXPIRES_MIN, RegisterFault, Registration, read};
use crate::reply::Reply;
use crate::resume::{Delivery, deliver};
use crate::status::{DeviceStatus, Explained, Foreseen, PushStatus, UserStatus};

/// How long a sender waits to hear that its message was delivered before it hears that it was kept (RFC 3428 §7).
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// How long an identity lives without a word from its device.
const IDLE_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// Messages read back at once.
const RESUME_MAX: usize = 64;
/// Continuations under way at once; beyond it new requests wait in the channel, and that is bounded too.
const UNDER_WAY: usize = 20_000;
/// How often flows are looked through whose end this shard was not told: its mailbox was full then.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// How long to wait before a delivery is marked again that could not be marked.
const MARK_PAUSE: Duration = Duration::from_secs(1);
/// When a push request is asked for again whose answer never came back to its shard.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How soon a push is tried again when the outbox has no room, or its phone is back already.
const SOON: Duration = Duration::from_secs(1);

/// What a shard is told.
pub(crate) enum Event {
    /// An administrator wants to see the devices of a user, or of all.
    Devices { user: Option<Aor>, most: usize, done: oneshot::Sender<Vec<Foreseen>> },
    /// An administrator asks what would happen.
    Explain { user: Aor, event: reveille_core::Event, done: oneshot::Sender<Explained> },
    /// Feedback that is believed.
    Feedback { known: KnownPush, item: Item, done: oneshot::Sender<bool> },
    /// A connection is gone.
    FlowGone(FlowId),
    /// An administrator wants a device forgotten.
    Forget { user: Aor, device: String, done: oneshot::Sender<Result<bool, StoreError>> },
    /// Nobody of that name is left: a test is over.
    ForgetUser { user: Aor },
    /// A message for one of its users.
    Message { from: Aor, to: Aor, reply: Reply },
    /// The clearing house has answered.
    PushesAnswered(Vec<Report>),
    /// Somebody calls one of its users, and asks where that is possible.
    Reach { user: Aor, then: Box<dyn FnOnce(Vec<Phone>) + Send> },
    /// A REGISTER of one of its users, authenticated.
    Register { user: Aor, reply: Reply },
    /// Somebody wants to see a user.
    Status { user: Aor, done: oneshot::Sender<UserStatus> },
}

/// What a continuation has come to.
enum Step {
    /// A message was delivered, or not.
    Delivered { user: Aor, message: StoredMessage, delivery: Delivery },
    /// What was kept for a user has been read.
    Fetched { user: Aor, messages: Result<Vec<StoredMessage>, StoreError> },
    /// A message and the pushes owed for it are on disk, or not.
    Kept { user: Aor, message: MessageId, pushes: Vec<OwedPush>, reply: Reply, outcome: Result<(), StoreError> },
    /// A delivery has been marked.
    Marked { user: Aor, rest: Vec<StoredMessage> },
    /// Nothing more to do.
    Nothing,
    /// The sender of a message has waited long enough.
    Patience { user: Aor, message: MessageId },
    /// A registration is on disk, or not.
    Registered { user: Aor, reply: Reply, outcome: Result<(), StoreError> },
    /// Pushes owed anew are on disk.
    Owed { pushes: Vec<OwedPush> },
    /// These devices did not answer, and this is what they have not got.
    Unreached { user: Aor, devices: BTreeSet<String>, messages: Result<Vec<StoredMessage>, StoreError> },
}

type Continuation = Pin<Box<dyn Future<Output = Step> + Send>>;

/// What all shards share.
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) site: String,
    pub(crate) grace: Duration,
    pub(crate) store: Arc<dyn HomeStore>,
    pub(crate) settings: watch::Receiver<Arc<Snapshot>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) flows: Arc<Flows>,
    pub(crate) outbox: mpsc::Sender<Job>,
}

/// One shard.
pub(crate) struct Shard {
    index: usize,
    shared: Arc<Shared>,
    accounts: HashMap<Aor, Account>,
    /// Who is reached over which flow.
    flows: HashMap<FlowId, (Weak<Flow>, BTreeSet<Aor>)>,
    /// When flows were last looked through for those that are gone.
    swept: Timestamp,
    /// When each owed push is to be looked at.
    due: BTreeSet<(Timestamp, PushId, Aor)>,
    work: FuturesUnordered<Continuation>,
    last_id: u128,
}

impl Shard {
    /// A shard with what the store knows of its users.
    pub(crate) fn new(index: usize, shared: Arc<Shared>, devices: Vec<DeviceRecord>, owed: Vec<OwedPush>) -> Self {
        let mut shard = Self {
            index,
            shared,
            accounts: HashMap::new(),
            flows: HashMap::new(),
            swept: Timestamp::default(),
            due: BTreeSet::new(),
            work: FuturesUnordered::new(),
            last_id: 0,
        };
        for record in devices {
            let account = shard.accounts.entry(record.user.clone()).or_default();
            account.devices.insert(record.device.clone(), Device { record, bindings: Bindings::default() });
        }
        owed.into_iter().for_each(|push| shard.owe(push));
        shard.owe_what_a_stop_left();
        shard
    }

    /// Runs until `stop`. Whatever is under way then is in the store, or was never answered.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<Event>, stop: CancellationToken) {
        loop {
            self.sweep_flows();
            let now = self.shared.clock.now();
            let next = self.due.first().map_or(SWEEP_EVERY, |(at, ..)| at.since(now).min(SWEEP_EVERY));
            tokio::select! {
                () = stop.cancelled() => return,
                Some(step) = self.work.next() => self.step(step),
                () = tokio::time::sleep(next) => self.push_due(),
                event = events.recv(), if self.work.len() < UNDER_WAY => match event {
                    Some(event) => self.event(event),
                    None => return,
                },
            }
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Devices { user, most, done } => {
                let _ = done.send(self.devices(user.as_ref(), most));
            }
            Event::Explain { user, event, done } => {
                let _ = done.send(self.explain(&user, event));
            }
            Event::Feedback { known, item, done } => self.feedback(&known, &item, done),
            Event::FlowGone(flow) => self.flow_gone(flow),
            Event::Forget { user, device, done } => self.forget(user, device, done),
            Event::ForgetUser { user } => self.forget_user(user),
            Event::Message { from, to, reply } => self.message(from, to, reply),
            Event::PushesAnswered(reports) => reports.into_iter().for_each(|report| self.push_answered(report)),
            Event::Reach { user, then } => {
                let now = self.shared.clock.now();
                then(self.accounts.get(&user).map(|account| account.phones(now)).unwrap_or_default());
            }
            Event::Register { user, reply } => self.register(user, reply),
            Event::Status { user, done } => {
                let _ = done.send(self.status(user));
            }
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Delivered { user, message, delivery } => self.delivered(user, message, delivery),
            Step::Fetched { user, messages } => self.fetched(user, messages),
            Step::Kept { user, message, pushes, reply, outcome } => self.kept(user, message, pushes, reply, outcome),
            Step::Marked { user, rest } => self.next_message(user, rest),
            Step::Nothing => {}
            Step::Patience { user, message } => self.answer_asker(&user, message, 202),
            Step::Registered { user, reply, outcome } => self.registered(user, reply, outcome),
            Step::Owed { pushes } => pushes.into_iter().for_each(|push| self.owe(push)),
            Step::Unreached { user, devices, messages } => self.owe_after_all(&user, &devices, messages),
        }
    }

    fn then(&self, continuation: impl Future<Output = Step> + Send + 'static) {
        self.work.push(Box::pin(continuation));
    }

    fn commit(&self, changes: Vec<HomeChange>) -> reveille_store::Pending<()> {
        wait(|done| self.shared.store.commit(changes, done))
    }

    /// An id later than every one before it, so that messages of one millisecond keep their order.
    fn new_id(&mut self, now: Timestamp) -> u128 {
        let fresh = PushId::from_parts(now, rand::random()).to_u128();
        self.last_id = if fresh > self.last_id { fresh } else { self.last_id + 1 };
        self.last_id
    }
}

#[cfg(test)]
mod tests {
    use reveille_core::{AppKey, DeviceToken, Environment, Event as Occasion, Provider};
    use reveille_store::SqliteHome;

    use super::*;
    use crate::inbox::tests::settings;

    pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    pub(super) struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            NOW
        }
    }

    #[tokio::test]
    async fn a_phone_that_was_on_screen_when_home_stopped_is_owed_a_push_after_the_start() {
        let folder = std::env::temp_dir().join(format!("reveille-home-shard-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store = Arc::new(SqliteHome::open(&folder.join("home.db")).unwrap());
        let bob: Aor = "bob@contoso.com".parse().unwrap();
        let app = AppKey { provider: Provider::Apns, app: "app".into(), environment: Environment::Production };
        let id = IdentityId::from_u128(9);
        let mut identity = PushIdentity::new(id, app);
        identity.refresh(Some(DeviceToken::new("token")), None, Timestamp::from_millis(1), &[]);
        let before = Timestamp::from_millis(NOW.millis() - 60_000);
        let record = DeviceRecord {
            user: bob.clone(),
            device: "phone".into(),
            identity: Some(identity),
            dead_tokens: Vec::new(),
            user_agent: String::new(),
            last_registered: before,
            session_expires: NOW.plus(Duration::from_secs(3600)),
            suspended_since: None,
            last_push: None,
        };
        let message = StoredMessage {
            id: MessageId::from_parts(before, 1),
            to: bob.clone(),
            from: "alice@contoso.com".parse().unwrap(),
            content_type: "text/plain".into(),
            body: b"hi".to_vec(),
            conversation: "alice@contoso.com".into(),
            taken: before,
            expires: NOW.plus(Duration::from_secs(3600)),
        };
        let push = OwedPush {
            push: PushId::from_parts(before, 2),
            user: bob,
            device: "phone".into(),
            identity: id,
            generation: 1,
            channel: Channel::Message,
            event: Occasion::Message,
            message: Some(message.id),
            clearing_house: "push.example.net".parse().unwrap(),
            created: before,
            expires: NOW.plus(Duration::from_secs(3600)),
            due: before,
            attempt: 0,
            state: PushState::NotPushed(Reason::Foreground),
        };
        let changes =
            vec![HomeChange::PutDevice(record.clone()), HomeChange::KeepMessage(message), HomeChange::OwePush(push)];
        wait(|done| store.commit(changes, done)).await.unwrap();
        let (outbox, mut jobs) = mpsc::channel(8);
        let (_settings, watched) = watch::channel(Arc::new(settings()));
        let shared = Arc::new(Shared {
            name: "home.contoso.com".into(),
            site: "x".into(),
            grace: Duration::from_secs(2),
            store: Arc::clone(&store) as _,
            settings: watched,
            clock: Arc::new(Stopped),
            requests: Requests::new(),
            flows: Arc::default(),
            outbox,
        });
        let shard = Shard::new(0, shared, vec![record], Vec::new());
        let (_events, mailbox) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let running = tokio::spawn(shard.run(mailbox, stop.clone()));
        let job =
            tokio::time::timeout(Duration::from_secs(10), jobs.recv()).await.expect("a push is asked for").unwrap();
        assert_eq!((job.request.identity, job.request.badge), (id, Some(1)));
        stop.cancel();
        running.await.unwrap();
        store.close();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
