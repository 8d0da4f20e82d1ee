//! From the SRV records of a service to its servers with their addresses (RFC 3263 §4.2).

use std::net::SocketAddr;

use futures_util::future::join_all;

use super::{ResolveError, Resolver, Srv};
use crate::target::Server;

/// What [`locate`] found.
#[derive(Clone, Debug)]
pub struct Located {
    /// Never empty; each with its record's priority and weight, so that whoever connects can choose.
    pub servers: Vec<Server>,
    /// Seconds after which to ask again: the least of all records used.
    pub ttl: u32,
    /// The hosts that could not be found, with the reason. The others serve meanwhile.
    pub missing: Vec<(String, ResolveError)>,
}

/// Looks up the addresses of all hosts in `records`, at once. If none has any, the reason is that of the record which
/// would have come first.
pub async fn locate(resolver: &dyn Resolver, records: &[Srv]) -> Result<Located, ResolveError> {
    let mut records: Vec<&Srv> = records.iter().collect();
    records.sort_by_key(|record| record.priority);
    records.truncate(RECORDS_MAX);
    let answers = join_all(records.iter().map(|record| resolver.addresses(&record.target))).await;
    let mut located = Located { servers: Vec::new(), ttl: u32::MAX, missing: Vec::new() };
    for (record, answer) in records.into_iter().zip(answers) {
        match answer {
            Ok(found) => {
                located.ttl = located.ttl.min(record.ttl).min(found.ttl);
                let addresses =
                    found.list.into_iter().take(ADDRESSES_MAX).map(|ip| SocketAddr::new(ip, record.port)).collect();
                located.servers.push(Server { priority: record.priority, weight: record.weight, addresses });
            }
            Err(error) => {
                if error.is_passing() {
                    located.ttl = located.ttl.min(SOON_SECS);
                }
                located.missing.push((record.target.clone(), error));
            }
        }
    }
    if located.servers.is_empty() {
        let first = located.missing.into_iter().next();
        return Err(first.map_or_else(|| ResolveError::NoRecords { name: String::new(), kind: "SRV" }, |(_, why)| why));
    }
    Ok(located)
}

/// Whose records they are decides how many there are; more than these are of no use to anybody.
const RECORDS_MAX: usize = 32;
const ADDRESSES_MAX: usize = 16;
/// A host that could not be found for a passing reason is asked for again so soon.
const SOON_SECS: u32 = 5;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::resolve::StaticResolver;

    fn srv(priority: u16, target: &str, ttl: u32) -> Srv {
        Srv { priority, weight: 7, port: 5061, target: target.into(), ttl }
    }

    #[tokio::test]
    async fn servers_keep_their_rank_and_the_shortest_life_counts() {
        let (one, two): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let table = StaticResolver::new().host("a.example", one).host("a.example", two).host("b.example", two);
        let records = [srv(20, "b.example", 30), srv(10, "a.example", 60), srv(5, "gone.example", 1)];
        let located = locate(&table, &records).await.expect("two of three");
        let at = |ip: IpAddr| SocketAddr::new(ip, 5061);
        let first = Server { priority: 10, weight: 7, addresses: vec![at(one), at(two)] };
        let second = Server { priority: 20, weight: 7, addresses: vec![at(two)] };
        assert_eq!((located.servers, located.ttl), (vec![first, second], 30));
        let why = ResolveError::NoSuchName { name: "gone.example".into() };
        assert_eq!(located.missing, [("gone.example".to_owned(), why.clone())]);
        let none = locate(&table, &[srv(9, "gone.example", 1), srv(3, "lost.example", 1)]).await;
        assert_eq!(none.err(), Some(ResolveError::NoSuchName { name: "lost.example".into() }), "the first to be tried");
    }

    #[tokio::test]
    async fn a_domain_that_lists_very_many_servers_is_cut_to_the_best() {
        let table = (0..100).fold(StaticResolver::new(), |table, at| {
            (0..40).fold(table, |table, ip| table.host(&format!("h{at}.example"), [192, 0, 2, ip].into()))
        });
        let records: Vec<Srv> = (0..100).rev().map(|at| srv(at, &format!("h{at}.example"), 60)).collect();
        let located = locate(&table, &records).await.expect("servers");
        assert_eq!(located.servers.len(), RECORDS_MAX);
        assert!(located.servers.iter().all(|server| server.priority < 32 && server.addresses.len() == ADDRESSES_MAX));
    }
}
