//! Whose turn it is: deficit round robin (Shreedhar and Varghese, SIGCOMM 1995) between the flows of a lane.
//!
//! Each flow is a line of its own, first come, first served. Those that are not empty stand in a ring; who has his turn
//! is given a quantum and is served as long as it lasts. What is left of it counts at the next turn, unless the line
//! ran empty: nobody saves up by sending nothing.

use std::collections::VecDeque;

/// What a turn is worth: one of the largest pushes, or eight usual ones.
pub(crate) const QUANTUM: u32 = 4096;

/// Lines by the numbers of their flows.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    lines: Vec<Line<T>>,
    /// Flows whose line is not empty; the one in front has its turn.
    ring: VecDeque<u32>,
    len: usize,
}

#[derive(Debug)]
struct Line<T> {
    waiting: VecDeque<(u32, T)>,
    deficit: u32,
    /// Whether its turn has begun, and the quantum has been given.
    served: bool,
}

impl<T> Turns<T> {
    /// Nobody waits.
    pub(crate) const fn new() -> Self {
        Self { lines: Vec::new(), ring: VecDeque::new(), len: 0 }
    }

    /// How many wait, in all lines.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Puts something at the end of its flow's line. `cost` is what it takes of a turn; more than a whole one is taken
    /// for one. Flow numbers are small: there is a line for each up to the largest.
    pub(crate) fn push(&mut self, flow: u32, cost: u32, item: T) {
        let index = flow as usize;
        if index >= self.lines.len() {
            self.lines.resize_with(index + 1, Line::new);
        }
        let line = &mut self.lines[index];
        if line.waiting.is_empty() {
            self.ring.push_back(flow);
        }
        line.waiting.push_back((cost.clamp(1, QUANTUM), item));
        self.len += 1;
    }

    /// Takes out of all lines what need not wait any more.
    pub(crate) fn sweep(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for line in &mut self.lines {
            line.waiting.retain(|(_, item)| keep(item));
            if line.waiting.is_empty() {
                line.rest();
            }
        }
        self.ring.retain(|flow| !self.lines[*flow as usize].waiting.is_empty());
        self.len = self.lines.iter().map(|line| line.waiting.len()).sum();
    }

    /// Takes out whoever is next.
    pub(crate) fn pop(&mut self) -> Option<T> {
        // No cost is greater than a quantum, so that nobody is passed over twice.
        loop {
            let &flow = self.ring.front()?;
            let line = &mut self.lines[flow as usize];
            if !line.served {
                (line.served, line.deficit) = (true, line.deficit + QUANTUM);
            }
            match line.waiting.front() {
                Some((cost, _)) if *cost <= line.deficit => {
                    line.deficit -= cost;
                    let (_, item) = line.waiting.pop_front()?;
                    self.len -= 1;
                    if line.waiting.is_empty() {
                        line.rest();
                        self.ring.pop_front();
                    }
                    return Some(item);
                }
                _ => {
                    line.served = false;
                    self.ring.rotate_left(1);
                }
            }
        }
    }
}

impl<T> Turns<T> {
    /// Takes out what is next of those flows that are `chosen`, while others wait on: out of the turn that they have, so that
    /// in the end nobody is served more for it.
    pub(crate) fn pop_of(&mut self, chosen: impl Fn(u32) -> bool) -> Option<T> {
        let place = self.place_of(chosen)?;
        let line = &mut self.lines[self.ring[place] as usize];
        if !line.served {
            (line.served, line.deficit) = (true, line.deficit + QUANTUM);
        }
        let (cost, item) = line.waiting.pop_front()?;
        line.deficit -= cost;
        self.len -= 1;
        if line.waiting.is_empty() {
            line.rest();
            self.ring.remove(place);
        }
        Some(item)
    }

    /// Whether [`Self::pop_of`] would find something.
    pub(crate) fn has(&self, chosen: impl Fn(u32) -> bool) -> bool {
        self.place_of(chosen).is_some()
    }

    fn place_of(&self, chosen: impl Fn(u32) -> bool) -> Option<usize> {
        self.ring.iter().position(|&flow| chosen(flow) && self.lines[flow as usize].may_go())
    }
}

impl<T> Line<T> {
    /// Whether its first one has its turn, or would have it now.
    fn may_go(&self) -> bool {
        let deficit = if self.served { self.deficit } else { self.deficit + QUANTUM };
        self.waiting.front().is_some_and(|(cost, _)| *cost <= deficit)
    }

    const fn new() -> Self {
        Self { waiting: VecDeque::new(), deficit: 0, served: false }
    }

    /// An empty line keeps no deficit, and gives back what a flood has made it grow to.
    fn rest(&mut self) {
        (self.deficit, self.served) = (0, false);
        if self.waiting.capacity() > KEPT {
            self.waiting = VecDeque::new();
        }
    }
}

/// An empty line may keep room for so many.
const KEPT: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of these lines, each given as flow, cost and how many; items are (flow, number in the flow).
    fn order(lines: &[(u32, u32, u32)]) -> Vec<(u32, u32)> {
        let mut turns = Turns::new();
        for &(flow, cost, count) in lines {
            (0..count).for_each(|number| turns.push(flow, cost, (flow, number)));
        }
        std::iter::from_fn(|| turns.pop()).collect()
    }

    fn flows(order: &[(u32, u32)]) -> Vec<u32> {
        order.iter().map(|(flow, _)| *flow).collect()
    }

    #[test]
    fn a_flow_is_served_for_a_quantum_and_then_it_is_the_others_turn() {
        let half = QUANTUM / 2;
        for (lines, expected) in [
            (&[(0, half, 4), (1, half, 2)][..], vec![0, 0, 1, 1, 0, 0]),
            (&[(1, QUANTUM, 3), (0, QUANTUM, 1)], vec![1, 0, 1, 1]),
            // What is left of a turn is too little for a second, and makes none of the next.
            (&[(0, QUANTUM / 4 * 3, 3), (1, QUANTUM, 2)], vec![0, 1, 0, 1, 0]),
            // What is left of a turn counts at the next: 5/8 each, one in the first turn, two in the second.
            (&[(0, QUANTUM / 8 * 5, 3), (1, QUANTUM, 3)], vec![0, 1, 0, 0, 1, 1]),
            (&[(0, 3 * QUANTUM, 2), (1, 1, 2)], vec![0, 1, 1, 0]),
            (&[], vec![]),
        ] {
            assert_eq!(flows(&order(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn an_empty_flow_keeps_no_deficit() {
        let mut turns = Turns::new();
        turns.push(0, 1, 0);
        turns.push(1, QUANTUM, 1);
        turns.push(1, QUANTUM, 1);
        assert_eq!((turns.pop(), turns.len()), (Some(0), 2));
        // It left nearly a whole quantum behind; with it, this pair would go in one turn.
        turns.push(0, QUANTUM, 0);
        turns.push(0, QUANTUM, 0);
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, [1, 0, 1, 0]);
    }

    #[test]
    fn who_comes_late_waits_for_one_turn_of_each_other_and_no_longer() {
        let mut turns = Turns::new();
        for flow in 0..10 {
            (0..10_000).for_each(|_| turns.push(flow, 1024, flow));
        }
        (0..777).for_each(|_| assert!(turns.pop().is_some()));
        turns.push(10, 1024, 10);
        let before = std::iter::from_fn(|| turns.pop()).take_while(|flow| *flow != 10).count();
        assert!(before <= 10 * (QUANTUM / 1024) as usize, "{before} went before");
    }

    #[test]
    fn what_is_swept_out_leaves_the_turns_of_the_others_as_they_were() {
        let mut turns = Turns::new();
        for flow in 0..3 {
            (0..4).for_each(|number| turns.push(flow, QUANTUM, (flow, number)));
        }
        turns.sweep(|(flow, number)| *flow != 1 && number % 2 == 0);
        assert_eq!(turns.len(), 4);
        turns.push(1, 1, (1, 9));
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(order, [(0, 0), (2, 0), (1, 9), (0, 2), (2, 2)]);
    }

    #[test]
    fn who_is_let_through_uses_up_his_own_turn_and_the_others_keep_theirs() {
        let half = QUANTUM / 2;
        let mut turns = Turns::new();
        for (flow, count) in [(0, 5), (1, 4), (2, 5)] {
            (0..count).for_each(|number| turns.push(flow, half, (flow, number)));
        }
        assert_eq!(turns.pop(), Some((0, 0)), "flow 0 has its turn");
        assert_eq!(turns.pop_of(|flow| flow == 1), Some((1, 0)));
        assert_eq!(turns.pop_of(|flow| flow == 1), Some((1, 1)));
        assert!(!turns.has(|flow| flow == 1), "its turn is used up");
        assert_eq!((turns.pop_of(|flow| flow == 1), turns.len()), (None, 11));
        let order: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(flows(&order), [0, 2, 2, 0, 0, 1, 1, 2, 2, 0, 2]);
        turns.push(3, 1, (3, 0));
        assert_eq!((turns.pop_of(|flow| flow == 3), turns.len(), turns.ring.len()), (Some((3, 0)), 0, 0));
    }

    /// Numbers that look random and are the same in every run.
    struct Dice(u64);

    impl Dice {
        const fn roll(&mut self, sides: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % sides
        }
    }

    #[test]
    fn whatever_comes_in_whatever_order_shares_are_equal_order_is_kept_and_nothing_is_lost() {
        for seed in 0..40 {
            let mut dice = Dice(seed);
            let (mut turns, mut sent, mut served) = (Turns::new(), [0_u64; 7], [0_u64; 7]);
            let (mut next, mut work) = ([0_u64; 7], [0_u64; 7]);
            let floods = 1 + dice.roll(6) as usize;
            // All floods are there from the beginning, and the others come and go.
            for (flow, sent) in sent[..floods].iter_mut().enumerate() {
                for number in 0..3000 {
                    let cost = 200 + dice.roll(3000) as u32;
                    turns.push(flow as u32, cost, (flow, number, cost));
                }
                *sent = 3000;
            }
            for _ in 0..2000 {
                if dice.roll(9) == 0 {
                    let flow = floods.max(dice.roll(7) as usize);
                    turns.push(flow as u32, 300, (flow, sent[flow], 300));
                    sent[flow] += 1;
                }
                let (flow, number, cost) = turns.pop().expect("the floods last longer");
                assert_eq!(number, next[flow], "seed {seed}: the order in a flow is kept");
                (next[flow], work[flow], served[flow]) = (number + 1, work[flow] + u64::from(cost), served[flow] + 1);
            }
            let (least, most) =
                work[..floods].iter().fold((u64::MAX, 0), |(least, most), work| (least.min(*work), most.max(*work)));
            assert!(most - least <= 2 * u64::from(QUANTUM), "seed {seed}: {work:?} of {floods} floods");
            let left = std::iter::from_fn(|| turns.pop()).count() as u64;
            assert_eq!(served.iter().sum::<u64>() + left, sent.iter().sum::<u64>(), "seed {seed}: nothing is lost");
            assert_eq!((turns.len(), turns.ring.len()), (0, 0));
        }
    }
}
