//! Rules across records, checked when a change is written and never at start (lync.md §1.2: the documents' product
//! took both records and then refused to start).

use super::{Setting, SettingChange, Snapshot};
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
    #[error("the ProxyFqdn of hosting provider \"{identity}\" cannot be changed: remove it and make a new one")]
    ProxyImmutable {
        /// The provider's name.
        identity: String,
    },
    /// Not a place push requests could go to.
    #[error("PushNotificationProxyUri \"{uri}\" is not a SIP URI of the form sip:push@domain")]
    ProxyUri {
        /// What was given.
        uri: String,
    },
    /// The count is outside of its range.
    #[error("OutgoingTlsCountForFederatedPartners is {count}, and must be 1 to 4")]
    TlsCount {
        /// What was given.
        count: u8,
    },
}

/// Whether `change` may be written into `snapshot`.
pub(super) fn check(snapshot: &Snapshot, change: &SettingChange) -> Result<(), Conflict> {
    let SettingChange::Put(setting) = change else { return Ok(()) };
    match setting {
        Setting::AccessEdgeConfiguration(record) => match record.outgoing_tls_count_for_federated_partners {
            1..=4 => Ok(()),
            count => Err(Conflict::TlsCount { count }),
        },
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
        Setting::HostingProvider(record) => {
            let before = snapshot.hosting_providers().find(|kept| kept.identity == record.identity);
            if before.is_some_and(|before| before.proxy_fqdn != record.proxy_fqdn) {
                return Err(Conflict::ProxyImmutable { identity: record.identity.clone() });
            }
            proxy_is_free(snapshot, &record.proxy_fqdn, setting)
        }
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

/// An FQDN is a hosting provider's proxy or one allowed domain's, and of one record only. Several allowed domains may
/// share a direct partner's edge, since a partner may host more than one domain.
fn proxy_is_free(snapshot: &Snapshot, proxy: &SipDomain, setting: &Setting) -> Result<(), Conflict> {
    let own = setting.key();
    let taken =
        |kind, identity: &str| Err(Conflict::ProxyTaken { proxy: proxy.clone(), kind, identity: identity.to_owned() });
    for other in snapshot.hosting_providers() {
        if other.proxy_fqdn == *proxy && (own.kind != "HostingProvider" || other.identity != own.identity) {
            return taken("HostingProvider", &other.identity);
        }
    }
    if let Setting::HostingProvider(_) = setting {
        for other in snapshot.allowed_domains() {
            if other.proxy_fqdn.as_ref() == Some(proxy) {
                return taken("AllowedDomain", other.identity.as_str());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    fn domain(text: &str) -> SipDomain {
        text.parse().unwrap()
    }

    fn provider(identity: &str, proxy: &str) -> Setting {
        Setting::HostingProvider(HostingProvider {
            identity: identity.into(),
            proxy_fqdn: domain(proxy),
            enabled: true,
            verification_level: VerificationLevel::UseSourceVerification,
        })
    }

    fn allowed(name: &str, proxy: Option<&str>) -> Setting {
        Setting::AllowedDomain(AllowedDomain {
            identity: domain(name),
            proxy_fqdn: proxy.map(domain),
            verification_level: None,
            comment: String::new(),
        })
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
            (any, edge(4), None),
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
