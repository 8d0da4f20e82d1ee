//! What cmdlets ask of a home about the road that push requests go.

use reveille_federation::probe::{Order, Report};

use super::Asked;

/// A home that can walk the road.
pub trait Road: Send + Sync {
    /// Runs a test. `None` while home stops, or runs as many tests as it may.
    fn probe(&self, order: Order) -> Asked<'_, Option<Report>>;
}
