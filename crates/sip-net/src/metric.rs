//! The numbers this crate counts, in one place.

use crate::close::CloseReason;
use crate::flow::{Flow, Transport};
use crate::tls::HandshakeRefusal;

pub(crate) fn opened(flow: &Flow) {
    let (transport, side) = (word(flow.transport()), side(flow));
    metrics::counter!("reveille_sip_connections_total", "transport" => transport, "side" => side).increment(1);
    metrics::gauge!("reveille_sip_connections_open", "transport" => transport, "side" => side).increment(1.0);
}

pub(crate) fn closed(flow: &Flow, why: &CloseReason) {
    let (transport, side) = (word(flow.transport()), side(flow));
    metrics::gauge!("reveille_sip_connections_open", "transport" => transport, "side" => side).decrement(1.0);
    metrics::counter!("reveille_sip_connections_closed_total", "transport" => transport, "why" => why.label())
        .increment(1);
}

/// A connection was accepted and closed at once since there is no seat for it.
pub(crate) fn turned_away(why: &'static str) {
    metrics::counter!("reveille_sip_connections_turned_away_total", "why" => why).increment(1);
}

pub(crate) fn handshake_refused(refusal: &HandshakeRefusal, side: &'static str) {
    metrics::counter!("reveille_sip_handshakes_refused_total", "why" => refusal.label(), "side" => side).increment(1);
}

pub(crate) fn messages(transport: Transport, count: usize) {
    received(transport).increment(count as u64);
}

/// The counter behind [`messages`], for who counts often: looking it up by name and label costs more than counting.
pub(crate) fn received(transport: Transport) -> metrics::Counter {
    metrics::counter!("reveille_sip_messages_received_total", "transport" => word(transport))
}

pub(crate) fn bad_message(transport: Transport) {
    metrics::counter!("reveille_sip_messages_bad_total", "transport" => word(transport)).increment(1);
}

/// A handler panicked over what came over this transport.
pub(crate) fn handler_panicked(transport: &'static str) {
    metrics::counter!("reveille_sip_handler_panics_total", "transport" => transport).increment(1);
}

pub(crate) fn datagram_dropped(why: &'static str) {
    metrics::counter!("reveille_sip_datagrams_dropped_total", "why" => why).increment(1);
}

pub(crate) fn connect_failed(why: &'static str) {
    metrics::counter!("reveille_sip_connects_failed_total", "why" => why).increment(1);
}

pub(crate) fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Tls => "tls",
        Transport::Udp => "udp",
        Transport::Ws => "ws",
        Transport::Wss => "wss",
    }
}

fn side(flow: &Flow) -> &'static str {
    match flow.side() {
        reveille_sip::Side::Accepted => "accepted",
        reveille_sip::Side::Initiated => "initiated",
    }
}
