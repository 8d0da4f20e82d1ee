//! Providers: someone else's edge that carries the domains of many organisations (lync.md §1.2).

use serde::{Deserialize, Serialize};

use super::VerificationLevel;
use crate::names::SipDomain;

/// `HostingProvider`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct HostingProvider {
    /// A free, unique name.
    pub identity: String,
    /// Where its edge answers, on 5061, and the name that its certificate must hold. Cannot be changed later.
    pub proxy_fqdn: SipDomain,
    /// Off until enabled.
    #[serde(default)]
    pub enabled: bool,
    /// How far it is believed.
    #[serde(default)]
    pub verification_level: VerificationLevel,
    /// Whether it shares our address space. Kept for the documents' sake.
    #[serde(default)]
    pub enabled_shared_address_space: bool,
    /// Whether it hosts users of the same product. Kept for the documents' sake.
    #[serde(default, rename = "HostsOCSUsers")]
    pub hosts_ocs_users: bool,
    /// Whether it is our own. Kept for the documents' sake.
    #[serde(default)]
    pub is_local: bool,
    /// Where its clients find it. Kept for the documents' sake.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub autodiscover_url: String,
    /// Where its clients connect. Kept for the documents' sake.
    #[serde(default = "client_port")]
    pub sip_client_port: u16,
}

impl HostingProvider {
    /// A provider with the documents' defaults: disabled, always verifiable.
    pub fn new(identity: &str, proxy_fqdn: SipDomain) -> Self {
        Self {
            identity: identity.into(),
            proxy_fqdn,
            enabled: false,
            verification_level: VerificationLevel::AlwaysVerifiable,
            enabled_shared_address_space: false,
            hosts_ocs_users: false,
            is_local: false,
            autodiscover_url: String::new(),
            sip_client_port: client_port(),
        }
    }
}

const fn client_port() -> u16 {
    443
}

/// `PublicProvider`: the same for a public messaging service.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PublicProvider {
    /// A free, unique name.
    pub identity: String,
    /// Where its edge answers, on 5061, and the name that its certificate must hold. Cannot be changed later.
    pub proxy_fqdn: SipDomain,
    /// Off until enabled.
    #[serde(default)]
    pub enabled: bool,
    /// How far it is believed. The documents name no default; what is believed least does no harm.
    #[serde(default = "source")]
    pub verification_level: VerificationLevel,
    /// A picture for clients. Kept for the documents' sake.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub icon_url: String,
    /// Whether its people may be searched. Kept for the documents' sake.
    #[serde(default)]
    pub enable_skype_directory_search: bool,
    /// Whether its people may be reached by its own names. Kept for the documents' sake.
    #[serde(default)]
    pub enable_skype_id_routing: bool,
    /// The domain that its users' names are decorated with. Kept for the documents' sake.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name_decoration_domain: String,
    /// Domains whose names are not decorated. Kept for the documents' sake.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name_decoration_excluded_domain_list: String,
    /// The domain that decorated names are sent to. Kept for the documents' sake.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name_decoration_routing_domain: String,
}

impl PublicProvider {
    /// A provider with the defaults: disabled, believed as far as it asserts.
    pub fn new(identity: &str, proxy_fqdn: SipDomain) -> Self {
        Self {
            identity: identity.into(),
            proxy_fqdn,
            enabled: false,
            verification_level: source(),
            icon_url: String::new(),
            enable_skype_directory_search: false,
            enable_skype_id_routing: false,
            name_decoration_domain: String::new(),
            name_decoration_excluded_domain_list: String::new(),
            name_decoration_routing_domain: String::new(),
        }
    }
}

const fn source() -> VerificationLevel {
    VerificationLevel::UseSourceVerification
}

/// An enabled provider of either kind, as routing and policy see it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Carrier<'a> {
    /// The record's name.
    pub identity: &'a str,
    /// Its edge, and the name that it must prove.
    pub proxy: &'a SipDomain,
    /// How far it is believed.
    pub level: VerificationLevel,
    /// Whether it is a public one.
    pub is_public: bool,
}

/// A record of either kind: what the rules across records need of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProviderRecord<'a> {
    pub(super) kind: &'static str,
    pub(super) carrier: Carrier<'a>,
    pub(super) enabled: bool,
}

impl<'a> From<&'a HostingProvider> for ProviderRecord<'a> {
    fn from(record: &'a HostingProvider) -> Self {
        let carrier = Carrier {
            identity: &record.identity,
            proxy: &record.proxy_fqdn,
            level: record.verification_level,
            is_public: false,
        };
        Self { kind: "HostingProvider", carrier, enabled: record.enabled }
    }
}

impl<'a> From<&'a PublicProvider> for ProviderRecord<'a> {
    fn from(record: &'a PublicProvider) -> Self {
        let carrier = Carrier {
            identity: &record.identity,
            proxy: &record.proxy_fqdn,
            level: record.verification_level,
            is_public: true,
        };
        Self { kind: "PublicProvider", carrier, enabled: record.enabled }
    }
}
