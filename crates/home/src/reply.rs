//! Answering a request once, also when UDP brings it again (RFC 3261 §17.2.2).
//!
//! A merged request (§8.2.2.2: the same one with another branch, after somebody has forked it) gets no 482. It is never acted
//! upon twice as it is: over UDP each request of a client proves itself, and a copy brings a nonce count that has been used,
//! so that it is challenged. To know it earlier than that, one would have to remember From tag, Call-ID and CSeq of what has
//! proven nothing yet, and then a forged datagram with those of another could have his own request refused.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use reveille_federation::message::respond;
use reveille_sip::{
    Action, Actions, Message, Millis, Name, Reliability, ResponseBuilder, ServerTransaction, Timers, TransactionKey,
};
use reveille_sip_net::{Flow, Transport};

/// Transactions remembered over UDP; beyond it the oldest are forgotten and a repetition counts as new.
const RECENT_MAX: usize = 10_000;

/// The UDP transactions of the last half minute.
pub(crate) struct Recent {
    begun: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    transactions: HashMap<TransactionKey, ServerTransaction>,
    order: VecDeque<TransactionKey>,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), inner: Mutex::default() }
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// Whether a request is new. A repetition gets its answer again, if there is one yet.
    fn begin(&self, flow: &Flow, key: &TransactionKey) -> bool {
        let now = self.now();
        let mut inner = self.inner.lock();
        inner.forget(now);
        if let Some(transaction) = inner.transactions.get_mut(key) {
            carry_out(flow, transaction.on_repetition());
            return false;
        }
        let transaction = ServerTransaction::start(Reliability::Unreliable, Timers::default(), now);
        inner.transactions.insert(key.clone(), transaction);
        inner.order.push_back(key.clone());
        true
    }

    fn end(&self, flow: &Flow, key: &TransactionKey, status: u16, answer: Bytes) {
        let now = self.now();
        let actions = match self.inner.lock().transactions.get_mut(key) {
            Some(transaction) => transaction.respond(status, answer, now),
            // Forgotten under load: it is answered all the same.
            None => [Action::Send(answer)].into_iter().collect(),
        };
        carry_out(flow, actions);
    }
}

impl Inner {
    /// Lets go of transactions that are over, and of the oldest when there are too many.
    fn forget(&mut self, now: Millis) {
        while let Some(oldest) = self.order.front() {
            let over = self.transactions.get_mut(oldest).is_none_or(|transaction| {
                transaction.on_timer(now);
                transaction.is_terminated()
            });
            if !over && self.order.len() < RECENT_MAX {
                return;
            }
            if let Some(oldest) = self.order.pop_front() {
                self.transactions.remove(&oldest);
            }
        }
    }
}

fn carry_out(flow: &Flow, actions: Actions) {
    for action in actions {
        if let Action::Send(bytes) = action {
            // A client that has gone will ask again.
            let _ = flow.send(bytes);
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
        self.send_bytes(status, bytes);
    }

    /// Answers with a status.
    pub(crate) fn send(self, status: u16) {
        self.send_with(status, |_| {});
    }

    /// Refuses, with the sentence that a person reads (RFC 3261 §20.43).
    pub(crate) fn refuse(self, status: u16, sentence: &str) {
        let sentence = sentence.replace(['"', '\\'], "'");
        self.send_with(status, |response| {
            response.header(Name::Warning, format_args!("399 reveille \"{sentence}\""));
        });
    }

    /// Answers with a whole response of that status.
    pub(crate) fn send_bytes(self, status: u16, bytes: Bytes) {
        match &self.udp {
            Some((recent, key)) => recent.end(&self.flow, key, status, bytes),
            None => carry_out(&self.flow, [Action::Send(bytes)].into_iter().collect()),
        }
    }
}
