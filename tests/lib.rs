//! Shared parts of the world tests: two organisations in this process, on loopback addresses of their own.
//!
//! contoso.com runs home and edge; push.example.net, the publisher of Bob's app, runs edge and clearing house; between
//! them are mutual TLS and the network, behind them a strict simulator of APNs. Configurations and settings are the
//! texts that an administrator would write.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use reveille_admin::Secret;
use reveille_core::{Clock as _, Timestamp};
use reveille_server::{Server, SystemClock, UserStatus, config, settings_file};
use reveille_shell::Session;
use reveille_shell::host::Terminal;
use reveille_shell::remote::{Address, Remote};
use reveille_sim::apns::{ApnsOptions, ApnsPush, ApnsSimulator, ProviderKey};
use reveille_sim::certs::{Ca, Leaf, apns_key};
use reveille_sim::phone::{Phone, PhoneOptions, RawSip};
use reveille_sim::recorder::Query;
use reveille_sip_net::{Identity, TlsClient, TrustRoots};
use tokio::time::{Instant, sleep, timeout};

/// Far longer than any step takes; only a broken test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Bob's phone, as APNs knows it.
pub const TOKEN: &str = "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b";

const CONTOSO: &str = include_str!("world/contoso.toml");
const PUBLISHER: &str = include_str!("world/publisher.toml");
/// What contoso.com wants for itself: push for Apple's phones, through its publisher.
const CONTOSO_WANTS: &str = r#"
    { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true },
    { "Kind": "McxConfiguration", "PushNotificationProxyUri": "sip:push@push.example.net" },
    { "Kind": "PushNotificationConfiguration", "EnableApplePushNotificationService": true }"#;
/// What push.example.net wants for itself.
const PUBLISHER_WANTS: &str = r#"{ "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true }"#;

/// The documents' whole recipe for OCS 2007 R2, on an empty store: one direct partner, and the defaults for the rest.
const CONTOSO_BY_RECIPE: &str = r#"
    { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true },
    { "Kind": "AllowedDomain", "Identity": "push.lync.com", "ProxyFqdn": "sipfed.online.lync.com" },
    { "Kind": "PushNotificationConfiguration", "EnableApplePushNotificationService": true }"#;

/// What one organisation has set for the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Agreement {
    /// contoso.com allows the publisher's domain.
    ContosoAllowsThePublisher,
    /// The publisher allows contoso.com, whose edge it knows.
    ThePublisherAllowsContoso,
    /// The publisher's app serves contoso.com.
    ThePublisherGrantsTheApp,
}

impl Agreement {
    const fn setting(self) -> &'static str {
        match self {
            Self::ContosoAllowsThePublisher => r#"{ "Kind": "AllowedDomain", "Identity": "push.example.net" }"#,
            Self::ThePublisherAllowsContoso => {
                r#"{ "Kind": "AllowedDomain", "Identity": "contoso.com", "ProxyFqdn": "edge.contoso.com" }"#
            }
            Self::ThePublisherGrantsTheApp => {
                r#"{ "Kind": "PushApp", "Identity": "org.example.app", "Serves": ["contoso.com"] }"#
            }
        }
    }
}

/// Everything that runs.
pub struct World {
    /// Home and edge of contoso.com.
    pub contoso: Server,
    /// Edge and clearing house of push.example.net.
    pub publisher: Server,
    /// Apple.
    pub apns: ApnsSimulator,
    registrar: SocketAddr,
    /// Contoso's edge, as other organisations reach it.
    border: SocketAddr,
    ca: Ca,
    roots: TrustRoots,
    dir: Folder,
}

impl World {
    /// Two organisations that have agreed on everything.
    pub async fn start() -> Result<Self> {
        Self::without(None).await
    }

    /// Two organisations of which one has forgotten something.
    pub async fn without(forgotten: impl Into<Option<Agreement>>) -> Result<Self> {
        let forgotten = forgotten.into();
        Self::with(CONTOSO_WANTS, &[Agreement::ContosoAllowsThePublisher], forgotten).await
    }

    /// The publisher as the documents know it, push.lync.com at sipfed.online.lync.com, and contoso.com with nothing but
    /// the recipe for OCS 2007 R2.
    pub async fn by_the_recipe_for_ocs() -> Result<Self> {
        Self::with(CONTOSO_BY_RECIPE, &[], None).await
    }

    async fn with(contoso_wants: &str, contoso_agrees: &[Agreement], forgotten: Option<Agreement>) -> Result<Self> {
        let dir = Folder::new()?;
        let net = free_net()?;
        let ca = Ca::new("Test authority")?;
        dir.write("ca.pem", &ca.pem())?;
        let issue = |file: &str, names: &[&str]| -> Result<()> {
            let identity = ca.issue(Leaf::new(names[0], names))?;
            dir.write(&format!("{file}.pem"), &identity.chain_pem())?;
            dir.write(&format!("{file}.key"), &identity.key_pem())
        };
        issue("home", &["home.contoso.com", "contoso.com"])?;
        issue("contoso-edge", &["edge.contoso.com", "contoso.com"])?;
        let also = ["push.lync.com", "sipfed.online.lync.com"];
        issue("publisher-edge", &["edge.push.example.net", "push.example.net", also[0], also[1]])?;
        issue("house", &["house.push.example.net"])?;
        let key = apns_key()?;
        dir.write("apns.p8", &key.p8_pem)?;
        let mut options = ApnsOptions::new(ca.issue(Leaf::new("localhost", &["localhost"]))?);
        options.keys = vec![ProviderKey::new("TESTTEAM01", "TESTKEY001", key.public_key)];
        let apns = ApnsSimulator::start(options).await?;
        dir.write("users.toml", "[users.alice]\npassword = \"wonder\"\n[users.bob]\npassword = \"builds\"\n")?;
        let here = |text: &str| text.replace("127.0.0.", &format!("127.{}.{}.", net[0], net[1]));
        let publisher_toml = here(PUBLISHER).replace("localhost:8443", &format!("localhost:{}", apns.addr().port()));
        let publisher = dir.server("publisher", &publisher_toml).await?;
        let contoso = dir.server("contoso", &here(CONTOSO)).await?;
        let wishes = |wants: &str, agreements: &[Agreement]| {
            let kept = agreements.iter().filter(|agreement| Some(**agreement) != forgotten);
            let kept = kept.map(|agreement| format!(", {}", agreement.setting()));
            format!("{{ \"settings\": [{wants}{}] }}", kept.collect::<String>())
        };
        let ours = wishes(contoso_wants, contoso_agrees);
        let theirs =
            wishes(PUBLISHER_WANTS, &[Agreement::ThePublisherAllowsContoso, Agreement::ThePublisherGrantsTheApp]);
        dir.settings(&contoso, "contoso.json", &ours).await?;
        dir.settings(&publisher, "publisher.json", &theirs).await?;
        let roots = TrustRoots::from_pem(ca.pem().as_bytes())?;
        let (registrar, border) = (at(net, 1, 5061), at(net, 2, 5061));
        Ok(Self { contoso, publisher, apns, registrar, border, ca, roots, dir })
    }

    fn phone(&self, user: &str, password: &str, push: Option<String>) -> Phone {
        Phone::new(PhoneOptions {
            user: user.into(),
            domain: "contoso.com".into(),
            password: password.into(),
            registrar: self.registrar,
            tls: Some((Arc::new(TlsClient::new(None, &self.roots)), "home.contoso.com".into())),
            // Each user has one device here, named by the first letter: a0…, b0….
            instance: format!("urn:uuid:{}0000000-0000-4000-8000-000000000000", &user[..1]),
            push,
            user_agent: "test".into(),
        })
    }

    /// A connection to contoso's edge from outside, with a certificate that names this host and this domain.
    pub async fn speaker(&self, host: &str, domain: &str) -> Result<RawSip> {
        let leaf = self.ca.issue(Leaf::new(host, &[host, domain]))?;
        let identity = Identity::from_pem(leaf.chain_pem().as_bytes(), leaf.key_pem().as_bytes())?;
        let client = TlsClient::new(Some(&identity), &self.roots);
        Ok(RawSip::tls(self.border, &client, "edge.contoso.com").await?)
    }

    /// Alice at her desk, signed in.
    pub async fn alice(&self) -> Result<Phone> {
        let alice = self.phone("alice", "wonder", None);
        alice.sign_in().await.context("Alice signs in")?;
        Ok(alice)
    }

    /// Bob's phone before it has signed in. Each call is the same phone with another connection.
    pub fn bob(&self) -> Phone {
        let calls = TOKEN.replace("0b", "0c");
        let push = format!(
            "pn-provider=apns;pn-param=TESTTEAM01.org.example.app.voip&remote;pn-prid={calls}:voip&{TOKEN}:remote"
        );
        self.bob_with(push)
    }

    /// The same phone with other push parameters in its Contact.
    pub fn bob_with(&self, push: String) -> Phone {
        self.phone("bob", "builds", Some(push))
    }

    /// Bob's phone: registered for push, then put into a pocket, where its operating system freezes the app.
    pub async fn bob_suspended(&self) -> Result<Phone> {
        let bob = self.bob();
        bob.sign_in().await.context("Bob signs in")?;
        bob.suspend().await;
        self.until("Bob is away", |bob| bob.presence == "away").await?;
        Ok(bob)
    }

    /// Waits until what home knows of Bob is as it should be.
    pub async fn until(&self, what: &str, mut holds: impl FnMut(&UserStatus) -> bool) -> Result<UserStatus> {
        let desk = self.contoso.desk().context("contoso has a home")?;
        let end = Instant::now() + PATIENCE;
        loop {
            let bob = desk.user("bob").await.context("home knows Bob")?;
            if holds(&bob) {
                return Ok(bob);
            }
            if Instant::now() > end {
                bail!("{what}: not in time; home knows {}", serde_json::to_string(&bob)?);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Replaces one of the files that the servers read.
    pub fn replace(&self, file: &str, text: &str) -> Result<()> {
        self.dir.write(file, text)
    }

    /// The folder that all of it lies in: stores under the names of the two.
    pub fn folder(&self) -> &Path {
        &self.dir.0
    }

    /// What one of those files holds.
    pub fn file(&self, file: &str) -> Result<String> {
        self.dir.read(file)
    }

    /// The next push that APNs shows on Bob's phone.
    pub async fn shown_on_bobs_phone(&self) -> Result<ApnsPush> {
        let query = Query { after: 0, token: Some(TOKEN), delivered: true };
        let entry = timeout(PATIENCE, self.apns.recorder().wait(query)).await.context("no push reached the phone")?;
        Ok(entry.push)
    }

    /// The management shell of one of the two, on its socket: `contoso` or `publisher`.
    pub fn shell(&self, server: &str) -> Result<Shell> {
        let socket = self.dir.0.join(server).join("admin").join("reveille.sock");
        Ok(Shell { remote: Remote::new(Address::Socket(socket), None)?, session: Session::new() })
    }

    /// Stops everything, gracefully.
    pub async fn stop(mut self) -> Result<()> {
        let in_time = self.contoso.stop().await & self.publisher.stop().await;
        self.apns.shutdown().await;
        if !in_time {
            bail!("not everything stopped in time; its files were in {}", self.dir.0.display());
        }
        Ok(())
    }
}

/// An administrator at the management shell.
pub struct Shell {
    remote: Remote,
    session: Session,
}

impl Shell {
    /// Runs a line; answers what it gives as JSON. An error is one here too.
    pub async fn json(&mut self, line: &str) -> Result<serde_json::Value> {
        let said = self.run(&format!("ConvertTo-Json -InputObject @({line}) -Depth 5")).await?;
        serde_json::from_str(&said).with_context(|| format!("{line} gave {said}"))
    }

    /// Runs a line; answers what it has printed. An error is one here too.
    pub async fn run(&mut self, line: &str) -> Result<String> {
        let mut paper = Paper::default();
        let ended = self.session.run(line, &self.remote, &mut paper).await;
        match ended.status {
            0 => Ok(paper.out),
            status => bail!("{line} ended with {status}: {}", paper.said),
        }
    }
}

/// A terminal that nobody sits at.
#[derive(Default)]
struct Paper {
    out: String,
    said: String,
}

impl Terminal for Paper {
    fn out(&mut self, text: &str) {
        self.out += text;
    }

    fn say(&mut self, text: &str) {
        self.said += text;
    }

    fn ask(&mut self, _prompt: &str) -> Option<String> {
        None
    }

    fn ask_secret(&mut self, _prompt: &str) -> Option<Secret> {
        None
    }

    fn now(&self) -> Timestamp {
        SystemClock.now()
    }
}

fn at(net: [u8; 2], host: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(127, net[0], net[1], host), port).into()
}

/// Four loopback addresses that nobody uses: edges have port 5061 by custom, and partners know no other.
fn free_net() -> Result<[u8; 2]> {
    for _ in 0..100 {
        let net = [rand::random_range(16..250), rand::random_range(1..250)];
        if (1..=4).all(|host| TcpListener::bind(at(net, host, 5061)).is_ok()) {
            return Ok(net);
        }
    }
    bail!("no free loopback addresses were found")
}

/// A temporary folder, gone with the world.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("reveille-world-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn read(&self, file: &str) -> Result<String> {
        std::fs::read_to_string(self.0.join(file)).with_context(|| format!("{file} cannot be read"))
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        std::fs::write(self.0.join(file), text).with_context(|| format!("{file} cannot be written"))
    }

    async fn server(&self, name: &str, toml: &str) -> Result<Server> {
        let file = format!("{name}.toml");
        self.write(&file, toml)?;
        let raw = config::read(&self.0.join(file))?;
        Server::start(&raw).await.with_context(|| name.to_owned())
    }

    async fn settings(&self, server: &Server, file: &str, json: &str) -> Result<u64> {
        self.write(file, json)?;
        let path: &Path = &self.0.join(file);
        Ok(settings_file::put(server.settings(), settings_file::read(path)?, "tester").await?)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
