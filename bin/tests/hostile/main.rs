//! The hostile-peer suite: attacks on a running border, each with the figure that it gave and the bound that it must
//! keep, while a good partner is served without a pause. One table at the end.
//!
//! The attackers' threads have a lower priority than the servers', as if they sat on machines of their own; this test
//! plays both sides on one.

#[path = "../support/mod.rs"]
mod support;

mod announced;
mod answers;
mod bombs;
mod call;
mod calls;
mod churn;
mod deaf;
mod dialogs;
mod flood;
mod handshakes;
mod hose;
mod idle;
mod lengths;
mod letter;
mod loops;
mod neighbour;
mod refusals_flood;
mod refused;
mod report;
mod slow;
mod speakers;
mod trust;
mod witness;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::time::timeout;

use neighbour::{Errand, Neighbour};
use report::{Line, Report, is_only_late, line};
use world::World;

/// The whole suite ends, and so does each part of it.
const LIMIT: Duration = Duration::from_secs(480);
const EACH: Duration = Duration::from_secs(120);
/// How often a part is played at most in which a time is beyond its bound.
const TRIES: usize = 3;
/// The names of the parts to play, with commas between them; all of them if it is not set.
const ONLY: &str = "REVEILLE_HOSTILE_ONLY";
/// What the edge may hold at the worst moment of all this, 8,000 connections included.
const PEAK_MB: u64 = 512;

#[test]
fn nothing_that_a_hostile_peer_does_is_felt_by_anybody_else() -> Result<()> {
    reveille_server::process::raise_open_files();
    let world = World::start(answers::inside(), answers::evil())?;
    let neighbour = Neighbour::start(world.place.clone(), Errand::Messages)?;
    let caller = Neighbour::start(world.place.clone(), Errand::Calls)?;
    // As few threads as will do, and after everybody else: the attackers have machines of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(|| {
            let _ = rustix::process::nice(10);
        })
        .enable_all()
        .build()?;
    let attacks = async move {
        let suite = tokio::spawn(async move { timeout(LIMIT, play(world, neighbour, caller)).await });
        suite.await.context("the suite has panicked")?.context("the suite does not come to an end")?
    };
    runtime.block_on(attacks)
}

/// One attack after the other, the slow ones beside all of them.
async fn play(world: World, neighbour: Neighbour, caller: Neighbour) -> Result<()> {
    let mut report = Report::new();
    let begun = Instant::now();
    neighbour.written(300).await?;
    report.add("quiet", Vec::new(), begun.elapsed(), &meanwhile(&neighbour, &caller, begun));
    let slow = slow::begin(&world.place).await?;

    let mut chapter = Chapter { report: &mut report, neighbour: &neighbour, caller: &caller };
    chapter.add("handshakes", || handshakes::play(&world)).await;
    chapter.add("who speaks", || speakers::play(&world)).await;
    chapter.add("refusals", || refused::play(&world)).await;
    chapter.add("forged trust", || trust::play(&world)).await;
    chapter.add("lengths", || lengths::play(&world)).await;
    chapter.add("bombs", || bombs::play(&world)).await;
    chapter.add("announcements", || announced::play(&world)).await;
    chapter.add("answers", || answers::play(&world)).await;
    chapter.add("loops", || loops::play(&world)).await;
    chapter.add("calls", || calls::play(&world, &caller)).await;
    chapter.add("dialogs", || dialogs::play(&world, &caller)).await;
    chapter.add("readers that do not read", || deaf::play(&world)).await;
    chapter.add("flood", || flood::play(&world, &neighbour)).await;
    chapter.add("flood of what is refused", || refusals_flood::play(&world, &neighbour)).await;
    chapter.add("coming and going", || churn::play(&world)).await;
    chapter.add("idle connections", || idle::play(&world, &neighbour)).await;
    chapter.once("slow senders", slow.end()).await;
    chapter.once("the whole", whole(&world)).await;

    let (count, pushes, mut failures) = neighbour.finish()?;
    let (calls, _, of_calls) = caller.finish()?;
    failures.extend(of_calls);
    let (table, wrong) = report.close();
    let failed = failures.len();
    say(&format!(
        "{table}-- the good partner: {count} messages, {pushes} push requests, {calls} calls, {failed} failures"
    ));
    ensure!(failures.is_empty(), "the good partner was not served: {failures:#?}");
    ensure!(wrong.is_empty(), "beyond their bounds:\n{wrong}");
    tokio::task::block_in_place(|| world.finish())
}

/// One part of the table, measured with what the good partner saw meanwhile.
struct Chapter<'a> {
    report: &'a mut Report,
    neighbour: &'a Neighbour,
    caller: &'a Neighbour,
}

impl Chapter<'_> {
    /// Plays one part, again where nothing but a time is beyond its bound: a fault of ours is there each time, and what
    /// else the machine does is not.
    async fn add<A>(&mut self, name: &str, attack: impl Fn() -> A)
    where
        A: Future<Output = Result<Vec<Line>>>,
    {
        for _ in 1..TRIES {
            let Some((lines, begun)) = self.play(name, attack()).await else { return };
            let others = meanwhile(self.neighbour, self.caller, begun);
            if !is_only_late(&lines) {
                return self.report.add(name, lines, begun.elapsed(), &others);
            }
            self.report.set_aside(name, lines, begun.elapsed(), &others);
        }
        self.once(name, attack()).await;
    }

    /// Plays one part that cannot be repeated.
    async fn once(&mut self, name: &str, attack: impl Future<Output = Result<Vec<Line>>>) {
        if let Some((lines, begun)) = self.play(name, attack).await {
            self.report.add(name, lines, begun.elapsed(), &meanwhile(self.neighbour, self.caller, begun));
        }
    }

    /// Its lines, and since when it was played. One that cannot be played to its end is a line too, so that the others
    /// still tell theirs.
    async fn play(&self, name: &str, attack: impl Future<Output = Result<Vec<Line>>>) -> Option<(Vec<Line>, Instant)> {
        // For whoever looks into one of them.
        if std::env::var(ONLY).is_ok_and(|only| !only.split(',').any(|wanted| wanted == name)) {
            return None;
        }
        let begun = Instant::now();
        let attack = async { timeout(EACH, attack).await.context("it does not come to an end")? };
        let mut lines =
            attack.await.unwrap_or_else(|fault| vec![line(name, format!("{fault:#}"), "to be played", false)]);
        // At least some of the good partner's messages and calls fall into it.
        for (other, some) in [(self.neighbour, 20), (self.caller, 3)] {
            if let Err(fault) = other.written(some).await {
                lines.push(line(name, format!("{fault:#}"), "somebody else is served", false));
            }
        }
        Some((lines, begun))
    }
}

/// How the good partner was served since then.
fn meanwhile(neighbour: &Neighbour, caller: &Neighbour, begun: Instant) -> String {
    format!("messages {}; calls {}", neighbour.served(begun), caller.served(begun))
}

/// What holds over all of it.
async fn whole(world: &World) -> Result<Vec<Line>> {
    let peak = world.peak_memory() / MB;
    let differences = world.inside.differences();
    Ok(vec![
        line("the edge's memory at the worst moment", format!("{peak} MB"), format!("{PEAK_MB} MB"), peak <= PEAK_MB),
        line(
            "messages inside that careless readers would read otherwise",
            format!("{} of {} {}", differences.len(), world.inside.requests(), differences.join(" | ")),
            "0",
            differences.is_empty(),
        ),
    ])
}

/// A megabyte.
const MB: u64 = 1024 * 1024;

#[allow(clippy::print_stdout, reason = "the table is what a person wants to see of this test")]
fn say(text: &str) {
    println!("{text}");
}
