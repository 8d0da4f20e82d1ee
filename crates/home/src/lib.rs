//! The mobility service: who is signed in where, what waits for whom, and whom a push is owed.
//!
//! A request comes in at the [`front`], which authenticates it and hands it to the shard of its user. There
//! [`registrar`] reads registrations, [`inbox`] keeps messages with the pushes owed for them, [`resume`] delivers what
//! was kept, [`outbox`] asks the clearing house for pushes, and [`identity`] forgets tokens that a provider declared
//! dead.
#![warn(missing_docs)]

mod abroad;
mod account;
pub mod api;
mod auth;
mod binding;
mod calls;
mod checks;
mod desk;
mod flows;
pub mod front;
mod home;
pub mod identity;
pub mod inbox;
pub mod outbox;
mod probe;
pub mod registrar;
mod reply;
pub mod resume;
mod shard;
mod status;
mod users;
pub mod visits;

pub use desk::Desk;
pub use home::{Config, Home, Listeners};
pub use probe::Acknowledged;
pub use status::{DeviceStatus, Explained, Foreseen, PushStatus, UserStatus};
pub use users::{User, Users};
