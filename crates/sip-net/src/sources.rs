//! What one source of datagrams may have: so many a second, and so many remotes. No sockets.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::household::household;

/// The sources of one UDP socket, by address (IPv6: by /64). Forgets who was silent, and holds a bounded number.
pub(crate) struct Sources {
    rate: u32,
    remotes_max: usize,
    young: HashMap<IpAddr, Bucket>,
    old: HashMap<IpAddr, Bucket>,
    generation_max: usize,
    since: Instant,
    remotes: HashMap<IpAddr, usize>,
}

/// Datagrams that may still come now; fills up with time, to one second's worth.
#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Sources {
    /// `rate` datagrams a second and `remotes_max` ports for each address; `sources_max` addresses are told apart.
    pub(crate) fn new(rate: u32, remotes_max: usize, sources_max: usize, now: Instant) -> Self {
        Self {
            rate: rate.max(1),
            remotes_max,
            young: HashMap::new(),
            old: HashMap::new(),
            generation_max: (sources_max / 2).max(1),
            since: now,
            remotes: HashMap::new(),
        }
    }

    /// Whether a datagram from there is within its rate.
    pub(crate) fn takes(&mut self, source: IpAddr, now: Instant) -> bool {
        if self.young.len() >= self.generation_max || now.duration_since(self.since) >= GENERATION {
            self.since = now;
            self.old = std::mem::take(&mut self.young);
        }
        let (source, full) = (household(source), f64::from(self.rate));
        let known = self.old.remove(&source).unwrap_or(Bucket { left: full, at: now });
        let bucket = self.young.entry(source).or_insert(known);
        let elapsed = now.saturating_duration_since(bucket.at).as_secs_f64();
        *bucket = Bucket { left: (bucket.left + elapsed * full).min(full), at: now };
        let fits = bucket.left >= 1.0;
        if fits {
            bucket.left -= 1.0;
        }
        fits
    }

    /// Counts one more remote of this address, if it may have one.
    pub(crate) fn seat(&mut self, source: IpAddr) -> bool {
        let held = self.remotes.entry(household(source)).or_insert(0);
        let fits = *held < self.remotes_max;
        if fits {
            *held += 1;
        }
        fits
    }

    /// One of its remotes is forgotten.
    pub(crate) fn unseat(&mut self, source: IpAddr) {
        let source = household(source);
        if let Some(held) = self.remotes.get_mut(&source) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.remotes.remove(&source);
            }
        }
    }
}

const GENERATION: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn each_source_has_its_rate_and_a_burst_of_a_second() {
        let now = Instant::now();
        let mut sources = Sources::new(10, 1, 100, now);
        let taken = |sources: &mut Sources, last, now| (0..100).filter(|_| sources.takes(at(last), now)).count();
        assert_eq!(taken(&mut sources, 1, now), 10);
        assert_eq!(taken(&mut sources, 2, now), 10, "another has its own");
        assert_eq!(taken(&mut sources, 1, now + Duration::from_millis(500)), 5);
        assert_eq!(taken(&mut sources, 1, now + Duration::from_secs(50)), 10, "no more than a second's worth");
    }

    #[test]
    fn what_is_remembered_of_sources_is_bounded_and_survives_a_turn() {
        let now = Instant::now();
        let mut sources = Sources::new(1, 1, 8, now);
        assert!(sources.takes(at(0), now) && !sources.takes(at(0), now));
        for last in 1..200 {
            sources.takes(at(last), now);
            assert!(sources.young.len() + sources.old.len() <= 9);
            assert!(!sources.takes(at(0), now), "whoever goes on is not forgotten");
        }
    }

    #[test]
    fn remotes_of_one_address_are_counted_and_given_back() {
        let mut sources = Sources::new(1, 2, 8, Instant::now());
        assert!(sources.seat(at(1)) && sources.seat(at(1)) && !sources.seat(at(1)));
        assert!(sources.seat(at(2)), "another has its own");
        sources.unseat(at(1));
        assert!(sources.seat(at(1)));
        for last in [1, 1, 2] {
            sources.unseat(at(last));
        }
        assert!(sources.remotes.is_empty());
    }
    #[test]
    fn addresses_of_one_64_share_what_one_may_have() {
        let now = Instant::now();
        let mut sources = Sources::new(10, 2, 8, now);
        let v6 = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]);
        assert_eq!((0..100).filter(|last| sources.takes(v6(*last), now)).count(), 10);
        assert!(sources.seat(v6(1)) && sources.seat(v6(2)) && !sources.seat(v6(3)));
        sources.unseat(v6(4));
        assert!(sources.seat(v6(3)));
    }
}
