//! Answering a request once, also when UDP brings it again (RFC 3261 §17.2.2).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use reveille_federation::message::respond;
use reveille_sip::{Message, ResponseBuilder, TransactionKey};
use reveille_sip_net::{Flow, Transport};

/// RFC 3261 §17.2.2: timer J, 64*T1 on unreliable transports.
const TIMER_J: Duration = Duration::from_secs(32);
/// Transactions remembered over UDP; beyond it the oldest are forgotten and a repetition counts as new.
const RECENT_MAX: usize = 10_000;

/// The UDP transactions of the last half minute.
#[derive(Default)]
pub(crate) struct Recent {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    answers: HashMap<TransactionKey, Option<Bytes>>,
    order: VecDeque<(Instant, TransactionKey)>,
}

impl Recent {
    /// Whether a request is new. A repetition gets its answer again, if there is one yet.
    fn begin(&self, flow: &Flow, key: &TransactionKey) -> bool {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        while inner.order.front().is_some_and(|(at, _)| now.duration_since(*at) > TIMER_J)
            || inner.order.len() >= RECENT_MAX
        {
            let Some((_, old)) = inner.order.pop_front() else { break };
            inner.answers.remove(&old);
        }
        if let Some(answer) = inner.answers.get(key) {
            if let Some(answer) = answer.clone() {
                let _ = flow.send(answer);
            }
            return false;
        }
        inner.answers.insert(key.clone(), None);
        inner.order.push_back((now, key.clone()));
        true
    }

    fn end(&self, key: &TransactionKey, answer: Bytes) {
        if let Some(slot) = self.inner.lock().answers.get_mut(key) {
            *slot = Some(answer);
        }
    }
}

/// A request that is owed one answer.
pub(crate) struct Reply {
    flow: Arc<Flow>,
    request: Message,
    udp: Option<(Arc<Recent>, TransactionKey)>,
    tag: Arc<str>,
}

impl Reply {
    /// Takes a request up; `None` if it is a repetition, which needs nothing more.
    pub(crate) fn new(flow: &Arc<Flow>, request: Message, recent: &Arc<Recent>, tag: &Arc<str>) -> Option<Self> {
        let mut udp = None;
        if flow.transport() == Transport::Udp {
            let key = request.transaction_key().ok()?;
            if !recent.begin(flow, &key) {
                return None;
            }
            udp = Some((Arc::clone(recent), key));
        }
        Some(Self { flow: Arc::clone(flow), request, udp, tag: Arc::clone(tag) })
    }

    pub(crate) fn flow(&self) -> &Arc<Flow> {
        &self.flow
    }

    pub(crate) fn request(&self) -> &Message {
        &self.request
    }

    /// Answers with a status and more header fields.
    pub(crate) fn send_with(self, status: u16, more: impl FnOnce(&mut ResponseBuilder<'_>)) {
        let source = self.flow.remote();
        let bytes = respond(&self.request, status, &self.tag, |response| {
            response.source(source);
            more(response);
        });
        self.send_bytes(bytes);
    }

    /// Answers with a status.
    pub(crate) fn send(self, status: u16) {
        self.send_with(status, |_| {});
    }

    /// Answers with a whole response.
    pub(crate) fn send_bytes(self, bytes: Bytes) {
        if let Some((recent, key)) = &self.udp {
            recent.end(key, bytes.clone());
        }
        // A client that has gone will ask again.
        let _ = self.flow.send(bytes);
    }
}
