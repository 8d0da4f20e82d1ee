//! The FCM simulator: Google's HTTP v1 send method and the OAuth token endpoint before it, on one TLS port with
//! HTTP/1.1 and HTTP/2.
//!
//! Rules follow the discovery document `fcm.v1` and Google's pages on error codes and service accounts.

mod answer;
mod error;
mod message;
mod oauth;
mod options;
mod push;
mod send;
mod simulator;

pub use answer::{FcmAct, FcmAnswer, TOKEN_ENDPOINT};
pub use error::FcmCode;
pub use options::FcmOptions;
pub use push::{FcmOutcome, FcmPush, Target};
pub use simulator::{FcmControls, FcmSimulator};
