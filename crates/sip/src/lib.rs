//! SIP as text and state: parser, printer, headers, transactions; no sockets, no clock, no async.
//!
//! Bytes come in through [`StreamFramer`] or [`parse_datagram`] and become a [`Message`]: the received bytes plus spans
//! into them. Typed readings ([`Uri`], [`Via`], [`NameAddr`], ...) are made on demand and borrow from the message.
//! [`Forward`] re-emits a message with few edits, untouched header fields byte for byte; [`RequestBuilder`] and
//! [`ResponseBuilder`] make new ones. Transactions are state machines which are told the time and answer with
//! [`Action`]s. Section numbers are RFC 3261's unless another RFC is named.

#![warn(missing_docs)]

mod abridged;
pub mod auth;
mod check;
mod error;
mod forward;
mod framing;
mod ident;
mod list;
mod message;
mod method;
mod name;
mod name_addr;
mod pen;
mod print;
pub mod proxy;
mod push_params;
mod scan;
mod text;
mod timers;
mod transaction;
mod uri;
mod via;

pub use abridged::{Abridged, Vias};
pub use error::{Fault, FrameError, HeaderError, ParseError, PrintError, SyntaxError};
pub use forward::Forward;
pub use framing::{Frame, Limits, Side, StreamFramer, parse_datagram};
pub use ident::{BRANCH_COOKIE, Ident, branch, call_id, tag};
pub use list::{Elements, Params, elements};
pub use message::{CSeq, Field, Message};
pub use method::Method;
pub use name::Name;
pub use name_addr::NameAddr;
pub use pen::Value;
pub use print::{RequestBuilder, ResponseBuilder, reason_phrase};
pub use push_params::{Correction, PushOffer, PushParams, PushParamsError, PushProvider, strip_push_params};
pub use text::{escape_param, quote, unescape, unquote};
pub use timers::{Length, Millis, Reliability, Timer, TimerRow, Timers};
pub use transaction::{
    Action, Actions, ClientTransaction, InviteClientTransaction, InviteServerTransaction, ServerTransaction,
    TransactionKey,
};
pub use uri::{Host, Scheme, Uri};
pub use via::{Transport, Via};
