//! Who may speak, and for whom: the only place that makes an [`AdmittedPeer`].
//!
//! Pure: settings, certificate and SRV facts go in. Which name a certificate must hold is DESIGN.md §6: a peer reached
//! by same-domain SRV must name the *domain*; a direct partner or a provider must name the *ProxyFqdn*, the default
//! route its own name.

use reveille_core::SipDomain;
use reveille_core::settings::{
    AccessEdgeConfiguration, AllowedDomain, Carrier, Snapshot, Unasserted, VerificationLevel,
};

use crate::refusal::Refusal;
use crate::trust::{Network, SourceType, Trust};

/// Proof that a peer may speak for a domain; nothing outside of this file can make one.
///
/// The origin of a push request is always [`AdmittedPeer::domain`], never a field of its body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdmittedPeer {
    domain: SipDomain,
    source: SourceType,
    verified: bool,
}

impl AdmittedPeer {
    /// The domain that the peer proved.
    pub const fn domain(&self) -> &SipDomain {
        &self.domain
    }

    /// How it was known.
    pub const fn source(&self) -> SourceType {
        self.source
    }

    /// Whether the verification level lets this message's sender count as verified.
    pub const fn verified(&self) -> bool {
        self.verified
    }
}

/// What a peer is to us when it speaks for a domain: the same for all its messages while the settings stay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    domain: SipDomain,
    remote: SipDomain,
    source: SourceType,
    network: Network,
    level: VerificationLevel,
    unasserted: Unasserted,
    listed: bool,
    discovered: bool,
}

impl Standing {
    /// One of our own servers, which has proven `remote` on the inner side, speaking for a domain that it serves: to
    /// another server of ours it is what a direct partner is, and its users are known.
    pub const fn own(domain: SipDomain, remote: SipDomain) -> Self {
        Self {
            domain,
            remote,
            source: SourceType::DirectPartner,
            network: Network::Federation,
            level: VerificationLevel::AlwaysVerifiable,
            unasserted: Unasserted::MarkUnverified,
            listed: true,
            discovered: false,
        }
    }

    /// The domain that the peer speaks for.
    pub const fn domain(&self) -> &SipDomain {
        &self.domain
    }

    /// The name that it proves that with.
    pub const fn remote(&self) -> &SipDomain {
        &self.remote
    }

    /// How it is known.
    pub const fn source(&self) -> SourceType {
        self.source
    }

    /// Whether its domain is on the allow list; who is not has been discovered, or came by the default route.
    pub const fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether it is let in though nobody has listed it (lync.md §3.4), and is held short: by its own certificate, or by a
    /// provider to whom its SRV record leads. What a default route brings has been chosen with the route.
    pub const fn is_discovered(&self) -> bool {
        self.discovered
    }

    /// Whether it proves itself by somebody else's name: its provider's, or its edge's.
    pub fn is_brought(&self) -> bool {
        self.domain != self.remote
    }

    /// The proof for one message, whose sender's own server has `asserted` that he is verified, or not, or nothing
    /// (lync.md §3.3).
    pub fn admit(&self, asserted: Option<bool>) -> Result<AdmittedPeer, Refusal> {
        if self.level == VerificationLevel::UseSourceVerification
            && asserted.is_none()
            && self.unasserted == Unasserted::Reject
        {
            return Err(Refusal::AssertionMissing { domain: self.domain.clone() });
        }
        Ok(AdmittedPeer { domain: self.domain.clone(), source: self.source, verified: self.verified(asserted) })
    }

    /// Whether a sender counts as verified. Of the two documented readings of "absent", this is the milder one.
    pub fn verified(&self, asserted: Option<bool>) -> bool {
        match self.level {
            VerificationLevel::AlwaysVerifiable => true,
            VerificationLevel::AlwaysUnverifiable => false,
            VerificationLevel::UseSourceVerification => asserted == Some(true),
        }
    }

    /// What `edge` stamps on this peer's messages on their way inward.
    pub fn trust<'a>(&'a self, edge: &'a SipDomain, verified: bool) -> Trust<'a> {
        Trust {
            source: self.source,
            edge: edge.as_str(),
            verified,
            network: self.network,
            remote: self.remote.as_str(),
        }
    }
}

/// What the policy says of a peer that wants to speak for a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// It may.
    Admitted(Standing),
    /// It may if the SRV record of the domain leads to a provider that it is: look it up, then call [`carried_by`].
    IfCarriedBy(Carriage),
}

/// A provider that wants to speak for one of its customers; several, if its certificate names more than one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Carriage {
    domain: SipDomain,
    /// One for each provider.
    standings: Vec<Standing>,
}

impl Carriage {
    /// Whose SRV record is to be looked up.
    pub const fn domain(&self) -> &SipDomain {
        &self.domain
    }
}

/// Whether the peer whose certificate `names` (a predicate over names) may speak for `domain`; `ours` tells the domains
/// that live behind this edge.
pub fn admit(
    settings: &Snapshot,
    ours: &dyn Fn(&SipDomain) -> bool,
    domain: &SipDomain,
    names: &dyn Fn(&SipDomain) -> bool,
) -> Result<Admission, Refusal> {
    let listing = Listing::open(settings, domain)?;
    let another =
        |wanted: &SipDomain| Refusal::CertificateNamesAnother { domain: domain.clone(), wanted: wanted.clone() };
    if let Some(standing) = listing.direct_partner() {
        return if names(&standing.remote) {
            Ok(Admission::Admitted(standing))
        } else {
            Err(another(&standing.remote))
        };
    }
    // Whoever could send in the name of our own people from outside could be any of them.
    if ours(domain) {
        return Err(Refusal::OwnDomain { domain: domain.clone() });
    }
    if let Some(standing) = listing.default_route() {
        return if names(&standing.remote) {
            Ok(Admission::Admitted(standing))
        } else {
            Err(another(&standing.remote))
        };
    }
    if names(domain) {
        return Ok(Admission::Admitted(listing.same_domain()));
    }
    let named = settings.carriers().filter(|carrier| names(carrier.proxy));
    let standings: Vec<Standing> = named.map(|carrier| listing.carried(carrier)).collect();
    if standings.is_empty() {
        return Err(another(domain));
    }
    Ok(Admission::IfCarriedBy(Carriage { domain: domain.clone(), standings }))
}

/// Completes an admission with the targets of the domain's SRV record.
pub fn carried_by(carriage: Carriage, srv_targets: &[SipDomain]) -> Result<Standing, Refusal> {
    let Carriage { domain, standings } = carriage;
    let leads_to = |standing: &Standing| srv_targets.contains(&standing.remote);
    let carries = standings.into_iter().find(leads_to);
    carries.ok_or_else(|| Refusal::CertificateNamesAnother { wanted: domain.clone(), domain })
}

/// One domain as the settings know it: the rules that hold in both directions.
pub(crate) struct Listing<'a> {
    edge: AccessEdgeConfiguration,
    domain: &'a SipDomain,
    record: Option<&'a AllowedDomain>,
}

impl<'a> Listing<'a> {
    /// Refuses what is refused whoever speaks: federation is off, the domain is blocked, or on no list though lists are
    /// all that counts.
    pub(crate) fn open(settings: &'a Snapshot, domain: &'a SipDomain) -> Result<Self, Refusal> {
        let edge = settings.access_edge();
        if !edge.allow_federated_users {
            return Err(Refusal::FederationOff);
        }
        if settings.is_blocked(domain) {
            return Err(Refusal::DomainBlocked { domain: domain.clone() });
        }
        let record = settings.allowed_domain(domain);
        if record.is_none() && !edge.enable_partner_discovery && edge.default_route().is_none() {
            return Err(Refusal::DomainNotAllowed { domain: domain.clone() });
        }
        Ok(Self { edge, domain, record })
    }

    /// The domain's own record with its edge.
    pub(crate) fn direct_partner(&self) -> Option<Standing> {
        let proxy = self.record?.proxy_fqdn.as_ref()?;
        Some(self.standing(proxy, SourceType::DirectPartner, self.listed_level()))
    }

    /// The host that everything goes to and comes from, if that form is chosen.
    pub(crate) fn default_route(&self) -> Option<Standing> {
        let route = self.edge.default_route()?;
        let level = self.edge.verification_level.unwrap_or(SOURCE_DECIDES);
        let mut standing = self.standing(route, SourceType::AuthorizedServer, level);
        if self.edge.is_public_provider {
            standing.network = Network::PublicCloud;
        }
        standing.discovered = false;
        Some(standing)
    }

    /// A peer that proves the domain itself: listed, or discovered.
    pub(crate) fn same_domain(&self) -> Standing {
        let level = match self.record {
            Some(_) => self.listed_level(),
            None => self.edge.discovered_partner_verification_level.unwrap_or(SOURCE_DECIDES),
        };
        self.standing(self.domain, SourceType::AutoFederation, level)
    }

    /// A provider to whom the domain's SRV record leads.
    pub(crate) fn carried(&self, carrier: Carrier<'_>) -> Standing {
        let mut standing = self.standing(carrier.proxy, SourceType::AuthorizedServer, carrier.level);
        if carrier.is_public {
            standing.network = Network::PublicCloud;
        }
        standing
    }

    fn listed_level(&self) -> VerificationLevel {
        self.record.and_then(|record| record.verification_level).unwrap_or(SOURCE_DECIDES)
    }

    fn standing(&self, remote: &SipDomain, source: SourceType, level: VerificationLevel) -> Standing {
        Standing {
            domain: self.domain.clone(),
            remote: remote.clone(),
            source,
            network: Network::Federation,
            level,
            unasserted: self.edge.unasserted_source,
            listed: self.record.is_some(),
            discovered: self.record.is_none(),
        }
    }
}

/// The documents' domains had no level of their own and acted so (lync.md §1.3).
const SOURCE_DECIDES: VerificationLevel = VerificationLevel::UseSourceVerification;

/// Proof that an internal connection comes from a host that this machine's configuration names as an edge.
#[derive(Clone, Debug)]
pub struct TrustedEdge(());

/// Whether the certificate of an internal connection names one of the configured edges.
pub fn trusted_edge(edges: &[SipDomain], names: &dyn Fn(&SipDomain) -> bool) -> Option<TrustedEdge> {
    edges.iter().any(names).then_some(TrustedEdge(()))
}

/// Rebuilds the proof behind the edge, from the edge's trust header and the From domain that the edge has checked.
pub fn readmit(_: &TrustedEdge, trust: Option<&str>, from: &SipDomain) -> Result<AdmittedPeer, Refusal> {
    let trust = trust.and_then(Trust::read).filter(|trust| trust.source.is_federated()).ok_or(Refusal::NoTrust)?;
    Ok(AdmittedPeer { domain: from.clone(), source: trust.source, verified: trust.verified })
}

#[cfg(test)]
mod tests {
    use reveille_core::settings::{BlockedDomain, HostingProvider, PublicProvider, RoutingMethod, Setting};

    use super::*;

    fn domain(text: &str) -> SipDomain {
        text.parse().unwrap()
    }

    fn snapshot(rows: impl IntoIterator<Item = Setting>) -> Snapshot {
        Snapshot::of(rows).unwrap()
    }

    fn access_edge(change: impl FnOnce(&mut AccessEdgeConfiguration)) -> Setting {
        let mut record = AccessEdgeConfiguration { allow_federated_users: true, ..Default::default() };
        change(&mut record);
        Setting::AccessEdgeConfiguration(record)
    }

    fn allowed(name: &str, proxy: Option<&str>, level: Option<VerificationLevel>) -> Setting {
        let proxy_fqdn = proxy.map(domain);
        Setting::AllowedDomain(AllowedDomain {
            proxy_fqdn,
            verification_level: level,
            ..AllowedDomain::new(domain(name))
        })
    }

    /// The documents' recipe beside a direct partner and a domain found by SRV.
    fn rows(edge: Setting) -> Vec<Setting> {
        vec![
            edge,
            allowed("direct.example", Some("edge.partner.example"), None),
            allowed("srv.example", None, None),
            allowed("push.lync.com", None, None),
            Setting::BlockedDomain(BlockedDomain { identity: domain("bad.example"), comment: String::new() }),
        ]
    }

    fn provider(level: VerificationLevel) -> Setting {
        Setting::HostingProvider(HostingProvider {
            enabled: true,
            verification_level: level,
            ..HostingProvider::new("LyncOnline", domain("sipfed.online.lync.com"))
        })
    }

    fn ask(settings: &Snapshot, speaks_for: &str, certificate: &str) -> Result<Admission, Refusal> {
        let ours = |name: &SipDomain| name.as_str() == "ours.example";
        admit(settings, &ours, &domain(speaks_for), &|name| *name == domain(certificate))
    }

    /// The standing of a peer whose domain leads to the provider, if that is asked.
    fn standing(settings: &Snapshot, speaks_for: &str, certificate: &str) -> Result<Standing, Refusal> {
        match ask(settings, speaks_for, certificate)? {
            Admission::Admitted(standing) => Ok(standing),
            Admission::IfCarriedBy(carriage) => carried_by(carriage, &[domain(certificate)]),
        }
    }

    #[test]
    fn who_may_speak_for_whom() {
        let mut rows = rows(access_edge(|_| ()));
        rows.push(provider(VerificationLevel::AlwaysVerifiable));
        let settings = snapshot(rows);
        let another = |name: &str, wanted: &str| {
            Err(Refusal::CertificateNamesAnother { domain: domain(name), wanted: domain(wanted) })
        };
        let not_allowed = |name: &str| Err(Refusal::DomainNotAllowed { domain: domain(name) });
        for (speaks_for, certificate, expected) in [
            ("direct.example", "edge.partner.example", Ok(SourceType::DirectPartner)),
            // A direct partner must name the proxy, not the domain.
            ("direct.example", "direct.example", another("direct.example", "edge.partner.example")),
            ("srv.example", "srv.example", Ok(SourceType::AutoFederation)),
            ("srv.example", "edge.partner.example", another("srv.example", "srv.example")),
            ("push.lync.com", "sipfed.online.lync.com", Ok(SourceType::AuthorizedServer)),
            ("stranger.example", "stranger.example", not_allowed("stranger.example")),
            ("ours.example", "ours.example", not_allowed("ours.example")),
            ("bad.example", "bad.example", Err(Refusal::DomainBlocked { domain: domain("bad.example") })),
        ] {
            let found = standing(&settings, speaks_for, certificate).map(|standing| standing.source());
            assert_eq!(found, expected, "{certificate} for {speaks_for}");
        }
        let off = snapshot([Setting::AccessEdgeConfiguration(AccessEdgeConfiguration::default())]);
        assert_eq!(ask(&off, "srv.example", "srv.example"), Err(Refusal::FederationOff));
    }

    #[test]
    fn discovery_admits_who_proves_its_domain_and_nobody_admits_who_speaks_for_ours() {
        let settings = snapshot(rows(access_edge(|record| record.enable_partner_discovery = true)));
        let found = standing(&settings, "stranger.example", "stranger.example").unwrap();
        assert!(found.is_discovered() && !found.is_listed());
        assert!(!standing(&settings, "srv.example", "srv.example").unwrap().is_discovered());
        assert!(standing(&settings, "bad.example", "bad.example").is_err());
        assert_eq!(
            ask(&settings, "ours.example", "ours.example"),
            Err(Refusal::OwnDomain { domain: domain("ours.example") })
        );
        // Unless an administrator has named the very edge that may.
        let listed = allowed("ours.example", Some("cloud.example"), None);
        let settings = snapshot([access_edge(|_| ()), listed]);
        assert!(ask(&settings, "ours.example", "cloud.example").is_ok());
    }

    #[test]
    fn the_default_route_speaks_for_everybody_who_has_no_edge_of_its_own() {
        let settings = snapshot(rows(access_edge(|record| {
            record.routing_method = RoutingMethod::UseDefaultRouting;
            record.default_route_fqdn = Some(domain("route.example"));
            record.is_public_provider = true;
            record.verification_level = Some(VerificationLevel::AlwaysVerifiable);
        })));
        let anybody = standing(&settings, "anybody.example", "route.example").unwrap();
        assert_eq!((anybody.source(), anybody.network), (SourceType::AuthorizedServer, Network::PublicCloud));
        assert!(anybody.verified(None) && !anybody.is_discovered());
        assert!(standing(&settings, "srv.example", "route.example").unwrap().is_listed());
        for (speaks_for, certificate) in [
            ("srv.example", "srv.example"),
            ("direct.example", "route.example"),
            ("bad.example", "route.example"),
            ("ours.example", "route.example"),
        ] {
            assert!(ask(&settings, speaks_for, certificate).is_err(), "{certificate} for {speaks_for}");
        }
        assert!(standing(&settings, "direct.example", "edge.partner.example").is_ok());
    }

    #[test]
    fn a_provider_speaks_only_for_domains_whose_srv_points_at_it() {
        let mut rows = rows(access_edge(|_| ()));
        rows.push(provider(VerificationLevel::AlwaysVerifiable));
        let settings = snapshot(rows);
        let carriage = || match ask(&settings, "push.lync.com", "sipfed.online.lync.com") {
            Ok(Admission::IfCarriedBy(carriage)) => carriage,
            other => panic!("{other:?}"),
        };
        let found = carried_by(carriage(), &[domain("sipfed.online.lync.com")]).unwrap();
        assert_eq!((found.domain().as_str(), found.verified(None)), ("push.lync.com", true));
        assert!(carried_by(carriage(), &[domain("elsewhere.example")]).is_err());
        assert!(carried_by(carriage(), &[]).is_err());
    }

    #[test]
    fn whoever_is_several_providers_speaks_for_the_domains_of_each() {
        let mut rows = rows(access_edge(|_| ()));
        rows.push(provider(VerificationLevel::AlwaysVerifiable));
        rows.push(Setting::HostingProvider(HostingProvider {
            enabled: true,
            verification_level: VerificationLevel::AlwaysUnverifiable,
            ..HostingProvider::new("Another", domain("sip.another.example"))
        }));
        let settings = snapshot(rows);
        let both = ["sipfed.online.lync.com", "sip.another.example"];
        for (target, verified) in both.into_iter().zip([true, false]) {
            let names = |name: &SipDomain| both.contains(&name.as_str());
            let Ok(Admission::IfCarriedBy(carriage)) = admit(&settings, &|_| false, &domain("push.lync.com"), &names)
            else {
                panic!("not asked about {target}");
            };
            let found = carried_by(carriage, &[domain(target)]).unwrap();
            assert_eq!((found.remote().as_str(), found.verified(None)), (target, verified));
        }
    }

    #[test]
    fn whom_nobody_has_listed_is_discovered_whoever_brings_it() {
        let mut rows = rows(access_edge(|record| record.enable_partner_discovery = true));
        rows.push(provider(VerificationLevel::AlwaysVerifiable));
        let settings = snapshot(rows);
        for (speaks_for, certificate, discovered, brought) in [
            ("push.lync.com", "sipfed.online.lync.com", false, true),
            ("unknown.example", "sipfed.online.lync.com", true, true),
            ("unknown.example", "unknown.example", true, false),
            ("srv.example", "srv.example", false, false),
            ("direct.example", "edge.partner.example", false, true),
        ] {
            let found = standing(&settings, speaks_for, certificate).unwrap();
            assert_eq!((found.is_discovered(), found.is_brought()), (discovered, brought), "{speaks_for}");
        }
    }

    #[test]
    fn a_public_provider_is_one_of_another_network() {
        let public = Setting::PublicProvider(PublicProvider {
            enabled: true,
            ..PublicProvider::new("Messenger", domain("fed.messenger.example"))
        });
        let settings = snapshot([access_edge(|_| ()), allowed("im.example", None, None), public]);
        let found = standing(&settings, "im.example", "fed.messenger.example").unwrap();
        let mut header = String::new();
        found.trust(&domain("edge.contoso.com"), false).write(&mut header);
        assert_eq!(
            header,
            "ms-source-type=AuthorizedServer;ms-ep-fqdn=edge.contoso.com;ms-source-verified-user=unverified;\
             ms-source-network=publiccloud;ms-remote-fqdn=fed.messenger.example"
        );
    }

    #[test]
    fn what_each_level_makes_of_the_partners_own_word() {
        use Unasserted::{MarkUnverified, Reject};
        use VerificationLevel::{AlwaysUnverifiable, AlwaysVerifiable, UseSourceVerification};
        for (level, unasserted, expected) in [
            // Asserted verified, asserted unverified, asserted nothing.
            (AlwaysVerifiable, Reject, [Some(true), Some(true), Some(true)]),
            (AlwaysUnverifiable, Reject, [Some(false), Some(false), Some(false)]),
            (UseSourceVerification, MarkUnverified, [Some(true), Some(false), Some(false)]),
            (UseSourceVerification, Reject, [Some(true), Some(false), None]),
        ] {
            let edge = |record: &mut AccessEdgeConfiguration| {
                record.enable_partner_discovery = true;
                record.discovered_partner_verification_level = Some(level);
                record.unasserted_source = unasserted;
            };
            let rows = [
                access_edge(edge),
                allowed("direct.example", Some("edge.partner.example"), Some(level)),
                allowed("srv.example", None, Some(level)),
                allowed("push.lync.com", None, None),
                provider(level),
            ];
            let settings = snapshot(rows);
            for (speaks_for, certificate) in [
                ("direct.example", "edge.partner.example"),
                ("srv.example", "srv.example"),
                ("push.lync.com", "sipfed.online.lync.com"),
                ("discovered.example", "discovered.example"),
            ] {
                let found = standing(&settings, speaks_for, certificate).unwrap();
                for (asserted, expected) in [Some(true), Some(false), None].into_iter().zip(expected) {
                    let verified = found.admit(asserted).map(|peer| peer.verified());
                    let missing = Refusal::AssertionMissing { domain: domain(speaks_for) };
                    assert_eq!(verified, expected.ok_or(missing), "{speaks_for}, {level:?}, {asserted:?}");
                }
            }
        }
    }

    #[test]
    fn the_proof_is_rebuilt_only_behind_a_configured_edge() {
        let edges = [domain("edge.push.example.net")];
        assert!(trusted_edge(&edges, &|name| name.as_str() == "other.push.example.net").is_none());
        let edge = trusted_edge(&edges, &|name| name.as_str() == "edge.push.example.net").unwrap();
        let text = "ms-source-type=DirectPartner;ms-ep-fqdn=e;ms-source-verified-user=verified";
        let peer = readmit(&edge, Some(text), &domain("contoso.com")).unwrap();
        assert_eq!((peer.domain().as_str(), peer.source()), ("contoso.com", SourceType::DirectPartner));
        for nobody in [None, Some("trust me"), Some(text.replace("DirectPartner", "EdgeProxyGenerated").as_str())] {
            assert_eq!(readmit(&edge, nobody, &domain("contoso.com")), Err(Refusal::NoTrust), "{nobody:?}");
        }
    }
}
