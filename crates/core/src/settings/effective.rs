//! What holds where: the nearest record of a kind, and where it was set.

use std::fmt;

use super::{
    AdminRole, AutodiscoverConfiguration, HealthMonitoringConfiguration, ImFilterConfiguration, McxConfiguration,
    MobilityPolicy, PolicyGrant, ProbeSchedule, PushNotificationConfiguration, Scope, Setting, Snapshot,
};
use crate::names::{Aor, SipDomain};
use crate::provider::Provider;

/// A record that holds somewhere, and whose it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Effective<T> {
    /// What holds.
    pub record: T,
    /// The scope of the record that it comes from; none if nobody has set one and the defaults hold.
    pub from: Option<Scope>,
}

/// Where it comes from, as sentences name it: `global`, `site:Redmond`, `the defaults`.
impl<T> fmt::Display for Effective<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Some(scope) => scope.fmt(f),
            None => f.write_str("the defaults"),
        }
    }
}

/// A kind of record that has scopes.
trait Scoped: Clone + Default {
    const KIND: &str;

    fn of(setting: &Setting) -> Option<(&Scope, &Self)>;
}

macro_rules! scoped {
    ($($kind:ident,)*) => {
        $(
            impl Scoped for $kind {
                const KIND: &str = stringify!($kind);

                fn of(setting: &Setting) -> Option<(&Scope, &Self)> {
                    match setting {
                        Setting::$kind(record) => Some((&record.identity, record)),
                        _ => None,
                    }
                }
            }
        )*
    };
}

scoped! {
    AutodiscoverConfiguration,
    ImFilterConfiguration,
    McxConfiguration,
    MobilityPolicy,
    PushNotificationConfiguration,
}

impl Snapshot {
    /// The record of the first of these scopes that has one, then the global one, then the defaults.
    fn nearest<T: Scoped>(&self, scopes: impl IntoIterator<Item = Scope>) -> Effective<T> {
        let found = scopes
            .into_iter()
            .chain([Scope::Global])
            .find_map(|scope| self.find(T::KIND, &scope.to_string()).and_then(|setting| T::of(setting)));
        match found {
            Some((scope, record)) => Effective { record: record.clone(), from: Some(scope.clone()) },
            None => Effective { record: T::default(), from: None },
        }
    }

    /// What clients of a site are told by autodiscover: the site's own record, else the global one.
    pub fn autodiscover(&self, site: &str) -> Effective<AutodiscoverConfiguration> {
        self.nearest([Scope::Site(site.into())])
    }

    /// The filter of users' links at a site: the site's own record, else the global one.
    pub fn im_filter(&self, site: &str) -> Effective<ImFilterConfiguration> {
        self.nearest([Scope::Site(site.into())])
    }

    /// The mobility service's configuration at a site: the site's own, else the global one, else the defaults.
    pub fn mcx(&self, site: &str) -> McxConfiguration {
        self.nearest([Scope::Site(site.into())]).record
    }

    /// The same at one server of the site, by its FQDN: what is set for the server comes first.
    pub fn mcx_at(&self, site: &str, server: &str) -> Effective<McxConfiguration> {
        let service = server.parse().ok().map(Scope::Service);
        self.nearest(service.into_iter().chain([Scope::Site(site.into())]))
    }

    /// The push switches at a site: the site's own record, else the global one, else all off.
    pub fn push_notification(&self, site: &str) -> PushNotificationConfiguration {
        self.push_notification_at(site).record
    }

    /// The same, with where they were set.
    pub fn push_notification_at(&self, site: &str) -> Effective<PushNotificationConfiguration> {
        self.nearest([Scope::Site(site.into())])
    }

    /// Whether a provider is switched on at a site: the first of the five gates.
    pub fn provider_on(&self, site: &str, provider: Provider) -> bool {
        self.push_notification(site).is_on(provider)
    }

    /// The mobility policy that holds for users without one of their own: the site's, else the global one.
    pub fn mobility_policy(&self, site: &str) -> MobilityPolicy {
        self.nearest([Scope::Site(site.into())]).record
    }

    /// The mobility policy that holds for a user of a site: the second of the five gates. What was granted to the user
    /// comes first.
    pub fn mobility_policy_of(&self, user: &Aor, site: &str) -> Effective<MobilityPolicy> {
        let granted = self.policy_grant(user).map(|grant| Scope::Tag(grant.mobility_policy.clone()));
        self.nearest(granted.into_iter().chain([Scope::Site(site.into())]))
    }

    /// What was granted to a user.
    pub fn policy_grant(&self, user: &Aor) -> Option<&PolicyGrant> {
        match self.find("PolicyGrant", &user.to_string()) {
            Some(Setting::PolicyGrant(record)) => Some(record),
            _ => None,
        }
    }

    /// The test users of a pool.
    pub fn health_monitoring(&self, pool: &SipDomain) -> Option<&HealthMonitoringConfiguration> {
        match self.find("HealthMonitoringConfiguration", pool.as_str()) {
            Some(Setting::HealthMonitoringConfiguration(record)) => Some(record),
            _ => None,
        }
    }

    /// The organisation's own roles.
    pub fn admin_roles(&self) -> impl Iterator<Item = &AdminRole> {
        self.of_kind("AdminRole").filter_map(|row| match &row.setting {
            Setting::AdminRole(record) => Some(record),
            _ => None,
        })
    }

    /// How often a test runs by itself: monthly where nobody has said otherwise.
    pub fn probe_schedule(&self, test: &str) -> ProbeSchedule {
        match self.find("ProbeSchedule", test) {
            Some(Setting::ProbeSchedule(record)) => record.clone(),
            _ => ProbeSchedule::new(test),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(rows: &[&str]) -> Snapshot {
        Snapshot::of(rows.iter().map(|row| serde_json::from_str(row).unwrap())).unwrap()
    }

    #[test]
    fn the_service_comes_before_the_site_and_the_site_before_the_global_record() {
        let rows = [
            r#"{"Kind":"McxConfiguration","SessionExpirationInterval":5000}"#,
            r#"{"Kind":"McxConfiguration","Identity":"site:Redmond","SessionExpirationInterval":6000}"#,
            r#"{"Kind":"McxConfiguration","Identity":"service:WebServer:cs.contoso.com","SessionExpirationInterval":7000}"#,
        ];
        let (cs, other) = ("CS.contoso.com", "other.contoso.com");
        let all = snapshot(&rows);
        for (rows, site, server, seconds, from) in [
            (&all, "redmond", cs, 7000, "service:WebServer:cs.contoso.com"),
            (&all, "Redmond", other, 6000, "site:Redmond"),
            (&all, "Paris", other, 5000, "global"),
            (&snapshot(&[]), "Paris", other, 259_200, "the defaults"),
        ] {
            let found = rows.mcx_at(site, server);
            assert_eq!(
                (found.record.session_expiration_interval, found.to_string().as_str()),
                (seconds, from),
                "{site}"
            );
        }
    }

    #[test]
    fn what_was_granted_to_a_user_comes_before_the_site() {
        let rows = [
            r#"{"Kind":"MobilityPolicy","Identity":"tag:NoPush","EnablePushNotifications":false}"#,
            r#"{"Kind":"MobilityPolicy","Identity":"site:Redmond","EnableMobility":false}"#,
            r#"{"Kind":"PolicyGrant","Identity":"ken@contoso.com","MobilityPolicy":"nopush"}"#,
        ];
        let all = snapshot(&rows);
        for (user, site, permits, from) in [
            ("ken@contoso.com", "Redmond", false, "tag:NoPush"),
            ("Ken@contoso.com", "Paris", false, "tag:NoPush"),
            ("ann@contoso.com", "Redmond", false, "site:Redmond"),
            ("ann@contoso.com", "Paris", true, "the defaults"),
        ] {
            let found = all.mobility_policy_of(&user.parse().unwrap(), site);
            assert_eq!((found.record.permits_push(), found.to_string().as_str()), (permits, from), "{user} {site}");
        }
    }

    #[test]
    fn a_test_runs_monthly_until_somebody_says_otherwise() {
        let said = snapshot(&[r#"{"Kind":"ProbeSchedule","Identity":"Test-CsMcxP2PIM","IntervalMinutes":5}"#]);
        assert_eq!(said.probe_schedule("test-csmcxp2pim").interval_minutes, 5);
        let other = said.probe_schedule("Test-CsFederatedPartner");
        assert_eq!((other.enabled, other.interval_minutes), (true, 43_200));
    }
}
