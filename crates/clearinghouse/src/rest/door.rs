//! The listener: connections with TLS, HTTP/1.1 or HTTP/2 on them, their number, their times.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use reveille_sip_net::TlsServer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::Rest;
use super::account::Caller;
use super::guesses::network;
use super::presence::{Presence, Presences};
use super::seats::PER_ACCOUNT;

/// Connections at once; when there are so many, those on which nobody is known go, the oldest first.
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
/// Requests of one HTTP/2 connection at once: as many as its account may have.
const STREAMS_MAX: u32 = PER_ACCOUNT as u32;
/// The largest header of an HTTP/2 request, in bytes as RFC 9113 §6.5.2 counts them.
const FIELDS_BYTES_MAX: u32 = 16 * 1024;
/// What one HTTP/2 request may send before it is read: the largest body.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What all requests of one HTTP/2 connection may: this much memory a stranger can take.
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to say so.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_WITHIN: Duration = Duration::from_secs(10);
const BREATH: Duration = Duration::from_millis(100);

/// What is spoken on a connection, as ALPN has settled it (RFC 7301).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Speech {
    Http1,
    Http2,
}

/// What the TLS side offers, for [`Rest::serve`].
pub const PROTOCOLS: [&[u8]; 2] = [H2, b"http/1.1"];
/// RFC 9113 §3.1.
const H2: &[u8] = b"h2";

/// Where the requests of an HTTP/2 connection run: all are known, and waited for at the end.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, request: F) {
        self.0.spawn(request);
    }
}

impl Rest {
    /// Answers until `stop`, and then waits for what is under way, which is bounded in time.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, tls: Arc<TlsServer>, stop: CancellationToken) {
        let at = listener.local_addr().map(|at| at.to_string()).unwrap_or_default();
        info!(listen = at, "push requests over HTTPS are listened to");
        let (seats, places, presences) =
            (Arc::new(Semaphore::new(CONNECTIONS_MAX)), Arc::new(Mutex::new(Places::default())), Presences::default());
        let conversations = TaskTracker::new();
        loop {
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
            if seats.available_permits() == 0 {
                // Whoever comes may be somebody; of those who have shown nothing for longest that is less likely.
                presences.turn_out();
            }
            let Some(Ok(seat)) = stop.run_until_cancelled(Arc::clone(&seats).acquire_owned()).await else { break };
            let (rest, tls, stop, entry) = (Arc::clone(&self), Arc::clone(&tls), stop.clone(), presences.enter());
            let tasks = Tasks(conversations.clone());
            conversations.spawn(async move {
                tokio::select! {
                    () = entry.presence.turned_out() => debug!(remote = %from, "closed: its room is needed"),
                    () = rest.shake_hands(stream, from.ip(), &tls, &entry.presence, (tasks, stop)) => {}
                }
                drop((seat, place, entry));
            });
        }
        conversations.close();
        conversations.wait().await;
    }

    async fn shake_hands(
        self: Arc<Self>,
        stream: TcpStream,
        from: IpAddr,
        tls: &TlsServer,
        presence: &Arc<Presence>,
        (tasks, stop): (Tasks, CancellationToken),
    ) {
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
        let presence = Arc::clone(presence);
        let caller = Caller { address: from.to_canonical(), certificate, known: Arc::default(), presence };
        let presence = Arc::clone(&caller.presence);
        let speech = match stream.get_ref().1.alpn_protocol() {
            Some(H2) => Speech::Http2,
            _ => Speech::Http1,
        };
        let service = TowerToHyperService::new(self.router(caller));
        match speech {
            Speech::Http1 => {
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(HEADER_WITHIN).max_buf_size(BUFFER_MAX);
                converse(builder.serve_connection(TokioIo::new(stream), service), &presence, &stop).await;
            }
            Speech::Http2 => {
                let connection = http2(tasks).serve_connection(TokioIo::new(stream), service);
                converse(connection, &presence, &stop).await;
            }
        }
    }
}

fn http2(tasks: Tasks) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(tasks);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(FIELDS_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(BUFFER_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_WITHIN);
    builder
}

/// A connection of either kind, which can be asked to end when what is under way is done.
trait Ends: Future<Output = hyper::Result<()>> {
    fn end(self: Pin<&mut Self>);
}

type Service = TowerToHyperService<Router>;

impl Ends for http1::Connection<TokioIo<TlsStream<TcpStream>>, Service> {
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl Ends for http2::Connection<TokioIo<TlsStream<TcpStream>>, Service, Tasks> {
    fn end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// One connection, until it ends, is idle for too long, has lived for long enough, or must stop.
async fn converse<C: Ends>(connection: C, presence: &Presence, stop: &CancellationToken) {
    let mut connection = std::pin::pin!(connection);
    let end = Instant::now() + LIFE;
    while !presence.is_idle(HEADER_WITHIN) {
        // A request that takes its time is looked at again when it has had as much.
        let next = presence.idle_from(HEADER_WITHIN).max(Instant::now() + BREATH).min(end);
        tokio::select! {
            ended = connection.as_mut() => return told(ended),
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(next.into()) => if next == end { break },
        }
    }
    connection.as_mut().end();
    if let Ok(ended) = tokio::time::timeout(GRACE, connection).await {
        told(ended);
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
