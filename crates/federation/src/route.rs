//! The way out: where a message for another domain goes, and which name must answer there (DESIGN.md §6, lync.md §3.1).

use reveille_core::SipDomain;
use reveille_core::settings::Snapshot;

use crate::policy::{Listing, Standing};
use crate::refusal::Refusal;

/// The port that a ProxyFqdn, or a default route, is reached on.
pub const FEDERATION_PORT: u16 = 5061;

/// Where to go, and whom to expect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// The host to look up.
    pub host: SipDomain,
    /// The port there.
    pub port: u16,
    /// What the server there is to us: the name that its certificate must hold, and how far its answers are believed.
    pub standing: Standing,
}

impl Route {
    /// A host whose own name must be proven.
    fn to(standing: Standing) -> Self {
        Self { host: standing.remote().clone(), port: FEDERATION_PORT, standing }
    }

    /// The name that its certificate must hold.
    pub const fn must_name(&self) -> &SipDomain {
        self.standing.remote()
    }
}

/// The first answer: a way, or that the domain's SRV record must be asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Way {
    /// Known from the settings alone.
    Direct(Route),
    /// Look up `_sipfederationtls._tcp.<domain>`, then call [`by_srv`].
    AskSrv,
}

/// Where a message for `domain`, which is not one of ours, goes by the settings alone.
pub fn way(settings: &Snapshot, domain: &SipDomain) -> Result<Way, Refusal> {
    let listing = Listing::open(settings, domain)?;
    let direct = listing.direct_partner().or_else(|| listing.default_route());
    Ok(direct.map_or(Way::AskSrv, |standing| Way::Direct(Route::to(standing))))
}

/// The ways that the targets of the SRV record (in the order they are to be tried) give.
///
/// A target that is an enabled provider's ProxyFqdn is carried by that provider, and the same-domain rule does not hold
/// for it: the documents' recipe, a provider without a domain plus an allowed domain without a proxy.
pub fn by_srv(settings: &Snapshot, domain: &SipDomain, targets: &[(SipDomain, u16)]) -> Result<Vec<Route>, Refusal> {
    let listing = Listing::open(settings, domain)?;
    let mut routes = Vec::new();
    for (target, port) in targets {
        if let Some(carrier) = settings.carriers().find(|carrier| carrier.proxy == target) {
            routes.push(Route::to(listing.carried(carrier)));
        } else if domain.holds(target) {
            routes.push(Route { host: target.clone(), port: *port, standing: listing.same_domain() });
        }
    }
    match (routes.is_empty(), targets.first()) {
        (false, _) => Ok(routes),
        (true, Some((target, _))) => Err(Refusal::SrvNamesAnother { domain: domain.clone(), target: target.clone() }),
        (true, None) => {
            Err(Refusal::SrvNotFound { domain: domain.clone(), why: "the record is empty".into(), remedy: None })
        }
    }
}

#[cfg(test)]
mod tests {
    use reveille_core::settings::{AccessEdgeConfiguration, AllowedDomain, HostingProvider, RoutingMethod, Setting};

    use super::*;
    use crate::trust::SourceType;

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

    fn allowed(name: &str, proxy: Option<&str>) -> Setting {
        Setting::AllowedDomain(AllowedDomain { proxy_fqdn: proxy.map(domain), ..AllowedDomain::new(domain(name)) })
    }

    fn provider(enabled: bool) -> Setting {
        let record = HostingProvider::new("LyncOnline", domain("sipfed.online.lync.com"));
        Setting::HostingProvider(HostingProvider { enabled, ..record })
    }

    fn settings(provider_on: bool) -> Snapshot {
        let direct = allowed("direct.example", Some("edge.partner.example"));
        snapshot([access_edge(|_| ()), direct, allowed("push.lync.com", None), provider(provider_on)])
    }

    /// Host, port, name to prove, and how it is known.
    type Short<'a> = (&'a str, u16, &'a str, SourceType);

    fn short(route: &Route) -> Short<'_> {
        (route.host.as_str(), route.port, route.must_name().as_str(), route.standing.source())
    }

    #[test]
    fn each_step_of_the_order_has_its_way() {
        let default = |more: &[Setting]| {
            let edge = access_edge(|record| {
                record.routing_method = RoutingMethod::UseDefaultRouting;
                record.default_route_fqdn = Some(domain("route.example"));
            });
            snapshot(std::iter::once(edge).chain(more.iter().cloned()))
        };
        let direct = ("edge.partner.example", 5061, "edge.partner.example", SourceType::DirectPartner);
        let route = ("route.example", 5061, "route.example", SourceType::AuthorizedServer);
        let discovery = snapshot([access_edge(|record| record.enable_partner_discovery = true)]);
        let listed = [allowed("direct.example", Some("edge.partner.example")), allowed("srv.example", None)];
        for (settings, to, expected) in [
            (settings(true), "direct.example", Ok(Some(direct))),
            (settings(true), "push.lync.com", Ok(None)),
            (settings(true), "stranger.example", Err("domain-not-allowed")),
            (Snapshot::default(), "push.lync.com", Err("federation-off")),
            (discovery, "stranger.example", Ok(None)),
            // The default route takes everything that has no edge of its own, listed or not.
            (default(&listed), "direct.example", Ok(Some(direct))),
            (default(&listed), "srv.example", Ok(Some(route))),
            (default(&listed), "anybody.example", Ok(Some(route))),
        ] {
            let found = way(&settings, &domain(to));
            let found = match &found {
                Ok(Way::Direct(route)) => Ok(Some(short(route))),
                Ok(Way::AskSrv) => Ok(None),
                Err(refusal) => Err(refusal.as_str()),
            };
            assert_eq!(found, expected, "{to}");
        }
    }

    #[test]
    fn the_recipe_of_ocs_2007_r2_needs_one_record_on_an_empty_store() {
        let settings = snapshot([access_edge(|_| ()), allowed("push.lync.com", Some("sipfed.online.lync.com"))]);
        let Ok(Way::Direct(route)) = way(&settings, &domain("push.lync.com")) else { panic!("no way") };
        let expected = ("sipfed.online.lync.com", 5061, "sipfed.online.lync.com", SourceType::DirectPartner);
        assert_eq!(short(&route), expected);
    }

    #[test]
    fn an_srv_target_counts_in_its_own_domain_or_as_an_enabled_provider() {
        let push = domain("push.lync.com");
        let routes = |provider_on, target: &str, port| by_srv(&settings(provider_on), &push, &[(domain(target), port)]);
        let provider = "sipfed.online.lync.com";
        // The provider is reached on 5061, whatever port the record says.
        let found = routes(true, provider, 443).unwrap();
        assert_eq!(short(&found[0]), (provider, 5061, provider, SourceType::AuthorizedServer));
        assert_eq!(
            routes(false, provider, 5061),
            Err(Refusal::SrvNamesAnother { domain: push.clone(), target: domain(provider) })
        );
        let found = routes(true, "sip.push.lync.com", 5070).unwrap();
        assert_eq!(short(&found[0]), ("sip.push.lync.com", 5070, "push.lync.com", SourceType::AutoFederation));
        assert!(matches!(by_srv(&settings(true), &push, &[]), Err(Refusal::SrvNotFound { .. })));
    }
}
