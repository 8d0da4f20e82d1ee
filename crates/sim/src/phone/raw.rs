//! A connection that sends whatever bytes it is given: a hostile or foreign partner for tests.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use reveille_sip::{Frame, FrameError, Limits, Message, Side, StreamFramer};
use reveille_sip_net::{ConnectError, Connected, PeerCertificate, TlsClient, connect};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::link::{Duplex, TIMES, duplex};

/// Why a raw connection has nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// The other side ended the connection.
    #[error("the other side closed the connection")]
    Closed,
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The other side sends something that is not SIP.
    #[error("what came is not SIP: {0}")]
    Framing(FrameError),
    /// The connection failed; a certificate that is refused in TLS 1.3 shows itself here.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// Nothing came.
    #[error("nothing came within {} ms", within.as_millis())]
    TimedOut {
        /// How long was waited.
        within: Duration,
    },
}

/// A connection without manners: it sends bytes as they are, answers nothing by itself, and reads only when asked.
pub struct RawSip {
    stream: Box<dyn Duplex>,
    framer: StreamFramer,
    inbox: BytesMut,
    /// Requests that came while a response was awaited.
    aside: VecDeque<Message>,
    local: SocketAddr,
    peer: Option<Arc<PeerCertificate>>,
}

impl RawSip {
    /// Plain TCP.
    pub async fn tcp(address: SocketAddr) -> Result<Self, RawError> {
        Ok(Self::over(connect("the peer", &[address], None, TIMES).await?))
    }

    /// TLS with the identity of `client`; the peer must prove `name`.
    pub async fn tls(address: SocketAddr, client: &TlsClient, name: &str) -> Result<Self, RawError> {
        Ok(Self::over(connect(name, &[address], Some(client), TIMES).await?))
    }

    /// A connection that the caller has made, from `local`: for odd handshakes and odd addresses.
    pub fn on(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, local: SocketAddr) -> Self {
        Self::of(Box::new(stream), local, None)
    }

    fn over(connected: Connected) -> Self {
        let Connected { stream, local, peer, .. } = connected;
        Self::of(duplex(stream), local, peer)
    }

    fn of(stream: Box<dyn Duplex>, local: SocketAddr, peer: Option<Arc<PeerCertificate>>) -> Self {
        let framer = StreamFramer::new(Limits::default(), Side::Initiated);
        Self { stream, framer, inbox: BytesMut::new(), aside: VecDeque::new(), local, peer }
    }

    /// Our end, for Via and Contact.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The peer's certificate, if it is TLS.
    pub fn peer(&self) -> Option<&Arc<PeerCertificate>> {
        self.peer.as_ref()
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>, within: Duration) -> Result<(), RawError> {
        let writing = async {
            self.stream.write_all(bytes.as_ref()).await?;
            self.stream.flush().await
        };
        timeout_at(Instant::now() + within, writing).await.map_err(|_| RawError::TimedOut { within })??;
        Ok(())
    }

    /// Sends bytes as they are and returns the next final response, whichever request it belongs to. Provisional ones
    /// are passed over; requests that come meanwhile wait for [`RawSip::next`], the first thousand of them.
    pub async fn send_and_wait(&mut self, bytes: impl AsRef<[u8]>, within: Duration) -> Result<Message, RawError> {
        let end = Instant::now() + within;
        self.send(bytes, within).await?;
        loop {
            let message = self.read(end, within).await?;
            match message.status() {
                Some(200..) => return Ok(message),
                Some(_) => {}
                None if self.aside.len() < ASIDE_MAX => self.aside.push_back(message),
                None => {}
            }
        }
    }

    /// The next message of any kind, malformed ones too as far as they can be read.
    pub async fn next(&mut self, within: Duration) -> Result<Message, RawError> {
        match self.aside.pop_front() {
            Some(message) => Ok(message),
            None => self.read(Instant::now() + within, within).await,
        }
    }

    /// Waits until the other side has ended the connection; messages that come before are dropped.
    pub async fn closed(&mut self, within: Duration) -> Result<(), RawError> {
        let end = Instant::now() + within;
        loop {
            match self.read(end, within).await {
                Ok(_) => {}
                Err(RawError::Closed | RawError::Io(_)) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn read(&mut self, end: Instant, within: Duration) -> Result<Message, RawError> {
        loop {
            match self.framer.next(&mut self.inbox).map_err(RawError::Framing)? {
                Some(Frame::Message(message) | Frame::Bad { message, .. }) => return Ok(message),
                Some(Frame::Ping | Frame::Pong) => continue,
                None => {}
            }
            let reading = timeout_at(end, self.stream.read_buf(&mut self.inbox)).await;
            if reading.map_err(|_| RawError::TimedOut { within })?? == 0 {
                return Err(RawError::Closed);
            }
        }
    }
}

impl fmt::Debug for RawSip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawSip").field("local", &self.local).finish_non_exhaustive()
    }
}

/// Requests kept while a response is awaited.
const ASIDE_MAX: usize = 1_000;
