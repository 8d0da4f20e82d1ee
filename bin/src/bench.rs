//! `reveille bench`: the parts under load, each as a process of its own, measured by what the operating system counts.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use clap::{Args, Subcommand};
use reveille_core::settings::{PushApp, Setting};
use reveille_core::{Channel, Clock as _, DeviceToken, Environment, Event, IdentityId, Provider, PushId, Timestamp};
use reveille_federation::PushRequest;
use reveille_federation::request::{CONTENT_TYPE_V1, To, write_body};
use reveille_server::config::{App, ClearingHouse, Hop, Log, Ops, Raw, Resolver, Store, Tls};
use reveille_server::{SystemClock, process, settings_file};
use reveille_sim::certs::Ca;
use reveille_sip::{Message, Method, Name, RequestBuilder};
use reveille_sip_net::{
    ConnectError, Flow, Handler, Identity, Parcel, Pool, PoolLimits, Senders, Target, TlsClient, Transport, TrustRoots,
};
use reveille_store::SqliteSettings;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::demo::layout::Office;
use crate::simulate::{KEY_ID, TEAM, write};
use crate::{FAILED, out};

/// Three apps, so that three lanes work side by side.
const APPS: [&str; 3] = ["org.reveille.one", "org.reveille.two", "org.reveille.three"];
/// No run may take longer.
const LIMIT: Duration = Duration::from_secs(300);

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// SIP over mutual TLS in, journal, APNs out, verdict journaled; one push request per MESSAGE
    Clearinghouse(Load),
}

/// How much.
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// How many pushes, each with an id and a token of its own
    #[arg(long, default_value_t = 100_000)]
    pushes: usize,
    /// How many wait for their 202 at once
    #[arg(long, default_value_t = 512)]
    in_flight: usize,
    /// Over how many connections
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Where the journal lies: a real disk; target/bench when absent
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// Measures.
pub(crate) async fn run(bench: Bench) -> Result<ExitCode> {
    let Bench::Clearinghouse(load) = bench;
    let dir = load.dir.clone().unwrap_or_else(|| PathBuf::from("target/bench")).join(std::process::id().to_string());
    std::fs::create_dir_all(&dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let outcome = tokio::time::timeout(LIMIT, clearinghouse(&load, &dir)).await;
    std::fs::remove_dir_all(&dir).with_context(|| format!("{} cannot be removed", dir.display()))?;
    let figures = outcome.context("the run took too long")??;
    match load.json {
        true => out::data(&figures.to_json(&load).to_string()),
        false => out::data(&figures.to_text(&load)),
    }
    Ok(if figures.accepted == load.pushes as u64 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// What was measured.
struct Figures {
    seconds: f64,
    accepted: u64,
    cpu_us_per_unit: f64,
    p50_ms: f64,
    p99_ms: f64,
    peak_rss_mb: f64,
}

impl Figures {
    fn to_json(&self, load: &Load) -> serde_json::Value {
        serde_json::json!({
            "what": "clearinghouse",
            "pushes": load.pushes, "in_flight": load.in_flight, "connections": load.connections, "apps": APPS.len(),
            "rate_per_s": (load.pushes as f64 / self.seconds).round(),
            "cpu_us_per_unit": (self.cpu_us_per_unit * 100.0).round() / 100.0,
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms,
            "peak_rss_mb": self.peak_rss_mb.round(),
        })
    }

    fn to_text(&self, load: &Load) -> String {
        format!(
            "clearing house: SIP over mutual TLS in, journal synced, APNs out, verdict journaled\n  \
             {} pushes, {} in flight over {} connections, {} apps\n  \
             {:>10.0} notifications/s   (simulator and load on the same machine)\n  \
             {:>10.2} CPU µs per notification of the clearing house\n  \
             {:>10.2} ms p50, {:.2} ms p99 from request to 202\n  \
             {:>10.0} MB peak memory",
            load.pushes,
            load.in_flight,
            load.connections,
            APPS.len(),
            load.pushes as f64 / self.seconds,
            self.cpu_us_per_unit,
            self.p50_ms,
            self.p99_ms,
            self.peak_rss_mb
        )
    }
}

async fn clearinghouse(load: &Load, dir: &Path) -> Result<Figures> {
    let dir = &dir.canonicalize()?;
    let mut simulator = Command::new(std::env::current_exe()?)
        .args(["simulate", "apns", "--count-only", "--dir"])
        .arg(dir.join("apns"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let told: serde_json::Value = serde_json::from_str(&first_line(&mut simulator).await?)?;
    let apns = told["apns"]["address"].as_str().context("the simulator tells its address")?.to_owned();

    let ca = Ca::new("Reveille bench authority")?;
    write(dir, "ca.pem", &ca.pem())?;
    let office = Office { ca: &ca, dir };
    let (listen, ops) = (free_port()?, free_port()?);
    let raw = configuration(&office, listen, ops, &apns)?;
    write(dir, "clearinghouse.toml", &toml::to_string_pretty(&raw)?)?;
    std::fs::create_dir_all(&raw.store.dir)?;
    let settings = SqliteSettings::open(&raw.settings_path())?;
    let serves = vec!["contoso.com".parse()?];
    let grants = APPS.map(|app| Setting::PushApp(PushApp { identity: app.into(), serves: serves.clone() }));
    settings_file::put(&settings, grants.into(), "bench").await?;
    settings.close();
    let mut house = Command::new(std::env::current_exe()?)
        .args(["serve", "--ready-fd", "1", "--config"])
        .arg(dir.join("clearinghouse.toml"))
        .env("REVEILLE_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    ensure!(first_line(&mut house).await? == "ready", "the clearing house does not start");
    let pid = house.id().context("the clearing house runs")?.to_string();

    let edge = office.issue("edge", "edge.push.example.net", &["edge.push.example.net"])?;
    let identity = Identity::from_pem_files(&edge.certificate, &edge.key)?;
    let tls = TlsClient::new(Some(&identity), &TrustRoots::from_pem_files(&[dir.join("ca.pem")])?, false);
    let source = Arc::new(Source::new(load.pushes));
    let before = process::usage_of(&pid);
    let begun = Instant::now();
    push_all(load, listen, tls, &source).await?;
    until_idle(ops).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = process::usage_of(&pid);
    let mut latencies = source.latencies();
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = ((latencies.len() as f64 * share) as usize).min(latencies.len().saturating_sub(1));
        latencies.get(index).map_or(0.0, |micros| f64::from(u32::try_from(*micros).unwrap_or(u32::MAX)) / 1000.0)
    };
    let figures = Figures {
        seconds,
        accepted: source.accepted.load(Ordering::Relaxed),
        cpu_us_per_unit: (after.cpu - before.cpu).as_micros() as f64 / load.pushes as f64,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        peak_rss_mb: after.peak_rss_bytes as f64 / 1_048_576.0,
    };
    let control = told["control"].as_str().context("the simulator tells its control address")?;
    let count = get(control.trim_start_matches("http://").parse()?, "/apns/count").await?;
    ensure!(
        count["delivered"].as_u64() == Some(load.pushes as u64),
        "{} pushes were sent, and the simulator counts {count}",
        load.pushes
    );
    house.kill().await?;
    simulator.kill().await?;
    Ok(figures)
}

/// Sends everything, with a bounded number under way, and waits for every answer.
async fn push_all(load: &Load, listen: SocketAddr, tls: TlsClient, source: &Arc<Source>) -> Result<()> {
    let stop = CancellationToken::new();
    let target = Target { name: "house.push.example.net".into(), addresses: vec![listen], transport: Transport::Tls };
    let limits = PoolLimits {
        connections_per_target: load.connections,
        waiting_max: load.in_flight.max(2000),
        waiting_bytes_max: 64 * 1024 * 1024,
        queued_bytes_max: 64 * 1024 * 1024,
        ..PoolLimits::default()
    };
    let pool =
        Pool::new(Arc::clone(source) as _, Arc::clone(source) as _, Some(Arc::new(tls)), None, limits, stop.clone());
    for _ in 0..load.in_flight.min(load.pushes) {
        if let Some((token, bytes)) = source.next() {
            pool.send(&target, Parcel::new(token, bytes))?;
        }
    }
    source.done.notified().await;
    stop.cancel();
    pool.finish().await;
    match source.failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        failed => bail!("{failed} requests were not answered with 202"),
    }
}

/// Makes requests, and takes their answers: each answer makes room for one more request.
struct Source {
    pushes: usize,
    made: AtomicUsize,
    accepted: AtomicU64,
    failed: AtomicU64,
    begun: Instant,
    /// Microseconds since `begun` at which each was sent; then how long its answer took.
    times: Vec<AtomicU64>,
    done: Notify,
}

impl Source {
    fn new(pushes: usize) -> Self {
        Self {
            pushes,
            made: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            begun: Instant::now(),
            times: (0..pushes).map(|_| AtomicU64::new(0)).collect(),
            done: Notify::new(),
        }
    }

    /// The next request, if any is left.
    fn next(&self) -> Option<(u64, Bytes)> {
        let index = self.made.fetch_add(1, Ordering::Relaxed);
        if index >= self.pushes {
            return None;
        }
        let now = SystemClock.now();
        let bytes = message(index, &request(index, now));
        self.times[index].store(self.begun.elapsed().as_micros() as u64, Ordering::Relaxed);
        Some((index as u64, bytes))
    }

    fn answered(&self, index: usize, accepted: bool) {
        if let Some(time) = self.times.get(index) {
            let sent = time.load(Ordering::Relaxed);
            time.store(self.begun.elapsed().as_micros() as u64 - sent, Ordering::Relaxed);
        }
        let counter = if accepted { &self.accepted } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        let all = self.accepted.load(Ordering::Relaxed) + self.failed.load(Ordering::Relaxed);
        if all == self.pushes as u64 {
            self.done.notify_one();
        }
    }

    fn latencies(&self) -> Vec<u64> {
        self.times.iter().map(|time| time.load(Ordering::Relaxed)).collect()
    }
}

impl Handler for Source {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for response in batch.drain(..) {
            let branch = response.top_via().ok().and_then(|via| via.branch().map(str::to_owned));
            let index = branch.and_then(|branch| branch.strip_prefix("z9hG4bKb")?.parse().ok());
            let Some(index) = index else { continue };
            let journaled = response.header(Name::PushResult) == Some("0;result=journaled");
            self.answered(index, response.status() == Some(202) && journaled);
            if let Some((_, bytes)) = self.next() {
                let _ = flow.send(bytes);
            }
        }
    }
}

impl Senders for Source {
    fn failed(&self, token: u64, error: &ConnectError) {
        out::note(&format!("a request was not sent: {error}"));
        self.answered(token as usize, false);
    }
}

/// A push request like home's, for a token of its own.
fn request(index: usize, now: Timestamp) -> PushRequest {
    PushRequest {
        id: PushId::from_parts(now, rand::random()),
        identity: IdentityId::from_u128(index as u128 + 1),
        event: Event::Message,
        channel: Channel::Message,
        to: Some(To {
            provider: Provider::Apns,
            app: APPS[index % APPS.len()].into(),
            environment: Environment::Production,
            token: DeviceToken::new(format!("{index:064x}")),
        }),
        sent: now,
        expires: now.plus(Duration::from_secs(3600)),
        priority: None,
        collapse: Some(format!("conversation-{index}").into()),
        badge: Some(3),
        alert: None,
        sound: None,
        call: None,
        sealed: None,
        registered: Timestamp::from_millis(1),
        traceparent: None,
        must_understand: Vec::new(),
    }
}

/// The request as it comes from an edge: with two Via fields and the trust header.
fn message(index: usize, request: &PushRequest) -> Bytes {
    let body = write_body(std::slice::from_ref(request));
    let mut out = BytesMut::with_capacity(1400);
    let written = RequestBuilder::new(&mut out, Method::Message, "sip:push@push.example.net")
        .header(Name::Via, format_args!("SIP/2.0/TLS edge.push.example.net;branch=z9hG4bKb{index}"))
        .header(Name::Via, format_args!("SIP/2.0/TLS edge.contoso.com;branch=z9hG4bKe{index};received=127.0.0.1"))
        .header(Name::Via, format_args!("SIP/2.0/TLS home.contoso.com;branch=z9hG4bKh{index};received=127.0.0.1"))
        .header(Name::MaxForwards, "68")
        .header(Name::From, format_args!("<sip:mcx@contoso.com>;tag={index}"))
        .header(Name::To, "<sip:push@push.example.net>")
        .header(Name::CallId, format_args!("{index}@home.contoso.com"))
        .header(Name::CSeq, "1 MESSAGE")
        .header(
            Name::EdgeTrust,
            "ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;ms-source-verified-user=unverified;\
             ms-source-network=federation;ms-remote-fqdn=edge.contoso.com",
        )
        .content(CONTENT_TYPE_V1, &body)
        .finish();
    written.expect("the bench's own request can be written");
    out.freeze()
}

fn configuration(office: &Office<'_>, listen: SocketAddr, ops: SocketAddr, apns: &str) -> Result<Raw> {
    let files = office.issue("house", "house.push.example.net", &["house.push.example.net"])?;
    let apns_dir = office.dir.join("apns");
    let app = |app: &&str| App {
        provider: Provider::Apns,
        app: (*app).to_owned(),
        environment: Environment::Production,
        credential: apns_dir.join("apns.p8"),
        team: Some(TEAM.into()),
        key_id: Some(KEY_ID.into()),
        server: Some(apns.to_owned()),
        roots: Some(apns_dir.join("ca.pem")),
        connections: 2,
    };
    Ok(Raw {
        store: Store { dir: office.dir.join("store"), settings: None },
        log: Log::default(),
        ops: Some(Ops { listen: ops }),
        resolver: Resolver::default(),
        home: None,
        edge: None,
        clearinghouse: Some(ClearingHouse {
            name: "house.push.example.net".parse()?,
            domain: "push.example.net".parse()?,
            tls: Tls { certificate: files.certificate, key: files.key, roots: office.dir.join("ca.pem") },
            listen,
            edges: vec!["edge.push.example.net".parse()?],
            edge: Hop { name: "edge.push.example.net".parse()?, address: listen },
            apps: APPS.iter().map(app).collect(),
        }),
    })
}

/// Waits until every verdict is journaled.
async fn until_idle(ops: SocketAddr) -> Result<()> {
    loop {
        let status = get(ops, "/status").await?;
        let house = &status["clearinghouse"];
        if house["open_in_memory"] == 0 && house["more_on_disk"] == false {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The first line that a child prints.
async fn first_line(child: &mut Child) -> Result<String> {
    let output = child.stdout.take().context("the child has a standard output")?;
    let mut lines = BufReader::new(output).lines();
    let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
    line.context("the child says nothing")??.context("the child has ended")
}

/// One JSON value from a listener of our own.
async fn get(address: SocketAddr, path: &str) -> Result<serde_json::Value> {
    let mut stream = tokio::net::TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    serde_json::from_str(body).with_context(|| format!("{path} did not answer with JSON"))
}

/// A port of this machine that nobody uses now.
fn free_port() -> Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
