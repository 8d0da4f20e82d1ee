//! The control API as curl would use it.

mod kit;

use std::net::SocketAddr;

use kit::{Client, bearer, loopback};
use reveille_sim::apns::{ApnsOptions, ApnsSimulator, ProviderKey};
use reveille_sim::certs::{Ca, apns_key};
use reveille_sim::clock::Clock;
use reveille_sim::control::{self, Control, Controls};
use reveille_sim::fcm::{FcmOptions, FcmSimulator};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const NOW: u64 = 1_800_000_000;

struct Desk {
    control: Control,
    apns: ApnsSimulator,
    fcm: FcmSimulator,
    ca: Ca,
    authorization: String,
}

impl Desk {
    async fn open() -> Self {
        let (ca, identity) = loopback();
        let key = apns_key().unwrap();
        let mut options = ApnsOptions::new(identity.clone());
        options.keys = vec![ProviderKey::new("TEAM123456", "KEY1234567", key.public_key.clone())];
        options.clock = Clock::stopped_at(NOW * 1000);
        let apns = ApnsSimulator::start(options).await.unwrap();
        let fcm = FcmSimulator::start(FcmOptions::new(identity)).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let controls = Controls { apns: Some(apns.controls()), fcm: Some(fcm.controls()) };
        let control = control::serve(listener, controls).unwrap();
        let authorization = bearer(&key, "TEAM123456", "KEY1234567", NOW);
        Self { control, apns, fcm, ca, authorization }
    }

    async fn ask(&self, verb: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = self.raw(&format!("{verb} {path}"), "host: localhost", body).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn raw(&self, line: &str, fields: &str, body: &str) -> (u16, String) {
        raw(self.control.addr(), line, fields, body).await
    }

    async fn push(&self, token: &str) -> u16 {
        let client = Client::connect(self.apns.addr(), &self.ca).await;
        let request = http::Request::post(format!("https://localhost/3/device/{token}"))
            .header("authorization", &self.authorization)
            .header("apns-topic", "com.example.app")
            .header("apns-push-type", "alert")
            .body(())
            .unwrap();
        client.send(request, br#"{"aps":{}}"#).await.map_or(0, |reply| reply.status)
    }
}

async fn raw(addr: SocketAddr, line: &str, fields: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let head = format!("{line} HTTP/1.1\r\n{fields}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    let (head, text) = reply.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), text.to_owned())
}

#[tokio::test]
async fn the_verbs_are_listed_in_plain_text() {
    let desk = Desk::open().await;
    let (status, text) = desk.raw("GET /", "host: 127.0.0.1", "").await;
    assert_eq!(status, 200);
    for verb in ["/script", "/scripts", "/hold", "/release", "/down", "/up", "/log", "/wait", "/count", "/apns/goaway"]
    {
        assert!(text.contains(verb), "{verb}");
    }
}

#[tokio::test]
async fn a_script_is_played_logged_and_counted() {
    let desk = Desk::open().await;
    let script = r#"{"token":"ab01","answers":[{"status":410,"reason":"Unregistered","timestamp":5}]}"#;
    assert_eq!(desk.ask("POST", "/apns/script", script).await, (200, json!({})));
    assert_eq!(desk.push("ab01").await, 410);
    assert_eq!(desk.push("ab02").await, 200);
    let (_, log) = desk.ask("GET", "/apns/log?token=ab01", "").await;
    assert_eq!((&log["latest"], log["entries"].as_array().unwrap().len()), (&json!(2), 1));
    assert_eq!((&log["entries"][0]["status"], &log["entries"][0]["timestamp"]), (&json!(410), &json!(5)));
    let (_, counts) = desk.ask("GET", "/apns/count", "").await;
    assert_eq!(counts, json!({"received": 2, "delivered": 1, "by_status": {"200": 1, "410": 1}}));
    let always = r#"{"answers":[{"reason":"TooManyRequests"}],"times":0}"#;
    desk.ask("POST", "/apns/script", always).await;
    assert_eq!((desk.push("ab03").await, desk.push("ab03").await), (429, 429));
    desk.ask("DELETE", "/apns/scripts", "").await;
    assert_eq!(desk.push("ab03").await, 200);
}

#[tokio::test]
async fn a_wait_returns_with_the_push_or_with_a_sentence() {
    let desk = Desk::open().await;
    let addr = desk.control.addr();
    let waiting = tokio::spawn(raw(addr, "GET /apns/wait?token=ab01&after=0&delivered=true", "host: [::1]", ""));
    assert_eq!(desk.push("ab01").await, 200);
    let (status, text) = waiting.await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["token"], "ab01");
    let (status, told) = desk.ask("GET", "/apns/wait?token=ab01&after=1&timeout_ms=1", "").await;
    assert_eq!((status, told), (408, json!({"error": "no such push arrived within 1 ms"})));
}

#[tokio::test]
async fn holding_outages_and_goaway_are_steered() {
    let desk = Desk::open().await;
    assert_eq!(desk.ask("POST", "/apns/hold", "").await.0, 200);
    let pushing = async { desk.push("ab01").await };
    let steering = async {
        desk.ask("GET", "/apns/wait?token=ab01", "").await;
        desk.ask("POST", "/apns/release", "").await;
    };
    assert_eq!(tokio::join!(pushing, steering).0, 200);
    assert_eq!(desk.ask("POST", "/apns/down", r#"{"how":"refuse"}"#).await.0, 200);
    assert!(Client::try_connect(desk.apns.addr(), &desk.ca).await.is_err());
    assert_eq!(desk.ask("POST", "/apns/up", "").await.0, 200);
    assert_eq!(desk.push("ab01").await, 200);
    assert_eq!(desk.ask("POST", "/apns/goaway", r#"{"reason":"Shutdown","after_requests":1}"#).await.0, 200);
    assert_eq!(desk.push("ab01").await, 200, "answered, and then GOAWAY");
    for path in ["/fcm/hold", "/fcm/release", "/fcm/down", "/fcm/up", "/fcm/expire-tokens"] {
        assert_eq!(desk.ask("POST", path, "").await, (200, json!({})), "{path}");
    }
    assert_eq!(desk.ask("GET", "/fcm/log", "").await, (200, json!({"latest": 0, "entries": []})));
}

#[tokio::test]
async fn mistakes_are_answered_with_a_sentence() {
    let desk = Desk::open().await;
    let cases = [
        ("POST", "/apns/script", "{", 400),
        ("POST", "/apns/script", r#"{"answers":[]}"#, 400),
        ("POST", "/apns/script", r#"{"answers":[{"stauts":1}]}"#, 400),
        ("POST", "/apns/down", r#"{"how":"softly"}"#, 400),
        ("POST", "/apns/goaway", r#"{"after_requests":0}"#, 400),
        ("GET", "/apns/log?after=x", "", 400),
        ("GET", "/mpns/log", "", 404),
    ];
    for (verb, path, body, expected) in cases {
        let (status, told) = desk.ask(verb, path, body).await;
        assert_eq!(status, expected, "{path} {body}");
        assert!(told["error"].as_str().is_some_and(|sentence| sentence.contains(' ')), "{path}: {told}");
    }
}

#[tokio::test]
async fn other_hosts_and_foreign_pages_are_refused() {
    let desk = Desk::open().await;
    let cases = [
        ("host: evil.example", 403),
        ("host: localhost\r\norigin: https://evil.example", 403),
        ("host: localhost\r\norigin: null", 403),
        ("host: localhost\r\norigin: http://127.0.0.1:8080", 200),
    ];
    for (fields, expected) in cases {
        assert_eq!(desk.raw("POST /apns/hold", fields, "").await.0, expected, "{fields}");
    }
}

#[tokio::test]
async fn stopping_ends_those_who_wait() {
    let desk = Desk::open().await;
    let addr = desk.control.addr();
    let mut waiting = tokio::spawn(raw(addr, "GET /fcm/wait?timeout_ms=600000", "host: localhost", ""));
    // Another request on a later connection is answered: the waiting one is being served.
    tokio::select! {
        _ = &mut waiting => panic!("nothing has arrived"),
        answer = desk.ask("GET", "/fcm/count", "") => assert_eq!(answer.0, 200),
    }
    desk.control.shutdown().await;
    // Served, it is told so; not yet served, its connection is closed.
    if let Ok((status, _)) = waiting.await {
        assert_eq!(status, 503);
    }
    desk.apns.shutdown().await;
    desk.fcm.shutdown().await;
}
