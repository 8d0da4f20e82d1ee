//! Tests of the road: what they give, and how they run by themselves.

pub(crate) mod players;
pub mod report;
pub mod results;
pub(crate) mod road;
pub mod schedule;

use crate::cmdlet::{About, Area};

/// What the definitions of all tests have in common; to be completed.
pub(crate) const TEST: About =
    About { outputs: report::RESULT, area: Area::Tests, schedule: Some("Monthly"), ..About::DEFAULT };
/// A note for those that always give an object.
pub(crate) const NEVER_AN_ERROR: &str =
    "A failure is an object with Result Failure; -Detailed tells the stage, whose fault it is and what mends it.";
