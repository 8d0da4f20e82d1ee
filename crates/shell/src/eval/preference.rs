//! The variables by which a script says once what commands else say each: honoured, or refused where they are set.
//!
//! A guard that is taken and does nothing is worse than none, so that what is refused ends the script.

use reveille_admin::bind::Element;
use reveille_admin::{Object, Value};

use super::Action;

/// A variable that PowerShell gives a meaning.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Preference {
    Confirm,
    Debug,
    Defaults,
    Error,
    Information,
    Progress,
    Separator,
    Verbose,
    Warning,
    WhatIf,
}

/// The commands of PowerShell that set a guard, with what to write instead: a script does not go on without it.
const GUARDS: &[(&[&str], &str)] = &[
    (&["set-psdebug"], "Write Set-StrictMode -Version Latest to be told of variables that were never set."),
    (&["set-variable", "sv", "new-variable", "nv"], "Write $name = value."),
];

/// What to write instead of a command that would guard what follows, if it is one.
pub(super) fn missing_guard(command: &str) -> Option<&'static str> {
    let is = |name: &&str| name.eq_ignore_ascii_case(command);
    GUARDS.iter().find(|(names, _)| names.iter().any(is)).map(|(_, instead)| *instead)
}

impl Preference {
    /// By the name of its variable, in any case.
    pub(crate) fn named(variable: &str) -> Option<Self> {
        Some(match variable.to_ascii_lowercase().as_str() {
            "confirmpreference" => Self::Confirm,
            "debugpreference" => Self::Debug,
            "erroractionpreference" => Self::Error,
            "informationpreference" => Self::Information,
            "ofs" => Self::Separator,
            "progresspreference" => Self::Progress,
            "psdefaultparametervalues" => Self::Defaults,
            "verbosepreference" => Self::Verbose,
            "warningpreference" => Self::Warning,
            "whatifpreference" => Self::WhatIf,
            _ => return None,
        })
    }

    /// What holds as long as nobody has said otherwise; a script may keep it, and set it again.
    pub(crate) fn default_value(self) -> Value {
        match self {
            Self::Confirm => "High".into(),
            Self::Debug | Self::Information | Self::Verbose => "SilentlyContinue".into(),
            Self::Defaults => Object::new("").into(),
            Self::Error | Self::Progress | Self::Warning => "Continue".into(),
            Self::Separator => " ".into(),
            Self::WhatIf => false.into(),
        }
    }

    /// A value in the form in which it is kept, or the sentence that says what to write instead.
    pub(crate) fn accept(self, value: Value) -> Result<Value, String> {
        let kept = match self {
            Self::Error => error_action(&value),
            Self::WhatIf => switch(&value),
            Self::Verbose | Self::Warning => one_of(&named(&value), &["Continue", "Ignore", "SilentlyContinue"]),
            Self::Debug | Self::Information => one_of(&named(&value), &["Ignore", "SilentlyContinue"]),
            // Nothing shows how far it has come, so that every word is met.
            Self::Progress => return Ok(value),
            Self::Confirm => one_of(&value, &["High"]),
            Self::Defaults => value.as_object().is_some_and(|it| it.all().next().is_none()).then(|| value.clone()),
            Self::Separator => one_of(&value, &[" "]),
        };
        kept.ok_or_else(|| self.refusal(&value))
    }

    fn refusal(self, value: &Value) -> String {
        let shown = if *value == Value::Null { "$null".to_owned() } else { format!("\"{value}\"") };
        let (is, instead) = match self {
            Self::Error => ("$ErrorActionPreference cannot be", "Write Continue, Ignore, SilentlyContinue or Stop."),
            Self::WhatIf => ("$WhatIfPreference cannot be", "Write $true or $false."),
            Self::Verbose => ("$VerbosePreference cannot be", "Write Continue, or SilentlyContinue."),
            Self::Warning => ("$WarningPreference cannot be", "Write Continue, or SilentlyContinue."),
            Self::Debug => ("$DebugPreference cannot be", "Write $VerbosePreference = 'Continue'."),
            Self::Information | Self::Progress => ("$InformationPreference cannot be", "Write Write-Host."),
            Self::Confirm => (
                "$ConfirmPreference cannot be",
                "Write -Confirm at each command that is to ask, and -Confirm:$false at one that is not.",
            ),
            Self::Defaults => (
                "$PSDefaultParameterValues can only be empty, not",
                "Write the parameter at each command; for -WhatIf at all of them: $WhatIfPreference = $true.",
            ),
            Self::Separator => ("$OFS cannot be", "Write $list -join and what is to stand between."),
        };
        format!("{is} {shown} here, and the script ends. {instead}")
    }
}

/// One of those words, as it is written there.
fn one_of(value: &Value, words: &[&str]) -> Option<Value> {
    let text = value.to_string();
    words.iter().find(|word| word.eq_ignore_ascii_case(&text)).map(|word| (*word).into())
}

fn error_action(value: &Value) -> Option<Value> {
    one_of(&named(value), &["Continue", "Ignore", "SilentlyContinue", "Stop"])
}

/// The words of `ActionPreference` in PowerShell's order, by which a number stands for one.
const ACTIONS: &[&str] = &["SilentlyContinue", "Stop", "Continue", "Inquire", "Ignore"];

/// What is to be done about errors or warnings as a word, where a number stands for it, itself or as text.
pub(crate) fn named(value: &Value) -> Value {
    let number = match value {
        Value::Int(number) => usize::try_from(*number).ok(),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    };
    number.and_then(|number| ACTIONS.get(number)).map_or_else(|| value.clone(), |word| (*word).into())
}

/// Puts the word for the number that `-ErrorAction` or `-WarningAction` was given.
pub(super) fn name_numbers(elements: &mut [Element]) {
    for at in 0..elements.len() {
        let (before, after) = elements.split_at_mut(at + 1);
        match (&mut before[at], after.first_mut()) {
            (Element::Parameter { name, attached: Some(value) }, _) if is_action(name) => *value = named(value),
            (Element::Parameter { name, attached: None }, Some(Element::Value(value))) if is_action(name) => {
                *value = named(value);
            }
            _ => {}
        }
    }
}

/// Whether a parameter of that name, perhaps shortened, takes one of [`ACTIONS`].
fn is_action(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let shortens = |whole: &str, least: usize| name.len() >= least && whole.starts_with(&name);
    matches!(&*name, "ea" | "wa") || shortens("erroraction", 6) || shortens("warningaction", 8)
}

fn switch(value: &Value) -> Option<Value> {
    match value {
        Value::Bool(_) => Some(value.clone()),
        Value::Int(0) => Some(false.into()),
        Value::Int(1) => Some(true.into()),
        _ => None,
    }
}

/// What is done about errors, as the variable says.
pub(crate) fn action(value: &Value) -> Option<Action> {
    Action::named(&named(value).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_already_can_be_set_again() {
        for name in [
            "ConfirmPreference",
            "DebugPreference",
            "ErrorActionPreference",
            "InformationPreference",
            "OFS",
            "ProgressPreference",
            "PSDefaultParameterValues",
            "VerbosePreference",
            "WarningPreference",
            "WhatIfPreference",
        ] {
            let preference = Preference::named(name).unwrap();
            assert_eq!(preference.accept(preference.default_value()), Ok(preference.default_value()), "{name}");
        }
        assert_eq!(Preference::named("MyPreference"), None);
    }

    #[test]
    fn a_value_that_would_mean_nothing_is_refused() {
        let defaults = Object::new("").with("*:WhatIf", true);
        for (name, value) in [
            ("ErrorActionPreference", Value::from("Stpo")),
            ("erroractionpreference", Value::Null),
            ("ErrorActionPreference", "Inquire".into()),
            ("WhatIfPreference", "false".into()),
            ("WhatIfPreference", Value::Null),
            ("WhatIfPreference", Value::Int(2)),
            ("VerbosePreference", "Stop".into()),
            ("WarningPreference", "Stop".into()),
            ("ConfirmPreference", "Low".into()),
            ("ConfirmPreference", "None".into()),
            ("DebugPreference", "Continue".into()),
            ("InformationPreference", "Continue".into()),
            ("PSDefaultParameterValues", defaults.into()),
            ("OFS", ",".into()),
        ] {
            let said = Preference::named(name).unwrap().accept(value.clone()).expect_err(name);
            assert!(said.to_lowercase().contains(&name.to_lowercase()) && said.contains("Write"), "{value:?}: {said}");
        }
    }
}
