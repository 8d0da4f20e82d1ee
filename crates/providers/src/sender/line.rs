//! The bytes of one connection: what waits to be written goes out in one piece, what comes is read in large pieces.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use reveille_http2::{Client, Options};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use super::dial::Transport;

/// One HTTP/2 connection on its transport. `T` is what its owner wants back with an answer.
pub(crate) struct Line<T> {
    pub(crate) client: Client<T>,
    transport: Transport,
    /// Bytes of output that the transport did not take when it was last asked.
    left: usize,
    buffer: Box<[u8]>,
    /// It is to be closed once nothing is under way.
    closing: Closing,
    /// It takes no more bytes, and may still give some.
    is_broken: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Closing {
    No,
    /// It was asked for, and nobody has looked yet.
    Asked,
    Seen,
}

impl<T> Line<T> {
    pub(crate) fn new(transport: Transport) -> Self {
        let options = Options { wanted: &WANTED, body_bytes_max: BODY_BYTES_MAX, window: WINDOW };
        let buffer = vec![0; READ_BYTES].into();
        Self { client: Client::new(options), transport, left: 0, buffer, closing: Closing::No, is_broken: false }
    }

    /// Says goodbye, and ends once nothing is under way.
    pub(crate) fn close(&mut self) {
        if self.closing == Closing::No {
            self.closing = Closing::Asked;
            self.client.say_goodbye();
        }
    }

    /// Whether there is something that [`Self::poll`] has not seen yet.
    pub(crate) fn is_stirred(&self) -> bool {
        self.client.output().len() != self.left || self.closing == Closing::Asked
    }

    /// Moves what can be moved. Ready with the reason once the connection has ended; what was under way has ended by
    /// then, too.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Cow<'static, str>> {
        let why: Cow<'static, str> = match ready!(self.move_bytes(cx)) {
            Ok(why) => why.into(),
            Err(fault) => fault.to_string().into(),
        };
        // What the client knows says more than how the socket ended.
        self.client.end(why);
        Poll::Ready(self.client.farewell().map_or(Cow::Borrowed(CLOSED), |farewell| farewell.why.clone()))
    }

    fn move_bytes(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&'static str>> {
        if self.closing == Closing::Asked {
            self.closing = Closing::Seen;
        }
        if self.is_broken {
            return self.hear_out(cx);
        }
        loop {
            let written = match self.write(cx) {
                Ok(written) => written,
                Err(fault) => {
                    self.is_broken = true;
                    self.client.take_no_more(fault.to_string());
                    return self.hear_out(cx);
                }
            };
            let ends = self.client.is_over() || (self.closing == Closing::Seen && self.client.under_way() == 0);
            if ends {
                ready!(written);
                let _ = ready!(Pin::new(&mut self.transport).poll_shutdown(cx));
                return Poll::Ready(Ok(CLOSED_HERE));
            }
            // A peer that does not read is not read from either.
            if self.client.is_choked() {
                return Poll::Pending;
            }
            let mut read = ReadBuf::new(&mut self.buffer);
            match Pin::new(&mut self.transport).poll_read(cx, &mut read)? {
                Poll::Ready(()) if read.filled().is_empty() => return Poll::Ready(Ok(CLOSED)),
                Poll::Ready(()) => self.client.receive(read.filled()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Nothing can be written any more. What the peer said before that is still there to be read: answers without which
    /// their pushes would be sent twice, and the GOAWAY that says why. Its end comes behind it.
    fn hear_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&'static str>> {
        while !self.client.is_over() && !self.client.is_choked() {
            // Nobody need look at what is never written.
            self.left = self.client.output().len();
            let mut read = ReadBuf::new(&mut self.buffer);
            ready!(Pin::new(&mut self.transport).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                break;
            }
            self.client.receive(read.filled());
        }
        Poll::Ready(Ok(CLOSED))
    }

    /// Writes all that waits. Pending while some of it does.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        let transport = &mut self.transport;
        while !self.client.output().is_empty() {
            // One record of TLS at a time (RFC 8446 §5.1): of a write that fails the peer has no whole record, so that what
            // was in it, and behind it, is known to be unprocessed and can be sent elsewhere, calls too.
            let record = &self.client.output()[..self.client.output().len().min(RECORD_BYTES)];
            match Pin::new(&mut *transport).poll_write(cx, record) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => self.client.written(count),
                Poll::Ready(Err(fault)) => return Err(fault),
                Poll::Pending => {
                    self.left = self.client.output().len();
                    return Ok(Poll::Pending);
                }
            }
        }
        self.left = 0;
        // TLS may have kept some of it.
        match Pin::new(transport).poll_flush(cx) {
            Poll::Ready(Ok(())) => Ok(Poll::Ready(())),
            Poll::Ready(Err(fault)) => Err(fault),
            Poll::Pending => Ok(Poll::Pending),
        }
    }
}

/// The fields of an answer that anybody reads.
const WANTED: [&str; 3] = ["apns-unique-id", "date", "retry-after"];
/// How much of an answer's body is kept. A reason takes some dozen bytes, Google's longest error a few hundred, a token
/// of Google's some thousand.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// Answers are small, and up to a thousand may come at once.
const WINDOW: u32 = 1 << 20;
const READ_BYTES: usize = 16 * 1024;
const RECORD_BYTES: usize = 16 * 1024;
const CLOSED: &str = "the provider closed it";
const CLOSED_HERE: &str = "it was closed here";

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use reveille_http2::frame::{self, flag, kind};
    use reveille_http2::hpack::put_status;
    use reveille_http2::{ErrorCode, Keep, Request, name};
    use reveille_sim::certs::{Ca, Leaf};
    use rustls::{ClientConfig, ServerConfig};
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector, server};

    use super::*;

    /// Both ends of a connection.
    async fn pair() -> (Transport, server::TlsStream<TcpStream>) {
        let ca = Ca::new("Authority of this test").unwrap();
        let identity = ca.issue(Leaf::new("server", &["localhost"])).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(ca.roots().unwrap())
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(identity.chain(), identity.key())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = async {
            let tcp = TcpStream::connect(address).await.unwrap();
            TlsConnector::from(Arc::new(client)).connect("localhost".try_into().unwrap(), tcp).await.unwrap()
        };
        let accept = async {
            let (tcp, _) = listener.accept().await.unwrap();
            TlsAcceptor::from(Arc::new(server)).accept(tcp).await.unwrap()
        };
        tokio::join!(connect, accept)
    }

    #[tokio::test]
    async fn what_was_said_before_the_connection_broke_is_heard_though_nothing_can_be_written() {
        let (transport, mut server) = pair().await;
        let mut line = Line::new(transport);
        let mut request = Request::new();
        request.field(name::METHOD, b"POST", Keep::Table);
        line.client.send(7, &request).unwrap();
        assert!(poll_fn(|cx| Poll::Ready(line.poll(cx).is_pending())).await);

        let mut said = Vec::new();
        frame::put_settings(&mut said, &[]);
        let at = said.len();
        frame::put_head(&mut said, 0, kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1);
        put_status(&mut said, 410);
        frame::close_head(&mut said, at);
        frame::put_go_away(&mut said, 1, ErrorCode::NO_ERROR, b"bye");
        server.write_all(&said).await.unwrap();
        server.flush().await.unwrap();
        // What it has not read makes its end a reset.
        drop(server);

        assert!(line.client.ping());
        let why = poll_fn(|cx| line.poll(cx)).await;
        assert_eq!(why, "the peer goes away with NO_ERROR: bye");
        let ended = line.client.next_ended().unwrap();
        assert_eq!((ended.cargo, ended.how.map(|answer| answer.status)), (7, Ok(410)));
    }

    #[tokio::test]
    async fn what_could_not_be_written_any_more_is_unprocessed() {
        let (transport, mut server) = pair().await;
        let mut line = Line::new(transport);
        let mut request = Request::new();
        request.field(name::METHOD, b"POST", Keep::Table);
        line.client.send(7, &request).unwrap();
        server.write_all(&[0, 0, 0, kind::SETTINGS, 0, 0, 0, 0, 0]).await.unwrap();
        server.flush().await.unwrap();
        let settled = poll_fn(|cx| {
            assert!(line.poll(cx).is_pending());
            if line.client.room() > 0 { Poll::Ready(()) } else { Poll::Pending }
        });
        settled.await;
        drop(server);
        // The provider is gone, and nobody has noticed.
        for cargo in 8..100 {
            request.body.resize(1000, b'x');
            line.client.send(cargo, &request).unwrap();
        }
        poll_fn(|cx| line.poll(cx)).await;
        let ended = std::iter::from_fn(|| line.client.next_ended());
        let lost: Vec<_> = ended.map(|ended| (ended.cargo, ended.how.unwrap_err().unprocessed)).collect();
        assert_eq!(lost, (7..100).map(|cargo| (cargo, cargo > 7)).collect::<Vec<_>>());
    }
}
