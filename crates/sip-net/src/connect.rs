//! Making one connection to one of several addresses, and saying at which stage it failed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use crate::listen::tune;
use crate::names::PeerCertificate;
use crate::resolve::ResolveError;
use crate::tls::{Blame, HandshakeRefusal, TlsClient};

/// Why something could not be sent to a next hop.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConnectError {
    /// The connection ended before the bytes had left.
    #[error("the connection to {name} closed before the message was sent")]
    Closed {
        /// The name wanted.
        name: String,
    },
    /// There is no address to connect to.
    #[error("no address is known for {name}")]
    NoAddress {
        /// The name wanted.
        name: String,
    },
    /// This server is not configured for that transport.
    #[error("this server has no {transport} to reach {name} with")]
    NoTransport {
        /// The name wanted.
        name: String,
        /// Which transport.
        transport: crate::Transport,
    },
    /// It answered that it can take nothing, and is left alone for a while.
    #[error("{address} said that it is overloaded")]
    Overloaded {
        /// Which address.
        address: SocketAddr,
    },
    /// Nobody listens there.
    #[error("{address} refused the connection")]
    Refused {
        /// Which address.
        address: SocketAddr,
    },
    /// The name could not be resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// This server stops.
    #[error("this server stops")]
    Stopping,
    /// The address did not answer.
    #[error("{address} did not answer in time")]
    TimedOut {
        /// Which address.
        address: SocketAddr,
    },
    /// The handshake failed.
    #[error("TLS with {name} at {address} failed: {refusal}")]
    Tls {
        /// The name wanted.
        name: String,
        /// Which address.
        address: SocketAddr,
        /// Why.
        refusal: Box<HandshakeRefusal>,
    },
    /// Too many next hops at once.
    #[error("{limit} next hops are connected; {name} would be one too many")]
    TooManyTargets {
        /// The name wanted.
        name: String,
        /// The bound.
        limit: usize,
    },
    /// Too much waits for this next hop.
    #[error("too much is waiting for {name}")]
    TooMuchWaiting {
        /// The name wanted.
        name: String,
    },
    /// There is no way to the address.
    #[error("{address} cannot be reached: {detail}")]
    Unreachable {
        /// Which address.
        address: SocketAddr,
        /// What the operating system says.
        detail: String,
    },
}

/// Where on the way a connection failed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// Name to addresses.
    Resolve,
    /// TCP.
    Connect,
    /// The TLS handshake.
    Tls,
    /// Writing.
    Send,
}

impl ConnectError {
    /// Where it failed.
    pub fn stage(&self) -> Stage {
        match self {
            Self::NoAddress { .. } | Self::Resolve(_) => Stage::Resolve,
            Self::NoTransport { .. }
            | Self::Refused { .. }
            | Self::Stopping
            | Self::TimedOut { .. }
            | Self::TooManyTargets { .. }
            | Self::Unreachable { .. } => Stage::Connect,
            Self::Tls { .. } => Stage::Tls,
            Self::Closed { .. } | Self::Overloaded { .. } | Self::TooMuchWaiting { .. } => Stage::Send,
        }
    }

    /// The address that it is about, if it came to one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Overloaded { address }
            | Self::Refused { address }
            | Self::TimedOut { address }
            | Self::Tls { address, .. }
            | Self::Unreachable { address, .. } => Some(*address),
            Self::Closed { .. }
            | Self::NoAddress { .. }
            | Self::NoTransport { .. }
            | Self::Resolve(_)
            | Self::Stopping
            | Self::TooManyTargets { .. }
            | Self::TooMuchWaiting { .. } => None,
        }
    }

    /// Whose mistake it most likely is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::Closed { .. } | Self::Overloaded { .. } | Self::Refused { .. } | Self::TooMuchWaiting { .. } => {
                Blame::Peer
            }
            Self::NoAddress { .. } | Self::NoTransport { .. } | Self::Stopping | Self::TooManyTargets { .. } => {
                Blame::Ours
            }
            Self::Resolve(error) if error.is_passing() => Blame::Network,
            Self::Resolve(_) => Blame::Peer,
            Self::TimedOut { .. } | Self::Unreachable { .. } => Blame::Network,
            Self::Tls { refusal, .. } => refusal.blame(),
        }
    }

    /// Whether trying again soon, with nothing changed, may succeed.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Closed { .. }
            | Self::Overloaded { .. }
            | Self::Refused { .. }
            | Self::Stopping
            | Self::TimedOut { .. }
            | Self::TooManyTargets { .. }
            | Self::TooMuchWaiting { .. }
            | Self::Unreachable { .. } => true,
            Self::NoAddress { .. } | Self::NoTransport { .. } => false,
            Self::Resolve(error) => error.is_passing(),
            Self::Tls { refusal, .. } => refusal.may_pass(),
        }
    }

    /// What a person may do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "look at the peer's log",
            Self::NoAddress { .. } => "check the SRV and address records of the peer's domain",
            Self::Resolve(error) => error.advice(),
            Self::NoTransport { .. } => "configure a certificate or a UDP listener for this role",
            Self::Overloaded { .. } => "send less, or later; ask the peer for more capacity",
            Self::Refused { .. } => "check that the peer's server runs and listens on this port",
            Self::Stopping => "send it again when this server runs",
            Self::TimedOut { .. } | Self::Unreachable { .. } => "check routes and firewalls between both servers",
            Self::Tls { refusal, .. } => refusal.advice(),
            Self::TooManyTargets { .. } => "raise the number of next hops, or find out who asks for so many",
            Self::TooMuchWaiting { .. } => "the peer is slow; send less, or later",
        }
    }

    /// A short constant name, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::NoAddress { .. } => "no-address",
            Self::NoTransport { .. } => "no-transport",
            Self::Overloaded { .. } => "overloaded",
            Self::Refused { .. } => "refused",
            Self::Resolve(_) => "resolve",
            Self::Stopping => "stopping",
            Self::TimedOut { .. } => "timed-out",
            Self::Tls { refusal, .. } => refusal.label(),
            Self::TooManyTargets { .. } => "too-many-targets",
            Self::TooMuchWaiting { .. } => "too-much-waiting",
            Self::Unreachable { .. } => "unreachable",
        }
    }

    fn of_connect(address: SocketAddr, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused { address },
            io::ErrorKind::TimedOut => Self::TimedOut { address },
            _ => Self::Unreachable { address, detail: error.to_string() },
        }
    }
}

/// A connection made.
pub struct Connected {
    /// The stream, ready for SIP.
    pub stream: Wire,
    /// Our end.
    pub local: SocketAddr,
    /// The address which answered.
    pub remote: SocketAddr,
    /// Who answered, if it was TLS.
    pub peer: Option<Arc<PeerCertificate>>,
    /// How long it took.
    pub took: Took,
}

/// How long the steps of one connection took.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Took {
    /// For TCP.
    pub connect: Duration,
    /// For our side of the TLS handshake: the peer's certificate is accepted then, and ours not yet judged.
    pub handshake: Duration,
}

/// What [`connect`] opened.
#[allow(clippy::large_enum_variant, reason = "made once per connection and moved into its task")]
pub enum Wire {
    /// TCP.
    Plain(TcpStream),
    /// TLS.
    Tls(TlsStream<TcpStream>),
}

/// How long each step may take.
#[derive(Clone, Copy, Debug)]
pub struct ConnectTimes {
    /// For TCP, per address.
    pub connect: Duration,
    /// For the TLS handshake, per address.
    pub handshake: Duration,
}

/// Connects to the first of `addresses` which works, in their order. With `tls` the peer must prove `name`.
///
/// If none works, the error told is that of the last address tried, unless a certificate was refused on the way: that
/// will not mend itself and is for a person to see.
pub async fn connect(
    name: &str,
    addresses: &[SocketAddr],
    tls: Option<&TlsClient>,
    times: ConnectTimes,
) -> Result<Connected, ConnectError> {
    connect_noting(name, addresses, tls, times, |_, _| {}).await
}

/// The same, telling each failure as it happens.
pub(crate) async fn connect_noting(
    name: &str,
    addresses: &[SocketAddr],
    tls: Option<&TlsClient>,
    times: ConnectTimes,
    mut note: impl FnMut(SocketAddr, &ConnectError),
) -> Result<Connected, ConnectError> {
    let mut told = ConnectError::NoAddress { name: name.to_owned() };
    for address in addresses {
        match connect_one(name, *address, tls, times).await {
            Ok(connected) => return Ok(connected),
            Err(error) => {
                tracing::debug!(%error, peer.name = name, peer.address = %address, "connecting failed");
                note(*address, &error);
                let refused =
                    |error: &ConnectError| matches!(error, ConnectError::Tls { refusal, .. } if !refusal.may_pass());
                if !refused(&told) || refused(&error) {
                    told = error;
                }
            }
        }
    }
    Err(told)
}

async fn connect_one(
    name: &str,
    address: SocketAddr,
    tls: Option<&TlsClient>,
    times: ConnectTimes,
) -> Result<Connected, ConnectError> {
    let begun = Instant::now();
    let stream = timeout(times.connect, TcpStream::connect(address))
        .await
        .map_err(|_| ConnectError::TimedOut { address })?
        .map_err(|error| ConnectError::of_connect(address, &error))?;
    let prepared = tune(&stream).and_then(|()| stream.local_addr());
    let local = prepared.map_err(|error| ConnectError::of_connect(address, &error))?;
    let took = Took { connect: begun.elapsed(), ..Took::default() };
    let Some(tls) = tls else {
        return Ok(Connected { stream: Wire::Plain(stream), local, remote: address, peer: None, took });
    };
    let begun = Instant::now();
    let handshake = timeout(times.handshake, tls.connect(stream, name)).await;
    match handshake.unwrap_or(Err(HandshakeRefusal::TimedOut)) {
        Ok((stream, peer)) => {
            let took = Took { handshake: begun.elapsed(), ..took };
            Ok(Connected { stream: Wire::Tls(stream), local, remote: address, peer: Some(peer), took })
        }
        Err(refusal) => Err(ConnectError::Tls { name: name.to_owned(), address, refusal: Box::new(refusal) }),
    }
}
