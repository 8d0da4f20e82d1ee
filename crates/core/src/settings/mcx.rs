//! `McxConfiguration`: the mobility service (lync.md §1.5).

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::names::Aor;

/// Which of its addresses a mobile client is told.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub enum ExposedWebUrl {
    /// The one for clients inside.
    Internal,
    /// The one that also works from outside.
    #[default]
    External,
}

/// `McxConfiguration`. The nearest record counts: service, then site, then global.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct McxConfiguration {
    /// Where it applies.
    pub identity: Scope,
    /// How long the session of a device that gets push lives without a word from it, in seconds.
    pub session_expiration_interval: u32,
    /// The same for a device that holds a connection, in seconds; shorter than the other.
    pub session_short_expiration_interval: u32,
    /// Which address phones are told. Kept for the documents' sake.
    #[serde(rename = "ExposedWebURL")]
    pub exposed_web_url: ExposedWebUrl,
    /// Where push requests go: a SIP URI at the publisher's domain.
    pub push_notification_proxy_uri: String,
}

impl Default for McxConfiguration {
    fn default() -> Self {
        Self {
            identity: Scope::Global,
            session_expiration_interval: 259_200,
            session_short_expiration_interval: 3600,
            exposed_web_url: ExposedWebUrl::External,
            push_notification_proxy_uri: "sip:push@push.lync.com".into(),
        }
    }
}

impl McxConfiguration {
    /// Where push requests go, if the URI can be read; the rules let no other be written.
    pub fn push_address(&self) -> Option<Aor> {
        let uri = &self.push_notification_proxy_uri;
        let scheme = uri.get(..4).filter(|scheme| scheme.eq_ignore_ascii_case("sip:"))?;
        uri[scheme.len()..].parse().ok()
    }
}
