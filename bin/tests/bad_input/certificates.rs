//! Handshakes that must fail.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use reveille_sim::certs::{Ca, Leaf};
use reveille_sim::phone::{RawError, RawSip};
use reveille_sip_net::{Identity, TlsClient};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::block_in_place;
use tokio::time::timeout;

use crate::malformed::options;
use crate::scene::{PARTNER, Scene};
use crate::slow::HALF_OPEN;
use crate::support::until;
use crate::table::Table;
use crate::{EDGE, HOME, HOUSE, PROMPT};

impl Scene {
    /// Handshakes that must fail, each with its own reason on the edge's status page.
    pub(crate) async fn wrong_certificates(&self, table: &mut Table) -> Result<()> {
        let stranger =
            Ca::new("An authority nobody knows")?.issue(Leaf::new("edge.contoso.com", &["edge.contoso.com"]))?;
        let stranger = Identity::from_pem(stranger.chain_pem().as_bytes(), stranger.key_pem().as_bytes())?;
        let expired = self.identity("expired.contoso.com");
        for (name, identity, reason) in [
            ("TLS without a certificate", None, "no-certificate"),
            ("an expired certificate", Some(&expired), "expired"),
            ("a certificate of a foreign authority", Some(&stranger), "unknown-issuer"),
        ] {
            let tls = TlsClient::new(identity, &self.roots);
            // In TLS 1.3 the client is done before the server has looked at its certificate.
            let mut link = RawSip::tls(self.edge, &tls, EDGE).await?;
            let _ = link.send(options(PARTNER, "let me in"), PROMPT).await;
            ensure!(link.closed(PROMPT).await.is_ok(), "{name}: the connection stays open");
            let local = link.local();
            self.refused(table, name, local, reason).await?;
            // The clearing house and the home's inner door are as strict.
            for (address, host) in [(self.house, HOUSE), (self.home_inside, HOME), (self.edge_inside, EDGE)] {
                let mut link = RawSip::tls(address, &tls, host).await?;
                let _ = link.send(options(PARTNER, "let me in"), PROMPT).await;
                let heard = link.next(PROMPT).await;
                ensure!(matches!(heard, Err(RawError::Closed | RawError::Io(_))), "{name} at {host}: {heard:?}");
            }
        }
        let plain = options(PARTNER, "plain");
        for (name, bytes, reason) in [
            ("plain SIP on the TLS port", &plain[..], "not-tls"),
            ("HTTP on the TLS port", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "not-tls"),
            ("noise on the TLS port", &[0xff; 64], "not-tls"),
            ("half a ClientHello, and goodbye", HALF_OPEN[1].1, "hung-up"),
        ] {
            let mut stream = TcpStream::connect(self.edge).await?;
            let local = stream.local_addr()?;
            stream.write_all(bytes).await?;
            if reason == "hung-up" {
                stream.shutdown().await?;
            }
            let mut rest = Vec::new();
            let ended = timeout(PROMPT, stream.read_to_end(&mut rest)).await;
            ensure!(ended.is_ok(), "{name}: the connection stays open");
            self.refused(table, name, local, reason).await?;
        }
        Ok(())
    }

    async fn refused(&self, table: &mut Table, name: &str, local: SocketAddr, reason: &'static str) -> Result<()> {
        let found = block_in_place(|| {
            until(name, || {
                Ok(self.refusals()?.into_iter().find(|(remote, _)| *remote == local).map(|(_, reason)| reason))
            })
        })?;
        table.add(name, "Edge, TLS", reason, &found);
        self.somebody_else_is_served(table, name).await
    }
}
