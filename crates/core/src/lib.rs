//! The rules of Reveille, pure.
//!
//! Nothing here opens a socket, reads a clock, runs SQL or knows a status code: facts and the time go in, decisions
//! come out. Every rule of the product has one home here and a table test beside it.
#![warn(missing_docs)]

pub mod alarm;
pub mod clock;
pub mod delivery;
pub mod diagnosis;
pub mod event;
pub mod gates;
pub mod identity;
pub mod names;
pub mod provider;
pub mod reason;
pub mod retry;
pub mod session;
pub mod settings;
pub mod spelling;
pub mod stage;
pub mod token_key;
pub mod verdict;

pub use alarm::Alarm;
pub use clock::{Clock, Timestamp};
pub use event::Event;
pub use identity::{DeviceToken, IdentityId, MessageId, PushId, PushIdentity};
pub use names::{Aor, SipDomain};
pub use provider::{AppKey, Channel, Environment, LaneKey, Provider};
pub use reason::Reason;
pub use token_key::TokenKey;
pub use verdict::Verdict;
