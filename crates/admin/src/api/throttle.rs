//! Guessing takes longer with each wrong guess: per account, and per address.
//!
//! An account that somebody guesses at is slow to sign in to, for its owner too; its sessions, tokens and certificate go
//! on, and so does this machine's socket.
//!
//! Guesses at passwords are counted in the store as well, by all processes that have it together: who may try at one
//! would else try at each, and again after each restart. Guesses at tokens are counted here only: nobody guesses 256 bits,
//! and what a stranger sends a thousand times a second shall write nothing to disk.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::Clock;
use reveille_store::{Guesses, StoreError, wait};

use crate::accounts::is_name;

/// The wrong guesses of late.
pub(crate) struct Throttle {
    counts: Mutex<HashMap<Key, Count>>,
    shared: Arc<dyn Guesses>,
    clock: Arc<dyn Clock>,
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
    pub(crate) fn new(shared: Arc<dyn Guesses>, clock: Arc<dyn Clock>) -> Self {
        Self { counts: Mutex::default(), shared, clock }
    }

    /// How long must be waited before another password is tried, at whatever process of those that share the store.
    pub(crate) fn wait_to_sign_in(&self, account: &str, address: IpAddr) -> Option<Duration> {
        let shared = keys(Some(account), address).filter_map(|key| {
            // What this process has counted itself is known without the file.
            let known = self.shared.guessed(&key.to_string()).unwrap_or_else(|error| {
                unshared(&error);
                None
            })?;
            let now = self.clock.now();
            // Counted while the clock was wrong: whoever waited for that moment to be over would perhaps wait for years.
            if known.last > now.plus(PAUSE_MAX) {
                return None;
            }
            key.pause(known.wrong)?.checked_sub(now.since(known.last)).filter(|left| !left.is_zero())
        });
        shared.max().max(self.wait_of(Some(account), address))
    }

    /// A wrong password.
    pub(crate) async fn failed_to_sign_in(&self, account: &str, address: IpAddr) {
        self.failed(Some(account), address);
        let keys = keys(Some(account), address).map(|key| key.to_string()).collect();
        if let Err(error) = wait(|done| self.shared.guess(keys, self.clock.now(), FORGET, done)).await {
            unshared(&error);
        }
    }

    /// A right one: the account's count begins anew. The address's does not, since who has one account of his own could
    /// then guess at others for as long as he likes.
    pub(crate) async fn signed_in(&self, account: &str) {
        let key = Key::Account(account.to_ascii_lowercase());
        self.counts.lock().remove(&key);
        let name = key.to_string();
        let forgotten = match self.shared.guessed(&name) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => wait(|done| self.shared.forget_guesses(&name, done)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = forgotten {
            unshared(&error);
        }
    }

    /// How long must be waited before another try; nothing if it may be made now.
    pub(super) fn wait_of(&self, account: Option<&str>, address: IpAddr) -> Option<Duration> {
        self.wait_at(account, address, Instant::now())
    }

    /// A wrong guess.
    pub(super) fn failed(&self, account: Option<&str>, address: IpAddr) {
        self.failed_at(account, address, Instant::now());
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

/// As it stands in the store.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) => write!(f, "account {name}"),
            Self::Address(address) => write!(f, "address {address}"),
        }
    }
}

fn unshared(error: &StoreError) {
    tracing::warn!(%error, "wrong guesses are counted by this process alone");
}

/// What no account can be called is no key: it may be as long as a body, and is counted for its address.
fn keys(account: Option<&str>, address: IpAddr) -> impl Iterator<Item = Key> {
    let account = account.filter(|name| is_name(name)).map(|name| Key::Account(name.to_ascii_lowercase()));
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
    use crate::testing;

    fn throttle() -> Throttle {
        of(&testing::desk())
    }

    fn of(desk: &testing::TestDesk) -> Throttle {
        Throttle::new(Arc::clone(&desk.guesses), Arc::clone(&desk.clock))
    }

    #[tokio::test]
    async fn two_processes_that_share_the_accounts_count_as_one_and_so_does_one_that_was_started_again() {
        let desk = testing::desk();
        let (home, edge) = (of(&desk), of(&desk));
        for guess in 0..FREE_PER_ACCOUNT {
            let side = if guess % 2 == 0 { &home } else { &edge };
            assert_eq!(side.wait_to_sign_in("Bob", address("192.0.2.9")), None, "{guess}");
            side.failed_to_sign_in("bob", address("192.0.2.1")).await;
        }
        for side in [&home, &edge, &of(&desk)] {
            assert_eq!(side.wait_to_sign_in("BOB", address("198.51.100.1")), Some(Duration::from_secs(1)));
        }
        desk.turn_to(desk.clock.now().plus(Duration::from_secs(1)));
        let fresh = of(&desk);
        assert_eq!(fresh.wait_to_sign_in("bob", address("198.51.100.1")), None);
        edge.signed_in("bob").await;
        assert_eq!(of(&desk).wait_to_sign_in("bob", address("198.51.100.1")), None);
        edge.failed_to_sign_in("bob", address("198.51.100.1")).await;
        assert_eq!(fresh.wait_to_sign_in("bob", address("198.51.100.1")), None, "it began anew");
        // The address is still known for its guesses, at each of them.
        for guess in 0..FREE_PER_ADDRESS - FREE_PER_ACCOUNT {
            home.failed_to_sign_in(&format!("user{guess}"), address("192.0.2.1")).await;
        }
        assert!(of(&desk).wait_to_sign_in("carol", address("192.0.2.1")).is_some());
    }

    #[tokio::test]
    async fn what_no_account_can_be_called_is_counted_for_its_address_only() {
        let desk = testing::desk();
        let throttle = of(&desk);
        let long = "x".repeat(100_000);
        for _ in 0..FREE_PER_ADDRESS {
            throttle.failed_to_sign_in(&long, address("192.0.2.1")).await;
        }
        assert_eq!(throttle.counts.lock().len(), 1);
        assert!(throttle.wait_to_sign_in(&long, address("192.0.2.1")).is_some());
        assert_eq!(throttle.wait_to_sign_in(&long, address("192.0.2.2")), None);
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn guesses_that_were_counted_while_the_clock_was_ahead_lock_nobody_out_until_then() {
        let desk = testing::desk();
        let year = Duration::from_secs(365 * 86_400);
        let now = desk.clock.now().plus(year);
        desk.turn_to(now.plus(year));
        for _ in 0..FREE_PER_ACCOUNT {
            of(&desk).failed_to_sign_in("bob", address("192.0.2.1")).await;
        }
        desk.turn_to(now);
        assert_eq!(of(&desk).wait_to_sign_in("bob", address("192.0.2.1")), None);
        // The next wrong one counts from now on.
        of(&desk).failed_to_sign_in("bob", address("192.0.2.1")).await;
        assert_eq!(of(&desk).wait_to_sign_in("bob", address("192.0.2.1")), Some(Duration::from_secs(2)));
    }

    #[tokio::test]
    async fn each_wrong_guess_at_an_account_doubles_the_wait_from_wherever_it_comes() {
        let (throttle, now) = (throttle(), Instant::now());
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
        throttle.signed_in("bob").await;
        assert_eq!(wait("198.51.100.1", now), None);
        assert!(wait("203.0.113.1", now).is_some(), "the address is still known for its guesses");
    }

    #[test]
    fn an_address_that_guesses_at_many_accounts_waits_and_so_does_its_network() {
        let (throttle, now) = (throttle(), Instant::now());
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
        let (throttle, now) = (throttle(), Instant::now());
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
