//! `reveille bench clearinghouse`: SIP over mutual TLS in, journal, APNs out, verdict journaled.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Bytes, BytesMut};
use clap::Args;
use reveille_core::settings::{PushApp, PushQuota, Setting};
use reveille_core::{Channel, Clock as _, DeviceToken, Environment, Event, IdentityId, Provider, PushId, Timestamp};
use reveille_federation::PushRequest;
use reveille_federation::request::{CONTENT_TYPE_V1, To, write_body};
use reveille_server::config::{App, ClearingHouse, Hop, Log, Ops, Proxies, Raw, Resolver, Store, Tls};
use reveille_server::{SystemClock, process, settings_file};
use reveille_sim::certs::Ca;
use reveille_sip::{Message, Method, Name, RequestBuilder};
use reveille_sip_net::{Identity, Pool, PoolLimits, Target, TlsClient, Transport, TrustRoots};
use reveille_store::SqliteSettings;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use super::child::{first_line, free_port, get, serve};
use super::source::{BRANCH, Source};
use super::{Outcome, rounded};
use crate::demo::layout::Office;
use crate::simulate::{KEY_ID, TEAM, write};

/// Three apps, so that three lanes work side by side.
const APPS: [&str; 3] = ["org.reveille.one", "org.reveille.two", "org.reveille.three"];
/// For the last verdicts to be journaled.
const PATIENCE: Duration = Duration::from_secs(60);

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
    pub(super) dir: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
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
            "cpu_us_per_unit": rounded(self.cpu_us_per_unit),
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

/// Measures.
pub(super) async fn measure(load: &Load, dir: &Path) -> Result<Outcome> {
    let figures = figures(load, dir).await?;
    let complete = figures.accepted == load.pushes as u64;
    Ok(Outcome { text: figures.to_text(load), json: figures.to_json(load), complete })
}

async fn figures(load: &Load, dir: &Path) -> Result<Figures> {
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
    let raw = configuration(&office, listen, ops, &APPS.map(|app| (app, apns.clone())))?;
    write(dir, "clearinghouse.toml", &toml::to_string_pretty(&raw)?)?;
    std::fs::create_dir_all(&raw.store.dir)?;
    let settings = SqliteSettings::open(&raw.settings_path())?;
    let serves = vec!["contoso.com".parse()?];
    let grants = APPS.map(|app| Setting::PushApp(PushApp::new(app, serves.clone())));
    // What is measured is how much goes, and not how much is let go.
    let all = grants.into_iter().chain([Setting::PushQuota(PushQuota::boundless())]).collect();
    settings_file::put(&settings, all, "bench").await?;
    settings.close();
    let mut house = serve(&dir.join("clearinghouse.toml")).await?;
    let pid = house.id().context("the clearing house runs")?.to_string();

    let edge = office.issue("edge", "edge.push.example.net", &["edge.push.example.net"])?;
    let identity = Identity::from_pem_files(&edge.certificate, &edge.key)?;
    let tls = TlsClient::new(Some(&identity), &TrustRoots::from_pem_files(&[dir.join("ca.pem")])?);
    let write = |index| message("contoso.com", index, &request(index, SystemClock.now()));
    let source = Source::new(load.pushes, Box::new(write), is_journaled);
    let before = process::usage_of(&pid);
    let begun = Instant::now();
    push_all(load, listen, tls, &source).await?;
    until_idle(ops).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let after = process::usage_of(&pid);
    let [p50_ms, p99_ms] = source.percentiles(0, [0.5, 0.99]);
    let figures = Figures {
        seconds,
        accepted: source.answers().0,
        cpu_us_per_unit: (after.cpu - before.cpu).as_micros() as f64 / load.pushes as f64,
        p50_ms,
        p99_ms,
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
    let target = Target::at("house.push.example.net", listen, Transport::Tls);
    let limits = PoolLimits {
        connections_per_target: load.connections,
        waiting_max: load.in_flight.max(2000),
        waiting_bytes_max: 64 * 1024 * 1024,
        queued_bytes_max: 64 * 1024 * 1024,
        ..PoolLimits::default()
    };
    let pool =
        Pool::new(Arc::clone(source) as _, Arc::clone(source) as _, Some(Arc::new(tls)), None, limits, stop.clone());
    source.push_through(&pool, &target, load.pushes, load.in_flight).await;
    stop.cancel();
    pool.finish().await;
    match source.answers() {
        (_, 0) => Ok(()),
        (_, failed) => bail!("{failed} requests were not answered with 202"),
    }
}

/// Whether an answer says that the push is journaled.
pub(super) fn is_journaled(response: &Message) -> bool {
    response.status() == Some(202) && response.header(Name::PushResult) == Some("0;result=journaled")
}

/// A push request like home's, for a token of its own.
pub(super) fn request(index: usize, now: Timestamp) -> PushRequest {
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
pub(super) fn message(origin: &str, index: usize, request: &PushRequest) -> Bytes {
    let body = write_body(std::slice::from_ref(request));
    let mut out = BytesMut::with_capacity(1400);
    let written = RequestBuilder::new(&mut out, Method::Message, "sip:push@push.example.net")
        .header(Name::Via, format_args!("SIP/2.0/TLS edge.push.example.net;branch={BRANCH}{index}"))
        .header(Name::Via, format_args!("SIP/2.0/TLS edge.{origin};branch=z9hG4bKe{index};received=127.0.0.1"))
        .header(Name::Via, format_args!("SIP/2.0/TLS home.{origin};branch=z9hG4bKh{index};received=127.0.0.1"))
        .header(Name::MaxForwards, "68")
        .header(Name::From, format_args!("<sip:mcx@{origin}>;tag={index}"))
        .header(Name::To, "<sip:push@push.example.net>")
        .header(Name::CallId, format_args!("{index}@home.{origin}"))
        .header(Name::CSeq, "1 MESSAGE")
        .header(
            Name::EdgeTrust,
            format_args!(
                "ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;ms-source-verified-user=unverified;\
                 ms-source-network=federation;ms-remote-fqdn=edge.{origin}"
            ),
        )
        .content(CONTENT_TYPE_V1, &body)
        .finish();
    written.expect("the bench's own request can be written");
    out.freeze()
}

/// A clearing house of these apps, each with where its push service is.
pub(super) fn configuration(
    office: &Office<'_>,
    listen: SocketAddr,
    ops: SocketAddr,
    apps: &[(&str, String)],
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
        connections: 2,
        connections_max: 8,
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

/// Waits until every verdict is journaled.
async fn until_idle(ops: SocketAddr) -> Result<()> {
    let begun = Instant::now();
    loop {
        let status = get(ops, "/status").await?;
        let house = &status["clearinghouse"];
        if house["open_in_memory"] == 0 && house["more_on_disk"] == false {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "after {PATIENCE:?} some pushes still have no verdict: {house}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
