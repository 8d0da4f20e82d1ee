//! Messages that come back: thrown to and fro between a partner and a server of ours, and the count of their hops.

use std::time::Instant;

use anyhow::{Context as _, Result};
use tokio::time::timeout;

use crate::letter::{Letter, told};
use crate::neighbour::ms;
use crate::report::{Line, line};
use crate::world::{EDGE, EVIL, INSIDE, PROMPT, WITNESS, World};

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    let mut lines = vec![to_and_fro(world).await?, back_at_once(world).await?];
    lines.push(hops(world).await?);
    Ok(lines)
}

/// A partner sends everything back to us, and a server of ours sends it there again.
async fn to_and_fro(world: &World) -> Result<Line> {
    let id = "look-bounce";
    let begun = Instant::now();
    let mut link = world.place.link_to(world.place.edge_inside(), EDGE, WITNESS).await?;
    link.send(Letter::new(INSIDE, EVIL, id).text(), PROMPT).await?;
    // It goes round until somebody stops it; the last to hear anything are told why.
    let stopped = async {
        loop {
            let seen = [world.evil.of(id), world.inside.of(id)].concat();
            let last = seen.iter().filter_map(|heard| heard.status()).find(|status| matches!(status, 482 | 483));
            if let Some(status) = last {
                return (status, seen.iter().filter(|heard| heard.status().is_none()).count());
            }
            tokio::time::sleep(TURN).await;
        }
    };
    let (status, rounds) = timeout(PROMPT * 2, stopped).await.context("a loop does not end")?;
    let figure = format!("{rounds} times through the edge, then {status}; {:.0} ms", ms(begun.elapsed()));
    Ok(line("a message thrown to and fro", figure, "482 or 483 after 70 hops at most", rounds <= 70))
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

async fn hops(world: &World) -> Result<Line> {
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
        let id = format!("look-hops-{number}");
        let hops = (value != "none").then(|| value.to_owned());
        let mut link = world.place.link(EVIL).await?;
        let text = Letter { hops, ..Letter::new(EVIL, INSIDE, &id) }.text();
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
    Ok(line("Max-Forwards as it leaves", seen.join(" "), "one less; 483 at 0; 400 if none is meant", ok))
}
