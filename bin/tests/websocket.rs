//! Clients in web pages: two phones made with JsSIP, over WebSocket with and without TLS, at the demo's home.
//!
//! `cargo xtask partners` installs it. Where it is missing the test says so and is skipped, unless
//! REVEILLE_PARTNERS=required.

#[path = "partners/presence.rs"]
mod presence;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::presence::{Presence, here, on_path};
use crate::support::{Demo, Process};

#[test]
fn two_phones_in_web_pages_register_with_digest_and_write_to_each_other() -> Result<()> {
    let (folder, present) = jssip()?;
    if !here(&[present, on_path("node")])? {
        return Ok(());
    }
    let demo = Demo::start("websocket")?;
    let home = |key: &str| demo.told(&format!("/organisations/contoso.com/home/{key}"));
    for (url, ca) in
        [(format!("wss://{}/", home("sip_wss")?), demo.told("/ca")?), (format!("ws://{}/", home("sip_ws")?), "-")]
    {
        let account = |user: &str| -> Result<String> {
            let password = demo.told(&format!("/organisations/contoso.com/users/{user}/password"))?;
            Ok(format!("{user}:{password}"))
        };
        let mut command = Command::new("node");
        command.arg("phones.js").current_dir(&folder).args([&url, ca, "https://phone.contoso.com"]);
        command.args([&account("alice")?, &account("bob")?, TEXT]);
        let told = spoken(command).with_context(|| url.clone())?;
        let expected = json!({
            "registered": [200, 200],
            "sent": [200, 200],
            "received": [[TEXT], [format!("{TEXT} — ja, gehört ✓")]],
            "protocol": "sip",
            "closed": [1000, 1000],
        });
        ensure!(told == expected, "{url}: {told}");
    }
    demo.stop()
}

/// Runs the script to its end; answers what it told.
fn spoken(mut command: Command) -> Result<Value> {
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let mut script = Process::start(command)?;
    let status = script.wait(PATIENCE)?;
    ensure!(status.success(), "it ended with {status}: {}", script.said());
    let said = script.said();
    serde_json::from_str(said.lines().next().unwrap_or_default()).with_context(|| format!("it said {said}"))
}

/// Where `cargo xtask partners` puts JsSIP, and whether it is there, with the script as this tree has it.
fn jssip() -> Result<(PathBuf, Presence)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let folder = root.join("target/partners/jssip");
    let read = |path: PathBuf| std::fs::read(path).ok();
    let is_ours = read(root.join("tests/partners/jssip/phones.js")) == read(folder.join("phones.js"));
    let present = match folder.join("node_modules/jssip/package.json").is_file() && is_ours {
        true => Ok(()),
        false => Err("JsSIP is not installed, or with an older script".to_owned()),
    };
    Ok((folder, present))
}

/// What Alice writes.
const TEXT: &str = "Are you there?";

/// How long both may take to start, to register and to write.
const PATIENCE: Duration = Duration::from_secs(40);
