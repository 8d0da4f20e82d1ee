//! The Push REST service of a clearing house, from its part of the configuration.

use std::net::TcpListener as Bound;
use std::path::Path;
use std::sync::Arc;

use reveille_clearinghouse::Intake;
use reveille_clearinghouse::feedback::Road;
use reveille_clearinghouse::handle::Handles;
use reveille_clearinghouse::rest::webhook::{Signer, Webhooks};
use reveille_clearinghouse::rest::{PROTOCOLS, Rest, Site};
use reveille_core::SipDomain;
use reveille_core::settings::Snapshot;
use reveille_sip_net::{ClientAuth, TlsServer};
use reveille_store::Journal;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::server::StartError;
use crate::tls::Side;
use crate::{SystemClock, token_key};

/// What the service needs before anybody is let in, so that nothing of it can fail later.
pub(crate) struct Opened {
    listener: TcpListener,
    tls: Arc<TlsServer>,
    site: Site,
    signer: Arc<Signer>,
}

/// Opens the listener and the key that webhooks are signed with. The side is for whoever watches certificates.
pub(crate) fn open(rest: &config::Rest, domain: &SipDomain, store: &Path) -> Result<(Opened, Side), StartError> {
    let side = Side::speaking(&PROTOCOLS, "clearinghouse.rest.tls", &rest.tls, ClientAuth::Optional)?;
    let side = side.known_as(rest.name().iter());
    let listen = |source| StartError::Listen { key: "clearinghouse.rest.listen", address: rest.listen, source };
    let bound = Bound::bind(rest.listen).map_err(listen)?;
    bound.set_nonblocking(true).map_err(listen)?;
    let listener = TcpListener::from_std(bound).map_err(listen)?;
    let signer = Arc::new(Signer::of(token_key::kept(&store.join("webhook.key"))?.bytes()));
    let site = Site {
        issuer: rest.url.clone(),
        domain: domain.clone(),
        token_life: rest.token_life(),
        webhook_key: signer.public(),
    };
    let tls = Arc::clone(&side.server);
    Ok((Opened { listener, tls, site, signer }, side))
}

impl Opened {
    /// The road of feedback, by webhook for whoever has one.
    pub(crate) fn road(
        &self,
        rest: &config::Rest,
        inner: Arc<dyn Road>,
        settings: watch::Receiver<Arc<Snapshot>>,
    ) -> Result<Arc<dyn Road>, StartError> {
        let fault = |name: &str| {
            let key = format!("clearinghouse.rest.webhooks.{name}");
            move |sentence: String| StartError::App { key, sentence }
        };
        let allowed = rest.webhooks.allowed().map_err(fault("allow"))?;
        let roots = rest.webhooks.trust().map_err(fault("roots"))?.roots();
        let clock = Arc::new(SystemClock);
        let road = Webhooks::new(inner, settings, Arc::clone(&self.signer), roots, allowed, clock);
        Ok(Arc::new(road.map_err(|error| fault("roots")(error.to_string()))?))
    }

    /// Answers machine accounts until `stop`.
    pub(crate) async fn run(
        self,
        intake: Arc<Intake>,
        journal: Arc<dyn Journal>,
        settings: watch::Receiver<Arc<Snapshot>>,
        handles: Arc<Handles>,
        stop: CancellationToken,
    ) {
        let rest = Rest::new(self.site, intake, journal, settings, handles, Arc::new(SystemClock));
        rest.serve(self.listener, self.tls, stop).await;
    }
}
