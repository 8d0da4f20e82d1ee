//! One partner: its places, its books, its connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::diagnosis::Failure;
use reveille_core::settings::AccessEdgeConfiguration;
use reveille_core::{Clock, SipDomain, Timestamp};
use reveille_federation::Refusal;
use reveille_federation::policy::Standing;
use reveille_federation::trust::SourceType;
use reveille_sip_net::{ConnectError, PeerCertificate, Target};

use super::passage::{Passage, Way};
use super::share::Share;
use crate::gauge::{Latency, Meter};
use crate::limits::{BYTES_IN_FLIGHT_MAX, Class, Full, IN_FLIGHT_MAX, Limits, Load};
use crate::meters::Meters;
use crate::pace::Allowance;

/// One partner.
pub(crate) struct Partner {
    pub(crate) domain: SipDomain,
    pub(crate) remote: SipDomain,
    pub(super) limits: Limits,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) all: Arc<Load>,
    pub(super) connections_in: AtomicUsize,
    pub(crate) books: Mutex<Books>,
}
/// What is counted of one partner.
pub(crate) struct Books {
    pub(crate) source: SourceType,
    pub(crate) is_listed: bool,
    is_discovered: bool,
    pub(super) meters: Arc<Meters>,
    pub(super) share: Arc<Share>,
    pub(crate) received: Traffic,
    pub(crate) sent: Traffic,
    /// Requests of it that we refused, by reason. As many as there are kinds of refusals.
    pub(crate) refused: HashMap<&'static str, u64>,
    pub(crate) last_error: Option<LastError>,
    /// Failures to reach it in a row, and since when.
    pub(crate) failing: Option<(u32, Timestamp)>,
    pub(crate) certificate: Option<Arc<PeerCertificate>>,
    /// Where it is reached.
    pub(crate) target: Option<Target>,
    pub(crate) last_seen: Instant,
}

/// One direction.
pub(crate) struct Traffic {
    pub(crate) requests: u64,
    /// Final answers by class: 2xx to 6xx.
    pub(crate) answers: [u64; 5],
    pub(crate) unanswered: u64,
    pub(crate) unreachable: u64,
    pub(crate) meter: Meter,
    pub(crate) latency: Latency,
}

/// The latest thing that went wrong with a partner.
#[derive(Clone, Debug)]
pub(crate) struct LastError {
    pub(crate) at: Timestamp,
    pub(crate) reason: &'static str,
    pub(crate) sentence: String,
    pub(crate) advice: String,
}

impl Books {
    pub(super) fn new(standing: &Standing, share: Arc<Share>, meters: Arc<Meters>, now: Instant) -> Self {
        Self {
            source: standing.source(),
            is_listed: standing.is_listed(),
            is_discovered: standing.is_discovered(),
            meters,
            share,
            received: Traffic::new(now),
            sent: Traffic::new(now),
            refused: HashMap::new(),
            last_error: None,
            failing: None,
            certificate: None,
            target: None,
            last_seen: now,
        }
    }

    /// What the partner may send per second now.
    pub(crate) fn rate(&self, edge: &AccessEdgeConfiguration, limits: Limits, now: Instant) -> u32 {
        match self.is_discovered {
            true => self.share.purse.lock().pace.rate(Allowance::of(edge), now),
            false => limits.messages_per_s,
        }
    }

    pub(super) fn traffic(&mut self, way: Way) -> &mut Traffic {
        match way {
            Way::In => &mut self.received,
            Way::Out => &mut self.sent,
        }
    }
}

impl Traffic {
    fn new(now: Instant) -> Self {
        Self {
            requests: 0,
            answers: [0; 5],
            unanswered: 0,
            unreachable: 0,
            meter: Meter::new(now),
            latency: Latency::new(now),
        }
    }
}
impl Partner {
    /// Lets one of its requests in, or says which limit it has reached. `contact` gives a hash of whom it writes to, if that
    /// is counted.
    pub(crate) fn receive(
        self: &Arc<Self>,
        class: Class,
        bytes: usize,
        contact: impl FnOnce() -> u64,
        allowance: Allowance,
    ) -> Result<Passage, Refusal> {
        let now = Instant::now();
        let (share, is_discovered) = {
            let mut books = self.books.lock();
            books.last_seen = now;
            books.received.requests += 1;
            books.received.meter.count(now);
            books.meters.received.increment(1);
            (Arc::clone(&books.share), books.is_discovered)
        };
        {
            let mut purse = share.purse.lock();
            let mut rate = self.limits.messages_per_s;
            if is_discovered {
                if let Err(most) = purse.pace.writes_to(contact(), allowance, now) {
                    return Err(Refusal::PartnerWatched { domain: self.domain.clone(), most });
                }
                rate = purse.pace.rate(allowance, now);
            }
            // What was let in must also be able to end: that has a rate of its own.
            let bucket = if class == Class::Ending { &mut purse.endings } else { &mut purse.bucket };
            if !bucket.take(class, rate, now) {
                return Err(Refusal::PartnerThrottled { domain: self.domain.clone(), per_second: rate });
            }
        }
        self.take(Way::In, share, class, bytes, now)
    }

    /// Lets one request to it out, or says which bound is reached.
    pub(crate) fn send(self: &Arc<Self>, class: Class, bytes: usize) -> Result<Passage, Refusal> {
        let now = Instant::now();
        let share = {
            let mut books = self.books.lock();
            books.last_seen = now;
            books.sent.requests += 1;
            books.sent.meter.count(now);
            books.meters.sent.increment(1);
            Arc::clone(&books.share)
        };
        self.take(Way::Out, share, class, bytes, now)
    }

    /// Takes places for a request: of this partner's own, so that one cannot fill the edge, and of all.
    fn take(
        self: &Arc<Self>,
        way: Way,
        share: Arc<Share>,
        class: Class,
        bytes: usize,
        now: Instant,
    ) -> Result<Passage, Refusal> {
        let (requests_max, bytes_max) = (self.limits.in_flight_per_partner, self.limits.bytes_in_flight_per_partner);
        if let Err(full) = share.load.take(class, bytes, requests_max, bytes_max) {
            return Err(Refusal::PartnerBusy { domain: self.domain.clone(), what: full.to_string() });
        }
        if let Err(full) = self.all.take(class, bytes, IN_FLIGHT_MAX, BYTES_IN_FLIGHT_MAX) {
            share.load.give(bytes);
            return Err(shed(class, full));
        }
        Ok(Passage { partner: Arc::clone(self), share, way, bytes, begun: now, is_told: false, beside: None })
    }

    /// A request of it, or to it, is refused by this edge.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        let mut books = self.books.lock();
        *books.refused.entry(refusal.as_str()).or_default() += 1;
        books.meters.refused(refusal.as_str());
        books.last_error = Some(LastError {
            at: self.clock.now(),
            reason: refusal.as_str(),
            sentence: refusal.to_string(),
            advice: refusal.advice(),
        });
    }

    /// One of its connections is used by it for the first time. Says no when it has as many as it may.
    pub(crate) fn connected(&self, certificate: Option<&Arc<PeerCertificate>>) -> Result<(), Refusal> {
        let most = self.limits.connections_per_partner;
        if self.connections_in.fetch_add(1, Ordering::Relaxed) >= most {
            self.disconnected();
            let what = format!("{most} connections to this edge are open");
            return Err(Refusal::PartnerBusy { domain: self.domain.clone(), what });
        }
        if let Some(certificate) = certificate {
            self.books.lock().certificate = Some(Arc::clone(certificate));
        }
        Ok(())
    }

    /// One of its connections has ended.
    pub(crate) fn disconnected(&self) {
        self.connections_in.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn connections_in(&self) -> usize {
        self.connections_in.load(Ordering::Relaxed)
    }

    /// What it may have now.
    pub(crate) fn share(&self) -> Arc<Share> {
        Arc::clone(&self.books.lock().share)
    }

    /// It is reached there.
    pub(crate) fn is_at(&self, target: &Target) {
        self.books.lock().target = Some(target.clone());
    }

    /// Whether what it may have stays the same: as long as it is listed, or as it is brought by the same name. One that is
    /// only written to is brought by nobody else than before.
    pub(super) fn keeps_its_share(&self, standing: &Standing, household: Option<&str>) -> bool {
        let is_listed = self.books.lock().is_listed;
        is_listed == standing.is_listed() && (is_listed || household.is_none())
    }

    /// The settings may have changed what it is to us. Another share is one without a watch: an administrator knows it now.
    pub(super) fn is_now(&self, standing: &Standing, share: Option<Arc<Share>>, meters: Arc<Meters>) {
        let mut books = self.books.lock();
        books.source = standing.source();
        books.is_listed = standing.is_listed();
        books.is_discovered = standing.is_discovered();
        books.share = share.unwrap_or_else(|| Arc::clone(&books.share));
        books.meters = meters;
    }

    pub(super) fn answered(&self, way: Way, status: u16, diagnosis: Option<&str>, took: Duration) {
        let now = Instant::now();
        let class = usize::from(status / 100).clamp(2, 6) - 2;
        let mut books = self.books.lock();
        if way == Way::In && books.is_discovered {
            books.share.purse.lock().pace.answered(class == 0, now);
        }
        if way == Way::Out {
            books.failing = None;
        }
        let traffic = books.traffic(way);
        traffic.answers[class] += 1;
        traffic.latency.count(took, now);
        books.meters.answered(way, class);
        if class > 0 {
            let (who, advice) = match way {
                Way::In => ("we", format!("nothing, unless {} should have been let in", self.domain)),
                Way::Out => ("it", theirs(&self.domain, diagnosis)),
            };
            let sentence = format!("{who} answered {status} {}", diagnosis.unwrap_or_default());
            books.last_error = Some(LastError {
                at: self.clock.now(),
                reason: "answered",
                sentence: sentence.trim_end().to_owned(),
                advice,
            });
        }
    }

    pub(super) fn unreachable(&self, way: Way, error: &ConnectError) {
        let at = self.clock.now();
        let mut books = self.books.lock();
        books.traffic(way).unreachable += 1;
        books.meters.unreachable.increment(1);
        if way == Way::In {
            // Our own server is not there: nothing that this partner could do about.
            return;
        }
        let (in_a_row, since) = books.failing.unwrap_or((0, at));
        books.failing = Some((in_a_row.saturating_add(1), since));
        let (sentence, advice) = (error.to_string(), error.advice().to_owned());
        books.last_error = Some(LastError { at, reason: error.label(), sentence, advice });
    }
}

/// What to do about a partner's own refusal: where it is one of ours it says by its number what that partner has to run.
fn theirs(domain: &SipDomain, diagnosis: Option<&str>) -> String {
    let number = diagnosis.and_then(|text| text.split(';').next()?.trim().parse().ok());
    match number.and_then(|number| Failure::told(number, None)).map(|failure| failure.diagnosis().advice) {
        Some(advice) if advice.contains("-Cs") => {
            let whose = if advice.contains("DOMAIN") { ", with your domain as DOMAIN" } else { "" };
            format!("ask {domain} to run: {advice}{whose}")
        }
        Some(_) | None => format!("ask {domain} what it means; Test-CsFederatedPartner {domain} walks the same way"),
    }
}

/// What a nearly full edge says. The last places are for calls; 503 is said only when those are gone too.
fn shed(class: Class, full: Full) -> Refusal {
    tracing::debug!(%full, class = class.as_str(), "shed");
    match class {
        Class::Call | Class::Ending => Refusal::Overloaded,
        Class::Message | Class::Other => Refusal::Shed { what: class.as_str() },
    }
}
