//! The flows of a lane: one for each organisation that has open pushes in it.

use std::collections::HashMap;

use reveille_core::SipDomain;

use super::spill::Spill;

/// What one organisation has in one lane.
pub(super) struct Flow {
    pub(super) origin: SipDomain,
    /// Pushes in memory, and places that are kept for some that come.
    pub(super) held: usize,
    /// Pushes that a connection has.
    pub(super) under_way: usize,
    pub(super) spill: Spill,
}

/// Who has fewer pushes under way in one lane is never made to wait until a flood's have been answered.
const QUIET: usize = 8;

/// Flows by their numbers, which are small and are used again.
pub(super) struct Flows {
    known: Vec<Option<Flow>>,
    free: Vec<u32>,
    numbers: HashMap<SipDomain, u32>,
    /// The one that was looked up last: pushes of one organisation come together.
    last: Option<(SipDomain, u32)>,
}

impl Flows {
    pub(super) fn new() -> Self {
        Self { known: Vec::new(), free: Vec::new(), numbers: HashMap::new(), last: None }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// An organisation's flow, if it has one.
    pub(super) fn find(&self, origin: &SipDomain) -> Option<&Flow> {
        self.known[*self.numbers.get(origin)? as usize].as_ref()
    }

    /// The number of an organisation's flow, which is made if there is none.
    pub(super) fn of(&mut self, origin: &SipDomain) -> u32 {
        if let Some((last, number)) = &self.last
            && last == origin
        {
            return *number;
        }
        let number = self.numbers.get(origin).copied().unwrap_or_else(|| {
            let flow = Flow { origin: origin.clone(), held: 0, under_way: 0, spill: Spill::new() };
            let number = match self.free.pop() {
                Some(number) => number,
                None => {
                    self.known.push(None);
                    u32::try_from(self.known.len() - 1).expect("there are fewer organisations")
                }
            };
            self.known[number as usize] = Some(flow);
            self.numbers.insert(origin.clone(), number);
            number
        });
        self.last = Some((origin.clone(), number));
        number
    }

    pub(super) fn at(&mut self, number: u32) -> &mut Flow {
        self.known[number as usize].as_mut().expect("a flow is kept while it has pushes")
    }

    pub(super) fn look(&self, number: u32) -> &Flow {
        self.known[number as usize].as_ref().expect("a flow is kept while it has pushes")
    }

    /// Whether a flow has so little under way that a place which is kept is for it. So has one that is gone: what it has left
    /// in a line is cleared away then.
    pub(super) fn is_quiet(&self, number: u32) -> bool {
        self.known[number as usize].as_ref().is_none_or(|flow| flow.under_way < QUIET)
    }

    /// All, with their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Flow)> {
        (0..).zip(&self.known).filter_map(|(number, flow)| Some((number, flow.as_ref()?)))
    }

    /// Forgets a flow that has nothing any more.
    pub(super) fn leave(&mut self, number: u32) {
        let flow = self.look(number);
        if flow.held > 0 || flow.spill.is_active() {
            return;
        }
        if let Some(flow) = self.known[number as usize].take() {
            self.numbers.remove(&flow.origin);
            self.free.push(number);
        }
        self.last.take_if(|(_, last)| *last == number);
    }
}
