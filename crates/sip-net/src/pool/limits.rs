//! The bounds of a pool.

use std::time::Duration;

use reveille_sip::Limits;

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Most connections to one next hop whose target does not say. The second is opened when the first is in use.
    pub connections_per_target: usize,
    /// Most next hops at once.
    pub targets_max: usize,
    /// Most bytes that wait for one next hop's connection.
    pub waiting_bytes_max: usize,
    /// Most bytes that wait for connections to all next hops together.
    pub waiting_in_all_bytes_max: usize,
    /// Most parcels that wait for one next hop's connection. How long they wait is bounded by the attempt.
    pub waiting_max: usize,
    /// For TCP, per address.
    pub connect_timeout: Duration,
    /// For the TLS handshake, per address.
    pub handshake_timeout: Duration,
    /// For all addresses of one attempt together.
    pub attempt_timeout: Duration,
    /// After an attempt that failed at all addresses, how long further parcels fail at once with the same error. It
    /// doubles with each failure in a row. So long, too, an address that failed is not tried again beside others.
    pub failure_pause: Duration,
    /// What the pause grows to.
    pub failure_pause_max: Duration,
    /// Age at which a connection in use is replaced by a new one, so that changed names, ranks and certificates are
    /// followed and a server that came back gets its share again.
    pub renew_after: Option<Duration>,
    /// A connection that takes nothing new is closed after so long a silence of its peer.
    pub drain_quiet: Duration,
    /// And after so long in any case.
    pub drain_max: Duration,
    /// Without a byte in either direction.
    pub idle_timeout: Duration,
    /// Silence after which we ping (RFC 5626 §3.5.1: 95 to 120 s for TCP behind NAT).
    pub ping_after: Option<Duration>,
    /// From the first byte of a message to its last.
    pub message_timeout: Duration,
    /// For writing what is queued when a connection ends.
    pub flush_timeout: Duration,
    /// Bounds of one message.
    pub message: Limits,
    /// Most bytes waiting to be written on one connection.
    pub queued_bytes_max: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            connections_per_target: 2,
            targets_max: 10_000,
            // Together they must fit into the queue of the connection that they get.
            waiting_bytes_max: 3 * 1024 * 1024,
            waiting_in_all_bytes_max: 64 * 1024 * 1024,
            waiting_max: 2_000,
            connect_timeout: Duration::from_secs(4),
            handshake_timeout: Duration::from_secs(5),
            // Timer F is 32 s and a caller's patience less; half of it leaves time for another next hop.
            attempt_timeout: Duration::from_secs(12),
            failure_pause: Duration::from_millis(250),
            failure_pause_max: Duration::from_secs(30),
            renew_after: Some(Duration::from_secs(3600)),
            // RFC 3261 §13.3.1.1: a call that rings says so every minute.
            drain_quiet: Duration::from_secs(70),
            drain_max: Duration::from_secs(900),
            idle_timeout: Duration::from_secs(900),
            ping_after: Some(Duration::from_secs(95)),
            message_timeout: Duration::from_secs(30),
            flush_timeout: Duration::from_secs(5),
            message: Limits::default(),
            queued_bytes_max: 4 * 1024 * 1024,
        }
    }
}
