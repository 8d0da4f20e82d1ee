//! `reveille backup` on the real binary and under load: taken while it serves, verified, and put back after the process
//! was killed. Nothing that was accepted before the backup is lost, no message has two names, and no phone rings twice.

#![allow(clippy::disallowed_methods, reason = "the test plays a partner, and partners have the wall clock")]

#[path = "support/house.rs"]
mod house;
#[path = "backup/load.rs"]
mod load;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reveille_core::delivery::PushState;
use reveille_core::{Channel, Reason, Timestamp};
use reveille_sim::apns::{ApnsPush, ApnsSimulator};
use reveille_sim::phone::{Phone, PhoneOptions, RawSip};
use reveille_sim::recorder::{Entry, Push as _, Query};
use reveille_sip_net::TlsClient;
use reveille_store::{HomeStore as _, Journal as _, SqliteHome, SqliteJournal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use house::{App, House, app_of, free_address};
use load::Load;
use support::{Demo, Finished, STEP, run};

const TEAM: &str = "BACKUPTEAM";
const KEY_ID: &str = "BACKUPKEY1";
const APP: &str = "org.reveille.backup";
/// A device whose app seals.
const TOKEN: &str = "5ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea15ea1";
/// Whatever happens, the test ends.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_backup_taken_under_load_is_verified_and_put_back_and_no_call_rings_twice() -> Result<()> {
    timeout(LIMIT, under_load()).await?
}

async fn under_load() -> Result<()> {
    let mut world = World::start().await?;
    let stop = CancellationToken::new();
    let link = world.connect().await?;
    let load = tokio::spawn(Load::default().send_new(link, stop.clone()));
    world.apns.recorder().wait(Query { after: 200, ..Query::default() }).await;

    // The provider is slow to answer, so that the backup meets pushes in every state: ended, on their way, waiting.
    world.apns.hold();
    let before = world.apns.recorder().latest();
    timeout(STEP, world.apns.recorder().wait(Query { after: before + 50, ..Query::default() })).await?;
    let begun = Instant::now();
    let taken = world.reveille(&["backup", "--to", "BACKUP"]).await?;
    ensure!(taken.code == 0, "no backup: {}", taken.err);
    ensure!(taken.err.contains("clearinghouse.db (clearing house)"), "{}", taken.err);
    let twice = world.reveille(&["backup", "--to", "BACKUP"]).await?;
    ensure!(twice.code == 1 && twice.err.contains("is not empty"), "{}", twice.err);
    let running = world.reveille(&["restore", "--force", "--from", "BACKUP"]).await?;
    ensure!(running.code == 1 && running.err.contains("a server runs on this configuration"), "{}", running.err);
    // What was open then is sent after the backup, and the copy does not know it.
    let before = world.apns.recorder().latest();
    world.apns.release();
    timeout(STEP, world.apns.recorder().wait(Query { after: before + 300, ..Query::default() })).await?;
    world.house.kill()?;
    stop.cancel();
    let mut load = load.await?;

    let verified = world.house.run(&["backup", "verify", "BACKUP"]).await?;
    ensure!(verified.code == 0 && verified.out.contains("is good"), "{} {}", verified.out, verified.err);
    let exists = world.reveille(&["restore", "--from", "BACKUP"]).await?;
    ensure!(exists.code == 1 && exists.err.contains("--force"), "{}", exists.err);
    let restored = world.reveille(&["restore", "--force", "--from", "BACKUP"]).await?;
    ensure!(restored.code == 0, "not restored: {}", restored.err);
    ensure!(restored.err.contains("end as outcome-unknown"), "the backup met no open call: {}", restored.err);
    world.house.start()?;
    world.until_idle().await?;
    let link = world.connect().await?;
    let repeated = load.repeat_unanswered(link).await?;
    world.until_idle().await?;
    ensure!(repeated > 0, "the kill met no MESSAGE on its way");
    world.audit(&load, begun)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_not_whole_or_not_as_it_was_is_said_to_be_so_and_changes_nothing() -> Result<()> {
    let mut world = World::start().await?;
    let handle = world.sealed().await?;
    let taken = world.reveille(&["backup", "--to", "BACKUP"]).await?;
    ensure!(taken.code == 0, "no backup: {}", taken.err);
    world.house.kill()?;
    let (backup, store) = (world.house.folder.path().join("BACKUP"), world.house.folder.path().join("store"));
    let there = std::fs::read(store.join("clearinghouse.db"))?;
    let (manifest, journal) = (backup.join("manifest.json"), backup.join("clearinghouse.db"));
    let (written, whole) = (std::fs::read_to_string(&manifest)?, std::fs::read(&journal)?);
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for (manifest_now, journal_now, part) in [
        (Some(written.clone()), Some(flipped), "clearinghouse.db is not as it was copied: its digest is another"),
        (Some(written.clone()), Some(whole[..middle].to_vec()), "bytes, and had"),
        (Some(written.clone()), None, "clearinghouse.db is not as it was copied: No such file"),
        (None, Some(whole.clone()), "holds no finished backup"),
        (Some(written.replace("\"settings.db\"", "\"../settings.db\"")), Some(whole.clone()), "not inside of it"),
        (Some(written.replace("of push.example.net", "of fabrikam.com")), Some(whole.clone()), "of fabrikam.com, and"),
        (Some(written.replace("\"form\": 1", "\"form\": 9")), Some(whole.clone()), "this version knows 1"),
    ] {
        put(&manifest, manifest_now.as_deref().map(str::as_bytes))?;
        put(&journal, journal_now.as_deref())?;
        for args in [&["backup", "verify", "BACKUP"][..], &["restore", "--force", "--from", "BACKUP"][..]] {
            let ended = if args[0] == "backup" { world.house.run(args).await? } else { world.reveille(args).await? };
            // Of whom it is matters to whoever puts it back.
            if args[0] == "backup" && part.starts_with("of fabrikam.com") {
                continue;
            }
            ensure!(ended.code == 1 && ended.err.contains(part), "{part}: {} {}", ended.out, ended.err);
        }
        ensure!(std::fs::read(store.join("clearinghouse.db"))? == there, "{part}: the store was touched");
    }
    put(&manifest, Some(written.as_bytes()))?;
    put(&journal, Some(&whole))?;
    // An empty store needs no force, and comes up with what was wanted and with its keys.
    std::fs::rename(&store, world.house.folder.path().join("lost"))?;
    std::fs::remove_dir_all(world.house.folder.path().join("handle-keys"))?;
    let restored = world.reveille(&["restore", "--from", "BACKUP"]).await?;
    ensure!(restored.code == 0, "not restored: {}", restored.err);
    world.house.start()?;
    let keys = world.house.shell("Get-CsPushHandleKey").await?;
    ensure!(keys.contains("sealing"), "{keys}");
    let app = world.house.shell("Get-CsPushApp").await?;
    ensure!(app.contains(APP), "{app}");
    // A handle that was sealed before still opens.
    let mut load = Load::to(&handle);
    ensure!(load.repeat_unanswered(world.connect().await?).await? == 1, "it is taken");
    let query = Query { after: 0, token: Some(TOKEN), delivered: true };
    timeout(STEP, world.apns.recorder().wait(query)).await.context("no push reached the sealed token")?;
    world.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_home_is_backed_up_while_it_serves_and_comes_back_elsewhere_with_devices_and_messages() -> Result<()> {
    let demo = tokio::task::spawn_blocking(|| Demo::start("backup-home")).await??;
    let phone = |user: &str, push: Option<&str>| -> Result<Phone> {
        let home = demo.told("/organisations/contoso.com/home/sip_tcp")?;
        Ok(Phone::new(PhoneOptions {
            user: user.into(),
            domain: "contoso.com".into(),
            password: demo.told(&format!("/organisations/contoso.com/users/{user}/password"))?.into(),
            registrar: home.parse()?,
            tls: None,
            instance: format!("urn:uuid:{}0000000-0000-4000-8000-000000000000", &user[..1]),
            push: push.map(Into::into),
            user_agent: "Test phone".into(),
        }))
    };
    let bob = phone("bob", Some("pn-provider=apns;pn-param=DEMOTEAM01.org.reveille.demo.remote;pn-prid=0b0b0b0b0b0b"))?;
    let alice = phone("alice", None)?;
    bob.sign_in().await?;
    bob.suspend().await;
    alice.sign_in().await?;
    ensure!(alice.send("bob@contoso.com", "Platform 9.").await? == 202, "it is kept");

    let folder = demo.folder().path().to_owned();
    let (config, elsewhere) = (folder.join("demo/contoso.toml"), folder.join("demo/elsewhere.toml"));
    let text = |path: &PathBuf| path.display().to_string();
    let (from, to, backup) = (text(&config), text(&elsewhere), text(&folder.join("BACKUP")));
    // Somewhere else, as after the loss of the machine: the same configuration with a store of its own.
    let mut raw: toml::Table = std::fs::read_to_string(&config)?.parse()?;
    let store = raw.get_mut("store").and_then(toml::Value::as_table_mut).context("[store]")?;
    store.insert("dir".into(), text(&folder.join("elsewhere")).into());
    store.remove("settings");
    raw.remove("admin");
    std::fs::write(&elsewhere, raw.to_string())?;
    tokio::task::spawn_blocking(move || -> Result<()> {
        let taken = run(["backup", "-c", &from, "--to", &backup])?;
        ensure!(taken.code == 0, "no backup: {}", taken.err);
        for part in ["settings.db (settings)", "admin.db (admin)", "home.db (home)", "keys/edge-tokens.key (key)"] {
            ensure!(taken.err.contains(part), "{part}: {}", taken.err);
        }
        ensure!(!taken.err.contains("clearinghouse.db"), "this machine has none: {}", taken.err);
        let restored = run(["restore", "-c", &to, "--from", &backup])?;
        ensure!(restored.code == 0, "not restored: {}", restored.err);
        Ok(())
    })
    .await??;
    let home = SqliteHome::open(&folder.join("elsewhere/home.db"))?;
    let users: BTreeSet<String> = home.devices()?.iter().map(|device| device.user.user().to_owned()).collect();
    ensure!(users == ["bob"].map(String::from).into(), "the devices of {users:?}");
    let waiting = home.undelivered(&"bob@contoso.com".parse()?, Timestamp::from_millis(1), 10)?;
    ensure!(waiting.len() == 1, "{} messages wait for Bob", waiting.len());
    home.close();
    ensure!(folder.join("elsewhere/edge-tokens.key").exists(), "the keys that sign dialogs are back");
    bob.shutdown().await;
    alice.shutdown().await;
    tokio::task::spawn_blocking(|| demo.stop()).await?
}

fn put(path: &std::path::Path, bytes: Option<&[u8]>) -> Result<()> {
    match bytes {
        Some(bytes) => std::fs::write(path, bytes)?,
        None => std::fs::remove_file(path)?,
    }
    Ok(())
}

/// The provider, the clearing house, and the edge's identity.
struct World {
    house: House,
    apns: ApnsSimulator,
    edge: TlsClient,
}

impl World {
    async fn start() -> Result<Self> {
        let mut house = House::new("backup")?;
        let apns = house.apple(TEAM, KEY_ID).await?;
        let handles = "[clearinghouse.handles]\nkeys = \"handle-keys\"";
        house.configure("dir = \"store\"", free_address()?, &App::of(APP, TEAM, KEY_ID, &apns), handles)?;
        house.wants(&app_of(APP)).await?;
        house.start()?;
        house.shell("New-CsPushHandleKey").await?;
        let edge = house.edge_client()?;
        Ok(Self { house, apns, edge })
    }

    /// The same with this configuration.
    async fn reveille(&self, args: &[&str]) -> Result<Finished> {
        let (first, rest) = args.split_first().context("a command")?;
        self.house.run(&[&[*first, "-c", "CONFIG"][..], rest].concat()).await
    }

    /// A handle for [`TOKEN`], made as an app's developer makes one.
    async fn sealed(&self) -> Result<String> {
        let document =
            self.house.shell("Get-CsPushHandleKey -Document | Select-Object -ExpandProperty Document").await?;
        let path = |path: PathBuf| path.display().to_string();
        let keys = path(self.house.folder.write("keys.json", &document)?);
        let token = path(self.house.folder.write("token.txt", TOKEN)?);
        let sealed = ["seal-handle", "--keys", &keys, "--provider", "apns", "--app", APP, "--origin", "contoso.com"];
        let sealed = self.house.run(&[&sealed[..], &[&token]].concat()).await?;
        ensure!(sealed.code == 0 && !sealed.out.contains(TOKEN), "{} {}", sealed.out, sealed.err);
        Ok(sealed.out.trim().to_owned())
    }

    async fn connect(&self) -> Result<RawSip> {
        self.house.connect(&self.edge).await
    }

    async fn until_idle(&self) -> Result<()> {
        self.house.until_idle(2 * STEP).await
    }

    /// Compares what was answered with what the provider saw and the restored journal knows.
    fn audit(mut self, load: &Load, begun: Instant) -> Result<()> {
        self.house.stop()?;
        let mut seen: BTreeMap<String, Vec<Entry<ApnsPush>>> = BTreeMap::new();
        for entry in self.apns.recorder().entries(Query::default(), usize::MAX) {
            seen.entry(entry.push.token.to_string()).or_default().push(entry);
        }
        let journal = SqliteJournal::open(&self.house.folder.path().join("store/clearinghouse.db"))?;
        let origin = "contoso.com".parse()?;
        let (mut kept, mut again, mut calls, mut unknown) = (0, 0, 0, 0);
        for batch in &load.batches {
            let before = batch.answered.is_some_and(|at| at < begun);
            for request in &batch.requests {
                let token = request.to.as_ref().map(|to| to.token.expose()).unwrap_or_default();
                let seen = seen.get(token).map(Vec::as_slice).unwrap_or_default();
                let delivered = seen.iter().filter(|entry| entry.push.delivered()).count();
                let names: BTreeSet<&str> = seen.iter().map(|entry| &*entry.push.apns_id).collect();
                ensure!(names.len() <= 1, "{}: one push has the names {names:?}", request.id);
                let state = journal.trace(&origin, request.id)?.map(|traced| traced.state);
                let is_unknown = state == Some(PushState::NotPushed(Reason::OutcomeUnknown));
                match request.channel {
                    Channel::Voip => {
                        ensure!(delivered <= 1, "{}: the phone rang {delivered} times", request.id);
                        ensure!(!before || is_unknown || delivered == 1, "{}: a call is lost: {state:?}", request.id);
                        calls += 1;
                        unknown += usize::from(is_unknown || load.may_have_rung.contains(&request.id));
                    }
                    Channel::Message => {
                        ensure!(!before || delivered > 0, "{}: an accepted message is lost: {state:?}", request.id);
                        again += usize::from(delivered > 1);
                    }
                }
                kept += usize::from(before);
            }
        }
        journal.close();
        ensure!(kept > 100 && again > 0 && unknown > 0, "nothing was shown: {kept}, {again}, {unknown}");
        say(&format!(
            "{} requests, {kept} of them accepted before the backup and none of those lost; {again} messages came again \
             under their old name; {calls} calls, none rang twice, {unknown} ended as outcome-unknown",
            load.batches.iter().map(|batch| batch.requests.len()).sum::<usize>()
        ));
        self.house.folder.remove()
    }

    fn finish(mut self) -> Result<()> {
        let said = self.house.stop()?;
        ensure!(!said.contains(TOKEN), "the log holds a token: {said}");
        self.house.folder.remove()
    }
}

#[allow(clippy::print_stdout, reason = "figures are what a person wants to see of this test")]
fn say(text: &str) {
    println!("{text}");
}
