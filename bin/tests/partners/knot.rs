//! Knot DNS as the name server of everybody abroad, with zones of the test's own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use reveille_sip_net::{Asking, HickoryResolver, Resolver as _};
use rustix::process::{Signal, kill_process};
use tokio::runtime::Runtime;

use crate::support::{Folder, Process, until};

/// A domain for which it is configured and has no records: it answers SERVFAIL.
pub(crate) const BROKEN: &str = "broken.example";

/// A running knotd.
pub(crate) struct Knot {
    process: Process,
    serial: u32,
}

impl Knot {
    /// Starts it at `address` with these zones, each with its records, and waits until it answers.
    pub(crate) fn start(folder: &Folder, runtime: &Runtime, address: SocketAddr, zones: &[Zone<'_>]) -> Result<Self> {
        let path = folder.path().display();
        let mut config = format!(
            "server:\n  listen: {}@{}\n  rundir: {path}\ncontrol:\n  listen: {path}/knot.sock\n\
             database:\n  storage: {path}\nlog:\n  - target: stderr\n    any: warning\nzone:\n",
            address.ip(),
            address.port()
        );
        for domain in zones.iter().map(|(domain, _)| *domain).chain([BROKEN, READY]) {
            config += &format!(
                "  - domain: {domain}\n    storage: {path}\n    file: {domain}.zone\n    journal-content: none\n"
            );
        }
        folder.write("knot.conf", &config)?;
        for (domain, records) in zones.iter().copied().chain([(READY, "")]) {
            write_zone(folder, domain, 1, records)?;
        }
        let process = Process::start(command("knotd", folder.path(), &["-c", "knot.conf"]))?;
        let asking = Asking { attempts: 1, cache_records: 0, ..Asking::default() };
        let resolver = HickoryResolver::at(&[address], asking)?;
        let name = format!("ns.{READY}");
        until("Knot answers", || Ok(runtime.block_on(resolver.addresses(&name)).ok()))?;
        Ok(Self { process, serial: 1 })
    }

    /// Other records of one domain, from now on.
    pub(crate) fn change(&mut self, folder: &Folder, domain: &str, records: &str) -> Result<()> {
        self.serial += 1;
        write_zone(folder, domain, self.serial, records)?;
        let status = command("knotc", folder.path(), &["-s", "knot.sock", "-b", "zone-reload", domain]).status()?;
        ensure!(status.success(), "knotc ended with {status}; knotd said {}", self.process.said());
        Ok(())
    }

    /// It hears questions and answers none, until [`Knot::resume`].
    pub(crate) fn pause(&self) -> Result<()> {
        kill_process(self.process.pid(), Signal::STOP)?;
        // Each of its threads stops in its own time.
        let threads = format!("/proc/{}/task", self.process.pid().as_raw_nonzero());
        until("Knot stands still", || {
            for thread in std::fs::read_dir(&threads)? {
                // proc_pid_stat(5): the state follows the name, which ends with the last parenthesis.
                let stat = std::fs::read_to_string(thread?.path().join("stat"))?;
                if !stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    pub(crate) fn resume(&self) -> Result<()> {
        Ok(kill_process(self.process.pid(), Signal::CONT)?)
    }
}

/// A domain and its records.
pub(crate) type Zone<'a> = (&'a str, &'a str);

/// The domain that tells whether it answers.
const READY: &str = "ready.example";

fn write_zone(folder: &Folder, domain: &str, serial: u32, records: &str) -> Result<()> {
    // What is not there may be remembered for one second.
    let zone = format!(
        "$ORIGIN {domain}.\n$TTL 2\n@ SOA ns admin {serial} 3600 600 86400 1\n@ NS ns\nns A 127.0.0.1\n{records}\n"
    );
    folder.write(&format!("{domain}.zone"), &zone)?;
    Ok(())
}

fn command(program: &str, folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    // Debian keeps servers where only root looks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin")).current_dir(folder).args(words);
    command
}
