//! What a journal promises.

use std::sync::Arc;

use reveille_core::delivery::{PushState, Step};
use reveille_core::{
    AppKey, Channel, Environment, IdentityId, LaneKey, Provider, PushId, Reason, SipDomain, Timestamp,
};

use super::{Backend, at, done};
use crate::journal::{Appended, Completed, FeedbackEnd, FeedbackItem, Journal, JournalEntry, OpenEntry, fingerprint};

fn domain(name: &str) -> SipDomain {
    name.parse().unwrap()
}

fn push(n: u128) -> PushId {
    PushId::from_u128(n)
}

fn lane(channel: Channel) -> LaneKey {
    let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Sandbox };
    LaneKey { app, channel }
}

fn entry(origin: &str, n: u128) -> JournalEntry {
    let request: Arc<[u8]> = format!("request {n} of {origin}").into_bytes().into();
    JournalEntry {
        origin: domain(origin),
        asked: domain("push.example.net"),
        id: push(n),
        lane: lane(if n.is_multiple_of(2) { Channel::Message } else { Channel::Voip }),
        received: at(1000 + n as u64),
        expires: at(900_000),
        fingerprint: fingerprint(&request),
        sending: false,
        request,
    }
}

fn append(journal: &impl Journal, entries: Vec<JournalEntry>) -> Vec<Appended> {
    done(|done| journal.append(entries, done))
}

fn seq_of(appended: &Appended) -> u64 {
    match appended {
        Appended::New { seq } => *seq,
        Appended::Duplicate { .. } => panic!("{appended:?} where a new one was expected"),
    }
}

/// Appends the entries, all of them new, and answers their numbers.
fn taken(journal: &impl Journal, entries: Vec<JournalEntry>) -> Vec<u64> {
    append(journal, entries).iter().map(seq_of).collect()
}

fn ended(seq: u64, state: PushState, when: Timestamp) -> Completed {
    Completed { seq, state, detail: String::new(), at: when, feedback: None, death: None }
}

fn feedback(n: u128, verdict: &str) -> FeedbackItem {
    FeedbackItem {
        push: push(n),
        identity: IdentityId::from_u128(n + 500),
        token_generation: 3,
        verdict: verdict.into(),
        reason: "Unregistered".into(),
        provider_time: (n % 2 == 1).then_some(at(77)),
        at: at(2000 + n as u64),
    }
}

fn seqs(entries: &[OpenEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

pub(super) fn of_two_equal_entries_exactly_one_is_new<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let twice = append(&journal, vec![entry("a.example", 1), entry("a.example", 1)]);
    seq_of(&twice[0]);
    let again = Appended::Duplicate { state: PushState::Journaled, same_request: true };
    assert_eq!(twice[1], again);
    assert_eq!(append(&journal, vec![entry("a.example", 1)]), [again]);
    assert_eq!(journal.open(0, 10).unwrap().len(), 1);
}

pub(super) fn another_request_under_the_same_id_is_told_apart<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    taken(&journal, vec![entry("a.example", 1)]);
    let other = JournalEntry { fingerprint: 4711, ..entry("a.example", 1) };
    let answer = append(&journal, vec![other]);
    assert_eq!(answer, [Appended::Duplicate { state: PushState::Journaled, same_request: false }]);
}

pub(super) fn the_same_id_of_another_origin_is_another_push<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let numbers = taken(&journal, vec![entry("a.example", 1), entry("b.example", 1)]);
    done(|done| journal.complete(vec![ended(numbers[0], PushState::Accepted, at(5000))], done));
    let state = |origin| journal.trace(&domain(origin), push(1)).unwrap().unwrap().state;
    assert_eq!((state("a.example"), state("b.example")), (PushState::Accepted, PushState::Journaled));
    assert!(journal.trace(&domain("c.example"), push(1)).unwrap().is_none());
}

pub(super) fn open_pushes_are_read_in_order_and_page_by_page<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let given = (0..200).map(|n| entry(if n % 3 == 0 { "a.example" } else { "b.example" }, n)).collect::<Vec<_>>();
    let mut numbers = Vec::new();
    for part in given.chunks(70) {
        numbers.extend(taken(&journal, part.to_vec()));
    }
    let (mut read, mut after) = (Vec::new(), 0);
    loop {
        let page = journal.open(after, 33).unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 33);
        after = last.seq;
        read.extend(page);
    }
    assert!(read.is_sorted_by_key(|entry| entry.seq));
    assert_eq!(read.len(), given.len());
    for (number, given) in numbers.iter().zip(&given) {
        let found = read.iter().find(|entry| entry.seq == *number).unwrap();
        let expected = OpenEntry {
            seq: *number,
            origin: given.origin.clone(),
            id: given.id,
            lane: given.lane.clone(),
            received: given.received,
            expires: given.expires,
            due: given.received,
            attempt: 0,
            sending: false,
            request: Arc::clone(&given.request),
        };
        assert_eq!(*found, expected);
        assert_eq!(found.request, expected.request);
    }
}

pub(super) fn a_lane_is_read_in_the_order_in_which_it_was_accepted<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    for first in (0..900_u128).step_by(100) {
        taken(&journal, (first..first + 100).map(|n| entry("a.example", n)).collect());
    }
    for channel in [Channel::Message, Channel::Voip] {
        let open = journal.open(0, 1000).unwrap();
        let ids = open.iter().filter(|entry| entry.lane.channel == channel).map(|entry| entry.id);
        assert!(ids.clone().is_sorted());
        assert_eq!(ids.count(), 450);
    }
}

pub(super) fn the_newest_pushes_and_all_of_one_id_can_be_looked_up<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    taken(&journal, (1..=70).map(|n| entry("a.example", n)).collect());
    let numbers = taken(&journal, vec![entry("b.example", 1), entry("a.example", 71), entry("b.example", 2)]);
    let dead = PushState::NotPushed(Reason::IdentityDead);
    done(|done| journal.complete(vec![ended(numbers[2], dead, at(5000))], done));
    let journal = backend.reopen(journal);
    let latest = |origin: Option<&str>, limit| {
        let origin = origin.map(domain);
        let found = journal.latest(origin.as_ref(), limit).unwrap().into_iter();
        found.map(|push| (push.origin.to_string(), push.id.to_u128(), push.traced.state)).collect::<Vec<_>>()
    };
    let (a, b) = ("a.example".to_owned(), "b.example".to_owned());
    let waits = PushState::Journaled;
    assert_eq!(latest(None, 4), [(b.clone(), 2, dead), (a.clone(), 71, waits), (b.clone(), 1, waits), (a, 70, waits)]);
    assert_eq!(latest(Some("b.example"), 9), [(b.clone(), 2, dead), (b, 1, waits)]);
    assert_eq!((latest(Some("a.example"), 100).len(), latest(Some("c.example"), 9).len()), (71, 0));
    let origins = |id, origin: Option<&str>| {
        let found = journal.traces(push(id), origin.map(domain).as_ref()).unwrap().into_iter();
        found.map(|push| (push.origin.to_string(), push.lane == entry("a.example", 1).lane)).collect::<Vec<_>>()
    };
    let of = |name: &str| (name.to_owned(), true);
    assert_eq!(origins(1, None), [of("a.example"), of("b.example")]);
    assert_eq!(origins(1, Some("b.example")), [of("b.example")]);
    assert_eq!(origins(99, None), []);
}

pub(super) fn a_push_that_was_being_sent_reads_back_as_sending<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let numbers = taken(&journal, vec![entry("a.example", 1), entry("a.example", 3)]);
    done(|done| journal.mark_sending(vec![numbers[1]], at(4000), done));
    let journal = backend.reopen(journal);
    let open = journal.open(0, 10).unwrap();
    assert_eq!(
        open.iter().map(|entry| (entry.seq, entry.sending)).collect::<Vec<_>>(),
        [(numbers[0], false), (numbers[1], true)]
    );
    let traced = journal.trace(&domain("a.example"), push(3)).unwrap().unwrap();
    assert_eq!((traced.state, traced.at), (PushState::Sending, at(4000)));
    let again = append(&journal, vec![entry("a.example", 3)]);
    assert_eq!(again, [Appended::Duplicate { state: PushState::Sending, same_request: true }]);
}

pub(super) fn a_push_that_is_kept_as_being_sent_reads_back_so_and_can_be_put_back<B: Backend<Store: Journal>>(
    backend: &B,
) {
    let journal = backend.open();
    let sent = |n| JournalEntry { sending: true, ..entry("a.example", n) };
    // In one batch with itself, and with one that is not sent yet.
    let twice = append(&journal, vec![sent(1), entry("a.example", 3), sent(1)]);
    let numbers = [seq_of(&twice[0]), seq_of(&twice[1]), seq_of(&append(&journal, vec![sent(5)])[0])];
    assert_eq!(twice[2], Appended::Duplicate { state: PushState::Sending, same_request: true });
    done(|done| journal.reschedule(numbers[2], at(8000), 1, done));
    let journal = backend.reopen(journal);
    let open = journal.open(0, 10).unwrap();
    let told = open.iter().map(|entry| (entry.seq, entry.sending, entry.attempt)).collect::<Vec<_>>();
    assert_eq!(told, [(numbers[0], true, 0), (numbers[1], false, 0), (numbers[2], false, 1)]);
    let traced = journal.trace(&domain("a.example"), push(1)).unwrap().unwrap();
    assert_eq!((traced.state, traced.at), (PushState::Sending, at(1001)));
    done(|done| journal.complete(vec![ended(numbers[0], PushState::Accepted, at(9000))], done));
    assert_eq!(seqs(&journal.open(0, 10).unwrap()), numbers[1..]);
}

pub(super) fn a_rescheduled_push_waits_with_its_new_time_and_attempt<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let numbers = taken(&journal, vec![entry("a.example", 1), entry("a.example", 2), entry("a.example", 3)]);
    done(|done| journal.mark_sending(vec![numbers[1]], at(4000), done));
    done(|done| journal.reschedule(numbers[1], at(8000), 1, done));
    done(|done| journal.reschedule(numbers[1], at(9000), 2, done));
    let journal = backend.reopen(journal);
    let open = journal.open(0, 10).unwrap();
    let found = open.iter().find(|entry| entry.seq == numbers[1]).unwrap();
    assert_eq!((found.due, found.attempt, found.sending), (at(9000), 2, false));
    assert_eq!(found.request, entry("a.example", 2).request);
    assert_eq!((open.len(), seqs(&open).is_sorted()), (3, true));
    let traced = journal.trace(&domain("a.example"), push(2)).unwrap().unwrap();
    assert_eq!((traced.state, traced.attempt), (PushState::Journaled, 2));
    done(|done| journal.mark_sending(vec![numbers[1]], at(9001), done));
    assert!(journal.open(0, 10).unwrap().iter().any(|entry| entry.seq == numbers[1] && entry.sending));
    done(|done| journal.complete(vec![ended(numbers[1], PushState::Accepted, at(9002))], done));
    assert_eq!(journal.open(0, 10).unwrap().len(), 2);
    // One that has ended does not come back.
    done(|done| journal.reschedule(numbers[1], at(9999), 3, done));
    done(|done| journal.mark_sending(vec![numbers[1]], at(9999), done));
    assert_eq!(journal.open(0, 10).unwrap().len(), 2);
    assert_eq!(journal.trace(&domain("a.example"), push(2)).unwrap().unwrap().state, PushState::Accepted);
}

pub(super) fn an_ended_push_is_gone_from_the_open_ones_and_stays_in_the_trace<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let numbers = taken(&journal, (1..=100).map(|n| entry("a.example", n)).collect());
    let outcomes = [PushState::Accepted, PushState::NotPushed(Reason::IdentityDead)];
    let completed = numbers.iter().enumerate().filter(|(n, _)| n % 5 != 0).map(|(n, &seq)| Completed {
        detail: if n % 2 == 1 { format!("Unregistered {n}") } else { String::new() },
        ..ended(seq, outcomes[n % 2], at(5000 + n as u64))
    });
    done(|done| journal.complete(completed.collect(), done));
    let journal = backend.reopen(journal);
    assert_eq!(journal.open(0, 1000).unwrap().len(), 20);
    for (n, &seq) in numbers.iter().enumerate() {
        let id = push(n as u128 + 1);
        let traced = journal.trace(&domain("a.example"), id).unwrap().unwrap();
        assert_eq!((traced.seq, traced.received), (seq, at(1001 + n as u64)));
        if n % 5 == 0 {
            assert_eq!((traced.state, traced.at), (PushState::Journaled, traced.received));
            continue;
        }
        assert_eq!((traced.state, traced.at), (outcomes[n % 2], at(5000 + n as u64)));
        assert_eq!(traced.detail, if n % 2 == 1 { format!("Unregistered {n}") } else { String::new() });
        let again = append(&journal, vec![entry("a.example", n as u128 + 1)]);
        assert_eq!(again, [Appended::Duplicate { state: outcomes[n % 2], same_request: true }]);
    }
}

pub(super) fn ending_twice_owes_feedback_once_and_keeps_the_first_outcome<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let numbers = taken(&journal, vec![entry("a.example", 1), entry("a.example", 2)]);
    let dead = Completed {
        feedback: Some(feedback(1, "forget")),
        ..ended(numbers[0], PushState::NotPushed(Reason::IdentityDead), at(5000))
    };
    done(|done| journal.complete(vec![dead.clone(), dead.clone()], done));
    let other = Completed { state: PushState::Accepted, at: at(6000), ..dead.clone() };
    done(|done| journal.complete(vec![other, ended(999_999, PushState::Accepted, at(1))], done));
    let journal = backend.reopen(journal);
    done(|done| journal.complete(vec![dead], done));
    assert_eq!(journal.feedback_open(10).unwrap().len(), 1);
    let traced = journal.trace(&domain("a.example"), push(1)).unwrap().unwrap();
    assert_eq!((traced.state, traced.at), (PushState::NotPushed(Reason::IdentityDead), at(5000)));
    assert_eq!(seqs(&journal.open(0, 10).unwrap()), [numbers[1]]);
}

pub(super) fn everything_survives_being_opened_again<B: Backend<Store: Journal>>(backend: &B) {
    let mut journal = backend.open();
    let mut last = 0;
    for round in 0..5_u128 {
        let numbers = taken(&journal, (0..10).map(|n| entry("a.example", round * 10 + n)).collect());
        assert!(numbers.iter().all(|&number| number > last), "numbers grow over restarts");
        last = *numbers.iter().max().unwrap();
        done(|done| journal.complete(vec![ended(numbers[0], PushState::Accepted, at(5000))], done));
        journal = backend.reopen(journal);
        assert_eq!(journal.open(0, 1000).unwrap().len(), (round as usize + 1) * 9);
    }
}

pub(super) fn what_is_purged_is_new_again_and_what_is_open_stays<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let mut numbers = Vec::new();
    for first in [1, 11, 21] {
        numbers.extend(taken(&journal, (first..first + 10).map(|n| entry("a.example", n)).collect()));
    }
    let all_but_one = numbers.iter().filter(|&&seq| seq != numbers[4]);
    let completed =
        all_but_one.map(|&seq| Completed { detail: "x".into(), ..ended(seq, PushState::Accepted, at(5000)) });
    done(|done| journal.complete(completed.collect(), done));
    // Received at 1001..=1030; those before 1021 may go, as far as they have ended.
    let mut gone = 0;
    for _ in 0..10 {
        gone += done(|done| journal.purge(at(1021), 8, done));
    }
    assert_eq!(gone, 19);
    assert_eq!(seqs(&journal.open(0, 10).unwrap()), [numbers[4]]);
    let journal = backend.reopen(journal);
    let trace = |n| journal.trace(&domain("a.example"), push(n)).unwrap().map(|traced| traced.state);
    assert_eq!((trace(1), trace(20)), (None, None));
    assert_eq!((trace(5), trace(21)), (Some(PushState::Journaled), Some(PushState::Accepted)));
    assert!(seq_of(&append(&journal, vec![entry("a.example", 1)])[0]) > numbers[29]);
    assert!(matches!(append(&journal, vec![entry("a.example", 5)])[0], Appended::Duplicate { .. }));
}

pub(super) fn feedback_of_one_origin_never_hides_that_of_another<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let numbers = taken(&journal, (0..40).map(|n| entry("loud.example", n)).chain([entry("b.example", 99)]).collect());
    let completed = numbers.iter().zip((0..40).chain([99])).map(|(&seq, n)| Completed {
        feedback: Some(feedback(n, "forget")),
        ..ended(seq, PushState::NotPushed(Reason::IdentityDead), at(5000))
    });
    done(|done| journal.complete(completed.collect(), done));
    let journal = backend.reopen(journal);
    let owed = journal.feedback_open(3).unwrap();
    let of = |origin: &str| -> Vec<FeedbackItem> {
        owed.iter().filter(|owed| owed.origin == domain(origin)).map(|owed| owed.item.clone()).collect()
    };
    assert_eq!(of("loud.example"), [feedback(0, "forget"), feedback(1, "forget"), feedback(2, "forget")]);
    assert_eq!(of("b.example"), [feedback(99, "forget")]);
    assert_eq!(owed.len(), 4);
}

pub(super) fn feedback_that_was_taken_is_gone_and_the_rest_keeps_its_order<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let items = (0..5).map(|n| feedback(n, "reversed")).collect();
    done(|done| journal.owe_feedback(domain("a.example"), domain("push.example.net"), items, done));
    let owed = journal.feedback_open(10).unwrap();
    assert!(owed.iter().all(|owed| owed.attempt == 0 && owed.due == owed.item.at));
    done(|done| journal.feedback_done(vec![owed[0].id, owed[3].id], FeedbackEnd::Delivered(at(8000)), done));
    done(|done| journal.feedback_retry(vec![owed[1].id], at(9000), 2, done));
    let journal = backend.reopen(journal);
    done(|done| {
        journal.owe_feedback(domain("a.example"), domain("push.example.net"), vec![feedback(5, "reversed")], done)
    });
    let left = journal.feedback_open(10).unwrap();
    let ids = left.iter().map(|owed| owed.item.push).collect::<Vec<_>>();
    assert_eq!(ids, [push(1), push(2), push(4), push(5)]);
    assert_eq!((left[0].due, left[0].attempt), (at(9000), 2));
    assert_eq!((left[1].due, left[1].attempt), (at(2002), 0));
}

pub(super) fn the_trace_keeps_when_home_came_to_be_owed_news_and_how_that_ended<B: Backend<Store: Journal>>(
    backend: &B,
) {
    let journal = backend.open();
    let seqs = taken(&journal, (0..4).map(|n| entry("a.example", n)).collect());
    let dead = PushState::NotPushed(Reason::IdentityDead);
    let end =
        |(n, seq): (u128, &u64)| Completed { feedback: Some(feedback(n, "state")), ..ended(*seq, dead, at(5000)) };
    done(|done| journal.complete((0..).zip(&seqs[..3]).map(end).collect(), done));
    done(|done| journal.complete(vec![ended(seqs[3], PushState::Accepted, at(5000))], done));
    let owed = journal.feedback_open(10).unwrap();
    done(|done| journal.feedback_done(vec![owed[0].id], FeedbackEnd::Delivered(at(6000)), done));
    done(|done| journal.feedback_done(vec![owed[1].id], FeedbackEnd::GivenUp(at(7000)), done));
    let journal = backend.reopen(journal);
    let steps = |n| journal.trace(&domain("a.example"), push(n)).unwrap().unwrap().steps();
    let begun = |n: u64| vec![(Step::Journaled, at(1000 + n)), (Step::NotPushed, at(5000))];
    let news = |n: u64, rest: &[(Step, Timestamp)]| {
        [begun(n), vec![(Step::FeedbackOwed, at(2000 + n))], rest.to_vec()].concat()
    };
    assert_eq!(steps(0), news(0, &[(Step::FeedbackDelivered, at(6000))]));
    assert_eq!(steps(1), news(1, &[(Step::FeedbackGivenUp, at(7000))]));
    assert_eq!(steps(2), news(2, &[]));
    assert_eq!(steps(3), [(Step::Journaled, at(1003)), (Step::Accepted, at(5000))]);
    // What is taken back is owed again, and another organisation's push of that id has nothing to do with it.
    let again = FeedbackItem { at: at(9000), ..feedback(0, "reversed") };
    done(|done| journal.owe_feedback(domain("a.example"), domain("push.example.net"), vec![again.clone()], done));
    done(|done| journal.owe_feedback(domain("b.example"), domain("push.example.net"), vec![again], done));
    let others: Vec<_> =
        journal.feedback_open(10).unwrap().into_iter().filter(|it| it.origin == domain("b.example")).collect();
    done(|done| journal.feedback_done(vec![others[0].id], FeedbackEnd::Delivered(at(9500)), done));
    assert_eq!(steps(0), [begun(0), vec![(Step::FeedbackOwed, at(9000))]].concat());
}

pub(super) fn feedback_is_owed_in_the_name_that_was_asked<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let other = JournalEntry { asked: domain("push.lync.com"), ..entry("a.example", 3) };
    let seqs = taken(&journal, vec![entry("a.example", 1), other]);
    let dead = PushState::NotPushed(Reason::IdentityDead);
    let journal = backend.reopen(journal);
    let end = |(n, seq): (u128, &u64)| Completed { feedback: Some(feedback(n, "forget")), ..ended(*seq, dead, at(9)) };
    let ends = (1..).zip(&seqs).map(end).collect();
    done(|done| journal.complete(ends, done));
    done(|done| {
        journal.owe_feedback(domain("a.example"), domain("push.lync.com"), vec![feedback(9, "reversed")], done)
    });
    let owed = journal.feedback_open(10).unwrap();
    let asked: Vec<_> = owed.iter().map(|owed| owed.asked.as_ref().map(SipDomain::as_str)).collect();
    assert_eq!(asked, [Some("push.example.net"), Some("push.lync.com"), Some("push.lync.com")]);
    // The same lane all the same, and the same key: whoever repeats a request to the other name is a duplicate.
    let repeated = JournalEntry { asked: domain("push.lync.com"), ..entry("a.example", 1) };
    assert!(matches!(append(&journal, vec![repeated])[0], Appended::Duplicate { same_request: true, .. }));
}

pub(super) fn old_feedback_is_given_up<B: Backend<Store: Journal>>(backend: &B) {
    let journal = backend.open();
    let items = (0..5).map(|n| feedback(n, "state")).collect();
    done(|done| journal.owe_feedback(domain("a.example"), domain("push.example.net"), items, done));
    assert_eq!(done(|done| journal.feedback_purge(at(2003), 2, done)), 2);
    assert_eq!(done(|done| journal.feedback_purge(at(2003), 2, done)), 1);
    assert_eq!(journal.feedback_open(10).unwrap().len(), 2);
}

/// What was received since is counted for each organisation, newest first and by parts.
pub(super) fn what_was_received_since_is_counted_for_each_organisation(backend: &impl Backend<Store: Journal>) {
    let journal = backend.open();
    for first in [0, 50, 100] {
        taken(&journal, (first..first + 50).map(|n| entry("contoso.com", n)).collect());
        taken(&journal, (first..first + 10).map(|n| entry("fabrikam.com", n)).collect());
    }
    let journal = backend.reopen(journal);
    let later = taken(&journal, vec![entry("contoso.com", 999)]);
    let count = |since: u64, blocks: usize| {
        let (mut all, mut before) = (std::collections::BTreeMap::<String, u64>::new(), Some(journal.first_new()));
        while let Some(number) = before {
            let (counts, next) = journal.received_since(at(since), number, blocks).unwrap();
            counts.into_iter().for_each(|(origin, count)| *all.entry(origin.to_string()).or_default() += count);
            assert!(next.is_none_or(|next| next < number), "it goes on");
            before = next;
        }
        all
    };
    let both = |contoso, fabrikam| [("contoso.com".to_owned(), contoso), ("fabrikam.com".to_owned(), fabrikam)].into();
    for blocks in [1, 2, 1000] {
        assert_eq!(count(0, blocks), both(150, 30), "by {blocks}");
        // Number n was received at 1000 + n: of contoso.com 120 and later, of fabrikam.com 100 and later.
        assert_eq!(count(1120, blocks).get("contoso.com"), Some(&30));
        assert_eq!(count(1105, blocks), both(45, 5));
    }
    assert!(journal.first_new() <= seq_in(&later), "what this life has taken is not counted");
}

fn seq_in(numbers: &[u64]) -> u64 {
    numbers[0]
}
