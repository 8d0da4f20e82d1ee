//! The latest refusals with their sentences, for logs, metrics and status pages.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::{Clock, SipDomain, Timestamp};
use reveille_federation::Refusal;
use reveille_federation::answer::{Answer, Audience, answer, status_outbound};
use reveille_sip_net::{ConnectError, Flow, HandshakeRefusal, PeerCertificate, RefusedBy};
use tracing::info;

use crate::crossing::From;

/// How many are remembered.
const LATEST: usize = 100;
/// Lines in the log for one reason in one second: whoever is refused chooses how often.
const LINES_PER_S: u64 = 10;

/// One refusal.
#[derive(Clone, Debug)]
pub struct Refused {
    /// When; the last time, if it was more than once.
    pub at: Timestamp,
    /// How often the same address was refused for the same reason.
    pub times: u64,
    /// Who was turned away.
    pub remote: SocketAddr,
    /// The stable word.
    pub reason: &'static str,
    /// What an administrator reads.
    pub sentence: String,
    /// What would change it.
    pub advice: String,
    /// Of a connection: which side refused the other.
    pub refused_by: Option<RefusedBy>,
    /// Of a connection: the certificate that it was about, the peer's or ours.
    pub certificate: Option<Arc<PeerCertificate>>,
}

/// Remembers a bounded number of refusals.
pub(crate) struct Refusals {
    clock: Arc<dyn Clock>,
    latest: Mutex<VecDeque<Refused>>,
    /// By reason: a second, and how often in it. As many as there are kinds of refusals.
    lines: Mutex<HashMap<&'static str, (u64, u64)>>,
}

/// What is answered when the next hop for a domain cannot be reached. `retry_in` is given if nothing was tried,
/// because it has failed a moment ago.
pub(crate) fn unreachable(domain: SipDomain, error: &ConnectError, from: From, retry_in: Option<Duration>) -> Refusal {
    // Where our own servers stand, and what they lack, is nobody's business outside.
    if from == From::Outside {
        return Refusal::PeerUnreachable { domain, why: "it does not answer".to_owned() };
    }
    let why = error.to_string();
    if let Some(retry_after) = retry_in {
        return Refusal::PeerPaused { domain, why, retry_after };
    }
    match error {
        ConnectError::TooMuchWaiting { .. } => Refusal::PartnerBusy { domain, what: why },
        ConnectError::Stopping => Refusal::Stopping,
        ConnectError::Tls { refusal, .. } => match **refusal {
            // lync.md §3.2: who does not trust us often just drops the connection.
            HandshakeRefusal::PeerRejectedOurs { .. } | HandshakeRefusal::DroppedOurs { .. } => {
                Refusal::PeerRejectsUs { domain, why }
            }
            HandshakeRefusal::HungUp | HandshakeRefusal::TimedOut => Refusal::PeerUnreachable { domain, why },
            _ => Refusal::PeerUntrusted { domain, why },
        },
        _ => Refusal::PeerUnreachable { domain, why },
    }
}

/// What whoever sent a request from this side is told of its refusal by the edge of that name: ours learn more.
pub(crate) fn told(name: &str, from: From, refusal: &Refusal) -> Answer {
    let audience = match from {
        From::Inside => Audience::Inside { source: name },
        From::Outside => Audience::Outside,
    };
    let answer = answer(refusal, audience, None);
    let status = match from {
        From::Inside => status_outbound(refusal),
        From::Outside => answer.status,
    };
    Answer { status, ..answer }
}

impl Refusals {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, latest: Mutex::default(), lines: Mutex::default() }
    }

    /// A request was turned away.
    pub(crate) fn request(&self, flow: &Flow, refusal: &Refusal) {
        let (reason, at, shown) = (refusal.as_str(), self.clock.now(), flow.peer());
        let (sentence, advice) = (sentence(refusal, shown), advice(refusal, shown));
        if let Some(before) = self.has_line(reason, at) {
            info!(
                remote = %flow.remote(),
                reason,
                certificate.subject = shown.map(|it| it.subject.as_str()),
                certificate.names = shown.map(|it| names(it)),
                certificate.issuer = shown.map(|it| it.issuer.as_str()),
                certificate.serial = shown.map(|it| it.serial_hex.as_str()),
                certificate.sha256 = shown.map(|it| it.sha256_fingerprint.as_str()),
                advice,
                before,
                "request refused: {sentence}"
            );
        }
        metrics::counter!("reveille_edge_refused_total", "reason" => reason).increment(1);
        self.remember(Refused {
            at,
            times: 1,
            remote: flow.remote(),
            reason,
            sentence,
            advice,
            refused_by: None,
            certificate: shown.cloned(),
        });
    }

    /// A handshake failed, on a connection to us or from us. The log has it already.
    pub(crate) fn handshake(&self, remote: SocketAddr, refusal: &HandshakeRefusal) {
        metrics::counter!("reveille_edge_handshakes_refused_total", "reason" => refusal.label()).increment(1);
        self.remember(Refused {
            at: self.clock.now(),
            times: 1,
            remote,
            reason: refusal.label(),
            sentence: refusal.to_string(),
            advice: refusal.advice().to_owned(),
            refused_by: Some(refusal.refused_by()),
            certificate: refusal.certificate().cloned(),
        });
    }

    /// Whether a refusal for this reason still finds a line in the log of this second; then also how many of the last
    /// second with any did not.
    fn has_line(&self, reason: &'static str, at: Timestamp) -> Option<u64> {
        let mut lines = self.lines.lock();
        let (second, count) = lines.entry(reason).or_default();
        let mut before = 0;
        if *second != at.secs() {
            before = count.saturating_sub(LINES_PER_S);
            (*second, *count) = (at.secs(), 0);
        }
        *count += 1;
        (*count <= LINES_PER_S).then_some(before)
    }

    /// What repeats itself is one entry, so that a flood of one kind does not hide the others.
    fn remember(&self, mut refused: Refused) {
        let mut latest = self.latest.lock();
        let same = |known: &Refused| {
            (known.remote.ip(), known.reason, &known.sentence)
                == (refused.remote.ip(), refused.reason, &refused.sentence)
        };
        if let Some(known) = latest.iter().rposition(same).and_then(|at| latest.remove(at)) {
            refused.times = known.times + 1;
        } else if latest.len() == LATEST {
            latest.pop_front();
        }
        latest.push_back(refused);
    }

    pub(crate) fn latest(&self) -> Vec<Refused> {
        self.latest.lock().iter().cloned().collect()
    }
}

/// What an administrator here reads of a refusal, who knows the certificate that was shown.
fn sentence(refusal: &Refusal, shown: Option<&Arc<PeerCertificate>>) -> String {
    match (refusal, shown) {
        (Refusal::CertificateNamesAnother { .. }, Some(shown)) => format!("{refusal}; it names {}", names(shown)),
        _ => refusal.to_string(),
    }
}

/// What an administrator here can do about it.
fn advice(refusal: &Refusal, shown: Option<&Arc<PeerCertificate>>) -> String {
    let Refusal::CertificateNamesAnother { domain, wanted } = refusal else { return refusal.advice() };
    let is_common_name = |shown: &PeerCertificate| {
        !shown.has_alt_name
            && shown.common_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(wanted.as_str()))
    };
    let covers = |name: &String| {
        let parent = wanted.as_str().split_once('.').map(|(_, parent)| parent);
        name.strip_prefix("*.").is_some_and(|of| parent == Some(of))
    };
    match shown {
        Some(shown) if is_common_name(shown) => format!(
            "{wanted} is its common name only: ask the partner for a certificate with subjectAltName, or let common names \
             count with names = \"with-common-name\" in [edge.tls]"
        ),
        Some(shown) if shown.dns.iter().any(covers) => {
            format!("a wildcard names nobody (RFC 5922 §7.2): ask the partner for a certificate with the name {wanted}")
        }
        _ => {
            let ask = format!("ask the partner for a certificate with the name {wanted}");
            // Only what is a name may stand in a command that somebody types: the peer chose what is written there.
            let mut named = shown.iter().flat_map(|shown| &shown.dns).filter_map(|name| name.parse::<SipDomain>().ok());
            match (named.next(), named.next()) {
                (None, _) => ask,
                (Some(name), more) => {
                    let more = if more.is_some() { ", or with another of its names" } else { "" };
                    format!(
                        "{ask}; if it is another edge that speaks for {domain}, say so: Set-CsAllowedDomain -Identity {domain} \
                         -ProxyFqdn {name}{more}"
                    )
                }
            }
        }
    }
}

/// The names of a certificate, the first of them if there are many: the peer chose how many.
fn names(shown: &PeerCertificate) -> String {
    const MOST: usize = 8;
    let mut names: Vec<&str> = shown.identities().take(MOST).collect();
    match shown.identities().count() {
        0 => return "nobody".into(),
        count if count > MOST => names.push("…"),
        _ => {}
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use reveille_sip_net::{Side, Transport};

    use super::*;

    #[derive(Default)]
    struct Turned(AtomicU64);

    impl Clock for Turned {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    #[test]
    fn whoever_shows_the_wrong_name_is_told_apart_for_the_administrator() {
        let shown = |common_name: &str, dns: &[&str]| {
            Arc::new(PeerCertificate {
                common_name: Some(common_name.into()),
                dns: dns.iter().map(ToString::to_string).collect(),
                has_alt_name: !dns.is_empty(),
                ..PeerCertificate::default()
            })
        };
        let refusal = Refusal::CertificateNamesAnother {
            domain: "fabrikam.com".parse().unwrap(),
            wanted: "edge.fabrikam.com".parse().unwrap(),
        };
        let many: Vec<String> = (0..20).map(|number| format!("n{number}.example")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for (shown, names, does) in [
            (shown("edge.fabrikam.com", &[]), "; it names nobody", "with-common-name"),
            (
                shown("edge.fabrikam.com", &["other.example"]),
                "; it names other.example",
                "say so: Set-CsAllowedDomain -Identity fabrikam.com -ProxyFqdn other.example",
            ),
            (shown("x", &["$(reboot)"]), "; it names $(reboot)", "ask the partner for a certificate with the name"),
            (shown("x", &["*.fabrikam.com"]), "; it names nobody", "a wildcard names nobody"),
            (shown("x", &["*.com"]), "; it names nobody", "a certificate with the name edge.fabrikam.com"),
            (shown("x", &many), "n6.example, n7.example, …", "-ProxyFqdn n0.example, or with another of its names"),
        ] {
            let (sentence, advice) = (sentence(&refusal, Some(&shown)), advice(&refusal, Some(&shown)));
            assert!(sentence.ends_with(names) && advice.contains(does), "{sentence} / {advice}");
            assert!(!advice.ends_with("-ProxyFqdn") && !advice.contains('$'), "{advice}");
        }
        assert_eq!(sentence(&Refusal::BadFrom, None), Refusal::BadFrom.to_string());
    }

    #[test]
    fn a_flood_of_one_kind_is_one_entry_and_a_few_lines_a_second() {
        let clock = Arc::new(Turned::default());
        let refusals = Refusals::new(Arc::clone(&clock) as _);
        let flow = |last: u8| {
            let remote = ([192, 0, 2, last], 40_000 + u16::from(last)).into();
            Flow::carried(Transport::Tls, Side::Accepted, remote, remote, None, 1000)
        };
        refusals.request(&flow(1), &Refusal::BadFrom);
        (0..5000).for_each(|_| refusals.request(&flow(2), &Refusal::FederationOff));
        let latest = refusals.latest();
        let entries: Vec<_> = latest.iter().map(|refused| (refused.reason, refused.times)).collect();
        assert_eq!(entries, [("bad-from", 1), ("federation-off", 5000)]);
        refusals.request(&flow(1), &Refusal::BadFrom);
        assert_eq!(refusals.latest().last().map(|refused| (refused.reason, refused.times)), Some(("bad-from", 2)));
        // 5000 were counted above, and what had no line is told with the next that has one.
        assert_eq!(refusals.has_line("federation-off", clock.now()), None);
        let later = Timestamp::from_millis(1000);
        assert_eq!(refusals.has_line("federation-off", later), Some(4991));
        assert_eq!(refusals.has_line("federation-off", later), Some(0));
        for last in 3..=200 {
            refusals.request(&flow(last), &Refusal::NoTrust);
        }
        assert_eq!(refusals.latest().len(), LATEST);
    }
}
