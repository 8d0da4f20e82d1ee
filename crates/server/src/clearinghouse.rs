//! A clearing house from its part of the configuration.

use std::sync::Arc;

use reveille_clearinghouse::dispatch::{Dispatch, Outlet};
use reveille_clearinghouse::feedback::{Federation, Outbox, Road};
use reveille_clearinghouse::handle::{Handles, KeyFault};
use reveille_clearinghouse::{Court, Doorway, Intake};
use reveille_core::settings::Snapshot;
use reveille_core::{AppKey, Channel, LaneKey};
use reveille_providers::apns::Keyring;
use reveille_providers::{Circuits, Outcomes, Sender, SenderConfig};
use reveille_sip_net::{ClientAuth, ListenLimits, Listener, Pool, PoolLimits, Requests};
use reveille_store::SqliteJournal;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::SystemClock;
use crate::config::{App, ClearingHouse as Config, Store};
use crate::examiner::Examiner;
use crate::home::target;
use crate::ops::House;
use crate::push_keys::{Approach, PushKeys, approach};
use crate::rest;
use crate::server::{Part, StartError};
use crate::tls::Side;
use crate::vitals::Doors;

/// Answers that wait for one of our edges to read them. What the journal takes in one sync is answered at one instant, and
/// under load that is as many as may wait for it (32,768), all of which may have come over one connection: that many
/// answers are no sign that the edge has stopped reading.
const ANSWERS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Starts a clearing house; answers its part and what status pages show of it.
pub(crate) fn start(
    config: &Config,
    store: &Store,
    settings: watch::Receiver<Arc<Snapshot>>,
    stop: &CancellationToken,
) -> Result<(Part, House), StartError> {
    let tls = Side::read("clearinghouse.tls", &config.tls, ClientAuth::Required)?.known_as([&config.name]);
    let at = config.listen;
    let limits = ListenLimits { queued_bytes_max: ANSWERS_BYTES_MAX, ..ListenLimits::default() };
    let mut doors = Doors::default();
    let listener = doors.open("clearinghouse.listen", at, Listener::tls(at, Arc::clone(&tls.server), limits))?;
    let rest = config.rest.as_ref().map(|rest| rest::open(rest, &config.domain, &store.dir)).transpose()?;
    let (rest, rest_tls) = rest.unzip();
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
    let (senders, push_keys) = senders(config, &examiner, &inner)?;
    dispatch.open(senders.iter().map(|sender| {
        let outlet: Box<dyn Outlet> = Box::new(Arc::clone(sender));
        (sender.lane().clone(), outlet)
    }));
    let apps = config.apps.iter().map(app_key);
    let handles = Arc::new(handles(config)?);
    let mut intake =
        Intake::new(Arc::clone(&journal) as _, Arc::clone(&dispatch), settings.clone(), apps, clock.clone());
    intake.open_with(Arc::clone(&handles));
    if let Some(restored) = crate::backup::restored_at(&store.dir) {
        intake.refuse_calls_before(restored);
    }
    let requests = Requests::new();
    let edges = config.edges.clone();
    let domains = std::iter::once(&config.domain).chain(&config.also_domains).cloned().collect();
    let intake = Arc::new(intake);
    let doorway = Arc::new(Doorway::new(Arc::clone(&intake), Arc::clone(&requests), edges, domains, &config.name));
    let pool = Pool::new(
        Arc::clone(&doorway) as _,
        Arc::clone(&requests) as _,
        Some(Arc::clone(&tls.client)),
        None,
        PoolLimits::default(),
        inner.clone(),
    );
    let federation = Federation {
        requests,
        pool: pool.clone(),
        edge: target(&config.edge),
        name: config.name.clone(),
        domain: config.domain.clone(),
    };
    let mut road: Arc<dyn Road> = Arc::new(federation);
    if let (Some(opened), Some(rest)) = (&rest, &config.rest) {
        road = opened.road(rest, road, settings.clone())?;
    }
    let outbox = Outbox::new(Arc::clone(&journal) as _, clock, fresh_feedback, road);
    let house = House {
        dispatch: Arc::clone(&dispatch),
        journal: Arc::clone(&journal),
        senders: senders.clone(),
        push_keys: Arc::clone(&push_keys),
        examiner,
        court: Arc::clone(&court),
        handles: Arc::clone(&handles),
    };
    let stop = stop.clone();
    let counting = {
        let (intake, inner) = (Arc::clone(&intake), inner.clone());
        tokio::task::spawn_blocking(move || intake.recount(|| inner.is_cancelled()))
    };
    let machines = {
        let (journal, handles, stop) = (Arc::clone(&journal), Arc::clone(&handles), stop.clone());
        async move {
            match rest {
                Some(rest) => rest.run(intake, journal, settings, handles, stop).await,
                None => stop.cancelled().await,
            }
        }
    };
    let task = tokio::spawn(async move {
        let mut replay = tokio::spawn(Arc::clone(&dispatch).run(inner.clone()));
        let mut feedback = tokio::spawn(outbox.run(inner.clone()));
        let mut keys = tokio::spawn(handles.watch(inner.clone()));
        let mut credentials = tokio::spawn(push_keys.watch(inner.clone()));
        let mut judging = tokio::spawn(Arc::clone(&court).run(inner.clone()));
        // A part that ends before it was told to is a broken invariant: the role ends with it, and the process is told.
        tokio::select! {
            ((), ()) = async { tokio::join!(listener.run(doorway, stop), machines) } => {}
            outcome = &mut replay => return tracing::error!(?outcome, "replay has ended by itself"),
            outcome = &mut feedback => return tracing::error!(?outcome, "feedback has ended by itself"),
            outcome = &mut keys => return tracing::error!(?outcome, "the watch over handle keys has ended by itself"),
            outcome = &mut credentials => return tracing::error!(?outcome, "the watch over push credentials has ended by itself"),
            outcome = &mut judging => return tracing::error!(?outcome, "the court has ended by itself"),
        }
        for sender in senders {
            sender.drain().await;
        }
        inner.cancel();
        for task in [replay, feedback, keys, credentials, judging, counting] {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the clearing house has failed");
            }
        }
        pool.finish().await;
        dispatch.take_back_marks();
        journal.close();
    });
    Ok((Part { name: "clearinghouse", task, sides: std::iter::once(tls).chain(rest_tls).collect(), doors }, house))
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

/// A sender for each lane: every app has one for messages and one for calls. Answers them with what watches over their
/// credentials.
fn senders(
    house: &Config,
    outcomes: &Arc<Examiner>,
    stop: &CancellationToken,
) -> Result<(Vec<Arc<Sender>>, Arc<PushKeys>), StartError> {
    let keyring = Keyring::default();
    let approaches = approaches(house, &keyring).map_err(|(key, sentence)| StartError::App { key, sentence })?;
    // What is true of an app, or of a push service's host, is true for all lanes there.
    let circuits = Circuits::default();
    let mut keyed = Vec::with_capacity(house.apps.len());
    for (index, (app, approach)) in house.apps.iter().zip(approaches).enumerate() {
        let start = |channel| {
            let lane = LaneKey { app: app_key(app), channel };
            let mut config = SenderConfig::new(lane, approach.access.clone(), approach.trust.clone());
            (config.connections, config.connections_max) = (app.connections, app.connections_max);
            config.circuits = circuits.clone();
            if let Some(target) = &approach.target {
                config.target = target.clone();
            }
            config.target.proxy.clone_from(&approach.proxy);
            let outcomes: Arc<dyn Outcomes> = Arc::clone(outcomes) as _;
            let sender = Sender::start(config, outcomes, Arc::new(SystemClock), stop);
            sender.map(Arc::new).map_err(|fault| StartError::App {
                key: format!("clearinghouse.apps[{index}]"),
                sentence: fault.to_string(),
            })
        };
        keyed.push((app.clone(), approach.ends, vec![start(Channel::Message)?, start(Channel::Voip)?]));
    }
    let senders = keyed.iter().flat_map(|(_, _, senders)| senders.iter().cloned()).collect();
    Ok((senders, PushKeys::new(keyed, house.proxies.clone(), keyring)))
}

/// How each app comes to its push service. A fault is the key and the sentence.
pub(crate) fn approaches(house: &Config, keyring: &Keyring) -> Result<Vec<Approach>, (String, String)> {
    let one = |(index, app)| {
        approach(app, &house.proxies, keyring)
            .map_err(|(name, sentence)| (format!("clearinghouse.apps[{index}].{name}"), sentence))
    };
    house.apps.iter().enumerate().map(one).collect()
}
