//! What status pages show of the border: each partner with its state, its figures and its last error.

use std::time::Instant;

use reveille_core::settings::Snapshot;
use reveille_core::{SipDomain, Timestamp};
use reveille_federation::Refusal;
use reveille_sip_net::{AddressState, HopState};
use serde::Serialize;

use crate::edge::Edge;
use crate::partners::{Partner, Traffic};

/// The border as a whole: what `GET /edge/partners` answers.
#[derive(Clone, Debug, Serialize)]
pub struct Border {
    /// Whether it is about to stop.
    pub draining: bool,
    /// Requests that wait for their answers.
    pub in_flight: usize,
    /// Bytes of them.
    pub bytes_in_flight: usize,
    /// Requests that the stateful proxy holds, with calls accepted within the last 32 s.
    pub contexts: usize,
    /// Ways to other domains that are known.
    pub ways: usize,
    /// What the settings allow and what will not work.
    pub warnings: Vec<String>,
    /// By domain.
    pub partners: Vec<PartnerStatus>,
    /// Domains to which no way was found the last time that one was looked for, by name.
    pub not_found: Vec<NotFound>,
}

/// A domain that nothing could be sent to, since where it is reached is not known.
#[derive(Clone, Debug, Serialize)]
pub struct NotFound {
    /// The domain.
    pub domain: String,
    /// Why not.
    pub last_error: LastError,
}

/// One partner: a domain together with the name that proves it.
#[derive(Clone, Debug, Serialize)]
pub struct PartnerStatus {
    /// The domain.
    pub domain: String,
    /// The name that its certificate must hold.
    pub remote: String,
    /// How it is known: `DirectPartner`, `AutoFederation`, `AuthorizedServer`.
    pub source: &'static str,
    /// Whether the domain is on the allow list.
    pub listed: bool,
    /// How it is.
    pub state: State,
    /// Its connections to us.
    pub connections_in: usize,
    /// Our connections to it.
    pub connections_out: usize,
    /// Requests of it, and to it, that wait for their answers.
    pub in_flight: usize,
    /// Bytes of them.
    pub bytes_in_flight: usize,
    /// What it sends.
    pub received: Direction,
    /// What we send.
    pub sent: Direction,
    /// Requests that this edge refused, by reason.
    pub refused: std::collections::BTreeMap<&'static str, u64>,
    /// What it may send per second now.
    pub rate_limit_per_s: u32,
    /// Addresses that a discovered partner has written to in this period.
    pub contacts: usize,
    /// Failures to reach it in a row, and since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failing>,
    /// Where it is reached, if anything was sent there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<NextHop>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// What it has shown, if it has connected to us.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateSummary>,
}

/// How a partner is. The first that holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its domain is on the block list.
    Blocked,
    /// It wrote to too many addresses.
    Watched,
    /// It could not be reached, and has not answered since.
    Failing,
    /// There is a connection.
    Connected,
    /// There is none, and nothing is wrong.
    Idle,
}

impl State {
    /// The stable word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Watched => "watched",
            Self::Failing => "failing",
            Self::Connected => "connected",
            Self::Idle => "idle",
        }
    }
}

/// One direction of one partner.
#[derive(Clone, Debug, Serialize)]
pub struct Direction {
    /// Requests since the start.
    pub requests: u64,
    /// Final answers by class.
    pub answers: Answers,
    /// Requests that nobody answered in time.
    pub unanswered: u64,
    /// Requests that could not be delivered.
    pub unreachable: u64,
    /// Requests in the last whole second.
    pub last_second: u32,
    /// Requests in the last minute.
    pub last_minute: u32,
    /// Half of the answers of the last one to two minutes came within this time, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    /// Of a hundred answers, all but one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
}

/// Final answers by class.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Answers {
    /// Taken.
    #[serde(rename = "2xx")]
    pub taken: u64,
    /// Elsewhere.
    #[serde(rename = "3xx")]
    pub elsewhere: u64,
    /// Refused.
    #[serde(rename = "4xx")]
    pub refused: u64,
    /// The server failed.
    #[serde(rename = "5xx")]
    pub failed: u64,
    /// Refused everywhere.
    #[serde(rename = "6xx")]
    pub refused_everywhere: u64,
}

/// Since when it cannot be reached.
#[derive(Clone, Debug, Serialize)]
pub struct Failing {
    /// Failures in a row.
    pub in_a_row: u32,
    /// The first of them.
    pub since: String,
}

/// A partner's servers, as this edge finds them.
#[derive(Clone, Debug, Serialize)]
pub struct NextHop {
    /// Whether an attempt to connect is under way.
    pub connecting: bool,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// If no address worked, for how many milliseconds none is tried, and requests fail at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closed_for_ms: Option<u64>,
    /// Each of its addresses.
    pub addresses: Vec<Address>,
}

/// One address of a partner.
#[derive(Clone, Debug, Serialize)]
pub struct Address {
    /// Which one.
    pub address: String,
    /// Connections to it.
    pub connections: usize,
    /// Failures in a row.
    pub failures: u32,
    /// The last of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The latest thing that went wrong.
#[derive(Clone, Debug, Serialize)]
pub struct LastError {
    /// When.
    pub at: String,
    /// The stable word.
    pub reason: &'static str,
    /// What an administrator reads.
    pub sentence: String,
    /// What may be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub advice: String,
}

impl NotFound {
    fn of((domain, at, refusal): (SipDomain, Timestamp, Refusal)) -> Self {
        let last_error = LastError {
            at: at.to_string(),
            reason: refusal.as_str(),
            sentence: refusal.to_string(),
            advice: refusal.advice(),
        };
        Self { domain: domain.to_string(), last_error }
    }
}

/// What is shown of a certificate.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateSummary {
    /// Whose it is.
    pub subject: String,
    /// Who says so.
    pub issuer: String,
    /// Whom it speaks for.
    pub names: Vec<String>,
    /// Last second of validity, Unix time.
    pub not_after: i64,
    /// SHA-256 of the whole.
    pub sha256_fingerprint: String,
}

impl Edge {
    /// The border as it is now.
    pub fn border(&self) -> Border {
        let settings = std::sync::Arc::clone(&self.settings.borrow());
        let mut partners: Vec<_> =
            self.partners.all().iter().map(|partner| self.partner_status(partner, &settings)).collect();
        partners.sort_by(|a, b| (&a.domain, &a.remote).cmp(&(&b.domain, &b.remote)));
        let load = self.partners.load();
        Border {
            draining: self.is_draining(),
            in_flight: load.requests(),
            bytes_in_flight: load.bytes(),
            contexts: self.calls.contexts(),
            ways: self.outbound().map_or(0, |outbound| outbound.ways()),
            warnings: settings.warnings(),
            partners,
            not_found: self.unfound.all().into_iter().map(NotFound::of).collect(),
        }
    }

    fn partner_status(&self, partner: &Partner, settings: &Snapshot) -> PartnerStatus {
        let now = Instant::now();
        let connections_in = partner.connections_in();
        let target = partner.books.lock().target.clone();
        let hop = target.and_then(|target| self.outbound()?.hop(&target));
        let connections_out = hop.as_ref().map_or(0, |hop| hop.connections + hop.retiring);
        let share = partner.share();
        let mut books = partner.books.lock();
        let state = if settings.is_blocked(&partner.domain) {
            State::Blocked
        } else if share.is_watched() {
            State::Watched
        } else if books.failing.is_some() {
            State::Failing
        } else if connections_in + connections_out > 0 {
            State::Connected
        } else {
            State::Idle
        };
        PartnerStatus {
            domain: partner.domain.to_string(),
            remote: partner.remote.to_string(),
            source: books.source.as_str(),
            listed: books.is_listed,
            state,
            connections_in,
            connections_out,
            in_flight: share.load().requests(),
            bytes_in_flight: share.load().bytes(),
            received: Direction::of(&mut books.received, now),
            sent: Direction::of(&mut books.sent, now),
            refused: books.refused.iter().map(|(reason, count)| (*reason, *count)).collect(),
            rate_limit_per_s: books.rate(&settings.access_edge(), self.config.limits, now),
            contacts: share.contacts(),
            failing: books.failing.map(|(in_a_row, since)| Failing { in_a_row, since: since.to_string() }),
            next_hop: hop.map(NextHop::from),
            last_error: books.last_error.as_ref().map(|error| LastError {
                at: error.at.to_string(),
                reason: error.reason,
                sentence: error.sentence.clone(),
                advice: error.advice.clone(),
            }),
            certificate: books.certificate.as_ref().map(|certificate| CertificateSummary {
                subject: certificate.subject.clone(),
                issuer: certificate.issuer.clone(),
                names: certificate.identities().map(str::to_owned).collect(),
                not_after: certificate.not_after,
                sha256_fingerprint: certificate.sha256_fingerprint.clone(),
            }),
        }
    }
}

impl From<HopState> for NextHop {
    fn from(hop: HopState) -> Self {
        let address = |address: AddressState| Address {
            address: address.address.to_string(),
            connections: address.connections,
            failures: address.failures.as_ref().map_or(0, |failures| failures.in_a_row),
            why: address.failures.map(|failures| failures.why.to_string()),
        };
        Self {
            connecting: hop.connecting,
            waiting: hop.waiting,
            closed_for_ms: hop.failures.map(|failures| failures.retry_in.as_millis() as u64),
            addresses: hop.addresses.into_iter().map(address).collect(),
        }
    }
}

impl Direction {
    fn of(traffic: &mut Traffic, now: Instant) -> Self {
        let (last_second, last_minute) = traffic.meter.rates(now);
        let mut within = |share| traffic.latency.quantile(share, now).map(|time| time.as_secs_f64() * 1000.0);
        let (p50_ms, p99_ms) = (within(0.5), within(0.99));
        let [taken, elsewhere, refused, failed, refused_everywhere] = traffic.answers;
        Self {
            requests: traffic.requests,
            answers: Answers { taken, elsewhere, refused, failed, refused_everywhere },
            unanswered: traffic.unanswered,
            unreachable: traffic.unreachable,
            last_second,
            last_minute,
            p50_ms,
            p99_ms,
        }
    }
}
