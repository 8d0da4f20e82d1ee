//! The provider, the clearing house that is killed, and what was found in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Result, ensure};
use reveille_core::delivery::PushState;
use reveille_core::{Channel, Reason};
use reveille_federation::PushRequest;
use reveille_sim::apns::{ApnsPush, ApnsSimulator, Outcome};
use reveille_sim::phone::RawSip;
use reveille_sim::recorder::{Entry, Push as _, Query};
use reveille_sip_net::TlsClient;
use reveille_store::{Journal as _, SqliteJournal};

use super::house::{App, House, app_of, free_address};
use super::support::STEP;
use super::{APP, KEY_ID, TEAM, Told};

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
    house: House,
    pub(crate) apns: ApnsSimulator,
    edge: TlsClient,
}

impl World {
    pub(crate) async fn start(name: &str) -> Result<Self> {
        let mut house = House::new(name)?;
        let apns = house.apple(TEAM, KEY_ID).await?;
        let filter = "[log]\nfilter = \"info\"";
        house.configure("dir = \"store\"", free_address()?, &App::of(APP, TEAM, KEY_ID, &apns), filter)?;
        house.wants(&app_of(APP)).await?;
        house.start()?;
        let edge = house.edge_client()?;
        Ok(Self { house, apns, edge })
    }

    pub(crate) fn kill_and_revive(&mut self) -> Result<()> {
        self.house.kill()?;
        self.house.start()
    }

    /// A connection of the edge.
    pub(crate) async fn connect(&self) -> Result<RawSip> {
        self.house.connect(&self.edge).await
    }

    /// Waits until the clearing house has nothing left to do.
    pub(crate) async fn until_idle(&self) -> Result<()> {
        self.house.until_idle(2 * STEP).await
    }

    /// What the provider saw of one request.
    pub(crate) fn seen(&self, request: &PushRequest) -> Vec<Entry<ApnsPush>> {
        let token = request.to.as_ref().map(|to| to.token.expose());
        self.apns.recorder().entries(Query { token, ..Query::default() }, usize::MAX)
    }

    /// Stops everything, and compares what was answered with what the provider saw and the journal knows.
    pub(crate) fn finish(mut self, told: &Told) -> Result<Figures> {
        self.house.stop()?;
        let mut seen: BTreeMap<String, Vec<Entry<ApnsPush>>> = BTreeMap::new();
        for entry in self.apns.recorder().entries(Query::default(), usize::MAX) {
            seen.entry(entry.push.token.to_string()).or_default().push(entry);
        }
        let journal = SqliteJournal::open(&self.house.folder.path().join("store/clearinghouse.db"))?;
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
        ensure!(faults.is_empty(), "against the promise:\n{faults}");
        ensure!(seen.is_empty(), "pushes that nobody asked for: {seen:?}");
        self.house.folder.remove()?;
        Ok(figures)
    }
}
