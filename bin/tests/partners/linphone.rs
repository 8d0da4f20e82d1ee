//! linphonec, the Linphone project's console client, as somebody's phone over TLS.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::support::{Folder, Process};

/// The phone of one user of contoso.com: its configuration and its home folder outlive the app.
pub(crate) struct Linphone<'a> {
    /// Where its files go.
    pub(crate) folder: &'a Folder,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
    /// Where home listens for TLS.
    pub(crate) home: &'a str,
    /// Whom it trusts.
    pub(crate) ca: PathBuf,
    /// Its own certificate and key, if it shows one.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// The push parameters in its Contact.
    pub(crate) push: String,
}

impl Linphone<'_> {
    /// Starts the app: it registers by itself.
    pub(crate) fn start(&self) -> Result<Process> {
        let (certificate, key) = self.identity.clone().unwrap_or_default();
        let path = |path: &PathBuf| path.display().to_string();
        let settings = [
            ("{ca}", path(&self.ca)),
            ("{client_cert}", path(&certificate)),
            ("{client_key}", path(&key)),
            ("{home}", self.home.to_owned()),
            ("{password}", self.password.to_owned()),
            ("{push}", self.push.clone()),
            ("{user}", self.user.to_owned()),
            ("{uuid}", "11111111-2222-3333-4444-555555555555".to_owned()),
        ];
        let text =
            settings.iter().fold(include_str!("linphonerc").to_owned(), |text, (gap, value)| text.replace(gap, value));
        let config = self.folder.write(&format!("{}.linphonerc", self.user), &text)?;
        let home = self.folder.path().join(format!("{}-home", self.user));
        // It does not make the folder of its database.
        std::fs::create_dir_all(home.join(".local/share/linphone")).context("the phone's home folder")?;
        let mut command = Command::new("linphonec");
        command.arg("-c").arg(config).env("HOME", home).args(["-d", "6", "-l"]);
        command.arg(self.folder.path().join(format!("{}.log", self.user)));
        Process::start(command)
    }
}
