//! What a running cmdlet may use.

use std::sync::Arc;

use reveille_core::Clock;
use reveille_store::{Accounts, Audit, Guesses, Settings};

use crate::ports::Ports;

/// The desk: settings, time, and whatever of the roles runs in this process.
pub struct Desk {
    /// What the organisation wants.
    pub settings: Arc<dyn Settings>,
    /// Administrators who are not users of this machine.
    pub accounts: Arc<dyn Accounts>,
    /// Wrong guesses at passwords.
    pub guesses: Arc<dyn Guesses>,
    /// What administrators did.
    pub audit: Arc<dyn Audit>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The sites that the configuration declares, as it spells them.
    pub sites: Vec<String>,
    /// The roles that can be asked.
    pub ports: Ports,
}
