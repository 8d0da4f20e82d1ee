//! What one APNs simulator is told at its start.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use crate::certs::Identity;
use crate::clock::Clock;
use crate::recorder::Keep;

/// How strict the simulator is where the standards and the live service differ.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mode {
    /// Only what RFCs and Apple's pages allow; for our own sender.
    #[default]
    Strict,
    /// Also what the live service is known to take: `Bearer` in any case, padded base64, DER signatures, a missing
    /// push type; and its spelling of the environment reason.
    AppleLike,
}

/// Which of Apple's two services is simulated.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Environment {
    #[default]
    Production,
    /// Answers carry `apns-unique-id`.
    Sandbox,
}

/// One provider signing key as Apple knows it.
#[derive(Clone)]
pub struct ProviderKey {
    /// Ten characters; `iss` of the provider token.
    pub team_id: String,
    /// Ten characters; `kid` of the provider token.
    pub key_id: String,
    /// The P-256 public key as an uncompressed point, see [`crate::certs::ApnsKey::public_key`].
    pub public_key: Vec<u8>,
    /// The environment it is restricted to; `None` is an old key that works in both.
    pub environment: Option<Environment>,
    /// Bundle ids that it may push to; empty is all of the team's.
    pub topics: Vec<String>,
    /// The key id of its related key, with which it may share a connection.
    pub related_to: Option<String>,
}

impl ProviderKey {
    /// A team-scoped key for both environments and all topics.
    pub fn new(team_id: &str, key_id: &str, public_key: Vec<u8>) -> Self {
        Self {
            team_id: team_id.to_owned(),
            key_id: key_id.to_owned(),
            public_key,
            environment: None,
            topics: Vec::new(),
            related_to: None,
        }
    }
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderKey")
            .field("team_id", &self.team_id)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// All about one APNs simulator.
#[derive(Clone, Debug)]
pub struct ApnsOptions {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The server's certificate.
    pub identity: Identity,
    /// Keys that Apple knows; a token signed by any other is refused.
    pub keys: Vec<ProviderKey>,
    pub mode: Mode,
    pub environment: Environment,
    /// SETTINGS_MAX_CONCURRENT_STREAMS after the first valid provider token; before it, 1.
    pub streams_max: u32,
    /// Bundle ids by team id. A team that is not listed may use any; one that is listed gets BadTopic for others.
    pub topics: HashMap<String, HashSet<String>>,
    pub clock: Clock,
    /// How many pushes to remember.
    pub keep: Keep,
}

impl ApnsOptions {
    /// A strict production service on a free loopback port, without keys.
    pub fn new(identity: Identity) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            identity,
            keys: Vec::new(),
            mode: Mode::Strict,
            environment: Environment::Production,
            streams_max: 1000,
            topics: HashMap::new(),
            clock: Clock::system(),
            keep: Keep::default(),
        }
    }
}
