//! What is promised about verdicts on tokens.

use std::sync::Arc;

use reveille_core::delivery::PushState;
use reveille_core::{
    AppKey, Channel, Environment, IdentityId, LaneKey, Provider, PushId, Reason, SipDomain, Timestamp,
};

use super::{Backend, at, done};
use crate::journal::{
    Appended, Brake, BrakeScope, Completed, Dead, Death, FeedbackItem, Journal, JournalEntry, TokenMark, Verdicts,
    fingerprint,
};

fn domain(name: &str) -> SipDomain {
    name.parse().unwrap()
}

fn app() -> AppKey {
    AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Sandbox }
}

fn scope(origin: Option<&str>) -> BrakeScope {
    BrakeScope { app: app(), origin: origin.map(domain) }
}

fn mark(n: u8) -> TokenMark {
    TokenMark { quick: u64::MAX - u64::from(n), digest: [n; 16] }
}

fn death(n: u8, frozen: bool) -> Death {
    Death { token: mark(n), since: n.is_multiple_of(2).then_some(at(30)), sent: at(40), frozen }
}

/// Takes one push of `origin` and ends it with a verdict at `when`.
fn die(journal: &(impl Journal + Verdicts), origin: &str, death: Death, when: Timestamp) {
    die_by(u128::from(death.token.digest[0]), journal, origin, death, when);
}

/// The same with the push number `n`.
fn die_by(n: u128, journal: &(impl Journal + Verdicts), origin: &str, death: Death, when: Timestamp) {
    let entry = JournalEntry {
        origin: domain(origin),
        asked: domain("push.example.net"),
        id: PushId::from_u128(n),
        lane: LaneKey { app: app(), channel: if n.is_multiple_of(2) { Channel::Message } else { Channel::Voip } },
        received: at(20),
        expires: at(900_000),
        fingerprint: fingerprint(b"x"),
        sending: false,
        request: Arc::from(&b"x"[..]),
    };
    let appended = done(|done| journal.append(vec![entry], done));
    let Appended::New { seq } = appended[0] else { panic!("{appended:?}") };
    let feedback = FeedbackItem {
        push: PushId::from_u128(n),
        identity: IdentityId::from_u128(n),
        token_generation: 0,
        verdict: if death.frozen { "state" } else { "forget" }.into(),
        reason: "Unregistered".into(),
        provider_time: death.since,
        at: when,
    };
    let end = Completed {
        seq,
        state: PushState::NotPushed(Reason::IdentityDead),
        detail: "Unregistered".into(),
        at: when,
        feedback: Some(feedback),
        death: Some(death),
    };
    done(|done| journal.complete(vec![end], done));
}

fn brake(journal: &impl Verdicts, origin: Option<&str>, reach: u64) {
    let brake = Brake {
        scope: scope(origin),
        since: at(500),
        reach: at(reach),
        rejected: 50,
        answers: 60,
        word: "BadDeviceToken".into(),
    };
    done(|done| journal.brake(brake, done));
}

fn dead(journal: &impl Verdicts) -> Vec<TokenMark> {
    journal.dead().unwrap().iter().map(|dead| dead.token).collect()
}

/// What is owed, in order: whose push, and which verdict.
fn told(journal: &impl Journal) -> Vec<(u128, String, Timestamp)> {
    let owed = journal.feedback_open(100).unwrap().into_iter();
    owed.map(|owed| (owed.item.push.to_u128(), owed.item.verdict, owed.item.at)).collect()
}

pub(super) fn a_verdict_is_there_with_the_end_of_its_push_after_opening_again<B>(backend: &B)
where
    B: Backend<Store: Journal + Verdicts>,
{
    let journal = backend.open();
    die(&journal, "a.example", death(1, false), at(60));
    die(&journal, "a.example", death(2, false), at(50));
    die(&journal, "a.example", death(3, true), at(70));
    let journal = backend.reopen(journal);
    let expected = |n, at| Dead { token: mark(n), since: death(n, false).since, sent: death(n, false).sent, at };
    assert_eq!(journal.dead().unwrap(), [expected(2, at(50)), expected(1, at(60))], "without the frozen one");
    // The newest verdict of a token counts, and one whose push is over already is none.
    die_by(4, &journal, "a.example", death(2, false), at(80));
    let again = Completed {
        seq: 1,
        state: PushState::Accepted,
        detail: String::new(),
        at: at(90),
        feedback: None,
        death: Some(death(9, false)),
    };
    done(|done| journal.complete(vec![again], done));
    assert_eq!(dead(&journal), [mark(1), mark(2)]);
}

pub(super) fn a_brake_holds_what_came_just_before_it_and_takes_it_back_at_home<B>(backend: &B)
where
    B: Backend<Store: Journal + Verdicts>,
{
    let journal = backend.open();
    for n in 1..=4 {
        die(&journal, "a.example", death(n, false), at(100 * u64::from(n)));
    }
    let nothing = done(|done| journal.freeze(scope(None), at(600), 9, done));
    assert_eq!(nothing, [], "without a brake nothing is frozen");
    brake(&journal, None, 200);
    let journal = backend.reopen(journal);
    assert_eq!(done(|done| journal.freeze(scope(None), at(600), 2, done)), [mark(2), mark(3)]);
    assert_eq!(done(|done| journal.freeze(scope(None), at(600), 2, done)), [mark(4)]);
    assert_eq!(dead(&journal), [mark(1)]);
    let reversed = told(&journal).split_off(4);
    let expected = [2, 3, 4].map(|n| (n, "reversed".to_owned(), at(600)));
    assert_eq!(reversed, expected, "each behind its own forget");
    let braked = journal.brakes().unwrap();
    assert_eq!((braked.len(), braked[0].frozen, braked[0].brake.rejected), (1, 3, 50));
    // Once more put on, with a longer reach: it is the same brake, and holds more.
    brake(&journal, None, 100);
    assert_eq!(done(|done| journal.freeze(scope(None), at(600), 9, done)), [mark(1)]);
    assert_eq!(journal.brakes().unwrap().len(), 1);
}

pub(super) fn a_frozen_verdict_takes_effect_or_is_forgotten_as_somebody_decides<B>(backend: &B)
where
    B: Backend<Store: Journal + Verdicts>,
{
    for right in [true, false] {
        let journal = backend.open();
        let first = if right { 1 } else { 11 };
        for n in first..first + 3 {
            die(&journal, "a.example", death(n, true), at(100 + u64::from(n)));
        }
        brake(&journal, None, 50);
        let before = told(&journal).len();
        let decided = done(|done| journal.release(scope(None), right, 2, done));
        assert_eq!(
            (decided.len(), journal.brakes().unwrap()[0].frozen),
            (2, 1),
            "the brake stays until all is decided"
        );
        assert_eq!(done(|done| journal.release(scope(None), right, 2, done)).len(), 1);
        let journal = backend.reopen(journal);
        assert_eq!(journal.brakes().unwrap(), []);
        let forgets = told(&journal).split_off(before);
        if right {
            assert_eq!(dead(&journal).len(), 3);
            // As of the sending: a token that was registered since then lives.
            assert_eq!(forgets, [1, 2, 3].map(|n| (n, "forget".to_owned(), at(40))));
        } else {
            assert_eq!((dead(&journal).len(), forgets), (3, Vec::new()), "only those of the first round");
        }
        drop(backend.reopen(journal));
    }
}

pub(super) fn one_organisations_brake_leaves_the_verdicts_of_others<B>(backend: &B)
where
    B: Backend<Store: Journal + Verdicts>,
{
    let journal = backend.open();
    die(&journal, "a.example", death(1, false), at(100));
    die(&journal, "b.example", death(2, false), at(100));
    brake(&journal, Some("b.example"), 0);
    assert_eq!(done(|done| journal.freeze(scope(Some("b.example")), at(600), 9, done)), [mark(2)]);
    assert_eq!(done(|done| journal.freeze(scope(None), at(600), 9, done)), [], "that brake is not on");
    assert_eq!(dead(&journal), [mark(1)]);
    assert_eq!(done(|done| journal.release(scope(Some("c.example")), true, 9, done)), []);
    assert_eq!(done(|done| journal.release(scope(Some("b.example")), true, 9, done)).len(), 1);
    assert_eq!((dead(&journal).len(), journal.brakes().unwrap().len()), (2, 0));
}

pub(super) fn old_verdicts_are_forgotten<B>(backend: &B)
where
    B: Backend<Store: Journal + Verdicts>,
{
    let journal = backend.open();
    for n in 1..=5 {
        die(&journal, "a.example", death(n, n == 1), at(100 * u64::from(n)));
    }
    assert_eq!(done(|done| journal.verdicts_purge(at(300), 1, done)), 1);
    assert_eq!(done(|done| journal.verdicts_purge(at(300), 9, done)), 1);
    assert_eq!(dead(&journal), [mark(3), mark(4), mark(5)]);
}
