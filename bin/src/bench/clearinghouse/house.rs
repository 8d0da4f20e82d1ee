//! A clearing house and an APNs simulator, each a process of its own, and the way in of an edge.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use reveille_core::settings::{PushApp, PushQuota, Setting};
use reveille_core::{Clock as _, Environment, Provider};
use reveille_server::config::{App, ClearingHouse, Hop, Log, Ops, Proxies, Raw, Resolver, Store, Tls};
use reveille_server::process::{Usage, usage_of};
use reveille_server::{SystemClock, settings_file};
use reveille_sim::certs::Ca;
use reveille_sip_net::{Handler, Identity, Pool, PoolLimits, Senders, Target, TlsClient, Transport, TrustRoots};
use reveille_store::SqliteSettings;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::push::{is_journaled, message, request};
use super::{APPS, CONNECTIONS};
use crate::bench::child::{first_line, free_port, get, post, resident, serve};
use crate::bench::source::Source;
use crate::demo::layout::Office;
use crate::simulate::{KEY_ID, TEAM, write};

/// Without any push becoming final for so long, the rest is lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is measured, and what it talks to.
pub(super) struct House {
    simulator: Child,
    control: SocketAddr,
    house: Child,
    pid: String,
    listen: SocketAddr,
    ops: SocketAddr,
    tls: Arc<TlsClient>,
}

impl House {
    /// Starts both in a folder of their own; what they need is made there.
    pub(super) async fn open(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut simulator = Command::new(std::env::current_exe()?)
            .args(["simulate", "apns", "--count-only", "--dir"])
            .arg(dir.join("apns"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let told: serde_json::Value = serde_json::from_str(&first_line(&mut simulator).await?)?;
        let apns = told["apns"]["address"].as_str().context("the simulator tells its address")?.to_owned();
        let control = told["control"].as_str().context("the simulator tells its control address")?;
        let control = control.trim_start_matches("http://").parse()?;

        let ca = Ca::new("Reveille bench authority")?;
        write(dir, "ca.pem", &ca.pem())?;
        let office = Office { ca: &ca, dir };
        let (listen, ops) = (free_port()?, free_port()?);
        let raw = configuration(&office, listen, ops, &APPS.map(|app| (app, apns.clone())), CONNECTIONS)?;
        write(dir, "clearinghouse.toml", &toml::to_string_pretty(&raw)?)?;
        std::fs::create_dir_all(&raw.store.dir)?;
        let settings = SqliteSettings::open(&raw.settings_path())?;
        let serves = vec!["contoso.com".parse()?];
        let grants = APPS.map(|app| Setting::PushApp(PushApp::new(app, serves.clone())));
        // What is measured is how much goes, and not how much is let go.
        let all = grants.into_iter().chain([Setting::PushQuota(PushQuota::boundless())]).collect();
        settings_file::put(&settings, all, "bench").await?;
        settings.close();
        let house = serve(&dir.join("clearinghouse.toml")).await?;
        let pid = house.id().context("the clearing house runs")?.to_string();

        let edge = office.issue("edge", "edge.push.example.net", &["edge.push.example.net"])?;
        let identity = Identity::from_pem_files(&edge.certificate, &edge.key)?;
        let tls = TlsClient::new(Some(&identity), &TrustRoots::from_pem_files(&[dir.join("ca.pem")])?);
        Ok(Self { simulator, control, house, pid, listen, ops, tls: Arc::new(tls) })
    }

    /// What the clearing house has used so far.
    pub(super) fn usage(&self) -> Usage {
        usage_of(&self.pid)
    }

    /// The memory that it holds now, in bytes.
    pub(super) fn resident(&self) -> Result<u64> {
        resident(&self.pid)
    }

    /// How many pushes the simulated phones have received.
    pub(super) async fn delivered(&self) -> Result<u64> {
        let count = get(self.control, "/apns/count").await?;
        count["delivered"].as_u64().context("the simulator counts what it delivers")
    }

    /// Has the push service go away: it closes its connections and takes no others.
    pub(super) async fn service_down(&self) -> Result<()> {
        post(self.control, "/apns/down").await
    }

    /// Connections of an edge to the clearing house.
    pub(super) fn pool(
        &self,
        handler: Arc<dyn Handler>,
        senders: Arc<dyn Senders>,
        (connections, in_flight): (usize, usize),
        stop: &CancellationToken,
    ) -> (Pool, Target) {
        let limits = PoolLimits {
            connections_per_target: connections,
            waiting_max: in_flight.max(2000),
            waiting_bytes_max: 64 * 1024 * 1024,
            queued_bytes_max: 64 * 1024 * 1024,
            ..PoolLimits::default()
        };
        let target = Target::at("house.push.example.net", self.listen, Transport::Tls);
        (Pool::new(handler, senders, Some(Arc::clone(&self.tls)), None, limits, stop.clone()), target)
    }

    /// Has the pushes of these numbers accepted, so many of them under way at once; answers when and how they were.
    pub(super) async fn push(&self, numbers: RangeInclusive<usize>, wide: (usize, usize)) -> Result<Arc<Source>> {
        let (stop, first) = (CancellationToken::new(), *numbers.start());
        let count = numbers.count();
        let write = move |index| message("contoso.com", index, &request(first + index, SystemClock.now()));
        let source = Source::new(count, Box::new(write), is_journaled);
        let (pool, target) = self.pool(Arc::clone(&source) as _, Arc::clone(&source) as _, wide, &stop);
        source.push_through(&pool, &target, count, wide.1).await;
        stop.cancel();
        pool.finish().await;
        match source.answers() {
            (_, 0) => Ok(source),
            (_, failed) => bail!("{failed} requests were not answered with 202"),
        }
    }

    /// How many open pushes are in memory, and whether there are more on disk.
    pub(super) async fn open_pushes(&self) -> Result<(u64, bool)> {
        let status = get(self.ops, "/status").await?;
        let house = &status["clearinghouse"];
        let held = house["open_in_memory"].as_u64().context("the status tells what is in memory")?;
        Ok((held, house["more_on_disk"] != false))
    }

    /// Waits until every verdict is journaled.
    pub(super) async fn until_idle(&self) -> Result<()> {
        let (mut last, mut moved) = (u64::MAX, Instant::now());
        loop {
            let open = self.open_pushes().await?;
            if open == (0, false) {
                return Ok(());
            }
            let delivered = self.delivered().await?;
            if delivered != last {
                (last, moved) = (delivered, Instant::now());
            }
            let (held, _) = open;
            ensure!(moved.elapsed() < PATIENCE, "{held} pushes and those on disk get no verdict any more");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends both.
    pub(super) async fn close(mut self) -> Result<()> {
        self.house.kill().await?;
        Ok(self.simulator.kill().await?)
    }
}

/// A clearing house of these apps, each with where its push service is, and with so many connections in each lane.
pub(in crate::bench) fn configuration(
    office: &Office<'_>,
    listen: SocketAddr,
    ops: SocketAddr,
    apps: &[(&str, String)],
    connections: RangeInclusive<usize>,
) -> Result<Raw> {
    let files = office.issue("house", "house.push.example.net", &["house.push.example.net"])?;
    let apns_dir = office.dir.join("apns");
    let app = |(app, apns): &(&str, String)| App {
        provider: Provider::Apns,
        app: (*app).to_owned(),
        environment: Environment::Production,
        credential: apns_dir.join("apns.p8"),
        team: Some(TEAM.into()),
        key_id: Some(KEY_ID.into()),
        server: Some(apns.clone()),
        roots: Some(apns_dir.join("ca.pem")),
        connections: *connections.start(),
        connections_max: *connections.end(),
    };
    Ok(Raw {
        sites: Vec::new(),
        admin: None,
        store: Store { dir: office.dir.join("store"), settings: None },
        log: Log::default(),
        ops: Some(Ops { listen: ops }),
        resolver: Resolver::default(),
        home: None,
        edge: None,
        clearinghouse: Some(ClearingHouse {
            name: "house.push.example.net".parse()?,
            domain: "push.example.net".parse()?,
            also_domains: Vec::new(),
            tls: Tls::new(files.certificate, files.key, office.dir.join("ca.pem")),
            listen,
            edges: vec!["edge.push.example.net".parse()?],
            edge: Hop { name: "edge.push.example.net".parse()?, address: listen, also: Vec::new() },
            handles: None,
            proxies: Proxies::default(),
            rest: None,
            apps: apps.iter().map(app).collect(),
        }),
    })
}
