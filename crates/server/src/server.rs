//! The server: every role of one configuration, started, watched, reloaded and stopped together.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reveille_core::settings::Snapshot;
use reveille_core::{PushId, SipDomain, TokenKey};
use reveille_home::Desk;
use reveille_store::{Journal as _, Settings as _, SqliteSettings, StoreError, Traced};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::certificates::Certificates;
use crate::config::{self, ConfigError, Fault, Raw};
use crate::names::Names;
use crate::obstacle::Unheard;
use crate::ops::{self, Status};
use crate::tls::{Side, TlsFault};
use crate::users_file::UsersError;
use crate::vitals::Doors;
use crate::{SocketFault, SystemClock, admin, clearinghouse, edge, home};

/// How long roles may take to finish after they were told to stop.
const GRACE: Duration = Duration::from_secs(20);

/// Why a server does not start. The administrator's to mend; every variant names the key.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The socket of administrators.
    #[error(transparent)]
    Admin(#[from] SocketFault),
    /// One app's credentials.
    #[error("{key}: {sentence}")]
    App {
        /// The table.
        key: String,
        /// What is wrong.
        sentence: String,
    },
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener.
    #[error("{key}: {}", Unheard(*address, source))]
    Listen {
        /// The key.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The name servers.
    #[error("resolver: {0}")]
    Resolver(String),
    /// A store's file or folder.
    #[error("store.dir: {0}")]
    Store(#[from] StoreError),
    /// The store's folder.
    #[error("store.dir: {path} cannot be made: {source}")]
    StoreDir {
        /// The folder.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The secret that TURN servers know.
    #[error("edge.av.secret: {path} cannot be used: {source}")]
    RelaySecret {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Threads for administrators.
    #[error("admin: the system gives no threads for administrators: {0}")]
    Threads(io::Error),
    /// The key that signs a role's tokens.
    #[error(
        "store.dir: {path} must hold the {} bytes that sign what is written into dialogs: {source}. Where the file is \
         removed a new one is made; calls under way then end one-sidedly",
        TokenKey::LEN
    )]
    TokenKey {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// The users.
    #[error(transparent)]
    Users(#[from] UsersError),
}

/// One running role.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) task: JoinHandle<()>,
    pub(crate) sides: Vec<Side>,
    pub(crate) doors: Doors,
}

/// A running server.
pub struct Server {
    parts: Vec<Part>,
    certificates: Arc<Certificates>,
    watch: Option<JoinHandle<()>>,
    ops: Option<JoinHandle<()>>,
    settings: Arc<SqliteSettings>,
    status: Arc<Status>,
    stop: CancellationToken,
}

impl Server {
    /// Starts every role of a configuration. Answers when all of them listen.
    pub async fn start(raw: &Raw) -> Result<Self, StartError> {
        let faults: Vec<Fault> = config::check(raw, false);
        if !faults.is_empty() {
            return Err(ConfigError::Faults { faults }.into());
        }
        crate::process::raise_open_files();
        ops::recorder();
        std::fs::create_dir_all(&raw.store.dir)
            .map_err(|source| StartError::StoreDir { path: raw.store.dir.display().to_string(), source })?;
        let settings = Arc::new(SqliteSettings::open(&raw.settings_path())?);
        let (administration, admin_side) = admin::open(raw, &settings).await?;
        let stop = CancellationToken::new();
        let mut status = Status { settings: Some(settings.watch()), ..Status::default() };
        let mut parts = Vec::new();
        let outcome = start_roles(raw, &settings, &mut status, &mut parts, &stop).await;
        for part in &mut parts {
            status.vitals.roles.push((part.name, part.task.abort_handle()));
            status.vitals.doors.join(std::mem::take(&mut part.doors));
        }
        let sides = parts.iter_mut().flat_map(|part: &mut Part| {
            let name = part.name;
            part.sides.drain(..).map(move |side| (name, side))
        });
        let sides = sides.chain(admin_side.map(|side| ("admin", side)));
        let certificates = Certificates::new(sides.collect(), Arc::new(SystemClock));
        status.certificates = Some(Arc::clone(&certificates));
        let status = Arc::new(status);
        let mut server = Self { parts, certificates, watch: None, ops: None, settings, status, stop };
        if let Err(error) = outcome {
            // Whatever has started is stopped again: a half-started server helps nobody.
            server.stop().await;
            return Err(error);
        }
        let (settings, ports) = (Arc::clone(&server.settings), crate::ports::of(&server.status));
        let running = administration.run(raw.clone(), settings, ports, server.stop.clone());
        let task = tokio::spawn(running);
        server.parts.push(Part { name: "admin", task, sides: Vec::new(), doors: Doors::default() });
        if let Some(ops) = &raw.ops {
            let listener = match tokio::net::TcpListener::bind(ops.listen).await {
                Ok(listener) => listener,
                Err(source) => {
                    server.stop().await;
                    return Err(StartError::Listen { key: "ops.listen", address: ops.listen, source });
                }
            };
            server.ops = Some(tokio::spawn(ops::serve(listener, Arc::clone(&server.status), server.stop.clone())));
        }
        server.watch = Some(tokio::spawn(Arc::clone(&server.certificates).watch(server.stop.clone())));
        info!(roles = ?server.parts.iter().map(|part| part.name).collect::<Vec<_>>(), "started");
        Ok(server)
    }

    /// The settings that the roles watch.
    pub fn settings(&self) -> &Arc<SqliteSettings> {
        &self.settings
    }

    /// Follows the settings, as the roles do.
    pub fn watch_settings(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.settings.watch()
    }

    /// Where the home may be asked about users, if there is one.
    pub fn desk(&self) -> Option<&Desk> {
        self.status.desk.as_ref()
    }

    /// What the clearing house's journal knows of one push, if a clearing house runs here.
    pub fn trace(&self, origin: &SipDomain, push: PushId) -> Option<Traced> {
        self.status.house.as_ref()?.journal.trace(origin, push).ok()?
    }

    /// What status pages show.
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Reads certificates, roots, revocation lists and push credentials again. New connections use them; old ones go on, except those whose
    /// certificate is revoked now. A fault changes nothing of that side. The same happens by itself when files change.
    pub fn reload(&self) {
        self.certificates.reread();
        if let Some(house) = &self.status.house {
            house.push_keys.look(true);
        }
        if let Some(Err(fault)) = self.status.house.as_ref().map(|house| house.handles.reread()) {
            error!(key = "clearinghouse.handles.keys", "the keys for handles stay as they were: {fault}");
        }
    }

    /// Looks at the configuration file from now on: where it names another key of an app's push service, that is used.
    /// Everything else in it waits for the next start.
    pub fn follow(&self, config: &Path) {
        if let Some(house) = &self.status.house {
            house.push_keys.follow(config);
        }
    }

    /// Completes when a role has ended though nobody told it to: a broken invariant.
    pub async fn failed(&mut self) {
        if self.parts.is_empty() {
            return std::future::pending().await;
        }
        let tasks = self.parts.iter_mut().map(|part| &mut part.task);
        let (outcome, index, _) = futures_util::future::select_all(tasks).await;
        // A task that has ended must not be awaited again.
        let part = self.parts.swap_remove(index);
        error!(
            alarm = reveille_core::Alarm::PartEnded.as_str(),
            role = part.name,
            ?outcome,
            "a role has ended by itself"
        );
    }

    /// Tells every role to stop, and waits for what is under way. Answers whether all of them finished in time.
    pub async fn stop(&mut self) -> bool {
        self.stop.cancel();
        let mut in_time = true;
        let end = tokio::time::Instant::now() + GRACE;
        for part in self.parts.drain(..) {
            match tokio::time::timeout_at(end, part.task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    error!(role = part.name, %error, "the role has failed");
                    in_time = false;
                }
                Err(_) => {
                    warn!(role = part.name, grace_secs = GRACE.as_secs(), "the role did not finish in time");
                    in_time = false;
                }
            }
        }
        for task in self.ops.take().into_iter().chain(self.watch.take()) {
            let _ = tokio::time::timeout_at(end, task).await;
        }
        self.settings.close();
        in_time
    }
}

async fn start_roles(
    raw: &Raw,
    settings: &Arc<SqliteSettings>,
    status: &mut Status,
    parts: &mut Vec<Part>,
    stop: &CancellationToken,
) -> Result<(), StartError> {
    if let Some(config) = &raw.clearinghouse {
        let (part, house) = clearinghouse::start(config, &raw.store, settings.watch(), stop)?;
        parts.push(part);
        status.house = Some(house);
    }
    if let Some(config) = &raw.edge {
        let names = Names::new(&raw.resolver, &settings.snapshot())?;
        let (part, edge) = edge::start(config, &raw.store, settings, names, stop)?;
        parts.push(part);
        status.edge = Some(edge);
    }
    if let Some(config) = &raw.home {
        let (part, desk, tls) = home::start(config, &raw.store, settings.watch(), stop)?;
        parts.push(part);
        let resolver = Names::new(&raw.resolver, &settings.watch().borrow())?.resolver;
        let tested = crate::ports::synthetic::OfHome::new(config, desk.clone(), tls, resolver, settings.watch());
        status.synthetic = Some(Arc::new(tested));
        status.desk = Some(desk);
    }
    Ok(())
}
