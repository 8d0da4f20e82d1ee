//! `examples/`, `docs/` and the map as their reader meets them: every file is one that the binary takes, every list is
//! whole, every bound is as it says, and the two organisations really run.
//!
//! run.sh makes its certificates with openssl, and phone.py is Python's. Where one is missing the test says so and is
//! skipped, unless REVEILLE_PARTNERS=required.

mod support;

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use reveille_core::Reason;
use reveille_core::settings::Setting;
use reveille_server::settings_file::Place;
use reveille_server::{config, settings_file};
use reveille_sim::phone::{Phone, PhoneOptions};
use reveille_sip_net::{TlsClient, TrustRoots};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{Folder, Process, STEP, json, reveille, until};

/// What the example's addresses begin with.
const NET: &str = "127.0.10.";
const TEXT: &str = "Platform 9, in five minutes.";

#[test]
fn every_configuration_of_the_examples_is_taken_and_lacks_only_files_that_are_made_later() -> Result<()> {
    let mut seen = 0;
    for path in files("toml")? {
        if path.ends_with("users.toml") {
            continue;
        }
        let raw = config::read(&path)?;
        for fault in config::check(&raw, false) {
            ensure!(fault.sentence.contains("cannot be read"), "{}: {fault}", path.display());
            ensure!(fault.sentence.contains("/state/"), "{}: {fault}", path.display());
        }
        seen += 1;
    }
    ensure!(seen == 4, "four configurations were expected, and {seen} found");
    Ok(())
}

#[test]
fn every_settings_file_of_the_examples_is_imported_as_a_whole() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let folder = Folder::new("settings")?;
    let mut seen = 0;
    for path in files("json")? {
        let store = folder.path().join(format!("{seen}.db"));
        let records = settings_file::read(&path)?;
        let version = runtime.block_on(settings_file::import(&Place::at(&store), &path, "test"))?;
        ensure!(version == records.len() as u64, "{}: version {version} of {} records", path.display(), records.len());
        // What is exported can be imported again, and says the same.
        let again = folder.write(&format!("{seen}.json"), &settings_file::export(&Place::at(&store))?)?;
        ensure!(settings_file::read(&again)?.len() == records.len(), "{} loses records", path.display());
        seen += 1;
    }
    ensure!(seen == 2, "two settings files were expected, and {seen} found");
    folder.remove()
}

#[test]
fn the_reference_of_the_configuration_parses_and_names_every_key() -> Result<()> {
    let page = std::fs::read_to_string(docs().join("configuration.md"))?;
    let text = block(&page, "toml")?;
    let raw = config::parse(text, Path::new("configuration.md"))?;
    ensure!(raw.home.is_some() && raw.edge.is_some() && raw.clearinghouse.is_some(), "a role is missing");
    // A key of the file is a public field of the structs that it is read into.
    let structs = concat!(
        include_str!("../../crates/server/src/config/raw.rs"),
        include_str!("../../crates/server/src/config/admin.rs")
    );
    let fields = structs.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "));
    let keys: Vec<&str> = fields.map(|(name, _)| name).filter(|name| !name.contains(' ')).collect();
    ensure!(keys.len() > 40, "only {} keys were found", keys.len());
    for key in keys {
        let named = text.lines().any(|line| {
            let line = line.trim_start_matches('[');
            line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', ']', '.']))
                || line.split([']', ' ']).next().is_some_and(|table| table.ends_with(&format!(".{key}")))
        });
        ensure!(named, "docs/configuration.md does not name the key {key}");
    }
    Ok(())
}

#[test]
fn the_reference_of_the_settings_is_taken_and_names_every_property_and_every_reason() -> Result<()> {
    let page = std::fs::read_to_string(docs().join("settings.md"))?;
    let folder = Folder::new("reference")?;
    let file = folder.write("settings.json", block(&page, "json")?)?;
    let records = settings_file::read(&file)?;
    let written: serde_json::Value = serde_json::from_str(block(&page, "json")?)?;
    for (record, written) in records.iter().zip(written["settings"].as_array().context("a list of settings")?) {
        let whole = serde_json::to_value(record)?;
        for (property, value) in whole.as_object().context("a record")? {
            ensure!(written[property] == *value, "{}: {property} is {} in the page", record.kind(), written[property]);
        }
    }
    let kinds: std::collections::BTreeSet<_> = records.iter().map(Setting::kind).collect();
    ensure!(kinds.len() == 17, "the page has these kinds of settings: {kinds:?}");
    let runtime = tokio::runtime::Runtime::new()?;
    let store = folder.path().join("settings.db");
    runtime.block_on(settings_file::import(&Place::at(&store), &file, "test"))?;
    let again = runtime.block_on(settings_file::import(&Place::at(&store), &file, "test"))?;
    ensure!(again == records.len() as u64, "what is so already was changed: version {again}");
    // What is exported is what was imported, of every kind and with every property.
    let again = settings_file::read(&folder.write("again.json", &settings_file::export(&Place::at(&store))?)?)?;
    ensure!(again.len() == records.len(), "{} records of {}", again.len(), records.len());
    for record in &records {
        ensure!(again.contains(record), "{} \"{}\" is not as it was", record.kind(), record.identity());
    }
    for reason in Reason::ALL {
        let row = format!("| `{reason}` | {} |", reason.sentence());
        ensure!(page.contains(&row), "docs/settings.md lacks the row {row}");
    }
    folder.remove()
}

#[test]
fn the_bounds_that_the_map_names_are_those_of_the_code() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let map = std::fs::read_to_string(root.join("ARCHITECTURE.md"))?;
    for (figure, file, code) in [
        ("20,000", "crates/sip-net/src/listen.rs", "seats: 20_000,"),
        ("4096, of one address 1,024", "crates/sip-net/src/listen.rs", "handshakes_in_flight: 4096,"),
        ("listen.rs`); 6 s", "crates/sip-net/src/listen.rs", "handshake_timeout: Duration::from_secs(6),"),
        ("10,000", "crates/server/src/edge.rs", "seats_per_address: 10_000,"),
        ("32 KiB, 128, 64 KiB", "crates/sip/src/framing.rs", "header_bytes_max: 32 * 1024,"),
        ("32 KiB, 128, 64 KiB", "crates/sip/src/framing.rs", "header_count_max: 128,"),
        ("32 KiB, 128, 64 KiB", "crates/sip/src/framing.rs", "body_bytes_max: 64 * 1024,"),
        ("24 KiB, 96", "crates/sip/src/framing.rs", "header_bytes_max: 24 * 1024, header_count_max: 96,"),
        ("16 KiB, 80", "crates/sip/src/framing.rs", "header_bytes_max: 16 * 1024, header_count_max: 80,"),
        ("1 MiB", "crates/sip-net/src/listen.rs", "queued_bytes_max: 1024 * 1024,"),
        ("2,000 or 3 MiB, for 12 s", "crates/sip-net/src/pool/limits.rs", "waiting_max: 2_000,"),
        ("2,000 or 3 MiB, for 12 s", "crates/sip-net/src/pool/limits.rs", "waiting_bytes_max: 3 * 1024 * 1024,"),
        ("2,000 or 3 MiB, for 12 s", "crates/sip-net/src/pool/limits.rs", "attempt_timeout: Duration::from_secs(12),"),
        ("20,000", "crates/sip-net/src/requests.rs", "WAITING_MAX: usize = 20_000;"),
        ("100,000 and 512 MiB", "crates/edge/src/limits.rs", "IN_FLIGHT_MAX: usize = 100_000;"),
        ("100,000 and 512 MiB", "crates/edge/src/limits.rs", "BYTES_IN_FLIGHT_MAX: usize = 512 * 1024 * 1024;"),
        ("1,000 and 32 MiB", "crates/edge/src/limits.rs", "in_flight_per_partner: 1_000,"),
        ("1,000 and 32 MiB", "crates/edge/src/limits.rs", "bytes_in_flight_per_partner: 32 * 1024 * 1024,"),
        ("2,000 a second", "crates/edge/src/limits.rs", "messages_per_s: 2000,"),
        ("10,000", "crates/edge/src/partners/mod.rs", "PARTNERS_MAX: usize = 10_000;"),
        ("1,000", "crates/edge/src/ways.rs", "WAITING_MAX: usize = 1000;"),
        ("128 inward, 128 of our own", "crates/edge/src/edge.rs", "LOOKUPS_MAX: usize = 128;"),
        (
            "of one peer 64, of what is not listed 8",
            "crates/edge/src/outbound.rs",
            "LOOKUPS_MAX / 2 } else { LOOKUPS_MAX / 16 }",
        ),
        ("1,000; 16 MiB", "crates/edge/src/ways.rs", "WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;"),
        ("10,000; 10,000, for 7 days", "crates/edge/src/partners/mod.rs", "WATCHED_MAX: usize = 10_000;"),
        ("domains of one connection 1,000", "crates/edge/src/inbound.rs", "DOMAINS_PER_FLOW: usize = 1000;"),
        ("4,096 each", "crates/home/src/home.rs", "MAILBOX: usize = 4096;"),
        ("4,096 each", "crates/home/src/home.rs", "OUTBOX: usize = 4096;"),
        ("7 days", "crates/home/src/home.rs", "RETENTION: Duration = Duration::from_secs(7 * 24 * 3600);"),
        ("20,000", "crates/home/src/shard/mod.rs", "UNDER_WAY: usize = 20_000;"),
        ("32, 1,000", "crates/home/src/account.rs", "DEVICES_MAX: usize = 32;"),
        ("32, 1,000", "crates/home/src/account.rs", "OWED_MAX: usize = 1000;"),
        ("32, 48 KiB, 24 h", "crates/federation/src/request.rs", "REQUESTS_MAX: usize = 32;"),
        ("32, 48 KiB, 24 h", "crates/federation/src/request.rs", "BODY_BYTES_MAX: usize = 48 * 1024;"),
        (
            "32, 48 KiB, 24 h",
            "crates/federation/src/request.rs",
            "LIFE_MAX: Duration = Duration::from_secs(24 * 3600);",
        ),
        ("64", "crates/federation/src/feedback.rs", "ITEMS_MAX: usize = 64;"),
        ("32,768 and 64 MiB", "crates/store/src/engine/mod.rs", "queue_records_max: 32_768,"),
        ("32,768 and 64 MiB", "crates/store/src/engine/mod.rs", "queue_bytes_max: 64 << 20,"),
        ("64 KiB; 1,000", "crates/admin/src/kind.rs", "ITEMS_MAX: usize = 1000;"),
        ("100,000; 256 KiB", "crates/core/src/settings/rules.rs", "RECORDS_MAX: usize = 100_000;"),
        ("10,000 changes", "crates/store/src/settings/sqlite.rs", "HISTORY_MAX: u64 = 10_000;"),
        ("65,536", "crates/clearinghouse/src/dispatch/mod.rs", "MESSAGES: usize = 65_536;"),
        ("2,048", "crates/clearinghouse/src/dispatch/mod.rs", "LANE_CALLS: usize = 2048;"),
        ("25 h", "crates/clearinghouse/src/replay.rs", "RETENTION: Duration = Duration::from_secs(25 * 3600);"),
        ("4,000 at once, 1,000 of them", "crates/clearinghouse/src/handle/purse.rs", "AT_ONCE: f64 = 4000.0;"),
        ("4,000 at once, 1,000 of them", "crates/clearinghouse/src/handle/purse.rs", "FOR_CALLS: f64 = 1000.0;"),
        ("32,768 in each of two", "crates/clearinghouse/src/handle/opened.rs", "GENERATION: usize = 32_768;"),
        ("64 (`crates/clearinghouse/src/handle", "crates/clearinghouse/src/handle/ring.rs", "KEYS_MAX: usize = 64;"),
        ("8,192", "crates/providers/src/sender.rs", "queue_max: 8192,"),
        ("1,000", "crates/providers/src/sender.rs", "in_flight_max: 1000,"),
    ] {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| file.to_owned())?;
        ensure!(text.contains(code), "{file} has no \"{code}\" any more: correct ARCHITECTURE.md, then this table");
        ensure!(
            map.lines().any(|row| row.starts_with("| ") && row.contains(figure)),
            "the map has no row with {figure}"
        );
    }
    Ok(())
}

#[test]
fn two_organisations_of_four_processes_wake_a_phone_with_the_files_as_they_are() -> Result<()> {
    if !here("openssl", &["version"])? {
        return Ok(());
    }
    let example = Example::start("wake")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let roots = TrustRoots::from_pem_files(&[example.folder.path().join("state/certificates/ca.pem")])?;
    let token = format!("{:064x}", rand::random::<u128>());
    let push = format!(
        "pn-provider=apns;pn-param=DEMOTEAM01.org.reveille.demo.voip&remote;pn-prid={}:voip&{token}:remote",
        "ab".repeat(32)
    );
    let bob = example.phone(&roots, ("bob", "bob-builds"), Some(push));
    let alice = example.phone(&roots, ("alice", "alice-wonder"), None);
    runtime.block_on(async {
        bob.sign_in().await.context("Bob signs in")?;
        bob.suspend().await;
        alice.sign_in().await.context("Alice signs in")
    })?;
    example.bob_until("he is away", |bob| bob["presence"] == "away")?;
    let status = runtime.block_on(alice.send("bob@contoso.com", TEXT))?;
    ensure!(status == 202, "Alice hears {status}");

    let entry = json(&example.at(5, &format!(":8080/apns/wait?token={token}&delivered=true&timeout_ms=15000")))?;
    ensure!(entry["topic"] == "org.reveille.demo" && entry["push_type"] == "alert", "{entry}");
    ensure!(!entry["payload"].to_string().contains(TEXT), "the push carries the text: {entry}");
    let bob_now = example.bob_until("his push is taken", |bob| bob["pushes"][0]["state"] == "journaled")?;
    ensure!(bob_now["unread"] == 1, "{bob_now}");

    let received = runtime.block_on(async {
        bob.sign_in().await.context("Bob comes back")?;
        bob.wait_received(1, STEP).await.context("Bob gets what was kept")
    })?;
    ensure!(received.len() == 1 && received[0].text == TEXT, "Bob got {} messages", received.len());
    example.bob_until("everything is read", |bob| bob["unread"] == 0 && bob["presence"] == "online")?;
    runtime.block_on(async {
        bob.shutdown().await;
        alice.shutdown().await;
    });
    example.stop()
}

#[test]
fn the_steps_that_the_example_proposes_work_and_a_process_that_dies_ends_it() -> Result<()> {
    if !here("openssl", &["version"])? || !here("python3", &["-c", "import tomllib"])? {
        return Ok(());
    }
    let mut example = Example::start("steps")?;
    example.by_hand(&["bob", "register"], "REGISTER: 200 OK")?;
    example.bob_until("he is away", |bob| bob["presence"] == "away")?;
    example.by_hand(&["alice", "send", "bob", TEXT], "MESSAGE: 202 Accepted")?;
    let entry = json(&example.at(5, ":8080/apns/wait?delivered=true&timeout_ms=15000"))?;
    ensure!(entry["topic"] == "org.reveille.demo", "{entry}");
    example.by_hand(&["bob", "fetch"], &format!("<sip:alice@contoso.com>: {TEXT}"))?;
    example.bob_until("everything is read", |bob| bob["unread"] == 0)?;

    // The clearing house dies: the example says so, and stops the others.
    let house = json(&example.at(4, ":9090/status"))?;
    ensure!(house["clearinghouse"]["open_in_memory"] == 0, "{house}");
    let house = std::fs::read_to_string(example.folder.path().join("state/log/clearinghouse.pid"))?;
    let house = Pid::from_raw(house.trim().parse()?).context("a process id")?;
    rustix::process::kill_process(house, Signal::KILL)?;
    let status = example.process.wait(2 * STEP)?;
    ensure!(status.code() == Some(1), "run.sh ended with {status}");
    let said = example.process.said();
    ensure!(said.contains("one of the processes has ended"), "{said}");
    example.gone()?;
    example.folder.remove()
}

/// The example while it runs, on addresses of its own.
/// A line of a page that is typed, and what the page says comes back.
struct Typed<'a> {
    line: &'a str,
    answer: Vec<&'a str>,
}

/// Every line of a page that is typed in the folder of the example, once that runs.
fn typed(page: &str) -> Vec<Typed<'_>> {
    let mut typed: Vec<Typed<'_>> = Vec::new();
    for block in page.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        for line in block.lines() {
            match (line.strip_prefix("$ "), typed.last_mut()) {
                (Some(line), _) => typed.push(Typed { line, answer: Vec::new() }),
                (None, Some(last)) if !matches!(line.trim(), "" | "…") => last.answer.push(line.trim_end()),
                (None, _) => {}
            }
        }
    }
    let begins = |line: &str| line.starts_with("reveille ") || line.starts_with("./phone.py");
    typed.into_iter().filter(|typed| begins(typed.line)).collect()
}

#[test]
fn the_first_push_goes_as_its_page_says() -> Result<()> {
    if !here("openssl", &["version"])? || !here("python3", &["-c", "import tomllib"])? {
        return Ok(());
    }
    let page = std::fs::read_to_string(docs().join("first-push.md"))?;
    let lines = typed(&page);
    ensure!(lines.len() > 15, "the page has {} lines to type", lines.len());
    let example = Example::start_with("first", &["--empty"])?;
    let program = PathBuf::from(reveille().get_program());
    let folder = program.parent().context("the program is in a folder")?;
    let path = format!("{}:{}", folder.display(), std::env::var("PATH")?);
    for Typed { line, answer } in lines {
        // What only looks may be asked again until the processes have come so far.
        let looks = line.contains("Get-Cs") || line.contains("Test-Cs");
        let mut said = String::new();
        let type_it = || {
            let mut bash = Command::new("bash");
            bash.args(["-c", line]).current_dir(example.folder.path()).env("PATH", &path).stdin(Stdio::null());
            let output = bash.output()?;
            said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            let fits = answer.iter().all(|wanted| said.lines().any(|line| line.trim_end() == *wanted));
            ensure!(looks || (fits && output.status.success()), "this is not what the page says: {}", output.status);
            Ok(fits.then_some(()))
        };
        until(line, type_it).with_context(|| format!("{line}\n{said}"))?;
    }
    example.stop()
}

struct Example {
    // Dropped first: whatever is left of the group goes before its leader is waited for.
    group: Group,
    process: Process,
    folder: Folder,
    net: String,
}

/// run.sh and everything it has started.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::KILL);
    }
}

impl Example {
    /// Copies the example, moves it to addresses that nobody uses, and runs it.
    fn start(name: &str) -> Result<Self> {
        Self::start_with(name, &[])
    }

    /// The same with options for run.sh.
    fn start_with(name: &str, options: &[&str]) -> Result<Self> {
        let folder = Folder::new(name)?;
        let net = free_net()?;
        for entry in std::fs::read_dir(examples().join("two-organisations"))? {
            let path = entry?.path();
            if path.is_file() {
                let text = std::fs::read_to_string(&path)?;
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                folder.write(&name, &text.replace(NET, &net))?;
                std::fs::set_permissions(folder.path().join(&*name), path.metadata()?.permissions())?;
            }
        }
        let mut command = Command::new("bash");
        command.arg(folder.path().join("run.sh")).args(options).arg(reveille().get_program()).process_group(0);
        let mut process = Process::start(command)?;
        let group = Group(process.pid());
        for milestone in ["checking the configurations", "starting clearinghouse", "starting contoso-home", "ready:"] {
            process.until(milestone, |said| said.contains(milestone).then_some(()))?;
        }
        Ok(Self { group, process, folder, net })
    }

    /// A URL at one host of the example.
    fn at(&self, host: u8, rest: &str) -> String {
        format!("http://{}{host}{rest}", self.net)
    }

    fn phone(&self, roots: &TrustRoots, (user, password): (&str, &str), push: Option<String>) -> Phone {
        let tls = Arc::new(TlsClient::new(None, roots));
        let registrar = format!("{}1:5061", self.net).parse().expect("an address");
        Phone::new(PhoneOptions {
            user: user.into(),
            domain: "contoso.com".into(),
            password: password.into(),
            registrar,
            tls: Some((tls, "home.contoso.com".into())),
            instance: format!("urn:uuid:example-{user}"),
            push,
            user_agent: "Test phone".into(),
        })
    }

    /// Waits until what home knows of Bob is as it should be.
    fn bob_until(&self, what: &str, holds: impl Fn(&serde_json::Value) -> bool) -> Result<serde_json::Value> {
        let url = self.at(1, ":9090/status/users/bob");
        let mut last = serde_json::Value::Null;
        let found = until(what, || {
            last = json(&url)?;
            Ok(holds(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("home knows of Bob: {last}"))
    }

    /// One call of phone.py, which must say this.
    fn by_hand(&self, args: &[&str], expected: &str) -> Result<()> {
        let mut command = Command::new("python3");
        command.arg(self.folder.path().join("phone.py")).args(args);
        let mut process = Process::start(command)?;
        let status = process.wait(STEP)?;
        process.until("what it prints", |said| said.contains(expected).then_some(()))?;
        ensure!(status.success(), "phone.py {args:?} ended with {status}: {}", process.said());
        Ok(())
    }

    /// Ctrl-C; everything must end, and well.
    fn stop(mut self) -> Result<()> {
        let status = self.process.terminate()?;
        ensure!(status.success(), "run.sh ended with {status}: {}", self.process.said());
        self.gone()?;
        for role in ["contoso-home", "contoso-edge", "publisher-edge", "clearinghouse"] {
            let log = std::fs::read_to_string(self.folder.path().join(format!("state/log/{role}.log")))?;
            ensure!(log.contains("reveille: stopped\n"), "{role} did not stop in order:\n{log}");
            ensure!(!log.contains("ERROR"), "{role} has seen what should never be:\n{log}");
        }
        self.folder.remove()
    }

    /// Nobody of the group is left.
    fn gone(&self) -> Result<()> {
        until("every process is gone", || {
            Ok(rustix::process::test_kill_process_group(self.group.0).is_err().then_some(()))
        })
    }
}

/// The first three numbers of addresses that nobody uses, with the dot behind.
fn free_net() -> Result<String> {
    for _ in 0..100 {
        let (a, b) = (rand::random_range(16..250_u8), rand::random_range(1..250_u8));
        let free = |host| TcpListener::bind((Ipv4Addr::new(127, a, b, host), 5061)).is_ok();
        if (1..=4).all(free) {
            return Ok(format!("127.{a}.{b}."));
        }
    }
    bail!("no free loopback addresses were found for port 5061")
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// What stands in a page's block of that language.
fn block<'a>(page: &'a str, language: &str) -> Result<&'a str> {
    let (_, rest) = page.split_once(&format!("```{language}\n")).with_context(|| format!("no block of {language}"))?;
    rest.split_once("```").map(|(text, _)| text).context("a block without an end")
}

/// The files of that kind that the examples have, without what a run has made.
fn files(extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for example in std::fs::read_dir(examples())? {
        let folder = example?.path();
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_file() && path.extension().is_some_and(|found| found == extension) {
                found.push(path.canonicalize()?);
            }
        }
    }
    Ok(found)
}

/// Whether a program is there and does this.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn here(program: &str, args: &[&str]) -> Result<bool> {
    let found = Command::new(program).args(args).output().is_ok_and(|output| output.status.success());
    if !found {
        if std::env::var("REVEILLE_PARTNERS").is_ok_and(|wish| wish == "required") {
            bail!("{program} {} does not work here", args.join(" "));
        }
        eprintln!("skipped: {program} {} does not work here", args.join(" "));
    }
    Ok(found)
}
