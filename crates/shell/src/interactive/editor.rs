//! The line editor: reedline with our completion, history and idea of when a line is whole.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reedline::{
    Color, ColumnarMenu, Completer, CompletionResult, DefaultHinter, Emacs, Highlighter, KeyCode, KeyModifiers,
    MenuBuilder as _, Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Span,
    StyledText, Suggestion, ValidationResult, Validator, default_emacs_keybindings,
};
use reveille_admin::cmdlet::{Name, Verb};
use reveille_admin::{About, Object, Value};
use tokio::runtime::Handle;

use super::history::Discreet;
use super::place::place;
use super::suggest::{Known, USERS, suggest};
use crate::host::Host;
use crate::parser;
use crate::visible::is_obeyed;

/// What the editor shares with the loop around it.
#[derive(Clone, Default)]
pub(super) struct Shared {
    variables: Arc<Mutex<Vec<String>>>,
    identities: Arc<Mutex<BTreeMap<&'static str, Vec<String>>>>,
}

impl Shared {
    /// A line was run: variables may have changed, and so may what the server knows.
    pub(super) fn renew(&self, variables: Vec<String>) {
        *self.variables.lock().unwrap_or_else(PoisonError::into_inner) = variables;
        self.identities.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The editor. Colours are used unless `plain`; nothing depends on them.
pub(super) fn editor(host: Arc<dyn Host>, shared: Shared, history: Discreet, plain: bool) -> Reedline {
    let mut keys = default_emacs_keybindings();
    let menu = ReedlineEvent::Menu(MENU.into());
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(vec![menu, ReedlineEvent::MenuNext]));
    keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
    let cmdlets = host.cmdlets().iter().map(|cmdlet| cmdlet.about()).collect();
    let completer = Completion { known: Everything { host, shared, cmdlets } };
    let menu = ColumnarMenu::default().with_name(MENU).with_marker("> ");
    let menu = match plain {
        true => menu
            .with_text_style(Color::Default.normal())
            .with_match_text_style(Color::Default.normal())
            .with_selected_match_text_style(Color::Default.reverse())
            .with_selected_text_style(Color::Default.reverse())
            .with_description_text_style(Color::Default.dimmed()),
        false => menu,
    };
    let hint = if plain { Color::Default.dimmed() } else { Color::DarkGray.normal() };
    Reedline::create()
        .with_completer(Box::new(completer))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_hinter(Box::new(DefaultHinter::default().with_style(hint)))
        .with_validator(Box::new(Whole))
        .with_highlighter(Box::new(Unpainted))
        .with_history(Box::new(history))
        .use_bracketed_paste(true)
}

/// Whether what was typed so far must go on in another line.
pub(super) fn goes_on(text: &str) -> bool {
    // An empty line says that nothing more is coming; then the parser says what is missing.
    !text.ends_with("\n\n") && parser::parse(text).is_err_and(|fault| fault.incomplete)
}

struct Whole;

impl Validator for Whole {
    fn validate(&self, line: &str) -> ValidationResult {
        if goes_on(line) { ValidationResult::Incomplete } else { ValidationResult::Complete }
    }
}

/// A line is shown as it is typed.
struct Unpainted;

impl Highlighter for Unpainted {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut text = StyledText::new();
        text.push((Color::Default.normal(), line.to_owned()));
        text
    }
}

/// `reveille> `, and `>> ` for what goes on.
pub(super) struct Plain;

impl Prompt for Plain {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        "reveille".into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        "> ".into()
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        ">> ".into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        format!("(searching: {}) ", search.term).into()
    }

    fn get_prompt_color(&self) -> Color {
        Color::Default
    }

    fn get_prompt_multiline_color(&self) -> Color {
        Color::Default
    }

    fn get_indicator_color(&self) -> Color {
        Color::Default
    }

    fn get_prompt_right_color(&self) -> Color {
        Color::Default
    }
}

struct Completion {
    known: Everything,
}

impl Completer for Completion {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let Some(place) = line.get(..pos).and_then(place) else { return CompletionResult::fresh(Vec::new()) };
        let span = Span::new(place.start, pos);
        // What is shown here is also what is written: a name with controls in it is not offered.
        let shown = suggest(&place, &self.known).into_iter().filter(|it| !it.value.contains(is_obeyed)).take(SHOWN_MAX);
        let all = shown.map(|it| Suggestion {
            value: it.value,
            description: Some(it.description).filter(|description| !description.is_empty()),
            append_whitespace: it.ends,
            span,
            ..Suggestion::default()
        });
        let mut all: Vec<_> = all.collect();
        if all.is_empty() {
            // What stands there is what would be written: Tab does nothing, and no menu says so in capitals.
            all.push(Suggestion { value: line[place.start..pos].to_owned(), span, ..Suggestion::default() });
        }
        CompletionResult::fresh(all)
    }
}

/// What the shell, the session and the server know.
struct Everything {
    host: Arc<dyn Host>,
    shared: Shared,
    cmdlets: Vec<&'static About>,
}

impl Known for Everything {
    fn cmdlets(&self) -> &[&'static About] {
        &self.cmdlets
    }

    fn variables(&self) -> Vec<String> {
        self.shared.variables.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn identities(&self, noun: &'static str) -> Vec<String> {
        let mut kept = self.shared.identities.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(noun).or_insert_with(|| ask(&*self.host, noun)).clone()
    }

    fn files(&self, folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let names = entries.map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        });
        names.take(KNOWN_MAX).collect()
    }
}

/// The identities that `Get-NOUN` shows. A server that is slow or refuses has none: whoever types is not held up.
fn ask(host: &dyn Host, noun: &'static str) -> Vec<String> {
    let name = Name::new(Verb::Get, noun);
    if !host.cmdlets().iter().any(|cmdlet| cmdlet.about().name == name) {
        return Vec::new();
    }
    let nothing = Object::default();
    let asked = async { tokio::time::timeout(PATIENCE, host.invoke(name, &nothing)).await };
    // The editor has a thread to itself, on which one may wait.
    let Ok(Ok(outcome)) = Handle::current().block_on(asked) else { return Vec::new() };
    // Who has several devices is one user.
    let property = if noun == USERS { "User" } else { "Identity" };
    let named = |value: &Value| Some(value.as_object()?.property(property)?.as_text()?.to_owned());
    let mut all: Vec<_> = outcome.objects.iter().filter_map(named).take(KNOWN_MAX).collect();
    all.dedup();
    all
}

const MENU: &str = "completion";
const PATIENCE: Duration = Duration::from_secs(2);
/// What is looked through for what has been begun.
const KNOWN_MAX: usize = 100_000;
/// What a menu shows of it.
const SHOWN_MAX: usize = 1_000;
