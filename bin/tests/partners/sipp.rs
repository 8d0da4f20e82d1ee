//! SIPp, the SIP project's own traffic generator, as Alice's client over TCP.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::support::{Demo, Process};

/// One run of SIPp, with Alice's password.
pub(crate) struct Sipp<'a> {
    /// The file of its scenario.
    pub(crate) scenario: &'a str,
    /// What its scenario's fields hold, divided by semicolons.
    pub(crate) fields: &'a str,
    /// How many calls, begun at as many each second.
    pub(crate) calls: u32,
}

impl Sipp<'_> {
    /// Runs it against the demo's home to its end; every call must have gone as its scenario says.
    pub(crate) fn run(&self, demo: &Demo) -> Result<()> {
        let home: SocketAddr = demo.told("/organisations/contoso.com/home/sip_tcp")?.parse()?;
        let proxy = first_challenge_proxy(home)?;
        let folder = demo.folder();
        let fields = folder.write("fields.csv", &format!("SEQUENTIAL\n{}\n", self.fields))?;
        let (errors, figures) = (folder.path().join("sipp-errors.log"), folder.path().join("sipp-figures.csv"));
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/partners").join(self.scenario);
        let calls = self.calls.to_string();
        let mut command = Command::new("sipp");
        command.arg(proxy.to_string()).arg("-sf").arg(scenario).arg("-inf").arg(fields);
        command.args(["-t", "t1", "-i", "127.0.0.1", "-m", &calls, "-r", &calls]);
        let password = demo.told("/organisations/contoso.com/users/alice/password")?;
        command.args(["-au", "alice", "-ap", password]);
        command.args(["-nostdin", "-timeout", "15s", "-timeout_error"]);
        command.args(["-trace_err", "-error_file"]).arg(&errors).args(["-trace_stat", "-stf"]).arg(&figures);
        let status = Process::start(command)?.wait(Duration::from_secs(20))?;
        let complaint = std::fs::read_to_string(errors).unwrap_or_default();
        ensure!(status.success(), "SIPp ran {} and ended with {status}:\n{complaint}", self.scenario);
        let figures = std::fs::read_to_string(figures).context("SIPp's figures")?;
        ensure!(
            figure(&figures, "SuccessfulCall(C)") == Some(&calls) && figure(&figures, "FailedCall(C)") == Some("0"),
            "SIPp ended well, and tells of other calls than {calls} good ones:\n{figures}"
        );
        Ok(())
    }
}

/// The last value of one column.
fn figure<'a>(figures: &'a str, column: &str) -> Option<&'a str> {
    let mut lines = figures.lines();
    let at = lines.next()?.split(';').position(|name| name == column)?;
    lines.last()?.split(';').nth(at)
}

/// A relay on loopback that takes the SHA-256 challenges out of answers.
///
/// Home offers SHA-256 above MD5, the better first, as RFC 8760 wants it. SIPp up to 3.6 knows MD5 only, and reads no
/// challenge below the first (github.com/SIPp/sipp/issues/488). The relay lives as long as this test program.
fn first_challenge_proxy(home: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(home) else { return };
            let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else { return };
            std::thread::spawn(move || relay_requests(from_client, server));
            std::thread::spawn(move || relay_answers(from_server, client));
        }
    });
    Ok(address)
}

fn relay_requests(mut from: TcpStream, mut to: TcpStream) {
    // However it ends, the other side learns of it.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn relay_answers(from: TcpStream, mut to: TcpStream) {
    let mut from = BufReader::new(from);
    let (mut line, mut head) = (Vec::new(), Vec::new());
    while let Ok(1..) = from.by_ref().read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line);
        let challenge = text.starts_with("WWW-Authenticate:") || text.starts_with("Proxy-Authenticate:");
        if !(challenge && text.contains("SHA-256")) {
            head.extend_from_slice(&line);
        }
        // An answer ends with its header fields: none of these has a body.
        if line == b"\r\n" && to.write_all(&std::mem::take(&mut head)).is_err() {
            break;
        }
        line.clear();
    }
    let _ = to.shutdown(Shutdown::Both);
}
