//! What is known of each connection of a client: who has proven himself on it, and which of his devices is there.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use reveille_core::Aor;
use reveille_sip_net::proxy::Proxy;
use reveille_sip_net::{Flow, FlowId, Transport, UdpSender};

/// Cut so that connections seldom meet.
const SHARDS: u64 = 16;
/// Users of one connection who are remembered; beyond it each of their requests proves itself.
const USERS_MAX: usize = 8;

/// One user on one connection.
#[derive(Clone, Debug)]
struct Known {
    user: Aor,
    device: Option<String>,
}

/// All connections of clients that somebody has proven himself on. Bounded by the listeners' seats.
#[derive(Default)]
pub(crate) struct Flows {
    shards: [Mutex<HashMap<FlowId, Vec<Known>>>; SHARDS as usize],
    /// The socket for clients over UDP, once the doors are open.
    udp: OnceLock<UdpSender>,
    /// Who carries calls, once the doors are open.
    proxy: OnceLock<Arc<Proxy>>,
}

/// What the proxy calls a device: it may lose its connection in the midst of a call and be back on another.
pub(crate) fn sender(user: &Aor, device: &str) -> String {
    format!("{user} {device}")
}

/// Whether two flows lead to the same client: over UDP, where there is no connection, the same address.
pub(crate) fn is_same(one: &Flow, other: &Flow) -> bool {
    let both_udp = one.transport() == Transport::Udp && other.transport() == Transport::Udp;
    one.id() == other.id() || both_udp && one.reaches() == other.reaches()
}

impl Flows {
    fn shard(&self, flow: FlowId) -> &Mutex<HashMap<FlowId, Vec<Known>>> {
        &self.shards[(flow.as_u64() % SHARDS) as usize]
    }

    /// Tells who is to know on which connections devices are. Once.
    pub(crate) fn tell(&self, proxy: Arc<Proxy>) {
        drop(self.proxy.set(proxy));
    }

    /// Tells which socket serves clients over UDP. Once.
    pub(crate) fn open(&self, udp: UdpSender) {
        drop(self.udp.set(udp));
    }

    /// The flow for a binding. A listener forgets a UDP client that says nothing for some minutes; its registration
    /// holds for as long as it says.
    pub(crate) fn lasting(&self, flow: &Arc<Flow>) -> Arc<Flow> {
        match self.udp.get() {
            Some(udp) if flow.transport() == Transport::Udp => udp.flow_to(flow.reaches()),
            _ => Arc::clone(flow),
        }
    }

    /// A user has proven himself on this connection; `device` is which of his it is, once it has registered.
    pub(crate) fn proven(&self, flow: &Flow, user: &Aor, device: Option<&str>) {
        let mut shard = self.shard(flow.id()).lock();
        // A flow that has closed meanwhile is not remembered: nobody would forget it again.
        if flow.is_closed() {
            return;
        }
        let known = shard.entry(flow.id()).or_default();
        match known.iter().position(|known| known.user == *user) {
            Some(at) if device.is_some() => known[at].device = device.map(str::to_owned),
            None if known.len() < USERS_MAX => {
                known.push(Known { user: user.clone(), device: device.map(str::to_owned) });
            }
            Some(_) | None => {}
        }
    }

    /// The user's device has heard that it is registered on this connection: what it has asked before on one that is gone is
    /// answered here (RFC 3261 §18.2.2, RFC 5626 §4.2).
    pub(crate) fn is_back(&self, flow: &Arc<Flow>, user: &Aor) {
        if let (Some(device), Some(proxy)) = (self.device(flow, user), self.proxy.get()) {
            proxy.sender_is_on(&sender(user, &device), flow);
        }
    }

    /// Whether whoever sends on this connection is taken for `user` without proving it again. Over UDP anybody can
    /// write any source address, so that nothing is believed there.
    pub(crate) fn trusts(&self, flow: &Flow, user: &Aor) -> bool {
        let is_there = |known: &Vec<Known>| known.iter().any(|known| known.user == *user);
        flow.transport().is_reliable() && self.shard(flow.id()).lock().get(&flow.id()).is_some_and(is_there)
    }

    /// The user's device that has registered on this connection.
    pub(crate) fn device(&self, flow: &Flow, user: &Aor) -> Option<String> {
        let shard = self.shard(flow.id()).lock();
        shard.get(&flow.id())?.iter().find(|known| known.user == *user)?.device.clone()
    }

    /// A connection is gone, and what was proven on it.
    pub(crate) fn gone(&self, flow: FlowId) {
        self.shard(flow).lock().remove(&flow);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reveille_sip_net::{CloseReason, Side, Transport};

    use super::*;

    fn flow(transport: Transport) -> Arc<Flow> {
        let address = ([127, 0, 0, 1], 5060).into();
        Flow::carried(transport, Side::Accepted, address, address, None, 1000)
    }

    #[test]
    fn who_has_proven_himself_is_known_on_that_connection_until_it_ends() {
        let flows = Flows::default();
        let (bob, alice): (Aor, Aor) =
            ("bob@contoso.com".parse().expect("an address"), "alice@contoso.com".parse().expect("an address"));
        let (one, other) = (flow(Transport::Tls), flow(Transport::Tls));
        assert!(!flows.trusts(&one, &bob));
        flows.proven(&one, &bob, Some("phone"));
        flows.proven(&one, &bob, None);
        assert!(flows.trusts(&one, &bob) && !flows.trusts(&one, &alice) && !flows.trusts(&other, &bob));
        assert_eq!(flows.device(&one, &bob).as_deref(), Some("phone"), "a later proof does not forget the device");
        assert_eq!(flows.device(&one, &alice), None);
        one.close(CloseReason::Asked { why: "test" });
        flows.gone(one.id());
        flows.proven(&one, &bob, None);
        assert!(!flows.trusts(&one, &bob), "a connection that has ended is not remembered");
    }

    #[test]
    fn over_udp_nobody_is_believed_and_a_connection_has_room_for_a_few() {
        let flows = Flows::default();
        let user =
            |n: usize| Aor::new(&format!("user{n}"), "contoso.com".parse().expect("a domain")).expect("an address");
        let tcp = flow(Transport::Tcp);
        for n in 0..USERS_MAX + 1 {
            flows.proven(&tcp, &user(n), None);
        }
        assert!(flows.trusts(&tcp, &user(USERS_MAX - 1)) && !flows.trusts(&tcp, &user(USERS_MAX)));
        let udp = flow(Transport::Udp);
        flows.proven(&udp, &user(0), Some("desk"));
        assert!(!flows.trusts(&udp, &user(0)));
        assert_eq!(flows.device(&udp, &user(0)).as_deref(), Some("desk"));
    }
}
