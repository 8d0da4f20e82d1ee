//! A publisher's clearing house as a process of its own: its authority, certificates and configuration, and how it is
//! started, asked, killed and stopped. Each test decides on its push service and on what is wanted.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reveille_sim::apns::{ApnsOptions, ApnsSimulator, ProviderKey};
use reveille_sim::certs::{Ca, Leaf, apns_key};
use reveille_sim::phone::RawSip;
use reveille_sip_net::{Identity, TlsClient, TrustRoots};
use serde_json::Value;
use tokio::task::block_in_place;

use crate::support::{Finished, Folder, Process, STEP, json, reveille, run};

pub(crate) const HOUSE: &str = "house.push.example.net";
pub(crate) const EDGE: &str = "edge.push.example.net";

/// The one app of a clearing house.
pub(crate) struct App<'a> {
    pub(crate) name: &'a str,
    pub(crate) team: &'a str,
    pub(crate) key_id: &'a str,
    /// Files of the clearing house's folder, see [`House::apple`].
    pub(crate) credential: &'a str,
    pub(crate) roots: &'a str,
    /// Where its push service is.
    pub(crate) server: String,
}

impl<'a> App<'a> {
    /// An app of [`House::apple`].
    pub(crate) fn of(name: &'a str, team: &'a str, key_id: &'a str, apple: &ApnsSimulator) -> Self {
        Self { name, team, key_id, credential: "apns.p8", roots: "ca.pem", server: apple.addr().to_string() }
    }
}

/// The clearing house, its folder, and where it listens.
pub(crate) struct House {
    pub(crate) folder: Folder,
    pub(crate) ca: Ca,
    pub(crate) listen: SocketAddr,
    ops: SocketAddr,
    process: Option<Process>,
}

impl House {
    /// A folder with an authority and certificates; nothing runs yet.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let (folder, ca) = (Folder::new(name)?, Ca::new("Test authority")?);
        folder.write("ca.pem", &ca.pem())?;
        let house = Self { folder, ca, listen: free_address()?, ops: free_address()?, process: None };
        house.issue("house", HOUSE)?;
        Ok(house)
    }

    /// A certificate for a host, and its key: NAME.pem and NAME.key.
    pub(crate) fn issue(&self, name: &str, host: &str) -> Result<()> {
        let identity = self.ca.issue(Leaf::new(host, &[host]))?;
        self.folder.write(&format!("{name}.pem"), &identity.chain_pem())?;
        self.folder.write(&format!("{name}.key"), &identity.key_pem())?;
        Ok(())
    }

    /// Apple in this process, which knows one key of ours: apns.p8.
    pub(crate) async fn apple(&self, team: &str, key_id: &str) -> Result<ApnsSimulator> {
        let key = apns_key()?;
        self.folder.write("apns.p8", &key.p8_pem)?;
        self.apple_with(vec![ProviderKey::new(team, key_id, key.public_key)]).await
    }

    /// Apple in this process, which knows these keys.
    pub(crate) async fn apple_with(&self, keys: Vec<ProviderKey>) -> Result<ApnsSimulator> {
        let mut options = ApnsOptions::new(self.ca.issue(Leaf::new("localhost", &["localhost", "127.0.0.1"]))?);
        options.keys = keys;
        Ok(ApnsSimulator::start(options).await?)
    }

    /// What an edge shows.
    pub(crate) fn edge(&self) -> Result<(Identity, TrustRoots)> {
        let edge = self.ca.issue(Leaf::new(EDGE, &[EDGE]))?;
        let identity = Identity::from_pem(edge.chain_pem().as_bytes(), edge.key_pem().as_bytes())?;
        Ok((identity, TrustRoots::from_pem(self.ca.pem().as_bytes())?))
    }

    /// How an edge connects.
    pub(crate) fn edge_client(&self) -> Result<TlsClient> {
        let (identity, roots) = self.edge()?;
        Ok(TlsClient::new(Some(&identity), &roots))
    }

    /// Writes the configuration: with this body of `[store]`, the edge that takes what goes out, an app, and more tables.
    pub(crate) fn configure(&self, store: &str, edge: SocketAddr, app: &App<'_>, more: &str) -> Result<()> {
        let (ops, listen) = (self.ops, self.listen);
        let App { name, team, key_id, credential, roots, server } = app;
        let config = format!(
            r#"
            [store]
            {store}
            [admin]
            socket = "s/a.sock"
            [ops]
            listen = "{ops}"
            [clearinghouse]
            name = "{HOUSE}"
            domain = "push.example.net"
            tls = {{ certificate = "house.pem", key = "house.key", roots = "ca.pem" }}
            listen = "{listen}"
            edges = ["{EDGE}"]
            edge = {{ name = "{EDGE}", address = "{edge}" }}
            [[clearinghouse.apps]]
            provider = "apns"
            app = "{name}"
            credential = "{credential}"
            team = "{team}"
            key_id = "{key_id}"
            server = "{server}"
            roots = "{roots}"
            {more}
            "#
        );
        self.folder.write("clearinghouse.toml", &config).map(drop)
    }

    /// Imports what the organisation wants, before anything runs.
    pub(crate) async fn wants(&self, settings: &Value) -> Result<()> {
        let file = self.folder.write("settings.json", &settings.to_string())?.display().to_string();
        let imported = self.run(&["settings", "import", "-c", "CONFIG", &file]).await?;
        ensure!(imported.code == 0, "the settings are not imported: {}", imported.err);
        Ok(())
    }

    /// Where the configuration is.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("clearinghouse.toml")
    }

    /// Starts it, and waits until it is ready.
    pub(crate) fn start(&mut self) -> Result<()> {
        self.begin(|_| {})?;
        self.until_ready()
    }

    /// Starts it as `under` wants.
    pub(crate) fn begin(&mut self, under: impl FnOnce(&mut Command)) -> Result<()> {
        let mut command = reveille();
        command.args(["serve", "--ready-fd", "1", "-c"]).arg(self.config());
        under(&mut command);
        self.process = Some(Process::start(command)?);
        Ok(())
    }

    pub(crate) fn until_ready(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("a clearing house")?;
        let ready = |said: &str| said.lines().any(|line| line == "ready").then_some(());
        block_in_place(|| process.until("it becomes ready", ready))
    }

    /// The process that runs.
    pub(crate) fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("a clearing house runs")
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Kills it; answers what it has said.
    pub(crate) fn kill(&mut self) -> Result<String> {
        let process = self.process.take().context("a clearing house to kill")?;
        let said = process.said();
        block_in_place(|| process.kill())?;
        Ok(said)
    }

    /// Stops it as an administrator would, and it must end well; answers what it has said.
    pub(crate) fn stop(&mut self) -> Result<String> {
        let mut process = self.process.take().context("a clearing house to stop")?;
        let status = block_in_place(|| process.terminate())?;
        ensure!(status.success(), "the clearing house ended with {status}: {}", process.said());
        Ok(process.said())
    }

    /// Runs a command to its end. CONFIG stands for where the configuration is, and BACKUP for a folder beside it.
    pub(crate) async fn run(&self, args: &[&str]) -> Result<Finished> {
        let place = |arg: &&str| match *arg {
            "BACKUP" => self.folder.path().join("BACKUP"),
            "CONFIG" => self.config(),
            other => other.into(),
        };
        let args: Vec<PathBuf> = args.iter().map(place).collect();
        tokio::task::spawn_blocking(move || run(args)).await?
    }

    /// What an administrator types, and is shown.
    pub(crate) async fn shell(&self, line: &str) -> Result<String> {
        let socket = self.folder.path().join("s/a.sock").display().to_string();
        let said = self.run(&["shell", "--socket", &socket, "-c", line]).await?;
        ensure!(said.code == 0, "{line}: {} {}", said.out, said.err);
        Ok(said.out)
    }

    /// A connection of the edge.
    pub(crate) async fn connect(&self, edge: &TlsClient) -> Result<RawSip> {
        Ok(RawSip::tls(self.listen, edge, HOUSE).await?)
    }

    /// Waits until it has nothing left to do.
    pub(crate) async fn until_idle(&self, patience: Duration) -> Result<()> {
        let url = format!("http://{}/status", self.ops);
        let end = Instant::now() + patience.max(STEP);
        loop {
            let status = block_in_place(|| json(&url))?;
            let house = &status["clearinghouse"];
            if house["open_in_memory"] == 0 && house["more_on_disk"] == false {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the clearing house does not come to rest: {house}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Settings by which one app serves contoso.com.
pub(crate) fn app_of(name: &str) -> Value {
    serde_json::json!({ "settings": [{ "Kind": "PushApp", "Identity": name, "Serves": ["contoso.com"] }] })
}

/// An address of this machine that nobody uses: on a loopback net of its own, so that no other test takes it meanwhile.
pub(crate) fn free_address() -> Result<SocketAddr> {
    let net: (u8, u8) = (rand::random_range(16..250), rand::random_range(1..250));
    Ok(TcpListener::bind((Ipv4Addr::new(127, net.0, net.1, 9), 0))?.local_addr()?)
}
