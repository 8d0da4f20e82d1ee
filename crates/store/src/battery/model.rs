//! A journal against the simplest thing that could be one: lists in memory, random orders, every answer compared.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use reveille_core::delivery::PushState;
use reveille_core::{AppKey, Channel, Environment, LaneKey, Provider, PushId, Reason, SipDomain, Timestamp};

use super::{Backend, at, done};
use crate::completion::{Pending, wait};
use crate::journal::{Appended, Completed, Journal, JournalEntry, OpenEntry, Traced, fingerprint};

pub(super) fn it_answers_as_the_simplest_journal_would<B: Backend<Store: Journal>>(backend: &B) {
    let mut dice = Dice(7);
    let (mut journal, mut model) = (backend.open(), Model::default());
    for step in 0..1500_u64 {
        let now = 10_000 + step;
        match dice.roll(12) {
            // Several calls at once, so that they share a batch.
            0..=4 => {
                let mut calls = (0..1 + dice.roll(4)).map(|_| entries(&mut dice, now)).collect::<Vec<_>>();
                // What is nothing but calls goes before the others, if they still wait.
                calls.sort_by_key(|call| !call.iter().all(|entry| entry.lane.channel == Channel::Voip));
                let pending = calls.iter().map(|call| wait(|done| journal.append(call.clone(), done)));
                let answers = pending.collect::<Vec<_>>().into_iter().map(|pending| pending.block().unwrap());
                for (call, answers) in calls.iter().zip(answers.collect::<Vec<_>>()) {
                    for (entry, answer) in call.iter().zip(answers) {
                        assert_eq!(model.append(entry, answer), answer, "step {step}: {entry:?}");
                    }
                }
            }
            5..=6 => {
                let ended = (0..dice.roll(90)).map(|_| model.some_end(&mut dice, now)).collect::<Vec<_>>();
                let halves = ended.split_at(ended.len() / 2);
                let pending: [Pending<()>; 2] =
                    [halves.0, halves.1].map(|half| wait(|done| journal.complete(half.to_vec(), done)));
                pending.into_iter().for_each(|pending| pending.block().unwrap());
                ended.iter().for_each(|end| model.complete(end));
            }
            7 => {
                let seqs = (0..dice.roll(5)).map(|_| model.some_seq(&mut dice)).collect::<Vec<_>>();
                done(|done| journal.mark_sending(seqs.clone(), at(now), done));
                seqs.iter().for_each(|&seq| model.open(seq, |push| push.sending = Some(at(now))));
            }
            8 => {
                let (seq, attempt) = (model.some_seq(&mut dice), dice.roll(5) as u32);
                done(|done| journal.reschedule(seq, at(now + 500), attempt, done));
                model.open(seq, |push| (push.due, push.attempt, push.sending) = (at(now + 500), attempt, None));
            }
            9 => {
                let (before, limit) = (at(now - 200), 1 + dice.roll(40) as usize);
                assert_eq!(done(|done| journal.purge(before, limit, done)), model.purge(before, limit), "step {step}");
            }
            10 if step % 5 == 0 => journal = backend.reopen(journal),
            _ => {
                let (after, limit) = (model.some_seq(&mut dice), dice.roll(100) as usize);
                model.compare_open(&journal, after, limit, step);
            }
        }
        for _ in 0..3 {
            let (origin, id) = key(&mut dice);
            let expected = model.trace(&origin, id);
            assert_eq!(journal.trace(&origin, id).unwrap(), expected, "step {step}: {id} of {origin}");
        }
    }
    model.compare_open(&journal, 0, usize::MAX, 1500);
    assert!(model.ended > 1000 && model.purged > 300 && model.duplicates > 300, "the orders were too tame");
}

#[derive(Default)]
struct Model {
    /// By number; what is purged is gone.
    pushes: BTreeMap<u64, Push>,
    numbers: BTreeMap<(SipDomain, PushId), u64>,
    recent: VecDeque<u64>,
    last: u64,
    ended: usize,
    purged: usize,
    duplicates: usize,
}

struct Push {
    entry: JournalEntry,
    due: Timestamp,
    attempt: u32,
    sending: Option<Timestamp>,
    end: Option<(PushState, String, Timestamp)>,
}

impl Push {
    fn state(&self) -> PushState {
        match (&self.end, self.sending) {
            (Some((state, ..)), _) => *state,
            (None, Some(_)) => PushState::Sending,
            (None, None) => PushState::Journaled,
        }
    }
}

impl Model {
    /// What the answer should be; the number of a new push is the journal's to choose, as long as it grows.
    fn append(&mut self, entry: &JournalEntry, answer: Appended) -> Appended {
        if let Some(push) = self.numbers.get(&(entry.origin.clone(), entry.id)).map(|seq| &self.pushes[seq]) {
            self.duplicates += 1;
            let same_request = push.entry.fingerprint == entry.fingerprint;
            return Appended::Duplicate { state: push.state(), same_request };
        }
        let seq = match answer {
            Appended::New { seq } if seq > self.last => seq,
            Appended::New { .. } | Appended::Duplicate { .. } => self.last + 1,
        };
        self.last = seq;
        self.numbers.insert((entry.origin.clone(), entry.id), seq);
        let sending = entry.sending.then_some(entry.received);
        let push = Push { entry: entry.clone(), due: entry.received, attempt: 0, sending, end: None };
        self.pushes.insert(seq, push);
        self.recent.push_back(seq);
        if self.recent.len() > 300 {
            self.recent.pop_front();
        }
        Appended::New { seq }
    }

    fn open(&mut self, seq: u64, change: impl FnOnce(&mut Push)) {
        if let Some(push) = self.pushes.get_mut(&seq).filter(|push| push.end.is_none()) {
            change(push);
        }
    }

    fn complete(&mut self, end: &Completed) {
        let mut ended = 0;
        self.open(end.seq, |push| {
            push.end = Some((end.state, end.detail.clone(), end.at));
            ended = 1;
        });
        self.ended += ended;
    }

    fn purge(&mut self, before: Timestamp, limit: usize) -> usize {
        let old = |(_, push): &(&u64, &Push)| push.end.is_some() && push.entry.received < before;
        let gone = self.pushes.iter().filter(old).map(|(&seq, _)| seq).take(limit).collect::<Vec<_>>();
        for seq in &gone {
            let push = self.pushes.remove(seq).unwrap();
            self.numbers.remove(&(push.entry.origin, push.entry.id));
        }
        self.purged += gone.len();
        gone.len()
    }

    fn trace(&self, origin: &SipDomain, id: PushId) -> Option<Traced> {
        let &seq = self.numbers.get(&(origin.clone(), id))?;
        let push = &self.pushes[&seq];
        let (detail, when) = match &push.end {
            Some((_, detail, when)) => (detail.clone(), *when),
            None => (String::new(), push.sending.unwrap_or(push.entry.received)),
        };
        let attempt = if push.end.is_some() { 0 } else { push.attempt };
        Some(Traced { seq, received: push.entry.received, state: push.state(), detail, at: when, attempt, news: None })
    }

    fn compare_open(&self, journal: &impl Journal, after: u64, limit: usize, step: u64) {
        let open = journal.open(after, limit).unwrap();
        let expected = self.pushes.range(after + 1..).filter(|(_, push)| push.end.is_none()).take(limit);
        let told = open.iter().map(|entry| {
            let OpenEntry { seq, due, attempt, sending, request, .. } = entry;
            (*seq, &entry.origin, entry.id, &entry.lane, *due, *attempt, *sending, request)
        });
        let expected = expected.map(|(seq, push)| {
            let Push { entry, due, attempt, sending, .. } = push;
            (*seq, &entry.origin, entry.id, &entry.lane, *due, *attempt, sending.is_some(), &entry.request)
        });
        assert!(told.eq(expected), "step {step}: after {after}, {limit} at most");
        self.compare_flows(journal, after, limit, step);
    }

    /// What is found flow by flow is what is found in one row.
    fn compare_flows(&self, journal: &impl Journal, after: u64, blocks: usize, step: u64) {
        let (to, blocks) = (self.last, blocks.clamp(1, 4));
        let (mut seen, mut found) = (after, Vec::new());
        while seen < to {
            let (stretches, up_to) = journal.waiting(seen, to, blocks).unwrap();
            assert!(up_to > seen && up_to <= to, "step {step}: {up_to} after {seen}, of {to}");
            for open in stretches {
                let expires = open.stretch.numbers().map(|seq| self.pushes[&seq].entry.expires).min();
                assert_eq!(Some(open.stretch.soonest), expires, "step {step}");
                for entry in journal.read(&[open.stretch]).unwrap() {
                    assert_eq!((&entry.origin, &entry.lane), (&open.origin, &open.lane), "step {step}");
                    found.push(entry);
                }
            }
            seen = up_to;
        }
        found.sort_unstable_by_key(|entry| entry.seq);
        assert_eq!(found, journal.open(after, usize::MAX).unwrap(), "step {step}: after {after}");
    }

    /// A number that is often that of a push which is still there, and sometimes nobody's.
    fn some_seq(&self, dice: &mut Dice) -> u64 {
        if self.recent.is_empty() || dice.roll(10) == 0 {
            return dice.roll(self.last + 70);
        }
        self.recent[dice.roll(self.recent.len() as u64) as usize]
    }

    fn some_end(&self, dice: &mut Dice, now: u64) -> Completed {
        let (state, detail) = match dice.roll(4) {
            0 => (PushState::NotPushed(Reason::IdentityDead), "Unregistered"),
            1 => (PushState::Accepted, "apns-id"),
            _ => (PushState::Accepted, ""),
        };
        Completed { seq: self.some_seq(dice), state, detail: detail.into(), at: at(now), feedback: None, death: None }
    }
}

fn key(dice: &mut Dice) -> (SipDomain, PushId) {
    let origin = if dice.roll(3) == 0 { "a.example" } else { "b.example" };
    (origin.parse().unwrap(), PushId::from_u128(u128::from(dice.roll(3000)) << 70))
}

fn entries(dice: &mut Dice, now: u64) -> Vec<JournalEntry> {
    let count = if dice.roll(6) == 0 { dice.roll(150) } else { 1 + dice.roll(4) };
    (0..count).map(|_| entry(dice, now)).collect()
}

fn entry(dice: &mut Dice, now: u64) -> JournalEntry {
    let (origin, id) = key(dice);
    let app = AppKey { provider: Provider::WebPush, app: "web".into(), environment: Environment::Production };
    let channel = if dice.roll(2) == 0 { Channel::Message } else { Channel::Voip };
    let size = if dice.roll(50) == 0 { 40_000 } else { dice.roll(30) };
    let request: Arc<[u8]> = vec![dice.roll(256) as u8; size as usize].into();
    JournalEntry {
        origin,
        asked: if dice.roll(3) == 0 { "push.lync.com" } else { "push.example.net" }.parse().unwrap(),
        id,
        lane: LaneKey { app, channel },
        received: at(now),
        expires: at(now + 1000),
        fingerprint: fingerprint(&request[..request.len().min(1)]),
        sending: channel == Channel::Voip && dice.roll(4) == 0,
        request,
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    const fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % if sides == 0 { 1 } else { sides }
    }
}
