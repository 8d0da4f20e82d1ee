//! From names to addresses (RFC 3263, RFC 2782), behind one trait.
//!
//! [`HickoryResolver`] asks real name servers, [`StaticResolver`] a table, and [`in_order`] sorts SRV records.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};

/// Looks up names. Answers are cached for as long as their records allow.
pub trait Resolver: Send + Sync + 'static {
    /// The SRV records of `owner`, for instance `_sipfederationtls._tcp.contoso.com`, in no particular order. Never
    /// empty.
    fn srv<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Vec<Srv>, ResolveError>>;

    /// The addresses of `host`. Never empty. An address written as text is its own answer.
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>>;
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among records of equal priority.
    pub weight: u16,
    /// Port of the service.
    pub port: u16,
    /// Host that offers it, lower case, without the root dot.
    pub target: String,
    /// Seconds that the record may be kept.
    pub ttl: u32,
}

/// Why a name did not become addresses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResolveError {
    /// The text is no domain name.
    #[error("{name:?} is not a domain name")]
    NotAName {
        /// What was asked for.
        name: String,
    },
    /// The name exists and has no record of the kind asked for.
    #[error("{name} has no {kind} record")]
    NoRecords {
        /// What was asked for.
        name: String,
        /// `SRV` or `address`.
        kind: &'static str,
    },
    /// The name does not exist.
    #[error("{name} does not exist in the DNS")]
    NoSuchName {
        /// What was asked for.
        name: String,
    },
    /// RFC 2782: the only target is ".", so the domain says that it does not offer this service.
    #[error("{name} says that this service is not offered")]
    NotOffered {
        /// What was asked for.
        name: String,
    },
    /// The name server would not answer.
    #[error("the name server refused to answer for {name}")]
    Refused {
        /// What was asked for.
        name: String,
    },
    /// The name server could not answer (SERVFAIL and the like).
    #[error("the name server failed on {name}: {detail}")]
    ServerFailed {
        /// What was asked for.
        name: String,
        /// What it said.
        detail: String,
    },
    /// No answer in time.
    #[error("no name server answered for {name} in time")]
    TimedOut {
        /// What was asked for.
        name: String,
    },
}

impl ResolveError {
    /// Whether the same question may be answered differently in a moment.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::ServerFailed { .. } | Self::TimedOut { .. } => true,
            Self::NoRecords { .. } | Self::NoSuchName { .. } | Self::NotAName { .. } | Self::NotOffered { .. } => false,
        }
    }
}

/// Sorts SRV records into the order in which to try them: by priority, and at random by weight among equals.
///
/// `random(n)` gives a number in `0..=n`.
///
/// ```
/// # use reveille_sip_net::{Srv, in_order};
/// let srv = |priority, target: &str| Srv { priority, weight: 0, port: 5061, target: target.into(), ttl: 60 };
/// let order = in_order(vec![srv(20, "b"), srv(10, "a")], |_| 0);
/// assert_eq!(order[0].target, "a");
/// ```
pub fn in_order(mut records: Vec<Srv>, mut random: impl FnMut(u32) -> u32) -> Vec<Srv> {
    // RFC 2782: records of weight 0 go to the front of their priority, so that they have a small chance when the random
    // number is 0.
    records.sort_by_key(|record| (record.priority, record.weight != 0));
    let mut order = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| record.priority) {
        let equals = records.iter().take_while(|record| record.priority == priority).count();
        let total: u32 = records[..equals].iter().map(|record| u32::from(record.weight)).sum();
        let chosen = random(total).min(total);
        let mut sum = 0;
        let at = records[..equals]
            .iter()
            .position(|record| {
                sum += u32::from(record.weight);
                sum >= chosen
            })
            .unwrap_or(0);
        order.push(records.remove(at));
    }
    order
}

/// Real DNS. Answers, also negative ones, are cached per TTL.
#[derive(Clone)]
pub struct HickoryResolver {
    inner: TokioResolver,
}

impl HickoryResolver {
    /// Uses the name servers of this machine (`/etc/resolv.conf`).
    pub fn system() -> Result<Self, ResolveError> {
        let builder = TokioResolver::builder_tokio().map_err(|error| unusable(&error))?;
        Ok(Self { inner: builder.build().map_err(|error| unusable(&error))? })
    }

    /// Uses the name servers given. Each question is given up after `attempts` times `timeout` per server.
    pub fn asking(servers: &[SocketAddr], timeout: Duration, attempts: usize) -> Result<Self, ResolveError> {
        let servers = servers
            .iter()
            .map(|server| {
                let at_port = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let connections = vec![at_port(ConnectionConfig::udp()), at_port(ConnectionConfig::tcp())];
                NameServerConfig::new(server.ip(), true, connections)
            })
            .collect();
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.attempts = attempts;
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
        Ok(Self { inner: builder.build().map_err(|error| unusable(&error))? })
    }
}

impl Resolver for HickoryResolver {
    fn srv<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Vec<Srv>, ResolveError>> {
        Box::pin(async move {
            let answer =
                self.inner.srv_lookup(absolute(owner)?).await.map_err(|error| explain(&error, owner, "SRV"))?;
            let mut records: Vec<Srv> = answer
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(srv) => Some(Srv {
                        priority: srv.priority,
                        weight: srv.weight,
                        port: srv.port,
                        target: plain(&srv.target),
                        ttl: record.ttl,
                    }),
                    _ => None,
                })
                .collect();
            if records.is_empty() {
                return Err(ResolveError::NoRecords { name: owner.into(), kind: "SRV" });
            }
            records.retain(|record| !record.target.is_empty());
            if records.is_empty() { Err(ResolveError::NotOffered { name: owner.into() }) } else { Ok(records) }
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        Box::pin(async move {
            if let Some(address) = literal(host) {
                return Ok(vec![address]);
            }
            let answer =
                self.inner.lookup_ip(absolute(host)?).await.map_err(|error| explain(&error, host, "address"))?;
            let addresses: Vec<IpAddr> = answer.iter().collect();
            if addresses.is_empty() {
                return Err(ResolveError::NoRecords { name: host.into(), kind: "address" });
            }
            Ok(addresses)
        })
    }
}

/// A table of names for small installations and the demo; asks another resolver for what is not in it.
#[derive(Clone, Default)]
pub struct StaticResolver {
    hosts: HashMap<String, Vec<IpAddr>>,
    services: HashMap<String, Vec<Srv>>,
    beyond: Option<Arc<dyn Resolver>>,
}

impl StaticResolver {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address of a host.
    #[must_use]
    pub fn host(mut self, name: &str, address: IpAddr) -> Self {
        self.hosts.entry(key(name)).or_default().push(address);
        self
    }

    /// Adds an SRV record.
    #[must_use]
    pub fn service(mut self, owner: &str, record: Srv) -> Self {
        self.services.entry(key(owner)).or_default().push(record);
        self
    }

    /// Asks `beyond` for names that are not in the table.
    #[must_use]
    pub fn or_else(mut self, beyond: Arc<dyn Resolver>) -> Self {
        self.beyond = Some(beyond);
        self
    }
}

impl Resolver for StaticResolver {
    fn srv<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Vec<Srv>, ResolveError>> {
        match (self.services.get(&key(owner)), &self.beyond) {
            (Some(records), _) => ready(Ok(records.clone())),
            (None, Some(beyond)) => beyond.srv(owner),
            (None, None) => ready(Err(self.absent(owner, "SRV"))),
        }
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Vec<IpAddr>, ResolveError>> {
        if let Some(address) = literal(host) {
            return ready(Ok(vec![address]));
        }
        match (self.hosts.get(&key(host)), &self.beyond) {
            (Some(addresses), _) => ready(Ok(addresses.clone())),
            (None, Some(beyond)) => beyond.addresses(host),
            (None, None) => ready(Err(self.absent(host, "address"))),
        }
    }
}

impl StaticResolver {
    fn absent(&self, name: &str, kind: &'static str) -> ResolveError {
        let known = self.hosts.contains_key(&key(name)) || self.services.contains_key(&key(name));
        let name = name.to_owned();
        if known { ResolveError::NoRecords { name, kind } } else { ResolveError::NoSuchName { name } }
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// An address written as text, with or without the brackets of a SIP URI.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// SIP names are absolute: the search list of this machine must not complete them.
fn absolute(name: &str) -> Result<Name, ResolveError> {
    let mut parsed = Name::from_ascii(name).map_err(|_| ResolveError::NotAName { name: name.into() })?;
    parsed.set_fqdn(true);
    Ok(parsed)
}

fn plain(name: &Name) -> String {
    key(&name.to_ascii())
}

fn unusable(error: &NetError) -> ResolveError {
    ResolveError::ServerFailed { name: "the resolver's configuration".into(), detail: error.to_string() }
}

fn explain(error: &NetError, name: &str, kind: &'static str) -> ResolveError {
    let name = name.to_owned();
    let by_code = |code: ResponseCode, name: String| match code {
        ResponseCode::NXDomain => ResolveError::NoSuchName { name },
        ResponseCode::NoError => ResolveError::NoRecords { name, kind },
        ResponseCode::Refused => ResolveError::Refused { name },
        other => ResolveError::ServerFailed { name, detail: other.to_string() },
    };
    match error {
        NetError::Timeout => ResolveError::TimedOut { name },
        NetError::Dns(DnsError::NoRecordsFound(none)) => by_code(none.response_code, name),
        NetError::Dns(DnsError::ResponseCode(code)) => by_code(*code, name),
        other => ResolveError::ServerFailed { name, detail: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 5061, target: target.into(), ttl: 60 }
    }

    fn order(records: &[Srv], random: impl FnMut(u32) -> u32) -> String {
        in_order(records.to_vec(), random).into_iter().map(|record| record.target).collect()
    }

    #[test]
    fn records_are_tried_by_priority_and_among_equals_by_weight() {
        let equals = [srv(1, 10, "a"), srv(1, 20, "b"), srv(1, 0, "c")];
        let rows: [(&str, &[Srv], u32, &str); 9] = [
            ("nothing", &[], 0, ""),
            ("by priority", &[srv(3, 0, "c"), srv(1, 0, "a"), srv(2, 0, "b")], 0, "abc"),
            ("priority beats weight", &[srv(2, 65_535, "b"), srv(1, 0, "a")], 65_535, "ab"),
            ("weight 0 comes first on a 0", &equals, 0, "cab"),
            ("the running sum reaches 1 at a", &equals, 1, "abc"),
            ("the running sum reaches 10 at a", &equals, 10, "abc"),
            ("the running sum reaches 11 at b", &equals, 11, "bac"),
            ("the running sum reaches 30 at b", &equals, 30, "bac"),
            ("a number too large is the largest", &equals, u32::MAX, "bac"),
        ];
        for (row, records, number, expected) in rows {
            assert_eq!(order(records, |_| number), expected, "{row}");
        }
    }

    #[test]
    fn the_random_number_ranges_over_the_weights_that_are_left() {
        let mut asked = Vec::new();
        order(&[srv(1, 10, "a"), srv(1, 20, "b"), srv(2, 7, "c")], |limit| {
            asked.push(limit);
            limit
        });
        assert_eq!(asked, [30, 10, 7]);
    }

    #[test]
    fn every_record_is_first_for_its_share_of_numbers() {
        let records = [srv(1, 1, "a"), srv(1, 3, "b")];
        let firsts: String = (0..=4).map(|number| order(&records, |_| number).remove(0)).collect();
        assert_eq!(firsts, "aabbb");
    }
}
