//! A push service that is far away: each connection carries as many pushes as its streams allow, and so do several.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reveille_core::{Clock as _, Provider};
use reveille_federation::request::To;
use reveille_server::SystemClock;
use reveille_sim::recorder::Keep;
use tokio_util::sync::CancellationToken;

use super::{Load, Outcome, is_journaled, message, request};
use crate::bench::source::Source;
use crate::bench::yard::{LOUD, Yard};

const APP: &str = "org.reveille.far";
/// How many connections to the push service. A lane never has fewer than two.
const CONNECTIONS: [usize; 4] = [2, 3, 4, 6];
/// For so many seconds there is enough to send.
const SECONDS: f64 = 4.0;
/// Of what the streams allow, so much is to be used.
const USED: f64 = 0.9;
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends over more and more connections.
pub(super) async fn measure(load: &Load, dir: &Path) -> Result<Outcome> {
    ensure!(load.answer_ms > 0 && load.streams > 0, "streams and the time of an answer are above 0");
    let allowed = f64::from(load.streams) * 1000.0 / load.answer_ms as f64;
    let mut text = format!(
        "answers after {} ms, {} under way on each connection: {allowed:.0} a second on each at most",
        load.answer_ms, load.streams
    );
    let (mut rows, mut complete) = (Vec::new(), true);
    for connections in CONNECTIONS {
        let rate = rate(load, &dir.join(connections.to_string()), connections, allowed).await?;
        let used = rate / (allowed * connections as f64);
        text.push_str(&format!(
            "\n  {rate:>10.0} a second over {connections} connections, {:.0} % of what their streams allow",
            used * 100.0
        ));
        rows.push(serde_json::json!({ "connections": connections, "rate_per_s": rate.round() }));
        complete &= used >= USED;
    }
    let json = serde_json::json!({ "answer_ms": load.answer_ms, "streams": load.streams, "rows": rows });
    Ok(Outcome { text, json, complete })
}

/// How many pushes a second arrive over so many connections.
async fn rate(load: &Load, dir: &Path, connections: usize, allowed: f64) -> Result<f64> {
    std::fs::create_dir_all(dir)?;
    let mut yard = Yard::new(dir, &[APP], connections..=connections).await?;
    let service = yard.service(APP, load.streams, Keep::CountOnly).await?;
    service.delay(Duration::from_millis(load.answer_ms));
    yard.open().await?;
    let count = (allowed * connections as f64 * SECONDS) as usize;
    let write = |index| {
        let mut wanted = request(index, SystemClock.now());
        wanted.to = wanted.to.map(|to| To { provider: Provider::Apns, app: APP.into(), ..to });
        message(LOUD, index, &wanted)
    };
    let (source, stop) = (Source::new(count, Box::new(write), is_journaled), CancellationToken::new());
    let (pool, target) = yard.way().pool(Arc::clone(&source) as _, Arc::clone(&source) as _, load.connections, &stop);
    let timed = async {
        // The first second is for connections, their first answers, and what is accepted meanwhile.
        let (first, last) = (count as u64 / 4, count as u64);
        service.recorder().wait_delivered(first).await;
        let begun = Instant::now();
        service.recorder().wait_delivered(last).await;
        (last - first) as f64 / begun.elapsed().as_secs_f64()
    };
    let timed = tokio::time::timeout(PATIENCE, timed);
    let (rate, ()) = tokio::join!(timed, source.push_through(&pool, &target, count, load.in_flight));
    let rate = rate.context("the pushes do not arrive")?;
    stop.cancel();
    pool.finish().await;
    yard.kill().await?;
    service.shutdown().await;
    Ok(rate)
}
