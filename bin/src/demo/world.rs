//! The demo's world while it runs: simulators, servers, phones.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use reveille_server::{Server, UserStatus, settings_file};
use reveille_sim::apns::{ApnsOptions, ApnsSimulator, ProviderKey};
use reveille_sim::certs::{Ca, apns_key, service_account_json};
use reveille_sim::control::{self, Control, Controls};
use reveille_sim::fcm::{FcmOptions, FcmSimulator};
use reveille_sim::phone::{Phone, PhoneOptions};
use reveille_sim::turn::{TurnOptions, TurnSimulator};
use reveille_sip_net::{Identity, TlsClient, TrustRoots};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::layout::{self, Addresses, CONTOSO, Configurations, FCM_PROJECT, Files, Office, PUBLISHER, USERS};
use super::witness::Witness;
use crate::simulate::{KEY_ID, TEAM, write};

/// How long any one step of the demo may take.
pub(crate) const STEP: Duration = Duration::from_secs(10);

/// Everything that runs.
pub(crate) struct World {
    pub(crate) at: Addresses,
    pub(crate) witness: Witness,
    pub(crate) apns: ApnsSimulator,
    pub(crate) fcm: FcmSimulator,
    turn: TurnSimulator,
    pub(crate) contoso: Server,
    publisher_edge: Server,
    house: House,
    configurations: Configurations,
    control: Control,
    pub(crate) roots: TrustRoots,
    pub(crate) stranger: Files,
    dir: PathBuf,
}

/// The clearing house: in this process, or a child of it that can be killed.
enum House {
    Child(Child),
    Here(Box<Server>),
    Stopped,
}

impl World {
    /// Makes certificates, configurations and settings in `dir`, and starts everything.
    pub(crate) async fn start(dir: &Path, witness: Witness) -> Result<Self> {
        let ca = Ca::new("Reveille demo authority")?;
        write(dir, "ca.pem", &ca.pem())?;
        let office = Office { ca: &ca, dir };
        let at = Addresses::find()?;
        let server = at.simulators(0).ip().to_string();
        let identity = ca.issue(reveille_sim::certs::Leaf::new("simulators", &["localhost", &server]))?;
        let key = apns_key()?;
        write(dir, "apns.p8", &key.p8_pem)?;
        let mut options = ApnsOptions::new(identity.clone());
        options.listen = at.simulators(8443);
        options.keys = vec![ProviderKey::new(TEAM, KEY_ID, key.public_key)];
        let apns = ApnsSimulator::start(options).await?;
        let mut options = FcmOptions::new(identity);
        options.listen = at.simulators(8444);
        let fcm = FcmSimulator::start(options).await?;
        let account = service_account_json(FCM_PROJECT, &fcm.token_uri())?;
        write(dir, "service-account.json", &account.json)?;
        fcm.add_account(account);
        let controls = Controls { apns: Some(apns.controls()), fcm: Some(fcm.controls()) };
        let control = control::serve(TcpListener::bind(at.simulators(8080)).await?, controls)?;

        let turn = TurnSimulator::start(TurnOptions {
            listen: at.turn(),
            realm: CONTOSO.into(),
            secret: layout::TURN_SECRET.into(),
        })
        .await?;
        let configurations = layout::configurations(&office, at, apns.addr())?;
        let stranger =
            office.issue("edge.fabrikam.com", "edge.fabrikam.com", &["edge.fabrikam.com", "fabrikam.com"])?;
        office.issue_expired("expired.contoso.com", "edge.contoso.com", &["edge.contoso.com", CONTOSO])?;
        for (user, _) in USERS {
            office.issue(user, user, &[&format!("{user}.clients.contoso.com")])?;
        }
        let house = Server::start(&configurations.house).await?;
        let publisher_edge = Server::start(&configurations.edge).await?;
        let contoso = Server::start(&configurations.contoso).await?;
        let ours = layout::settings(dir, "contoso-settings.json", layout::CONTOSO_SETTINGS)?;
        settings_file::put(contoso.settings(), ours, "demo").await?;
        let theirs = layout::settings(dir, "publisher-settings.json", layout::PUBLISHER_SETTINGS)?;
        settings_file::put(publisher_edge.settings(), theirs, "demo").await?;
        let world = Self {
            at,
            witness,
            apns,
            fcm,
            turn,
            contoso,
            publisher_edge,
            house: House::Here(Box::new(house)),
            configurations,
            control,
            roots: TrustRoots::from_pem_files(&[dir.join("ca.pem")])?,
            stranger,
            dir: dir.to_owned(),
        };
        world.settled().await?;
        write(dir, "demo.json", &(serde_json::to_string_pretty(&world.description())? + "\n"))?;
        Ok(world)
    }

    /// Waits until both of the publisher's servers have seen its settings: they share the file, not a process.
    async fn settled(&self) -> Result<()> {
        let House::Here(house) = &self.house else { return Ok(()) };
        let mut seen = house.watch_settings();
        tokio::time::timeout(STEP, seen.wait_for(|settings| settings.version() > 0))
            .await
            .context("the clearing house did not see its settings in time")??;
        Ok(())
    }

    /// A phone or desk client of one user. Without push parameters it is a client that is never woken.
    pub(crate) fn phone(&self, user: &str, instance: &str, push: Option<String>) -> Phone {
        let password = USERS.iter().find(|(name, _)| *name == user).map(|(_, password)| *password).unwrap_or_default();
        let tls = Arc::new(TlsClient::new(None, &self.roots));
        Phone::new(PhoneOptions {
            user: user.into(),
            domain: CONTOSO.into(),
            password: password.into(),
            registrar: self.at.home_tls(),
            tls: Some((tls, "home.contoso.com".into())),
            instance: instance.into(),
            push,
            user_agent: "Reveille demo phone".into(),
        })
    }

    /// A TLS client with the certificate of an organisation that nobody has allowed.
    pub(crate) fn stranger(&self) -> Result<TlsClient> {
        let identity = Identity::from_pem_files(&self.stranger.certificate, &self.stranger.key)?;
        Ok(TlsClient::new(Some(&identity), &self.roots))
    }

    /// What contoso's home knows of a user.
    pub(crate) async fn user(&self, name: &str) -> Result<UserStatus> {
        let desk = self.contoso.desk().context("contoso has a home")?;
        desk.user(name).await.with_context(|| format!("no user {name}"))
    }

    /// Waits until what home knows of a user is as it should be.
    pub(crate) async fn until(
        &self,
        name: &str,
        what: &str,
        mut holds: impl FnMut(&UserStatus) -> bool,
    ) -> Result<UserStatus> {
        let end = tokio::time::Instant::now() + STEP;
        loop {
            let status = self.user(name).await?;
            if holds(&status) {
                return Ok(status);
            }
            if tokio::time::Instant::now() > end {
                bail!("{what}: not within {} s; home knows {}", STEP.as_secs(), serde_json::to_string(&status)?);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Stops the clearing house in this process and starts it as a child, on the same listener and store.
    pub(crate) async fn house_as_child(&mut self) -> Result<()> {
        if let House::Here(server) = &mut self.house {
            server.stop().await;
        }
        self.house = House::Stopped;
        self.house = House::Child(self.spawn_house().await?);
        Ok(())
    }

    async fn spawn_house(&self) -> Result<Child> {
        let log = std::fs::OpenOptions::new().append(true).create(true).open(self.dir.join("clearinghouse.log"))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--ready-fd", "1", "--config"])
            .arg(self.dir.join("clearinghouse.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("the clearing house cannot be started as a process")?;
        let output = child.stdout.take().context("the child has a standard output")?;
        let mut lines = BufReader::new(output).lines();
        match tokio::time::timeout(STEP, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == "ready" => Ok(child),
            other => bail!("the clearing house did not become ready: {other:?}; see clearinghouse.log"),
        }
    }

    /// Kills the child at once (SIGKILL): nothing of it gets to say goodbye.
    pub(crate) async fn kill_house(&mut self) -> Result<()> {
        match &mut self.house {
            House::Child(child) => Ok(child.kill().await?),
            House::Here(_) | House::Stopped => bail!("the clearing house is no child process"),
        }
    }

    /// Starts the killed child again.
    pub(crate) async fn revive_house(&mut self) -> Result<()> {
        self.house = House::Child(self.spawn_house().await?);
        Ok(())
    }

    /// Brings the clearing house back into this process.
    pub(crate) async fn house_here(&mut self) -> Result<()> {
        if let House::Child(child) = &mut self.house {
            child.kill().await?;
        }
        self.house = House::Here(Box::new(Server::start(&self.configurations.house).await?));
        Ok(())
    }

    /// Stops everything, gracefully.
    pub(crate) async fn stop(mut self) {
        self.contoso.stop().await;
        self.publisher_edge.stop().await;
        match &mut self.house {
            House::Here(server) => drop(server.stop().await),
            House::Child(child) => drop(child.kill().await),
            House::Stopped => {}
        }
        self.control.shutdown().await;
        self.apns.shutdown().await;
        self.fcm.shutdown().await;
        self.turn.shutdown().await;
    }

    /// The content of `demo.json`: all addresses, credentials and certificates, for clients from outside.
    fn description(&self) -> serde_json::Value {
        let at = self.at;
        let users: serde_json::Map<_, _> = USERS
            .iter()
            .map(|(user, password)| {
                let user_files = json!({
                    "password": password,
                    "client_cert": self.dir.join(format!("{user}.pem")),
                    "client_key": self.dir.join(format!("{user}.key")),
                });
                ((*user).to_owned(), user_files)
            })
            .collect();
        json!({
            "organisations": {
                (CONTOSO): {
                    "admin_socket": self.configurations.contoso.admin_socket(),
                    "home": {
                        "sip_udp": at.home_plain().to_string(),
                        "sip_tcp": at.home_plain().to_string(),
                        "sip_tls": at.home_tls().to_string(),
                        "sip_ws": at.home_ws().to_string(),
                        "sip_wss": at.home_wss().to_string(),
                        "api": format!("http://{}", at.home_api()),
                        "ops": format!("http://{}", at.home_ops()),
                    },
                    "edge": {
                        "external": at.contoso_edge().to_string(),
                        "internal": at.contoso_edge_internal().to_string(),
                    },
                    "users": users,
                    "config": self.dir.join("contoso.toml"),
                },
            },
            "publisher": {
                "domain": PUBLISHER,
                "admin_socket": self.configurations.house.admin_socket(),
                "admin_sockets": {
                    "edge": self.configurations.edge.admin_socket(),
                    "clearinghouse": self.configurations.house.admin_socket(),
                },
                "edge": { "external": at.publisher_edge().to_string(), "ops": format!("http://{}", at.publisher_edge_ops()) },
                "clearinghouse": { "internal": at.house().to_string(), "ops": format!("http://{}", at.house_ops()) },
                "rest": null,
                "config": { "edge": self.dir.join("publisher-edge.toml"), "clearinghouse": self.dir.join("clearinghouse.toml") },
            },
            "simulators": {
                "apns": {
                    "url": format!("https://{}", self.apns.addr()), "control": format!("http://{}", self.control.addr()),
                    "team": TEAM, "key_id": KEY_ID, "key": self.dir.join("apns.p8"),
                },
                "fcm": {
                    "url": format!("https://{}", self.fcm.addr()), "control": format!("http://{}", self.control.addr()),
                    "project": FCM_PROJECT, "service_account": self.dir.join("service-account.json"),
                },
            },
            "turn": { "address": self.turn.addr().to_string(), "secret": self.dir.join("turn.secret") },
            "ca": self.dir.join("ca.pem"),
            "console": null,
        })
    }

    /// What a person who has just started the demo reads.
    pub(crate) fn welcome(&self) -> String {
        let at = self.at;
        let dir = self.dir.display();
        let (home, tls, control) = (at.home_plain(), at.home_tls(), self.control.addr());
        format!(
            "\
Two organisations run on this machine, on loopback addresses of their own.

  contoso.com          home   sip udp+tcp {home}, sip tls {tls}
                       edge   {contoso_edge} (mutual TLS)
  push.example.net     edge   {publisher_edge} (mutual TLS)
                       clearing house {house} (behind its edge)
  simulators           APNs https://{apns}, FCM https://{fcm}, TURN {turn}

  users                alice / alice-wonder, bob / bob-builds, kenmyer / ken-9-stars; each also at litwareinc.com
  everything else      {dir}/demo.json

Try next:
  manage contoso.com   reveille shell --socket {socket}
  watch the pushes     curl -s http://{control}/apns/log
  make a token dead    curl -s http://{control}/apns/script -H 'content-type: application/json' \\
                         -d '{{\"token\":\"{message}\",\"answers\":[{{\"status\":410,\"reason\":\"Unregistered\",\"timestamp\":9999999999999}}]}}'
  why not pushed       reveille shell --socket {socket} -c 'Test-CsPushEligibility bob'
  test the A/V edge    reveille shell --socket {socket} \\
                         -c 'Test-CsAVEdgeConnectivity atl-cs-001.litwareinc.com -UserSipAddress sip:kenmyer@litwareinc.com -Detailed'
  who was refused      curl -s http://{edge_ops}/status
  join with a phone    any SIP client: domain contoso.com, proxy sip:{tls};transport=tls, authority {dir}/ca.pem,
                       certificate {dir}/bob.pem and bob.key,
                       contact parameters pn-provider=apns;pn-param={team}.app.voip&remote;pn-prid={voip}:voip&{message}:remote
  see it all at once   reveille demo --once

Ctrl-C stops.",
            socket = self.configurations.contoso.admin_socket().display(),
            contoso_edge = at.contoso_edge(),
            publisher_edge = at.publisher_edge(),
            house = at.house(),
            apns = self.apns.addr(),
            fcm = self.fcm.addr(),
            turn = self.turn.addr(),
            edge_ops = at.publisher_edge_ops(),
            team = TEAM,
            // Tokens of the form that APNs gives out: 32 bytes in hexadecimal.
            voip = "b0".repeat(32),
            message = "b1".repeat(32),
        )
    }
}
