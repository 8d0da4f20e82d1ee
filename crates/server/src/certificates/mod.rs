//! The certificates of all roles while they run: read again when asked to or when their files change, watched for their
//! ends, shown on status pages.

mod diary;
mod listing;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::Clock;
use reveille_sip_net::Fallen;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::tls::{Reread, Side};
pub(crate) use diary::{Diary, Urgency};
pub(crate) use listing::{Listed, Which, day, summary};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often open connections and ends are looked at when nothing has changed.
const REVIEW: Duration = Duration::from_secs(60);
/// For how long after a reload they are looked at with every turn: a handshake that had begun before it may end after.
const AFTERMATH: Duration = Duration::from_secs(10);

/// The certificates of every role of this process.
pub(crate) struct Certificates {
    sides: Vec<(&'static str, Side)>,
    clock: Arc<dyn Clock>,
    diary: Mutex<Diary>,
}

impl Certificates {
    /// `sides` with the name of their role.
    pub(crate) fn new(sides: Vec<(&'static str, Side)>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { sides, clock, diary: Mutex::default() })
    }

    /// Reads every file again.
    pub(crate) fn reread(&self) {
        for (role, side) in &self.sides {
            reread(role, side);
        }
        self.review();
    }

    /// Looks at the files and at the time until `stop`.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        for (role, side) in &self.sides {
            if let Some(sentence) = side.misnamed() {
                warn!(role, key = side.key, "{sentence}");
            }
        }
        let mut review_in = Duration::ZERO;
        let mut aftermath = Duration::ZERO;
        loop {
            let due = review_in.is_zero() || !aftermath.is_zero();
            let this = Arc::clone(&self);
            // Files may lie on a disk that takes its time.
            let turn = tokio::task::spawn_blocking(move || {
                let changed = this.reread_changed();
                if changed || due {
                    this.review();
                }
                changed
            });
            let changed = turn.await.unwrap_or_else(|panic| {
                error!(%panic, "the watch over certificates has failed for this turn");
                false
            });
            review_in = if due { REVIEW } else { review_in.saturating_sub(LOOK) };
            aftermath = if changed { AFTERMATH } else { aftermath.saturating_sub(LOOK) };
            if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    /// Everything that is in use and seen, for status pages.
    pub(crate) fn as_json(&self) -> serde_json::Value {
        listing::as_json(&self.sides, self.now())
    }

    /// Each certificate once per role; those of peers last.
    pub(crate) fn listed(&self) -> Vec<Listed> {
        listing::certificates(&self.sides)
    }

    /// Files that could not be read again, with why, and certificates without a name that others expect in them.
    pub(crate) fn unread(&self) -> Vec<String> {
        let unread = self.sides.iter().filter_map(|(_, side)| Some(side.fault()?.to_string()));
        let mut all: Vec<_> = unread.chain(self.sides.iter().filter_map(|(_, side)| side.misnamed())).collect();
        // Both sides of an edge may have the same files.
        all.sort();
        all.dedup();
        all
    }

    /// Gauges in the text form of Prometheus. Not through the recorder, which never forgets a label.
    pub(crate) fn as_metrics(&self) -> String {
        listing::as_metrics(&listing::certificates(&self.sides), self.now())
    }

    fn reread_changed(&self) -> bool {
        let mut changed = false;
        for (role, side) in self.sides.iter().filter(|(_, side)| side.is_stale()) {
            reread(role, side);
            changed = true;
        }
        changed
    }

    /// Looks at what time and lists have done to certificates.
    fn review(&self) {
        let now = self.now();
        for (role, side) in &self.sides {
            for fallen in side.check_again(u64::try_from(now).unwrap_or_default()) {
                tell_fallen(role, side.key, &fallen);
            }
        }
        let mut diary = self.diary.lock();
        for listed in listing::certificates(&self.sides) {
            if let Some(urgency) = diary.due(&listed.certificate.sha256_fingerprint, listed.certificate.not_after, now)
            {
                tell_end(&listed, urgency);
            }
        }
        for (role, side) in &self.sides {
            for list in side.material().lists().filter(|list| list.has_run_out(now)) {
                let ended = list.next_update.unwrap_or_default();
                if diary.due(&format!("{} {ended}", list.origin), ended, now).is_some() {
                    warn!(
                        role,
                        key = format!("{}.revocation_lists", side.key),
                        file = list.origin,
                        "the revocation list of {} has run out: its next one was due on {}",
                        list.issuer,
                        listing::day(ended)
                    );
                }
            }
        }
        diary.forget_before(now);
    }

    fn now(&self) -> i64 {
        i64::try_from(self.clock.now().secs()).unwrap_or(i64::MAX)
    }
}

fn reread(role: &'static str, side: &Side) {
    let outcome = match side.reread() {
        Reread::Done => {
            let certificate = side.material().chain()[0].clone();
            info!(
                role,
                key = side.key,
                certificate.subject = certificate.subject,
                certificate.sha256 = certificate.sha256_fingerprint,
                certificate.not_after = %listing::day(certificate.not_after),
                "certificates read again"
            );
            if let Some(sentence) = side.misnamed() {
                warn!(role, key = side.key, certificate.subject = certificate.subject, "{sentence}");
            }
            "done"
        }
        Reread::Kept(fault) => {
            error!(role, key = fault.key, "the old certificates stay in use: {fault}");
            "kept"
        }
    };
    metrics::counter!("reveille_certificates_reread_total", "role" => role, "outcome" => outcome).increment(1);
}

fn tell_fallen(role: &'static str, key: &'static str, fallen: &Fallen) {
    let Fallen { refusal, connections, closed } = fallen;
    let certificate = refusal.certificate();
    let subject = certificate.map(|it| it.subject.as_str());
    let sha256 = certificate.map(|it| it.sha256_fingerprint.as_str());
    if *closed {
        warn!(
            role,
            key,
            connections,
            certificate.subject = subject,
            certificate.sha256 = sha256,
            "connections are closed: {refusal}"
        );
        metrics::counter!("reveille_certificates_fallen_total", "role" => role, "why" => refusal.label())
            .increment(*connections as u64);
    } else {
        info!(
            role,
            key,
            connections,
            certificate.subject = subject,
            certificate.sha256 = sha256,
            "open connections stay, and no new ones would be taken: {refusal}"
        );
    }
}

fn tell_end(listed: &Listed, urgency: Urgency) {
    let Listed { role, key, which, certificate } = listed;
    let subject = certificate.subject.as_str();
    let sentence = format!("the certificate of {subject} {}", urgency.sentence(&listing::day(certificate.not_after)));
    let advice = match which {
        Which::Own => "renew it and put it in place of the file: it is read again by itself",
        Which::OwnIssuer => "ask the authority for a chain that goes on, and put it into the certificate file",
        Which::Authority => "ask its owner for the authority's next certificate, and add it to the roots",
        Which::Peer | Which::PeerIssuer => "its owner has to renew it; until then its connections end and are refused",
    };
    let (issuer, serial, sha256) = (&certificate.issuer, &certificate.serial_hex, &certificate.sha256_fingerprint);
    // Without ours nothing works, and somebody should wake up.
    if *which == Which::Own && urgency.is_now() {
        error!(role, key, which = which.as_str(), issuer, serial, sha256, advice, "{sentence}");
    } else {
        warn!(role, key, which = which.as_str(), issuer, serial, sha256, advice, "{sentence}");
    }
}
