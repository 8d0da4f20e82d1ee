//! Rules across records, checked when a change is written and never at start (lync.md §1.2: the documents' product
//! took both records and then refused to start).

use super::carriers::ProviderRecord;
use super::{
    AccessEdgeConfiguration, Conflict, MobilityPolicy, PolicyGrant, RoutingMethod, Scope, Setting, SettingChange,
    SettingKey, Snapshot,
};
use crate::names::SipDomain;

/// The longest record, as JSON.
pub const RECORD_BYTES_MAX: usize = 256 * 1024;

/// How many records there may be.
pub const RECORDS_MAX: usize = 100_000;

/// Whether `change` may be written into `snapshot`.
pub(super) fn check(snapshot: &Snapshot, change: &SettingChange) -> Result<(), Conflict> {
    let setting = match change {
        SettingChange::Put(setting) => setting,
        SettingChange::Remove(key) => return removal(snapshot, key),
    };
    bounds(snapshot, setting)?;
    scopes(setting)?;
    match setting {
        Setting::AccessEdgeConfiguration(record) => access_edge(snapshot, record),
        Setting::AllowedDomain(record) => {
            if snapshot.is_blocked(&record.identity) {
                return Err(Conflict::BothLists {
                    domain: record.identity.clone(),
                    own: "AllowedDomain",
                    other: "BlockedDomain",
                });
            }
            match &record.proxy_fqdn {
                Some(proxy) => proxy_is_free(snapshot, proxy, setting),
                None => Ok(()),
            }
        }
        Setting::BlockedDomain(record) => match snapshot.allowed_domain(&record.identity) {
            Some(_) => Err(Conflict::BothLists {
                domain: record.identity.clone(),
                own: "BlockedDomain",
                other: "AllowedDomain",
            }),
            None => Ok(()),
        },
        Setting::HostingProvider(record) => provider(snapshot, record.into(), setting),
        Setting::PublicProvider(record) => provider(snapshot, record.into(), setting),
        Setting::McxConfiguration(record) => {
            let (long, short) = (record.session_expiration_interval, record.session_short_expiration_interval);
            if long <= short || short < 120 {
                return Err(Conflict::Intervals { long, short });
            }
            match record.push_address() {
                Some(_) => Ok(()),
                None => Err(Conflict::ProxyUri { uri: record.push_notification_proxy_uri.clone() }),
            }
        }
        Setting::PolicyGrant(record) => grant(snapshot, record),
        Setting::AdminRole(record) => {
            name("Identity", &record.identity)?;
            if let Some((property, value, why)) = record.fault() {
                return Err(Conflict::Malformed { property, value: value.chars().take(80).collect(), why });
            }
            match record.config_scopes.is_empty() && record.user_scopes.is_empty() {
                true => Err(Conflict::RoleWithoutScope { identity: record.identity.clone() }),
                false => Ok(()),
            }
        }
        Setting::HealthMonitoringConfiguration(record) => {
            let (first, second) =
                (record.first_test_user_sip_uri.to_string(), record.second_test_user_sip_uri.to_string());
            match first.eq_ignore_ascii_case(&second) {
                true => Err(Conflict::SameTestUser { pool: record.identity.clone(), user: first }),
                false => Ok(()),
            }
        }
        Setting::ImFilterConfiguration(record) => record.prefixes.iter().try_for_each(|it| name("Prefixes", it)),
        Setting::ProbeSchedule(record) => {
            name("Identity", &record.identity)?;
            match record.interval_minutes {
                1..=MINUTES_OF_A_YEAR => Ok(()),
                value => Err(Conflict::Range { property: "IntervalMinutes", value, range: "1 to 525600, a year" }),
            }
        }
        Setting::PushAccount(record) => match record.fault() {
            Some((property, value, why)) => {
                Err(Conflict::Malformed { property, value: value.chars().take(80).collect(), why })
            }
            None => Ok(()),
        },
        Setting::PushApp(record) => {
            name("Identity", &record.identity)?;
            for (property, value, most, range) in [
                ("BrakeRejections", record.brake_rejections, 1_000_000, "1 to 1000000"),
                ("BrakePercent", record.brake_percent, 100, "1 to 100"),
                ("BrakeMinutes", record.brake_minutes, 24 * 60, "1 to 1440, a day"),
            ] {
                if value == 0 || value > most {
                    return Err(Conflict::Range { property, value, range });
                }
            }
            Ok(())
        }
        Setting::PushQuota(record) => record.fault().map_or(Ok(()), Err),
        Setting::AutodiscoverConfiguration(record) => record.web_links.iter().try_for_each(|link| {
            name("Token", &link.token)?;
            name("Href", &link.href)
        }),
        Setting::MobilityPolicy(_) | Setting::PushNotificationConfiguration(_) => Ok(()),
    }
}

const MINUTES_OF_A_YEAR: u32 = 365 * 24 * 60;

/// Nothing grows without an end.
fn bounds(snapshot: &Snapshot, setting: &Setting) -> Result<(), Conflict> {
    if snapshot.rows.len() >= RECORDS_MAX && snapshot.row(&setting.key()).is_none() {
        return Err(Conflict::TooMany { most: RECORDS_MAX });
    }
    let bytes = serde_json::to_string(setting).map_or(usize::MAX, |text| text.len());
    match bytes > RECORD_BYTES_MAX {
        true => {
            let identity = setting.identity().chars().take(80).collect();
            Err(Conflict::TooLong { kind: setting.kind(), identity, bytes, most: RECORD_BYTES_MAX })
        }
        false => Ok(()),
    }
}

/// Which scopes a kind of record has (lync.md §1.1).
fn scopes(setting: &Setting) -> Result<(), Conflict> {
    let Some(scope) = setting.scope() else { return Ok(()) };
    let scopes = match (setting, scope) {
        (_, Scope::Global | Scope::Site(_))
        | (Setting::McxConfiguration(_), Scope::Service(_))
        | (Setting::MobilityPolicy(_), Scope::Tag(_)) => return Ok(()),
        (Setting::McxConfiguration(_), Scope::Tag(_)) => "global, site:Name and service:WebServer:FQDN",
        (Setting::MobilityPolicy(_), Scope::Service(_)) => "global, site:Name and tag:Name",
        (_, Scope::Service(_) | Scope::Tag(_)) => "global and site:Name",
    };
    Err(Conflict::WrongScope { kind: setting.kind(), scope: scope.to_string(), scopes })
}

/// A name that people and logs can read.
fn name(property: &'static str, value: &str) -> Result<(), Conflict> {
    let why = match value {
        "" => "it is empty",
        value if value.len() > 1024 => "it is longer than 1024 bytes",
        value if value.chars().any(char::is_control) => "it holds a control character",
        _ => return Ok(()),
    };
    Err(Conflict::Malformed { property, value: value.chars().take(80).collect(), why })
}

fn grant(snapshot: &Snapshot, record: &PolicyGrant) -> Result<(), Conflict> {
    let tag = Scope::Tag(record.mobility_policy.clone());
    match snapshot.row(&SettingKey::new("MobilityPolicy", &tag.to_string())) {
        Some(_) => Ok(()),
        None => {
            Err(Conflict::GrantOfNothing { user: record.identity.to_string(), policy: record.mobility_policy.clone() })
        }
    }
}

/// Whether a record may go: a policy only when nobody has it.
fn removal(snapshot: &Snapshot, key: &SettingKey) -> Result<(), Conflict> {
    let row = snapshot.row(key).map(|row| &row.setting);
    let Some(Setting::MobilityPolicy(MobilityPolicy { identity: Scope::Tag(policy), .. })) = row else { return Ok(()) };
    let mut holders = snapshot.of_kind("PolicyGrant").filter_map(|row| match &row.setting {
        Setting::PolicyGrant(grant) if grant.mobility_policy.eq_ignore_ascii_case(policy) => Some(&grant.identity),
        _ => None,
    });
    match holders.next() {
        Some(user) => {
            Err(Conflict::PolicyInUse { policy: policy.clone(), user: user.to_string(), more: holders.count() })
        }
        None => Ok(()),
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
        return Err(Conflict::ProviderBesideDefaultRoute { route: route.clone(), is_new_route: true, kind, identity });
    }
    // Whose level would count for a peer that is both?
    match snapshot.allowed_domains().find(|other| other.proxy_fqdn.as_ref() == Some(route)) {
        Some(other) => {
            let own = Setting::AccessEdgeConfiguration(record.clone());
            Err(taken(snapshot, &own, route, "AllowedDomain", other.identity.as_str()))
        }
        None => Ok(()),
    }
}

fn provider(snapshot: &Snapshot, record: ProviderRecord<'_>, setting: &Setting) -> Result<(), Conflict> {
    let identity = record.carrier.identity.to_owned();
    name("Identity", &identity)?;
    let same_name = |kept: &ProviderRecord<'_>| kept.carrier.identity.eq_ignore_ascii_case(&identity);
    let before = snapshot.providers().find(|kept| kept.kind == record.kind && same_name(kept));
    if before.is_some_and(|before| before.carrier.proxy != record.carrier.proxy) {
        return Err(Conflict::ProxyImmutable { kind: record.kind, identity });
    }
    if let Some(other) = snapshot.providers().find(|kept| kept.kind != record.kind && same_name(kept)) {
        return Err(Conflict::IdentityTaken { own: record.kind, kind: other.kind, identity });
    }
    // A record that was written before stays as it is: the default route came later, and was refused then.
    if let Some(route) = snapshot.access_edge().default_route() {
        return Err(Conflict::ProviderBesideDefaultRoute {
            route: route.clone(),
            is_new_route: false,
            kind: record.kind,
            identity,
        });
    }
    proxy_is_free(snapshot, record.carrier.proxy, setting)
}

fn taken(snapshot: &Snapshot, own: &Setting, proxy: &SipDomain, kind: &'static str, identity: &str) -> Conflict {
    Conflict::ProxyTaken {
        proxy: proxy.clone(),
        own: own.kind(),
        own_identity: own.identity(),
        own_exists: snapshot.row(&own.key()).is_some(),
        kind,
        identity: identity.to_owned(),
    }
}

/// An FQDN is a provider's proxy or one allowed domain's, and of one record only. Several allowed domains may share a
/// direct partner's edge, since a partner may host more than one domain.
fn proxy_is_free(snapshot: &Snapshot, proxy: &SipDomain, setting: &Setting) -> Result<(), Conflict> {
    let own = setting.key();
    let taken = |kind, identity: &str| Err(taken(snapshot, setting, proxy, kind, identity));
    for other in snapshot.providers() {
        if other.carrier.proxy == proxy && own != SettingKey::new(other.kind, other.carrier.identity) {
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

    fn read(json: &str) -> Setting {
        serde_json::from_str(json).unwrap()
    }

    const POLICY: &str = r#"{"Kind":"MobilityPolicy","Identity":"tag:NoPush","EnablePushNotifications":false}"#;
    const GRANT: &str = r#"{"Kind":"PolicyGrant","Identity":"ken@contoso.com","MobilityPolicy":"NoPush"}"#;

    #[test]
    fn a_policy_stays_as_long_as_somebody_has_it() {
        let granted = Snapshot::of([read(POLICY), read(GRANT)]).unwrap();
        let at = Timestamp::from_millis(1);
        let policy = SettingChange::Remove(read(POLICY).key());
        let refused = granted.with(&policy, "tester", at).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "MobilityPolicy \"tag:NoPush\" is granted to ken@contoso.com: take it from them first"
        );
        assert_eq!(
            refused.advice().as_deref(),
            Some("Grant-CsMobilityPolicy -Identity ken@contoso.com -PolicyName $null")
        );
        let taken = granted.with(&SettingChange::Remove(read(GRANT).key()), "tester", at).unwrap();
        assert!(taken.with(&policy, "tester", at).is_ok());
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
            (
                allowed("d.example", None),
                blocked("d.example"),
                Some("BlockedDomain \"d.example\" cannot stand beside AllowedDomain \"d.example\""),
            ),
            (
                blocked("d.example"),
                allowed("d.example", None),
                Some("AllowedDomain \"d.example\" cannot stand beside BlockedDomain \"d.example\""),
            ),
            (any.clone(), mcx(120, 120, uri), Some("must be greater")),
            (any.clone(), mcx(500, 119, uri), Some("at least 120")),
            (any.clone(), mcx(500, 120, "push.lync.com"), Some("not a SIP URI")),
            (any.clone(), mcx(500, 120, uri), None),
            (
                any.clone(),
                read(r#"{"Kind":"McxConfiguration","Identity":"tag:x"}"#),
                Some("global, site:Name and service:WebServer:FQDN"),
            ),
            (
                any.clone(),
                read(r#"{"Kind":"PushNotificationConfiguration","Identity":"service:WebServer:a.b"}"#),
                Some("PushNotificationConfiguration has no service:WebServer:a.b: its scopes are global and site:Name"),
            ),
            (any.clone(), read(GRANT), Some("there is no MobilityPolicy \"tag:NoPush\" to grant to ken@contoso.com")),
            (read(POLICY), read(GRANT), None),
            (
                any.clone(),
                read(r#"{"Kind":"AdminRole","Identity":"R","Template":"CsHelpDesk"}"#),
                Some("neither ConfigScopes"),
            ),
            (
                any.clone(),
                read(
                    r#"{"Kind":"AdminRole","Identity":"csadministrator","Template":"CsHelpDesk","ConfigScopes":["global"]}"#,
                ),
                Some("Identity is \"csadministrator\": that is a predefined role"),
            ),
            (
                any.clone(),
                read(r#"{"Kind":"AdminRole","Identity":"R","Template":"Boss","ConfigScopes":["global"]}"#),
                Some("Template is \"Boss\""),
            ),
            (
                any.clone(),
                read(r#"{"Kind":"AdminRole","Identity":"R","Template":"CsHelpDesk","ConfigScopes":["tag:x"]}"#),
                Some("ConfigScopes is \"tag:x\": it is global or site:Name"),
            ),
            (
                any.clone(),
                read(
                    r#"{"Kind":"AdminRole","Identity":"R","Template":"CsHelpDesk","UserScopes":["global","nonsense"]}"#,
                ),
                Some("UserScopes is \"nonsense\""),
            ),
            (
                any.clone(),
                read(
                    r#"{"Kind":"AdminRole","Identity":"R","Template":"cshelpdesk","ConfigScopes":["site:X"],"UserScopes":["domain:a.b","user:x@a.b"]}"#,
                ),
                None,
            ),
            (
                any.clone(),
                read(
                    r#"{"Kind":"HealthMonitoringConfiguration","Identity":"cs.contoso.com","FirstTestUserSipUri":"sip:a@contoso.com","SecondTestUserSipUri":"A@contoso.com"}"#,
                ),
                Some("both test users of cs.contoso.com are a@contoso.com"),
            ),
            (
                any.clone(),
                read(r#"{"Kind":"ProbeSchedule","Identity":"Test-CsMcxP2PIM","IntervalMinutes":0}"#),
                Some("IntervalMinutes is 0"),
            ),
            (
                any.clone(),
                read(r#"{"Kind":"PushApp","Identity":"","Serves":[]}"#),
                Some("Identity is \"\": it is empty"),
            ),
            (
                any.clone(),
                read(&format!(r#"{{"Kind":"BlockedDomain","Identity":"a.b","Comment":"{}"}}"#, "x".repeat(300_000))),
                Some("262144 are the most"),
            ),
            (any.clone(), edge(0), Some("1 to 4")),
            (any.clone(), edge(4), None),
            (provider("A", "p.example"), public("B", "p.example"), Some("HostingProvider \"A\"")),
            (public("A", "p.example"), provider("A", "q.example"), Some("beside PublicProvider \"A\"")),
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
