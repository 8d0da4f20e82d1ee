//! The provider, the clearing house that is killed, and what was found in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reveille_core::delivery::PushState;
use reveille_core::{Channel, Reason};
use reveille_federation::PushRequest;
use reveille_sim::apns::{ApnsOptions, ApnsPush, ApnsSimulator, Outcome, ProviderKey};
use reveille_sim::certs::{Ca, Leaf, apns_key};
use reveille_sim::phone::RawSip;
use reveille_sim::recorder::{Entry, Push as _, Query};
use reveille_sip_net::{Identity, TlsClient, TrustRoots};
use reveille_store::{Journal as _, SqliteJournal};

use super::support::{Folder, Process, STEP, json, reveille};
use super::{APP, EDGE, HOUSE, KEY_ID, TEAM, Told, free_address};

/// What was found in the end.
#[derive(Default)]
pub(crate) struct Figures {
    messages: usize,
    calls: usize,
    /// Messages that reached the phone more than once, under one id.
    pub(crate) repeated_deliveries: usize,
    pub(crate) outcome_unknown: usize,
    /// Of these, the ones that the phone rang for.
    unknown_and_rang: usize,
    /// And the ones that had not reached the provider at all.
    unknown_and_unseen: usize,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { messages, calls, repeated_deliveries, outcome_unknown, unknown_and_rang, unknown_and_unseen } = self;
        write!(
            f,
            "{messages} messages delivered ({repeated_deliveries} of them again under the same apns-id), {calls} calls, \
             none delivered twice ({outcome_unknown} ended outcome-unknown: {unknown_and_rang} of them had rung, \
             {unknown_and_unseen} had not reached the provider)"
        )
    }
}

/// The provider, the clearing house, and the edge's identity.
pub(crate) struct World {
    folder: Folder,
    pub(crate) apns: ApnsSimulator,
    house: Option<Process>,
    listen: SocketAddr,
    ops: SocketAddr,
    edge: TlsClient,
}

impl World {
    pub(crate) async fn start(name: &str) -> Result<Self> {
        let folder = Folder::new(name)?;
        let ca = Ca::new("Crash test authority")?;
        folder.write("ca.pem", &ca.pem())?;
        let key = apns_key()?;
        folder.write("apns.p8", &key.p8_pem)?;
        let mut options = ApnsOptions::new(ca.issue(Leaf::new("localhost", &["localhost", "127.0.0.1"]))?);
        options.keys = vec![ProviderKey::new(TEAM, KEY_ID, key.public_key)];
        let apns = ApnsSimulator::start(options).await?;
        let house = ca.issue(Leaf::new(HOUSE, &[HOUSE]))?;
        folder.write("house.pem", &house.chain_pem())?;
        folder.write("house.key", &house.key_pem())?;
        let edge = ca.issue(Leaf::new(EDGE, &[EDGE]))?;
        let identity = Identity::from_pem(edge.chain_pem().as_bytes(), edge.key_pem().as_bytes())?;
        let edge = TlsClient::new(Some(&identity), &TrustRoots::from_pem(ca.pem().as_bytes())?);
        let (listen, ops, nobody) = (free_address()?, free_address()?, free_address()?);
        folder.write(
            "clearinghouse.toml",
            &format!(
                r#"
                [store]
                dir = "store"
                [log]
                filter = "info"
                [ops]
                listen = "{ops}"
                [clearinghouse]
                name = "{HOUSE}"
                domain = "push.example.net"
                tls = {{ certificate = "house.pem", key = "house.key", roots = "ca.pem" }}
                listen = "{listen}"
                edges = ["{EDGE}"]
                edge = {{ name = "{EDGE}", address = "{nobody}" }}
                [[clearinghouse.apps]]
                provider = "apns"
                app = "{APP}"
                credential = "apns.p8"
                team = "{TEAM}"
                key_id = "{KEY_ID}"
                server = "{}"
                roots = "ca.pem"
                "#,
                apns.addr()
            ),
        )?;
        let wanted = folder.write(
            "settings.json",
            &format!(r#"{{"settings": [{{"Kind": "PushApp", "Identity": "{APP}", "Serves": ["contoso.com"]}}]}}"#),
        )?;
        let mut import = reveille();
        import.args(["settings", "import", "-c"]).arg(folder.path().join("clearinghouse.toml")).arg(wanted);
        let mut import = Process::start(import)?;
        ensure!(import.wait(STEP)?.success(), "the settings are not imported: {}", import.said());
        let mut world = Self { folder, apns, house: None, listen, ops, edge };
        world.revive()?;
        Ok(world)
    }

    /// Starts the clearing house, and waits until it is ready.
    pub(crate) fn revive(&mut self) -> Result<()> {
        let mut command = reveille();
        command.args(["serve", "--ready-fd", "1", "-c"]).arg(self.folder.path().join("clearinghouse.toml"));
        let mut house = Process::start(command)?;
        tokio::task::block_in_place(|| {
            house.until("it becomes ready", |said| said.lines().any(|line| line == "ready").then_some(()))
        })?;
        self.house = Some(house);
        Ok(())
    }

    pub(crate) fn kill_and_revive(&mut self) -> Result<()> {
        let house = self.house.take().context("a clearing house to kill")?;
        tokio::task::block_in_place(|| house.kill())?;
        self.revive()
    }

    /// A connection of the edge.
    pub(crate) async fn connect(&self) -> Result<RawSip> {
        Ok(RawSip::tls(self.listen, &self.edge, HOUSE).await?)
    }

    /// Waits until the clearing house has nothing left to do.
    pub(crate) async fn until_idle(&self) -> Result<()> {
        let url = format!("http://{}/status", self.ops);
        let end = Instant::now() + 2 * STEP;
        loop {
            let status = tokio::task::block_in_place(|| json(&url))?;
            let house = &status["clearinghouse"];
            if house["open_in_memory"] == 0 && house["more_on_disk"] == false {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the clearing house does not come to rest: {house}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the provider saw of one request.
    pub(crate) fn seen(&self, request: &PushRequest) -> Vec<Entry<ApnsPush>> {
        let token = request.to.as_ref().map(|to| to.token.expose());
        self.apns.recorder().entries(Query { token, ..Query::default() }, usize::MAX)
    }

    /// Stops everything, and compares what was answered with what the provider saw and the journal knows.
    pub(crate) fn finish(mut self, told: &Told) -> Result<Figures> {
        let mut house = self.house.take().context("a clearing house")?;
        let status = tokio::task::block_in_place(|| house.terminate())?;
        ensure!(status.success(), "the clearing house ended with {status}");
        let mut seen: BTreeMap<String, Vec<Entry<ApnsPush>>> = BTreeMap::new();
        for entry in self.apns.recorder().entries(Query::default(), usize::MAX) {
            seen.entry(entry.push.token.to_string()).or_default().push(entry);
        }
        let journal = SqliteJournal::open(&self.folder.path().join("store/clearinghouse.db"))?;
        let origin = "contoso.com".parse()?;
        let (mut ids, mut faults) = (BTreeSet::new(), String::new());
        let mut figures = Figures::default();
        for batch in &told.batches {
            ensure!(batch.answered, "a batch was never answered");
        }
        for request in told.requests() {
            let token = request.to.as_ref().map(|to| to.token.expose()).unwrap_or_default();
            let seen = seen.remove(token).unwrap_or_default();
            let delivered = seen.iter().filter(|entry| entry.push.delivered()).count();
            let state = journal.trace(&origin, request.id)?.map(|traced| traced.state);
            let unknown = state == Some(PushState::NotPushed(Reason::OutcomeUnknown));
            let right = match request.channel {
                Channel::Message => state == Some(PushState::Accepted) && delivered > 0,
                // Once it has reached the provider, it is not sent again unless it was provably not processed.
                Channel::Voip => {
                    let processed =
                        |entry: &&Entry<ApnsPush>| !matches!(entry.push.outcome, Outcome::Refused | Outcome::Dropped);
                    let once = delivered <= 1 && seen.iter().filter(processed).count() <= 1;
                    once && (unknown || (state == Some(PushState::Accepted) && delivered == 1))
                }
            };
            let own: BTreeSet<&str> = seen.iter().map(|entry| &*entry.push.apns_id).collect();
            let named = own.len() <= 1 && own.iter().all(|id| ids.insert((*id).to_owned()));
            if !right || !named {
                let _ = writeln!(faults, "{} {:?}: {state:?}, {own:?}, {seen:?}", request.id, request.channel);
            }
            match request.channel {
                Channel::Message => {
                    figures.messages += 1;
                    figures.repeated_deliveries += usize::from(delivered > 1);
                }
                Channel::Voip => {
                    figures.calls += 1;
                    figures.outcome_unknown += usize::from(unknown);
                    figures.unknown_and_rang += usize::from(unknown && delivered > 0);
                    figures.unknown_and_unseen += usize::from(unknown && seen.is_empty());
                }
            }
        }
        journal.close();
        let Self { folder, .. } = self;
        ensure!(faults.is_empty(), "against the promise:\n{faults}");
        ensure!(seen.is_empty(), "pushes that nobody asked for: {seen:?}");
        folder.remove()?;
        Ok(figures)
    }
}
