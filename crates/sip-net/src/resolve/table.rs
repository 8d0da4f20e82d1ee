//! A table of names, for the demo, for tests and for machines without a name server.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{Addresses, ResolveError, Resolver, Srv, literal, plain};

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
        self.hosts.entry(plain(name)).or_default().push(address);
        self
    }

    /// Adds an SRV record.
    #[must_use]
    pub fn service(mut self, owner: &str, record: Srv) -> Self {
        self.services.entry(plain(owner)).or_default().push(record);
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
        match (self.services.get(&plain(owner)), &self.beyond) {
            (Some(records), _) => ready(Ok(records.clone())),
            (None, Some(beyond)) => beyond.srv(owner),
            (None, None) => ready(Err(self.absent(owner, "SRV"))),
        }
    }

    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Addresses, ResolveError>> {
        if let Some(address) = literal(host) {
            return ready(Ok(Addresses::fixed(vec![address])));
        }
        match (self.hosts.get(&plain(host)), &self.beyond) {
            (Some(addresses), _) => ready(Ok(Addresses::fixed(addresses.clone()))),
            (None, Some(beyond)) => beyond.addresses(host),
            (None, None) => ready(Err(self.absent(host, "address"))),
        }
    }

    fn afresh(&self) -> Option<Arc<dyn Resolver>> {
        let beyond = self.beyond.as_ref()?.afresh()?;
        Some(Arc::new(self.clone().or_else(beyond)))
    }

    fn forget(&self) {
        if let Some(beyond) = &self.beyond {
            beyond.forget();
        }
    }
}

impl StaticResolver {
    fn absent(&self, name: &str, kind: &'static str) -> ResolveError {
        let known = self.hosts.contains_key(&plain(name)) || self.services.contains_key(&plain(name));
        let name = name.to_owned();
        if known { ResolveError::NoRecords { name, kind } } else { ResolveError::NoSuchName { name } }
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}
