//! What will happen, and when: drawn from a seed before anything begins.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

/// The faults of one campaign.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Each with how long after the end of the one before it begins.
    pub(crate) faults: Vec<(Duration, Fault)>,
    /// What the provider answers, over and over.
    pub(crate) answers: Vec<Value>,
}

/// What may happen to process, disk and provider.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// SIGKILL, and a new process.
    Kill,
    /// SIGKILL, and another one while the new process reads its files.
    KillAtStart { after: Duration },
    /// SIGKILL, and what was not synced is taken back.
    PowerCut,
    /// Files may grow by so much and no more, for a while.
    DiskFull { room: u32, lasts: Duration, ends_in_a_cut: bool },
    /// So many syncs fail, and what they should have made safe is lost; with `of_files` only those of databases, in which
    /// what a log held was to be made safe.
    SyncsFail { count: u32, lasts: Duration, ends_in_a_cut: bool, of_files: bool },
    /// The provider closes all connections and takes none for a while.
    ProviderDown { lasts: Duration, refuses: bool },
    /// The provider sends GOAWAY on all connections.
    GoAway,
}

impl Fault {
    /// How long it takes, beside what a process needs to start.
    pub(crate) const fn lasts(self) -> Duration {
        match self {
            Self::DiskFull { lasts, .. } | Self::SyncsFail { lasts, .. } | Self::ProviderDown { lasts, .. } => lasts,
            Self::KillAtStart { after } => after,
            Self::Kill | Self::PowerCut | Self::GoAway => Duration::ZERO,
        }
    }

    fn draw(dice: &mut StdRng) -> Self {
        let mut millis = |from: u64, to: u64| Duration::from_millis(dice.random_range(from..to));
        let (short, long) = (millis(1, 150), millis(200, 1500));
        let ends_in_a_cut = dice.random_bool(0.5);
        match dice.random_range(0..20) {
            0..5 => Self::Kill,
            5..7 => Self::KillAtStart { after: short },
            7..13 => Self::PowerCut,
            13..15 => Self::DiskFull { room: dice.random_range(0..200_000), lasts: long, ends_in_a_cut },
            15..17 => {
                let (count, of_files) = (dice.random_range(1..4), dice.random_bool(0.4));
                // The log is moved now and then only.
                Self::SyncsFail { count, lasts: if of_files { long * 2 } else { long / 2 }, ends_in_a_cut, of_files }
            }
            17..19 => Self::ProviderDown { lasts: long, refuses: dice.random_bool(0.5) },
            _ => Self::GoAway,
        }
    }
}

impl Plan {
    pub(crate) fn draw(seed: u64, length: Duration) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let answers = (0..1000).map(|_| answer(&mut dice)).collect();
        let (mut faults, mut at) = (Vec::new(), Duration::ZERO);
        loop {
            // Mostly in the thick of it, sometimes when there was time for a checkpoint.
            let most = if dice.random_bool(0.7) { 900 } else { 4000 };
            let after = Duration::from_millis(dice.random_range(100..most));
            let fault = Fault::draw(&mut dice);
            at += after + fault.lasts();
            if at > length {
                return Self { faults, answers };
            }
            faults.push((after, fault));
        }
    }
}

/// What the provider says to one push: 200 mostly.
fn answer(dice: &mut StdRng) -> Value {
    match dice.random_range(0..1000) {
        0..2 => json!({ "reason": "Unregistered" }),
        2..4 => json!({ "reason": "BadDeviceToken" }),
        4..10 => json!({ "reason": "ServiceUnavailable" }),
        10..13 => json!({ "reason": "InternalServerError" }),
        13 => json!({ "do": "close", "delivered": true }),
        14 => json!({ "do": "close", "delivered": false }),
        15 => json!({ "do": "goaway" }),
        16..19 => json!({ "do": "refuse" }),
        _ => json!({}),
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |is: fn(&Fault) -> bool| self.faults.iter().filter(|(_, fault)| is(fault)).count();
        write!(
            f,
            "{} faults: {} kills, {} kills at start, {} power cuts, {} full disks, {} failing syncs, {} outages, {} GOAWAYs",
            self.faults.len(),
            of(|fault| matches!(fault, Fault::Kill)),
            of(|fault| matches!(fault, Fault::KillAtStart { .. })),
            of(|fault| matches!(fault, Fault::PowerCut)),
            of(|fault| matches!(fault, Fault::DiskFull { .. })),
            of(|fault| matches!(fault, Fault::SyncsFail { .. })),
            of(|fault| matches!(fault, Fault::ProviderDown { .. })),
            of(|fault| matches!(fault, Fault::GoAway)),
        )
    }
}
