//! The simulator as its users hold it: start, steer, look, stop.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::answer::{Answer, GoAway};
use super::options::{ApnsOptions, Environment, Mode, ProviderKey};
use super::push::ApnsPush;
use super::talk::talk;
use crate::clock::Clock;
use crate::line::{Line, Outage, StartFailure};
use crate::recorder::Recorder;
use crate::script::{Scripts, Times, TooManyScripts};

/// A running APNs simulator. Dropping it stops it; [`ApnsSimulator::shutdown`] also waits for its tasks.
#[derive(Debug)]
pub struct ApnsSimulator {
    controls: ApnsControls,
}

/// The levers of a running simulator, for as many holders as need them.
#[derive(Clone, Debug)]
pub struct ApnsControls {
    shared: Arc<Shared>,
    line: Arc<Line>,
}

/// What all connections of one simulator see.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) keys: Vec<ProviderKey>,
    pub(super) mode: Mode,
    pub(super) environment: Environment,
    pub(super) streams_max: u32,
    pub(super) topics: HashMap<String, HashSet<String>>,
    pub(super) clock: Clock,
    pub(super) recorder: Arc<Recorder<ApnsPush>>,
    pub(super) scripts: Scripts<Answer>,
    pub(super) orders: watch::Sender<Orders>,
}

/// What connections are told while they live. Orders are numbered, so that each is carried out once.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    /// Answers wait for the next release.
    pub(super) hold: bool,
    /// The number of the last release.
    pub(super) released: u64,
    /// The last GOAWAY and its number.
    pub(super) go_away: Option<(u64, GoAway)>,
    /// GOAWAY after so many requests on each connection.
    pub(super) standing_go_away: Option<GoAway>,
    /// Every answer comes so much later.
    pub(super) delay: Duration,
    latest: u64,
}

impl Orders {
    fn number(&mut self) -> u64 {
        self.latest += 1;
        self.latest
    }

    pub(super) fn last_go_away(&self) -> u64 {
        self.go_away.as_ref().map_or(0, |(number, _)| *number)
    }
}

impl ApnsSimulator {
    /// Binds, and serves until [`ApnsSimulator::shutdown`].
    pub async fn start(options: ApnsOptions) -> Result<Self, StartFailure> {
        // "APNs requires HTTP/2 by ALPN": nothing else is offered.
        let tls = Arc::new(options.identity.server_config(&[b"h2"])?);
        let shared = Arc::new(Shared {
            keys: options.keys,
            mode: options.mode,
            environment: options.environment,
            streams_max: options.streams_max,
            topics: options.topics,
            clock: options.clock,
            recorder: Arc::new(Recorder::new(options.keep)),
            scripts: Scripts::new(),
            orders: watch::Sender::new(Orders::default()),
        });
        let for_talks = Arc::clone(&shared);
        let conversation = Arc::new(move |stream: tokio_rustls::server::TlsStream<_>, number| -> crate::line::Talk {
            // A client that did not negotiate HTTP/2 is talking something else.
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Box::pin(async {});
            }
            Box::pin(talk(Arc::clone(&for_talks), stream, number))
        });
        let line = Line::start(options.listen, tls, conversation).await?;
        Ok(Self { controls: ApnsControls { shared, line: Arc::new(line) } })
    }

    /// The levers, to be shared.
    pub fn controls(&self) -> ApnsControls {
        self.controls.clone()
    }

    /// Closes the listener and all connections, and waits for their tasks.
    pub async fn shutdown(self) {
        self.controls.line.shutdown().await;
    }
}

impl Deref for ApnsSimulator {
    type Target = ApnsControls;

    fn deref(&self) -> &ApnsControls {
        &self.controls
    }
}

impl ApnsControls {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.line.addr()
    }

    /// What it remembers.
    pub fn recorder(&self) -> &Arc<Recorder<ApnsPush>> {
        &self.shared.recorder
    }

    /// Its clock.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.line.live()
    }

    /// Answers for the next pushes to `token`, or to any token. Only pushes that keep the rules consume answers.
    pub fn script(&self, token: Option<&str>, answers: Vec<Answer>, times: Times) -> Result<(), TooManyScripts> {
        self.shared.scripts.add(token, answers, times)
    }

    /// Forgets all scripts and the standing order for GOAWAY.
    pub fn clear_scripts(&self) {
        self.shared.scripts.clear();
        self.shared.orders.send_modify(|orders| orders.standing_go_away = None);
    }

    /// From now on answers wait for [`ApnsControls::release`]; pushes are recorded as held.
    pub fn hold(&self) {
        self.shared.orders.send_modify(|orders| orders.hold = true);
    }

    /// From now on every answer to a push that keeps the rules comes so much later.
    pub fn delay(&self, by: Duration) {
        self.shared.orders.send_modify(|orders| orders.delay = by);
    }

    /// Gives all answers that wait, and ends the hold.
    pub fn release(&self) {
        self.shared.orders.send_modify(|orders| {
            orders.hold = false;
            orders.released = orders.number();
        });
    }

    /// Sends GOAWAY on every open connection, or after so many requests on each.
    pub fn go_away(&self, order: GoAway) {
        self.shared.orders.send_modify(|orders| {
            if order.after_requests.is_some() {
                orders.standing_go_away = Some(order);
            } else {
                orders.go_away = Some((orders.number(), order));
            }
        });
    }

    /// Closes every connection and takes no more; returns when that is so.
    pub async fn down(&self, outage: Outage) {
        self.line.down(outage).await;
    }

    /// Accepts connections again.
    pub async fn up(&self) {
        self.line.up().await;
    }
}
