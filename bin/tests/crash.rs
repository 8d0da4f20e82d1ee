//! Promise 1 of DESIGN.md §1 on the real binary: "accepted means kept", a message may be repeated under the same id, and
//! no phone rings twice for one call. The clearing house is a process that is killed (SIGKILL) again and again while
//! push requests come in and pushes go out; the test plays the publisher's edge, and repeats what was not answered as
//! home's outbox does.

#![allow(clippy::disallowed_methods, reason = "the test plays a partner, and partners have the wall clock")]

#[path = "support/house.rs"]
mod house;
mod support;
#[path = "crash/world.rs"]
mod world;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reveille_core::{Channel, DeviceToken, Environment, Event, IdentityId, Provider, PushId, Timestamp};
use reveille_federation::request::{CONTENT_TYPE_V1, Call, Media, To, write_body};
use reveille_federation::{PushRequest, Taken, push_result};
use reveille_sim::recorder::{Push as _, Query};
use reveille_sip::{Message, Method, Name, RequestBuilder};
use tokio::time::timeout;

use house::EDGE;
use support::STEP;
use world::World;

const TEAM: &str = "CRASHTEAM1";
const KEY_ID: &str = "CRASHKEY01";
const APP: &str = "org.reveille.crash";
/// The most push requests of one MESSAGE.
const BATCH_MAX: usize = 32;
/// MESSAGEs that wait for their answer at once.
const WINDOW: usize = 8;
/// Whatever happens, the test ends.
const LIMIT: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clearing_house_killed_at_random_instants_loses_nothing_and_rings_nobody_twice() -> Result<()> {
    let (requests, kills) = (from_env("REVEILLE_CRASH_REQUESTS", 2000), from_env("REVEILLE_CRASH_KILLS", 20));
    timeout(LIMIT.max(Duration::from_millis(50 * requests as u64)), random_kills(requests, kills)).await?
}

async fn random_kills(requests: usize, kills: usize) -> Result<()> {
    let mut dice = dice()?;
    let mut world = World::start("crash").await?;
    let begun = Instant::now();
    let mut told = Told::new(batches(requests, &mut dice));
    // Each kill comes some time after so many requests were first sent: in the middle of sending, journaling, answering.
    let mut instants: Vec<usize> = (0..kills).map(|_| dice.random_range(0..requests)).collect();
    instants.sort_unstable();
    let mut cut_short = 0;
    for after in instants {
        // Mostly in the thick of it, sometimes when everything has come to rest.
        let micros = if dice.random_bool(0.7) { dice.random_range(0..5_000) } else { dice.random_range(0..100_000) };
        let delay = Duration::from_micros(micros);
        told.send_all(&world, Some(Kill { after, delay })).await?;
        cut_short += usize::from(told.under_way > 0);
        world.kill_and_revive()?;
    }
    told.send_all(&world, None).await?;
    let answered_secs = begun.elapsed().as_secs_f64();
    world.until_idle().await?;
    told.repeat_everything(&world).await?;
    world.until_idle().await?;
    let seconds = begun.elapsed().as_secs_f64();
    let figures = world.finish(&told)?;
    say(&format!(
        "random kills: {requests} requests in {} MESSAGEs, {kills} kills, {cut_short} of them with requests unanswered; \
         {} sent again, {} of these answered as duplicate; {figures}; all answered after {answered_secs:.1} s, all \
         settled after {seconds:.1} s",
        told.batches.len(),
        told.repeated,
        told.duplicates,
    ));
    let met = figures.repeated_deliveries + figures.outcome_unknown;
    ensure!(kills < 10 || (cut_short > 0 && met > 0), "no kill met anything on its way: the test has shown nothing");
    Ok(())
}

/// The provider takes pushes and is slow to answer, so that every push is in flight when the clearing house dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_clearing_house_killed_while_the_provider_holds_its_answers_repeats_messages_only() -> Result<()> {
    timeout(LIMIT, kills_in_flight()).await?
}

async fn kills_in_flight() -> Result<()> {
    const ROUNDS: usize = 4;
    const EACH: usize = 60;
    let mut dice = dice()?;
    let mut world = World::start("crash-held").await?;
    let begun = Instant::now();
    let mut told = Told::new(Vec::new());
    for round in 0..ROUNDS {
        world.apns.hold();
        let before = world.apns.recorder().latest();
        let first = told.batches.len();
        told.add(batches(EACH, &mut dice));
        told.send_all(&world, None).await?;
        let query = Query { after: before + EACH as u64 - 1, ..Query::default() };
        timeout(STEP, world.apns.recorder().wait(query)).await.context("every push reaches the provider")?;
        world.kill_and_revive()?;
        world.apns.release();
        world.until_idle().await?;
        for request in told.batches[first..].iter().flat_map(|batch| &batch.requests) {
            let seen = world.seen(request);
            let delivered = seen.iter().filter(|entry| entry.push.delivered()).count();
            match request.channel {
                Channel::Voip => ensure!(
                    seen.len() == 1 && delivered == 0,
                    "round {round}: a call that was in flight when the clearing house died was sent again: {seen:?}"
                ),
                Channel::Message => ensure!(
                    seen.len() == 2 && delivered == 1,
                    "round {round}: a message that was in flight was not repeated exactly once: {seen:?}"
                ),
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let voip = told.requests().filter(|request| request.channel == Channel::Voip).count();
    let figures = world.finish(&told)?;
    ensure!(figures.outcome_unknown == voip, "{figures}: and {voip} calls were in flight");
    say(&format!("kills in flight: {} requests, {ROUNDS} kills; {figures}; {seconds:.1} s", told.requests().count()));
    Ok(())
}

/// When the clearing house is killed: so long after so many requests have been sent for the first time.
struct Kill {
    after: usize,
    delay: Duration,
}

/// The requests of one MESSAGE.
struct Batch {
    requests: Vec<PushRequest>,
    /// How often it was sent.
    attempts: u32,
    answered: bool,
}

/// What the edge has to say and what it was answered.
struct Told {
    batches: Vec<Batch>,
    /// Batches to be sent, repetitions first.
    waiting: VecDeque<usize>,
    /// Requests that have been sent at least once.
    sent: usize,
    repeated: usize,
    duplicates: usize,
    /// Batches that were unanswered when the last connection ended.
    under_way: usize,
}

impl Told {
    fn new(batches: Vec<Batch>) -> Self {
        let waiting = (0..batches.len()).collect();
        Self { batches, waiting, sent: 0, repeated: 0, duplicates: 0, under_way: 0 }
    }

    fn add(&mut self, batches: Vec<Batch>) {
        self.waiting.extend(self.batches.len()..self.batches.len() + batches.len());
        self.batches.extend(batches);
    }

    fn requests(&self) -> impl Iterator<Item = &PushRequest> {
        self.batches.iter().flat_map(|batch| &batch.requests)
    }

    /// Sends what waits over one connection, until everything is answered or the time of the kill has come. What is
    /// unanswered then waits again, before everything else.
    async fn send_all(&mut self, world: &World, kill: Option<Kill>) -> Result<()> {
        let mut link = world.connect().await?;
        let mut under_way = BTreeSet::new();
        let mut dies_at = None;
        loop {
            if let Some(kill) = &kill
                && dies_at.is_none()
                && self.sent >= kill.after
            {
                dies_at = Some(tokio::time::Instant::now() + kill.delay);
            }
            while under_way.len() < WINDOW
                && let Some(index) = self.waiting.pop_front()
            {
                link.send(self.message(index), STEP).await?;
                under_way.insert(index);
                // So that the kill comes after this many, and not after a whole window more.
                if kill.as_ref().is_some_and(|kill| dies_at.is_none() && self.sent >= kill.after) {
                    break;
                }
            }
            let answer = match dies_at {
                None if under_way.is_empty() && self.waiting.is_empty() => return Ok(()),
                None if under_way.is_empty() => continue,
                None => link.next(STEP).await?,
                Some(end) => match tokio::time::timeout_at(end, link.next(STEP)).await {
                    Ok(answer) if !under_way.is_empty() => answer?,
                    Ok(answer) => bail!("an answer to nothing: {answer:?}"),
                    Err(_) => break,
                },
            };
            let index = self.take(&answer)?;
            under_way.remove(&index);
        }
        self.under_way = under_way.len();
        under_way.into_iter().rev().for_each(|index| self.waiting.push_front(index));
        Ok(())
    }

    /// Everything once more: it is all known, and nothing is pushed again.
    async fn repeat_everything(&mut self, world: &World) -> Result<()> {
        let before = world.apns.recorder().latest();
        let (duplicates, repeated) = (self.duplicates, self.repeated);
        self.waiting = (0..self.batches.len()).collect();
        self.send_all(world, None).await?;
        let now = std::mem::replace(&mut self.duplicates, duplicates) - duplicates;
        self.repeated = repeated;
        ensure!(now == self.requests().count(), "{now} requests were known as duplicates, and not all");
        ensure!(world.apns.recorder().latest() == before, "a duplicate was pushed");
        Ok(())
    }

    /// One transmission of a batch: the same ids, and `sent` renewed.
    fn message(&mut self, index: usize) -> BytesMut {
        let batch = &mut self.batches[index];
        let now = now();
        for request in &mut batch.requests {
            request.expires = now.plus(request.expires.since(request.sent));
            request.sent = now;
        }
        match batch.attempts {
            0 => self.sent += batch.requests.len(),
            _ => self.repeated += batch.requests.len(),
        }
        batch.attempts += 1;
        let branch = format!("{index}.{}", batch.attempts);
        let body = write_body(&batch.requests);
        let mut out = BytesMut::with_capacity(1024 + body.len());
        let written = RequestBuilder::new(&mut out, Method::Message, "sip:push@push.example.net")
            .header(Name::Via, format_args!("SIP/2.0/TLS {EDGE};branch=z9hG4bKe{branch}"))
            .header(Name::Via, format_args!("SIP/2.0/TLS edge.contoso.com;branch=z9hG4bKc{branch};received=127.0.0.1"))
            .header(Name::MaxForwards, "69")
            .header(Name::From, format_args!("<sip:mcx@contoso.com>;tag={index}"))
            .header(Name::To, "<sip:push@push.example.net>")
            .header(Name::CallId, format_args!("{index}@home.contoso.com"))
            .header(Name::CSeq, "1 MESSAGE")
            .header(
                Name::EdgeTrust,
                format_args!(
                    "ms-source-type=DirectPartner;ms-ep-fqdn={EDGE};ms-source-verified-user=unverified;\
                     ms-source-network=federation;ms-remote-fqdn=edge.contoso.com"
                ),
            )
            .content(CONTENT_TYPE_V1, &body)
            .finish();
        written.expect("the test's own request can be written");
        out
    }

    /// Takes an answer: 202, and each request of the batch journaled or known.
    fn take(&mut self, answer: &Message) -> Result<usize> {
        let index = answer.call_id().and_then(|id| id.split_once('@')?.0.parse::<usize>().ok());
        let index = index.context("an answer without a Call-ID of ours")?;
        ensure!(answer.status() == Some(202), "MESSAGE {index} was answered {:?}: {answer:?}", answer.status());
        let batch = self.batches.get_mut(index).context("an answer to nothing")?;
        let results = push_result::read(answer.headers(Name::PushResult)).map_err(anyhow::Error::msg)?;
        ensure!(results.len() == batch.requests.len(), "MESSAGE {index}: {} results", results.len());
        for result in results {
            match result.taken {
                Taken::Journaled => {}
                Taken::Duplicate if batch.attempts > 1 => self.duplicates += 1,
                other => bail!("MESSAGE {index}, sent {} time(s): {other:?}", batch.attempts),
            }
        }
        batch.answered = true;
        Ok(index)
    }
}

/// So many requests, cut into MESSAGEs of one request and of up to 32. One in five is a call.
fn batches(requests: usize, dice: &mut StdRng) -> Vec<Batch> {
    let (mut batches, mut left) = (Vec::new(), requests);
    while left > 0 {
        let size = if dice.random_bool(0.6) { 1 } else { dice.random_range(2..=BATCH_MAX) }.min(left);
        let requests = (0..size).map(|at| request(left - at, dice)).collect();
        batches.push(Batch { requests, attempts: 0, answered: false });
        left -= size;
    }
    batches
}

fn request(number: usize, dice: &mut StdRng) -> PushRequest {
    let is_call = number.is_multiple_of(5);
    let now = now();
    PushRequest {
        id: PushId::from_parts(now, dice.random()),
        identity: IdentityId::from_u128(number as u128 + 1),
        event: if is_call { Event::Call } else { Event::Message },
        channel: if is_call { Channel::Voip } else { Channel::Message },
        to: Some(To {
            provider: Provider::Apns,
            app: APP.into(),
            environment: Environment::Production,
            token: DeviceToken::new(format!("{:032x}{number:032x}", dice.random::<u128>())),
        }),
        sent: now,
        // A call that waits for a dead clearing house longer than it rings would expire, rightly; not today.
        expires: now.plus(Duration::from_secs(3600)),
        priority: None,
        collapse: None,
        badge: (!is_call).then_some(1),
        alert: None,
        sound: None,
        call: is_call.then(|| Call { id: format!("call-{number}").into(), media: Media::Audio, caller: None }),
        sealed: None,
        registered: Timestamp::from_millis(1),
        traceparent: None,
        must_understand: Vec::new(),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as u64)
}

/// Randomness that can be had again with REVEILLE_CRASH_SEED.
fn dice() -> Result<StdRng> {
    let seed = match std::env::var("REVEILLE_CRASH_SEED") {
        Ok(text) => text.parse().context("REVEILLE_CRASH_SEED")?,
        Err(_) => rand::random(),
    };
    say(&format!("REVEILLE_CRASH_SEED={seed}"));
    Ok(StdRng::seed_from_u64(seed))
}

fn from_env(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[allow(clippy::print_stdout, reason = "figures and seeds are what a person wants to see of this test")]
fn say(text: &str) {
    println!("{text}");
}
