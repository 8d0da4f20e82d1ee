//! Where an answer may go when the connection that its request came on is gone (RFC 3261 §18.2.2).

use std::sync::OnceLock;

use reveille_sip::Message;
use reveille_sip_net::proxy::Back;
use reveille_sip_net::{Flow, Pool, Target, Transport};

use crate::crossing::From;
use crate::edge::Config;

/// Federation's port (`sip-tls`): that of a Via which names none, too (RFC 3261 §18.2.2).
const PORT: u16 = 5061;

/// The ways back to those who have sent something.
///
/// First of all to any open connection of the same peer, which needs nothing from here; and this says where to make one if
/// there is none. Whoever answers there must show a name that the peer has proven before, and gets the answer only if its
/// certificate is the very same.
pub(crate) struct WaysBack {
    /// Toward the outside and the inside, once they are open.
    pools: OnceLock<(Pool, Pool)>,
    /// The servers behind this edge.
    behind: Vec<Target>,
}

impl WaysBack {
    pub(crate) fn new(config: &Config) -> Self {
        Self { pools: OnceLock::new(), behind: config.domains.values().map(|served| served.target()).collect() }
    }

    /// Gives it the way outside and the way inside. Once.
    pub(crate) fn open(&self, outside: Pool, inside: Pool) {
        drop(self.pools.set((outside, inside)));
    }

    /// Where whoever sent this request listens, as far as that is known.
    pub(crate) fn to(&self, from: From, flow: &Flow, request: &Message) -> Back {
        let server = self.pools.get().and_then(|(outside, inside)| match from {
            From::Inside => Some((inside.clone(), self.behind(flow)?)),
            From::Outside => Some((outside.clone(), beyond(flow, request)?)),
        });
        Back { sender: None, server }
    }

    /// A server of ours listens where the configuration says.
    fn behind(&self, flow: &Flow) -> Option<Target> {
        let peer = flow.peer()?;
        self.behind.iter().find(|target| peer.names(target.name())).cloned()
    }
}

/// A partner listens at the address that it comes from. Its Via may say another port than federation's: there this edge does
/// not go, or any partner could have it knock at ports of its neighbours behind one address.
fn beyond(flow: &Flow, request: &Message) -> Option<Target> {
    let port = request.top_via().ok()?.port().unwrap_or(PORT);
    let name = flow.peer()?.identities().next()?;
    (port == PORT).then(|| Target::at(name, (flow.remote().ip(), PORT).into(), Transport::Tls))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reveille_sip::{Limits, parse_datagram};
    use reveille_sip_net::{PeerCertificate, Side};

    use super::*;

    #[test]
    fn a_partner_is_found_where_it_comes_from_by_a_name_that_it_has_proven() {
        for (sent_by, names, expected) in [
            ("edge.contoso.com", &["edge.contoso.com", "contoso.com"][..], Some("edge.contoso.com")),
            ("edge.contoso.com:5061", &["edge.contoso.com"], Some("edge.contoso.com")),
            // Who else it says to be counts for nothing, and its own address is where it comes from.
            ("victim.example", &["edge.contoso.com"], Some("edge.contoso.com")),
            ("edge.contoso.com:22", &["edge.contoso.com"], None),
            ("edge.contoso.com", &[], None),
        ] {
            let text = format!(
                "INVITE sip:b@ours.example SIP/2.0\r\nVia: SIP/2.0/TLS {sent_by};branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
                 To: <sip:b@c>\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
            );
            let request = parse_datagram(text.into(), &Limits::default()).expect("sound");
            let dns = names.iter().map(|name| (*name).to_owned()).collect();
            let peer = Arc::new(PeerCertificate { dns, has_alt_name: true, ..PeerCertificate::default() });
            let at = |port: u16| ([192, 0, 2, 7], port).into();
            let flow = Flow::carried(Transport::Tls, Side::Accepted, at(5061), at(40_000), Some(peer), 1000);
            let found = beyond(&flow, &request);
            assert_eq!(found.as_ref().map(Target::name), expected, "{sent_by} {names:?}");
            assert_eq!(found.and_then(|target| target.first_address()), expected.map(|_| at(5061)), "{sent_by}");
        }
    }
}
