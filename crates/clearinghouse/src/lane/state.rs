//! What a lane holds, under its lock: which pushes are in memory, whose turn it is, and which waits for which.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use reveille_core::{Channel, SipDomain, Timestamp};
use reveille_providers::{Demand, Notification, Outcome, Room};
use reveille_store::Stretch;

use super::calls::Calls;
use super::flows::{Flow, Flows};
use super::shelf::{Entry, Place, Shelf};
use super::{Arrival, Fate, Mark, Over, Settled, Window};
use crate::alarms::Alarms;
use crate::turns::Turns;

pub(super) struct State {
    pub(super) window: Window,
    pub(super) channel: Channel,
    pub(super) shelf: Shelf,
    /// Places of the shelf, each with the ticket that was given out for it. Calls in it are not marked yet.
    pub(super) turns: Turns<(u32, u32)>,
    pub(super) calls: Calls,
    pub(super) tickets: u32,
    pub(super) flows: Flows,
    /// Places that are kept for pushes which are on their way into memory.
    pub(super) reserved: usize,
    pub(super) under_way: usize,
    /// The newest push of each likeness. A place that has been taken by another since is told by that one's likeness.
    pub(super) newest: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    /// The last push of each device, for calls the last that waits: the next one goes behind it.
    pub(super) devices: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    pub(super) hasher: RandomState,
    pub(super) due: Alarms,
    /// How often a push has been put off.
    pub(super) put_off: u64,
    pub(super) expiries: Alarms,
    /// The flow that is read back next.
    pub(super) reader: u32,
    /// Pushes whose tokens were found dead when their turn came; the window bounds them.
    pub(super) condemned: Vec<Over<Timestamp>>,
}

impl State {
    /// Gives connections what they have room for. A push whose token is `dead` by now stays, and ends. Answers who waits
    /// still, and which calls are to be marked for the room that is left.
    pub(super) fn take(
        &mut self,
        room: Room,
        dead: impl Fn(&SipDomain, &Entry) -> Option<Timestamp>,
        give: &mut dyn FnMut(Arc<Notification>),
    ) -> (Demand, Vec<Mark>) {
        let mut given = 0;
        while given < room.places {
            let next = match self.channel {
                Channel::Message => self.next(room.places - given > room.kept),
                Channel::Voip => self.calls.pop(),
            };
            let Some((slot, ticket)) = next else { break };
            // Who has ended while he waited has left an empty place behind.
            let Some(entry) = self.shelf.at(slot).filter(|entry| entry.waits_with(ticket)) else { continue };
            if let Some(died) = dead(&self.flows.look(entry.flow).origin, entry) {
                let over = self.over(slot, died);
                self.condemned.extend(over);
                continue;
            }
            (entry.place, entry.marked) = (Place::UnderWay, false);
            self.under_way += 1;
            self.flows.at(entry.flow).under_way += 1;
            given += 1;
            give(Arc::clone(&entry.push));
            if self.channel == Channel::Voip {
                self.step_aside(slot);
            }
        }
        match self.channel {
            Channel::Message => (self.demand(), Vec::new()),
            Channel::Voip => self.take_marks(Room { places: room.places - given, ..room }, given),
        }
    }

    /// The calls that are to be marked for the room that is left where so many were `given`, and who waits still.
    fn take_marks(&mut self, room: Room, given: usize) -> (Demand, Vec<Mark>) {
        let marks = self.next_marks(room);
        let demand = self.demand();
        let free = room.places.saturating_sub(room.kept + marks.len());
        self.calls.came(if demand == Demand::None { free } else { 0 });
        if given + marks.len() == 0 && room.places > room.kept {
            // Nothing more is marked until what is being marked has been: then somebody is woken.
            return (Demand::None, marks);
        }
        (demand, marks)
    }

    /// Who is next: with `all` whoever has his turn, otherwise of those only who have little under way.
    fn next(&mut self, all: bool) -> Option<(u32, u32)> {
        let Self { turns, flows, .. } = self;
        if all { turns.pop() } else { turns.pop_of(|flow| flows.is_quiet(flow)) }
    }

    /// The calls whose turn it is, as many as a connection has room for: they are about to be sent.
    fn next_marks(&mut self, room: Room) -> Vec<Mark> {
        let (most, mut marks) = (self.calls.markable(room.places), Vec::new());
        while marks.len() < most
            && let Some((slot, ticket)) = self.next(most - marks.len() > room.kept)
        {
            if let Some(entry) = self.shelf.at(slot).filter(|entry| entry.waits_with(ticket)) {
                entry.place = Place::Marking;
                marks.push((entry.push.key, entry.seq));
            }
        }
        self.calls.mark(marks.len());
        marks
    }

    /// Who waits for a connection. A call that is marked takes any place.
    pub(super) fn demand(&self) -> Demand {
        if self.turns.len() == 0 && !self.calls.are_ready() {
            Demand::None
        } else if self.calls.are_ready() || self.turns.has(|flow| self.flows.is_quiet(flow)) {
            Demand::Quiet
        } else {
            Demand::Crowd
        }
    }

    /// How many pushes of one organisation may be in memory at this moment.
    fn share(&self) -> usize {
        let Window { pushes, promised } = self.window;
        let held = self.shelf.len() + self.reserved;
        if held >= 2 * pushes {
            0
        } else if held >= pushes {
            promised
        } else {
            promised.max(pushes / self.flows.len().max(1))
        }
    }

    pub(super) fn admits(&self, flow: u32) -> bool {
        let flow = self.flows.look(flow);
        !flow.spill.is_active() && flow.held < self.share()
    }

    pub(super) fn reserve(&mut self, flow: u32, places: usize) {
        self.reserved += places;
        self.flows.at(flow).held += places;
    }

    pub(super) fn insert(&mut self, arrival: Arrival, coalesced: &mut Vec<Over<()>>) {
        let Arrival { flow, seq, registered, attempt, push, due, sending } = arrival;
        let expires = push.expires;
        let (device, likeness) = self.likeness(flow, &push);
        let older = self.older(likeness, flow, &push);
        let last = self.last(device, flow, &push);
        let make = |key| {
            let push = Arc::new(Notification { key, ..push });
            let (place, ticket, superseded, before, after) = (Place::Behind, 0, false, None, None);
            Entry {
                seq,
                registered,
                attempt,
                push,
                flow,
                place,
                ticket,
                superseded,
                likeness,
                due,
                marked: sending,
                device,
                before,
                after,
            }
        };
        let slot = match older {
            Some((slot, place)) if place.is_queued() => {
                coalesced.extend(self.take_place(slot, make));
                if let Place::Later(_) = place {
                    self.begin(slot);
                }
                slot
            }
            _ => {
                let slot = self.shelf.put(make);
                if let Some(older) = older.and_then(|(older, _)| self.shelf.at(older)) {
                    older.superseded = true;
                }
                match self.channel {
                    Channel::Voip => {
                        self.line_up(slot);
                        self.release(slot);
                    }
                    Channel::Message => {
                        self.follow(slot, last);
                        self.devices.insert(device, slot);
                        self.release(slot);
                    }
                }
                slot
            }
        };
        if likeness != 0 {
            self.newest.insert(likeness, slot);
        }
        let (live, key) = (self.shelf.len(), self.shelf.key(slot));
        let shelf = &self.shelf;
        self.expiries.set(expires, key, live, |_, key| shelf.find(key).is_some());
    }

    /// The last push in memory to the same device.
    fn last(&self, device: u64, flow: u32, push: &Notification) -> Option<u32> {
        let slot = *self.devices.get(&device)?;
        // A hash may lie.
        let same = |last: &Entry| last.flow == flow && last.push.token == push.token && last.place != Place::Ending;
        self.shelf.look(slot).filter(|last| same(last)).map(|_| slot)
    }

    /// Has a push wait until the last one to its device is over.
    fn follow(&mut self, slot: u32, last: Option<u32>) {
        if let Some(last) = last.and_then(|last| self.shelf.at(last)) {
            last.after = Some(slot);
        }
        if let Some(entry) = self.shelf.at(slot) {
            (entry.place, entry.before) = (Place::Behind, last);
        }
    }

    /// Puts a call among those to its device that wait, by age: one that comes back from a connection, or from disk, goes
    /// before those that have come since. Where it is to wait itself is not said here.
    fn line_up(&mut self, slot: u32) {
        let Some(entry) = self.shelf.look(slot) else { return };
        let (seq, device) = (entry.seq, entry.device);
        let (mut before, mut after) = (self.last(device, entry.flow, &entry.push), None);
        while let Some(younger) = before.filter(|&at| self.shelf.look(at).is_some_and(|entry| entry.seq > seq)) {
            (before, after) = (self.shelf.look(younger).and_then(|entry| entry.before), Some(younger));
        }
        if let Some(older) = before.and_then(|at| self.shelf.at(at)) {
            older.after = Some(slot);
        }
        match after.and_then(|at| self.shelf.at(at)) {
            Some(younger) => {
                younger.before = Some(slot);
                // What is being written down about it, or its time, comes first; then it will find that it is not the first.
                if younger.place == Place::Waiting {
                    younger.place = Place::Behind;
                }
            }
            None => drop(self.devices.insert(device, slot)),
        }
        if let Some(entry) = self.shelf.at(slot) {
            (entry.before, entry.after) = (before, after);
        }
    }

    /// Has a push that waited for others to its device go on, if none of them is left.
    fn release(&mut self, slot: u32) {
        if self.shelf.look(slot).is_some_and(|entry| entry.place == Place::Behind && entry.before.is_none()) {
            self.begin(slot);
        }
    }

    /// Has a push wait that is not the first to its device. Answers whether it does.
    fn stands_behind(&mut self, slot: u32) -> bool {
        match self.shelf.at(slot) {
            Some(entry) if entry.before.is_some() => {
                entry.place = Place::Behind;
                true
            }
            _ => false,
        }
    }

    /// The push that this one replaces, and where it is.
    fn older(&self, likeness: u64, flow: u32, push: &Notification) -> Option<(u32, Place)> {
        if likeness == 0 {
            return None;
        }
        let slot = *self.newest.get(&likeness)?;
        let older = self.shelf.look(slot)?;
        // A hash may lie.
        let same = older.flow == flow && older.push.token == push.token && older.push.collapse == push.collapse;
        same.then_some((slot, older.place))
    }

    /// Puts a newer push into the place of an older one of its likeness, and into its turn.
    fn take_place(&mut self, slot: u32, make: impl FnOnce(u64) -> Entry) -> Option<Over<()>> {
        let older = self.shelf.replace(slot, make)?;
        if let Some(newer) = self.shelf.at(slot) {
            (newer.place, newer.ticket, newer.before, newer.after) =
                (older.place, older.ticket, older.before, older.after);
        }
        // There is one of them from now on where places were kept for two.
        self.flows.at(older.flow).held -= 1;
        Some(Over { key: None, seq: older.seq, push: older.push, how: () })
    }

    /// Has a push wait for its turn, or for its time.
    fn begin(&mut self, slot: u32) {
        match self.shelf.at(slot).map(|entry| (entry.due.take(), entry.marked)) {
            Some((Some(at), _)) => self.put_off(slot, at),
            Some((None, true)) => self.make_ready(slot),
            Some((None, false)) => self.enqueue(slot),
            None => {}
        }
    }

    /// A call is marked as being sent: the next connection may have it.
    pub(super) fn make_ready(&mut self, slot: u32) {
        let Some(entry) = self.shelf.at(slot) else { return };
        entry.marked = true;
        if self.stands_behind(slot) {
            return;
        }
        let Some(entry) = self.shelf.at(slot) else { return };
        self.tickets = self.tickets.wrapping_add(1);
        (entry.place, entry.ticket) = (Place::Waiting, self.tickets);
        self.calls.push((slot, self.tickets));
    }

    pub(super) fn enqueue(&mut self, slot: u32) {
        if self.stands_behind(slot) {
            return;
        }
        let Some(entry) = self.shelf.at(slot) else { return };
        self.tickets = self.tickets.wrapping_add(1);
        (entry.place, entry.ticket) = (Place::Waiting, self.tickets);
        self.turns.push(entry.flow, cost(&entry.push), (slot, self.tickets));
        if self.turns.len() > 2 * self.shelf.len() + SLACK {
            // Nobody takes any, and those that end leave empty places behind.
            let shelf = &self.shelf;
            self.turns.sweep(|(slot, ticket)| shelf.look(*slot).is_some_and(|entry| entry.waits_with(*ticket)));
        }
    }

    pub(super) fn put_off(&mut self, slot: u32, at: Timestamp) {
        let Some(entry) = self.shelf.at(slot) else { return };
        entry.place = Place::Later(at);
        self.put_off = self.put_off.wrapping_add(1);
        let (live, key, shelf) = (self.shelf.len(), self.shelf.key(slot), &self.shelf);
        let is_live = |at, key| {
            shelf.find(key).and_then(|slot| shelf.look(slot)).is_some_and(|entry| entry.place == Place::Later(at))
        };
        self.due.set(at, key, live, is_live);
    }

    pub(super) fn settle<T>(
        &mut self,
        outcome: &Outcome,
        judge: &mut impl FnMut(&SipDomain, &Entry, &Outcome) -> Fate<T>,
        settled: &mut Settled<T>,
    ) {
        let Some(slot) = self.shelf.find(outcome.key) else { return };
        let Some(entry) = self.shelf.at(slot).filter(|entry| entry.place == Place::UnderWay) else { return };
        let flow = self.flows.at(entry.flow);
        (flow.under_way, self.under_way) = (flow.under_way - 1, self.under_way - 1);
        match judge(&flow.origin, entry, outcome) {
            Fate::Again(at) if !entry.superseded => {
                entry.attempt += 1;
                settled.again.push((entry.seq, at, entry.attempt));
                match self.channel {
                    Channel::Message => {
                        // A newer one of its conversation takes its place, and does not wait behind it: no order is lost.
                        if entry.likeness != 0 && at.since(outcome.sent) > HOLD_MAX {
                            self.step_aside(slot);
                        }
                        self.put_off(slot, at);
                    }
                    Channel::Voip => {
                        entry.place = Place::Marking;
                        settled.held.push((outcome.key, at));
                        self.line_up(slot);
                    }
                }
            }
            // Sent again it would overtake the newer one.
            Fate::Again(_) => settled.coalesced.extend(self.over(slot, ())),
            Fate::Over(how) => settled.over.extend(self.over(slot, how)),
        }
    }

    /// A push is over: it stays until that is on disk, and the next one to its device goes on.
    pub(super) fn over<T>(&mut self, slot: u32, how: T) -> Option<Over<T>> {
        let key = self.shelf.key(slot);
        let entry = self.shelf.at(slot)?;
        // A place in a line is found empty when its turn comes; one that is filled again meanwhile has another ticket.
        entry.place = Place::Ending;
        let (seq, push, likeness, device) = (entry.seq, Arc::clone(&entry.push), entry.likeness, entry.device);
        let (before, after) = (entry.before.take(), entry.after.take());
        if likeness != 0 && self.newest.get(&likeness) == Some(&slot) {
            self.newest.remove(&likeness);
        }
        self.leave_device(slot, device, before, after);
        Some(Over { key: Some(key), seq, push, how })
    }

    /// A push that is put off for long lets the other conversations of its device go on, and so does a call that a connection
    /// has.
    fn step_aside(&mut self, slot: u32) {
        let Some(entry) = self.shelf.at(slot) else { return };
        let (device, before, after) = (entry.device, entry.before.take(), entry.after.take());
        self.leave_device(slot, device, before, after);
    }

    /// Takes a push out from between the others of its device.
    fn leave_device(&mut self, slot: u32, device: u64, before: Option<u32>, after: Option<u32>) {
        if let Some(entry) = before.and_then(|before| self.shelf.at(before)) {
            entry.after = after;
        }
        if let Some(entry) = after.and_then(|after| self.shelf.at(after)) {
            entry.before = before;
        }
        match (before, after) {
            (None, Some(next)) => self.release(next),
            (_, None) if self.devices.get(&device) != Some(&slot) => {}
            (Some(last), None) => drop(self.devices.insert(device, last)),
            (None, None) => drop(self.devices.remove(&device)),
            (Some(_), Some(_)) => {}
        }
    }

    /// What pushes to one device have in common, and those of them of which a newer one replaces an older: by
    /// organisation, token and collapse key. 0 is nothing: no call is replaced.
    fn likeness(&self, flow: u32, push: &Notification) -> (u64, u64) {
        let device = self.hasher.hash_one((flow, push.token.expose())).max(1);
        let collapse = push.collapse.as_ref().filter(|_| push.channel == Channel::Message);
        let likeness = collapse.map_or(0, |collapse| self.hasher.hash_one((device, collapse)).max(1));
        (device, likeness)
    }

    /// The calls that are on disk as being sent and that no connection has, with how often each was tried.
    pub(super) fn marked_in_vain(&self) -> Vec<(u64, u32)> {
        let never_had = |entry: &&Entry| match entry.place {
            // That it is marked is being written down.
            Place::Marking => true,
            Place::Behind | Place::Later(_) | Place::Waiting => entry.marked,
            Place::Ending | Place::UnderWay => false,
        };
        let calls = self.shelf.iter().filter(|_| self.channel == Channel::Voip);
        calls.filter(never_had).map(|entry| (entry.seq, entry.attempt)).collect()
    }

    pub(super) fn next_chunk(&mut self, most: usize) -> Option<(u32, Vec<Stretch>)> {
        let share = self.share();
        let wants = |flow: &Flow| !flow.spill.reading && flow.spill.len() > 0 && 2 * flow.held <= share && share > 0;
        let reader = self.reader;
        let number = self
            .flows
            .iter()
            .filter(|(_, flow)| wants(flow))
            .map(|(number, _)| number)
            .min_by_key(|&number| (number < reader, number))?;
        let flow = self.flows.at(number);
        let taken = flow.spill.take(most.min(share - flow.held));
        flow.spill.reading = true;
        self.reader = number + 1;
        let places = taken.iter().map(Stretch::len).sum();
        self.reserve(number, places);
        Some((number, taken))
    }
}

/// What a push takes of a turn: about its bytes.
fn cost(push: &Notification) -> u32 {
    let text = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
    let alert = push.alert.as_ref().map_or(0, |alert| text(&alert.title) + text(&alert.body));
    u32::try_from(FRAME_BYTES + alert + text(&push.sealed)).unwrap_or(u32::MAX)
}

/// For so long a push that is to be sent again holds back the younger ones to its device, whatever they are about.
const HOLD_MAX: Duration = Duration::from_secs(10);

/// So many empty places in the lines are never swept out.
const SLACK: usize = 256;

/// What a push costs beside its texts: headers, token, the fixed parts of the body.
const FRAME_BYTES: usize = 512;

/// For keys that are hashes already.
#[derive(Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not used for what is no u64.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
