//! A clearing house as a process, with strict simulators of Apple and Google behind it, an organisation that sends by REST,
//! and that organisation's webhook.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;
use reveille_sim::apns::{ApnsOptions, ApnsSimulator, ProviderKey};
use reveille_sim::certs::{Ca, Leaf, ServiceAccount, apns_key, service_account_json};
use reveille_sim::fcm::{FcmOptions, FcmSimulator};
use reveille_sim::recorder::Query;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::client::Client;
use crate::support::push::{millis, ulid};
use crate::support::{Finished, Folder, Process, reveille, run};

/// How long something may take that the clearing house does by itself; a machine may have much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The most that one request may carry.
const BATCH: usize = 32;
const TEAM: &str = "VERDICTTEA";
const KEY_ID: &str = "VERDICTKEY";
const HOUSE: &str = "house.push.example.net";

/// An app of the publisher's.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum App {
    Apns(usize),
    Fcm(usize),
}

impl App {
    pub(crate) const fn provider(self) -> &'static str {
        match self {
            Self::Apns(_) => "apns",
            Self::Fcm(_) => "fcm",
        }
    }

    pub(crate) fn name(self) -> String {
        match self {
            Self::Apns(number) => format!("org.example.app{number}"),
            Self::Fcm(number) => format!("project-{number}"),
        }
    }
}

/// One push of the organisation's.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) app: App,
    pub(crate) token: String,
    pub(crate) is_call: bool,
    /// Milliseconds since 1970.
    pub(crate) registered: u64,
    pub(crate) life: Duration,
}

impl Sent {
    /// A message for a token that nobody has seen, registered a day ago.
    pub(crate) fn message(app: App) -> Result<Self> {
        let token = (0..32).map(|_| format!("{:02x}", rand::random::<u8>())).collect();
        Self::to(app, token)
    }

    /// A message for this token.
    pub(crate) fn to(app: App, token: String) -> Result<Self> {
        let registered = millis() - 86_400_000;
        Ok(Self { id: ulid(), app, token, is_call: false, registered, life: Duration::from_secs(600) })
    }

    fn body(&self) -> Value {
        let now = millis();
        let mut body = json!({
            "id": self.id, "identity": self.id, "event": "message", "channel": "message",
            "to": { "provider": self.app.provider(), "app": self.app.name(), "token": self.token },
            "sent": now, "expires": now + self.life.as_millis() as u64, "registered": self.registered,
        });
        if self.is_call {
            body["event"] = json!("call");
            body["channel"] = json!("voip");
            body["call"] = json!({ "id": self.id, "media": "audio" });
        }
        body
    }
}

pub(crate) struct World {
    pub(crate) folder: Folder,
    pub(crate) apns: ApnsSimulator,
    pub(crate) fcm: FcmSimulator,
    pub(crate) home: Webhook,
    client: Client,
    bearer: String,
    house: Process,
}

impl World {
    /// A publisher of so many apps at each provider, all of which serve contoso.com.
    pub(crate) async fn start(name: &str, apns_apps: usize, fcm_apps: usize) -> Result<Self> {
        let (folder, ca) = (Folder::new(name)?, Ca::new("Verdict test authority")?);
        folder.write("ca.pem", &ca.pem())?;
        let key = apns_key()?;
        folder.write("apns.p8", &key.p8_pem)?;
        let identity = ca.issue(Leaf::new("localhost", &["localhost", "127.0.0.1"]))?;
        let mut options = ApnsOptions::new(identity.clone());
        options.keys = vec![ProviderKey::new(TEAM, KEY_ID, key.public_key)];
        let apns = ApnsSimulator::start(options).await?;
        let fcm = FcmSimulator::start(FcmOptions::new(identity.clone())).await?;
        for (name, host) in [("house", HOUSE), ("rest", "localhost")] {
            let identity = ca.issue(Leaf::new(host, &[host]))?;
            folder.write(&format!("{name}.pem"), &identity.chain_pem())?;
            folder.write(&format!("{name}.key"), &identity.key_pem())?;
        }
        let rest = free_address()?;
        let mut config = house(rest)?;
        let apps: Vec<App> = (0..apns_apps).map(App::Apns).chain((0..fcm_apps).map(App::Fcm)).collect();
        // Making keys takes long, and Google does not mind that two accounts have the same.
        let account = service_account_json(&App::Fcm(0).name(), &fcm.token_uri())?;
        for app in &apps {
            let name = app.name();
            config += &match app {
                App::Apns(_) => format!(
                    "[[clearinghouse.apps]]\nprovider = \"apns\"\napp = \"{name}\"\ncredential = \"apns.p8\"\n\
                     team = \"{TEAM}\"\nkey_id = \"{KEY_ID}\"\nserver = \"{}\"\nroots = \"ca.pem\"\n",
                    apns.addr()
                ),
                App::Fcm(_) => {
                    let own = account_of(&account, &name);
                    folder.write(&format!("{name}.json"), &own.json)?;
                    fcm.add_account(own);
                    format!(
                        "[[clearinghouse.apps]]\nprovider = \"fcm\"\napp = \"{name}\"\ncredential = \"{name}.json\"\n\
                         server = \"{}\"\nroots = \"ca.pem\"\n",
                        fcm.addr()
                    )
                }
            };
        }
        folder.write("clearinghouse.toml", &config)?;
        let home = Webhook::start(&identity, 204).await?;
        let mut settings = vec![
            json!({ "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true }),
            json!({ "Kind": "AllowedDomain", "Identity": "contoso.com" }),
            json!({ "Kind": "AllowedDomain", "Identity": "fabrikam.com" }),
        ];
        let serves = |app: &App| json!({ "Kind": "PushApp", "Identity": app.name(), "Serves": ["contoso.com"] });
        settings.extend(apps.iter().map(serves));
        folder.write("settings.json", &json!({ "settings": settings }).to_string())?;
        let wanted = folder.path().join("settings.json").display().to_string();
        let imported = command(&folder, &["settings", "import", "-c", "CONFIG", &wanted]).await?;
        ensure!(imported.code == 0, "the settings are not imported: {}", imported.err);
        let house = serve(&folder)?;
        let account = "New-CsPushAccount contoso -Organisation contoso.com -Webhook";
        typed(&folder, &format!("{account} {}", home.url)).await?;
        let secret = typed(&folder, "New-CsPushAccountSecret contoso | Select-Object -ExpandProperty Secret").await?;
        let secret = secret.lines().find(|line| line.starts_with("rvps_")).context("a secret")?.trim().to_owned();
        let mut client = Client::connect(rest, &ca, None).await?;
        let bearer = client.signed_in(&format!("client_id=contoso&client_secret={secret}")).await?;
        Ok(Self { folder, apns, fcm, home, client, bearer, house })
    }

    /// Sends pushes that are all taken.
    pub(crate) async fn send(&mut self, pushes: &[Sent]) -> Result<()> {
        for batch in pushes.chunks(BATCH) {
            let body: Vec<Value> = batch.iter().map(Sent::body).collect();
            let answer = self.client.push(&self.bearer, &[], &json!(body)).await?;
            ensure!(answer.status == 202, "{answer:?}");
        }
        Ok(())
    }

    /// What is known of a push: its state, or why it was not sent.
    pub(crate) async fn became(&mut self, id: &str) -> Result<String> {
        let field = [("authorization", self.bearer.as_str())];
        let told = self.client.ask(&format!("GET /v1/push/{id}"), &field, "").await?.json()?;
        Ok(told["reason"].as_str().or_else(|| told["state"].as_str()).with_context(|| format!("{told}"))?.to_owned())
    }

    /// Waits until a push has become that.
    pub(crate) async fn becomes(&mut self, push: &Sent, expected: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.became(&push.id).await?;
            if found == expected {
                return Ok(());
            }
            let seen = self.seen(&push.token);
            ensure!(
                Instant::now() < end,
                "the push is {found}, not {expected}; the provider saw {seen:?}; the house said:\n{}",
                self.said()
            );
            tokio::task::yield_now().await;
        }
    }

    /// What a provider has seen for a token: each request with its answer.
    pub(crate) fn seen(&self, token: &str) -> Vec<String> {
        let query = Query { token: Some(token), ..Query::default() };
        let apple = self.apns.recorder().entries(query, 100).into_iter();
        let google = self.fcm.recorder().entries(query, 100).into_iter();
        let apple = apple.map(|entry| format!("{} {:?}", entry.push.apns_id, entry.push.outcome));
        apple.chain(google.map(|entry| format!("{:?}", entry.push.outcome))).collect()
    }

    /// What an administrator types, and what it gives as JSON.
    pub(crate) async fn told(&self, line: &str) -> Result<Value> {
        let said = typed(&self.folder, &format!("ConvertTo-Json -InputObject @({line}) -Depth 5")).await?;
        serde_json::from_str(&said).with_context(|| format!("{line} gave {said}"))
    }

    /// What an administrator types, and what it prints.
    pub(crate) async fn shell(&self, line: &str) -> Result<String> {
        typed(&self.folder, line).await
    }

    /// Runs the binary with these arguments, where `CONFIG` stands for the configuration.
    pub(crate) async fn run(&self, args: &[&str]) -> Result<Finished> {
        command(&self.folder, args).await
    }

    /// The log so far.
    pub(crate) fn said(&self) -> String {
        self.house.said()
    }

    /// Everything ends as it should.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = tokio::task::block_in_place(|| self.house.terminate())?;
        ensure!(status.success(), "the clearing house ended with {status}");
        self.home.task.abort();
        self.folder.remove()
    }
}

/// The same account for another project.
fn account_of(account: &ServiceAccount, project: &str) -> ServiceAccount {
    let renamed = |text: &str| text.replace(&account.project, project);
    ServiceAccount {
        json: renamed(&account.json),
        project: project.to_owned(),
        client_email: renamed(&account.client_email),
        ..account.clone()
    }
}

fn house(rest: SocketAddr) -> Result<String> {
    Ok(format!(
        r#"
        [store]
        dir = "store"
        [admin]
        socket = "s/a.sock"
        [clearinghouse]
        name = "{HOUSE}"
        domain = "push.example.net"
        tls = {{ certificate = "house.pem", key = "house.key", roots = "ca.pem" }}
        listen = "{}"
        edges = ["edge.push.example.net"]
        edge = {{ name = "edge.push.example.net", address = "{}" }}
        [clearinghouse.rest]
        listen = "{rest}"
        url = "https://localhost:{}"
        tls = {{ certificate = "rest.pem", key = "rest.key", roots = "ca.pem" }}
        webhooks = {{ roots = "ca.pem", allow = ["127.0.0.0/8"] }}
        "#,
        free_address()?,
        free_address()?,
        rest.port()
    ))
}

fn serve(folder: &Folder) -> Result<Process> {
    let mut command = reveille();
    command.args(["serve", "--ready-fd", "1", "-c"]).arg(folder.path().join("clearinghouse.toml"));
    let mut house = Process::start(command)?;
    let ready = |said: &str| said.lines().any(|line| line == "ready").then_some(());
    tokio::task::block_in_place(|| house.until("it becomes ready", ready))?;
    Ok(house)
}

async fn command(folder: &Folder, args: &[&str]) -> Result<Finished> {
    let config = folder.path().join("clearinghouse.toml").display().to_string();
    let args: Vec<String> =
        args.iter().map(|&arg| if arg == "CONFIG" { config.clone() } else { arg.to_owned() }).collect();
    tokio::task::spawn_blocking(move || run(args)).await?
}

async fn typed(folder: &Folder, line: &str) -> Result<String> {
    let socket = folder.path().join("s/a.sock").display().to_string();
    let said = command(folder, &["shell", "--socket", &socket, "-c", line]).await?;
    ensure!(said.code == 0, "{line}: {} {}", said.out, said.err);
    Ok(said.out)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The organisation's ear: every item that it was told, in order.
pub(crate) struct Webhook {
    url: String,
    items: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<()>,
}

impl Webhook {
    async fn start(identity: &reveille_sim::certs::Identity, status: u16) -> Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(identity.server_config(&[])?));
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("https://localhost:{}/feedback", listener.local_addr()?.port());
        let items = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&items);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                // The outbox brings one letter at a time to each organisation.
                if let Ok(letter) = listen(stream, status).await {
                    heard.lock().extend(letter["items"].as_array().cloned().unwrap_or_default());
                }
            }
        });
        Ok(Self { url, items, task })
    }

    /// The last thing that was said about each push, as verdict and reason.
    pub(crate) fn last(&self) -> HashMap<String, (String, String)> {
        let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let said = |item: &Value| (text(item, "push"), (text(item, "verdict"), text(item, "reason")));
        self.items.lock().iter().map(said).collect()
    }

    /// Waits until what was said last passes `test`.
    pub(crate) async fn until(
        &self,
        what: &str,
        test: impl Fn(&HashMap<String, (String, String)>) -> bool,
    ) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let last = self.last();
            if test(&last) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{what}: not in time; it was told {last:?}");
            tokio::task::yield_now().await;
        }
    }
}

async fn listen(mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>, status: u16) -> Result<Value> {
    let (mut text, mut part) = (String::new(), [0; 16_384]);
    let letter = loop {
        let count = stream.read(&mut part).await?;
        ensure!(count > 0, "it ended within {text}");
        text.push_str(std::str::from_utf8(&part[..count])?);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(letter) = serde_json::from_str(body)
        {
            break letter;
        }
    };
    stream.write_all(format!("HTTP/1.1 {status} So\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    stream.shutdown().await?;
    Ok(letter)
}
