//! The real binary as a process, with clients and senders that others wrote: SIPp, linphonec, node-apn, firebase-admin.
//!
//! `cargo xtask partners` installs them. Where one is missing its test says so and is skipped, unless
//! REVEILLE_PARTNERS=required.

#[path = "partners/linphone.rs"]
mod linphone;
#[path = "partners/presence.rs"]
mod presence;
#[path = "partners/sipp.rs"]
mod sipp;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::linphone::Linphone;
use crate::presence::{Presence, here, on_path};
use crate::sipp::Sipp;
use crate::support::{Demo, Folder, Process, json, reveille};

#[test]
fn a_message_of_sipp_wakes_a_linphone_that_was_killed_and_is_read_when_it_is_back() -> Result<()> {
    if !here(&[on_path("sipp"), on_path("linphonec")])? {
        return Ok(());
    }
    let demo = Demo::start("woken")?;
    // Alice has a phone as well, and it sleeps: what comes back to her must not wake it.
    let hers = token();
    let fields = format!("alice;urn:uuid:a11ce;{};{hers}", token());
    Sipp { scenario: "register.xml", fields: &fields, calls: 1 }.run(&demo)?;
    demo.user_until("alice", "her phone counts as suspended", |alice| alice["presence"] == "away")?;

    let (voip, message) = (token(), token());
    let phone = linphone(&demo, "bob", push_parameters(&voip, &message))?;
    let bob = register_and_suspend(&demo, &phone)?;
    let device = &bob["devices"][0];
    ensure!(device["user_agent"].as_str().is_some_and(|agent| agent.starts_with("Linphone")), "{bob}");
    ensure!(device["app"] == "apns/app", "{bob}");
    ensure!(is_tail(&device["voip_token"], &voip) && is_tail(&device["message_token"], &message), "{bob}");

    Sipp { scenario: "message.xml", fields: &format!("bob;{TEXT}"), calls: 1 }.run(&demo)?;
    let control = demo.told("/simulators/apns/control")?;
    let push = json(&format!("{control}/apns/wait?token={message}&delivered=true&timeout_ms=10000"))?;
    ensure!(push["topic"] == "app" && push["push_type"] == "alert", "{push}");
    ensure!(!push["payload"].to_string().contains(TEXT), "the push carries the message's text: {push}");
    let bob = demo.user("bob")?;
    ensure!(bob["presence"] == "away" && bob["unread"] == 1, "before Bob taps home knows {bob}");

    // Bob taps.
    let mut app = phone.start()?;
    app.until("it prints the message", |said| {
        let line = said.lines().find(|line| line.contains("Message received from"))?;
        (line.contains("alice@contoso.com") && line.contains(TEXT)).then_some(())
    })?;
    demo.user_until("bob", "he is back, and has read it", |bob| bob["presence"] == "online" && bob["unread"] == 0)?;

    // His client sends a receipt. It is kept for Alice, and nobody is woken for it.
    let alice = demo.user_until("alice", "Bob's receipt is kept for her", |alice| alice["unread"] == 1)?;
    ensure!(is_tail(&alice["devices"][0]["message_token"], &hers), "her phone could be pushed: {alice}");
    ensure!(reasons(&alice) == ["not-worth-waking"], "{alice}");
    let count = json(&format!("{control}/apns/count"))?;
    ensure!(count["received"] == 1, "APNs was asked for other pushes than Bob's one: {count}");
    app.kill()?;
    demo.stop()
}

#[test]
fn a_linphone_with_a_token_for_calls_only_is_not_pushed_for_a_message_and_home_says_why() -> Result<()> {
    if !here(&[on_path("sipp"), on_path("linphonec")])? {
        return Ok(());
    }
    let demo = Demo::start("calls-only")?;
    let voip = token();
    let push = format!("pn-provider=apns;pn-param=TEAM.app.voip;pn-prid={voip}");
    let ken = register_and_suspend(&demo, &linphone(&demo, "kenmyer", push)?)?;
    let device = &ken["devices"][0];
    ensure!(device["message_token"].is_null() && is_tail(&device["voip_token"], &voip), "{ken}");

    Sipp { scenario: "message.xml", fields: &format!("kenmyer;{TEXT}"), calls: 1 }.run(&demo)?;
    let ken = demo.user("kenmyer")?;
    ensure!(ken["unread"] == 1 && reasons(&ken) == ["no-message-token"], "{ken}");
    let count = json(&format!("{}/apns/count", demo.told("/simulators/apns/control")?))?;
    ensure!(count["received"] == 0, "APNs was asked for a push: {count}");
    demo.stop()
}

#[test]
fn fifty_clients_of_sipp_sign_in_within_a_second_and_ask_for_options() -> Result<()> {
    if !here(&[on_path("sipp")])? {
        return Ok(());
    }
    let demo = Demo::start("fifty")?;
    let message = token();
    let fields = format!("alice;urn:uuid:a11ce;{};{message}", token());
    Sipp { scenario: "register.xml", fields: &fields, calls: 50 }.run(&demo)?;
    let alice = demo.user_until("alice", "the connection is gone", |alice| alice["presence"] == "away")?;
    ensure!(
        alice["devices"].as_array().is_some_and(|devices| devices.len() == 1),
        "one instance is one device: {alice}"
    );
    ensure!(is_tail(&alice["devices"][0]["message_token"], &message), "{alice}");
    demo.stop()
}

#[test]
fn node_apn_is_told_by_the_apns_simulator_what_apple_would_tell_it() -> Result<()> {
    let (folder, present) = installed("node-apn", "push.js", "node_modules/@parse/node-apn/package.json")?;
    if !here(&[present, on_path("node")])? {
        return Ok(());
    }
    let simulators = Simulators::start("node-apn")?;
    let apns = &simulators.told["apns"];
    let (host, port) = text(&apns["address"])?.rsplit_once(':').context("a port")?;
    let mut command = Command::new("node");
    command.arg("push.js").current_dir(folder);
    command.env("APNS_HOST", host).env("APNS_PORT", port).env("APNS_CA", text(&simulators.told["ca"])?);
    command.env("APNS_KEY", text(&apns["key"])?).env("APNS_KEY_ID", text(&apns["key_id"])?);
    command.env("APNS_TEAM_ID", text(&apns["team"])?).env("APNS_CONTROL", text(&simulators.told["control"])?);
    satisfied(command)?;
    // What the sender believes is what the simulator saw: 201 taken, 410, and a rule broken.
    let count = json(&format!("{}/apns/count", text(&simulators.told["control"])?))?;
    ensure!(count["delivered"] == 201 && count["received"] == 203, "the simulator counts {count}");
    simulators.stop()
}

#[test]
fn firebase_admin_is_told_by_the_fcm_simulator_what_google_would_tell_it() -> Result<()> {
    let (folder, present) = installed("firebase-admin", "push.py", "venv/bin/python")?;
    if !here(&[present])? {
        return Ok(());
    }
    let simulators = Simulators::start("firebase-admin")?;
    let fcm = &simulators.told["fcm"];
    let mut command = Command::new(folder.join("venv/bin/python"));
    command.arg("push.py").current_dir(folder);
    command.env("FCM_URL", format!("https://{}", text(&fcm["address"])?));
    command.env("FCM_KEY_FILE", text(&fcm["service_account"])?).env("FCM_CONTROL", text(&simulators.told["control"])?);
    command.env("REQUESTS_CA_BUNDLE", text(&simulators.told["ca"])?);
    satisfied(command)?;
    let count = json(&format!("{}/fcm/count", text(&simulators.told["control"])?))?;
    ensure!(count["delivered"] == 1, "the simulator counts {count}");
    simulators.stop()
}

/// What Alice writes.
const TEXT: &str = "Are you there?";

/// How long a sender may take for its handful of pushes.
const SENDER: Duration = Duration::from_secs(40);

/// `reveille simulate apns fcm` as a process.
struct Simulators {
    process: Process,
    folder: Folder,
    told: Value,
}

impl Simulators {
    fn start(name: &str) -> Result<Self> {
        let folder = Folder::new(name)?;
        let mut command = reveille();
        command.args(["simulate", "apns", "fcm", "--dir"]).arg(folder.path());
        let mut process = Process::start(command)?;
        let whole = |said: &str| said.lines().next().and_then(|line| serde_json::from_str(line).ok());
        let told = process.until("it tells its addresses", whole)?;
        Ok(Self { process, folder, told })
    }

    fn stop(mut self) -> Result<()> {
        let status = self.process.terminate()?;
        ensure!(status.success(), "the simulators ended with {status}");
        self.folder.remove()
    }
}

/// Runs a sender's script to its end, with nothing between it and the simulators.
fn satisfied(mut command: Command) -> Result<()> {
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let mut sender = Process::start(command)?;
    let status = sender.wait(SENDER)?;
    ensure!(status.success(), "it ended with {status}: {}", sender.said());
    ensure!(sender.said().contains("all as expected"), "it ended well, and said: {}", sender.said());
    Ok(())
}

/// Where `cargo xtask partners` puts a sender, and whether it is there, with its script as this tree has it.
fn installed(name: &str, script: &str, proof: &str) -> Result<(PathBuf, Presence)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let folder = root.join("target/partners").join(name);
    let read = |path: PathBuf| std::fs::read(path).ok();
    let ours = read(root.join("tests/partners").join(name).join(script));
    let present = match (folder.join(proof).is_file(), read(folder.join(script)) == ours) {
        (true, true) => Ok(()),
        (true, false) => Err(format!("{name} is installed with an older {script}")),
        (false, _) => Err(format!("{name} is not installed")),
    };
    Ok((folder, present))
}

/// A token like APNs hands them out.
fn token() -> String {
    (0..32).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

/// The Linphone of one of the demo's users.
fn linphone<'a>(demo: &'a Demo, user: &'static str, push: String) -> Result<Linphone<'a>> {
    let own = |what: &str| demo.told(&format!("/organisations/contoso.com/users/{user}/{what}"));
    Ok(Linphone {
        folder: demo.folder(),
        user,
        password: own("password")?,
        home: demo.told("/organisations/contoso.com/home/sip_tls")?,
        ca: demo.told("/ca")?.into(),
        identity: Some((own("client_cert")?.into(), own("client_key")?.into())),
        push,
    })
}

/// Lets the app register, then kills it, as an operating system does that needs its memory. Answers what home knew of
/// it when it was there.
fn register_and_suspend(demo: &Demo, phone: &Linphone<'_>) -> Result<Value> {
    let app = phone.start()?;
    let status = demo.user_until(phone.user, "the phone registers", |user| user["presence"] == "online");
    let status = status.with_context(|| format!("linphonec said: {}", app.said()))?;
    app.kill()?;
    demo.user_until(phone.user, "the phone counts as suspended", |user| user["presence"] == "away")?;
    Ok(status)
}

/// Push parameters of the publisher's app, as Linphone writes them: one token for calls, another for messages.
fn push_parameters(voip: &str, message: &str) -> String {
    format!("pn-provider=apns;pn-param=TEAM.app.voip&remote;pn-prid={voip}:voip&{message}:remote")
}

/// Why each push of a user was not sent; null for one that was.
fn reasons(user: &Value) -> Vec<&Value> {
    user["pushes"].as_array().map(|pushes| pushes.iter().map(|push| &push["reason"]).collect()).unwrap_or_default()
}

/// Whether home shows the end of this token, and no more of it.
fn is_tail(shown: &Value, token: &str) -> bool {
    shown.as_str().is_some_and(|tail| !tail.is_empty() && tail.len() <= 8 && token.ends_with(tail))
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().with_context(|| format!("{value} is no text"))
}
