//! The border under attack: `reveille serve` as an edge, `reveille serve` as the home and clearing house behind it, and
//! around them everything that this test plays: a server behind the edge, partners' edges, and attackers with many
//! addresses.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use reveille_server::process::usage_of;
use reveille_sim::certs::{Ca, Leaf, apns_key};
use reveille_sim::phone::RawSip;
use reveille_sip_net::{ClientAuth, Identity, TlsClient, TlsServer, TrustRoots};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::block_in_place;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::handshakes::{Authority, ODD};
use crate::support::{Folder, Process, http, json, reveille, run, until};
use crate::witness::Witness;

/// The partner that behaves.
pub(crate) const GOOD: &str = "good.example";
/// The partner that does not: allowed, with a certificate of its own, and hostile.
pub(crate) const EVIL: &str = "evil.example";
/// The partner that sends all that it can.
pub(crate) const FLOOD: &str = "flood.example";
/// A partner whose edge accepts what we send and reads none of it.
pub(crate) const DEAF: &str = "deaf.example";
/// A partner whose edge reads and never answers.
pub(crate) const SILENT: &str = "silent.example";
/// A partner that the settings know by its edge, [`DIRECT_EDGE`].
pub(crate) const DIRECT: &str = "direct.example";
pub(crate) const DIRECT_EDGE: &str = "edge.direct.example";
/// Nobody's partner, with a certificate that is as good as everybody's.
pub(crate) const STRANGER: &str = "stranger.example";
/// Partners that have nothing to say: as many as 8,000 connections take, each with its share of them.
pub(crate) const CROWDS: usize = 10;
/// A hosting provider, and its customer.
pub(crate) const PROVIDER: &str = "provider.example";
pub(crate) const CUSTOMER: &str = "customer.example";
/// Allowed, and somebody else's customer.
pub(crate) const ELSEWHERE: &str = "elsewhere.example";
/// The domain behind the edge that this test serves.
pub(crate) const INSIDE: &str = "inside.example";
/// The domain of the clearing house.
pub(crate) const HOUSE_DOMAIN: &str = "push.example.net";
/// The edge under attack.
pub(crate) const EDGE: &str = "edge.push.example.net";
pub(crate) const HOUSE: &str = "house.push.example.net";
pub(crate) const HOME: &str = "home.contoso.com";
/// The server behind the edge that this test plays.
pub(crate) const WITNESS: &str = "witness.inside.example";

/// How long anybody who behaves may wait.
pub(crate) const PROMPT: Duration = Duration::from_secs(3);

/// Where everything is, and what it takes to be somebody. Cheap to share.
#[derive(Clone)]
pub(crate) struct Place(Arc<Site>);

struct Site {
    net: (u8, u8),
    dir: PathBuf,
    roots: TrustRoots,
}

/// The processes, and the servers that this test plays.
pub(crate) struct World {
    pub(crate) place: Place,
    /// The next hop behind the edge.
    pub(crate) inside: Arc<Witness>,
    /// The edge of [`EVIL`].
    pub(crate) evil: Arc<Witness>,
    pub(crate) silent: Arc<Witness>,
    pub(crate) deaf: Arc<Witness>,
    edge: Process,
    behind: Process,
    edge_pid: String,
    folder: Folder,
    played: Option<JoinHandle<Result<()>>>,
    stop: CancellationToken,
}

impl World {
    /// Writes everything, starts everything, and waits until it serves.
    pub(crate) fn start(inside: Witness, evil: Witness) -> Result<Self> {
        let folder = Folder::new("hostile")?;
        let net = free_net()?;
        certificates(&folder)?;
        for (file, text) in [("edge.toml", EDGE_TOML), ("behind.toml", BEHIND_TOML)] {
            folder.write(file, &text.replace("127.0.0", &format!("127.{}.{}", net.0, net.1)))?;
        }
        folder.write("users.toml", "[users.alice]\npassword = \"alice-wonder\"\n")?;
        let allowed =
            (0..CROWDS).map(|number| format!(r#"{{ "Kind": "AllowedDomain", "Identity": "{}" }},"#, crowd(number)));
        let settings = folder.write("settings.json", &SETTINGS.replace("CROWDS", &allowed.collect::<String>()))?;
        let dir = folder.path().to_owned();
        let config = dir.join("edge.toml");
        let words = ["settings".as_ref(), "import".as_ref(), "-c".as_ref(), config.as_os_str(), settings.as_os_str()];
        let done = run(words)?;
        ensure!(done.code == 0, "the settings are not taken: {}", done.err);
        let roots = TrustRoots::from_pem_files(&[dir.join("ca.pem")])?;
        let place = Place(Arc::new(Site { net, dir, roots }));

        let stop = CancellationToken::new();
        let [inside, evil, silent, deaf] = [inside, evil, Witness::silent(), Witness::narrow()].map(Arc::new);
        let servers = [(4, WITNESS, &inside), (5, EVIL, &evil), (6, SILENT, &silent), (7, DEAF, &deaf)];
        let servers =
            servers.map(|(host, name, server)| (place.at(host, 5061), place.server(name), Arc::clone(server)));
        let played = play(servers.into(), stop.clone())?;

        let serve = |file: &str| {
            let mut command = reveille();
            command.arg("serve").arg("-c").arg(folder.path().join(file));
            Process::start(command)
        };
        let (mut behind, mut edge) = (serve("behind.toml")?, serve("edge.toml")?);
        for (process, host) in [(&mut behind, 3), (&mut edge, 2)] {
            let url = format!("http://{}/ready", place.at(host, 9090));
            until("it is ready", || {
                ensure!(process.wait(Duration::ZERO).is_err(), "it has ended: {}", process.said());
                Ok(http(&url, None).is_ok_and(|(status, _)| status == 200).then_some(()))
            })?;
        }
        let edge_pid = edge.pid().as_raw_nonzero().to_string();
        Ok(Self { place, inside, evil, silent, deaf, edge, behind, edge_pid, folder, played: Some(played), stop })
    }

    /// The edge's resident memory now, in bytes.
    pub(crate) fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.edge_pid))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
        kib.map(|kib: u64| kib * 1024).context("the edge has ended")
    }

    /// The most that it has ever been.
    pub(crate) fn peak_memory(&self) -> u64 {
        usage_of(&self.edge_pid).peak_rss_bytes
    }

    /// Processor time of the edge so far.
    pub(crate) fn cpu(&self) -> Duration {
        usage_of(&self.edge_pid).cpu
    }

    /// The edge's open descriptors now.
    pub(crate) fn descriptors(&self) -> Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.edge_pid))?.count())
    }

    /// Bytes that the edge has logged so far.
    pub(crate) fn logged(&self) -> usize {
        self.edge.said().len()
    }

    /// A page of the edge's ops listener.
    pub(crate) fn page(&self, path: &str) -> Result<(u16, String)> {
        block_in_place(|| http(&format!("http://{}{path}", self.place.at(2, 9090)), None))
    }

    /// The sum of the edge's counters whose line begins with this.
    pub(crate) fn counted(&self, begin: &str) -> Result<f64> {
        let (_, text) = self.page("/metrics")?;
        let values = text.lines().filter(|line| line.starts_with(begin)).filter_map(|line| line.rsplit(' ').next());
        Ok(values.filter_map(|value| value.parse::<f64>().ok()).sum())
    }

    /// What the edge shows of itself and its partners.
    pub(crate) fn border(&self) -> Result<Value> {
        parsed(self.page("/edge/partners")?)
    }

    /// Requests of which the edge's stateful proxy remembers something.
    pub(crate) fn contexts(&self) -> Result<u64> {
        self.border()?["contexts"].as_u64().context("the contexts of the edge")
    }

    /// Requests of one partner, or to it, that wait for their answers.
    pub(crate) fn under_way(&self, domain: &str) -> Result<u64> {
        let border = self.border()?;
        let partners = border["partners"].as_array().context("a list of partners")?;
        let own = partners.iter().filter(|partner| partner["domain"] == domain);
        Ok(own.filter_map(|partner| partner["in_flight"].as_u64()).sum())
    }

    /// Why the edge has turned away who came from there.
    pub(crate) fn refusal_of(&self, remote: SocketAddr) -> Result<String> {
        let url = format!("http://{}/status", self.place.at(2, 9090));
        block_in_place(|| {
            until("a refusal on the status page", || {
                let status = json(&url)?;
                let all = status["edge"]["refusals"].as_array().context("a list of refusals")?;
                let own = all.iter().rev().find(|refusal| refusal["remote"] == remote.to_string().as_str());
                Ok(own.and_then(|refusal| refusal["reason"].as_str()).map(str::to_owned))
            })
        })
    }

    /// Waits until the edge holds no more than so many descriptors.
    pub(crate) fn until_descriptors(&self, most: usize) -> Result<usize> {
        block_in_place(|| {
            until("the edge closes what is over", || {
                let open = self.descriptors()?;
                Ok((open <= most).then_some(open))
            })
        })
    }

    /// Ends everything; both processes must end well, and neither may have panicked.
    pub(crate) fn finish(mut self) -> Result<()> {
        for process in [&mut self.edge, &mut self.behind] {
            let status = process.terminate()?;
            let said = process.said();
            ensure!(status.success(), "a server ended with {status}: {}", tail(&said));
            ensure!(!said.contains("panicked"), "something has panicked: {}", tail(&said));
        }
        self.stop.cancel();
        if let Some(played) = self.played.take() {
            played.join().ok().context("a played server has panicked")??;
        }
        self.folder.remove()
    }
}

/// The last of a log.
fn tail(text: &str) -> &str {
    let begin = text.len().saturating_sub(4000);
    text.get(begin..).unwrap_or(text)
}

/// Runs the servers that this test plays, on a thread of their own.
fn play(
    servers: Vec<(SocketAddr, Result<Arc<TlsServer>>, Arc<Witness>)>,
    stop: CancellationToken,
) -> Result<JoinHandle<Result<()>>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serving = async move {
        let mut all = tokio::task::JoinSet::new();
        for (address, tls, server) in servers {
            all.spawn(server.serve(address, tls?, stop.clone()));
        }
        while let Some(ended) = all.join_next().await {
            ended??;
        }
        Ok(())
    };
    Ok(std::thread::Builder::new().name("played".into()).spawn(move || runtime.block_on(serving))?)
}

/// A connection with TLS, whatever it is.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Place {
    /// An address of this world: 1 home, 2 edge, 3 clearing house, 4 the server behind, 5 to 7 partners.
    pub(crate) fn at(&self, host: u8, port: u16) -> SocketAddr {
        (Ipv4Addr::new(127, self.0.net.0, self.0.net.1, host), port).into()
    }

    /// The edge's outer side.
    pub(crate) fn edge(&self) -> SocketAddr {
        self.at(2, 5061)
    }

    /// The edge's inner side.
    pub(crate) fn edge_inside(&self) -> SocketAddr {
        self.at(2, 5070)
    }

    /// One of the addresses that attackers have.
    pub(crate) fn source(&self, number: usize) -> IpAddr {
        Ipv4Addr::new(127, self.0.net.0, 250, 1 + (number % 200) as u8).into()
    }

    /// The authorities that everybody here trusts.
    pub(crate) fn roots(&self) -> &TrustRoots {
        &self.0.roots
    }

    /// A file of this world.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.dir.join(name)
    }

    /// The certificate of a name.
    pub(crate) fn identity(&self, name: &str) -> Result<Identity> {
        let file = |kind: &str| self.0.dir.join(format!("{name}.{kind}"));
        Ok(Identity::from_pem_files(&file("pem"), &file("key"))?)
    }

    /// TLS with the certificate of a name.
    pub(crate) fn client(&self, name: &str) -> Result<TlsClient> {
        Ok(TlsClient::new(Some(&self.identity(name)?), &self.0.roots))
    }

    fn server(&self, name: &str) -> Result<Arc<TlsServer>> {
        Ok(Arc::new(TlsServer::new(&self.identity(name)?, ClientAuth::Required, &self.0.roots)?))
    }

    /// Plain TCP to an address, from one of the attackers' addresses. `read_bytes` makes the window small.
    pub(crate) async fn tcp(&self, to: SocketAddr, source: usize, read_bytes: Option<u32>) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = read_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(self.source(source), 0))?;
        let stream = timeout(PROMPT * 2, socket.connect(to)).await.context("nobody accepts")??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A TLS connection to the edge's outer side that this name's owner makes, and its local address.
    pub(crate) async fn wire(&self, tls: &TlsClient, source: usize) -> Result<(Box<dyn Duplex>, SocketAddr)> {
        let stream = self.tcp(self.edge(), source, None).await?;
        let local = stream.local_addr()?;
        let (stream, _) = timeout(PROMPT * 4, tls.connect(stream, EDGE)).await.context("no handshake in time")??;
        Ok((Box::new(stream), local))
    }

    /// The same, for SIP.
    pub(crate) async fn link(&self, name: &str) -> Result<RawSip> {
        let (stream, local) = self.wire(&self.client(name)?, 0).await?;
        Ok(RawSip::on(stream, local))
    }

    /// A connection to a server behind the edge, or to the edge's inner side, with the certificate of a name.
    pub(crate) async fn link_to(&self, to: SocketAddr, host: &str, name: &str) -> Result<RawSip> {
        let stream = self.tcp(to, 0, None).await?;
        let local = stream.local_addr()?;
        let tls = self.client(name)?;
        let (stream, _) = timeout(PROMPT, tls.connect(stream, host)).await.context("no handshake in time")??;
        Ok(RawSip::on(stream, local))
    }
}

/// The first numbers of addresses that nobody uses.
fn free_net() -> Result<(u8, u8)> {
    for _ in 0..100 {
        let (a, b) = (rand::random_range(16..250_u8), rand::random_range(1..240_u8));
        if (1..=7).all(|host| TcpListener::bind((Ipv4Addr::new(127, a, b, host), 5061)).is_ok()) {
            return Ok((a, b));
        }
    }
    bail!("no free loopback addresses were found for port 5061")
}

/// The domain of one of the [`CROWDS`].
pub(crate) fn crowd(number: usize) -> String {
    format!("crowd{number}.example")
}

/// Everybody's certificate, by the name that they go by.
fn certificates(folder: &Folder) -> Result<()> {
    let ca = Ca::new("Hostile test authority")?;
    let (odd, key) = Authority::new(ODD)?.files();
    folder.write("ca.pem", &(ca.pem() + &odd))?;
    folder.write("odd-ca.key", &key)?;
    let with_domain = |name: &'static str| (name, vec![name.to_owned(), format!("edge.{name}")]);
    let host = |name: &'static str| (name, vec![name.to_owned()]);
    let crowds: Vec<String> = (0..CROWDS).map(crowd).collect();
    let mut all: Vec<(&str, Vec<String>)> = [GOOD, EVIL, FLOOD, DEAF, SILENT, STRANGER].map(with_domain).into();
    all.extend(crowds.iter().map(|name| (name.as_str(), vec![name.clone()])));
    all.extend([DIRECT_EDGE, PROVIDER, HOUSE, HOME, WITNESS].map(host));
    all.push((EDGE, [EDGE, HOUSE_DOMAIN, INSIDE, "contoso.com"].map(str::to_owned).into()));
    for (name, names) in all {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let identity = ca.issue(Leaf::new(name, &names))?;
        folder.write(&format!("{name}.pem"), &identity.chain_pem())?;
        folder.write(&format!("{name}.key"), &identity.key_pem())?;
    }
    folder.write("apns.p8", &apns_key()?.p8_pem)?;
    Ok(())
}

/// The pages of a status that this test looks into.
pub(crate) fn parsed(page: (u16, String)) -> Result<Value> {
    ensure!(page.0 == 200, "the page answers {}: {}", page.0, page.1);
    Ok(serde_json::from_str(&page.1)?)
}

const SETTINGS: &str = r#"{ "settings": [
    CROWDS
    { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true },
    { "Kind": "AllowedDomain", "Identity": "good.example" },
    { "Kind": "AllowedDomain", "Identity": "evil.example" },
    { "Kind": "AllowedDomain", "Identity": "flood.example" },
    { "Kind": "AllowedDomain", "Identity": "deaf.example" },
    { "Kind": "BlockedDomain", "Identity": "blocked.example" },
    { "Kind": "AllowedDomain", "Identity": "silent.example" },
    { "Kind": "AllowedDomain", "Identity": "direct.example", "ProxyFqdn": "edge.direct.example" },
    { "Kind": "AllowedDomain", "Identity": "customer.example" },
    { "Kind": "AllowedDomain", "Identity": "elsewhere.example" },
    { "Kind": "HostingProvider", "Identity": "Provider", "ProxyFqdn": "provider.example", "Enabled": true },
    { "Kind": "PushApp", "Identity": "org.reveille.demo", "Serves": ["good.example"] }
] }"#;

const EDGE_TOML: &str = r#"
[store]
dir = "edge"
settings = "settings.db"

[ops]
listen = "127.0.0.2:9090"

[resolver]
srv = [
    { owner = "_sipfederationtls._tcp.evil.example", target = "edge.evil.example", port = 5061 },
    { owner = "_sipfederationtls._tcp.silent.example", target = "edge.silent.example", port = 5061 },
    { owner = "_sipfederationtls._tcp.deaf.example", target = "edge.deaf.example", port = 5061 },
    { owner = "_sipfederationtls._tcp.customer.example", target = "provider.example", port = 5061 },
    { owner = "_sipfederationtls._tcp.elsewhere.example", target = "edge.elsewhere.example", port = 5061 },
]

[resolver.hosts]
"edge.evil.example" = ["127.0.0.5"]
"edge.silent.example" = ["127.0.0.6"]
"edge.deaf.example" = ["127.0.0.7"]

[edge]
name = "edge.push.example.net"
external = "127.0.0.2:5061"
internal = "127.0.0.2:5070"
inside = ["house.push.example.net", "home.contoso.com", "witness.inside.example"]
tls = { certificate = "edge.push.example.net.pem", key = "edge.push.example.net.key", roots = "ca.pem" }
domains = [
    { domain = "push.example.net", name = "house.push.example.net", address = "127.0.0.3:5061" },
    { domain = "contoso.com", name = "home.contoso.com", address = "127.0.0.1:5070" },
    { domain = "inside.example", name = "witness.inside.example", address = "127.0.0.4:5061" },
]
"#;

const BEHIND_TOML: &str = r#"
[store]
dir = "behind"
settings = "settings.db"

[ops]
listen = "127.0.0.3:9090"

[home]
domain = "contoso.com"
name = "home.contoso.com"
tls = { certificate = "home.contoso.com.pem", key = "home.contoso.com.key", roots = "ca.pem" }
sip_tcp = "127.0.0.1:5060"
sip_tls = "127.0.0.1:5061"
internal = "127.0.0.1:5070"
edge = { name = "edge.push.example.net", address = "127.0.0.2:5070" }
users = "users.toml"

[clearinghouse]
name = "house.push.example.net"
domain = "push.example.net"
tls = { certificate = "house.push.example.net.pem", key = "house.push.example.net.key", roots = "ca.pem" }
listen = "127.0.0.3:5061"
edges = ["edge.push.example.net"]
edge = { name = "edge.push.example.net", address = "127.0.0.2:5070" }

[[clearinghouse.apps]]
provider = "apns"
app = "org.reveille.demo"
credential = "apns.p8"
team = "HOSTILE001"
key_id = "HOSTILEKEY"
server = "127.0.0.5:9"
roots = "ca.pem"
"#;
