//! The load by rate: requests leave at their times, whatever becomes of those before. Who asks faster than is answered
//! is to be told so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use reveille_core::Clock as _;
use reveille_server::SystemClock;
use reveille_sip::{Message, Name};
use reveille_sip_net::{CloseReason, ConnectError, Flow, Handler, Senders};
use tokio_util::sync::CancellationToken;

use super::house::House;
use super::push::{is_journaled, message, request};
use crate::bench::source::{connected, number};
use crate::out;

/// Whoever waits longer for an answer repeats the request (RFC 3261 §17.1.2.2, timer F, is 32 s).
const STALLED: Duration = Duration::from_secs(10);
/// What leaves at once leaves together: a thousandth of a second's requests.
const BEAT: Duration = Duration::from_millis(1);

/// What became of one request, in the two lowest bits of its time.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Fate {
    Unanswered = 0,
    Accepted = 1,
    Refused = 2,
    Wrong = 3,
}

/// Requests, when each was sent, and when and how it was answered.
pub(super) struct Paced {
    begun: Instant,
    /// Microseconds since `begun` at which it was sent, until the answer; then how long that took; and its fate.
    times: Vec<AtomicU64>,
    fates: [AtomicU64; 4],
}

/// What was found.
pub(super) struct Told {
    pub(super) offered: u64,
    pub(super) offered_per_s: f64,
    pub(super) accepted: u64,
    /// While requests were offered, without the first second.
    pub(super) accepted_per_s: f64,
    /// From request to 202.
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// With the time to come back.
    pub(super) refused: u64,
    pub(super) refused_p99_ms: f64,
    /// In any other way, or the connection took no more.
    pub(super) wrong: u64,
    pub(super) unanswered: u64,
}

impl Paced {
    /// Offers the pushes from number `first` on, so many a second and for so long, over so many connections; then waits
    /// until each has an answer, or none comes any more.
    pub(super) async fn offer(
        house: &House,
        first: usize,
        (rate, lasts): (f64, Duration),
        connections: usize,
    ) -> Result<Told> {
        let count = (rate * lasts.as_secs_f64()) as usize;
        let paced = Arc::new(Self {
            begun: Instant::now(),
            times: (0..count).map(|_| AtomicU64::new(0)).collect(),
            fates: [const { AtomicU64::new(0) }; 4],
        });
        let stop = CancellationToken::new();
        let (pool, target) = house.pool(Arc::clone(&paced) as _, Arc::clone(&paced) as _, (connections, 0), &stop);
        let flows = connected(&pool, &target, "push.example.net", connections).await?;
        let begun = Instant::now();
        let (mut sent, mut warm) = (0, None);
        while sent < count {
            let due = (begun.elapsed().as_secs_f64() * rate) as usize;
            for index in sent..due.min(count) {
                paced.send(&flows[index % flows.len()], index, first + index);
            }
            sent = due.min(count).max(sent);
            if warm.is_none() && begun.elapsed() >= Duration::from_secs(1) {
                warm = Some((Instant::now(), paced.of(Fate::Accepted)));
            }
            tokio::time::sleep(BEAT).await;
        }
        let (since, before) = warm.unwrap_or((begun, 0));
        let accepted_per_s = (paced.of(Fate::Accepted) - before) as f64 / since.elapsed().as_secs_f64();
        let offered_per_s = count as f64 / begun.elapsed().as_secs_f64();
        paced.all_answered().await;
        stop.cancel();
        pool.finish().await;
        let ([p50_ms, p99_ms], [refused_p99_ms]) =
            (paced.percentiles(Fate::Accepted, [0.5, 0.99]), paced.percentiles(Fate::Refused, [0.99]));
        let [accepted, refused, wrong] = [Fate::Accepted, Fate::Refused, Fate::Wrong].map(|fate| paced.of(fate));
        let (offered, unanswered) = (count as u64, count as u64 - accepted - refused - wrong);
        Ok(Told {
            offered,
            offered_per_s,
            accepted,
            accepted_per_s,
            p50_ms,
            p99_ms,
            refused,
            refused_p99_ms,
            wrong,
            unanswered,
        })
    }

    fn send(&self, flow: &Flow, index: usize, push: usize) {
        let bytes = message("contoso.com", index, &request(push, SystemClock.now()));
        self.times[index].store(self.micros() << 2, Ordering::Relaxed);
        if flow.send(bytes).is_err() {
            self.answered(index, Fate::Wrong);
        }
    }

    fn micros(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    fn answered(&self, index: usize, fate: Fate) {
        let Some(time) = self.times.get(index) else { return };
        let sent = time.load(Ordering::Relaxed);
        // A second answer changes nothing.
        if sent & 3 == Fate::Unanswered as u64 {
            time.store((self.micros() - (sent >> 2)) << 2 | fate as u64, Ordering::Relaxed);
            self.fates[fate as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    fn of(&self, fate: Fate) -> u64 {
        self.fates[fate as usize].load(Ordering::Relaxed)
    }

    async fn all_answered(&self) {
        let answers = || self.fates.iter().map(|fate| fate.load(Ordering::Relaxed)).sum::<u64>();
        let (mut last, mut moved) = (answers(), Instant::now());
        while last < self.times.len() as u64 && moved.elapsed() < STALLED {
            tokio::time::sleep(BEAT).await;
            let now = answers();
            if now != last {
                (last, moved) = (now, Instant::now());
            }
        }
    }

    /// The time within which a share of the answers of that kind came, in milliseconds.
    fn percentiles<const N: usize>(&self, fate: Fate, shares: [f64; N]) -> [f64; N] {
        let times = self.times.iter().map(|time| time.load(Ordering::Relaxed));
        let mut micros: Vec<u64> = times.filter(|time| time & 3 == fate as u64).map(|time| time >> 2).collect();
        micros.sort_unstable();
        shares.map(|share| {
            let index = ((micros.len() as f64 * share) as usize).min(micros.len().saturating_sub(1));
            micros.get(index).map_or(0.0, |micros| *micros as f64 / 1000.0)
        })
    }
}

impl Handler for Paced {
    fn messages(&self, _flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for response in batch.drain(..) {
            let Some(index) = number(&response) else { continue };
            let fate = match response.status() {
                _ if is_journaled(&response) => Fate::Accepted,
                Some(480 | 503) if response.header(Name::RetryAfter).is_some() => Fate::Refused,
                _ => Fate::Wrong,
            };
            self.answered(index, fate);
        }
    }

    fn closed(&self, _flow: &Arc<Flow>, why: &CloseReason) {
        if !matches!(why, CloseReason::Stopping) {
            out::note(&format!("a connection of the load has ended: {why}"));
        }
    }
}

impl Senders for Paced {
    fn failed(&self, _token: u64, error: &ConnectError) {
        out::note(&format!("a connection of the load cannot be made: {error}"));
    }
}
