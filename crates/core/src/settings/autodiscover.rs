//! `AutodiscoverConfiguration`: what clients are told when they look for their service (lync.md §4.3).

use serde::{Deserialize, Serialize};

use super::Scope;
use crate::names::SipDomain;

/// One address in the answer of autodiscover.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct WebLink {
    /// The link's name, for instance `Internal/Mcx`.
    pub token: String,
    /// The address, `https://…`.
    pub href: String,
}

/// `AutodiscoverConfiguration`. Kept for the documents' sake: clients of today are configured or use SIP alone.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct AutodiscoverConfiguration {
    /// Where it applies.
    pub identity: Scope,
    /// The links that are answered.
    pub web_links: Vec<WebLink>,
    /// Where SIP clients outside connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_sip_client_access_fqdn: Option<SipDomain>,
    /// On which port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_sip_client_access_port: Option<u16>,
    /// Whether clients are told where certificates are made.
    pub enable_certificate_provisioning_service_url: bool,
    /// Whether pages of other origins may ask.
    #[serde(rename = "EnableCORS")]
    pub enable_cors: bool,
}

impl Default for AutodiscoverConfiguration {
    fn default() -> Self {
        Self {
            identity: Scope::Global,
            web_links: Vec::new(),
            external_sip_client_access_fqdn: None,
            external_sip_client_access_port: None,
            enable_certificate_provisioning_service_url: true,
            enable_cors: false,
        }
    }
}
