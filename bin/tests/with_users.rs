//! Tests that sign in as users, on a real process with coturn behind its edge: they succeed, leave no trace, and each way
//! in which the road breaks is told apart and mended by what the test itself says.
//!
//! With `REVEILLE_SHOW=1` the table is printed (issue 4, must show b).

#[allow(dead_code, reason = "only what speaks to the admin API is used here")]
#[path = "diagnose/scene.rs"]
mod scene;
mod support;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reveille_sim::certs::{Ca, Leaf};
use reveille_sim::phone::{Phone, PhoneOptions};
use serde_json::{Value, json};

use support::{Folder, Process, http, reveille, until};

/// A home with its edge, and coturn if it runs.
struct Scene {
    folder: Folder,
    ca: Ca,
    net: String,
    server: Option<Process>,
    coturn: Option<Coturn>,
}

/// coturn, for as long as it is held.
struct Coturn(std::process::Child);

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Scene {
    fn start() -> Result<Self> {
        let (folder, ca) = (Folder::new("with-users")?, Ca::new("Test authority")?);
        let free = |net: &String| {
            [1, 2, 3].into_iter().all(|host| TcpListener::bind(format!("{net}.{host}:5061")).is_ok())
                && UdpSocket::bind(format!("{net}.3:3478")).is_ok()
        };
        let any = || format!("127.{}.{}", rand::random_range(16..250_u8), rand::random_range(1..250_u8));
        let net = std::iter::repeat_with(any).take(100).find(free).context("free loopback addresses")?;
        folder.write("ca.pem", &ca.pem())?;
        folder.write("turn.secret", "north\n")?;
        folder.write(
            "users.toml",
            "[users.kenmyer]\npassword = \"ken-9-stars\"\n[users.bob]\npassword = \"bob-builds\"\n\
             [users.alice]\npassword = \"alice-wonder\"\n",
        )?;
        let mut scene = Self { folder, ca, net, server: None, coturn: None };
        scene.certify_home(&["home.contoso.com", "atl-cs-001.litwareinc.com", "contoso.com"])?;
        scene.certify("edge.contoso.com", &["edge.contoso.com", "contoso.com"])?;
        scene.certify("turn", &["turn.contoso.com"])?;
        scene.configure("turn.contoso.com")?;
        scene.begin()?;
        scene.turn_on(&[])?;
        Ok(scene)
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn certify(&self, file: &str, names: &[&str]) -> Result<()> {
        self.certify_by(&self.ca, file, names)
    }

    fn certify_by(&self, ca: &Ca, file: &str, names: &[&str]) -> Result<()> {
        let identity = ca.issue(Leaf::new(names[0], names))?;
        self.folder.write(&format!("{file}.pem"), &identity.chain_pem())?;
        self.folder.write(&format!("{file}.key"), &identity.key_pem())?;
        Ok(())
    }

    fn certify_home(&self, names: &[&str]) -> Result<()> {
        self.certify("home.contoso.com", names)
    }

    /// The configuration with that TURN server; without one if the name is empty.
    fn configure(&self, turn: &str) -> Result<()> {
        let av = if turn.is_empty() { String::new() } else { AV.replace("{turn}", turn) };
        let dir = self.folder.path().display().to_string();
        let text = CONFIG.replace("{av}", &av).replace("{dir}", &dir).replace("{net}", &self.net);
        self.folder.write("contoso.toml", &text)?;
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let mut command = reveille();
        command.args(["serve", "--ready-fd", "1", "--config"]).arg(self.folder.path().join("contoso.toml"));
        // Whatever somebody wants to know, no secret is told.
        command.env("REVEILLE_LOG", "debug,stun_types=trace,stun_proto=trace,turn_types=trace");
        let mut process = Process::start(command)?;
        process.until("it serves", |said| said.lines().any(|line| line == "ready").then_some(()))?;
        self.server = Some(process);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        let mut process = self.server.take().context("it runs")?;
        let status = process.terminate()?;
        let said = process.said();
        ensure!(status.success() && !said.contains("panicked"), "it ended with {status}:\n{said}");
        for secret in ["north", "ken-9-stars", "password:", "IntegrityKey"] {
            ensure!(!said.contains(secret), "the log has the secret {secret}:\n{said}");
        }
        Ok(())
    }

    /// Starts coturn, and waits until it answers over TCP and UDP.
    fn turn_on(&mut self, more: &[&str]) -> Result<()> {
        let ip = format!("{}.3", self.net);
        self.turn_on_at(&ip, 3478, more)
    }

    fn turn_on_at(&mut self, ip: &str, port: u16, more: &[&str]) -> Result<()> {
        let ip: IpAddr = ip.parse()?;
        let child = Command::new("turnserver")
            .args(["-n", "--use-auth-secret", "--static-auth-secret=north", "--realm=contoso.com", "--no-cli"])
            .args(["--no-dtls", "--log-file=stdout", "--simple-log", "--allow-loopback-peers"])
            .args([format!("--listening-ip={ip}"), format!("--relay-ip={ip}"), format!("--listening-port={port}")])
            .arg("--pidfile=/dev/null")
            .args([format!("--cert={}", self.file("turn.pem")), format!("--pkey={}", self.file("turn.key"))])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("turnserver is installed: apt install coturn")?;
        self.coturn = Some(Coturn(child));
        let at = SocketAddr::new(ip, port);
        until("coturn takes connections", || Ok(TcpStream::connect(at).is_ok().then_some(())))?;
        let any: IpAddr = if ip.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        // A binding request (RFC 8489 §5): it listens when it answers.
        let ask = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
        until("coturn answers datagrams", || {
            socket.send_to(&ask, at)?;
            Ok(socket.recv_from(&mut [0; 256]).is_ok().then_some(()))
        })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("contoso/admin/reveille.sock")
    }

    /// The first object of a cmdlet that must succeed as such.
    fn cmdlet(&self, name: &str, parameters: &Value) -> Result<Value> {
        let outcome = scene::cmdlet(&self.socket(), name, parameters)?;
        let outcome = outcome.map_err(|problem| anyhow::anyhow!("{name}: {problem:#}"))?;
        Ok(outcome["objects"].get(0).cloned().unwrap_or_default())
    }

    fn av_edge(&self, more: Value) -> Result<Value> {
        let mut parameters = json!({
            "TargetFqdn": "atl-cs-001.litwareinc.com", "UserSipAddress": "sip:kenmyer@litwareinc.com", "Detailed": true,
            "UserCredential": {
                "PSTypeName": "PSCredential", "UserName": "litwareinc\\kenmyer", "Password": { "@secret": "ken-9-stars" },
            },
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            parameters[name] = value.clone();
        }
        self.cmdlet("Test-CsAVEdgeConnectivity", &parameters)
    }

    /// The test fails there, with this in its sentence and its remedy.
    fn fails(&self, case: &str, object: &Value, (stage, fault): (&str, &str), words: [&str; 2]) -> Result<()> {
        let text = |name: &str| object[name].as_str().unwrap_or_default();
        ensure!(text("Result") == "Failure", "{case}: {object:#}");
        ensure!((text("FailedStage"), text("Fault")) == (stage, fault), "{case}: {object:#}");
        ensure!(text("Sentence").contains(words[0]), "{case}: {}", text("Sentence"));
        ensure!(text("Remedy").contains(words[1]), "{case}: {}", text("Remedy"));
        if std::env::var_os("REVEILLE_SHOW").is_some() {
            let line = format!("| {case} | {stage} | {fault} | {} | {} |\n", text("Sentence"), text("Remedy"));
            std::io::stderr().write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn succeeds(&self, case: &str) -> Result<()> {
        until(case, || Ok((self.av_edge(json!({}))?["Result"] == "Success").then_some(())))
    }

    fn ops(&self, path: &str) -> Result<Value> {
        let (_, body) = http(&format!("http://{}.1:9090{path}", self.net), None)?;
        Ok(serde_json::from_str(&body)?)
    }
}

#[test]
fn the_av_edge_is_reached_and_each_way_in_which_it_is_not_is_told_apart() -> Result<()> {
    let mut scene = Scene::start()?;
    let found = scene.av_edge(json!({}))?;
    let stages: Vec<&str> =
        found["Stages"].as_array().into_iter().flatten().filter_map(|stage| stage["Stage"].as_str()).collect();
    let road = ["relay-name", "relay-connect", "relay-auth", "allocation", "packet"];
    let home = ["settings", "connect", "their-certificate", "sign-in", "credentials"];
    let whole = [&home[..], &road, &road, &road].concat();
    ensure!(found["Result"] == "Success" && stages == whole, "{found:#}");

    let wrong = json!({ "PSTypeName": "PSCredential", "UserName": "kenmyer", "Password": { "@secret": "guess" } });
    let object = scene.av_edge(json!({ "UserCredential": wrong }))?;
    scene.fails("password wrong", &object, ("sign-in", "configuration"), ["kenmyer@litwareinc.com", "password"])?;
    let object = scene.av_edge(json!({ "TargetFqdn": "pool.fabrikam.com" }))?;
    scene.fails(
        "another home",
        &object,
        ("settings", "configuration"),
        ["pool.fabrikam.com is not this home", "-TargetFqdn home.contoso.com"],
    )?;

    scene.folder.write("turn.secret", "south")?;
    let object = until("the other secret counts", || {
        let object = scene.av_edge(json!({}))?;
        Ok((object["Result"] == "Failure").then_some(object))
    })?;
    scene.fails("TURN secret wrong", &object, ("relay-auth", "configuration"), ["401", "edge.av.secret"])?;
    scene.folder.write("turn.secret", "north")?;
    scene.succeeds("the remedy mends the secret without a restart")?;

    scene.coturn = None;
    let object = scene.av_edge(json!({}))?;
    scene.fails(
        "TURN server down",
        &object,
        ("relay-connect", "ours"),
        ["cannot be reached", "start the TURN server"],
    )?;
    scene.turn_on(&["--denied-peer-ip=127.0.0.0-127.255.255.255"])?;
    let object = scene.av_edge(json!({}))?;
    scene.fails("TURN server relays nothing", &object, ("packet", "ours"), ["forbids", "denied-peer-ip"])?;
    scene.coturn = None;
    scene.turn_on(&[])?;
    scene.succeeds("the remedy mends the TURN server")?;

    turns_certificate(&mut scene)?;

    for (case, turn, stage, words) in [
        ("TURN name unknown", "turn.nowhere.invalid", "relay-name", ["turn.nowhere.invalid has no address", "publish"]),
        ("no A/V edge", "", "credentials", ["no A/V edge", "[edge.av]"]),
    ] {
        scene.end()?;
        scene.configure(turn)?;
        scene.begin()?;
        let object = scene.av_edge(json!({}))?;
        scene.fails(case, &object, (stage, "configuration"), words)?;
    }
    scene.end()?;
    scene.configure("turn.contoso.com")?;
    scene.certify_home(&["home.contoso.com", "contoso.com"])?;
    scene.begin()?;
    let object = scene.av_edge(json!({}))?;
    let words = ["atl-cs-001.litwareinc.com", "home.tls"];
    scene.fails("home's certificate lacks the name", &object, ("their-certificate", "configuration"), words)?;
    scene.end()?;
    scene.folder.remove()
}

/// What clients meet who speak TLS with the TURN server, whose certificate is read when it starts.
fn turns_certificate(scene: &mut Scene) -> Result<()> {
    let again = |scene: &mut Scene, more: &[&str]| {
        scene.coturn = None;
        scene.turn_on(more)
    };
    scene.certify("turn", &["turn.fabrikam.com"])?;
    again(scene, &[])?;
    let words = ["names turn.fabrikam.com, not turn.contoso.com", "a certificate that names turn.contoso.com"];
    scene.fails(
        "TURN certificate names another",
        &scene.av_edge(json!({}))?,
        ("relay-connect", "configuration"),
        words,
    )?;
    let other = Ca::new("Another authority")?;
    scene.certify_by(&other, "turn", &["turn.contoso.com"])?;
    again(scene, &[])?;
    let object = scene.av_edge(json!({}))?;
    let words = ["issued by CN=Another authority", "home.tls.roots"];
    scene.fails(
        "TURN certificate from an authority unknown here",
        &object,
        ("relay-connect", "configuration"),
        words,
    )?;
    // The remedy: clients trust it, so home shall.
    scene.folder.write("ca.pem", &(scene.ca.pem() + &other.pem()))?;
    scene.succeeds("the remedy mends the trust without a restart")?;
    scene.certify("turn", &["*.contoso.com"])?;
    again(scene, &["--no-tls"])?;
    let object = scene.av_edge(json!({}))?;
    let words = ["turn.contoso.com:5349 over TLS cannot be reached", "start the TURN server"];
    scene.fails("TURN server without TLS", &object, ("relay-connect", "ours"), words)?;
    again(scene, &[])?;
    scene.succeeds("a wildcard names a TURN server")
}

#[test]
fn the_av_edge_is_reached_where_there_is_nothing_but_ipv6() -> Result<()> {
    let mut scene = Scene::start()?;
    scene.coturn = None;
    let port = TcpListener::bind("[::1]:0")?.local_addr()?.port();
    scene.end()?;
    let text = std::fs::read_to_string(scene.file("contoso.toml"))?;
    let turn = format!("\"turn.contoso.com\" = [\"{}.3\"]", scene.net);
    ensure!(text.contains(&turn) && text.contains("udp = 3478\ntcp = 3478\ntls = 5349"), "{text}");
    let text = text.replace(&turn, "\"turn.contoso.com\" = [\"::1\"]");
    let text = text.replace("udp = 3478\ntcp = 3478\ntls = 5349", &format!("udp = {port}\ntcp = {port}"));
    scene.folder.write("contoso.toml", &text)?;
    scene.begin()?;
    scene.turn_on_at("::1", port, &["--no-tls"])?;
    let found = scene.av_edge(json!({}))?;
    ensure!(found["Result"] == "Success", "{found:#}");
    let hint = found["Hints"][0].as_str().unwrap_or_default();
    ensure!(hint.contains("has addresses of IPv6 only"), "{found:#}");
    scene.end()?;
    scene.folder.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_tests_reach_their_users_and_no_device_presence_or_mailbox_of_them() -> Result<()> {
    let mut scene = Scene::start()?;
    let bob = Phone::new(PhoneOptions {
        user: "bob".into(),
        domain: "litwareinc.com".into(),
        password: "bob-builds".into(),
        registrar: format!("{}.1:5060", scene.net).parse()?,
        tls: None,
        instance: "urn:uuid:00000000-0000-4000-8000-00000000000b".into(),
        push: None,
        user_agent: "Bob's own phone".into(),
    });
    bob.sign_in().await.context("bob signs in under the second domain")?;
    let before = scene.ops("/status/users/bob")?;
    ensure!(before["devices"].as_array().is_some_and(|devices| devices.len() == 1), "{before:#}");

    let pair = json!({
        "TargetFqdn": "home.contoso.com", "Authentication": "TrustedServer",
        "SenderSipAddress": "sip:kenmyer@litwareinc.com", "ReceiverSipAddress": "sip:bob@contoso.com",
    });
    let object = scene.cmdlet("Test-CsMcxP2PIM", &pair)?;
    let shown: Vec<&String> = object.as_object().into_iter().flat_map(|object| object.keys()).collect();
    ensure!(object["Result"] == "Success", "{object:#}");
    ensure!(object["TargetUri"] == "https://home.contoso.com:443/mcx", "{object:#}");
    ensure!(shown.len() == 7, "the documents' properties and the type: {shown:?}");
    let group = json!({
        "TargetFqdn": "home.contoso.com", "OrganizerSipAddress": "sip:alice@contoso.com",
        "UserSipAddress": "sip:bob@litwareinc.com", "User2SipAddress": "sip:kenmyer@contoso.com",
    });
    let object = scene.cmdlet("Test-CsMcxConference", &group)?;
    ensure!(object["Result"] == "Success", "{object:#}");

    let object = scene.cmdlet("Test-CsMcxP2PIM", &json!({ "TargetFqdn": "home.contoso.com", "Detailed": true }))?;
    let words = ["users", "New-CsHealthMonitoringConfiguration"];
    scene.fails("no test users", &object, ("settings", "configuration"), words)?;
    let kept = json!({
        "Identity": "home.contoso.com", "FirstTestUserSipUri": "sip:alice@contoso.com",
        "SecondTestUserSipUri": "sip:bob@contoso.com",
    });
    scene.cmdlet("New-CsHealthMonitoringConfiguration", &kept)?;
    let target = json!({ "TargetFqdn": "home.contoso.com", "Detailed": true });
    let object = scene.cmdlet("Test-CsMcxP2PIM", &target)?;
    ensure!(object["Result"] == "Success", "{object:#}");
    scene.cmdlet("Set-CsMobilityPolicy", &json!({ "Identity": "Global", "EnableMobility": false }))?;
    let object = scene.cmdlet("Test-CsMcxP2PIM", &target)?;
    let words = ["alice@contoso.com", "-EnableMobility $True"];
    scene.fails("mobility off", &object, ("settings", "configuration"), words)?;

    ensure!(bob.received().is_empty(), "a test has reached bob's own phone: {:?}", bob.received());
    let after = scene.ops("/status/users/bob")?;
    ensure!(before == after, "tests leave no trace: {before:#} {after:#}");
    // And what is meant for users goes to them, as before.
    let answered = bob.send("alice@litwareinc.com", "a real word").await?;
    ensure!(answered == 202, "real messages are kept as before: {answered}");
    let alice = scene.ops("/status/users/alice")?;
    ensure!(alice["unread"] == 1, "{alice:#}");
    scene.end()?;
    scene.folder.remove()
}

const AV: &str = r#"
[edge.av]
secret = "{dir}/turn.secret"
[[edge.av.servers]]
host = "{turn}"
udp = 3478
tcp = 3478
tls = 5349
"#;

const CONFIG: &str = r#"
[store]
dir = "{dir}/contoso"
[ops]
listen = "{net}.1:9090"
[resolver.hosts]
"home.contoso.com" = ["{net}.1"]
"atl-cs-001.litwareinc.com" = ["{net}.1"]
"turn.contoso.com" = ["{net}.3"]
[home]
domain = "contoso.com"
also_domains = ["litwareinc.com"]
name = "home.contoso.com"
also_named = ["atl-cs-001.litwareinc.com"]
sip_tcp = "{net}.1:5060"
sip_tls = "{net}.1:5061"
internal = "{net}.1:5070"
users = "{dir}/users.toml"
[home.tls]
certificate = "{dir}/home.contoso.com.pem"
key = "{dir}/home.contoso.com.key"
roots = "{dir}/ca.pem"
[home.edge]
name = "edge.contoso.com"
address = "{net}.2:5070"
[edge]
name = "edge.contoso.com"
external = "{net}.2:5061"
internal = "{net}.2:5070"
inside = ["home.contoso.com"]
[edge.tls]
certificate = "{dir}/edge.contoso.com.pem"
key = "{dir}/edge.contoso.com.key"
roots = "{dir}/ca.pem"
{av}
[[edge.domains]]
domain = "contoso.com"
name = "home.contoso.com"
address = "{net}.1:5070"
[[edge.domains]]
domain = "litwareinc.com"
name = "home.contoso.com"
address = "{net}.1:5070"
"#;
