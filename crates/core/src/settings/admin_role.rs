//! `AdminRole`: a role of an organisation's own (lync.md §1.7). The predefined ones are no records.

use serde::{Deserialize, Serialize};

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
