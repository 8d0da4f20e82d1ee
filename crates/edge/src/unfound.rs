//! Domains that no way could be found to: they are nobody's partner yet, and the console asks for them first.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use reveille_core::{Clock, SipDomain, Timestamp};
use reveille_federation::Refusal;

/// How many are remembered.
const UNFOUND_MAX: usize = 1000;

/// What looked-up domains lacked the last time.
pub(crate) struct Unfound {
    clock: Arc<dyn Clock>,
    by_domain: Mutex<HashMap<SipDomain, (Timestamp, Refusal)>>,
}

impl Unfound {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, by_domain: Mutex::default() }
    }

    /// No way was found. When full, the one that has failed for the last time longest ago goes.
    pub(crate) fn failed(&self, domain: &SipDomain, refusal: &Refusal) {
        let at = self.clock.now();
        let mut by_domain = self.by_domain.lock();
        if by_domain.len() >= UNFOUND_MAX && !by_domain.contains_key(domain) {
            let oldest = by_domain.iter().min_by_key(|(_, (at, _))| *at).map(|(domain, _)| domain.clone());
            oldest.and_then(|oldest| by_domain.remove(&oldest));
        }
        by_domain.insert(domain.clone(), (at, refusal.clone()));
    }

    /// A way was found. Answers whether there was none before.
    pub(crate) fn found(&self, domain: &SipDomain) -> bool {
        self.by_domain.lock().remove(domain).is_some()
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> Vec<(SipDomain, Timestamp, Refusal)> {
        let by_domain = self.by_domain.lock();
        let mut all: Vec<_> =
            by_domain.iter().map(|(domain, (at, refusal))| (domain.clone(), *at, refusal.clone())).collect();
        all.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct Ticks(AtomicU64);

    impl Clock for Ticks {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    #[test]
    fn a_bounded_number_is_remembered_until_a_way_is_found() {
        let unfound = Unfound::new(Arc::new(Ticks::default()));
        let domain = |number: u64| format!("d{number:04}.example").parse::<SipDomain>().expect("a domain");
        for number in 0..=UNFOUND_MAX as u64 {
            unfound.failed(&domain(number), &Refusal::Overloaded);
        }
        let all = unfound.all();
        assert_eq!((all.len(), &all[0].0), (UNFOUND_MAX, &domain(1)), "the oldest has gone");
        unfound.failed(&domain(1), &Refusal::FederationOff);
        unfound.found(&domain(2));
        let all = unfound.all();
        let last = Timestamp::from_millis(UNFOUND_MAX as u64 + 1);
        assert_eq!(all[0], (domain(1), last, Refusal::FederationOff));
        assert_eq!((all.len(), &all[1].0), (UNFOUND_MAX - 1, &domain(3)));
    }
}
