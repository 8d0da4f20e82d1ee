//! Tests of the road: what they give, and how they run by themselves.

pub(crate) mod players;
pub mod report;
pub mod results;
pub(crate) mod road;
pub mod schedule;
