//! `cargo xtask torture`: sends the messages of RFC 4475 and RFC 5118 to a running home and compares its reactions with
//! `crates/sip/tests/torture/expected.txt`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a home may take to start.
const START: Duration = Duration::from_secs(60);

/// One line of the table.
struct Row {
    file: String,
    over: Over,
    /// What is right; empty where nothing may be answered.
    expected: Vec<u16>,
}

#[derive(Clone, Copy)]
enum Over {
    Tcp,
    Udp,
}

/// Sends every message to the home at `--home ADDRESS` (UDP and TCP), or to one that it starts itself.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let folder = crate::root().join("crates/sip/tests/torture");
    let rows = rows(&std::fs::read_to_string(folder.join("expected.txt")).context("expected.txt cannot be read")?)?;
    // The home that we start lives as long as this value.
    let (_own, udp, tcp) = match arguments {
        [] => {
            let own = Own::start()?;
            let (udp, tcp) = (own.udp, own.tcp);
            (Some(own), udp, tcp)
        }
        [option, address] if option == "--home" => {
            let address: SocketAddr = address.parse().with_context(|| format!("{address} is not an ADDRESS:PORT"))?;
            (None, address, address)
        }
        _ => bail!("the only option is --home ADDRESS:PORT"),
    };
    alive(udp, 0).context("the home does not answer OPTIONS before anything was sent")?;
    let mut out = std::io::stdout();
    writeln!(out, "{:<18} {:<32} {:<5} {:>8} {:>6}  ok", "section", "name", "over", "expected", "seen")?;
    let mut right = 0;
    for (at, row) in rows.iter().enumerate() {
        let bytes = std::fs::read(folder.join(format!("{}.sip", row.file))).with_context(|| row.file.clone())?;
        let seen = match row.over {
            Over::Tcp => over_tcp(tcp, &bytes, &row.expected),
            Over::Udp => over_udp(udp, &bytes, &row.expected),
        };
        // Whatever it was, the next one is served.
        let outcome = seen.and_then(|seen| alive(udp, at + 1).map(|()| seen)).and_then(|seen| judged(row, seen));
        right += usize::from(outcome.is_ok());
        writeln!(out, "{}", line(row, &outcome))?;
    }
    writeln!(out, "{right} of {} as the standard asks", rows.len())?;
    ensure!(right == rows.len(), "{} reactions are wrong", rows.len() - right);
    Ok(())
}

fn line(row: &Row, outcome: &Result<Option<u16>>) -> String {
    let (rfc, rest) = row.file.split_once('/').unwrap_or(("", &row.file));
    let (section, name) = rest.split_once('-').unwrap_or((rest, ""));
    let shown = |statuses: &[u16]| match statuses {
        [] => "none".to_owned(),
        some => some.iter().map(u16::to_string).collect::<Vec<_>>().join("/"),
    };
    let over = match row.over {
        Over::Tcp => "TCP",
        Over::Udp => "UDP",
    };
    let (seen, verdict) = match outcome {
        Ok(seen) => (shown(seen.as_slice()), "ok".to_owned()),
        Err(error) => ("-".to_owned(), format!("WRONG: {error:#}")),
    };
    let section = format!("{rfc} {section}");
    format!("{section:<18} {name:<32} {over:<5} {:>8} {seen:>6}  {verdict}", shown(&row.expected))
}

/// The table's lines.
fn rows(text: &str) -> Result<Vec<Row>> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let rows: Vec<Row> = lines.map(row).collect::<Result<_>>()?;
    ensure!(rows.len() >= 60, "expected.txt has only {} lines", rows.len());
    Ok(rows)
}

fn row(line: &str) -> Result<Row> {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [file, over, _parser, home, _why] = columns[..] else { bail!("expected.txt: {line} has not five columns") };
    let over = match over {
        "tcp" => Over::Tcp,
        "udp" => Over::Udp,
        other => bail!("expected.txt: {other} is neither tcp nor udp"),
    };
    let expected = match home {
        "none" => Vec::new(),
        statuses => statuses.split(' ').map(str::parse).collect::<Result<_, _>>().with_context(|| line.to_owned())?,
    };
    Ok(Row { file: file.to_owned(), over, expected })
}

/// An answer is right if its status is among those expected and it says what such an answer has to say.
fn judged(row: &Row, seen: Option<Answer>) -> Result<Option<u16>> {
    let Some(answer) = seen else {
        ensure!(row.expected.is_empty(), "nothing was answered");
        return Ok(None);
    };
    ensure!(row.expected.contains(&answer.status), "{} was answered", answer.status);
    let needs = match answer.status {
        401 => Some("www-authenticate"),
        405 => Some("allow"),
        407 => Some("proxy-authenticate"),
        415 => Some("accept"),
        420 => Some("unsupported"),
        _ => None,
    };
    if let Some(name) = needs {
        ensure!(answer.has(name), "a {} without {name}", answer.status);
    }
    Ok(Some(answer.status))
}

/// A response as far as we care.
struct Answer {
    status: u16,
    head: String,
}

impl Answer {
    fn read(bytes: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let head = text.split("\r\n\r\n").next().unwrap_or_default().to_owned();
        let status = head.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        Ok(Self { status: status.with_context(|| format!("this is no response: {head}"))?, head })
    }

    fn has(&self, name: &str) -> bool {
        let mut names = self.head.lines().skip(1).filter_map(|line| line.split(':').next());
        names.any(|known| known.trim().eq_ignore_ascii_case(name))
    }

    fn is_to(&self, call_id: &str) -> bool {
        self.head.lines().any(|line| line.to_ascii_lowercase().starts_with("call-id:") && line.ends_with(call_id))
    }
}

/// An OPTIONS of ours, to see whether anybody is still there; and its Call-ID.
fn options(over: &str, number: usize) -> (Vec<u8>, String) {
    let id = format!("alive-{}-{number}-{over}", std::process::id());
    let text = format!(
        "OPTIONS sip:example.com SIP/2.0\r\nVia: SIP/2.0/{over} torture.invalid;rport;branch=z9hG4bK{id}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:torture@example.com>;tag=1\r\nTo: <sip:example.com>\r\nCall-ID: {id}\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    );
    (text.into_bytes(), id)
}

/// Whether the home answers, on a socket of its own.
fn alive(home: SocketAddr, number: usize) -> Result<()> {
    let (request, id) = options("UDP", number);
    let socket = udp_socket(home, 0)?;
    socket.send(&request)?;
    let answer = udp_answer(&socket)?;
    ensure!(answer.status == 200 && answer.is_to(&id), "OPTIONS is answered with {}", answer.status);
    Ok(())
}

fn udp_socket(home: SocketAddr, port: u16) -> Result<UdpSocket> {
    let own: IpAddr = match home {
        // An address of our own, so that nobody else has this port.
        SocketAddr::V4(home) if home.ip().is_loopback() => Ipv4Addr::new(127, 0, 79, 9).into(),
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((own, port)).with_context(|| format!("answers will come to port {port}"))?;
    socket.connect(home)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn udp_answer(socket: &UdpSocket) -> Result<Answer> {
    let mut buffer = [0; 65_536];
    loop {
        let length = socket.recv(&mut buffer).context("no answer came")?;
        let answer = Answer::read(&buffer[..length])?;
        if answer.status >= 200 {
            return Ok(answer);
        }
    }
}

/// The port that a message is answered on over UDP (RFC 3261 §18.2.2): that of its topmost Via, or any if there is `rport`
/// (RFC 3581).
fn answer_port(message: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(message).replace("\r\n ", " ").replace("\r\n\t", " ");
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        ["v", "via"].iter().any(|via| name.trim().eq_ignore_ascii_case(via)).then_some(value)
    });
    let (sent_by, params) = value.map_or(("", ""), |value| value.split_once(';').unwrap_or((value, "")));
    if params.contains("rport") {
        return 0;
    }
    let host = sent_by.split_whitespace().last().unwrap_or_default();
    host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(5060)
}

/// Where nothing may be answered, the answer to an OPTIONS sent behind it must be the first that comes.
fn over_udp(home: SocketAddr, message: &[u8], expected: &[u16]) -> Result<Option<Answer>> {
    let socket = udp_socket(home, answer_port(message))?;
    socket.send(message)?;
    let (request, id) = options("UDP", message.len() + 1_000_000);
    if expected.is_empty() {
        socket.send(&request)?;
    }
    let answer = udp_answer(&socket)?;
    Ok((!expected.is_empty() || !answer.is_to(&id)).then_some(answer))
}

fn over_tcp(home: SocketAddr, message: &[u8], expected: &[u16]) -> Result<Option<Answer>> {
    let mut stream = TcpStream::connect_timeout(&home, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(message)?;
    let (request, id) = options("TCP", message.len() + 1_000_000);
    if expected.is_empty() {
        stream.write_all(&request)?;
    }
    let (mut received, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        while let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            let answer = Answer::read(&received)?;
            if answer.status >= 200 {
                return Ok((!expected.is_empty() || !answer.is_to(&id)).then_some(answer));
            }
            // A provisional response has no body.
            drop(received.drain(..end + 4));
        }
        match stream.read(&mut piece).context("no answer came")? {
            0 => bail!("the connection was closed without an answer"),
            length => received.extend_from_slice(&piece[..length]),
        }
    }
}

/// A home that we started: that of the demo.
struct Own {
    child: Child,
    folder: PathBuf,
    udp: SocketAddr,
    tcp: SocketAddr,
}

impl Own {
    fn start() -> Result<Self> {
        let root = crate::root();
        let folder = root.join("target/tmp").join(format!("torture-{}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut command = Command::new(binary(&root)?);
        command.arg("demo").arg("--dir").arg(&folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("reveille demo cannot be started")?;
        let said = child.stdout.take().context("a standard output")?;
        let none = SocketAddr::from(([0, 0, 0, 0], 0));
        // From here on whatever goes wrong stops the child.
        let mut own = Self { child, folder, udp: none, tcp: none };
        let begun = Instant::now();
        let welcomed = BufReader::new(said).lines().map_while(Result::ok).any(|line| line.contains("Ctrl-C stops."));
        ensure!(welcomed && begun.elapsed() < START, "reveille demo did not start");
        let told = std::fs::read_to_string(own.folder.join("demo.json")).context("demo.json")?;
        let told: Value = serde_json::from_str(&told).context("demo.json")?;
        let address = |name: &str| -> Result<SocketAddr> {
            let pointer = format!("/organisations/contoso.com/home/{name}");
            let text =
                told.pointer(&pointer).and_then(Value::as_str).with_context(|| format!("demo.json: {pointer}"))?;
            text.parse().with_context(|| format!("demo.json: {text} is no address"))
        };
        (own.udp, own.tcp) = (address("sip_udp")?, address("sip_tcp")?);
        Ok(own)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The release build if there is one, as a user would have it; `REVEILLE_BIN` names another.
fn binary(root: &Path) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("REVEILLE_BIN") {
        return Ok(named.into());
    }
    let built = ["release", "debug"].map(|profile| root.join("target").join(profile).join("reveille"));
    let found = built.into_iter().find(|path| path.is_file());
    found.context("there is no reveille in target/release or target/debug: cargo build --release first")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_waited_for_on_the_port_that_via_names() {
        for (via, port) in [
            ("Via: SIP/2.0/UDP 192.0.2.1;branch=x", 5060),
            ("v  : SIP/2.0/UDP host:5070;branch=x:9", 5070),
            ("VIA: SIP  /   2.0\r\n  /UDP\r\n    192.0.2.2:5080;x", 5080),
            ("Via: SIP/2.0/UDP [2001:db8::9:1];x", 5060),
            ("Via: SIP/2.0/UDP [2001:db8::9:1]:6050", 6050),
            ("Via: SIP/2.0/UDP host:5070;rport;branch=x", 0),
        ] {
            let message = format!("OPTIONS sip:a SIP/2.0\r\nTo: <sip:a:1>\r\n{via}\r\nVia: SIP/2.0/UDP b:1\r\n\r\n");
            assert_eq!(answer_port(message.as_bytes()), port, "{via}");
        }
    }

    #[test]
    fn a_line_is_read_and_a_wrong_one_is_refused() {
        let read = row("rfc4475/3.1.1.1-wsinv | udp | accept | 407 405 | because").unwrap();
        assert_eq!((read.file.as_str(), read.expected), ("rfc4475/3.1.1.1-wsinv", vec![407, 405]));
        assert!(row("a | tcp | drop | none | because").unwrap().expected.is_empty());
        for wrong in ["a | udp | accept | 407", "a | tls | accept | 407 | b", "a | udp | accept | soon | b"] {
            assert!(row(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_must_say_what_such_an_answer_has_to_say() {
        let row = row("a/1-b | udp | accept | 401 405 | c").unwrap();
        let judge = |text: &str| judged(&row, Some(Answer::read(text.as_bytes()).unwrap()));
        assert_eq!(judge("SIP/2.0 401 U\r\nWWW-Authenticate: Digest\r\n\r\n").unwrap(), Some(401));
        assert!(judge("SIP/2.0 401 U\r\n\r\n").is_err(), "a challenge without a challenge");
        assert!(judge("SIP/2.0 200 OK\r\n\r\n").is_err(), "another status");
        assert!(judged(&row, None).is_err(), "silence");
        assert!(Answer::read(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
