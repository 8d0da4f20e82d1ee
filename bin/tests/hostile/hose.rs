//! Connections that send as fast as they are taken, and count what they hear.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use memchr::memmem;
use parking_lot::Mutex;
use reveille_sip_net::TlsClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::world::{Duplex, Place};

/// Requests that are written at once.
const BATCH: usize = 50;
/// Requests of one connection that may be unanswered before its writer waits a moment: the edge closes a connection
/// whose reader lags behind by 1 MiB, and there are other tests for that.
const WINDOW: u64 = 500;
/// How long it waits. There are requests that nobody answers.
const MOMENT: Duration = Duration::from_millis(10);
/// How soon one that was closed comes again: what handshakes cost is measured by those who come and go.
const AGAIN: Duration = Duration::from_millis(100);
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked whether enough has come, on whichever connection.
const TURN: Duration = Duration::from_millis(5);

/// What was sent and heard.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sent: AtomicU64,
    /// How often the edge has ended a connection.
    pub(crate) closed: AtomicU64,
    retry_after: AtomicU64,
    statuses: Mutex<BTreeMap<u16, u64>>,
}

/// Requests as they are written, one after the other.
pub(crate) type Texts = Box<dyn Iterator<Item = String> + Send>;

/// Several connections of one peer.
pub(crate) struct Hoses(Vec<Hose>);

struct Hose {
    ear: Ear,
    writer: WriteHalf<Box<dyn Duplex>>,
}

/// The side of a connection that hears.
pub(crate) struct Ear {
    reader: ReadHalf<Box<dyn Duplex>>,
    inbox: Vec<u8>,
    heard: Arc<Heard>,
}

/// Answers of one connection.
#[derive(Debug, Default)]
struct Heard {
    count: AtomicU64,
    more: Notify,
}

impl Tally {
    /// How often this status was heard.
    pub(crate) fn of(&self, status: u16) -> u64 {
        self.statuses.lock().get(&status).copied().unwrap_or_default()
    }

    /// All that was heard. 100 says nothing.
    pub(crate) fn statuses(&self) -> BTreeMap<u16, u64> {
        let mut statuses = self.statuses.lock().clone();
        statuses.remove(&100);
        statuses
    }

    /// How many answers that are.
    pub(crate) fn heard(&self) -> u64 {
        self.statuses().values().sum()
    }

    /// How many of them said when to come back.
    pub(crate) fn retry_after(&self) -> u64 {
        self.retry_after.load(Ordering::Relaxed)
    }
}

impl Hoses {
    /// So many connections with this name's certificate.
    pub(crate) async fn open(place: &Place, name: &str, count: usize) -> Result<Self> {
        let tls = place.client(name)?;
        let mut all = Vec::with_capacity(count);
        for number in 0..count {
            all.push(Hose::open(place, &tls, number).await?);
        }
        Ok(Self(all))
    }

    /// Sends on each connection what is meant for it, and listens on all of them until `enough` has been heard.
    pub(crate) async fn pour(
        &mut self,
        texts: impl IntoIterator<Item = Texts>,
        enough: impl Fn(&Tally) -> bool + Copy + Send + Sync + 'static,
    ) -> Result<Arc<Tally>> {
        let tally = Arc::new(Tally::default());
        let mut pouring = JoinSet::new();
        for (at, (mut hose, texts)) in std::mem::take(&mut self.0).into_iter().zip(texts).enumerate() {
            let tally = Arc::clone(&tally);
            pouring.spawn(async move { hose.pour(texts, &tally, enough).await.map(|()| (at, hose)) });
        }
        let mut hoses = Vec::new();
        while let Some(poured) = pouring.join_next().await {
            hoses.push(poured??);
        }
        hoses.sort_unstable_by_key(|(at, _)| *at);
        self.0 = hoses.into_iter().map(|(_, hose)| hose).collect();
        Ok(tally)
    }
}

/// Sends for so long, on so many connections of this name at once, and comes again whenever one of them is closed.
pub(crate) async fn storm(
    place: &Place,
    name: &str,
    connections: usize,
    time: Duration,
    text: impl Fn() -> String + Clone + Send + 'static,
) -> Result<Arc<Tally>> {
    let (tally, end) = (Arc::new(Tally::default()), Instant::now() + time);
    let mut storming = JoinSet::new();
    for number in 0..connections {
        let (place, name, text) = (place.clone(), name.to_owned(), text.clone());
        let tally = Arc::clone(&tally);
        storming.spawn(async move {
            while Instant::now() < end {
                let text = text.clone();
                let texts: Texts = Box::new(std::iter::from_fn(move || (Instant::now() < end).then(&text)));
                let visit = async {
                    let mut hose = Hose::open(&place, &place.client(&name)?, number).await?;
                    hose.pour(texts, &tally, |_| Instant::now() >= end).await
                };
                if let Ok(Err(_)) = timeout(end.saturating_duration_since(Instant::now()), visit).await {
                    tally.closed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        });
    }
    while let Some(stormed) = storming.join_next().await {
        stormed?;
    }
    Ok(tally)
}

impl Hose {
    async fn open(place: &Place, tls: &TlsClient, number: usize) -> Result<Self> {
        let (stream, _) = place.wire(tls, 60 + number).await?;
        let (reader, writer) = tokio::io::split(stream);
        Ok(Self { ear: Ear::new(reader), writer })
    }

    async fn pour(&mut self, mut texts: Texts, tally: &Tally, enough: impl Fn(&Tally) -> bool) -> Result<()> {
        let Self { ear, writer } = self;
        let heard = Arc::clone(&ear.heard);
        let before = heard.count.load(Ordering::Relaxed);
        let writing = async {
            let mut sent = before;
            loop {
                let batch: Vec<String> = texts.by_ref().take(BATCH).collect();
                if batch.is_empty() {
                    return anyhow::Ok(());
                }
                writer.write_all(batch.concat().as_bytes()).await?;
                writer.flush().await?;
                tally.sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
                sent += batch.len() as u64;
                if sent > heard.count.load(Ordering::Relaxed) + WINDOW {
                    let _ = timeout(MOMENT, heard.more.notified()).await;
                }
            }
        };
        tokio::try_join!(writing, ear.listen(tally, enough)).map(drop)
    }
}

impl Ear {
    pub(crate) fn new(reader: ReadHalf<Box<dyn Duplex>>) -> Self {
        Self { reader, inbox: Vec::new(), heard: Arc::default() }
    }

    /// Counts what comes until `enough` has.
    pub(crate) async fn listen(&mut self, tally: &Tally, enough: impl Fn(&Tally) -> bool) -> Result<()> {
        let (mut piece, mut latest) = (vec![0; 64 * 1024], Instant::now());
        while !enough(tally) {
            let Ok(reading) = timeout(TURN, self.reader.read(&mut piece)).await else {
                ensure!(latest.elapsed() < PATIENCE, "nothing comes any more after {:?}", tally.statuses());
                continue;
            };
            let length = reading.context("while listening")?;
            if length == 0 {
                bail!("closed after {:?}", tally.statuses());
            }
            latest = Instant::now();
            self.inbox.extend_from_slice(&piece[..length]);
            self.count(tally);
        }
        Ok(())
    }

    /// Counts the whole lines of the inbox.
    fn count(&mut self, tally: &Tally) {
        // The rest waits.
        let end = self.inbox.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut statuses = tally.statuses.lock();
        for line in self.inbox[..end].split(|byte| *byte == b'\n') {
            // It follows the body before it, which need not end with a line.
            if let Some(at) = memmem::find(line, b"SIP/2.0 ") {
                let status =
                    line.get(at + 8..at + 11).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
                *statuses.entry(status.unwrap_or_default()).or_default() += 1;
                self.heard.count.fetch_add(1, Ordering::Relaxed);
            }
            if line.len() > 12 && line[..12].eq_ignore_ascii_case(b"retry-after:") {
                tally.retry_after.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(statuses);
        self.heard.more.notify_one();
        self.inbox.drain(..end);
    }
}
