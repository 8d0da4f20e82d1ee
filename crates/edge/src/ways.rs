//! What is known of the ways to other domains, and the requests that wait while one is looked up. No sockets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::SipDomain;

/// Requests that wait for one domain's look-up.
pub(crate) const WAITING_MAX: usize = 1000;
/// A record that may not be kept at all is kept so long: a burst is one look-up.
const LIFE_MIN: Duration = Duration::from_secs(1);
/// However long records may be kept, the way is looked up again after this time.
const LIFE_MAX: Duration = Duration::from_secs(3600);

/// Ways of the kind `W`, and waiting requests of the kind `R`.
pub(crate) struct Ways<W, R> {
    table: Mutex<HashMap<SipDomain, Known<W, R>>>,
}

enum Known<W, R> {
    /// It is being looked up; these wait.
    Asking(Vec<R>),
    /// This way, made with these settings.
    Way { way: Arc<W>, version: u64, until: Instant },
}

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Next<W, R> {
    /// Go this way.
    Go(Arc<W>, R),
    /// Look the way up, and then tell [`Ways::found`] or [`Ways::lost`]. The request waits here.
    LookUp,
    /// It waits for a look-up under way.
    Waits,
    /// Too many wait, or too many domains are known at once.
    Full(R),
}

impl<W, R> Ways<W, R> {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::default() }
    }

    /// Finds the way for a request, or lets it wait. `may_look_up` says whether one more look-up may begin, `most` how
    /// many domains may be known.
    pub(crate) fn ask(
        &self,
        domain: &SipDomain,
        request: R,
        version: u64,
        now: Instant,
        (most, may_look_up): (usize, bool),
    ) -> Next<W, R> {
        let mut table = self.table.lock();
        let known = table.len();
        match table.get_mut(domain) {
            Some(Known::Way { way, version: made, until }) if *made == version && now < *until => {
                return Next::Go(Arc::clone(way), request);
            }
            Some(Known::Asking(waiting)) if waiting.len() < WAITING_MAX => {
                waiting.push(request);
                return Next::Waits;
            }
            Some(Known::Asking(_)) => return Next::Full(request),
            Some(Known::Way { .. }) => {}
            None if known >= most => {
                table.retain(|_, known| known.is_worth_keeping(now));
                // All of them are in use: whoever is nearest to his end goes, since a look-up costs little.
                if table.len() == known && !forget_nearest_to_its_end(&mut table) {
                    return Next::Full(request);
                }
            }
            None => {}
        }
        if !may_look_up {
            return Next::Full(request);
        }
        table.insert(domain.clone(), Known::Asking(vec![request]));
        Next::LookUp
    }

    /// A look-up has found a way that may be kept for so many seconds. Answers who waited for it, in order.
    pub(crate) fn found(&self, domain: &SipDomain, way: Arc<W>, version: u64, ttl: u32, now: Instant) -> Vec<R> {
        let until = now + Duration::from_secs(u64::from(ttl)).clamp(LIFE_MIN, LIFE_MAX);
        let before = self.table.lock().insert(domain.clone(), Known::Way { way, version, until });
        before.map(Known::waiting).unwrap_or_default()
    }

    /// A look-up has found nothing, or nothing that still holds. Answers who waited for it, in order.
    pub(crate) fn lost(&self, domain: &SipDomain) -> Vec<R> {
        self.table.lock().remove(domain).map(Known::waiting).unwrap_or_default()
    }

    /// Forgets ways whose time is over.
    pub(crate) fn sweep(&self, now: Instant) {
        self.table.lock().retain(|_, known| known.is_worth_keeping(now));
    }

    pub(crate) fn len(&self) -> usize {
        self.table.lock().len()
    }
}

impl<W, R> Known<W, R> {
    fn is_worth_keeping(&self, now: Instant) -> bool {
        match self {
            Self::Asking(_) => true,
            Self::Way { until, .. } => now < *until,
        }
    }

    fn waiting(self) -> Vec<R> {
        match self {
            Self::Asking(waiting) => waiting,
            Self::Way { .. } => Vec::new(),
        }
    }
}

fn forget_nearest_to_its_end<W, R>(table: &mut HashMap<SipDomain, Known<W, R>>) -> bool {
    let ends = table.iter().filter_map(|(domain, known)| match known {
        Known::Way { until, .. } => Some((*until, domain.clone())),
        Known::Asking(_) => None,
    });
    let nearest = ends.min_by_key(|(until, _)| *until);
    nearest.is_some_and(|(_, domain)| table.remove(&domain).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table = Ways<&'static str, u32>;

    fn domain(number: usize) -> SipDomain {
        format!("d{number}.example").parse().unwrap()
    }

    fn ask(ways: &Table, number: usize, request: u32, version: u64, now: Instant) -> String {
        match ways.ask(&domain(number), request, version, now, (3, true)) {
            Next::Go(way, request) => format!("go {way} {request}"),
            Next::LookUp => "look up".into(),
            Next::Waits => "waits".into(),
            Next::Full(request) => format!("full {request}"),
        }
    }

    #[test]
    fn a_burst_is_one_look_up_and_the_way_holds_as_long_as_its_records() {
        let (ways, start) = (Table::new(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(ask(&ways, 1, 1, 7, start), "look up");
        assert_eq!(ask(&ways, 1, 2, 7, start), "waits");
        assert_eq!(ways.found(&domain(1), Arc::new("w"), 7, 10, start), [1, 2]);
        assert_eq!(ask(&ways, 1, 3, 7, at(9)), "go w 3");
        assert_eq!(ask(&ways, 1, 4, 8, at(9)), "look up", "the settings have changed");
        assert_eq!(ways.lost(&domain(1)), [4]);
        ways.found(&domain(1), Arc::new("w"), 7, 10, start);
        assert_eq!(ask(&ways, 1, 5, 7, at(10)), "look up", "the records have run out");
        // A record with no life at all, and one with far too much.
        ways.found(&domain(2), Arc::new("w"), 7, 0, start);
        assert_eq!(ask(&ways, 2, 6, 7, start), "go w 6");
        ways.found(&domain(2), Arc::new("w"), 7, u32::MAX, start);
        assert_eq!(ask(&ways, 2, 7, 7, at(3600)), "look up");
    }

    #[test]
    fn requests_that_wait_for_one_domain_are_bounded() {
        let (ways, now) = (Table::new(), Instant::now());
        for request in 0..WAITING_MAX as u32 {
            ask(&ways, 1, request, 1, now);
        }
        assert_eq!(ask(&ways, 1, 9, 1, now), "full 9");
        assert_eq!(ways.lost(&domain(1)).len(), WAITING_MAX);
    }

    #[test]
    fn domains_are_bounded_and_those_whose_time_is_over_or_near_go_first() {
        let (ways, now) = (Table::new(), Instant::now());
        for (number, ttl) in [(1, 30), (2, 20), (3, 40)] {
            ask(&ways, number, 0, 1, now);
            ways.found(&domain(number), Arc::new("w"), 1, ttl, now);
        }
        assert_eq!(ask(&ways, 4, 0, 1, now), "look up");
        assert_eq!((ask(&ways, 1, 1, 1, now), ways.len()), ("go w 1".into(), 3), "2 has gone");
        let later = now + Duration::from_secs(35);
        assert_eq!(ask(&ways, 5, 0, 1, later), "look up");
        assert_eq!(ask(&ways, 3, 3, 1, later), "go w 3");
        // While all are being looked up, no other begins.
        assert_eq!(ask(&ways, 6, 0, 1, later), "look up");
        assert_eq!(ask(&ways, 7, 9, 1, later), "full 9");
        ways.sweep(now + Duration::from_secs(60));
        assert_eq!(ways.len(), 3, "what is being looked up stays");
    }

    #[test]
    fn no_look_up_begins_beyond_their_number() {
        let (ways, now) = (Table::new(), Instant::now());
        assert!(matches!(ways.ask(&domain(1), 1, 1, now, (3, false)), Next::Full(1)));
        assert_eq!(ways.len(), 0);
    }
}
