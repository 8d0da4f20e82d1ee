//! Certificates, roots and revocation lists that change while an edge serves: what is open goes on, what is new uses
//! them, what was taken back is closed, and what is broken changes nothing and is named.

#![allow(clippy::disallowed_methods, reason = "the test issues certificates by the wall clock, as authorities do")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail, ensure};
use reveille_sim::certs::{Ca, Identity as Issued, Leaf};
use reveille_sim::phone::{RawError, RawSip};
use reveille_sip_net::{Identity, TlsClient, TrustRoots};
use serde_json::Value;
use tokio::task::block_in_place;

use support::{Folder, Process, http, json, reveille, until};

const DAY: Duration = Duration::from_secs(86_400);
const PROMPT: Duration = Duration::from_secs(5);
const EDGE: &str = "edge.contoso.com";

/// An edge as a process, with the authority that everybody trusts.
struct Scene {
    folder: Folder,
    ca: Ca,
    process: Process,
    external: SocketAddr,
    ops: String,
}

impl Scene {
    /// `days`: how long the edge's certificate lasts. `more`: lines for its table `[edge.tls]`.
    fn start(name: &str, days: u32, more: &str) -> Result<Self> {
        let (folder, ca) = (Folder::new(name)?, Ca::new("Reload test authority")?);
        folder.write("ca.pem", &ca.pem())?;
        folder.write("ca.crl", &ca.revocation_list(&[], SystemTime::now() + 30 * DAY)?)?;
        show(&folder, &edge_certificate(&ca, days)?)?;
        let at = |host, port| SocketAddr::from((Ipv4Addr::new(127, net(), net(), host), port));
        let (external, internal, ops) = (at(1, 5061), at(2, 5070), at(3, 9090));
        let config = format!(
            "[store]\ndir = \"store\"\n[ops]\nlisten = \"{ops}\"\n\
             [edge]\nname = \"{EDGE}\"\nexternal = \"{external}\"\ninternal = \"{internal}\"\n\
             inside = [\"home.contoso.com\"]\n\
             domains = [{{ domain = \"contoso.com\", name = \"home.contoso.com\", address = \"{internal}\" }}]\n\
             [edge.tls]\ncertificate = \"edge.pem\"\nkey = \"edge.key\"\nroots = \"ca.pem\"\n\
             revocation_lists = [\"ca.crl\"]\n{more}\n"
        );
        let config = folder.write("edge.toml", &config)?;
        let mut command = reveille();
        command.arg("serve").arg("-c").arg(config);
        let mut process = Process::start(command)?;
        process.until("it serves", |said| said.contains("started").then_some(()))?;
        Ok(Self { folder, ca, process, external, ops: format!("http://{ops}") })
    }

    fn partner(&self, domain: &'static str) -> Result<Issued> {
        Ok(self.ca.issue(Leaf::new(domain, &[domain]))?)
    }

    async fn connect(&self, identity: &Issued) -> Result<RawSip, RawError> {
        let roots = TrustRoots::from_pem(self.ca.pem().as_bytes()).expect("our own authority");
        let identity = Identity::from_pem(identity.chain_pem().as_bytes(), identity.key_pem().as_bytes());
        RawSip::tls(self.external, &TlsClient::new(Some(&identity.expect("our own identity")), &roots), EDGE).await
    }

    /// The certificate that the edge shows to a new connection.
    async fn shown(&self, identity: &Issued) -> Result<String> {
        let link = self.connect(identity).await?;
        Ok(link.peer().context("a certificate")?.sha256_fingerprint.clone())
    }

    fn status(&self) -> Result<Value> {
        block_in_place(|| json(&format!("{}/status", self.ops)))
    }

    fn hang_up(&self) -> Result<()> {
        Ok(rustix::process::kill_process(self.process.pid(), rustix::process::Signal::HUP)?)
    }

    fn end(mut self) -> Result<()> {
        let status = self.process.terminate()?;
        ensure!(status.success(), "it ended with {status}: {}", self.process.said());
        self.folder.remove()
    }
}

/// A part of an address on loopback that is hardly anybody else's.
fn net() -> u8 {
    rand::random_range(16..250)
}

fn edge_certificate(ca: &Ca, days: u32) -> Result<Issued> {
    let names = [EDGE, "contoso.com"];
    Ok(ca.issue(Leaf { not_after: SystemTime::now() + days * DAY, ..Leaf::new(EDGE, &names) })?)
}

/// Puts the edge's certificate and key into place, one after the other as people do.
fn show(folder: &Folder, identity: &Issued) -> Result<()> {
    folder.write("edge.pem", &identity.chain_pem())?;
    folder.write("edge.key", &identity.key_pem())?;
    Ok(())
}

fn fingerprint(identity: &Issued) -> Result<String> {
    let read = Identity::from_pem(identity.chain_pem().as_bytes(), identity.key_pem().as_bytes())?;
    Ok(read.certificate().sha256_fingerprint.clone())
}

/// A partner's way to see whether the edge lives.
fn options() -> String {
    format!(
        "OPTIONS sip:{EDGE} SIP/2.0\r\nVia: SIP/2.0/TLS fabrikam.com;branch=z9hG4bK{:016x}\r\nMax-Forwards: 70\r\n\
         From: <sip:fabrikam.com>;tag=1\r\nTo: <sip:{EDGE}>\r\nCall-ID: {:016x}\r\nCSeq: 1 OPTIONS\r\n\
         Content-Length: 0\r\n\r\n",
        rand::random::<u64>(),
        rand::random::<u64>()
    )
}

async fn is_served(link: &mut RawSip) -> Result<()> {
    let answer = link.send_and_wait(options(), PROMPT).await?;
    ensure!(answer.status() == Some(200), "{:?}", answer.status());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_replaced_is_used_by_itself_and_open_connections_go_on() -> Result<()> {
    let scene = Scene::start("reload-files", 90, "")?;
    let partner = scene.partner("fabrikam.com")?;
    let mut open = scene.connect(&partner).await?;
    is_served(&mut open).await?;

    let next = edge_certificate(&scene.ca, 60)?;
    show(&scene.folder, &next)?;
    let wanted = fingerprint(&next)?;
    let end = tokio::time::Instant::now() + support::STEP;
    while scene.shown(&partner).await? != wanted {
        ensure!(tokio::time::Instant::now() < end, "the new certificate is not used: {}", scene.process.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    is_served(&mut open).await.context("the connection that was open")?;
    let ours = &scene.status()?["certificates"]["ours"];
    let own = ours.as_array().and_then(|all| all.iter().find(|one| one["which"] == "own"));
    let own = own.with_context(|| format!("{ours}"))?;
    ensure!(own["sha256"] == wanted.as_str() && own["days_left"] == 59 && own["key"] == "edge.tls", "{own}");
    let (_, metrics) = block_in_place(|| http(&format!("{}/metrics", scene.ops), None))?;
    let gauge = "reveille_certificate_expires_seconds{role=\"edge\",which=\"own\",subject=\"CN=edge.contoso.com\"} ";
    let left: i64 = metrics.lines().find_map(|line| line.strip_prefix(gauge)).context("the gauge")?.parse()?;
    ensure!((59 * 86_400..=60 * 86_400).contains(&left), "{left} s");
    ensure!(metrics.contains("which=\"peer\",subject=\"CN=fabrikam.com\""), "{metrics}");
    drop(open);
    block_in_place(|| scene.end())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_revoked_is_closed_at_the_reload_and_refused_with_everything_that_tells_it() -> Result<()> {
    let scene = Scene::start("reload-revoked", 90, "")?;
    let (bad, good) = (scene.partner("fabrikam.com")?, scene.partner("northwind.com")?);
    let (mut first, mut second) = (scene.connect(&bad).await?, scene.connect(&good).await?);
    is_served(&mut first).await?;
    is_served(&mut second).await?;

    scene.folder.write("ca.crl", &scene.ca.revocation_list(&[&bad], SystemTime::now() + 30 * DAY)?)?;
    scene.hang_up()?;

    match first.next(support::STEP).await {
        Err(RawError::Closed) => {}
        other => bail!("the connection of the revoked is not closed in order: {other:?}"),
    }
    is_served(&mut second).await.context("the connection of somebody else")?;
    // With TLS 1.3 the refusal comes after the handshake.
    if let Ok(mut link) = scene.connect(&bad).await {
        ensure!(is_served(&mut link).await.is_err(), "the revoked is served");
    }
    let sha256 = fingerprint(&bad)?;
    let refused = block_in_place(|| {
        until("the refusal is shown", || {
            let status = json(&format!("{}/status", scene.ops))?;
            let refusals = status["edge"]["refusals"].as_array().cloned().unwrap_or_default();
            Ok(refusals.into_iter().find(|refused| refused["reason"] == "revoked"))
        })
    })?;
    ensure!(refused["refused_by"] == "us", "{refused}");
    let certificate = &refused["certificate"];
    ensure!(certificate["sha256"] == sha256.as_str() && certificate["subject"] == "CN=fabrikam.com", "{refused}");
    ensure!(certificate["issuer"] == "CN=Reload test authority", "{refused}");
    ensure!(["serial", "not_before", "not_after"].iter().all(|key| certificate[*key].is_string()), "{refused}");
    let said = scene.process.said();
    ensure!(said.contains("connections are closed: the certificate of CN=fabrikam.com with serial number"), "{said}");
    let line = said.lines().find(|line| line.contains("TLS handshake refused: ")).context("a line of the log")?;
    for part in ["revoked", "certificate.sha256", &sha256, "certificate.issuer", "refused_by", "certificate.not_after"]
    {
        ensure!(line.contains(part), "{part} is not in {line}");
    }
    let lists = &scene.status()?["certificates"]["revocation_lists"];
    ensure!(lists[0]["entries"] == 1 && lists[0]["has_run_out"] == false, "{lists}");
    drop((first, second));
    block_in_place(|| scene.end())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_changes_nothing_and_is_named_with_its_key_until_it_is_mended() -> Result<()> {
    let scene = Scene::start("reload-broken", 90, "")?;
    let partner = scene.partner("fabrikam.com")?;
    let before = scene.shown(&partner).await?;
    let right = std::fs::read_to_string(scene.folder.path().join("edge.key"))?;
    let another = edge_certificate(&scene.ca, 90)?;
    for (file, content, key, sentence) in [
        ("edge.key", "garbage", "edge.tls.key", "there is no private key in "),
        ("edge.key", &*another.key_pem(), "edge.tls.key", "does not belong to the certificate of CN=edge.contoso.com"),
        ("ca.crl", "garbage", "edge.tls.revocation_lists", "there is no revocation list in "),
        ("ca.pem", "garbage", "edge.tls.roots", "there is no certificate in "),
    ] {
        let was = std::fs::read_to_string(scene.folder.path().join(file))?;
        scene.folder.write(file, content)?;
        scene.hang_up()?;
        let faults = |wanted: &str, is_there: bool| {
            block_in_place(|| {
                until(wanted, || {
                    let status = json(&format!("{}/status", scene.ops))?;
                    let faults = status["certificates"]["not_read"].as_array().cloned().unwrap_or_default();
                    Ok((faults.is_empty() != is_there).then_some(faults))
                })
            })
        };
        let told = faults("the fault is shown", true)?;
        ensure!(told[0]["key"] == key && told[0]["sentence"].to_string().contains(sentence), "{file}: {told:?}");
        // The log is written after the status is set.
        let line = format!("the old certificates stay in use: {key}: ");
        block_in_place(|| {
            until("the fault is in the log", || {
                let said = scene.process.said();
                Ok(said.lines().any(|said| said.contains(&line) && said.contains(sentence)).then_some(()))
            })
        })
        .with_context(|| file)?;
        ensure!(scene.shown(&partner).await? == before, "{file}: another certificate is shown");
        scene.folder.write(file, &was)?;
        // It is found without a signal.
        faults("the fault is mended", false)?;
    }
    ensure!(std::fs::read_to_string(scene.folder.path().join("edge.key"))? == right, "the files are as they were");
    block_in_place(|| scene.end())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_soon_is_said_ahead_once() -> Result<()> {
    let scene = Scene::start("reload-ends", 5, "when_lists_run_out = \"refuse\"")?;
    let own = "the certificate of CN=edge.contoso.com ends within 7 days, on ";
    let until_said =
        |what: &str| block_in_place(|| until(what, || Ok(scene.process.said().contains(what).then_some(()))));
    until_said(own)?;
    let names = ["fabrikam.com"];
    let short = Leaf { not_after: SystemTime::now() + DAY / 2, ..Leaf::new("fabrikam.com", &names) };
    let mut link = scene.connect(&scene.ca.issue(short)?).await?;
    is_served(&mut link).await?;
    scene.hang_up()?;
    until_said("the certificate of CN=fabrikam.com ends within a day, on ")?;
    // A list that has run out, for whoever it speaks for.
    scene.folder.write("ca.crl", &scene.ca.revocation_list(&[], SystemTime::now() - DAY / 2)?)?;
    scene.hang_up()?;
    until_said("the revocation list of CN=Reload test authority has run out: its next one was due on ")?;
    is_served(&mut link).await.context("what is open goes on")?;
    if let Ok(mut link) = scene.connect(&scene.partner("northwind.com")?).await {
        ensure!(is_served(&mut link).await.is_err(), "a certificate of which nobody knows whether it still counts");
    }
    until_said("TLS handshake refused: the revocation list for CN=Reload test authority ran out on ")?;
    let said = scene.process.said();
    ensure!(said.matches(own).count() == 1, "it is said more than once: {said}");
    drop(link);
    block_in_place(|| scene.end())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_that_is_somebody_elses_is_named_until_it_is_ours_again() -> Result<()> {
    let scene = Scene::start("reload-names", 90, "")?;
    let partner = scene.partner("fabrikam.com")?;
    let trouble = |expected: &str| {
        block_in_place(|| {
            until(expected, || {
                let mut shell = reveille();
                shell.args(["shell", "-f"]).arg(scene.folder.path().join("edge.toml"));
                shell.args(["-c", "Get-CsServiceStatus -Trouble | ForEach-Object { $_.Kind + ' ' + $_.Detail }"]);
                let said = String::from_utf8_lossy(&shell.output()?.stdout).into_owned();
                let files: Vec<_> = said.lines().filter(|line| line.starts_with("file ")).collect();
                Ok(match expected {
                    "" => files.is_empty().then_some(()),
                    expected => (files.len() == 1 && files[0].contains(expected)).then_some(()),
                })
            })
        })
    };
    trouble("")?;
    for (names, sentence) in [
        (
            &["edge.push.example.net", "push.example.net"][..],
            "edge.pem names edge.push.example.net, push.example.net and not edge.contoso.com, contoso.com: whoever \
             expects that name here refuses us",
        ),
        (&[EDGE], "edge.pem names edge.contoso.com and not contoso.com: whoever expects"),
    ] {
        let other = scene.ca.issue(Leaf::new(names[0], names))?;
        show(&scene.folder, &other)?;
        scene.hang_up()?;
        trouble(sentence)?;
        ensure!(scene.shown(&partner).await.is_err() || names.contains(&EDGE), "our test would have noticed, too");
        let said = scene.process.said();
        ensure!(said.lines().any(|line| line.contains("WARN") && line.contains(sentence)), "{said}");
    }
    show(&scene.folder, &edge_certificate(&scene.ca, 90)?)?;
    trouble("")?;
    block_in_place(|| scene.end())
}
