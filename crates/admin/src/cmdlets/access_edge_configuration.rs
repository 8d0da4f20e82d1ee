//! `CsAccessEdgeConfiguration`: the switches of the border (lync.md §1.4).

use reveille_core::settings::{AccessEdgeConfiguration, Setting};

use crate::call::Call;
use crate::cmdlet::{Area, Parameter};
use crate::family::cmdlet::cmdlet;
use crate::family::parameters::{FILTER, FORCE, LEVELS, LOCAL_STORE, changed, instance, wanted};
use crate::family::{Family, Record};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &[
    "Identity",
    "AllowAnonymousUsers",
    "AllowFederatedUsers",
    "AllowOutsideUsers",
    "BeClearingHouse",
    "EnablePartnerDiscovery",
    "EnableArchivingDisclaimer",
    "EnableUserReplicator",
    "KeepCrlsUpToDateForPeers",
    "MarkSourceVerifiableOnOutgoingMessages",
    "OutgoingTlsCountForFederatedPartners",
    "DiscoveredPartnerStandardRate",
    "EnableDiscoveredPartnerContactsLimit",
    "MaxContactsPerDiscoveredPartner",
    "DiscoveredPartnerReportPeriodMinutes",
    "MaxAcceptedCertificatesStored",
    "MaxRejectedCertificatesStored",
    "CertificatesDeletedPercentage",
    "RoutingMethod",
];
const FAMILY: Family = Family {
    hidden: HIDDEN,
    default: Some(|| Setting::AccessEdgeConfiguration(AccessEdgeConfiguration::default())),
    adjust: route,
    shows: of_form,
    ..Family::new("CsAccessEdgeConfiguration", Area::Topology, OUTPUTS)
};
const HIDDEN: &[&str] = &[
    "DefaultRouteFqdn",
    "DiscoveredPartnerVerificationLevel",
    "DnsSrvCacheRecordCount",
    "IsPublicProvider",
    "SkypeSearchUrl",
    "UnassertedSource",
    "VerificationLevel",
];
const WHERE: &str = "The only one is global";
/// The sets of what is there in every form of routing.
const EVERY: &[&str] = &["Identity", "DefaultRoute", "DnsSrvRouting"];
const INSTANCE: Parameter =
    instance("AccessEdgeConfiguration", "The object, as Get-CsAccessEdgeConfiguration gives it");
const ALLOW_ANONYMOUS_USERS: Parameter =
    Parameter::new("AllowAnonymousUsers", Kind::Bool, "Whether people without an account may join from outside")
        .or("False");
const ALLOW_FEDERATED_USERS: Parameter =
    Parameter::new("AllowFederatedUsers", Kind::Bool, "Whether there is federation at all").or("False");
const ALLOW_OUTSIDE_USERS: Parameter =
    Parameter::new("AllowOutsideUsers", Kind::Bool, "Whether our own users may come from outside").or("True");
const BE_CLEARING_HOUSE: Parameter =
    Parameter::new("BeClearingHouse", Kind::Bool, "Whether direct partners may send to any domain").or("False");
const CERTIFICATES_DELETED_PERCENTAGE: Parameter = Parameter::new(
    "CertificatesDeletedPercentage",
    Kind::Int { min: 1, max: 100 },
    "How much of a full list of certificates is forgotten at once, in percent",
)
.or("20");
const DEFAULT_ROUTE_FQDN: Parameter =
    Parameter::new("DefaultRouteFqdn", Kind::Domain, "The host that everything goes to, on 5061");
const DISCOVERED_PARTNER_REPORT_PERIOD_MINUTES: Parameter = Parameter::new(
    "DiscoveredPartnerReportPeriodMinutes",
    Kind::Int { min: 1, max: 10_080 },
    "The period in which a discovered partner's addresses are counted, in minutes",
)
.or("60");
const DISCOVERED_PARTNER_STANDARD_RATE: Parameter = Parameter::new(
    "DiscoveredPartnerStandardRate",
    Kind::Int { min: 1, max: 1_000_000 },
    "Messages per second that a discovered partner may send",
)
.or("20");
const DISCOVERED_PARTNER_VERIFICATION_LEVEL: Parameter =
    Parameter::new("DiscoveredPartnerVerificationLevel", LEVELS, "How far discovered partners are believed");
const DNS_SRV_CACHE_RECORD_COUNT: Parameter = Parameter::new(
    "DnsSrvCacheRecordCount",
    Kind::Int { min: 1, max: 1_000_000 },
    "Most ways to other domains that are remembered",
)
.or("10000");
const ENABLE_ARCHIVING_DISCLAIMER: Parameter =
    Parameter::new("EnableArchivingDisclaimer", Kind::Bool, "Whether users' messages carry a notice about archiving")
        .or("False");
const ENABLE_DISCOVERED_PARTNER_CONTACTS_LIMIT: Parameter = Parameter::new(
    "EnableDiscoveredPartnerContactsLimit",
    Kind::Bool,
    "Whether a discovered partner that writes to too many addresses is put on the watch list",
)
.or("True");
const ENABLE_PARTNER_DISCOVERY: Parameter =
    Parameter::new("EnablePartnerDiscovery", Kind::Bool, "Whether domains that are not listed may be found by SRV")
        .or("False");
const ENABLE_USER_REPLICATOR: Parameter =
    Parameter::new("EnableUserReplicator", Kind::Bool, "Kept for old scripts").or("False");
const IS_PUBLIC_PROVIDER: Parameter =
    Parameter::new("IsPublicProvider", Kind::Bool, "Whether the default route leads to a public provider");
const KEEP_CRLS_UP_TO_DATE_FOR_PEERS: Parameter = Parameter::new(
    "KeepCrlsUpToDateForPeers",
    Kind::Bool,
    "Whether lists of revoked certificates are read again by themselves",
)
.or("True");
const MARK_SOURCE_VERIFIABLE_ON_OUTGOING_MESSAGES: Parameter = Parameter::new(
    "MarkSourceVerifiableOnOutgoingMessages",
    Kind::Bool,
    "Whether our outgoing messages say that their source is verified",
)
.or("True");
const MAX_ACCEPTED_CERTIFICATES_STORED: Parameter = Parameter::new(
    "MaxAcceptedCertificatesStored",
    Kind::Int { min: 1, max: 100_000 },
    "Most certificates of partners that are remembered",
)
.or("1000");
const MAX_CONTACTS_PER_DISCOVERED_PARTNER: Parameter = Parameter::new(
    "MaxContactsPerDiscoveredPartner",
    Kind::Int { min: 1, max: 100_000 },
    "How many addresses of a discovered partner are too many",
)
.or("1000");
const MAX_REJECTED_CERTIFICATES_STORED: Parameter = Parameter::new(
    "MaxRejectedCertificatesStored",
    Kind::Int { min: 1, max: 100_000 },
    "Most refused certificates that are remembered",
)
.or("500");
const OUTGOING_TLS_COUNT_FOR_FEDERATED_PARTNERS: Parameter = Parameter::new(
    "OutgoingTlsCountForFederatedPartners",
    Kind::Int { min: 1, max: 4 },
    "How many TLS connections are held to one partner",
)
.or("4");
const SKYPE_SEARCH_URL: Parameter =
    Parameter::new("SkypeSearchUrl", Kind::Text, "Where people of a public service are searched");
const USE_DEFAULT_ROUTING: Parameter = Parameter::new(
    "UseDefaultRouting",
    Kind::Switch,
    "Sends everything that has no edge of its own on the lists to one host",
);
const USE_DNS_SRV_ROUTING: Parameter =
    Parameter::new("UseDnsSrvRouting", Kind::Switch, "Finds the way by the lists, then by SRV records");
const VERIFICATION_LEVEL: Parameter =
    Parameter::new("VerificationLevel", LEVELS, "How far the default route is believed");
const UNASSERTED_SOURCE: Parameter = Parameter::new(
    "UnassertedSource",
    Kind::Choice(&["MarkUnverified", "Reject"]),
    "What is made of a source that says nothing of its users under UseSourceVerification",
)
.or("MarkUnverified");

cmdlet!(
    /// `Get-CsAccessEdgeConfiguration`
    Get of FAMILY {
        summary: "Shows the switches of the Access Edge",
        parameters: &[wanted(Kind::Scope, WHERE), FILTER, LOCAL_STORE],
        notes: &["What belongs to the other form of routing is not shown."],
    }
);

cmdlet!(
    /// `Set-CsAccessEdgeConfiguration`
    Set of FAMILY {
        summary: "Changes the Access Edge: federation, discovery of partners, the way out",
        description: "Three forms exclude each other: the plain one; -UseDefaultRouting, where everything goes to \
                      one host; and -UseDnsSrvRouting, where partners are found by the lists and by SRV records.",
        parameters: &[
            changed(Kind::Scope, WHERE),
            INSTANCE,
            ALLOW_ANONYMOUS_USERS.of(EVERY),
            ALLOW_FEDERATED_USERS.of(EVERY),
            ALLOW_OUTSIDE_USERS.of(EVERY),
            BE_CLEARING_HOUSE.of(&["DnsSrvRouting"]),
            CERTIFICATES_DELETED_PERCENTAGE.of(EVERY),
            DEFAULT_ROUTE_FQDN.of(&["DefaultRoute"]),
            DISCOVERED_PARTNER_REPORT_PERIOD_MINUTES.of(EVERY),
            DISCOVERED_PARTNER_STANDARD_RATE.of(EVERY),
            DISCOVERED_PARTNER_VERIFICATION_LEVEL.of(&["DnsSrvRouting"]),
            DNS_SRV_CACHE_RECORD_COUNT.of(EVERY),
            ENABLE_ARCHIVING_DISCLAIMER.of(EVERY),
            ENABLE_DISCOVERED_PARTNER_CONTACTS_LIMIT.of(EVERY),
            ENABLE_PARTNER_DISCOVERY.of(&["DnsSrvRouting"]),
            ENABLE_USER_REPLICATOR.of(EVERY),
            IS_PUBLIC_PROVIDER.of(&["DefaultRoute"]),
            KEEP_CRLS_UP_TO_DATE_FOR_PEERS.of(EVERY),
            MARK_SOURCE_VERIFIABLE_ON_OUTGOING_MESSAGES.of(EVERY),
            MAX_ACCEPTED_CERTIFICATES_STORED.of(EVERY),
            MAX_CONTACTS_PER_DISCOVERED_PARTNER.of(EVERY),
            MAX_REJECTED_CERTIFICATES_STORED.of(EVERY),
            OUTGOING_TLS_COUNT_FOR_FEDERATED_PARTNERS.of(EVERY),
            SKYPE_SEARCH_URL.of(EVERY),
            USE_DEFAULT_ROUTING.of(&["DefaultRoute"]),
            USE_DNS_SRV_ROUTING.of(&["DnsSrvRouting"]),
            VERIFICATION_LEVEL.of(&["DefaultRoute"]),
            UNASSERTED_SOURCE,
            FORCE,
        ],
        sets: &["Identity", "Instance", "DefaultRoute", "DnsSrvRouting"],
        notes: &[
            "A default route needs all hosting and public providers removed first.",
            "BeClearingHouse, EnablePartnerDiscovery and DiscoveredPartnerVerificationLevel belong to \
             -UseDnsSrvRouting; DefaultRouteFqdn, VerificationLevel and IsPublicProvider to -UseDefaultRouting.",
        ],
        examples: &[
            (
                "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True",
                "Switches federation on, without which no push leaves.",
            ),
            (
                "Set-CsAccessEdgeConfiguration -UseDnsSrvRouting -EnablePartnerDiscovery $True",
                "Finds partners that are not listed, too.",
            ),
        ],
    }
);

/// What belongs to one form of routing only, with that form.
const FORMS: [(&str, &str); 6] = [
    ("BeClearingHouse", SRV),
    ("DefaultRouteFqdn", DEFAULT),
    ("DiscoveredPartnerVerificationLevel", SRV),
    ("EnablePartnerDiscovery", SRV),
    ("IsPublicProvider", DEFAULT),
    ("VerificationLevel", DEFAULT),
];
const SRV: &str = "UseDnsSrvRouting";
const DEFAULT: &str = "UseDefaultRouting";

/// The two switches choose the form of routing; what belongs to the other one goes.
fn route(call: &Call, record: &mut Record) {
    for form in [DEFAULT, SRV] {
        record.remove(form);
        if call.is_on(form) {
            record.insert("RoutingMethod".into(), form.into());
            for (other, _) in FORMS.iter().filter(|(_, of)| *of != form) {
                record.remove(*other);
            }
        }
    }
}

fn of_form(property: &str, record: &Record) -> bool {
    let method = record.get("RoutingMethod").and_then(|method| method.as_str());
    FORMS.iter().all(|(known, form)| *known != property || Some(*form) == method)
}
