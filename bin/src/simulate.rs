//! `reveille simulate apns fcm`: strict provider simulators as a process of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use reveille_sim::apns::{ApnsOptions, ApnsSimulator, Mode, ProviderKey};
use reveille_sim::certs::{Ca, Leaf, apns_key, service_account_json};
use reveille_sim::control::{self, Controls};
use reveille_sim::fcm::{FcmOptions, FcmSimulator};
use reveille_sim::recorder::Keep;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::out;

/// The team and key that the simulator's provider key has.
pub(crate) const TEAM: &str = "DEMOTEAM01";
pub(crate) const KEY_ID: &str = "DEMOKEY001";

/// What to simulate.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Which providers
    #[arg(required = true, value_enum)]
    providers: Vec<Simulated>,
    /// Where keys and certificates are written for clients to use
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where the control API listens
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
    /// Where APNs listens
    #[arg(long, default_value = "127.0.0.1:0")]
    apns: SocketAddr,
    /// Where FCM listens
    #[arg(long, default_value = "127.0.0.1:0")]
    fcm: SocketAddr,
    /// Accepts what the live service is known to accept beyond its documents
    #[arg(long)]
    lenient: bool,
    /// Counts pushes and keeps none: for load
    #[arg(long)]
    count_only: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Simulated {
    Apns,
    Fcm,
}

/// Runs the simulators until SIGTERM or SIGINT.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    std::fs::create_dir_all(&options.dir).with_context(|| format!("{} cannot be made", options.dir.display()))?;
    let ca = Ca::new("Reveille simulator authority")?;
    // Clients that ask for an address find it in the certificate.
    let (apns_ip, fcm_ip) = (options.apns.ip().to_string(), options.fcm.ip().to_string());
    let identity = ca.issue(Leaf::new("localhost", &["localhost", "127.0.0.1", &apns_ip, &fcm_ip]))?;
    write(&options.dir, "ca.pem", &ca.pem())?;
    let keep = if options.count_only { Keep::CountOnly } else { Keep::default() };
    let mut told = serde_json::json!({ "ca": options.dir.join("ca.pem") });
    let mut controls = Controls { apns: None, fcm: None };
    let (mut apns, mut fcm) = (None, None);
    if options.providers.contains(&Simulated::Apns) {
        let key = apns_key()?;
        write(&options.dir, "apns.p8", &key.p8_pem)?;
        let mut wanted = ApnsOptions::new(identity.clone());
        wanted.listen = options.apns;
        wanted.keys = vec![ProviderKey::new(TEAM, KEY_ID, key.public_key)];
        wanted.mode = if options.lenient { Mode::AppleLike } else { Mode::Strict };
        wanted.keep = keep;
        let simulator = ApnsSimulator::start(wanted).await?;
        told["apns"] = serde_json::json!({
            "address": simulator.addr().to_string(), "team": TEAM, "key_id": KEY_ID, "key": options.dir.join("apns.p8"),
        });
        controls.apns = Some(simulator.controls());
        apns = Some(simulator);
    }
    if options.providers.contains(&Simulated::Fcm) {
        let mut wanted = FcmOptions::new(identity);
        wanted.listen = options.fcm;
        wanted.keep = keep;
        let simulator = FcmSimulator::start(wanted).await?;
        let account = service_account_json("reveille-demo", &simulator.token_uri())?;
        write(&options.dir, "service-account.json", &account.json)?;
        simulator.add_account(account);
        told["fcm"] = serde_json::json!({
            "address": simulator.addr().to_string(), "project": "reveille-demo",
            "service_account": options.dir.join("service-account.json"),
        });
        controls.fcm = Some(simulator.controls());
        fcm = Some(simulator);
    }
    let listener = TcpListener::bind(options.control)
        .await
        .with_context(|| format!("the control API cannot listen on {}", options.control))?;
    let control = control::serve(listener, controls)?;
    told["control"] = format!("http://{}", control.addr()).into();
    out::data(&told.to_string());
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    control.shutdown().await;
    if let Some(apns) = apns {
        apns.shutdown().await;
    }
    if let Some(fcm) = fcm {
        fcm.shutdown().await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a file that only its owner may read: most of them are keys.
pub(crate) fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = dir.join(name);
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("{} cannot be written", path.display()))
}
