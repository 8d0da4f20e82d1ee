//! The push recipe: everything that the settings must hold for pushes to leave, as steps that know whether they are done
//! and which command does them (lync.md §7).

mod steps;

use reveille_core::SipDomain;
use reveille_core::settings::{Setting, Snapshot};

/// The documents' push service, and the hosting provider that carries it.
const DOCUMENTED: (&str, &str) = ("push.lync.com", "sipfed.online.lync.com");

/// Which push service is wanted, and the way to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Recipe {
    /// The domain that push requests go to.
    pub(crate) domain: SipDomain,
    /// The way to it.
    pub(crate) route: Route,
    /// The switches that are to be on, by the names of their properties.
    pub(crate) services: Vec<&'static str>,
}

/// The way to the publisher.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    /// A direct partner: its edge stands in the allowed domain.
    Direct(SipDomain),
    /// A hosting provider: the domain's SRV record leads to its edge.
    Hosted {
        /// The provider's edge.
        proxy: SipDomain,
        /// What a new provider is called.
        name: String,
    },
    /// The domain's SRV record leads to an edge of its own.
    Srv,
}

/// What is asked for; the rest is made up of what is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// The domain that push requests go to.
    pub(crate) domain: Option<SipDomain>,
    /// The publisher's edge.
    pub(crate) proxy: Option<SipDomain>,
    /// Whether that edge is a direct partner and no hosting provider.
    pub(crate) direct: bool,
    /// What a new provider is called.
    pub(crate) name: Option<String>,
    /// The switches; none for those that are on, and if none is, for the documents' two.
    pub(crate) services: Vec<&'static str>,
}

impl Recipe {
    /// The whole recipe: what nobody has said is as it stands in the settings, or as in the documents.
    pub(crate) fn of(wanted: Wanted, settings: &Snapshot) -> Self {
        let Wanted { domain, proxy, direct, name, services } = wanted;
        let addressed = || settings.mcx("").push_address().map(|address| address.domain().clone());
        let domain = domain.or_else(addressed).unwrap_or_else(|| documented(DOCUMENTED.0));
        let listed = settings.allowed_domain(&domain).and_then(|record| record.proxy_fqdn.clone());
        let hosted = |proxy: SipDomain| {
            let usual = if proxy.as_str() == DOCUMENTED.1 { "LyncOnline" } else { proxy.as_str() };
            Route::Hosted { name: name.clone().unwrap_or_else(|| usual.to_owned()), proxy }
        };
        let route = match (proxy, listed) {
            (Some(proxy), _) if direct => Route::Direct(proxy),
            (Some(proxy), _) => hosted(proxy),
            (None, Some(listed)) => Route::Direct(listed),
            (None, None) if domain.as_str() == DOCUMENTED.0 => hosted(documented(DOCUMENTED.1)),
            (None, None) => Route::Srv,
        };
        let services = if services.is_empty() { usual(settings) } else { services };
        Self { domain, route, services }
    }

    /// All steps in the documents' order, each as the settings have it.
    pub(crate) fn steps(&self, settings: &Snapshot) -> Vec<Step> {
        steps::of(self, settings)
    }
}

/// The switches that are on for all sites, else the two of the documents.
fn usual(settings: &Snapshot) -> Vec<&'static str> {
    let record = crate::family::record(&Setting::PushNotificationConfiguration(settings.push_notification("")));
    let on = |property: &&'static str| record.get(*property) == Some(&true.into());
    let found: Vec<_> = SERVICES.iter().map(|(_, property)| *property).filter(on).collect();
    if found.is_empty() {
        return vec!["EnableApplePushNotificationService", "EnableMicrosoftPushNotificationService"];
    }
    found
}

fn documented(name: &str) -> SipDomain {
    name.parse().expect("a name of the documents is a domain")
}

/// One thing that must be so.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The record that it is about.
    pub(crate) record: String,
    /// What must be so.
    pub(crate) need: String,
    /// How it is.
    pub(crate) state: State,
    /// What was found.
    pub(crate) found: String,
    /// The command that does it; none when it is done.
    pub(crate) command: Option<String>,
    /// The record as it must be; none when it is done, or when a person has to decide.
    pub(crate) put: Option<Setting>,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum State {
    /// It is so.
    Done,
    /// There is nothing of it.
    Missing,
    /// It is set otherwise.
    Wrong,
}

impl State {
    /// Its name.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "Done",
            Self::Missing => "Missing",
            Self::Wrong => "Wrong",
        }
    }
}

impl Step {
    fn done(record: impl Into<String>, need: &str, found: impl Into<String>) -> Self {
        let (record, found) = (record.into(), found.into());
        Self { record, need: need.into(), state: State::Done, found, command: None, put: None }
    }

    fn open(
        state: State,
        record: impl Into<String>,
        need: &str,
        found: impl Into<String>,
        (command, put): (String, Option<Setting>),
    ) -> Self {
        let (record, found) = (record.into(), found.into());
        Self { record, need: need.into(), state, found, command: Some(command), put }
    }
}

/// What may be switched on, with the property that does it.
pub(crate) const SERVICES: [(&str, &str); 5] = [
    ("Apple", "EnableApplePushNotificationService"),
    ("Google", "EnableGooglePushNotificationService"),
    ("Microsoft", "EnableMicrosoftPushNotificationService"),
    ("WebPush", "EnableWebPushNotificationService"),
    ("Windows", "EnableWindowsPushNotificationService"),
];
