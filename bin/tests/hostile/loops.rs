//! Messages that come back: thrown to and fro between a partner and a server of ours, and the count of their hops.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::time::timeout;

use crate::call::Call;
use crate::hose::{Hoses, Texts};
use crate::letter::{Letter, told};
use crate::neighbour::ms;
use crate::report::{Line, line};
use crate::world::{EDGE, EVIL, INSIDE, PROMPT, WITNESS, World};

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (what, method) in [("a message", "MESSAGE"), ("a call", "INVITE")] {
        lines.push(to_and_fro(world, what, method).await?);
        lines.push(spiral(world, what, method).await?);
        lines.push(hops(world, what, method).await?);
    }
    lines.push(back_at_once(world).await?);
    lines.extend([breadth(world).await?, copies(world).await?]);
    Ok(lines)
}

/// Starts a request that a partner sends back to us, and a server of ours sends there again; answers how often
/// they have heard it, and what the last of them was told.
async fn bounce(world: &World, method: &'static str, id: &str) -> Result<(usize, u16)> {
    let mut link = world.place.link_to(world.place.edge_inside(), EDGE, WITNESS).await?;
    let letter = Call::new(INSIDE, EVIL, id).letter;
    link.send(Letter { method, ..letter }.text(), PROMPT).await?;
    // It goes round until somebody stops it; the last to hear anything are told why.
    let stopped = async {
        loop {
            let seen = [world.evil.of(id), world.inside.of(id)].concat();
            let last = seen.iter().filter_map(|heard| heard.status()).find(|status| matches!(status, 482 | 483));
            if let Some(status) = last {
                return (seen.iter().filter(|heard| heard.method() == Some(method)).count(), status);
            }
            tokio::time::sleep(TURN).await;
        }
    };
    timeout(PROMPT * 2, stopped).await.context("a loop does not end")
}

/// It comes back as it was (RFC 3261 §16.3 step 4, RFC 5393 §4): found when it is on the same way again.
async fn to_and_fro(world: &World, what: &str, method: &'static str) -> Result<Line> {
    let begun = Instant::now();
    let (rounds, status) = bounce(world, method, &format!("look-bounce-{method}")).await?;
    let figure = format!("{rounds} times through the edge, then {status}; {:.0} ms", ms(begun.elapsed()));
    // Out, in, and out again, where it is known.
    let ok = rounds <= 2 && status == 482;
    Ok(line(format!("{what} thrown to and fro"), figure, "482 after twice", ok))
}

/// It comes back for somebody else each time: that is no loop, and ends when its hops do.
async fn spiral(world: &World, what: &str, method: &'static str) -> Result<Line> {
    let (rounds, status) = bounce(world, method, &format!("look-bounce-spiral-{method}")).await?;
    let figure = format!("{rounds} times through the edge, then {status}");
    Ok(line(format!("{what} in a spiral"), figure, "483 after 70 hops", rounds == 70 && status == 483))
}

/// How often is looked.
const TURN: std::time::Duration = std::time::Duration::from_millis(5);

/// A partner sends us what is for itself, as if we carried its messages.
async fn back_at_once(world: &World) -> Result<Line> {
    let mut link = world.place.link(EVIL).await?;
    let mut heard = Vec::new();
    for to in [EVIL, "silent.example", "nobody.example", "127.0.0.1"] {
        let text = Letter::new(EVIL, to, "look-relayed").text();
        heard.push(told(&link.send_and_wait(text, PROMPT).await?));
    }
    let ok = heard.iter().all(|heard| heard.starts_with('4')) && world.evil.of("look-relayed").is_empty();
    Ok(line("messages for others, through us", heard.join(", "), "refused: nothing leaves", ok))
}

async fn hops(world: &World, what: &str, method: &'static str) -> Result<Line> {
    let mut seen = Vec::new();
    let mut ok = true;
    for (number, (value, expected)) in [
        ("0", "483"),
        ("1", "0"),
        ("70", "69"),
        ("255", "254"),
        ("256", "400"),
        ("-1", "400"),
        ("70 70", "400"),
        ("", "400"),
    ]
    .into_iter()
    .chain([("none", "70")])
    .enumerate()
    {
        let id = format!("look-hops-{method}-{number}");
        let hops = (value != "none").then(|| value.to_owned());
        let mut link = world.place.link(EVIL).await?;
        let text = Letter { method, hops, ..Call::new(EVIL, INSIDE, &id).letter }.text();
        let answer = link.send_and_wait(text, PROMPT).await.with_context(|| format!("Max-Forwards: {value}"))?;
        let heard = world.inside.of(&id);
        let found = match (answer.status(), heard.first()) {
            (Some(200), Some(heard)) => heard.fields("max-forwards").collect::<Vec<_>>().join(" and "),
            (status, None) => status.unwrap_or_default().to_string(),
            (status, Some(_)) => format!("{status:?} though it arrived"),
        };
        ok &= found == expected;
        seen.push(format!("{value}→{found}"));
    }
    let bound = "one less; 483 at 0; 400 if none is meant";
    Ok(line(format!("Max-Forwards of {what} as it leaves"), seen.join(" "), bound, ok))
}

/// Among how many branches a call may still be divided (RFC 5393 §5).
async fn breadth(world: &World) -> Result<Line> {
    let (mut seen, mut ok) = (Vec::new(), true);
    let table = [("0", "440"), ("1", "1"), ("7", "7"), ("60", "60"), ("61", "60"), ("4294967296", "1"), ("none", "60")];
    for (number, (value, expected)) in table.into_iter().enumerate() {
        let id = format!("look-breadth-{number}");
        let mut call = Call::new(EVIL, INSIDE, &id);
        if value != "none" {
            call.letter.more += &format!("Max-Breadth: {value}\r\n");
        }
        let mut link = world.place.link(EVIL).await?;
        let answer =
            link.send_and_wait(call.invite(), PROMPT).await.with_context(|| format!("Max-Breadth: {value}"))?;
        let found = match (answer.status(), world.inside.of(&id).first()) {
            (Some(200), Some(heard)) => heard.fields("max-breadth").collect::<Vec<_>>().join(" and "),
            (status, heard) => {
                format!("{}{}", status.unwrap_or_default(), if heard.is_some() { " inside" } else { "" })
            }
        };
        ok &= found == expected;
        seen.push(format!("{value}→{found}"));
    }
    Ok(line("Max-Breadth of a call as it leaves", seen.join(" "), "never more than it came with; 440 at 0", ok))
}

/// RFC 5393 §3: what comes in once leaves once, whatever it asks for. An edge that never forks multiplies nothing.
async fn copies(world: &World) -> Result<Line> {
    const CALLS: usize = 500;
    let id = "look-copies";
    let mut hoses = Hoses::open(&world.place, EVIL, 1).await?;
    let invite = |number: usize| {
        let mut call = Call::new(EVIL, INSIDE, id);
        call.letter.uri = format!("sip:somebody{number}@{INSIDE}");
        // The same place many times over, in every way of saying so.
        call.letter.more += "Max-Breadth: 60\r\nRequest-Disposition: fork, parallel\r\n";
        call.letter.more += &format!("Contact: <sip:a@{INSIDE}>, <sip:b@{INSIDE}>;q=1\r\n").repeat(4);
        call.invite()
    };
    let texts: Texts = Box::new((0..CALLS).map(invite));
    // Each rings, and is taken.
    let tally = hoses.pour([texts], |tally| tally.heard() >= 2 * CALLS as u64).await?;
    let arrived = world.inside.of(id).into_iter().filter(|heard| heard.method() == Some("INVITE"));
    let mut branches: Vec<String> = arrived.filter_map(|heard| heard.field("via").map(str::to_owned)).collect();
    let count = branches.len();
    branches.sort_unstable();
    branches.dedup();
    let figure = format!("{CALLS} calls came, {count} left, {} different; {:?}", branches.len(), tally.statuses());
    let ok = count == CALLS && branches.len() == CALLS && tally.of(200) == CALLS as u64;
    Ok(line("calls that want to be forked", figure, format!("{CALLS} leave"), ok))
}
