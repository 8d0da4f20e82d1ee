//! What cmdlets ask of the roles, answered by those that run in this process.

mod border;
mod devices;
mod handle_keys;
mod house;
mod machine;
mod road;
pub(crate) mod synthetic;

use std::sync::Arc;

use reveille_admin::ports::{Asked, Ports};
use reveille_store::StoreError;

use crate::ops::Status;

/// The roles that run here, as cmdlets see them.
pub(crate) fn of(status: &Arc<Status>) -> Ports {
    let road = status.desk.clone().map(|desk| Arc::new(road::OfHome(desk)) as _);
    Ports {
        border: status.edge.as_ref().map(|edge| Arc::new(border::Border(Arc::clone(edge))) as _),
        devices: status.desk.as_ref().map(|desk| Arc::new(devices::Home(desk.clone())) as _),
        handle_keys: status.house.as_ref().map(|house| Arc::new(handle_keys::Keys(Arc::clone(&house.handles))) as _),
        house: status.house.as_ref().map(|_| Arc::new(house::ClearingHouse(Arc::clone(status))) as _),
        machine: Some(Arc::new(machine::Machine::new(status))),
        road,
        synthetic: status.synthetic.clone().map(|home| home as _),
        ..Ports::default()
    }
}

/// Reads a store where waiting for the disk holds up nobody.
fn reading<'a, T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Asked<'a, Result<T, StoreError>> {
    Box::pin(async {
        match tokio::task::spawn_blocking(read).await {
            Ok(outcome) => outcome,
            Err(fault) => std::panic::resume_unwind(fault.into_panic()),
        }
    })
}
