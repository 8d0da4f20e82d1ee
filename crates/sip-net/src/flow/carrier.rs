//! The other side of a flow: for those who carry a connection, which are the conversation's task, WebSocket doors and tests.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Context;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use reveille_sip::Side;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Flow, FlowId, Out, Queue, Transport};
use crate::close::CloseReason;
use crate::names::PeerCertificate;
use crate::udp::UdpSender;

impl Flow {
    /// A flow whose bytes somebody else carries: a WebSocket, or a test. Take them with [`Flow::take_queued`].
    pub fn carried(
        transport: Transport,
        side: Side,
        local: SocketAddr,
        remote: SocketAddr,
        peer: Option<Arc<PeerCertificate>>,
        queued_bytes_max: usize,
    ) -> Arc<Self> {
        let queue = Queue {
            buffer: BytesMut::new(),
            taken: 0,
            bytes_max: queued_bytes_max,
            full_since: None,
            sleeper: None,
            closing: None,
            hold: None,
        };
        Self::of(transport, side, local, remote, peer, Out::Stream(Mutex::new(queue)))
    }

    /// A UDP remote that is to be answered on this port of its address.
    pub(crate) fn datagrams(socket: UdpSender, side: Side, remote: SocketAddr, port: u16) -> Arc<Self> {
        let (local, to) = (socket.local_addr(), SocketAddr::new(remote.ip(), port));
        Self::of(Transport::Udp, side, local, remote, None, Out::Datagrams(socket, to))
    }

    fn of(
        transport: Transport,
        side: Side,
        local: SocketAddr,
        remote: SocketAddr,
        peer: Option<Arc<PeerCertificate>>,
        out: Out,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: FlowId(NEXT_ID.fetch_add(1, Ordering::Relaxed)),
            transport,
            side,
            local,
            remote,
            peer,
            open: AtomicBool::new(true),
            heard: AtomicBool::new(false),
            opened: Instant::now(),
            out,
            gone: CancellationToken::new(),
        })
    }

    /// Moves everything queued to the end of `into`; says whether there was anything. The bytes still count as queued
    /// until [`Flow::written`].
    pub fn take_queued(&self, into: &mut VecDeque<Bytes>) -> bool {
        let Out::Stream(queue) = &self.out else { return false };
        let mut queue = queue.lock();
        if queue.buffer.is_empty() {
            return false;
        }
        let taken = std::mem::take(&mut queue.buffer).freeze();
        queue.taken += taken.len();
        drop(queue);
        into.push_back(taken);
        true
    }

    /// The same for a task that writes from one buffer: an empty one changes places with what is queued, so that its
    /// memory is used again.
    pub(crate) fn take_into(&self, writing: &mut BytesMut) -> bool {
        let Out::Stream(queue) = &self.out else { return false };
        let mut queue = queue.lock();
        if queue.buffer.is_empty() {
            return false;
        }
        queue.taken += queue.buffer.len();
        if writing.is_empty() {
            std::mem::swap(writing, &mut queue.buffer);
        } else {
            writing.extend_from_slice(&queue.buffer);
            queue.buffer.clear();
        }
        true
    }

    /// `count` of the bytes taken have left.
    pub fn written(&self, count: usize) {
        if let Out::Stream(queue) = &self.out {
            let mut queue = queue.lock();
            queue.taken = queue.taken.saturating_sub(count);
            queue.full_since = None;
        }
    }

    /// Why the flow is to be closed, if somebody asked for it.
    pub fn closing(&self) -> Option<CloseReason> {
        match &self.out {
            Out::Datagrams(..) => None,
            Out::Stream(queue) => queue.lock().closing.clone(),
        }
    }

    /// Has the task woken by the next [`Flow::send`] or [`Flow::close`]; `false` if there is something to do already.
    pub fn park(&self, cx: &Context<'_>) -> bool {
        let Out::Stream(queue) = &self.out else { return true };
        let mut queue = queue.lock();
        if !queue.buffer.is_empty() || queue.closing.is_some() {
            return false;
        }
        match &mut queue.sleeper {
            Some(sleeper) => sleeper.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        true
    }

    /// The peer sent something.
    pub fn note_heard(&self) {
        if !self.heard.load(Ordering::Relaxed) {
            self.heard.store(true, Ordering::Release);
        }
    }

    /// The flow is over; wakes everybody in [`Flow::closed`].
    pub fn finish(&self, why: &CloseReason) {
        self.open.store(false, Ordering::Release);
        if let Out::Stream(queue) = &self.out {
            let mut queue = queue.lock();
            queue.closing.get_or_insert_with(|| why.clone());
            queue.buffer = BytesMut::new();
            queue.taken = 0;
        }
        self.gone.cancel();
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
