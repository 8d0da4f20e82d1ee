//! Home as a whole: its doors, its shards, its outbox, and its life.

use std::collections::HashMap;
use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reveille_core::settings::Snapshot;
use reveille_core::{Clock, SipDomain, Timestamp, TokenKey};
use reveille_sip::auth::Algorithm;
use reveille_sip_net::proxy::{Proxy, ProxyConfig};
use reveille_sip_net::{ConnectError, Flow, Listener, Pool, PoolLimits, Requests, Target, TlsClient};
use reveille_store::{HomeStore, StoreError};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, warn};

use crate::abroad;
use crate::auth::Authenticator;
use crate::calls::{self, Calls};
use crate::desk::Desk;
use crate::flows::Flows;
use crate::front::{Clients, Front, Servers, Shards};
use crate::outbox::{self, Road};
use crate::probe::{Doors, Probes};
use crate::reply::{Recent, Reply};
use crate::shard::{Event, Shard, Shared};
use crate::users::Users;
use crate::visits::Visits;

/// Shards; each has one writer, so this bounds how many users move at once, not how many there are.
const SHARDS: usize = 4;
/// Events that may wait for one shard.
const MAILBOX: usize = 4096;
/// Push requests that may wait for the outbox.
const OUTBOX: usize = 4096;
/// Messages for other domains that may wait for the way out.
const ABROAD: usize = 1024;
/// Owed pushes read back at once at start.
const PAGE: usize = 5000;
/// How often old messages and pushes are removed.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// Rows removed in one transaction.
const PURGE_AT_ONCE: usize = 5000;
/// How long what is over is kept to be seen.
const RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);

/// What this home is.
#[derive(Clone, Debug)]
pub struct Config {
    /// This server's own name.
    pub name: SipDomain,
    /// The site whose settings hold here.
    pub site: String,
    /// How long after a flow is gone its phone counts as suspended.
    pub grace: Duration,
    /// Our edge: the way out, and the only one whose trust header is believed.
    pub edge: Target,
    /// Other names of that edge's inner side, by which administrators know it.
    pub edge_also: Vec<SipDomain>,
    /// Other names of this server, by which administrators know it.
    pub also_named: Vec<SipDomain>,
    /// Certificate names of proxies that have authenticated their users themselves.
    pub trusted_proxies: Vec<SipDomain>,
    /// The digests that clients may prove themselves with, in the order in which they are offered.
    pub digests: Vec<Algorithm>,
    /// Signs what home writes into dialogs about its phones. Without one they belong to this very process.
    pub token_key: Option<TokenKey>,
}

/// Where clients and servers come in.
pub struct Listeners {
    /// For clients.
    pub clients: Vec<Listener>,
    /// For our edge and trusted proxies, mutual TLS.
    pub internal: Listener,
}

/// One home.
pub struct Home {
    config: Config,
    front: Arc<Front>,
    shards: Vec<(Shard, mpsc::Receiver<Event>)>,
    jobs: mpsc::Receiver<outbox::Job>,
    leaving: mpsc::Receiver<Reply>,
}

impl Home {
    /// A home with everything its store knows.
    pub fn new(
        config: Config,
        users: Users,
        store: Arc<dyn HomeStore>,
        settings: watch::Receiver<Arc<Snapshot>>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let hash = RandomState::new();
        let requests = Requests::new();
        let flows: Arc<Flows> = Arc::default();
        let (outbox, jobs) = mpsc::channel(OUTBOX);
        let (abroad, leaving) = mpsc::channel(ABROAD);
        let shared = Arc::new(Shared {
            name: config.name.as_str().into(),
            site: config.site.clone(),
            grace: config.grace,
            store: Arc::clone(&store),
            settings,
            clock: Arc::clone(&clock),
            requests: Arc::clone(&requests),
            flows: Arc::clone(&flows),
            outbox,
        });
        let (mut senders, mut shards) = (Vec::new(), Vec::new());
        let mut devices: HashMap<usize, Vec<_>> = HashMap::new();
        for record in store.devices()? {
            devices.entry(Shards::index(&hash, &record.user, SHARDS)).or_default().push(record);
        }
        let mut owed: HashMap<usize, Vec<_>> = HashMap::new();
        let mut after = None;
        loop {
            let page = store.open_pushes(PAGE, after)?;
            let Some(last) = page.last() else { break };
            after = Some((last.due, last.push));
            for push in page {
                owed.entry(Shards::index(&hash, &push.user, SHARDS)).or_default().push(push);
            }
        }
        for index in 0..SHARDS {
            let (sender, receiver) = mpsc::channel(MAILBOX);
            let (devices, owed) = (devices.remove(&index), owed.remove(&index));
            let shard = Shard::new(index, Arc::clone(&shared), devices.unwrap_or_default(), owed.unwrap_or_default());
            senders.push(sender);
            shards.push((shard, receiver));
        }
        let edge: Result<SipDomain, _> = config.edge.name().parse();
        let doors = Doors {
            home: config.name.clone(),
            home_also: config.also_named.clone(),
            domain: users.domain().clone(),
            domains: users.domains().to_vec(),
            edge: edge.clone().unwrap_or_else(|_| config.name.clone()),
            edge_also: config.edge_also.clone(),
        };
        let probes = Probes::new(doors, shared.settings.clone(), config.site.clone());
        let front = Arc::new(Front {
            shards: Shards::new(senders, hash),
            requests,
            flows,
            calls: OnceLock::new(),
            road: OnceLock::new(),
            probes,
            visits: Visits::default(),
            authenticator: Authenticator::new(users.domains(), &config.digests),
            recent: Arc::new(Recent::new()),
            store,
            clock,
            name: config.name.as_str().into(),
            tag: format!("{:08x}", rand::random::<u32>()).into(),
            edges: edge.into_iter().collect(),
            proxies: config.trusted_proxies.clone(),
            abroad,
            feedback: TaskTracker::new(),
            users,
        });
        Ok(Self { config, front, shards, jobs, leaving })
    }

    /// Where others may ask about users while the home runs.
    pub fn desk(&self) -> Desk {
        Desk {
            front: Arc::clone(&self.front),
            site: self.config.site.as_str().into(),
            edge: self.config.edge.name().into(),
        }
    }

    /// Runs until `stop`. What is owed then is in the store.
    pub async fn run(self, listeners: Listeners, tls: Arc<TlsClient>, stop: CancellationToken) {
        let Self { config, front, shards, jobs, leaving } = self;
        let servers = Arc::new(Servers(Arc::clone(&front)));
        let clients = Arc::new(Clients(Arc::clone(&front)));
        // The shards and the outbox stop after the doors, so that what the doors have taken is still answered.
        let rest = CancellationToken::new();
        if let Some(udp) = listeners.clients.iter().find_map(Listener::udp_sender) {
            front.flows.open(udp);
        }
        let proxy = proxy(&config.name, front.users.domains(), &listeners);
        front.flows.tell(Arc::clone(&proxy));
        let senders = Senders { requests: Arc::clone(&front.requests), proxy: Arc::clone(&proxy) };
        let pool = Pool::new(
            Arc::clone(&servers) as _,
            Arc::new(senders) as _,
            Some(tls),
            None,
            PoolLimits::default(),
            rest.clone(),
        );
        let internal = listeners.internal.local_addr();
        let way = (pool.clone(), config.edge.clone());
        let calls = Calls::new(&front, Arc::clone(&proxy), way, internal, config.token_key);
        drop(front.calls.set(calls));
        let road = Arc::new(Road {
            requests: Arc::clone(&front.requests),
            pool: pool.clone(),
            edge: config.edge,
            name: config.name,
            domain: front.users.domain().clone(),
            realms: front.users.domains().to_vec(),
            clock: Arc::clone(&front.clock),
            quotas: outbox::Quotas::default(),
        });
        drop(front.road.set(Arc::clone(&road)));
        let doors = TaskTracker::new();
        for listener in listeners.clients {
            doors.spawn(listener.run(Arc::clone(&clients) as _, stop.clone()));
        }
        doors.spawn(listeners.internal.run(servers, stop.clone()));
        doors.close();
        let mut tasks = JoinSet::new();
        for (shard, events) in shards {
            tasks.spawn(shard.run(events, rest.clone()));
        }
        let to_shards = Arc::clone(&front);
        let report = move |shard: usize, answers| {
            if to_shards.shards.at(shard).try_send(Event::PushesAnswered(answers)).is_err() {
                // They stay owed, are asked for again, and found to be duplicates.
                warn!("a shard has no room for the clearing house's answers");
            }
        };
        tasks.spawn(outbox::run(Arc::clone(&road), jobs, report, rest.clone()));
        tasks.spawn(abroad::run(road, leaving, rest.clone()));
        tasks.spawn(proxy.run(rest.clone()));
        tasks.spawn(purge(Arc::clone(&front), rest.clone()));
        tokio::select! {
            () = stop.cancelled() => {}
            // A broken invariant: the role ends with it, and the process is told.
            ended = tasks.join_next() => {
                error!(?ended, "a part of home has ended by itself");
                return;
            }
        }
        doors.wait().await;
        front.feedback.close();
        front.feedback.wait().await;
        rest.cancel();
        while let Some(ended) = tasks.join_next().await {
            if let Err(fault) = ended {
                error!(%fault, "a part of home has failed");
            }
        }
        pool.finish().await;
    }
}

/// The proxy for calls, which knows itself by its names and by where it listens.
fn proxy(name: &SipDomain, domains: &[SipDomain], listeners: &Listeners) -> Arc<Proxy> {
    let clients = listeners.clients.iter();
    let listening: Vec<SocketAddr> = clients.clone().chain([&listeners.internal]).map(Listener::local_addr).collect();
    let is_own = |listener: &&Listener| !listener.local_addr().ip().is_unspecified();
    let canonical = |at: SocketAddr| SocketAddr::new(at.ip().to_canonical(), at.port()).to_string();
    let sent_by = clients.clone().filter(is_own).map(|one| (one.transport(), canonical(one.local_addr()))).collect();
    let names: Vec<String> = domains.iter().chain([name]).map(ToString::to_string).collect();
    Proxy::new(ProxyConfig {
        sent_by,
        udp: clients.clone().find_map(Listener::udp_sender),
        ..ProxyConfig::new(name.as_str(), move |uri| calls::ours(uri, &names, &listening))
    })
}

/// Tells whoever has sent something what became of it.
struct Senders {
    requests: Arc<Requests>,
    proxy: Arc<Proxy>,
}

impl reveille_sip_net::Senders for Senders {
    fn failed(&self, token: u64, error: &ConnectError) {
        match Proxy::owns(token) {
            true => self.proxy.failed(token, error),
            false => self.requests.failed(token, error),
        }
    }

    fn sent(&self, token: u64, flow: &Arc<Flow>) {
        match Proxy::owns(token) {
            true => self.proxy.sent(token, flow),
            false => self.requests.sent(token, flow),
        }
    }
}

/// Removes what is over and was kept to be seen.
async fn purge(front: Arc<Front>, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(PURGE_EVERY)).await.is_some() {
        let now = front.clock.now().millis();
        let before = Timestamp::from_millis(now.saturating_sub(RETENTION.as_millis() as u64));
        loop {
            match reveille_store::wait(|done| front.store.purge(before, PURGE_AT_ONCE, done)).await {
                // There may be more; in between, the writer serves whoever waits.
                Ok(gone) if gone >= PURGE_AT_ONCE => {}
                Ok(_) => break,
                Err(reason) => {
                    warn!(%reason, "old messages could not be removed");
                    break;
                }
            }
        }
    }
}
