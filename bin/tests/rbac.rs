//! Who may do what, on a running server: over its socket, over TLS, and from the shell; and how soon what they do is
//! known to the edge that it is about.

#![allow(clippy::disallowed_methods, reason = "the test issues certificates by the wall clock, as authorities do")]

#[path = "rbac/scene.rs"]
mod scene;
#[path = "rbac/stops.rs"]
mod stops;
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use reveille_admin::cmdlet::{About, Pipeline};
use reveille_admin::cmdlets::CMDLETS;
use reveille_admin::roles::{PREDEFINED, Rights};
use reveille_admin::{Kind, Object, Secret};
use reveille_sim::certs::{Identity as Issued, Leaf};
use reveille_sim::phone::RawSip;
use reveille_sip_net::{Identity, TlsClient, TrustRoots};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use scene::{EDGE, Scene, ok};
use support::reveille;

/// A line that runs a cmdlet with whatever it cannot do without, and changes nothing; none where that cannot be typed.
fn line(about: &About) -> Option<String> {
    let sets: &[&str] = if about.sets.is_empty() { &[""] } else { about.sets };
    let arguments = sets.iter().find_map(|set| {
        let needed = about.parameters.iter().filter(|it| it.required && it.is_in(set));
        let typed = needed.map(|it| Some(format!(" -{} {}", it.name, sample(&it.kind)?)));
        typed.collect::<Option<String>>()
    })?;
    // What takes objects from the pipeline and has no mandatory parameter at all waits for none here.
    let fed = about.parameters.iter().all(|it| it.pipeline == Pipeline::No) || !arguments.is_empty() || !about.asks;
    let what_if = if about.changes { " -WhatIf" } else { "" };
    fed.then(|| format!("{}{arguments}{what_if}\n", about.name))
}

fn sample(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Bool => "$False".into(),
        Kind::Choice(words) => (*words.first()?).into(),
        Kind::Domain => "a.example".into(),
        Kind::Int { min, .. } => min.to_string(),
        Kind::List(of) | Kind::Modifier(of) => sample(of)?,
        Kind::PolicyScope | Kind::Scope => "site:Redmond".into(),
        Kind::SipAddress | Kind::SipUri | Kind::User => "sip:alice@contoso.com".into(),
        Kind::Text | Kind::Variable => "x".into(),
        Kind::Credential | Kind::Instance(_) | Kind::Secret | Kind::Switch | Kind::Table | Kind::WebLink => {
            return None;
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_shell_elsewhere_each_role_runs_what_it_has_and_nothing_else() -> Result<()> {
    let scene = Scene::start("rbac-shell", None, None, "")?;
    let local = scene.local()?;
    for (name, template, scope, value) in [
        ("RedmondAdministrator", "CsAdministrator", "ConfigScopes", "site:Redmond"),
        ("ContosoHelp", "CsUserAdministrator", "UserScopes", "domain:contoso.com"),
    ] {
        let role = Object::default().with("Identity", name).with("Template", template).with(scope, vec![value]);
        ok(local.run("New-CsAdminRole", &role).await)?;
    }
    let lines: Vec<(String, String)> =
        CMDLETS.iter().filter_map(|it| Some((it.about().name.to_string(), line(it.about())?))).collect();
    ensure!(lines.len() * 10 > CMDLETS.len() * 9, "only {} of {} could be typed", lines.len(), CMDLETS.len());
    let script: String = lines.iter().map(|(_, line)| line.as_str()).collect();
    let settings = reveille_store::SqliteSettings::open(&scene.folder.path().join("store").join("settings.db"))?;
    let snapshot = reveille_store::Settings::snapshot(&settings);
    let version = snapshot.version();
    for role in PREDEFINED.iter().map(|role| role.name).chain(["RedmondAdministrator", "ContosoHelp"]) {
        let name = role.to_ascii_lowercase();
        let token = scene.account(&format!("a-{name}"), &[role]).await?;
        let said = tokio::task::block_in_place(|| scene.shell(&token, &script))?;
        let rights = Rights::of_roles([role], &snapshot);
        let refused: BTreeSet<&str> = lines
            .iter()
            .map(|(cmdlet, _)| cmdlet.as_str())
            .filter(|cmdlet| {
                said.contains(&format!("may not run {cmdlet}:")) || said.contains(&format!("may not run {cmdlet}\n"))
            })
            .collect();
        let expected: BTreeSet<&str> = CMDLETS
            .iter()
            .map(|it| it.about().name)
            .filter(|name| !rights.has(*name))
            .filter_map(|name| lines.iter().find(|(known, _)| *known == name.to_string()))
            .map(|(cmdlet, _)| cmdlet.as_str())
            .collect();
        let differs: Vec<_> = refused.symmetric_difference(&expected).collect();
        ensure!(differs.is_empty(), "{role}: {differs:?}; the shell said:\n{said}");
    }
    let after = reveille_store::Settings::fresh(&settings)?;
    ensure!(after.version() == version, "the settings were changed");
    settings.close();
    scene.end()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_from_elsewhere_has_a_password_a_token_or_a_certificate() -> Result<()> {
    let scene = Scene::start("rbac-remote", None, None, "")?;
    let token = scene.account("ann", &["CsHelpDesk"]).await?;
    let get = Object::default();
    let with_token = scene.remote()?.with_token(token);
    ok(with_token.run("Get-CsAdminRole", &get).await)?;
    let refused = with_token.run("Get-CsAdminAudit", &get).await.err().context("it may not")?;
    ensure!(&*refused.id == "CmdletNotInRole", "{}: {}", refused.id, refused.message);
    let session = scene.remote()?;
    ensure!(session.sign_in("ann", &Secret::new("wrong horse battery")).await.is_err(), "a wrong password let in");
    session.sign_in("ann", &Secret::new("correct horse battery")).await?;
    ok(session.run("Get-CsAdminRole", &get).await)?;
    // What is taken away is gone with the next call.
    let local = scene.local()?;
    let off = Object::default().with("Identity", "ann").with("Enabled", false);
    ok(local.run("Set-CsAdminAccount", &off).await)?;
    ensure!(session.run("Get-CsAdminRole", &get).await.is_err(), "the session outlived its account");
    ensure!(with_token.run("Get-CsAdminRole", &get).await.is_err(), "the token outlived its account");
    ok(local.run("Set-CsAdminAccount", &Object::default().with("Identity", "ann").with("Enabled", true)).await)?;
    ok(with_token.run("Get-CsAdminRole", &get).await)?;
    // A certificate stands for the account that names its fingerprint, and for nobody else.
    let (known, other) =
        (scene.ca.issue(Leaf::new("ann", &["ann.example"]))?, scene.ca.issue(Leaf::new("ann", &["ann.example"]))?);
    let thumbprint = identity(&known)?.certificate().sha256_fingerprint.clone();
    let named = Object::default().with("Identity", "ann").with("CertificateThumbprint", thumbprint);
    ok(local.run("Set-CsAdminAccount", &named).await)?;
    for (issued, expected) in [(&known, "200 OK"), (&other, "401 Unauthorized")] {
        let answer = by_certificate(&scene, issued).await?;
        ensure!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{expected} was expected: {answer}");
    }
    // The server's own certificate is replaced while it runs.
    let fresh = scene.ca.issue(Leaf::new("localhost", &["localhost"]))?;
    scene.folder.write("admin.pem", &fresh.chain_pem())?;
    scene.folder.write("admin.key", &fresh.key_pem())?;
    rustix::process::kill_process(scene.process.pid(), rustix::process::Signal::HUP)?;
    let (expected, told) = (identity(&fresh)?.certificate().sha256_fingerprint.clone(), Instant::now());
    while shown(&scene).await? != expected {
        ensure!(told.elapsed() < Duration::from_secs(5), "the old certificate is still shown");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ok(with_token.run("Get-CsAdminRole", &get).await)?;
    scene.end()
}

/// The fingerprint of the certificate that a new connection is shown.
async fn shown(scene: &Scene) -> Result<String> {
    let client = TlsClient::new(None, &TrustRoots::from_pem(scene.ca.pem().as_bytes())?);
    let (_, peer) = client.connect(TcpStream::connect(scene.admin).await?, "localhost").await?;
    Ok(peer.sha256_fingerprint.clone())
}

fn identity(issued: &Issued) -> Result<Identity> {
    Ok(Identity::from_pem(issued.chain_pem().as_bytes(), issued.key_pem().as_bytes())?)
}

/// `GET /admin/v1/me` with a client certificate.
async fn by_certificate(scene: &Scene, issued: &Issued) -> Result<String> {
    let roots = TrustRoots::from_pem(scene.ca.pem().as_bytes())?;
    let client = TlsClient::new(Some(&identity(issued)?), &roots);
    let stream = TcpStream::connect(scene.admin).await?;
    let (mut stream, _) = client.connect(stream, "localhost").await?;
    stream.write_all(b"GET /admin/v1/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await?;
    // Some end without TLS's own goodbye; what they said counts.
    if let Err(error) = read
        && answer.is_empty()
    {
        bail!("no answer: {error}");
    }
    Ok(answer)
}

/// Runs the shell as another user of this machine: what it said, and its exit status.
fn as_user(user: u32, group: u32, socket: &Path, line: &str) -> Result<(Option<i32>, String)> {
    let binary = reveille().get_program().to_owned();
    let output = Command::new("setpriv")
        .args([format!("--reuid={user}"), format!("--regid={group}"), "--clear-groups".into()])
        .arg(binary)
        .args(["shell".as_ref(), "--socket".as_ref(), socket.as_os_str(), "-c".as_ref(), line.as_ref()])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    Ok((output.status.code(), said))
}

#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
#[tokio::test(flavor = "multi_thread")]
async fn on_this_machine_the_system_says_who_somebody_is_and_his_groups_what_he_may() -> Result<()> {
    let nobody_is_known = std::fs::read_to_string("/etc/passwd")?.contains("nobody:x:65534:65534:")
        && std::fs::read_to_string("/etc/group")?.contains("nogroup:x:65534:");
    let setpriv = Command::new("setpriv").arg("--version").output().is_ok_and(|it| it.status.success());
    if !rustix::process::geteuid().is_root() || !nobody_is_known || !setpriv {
        ensure!(std::env::var("REVEILLE_PARTNERS").as_deref() != Ok("required"), "this needs root, nobody and setpriv");
        eprintln!("skipped: this needs root, the user nobody, and setpriv");
        return Ok(());
    }
    let more = "socket_group = \"nogroup\"\n[admin.groups]\nrtcuniversalreadonlyadmins = [\"nogroup\"]\n";
    let open = Scene::start("rbac-group", None, None, more)?;
    let closed = Scene::start("rbac-own", None, None, "")?;
    let (read, write) = ("(Get-CsAdminRole -Identity CsHelpDesk).Identity", "New-CsAllowedDomain evil.example");
    for (why, scene, user, group, line, code, part) in [
        ("a member of the group looks", &open, 65534, 65534, read, 0, "CsHelpDesk"),
        ("and may not more", &open, 65534, 65534, write, 1, "may not run New-CsAllowedDomain"),
        ("who only runs under the group is not a member", &open, 12_345, 65534, read, 1, "no role is held"),
        ("another is not let in at all", &open, 12_345, 12_345, read, 1, "may not be opened by this user"),
        ("without a group nobody else is", &closed, 65534, 65534, read, 1, "may not be opened by this user"),
        ("root may", &closed, 0, 0, write, 0, "evil.example"),
    ] {
        let (status, said) = tokio::task::block_in_place(|| as_user(user, group, &scene.socket, line))?;
        ensure!(status == Some(code) && said.contains(part), "{why}: {status:?} {said}");
    }
    let audit = ok(open.local()?.run("Get-CsAdminAudit", &Object::default().with("Outcome", "Refused")).await)?;
    let who: BTreeSet<String> = audit.iter().filter_map(|entry| Some(entry.property("Author")?.to_string())).collect();
    let who: Vec<&str> = who.iter().filter_map(|name| name.split('@').next()).collect();
    ensure!(who == ["nobody", "uid12345"], "the record names {who:?}");
    open.end()?;
    closed.end()
}

/// A message of a partner's user to one of ours.
fn message(number: u32) -> String {
    format!(
        "MESSAGE sip:bob@contoso.com SIP/2.0\r\nVia: SIP/2.0/TLS fabrikam.com;branch=z9hG4bKrbac{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:ann@fabrikam.com>;tag={number}\r\nTo: <sip:bob@contoso.com>\r\n\
         Call-ID: rbac{number}\r\nCSeq: 1 MESSAGE\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
    )
}

/// The status that a partner hears on a connection that it has.
async fn hears(link: &mut RawSip, number: &mut u32) -> Result<u16> {
    *number += 1;
    let answer = link.send_and_wait(message(*number), Duration::from_secs(5)).await?;
    answer.status().context("a status")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_is_told_another_does_within_a_second_on_connections_that_it_has() -> Result<()> {
    let edge = Scene::start("rbac-edge", None, None, "")?;
    let shared = edge.folder.path().join("store").join("settings.db");
    let other = Scene::start("rbac-other", Some(&shared), None, "")?;
    let partner = edge.ca.issue(Leaf::new("fabrikam.com", &["fabrikam.com"]))?;
    let roots = TrustRoots::from_pem(edge.ca.pem().as_bytes())?;
    let mut link = RawSip::tls(edge.external, &TlsClient::new(Some(&identity(&partner)?), &roots), EDGE).await?;
    let mut number = 0;
    ensure!(hears(&mut link, &mut number).await? == 403, "federation is off");
    let admin = other.local()?;
    let on = Object::default().with("AllowFederatedUsers", true);
    ok(admin.run("Set-CsAccessEdgeConfiguration", &on).await)?;
    for (cmdlet, parameter, allowed) in [
        ("New-CsAllowedDomain", "Identity", true),
        ("Remove-CsAllowedDomain", "Identity", false),
        ("New-CsAllowedDomain", "Identity", true),
    ] {
        let told = Instant::now();
        ok(admin.run(cmdlet, &Object::default().with(parameter, "fabrikam.com")).await)?;
        // Nobody is at home, which is another answer than that nobody may come.
        while (hears(&mut link, &mut number).await? != 403) != allowed {
            ensure!(told.elapsed() < Duration::from_secs(1), "after {cmdlet} it goes on as before");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    other.end()?;
    edge.end()
}
