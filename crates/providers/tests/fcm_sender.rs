//! The sender against the FCM simulator: the road to an access token, answers, and errors.

mod rig;

use std::sync::Arc;
use std::time::Duration;

use reveille_core::{AppKey, Channel, Clock as _, Environment, LaneKey, Provider, Verdict};
use reveille_providers::fcm::Account;
use reveille_providers::tls::Trust;
use reveille_providers::{Access, Sender, SenderConfig, Target, Which};
use reveille_sim::Outage;
use reveille_sim::certs::{Ca, Leaf, service_account_json};
use reveille_sim::clock::Clock;
use reveille_sim::fcm::{FcmAnswer, FcmCode, FcmOptions, FcmSimulator, TOKEN_ENDPOINT};
use reveille_sim::recorder::Query;
use reveille_sim::script::Times;
use rig::{Inbox, Wall, call, is_retry, message, soon, token, until};
use tokio_util::sync::CancellationToken;

/// A simulator, and all that a sender needs to meet it.
struct World {
    google: FcmSimulator,
    clock: Clock,
    config: SenderConfig,
    inbox: Arc<Inbox>,
    wall: Arc<Wall>,
    stop: CancellationToken,
}

impl World {
    async fn new() -> Self {
        Self::start(true).await
    }

    async fn start(known: bool) -> Self {
        let ca = Ca::new("Google of this test").unwrap();
        let clock = Clock::system();
        let mut options = FcmOptions::new(ca.issue(Leaf::new("fcm", &["localhost", "127.0.0.1"])).unwrap());
        options.clock = clock.clone();
        let google = FcmSimulator::start(options).await.unwrap();
        let account = service_account_json("demo", &google.token_uri()).unwrap();
        let trust = Trust::from_pem(ca.pem().as_bytes()).unwrap();
        let access = Access::Fcm(Arc::new(Account::new(&account.json, &trust).unwrap()));
        if known {
            google.add_account(account);
        }
        let app = AppKey { provider: Provider::Fcm, app: "demo".into(), environment: Environment::Production };
        let lane = LaneKey { app, channel: Channel::Message };
        let mut config = SenderConfig::new(lane, access, trust);
        config.target =
            Target { host: "localhost".into(), port: google.addr().port(), address: Some(google.addr()), proxy: None };
        config.patience = Duration::from_secs(30);
        Self { google, clock, config, inbox: Inbox::new(), wall: Wall::new(), stop: CancellationToken::new() }
    }

    fn sender(&self) -> Sender {
        self.sender_of(self.config.clone())
    }

    fn sender_of(&self, config: SenderConfig) -> Sender {
        Sender::start(config, self.inbox.clone(), self.wall.clone(), &self.stop).unwrap()
    }

    fn offer(&self, sender: &Sender, keys: impl IntoIterator<Item = u64>) {
        for key in keys {
            sender.offer(message(key, self.wall.now())).unwrap();
        }
    }

    fn script(&self, token: &str, answers: Vec<FcmAnswer>, times: Times) {
        self.google.script(Some(token), answers, times).unwrap();
    }
}

fn status(status: u16) -> FcmAnswer {
    FcmAnswer { status: Some(status), ..FcmAnswer::default() }
}

#[tokio::test]
async fn a_message_and_a_call_arrive_as_google_wants_them() {
    let world = World::new().await;
    let sender = world.sender();
    world.offer(&sender, [1]);
    let outcome = world.inbox.wait(1).await.remove(&1).unwrap();
    assert_eq!((outcome.verdict, outcome.status), (Verdict::Accepted, 200));
    assert!(outcome.provider_id.unwrap().starts_with("projects/demo/messages/"));
    let seen = soon(world.google.recorder().wait(Query::default())).await.push;
    assert_eq!((&*seen.token, seen.priority), (&*token(1), Some("HIGH")));
    assert_eq!(seen.message["android"]["notification"]["bodyLocKey"], "IM_MSG");

    let mut config = world.config.clone();
    config.lane.channel = Channel::Voip;
    let voip = world.sender_of(config);
    voip.offer(call(2, world.wall.now())).unwrap();
    assert_eq!(world.inbox.verdict(2).await, Verdict::Accepted);
    let seen = soon(world.google.recorder().wait(Query { token: Some(&token(2)), ..Query::default() })).await.push;
    assert_eq!((seen.priority, seen.collapse_key), (Some("HIGH"), None));
    let ttl: u64 = seen.ttl.unwrap().trim_end_matches('s').parse().unwrap();
    assert!((20..=25).contains(&ttl), "{ttl}");
    assert_eq!(seen.message["data"]["call_id"], "call-2");
}

#[tokio::test]
async fn a_thousand_messages_have_one_outcome_each() {
    let world = World::new().await;
    let sender = world.sender();
    world.offer(&sender, 0..1000);
    let outcomes = world.inbox.wait(1000).await;
    assert!(outcomes.values().all(|outcome| outcome.verdict == Verdict::Accepted));
    assert_eq!(world.google.recorder().counts().delivered, 1000);
    sender.drain().await;
    assert_eq!(world.inbox.len(), 1000);
}

#[tokio::test]
async fn lanes_of_one_account_share_one_access_token() {
    let world = World::new().await;
    // A second request for a token would fail, and show.
    world.script(TOKEN_ENDPOINT, vec![FcmAnswer::accepted()], Times::Exactly(1));
    world.script(TOKEN_ENDPOINT, vec![status(400)], Times::Always);
    let senders = [world.sender(), world.sender(), world.sender()];
    for (key, sender) in (1..).zip(&senders) {
        world.offer(sender, [key]);
        assert_eq!(world.inbox.verdict(key).await, Verdict::Accepted);
    }
    for sender in &senders {
        assert_eq!(sender.health().trouble, None);
    }
}

#[tokio::test]
async fn an_access_token_is_renewed_before_it_ends() {
    let world = World::new().await;
    let sender = world.sender();
    for key in 0..4 {
        world.offer(&sender, [key]);
        assert_eq!(world.inbox.verdict(key).await, Verdict::Accepted, "after {} minutes", key * 50);
        let step = Duration::from_secs(50 * 60);
        world.clock.advance(step);
        world.wall.advance(step);
    }
    assert_eq!(sender.health().trouble, None);
}

#[tokio::test]
async fn a_refused_access_token_is_fetched_anew_once() {
    let world = World::new().await;
    let sender = world.sender();
    world.offer(&sender, [1]);
    assert_eq!(world.inbox.verdict(1).await, Verdict::Accepted);
    world.google.expire_tokens();
    world.offer(&sender, [2]);
    let verdict = world.inbox.verdict(2).await;
    assert!(is_retry(&verdict, true), "{verdict:?}");
    world.offer(&sender, [3]);
    assert_eq!(world.inbox.verdict(3).await, Verdict::Accepted);
    world.google.expire_tokens();
    world.offer(&sender, [4]);
    let verdict = world.inbox.verdict(4).await;
    assert!(matches!(verdict, Verdict::Configuration { .. }), "{verdict:?}");
}

#[tokio::test]
async fn pushes_wait_while_the_token_endpoint_fails() {
    let world = World::new().await;
    world.script(TOKEN_ENDPOINT, vec![status(500)], Times::Exactly(1));
    let sender = world.sender();
    world.offer(&sender, [1]);
    assert_eq!(world.inbox.verdict(1).await, Verdict::Accepted);
    let (_, trouble) = sender.health().trouble.unwrap();
    assert!(trouble.starts_with("the service account was refused an access token: status 500"), "{trouble}");
}

#[tokio::test]
async fn an_account_that_google_does_not_know_is_named_as_the_reason() {
    let world = World::start(false).await;
    let sender = world.sender_of(SenderConfig { patience: Duration::from_millis(300), ..world.config.clone() });
    until(|| sender.health().connections > 0 && sender.health().trouble.is_some()).await;
    world.offer(&sender, [1]);
    let verdict = world.inbox.verdict(1).await;
    assert!(is_retry(&verdict, true), "{verdict:?}");
    let reason = verdict.provider_reason().unwrap();
    assert!(reason.starts_with("no credential for the provider: ") && reason.ends_with("invalid_grant"), "{reason}");
}

#[tokio::test]
async fn errors_mean_what_google_says() {
    let world = World::new().await;
    let sender = world.sender();
    let secs = |secs| Some(Duration::from_secs(secs));
    let retry = |reason: &str, after, unprocessed| Verdict::Retry { reason: reason.into(), after, unprocessed };
    let cases = [
        (FcmAnswer::refused(FcmCode::Unregistered), Verdict::Forget { reason: "UNREGISTERED".into(), since: None }),
        (FcmAnswer::refused(FcmCode::InvalidArgument), Verdict::Reject { reason: "INVALID_ARGUMENT".into() }),
        (FcmAnswer::refused(FcmCode::SenderIdMismatch), Verdict::Configuration { reason: "SENDER_ID_MISMATCH".into() }),
        (
            FcmAnswer::refused(FcmCode::ThirdPartyAuthError),
            Verdict::Configuration { reason: "THIRD_PARTY_AUTH_ERROR".into() },
        ),
        (FcmAnswer::refused(FcmCode::QuotaExceeded), retry("QUOTA_EXCEEDED", secs(60), true)),
        (FcmAnswer::refused(FcmCode::QuotaExceeded).retry_after(7), retry("QUOTA_EXCEEDED", secs(7), true)),
        (FcmAnswer::refused(FcmCode::Internal), retry("INTERNAL", secs(10), false)),
        (FcmAnswer::refused(FcmCode::Unavailable), retry("UNAVAILABLE", secs(10), false)),
        (FcmAnswer::refused(FcmCode::Unavailable).retry_after(30), retry("UNAVAILABLE", secs(30), false)),
    ];
    for (key, (answer, expected)) in (0..).zip(cases) {
        world.script(&token(key), vec![answer], Times::Exactly(1));
        world.offer(&sender, [key]);
        assert_eq!(sender.health().broken, None, "{key} was not the last");
        assert_eq!(world.inbox.verdict(key).await, expected);
    }
    // It has named a time, and one word of that kind is enough: the next ones wait for it.
    let broken = sender.health().broken.expect("it asks for a pause");
    assert_eq!((broken.which, &*broken.why), (Which::Lane, "UNAVAILABLE"));
}

#[tokio::test]
async fn a_push_whose_answer_is_lost_may_have_arrived() {
    let world = World::new().await;
    let sender = world.sender();
    world.script(&token(1), vec![FcmAnswer::closed(true)], Times::Exactly(1));
    world.offer(&sender, [1]);
    let verdict = world.inbox.verdict(1).await;
    assert!(is_retry(&verdict, false), "{verdict:?}");
}

#[tokio::test]
async fn pushes_outlive_an_outage() {
    let world = World::new().await;
    let sender = world.sender();
    world.offer(&sender, [0]);
    assert_eq!(world.inbox.verdict(0).await, Verdict::Accepted);
    world.google.down(Outage::Refuse).await;
    until(|| sender.health().connections == 0).await;
    world.offer(&sender, 1..50);
    world.google.up().await;
    let outcomes = world.inbox.wait(50).await;
    assert!(outcomes.values().all(|outcome| outcome.verdict == Verdict::Accepted));
}
