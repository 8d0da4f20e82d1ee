//! How many connections one peer holds to the outer side, counted from their first moment.
//!
//! A peer that has said nothing yet is no partner yet. What is known of it is its certificate, and so its names are what
//! is counted by: whoever opens connections and keeps silent fills its own share and not everybody's.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;
use reveille_sip_net::Flow;

/// The connections of each certificate name. Never holds more names than there are connections.
#[derive(Debug)]
pub(crate) struct Seats {
    most: usize,
    taken: Mutex<HashMap<Box<str>, usize>>,
}

impl Seats {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// One more connection. `false` if its peer has as many as it may; it is counted all the same, until
    /// [`Seats::leave`].
    pub(crate) fn sit(&self, flow: &Flow) -> bool {
        let mut taken = self.taken.lock();
        let seats = taken.entry(name(flow)).or_default();
        *seats += 1;
        *seats <= self.most
    }

    /// One of them has ended.
    pub(crate) fn leave(&self, flow: &Flow) {
        let mut taken = self.taken.lock();
        if let Entry::Occupied(mut seats) = taken.entry(name(flow)) {
            *seats.get_mut() -= 1;
            if *seats.get() == 0 {
                seats.remove();
            }
        }
    }

    /// How many one may have.
    pub(crate) const fn most(&self) -> usize {
        self.most
    }
}

/// What its peer is counted by: the first name that its certificate proves. Those of one certificate stay together.
fn name(flow: &Flow) -> Box<str> {
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
        let seats = Seats::new(2);
        let flow = flow();
        assert!(seats.sit(&flow) && seats.sit(&flow));
        assert!(!seats.sit(&flow), "the third is one too many");
        seats.leave(&flow);
        seats.leave(&flow);
        assert!(seats.sit(&flow));
        seats.leave(&flow);
        seats.leave(&flow);
        assert!(seats.taken.lock().is_empty(), "nobody is remembered who holds nothing");
        seats.leave(&flow);
        assert!(seats.sit(&flow), "an end that was not begun counts for nothing");
    }
}
