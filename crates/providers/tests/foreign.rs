//! The sender against HTTP/2 servers that others wrote in other languages: nghttpd (nghttp2, in C) and Node's, which plays
//! an APNs front. The simulator shares its frames and its HPACK with the sender; these share nothing.
//!
//! `cargo xtask partners` installs them. Where one is missing its test says so and is skipped, unless
//! REVEILLE_PARTNERS=required.

mod rig;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reveille_core::{AppKey, Channel, Clock as _, Environment, LaneKey, Provider, Timestamp, Verdict};
use reveille_providers::apns::{self, Signer};
use reveille_providers::tls::Trust;
use reveille_providers::{Access, Outcome, Sender, SenderConfig, Target};
use reveille_sim::certs::{Ca, Leaf, apns_key};
use rig::{Inbox, Wall, message, token};
use tokio_util::sync::CancellationToken;

/// Whether a program is there; where all partners are required, a missing one is a failure.
fn here(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|done| done.status.success());
    let required = std::env::var("REVEILLE_PARTNERS").is_ok_and(|wish| wish == "required");
    assert!(found || !required, "{program} is not installed; `cargo xtask partners` installs it");
    if !found {
        skipped(program);
    }
    found
}

#[allow(clippy::print_stderr, reason = "who reads the test's output learns that it showed nothing")]
fn skipped(program: &str) {
    eprintln!("skipped: {program} is not installed; `cargo xtask partners` installs it");
}

/// A server as a process, and its certificate's authority.
struct Front {
    process: Child,
    address: SocketAddr,
    papers: Papers,
}

/// A folder of one test, with the server's certificate.
struct Papers {
    folder: PathBuf,
    ca: Ca,
}

impl Papers {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("foreign-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let ca = Ca::new("Authority of this test").unwrap();
        let identity = ca.issue(Leaf::new("apns", &["localhost"])).unwrap();
        std::fs::write(folder.join("key.pem"), identity.key_pem()).unwrap();
        std::fs::write(folder.join("cert.pem"), identity.chain_pem()).unwrap();
        Self { folder, ca }
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Front {
    /// Node, with the script of `tests/partners/node-http2`.
    fn node() -> Self {
        let papers = Papers::new();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/partners/node-http2/front.js");
        let mut command = Command::new("node");
        command.arg(script).arg(papers.folder.join("key.pem")).arg(papers.folder.join("cert.pem"));
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let port: u16 = port.trim().parse().expect("the front's port");
        Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)), papers }
    }

    /// nghttpd, which has a file for each push from 0 to `count`, and for no other.
    fn nghttpd(count: u64, options: &[&str]) -> Self {
        let papers = Papers::new();
        let devices = papers.folder.join("3/device");
        std::fs::create_dir_all(&devices).unwrap();
        (0..count).for_each(|key| std::fs::write(devices.join(token(key)), "{}").unwrap());
        // It cannot choose a port itself, and somebody may be quicker with one that was free.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = free.local_addr().unwrap();
            drop(free);
            let mut command = Command::new("nghttpd");
            command.arg("--address=127.0.0.1").arg("-d").arg(&papers.folder).args(options);
            command.arg(address.port().to_string());
            command.arg(papers.folder.join("key.pem")).arg(papers.folder.join("cert.pem"));
            let mut process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            while process.try_wait().unwrap().is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Self { process, address, papers };
                }
            }
        }
        panic!("nghttpd does not start");
    }

    /// A sender with a single connection.
    fn sender(&self, inbox: &Arc<Inbox>) -> Sender {
        let key = apns_key().unwrap();
        let signer = Arc::new(Signer::new("TEAM123456", "KEY1234567", &key.p8_pem).unwrap());
        let app =
            AppKey { provider: Provider::Apns, app: "com.example.chat".into(), environment: Environment::Production };
        let lane = LaneKey { app, channel: Channel::Message };
        let trust = Trust::from_pem(self.papers.ca.pem().as_bytes()).unwrap();
        let config = SenderConfig::new(lane, Access::Apns(apns::Access::Token(signer)), trust);
        let target =
            Target { host: "localhost".into(), port: self.address.port(), address: Some(self.address), proxy: None };
        let (connections, connections_max, patience) = (1, 1, Duration::from_secs(20));
        let config = SenderConfig { target, connections, connections_max, patience, ..config };
        Sender::start(config, Arc::<Inbox>::clone(inbox), Wall::new(), &CancellationToken::new()).unwrap()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn offer(sender: &Sender, keys: impl IntoIterator<Item = u64>) {
    keys.into_iter().for_each(|key| sender.offer(message(key, Wall::new().now())).unwrap());
}

/// A verdict of its kind and reason.
fn word(outcomes: &BTreeMap<u64, Outcome>, key: u64) -> String {
    match &outcomes[&key].verdict {
        Verdict::Retry { reason, unprocessed, .. } if *unprocessed => format!("unprocessed: {reason}"),
        verdict => format!("{}: {}", verdict.as_str(), verdict.provider_reason().unwrap_or_default()),
    }
}

#[tokio::test]
async fn nghttpd_understands_every_push_whatever_it_allows_and_is_understood_however_it_answers() {
    if !here("nghttpd") {
        return;
    }
    let rows: [&[&str]; 8] = [
        &[],
        &["--max-concurrent-streams=1"],
        &["--max-concurrent-streams=7", "--padding=200"],
        // Fifteen bytes of each body, and then as many as they are read.
        &["--window-bits=4"],
        &["--window-bits=6", "--connection-window-bits=16"],
        // Our table has no room, and theirs neither.
        &["--header-table-size=0", "--encoder-header-table-size=0"],
        &["--header-table-size=200", "--trailer=x-checksum: abc"],
        &["--early-response", "--no-content-length"],
    ];
    for options in rows {
        let front = Front::nghttpd(300, options);
        let inbox = Inbox::new();
        let sender = front.sender(&inbox);
        offer(&sender, 0..301);
        let outcomes = inbox.wait(301).await;
        for key in 0..300 {
            assert_eq!(outcomes[&key].verdict, Verdict::Accepted, "{key} {options:?} {:?}", sender.health().trouble);
        }
        // A page in HTML, which is no answer of APNs.
        assert_eq!(word(&outcomes, 300), "unknown: ", "{options:?}");
        assert_eq!((outcomes[&300].status, sender.health().trouble), (404, None), "{options:?}");
    }
}

#[tokio::test]
async fn a_front_on_node_gets_one_stream_at_first_and_all_at_once_when_it_allows_them() {
    if !here("node") {
        return;
    }
    let front = Front::node();
    let inbox = Inbox::new();
    let sender = front.sender(&inbox);
    // Taken, all of them: the hundreds say what the front does.
    offer(&sender, 0..100);
    let outcomes = inbox.wait(100).await;
    let open = |outcome: &Outcome| -> u32 {
        assert_eq!(outcome.verdict, Verdict::Accepted);
        outcome.provider_id.as_deref().and_then(|text| text.parse().ok()).expect("how many were open")
    };
    assert_eq!(open(&outcomes[&0]), 1);
    assert!(outcomes.values().map(open).max() > Some(50), "{outcomes:?}");
    assert_eq!((sender.health().trouble, sender.health().connections), (None, 1));
}

#[tokio::test]
async fn whatever_a_front_on_node_does_with_a_push_is_what_the_outcome_says() {
    if !here("node") {
        return;
    }
    let front = Front::node();
    let inbox = Inbox::new();
    let sender = front.sender(&inbox);
    offer(&sender, [0]);
    assert_eq!(inbox.verdict(0).await, Verdict::Accepted);
    offer(&sender, [100, 200, 300, 400, 500, 1, 2]);
    let outcomes = inbox.wait(8).await;
    assert_eq!((&outcomes[&1].verdict, &outcomes[&2].verdict), (&Verdict::Accepted, &Verdict::Accepted));
    assert_eq!(word(&outcomes, 100), "unprocessed: the peer reset the stream: REFUSED_STREAM");
    assert_eq!(word(&outcomes, 200), "retry: the peer reset the stream: INTERNAL_ERROR");
    let gone =
        Verdict::Forget { reason: "Unregistered".into(), since: Some(Timestamp::from_millis(1_700_000_000_123)) };
    assert_eq!(outcomes[&300].verdict, gone);
    let malformed = "retry: the answer is malformed: a body of another length than its content-length";
    assert_eq!(word(&outcomes, 400), malformed, "a 410 that is malformed kills no token");
    // Its reason is in a body that is too long to be kept whole.
    assert_eq!((word(&outcomes, 500), outcomes[&500].status), ("unknown: ".to_owned(), 400));
    assert_eq!((sender.health().trouble, sender.health().connections), (None, 1), "it is the same connection");
}

#[tokio::test]
async fn a_front_on_node_that_goes_away_answers_what_it_has_and_leaves_the_rest_to_another_connection() {
    if !here("node") {
        return;
    }
    let front = Front::node();
    let inbox = Inbox::new();
    let sender = front.sender(&inbox);
    offer(&sender, [0]);
    assert_eq!(inbox.verdict(0).await, Verdict::Accepted);
    offer(&sender, [1, 2, 3, 600, 4, 5]);
    let outcomes = inbox.wait(7).await;
    for key in 1..=3 {
        assert_eq!(outcomes[&key].verdict, Verdict::Accepted, "{key}");
    }
    let away = r#"unprocessed: the peer goes away with NO_ERROR: {"reason":"Shutdown"}"#;
    assert_eq!(word(&outcomes, 600), away);
    for key in 4..=5 {
        // What was behind it was left out too, or came by the next connection.
        assert!(outcomes[&key].verdict == Verdict::Accepted || word(&outcomes, key) == away, "{outcomes:?}");
    }
    offer(&sender, 6..20);
    for (key, outcome) in inbox.wait(21).await {
        assert!(key == 600 || (4..=5).contains(&key) || outcome.verdict == Verdict::Accepted, "{key}: {outcome:?}");
    }
}
