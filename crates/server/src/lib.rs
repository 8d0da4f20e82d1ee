//! Wiring: configuration to running roles. The only crate that knows every role, and it decides nothing.
//!
//! A [`config::Raw`] becomes a [`Server`] that runs until it is told to stop; the executable, the demo and the tests
//! start the very same object.

mod admin;
pub mod backup;
mod certificates;
mod clearinghouse;
mod clock;
pub mod config;
mod edge;
mod examiner;
mod home;
pub mod logging;
mod names;
mod obstacle;
mod ops;
mod ports;
pub mod process;
mod push_keys;
mod relay_secret;
mod rest;
mod server;
pub mod settings_file;
mod tls;
mod token_key;
mod users_file;
mod vitals;

pub use admin::SocketFault;
pub use clock::SystemClock;
pub use ops::Status;
pub use reveille_home::UserStatus;
pub use server::{Server, StartError};
pub use tls::TlsFault;
pub use users_file::UsersError;
