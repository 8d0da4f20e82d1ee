//! Feedback on its way home: durable, per origin, in order, repeated until home has taken it (DESIGN.md §5).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use reveille_core::retry::Backoff;
use reveille_core::{Alarm, Clock, SipDomain};
use reveille_federation::feedback::{CONTENT_TYPE_V1, Feedback, FeedbackVerdict, ITEMS_MAX, Item, write_body};
use reveille_federation::message::{Envelope, write};
use reveille_sip::Name;
use reveille_sip_net::{Pool, Requests, Target};
use reveille_store::{FeedbackEnd, FeedbackId, Journal, OwedFeedback};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::leap::waits;

/// How long home may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How often the outbox is looked at when nothing wakes it: a retry may be due.
const TICK: Duration = Duration::from_secs(2);

/// Brings feedback home, each origin by its own road.
pub struct Outbox {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    fresh: Arc<Notify>,
    road: Arc<dyn Road>,
}

/// A way to the homes: along federation, or to a webhook of theirs.
pub trait Road: Send + Sync + 'static {
    /// Brings one letter to its home. Ready with `Ok` only when home has taken it; must end by itself.
    fn carry<'a>(&'a self, letter: Letter<'a>) -> BoxFuture<'a, Result<(), Untold>>;
}

/// What one home is told at once.
#[derive(Clone, Copy, Debug)]
pub struct Letter<'a> {
    /// The home.
    pub origin: &'a SipDomain,
    /// In whose name: the domain that the pushes were sent to, where that is known. It is the same for all items.
    pub asked: Option<&'a SipDomain>,
    /// What is said.
    pub feedback: &'a Feedback,
}

/// Why a home has not taken feedback.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Untold {
    /// Not now; everything behind it waits too.
    Later(String),
    /// Never: it is given up, and the next is told.
    Refused(String),
}

impl Outbox {
    /// An outbox that is woken by `fresh`.
    pub fn new(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>, fresh: Arc<Notify>, road: Arc<dyn Road>) -> Self {
        Self { journal, clock, fresh, road }
    }

    /// Runs until `stop`. Each origin is told by itself: one that is slow to answer, or does not, holds up no other.
    pub async fn run(self, stop: CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        let mut busy = HashSet::new();
        while !stop.is_cancelled() {
            for (origin, items) in self.due(&busy).await {
                busy.insert(origin.clone());
                under_way.push(self.tell(origin, items));
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.fresh.notified() => {}
                () = tokio::time::sleep(TICK) => {}
                Some(told) = under_way.next() => {
                    busy.remove(&told);
                    // Whoever else has answered by now: one look into the journal serves all of them.
                    while let Some(Some(told)) = under_way.next().now_or_never() {
                        busy.remove(&told);
                    }
                }
            }
        }
    }

    /// What is due, for each origin that is not being told at the moment.
    async fn due(&self, busy: &HashSet<SipDomain>) -> BTreeMap<SipDomain, Vec<OwedFeedback>> {
        let journal = Arc::clone(&self.journal);
        let read = tokio::task::spawn_blocking(move || journal.feedback_open(ITEMS_MAX)).await;
        let mut by_origin: BTreeMap<SipDomain, Vec<OwedFeedback>> = BTreeMap::new();
        match read.expect("reading the journal does not panic") {
            Ok(owed) => {
                for item in owed.into_iter().filter(|item| !busy.contains(&item.origin)) {
                    by_origin.entry(item.origin.clone()).or_default().push(item);
                }
            }
            Err(reason) => warn!(%reason, "the feedback outbox could not be read"),
        }
        let now = self.clock.now();
        // In order: while the oldest is put off, everything behind it waits too.
        by_origin.retain(|_, items| !waits(items[0].due, now, Backoff::FEEDBACK.cap));
        // Home believes the domain that it asked, so that one MESSAGE speaks for one of them.
        for items in by_origin.values_mut() {
            let alike = items.iter().take_while(|item| item.asked == items[0].asked).count();
            items.truncate(alike);
        }
        by_origin
    }

    /// Tells one origin, notes what came of it, and answers which it was.
    async fn tell(&self, origin: SipDomain, owed: Vec<OwedFeedback>) -> SipDomain {
        let mut ids: Vec<FeedbackId> = owed.iter().map(|item| item.id).collect();
        let attempt = owed[0].attempt + 1;
        let oldest = owed[0].item.at;
        let mut told = self.send(&origin, &owed).await;
        if matches!(told, Err(Untold::Refused(_))) && owed.len() > 1 {
            // One item that is not believed must not hold up the others: each by itself, the oldest first.
            told = self.send(&origin, &owed[..1]).await;
            ids.truncate(1);
        }
        let noted = match told {
            Err(Untold::Refused(why)) => {
                // It will never be believed: the home was restored from a backup, or is another one by now.
                let alarm = Alarm::FeedbackRefused;
                warn!(alarm = alarm.as_str(), peer.domain = %origin, push.id = %owed[0].item.push, "{}: {why}", alarm.sentence());
                metrics::counter!("reveille_feedback_refused_total").increment(1);
                self.fresh.notify_one();
                let end = FeedbackEnd::GivenUp(self.clock.now());
                reveille_store::wait(|done| self.journal.feedback_done(ids, end, done)).await
            }
            Ok(()) => {
                debug!(peer.domain = %origin, items = ids.len(), "home has taken the feedback");
                metrics::counter!("reveille_feedback_sent_total").increment(ids.len() as u64);
                let end = FeedbackEnd::Delivered(self.clock.now());
                reveille_store::wait(|done| self.journal.feedback_done(ids, end, done)).await
            }
            Err(Untold::Later(why)) => {
                // Kept for as long as an outcome is remembered; the journal gives older ones up.
                let never = oldest.plus(Duration::from_secs(365 * 24 * 3600));
                let now = self.clock.now();
                let due = Backoff::FEEDBACK.next(attempt, rand::random(), now, None, never).unwrap_or(never);
                warn!(peer.domain = %origin, items = ids.len(), attempt, retry.at = %due, "feedback was not taken: {why}");
                reveille_store::wait(|done| self.journal.feedback_retry(ids, due, attempt, done)).await
            }
        };
        if let Err(reason) = noted {
            warn!(%reason, "the feedback outbox could not be written; home may hear the same twice");
            // It is still due in the journal: not at once again.
            tokio::time::sleep(TICK).await;
        }
        origin
    }

    async fn send(&self, origin: &SipDomain, owed: &[OwedFeedback]) -> Result<(), Untold> {
        let items = owed.iter().map(|owed| Item {
            push: owed.item.push,
            identity: owed.item.identity,
            verdict: FeedbackVerdict::parse(&owed.item.verdict).unwrap_or(FeedbackVerdict::State),
            reason: owed.item.reason.as_str().into(),
            provider_time: owed.item.provider_time,
            at: owed.item.at,
        });
        let feedback = Feedback { id: owed[0].item.at.millis(), items: items.collect() };
        self.road.carry(Letter { origin, asked: owed[0].asked.as_ref(), feedback: &feedback }).await
    }
}

/// The road along federation: a MESSAGE through the publisher's edge.
pub struct Federation {
    /// Transactions of ours.
    pub requests: Arc<Requests>,
    /// Connections to our own servers.
    pub pool: Pool,
    /// Our edge.
    pub edge: Target,
    /// Our own name, for Via.
    pub name: SipDomain,
    /// The publisher's domain: feedback comes from `sip:push@` it where nothing is kept about which one was asked.
    pub domain: SipDomain,
}

impl Road for Federation {
    fn carry<'a>(&'a self, letter: Letter<'a>) -> BoxFuture<'a, Result<(), Untold>> {
        self.message(letter).boxed()
    }
}

impl Federation {
    async fn message(&self, Letter { origin, asked, feedback }: Letter<'_>) -> Result<(), Untold> {
        let later = |error: &dyn std::fmt::Display| Untold::Later(error.to_string());
        let ticket = self.requests.open(rand::random()).map_err(|error| later(&error))?;
        let call_id = format!("{:032x}", rand::random::<u128>());
        let envelope = Envelope {
            sent_by: self.name.as_str(),
            branch: ticket.branch(),
            from: &format!("sip:push@{}", asked.unwrap_or(&self.domain)),
            // To whom every push request of this origin came from (DESIGN.md §5).
            to: &format!("sip:mcx@{origin}"),
            call_id: &call_id,
            content_type: CONTENT_TYPE_V1,
            urgent: false,
        };
        let bytes = write(envelope, &write_body(feedback)).map_err(|error| later(&error))?;
        let answer = ticket.through(&self.pool, &self.edge, bytes, ANSWER_WITHIN).await;
        let answer = answer.map_err(|error| later(&error))?;
        match answer.status() {
            Some(200..300) => Ok(()),
            status => {
                let diagnosis = answer.header(Name::MsDiagnostics).or_else(|| answer.header(Name::MsDiagnosticsPublic));
                let why = format!("{} {}", status.unwrap_or_default(), diagnosis.unwrap_or("no diagnosis"));
                // A refusal with a diagnosis comes from an edge, and what it complains of can be mended. Home's own
                // 403 has none: it does not believe what it hears.
                Err(match (status, diagnosis) {
                    (Some(400 | 403 | 413), None) => Untold::Refused(why),
                    _ => Untold::Later(why),
                })
            }
        }
    }
}
