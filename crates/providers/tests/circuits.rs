//! Circuits against the APNs simulator: what stands still, what goes on, who probes, and what closes them.

mod rig;

use std::sync::Arc;
use std::time::Duration;

use reveille_core::{Channel, Verdict};
use reveille_providers::apns::{self, Signer};
use reveille_providers::{Access, Breakers, Circuits, Patience, Sender, SenderConfig, Which};
use reveille_sim::Outage;
use reveille_sim::apns::{Answer, ProviderKey, Reason};
use reveille_sim::certs::apns_key;
use reveille_sim::recorder::Query;
use reveille_sim::script::Times;
use rig::apple::World;
use rig::{call, is_retry, message, soon, token, until};

const QUICK: Patience =
    Patience { failures: 1, first: Duration::from_millis(100), longest: Duration::from_millis(200) };
const SLOW: Patience = Patience { failures: 1, first: Duration::from_secs(600), longest: Duration::from_secs(600) };

/// Circuits whose app's is probed as `app` says, and that are otherwise as usual.
fn circuits(app: Patience) -> Circuits {
    Circuits::new(Breakers { app, ..Breakers::default() })
}

fn of(world: &World, app: &str, channel: Channel, circuits: &Circuits) -> Sender {
    let mut config = SenderConfig { circuits: circuits.clone(), ..world.config.clone() };
    config.lane.app.app = app.into();
    config.lane.channel = channel;
    world.sender_of(config)
}

fn open(sender: &Sender) -> Option<(Which, String)> {
    sender.health().broken.map(|broken| (broken.which, broken.why.into()))
}

#[tokio::test]
async fn an_app_whose_key_is_refused_stands_still_and_its_messages_wait_until_that_is_mended() {
    let world = World::new().await;
    let circuits = circuits(QUICK);
    let sender = of(&world, "com.example.chat", Channel::Message, &circuits);
    world.script(None, vec![Answer::refused(Reason::InvalidProviderToken)], Times::Exactly(3));
    world.offer(&sender, [0]);
    let refused = Verdict::Configuration { reason: "InvalidProviderToken".into() };
    assert_eq!(world.inbox.verdict(0).await, refused);
    assert_eq!(open(&sender), Some((Which::App, "InvalidProviderToken".into())));
    // The next ones wait, of which one at a time probes; the third probe is taken, and all others follow it.
    world.offer(&sender, 1..=50);
    let outcomes = world.inbox.wait(51).await;
    let told = outcomes.values().filter(|outcome| outcome.verdict == refused).count();
    assert!((1..=3).contains(&told), "{told} were refused");
    assert!(outcomes.values().all(|outcome| outcome.verdict == refused || outcome.verdict == Verdict::Accepted));
    assert_eq!((open(&sender), sender.health().refused), (None, None));
}

#[tokio::test]
async fn it_costs_no_other_app_of_the_same_host_anything() {
    let world = World::new().await;
    let circuits = circuits(SLOW);
    let (one, two) = (
        of(&world, "com.example.one", Channel::Message, &circuits),
        of(&world, "com.example.two", Channel::Message, &circuits),
    );
    world.script(Some(1), vec![Answer::refused(Reason::InvalidProviderToken)], Times::Exactly(1));
    world.offer(&one, [1]);
    assert!(matches!(world.inbox.verdict(1).await, Verdict::Configuration { .. }));
    world.offer(&one, [2]);
    world.offer(&two, 100..400);
    for key in 100..400 {
        assert_eq!(world.inbox.verdict(key).await, Verdict::Accepted);
    }
    assert_eq!((open(&two), one.health().queued), (None, 1));
}

#[tokio::test]
async fn a_call_of_a_refused_app_ends_at_once_and_is_never_the_probe() {
    let world = World::new().await;
    let circuits = circuits(SLOW);
    let messages = of(&world, "com.example.chat", Channel::Message, &circuits);
    let calls = of(&world, "com.example.chat", Channel::Voip, &circuits);
    world.script(Some(1), vec![Answer::refused(Reason::InvalidProviderToken)], Times::Exactly(1));
    world.offer(&messages, [1]);
    world.inbox.verdict(1).await;
    calls.offer(call(2, world.now())).unwrap();
    let Verdict::Configuration { reason } = world.inbox.verdict(2).await else { panic!("it should end") };
    assert_eq!(&*reason, "InvalidProviderToken: not sent, since the provider has refused the app");
    assert_eq!(world.apple.recorder().latest(), 1, "nothing but the first push was sent");
}

#[tokio::test]
async fn without_a_push_to_probe_with_the_lane_asks_about_a_token_that_nobody_has() {
    let world = World::new().await;
    let circuits = circuits(QUICK);
    let messages = of(&world, "com.example.chat", Channel::Message, &circuits);
    let calls = of(&world, "com.example.chat", Channel::Voip, &circuits);
    world.script(Some(1), vec![Answer::refused(Reason::InvalidProviderToken)], Times::Exactly(1));
    world.offer(&messages, [1]);
    world.inbox.verdict(1).await;
    until(|| open(&calls).is_none()).await;
    assert_eq!(world.inbox.len(), 1, "nobody is told of our own probe");
    calls.offer(call(2, world.now())).unwrap();
    assert_eq!(world.inbox.verdict(2).await, Verdict::Accepted);
}

#[tokio::test]
async fn a_topic_is_of_one_channel() {
    let world = World::new().await;
    let circuits = circuits(SLOW);
    let messages = of(&world, "com.example.chat", Channel::Message, &circuits);
    let calls = of(&world, "com.example.chat", Channel::Voip, &circuits);
    world.script(Some(1), vec![Answer::refused(Reason::TopicDisallowed)], Times::Exactly(1));
    world.script(Some(2), vec![Answer::refused(Reason::TopicDisallowed)], Times::Exactly(1));
    calls.offer(call(1, world.now())).unwrap();
    assert!(matches!(world.inbox.verdict(1).await, Verdict::Configuration { .. }));
    world.offer(&messages, [3]);
    assert_eq!(world.inbox.verdict(3).await, Verdict::Accepted, "what is wrong with calls is not with messages");
    world.offer(&messages, [2]);
    assert!(matches!(world.inbox.verdict(2).await, Verdict::Configuration { .. }));
    assert_eq!(open(&messages), Some((Which::Lane, "TopicDisallowed".into())));
    calls.offer(call(4, world.now())).unwrap();
    assert_eq!(world.inbox.verdict(4).await, Verdict::Accepted, "nor the other way round");
}

#[tokio::test]
async fn another_key_is_used_at_once_on_other_connections_and_closes_the_circuit() {
    let (wrong, right) = (apns_key().unwrap(), apns_key().unwrap());
    let known = ProviderKey::new("TEAM123456", "KEY2222222", right.public_key.clone());
    let world = World::with(|options| options.keys = vec![known]).await;
    let signer = |id: &str, p8: &str| Arc::new(Signer::new("TEAM123456", id, p8).unwrap());
    let access = |signer| Access::Apns(apns::Access::Token(signer));
    let config = SenderConfig {
        access: access(signer("KEY1111111", &wrong.p8_pem)),
        circuits: circuits(SLOW),
        ..world.config.clone()
    };
    let trust = config.trust.clone();
    let sender = world.sender_of(config);
    until(|| sender.health().connections == 2).await;
    world.offer(&sender, [1]);
    assert_eq!(world.inbox.verdict(1).await, Verdict::Configuration { reason: "InvalidProviderToken".into() });
    world.offer(&sender, 2..=20);
    assert_eq!(sender.health().queued, 19);
    sender.renew(access(signer("KEY2222222", &right.p8_pem)), &trust).unwrap();
    let outcomes = world.inbox.wait(20).await;
    assert!((2..=20).all(|key| outcomes[&key].verdict == Verdict::Accepted), "{outcomes:?}");
    for entry in world.apple.recorder().entries(Query::default(), usize::MAX) {
        let old = *entry.push.token == *token(1);
        assert_eq!(entry.push.connection <= 2, old, "a connection is of one key");
    }
    assert_eq!(open(&sender), None);
    until(|| world.apple.connections() == 2).await;
}

#[tokio::test]
async fn what_was_under_way_with_the_old_key_has_its_answer() {
    let world = World::new().await;
    let sender = world.sender();
    world.offer(&sender, [0]);
    world.inbox.wait(1).await;
    world.apple.hold();
    world.offer(&sender, 1..=5);
    world.held(5).await;
    sender.renew(sender.access(), &world.config.trust).unwrap();
    until(|| world.apple.connections() > 2).await;
    world.apple.release();
    let outcomes = world.inbox.wait(6).await;
    assert!(outcomes.values().all(|outcome| outcome.verdict == Verdict::Accepted), "{outcomes:?}");
}

#[tokio::test]
async fn a_service_that_asks_for_a_pause_gets_it_from_the_lane_and_calls_go_on() {
    let world = World::new().await;
    let circuits = Circuits::default();
    let messages = of(&world, "com.example.chat", Channel::Message, &circuits);
    let calls = of(&world, "com.example.chat", Channel::Voip, &circuits);
    world.script(None, vec![Answer::refused(Reason::TooManyRequests)], Times::Exactly(100));
    world.offer(&messages, 0..100);
    let outcomes = world.inbox.wait(100).await;
    assert!(outcomes.values().all(|outcome| is_retry(&outcome.verdict, true)));
    assert_eq!(open(&messages), None, "the limit of single devices is nobody else's");
    calls.offer(call(200, world.now())).unwrap();
    assert_eq!(world.inbox.verdict(200).await, Verdict::Accepted);
}

#[tokio::test]
async fn a_host_that_only_fails_is_left_alone_but_for_one_push_at_a_time() {
    let world = World::new().await;
    let host = Patience { failures: 40, first: Duration::from_millis(200), longest: Duration::from_millis(200) };
    let circuits = Circuits::new(Breakers { host, ..Breakers::default() });
    let (one, two) = (
        of(&world, "com.example.one", Channel::Message, &circuits),
        of(&world, "com.example.two", Channel::Message, &circuits),
    );
    world.script(None, vec![Answer::refused(Reason::InternalServerError)], Times::Always);
    // One after the other, so that none is under way when it opens.
    for key in 0..40 {
        world.offer(&one, [key]);
        assert!(is_retry(&world.inbox.verdict(key).await, false));
    }
    assert_eq!(open(&two), Some((Which::Host, "InternalServerError".into())), "it is the same host");
    world.offer(&two, 100..200);
    // Three probes and no more have been sent when the third is answered.
    until(|| world.inbox.len() >= 43).await;
    assert!(two.health().queued >= 95, "{:?}", two.health());
    world.apple.clear_scripts();
    for key in 100..200 {
        let verdict = world.inbox.verdict(key).await;
        assert!(verdict == Verdict::Accepted || is_retry(&verdict, false), "{verdict:?}");
    }
    assert_eq!(open(&one), None);
}

#[tokio::test]
async fn one_attempt_at_a_time_looks_for_a_host_that_cannot_be_reached() {
    let world = World::new().await;
    let reach = Patience { failures: 4, first: Duration::from_secs(2), longest: Duration::from_secs(2) };
    let circuits = Circuits::new(Breakers { reach, ..Breakers::default() });
    world.apple.down(Outage::Refuse).await;
    let senders: Vec<_> =
        (0..5).map(|n| of(&world, &format!("com.example.app{n}"), Channel::Message, &circuits)).collect();
    until(|| senders.iter().any(|sender| sender.health().trouble.is_some())).await;
    let up = tokio::time::Instant::now();
    world.apple.up().await;
    for (n, sender) in senders.iter().enumerate() {
        sender.offer(message(n as u64, world.now())).unwrap();
    }
    let outcomes = world.inbox.wait(5).await;
    assert!(outcomes.values().all(|outcome| outcome.verdict == Verdict::Accepted));
    assert!(
        up.elapsed() < Duration::from_secs(8),
        "the first that gets through is followed by all: {:?}",
        up.elapsed()
    );
}

#[tokio::test]
async fn a_call_that_was_turned_away_goes_to_another_connection() {
    let world = World::new().await;
    let sender = of(&world, "com.example.chat", Channel::Voip, &Circuits::default());
    until(|| sender.health().connections == 2).await;
    for key in 0..20 {
        world.script(Some(key), vec![Answer::stream_refused()], Times::Exactly(1));
        sender.offer(call(key, world.now())).unwrap();
        assert!(is_retry(&world.inbox.verdict(key).await, true));
        // As dispatch does: at once, and once. It has another number there; here it is another key to the same token.
        let mut again = call(1000 + key, world.now());
        again.token = reveille_core::DeviceToken::new(token(key));
        sender.offer(again).unwrap();
        assert_eq!(world.inbox.verdict(1000 + key).await, Verdict::Accepted);
        let tries = world.apple.recorder().entries(Query { token: Some(&token(key)), ..Query::default() }, usize::MAX);
        let connections: Vec<_> = tries.iter().map(|entry| entry.push.connection).collect();
        assert_ne!(connections[0], connections[1], "{key}");
        soon(async {
            while world.apple.connections() < 2 {
                tokio::task::yield_now().await
            }
        })
        .await;
    }
}
