//! A good partner that writes and calls all the while: whatever is done to the edge, somebody else is served.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;
use reveille_sim::phone::RawError;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::call::Call;
use crate::letter::{Letter, told};
use crate::support::push;
use crate::world::{GOOD, HOUSE_DOMAIN, INSIDE, Place};

/// How often it writes.
const PACE: Duration = Duration::from_millis(3);
/// How long it pauses between two calls.
const PAUSE: Duration = Duration::from_millis(10);
/// Every so many messages one is a push request, which the clearing house syncs to disk before it answers.
const PUSH_EVERY: u64 = 64;
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What it does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Errand {
    /// It calls, talks, and hangs up.
    Calls,
    /// It writes messages, and push requests among them.
    Messages,
}

/// The good partner, on a thread of its own.
pub(crate) struct Neighbour {
    notes: Arc<Mutex<Notes>>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Notes {
    /// When the machine was asked to wake a thread, and how late it did.
    lateness: Vec<(Instant, Duration)>,
    /// When each message was sent, and how long its answer took; or when each call began, and how long it was.
    samples: Vec<(Instant, Duration)>,
    pushes: u64,
    failures: Vec<String>,
}

/// How the good partner was served in some time.
pub(crate) struct Served {
    pub(crate) count: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) most: Duration,
    /// How late the machine was to wake a thread that wanted nothing but the time: 99 of 100 times it was less.
    pub(crate) late: Duration,
}

impl Served {
    /// How slow it may be beside an attack if it was like this in quiet: twice as slow, or by `slack`, and by what the
    /// machine itself was late, which here plays both sides, for the two that wait for each other.
    pub(crate) fn bound(&self, beside: &Self, slack: Duration) -> Duration {
        (self.p99 * 2).max(self.p99 + slack) + beside.late.saturating_sub(self.late) * 2
    }
}

impl Neighbour {
    /// Starts its errand. Its thread has the priority of an ordinary program; the attackers' threads have less.
    pub(crate) fn start(place: Place, errand: Errand) -> Result<Self> {
        let notes = Arc::new(Mutex::new(Notes::default()));
        let stop = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (own, until) = (Arc::clone(&notes), stop.clone());
        let writing = async move {
            while !until.is_cancelled() {
                let visit = match errand {
                    Errand::Calls => until.run_until_cancelled(call(&place, &own)).await,
                    Errand::Messages => until.run_until_cancelled(write(&place, &own)).await,
                };
                if let Some(Err(failure)) = visit {
                    own.lock().failures.push(format!("{failure:#}"));
                }
            }
        };
        let thread = |name: &str| std::thread::Builder::new().name(name.into());
        let writer = thread("neighbour").spawn(move || runtime.block_on(writing))?;
        let (own, until) = (Arc::clone(&notes), stop.clone());
        let metronome = thread("metronome").spawn(move || tick(&own, &until))?;
        Ok(Self { notes, stop, threads: vec![writer, metronome] })
    }

    /// How it was served from then until now.
    pub(crate) fn served(&self, from: Instant) -> Served {
        self.served_in(&[(from, Instant::now())])
    }

    /// How it was served within these times.
    pub(crate) fn served_in(&self, times: &[(Instant, Instant)]) -> Served {
        let notes = self.notes.lock();
        let within = |at: &Instant| times.iter().any(|(from, to)| from <= at && at <= to);
        let sorted = |all: &[(Instant, Duration)]| {
            let mut within: Vec<_> = all.iter().filter(|(at, _)| within(at)).map(|(_, took)| *took).collect();
            within.sort_unstable();
            within
        };
        let (samples, lateness) = (sorted(&notes.samples), sorted(&notes.lateness));
        Served {
            count: samples.len(),
            p50: percentile(&samples, 50),
            p99: percentile(&samples, 99),
            most: samples.last().copied().unwrap_or_default(),
            late: percentile(&lateness, 99),
        }
    }

    /// Waits until it has written so many messages, or made so many calls, more.
    pub(crate) async fn written(&self, more: usize) -> Result<()> {
        let enough = self.notes.lock().samples.len() + more;
        let end = Instant::now() + Duration::from_secs(20);
        let mut turn = interval(Duration::from_millis(10));
        while self.notes.lock().samples.len() < enough {
            ensure!(Instant::now() < end, "the good partner is not served: {:?}", self.notes.lock().failures);
            turn.tick().await;
        }
        Ok(())
    }

    /// Ends it. Answers how many messages and pushes were answered well, and what went wrong.
    pub(crate) fn finish(mut self) -> Result<(usize, u64, Vec<String>)> {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            thread.join().ok().context("the good partner's thread has panicked")?;
        }
        let notes = std::mem::take(&mut *self.notes.lock());
        Ok((notes.samples.len(), notes.pushes, notes.failures))
    }
}

/// Asks again and again to be woken in a millisecond, and notes how late that was.
fn tick(notes: &Mutex<Notes>, until: &CancellationToken) {
    const TURN: Duration = Duration::from_millis(1);
    while !until.is_cancelled() {
        let asked = Instant::now();
        std::thread::sleep(TURN);
        notes.lock().lateness.push((asked, asked.elapsed().saturating_sub(TURN)));
    }
}

/// What so many of 100 are not above.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default()
}

async fn write(place: &Place, notes: &Mutex<Notes>) -> Result<()> {
    let mut link = place.link(GOOD).await.context("the good partner cannot connect")?;
    let mut turn = interval(PACE);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        turn.tick().await;
        if number % PUSH_EVERY == 0 {
            let text = push::message(&push::request().to_string(), GOOD, HOUSE_DOMAIN);
            let answer = link.send_and_wait(text, PATIENCE).await.context("a push request")?;
            ensure!(told(&answer) == "202 0;result=journaled", "a push request was answered {}", told(&answer));
            notes.lock().pushes += 1;
            continue;
        }
        let text = Letter::new(GOOD, INSIDE, "plain").text();
        let sent = Instant::now();
        let answer: Result<_, RawError> = link.send_and_wait(text, PATIENCE).await;
        let answer = answer.with_context(|| format!("message {number} of this connection"))?;
        ensure!(answer.status() == Some(200), "a message was answered {}", told(&answer));
        notes.lock().samples.push((sent, sent.elapsed()));
    }
    Ok(())
}

async fn call(place: &Place, notes: &Mutex<Notes>) -> Result<()> {
    let mut link = place.link(GOOD).await.context("the good partner cannot connect for a call")?;
    for number in 0_u64.. {
        tokio::time::sleep(PAUSE).await;
        let begun = Instant::now();
        let played = Call::new(GOOD, INSIDE, &format!("good-{number}")).play(&mut link).await;
        played.with_context(|| format!("call {number} of this connection"))?;
        notes.lock().samples.push((begun, begun.elapsed()));
    }
    Ok(())
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50, p99, most, late } = self;
        let [p50, p99, most, late] = [p50, p99, most, late].map(|time| ms(*time));
        write!(f, "{count}, p50 {p50:.1} p99 {p99:.1} most {most:.1} ms, the machine late by {late:.1}")
    }
}

/// As milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
