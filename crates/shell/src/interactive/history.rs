//! The lines that were entered, kept between sessions in a file that only their author can read, without those that
//! hold a secret.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use reedline::{FileBackedHistory, History, HistoryItem, HistoryItemId, HistorySessionId, Result, SearchQuery};

/// A history that forgets secrets at once.
pub(super) struct Discreet(FileBackedHistory);

impl Discreet {
    /// In that file, which is made, closed to others, where there is none. Without a file it lasts as long as the shell.
    pub(super) fn new(file: Option<&Path>) -> io::Result<Self> {
        let kept = match file {
            Some(file) => {
                prepare(file)?;
                FileBackedHistory::with_file(LINES, file.to_owned())
            }
            None => FileBackedHistory::new(LINES),
        };
        kept.map(Self).map_err(io::Error::other)
    }
}

/// Where the history is: `$XDG_STATE_HOME/reveille/history`, or below `~/.local/state` (XDG Base Directory, 0.8).
pub(super) fn file(environment: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let absolute = |path: String| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    let state = environment("XDG_STATE_HOME").and_then(absolute);
    let home = || environment("HOME").and_then(absolute).map(|home| home.join(".local/state"));
    Some(state.or_else(home)?.join("reveille/history"))
}

fn prepare(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // The mode counts only when the file is made, and reedline opens what is there.
    OpenOptions::new().append(true).create(true).mode(0o600).open(file).map(drop)
}

/// Whether a line holds, or may hold, a secret in clear: then it is not kept.
///
/// `-Password "…"` and its like, `ConvertTo-SecureString "…"`, and a variable of such a name that is given text. A
/// variable or brackets in the place of the text give nothing away.
pub(super) fn is_secret(line: &str) -> bool {
    // Short, so that a password behind a misspelt name is one too.
    const WORDS: [&str; 6] = ["pas", "psw", "pwd", "secret", "token", "cred"];
    let names_one = |word: &str| WORDS.iter().any(|secret| word.contains(secret));
    let line = line.to_ascii_lowercase();
    let words: Vec<_> = line.split_whitespace().collect();
    let in_clear = |value: &str| !value.is_empty() && !value.starts_with(['$', '(', '-', '|', ';', '{', '@']);
    let next = |index: usize| words.get(index + 1).copied().unwrap_or_default();
    words.iter().enumerate().any(|(index, word)| {
        if *word == "convertto-securestring" {
            return true;
        }
        if let Some(name) = word.strip_prefix('-') {
            return match name.split_once(':') {
                Some((name, value)) => names_one(name) && in_clear(value),
                None => names_one(name) && in_clear(next(index)),
            };
        }
        if let Some(name) = word.strip_prefix('$') {
            let (name, value) = match name.split_once('=') {
                Some((name, "")) => (name, next(index)),
                Some((name, value)) => (name, value),
                None if next(index) == "=" => (name, next(index + 1)),
                None => match next(index).strip_prefix('=') {
                    Some(value) => (name, value),
                    None => return false,
                },
            };
            // `$credential = Get-Credential ken` is what the documents write.
            return names_one(name) && value.starts_with(['"', '\'']);
        }
        false
    })
}

impl History for Discreet {
    fn save(&mut self, item: HistoryItem) -> Result<HistoryItem> {
        if is_secret(&item.command_line) {
            // As reedline does with what repeats the line before: it has no number, and is not there.
            return Ok(HistoryItem { id: None, ..item });
        }
        self.0.save(item)
    }

    fn load(&self, id: HistoryItemId) -> Result<HistoryItem> {
        self.0.load(id)
    }

    fn count(&self, query: SearchQuery) -> Result<i64> {
        self.0.count(query)
    }

    fn search(&self, query: SearchQuery) -> Result<Vec<HistoryItem>> {
        self.0.search(query)
    }

    fn update(&mut self, id: HistoryItemId, updater: &dyn Fn(HistoryItem) -> HistoryItem) -> Result<()> {
        self.0.update(id, updater)
    }

    fn clear(&mut self) -> Result<()> {
        self.0.clear()
    }

    fn delete(&mut self, id: HistoryItemId) -> Result<()> {
        self.0.delete(id)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }

    fn session(&self) -> Option<HistorySessionId> {
        self.0.session()
    }
}

/// Lines that are kept; the oldest go.
const LINES: usize = 5_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_line_with_a_secret_in_clear_is_known() {
        for (line, secret) in [
            ("New-CsAdminAccount ken -Password 'correct horse'", true),
            ("New-CsAdminAccount ken -pass:correct", true),
            ("New-CsAdminAccount ken -Pasword correct", true),
            ("Enable-CsHostingProvider LyncOnline -PassThru | Format-List", false),
            ("Set-CsPushApp -ClientSecret abc", true),
            ("$p = ConvertTo-SecureString 'x' -AsPlainText", true),
            ("$password = \"x\"", true),
            ("$password=\"x\"", true),
            ("$token ='x'", true),
            ("$credential = Get-Credential \"litwareinc\\kenmyer\"", false),
            ("Test-CsAVEdgeConnectivity -UserCredential $credential", false),
            ("Test-CsAVEdgeConnectivity -UserCredential (Get-Credential ken)", false),
            ("New-CsAdminAccount ken -Password", false),
            ("Get-CsAdminToken", false),
            ("Get-CsMcxConfiguration", false),
        ] {
            assert_eq!(is_secret(line), secret, "{line}");
        }
    }

    #[test]
    fn the_file_is_closed_to_others_and_keeps_no_secret() {
        let folder = std::env::temp_dir().join(format!("reveille-history-{}", std::process::id()));
        let file = folder.join("state/history");
        let mut history = Discreet::new(Some(&file)).unwrap();
        for line in ["Get-CsMcxConfiguration", "New-CsAdminAccount ken -Password 'correct horse'"] {
            history.save(HistoryItem::from_command_line(line)).unwrap();
        }
        history.sync().unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), "Get-CsMcxConfiguration");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_file_is_where_the_desktop_specification_says() {
        for (variables, expected) in [
            (&[("XDG_STATE_HOME", "/state"), ("HOME", "/home/ken")][..], Some("/state/reveille/history")),
            (&[("XDG_STATE_HOME", "relative"), ("HOME", "/home/ken")], Some("/home/ken/.local/state/reveille/history")),
            (&[], None),
        ] {
            let environment =
                |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(file(&environment).as_deref(), expected.map(Path::new));
        }
    }
}
