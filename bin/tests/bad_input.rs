//! Hostile input against a whole world (`reveille demo` as a process): malformed SIP, bad bodies, slow senders, half-open
//! TLS, wrong certificates, forged trust. One table: what is sent, and what must come back. After each row somebody else
//! is still served, while every slow and half-open connection of the rows before is held open.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use reveille_sim::certs::{Ca, Leaf};
use reveille_sim::phone::{RawError, RawSip};
use reveille_sip::{Limits, Message, parse_datagram};
use reveille_sip_net::{Identity, TlsClient, TrustRoots};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::block_in_place;
use tokio::time::timeout;

use support::push::{CONTENT_TYPE, message_with, millis, request, told, ulid};
use support::{Demo, run, until};

const HOME: &str = "home.contoso.com";
const EDGE: &str = "edge.push.example.net";
const HOUSE: &str = "house.push.example.net";
/// How long anybody who behaves may wait.
const PROMPT: Duration = Duration::from_secs(2);
/// When everything slow must have been closed: 30 s for a message that has begun, and some grace.
const PATIENCE: Duration = Duration::from_secs(40);
/// The whole test ends.
const LIMIT: Duration = Duration::from_secs(170);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whatever_is_sent_is_answered_or_closed_and_nobody_else_waits() -> Result<()> {
    let scene = Scene::start()?;
    timeout(LIMIT, scene.play()).await?
}

/// Where a row goes, and as whom.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The home's TCP port for clients.
    Home,
    /// The home's TLS port for clients.
    HomeTls,
    /// The publisher's edge, from outside, with the certificate of this name from the demo's folder.
    Edge(&'static str),
    /// The clearing house itself, past its edge.
    House(&'static str),
    /// The home's port for its own edge.
    HomeInside(&'static str),
    /// The publisher's edge, from inside.
    EdgeInside(&'static str),
}

/// Contoso's own edge at the publisher's: an allowed partner.
const PARTNER: Way = Way::Edge("edge.contoso.com");

/// One line of the table.
struct Row {
    name: String,
    way: Way,
    wire: Vec<u8>,
    /// What comes back on this connection, and what becomes of it.
    expected: &'static str,
}

fn row(name: impl Into<String>, way: Way, wire: impl Into<Vec<u8>>, expected: &'static str) -> Row {
    Row { name: name.into(), way, wire: wire.into(), expected }
}

/// The running world and the addresses in it.
struct Scene {
    demo: Demo,
    dir: PathBuf,
    home: SocketAddr,
    home_tls: SocketAddr,
    home_inside: SocketAddr,
    edge: SocketAddr,
    edge_inside: SocketAddr,
    edge_ops: String,
    house: SocketAddr,
    roots: TrustRoots,
}

impl Scene {
    fn start() -> Result<Self> {
        let demo = Demo::start("bad-input")?;
        let dir = demo.folder().path().join("demo");
        let at = |pointer: &str| anyhow::Ok(demo.told(pointer)?.parse::<SocketAddr>()?);
        let config = |file: &str| anyhow::Ok(toml::from_str::<toml::Table>(&std::fs::read_to_string(dir.join(file))?)?);
        let address = |value: &toml::Value| anyhow::Ok(value.as_str().context("an address")?.parse::<SocketAddr>()?);
        Ok(Self {
            home: at("/organisations/contoso.com/home/sip_tcp")?,
            home_tls: at("/organisations/contoso.com/home/sip_tls")?,
            home_inside: address(&config("contoso.toml")?["home"]["internal"])?,
            edge: at("/publisher/edge/external")?,
            edge_inside: address(&config("publisher-edge.toml")?["edge"]["internal"])?,
            edge_ops: demo.told("/publisher/edge/ops")?.to_owned(),
            house: at("/publisher/clearinghouse/internal")?,
            roots: TrustRoots::from_pem_files(&[dir.join("ca.pem")])?,
            dir,
            demo,
        })
    }

    async fn play(self) -> Result<()> {
        self.revoke_an_app().await?;
        let mut table = Table::default();
        let slow = self.slow_senders(&mut table).await?;
        for row in self.rows()? {
            let seen = self.show(&row).await?;
            table.add(&row.name, &format!("{:?}", row.way), row.expected, &seen);
            self.somebody_else_is_served(&mut table, &row.name).await?;
        }
        for (name, datagram, expected) in datagrams() {
            let seen = self.show_datagram(&datagram).await?;
            table.add(&name, "Home by UDP", expected, &seen);
            self.somebody_else_is_served(&mut table, &name).await?;
        }
        self.deaf(&mut table).await?;
        self.wrong_certificates(&mut table).await?;
        self.slow_senders_are_closed(slow, &mut table).await?;
        self.somebody_else_is_served(&mut table, "the end").await?;
        let log = std::fs::read_to_string(self.dir.join("demo.log"))?;
        ensure!(!log.contains("panicked"), "something has panicked: see {}", self.dir.join("demo.log").display());
        let status = block_in_place(|| support::json(&format!("{}/status", self.edge_ops)))?;
        let peak_mb = status["process"]["peak_rss_bytes"].as_u64().context("memory")? / 1_048_576;
        say(&format!("{}peak memory of everything together: {peak_mb} MB", table.text));
        // Announcements of gigabytes must not be believed.
        ensure!(peak_mb < 500, "{peak_mb} MB");
        ensure!(table.wrong.is_empty(), "not as expected:\n{}", table.wrong);
        block_in_place(|| self.demo.stop())
    }

    /// One of the publisher's apps is taken from contoso.com, for the row that asks for it.
    async fn revoke_an_app(&self) -> Result<()> {
        let other = json!({ "settings": [{ "Kind": "PushApp", "Identity": "app", "Serves": ["fabrikam.com"] }] });
        let file = self.demo.folder().write("revoke.json", &other.to_string())?;
        let config = self.dir.join("clearinghouse.toml");
        let words = ["settings".as_ref(), "import".as_ref(), "-c".as_ref(), config.as_os_str(), file.as_os_str()];
        let done = block_in_place(|| run(words))?;
        ensure!(done.code == 0, "the grant is not taken back: {}", done.err);
        let end = Instant::now() + support::STEP;
        loop {
            let mut request = request();
            request["to"]["app"] = "app".into();
            let mut link = self.open(PARTNER).await?;
            let answer = link.send_and_wait(push(&request.to_string()), PROMPT).await?;
            if answer.status() == Some(403) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "the clearing house does not follow its settings: {:?}", answer.status());
        }
    }

    async fn open(&self, way: Way) -> Result<RawSip, RawError> {
        let (address, certificate, name) = match way {
            Way::Home => return RawSip::tcp(self.home).await,
            Way::HomeTls => (self.home_tls, None, HOME),
            Way::Edge(certificate) => (self.edge, Some(certificate), EDGE),
            Way::House(certificate) => (self.house, Some(certificate), HOUSE),
            Way::HomeInside(certificate) => (self.home_inside, Some(certificate), HOME),
            Way::EdgeInside(certificate) => (self.edge_inside, Some(certificate), EDGE),
        };
        let identity = certificate.map(|name| self.identity(name));
        RawSip::tls(address, &TlsClient::new(identity.as_ref(), &self.roots), name).await
    }

    fn identity(&self, name: &str) -> Identity {
        let file = |kind: &str| self.dir.join(format!("{name}.{kind}"));
        Identity::from_pem_files(&file("pem"), &file("key")).expect("the demo has made this certificate")
    }

    /// Sends one row and tells what came of it.
    async fn show(&self, row: &Row) -> Result<String> {
        let mut link = self.open(row.way).await.with_context(|| row.name.clone())?;
        let mut seen = Vec::new();
        if link.send(&row.wire, PROMPT).await.is_err() {
            return Ok("closed".into());
        }
        if !row.expected.starts_with("nothing") {
            match link.next(PROMPT).await {
                Ok(answer) => seen.push(self.heard(row.way, &answer)?),
                Err(RawError::Closed | RawError::Io(_)) => return Ok("closed".into()),
                Err(RawError::TimedOut { .. }) => {}
                Err(other) => bail!("{}: {other}", row.name),
            }
        }
        let afterwards = options(row.way, "afterwards");
        let mut then = "closed".to_owned();
        if link.send(afterwards, PROMPT).await.is_ok() {
            loop {
                match link.next(PROMPT).await {
                    Ok(answer) if answer.call_id() == Some("afterwards") => {
                        then = match answer.status() {
                            Some(200) => "goes on".to_owned(),
                            other => format!("goes on with {}", other.unwrap_or_default()),
                        };
                        break;
                    }
                    Ok(answer) => seen.push(self.heard(row.way, &answer)?),
                    Err(RawError::Closed | RawError::Io(_)) => break,
                    Err(other) => bail!("{}: after {seen:?}: {other}", row.name),
                }
            }
        }
        if seen.is_empty() {
            seen.push("nothing".into());
        }
        seen.push(then);
        Ok(seen.join(", "))
    }

    /// An answer in a few words. What a partner hears says nothing of the servers behind the edge.
    fn heard(&self, way: Way, answer: &Message) -> Result<String> {
        let mut text = told(answer)?;
        if let Way::Edge(_) = way {
            let whole = String::from_utf8_lossy(answer.as_bytes());
            for inside in [HOUSE, "ms-diagnostics:", &self.house.ip().to_string()] {
                if whole.contains(inside) {
                    let _ = write!(text, " and {inside}");
                }
            }
        }
        Ok(text)
    }

    async fn show_datagram(&self, datagram: &[u8]) -> Result<String> {
        let socket = UdpSocket::bind((self.home.ip(), 0)).await?;
        socket.connect(self.home).await?;
        let port = socket.local_addr()?;
        let here = |text: &[u8]| String::from_utf8_lossy(text).replace("HERE", &port.to_string()).into_bytes();
        socket.send(&here(datagram)).await?;
        socket.send(&here(&options(Way::Home, "afterwards"))).await?;
        let mut seen = Vec::new();
        loop {
            let mut bytes = vec![0; 65_536];
            let length =
                timeout(PROMPT, socket.recv(&mut bytes)).await.context("no answer to the datagram after")??;
            bytes.truncate(length);
            let answer = parse_datagram(Bytes::from(bytes), &Limits::default())?;
            if answer.call_id() == Some("afterwards") {
                break;
            }
            seen.push(told(&answer)?);
        }
        Ok(if seen.is_empty() { "nothing".into() } else { seen.join(", ") })
    }

    /// A client of the home and a partner of the publisher, both on new connections, are answered promptly.
    async fn somebody_else_is_served(&self, table: &mut Table, after: &str) -> Result<()> {
        let begun = Instant::now();
        let client = async {
            let mut link = self.open(Way::Home).await?;
            link.send_and_wait(options(Way::Home, "somebody else"), PROMPT).await
        };
        let partner = async {
            let mut link = self.open(PARTNER).await?;
            link.send_and_wait(push(&request().to_string()), PROMPT).await
        };
        let (client, partner) = tokio::join!(timeout(PROMPT, client), timeout(PROMPT, partner));
        let client = client.with_context(|| format!("after \"{after}\" a client waits"))??;
        ensure!(client.status() == Some(200), "after \"{after}\" a client heard {:?}", client.status());
        let partner = partner.with_context(|| format!("after \"{after}\" a partner waits"))??;
        ensure!(told(&partner)? == "202 0;result=journaled", "after \"{after}\" a partner heard {}", told(&partner)?);
        table.slowest = table.slowest.max(begun.elapsed());
        Ok(())
    }

    /// Everything that is sent at once.
    fn rows(&self) -> Result<Vec<Row>> {
        let mut rows = malformed(Way::Home);
        rows.extend(malformed(PARTNER));
        rows.push(row(
            "a good request at the home's TLS port",
            Way::HomeTls,
            options(Way::HomeTls, "x"),
            "200, goes on",
        ));
        rows.extend(bodies()?);
        rows.extend(addresses());
        rows.extend(forged());
        Ok(rows)
    }

    /// Connections that are slow or say nothing, to be held open from now on.
    async fn slow_senders(&self, table: &mut Table) -> Result<Slow> {
        let (mut slow, begun) = (Slow::default(), Instant::now());
        let good = options(PARTNER, "slow");
        let half = &good[..good.len() / 2];
        let unfinished = push(&request().to_string());
        let unfinished = &unfinished[..unfinished.len() - 10];
        for way in [Way::Home, Way::HomeTls, PARTNER] {
            for (what, bytes) in [("half a header", half), ("a body that stops", unfinished)] {
                let mut link = self.open(way).await?;
                link.send(bytes, PROMPT).await?;
                slow.links.push((format!("{what}, {way:?}"), link));
                self.somebody_else_is_served(table, what).await?;
            }
            slow.links.push((format!("not a byte, {way:?}"), self.open(way).await?));
            self.somebody_else_is_served(table, "not a byte").await?;
            // Byte by byte is slow, and all right.
            let mut link = self.open(way).await?;
            for byte in options(way, "byte by byte") {
                link.send([byte], PROMPT).await?;
            }
            let seen = told(&link.next(PROMPT).await?)?;
            table.add("a good request, byte by byte", &format!("{way:?}"), "200", &seen);
            self.somebody_else_is_served(table, "byte by byte").await?;
        }
        for (what, bytes) in HALF_OPEN {
            for address in [self.edge, self.house, self.home_tls] {
                for _ in 0..CROWD {
                    let mut stream = TcpStream::connect(address).await?;
                    stream.write_all(bytes).await?;
                    slow.streams.push((*what, stream, address));
                }
                self.somebody_else_is_served(table, what).await?;
            }
        }
        let held = slow.links.len() + slow.streams.len();
        table.note(&format!("{held} slow and half-open connections after {:.1} s", begun.elapsed().as_secs_f64()));
        Ok(slow)
    }

    /// All that is slow or half open has been closed, or is so soon.
    async fn slow_senders_are_closed(&self, slow: Slow, table: &mut Table) -> Result<()> {
        let (begun, mut reasons) = (Instant::now(), BTreeSet::<String>::new());
        for (what, stream, address) in slow.streams {
            let local = stream.local_addr()?;
            let mut stream = stream;
            let closed = async {
                let mut rest = [0; 256];
                while !matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {}
            };
            timeout(PATIENCE, closed).await.with_context(|| format!("{what} to {address} is still open"))?;
            // The list holds a hundred; the last ones are enough.
            if address == self.edge {
                let own = self.refusals()?.into_iter().filter(|(remote, _)| *remote == local);
                reasons.extend(own.map(|(_, reason)| reason));
            }
        }
        let reasons: Vec<String> = reasons.into_iter().collect();
        table.add("half-open TLS, as the edge tells it", "everywhere", "timed-out", &reasons.join(", "));
        for (what, mut link) in slow.links {
            let seen = match link.closed(PATIENCE).await {
                Ok(()) => "closed",
                Err(_) => "still open",
            };
            table.add(&what, "slowly", "closed", seen);
        }
        table.note(&format!("all of them were closed {:.1} s after the last row", begun.elapsed().as_secs_f64()));
        Ok(())
    }

    /// Who asks and asks and never listens is closed when a megabyte of answers waits.
    async fn deaf(&self, table: &mut Table) -> Result<()> {
        let mut stream = TcpStream::connect(self.home).await?;
        let request = options(Way::Home, "deaf").repeat(100);
        let asking = async { while stream.write_all(&request).await.is_ok() {} };
        let seen = if timeout(5 * PROMPT, asking).await.is_ok() { "closed" } else { "still open" };
        table.add("a client that asks and never reads", "Home", "closed", seen);
        self.somebody_else_is_served(table, "a client that never reads").await
    }

    /// What the publisher's edge tells its administrator: who was turned away, and the word for why.
    fn refusals(&self) -> Result<Vec<(SocketAddr, String)>> {
        let status = block_in_place(|| support::json(&format!("{}/status", self.edge_ops)))?;
        let all = status["edge"]["refusals"].as_array().context("a list of refusals")?;
        let one = |refusal: &Value| {
            let text = |key: &str| refusal[key].as_str().with_context(|| format!("no {key} in {refusal}"));
            Ok((text("remote")?.parse()?, text("reason")?.to_owned()))
        };
        all.iter().map(one).collect()
    }

    /// Handshakes that must fail, each with its own reason on the edge's status page.
    async fn wrong_certificates(&self, table: &mut Table) -> Result<()> {
        let stranger =
            Ca::new("An authority nobody knows")?.issue(Leaf::new("edge.contoso.com", &["edge.contoso.com"]))?;
        let stranger = Identity::from_pem(stranger.chain_pem().as_bytes(), stranger.key_pem().as_bytes())?;
        let expired = self.identity("expired.contoso.com");
        for (name, identity, reason) in [
            ("TLS without a certificate", None, "no-certificate"),
            ("an expired certificate", Some(&expired), "expired"),
            ("a certificate of a foreign authority", Some(&stranger), "unknown-issuer"),
        ] {
            let tls = TlsClient::new(identity, &self.roots);
            // In TLS 1.3 the client is done before the server has looked at its certificate.
            let mut link = RawSip::tls(self.edge, &tls, EDGE).await?;
            let _ = link.send(options(PARTNER, "let me in"), PROMPT).await;
            ensure!(link.closed(PROMPT).await.is_ok(), "{name}: the connection stays open");
            let local = link.local();
            self.refused(table, name, local, reason).await?;
            // The clearing house and the home's inner door are as strict.
            for (address, host) in [(self.house, HOUSE), (self.home_inside, HOME), (self.edge_inside, EDGE)] {
                let mut link = RawSip::tls(address, &tls, host).await?;
                let _ = link.send(options(PARTNER, "let me in"), PROMPT).await;
                let heard = link.next(PROMPT).await;
                ensure!(matches!(heard, Err(RawError::Closed | RawError::Io(_))), "{name} at {host}: {heard:?}");
            }
        }
        let plain = options(PARTNER, "plain");
        for (name, bytes, reason) in [
            ("plain SIP on the TLS port", &plain[..], "not-tls"),
            ("HTTP on the TLS port", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not-tls"),
            ("noise on the TLS port", &[0xff; 64], "not-tls"),
            ("half a ClientHello, and goodbye", HALF_OPEN[1].1, "hung-up"),
        ] {
            let mut stream = TcpStream::connect(self.edge).await?;
            let local = stream.local_addr()?;
            stream.write_all(bytes).await?;
            if reason == "hung-up" {
                stream.shutdown().await?;
            }
            let mut rest = Vec::new();
            let ended = timeout(PROMPT, stream.read_to_end(&mut rest)).await;
            ensure!(ended.is_ok(), "{name}: the connection stays open");
            self.refused(table, name, local, reason).await?;
        }
        Ok(())
    }

    async fn refused(&self, table: &mut Table, name: &str, local: SocketAddr, reason: &'static str) -> Result<()> {
        let found = block_in_place(|| {
            until(name, || {
                Ok(self.refusals()?.into_iter().find(|(remote, _)| *remote == local).map(|(_, reason)| reason))
            })
        })?;
        table.add(name, "Edge, TLS", reason, &found);
        self.somebody_else_is_served(table, name).await
    }
}

/// Connections that are held open.
#[derive(Default)]
struct Slow {
    links: Vec<(String, RawSip)>,
    streams: Vec<(&'static str, TcpStream, SocketAddr)>,
}

/// How many half-open connections of each kind there are at each port. Fewer than the 256 handshakes that a listener
/// carries on at once: more that stop half-way hold up others until their time is over.
const CROWD: usize = 200;

/// What a connection to a TLS port says before it falls silent.
const HALF_OPEN: &[(&str, &[u8])] = &[
    ("TCP connected, and nothing", b""),
    // A record of 512 bytes (RFC 8446 §5.1) with a ClientHello of 508, of which 6 come.
    ("half a ClientHello", &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]),
];

/// The table as it is printed, and what was not as expected.
#[derive(Default)]
struct Table {
    text: String,
    wrong: String,
    slowest: Duration,
}

impl Table {
    fn add(&mut self, name: &str, way: &str, expected: &str, seen: &str) {
        let _ = write!(self.text, "{name:<58} {way:<26} {seen}");
        let _ = match seen {
            _ if seen == expected => writeln!(self.text),
            _ => {
                let _ = writeln!(self.wrong, "{name}, {way}: {seen}; expected {expected}");
                writeln!(self.text, "   (WRONG)")
            }
        };
    }

    fn note(&mut self, text: &str) {
        let slowest = self.slowest.as_secs_f64() * 1000.0;
        let _ = writeln!(self.text, "-- {text}; the slowest good request until here took {slowest:.0} ms");
    }
}

/// Whom an OPTIONS is for, by the door that it is sent to.
fn host(way: Way) -> &'static str {
    match way {
        Way::Home | Way::HomeTls | Way::HomeInside(_) => HOME,
        Way::Edge(_) | Way::EdgeInside(_) => EDGE,
        Way::House(_) => HOUSE,
    }
}

/// A good OPTIONS.
fn options(way: Way, call_id: &str) -> Vec<u8> {
    good(way).replace("Call-ID: 1\r\n", &format!("Call-ID: {call_id}\r\n")).into_bytes()
}

/// The text that malformed requests are made from.
fn good(way: Way) -> String {
    format!(
        "OPTIONS sip:{} SIP/2.0\r\nVia: SIP/2.0/TLS HERE;branch=z9hG4bK{:x};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:test@contoso.com>;tag=1\r\nTo: <sip:{}>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        host(way),
        rand::random::<u64>(),
        host(way),
    )
}

/// SIP that is wrong in one way each.
fn malformed(way: Way) -> Vec<Row> {
    let good = || good(way);
    let first = |line: &str| {
        let text = good();
        format!("{line}\r\n{}", text.split_once("\r\n").map(|(_, rest)| rest).unwrap_or_default())
    };
    let line = good().lines().next().unwrap_or_default().to_owned();
    let with = |field: &str, other: &str| {
        let text = good();
        let from = text.find(&format!("\r\n{field}:")).expect("the good request has this field") + 2;
        let to = from + text[from..].find("\r\n").expect("each line ends") + 2;
        format!("{}{other}{}", &text[..from], &text[to..])
    };
    let more = |lines: &str| good().replace("Call-ID: 1\r\n", &format!("Call-ID: 1\r\n{lines}"));
    let length = |text: &str| with("Content-Length", text);
    let uri = line.split(' ').nth(1).unwrap_or_default().to_owned();
    // A length that cannot be trusted is told, and nothing behind it is read.
    let (bad, told, gone) = ("400, goes on", "400, closed", "closed");
    // The edge names its reason to partners.
    let unknown_scheme = if matches!(way, Way::Edge(_)) { "416 unknown-scheme, goes on" } else { "416, goes on" };
    let mut rows = vec![
        row("a good request", way, good(), "200, goes on"),
        // The first line.
        row("no SIP at all", way, first("MAKE ME A SANDWICH"), gone),
        row("HTTP", way, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", gone),
        row("two blanks in the request line", way, first(&line.replace(" sip:", "  sip:")), bad),
        row("a request line without URI", way, first("OPTIONS SIP/2.0"), bad),
        row("a method that is no token", way, first(&line.replace("OPTIONS", "OPT(IONS")), bad),
        row("a URI in angle brackets", way, first(&format!("OPTIONS <{uri}> SIP/2.0")), bad),
        row("SIP/7.0", way, first(&line.replace("SIP/2.0", "SIP/7.0")), "505, goes on"),
        row("a scheme that nobody knows", way, first("OPTIONS nobody-knows-this:something SIP/2.0"), unknown_scheme),
        // Line ends and control characters.
        row("bare LF instead of CRLF", way, good().replace("\r\n", "\n"), gone),
        row("one bare LF in a header", way, more("Subject: a\nb\r\n"), gone),
        row("one bare CR in a header", way, more("Subject: a\rb\r\n"), gone),
        row("NUL in a header", way, more("Subject: a\0b\r\n"), bad),
        // Content-Length.
        row("a negative Content-Length", way, length("Content-Length: -1\r\n"), told),
        row("Content-Length +0", way, length("Content-Length: +0\r\n"), told),
        row("Content-Length 0x10", way, length("Content-Length: 0x10\r\n"), told),
        row("an empty Content-Length", way, length("Content-Length:\r\n"), told),
        row("Content-Length 2^64", way, length("Content-Length: 18446744073709551616\r\n"), told),
        row("a list in Content-Length", way, length("Content-Length: 0, 0\r\n"), told),
        row("Content-Length twice, equal", way, length("Content-Length: 0\r\nContent-Length: 0\r\n"), told),
        row("Content-Length twice, different", way, length("Content-Length: 0\r\nContent-Length: 9\r\n"), told),
        row("Content-Length in both forms", way, length("l: 0\r\nContent-Length: 5\r\n"), told),
        row("a folded Content-Length", way, length("Content-Length:\r\n 0\r\n"), "200, goes on"),
        row("a blank before the colon of Content-Length", way, length("Content-Length : 0\r\n"), "200, goes on"),
        row("no Content-Length on a stream", way, length(""), told),
        row("a Content-Length that is too small", way, good() + "what is this\r\n", "200, closed"),
        row("a gigabyte announced", way, length("Content-Length: 1073741824\r\n"), "413, closed"),
        // Bombs.
        row("70 header fields more", way, more(&"X-Bomb: 1\r\n".repeat(70)), "200, goes on"),
        row("100 header fields more", way, more(&"X-Bomb: 1\r\n".repeat(100)), "513, closed"),
        row("1000 header fields more", way, more(&"X-Bomb: 1\r\n".repeat(1000)), "513, closed"),
        row("a header field of 40 kB", way, more(&format!("X-Bomb: {}\r\n", "x".repeat(40_000))), "513, closed"),
        row("a first line of 40 kB", way, format!("OPTIONS sip:{}", "x".repeat(40_000)), gone),
        // Mandatory fields and their values.
        row("CSeq of another method", way, with("CSeq", "CSeq: 1 INVITE\r\n"), bad),
        row("CSeq without a number", way, with("CSeq", "CSeq: one OPTIONS\r\n"), bad),
        row("CSeq 2^32", way, with("CSeq", "CSeq: 4294967296 OPTIONS\r\n"), bad),
        row("Max-Forwards: many", way, with("Max-Forwards", "Max-Forwards: many\r\n"), bad),
        row("Max-Forwards: 256", way, with("Max-Forwards", "Max-Forwards: 256\r\n"), bad),
        row("a header line without colon", way, more("this is no header\r\n"), bad),
        row("a first header line that is folded", way, first(&format!("{line}\r\n folded")), bad),
        row("a header that is not UTF-8", way, latin1(&more("Subject: caf\u{e9}\r\n")), bad),
        // Responses, and what may not be answered.
        row("an answer to nothing", way, first("SIP/2.0 200 OK"), "nothing, goes on"),
        row("an answer with status 999", way, first("SIP/2.0 999 What"), "nothing, goes on"),
        row("a wrong ACK", way, good().replace("OPTIONS", "ACK").replace("Call-ID: 1\r\n", ""), "nothing, goes on"),
        row("keep-alives", way, "\r\n\r\n", "nothing, goes on"),
    ];
    for field in ["Via", "From", "To", "Call-ID", "CSeq"] {
        rows.push(row(format!("no {field}"), way, with(field, ""), bad));
    }
    for field in ["From", "To", "Call-ID", "CSeq", "Max-Forwards"] {
        let text = good();
        let own = text.lines().find(|line| line.starts_with(&format!("{field}:"))).unwrap_or_default().to_owned();
        rows.push(row(format!("{field} twice"), way, with(field, &format!("{own}\r\n{own}\r\n")), bad));
    }
    let body = "x".repeat(100_000);
    let big = length("Content-Length: 100000\r\n") + &body;
    rows.push(row("a body of 100 kB, wholly sent", way, big, "413, goes on"));
    rows
}

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

fn datagrams() -> Vec<(String, Vec<u8>, &'static str)> {
    let udp = || good(Way::Home).replace("SIP/2.0/TLS", "SIP/2.0/UDP");
    let length = |length: &str| udp().replace("Content-Length: 0\r\n", length);
    [
        ("a good datagram", udp(), "200"),
        ("a datagram without Content-Length", length(""), "200"),
        ("a datagram shorter than its Content-Length", length("Content-Length: 10\r\n"), "400"),
        ("a datagram longer than its Content-Length", udp() + "and more", "200"),
        ("a datagram with a negative Content-Length", length("Content-Length: -1\r\n"), "400"),
        ("a datagram that stops in its header", udp()[..60].to_owned(), "nothing"),
        ("a datagram with bare LF", udp().replace("\r\n", "\n"), "nothing"),
        ("a datagram with NUL", udp().replace("Call-ID: 1", "Call-ID: 1\0"), "nothing"),
        ("noise in a datagram", "\u{1}\u{2}\u{3}\u{4}".repeat(200), "nothing"),
        ("an empty datagram", String::new(), "nothing"),
    ]
    .map(|(name, text, expected)| (name.to_owned(), text.into_bytes(), expected))
    .into()
}

/// Whether a request came from Contoso's home: it is the same as far as the publisher can see.
fn push(body: &str) -> Vec<u8> {
    push_with(CONTENT_TYPE, body.as_bytes())
}

fn push_with(content_type: &str, body: &[u8]) -> Vec<u8> {
    message_with(content_type, body, "contoso.com", "push.example.net")
}

/// Bodies that are wrong in one way each, as an allowed partner sends them.
fn bodies() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut add = |name: &str, body: &str, expected| rows.push(row(name, PARTNER, push(body), expected));
    let but = |key: &str, value: Value| {
        let mut request = request();
        request[key] = value;
        request.to_string()
    };
    let (bad, invalid) = ("400 bad-body, goes on", "400 invalid-request, goes on");
    add("a good push request", &request().to_string(), "202 0;result=journaled, goes on");
    add("no body", "", bad);
    add("no JSON", "push it", bad);
    add("JSON that stops", &request().to_string()[..80], bad);
    add("JSON and more", &format!("{}{{}}", request()), bad);
    add("a number", "7", bad);
    add("an empty object", "{}", bad);
    add("an empty array", "[]", bad);
    add("an array of numbers", "[1, 2]", bad);
    add("arrays in arrays, 20000 deep", &"[".repeat(20_000), bad);
    add("an id that is no ULID", &but("id", "me".into()), bad);
    add("an id twice", &request().to_string().replacen('{', &format!("{{\"id\":\"{}\",", ulid()), 1), bad);
    add("a badge that is text", &but("badge", "three".into()), bad);
    add("a badge below zero", &but("badge", (-1).into()), bad);
    add("sent as text", &but("sent", "now".into()), bad);
    add("sent beyond 64 bits", &request().to_string().replace("\"sent\":", "\"sent\":99999999999"), bad);
    add("an unknown event", &but("event", "eclipse".into()), bad);
    add("an unknown channel", &but("channel", "smoke".into()), bad);
    add("an unknown provider", &but("to", json!({ "provider": "palm", "app": "x", "token": "x" })), bad);
    add("no target", &but("to", Value::Null), invalid);
    add("a message on the voip channel", &but("channel", "voip".into()), invalid);
    add("a token of 5000 bytes", &but("to", target("org.reveille.demo", &"f".repeat(5000))), invalid);
    add("a collapse key of 129 bytes", &but("collapse", "x".repeat(129).into()), invalid);
    add("an extension that must be understood", &but("must_understand", json!(["badge", "hologram"])), invalid);
    add("an extension that may be ignored", &but("hologram", true.into()), "202 0;result=journaled, goes on");
    let hour = 3_600_000;
    for (name, sent) in [("a clock an hour behind", millis() - hour), ("a clock an hour ahead", millis() + hour)] {
        let mut request = request();
        (request["sent"], request["expires"]) = (sent.into(), (sent + 60_000).into());
        add(name, &request.to_string(), invalid);
    }
    add("expired before it was sent", &but("expires", (millis() - 1000).into()), invalid);
    add("an app of which nobody has heard", &but("to", target("org.unknown", "ff")), "404 no-such-app, goes on");
    add("an app that was not granted", &but("to", target("app", "ff")), "403 app-not-granted, goes on");
    let many = |count: usize| Value::from((0..count).map(|_| request()).collect::<Vec<_>>()).to_string();
    add("33 requests", &many(33), "413 too-large, goes on");
    add("a body of 50 kB", &but("sealed", "x".repeat(50_000).into()), "413 too-large, goes on");
    let mixed = json!([request(), with_app("org.unknown"), with_app("app"), request()]).to_string();
    add(
        "good and bad requests in one array",
        &mixed,
        "202 0;result=journaled, 1;result=refused;reason=no-such-app, 2;result=refused;reason=app-not-granted, \
         3;result=journaled, goes on",
    );
    let one = request();
    add(
        "one request twice in one array",
        &json!([one, one]).to_string(),
        "202 0;result=journaled, 1;result=duplicate, goes on",
    );
    let mut other = one;
    other["to"]["token"] = "ee".repeat(32).into();
    add("another request under an id that is taken", &other.to_string(), invalid);
    let body = request().to_string();
    for (name, content_type) in [
        ("plain text", "text/plain"),
        ("a version that does not exist yet", "application/vnd.reveille.push+json;v=2"),
        ("another JSON", "application/json"),
        ("feedback to a clearing house", "application/vnd.reveille.feedback+json;v=1"),
    ] {
        rows.push(row(name, PARTNER, push_with(content_type, body.as_bytes()), "415 unsupported-type, goes on"));
    }
    let untyped = String::from_utf8(push(&body))?.replace(&format!("Content-Type: {CONTENT_TYPE}\r\n"), "");
    rows.push(row("no content type", PARTNER, untyped, "415 unsupported-type, goes on"));
    let garbage = [b"{\"id\":\"".as_slice(), &[0xff, 0xfe, 0xfd], b"\"}"].concat();
    rows.push(row("a body that is not UTF-8", PARTNER, push_with(CONTENT_TYPE, &garbage), bad));
    Ok(rows)
}

/// Push requests whose addresses are wrong, as an allowed partner sends them.
fn addresses() -> Vec<Row> {
    let changed = |from: &str, to: &str| {
        let text = String::from_utf8_lossy(&push(&request().to_string())).into_owned();
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let from = "From: <sip:mcx@contoso.com>";
    let to = "MESSAGE sip:push@push.example.net ";
    let forged = "ms-edge-proxy-message-trust: ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;\
                  ms-source-verified-user=verified;ms-source-network=federation;ms-remote-fqdn=edge.fabrikam.com\r\n";
    vec![
        row(
            "From a domain that is not ours to speak for",
            PARTNER,
            changed(from, "From: <sip:mcx@fabrikam.com>"),
            "403 domain-not-allowed, goes on",
        ),
        row(
            "From the publisher itself",
            PARTNER,
            changed(from, "From: <sip:mcx@push.example.net>"),
            "403 domain-not-allowed, goes on",
        ),
        row("From an address", PARTNER, changed(from, "From: <sip:mcx@127.0.0.1>"), "400 bad-from, goes on"),
        row("From a telephone", PARTNER, changed(from, "From: <tel:+15551234>"), "400 bad-from, goes on"),
        row("From nobody", PARTNER, changed(from, "From: nobody"), "400 bad-from, goes on"),
        row(
            "to a domain that is not here",
            PARTNER,
            changed(to, "MESSAGE sip:push@fabrikam.com "),
            "404 unknown-destination, goes on",
        ),
        row("Max-Forwards: 0", PARTNER, changed("Max-Forwards: 70", "Max-Forwards: 0"), "483 too-many-hops, goes on"),
        row("a method that nobody serves", PARTNER, changed("MESSAGE", "SUBSCRIBE"), "405, goes on"),
        // Whatever a partner says of its own trust is cut off: the request is taken as contoso.com's.
        row(
            "a partner that brings a trust header",
            PARTNER,
            changed("Call-ID: push\r\n", &format!("Call-ID: push\r\n{forged}")),
            "202 0;result=journaled, goes on",
        ),
        row(
            "a partner that brings two",
            PARTNER,
            changed("Call-ID: push\r\n", &format!("Call-ID: push\r\n{forged}{forged}")),
            "400, goes on",
        ),
        row(
            "fabrikam.com speaks for itself",
            Way::Edge("edge.fabrikam.com"),
            changed("@contoso.com", "@fabrikam.com"),
            "403 domain-not-allowed, goes on",
        ),
        row(
            "fabrikam.com speaks for contoso.com",
            Way::Edge("edge.fabrikam.com"),
            push(&request().to_string()),
            "403 certificate-names-another, goes on",
        ),
        row(
            "a user's certificate speaks for contoso.com",
            Way::Edge("bob"),
            push(&request().to_string()),
            "403 certificate-names-another, goes on",
        ),
    ]
}

/// Trust that only an edge may stamp, from hosts that are none.
fn forged() -> Vec<Row> {
    let trust = "ms-edge-proxy-message-trust: ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;\
                 ms-source-verified-user=verified;ms-source-network=federation;ms-remote-fqdn=edge.contoso.com\r\n";
    let stamped = |trust: &str| {
        let text = String::from_utf8_lossy(&push(&request().to_string())).into_owned();
        text.replace("Call-ID: push\r\n", &format!("Call-ID: push\r\n{trust}"))
    };
    let no_edge = "403 forged-trust, goes on";
    let mut rows = vec![
        row("trust from the publisher's own edge", Way::House(EDGE), stamped(trust), "202 0;result=journaled, goes on"),
        row("no trust from the publisher's own edge", Way::House(EDGE), stamped(""), "403 no-trust, goes on"),
        row(
            "nonsense as trust from the publisher's own edge",
            Way::House(EDGE),
            stamped("ms-edge-proxy-message-trust: believe me\r\n"),
            "403 no-trust, goes on",
        ),
    ];
    for certificate in ["bob", HOME, "edge.contoso.com", "edge.fabrikam.com", HOUSE] {
        rows.push(row(format!("trust forged by {certificate}"), Way::House(certificate), stamped(trust), no_edge));
    }
    for certificate in ["bob", "edge.fabrikam.com", EDGE] {
        rows.push(row(format!("trust forged by {certificate}"), Way::HomeInside(certificate), stamped(trust), no_edge));
    }
    for certificate in ["bob", HOME, "edge.contoso.com"] {
        rows.push(row(
            format!("an outsider inside: {certificate}"),
            Way::EdgeInside(certificate),
            stamped(trust),
            "403 forged-trust, goes on with 403",
        ));
    }
    rows
}

fn target(app: &str, token: &str) -> Value {
    json!({ "provider": "apns", "app": app, "token": token })
}

fn with_app(app: &str) -> Value {
    let mut request = request();
    request["to"]["app"] = app.into();
    request
}

#[allow(clippy::print_stdout, reason = "the table is what a person wants to see of this test")]
fn say(text: &str) {
    println!("{text}");
}
