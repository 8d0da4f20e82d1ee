//! The clearing house over a real journal: a clock that is turned by hand, lanes that remember what they were offered,
//! and a journal whose answers can be held back or refused.

mod clock;
mod court;
mod dispatch;
mod feedback;
mod handles;
mod intake;
mod lanes;
mod quotas;
mod replay;
mod tenants;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::delivery::PushState;
use reveille_core::settings::{PushApp, Setting, SettingChange, Snapshot};
use reveille_core::{
    AppKey, Channel, Clock, DeviceToken, Environment, Event, IdentityId, LaneKey, Provider, PushId, SipDomain,
    Timestamp, Verdict,
};
use reveille_federation::policy::{readmit, trusted_edge};
use reveille_federation::request::{To, write_body};
use reveille_federation::{AdmittedPeer, PushRequest};
use reveille_providers::{Demand, Notification, Outcome, Outcomes as _, Room as Places, Supply};
use reveille_store::{
    Appended, Completed, FeedbackEnd, FeedbackId, FeedbackItem, Journal, JournalEntry, OpenEntry, OpenStretch,
    OwedFeedback, Room, SqliteJournal, StoreError, Stretch, Traced, TracedPush, wait,
};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::court::Court;
use crate::dispatch::{Dispatch, Outlet};
use crate::intake::{Intake, Receipt, Submission};
use crate::quota::Standing;

/// Far longer than anything here takes; only a broken test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// When every test begins.
const NOON: u64 = 1_700_000_000_000;
/// The app that serves contoso.com and fabrikam.com.
const APP: &str = "org.example.app";

/// How the store tells what came of a change.
type Done<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// A clock that only moves when it is turned.
#[derive(Clone)]
struct Turned(Arc<AtomicU64>);

impl Turned {
    fn turn(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Turned {
    fn turn_back(&self, span: Duration) {
        self.0.fetch_sub(u64::try_from(span.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A temporary folder, gone with its last user.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("reveille-clearinghouse-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One call of [`Journal::append`].
type Append = (Vec<JournalEntry>, Done<Vec<Appended>>);

/// One call of [`Journal::mark_sending`].
type Mark = (Vec<u64>, Timestamp, Done<()>);

/// A real journal whose answers can be held back or refused.
struct Moody {
    real: SqliteJournal,
    /// What the next appends, marks and completions are answered instead of being made.
    refusals: Mutex<HashMap<&'static str, Vec<StoreError>>>,
    /// How many calls were to be marked, each time.
    asked_to_mark: Mutex<Vec<usize>>,
    /// Appends of anything but calls alone that are held back, while they are.
    stalled: Mutex<Option<Vec<Append>>>,
    /// Marks of calls that are held back, while they are.
    held: Mutex<Option<Vec<Mark>>>,
    /// How much room there is said to be, if not as much as there is.
    room: Mutex<Option<Room>>,
    /// Everything that was ever completed.
    completed: Mutex<Vec<Completed>>,
}

impl Moody {
    fn open(folder: &Folder) -> Arc<Self> {
        let real = SqliteJournal::open(&folder.path().join("clearinghouse.db")).unwrap();
        Arc::new(Self {
            real,
            refusals: Mutex::default(),
            asked_to_mark: Mutex::default(),
            stalled: Mutex::default(),
            held: Mutex::default(),
            room: Mutex::default(),
            completed: Mutex::default(),
        })
    }

    fn refuse(&self, what: &'static str, error: StoreError) {
        self.refusals.lock().entry(what).or_default().push(error);
    }

    fn refusal(&self, what: &'static str) -> Option<StoreError> {
        self.refusals.lock().get_mut(what)?.pop()
    }

    fn stall(&self) {
        *self.stalled.lock() = Some(Vec::new());
    }

    fn go_on(&self) {
        for (entries, done) in self.stalled.lock().take().into_iter().flatten() {
            self.real.append(entries, done);
        }
    }

    fn hold_marks(&self) {
        *self.held.lock() = Some(Vec::new());
    }

    fn release_marks(&self) {
        for (seqs, at, done) in self.held.lock().take().into_iter().flatten() {
            self.real.mark_sending(seqs, at, done);
        }
    }
}

impl Journal for Moody {
    fn append(&self, entries: Vec<JournalEntry>, done: Done<Vec<Appended>>) {
        if let Some(error) = self.refusal("append") {
            return done(Err(error));
        }
        let calls = entries.iter().all(|entry| entry.lane.channel == Channel::Voip);
        match &mut *self.stalled.lock() {
            Some(stalled) if !calls => stalled.push((entries, done)),
            _ => self.real.append(entries, done),
        }
    }

    fn append_ahead(&self, entries: Vec<JournalEntry>, done: Done<Vec<Appended>>) {
        self.real.append_ahead(entries, done);
    }

    fn mark_sending(&self, seqs: Vec<u64>, at: Timestamp, done: Done<()>) {
        self.asked_to_mark.lock().push(seqs.len());
        if let Some(error) = self.refusal("mark") {
            return done(Err(error));
        }
        match &mut *self.held.lock() {
            Some(held) => held.push((seqs, at, done)),
            None => self.real.mark_sending(seqs, at, done),
        }
    }

    fn complete(&self, completed: Vec<Completed>, done: Done<()>) {
        match self.refusal("complete") {
            Some(error) => done(Err(error)),
            None => {
                self.completed.lock().extend(completed.iter().cloned());
                self.real.complete(completed, done);
            }
        }
    }

    fn reschedule(&self, seq: u64, due: Timestamp, attempt: u32, done: Done<()>) {
        self.real.reschedule(seq, due, attempt, done);
    }

    fn open(&self, after_seq: u64, limit: usize) -> Result<Vec<OpenEntry>, StoreError> {
        self.real.open(after_seq, limit)
    }

    fn first_new(&self) -> u64 {
        self.real.first_new()
    }

    fn waiting(&self, after: u64, to: u64, blocks: usize) -> Result<(Vec<OpenStretch>, u64), StoreError> {
        self.real.waiting(after, to, blocks)
    }

    fn read(&self, stretches: &[Stretch]) -> Result<Vec<OpenEntry>, StoreError> {
        self.real.read(stretches)
    }

    fn received_since(
        &self,
        since: Timestamp,
        before: u64,
        blocks: usize,
    ) -> Result<(Vec<(SipDomain, u64)>, Option<u64>), StoreError> {
        self.real.received_since(since, before, blocks)
    }

    fn room(&self) -> Room {
        self.room.lock().unwrap_or_else(|| self.real.room())
    }

    fn trace(&self, origin: &SipDomain, id: PushId) -> Result<Option<Traced>, StoreError> {
        self.real.trace(origin, id)
    }

    fn traces(&self, id: PushId, origin: Option<&SipDomain>) -> Result<Vec<TracedPush>, StoreError> {
        self.real.traces(id, origin)
    }

    fn latest(&self, origin: Option<&SipDomain>, limit: usize) -> Result<Vec<TracedPush>, StoreError> {
        self.real.latest(origin, limit)
    }

    fn purge(&self, before: Timestamp, limit: usize, done: Done<usize>) {
        self.real.purge(before, limit, done);
    }

    fn owe_feedback(&self, origin: SipDomain, asked: SipDomain, items: Vec<FeedbackItem>, done: Done<()>) {
        self.real.owe_feedback(origin, asked, items, done);
    }

    fn feedback_open(&self, limit: usize) -> Result<Vec<OwedFeedback>, StoreError> {
        self.real.feedback_open(limit)
    }

    fn feedback_done(&self, ids: Vec<FeedbackId>, end: FeedbackEnd, done: Done<()>) {
        match self.refusal("told") {
            Some(error) => done(Err(error)),
            None => self.real.feedback_done(ids, end, done),
        }
    }

    fn feedback_retry(&self, ids: Vec<FeedbackId>, due: Timestamp, attempt: u32, done: Done<()>) {
        self.real.feedback_retry(ids, due, attempt, done);
    }

    fn feedback_purge(&self, before: Timestamp, limit: usize, done: Done<usize>) {
        self.real.feedback_purge(before, limit, done);
    }
}

/// A lane that takes so much and remembers it, with what the journal said of each push at that moment.
#[derive(Clone)]
struct FakeLane {
    journal: Arc<Moody>,
    supply: Arc<OnceLock<Arc<dyn Supply>>>,
    room: Arc<AtomicUsize>,
    /// How much of that is kept for organisations with little under way.
    kept: Arc<AtomicUsize>,
    offered: Arc<Mutex<Vec<Notification>>>,
    /// For each push in `offered`: whether the file said that it may be on its way.
    marked: Arc<Mutex<Vec<bool>>>,
}

impl Outlet for FakeLane {
    fn serve(&self, supply: Arc<dyn Supply>) {
        assert!(self.supply.set(supply).is_ok(), "it is served once");
    }

    fn wake(&self, demand: Demand) {
        if demand == Demand::None {
            return;
        }
        let mut taken = Vec::new();
        let (places, kept) = (self.room.load(Ordering::SeqCst), self.kept.load(Ordering::SeqCst));
        let room = Places { places, kept };
        self.supply.get().expect("it is served before it is woken").take(room, &mut |push| taken.push(push));
        self.room.fetch_sub(taken.len(), Ordering::SeqCst);
        for push in taken {
            let traced = self.journal.real.traces(push.push_id, None).unwrap();
            self.marked.lock().push(traced.iter().any(|push| push.traced.state == PushState::Sending));
            self.offered.lock().push((*push).clone());
        }
    }
}

impl FakeLane {
    fn keys(&self) -> Vec<u64> {
        self.offered.lock().iter().map(|push| push.key).collect()
    }

    fn pushes(&self) -> Vec<PushId> {
        self.offered.lock().iter().map(|push| push.push_id).collect()
    }
}

/// A clearing house without its doors.
struct House {
    journal: Arc<Moody>,
    court: Arc<Court>,
    dispatch: Arc<Dispatch>,
    intake: Intake,
    settings: watch::Sender<Arc<Snapshot>>,
    messages: FakeLane,
    calls: FakeLane,
    clock: Turned,
    feedback: Arc<Notify>,
    folder: Arc<Folder>,
}

impl House {
    /// A house in a folder of its own; whatever a former life has left (nothing) is read back already.
    async fn new() -> Self {
        Self::with_window(10_000).await
    }

    async fn with_window(window: usize) -> Self {
        let clock = Turned(Arc::new(AtomicU64::new(NOON)));
        let house = Self::over(Arc::new(Folder::new()), clock, window);
        house.dispatch.refill().await;
        assert_eq!(house.dispatch.load(), (0, false));
        house
    }

    /// A house over what lies in a folder, before anything is read back.
    fn over(folder: Arc<Folder>, clock: Turned, window: usize) -> Self {
        let journal = Moody::open(&folder);
        let feedback = Arc::new(Notify::new());
        let shared = (Arc::clone(&journal) as Arc<dyn Journal>, Arc::new(clock.clone()));
        let (settings, watched) = watch::channel(Arc::new(granted(&["contoso.com", "fabrikam.com"])));
        let verdicts = Arc::new(journal.real.clone());
        let court = Court::open(verdicts, watched.clone(), shared.1.clone(), Arc::clone(&feedback)).unwrap();
        let dispatch =
            Dispatch::with_window(shared.0, Arc::clone(&court), shared.1, Arc::clone(&feedback), Some(window));
        let lane = || FakeLane {
            journal: Arc::clone(&journal),
            supply: Arc::default(),
            room: Arc::new(AtomicUsize::new(1_000_000)),
            kept: Arc::default(),
            offered: Arc::default(),
            marked: Arc::default(),
        };
        let (messages, calls) = (lane(), lane());
        let outlet = |lane: &FakeLane| -> Box<dyn Outlet> { Box::new(lane.clone()) };
        dispatch.open([(lane_key(Channel::Message), outlet(&messages)), (lane_key(Channel::Voip), outlet(&calls))]);
        let intake =
            Intake::new(Arc::clone(&journal) as _, Arc::clone(&dispatch), watched, [app()], Arc::new(clock.clone()));
        Self { journal, court, dispatch, intake, settings, messages, calls, clock, feedback, folder }
    }

    /// The process ends here, and another one begins over the same files.
    async fn restarted(self) -> Self {
        self.settle().await;
        let (folder, clock) = (Arc::clone(&self.folder), self.clock.clone());
        drop(self);
        let house = Self::over(folder, clock, 10_000);
        house.dispatch.refill().await;
        house.settle().await;
        house
    }

    /// Everything that the journal was asked for has been answered, and what followed from it too.
    async fn settle(&self) {
        // A push that is taken may ask for a mark, and that for an outcome: three rounds are the longest chain.
        for _ in 0..3 {
            let nothing = FeedbackEnd::Delivered(self.now());
            wait(|done| self.journal.real.feedback_done(Vec::new(), nothing, done)).await.unwrap();
        }
    }

    /// Hands over what came in one MESSAGE, and waits for the answer.
    async fn submit(&self, from: &str, requests: &[PushRequest]) -> Receipt {
        self.ask(from, requests).await.0
    }

    /// The same, with what the organisation is told of its quota.
    async fn ask(&self, from: &str, requests: &[PushRequest]) -> (Receipt, Option<Standing>) {
        let (told, receipt) = tokio::sync::oneshot::channel();
        let answer =
            Box::new(move |receipt, standing: Option<&Standing>| drop(told.send((receipt, standing.cloned()))));
        let body = write_body(requests).into();
        self.intake.accept(vec![Submission {
            from: peer(from),
            asked: domain("push.example.net"),
            requests: requests.to_vec(),
            body,
            answer,
        }]);
        let receipt = timeout(PATIENCE, receipt).await.expect("an answer in time").expect("an answer");
        self.settle().await;
        receipt
    }

    /// Hands over many at once, as several MESSAGEs, and waits until all are journaled.
    async fn flood(&self, from: &str, requests: &[PushRequest]) {
        let submission = |requests: &[PushRequest]| Submission {
            from: peer(from),
            asked: domain("push.example.net"),
            requests: requests.to_vec(),
            body: write_body(requests).into(),
            answer: Box::new(|receipt, _| assert!(receipt.is_ok(), "{receipt:?}")),
        };
        self.intake.accept(requests.chunks(32).map(submission).collect());
        self.settle().await;
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn state(&self, from: &str, id: PushId) -> PushState {
        self.journal.trace(&domain(from), id).unwrap().expect("a push that the journal knows").state
    }

    fn owed(&self) -> Vec<OwedFeedback> {
        self.journal.feedback_open(100).unwrap()
    }

    /// The provider's answer for one push.
    async fn answer(&self, key: u64, verdict: Verdict) {
        let sent = self.now();
        self.dispatch.report(vec![Outcome { key, verdict, sent, status: 400, provider_id: None }]);
        self.settle().await;
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.journal.real.close();
    }
}

fn domain(text: &str) -> SipDomain {
    text.parse().unwrap()
}

fn app() -> AppKey {
    AppKey { provider: Provider::Apns, app: APP.into(), environment: Environment::Production }
}

fn lane_key(channel: Channel) -> LaneKey {
    LaneKey { app: app(), channel }
}

/// Settings in which the app serves these organisations.
fn granted(serves: &[&str]) -> Snapshot {
    let app = PushApp::new(APP, serves.iter().map(|name| domain(name)).collect());
    let change = SettingChange::Put(Setting::PushApp(app));
    Snapshot::default().with(&change, "tester", Timestamp::from_millis(1)).unwrap()
}

/// The proof that a peer speaks for `name`, as it is made behind the edge.
fn peer(name: &str) -> AdmittedPeer {
    let edge = trusted_edge(&[domain("edge.push.example.net")], &|_| true).unwrap();
    let trust = "ms-source-type=DirectPartner;ms-ep-fqdn=e;ms-source-verified-user=verified";
    readmit(&edge, Some(trust), &domain(name)).unwrap()
}

fn id(number: u128) -> PushId {
    PushId::from_u128(number)
}

/// A message push for the device number `number`, good for an hour.
fn message(number: u128) -> PushRequest {
    let now = Timestamp::from_millis(NOON);
    PushRequest {
        id: id(number),
        identity: IdentityId::from_u128(number),
        event: Event::Message,
        channel: Channel::Message,
        to: Some(To {
            provider: Provider::Apns,
            app: APP.into(),
            environment: Environment::Production,
            token: DeviceToken::new(format!("token-{number}")),
        }),
        sent: now,
        expires: now.plus(Duration::from_secs(3600)),
        priority: None,
        collapse: None,
        badge: Some(1),
        alert: None,
        sound: None,
        call: None,
        sealed: None,
        registered: Timestamp::from_millis(NOON - 1000),
        traceparent: None,
        must_understand: Vec::new(),
    }
}

/// A call push for the device number `number`, good for 25 seconds.
fn call(number: u128) -> PushRequest {
    let expires = Timestamp::from_millis(NOON).plus(Duration::from_secs(25));
    PushRequest { event: Event::Call, channel: Channel::Voip, expires, ..message(number) }
}

fn retry(unprocessed: bool) -> Verdict {
    Verdict::Retry { reason: "ServiceUnavailable".into(), after: None, unprocessed }
}

fn disk_full() -> StoreError {
    StoreError::DiskFull { file: "clearinghouse.db".into() }
}
