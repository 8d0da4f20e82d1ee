//! Who sits at the outer side, by certificate: how many connections one peer holds, counted from their first moment, and
//! how much of this edge's time it has had for nothing.
//!
//! A peer that has said nothing yet is no partner yet. What is known of it is its certificate, and so its names are what
//! is counted by: whoever opens connections and keeps silent fills its own share and not everybody's. And whoever is
//! refused, on however many connections, is refused at one rate.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_sip_net::Flow;

/// The peers of all connections, by the first name of their certificates.
#[derive(Debug)]
pub(crate) struct Seats {
    /// How many connections one may have.
    most: usize,
    /// How many of its requests in one second may end at this edge, if it has been admitted for a listed domain.
    listed_per_s: u32,
    peers: Mutex<HashMap<Box<str>, Peer>>,
}

/// One peer.
#[derive(Debug)]
struct Peer {
    seats: usize,
    /// Whether it has spoken for a listed domain on a connection of this time.
    is_listed: bool,
    /// The time that what ended here was worth, less the time that has passed since.
    owes: Duration,
    at: Instant,
}

/// What becomes of a peer for something that ended here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Charge {
    /// It waits so long until it is read from again.
    Wait(Duration),
    /// This connection has had its time.
    TooMuch,
}

impl Seats {
    pub(crate) fn new(most: usize, listed_per_s: u32) -> Self {
        Self { most, listed_per_s: listed_per_s.max(STRANGERS_PER_S), peers: Mutex::default() }
    }

    /// One more connection. `false` if its peer has as many as it may; it is counted all the same, until
    /// [`Seats::leave`].
    pub(crate) fn sit(&self, flow: &Flow) -> bool {
        self.with(flow, Instant::now(), |peer| {
            peer.seats += 1;
            peer.seats <= self.most
        })
    }

    /// One less. What its peer owes is not forgotten with its last connection.
    pub(crate) fn leave(&self, flow: &Flow) {
        let mut peers = self.peers.lock();
        if let Entry::Occupied(mut peer) = peers.entry(household(flow)) {
            let seats = peer.get().seats.saturating_sub(1);
            peer.get_mut().seats = seats;
            if peer.get_mut().is_forgettable(Instant::now()) {
                peer.remove();
            }
        }
    }

    /// Its peer speaks for a listed domain.
    pub(crate) fn is_listed(&self, flow: &Flow) {
        self.with(flow, Instant::now(), |peer| peer.is_listed = true);
    }

    /// A request has ended at this edge, with a refusal or an answer of its own: that has cost us as much as to pass it
    /// on, and nobody wanted it. Answers how long its peer is to wait until it is read from again; nothing as long as it
    /// keeps its rate.
    ///
    /// A connection of a stranger is not closed at once: most come again, and a handshake costs us as much as many
    /// refusals. But one that has been here for long enough and still wants too much is: its peer may have gone, with much
    /// left to be read, and would hold its seat until the last of that is refused.
    pub(crate) fn charge(&self, flow: &Flow, now: Instant) -> Charge {
        self.with(flow, now, |peer| {
            let per_second = if peer.is_listed { self.listed_per_s } else { STRANGERS_PER_S };
            let owes = peer.owed(now) + Duration::from_secs(1) / per_second;
            peer.owes = owes.min(FREE + WAIT_MAX);
            peer.at = now;
            let wait = peer.owes.saturating_sub(FREE);
            let is_old = now.saturating_duration_since(flow.opened()) >= WAIT_MAX;
            if is_old && !peer.is_listed && wait >= TOO_LONG { Charge::TooMuch } else { Charge::Wait(wait) }
        })
    }

    /// How many connections one may have.
    pub(crate) const fn most(&self) -> usize {
        self.most
    }

    fn with<T>(&self, flow: &Flow, now: Instant, what: impl FnOnce(&mut Peer) -> T) -> T {
        let name = household(flow);
        let mut peers = self.peers.lock();
        if peers.len() >= PEERS_MAX && !peers.contains_key(&name) {
            peers.retain(|_, peer| peer.seats > 0);
        }
        let peer = peers.entry(name);
        what(peer.or_insert_with(|| Peer { seats: 0, is_listed: false, owes: Duration::ZERO, at: now }))
    }
}

impl Peer {
    fn owed(&self, now: Instant) -> Duration {
        self.owes.saturating_sub(now.saturating_duration_since(self.at))
    }

    fn is_forgettable(&self, now: Instant) -> bool {
        self.seats == 0 && self.owed(now) <= FREE
    }
}

/// How many requests in one second of one peer may end here that nobody has listed.
const STRANGERS_PER_S: u32 = 100;
/// What may end at once before anybody has to wait: a quarter of a second's worth.
const FREE: Duration = Duration::from_millis(250);
/// Nobody waits longer, whatever came on however many connections; nor does the edge hear sooner that it has gone.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// What a stranger may owe on a connection that is older than [`WAIT_MAX`].
const TOO_LONG: Duration = Duration::from_secs(1);
/// Peers without a connection are remembered up to so many in all. Those with one are as many as there are connections.
const PEERS_MAX: usize = 10_000;

/// What its peer is counted by: the first name that its certificate proves. Those of one certificate stay together.
pub(crate) fn household(flow: &Flow) -> Box<str> {
    let name = flow.peer().and_then(|peer| peer.identities().next()).unwrap_or_default();
    name.to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reveille_sip_net::{Side, Transport};

    use super::*;

    fn flow() -> Arc<Flow> {
        let address = ([127, 0, 0, 1], 5061).into();
        Flow::carried(Transport::Tls, Side::Accepted, address, address, None, 10_000)
    }

    #[test]
    fn a_seat_is_free_again_when_its_connection_ends() {
        let seats = Seats::new(2, 2000);
        let flow = flow();
        assert!(seats.sit(&flow) && seats.sit(&flow));
        assert!(!seats.sit(&flow), "the third is one too many");
        seats.leave(&flow);
        seats.leave(&flow);
        assert!(seats.sit(&flow));
        seats.leave(&flow);
        seats.leave(&flow);
        assert!(seats.peers.lock().is_empty(), "nobody is remembered who holds nothing");
        seats.leave(&flow);
        assert!(seats.sit(&flow), "an end that was not begun counts for nothing");
    }

    fn wait(charge: Charge) -> Duration {
        match charge {
            Charge::Wait(wait) => wait,
            Charge::TooMuch => panic!("the connection is young"),
        }
    }

    /// How many of `all` requests at once end here before their peer waits, and how long it waits after the last.
    fn at_once(seats: &Seats, all: u32, flow: &Flow, now: Instant) -> (usize, Duration) {
        let waits = (0..all).map(|_| wait(seats.charge(flow, now))).collect::<Vec<_>>();
        (waits.iter().filter(|wait| wait.is_zero()).count(), waits.last().copied().unwrap_or_default())
    }

    #[test]
    fn what_ends_here_has_one_rate_for_all_connections_of_a_peer() {
        let (seats, now) = (Seats::new(2, 2000), Instant::now());
        // The same certificate, which here is none.
        let (one, other) = (flow(), flow());
        assert_eq!(at_once(&seats, 15, &one, now), (15, Duration::ZERO));
        assert_eq!(at_once(&seats, 60, &other, now), (10, Duration::from_millis(500)));
        let later = now + Duration::from_millis(700);
        assert_eq!(at_once(&seats, 30, &one, later), (20, Duration::from_millis(100)));
        // At its rate nobody ever waits.
        let steady = now + Duration::from_secs(60);
        let charge = |number: u32| wait(seats.charge(&one, steady + Duration::from_millis(10) * number));
        assert!((0..5000).all(|number| charge(number).is_zero()));
    }

    #[test]
    fn a_strangers_connection_that_wants_too_much_for_long_has_had_its_time_and_a_listed_ones_has_not() {
        let (seats, flow) = (Seats::new(2, 2000), flow());
        let young = flow.opened() + Duration::from_secs(9);
        assert_eq!(at_once(&seats, 925, &flow, young), (25, Duration::from_secs(9)));
        let old = flow.opened() + Duration::from_secs(10);
        assert_eq!(seats.charge(&flow, old), Charge::TooMuch, "it owes eight seconds");
        let paid = old + Duration::from_secs(60);
        assert!(
            (0..120).all(|_| matches!(seats.charge(&flow, paid), Charge::Wait(_))),
            "a little too much is held only"
        );
        seats.is_listed(&flow);
        assert_eq!(at_once(&seats, 600_000, &flow, paid), (0, WAIT_MAX));
    }

    #[test]
    fn a_listed_peer_may_be_refused_at_its_rate_and_nobody_waits_for_ever() {
        let (seats, flow, now) = (Seats::new(2, 2000), flow(), Instant::now());
        seats.is_listed(&flow);
        assert_eq!(at_once(&seats, 500, &flow, now), (500, Duration::ZERO));
        assert_eq!(at_once(&seats, 2000, &flow, now), (0, Duration::from_secs(1)));
        assert_eq!(at_once(&seats, 600_000, &flow, now), (0, WAIT_MAX));
    }

    #[test]
    fn what_a_peer_owes_is_remembered_though_it_goes_and_until_it_is_paid() {
        let (seats, flow, now) = (Seats::new(2, 2000), flow(), Instant::now());
        assert!(seats.sit(&flow));
        assert_eq!(at_once(&seats, 925, &flow, now), (25, Duration::from_secs(9)));
        seats.leave(&flow);
        assert!(seats.sit(&flow) && wait(seats.charge(&flow, now)) > Duration::from_secs(9));
        let paid = now + Duration::from_secs(12);
        assert_eq!(seats.charge(&flow, paid), Charge::Wait(Duration::ZERO));
    }
}
