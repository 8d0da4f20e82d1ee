//! One lane: the open pushes of one app on one channel, by organisations, and whose turn it is.
//!
//! A bounded window of them is in memory, shared so that each organisation has at least a few places; what an
//! organisation has beyond that waits in the journal, and only its own newer pushes wait behind it. A connection that
//! has room asks for pushes and gets them in turns of the organisations ([`crate::turns`]). Everything here is under one
//! lock of the lane, taken once for each batch.

mod calls;
mod disk;
mod flows;
mod shelf;
mod spill;
mod state;

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use reveille_core::{Channel, LaneKey, SipDomain, Timestamp};
use reveille_providers::{Demand, Notification, Outcome, Room, Supply};

use self::calls::Calls;
use self::flows::{Flow, Flows};
pub(crate) use self::shelf::{Entry, lane_of};
use self::shelf::{Place, Shelf};
use self::state::State;
use crate::alarms::Alarms;
use crate::court::Court;
use crate::dispatch::{Dispatch, Fresh, Outlet};
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
        let demand = state.demand();
        drop(state);
        self.outlet.wake(demand);
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
        let demand = state.demand();
        drop(state);
        self.outlet.wake(demand);
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
        let (demand, put_off) = (state.demand(), state.put_off != before);
        drop(state);
        self.outlet.wake(demand);
        put_off
    }

    /// The calls that are on disk as being sent though no connection has had them since, with how often each was tried.
    pub(crate) fn marked_in_vain(&self) -> Vec<(u64, u32)> {
        self.state.lock().marked_in_vain()
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
        let demand = state.demand();
        drop(state);
        self.outlet.wake(demand);
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
        let demand = state.demand();
        drop(state);
        self.outlet.wake(demand);
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
        let demand = self.state.lock().demand();
        self.outlet.wake(demand);
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
    fn take(&self, room: Room, give: &mut dyn FnMut(Arc<Notification>)) -> Demand {
        let dead = |lane: &Lane, origin: &SipDomain, entry: &Entry| {
            lane.court.dead(origin, &lane.key.app, &entry.push.token, entry.registered)
        };
        let Some(lane) = self.0.upgrade() else { return Demand::None };
        let (demand, marks) = lane.state.lock().take(room, |it, entry| dead(&lane, it, entry), give);
        if !marks.is_empty()
            && let Some(dispatch) = lane.dispatch.upgrade()
        {
            dispatch.mark_calls(&lane, marks);
        }
        demand
    }
}

/// When a call is looked at again that has ended while that it is sent was written down.
const MARKING: std::time::Duration = std::time::Duration::from_secs(1);
