//! Twice as much as goes, by rate and whatever becomes of it: what is taken, and how the rest is told.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::house::House;
use super::paced::Paced;
use super::{Load, Outcome, megabytes, rounded};

/// Of what goes at most, so much is still taken.
const TAKEN: f64 = 0.9;

/// Offers twice `most` a second.
pub(super) async fn measure(load: &Load, dir: &Path, most: f64) -> Result<Outcome> {
    let house = House::open(dir).await?;
    let lasts = Duration::from_secs(load.seconds.into());
    let told = Paced::offer(&house, 1, (2.0 * most, lasts), load.connections).await?;
    let waiting = told.accepted.saturating_sub(house.delivered().await?);
    house.until_idle().await?;
    let (peak, delivered) = (megabytes(house.usage().peak_rss_bytes), house.delivered().await?);
    house.close().await?;
    let share = told.accepted_per_s / most;
    let explicit = told.wrong == 0 && told.unanswered == 0;
    let text = format!(
        "at twice that rate, for {} s: {:.0} a second were offered\n  \
         {:>10.0} a second accepted, {share:.2} of the most; {:.2} ms p50, {:.2} ms p99 to 202\n  \
         {:>10} refused with the time to come back, after {:.2} ms (p99); {} with another answer, {} without one\n  \
         {:>10} accepted in all, {waiting} of them waiting at the end of it, {delivered} delivered\n  \
         {peak:>10.0} MB peak memory",
        load.seconds,
        told.offered_per_s,
        told.accepted_per_s,
        told.p50_ms,
        told.p99_ms,
        told.refused,
        told.refused_p99_ms,
        told.wrong,
        told.unanswered,
        told.accepted,
    );
    let json = serde_json::json!({
        "offered_per_s": told.offered_per_s.round(), "accepted_per_s": told.accepted_per_s.round(),
        "accepted_of_most": rounded(share), "p50_ms": told.p50_ms, "p99_ms": told.p99_ms,
        "refused": told.refused, "refused_p99_ms": told.refused_p99_ms, "wrong": told.wrong,
        "unanswered": told.unanswered, "accepted": told.accepted, "waiting": waiting, "delivered": delivered,
        "peak_rss_mb": peak.round(),
    });
    Ok(Outcome { text, json, complete: share >= TAKEN && explicit && delivered == told.accepted })
}
