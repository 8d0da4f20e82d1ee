//! A disk under another process that can lose its power, fill up and fail a sync: for tests only.
//!
//! A layer in C (`shim.c`, built by `cc` when a test needs it and loaded by `LD_PRELOAD`) notes what each write replaced
//! and how far each file was synced. When the process has been killed, [`Disk::cut`] takes back what was not synced: all of it,
//! or a part that a seed chooses, as disks do that write in an order of their own. Everything works without privileges and
//! without a device: any machine that can build SQLite can run it.

mod cut;
mod notes;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rand::rngs::StdRng;

pub use cut::Lost;

/// What went wrong with the test's own tools.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The compiler has refused.
    #[error("the layer below the process cannot be built by cc: {0}")]
    Build(String),
    /// The machine has refused.
    #[error("{what}: {failure}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        failure: io::Error,
    },
    /// The notes are not what the layer writes.
    #[error("the notes of the layer below the process cannot be read: {0}")]
    Notes(&'static str),
}

/// A folder whose files stand on a disk that can lose power, below processes that [`Disk::under`] is asked for.
#[derive(Debug)]
pub struct Disk {
    folder: PathBuf,
    aside: PathBuf,
    levers: File,
}

/// What the layer has counted so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Syncs that were asked for.
    pub syncs: i64,
    /// Writes that were noted.
    pub writes: i64,
    /// Writes that found no room.
    pub refused: i64,
    /// Syncs that failed by order.
    pub failed: i64,
    /// Processes that have run on it.
    pub lives: i64,
}

impl Disk {
    /// The disk of `folder`, with its tools in `aside`; both are made, and lie on the same file system.
    pub fn new(folder: &Path, aside: &Path) -> Result<Self, DiskError> {
        let made = |path: &Path| fs::create_dir_all(path).and_then(|()| path.canonicalize());
        let folder = made(folder).map_err(failed(|| format!("{} cannot be made", folder.display())))?;
        let aside = made(aside).map_err(failed(|| format!("{} cannot be made", aside.display())))?;
        match LAYER.get() {
            Some(layer) => {
                fs::write(aside.join("shim.so"), layer).map_err(failed(|| "the layer cannot be written".into()))?;
            }
            None => drop(LAYER.set(build(&aside)?)),
        }
        let graves = aside.join("graves");
        fs::create_dir_all(&graves).map_err(failed(|| "a folder cannot be made".into()))?;
        let mut options = OpenOptions::new();
        let levers = options.read(true).write(true).create(true).truncate(true).open(aside.join("levers"));
        let levers = levers.map_err(failed(|| "the levers cannot be made".into()))?;
        levers.set_len(4096).map_err(failed(|| "the levers cannot be made".into()))?;
        let disk = Self { folder, aside, levers };
        disk.give_room(None)?;
        Ok(disk)
    }

    /// The disk that this process itself is on; none if it is on a real one.
    pub fn below() -> Option<Result<Self, DiskError>> {
        let [folder, aside] = ["REVEILLE_POWER_FOLDER", "REVEILLE_POWER_ASIDE"].map(std::env::var_os);
        let (folder, aside) = (PathBuf::from(folder?), PathBuf::from(aside?));
        let levers = OpenOptions::new().read(true).write(true).open(aside.join("levers"));
        let levers = levers.map_err(failed(|| "the levers cannot be reached".into()));
        Some(levers.map(|levers| Self { folder, aside, levers }))
    }

    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has `command` run on this disk. It must open its files by whole paths; one process at a time.
    pub fn under(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.aside.join("shim.so"));
        command.env("REVEILLE_POWER_FOLDER", &self.folder).env("REVEILLE_POWER_ASIDE", &self.aside);
    }

    /// By how many bytes files may still grow from now on; `None` for as many as they like.
    pub fn give_room(&self, bytes: Option<u32>) -> Result<(), DiskError> {
        self.set(0, bytes.map_or(-1, i64::from))
    }

    /// Lets the next so many syncs fail, with what they should have made safe.
    pub fn fail_syncs(&self, count: u32) -> Result<(), DiskError> {
        self.set(7, 0)?;
        self.set(1, count.into())
    }

    /// The same for syncs of databases only, and not of their logs (`-wal`): what fails then is not a commit but what
    /// moves the log.
    pub fn fail_syncs_of_files(&self, count: u32) -> Result<(), DiskError> {
        self.set(7, 1)?;
        self.set(1, count.into())
    }

    /// Lets every `nth` sync say that it has made everything safe when it has not; 0 for none. Whoever judges what stands on
    /// this disk must find that out.
    pub fn lie(&self, nth: u32) -> Result<(), DiskError> {
        self.set(8, nth.into())
    }

    /// What has been counted.
    pub fn counts(&self) -> Result<Counts, DiskError> {
        let [syncs, writes, refused, failed, lives] = [2, 3, 4, 5, 6].map(|word| self.word(word));
        Ok(Counts { syncs: syncs?, writes: writes?, refused: refused?, failed: failed?, lives: lives? })
    }

    /// The power fails, after the process was killed: takes back what was never synced, all of it or what `dice` says.
    pub fn cut(&self, dice: &mut StdRng) -> Result<Lost, DiskError> {
        let lost = cut::cut(&self.folder, &self.aside, dice)?;
        self.forget()?;
        Ok(lost)
    }

    /// Time passes, and the system writes everything by itself: what was killed is as it is, and safe.
    pub fn settle(&self) -> Result<(), DiskError> {
        for entry in fs::read_dir(&self.folder).map_err(failed(|| "the folder cannot be read".into()))? {
            let synced = entry.and_then(|entry| File::open(entry.path())).and_then(|file| file.sync_all());
            synced.map_err(failed(|| "a file cannot be synced".into()))?;
        }
        self.forget()
    }

    fn forget(&self) -> Result<(), DiskError> {
        let emptied = OpenOptions::new().write(true).create(true).truncate(true).open(self.aside.join("notes"));
        let emptied = emptied.and_then(|_| fs::remove_dir_all(self.aside.join("graves")));
        emptied
            .and_then(|()| fs::create_dir_all(self.aside.join("graves")))
            .map_err(failed(|| "the notes cannot be emptied".into()))
    }

    fn set(&self, word: u64, value: i64) -> Result<(), DiskError> {
        let written = self.levers.write_all_at(&value.to_ne_bytes(), word * 8);
        written.map_err(failed(|| "a lever cannot be moved".into()))
    }

    fn word(&self, word: u64) -> Result<i64, DiskError> {
        let mut bytes = [0; 8];
        let read = self.levers.read_exact_at(&mut bytes, word * 8);
        read.map_err(failed(|| "a lever cannot be read".into()))?;
        Ok(i64::from_ne_bytes(bytes))
    }
}

/// The layer as it was built once in this process.
static LAYER: OnceLock<Vec<u8>> = OnceLock::new();

fn build(aside: &Path) -> Result<Vec<u8>, DiskError> {
    let (source, layer) = (aside.join("shim.c"), aside.join("shim.so"));
    fs::write(&source, include_str!("shim.c")).map_err(failed(|| "the layer cannot be written".into()))?;
    let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    cc.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&layer).arg(&source).args(["-ldl", "-lpthread"]);
    let built = cc.output().map_err(failed(|| "cc cannot be started".into()))?;
    if !built.status.success() {
        return Err(DiskError::Build(String::from_utf8_lossy(&built.stderr).into_owned()));
    }
    fs::read(&layer).map_err(failed(|| "the layer cannot be read".into()))
}

fn failed(what: impl Fn() -> String) -> impl Fn(io::Error) -> DiskError {
    move |failure| DiskError::Io { what: what(), failure }
}
