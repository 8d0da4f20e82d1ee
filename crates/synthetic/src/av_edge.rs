//! Through the A/V edge: a user signs in, gets credentials, and moves a packet through every TURN server that he is told
//! of, by every transport it has.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reveille_core::diagnosis::{Failure, Fault};
use reveille_core::stage::{Stage, Trouble, Walk};
use reveille_federation::media_relay::{self, Credentials, Grant};
use reveille_sip_net::{ConnectError, ConnectTimes, HandshakeRefusal, Resolver, TlsClient, connect};
use tokio::time::Instant;

use crate::agent::{Account, Agent, AgentError, Door};
use crate::link::Link;
use crate::relay::{Relay, RelayError};
use crate::sign_in;

/// How long a connection to a TURN server may take, and its handshake.
const TIMES: ConnectTimes = ConnectTimes { connect: Duration::from_secs(5), handshake: Duration::from_secs(5) };
/// Addresses of one TURN server that are tried, each within the time of a connection.
const ADDRESSES_MAX: usize = 4;
/// How long the credentials of a test should hold.
const MINUTES: u32 = 5;

/// What is tested.
pub struct Order {
    /// Where the user signs in.
    pub door: Door,
    /// As whom.
    pub account: Account,
    /// Another A/V edge than the one that the edge names.
    pub instead: Option<Instead>,
    /// How TURN servers are found.
    pub reach: Reach,
}

/// How TURN servers are found and checked.
#[derive(Clone)]
pub struct Reach {
    /// How names are looked up.
    pub resolver: Arc<dyn Resolver>,
    /// How certificates are checked.
    pub tls: Arc<TlsClient>,
}

/// A TURN server that the administrator names.
#[derive(Clone, Debug, Default)]
pub struct Instead {
    /// Its name or address; that which the edge names if absent.
    pub host: Option<String>,
    /// Its port for UDP.
    pub udp: Option<u16>,
    /// Its port for TCP.
    pub tcp: Option<u16>,
}

/// How a TURN server is spoken to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// Its port's key in `[[edge.av.servers]]`.
    const fn key(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// One way to one TURN server.
#[derive(Clone, Debug)]
struct Way {
    host: String,
    port: u16,
    transport: Transport,
    /// Where it says how others see us, if it listens for datagrams.
    udp: Option<u16>,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, transport, .. } = self;
        match host.contains(':') {
            true => write!(f, "[{host}]:{port} over {}", transport.as_str()),
            false => write!(f, "{host}:{port} over {}", transport.as_str()),
        }
    }
}

/// Walks the whole road. The binding is taken back at the end, whatever the test has found.
pub async fn walk(order: Order) -> Walk {
    let begun = Instant::now();
    let mut walk = Walk::default();
    if let Some(mut agent) = sign_in(&mut walk, &order.door, &order.account).await {
        if let Some(grant) = credentials(&mut walk, &mut agent).await {
            through(&mut walk, &order.reach, &grant, order.instead.as_ref()).await;
        }
        let _ = agent.sign_out().await;
    }
    walk.took = begun.elapsed();
    walk
}

/// Moves a packet through every TURN server of a grant, by every transport it has, or through what the administrator
/// names instead.
pub async fn through(walk: &mut Walk, reach: &Reach, grant: &Grant, instead: Option<&Instead>) {
    for way in ways(&grant.relays, instead) {
        try_way(walk, reach, &way, &grant.credentials).await;
    }
}

async fn credentials(walk: &mut Walk, agent: &mut Agent) -> Option<Grant> {
    let since = Instant::now();
    match agent.relay_credentials(MINUTES).await {
        Ok(grant) => {
            let user = &grant.credentials.username;
            walk.pass(Stage::Credentials, since.elapsed(), format!("{user}, for {} minutes", grant.minutes));
            Some(grant)
        }
        Err(error) => {
            let trouble = match &error {
                AgentError::Refused { status: 404, .. } => {
                    let sentence = "the Access Edge has no A/V edge to hand out credentials for";
                    Trouble::new(Stage::Credentials, Failure::RelayNotConfigured, sentence, "")
                }
                AgentError::Refused { status: 504, why, .. } => {
                    let why = why.clone().unwrap_or_else(|| error.to_string());
                    Trouble::new(Stage::Credentials, Failure::EdgeUnreachable, why, "")
                }
                _ => Trouble::new(
                    Stage::Credentials,
                    Failure::RelayNotConfigured,
                    error.to_string(),
                    "look at the edge's log",
                ),
            };
            walk.fail(since.elapsed(), trouble);
            None
        }
    }
}

/// Every way to every server; what the administrator names counts instead of what the edge says.
fn ways(relays: &[media_relay::Relay], instead: Option<&Instead>) -> Vec<Way> {
    let told = |relay: &media_relay::Relay| {
        let ports = [(Transport::Udp, relay.udp), (Transport::Tcp, relay.tcp), (Transport::Tls, relay.tls)];
        let (host, udp) = (relay.host.clone(), relay.udp);
        ports
            .into_iter()
            .filter_map(move |(transport, port)| Some(Way { host: host.clone(), port: port?, transport, udp }))
    };
    let Some(instead) = instead else { return relays.iter().flat_map(told).collect() };
    let first = relays.first();
    let host = instead.host.clone().or_else(|| first.map(|relay| relay.host.clone())).unwrap_or_default();
    let udp = instead.udp.or_else(|| first.and_then(|relay| relay.udp));
    let tcp = instead.tcp.or_else(|| first.and_then(|relay| relay.tcp));
    let named = media_relay::Relay { host, udp, tcp, tls: None };
    told(&named).collect()
}

/// Walks one way to its end, and tells where it ended.
async fn try_way(walk: &mut Walk, reach: &Reach, way: &Way, credentials: &Credentials) {
    let at = way.to_string();
    let since = Instant::now();
    let addresses = match reach.resolver.addresses(&way.host).await {
        Ok(found) => found.list,
        Err(error) => {
            let sentence = format!("the A/V edge {} has no address: {error}", way.host);
            let remedy = format!("publish an address for {}, or correct host in [[edge.av.servers]]", way.host);
            return walk
                .fail(since.elapsed(), Trouble::new(Stage::RelayName, Failure::RelayNameNotFound, sentence, remedy));
        }
    };
    let listed: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    walk.pass(Stage::RelayName, since.elapsed(), format!("{} is {}", way.host, listed.join(", ")));
    let since = Instant::now();
    let (server, mut relay) = match open(walk, reach, way, &addresses, credentials).await {
        Ok(open) => open,
        Err(closed) => return walk.fail(since.elapsed(), closed.trouble(way)),
    };
    walk.pass(Stage::RelayConnect, since.elapsed(), format!("{} over {}", server, way.transport.as_str()));
    let since = Instant::now();
    let mut allocated = relay.allocate().await;
    if matches!(allocated, Err(RelayError::NoAddressOfIpv4)) {
        walk.hints.push(format!(
            "{at} has addresses of IPv6 only: of its users those who cannot ask for one (RFC 8656 §18.8) get none"
        ));
        // On a connection of its own: one that had an allocation has to wait for another (§7.2).
        allocated = match open_one(reach, way, server, credentials).await {
            Ok(another) => {
                relay = another;
                relay.allocate_ipv6().await
            }
            Err(closed) => return walk.fail(since.elapsed(), closed.trouble(way)),
        };
    }
    let allocation = match allocated {
        Ok(allocation) => allocation,
        Err(error) => return walk.fail(since.elapsed(), not_allocated(&at, &error)),
    };
    walk.pass(Stage::RelayAuth, since.elapsed(), String::new());
    let secs = allocation.lifetime.as_secs();
    walk.pass(Stage::Allocation, Duration::ZERO, format!("{} for {secs} s", allocation.relayed));
    let since = Instant::now();
    let asks_at = SocketAddr::new(server.ip(), way.udp.unwrap_or(way.port));
    match relay.move_packets(allocation.relayed, asks_at).await {
        Ok(took) => {
            let detail =
                format!("32 bytes there and back by {} in {:.1} ms", allocation.relayed, took.as_secs_f64() * 1e3);
            walk.pass(Stage::Packet, since.elapsed(), detail);
        }
        Err(error) => walk.fail(since.elapsed(), not_moved(&at, allocation.relayed, &error)),
    }
    // The address is given back; if that fails, it ends by itself.
    if let Err(error) = relay.refresh(0).await {
        walk.hints.push(format!("{at} did not take the allocation back: {error}"));
    }
}

/// Opens a conversation with the first of the addresses that answers, as clients do; those that do not are hints then.
/// UDP has no connection: only an answer shows that somebody is there.
async fn open(
    walk: &mut Walk,
    reach: &Reach,
    way: &Way,
    addresses: &[IpAddr],
    credentials: &Credentials,
) -> Result<(SocketAddr, Relay), Closed> {
    let mut closed: Vec<(SocketAddr, Closed)> = Vec::new();
    for server in addresses.iter().take(ADDRESSES_MAX).map(|ip| SocketAddr::new(*ip, way.port)) {
        match open_one(reach, way, server, credentials).await {
            Ok(relay) => {
                let silent = |(address, why): (SocketAddr, Closed)| {
                    format!(
                        "{} has the address {}, where nobody answers over {} ({why}); clients that try it first wait for it",
                        way.host,
                        address.ip(),
                        way.transport.as_str()
                    )
                };
                walk.hints.extend(closed.into_iter().map(silent));
                return Ok((server, relay));
            }
            Err(why) => closed.push((server, why)),
        }
    }
    // A certificate that is refused does not mend itself, and is for a person to see before what merely is silent.
    let worst = closed.iter().position(|(_, why)| matches!(why, Closed::Connection(ConnectError::Tls { .. })));
    let told = worst.map(|at| closed.swap_remove(at)).or_else(|| closed.pop()).map(|(_, why)| why);
    Err(told.unwrap_or_else(|| Closed::Connection(ConnectError::NoAddress { name: way.host.clone() })))
}

async fn open_one(reach: &Reach, way: &Way, server: SocketAddr, credentials: &Credentials) -> Result<Relay, Closed> {
    let tls = (way.transport == Transport::Tls).then(|| reach.tls.for_hosts());
    let link = match way.transport {
        Transport::Udp => Link::datagrams(server).await.map_err(|error| Closed::Relay(error.into()))?,
        Transport::Tcp | Transport::Tls => {
            let connected = connect(&way.host, &[server], tls.as_ref(), TIMES).await.map_err(Closed::Connection)?;
            Link::stream(connected.stream)
        }
    };
    let mut relay = Relay::new(link, credentials.clone());
    relay.greet().await.map_err(Closed::Relay)?;
    Ok(relay)
}

/// Why no conversation with a TURN server began.
#[derive(Debug, thiserror::Error)]
enum Closed {
    /// There is no connection, or none to trust.
    #[error(transparent)]
    Connection(ConnectError),
    /// What is said on it, or is not.
    #[error(transparent)]
    Relay(RelayError),
}

impl Closed {
    fn trouble(&self, way: &Way) -> Trouble {
        let Way { host, transport, .. } = way;
        let port = format!("{} in [[edge.av.servers]]", transport.key());
        let unreachable = |sentence: String, remedy: String| {
            Trouble::new(Stage::RelayConnect, Failure::RelayUnreachable, sentence, remedy)
        };
        let untrusted = |refusal: &HandshakeRefusal, remedy: String| {
            let sentence = format!("clients do not trust the A/V edge {way}: {refusal}");
            Trouble::new(Stage::RelayConnect, Failure::RelayUntrusted, sentence, remedy)
        };
        match self {
            Self::Connection(ConnectError::Tls { refusal, .. }) => match &**refusal {
                HandshakeRefusal::NotTls | HandshakeRefusal::HungUp | HandshakeRefusal::TimedOut => {
                    let sentence = format!("the A/V edge {way} does not speak TLS there: {refusal}");
                    let remedy = format!(
                        "start the TURN server with TLS (coturn: cert, pkey and tls-listening-port, without no-tls), or \
                         correct {port}"
                    );
                    unreachable(sentence, remedy).by(Fault::Configuration)
                }
                HandshakeRefusal::UnknownIssuer { issuer, .. } => untrusted(
                    refusal,
                    format!(
                        "if clients trust {issuer}, append its certificate to the file home.tls.roots_out (home.tls.roots \
                         without one); else give the TURN server a certificate of an authority that they trust (coturn: \
                         cert, pkey)"
                    ),
                ),
                HandshakeRefusal::NamesAnother { .. } => untrusted(
                    refusal,
                    format!(
                        "give the TURN server a certificate that names {host} (coturn: cert, pkey), or set host in \
                         [[edge.av.servers]] to a name that its certificate has"
                    ),
                ),
                HandshakeRefusal::Expired { .. } | HandshakeRefusal::NotYetValid { .. } => untrusted(
                    refusal,
                    "give the TURN server a certificate that is valid now (coturn: cert, pkey, then restart it); if its dates \
                     are right, the clock of this machine is not: compare the output of date"
                        .to_owned(),
                ),
                other => untrusted(other, format!("{} (coturn: cert, pkey)", other.advice())),
            },
            Self::Relay(error) if is_no_relay(error) => {
                let sentence = format!("what answers at the A/V edge {way} is no TURN server for users: {self}");
                let remedy = format!(
                    "correct {port}, or let the TURN server ask for credentials (coturn: use-auth-secret and \
                     static-auth-secret)"
                );
                unreachable(sentence, remedy).by(Fault::Configuration)
            }
            Self::Connection(_) | Self::Relay(_) => {
                unreachable(format!("the A/V edge {way} cannot be reached: {self}"), String::new())
            }
        }
    }
}

/// Whether something answers there that is no TURN server, or gives addresses to nobody or everybody.
fn is_no_relay(error: &RelayError) -> bool {
    match error {
        RelayError::Garbled(_) | RelayError::Refused { .. } => true,
        RelayError::Lost(error) => matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof),
        RelayError::NoAddressOfIpv4 | RelayError::Silent | RelayError::Unauthorised { .. } => false,
    }
}

fn not_allocated(at: &str, error: &RelayError) -> Trouble {
    match error {
        RelayError::Unauthorised { code, reason } => {
            let sentence = format!(
                "the TURN server {at} does not take the credentials that our edge has made ({code} {reason}): it has another \
                 secret than the file in edge.av.secret, or its clock is wrong"
            );
            Trouble::new(Stage::RelayAuth, Failure::RelayRejectsCredentials, sentence, "")
        }
        error => {
            let sentence = format!("the TURN server {at} gives no address for media: {error}");
            Trouble::new(Stage::Allocation, Failure::RelayRefuses, sentence, "")
        }
    }
}

fn not_moved(at: &str, relayed: SocketAddr, error: &RelayError) -> Trouble {
    let (sentence, remedy) = match error {
        RelayError::Refused { code: 403, reason, .. } => (
            format!("the TURN server {at} forbids this machine's address as a peer ({reason})"),
            "let the TURN server relay to this machine: see denied-peer-ip and allow-loopback-peers of coturn",
        ),
        RelayError::Silent => {
            (format!("a packet to {relayed}, the address that the TURN server {at} gave, did not come through"), "")
        }
        error => (format!("no packet moved through {relayed} of the TURN server {at}: {error}"), ""),
    };
    Trouble::new(Stage::Packet, Failure::PacketLost, sentence, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_administrator_names_counts_instead() {
        let relays = [
            media_relay::Relay { host: "a".into(), udp: Some(1), tcp: Some(2), tls: Some(3) },
            media_relay::Relay { host: "b".into(), udp: None, tcp: None, tls: Some(4) },
        ];
        let told = |instead: Option<Instead>| {
            let shown = Way::to_string;
            ways(&relays, instead.as_ref()).iter().map(shown).collect::<Vec<_>>()
        };
        assert_eq!(told(None), ["a:1 over UDP", "a:2 over TCP", "a:3 over TLS", "b:4 over TLS"]);
        let host = Some("c".to_owned());
        assert_eq!(told(Some(Instead { host, udp: Some(9), tcp: None })), ["c:9 over UDP", "c:2 over TCP"]);
        assert_eq!(told(Some(Instead { host: None, udp: None, tcp: Some(8) })), ["a:1 over UDP", "a:8 over TCP"]);
    }
}
