//! linphonec, the Linphone project's console client, as somebody's phone over TLS.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::support::{Demo, Process};

/// The phone of one user: its configuration and its home folder outlive the app.
pub(crate) struct Linphone<'a> {
    demo: &'a Demo,
    user: &'static str,
    push: String,
}

impl<'a> Linphone<'a> {
    /// A phone of one of the demo's users, whose Contact has these push parameters.
    pub(crate) fn of(demo: &'a Demo, user: &'static str, push: String) -> Self {
        Self { demo, user, push }
    }

    /// Starts the app: it registers by itself.
    pub(crate) fn start(&self) -> Result<Process> {
        let Self { demo, user, .. } = self;
        let own = |what: &str| demo.told(&format!("/organisations/contoso.com/users/{user}/{what}"));
        let settings = [
            ("{ca}", demo.told("/ca")?),
            ("{client_cert}", own("client_cert")?),
            ("{client_key}", own("client_key")?),
            ("{home}", demo.told("/organisations/contoso.com/home/sip_tls")?),
            ("{password}", own("password")?),
            ("{push}", &self.push),
            ("{user}", user),
            ("{uuid}", "11111111-2222-3333-4444-555555555555"),
        ];
        let text =
            settings.iter().fold(include_str!("linphonerc").to_owned(), |text, (gap, value)| text.replace(gap, value));
        let config = demo.folder().write(&format!("{user}.linphonerc"), &text)?;
        let home = demo.folder().path().join(format!("{user}-home"));
        // It does not make the folder of its database.
        std::fs::create_dir_all(home.join(".local/share/linphone")).context("the phone's home folder")?;
        let mut command = Command::new("linphonec");
        command.arg("-c").arg(config).env("HOME", home).args(["-d", "6", "-l"]);
        command.arg(demo.folder().path().join(format!("{user}.log")));
        Process::start(command)
    }

    /// Lets the app register, then kills it, as an operating system does that needs its memory. Answers what home knew
    /// of it when it was there.
    pub(crate) fn register_and_suspend(&self) -> Result<Value> {
        let app = self.start()?;
        let status = self.demo.user_until(self.user, "the phone registers", |user| user["presence"] == "online");
        let status = status.with_context(|| format!("linphonec said: {}", app.said()))?;
        app.kill()?;
        self.demo.user_until(self.user, "the phone counts as suspended", |user| user["presence"] == "away")?;
        Ok(status)
    }
}
