//! Promise 1 of DESIGN.md §1, by force: a process that writes is killed at any instant, over and over on the same files,
//! and whatever it was told to be kept is there when they are opened again.
//!
//! The child is this test binary, which says each acknowledgement on its standard output; the parent kills it after a
//! number of lines that it draws from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use reveille_core::delivery::PushState;
use reveille_core::{
    Aor, AppKey, Channel, Environment, Event, IdentityId, LaneKey, MessageId, Provider, PushId, Reason, SipDomain,
    Timestamp,
};
use reveille_powercut::Disk;
use reveille_store::{
    Appended, Completed, FeedbackItem, HomeChange, HomeStore, Journal, JournalEntry, OwedPush, SqliteHome,
    SqliteJournal, StoredMessage, fingerprint, wait,
};

const ROUNDS: u64 = 20;

#[test]
fn a_killed_clearing_house_has_lost_nothing_that_it_acknowledged() {
    let folder = Folder::new("journal");
    let file = folder.0.join("clearinghouse.db");
    let mut told = Told::default();
    for round in 0..ROUNDS {
        let lines = 1 + dice(round, 400);
        run_and_kill("the_clearing_house_that_is_killed", &file, None, told.next_job, lines, |line| told.take(line));
        let journal = SqliteJournal::open(&file).unwrap();
        told.check(&journal, round);
        journal.close();
    }
    assert!(told.kept.len() > 1000, "the test has seen {} pushes only", told.kept.len());
}

#[test]
fn a_clearing_house_whose_power_was_cut_has_lost_nothing_that_it_acknowledged() {
    let folder = Folder::new("power");
    let disk = Disk::new(&folder.0.join("disk"), &folder.0.join("aside")).unwrap();
    let file = disk.folder().join("clearinghouse.db");
    let (mut told, mut lost) = (Told::default(), 0);
    for round in 0..ROUNDS {
        let lines = 1 + dice(round + 2000, 400);
        let child = "the_clearing_house_that_is_killed";
        run_and_kill(child, &file, Some(&disk), told.next_job, lines, |line| told.take(line));
        lost += disk.cut(&mut StdRng::seed_from_u64(round)).unwrap().unsafe_writes;
        let journal = SqliteJournal::open(&file).unwrap();
        told.check(&journal, round);
        journal.close();
    }
    assert!(told.kept.len() > 1000, "the test has seen {} pushes only", told.kept.len());
    assert!(lost > 0, "no power cut has met anything that was not safe");
}

#[test]
fn a_killed_home_has_each_message_with_its_push_or_neither() {
    let folder = Folder::new("home");
    each_message_with_its_push_or_neither(&folder.0.join("home.db"), None, 1000);
}

#[test]
fn a_home_whose_power_was_cut_has_each_message_with_its_push_or_neither() {
    let folder = Folder::new("home-power");
    let disk = Disk::new(&folder.0.join("disk"), &folder.0.join("aside")).unwrap();
    let lost = each_message_with_its_push_or_neither(&disk.folder().join("home.db"), Some(&disk), 3000);
    assert!(lost > 0, "no power cut has met anything that was not safe");
}

/// Kills a home over and over; on a disk of the test's own its power fails each time. How many writes were not safe.
fn each_message_with_its_push_or_neither(file: &Path, disk: Option<&Disk>, seed: u64) -> usize {
    let (mut acknowledged, mut next, mut lost) = (BTreeSet::new(), 0, 0);
    for round in 0..ROUNDS {
        let lines = 1 + dice(round + seed, 400);
        run_and_kill("the_home_that_is_killed", file, disk, next, lines, |line| {
            acknowledged.insert(line.strip_prefix("kept ").unwrap().parse::<u64>().unwrap());
        });
        lost += disk.map_or(0, |disk| disk.cut(&mut StdRng::seed_from_u64(round)).unwrap().unsafe_writes);
        let home = SqliteHome::open(file).unwrap();
        let messages = home.undelivered(&bob(), at(1), usize::MAX).unwrap();
        let pushes = home.open_pushes(usize::MAX, None).unwrap();
        let messages = messages.iter().map(|message| message.id.to_u128() as u64).collect::<BTreeSet<_>>();
        let pushes = pushes.iter().map(|owed| owed.push.to_u128() as u64).collect::<BTreeSet<_>>();
        assert_eq!(messages, pushes, "round {round}: a message without its push, or a push without its message");
        assert!(acknowledged.is_subset(&messages), "round {round}");
        assert!(messages.iter().copied().eq(0..messages.len() as u64), "round {round}: a gap in what was kept");
        next = messages.len() as u64;
        home.close();
    }
    assert!(acknowledged.len() > 500, "the test has seen {} messages only", acknowledged.len());
    lost
}

/// What the children have said so far.
#[derive(Default)]
struct Told {
    /// Pushes that were acknowledged as new, and their numbers.
    kept: BTreeMap<u64, u64>,
    /// Pushes whose end was acknowledged.
    ended: BTreeSet<u64>,
    next_job: u64,
}

impl Told {
    fn take(&mut self, line: &str) {
        let mut words = line.split(' ');
        let verb = words.next();
        let numbers = words.map(|word| word.parse::<u64>().unwrap()).collect::<Vec<_>>();
        match verb {
            Some("kept") => drop(self.kept.insert(numbers[0], numbers[1])),
            Some("ended") => drop(self.ended.insert(numbers[0])),
            _ => panic!("the child said {line:?}"),
        }
    }

    fn check(&mut self, journal: &SqliteJournal, round: u64) {
        let trace = |n: u64| journal.trace(&origin(), PushId::from_u128(n.into())).unwrap();
        for (&n, &seq) in &self.kept {
            let traced = trace(n).unwrap_or_else(|| panic!("round {round}: push {n} was acknowledged and is gone"));
            assert_eq!(traced.seq, seq, "round {round}: push {n}");
            let over = matches!(traced.state, PushState::NotPushed(Reason::IdentityDead));
            assert!(
                over || !self.ended.contains(&n),
                "round {round}: the end of push {n} was acknowledged and is gone"
            );
        }
        let open = journal.open(0, usize::MAX).unwrap();
        assert!(open.is_sorted_by_key(|entry| entry.seq), "round {round}");
        assert!(open.is_sorted_by_key(|entry| entry.id), "round {round}: not in the order in which they came");
        for entry in &open {
            assert_eq!(entry.request, request(entry.id.to_u128() as u64), "round {round}");
        }
        // Jobs are whole or absent, and no job is there without those before it.
        let mut job = self.next_job;
        while trace(first_of(job)).is_some() {
            for n in first_of(job)..first_of(job + 1) {
                assert!(trace(n).is_some(), "round {round}: only a part of job {job} is there");
            }
            job += 1;
        }
        assert!(trace(first_of(job) + 1).is_none(), "round {round}: only a part of job {job} is there");
        let total = first_of(job);
        assert!(self.kept.keys().all(|&n| n < total), "round {round}");
        self.next_job = job;

        // Exactly those that have ended owe feedback, once each.
        let owed = journal.feedback_open(usize::MAX).unwrap();
        let owed = owed.iter().map(|owed| owed.item.push.to_u128() as u64).collect::<Vec<_>>();
        let mut expected = (0..total).collect::<BTreeSet<_>>();
        for entry in &open {
            assert!(expected.remove(&(entry.id.to_u128() as u64)), "round {round}");
        }
        assert_eq!(owed.len(), expected.len(), "round {round}");
        assert!(owed.iter().copied().collect::<BTreeSet<_>>() == expected, "round {round}");

        let again = self.kept.keys().rev().take(50).map(|&n| entry(n)).collect::<Vec<_>>();
        for answer in wait(|done| journal.append(again, done)).block().unwrap() {
            assert!(matches!(answer, Appended::Duplicate { same_request: true, .. }), "round {round}: {answer:?}");
        }
    }
}

/// Not a test of its own: the process that [`a_killed_clearing_house_has_lost_nothing_that_it_acknowledged`] kills.
#[test]
#[ignore = "run by the crash test as its child"]
fn the_clearing_house_that_is_killed() {
    let Some((file, first_job)) = orders() else { return };
    let journal = SqliteJournal::open(&file).unwrap();
    // A few jobs are under way at any time, so that batches form.
    let (finished, one_less) = channel();
    for job in first_job..u64::MAX {
        if job - first_job >= 32 {
            one_less.recv().unwrap();
        }
        let entries = (first_of(job)..first_of(job + 1)).map(entry).collect();
        let (again, finished) = (journal.clone(), finished.clone());
        journal.append(
            entries,
            Box::new(move |answers| {
                for (n, answer) in (first_of(job)..).zip(answers.unwrap()) {
                    let Appended::New { seq } = answer else { panic!("push {n}: {answer:?}") };
                    say(&format!("kept {n} {seq}"));
                    if n % 3 == 0 {
                        again.complete(vec![ended(n, seq)], Box::new(move |_| say(&format!("ended {n}"))));
                    }
                }
                finished.send(()).unwrap();
            }),
        );
    }
}

/// Not a test of its own: the process that [`a_killed_home_has_each_message_with_its_push_or_neither`] kills.
#[test]
#[ignore = "run by the crash test as its child"]
fn the_home_that_is_killed() {
    let Some((file, first)) = orders() else { return };
    let home = SqliteHome::open(&file).unwrap();
    let mut under_way = std::collections::VecDeque::new();
    for n in first..u64::MAX {
        let changes = vec![HomeChange::KeepMessage(message(n)), HomeChange::OwePush(owed(n))];
        under_way.push_back((n, wait(|done| home.commit(changes, done))));
        if under_way.len() > 16 {
            let (n, kept) = under_way.pop_front().unwrap();
            kept.block().unwrap();
            say(&format!("kept {n}"));
        }
    }
}

/// Runs the child until it has said `lines` lines, kills it, and hands on every whole line that it had said by then.
fn run_and_kill(child: &str, file: &Path, disk: Option<&Disk>, first: u64, lines: u64, mut take: impl FnMut(&str)) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", child, "--ignored", "--nocapture"])
        .env("REVEILLE_CRASH_FILE", file)
        .env("REVEILLE_CRASH_FIRST", first.to_string())
        .stdout(Stdio::piped());
    if let Some(disk) = disk {
        disk.under(&mut command);
    }
    let mut process = command.spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let (mut line, mut said) = (String::new(), 0);
    loop {
        line.clear();
        output.read_line(&mut line).unwrap();
        // Without its end it was cut off by the kill.
        let Some(whole) = line.strip_suffix('\n') else { break };
        // The harness of the child has words of its own.
        let Some(word) = whole.strip_prefix("> ") else { continue };
        take(word);
        said += 1;
        if said == lines {
            process.kill().unwrap();
        }
    }
    process.wait().unwrap();
    assert!(said >= lines, "the child ended by itself after {said} lines");
}

/// The file to write, and with which number to begin; none unless a parent gave them.
fn orders() -> Option<(PathBuf, u64)> {
    let file = std::env::var_os("REVEILLE_CRASH_FILE")?;
    let first = std::env::var("REVEILLE_CRASH_FIRST").ok()?.parse().ok()?;
    Some((file.into(), first))
}

fn say(words: &str) {
    // One write, so that a line is whole or is not there. A parent that is gone ends the child.
    stdout().lock().write_all(format!("> {words}\n").as_bytes()).unwrap();
    stdout().lock().flush().unwrap();
}

/// The first push of a job: jobs have 1 to 7 pushes in turn.
const fn first_of(job: u64) -> u64 {
    let (rounds, rest) = (job / 7, job % 7);
    rounds * 28 + rest * (rest + 1) / 2
}

fn origin() -> SipDomain {
    "contoso.com".parse().unwrap()
}

fn bob() -> Aor {
    "bob@contoso.com".parse().unwrap()
}

const fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn request(n: u64) -> Arc<[u8]> {
    format!("{n} ").repeat(1 + dice(n, 300) as usize).into_bytes().into()
}

fn entry(n: u64) -> JournalEntry {
    let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Production };
    let request = request(n);
    JournalEntry {
        origin: origin(),
        asked: "push.example.net".parse().expect("a domain"),
        id: PushId::from_u128(n.into()),
        lane: LaneKey { app, channel: Channel::Message },
        received: at(1000 + n),
        expires: at(u64::MAX),
        fingerprint: fingerprint(&request),
        sending: false,
        request,
    }
}

fn ended(n: u64, seq: u64) -> Completed {
    let feedback = FeedbackItem {
        push: PushId::from_u128(n.into()),
        identity: IdentityId::from_u128(1),
        token_generation: 1,
        verdict: "forget".into(),
        reason: "Unregistered".into(),
        provider_time: None,
        at: at(5000),
    };
    let state = PushState::NotPushed(Reason::IdentityDead);
    Completed { seq, state, detail: "Unregistered".into(), at: at(5000), feedback: Some(feedback), death: None }
}

fn message(n: u64) -> StoredMessage {
    StoredMessage {
        id: MessageId::from_u128(n.into()),
        to: bob(),
        from: "alice@contoso.com".parse().unwrap(),
        content_type: "text/plain".into(),
        body: vec![b'x'; dice(n, 3000) as usize],
        conversation: "c".into(),
        taken: at(1),
        expires: at(u64::MAX >> 1),
    }
}

fn owed(n: u64) -> OwedPush {
    OwedPush {
        push: PushId::from_u128(n.into()),
        user: bob(),
        device: "phone".into(),
        identity: IdentityId::from_u128(1),
        generation: 1,
        channel: Channel::Message,
        event: Event::Message,
        message: Some(MessageId::from_u128(n.into())),
        clearing_house: origin(),
        created: at(1),
        expires: at(100),
        due: at(1),
        attempt: 0,
        state: PushState::Owed,
    }
}

/// A number below `sides` that is always the same for the same `seed`.
const fn dice(seed: u64, sides: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)) % sides
}

/// A folder that is removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reveille-crash-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}
