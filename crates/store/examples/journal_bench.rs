//! What one accepted and completed push costs in the journal, on the disk of the folder given (else `target`).
//!
//! `cargo run --release -p reveille-store --example journal_bench [FOLDER [IN_FLIGHT [RECORDS]]]`: a closed loop of producers, each of which
//! appends a request, waits for the sync, completes it, waits for the sync, and begins anew.

use std::error::Error;
use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use reveille_core::delivery::PushState;
use reveille_core::{AppKey, Channel, Environment, IdentityId, LaneKey, Provider, PushId, SipDomain, Timestamp};
use reveille_store::{
    Appended, Completed, FeedbackItem, Journal, JournalEntry, SqliteJournal, StoreError, fingerprint,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).map_or_else(|| "target".into(), PathBuf::from);
    let only = std::env::args().nth(2).map(|count| count.parse::<usize>()).transpose()?;
    let full = std::env::args().nth(3).map_or(Ok(400_000), |count| count.parse::<usize>())?;
    let folder = folder.join(format!("journal-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let mut out = stdout().lock();
    writeln!(
        out,
        "in flight  per job  feedback    records/s  cpu µs/record  writer µs/record  p50 ms  p99 ms  log MB"
    )?;
    for (in_flight, per_job, feedback) in
        [(1, 1, false), (64, 1, false), (512, 1, false), (512, 1, true), (512, 16, false), (4096, 1, false)]
    {
        if only.is_some_and(|only| only != in_flight) {
            continue;
        }
        let records = if in_flight == 1 { 2_000 } else { full };
        let load = Load { in_flight, per_job, feedback, records };
        let path = folder.join(format!("{in_flight}-{per_job}-{feedback}.db"));
        let cost = measure(&path, load)?;
        writeln!(
            out,
            "{in_flight:>9}  {per_job:>7}  {feedback:>8}  {:>11.0}  {:>13.2}  {:>16.2}  {:>6.2}  {:>6.2}  {:>6.1}",
            cost.records_per_s, cost.cpu_us, cost.writer_us, cost.p50_ms, cost.p99_ms, cost.log_mb
        )?;
    }
    fs::remove_dir_all(&folder)?;
    Ok(())
}

#[derive(Clone, Copy)]
struct Load {
    in_flight: usize,
    per_job: usize,
    feedback: bool,
    records: usize,
}

struct Cost {
    records_per_s: f64,
    cpu_us: f64,
    writer_us: f64,
    p50_ms: f64,
    p99_ms: f64,
    log_mb: f64,
}

/// What comes back from the store to the producers.
enum Back {
    Appended { seqs: Vec<u64>, since: Instant },
    Completed(usize),
    Failed(StoreError),
}

fn measure(path: &Path, load: Load) -> Result<Cost, Box<dyn Error>> {
    let journal = SqliteJournal::open(path)?;
    let (sender, receiver) = channel();
    let work = Work { journal: &journal, sender, load, origins: origins()?, request: vec![b'x'; 600].into() };
    let (started, cpu, writer) = (Instant::now(), cpu_us(None)?, cpu_us(Some("clearinghouse-w"))?);
    let mut waits = work.run(&receiver)?;
    let (elapsed, records) = (started.elapsed(), load.records as f64);
    let (cpu, writer) = (cpu_us(None)? - cpu, cpu_us(Some("clearinghouse-w"))? - writer);
    waits.sort_unstable_by(f64::total_cmp);
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let log_mb = fs::metadata(log)?.len() as f64 / 1e6;
    journal.close();
    Ok(Cost {
        records_per_s: records / elapsed.as_secs_f64(),
        cpu_us: cpu / records,
        writer_us: writer / records,
        p50_ms: waits[waits.len() / 2],
        p99_ms: waits[waits.len() * 99 / 100],
        log_mb,
    })
}

struct Work<'a> {
    journal: &'a SqliteJournal,
    sender: Sender<Back>,
    load: Load,
    origins: Vec<SipDomain>,
    request: Arc<[u8]>,
}

impl Work<'_> {
    fn run(&self, receiver: &Receiver<Back>) -> Result<Vec<f64>, Box<dyn Error>> {
        let mut waits = Vec::with_capacity(self.load.records);
        let (mut begun, mut ended) = (0, 0);
        while begun < self.load.in_flight {
            begun += self.append(begun);
        }
        while ended < self.load.records {
            match receiver.recv()? {
                Back::Appended { seqs, since } => {
                    waits.push(since.elapsed().as_secs_f64() * 1e3);
                    self.complete(seqs);
                }
                Back::Completed(count) => {
                    ended += count;
                    if begun < self.load.records {
                        begun += self.append(begun);
                    }
                }
                Back::Failed(failure) => return Err(failure.into()),
            }
        }
        Ok(waits)
    }

    fn append(&self, first: usize) -> usize {
        let count = self.load.per_job.min(self.load.records - first);
        let entries = (first..first + count).map(|n| self.entry(n)).collect();
        let (sender, since) = (self.sender.clone(), Instant::now());
        self.journal.append(
            entries,
            Box::new(move |outcome| {
                let back = match outcome {
                    Ok(appended) => Back::Appended { seqs: appended.into_iter().filter_map(new).collect(), since },
                    Err(failure) => Back::Failed(failure),
                };
                drop(sender.send(back));
            }),
        );
        count
    }

    fn complete(&self, seqs: Vec<u64>) {
        let (sender, count) = (self.sender.clone(), seqs.len());
        let completed = seqs.into_iter().map(|seq| Completed {
            seq,
            state: PushState::Accepted,
            detail: String::new(),
            at: Timestamp::from_millis(1_700_000_000_500),
            feedback: self.load.feedback.then(|| item(seq)),
            death: None,
        });
        self.journal.complete(
            completed.collect(),
            Box::new(move |outcome| {
                drop(sender.send(outcome.map_or_else(Back::Failed, |()| Back::Completed(count))));
            }),
        );
    }

    fn entry(&self, n: usize) -> JournalEntry {
        let received = Timestamp::from_millis(1_700_000_000_000 + n as u64 / 100);
        JournalEntry {
            origin: self.origins[n % self.origins.len()].clone(),
            asked: self.origins[0].clone(),
            // As random as ids are within their millisecond.
            id: PushId::from_parts(received, (n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) >> 48),
            lane: lane(if n.is_multiple_of(10) { Channel::Voip } else { Channel::Message }),
            received,
            expires: Timestamp::from_millis(1_700_086_400_000),
            fingerprint: fingerprint(&self.request),
            sending: false,
            request: Arc::clone(&self.request),
        }
    }
}

fn new(appended: Appended) -> Option<u64> {
    match appended {
        Appended::New { seq } => Some(seq),
        Appended::Duplicate { .. } => None,
    }
}

fn lane(channel: Channel) -> LaneKey {
    let app = AppKey { provider: Provider::Apns, app: "org.example.talk".into(), environment: Environment::Production };
    LaneKey { app, channel }
}

fn item(seq: u64) -> FeedbackItem {
    FeedbackItem {
        push: PushId::from_u128(u128::from(seq)),
        identity: IdentityId::from_u128(7),
        token_generation: 1,
        verdict: "state".into(),
        reason: "accepted".into(),
        provider_time: None,
        at: Timestamp::from_millis(1_700_000_000_500),
    }
}

fn origins() -> Result<Vec<SipDomain>, Box<dyn Error>> {
    (0..20).map(|n| Ok(format!("organisation-{n}.example").parse()?)).collect()
}

/// The time that the process, or its threads of that name, have been on a processor so far, in microseconds.
fn cpu_us(thread: Option<&str>) -> Result<f64, Box<dyn Error>> {
    let mut total = 0.0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if thread.is_some_and(|name| fs::read_to_string(task.join("comm")).is_ok_and(|comm| !comm.starts_with(name))) {
            continue;
        }
        let stat = fs::read_to_string(task.join("schedstat"))?;
        total += stat.split_whitespace().next().unwrap_or_default().parse::<f64>()? / 1e3;
    }
    Ok(total)
}
