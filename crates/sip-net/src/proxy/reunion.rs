//! Peers whose connection is gone, and who come back on another (RFC 3261 §18.2.2, §18.1.1).
//!
//! An answer goes to the connection that its request came on while that is open. After that it goes to an open connection
//! of whoever has proven to be the same: by the same certificate, or by what the role calls its user's device. While there
//! is none, one is made to where that peer listens, if the role knows such a place, and the answer waits for
//! [`super::ProxyConfig::return_within`]; then the request counts as cancelled. It never goes to anybody else: not to the
//! address alone, which proves nothing. A request behaves in the same way towards the peer that it has left to, once an
//! INVITE rings there.

use std::sync::Arc;

use reveille_sip::Millis;
use reveille_sip::proxy::{Failure, Todo};

use super::senders::Sender;
use super::table::Entry;
use super::{Proxy, To};
use crate::flow::Flow;

impl Proxy {
    /// A connection is there, made or accepted: what waits for its peer goes on. Call it from [`crate::Handler::opened`].
    pub fn flow_opened(&self, flow: &Arc<Flow>) {
        if let Some(peer) = flow.peer() {
            self.came(self.table.senders.by_certificate(peer), flow);
        }
    }

    /// Whoever the role calls `sender` (in [`super::Back`]) has proven to be on this connection, too.
    pub fn sender_is_on(&self, sender: &str, flow: &Arc<Flow>) {
        self.came(self.table.senders.by_name(sender), flow);
    }

    fn came(&self, sender: Sender, flow: &Arc<Flow>) {
        // A UDP remote never goes: nothing would forget it again, and nobody waits for one.
        if !flow.transport().is_reliable() {
            return;
        }
        for number in self.table.came(sender, flow) {
            let mut shard = self.table.shard(number);
            let Some(entry) = shard.entries.get_mut(&number) else { continue };
            if entry.sender != Some(sender) || !entry.context.is_upstream_away() {
                continue;
            }
            match self.turn_to_another(entry, number) {
                Some(todo) => self.perform(&mut shard, number, todo),
                // It has gone again.
                None => self.table.senders.wait(sender, number),
            }
        }
    }

    /// The connection that a request came on is gone.
    pub(super) fn sender_went(&self, entry: &mut Entry, number: u64, now: Millis) -> Todo {
        let Some(sender) = entry.sender else { return entry.context.on_upstream_gone(now) };
        entry.context.on_upstream_away(now);
        // First known to wait, then looked for: who comes in between is not missed.
        self.table.senders.wait(sender, number);
        if let Some(todo) = self.turn_to_another(entry, number) {
            self.table.senders.leave(sender, number);
            return todo;
        }
        if let Some((pool, target)) = &entry.server {
            pool.reach(target);
        }
        Todo::new()
    }

    /// Whoever sent a request is told the rest on another of its connections, if there is one.
    fn turn_to_another(&self, entry: &mut Entry, number: u64) -> Option<Todo> {
        let flow = self.table.senders.line(entry.sender?, &entry.back)?;
        if !self.table.attach_open(&flow, number) {
            return None;
        }
        tracing::debug!(before = %entry.back.remote(), now = %flow.remote(), "answers go back on another connection");
        self.table.move_key(entry, &flow, number);
        entry.back = flow;
        Some(entry.context.on_upstream_back())
    }

    /// The connection that a leg's request left on is gone.
    pub(super) fn leg_went(&self, entry: &mut Entry, leg: usize, why: &Failure, now: Millis) -> Todo {
        let road = &entry.roads[leg];
        match (&road.to, &road.flow) {
            (To::Hop(pool, target), Some(flow)) if flow.peer().is_some() => {
                let todo = entry.context.on_leg_away(leg, why, now);
                if entry.context.is_pending(leg) {
                    // Whoever rings there can tell us on it.
                    pool.reach(target);
                }
                todo
            }
            (To::Flow(_) | To::Hop(..), _) => entry.context.on_failed(leg, why, now),
        }
    }
}
