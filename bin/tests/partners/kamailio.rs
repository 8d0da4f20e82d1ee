//! Kamailio as the edge of another organisation, with a user behind it on UDP.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use reveille_sim::certs::Leaf;

use crate::contoso::Contoso;
use crate::support::Process;

/// One Kamailio, at the address that `edge.fabrikam.com` leads to.
pub(crate) struct Kamailio {
    /// Until it is stopped.
    process: Option<Process>,
}

impl Kamailio {
    /// Starts it for the users of `domain`, with this certificate.
    pub(crate) fn start(contoso: &Contoso, domain: &str, leaf: Leaf<'_>) -> Result<Self> {
        let files = contoso.issue("kamailio", leaf)?;
        let folder = contoso.folder();
        let fill = |text: &str, gaps: &[(&str, &str)]| {
            gaps.iter().fold(text.to_owned(), |text, (gap, value)| text.replace(&format!("{{{gap}}}"), value))
        };
        let roots = folder.path().join("ca.pem");
        let text = fill(
            include_str!("kamailio-tls.cfg"),
            &[
                ("certificate", &files.certificate.to_string_lossy()),
                ("key", &files.key.to_string_lossy()),
                ("roots", &roots.to_string_lossy()),
            ],
        );
        let tls = folder.write("kamailio-tls.cfg", &text)?;
        let text = fill(
            include_str!("kamailio.cfg"),
            &[
                ("address", &contoso.host(3)),
                ("domain", domain),
                ("partner", "contoso.com"),
                ("partner_name", "edge.contoso.com"),
                ("partner_edge", &format!("{}:5061", contoso.host(2))),
                ("tls", &tls.to_string_lossy()),
                ("user", &format!("{}:5060", contoso.host(4))),
            ],
        );
        let config = folder.write("kamailio.cfg", &text)?;
        let mut command = Command::new("kamailio");
        // -DD: it stays in the foreground with all its processes; -m, -M: memory, in MB.
        command.args(["-DD", "-E", "-m", "32", "-M", "4", "-f"]).arg(config).arg("-Y").arg(folder.path());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        let mut process = Process::start(command)?;
        // Its last process, the one that accepts connections, says this when it is ready.
        process.until("it is ready", |said| said.contains("tcp_main").then_some(()))?;
        Ok(Self { process: Some(process) })
    }

    /// Everything that it has logged.
    pub(crate) fn said(&self) -> String {
        self.process.as_ref().map(Process::said).unwrap_or_default()
    }

    /// Stops it; its children end with it.
    pub(crate) fn stop(mut self) -> Result<()> {
        let mut process = self.process.take().context("it was stopped before")?;
        let status = process.terminate()?;
        ensure!(status.success(), "Kamailio ended with {status}:\n{}", process.said());
        Ok(())
    }
}

impl Drop for Kamailio {
    /// A test that fails: only the one who has started the children can end them, and not when it is killed.
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.terminate();
        }
    }
}
