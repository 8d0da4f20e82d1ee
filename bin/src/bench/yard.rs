//! A clearing house as a process of its own between push services and organisations that are in this one: what arrives
//! is seen with its time, and services can be slow, stand still, or be away.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;
use reveille_core::settings::{PushApp, PushQuota, Setting};
use reveille_server::{process, settings_file};
use reveille_sim::apns::{ApnsOptions, ApnsSimulator, ProviderKey};
use reveille_sim::certs::{ApnsKey, Ca, Identity as Served, Leaf, apns_key};
use reveille_sim::recorder::{Keep, Query};
use reveille_sip::Message;
use reveille_sip_net::{
    CloseReason, ConnectError, Flow, Handler, Identity, Parcel, Pool, PoolLimits, Senders, Target, TlsClient,
    Transport, TrustRoots,
};
use reveille_store::SqliteSettings;
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use super::child::{free_port, get, resident, serve};
use super::clearinghouse::{configuration, is_journaled};
use super::source::number;
use crate::demo::layout::Office;
use crate::simulate::{KEY_ID, TEAM, write};

/// The organisations of a yard.
pub(super) const LOUD: &str = "contoso.com";
pub(super) const QUIET: &str = "fabrikam.com";

/// Everything around the clearing house.
pub(super) struct Yard {
    dir: PathBuf,
    ops: SocketAddr,
    way: Way,
    served: Served,
    key: ApnsKey,
    services: HashMap<&'static str, SocketAddr>,
    house: Option<Child>,
}

impl Yard {
    /// A yard for these apps, whose services are not there yet; with so many connections in each lane.
    pub(super) async fn new(dir: &Path, apps: &[&'static str], connections: RangeInclusive<usize>) -> Result<Self> {
        let ca = Ca::new("Reveille bench authority")?;
        write(dir, "ca.pem", &ca.pem())?;
        let apns = dir.join("apns");
        std::fs::create_dir_all(&apns)?;
        write(&apns, "ca.pem", &ca.pem())?;
        let (served, key) = (ca.issue(Leaf::new("localhost", &["localhost", "127.0.0.1"]))?, apns_key()?);
        write(&apns, "apns.p8", &key.p8_pem)?;
        let services: HashMap<_, _> = apps.iter().map(|app| Ok((*app, free_port()?))).collect::<Result<_>>()?;
        let office = Office { ca: &ca, dir };
        let (listen, ops) = (free_port()?, free_port()?);
        let served_at: Vec<_> = apps.iter().map(|app| (*app, services[app].to_string())).collect();
        let raw = configuration(&office, listen, ops, &served_at, connections)?;
        write(dir, "clearinghouse.toml", &toml::to_string_pretty(&raw)?)?;
        std::fs::create_dir_all(&raw.store.dir)?;
        let settings = SqliteSettings::open(&raw.settings_path())?;
        let serves = vec![LOUD.parse()?, QUIET.parse()?];
        let grants = apps.iter().map(|app| Setting::PushApp(PushApp::new(*app, serves.clone())));
        let all = grants.chain([Setting::PushQuota(PushQuota::boundless())]).collect();
        settings_file::put(&settings, all, "bench").await?;
        settings.close();
        let edge = office.issue("edge", "edge.push.example.net", &["edge.push.example.net"])?;
        let identity = Identity::from_pem_files(&edge.certificate, &edge.key)?;
        let tls = TlsClient::new(Some(&identity), &TrustRoots::from_pem_files(&[dir.join("ca.pem")])?);
        let way = Way { listen, tls: Arc::new(tls) };
        Ok(Self { dir: dir.to_owned(), ops, way, served, key, services, house: None })
    }

    /// Has the push service of an app come up.
    pub(super) async fn service(&self, app: &str, streams_max: u32, keep: Keep) -> Result<ApnsSimulator> {
        let mut wanted = ApnsOptions::new(self.served.clone());
        wanted.listen = self.services[app];
        wanted.keys = vec![ProviderKey::new(TEAM, KEY_ID, self.key.public_key.clone())];
        (wanted.streams_max, wanted.keep) = (streams_max, keep);
        Ok(ApnsSimulator::start(wanted).await?)
    }

    /// Starts the clearing house; it is ready then.
    pub(super) async fn open(&mut self) -> Result<()> {
        self.house = Some(serve(&self.dir.join("clearinghouse.toml")).await?);
        Ok(())
    }

    /// Kills it.
    pub(super) async fn kill(&mut self) -> Result<()> {
        match self.house.take() {
            Some(mut house) => Ok(house.kill().await?),
            None => Ok(()),
        }
    }

    fn pid(&self) -> Result<String> {
        Ok(self.house.as_ref().and_then(Child::id).context("the clearing house runs")?.to_string())
    }

    /// The most memory that it has held, and what it holds now.
    pub(super) fn memory(&self) -> Result<(u64, u64)> {
        let pid = self.pid()?;
        Ok((process::usage_of(&pid).peak_rss_bytes, resident(&pid)?))
    }

    /// How many bytes its journal takes on disk.
    pub(super) fn journal_bytes(&self) -> u64 {
        let bytes = |name: &str| std::fs::metadata(self.dir.join("store").join(name)).map_or(0, |file| file.len());
        bytes("clearinghouse.db") + bytes("clearinghouse.db-wal")
    }

    /// Open pushes in memory, and whether more are on disk only.
    pub(super) async fn load(&self) -> Result<(u64, bool)> {
        let status = get(self.ops, "/status").await?;
        let house = &status["clearinghouse"];
        let held = house["open_in_memory"].as_u64().context("the status tells what is in memory")?;
        Ok((held, house["more_on_disk"] == true))
    }

    /// The way to it.
    pub(super) const fn way(&self) -> &Way {
        &self.way
    }
}

/// The way to the clearing house, for whoever sends.
#[derive(Clone)]
pub(super) struct Way {
    listen: SocketAddr,
    tls: Arc<TlsClient>,
}

impl Way {
    /// Connections of an edge, on the runtime that this is called on.
    pub(super) fn pool(
        &self,
        handler: Arc<dyn Handler>,
        senders: Arc<dyn Senders>,
        connections: usize,
        stop: &CancellationToken,
    ) -> (Pool, Target) {
        let target = Target::at("house.push.example.net", self.listen, Transport::Tls);
        let limits = PoolLimits {
            connections_per_target: connections,
            waiting_max: 4000,
            waiting_bytes_max: 64 << 20,
            queued_bytes_max: 64 << 20,
            ..PoolLimits::default()
        };
        (Pool::new(handler, senders, Some(Arc::clone(&self.tls)), None, limits, stop.clone()), target)
    }
}

/// Requests that are sent at their times, whatever becomes of those before; when each was sent and taken.
#[derive(Default)]
pub(super) struct Metronome {
    /// By number: sent, and answered with 202, both in microseconds since 1970.
    times: Mutex<Vec<(u64, Option<u64>)>>,
    refused: Mutex<Option<String>>,
}

impl Metronome {
    /// Sends `count` requests, one every `each`; `write` makes the one of a number.
    pub(super) async fn beat(
        &self,
        (pool, target): (&Pool, &Target),
        (count, each): (usize, Duration),
        write: impl Fn(usize) -> bytes::Bytes,
    ) -> Result<()> {
        let first = self.times.lock().len();
        let mut ticks = tokio::time::interval(each);
        for index in first..first + count {
            ticks.tick().await;
            let bytes = write(index);
            self.times.lock().push((micros(), None));
            pool.send(target, Parcel::new(index as u64, bytes)).map_err(|error| anyhow::anyhow!("{error}"))?;
        }
        match self.refused.lock().take() {
            Some(refused) => anyhow::bail!("a request was not taken: {refused}"),
            None => Ok(()),
        }
    }

    /// When each was sent, and taken.
    pub(super) fn times(&self) -> Vec<(u64, Option<u64>)> {
        self.times.lock().clone()
    }
}

impl Handler for Metronome {
    fn messages(&self, _flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        let now = micros();
        for response in batch.drain(..) {
            let Some(index) = number(&response) else { continue };
            if !is_journaled(&response) {
                *self.refused.lock() = Some(format!("{:?}", response.status()));
            } else if let Some(time) = self.times.lock().get_mut(index) {
                time.1 = Some(now);
            }
        }
    }

    fn closed(&self, _flow: &Arc<Flow>, _why: &CloseReason) {}
}

impl Senders for Metronome {
    fn failed(&self, _token: u64, error: &ConnectError) {
        *self.refused.lock() = Some(error.to_string());
    }
}

/// The time, in microseconds since 1970: two processes' worth of steps are told apart by it.
pub(super) fn micros() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a benchmark compares its times with those of the simulators")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// When each push arrived at a service, in milliseconds since 1970, by its token; of tokens that `wanted` lets pass.
pub(super) fn arrivals(service: &ApnsSimulator, wanted: impl Fn(&str) -> bool) -> HashMap<Box<str>, u64> {
    let (mut after, mut found) = (0, HashMap::new());
    loop {
        let page = service.recorder().entries(Query { after, ..Query::default() }, 10_000);
        let Some(last) = page.last() else { return found };
        after = last.seq;
        for entry in page.into_iter().filter(|entry| wanted(&entry.push.token)) {
            found.entry(entry.push.token).or_insert(entry.unix_ms);
        }
    }
}

/// The time within which that share of the times lies.
pub(super) fn percentile(times: &mut [f64], share: f64) -> Result<f64> {
    ensure!(!times.is_empty(), "nothing was measured");
    times.sort_unstable_by(f64::total_cmp);
    Ok(times[((times.len() as f64 * share) as usize).min(times.len() - 1)])
}
