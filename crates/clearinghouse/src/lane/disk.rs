//! What a lane knows of its pushes that are on disk only: which are read back next, and which have ended there.

use reveille_core::{SipDomain, Timestamp};
use reveille_store::Stretch;

use super::Lane;
use crate::replay::Scan;

impl Lane {
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

    /// How many stretches are noted.
    pub(crate) fn stretches(&self) -> usize {
        self.state.lock().flows.iter().map(|(_, flow)| flow.spill.stretches()).sum()
    }
}
