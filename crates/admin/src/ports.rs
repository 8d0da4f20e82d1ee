//! What cmdlets ask of the roles. `server` plugs in those that run in the same process; roles know nothing of cmdlets.

pub mod border;
pub mod devices;
pub mod handle_keys;
pub mod house;
pub mod machine;
pub mod road;
pub mod synthetic;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use border::Border;
use devices::Devices;
use handle_keys::HandleKeys;
use house::House;
use machine::Machine;
use road::Road;
use synthetic::Synthetic;

use crate::failure::{Category, Failure};

/// A question that a role takes its time for.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The roles of this process, as far as there are any.
#[derive(Default)]
pub struct Ports {
    /// The edge.
    pub border: Option<Arc<dyn Border>>,
    /// The home's devices and pushes.
    pub devices: Option<Arc<dyn Devices>>,
    /// The clearing house's keys for sealed handles.
    pub handle_keys: Option<Arc<dyn HandleKeys>>,
    /// The clearing house.
    pub house: Option<Arc<dyn House>>,
    /// The process as a whole.
    pub machine: Option<Arc<dyn Machine>>,
    /// What the tests that run by themselves have found.
    pub results: Option<Arc<crate::probes::results::Results>>,
    /// The home that walks the road of push requests.
    pub road: Option<Arc<dyn Road>>,
    /// The home that is tested with users of its own.
    pub synthetic: Option<Arc<dyn Synthetic>>,
}

impl Ports {
    /// The home of this process; else where one is to be found.
    pub(crate) fn home(&self) -> Result<&dyn Devices, Failure> {
        self.devices.as_deref().ok_or_else(|| Self::lacks("home", "NotAHome", "users, their devices and their pushes"))
    }

    /// The clearing house of this process; else where one is to be found.
    pub(crate) fn clearing_house(&self) -> Result<&dyn House, Failure> {
        self.house.as_deref().ok_or_else(|| Self::lacks("clearinghouse", "NotAClearingHouse", "lanes and credentials"))
    }

    /// The keys for sealed handles of this process's clearing house; else where one is to be found.
    pub(crate) fn handle_keys(&self) -> Result<&dyn HandleKeys, Failure> {
        self.handle_keys
            .as_deref()
            .ok_or_else(|| Self::lacks("clearinghouse", "NotAClearingHouse", "the keys for sealed handles"))
    }

    /// The edge of this process; else where one is to be found.
    pub(crate) fn edge(&self) -> Result<&dyn Border, Failure> {
        self.border.as_deref().ok_or_else(|| Self::lacks("edge", "NotAnEdge", "partners"))
    }

    fn lacks(role: &str, id: &str, what: &str) -> Failure {
        let message = format!(
            "This server has no [{role}], and {what} are that role's. Ask the server that has it: reveille shell --socket \
             STORE/admin/reveille.sock with the store.dir of its configuration."
        );
        Failure::new(Category::ResourceUnavailable, id, message)
    }
}
