//! The edge as a whole: its two sides, what they share, and its life.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reveille_core::settings::Snapshot;
use reveille_core::{Clock, SipDomain};
use reveille_sip_net::{Listener, Pool, PoolLimits, Resolver, Target, TlsClient, Transport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::inbound::Inbound;
use crate::outbound::Outbound;
use crate::refusals::{Refusals, Refused};
use crate::relay::Relay;

/// How often requests that nobody answers are forgotten.
const SWEEP: Duration = Duration::from_secs(2);

/// What this edge is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its own name, stamped on what goes inward.
    pub name: SipDomain,
    /// Certificate names that may use the internal listener.
    pub inside: Vec<SipDomain>,
    /// The domains that live behind it.
    pub domains: HashMap<SipDomain, Served>,
}

/// The server behind the edge that serves one domain.
#[derive(Clone, Debug)]
pub struct Served {
    /// The name that it must show.
    pub name: SipDomain,
    /// Where it listens for its edge.
    pub address: std::net::SocketAddr,
}

/// One Access Edge.
pub struct Edge {
    pub(crate) config: Config,
    pub(crate) settings: watch::Receiver<Arc<Snapshot>>,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) refusals: Refusals,
    /// Look-ups under way; each is bounded in time, and together in number.
    pub(crate) lookups: TaskTracker,
}

impl Edge {
    /// An edge; its listeners are given to [`Edge::run`].
    pub fn new(
        config: Config,
        settings: watch::Receiver<Arc<Snapshot>>,
        resolver: Arc<dyn Resolver>,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        let relay = Relay::new(&config.name);
        let refusals = Refusals::new(clock);
        Arc::new(Self { config, settings, resolver, relay, refusals, lookups: TaskTracker::new() })
    }

    /// The latest refusals, newest last, for status pages.
    pub fn refusals(&self) -> Vec<Refused> {
        self.refusals.latest()
    }

    /// How many requests wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.relay.in_flight()
    }

    /// Runs both sides until `stop`, then lets what is queued leave.
    pub async fn run(
        self: Arc<Self>,
        external: Listener,
        internal: Listener,
        external_tls: Arc<TlsClient>,
        internal_tls: Arc<TlsClient>,
        stop: CancellationToken,
    ) {
        let (inbound, outbound) = (Inbound::new(&self), Outbound::new(&self));
        let limits = PoolLimits::default();
        // Whatever comes back on a connection is handled as if its peer had connected to that side.
        let senders: Arc<dyn reveille_sip_net::Senders> = Arc::clone(&self.relay) as _;
        let pool = |handler, tls| Pool::new(handler, Arc::clone(&senders), Some(tls), None, limits, stop.clone());
        let outside = pool(Arc::clone(&inbound) as _, external_tls);
        let inside = pool(Arc::clone(&outbound) as _, internal_tls);
        inbound.open(inside.clone());
        outbound.open(outside.clone());
        tokio::join!(
            external.run(inbound, stop.clone()),
            internal.run(outbound, stop.clone()),
            self.sweep(stop.clone())
        );
        outside.finish().await;
        inside.finish().await;
        self.lookups.close();
        self.lookups.wait().await;
    }

    async fn sweep(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
            self.relay.sweep();
        }
    }
}

impl Served {
    /// The server as a next hop.
    pub(crate) fn target(&self) -> Target {
        Target::at(self.name.as_str(), self.address, Transport::Tls)
    }
}
