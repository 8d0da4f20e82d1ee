//! The Access Edge on real connections: who may come in, which way out, and that every answer finds its way back.

mod calls;
mod inbound;
mod outbound;
mod party;
mod policy;
mod probe;
mod refusals;
mod relay;
mod rig;
mod sizes;
