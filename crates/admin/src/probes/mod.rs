//! Tests of the road: what they give, and how they run by themselves.

pub mod report;
pub(crate) mod road;
