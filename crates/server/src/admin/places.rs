//! How many connections one address may have: so that a single one cannot take every seat.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The connections of each address that has any. There are never more addresses than seats.
#[derive(Clone, Default)]
pub(super) struct Places {
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's place; given back when dropped.
pub(super) struct Place {
    places: Places,
    network: IpAddr,
}

impl Places {
    /// A place for a connection of that address; none if it has as many as it may.
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        // Whoever has one address of an IPv6 network has all of its /64.
        let network = match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 @ IpAddr::V4(_) => v4,
        };
        let mut taken = self.taken.lock();
        let count = taken.entry(network).or_default();
        if *count >= PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Place { places: self.clone(), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

/// Connections of one address.
const PER_ADDRESS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_places_and_gets_them_back() {
        let places = Places::default();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut held: Vec<Place> = (0..PER_ADDRESS).map(|_| places.take(at("2001:db8::1")).unwrap()).collect();
        assert!(places.take(at("2001:db8::ffff:2")).is_none(), "its network has them all");
        assert!(places.take(at("2001:db8:0:1::1")).is_some() && places.take(at("192.0.2.1")).is_some());
        held.pop();
        assert!(places.take(at("2001:db8::2")).is_some());
        drop(held);
        assert!(places.taken.lock().is_empty());
    }
}
