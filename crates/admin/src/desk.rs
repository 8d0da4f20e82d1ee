//! What a running cmdlet may use.

use std::sync::Arc;

use reveille_core::Clock;
use reveille_store::Settings;

use crate::ports::Ports;

/// The desk: settings, time, and whatever of the roles runs in this process.
pub struct Desk {
    /// What the organisation wants.
    pub settings: Arc<dyn Settings>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The sites that the configuration declares, as it spells them.
    pub sites: Vec<String>,
    /// The roles that can be asked.
    pub ports: Ports,
}
