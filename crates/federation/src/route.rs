//! The way out: where a message for another domain goes, and which name must answer there (DESIGN.md §6).

use reveille_core::SipDomain;
use reveille_core::settings::Snapshot;

use crate::refusal::Refusal;

/// The port that a ProxyFqdn is reached on.
pub const FEDERATION_PORT: u16 = 5061;

/// Where to go, and whom to expect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The host to look up.
    pub host: SipDomain,
    /// The port there.
    pub port: u16,
    /// The name that its certificate must hold.
    pub must_name: SipDomain,
}

/// The first answer: a way, or that the domain's SRV record must be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Way {
    /// Known from the settings alone.
    Direct(Route),
    /// Look up `_sipfederationtls._tcp.<domain>`, then call [`by_srv`].
    AskSrv,
}

/// Where a message for `domain` goes, by the settings alone.
pub fn way(settings: &Snapshot, domain: &SipDomain) -> Result<Way, Refusal> {
    let edge = settings.access_edge();
    if !edge.allow_federated_users {
        return Err(Refusal::FederationOff);
    }
    if settings.is_blocked(domain) {
        return Err(Refusal::DomainBlocked { domain: domain.clone() });
    }
    match settings.allowed_domain(domain) {
        None if edge.enable_partner_discovery => Ok(Way::AskSrv),
        None => Err(Refusal::DomainNotAllowed { domain: domain.clone() }),
        Some(record) => Ok(match &record.proxy_fqdn {
            Some(proxy) => Way::Direct(Route { host: proxy.clone(), port: FEDERATION_PORT, must_name: proxy.clone() }),
            None => Way::AskSrv,
        }),
    }
}

/// The ways that the targets of the SRV record (in the order they are to be tried) give.
///
/// A target that is an enabled hosting provider's ProxyFqdn is carried by that provider, and the same-domain rule does
/// not hold for it: the documents' recipe, a provider without a domain plus an allowed domain without a proxy.
pub fn by_srv(settings: &Snapshot, domain: &SipDomain, targets: &[(SipDomain, u16)]) -> Result<Vec<Route>, Refusal> {
    let mut routes = Vec::new();
    for (target, port) in targets {
        let provider = settings.hosting_providers().any(|provider| provider.enabled && provider.proxy_fqdn == *target);
        if provider {
            routes.push(Route { host: target.clone(), port: FEDERATION_PORT, must_name: target.clone() });
        } else if domain.holds(target) {
            routes.push(Route { host: target.clone(), port: *port, must_name: domain.clone() });
        }
    }
    match (routes.is_empty(), targets.first()) {
        (false, _) => Ok(routes),
        (true, Some((target, _))) => Err(Refusal::SrvNamesAnother { domain: domain.clone(), target: target.clone() }),
        (true, None) => Err(Refusal::SrvNotFound { domain: domain.clone(), why: "the record is empty".into() }),
    }
}

#[cfg(test)]
mod tests {
    use reveille_core::Timestamp;
    use reveille_core::settings::{
        AccessEdgeConfiguration, AllowedDomain, HostingProvider, Setting, SettingChange, VerificationLevel,
    };

    use super::*;

    fn domain(text: &str) -> SipDomain {
        text.parse().unwrap()
    }

    fn settings(provider_on: bool) -> Snapshot {
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
                allow_federated_users: true,
                ..Default::default()
            }),
            allowed("direct.example", Some("edge.partner.example")),
            allowed("push.lync.com", None),
            Setting::HostingProvider(HostingProvider {
                enabled: provider_on,
                verification_level: VerificationLevel::UseSourceVerification,
                ..HostingProvider::new("LyncOnline", domain("sipfed.online.lync.com"))
            }),
        ];
        rows.into_iter().fold(Snapshot::default(), |snapshot, setting| {
            snapshot.with(&SettingChange::Put(setting), "tester", Timestamp::from_millis(1)).unwrap()
        })
    }

    #[test]
    fn a_direct_partner_is_reached_at_its_proxy_on_5061() {
        let proxy = domain("edge.partner.example");
        let expected = Route { host: proxy.clone(), port: 5061, must_name: proxy };
        assert_eq!(way(&settings(true), &domain("direct.example")), Ok(Way::Direct(expected)));
        assert_eq!(way(&settings(true), &domain("push.lync.com")), Ok(Way::AskSrv));
        assert!(way(&settings(true), &domain("stranger.example")).is_err());
        assert_eq!(way(&Snapshot::default(), &domain("push.lync.com")), Err(Refusal::FederationOff));
    }

    #[test]
    fn an_srv_target_counts_in_its_own_domain_or_as_an_enabled_provider() {
        let push = domain("push.lync.com");
        let routes = |provider_on, target: &str, port| by_srv(&settings(provider_on), &push, &[(domain(target), port)]);
        let provider = domain("sipfed.online.lync.com");
        // The provider is reached on 5061, whatever port the record says.
        let by_provider = Route { host: provider.clone(), port: 5061, must_name: provider.clone() };
        assert_eq!(routes(true, "sipfed.online.lync.com", 443), Ok(vec![by_provider]));
        assert_eq!(
            routes(false, "sipfed.online.lync.com", 5061),
            Err(Refusal::SrvNamesAnother { domain: push.clone(), target: provider })
        );
        let own = Route { host: domain("sip.push.lync.com"), port: 5070, must_name: push.clone() };
        assert_eq!(routes(true, "sip.push.lync.com", 5070), Ok(vec![own]));
        assert!(matches!(by_srv(&settings(true), &push, &[]), Err(Refusal::SrvNotFound { .. })));
    }
}
