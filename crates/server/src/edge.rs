//! An Access Edge from its part of the configuration.

use std::sync::Arc;
use std::time::Duration;

use reveille_edge::{AvConfig, Edge, RelaySecret, Served};
use reveille_federation::media_relay::Relay;
use reveille_sip_net::{ClientAuth, ListenLimits, Listener};
use reveille_store::{Settings as _, SqliteSettings};
use tokio_util::sync::CancellationToken;

use crate::SystemClock;
use crate::config::{Av, Edge as Config, Store};
use crate::names::Names;
use crate::relay_secret;
use crate::server::{Part, StartError};
use crate::tls::Side;
use crate::token_key;
use crate::vitals::Doors;

/// Starts an edge; answers its part and the edge, for status pages.
pub(crate) fn start(
    config: &Config,
    store: &Store,
    kept: &Arc<SqliteSettings>,
    names: Names,
    stop: &CancellationToken,
) -> Result<(Part, Arc<Edge>), StartError> {
    let settings = kept.watch();
    let external_tls = Side::read("edge.tls", &config.tls, ClientAuth::Required)?;
    let outside = std::iter::once(&config.name).chain(config.domains.iter().map(|served| &served.domain));
    let external_tls = external_tls.known_as(outside);
    let (key, inner) = match &config.internal_tls {
        Some(inner) => ("edge.internal_tls", inner),
        None => ("edge.tls", &config.tls),
    };
    // Where both sides show the same files, the outer one tells of them.
    let inside = config.internal_tls.iter().map(|_| &config.name);
    let internal_tls = Side::read(key, inner, ClientAuth::Required)?.known_as(inside);
    // The outside may be anybody: one address gets no more than a good share of the seats.
    let message = reveille_sip::Limits::between_organisations();
    let outer = ListenLimits { seats_per_address: 10_000, message, ..ListenLimits::default() };
    let at = config.external;
    let mut doors = Doors::default();
    let external = doors.open("edge.external", at, Listener::tls(at, Arc::clone(&external_tls.server), outer))?;
    let at = config.internal;
    let inner = Listener::tls(at, Arc::clone(&internal_tls.server), ListenLimits::default());
    let internal = doors.open("edge.internal", at, inner)?;
    let served = |domain: &crate::config::ServedDomain| {
        (domain.domain.clone(), Served { name: domain.name.clone(), address: domain.address })
    };
    let av = config.av.as_ref().map(media_relays).transpose()?;
    let role = reveille_edge::Config {
        name: config.name.clone(),
        inside: config.inside.clone(),
        domains: config.domains.iter().map(served).collect(),
        limits: reveille_edge::Limits {
            messages_per_s: config.limits.messages_per_s,
            in_flight_per_partner: config.limits.in_flight_per_partner,
            bytes_in_flight_per_partner: config.limits.bytes_in_flight_per_partner,
            connections_per_partner: config.limits.connections_per_partner,
            drain: Duration::from_millis(config.limits.drain_ms),
            ..reveille_edge::Limits::default()
        },
        av: av.clone(),
        token_key: Some(token_key::kept(&store.dir.join("edge-tokens.key"))?),
    };
    let edge = Edge::new(role, settings.clone(), Arc::clone(&names.resolver), Arc::new(SystemClock));
    let newest = Arc::clone(kept);
    edge.refresh_by(move || {
        if let Err(error) = newest.fresh() {
            tracing::warn!(%error, "the settings could not be read anew for a test");
        }
    });
    let (outer_client, inner_client) = (Arc::clone(&external_tls.client), Arc::clone(&internal_tls.client));
    let running = Arc::clone(&edge).run(external, internal, outer_client, inner_client, stop.clone());
    let following = names.follow(settings, stop.clone());
    let secret = config.av.as_ref().zip(av).map(|(file, av)| (file.secret.clone(), av.secret));
    let until = stop.clone();
    let secret = async move {
        if let Some((path, secret)) = secret {
            relay_secret::follow(path, secret, until).await;
        }
    };
    let task = tokio::spawn(async move {
        tokio::join!(running, following, secret);
    });
    Ok((Part { name: "edge", task, sides: vec![external_tls, internal_tls], doors }, edge))
}

/// The TURN servers that users get credentials for.
fn media_relays(av: &Av) -> Result<AvConfig, StartError> {
    let secret = relay_secret::read(&av.secret)
        .map_err(|source| StartError::RelaySecret { path: av.secret.display().to_string(), source })?;
    let relay = |server: &crate::config::AvServer| {
        let crate::config::AvServer { host, udp, tcp, tls } = server.clone();
        Relay { host, udp, tcp, tls }
    };
    Ok(AvConfig {
        relays: av.servers.iter().map(relay).collect(),
        secret: RelaySecret::new(&secret),
        life: Duration::from_secs(u64::from(av.life_min) * 60),
    })
}
