//! Transactions as pure state machines (§17): told what happened and when, they say what to do.
//!
//! The caller keeps a table from [`TransactionKey`] to transaction, sends what it is told to, and calls `on_timer` at
//! [`ClientTransaction::next_deadline`]. INVITE has machines of its own, since its answer may take minutes and is
//! acknowledged; all share keys, timers and actions.

mod client;
mod derived;
mod invite_client;
mod invite_server;
mod key;
mod server;

use bytes::Bytes;
use smallvec::SmallVec;

pub use client::ClientTransaction;
pub(crate) use derived::cancel;
pub use invite_client::InviteClientTransaction;
pub use invite_server::InviteServerTransaction;
pub use key::TransactionKey;
pub use server::ServerTransaction;

/// What the owner of a transaction has to do now, in this order.
pub type Actions = SmallVec<[Action; 2]>;

/// One thing to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Hand the message just received to whoever owns the transaction.
    Deliver,
    /// Send these bytes.
    Send(Bytes),
    /// The transaction is over: forget it.
    Terminated,
    /// No final response came in time. A proxy must not turn this into a 408 (RFC 4320 §4.2).
    Timeout,
    /// The transport could not send. To be treated as a 503 (§8.1.3.1).
    TransportFailed,
}
