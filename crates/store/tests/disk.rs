//! A disk that fills up, and one that may not be written: on file systems of the test's own, in a mount namespace that
//! ends with it.

use std::fs;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use reveille_core::{AppKey, Channel, Environment, LaneKey, Provider, PushId, Timestamp};
use reveille_store::{Appended, Journal, JournalEntry, SqliteJournal, StoreError, wait};

#[test]
fn a_full_disk_acknowledges_nothing_and_the_journal_works_again_afterwards() {
    in_own_namespace("the_disk_fills_up");
}

#[test]
fn a_read_only_disk_is_called_read_only() {
    in_own_namespace("the_disk_is_read_only");
}

/// Not a test of its own: runs where it may mount.
#[test]
#[ignore = "run by another test in a namespace of its own"]
fn the_disk_fills_up() {
    let folder = std::env::temp_dir();
    mount(&["-t", "tmpfs", "-o", "size=4m", "none"], &folder);
    let (file, ballast) = (folder.join("clearinghouse.db"), folder.join("ballast"));
    fs::write(&ballast, vec![0; 1 << 20]).unwrap();
    let journal = SqliteJournal::open(&file).unwrap();
    let mut kept = Vec::new();
    let failure = loop {
        let n = kept.len() as u64;
        match append(&journal, n) {
            Ok(Appended::New { seq }) => kept.push(seq),
            Ok(answer) => panic!("{answer:?}"),
            Err(failure) => break failure,
        }
        assert!(n < 10_000, "the disk never fills up");
    };
    assert!(matches!(failure, StoreError::DiskFull { .. }), "{failure}");
    let again = append(&journal, kept.len() as u64).unwrap_err();
    assert!(matches!(again, StoreError::DiskFull { .. }), "{again}");
    let open =
        |journal: &SqliteJournal| journal.open(0, 20_000).unwrap().iter().map(|entry| entry.seq).collect::<Vec<_>>();
    assert_eq!(open(&journal), kept, "while the disk is full");

    fs::remove_file(&ballast).unwrap();
    let Appended::New { seq } = append(&journal, kept.len() as u64).unwrap() else { panic!("it was refused before") };
    kept.push(seq);
    journal.close();
    assert_eq!(open(&SqliteJournal::open(&file).unwrap()), kept, "after opening again");
}

/// Not a test of its own: runs where it may mount.
#[test]
#[ignore = "run by another test in a namespace of its own"]
fn the_disk_is_read_only() {
    let folder = std::env::temp_dir();
    mount(&["-t", "tmpfs", "-o", "size=4m", "none"], &folder);
    let file = folder.join("clearinghouse.db");
    let journal = SqliteJournal::open(&file).unwrap();
    append(&journal, 1).unwrap();
    journal.close();
    mount(&["-o", "remount,ro"], &folder);
    let refusal = SqliteJournal::open(&file).err().unwrap();
    assert!(matches!(refusal, StoreError::ReadOnly { .. }), "{refusal}");
    assert!(!refusal.retry_helps());
    let absent = SqliteJournal::open(&folder.join("other.db")).err().unwrap();
    assert!(matches!(absent, StoreError::ReadOnly { .. }), "{absent}");
}

fn append(journal: &SqliteJournal, n: u64) -> Result<Appended, StoreError> {
    let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Production };
    let request: Arc<[u8]> = vec![b'x'; 5000].into();
    let entry = JournalEntry {
        origin: "contoso.com".parse().unwrap(),
        asked: "push.example.net".parse().unwrap(),
        id: PushId::from_u128(n.into()),
        lane: LaneKey { app, channel: Channel::Message },
        received: Timestamp::from_millis(n),
        expires: Timestamp::from_millis(u64::MAX),
        fingerprint: n,
        sending: false,
        request,
    };
    wait(|done| journal.append(vec![entry], done)).block().map(|answers| answers[0])
}

fn mount(arguments: &[&str], on: &Path) {
    assert!(Command::new("mount").args(arguments).arg(on).status().unwrap().success());
}

/// Runs one of this binary's ignored tests where it may mount, with a temporary folder of its own.
///
/// Where the system gives no namespaces to this user there is nothing to run it on, and it says so; what a full file
/// does is then only tested by the bound on the file's pages (engine/tests.rs).
fn in_own_namespace(test: &str) {
    let allowed = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        let _ = writeln!(stderr(), "not run: this user may not make a mount namespace");
        return;
    }
    let folder = std::env::temp_dir().join(format!("reveille-disk-{test}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("TMPDIR", &folder)
        .output()
        .unwrap();
    fs::remove_dir(&folder).unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
