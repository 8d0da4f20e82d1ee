//! The sender against the APNs simulator, which keeps Apple's rules strictly: connection manners, answers, and what
//! becomes of pushes whose answer is lost.

mod rig;

use std::collections::HashMap;
use std::time::Duration;

use reveille_core::{Channel, Timestamp, Verdict};
use reveille_providers::{EXPIRED_BEFORE_SENDING, SenderConfig, State};
use reveille_sim::Outage;
use reveille_sim::apns::{Answer, GoAway, Outcome, Reason};
use reveille_sim::clock::Clock;
use reveille_sim::recorder::Query;
use reveille_sim::script::Times;
use rig::apple::World;
use rig::{call, is_retry, message, soon, token, until};

#[tokio::test]
async fn a_burst_keeps_to_the_one_stream_that_apple_allows_at_first() {
    let world = World::new().await;
    let sender = world.sender();
    world.offer(&sender, 0..500);
    let outcomes = world.inbox.wait(500).await;
    for (key, outcome) in &outcomes {
        assert_eq!((&outcome.verdict, outcome.status), (&Verdict::Accepted, 200), "{key}");
    }
    // The simulator refuses every stream above its cap: none was.
    for entry in world.apple.recorder().entries(Query::default(), usize::MAX) {
        assert_eq!(entry.push.outcome, Outcome::Answered { status: 200, reason: None, timestamp: None });
    }
    sender.drain().await;
}

#[tokio::test]
async fn a_message_arrives_as_apple_wants_it() {
    let world = World::new().await;
    let sender = world.sender();
    let push = message(7, world.now());
    sender.offer(push.clone()).unwrap();
    assert_eq!(world.inbox.verdict(7).await, Verdict::Accepted);
    let seen = soon(world.apple.recorder().wait(Query::default())).await.push;
    assert_eq!((&*seen.token, seen.topic.as_deref()), (&*token(7), Some("com.example.chat")));
    assert_eq!((seen.priority, seen.expiration), (Some(10), Some(push.expires.secs())));
    assert_eq!(&*seen.apns_id, "00000000-0000-0000-0000-000000000007");
    assert_eq!(seen.collapse_id.as_deref(), Some("00000000-0000-0000-0000-000000000007"));
    assert_eq!(seen.payload()["aps"], serde_json::json!({"alert": {"loc-key": "IM_MSG"}, "badge": 1}));
}

#[tokio::test]
async fn a_call_takes_the_voip_topic() {
    let world = World::new().await;
    let mut config = world.config.clone();
    config.lane.channel = Channel::Voip;
    let sender = world.sender_of(config);
    sender.offer(call(1, world.now())).unwrap();
    assert_eq!(world.inbox.verdict(1).await, Verdict::Accepted);
    let seen = soon(world.apple.recorder().wait(Query::default())).await.push;
    assert_eq!(seen.topic.as_deref(), Some("com.example.chat.voip"));
    assert_eq!(seen.payload()["reveille"]["call"]["id"], "call-1");
    sender.offer(message(2, world.now())).unwrap();
    assert!(matches!(world.inbox.verdict(2).await, Verdict::Reject { .. }), "a message has no business here");
}

#[tokio::test]
async fn at_least_two_connections_stand_before_anything_is_sent() {
    let world = World::new().await;
    let sender = world.sender();
    until(|| sender.health().connections == 2).await;
    assert_eq!(sender.health().state, State::Ready);
    assert_eq!(world.apple.connections(), 2);
}

#[tokio::test]
async fn a_dead_token_comes_with_its_time() {
    let world = World::new().await;
    world.script(Some(1), vec![Answer::unregistered(1_699_999_999_000)], Times::Exactly(1));
    world.script(Some(2), vec![Answer::refused(Reason::BadDeviceToken)], Times::Exactly(1));
    let sender = world.sender();
    world.offer(&sender, [1, 2]);
    let since = Some(Timestamp::from_millis(1_699_999_999_000));
    assert_eq!(world.inbox.verdict(1).await, Verdict::Forget { reason: "Unregistered".into(), since });
    assert_eq!(world.inbox.verdict(2).await, Verdict::Forget { reason: "BadDeviceToken".into(), since: None });
}

#[tokio::test]
async fn what_a_goaway_leaves_out_is_unprocessed_and_the_rest_is_answered() {
    let world = World::new().await;
    let sender = world.narrow_sender();
    world.offer(&sender, [0]);
    world.inbox.wait(1).await;
    world.apple.hold();
    world.offer(&sender, 1..=6);
    world.held(6).await;
    // The first push had stream 1; the next six have 3, 5, 7, 9, 11, 13.
    let order = GoAway { reason: Some("Shutdown".into()), last_stream: Some(7), after_requests: None };
    world.apple.go_away(order);
    let outcomes = world.inbox.wait(4).await;
    let keys: Vec<_> = outcomes.keys().copied().collect();
    assert_eq!(keys, [0, 4, 5, 6]);
    for key in [4, 5, 6] {
        let verdict = &outcomes[&key].verdict;
        assert!(is_retry(verdict, true), "{verdict:?}");
        assert!(verdict.provider_reason().unwrap().contains("Shutdown"), "{verdict:?}");
    }
    world.apple.release();
    let outcomes = world.inbox.wait(7).await;
    assert!((1..=3).all(|key| outcomes[&key].verdict == Verdict::Accepted));
    // Life goes on, on another connection.
    world.offer(&sender, [7]);
    assert_eq!(world.inbox.verdict(7).await, Verdict::Accepted);
    let last = soon(world.apple.recorder().wait(Query { token: Some(&token(7)), ..Query::default() })).await;
    assert_eq!(last.push.connection, 2);
}

#[tokio::test]
async fn a_refused_stream_is_unprocessed_and_the_connection_goes_on() {
    let world = World::new().await;
    let sender = world.narrow_sender();
    world.script(Some(1), vec![Answer::stream_refused()], Times::Exactly(1));
    world.offer(&sender, [1, 2]);
    let outcomes = world.inbox.wait(2).await;
    assert!(is_retry(&outcomes[&1].verdict, true), "{outcomes:?}");
    assert_eq!(outcomes[&2].verdict, Verdict::Accepted);
    assert_eq!(world.apple.connections(), 1);
}

#[tokio::test]
async fn a_push_whose_answer_is_lost_may_have_arrived() {
    let world = World::new().await;
    let sender = world.narrow_sender();
    world.offer(&sender, [0]);
    world.inbox.wait(1).await;
    world.script(Some(1), vec![Answer::closed(true)], Times::Exactly(1));
    world.offer(&sender, [1]);
    let verdict = world.inbox.verdict(1).await;
    assert!(is_retry(&verdict, false), "{verdict:?}");
    world.offer(&sender, [2]);
    assert_eq!(world.inbox.verdict(2).await, Verdict::Accepted);
}

#[tokio::test]
async fn a_push_without_an_answer_is_given_up_after_a_while_and_its_connection_too() {
    let world = World::new().await;
    let config = SenderConfig { connections: 1, response_timeout: Duration::from_millis(150), ..world.config.clone() };
    let sender = world.sender_of(config);
    world.script(Some(1), vec![Answer::accepted().held()], Times::Exactly(1));
    world.offer(&sender, [1]);
    let verdict = world.inbox.verdict(1).await;
    assert!(is_retry(&verdict, false), "{verdict:?}");
    assert_eq!(verdict.provider_reason(), Some("no answer within 0.15 s"));
    world.offer(&sender, [2]);
    assert_eq!(world.inbox.verdict(2).await, Verdict::Accepted);
    let second = soon(world.apple.recorder().wait(Query { token: Some(&token(2)), ..Query::default() })).await;
    assert_eq!(second.push.connection, 2);
}

#[tokio::test]
async fn pushes_outlive_an_outage_that_is_shorter_than_their_patience() {
    for outage in [Outage::Drop, Outage::Refuse] {
        let world = World::new().await;
        world.apple.down(outage).await;
        let sender = world.sender();
        world.offer(&sender, 0..100);
        until(|| sender.health().state == State::Unreachable).await;
        assert_eq!((world.inbox.len(), sender.health().queued), (0, 100), "nothing is failed in a hurry");
        world.apple.up().await;
        let outcomes = world.inbox.wait(100).await;
        assert!(outcomes.values().all(|outcome| outcome.verdict == Verdict::Accepted), "{outage:?}");
    }
}

#[tokio::test]
async fn pushes_are_handed_back_unprocessed_when_patience_ends_with_the_reason_why() {
    let world = World::new().await;
    world.apple.down(Outage::Refuse).await;
    let sender = world.sender_of(SenderConfig { patience: Duration::from_millis(200), ..world.config.clone() });
    world.offer(&sender, 0..10);
    for (key, outcome) in world.inbox.wait(10).await {
        assert!(is_retry(&outcome.verdict, true), "{key} {outcome:?}");
        let reason = outcome.verdict.provider_reason().unwrap();
        assert!(reason.starts_with("no connection to the provider: connecting with localhost failed"), "{reason}");
    }
    let health = sender.health();
    assert_eq!((health.state, health.connections, health.queued), (State::Unreachable, 0, 0));
    let (_, trouble) = health.trouble.unwrap();
    assert!(trouble.starts_with("connecting with localhost failed"), "{trouble}");
}

#[tokio::test]
async fn what_has_no_life_left_is_not_sent() {
    let world = World::new().await;
    let sender = world.sender();
    let mut late = message(1, world.now());
    late.expires = world.now();
    sender.offer(late).unwrap();
    let verdict = world.inbox.verdict(1).await;
    assert!(is_retry(&verdict, true));
    assert_eq!(verdict.provider_reason(), Some(EXPIRED_BEFORE_SENDING));
    assert_eq!(world.apple.recorder().latest(), 0);
}

#[tokio::test]
async fn what_is_not_sent_does_not_hold_up_what_waits_behind_it() {
    let world = World::new().await;
    world.apple.down(Outage::Refuse).await;
    let sender = world.sender_of(SenderConfig { connections: 1, in_flight_max: 1, ..world.config.clone() });
    for key in 0..5 {
        let mut late = message(key, world.now());
        late.expires = world.now();
        sender.offer(late).unwrap();
    }
    world.offer(&sender, [5]);
    world.apple.up().await;
    let outcomes = world.inbox.wait(6).await;
    assert!((0..5).all(|key| is_retry(&outcomes[&key].verdict, true)), "{outcomes:?}");
    assert_eq!(outcomes[&5].verdict, Verdict::Accepted);
}

#[tokio::test]
async fn the_provider_token_is_renewed_on_the_same_connection_within_its_hour() {
    let clock = Clock::system();
    let world = World::with(|options| options.clock = clock.clone()).await;
    let sender = world.narrow_sender();
    for key in 0..6 {
        world.offer(&sender, [key]);
        assert_eq!(world.inbox.verdict(key).await, Verdict::Accepted, "after {} minutes", key * 25);
        let step = Duration::from_secs(25 * 60);
        clock.advance(step);
        world.wall.advance(step);
    }
    let entries = world.apple.recorder().entries(Query::default(), usize::MAX);
    assert!(entries.iter().all(|entry| entry.push.connection == 1));
}

#[tokio::test]
async fn clocks_that_differ_are_told_and_make_no_storm_of_tokens() {
    let clock = Clock::system();
    clock.advance(Duration::from_secs(2 * 3600));
    let world = World::with(|options| options.clock = clock).await;
    let sender = world.sender_of(SenderConfig { patience: Duration::from_millis(300), ..world.config.clone() });
    world.offer(&sender, 0..50);
    let mut refused = 0;
    for (key, outcome) in world.inbox.wait(50).await {
        let reason = outcome.verdict.provider_reason().unwrap();
        assert!(reason.contains("ExpiredProviderToken") && reason.contains("clock"), "{key} {outcome:?}");
        match &outcome.verdict {
            Verdict::Configuration { .. } => refused += 1,
            other => assert!(is_retry(other, true), "the rest was never sent: {outcome:?}"),
        }
    }
    assert!((1..50).contains(&refused), "{refused}");
    let statuses = world.apple.recorder().counts().by_status;
    assert_eq!(statuses.keys().copied().collect::<Vec<_>>(), [403], "never 429 for too many tokens");
}

#[tokio::test]
async fn a_connection_spoilt_by_token_changes_is_left_without_signing_again() {
    let world = World::new().await;
    let sender = world.narrow_sender();
    world.script(Some(1), vec![Answer::refused(Reason::TooManyProviderTokenUpdates)], Times::Exactly(1));
    world.offer(&sender, [1]);
    let verdict = world.inbox.verdict(1).await;
    assert!(is_retry(&verdict, true), "{verdict:?}");
    world.offer(&sender, [2]);
    assert_eq!(world.inbox.verdict(2).await, Verdict::Accepted);
    let second = soon(world.apple.recorder().wait(Query { token: Some(&token(2)), ..Query::default() })).await;
    assert_eq!(second.push.connection, 2);
}

#[tokio::test]
async fn a_wrong_key_is_a_matter_of_configuration() {
    let world = World::with(|options| options.keys.clear()).await;
    let sender = world.sender();
    world.offer(&sender, [1]);
    let verdict = world.inbox.verdict(1).await;
    assert_eq!(verdict, Verdict::Configuration { reason: "InvalidProviderToken".into() });
}

#[tokio::test]
async fn a_server_that_only_fails_is_left_for_another_connection() {
    let world = World::new().await;
    let sender = world.narrow_sender();
    world.script(None, vec![Answer::refused(Reason::InternalServerError)], Times::Exactly(20));
    world.offer(&sender, 0..20);
    let outcomes = world.inbox.wait(20).await;
    assert!(outcomes.values().all(|outcome| is_retry(&outcome.verdict, false)));
    world.offer(&sender, [20]);
    assert_eq!(world.inbox.verdict(20).await, Verdict::Accepted);
    let last = soon(world.apple.recorder().wait(Query { token: Some(&token(20)), ..Query::default() })).await;
    assert_eq!(last.push.connection, 2);
}

#[tokio::test]
async fn draining_waits_for_answers_and_hands_back_what_was_never_written() {
    let world = World::new().await;
    world.apple.hold();
    let config = SenderConfig { connections: 1, in_flight_max: 5, ..world.config.clone() };
    let sender = world.sender_of(config);
    world.offer(&sender, 0..8);
    world.held(5).await;
    let (drained, ()) = soon(async {
        tokio::join!(sender.drain(), async {
            world.inbox.wait(3).await;
            world.apple.release();
        })
    })
    .await;
    let () = drained;
    let outcomes = world.inbox.wait(8).await;
    assert!((0..5).all(|key| outcomes[&key].verdict == Verdict::Accepted), "{outcomes:?}");
    assert!((5..8).all(|key| is_retry(&outcomes[&key].verdict, true)), "{outcomes:?}");
    assert_eq!(sender.offer(message(9, world.now())).unwrap_err().key, 9);
    assert_eq!((sender.room(), sender.health().state), (0, State::Draining));
}

#[tokio::test]
async fn draining_does_not_wait_for_ever() {
    let world = World::new().await;
    world.apple.hold();
    let sender = world.sender_of(SenderConfig { grace: Duration::from_millis(100), ..world.config.clone() });
    world.offer(&sender, 0..5);
    world.held(5).await;
    soon(sender.drain()).await;
    let outcomes = world.inbox.wait(5).await;
    assert!(outcomes.values().all(|outcome| is_retry(&outcome.verdict, false)), "{outcomes:?}");
    until(|| world.apple.connections() == 0).await;
}

#[tokio::test]
async fn dropping_a_sender_loses_nothing_either() {
    let world = World::new().await;
    world.apple.down(Outage::Refuse).await;
    let sender = world.sender();
    world.offer(&sender, 0..5);
    drop(sender);
    let outcomes = world.inbox.wait(5).await;
    assert!(outcomes.values().all(|outcome| is_retry(&outcome.verdict, true)), "{outcomes:?}");
}

#[test]
fn a_runtime_that_goes_takes_no_outcome_with_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let apple = tokio::runtime::Runtime::new().unwrap();
    let world = apple.block_on(World::new());
    world.apple.hold();
    let config = SenderConfig { connections: 1, in_flight_max: 3, ..world.config.clone() };
    let sender = runtime.block_on(async { world.sender_of(config) });
    world.offer(&sender, 0..5);
    runtime.block_on(world.held(3));
    drop(runtime);
    drop(sender);
    let outcomes = apple.block_on(world.inbox.wait(5));
    assert!((0..3).all(|key| is_retry(&outcomes[&key].verdict, false)), "{outcomes:?}");
    assert!((3..5).all(|key| is_retry(&outcomes[&key].verdict, true)), "{outcomes:?}");
}

#[tokio::test]
async fn a_full_queue_gives_the_push_back() {
    let world = World::new().await;
    world.apple.down(Outage::Refuse).await;
    let sender = world.sender_of(SenderConfig { queue_max: 3, ..world.config.clone() });
    world.offer(&sender, 0..3);
    assert_eq!(sender.room(), 0);
    assert_eq!(sender.offer(message(3, world.now())).unwrap_err().key, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_pushes_have_one_outcome_each_however_the_provider_behaves() {
    let world = World::with(|options| options.streams_max = 100).await;
    // Every 700 requests a connection is told to go; here and there a stream is refused or an answer is lost.
    world.apple.go_away(GoAway { reason: Some("Shutdown".into()), last_stream: None, after_requests: Some(700) });
    for key in (0..5000).step_by(250) {
        let mishap = match key % 3 {
            0 => Answer::stream_refused(),
            1 => Answer::closed(false),
            _ => Answer::unregistered(1),
        };
        world.script(Some(key), vec![mishap], Times::Exactly(1));
    }
    let sender = world.sender();
    for key in 0..5000 {
        let mut push = message(key, world.now());
        while let Err(back) = sender.offer(push) {
            push = back;
            tokio::task::yield_now().await;
        }
    }
    let outcomes = world.inbox.wait(5000).await;
    assert!(outcomes.keys().copied().eq(0..5000));
    let seen = world.apple.recorder().entries(Query { delivered: true, ..Query::default() }, usize::MAX);
    let mut deliveries = HashMap::new();
    for entry in &seen {
        *deliveries.entry(&*entry.push.token).or_default() += 1;
    }
    let delivered = |key: u64| -> usize { deliveries.get(&*token(key)).copied().unwrap_or(0) };
    let mut accepted = 0;
    for (key, outcome) in &outcomes {
        match &outcome.verdict {
            Verdict::Accepted => {
                accepted += 1;
                assert_eq!(delivered(*key), 1, "{key} was accepted");
            }
            Verdict::Retry { unprocessed: true, .. } => assert_eq!(delivered(*key), 0, "{key} was not processed"),
            Verdict::Retry { .. } => assert!(delivered(*key) <= 1),
            Verdict::Forget { .. } => assert_eq!((key % 250, delivered(*key)), (0, 0)),
            other => panic!("{key}: {other:?}"),
        }
    }
    assert!(accepted > 3000, "only {accepted} were accepted");
    sender.drain().await;
    let health = sender.health();
    assert_eq!((health.in_flight, health.queued, health.connections), (0, 0, 0));
    assert_eq!(world.inbox.len(), 5000, "and none had two");
}
