//! The crash campaign: a real clearing house under load, on a disk that loses its power, fills up and fails to sync, killed
//! at any instant, before a provider that refuses, resets and goes away; and an auditor who compares in the end what
//! clients were told with what the provider received (DESIGN.md §1, promise 1; docs/journal.md).
//!
//! `cargo xtask crash --seconds N --seed S` runs it long, on the release build; by itself it is a short test. With
//! `REVEILLE_CRASH_LIES=N` every Nth sync of the disk does nothing and says that it has: then it must fail, and does
//! (blind.rs shows the auditor each other fault).

#![allow(clippy::disallowed_methods, reason = "the test plays partners and a provider, and those have the wall clock")]

mod auditor;
mod blind;
mod home;
mod ledger;
mod plan;
#[path = "../support/mod.rs"]
mod support;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use ledger::Ledger;
use plan::{Fault, Plan};
use world::World;

/// How many things are shown that are not as promised and not judged yet.
const TOLD: usize = 5;

/// How long the short run lasts, beside its beginning and its end.
const SECONDS: u64 = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_accepted_is_lost_doubled_or_disordered_whatever_happens_to_process_and_disk() -> Result<()> {
    let seconds = from_env("REVEILLE_CRASH_SECONDS")?.unwrap_or(SECONDS);
    let seed = from_env("REVEILLE_CRASH_SEED")?.unwrap_or_else(rand::random);
    let plan = Plan::draw(seed, Duration::from_secs(seconds));
    say(&format!("seed {seed}, {seconds} s: {plan}"));
    let outcome = campaign(&plan, seed).await;
    outcome.with_context(|| format!("cargo xtask crash --seconds {seconds} --seed {seed}"))
}

#[test]
fn the_same_seed_gives_the_same_schedule_of_faults() {
    let draw = |seed, seconds| Plan::draw(seed, Duration::from_secs(seconds));
    assert_eq!(draw(7, 60), draw(7, 60));
    assert_ne!(draw(7, 60).faults, draw(8, 60).faults);
    // A longer run of a seed begins like the shorter one.
    assert!(draw(7, 600).faults.starts_with(&draw(7, 60).faults));
    let length: Duration = draw(7, 60).faults.iter().map(|(after, fault)| *after + fault.lasts()).sum();
    assert!(length <= Duration::from_secs(60), "{length:?}");
}

async fn campaign(plan: &Plan, seed: u64) -> Result<()> {
    let ledger = Arc::new(Ledger::default());
    let mut world = World::start(plan, Arc::clone(&ledger)).await?;
    let mut dice = StdRng::seed_from_u64(seed);
    let homes = home::start(&world, &ledger, seed);
    let begun = Instant::now();
    let (mut done, mut chronicle) = (Tally::default(), Vec::new());
    for (after, fault) in &plan.faults {
        tokio::time::sleep(*after).await;
        world.look()?;
        let at = ledger::now_ms();
        let lost = world.suffer(*fault, &mut dice).await.with_context(|| format!("{fault:?}"))?;
        chronicle.push(format!("{at} to {}: {fault:?}, {lost:?}", ledger::now_ms()));
        done.count(*fault, lost);
    }
    ledger.no_more();
    for home in homes {
        home.await?.context("a home")?;
    }
    let answered = begun.elapsed();
    world.until_idle().await?;
    let settled = begun.elapsed();
    let figures = world.audit()?;
    say(&format!("{done}\n{figures}\nanswered after {:.1} s, settled after {:.1} s", secs(answered), secs(settled)));
    for fault in figures.faults.iter().take(if figures.broken(false) { 0 } else { TOLD }) {
        say(fault);
    }
    let strict = from_env("REVEILLE_CRASH_STRICT")?.is_some_and(|strict| strict > 0);
    ensure!(!figures.broken(strict), "against the promises:\n{}\n{}", figures.faults.join("\n"), chronicle.join("\n"));
    ensure!(figures.accepted > 100 && done.kills > 0, "the campaign has shown nothing");
    Ok(())
}

/// What was done.
#[derive(Default)]
struct Tally {
    kills: usize,
    cuts: usize,
    unsafe_writes: usize,
    sectors: usize,
    full: usize,
    syncs: usize,
    provider: usize,
}

impl Tally {
    fn count(&mut self, fault: Fault, lost: reveille_powercut::Lost) {
        self.unsafe_writes += lost.unsafe_writes;
        self.sectors += lost.sectors;
        match fault {
            Fault::Kill | Fault::KillAtStart { .. } => self.kills += 1,
            Fault::PowerCut => {
                self.kills += 1;
                self.cuts += 1;
            }
            Fault::DiskFull { ends_in_a_cut, .. } => {
                self.full += 1;
                self.kills += usize::from(ends_in_a_cut);
                self.cuts += usize::from(ends_in_a_cut);
            }
            Fault::SyncsFail { ends_in_a_cut, .. } => {
                self.syncs += 1;
                self.kills += usize::from(ends_in_a_cut);
                self.cuts += usize::from(ends_in_a_cut);
            }
            Fault::ProviderDown { .. } | Fault::GoAway => self.provider += 1,
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kills, cuts, unsafe_writes, sectors, full, syncs, provider } = self;
        write!(
            f,
            "{kills} kills, {cuts} of them power cuts ({unsafe_writes} writes were not safe, {sectors} sectors were taken \
             back), {full} times a full disk, {syncs} times failing syncs, {provider} times no provider"
        )
    }
}

fn from_env(name: &str) -> Result<Option<u64>> {
    std::env::var(name).ok().map(|text| text.parse().with_context(|| format!("{name} is {text}"))).transpose()
}

fn secs(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[allow(clippy::print_stdout, reason = "figures and seeds are what a person wants to see of this test")]
fn say(text: &str) {
    println!("{text}");
}
