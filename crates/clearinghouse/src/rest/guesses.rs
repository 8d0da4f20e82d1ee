//! Whoever shows what is not known, again and again, must wait: counted by address, since a machine account cannot be
//! guessed at, and a wrong name must not shut its owner out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How many wrong ones an address has for nothing.
const FREE: u32 = 20;
/// The longest that it must wait for the next one.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// When an address that has made none since is forgotten.
const FORGET: Duration = Duration::from_secs(600);
/// How many addresses are remembered.
const ADDRESSES_MAX: usize = 10_000;

/// The wrong guesses of late.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<HashMap<IpAddr, Count>>);

#[derive(Clone, Copy, Debug)]
struct Count {
    wrong: u32,
    last: Instant,
}

impl Guesses {
    /// How long that address must wait before the next one.
    pub(super) fn wait(&self, address: IpAddr) -> Option<Duration> {
        self.wait_at(address, Instant::now())
    }

    /// A wrong one.
    pub(super) fn wrong(&self, address: IpAddr) {
        self.wrong_at(address, Instant::now());
    }

    fn wait_at(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let count = self.0.lock().get(&network(address)).copied()?;
        let over = count.wrong.checked_sub(FREE)?;
        let pause = Duration::from_secs(1 << over.min(6)).min(PAUSE_MAX);
        pause.checked_sub(now.saturating_duration_since(count.last)).filter(|left| !left.is_zero())
    }

    fn wrong_at(&self, address: IpAddr, now: Instant) {
        let mut counts = self.0.lock();
        if counts.len() >= ADDRESSES_MAX {
            counts.retain(|_, count| now.saturating_duration_since(count.last) < FORGET);
            // All of them are busy: whoever comes new is not counted, and those who guess stay known.
            if counts.len() >= ADDRESSES_MAX && !counts.contains_key(&network(address)) {
                return;
            }
        }
        let count = counts.entry(network(address)).or_insert(Count { wrong: 0, last: now });
        if now.saturating_duration_since(count.last) >= FORGET {
            count.wrong = 0;
        }
        *count = Count { wrong: count.wrong.saturating_add(1), last: now };
    }
}

/// Whoever has one address of an IPv6 network has all of its /64.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_twenty_wrong_ones_each_next_one_waits_longer_and_others_do_not() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let (one, other) = ("2001:db8::1".parse().unwrap(), "2001:db8:0:1::1".parse().unwrap());
        for _ in 0..FREE - 1 {
            guesses.wrong_at(one, now);
        }
        assert_eq!(guesses.wait_at(one, now), None);
        let mut waits = Vec::new();
        for _ in 0..9 {
            guesses.wrong_at(one, now);
            waits.push(guesses.wait_at("2001:db8::2".parse().unwrap(), now).unwrap().as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60], "its whole network waits");
        assert_eq!(guesses.wait_at(other, now), None);
        assert_eq!(guesses.wait_at(one, now + PAUSE_MAX), None);
        guesses.wrong_at(one, now + FORGET);
        assert_eq!(guesses.wait_at(one, now + FORGET), None, "it begins anew");
    }
}
