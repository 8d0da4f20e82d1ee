//! Starts both provider simulators and their control API on loopback, for trying clients by hand.
//!
//! `cargo run -p reveille-sim --example simulators -- DIR` writes `ca.pem`, `apns.p8` and `service-account.json` to
//! DIR, prints one line of JSON with all addresses, and runs until its standard input ends.

use std::collections::HashMap;
use std::error::Error;
use std::io::Write as _;
use std::path::PathBuf;

use reveille_sim::apns::{ApnsOptions, ApnsSimulator, Mode, ProviderKey};
use reveille_sim::certs::{Ca, Leaf, apns_key, service_account_json};
use reveille_sim::control::{self, Controls};
use reveille_sim::fcm::{FcmOptions, FcmSimulator};
use reveille_sim::recorder::Keep;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("give a directory for keys and certificates")?);
    let words: Vec<_> = arguments.collect();
    let ca = Ca::new("Reveille simulator authority")?;
    let identity = ca.issue(Leaf::new("localhost", &["localhost", "127.0.0.1"]))?;
    let key = apns_key()?;

    let mut options = ApnsOptions::new(identity.clone());
    options.keys = vec![ProviderKey::new("TEAM123456", "KEY1234567", key.public_key.clone())];
    if words.iter().any(|word| word == "apple-like") {
        options.mode = Mode::AppleLike;
    }
    if words.iter().any(|word| word == "count-only") {
        options.keep = Keep::CountOnly;
    }
    let apns = ApnsSimulator::start(options).await?;
    let fcm = FcmSimulator::start(FcmOptions::new(identity)).await?;
    let account = service_account_json("demo", &fcm.token_uri())?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let controls = Controls { apns: Some(apns.controls()), fcm: Some(fcm.controls()) };
    let control = control::serve(listener, controls)?;

    let files = HashMap::from([
        ("ca.pem", ca.pem()),
        ("apns.p8", key.p8_pem.clone()),
        ("service-account.json", account.json.clone()),
    ]);
    for (name, text) in files {
        tokio::fs::write(dir.join(name), text).await?;
    }
    fcm.add_account(account);
    let told = serde_json::json!({
        "apns": apns.addr().to_string(), "fcm": fcm.addr().to_string(), "control": control.addr().to_string(),
        "team_id": "TEAM123456", "key_id": "KEY1234567",
    });
    writeln!(std::io::stdout(), "{told}")?;

    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    control.shutdown().await;
    apns.shutdown().await;
    fcm.shutdown().await;
    Ok(())
}
