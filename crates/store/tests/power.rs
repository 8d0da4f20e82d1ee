//! A disk that fails: a sync that did not happen, a log that was never safe, no room at the start (docs/journal.md).
//!
//! Each story is told by children of this test binary, one after the other on a disk of their own, between which the power
//! may fail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use reveille_core::settings::{BlockedDomain, Setting, SettingChange};
use reveille_core::{AppKey, Channel, Environment, LaneKey, Provider, PushId, Timestamp};
use reveille_powercut::Disk;
use reveille_store::{Appended, Journal, JournalEntry, Settings as _, SqliteJournal, SqliteSettings, StoreError, wait};
use rusqlite::Connection;

/// Enough that each kind of power cut is among them: they take nothing, pages, and parts of pages.
const SEEDS: u64 = 6;

#[test]
fn what_is_taken_after_a_failed_sync_is_kept_and_what_was_taken_before_as_well() {
    for seed in 0..SEEDS {
        let scene = Scene::new("failed-sync");
        scene.live("takes_one_fails_to_sync_and_takes_another");
        assert_eq!(scene.disk.counts().unwrap().failed, 1);
        scene.cut(seed);
        let known = scene.known();
        assert!(known.contains(&1) && known.contains(&3), "seed {seed}: {known:?}");
    }
}

#[test]
fn what_a_killed_process_has_not_synced_is_safe_before_anybody_is_told_that_it_is_known() {
    for seed in 0..SEEDS {
        let scene = Scene::new("known-already");
        scene.live("writes_and_dies_before_the_sync");
        scene.live("says_that_it_is_known");
        scene.cut(seed);
        assert_eq!(scene.known(), [1, 2], "seed {seed}");
    }
}

#[test]
fn a_start_without_room_reads_and_takes_nothing_until_there_is_room() {
    let scene = Scene::new("no-room");
    scene.live("writes_and_dies_before_the_sync");
    // SQLite's index of the log needs 32 KiB before anything can be read.
    scene.disk.give_room(Some(36_000)).unwrap();
    scene.live("waits_for_room");
    assert_eq!(scene.known(), [1, 2, 4]);
}

#[test]
fn settings_of_which_a_part_was_moved_before_a_sync_failed_are_all_there() {
    for seed in 0..SEEDS / 2 {
        let scene = Scene::new("shared-part");
        scene.live("moves_a_part_fails_to_sync_the_file_and_goes_on");
        assert_eq!(scene.disk.counts().unwrap().failed, 1, "the sync of the file has failed");
        scene.cut(seed);
        let settings = SqliteSettings::open(&scene.settings()).unwrap();
        let texts = blocked(&settings);
        assert!(texts.iter().all(|text| *text == LAST), "seed {seed}: {texts:?}");
        assert_eq!(texts.len(), BLOCKED, "seed {seed}");
        settings.close();
    }
}

#[test]
fn settings_that_are_changed_after_one_who_failed_to_sync_was_killed_are_kept() {
    for seed in 0..SEEDS {
        let scene = Scene::new("shared-hole");
        scene.live("fails_to_sync_a_setting_and_dies");
        assert_eq!(scene.disk.counts().unwrap().failed, 1);
        scene.live("changes_another_setting");
        scene.cut(seed);
        let settings = SqliteSettings::open(&scene.settings()).unwrap();
        assert!(blocked(&settings).contains(&2), "seed {seed}: {:?}", blocked(&settings));
        settings.close();
    }
}

/// How many settings the story of the moved part has, each of about a page.
const BLOCKED: usize = 400;

/// How often each of them is changed.
const LAST: u64 = 8;

#[test]
#[ignore = "run by another test on a disk of its own"]
fn moves_a_part_fails_to_sync_the_file_and_goes_on() {
    let Some((disk, settings)) = settings_scene() else { return };
    let all = |round: u64| {
        for chunk in (0..BLOCKED as u64).collect::<Vec<_>>().chunks(100) {
            block(&settings, chunk, round).unwrap();
        }
    };
    all(1);
    // Somebody reads for long, a backup for instance: what comes after that cannot be moved yet.
    let reader = Connection::open(disk.folder().join("settings.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM setting").unwrap();
    all(2);
    all(3);
    reader.execute_batch("COMMIT").unwrap();
    disk.fail_syncs_of_files(1).unwrap();
    all(4);
    for round in 5..=LAST {
        all(round);
    }
    die();
}

#[test]
#[ignore = "run by another test on a disk of its own"]
fn fails_to_sync_a_setting_and_dies() {
    let Some((disk, settings)) = settings_scene() else { return };
    block(&settings, &[0], 0).unwrap();
    disk.fail_syncs(1).unwrap();
    // It stands in the log, whole; only the disk does not have it.
    block(&settings, &[1], 1).unwrap_err();
    die();
}

#[test]
#[ignore = "run by another test on a disk of its own"]
fn changes_another_setting() {
    let Some((_, settings)) = settings_scene() else { return };
    block(&settings, &[2], 2).unwrap();
    die();
}

/// The disk that this child is on, and its settings; none when it was not started by a test.
fn settings_scene() -> Option<(Disk, SqliteSettings)> {
    let disk = Disk::below()?.unwrap();
    let settings = SqliteSettings::open(&disk.folder().join("settings.db")).unwrap();
    Some((disk, settings))
}

/// Blocks domains, in one change, with a long text that tells the round.
fn block(settings: &SqliteSettings, domains: &[u64], round: u64) -> Result<u64, StoreError> {
    let one = |domain: &u64| {
        let (identity, comment) = (format!("d{domain}.example").parse().unwrap(), format!("{round:04}").repeat(500));
        SettingChange::Put(Setting::BlockedDomain(BlockedDomain { identity, comment })).into()
    };
    let edits = domains.iter().map(one).collect();
    let done = wait(|done| settings.apply("ann", Timestamp::from_millis(round), edits, done)).block()?;
    Ok(done.expect("nobody else changes them"))
}

/// The rounds that the texts of all blocked domains tell.
fn blocked(settings: &SqliteSettings) -> Vec<u64> {
    let snapshot = settings.snapshot();
    let round = |setting: &Setting| match setting {
        Setting::BlockedDomain(BlockedDomain { comment, .. }) => comment[..4].parse().unwrap(),
        other => panic!("{other:?}"),
    };
    snapshot.rows().map(|row| round(&row.setting)).collect()
}

#[test]
#[ignore = "run by another test on a disk of its own"]
fn takes_one_fails_to_sync_and_takes_another() {
    let Some((disk, journal)) = scene() else { return };
    taken(&journal, 1).unwrap();
    disk.fail_syncs(1).unwrap();
    let failure = taken(&journal, 2).unwrap_err();
    assert!(matches!(failure, StoreError::Unsynced { .. }) && failure.retry_helps(), "{failure}");
    assert!(matches!(taken(&journal, 3), Ok(Appended::New { .. })));
    die();
}

#[test]
#[ignore = "run by another test on a disk of its own"]
fn writes_and_dies_before_the_sync() {
    let Some((disk, journal)) = scene() else { return };
    taken(&journal, 1).unwrap();
    // The transaction stands in the log, whole; only the disk does not have it.
    disk.fail_syncs(1).unwrap();
    taken(&journal, 2).unwrap_err();
    die();
}

#[test]
#[ignore = "run by another test on a disk of its own"]
fn says_that_it_is_known() {
    let Some((_, journal)) = scene() else { return };
    let answer = taken(&journal, 2).unwrap();
    assert!(matches!(answer, Appended::Duplicate { same_request: true, .. }), "{answer:?}");
    die();
}

#[test]
#[ignore = "run by another test on a disk of its own"]
fn waits_for_room() {
    let Some((disk, journal)) = scene() else { return };
    assert_eq!(journal.open(0, 9).unwrap().len(), 2, "it can be read");
    let failure = taken(&journal, 4).unwrap_err();
    assert!(matches!(failure, StoreError::DiskFull { .. }), "{failure}");
    disk.give_room(None).unwrap();
    assert!(matches!(taken(&journal, 4), Ok(Appended::New { .. })));
    journal.close();
    die();
}

/// The disk that this child is on, and its journal; none when it was not started by a test.
fn scene() -> Option<(Disk, SqliteJournal)> {
    let disk = Disk::below()?.unwrap();
    let journal = SqliteJournal::open(&disk.folder().join("clearinghouse.db")).unwrap();
    Some((disk, journal))
}

fn taken(journal: &SqliteJournal, n: u64) -> Result<Appended, StoreError> {
    let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Production };
    let entry = JournalEntry {
        origin: "contoso.com".parse().unwrap(),
        asked: "push.example.net".parse().unwrap(),
        id: PushId::from_u128(n.into()),
        lane: LaneKey { app, channel: Channel::Message },
        received: Timestamp::from_millis(n),
        expires: Timestamp::from_millis(u64::MAX),
        fingerprint: n,
        sending: false,
        request: Arc::from(n.to_string().repeat(3000).into_bytes()),
    };
    wait(|done| journal.append(vec![entry], done)).block().map(|mut answers| answers.remove(0))
}

/// Without a chance to tidy up.
fn die() -> ! {
    std::process::abort()
}

struct Scene {
    at: PathBuf,
    disk: Disk,
}

impl Scene {
    fn new(name: &str) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let at = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("store-{name}-{}-{next}", std::process::id()));
        let disk = Disk::new(&at.join("disk"), &at.join("aside")).unwrap();
        Self { at, disk }
    }

    /// A process, from its beginning to its end by its own hand.
    fn live(&self, child: &str) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", child, "--ignored", "--nocapture"]);
        self.disk.under(&mut command);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code().is_none() && !said.contains("panicked"), "{child}: {said}");
    }

    fn cut(&self, seed: u64) {
        self.disk.cut(&mut StdRng::seed_from_u64(seed)).unwrap();
    }

    fn settings(&self) -> PathBuf {
        self.disk.folder().join("settings.db")
    }

    /// The pushes that the journal holds now, and all of each.
    fn known(&self) -> Vec<u64> {
        let journal = SqliteJournal::open(&self.disk.folder().join("clearinghouse.db")).unwrap();
        let open = journal.open(0, 9).unwrap();
        journal.close();
        let number = |entry: &reveille_store::OpenEntry| entry.id.to_u128() as u64;
        for entry in &open {
            assert_eq!(*entry.request, *number(entry).to_string().repeat(3000).into_bytes());
        }
        open.iter().map(number).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.at));
    }
}
