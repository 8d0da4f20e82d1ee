//! The provider, the clearing house on its disk, and the edge that hears its feedback.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::rngs::StdRng;
use reveille_federation::feedback::{self, FeedbackVerdict};
use reveille_federation::message;
use reveille_powercut::{Disk, Lost};
use reveille_sim::certs::{Ca, Leaf};
use reveille_sip::Message;
use reveille_sip_net::{ClientAuth, Flow, Handler, Identity, ListenLimits, Listener, TlsClient, TlsServer, TrustRoots};
use reveille_store::SqliteJournal;
use serde_json::{Value, json as value};
use tokio::task::block_in_place;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::auditor::{self, Arrival, Figures};
use crate::ledger::Ledger;
use crate::plan::{Fault, Plan};
use crate::support::{Folder, Process, STEP, http, json, reveille};

pub(crate) const APP: &str = "org.reveille.campaign";
pub(crate) const HOUSE: &str = "house.push.example.net";
pub(crate) const EDGE: &str = "edge.push.example.net";
pub(crate) const ORGANISATIONS: [&str; 4] = ["contoso.com", "fabrikam.com", "adatum.com", "litware.com"];
/// How many entries of the provider's log are read at once.
const LOG_MAX: usize = 10_000;

/// Everything but the homes.
pub(crate) struct World {
    folder: Folder,
    disk: Disk,
    simulator: Process,
    /// The provider's control API.
    control: String,
    house: Option<Process>,
    pub(crate) listen: SocketAddr,
    ops: SocketAddr,
    pub(crate) edge: Arc<TlsClient>,
    ledger: Arc<Ledger>,
    arrivals: Vec<Arrival>,
    last_seen: u64,
    _ear: DropGuard,
}

impl World {
    pub(crate) async fn start(plan: &Plan, ledger: Arc<Ledger>) -> Result<Self> {
        let folder = Folder::new("campaign")?;
        let (simulator, told) = simulator(&folder)?;
        let control = told["control"].as_str().context("the simulator tells its control address")?.to_owned();
        let script = value!({ "answers": plan.answers, "times": 0 });
        let (status, said) = block_in_place(|| http(&format!("{control}/apns/script"), Some(&script)))?;
        ensure!(status == 200, "the provider does not take its script: {said}");

        let ca = Ca::new("Campaign authority")?;
        folder.write("ca.pem", &ca.pem())?;
        let house = ca.issue(Leaf::new(HOUSE, &[HOUSE]))?;
        folder.write("house.pem", &house.chain_pem())?;
        folder.write("house.key", &house.key_pem())?;
        let edge = ca.issue(Leaf::new(EDGE, &[EDGE]))?;
        let identity = Identity::from_pem(edge.chain_pem().as_bytes(), edge.key_pem().as_bytes())?;
        let roots = TrustRoots::from_pem(ca.pem().as_bytes())?;
        let server = TlsServer::new(&identity, ClientAuth::Required, &roots)?;
        let listener = Listener::tls(free_address()?, Arc::new(server), ListenLimits::default())?;
        let (listen, ops, ear) = (free_address()?, free_address()?, listener.local_addr());
        let stop = CancellationToken::new();
        tokio::spawn(listener.run(Arc::new(Ear(Arc::clone(&ledger))), stop.clone()));

        let disk = Disk::new(&folder.path().join("store"), &folder.path().join("disk"))?;
        if let Some(nth) = crate::from_env("REVEILLE_CRASH_LIES")? {
            disk.lie(u32::try_from(nth)?)?;
        }
        let (store, apns) = (disk.folder().display(), told["apns"]["address"].as_str().unwrap_or_default());
        let config = format!(
            r#"
            [store]
            dir = "{store}"
            settings = "{settings}"
            [log]
            filter = "warn"
            [ops]
            listen = "{ops}"
            [clearinghouse]
            name = "{HOUSE}"
            domain = "push.example.net"
            tls = {{ certificate = "house.pem", key = "house.key", roots = "ca.pem" }}
            listen = "{listen}"
            edges = ["{EDGE}"]
            edge = {{ name = "{EDGE}", address = "{ear}" }}
            [[clearinghouse.apps]]
            provider = "apns"
            app = "{APP}"
            credential = "apns/apns.p8"
            team = "{team}"
            key_id = "{key}"
            server = "{apns}"
            roots = "apns/ca.pem"
            "#,
            settings = folder.path().join("settings.db").display(),
            team = told["apns"]["team"].as_str().unwrap_or_default(),
            key = told["apns"]["key_id"].as_str().unwrap_or_default(),
        );
        folder.write("clearinghouse.toml", &config)?;
        let serves = ORGANISATIONS.map(|name| format!("{name:?}")).join(", ");
        // A few devices get more here than any person would bear.
        let settings = format!(
            r#"{{"settings": [
                {{"Kind": "PushApp", "Identity": "{APP}", "Serves": [{serves}]}},
                {{"Kind": "PushQuota", "Identity": "global", "DeviceMessageSeconds": 0, "DeviceCallSeconds": 0}}
            ]}}"#
        );
        let wanted = folder.write("settings.json", &settings)?;
        let mut import = reveille();
        import.args(["settings", "import", "-c"]).arg(folder.path().join("clearinghouse.toml")).arg(wanted);
        let mut import = Process::start(import)?;
        ensure!(import.wait(STEP)?.success(), "the settings are not imported: {}", import.said());
        let mut world = Self {
            folder,
            disk,
            simulator,
            control,
            house: None,
            listen,
            ops,
            edge: Arc::new(TlsClient::new(Some(&identity), &roots)),
            ledger,
            arrivals: Vec::new(),
            last_seen: 0,
            _ear: stop.drop_guard(),
        };
        world.revive()?;
        Ok(world)
    }

    /// Does what is planned, and says what a power cut has taken.
    pub(crate) async fn suffer(&mut self, fault: Fault, dice: &mut StdRng) -> Result<Lost> {
        let mut lost = Lost::default();
        match fault {
            Fault::Kill => self.kill()?,
            Fault::KillAtStart { after } => {
                self.kill()?;
                self.begin()?;
                tokio::time::sleep(after).await;
                self.kill()?;
            }
            Fault::PowerCut => lost = self.cut(dice)?,
            Fault::DiskFull { room, lasts, ends_in_a_cut } => {
                self.disk.give_room(Some(room))?;
                tokio::time::sleep(lasts).await;
                if ends_in_a_cut {
                    lost = self.cut(dice)?;
                }
                self.disk.give_room(None)?;
            }
            Fault::SyncsFail { count, lasts, ends_in_a_cut, of_files } => {
                match of_files {
                    true => self.disk.fail_syncs_of_files(count)?,
                    false => self.disk.fail_syncs(count)?,
                }
                tokio::time::sleep(lasts).await;
                if ends_in_a_cut {
                    lost = self.cut(dice)?;
                }
                self.disk.fail_syncs(0)?;
            }
            Fault::ProviderDown { lasts, refuses } => {
                self.steer("down", &value!({ "how": if refuses { "refuse" } else { "drop" } }))?;
                tokio::time::sleep(lasts).await;
                self.steer("up", &value!({}))?;
            }
            Fault::GoAway => self.steer("goaway", &value!({ "reason": "Shutdown" }))?,
        }
        if self.house.is_none() {
            self.revive()?;
        }
        Ok(lost)
    }

    /// Reads on in the provider's log.
    pub(crate) fn look(&mut self) -> Result<()> {
        loop {
            let url = format!("{}/apns/log?after={}&limit={LOG_MAX}", self.control, self.last_seen);
            let log = block_in_place(|| json(&url))?;
            let entries = log["entries"].as_array().context("the provider's log")?;
            for entry in entries {
                let arrival = Arrival::read(entry).with_context(|| format!("an entry of the log: {entry}"))?;
                ensure!(arrival.seq == self.last_seen + 1, "the provider's log has a gap before {}", arrival.seq);
                self.last_seen = arrival.seq;
                self.arrivals.push(arrival);
            }
            if entries.len() < LOG_MAX {
                return Ok(());
            }
        }
    }

    /// Waits until the clearing house has nothing left to do.
    pub(crate) async fn until_idle(&self) -> Result<()> {
        let url = format!("http://{}/status", self.ops);
        let end = Instant::now() + 8 * STEP;
        loop {
            let status = block_in_place(|| json(&url))?;
            let house = &status["clearinghouse"];
            if house["open_in_memory"] == 0 && house["more_on_disk"] == false {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the clearing house does not come to rest: {house}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops everything and compares.
    pub(crate) fn audit(mut self) -> Result<Figures> {
        let mut house = self.house.take().context("a clearing house")?;
        let status = block_in_place(|| house.terminate())?;
        ensure!(status.success(), "the clearing house ended with {status}: {}", house.said());
        self.look()?;
        let counts = self.disk.counts()?;
        ensure!(counts.syncs > 0 && counts.writes > 0, "the clearing house was not on the disk of the campaign");
        let journal = SqliteJournal::open(&self.disk.folder().join("clearinghouse.db"))?;
        let mut by_push: HashMap<String, Vec<Arrival>> = HashMap::new();
        for arrival in std::mem::take(&mut self.arrivals) {
            by_push.entry(arrival.push.clone()).or_default().push(arrival);
        }
        let mut figures = auditor::audit(&self.ledger, by_push, &journal)?;
        figures.syncs = (counts.syncs, counts.failed, counts.refused);
        journal.close();
        self.simulator.terminate()?;
        if !figures.broken(false) {
            let Self { folder, disk, .. } = self;
            drop(disk);
            folder.remove()?;
        }
        Ok(figures)
    }

    fn begin(&mut self) -> Result<()> {
        let mut command = reveille();
        command.args(["serve", "--ready-fd", "1", "-c"]).arg(self.folder.path().join("clearinghouse.toml"));
        self.disk.under(&mut command);
        self.house = Some(Process::start(command)?);
        Ok(())
    }

    fn revive(&mut self) -> Result<()> {
        self.begin()?;
        let house = self.house.as_mut().context("a clearing house")?;
        let ready = |said: &str| said.lines().any(|line| line == "ready").then_some(());
        block_in_place(|| house.until("it becomes ready", ready))
    }

    fn kill(&mut self) -> Result<()> {
        let house = self.house.take().context("a clearing house to kill")?;
        let said = house.said();
        block_in_place(|| house.kill())?;
        match said.lines().find(|line| line.contains("panicked")) {
            Some(line) => bail!("the clearing house has panicked: {line}"),
            None => Ok(()),
        }
    }

    fn cut(&mut self, dice: &mut StdRng) -> Result<Lost> {
        self.kill()?;
        Ok(block_in_place(|| self.disk.cut(dice))?)
    }

    fn steer(&self, verb: &str, body: &Value) -> Result<()> {
        let (status, said) = block_in_place(|| http(&format!("{}/apns/{verb}", self.control), Some(body)))?;
        ensure!(status == 200, "the provider does not obey {verb}: {said}");
        Ok(())
    }
}

/// The provider as a process of its own, and what it told of itself.
fn simulator(folder: &Folder) -> Result<(Process, Value)> {
    let mut command = reveille();
    command.args(["simulate", "apns", "--dir"]).arg(folder.path().join("apns"));
    let mut simulator = Process::start(command)?;
    let told = |said: &str| said.lines().find_map(|line| serde_json::from_str(line).ok());
    let told = block_in_place(|| simulator.until("it tells where it is", told))?;
    Ok((simulator, told))
}

/// The edge's ear: writes down which tokens the homes are told to forget, and answers as they would.
struct Ear(Arc<Ledger>);

impl Handler for Ear {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for message in batch.drain(..).filter(Message::is_request) {
            if let Ok(told) = feedback::read_body(&message.body()) {
                let forgotten = told.items.iter().filter(|item| item.verdict == FeedbackVerdict::Forget);
                forgotten.for_each(|item| self.0.forget(item.push));
            }
            // A clearing house that was killed meanwhile says it again.
            let _ = flow.send(message::respond(&message, 200, "home", |_| {}));
        }
    }
}

/// An address of this machine that nobody uses: on a loopback net of its own, so that no other test takes it meanwhile.
fn free_address() -> Result<SocketAddr> {
    let net: (u8, u8) = (rand::random_range(16..250), rand::random_range(1..250));
    Ok(TcpListener::bind((std::net::Ipv4Addr::new(127, net.0, net.1, 11), 0))?.local_addr()?)
}
