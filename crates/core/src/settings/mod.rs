//! What the organisation wants: typed settings with scope, author, time and version (DESIGN.md §9).
//!
//! Property names are those of the documents' cmdlets, so that a file made by `reveille settings export` reads like
//! the output of `Get-Cs…`. Defaults are those of the documents: everything is off until it is enabled.

mod access_edge;
mod advice;
mod carriers;
mod records;
mod rules;
mod scope;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::names::SipDomain;
use crate::provider::Provider;
use carriers::ProviderRecord;

pub use access_edge::{AccessEdgeConfiguration, RoutingMethod, Unasserted};
pub use carriers::{Carrier, HostingProvider, PublicProvider};
pub use records::{
    AllowedDomain, BlockedDomain, McxConfiguration, MobilityPolicy, PushApp, PushNotificationConfiguration,
    VerificationLevel,
};
pub use rules::Conflict;
pub use scope::Scope;

/// One setting's value, tagged with its kind.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "Kind", deny_unknown_fields)]
pub enum Setting {
    /// How the Access Edge behaves.
    AccessEdgeConfiguration(AccessEdgeConfiguration),
    /// A domain with which federation is allowed.
    AllowedDomain(AllowedDomain),
    /// A domain with which it is forbidden, whatever else says.
    BlockedDomain(BlockedDomain),
    /// A provider that carries other organisations' domains.
    HostingProvider(HostingProvider),
    /// How the mobility service behaves.
    McxConfiguration(McxConfiguration),
    /// What mobile users may do.
    MobilityPolicy(MobilityPolicy),
    /// A public messaging service that carries domains.
    PublicProvider(PublicProvider),
    /// Which organisations one of the publisher's apps serves.
    PushApp(PushApp),
    /// Which providers are switched on.
    PushNotificationConfiguration(PushNotificationConfiguration),
}

impl Setting {
    /// The stable name of the kind, as in the cmdlets' nouns.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AccessEdgeConfiguration(_) => "AccessEdgeConfiguration",
            Self::AllowedDomain(_) => "AllowedDomain",
            Self::BlockedDomain(_) => "BlockedDomain",
            Self::HostingProvider(_) => "HostingProvider",
            Self::McxConfiguration(_) => "McxConfiguration",
            Self::MobilityPolicy(_) => "MobilityPolicy",
            Self::PublicProvider(_) => "PublicProvider",
            Self::PushApp(_) => "PushApp",
            Self::PushNotificationConfiguration(_) => "PushNotificationConfiguration",
        }
    }

    /// What tells this record from others of its kind.
    pub fn key(&self) -> SettingKey {
        let identity = match self {
            Self::AccessEdgeConfiguration(_) => Scope::Global.to_string(),
            Self::AllowedDomain(record) => record.identity.to_string(),
            Self::BlockedDomain(record) => record.identity.to_string(),
            Self::HostingProvider(record) => record.identity.clone(),
            Self::McxConfiguration(record) => record.identity.to_string(),
            Self::MobilityPolicy(record) => record.identity.to_string(),
            Self::PublicProvider(record) => record.identity.clone(),
            Self::PushApp(record) => record.identity.clone(),
            Self::PushNotificationConfiguration(record) => record.identity.to_string(),
        };
        SettingKey { kind: self.kind().into(), identity }
    }
}

/// The kind and identity of a record.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SettingKey {
    /// The noun.
    pub kind: String,
    /// The name or scope within the noun.
    pub identity: String,
}

/// One record with where it came from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SettingRow {
    /// What was set.
    #[serde(flatten)]
    pub setting: Setting,
    /// Who set it.
    pub author: String,
    /// When.
    pub at: Timestamp,
    /// The store's version number that this change made; grows by one with each change.
    pub version: u64,
}

/// One wish to change the settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SettingChange {
    /// Creates or replaces a record.
    Put(Setting),
    /// Removes a record; a global one falls back to its defaults.
    Remove(SettingKey),
}

/// All settings at one version, as the roles see them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    rows: BTreeMap<SettingKey, SettingRow>,
    version: u64,
}

impl Snapshot {
    /// The settings made of these rows.
    pub fn new(rows: impl IntoIterator<Item = SettingRow>, version: u64) -> Self {
        Self { rows: rows.into_iter().map(|row| (row.setting.key(), row)).collect(), version }
    }

    /// These settings, put one after the other by nobody at no time: for programs without a store, such as tests.
    pub fn of(settings: impl IntoIterator<Item = Setting>) -> Result<Self, Conflict> {
        settings.into_iter().try_fold(Self::default(), |snapshot, setting| {
            snapshot.with(&SettingChange::Put(setting), "", Timestamp::from_millis(0))
        })
    }

    /// The number of the latest change.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// All rows, ordered by kind and identity.
    pub fn rows(&self) -> impl Iterator<Item = &SettingRow> {
        self.rows.values()
    }

    /// This snapshot with `change` applied, if no rule across objects forbids it.
    pub fn with(&self, change: &SettingChange, author: &str, at: Timestamp) -> Result<Self, Conflict> {
        rules::check(self, change)?;
        let mut next = self.clone();
        next.version += 1;
        match change {
            SettingChange::Put(setting) => {
                let row = SettingRow { setting: setting.clone(), author: author.into(), at, version: next.version };
                next.rows.insert(setting.key(), row);
            }
            SettingChange::Remove(key) => {
                next.rows.remove(key);
            }
        }
        Ok(next)
    }

    fn find(&self, kind: &str, identity: &str) -> Option<&Setting> {
        let key = SettingKey { kind: kind.into(), identity: identity.into() };
        self.rows.get(&key).map(|row| &row.setting)
    }

    /// The Access Edge's configuration; the documents' defaults where nobody has set one.
    pub fn access_edge(&self) -> AccessEdgeConfiguration {
        match self.find("AccessEdgeConfiguration", "global") {
            Some(Setting::AccessEdgeConfiguration(record)) => record.clone(),
            _ => AccessEdgeConfiguration::default(),
        }
    }

    /// The allowed domain of that name.
    pub fn allowed_domain(&self, domain: &SipDomain) -> Option<&AllowedDomain> {
        match self.find("AllowedDomain", domain.as_str()) {
            Some(Setting::AllowedDomain(record)) => Some(record),
            _ => None,
        }
    }

    /// All allowed domains.
    pub fn allowed_domains(&self) -> impl Iterator<Item = &AllowedDomain> {
        self.rows.values().filter_map(|row| match &row.setting {
            Setting::AllowedDomain(record) => Some(record),
            _ => None,
        })
    }

    /// Whether the domain is on the block list.
    pub fn is_blocked(&self, domain: &SipDomain) -> bool {
        self.find("BlockedDomain", domain.as_str()).is_some()
    }

    /// All hosting providers, enabled or not.
    pub fn hosting_providers(&self) -> impl Iterator<Item = &HostingProvider> {
        self.rows.values().filter_map(|row| match &row.setting {
            Setting::HostingProvider(record) => Some(record),
            _ => None,
        })
    }

    /// All public providers, enabled or not.
    pub fn public_providers(&self) -> impl Iterator<Item = &PublicProvider> {
        self.rows.values().filter_map(|row| match &row.setting {
            Setting::PublicProvider(record) => Some(record),
            _ => None,
        })
    }

    /// Records of providers of both kinds.
    fn providers(&self) -> impl Iterator<Item = ProviderRecord<'_>> {
        self.rows.values().filter_map(|row| match &row.setting {
            Setting::HostingProvider(record) => Some(record.into()),
            Setting::PublicProvider(record) => Some(record.into()),
            _ => None,
        })
    }

    /// The enabled providers of both kinds.
    pub fn carriers(&self) -> impl Iterator<Item = Carrier<'_>> {
        self.providers().filter(|record| record.enabled).map(|record| record.carrier)
    }

    /// The mobility service's configuration at a site: the site's own, else the global one, else the defaults.
    pub fn mcx(&self, site: &str) -> McxConfiguration {
        let at = |identity: &str| match self.find("McxConfiguration", identity) {
            Some(Setting::McxConfiguration(record)) => Some(record.clone()),
            _ => None,
        };
        at(&Scope::Site(site.into()).to_string()).or_else(|| at("global")).unwrap_or_default()
    }

    /// The push switches at a site: the site's own record, else the global one, else all off.
    pub fn push_notification(&self, site: &str) -> PushNotificationConfiguration {
        let at = |identity: &str| match self.find("PushNotificationConfiguration", identity) {
            Some(Setting::PushNotificationConfiguration(record)) => Some(record.clone()),
            _ => None,
        };
        at(&Scope::Site(site.into()).to_string()).or_else(|| at("global")).unwrap_or_default()
    }

    /// Whether a provider is switched on at a site: the first of the five gates.
    pub fn provider_on(&self, site: &str, provider: Provider) -> bool {
        self.push_notification(site).is_on(provider)
    }

    /// The mobility policy that holds for users without one of their own: the site's, else the global one.
    pub fn mobility_policy(&self, site: &str) -> MobilityPolicy {
        let at = |identity: &str| match self.find("MobilityPolicy", identity) {
            Some(Setting::MobilityPolicy(record)) => Some(record.clone()),
            _ => None,
        };
        at(&Scope::Site(site.into()).to_string()).or_else(|| at("global")).unwrap_or_default()
    }

    /// Whether the publisher's app of that name serves the organisation.
    pub fn app_serves(&self, app: &str, organisation: &SipDomain) -> bool {
        matches!(self.find("PushApp", app), Some(Setting::PushApp(record)) if record.serves.contains(organisation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(snapshot: &Snapshot, setting: Setting) -> Result<Snapshot, Conflict> {
        snapshot.with(&SettingChange::Put(setting), "tester", Timestamp::from_millis(5))
    }

    fn push(identity: Scope, apple: bool) -> Setting {
        Setting::PushNotificationConfiguration(PushNotificationConfiguration {
            identity,
            enable_apple_push_notification_service: apple,
            ..Default::default()
        })
    }

    #[test]
    fn the_sites_record_wins_over_the_global_one_and_the_default_is_off() {
        let empty = Snapshot::default();
        assert!(!empty.provider_on("Redmond", Provider::Apns));
        let global = put(&empty, push(Scope::Global, true)).unwrap();
        assert!(global.provider_on("Redmond", Provider::Apns));
        let site = put(&global, push(Scope::Site("Redmond".into()), false)).unwrap();
        assert!(!site.provider_on("Redmond", Provider::Apns));
        assert!(site.provider_on("Paris", Provider::Apns));
    }

    #[test]
    fn each_change_has_a_version_an_author_and_a_time() {
        let one = put(&Snapshot::default(), push(Scope::Global, true)).unwrap();
        let row = one.rows().next().unwrap();
        assert_eq!((row.version, row.author.as_str(), row.at.millis()), (1, "tester", 5));
        let gone = one.with(&SettingChange::Remove(row.setting.key()), "tester", Timestamp::from_millis(6)).unwrap();
        assert_eq!((gone.version(), gone.rows().count()), (2, 0));
    }

    #[test]
    fn what_an_earlier_version_has_stored_still_reads() {
        for text in [
            r#"{"Kind":"AccessEdgeConfiguration","AllowFederatedUsers":true,"BeClearingHouse":false,"EnablePartnerDiscovery":false,"MarkSourceVerifiableOnOutgoingMessages":true,"OutgoingTlsCountForFederatedPartners":4}"#,
            r#"{"Kind":"HostingProvider","Identity":"LyncOnline","ProxyFqdn":"sipfed.online.lync.com","Enabled":true,"VerificationLevel":"UseSourceVerification"}"#,
        ] {
            let setting: Setting = serde_json::from_str(text).unwrap();
            assert!(put(&Snapshot::default(), setting).is_ok(), "{text}");
        }
    }

    #[test]
    fn providers_of_both_kinds_carry_while_they_are_enabled() {
        let mut one = HostingProvider::new("A", "a.example".parse().unwrap());
        let off = put(&Snapshot::default(), Setting::HostingProvider(one.clone())).unwrap();
        assert_eq!(off.carriers().count(), 0);
        one.enabled = true;
        let on = put(&off, Setting::HostingProvider(one)).unwrap();
        let public = r#"{"Kind":"PublicProvider","Identity":"P","ProxyFqdn":"p.example","Enabled":true}"#;
        let both = put(&on, serde_json::from_str(public).unwrap()).unwrap();
        let found: Vec<_> = both.carriers().map(|carrier| (carrier.identity, carrier.is_public)).collect();
        assert_eq!(found, [("A", false), ("P", true)]);
    }

    #[test]
    fn a_setting_reads_and_writes_with_the_cmdlets_property_names() {
        let text = r#"{"Kind":"HostingProvider","Identity":"LyncOnline","ProxyFqdn":"sipfed.online.lync.com","Enabled":true,"VerificationLevel":"UseSourceVerification"}"#;
        let setting: Setting = serde_json::from_str(text).unwrap();
        let Setting::HostingProvider(provider) = &setting else { panic!("{setting:?}") };
        assert_eq!(provider.verification_level, VerificationLevel::UseSourceVerification);
        assert_eq!(serde_json::from_str::<Setting>(&serde_json::to_string(&setting).unwrap()).unwrap(), setting);
        let misspelt = text.replace("ProxyFqdn", "ProxyFqnd");
        assert!(serde_json::from_str::<Setting>(&misspelt).unwrap_err().to_string().contains("ProxyFqnd"));
    }
}
