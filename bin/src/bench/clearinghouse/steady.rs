//! How long an answer takes at a rate that leaves room, and what a push costs that waits.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::house::House;
use super::paced::Paced;
use super::{Load, Outcome, megabytes, rounded};

/// Pushed before anything queues: buffers and caches are as large as they get.
const WARM: usize = 20_000;
/// So many fit into the windows of the lanes.
const IN_MEMORY: usize = 12_000;
/// So many queue in all.
const QUEUED: usize = 200_000;

/// Offers so many a second, each at its time.
pub(super) async fn measure(load: &Load, dir: &Path, rate: f64) -> Result<Outcome> {
    let house = House::open(dir).await?;
    house.push(1..=WARM, load.wide()).await?;
    house.until_idle().await?;
    let before = house.usage().cpu;
    let lasts = Duration::from_secs(load.seconds.into());
    let told = Paced::offer(&house, WARM + 1, (rate, lasts), load.connections).await?;
    house.until_idle().await?;
    let cpu_us = (house.usage().cpu - before).as_micros() as f64 / told.accepted.max(1) as f64;
    house.close().await?;
    let text = format!(
        "at half that rate, for {} s\n  \
         {:>10.2} ms p50, {:.2} ms p99 from request to 202   ({} requests)\n  \
         {:>10.2} CPU µs per notification",
        load.seconds, told.p50_ms, told.p99_ms, told.accepted, cpu_us
    );
    let json = serde_json::json!({
        "rate_per_s": rate.round(), "samples": told.accepted, "p50_ms": told.p50_ms, "p99_ms": told.p99_ms,
        "cpu_us_per_unit": rounded(cpu_us),
    });
    Ok(Outcome { text, json, complete: told.accepted == told.offered })
}

/// Lets pushes queue whose push service has gone away.
pub(super) async fn queue(load: &Load, dir: &Path) -> Result<Outcome> {
    let house = House::open(dir).await?;
    house.push(1..=WARM, load.wide()).await?;
    house.until_idle().await?;
    house.service_down().await?;
    let empty = house.resident()?;
    let each = |now: u64, count: usize| now.saturating_sub(empty) as f64 / count as f64;
    house.push(WARM + 1..=WARM + IN_MEMORY, load.wide()).await?;
    let (held, more) = house.open_pushes().await?;
    ensure!(held == IN_MEMORY as u64 && !more, "{held} of {IN_MEMORY} pushes are in memory");
    let in_memory = each(house.resident()?, IN_MEMORY);
    house.push(WARM + IN_MEMORY + 1..=WARM + QUEUED, load.wide()).await?;
    let (held, full) = (house.open_pushes().await?.0, house.resident()?);
    house.close().await?;
    let queued = each(full, QUEUED);
    let text = format!(
        "pushes that queue, their push service being away\n  \
         {in_memory:>10.0} bytes of memory each, as long as all of {IN_MEMORY} are in memory\n  \
         {queued:>10.0} bytes of memory each of {QUEUED}, of which {held} are in memory; {:.0} MB in all",
        megabytes(full)
    );
    let json = serde_json::json!({
        "in_memory": IN_MEMORY, "memory_bytes_each_in_memory": in_memory.round(), "queued": QUEUED,
        "memory_bytes_each": queued.round(), "held": held, "rss_mb": megabytes(full).round(),
    });
    Ok(Outcome { text, json, complete: true })
}
