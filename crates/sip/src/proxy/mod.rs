//! The stateful proxy of §16, without sockets: what to check, where Route leads, and what becomes of a request that
//! went to one place or to many.
//!
//! - [`check`] is the validation of §16.3, [`route`] the preprocessing of §16.4; both also serve whoever forwards
//!   without state.
//! - [`Context`] is the response context of §16.7 with its server transaction and a client transaction for each
//!   [`LegPlan`]. It is told what happened and when, and answers with [`Do`]s.
//! - [`Secret`] makes what comes back to us in messages unforgeable: the loop hash in our branches (RFC 5393), the tag
//!   of our own answers, tokens in Record-Route (RFC 5626 §5.2).
//!
//! What is where a proxy may choose: a 3xx is passed back and not followed; a merged request (§8.2.2.2) is a matter for
//! user agents and is forwarded like any other.

mod branch;
mod check;
mod choice;
mod context;
mod leg;
mod reply;
mod routing;
mod secret;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
mod write;

pub use branch::Branch;
pub use check::{BREADTH_MAX, breadth, check};
pub use context::{Context, Do, Todo, Upstream};
pub use leg::LegPlan;
pub use reply::{Edits, Failure, FailureKind, Nobody, Owner, Reply};
pub use routing::{Routed, route};
pub use secret::{LoopHash, Secret};
pub use write::{Passage, pass};
