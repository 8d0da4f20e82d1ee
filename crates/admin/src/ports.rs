//! What cmdlets ask of the roles. `server` plugs in those that run in the same process; roles know nothing of cmdlets.

/// The roles of this process, as far as there are any.
#[derive(Default)]
pub struct Ports {}
