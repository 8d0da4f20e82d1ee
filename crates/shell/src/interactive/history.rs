//! The lines that were entered, kept between sessions in a file that only their author can read, without those that
//! hold a secret.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use reedline::{FileBackedHistory, History, HistoryItem, HistoryItemId, HistorySessionId, Result, SearchQuery};

use crate::lexer::{is_dash, is_double, is_single};

/// A history that forgets secrets at once.
pub(super) struct Discreet(FileBackedHistory);

impl Discreet {
    /// In that file, which is made, closed to others, where there is none. Without a file it lasts as long as the shell.
    pub(super) fn new(place: Option<&Kept>) -> io::Result<Self> {
        let kept = match place {
            Some(Kept { file, home }) => {
                prepare(file, home.as_deref())?;
                FileBackedHistory::with_file(LINES, file.clone())
            }
            None => FileBackedHistory::new(LINES),
        };
        kept.map(Self).map_err(io::Error::other)
    }
}

/// Where lines are kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Kept {
    /// The file.
    file: PathBuf,
    /// The user's folder that it lies in; it must be there.
    home: Option<PathBuf>,
}

/// Where the history is: `$XDG_STATE_HOME/reveille/history`, or below `~/.local/state` (XDG Base Directory, 0.8).
pub(super) fn place(environment: &dyn Fn(&str) -> Option<String>) -> Option<Kept> {
    let absolute = |path: String| Some(PathBuf::from(path)).filter(|path| path.is_absolute());
    if let Some(state) = environment("XDG_STATE_HOME").and_then(absolute) {
        return Some(Kept { file: state.join("reveille/history"), home: None });
    }
    let home = environment("HOME").and_then(absolute)?;
    Some(Kept { file: home.join(".local/state/reveille/history"), home: Some(home) })
}

fn prepare(file: &Path, made_in: Option<&Path>) -> io::Result<()> {
    // Folders are made in a home that is there; one that is not is a mistake, or a service's who has none.
    if let Some(missing) = made_in.filter(|home| !home.is_dir()) {
        return Err(io::Error::other(format!("there is no folder {}", missing.display())));
    }
    if let Some(folder) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // The mode counts only when the file is made, and reedline opens what is there.
    OpenOptions::new().append(true).create(true).mode(0o600).open(file).map(drop)
}

/// Whether a line holds, or may hold, a secret in clear: then it is not kept.
///
/// `-Password "…"` and its like, `ConvertTo-SecureString "…"`, and a variable, property or key of such a name that is
/// given text, or compared with it. A variable, or a command in brackets, in the place of the text gives nothing away. In
/// doubt it is a secret: a line that is not kept has only to be typed again.
pub(super) fn is_secret(line: &str) -> bool {
    let line = plain(line);
    if line.contains("convertto-securestring") {
        return true;
    }
    let is_name = |found: char| found.is_alphanumeric() || found == '_';
    let mut at = 0;
    while let Some(start) = line[at..].find(is_name).map(|found| at + found) {
        let end = line[start..].find(|found| !is_name(found)).map_or(line.len(), |length| start + length);
        if gives_away(&line[..start], &line[start..end], &line[end..]) {
            return true;
        }
        at = end;
    }
    false
}

/// A line in lower case with straight quotation marks and hyphens, and without what makes one of several.
fn plain(line: &str) -> String {
    let straight = |found: char| match found {
        found if is_dash(found) => Some('-'),
        found if is_double(found) => Some('"'),
        found if is_single(found) => Some('\''),
        '`' => None,
        found if found.is_whitespace() => Some(' '),
        found => Some(found),
    };
    line.to_lowercase().chars().filter_map(straight).collect()
}

/// Whether a word names a secret and what stands around it says which.
fn gives_away(before: &str, word: &str, after: &str) -> bool {
    // Short, so that a password behind a misspelt name is one too.
    const WORDS: [&str; 6] = ["pas", "psw", "pwd", "secret", "token", "cred"];
    // What the shell takes for -Password.
    const SHORTENED: [&str; 3] = ["p", "pa", "pw"];
    let names_one = WORDS.iter().any(|secret| word.contains(secret))
        && !(word.len() > "pass".len() && "passthru".starts_with(word));
    let marked = before.strip_suffix(['-', '/']).map(|before| before.trim_end_matches('-'));
    // The hyphen of a command's name stands within a word.
    if marked.is_some_and(|before| !before.ends_with(|found: char| found.is_alphanumeric() || found == '_')) {
        let value = after.trim_start().trim_start_matches([':', '=']).trim_start();
        return (names_one || SHORTENED.contains(&word)) && in_clear(value);
    }
    if !names_one {
        return false;
    }
    // $h["password"], ${password}, [string]($password): what follows the name.
    let after = after.trim_start_matches([' ', '"', '\'', ']', ')', '}']);
    let operator = after.strip_prefix('+').unwrap_or(after);
    if let Some(value) = operator.strip_prefix('=') {
        return in_clear(value.trim_start());
    }
    let compared = ["-eq ", "-ne ", "-ceq ", "-cne ", "-ieq ", "-ine ", "-like ", "-match ", "in ", ","];
    let given = compared.iter().find_map(|operator| after.strip_prefix(operator));
    given.is_some_and(|value| value.trim_start_matches([' ', '(', '@']).starts_with(['"', '\'']))
}

/// Whether what stands where a secret belongs is one, and no variable or command that gives one.
fn in_clear(value: &str) -> bool {
    let value = value.trim_start_matches(['(', '@', '{', '[', ' ']);
    let value = match value.split_once(']') {
        // A cast.
        Some((cast, rest)) if cast.chars().all(char::is_alphanumeric) => rest.trim_start(),
        _ => value,
    };
    let value = value.strip_prefix("$(").unwrap_or(value).trim_start_matches(['(', '@', ' ']);
    let ends = |found: char| matches!(found, ' ' | ';' | '|' | ')' | '}');
    let word = value.split(ends).next().unwrap_or_default();
    if value.starts_with('$') {
        // Text may be put behind a variable: $part + "…".
        return value[word.len()..].trim_start_matches([' ', ')']).starts_with(['+', '"', '\''])
            || word.contains(['"', '\'']);
    }
    let is_command = word.contains('-') && !word.contains(['"', '\'']) && commands().any(|name| name == word);
    !word.is_empty() && !is_command
}

/// All commands, in lower case.
fn commands() -> impl Iterator<Item = String> {
    let own = crate::builtin::TABLE.iter().map(|builtin| builtin.name.to_lowercase());
    own.chain(reveille_admin::cmdlets::CMDLETS.iter().map(|cmdlet| cmdlet.about().name.to_string().to_lowercase()))
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
            ("\"a\";$password=\"x\"", true),
            ("[string]$password=\"x\"", true),
            ("Get-CsAllowedDomain b.example \u{2013}Password \"x\"", true),
            ("$h=@{Password=\"x\"}", true),
            ("Get-CsAllowedDomain -Password (\"x\")", true),
            ("New-CsAdminAccount ken -Password $(\u{201c}x\u{201d})", true),
            ("New-CsAdminAccount ken -Password ($part + 'x')", true),
            ("New-CsAdminAccount ken -Password ([string]'x')", true),
            ("New-CsAdminAccount ken -pass`word x", true),
            ("New-CsAdminAccount ken -Password `\n  'x'", true),
            ("New-CsAdminAccount ken -pa x", true),
            ("New-CsAdminAccount ken -Password -x", true),
            ("$h['password'] = 'x'", true),
            ("${password} = 'x'", true),
            ("$env:PASSWORD='x'", true),
            ("$password = [string]\"x\"", true),
            ("$password = x", true),
            ("if ($password -eq 'x') { 1 }", true),
            ("$h = @{ Password = $kept; Name = 'ken' }", false),
            ("$password = Read-Host 'Password of ken'", false),
            ("Get-CsAdminToken | Where-Object { $_.Name -eq 'x' }", false),
            ("New-CsAdminAccount ken -Password $password -Comment 'x'", false),
            ("Set-CsAllowedDomain x.example -Comment 'x' -PassThru", false),
        ] {
            assert_eq!(is_secret(line), secret, "{line}");
        }
    }

    #[test]
    fn the_file_is_closed_to_others_and_keeps_no_secret() {
        let folder = std::env::temp_dir().join(format!("reveille-history-{}", std::process::id()));
        let file = folder.join("state/history");
        let mut history = Discreet::new(Some(&Kept { file: file.clone(), home: None })).unwrap();
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
    fn a_home_that_is_not_there_is_not_made() {
        let home = std::env::temp_dir().join(format!("reveille-no-home-{}", std::process::id()));
        let kept = place(&|name: &str| (name == "HOME").then(|| home.display().to_string())).unwrap();
        let why = Discreet::new(Some(&kept)).err().expect("there is no such folder").to_string();
        assert_eq!(why, format!("there is no folder {}", home.display()));
        assert!(!home.exists());
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
            let found = place(&environment).map(|kept| kept.file);
            assert_eq!(found.as_deref(), expected.map(Path::new));
        }
    }
}
