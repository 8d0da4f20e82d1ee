//! The moment at which the power fails: what was not synced is taken back, as far as a seed says.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rand::Rng as _;
use rand::rngs::StdRng;

use super::notes::{Change, History, Move, Notes};
use super::{DiskError, failed};

/// What a power cut has taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Lost {
    /// Writes that no sync had made safe.
    pub unsafe_writes: usize,
    /// Sectors of 512 bytes that went back to what they were.
    pub sectors: usize,
    /// Files that came or went, or changed their name, and have not after all.
    pub moves: usize,
}

/// How much of what is not safe has reached the disk all the same.
#[derive(Clone, Copy)]
enum Luck {
    /// Nothing.
    None,
    /// Any pages of 4 KiB, each as it was at some moment.
    Pages,
    /// The same by sectors: pages may be torn.
    Sectors,
}

const SECTOR: u64 = 512;
const SECTORS_OF_PAGE: u64 = 8;

pub(super) fn cut(folder: &Path, aside: &Path, dice: &mut StdRng) -> Result<Lost, DiskError> {
    let text = fs::read(aside.join("notes")).or_else(|failure| match failure.kind() {
        std::io::ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(failed(|| "the notes cannot be read".into())(failure)),
    })?;
    let notes = Notes::read(&text)?;
    let luck = [Luck::None, Luck::Pages, Luck::Sectors][dice.random_range(0..3)];
    let mut lost = Lost::default();
    for file in &notes.files {
        let path = if file.path.is_absolute() { file.path.clone() } else { aside.join("graves").join(&file.path) };
        take_back(&path, file, luck, dice, &mut lost)?;
    }
    moves_back(&notes.moves, aside, luck, dice, &mut lost)?;
    for entry in fs::read_dir(folder).map_err(failed(|| "the folder cannot be read".into()))? {
        let path = entry.map_err(failed(|| "the folder cannot be read".into()))?.path();
        // SQLite's index of its log is shared memory: it ends with the machine.
        if path.to_string_lossy().ends_with("-shm") {
            fs::remove_file(&path).map_err(failed(|| "a file cannot be removed".into()))?;
        }
    }
    Ok(lost)
}

fn take_back(path: &Path, file: &History, luck: Luck, dice: &mut StdRng, lost: &mut Lost) -> Result<(), DiskError> {
    let changes = &file.changes;
    let unsafe_writes = changes.iter().filter(|change| !change.safe).count();
    if unsafe_writes == 0 {
        return Ok(());
    }
    lost.unsafe_writes += unsafe_writes;
    let complain = failed(|| format!("{} cannot be taken back", path.display()));
    let disk = OpenOptions::new().read(true).write(true).open(path).map_err(&complain)?;
    let mut cuts = BTreeMap::new();
    for (sector, touched) in sectors(changes) {
        // What is safe stays, and so does what lay there before it: only the tail of changes is in doubt.
        let safe = touched.iter().rposition(|at| changes[*at].safe).map_or(0, |at| at + 1);
        let kept = match luck {
            Luck::None => safe,
            Luck::Sectors => dice.random_range(safe..=touched.len()),
            // All sectors of a page are as of one moment: the last change of the file that the page has seen.
            Luck::Pages => {
                let moment = *cuts.entry(sector / SECTORS_OF_PAGE).or_insert_with(|| {
                    changes.get(dice.random_range(0..=changes.len())).map_or(u64::MAX, |c| c.number)
                });
                touched.iter().filter(|at| changes[**at].number < moment).count().max(safe)
            }
        };
        if kept < touched.len() {
            restore(&disk, sector, touched[kept..].iter().map(|at| &changes[*at])).map_err(&complain)?;
            lost.sectors += 1;
        }
    }
    // The length is one of those that it had since it was last certain.
    let certain = changes.iter().rposition(|change| change.safe).map_or(0, |at| at + 1);
    let kept = match luck {
        Luck::None => certain,
        Luck::Pages | Luck::Sectors => dice.random_range(certain..=changes.len()),
    };
    let length = match kept.checked_sub(1) {
        Some(last) => changes[last].after,
        None => changes[0].before,
    };
    disk.set_len(length).and_then(|()| disk.sync_all()).map_err(&complain)
}

/// Which changes have touched each sector, in their order.
fn sectors(changes: &[Change]) -> BTreeMap<u64, Vec<usize>> {
    let mut sectors: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (at, change) in changes.iter().enumerate().filter(|(_, change)| !change.old.is_empty()) {
        let end = change.offset + change.old.len() as u64;
        for sector in change.offset / SECTOR..end.div_ceil(SECTOR) {
            sectors.entry(sector).or_default().push(at);
        }
    }
    sectors
}

/// Puts a sector back to what it was before the first of these changes.
fn restore<'a>(disk: &File, sector: u64, changes: impl DoubleEndedIterator<Item = &'a Change>) -> std::io::Result<()> {
    let start = sector * SECTOR;
    let mut bytes = [0; SECTOR as usize];
    let mut read = 0;
    while read < bytes.len() {
        match disk.read_at(&mut bytes[read..], start + read as u64)? {
            0 => break,
            some => read += some,
        }
    }
    for change in changes.rev() {
        let (from, to) = (change.offset.max(start), (change.offset + change.old.len() as u64).min(start + SECTOR));
        let old = &change.old[(from - change.offset) as usize..(to - change.offset) as usize];
        bytes[(from - start) as usize..(to - start) as usize].copy_from_slice(old);
    }
    disk.write_all_at(&bytes, start)
}

/// Takes back the newest changes of the folder: journaling file systems keep their order.
fn moves_back(
    moves: &[(Move, bool)],
    aside: &Path,
    luck: Luck,
    dice: &mut StdRng,
    lost: &mut Lost,
) -> Result<(), DiskError> {
    let safe = moves.iter().rposition(|(_, safe)| *safe).map_or(0, |at| at + 1);
    let kept = match luck {
        Luck::None => safe,
        Luck::Pages | Luck::Sectors => dice.random_range(safe..=moves.len()),
    };
    let grave = |name: &String| -> PathBuf { aside.join("graves").join(name) };
    for (moved, _) in moves[kept..].iter().rev() {
        let done = match moved {
            Move::Created(path) => fs::remove_file(path),
            Move::Unlinked { path, grave: name } => fs::rename(grave(name), path),
            Move::Renamed { from, to, replaced } => {
                fs::rename(to, from).and_then(|()| replaced.as_ref().map_or(Ok(()), |name| fs::rename(grave(name), to)))
            }
        };
        match done {
            Ok(()) => lost.moves += 1,
            // The process was killed between the note and the deed.
            Err(failure) if failure.kind() == std::io::ErrorKind::NotFound => {}
            Err(failure) => return Err(failed(|| format!("{moved:?} cannot be taken back"))(failure)),
        }
    }
    Ok(())
}
