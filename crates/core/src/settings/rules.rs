//! Rules across records, checked when a change is written and never at start (lync.md §1.2: the documents' product
//! took both records and then refused to start).

use super::carriers::ProviderRecord;
use super::{AccessEdgeConfiguration, RoutingMethod, Setting, SettingChange, Snapshot};
use crate::names::SipDomain;

/// Why a change was refused. Both records are named.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Conflict {
    /// A domain cannot be allowed and blocked.
    #[error("{domain} cannot be allowed and blocked at once: remove the {other} record for {domain} first")]
    BothLists {
        /// The domain.
        domain: SipDomain,
        /// The kind of the record that exists.
        other: &'static str,
    },
    /// Providers of both kinds share one list of names.
    #[error("there is a {kind} \"{identity}\" already: a provider's name is unique over both kinds")]
    IdentityTaken {
        /// The kind of the record that has it.
        kind: &'static str,
        /// The name.
        identity: String,
    },
    /// The session intervals contradict each other.
    #[error(
        "SessionExpirationInterval ({long} s) must be greater than SessionShortExpirationInterval ({short} s), and \
         both at least 120 s"
    )]
    Intervals {
        /// The long one, in seconds.
        long: u32,
        /// The short one, in seconds.
        short: u32,
    },
    /// One edge, two records.
    #[error("{proxy} is already the ProxyFqdn of {kind} \"{identity}\": one edge belongs to one record")]
    ProxyTaken {
        /// The FQDN in question.
        proxy: SipDomain,
        /// The kind of the record that has it.
        kind: &'static str,
        /// The name of the record that has it.
        identity: String,
    },
    /// The proxy of a provider is for life.
    #[error("the ProxyFqdn of {kind} \"{identity}\" cannot be changed: remove it and make a new one")]
    ProxyImmutable {
        /// The kind of the provider's record.
        kind: &'static str,
        /// The provider's name.
        identity: String,
    },
    /// Not a place push requests could go to.
    #[error("PushNotificationProxyUri \"{uri}\" is not a SIP URI of the form sip:push@domain")]
    ProxyUri {
        /// What was given.
        uri: String,
    },
    /// A provider and a default route exclude each other.
    #[error(
        "AccessEdgeConfiguration \"global\" uses the default route {route}, and {kind} \"{identity}\" would be a second \
         way: remove the provider, or choose UseDnsSrvRouting"
    )]
    ProviderBesideDefaultRoute {
        /// The default route.
        route: SipDomain,
        /// The kind of the provider's record.
        kind: &'static str,
        /// The provider's name.
        identity: String,
    },
    /// A number is outside of its range.
    #[error("{property} is {value}, and must be {range}")]
    Range {
        /// Which property.
        property: &'static str,
        /// What was given.
        value: u32,
        /// What may be given.
        range: &'static str,
    },
    /// Properties of two forms of the command.
    #[error("{property} belongs to {form}, and RoutingMethod is another: set one or the other")]
    RoutingForm {
        /// The property that does not fit.
        property: &'static str,
        /// The form that it belongs to.
        form: &'static str,
    },
    /// The default route leads nowhere.
    #[error("UseDefaultRouting needs a DefaultRouteFqdn")]
    RouteMissing,
}

/// Whether `change` may be written into `snapshot`.
pub(super) fn check(snapshot: &Snapshot, change: &SettingChange) -> Result<(), Conflict> {
    let SettingChange::Put(setting) = change else { return Ok(()) };
    match setting {
        Setting::AccessEdgeConfiguration(record) => access_edge(snapshot, record),
        Setting::AllowedDomain(record) => {
            if snapshot.is_blocked(&record.identity) {
                return Err(Conflict::BothLists { domain: record.identity.clone(), other: "BlockedDomain" });
            }
            match &record.proxy_fqdn {
                Some(proxy) => proxy_is_free(snapshot, proxy, setting),
                None => Ok(()),
            }
        }
        Setting::BlockedDomain(record) => match snapshot.allowed_domain(&record.identity) {
            Some(_) => Err(Conflict::BothLists { domain: record.identity.clone(), other: "AllowedDomain" }),
            None => Ok(()),
        },
        Setting::HostingProvider(record) => provider(snapshot, record.into(), setting),
        Setting::PublicProvider(record) => provider(snapshot, record.into(), setting),
        Setting::McxConfiguration(record) => {
            let (long, short) = (record.session_expiration_interval, record.session_short_expiration_interval);
            if long <= short || short < 120 {
                return Err(Conflict::Intervals { long, short });
            }
            let uri = &record.push_notification_proxy_uri;
            match uri.strip_prefix("sip:").map(str::parse::<crate::names::Aor>) {
                Some(Ok(_)) => Ok(()),
                _ => Err(Conflict::ProxyUri { uri: uri.clone() }),
            }
        }
        Setting::MobilityPolicy(_) | Setting::PushApp(_) | Setting::PushNotificationConfiguration(_) => Ok(()),
    }
}

fn access_edge(snapshot: &Snapshot, record: &AccessEdgeConfiguration) -> Result<(), Conflict> {
    if let Some((property, value, range)) = record.out_of_range() {
        return Err(Conflict::Range { property, value, range });
    }
    if let Some((property, form)) = record.contradiction() {
        return Err(Conflict::RoutingForm { property, form });
    }
    if record.routing_method == RoutingMethod::UseDnsSrvRouting {
        return Ok(());
    }
    let route = record.default_route_fqdn.as_ref().ok_or(Conflict::RouteMissing)?;
    if let Some(other) = snapshot.providers().next() {
        let (kind, identity) = (other.kind, other.carrier.identity.to_owned());
        return Err(Conflict::ProviderBesideDefaultRoute { route: route.clone(), kind, identity });
    }
    // Whose level would count for a peer that is both?
    match snapshot.allowed_domains().find(|other| other.proxy_fqdn.as_ref() == Some(route)) {
        Some(other) => {
            let (kind, identity) = ("AllowedDomain", other.identity.to_string());
            Err(Conflict::ProxyTaken { proxy: route.clone(), kind, identity })
        }
        None => Ok(()),
    }
}

fn provider(snapshot: &Snapshot, record: ProviderRecord<'_>, setting: &Setting) -> Result<(), Conflict> {
    let identity = record.carrier.identity.to_owned();
    let before = snapshot.providers().find(|kept| kept.kind == record.kind && kept.carrier.identity == identity);
    if before.is_some_and(|before| before.carrier.proxy != record.carrier.proxy) {
        return Err(Conflict::ProxyImmutable { kind: record.kind, identity });
    }
    if let Some(other) = snapshot.providers().find(|kept| kept.kind != record.kind && kept.carrier.identity == identity)
    {
        return Err(Conflict::IdentityTaken { kind: other.kind, identity });
    }
    // A record that was written before stays as it is: the default route came later, and was refused then.
    if let Some(route) = snapshot.access_edge().default_route() {
        return Err(Conflict::ProviderBesideDefaultRoute { route: route.clone(), kind: record.kind, identity });
    }
    proxy_is_free(snapshot, record.carrier.proxy, setting)
}

/// An FQDN is a provider's proxy or one allowed domain's, and of one record only. Several allowed domains may share a
/// direct partner's edge, since a partner may host more than one domain.
fn proxy_is_free(snapshot: &Snapshot, proxy: &SipDomain, setting: &Setting) -> Result<(), Conflict> {
    let own = setting.key();
    let taken =
        |kind, identity: &str| Err(Conflict::ProxyTaken { proxy: proxy.clone(), kind, identity: identity.to_owned() });
    for other in snapshot.providers() {
        if other.carrier.proxy == proxy && (own.kind != other.kind || other.carrier.identity != own.identity) {
            return taken(other.kind, other.carrier.identity);
        }
    }
    if let Setting::AllowedDomain(_) = setting {
        return match snapshot.access_edge().default_route() {
            Some(route) if route == proxy => taken("AccessEdgeConfiguration", "global"),
            _ => Ok(()),
        };
    }
    match snapshot.allowed_domains().find(|other| other.proxy_fqdn.as_ref() == Some(proxy)) {
        Some(other) => taken("AllowedDomain", other.identity.as_str()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    fn domain(text: &str) -> SipDomain {
        text.parse().unwrap()
    }

    fn provider(identity: &str, proxy: &str) -> Setting {
        Setting::HostingProvider(HostingProvider { enabled: true, ..HostingProvider::new(identity, domain(proxy)) })
    }

    fn public(identity: &str, proxy: &str) -> Setting {
        let text = format!(r#"{{"Kind":"PublicProvider","Identity":"{identity}","ProxyFqdn":"{proxy}"}}"#);
        serde_json::from_str(&text).unwrap()
    }

    /// An Access Edge with the default route `route.example` and more of its properties.
    fn default_route(more: &str) -> Setting {
        let text = format!(
            r#"{{"Kind":"AccessEdgeConfiguration","RoutingMethod":"UseDefaultRouting","DefaultRouteFqdn":"route.example"{more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    fn access_edge(json: &str) -> Setting {
        serde_json::from_str(&format!(r#"{{"Kind":"AccessEdgeConfiguration",{json}}}"#)).unwrap()
    }

    fn allowed(name: &str, proxy: Option<&str>) -> Setting {
        Setting::AllowedDomain(AllowedDomain { proxy_fqdn: proxy.map(domain), ..AllowedDomain::new(domain(name)) })
    }

    fn blocked(name: &str) -> Setting {
        Setting::BlockedDomain(BlockedDomain { identity: domain(name), comment: String::new() })
    }

    #[test]
    fn records_that_contradict_each_other_are_refused_and_both_are_named() {
        let put = |snapshot: &Snapshot, setting: &Setting| {
            snapshot.with(&SettingChange::Put(setting.clone()), "tester", Timestamp::from_millis(1))
        };
        let mcx = |long, short, uri: &str| {
            Setting::McxConfiguration(McxConfiguration {
                session_expiration_interval: long,
                session_short_expiration_interval: short,
                push_notification_proxy_uri: uri.into(),
                ..Default::default()
            })
        };
        let edge = |count| {
            Setting::AccessEdgeConfiguration(AccessEdgeConfiguration {
                outgoing_tls_count_for_federated_partners: count,
                ..Default::default()
            })
        };
        let (uri, any) = ("sip:push@push.lync.com", allowed("x.example", None));
        for (first, second, sentence) in [
            (provider("A", "p.example"), provider("B", "p.example"), Some("HostingProvider \"A\"")),
            (provider("A", "p.example"), provider("A", "q.example"), Some("cannot be changed")),
            (provider("A", "p.example"), provider("A", "p.example"), None),
            (provider("A", "p.example"), allowed("d.example", Some("p.example")), Some("HostingProvider \"A\"")),
            (allowed("d.example", Some("p.example")), provider("A", "p.example"), Some("AllowedDomain \"d.example\"")),
            (allowed("d.example", Some("p.example")), allowed("e.example", Some("p.example")), None),
            (allowed("d.example", None), blocked("d.example"), Some("AllowedDomain record for d.example")),
            (blocked("d.example"), allowed("d.example", None), Some("BlockedDomain record for d.example")),
            (any.clone(), mcx(120, 120, uri), Some("must be greater")),
            (any.clone(), mcx(500, 119, uri), Some("at least 120")),
            (any.clone(), mcx(500, 120, "push.lync.com"), Some("not a SIP URI")),
            (any.clone(), mcx(500, 120, uri), None),
            (any.clone(), edge(0), Some("1 to 4")),
            (any.clone(), edge(4), None),
            (provider("A", "p.example"), public("B", "p.example"), Some("HostingProvider \"A\"")),
            (public("A", "p.example"), provider("A", "q.example"), Some("a PublicProvider \"A\" already")),
            (public("A", "p.example"), public("A", "q.example"), Some("cannot be changed")),
            (public("A", "p.example"), allowed("d.example", Some("p.example")), Some("PublicProvider \"A\"")),
            (provider("A", "p.example"), default_route(""), Some("HostingProvider \"A\" would be a second way")),
            (default_route(""), provider("A", "p.example"), Some("uses the default route route.example")),
            (default_route(""), public("A", "p.example"), Some("AccessEdgeConfiguration \"global\"")),
            (
                default_route(""),
                allowed("d.example", Some("route.example")),
                Some("AccessEdgeConfiguration \"global\""),
            ),
            (allowed("d.example", Some("route.example")), default_route(""), Some("AllowedDomain \"d.example\"")),
            (default_route(""), allowed("d.example", Some("p.example")), None),
            (any.clone(), default_route(r#","VerificationLevel":"AlwaysVerifiable","IsPublicProvider":true"#), None),
            (
                any.clone(),
                default_route(r#","BeClearingHouse":true"#),
                Some("BeClearingHouse belongs to UseDnsSrvRouting"),
            ),
            (any.clone(), default_route(r#","EnablePartnerDiscovery":true"#), Some("EnablePartnerDiscovery belongs")),
            (
                any.clone(),
                default_route(r#","DiscoveredPartnerVerificationLevel":"AlwaysVerifiable""#),
                Some("DiscoveredPartnerVerificationLevel belongs"),
            ),
            (any.clone(), access_edge(r#""RoutingMethod":"UseDefaultRouting""#), Some("needs a DefaultRouteFqdn")),
            (any.clone(), access_edge(r#""DefaultRouteFqdn":"r.example""#), Some("belongs to UseDefaultRouting")),
            (any.clone(), access_edge(r#""VerificationLevel":"AlwaysVerifiable""#), Some("VerificationLevel belongs")),
            (any.clone(), access_edge(r#""IsPublicProvider":true"#), Some("IsPublicProvider belongs")),
            (
                any.clone(),
                access_edge(r#""DiscoveredPartnerStandardRate":0"#),
                Some("DiscoveredPartnerStandardRate is 0"),
            ),
            (any, access_edge(r#""CertificatesDeletedPercentage":101"#), Some("1 to 100")),
        ] {
            let before = put(&Snapshot::default(), &first).unwrap();
            let outcome = put(&before, &second);
            match sentence {
                Some(part) => {
                    let said = outcome.unwrap_err().to_string();
                    assert!(said.contains(part), "{first:?} then {second:?}: {said}");
                }
                None => assert!(outcome.is_ok(), "{first:?} then {second:?}: {outcome:?}"),
            }
        }
    }
}
