//! The simulator as its users hold it: start, steer, look, stop.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Extension;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::RwLock;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::FcmAnswer;
use super::oauth::Grants;
use super::options::FcmOptions;
use super::push::FcmPush;
use super::send::{Peer, router};
use crate::certs::ServiceAccount;
use crate::clock::Clock;
use crate::hold::Hold;
use crate::line::{Line, Outage, StartFailure, Talk};
use crate::recorder::Recorder;
use crate::script::{Scripts, Times, TooManyScripts};

/// A running FCM simulator. Dropping it stops it; [`FcmSimulator::shutdown`] also waits for its tasks.
#[derive(Debug)]
pub struct FcmSimulator {
    controls: FcmControls,
}

/// The levers of a running simulator, for as many holders as need them.
#[derive(Clone, Debug)]
pub struct FcmControls {
    shared: Arc<Shared>,
    line: Arc<Line>,
}

/// What all requests to one simulator see.
#[derive(Debug)]
pub(super) struct Shared {
    addr: OnceLock<SocketAddr>,
    pub(super) accounts: RwLock<Vec<ServiceAccount>>,
    pub(super) grants: Grants,
    pub(super) clock: Clock,
    pub(super) recorder: Arc<Recorder<FcmPush>>,
    pub(super) scripts: Scripts<FcmAnswer>,
    pub(super) hold: Hold,
    /// The tasks of HTTP/2 streams.
    streams: TaskTracker,
}

impl Shared {
    pub(super) fn port(&self) -> u16 {
        self.addr.get().map_or(0, SocketAddr::port)
    }
}

impl FcmSimulator {
    /// Binds, and serves until [`FcmSimulator::shutdown`].
    pub async fn start(options: FcmOptions) -> Result<Self, StartFailure> {
        let tls = Arc::new(options.identity.server_config(&[b"h2", b"http/1.1"])?);
        let shared = Arc::new(Shared {
            addr: OnceLock::new(),
            accounts: RwLock::new(options.accounts),
            grants: Grants::default(),
            clock: options.clock,
            recorder: Arc::new(Recorder::new(options.keep)),
            scripts: Scripts::new(),
            hold: Hold::default(),
            streams: TaskTracker::new(),
        });
        let for_talks = Arc::clone(&shared);
        let conversation =
            Arc::new(move |stream, number| -> Talk { Box::pin(talk(Arc::clone(&for_talks), stream, number)) });
        let line = Line::start(options.listen, tls, conversation).await?;
        shared.addr.get_or_init(|| line.addr());
        Ok(Self { controls: FcmControls { shared, line: Arc::new(line) } })
    }

    /// The levers, to be shared.
    pub fn controls(&self) -> FcmControls {
        self.controls.clone()
    }

    /// Closes the listener and all connections, and waits for their tasks.
    pub async fn shutdown(self) {
        self.controls.line.shutdown().await;
        self.controls.shared.streams.close();
        self.controls.shared.streams.wait().await;
    }
}

impl Deref for FcmSimulator {
    type Target = FcmControls;

    fn deref(&self) -> &FcmControls {
        &self.controls
    }
}

impl FcmControls {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.line.addr()
    }

    /// The address of the OAuth endpoint by IP, for an account's `token_uri`.
    pub fn token_uri(&self) -> String {
        format!("https://{}/token", self.addr())
    }

    /// What it remembers.
    pub fn recorder(&self) -> &Arc<Recorder<FcmPush>> {
        &self.shared.recorder
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.line.live()
    }

    /// Makes another service account known.
    pub fn add_account(&self, account: ServiceAccount) {
        self.shared.accounts.write().push(account);
    }

    /// Makes every access token invalid, as if each had expired.
    pub fn expire_tokens(&self) {
        self.shared.grants.revoke_all();
    }

    /// Answers for the next messages to `token` (a token, fid, topic or condition), or to any; with
    /// [`super::TOKEN_ENDPOINT`] for the OAuth endpoint. Only messages that keep the rules consume answers.
    pub fn script(&self, token: Option<&str>, answers: Vec<FcmAnswer>, times: Times) -> Result<(), TooManyScripts> {
        self.shared.scripts.add(token, answers, times)
    }

    /// Forgets all scripts.
    pub fn clear_scripts(&self) {
        self.shared.scripts.clear();
    }

    /// From now on answers wait for [`FcmControls::release`]; messages are recorded as held.
    pub fn hold(&self) {
        self.shared.hold.on();
    }

    /// Gives all answers that wait, and ends the hold.
    pub fn release(&self) {
        self.shared.hold.release();
    }

    /// Closes every connection and takes no more; returns when that is so.
    pub async fn down(&self, outage: Outage) {
        self.line.down(outage).await;
    }

    /// Accepts connections again.
    pub async fn up(&self) {
        self.line.up().await;
    }
}

/// Talks HTTP/1.1 or HTTP/2 until the connection ends.
async fn talk(shared: Arc<Shared>, stream: TlsStream<TcpStream>, connection: u64) {
    let hang_up = CancellationToken::new();
    // Whichever way this ends, the tasks of its HTTP/2 streams end with it.
    let _ended = hang_up.clone().drop_guard();
    let peer = Peer { connection, hang_up: hang_up.clone() };
    let streams = Streams { tasks: shared.streams.clone(), ended: hang_up.clone() };
    let mut server = auto::Builder::new(streams);
    server.http1().timer(TokioTimer::new()).header_read_timeout(IDLE_TIME);
    server.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS_MAX);
    let service = TowerToHyperService::new(router(shared).layer(Extension(peer)));
    let serving = server.serve_connection(TokioIo::new(stream), service);
    if let Some(Err(broken)) = hang_up.run_until_cancelled(serving).await {
        tracing::debug!(reason = %broken, "connection to the FCM simulator broke");
    }
}

/// Where hyper runs the streams of one HTTP/2 connection: owned, and ended with it.
#[derive(Clone)]
struct Streams {
    tasks: TaskTracker,
    ended: CancellationToken,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let ended = self.ended.clone();
        self.tasks.spawn(async move { ended.run_until_cancelled(stream).await });
    }
}

const IDLE_TIME: Duration = Duration::from_secs(120);
const STREAMS_MAX: u32 = 100;
