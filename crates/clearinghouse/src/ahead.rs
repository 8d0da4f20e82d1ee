//! Who may go ahead in the journal's queue: an organisation with next to nothing in it shall not wait until what another
//! has there was written, nor be turned away because of it.
//!
//! What goes ahead of others never goes ahead of anything of its own organisation.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use reveille_core::SipDomain;

/// What each organisation has waiting for the journal. Those with nothing there are not known.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<HashMap<SipDomain, Waits>>);

/// Requests of one organisation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Waits {
    ahead: usize,
    in_turn: usize,
}

/// How something waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum How {
    /// Before what waits in its turn.
    Ahead,
    /// Behind all that came before.
    InTurn,
}

impl Ahead {
    /// How each of `asked` waits, in their order: whose they are, and how many requests. Some go ahead only where the line
    /// `is_long`. What is answered is counted until it is let go of.
    pub(crate) fn sort<'a>(
        self: &Arc<Self>,
        asked: impl Iterator<Item = (&'a SipDomain, usize)>,
        is_long: bool,
    ) -> (Vec<How>, [Claims; 2]) {
        let claims = |how| Claims { of: Arc::clone(self), how, whose: Vec::new() };
        let mut claims = [claims(How::Ahead), claims(How::InTurn)];
        let mut known = self.0.lock();
        let how = asked.map(|(origin, count)| {
            if !known.contains_key(origin) {
                known.insert(origin.clone(), Waits::default());
            }
            let Some(waits) = known.get_mut(origin) else { return How::InTurn };
            let how = match is_long && waits.in_turn == 0 && waits.ahead + count <= AHEAD_MAX {
                true => How::Ahead,
                false => How::InTurn,
            };
            *waits.of(how) += count;
            claims[how as usize].add(origin, count);
            how
        });
        let how = how.collect();
        drop(known);
        (how, claims)
    }
}

impl Waits {
    const fn of(&mut self, how: How) -> &mut usize {
        match how {
            How::Ahead => &mut self.ahead,
            How::InTurn => &mut self.in_turn,
        }
    }
}

/// What some have waiting, until this is dropped.
#[derive(Debug)]
pub(crate) struct Claims {
    of: Arc<Ahead>,
    how: How,
    whose: Vec<(SipDomain, usize)>,
}

impl Claims {
    fn add(&mut self, origin: &SipDomain, count: usize) {
        match self.whose.last_mut() {
            // Most of what comes together is of one.
            Some((last, counted)) if last == origin => *counted += count,
            _ => self.whose.push((origin.clone(), count)),
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        if self.whose.is_empty() {
            return;
        }
        let mut known = self.of.0.lock();
        for (origin, count) in self.whose.drain(..) {
            let Some(waits) = known.get_mut(&origin) else { continue };
            let of = waits.of(self.how);
            *of = of.saturating_sub(count);
            if *waits == Waits::default() {
                known.remove(&origin);
            }
        }
    }
}

/// How many requests of one organisation may go ahead at once.
const AHEAD_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> SipDomain {
        name.parse().unwrap()
    }

    #[test]
    fn who_has_little_there_goes_ahead_and_nobody_overtakes_himself() {
        let (ahead, loud, quiet) = (Arc::<Ahead>::default(), domain("loud.example"), domain("quiet.example"));
        let (how, short) = ahead.sort([(&quiet, 1), (&loud, 1)].into_iter(), false);
        assert_eq!(how, [How::InTurn, How::InTurn], "nobody needs to while the line is short");
        let (how, behind) = ahead.sort([(&quiet, 1)].into_iter(), true);
        assert_eq!(how, [How::InTurn], "something of his is in the line");
        drop(short);
        let (how, _) = ahead.sort([(&quiet, 1)].into_iter(), true);
        assert_eq!(how, [How::InTurn], "and something still is");
        drop(behind);
        let asked = [(&quiet, 2), (&loud, 6), (&loud, 3), (&loud, 1), (&quiet, 6)];
        let (how, claims) = ahead.sort(asked.into_iter(), true);
        assert_eq!(how, [How::Ahead, How::Ahead, How::InTurn, How::InTurn, How::Ahead]);
        let (how, more) = ahead.sort([(&quiet, 1)].into_iter(), true);
        assert_eq!(how, [How::InTurn], "eight are enough");
        drop((claims, more));
        assert!(ahead.0.lock().is_empty(), "who has nothing there is forgotten");
    }
}
