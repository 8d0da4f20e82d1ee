//! Floods of calls: by strangers, who are refused and leave nothing behind, and by a partner whose calls nobody takes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::MB;
use crate::call::Call;
use crate::hose::{Hoses, Tally, Texts, storm};
use crate::neighbour::{Neighbour, Served, ms};
use crate::report::{Line, line, timed};
use crate::world::{EVIL, FLOOD, INSIDE, STRANGER, World};

/// What refused calls may add to the edge's memory: the answers that 8 connections may leave unread are 8 MB, and an
/// allocator gives back in its own time. One kilobyte left of each call would be 100 MB.
const GROWTH_MB: u64 = 16;
/// What the calls may add that one partner lets ring.
const RINGING_MB: u64 = 24;
/// Requests of one partner that may wait for their answers (the default of `in_flight_per_partner`).
const UNDER_WAY: u64 = 1_000;
/// How much slower a call may be than in quiet: it is three requests, each of which may take 10 ms more.
const SLACK: Duration = Duration::from_millis(30);
/// From how many calls that is told.
const FEWEST: usize = 300;
/// How long strangers call.
const STORM: Duration = Duration::from_secs(4);
/// How long an edge may remember calls whose caller has gone.
const FORGOTTEN_IN: Duration = Duration::from_secs(20);

pub(crate) async fn play(world: &World, caller: &Neighbour) -> Result<Vec<Line>> {
    let begun = Instant::now();
    caller.written(100).await?;
    let quiet = caller.served(begun);
    let mut lines = Vec::new();
    for (who, certificate, domain) in
        [("a stranger", STRANGER, STRANGER), ("a partner for an unknown domain", EVIL, "nobody.example")]
    {
        lines.extend(refused(world, caller, &quiet, who, (certificate, domain)).await?);
    }
    lines.extend(ringing(world, caller, &quiet).await?);
    Ok(lines)
}

/// What the edge holds, and what the good partner has done, when an attack begins.
struct Before {
    memory: u64,
    contexts: u64,
    at: Instant,
}

impl Before {
    fn of(world: &World) -> Result<Self> {
        Ok(Self { memory: world.memory()?, contexts: world.contexts()?, at: Instant::now() })
    }

    fn grown_mb(&self, world: &World) -> Result<u64> {
        Ok(world.memory()?.saturating_sub(self.memory) / MB)
    }

    /// Contexts that the attack has left: all that are more, but for the calls of the good partner, which are
    /// remembered for 32 s.
    fn left(&self, world: &World, caller: &Neighbour) -> Result<u64> {
        let now = world.contexts()?;
        // A message and a call of his may be under way.
        let good = caller.served(self.at).count as u64 + 3;
        Ok(now.saturating_sub(self.contexts + good))
    }
}

/// Whether calls were as quick as in quiet, or nearly so.
async fn meanwhile(quiet: &Served, caller: &Neighbour, since: Instant, attack: &str) -> Result<Line> {
    while caller.served(since).count < FEWEST {
        caller.written(1).await?;
    }
    let served = caller.served(since);
    let bound = quiet.bound(&served, SLACK);
    let figure = format!("p99 {:.1} ms of {}, quiet {:.1} ms", ms(served.p99), served.count, ms(quiet.p99));
    Ok(timed(format!("{attack}: good calls"), figure, format!("p99 {:.1} ms", ms(bound)), served.p99 <= bound))
}

/// INVITEs of somebody whom nobody has admitted, and no ACK for any answer. (Once 50,200 of them in 9.9 s, on one
/// connection, kept everybody else from calling for half a minute.)
async fn refused(
    world: &World,
    caller: &Neighbour,
    quiet: &Served,
    who: &str,
    (certificate, domain): (&str, &'static str),
) -> Result<[Line; 2]> {
    let (before, cpu) = (Before::of(world)?, world.cpu());
    let invite = move || Call::new(domain, INSIDE, "refused").invite();
    let tally = storm(&world.place, certificate, CONNECTIONS, STORM, invite).await?;
    let took = (world.cpu() - cpu).as_secs_f64() / before.at.elapsed().as_secs_f64() * 100.0;
    let (left, grown) = (before.left(world, caller)?, before.grown_mb(world)?);
    let (heard, closed) = (tally.heard(), tally.closed.load(Ordering::Relaxed));
    let attack = format!("INVITEs of {who}, on {CONNECTIONS} connections");
    let figure = format!(
        "{} sent in {} s, {:?}, closed {closed} times; {left} contexts, {grown} MB more, {took:.0} % of a processor",
        tally.sent.load(Ordering::Relaxed),
        STORM.as_secs(),
        tally.statuses()
    );
    let ok = heard > 0 && tally.of(403) == heard && left == 0 && grown <= GROWTH_MB;
    Ok([
        line(&attack, figure, format!("403 or closed; no context; {GROWTH_MB} MB"), ok),
        meanwhile(quiet, caller, before.at, &attack).await?,
    ])
}

/// A partner's calls that ring for ever, far more than it may have; then CANCELs, right and wrong; then once more, and
/// the caller hangs up its connections.
async fn ringing(world: &World, caller: &Neighbour, quiet: &Served) -> Result<Vec<Line>> {
    let before = Before::of(world)?;
    let mut hoses = Hoses::open(&world.place, FLOOD, CONNECTIONS).await?;
    let first = calls(1);
    let tally = ring(&mut hoses, &first).await?;
    let (rung, told, retry) = (tally.of(180), tally.of(480) + tally.of(503), tally.retry_after());
    let (under_way, left, grown) = (world.under_way(FLOOD)?, before.left(world, caller)?, before.grown_mb(world)?);
    let is_bounded = rung == UNDER_WAY && under_way == rung && left <= rung && grown <= RINGING_MB;
    let mut lines = vec![line(
        format!("{ALL} INVITEs of a partner, which ring for ever"),
        format!("{rung} ring, {told} told, {retry} with Retry-After; {left} contexts, {grown} MB more"),
        format!("{UNDER_WAY} ring; the rest is told 480 or 503; {RINGING_MB} MB"),
        is_bounded && rung + told == ALL && retry == told,
    )];
    lines.push(meanwhile(quiet, caller, before.at, "calls that ring").await?);
    lines.push(cancelled_for_nothing(world, &mut hoses, rung).await?);
    lines.push(cancelled(world, caller, &mut hoses, &first, (&before, rung)).await?);
    let again = Before::of(world)?;
    let rung = ring(&mut hoses, &calls(2)).await?.of(180);
    let gone = Instant::now();
    drop(hoses);
    let (under_way, left) = forgotten(world, caller, &again).await?;
    lines.push(line(
        "the caller hangs up the connections of calls that ring",
        format!("{rung} rang; {under_way} under way, {left} contexts {:.1} s later", gone.elapsed().as_secs_f64()),
        format!("{UNDER_WAY} ring again; none within {} s", FORGOTTEN_IN.as_secs()),
        rung == UNDER_WAY && under_way == 0 && left == 0,
    ));
    lines.push(meanwhile(quiet, caller, again.at, "callers that go").await?);
    Ok(lines)
}

/// The flooder's connections, and its calls on each.
const CONNECTIONS: usize = 8;
const EACH: usize = 500;
const ALL: u64 = (CONNECTIONS * EACH) as u64;

/// Calls that ring for ever, for each connection.
fn calls(round: usize) -> Vec<Vec<Call>> {
    let call = |hose, number| Call::new(FLOOD, INSIDE, &format!("plain-{round}-{hose}-{number}"));
    (0..CONNECTIONS).map(|hose| (0..EACH).map(|number| call(hose, number)).collect()).collect()
}

/// One request of each call, for each connection.
fn each<'a>(calls: impl IntoIterator<Item = &'a Vec<Call>>, text: impl Fn(&Call) -> String) -> Vec<Texts> {
    let texts = |calls: &Vec<Call>| -> Texts { Box::new(calls.iter().map(&text).collect::<Vec<_>>().into_iter()) };
    calls.into_iter().map(texts).collect()
}

/// Sends the INVITEs of each connection; waits until each rings or is refused.
async fn ring(hoses: &mut Hoses, calls: &[Vec<Call>]) -> Result<Arc<Tally>> {
    hoses.pour(each(calls, Call::invite), |tally| tally.heard() >= ALL).await
}

/// CANCELs whose INVITE has never been.
async fn cancelled_for_nothing(world: &World, hoses: &mut Hoses, rung: u64) -> Result<Line> {
    const STRAY: u64 = 8_000;
    let stray = |number| Call::new(FLOOD, INSIDE, &format!("plain-{number}")).beside("CANCEL");
    let texts = (0..CONNECTIONS).map(|_| Box::new((0..STRAY / CONNECTIONS as u64).map(stray)) as Texts);
    let tally = hoses.pour(texts, |tally| tally.heard() >= STRAY).await?;
    let kept = world.under_way(FLOOD)?;
    Ok(line(
        format!("{STRAY} CANCELs for nothing"),
        format!("{:?}; {kept} calls still ring", tally.statuses()),
        "481 each; every call rings on",
        tally.of(481) == STRAY && kept == rung,
    ))
}

/// CANCELs for all calls, on other connections than those of their INVITEs; those that were refused are unknown.
async fn cancelled(
    world: &World,
    caller: &Neighbour,
    hoses: &mut Hoses,
    calls: &[Vec<Call>],
    (before, rung): (&Before, u64),
) -> Result<Line> {
    let texts = each(calls[1..].iter().chain(&calls[..1]), |call| call.beside("CANCEL"));
    // An answer for each CANCEL, and one for each INVITE that rang.
    let tally = hoses.pour(texts, move |tally| tally.heard() >= ALL + rung).await?;
    hoses.pour(each(calls, |call| call.beside("ACK")), |_| true).await?;
    let (under_way, left) = forgotten(world, caller, before).await?;
    let (done, unknown, ended) = (tally.of(200), tally.of(481), tally.of(487));
    Ok(line(
        "CANCELs on other connections of the same partner",
        format!(
            "{done} taken, {unknown} unknown, {ended} end with 487; {under_way} under way, {left} contexts after ACKs"
        ),
        "each call that rings ends, and is forgotten",
        done == rung && done + unknown == ALL && ended == rung && under_way == 0 && left == 0,
    ))
}

/// Waits until nothing is left of an attack, for a bounded time; says what is.
async fn forgotten(world: &World, caller: &Neighbour, before: &Before) -> Result<(u64, u64)> {
    let end = Instant::now() + FORGOTTEN_IN;
    loop {
        let held = (world.under_way(FLOOD)?, before.left(world, caller)?);
        if held == (0, 0) || Instant::now() > end {
            return Ok(held);
        }
        tokio::time::sleep(TURN).await;
    }
}

/// How often is looked.
const TURN: Duration = Duration::from_millis(20);
