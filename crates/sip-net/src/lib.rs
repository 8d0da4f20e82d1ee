//! SIP on real connections: TLS that can say why not, listeners, a pool of outbound connections, name resolution.
//!
//! Built for cost: one task per connection carries both directions, reads all there is, hands the messages to a
//! [`Handler`] as one batch, and writes everything queued with one call. Nothing here knows what a message is for.
//!
//! - [`Listener`] takes connections, [`Pool`] makes them; both bring [`Flow`]s to life and feed the same [`Handler`].
//! - [`TlsServer`] and [`TlsClient`] hold certificates that can be replaced while running; a handshake that fails is a
//!   [`HandshakeRefusal`] with subject, issuer and advice. [`PeerCertificate`] says whom a certificate speaks for.
//! - [`Resolver`] turns names into addresses.
//! - [`proxy::Proxy`] keeps the transactions of a role that passes calls on.

#![warn(missing_docs)]

mod circuit;
mod close;
mod connect;
mod conversation;
mod drain;
mod flow;
mod guard;
mod handler;
mod hop;
mod household;
mod listen;
mod metric;
mod names;
mod parcel;
mod pool;
pub mod proxy;
mod reception;
mod requests;
mod resolve;
mod sources;
mod spare;
mod target;
mod tls;
mod udp;
mod ws;

pub use close::CloseReason;
pub use connect::{ConnectError, ConnectTimes, Connected, Stage, Took, Wire, connect};
pub use flow::{Flow, FlowId, SendError, Transport, WriteError};
pub use handler::{BadMessage, Handler};
pub use hop::{AddressState, Failures, HopState};
pub use listen::{ListenLimits, Listener, Pulse};
pub use names::{NameRule, PeerCertificate, UnreadableCertificate};
pub use parcel::Parcel;
pub use pool::{Pool, PoolLimits, Senders, Sent};
pub use requests::{RequestError, Requests, Ticket};
pub use resolve::{
    Addresses, Asking, HickoryResolver, Located, ResolveError, Resolver, Srv, StaticResolver, in_order, locate,
};
pub use reveille_sip::Side;
pub use target::{Server, Target};
pub use tls::{
    Blame, ClientAuth, Fallen, HandshakeRefusal, Identity, Kept, KnownPeer, ListsRunOut, RefusedBy, RevocationList,
    TlsClient, TlsServer, TlsSetupError, TrustRoots,
};
pub use udp::UdpSender;
pub use ws::Origins;
