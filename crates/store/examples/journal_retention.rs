//! What outcomes cost that are remembered: bytes of the file for each push, and whether it stops growing.
//!
//! `cargo run --release -p reveille-store --example journal_retention [FOLDER [REMEMBERED [TIMES [STEP]]]]`: a clock that is turned
//! by hand, a thousand pushes in each of its seconds, each accepted and completed, one in fifty with a reason and feedback
//! that home takes; outcomes are forgotten after `REMEMBERED` pushes as the clearing house does it, in steps of `STEP`
//! once in a minute; `TIMES` such spans in all.

use std::error::Error;
use std::fs;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reveille_core::delivery::PushState;
use reveille_core::{
    AppKey, Channel, Environment, IdentityId, LaneKey, Provider, PushId, Reason, SipDomain, Timestamp,
};
use reveille_store::{
    Appended, Completed, FeedbackEnd, FeedbackItem, Journal, JournalEntry, SqliteJournal, fingerprint, wait,
};

/// Pushes in a second of the turned clock.
const RATE: u64 = 1000;
/// How often is forgotten, in seconds.
const PURGE_SECS: u64 = 60;

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).map_or_else(|| "target".into(), PathBuf::from);
    let argument = |at: usize, default: u64| std::env::args().nth(at).map_or(Ok(default), |text| text.parse::<u64>());
    let (remembered, times, step) = (argument(2, 1_000_000)?, argument(3, 4)?, argument(4, 1000)?);
    let folder = folder.join(format!("journal-retention-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let path = folder.join("clearinghouse.db");
    let outcome = run(&path, remembered, times, usize::try_from(step)?);
    fs::remove_dir_all(&folder)?;
    outcome
}

fn run(path: &Path, remembered: u64, times: u64, at_once: usize) -> Result<(), Box<dyn Error>> {
    let journal = SqliteJournal::open(path)?;
    let mut out = stdout().lock();
    writeln!(
        out,
        "   pushes   known  file MB  log MB  bytes/push known  written in s  forgotten in s  slowest step ms"
    )?;
    let (mut writing, mut forgetting, mut slowest) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut forgotten = 0;
    for second in 0..remembered * times / RATE {
        let begun = Instant::now();
        take_and_end(&journal, second)?;
        writing += begun.elapsed();
        let total = (second + 1) * RATE;
        if second % PURGE_SECS == 0 && total > remembered {
            let before = Timestamp::from_millis((second * 1000).saturating_sub(remembered * 1000 / RATE));
            let begun = Instant::now();
            loop {
                let step = Instant::now();
                let gone = wait(|done| journal.purge(before, at_once, done)).block()?;
                slowest = slowest.max(step.elapsed());
                forgotten += gone as u64;
                if gone < at_once {
                    break;
                }
            }
            forgetting += begun.elapsed();
        }
        if total.is_multiple_of(remembered / 2) {
            let megabytes = |ending: &str| {
                let name = format!("{}{ending}", path.display());
                fs::metadata(name).map_or(0.0, |is| is.len() as f64 / 1e6)
            };
            let (file, known) = (megabytes(""), total - forgotten);
            writeln!(
                out,
                "{total:>9}  {known:>6}  {file:>7.1}  {:>6.1}  {:>16.0}  {:>12.1}  {:>14.1}  {:>15.1}",
                megabytes("-wal"),
                file * 1e6 / known as f64,
                writing.as_secs_f64(),
                forgetting.as_secs_f64(),
                slowest.as_secs_f64() * 1000.0,
            )?;
        }
    }
    let each = forgetting.as_secs_f64() * 1e6 / forgotten.max(1) as f64;
    writeln!(
        out,
        "{each:.2} µs to forget one push, {:.2} µs to take and end it",
        per_push(writing, remembered * times)
    )?;
    journal.close();
    Ok(())
}

fn per_push(time: Duration, pushes: u64) -> f64 {
    time.as_secs_f64() * 1e6 / pushes as f64
}

/// A second's pushes: taken in eight calls, ended in eight.
fn take_and_end(journal: &SqliteJournal, second: u64) -> Result<(), Box<dyn Error>> {
    let at = Timestamp::from_millis(second * 1000);
    let numbers = (second * RATE..(second + 1) * RATE).collect::<Vec<_>>();
    let appended = numbers.chunks(RATE as usize / 8).map(|some| {
        let entries = some.iter().map(|&n| entry(n, at)).collect();
        wait(|done| journal.append(entries, done))
    });
    let mut seqs = Vec::with_capacity(numbers.len());
    for answers in appended.collect::<Vec<_>>() {
        for answer in answers.block()? {
            let Appended::New { seq } = answer else { return Err(format!("{answer:?}").into()) };
            seqs.push(seq);
        }
    }
    let pairs = numbers.into_iter().zip(seqs).collect::<Vec<_>>();
    let ends = pairs.chunks(RATE as usize / 8).map(|some| {
        let ends = some.iter().map(|&(n, seq)| end(n, seq, at)).collect();
        wait(|done| journal.complete(ends, done))
    });
    for end in ends.collect::<Vec<_>>() {
        end.block()?;
    }
    let owed = journal.feedback_open(usize::MAX)?.into_iter().map(|owed| owed.id).collect::<Vec<_>>();
    wait(|done| journal.feedback_done(owed, FeedbackEnd::Delivered(at), done)).block()?;
    Ok(())
}

fn entry(n: u64, at: Timestamp) -> JournalEntry {
    let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Production };
    let request: Arc<[u8]> = format!("{n:>300}").into_bytes().into();
    JournalEntry {
        origin: origin(),
        asked: "push.example.net".parse().expect("a domain"),
        id: PushId::from_parts(at, u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        lane: LaneKey { app, channel: Channel::Message },
        received: at,
        expires: at.plus(Duration::from_secs(3600)),
        fingerprint: fingerprint(&request),
        sending: false,
        request,
    }
}

fn end(n: u64, seq: u64, at: Timestamp) -> Completed {
    if !n.is_multiple_of(50) {
        return Completed { seq, state: PushState::Accepted, detail: String::new(), at, feedback: None, death: None };
    }
    let feedback = FeedbackItem {
        push: PushId::from_u128(n.into()),
        identity: IdentityId::from_u128(n.into()),
        token_generation: 1,
        verdict: "state".into(),
        reason: "PayloadTooLarge".into(),
        provider_time: None,
        at,
    };
    let state = PushState::NotPushed(Reason::RejectedByProvider);
    Completed { seq, state, detail: "PayloadTooLarge".into(), at, feedback: Some(feedback), death: None }
}

fn origin() -> SipDomain {
    "contoso.com".parse().expect("a domain")
}
