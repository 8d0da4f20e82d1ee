//! How many push requests are under way at once: of each account, of each organisation, and of all.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use reveille_core::SipDomain;

/// Requests of one account at once.
pub(super) const PER_ACCOUNT: usize = 64;
/// Requests of one organisation at once: many accounts are not many shares.
const PER_ORGANISATION: usize = 128;
/// Requests of all accounts at once.
const ALL: usize = 1024;

/// The seats that are taken; there are never more accounts in it than seats.
#[derive(Clone, Debug, Default)]
pub(super) struct Seats(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    accounts: HashMap<String, usize>,
    organisations: HashMap<SipDomain, usize>,
}

/// One request's seat; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    account: String,
    organisation: SipDomain,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Full {
    /// This account has as many as it may.
    Account,
    /// All accounts of this organisation have as many as they may.
    Organisation,
    /// There are none left for anybody.
    Server,
}

impl Seats {
    /// A seat for a request of that account.
    pub(super) fn take(&self, account: &str, organisation: &SipDomain) -> Result<Seat, Full> {
        let mut taken = self.0.lock();
        let (account, organisation) = (account.to_ascii_lowercase(), organisation.clone());
        if taken.all >= ALL {
            return Err(Full::Server);
        }
        if taken.accounts.get(&account).is_some_and(|own| *own >= PER_ACCOUNT) {
            return Err(Full::Account);
        }
        if taken.organisations.get(&organisation).is_some_and(|own| *own >= PER_ORGANISATION) {
            return Err(Full::Organisation);
        }
        taken.all += 1;
        *taken.accounts.entry(account.clone()).or_default() += 1;
        *taken.organisations.entry(organisation.clone()).or_default() += 1;
        drop(taken);
        Ok(Seat { seats: self.clone(), account, organisation })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock();
        taken.all -= 1;
        give_back(&mut taken.accounts, &self.account);
        give_back(&mut taken.organisations, &self.organisation);
    }
}

fn give_back<K: Eq + Hash>(taken: &mut HashMap<K, usize>, key: &K) {
    if let Some(own) = taken.get_mut(key) {
        *own -= 1;
        if *own == 0 {
            taken.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_an_organisation_and_all_have_so_many_seats() {
        let seats = Seats::default();
        let organisation = |number: usize| format!("o{number}.example").parse::<SipDomain>().unwrap();
        let mut held: Vec<Seat> = (0..PER_ACCOUNT).map(|_| seats.take("a", &organisation(0)).unwrap()).collect();
        assert_eq!(seats.take("A", &organisation(0)).unwrap_err(), Full::Account, "a name has no case");
        held.extend((0..PER_ORGANISATION - PER_ACCOUNT).map(|_| seats.take("b", &organisation(0)).unwrap()));
        assert_eq!(seats.take("c", &organisation(0)).unwrap_err(), Full::Organisation);
        for number in 1..=(ALL - PER_ORGANISATION) / PER_ACCOUNT {
            held.extend((0..PER_ACCOUNT).map(|_| seats.take(&number.to_string(), &organisation(number)).unwrap()));
        }
        assert_eq!(seats.take("z", &organisation(99)).unwrap_err(), Full::Server);
        held.pop();
        assert!(seats.take("z", &organisation(99)).is_ok());
        drop(held);
        let taken = seats.0.lock();
        assert!(taken.all == 0 && taken.accounts.is_empty() && taken.organisations.is_empty());
    }
}
