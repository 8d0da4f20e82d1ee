//! The sender core, shared by all providers: one [`Sender`] per lane, with at least two connections of its own.
//!
//! A connection is one task. It owns its HTTP/2 state and the answers it waits for, takes from the lane's queue only as
//! much as its peer allows, and reports outcomes in batches: no task and no lock per push beyond the queue's.

mod circuit;
mod connection;
pub(crate) mod dial;
pub(crate) mod dialect;
mod flight;
mod gates;
mod health;
pub(crate) mod line;
mod meter;
mod papers;
mod pool;
mod proxy;
mod queue;

use std::sync::Arc;
use std::time::Duration;

use reveille_core::{Channel, Clock, Environment, LaneKey, Provider};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use circuit::Patience;
pub use dial::Target;
pub use gates::{Breakers, Broken, Circuits, Which};
pub use health::{Health, State};
pub use proxy::Proxy;

use crate::notification::{Demand, Notification, Outcomes, Supply};
use crate::tls::{Trust, TrustFault};
use crate::{apns, fcm};

/// What one lane needs to be sent.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// Which app, where, and which channel. The app's name is the APNs bundle id or the FCM project id.
    pub lane: LaneKey,
    /// Where the provider is.
    pub target: Target,
    /// Whose certificates it may present.
    pub trust: Trust,
    /// As whom we come.
    pub access: Access,
    /// Connections kept open, idle or not. At least two, so that one that breaks is not all there is.
    pub connections: usize,
    /// The most connections at once: beside the usual ones, others are opened while those have no room.
    pub connections_max: usize,
    /// For how long there must be a crowd before another connection is opened for it.
    pub grow_after: Duration,
    /// How long a connection that was opened for a crowd may be idle.
    pub spare_idle: Duration,
    /// The circuits of this process, which lanes of one app, and apps of one host, share.
    pub circuits: Circuits,
    /// The most pushes waiting for a connection.
    pub queue_max: usize,
    /// The most pushes under way on one connection, whatever the provider allows.
    pub in_flight_max: usize,
    /// How long a push waits for a connection before it is handed back as unprocessed.
    pub patience: Duration,
    /// How long to wait for each step of connecting: name, TCP, TLS.
    pub connect_timeout: Duration,
    /// How long to wait for the answer to one push.
    pub response_timeout: Duration,
    /// The longest pause between attempts to connect.
    pub reconnect_max: Duration,
    /// How long a connection may be idle before a ping asks whether it still stands.
    pub idle_ping: Duration,
    /// How long [`Sender::drain`] waits for answers.
    pub grace: Duration,
}

impl SenderConfig {
    /// The usual values for this lane: the provider's own address, two connections, a short patience for calls.
    pub fn new(lane: LaneKey, access: Access, trust: Trust) -> Self {
        let host = match (&access, lane.app.environment) {
            (Access::Apns(_), Environment::Sandbox) => apns::HOST_SANDBOX,
            (Access::Apns(_), Environment::Production) => apns::HOST,
            (Access::Fcm(_), _) => fcm::HOST,
        };
        let patience = match lane.channel {
            Channel::Message => Duration::from_secs(5),
            Channel::Voip => Duration::from_secs(1),
        };
        Self {
            lane,
            target: Target { host: host.into(), port: 443, address: None, proxy: None },
            trust,
            access,
            connections: 2,
            connections_max: 8,
            grow_after: Duration::from_millis(100),
            // Apple takes quick opening and closing for an attack.
            spare_idle: Duration::from_secs(300),
            circuits: Circuits::default(),
            queue_max: 8192,
            in_flight_max: 1000,
            patience,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(10),
            reconnect_max: Duration::from_secs(10),
            // Apple: "ping after an hour idle"; more often is not encouraged.
            idle_ping: Duration::from_secs(3600),
            grace: Duration::from_secs(5),
        }
    }
}

/// As whom the publisher comes to the provider; also which provider's language the lane speaks.
#[derive(Clone, Debug)]
pub enum Access {
    /// The Apple Push Notification service.
    Apns(apns::Access),
    /// Firebase Cloud Messaging.
    Fcm(Arc<fcm::Account>),
}

/// Why a lane cannot be served at all. The configuration's fault; repeating does not help.
#[derive(Debug, thiserror::Error)]
pub enum SenderFault {
    /// The app's name or the target's host cannot stand in a request.
    #[error("the app's name or the provider's host cannot stand in a request: {0}")]
    Name(#[from] http::Error),
    /// TLS cannot be set up.
    #[error(transparent)]
    Trust(#[from] TrustFault),
    /// The lane's provider and the credentials are not of one kind.
    #[error("the lane is of {lane}, and the credentials are of another provider")]
    WrongAccess {
        /// The lane's provider.
        lane: Provider,
    },
}

/// Sends the pushes of one lane.
///
/// Every notification that [`Sender::offer`] takes comes back as exactly one [`Outcome`](crate::Outcome): an answer, or
/// `Retry` if there was none, with `unprocessed` true where it is certain that the provider did not process it. One
/// whose life ends while it waits is not sent, and comes back as `Retry { unprocessed: true }` with the reason
/// [`EXPIRED_BEFORE_SENDING`](crate::EXPIRED_BEFORE_SENDING).
///
/// Dropping a sender stops it as [`Sender::drain`] does, without waiting.
#[derive(Debug)]
pub struct Sender {
    lane: Arc<pool::Lane>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Sender {
    /// Starts to connect, and to tell `outcomes`. Must be called within a tokio runtime. `stop` ends it like
    /// [`Sender::drain`].
    pub fn start(
        config: SenderConfig,
        outcomes: Arc<dyn Outcomes>,
        clock: Arc<dyn Clock>,
        stop: &CancellationToken,
    ) -> Result<Self, SenderFault> {
        let stop = stop.child_token();
        let tasks = TaskTracker::new();
        let lane = Arc::new(pool::Lane::new(config, outcomes, clock, stop.clone())?);
        pool::run(&lane, &tasks);
        tasks.close();
        Ok(Self { lane, tasks, stop })
    }

    /// Has the connections take from `supply` too, each as much as it has room for at the moment. The first call counts.
    pub fn serve(&self, supply: Arc<dyn Supply>) {
        self.lane.queue.serve(supply);
    }

    /// The supply has something for whoever waits there: an idle connection with room for it, if there is one, comes. Not
    /// to be called under a lock that [`Supply::take`] needs.
    pub fn wake(&self, demand: Demand) {
        self.lane.queue.wake(demand);
    }

    /// Takes a push to send; gives it back if the queue is full or the sender has stopped.
    #[expect(clippy::result_large_err, reason = "giving the push back is the point, and it is moved, not copied")]
    pub fn offer(&self, push: Notification) -> Result<(), Notification> {
        self.lane.queue.offer(push, tokio::time::Instant::now())
    }

    /// How many more pushes [`Sender::offer`] would take now.
    pub fn room(&self) -> usize {
        self.lane.queue.room()
    }

    /// How the lane is.
    pub fn health(&self) -> Health {
        self.lane.health()
    }

    /// As whom it comes to the provider.
    pub fn access(&self) -> Access {
        self.lane.papers().access.clone()
    }

    /// Comes with another credential from now on. Connections of the old one finish what is under way and are replaced;
    /// what the provider had against the old one is asked again at once.
    pub fn renew(&self, access: Access, trust: &Trust) -> Result<(), SenderFault> {
        self.lane.renew(access, trust)
    }

    /// Takes a push like [`Sender::offer`], and asks the provider at once though a circuit may be open: for a person who
    /// wants to know how it is now.
    #[expect(clippy::result_large_err, reason = "giving the push back is the point, and it is moved, not copied")]
    pub fn examine(&self, push: Notification) -> Result<(), Notification> {
        self.offer(push)?;
        self.lane.try_now();
        Ok(())
    }

    /// Where the provider is, as host and port.
    pub fn server(&self) -> String {
        let Target { host, port, .. } = &self.lane.config.target;
        format!("{host}:{port}")
    }

    /// Which lane it serves.
    pub fn lane(&self) -> &LaneKey {
        &self.lane.config.lane
    }

    /// Takes no more, hands back what waits, waits for the answers of what is under way (up to the configured grace),
    /// and closes the connections. All outcomes have been reported when it returns.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
        self.lane.hand_back_the_rest();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
