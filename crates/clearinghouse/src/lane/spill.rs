//! What one flow has on disk only: which pushes, in order, and when the first of them ends.

use std::collections::VecDeque;

use reveille_core::Timestamp;
use reveille_store::Stretch;

/// The pushes of a flow that wait on disk.
#[derive(Debug)]
pub(super) struct Spill {
    stretches: VecDeque<Stretch>,
    pushes: usize,
    /// No push here ends before.
    soonest: Timestamp,
    /// From this number on nothing is noted here: the scan of the journal will find it.
    pub(super) beyond: Option<u64>,
    /// Whether the scan has found more than may be noted.
    pub(super) is_full: bool,
    /// Whether some are being read back at the moment.
    pub(super) reading: bool,
}

impl Spill {
    pub(super) const fn new() -> Self {
        Self { stretches: VecDeque::new(), pushes: 0, soonest: NEVER, beyond: None, is_full: false, reading: false }
    }

    /// Whether a newer push must wait on disk too, to keep its place.
    pub(super) const fn is_active(&self) -> bool {
        self.pushes > 0 || self.beyond.is_some() || self.reading
    }

    /// How many are known to wait.
    pub(super) const fn len(&self) -> usize {
        self.pushes
    }

    /// How many stretches they take.
    pub(super) fn stretches(&self) -> usize {
        self.stretches.len()
    }

    /// Notes one that is newer than all before. Answers whether that took another stretch.
    pub(super) fn add(&mut self, seq: u64, expires: Timestamp) -> bool {
        self.pushes += 1;
        self.soonest = self.soonest.min(expires);
        match self.stretches.back_mut() {
            Some(last) if last.reaches(seq) => {
                last.add(seq, expires);
                false
            }
            _ => {
                self.stretches.push_back(Stretch::of(seq, expires));
                true
            }
        }
    }

    /// Notes a stretch that is newer than all before.
    pub(super) fn add_stretch(&mut self, stretch: Stretch) {
        for seq in stretch.numbers() {
            self.add(seq, stretch.soonest);
        }
    }

    /// Takes out the oldest, `most` of them at the most.
    pub(super) fn take(&mut self, mut most: usize) -> Vec<Stretch> {
        let mut taken = Vec::new();
        while most > 0 {
            let Some(first) = self.stretches.front_mut() else { break };
            if first.len() <= most {
                (most, self.pushes) = (most - first.len(), self.pushes - first.len());
                taken.extend(self.stretches.pop_front());
            } else {
                self.pushes -= most;
                taken.push(first.split(most));
                most = 0;
            }
        }
        self.rest();
        taken
    }

    /// Puts back what was taken and could not be read.
    pub(super) fn put_back(&mut self, taken: Vec<Stretch>) {
        for stretch in taken.into_iter().rev() {
            self.pushes += stretch.len();
            self.soonest = self.soonest.min(stretch.soonest);
            self.stretches.push_front(stretch);
        }
    }

    /// Those, `most` at the most, that hold one which has ended by now.
    pub(super) fn ended(&self, now: Timestamp, most: usize) -> Vec<Stretch> {
        if self.soonest > now {
            return Vec::new();
        }
        self.stretches.iter().filter(|stretch| stretch.soonest <= now).take(most).copied().collect()
    }

    /// Leaves of a stretch what `left` holds: the others have ended.
    pub(super) fn prune(&mut self, first: &Stretch, left: Option<Stretch>) {
        // It may have been split or read back meanwhile: what is no longer here is nobody's to leave out.
        let at = self.stretches.partition_point(|stretch| stretch.is_before(first));
        if let Some(stretch) = self.stretches.get_mut(at).filter(|stretch| stretch.is_same_place(first)) {
            let before = stretch.len();
            match left.and_then(|left| stretch.common(&left)) {
                Some(left) => {
                    self.pushes -= before - left.len();
                    *stretch = left;
                }
                None => {
                    self.pushes -= before;
                    self.stretches.remove(at);
                }
            }
        }
    }

    /// Looks anew when the first of them ends.
    pub(super) fn look_for_soonest(&mut self) {
        self.soonest = self.stretches.iter().map(|stretch| stretch.soonest).min().unwrap_or(NEVER);
    }

    fn rest(&mut self) {
        if self.stretches.is_empty() {
            // A flood makes it grow; it shall not stay so.
            (self.stretches, self.soonest) = (VecDeque::new(), NEVER);
        }
    }
}

const NEVER: Timestamp = Timestamp::from_millis(u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn numbers(stretches: &[Stretch]) -> Vec<u64> {
        stretches.iter().flat_map(Stretch::numbers).collect()
    }

    #[test]
    fn what_is_noted_comes_out_in_order_and_as_much_as_was_asked_for() {
        let mut spill = Spill::new();
        let noted: Vec<u64> = (64..1000).filter(|seq| seq % 3 != 0).collect();
        let grown = noted.iter().filter(|seq| spill.add(**seq, at(9))).count();
        assert_eq!((spill.len(), spill.stretches(), grown), (noted.len(), 15, 15));
        let mut read = Vec::new();
        for most in [1, 41, 42, 43, 100, 5, 1000] {
            let taken = spill.take(most);
            assert!(taken.iter().map(Stretch::len).sum::<usize>() <= most);
            if most == 43 {
                spill.put_back(taken);
            } else {
                read.extend(numbers(&taken));
            }
        }
        assert_eq!((read, spill.len(), spill.is_active()), (noted, 0, false));
    }

    #[test]
    fn what_has_ended_is_found_and_leaves_the_others_in_their_places() {
        let mut spill = Spill::new();
        for seq in 64..64 * 5 {
            spill.add(seq, at(if seq == 70 || seq == 200 { 5 } else { 50 }));
        }
        assert_eq!(spill.ended(at(4), 9), []);
        let found = spill.ended(at(5), 9);
        assert_eq!(found.iter().map(Stretch::len).collect::<Vec<_>>(), [64, 64]);
        for stretch in &found {
            let mut left: Option<Stretch> = None;
            for seq in stretch.numbers().filter(|seq| *seq != 70 && *seq != 200) {
                match &mut left {
                    Some(left) => left.add(seq, at(50)),
                    none => *none = Some(Stretch::of(seq, at(50))),
                }
            }
            spill.prune(stretch, left);
        }
        spill.look_for_soonest();
        assert_eq!((spill.len(), spill.ended(at(49), 9)), (64 * 4 - 2, vec![]));
        let all = numbers(&spill.take(1000));
        assert!(all.is_sorted() && !all.contains(&70) && !all.contains(&200), "{all:?}");
    }

    #[test]
    fn a_stretch_that_was_read_back_meanwhile_is_not_pruned() {
        let mut spill = Spill::new();
        assert_eq!((64..192).filter(|seq| spill.add(*seq, at(5))).count(), 2);
        let found = spill.ended(at(5), 9);
        assert_eq!(numbers(&spill.take(100)).len(), 100);
        spill.prune(&found[0], None);
        // Of the second one 28 are left, and of these one stays.
        spill.prune(&found[1], Some(Stretch::of(191, at(9))));
        assert_eq!((numbers(&spill.take(9)), spill.len()), (vec![191], 0));
    }
}
