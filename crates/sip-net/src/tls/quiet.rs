//! How much may be written to the log about one address: whoever can connect could otherwise fill the disk.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::household::household;

/// Lines that an address gets at once.
const BURST: u32 = 20;
/// After that, one more in this time.
const ONE_IN: Duration = Duration::from_secs(5);
/// Addresses remembered; the others share one account.
const ADDRESSES_MAX: usize = 1024;

/// The accounts of addresses.
#[derive(Debug)]
pub(super) struct Quiet {
    accounts: Mutex<Accounts>,
}

#[derive(Debug, Default)]
struct Accounts {
    by_address: HashMap<IpAddr, Account>,
    /// When those that are quiet were last made to leave.
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Account {
    left: u32,
    since: Instant,
    unwritten: u64,
}

impl Quiet {
    pub(super) fn new() -> Self {
        Self { accounts: Mutex::default() }
    }

    /// Whether a line about `address` may be written at `now`, and how many were not since the last one that was.
    pub(super) fn may_write(&self, address: IpAddr, now: Instant) -> Option<u64> {
        let mut accounts = self.accounts.lock();
        let mut of = household(address);
        if !accounts.has_room_for(&of, now) {
            of = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        }
        let account = accounts.by_address.entry(of).or_insert(Account { left: BURST, since: now, unwritten: 0 });
        account.refill(now);
        if account.left == 0 {
            account.unwritten += 1;
            return None;
        }
        account.left -= 1;
        Some(std::mem::take(&mut account.unwritten))
    }
}

impl Accounts {
    fn has_room_for(&mut self, address: &IpAddr, now: Instant) -> bool {
        if self.by_address.len() < ADDRESSES_MAX || self.by_address.contains_key(address) {
            return true;
        }
        // Looking at all of them for each stranger would be what a flood wants.
        if self.swept.is_none_or(|swept| now >= swept + ONE_IN) {
            self.swept = Some(now);
            self.by_address.retain(|_, account| !account.is_full(now));
        }
        self.by_address.len() < ADDRESSES_MAX
    }
}

impl Account {
    fn refill(&mut self, now: Instant) {
        let earned = u32::try_from(now.duration_since(self.since).as_millis() / ONE_IN.as_millis()).unwrap_or(BURST);
        if self.left.saturating_add(earned) >= BURST {
            (self.left, self.since) = (BURST, now);
        } else {
            self.left += earned;
            self.since += ONE_IN * earned;
        }
    }

    /// Nothing is lost by forgetting it.
    fn is_full(&self, now: Instant) -> bool {
        let mut then = *self;
        then.refill(now);
        then.left == BURST && then.unwritten == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_a_burst_and_then_a_trickle_that_says_what_is_missing() {
        let (quiet, start) = (Quiet::new(), Instant::now());
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let written = (0..1000).filter(|_| quiet.may_write(one, start).is_some()).count();
        assert_eq!(written, BURST as usize);
        assert_eq!(quiet.may_write(other, start), Some(0), "somebody else is heard");
        assert_eq!(quiet.may_write(one, start + ONE_IN), Some(1000 - u64::from(BURST)));
        assert_eq!(quiet.may_write(one, start + ONE_IN), None);
        assert_eq!(quiet.may_write(one, start + 1000 * ONE_IN), Some(1));
    }

    #[test]
    fn addresses_are_bounded_and_those_that_are_quiet_make_room() {
        let (quiet, start) = (Quiet::new(), Instant::now());
        let address = |number: u32| IpAddr::from(number.to_be_bytes());
        let written = (0..100_000).filter(|number| quiet.may_write(address(*number), start).is_some()).count();
        assert_eq!(written, ADDRESSES_MAX + BURST as usize, "one each, and one account for the rest");
        assert!(quiet.accounts.lock().by_address.len() <= ADDRESSES_MAX + 1);
        let later = start + (BURST + 1) * ONE_IN;
        assert_eq!(quiet.may_write(address(1), later), Some(0));
        assert_eq!(quiet.may_write(address(200_000), later), Some(0));
    }

    #[test]
    fn a_household_of_ipv6_is_one() {
        let (quiet, start) = (Quiet::new(), Instant::now());
        let written = (0..100_u128).filter(|number| {
            quiet.may_write(Ipv6Addr::from_bits((0x2001_0db8 << 96) | number).into(), start).is_some()
        });
        assert_eq!(written.count(), BURST as usize);
    }
}
