//! How many handles of one organisation are opened: each costs a scalar multiplication, some fifty times what a plain
//! token costs, and that time is everybody's.

use std::collections::HashMap;
use std::time::Duration;

use reveille_core::{Channel, SipDomain, Timestamp};

/// Openings that an organisation may ask for at once.
const AT_ONCE: f64 = 4000.0;
/// What messages leave of it for calls.
const FOR_CALLS: f64 = 1000.0;
/// Openings that it gets back each second: a quarter of a core.
const PER_SECOND: f64 = 2000.0;
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
    pub(super) fn take(&mut self, origin: &SipDomain, channel: Channel, now: Timestamp) -> Result<(), Duration> {
        if !self.0.contains_key(origin) {
            self.make_room(now);
            self.0.insert(origin.clone(), Purse { left: AT_ONCE, at: now });
        }
        let purse = self.0.get_mut(origin).expect("it was put there above");
        purse.fill(now);
        let kept_back = match channel {
            Channel::Message => FOR_CALLS,
            Channel::Voip => 0.0,
        };
        if purse.left < kept_back + 1.0 {
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
    fn an_organisation_that_has_spent_its_openings_waits_but_for_calls_and_no_other_does() {
        let (a, b): (SipDomain, SipDomain) = ("a.example".parse().unwrap(), "b.example".parse().unwrap());
        let mut purses = Purses::default();
        let begun = Timestamp::from_millis(1_000_000);
        let mut taken = |channel, at| (0..9000).take_while(|_| purses.take(&a, channel, at).is_ok()).count();
        assert_eq!(taken(Channel::Message, begun), (AT_ONCE - FOR_CALLS) as usize);
        assert_eq!(taken(Channel::Voip, begun), FOR_CALLS as usize);
        let later = begun.plus(Duration::from_secs(1));
        assert_eq!(taken(Channel::Message, later), (PER_SECOND - FOR_CALLS) as usize);
        assert_eq!(purses.take(&a, Channel::Message, later), Err(Duration::from_secs(1)));
        assert_eq!(purses.take(&b, Channel::Message, later), Ok(()));
    }

    #[test]
    fn organisations_without_number_do_not_fill_the_memory() {
        let mut purses = Purses::default();
        for number in 0..ORIGINS_MAX + 50 {
            let origin: SipDomain = format!("o{number}.example").parse().unwrap();
            assert_eq!(purses.take(&origin, Channel::Voip, Timestamp::from_millis(5)), Ok(()));
        }
        assert!(purses.0.len() <= ORIGINS_MAX, "{}", purses.0.len());
    }
}
