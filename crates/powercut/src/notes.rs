//! The notes that the layer leaves: read, and sorted by file.

use std::collections::HashMap;
use std::path::PathBuf;

use super::DiskError;

/// What has happened to one file, under whatever name.
#[derive(Debug, Default)]
pub(super) struct History {
    /// What it is called now; none for one whose name is gone, which lies in its grave.
    pub(super) path: PathBuf,
    pub(super) changes: Vec<Change>,
    /// Up to which note each sync made everything safe, or failed to.
    syncs: Vec<(u64, bool)>,
}

/// One write, or one truncation.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) number: u64,
    pub(super) offset: u64,
    /// What stood there before; ends where the file ended, or is filled up with zeros.
    pub(super) old: Vec<u8>,
    pub(super) before: u64,
    pub(super) after: u64,
    /// Whether it is certainly on the disk.
    pub(super) safe: bool,
}

/// One change of the folder.
#[derive(Debug)]
pub(super) enum Move {
    Created(PathBuf),
    Unlinked { path: PathBuf, grave: String },
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<String> },
}

/// Everything that a cut may have to take back.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) files: Vec<History>,
    /// Changes of the folder, with whether they are certainly on the disk.
    pub(super) moves: Vec<(Move, bool)>,
}

struct Note<'a> {
    kind: u32,
    file: u32,
    number: u64,
    offset: u64,
    length: u64,
    before: u64,
    bytes: &'a [u8],
}

const HEAD: usize = 48;

impl Notes {
    /// Reads what the layer has written. A note that was cut off by the kill is passed over: what it announced was not done.
    pub(super) fn read(mut text: &[u8]) -> Result<Self, DiskError> {
        let mut reader = Reader::default();
        while let Some(note) = next(&mut text) {
            reader.take(&note)?;
        }
        Ok(reader.finish())
    }
}

#[derive(Default)]
struct Reader {
    notes: Notes,
    by_path: HashMap<PathBuf, usize>,
    by_number: HashMap<u32, usize>,
    moves: Vec<(u64, Move)>,
    folder_synced: u64,
}

impl Reader {
    fn take(&mut self, note: &Note<'_>) -> Result<(), DiskError> {
        let path = || PathBuf::from(String::from_utf8_lossy(note.bytes).into_owned());
        match note.kind {
            1 => {
                let at = self.at(path());
                self.by_number.insert(note.file, at);
            }
            2 | 3 => {
                let after = if note.kind == 2 { note.before.max(note.offset + note.length) } else { note.offset };
                let (number, offset, before) = (note.number, note.offset, note.before);
                let change = Change { number, offset, old: note.bytes.to_vec(), before, after, safe: false };
                self.file(note)?.changes.push(change);
            }
            4 | 5 => self.file(note)?.syncs.push((note.offset, note.kind == 4)),
            6 => {
                let path = path();
                self.by_path.remove(&path);
                self.moves.push((note.number, Move::Created(path)));
            }
            7 => {
                let grave = format!("{}-{}", note.length, note.offset);
                self.lose(&path(), &grave);
                self.moves.push((note.number, Move::Unlinked { path: path(), grave }));
            }
            8 => {
                let mut names =
                    note.bytes.split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name).into_owned());
                let (Some(from), Some(to)) = (names.next(), names.next()) else {
                    return Err(DiskError::Notes("a renaming has not two names"));
                };
                let (from, to) = (PathBuf::from(from), PathBuf::from(to));
                let replaced = (note.before != 0).then(|| format!("{}-{}", note.length, note.offset));
                if let Some(grave) = &replaced {
                    self.lose(&to, grave);
                }
                if let Some(at) = self.by_path.remove(&from) {
                    self.notes.files[at].path.clone_from(&to);
                    self.by_path.insert(to.clone(), at);
                }
                self.moves.push((note.number, Move::Renamed { from, to, replaced }));
            }
            9 => self.folder_synced = note.offset,
            _ => return Err(DiskError::Notes("a note of an unknown kind")),
        }
        Ok(())
    }

    fn at(&mut self, path: PathBuf) -> usize {
        let files = &mut self.notes.files;
        *self.by_path.entry(path).or_insert_with_key(|path| {
            files.push(History { path: path.clone(), ..History::default() });
            files.len() - 1
        })
    }

    fn file(&mut self, note: &Note<'_>) -> Result<&mut History, DiskError> {
        let at = self.by_number.get(&note.file).ok_or(DiskError::Notes("a file without a name"))?;
        Ok(&mut self.notes.files[*at])
    }

    /// A file has lost its name: it is found in its grave from now on.
    fn lose(&mut self, path: &PathBuf, grave: &str) {
        if let Some(at) = self.by_path.remove(path) {
            self.notes.files[at].path = PathBuf::from(grave);
        }
    }

    fn finish(mut self) -> Notes {
        for file in &mut self.notes.files {
            // Linux marks pages clean that it could not write (fsync(2), NOTES): what the first sync after a change has
            // failed to make safe, no later one does.
            for change in &mut file.changes {
                let first = file.syncs.iter().find(|(upto, _)| *upto >= change.number);
                change.safe = first.is_some_and(|(_, well)| *well);
            }
        }
        let safe = self.folder_synced;
        self.notes.moves = self.moves.into_iter().map(|(number, moved)| (moved, number <= safe)).collect();
        self.notes
    }
}

fn next<'a>(text: &mut &'a [u8]) -> Option<Note<'a>> {
    let head = text.get(..HEAD)?;
    let short = |at: usize| head[at..at + 4].try_into().map(u32::from_ne_bytes).unwrap_or_default();
    let long = |at: usize| head[at..at + 8].try_into().map(u64::from_ne_bytes).unwrap_or_default();
    let end = HEAD.checked_add(usize::try_from(long(40)).ok()?)?;
    let bytes = text.get(HEAD..end)?;
    let note = Note {
        kind: short(0),
        file: short(4),
        number: long(8),
        offset: long(16),
        length: long(24),
        before: long(32),
        bytes,
    };
    *text = &text[end..];
    Some(note)
}
