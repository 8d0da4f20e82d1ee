//! The APNs simulator: Apple's provider API over HTTP/2, with its documented rules, reasons and connection manners.
//!
//! "Sending notification requests to APNs" and "Handling notification responses from APNs" are the Apple pages that
//! the rules name. What Apple does not document and the live service is known to do is behind [`Mode::AppleLike`].

mod answer;
mod auth;
mod options;
mod push;
mod push_type;
mod reason;
mod rules;
mod simulator;
mod talk;

pub use answer::{Act, Answer, GoAway};
pub use options::{ApnsOptions, Environment, Mode, ProviderKey};
pub(crate) use push::tail;
pub use push::{ApnsPush, Outcome};
pub use push_type::PushType;
pub use reason::Reason;
pub use simulator::{ApnsControls, ApnsSimulator};
