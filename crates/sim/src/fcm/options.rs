//! What one FCM simulator is told at its start.

use std::net::{Ipv4Addr, SocketAddr};

use crate::certs::{Identity, ServiceAccount};
use crate::clock::Clock;
use crate::recorder::Keep;

/// All about one FCM simulator.
#[derive(Clone, Debug)]
pub struct FcmOptions {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// The server's certificate.
    pub identity: Identity,
    /// Service accounts that Google knows; each may send for its project.
    pub accounts: Vec<ServiceAccount>,
    pub clock: Clock,
    /// How many messages to remember.
    pub keep: Keep,
}

impl FcmOptions {
    /// A service on a free loopback port, without accounts. The simulator's port is part of each account's
    /// `token_uri`, so accounts are best added with [`super::FcmControls::add_account`] once it is known.
    pub fn new(identity: Identity) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            identity,
            accounts: Vec::new(),
            clock: Clock::system(),
            keep: Keep::default(),
        }
    }
}
