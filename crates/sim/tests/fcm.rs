//! The FCM simulator over HTTP/2 (and, for the token endpoint, HTTP/1.1 by hand).

mod kit;

use std::time::Duration;

use kit::{Client, Reply, assertion, loopback};
use reveille_sim::Outage;
use reveille_sim::certs::{Ca, ServiceAccount, service_account_json};
use reveille_sim::clock::Clock;
use reveille_sim::fcm::{FcmAnswer, FcmCode, FcmOptions, FcmOutcome, FcmSimulator, TOKEN_ENDPOINT};
use reveille_sim::recorder::Query;
use reveille_sim::script::Times;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const NOW: u64 = 1_800_000_000;

struct Google {
    simulator: FcmSimulator,
    ca: Ca,
    account: ServiceAccount,
}

impl Google {
    async fn start() -> Self {
        let (ca, identity) = loopback();
        let mut options = FcmOptions::new(identity);
        options.clock = Clock::stopped_at(NOW * 1000);
        let simulator = FcmSimulator::start(options).await.unwrap();
        let account = service_account_json("demo", &simulator.token_uri()).unwrap();
        simulator.add_account(account.clone());
        Self { simulator, ca, account }
    }

    async fn client(&self) -> Client {
        Client::connect(self.simulator.addr(), &self.ca).await
    }

    fn form(&self) -> String {
        let claims = json!({
            "iss": self.account.client_email, "scope": "https://www.googleapis.com/auth/firebase.messaging",
            "aud": self.simulator.token_uri(), "iat": NOW, "exp": NOW + 3600,
        });
        let assertion = assertion(&self.account.json, &claims);
        format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}")
    }

    async fn ask_token(&self, client: &Client) -> Reply {
        let request = http::Request::post(self.simulator.token_uri())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(())
            .unwrap();
        client.send(request, self.form().as_bytes()).await.unwrap()
    }

    async fn authorized(&self) -> (Client, String) {
        let client = self.client().await;
        let reply = self.ask_token(&client).await;
        assert_eq!(reply.status, 200, "{:?}", reply.json());
        let token = reply.json()["access_token"].as_str().unwrap().to_owned();
        (client, token)
    }

    fn request(&self, project: &str, access_token: &str) -> http::Request<()> {
        http::Request::post(format!("https://{}/v1/projects/{project}/messages:send", self.simulator.addr()))
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {access_token}"))
            .body(())
            .unwrap()
    }
}

fn message(token: &str) -> Vec<u8> {
    let message = json!({"token": token, "data": {"push": "01J"}, "android": {"priority": "HIGH", "ttl": "30s"}});
    json!({ "message": message }).to_string().into_bytes()
}

fn error_code(reply: &Reply) -> Value {
    reply.json()["error"]["details"][0]["errorCode"].clone()
}

#[tokio::test]
async fn a_message_is_taken_named_and_remembered() {
    let google = Google::start().await;
    let (client, access) = google.authorized().await;
    let reply = client.send(google.request("demo", &access), &message("device-1")).await.unwrap();
    assert_eq!(reply.status, 200);
    let name = reply.json()["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("projects/demo/messages/"), "{name}");
    let entry = google.simulator.recorder().wait(Query { token: Some("device-1"), ..Query::default() }).await;
    let seen = serde_json::to_value(&entry).unwrap();
    let expected = json!({
        "seq": 1, "unix_ms": NOW * 1000, "connection": 1, "project": "demo", "target": "token", "token": "device-1",
        "priority": "HIGH", "ttl": "30s", "collapse_key": null,
        "message": {"token": "device-1", "data": {"push": "01J"}, "android": {"priority": "HIGH", "ttl": "30s"}},
        "outcome": "accepted", "status": 200, "name": name,
    });
    assert_eq!(seen, expected);
    assert!(!format!("{entry:?}").contains("device-1"));
    google.simulator.shutdown().await;
}

#[tokio::test]
async fn access_tokens_are_needed_and_expire() {
    let google = Google::start().await;
    let (client, access) = google.authorized().await;
    let anonymous = client.send(google.request("demo", "ya29.made-up"), &message("d")).await.unwrap();
    assert_eq!((anonymous.status, error_code(&anonymous)), (401, Value::Null));
    let foreign = client.send(google.request("other", &access), &message("d")).await.unwrap();
    assert_eq!((foreign.status, error_code(&foreign)), (403, Value::Null));
    google.simulator.clock().advance(Duration::from_secs(3599));
    let late = client.send(google.request("demo", &access), &message("d")).await.unwrap();
    assert_eq!((late.status, &late.json()["error"]["status"]), (401, &json!("UNAUTHENTICATED")));
    assert_eq!(google.simulator.recorder().counts().by_status[&401], 2);
}

#[tokio::test]
async fn every_code_can_be_scripted_with_its_status() {
    let google = Google::start().await;
    let (client, access) = google.authorized().await;
    let rows = [
        (FcmCode::Unregistered, 404),
        (FcmCode::SenderIdMismatch, 403),
        (FcmCode::QuotaExceeded, 429),
        (FcmCode::Unavailable, 503),
        (FcmCode::Internal, 500),
        (FcmCode::InvalidArgument, 400),
        (FcmCode::ThirdPartyAuthError, 401),
    ];
    let answers = rows.iter().map(|(code, _)| FcmAnswer::refused(*code).retry_after(7)).collect();
    google.simulator.script(Some("d"), answers, Times::Exactly(1)).unwrap();
    for (code, status) in rows {
        let reply = client.send(google.request("demo", &access), &message("d")).await.unwrap();
        assert_eq!((reply.status, error_code(&reply)), (status, json!(code.name())));
        assert_eq!(reply.header("retry-after"), "7");
    }
    assert_eq!(client.send(google.request("demo", &access), &message("d")).await.unwrap().status, 200);
}

#[tokio::test]
async fn wrong_fields_are_named_without_an_fcm_error() {
    let google = Google::start().await;
    let (client, access) = google.authorized().await;
    let body = br#"{"message":{"token":"d","android":{"ttl":"soon"}}}"#;
    let reply = client.send(google.request("demo", &access), body).await.unwrap();
    let detail = &reply.json()["error"]["details"][0];
    assert_eq!((reply.status, &detail["@type"]), (400, &json!("type.googleapis.com/google.rpc.BadRequest")));
    assert_eq!(detail["fieldViolations"][0]["field"], "message.android.ttl");
    let dry = br#"{"validate_only":true,"message":{"token":"d"}}"#;
    assert_eq!(client.send(google.request("demo", &access), dry).await.unwrap().status, 200);
    assert_eq!(google.simulator.recorder().counts().delivered, 0);
}

#[tokio::test]
async fn held_messages_wait_and_a_lost_connection_abandons_them() {
    let google = Google::start().await;
    let (client, access) = google.authorized().await;
    google.simulator.hold();
    let first = client.begin(google.request("demo", &access), &message("d1")).await.unwrap();
    google.simulator.recorder().wait(Query { token: Some("d1"), ..Query::default() }).await;
    google.simulator.release();
    assert_eq!(first.reply().await.unwrap().status, 200);
    google.simulator.script(Some("d2"), vec![FcmAnswer::accepted().held()], Times::Exactly(1)).unwrap();
    let second = client.begin(google.request("demo", &access), &message("d2")).await.unwrap();
    let held = google.simulator.recorder().wait(Query { token: Some("d2"), ..Query::default() }).await;
    assert_eq!(held.push.outcome, FcmOutcome::Held);
    google.simulator.down(Outage::Drop).await;
    assert!(second.reply().await.is_err());
    google.simulator.up().await;
    let counts = google.simulator.recorder().counts();
    assert_eq!((counts.received, counts.delivered), (2, 1));
    let recorder = google.simulator.recorder().clone();
    google.simulator.shutdown().await;
    assert_eq!(recorder.entries(Query { after: 1, ..Query::default() }, 1)[0].push.outcome, FcmOutcome::Abandoned);
}

#[tokio::test]
async fn a_connection_may_close_without_an_answer() {
    let google = Google::start().await;
    let (client, access) = google.authorized().await;
    google.simulator.script(None, vec![FcmAnswer::closed(true)], Times::Exactly(1)).unwrap();
    assert!(client.send(google.request("demo", &access), &message("d")).await.is_err());
    assert_eq!(google.simulator.recorder().counts().delivered, 1);
}

#[tokio::test]
async fn the_token_endpoint_can_be_scripted_and_tokens_revoked() {
    let google = Google::start().await;
    let client = google.client().await;
    let answers = vec![FcmAnswer { status: Some(503), ..FcmAnswer::default() }];
    google.simulator.script(Some(TOKEN_ENDPOINT), answers, Times::Exactly(1)).unwrap();
    assert_eq!(google.ask_token(&client).await.status, 503);
    let access = google.ask_token(&client).await.json()["access_token"].as_str().unwrap().to_owned();
    google.simulator.expire_tokens();
    assert_eq!(client.send(google.request("demo", &access), &message("d")).await.unwrap().status, 401);
}

#[tokio::test]
async fn http_1_1_is_served_as_well() {
    let google = Google::start().await;
    let mut stream = kit::tls(google.simulator.addr(), &google.ca, &[b"http/1.1"]).await.unwrap();
    let form = google.form();
    let head = format!(
        "POST /token HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    let reply = String::from_utf8(reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200") && reply.contains("access_token"), "{reply}");
}
