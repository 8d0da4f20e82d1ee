//! What cmdlets ask of the roles, answered by those that run in this process.

use std::sync::Arc;

use reveille_admin::ports::Ports;

use crate::ops::Status;

/// The roles that run here, as cmdlets see them.
pub(crate) fn of(_status: &Arc<Status>) -> Ports {
    Ports::default()
}
