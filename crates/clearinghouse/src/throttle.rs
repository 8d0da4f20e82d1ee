//! How often one device may be woken: by (organisation, app, channel, token), so that nobody's use counts against another.
//!
//! What a device has had is forgotten when its bucket is full again, since a full bucket and none are the same. So the
//! table is of a fixed size: each device has four places where it may be, and where all are taken the one goes that owes
//! least. Who floods it with tokens pushes out what owes little, and himself first.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::settings::DeviceBudget;
use reveille_core::{LaneKey, SipDomain, Timestamp};
use reveille_federation::PushRequest;

use crate::bucket::{Bucket, Nanos, Rate};

/// What each device has had of late.
pub(crate) struct Devices {
    hasher: RandomState,
    shards: Box<[Mutex<Vec<[Seat; WAYS]>>]>,
}

/// What is known of one device; a key of 0 is nobody.
#[derive(Clone, Copy, Default)]
struct Seat {
    key: u64,
    bucket: Bucket,
    /// The collapse key of the message that waits for its turn, as a hash; and when that is.
    waiting: u64,
    turn: u64,
}

/// When a push may go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// At that time, in the place of others of its collapse key.
    At(Timestamp),
    /// It is too much; in so long it may come again.
    In(Duration),
    /// At once.
    Now,
}

impl Devices {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// When a push for this device may go, and that it does.
    pub(crate) fn turn(
        &self,
        origin: &SipDomain,
        lane: &LaneKey,
        request: &PushRequest,
        budget: DeviceBudget,
        now: Timestamp,
    ) -> Turn {
        let Some(to) = request.to.as_ref().filter(|_| budget.seconds > 0) else { return Turn::Now };
        let key = self.hasher.hash_one((origin.as_str(), lane, to.token.expose())).max(1);
        // A second push for a call has no use for the first one's turn.
        let collapse = match (&request.collapse, lane.channel) {
            (Some(collapse), reveille_core::Channel::Message) => self.hasher.hash_one((key, collapse)).max(1),
            _ => 0,
        };
        let mut shard = self.shards[key as usize % SHARDS].lock();
        if shard.is_empty() {
            shard.resize(SETS, [Seat::default(); WAYS]);
        }
        let set = (key >> 32) as usize % SETS;
        seat(&mut shard[set], key, now).turn(collapse, Rate::one_in(budget.seconds, budget.burst), now)
    }
}

/// The device's seat, which it may have to take from another.
fn seat(set: &mut [Seat; WAYS], key: u64, now: Timestamp) -> &mut Seat {
    let own = set.iter().position(|seat| seat.key == key);
    let index = own.unwrap_or_else(|| {
        let least = (0..WAYS).min_by_key(|&index| set[index].bucket.debt(now.into())).unwrap_or_default();
        set[least] = Seat { key, ..Seat::default() };
        least
    });
    &mut set[index]
}

impl Seat {
    fn turn(&mut self, collapse: u64, rate: Rate, now: Timestamp) -> Turn {
        // Nobody is told to wait for longer than a step: a turn that is further ahead is one of a clock that was set back.
        let ahead = self.turn > now.millis() && self.turn <= now.plus(rate.step()).millis();
        if ahead && collapse != 0 && self.waiting == collapse {
            return Turn::At(Timestamp::from_millis(self.turn));
        }
        match self.bucket.take(rate, Nanos::from(now)) {
            Ok(()) => Turn::Now,
            // One waits for each device; what comes beside it may come again.
            Err(wait) if collapse == 0 || ahead => Turn::In(wait),
            Err(wait) => {
                self.bucket.promise(rate, now.into());
                let turn = now.plus(wait.min(rate.step()));
                (self.waiting, self.turn) = (collapse, turn.millis());
                Turn::At(turn)
            }
        }
    }
}

/// 64 times 1024 sets of 4 devices: 262,144 of them, in 8 MiB when all are used.
const SHARDS: usize = 64;
const SETS: usize = 1024;
const WAYS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: DeviceBudget = DeviceBudget { burst: 2, seconds: 10 };

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + 1000 * secs)
    }

    fn rate() -> Rate {
        Rate::one_in(BUDGET.seconds, BUDGET.burst)
    }

    #[test]
    fn of_one_collapse_key_the_newest_waits_and_whatever_else_is_refused() {
        let mut seat = Seat::default();
        let later = |secs| Turn::In(Duration::from_secs(secs));
        for (now, collapse, expected) in [
            (0, 7, Turn::Now),
            (0, 0, Turn::Now),
            (0, 7, Turn::At(at(10))),
            (3, 7, Turn::At(at(10))),
            (3, 8, later(17)),
            (3, 0, later(17)),
            (10, 7, Turn::At(at(20))),
            (19, 7, Turn::At(at(20))),
            (29, 8, Turn::At(at(30))),
            (60, 7, Turn::Now),
        ] {
            assert_eq!(seat.turn(collapse, rate(), at(now)), expected, "second {now}, key {collapse}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_no_message_wait_for_hours() {
        let mut seat = Seat::default();
        let turns = [10_000, 10_000, 10_000, 0, 0, 0].map(|now| seat.turn(7, rate(), at(now)));
        assert_eq!(turns, [Turn::Now, Turn::Now, Turn::At(at(10_010)), Turn::Now, Turn::Now, Turn::At(at(10))]);
    }

    #[test]
    fn where_all_places_are_taken_the_device_that_owes_least_is_forgotten() {
        let mut set = [Seat::default(); WAYS];
        for (key, pushes) in [(1, 2), (2, 1), (3, 2), (4, 2)] {
            for _ in 0..pushes {
                assert_eq!(seat(&mut set, key, at(0)).turn(0, rate(), at(0)), Turn::Now);
            }
        }
        seat(&mut set, 5, at(0)).turn(0, rate(), at(0));
        assert_eq!(set.map(|seat| seat.key), [1, 5, 3, 4]);
        assert_eq!(seat(&mut set, 1, at(0)).turn(0, rate(), at(0)), Turn::In(Duration::from_secs(10)));
    }
}
