//! An edge with the admin API, and those who come to it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reveille_admin::{Failure, Object, Secret, Value};
use reveille_shell::remote::{Address, Remote, roots_of};
use reveille_sim::certs::{Ca, Leaf};

use crate::support::{Folder, Process, reveille, run};

pub(crate) const EDGE: &str = "edge.contoso.com";

/// An edge as a process, with the admin API on a socket and over TLS.
pub(crate) struct Scene {
    pub(crate) folder: Folder,
    pub(crate) ca: Ca,
    pub(crate) process: Process,
    pub(crate) external: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) socket: PathBuf,
    config: PathBuf,
}

impl Scene {
    /// `settings`: the settings file, so that two can share one. `more`: lines for `[admin]`.
    pub(crate) fn start(name: &str, settings: Option<&Path>, socket: Option<PathBuf>, more: &str) -> Result<Self> {
        let (folder, ca) = (Folder::new(name)?, Ca::new("Admin test authority")?);
        folder.write("ca.pem", &ca.pem())?;
        for (file, name) in [("edge", EDGE), ("admin", "localhost")] {
            let issued = ca.issue(Leaf::new(name, &[name]))?;
            folder.write(&format!("{file}.pem"), &issued.chain_pem())?;
            folder.write(&format!("{file}.key"), &issued.key_pem())?;
        }
        let (a, b) = (rand::random_range(16..250), rand::random_range(1..250));
        let at = |host, port| SocketAddr::from((Ipv4Addr::new(127, a, b, host), port));
        let (external, internal) = (at(1, 5061), at(2, 5070));
        // What is called localhost is there.
        let admin = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let settings =
            settings.map(|path| format!("settings = {:?}\n", path.display().to_string())).unwrap_or_default();
        // A path in the folder of the tests may be longer than a socket's can be.
        let socket = socket.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("rvl-{}-{a}-{b}", std::process::id())).join("admin.sock")
        });
        let config = format!(
            "sites = [\"Redmond\", \"Dublin\"]\n[store]\ndir = \"store\"\n{settings}\
             [admin]\nsocket = {:?}\nlisten = \"{admin}\"\nnames = [\"localhost\"]\n{more}\
             [admin.tls]\ncertificate = \"admin.pem\"\nkey = \"admin.key\"\nroots = \"ca.pem\"\n\
             [edge]\nname = \"{EDGE}\"\nexternal = \"{external}\"\ninternal = \"{internal}\"\n\
             inside = [\"home.contoso.com\"]\n\
             domains = [{{ domain = \"contoso.com\", name = \"home.contoso.com\", address = \"{internal}\" }}]\n\
             [edge.tls]\ncertificate = \"edge.pem\"\nkey = \"edge.key\"\nroots = \"ca.pem\"\n",
            socket.display().to_string()
        );
        let config = folder.write("edge.toml", &config)?;
        let process = serve(&config)?;
        Ok(Self { folder, ca, process, external, admin, socket, config })
    }

    /// SIGKILL, as a power cut has it.
    pub(crate) fn kill(&mut self) -> Result<()> {
        rustix::process::kill_process(self.process.pid(), rustix::process::Signal::KILL)?;
        self.process.wait(Duration::from_secs(10)).map(drop)
    }

    /// The same server once more.
    pub(crate) fn start_again(&mut self) -> Result<()> {
        self.process = serve(&self.config)?;
        Ok(())
    }

    /// A file of its store.
    pub(crate) fn store(&self, file: &str) -> PathBuf {
        self.folder.path().join("store").join(file)
    }

    pub(crate) fn local(&self) -> Result<Remote> {
        Ok(Remote::new(Address::Socket(self.socket.clone()), None)?)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.admin.port())
    }

    pub(crate) fn remote(&self) -> Result<Remote> {
        let roots = roots_of(&self.folder.path().join("ca.pem"))?;
        Ok(Remote::new(Address::of_url(&self.url())?, Some(roots))?)
    }

    /// Makes an account with these roles, and a token for it.
    pub(crate) async fn account(&self, name: &str, roles: &[&str]) -> Result<Secret> {
        let local = self.local()?;
        let account = Object::default()
            .with("Identity", name)
            .with("Password", Value::Secret(Secret::new("correct horse battery")))
            .with("Roles", roles.to_vec());
        ok(local.run("New-CsAdminAccount", &account).await)?;
        let made = ok(local.run("New-CsAdminToken", &Object::default().with("Account", name)).await)?;
        let token = made.first().and_then(|it| it.property("Token")).context("a token")?;
        Ok(Secret::new(token.to_string()))
    }

    /// Runs a script in the shell, over TLS with a token: what it has said on standard error.
    pub(crate) fn shell(&self, token: &Secret, script: &str) -> Result<String> {
        let file = self.folder.write("script.ps1", script)?;
        let secret = self.folder.write("token", token.expose())?;
        std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let ca = self.folder.path().join("ca.pem");
        let url = self.url();
        let args: [&std::ffi::OsStr; 8] = [
            "shell".as_ref(),
            "--url".as_ref(),
            url.as_ref(),
            "--ca".as_ref(),
            ca.as_ref(),
            "--token-file".as_ref(),
            secret.as_ref(),
            file.as_ref(),
        ];
        Ok(run(args)?.err)
    }

    pub(crate) fn end(mut self) -> Result<()> {
        let status = self.process.terminate()?;
        ensure!(status.success(), "it ended with {status}: {}", self.process.said());
        ensure!(!self.socket.exists(), "the socket is left behind");
        std::fs::remove_dir_all(self.socket.parent().context("a folder")?)?;
        self.folder.remove()
    }
}

fn serve(config: &Path) -> Result<Process> {
    let mut command = reveille();
    command.arg("serve").arg("-c").arg(config);
    let mut process = Process::start(command)?;
    process.until("it serves", |said| said.contains("started").then_some(()))?;
    Ok(process)
}

pub(crate) fn ok(outcome: Result<reveille_admin::Outcome, Failure>) -> Result<Vec<Object>> {
    let objects = outcome.map_err(|failure| anyhow::anyhow!("{}: {}", failure.id, failure.message))?.objects;
    Ok(objects.into_iter().filter_map(|value| value.as_object().cloned()).collect())
}
