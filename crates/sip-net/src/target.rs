//! A next hop as its caller names it: who it must be, and where it may be reached.

use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use crate::flow::Transport;
use crate::resolve::order_by;

/// A next hop.
///
/// Two targets are the same next hop, and share connections, if they must prove the same name over the same transport
/// on the same ports: the addresses behind a name come and go, and their order is chance. A target made with
/// [`Target::at`] is the same only at the same address. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Target {
    key: Arc<Key>,
    servers: Arc<[Server]>,
    connections_max: Option<usize>,
}

/// One of the servers that answer for a name, with the rank that its SRV record gives it (RFC 2782).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Server {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among servers of equal priority; decided anew for each connection.
    pub weight: u16,
    /// In the order to try.
    pub addresses: Vec<SocketAddr>,
}

/// What makes two targets one next hop.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Key {
    /// Of all the rest, made once: every message asks a table for its next hop.
    hash: u64,
    pub(crate) name: String,
    pub(crate) transport: Transport,
    place: Place,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

#[derive(Debug, Eq, Hash, PartialEq)]
enum Place {
    At(SocketAddr),
    Ports(Vec<u16>),
}

impl Target {
    /// A server whose address is configured. For TLS, its certificate must hold `name`; otherwise that is for logs.
    pub fn at(name: impl Into<String>, address: SocketAddr, transport: Transport) -> Self {
        let server = Server { priority: 0, weight: 0, addresses: vec![address] };
        Self::new(name.into(), transport, Place::At(address), Arc::new([server]))
    }

    /// The servers that the DNS names for a domain or host, as [`crate::locate`] finds them.
    pub fn served_by(name: impl Into<String>, servers: impl Into<Arc<[Server]>>, transport: Transport) -> Self {
        let servers = servers.into();
        let mut ports: Vec<u16> =
            servers.iter().flat_map(|server| server.addresses.iter().map(SocketAddr::port)).collect();
        ports.sort_unstable();
        ports.dedup();
        Self::new(name.into(), transport, Place::Ports(ports), servers)
    }

    /// Allows so many connections to it, instead of what the pool allows (`OutgoingTlsCountForFederatedPartners`).
    #[must_use]
    pub fn with_connections(mut self, connections_max: usize) -> Self {
        self.connections_max = Some(connections_max.max(1));
        self
    }

    /// For TLS, the name that its certificate must hold; otherwise for logs.
    pub fn name(&self) -> &str {
        &self.key.name
    }

    /// How to reach it.
    pub fn transport(&self) -> Transport {
        self.key.transport
    }

    /// Where it may be reached.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The first address of the server with the best rank.
    pub fn first_address(&self) -> Option<SocketAddr> {
        let reachable = self.servers.iter().filter(|server| !server.addresses.is_empty());
        reachable.min_by_key(|server| server.priority).map(|server| server.addresses[0])
    }

    /// How many addresses there are to choose from.
    pub(crate) fn choices(&self) -> usize {
        self.servers.iter().map(|server| server.addresses.len()).sum()
    }

    pub(crate) fn key(&self) -> &Arc<Key> {
        &self.key
    }

    pub(crate) fn shared_servers(&self) -> &Arc<[Server]> {
        &self.servers
    }

    pub(crate) fn connections_max(&self) -> Option<usize> {
        self.connections_max
    }

    fn new(name: String, transport: Transport, place: Place, servers: Arc<[Server]>) -> Self {
        let hash = HASHES.hash_one((&name, transport, &place));
        Self { key: Arc::new(Key { hash, name, transport, place }), servers, connections_max: None }
    }
}

/// Keyed, so that nobody can name many next hops that meet in one place of a table.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// All addresses, in the order for one connection: by priority, by weight among equals, each server's own in turn.
pub(crate) fn drawn(servers: &[Server], random: impl FnMut(u32) -> u32) -> Vec<SocketAddr> {
    let ranked = order_by(servers.iter().collect(), |server: &&Server| (server.priority, server.weight), random);
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in ranked.into_iter().flat_map(|server| &server.addresses) {
        // Several records may name one host.
        if !addresses.contains(address) {
            addresses.push(*address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8, port: u16) -> SocketAddr {
        ([192, 0, 2, last], port).into()
    }

    fn server(priority: u16, addresses: &[SocketAddr]) -> Server {
        Server { priority, weight: 0, addresses: addresses.to_vec() }
    }

    #[test]
    fn a_next_hop_is_its_name_ports_and_transport_and_not_the_order_of_its_addresses() {
        let named = |name: &str, servers: &[Server]| Target::served_by(name, servers, Transport::Tls);
        let one = named("a.example", &[server(1, &[at(1, 5061), at(2, 5061)])]);
        let same = named("a.example", &[server(2, &[at(2, 5061)]), server(1, &[at(1, 5061)])]);
        assert_eq!(one.key(), same.key(), "another order");
        assert_eq!(one.key(), named("a.example", &[server(1, &[at(9, 5061)])]).key(), "another address");
        for other in [
            named("b.example", &[server(1, &[at(1, 5061)])]),
            named("a.example", &[server(1, &[at(1, 5062)])]),
            Target::served_by("a.example", one.servers(), Transport::Tcp),
            Target::at("a.example", at(1, 5061), Transport::Tls),
        ] {
            assert_ne!(one.key(), other.key(), "{other:?}");
        }
        let fixed = |last| Target::at("inside.example", at(last, 5071), Transport::Tls);
        assert_eq!(fixed(1).key(), fixed(1).key());
        assert_ne!(fixed(1).key(), fixed(2).key(), "two servers may share a certificate");
    }

    #[test]
    fn addresses_are_drawn_by_rank_and_named_once() {
        let servers = [server(20, &[at(3, 1), at(1, 1)]), server(10, &[at(1, 1), at(2, 1)])];
        assert_eq!(drawn(&servers, |_| 0), [at(1, 1), at(2, 1), at(3, 1)]);
        let target = Target::served_by("a.example", &servers[..], Transport::Tls);
        assert_eq!((target.first_address(), target.choices()), (Some(at(1, 1)), 4));
        assert_eq!(Target::served_by("a.example", vec![], Transport::Tls).first_address(), None);
    }

    #[test]
    fn equals_are_drawn_by_their_weight() {
        let server = |weight, last| Server { priority: 1, weight, addresses: vec![at(last, 1)] };
        let servers = [server(1, 1), server(3, 2)];
        let firsts: Vec<SocketAddr> = (0..=4).map(|number| drawn(&servers, |_| number)[0]).collect();
        assert_eq!(firsts, [at(1, 1), at(1, 1), at(2, 1), at(2, 1), at(2, 1)]);
    }
}
