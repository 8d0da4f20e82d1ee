//! A home from its part of the configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reveille_core::settings::Snapshot;
use reveille_home::{Desk, Home, Listeners};
use reveille_sip::auth::Algorithm;
use reveille_sip_net::{ClientAuth, ListenLimits, Listener, Origins, Target, TlsClient, Transport};
use reveille_store::SqliteHome;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::SystemClock;
use crate::config::{Digest, Home as Config, Hop, Store};
use crate::server::{Part, StartError};
use crate::tls::Side;
use crate::token_key;
use crate::users_file;
use crate::vitals::Doors;

/// Starts a home; answers its part, where others may ask it, and how it checks certificates of servers.
pub(crate) fn start(
    config: &Config,
    store: &Store,
    settings: watch::Receiver<Arc<Snapshot>>,
    stop: &CancellationToken,
) -> Result<(Part, Desk, Arc<TlsClient>), StartError> {
    let internal_tls = Side::read("home.tls", &config.tls, ClientAuth::Required)?.known_as([&config.name]);
    let client_tls = Side::read("home.tls", &config.tls, ClientAuth::Optional)?;
    let users = users_file::read(&config.users, config.domains())?;
    let limits = ListenLimits { message: reveille_sip::Limits::of_clients(), ..ListenLimits::default() };
    let (mut clients, mut doors) = (Vec::new(), Doors::default());
    if let Some(at) = config.sip_udp {
        clients.push(doors.open("home.sip_udp", at, Listener::udp(at, limits))?);
    }
    if let Some(at) = config.sip_tcp {
        clients.push(doors.open("home.sip_tcp", at, Listener::tcp(at, limits))?);
    }
    if let Some(at) = config.sip_tls {
        clients.push(doors.open("home.sip_tls", at, Listener::tls(at, Arc::clone(&client_tls.server), limits))?);
    }
    let pages = match config.ws_origins.as_slice() {
        [] => Origins::Any,
        some => Origins::Only(some.into()),
    };
    if let Some(at) = config.sip_ws {
        clients.push(doors.open("home.sip_ws", at, Listener::ws(at, pages.clone(), limits))?);
    }
    if let Some(at) = config.sip_wss {
        clients.push(doors.open(
            "home.sip_wss",
            at,
            Listener::wss(at, Arc::clone(&client_tls.server), pages, limits),
        )?);
    }
    let at = config.internal;
    let internal = doors.open(
        "home.internal",
        at,
        Listener::tls(at, Arc::clone(&internal_tls.server), ListenLimits::default()),
    )?;
    let api = config.api.map(|at| plain("home.api", at)).transpose()?;
    let kept = Arc::new(SqliteHome::open(&store.dir.join("home.db"))?);
    let role = reveille_home::Config {
        name: config.name.clone(),
        site: config.site.clone(),
        grace: Duration::from_millis(config.grace_ms),
        edge: target(&config.edge),
        edge_also: config.edge.also.clone(),
        also_named: config.also_named.clone(),
        trusted_proxies: config.trusted_proxies.clone(),
        digests: config.digests.iter().copied().map(algorithm).collect(),
        token_key: Some(token_key::kept(&store.dir.join("home-tokens.key"))?),
    };
    let home = Home::new(role, users, Arc::clone(&kept) as _, settings, Arc::new(SystemClock))?;
    let desk = home.desk();
    let tls = Arc::clone(&internal_tls.client);
    let stop = stop.clone();
    let for_apps = desk.clone();
    let task = tokio::spawn(async move {
        let apps = async {
            if let Some(listener) = api {
                reveille_home::api::serve(listener, for_apps, stop.clone()).await;
            }
        };
        tokio::join!(home.run(Listeners { clients, internal }, tls, stop.clone()), apps);
        // The last changes are on disk before the process may go.
        kept.close();
    });
    let checks = Arc::clone(&internal_tls.client);
    Ok((Part { name: "home", task, sides: vec![internal_tls, client_tls], doors }, desk, checks))
}

/// A listener for HTTP.
fn plain(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    bound.map_err(|source| StartError::Listen { key, address, source })
}

/// Another process of ours as a next hop.
pub(crate) fn target(hop: &Hop) -> Target {
    Target::at(hop.name.as_str(), hop.address, Transport::Tls)
}

fn algorithm(digest: Digest) -> Algorithm {
    match digest {
        Digest::Md5 => Algorithm::Md5,
        Digest::Sha256 => Algorithm::Sha256,
        Digest::Sha512_256 => Algorithm::Sha512_256,
    }
}
