//! What cmdlets ask of the roles. `server` plugs in those that run in the same process; roles know nothing of cmdlets.

pub mod border;
pub mod devices;
pub mod house;
pub mod machine;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use border::Border;
use devices::Devices;
use house::House;
use machine::Machine;

/// A question that a role takes its time for.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The roles of this process, as far as there are any.
#[derive(Default)]
pub struct Ports {
    /// The edge.
    pub border: Option<Arc<dyn Border>>,
    /// The home's devices and pushes.
    pub devices: Option<Arc<dyn Devices>>,
    /// The clearing house.
    pub house: Option<Arc<dyn House>>,
    /// The process as a whole.
    pub machine: Option<Arc<dyn Machine>>,
}
