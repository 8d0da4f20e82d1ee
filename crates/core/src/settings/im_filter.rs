//! `ImFilterConfiguration`: links in users' messages (lync.md §1.6).

use serde::{Deserialize, Serialize};

use super::Scope;

/// What becomes of a message with a link.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum FilterAction {
    /// It is delivered; the link no longer works by a touch.
    #[default]
    Allow,
    /// It is not delivered, and the sender is told.
    Block,
    /// It is delivered with a notice.
    Warn,
}

/// `ImFilterConfiguration`. It is about what users write to each other: a push never passes it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct ImFilterConfiguration {
    /// Where it applies.
    pub identity: Scope,
    /// What a link begins with.
    pub prefixes: Vec<String>,
    /// The notice beside a link that is allowed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub allow_message: String,
    /// The notice beside a link that is warned of.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub warn_message: String,
    /// Whether there is a filter at all.
    pub enabled: bool,
    /// Whether links to machines of the intranet pass.
    pub ignore_local: bool,
    /// Whether links to files of dangerous kinds are always blocked.
    pub block_file_extension: bool,
    /// What becomes of a message with a link.
    pub action: FilterAction,
}

impl Default for ImFilterConfiguration {
    fn default() -> Self {
        Self {
            identity: Scope::Global,
            prefixes: PREFIXES.map(str::to_owned).into(),
            allow_message: String::new(),
            warn_message: String::new(),
            enabled: true,
            ignore_local: true,
            block_file_extension: true,
            action: FilterAction::Allow,
        }
    }
}

/// The documents' default prefixes.
const PREFIXES: [&str; 17] = [
    "callto:", "file:", "ftp.", "ftp:", "gopher:", "href", "http:", "https:", "ldap:", "mailto:", "news:", "nntp:",
    "sip:", "sips:", "tel:", "telnet:", "www*",
];

/// The prefixes that a push request of the documents' product would have held.
const OF_A_PUSH: [&str; 2] = ["http:", "https:"];

impl ImFilterConfiguration {
    /// Whether the push *test* ends with "Push Notification request was rejected.": the documented conflict of the URL
    /// filter with push (DESIGN.md §4). Pushes themselves never pass the filter.
    pub fn rejects_push_test(&self) -> bool {
        self.enabled && self.action == FilterAction::Block && self.offending_prefixes().next().is_some()
    }

    /// The prefixes that the test would be rejected for while links are blocked; to be removed, says the document.
    pub fn offending_prefixes(&self) -> impl Iterator<Item = &str> {
        let offends = |prefix: &&str| OF_A_PUSH.iter().any(|known| known.eq_ignore_ascii_case(prefix));
        self.prefixes.iter().map(String::as_str).filter(offends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_push_test_is_rejected_exactly_while_links_of_the_web_are_blocked() {
        let without = |gone: &[&str]| -> Vec<String> {
            PREFIXES.iter().filter(|prefix| !gone.contains(prefix)).map(|prefix| (*prefix).to_owned()).collect()
        };
        for (enabled, action, prefixes, expected) in [
            (true, FilterAction::Allow, without(&[]), false),
            (true, FilterAction::Warn, without(&[]), false),
            (true, FilterAction::Block, without(&[]), true),
            (false, FilterAction::Block, without(&[]), false),
            (true, FilterAction::Block, without(&["http:"]), true),
            (true, FilterAction::Block, without(&["http:", "https:"]), false),
            (true, FilterAction::Block, vec!["HTTP:".into()], true),
            (true, FilterAction::Block, vec![], false),
        ] {
            let filter = ImFilterConfiguration { enabled, action, prefixes, ..Default::default() };
            assert_eq!(filter.rejects_push_test(), expected, "{filter:?}");
        }
    }
}
