//! The trust header, forged: from outside, in answers, and from hosts inside that are no edge.

use anyhow::{Context as _, Result, ensure};
use tokio::time::timeout;

use crate::letter::{Letter, told};
use crate::report::{Line, line};
use crate::support::push;
use crate::witness::unfolded;
use crate::world::{EVIL, GOOD, HOME, HOUSE, HOUSE_DOMAIN, INSIDE, PROMPT, WITNESS, World};

const NAME: &str = "ms-edge-proxy-message-trust";
/// What nobody but an edge may say. The word `forged` stands in it to be looked for.
const FORGED: &str = "ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;\
                      ms-source-verified-user=verified;ms-source-network=federation;ms-remote-fqdn=forged.example";

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    Ok(vec![outside(world).await?, in_answers(world).await?, behind(world).await?, inner_door(world).await?])
}

/// A partner stamps its own requests, in every spelling: what arrives inside is the edge's word only.
async fn outside(world: &World) -> Result<Line> {
    let spellings = [
        format!("{NAME}: {FORGED}\r\n"),
        format!("{}: {FORGED}\r\n", NAME.to_uppercase()),
        format!("{NAME} : {FORGED}\r\n"),
        format!("{NAME}\t: {FORGED}\r\n"),
        format!("{NAME}:\r\n {FORGED}\r\n"),
        format!("{NAME}:{}\r\n", FORGED.replace(';', ";\r\n\t")),
        format!("{NAME}: {FORGED}\r\n{NAME}: {FORGED}\r\n"),
        format!("{NAME}: {FORGED}, {FORGED}\r\n"),
        format!(" {NAME}: {FORGED}\r\n"),
        format!("X-First: 1\r\n {NAME}: {FORGED}\r\n"),
        format!("Subject: a\r{NAME}: {FORGED}\r\n"),
        format!("Subject: a\n{NAME}: {FORGED}\r\n"),
        format!("Subject: a\0\r\n{NAME}\0: {FORGED}\r\n"),
        format!("{NAME}%3a: {FORGED}\r\n{NAME}: \r\n"),
    ];
    let (mut passed, mut refused, mut wrong) = (0, 0, Vec::new());
    for (number, spelling) in spellings.iter().enumerate() {
        let mut link = world.place.link(EVIL).await?;
        let call_id = format!("look-trust-{number}");
        let text = Letter::new(EVIL, INSIDE, &call_id).with(spelling).text();
        let answer = link.send_and_wait(text, PROMPT).await.ok().and_then(|answer| answer.status());
        if answer != Some(200) {
            refused += 1;
            continue;
        }
        passed += 1;
        let heard = world.inside.of(&call_id);
        let head = &heard.first().filter(|_| heard.len() == 1).context("one message inside")?.head;
        // As a reader sees it that takes any control character for the end of a line.
        let head = unfolded(head);
        let stamped = head
            .split(['\r', '\n', '\0'])
            .filter(|line| line.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case(NAME)));
        let stamped: Vec<&str> = stamped.collect();
        if stamped.len() != 1 || stamped[0].contains("forged") || !stamped[0].contains("evil.example") {
            wrong.push(format!("{spelling:?} arrives as {stamped:?}"));
        }
    }
    let figure = format!("{} spellings: {passed} passed, {refused} refused {}", spellings.len(), wrong.join(" | "));
    let bound = "one header inside, the edge's own";
    Ok(line("trust forged by a partner", figure, bound, wrong.is_empty() && passed >= 5))
}

/// A partner stamps its answers.
async fn in_answers(world: &World) -> Result<Line> {
    let mut link = world.place.link_to(world.place.edge_inside(), crate::world::EDGE, WITNESS).await?;
    let text = Letter::new(INSIDE, EVIL, "look-stamp-answer").text();
    let answer = link.send_and_wait(text, PROMPT).await?;
    let whole = String::from_utf8_lossy(answer.as_bytes()).into_owned();
    ensure!(answer.status() == Some(200), "the partner's answer does not come: {}", told(&answer));
    let heard = timeout(PROMPT, world.evil.wait("look-stamp-answer", 1)).await.context("the partner hears nothing")?;
    let left = heard.iter().any(|heard| heard.field(NAME).is_some());
    let figure = match (whole.contains("forged"), left) {
        (false, false) => "nothing of it inside, nothing of ours outside".to_owned(),
        (came, left) => format!("forged inside: {came}; ours outside: {left}; {whole:?}"),
    };
    Ok(line("trust forged in a partner's answer", &figure, "is stripped", figure.starts_with("nothing")))
}

/// Hosts of ours that are no edge, and partners that got inside, at the clearing house and the home.
async fn behind(world: &World) -> Result<Line> {
    let (mut refused, mut wrong) = (0, Vec::new());
    for (host, name, port) in [(3, HOUSE, 5061), (1, HOME, 5070)] {
        for certificate in [EVIL, GOOD, WITNESS, HOME, HOUSE] {
            // Home believes its own edge only, and the clearing house its own; nobody here is one.
            let mut link = world.place.link_to(world.place.at(host, port), name, certificate).await?;
            let text = String::from_utf8(push::message(&push::request().to_string(), GOOD, HOUSE_DOMAIN))?;
            let text = text.replace("Call-ID: push\r\n", &format!("Call-ID: push\r\n{NAME}: {FORGED}\r\n"));
            let answer = link.send_and_wait(text, PROMPT).await.with_context(|| format!("{certificate} at {name}"))?;
            match told(&answer) {
                heard if heard == "403 forged-trust" => refused += 1,
                heard => wrong.push(format!("{certificate} at {name}: {heard}")),
            }
        }
    }
    let figure = format!("{refused} of 10 refused {}", wrong.join(" | "));
    Ok(line("trust forged behind the edge", figure, "403 forged-trust, all of them", wrong.is_empty()))
}

/// A partner that reaches the edge's inner side is no server of ours.
async fn inner_door(world: &World) -> Result<Line> {
    let mut heard = Vec::new();
    for certificate in [EVIL, GOOD] {
        let mut link = world.place.link_to(world.place.edge_inside(), crate::world::EDGE, certificate).await?;
        let answer = link.send_and_wait(Letter::new(INSIDE, EVIL, "look-inner").text(), PROMPT).await?;
        heard.push(told(&answer));
    }
    let ok = heard.iter().all(|heard| heard == "403 forged-trust") && world.evil.of("look-inner").is_empty();
    Ok(line("a partner at the inner side", heard.join(", "), "403 forged-trust; nothing leaves", ok))
}
