//! The resolver against a real name server on loopback.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::proto::rr::rdata::{A, AAAA, SOA, SRV};
use hickory_resolver::proto::rr::{LowerName, Name, RData, Record};
use hickory_server::Server;
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use reveille_sip_net::{Addresses, Asking, HickoryResolver, ResolveError, Resolver, Srv, StaticResolver};
use tokio::net::UdpSocket;

use crate::support::{loopback, within};

struct NameServer {
    address: SocketAddr,
    _server: Server<Catalog>,
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

async fn name_server() -> NameServer {
    let origin = name("contoso.com.");
    let mut zone: InMemoryZoneHandler = InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
    let soa = SOA::new(name("ns.contoso.com."), name("admin.contoso.com."), 1, 60, 60, 60, 60);
    let srv = |priority, weight, target: &str| RData::SRV(SRV::new(priority, weight, 5061, name(target)));
    for (owner, data) in [
        ("contoso.com.", RData::SOA(soa)),
        ("edge.contoso.com.", RData::A(A::new(192, 0, 2, 1))),
        ("edge.contoso.com.", RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
        ("_sipfederationtls._tcp.contoso.com.", srv(10, 5, "Edge.contoso.com.")),
        ("_sipfederationtls._tcp.contoso.com.", srv(20, 0, "spare.contoso.com.")),
        ("_sip._udp.contoso.com.", srv(0, 0, ".")),
    ] {
        zone.upsert_mut(Record::from_rdata(name(owner), 300, data), 1);
    }
    let mut catalog = Catalog::new();
    catalog.upsert(LowerName::new(&origin), vec![Arc::new(zone)]);
    let mut server = Server::new(catalog);
    let socket = UdpSocket::bind(loopback()).await.expect("a port");
    let address = socket.local_addr().expect("an address");
    server.register_socket(socket);
    NameServer { address, _server: server }
}

fn patient() -> Asking {
    Asking { timeout: Duration::from_secs(5), attempts: 1, ..Asking::default() }
}

fn asking(server: SocketAddr) -> HickoryResolver {
    HickoryResolver::at(&[server], patient()).expect("a resolver")
}

#[tokio::test]
async fn srv_and_addresses_are_found() {
    let server = name_server().await;
    let resolver = asking(server.address);
    let mut records = within(resolver.srv("_sipfederationtls._tcp.contoso.com")).await.expect("records");
    records.sort_by_key(|record| record.priority);
    let edge = Srv { priority: 10, weight: 5, port: 5061, target: "edge.contoso.com".into(), ttl: 300 };
    let spare = Srv { priority: 20, weight: 0, target: "spare.contoso.com".into(), ..edge.clone() };
    assert_eq!(records, [edge, spare]);
    let found = within(resolver.addresses("EDGE.contoso.com.")).await.expect("addresses");
    assert!((299..=300).contains(&found.ttl), "{}", found.ttl);
    let mut addresses = found.list;
    addresses.sort();
    let expected: [IpAddr; 2] = ["192.0.2.1".parse().expect("v4"), "2001:db8::1".parse().expect("v6")];
    assert_eq!(addresses, expected);
}

#[tokio::test]
async fn each_failure_has_its_name() {
    let server = name_server().await;
    let resolver = asking(server.address);
    let owner = |text: &str| text.to_owned();
    assert_eq!(
        within(resolver.srv("_sip._tls.nowhere.contoso.com")).await,
        Err(ResolveError::NoSuchName { name: owner("_sip._tls.nowhere.contoso.com") })
    );
    assert_eq!(
        within(resolver.srv("edge.contoso.com")).await,
        Err(ResolveError::NoRecords { name: owner("edge.contoso.com"), kind: "SRV" })
    );
    assert_eq!(
        within(resolver.srv("_sip._udp.contoso.com")).await,
        Err(ResolveError::NotOffered { name: owner("_sip._udp.contoso.com") })
    );
    assert_eq!(
        within(resolver.addresses("nowhere.contoso.com")).await,
        Err(ResolveError::NoSuchName { name: owner("nowhere.contoso.com") })
    );
    assert_eq!(
        within(resolver.addresses("not our zone")).await.map_err(|error| error.is_passing()),
        Err(false),
        "not a name at all"
    );
    assert_eq!(
        within(resolver.srv("_sip._tls.fabrikam.com")).await,
        Err(ResolveError::Refused { name: owner("_sip._tls.fabrikam.com") })
    );
}

#[tokio::test]
async fn a_name_server_that_is_silent_times_out() {
    let silent = UdpSocket::bind(loopback()).await.expect("a port");
    let address = silent.local_addr().expect("an address");
    let resolver = HickoryResolver::at(&[address], Asking { timeout: Duration::from_millis(100), ..patient() })
        .expect("a resolver");
    let error = within(resolver.srv("_sip._tls.contoso.com")).await.expect_err("no answer");
    assert_eq!(error, ResolveError::TimedOut { name: "_sip._tls.contoso.com".into() });
    assert!(error.is_passing());
}

#[tokio::test]
async fn answers_are_kept_for_their_time() {
    let server = name_server().await;
    let resolver = asking(server.address);
    within(resolver.addresses("edge.contoso.com")).await.expect("addresses");
    drop(server);
    within(resolver.addresses("edge.contoso.com")).await.expect("addresses, without a name server");
}

#[tokio::test]
async fn a_table_answers_first_and_asks_beyond_for_the_rest() {
    let server = name_server().await;
    let local: IpAddr = [127, 0, 0, 9].into();
    let record = Srv { priority: 0, weight: 0, port: 5061, target: "edge.local".into(), ttl: 0 };
    let table =
        StaticResolver::new().host("Edge.local.", local).service("_sipfederationtls._tcp.local", record.clone());
    assert_eq!(within(table.addresses("edge.LOCAL")).await, Ok(Addresses::fixed(vec![local])));
    assert_eq!(within(table.srv("_SIPFEDERATIONTLS._tcp.local.")).await, Ok(vec![record]));
    assert_eq!(
        within(table.srv("edge.local")).await,
        Err(ResolveError::NoRecords { name: "edge.local".into(), kind: "SRV" })
    );
    assert_eq!(
        within(table.addresses("edge.contoso.com")).await,
        Err(ResolveError::NoSuchName { name: "edge.contoso.com".into() })
    );
    let table = table.or_else(Arc::new(asking(server.address)));
    assert_eq!(within(table.addresses("edge.contoso.com")).await.map(|found| found.list.len()), Ok(2));
    assert_eq!(
        within(table.addresses("[2001:db8::5]")).await,
        Ok(Addresses::fixed(vec!["2001:db8::5".parse().expect("v6")]))
    );
}
