//! The auditor: compares what the homes were told with what the provider received and what the journal knows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use anyhow::{Context as _, Result};
use reveille_core::delivery::PushState;
use reveille_core::{Channel, Reason};
use reveille_store::{Journal as _, SqliteJournal};
use serde_json::Value;

use crate::ledger::{Asked, Counts, Ledger};

/// One push as the provider received it.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) seq: u64,
    at_ms: u64,
    token: String,
    apns_id: String,
    /// The home's own id, from the payload.
    pub(crate) push: String,
    outcome: Outcome,
    /// Whether the provider called the token dead.
    dead: bool,
}

/// What the provider did with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// The phone has it.
    Delivered,
    /// Provably not processed, or refused: it may come again.
    Refused,
    /// It got no answer, and the phone does not have it; only the provider knows.
    Silent,
}

impl Arrival {
    pub(crate) fn read(entry: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let outcome = match (entry["outcome"].as_str(), entry["status"].as_u64(), entry["delivered"].as_bool()) {
            (Some("answered"), Some(200), _) | (Some("closed"), _, Some(true)) => Outcome::Delivered,
            (Some("answered" | "refused" | "dropped"), ..) => Outcome::Refused,
            (Some("closed" | "abandoned" | "held"), ..) => Outcome::Silent,
            _ => anyhow::bail!("an outcome that nobody knows"),
        };
        let dead = ["Unregistered", "BadDeviceToken"].contains(&entry["reason"].as_str().unwrap_or_default());
        Ok(Self {
            dead,
            seq: entry["seq"].as_u64().context("a number")?,
            at_ms: entry["unix_ms"].as_u64().context("a time")?,
            token: text(&entry["token"]).context("a token")?,
            apns_id: text(&entry["apns_id"]).context("an id")?,
            push: text(&entry["payload"]["reveille"]["push"]).context("the home's id")?,
            outcome,
        })
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    counts: Counts,
    asked: usize,
    pub(crate) accepted: usize,
    calls: usize,
    arrivals: usize,
    delivered: usize,
    /// Messages that the phone got more than once, under one id.
    again: usize,
    /// Accepted pushes that the provider has not taken, by the reason in their trace.
    reasons: BTreeMap<&'static str, usize>,
    /// Calls that ended without anybody knowing whether they rang, and that the provider has never seen.
    unseen_calls: usize,
    dead_tokens: usize,
    /// Tokens that homes were told to forget and no provider has called dead, or the other way round.
    misjudged: usize,
    too_late: usize,
    conversations: usize,
    /// Syncs of the disk, those that failed, writes that found no room.
    pub(crate) syncs: (i64, i64, i64),
    lost: usize,
    new_ids: usize,
    rang_twice: usize,
    to_the_dead: usize,
    disordered: usize,
    /// Calls of one device are not held back behind one another: the second must not wait for the answer to the first.
    disordered_calls: usize,
    /// A sentence for each of the first few.
    pub(crate) faults: Vec<String>,
}

impl Figures {
    /// Whether a promise was not kept. Each call is a conversation of its own; that one of a device has overtaken another
    /// is counted, and judged where the caller is strict.
    pub(crate) fn broken(&self, strict: bool) -> bool {
        let always = self.lost + self.new_ids + self.rang_twice + self.to_the_dead + self.misjudged + self.disordered;
        always > 0 || (strict && self.disordered_calls > 0)
    }

    fn fault(&mut self, which: fn(&mut Self) -> &mut usize, sentence: impl FnOnce() -> String) {
        *which(self) += 1;
        if self.faults.len() < FAULTS_TOLD {
            self.faults.push(sentence());
        }
    }
}

const FAULTS_TOLD: usize = 30;

/// How long after a home was told that a token is dead a push to it may still arrive that was on its way.
const ON_ITS_WAY_MS: u64 = 1000;

pub(crate) fn audit(
    ledger: &Ledger,
    mut by_push: HashMap<String, Vec<Arrival>>,
    journal: &SqliteJournal,
) -> Result<Figures> {
    let mut figures = Figures { counts: ledger.counts(), ..Figures::default() };
    figures.arrivals = by_push.values().map(Vec::len).sum();
    let mut apns_ids: HashMap<String, String> = HashMap::new();
    let called_dead: HashSet<String> =
        by_push.values().flatten().filter(|arrival| arrival.dead).map(|arrival| arrival.token.clone()).collect();
    // What homes have not been told yet they will be.
    let owed: HashSet<String> =
        journal.feedback_open(usize::MAX)?.iter().map(|owed| owed.item.push.to_string()).collect();
    ledger.read(|all, forgotten| -> Result<()> {
        // By device and conversation, in the order in which they were asked for: when the provider saw each first.
        let mut conversations: HashMap<(&str, usize), Vec<(Arrival, &Asked)>> = HashMap::new();
        figures.asked = all.len();
        figures.dead_tokens = forgotten.len();
        let owed: HashSet<&str> =
            all.iter().filter(|asked| owed.contains(&asked.id.to_string())).map(|asked| &*asked.token).collect();
        let judged = Judged { forgotten, owed };
        for token in forgotten.keys().filter(|token| !called_dead.contains(*token)) {
            figures.fault(
                |f| &mut f.misjudged,
                || format!("no provider has called a token dead that ends in {}", tail(token)),
            );
        }
        for asked in all {
            let arrivals = by_push.remove(&asked.id.to_string()).unwrap_or_default();
            one(asked, &arrivals, &judged, journal, &mut figures)?;
            for arrival in &arrivals {
                let known = apns_ids.entry(arrival.apns_id.clone()).or_insert_with(|| arrival.push.clone());
                if *known != arrival.push {
                    figures.fault(|f| &mut f.new_ids, || format!("{known} and {} share an apns-id", arrival.push));
                }
            }
            if let Some(first) = arrivals.iter().min_by_key(|arrival| arrival.seq) {
                conversations.entry((&asked.token, asked.conversation)).or_default().push((first.clone(), asked));
            }
        }
        figures.conversations = conversations.len();
        for arrived in conversations.values() {
            for pair in arrived.windows(2).filter(|pair| pair[0].0.seq > pair[1].0.seq) {
                let tell = |(arrival, asked): &(Arrival, &Asked)| {
                    let waited = arrival.at_ms.saturating_sub(asked.accepted.unwrap_or(arrival.at_ms));
                    format!("{} (at {} ms, {waited} ms after it was accepted)", asked.id, arrival.at_ms % 1_000_000)
                };
                let (late, early) = (tell(&pair[0]), tell(&pair[1]));
                let (which, what): (fn(&mut Figures) -> &mut usize, _) = match pair[1].1.channel {
                    Channel::Message => (|f| &mut f.disordered, "out of order"),
                    Channel::Voip => (|f| &mut f.disordered_calls, "calls out of order"),
                };
                figures.fault(which, || format!("{what}: {late} came behind {early}"));
            }
        }
        Ok(())
    })?;
    for (push, arrivals) in by_push {
        figures.fault(|f| &mut f.new_ids, || format!("nobody has asked for {push}: {arrivals:?}"));
    }
    Ok(figures)
}

/// What became known of tokens.
struct Judged<'a> {
    /// When a home was told to forget one.
    forgotten: &'a HashMap<String, u64>,
    /// Those of which a home is still to be told.
    owed: HashSet<&'a str>,
}

/// The promises about one push.
fn one(
    asked: &Asked,
    arrivals: &[Arrival],
    judged: &Judged<'_>,
    journal: &SqliteJournal,
    figures: &mut Figures,
) -> Result<()> {
    let Asked { origin, id, token, channel, .. } = asked;
    let delivered = arrivals.iter().filter(|arrival| arrival.outcome == Outcome::Delivered).count();
    let traced = journal.trace(origin, *id)?;
    let state = traced.as_ref().map(|traced| traced.state);
    let tell = |what: &str| format!("{id} {channel:?} of {origin}: {what}: journal {state:?}, provider {arrivals:?}");
    figures.delivered += usize::from(delivered > 0);
    figures.calls += usize::from(*channel == Channel::Voip);
    figures.too_late += usize::from(asked.too_late);
    if asked.accepted.is_some() {
        figures.accepted += 1;
        match state {
            Some(PushState::Accepted) if delivered > 0 => {}
            Some(PushState::NotPushed(reason)) => {
                *figures.reasons.entry(reason.as_str()).or_default() += 1;
                let is_call = *channel == Channel::Voip;
                if reason == Reason::OutcomeUnknown {
                    figures.unseen_calls += usize::from(is_call && arrivals.is_empty());
                }
                let right = match reason {
                    Reason::IdentityDead => {
                        if !judged.forgotten.contains_key(token) && !judged.owed.contains(&**token) {
                            figures.fault(|f| &mut f.misjudged, || tell("ended as dead, and no home is told"));
                        }
                        true
                    }
                    // A call whose first byte may have gone out is not repeated.
                    Reason::OutcomeUnknown => is_call,
                    // One failover, and a call that nobody has taken by then is over.
                    Reason::Expired => is_call,
                    _ => false,
                };
                if !right {
                    let detail = traced.map(|traced| traced.detail).unwrap_or_default();
                    figures.fault(|f| &mut f.lost, || tell(&format!("ended without need ({detail})")));
                }
            }
            _ => figures.fault(|f| &mut f.lost, || tell("accepted and lost")),
        }
    }
    let ids: BTreeSet<&str> = arrivals.iter().map(|arrival| &*arrival.apns_id).collect();
    if ids.len() > 1 || arrivals.iter().any(|arrival| arrival.token != *token) {
        figures.fault(|f| &mut f.new_ids, || tell("repeated under another id, or to another token"));
    }
    match channel {
        Channel::Message => figures.again += usize::from(delivered > 1),
        Channel::Voip => {
            // What was answered with a refusal, or provably not processed, has not rung.
            if arrivals.iter().filter(|arrival| arrival.outcome != Outcome::Refused).count() > 1 {
                figures.fault(|f| &mut f.rang_twice, || tell("a call that may have rung twice"));
            }
        }
    }
    let told = judged.forgotten.get(token).copied().unwrap_or(u64::MAX);
    let late = |arrival: &Arrival| arrival.at_ms > told.saturating_add(ON_ITS_WAY_MS);
    if (asked.too_late && !arrivals.is_empty()) || arrivals.iter().any(late) {
        figures.fault(|f| &mut f.to_the_dead, || tell("pushed to a token after its home was told that it is dead"));
    }
    Ok(())
}

/// Tokens are not for logs, and these are made up; still.
fn tail(token: &str) -> &str {
    token.get(token.len().saturating_sub(4)..).unwrap_or_default()
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { sent, repeated, duplicates, refused } = self.counts;
        let (syncs, failed, no_room) = self.syncs;
        writeln!(
            f,
            "homes asked for {} pushes ({} calls): {sent} sent, {repeated} sent again, {duplicates} known already, \
             {refused} refused for now; {} accepted",
            self.asked, self.calls, self.accepted
        )?;
        writeln!(
            f,
            "the provider received {}, delivered {} pushes, {} messages more than once under one id; not delivered, with \
             a reason: {:?}; calls with an unknown outcome that it has never seen: {}",
            self.arrivals, self.delivered, self.again, self.reasons, self.unseen_calls
        )?;
        writeln!(f, "the disk was synced {syncs} times, failed {failed} times, and had no room for {no_room} writes")?;
        writeln!(f, "{} tokens died; homes asked {} times for dead ones", self.dead_tokens, self.too_late)?;
        write!(
            f,
            "accepted and lost: {}; repeated under a new id: {}; calls that rang twice: {}; pushed to the dead: {}; \
             tokens misjudged: {}; out of order: {} messages and {} calls in {} conversations",
            self.lost,
            self.new_ids,
            self.rang_twice,
            self.to_the_dead,
            self.misjudged,
            self.disordered,
            self.disordered_calls,
            self.conversations
        )
    }
}
