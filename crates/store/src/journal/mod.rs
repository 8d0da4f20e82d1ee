//! The clearing house's journal: what was accepted, what became of it, and the feedback owed for it (DESIGN.md §7).
//!
//! The promise "accepted means kept" rests on [`Journal::append`]: it says [`Appended::New`] only after the request is
//! synced to disk.

mod block;
mod census;
mod debt;
mod desk;
mod fingerprint;
mod flows;
mod outbox;
mod sqlite;
mod verdicts;
mod view;

use std::fmt;
use std::sync::Arc;

use reveille_core::delivery::{PushState, Step};
use reveille_core::{IdentityId, LaneKey, PushId, SipDomain, Timestamp};

use crate::completion::Completion;
use crate::engine::Room;
use crate::error::StoreError;

pub use fingerprint::fingerprint;
pub use sqlite::SqliteJournal;
pub use verdicts::{Brake, BrakeScope, Braked, Dead, Death, Recent, TokenMark, VERDICTS_MAX, Verdicts};

/// What the clearing house keeps.
pub trait Journal: Send + Sync + 'static {
    /// Keeps accepted requests. The answers are in the order of the entries and come after the sync.
    ///
    /// Whether an entry is new is decided by its origin and id inside of the transaction: of two equal entries in one
    /// call, or in two calls at once, exactly one is new.
    ///
    /// What is nothing but calls (the `voip` channel) is written before messages that wait to be, and so are
    /// [`Journal::mark_sending`] and [`Journal::reschedule`], among each other in the order in which they were asked for.
    fn append(&self, entries: Vec<JournalEntry>, done: Completion<Vec<Appended>>);

    /// The same as [`Journal::append`], and written before messages that wait to be, like calls. For a few entries of
    /// somebody who has nothing waiting: all others wait for them.
    fn append_ahead(&self, entries: Vec<JournalEntry>, done: Completion<Vec<Appended>>);

    /// Notes that the first byte of these pushes is about to go out. After a crash they read back as `sending`.
    ///
    /// A push on the `voip` channel must not be written before `done` was called (DESIGN.md §1, promise 1), unless it was
    /// kept as [`JournalEntry::sending`].
    fn mark_sending(&self, seqs: Vec<u64>, at: Timestamp, done: Completion<()>);

    /// Ends pushes, each with its outcome and the feedback owed for it, in one commit. The requests themselves are
    /// dropped. A push that is not open (any more) is passed over, feedback and all. Where a home is owed 100,000 already,
    /// no more is kept for it but verdicts.
    fn complete(&self, completed: Vec<Completed>, done: Completion<()>);

    /// Puts an open push back to be sent at `due`; it counts as not being sent from then on.
    fn reschedule(&self, seq: u64, due: Timestamp, attempt: u32, done: Completion<()>);

    /// The open pushes after `after_seq`, in the order in which they were accepted.
    fn open(&self, after_seq: u64, limit: usize) -> Result<Vec<OpenEntry>, StoreError>;

    /// The number that the first push which is accepted from now on will have at the least: what has a smaller one was
    /// accepted in a former life of the process. Of this moment only while nothing has been appended yet.
    fn first_new(&self) -> u64;

    /// Where open pushes are, with numbers in `after + 1..=to`, flow by flow and without their requests; looks at
    /// about `blocks` times 64 numbers at most. Answers up to which number everything has been seen.
    fn waiting(&self, after: u64, to: u64, blocks: usize) -> Result<(Vec<OpenStretch>, u64), StoreError>;

    /// Those pushes of these stretches that are still open, in the order of the stretches.
    fn read(&self, stretches: &[Stretch]) -> Result<Vec<OpenEntry>, StoreError>;

    /// How many pushes of each organisation were received at `since` or later, among those with numbers below `before`:
    /// the newest first, in about `blocks` times 64 numbers at most. Answers before which number to go on, if not all has
    /// been seen.
    fn received_since(&self, since: Timestamp, before: u64, blocks: usize)
    -> Result<(Counts, Option<u64>), StoreError>;

    /// How much room is left for more at this moment. May ask the system: not for every push.
    fn room(&self) -> Room;

    /// What became of one push, until it is purged.
    fn trace(&self, origin: &SipDomain, id: PushId) -> Result<Option<Traced>, StoreError>;

    /// The pushes of that id, of each origin that has sent one; with `origin` only its own.
    fn traces(&self, id: PushId, origin: Option<&SipDomain>) -> Result<Vec<TracedPush>, StoreError>;

    /// The newest pushes, newest first, among the [`TRACED_MAX`] newest ones; with `origin` only its own.
    fn latest(&self, origin: Option<&SipDomain>, limit: usize) -> Result<Vec<TracedPush>, StoreError>;

    /// Forgets pushes that were received before `before` and have ended. Answers how many are gone; call again while
    /// that is `limit`.
    ///
    /// Duplicates are recognised until then, so `before` must lie further back than the longest life of a request and
    /// the largest clock skew that is let pass (24 h and 10 min).
    fn purge(&self, before: Timestamp, limit: usize, done: Completion<usize>);

    /// Keeps feedback that no ending push brings about: a verdict that is taken back. `asked` is the domain that the pushes
    /// were sent to.
    fn owe_feedback(&self, origin: SipDomain, asked: SipDomain, items: Vec<FeedbackItem>, done: Completion<()>);

    /// The feedback owed, grouped by origin and in order within each: at most `limit` for each origin, and less where
    /// many origins wait, about [`FEEDBACK_MAX`] in all. An origin that cannot be reached so never hides the others.
    fn feedback_open(&self, limit: usize) -> Result<Vec<OwedFeedback>, StoreError>;

    /// Removes feedback that home has taken, or that is given up; the traces of its pushes keep how that ended.
    fn feedback_done(&self, ids: Vec<FeedbackId>, end: FeedbackEnd, done: Completion<()>);

    /// Puts feedback off until `due`.
    fn feedback_retry(&self, ids: Vec<FeedbackId>, due: Timestamp, attempt: u32, done: Completion<()>);

    /// Gives up feedback on verdicts from before `before`. Answers how much; call again while that is `limit`.
    fn feedback_purge(&self, before: Timestamp, limit: usize, done: Completion<usize>);
}

/// The most feedback that [`Journal::feedback_open`] answers at once.
pub const FEEDBACK_MAX: usize = 16_384;

/// How many pushes [`Journal::latest`] looks at, about, for those of one origin.
pub const TRACED_MAX: usize = 100_000;

/// A number for each organisation.
pub type Counts = Vec<(SipDomain, u64)>;

/// One accepted push request, to be kept.
#[derive(Clone, Eq, PartialEq)]
pub struct JournalEntry {
    /// Who sent it, as proven by certificate or account.
    pub origin: SipDomain,
    /// The domain that it was sent to: a publisher may answer to several, and home believes feedback from the one that it
    /// asked. One of the few that this clearing house serves.
    pub asked: SipDomain,
    /// The id that the origin gave it.
    pub id: PushId,
    /// Where it will be sent.
    pub lane: LaneKey,
    /// When it was taken.
    pub received: Timestamp,
    /// From when on it is not worth sending.
    pub expires: Timestamp,
    /// What a repetition must have in common with it to be the same request: [`fingerprint`] of what the origin does
    /// not renew at each transmission (`sent` is renewed).
    pub fingerprint: u64,
    /// Whether its first byte goes out as soon as it is kept: as if [`Journal::mark_sending`] had been called for it at
    /// once, without a sync more.
    pub sending: bool,
    /// The request in the clearing house's own form.
    pub request: Arc<[u8]>,
}

/// Shows the size of the request and not what is in it: that is a token and perhaps words.
impl fmt::Debug for JournalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JournalEntry")
            .field("origin", &self.origin)
            .field("id", &self.id)
            .field("lane", &self.lane)
            .field("received", &self.received)
            .field("expires", &self.expires)
            .field("request_bytes", &self.request.len())
            .finish_non_exhaustive()
    }
}

/// What the journal says to one entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Appended {
    /// It was there before; nothing is kept.
    Duplicate {
        /// Where the first one is in its life.
        state: PushState,
        /// Whether this is the same request again, and not another one under the same id.
        same_request: bool,
    },
    /// It is kept.
    New {
        /// Its place in the journal; grows with each new entry, not always by one.
        seq: u64,
    },
}

/// How one push ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Completed {
    /// Its place in the journal.
    pub seq: u64,
    /// Accepted, or not pushed and why.
    pub state: PushState,
    /// The provider's own word or another detail for the trace; cut to 512 characters. Never a token.
    pub detail: String,
    /// When.
    pub at: Timestamp,
    /// What its home is to be told.
    pub feedback: Option<FeedbackItem>,
    /// The verdict on its token, if it has brought one; `feedback` is then there too.
    pub death: Option<Death>,
}

/// A verdict on its way home (DESIGN.md §5, feedback).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FeedbackItem {
    /// The push that brought it about.
    pub push: PushId,
    /// The identity it is about.
    pub identity: IdentityId,
    /// Which of the identity's tokens it is about.
    pub token_generation: u32,
    /// `forget`, `reversed` or `state`.
    pub verdict: String,
    /// The provider's own word, or a reason's name; cut to 512 characters.
    pub reason: String,
    /// Since when the provider knows, if it says.
    pub provider_time: Option<Timestamp>,
    /// When we learnt it.
    pub at: Timestamp,
}

/// One push that has not ended.
#[derive(Clone, Eq, PartialEq)]
pub struct OpenEntry {
    /// Its place in the journal.
    pub seq: u64,
    /// Who sent it.
    pub origin: SipDomain,
    /// The id that the origin gave it.
    pub id: PushId,
    /// Where it is to be sent.
    pub lane: LaneKey,
    /// When it was taken.
    pub received: Timestamp,
    /// From when on it is not worth sending.
    pub expires: Timestamp,
    /// When it is to be sent; the time of receipt until it is rescheduled.
    pub due: Timestamp,
    /// How often sending it has failed.
    pub attempt: u32,
    /// Whether its first byte may have gone out.
    pub sending: bool,
    /// The request as it was given to [`Journal::append`].
    pub request: Arc<[u8]>,
}

/// Shows the size of the request and not what is in it.
impl fmt::Debug for OpenEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenEntry")
            .field("seq", &self.seq)
            .field("origin", &self.origin)
            .field("id", &self.id)
            .field("lane", &self.lane)
            .field("due", &self.due)
            .field("attempt", &self.attempt)
            .field("sending", &self.sending)
            .field("request_bytes", &self.request.len())
            .finish_non_exhaustive()
    }
}

/// Some of 64 pushes with consecutive numbers, of one flow: 24 bytes, however many they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stretch {
    /// The number that bit 0 of `mask` stands for, a multiple of 64.
    pub(crate) first: u64,
    /// Which of them.
    pub(crate) mask: u64,
    /// When the first of them is not worth sending any more, or before.
    pub soonest: Timestamp,
}

/// Open pushes of one origin in one lane.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenStretch {
    /// Who sent them.
    pub origin: SipDomain,
    /// Where they are to be sent.
    pub lane: LaneKey,
    /// Which they are.
    pub stretch: Stretch,
}

/// What the journal knows about one push.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Traced {
    /// Its place in the journal.
    pub seq: u64,
    /// When it was taken.
    pub received: Timestamp,
    /// Where it is in its life.
    pub state: PushState,
    /// What else was said when it ended.
    pub detail: String,
    /// When it came into this state; the time of receipt while it waits.
    pub at: Timestamp,
    /// How often sending it has failed, as long as it is open.
    pub attempt: u32,
    /// What became of the news for its home, if it was owed any.
    pub news: Option<News>,
}

impl Traced {
    /// Its steps here as far as they are kept, the oldest first, each with when it was made.
    pub fn steps(&self) -> Vec<(Step, Timestamp)> {
        let now = self.state.step();
        let news = self.news.into_iter();
        let news = news.flat_map(|News { owed, end }| [Some((Step::FeedbackOwed, owed)), end.map(FeedbackEnd::step)]);
        let kept = [Some((Step::Journaled, self.received)), (now != Step::Journaled).then_some((now, self.at))];
        kept.into_iter().chain(news).flatten().collect()
    }
}

/// What a home is to hear of a push, on its way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct News {
    /// Since when it is owed: the last of it, where there was more than one word.
    pub owed: Timestamp,
    /// How that ended; none while it is owed.
    pub end: Option<FeedbackEnd>,
}

/// How feedback ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FeedbackEnd {
    /// Home has taken it, then.
    Delivered(Timestamp),
    /// Home does not believe it, and it was given up then.
    GivenUp(Timestamp),
}

impl FeedbackEnd {
    /// As a step of its push.
    pub const fn step(self) -> (Step, Timestamp) {
        match self {
            Self::Delivered(at) => (Step::FeedbackDelivered, at),
            Self::GivenUp(at) => (Step::FeedbackGivenUp, at),
        }
    }
}

/// One push with whose it is, and what the journal knows about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TracedPush {
    /// Who sent it.
    pub origin: SipDomain,
    /// The id that the origin gave it.
    pub id: PushId,
    /// Where it went, or is to go.
    pub lane: LaneKey,
    /// From when on it is not worth sending.
    pub expires: Timestamp,
    /// What became of it.
    pub traced: Traced,
}

/// The place of one feedback item in the outbox of its origin.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct FeedbackId {
    /// The origin's number in this file.
    pub(crate) origin_no: i64,
    /// The item's number.
    pub(crate) no: u64,
}

/// Feedback that home has not taken yet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwedFeedback {
    /// Its place.
    pub id: FeedbackId,
    /// Whose it is.
    pub origin: SipDomain,
    /// In whose name it is said: the domain that the push was sent to. None where an earlier version has not kept it.
    pub asked: Option<SipDomain>,
    /// What is to be said.
    pub item: FeedbackItem,
    /// When it may be sent; the time of the verdict until it is put off.
    pub due: Timestamp,
    /// How often sending it has failed.
    pub attempt: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use reveille_core::{AppKey, Channel, Environment, Provider};

    #[test]
    fn a_request_is_not_in_what_a_log_may_show() {
        let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Sandbox };
        let (at, request) = (Timestamp::from_millis(1), Arc::<[u8]>::from(&b"the secret token"[..]));
        let entry = JournalEntry {
            origin: "contoso.com".parse().unwrap(),
            asked: "push.lync.com".parse().unwrap(),
            id: PushId::from_u128(1),
            lane: LaneKey { app, channel: Channel::Voip },
            received: at,
            expires: at,
            fingerprint: fingerprint(&request),
            sending: false,
            request,
        };
        let open = OpenEntry {
            seq: 1,
            origin: entry.origin.clone(),
            id: entry.id,
            lane: entry.lane.clone(),
            received: at,
            expires: at,
            due: at,
            attempt: 0,
            sending: false,
            request: Arc::clone(&entry.request),
        };
        for shown in [format!("{entry:?}"), format!("{open:?}")] {
            assert!(shown.contains("request_bytes: 16"), "{shown}");
            assert!(!shown.contains("secret") && !shown.contains("115, 101, 99"), "{shown}");
        }
    }
}
