//! One lane: the open pushes of one app on one channel, by organisations, and whose turn it is.
//!
//! A bounded window of them is in memory, shared so that each organisation has at least a few places; what an
//! organisation has beyond that waits in the journal, and only its own newer pushes wait behind it. A connection that
//! has room asks for pushes and gets them in turns of the organisations ([`crate::turns`]). Everything here is under one
//! lock of the lane, taken once for each batch.

mod calls;
mod flows;
mod shelf;
mod spill;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use reveille_core::{Channel, LaneKey, SipDomain, Timestamp};
use reveille_providers::{Notification, Outcome, Supply};
use reveille_store::Stretch;

use self::calls::Calls;
use self::flows::{Flow, Flows};
pub(crate) use self::shelf::{Entry, lane_of};
use self::shelf::{Place, Shelf};
use crate::alarms::Alarms;
use crate::court::Court;
use crate::dispatch::{Dispatch, Fresh, Outlet};
use crate::replay::Scan;
use crate::turns::Turns;

/// One lane, and where its pushes go.
pub(crate) struct Lane {
    pub(crate) key: LaneKey,
    outlet: Box<dyn Outlet>,
    /// Knows whose tokens are dead.
    court: Arc<Court>,
    /// Writes down that calls are being sent.
    dispatch: Weak<Dispatch>,
    state: Mutex<State>,
}

/// A push that is to be put into memory.
pub(crate) struct Arrival {
    /// The flow that [`Lane::admit`] or [`Lane::next_chunk`] has kept a place for it in.
    pub(crate) flow: u32,
    pub(crate) seq: u64,
    pub(crate) registered: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) push: Notification,
    /// When it is to be sent, if not now.
    pub(crate) due: Option<Timestamp>,
    /// Whether it is a call that was journaled as being sent.
    pub(crate) sending: bool,
}

/// A push that is over: its key, if it was in memory, its number, and how it ended.
pub(crate) struct Over<T> {
    pub(crate) key: Option<u64>,
    pub(crate) seq: u64,
    pub(crate) push: Arc<Notification>,
    pub(crate) how: T,
}

/// What follows from an answer: the push is sent again at a time, or it is over.
pub(crate) enum Fate<T> {
    Again(Timestamp),
    Over(T),
}

/// A call that may be handed to a connection when that is written down: its key and its number.
pub(crate) type Mark = (u64, u64);

/// How much a lane may hold, and what of it is promised.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Pushes in memory while nobody else asks for a place; twice as many when many organisations use their promise.
    pub(crate) pushes: usize,
    /// Places that each organisation has whatever the others do.
    pub(crate) promised: usize,
}

/// What lies in a lane, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LaneLoad {
    /// Which lane.
    pub key: LaneKey,
    /// Organisations that have open pushes in it.
    pub flows: usize,
    /// Pushes in memory that wait for their turn or their next attempt.
    pub waiting: usize,
    /// Pushes that a connection has, or whose end is being written down.
    pub under_way: usize,
    /// Pushes that are known to wait on disk only.
    pub on_disk: usize,
    /// The organisation with the most that waits, and how much that is.
    pub noisiest: Option<(SipDomain, usize)>,
}

struct State {
    window: Window,
    channel: Channel,
    shelf: Shelf,
    /// Places of the shelf, each with the ticket that was given out for it. Calls in it are not marked yet.
    turns: Turns<(u32, u32)>,
    calls: Calls,
    tickets: u32,
    flows: Flows,
    /// Places that are kept for pushes which are on their way into memory.
    reserved: usize,
    under_way: usize,
    /// The newest push of each likeness. A place that has been taken by another since is told by that one's likeness.
    newest: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    /// The last push of each device: the next one goes behind it.
    devices: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    hasher: RandomState,
    due: Alarms,
    /// How often a push has been put off.
    put_off: u64,
    expiries: Alarms,
    /// The flow that is read back next.
    reader: u32,
    /// Pushes whose tokens were found dead when their turn came; the window bounds them.
    condemned: Vec<Over<Timestamp>>,
}

/// What the answers of a provider have led to.
pub(crate) struct Settled<T> {
    /// What is over, and how it was judged.
    pub(crate) over: Vec<Over<T>>,
    /// What is not sent again, since a newer one has come.
    pub(crate) coalesced: Vec<Over<()>>,
    /// What is sent again: its number, when, and the how manieth time that is.
    pub(crate) again: Vec<(u64, Timestamp, u32)>,
    /// The keys of calls among them, and when. They stand still until [`Lane::resume`]: the next mark of a call must come
    /// behind what is written down here, or that would undo it.
    pub(crate) held: Vec<(u64, Timestamp)>,
    /// Whether anything waits for its time now that did not before.
    pub(crate) is_put_off: bool,
}

impl Lane {
    pub(crate) fn new(
        number: u16,
        key: LaneKey,
        outlet: Box<dyn Outlet>,
        court: Arc<Court>,
        dispatch: Weak<Dispatch>,
        window: Window,
    ) -> Arc<Self> {
        let state = State {
            window,
            channel: key.channel,
            shelf: Shelf::new(number),
            turns: Turns::new(),
            calls: Calls::default(),
            tickets: 0,
            flows: Flows::new(),
            reserved: 0,
            under_way: 0,
            newest: HashMap::default(),
            devices: HashMap::default(),
            hasher: RandomState::new(),
            due: Alarms::default(),
            put_off: 0,
            expiries: Alarms::default(),
            reader: 0,
            condemned: Vec::new(),
        };
        Arc::new(Self { key, outlet, court, dispatch, state: Mutex::new(state) })
    }

    /// Lets the lane's connections come for pushes.
    pub(crate) fn open(self: &Arc<Self>) {
        self.outlet.serve(Arc::new(Door(Arc::downgrade(self))));
    }

    /// Keeps places in memory for new pushes as far as there are any, and answers those, with their flows. Of the others
    /// it is noted that they wait on disk, as long as a flow has fewer than `noted_max` stretches there; with `behind`
    /// older ones may lie there that nobody knows of yet. Answers how many stretches that has added, too.
    pub(crate) fn admit(&self, fresh: Vec<Fresh>, behind: bool, noted_max: usize) -> (Vec<(u32, Fresh)>, usize) {
        let mut state = self.state.lock();
        let (mut here, mut noted) = (Vec::with_capacity(fresh.len()), 0);
        let behind = behind && state.channel == Channel::Message;
        for fresh in fresh {
            let flow = state.flows.of(&fresh.origin);
            state.calls.kept(usize::from(fresh.sending));
            // A promise is kept beyond the window, but for a line on disk that has formed since: whoever overtook that would
            // be found there again. The file says that such a call is being sent, and so it ends as outcome-unknown.
            let promised = fresh.sending && !state.flows.look(flow).spill.is_active();
            if !behind && (promised || state.admits(flow)) {
                state.reserve(flow, 1);
                here.push((flow, fresh));
                continue;
            }
            let spill = &mut state.flows.at(flow).spill;
            match spill.beyond {
                Some(_) => {}
                None if behind || spill.stretches() >= noted_max => spill.beyond = Some(fresh.seq),
                None => noted += usize::from(spill.add(fresh.seq, fresh.expires)),
            }
        }
        (here, noted)
    }

    /// Whether a call of this organisation that is journaled now can be given out as soon as it is: then it may be journaled
    /// as being sent. Each promise comes back by [`Self::admit`] or [`Self::withdraw`].
    pub(crate) fn promise(&self, origin: &SipDomain) -> bool {
        let mut state = self.state.lock();
        let spilled = state.flows.find(origin).is_some_and(|flow| flow.spill.is_active());
        state.turns.len() == 0 && !spilled && state.calls.promise()
    }

    /// Gives a promise back: its call was not journaled.
    pub(crate) fn withdraw(&self) {
        self.state.lock().calls.kept(1);
    }

    /// Puts pushes into memory, each at a place that was kept for it. Answers older ones whose place a newer one has taken.
    pub(crate) fn insert(&self, arrivals: Vec<Arrival>) -> Vec<Over<()>> {
        let mut coalesced = Vec::new();
        let mut state = self.state.lock();
        state.reserved -= arrivals.len();
        for arrival in arrivals {
            state.insert(arrival, &mut coalesced);
        }
        let waiting = state.waits();
        drop(state);
        if waiting {
            self.outlet.wake();
        }
        coalesced
    }

    /// Gives back places that were kept for pushes which have ended before they came.
    pub(crate) fn release(&self, flow: u32, places: usize) {
        let mut state = self.state.lock();
        state.reserved -= places;
        state.flows.at(flow).held -= places;
        state.flows.leave(flow);
    }

    /// Calls that are marked as being sent may go.
    pub(crate) fn marked(&self, keys: Vec<u64>) {
        let mut state = self.state.lock();
        state.calls.marked(keys.len());
        for key in keys {
            if let Some(slot) = state.shelf.find(key) {
                state.make_ready(slot);
            }
        }
        drop(state);
        self.outlet.wake();
    }

    /// Calls could not be marked, and wait until `at`.
    pub(crate) fn unmarked(&self, keys: Vec<u64>, at: Timestamp) {
        let mut state = self.state.lock();
        state.calls.marked(keys.len());
        for key in keys {
            if let Some(slot) = state.shelf.find(key) {
                state.put_off(slot, at);
            }
        }
    }

    /// Calls that are sent again wait for their time, or for their turn if that has come. Answers whether any waits for its
    /// time.
    pub(crate) fn resume(&self, held: Vec<(u64, Timestamp)>, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let before = state.put_off;
        for (key, at) in held {
            match state.shelf.find(key) {
                Some(slot) if at > now => state.put_off(slot, at),
                Some(slot) => state.enqueue(slot),
                None => {}
            }
        }
        let (waiting, put_off) = (state.waits(), state.put_off != before);
        drop(state);
        if waiting {
            self.outlet.wake();
        }
        put_off
    }

    /// Takes answers: `judge` says what each means.
    pub(crate) fn settle<T>(
        &self,
        outcomes: Vec<Outcome>,
        mut judge: impl FnMut(&SipDomain, &Entry, &Outcome) -> Fate<T>,
    ) -> Settled<T> {
        let over = Vec::with_capacity(outcomes.len());
        let (coalesced, again, held) = (Vec::new(), Vec::new(), Vec::new());
        let mut settled = Settled { over, coalesced, again, held, is_put_off: false };
        let mut state = self.state.lock();
        let before = state.put_off;
        for outcome in outcomes {
            state.settle(&outcome, &mut judge, &mut settled);
        }
        settled.is_put_off = state.put_off != before;
        let waiting = state.waits();
        drop(state);
        if waiting {
            self.outlet.wake();
        }
        settled
    }

    /// Lets go of pushes whose end is on disk. Answers whether some of those on disk may be read back now.
    pub(crate) fn forget(&self, keys: impl IntoIterator<Item = u64>) -> bool {
        let mut state = self.state.lock();
        let mut wanted = false;
        for key in keys {
            let Some(entry) = state.shelf.find(key).and_then(|slot| state.shelf.remove(slot)) else { continue };
            let flow = state.flows.at(entry.flow);
            flow.held -= 1;
            wanted |= flow.spill.len() > 0;
            state.flows.leave(entry.flow);
        }
        wanted
    }

    /// Has pushes go again whose time has come. Answers when the next is due.
    pub(crate) fn send_due(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.state.lock();
        while let Some((at, key)) = state.due.due(now) {
            let Some(slot) = state.shelf.find(key) else { continue };
            if state.shelf.look(slot).is_some_and(|entry| entry.place == Place::Later(at)) {
                state.enqueue(slot);
            }
        }
        let next = state.due.next();
        let waiting = state.waits();
        drop(state);
        if waiting {
            self.outlet.wake();
        }
        next
    }

    /// Takes out pushes that were not given out since their tokens are dead, with since when.
    pub(crate) fn condemned(&self) -> Vec<Over<Timestamp>> {
        std::mem::take(&mut self.state.lock().condemned)
    }

    /// Takes out pushes that have ended while they waited. Answers when the next one may.
    pub(crate) fn expire(&self, now: Timestamp) -> (Vec<Over<()>>, Option<Timestamp>) {
        let (mut over, mut marking) = (Vec::new(), Vec::new());
        let mut state = self.state.lock();
        while let Some((_, key)) = state.expiries.due(now) {
            let Some(slot) = state.shelf.find(key) else { continue };
            match state.shelf.look(slot) {
                Some(entry) if entry.push.expires > now => {}
                Some(entry) if entry.place.is_queued() => over.extend(state.over(slot, ())),
                Some(entry) if entry.place == Place::Marking => marking.push(key),
                _ => {}
            }
        }
        let live = state.shelf.len();
        marking.into_iter().for_each(|key| state.expiries.set(now.plus(MARKING), key, live, |_, _| true));
        (over, state.expiries.next())
    }

    /// Wakes a connection if anything waits: it may have been away when it was called.
    pub(crate) fn nudge(&self) {
        if self.state.lock().waits() {
            self.outlet.wake();
        }
    }

    /// What is to be read back from disk next, with its flow; places are kept for all of it.
    pub(crate) fn next_chunk(&self, most: usize) -> Option<(u32, Vec<Stretch>)> {
        self.state.lock().next_chunk(most)
    }

    /// What was read back is in memory, or over: newer ones may follow. With `unread` it could not be read.
    pub(crate) fn chunk_done(&self, flow: u32, kept: usize, unread: Option<Vec<Stretch>>) {
        let mut state = self.state.lock();
        let spill = &mut state.flows.at(flow).spill;
        spill.reading = false;
        if let Some(stretches) = unread {
            spill.put_back(stretches);
        }
        state.reserved -= kept;
        state.flows.at(flow).held -= kept;
        state.flows.leave(flow);
    }

    /// Notes what a scan of the journal has found of an organisation, up to `noted_max` stretches. Of this life that is
    /// only what was left to a scan which begins there or before. Answers how many stretches that has added.
    pub(crate) fn found(&self, origin: &SipDomain, stretch: Stretch, scan: &Scan, noted_max: usize) -> usize {
        let mut state = self.state.lock();
        let flow = state.flows.of(origin);
        let spill = &mut state.flows.at(flow).spill;
        let before = spill.stretches();
        let stretch = match spill.beyond {
            _ if scan.is_former(&stretch) => stretch,
            Some(beyond) if scan.begins_before(beyond) => stretch.since(beyond),
            Some(_) | None => stretch.since(u64::MAX),
        };
        if !stretch.is_empty() && !spill.is_full {
            if before < noted_max {
                spill.add_stretch(stretch);
            } else {
                // The rest is found when these have been read back.
                spill.is_full = true;
                spill.beyond = stretch.numbers().next();
            }
        }
        let noted = spill.stretches() - before;
        state.flows.leave(flow);
        noted
    }

    /// A scan has seen everything: what is on disk is noted, as far as there was room for it.
    pub(crate) fn scanned(&self, scan: &Scan) {
        let mut state = self.state.lock();
        let numbers: Vec<u32> = state.flows.iter().map(|(number, _)| number).collect();
        for number in numbers {
            let spill = &mut state.flows.at(number).spill;
            if !std::mem::take(&mut spill.is_full) {
                spill.beyond.take_if(|beyond| scan.begins_before(*beyond));
            }
            state.flows.leave(number);
        }
    }

    /// From which number on the journal is to be looked through again: an organisation has more on disk than is noted,
    /// and of that nothing is left.
    pub(crate) fn wants_scan(&self) -> Option<u64> {
        let state = self.state.lock();
        let empty = state.flows.iter().filter(|(_, flow)| flow.spill.len() == 0);
        empty.filter_map(|(_, flow)| flow.spill.beyond).min()
    }

    /// Stretches on disk in which a push has ended by now, with their flows.
    pub(crate) fn ended_on_disk(&self, now: Timestamp, most: usize) -> Vec<(SipDomain, Vec<Stretch>)> {
        let state = self.state.lock();
        let ended = state.flows.iter().map(|(_, flow)| (flow.origin.clone(), flow.spill.ended(now, most)));
        ended.filter(|(_, stretches)| !stretches.is_empty()).take(1).collect()
    }

    /// Leaves on disk what is `left` of each stretch.
    pub(crate) fn prune(&self, origin: &SipDomain, stretches: &[(Stretch, Option<Stretch>)]) {
        let mut state = self.state.lock();
        let flow = state.flows.of(origin);
        let spill = &mut state.flows.at(flow).spill;
        for (stretch, left) in stretches {
            spill.prune(stretch, *left);
        }
        spill.look_for_soonest();
        state.flows.leave(flow);
    }

    /// How many pushes are in memory, and whether any is on disk only.
    pub(crate) fn load(&self) -> (usize, bool) {
        let state = self.state.lock();
        (state.shelf.len() + state.reserved, state.flows.iter().any(|(_, flow)| flow.spill.is_active()))
    }

    /// How many pushes of one organisation are in memory, or noted as being on disk.
    pub(crate) fn open_of(&self, origin: &SipDomain) -> usize {
        self.state.lock().flows.find(origin).map_or(0, |flow| flow.held + flow.spill.len())
    }

    /// How many stretches are noted.
    pub(crate) fn stretches(&self) -> usize {
        self.state.lock().flows.iter().map(|(_, flow)| flow.spill.stretches()).sum()
    }

    /// What lies here, for people.
    pub(crate) fn shown(&self) -> LaneLoad {
        let state = self.state.lock();
        let waits = |flow: &Flow| flow.held - flow.under_way + flow.spill.len();
        let noisiest = state.flows.iter().map(|(_, flow)| (waits(flow), &flow.origin)).max_by_key(|(waits, _)| *waits);
        LaneLoad {
            key: self.key.clone(),
            flows: state.flows.len(),
            waiting: state.shelf.len() - state.under_way,
            under_way: state.under_way,
            on_disk: state.flows.iter().map(|(_, flow)| flow.spill.len()).sum(),
            noisiest: noisiest.filter(|(waits, _)| *waits > 0).map(|(waits, origin)| (origin.clone(), waits)),
        }
    }
}

/// Where the connections of a lane come for pushes. The lane holds them, and not they the lane.
struct Door(Weak<Lane>);

impl Supply for Door {
    fn take(&self, room: usize, give: &mut dyn FnMut(Arc<Notification>)) -> bool {
        let dead = |lane: &Lane, origin: &SipDomain, entry: &Entry| {
            lane.court.dead(origin, &lane.key.app, &entry.push.token, entry.registered)
        };
        let Some(lane) = self.0.upgrade() else { return false };
        let (more, marks) = lane.state.lock().take(room, |it, entry| dead(&lane, it, entry), give);
        if !marks.is_empty()
            && let Some(dispatch) = lane.dispatch.upgrade()
        {
            dispatch.mark_calls(&lane, marks);
        }
        more
    }
}

impl State {
    /// Gives connections what they have room for. A push whose token is `dead` by now stays, and ends. Answers whether more
    /// wait, and which calls are to be marked for the room that is left.
    fn take(
        &mut self,
        room: usize,
        dead: impl Fn(&SipDomain, &Entry) -> Option<Timestamp>,
        give: &mut dyn FnMut(Arc<Notification>),
    ) -> (bool, Vec<Mark>) {
        let mut given = 0;
        for _ in 0..room {
            let next = match self.channel {
                Channel::Message => self.turns.pop(),
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
            entry.place = Place::UnderWay;
            self.under_way += 1;
            self.flows.at(entry.flow).under_way += 1;
            given += 1;
            give(Arc::clone(&entry.push));
        }
        let marks = match self.channel {
            Channel::Message => Vec::new(),
            Channel::Voip => self.next_marks(room - given),
        };
        let waits = self.waits();
        self.calls.came(if waits { 0 } else { room - given - marks.len() });
        (waits, marks)
    }

    /// The calls whose turn it is, as many as a connection has room for: they are about to be sent.
    fn next_marks(&mut self, room: usize) -> Vec<Mark> {
        let (most, mut marks) = (self.calls.markable(room), Vec::new());
        while marks.len() < most
            && let Some((slot, ticket)) = self.turns.pop()
        {
            if let Some(entry) = self.shelf.at(slot).filter(|entry| entry.waits_with(ticket)) {
                entry.place = Place::Marking;
                marks.push((entry.push.key, entry.seq));
            }
        }
        self.calls.mark(marks.len());
        marks
    }

    /// Whether anything waits for a connection.
    fn waits(&self) -> bool {
        self.turns.len() > 0 || self.calls.are_ready()
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

    fn admits(&self, flow: u32) -> bool {
        let flow = self.flows.look(flow);
        !flow.spill.is_active() && flow.held < self.share()
    }

    fn reserve(&mut self, flow: u32, places: usize) {
        self.reserved += places;
        self.flows.at(flow).held += places;
    }

    fn insert(&mut self, arrival: Arrival, coalesced: &mut Vec<Over<()>>) {
        let Arrival { flow, seq, registered, attempt, push, due, sending } = arrival;
        let expires = push.expires;
        let (device, likeness) = self.likeness(flow, &push);
        let older = self.older(likeness, flow, &push);
        let last = self.last(device, flow, &push);
        let make = |key| {
            let push = Arc::new(Notification { key, ..push });
            let (place, ticket, superseded, before, after) = (Place::Marking, 0, false, None, None);
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
                    Channel::Voip if sending => self.make_ready(slot),
                    Channel::Message if last.is_some() => self.follow(slot, last),
                    Channel::Message | Channel::Voip => self.begin(slot),
                }
                if device != 0 {
                    self.devices.insert(device, slot);
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
        match self.shelf.at(slot).and_then(|entry| entry.due.take()) {
            Some(at) => self.put_off(slot, at),
            None => self.enqueue(slot),
        }
    }

    /// A call is marked as being sent: the next connection may have it.
    fn make_ready(&mut self, slot: u32) {
        let Some(entry) = self.shelf.at(slot) else { return };
        self.tickets = self.tickets.wrapping_add(1);
        (entry.place, entry.ticket) = (Place::Waiting, self.tickets);
        self.calls.push((slot, self.tickets));
    }

    fn enqueue(&mut self, slot: u32) {
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

    fn put_off(&mut self, slot: u32, at: Timestamp) {
        let Some(entry) = self.shelf.at(slot) else { return };
        entry.place = Place::Later(at);
        self.put_off = self.put_off.wrapping_add(1);
        let (live, key, shelf) = (self.shelf.len(), self.shelf.key(slot), &self.shelf);
        let is_live = |at, key| {
            shelf.find(key).and_then(|slot| shelf.look(slot)).is_some_and(|entry| entry.place == Place::Later(at))
        };
        self.due.set(at, key, live, is_live);
    }

    fn settle<T>(
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
                    Channel::Message => self.put_off(slot, at),
                    Channel::Voip => {
                        entry.place = Place::Marking;
                        settled.held.push((outcome.key, at));
                    }
                }
            }
            // Sent again it would overtake the newer one.
            Fate::Again(_) => settled.coalesced.extend(self.over(slot, ())),
            Fate::Over(how) => settled.over.extend(self.over(slot, how)),
        }
    }

    /// A push is over: it stays until that is on disk, and the next one to its device goes on.
    fn over<T>(&mut self, slot: u32, how: T) -> Option<Over<T>> {
        let key = self.shelf.key(slot);
        let entry = self.shelf.at(slot)?;
        // A place in a line is found empty when its turn comes; one that is filled again meanwhile has another ticket.
        entry.place = Place::Ending;
        let (seq, push, likeness, device) = (entry.seq, Arc::clone(&entry.push), entry.likeness, entry.device);
        let (before, after) = (entry.before.take(), entry.after.take());
        if likeness != 0 && self.newest.get(&likeness) == Some(&slot) {
            self.newest.remove(&likeness);
        }
        if device != 0 {
            self.leave_device(slot, device, before, after);
        }
        Some(Over { key: Some(key), seq, push, how })
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
            (None, Some(next)) => self.begin(next),
            (_, None) if self.devices.get(&device) != Some(&slot) => {}
            (Some(last), None) => drop(self.devices.insert(device, last)),
            (None, None) => drop(self.devices.remove(&device)),
            (Some(_), Some(_)) => {}
        }
    }

    /// What pushes to one device have in common, and those of them of which a newer one replaces an older: by
    /// organisation, token and collapse key. 0 is nothing.
    fn likeness(&self, flow: u32, push: &Notification) -> (u64, u64) {
        if push.channel == Channel::Voip {
            return (0, 0);
        }
        let device = self.hasher.hash_one((flow, push.token.expose())).max(1);
        let likeness = push.collapse.as_ref().map_or(0, |collapse| self.hasher.hash_one((device, collapse)).max(1));
        (device, likeness)
    }

    fn next_chunk(&mut self, most: usize) -> Option<(u32, Vec<Stretch>)> {
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

/// So many empty places in the lines are never swept out.
const SLACK: usize = 256;

/// When a call is looked at again that has ended while that it is sent was written down.
const MARKING: std::time::Duration = std::time::Duration::from_secs(1);

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
