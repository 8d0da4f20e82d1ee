//! Connections that are slow, half open, or deaf: held open through all rows, and closed in the end.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context as _, Result};
use reveille_sim::phone::RawSip;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::malformed::options;
use crate::requests::push;
use crate::scene::{PARTNER, Scene, Way};
use crate::support::push::{request, told};
use crate::table::Table;
use crate::{PATIENCE, PROMPT};

/// Connections that are held open.
#[derive(Default)]
pub(crate) struct Slow {
    links: Vec<(String, RawSip)>,
    streams: Vec<(&'static str, TcpStream, SocketAddr)>,
}

impl Scene {
    /// Connections that are slow or say nothing, to be held open from now on.
    pub(crate) async fn slow_senders(&self, table: &mut Table) -> Result<Slow> {
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
    pub(crate) async fn slow_senders_are_closed(&self, slow: Slow, table: &mut Table) -> Result<()> {
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
                // The latest: another connection may have had that port before.
                let own = self.refusals()?.into_iter().rfind(|(remote, _)| *remote == local);
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
    pub(crate) async fn deaf(&self, table: &mut Table) -> Result<()> {
        let mut stream = TcpStream::connect(self.home).await?;
        let request = options(Way::Home, "deaf").repeat(100);
        let asking = async { while stream.write_all(&request).await.is_ok() {} };
        let seen = if timeout(5 * PROMPT, asking).await.is_ok() { "closed" } else { "still open" };
        table.add("a client that asks and never reads", "Home", "closed", seen);
        self.somebody_else_is_served(table, "a client that never reads").await
    }
}

/// How many half-open connections of each kind there are at each port. Fewer than the 256 handshakes that a listener
/// carries on at once: more that stop half-way hold up others until their time is over.
const CROWD: usize = 200;

/// What a connection to a TLS port says before it falls silent.
pub(crate) const HALF_OPEN: &[(&str, &[u8])] = &[
    ("TCP connected, and nothing", b""),
    // A record of 512 bytes (RFC 8446 §5.1) with a ClientHello of 508, of which 6 come.
    ("half a ClientHello", &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03]),
];
