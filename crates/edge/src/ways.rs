//! What is known of the ways to other domains, and the requests that wait while one is looked up. No sockets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::SipDomain;

/// Requests that wait for one domain's look-up.
pub(crate) const WAITING_MAX: usize = 1000;
/// Bytes of all that wait for look-ups of one side.
pub(crate) const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Of them those that one asker has sent.
pub(crate) const WAITING_BYTES_PER_ASKER: usize = 2 * 1024 * 1024;
/// A record that may not be kept at all is kept so long: a burst is one look-up.
const LIFE_MIN: Duration = Duration::from_secs(1);
/// However long records may be kept, the way is looked up again after this time.
const LIFE_MAX: Duration = Duration::from_secs(3600);

/// Ways of the kind `W`, and waiting requests of the kind `R`.
pub(crate) struct Ways<W, R> {
    table: Mutex<Table<W, R>>,
}

/// A request that may have to wait for a look-up.
pub(crate) trait Waits {
    /// Its size.
    fn bytes(&self) -> usize;
    /// Whose part of the look-ups it takes: a partner's name, or nothing if all of them are for who asks here.
    fn asker(&self) -> &str {
        ""
    }
    /// The same, holding on to nothing but itself.
    #[must_use]
    fn kept(self) -> Self;
}

/// What one asker has under way.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Part {
    /// Look-ups that it has begun.
    pub(crate) look_ups: usize,
    /// Bytes of what it lets wait.
    pub(crate) bytes: usize,
}

/// How much may be known and asked at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Domains that are known.
    pub(crate) known: usize,
    /// Look-ups under way.
    pub(crate) look_ups: usize,
    /// Of them those that one asker has begun.
    pub(crate) of_one: usize,
}

struct Table<W, R> {
    known: HashMap<SipDomain, Known<W, R>>,
    /// What each asker has of it. Nobody is in here who has nothing.
    parts: HashMap<Box<str>, Part>,
    /// Look-ups under way, and the bytes of what waits for them.
    asking: usize,
    bytes: usize,
}

enum Known<W, R> {
    /// It is being looked up, for whoever asked first; these wait.
    Asking(Box<str>, Vec<R>),
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

impl<W, R: Waits> Ways<W, R> {
    pub(crate) fn new() -> Self {
        Self { table: Mutex::new(Table { known: HashMap::new(), parts: HashMap::new(), asking: 0, bytes: 0 }) }
    }

    /// The way to a domain, if it is known and holds.
    pub(crate) fn way(&self, domain: &str, version: u64, now: Instant) -> Option<Arc<W>> {
        match self.table.lock().known.get(domain)? {
            Known::Way { way, version: made, until } if *made == version && now < *until => Some(Arc::clone(way)),
            Known::Way { .. } | Known::Asking(..) => None,
        }
    }

    /// Finds the way for a request, or lets it wait. A way that other settings have made goes on while its records live, if
    /// `renew` says what it is by those that hold now.
    pub(crate) fn ask(
        &self,
        domain: &SipDomain,
        request: R,
        version: u64,
        now: Instant,
        bounds: Bounds,
        renew: impl FnOnce(&W) -> Option<Arc<W>>,
    ) -> Next<W, R> {
        let mut table = self.table.lock();
        let Table { known, parts, asking, bytes } = &mut *table;
        let part = parts.get(request.asker()).copied().unwrap_or_default();
        let size = request.bytes();
        let is_own = request.asker().is_empty();
        let has_room = *bytes + size <= WAITING_BYTES_MAX && (is_own || part.bytes + size <= WAITING_BYTES_PER_ASKER);
        let count = known.len();
        match known.get_mut(domain) {
            Some(Known::Way { way, version: made, until }) if now < *until => {
                if *made != version
                    && let Some(renewed) = renew(way)
                {
                    (*way, *made) = (renewed, version);
                }
                if *made == version {
                    return Next::Go(Arc::clone(way), request);
                }
            }
            Some(Known::Asking(_, waiting)) if waiting.len() < WAITING_MAX && has_room => {
                *bytes += size;
                parts.entry(request.asker().into()).or_default().bytes += size;
                waiting.push(request.kept());
                return Next::Waits;
            }
            Some(Known::Asking(..)) => return Next::Full(request),
            Some(Known::Way { .. }) => {}
            None if count >= bounds.known => {
                known.retain(|_, known| known.is_worth_keeping(now));
                // All of them are in use: whoever is nearest to his end goes, since a look-up costs little.
                if known.len() == count && !forget_nearest_to_its_end(known) {
                    return Next::Full(request);
                }
            }
            None => {}
        }
        let may_ask = *asking < bounds.look_ups && (is_own || part.look_ups < bounds.of_one);
        if !may_ask || !has_room {
            return Next::Full(request);
        }
        *bytes += size;
        *asking += 1;
        let asker: Box<str> = request.asker().into();
        let part = Part { look_ups: part.look_ups + 1, bytes: part.bytes + size };
        parts.insert(asker.clone(), part);
        known.insert(domain.clone(), Known::Asking(asker, vec![request.kept()]));
        Next::LookUp
    }

    /// A look-up has found a way that may be kept for so many seconds. Answers who waited for it, in order.
    pub(crate) fn found(&self, domain: &SipDomain, way: Arc<W>, version: u64, ttl: u32, now: Instant) -> Vec<R> {
        let until = now + Duration::from_secs(u64::from(ttl)).clamp(LIFE_MIN, LIFE_MAX);
        let mut table = self.table.lock();
        let before = table.known.insert(domain.clone(), Known::Way { way, version, until });
        table.ended(before)
    }

    /// A look-up has found nothing, or nothing that still holds. Answers who waited for it, in order.
    pub(crate) fn lost(&self, domain: &SipDomain) -> Vec<R> {
        let mut table = self.table.lock();
        let before = table.known.remove(domain);
        table.ended(before)
    }

    /// Forgets ways whose time is over.
    pub(crate) fn sweep(&self, now: Instant) {
        self.table.lock().known.retain(|_, known| known.is_worth_keeping(now));
    }

    pub(crate) fn len(&self) -> usize {
        self.table.lock().known.len()
    }
}

impl<W, R: Waits> Table<W, R> {
    /// A look-up is over; answers who waited for it.
    fn ended(&mut self, before: Option<Known<W, R>>) -> Vec<R> {
        let Some(Known::Asking(asker, waiting)) = before else { return Vec::new() };
        self.asking -= 1;
        self.gives(&asker, 1, 0);
        for request in &waiting {
            self.bytes -= request.bytes();
            self.gives(request.asker(), 0, request.bytes());
        }
        waiting
    }

    fn gives(&mut self, asker: &str, look_ups: usize, bytes: usize) {
        if let Some(part) = self.parts.get_mut(asker) {
            part.look_ups -= look_ups;
            part.bytes -= bytes;
            if *part == Part::default() {
                self.parts.remove(asker);
            }
        }
    }
}

impl<W, R> Known<W, R> {
    fn is_worth_keeping(&self, now: Instant) -> bool {
        match self {
            Self::Asking(..) => true,
            Self::Way { until, .. } => now < *until,
        }
    }
}

fn forget_nearest_to_its_end<W, R>(table: &mut HashMap<SipDomain, Known<W, R>>) -> bool {
    let ends = table.iter().filter_map(|(domain, known)| match known {
        Known::Way { until, .. } => Some((*until, domain.clone())),
        Known::Asking(..) => None,
    });
    let nearest = ends.min_by_key(|(until, _)| *until);
    nearest.is_some_and(|(_, domain)| table.remove(&domain).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Table = Ways<&'static str, u32>;

    /// As long as its number, if that is a long one.
    impl Waits for u32 {
        fn bytes(&self) -> usize {
            if *self < 1024 { 1 } else { *self as usize }
        }

        fn kept(self) -> Self {
            self
        }
    }

    fn domain(number: usize) -> SipDomain {
        format!("d{number}.example").parse().unwrap()
    }

    const BOUNDS: Bounds = Bounds { known: 3, look_ups: 9, of_one: 2 };

    fn ask(ways: &Table, number: usize, request: u32, version: u64, now: Instant) -> String {
        match ways.ask(&domain(number), request, version, now, BOUNDS, |_| None) {
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
    fn what_waits_is_bounded_in_bytes_all_domains_together_and_gives_its_room_back() {
        let (ways, now) = (Table::new(), Instant::now());
        let half = (WAITING_BYTES_MAX / 2) as u32;
        assert_eq!(ask(&ways, 1, half, 1, now), "look up");
        assert_eq!(ask(&ways, 2, half, 1, now), "look up");
        for number in [1, 2, 3] {
            assert_eq!(ask(&ways, number, 9, 1, now), "full 9");
        }
        ways.found(&domain(3), Arc::new("w"), 1, 60, now);
        assert_eq!(ask(&ways, 3, 9, 1, now), "go w 9", "a known way needs no room");
        assert_eq!(ways.lost(&domain(1)), [half]);
        assert_eq!(ask(&ways, 2, 9, 1, now), "waits");
        assert_eq!(ways.found(&domain(2), Arc::new("w"), 1, 60, now), [half, 9]);
        let table = ways.table.lock();
        assert_eq!((table.asking, table.bytes), (0, 0));
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
        let none = Bounds { look_ups: 0, ..BOUNDS };
        assert!(matches!(ways.ask(&domain(1), 1, 1, now, none, |_| None), Next::Full(1)));
        assert_eq!(ways.len(), 0);
    }

    #[test]
    fn a_way_goes_on_after_a_change_of_settings_that_leave_it_and_not_beyond_its_time() {
        let (ways, start) = (Table::new(), Instant::now());
        ways.found(&domain(1), Arc::new("by 1"), 1, 60, start);
        let ask = |version, at, renewed: Option<&'static str>| match ways.ask(
            &domain(1),
            5,
            version,
            start + Duration::from_secs(at),
            BOUNDS,
            |_| renewed.map(Arc::new),
        ) {
            Next::Go(way, _) => *way,
            Next::LookUp => "look up",
            Next::Waits | Next::Full(_) => "no",
        };
        assert_eq!(ask(2, 10, Some("by 2")), "by 2");
        assert_eq!(ask(2, 20, None), "by 2", "nobody asks twice");
        assert_eq!(ask(3, 60, Some("by 3")), "look up", "its time is over");
        ways.found(&domain(1), Arc::new("by 3"), 3, 60, start);
        assert_eq!(ask(4, 10, None), "look up", "the new settings want another");
    }

    /// A request of somebody.
    struct Of(&'static str, usize);

    impl Waits for Of {
        fn bytes(&self) -> usize {
            self.1
        }

        fn asker(&self) -> &str {
            self.0
        }

        fn kept(self) -> Self {
            self
        }
    }

    #[test]
    fn one_asker_has_a_part_of_the_look_ups_and_of_the_bytes() {
        let (ways, now) = (Ways::<&str, Of>::new(), Instant::now());
        let bounds = Bounds { known: 100, ..BOUNDS };
        let asks = |number, who, bytes| match ways.ask(&domain(number), Of(who, bytes), 1, now, bounds, |_| None) {
            Next::LookUp => 'l',
            Next::Waits => 'w',
            Next::Full(_) => 'f',
            Next::Go(..) => 'g',
        };
        assert_eq!([asks(1, "a", 1), asks(2, "a", 1), asks(3, "a", 1)], ['l', 'l', 'f']);
        assert_eq!([asks(1, "a", WAITING_BYTES_PER_ASKER), asks(1, "a", 9), asks(1, "b", 9)], ['f', 'w', 'w']);
        assert_eq!([asks(3, "b", 1), asks(4, "", 1), asks(5, "", 1), asks(6, "", 1)], ['l'; 4]);
        assert_eq!(asks(6, "", WAITING_BYTES_PER_ASKER + 1), 'w', "who asks for all is bounded with all");
        (1..7).for_each(|number| drop(ways.lost(&domain(number))));
        let table = ways.table.lock();
        assert_eq!((table.asking, table.bytes, table.parts.len()), (0, 0, 0));
    }
}
