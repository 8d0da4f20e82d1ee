//! Allowed and blocked domains (lync.md §1.3).

use serde::{Deserialize, Serialize};

use crate::names::SipDomain;

/// How far a partner's word about its own users is believed (lync.md §3.3).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum VerificationLevel {
    /// Everything from there counts as verified.
    #[default]
    AlwaysVerifiable,
    /// Nothing from there counts as verified.
    AlwaysUnverifiable,
    /// What the partner asserts counts.
    UseSourceVerification,
}

/// `AllowedDomain`: a domain with which federation is allowed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AllowedDomain {
    /// The domain.
    pub identity: SipDomain,
    /// The partner's edge, on 5061; without it the domain's SRV record tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_fqdn: Option<SipDomain>,
    /// How far the partner is believed; without it the source's own assertion counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_level: Option<VerificationLevel>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether the road to it is tested on the schedule of `Test-CsFederatedPartner`.
    #[serde(default)]
    pub mark_for_monitoring: bool,
}

impl AllowedDomain {
    /// A domain whose edge its SRV record tells, and that is believed as far as it asserts.
    pub fn new(identity: SipDomain) -> Self {
        Self {
            identity,
            proxy_fqdn: None,
            verification_level: None,
            comment: String::new(),
            mark_for_monitoring: false,
        }
    }
}

/// `BlockedDomain`: dropped in both directions, whatever else says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct BlockedDomain {
    /// The domain.
    pub identity: SipDomain,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}
