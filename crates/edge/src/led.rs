//! Where the settings and a domain's SRV records lead, and which servers are there.

use reveille_core::SipDomain;
use reveille_core::settings::Snapshot;
use reveille_federation::Refusal;
use reveille_federation::policy::Standing;
use reveille_federation::route::{Route, Way, by_srv};
use reveille_sip_net::{ResolveError, Resolver, Srv, Target, Transport, locate};

/// Where settings and SRV records lead.
pub(crate) struct Led {
    /// The records of the domain, if they were asked for.
    pub(crate) asked: Option<Vec<Srv>>,
    /// Those that count, with the ports that hold.
    pub(crate) records: Vec<Srv>,
    pub(crate) standing: Standing,
}

impl Led {
    /// The host that would be asked first.
    pub(crate) fn host(&self) -> &str {
        self.records.first().map_or("", |record| &record.target)
    }
}

/// The next hop for a domain, what it must prove, and for how many seconds all that may be kept.
pub(crate) async fn find(
    resolver: &dyn Resolver,
    settings: &Snapshot,
    domain: &SipDomain,
    way: Way,
) -> Result<(Target, Led, u32), Refusal> {
    let asked = match way {
        Way::AskSrv => Some(srv_records(resolver, domain).await?),
        Way::Direct(_) => None,
    };
    let led = led(settings, domain, way, asked)?;
    let (target, ttl) = locate_led(resolver, settings, domain, &led).await?;
    Ok((target, led, ttl))
}

/// The servers that a way leads to, and for how many seconds that may be kept.
pub(crate) async fn locate_led(
    resolver: &dyn Resolver,
    settings: &Snapshot,
    domain: &SipDomain,
    led: &Led,
) -> Result<(Target, u32), Refusal> {
    let located = locate(resolver, &led.records).await.map_err(|error| Refusal::AddressNotFound {
        domain: domain.clone(),
        host: led.records[0].target.parse().unwrap_or_else(|_| domain.clone()),
        why: error.to_string(),
        remedy: remedy(&error),
    })?;
    let connections = usize::from(settings.access_edge().outgoing_tls_count_for_federated_partners);
    let target = Target::served_by(led.standing.remote().as_str(), located.servers, Transport::Tls);
    Ok((target.with_connections(connections), located.ttl))
}

/// Where the settings lead with the records that the domain has.
pub(crate) fn led(settings: &Snapshot, domain: &SipDomain, way: Way, asked: Option<Vec<Srv>>) -> Result<Led, Refusal> {
    let (records, standing) = match way {
        Way::Direct(Route { host, port, standing }) => {
            let record = Srv { priority: 0, weight: 0, port, target: host.to_string(), ttl: u32::MAX };
            (vec![record], standing)
        }
        Way::AskSrv => served_by(settings, domain, asked.clone().unwrap_or_default())?,
    };
    Ok(Led { asked, records, standing })
}

/// The records that count, with the ports that hold, and what their servers must prove.
fn served_by(settings: &Snapshot, domain: &SipDomain, mut records: Vec<Srv>) -> Result<(Vec<Srv>, Standing), Refusal> {
    records.sort_by_key(|record| record.priority);
    let mut counted: Vec<(Srv, Standing)> = Vec::new();
    let mut refusal = Refusal::SrvNotFound { domain: domain.clone(), why: "it names no host".into(), remedy: None };
    for record in records {
        // A target that is no host name is no way.
        let Ok(target) = record.target.parse::<SipDomain>() else {
            let why = format!("it leads to {:?}, which is no host name (RFC 2782)", record.target);
            refusal = Refusal::SrvNotFound { domain: domain.clone(), why, remedy: None };
            continue;
        };
        match by_srv(settings, domain, &[(target, record.port)]) {
            Ok(routes) => {
                counted.extend(
                    routes.into_iter().map(|route| (Srv { port: route.port, ..record.clone() }, route.standing)),
                );
            }
            Err(why) => refusal = why,
        }
    }
    let standing = counted.first().map(|(_, standing)| standing.clone()).ok_or(refusal)?;
    // One next hop has one name; a record that mixes a provider with hosts of its own is used up to the change.
    let same = counted.into_iter().take_while(|(_, other)| other.remote() == standing.remote());
    Ok((same.map(|(record, _)| record).collect(), standing))
}

/// A domain's federation SRV records, in no particular order.
pub(crate) async fn srv_records(resolver: &dyn Resolver, domain: &SipDomain) -> Result<Vec<Srv>, Refusal> {
    let not_found = |error: ResolveError| {
        let (why, remedy) = (error.to_string(), remedy(&error));
        Refusal::SrvNotFound { domain: domain.clone(), why, remedy }
    };
    resolver.srv(&format!("_sipfederationtls._tcp.{domain}")).await.map_err(not_found)
}

/// What may be done where the name server is at fault; where the domain's records are, the diagnosis knows better.
fn remedy(error: &ResolveError) -> Option<&'static str> {
    error.is_passing().then(|| error.advice())
}
