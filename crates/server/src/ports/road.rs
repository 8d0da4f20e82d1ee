//! The home that walks the road of push requests.

use reveille_admin::ports::Asked;
use reveille_admin::ports::road::Road;
use reveille_federation::probe::{Order, Report};
use reveille_home::Desk;

/// The home of this process.
pub(crate) struct OfHome(pub(crate) Desk);

impl Road for OfHome {
    fn probe(&self, order: Order) -> Asked<'_, Option<Report>> {
        Box::pin(self.0.probe(order))
    }
}
