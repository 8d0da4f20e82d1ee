//! The edge as a whole: its two sides, what they share, and its life.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use reveille_core::settings::Snapshot;
use reveille_core::{Clock, SipDomain, TokenKey};
use reveille_federation::Refusal;
use reveille_federation::policy::Standing;
use reveille_sip::Message;
use reveille_sip_net::{Flow, Listener, Pool, PoolLimits, Resolver, Target, TlsClient, Transport};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::av::AvConfig;
use crate::calls::{Calls, Tellers};
use crate::crossing::{Crossing, From, Proven};
use crate::inbound::Inbound;
use crate::limits::Limits;
use crate::now::{Latest, Now};
use crate::outbound::Outbound;
use crate::partners::Partners;
use crate::probe::Probes;
use crate::refusals::{Refusals, Refused};
use crate::relay::{Relay, refuse};
use crate::unfound::Unfound;

/// How often requests that nobody answers are forgotten.
const SWEEP: Duration = Duration::from_secs(2);

/// How often it is looked whether everything under way is answered, while the edge stops.
const DRAIN_STEP: Duration = Duration::from_millis(20);
/// Look-ups under way at once for one side: whoever has slow name servers outside does not close the way out.
pub(crate) const LOOKUPS_MAX: usize = 128;

/// What this edge is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its own name, stamped on what goes inward.
    pub name: SipDomain,
    /// Certificate names that may use the internal listener.
    pub inside: Vec<SipDomain>,
    /// The domains that live behind it.
    pub domains: HashMap<SipDomain, Served>,
    /// How much each partner may have of it.
    pub limits: Limits,
    /// Hands out credentials for media relays, if there are any.
    pub av: Option<AvConfig>,
    /// Signs what this edge writes into dialogs. Without one they belong to this very process.
    pub token_key: Option<TokenKey>,
}

/// The server behind the edge that serves one domain.
#[derive(Clone, Debug)]
pub struct Served {
    /// The name that it must show.
    pub name: SipDomain,
    /// Where it listens for its edge.
    pub address: std::net::SocketAddr,
}

/// Reads settings anew; may take as long as a small file does.
type Refresh = Arc<dyn Fn() + Send + Sync>;

/// One Access Edge.
pub struct Edge {
    pub(crate) config: Config,
    pub(crate) settings: watch::Receiver<Arc<Snapshot>>,
    pub(crate) resolver: Arc<dyn Resolver>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) relay: Arc<Relay>,
    pub(crate) calls: Calls,
    pub(crate) refusals: Refusals,
    pub(crate) partners: Partners,
    pub(crate) unfound: Unfound,
    pub(crate) probes: Probes,
    /// Reads the settings at once, instead of when they are looked at next.
    refresh: OnceLock<Refresh>,
    /// The inner side, while it runs.
    outbound: OnceLock<Weak<Outbound>>,
    draining: AtomicBool,
    latest: Latest,
    /// Look-ups under way; each is bounded in time, and each side in their number.
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
        let calls = Calls::new(&config);
        let refusals = Refusals::new(Arc::clone(&clock));
        let unfound = Unfound::new(Arc::clone(&clock));
        let partners = Partners::new(config.limits, Arc::clone(&clock));
        let (outbound, draining, lookups) = (OnceLock::new(), AtomicBool::new(false), TaskTracker::new());
        let latest = Latest::default();
        Arc::new(Self {
            config,
            settings,
            resolver,
            clock,
            relay,
            calls,
            refusals,
            partners,
            unfound,
            probes: Probes::new(),
            refresh: OnceLock::new(),
            outbound,
            draining,
            latest,
            lookups,
        })
    }

    /// Gives the edge a way to read its settings at once: a test must see what another process has set a moment ago.
    pub fn refresh_by(&self, refresh: impl Fn() + Send + Sync + 'static) {
        // Whoever was first is kept: the settings of an edge are one file.
        let _ = self.refresh.set(Arc::new(refresh));
    }

    /// The settings are as new as their file.
    pub(crate) async fn refreshed(&self) {
        if let Some(refresh) = self.refresh.get().cloned()
            && let Err(error) = tokio::task::spawn_blocking(move || refresh()).await
        {
            tracing::warn!(%error, "the settings could not be read anew for a test");
        }
    }

    /// The latest refusals, newest last, for status pages.
    pub fn refusals(&self) -> Vec<Refused> {
        self.refusals.latest()
    }

    /// How many requests wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.relay.in_flight() + self.calls.in_flight()
    }

    /// Sends a request on: with the state of a call, or on the short way.
    pub(crate) fn carry(&self, message: &Message, crossing: Crossing<'_>) -> Result<(), Refusal> {
        if Calls::carries(message) {
            self.calls.forward(message, crossing);
            return Ok(());
        }
        self.relay.forward(message, crossing)
    }

    /// Refuses a request, and remembers that.
    pub(crate) fn turn_away(&self, flow: &Flow, message: &Message, from: From, refusal: &Refusal) {
        self.refusals.request(flow, refusal);
        match Calls::carries(message) {
            true => self.calls.refuse(flow, message, from, refusal),
            false => refuse(flow, message, from, self.config.name.as_str(), refusal),
        }
    }

    /// Passes an answer back the way that its request went.
    pub(crate) fn answered(&self, flow: &Arc<Flow>, answer: &Message) {
        if !self.relay.on_response(flow, answer) && !self.calls.on_response(flow, answer) {
            self.relay.stray(flow);
        }
    }

    /// Whether it is about to stop: nothing new is taken, and answers to what is under way are waited for.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The inner side, while it runs.
    pub(crate) fn outbound(&self) -> Option<Arc<Outbound>> {
        self.outbound.get()?.upgrade()
    }

    /// The settings that hold now.
    pub(crate) fn now(&self) -> Arc<Now> {
        self.latest.with(&self.settings.borrow())
    }

    /// What one of our own servers has proven to another.
    pub(crate) fn own(&self, standing: &Standing) -> Result<Arc<Proven>, Refusal> {
        let partner = self.partners.of(standing, None)?;
        Ok(Proven::new(standing.clone(), partner, &self.config.name))
    }

    /// Runs both sides until `stop`, waits a bounded time for the answers to what is under way, and lets them leave.
    pub async fn run(
        self: Arc<Self>,
        external: Listener,
        internal: Listener,
        external_tls: Arc<TlsClient>,
        internal_tls: Arc<TlsClient>,
        stop: CancellationToken,
    ) {
        let (inbound, outbound) = (Inbound::new(&self), Outbound::new(&self));
        let between = reveille_sip::Limits::between_organisations();
        let (inner, outer) = (PoolLimits::default(), PoolLimits { message: between, ..PoolLimits::default() });
        // Whatever comes back on a connection is handled as if its peer had connected to that side.
        let senders: Arc<dyn reveille_sip_net::Senders> = Tellers::new(&self.relay, &self.calls);
        // While the edge drains, its connections still carry answers.
        let end = CancellationToken::new();
        let pool =
            |handler, tls, limits| Pool::new(handler, Arc::clone(&senders), Some(tls), None, limits, end.clone());
        let ear: Weak<dyn reveille_sip_net::Handler> = Arc::downgrade(&inbound) as _;
        self.probes.open(ear, Arc::clone(&external_tls), outer, end.clone());
        let outside = pool(Arc::clone(&inbound) as _, external_tls, outer);
        let inside = pool(Arc::clone(&outbound) as _, internal_tls, inner);
        let (outer, inner) = (external.local_addr().port(), internal.local_addr().port());
        self.calls.open((outer, outside.clone()), (inner, inside.clone()));
        self.relay.open(outside.clone());
        inbound.open(inside.clone(), Arc::clone(&outbound));
        outbound.open(outside.clone(), inside.clone());
        drop(self.outbound.set(Arc::downgrade(&outbound)));
        tokio::join!(
            external.run(inbound, end.clone()),
            internal.run(outbound, end.clone()),
            self.sweep(end.clone()),
            self.calls.run(end.clone()),
            self.advise(end.clone()),
            self.drain(stop, end)
        );
        outside.finish().await;
        inside.finish().await;
        self.probes.finish().await;
        self.lookups.close();
        self.lookups.wait().await;
    }

    async fn sweep(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
            self.relay.sweep();
            if let Some(outbound) = self.outbound() {
                outbound.sweep();
            }
        }
    }

    /// Says in the log what the settings allow and what will not work, at the start and after each change.
    async fn advise(&self, end: CancellationToken) {
        let mut settings = self.settings.clone();
        let mut known = Vec::new();
        loop {
            let warnings = settings.borrow_and_update().warnings();
            for warning in warnings.iter().filter(|warning| !known.contains(*warning)) {
                tracing::warn!("{warning}");
            }
            known = warnings;
            match end.run_until_cancelled(settings.changed()).await {
                Some(Ok(())) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    /// After `stop`: turns new requests away until those under way have their answers, or time is up; then ends it all.
    async fn drain(&self, stop: CancellationToken, end: CancellationToken) {
        stop.cancelled().await;
        self.draining.store(true, Ordering::Relaxed);
        let until = Instant::now() + self.config.limits.drain;
        while self.in_flight() > 0 && Instant::now() < until {
            tokio::time::sleep(DRAIN_STEP).await;
        }
        let unanswered = self.in_flight();
        if unanswered > 0 {
            tracing::warn!(unanswered, "stopped before every answer came");
        }
        end.cancel();
    }
}

impl Served {
    /// The server as a next hop.
    pub(crate) fn target(&self) -> Target {
        Target::at(self.name.as_str(), self.address, Transport::Tls)
    }
}
