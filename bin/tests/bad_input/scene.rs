//! The running world, and what one sender in it sends and hears.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use reveille_sim::phone::{RawError, RawSip};
use reveille_sip::{Limits, Message, parse_datagram};
use reveille_sip_net::{Identity, TlsClient, TrustRoots};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::malformed::options;
use crate::requests::push;
use crate::support::push::{request, told};
use crate::support::{self, Demo, run};
use crate::table::{Row, Table};
use crate::{EDGE, HOME, HOUSE, PROMPT};

/// Where a row goes, and as whom.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// The home's TCP port for clients.
    Home,
    /// The home's TLS port for clients.
    HomeTls,
    /// The publisher's edge, from outside, with the certificate of this name from the demo's folder.
    Edge(&'static str),
    /// The clearing house itself, past its edge.
    House(&'static str),
    /// The home's port for its own edge.
    HomeInside(&'static str),
    /// The publisher's edge, from inside.
    EdgeInside(&'static str),
}

/// Contoso's own edge at the publisher's: an allowed partner.
pub(crate) const PARTNER: Way = Way::Edge("edge.contoso.com");

/// The running world and the addresses in it.
pub(crate) struct Scene {
    pub(crate) demo: Demo,
    pub(crate) dir: PathBuf,
    pub(crate) home: SocketAddr,
    pub(crate) home_tls: SocketAddr,
    pub(crate) home_inside: SocketAddr,
    pub(crate) edge: SocketAddr,
    pub(crate) edge_inside: SocketAddr,
    pub(crate) edge_ops: String,
    pub(crate) house: SocketAddr,
    pub(crate) roots: TrustRoots,
}

impl Scene {
    pub(crate) fn start() -> Result<Self> {
        let demo = Demo::start("bad-input")?;
        let dir = demo.folder().path().join("demo");
        let at = |pointer: &str| anyhow::Ok(demo.told(pointer)?.parse::<SocketAddr>()?);
        let config = |file: &str| anyhow::Ok(toml::from_str::<toml::Table>(&std::fs::read_to_string(dir.join(file))?)?);
        let address = |value: &toml::Value| anyhow::Ok(value.as_str().context("an address")?.parse::<SocketAddr>()?);
        Ok(Self {
            home: at("/organisations/contoso.com/home/sip_tcp")?,
            home_tls: at("/organisations/contoso.com/home/sip_tls")?,
            home_inside: address(&config("contoso.toml")?["home"]["internal"])?,
            edge: at("/publisher/edge/external")?,
            edge_inside: address(&config("publisher-edge.toml")?["edge"]["internal"])?,
            edge_ops: demo.told("/publisher/edge/ops")?.to_owned(),
            house: at("/publisher/clearinghouse/internal")?,
            roots: TrustRoots::from_pem_files(&[dir.join("ca.pem")])?,
            dir,
            demo,
        })
    }

    /// One of the publisher's apps is taken from contoso.com, for the row that asks for it.
    pub(crate) async fn revoke_an_app(&self) -> Result<()> {
        let other = json!({ "settings": [{ "Kind": "PushApp", "Identity": "app", "Serves": ["fabrikam.com"] }] });
        let file = self.demo.folder().write("revoke.json", &other.to_string())?;
        let config = self.dir.join("clearinghouse.toml");
        let words = ["settings".as_ref(), "import".as_ref(), "-c".as_ref(), config.as_os_str(), file.as_os_str()];
        let done = block_in_place(|| run(words))?;
        ensure!(done.code == 0, "the grant is not taken back: {}", done.err);
        let end = Instant::now() + support::STEP;
        loop {
            let mut request = request();
            request["to"]["app"] = "app".into();
            let mut link = self.open(PARTNER).await?;
            let answer = link.send_and_wait(push(&request.to_string()), PROMPT).await?;
            if answer.status() == Some(403) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the clearing house does not follow its settings: {:?}", answer.status());
        }
    }

    pub(crate) async fn open(&self, way: Way) -> Result<RawSip, RawError> {
        let (address, certificate, name) = match way {
            Way::Home => return RawSip::tcp(self.home).await,
            Way::HomeTls => (self.home_tls, None, HOME),
            Way::Edge(certificate) => (self.edge, Some(certificate), EDGE),
            Way::House(certificate) => (self.house, Some(certificate), HOUSE),
            Way::HomeInside(certificate) => (self.home_inside, Some(certificate), HOME),
            Way::EdgeInside(certificate) => (self.edge_inside, Some(certificate), EDGE),
        };
        let identity = certificate.map(|name| self.identity(name));
        RawSip::tls(address, &TlsClient::new(identity.as_ref(), &self.roots), name).await
    }

    pub(crate) fn identity(&self, name: &str) -> Identity {
        let file = |kind: &str| self.dir.join(format!("{name}.{kind}"));
        Identity::from_pem_files(&file("pem"), &file("key")).expect("the demo has made this certificate")
    }

    /// Sends one row and tells what came of it.
    pub(crate) async fn show(&self, row: &Row) -> Result<String> {
        let mut link = self.open(row.way).await.with_context(|| row.name.clone())?;
        let mut seen = Vec::new();
        if link.send(&row.wire, PROMPT).await.is_err() {
            return Ok("closed".into());
        }
        if !row.expected.starts_with("nothing") {
            match link.next(PROMPT).await {
                Ok(answer) => seen.push(self.heard(row.way, &answer)?),
                Err(RawError::Closed | RawError::Io(_)) => return Ok("closed".into()),
                Err(RawError::TimedOut { .. }) => {}
                Err(other) => bail!("{}: {other}", row.name),
            }
        }
        let afterwards = options(row.way, "afterwards");
        let mut then = "closed".to_owned();
        if link.send(afterwards, PROMPT).await.is_ok() {
            loop {
                match link.next(PROMPT).await {
                    Ok(answer) if answer.call_id() == Some("afterwards") => {
                        then = match answer.status() {
                            Some(200) => "goes on".to_owned(),
                            other => format!("goes on with {}", other.unwrap_or_default()),
                        };
                        break;
                    }
                    Ok(answer) => seen.push(self.heard(row.way, &answer)?),
                    Err(RawError::Closed | RawError::Io(_)) => break,
                    Err(other) => bail!("{}: after {seen:?}: {other}", row.name),
                }
            }
        }
        if seen.is_empty() {
            seen.push("nothing".into());
        }
        seen.push(then);
        Ok(seen.join(", "))
    }

    /// An answer in a few words. What a partner hears says nothing of the servers behind the edge.
    fn heard(&self, way: Way, answer: &Message) -> Result<String> {
        let mut text = told(answer)?;
        if let Way::Edge(_) = way {
            let whole = String::from_utf8_lossy(answer.as_bytes());
            for inside in [HOUSE, "ms-diagnostics:", &self.house.ip().to_string()] {
                if whole.contains(inside) {
                    let _ = write!(text, " and {inside}");
                }
            }
        }
        Ok(text)
    }

    pub(crate) async fn show_datagram(&self, datagram: &[u8]) -> Result<String> {
        let socket = UdpSocket::bind((self.home.ip(), 0)).await?;
        socket.connect(self.home).await?;
        let port = socket.local_addr()?;
        let here = |text: &[u8]| String::from_utf8_lossy(text).replace("HERE", &port.to_string()).into_bytes();
        socket.send(&here(datagram)).await?;
        socket.send(&here(&options(Way::Home, "afterwards"))).await?;
        let mut seen = Vec::new();
        loop {
            let mut bytes = vec![0; 65_536];
            let length =
                timeout(PROMPT, socket.recv(&mut bytes)).await.context("no answer to the datagram after")??;
            bytes.truncate(length);
            let answer = parse_datagram(Bytes::from(bytes), &Limits::default())?;
            if answer.call_id() == Some("afterwards") {
                break;
            }
            seen.push(told(&answer)?);
        }
        Ok(if seen.is_empty() { "nothing".into() } else { seen.join(", ") })
    }

    /// A client of the home and a partner of the publisher, both on new connections, are answered promptly.
    pub(crate) async fn somebody_else_is_served(&self, table: &mut Table, after: &str) -> Result<()> {
        let begun = Instant::now();
        let client = async {
            let mut link = self.open(Way::Home).await?;
            link.send_and_wait(options(Way::Home, "somebody else"), PROMPT).await
        };
        let partner = async {
            let mut link = self.open(PARTNER).await?;
            link.send_and_wait(push(&request().to_string()), PROMPT).await
        };
        let (client, partner) = tokio::join!(timeout(PROMPT, client), timeout(PROMPT, partner));
        let client = client.with_context(|| format!("after \"{after}\" a client waits"))??;
        ensure!(client.status() == Some(200), "after \"{after}\" a client heard {:?}", client.status());
        let partner = partner.with_context(|| format!("after \"{after}\" a partner waits"))??;
        ensure!(told(&partner)? == "202 0;result=journaled", "after \"{after}\" a partner heard {}", told(&partner)?);
        table.slowest = table.slowest.max(begun.elapsed());
        Ok(())
    }

    /// What the publisher's edge tells its administrator: who was turned away, and the word for why.
    pub(crate) fn refusals(&self) -> Result<Vec<(SocketAddr, String)>> {
        let status = block_in_place(|| support::json(&format!("{}/status", self.edge_ops)))?;
        let all = status["edge"]["refusals"].as_array().context("a list of refusals")?;
        let one = |refusal: &Value| {
            let text = |key: &str| refusal[key].as_str().with_context(|| format!("no {key} in {refusal}"));
            Ok((text("remote")?.parse()?, text("reason")?.to_owned()))
        };
        all.iter().map(one).collect()
    }
}
