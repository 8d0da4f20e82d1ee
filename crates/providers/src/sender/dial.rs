//! From a host name to a transport for HTTP/2: a fresh name lookup each time, TCP, TLS, each within its time.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::proxy::{Proxy, ProxyFault};

/// Where a provider is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The name that its certificate must hold and that requests carry.
    pub host: Box<str>,
    /// The port: 443, or 2197 at APNs.
    pub port: u16,
    /// Connects here instead of asking for the name's address.
    pub address: Option<SocketAddr>,
    /// Goes through this proxy, which then asks for the name's address.
    pub proxy: Option<Proxy>,
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

    /// Host and port as a tunnel is asked for (RFC 9110 §9.3.6: the port is never left out).
    fn tunnel_authority(&self) -> String {
        match self.port {
            443 => format!("{}:443", self.authority()),
            _ => self.authority(),
        }
    }

    /// What tells one server from another: what is true of this place is true for all lanes to it.
    pub(super) fn place(&self) -> String {
        let address = self.address.map(|address| format!(" at {address}")).unwrap_or_default();
        let proxy = self.proxy.as_ref().map(|proxy| format!(" by {proxy}")).unwrap_or_default();
        format!("{}:{}{address}{proxy}", self.host, self.port)
    }
}

/// What carries an HTTP/2 connection.
pub(crate) type Transport = TlsStream<TcpStream>;

/// Connects. `within` is the time for each step.
pub(crate) async fn dial(target: &Target, tls: &Arc<ClientConfig>, within: Duration) -> Result<Transport, DialFault> {
    let name =
        ServerName::try_from(target.host.to_string()).map_err(|_| DialFault::NotAName { host: target.host.clone() })?;
    let tcp = match &target.proxy {
        None => step(Step::Tcp, target, within, connect(&target.host, target.port, target.address)).await?,
        Some(proxy) => through(proxy, target, within).await?,
    };
    tcp.set_nodelay(true).map_err(|fault| DialFault::io(Step::Tcp, target, &fault))?;
    let stream = step(Step::Tls, target, within, TlsConnector::from(Arc::clone(tls)).connect(name, tcp)).await?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(DialFault::NoHttp2 { host: target.host.clone() });
    }
    Ok(stream)
}

/// A tunnel through the proxy. Its faults are told apart from the provider's.
async fn through(proxy: &Proxy, target: &Target, within: Duration) -> Result<TcpStream, DialFault> {
    let tunnel = async {
        let mut tcp = connect(proxy.host(), proxy.port(), None).await?;
        proxy.tunnel(&mut tcp, &target.tunnel_authority()).await?;
        Ok::<_, ProxyFault>(tcp)
    };
    let fault = |fault: String| DialFault::Proxy { proxy: proxy.to_string().into(), fault: fault.into() };
    match timeout(within, tunnel).await {
        Ok(Ok(tcp)) => Ok(tcp),
        Ok(Err(why)) => Err(fault(why.to_string())),
        Err(_) => Err(fault(format!("it has made no tunnel within {} s", within.as_secs_f32()))),
    }
}

async fn connect(host: &str, port: u16, address: Option<SocketAddr>) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = match address {
        Some(address) => vec![address],
        // Apple asks for a fresh lookup before each connection, so that load spreads over its servers.
        None => tokio::net::lookup_host((host, port)).await?.collect(),
    };
    // Any of them will do; the first is taken by everybody else too.
    let start = if addresses.is_empty() { 0 } else { rand::random_range(0..addresses.len()) };
    race(in_turns(addresses, start)).await
}

/// The addresses from `start` on, those of IPv6 and IPv4 by turns, so that a network which swallows one kind costs one
/// delay (RFC 8305 §4).
fn in_turns(mut addresses: Vec<SocketAddr>, start: usize) -> Vec<SocketAddr> {
    addresses.rotate_left(start);
    let (six, four): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv6);
    let both = six.len().min(four.len());
    let pairs: Vec<_> = six.iter().zip(&four).flat_map(|(six, four)| [*six, *four]).collect();
    pairs.into_iter().chain(six[both..].iter().copied()).chain(four[both..].iter().copied()).collect()
}

/// The first address that answers. The next one is tried when one fails, or has not answered for a moment, and those
/// before it may still win (RFC 8305 §5).
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let (mut waiting, mut trying) = (addresses.into_iter(), FuturesUnordered::new());
    loop {
        if let Some(address) = waiting.next() {
            trying.push(TcpStream::connect(address));
        }
        if trying.is_empty() {
            return Err(last);
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(tried) = trying.next() => match tried {
                Ok(stream) => return Ok(stream),
                Err(fault) => last = fault,
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

/// RFC 8305 §5: the recommended pause before the next address is tried beside the last.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

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

/// A step of connecting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Tcp,
    Tls,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "connecting",
            Self::Tls => "the TLS handshake",
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
    #[error("the proxy {proxy} gives no way to the provider: {fault}")]
    Proxy { proxy: Box<str>, fault: Box<str> },
    #[error("{step} with {host} took longer than {} s", within.as_secs_f32())]
    TooSlow { step: Step, host: Box<str>, within: Duration },
}

impl DialFault {
    /// Whether the server, or the way there, is at fault for everybody, and not what only we have brought along.
    pub(super) const fn is_of_the_host(&self) -> bool {
        matches!(
            self,
            Self::Broken { step: Step::Tcp, .. } | Self::TooSlow { step: Step::Tcp, .. } | Self::Proxy { .. }
        )
    }

    fn io(step: Step, target: &Target, fault: &io::Error) -> Self {
        Self::Broken { step, host: target.host.clone(), fault: fault.to_string().into() }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn target(port: u16) -> Target {
        Target { host: "localhost".into(), port, address: None, proxy: None }
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

    #[test]
    fn addresses_of_both_kinds_take_turns_from_anywhere() {
        let all = |text: &str| text.split(' ').map(|one| format!("{one}:443").parse().unwrap()).collect::<Vec<_>>();
        for (given, start, expected) in [
            ("[::1] [::2] 192.0.2.1 192.0.2.2", 0, "[::1] 192.0.2.1 [::2] 192.0.2.2"),
            ("[::1] [::2] 192.0.2.1 192.0.2.2", 1, "[::2] 192.0.2.1 [::1] 192.0.2.2"),
            ("[::1] 192.0.2.1 192.0.2.2 192.0.2.3", 3, "[::1] 192.0.2.3 192.0.2.1 192.0.2.2"),
            ("192.0.2.1 192.0.2.2", 1, "192.0.2.2 192.0.2.1"),
        ] {
            assert_eq!(in_turns(all(given), start), all(expected), "{given} {start}");
        }
    }

    #[tokio::test]
    async fn an_address_that_refuses_or_swallows_does_not_keep_us_from_one_that_answers() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = listener.local_addr().unwrap();
        let refuses = SocketAddr::from(([127, 0, 0, 1], 1));
        // RFC 5737: an address of documentation leads nowhere; here it is refused or swallowed, and either will do.
        let swallows = SocketAddr::from(([192, 0, 2, 1], 443));
        let stream = race(vec![refuses, swallows, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        assert!(race(vec![refuses, refuses]).await.is_err());
        assert_eq!(race(Vec::new()).await.unwrap_err().to_string(), "the name has no address");
    }

    #[tokio::test]
    async fn a_host_that_cannot_be_one_is_not_looked_up() {
        let odd = Target { host: "not a host".into(), ..target(443) };
        let fault = dial(&odd, &tls(), Duration::from_secs(1)).await.err().unwrap();
        assert_eq!(fault, DialFault::NotAName { host: "not a host".into() });
    }
}
