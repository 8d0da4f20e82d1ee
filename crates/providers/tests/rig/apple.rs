//! The APNs simulator, and all that a sender needs to meet it.

use std::sync::Arc;
use std::time::Duration;

use reveille_core::{AppKey, Channel, Clock as _, Environment, LaneKey, Provider, Timestamp};
use reveille_providers::apns::{self, Signer};
use reveille_providers::tls::Trust;
use reveille_providers::{Access, Sender, SenderConfig, Target};
use reveille_sim::apns::{Answer, ApnsOptions, ApnsSimulator, Outcome, ProviderKey};
use reveille_sim::certs::{Ca, Leaf, apns_key};
use reveille_sim::recorder::Query;
use reveille_sim::script::Times;
use tokio_util::sync::CancellationToken;

use super::{Inbox, Wall, message, token, until};

/// A simulator, and all that a sender needs to meet it.
pub(crate) struct World {
    /// The authority of the simulator's certificate, PEM.
    pub(crate) ca: String,
    pub(crate) apple: ApnsSimulator,
    pub(crate) config: SenderConfig,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) wall: Arc<Wall>,
    pub(crate) stop: CancellationToken,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(adjust: impl FnOnce(&mut ApnsOptions)) -> Self {
        let ca = Ca::new("Apple of this test").unwrap();
        let key = apns_key().unwrap();
        let mut options = ApnsOptions::new(ca.issue(Leaf::new("apns", &["localhost"])).unwrap());
        options.keys = vec![ProviderKey::new("TEAM123456", "KEY1234567", key.public_key.clone())];
        adjust(&mut options);
        let apple = ApnsSimulator::start(options).await.unwrap();
        let signer = Arc::new(Signer::new("TEAM123456", "KEY1234567", &key.p8_pem).unwrap());
        let app =
            AppKey { provider: Provider::Apns, app: "com.example.chat".into(), environment: Environment::Production };
        let lane = LaneKey { app, channel: Channel::Message };
        let access = Access::Apns(apns::Access::Token(signer));
        let mut config = SenderConfig::new(lane, access, Trust::from_pem(ca.pem().as_bytes()).unwrap());
        config.target =
            Target { host: "localhost".into(), port: apple.addr().port(), address: Some(apple.addr()), proxy: None };
        config.patience = Duration::from_secs(30);
        let ca = ca.pem();
        Self { ca, apple, config, inbox: Inbox::new(), wall: Wall::new(), stop: CancellationToken::new() }
    }

    pub(crate) fn sender(&self) -> Sender {
        self.sender_of(self.config.clone())
    }

    pub(crate) fn sender_of(&self, config: SenderConfig) -> Sender {
        Sender::start(config, self.inbox.clone(), self.wall.clone(), &self.stop).unwrap()
    }

    /// A sender with a single connection, where the order of things matters.
    pub(crate) fn narrow_sender(&self) -> Sender {
        self.sender_of(SenderConfig { connections: 1, ..self.config.clone() })
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.wall.now()
    }

    pub(crate) fn offer(&self, sender: &Sender, keys: impl IntoIterator<Item = u64>) {
        for key in keys {
            sender.offer(message(key, self.now())).unwrap();
        }
    }

    pub(crate) fn script(&self, key: Option<u64>, answers: Vec<Answer>, times: Times) {
        self.apple.script(key.map(token).as_deref(), answers, times).unwrap();
    }

    /// Waits until so many pushes wait for the simulator's release.
    pub(crate) async fn held(&self, count: usize) {
        let held = || {
            let entries = self.apple.recorder().entries(Query::default(), usize::MAX);
            entries.iter().filter(|entry| entry.push.outcome == Outcome::Held).count()
        };
        until(|| held() >= count).await;
    }
}
