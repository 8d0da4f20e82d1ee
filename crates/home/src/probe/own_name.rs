//! What a missing SRV record of our own hinders and what it does not: nothing goes out by it, and everything that others
//! begin comes in by it, unless they have written down our edge (ProxyFqdn).

use reveille_core::diagnosis::{Failure, Fault};
use reveille_core::stage::{Stage, Trouble, Walk};
use reveille_federation::probe::{Answer, Goal, NAME_SERVERS_FAIL, Told};

use super::judge::Facts;

impl Facts<'_> {
    /// What is wrong with our own name, whatever else the test finds.
    pub(super) fn own_name_missing(&self, told: &Told) -> Trouble {
        let domain = &self.doors.domain;
        let edge = told.name.as_deref().unwrap_or_default();
        let record = format!("_sipfederationtls._tcp.{domain}");
        let trouble =
            |sentence: String, remedy: String| Trouble::new(Stage::OwnName, Failure::OwnNameMissing, sentence, remedy);
        match told.why.as_deref() {
            Some(NAME_SERVERS_FAIL) => trouble(
                format!(
                    "whether partners find us is not known: no name server answers our edge when it asks for {record}"
                ),
                "check that the name servers of our edge run and that port 53 is open on the way to them".to_owned(),
            )
            .by(Fault::Ours),
            Some("address-not-found") => trouble(
                format!(
                    "our own SRV record {record} leads to a host without an address, so that partners do not find us by it"
                ),
                format!("publish an address of {edge}, and: {record}. IN SRV 0 0 5061 {edge}."),
            ),
            _ => trouble(
                format!("the name servers of our edge know no SRV record {record}, by which partners find us"),
                format!("publish: {record}. IN SRV 0 0 5061 {edge}."),
            ),
        }
    }

    /// What that counts for after all else was seen. What we send does not depend on it, so that any other trouble is worse;
    /// and where the other side says by which server it reaches us, what it begins does not depend on it either.
    pub(super) fn weigh_own_name(&self, trouble: Trouble, answer: &Answer, walk: &mut Walk) {
        let domain = self.goal_domain();
        let plain = |trouble: &Trouble| format!("{}: {}", trouble.sentence, trouble.remedy);
        if walk.trouble.is_some() || self.order.ignore_own_name {
            return walk.hints.push(plain(&trouble));
        }
        let back = answer.times.as_ref().and_then(|times| times.back.as_ref()).map(ToString::to_string);
        if let Some(server) = back.or_else(|| written_down(answer)) {
            let outer = self.doors.outer(answer);
            let ours = match server == outer {
                true => "our edge".to_owned(),
                false => format!("which is not the name {outer} that our edge goes by"),
            };
            return walk.hints.push(format!(
                "{}. {domain} does not need it: it reaches us at {server}, {ours}. Others who have not written down our edge do \
                 not find us. Remedy: {}",
                trouble.sentence, trouble.remedy
            ));
        }
        let hindered = match &self.order.goal {
            Goal::Push { .. } => format!(
                "push requests go out ({domain} has taken this one), but its feedback about dead tokens, and whatever else other \
                 organisations begin, comes only from those who have written down our edge as ProxyFqdn"
            ),
            Goal::Partner { .. } => format!(
                "what we send reaches {domain}, but what it begins reaches us only if it has written down our edge as ProxyFqdn"
            ),
        };
        let again = match &self.order.goal {
            Goal::Push { .. } => {
                format!("Test-CsMcxPushNotification -AccessEdgeFqdn {} -IgnoreOwnName", self.named_edge())
            }
            Goal::Partner { domain, .. } => {
                format!("Test-CsFederatedPartner -TargetFqdn {} -Domain {domain} -IgnoreOwnName", self.named_edge())
            }
        };
        walk.trouble = Some(Trouble {
            sentence: format!("{}; {hindered}", trouble.sentence),
            remedy: format!(
                "{} — or, where {domain} has written down our edge or the world sees other name servers than ours: {again}",
                trouble.remedy
            ),
            ..trouble
        });
    }

    /// The edge as the administrator names it.
    fn named_edge(&self) -> &str {
        self.order.edge.as_ref().unwrap_or(&self.doors.edge).as_str()
    }
}

/// The name of our edge that the partner's edge has written down, as it told ours when it saw our certificate.
fn written_down(answer: &Answer) -> Option<String> {
    let ours = answer.told.iter().find(|told| told.stage == Stage::OurCertificate && told.passed)?;
    ours.name.clone()
}
