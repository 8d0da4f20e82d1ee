//! Sending a request of a call on: to our edge, to a connection, or to the phones that the shard of their user finds.

use std::net::SocketAddr;
use std::sync::Arc;

use reveille_core::Aor;
use reveille_sip::proxy::Reply;
use reveille_sip::{Method, Name};
use reveille_sip_net::proxy::{Back, Leg, Plan, To};
use reveille_sip_net::{Flow, Pool, Target, Transport};
use tracing::debug;

use super::plan::{self, Owner, Side};
use super::route::{EDGE, Origin, Toward};
use super::token::Party;
use super::{Ask, Calls, in_dialog, warned};
use crate::account::Phone;
use crate::flows::is_same;
use crate::front::Front;
use crate::shard::Event;

impl Calls {
    /// Sends the request to wherever it goes; whose phones are to be found is asked of the shard of their user.
    pub(super) fn pass(self: &Arc<Self>, front: &Front, ask: Ask, toward: Toward) {
        match toward {
            Toward::Edge => {
                let leg = Leg::to(To::Hop(self.pool.clone(), self.edge.clone()));
                let facing = self.facing_edge(&ask);
                self.forward(front, ask, vec![(leg, facing)], Side::Edge);
            }
            Toward::Flow(token) => match self.proxy.flow_of(&token) {
                Ok(flow) => {
                    let facing = self.facing_flow(front, &flow, None, ask.routed.is_secure());
                    self.forward(front, ask, vec![(Leg::to(To::Flow(flow)), facing)], Side::Phone);
                }
                Err(_) => self.refuse(&ask, &warned(430, "the connection that this dialog belongs to is gone")),
            },
            Toward::Party(party) => self.find(front, ask, party.user.clone(), Some(party)),
            Toward::User(user) => self.find(front, ask, user, None),
        }
    }

    /// Asks where a user can be reached, or one phone of his.
    fn find(self: &Arc<Self>, front: &Front, ask: Ask, user: Aor, party: Option<Party>) {
        let Ok(place) = front.shards.of(&user).try_reserve() else {
            metrics::counter!("reveille_home_overloaded_total").increment(1);
            let reply = Reply::new(503).header(Name::RetryAfter.as_str(), "2");
            return self.refuse(&ask, &reply);
        };
        let (calls, of, name) = (Arc::clone(self), user.clone(), Arc::clone(&front.name));
        let facing_sender = self.facing_sender(front, &ask);
        let then = move |phones: Vec<Phone>| {
            let legs = calls.ring(&ask, &of, party.as_ref(), phones, &name);
            calls.found(ask, &of, party.is_some(), legs, &facing_sender);
        };
        place.send(Event::Reach { user, then: Box::new(then) });
    }

    /// The shard has told where a user can be reached now: a leg for each phone that this request is for, and the
    /// Record-Route URI that faces it.
    fn ring(&self, ask: &Ask, user: &Aor, party: Option<&Party>, phones: Vec<Phone>, name: &str) -> Vec<(Leg, String)> {
        let secure = ask.routed.is_secure();
        let own = |flow: &Flow| ask.origin == Origin::Client && party.is_none() && is_same(flow, &ask.flow);
        let mut legs = Vec::new();
        for phone in phones {
            let device = self.tokens.mark(user, &phone.device);
            if party.is_some_and(|party| party.device != device) {
                continue;
            }
            // RFC 5630 §3.1.3: a sips request is for connections that are secured to the end.
            let usable = |flow: &Arc<Flow>| !own(flow) && (!secure || flow.transport().is_secure());
            let flows: Vec<Arc<Flow>> = phone.flows.into_iter().filter(usable).collect();
            let Some(first) = flows.first() else { continue };
            let token = self.tokens.write(&Party { user: user.clone(), device });
            let facing = facing_uri(&token, first, name, secure);
            let to = flows.iter().map(|flow| To::Flow(Arc::clone(flow))).collect();
            // In a dialog the Request-URI is what the phone itself once said.
            let request_uri = party.is_none().then_some(phone.uri);
            legs.push((Leg { to, request_uri, q: phone.q, ..Leg::to(To::Flow(Arc::clone(first))) }, facing));
        }
        legs
    }

    /// Rings the phones that were found, if there are any.
    fn found(&self, mut ask: Ask, user: &Aor, in_dialog: bool, legs: Vec<(Leg, String)>, facing_sender: &str) {
        if legs.is_empty() {
            let reply = match in_dialog {
                // RFC 5626 §5.3.1.
                true => warned(430, "the phone in this dialog is not connected any more"),
                false => warned(480, &format!("{user} is not signed in anywhere")),
            };
            return self.refuse(&ask, &reply);
        }
        // Where a phone is, is its connection's business and nobody's Route.
        ask.routed.routes.clear();
        self.send(ask, legs, facing_sender, Side::Phone);
    }

    fn forward(&self, front: &Front, ask: Ask, legs: Vec<(Leg, String)>, side: Side) {
        let facing_sender = self.facing_sender(front, &ask);
        self.send(ask, legs, &facing_sender, side);
    }

    /// Hands the request to the proxy.
    fn send(&self, mut ask: Ask, legs: Vec<(Leg, String)>, facing_sender: &str, side: Side) {
        let in_dialog = in_dialog(&ask.request);
        if !in_dialog {
            ask.routed.routes.clear();
        }
        // RFC 3261 §16.6 step 4, RFC 5658 §3: once for each side. A dialog's route set never changes later.
        let record = |facing: String| if in_dialog { Vec::new() } else { vec![facing, facing_sender.to_owned()] };
        let legs = legs.into_iter().map(|(leg, facing)| Leg { record_route: Some(record(facing)), ..leg }).collect();
        let edits = plan::edits(&ask.request, ask.origin, &self.realms);
        debug!(to = ?side, in_dialog, method = ?ask.request.method(), "a call goes on");
        let owner = Arc::new(Owner::new(side, in_dialog));
        let back = Back { sender: ask.device.take(), server: self.server_of(&ask) };
        let plan = Plan { legs, routed: ask.routed, record_route: Vec::new(), edits, owner, back };
        match ask.request.method() {
            Some(Method::Ack) => self.proxy.pass_ack(&ask.flow, &ask.request, plan),
            _ => self.proxy.forward(&ask.flow, &ask.request, plan),
        }
    }

    /// Where whoever sent a request listens. Only our edge does.
    fn server_of(&self, ask: &Ask) -> Option<(Pool, Target)> {
        (ask.origin == Origin::Edge).then(|| (self.pool.clone(), self.edge.clone()))
    }

    /// The Record-Route URI that faces whoever sent a request.
    fn facing_sender(&self, front: &Front, ask: &Ask) -> String {
        match ask.origin {
            Origin::Edge => self.facing_edge(ask),
            Origin::Client | Origin::Proxy => {
                self.facing_flow(front, &ask.flow, ask.user.as_ref(), ask.routed.is_secure())
            }
        }
    }

    /// The Record-Route URI that faces our edge.
    fn facing_edge(&self, ask: &Ask) -> String {
        written(EDGE, &self.inner, Transport::Tls, ask.routed.is_secure())
    }

    /// The Record-Route URI that faces a connection: it names the phone that has registered there, else the connection.
    fn facing_flow(&self, front: &Front, flow: &Arc<Flow>, user: Option<&Aor>, secure: bool) -> String {
        let device = user.and_then(|user| Some((user, front.flows.device(flow, user)?)));
        let token = match device {
            Some((user, device)) => {
                self.tokens.write(&Party { user: user.clone(), device: self.tokens.mark(user, &device) })
            }
            None => self.proxy.flow_token(flow),
        };
        facing_uri(&token, flow, &front.name, secure)
    }

    /// Answers instead of sending on. An ACK is never answered.
    fn refuse(&self, ask: &Ask, reply: &Reply) {
        if ask.request.method() != Some(Method::Ack) {
            self.proxy.reply(&ask.flow, &ask.request, reply);
        }
    }
}

/// The Record-Route URI of one side: the address that the connection has here, since a client that came by a name or
/// an address which it cannot look up again still has the connection.
fn facing_uri(token: &str, flow: &Flow, name: &str, secure: bool) -> String {
    // A socket for both families writes IPv4 as an IPv6 address that no IPv4 phone can send to.
    let (ip, port) = (flow.local().ip().to_canonical(), flow.local().port());
    let at = if ip.is_unspecified() { format!("{name}:{port}") } else { SocketAddr::new(ip, port).to_string() };
    written(token, &at, flow.transport(), secure)
}

/// RFC 3261 §16.6 step 4: a SIPS URI for a request that asks for one, wherever the connection can keep what that says.
fn written(user: &str, at: &str, transport: Transport, secure: bool) -> String {
    let by = parameter(transport);
    match (secure && transport.is_secure(), transport) {
        // RFC 3261 §26.2.2: the scheme says it, and transport=tls has no meaning there.
        (true, Transport::Tls) => format!("sips:{user}@{at};lr"),
        (true, _) => format!("sips:{user}@{at};transport={by};lr"),
        (false, _) => format!("sip:{user}@{at};transport={by};lr"),
    }
}

/// The transport as a URI writes it (RFC 3261 §19.1.1, RFC 7118 §5.2.1).
const fn parameter(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Udp => "udp",
        Transport::Ws | Transport::Wss => "ws",
    }
}

#[cfg(test)]
mod tests {
    use reveille_sip_net::Side;

    use super::*;

    #[test]
    fn record_route_names_the_address_and_the_scheme_that_the_other_side_can_use() {
        let rows = [
            (Transport::Udp, "127.0.0.1:5060", false, "sip:t@127.0.0.1:5060;transport=udp;lr"),
            (Transport::Tcp, "[::ffff:127.0.0.1]:5060", false, "sip:t@127.0.0.1:5060;transport=tcp;lr"),
            (Transport::Tcp, "[2001:db8::1]:5060", false, "sip:t@[2001:db8::1]:5060;transport=tcp;lr"),
            (Transport::Udp, "[::]:5060", false, "sip:t@home.contoso.com:5060;transport=udp;lr"),
            (Transport::Udp, "0.0.0.0:5060", false, "sip:t@home.contoso.com:5060;transport=udp;lr"),
            (Transport::Tls, "127.0.0.1:5061", false, "sip:t@127.0.0.1:5061;transport=tls;lr"),
            (Transport::Tls, "[::ffff:127.0.0.1]:5061", true, "sips:t@127.0.0.1:5061;lr"),
            (Transport::Wss, "127.0.0.1:443", true, "sips:t@127.0.0.1:443;transport=ws;lr"),
            // What is not secured cannot be made so by a name.
            (Transport::Tcp, "127.0.0.1:5060", true, "sip:t@127.0.0.1:5060;transport=tcp;lr"),
        ];
        for (transport, local, secure, expected) in rows {
            let local = local.parse().expect("an address");
            let flow = Flow::carried(transport, Side::Accepted, local, local, None, 1000);
            assert_eq!(facing_uri("t", &flow, "home.contoso.com", secure), expected);
        }
    }
}
