//! A clearing house with its REST service, its provider, and its administrator.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reveille_sim::apns::ApnsSimulator;
use reveille_sim::certs::{Identity, Leaf};
use serde_json::{Value, json};

use crate::client::Client;
use crate::house::{App, House, free_address};

const TEAM: &str = "RESTRESTTE";
const KEY_ID: &str = "RESTRESTKE";
/// As the pages have it, whose commands are run here.
pub(crate) const APP: &str = "org.example.app";

pub(crate) struct World {
    pub(crate) house: House,
    pub(crate) apns: ApnsSimulator,
    pub(crate) rest: SocketAddr,
}

impl World {
    /// A clearing house that already knows two organisations, of which one has an app.
    pub(crate) async fn start(name: &str) -> Result<Self> {
        let settings = json!([
            { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true },
            { "Kind": "AllowedDomain", "Identity": "contoso.com" },
            { "Kind": "AllowedDomain", "Identity": "fabrikam.com" },
            { "Kind": "PushApp", "Identity": APP, "Serves": ["contoso.com"] },
        ]);
        Self::with(name, settings).await
    }

    /// One with these settings, whose administrator has done nothing yet.
    pub(crate) async fn with(name: &str, settings: Value) -> Result<Self> {
        let mut house = House::new(name)?;
        let apns = house.apple(TEAM, KEY_ID).await?;
        house.issue("rest", "localhost")?;
        // Its name is in addresses, and stands for this one.
        let rest = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let tables = format!(
            r#"
            [clearinghouse.handles]
            keys = "handle-keys"
            [clearinghouse.rest]
            listen = "{rest}"
            url = "https://localhost:{}"
            tls = {{ certificate = "rest.pem", key = "rest.key", roots = "ca.pem" }}
            webhooks = {{ roots = "ca.pem", allow = ["127.0.0.0/8"] }}
            "#,
            rest.port()
        );
        house.configure("dir = \"store\"", free_address()?, &App::of(APP, TEAM, KEY_ID, &apns), &tables)?;
        house.wants(&json!({ "settings": settings })).await?;
        house.start()?;
        Ok(Self { house, apns, rest })
    }

    pub(crate) fn issuer(&self) -> String {
        format!("https://localhost:{}", self.rest.port())
    }

    /// What an administrator types.
    pub(crate) async fn shell(&self, line: &str) -> Result<String> {
        self.house.shell(line).await
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
        Client::connect(self.rest, &self.house.ca, identity).await
    }

    pub(crate) fn certificate(&self, name: &str) -> Result<Identity> {
        Ok(self.house.ca.issue(Leaf::new(name, &[name]))?)
    }

    /// Everything ends as it should.
    pub(crate) fn finish(mut self) -> Result<()> {
        let said = self.house.stop()?;
        ensure!(!said.contains("rvps_") && !said.contains("rvat_"), "a secret is in the log: {said}");
        self.house.folder.remove()
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
