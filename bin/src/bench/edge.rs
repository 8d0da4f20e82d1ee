//! `reveille bench edge`: MESSAGE relayed from mutual TLS to mutual TLS, and beside it Kamailio doing the same.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use bytes::{Bytes, BytesMut};
use clap::{Args, ValueEnum};
use reveille_server::process::{Usage, usage_of};
use reveille_server::settings_file;
use reveille_sim::certs::Ca;
use reveille_sip::{Method, Name, RequestBuilder};
use reveille_sip_net::{
    ClientAuth, Identity, ListenLimits, Listener, Pool, PoolLimits, Target, TlsClient, TlsServer, Transport, TrustRoots,
};
use reveille_store::SqliteSettings;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::child::{free_port, resident, serve};
use super::kamailio::Kamailio;
use super::source::{BRANCH, Beyond, Source, connected};
use super::{Outcome, rounded};
use crate::demo::layout::{Files, Office};
use crate::simulate::write;

/// Our domain, the server behind the edge, and the edge.
const OURS: &str = "contoso.example";
const HOME: &str = "home.contoso.example";
const EDGE: &str = "edge.contoso.example";
/// The partner and its edge.
const THEIRS: &str = "fabrikam.example";
const PARTNER: &str = "edge.fabrikam.example";
/// Sent before anything is measured: connections are made, paths and buffers warm.
const WARM_UP: usize = 5_000;

/// How much.
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// How many messages, each a MESSAGE and its answer
    #[arg(long, default_value_t = 100_000)]
    messages: usize,
    /// Over how many connections they come
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// How many wait for their answer at once
    #[arg(long, default_value_t = 512)]
    in_flight: usize,
    /// Bytes of each body; a push request has about 900
    #[arg(long, default_value_t = 900)]
    body: usize,
    /// In from a partner to the server behind, or out from there to a partner
    #[arg(long, value_enum, default_value_t = Direction::In)]
    direction: Direction,
    /// Opens so many connections more that say nothing, and tells what each costs
    #[arg(long, default_value_t = 0, value_name = "CONNECTIONS")]
    idle: usize,
    /// Puts the same load on Kamailio (packages kamailio and kamailio-tls-modules) afterwards
    #[arg(long)]
    kamailio: bool,
    /// Kamailio's processes for connections
    #[arg(long, default_value_t = 2, value_name = "N")]
    kamailio_children: usize,
    /// Where certificates and the edge's settings lie for the time; target/bench when absent
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    /// One JSON object on standard output
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Direction {
    In,
    Out,
}

/// What was measured of one relay.
struct Figures {
    seconds: f64,
    right: u64,
    cpu_us_per_unit: f64,
    p50_ms: f64,
    p99_ms: f64,
    peak_rss_mb: f64,
    bytes_per_idle: Option<u64>,
}

/// Measures.
pub(super) async fn measure(load: &Load, dir: &Path) -> Result<Outcome> {
    let ca = Ca::new("Reveille bench authority")?;
    write(dir, "ca.pem", &ca.pem())?;
    let scene = Scene::set(load, Office { ca: &ca, dir }).await?;
    let edge = scene.edge(load).await?;
    let kamailio = if load.kamailio { Some(scene.kamailio(load).await?) } else { None };
    scene.end().await;
    let complete = [Some(&edge), kamailio.as_ref()].iter().flatten().all(|one| one.right == load.messages as u64);
    let mut json = edge.to_json(load);
    let mut text = format!(
        "MESSAGE with {} bytes relayed {}, mutual TLS in and mutual TLS out\n  \
         {} messages (each with its answer), {} in flight over {} connections; load and relay on the same machine\n{}",
        load.body,
        if load.direction == Direction::In { "inward" } else { "outward" },
        load.messages,
        load.in_flight,
        load.connections,
        edge.to_text("reveille")
    );
    if let Some(bytes) = edge.bytes_per_idle {
        text.push_str(&format!("\n  {bytes} bytes for each of {} connections that say nothing", load.idle));
    }
    if let Some(kamailio) = &kamailio {
        text.push_str(&format!("\n{}", kamailio.to_text("kamailio")));
        text.push_str(&format!("\n  {:.1} times less CPU", kamailio.cpu_us_per_unit / edge.cpu_us_per_unit));
        json["kamailio"] = kamailio.to_json(load);
    }
    Ok(Outcome { text, json, complete })
}

/// Everything around the relay: certificates, who answers, and how it is reached.
struct Scene<'a> {
    office: Office<'a>,
    sender: Arc<TlsClient>,
    /// Where requests are answered.
    beyond: SocketAddr,
    /// The edge's own certificate, which Kamailio shows as well.
    relay: Files,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl<'a> Scene<'a> {
    async fn set(load: &Load, office: Office<'a>) -> Result<Self> {
        let (asks, answers) = match load.direction {
            Direction::In => (PARTNER, HOME),
            Direction::Out => (HOME, PARTNER),
        };
        let roots = TrustRoots::from_pem_files(&[office.dir.join("ca.pem")])?;
        let identity = |name: &str| -> Result<Identity> {
            let files = office.issue(name, name, &[name])?;
            Ok(Identity::from_pem_files(&files.certificate, &files.key)?)
        };
        let sender = Arc::new(TlsClient::new(Some(&identity(asks)?), &roots));
        let server = TlsServer::new(&identity(answers)?, ClientAuth::Required, &roots)?;
        let limits = ListenLimits { queued_bytes_max: 64 * 1024 * 1024, ..ListenLimits::default() };
        // A partner is reached on port 5061 and on no other.
        let at = match load.direction {
            Direction::In => free_port()?,
            Direction::Out => partner_address()?,
        };
        let listener = Listener::tls(at, Arc::new(server), limits)?;
        let (beyond, stop, tasks) = (listener.local_addr(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn(listener.run(Arc::new(Beyond), stop.clone()));
        let relay = office.issue("relay", EDGE, &[EDGE])?;
        Ok(Self { office, sender, beyond, relay, stop, tasks })
    }

    /// Puts the load on an edge of ours.
    async fn edge(&self, load: &Load) -> Result<Figures> {
        let (external, internal) = (free_port()?, free_port()?);
        let dir = self.office.dir;
        let config = self.configuration(external, internal)?;
        write(dir, "edge.toml", &config)?;
        std::fs::create_dir_all(dir.join("store"))?;
        write(dir, "settings.json", SETTINGS)?;
        let settings = SqliteSettings::open(&dir.join("store/settings.db"))?;
        settings_file::put(&settings, settings_file::read(&dir.join("settings.json"))?, "bench").await?;
        settings.close();
        let mut edge = serve(&dir.join("edge.toml")).await?;
        let pid = edge.id().context("the edge runs")?.to_string();
        let at = match load.direction {
            Direction::In => external,
            Direction::Out => internal,
        };
        let mut figures = self.run(load, at, || usage_of(&pid)).await?;
        if load.idle > 0 {
            figures.bytes_per_idle = Some(self.idle(load, at, &pid).await?);
        }
        edge.kill().await?;
        Ok(figures)
    }

    /// Puts the same load on Kamailio.
    async fn kamailio(&self, load: &Load) -> Result<Figures> {
        let at = free_port()?;
        let ca = self.office.dir.join("ca.pem");
        let kamailio =
            Kamailio::start(self.office.dir, at, self.beyond, &self.relay, &ca, load.kamailio_children).await?;
        let figures = self.run(load, at, || kamailio.usage()).await?;
        kamailio.end().await?;
        Ok(figures)
    }

    /// Sends everything through the relay at `at`, and counts what `usage` says of it.
    async fn run(&self, load: &Load, at: SocketAddr, usage: impl Fn() -> Usage) -> Result<Figures> {
        let (to, from) = match load.direction {
            Direction::In => (OURS, THEIRS),
            Direction::Out => (THEIRS, OURS),
        };
        let body = vec![b'x'; load.body];
        let text = move |index| request(index, from, to, &body);
        let source = Source::new(WARM_UP + load.messages, Box::new(text), |answer| answer.status() == Some(202));
        let stop = self.stop.child_token();
        let limits = PoolLimits {
            connections_per_target: load.connections,
            queued_bytes_max: 64 * 1024 * 1024,
            ..PoolLimits::default()
        };
        let tls = Some(Arc::clone(&self.sender));
        let pool = Pool::new(Arc::clone(&source) as _, Arc::clone(&source) as _, tls, None, limits, stop.clone());
        let flows = connected(&pool, &Target::at(EDGE, at, Transport::Tls), PARTNER, load.connections).await?;
        source.push_over(&flows, WARM_UP, load.in_flight).await;
        let (before, begun) = (usage(), Instant::now());
        source.push_over(&flows, WARM_UP + load.messages, load.in_flight).await;
        let (seconds, after) = (begun.elapsed().as_secs_f64(), usage());
        stop.cancel();
        pool.finish().await;
        let [p50_ms, p99_ms] = source.percentiles(WARM_UP, [0.5, 0.99]);
        Ok(Figures {
            seconds,
            right: source.answers().0.saturating_sub(WARM_UP as u64),
            cpu_us_per_unit: (after.cpu - before.cpu).as_micros() as f64 / load.messages as f64,
            p50_ms,
            p99_ms,
            peak_rss_mb: after.peak_rss_bytes as f64 / 1_048_576.0,
            bytes_per_idle: None,
        })
    }

    /// What one more connection that says nothing costs the edge, in bytes.
    async fn idle(&self, load: &Load, at: SocketAddr, pid: &str) -> Result<u64> {
        let stop = self.stop.child_token();
        let source = Source::new(0, Box::new(|_| Bytes::new()), |_| true);
        let limits = PoolLimits { connections_per_target: load.idle, ..PoolLimits::default() };
        let tls = Some(Arc::clone(&self.sender));
        let pool = Pool::new(Arc::clone(&source) as _, source, tls, None, limits, stop.clone());
        let before = resident(pid)?;
        connected(&pool, &Target::at(EDGE, at, Transport::Tls), PARTNER, load.idle).await?;
        let bytes = resident(pid)?.saturating_sub(before);
        stop.cancel();
        pool.finish().await;
        Ok(bytes / load.idle as u64)
    }

    fn configuration(&self, external: SocketAddr, internal: SocketAddr) -> Result<String> {
        let dir = self.office.dir.display();
        let (certificate, key) = (self.relay.certificate.display(), self.relay.key.display());
        let (ops, beyond) = (free_port()?, self.beyond);
        let partner = beyond.ip();
        Ok(format!(
            "[store]\ndir = \"{dir}/store\"\n[ops]\nlisten = \"{ops}\"\n\
             [resolver.hosts]\n\"{PARTNER}\" = [\"{partner}\"]\n\
             [edge]\nname = \"{EDGE}\"\nexternal = \"{external}\"\ninternal = \"{internal}\"\ninside = [\"{HOME}\"]\n\
             [edge.limits]\nmessages_per_s = 1000000\nin_flight_per_partner = 50000\nconnections_per_partner = 20000\n\
             [edge.tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\nroots = \"{dir}/ca.pem\"\n\
             [[edge.domains]]\ndomain = \"{OURS}\"\nname = \"{HOME}\"\naddress = \"{beyond}\"\n"
        ))
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Figures {
    fn to_json(&self, load: &Load) -> serde_json::Value {
        serde_json::json!({
            "what": "edge",
            "messages": load.messages, "in_flight": load.in_flight, "connections": load.connections,
            "body_bytes": load.body, "direction": if load.direction == Direction::In { "in" } else { "out" },
            "rate_per_s": (load.messages as f64 / self.seconds).round(),
            "cpu_us_per_unit": rounded(self.cpu_us_per_unit),
            "p50_ms": self.p50_ms, "p99_ms": self.p99_ms,
            "peak_rss_mb": self.peak_rss_mb.round(),
            "bytes_per_idle_connection": self.bytes_per_idle,
        })
    }

    fn to_text(&self, who: &str) -> String {
        format!(
            "{who}\n  {:>10.0} messages/s\n  {:>10.2} CPU µs per message\n  {:>10.2} ms p50, {:.2} ms p99 from request to \
             answer\n  {:>10.0} MB peak memory",
            self.right as f64 / self.seconds,
            self.cpu_us_per_unit,
            self.p50_ms,
            self.p99_ms,
            self.peak_rss_mb
        )
    }
}

/// A MESSAGE with a number, as a server sends it to an edge.
fn request(index: usize, from: &str, to: &str, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(600 + body.len());
    let written = RequestBuilder::new(&mut out, Method::Message, &format!("sip:push@{to}"))
        .header(Name::Via, format_args!("SIP/2.0/TLS edge.{from};branch={BRANCH}{index}"))
        .header(Name::Via, format_args!("SIP/2.0/TLS home.{from};branch=z9hG4bKh{index};received=127.0.0.1"))
        .header(Name::MaxForwards, "69")
        .header(Name::From, format_args!("<sip:mcx@{from}>;tag={index}"))
        .header(Name::To, format_args!("<sip:push@{to}>"))
        .header(Name::CallId, format_args!("{index}@home.{from}"))
        .header(Name::CSeq, "1 MESSAGE")
        .content("application/vnd.reveille.push+json;v=1", body)
        .finish();
    written.expect("the bench's own request can be written");
    out.freeze()
}

/// A loopback address on which nobody uses port 5061.
fn partner_address() -> Result<SocketAddr> {
    for _ in 0..100 {
        let at = SocketAddr::from(([127, rand::random_range(16..250), rand::random_range(1..250), 1], 5061));
        if std::net::TcpListener::bind(at).is_ok() {
            return Ok(at);
        }
    }
    bail!("no free loopback address was found for port 5061")
}

const SETTINGS: &str = r#"{"settings": [
    {"Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true},
    {"Kind": "AllowedDomain", "Identity": "fabrikam.example", "ProxyFqdn": "edge.fabrikam.example"}
]}"#;
