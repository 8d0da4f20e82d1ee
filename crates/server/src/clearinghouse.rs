//! A clearing house from its part of the configuration.

use std::sync::Arc;

use reveille_clearinghouse::dispatch::{Dispatch, Outlet};
use reveille_clearinghouse::feedback::{Federation, Outbox};
use reveille_clearinghouse::handle::{Handles, KeyFault};
use reveille_clearinghouse::{Court, Doorway, Intake};
use reveille_core::settings::Snapshot;
use reveille_core::{AppKey, Channel, Clock as _, LaneKey, Provider};
use reveille_providers::apns::Keyring;
use reveille_providers::tls::Trust;
use reveille_providers::{Access, Outcomes, Sender, SenderConfig, Target, apns, fcm};
use reveille_sip_net::{ClientAuth, ListenLimits, Listener, Pool, PoolLimits, Requests};
use reveille_store::SqliteJournal;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::SystemClock;
use crate::config::{App, ClearingHouse as Config, Store};
use crate::credential_file::CredentialFile;
use crate::examiner::Examiner;
use crate::home::target;
use crate::ops::House;
use crate::server::{Part, StartError};
use crate::tls::Side;
use crate::vitals::Doors;

/// Starts a clearing house; answers its part and what status pages show of it.
pub(crate) fn start(
    config: &Config,
    store: &Store,
    settings: watch::Receiver<Arc<Snapshot>>,
    stop: &CancellationToken,
) -> Result<(Part, House), StartError> {
    let tls = Side::read("clearinghouse.tls", &config.tls, ClientAuth::Required)?.known_as([&config.name]);
    let at = config.listen;
    let limits = ListenLimits::default();
    let mut doors = Doors::default();
    let listener = doors.open("clearinghouse.listen", at, Listener::tls(at, Arc::clone(&tls.server), limits))?;
    let journal = Arc::new(SqliteJournal::open(&store.dir.join("clearinghouse.db"))?);
    let clock = Arc::new(SystemClock);
    let fresh_feedback = Arc::new(Notify::new());
    let verdicts = Arc::clone(&journal) as _;
    let court = Court::open(verdicts, settings.clone(), clock.clone(), Arc::clone(&fresh_feedback))?;
    let dispatch =
        Dispatch::new(Arc::clone(&journal) as _, Arc::clone(&court), clock.clone(), Arc::clone(&fresh_feedback));
    // Lanes, dispatch and feedback stop after the door, so that what was taken is still on its way as long as may be.
    let inner = CancellationToken::new();
    let examiner = Examiner::new(Arc::clone(&dispatch) as _);
    let files = config.apps.iter().map(|app| CredentialFile::of(app, SystemClock.now())).collect();
    let senders = senders(&config.apps, &examiner, &inner)?;
    dispatch.open(senders.iter().map(|sender| {
        let outlet: Box<dyn Outlet> = Box::new(Arc::clone(sender));
        (sender.lane().clone(), outlet)
    }));
    let apps = config.apps.iter().map(app_key);
    let handles = Arc::new(handles(config)?);
    let mut intake = Intake::new(Arc::clone(&journal) as _, Arc::clone(&dispatch), settings, apps, clock.clone());
    intake.open_with(Arc::clone(&handles));
    if let Some(restored) = crate::backup::restored_at(&store.dir) {
        intake.refuse_calls_before(restored);
    }
    let requests = Requests::new();
    let edges = config.edges.clone();
    let domains = std::iter::once(&config.domain).chain(&config.also_domains).cloned().collect();
    let doorway = Arc::new(Doorway::new(Arc::new(intake), Arc::clone(&requests), edges, domains, &config.name));
    let pool = Pool::new(
        Arc::clone(&doorway) as _,
        Arc::clone(&requests) as _,
        Some(Arc::clone(&tls.client)),
        None,
        PoolLimits::default(),
        inner.clone(),
    );
    let road = Federation {
        requests,
        pool: pool.clone(),
        edge: target(&config.edge),
        name: config.name.clone(),
        domain: config.domain.clone(),
    };
    let outbox = Outbox::new(Arc::clone(&journal) as _, clock, fresh_feedback, Arc::new(road));
    let house = House {
        dispatch: Arc::clone(&dispatch),
        journal: Arc::clone(&journal),
        senders: senders.clone(),
        files,
        examiner,
        court: Arc::clone(&court),
        handles: Arc::clone(&handles),
    };
    let stop = stop.clone();
    let task = tokio::spawn(async move {
        let mut replay = tokio::spawn(Arc::clone(&dispatch).run(inner.clone()));
        let mut feedback = tokio::spawn(outbox.run(inner.clone()));
        let mut keys = tokio::spawn(handles.watch(inner.clone()));
        let mut judging = tokio::spawn(Arc::clone(&court).run(inner.clone()));
        // A part that ends before it was told to is a broken invariant: the role ends with it, and the process is told.
        tokio::select! {
            () = listener.run(doorway, stop) => {}
            outcome = &mut replay => return tracing::error!(?outcome, "replay has ended by itself"),
            outcome = &mut feedback => return tracing::error!(?outcome, "feedback has ended by itself"),
            outcome = &mut keys => return tracing::error!(?outcome, "the watch over handle keys has ended by itself"),
            outcome = &mut judging => return tracing::error!(?outcome, "the court has ended by itself"),
        }
        for sender in senders {
            sender.drain().await;
        }
        inner.cancel();
        for task in [replay, feedback, keys, judging] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the clearing house has failed");
            }
        }
        pool.finish().await;
        journal.close();
    });
    Ok((Part { name: "clearinghouse", task, sides: vec![tls], doors }, house))
}

/// The keys for sealed handles, if this clearing house takes any.
fn handles(config: &Config) -> Result<Handles, StartError> {
    let Some(keys) = &config.handles else { return Ok(Handles::none(Arc::new(SystemClock))) };
    let fault =
        |fault: KeyFault| StartError::App { key: "clearinghouse.handles.keys".into(), sentence: fault.to_string() };
    let handles = Handles::read(keys.folder(), Arc::new(SystemClock)).map_err(fault)?;
    if handles.keys().is_empty() {
        let folder = keys.keys.display();
        tracing::warn!(%folder, "there is no key to seal handles with yet: New-CsPushHandleKey makes one");
    }
    Ok(handles)
}

/// Which app that is.
pub(crate) fn app_key(app: &App) -> AppKey {
    AppKey { provider: app.provider, app: app.app.as_str().into(), environment: app.environment }
}

/// A sender for each lane: every app has one for messages and one for calls.
fn senders(apps: &[App], outcomes: &Arc<Examiner>, stop: &CancellationToken) -> Result<Vec<Arc<Sender>>, StartError> {
    let accesses = accesses(apps).map_err(|(key, sentence)| StartError::App { key, sentence })?;
    let mut senders = Vec::with_capacity(2 * apps.len());
    for (index, (app, (access, trust, target))) in apps.iter().zip(accesses).enumerate() {
        for channel in [Channel::Message, Channel::Voip] {
            let lane = LaneKey { app: app_key(app), channel };
            let mut config = SenderConfig::new(lane, access.clone(), trust.clone());
            config.connections = app.connections;
            if let Some(target) = &target {
                config.target = target.clone();
            }
            let outcomes: Arc<dyn Outcomes> = Arc::clone(outcomes) as _;
            let sender = Sender::start(config, outcomes, Arc::new(SystemClock), stop).map_err(|fault| {
                StartError::App { key: format!("clearinghouse.apps[{index}]"), sentence: fault.to_string() }
            })?;
            senders.push(Arc::new(sender));
        }
    }
    Ok(senders)
}

/// How one app comes to its provider.
type Approach = (Access, Trust, Option<Target>);

/// As whom each app comes to its provider, whom it trusts there, and where that is, if it is not the usual place. A
/// fault is the key and the sentence.
pub(crate) fn accesses(apps: &[App]) -> Result<Vec<Approach>, (String, String)> {
    let keyring = Keyring::default();
    apps.iter()
        .enumerate()
        .map(|(index, app)| {
            let fault = |name: &str, fault: &dyn std::fmt::Display| {
                (format!("clearinghouse.apps[{index}].{name}"), fault.to_string())
            };
            let trust = match &app.roots {
                Some(path) => Trust::read(path),
                None => Trust::system(),
            };
            let trust = trust.map_err(|error| fault("roots", &error))?;
            let text = std::fs::read_to_string(&app.credential).map_err(|error| {
                fault("credential", &format_args!("{} cannot be read: {error}", app.credential.display()))
            })?;
            let access = match app.provider {
                Provider::Apns => {
                    let (team, key_id) = (app.team.as_deref(), app.key_id.as_deref());
                    let signer = keyring.signer(team.unwrap_or_default(), key_id.unwrap_or_default(), &text);
                    Access::Apns(apns::Access::Token(signer.map_err(|error| fault("credential", &error))?))
                }
                Provider::Fcm => {
                    let account = fcm::Account::new(&text, &trust).map_err(|error| fault("credential", &error))?;
                    Access::Fcm(Arc::new(account))
                }
                other => return Err(fault("provider", &format_args!("this version has no sender for {other}"))),
            };
            let target = match &app.server {
                Some(server) => {
                    Some(server_target(server).ok_or_else(|| fault("server", &"it needs the form host:port"))?)
                }
                None => None,
            };
            Ok((access, trust, target))
        })
        .collect()
}

fn server_target(server: &str) -> Option<Target> {
    let (host, port) = server.rsplit_once(':')?;
    Some(Target { host: host.into(), port: port.parse().ok()?, address: None, proxy: None })
}
