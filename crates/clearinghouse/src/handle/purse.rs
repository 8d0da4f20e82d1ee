//! How many handles of one organisation are opened: each costs a scalar multiplication, some fifty times what a plain
//! token costs, and that time is everybody's.

use std::collections::HashMap;
use std::time::Duration;

use reveille_core::{SipDomain, Timestamp};

/// Openings that an organisation may ask for at once.
const AT_ONCE: f64 = 2000.0;
/// Openings that it gets back each second.
const PER_SECOND: f64 = 500.0;
/// Organisations remembered.
const ORIGINS_MAX: usize = 10_000;

/// What each organisation has left.
#[derive(Default)]
pub(super) struct Purses(HashMap<SipDomain, Purse>);

struct Purse {
    left: f64,
    at: Timestamp,
}

impl Purse {
    fn fill(&mut self, now: Timestamp) {
        self.left = (self.left + now.since(self.at).as_secs_f64() * PER_SECOND).min(AT_ONCE);
        self.at = now;
    }
}

impl Purses {
    /// Takes one opening; when it has none left, how long to wait.
    pub(super) fn take(&mut self, origin: &SipDomain, now: Timestamp) -> Result<(), Duration> {
        if !self.0.contains_key(origin) {
            self.make_room(now);
            self.0.insert(origin.clone(), Purse { left: AT_ONCE, at: now });
        }
        let purse = self.0.get_mut(origin).expect("it was put there above");
        purse.fill(now);
        if purse.left < 1.0 {
            return Err(Duration::from_secs(1));
        }
        purse.left -= 1.0;
        Ok(())
    }

    /// Forgets those that have nothing to pay back; if all have, everybody begins anew.
    fn make_room(&mut self, now: Timestamp) {
        if self.0.len() < ORIGINS_MAX {
            return;
        }
        self.0.retain(|_, purse| {
            purse.fill(now);
            purse.left < AT_ONCE
        });
        if self.0.len() >= ORIGINS_MAX {
            self.0.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organisation_that_has_spent_its_openings_waits_and_no_other_does() {
        let (a, b): (SipDomain, SipDomain) = ("a.example".parse().unwrap(), "b.example".parse().unwrap());
        let mut purses = Purses::default();
        let begun = Timestamp::from_millis(1_000_000);
        let taken = (0..3000).take_while(|_| purses.take(&a, begun).is_ok()).count();
        assert_eq!(taken, AT_ONCE as usize);
        assert_eq!(purses.take(&a, begun), Err(Duration::from_secs(1)));
        assert_eq!(purses.take(&b, begun), Ok(()));
        let later = begun.plus(Duration::from_secs(1));
        let taken = (0..3000).take_while(|_| purses.take(&a, later).is_ok()).count();
        assert_eq!(taken, PER_SECOND as usize);
    }

    #[test]
    fn organisations_without_number_do_not_fill_the_memory() {
        let mut purses = Purses::default();
        for number in 0..ORIGINS_MAX + 50 {
            let origin: SipDomain = format!("o{number}.example").parse().unwrap();
            assert_eq!(purses.take(&origin, Timestamp::from_millis(5)), Ok(()));
        }
        assert!(purses.0.len() <= ORIGINS_MAX, "{}", purses.0.len());
    }
}
