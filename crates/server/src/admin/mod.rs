//! The admin API of this server: its desk, its socket, its TLS listener.

mod places;
mod socket;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use reveille_admin::api::{Api, Groups, LocalUsers, Peer, RUNNING_MAX};
use reveille_admin::probes::results::Results;
use reveille_admin::probes::schedule;
use reveille_admin::roles::removal;
use reveille_admin::room::Room;
use reveille_admin::{Desk, ports::Ports};
use reveille_core::Clock as _;
use reveille_sip_net::{ClientAuth, TlsServer};
use reveille_store::{SqliteAdmin, SqliteSettings};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::SystemClock;
use crate::config::Raw;
use crate::server::StartError;
use crate::tls::Side;

use places::Places;
use socket::Socket;
pub use socket::SocketFault;

/// What the admin API needs before the roles are up: so that nothing of it can fail once they are.
pub(crate) struct Opened {
    socket: Option<Socket>,
    listener: Option<(TcpListener, Arc<TlsServer>)>,
    accounts: Arc<SqliteAdmin>,
    /// For connections, and for what must be done before somebody is let in.
    entrance: Room,
    /// For cmdlets, each on a thread of its own, so that those who come are answered while it is full.
    office: Room,
}

/// Opens the file of accounts and the listeners, and ends removals of roles that a stop has cut short: once a server says
/// that it has started, nothing of them is left. The side is for whoever watches certificates.
pub(crate) async fn open(raw: &Raw, settings: &SqliteSettings) -> Result<(Opened, Option<Side>), StartError> {
    let accounts = Arc::new(SqliteAdmin::open(&raw.accounts_path())?);
    end_removals(settings, &accounts).await;
    let entrance = Room::open("admin-entrance", THREADS, HASHES_MAX).map_err(StartError::Threads)?;
    let office = Room::open("admin-office", 1, RUNNING_MAX).map_err(StartError::Threads)?;
    let config = raw.admin.clone().unwrap_or_default();
    let socket = match Socket::open(&raw.admin_socket(), config.socket_group.as_deref()) {
        Ok(socket) => Some(socket),
        Err(fault) if raw.admin.is_some() => return Err(StartError::Admin(fault)),
        Err(fault) => {
            // Nobody has asked for it, and phones are woken without it.
            warn!(%fault, "there is no admin socket");
            None
        }
    };
    let Some((at, files)) = config.listen.zip(config.tls.as_ref()) else {
        return Ok((Opened { socket, listener: None, accounts, entrance, office }, None));
    };
    let side = Side::read("admin.tls", files, ClientAuth::Optional)?;
    let listener = TcpListener::bind(at).await;
    let listener = listener.map_err(|source| StartError::Listen { key: "admin.listen", address: at, source })?;
    let tls = Arc::clone(&side.server);
    Ok((Opened { socket, listener: Some((listener, tls)), accounts, entrance, office }, Some(side)))
}

impl Opened {
    /// Answers administrators until `stop`, and then waits for what is under way.
    pub(crate) async fn run(self, raw: Raw, settings: Arc<SqliteSettings>, mut ports: Ports, stop: CancellationToken) {
        let config = raw.admin.clone().unwrap_or_default();
        // Tests run by themselves where there is a home that they can leave from.
        let results = Arc::new(Results::open(&raw.store.dir.join("probes.json")));
        ports.results = ports.road.is_some().then(|| Arc::clone(&results));
        let desk = Desk {
            settings,
            accounts: self.accounts.clone(),
            guesses: self.accounts.clone(),
            audit: self.accounts.clone(),
            clock: Arc::new(SystemClock),
            sites: raw.declared_sites(),
            ports,
        };
        let groups = Groups {
            server_admins: config.groups.rtcuniversalserveradmins,
            user_admins: config.groups.rtcuniversaluseradmins,
            read_only_admins: config.groups.rtcuniversalreadonlyadmins,
        };
        let names = config.names.iter().map(ToString::to_string).collect();
        let desk = Arc::new(desk);
        let tests = schedule::run(Arc::clone(&desk), results, stop.clone());
        let api = Api::new(desk, names, LocalUsers::new(groups), self.office);
        let listening = self.entrance.house(listen(Arc::clone(&api), self.socket, self.listener, stop));
        let (listened, ()) = tokio::join!(listening, tests);
        if let Err(error) = listened {
            tracing::error!(%error, "nobody listens to administrators any more");
        }
        api.finish().await;
        self.accounts.close();
    }
}

/// Ends what another process, or this one before it stopped, has left half done.
async fn end_removals(settings: &SqliteSettings, accounts: &SqliteAdmin) {
    match removal::finish(SystemClock.now(), removal::Files { settings, accounts }).await {
        Ok(gone) if gone.is_empty() => {}
        Ok(gone) => info!(roles = gone.join(", "), "the removal of roles, which a stop had cut short, is done"),
        Err(error) => warn!(%error, "the removal of roles, which a stop had cut short, could not be done"),
    }
}

/// Takes connections until `stop`, and waits for their ends. All of it, handshakes and fields of HTTP too, is done where
/// this is polled.
async fn listen(
    api: Arc<Api>,
    socket: Option<Socket>,
    listener: Option<(TcpListener, Arc<TlsServer>)>,
    stop: CancellationToken,
) {
    let local = async {
        match &socket {
            Some(socket) => accept_local(&api, socket, &stop).await,
            None => stop.cancelled().await,
        }
    };
    let remote = async {
        match &listener {
            Some((listener, tls)) => accept_remote(&api, listener, tls, &stop).await,
            None => stop.cancelled().await,
        }
    };
    tokio::join!(local, remote);
}

async fn accept_local(api: &Arc<Api>, socket: &Socket, stop: &CancellationToken) {
    info!(socket = %socket.path().display(), "administrators of this machine are listened to");
    let (seats, conversations) = (Arc::new(Semaphore::new(LOCAL_MAX)), TaskTracker::new());
    loop {
        let Some(Ok(seat)) = stop.run_until_cancelled(Arc::clone(&seats).acquire_owned()).await else { break };
        let Some(accepted) = stop.run_until_cancelled(socket.accept()).await else { break };
        let Some((stream, uid)) = with_owner(accepted).await else { continue };
        let (api, stop) = (Arc::clone(api), stop.child_token());
        conversations.spawn(async move {
            converse(api, stream, Peer::Local { uid }, stop).await;
            drop(seat);
        });
    }
    conversations.close();
    conversations.wait().await;
}

/// The connection with the user whose process made it; the system noted that when it was made.
async fn with_owner(accepted: std::io::Result<UnixStream>) -> Option<(UnixStream, u32)> {
    let known = accepted.and_then(|stream| stream.peer_cred().map(|owner| (stream, owner.uid())));
    match known {
        Ok(known) => Some(known),
        Err(error) => {
            warn!(%error, "a connection to the admin socket could not be taken");
            // Files have run out, most likely: trying again at once would only keep a processor busy.
            tokio::time::sleep(BREATH).await;
            None
        }
    }
}

async fn accept_remote(api: &Arc<Api>, listener: &TcpListener, tls: &Arc<TlsServer>, stop: &CancellationToken) {
    let at = listener.local_addr().map(|at| at.to_string()).unwrap_or_default();
    info!(listen = at, "administrators from elsewhere are listened to");
    let (seats, conversations) = (Arc::new(Semaphore::new(REMOTE_MAX)), TaskTracker::new());
    let places = Places::default();
    loop {
        let Some(Ok(seat)) = stop.run_until_cancelled(Arc::clone(&seats).acquire_owned()).await else { break };
        let (stream, from) = match stop.run_until_cancelled(listener.accept()).await {
            None => break,
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                warn!(%error, "a connection to the admin listener could not be taken");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let Some(place) = places.take(from.ip()) else {
            debug!(admin.from = %from, "closed: this address has as many connections as one may have");
            continue;
        };
        let (api, tls, stop) = (Arc::clone(api), Arc::clone(tls), stop.child_token());
        conversations.spawn(async move {
            shake_hands(api, stream, from.ip(), &tls, stop).await;
            drop((seat, place));
        });
    }
    conversations.close();
    conversations.wait().await;
}

async fn shake_hands(api: Arc<Api>, stream: TcpStream, address: IpAddr, tls: &TlsServer, stop: CancellationToken) {
    let shaken = stop.run_until_cancelled(tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream))).await;
    let (stream, certificate) = match shaken {
        Some(Ok(Ok(shaken))) => shaken,
        Some(Ok(Err(refusal))) => {
            info!(admin.from = %address, reason = %refusal, "a handshake of an administrator was refused");
            return;
        }
        Some(Err(_)) | None => return,
    };
    let certificate = certificate.and_then(|peer| fingerprint(&peer.sha256_fingerprint));
    converse(api, stream, Peer::Remote { address: address.to_canonical(), certificate }, stop).await;
}

/// One connection, for an hour at most: a certificate that was withdrawn meanwhile is looked at again then.
async fn converse<S>(api: Arc<Api>, stream: S, peer: Peer, stop: CancellationToken)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let conversation = api.converse(stream, peer, stop.clone());
    let mut conversation = std::pin::pin!(conversation);
    if tokio::time::timeout(CONVERSATION_MAX, conversation.as_mut()).await.is_err() {
        stop.cancel();
        conversation.await;
    }
}

fn fingerprint(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    (hex.len() == 64).then_some(bytes)
}

/// Threads for connections: one that is busy for long leaves another.
const THREADS: usize = 2;
/// Threads for hashes of passwords, and for the machine's account database.
const HASHES_MAX: usize = 8;
/// Connections to the socket at once, and from elsewhere; more wait to be accepted.
const LOCAL_MAX: usize = 64;
const REMOTE_MAX: usize = 256;
const HANDSHAKE_MAX: Duration = Duration::from_secs(6);
const CONVERSATION_MAX: Duration = Duration::from_secs(3600);
const BREATH: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_sixty_four_digits() {
        assert_eq!(fingerprint(&"0a".repeat(32)), Some([10; 32]));
        for bad in ["", "0a", &"0a".repeat(33), &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(fingerprint(bad), None, "{bad}");
        }
    }
}
