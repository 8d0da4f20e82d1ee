//! Real name servers, asked through hickory, which keeps answers for as long as their records allow.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData};

use super::{Addresses, ResolveError, Resolver, Srv, literal, plain};

/// Real DNS. Answers are kept until their TTL is over, also that there is none (RFC 2308), and never longer: an answer
/// that has run out is asked for again, and if nobody answers then, that is said. A clone is the same resolver.
#[derive(Clone)]
pub struct HickoryResolver {
    inner: Arc<ArcSwap<TokioResolver>>,
    config: ResolverConfig,
    asking: Asking,
}

/// How names are asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asking {
    /// Each question is given up after `attempts` times this, per server.
    pub timeout: Duration,
    /// How often.
    pub attempts: usize,
    /// Answers kept, also negative ones (`DnsSrvCacheRecordCount`). The least used go first.
    pub cache_records: u64,
}

impl Default for Asking {
    fn default() -> Self {
        // A request waits 32 s at most (RFC 3261 §17.1.2.2, timer F); names may use up a third of it.
        Self { timeout: Duration::from_secs(3), attempts: 2, cache_records: 3000 }
    }
}

impl HickoryResolver {
    /// Uses the name servers of this machine (`/etc/resolv.conf`).
    pub fn system(asking: Asking) -> Result<Self, ResolveError> {
        let (config, _) = hickory_resolver::system_conf::read_system_conf().map_err(|error| unusable(&error))?;
        Self::with(config, asking)
    }

    /// Uses the name servers given.
    pub fn at(servers: &[SocketAddr], asking: Asking) -> Result<Self, ResolveError> {
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
        Self::with(ResolverConfig::from_parts(None, Vec::new(), servers), asking)
    }

    /// Keeps at most so many answers from now on. Those kept so far are forgotten.
    pub fn keep(&self, cache_records: u64) -> Result<(), ResolveError> {
        self.inner.store(Arc::new(build(&self.config, Asking { cache_records, ..self.asking })?));
        Ok(())
    }

    fn with(config: ResolverConfig, asking: Asking) -> Result<Self, ResolveError> {
        let inner = Arc::new(ArcSwap::from_pointee(build(&config, asking)?));
        Ok(Self { inner, config, asking })
    }
}

impl Resolver for HickoryResolver {
    fn srv<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Vec<Srv>, ResolveError>> {
        Box::pin(async move {
            let resolver = self.inner.load_full();
            let answer = resolver.srv_lookup(absolute(owner)?).await.map_err(|error| explain(&error, owner, "SRV"))?;
            let mut records: Vec<Srv> = answer
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(srv) => Some(Srv {
                        priority: srv.priority,
                        weight: srv.weight,
                        port: srv.port,
                        target: plain(&srv.target.to_ascii()),
                        ttl: record.ttl,
                    }),
                    _ => None,
                })
                .collect();
            if records.is_empty() {
                return Err(ResolveError::NoRecords { name: owner.into(), kind: "SRV" });
            }
            // RFC 2782: a target of "." says that the service is not offered.
            records.retain(|record| !record.target.is_empty());
            if records.is_empty() { Err(ResolveError::NotOffered { name: owner.into() }) } else { Ok(records) }
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Addresses, ResolveError>> {
        Box::pin(async move {
            if let Some(address) = literal(host) {
                return Ok(Addresses::fixed(vec![address]));
            }
            let resolver = self.inner.load_full();
            let answer = resolver.lookup_ip(absolute(host)?).await.map_err(|error| explain(&error, host, "address"))?;
            let list: Vec<IpAddr> = answer.iter().collect();
            if list.is_empty() {
                return Err(ResolveError::NoRecords { name: host.into(), kind: "address" });
            }
            let left = answer.valid_until().saturating_duration_since(Instant::now());
            Ok(Addresses { list, ttl: u32::try_from(left.as_secs()).unwrap_or(u32::MAX) })
        })
    }

    fn afresh(&self) -> Option<Arc<dyn Resolver>> {
        // What was once built is built again; should it fail all the same, the answers that are kept have to do.
        Self::with(self.config.clone(), self.asking).ok().map(|fresh| Arc::new(fresh) as _)
    }

    fn forget(&self) {
        let kept = self.inner.load().options().cache_size;
        if let Err(error) = self.keep(kept) {
            tracing::warn!(%error, "the answers of name servers that are kept stay");
        }
    }
}

fn build(config: &ResolverConfig, asking: Asking) -> Result<TokioResolver, ResolveError> {
    let mut options = ResolverOpts::default();
    options.timeout = asking.timeout;
    options.attempts = asking.attempts;
    options.cache_size = asking.cache_records;
    let builder = TokioResolver::builder_with_config(config.clone(), TokioRuntimeProvider::default());
    builder.with_options(options).build().map_err(|error| unusable(&error))
}

/// SIP names are absolute: the search list of this machine must not complete them.
fn absolute(name: &str) -> Result<Name, ResolveError> {
    let mut parsed = Name::from_ascii(name).map_err(|_| ResolveError::NotAName { name: name.into() })?;
    parsed.set_fqdn(true);
    Ok(parsed)
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
        NetError::Io(error) => ResolveError::Unreachable { name, detail: error.to_string() },
        NetError::NoConnections => {
            ResolveError::Unreachable { name, detail: "none is configured, or all failed".into() }
        }
        other => ResolveError::ServerFailed { name, detail: other.to_string() },
    }
}
