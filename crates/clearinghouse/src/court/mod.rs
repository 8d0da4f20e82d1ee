//! The court: what each provider answer means for its push and its token, and what it does about a storm of rejections
//! (DESIGN.md §7).
//!
//! A token that a provider has declared dead gets no more pushes, also after a restart: the verdict is in the journal in
//! the commit that ends its push. When an app's tokens are rejected in mass, far more often than phones are thrown away,
//! the fault is more likely the publisher's (another environment, topic or project) than that of thousands of phones.
//! Then the brake is on: pushes still go out, verdicts are kept and not believed, no home forgets a token, those told
//! of late are taken back, and somebody must decide.

mod brakes;
mod gauge;
mod graves;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use reveille_core::delivery::PushState;
use reveille_core::settings::Snapshot;
use reveille_core::{
    Alarm, AppKey, Channel, Clock, DeviceToken, IdentityId, LaneKey, PushId, Reason, SipDomain, Timestamp, Verdict,
};
use reveille_federation::feedback::FeedbackVerdict;
use reveille_store::{
    Brake, BrakeScope, Completed, Dead, Death, FeedbackItem, Recent, StoreError, VERDICTS_MAX, Verdicts,
};
use tokio::sync::{Notify, watch};
use tracing::error;

use crate::outcome::{Facts, Judgement, judge};
use gauge::{Count, Gauge, Limits, Storm};
use graves::{Graves, mark};

pub use brakes::Decided;

/// Judges what providers answer.
pub struct Court {
    store: Arc<dyn Verdicts>,
    settings: watch::Receiver<Arc<Snapshot>>,
    clock: Arc<dyn Clock>,
    graves: RwLock<Graves>,
    bench: Mutex<Bench>,
    /// Wakes [`Court::run`].
    work: Notify,
    /// Wakes the task that sends feedback.
    feedback: Arc<Notify>,
}

/// What changes with every answer.
#[derive(Default)]
struct Bench {
    gauges: HashMap<AppKey, Gauges>,
    brakes: HashSet<BrakeScope>,
    /// Brakes that are on and not yet on disk.
    tripped: Vec<Brake>,
}

/// The answers of one app: all of them, and those to calls by themselves. An app has a topic for calls, and few calls beside
/// its messages: that all of them are rejected must not be lost among messages that are not.
#[derive(Default)]
struct Gauges {
    all: Gauge,
    calls: Gauge,
}

impl Gauges {
    fn add(&mut self, (origin, channel): (&SipDomain, Channel), count: Count, limits: Limits, now: Timestamp) {
        self.all.add(origin, count, limits, now);
        if channel == Channel::Voip {
            self.calls.add(origin, count, limits, now);
        }
    }

    fn storm(&mut self, (origin, channel): (&SipDomain, Channel), limits: Limits, now: Timestamp) -> Option<Storm> {
        self.all.storm(origin, limits, now).or_else(|| match channel {
            Channel::Message => None,
            Channel::Voip => self.calls.storm(origin, limits, now),
        })
    }

    fn reset(&mut self, origin: Option<&SipDomain>) {
        self.all.reset(origin);
        self.calls.reset(origin);
    }
}

/// The push that an answer is about.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Its number in the journal.
    pub seq: u64,
    /// Its id.
    pub push: PushId,
    /// The push identity that it was for.
    pub identity: IdentityId,
    /// Who sent it.
    pub origin: &'a SipDomain,
    /// Where it went.
    pub token: &'a DeviceToken,
    /// Whether the provider has said anything: what was never sent says nothing about a token.
    pub answered: bool,
}

/// What is to be done about a push.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "nearly all are an end, and a box for each would be an allocation for each push"
)]
pub enum Ruling {
    /// Send it again at this time.
    Again {
        /// When.
        at: Timestamp,
    },
    /// It is over, and this is for the journal.
    End(Completed),
}

impl Court {
    /// A court that knows what was decided before; `feedback` is notified when it owes feedback.
    pub fn open(
        store: Arc<dyn Verdicts>,
        settings: watch::Receiver<Arc<Snapshot>>,
        clock: Arc<dyn Clock>,
        feedback: Arc<Notify>,
    ) -> Result<Arc<Self>, StoreError> {
        let mut graves = Graves::new(VERDICTS_MAX);
        store.dead()?.into_iter().for_each(|dead| graves.bury(dead));
        let brakes = store.brakes()?.into_iter().map(|braked| braked.brake.scope).collect();
        let gauges = gauges(&*store, &settings.borrow(), clock.now())?;
        let bench = Mutex::new(Bench { brakes, gauges, ..Bench::default() });
        let graves = RwLock::new(graves);
        Ok(Arc::new(Self { store, settings, clock, graves, bench, work: Notify::new(), feedback }))
    }

    /// Since when the token of a push is dead for its origin: then the push must not be sent.
    pub fn dead(
        &self,
        origin: &SipDomain,
        app: &AppKey,
        token: &DeviceToken,
        registered: Timestamp,
    ) -> Option<Timestamp> {
        self.graves.read().dead(origin, app, token, registered)
    }

    /// Begins to judge answers that came together, all of one lane.
    pub fn sit<'a>(&'a self, lane: &'a LaneKey, now: Timestamp) -> Sitting<'a> {
        Sitting { court: self, lane, now, run: None }
    }

    fn limits(&self, app: &AppKey) -> Option<Limits> {
        Limits::of(self.settings.borrow().push_app(&app.app))
    }

    fn is_braked(&self, app: &AppKey, origin: &SipDomain) -> bool {
        let bench = self.bench.lock();
        // Nearly always there is none.
        !bench.brakes.is_empty()
            && [None, Some(origin.clone())]
                .into_iter()
                .any(|origin| bench.brakes.contains(&BrakeScope { app: app.clone(), origin }))
    }

    /// Takes counts in, and puts the brake on in a storm; `word` is the provider's if a token was rejected.
    fn count(&self, lane: &LaneKey, origin: &SipDomain, count: Count, word: Option<&str>, now: Timestamp) {
        let LaneKey { app, channel } = lane;
        let limits = self.limits(app);
        let mut bench = self.bench.lock();
        let bench = &mut *bench;
        let Some(limits) = limits else { return };
        let gauges = match bench.gauges.get_mut(app) {
            Some(gauges) => gauges,
            None => bench.gauges.entry(app.clone()).or_default(),
        };
        gauges.add((origin, *channel), count, limits, now);
        let Some(word) = word else { return };
        let Some(storm) = gauges.storm((origin, *channel), limits, now) else { return };
        let (origin, count) = match storm {
            Storm::App(count) => (None, count),
            Storm::Origin(origin, count) => (Some(origin), count),
        };
        let scope = BrakeScope { app: app.clone(), origin };
        let whole = BrakeScope { app: app.clone(), origin: None };
        if bench.brakes.contains(&whole) || !bench.brakes.insert(scope.clone()) {
            return;
        }
        let Count { answers, rejected } = count;
        error!(
            alarm = Alarm::BrakeOn.as_str(),
            app = %scope.app, peer.domain = scope.origin.as_ref().map(SipDomain::as_str), rejected, answers, provider.reason = word,
            "{}", Alarm::BrakeOn.sentence()
        );
        metrics::counter!("reveille_brakes_total", "app" => app.to_string()).increment(1);
        let reach = Timestamp::from_millis(now.millis().saturating_sub(limits.window()));
        bench.tripped.push(Brake { scope, since: now, reach, rejected, answers, word: word.into() });
        self.work.notify_one();
    }
}

/// What was counted before a start, as far as the journal tells: a storm does not begin anew with each process.
/// Calls begin to be measured by themselves anew.
fn gauges(store: &dyn Verdicts, settings: &Snapshot, now: Timestamp) -> Result<HashMap<AppKey, Gauges>, StoreError> {
    let limits = |app: &AppKey| Limits::of(settings.push_app(&app.app));
    let windows: BTreeSet<u64> =
        settings.push_apps().filter_map(|app| Limits::of(Some(app))).map(Limits::window).collect();
    let mut gauges: HashMap<AppKey, Gauges> = HashMap::new();
    for window in windows {
        let since = Timestamp::from_millis(now.millis().saturating_sub(window));
        for Recent { app, origin, rejected, pushes } in store.recent(since)? {
            if let Some(limits) = limits(&app).filter(|limits| limits.window() == window) {
                let count = Count { answers: pushes, rejected };
                gauges.entry(app).or_default().all.add(&origin, count, limits, now);
            }
        }
    }
    Ok(gauges)
}

/// Answers that came together, all of one lane. What was counted is taken in at the latest when it is dropped.
pub struct Sitting<'a> {
    court: &'a Court,
    lane: &'a LaneKey,
    now: Timestamp,
    /// Accepted pushes of one origin in a row.
    run: Option<(SipDomain, u32)>,
}

impl Sitting<'_> {
    /// What an answer means for its push, and for its token.
    pub fn rule(&mut self, verdict: &Verdict, facts: &Facts, case: &Case<'_>) -> Ruling {
        let judged = judge(verdict, facts);
        // A push that is sent again and again, since somebody may mend what is wrong, says no more about its token than it
        // did the first time: a handful of them is no storm.
        let is_said_again = facts.attempt > 0 && matches!(judged, Judgement::Again { .. });
        if case.answered && !is_said_again {
            self.count(verdict, case.origin);
        }
        let (mut state, detail, dead) = match judged {
            Judgement::Again { at } => return Ruling::Again { at },
            Judgement::End { state, detail, dead } => (state, detail, dead),
        };
        let death = dead.map(|since| {
            let frozen = self.court.is_braked(&self.lane.app, case.origin);
            Death { token: mark(case.origin, &self.lane.app, case.token), since, sent: facts.sent, frozen }
        });
        match death {
            Some(death) if death.frozen => state = PushState::NotPushed(Reason::AppSuspendedByBrake),
            Some(Death { token, since, sent, .. }) => {
                self.court.graves.write().bury(Dead { token, since, sent, at: self.now });
            }
            None => {}
        }
        if let PushState::NotPushed(reason) = state {
            metrics::counter!("reveille_pushes_failed_total", "reason" => reason.as_str()).increment(1);
        }
        let effective = death.filter(|death| !death.frozen);
        let feedback = feedback_for(state, case.push, case.identity, &detail, effective.map(|it| it.since), self.now);
        Ruling::End(Completed { seq: case.seq, state, detail, at: self.now, feedback, death })
    }

    fn count(&mut self, verdict: &Verdict, origin: &SipDomain) {
        match rejects(verdict) {
            None => {}
            Some(false) => match &mut self.run {
                Some((same, count)) if same == origin => *count += 1,
                _ => {
                    self.flush();
                    self.run = Some((origin.clone(), 1));
                }
            },
            Some(true) => {
                self.flush();
                let word = verdict.provider_reason().unwrap_or_default();
                self.court.count(self.lane, origin, Count { answers: 1, rejected: 1 }, Some(word), self.now);
            }
        }
    }

    fn flush(&mut self) {
        if let Some((origin, answers)) = self.run.take() {
            self.court.count(self.lane, &origin, Count { answers, rejected: 0 }, None, self.now);
        }
    }
}

impl Drop for Sitting<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Whether an answer speaks against the token that it is about, for it, or says nothing about it.
fn rejects(verdict: &Verdict) -> Option<bool> {
    match verdict {
        Verdict::Accepted => Some(false),
        // Topic, environment and sender id belong here: the token may be as good as ever.
        Verdict::Configuration { .. } | Verdict::Forget { .. } => Some(true),
        Verdict::Reject { reason } if &**reason == OF_ANOTHER_APP => Some(true),
        Verdict::Reject { .. } | Verdict::Retry { .. } | Verdict::Unknown { .. } => None,
    }
}

/// What APNs says of a token that belongs to another topic (Apple, "Handling notification responses from APNs"). One is
/// somebody's mistake; many are a wrong topic.
const OF_ANOTHER_APP: &str = "DeviceTokenNotForTopic";

/// What home is told about the end of a push: that its token is dead, or why it was not pushed. A push that the
/// provider accepted is not worth a message.
pub(crate) fn feedback_for(
    state: PushState,
    push: PushId,
    identity: IdentityId,
    detail: &str,
    dead: Option<Option<Timestamp>>,
    at: Timestamp,
) -> Option<FeedbackItem> {
    let PushState::NotPushed(reason) = state else { return None };
    let verdict = if dead.is_some() { FeedbackVerdict::Forget } else { FeedbackVerdict::State };
    Some(FeedbackItem {
        push,
        identity,
        token_generation: 0,
        verdict: verdict.as_str().into(),
        reason: if dead.is_some() { detail.to_owned() } else { reason.as_str().into() },
        provider_time: dead.flatten(),
        at,
    })
}
