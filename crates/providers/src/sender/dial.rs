//! From a host name to an HTTP/2 connection: a fresh name lookup each time, TCP, TLS, handshake, each within its time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where a provider is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The name that its certificate must hold and that requests carry.
    pub host: Box<str>,
    /// The port: 443, or 2197 at APNs.
    pub port: u16,
    /// Connects here instead of asking for the name's address.
    pub address: Option<SocketAddr>,
}

impl Target {
    /// Host and port as they stand in a request (RFC 9110 §7.2).
    pub(crate) fn authority(&self) -> String {
        // RFC 3986 §3.2.2: an IPv6 address stands in brackets.
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.to_string() };
        match self.port {
            443 => host,
            port => format!("{host}:{port}"),
        }
    }
}

/// The two halves of an HTTP/2 connection: where requests go in, and what moves the bytes.
pub(crate) type Open = (client::SendRequest<Bytes>, Moving);
/// What moves the bytes of a connection.
pub(crate) type Moving = client::Connection<Unvectored<TlsStream<TcpStream>>, Bytes>;

/// Connects. `within` is the time for each step.
pub(crate) async fn dial(target: &Target, tls: &Arc<ClientConfig>, within: Duration) -> Result<Open, DialFault> {
    let name =
        ServerName::try_from(target.host.to_string()).map_err(|_| DialFault::NotAName { host: target.host.clone() })?;
    let tcp = step(Step::Tcp, target, within, connect(target, within)).await?;
    tcp.set_nodelay(true).map_err(|fault| DialFault::io(Step::Tcp, target, &fault))?;
    let stream = step(Step::Tls, target, within, TlsConnector::from(Arc::clone(tls)).connect(name, tcp)).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(DialFault::NoHttp2 { host: target.host.clone() });
    }
    let mut builder = client::Builder::new();
    builder
        // RFC 9113 §6.5.2 lets a client assume no limit until SETTINGS arrive. APNs begins with one stream, and would
        // refuse the rest of a burst.
        .initial_max_send_streams(1)
        .enable_push(false)
        // Answers are small, and up to a thousand may come at once.
        .initial_connection_window_size(1 << 20)
        // h2 takes many small DATA frames at once for an attack. Here each answer is one.
        .data_frame_budget(16 << 20);
    let handshake = async { builder.handshake(Unvectored(stream)).await.map_err(into_io) };
    step(Step::Http2, target, within, handshake).await
}

async fn connect(target: &Target, within: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = match target.address {
        Some(address) => vec![address],
        // Apple asks for a fresh lookup before each connection, so that load spreads over its servers.
        None => tokio::net::lookup_host((&*target.host, target.port)).await?.collect(),
    };
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    }
    // Any of them will do; the first is taken by everybody else too.
    let start = rand::random_range(0..addresses.len());
    let each = within / u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let mut last = None;
    for turn in 0..addresses.len() {
        let address = addresses[(start + turn) % addresses.len()];
        match timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(fault)) => last = Some(fault),
            Err(_) => last = Some(io::ErrorKind::TimedOut.into()),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

async fn step<T>(
    step: Step,
    target: &Target,
    within: Duration,
    work: impl Future<Output = io::Result<T>>,
) -> Result<T, DialFault> {
    match timeout(within, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(fault)) => Err(DialFault::io(step, target, &fault)),
        Err(_) => Err(DialFault::TooSlow { step, host: target.host.clone(), within }),
    }
}

fn into_io(fault: h2::Error) -> io::Error {
    if fault.is_io() { fault.into_io().unwrap_or_else(|| io::ErrorKind::Other.into()) } else { io::Error::other(fault) }
}

/// A step of connecting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Tcp,
    Tls,
    Http2,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "connecting",
            Self::Tls => "the TLS handshake",
            Self::Http2 => "the HTTP/2 handshake",
        })
    }
}

/// Why there is no connection. Repeating may help; a sentence for the status page.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum DialFault {
    #[error("{step} with {host} failed: {fault}")]
    Broken { step: Step, host: Box<str>, fault: Box<str> },
    #[error("{host} does not speak HTTP/2")]
    NoHttp2 { host: Box<str> },
    #[error("\"{host}\" is neither a host name nor an address")]
    NotAName { host: Box<str> },
    #[error("{step} with {host} took longer than {} s", within.as_secs_f32())]
    TooSlow { step: Step, host: Box<str>, within: Duration },
}

impl DialFault {
    fn io(step: Step, target: &Target, fault: &io::Error) -> Self {
        Self::Broken { step, host: target.host.clone(), fault: fault.to_string().into() }
    }
}

/// A stream that does not admit to writing several slices at once.
///
/// h2 copies a body into its write buffer only if the stream is not vectored (up to 1 KiB; else up to 256 bytes), and
/// flushes for each body that it does not copy. TLS cannot write slices without copying anyway, so admitting it would
/// cost one record and one system call per push instead of one for dozens.
pub(crate) struct Unvectored<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Unvectored<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unvectored<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn target(port: u16) -> Target {
        Target { host: "localhost".into(), port, address: None }
    }

    fn tls() -> Arc<ClientConfig> {
        let key = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        crate::tls::Trust::from_pem(key.cert.pem().as_bytes()).unwrap().client(None).unwrap()
    }

    #[test]
    fn the_usual_port_is_left_out_of_the_authority() {
        assert_eq!(target(443).authority(), "localhost");
        assert_eq!(target(2197).authority(), "localhost:2197");
        assert_eq!(Target { host: "::1".into(), ..target(2197) }.authority(), "[::1]:2197");
    }

    #[tokio::test]
    async fn a_closed_port_is_named_with_its_step_and_host() {
        let port = {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let fault = dial(&target(port), &tls(), Duration::from_secs(5)).await.err().unwrap().to_string();
        assert!(fault.starts_with("connecting with localhost failed: "), "{fault}");
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_left_after_a_while() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = Target { address: Some(listener.local_addr().unwrap()), ..target(443) };
        let within = Duration::from_millis(50);
        let fault = dial(&silent, &tls(), within).await.err().unwrap();
        assert_eq!(fault, DialFault::TooSlow { step: Step::Tls, host: "localhost".into(), within });
    }

    #[tokio::test]
    async fn a_host_that_cannot_be_one_is_not_looked_up() {
        let odd = Target { host: "not a host".into(), ..target(443) };
        let fault = dial(&odd, &tls(), Duration::from_secs(1)).await.err().unwrap();
        assert_eq!(fault, DialFault::NotAName { host: "not a host".into() });
    }
}
