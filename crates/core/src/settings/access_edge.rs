//! `AccessEdgeConfiguration`: the switches of the border, with the documents' names and defaults (lync.md §1.4).

use serde::{Deserialize, Serialize};

use super::VerificationLevel;
use crate::names::SipDomain;

/// How the way to another domain is found.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum RoutingMethod {
    /// Lists first, then SRV records.
    #[default]
    UseDnsSrvRouting,
    /// Everything that is not ours, and has no edge of its own on the lists, goes to one host.
    UseDefaultRouting,
}

/// What is made of a partner that is to say itself whether its users are verified, and says nothing: the two documented
/// readings (lync.md §3.3).
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Unasserted {
    /// Its message counts as unverified.
    #[default]
    MarkUnverified,
    /// Its message is refused.
    Reject,
}

/// `AccessEdgeConfiguration`. One instance, global.
///
/// Which properties may be set together depends on the routing method; what contradicts it is refused when it is
/// written (`Conflict::RoutingForm`), since the documents' three forms of the command exclude each other.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct AccessEdgeConfiguration {
    /// Federation as a whole. Off by default.
    pub allow_federated_users: bool,
    /// Whether people without an account may join from outside. Kept for the documents' sake.
    pub allow_anonymous_users: bool,
    /// Whether our own users may come from outside. Kept for the documents' sake.
    pub allow_outside_users: bool,
    /// Whether the edge takes requests for any domain from its direct partners, and passes them on by its policy.
    pub be_clearing_house: bool,
    /// Whether domains that are not listed may be found by SRV.
    pub enable_partner_discovery: bool,
    /// How far discovered partners are believed; their own assertion counts when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovered_partner_verification_level: Option<VerificationLevel>,
    /// Messages per second that a discovered partner may send while it behaves.
    pub discovered_partner_standard_rate: u32,
    /// Whether a discovered partner that writes to too many addresses is put on the watch list.
    pub enable_discovered_partner_contacts_limit: bool,
    /// How many addresses are too many within one period.
    pub max_contacts_per_discovered_partner: u32,
    /// The period, in minutes.
    pub discovered_partner_report_period_minutes: u32,
    /// Whether users' messages carry a notice about archiving. Kept for the documents' sake.
    pub enable_archiving_disclaimer: bool,
    /// Kept for the documents' sake.
    pub enable_user_replicator: bool,
    /// Whether lists of revoked certificates are read again by themselves.
    pub keep_crls_up_to_date_for_peers: bool,
    /// Whether our outgoing messages say that their source is verified.
    pub mark_source_verifiable_on_outgoing_messages: bool,
    /// How many TLS connections are held to one partner, 1 to 4.
    pub outgoing_tls_count_for_federated_partners: u8,
    /// Most ways to other domains that are remembered.
    pub dns_srv_cache_record_count: u32,
    /// Most certificates of partners that are remembered.
    pub max_accepted_certificates_stored: u32,
    /// Most refused certificates that are remembered.
    pub max_rejected_certificates_stored: u32,
    /// How much of a full list of certificates is forgotten at once, in percent.
    pub certificates_deleted_percentage: u32,
    /// How the way to another domain is found.
    pub routing_method: RoutingMethod,
    /// The host of the default route, on 5061, and the name that its certificate must hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_route_fqdn: Option<SipDomain>,
    /// How far the default route is believed; the source's own assertion counts when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_level: Option<VerificationLevel>,
    /// Whether the default route leads to a public provider.
    pub is_public_provider: bool,
    /// Where people of a public service are searched. Kept for the documents' sake.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub skype_search_url: String,
    /// What is made of a source that asserts nothing under `UseSourceVerification`. Ours.
    pub unasserted_source: Unasserted,
}

impl Default for AccessEdgeConfiguration {
    fn default() -> Self {
        Self {
            allow_federated_users: false,
            allow_anonymous_users: false,
            allow_outside_users: true,
            be_clearing_house: false,
            enable_partner_discovery: false,
            discovered_partner_verification_level: None,
            discovered_partner_standard_rate: 20,
            enable_discovered_partner_contacts_limit: true,
            max_contacts_per_discovered_partner: 1000,
            discovered_partner_report_period_minutes: 60,
            enable_archiving_disclaimer: false,
            enable_user_replicator: true,
            keep_crls_up_to_date_for_peers: true,
            mark_source_verifiable_on_outgoing_messages: true,
            outgoing_tls_count_for_federated_partners: 4,
            dns_srv_cache_record_count: 10_000,
            max_accepted_certificates_stored: 1000,
            max_rejected_certificates_stored: 500,
            certificates_deleted_percentage: 20,
            routing_method: RoutingMethod::UseDnsSrvRouting,
            default_route_fqdn: None,
            verification_level: None,
            is_public_provider: false,
            skype_search_url: String::new(),
            unasserted_source: Unasserted::MarkUnverified,
        }
    }
}

impl AccessEdgeConfiguration {
    /// The host that everything goes to, if that form of routing is chosen.
    pub fn default_route(&self) -> Option<&SipDomain> {
        match self.routing_method {
            RoutingMethod::UseDefaultRouting => self.default_route_fqdn.as_ref(),
            RoutingMethod::UseDnsSrvRouting => None,
        }
    }

    /// The first property that contradicts the form of routing, with the form that it belongs to.
    pub(super) const fn contradiction(&self) -> Option<(&'static str, &'static str)> {
        let (default, srv) = ("UseDefaultRouting", "UseDnsSrvRouting");
        match self.routing_method {
            RoutingMethod::UseDnsSrvRouting if self.default_route_fqdn.is_some() => Some(("DefaultRouteFqdn", default)),
            RoutingMethod::UseDnsSrvRouting if self.verification_level.is_some() => {
                Some(("VerificationLevel", default))
            }
            RoutingMethod::UseDnsSrvRouting if self.is_public_provider => Some(("IsPublicProvider", default)),
            RoutingMethod::UseDefaultRouting if self.be_clearing_house => Some(("BeClearingHouse", srv)),
            RoutingMethod::UseDefaultRouting if self.enable_partner_discovery => Some(("EnablePartnerDiscovery", srv)),
            RoutingMethod::UseDefaultRouting if self.discovered_partner_verification_level.is_some() => {
                Some(("DiscoveredPartnerVerificationLevel", srv))
            }
            RoutingMethod::UseDnsSrvRouting | RoutingMethod::UseDefaultRouting => None,
        }
    }

    /// The first number outside of its range: property, value, and range.
    pub(super) fn out_of_range(&self) -> Option<(&'static str, u32, &'static str)> {
        let rows = [
            ("CertificatesDeletedPercentage", self.certificates_deleted_percentage, 1, 100, "1 to 100"),
            (
                "DiscoveredPartnerReportPeriodMinutes",
                self.discovered_partner_report_period_minutes,
                1,
                10_080,
                "1 to 10080",
            ),
            ("DiscoveredPartnerStandardRate", self.discovered_partner_standard_rate, 1, 1_000_000, "1 to 1000000"),
            ("DnsSrvCacheRecordCount", self.dns_srv_cache_record_count, 1, 1_000_000, "1 to 1000000"),
            ("MaxAcceptedCertificatesStored", self.max_accepted_certificates_stored, 1, 100_000, "1 to 100000"),
            ("MaxContactsPerDiscoveredPartner", self.max_contacts_per_discovered_partner, 1, 100_000, "1 to 100000"),
            ("MaxRejectedCertificatesStored", self.max_rejected_certificates_stored, 1, 100_000, "1 to 100000"),
            (
                "OutgoingTlsCountForFederatedPartners",
                u32::from(self.outgoing_tls_count_for_federated_partners),
                1,
                4,
                "1 to 4",
            ),
        ];
        let wrong = rows.into_iter().find(|(_, value, least, most, _)| !(least..=most).contains(&value));
        wrong.map(|(property, value, .., range)| (property, value, range))
    }
}
