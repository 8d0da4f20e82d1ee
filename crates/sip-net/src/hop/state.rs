//! What is known about a next hop, for status pages and for whoever must say when to come again.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::circuit::Failing;
use crate::connect::ConnectError;

/// What is known about a next hop now.
#[derive(Clone, Debug)]
pub struct HopState {
    /// Connections that take messages.
    pub connections: usize,
    /// Connections that take no more, and wait for what is under way on them.
    pub retiring: usize,
    /// Whether an attempt to connect is under way.
    pub connecting: bool,
    /// Parcels that wait for a connection.
    pub waiting: usize,
    /// If the last attempt failed at all addresses. Until [`Failures::retry_in`] is over, parcels that find no connection
    /// fail at once.
    pub failures: Option<Failures>,
    /// Each address once.
    pub addresses: Vec<AddressState>,
}

/// What is known about one address of a next hop.
#[derive(Clone, Debug)]
pub struct AddressState {
    /// Which one.
    pub address: SocketAddr,
    /// Connections to it that take messages.
    pub connections: usize,
    /// If it failed and has not worked since; then the others go first.
    pub failures: Option<Failures>,
}

/// Failures in a row.
#[derive(Clone, Debug)]
pub struct Failures {
    /// How many.
    pub in_a_row: u32,
    /// How long it is left alone; the Retry-After of whoever must be refused meanwhile.
    pub retry_in: Duration,
    /// The last one.
    pub why: ConnectError,
}

impl Failures {
    pub(crate) fn of<T>(failing: &Failing<T>, now: Instant) -> Self {
        let retry_in = failing.retry_at.saturating_duration_since(now);
        Self { in_a_row: failing.in_a_row, retry_in, why: failing.why.clone() }
    }
}
