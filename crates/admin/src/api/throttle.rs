//! Guessing takes longer with each wrong guess: per account, and per address.
//!
//! An account that somebody guesses at is slow to sign in to, for its owner too; its sessions, tokens and certificate go
//! on, and so does this machine's socket.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The wrong guesses of late.
#[derive(Default)]
pub(super) struct Throttle {
    counts: Mutex<HashMap<Key, Count>>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Key {
    Account(String),
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Count {
    wrong: u32,
    last: Instant,
}

impl Throttle {
    /// How long must be waited before another try; nothing if it may be made now.
    pub(super) fn wait_of(&self, account: Option<&str>, address: IpAddr) -> Option<Duration> {
        self.wait_at(account, address, Instant::now())
    }

    /// A wrong guess.
    pub(super) fn failed(&self, account: Option<&str>, address: IpAddr) {
        self.failed_at(account, address, Instant::now());
    }

    /// A right one: the account's count begins anew. The address's does not, since who has one account of his own could
    /// then guess at others for as long as he likes.
    pub(super) fn succeeded(&self, account: &str) {
        self.counts.lock().remove(&Key::Account(account.to_ascii_lowercase()));
    }

    fn wait_at(&self, account: Option<&str>, address: IpAddr, now: Instant) -> Option<Duration> {
        let counts = self.counts.lock();
        let left = |key: Key| {
            let count = counts.get(&key)?;
            let pause = key.pause(count.wrong)?;
            pause.checked_sub(now.saturating_duration_since(count.last)).filter(|left| !left.is_zero())
        };
        keys(account, address).filter_map(left).max()
    }

    fn failed_at(&self, account: Option<&str>, address: IpAddr, now: Instant) {
        let mut counts = self.counts.lock();
        for key in keys(account, address) {
            make_room(&mut counts, now);
            let count = counts.entry(key).or_insert(Count { wrong: 0, last: now });
            if now.saturating_duration_since(count.last) >= FORGET {
                count.wrong = 0;
            }
            *count = Count { wrong: count.wrong.saturating_add(1), last: now };
        }
    }
}

impl Key {
    /// How long after so many wrong guesses the next one must wait.
    fn pause(&self, wrong: u32) -> Option<Duration> {
        let free = match self {
            Self::Account(_) => FREE_PER_ACCOUNT,
            Self::Address(_) => FREE_PER_ADDRESS,
        };
        let over = wrong.checked_sub(free)?;
        Some(Duration::from_secs(1 << over.min(16)).min(PAUSE_MAX))
    }
}

fn keys(account: Option<&str>, address: IpAddr) -> impl Iterator<Item = Key> {
    let account = account.map(|name| Key::Account(name.to_ascii_lowercase()));
    account.into_iter().chain([Key::Address(network(address))])
}

/// Whoever has one address of an IPv6 network has all of its /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn make_room(counts: &mut HashMap<Key, Count>, now: Instant) {
    if counts.len() < COUNTS_MAX {
        return;
    }
    counts.retain(|_, count| now.saturating_duration_since(count.last) < FORGET);
    while counts.len() >= COUNTS_MAX {
        // The one with the fewest wrong guesses goes: who guesses much is remembered.
        let least = counts.iter().min_by_key(|(_, count)| (count.wrong, count.last)).map(|(key, _)| key.clone());
        let Some(least) = least else { return };
        counts.remove(&least);
    }
}

const FREE_PER_ACCOUNT: u32 = 5;
const FREE_PER_ADDRESS: u32 = 20;
const PAUSE_MAX: Duration = Duration::from_secs(300);
/// After so long without a wrong guess the count begins anew.
const FORGET: Duration = Duration::from_secs(900);
/// Accounts and addresses remembered.
const COUNTS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn each_wrong_guess_at_an_account_doubles_the_wait_from_wherever_it_comes() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let wait = |from: &str, at: Instant| throttle.wait_at(Some("Bob"), address(from), at).map(|it| it.as_secs());
        for guess in 0..FREE_PER_ACCOUNT {
            assert_eq!(wait("192.0.2.9", now), None, "{guess}");
            throttle.failed_at(Some("bob"), address(&format!("192.0.2.{guess}")), now);
        }
        assert_eq!(wait("192.0.2.9", now), Some(1));
        throttle.failed_at(Some("BOB"), address("192.0.2.9"), now);
        assert_eq!(wait("198.51.100.1", now), Some(2));
        assert_eq!(wait("198.51.100.1", now + Duration::from_secs(2)), None);
        for _ in 0..20 {
            throttle.failed_at(Some("bob"), address("203.0.113.1"), now);
        }
        assert_eq!(wait("198.51.100.1", now), Some(300), "and no longer than that");
        throttle.succeeded("bob");
        assert_eq!(wait("198.51.100.1", now), None);
        assert!(wait("203.0.113.1", now).is_some(), "the address is still known for its guesses");
    }

    #[test]
    fn an_address_that_guesses_at_many_accounts_waits_and_so_does_its_network() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for guess in 0..FREE_PER_ADDRESS {
            throttle.failed_at(Some(&format!("user{guess}")), address(&format!("2001:db8::{guess:x}")), now);
        }
        assert!(throttle.wait_at(None, address("2001:db8::ffff:1"), now).is_some());
        assert!(throttle.wait_at(None, address("2001:db8:0:1::1"), now).is_none());
        let later = now + FORGET;
        throttle.failed_at(None, address("2001:db8::1"), later);
        assert!(throttle.wait_at(None, address("2001:db8::1"), later).is_none(), "old guesses are forgotten");
    }

    #[test]
    fn many_names_do_not_push_out_who_has_guessed_much() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for _ in 0..30 {
            throttle.failed_at(Some("bob"), address("192.0.2.1"), now);
        }
        for guess in 0..COUNTS_MAX + 10 {
            throttle.failed_at(Some(&format!("user{guess}")), address("192.0.2.1"), now);
        }
        assert!(throttle.counts.lock().len() <= COUNTS_MAX + 1);
        assert!(throttle.wait_at(Some("bob"), address("198.51.100.1"), now).is_some());
    }
}
