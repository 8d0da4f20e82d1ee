//! `AdminRole`: a role of an organisation's own (lync.md §1.7). The predefined ones are no records.

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::names::{Aor, SipDomain};

/// `AdminRole`: what those who have it may run, and on what.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AdminRole {
    /// The role's name.
    pub identity: String,
    /// The predefined role that it was made of.
    pub template: String,
    /// The names of the cmdlets that it may run. What is not named it may not: the template is only what it began with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmdlets: Vec<String>,
    /// Scripts that it may run. Kept for the documents' sake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub script_modules: Vec<String>,
    /// Where it may change settings: `global`, or sites as `site:Name`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_scopes: Vec<String>,
    /// Which users it may touch: `global`, or some as `domain:contoso.com` or `user:alice@contoso.com`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub user_scopes: Vec<String>,
}

/// The names of the predefined roles: what a role of one's own is made of, and never called.
pub const PREDEFINED_ROLES: [&str; 11] = [
    "CsAdministrator",
    "CsArchivingAdministrator",
    "CsHelpDesk",
    "CsLocationAdministrator",
    "CsPersistentChatAdministrator",
    "CsResponseGroupAdministrator",
    "CsResponseGroupManager",
    "CsServerAdministrator",
    "CsUserAdministrator",
    "CsViewOnlyAdministrator",
    "CsVoiceAdministrator",
];

impl AdminRole {
    /// The first property that no role can have: its name, the value, and what is wrong with it.
    pub(super) fn fault(&self) -> Option<(&'static str, &str, &'static str)> {
        let is_predefined = |name: &str| PREDEFINED_ROLES.iter().any(|known| known.eq_ignore_ascii_case(name));
        if is_predefined(&self.identity) {
            return Some(("Identity", &self.identity, "that is a predefined role, which cannot be changed"));
        }
        if !is_predefined(&self.template) {
            return Some((
                "Template",
                &self.template,
                "that is no predefined role, and only one of those can be a template",
            ));
        }
        let config = self.config_scopes.iter().find(|scope| !is_config_scope(scope));
        let users = || self.user_scopes.iter().find(|scope| !is_user_scope(scope));
        match config {
            Some(scope) => Some(("ConfigScopes", scope, "it is global or site:Name")),
            None => users().map(|scope| {
                ("UserScopes", scope.as_str(), "it is global, domain:contoso.com or user:alice@contoso.com")
            }),
        }
    }
}

fn is_config_scope(text: &str) -> bool {
    matches!(text.parse(), Ok(Scope::Global | Scope::Site(_)))
}

fn is_user_scope(text: &str) -> bool {
    match text.split_once(':') {
        None => text.eq_ignore_ascii_case("global"),
        Some((kind, name)) if kind.eq_ignore_ascii_case("domain") => name.parse::<SipDomain>().is_ok(),
        Some((kind, name)) => kind.eq_ignore_ascii_case("user") && name.parse::<Aor>().is_ok(),
    }
}
