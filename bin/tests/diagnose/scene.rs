//! Three processes of two organisations: home and edge of contoso.com, and edge and clearing house of the publisher, who
//! answers for push.lync.com. Each can be stopped, changed and started again.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use reveille_sim::apns::{ApnsOptions, ApnsSimulator, ProviderKey};
use reveille_sim::certs::{Ca, Leaf, apns_key};
use serde_json::{Value, json};

use crate::support::{Folder, Process, STEP, reveille, run};

/// The push service's names for the publisher.
pub(crate) const TEAM: &str = "DIAGTEAM01";
pub(crate) const KEY_ID: &str = "DIAGKEY001";
/// The publisher's app.
pub(crate) const APP: &str = "org.reveille.diagnose";
/// The files of what the publisher's edge shows to partners.
pub(crate) const OUTER: &str = "outer.push.example.net";
/// The names of the publisher's edge.
const PUBLISHER: [&str; 3] = ["edge.push.example.net", "push.lync.com", "sipfed.online.lync.com"];
/// The records that lead where they should.
pub(crate) const RECORDS: [(&str, &str); 2] =
    [("contoso.com", "edge.contoso.com"), ("push.lync.com", "sipfed.online.lync.com")];

/// Everything that runs.
pub(crate) struct Scene {
    pub(crate) folder: Folder,
    pub(crate) ca: Ca,
    pub(crate) net: String,
    pub(crate) apns: ApnsSimulator,
    apns_at: String,
    contoso: Option<Process>,
    edge: Option<Process>,
    house: Option<Process>,
}

/// What our name servers know.
#[derive(Clone)]
pub(crate) struct Names {
    hosts: Vec<(&'static str, Vec<String>)>,
    /// Domains with the host that each leads to, the first of several first.
    records: Vec<(&'static str, &'static str)>,
    /// Who is asked for what stands in neither.
    servers: Vec<String>,
}

impl Names {
    /// Where everything leads where it should.
    pub(crate) fn usual(net: &str) -> Self {
        let at = |host: u8| vec![format!("{net}.{host}")];
        let hosts =
            vec![("edge.contoso.com", at(2)), ("sipfed.online.lync.com", at(3)), ("edge.push.example.net", at(3))];
        Self { hosts, records: RECORDS.to_vec(), servers: Vec::new() }
    }

    /// With other addresses of a host.
    pub(crate) fn host(mut self, name: &'static str, addresses: &[&str]) -> Self {
        self.hosts.retain(|(known, _)| *known != name);
        self.hosts.push((name, addresses.iter().map(|address| (*address).to_owned()).collect()));
        self
    }

    /// Without the record of a domain.
    pub(crate) fn without(mut self, owner: &str) -> Self {
        self.records.retain(|(known, _)| *known != owner);
        self
    }

    /// With a record of a domain that stands before those it has.
    pub(crate) fn first(mut self, owner: &'static str, target: &'static str) -> Self {
        self.records.insert(0, (owner, target));
        self
    }

    /// With a name server for the rest.
    pub(crate) fn asks(mut self, server: &str) -> Self {
        self.servers.push(server.to_owned());
        self
    }

    fn written(&self) -> String {
        let mut known = format!("[resolver]\nname_servers = {:?}\n[resolver.hosts]\n", self.servers);
        for (name, addresses) in &self.hosts {
            let _ = writeln!(known, "\"{name}\" = {addresses:?}");
        }
        for (priority, (owner, target)) in self.records.iter().enumerate() {
            let _ = write!(
                known,
                "[[resolver.srv]]\nowner = \"_sipfederationtls._tcp.{owner}\"\ntarget = \"{target}\"\nport = 5061\n\
                 priority = {priority}\n"
            );
        }
        known
    }
}

/// One of the three processes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    Contoso,
    Edge,
    House,
}

impl Part {
    const fn file(self) -> &'static str {
        match self {
            Self::Contoso => "contoso",
            Self::Edge => "edge",
            Self::House => "house",
        }
    }
}

impl Scene {
    /// Starts everything, with the documents' recipe on our side and contoso.com allowed on the other.
    pub(crate) async fn start(name: &str) -> Result<Self> {
        let (folder, ca, net) = (Folder::new(name)?, Ca::new("Diagnosis test authority")?, free_net()?);
        folder.write("ca.pem", &ca.pem())?;
        let key = apns_key()?;
        folder.write("apns.p8", &key.p8_pem)?;
        let mut options = ApnsOptions::new(ca.issue(Leaf::new("localhost", &["localhost", "127.0.0.1"]))?);
        options.keys = vec![ProviderKey::new(TEAM, KEY_ID, key.public_key)];
        let apns = ApnsSimulator::start(options).await?;
        let apns_at = apns.addr().to_string();
        let mut scene = Self { folder, ca, net, apns, apns_at, contoso: None, edge: None, house: None };
        for names in [
            &["home.contoso.com", "contoso.com"][..],
            &["edge.contoso.com", "contoso.com"],
            &["house.push.example.net"],
        ] {
            scene.certify(names[0], names)?;
        }
        scene.certify(PUBLISHER[0], &PUBLISHER)?;
        scene.certify_publisher(&scene.ca)?;
        scene.folder.write("roots-of-contoso.pem", &scene.ca.pem())?;
        scene.folder.write("roots-of-publisher.pem", &scene.ca.pem())?;
        scene.folder.write(
            "users.toml",
            "[users.bob]\npassword = \"bob-builds\"\n[users.carol]\npassword = \"carol-builds\"\n",
        )?;
        scene.write_configurations(&RECORDS)?;
        scene.import("contoso", OURS)?;
        scene.import("edge", THEIRS)?;
        for part in [Part::House, Part::Edge, Part::Contoso] {
            scene.begin(part)?;
        }
        Ok(scene)
    }

    /// A certificate with these names, in the files of the first of them or of whom it is given to.
    pub(crate) fn certify(&self, file: &str, names: &[&str]) -> Result<()> {
        self.certify_by(&self.ca, file, names)
    }

    /// The same by another authority.
    pub(crate) fn certify_by(&self, ca: &Ca, file: &str, names: &[&str]) -> Result<()> {
        let identity = ca.issue(Leaf::new(names[0], names))?;
        self.folder.write(&format!("{file}.pem"), &identity.chain_pem())?;
        self.folder.write(&format!("{file}.key"), &identity.key_pem())?;
        Ok(())
    }

    /// The publisher's edge shows what it should to partners, by this authority.
    pub(crate) fn certify_publisher(&self, ca: &Ca) -> Result<()> {
        self.certify_by(ca, OUTER, &PUBLISHER)
    }

    /// Configurations in which our name servers know these records.
    pub(crate) fn write_configurations(&self, records: &[(&'static str, &'static str)]) -> Result<()> {
        self.write_names(&Names { records: records.to_vec(), ..Names::usual(&self.net) })
    }

    /// Configurations in which these names are known.
    pub(crate) fn write_names(&self, names: &Names) -> Result<()> {
        let (dir, net) = (self.folder.path().display().to_string(), &self.net);
        let names = names.written();
        for (file, text) in [("contoso", CONTOSO), ("edge", EDGE), ("house", HOUSE)] {
            let text = text
                .replace("{dir}", &dir)
                .replace("{net}", net)
                .replace("{names}", &names)
                .replace("{apns}", &self.apns_at)
                .replace("{app}", APP)
                .replace("{team}", TEAM)
                .replace("{key}", KEY_ID);
            self.folder.write(&format!("{file}.toml"), &text)?;
            std::fs::create_dir_all(self.folder.path().join(file))?;
        }
        Ok(())
    }

    fn import(&self, file: &str, settings: &str) -> Result<()> {
        let settings = self.folder.write("settings.json", settings)?.display().to_string();
        let config = self.folder.path().join(format!("{file}.toml")).display().to_string();
        let imported = run(["settings", "import", "--config", &config, &settings])?;
        ensure!(imported.code == 0, "the settings are not taken: {}", imported.err);
        Ok(())
    }

    fn place(&mut self, part: Part) -> &mut Option<Process> {
        match part {
            Part::Contoso => &mut self.contoso,
            Part::Edge => &mut self.edge,
            Part::House => &mut self.house,
        }
    }

    /// Starts one of the processes.
    pub(crate) fn begin(&mut self, part: Part) -> Result<()> {
        self.begin_as(part, reveille())
    }

    /// The same at another time of day, so far from now, by the library of faketime (1). Not by that program: what it starts
    /// outlives it.
    pub(crate) fn begin_at(&mut self, part: Part, library: &Path, offset: &str) -> Result<()> {
        let mut command = reveille();
        // Waiting goes by a clock that nobody sets.
        command.env("LD_PRELOAD", library).env("FAKETIME", offset).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        self.begin_as(part, command)
    }

    fn begin_as(&mut self, part: Part, mut command: std::process::Command) -> Result<()> {
        let config = self.folder.path().join(format!("{}.toml", part.file()));
        command.args(["serve", "--ready-fd", "1", "--config"]).arg(config);
        let mut process = Process::start(command)?;
        process.until("it serves", |said| said.lines().any(|line| line == "ready").then_some(()))?;
        *self.place(part) = Some(process);
        Ok(())
    }

    /// Stops one of them.
    pub(crate) fn end(&mut self, part: Part) -> Result<()> {
        let mut process = self.place(part).take().context("it runs")?;
        let status = process.terminate()?;
        let said = process.said();
        ensure!(status.success(), "{part:?} ended with {status}:\n{said}");
        ensure!(!said.contains("panicked"), "{part:?} has seen what should never be:\n{said}");
        Ok(())
    }

    /// What it has logged.
    pub(crate) fn said(&mut self, part: Part) -> String {
        self.place(part).as_ref().map(Process::said).unwrap_or_default()
    }

    /// Stops it and starts it again.
    pub(crate) fn restart(&mut self, part: Part) -> Result<()> {
        self.end(part)?;
        self.begin(part)
    }

    /// Stops everything; each must end well.
    pub(crate) fn stop(mut self) -> Result<()> {
        for part in [Part::Contoso, Part::Edge, Part::House] {
            self.end(part)?;
        }
        self.folder.remove()
    }

    /// The admin socket of one of the processes.
    pub(crate) fn socket(&self, part: Part) -> PathBuf {
        self.folder.path().join(part.file()).join("admin/reveille.sock")
    }

    /// Runs a cmdlet by the admin API. An error of the cmdlet is its problem document.
    pub(crate) fn cmdlet(&self, part: Part, name: &str, parameters: &Value) -> Result<Result<Value, Value>> {
        cmdlet(&self.socket(part), name, parameters)
    }

    /// Types a line into the shell of one of the processes; it must succeed.
    pub(crate) fn types(&self, part: Part, line: &str) -> Result<String> {
        let socket = self.socket(part).display().to_string();
        let done = run(["shell", "--socket", &socket, "-c", line])?;
        ensure!(done.code == 0, "{line}\nended with {}:\n{}{}", done.code, done.out, done.err);
        Ok(done.out)
    }
}

/// Runs a cmdlet by the admin API that listens there.
pub(crate) fn cmdlet(socket: &Path, name: &str, parameters: &Value) -> Result<Result<Value, Value>> {
    let body = json!({ "parameters": parameters }).to_string();
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(4 * STEP))?;
    write!(
        stream,
        "POST /admin/v1/cmdlets/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(|| format!("{name} was not answered in time"))?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no HTTP: {answer}"))?;
    let value: Value = serde_json::from_str(body).with_context(|| format!("no JSON: {answer}"))?;
    Ok(if head.starts_with("HTTP/1.1 200") { Ok(value) } else { Err(value) })
}

/// The first three numbers of addresses that nobody uses.
fn free_net() -> Result<String> {
    for _ in 0..100 {
        let (a, b) = (rand::random_range(16..250_u8), rand::random_range(1..250_u8));
        let free = |host| TcpListener::bind((Ipv4Addr::new(127, a, b, host), 5061)).is_ok();
        if (1..=4).all(free) {
            return Ok(format!("127.{a}.{b}"));
        }
    }
    bail!("no free loopback addresses were found for port 5061")
}

const OURS: &str = r#"{ "settings": [
  { "Kind": "HostingProvider", "Identity": "LyncOnline", "ProxyFqdn": "sipfed.online.lync.com", "Enabled": true,
    "VerificationLevel": "UseSourceVerification" },
  { "Kind": "AllowedDomain", "Identity": "push.lync.com" },
  { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true },
  { "Kind": "PushNotificationConfiguration", "EnableApplePushNotificationService": true,
    "EnableMicrosoftPushNotificationService": true },
  { "Kind": "HealthMonitoringConfiguration", "Identity": "home.contoso.com", "FirstTestUserSipUri": "sip:bob@contoso.com",
    "SecondTestUserSipUri": "sip:carol@contoso.com" }
] }"#;

const THEIRS: &str = r#"{ "settings": [
  { "Kind": "AllowedDomain", "Identity": "contoso.com", "ProxyFqdn": "edge.contoso.com" },
  { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true },
  { "Kind": "PushApp", "Identity": "org.reveille.diagnose", "Serves": ["contoso.com"] }
] }"#;

const CONTOSO: &str = r#"
[store]
dir = "{dir}/contoso"
[ops]
listen = "{net}.1:9090"
{names}
[home]
domain = "contoso.com"
name = "home.contoso.com"
site = "Redmond"
sip_tcp = "{net}.1:5060"
api = "{net}.1:8080"
internal = "{net}.1:5070"
users = "{dir}/users.toml"
[home.tls]
certificate = "{dir}/home.contoso.com.pem"
key = "{dir}/home.contoso.com.key"
roots = "{dir}/ca.pem"
[home.edge]
name = "edge.contoso.com"
address = "{net}.2:5070"
also = ["accessproxy.contoso.com"]
[edge]
name = "edge.contoso.com"
external = "{net}.2:5061"
internal = "{net}.2:5070"
inside = ["home.contoso.com"]
[edge.tls]
certificate = "{dir}/edge.contoso.com.pem"
key = "{dir}/edge.contoso.com.key"
roots = "{dir}/roots-of-contoso.pem"
[[edge.domains]]
domain = "contoso.com"
name = "home.contoso.com"
address = "{net}.1:5070"
"#;

const EDGE: &str = r#"
[store]
dir = "{dir}/edge"
settings = "{dir}/publisher.db"
{names}
[edge]
name = "edge.push.example.net"
external = "{net}.3:5061"
internal = "{net}.3:5070"
inside = ["house.push.example.net"]
[edge.tls]
certificate = "{dir}/outer.push.example.net.pem"
key = "{dir}/outer.push.example.net.key"
roots = "{dir}/roots-of-publisher.pem"
[edge.internal_tls]
certificate = "{dir}/edge.push.example.net.pem"
key = "{dir}/edge.push.example.net.key"
roots = "{dir}/ca.pem"
[[edge.domains]]
domain = "push.lync.com"
name = "house.push.example.net"
address = "{net}.4:5061"
"#;

const HOUSE: &str = r#"
[store]
dir = "{dir}/house"
settings = "{dir}/publisher.db"
[clearinghouse]
name = "house.push.example.net"
domain = "push.lync.com"
listen = "{net}.4:5061"
edges = ["edge.push.example.net"]
[clearinghouse.tls]
certificate = "{dir}/house.push.example.net.pem"
key = "{dir}/house.push.example.net.key"
roots = "{dir}/ca.pem"
[clearinghouse.edge]
name = "edge.push.example.net"
address = "{net}.3:5070"
[[clearinghouse.apps]]
provider = "apns"
app = "{app}"
credential = "{dir}/apns.p8"
team = "{team}"
key_id = "{key}"
server = "{apns}"
roots = "{dir}/ca.pem"
"#;
