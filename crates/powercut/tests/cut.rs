//! The disk itself: what was synced stays, what was not may go, whatever the seed says.
//!
//! The process on the disk is this test binary, which writes as it is told and is killed by its own hand.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use reveille_powercut::{Disk, Lost};

const PAGE: usize = 4096;

#[test]
fn what_was_synced_stays_and_of_the_rest_anything_may() {
    let (mut seen, mut lost_some) = (BTreeSet::new(), 0);
    for seed in 0..40 {
        let lot = Lot::new("pages");
        lot.live("four_pages_and_four_that_are_not_synced");
        let lost = lot.cut(seed);
        assert_eq!(lost.unsafe_writes, 5, "seed {seed}");
        lost_some += usize::from(lost.sectors > 0);
        let file = fs::read(lot.disk.folder().join("file")).unwrap();
        assert!(file.len() >= 4 * PAGE, "seed {seed}: {}", file.len());
        // The first page was written over without a sync; the next three were not.
        assert!(file[PAGE..4 * PAGE].iter().all(|byte| *byte == b'a'), "seed {seed}: a synced page is gone");
        for sector in file[..PAGE].chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]) && b"ab".contains(&sector[0]), "seed {seed}");
        }
        assert!(file[4 * PAGE..].iter().all(|byte| b"\0b".contains(byte)), "seed {seed}");
        seen.insert((file[0], file.len(), lost.sectors));
    }
    assert!(lost_some > 20 && seen.len() > 5, "the seeds make no difference: {seen:?}");
}

#[test]
fn names_are_certain_once_their_folder_was_synced() {
    let mut gone = 0;
    for seed in 0..20 {
        let lot = Lot::new("names");
        lot.live("a_name_that_is_synced_and_three_changes_that_are_not");
        lot.cut(seed);
        let is = |name: &str| lot.disk.folder().join(name).exists();
        assert!(is("certain") || is("renamed"), "seed {seed}");
        assert!(is("certain") != is("renamed"), "seed {seed}");
        // In their order: renamed, made, removed.
        assert!(is("renamed") || !is("made"), "seed {seed}");
        assert!(is("made") || is("removed"), "seed {seed}");
        gone += usize::from(is("certain"));
    }
    assert!((1..20).contains(&gone), "{gone}");
}

#[test]
fn what_a_failed_sync_has_lost_no_later_one_saves() {
    let mut gone = 0;
    for seed in 0..20 {
        let lot = Lot::new("failed");
        lot.disk.fail_syncs(1).unwrap();
        lot.live("a_sync_that_fails_and_one_that_does_not");
        assert_eq!(lot.disk.counts().unwrap().failed, 1);
        lot.cut(seed);
        let file = fs::read(lot.disk.folder().join("file")).unwrap();
        assert!(file[PAGE..].iter().all(|byte| *byte == b'b') && file.len() == 2 * PAGE, "seed {seed}");
        gone += usize::from(file[..PAGE].contains(&0));
    }
    assert!(gone > 5, "{gone}");
}

#[test]
fn a_full_disk_takes_what_fits_and_what_is_written_over() {
    let lot = Lot::new("full");
    lot.disk.give_room(Some(6000)).unwrap();
    lot.live("as_much_as_fits");
    assert_eq!(fs::metadata(lot.disk.folder().join("file")).unwrap().len(), 6000);
    assert!(lot.disk.counts().unwrap().refused >= 2);
}

#[test]
fn a_second_life_may_lose_what_the_first_has_not_synced() {
    let mut gone = 0;
    for seed in 0..10 {
        let lot = Lot::new("lives");
        lot.live("four_pages_and_four_that_are_not_synced");
        lot.live("somebody_who_reads");
        assert_eq!(lot.disk.counts().unwrap().lives, 2);
        gone += lot.cut(seed).sectors;
    }
    assert!(gone > 0);
}

#[test]
#[ignore = "run by other tests on a disk of theirs"]
fn four_pages_and_four_that_are_not_synced() {
    let Some(folder) = folder() else { return };
    let file = made(&folder.join("file"));
    file.write_all_at(&[b'a'; 4 * PAGE], 0).unwrap();
    file.sync_all().unwrap();
    sync(&folder);
    file.write_all_at(&[b'b'; PAGE], 0).unwrap();
    for page in 4..8 {
        file.write_all_at(&[b'b'; PAGE], page * PAGE as u64).unwrap();
    }
    die();
}

#[test]
#[ignore = "run by other tests on a disk of theirs"]
fn a_name_that_is_synced_and_three_changes_that_are_not() {
    let Some(folder) = folder() else { return };
    made(&folder.join("certain"));
    made(&folder.join("removed"));
    sync(&folder);
    fs::rename(folder.join("certain"), folder.join("renamed")).unwrap();
    made(&folder.join("made"));
    fs::remove_file(folder.join("removed")).unwrap();
    die();
}

#[test]
#[ignore = "run by other tests on a disk of theirs"]
fn a_sync_that_fails_and_one_that_does_not() {
    let Some(folder) = folder() else { return };
    let file = made(&folder.join("file"));
    sync(&folder);
    file.write_all_at(&[b'a'; PAGE], 0).unwrap();
    assert!(file.sync_all().is_err());
    file.write_all_at(&[b'b'; PAGE], PAGE as u64).unwrap();
    file.sync_all().unwrap();
    die();
}

#[test]
#[ignore = "run by other tests on a disk of theirs"]
fn as_much_as_fits() {
    let Some(folder) = folder() else { return };
    let file = OpenOptions::new().write(true).create_new(true).open(folder.join("file")).unwrap();
    assert_eq!(file.write_all_at(&[b'a'; 2 * PAGE], 0).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    file.write_all_at(&[b'b'; PAGE], 0).unwrap();
    assert_eq!(File::create_new(folder.join("other")).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    die();
}

#[test]
#[ignore = "run by other tests on a disk of theirs"]
fn somebody_who_reads() {
    let Some(folder) = folder() else { return };
    assert_eq!(fs::read(folder.join("file")).unwrap().len(), 8 * PAGE);
    die();
}

fn folder() -> Option<PathBuf> {
    std::env::var_os("REVEILLE_POWER_FOLDER").map(PathBuf::from)
}

fn made(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap()
}

fn sync(folder: &Path) {
    File::open(folder).unwrap().sync_all().unwrap();
}

/// Without a chance to tidy up.
fn die() -> ! {
    std::process::abort()
}

/// A disk of one test, removed with the value.
struct Lot {
    at: PathBuf,
    disk: Disk,
}

impl Lot {
    fn new(name: &str) -> Self {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let at = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power-{name}-{}-{next}", std::process::id()));
        let disk = Disk::new(&at.join("disk"), &at.join("aside")).unwrap();
        Self { at, disk }
    }

    /// A process on this disk, from its beginning to its end by its own hand.
    fn live(&self, child: &str) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", child, "--ignored", "--nocapture"]);
        self.disk.under(&mut command);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.code().is_none() && !said.contains("panicked"), "{child}: {said}");
    }

    fn cut(&self, seed: u64) -> Lost {
        self.disk.cut(&mut StdRng::seed_from_u64(seed)).unwrap()
    }
}

impl Drop for Lot {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.at));
    }
}
