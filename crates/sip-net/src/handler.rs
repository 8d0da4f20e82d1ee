//! Whoever takes messages off connections.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use reveille_sip::{Fault, Message, Method, ResponseBuilder};

use crate::close::CloseReason;
use crate::flow::Flow;
use crate::tls::HandshakeRefusal;

/// Takes what connections bring. Every method is called on the connection's own task and must not wait; answers go to
/// [`Flow::send`] and leave with the next write.
pub trait Handler: Send + Sync + 'static {
    /// A connection is ready, its peer verified. Called before any other method for this flow.
    fn opened(&self, _flow: &Arc<Flow>) {}

    /// All messages that one turn of reading brought, in their order. What is left in `batch` is dropped.
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>);

    /// A message whose framing is sound and which is wrong otherwise; the connection goes on.
    fn bad(&self, flow: &Arc<Flow>, bad: BadMessage) {
        bad.answer(flow);
    }

    /// The connection is over; nothing can be sent on it any more. Called once, after all other methods.
    fn closed(&self, _flow: &Arc<Flow>, _why: &CloseReason) {}

    /// A TLS handshake failed, on a connection that was accepted or made; or the peer ended one that was made as soon as it
    /// had seen our certificate.
    fn refused(&self, _remote: SocketAddr, _refusal: &HandshakeRefusal) {}
}

/// A message which ends where it says, and is wrong.
#[derive(Debug)]
pub struct BadMessage {
    /// As far as it could be read.
    pub message: Message,
    /// What is wrong.
    pub fault: Fault,
}

impl BadMessage {
    /// Sends 400, 413, 416 or 505 with the fault as reason, and closes a connection where not even that can be written.
    /// Responses and ACKs are never answered (RFC 3261 §17, §18.1.2).
    pub fn answer(&self, flow: &Flow) {
        match self.message.method() {
            None | Some(Method::Ack) => return,
            Some(_) => {}
        }
        let mut out = BytesMut::new();
        // RFC 3261 §8.2.7: a stateless server gives the same tag each time; the flow's number is constant for it.
        let tag = format!("f{}", flow.id());
        let written = ResponseBuilder::to(&mut out, &self.message, self.fault.status())
            .to_tag(&tag)
            .source(flow.remote())
            .header(reveille_sip::Name::Warning, format_args!("399 reveille \"{}\"", self.fault))
            .finish();
        match written {
            // A peer that has gone needs no answer.
            Ok(()) => drop(flow.send(out.freeze())),
            Err(error) => {
                tracing::debug!(%error, "a faulty request could not be answered");
                // What an answer must repeat cannot be repeated (a NUL in From). An end tells its sender more than silence.
                if flow.transport().is_reliable() {
                    flow.close(CloseReason::Asked { why: "a faulty request could not even be answered" });
                }
            }
        }
    }
}
