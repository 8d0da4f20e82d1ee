//! What cmdlets ask of a home about its users: tests that sign in as they do.

use reveille_core::{Aor, SipDomain};
use reveille_federation::probe::Report;

use super::Asked;
use crate::value::Secret;

/// A home that can be tested with users of its own.
pub trait Synthetic: Send + Sync {
    /// Runs a test. `None` while home stops, or runs as many tests as it may.
    fn run(&self, order: Order) -> Asked<'_, Option<Report>>;
}

/// One test.
#[derive(Clone, Debug)]
pub struct Order {
    /// The home, by one of its names.
    pub target: SipDomain,
    /// The port where users sign in; that of `home.sip_tls` when absent.
    pub port: Option<u16>,
    /// Who takes part. In the place of `None` comes the next user that is kept for tests of this pool.
    pub players: Vec<Option<Player>>,
    /// What they do.
    pub act: Act,
}

/// A user who takes part.
#[derive(Clone, Debug)]
pub struct Player {
    /// His address.
    pub address: Aor,
    /// What proves him; without it home vouches for him, as for a trusted server.
    pub credential: Option<Credential>,
}

/// A name with its password.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The name: `kenmyer`, `litwareinc\kenmyer` or `kenmyer@litwareinc.com`.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// What users do in a test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Act {
    /// The first gets credentials of the A/V edge and moves packets through it; another server or port than the edge
    /// names counts instead.
    AvEdge {
        /// The server.
        host: Option<String>,
        /// Its port for UDP.
        udp: Option<u16>,
        /// Its port for TCP.
        tcp: Option<u16>,
    },
    /// The first writes to the second.
    Pair,
    /// The first invites the others, and everybody writes to all.
    Group,
}
