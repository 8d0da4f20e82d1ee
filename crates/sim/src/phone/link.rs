//! The phone's one connection, and the task that carries it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use reveille_sip::{Limits, Side, StreamFramer};
use reveille_sip_net::{CloseReason, ConnectError, ConnectTimes, Connected, Flow, TlsClient, Transport, Wire, connect};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::ear::Ear;

/// An open connection. Dropping it severs it, without waiting.
pub(super) struct Link {
    flow: Arc<Flow>,
    stop: DropGuard,
    task: JoinHandle<()>,
}

/// A connection of either kind.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Link {
    /// Connects; what comes in goes to `ear`.
    pub(super) async fn open(
        address: SocketAddr,
        tls: Option<&(Arc<TlsClient>, String)>,
        ear: Arc<Ear>,
    ) -> Result<Self, ConnectError> {
        let (client, name) = match tls {
            Some((client, name)) => (Some(&**client), name.as_str()),
            None => (None, "the registrar"),
        };
        let Connected { stream, local, remote, peer, .. } = connect(name, &[address], client, TIMES).await?;
        let transport = if client.is_some() { Transport::Tls } else { Transport::Tcp };
        let flow = Flow::carried(transport, Side::Initiated, local, remote, peer, QUEUED_BYTES_MAX);
        let stop = CancellationToken::new();
        let task = tokio::spawn(carry(duplex(stream), Arc::clone(&flow), ear, stop.clone()));
        Ok(Self { flow, stop: stop.drop_guard(), task })
    }

    pub(super) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    /// Ends the connection at once: what is queued is lost, and TLS says no farewell.
    pub(super) async fn sever(self) {
        drop(self.stop);
        told(self.task.await);
    }

    /// Writes what is queued, and ends the connection in good order.
    pub(super) async fn close(mut self) {
        self.flow.close(CloseReason::Asked { why: "the phone hangs up" });
        match timeout(FAREWELL, &mut self.task).await {
            Ok(ended) => told(ended),
            // The other side does not read.
            Err(_) => self.sever().await,
        }
    }
}

/// Makes one stream of both kinds.
pub(super) fn duplex(wire: Wire) -> Box<dyn Duplex> {
    match wire {
        Wire::Plain(stream) => Box::new(stream),
        Wire::Tls(stream) => Box::new(stream),
    }
}

fn told(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a phone's connection task failed");
    }
}

async fn carry(stream: Box<dyn Duplex>, flow: Arc<Flow>, ear: Arc<Ear>, stop: CancellationToken) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let why = tokio::select! {
        // Nothing is read or answered once the app is frozen.
        biased;
        () = stop.cancelled() => CloseReason::Asked { why: "the app is frozen" },
        why = hear(&mut reader, &flow, &ear) => why,
        why = speak(&mut writer, &flow) => why,
    };
    tracing::debug!(peer.address = %flow.remote(), %why, "the phone's connection ended");
    flow.finish(&why);
    ear.flow_gone(&flow);
}

/// Takes in what comes, until the connection ends.
async fn hear(reader: &mut (impl AsyncRead + Unpin), flow: &Arc<Flow>, ear: &Ear) -> CloseReason {
    let mut framer = StreamFramer::new(Limits::default(), Side::Initiated);
    let mut inbox = BytesMut::new();
    loop {
        match reader.read_buf(&mut inbox).await {
            Ok(0) => return CloseReason::PeerClosed,
            Ok(_) => flow.note_heard(),
            Err(error) => return broken(&error),
        }
        loop {
            match framer.next(&mut inbox) {
                Ok(Some(frame)) => ear.hear(flow, frame),
                Ok(None) => break,
                Err(error) => return CloseReason::Framing(error),
            }
        }
    }
}

/// Writes what is queued, until somebody closes the flow.
async fn speak(writer: &mut (impl AsyncWrite + Unpin), flow: &Flow) -> CloseReason {
    let mut chunks = VecDeque::new();
    loop {
        poll_fn(|cx| if flow.park(cx) { Poll::Pending } else { Poll::Ready(()) }).await;
        // Asked before the queue is emptied: after it nothing is queued any more.
        let closing = flow.closing();
        while flow.take_queued(&mut chunks) {
            while let Some(chunk) = chunks.pop_front() {
                if let Err(error) = writer.write_all(&chunk).await {
                    return broken(&error);
                }
                flow.written(chunk.len());
            }
        }
        let ended = match &closing {
            Some(_) => writer.shutdown().await,
            None => writer.flush().await,
        };
        match (ended, closing) {
            (Ok(()), None) => {}
            (Ok(()), Some(why)) => return why,
            (Err(error), _) => return broken(&error),
        }
    }
}

fn broken(error: &io::Error) -> CloseReason {
    CloseReason::Io { kind: error.kind(), detail: error.to_string() }
}

/// Bounds of connecting: a phone gives up sooner than a server.
pub(super) const TIMES: ConnectTimes =
    ConnectTimes { connect: Duration::from_secs(5), handshake: Duration::from_secs(5) };
/// For the last bytes when the phone hangs up.
const FAREWELL: Duration = Duration::from_secs(2);
/// Bytes that may wait to be written.
const QUEUED_BYTES_MAX: usize = 1024 * 1024;
