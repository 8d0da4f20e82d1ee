//! Our side of a federation: home and edge of contoso.com as one process, with certificates and partners of the test's
//! own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use reveille_sim::certs::{Ca, Leaf};
use reveille_sim::phone::{Phone, PhoneOptions};
use reveille_sip_net::{TlsClient, TrustRoots};
use serde_json::Value;

use crate::support::{Folder, Process, json, reveille, run, until};

/// The users, with their passwords.
const USERS: [(&str, &str); 2] = [("alice", "alice-wonder"), ("bob", "bob-builds")];

/// `reveille serve` for contoso.com, and the authority that it and its partners trust.
pub(crate) struct Contoso {
    process: Process,
    folder: Folder,
    ca: Ca,
    net: String,
}

/// One certificate's files.
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Contoso {
    /// Starts it with these settings, on addresses that nobody uses.
    pub(crate) fn start(name: &str, settings: &str) -> Result<Self> {
        let (folder, ca, net) = (Folder::new(name)?, Ca::new("Federation test authority")?, free_net()?);
        folder.write("ca.pem", &ca.pem())?;
        issue(&folder, &ca, "home.contoso.com", Leaf::new("home.contoso.com", &["home.contoso.com", "contoso.com"]))?;
        issue(&folder, &ca, "edge.contoso.com", Leaf::new("edge.contoso.com", &["edge.contoso.com", "contoso.com"]))?;
        let users: String =
            USERS.iter().map(|(user, password)| format!("[users.{user}]\npassword = \"{password}\"\n")).collect();
        folder.write("users.toml", &users)?;
        let dir = folder.path().display().to_string();
        let text = include_str!("contoso.toml").replace("{dir}", &dir).replace("{net}", &net);
        let config = folder.write("contoso.toml", &text)?;
        let settings = folder.write("settings.json", settings)?;
        std::fs::create_dir_all(folder.path().join("store"))?;
        let (config, settings) = (config.display().to_string(), settings.display().to_string());
        let imported = run(["settings", "import", "--config", &config, &settings])?;
        ensure!(imported.code == 0, "the settings are not taken: {}", imported.err);
        let mut command = reveille();
        command.args(["serve", "--ready-fd", "1", "--config", &config]);
        let mut process = Process::start(command)?;
        process.until("it serves", |said| said.lines().any(|line| line == "ready").then_some(()))?;
        Ok(Self { process, folder, ca, net })
    }

    /// A folder for whatever belongs to this test.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The address of one of the machines that the test plays: 1 is home, 2 our edge, 3 the partner's, 4 and beyond are
    /// users.
    pub(crate) fn host(&self, number: u8) -> String {
        format!("{}.{number}", self.net)
    }

    /// A certificate of the authority that everybody trusts.
    pub(crate) fn issue(&self, file: &str, leaf: Leaf<'_>) -> Result<Files> {
        issue(&self.folder, &self.ca, file, leaf)
    }

    /// A phone of one of our users, over TLS.
    pub(crate) fn phone(&self, user: &str) -> Result<Phone> {
        let roots = TrustRoots::from_pem_files(&[self.folder.path().join("ca.pem")])?;
        Ok(Phone::new(PhoneOptions {
            user: user.into(),
            domain: "contoso.com".into(),
            password: password(user).into(),
            registrar: format!("{}:5061", self.host(1)).parse()?,
            tls: Some((Arc::new(TlsClient::new(None, &roots)), "home.contoso.com".into())),
            instance: format!("urn:uuid:federation-{user}"),
            push: None,
            user_agent: "Test phone".into(),
        }))
    }

    /// What home knows of a user.
    pub(crate) fn user(&self, name: &str) -> Result<Value> {
        json(&format!("http://{}:9090/status/users/{name}", self.host(1)))
    }

    /// Waits until what home knows of a user is as it should be.
    pub(crate) fn user_until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let found = until(what, || {
            last = self.user(name)?;
            Ok(holds(&last).then(|| last.clone()))
        });
        found.with_context(|| format!("home knows of {name}: {last}"))
    }

    /// Everything that it has logged.
    pub(crate) fn said(&self) -> String {
        self.process.said()
    }

    /// Waits until our edge has turned somebody away with a sentence that has this in it; answers the record.
    pub(crate) fn refusal(&self, part: &str) -> Result<Value> {
        let mut last = Value::Null;
        let found = until("the edge tells of the refusal", || {
            last = json(&format!("http://{}:9090/status", self.host(1)))?["edge"]["refusals"].take();
            let tells = |one: &&Value| one["sentence"].as_str().is_some_and(|sentence| sentence.contains(part));
            Ok(last.as_array().and_then(|all| all.iter().find(tells)).cloned())
        });
        found.with_context(|| format!("\"{part}\" is not in {last}"))
    }

    /// Stops it as an administrator would; it must end well.
    pub(crate) fn stop(mut self) -> Result<()> {
        let status = self.process.terminate()?;
        let said = self.process.said();
        ensure!(status.success(), "it ended with {status}:\n{said}");
        ensure!(!said.contains("ERROR") && !said.contains("panicked"), "it has seen what should never be:\n{said}");
        self.folder.remove()
    }
}

/// A user's password.
pub(crate) fn password(user: &str) -> &'static str {
    USERS.iter().find(|(name, _)| *name == user).map(|(_, password)| *password).unwrap_or_default()
}

fn issue(folder: &Folder, ca: &Ca, file: &str, leaf: Leaf<'_>) -> Result<Files> {
    let identity = ca.issue(leaf)?;
    let certificate = folder.write(&format!("{file}.pem"), &identity.chain_pem())?;
    let key = folder.write(&format!("{file}.key"), &identity.key_pem())?;
    Ok(Files { certificate, key })
}

/// The first three numbers of addresses that nobody uses.
fn free_net() -> Result<String> {
    for _ in 0..100 {
        let (a, b) = (rand::random_range(16..250_u8), rand::random_range(1..250_u8));
        let free = |host| TcpListener::bind((Ipv4Addr::new(127, a, b, host), 5061)).is_ok();
        if (1..=5).all(free) {
            return Ok(format!("127.{a}.{b}"));
        }
    }
    bail!("no free loopback addresses were found for port 5061")
}
