//! The clearing house: intake, journal, lanes, verdicts, feedback.
//!
//! A push request comes in at the [`doorway`], is checked and journaled by [`intake`], sent by [`dispatch`] through its
//! lane, judged by [`outcome`], and what its home must know goes back by [`feedback`]. What waits on disk, or for its
//! next attempt, is taken up again by `replay`.
#![warn(missing_docs)]

mod ahead;
mod alarms;
mod bucket;
pub mod court;
pub mod dispatch;
pub mod doorway;
pub mod feedback;
pub mod handle;
pub mod intake;
mod lane;
mod leap;
pub mod notification;
pub mod outcome;
pub mod quota;
mod replay;
pub mod rest;
mod shed;
#[cfg(test)]
mod tests;
mod throttle;
mod turns;

pub use court::Court;
pub use dispatch::{Dispatch, Outlet};
pub use doorway::Doorway;
pub use intake::{Intake, Receipt, Submission};
pub use lane::LaneLoad;
pub use quota::Standing;
