//! What the organisation wants: typed settings with scope, author, time and version (DESIGN.md §9).
//!
//! Property names are those of the documents' cmdlets, so that a file made by `reveille settings export` reads like
//! the output of `Get-Cs…`. Defaults are those of the documents: everything is off until it is enabled.

mod access_edge;
mod admin_role;
mod advice;
mod autodiscover;
mod carriers;
mod conflict;
mod domains;
mod effective;
mod im_filter;
mod mcx;
mod mobility;
mod monitoring;
mod push;
mod push_account;
mod push_quota;
mod rules;
mod scope;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::names::SipDomain;
use carriers::ProviderRecord;

pub use access_edge::{AccessEdgeConfiguration, RoutingMethod, Unasserted};
pub use admin_role::{AdminRole, PREDEFINED_ROLES};
pub use autodiscover::{AutodiscoverConfiguration, WebLink};
pub use carriers::{Carrier, HostingProvider, PublicProvider};
pub use conflict::Conflict;
pub use domains::{AllowedDomain, BlockedDomain, VerificationLevel};
pub use effective::Effective;
pub use im_filter::{FilterAction, ImFilterConfiguration};
pub use mcx::{ExposedWebUrl, McxConfiguration};
pub use mobility::{MobilityPolicy, PolicyGrant, VoiceSettings};
pub use monitoring::{HealthMonitoringConfiguration, ProbeSchedule};
pub use push::{PushApp, PushNotificationConfiguration};
pub use push_account::{JwkKey, PROOFS_MAX, PublicJwk, PushAccount, PushAccountSecret, SECRETS_MAX};
pub use push_quota::{DeviceBudget, PushQuota};
pub use rules::{RECORD_BYTES_MAX, RECORDS_MAX};
pub use scope::Scope;

/// One setting's value, tagged with its kind.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "Kind", deny_unknown_fields)]
pub enum Setting {
    /// How the Access Edge behaves.
    AccessEdgeConfiguration(AccessEdgeConfiguration),
    /// A role of the organisation's own.
    AdminRole(AdminRole),
    /// A domain with which federation is allowed.
    AllowedDomain(AllowedDomain),
    /// What clients are told when they look for their service.
    AutodiscoverConfiguration(AutodiscoverConfiguration),
    /// A domain with which it is forbidden, whatever else says.
    BlockedDomain(BlockedDomain),
    /// The test users of a pool.
    HealthMonitoringConfiguration(HealthMonitoringConfiguration),
    /// A provider that carries other organisations' domains.
    HostingProvider(HostingProvider),
    /// What becomes of links in users' messages.
    ImFilterConfiguration(ImFilterConfiguration),
    /// How the mobility service behaves.
    McxConfiguration(McxConfiguration),
    /// What mobile users may do.
    MobilityPolicy(MobilityPolicy),
    /// To which user which policy is granted.
    PolicyGrant(PolicyGrant),
    /// How often a test runs by itself.
    ProbeSchedule(ProbeSchedule),
    /// A public messaging service that carries domains.
    PublicProvider(PublicProvider),
    /// A machine that sends push requests over HTTPS.
    PushAccount(PushAccount),
    /// Which organisations one of the publisher's apps serves.
    PushApp(PushApp),
    /// Which providers are switched on.
    PushNotificationConfiguration(PushNotificationConfiguration),
    /// How much of the clearing house organisations may have.
    PushQuota(PushQuota),
}

impl Setting {
    /// The stable name of the kind, as in the cmdlets' nouns.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::AccessEdgeConfiguration(_) => "AccessEdgeConfiguration",
            Self::AdminRole(_) => "AdminRole",
            Self::AllowedDomain(_) => "AllowedDomain",
            Self::AutodiscoverConfiguration(_) => "AutodiscoverConfiguration",
            Self::BlockedDomain(_) => "BlockedDomain",
            Self::HealthMonitoringConfiguration(_) => "HealthMonitoringConfiguration",
            Self::HostingProvider(_) => "HostingProvider",
            Self::ImFilterConfiguration(_) => "ImFilterConfiguration",
            Self::McxConfiguration(_) => "McxConfiguration",
            Self::MobilityPolicy(_) => "MobilityPolicy",
            Self::PolicyGrant(_) => "PolicyGrant",
            Self::ProbeSchedule(_) => "ProbeSchedule",
            Self::PublicProvider(_) => "PublicProvider",
            Self::PushAccount(_) => "PushAccount",
            Self::PushApp(_) => "PushApp",
            Self::PushNotificationConfiguration(_) => "PushNotificationConfiguration",
            Self::PushQuota(_) => "PushQuota",
        }
    }

    /// What tells this record from others of its kind.
    pub fn key(&self) -> SettingKey {
        SettingKey::new(self.kind(), &self.identity())
    }

    /// Its name or scope, spelled as it was given.
    pub fn identity(&self) -> String {
        match self {
            Self::AccessEdgeConfiguration(_) => Scope::Global.to_string(),
            Self::AdminRole(record) => record.identity.clone(),
            Self::AllowedDomain(record) => record.identity.to_string(),
            Self::AutodiscoverConfiguration(record) => record.identity.to_string(),
            Self::BlockedDomain(record) => record.identity.to_string(),
            Self::HealthMonitoringConfiguration(record) => record.identity.to_string(),
            Self::HostingProvider(record) => record.identity.clone(),
            Self::ImFilterConfiguration(record) => record.identity.to_string(),
            Self::McxConfiguration(record) => record.identity.to_string(),
            Self::MobilityPolicy(record) => record.identity.to_string(),
            Self::PolicyGrant(record) => record.identity.to_string(),
            Self::ProbeSchedule(record) => record.identity.clone(),
            Self::PublicProvider(record) => record.identity.clone(),
            Self::PushAccount(record) => record.identity.clone(),
            Self::PushApp(record) => record.identity.clone(),
            Self::PushNotificationConfiguration(record) => record.identity.to_string(),
            Self::PushQuota(record) => record.identity.clone(),
        }
    }

    /// Where it applies, for the kinds that have scopes.
    pub const fn scope(&self) -> Option<&Scope> {
        match self {
            Self::AutodiscoverConfiguration(record) => Some(&record.identity),
            Self::ImFilterConfiguration(record) => Some(&record.identity),
            Self::McxConfiguration(record) => Some(&record.identity),
            Self::MobilityPolicy(record) => Some(&record.identity),
            Self::PushNotificationConfiguration(record) => Some(&record.identity),
            Self::AccessEdgeConfiguration(_)
            | Self::AdminRole(_)
            | Self::AllowedDomain(_)
            | Self::BlockedDomain(_)
            | Self::HealthMonitoringConfiguration(_)
            | Self::HostingProvider(_)
            | Self::PolicyGrant(_)
            | Self::ProbeSchedule(_)
            | Self::PublicProvider(_)
            | Self::PushAccount(_)
            | Self::PushApp(_)
            | Self::PushQuota(_) => None,
        }
    }
}

/// The kind and identity of a record.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct SettingKey {
    /// The noun.
    pub kind: String,
    /// The name or scope within the noun, in lower case: names are the same whatever their case.
    pub identity: String,
}

impl SettingKey {
    /// The key of that kind's record of that name.
    pub fn new(kind: &str, identity: &str) -> Self {
        Self { kind: kind.into(), identity: identity.to_ascii_lowercase() }
    }
}

/// As sentences name a record: `AllowedDomain "push.lync.com"`.
impl fmt::Display for SettingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} \"{}\"", self.kind, self.identity)
    }
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

impl SettingChange {
    /// The record that it is about.
    pub fn key(&self) -> SettingKey {
        match self {
            Self::Put(setting) => setting.key(),
            Self::Remove(key) => key.clone(),
        }
    }
}

/// All settings at one version, as the roles see them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Snapshot {
    /// Shared with the versions before and after it, which differ in a row or two.
    rows: BTreeMap<Arc<SettingKey>, Arc<SettingRow>>,
    version: u64,
}

impl Snapshot {
    /// The settings made of these rows.
    pub fn new(rows: impl IntoIterator<Item = SettingRow>, version: u64) -> Self {
        let shared = |row: SettingRow| (Arc::new(row.setting.key()), Arc::new(row));
        Self { rows: rows.into_iter().map(shared).collect(), version }
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
        self.rows.values().map(|row| &**row)
    }

    /// The row of that key.
    pub fn row(&self, key: &SettingKey) -> Option<&SettingRow> {
        self.rows.get(key).map(|row| &**row)
    }

    /// The rows of one kind, by identity.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &SettingRow> {
        let first = SettingKey { kind: kind.into(), identity: String::new() };
        self.rows
            .range::<SettingKey, _>(first..)
            .map(|(_, row)| &**row)
            .take_while(move |row| row.setting.kind() == kind)
    }

    /// This snapshot with `change` applied, if no rule across objects forbids it.
    pub fn with(&self, change: &SettingChange, author: &str, at: Timestamp) -> Result<Self, Conflict> {
        let mut next = self.clone();
        next.apply(change, author, at)?;
        Ok(next)
    }

    /// Applies `change` here, if no rule across objects forbids it; nothing is changed otherwise.
    pub fn apply(&mut self, change: &SettingChange, author: &str, at: Timestamp) -> Result<(), Conflict> {
        rules::check(self, change)?;
        self.version += 1;
        match change {
            SettingChange::Put(setting) => {
                let row = SettingRow { setting: setting.clone(), author: author.into(), at, version: self.version };
                self.rows.insert(Arc::new(setting.key()), Arc::new(row));
            }
            SettingChange::Remove(key) => {
                self.rows.remove(key);
            }
        }
        Ok(())
    }

    fn find(&self, kind: &str, identity: &str) -> Option<&Setting> {
        self.rows.get(&SettingKey::new(kind, identity)).map(|row| &row.setting)
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
        self.of_kind("AllowedDomain").filter_map(|row| match &row.setting {
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
        self.of_kind("HostingProvider").filter_map(|row| match &row.setting {
            Setting::HostingProvider(record) => Some(record),
            _ => None,
        })
    }

    /// All public providers, enabled or not.
    pub fn public_providers(&self) -> impl Iterator<Item = &PublicProvider> {
        self.of_kind("PublicProvider").filter_map(|row| match &row.setting {
            Setting::PublicProvider(record) => Some(record),
            _ => None,
        })
    }

    /// Records of providers of both kinds.
    fn providers(&self) -> impl Iterator<Item = ProviderRecord<'_>> {
        self.of_kind("HostingProvider").chain(self.of_kind("PublicProvider")).filter_map(|row| match &row.setting {
            Setting::HostingProvider(record) => Some(record.into()),
            Setting::PublicProvider(record) => Some(record.into()),
            _ => None,
        })
    }

    /// The enabled providers of both kinds.
    pub fn carriers(&self) -> impl Iterator<Item = Carrier<'_>> {
        self.providers().filter(|record| record.enabled).map(|record| record.carrier)
    }

    /// The machine account of that name.
    pub fn push_account(&self, account: &str) -> Option<&PushAccount> {
        match self.find("PushAccount", account) {
            Some(Setting::PushAccount(record)) => Some(record),
            _ => None,
        }
    }

    /// All machine accounts, by name.
    pub fn push_accounts(&self) -> impl Iterator<Item = &PushAccount> {
        self.of_kind("PushAccount").filter_map(|row| match &row.setting {
            Setting::PushAccount(record) => Some(record),
            _ => None,
        })
    }

    /// The publisher's app of that name.
    pub fn push_app(&self, app: &str) -> Option<&PushApp> {
        match self.find("PushApp", app) {
            Some(Setting::PushApp(record)) => Some(record),
            _ => None,
        }
    }

    /// All of the publisher's apps, by name.
    pub fn push_apps(&self) -> impl Iterator<Item = &PushApp> {
        self.of_kind("PushApp").filter_map(|row| match &row.setting {
            Setting::PushApp(record) => Some(record),
            _ => None,
        })
    }

    /// How much of the clearing house that organisation may have: its own record's, else the global one's, else the
    /// usual amount.
    pub fn push_quota(&self, organisation: &SipDomain) -> PushQuota {
        let own = || self.find("PushQuota", organisation.as_str());
        match own().or_else(|| self.find("PushQuota", PushQuota::GLOBAL)) {
            Some(Setting::PushQuota(record)) => record.clone(),
            _ => PushQuota::default(),
        }
    }

    /// Whether the publisher's app of that name serves the organisation.
    pub fn app_serves(&self, app: &str, organisation: &SipDomain) -> bool {
        matches!(self.find("PushApp", app), Some(Setting::PushApp(record)) if record.serves.contains(organisation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::Provider;

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
    fn names_are_the_same_whatever_their_case_and_keep_their_spelling() {
        let mut record = HostingProvider::new("LyncOnline", "a.example".parse().unwrap());
        let one = put(&Snapshot::default(), Setting::HostingProvider(record.clone())).unwrap();
        record.identity = "LYNCONLINE".into();
        let two = put(&one, Setting::HostingProvider(record)).unwrap();
        let names: Vec<_> = two.rows().map(|row| row.setting.identity()).collect();
        assert_eq!(names, ["LYNCONLINE"]);
        let key = SettingKey::new("HostingProvider", "lynconline");
        assert!(two.row(&key).is_some());
        assert_eq!(key.to_string(), "HostingProvider \"lynconline\"");
    }

    #[test]
    fn a_change_copies_no_record_that_it_is_not_about() {
        let mut all = Snapshot::default();
        for name in ["one", "two", "three"] {
            all = put(
                &all,
                Setting::HostingProvider(HostingProvider::new(name, format!("{name}.example").parse().unwrap())),
            )
            .unwrap();
        }
        let changed = put(&all, push(Scope::Global, true)).unwrap();
        for row in all.rows() {
            let after = changed.row(&row.setting.key()).unwrap();
            assert!(std::ptr::eq(row, after), "{}", row.setting.identity());
        }
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
