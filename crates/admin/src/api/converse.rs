//! One connection, whatever it comes over: HTTP/1.1, a request at a time.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::{Api, Peer};

impl Api {
    /// Answers the requests of one connection until its peer or `stop` ends it.
    pub async fn converse<S>(self: Arc<Self>, stream: S, peer: Peer, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = TowerToHyperService::new(self.router(peer));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // Also the longest that a connection may be idle.
            .header_read_timeout(HEADER_MAX)
            .max_buf_size(BUFFER_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(?peer, %error, "a connection to the admin API has ended");
        }
    }
}

const HEADER_MAX: Duration = Duration::from_secs(60);
const BUFFER_MAX: usize = 64 * 1024;
