//! Hostile input against a whole world (`reveille demo` as a process): malformed SIP, bad bodies, slow senders, half-open
//! TLS, wrong certificates, forged trust. One table: what is sent, and what must come back. After each row somebody else
//! is still served, while every slow and half-open connection of the rows before is held open.

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod forged;
mod malformed;
mod requests;
mod scene;
mod slow;
mod table;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::task::block_in_place;
use tokio::time::timeout;

use malformed::{malformed, options};
use scene::{PARTNER, Scene, Way};
use table::{Row, Table, row};

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

impl Scene {
    async fn play(self) -> Result<()> {
        self.revoke_an_app().await?;
        let mut table = Table::default();
        let slow = self.slow_senders(&mut table).await?;
        for row in self.rows()? {
            let seen = self.show(&row).await?;
            table.add(&row.name, &format!("{:?}", row.way), row.expected, &seen);
            self.somebody_else_is_served(&mut table, &row.name).await?;
        }
        for (name, datagram, expected) in malformed::datagrams() {
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
        rows.extend(requests::bodies()?);
        rows.extend(requests::addresses());
        rows.extend(forged::forged());
        Ok(rows)
    }
}

#[allow(clippy::print_stdout, reason = "the table is what a person wants to see of this test")]
fn say(text: &str) {
    println!("{text}");
}
