//! SIPp as one party of a conversation: somebody who calls or writes, or somebody who answers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::support::{Folder, Process};

/// Who a party is, and where it stands.
pub(crate) struct Place<'a> {
    /// Its own address.
    pub(crate) own: &'a str,
    /// Where its requests go.
    pub(crate) proxy: &'a str,
    /// `u1` for UDP, `t1` for one TCP connection.
    pub(crate) transport: &'a str,
    /// For the digest; nobody asks the users of a foreign organisation.
    pub(crate) user: Option<(&'a str, &'a str)>,
}

/// SIPp with one scenario for one call.
pub(crate) struct Party {
    scenario: String,
    own: String,
    process: Process,
    files: Files,
}

struct Files {
    errors: PathBuf,
    figures: PathBuf,
    messages: PathBuf,
}

impl Party {
    /// Starts it. `keys` fill the gaps of its scenario.
    pub(crate) fn start(folder: &Folder, scenario: &str, place: &Place<'_>, keys: &[(&str, &str)]) -> Result<Self> {
        let file = |end: &str| folder.path().join(format!("{scenario}-{end}"));
        let files = Files { errors: file("errors.log"), figures: file("figures.csv"), messages: file("messages.log") };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/partners").join(format!("{scenario}.xml"));
        let mut command = Command::new("sipp");
        command.arg(place.proxy).arg("-sf").arg(path);
        command.args(["-i", place.own, "-p", "5060", "-t", place.transport, "-m", "1", "-nostdin"]);
        // Both parties of a call have the same Call-ID, so that who has registered finds the call in its scenario.
        command.args(["-cid_str", "one-and-the-same-%u", "-timeout", "14s", "-timeout_error"]);
        if let Some((user, password)) = place.user {
            command.args(["-au", user, "-ap", password]);
        }
        for (key, value) in keys {
            command.args(["-key", key, value]);
        }
        command.args(["-trace_err", "-error_file"]).arg(&files.errors);
        command.args(["-trace_stat", "-stf"]).arg(&files.figures);
        command.args(["-trace_msg", "-message_file"]).arg(&files.messages);
        let (scenario, own) = (scenario.to_owned(), place.own.to_owned());
        Ok(Self { scenario, own, process: Process::start(command)?, files })
    }

    /// Waits until who answers on UDP can be reached: its socket is bound.
    pub(crate) fn listens(&mut self) -> Result<()> {
        let own = self.own.clone();
        self.process.until("it listens", |_| std::net::UdpSocket::bind((own.as_str(), 5060)).is_err().then_some(()))
    }

    /// Waits for its end; its call must have gone as its scenario says. Answers all that it has sent and received.
    pub(crate) fn done(mut self) -> Result<String> {
        let ended = self.process.wait(Duration::from_secs(16));
        let Self { scenario, files, .. } = &self;
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let (errors, messages) = (read(&files.errors), read(&files.messages));
        let status = ended.with_context(|| format!("{scenario}:\n{messages}"))?;
        ensure!(status.success(), "SIPp ran {scenario} and ended with {status}:\n{errors}\n{messages}");
        let figures = read(&files.figures);
        let (good, bad) = (figure(&figures, "SuccessfulCall(C)"), figure(&figures, "FailedCall(C)"));
        ensure!(good == Some("1") && bad == Some("0"), "{scenario} ended well, and had no good call:\n{figures}");
        Ok(messages)
    }
}

/// The last value of one column.
fn figure<'a>(figures: &'a str, column: &str) -> Option<&'a str> {
    let mut lines = figures.lines();
    let at = lines.next()?.split(';').position(|name| name == column)?;
    lines.last()?.split(';').nth(at)
}
