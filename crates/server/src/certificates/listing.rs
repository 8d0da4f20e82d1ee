//! Which certificates there are: ours, those above them, and those of our peers, as JSON and as gauges.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use reveille_core::Timestamp;
use reveille_sip_net::PeerCertificate;
use serde_json::{Value, json};

use crate::tls::Side;

/// Peers that are listed; the latest seen win.
const PEERS_MAX: usize = 1000;

/// One certificate that matters here.
pub(crate) struct Listed {
    pub(crate) role: &'static str,
    /// The table of the configuration.
    pub(crate) key: &'static str,
    pub(crate) which: Which,
    pub(crate) certificate: Arc<PeerCertificate>,
}

/// What a certificate is to us.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Which {
    /// Trusted to issue others.
    Authority,
    /// The one we show.
    Own,
    /// Sent with ours.
    OwnIssuer,
    /// Shown by a peer.
    Peer,
    /// Sent with a peer's.
    PeerIssuer,
}

impl Which {
    /// As a label.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Own => "own",
            Self::OwnIssuer => "own-issuer",
            Self::Peer => "peer",
            Self::PeerIssuer => "peer-issuer",
        }
    }
}

/// Every certificate, each once per role.
pub(crate) fn certificates(sides: &[(&'static str, Side)]) -> Vec<Listed> {
    let (mut all, mut known) = (Vec::new(), HashSet::new());
    let mut add = |role, key, which, certificate: &Arc<PeerCertificate>| {
        if known.insert((role, certificate.sha256_fingerprint.clone())) {
            all.push(Listed { role, key, which, certificate: Arc::clone(certificate) });
        }
    };
    for (role, side) in sides {
        let material = side.material();
        for (at, certificate) in material.chain().iter().enumerate() {
            add(*role, side.key, if at == 0 { Which::Own } else { Which::OwnIssuer }, certificate);
        }
        for certificate in material.authorities() {
            add(*role, side.key, Which::Authority, certificate);
        }
    }
    for (role, side) in sides {
        for peer in side.peers().take(PEERS_MAX / sides.len().max(1)) {
            for (at, certificate) in peer.chain.iter().enumerate() {
                add(*role, side.key, if at == 0 { Which::Peer } else { Which::PeerIssuer }, certificate);
            }
        }
    }
    all
}

/// Gauges of the seconds that each certificate has left; negative once it is over.
pub(crate) fn as_metrics(listed: &[Listed], now: i64) -> String {
    // Two certificates may have one subject: the sooner end counts, since no two lines may have the same labels.
    let mut ends: BTreeMap<(&str, Which, &str), i64> = BTreeMap::new();
    for Listed { role, which, certificate, .. } in listed {
        let end = ends.entry((role, *which, &certificate.subject)).or_insert(i64::MAX);
        *end = certificate.not_after.min(*end);
    }
    let mut text = String::from("# TYPE reveille_certificate_expires_seconds gauge\n");
    for ((role, which, subject), end) in ends {
        let (which, subject, left) = (which.as_str(), escaped(subject), end.saturating_sub(now));
        let _ = writeln!(
            text,
            "reveille_certificate_expires_seconds{{role=\"{role}\",which=\"{which}\",subject=\"{subject}\"}} {left}"
        );
    }
    text
}

/// What status pages show.
pub(crate) fn as_json(sides: &[(&'static str, Side)], now: i64) -> Value {
    let mut ours = Vec::new();
    let mut lists = Vec::new();
    let mut faults = Vec::new();
    let mut theirs = Vec::new();
    for (role, side) in sides {
        let material = side.material();
        let issuers = material.chain().iter().skip(1).map(|certificate| (Which::OwnIssuer, certificate));
        let own = std::iter::once((Which::Own, &material.chain()[0]));
        for (which, certificate) in own.chain(issuers).chain(material.authorities().into_iter().map(authority)) {
            let mut value = summary(certificate, Some(now));
            value["role"] = json!(role);
            value["key"] = json!(side.key);
            value["which"] = json!(which.as_str());
            if !ours.contains(&value) {
                ours.push(value);
            }
        }
        for list in material.lists() {
            let value = json!({
                "key": format!("{}.revocation_lists", side.key), "file": list.origin, "issuer": list.issuer,
                "entries": list.entries, "made": day(list.this_update), "next_due": list.next_update.map(day),
                "has_run_out": list.has_run_out(now),
            });
            if !lists.contains(&value) {
                lists.push(value);
            }
        }
        let fault = side.fault().map(|fault| json!({ "key": fault.key, "sentence": fault.source.to_string() }));
        // Both sides of an edge may have the same files.
        faults.extend(fault.filter(|fault| !faults.contains(fault)));
        for peer in side.peers().take(PEERS_MAX / sides.len().max(1)) {
            let mut value = summary(&peer.chain[0], Some(now));
            value["role"] = json!(role);
            value["key"] = json!(side.key);
            value["connections"] = json!(peer.open);
            let issuers = peer.chain.iter().skip(1).map(|certificate| summary(certificate, Some(now)));
            value["sent_with_it"] = issuers.collect();
            theirs.push(value);
        }
    }
    json!({ "ours": ours, "revocation_lists": lists, "theirs": theirs, "not_read": faults })
}

fn authority(certificate: &Arc<PeerCertificate>) -> (Which, &Arc<PeerCertificate>) {
    (Which::Authority, certificate)
}

/// A certificate as JSON; with the days it has left at `now`.
pub(crate) fn summary(certificate: &PeerCertificate, now: Option<i64>) -> Value {
    let mut value = json!({
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "serial": certificate.serial_hex,
        "names": certificate.identities().collect::<Vec<_>>(),
        "not_before": day(certificate.not_before),
        "not_after": day(certificate.not_after),
        "sha256": certificate.sha256_fingerprint,
    });
    if let Some(now) = now {
        value["days_left"] = json!((certificate.not_after - now).div_euclid(86_400));
    }
    value
}

/// Unix seconds as a date and time in UTC.
pub(crate) fn day(secs: i64) -> String {
    Timestamp::from_millis(u64::try_from(secs).unwrap_or_default().saturating_mul(1000)).to_string()
}

/// As a label's value: the exposition format escapes these three.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(which: Which, subject: &str, not_after: i64) -> Listed {
        let certificate =
            Arc::new(PeerCertificate { subject: subject.into(), not_after, ..PeerCertificate::default() });
        Listed { role: "edge", key: "edge.tls", which, certificate }
    }

    #[test]
    fn gauges_have_one_line_for_each_set_of_labels_and_the_sooner_end() {
        let all = [
            listed(Which::Own, "CN=edge.contoso.com", 1100),
            listed(Which::Peer, "CN=\"a\\b\"", 900),
            listed(Which::Peer, "CN=\"a\\b\"", 800),
        ];
        assert_eq!(
            as_metrics(&all, 1000),
            "# TYPE reveille_certificate_expires_seconds gauge\n\
             reveille_certificate_expires_seconds{role=\"edge\",which=\"own\",subject=\"CN=edge.contoso.com\"} 100\n\
             reveille_certificate_expires_seconds{role=\"edge\",which=\"peer\",subject=\"CN=\\\"a\\\\b\\\"\"} -200\n"
        );
    }

    #[test]
    fn a_certificate_is_shown_with_what_tells_it_from_others() {
        let certificate = PeerCertificate {
            dns: vec!["edge.contoso.com".into()],
            has_alt_name: true,
            not_after: 86_400 * 3 + 5,
            serial_hex: "2a01".into(),
            ..PeerCertificate::default()
        };
        let value = summary(&certificate, Some(5));
        assert_eq!(value["names"], json!(["edge.contoso.com"]));
        assert_eq!((&value["days_left"], &value["serial"]), (&json!(3), &json!("2a01")));
        assert_eq!(value["not_after"], "1970-01-04T00:00:05Z");
    }
}
