//! SIPp, the SIP project's own traffic generator, as Alice's client over TCP.

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
        let home = demo.told("/organisations/contoso.com/home/sip_tcp")?;
        let folder = demo.folder();
        let fields = folder.write("fields.csv", &format!("SEQUENTIAL\n{}\n", self.fields))?;
        let (errors, figures) = (folder.path().join("sipp-errors.log"), folder.path().join("sipp-figures.csv"));
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/partners").join(self.scenario);
        let calls = self.calls.to_string();
        let mut command = Command::new("sipp");
        command.arg(home).arg("-sf").arg(scenario).arg("-inf").arg(fields);
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
