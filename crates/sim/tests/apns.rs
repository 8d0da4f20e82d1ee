//! The APNs simulator met by an HTTP/2 client that others wrote.

mod kit;

use std::time::Duration;

use kit::{Client, bearer, loopback};
use reveille_sim::Outage;
use reveille_sim::apns::{Act, Answer, ApnsOptions, ApnsSimulator, Environment, GoAway, Outcome, ProviderKey, Reason};
use reveille_sim::certs::{ApnsKey, Ca, apns_key};
use reveille_sim::clock::Clock;
use reveille_sim::recorder::{Keep, Query};
use reveille_sim::script::Times;

const NOW_MS: u64 = 1_800_000_000_000;
const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const OTHER: &str = "11fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
const ALERT: &[u8] = br#"{"aps":{"alert":{"loc-key":"NEW_MESSAGE"},"badge":3}}"#;

struct Apple {
    simulator: ApnsSimulator,
    ca: Ca,
    key: ApnsKey,
    authorization: String,
}

impl Apple {
    async fn start(change: impl FnOnce(&mut ApnsOptions)) -> Self {
        let (ca, identity) = loopback();
        let key = apns_key().unwrap();
        let mut options = ApnsOptions::new(identity);
        options.keys = vec![ProviderKey::new("TEAM123456", "KEY1234567", key.public_key.clone())];
        options.clock = Clock::stopped_at(NOW_MS);
        change(&mut options);
        let simulator = ApnsSimulator::start(options).await.unwrap();
        let authorization = bearer(&key, "TEAM123456", "KEY1234567", NOW_MS / 1000);
        Self { simulator, ca, key, authorization }
    }

    async fn client(&self) -> Client {
        Client::connect(self.simulator.addr(), &self.ca).await
    }

    fn request(&self, token: &str) -> http::Request<()> {
        self.request_with(token, |request| request)
    }

    fn request_with(
        &self,
        token: &str,
        change: impl FnOnce(http::request::Builder) -> http::request::Builder,
    ) -> http::Request<()> {
        let request = http::Request::post(format!("https://{}/3/device/{token}", self.simulator.addr()))
            .header("authorization", &self.authorization)
            .header("apns-topic", "com.example.app")
            .header("apns-push-type", "alert")
            .header("apns-priority", "10")
            .header("apns-expiration", "0");
        change(request).body(()).unwrap()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        let entries = self.simulator.recorder().entries(Query::default(), 99);
        entries.into_iter().map(|entry| entry.push.outcome).collect()
    }
}

fn answered(status: u16) -> Outcome {
    Outcome::Answered { status, reason: None, timestamp: None }
}

#[tokio::test]
async fn a_push_is_accepted_its_id_echoed_and_everything_about_it_remembered() {
    let apple = Apple::start(|_| {}).await;
    let client = apple.client().await;
    let id = "eabeae54-14a8-11e5-b60b-1697f925ec7b";
    let request = apple.request_with(TOKEN, |request| request.header("apns-id", id).header("apns-collapse-id", "c-7"));
    let reply = client.send(request, ALERT).await.unwrap();
    assert_eq!((reply.status, reply.header("apns-id"), reply.body.len()), (200, id, 0));
    assert_eq!(reply.header("apns-unique-id"), "", "only the sandbox sends it");
    let entry = apple.simulator.recorder().wait(Query { token: Some(TOKEN), ..Query::default() }).await;
    assert_eq!((entry.seq, entry.unix_ms), (1, NOW_MS));
    let json = serde_json::to_value(&entry).unwrap();
    let expected = serde_json::json!({
        "seq": 1, "unix_ms": NOW_MS, "connection": 1, "stream": 1, "token": TOKEN, "topic": "com.example.app",
        "push_type": "alert", "priority": 10, "expiration": 0, "collapse_id": "c-7", "apns_id": id,
        "payload": {"aps":{"alert":{"loc-key":"NEW_MESSAGE"},"badge":3}}, "outcome": "answered", "status": 200,
    });
    assert_eq!(json, expected);
    assert_eq!(entry.push.payload()["aps"]["badge"], 3);
    let shown = format!("{entry:?}");
    assert!(!shown.contains(TOKEN) && !shown.contains("NEW_MESSAGE"), "{shown}");
    apple.simulator.shutdown().await;
}

#[tokio::test]
async fn the_stream_cap_is_one_until_a_valid_token_and_then_rises() {
    let apple = Apple::start(|options| options.streams_max = 77).await;
    let client = apple.client().await;
    let bad = http::Request::post(format!("https://localhost/3/device/{TOKEN}")).body(()).unwrap();
    let reply = client.send(bad, ALERT).await.unwrap();
    assert_eq!((reply.status, reply.reason()), (403, "MissingProviderToken".to_owned()));
    assert_eq!(client.requests.current_max_send_streams(), 1);
    assert_eq!(client.send(apple.request(TOKEN), ALERT).await.unwrap().status, 200);
    assert_eq!(client.requests.current_max_send_streams(), 77);
}

#[tokio::test]
async fn a_refusal_carries_its_reason_and_a_gone_token_its_time() {
    let apple = Apple::start(|options| options.environment = Environment::Sandbox).await;
    let client = apple.client().await;
    let request = apple.request_with(TOKEN, |request| request.header("apns-topic", "twice"));
    let reply = client.send(request, ALERT).await.unwrap();
    assert_eq!((reply.status, reply.reason()), (400, "DuplicateHeaders".to_owned()));
    assert_eq!(reply.header("apns-unique-id").len(), 36);
    assert_eq!(reply.header("apns-id").len(), 36);
    apple.simulator.script(Some(TOKEN), vec![Answer::unregistered(1_700_000_000_123)], Times::Exactly(1)).unwrap();
    let reply = client.send(apple.request(TOKEN), ALERT).await.unwrap();
    assert_eq!(reply.status, 410);
    assert_eq!(reply.json(), serde_json::json!({"reason": "Unregistered", "timestamp": 1_700_000_000_123_u64}));
    assert_eq!(client.send(apple.request(TOKEN), ALERT).await.unwrap().status, 200, "the script is used up");
}

#[tokio::test]
async fn payloads_are_limited_and_must_be_json_dictionaries() {
    let apple = Apple::start(|_| {}).await;
    let client = apple.client().await;
    let sized = |bytes: usize| format!(r#"{{"aps":"{}"}}"#, "x".repeat(bytes - 10)).into_bytes();
    let voip = || {
        let mut request = apple.request(TOKEN);
        request.headers_mut().insert("apns-topic", "com.example.app.voip".parse().unwrap());
        request.headers_mut().insert("apns-push-type", "voip".parse().unwrap());
        request
    };
    let cases = [
        (apple.request(TOKEN), sized(4096), 200, ""),
        (apple.request(TOKEN), sized(4097), 413, "PayloadTooLarge"),
        (voip(), sized(5120), 200, ""),
        (voip(), sized(5121), 413, "PayloadTooLarge"),
        (apple.request(TOKEN), sized(200_000), 413, "PayloadTooLarge"),
        (apple.request(TOKEN), vec![], 400, "PayloadEmpty"),
        (apple.request(TOKEN), b"[1]".to_vec(), 400, "PayloadEmpty"),
        (apple.request(TOKEN), b"{".to_vec(), 400, "PayloadEmpty"),
    ];
    for (request, body, status, reason) in cases {
        let reply = client.send(request, &body).await.unwrap();
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason), "{} bytes", body.len());
    }
}

#[tokio::test]
async fn goaway_names_its_reason_and_the_last_stream() {
    let apple = Apple::start(|_| {}).await;
    let client = apple.client().await;
    client.send(apple.request(TOKEN), ALERT).await.unwrap();
    apple.simulator.hold();
    let below = client.begin(apple.request(TOKEN), ALERT).await.unwrap();
    let above = client.begin(apple.request(OTHER), ALERT).await.unwrap();
    apple.simulator.recorder().wait(Query { token: Some(OTHER), ..Query::default() }).await;
    apple.simulator.go_away(GoAway {
        reason: Some("IdleTimeout".to_owned()),
        last_stream: Some(3),
        after_requests: None,
    });
    let refused = above.reply().await.unwrap_err();
    assert!(refused.is_go_away() && refused.is_remote(), "{refused:?}");
    apple.simulator.release();
    assert_eq!(below.reply().await.unwrap().status, 200, "streams at or below the last one are answered");
    let ended = client.connection.await.unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(apple.outcomes(), [answered(200), answered(200), Outcome::Dropped]);
}

#[tokio::test]
async fn goaway_comes_after_so_many_requests_until_scripts_are_cleared() {
    let apple = Apple::start(|_| {}).await;
    apple.simulator.go_away(GoAway { after_requests: Some(2), ..GoAway::default() });
    for _ in 0..2 {
        let client = apple.client().await;
        assert_eq!(client.send(apple.request(TOKEN), ALERT).await.unwrap().status, 200);
        assert_eq!(client.send(apple.request(TOKEN), ALERT).await.unwrap().status, 200);
        assert!(client.send(apple.request(TOKEN), ALERT).await.is_err());
    }
    apple.simulator.clear_scripts();
    let client = apple.client().await;
    for _ in 0..5 {
        assert_eq!(client.send(apple.request(TOKEN), ALERT).await.unwrap().status, 200);
    }
    assert_eq!(apple.simulator.recorder().counts().delivered, 9);
}

#[tokio::test]
async fn a_scripted_goaway_leaves_its_request_unprocessed() {
    let apple = Apple::start(|_| {}).await;
    let client = apple.client().await;
    apple.simulator.script(None, vec![Answer::gone_away()], Times::Exactly(1)).unwrap();
    let refused = client.send(apple.request(TOKEN), ALERT).await.unwrap_err();
    assert!(refused.is_go_away(), "{refused:?}");
    let again = apple.client().await;
    assert_eq!(again.send(apple.request(TOKEN), ALERT).await.unwrap().status, 200);
    assert_eq!(apple.outcomes(), [Outcome::Dropped, answered(200)]);
}

#[tokio::test]
async fn a_refused_stream_says_so_and_the_connection_goes_on() {
    let apple = Apple::start(|_| {}).await;
    let client = apple.client().await;
    apple.simulator.script(Some(TOKEN), vec![Answer::stream_refused()], Times::Exactly(1)).unwrap();
    let refused = client.send(apple.request(TOKEN), ALERT).await.unwrap_err();
    assert_eq!(refused.reason(), Some(h2::Reason::REFUSED_STREAM));
    assert_eq!(client.send(apple.request(TOKEN), ALERT).await.unwrap().status, 200);
    assert_eq!(apple.outcomes(), [Outcome::Refused, answered(200)]);
}

#[tokio::test]
async fn a_connection_may_end_without_an_answer_after_the_push_was_delivered() {
    let apple = Apple::start(|_| {}).await;
    for delivered in [true, false] {
        let client = apple.client().await;
        apple.simulator.script(Some(TOKEN), vec![Answer::closed(delivered)], Times::Exactly(1)).unwrap();
        let lost = client.send(apple.request(TOKEN), ALERT).await.unwrap_err();
        assert!(!lost.is_go_away(), "{lost:?}");
    }
    assert_eq!(apple.outcomes(), [Outcome::Closed { delivered: true }, Outcome::Closed { delivered: false }]);
    assert_eq!(apple.simulator.recorder().counts().delivered, 1);
}

#[tokio::test]
async fn held_answers_come_with_the_release_and_not_before() {
    let apple = Apple::start(|_| {}).await;
    let client = apple.client().await;
    client.send(apple.request(TOKEN), ALERT).await.unwrap();
    apple
        .simulator
        .script(Some(OTHER), vec![Answer::refused(Reason::TooManyRequests).held()], Times::Exactly(1))
        .unwrap();
    let waiting = client.begin(apple.request(OTHER), ALERT).await.unwrap();
    let held = apple.simulator.recorder().wait(Query { token: Some(OTHER), ..Query::default() }).await;
    assert_eq!(held.push.outcome, Outcome::Held);
    assert_eq!(client.send(apple.request(TOKEN), ALERT).await.unwrap().status, 200, "others are not delayed");
    apple.simulator.release();
    assert_eq!(waiting.reply().await.unwrap().reason(), "TooManyRequests");
    assert_eq!(
        apple.simulator.recorder().entries(Query { after: 1, ..Query::default() }, 1)[0].push.reason(),
        Some("TooManyRequests")
    );
}

#[tokio::test]
async fn a_push_whose_sender_gives_up_while_it_is_held_is_abandoned() {
    let apple = Apple::start(|_| {}).await;
    let client = apple.client().await;
    apple.simulator.hold();
    let mut waiting = client.begin(apple.request(TOKEN), ALERT).await.unwrap();
    apple.simulator.recorder().wait(Query::default()).await;
    waiting.stream.send_reset(h2::Reason::CANCEL);
    // A later request shows that the reset has been read.
    let later = client.begin(apple.request(OTHER), ALERT).await.unwrap();
    apple.simulator.recorder().wait(Query { token: Some(OTHER), ..Query::default() }).await;
    apple.simulator.release();
    later.reply().await.unwrap();
    assert_eq!(apple.outcomes(), [Outcome::Abandoned, answered(200)]);
}

#[tokio::test]
async fn an_outage_ends_connections_and_takes_none_until_it_is_over() {
    let apple = Apple::start(|_| {}).await;
    for outage in [Outage::Drop, Outage::Refuse] {
        let client = apple.client().await;
        client.send(apple.request(TOKEN), ALERT).await.unwrap();
        apple.simulator.down(outage).await;
        assert_eq!(apple.simulator.connections(), 0);
        assert!(client.send(apple.request(TOKEN), ALERT).await.is_err(), "{outage:?}");
        let refused = kit::tls(apple.simulator.addr(), &apple.ca, &[b"h2"]).await.unwrap_err();
        assert_eq!(refused.kind() == std::io::ErrorKind::ConnectionRefused, outage == Outage::Refuse, "{refused:?}");
        apple.simulator.up().await;
        let client = apple.client().await;
        assert_eq!(client.send(apple.request(TOKEN), ALERT).await.unwrap().status, 200, "{outage:?}");
    }
}

#[tokio::test]
async fn tokens_age_by_the_simulators_clock() {
    let apple = Apple::start(|_| {}).await;
    let client = apple.client().await;
    assert_eq!(client.send(apple.request(TOKEN), ALERT).await.unwrap().status, 200);
    apple.simulator.clock().advance(Duration::from_secs(3601));
    assert_eq!(client.send(apple.request(TOKEN), ALERT).await.unwrap().reason(), "ExpiredProviderToken");
    let fresh = bearer(&apple.key, "TEAM123456", "KEY1234567", NOW_MS / 1000 + 3600);
    let hasty = bearer(&apple.key, "TEAM123456", "KEY1234567", NOW_MS / 1000 + 3601);
    let with = |authorization: &str| {
        let mut request = apple.request(TOKEN);
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
        request
    };
    assert_eq!(client.send(with(&fresh), ALERT).await.unwrap().status, 200);
    let reply = client.send(with(&hasty), ALERT).await.unwrap();
    assert_eq!((reply.status, reply.reason()), (429, "TooManyProviderTokenUpdates".to_owned()));
}

#[tokio::test]
async fn nothing_but_http_2_is_negotiated() {
    let apple = Apple::start(|_| {}).await;
    assert!(kit::tls(apple.simulator.addr(), &apple.ca, &[b"http/1.1"]).await.is_err());
}

#[tokio::test]
async fn a_thousand_pushes_in_flight_on_one_connection_are_all_counted() {
    let apple = Apple::start(|options| options.keep = Keep::CountOnly).await;
    let client = apple.client().await;
    client.send(apple.request(TOKEN), ALERT).await.unwrap();
    apple.simulator.hold();
    let mut pending = Vec::new();
    for _ in 0..1000 {
        pending.push(client.begin(apple.request(TOKEN), ALERT).await.unwrap());
    }
    apple.simulator.release();
    for push in pending {
        assert_eq!(push.reply().await.unwrap().status, 200);
    }
    apple.simulator.recorder().wait_delivered(1001).await;
    assert_eq!(apple.simulator.recorder().counts().by_status[&200], 1001);
    assert_eq!(Answer::default().act, Act::Answer);
}
