//! The listener: connections with TLS, their number, their times.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use reveille_sip_net::TlsServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::Rest;
use super::account::Caller;
use super::guesses::network;

/// Connections at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 2048;
/// Connections of one address.
const PER_ADDRESS: usize = 128;
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(6);
/// For each request's header, and so how long a connection may be idle.
const HEADER_WITHIN: Duration = Duration::from_secs(60);
/// How long a connection lives: then its certificate is looked at again.
const LIFE: Duration = Duration::from_secs(3600);
/// How long what is under way may take when a connection's time, or the server's, is over.
const GRACE: Duration = Duration::from_secs(15);
const BUFFER_MAX: usize = 64 * 1024;
const BREATH: Duration = Duration::from_millis(100);

impl Rest {
    /// Answers until `stop`, and then waits for what is under way, which is bounded in time.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: Arc<TlsServer>, stop: CancellationToken) {
        let at = listener.local_addr().map(|at| at.to_string()).unwrap_or_default();
        info!(listen = at, "push requests over HTTPS are listened to");
        let (seats, places, conversations) =
            (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(Mutex::new(Places::default())), TaskTracker::new());
        loop {
            let Some(Ok(seat)) = stop.run_until_cancelled(Arc::clone(&seats).acquire_owned()).await else { break };
            let (stream, from) = match stop.run_until_cancelled(listener.accept()).await {
                None => break,
                Some(Ok(accepted)) => accepted,
                Some(Err(error)) => {
                    warn!(%error, "a connection to clearinghouse.rest could not be taken");
                    // Files have run out, most likely: trying again at once would only keep a processor busy.
                    tokio::time::sleep(BREATH).await;
                    continue;
                }
            };
            let Some(place) = Place::take(&places, from.ip()) else {
                debug!(remote = %from, "closed: this address has as many connections as one may have");
                continue;
            };
            let (rest, tls, stop) = (Arc::clone(&self), Arc::clone(&tls), stop.clone());
            conversations.spawn(async move {
                rest.shake_hands(stream, from.ip(), &tls, stop).await;
                drop((seat, place));
            });
        }
        conversations.close();
        conversations.wait().await;
    }

    async fn shake_hands(self: Arc<Self>, stream: TcpStream, from: IpAddr, tls: &TlsServer, stop: CancellationToken) {
        // Whoever asks waits for the answer, and each is written at once.
        let _ = stream.set_nodelay(true);
        let shaken = stop.run_until_cancelled(tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream))).await;
        let (stream, certificate) = match shaken {
            Some(Ok(Ok(shaken))) => shaken,
            Some(Ok(Err(refusal))) => {
                info!(remote = %from, reason = %refusal, "a handshake of the REST service was refused");
                return;
            }
            Some(Err(_)) | None => return,
        };
        let caller = Caller { address: from.to_canonical(), certificate, known: Arc::default() };
        self.converse(stream, caller, &stop).await;
    }

    /// One connection: HTTP/1.1, a request at a time.
    pub(super) async fn converse<S>(self: Arc<Self>, stream: S, caller: Caller, stop: &CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = TowerToHyperService::new(self.router(caller));
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN).max_buf_size(BUFFER_MAX);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return told(ended),
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LIFE) => {}
        }
        connection.as_mut().graceful_shutdown();
        if let Ok(ended) = tokio::time::timeout(GRACE, connection).await {
            told(ended);
        }
    }
}

/// What a client does wrong is the client's business.
fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(%error, "a connection of the REST service has ended");
    }
}

/// The connections of each address that has any. There are never more addresses than connections.
type Places = std::collections::HashMap<IpAddr, usize>;

/// One connection's place; given back when dropped.
struct Place {
    places: Arc<Mutex<Places>>,
    network: IpAddr,
}

impl Place {
    fn take(places: &Arc<Mutex<Places>>, address: IpAddr) -> Option<Self> {
        let network = network(address);
        let mut taken = places.lock();
        let count = taken.entry(network).or_default();
        if *count >= PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Self { places: Arc::clone(places), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_gets_them_back() {
        let places = Arc::default();
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut held: Vec<Place> = (0..PER_ADDRESS).map(|_| Place::take(&places, at("2001:db8::1")).unwrap()).collect();
        assert!(Place::take(&places, at("2001:db8::ffff:2")).is_none(), "its network has them all");
        assert!(Place::take(&places, at("192.0.2.1")).is_some());
        held.pop();
        assert!(Place::take(&places, at("2001:db8::2")).is_some());
        drop(held);
        assert!(places.lock().is_empty());
    }
}
