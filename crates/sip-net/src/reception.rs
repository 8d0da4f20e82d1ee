//! Accepting connections: seats, handshakes, and who may have how many of them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reveille_sip::Side;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::conversation::{Terms, converse};
use crate::flow::{Flow, Transport};
use crate::guard::Guarded;
use crate::handler::Handler;
use crate::household::household;
use crate::listen::{ListenLimits, PONG, tune};
use crate::metric;
use crate::names::PeerCertificate;
use crate::tls::{HandshakeRefusal, TlsServer};
use crate::ws::{self, Origins};

/// Accepts the connections of one listener and seats them.
pub(crate) struct Reception {
    pub(crate) local: SocketAddr,
    limits: ListenLimits,
    handler: Arc<dyn Handler>,
    tls: Option<Arc<TlsServer>>,
    /// If what is spoken is WebSocket.
    pages: Option<Origins>,
    handshakes: Semaphore,
    by_address: Mutex<HashMap<IpAddr, Address>>,
}

/// What one address has now.
struct Address {
    seats: usize,
    handshakes: Arc<Semaphore>,
}

impl Reception {
    pub(crate) fn new(
        local: SocketAddr,
        limits: ListenLimits,
        handler: Arc<dyn Handler>,
        tls: Option<Arc<TlsServer>>,
        pages: Option<Origins>,
    ) -> Arc<Self> {
        let handshakes = Semaphore::new(limits.handshakes_in_flight.max(1));
        Arc::new(Self { local, limits, handler, tls, pages, handshakes, by_address: Mutex::default() })
    }

    pub(crate) async fn run(self: Arc<Self>, listener: TcpListener, stop: CancellationToken) {
        let seats = Arc::new(Semaphore::new(self.limits.seats.min(Semaphore::MAX_PERMITS)));
        let conversations = TaskTracker::new();
        let mut failures = 0;
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, remote) = match accepted {
                Ok(guest) => guest,
                Err(error) => {
                    self.accept_failed(&error, &mut failures, &stop).await;
                    continue;
                }
            };
            failures = 0;
            let Some(seat) = self.seat(&seats, remote) else { continue };
            let (reception, stop) = (self.clone(), stop.clone());
            conversations.spawn(async move {
                reception.receive(stream, remote, &seat, &stop).await;
                drop(seat);
            });
        }
        drop(listener);
        conversations.close();
        conversations.wait().await;
    }

    /// Waits before the next try when it is this machine that cannot: out of descriptors or memory, it would fail again
    /// at once, as often as it is tried.
    async fn accept_failed(&self, error: &io::Error, failures: &mut u32, stop: &CancellationToken) {
        metric::turned_away("accept-failed");
        // accept(2): errors of the guest's own network are told here, too, and say nothing about the next one.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        *failures += 1;
        // Once for the first, then ever more rarely.
        if failures.is_power_of_two() {
            tracing::warn!(
                %error,
                local = %self.local,
                failures,
                advice = "raise the limit of open files, or lower the number of connections",
                "connections cannot be accepted"
            );
        }
        stop.run_until_cancelled(sleep(ACCEPT_PAUSE * (*failures).min(ACCEPT_PAUSES_MAX))).await;
    }

    /// A seat, or else the guest is turned away by dropping the stream.
    fn seat(self: &Arc<Self>, seats: &Arc<Semaphore>, remote: SocketAddr) -> Option<Seat> {
        let refuse = |why: &'static str| {
            metric::turned_away(why);
            tracing::debug!(peer.address = %remote, local = %self.local, why, "connection turned away");
        };
        let Ok(permit) = seats.clone().try_acquire_owned() else {
            refuse("seats");
            return None;
        };
        let address = household(remote.ip());
        let mut by_address = self.by_address.lock();
        let share = self.limits.handshakes_per_address.max(1);
        let held = by_address
            .entry(address)
            .or_insert_with(|| Address { seats: 0, handshakes: Arc::new(Semaphore::new(share)) });
        if held.seats >= self.limits.seats_per_address {
            drop(by_address);
            refuse("seats-per-address");
            return None;
        }
        held.seats += 1;
        let handshakes = held.handshakes.clone();
        Some(Seat { reception: self.clone(), address, handshakes, _permit: permit })
    }

    async fn receive(&self, stream: TcpStream, remote: SocketAddr, seat: &Seat, stop: &CancellationToken) {
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, peer.address = %remote, "the connection ended before it began");
            return;
        }
        let local = stream.local_addr().unwrap_or(self.local);
        let Some(tls) = &self.tls else {
            return self.carry(stream, local, remote, None, stop, |_| ()).await;
        };
        let handshake = timeout(self.limits.handshake_timeout, async {
            // Only who has sent something costs more than a seat.
            if !matches!(stream.peek(&mut [0]).await, Ok(1..)) {
                return Err(HandshakeRefusal::HungUp);
            }
            // First the address's own share, so that who waits for it keeps no place from others.
            let Ok(_share) = seat.handshakes.acquire().await else { return Err(HandshakeRefusal::HungUp) };
            let Ok(_place) = self.handshakes.acquire().await else { return Err(HandshakeRefusal::HungUp) };
            tls.accept(stream).await
        });
        let outcome = match stop.run_until_cancelled(handshake).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Err(HandshakeRefusal::TimedOut),
            None => return,
        };
        match outcome {
            Ok((stream, peer)) => {
                let shown = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
                self.carry(stream, local, remote, peer, stop, move |flow| tls.keep(flow, shown.as_deref())).await;
            }
            Err(refusal) => {
                metric::handshake_refused(&refusal, "accepted");
                refusal.log(remote, None);
                Guarded::new(&*self.handler).refused(remote, &refusal);
            }
        }
    }

    /// Makes a flow of a stream that is ready, and holds its conversation. What `keep` gives is held as long.
    async fn carry<S, K>(
        &self,
        stream: S,
        local: SocketAddr,
        remote: SocketAddr,
        peer: Option<Arc<PeerCertificate>>,
        stop: &CancellationToken,
        keep: impl FnOnce(&Arc<Flow>) -> K,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let max = self.limits.queued_bytes_max;
        let flow = |transport| Flow::carried(transport, Side::Accepted, local, remote, peer, max);
        let is_secure = self.tls.is_some();
        let Some(pages) = &self.pages else {
            let flow = flow(if is_secure { Transport::Tls } else { Transport::Tcp });
            let _kept = keep(&flow);
            converse(stream, &flow, &*self.handler, self.terms(), stop).await;
            return;
        };
        // On the heap: the handshake's state would lie in the task of every connection for as long as that lives.
        let upgrade = Box::pin(timeout(
            self.limits.handshake_timeout,
            ws::upgrade(stream, pages, self.limits.message.header_bytes_max as usize + self.body_bytes_max()),
        ));
        let stream = match stop.run_until_cancelled(upgrade).await {
            Some(Ok(Ok(stream))) => stream,
            Some(Ok(Err(refusal))) => {
                metric::turned_away(refusal.label());
                tracing::info!(peer.address = %remote, local = %local, why = %refusal, "WebSocket refused");
                return;
            }
            Some(Err(_)) => return metric::turned_away("websocket-timed-out"),
            None => return,
        };
        let flow = flow(if is_secure { Transport::Wss } else { Transport::Ws });
        let _kept = keep(&flow);
        Box::pin(ws::converse(stream, &flow, &*self.handler, self.terms(), stop)).await;
    }

    /// A body that is too long by less than this is answered with 413; more ends a WebSocket.
    fn body_bytes_max(&self) -> usize {
        self.limits.message.body_bytes_max as usize * 2
    }

    fn terms(&self) -> Terms {
        Terms {
            message: self.limits.message,
            first_byte: Some(self.limits.first_byte_timeout),
            message_time: self.limits.message_timeout,
            idle: self.limits.idle_timeout,
            flush: self.limits.flush_timeout,
            ping: None,
            pong: PONG,
        }
    }
}

/// One of the connections allowed, given back when dropped.
struct Seat {
    reception: Arc<Reception>,
    address: IpAddr,
    handshakes: Arc<Semaphore>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_address = self.reception.by_address.lock();
        if let Some(held) = by_address.get_mut(&self.address) {
            held.seats -= 1;
            if held.seats == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Up to a second.
const ACCEPT_PAUSES_MAX: u32 = 20;
