//! How a push request travels between organisations, and who may speak.
//!
//! Pure: bodies and header values in and out, decisions from facts. The only place where a [`PushRequest`] and a SIP
//! message meet, and the only place that makes an [`AdmittedPeer`].
#![warn(missing_docs)]

pub mod answer;
pub mod feedback;
pub mod media_relay;
pub mod message;
pub mod policy;
pub mod probe;
pub mod push_result;
pub mod quota;
pub mod refusal;
pub mod request;
pub mod route;
pub mod trust;

pub use policy::{AdmittedPeer, TrustedEdge};
pub use push_result::{PushResult, Taken};
pub use quota::Quota;
pub use refusal::Refusal;
pub use request::PushRequest;
