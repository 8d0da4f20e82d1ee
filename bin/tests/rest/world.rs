//! A clearing house with its REST service, its provider, and its administrator.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reveille_sim::apns::{ApnsOptions, ApnsSimulator, ProviderKey};
use reveille_sim::certs::{Ca, Identity, Leaf, apns_key};
use serde_json::{Value, json};

use crate::client::Client;
use crate::support::{Finished, Folder, Process, reveille, run};

const TEAM: &str = "RESTRESTTE";
const KEY_ID: &str = "RESTRESTKE";
pub(crate) const APP: &str = "org.reveille.rest";
const HOUSE: &str = "house.push.example.net";

pub(crate) struct World {
    pub(crate) folder: Folder,
    pub(crate) apns: ApnsSimulator,
    pub(crate) ca: Ca,
    pub(crate) rest: SocketAddr,
    house: Option<Process>,
}

impl World {
    pub(crate) async fn start(name: &str) -> Result<Self> {
        let folder = Folder::new(name)?;
        let ca = Ca::new("REST test authority")?;
        folder.write("ca.pem", &ca.pem())?;
        let key = apns_key()?;
        folder.write("apns.p8", &key.p8_pem)?;
        let mut options = ApnsOptions::new(ca.issue(Leaf::new("localhost", &["localhost", "127.0.0.1"]))?);
        options.keys = vec![ProviderKey::new(TEAM, KEY_ID, key.public_key)];
        let apns = ApnsSimulator::start(options).await?;
        for (name, host) in [("house", HOUSE), ("rest", "localhost")] {
            let identity = ca.issue(Leaf::new(host, &[host]))?;
            folder.write(&format!("{name}.pem"), &identity.chain_pem())?;
            folder.write(&format!("{name}.key"), &identity.key_pem())?;
        }
        let rest = free_address()?;
        let config = format!(
            r#"
            [store]
            dir = "store"
            [admin]
            socket = "s/a.sock"
            [clearinghouse]
            name = "{HOUSE}"
            domain = "push.example.net"
            tls = {{ certificate = "house.pem", key = "house.key", roots = "ca.pem" }}
            listen = "{}"
            edges = ["edge.push.example.net"]
            edge = {{ name = "edge.push.example.net", address = "{}" }}
            [clearinghouse.rest]
            listen = "{rest}"
            url = "https://localhost:{}"
            tls = {{ certificate = "rest.pem", key = "rest.key", roots = "ca.pem" }}
            webhooks = {{ roots = "ca.pem", allow = ["127.0.0.0/8"] }}
            [[clearinghouse.apps]]
            provider = "apns"
            app = "{APP}"
            credential = "apns.p8"
            team = "{TEAM}"
            key_id = "{KEY_ID}"
            server = "{}"
            roots = "ca.pem"
            "#,
            free_address()?,
            free_address()?,
            rest.port(),
            apns.addr()
        );
        folder.write("clearinghouse.toml", &config)?;
        let settings = json!({ "settings": [
            { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true },
            { "Kind": "AllowedDomain", "Identity": "contoso.com" },
            { "Kind": "AllowedDomain", "Identity": "fabrikam.com" },
            { "Kind": "PushApp", "Identity": APP, "Serves": ["contoso.com"] },
        ] });
        let wanted = folder.write("settings.json", &settings.to_string())?.display().to_string();
        let mut world = Self { folder, apns, ca, rest, house: None };
        let imported = world.run(&["settings", "import", "-c", "CONFIG", &wanted]).await?;
        ensure!(imported.code == 0, "the settings are not imported: {}", imported.err);
        let mut command = reveille();
        command.args(["serve", "--ready-fd", "1", "-c"]).arg(world.folder.path().join("clearinghouse.toml"));
        let mut house = Process::start(command)?;
        let ready = |said: &str| said.lines().any(|line| line == "ready").then_some(());
        tokio::task::block_in_place(|| house.until("it becomes ready", ready))?;
        world.house = Some(house);
        Ok(world)
    }

    pub(crate) fn issuer(&self) -> String {
        format!("https://localhost:{}", self.rest.port())
    }

    async fn run(&self, args: &[&str]) -> Result<Finished> {
        let config = self.folder.path().join("clearinghouse.toml");
        let args: Vec<PathBuf> =
            args.iter().map(|&arg| if arg == "CONFIG" { config.clone() } else { arg.into() }).collect();
        tokio::task::spawn_blocking(move || run(args)).await?
    }

    /// What an administrator types.
    pub(crate) async fn shell(&self, line: &str) -> Result<String> {
        let socket = self.folder.path().join("s/a.sock").display().to_string();
        let said = self.run(&["shell", "--socket", &socket, "-c", line]).await?;
        ensure!(said.code == 0, "{line}: {} {}", said.out, said.err);
        Ok(said.out)
    }

    /// An account with a secret; answers the form that shows it.
    pub(crate) async fn account(&self, name: &str, organisation: &str) -> Result<String> {
        self.shell(&format!("New-CsPushAccount -Identity {name} -Organisation {organisation}")).await?;
        self.secret(name).await
    }

    /// One more secret of an account.
    pub(crate) async fn secret(&self, name: &str) -> Result<String> {
        let line = format!("New-CsPushAccountSecret -Identity {name} | Select-Object -ExpandProperty Secret");
        let said = self.shell(&line).await?;
        let secret =
            said.lines().find(|line| line.starts_with("rvps_")).with_context(|| format!("no secret in {said}"))?;
        Ok(format!("client_id={name}&client_secret={}", secret.trim()))
    }

    pub(crate) async fn connect(&self, identity: Option<&Identity>) -> Result<Client> {
        Client::connect(self.rest, &self.ca, identity).await
    }

    pub(crate) fn certificate(&self, name: &str) -> Result<Identity> {
        Ok(self.ca.issue(Leaf::new(name, &[name]))?)
    }

    /// Everything ends as it should.
    pub(crate) fn finish(mut self) -> Result<()> {
        let mut house = self.house.take().context("a clearing house")?;
        let status = tokio::task::block_in_place(|| house.terminate())?;
        ensure!(status.success(), "the clearing house ended with {status}");
        let said = house.said();
        ensure!(!said.contains("rvps_") && !said.contains("rvat_"), "a secret is in the log: {said}");
        self.folder.remove()
    }
}

/// A push request that is right, but for what is changed.
pub(crate) fn request(token: &str) -> Result<Value> {
    let now = u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    Ok(json!({
        "identity": "01ARZ3NDEKTSV4RRFFQ69G5FAV", "event": "message", "channel": "message",
        "to": { "provider": "apns", "app": APP, "token": token },
        "sent": now, "expires": now + Duration::from_secs(600).as_millis() as u64, "registered": 1000,
    }))
}

/// A token like APNs hands them out.
pub(crate) fn token() -> String {
    (0..32).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

/// A ULID of this moment, or a little later.
pub(crate) fn ulid() -> Result<String> {
    let now = u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    Ok(reveille_core::PushId::from_parts(reveille_core::Timestamp::from_millis(now), rand::random()).to_string())
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
