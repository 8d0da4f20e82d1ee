//! One connection, whatever it comes over: HTTP/1.1, a request at a time.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::line::Line;
use super::{Api, Peer};

impl Api {
    /// Answers the requests of one connection until its peer or `stop` ends it. From elsewhere the first request must come
    /// at once and show who asks, or the connection ends.
    pub async fn converse<S>(self: Arc<Self>, stream: S, peer: Peer, stop: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let line = Line::new(peer);
        let service = TowerToHyperService::new(self.router(line.clone()));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_MAX)
            .max_buf_size(BUFFER_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = overdue(&line) => {
                tracing::debug!(?peer, "closed: nobody has shown in time who he is");
                return;
            }
            () = unread(&line) => {
                tracing::debug!(?peer, "closed: nobody reads the answer");
                return;
            }
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = unread(&line) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(?peer, %error, "a connection to the admin API has ended");
        }
    }
}

/// Ends when a connection has had its time without a request, or without anybody being let in.
async fn overdue(line: &Line) {
    tokio::time::sleep(FIRST_MAX).await;
    if line.is_known() || line.has_begun() {
        tokio::time::sleep(UNKNOWN_MAX - FIRST_MAX).await;
    }
    if line.is_known() {
        std::future::pending::<()>().await;
    }
}

/// Ends when an answer was not read for too long, or is read so slowly that it takes too long in all: it holds memory, and a
/// cmdlet's seat.
pub(super) async fn unread(line: &Line) {
    while line.stands_still() < UNREAD_MAX && line.has_been_sending() < READING_MAX {
        tokio::time::sleep(UNREAD_MAX / 6).await;
    }
}

/// How long an answer may wait for whoever asked for it.
const UNREAD_MAX: Duration = Duration::from_secs(30);
/// How long it may take in all to read one: of the longest 55 kB a second.
const READING_MAX: Duration = Duration::from_secs(600);
/// By when the first request's fields must have come, and by when somebody must have been let in.
const FIRST_MAX: Duration = Duration::from_secs(10);
const UNKNOWN_MAX: Duration = Duration::from_secs(30);
/// For each further request's fields, and so the longest that a known connection may be idle.
const HEADER_MAX: Duration = Duration::from_secs(60);
const BUFFER_MAX: usize = 64 * 1024;
