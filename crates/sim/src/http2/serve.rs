//! Moves one connection over a transport: reads all that is there, lets the service answer, writes once.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::timeout;

use super::connection::{Connection, Event};

/// Who answers the requests. It never waits: what cannot be answered yet is kept, and answered from outside of
/// [`serve`] by [`Connection::respond`].
pub(crate) trait Service {
    /// Something happened on the connection.
    fn on_event(&mut self, connection: &mut Connection, event: Event);
}

/// Why [`serve`] returned.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ending {
    /// The peer closed its side, or the transport broke.
    PeerGone,
    /// The connection ended by its own rules; everything owed is written.
    Over,
}

/// Serves until the connection ends. The future may be dropped and called for anew at any time: all state is in
/// `connection`, so a caller can put it in `select!` beside other things that answer requests.
pub(crate) async fn serve<T, S>(transport: &mut T, connection: &mut Connection, service: &mut S) -> Ending
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    poll_fn(|cx| poll_serve(cx, transport, connection, service)).await
}

fn poll_serve<T, S>(
    cx: &mut Context<'_>,
    transport: &mut T,
    connection: &mut Connection,
    service: &mut S,
) -> Poll<Ending>
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Service,
{
    loop {
        // A peer that does not read its answers is not read from either.
        let mut waiting_for_input = true;
        while connection.out.len() < OUT_BYTES_HIGH && !connection.is_over() {
            match poll_input(cx, transport, &mut connection.input) {
                Poll::Ready(true) => {
                    connection.process();
                    while !connection.is_over()
                        && let Some(event) = connection.next_event()
                    {
                        service.on_event(connection, event);
                    }
                }
                Poll::Ready(false) => return Poll::Ready(Ending::PeerGone),
                Poll::Pending => break,
            }
            waiting_for_input = false;
        }
        // One write for all the answers of this wake.
        while !connection.out.is_empty() {
            match ready!(Pin::new(&mut *transport).poll_write(cx, &connection.out)) {
                Ok(0) | Err(_) => return Poll::Ready(Ending::PeerGone),
                Ok(written) => drop(connection.out.drain(..written)),
            }
        }
        if ready!(Pin::new(&mut *transport).poll_flush(cx)).is_err() {
            return Poll::Ready(Ending::PeerGone);
        }
        if connection.is_over() {
            return Poll::Ready(Ending::Over);
        }
        if waiting_for_input {
            return Poll::Pending;
        }
    }
}

/// Appends what the transport has; false at its end.
fn poll_input<T: AsyncRead + Unpin>(cx: &mut Context<'_>, transport: &mut T, input: &mut BytesMut) -> Poll<bool> {
    let mut scratch = [const { std::mem::MaybeUninit::uninit() }; READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut scratch);
    if ready!(Pin::new(transport).poll_read(cx, &mut buffer)).is_err() || buffer.filled().is_empty() {
        return Poll::Ready(false);
    }
    input.extend_from_slice(buffer.filled());
    Poll::Ready(true)
}

/// Closes a transport so that the last bytes arrive: a socket closed with unread input would be reset, and the reset
/// can overtake them.
pub(crate) async fn close<T: AsyncRead + AsyncWrite + Unpin>(transport: &mut T) {
    let closing = async {
        if transport.shutdown().await.is_err() {
            return;
        }
        let mut sink = [0; 4096];
        while matches!(transport.read(&mut sink).await, Ok(read) if read > 0) {}
    };
    // Whoever does not close its side in this time is cut off.
    let _ = timeout(CLOSE_TIME, closing).await;
}

const OUT_BYTES_HIGH: usize = 256 << 10;
const READ_BYTES: usize = 16 << 10;
const CLOSE_TIME: Duration = Duration::from_secs(1);
