//! What a role tells the proxy, and what the proxy asks of it.

use std::sync::Arc;
use std::time::Duration;

use reveille_sip::proxy::{Edits, Owner, Reply, Routed};
use reveille_sip::{Message, Timers, Uri};

use crate::flow::{Flow, Transport};
use crate::pool::Pool;
use crate::target::Target;
use crate::udp::UdpSender;

/// What a [`super::Proxy`] is.
#[derive(Clone)]
pub struct ProxyConfig {
    /// Its name: what stands in its Vias unless the next field has something for the transport.
    pub name: String,
    /// Host and port by transport, where the name alone does not lead back here (UDP, as a rule).
    pub sent_by: Vec<(Transport, String)>,
    /// Which URIs in Route, or in a Request-URI with `lr`, are this proxy's.
    pub ours: Arc<dyn Fn(&Uri<'_>) -> bool + Send + Sync>,
    /// The timers of all transactions.
    pub timers: Timers,
    /// How long an INVITE may ring; RFC 3261 §16.6 step 11 wants more than three minutes.
    pub timer_c: Duration,
    /// How long a role may take from [`super::Proxy::take`] to its decision. Then the answer is 500.
    pub decide_within: Duration,
    /// How long a call goes on when a connection that it needs is gone, and its peer may come back on another (RFC 3261
    /// §18.2.2).
    pub return_within: Duration,
    /// Requests at once. When all are taken, those that came on connections and are answered go, the oldest first; when
    /// there are none, the answer is 503.
    pub contexts_max: usize,
    /// Of them those of one peer, by its certificate or else its address, which are not answered (or came by UDP, where
    /// even an answered one must be known again); beyond it the answer is 480. [`Share::Whole`] lifts that.
    pub contexts_per_peer: usize,
    /// Bytes of messages that all of them hold; beyond it a new request is answered 503.
    pub bytes_max: usize,
    /// Of them those of one peer; beyond it the answer is 480. [`Share::Whole`] lifts that.
    pub bytes_per_peer: usize,
    /// The socket for UDP remotes that a flow token names.
    pub udp: Option<UdpSender>,
}

impl ProxyConfig {
    /// A proxy with this name and the standard's times.
    pub fn new(name: impl Into<String>, ours: impl Fn(&Uri<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self {
            name: name.into(),
            sent_by: Vec::new(),
            ours: Arc::new(ours),
            timers: Timers::default(),
            timer_c: Duration::from_secs(181),
            decide_within: Duration::from_secs(32),
            return_within: RETURN_WITHIN,
            contexts_max: 50_000,
            contexts_per_peer: 5_000,
            bytes_max: 256 * 1024 * 1024,
            bytes_per_peer: 32 * 1024 * 1024,
            udp: None,
        }
    }
}

impl std::fmt::Debug for ProxyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProxyConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Servers of one next hop that are asked for one request after the first could not help (RFC 3263 §4.3). Those that
/// cannot be reached at all are no matter of this bound: the pool passes them by.
const TRIES_MAX: usize = 4;

/// The standard names no time. One address may take 4 s to connect and 5 s to shake hands ([`crate::PoolLimits`]); and a
/// caller who is gone for good should not keep a phone ringing.
const RETURN_WITHIN: Duration = Duration::from_secs(10);

/// How much of a proxy one peer may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Share {
    /// A part, so that one cannot keep the others out.
    Part,
    /// As much as there is: a server of our own, which speaks for many.
    Whole,
}

/// What is left to do with a request after [`super::Proxy::take`].
#[derive(Debug)]
pub enum Taken {
    /// The ACK of a 2xx: decide where it goes, then [`super::Proxy::pass_ack`]; or drop it.
    Ack {
        /// The ACK.
        ack: Message,
        /// Where its Route leads.
        routed: Routed,
    },
    /// Nothing.
    Done,
    /// It must not be forwarded (§16.3), or there is no room. Give this reply, or one with more in it.
    Refused {
        /// The request.
        request: Message,
        /// 400, 416, 420, 440, 480, 482, 483 or 503.
        reply: Reply,
    },
    /// A new one: decide, then [`super::Proxy::forward`], [`super::Proxy::answer`] or [`super::Proxy::reply`]; or
    /// [`super::Proxy::refuse`], if whoever sent it was not admitted.
    Request {
        /// The request.
        request: Message,
        /// Where its Route leads.
        routed: Routed,
    },
}

/// Where a request goes, and how.
pub struct Plan {
    /// At most [`super::LEGS_MAX`] with all their alternatives; what is beyond is not tried.
    pub legs: Vec<Leg>,
    /// As it came from [`Taken`], or changed.
    pub routed: Routed,
    /// URIs for Record-Route, top first: none, one, or two when the sides differ (RFC 5658).
    pub record_route: Vec<String>,
    /// Edits on the request for all legs.
    pub edits: Edits,
    /// Who is asked while answers come back.
    pub owner: Arc<dyn Owner>,
    /// Where those go when the connection that the request came on is gone.
    pub back: Back,
}

/// Whoever sent a request, beyond the connection that it came on (RFC 3261 §18.2.2).
#[derive(Clone, Debug, Default)]
pub struct Back {
    /// What the role calls it in [`super::Proxy::sender_is_on`]; without it, its certificate tells, if it has shown one.
    pub sender: Option<String>,
    /// Where it listens: a connection is made to there, and counts if who answers shows the same certificate.
    pub server: Option<(Pool, Target)>,
}

/// One place that a request is to go to.
pub struct Leg {
    /// In the order to try: the next one when the one before cannot be reached, closes, or answers 503. The number that
    /// [`Owner`] hears counts these over all legs.
    pub to: Vec<To>,
    /// The Request-URI, if it is another one.
    pub request_uri: Option<String>,
    /// Legs of equal q are tried together, those of lower q after all above have failed.
    pub q: u16,
    /// Edits besides those of the plan.
    pub edits: Edits,
    /// Instead of the plan's.
    pub record_route: Option<Vec<String>>,
}

/// A next hop.
#[derive(Clone, Debug)]
pub enum To {
    /// The connection that is there, and no other: a client that nobody can connect to.
    Flow(Arc<Flow>),
    /// A server, over whatever connection the pool has or makes.
    Hop(Pool, Target),
}

impl Plan {
    /// One leg, nothing changed.
    pub fn to(leg: Leg, routed: Routed, owner: Arc<dyn Owner>) -> Self {
        Self {
            legs: vec![leg],
            routed,
            record_route: Vec::new(),
            edits: Edits::default(),
            owner,
            back: Back::default(),
        }
    }
}

impl Leg {
    /// To one place, by the Request-URI that the request has.
    pub fn to(to: To) -> Self {
        Self { to: vec![to], request_uri: None, q: 1000, edits: Edits::default(), record_route: None }
    }
}

impl To {
    /// To how many of its servers a request goes at most, one after the other.
    pub(super) fn tries(&self) -> usize {
        match self {
            Self::Hop(_, target) if target.transport().is_reliable() => target.choices().clamp(1, TRIES_MAX),
            Self::Flow(_) | Self::Hop(..) => 1,
        }
    }

    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Flow(flow) => flow.transport(),
            Self::Hop(_, target) => target.transport(),
        }
    }
}
