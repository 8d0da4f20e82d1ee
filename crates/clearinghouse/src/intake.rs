//! Intake: checks, journals, drops duplicates, and answers only when everything is synced to disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use reveille_core::settings::Snapshot;
use reveille_core::{AppKey, Channel, Clock, Environment, LaneKey, Provider, Reason, SipDomain, Timestamp};
use reveille_federation::request::{Caller, REQUESTS_MAX, RequestFault, SKEW_REPORTED, write_body};
use reveille_federation::{AdmittedPeer, PushRequest, PushResult, Refusal, Taken};
use reveille_store::{Appended, Journal, JournalEntry, Room, StoreError, fingerprint};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::ahead::{Ahead, Claims, How};
use crate::dispatch::{Dispatch, Fresh};
use crate::handle::{Handles, is_handle};
use crate::notification::notification;
use crate::quota::{Account, Limit, Over, Quotas, Standing};
use crate::shed::{self, Class, Line, gives_way, patience};
use crate::throttle::Devices;

/// What intake answers: one result per request in order, or why nothing at all was taken.
pub type Receipt = Result<Vec<PushResult>, Refusal>;

/// The requests of one MESSAGE, and who is to be told.
pub struct Submission {
    /// The proof without which nothing is taken.
    pub from: AdmittedPeer,
    /// The domain that it was sent to.
    pub asked: SipDomain,
    /// 1 to 32 requests.
    pub requests: Vec<PushRequest>,
    /// The body that a single request came in: it is journaled as it is.
    pub body: Bytes,
    /// Called once, after the sync, on the journal's writer thread: it must not block. Told with it is what the
    /// organisation may still have; nothing to whom no app serves.
    pub answer: Answer,
}

/// Takes the answer to one submission.
pub type Answer = Box<dyn FnOnce(Receipt, Option<&Standing>) + Send>;

/// Takes push requests into the journal.
pub struct Intake {
    journal: Arc<dyn Journal>,
    dispatch: Arc<Dispatch>,
    settings: watch::Receiver<Arc<Snapshot>>,
    /// The lanes of each app, by the provider's name for it.
    lanes: HashMap<Box<str>, Vec<LaneKey>>,
    clock: Arc<dyn Clock>,
    /// Opens what takes the place of a token.
    handles: Arc<Handles>,
    /// What organisations have had.
    quotas: Quotas,
    /// What devices have had.
    devices: Devices,
    /// How much room there was when somebody looked.
    room: Mutex<(Timestamp, Room)>,
    /// Who waits for the journal, in each of its lines.
    lines: Arc<[Mutex<Line>; LINES]>,
    /// Who has what in them.
    ahead: Arc<Ahead>,
    /// Calls that were born before may have been sent in a life that a restore has made forgotten.
    calls_from: Timestamp,
}

/// What becomes of one request of a submission.
enum Slot {
    /// It is entry number `usize` of the batch.
    Kept(usize),
    /// It never reaches the journal.
    Refused(PushResult),
}

impl Intake {
    /// An intake for these apps.
    pub fn new(
        journal: Arc<dyn Journal>,
        dispatch: Arc<Dispatch>,
        settings: watch::Receiver<Arc<Snapshot>>,
        apps: impl IntoIterator<Item = AppKey>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut lanes: HashMap<Box<str>, Vec<LaneKey>> = HashMap::new();
        for app in apps {
            for channel in [Channel::Message, Channel::Voip] {
                lanes.entry((&*app.app).into()).or_default().push(LaneKey { app: app.clone(), channel });
            }
        }
        let handles = Arc::new(Handles::none(Arc::clone(&clock)));
        let room = Mutex::new((clock.now(), journal.room()));
        let lines = Arc::new([(); LINES].map(|()| Mutex::new(Line::new(Instant::now()))));
        Self {
            journal,
            dispatch,
            settings,
            lanes,
            clock,
            handles,
            quotas: Quotas::default(),
            devices: Devices::new(),
            room,
            lines,
            ahead: Arc::default(),
            calls_from: Timestamp::default(),
        }
    }

    /// Opens handles with these keys from now on; without any, a request with a handle is refused.
    pub fn open_with(&mut self, handles: Arc<Handles>) {
        self.handles = handles;
    }

    /// Refuses calls that were born before this instant, at which the journal was restored from a backup: that they are
    /// not in it does not say that they have not rung.
    pub const fn refuse_calls_before(&mut self, restored: Timestamp) {
        self.calls_from = restored;
    }

    /// The server by which our settings have our edge reach this organisation; `None` where its SRV record decides.
    pub(crate) fn way_back(&self, origin: &SipDomain) -> Option<SipDomain> {
        self.settings.borrow().allowed_domain(origin).and_then(|record| record.proxy_fqdn.clone())
    }

    /// Counts anew what organisations have had today, out of the journal. Blocks for as long as that takes, until
    /// `stopped`; meanwhile requests are taken.
    pub fn recount(&self, stopped: impl Fn() -> bool) {
        if let Err(reason) = self.quotas.recount(&*self.journal, self.clock.now(), stopped) {
            warn!(%reason, "what organisations have sent today could not be counted; their day begins now");
        }
    }

    /// Takes everything that came in at once; each submission is answered after one common sync.
    pub fn accept(&self, batch: Vec<Submission>) {
        let is_calls = |asked: &Submission| asked.requests.iter().all(|request| request.channel == Channel::Voip);
        // Calls by themselves, since only so are they journaled before what else waits to be.
        let (calls, others) = match batch.iter().any(is_calls) {
            true => batch.into_iter().partition(is_calls),
            false => (Vec::new(), batch),
        };
        if !calls.is_empty() {
            self.accept_together(CALLS, calls, None);
        }
        let is_long = self.lines[IN_TURN].lock().is_long();
        let whose = others.iter().map(|asked| (asked.from.domain(), asked.requests.len()));
        let (how, [ahead, in_turn]) = self.ahead.sort(whose, is_long);
        let (quiet, others): (Vec<_>, Vec<_>) = match how.contains(&How::Ahead) {
            true => {
                let mut how = how.into_iter();
                others.into_iter().partition(|_| how.next() == Some(How::Ahead))
            }
            false => (Vec::new(), others),
        };
        if !quiet.is_empty() {
            self.accept_together(AHEAD, quiet, Some(ahead));
        }
        if !others.is_empty() {
            self.accept_together(IN_TURN, others, Some(in_turn));
        }
    }

    /// Takes what waits in one line together; `claims` are let go of when it has been written.
    fn accept_together(&self, line: usize, batch: Vec<Submission>, claims: Option<Claims>) {
        let (now, came) = (self.clock.now(), Instant::now());
        let settings = Arc::clone(&self.settings.borrow());
        let (room, tenants) = (self.room(now), Vec::new());
        let wait = self.lines[line].lock().wait(came);
        let mut desk = Desk { intake: self, settings: &settings, room, wait, now, tenants, granted: None };
        let mut entries = Vec::with_capacity(batch.len());
        let mut kept: Vec<Option<Kept>> = Vec::with_capacity(batch.len());
        let mut waiting = Vec::with_capacity(batch.len());
        for submission in batch {
            let origin = submission.from.domain();
            let mut slots = Vec::with_capacity(submission.requests.len());
            let alone = submission.requests.len() == 1;
            for mut request in submission.requests.into_iter().take(REQUESTS_MAX) {
                slots.push(match desk.check(origin, &mut request) {
                    Err(refused) => Slot::Refused(refused),
                    Ok(Checked { lane, expires, opened, due }) => {
                        let body: Arc<[u8]> = match alone && !opened && is_object(&submission.body) {
                            true => (&*submission.body).into(),
                            false => write_body(std::slice::from_ref(&request)).into(),
                        };
                        let between = Between { origin, asked: &submission.asked };
                        let mut entry = entry(between, &request, lane.clone(), body, now, expires);
                        let is_call = lane.channel == Channel::Voip && due.is_none();
                        entry.sending = is_call && self.dispatch.promise(&lane, origin);
                        let sending = entry.sending;
                        entries.push(entry);
                        kept.push(Some(Kept { origin: origin.clone(), request, lane, expires, due, sending }));
                        Slot::Kept(entries.len() - 1)
                    }
                });
            }
            waiting.push(Waiting { slots, tenant: desk.find(origin), answer: submission.answer });
        }
        let standings = desk.standings();
        if entries.is_empty() {
            return waiting.into_iter().for_each(|asked| asked.taken(&[], &standings));
        }
        let (lines, dispatch, count) = (Arc::clone(&self.lines), Arc::clone(&self.dispatch), entries.len());
        lines[line].lock().enter(count, came);
        let done = move |outcome: Result<Vec<Appended>, StoreError>| {
            let _until_told = claims;
            lines[line].lock().leave(count, came, Instant::now());
            match outcome {
                Err(reason) => {
                    error!(alarm = reveille_core::Alarm::JournalRefuses.as_str(), %reason, "the journal takes nothing");
                    let refusal = if matches!(reason, StoreError::Full { .. }) {
                        Refusal::Overloaded
                    } else {
                        Refusal::StoreFull
                    };
                    waiting.into_iter().for_each(|asked| asked.answered(Err(refusal.clone()), &standings));
                    withdraw(&dispatch, &kept);
                }
                Ok(appended) => {
                    waiting.into_iter().for_each(|asked| asked.taken(&appended, &standings));
                    dispatch.take(fresh(&mut kept, &appended, now));
                    withdraw(&dispatch, &kept);
                }
            }
        };
        match line {
            AHEAD => self.journal.append_ahead(entries, Box::new(done)),
            _ => self.journal.append(entries, Box::new(done)),
        }
    }

    /// How much room there is, or was a moment ago.
    fn room(&self, now: Timestamp) -> Room {
        let mut room = self.room.lock();
        if now.since(room.0) >= LOOK_EVERY || now < room.0 {
            *room = (now, self.journal.room());
        }
        room.1
    }

    /// Puts the token in the place of a handle: nothing behind this line knows of handles. Answers whether it was one.
    fn open(&self, origin: &SipDomain, request: &mut PushRequest, now: Timestamp) -> Result<bool, PushResult> {
        let Some(to) = request.to.as_mut().filter(|to| is_handle(&to.token)) else { return Ok(false) };
        match self.handles.open(origin, to, request.channel, now) {
            Ok(token) => to.token = token,
            Err(unopened) => {
                info!(peer.domain = %origin, push.id = %request.id, reason = %unopened.reason(), "a handle is not opened");
                let taken = Taken::Refused(unopened.reason());
                return Err(PushResult { taken, retry_after: unopened.retry_after() });
            }
        }
        Ok(true)
    }

    /// Checks one request against the rules and the grants. Answers its lane and when it expires by our clock.
    fn check(
        &self,
        serves: impl FnOnce(&Arc<str>) -> bool,
        origin: &SipDomain,
        request: &PushRequest,
        now: Timestamp,
    ) -> Result<(LaneKey, Timestamp), PushResult> {
        let refused = |reason| PushResult::new(Taken::Refused(reason));
        let expires = request.check(now).map_err(|fault| {
            info!(peer.domain = %origin, push.id = %request.id, %fault, "a push request is not valid");
            refused(match fault {
                RequestFault::ClockSkew { .. } => Reason::ClockSkew,
                _ => Reason::InvalidRequest,
            })
        })?;
        let skew = request.skew(now);
        if skew > SKEW_REPORTED {
            warn!(alarm = reveille_core::Alarm::PartnerClock.as_str(), peer.domain = %origin, skew_secs = skew.as_secs(), "the partner's clock differs from ours");
        }
        if request.channel == Channel::Voip && request.id.born() < self.calls_from {
            return Err(refused(Reason::OutcomeUnknown));
        }
        let Some(to) = &request.to else { return Ok((probe_lane(), expires)) };
        let is_meant = |lane: &&LaneKey| {
            (lane.app.provider, lane.app.environment, lane.channel) == (to.provider, to.environment, request.channel)
        };
        let Some(lane) = self.lanes.get(&to.app).and_then(|lanes| lanes.iter().find(is_meant)) else {
            return Err(refused(Reason::NoSuchApp));
        };
        if !serves(&lane.app.app) {
            debug!(peer.domain = %origin, app = %lane.app, "the app does not serve this organisation");
            return Err(refused(Reason::AppNotGranted));
        }
        Ok((lane.clone(), expires))
    }
}

/// Whether what is sealed in a push fits into what its provider takes: nobody but the sender can make it smaller, and he
/// should hear that now. What is in clear can be shortened, and is when it is sent.
fn fits(origin: &SipDomain, request: &PushRequest, now: Timestamp) -> Result<(), PushResult> {
    let caller = request.call.as_ref().and_then(|call| call.caller.as_ref());
    if request.sealed.is_none() && !matches!(caller, Some(Caller::Sealed { .. })) {
        return Ok(());
    }
    let Some(provider) = request.to.as_ref().map(|to| to.provider) else { return Ok(()) };
    let Some(push) = notification(origin, request.clone(), 0, now, request.expires) else { return Ok(()) };
    reveille_providers::fits(provider, &push).map_err(|refusal| {
        let why = refusal.provider_reason().unwrap_or_default();
        info!(peer.domain = %origin, push.id = %request.id, why, "a push with sealed content is too large");
        PushResult::new(Taken::Refused(Reason::PayloadTooLarge))
    })
}

/// What is known while one batch is looked through.
struct Desk<'a> {
    intake: &'a Intake,
    settings: &'a Snapshot,
    room: Room,
    /// For how long what is taken now would wait for the journal.
    wait: Duration,
    now: Timestamp,
    /// The few organisations that the batch is of.
    tenants: Vec<(SipDomain, Arc<Account>)>,
    /// The app and the organisation that were asked about last, and whether the one serves the other.
    granted: Option<(Arc<str>, SipDomain, bool)>,
}

/// A request that may be taken.
struct Checked {
    lane: LaneKey,
    /// By our clock.
    expires: Timestamp,
    /// Whether its token has come out of a handle.
    opened: bool,
    /// When its device may get it, if not now.
    due: Option<Timestamp>,
}

impl Desk<'_> {
    /// Whether a request may be taken: by the rules, by the grants, by its handle, and by how much there may be.
    fn check(&mut self, origin: &SipDomain, request: &mut PushRequest) -> Result<Checked, PushResult> {
        let (intake, now) = (self.intake, self.now);
        let checked = intake.check(|app| self.serves(app, origin), origin, request, now);
        // What is refused anyway is not worth opening.
        let opened = checked.and_then(|lane| Ok((lane, self.intake.open(origin, request, self.now)?)));
        let fitting = opened.and_then(|taken| fits(origin, request, self.now).map(|()| taken));
        let ((lane, expires), opened) = fitting.inspect_err(|refused| count(refused, ""))?;
        match self.admit(origin, &lane, request) {
            Ok(due) if due.is_none_or(|due| due < expires) => Ok(Checked { lane, expires, opened, due }),
            Ok(_) => Err(self.refuse(origin, request, Over { limit: Limit::Device, after: expires.since(self.now) })),
            Err(over) => Err(self.refuse(origin, request, over)),
        }
    }

    /// Whether an app serves an organisation; most of a batch ask about the same.
    fn serves(&mut self, app: &Arc<str>, origin: &SipDomain) -> bool {
        if let Some((known, whom, serves)) = &self.granted
            && Arc::ptr_eq(known, app)
            && whom == origin
        {
            return *serves;
        }
        let serves = self.settings.app_serves(app, origin);
        self.granted = Some((Arc::clone(app), origin.clone(), serves));
        serves
    }

    /// Whether there is room for one more, and when it may go.
    fn admit(&mut self, origin: &SipDomain, lane: &LaneKey, request: &PushRequest) -> Result<Option<Timestamp>, Over> {
        let Self { intake, settings, room, wait, now, .. } = *self;
        let class = Class::of(request.event, lane.channel);
        if gives_way(class, room) {
            return Err(Over { limit: Limit::Room, after: shed::COME_BACK });
        }
        if wait > patience(class) {
            return Err(Over { limit: Limit::Wait, after: shed::COME_BACK });
        }
        let open = || intake.dispatch.open_of(origin);
        let device = |budget| intake.devices.turn(origin, lane, request, budget, now);
        self.account(origin).admit((settings, origin), lane.channel, now, open, device)
    }

    fn refuse(&self, origin: &SipDomain, request: &PushRequest, over: Over) -> PushResult {
        let Over { limit, after } = over;
        debug!(push.id = %request.id, peer.domain = %origin, limit = limit.as_str(), "a push request is one too many");
        // In whole seconds, and never a moment too early.
        let after = Duration::from_millis(after.as_millis().div_ceil(1000) as u64 * 1000);
        let refused = PushResult { taken: Taken::Refused(Reason::Throttled), retry_after: Some(after) };
        count(&refused, limit.as_str());
        refused
    }

    fn account(&mut self, origin: &SipDomain) -> &Account {
        let known = self.find(origin).unwrap_or_else(|| {
            self.tenants.push((origin.clone(), self.intake.quotas.of(origin)));
            self.tenants.len() - 1
        });
        &self.tenants[known].1
    }

    fn find(&self, origin: &SipDomain) -> Option<usize> {
        self.tenants.iter().position(|(known, _)| known == origin)
    }

    /// What each organisation of the batch is told.
    fn standings(self) -> Vec<Standing> {
        self.tenants.iter().map(|(_, account)| account.standing(self.now)).collect()
    }
}

/// A submission whose requests wait for the sync.
struct Waiting {
    slots: Vec<Slot>,
    /// Its organisation's place among those of the batch.
    tenant: Option<usize>,
    answer: Answer,
}

impl Waiting {
    fn taken(self, appended: &[Appended], standings: &[Standing]) {
        let results = results(&self.slots, appended);
        self.answered(Ok(results), standings);
    }

    fn answered(self, receipt: Receipt, standings: &[Standing]) {
        (self.answer)(receipt, self.tenant.and_then(|tenant| standings.get(tenant)));
    }
}

/// Counts a refusal: by its reason, and by the limit where that is a limit.
fn count(refused: &PushResult, limit: &'static str) {
    if let Taken::Refused(reason) = refused.taken {
        metrics::counter!("reveille_push_requests_refused_total", "reason" => reason.as_str(), "limit" => limit)
            .increment(1);
    }
}

/// A request that has become an entry of the batch.
struct Kept {
    origin: SipDomain,
    request: PushRequest,
    lane: LaneKey,
    expires: Timestamp,
    due: Option<Timestamp>,
    /// Whether it is a call that a connection waits for.
    sending: bool,
}

/// Gives back what was promised to calls that are not new.
fn withdraw(dispatch: &Dispatch, kept: &[Option<Kept>]) {
    kept.iter().flatten().filter(|kept| kept.sending).for_each(|kept| dispatch.withdraw(&kept.lane));
}

/// Where a probe without a target is journaled: it is answered like any other, and goes nowhere.
fn probe_lane() -> LaneKey {
    let app = AppKey { provider: Provider::Apns, app: "probe".into(), environment: Environment::Production };
    LaneKey { app, channel: Channel::Message }
}

/// Whether a body is a single request as it stands, and not an array of one.
fn is_object(body: &[u8]) -> bool {
    body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

/// Who asks whom.
struct Between<'a> {
    origin: &'a SipDomain,
    asked: &'a SipDomain,
}

fn entry(
    between: Between<'_>,
    request: &PushRequest,
    lane: LaneKey,
    body: Arc<[u8]>,
    received: Timestamp,
    expires: Timestamp,
) -> JournalEntry {
    JournalEntry {
        origin: between.origin.clone(),
        asked: between.asked.clone(),
        id: request.id,
        lane,
        received,
        expires,
        fingerprint: essence(request),
        sending: false,
        request: body,
    }
}

/// What two transmissions of one request have in common: everything but `sent`, reduced to what tells requests apart.
fn essence(request: &PushRequest) -> u64 {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(&request.identity.to_u128().to_be_bytes());
    bytes.extend_from_slice(&request.registered.millis().to_be_bytes());
    bytes.push(request.event as u8);
    bytes.push(request.channel as u8);
    if let Some(to) = &request.to {
        bytes.extend_from_slice(to.app.as_bytes());
        bytes.extend_from_slice(to.token.expose().as_bytes());
    }
    fingerprint(&bytes)
}

/// The results of one submission in order.
fn results(slots: &[Slot], appended: &[Appended]) -> Vec<PushResult> {
    let result = |slot: &Slot| match slot {
        Slot::Refused(result) => *result,
        Slot::Kept(index) => PushResult::new(match appended[*index] {
            Appended::New { .. } => Taken::Journaled,
            Appended::Duplicate { same_request: true, .. } => Taken::Duplicate,
            // Another request under an id that is taken: the sender's fault, and dropping it silently would lose it.
            Appended::Duplicate { same_request: false, .. } => Taken::Refused(Reason::InvalidRequest),
        }),
    };
    slots.iter().map(result).collect()
}

/// The entries that are new, for the lanes.
fn fresh(kept: &mut [Option<Kept>], appended: &[Appended], received: Timestamp) -> Vec<Fresh> {
    let one = |(kept, appended): (&mut Option<Kept>, &Appended)| {
        let Appended::New { seq } = *appended else { return None };
        let Kept { origin, request, lane, expires, due, sending } = kept.take()?;
        debug!(push.id = %request.id, peer.domain = %origin, "journaled");
        Some(Fresh { seq, origin, request, lane, received, expires, attempt: 0, due, sending })
    };
    kept.iter_mut().zip(appended).filter_map(one).collect()
}

/// When a sender whose request was not taken may come back.
pub const COME_BACK: Duration = Duration::from_secs(5);

/// The lines in which requests wait for the journal: of calls that came by themselves, of those who have little waiting
/// while others have much, and of everybody else.
const LINES: usize = 3;
const CALLS: usize = 0;
const AHEAD: usize = 1;
const IN_TURN: usize = 2;

/// For how long what was seen of the room that is left is believed.
const LOOK_EVERY: Duration = Duration::from_millis(50);
