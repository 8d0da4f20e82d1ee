//! Puts a backup back in the place of the store, where no server runs.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use reveille_core::{Channel, Clock as _, Timestamp};
use reveille_store::{Journal as _, SqliteAdmin, SqliteHome, SqliteJournal, SqliteSettings, StoreError, rest_store};

use super::manifest::private;
use super::{BackupError, Kept, Kind, Manifest, Place, key_folders, stores, verify, whose};
use crate::SystemClock;
use crate::config::Raw;

/// What was put aside is called this; with a number behind it where another restore has used the name.
const ASIDE: &str = ".before-restore";
/// So many restores may have left what was there before them.
const ASIDES_MAX: u32 = 99;
/// What is being put together is called this.
const STAGED: &str = ".restoring";
/// When the store was restored: calls that were born before have perhaps been sent in the life that is lost.
const RESTORED_AT: &str = "restored-at";
/// Open pushes looked at in one go.
const AT_ONCE: usize = 2000;

/// What was done.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What was put back.
    pub manifest: Manifest,
    /// Calls that were open when the backup was taken, and end as outcome-unknown.
    pub calls_ended: usize,
    /// What was there before, as it is called now.
    pub put_aside: Vec<PathBuf>,
}

/// Puts the backup in `from` back. With `force` what is there is put aside; without it that is a refusal.
///
/// Nothing is changed before all of it is known to be good, and the files are put in place by renaming.
pub fn restore(raw: &Raw, from: &Path, force: bool, told: &mut dyn FnMut(&Kept)) -> Result<Restored, BackupError> {
    let manifest = verify(from, told)?;
    if manifest.of != whose(raw) {
        return Err(BackupError::Another { of: manifest.of.join(", "), wanted: whose(raw).join(", ") });
    }
    let places = stores(raw);
    for place in &places {
        if manifest.file(&place.name).is_none_or(|file| file.kind != place.kind) {
            return Err(BackupError::Lacks { name: place.name.clone() });
        }
    }
    nobody_serves(raw)?;
    if !force && let Some(place) = places.iter().find(|place| place.path.exists()) {
        let aside = aside(&place.path).map_err(BackupError::io(&place.path))?;
        let aside = aside.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Err(BackupError::Exists { path: place.path.clone(), aside });
    }
    places.iter().filter(|place| place.path.exists()).try_for_each(at_rest)?;

    let now = SystemClock.now();
    let calls_ended = stage_all(&places, from, now)?;
    let of_clearing_house = raw.clearinghouse.is_some().then_some(&*raw.store.dir);
    let mut put_aside = put_in_place(&places, of_clearing_house, now)?;
    for (name, folder) in key_folders(raw) {
        let named =
            |file: &&Kept| file.kind == Kind::Key && file.name.split_once('/').is_some_and(|(at, _)| at == name);
        for file in manifest.files.iter().filter(named) {
            put_aside.extend(key(&from.join(&file.name), &folder)?);
        }
    }
    Ok(Restored { manifest, calls_ended, put_aside })
}

/// When this store was restored last, if ever.
pub(crate) fn restored_at(dir: &Path) -> Option<Timestamp> {
    let text = std::fs::read_to_string(dir.join(RESTORED_AT)).ok()?;
    text.trim().parse().ok().map(Timestamp::from_millis)
}

/// A server answers its administrators wherever it is well.
fn nobody_serves(raw: &Raw) -> Result<(), BackupError> {
    let socket = raw.admin_socket();
    match UnixStream::connect(&socket) {
        Ok(_) => Err(BackupError::Running { why: format!("it answers on {}", socket.display()) }),
        Err(_) => Ok(()),
    }
}

/// A store that is there already, so that it can be put aside as one file; one that is damaged is put aside as it is.
fn at_rest(place: &Place) -> Result<(), BackupError> {
    match rest_store(&place.path) {
        Ok(()) | Err(StoreError::Corrupt { .. }) => Ok(()),
        Err(StoreError::InUse { file, .. }) => Err(BackupError::Running { why: format!("{file} is in use") }),
        Err(other) => Err(other.into()),
    }
}

/// Makes all new files beside their places. When one cannot be made none stays: the disk may be full of them.
fn stage_all(places: &[Place], from: &Path, now: Timestamp) -> Result<usize, BackupError> {
    let staged = places.iter().map(|place| stage(place, &from.join(&place.name), now));
    let outcome: Result<usize, BackupError> = staged.sum();
    if outcome.is_err() {
        for place in places {
            // What cannot be removed either is removed by the next restore.
            drop(clear(&ending(&place.path, STAGED)));
        }
    }
    outcome
}

/// Puts all staged files in their places, and answers what was put aside. A clearing house is told first: one that stopped
/// in between, and was started, would take calls that may have rung for new ones.
fn put_in_place(places: &[Place], clearing_house: Option<&Path>, now: Timestamp) -> Result<Vec<PathBuf>, BackupError> {
    if let Some(dir) = clearing_house {
        let path = dir.join(RESTORED_AT);
        private(&path, now.millis().to_string().as_bytes()).map_err(BackupError::io(&path))?;
    }
    let swapped = places.iter().map(|place| swap(&place.path).map_err(BackupError::io(&place.path)));
    swapped.filter_map(Result::transpose).collect()
}

/// Makes the new file beside its place, brought up to date by whoever will open it. Answers how many calls it ended.
fn stage(place: &Place, from: &Path, now: Timestamp) -> Result<usize, BackupError> {
    let staged = ending(&place.path, STAGED);
    let io = BackupError::io;
    if let Some(folder) = place.path.parent() {
        std::fs::create_dir_all(folder).map_err(io(folder))?;
    }
    clear(&staged).map_err(io(&staged))?;
    copy(from, &staged).map_err(io(&staged))?;
    let ended = match place.kind {
        Kind::Admin => SqliteAdmin::open(&staged).map(|store| store.close()).map(|()| 0)?,
        Kind::ClearingHouse => {
            let journal = SqliteJournal::open(&staged)?;
            let ended = end_calls(&journal, now);
            journal.close();
            ended?
        }
        Kind::Home => SqliteHome::open(&staged).map(|store| store.close()).map(|()| 0)?,
        Kind::Settings => SqliteSettings::open(&staged).map(|store| store.close()).map(|()| 0)?,
        Kind::Key => 0,
    };
    rest_store(&staged)?;
    remove(&ending(&staged, ".lock")).map_err(io(&staged))?;
    Ok(ended)
}

/// Marks every open call as being sent: it may have been since the backup, and what may have rung must not ring again.
/// The clearing house ends those as outcome-unknown when it starts.
fn end_calls(journal: &SqliteJournal, now: Timestamp) -> Result<usize, StoreError> {
    let (mut after, mut ended) = (0, 0);
    loop {
        let open = journal.open(after, AT_ONCE)?;
        let Some(last) = open.last() else { return Ok(ended) };
        after = last.seq;
        let calls: Vec<_> = open.iter().filter(|entry| entry.lane.channel == Channel::Voip).collect();
        ended += calls.len();
        let unmarked = calls.iter().filter(|entry| !entry.sending).map(|entry| entry.seq).collect();
        let (told, outcome) = mpsc::channel();
        journal.mark_sending(unmarked, now, Box::new(move |outcome| drop(told.send(outcome))));
        outcome.recv().unwrap_or_else(|_| Err(StoreError::Closed { file: "clearinghouse.db".into() }))?;
    }
}

/// Puts the staged file in its place. What was there is put aside with all that belongs to it, and answered.
fn swap(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut put_aside = None;
    if path.exists() {
        let aside = aside(path)?;
        for beside in ["", "-wal", "-shm"] {
            match std::fs::rename(ending(path, beside), ending(&aside, beside)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        put_aside = Some(aside);
    }
    // A log without its file would be taken for the new one's.
    for beside in ["-wal", "-shm"] {
        remove(&ending(path, beside))?;
    }
    std::fs::rename(ending(path, STAGED), path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(put_aside)
}

/// Puts a key file into its folder. One that is there and says the same stays, and those that the backup has not stay too.
fn key(from: &Path, folder: &Path) -> Result<Option<PathBuf>, BackupError> {
    let path = folder.join(from.file_name().unwrap_or_default());
    let bytes = std::fs::read(from).map_err(BackupError::io(from))?;
    let put_aside = match std::fs::read(&path) {
        Ok(there) if there == bytes => return Ok(None),
        Ok(_) => {
            let aside = aside(&path).map_err(BackupError::io(&path))?;
            std::fs::rename(&path, &aside).map_err(BackupError::io(&path))?;
            Some(aside)
        }
        Err(_) => None,
    };
    let made =
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).recursive(true).create(folder);
    made.map_err(BackupError::io(folder))?;
    private(&path, &bytes).map_err(BackupError::io(&path))?;
    Ok(put_aside)
}

/// A name for what is put aside that nothing has: what a restore before this one put aside may be all that is left of the
/// store as it was.
fn aside(path: &Path) -> io::Result<PathBuf> {
    let names = std::iter::once(ASIDE.to_owned()).chain((2..=ASIDES_MAX).map(|number| format!("{ASIDE}-{number}")));
    names
        .map(|name| ending(path, &name))
        .find(|aside| ["", "-wal", "-shm"].iter().all(|beside| !ending(aside, beside).exists()))
        .ok_or_else(|| {
            let why =
                format!("{ASIDES_MAX} restores have left their {ASIDE} files beside it: remove what nobody needs");
            io::Error::new(io::ErrorKind::AlreadyExists, why)
        })
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut target = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()
}

/// Removes a staged file with all that belongs to it.
fn clear(staged: &Path) -> io::Result<()> {
    ["", "-wal", "-shm", ".lock"].iter().try_for_each(|beside| remove(&ending(staged, beside)))
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use reveille_core::{AppKey, Environment, LaneKey, Provider, PushId};
    use reveille_store::{JournalEntry, copy_store};

    use super::*;

    fn entry(number: u128, channel: Channel) -> JournalEntry {
        let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Production };
        JournalEntry {
            origin: "contoso.com".parse().expect("a domain"),
            asked: "push.example.net".parse().expect("a domain"),
            id: PushId::from_u128(number),
            lane: LaneKey { app, channel },
            received: Timestamp::from_millis(1000),
            expires: Timestamp::from_millis(u64::MAX / 4),
            fingerprint: 7,
            sending: false,
            request: b"{}".as_slice().into(),
        }
    }

    #[test]
    fn a_call_that_nobody_had_begun_to_send_counts_as_begun_after_a_restore_and_a_message_does_not() {
        let folder = std::env::temp_dir().join(format!("reveille-restore-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder).expect("a folder of our own");
        let (live, copy) = (folder.join("live.db"), folder.join("copy.db"));
        let journal = SqliteJournal::open(&live).expect("a journal");
        let (told, outcome) = mpsc::channel();
        let entries = vec![entry(1, Channel::Message), entry(2, Channel::Voip), entry(3, Channel::Voip)];
        let told = move |outcome: Result<_, StoreError>| {
            let _ = told.send(outcome.is_ok());
        };
        journal.append(entries, Box::new(told));
        assert_eq!(outcome.recv(), Ok(true));
        copy_store(&live, &copy).expect("it is copied while it is open");
        journal.close();

        let place = Place { kind: Kind::ClearingHouse, name: "clearinghouse.db".into(), path: folder.join("new.db") };
        assert_eq!(stage(&place, &copy, Timestamp::from_millis(2000)).expect("it is staged"), 2);
        assert_eq!(swap(&place.path).expect("it is put in place"), None);
        let restored = SqliteJournal::open(&place.path).expect("the restored journal");
        let open = restored.open(0, 10).expect("it reads");
        assert_eq!(open.iter().map(|entry| entry.sending).collect::<Vec<_>>(), [false, true, true]);
        restored.close();

        // What was there is put aside, and a log that belonged to it is not taken for the new one's.
        std::fs::write(folder.join("new.db-wal"), "of another life").expect("written");
        stage(&place, &copy, Timestamp::from_millis(3000)).expect("it is staged again");
        assert_eq!(swap(&place.path).expect("it is put in place"), Some(folder.join("new.db.before-restore")));
        assert!(folder.join("new.db.before-restore-wal").exists() && !folder.join("new.db-wal").exists());

        // Nor does the next restore replace what the one before has put aside.
        std::fs::write(folder.join("new.db.before-restore"), "the only one of its kind").expect("written");
        stage(&place, &copy, Timestamp::from_millis(4000)).expect("it is staged once more");
        assert_eq!(swap(&place.path).expect("it is put in place"), Some(folder.join("new.db.before-restore-2")));
        let kept = std::fs::read_to_string(folder.join("new.db.before-restore")).expect("it is there");
        assert_eq!(kept, "the only one of its kind");
        std::fs::remove_dir_all(folder).expect("it is ours");
    }

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("reveille-restore-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder).expect("a folder of our own");
        folder
    }

    fn place(kind: Kind, folder: &Path, name: &str) -> Place {
        Place { kind, name: name.into(), path: folder.join("store").join(name) }
    }

    #[test]
    fn when_one_file_cannot_be_made_none_stays_beside_the_store() {
        let folder = folder();
        SqliteSettings::open(&folder.join("settings.db")).expect("a backup of settings").close();
        rest_store(&folder.join("settings.db")).expect("it is one file");
        let places =
            [place(Kind::Settings, &folder, "settings.db"), place(Kind::ClearingHouse, &folder, "clearinghouse.db")];
        let failure = stage_all(&places, &folder, Timestamp::from_millis(1)).expect_err("one is missing");
        assert!(failure.to_string().contains("clearinghouse.db"), "{failure}");
        let left = std::fs::read_dir(folder.join("store")).expect("its folder").count();
        assert_eq!(left, 0, "a disk that is full stays full of what was staged");
        std::fs::remove_dir_all(folder).expect("it is ours");
    }

    #[test]
    fn a_clearing_house_is_told_of_a_restore_that_stops_half_way() {
        let folder = folder();
        let place = place(Kind::ClearingHouse, &folder, "clearinghouse.db");
        let store = folder.join("store");
        std::fs::create_dir(&store).expect("a folder");
        std::fs::write(&place.path, "of the life before").expect("written");
        let now = Timestamp::from_millis(4711);
        put_in_place(&[place], Some(&store), now).expect_err("nothing is there to be put in place");
        assert_eq!(restored_at(&store), Some(now));
        std::fs::remove_dir_all(folder).expect("it is ours");
    }
}
