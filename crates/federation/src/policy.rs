//! Who may speak, and for whom: the only place that makes an [`AdmittedPeer`].
//!
//! Pure: settings, certificate and SRV facts go in. Which name a certificate must hold is DESIGN.md §6: a peer reached
//! by same-domain SRV must name the *domain*; a direct partner or a hosting provider must name the *ProxyFqdn*.

use reveille_core::SipDomain;
use reveille_core::settings::{Snapshot, VerificationLevel};

use crate::refusal::Refusal;
use crate::trust::{SourceType, Trust};

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

    /// Whether the verification level lets its users count as verified.
    pub const fn verified(&self) -> bool {
        self.verified
    }

    /// What the edge stamps on this peer's messages on their way inward.
    pub fn trust<'a>(&self, edge: &'a SipDomain, remote: &'a str) -> Trust<'a> {
        Trust { source: self.source, edge: edge.as_str(), verified: self.verified, remote }
    }
}

/// What the policy says of a peer that wants to speak for a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// It may.
    Admitted(AdmittedPeer),
    /// It may if the SRV record of the domain leads to this hosting provider: look it up, then call [`carried_by`].
    IfCarriedBy(Carriage),
}

/// A hosting provider that wants to speak for one of its customers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Carriage {
    domain: SipDomain,
    proxy: SipDomain,
    level: VerificationLevel,
}

impl Carriage {
    /// Whose SRV record is to be looked up.
    pub const fn domain(&self) -> &SipDomain {
        &self.domain
    }
}

/// Whether the peer whose certificate `names` (a predicate over names) may speak for `domain`.
pub fn admit(
    settings: &Snapshot,
    domain: &SipDomain,
    names: &dyn Fn(&SipDomain) -> bool,
) -> Result<Admission, Refusal> {
    let edge = settings.access_edge();
    if !edge.allow_federated_users {
        return Err(Refusal::FederationOff);
    }
    if settings.is_blocked(domain) {
        return Err(Refusal::DomainBlocked { domain: domain.clone() });
    }
    let record = settings.allowed_domain(domain);
    if record.is_none() && !edge.enable_partner_discovery {
        return Err(Refusal::DomainNotAllowed { domain: domain.clone() });
    }
    // The documents' domains had no level of their own and acted as UseSourceVerification (lync.md §1.3).
    let level = record.and_then(|record| record.verification_level).unwrap_or(VerificationLevel::UseSourceVerification);
    let admitted = |source| {
        let peer = AdmittedPeer { domain: domain.clone(), source, verified: counts_as_verified(level) };
        Ok(Admission::Admitted(peer))
    };
    let another =
        |wanted: &SipDomain| Refusal::CertificateNamesAnother { domain: domain.clone(), wanted: wanted.clone() };
    if let Some(proxy) = record.and_then(|record| record.proxy_fqdn.as_ref()) {
        return if names(proxy) { admitted(SourceType::DirectPartner) } else { Err(another(proxy)) };
    }
    if names(domain) {
        return admitted(SourceType::AutoFederation);
    }
    let provider = settings.hosting_providers().find(|provider| provider.enabled && names(&provider.proxy_fqdn));
    match provider {
        Some(provider) => Ok(Admission::IfCarriedBy(Carriage {
            domain: domain.clone(),
            proxy: provider.proxy_fqdn.clone(),
            level: provider.verification_level,
        })),
        None => Err(another(domain)),
    }
}

/// Completes an admission with the targets of the domain's SRV record.
pub fn carried_by(carriage: Carriage, srv_targets: &[SipDomain]) -> Result<AdmittedPeer, Refusal> {
    if !srv_targets.contains(&carriage.proxy) {
        return Err(Refusal::CertificateNamesAnother { wanted: carriage.domain.clone(), domain: carriage.domain });
    }
    Ok(AdmittedPeer {
        domain: carriage.domain,
        source: SourceType::AuthorizedServer,
        verified: counts_as_verified(carriage.level),
    })
}

/// The source's own assertion is absent in everything this road carries; absent is marked unverified, the milder of
/// the two documented readings (lync.md §3.3).
const fn counts_as_verified(level: VerificationLevel) -> bool {
    match level {
        VerificationLevel::AlwaysVerifiable => true,
        VerificationLevel::AlwaysUnverifiable | VerificationLevel::UseSourceVerification => false,
    }
}

/// Proof that an internal connection comes from a host that this machine's configuration names as an edge.
#[derive(Clone, Debug)]
pub struct TrustedEdge(());

/// Whether the certificate of an internal connection names one of the configured edges.
pub fn trusted_edge(edges: &[SipDomain], names: &dyn Fn(&SipDomain) -> bool) -> Option<TrustedEdge> {
    edges.iter().any(names).then_some(TrustedEdge(()))
}

/// Rebuilds the proof behind the edge, from the edge's trust header and the From domain that the edge has checked.
pub fn readmit(_: &TrustedEdge, trust: Option<&str>, from: &SipDomain) -> Result<AdmittedPeer, Refusal> {
    let trust = trust.and_then(Trust::read).ok_or(Refusal::NoTrust)?;
    Ok(AdmittedPeer { domain: from.clone(), source: trust.source, verified: trust.verified })
}

#[cfg(test)]
mod tests {
    use reveille_core::Timestamp;
    use reveille_core::settings::{
        AccessEdgeConfiguration, AllowedDomain, BlockedDomain, HostingProvider, Setting, SettingChange,
    };

    use super::*;

    fn domain(text: &str) -> SipDomain {
        text.parse().unwrap()
    }

    /// The documents' recipe beside a direct partner and a domain found by SRV.
    fn settings(on: bool) -> Snapshot {
        let allowed = |name: &str, proxy: Option<&str>| {
            Setting::AllowedDomain(AllowedDomain {
                identity: domain(name),
                proxy_fqdn: proxy.map(domain),
                verification_level: None,
                comment: String::new(),
            })
        };
        let rows = [
            Setting::AccessEdgeConfiguration(AccessEdgeConfiguration {
                allow_federated_users: on,
                ..Default::default()
            }),
            allowed("direct.example", Some("edge.partner.example")),
            allowed("srv.example", None),
            allowed("push.lync.com", None),
            Setting::BlockedDomain(BlockedDomain { identity: domain("bad.example"), comment: String::new() }),
            Setting::HostingProvider(HostingProvider {
                enabled: true,
                verification_level: VerificationLevel::AlwaysVerifiable,
                ..HostingProvider::new("LyncOnline", domain("sipfed.online.lync.com"))
            }),
        ];
        rows.into_iter().fold(Snapshot::default(), |snapshot, setting| {
            snapshot.with(&SettingChange::Put(setting), "tester", Timestamp::from_millis(1)).unwrap()
        })
    }

    #[test]
    fn who_may_speak_for_whom() {
        let settings = settings(true);
        let another = |name: &str, wanted: &str| {
            Err(Refusal::CertificateNamesAnother { domain: domain(name), wanted: domain(wanted) })
        };
        let not_allowed = Refusal::DomainNotAllowed { domain: domain("stranger.example") };
        for (speaks_for, certificate, expected) in [
            ("direct.example", "edge.partner.example", Ok(Some(SourceType::DirectPartner))),
            // A direct partner must name the proxy, not the domain.
            ("direct.example", "direct.example", another("direct.example", "edge.partner.example")),
            ("srv.example", "srv.example", Ok(Some(SourceType::AutoFederation))),
            ("srv.example", "edge.partner.example", another("srv.example", "srv.example")),
            ("push.lync.com", "sipfed.online.lync.com", Ok(None)),
            ("stranger.example", "stranger.example", Err(not_allowed)),
            ("bad.example", "bad.example", Err(Refusal::DomainBlocked { domain: domain("bad.example") })),
        ] {
            let names = |name: &SipDomain| *name == domain(certificate);
            let found = admit(&settings, &domain(speaks_for), &names).map(|admission| match admission {
                Admission::Admitted(peer) => Some(peer.source()),
                Admission::IfCarriedBy(_) => None,
            });
            assert_eq!(found, expected, "{certificate} for {speaks_for}");
        }
    }

    #[test]
    fn nobody_may_speak_while_federation_is_off() {
        let found = admit(&settings(false), &domain("srv.example"), &|_| true);
        assert_eq!(found, Err(Refusal::FederationOff));
    }

    #[test]
    fn a_provider_speaks_only_for_domains_whose_srv_points_at_it() {
        let names = |name: &SipDomain| *name == domain("sipfed.online.lync.com");
        let ask = || match admit(&settings(true), &domain("push.lync.com"), &names) {
            Ok(Admission::IfCarriedBy(carriage)) => carriage,
            other => panic!("{other:?}"),
        };
        let peer = carried_by(ask(), &[domain("sipfed.online.lync.com")]).unwrap();
        assert_eq!((peer.domain().as_str(), peer.verified()), ("push.lync.com", true));
        assert!(carried_by(ask(), &[domain("elsewhere.example")]).is_err());
        assert!(carried_by(ask(), &[]).is_err());
    }

    #[test]
    fn the_proof_is_rebuilt_only_behind_a_configured_edge() {
        let edges = [domain("edge.push.example.net")];
        assert!(trusted_edge(&edges, &|name| name.as_str() == "other.push.example.net").is_none());
        let edge = trusted_edge(&edges, &|name| name.as_str() == "edge.push.example.net").unwrap();
        let text = "ms-source-type=DirectPartner;ms-ep-fqdn=e;ms-source-verified-user=verified";
        let peer = readmit(&edge, Some(text), &domain("contoso.com")).unwrap();
        assert_eq!((peer.domain().as_str(), peer.source()), ("contoso.com", SourceType::DirectPartner));
        assert_eq!(readmit(&edge, None, &domain("contoso.com")), Err(Refusal::NoTrust));
        assert_eq!(readmit(&edge, Some("trust me"), &domain("contoso.com")), Err(Refusal::NoTrust));
    }
}
