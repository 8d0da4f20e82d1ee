//! What the engine promises, whatever stands in the file.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use super::*;
use crate::battery::{Folder, outcome};

/// A list of numbers with a body each, and their count as what the writer remembers.
struct Count(i64);

struct Desk<'a> {
    db: &'a Connection,
    count: &'a mut i64,
}

impl Memory for Count {
    type Desk<'a> = Desk<'a>;

    fn load(db: &Connection) -> rusqlite::Result<Self> {
        db.query_row("SELECT count(*) FROM list", (), |row| row.get(0)).map(Self)
    }

    fn desk<'a>(&'a mut self, db: &'a Connection) -> Desk<'a> {
        Desk { db, count: &mut self.0 }
    }
}

const LAYOUT: Layout = Layout {
    name: "list",
    mark: *b"RvlT",
    migrations: &["CREATE TABLE list (n INTEGER PRIMARY KEY, body BLOB NOT NULL)"],
    page_bytes: 4096,
    one_process: true,
};

const SHARED: Layout = Layout { one_process: false, ..LAYOUT };

fn path(folder: &Folder) -> PathBuf {
    folder.path().join("list.db")
}

fn open(path: &Path) -> Result<Engine<Count>, StoreError> {
    Engine::open(path, &LAYOUT, Limits::default())
}

/// Adds `n`, and answers the count that the writer then remembers.
fn add(engine: &Engine<Count>, n: i64, bytes: usize, done: Completion<i64>) {
    let work = move |desk: &mut Desk<'_>| {
        desk.db.execute("INSERT INTO list VALUES (?1, zeroblob(?2))", (n, bytes as i64))?;
        *desk.count += 1;
        Ok(*desk.count)
    };
    engine.submit(1, bytes, work, done);
}

fn added(engine: &Engine<Count>, n: i64, bytes: usize) -> Result<i64, StoreError> {
    outcome(|done| add(engine, n, bytes, done))
}

fn pragma(engine: &Engine<Count>, text: &'static str) {
    outcome(|done| engine.submit(1, 0, move |desk: &mut Desk<'_>| desk.db.query_row(text, (), |_| Ok(())), done))
        .unwrap();
}

fn numbers(engine: &Engine<Count>) -> Vec<i64> {
    let list =
        |db: &Connection| db.prepare("SELECT n FROM list ORDER BY n")?.query_map((), |row| row.get(0))?.collect();
    engine.read(list).unwrap()
}

/// Keeps the writer busy until the sender is dropped, so that what follows becomes one batch.
fn busy(engine: &Engine<Count>) -> mpsc::Sender<()> {
    let (go, wait) = mpsc::channel::<()>();
    let (entered, inside) = mpsc::channel();
    let work = move |_: &mut Desk<'_>| {
        let _ = entered.send(());
        let _ = wait.recv();
        Ok(())
    };
    engine.submit(1, 0, work, Box::new(|_| ()));
    inside.recv().unwrap();
    go
}

#[test]
fn one_failing_job_does_not_take_its_batch_with_it_and_the_memory_stays_true() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    assert_eq!(added(&engine, 1, 1), Ok(1));
    let go = busy(&engine);
    let jobs = [2, 1, 3].map(|n| crate::wait(|done| add(&engine, n, 1, done)));
    drop(go);
    let [two, again, three] = jobs.map(crate::Pending::block);
    assert_eq!((two, three), (Ok(2), Ok(3)));
    assert!(again.unwrap_err().to_string().contains("list.db"));
    assert_eq!(numbers(&engine), [1, 2, 3]);
    assert_eq!(added(&engine, 4, 1), Ok(4));
}

#[test]
fn what_is_urgent_goes_with_the_batch_that_is_being_written_and_the_rest_of_that_waits() {
    let folder = Folder::new();
    // An eighth of a batch goes before it is cut short: one of these.
    let limits = Limits { batch_records_max: 8, ..Limits::default() };
    let engine = Arc::new(Engine::open(&path(&folder), &LAYOUT, limits).unwrap());
    let go = busy(&engine);
    let order = Arc::new(Mutex::new(Vec::new()));
    let told = |name: &'static str| -> Completion<i64> {
        let order = Arc::clone(&order);
        Box::new(move |outcome| order.lock().push((name, outcome.unwrap())))
    };
    let (begun, has_begun) = mpsc::channel();
    let (goes_on, may_go_on) = mpsc::channel::<()>();
    let first = move |desk: &mut Desk<'_>| {
        begun.send(()).unwrap();
        may_go_on.recv().unwrap();
        *desk.count += 1;
        Ok(*desk.count)
    };
    let count = |desk: &mut Desk<'_>| {
        *desk.count += 1;
        Ok(*desk.count)
    };
    engine.submit(1, 0, first, told("first"));
    engine.submit(1, 0, count, told("second"));
    engine.submit(1, 0, count, told("third"));
    drop(go);
    has_begun.recv().unwrap();
    engine.submit_as(Haste::Urgent, 1, 0, count, told("urgent"));
    goes_on.send(()).unwrap();
    engine.close();
    assert_eq!(*order.lock(), [("first", 1), ("urgent", 2), ("second", 3), ("third", 4)]);
}

#[test]
fn what_is_urgent_and_fails_takes_nobody_with_it_who_was_cut_off() {
    let folder = Folder::new();
    let limits = Limits { batch_records_max: 8, ..Limits::default() };
    let engine = Engine::open(&path(&folder), &LAYOUT, limits).unwrap();
    assert_eq!(added(&engine, 1, 1), Ok(1));
    let go = busy(&engine);
    let jobs = [2, 3, 4].map(|n| crate::wait(|done| add(&engine, n, 1, done)));
    let twice = |desk: &mut Desk<'_>| desk.db.execute("INSERT INTO list VALUES (1, x'')", ());
    let urgent = crate::wait(|done| engine.submit_as(Haste::Urgent, 1, 0, twice, done));
    drop(go);
    assert!(urgent.block().is_err());
    assert_eq!(jobs.map(|job| job.block().is_ok()), [true; 3]);
    assert_eq!(numbers(&engine), [1, 2, 3, 4]);
    assert_eq!(added(&engine, 5, 1), Ok(5));
}

#[test]
fn a_commit_is_synced_before_it_is_told() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    let ask = |desk: &mut Desk<'_>| {
        let mode: String = desk.db.query_row("PRAGMA journal_mode", (), |row| row.get(0))?;
        Ok((mode, desk.db.query_row("PRAGMA synchronous", (), |row| row.get::<_, i64>(0))?))
    };
    // sqlite.org/pragma.html, synchronous: 2 is FULL, which syncs the log after each transaction.
    assert_eq!(outcome(|done| engine.submit(1, 0, ask, done)), Ok(("wal".to_owned(), 2)));
}

#[test]
fn a_full_file_acknowledges_nothing_and_works_again_once_there_is_room() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    assert_eq!(added(&engine, 1, 1), Ok(1));
    pragma(&engine, "PRAGMA max_page_count = 40");
    let go = busy(&engine);
    let jobs = [2, 3, 4].map(|n| crate::wait(|done| add(&engine, n, 100_000, done)));
    drop(go);
    for job in jobs {
        let failure = job.block().unwrap_err();
        assert!(matches!(failure, StoreError::DiskFull { .. }), "{failure}");
        assert!(failure.retry_helps());
    }
    assert_eq!(numbers(&engine), [1]);
    assert_eq!(added(&engine, 5, 1), Ok(2), "what is small still fits");
    pragma(&engine, "PRAGMA max_page_count = 1000000");
    assert_eq!(added(&engine, 2, 100_000), Ok(3));
    engine.close();
    assert_eq!(numbers(&open(&path(&folder)).unwrap()), [1, 2, 5]);
}

#[test]
fn a_second_opening_is_refused_until_the_first_is_closed() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    let refusal = open(&path(&folder)).err().unwrap();
    assert!(matches!(refusal, StoreError::InUse { .. }), "{refusal}");
    engine.close();
    open(&path(&folder)).unwrap();
}

#[test]
fn a_shared_file_is_written_by_two_in_turn() {
    let folder = Folder::new();
    let open = || Engine::<Count>::open(&path(&folder), &SHARED, Limits::default()).unwrap();
    let (one, two) = (open(), open());
    let both = (0..50)
        .flat_map(|n| [crate::wait(|done| add(&one, n, 1, done)), crate::wait(|done| add(&two, 100 + n, 1, done))]);
    for job in both.collect::<Vec<_>>() {
        job.block().unwrap();
    }
    assert_eq!(numbers(&one).len(), 100);
}

#[test]
fn a_closed_engine_has_written_what_it_took_and_refuses_the_rest() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    let jobs = (0..200).map(|n| crate::wait(|done| add(&engine, n, 10, done))).collect::<Vec<_>>();
    engine.close();
    for job in jobs {
        job.block().unwrap();
    }
    assert!(matches!(added(&engine, 999, 1), Err(StoreError::Closed { .. })));
    assert!(matches!(engine.read(|_| Ok(())), Err(StoreError::Closed { .. })));
    assert_eq!(numbers(&open(&path(&folder)).unwrap()).len(), 200);
}

#[test]
fn a_writer_that_panics_leaves_nobody_waiting() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    let go = busy(&engine);
    let (fatal, next) = (
        crate::wait(|done| {
            engine.submit(1, 0, |_: &mut Desk<'_>| -> rusqlite::Result<()> { panic!("on purpose") }, done)
        }),
        crate::wait(|done| add(&engine, 1, 1, done)),
    );
    drop(go);
    assert!(matches!(fatal.block(), Err(StoreError::Closed { .. })));
    assert!(matches!(next.block(), Err(StoreError::Closed { .. })));
    assert!(matches!(added(&engine, 2, 1), Err(StoreError::Closed { .. })));
}

#[test]
fn other_files_and_newer_layouts_are_left_alone() {
    let folder = Folder::new();
    let path = path(&folder);
    let foreign = Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(foreign);
    assert!(matches!(open(&path), Err(StoreError::NotOurs { wanted: "list", .. })));

    fs::remove_file(&path).unwrap();
    open(&path).unwrap().close();
    Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 7").unwrap();
    let newer = open(&path).err().unwrap();
    assert!(matches!(newer, StoreError::Schema { found: 7, known: 1, .. }), "{newer}");

    fs::remove_file(&path).unwrap();
    fs::write(&path, "this is no database, however long it may go on; ".repeat(100)).unwrap();
    assert!(matches!(open(&path), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_file_of_an_older_layout_is_brought_up_to_date_once() {
    const TWO: Layout = Layout {
        migrations: &[
            "CREATE TABLE list (n INTEGER PRIMARY KEY, body BLOB NOT NULL)",
            "INSERT INTO list VALUES (7, '')",
        ],
        ..LAYOUT
    };
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    assert_eq!(added(&engine, 1, 1), Ok(1));
    engine.close();
    for _ in 0..2 {
        let engine = Engine::<Count>::open(&path(&folder), &TWO, Limits::default()).unwrap();
        assert_eq!(numbers(&engine), [1, 7]);
        engine.close();
    }
    assert!(matches!(open(&path(&folder)), Err(StoreError::Schema { found: 2, known: 1, .. })));
}

#[test]
fn only_the_owner_may_read_the_file_and_what_stands_beside_it() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    assert_eq!(added(&engine, 1, 1), Ok(1));
    engine.backup(&folder.path().join("copy.db")).unwrap();
    for file in fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", file.path().display());
    }
}

#[test]
fn a_backup_is_whole_and_opens_and_never_replaces_a_file() {
    let folder = Folder::new();
    let (engine, copy) = (open(&path(&folder)).unwrap(), folder.path().join("copy.db"));
    for n in 0..100 {
        added(&engine, n, 5000).unwrap();
    }
    engine.backup(&copy).unwrap();
    let again = engine.backup(&copy).unwrap_err();
    assert!(again.to_string().contains("copy.db"), "{again}");
    assert_eq!(added(&engine, 100, 1), Ok(101));
    let copy = open(&copy).unwrap();
    assert_eq!(numbers(&copy), (0..100).collect::<Vec<_>>());
    assert_eq!(added(&copy, 100, 1), Ok(101));
    assert!(!folder.path().join("copy.db.partial").exists());
}

#[test]
fn a_connection_that_may_only_read_says_read_only() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    pragma_on(&engine, "PRAGMA query_only = ON");
    assert!(matches!(added(&engine, 1, 1), Err(StoreError::ReadOnly { .. })));
}

fn pragma_on(engine: &Engine<Count>, text: &'static str) {
    outcome(|done| engine.submit(1, 0, move |desk: &mut Desk<'_>| desk.db.execute_batch(text), done)).unwrap();
}

#[test]
fn the_log_stays_bounded_while_the_writer_never_rests() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    let (sender, receiver) = mpsc::channel();
    let next = |n: i64| {
        let sender = sender.clone();
        add(&engine, n, 20_000, Box::new(move |outcome| drop(sender.send(outcome.map(drop)))));
    };
    (0..64).for_each(next);
    // 160 MB in all, through a log that is to stay below its bound and what is written while a checkpoint runs.
    for n in 64..8000 {
        receiver.recv().unwrap().unwrap();
        next(n);
    }
    let log = fs::metadata(folder.path().join("list.db-wal")).unwrap().len();
    assert!(log < 120 << 20, "the log has {log} bytes");
}

#[test]
fn a_log_that_lost_its_end_opens_with_a_prefix_of_what_was_written() {
    let folder = Folder::new();
    let (original, log) = (path(&folder), folder.path().join("list.db-wal"));
    let engine = open(&original).unwrap();
    for n in 0..40 {
        added(&engine, n, 3000).unwrap();
    }
    let (file, log) = (fs::read(&original).unwrap(), fs::read(log).unwrap());
    let cut = Folder::new();
    let mut seen = Vec::new();
    for kept in (0..=log.len()).rev().step_by(log.len() / 61) {
        fs::write(path(&cut), &file).unwrap();
        fs::write(cut.path().join("list.db-wal"), &log[..kept]).unwrap();
        seen.push(prefix(&path(&cut)));
    }
    assert_eq!(seen[0], Some(40), "nothing is lost with the whole log");
    assert!(seen.is_sorted_by(|a, b| a >= b), "{seen:?}");

    // A torn page: the end of the log is there and is not what was written.
    let mut torn = log;
    let last = torn.len() - 2000;
    torn[last] ^= 0x40;
    fs::write(path(&cut), &file).unwrap();
    fs::write(cut.path().join("list.db-wal"), &torn).unwrap();
    assert!(prefix(&path(&cut)).is_some_and(|count| count < 40));
}

/// How many numbers the file has, all of them the first ones; none if it does not open, and says why.
fn prefix(path: &Path) -> Option<usize> {
    drop(fs::remove_file(path.with_extension("db-shm")));
    match open(path) {
        Ok(engine) => {
            let found = numbers(&engine);
            assert_eq!(found, (0..found.len() as i64).collect::<Vec<_>>());
            engine.close();
            Some(found.len())
        }
        Err(StoreError::Corrupt { .. }) => None,
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn a_file_of_which_a_page_was_destroyed_is_called_damaged() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    for n in 0..200 {
        added(&engine, n, 3000).unwrap();
    }
    engine.close();
    let mut file = fs::read(path(&folder)).unwrap();
    let page = 4096;
    file[page..page + 64].fill(0xff);
    fs::write(path(&folder), &file).unwrap();
    let damaged = match open(&path(&folder)) {
        Ok(engine) => added(&engine, 999, 1).unwrap_err(),
        Err(failure) => failure,
    };
    assert!(matches!(damaged, StoreError::Corrupt { .. }), "{damaged}");
    assert!(!damaged.retry_helps());
}

#[test]
fn reads_beyond_the_number_of_readers_wait_for_one_another() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    added(&engine, 1, 1).unwrap();
    let together = std::sync::Barrier::new(16);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                together.wait();
                for _ in 0..50 {
                    assert_eq!(numbers(&engine), [1]);
                }
            });
        }
    });
}

#[test]
fn a_file_without_the_right_to_write_is_read_only() {
    let folder = Folder::new();
    open(&path(&folder)).unwrap().close();
    fs::set_permissions(path(&folder), Permissions::from_mode(0o400)).unwrap();
    // Root writes where nobody else may; as root this asks the one question that is left to ask.
    let may_write = fs::OpenOptions::new().write(true).open(path(&folder)).is_ok();
    match open(&path(&folder)) {
        Ok(_) => assert!(may_write),
        Err(failure) => assert!(matches!(failure, StoreError::ReadOnly { .. }) && !may_write, "{failure}"),
    }
    let nowhere = open(Path::new("/proc/reveille/list.db")).err().unwrap();
    assert!(matches!(nowhere, StoreError::Io { .. } | StoreError::ReadOnly { .. }), "{nowhere}");
}

#[test]
fn a_file_that_was_taken_away_acknowledges_nothing_until_it_is_back() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    assert_eq!(added(&engine, 1, 1), Ok(1));
    for name in ["list.db", "list.db-wal"] {
        let (here, away) = (folder.path().join(name), folder.path().join("away"));
        fs::rename(&here, &away).unwrap();
        let removed = added(&engine, 2, 1).unwrap_err();
        assert!(matches!(removed, StoreError::Replaced { .. }), "{name}: {removed}");
        fs::write(&here, "another").unwrap();
        let replaced = added(&engine, 2, 1).unwrap_err();
        assert!(matches!(replaced, StoreError::Replaced { .. }), "{name}: {replaced}");
        fs::rename(&away, &here).unwrap();
    }
    assert_eq!(added(&engine, 2, 1), Ok(2));
    engine.close();
    assert_eq!(numbers(&open(&path(&folder)).unwrap()), [1, 2]);
}

#[test]
fn the_process_that_has_the_file_is_named() {
    let folder = Folder::new();
    let _engine = open(&path(&folder)).unwrap();
    let refusal = open(&path(&folder)).err().unwrap();
    let sentence = refusal.to_string();
    assert!(sentence.contains(&format!("another process ({})", std::process::id())), "{sentence}");
}

#[test]
fn damage_in_the_middle_of_the_file_is_found_at_the_start() {
    let folder = Folder::new();
    let engine = open(&path(&folder)).unwrap();
    for n in 0..400 {
        added(&engine, n, 900).unwrap();
    }
    engine.close();
    let whole = fs::read(path(&folder)).unwrap();
    for page in [2, whole.len() / 4096 / 2, whole.len() / 4096 - 1] {
        let mut file = whole.clone();
        file[page * 4096..page * 4096 + 64].fill(0xff);
        fs::write(path(&folder), &file).unwrap();
        let damaged = open(&path(&folder)).err().unwrap_or_else(|| panic!("page {page}: it opens"));
        assert!(matches!(damaged, StoreError::Corrupt { .. }), "page {page}: {damaged}");
    }
    // The file ends too early: the last pages never came to the disk.
    fs::write(path(&folder), &whole[..whole.len() - 3 * 4096]).unwrap();
    let short = open(&path(&folder)).err().unwrap();
    assert!(matches!(short, StoreError::Corrupt { .. }), "{short}");
}
