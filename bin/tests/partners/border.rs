//! An edge of contoso.com that asks a Knot for the ways out, and its home, which the test plays.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reveille_sim::certs::{Ca, Leaf};
use reveille_sim::phone::RawSip;
use reveille_sip::Name;
use reveille_sip_net::{ClientAuth, Identity, TlsClient, TlsServer, TrustRoots};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::abroad::Abroad;
use crate::knot::{Knot, Zone};
use crate::support::{Folder, Process, json, reveille, run, until};

/// `reveille serve` as an edge, the name server that it asks, and a connection from behind it.
pub(crate) struct Border {
    pub(crate) knot: Knot,
    edge: Process,
    home: RawSip,
    folder: Folder,
    ca: Ca,
    net: String,
    runtime: Runtime,
}

/// What home hears of a message that it wanted to send.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    /// `ms-diagnostics`: why, for us and nobody else.
    pub(crate) diagnosis: String,
}

impl Border {
    /// Starts everything. In settings and zones `{net}` stands for the first three numbers of all addresses.
    pub(crate) fn start(name: &str, settings: &[&str], zones: &[Zone<'_>]) -> Result<Self> {
        let (folder, ca, net) = (Folder::new(name)?, Ca::new("Name server test authority")?, free_net()?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let zones: Vec<(&str, String)> =
            zones.iter().map(|(domain, records)| (*domain, records.replace("{net}", &net))).collect();
        let zones: Vec<Zone<'_>> = zones.iter().map(|(domain, records)| (*domain, records.as_str())).collect();
        let knot = Knot::start(&folder, &runtime, format!("{net}.9:{NAMES}").parse()?, &zones)?;

        folder.write("ca.pem", &ca.pem())?;
        let leaf = ca.issue(Leaf::new("edge.contoso.com", &["edge.contoso.com", "contoso.com"]))?;
        folder.write("edge.pem", &leaf.chain_pem())?;
        folder.write("edge.key", &leaf.key_pem())?;
        let names = format!("{net}.9:{NAMES}");
        folder.write("edge.toml", &EDGE_TOML.replace("{net}", &net).replace("{names}", &names))?;
        put(&folder, settings)?;
        let mut command = reveille();
        command.args(["serve", "--ready-fd", "1", "--config"]).arg(folder.path().join("edge.toml"));
        let mut edge = Process::start(command)?;
        edge.until("it serves", |said| said.lines().any(|line| line == "ready").then_some(()))?;

        let roots = TrustRoots::from_pem(ca.pem().as_bytes())?;
        let tls = TlsClient::new(Some(&identity(&ca, &["home.contoso.com"])?), &roots);
        let home = runtime.block_on(RawSip::tls(format!("{net}.2:5070").parse()?, &tls, "edge.contoso.com"))?;
        Ok(Self { knot, edge, home, folder, ca, net, runtime })
    }

    /// An address of one of the machines abroad: 3 to 8.
    pub(crate) fn host(&self, number: u8) -> Result<SocketAddr> {
        Ok(format!("{}.{number}:5061", self.net).parse()?)
    }

    /// The edge of a partner whose certificate has these names, on one of the machines abroad.
    pub(crate) fn abroad(&self, number: u8, names: &[&str]) -> Result<Abroad> {
        let roots = TrustRoots::from_pem(self.ca.pem().as_bytes())?;
        let tls = TlsServer::new(&identity(&self.ca, names)?, ClientAuth::Required, &roots)?;
        Abroad::start(&self.runtime, self.host(number)?, tls)
    }

    /// Sends a message to somebody at a domain, as home would.
    pub(crate) fn send(&mut self, domain: &str, text: &str) -> Result<Heard> {
        let number = rand::random::<u64>();
        let message = format!(
            "MESSAGE sip:carol@{domain} SIP/2.0\r\nVia: SIP/2.0/TLS home.contoso.com;branch=z9hG4bK{number:x}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@contoso.com>;tag=1\r\nTo: <sip:carol@{domain}>\r\n\
             Call-ID: {number:x}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        );
        let answer = self.runtime.block_on(self.home.send_and_wait(message, PATIENCE));
        let answer = answer.with_context(|| format!("to {domain}; the edge said:\n{}", self.edge.said()))?;
        let diagnosis = answer.header(Name::MsDiagnostics).unwrap_or_default().to_owned();
        Ok(Heard { status: answer.status().context("a request came where an answer was due")?, diagnosis })
    }

    /// Sends a message that must be taken.
    pub(crate) fn sends(&mut self, domain: &str, text: &str) -> Result<()> {
        let heard = self.send(domain, text)?;
        ensure!(heard.status == 200, "{heard:?}; the edge said:\n{}", self.edge.said());
        Ok(())
    }

    /// Sends a message that must be refused for lack of a way; answers the diagnosis.
    pub(crate) fn fails(&mut self, domain: &str) -> Result<String> {
        let heard = self.send(domain, "to nobody")?;
        ensure!(heard.status == 504, "{heard:?}; the edge said:\n{}", self.edge.said());
        Ok(heard.diagnosis)
    }

    /// What `/status` tells of the refusal whose sentence has this in it.
    pub(crate) fn refusal(&self, part: &str) -> Result<Value> {
        let all = json(&format!("http://{}.2:9090/status", self.net))?["edge"]["refusals"].take();
        let tells = |one: &&Value| one["sentence"].as_str().is_some_and(|sentence| sentence.contains(part));
        let found = all.as_array().and_then(|all| all.iter().find(tells)).cloned();
        found.with_context(|| format!("\"{part}\" is not in {all}"))
    }

    /// What `/edge/partners` tells of a domain, if it is known there.
    pub(crate) fn partner(&self, domain: &str) -> Result<Option<Value>> {
        let all = json(&format!("http://{}.2:9090/edge/partners", self.net))?["partners"].take();
        let all = all.as_array().with_context(|| format!("no list: {all}"))?;
        Ok(all.iter().find(|partner| partner["domain"] == domain).cloned())
    }

    /// Changes settings of the running edge.
    pub(crate) fn set(&self, settings: &[&str]) -> Result<()> {
        put(&self.folder, settings)
    }

    /// Waits until the edge has logged this.
    pub(crate) fn says(&mut self, part: &str) -> Result<()> {
        self.edge.until(part, |said| said.contains(part).then_some(()))
    }

    /// Other records of one domain, from now on.
    pub(crate) fn change(&mut self, domain: &str, records: &str) -> Result<()> {
        self.knot.change(&self.folder, domain, &records.replace("{net}", &self.net))
    }

    /// Stops the edge as an administrator would; it must end well.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.edge.terminate()?;
        let said = self.edge.said();
        ensure!(status.success(), "it ended with {status}:\n{said}");
        ensure!(!said.contains("ERROR") && !said.contains("panicked"), "it has seen what should never be:\n{said}");
        drop(self.knot);
        self.folder.remove()
    }
}

/// Puts these settings, as an administrator would; a running edge follows.
fn put(folder: &Folder, settings: &[&str]) -> Result<()> {
    let file = folder.write("settings.json", &format!("{{ \"settings\": [{}] }}", settings.join(",")))?;
    std::fs::create_dir_all(folder.path().join("store"))?;
    let config = folder.path().join("edge.toml");
    let words = ["settings".as_ref(), "import".as_ref(), "--config".as_ref(), config.as_os_str(), file.as_os_str()];
    let done = run(words)?;
    ensure!(done.code == 0, "the settings are not taken: {}", done.err);
    Ok(())
}

fn identity(ca: &Ca, names: &[&str]) -> Result<Identity> {
    let leaf = ca.issue(Leaf::new(names.first().context("a name")?, names))?;
    Ok(Identity::from_pem(leaf.chain_pem().as_bytes(), leaf.key_pem().as_bytes())?)
}

/// The first three numbers of addresses that nobody uses.
fn free_net() -> Result<String> {
    for _ in 0..100 {
        let (a, b) = (rand::random_range(16..250_u8), rand::random_range(1..250_u8));
        let free = |host, port| TcpListener::bind((Ipv4Addr::new(127, a, b, host), port)).is_ok();
        if (2..=8).all(|host| free(host, 5061))
            && free(9, NAMES)
            && UdpSocket::bind((Ipv4Addr::new(127, a, b, 9), NAMES)).is_ok()
        {
            return Ok(format!("127.{a}.{b}"));
        }
    }
    bail!("no free loopback addresses were found for port 5061")
}

/// Waits until a message is carried: the edge follows a change of settings or records in its own time.
pub(crate) fn until_carried(border: &mut Border, domain: &str, text: &str) -> Result<()> {
    until("it is carried", || Ok((border.send(domain, text)?.status == 200).then_some(())))
}

/// Longer than the edge asks a name server that does not answer.
const PATIENCE: Duration = Duration::from_secs(40);
/// The name server's port.
const NAMES: u16 = 5353;

const EDGE_TOML: &str = r#"
[store]
dir = "store"

[ops]
listen = "{net}.2:9090"

[resolver]
name_servers = ["{names}"]

[edge]
name = "edge.contoso.com"
external = "{net}.2:5061"
internal = "{net}.2:5070"
inside = ["home.contoso.com"]
tls = { certificate = "edge.pem", key = "edge.key", roots = "ca.pem" }
domains = [{ domain = "contoso.com", name = "home.contoso.com", address = "{net}.1:5070" }]
"#;
