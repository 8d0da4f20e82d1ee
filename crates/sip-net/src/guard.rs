//! What keeps a fault of a handler to the connection that brought it out.
//!
//! Peers are hostile, and a handler that panics over what one of them wrote must cost him his connection and nobody
//! else anything: the listener goes on, what others sent is not lost, and whatever was counted for the flow is given
//! back.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use reveille_sip::Message;

use crate::close::CloseReason;
use crate::flow::Flow;
use crate::handler::{BadMessage, Handler};
use crate::metric;
use crate::tls::HandshakeRefusal;

/// A handler whose panics end here: what it had in hand is lost and its flow closed.
#[derive(Clone, Copy)]
pub(crate) struct Guarded<'a>(&'a dyn Handler);

impl<'a> Guarded<'a> {
    pub(crate) fn new(handler: &'a dyn Handler) -> Self {
        Self(handler)
    }

    pub(crate) fn opened(self, flow: &Arc<Flow>) {
        self.call(flow, |handler| handler.opened(flow));
    }

    /// What is left in the batch after a panic is dropped with it.
    pub(crate) fn messages(self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        self.call(flow, |handler| handler.messages(flow, batch));
    }

    pub(crate) fn bad(self, flow: &Arc<Flow>, bad: BadMessage) {
        self.call(flow, |handler| handler.bad(flow, bad));
    }

    pub(crate) fn closed(self, flow: &Arc<Flow>, why: &CloseReason) {
        self.call(flow, |handler| handler.closed(flow, why));
    }

    pub(crate) fn refused(self, remote: SocketAddr, refusal: &HandshakeRefusal) {
        if self.survives(|handler| handler.refused(remote, refusal)) {
            return;
        }
        metric::handler_panicked("none");
        tracing::error!(peer.address = %remote, advice = REPORT, "a refused handshake could not be noted: a panic");
    }

    fn call(self, flow: &Arc<Flow>, call: impl FnOnce(&dyn Handler)) {
        if self.survives(call) {
            return;
        }
        metric::handler_panicked(metric::word(flow.transport()));
        // What the panic says may repeat what the peer wrote; it stands on standard error, with its place.
        tracing::error!(
            flow = %flow.id(),
            transport = %flow.transport(),
            peer.address = %flow.remote(),
            peer.subject = flow.peer().map(|peer| peer.subject.as_str()),
            advice = REPORT,
            "what a peer sent could not be handled: a panic. Its connection is closed, and nobody else's"
        );
        flow.close(CloseReason::Asked { why: "what it sent could not be handled" });
    }

    /// Every state that handlers share is behind locks that are free again after a panic, and each of their entries is
    /// made or taken by one call. So a handler can go on after one.
    fn survives(self, call: impl FnOnce(&dyn Handler)) -> bool {
        catch_unwind(AssertUnwindSafe(|| call(self.0))).is_ok()
    }
}

/// A flow that its handler has been told of: whoever heard that it opened hears that it closed, whatever becomes of the
/// task in between.
pub(crate) struct Opened<'a> {
    flow: &'a Arc<Flow>,
    handler: Guarded<'a>,
    why: CloseReason,
}

impl<'a> Opened<'a> {
    pub(crate) fn new(flow: &'a Arc<Flow>, handler: Guarded<'a>) -> Self {
        metric::opened(flow);
        let opened = Self { flow, handler, why: CloseReason::Asked { why: "its task failed" } };
        handler.opened(flow);
        opened
    }

    /// The flow is over.
    pub(crate) fn ends(mut self, why: &CloseReason) {
        self.why = why.clone();
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        let Self { flow, handler, why } = self;
        flow.finish(why);
        metric::closed(flow, why);
        match why {
            CloseReason::QueueFull { .. } | CloseReason::Framing(_) => {
                tracing::info!(flow = %flow.id(), peer.address = %flow.remote(), %why, "connection closed");
            }
            _ => tracing::debug!(flow = %flow.id(), peer.address = %flow.remote(), %why, "connection closed"),
        }
        handler.closed(flow, why);
    }
}

const REPORT: &str = "this is a fault of this server: report it with the lines of the panic on standard error";

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use reveille_sip::{Fault, Limits, Side, parse_datagram};

    use super::*;
    use crate::flow::Transport;

    /// Panics at every call, after it has noted it.
    #[derive(Default)]
    struct Panicky(Mutex<Vec<&'static str>>);

    impl Panicky {
        fn note(&self, what: &'static str) {
            self.0.lock().push(what);
            panic!("a broken invariant");
        }
    }

    impl Handler for Panicky {
        fn opened(&self, _flow: &Arc<Flow>) {
            self.note("opened");
        }

        fn messages(&self, _flow: &Arc<Flow>, batch: &mut Vec<Message>) {
            batch.drain(..).for_each(|_| self.note("message"));
        }

        fn bad(&self, _flow: &Arc<Flow>, _bad: BadMessage) {
            self.note("bad");
        }

        fn closed(&self, _flow: &Arc<Flow>, _why: &CloseReason) {
            self.note("closed");
        }

        fn refused(&self, _remote: SocketAddr, _refusal: &HandshakeRefusal) {
            self.note("refused");
        }
    }

    fn flow() -> Arc<Flow> {
        let address = ([127, 0, 0, 1], 5060).into();
        Flow::carried(Transport::Tcp, Side::Accepted, address, address, None, 1000)
    }

    fn message() -> Message {
        let text = "OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\n\
                    To: <sip:a>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
        parse_datagram(text.into(), &Limits::default()).expect("sound")
    }

    #[test]
    fn a_panic_in_any_call_of_a_handler_ends_with_the_flow_and_what_was_in_hand() {
        type Call = fn(Guarded<'_>, &Arc<Flow>);
        let rows: [(&str, Call); 5] = [
            ("opened", |guarded, flow| guarded.opened(flow)),
            ("message", |guarded, flow| guarded.messages(flow, &mut vec![message(), message()])),
            ("bad", |guarded, flow| {
                guarded.bad(flow, BadMessage { message: message(), fault: Fault::CSeqMethodMismatch });
            }),
            ("closed", |guarded, flow| guarded.closed(flow, &CloseReason::Idle)),
            ("refused", |guarded, flow| guarded.refused(flow.remote(), &HandshakeRefusal::HungUp)),
        ];
        for (what, call) in rows {
            let (handler, flow) = (Panicky::default(), flow());
            call(Guarded::new(&handler), &flow);
            assert_eq!(*handler.0.lock(), [what]);
            assert_eq!(flow.is_closed(), what != "refused", "{what}");
        }
    }

    #[test]
    fn whoever_heard_that_a_flow_opened_hears_that_it_closed_also_when_its_task_fails() {
        let (handler, flow) = (Panicky::default(), flow());
        let task = catch_unwind(AssertUnwindSafe(|| {
            let _opened = Opened::new(&flow, Guarded::new(&handler));
            panic!("a fault of the task itself");
        }));
        assert!(task.is_err());
        assert_eq!(*handler.0.lock(), ["opened", "closed"]);
        assert!(flow.is_closed());
    }
}
