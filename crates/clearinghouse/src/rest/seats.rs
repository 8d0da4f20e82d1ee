//! How many push requests are under way at once: of each account, and of all.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Requests of one account at once.
pub(super) const PER_ACCOUNT: usize = 64;
/// Requests of all accounts at once.
const ALL: usize = 1024;

/// The seats that are taken; there are never more accounts in it than seats.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<String, usize>,
}

/// One request's seat; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    account: String,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Full {
    /// This account has as many as it may.
    Account,
    /// There are none left for anybody.
    Server,
}

impl Seats {
    /// A seat for a request of that account.
    pub(super) fn take(&self, account: &str) -> Result<Seat, Full> {
        let mut taken = self.0.lock();
        if taken.all >= ALL {
            return Err(Full::Server);
        }
        let account = account.to_ascii_lowercase();
        let own = taken.of.entry(account.clone()).or_default();
        if *own >= PER_ACCOUNT {
            return Err(Full::Account);
        }
        *own += 1;
        taken.all += 1;
        drop(taken);
        Ok(Seat { seats: self.clone(), account })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock();
        taken.all -= 1;
        if let Some(own) = taken.of.get_mut(&self.account) {
            *own -= 1;
            if *own == 0 {
                taken.of.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_so_many_seats_and_all_have_so_many_together() {
        let seats = Seats::default();
        let mut held: Vec<Seat> = (0..PER_ACCOUNT).map(|_| seats.take("a").unwrap()).collect();
        assert_eq!(seats.take("A").unwrap_err(), Full::Account, "a name has no case");
        for account in 1..ALL / PER_ACCOUNT {
            held.extend((0..PER_ACCOUNT).map(|_| seats.take(&account.to_string()).unwrap()));
        }
        assert_eq!(seats.take("z").unwrap_err(), Full::Server);
        held.pop();
        assert!(seats.take("z").is_ok());
        drop(held);
        let taken = seats.0.lock();
        assert!(taken.all == 0 && taken.of.is_empty());
    }
}
