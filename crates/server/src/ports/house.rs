//! The clearing house, for cmdlets.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use reveille_admin::ports::Asked;
use reveille_admin::ports::house::{Credential, House, Lane, ProviderAnswer};
use reveille_core::{AppKey, Channel, LaneKey, PushId, SipDomain, Timestamp};
use reveille_providers::{Access, State, apns};
use reveille_store::{Journal as _, StoreError, TracedPush};

use super::reading;
use crate::credential_file::CredentialFile;
use crate::ops::{self, Status};

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
        let lane = |sender: &Arc<reveille_providers::Sender>| {
            let health = sender.health();
            // A connection is worth nothing while the push service takes no push on it.
            let refused = health.refused.filter(|_| health.state == State::Ready);
            let trouble = health.trouble.map(|(at, sentence)| (at, sentence.into()));
            Lane {
                key: sender.lane().clone(),
                state: if refused.is_some() { "refused" } else { health.state.as_str() },
                connections: health.connections,
                in_flight: health.in_flight,
                queued: health.queued,
                trouble: refused
                    .map(|(since, word)| (since, format!("the push service refuses the app or its credential: {word}")))
                    .or(trouble),
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
            let file = house.files.iter().find(|file| file.is_of(&app));
            credential(app, &sender.access(), file, sender.server())
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
}

fn credential(app: AppKey, access: &Access, file: Option<&CredentialFile>, server: String) -> Credential {
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
        file: file.map(|file| file.path().display().to_string()).unwrap_or_default(),
        read: file.map(|file| file.read).unwrap_or_default(),
        written: file.and_then(|file| written(file.path())),
        differs: file.and_then(CredentialFile::differs),
        expires: None,
        server,
    }
}

/// When a file was last written.
fn written(path: &Path) -> Option<Timestamp> {
    let at = std::fs::metadata(path).and_then(|file| file.modified()).ok()?;
    let since = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}
