//! How names become addresses: what the configuration knows, behind it the name servers, and how much of what they say
//! is kept.

use std::sync::Arc;
use std::time::Duration;

use reveille_core::settings::Snapshot;
use reveille_sip_net::{Asking, HickoryResolver, ResolveError, Resolver, Srv, StaticResolver};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config;
use crate::server::StartError;

/// How long a name server may take, and how often it is asked.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// The names that one process asks for.
pub(crate) struct Names {
    /// What is known without asking, and behind it the name servers.
    pub(crate) resolver: Arc<dyn Resolver>,
    /// The name servers, if there are any.
    servers: Option<HickoryResolver>,
    /// How many of their answers are kept.
    kept: u64,
}

impl Names {
    /// As the configuration and the settings want it.
    pub(crate) fn new(raw: &config::Resolver, settings: &Snapshot) -> Result<Self, StartError> {
        let fault = |error: ResolveError| StartError::Resolver(error.to_string());
        let mut table = StaticResolver::new();
        for (host, addresses) in &raw.hosts {
            for address in addresses {
                table = table.host(host.as_str(), *address);
            }
        }
        for record in &raw.srv {
            let target = record.target.to_string();
            let (priority, weight, port) = (record.priority, record.weight, record.port);
            table = table.service(record.owner.as_str(), Srv { priority, weight, port, target, ttl: 60 });
        }
        let kept = wanted(settings);
        let asking = Asking { timeout: TIMEOUT, attempts: ATTEMPTS, cache_records: kept };
        let servers = if raw.name_servers.is_empty() {
            // A machine without name servers still reaches what the table names.
            match HickoryResolver::system(asking) {
                Ok(system) => Some(system),
                Err(error) if raw.hosts.is_empty() => return Err(fault(error)),
                Err(_) => None,
            }
        } else {
            Some(HickoryResolver::at(&raw.name_servers, asking).map_err(fault)?)
        };
        let resolver: Arc<dyn Resolver> = match &servers {
            Some(servers) => Arc::new(table.or_else(Arc::new(servers.clone()))),
            None => Arc::new(table),
        };
        Ok(Self { resolver, servers, kept })
    }

    /// Keeps as many answers as the settings say, until `stop`.
    pub(crate) async fn follow(mut self, mut settings: watch::Receiver<Arc<Snapshot>>, stop: CancellationToken) {
        let Some(servers) = self.servers.take() else { return };
        while let Some(Ok(())) = stop.run_until_cancelled(settings.changed()).await {
            let wanted = wanted(&settings.borrow_and_update());
            if wanted == self.kept {
                continue;
            }
            match servers.keep(wanted) {
                Ok(()) => {
                    info!(answers = wanted, before = self.kept, "another number of name servers' answers is kept");
                    self.kept = wanted;
                }
                Err(error) => warn!(answers = wanted, kept = self.kept, %error, "the number of answers stays"),
            }
        }
    }
}

/// The number of answers that the settings want kept.
fn wanted(settings: &Snapshot) -> u64 {
    settings.access_edge().dns_srv_cache_record_count.into()
}
