//! What a partner's answer to a test means: told apart by its status and the number of its diagnosis.

use reveille_core::SipDomain;
use reveille_core::diagnosis::{Failure, Fault};
use reveille_core::stage::{Stage, Trouble};
use reveille_federation::probe::{Answer, Goal};

use super::judge::{Facts, set_uri};

impl Facts<'_> {
    pub(super) fn no_clearing_house(&self, answer: &Answer, domain: &SipDomain) -> Trouble {
        let mcx = self.mcx();
        let uri = &mcx.push_notification_proxy_uri;
        let sentence = format!(
            "{domain} answers \"{} {}\" and takes no push requests; PushNotificationProxyUri is {uri}",
            answer.status, answer.phrase
        );
        Trouble::new(Stage::Intake, Failure::BadProxyUri, sentence, self.expected_uri())
    }

    /// What the partner's side refused; nothing if it has let us in.
    pub(super) fn refused_there(&self, answer: &Answer, domain: &SipDomain) -> Option<Trouble> {
        let (status, ours) = (answer.status, &self.doors.domain);
        let said = |what: &str| match answer.said.as_ref().map(|said| said.reason.as_str()) {
            Some(reason) if !reason.is_empty() => format!("{what}: {status} {}: {reason}", answer.phrase),
            _ => format!("{what}: {status} {}", answer.phrase),
        };
        let trouble = |failure: Failure, sentence: String, remedy: String| {
            Some(Trouble::new(failure.stage(), failure, sentence, remedy))
        };
        let mcx = self.mcx();
        match (status, answer.number()) {
            (_, 1010) if status == 403 => trouble(
                Failure::CertificateNamesAnother,
                said(&format!("{domain} does not take the certificate of our edge for {ours}")),
                format!(
                    "give our edge a certificate that names {ours}; or have {domain} say which name it holds: \
                     Set-CsAllowedDomain -Identity {ours} -ProxyFqdn {}",
                    self.doors.outer(answer)
                ),
            ),
            (_, 90102) => trouble(
                Failure::PartnerRefuses,
                said(&format!("{domain} has blocked {ours}")),
                format!("ask {domain} to run: Remove-CsBlockedDomain -Identity {ours}"),
            ),
            (_, 90103) => trouble(
                Failure::PartnerRefuses,
                said(&format!("{domain} does not allow {ours}")),
                format!("ask {domain} to run: New-CsAllowedDomain -Identity {ours}"),
            ),
            (_, 90104) => trouble(
                Failure::PartnerRefuses,
                said(&format!("{domain} has federation switched off")),
                format!("ask {domain} to run: Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True"),
            ),
            (_, 90108 | 90111 | 90112) => {
                let again = answer.retry_after.map_or(1, |after| after.as_secs());
                let repeat = format!("repeat the test in {again} s, or ask {domain} for more");
                trouble(Failure::Throttled, said(&format!("{domain} has had too much of us")), repeat)
                    .map(|it| Trouble { stage: Stage::PartnersPolicy, ..it })
            }
            (404, 1005) => {
                let sentence = said(&format!("the server of {domain} does not serve {domain}"));
                match &self.order.goal {
                    Goal::Push { .. } => trouble(Failure::NotOurDomain, sentence, self.expected_uri()),
                    Goal::Partner { .. } => {
                        trouble(Failure::NotOurDomain, sentence, format!("ask {domain} which server speaks for it"))
                    }
                }
            }
            (404, 1003) if matches!(self.order.goal, Goal::Push { .. }) => {
                let uri = &mcx.push_notification_proxy_uri;
                let sentence = format!("{domain} knows nobody of the name in PushNotificationProxyUri, {uri}");
                trouble(Failure::NoSuchUser, sentence, set_uri(&mcx, &format!("sip:push@{domain}")))
            }
            (_, 90129) => trouble(
                Failure::ClockSkew,
                format!(
                    "the clocks of this home and of the clearing house of {domain} differ by more than 10 minutes, and every push \
                     request is refused for it; this home's says {}",
                    self.now
                ),
                format!(
                    "compare that with a watch; if it is wrong, on this machine: timedatectl set-ntp true; if it is right, tell \
                     {domain}"
                ),
            ),
            (_, 90101) => trouble(
                Failure::BadBody,
                said(&format!("the clearing house of {domain} refuses the probe")),
                format!("bring this home and the clearing house of {domain} to one version: reveille --version"),
            )
            .map(|it| it.by(Fault::Ours)),
            (503, 90106) => trouble(
                Failure::StoreFull,
                said(&format!("the clearing house of {domain} cannot write its journal")),
                format!("tell {domain}; then repeat the test"),
            )
            .map(|it| it.by(Fault::Peer)),
            (403, 90109) | (404, 90110) => None,
            (403, _) => trouble(
                Failure::PartnerRefuses,
                said(&format!("{domain} refuses {ours}")),
                format!("ask {domain} to allow {ours}: New-CsAllowedDomain -Identity {ours}"),
            ),
            (408 | 480 | 500 | 502..=504, _) => {
                let behind = match &self.order.goal {
                    Goal::Push { .. } => "clearing house",
                    Goal::Partner { .. } => "server behind it",
                };
                trouble(
                    Failure::ClearingHouseDown,
                    said(&format!("the edge of {domain} answers, and its {behind} does not")),
                    format!("tell {domain} that its {behind} does not answer its edge; repeat the test when it does"),
                )
            }
            _ => None,
        }
    }
}
