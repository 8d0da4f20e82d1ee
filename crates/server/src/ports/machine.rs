//! The process as a whole, for cmdlets.

use std::sync::Arc;

use reveille_admin::ports::machine::{self, Certificate, Figures, Part};
use reveille_core::{Clock as _, Timestamp};

use super::border::instant;
use crate::SystemClock;
use crate::certificates::{Listed, Which};
use crate::ops::Status;

/// A running server.
pub(super) struct Machine {
    status: Arc<Status>,
    started: Timestamp,
}

impl Machine {
    /// Counts from now on.
    pub(super) fn new(status: &Arc<Status>) -> Self {
        Self { status: Arc::clone(status), started: SystemClock.now() }
    }

    /// Where a certificate of ours is shown.
    fn listeners(&self, listed: &Listed) -> Vec<String> {
        if !matches!(listed.which, Which::Own | Which::OwnIssuer) {
            return Vec::new();
        }
        let split =
            self.status.certificates.iter().any(|all| {
                all.listed().iter().any(|other| other.key == "edge.internal_tls" && other.which == Which::Own)
            });
        let signs = self.status.vitals.signs().filter(|sign| shows(sign.name, listed.key, split));
        signs.filter_map(|sign| Some(format!("{} {}", sign.name, sign.address?))).collect()
    }
}

impl machine::Machine for Machine {
    fn parts(&self) -> Vec<Part> {
        let part = |sign: crate::vitals::Sign| Part {
            kind: if sign.address.is_some() { "listener" } else { "role" },
            name: sign.name.to_owned(),
            address: sign.address.map(|at| at.to_string()),
            runs: sign.lives,
            remark: String::new(),
        };
        self.status.vitals.signs().map(part).collect()
    }

    fn certificates(&self, peers: bool) -> Vec<Certificate> {
        let all = self.status.certificates.iter().flat_map(|all| all.listed());
        let wanted = all.filter(|it| peers || !matches!(it.which, Which::Peer | Which::PeerIssuer));
        let certificate = |listed: Listed| Certificate {
            listeners: self.listeners(&listed),
            role: listed.role.to_owned(),
            key: listed.key.to_owned(),
            which: listed.which.as_str(),
            subject: listed.certificate.subject.clone(),
            issuer: listed.certificate.issuer.clone(),
            names: listed.certificate.identities().map(str::to_owned).collect(),
            not_before: instant(listed.certificate.not_before),
            not_after: instant(listed.certificate.not_after),
            serial: listed.certificate.serial_hex.clone(),
            sha256: listed.certificate.sha256_fingerprint.clone(),
        };
        wanted.map(certificate).collect()
    }

    fn unread(&self) -> Vec<String> {
        self.status.certificates.as_ref().map(|all| all.unread()).unwrap_or_default()
    }

    fn figures(&self) -> Figures {
        let usage = crate::process::usage();
        Figures {
            cpu_ms: u64::try_from(usage.cpu.as_millis()).unwrap_or(u64::MAX),
            peak_rss_bytes: usage.peak_rss_bytes,
            started: self.started,
        }
    }
}

/// Whether the listener under one key of the configuration shows the certificate under another. `split` is whether the
/// edge has a certificate of its own for inside.
fn shows(listener: &str, tls: &str, split: bool) -> bool {
    match tls {
        "home.tls" => matches!(listener, "home.internal" | "home.sip_tls" | "home.sip_wss"),
        "edge.tls" => listener == "edge.external" || (listener == "edge.internal" && !split),
        "edge.internal_tls" => listener == "edge.internal",
        "clearinghouse.tls" => listener == "clearinghouse.listen",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_shown_by_the_listeners_of_its_side() {
        for (listener, tls, split, expected) in [
            ("home.sip_tls", "home.tls", false, true),
            ("home.sip_tcp", "home.tls", false, false),
            ("edge.internal", "edge.tls", false, true),
            ("edge.internal", "edge.tls", true, false),
            ("edge.internal", "edge.internal_tls", true, true),
            ("edge.external", "edge.internal_tls", true, false),
            ("clearinghouse.listen", "clearinghouse.tls", false, true),
        ] {
            assert_eq!(shows(listener, tls, split), expected, "{listener} {tls} {split}");
        }
    }
}
