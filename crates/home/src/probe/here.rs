//! What our own edge met on the way out, and what mends it: told apart by the stage and by the stable word for how it failed.

use std::net::{IpAddr, SocketAddr};

use reveille_core::SipDomain;
use reveille_core::diagnosis::{Failure, Fault};
use reveille_core::settings::McxConfiguration;
use reveille_core::spelling::distance;
use reveille_core::stage::{Stage, Step, Trouble, Walk};
use reveille_federation::probe::{Answer, Goal, NAME_SERVERS_FAIL, OURSELVES, Told};

use super::judge::{Facts, advice, publisher, sentence, set_uri};

/// How many letters of a domain may be wrong for it to be taken for a misspelt one.
const MISSPELT: usize = 2;

impl Facts<'_> {
    /// What our own edge refused, at the stage that it told.
    pub(super) fn refused_here(&self, told: &Told, answer: &Answer) -> Trouble {
        let failure = Failure::told(answer.number(), Some(told.stage)).unwrap_or(Failure::NoAnswer);
        let domain = self.goal_domain();
        let said = sentence(answer, "our Access Edge");
        let trouble = |remedy: String| Trouble::new(told.stage, failure, said.clone(), remedy);
        // Nobody's records are wrong as long as nobody could be asked for them.
        if told.why.as_deref() == Some(NAME_SERVERS_FAIL) {
            return trouble(advice(answer)).by(Fault::Ours);
        }
        match failure {
            Failure::SrvNamesAnother => {
                self.leads_elsewhere(&domain, told.name.as_deref().unwrap_or_default(), said.clone())
            }
            Failure::DomainNotAllowed => self.another_publisher(&domain).unwrap_or_else(|| trouble(advice(answer))),
            Failure::SrvNotFound => trouble(self.record_wanted(&domain)),
            Failure::AddressNotFound => self.address_wanted(&domain, told, trouble),
            Failure::PeerUnreachable | Failure::NoAnswer => self.unreached(told, answer, trouble),
            Failure::PeerUntrusted => self.untrusted(told, trouble),
            Failure::PeerRejectsUs => trouble(format!(
                "have {domain} trust the authority that issued the certificate of our edge, and check that this certificate \
                 (edge.tls.certificate) names {} and has not run out: Get-CsCertificate shows both",
                self.doors.domain
            )),
            _ => trouble(advice(answer)),
        }
    }

    /// One address of several that failed, while the walk went on to another.
    pub(super) fn other_address(&self, stage: Stage, told: &Told, walk: &mut Walk) {
        let (address, why) = (told.name.as_deref().unwrap_or("an address"), told.why.as_deref().unwrap_or("failed"));
        let sentence = format!("{address}, one of several addresses that lead to {}, fails: {why}", self.goal_domain());
        let remedy = "every connection that tries it first loses time: have it mended, or taken out of the records";
        walk.hints.push(format!("{sentence}; {remedy}"));
        walk.steps.push(Step { stage, took: told.took, passed: false, detail: sentence });
    }

    /// Somebody has set another publisher, whom nobody allowed, while the documents' own, or one that is written nearly so,
    /// is allowed.
    fn another_publisher(&self, domain: &SipDomain) -> Option<Trouble> {
        if !matches!(self.order.goal, Goal::Push { .. }) {
            return None;
        }
        let mcx = self.mcx();
        let default = publisher(&McxConfiguration::default().push_notification_proxy_uri)?;
        let allowed = || self.settings.allowed_domains().map(|record| &record.identity);
        let misspelt = || allowed().find(|allowed| distance(allowed.as_str(), domain.as_str()) <= MISSPELT);
        let documented = allowed().find(|allowed| **allowed == default);
        let meant = documented.or_else(misspelt)?;
        if *meant == *domain {
            return None;
        }
        // Two names that are nearly one may well both be right.
        let or = match documented {
            Some(_) => String::new(),
            None => format!("; or, if {domain} is the one that is meant: New-CsAllowedDomain -Identity {domain}"),
        };
        let uri = &mcx.push_notification_proxy_uri;
        let sentence = format!("PushNotificationProxyUri leads to {uri}, and {domain} is not an allowed domain");
        let remedy = set_uri(&mcx, &format!("sip:push@{meant}")) + &or;
        Some(Trouble::new(Stage::Policy, Failure::BadProxyUri, sentence, remedy))
    }

    /// A domain without a record of its own.
    fn record_wanted(&self, domain: &SipDomain) -> String {
        let record = format!("_sipfederationtls._tcp.{domain}");
        let given = match &self.order.goal {
            Goal::Partner { proxy, .. } => proxy.as_ref(),
            Goal::Push { .. } => None,
        };
        let mut carriers = self.settings.carriers().map(|carrier| carrier.proxy);
        let only = carriers.next().filter(|_| carriers.next().is_none());
        match given.or(only) {
            // A provider's own name cannot be a partner's at the same time.
            Some(server) if self.is_provider(server) => {
                format!("have {domain} publish: {record}. IN SRV 0 0 5061 {server}.")
            }
            Some(server) => format!(
                "have {domain} publish: {record}. IN SRV 0 0 5061 {server}. — or name its edge: Set-CsAllowedDomain -Identity \
                 {domain} -ProxyFqdn {server}"
            ),
            None => format!(
                "have {domain} publish {record}, or name its edge: Set-CsAllowedDomain -Identity {domain} -ProxyFqdn ITS-EDGE, \
                 where ITS-EDGE is the host name of its Access Edge, which the administrator of {domain} knows"
            ),
        }
    }

    /// A host without an address.
    fn address_wanted(&self, domain: &SipDomain, told: &Told, trouble: impl Fn(String) -> Trouble) -> Trouble {
        let host = told.name.as_deref().unwrap_or(domain.as_str());
        match self.settings.allowed_domain(domain).and_then(|record| record.proxy_fqdn.as_ref()) {
            // Somebody here wrote that name.
            Some(proxy) if proxy.as_str() == host => trouble(format!(
                "check the spelling of {host}, which is the ProxyFqdn of {domain}; if it is right, have {domain} publish its \
                 address; if not, go by the record of {domain}: Set-CsAllowedDomain -Identity {domain} -ProxyFqdn $null"
            ))
            .by(Fault::Configuration),
            _ => trouble(format!("have {domain} publish an address (A or AAAA) of {host}, to which its SRV record leads")),
        }
    }

    /// Nobody answers, or not in SIP.
    fn unreached(&self, told: &Told, answer: &Answer, trouble: impl Fn(String) -> Trouble) -> Trouble {
        let domain = self.goal_domain();
        let server = told.name.as_deref().unwrap_or(domain.as_str());
        let found = answer.told.iter().rfind(|one| one.stage == Stage::Address).and_then(|one| one.name.as_deref());
        let address = found.unwrap_or(server);
        let is_here = found.and_then(|found| found.parse::<SocketAddr>().ok()).is_some_and(|at| leads_here(at.ip()));
        match (told.stage, told.why.as_deref()) {
            (Stage::Connect, _) if is_here => trouble(format!(
                "correct the address of {server}: {address} is every machine's own address. Look at the name servers that our \
                 edge asks, at its /etc/hosts, and at [resolver] in its reveille.toml"
            ))
            .by(Fault::Configuration),
            (Stage::Connect, Some("timed-out")) => trouble(format!(
                "let our edge out to {address} over TCP in every firewall on the way, and ask {domain} whether that address is \
                 its own and lets us in: nothing came back, not even a refusal"
            )),
            (Stage::Connect, Some("unreachable")) => trouble(format!(
                "look at the routes of our edge: this machine, or a router next to it, knows no way to {address}"
            ))
            .by(Fault::Ours),
            (Stage::TheirCertificate | Stage::OurCertificate, _) => trouble(format!(
                "ask {domain} what the log of {server} says of this moment; a firewall in between that ends TLS looks the same"
            )),
            (Stage::Sip, Some("not-sip")) => trouble(another_service(&domain)),
            (Stage::Sip, Some("closed")) => trouble(format!(
                "ask {domain} what the log of {server} says of this moment: it took the connection and our certificate, and then \
                 ended it"
            )),
            (Stage::Sip, _) => trouble(format!(
                "ask {domain} what the log of {server} says of this moment: it took the connection and did not answer the request"
            )),
            _ => trouble(format!(
                "check that {server} runs and that nothing in between closes its port 5061 to our edge; then repeat the test"
            )),
        }
    }

    /// What was shown there is not a certificate to trust.
    fn untrusted(&self, told: &Told, trouble: impl Fn(String) -> Trouble) -> Trouble {
        let domain = self.goal_domain();
        let server = told.name.as_deref().unwrap_or(domain.as_str());
        let now = self.now;
        match told.why.as_deref() {
            Some(OURSELVES) => trouble(format!(
                "correct the address of {server}: it leads to our own edge. Look at the name servers that our edge asks, at its \
                 /etc/hosts, and at [resolver] in its reveille.toml"
            ))
            .by(Fault::Configuration),
            Some("names-another") => {
                let other = told.shown.as_deref().and_then(|shown| shown.parse::<SipDomain>().ok());
                let other = other.filter(|_| !self.is_carried_by(server)).map(|other| {
                    format!(
                        "; if {other} is another server that speaks for {domain}, say so: Set-CsAllowedDomain -Identity {domain} \
                         -ProxyFqdn {other}"
                    )
                });
                trouble(format!(
                    "ask {domain} for a certificate that names {server}{}",
                    other.unwrap_or_default()
                ))
            }
            Some("unknown-issuer") => trouble(format!(
                "if that authority deserves trust, append its certificate to the file edge.tls.roots of our edge, which reads it \
                 again within seconds; else ask {domain} for a certificate of one that we trust"
            ))
            .by(Fault::Configuration),
            Some("expired") => trouble(format!(
                "ask {domain} to renew the certificate of {server}; unless our own clock is wrong, which says {now} here"
            )),
            Some("not-yet-valid") => trouble(format!(
                "set the clock of this machine, which says {now}: timedatectl set-ntp true; if it is right, ask {domain} for a \
                 certificate that has begun"
            ))
            .by(Fault::Ours),
            Some("not-tls") => trouble(another_service(&domain)),
            Some("list-ran-out" | "list-unusable") => trouble(
                "fetch the current revocation list of that authority into the file of edge.tls.revocation_lists, which our \
                 edge reads again within seconds"
                    .to_owned(),
            )
            .by(Fault::Configuration),
            Some("no-common-ground") => trouble(format!(
                "ask {domain} to let {server} speak TLS 1.2 or 1.3 with a current cipher suite and key"
            )),
            _ => trouble(format!("ask {domain} to renew or correct the certificate of {server}")),
        }
    }

    /// Whether a hosting provider of ours stands behind that name: no partner can have it too.
    fn is_carried_by(&self, server: &str) -> bool {
        self.settings.hosting_providers().any(|one| one.proxy_fqdn.as_str() == server)
    }

    /// The record of a domain leads to a host that is neither in the domain nor an enabled provider. Whose mistake that is
    /// depends on what else is known.
    fn leads_elsewhere(&self, domain: &SipDomain, target: &str, sentence: String) -> Trouble {
        let off = self.settings.hosting_providers().find(|one| one.proxy_fqdn.as_str() == target && !one.enabled);
        if let Some(provider) = off {
            let sentence = format!(
                "{domain} is carried by {target}, which is our hosting provider \"{}\", and that is not enabled",
                provider.identity
            );
            let remedy = format!("Enable-CsHostingProvider -Identity \"{}\"", provider.identity);
            return Trouble::new(Stage::Policy, Failure::ProviderDisabled, sentence, remedy);
        }
        let wanted = match &self.order.goal {
            Goal::Partner { proxy, .. } => proxy.as_ref().map(SipDomain::as_str),
            Goal::Push { .. } => None,
        };
        let expected = wanted.or_else(|| self.settings.carriers().next().map(|carrier| carrier.proxy.as_str()));
        match expected {
            // Another server than the one expected: the record has changed, or is wrong.
            Some(expected) if expected != target => {
                let remedy = format!(
                    "have {domain} correct its record: _sipfederationtls._tcp.{domain}. IN SRV 0 0 5061 {expected}. — or, if \
                     {target} carries it now: New-CsHostingProvider -Identity \"{target}\" -Enabled $True -ProxyFqdn \
                     \"{target}\" -VerificationLevel UseSourceVerification"
                );
                Trouble::new(Stage::Name, Failure::SrvNamesAnother, sentence, remedy)
            }
            _ => {
                let sentence = format!(
                    "{domain} is carried by {target}, and no hosting provider of ours has that as its ProxyFqdn"
                );
                let remedy = format!(
                    "New-CsHostingProvider -Identity \"{target}\" -Enabled $True -ProxyFqdn \"{target}\" -VerificationLevel \
                     UseSourceVerification"
                );
                Trouble::new(Stage::Policy, Failure::ProviderMissing, sentence, remedy)
            }
        }
    }
}

/// Who answers is not the Access Edge.
fn another_service(domain: &SipDomain) -> String {
    format!(
        "ask {domain} what listens there: another service (a web server or proxy, or SIP without TLS) answers in place of its \
         Access Edge; the address, the port, or what stands in between is wrong"
    )
}

/// Whether an address leads each machine to itself.
fn leads_here(ip: IpAddr) -> bool {
    ip.is_unspecified() || [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])].contains(&ip)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{INNER, RECIPE, journaled, of, ours, push};
    use super::*;

    /// Our edge's refusal, at that address.
    fn at(stage: Stage, number: u32, why: &str, address: &str) -> Answer {
        let mut answer = ours(stage, number, why);
        let found = answer.told.iter_mut().find(|told| told.stage == Stage::Address).expect("an address");
        found.name = Some(address.into());
        answer
    }

    #[test]
    fn what_answers_at_a_wrong_place_or_not_at_all_is_told_by_its_way_of_failing() {
        use Fault::{Configuration, Ours, Peer};
        use Stage::{Connect, OurCertificate, Sip, TheirCertificate};
        let there = "203.0.113.9:5061";
        for (answer, fault, remedy) in [
            (at(Connect, 1046, "refused", there), Peer, "check that sipfed.online.lync.com runs"),
            (
                at(Connect, 1046, "refused", "127.0.0.1:5061"),
                Configuration,
                "correct the address of sipfed.online.lync.com",
            ),
            (at(Connect, 1046, "timed-out", "[::1]:5061"), Configuration, "[::1]:5061 is every machine's own address"),
            (at(Connect, 1046, "timed-out", there), Peer, "let our edge out to 203.0.113.9:5061 over TCP"),
            (at(Connect, 1046, "unreachable", there), Ours, "look at the routes of our edge"),
            (at(OurCertificate, 1046, "closed", there), Peer, "what the log of sipfed.online.lync.com says"),
            (at(Sip, 5001, "no-answer", there), Peer, "did not answer the request"),
            (at(Sip, 1046, "not-sip", there), Peer, "another service"),
            (at(Sip, 1046, "closed", there), Peer, "and then ended it"),
            (at(TheirCertificate, 1010, "ourselves", there), Configuration, "it leads to our own edge"),
            (
                at(TheirCertificate, 1010, "expired", there),
                Peer,
                "our own clock is wrong, which says 2023-11-14T22:13:20",
            ),
            (at(TheirCertificate, 1010, "not-yet-valid", there), Ours, "timedatectl set-ntp true"),
            (at(TheirCertificate, 1010, "not-tls", there), Peer, "another service"),
            (at(TheirCertificate, 1010, "list-ran-out", there), Configuration, "edge.tls.revocation_lists"),
            (at(TheirCertificate, 1010, "no-common-ground", there), Peer, "TLS 1.2 or 1.3"),
            (at(TheirCertificate, 1010, "revoked", there), Peer, "renew or correct"),
            (ours(Stage::Name, 1008, NAME_SERVERS_FAIL), Ours, "do this"),
            (ours(Stage::Address, 1014, NAME_SERVERS_FAIL), Ours, "do this"),
        ] {
            let trouble = of(&push(INNER), &RECIPE, answer).trouble.expect("a failure");
            assert_eq!(trouble.fault, fault, "{trouble:?}");
            assert!(trouble.remedy.contains(remedy), "{}", trouble.remedy);
        }
    }

    #[test]
    fn a_command_is_whole_where_what_belongs_in_it_is_known() {
        let direct = r#"{"Kind":"AllowedDomain","Identity":"push.lync.com","ProxyFqdn":"edge.lync.com"}"#;
        let bare = [RECIPE[1], RECIPE[2]];
        let mut another = ours(Stage::TheirCertificate, 1010, "names-another");
        another.told.last_mut().expect("told").shown = Some("other.lync.com".into());
        let mut wildcard = another.clone();
        wildcard.told.last_mut().expect("told").shown = Some("*.lync.com".into());
        let mut nowhere = ours(Stage::Address, 1014, "address-not-found");
        nowhere.told.last_mut().expect("told").name = Some("edge.lync.com".into());
        for (rows, answer, remedy) in [
            (&bare[..], another.clone(), "Set-CsAllowedDomain -Identity push.lync.com -ProxyFqdn other.lync.com"),
            // A provider's name is no partner's, and a wildcard nobody's.
            (&RECIPE, another, "a certificate that names sipfed.online.lync.com"),
            (&bare, wildcard, "a certificate that names sipfed.online.lync.com"),
            (
                &bare,
                ours(Stage::Name, 1008, "srv-not-found"),
                "of its Access Edge, which the administrator of push.lync.com knows",
            ),
            (&[direct, RECIPE[2]], nowhere, "Set-CsAllowedDomain -Identity push.lync.com -ProxyFqdn $null"),
        ] {
            let trouble = of(&push(INNER), rows, answer).trouble.expect("a failure");
            assert!(trouble.remedy.ends_with(remedy), "{}", trouble.remedy);
        }
    }

    #[test]
    fn a_misspelt_name_of_ours_is_our_mistake_and_what_was_meant_is_in_the_command() {
        let proxy = r#"{"Kind":"AllowedDomain","Identity":"push.lync.com","ProxyFqdn":"egde.lync.com"}"#;
        let mut nowhere = ours(Stage::Address, 1014, "address-not-found");
        nowhere.told.last_mut().expect("told").name = Some("egde.lync.com".into());
        let trouble = of(&push(INNER), &[proxy, RECIPE[2]], nowhere).trouble.expect("a failure");
        assert_eq!(trouble.fault, Fault::Configuration, "{trouble:?}");
        let refused = || ours(Stage::Policy, 90103, "domain-not-allowed");
        let uri = r#"{"Kind":"McxConfiguration","PushNotificationProxyUri":"sip:push@push.exmaple.net"}"#;
        for (allowed, remedy) in [
            (
                "push.example.net",
                "Set-CsMcxConfiguration -Identity global -PushNotificationProxyUri \"sip:push@push.example.net\"; or, if push.exmaple.net is the one that is meant: New-CsAllowedDomain -Identity push.exmaple.net",
            ),
            ("push.other.example", "do this"),
        ] {
            let allowed = format!(r#"{{"Kind":"AllowedDomain","Identity":"{allowed}"}}"#);
            let trouble = of(&push(INNER), &[uri, &allowed, RECIPE[2]], refused()).trouble.expect("a failure");
            assert_eq!(trouble.remedy, remedy, "{trouble:?}");
        }
    }

    #[test]
    fn an_address_that_fails_while_another_serves_is_a_hint() {
        let mut answer = journaled();
        let dead = Told::failed(Stage::Connect, std::time::Duration::ZERO).at("[2001:db8::9]:5061").why("timed-out");
        answer.told.insert(4, dead);
        let walk = of(&push(INNER), &RECIPE, answer);
        assert!(walk.succeeded() && walk.hints.len() == 1, "{walk:?}");
        assert!(
            walk.hints[0].starts_with("[2001:db8::9]:5061, one of several addresses that lead to push.lync.com, fails")
        );
        assert_eq!(walk.steps.iter().filter(|step| !step.passed).count(), 1);
    }
}
