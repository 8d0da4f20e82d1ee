//! One connection of a pool, from the attempt to its end.

use std::sync::Arc;
use std::time::Duration;

use reveille_sip::{Message, Side};
use tokio::time::Instant;

use super::Inner;
use crate::close::CloseReason;
use crate::connect::{ConnectError, ConnectTimes, Connected, Wire, connect_noting};
use crate::conversation::{Terms, converse};
use crate::drain::Pulse;
use crate::flow::{Flow, Transport};
use crate::handler::{BadMessage, Handler};
use crate::hop::{Goal, Hop};
use crate::listen::PONG;
use crate::metric;
use crate::names::PeerCertificate;
use crate::target::Target;

impl Inner {
    pub(super) async fn carry(self: &Arc<Self>, target: &Target, hop: &Arc<Hop>, goal: Goal) {
        let generation = self.tls.as_ref().map_or(0, |tls| tls.identity_generation());
        let connected = match self.attempt(target, hop, goal).await {
            Ok(connected) => connected,
            Err(error) => {
                self.tell(target.name(), &error);
                for token in hop.attempt_failed(goal, &error, &self.limits) {
                    self.senders.failed(token, &error);
                }
                return;
            }
        };
        let Connected { stream, local, remote, peer, took } = connected;
        let max = self.limits.queued_bytes_max;
        let flow = Flow::carried(target.transport(), Side::Initiated, local, remote, peer, max);
        self.senders.connected(&flow, took);
        let tls = self.tls.as_ref().filter(|_| matches!(stream, Wire::Tls(_)));
        let judged = tls.and_then(|tls| tls.certificate()).map(|ours| (Instant::now(), ours));
        let connections_max = target.connections_max().unwrap_or(self.limits.connections_per_target);
        let arrival = Arrival {
            inner: self.clone(),
            name: target.name().to_owned(),
            hop: hop.clone(),
            goal,
            connections_max,
            pulse: Pulse::new(),
            generation,
            judged,
        };
        match stream {
            Wire::Plain(stream) => converse(stream, &flow, &arrival, self.terms(), &self.stop).await,
            Wire::Tls(stream) => {
                let _kept = tls.map(|tls| tls.keep(&flow, stream.get_ref().1.peer_certificates()));
                converse(stream, &flow, &arrival, self.terms(), &self.stop).await
            }
        };
    }

    /// Counts and logs a failure; a handshake's also goes to the handler, like those of accepted connections.
    fn tell(&self, name: &str, error: &ConnectError) {
        metric::connect_failed(error.label());
        if let ConnectError::Tls { address, refusal, .. } = error {
            refusal.log(*address, Some(name));
            return self.handler.refused(*address, refusal);
        }
        tracing::info!(
            peer.name = name,
            stage = ?error.stage(),
            blame = ?error.blame(),
            why = %error,
            advice = error.advice(),
            "connecting failed"
        );
    }

    async fn attempt(&self, target: &Target, hop: &Hop, goal: Goal) -> Result<Connected, ConnectError> {
        let addresses = match goal {
            Goal::Any => hop.order(|most| rand::random_range(0..=most)),
            Goal::Probe(address) => vec![address],
        };
        let times = ConnectTimes { connect: self.limits.connect_timeout, handshake: self.limits.handshake_timeout };
        let tls = self.tls.as_deref().filter(|_| target.transport() == Transport::Tls);
        let mut failed = 0;
        let attempt = connect_noting(target.name(), &addresses, tls, times, |address, error| {
            failed += 1;
            hop.address_failed(address, error, &self.limits);
        });
        let limited = tokio::time::timeout(self.limits.attempt_timeout, attempt);
        match self.stop.run_until_cancelled(limited).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => {
                // The one that used up the time; those after it had no chance, and are tried before it the next time.
                let Some(address) = addresses.get(failed).copied() else {
                    return Err(ConnectError::NoAddress { name: target.name().to_owned() });
                };
                let error = ConnectError::TimedOut { address };
                hop.address_failed(address, &error, &self.limits);
                Err(error)
            }
            None => Err(ConnectError::Stopping),
        }
    }

    fn terms(&self) -> Terms {
        Terms {
            message: self.limits.message,
            first_byte: None,
            message_time: self.limits.message_timeout,
            idle: self.limits.idle_timeout,
            flush: self.limits.flush_timeout,
            ping: self.limits.ping_after,
            pong: PONG,
        }
    }
}

/// Stands between a connection and the pool's handler, to keep the next hop's books.
struct Arrival {
    inner: Arc<Inner>,
    name: String,
    hop: Arc<Hop>,
    goal: Goal,
    connections_max: usize,
    pulse: Arc<Pulse>,
    /// Of our certificate, when the attempt began.
    generation: u64,
    /// Since when the peer may judge the certificate that we showed.
    judged: Option<(Instant, Arc<PeerCertificate>)>,
}

impl Handler for Arrival {
    fn opened(&self, flow: &Arc<Flow>) {
        self.inner.handler.opened(flow);
        let moved = self.hop.connected(flow, &self.pulse, self.goal, &self.inner.limits);
        if self.inner.tls.as_ref().is_some_and(|tls| tls.identity_generation() != self.generation) {
            // It was changed while we were connecting; this one is good for who waited and for nobody else.
            self.inner.drain(self.hop.retire());
        }
        for token in moved.sent {
            self.inner.senders.sent(token, flow);
        }
        for (token, error) in moved.failed {
            self.inner.senders.failed(token, &error);
        }
    }

    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        if self.pulse.beat() {
            self.inner.drain(self.hop.works(flow, self.connections_max));
        }
        self.inner.handler.messages(flow, batch);
    }

    fn bad(&self, flow: &Arc<Flow>, bad: BadMessage) {
        self.inner.handler.bad(flow, bad);
    }

    fn closed(&self, flow: &Arc<Flow>, why: &CloseReason) {
        let unheard = self.hop.disconnected(flow);
        // RFC 8446 §4.4.2: our certificate is judged after our handshake. What was written meanwhile was never read.
        let ours = self.judged.as_ref().filter(|(since, _)| !flow.has_heard() && since.elapsed() < JUDGED_WITHIN);
        if let Some(refusal) = why.as_refusal(ours.map(|(_, ours)| ours)) {
            let error =
                ConnectError::Tls { name: self.name.clone(), address: flow.remote(), refusal: Box::new(refusal) };
            self.inner.tell(&self.name, &error);
            self.hop.turned_down(flow.remote(), &error, &self.inner.limits);
            for token in unheard {
                self.inner.senders.failed(token, &error);
            }
        }
        self.inner.handler.closed(flow, why);
    }
}

/// A connection that ends without a word within this time was most likely ended for our certificate.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);
