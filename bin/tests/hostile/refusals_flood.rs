//! Floods of what is refused: by somebody blocked, by somebody unknown, by a partner far above its rate; of messages,
//! calls, questions to the edge itself and CANCELs for nothing. The good partner notices none of it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::call::Call;
use crate::hose::storm;
use crate::letter::Letter;
use crate::neighbour::{Neighbour, Served, ms};
use crate::report::{Line, timed};
use crate::world::{EDGE, FLOOD, INSIDE, STRANGER, World};

/// Who floods: with which certificate, for which domain, on how many connections.
const FLOODS: [(&str, &str, &str, usize); 3] = [
    ("blocked", STRANGER, "blocked.example", 8),
    ("unlisted", STRANGER, STRANGER, 8),
    ("above its rate", FLOOD, FLOOD, 8),
];
/// How long each of them lasts: 1,000 messages of the good partner and more fall into it.
const TIME: Duration = Duration::from_millis(4500);
/// Its handshakes and its first rush are over by then.
const SETTLED: Duration = Duration::from_millis(700);
/// Samples before each flood, to compare with: machines have moods.
const QUIET: usize = 340;
/// How much slower the good partner may be served.
const SLACK: Duration = Duration::from_millis(10);

pub(crate) async fn play(world: &World, neighbour: &Neighbour) -> Result<Vec<Line>> {
    let open_before = world.descriptors()?;
    let (mut quiet, mut floods) = (Vec::new(), Vec::new());
    for (who, certificate, domain, connections) in FLOODS {
        let begun = Instant::now();
        neighbour.written(QUIET).await?;
        quiet.push((begun, Instant::now()));
        let (cpu, flooded) = (world.cpu(), Instant::now());
        let text = move || requests(domain);
        let tally = storm(&world.place, certificate, connections, TIME, text).await?;
        let share = (world.cpu() - cpu).as_secs_f64() / flooded.elapsed().as_secs_f64() * 100.0;
        let served = neighbour.served_in(&[(flooded + SETTLED, flooded + TIME)]);
        let sent = tally.sent.load(Ordering::Relaxed);
        let name = format!("{who}, on {connections} connections: the good partner's p99");
        let figure =
            format!("{sent} sent, {:?} in {:.1} s, {share:.0} % of a processor", tally.statuses(), TIME.as_secs_f64());
        floods.push((name, served, figure));
        world.until_descriptors(open_before + 8)?;
    }
    let quiet = neighbour.served_in(&quiet);
    Ok(floods.into_iter().map(|(name, served, figure)| compared(name, &quiet, &served, &figure)).collect())
}

/// One flood beside the quiet between them.
fn compared(name: String, quiet: &Served, served: &Served, figure: &str) -> Line {
    let bound = quiet.bound(served, SLACK);
    timed(
        name,
        format!(
            "{:.1} ms of {}, quiet {:.1} ms of {}; {figure}",
            ms(served.p99),
            served.count,
            ms(quiet.p99),
            quiet.count
        ),
        format!("{:.1} ms", ms(bound)),
        served.p99 <= bound && served.count >= 800 && quiet.count >= 1000,
    )
}

/// One of each kind.
fn requests(domain: &str) -> String {
    let call = Call::new(domain, INSIDE, &format!("flood-{:016x}", rand::random::<u64>()));
    let question = Letter::new(domain, EDGE, "plain").text().replace("MESSAGE", "OPTIONS");
    [Letter::new(domain, INSIDE, "plain").text(), call.invite(), question, call.beside("CANCEL")].concat()
}
