//! The clearing house, for cmdlets.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use reveille_admin::ports::Asked;
use reveille_admin::ports::house::{Credential, House, Lane, ProviderAnswer};
use reveille_clearinghouse::court::Decided;
use reveille_core::{AppKey, Channel, LaneKey, PushId, SipDomain, Timestamp};
use reveille_providers::{Access, State, Which, apns};
use reveille_store::{BrakeScope, Braked, Journal as _, StoreError, TracedPush};

use super::reading;
use crate::ops::{self, Status};
use crate::push_keys::Shown;

/// A process with a clearing house.
pub(super) struct ClearingHouse(pub(super) Arc<Status>);

impl ClearingHouse {
    fn house(&self) -> Option<&ops::House> {
        self.0.house.as_ref()
    }
}

impl House for ClearingHouse {
    fn lanes(&self) -> Vec<Lane> {
        let senders = self.house().into_iter().flat_map(|house| &house.senders);
        let loads = self.house().map(|house| house.dispatch.lanes()).unwrap_or_default();
        let lane = |sender: &Arc<reveille_providers::Sender>| {
            let health = sender.health();
            let load = loads.iter().find(|load| load.key == *sender.lane());
            // A connection is worth nothing while the push service takes no push on it.
            let refused = health.refused.filter(|_| health.state == State::Ready);
            let trouble = health.trouble.map(|(at, sentence)| (at, sentence.into()));
            let broken = health.broken.filter(|_| health.state == State::Ready);
            let (state, trouble) = match broken.map(|broken| (broken.which, broken.since, broken.why)) {
                Some((Which::App, since, word)) => ("refused", Some((since, refusal(&word)))),
                Some((Which::Host, since, word)) => {
                    ("failing", Some((since, format!("the push service fails: {word}; one push probes at a time"))))
                }
                Some((Which::Lane, since, word)) => (
                    "paused",
                    Some((since, format!("the push service wants a pause: {word}; one push probes at a time"))),
                ),
                None => match refused {
                    Some((since, word)) => ("refused", Some((since, refusal(&word)))),
                    None => (health.state.as_str(), trouble),
                },
            };
            Lane {
                key: sender.lane().clone(),
                state,
                connections: health.connections,
                in_flight: health.in_flight,
                queued: health.queued + load.map_or(0, |load| load.waiting),
                on_disk: load.map_or(0, |load| load.on_disk),
                organisations: load.map_or(0, |load| load.flows),
                noisiest: load.and_then(|load| load.noisiest.clone()),
                trouble,
            }
        };
        senders.map(lane).collect()
    }

    fn load(&self) -> (usize, bool) {
        self.house().map(|house| house.dispatch.load()).unwrap_or_default()
    }

    fn credentials(&self) -> Vec<Credential> {
        let Some(house) = self.house() else { return Vec::new() };
        // Both channels of an app come with the same credential.
        let senders = house.senders.iter().filter(|sender| sender.lane().channel == Channel::Message);
        let credential = |sender: &Arc<reveille_providers::Sender>| {
            let app = sender.lane().app.clone();
            let shown = house.push_keys.shown(&app);
            credential(app, &sender.access(), shown, sender.server())
        };
        senders.map(credential).collect()
    }

    fn ask(&self, lane: LaneKey) -> Asked<'_, Option<ProviderAnswer>> {
        Box::pin(async move {
            let house = self.house()?;
            let sender = house.senders.iter().find(|sender| *sender.lane() == lane)?;
            let begun = Instant::now();
            let outcome = house.examiner.ask(sender).await?;
            Some(ProviderAnswer { verdict: outcome.verdict, status: outcome.status, took: begun.elapsed() })
        })
    }

    fn traces(&self, push: PushId, origin: Option<SipDomain>) -> Asked<'_, Result<Vec<TracedPush>, StoreError>> {
        let Some(house) = self.house() else { return Box::pin(async { Ok(Vec::new()) }) };
        let journal = Arc::clone(&house.journal);
        reading(move || journal.traces(push, origin.as_ref()))
    }

    fn latest(&self, origin: Option<SipDomain>, most: usize) -> Asked<'_, Result<Vec<TracedPush>, StoreError>> {
        let Some(house) = self.house() else { return Box::pin(async { Ok(Vec::new()) }) };
        let journal = Arc::clone(&house.journal);
        reading(move || journal.latest(origin.as_ref(), most))
    }

    fn brakes(&self) -> Asked<'_, Result<Vec<Braked>, StoreError>> {
        Box::pin(async move {
            match self.house() {
                Some(house) => house.court.held().await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn brake(&self, scope: BrakeScope, reach: Timestamp, why: String) -> Asked<'_, Result<(), StoreError>> {
        Box::pin(async move {
            match self.house() {
                Some(house) => house.court.apply(scope, reach, why).await,
                None => Ok(()),
            }
        })
    }

    fn release_brake(&self, scope: BrakeScope, right: bool) -> Asked<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            let decided = if right { Decided::Right } else { Decided::Wrong };
            match self.house() {
                Some(house) => house.court.release(&scope, decided).await,
                None => Ok(0),
            }
        })
    }
}

fn credential(app: AppKey, access: &Access, shown: Option<Shown>, server: String) -> Credential {
    let (kind, key_id, owner) = match access {
        Access::Apns(apns::Access::Token(signer)) => ("key", signer.key_id(), signer.team()),
        Access::Apns(apns::Access::Certificate(_)) => ("certificate", "", ""),
        Access::Fcm(account) => ("service-account", account.key_id(), account.email()),
    };
    Credential {
        app,
        kind,
        key_id: key_id.to_owned(),
        owner: owner.to_owned(),
        file: shown.as_ref().map(|shown| shown.path.display().to_string()).unwrap_or_default(),
        read: shown.as_ref().map(|shown| shown.read).unwrap_or_default(),
        written: shown.as_ref().and_then(|shown| written(&shown.path)),
        expires: shown.as_ref().and_then(|shown| shown.expires),
        differs: shown.and_then(|shown| shown.differs),
        server,
    }
}

fn refusal(word: &str) -> String {
    format!("the push service refuses the app or its credential: {word}")
}

/// When a file was last written.
fn written(path: &Path) -> Option<Timestamp> {
    let at = std::fs::metadata(path).and_then(|file| file.modified()).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}
