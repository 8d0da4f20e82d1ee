//! From what came back for a test to what an administrator reads: stage, fault, sentence, and the command that mends it.
//!
//! Pure. A failure is told apart by who answered and by the number of its diagnosis (lync.md §3.5), never by its text: the
//! sentences are for people.

use std::time::Duration;

use reveille_core::diagnosis::{Failure, Fault};
use reveille_core::settings::{McxConfiguration, Scope, Snapshot};
use reveille_core::stage::{Stage, Trouble, Walk};
use reveille_core::{Aor, SipDomain, Timestamp};
use reveille_federation::probe::{Answer, Goal, Order, Report};
use reveille_federation::push_result::Taken;
use reveille_sip_net::ConnectError;

use super::Doors;
use super::our_edge::unreachable;

/// What the judgement rests on.
pub(crate) struct Facts<'a> {
    pub(crate) order: &'a Order,
    pub(crate) doors: &'a Doors,
    pub(crate) settings: &'a Snapshot,
    pub(crate) site: &'a str,
    /// What this home's clock says.
    pub(crate) now: Timestamp,
}

/// What became of the request.
pub(crate) enum Asked {
    /// Our edge or somebody beyond it has answered.
    Answered(Box<Answer>),
    /// Home's own edge was not reached.
    Unreachable(ConnectError),
    /// It was not asked, or not heard.
    Unasked(String),
    /// It was reached, and nobody has answered for so long.
    Silent(Duration),
}

impl Facts<'_> {
    /// Where the request goes, if the settings let it leave at all.
    pub(crate) fn destination(&self) -> Result<String, Box<Trouble>> {
        match &self.order.goal {
            Goal::Partner { domain, .. } => self.partner_allowed(domain).map(|()| format!("sip:{domain}")),
            Goal::Push { .. } => self.push_leaves(),
        }
    }

    /// The mobility service's settings as they hold at this home.
    pub(super) fn mcx(&self) -> McxConfiguration {
        self.settings.mcx_at(self.site, self.doors.home.as_str()).record
    }

    /// What to do about an address where no clearing house is: the documents' own command if their publisher is allowed here
    /// and another is set; else only the administrator can know which publisher is meant.
    pub(super) fn expected_uri(&self) -> String {
        let mcx = self.mcx();
        let default = McxConfiguration::default().push_notification_proxy_uri;
        let is_allowed = publisher(&default).is_some_and(|default| self.settings.allowed_domain(&default).is_some());
        match is_allowed && mcx.push_notification_proxy_uri != default {
            true => set_uri(&mcx, &default),
            false => format!(
                "{}, where PUBLISHER is the domain that the publisher of your app has told you; it has to be allowed, too: \
                 New-CsAllowedDomain -Identity PUBLISHER",
                set_uri(&mcx, "sip:push@PUBLISHER")
            ),
        }
    }

    /// The domain of the clearing house that the settings name.
    pub(crate) fn publisher(&self) -> Option<SipDomain> {
        publisher(&self.mcx().push_notification_proxy_uri)
    }

    fn partner_allowed(&self, domain: &SipDomain) -> Result<(), Box<Trouble>> {
        let trouble = |failure, sentence: String, remedy: String| {
            Box::new(Trouble::new(Stage::Policy, failure, sentence, remedy).by(Fault::Configuration))
        };
        if self.doors.domains.contains(domain) {
            let sentence = format!("{domain} is our own domain, and no partner");
            let remedy = "name the domain of a partner with -Domain".to_owned();
            return Err(trouble(Failure::NotOurDomain, sentence, remedy));
        }
        if self.settings.is_blocked(domain) {
            let remedy = format!("Remove-CsBlockedDomain -Identity {domain}");
            return Err(trouble(Failure::DomainBlocked, format!("{domain} is on the list of blocked domains"), remedy));
        }
        // The documents want the domain listed for this test, also where partner discovery would find it.
        if self.settings.allowed_domain(domain).is_none() {
            let remedy = format!("New-CsAllowedDomain -Identity {domain}");
            return Err(trouble(Failure::DomainNotAllowed, format!("{domain} is not an allowed domain"), remedy));
        }
        Ok(())
    }

    fn push_leaves(&self) -> Result<String, Box<Trouble>> {
        let push = self.settings.push_notification(self.site);
        if !push.any_on() {
            let sentence = format!("no push service is switched on for site {}", self.site);
            let remedy = format!(
                "Set-CsPushNotificationConfiguration -Identity {} -EnableApplePushNotificationService $True \
                 -EnableMicrosoftPushNotificationService $True",
                named(&push.identity)
            );
            return Err(Box::new(Trouble::new(Stage::Settings, Failure::PushSwitchedOff, sentence, remedy)));
        }
        let filter = self.settings.im_filter(self.site).record;
        if filter.rejects_push_test() {
            let sentence = format!(
                "the IM filter of {} blocks the prefixes http: or https:, with which a push request was rejected",
                named(&filter.identity)
            );
            let remedy = format!(
                "Set-CsImFilterConfiguration -Identity {} -Prefixes @{{remove=\"http:\",\"https:\"}}",
                named(&filter.identity)
            );
            return Err(Box::new(Trouble::new(Stage::Settings, Failure::ImFilterRejects, sentence, remedy)));
        }
        let mcx = self.mcx();
        let uri = mcx.push_notification_proxy_uri;
        if publisher(&uri).is_none() {
            let sentence = format!("PushNotificationProxyUri is \"{uri}\", and must be of the form sip:push@domain");
            return Err(Box::new(Trouble::new(Stage::Settings, Failure::BadProxyUri, sentence, self.expected_uri())));
        }
        Ok(uri)
    }

    /// The whole report. `settings_took` is for what [`Self::destination`] looked at, `took` from the request's sending.
    pub(crate) fn report(&self, settings_took: Duration, outcome: Result<(Asked, Duration), Box<Trouble>>) -> Report {
        let (mut walk, mut status, mut source) = (Walk::default(), None, self.doors.home.to_string());
        match outcome {
            Err(trouble) => {
                if trouble.stage != Stage::Settings {
                    walk.pass(Stage::Settings, settings_took, "");
                }
                walk.fail(settings_took, *trouble);
            }
            Ok((asked, took)) => {
                walk.pass(Stage::Settings, settings_took, "");
                if let Asked::Answered(answer) = &asked {
                    status = Some((answer.status, answer.phrase.clone()));
                    let said = answer.said.as_ref().and_then(|said| said.source.clone());
                    source = said.unwrap_or_else(|| self.doors.edge.to_string());
                }
                self.judge(&asked, took, &mut walk);
            }
        }
        // What was answered is nothing that the administrator asked about.
        let is_elsewhere = walk.trouble.as_ref().is_some_and(|trouble| trouble.failure == Failure::EdgeUnknown);
        let status = status.filter(|_| !is_elsewhere);
        let home = self.doors.home_beside(self.order.edge.as_ref());
        Report { home, walk, status, source }
    }

    fn judge(&self, asked: &Asked, took: Duration, walk: &mut Walk) {
        let edge = &self.doors.edge;
        let answer = match asked {
            Asked::Answered(answer) => answer,
            Asked::Unreachable(error) => return walk.fail(took, unreachable(edge.as_str(), error, self.now)),
            Asked::Unasked(why) => {
                let sentence = format!("home does not reach its Access Edge {edge}: {why}");
                return walk.fail(took, Trouble::new(Stage::OurEdge, Failure::EdgeUnreachable, sentence, ""));
            }
            Asked::Silent(within) => {
                let sentence = format!("the Access Edge {edge} did not answer within {} s", within.as_secs());
                let remedy = format!(
                    "look at the process of {edge}, our own edge, and at its log: it took the request and said nothing; start it \
                     again if it hangs"
                );
                return walk
                    .fail(took, Trouble::new(Stage::OurEdge, Failure::NoAnswer, sentence, remedy).by(Fault::Ours));
            }
        };
        let outside: Duration = answer.told.iter().map(|told| told.took).sum();
        match self.edge_named(answer) {
            Ok(hint) => {
                walk.pass(Stage::OurEdge, took.saturating_sub(outside), edge.as_str());
                walk.hints.extend(hint);
            }
            Err(trouble) => return walk.fail(took.saturating_sub(outside), *trouble),
        }
        let own_name = self.stages(answer, walk);
        if walk.succeeded() && answer.is_by_partner() {
            match &self.order.goal {
                Goal::Partner { domain, proxy } => self.partner(answer, domain, proxy.as_ref(), walk),
                Goal::Push { .. } => self.push(answer, walk),
            }
        } else if walk.succeeded() {
            // Our own edge refused without walking, or is one that cannot.
            let failure = Failure::told(answer.number(), None).unwrap_or(Failure::NoAnswer);
            let sentence = sentence(answer, &format!("the Access Edge {edge}"));
            walk.fail(Duration::ZERO, Trouble::new(failure.stage(), failure, sentence, advice(answer)));
        }
        if let Some(trouble) = own_name {
            self.weigh_own_name(trouble, answer, walk);
        }
    }

    /// Whether the edge that the test names is home's own; with a hint if its outer name was given (lync.md §2.3).
    fn edge_named(&self, answer: &Answer) -> Result<Option<String>, Box<Trouble>> {
        let Some(given) = &self.order.edge else { return Ok(None) };
        let inner = self.doors.inner_names();
        let outer = answer.told.iter().find(|told| told.stage == Stage::OwnName).and_then(|told| told.name.as_deref());
        let is_outer = outer.is_some_and(|outer| outer == given.as_str());
        let another = inner.iter().find(|name| **name != given);
        match (inner.contains(&given), is_outer, another) {
            (_, true, Some(another)) => Ok(Some(format!(
                "{given} is the name of the edge's outer side, by which partners find it; the test went to the inner \
                 side, as -AccessEdgeFqdn {another} does"
            ))),
            (true, ..) | (_, true, None) => Ok(None),
            (false, false, _) => {
                let edge = &self.doors.edge;
                let sentence = format!("{given} is no Access Edge of this home, whose edge is {edge}");
                let remedy = match &self.order.goal {
                    Goal::Partner { domain, .. } => {
                        format!("Test-CsFederatedPartner -TargetFqdn {edge} -Domain {domain}")
                    }
                    Goal::Push { .. } => format!("Test-CsMcxPushNotification -AccessEdgeFqdn {edge}"),
                };
                Err(Box::new(Trouble::new(Stage::OurEdge, Failure::EdgeUnknown, sentence, remedy)))
            }
        }
    }

    /// The stages that our edge told. Answers what is wrong with our own name, which ends nothing.
    fn stages(&self, answer: &Answer, walk: &mut Walk) -> Option<Trouble> {
        let mut own_name = None;
        for (index, told) in answer.told.iter().enumerate() {
            let name = told.name.as_deref().unwrap_or_default();
            match (told.stage, told.passed) {
                (Stage::OwnName, false) => {
                    let trouble = self.own_name_missing(told);
                    walk.fail(told.took, trouble.clone());
                    // Noted as a step; the caller decides what it counts for.
                    walk.trouble = None;
                    own_name = Some(trouble);
                }
                // The walk went on: it is one address of several.
                (stage, false) if index + 1 < answer.told.len() => self.other_address(stage, told, walk),
                (Stage::OwnName, true) if told.why.is_some() => {
                    walk.hints.push(format!(
                        "the SRV record of {} leads to {name}, which is not what this edge calls itself; partners that \
                         find us by it reach that host",
                        self.doors.domain
                    ));
                    walk.pass(told.stage, told.took, name);
                }
                (_, true) => walk.pass(told.stage, told.took, name),
                (_, false) => walk.fail(told.took, self.refused_here(told, answer)),
            }
        }
        own_name
    }

    pub(super) fn is_provider(&self, proxy: &SipDomain) -> bool {
        self.settings.hosting_providers().any(|one| one.proxy_fqdn == *proxy)
    }

    pub(super) fn goal_domain(&self) -> SipDomain {
        match &self.order.goal {
            Goal::Partner { domain, .. } => domain.clone(),
            Goal::Push { .. } => {
                publisher(&self.mcx().push_notification_proxy_uri).unwrap_or_else(|| self.doors.domain.clone())
            }
        }
    }

    /// What a partner has answered to an OPTIONS.
    fn partner(&self, answer: &Answer, domain: &SipDomain, proxy: Option<&SipDomain>, walk: &mut Walk) {
        let led = answer.told.iter().find(|told| told.stage == Stage::Name).and_then(|told| told.name.clone());
        if let Some((wanted, led)) = proxy.zip(led).filter(|(wanted, led)| wanted.as_str() != led) {
            let sentence = format!("the way to {domain} leads to {led}, and not to {wanted} as -ProxyFqdn says");
            let remedy =
                format!("Test-CsFederatedPartner -TargetFqdn {} -Domain {domain} -ProxyFqdn {led}", self.doors.edge);
            return walk.fail(Duration::ZERO, Trouble::new(Stage::Name, Failure::ProxyDiffers, sentence, remedy));
        }
        match self.refused_there(answer, domain) {
            // Whoever says that it knows no such method or user has let us in.
            None => walk.pass(Stage::PartnersPolicy, Duration::ZERO, format!("{} {}", answer.status, answer.phrase)),
            Some(trouble) => walk.fail(Duration::ZERO, trouble),
        }
    }

    /// What a clearing house has answered to a probe.
    fn push(&self, answer: &Answer, walk: &mut Walk) {
        let domain = self.goal_domain();
        if !(200..300).contains(&answer.status) {
            let trouble =
                self.refused_there(answer, &domain).unwrap_or_else(|| self.no_clearing_house(answer, &domain));
            if matches!(trouble.stage, Stage::Intake | Stage::Journal) {
                walk.pass(Stage::PartnersPolicy, Duration::ZERO, "");
            }
            return walk.fail(Duration::ZERO, trouble);
        }
        walk.pass(Stage::PartnersPolicy, Duration::ZERO, "");
        let times = answer.times.as_ref();
        let intake = times.map(|times| times.intake).unwrap_or_default();
        match answer.result.map(|result| result.taken) {
            None => walk.fail(intake, self.no_clearing_house(answer, &domain)),
            Some(Taken::Refused(reason)) => {
                let sentence = format!("the clearing house of {domain} refuses the probe: {}", reason.sentence());
                walk.fail(intake, Trouble::new(Stage::Intake, Failure::BadBody, sentence, "").by(Fault::Ours));
            }
            Some(Taken::Journaled | Taken::Duplicate) => {
                walk.pass(Stage::Intake, intake, "");
                walk.pass(Stage::Journal, times.map(|times| times.journal).unwrap_or_default(), "");
                let sent = times.is_some_and(|times| times.dispatched);
                let detail =
                    if sent { "handed to the push service's lane" } else { "no device was named, so none is woken" };
                walk.pass(Stage::Dispatch, Duration::ZERO, detail);
            }
        }
    }
}

/// The domain in the address of a clearing house.
pub(crate) fn publisher(uri: &str) -> Option<SipDomain> {
    uri.strip_prefix("sip:")?.parse::<Aor>().ok().map(|aor| aor.domain().clone())
}

/// The command for an address, at the scope that holds it.
pub(super) fn set_uri(mcx: &McxConfiguration, uri: &str) -> String {
    format!("Set-CsMcxConfiguration -Identity {} -PushNotificationProxyUri \"{uri}\"", named(&mcx.identity))
}

pub(super) fn named(scope: &Scope) -> String {
    scope.to_string()
}

/// What the answer says for people; `who` answered if it says nothing.
pub(super) fn sentence(answer: &Answer, who: &str) -> String {
    match &answer.said {
        Some(said) if !said.reason.is_empty() => said.reason.clone(),
        _ => format!("{who} answers {} {}", answer.status, answer.phrase),
    }
}

pub(super) fn advice(answer: &Answer) -> String {
    answer.said.as_ref().and_then(|said| said.advice.clone()).unwrap_or_default()
}
