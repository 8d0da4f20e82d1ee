//! What claims to belong to a call, and does not: ACKs of nobody, and whatever would end or change the call of somebody
//! else.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reveille_sim::phone::RawSip;
use tokio::time::timeout;

use crate::call::Call;
use crate::hose::{Hoses, Texts, storm};
use crate::letter::{Letter, told};
use crate::neighbour::Neighbour;
use crate::report::{Line, line};
use crate::world::{DIRECT_EDGE, EDGE, EVIL, GOOD, INSIDE, PROMPT, STRANGER, World};

/// ACKs, and how many connections they come on.
const ACKS: usize = 10_000;
const CONNECTIONS: usize = 8;
/// How long a stranger sends them.
const STORM: Duration = Duration::from_secs(2);

pub(crate) async fn play(world: &World, caller: &Neighbour) -> Result<Vec<Line>> {
    let mut lines = vec![acks(world, caller).await?, nowhere(world).await?];
    lines.extend(others(world).await?);
    lines.push(cancelled_by_another(world).await?);
    Ok(lines)
}

/// A Route that looks like ours: what we write into Record-Route, with a signature that nobody has made.
fn forged_route(from: &str) -> String {
    format!("<sip:00112233445566778899.o-{from}~i-{INSIDE}@{EDGE}:5061;transport=tls;lr>")
}

/// An ACK to nothing: with and without a tag, with and without a Route that looks like ours.
fn ack(from: &str, number: usize) -> String {
    let mut call = Call::new(from, INSIDE, "look-ack");
    if number.is_multiple_of(4) {
        call.routes = vec![forged_route(from)];
    }
    match number % 3 {
        // Without a tag, it is not even within a dialog.
        0 => Letter { method: "ACK", ..call.letter }.text(),
        _ => call.within("ACK", 1),
    }
}

async fn acks(world: &World, caller: &Neighbour) -> Result<Line> {
    let (before, begun) = (world.contexts()?, Instant::now());
    let of_strangers = storm(&world.place, STRANGER, CONNECTIONS, STORM, || ack(STRANGER, rand::random_range(0..12)));
    let sent = of_strangers.await?.sent.load(Ordering::Relaxed);
    let mut hoses = Hoses::open(&world.place, EVIL, CONNECTIONS).await?;
    let texts = (0..CONNECTIONS).map(|_| Box::new((0..ACKS / CONNECTIONS).map(|number| ack(EVIL, number))) as Texts);
    hoses.pour(texts, |_| true).await?;
    // Behind them on each connection.
    let last = (0..CONNECTIONS).map(|_| Box::new(std::iter::once(question(EVIL))) as Texts);
    let behind = hoses.pour(last, |tally| tally.heard() >= CONNECTIONS as u64).await.context("behind the ACKs")?;
    let (arrived, now) = (world.inside.of("look-ack").len(), world.contexts()?);
    let good = caller.served(begun).count as u64 + 3;
    let left = now.saturating_sub(before + good);
    Ok(line(
        format!("ACKs of nobody: {sent} of a stranger, {ACKS} of a partner"),
        format!("{arrived} arrived inside; {left} contexts; behind them {:?}", behind.statuses()),
        "none arrives; no context; served behind them",
        arrived == 0 && left == 0 && behind.of(200) == CONNECTIONS as u64,
    ))
}

/// A request that the edge answers itself.
fn question(from: &str) -> String {
    Letter { method: "OPTIONS", uri: format!("sip:{EDGE}"), ..Letter::new(from, EDGE, "question") }.text()
}

/// Requests within a dialog that has never been.
async fn nowhere(world: &World) -> Result<Line> {
    let mut link = world.place.link(EVIL).await?;
    let (mut heard, mut arrived) = (Vec::new(), 0);
    for (number, method) in ["BYE", "INFO", "UPDATE", "PRACK", "INVITE", "REFER", "MESSAGE"].into_iter().enumerate() {
        for route in [None, Some(forged_route(EVIL)), Some(format!("<sip:{EDGE};lr>"))] {
            let mut call = Call::new(EVIL, INSIDE, &format!("look-nowhere-{number}"));
            call.routes.extend(route);
            heard.push(told(&link.send_and_wait(call.within(method, 2), PROMPT).await.context(method)?));
        }
        arrived += world.inside.of(&format!("look-nowhere-{number}")).len();
    }
    let ok = arrived == 0 && heard.iter().all(|heard| heard == EXPECTED);
    let figure = format!("{} requests: {}; {arrived} arrived inside", heard.len(), summary(&heard));
    Ok(line("requests within a dialog that has never been", figure, format!("{EXPECTED}; none arrives"), ok))
}

/// What is said to whoever is not in a dialog.
const EXPECTED: &str = "481 no-such-dialog";

/// The different ones of what was heard.
fn summary(heard: &[String]) -> String {
    let mut different = heard.to_vec();
    different.sort_unstable();
    different.dedup();
    different.join(", ")
}

/// A call of the good partner, and another admitted partner that knows everything of it.
async fn others(world: &World) -> Result<Vec<Line>> {
    let id = "look-held";
    let mut good = world.place.link(GOOD).await?;
    let mut held = Call::new(GOOD, INSIDE, id);
    held.begin(&mut good).await.context("the call that is to be attacked")?;
    let before = heard_of(world, id).await?;

    let mut evil = world.place.link(EVIL).await?;
    // A call of its own, for a Route of its own.
    let mut own = Call::new(EVIL, INSIDE, "look-own");
    own.begin(&mut evil).await.context("the attacker's own call")?;
    let claimed = |from: &str, routes: &[String]| {
        let mut call = held.clone();
        call.letter.from = format!("From: <sip:mallory@{from}>;tag=1");
        call.routes = routes.to_vec();
        call
    };
    let mut lines = Vec::new();
    let another = "403 certificate-names-another";
    for (how, call, expected) in [
        ("with its Call-ID and tags", claimed(EVIL, &[]), EXPECTED),
        ("with its Routes as well", claimed(EVIL, &held.routes), EXPECTED),
        ("with the Routes of a call of one's own", claimed(EVIL, &own.routes), EXPECTED),
        ("with a forged Route", claimed(EVIL, &[forged_route(EVIL)]), EXPECTED),
        ("as the good partner", claimed(GOOD, &held.routes), another),
    ] {
        let mut heard = Vec::new();
        for (count, method) in ["BYE", "INFO", "UPDATE", "INVITE", "REFER", "PRACK"].into_iter().enumerate() {
            let text = call.within(method, 10 + count as u32);
            heard.push(told(&evil.send_and_wait(text, PROMPT).await.with_context(|| format!("{method} {how}"))?));
        }
        evil.send(call.within("ACK", 1), PROMPT).await?;
        let ok = heard.iter().all(|heard| heard == expected);
        lines.push(line(format!("another's call, {how}"), summary(&heard), expected, ok));
    }
    // Behind the last ACK.
    evil.send_and_wait(question(EVIL), PROMPT).await?;
    let more = heard_of(world, id).await? - before;
    held.end(&mut good).await.context("the call that was attacked")?;
    own.end(&mut evil).await.context("the attacker's own call")?;
    let all = world.inside.of(id);
    let ended = all.iter().filter(|heard| heard.method() == Some("BYE")).count();
    lines.push(line(
        "the call that was attacked",
        format!("{more} requests of others arrived; {ended} BYE, its own"),
        "0; 1",
        more == 0 && ended == 1,
    ));
    Ok(lines)
}

/// How much the server inside has heard of a call, once what is under way has arrived.
async fn heard_of(world: &World, call_id: &str) -> Result<usize> {
    timeout(PROMPT, world.inside.wait(call_id, 2)).await.context("INVITE and ACK arrive")?;
    Ok(world.inside.of(call_id).len())
}

/// A partner cancels what another lets ring, by its very branch.
async fn cancelled_by_another(world: &World) -> Result<Line> {
    let mut good = world.place.link(GOOD).await?;
    let call = Call::new(GOOD, INSIDE, "look-ring");
    good.send(call.invite(), PROMPT).await?;
    ensure!(heard(&mut good).await? == 180, "the call does not ring");
    let mut answers = Vec::new();
    for name in [EVIL, DIRECT_EDGE] {
        let mut other = world.place.link(name).await?;
        answers.push(other.send_and_wait(call.beside("CANCEL"), PROMPT).await?.status().unwrap_or_default());
    }
    let cancelled = |all: Vec<crate::witness::Heard>| all.iter().any(|heard| heard.method() == Some("CANCEL"));
    let by_others = cancelled(world.inside.of("look-ring"));
    good.send(call.beside("CANCEL"), PROMPT).await?;
    let ends = [heard(&mut good).await?, heard(&mut good).await?];
    good.send(call.beside("ACK"), PROMPT).await?;
    let figure = format!("{answers:?}, and it rings on: {}; its own caller ends it: {ends:?}", !by_others);
    let ok = answers == [481, 481] && !by_others && ends.contains(&200) && ends.contains(&487);
    Ok(line("another's call, cancelled by its branch", figure, "481; 200 and 487 for its own", ok))
}

/// The status of the next answer that is not 100.
async fn heard(link: &mut RawSip) -> Result<u16> {
    loop {
        let status = link.next(PROMPT).await?.status().context("an answer")?;
        if status > 100 {
            return Ok(status);
        }
    }
}
