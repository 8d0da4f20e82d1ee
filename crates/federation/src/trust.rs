//! What servers say about a message's origin: `ms-edge-proxy-message-trust` from an edge to its own inside, and
//! `ms-asserted-verification-level` from one organisation to another (lync.md §3.3, §3.4).
//!
//! The first is stripped from everything that comes in, stamped on what goes inward, and believed only from a host that
//! is configured as our edge. The second is a partner's word about its own user; the verification level says what it
//! counts for.

use std::fmt::Write as _;

/// How the edge knew the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SourceType {
    /// A provider, or the default route.
    AuthorizedServer,
    /// An allowed domain without a ProxyFqdn, or one that was discovered.
    AutoFederation,
    /// An allowed domain with its ProxyFqdn.
    DirectPartner,
    /// The edge itself answers; nobody outside has said this.
    EdgeProxyGenerated,
    /// One of our own users, away from the office.
    InternetUser,
}

impl SourceType {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizedServer => "AuthorizedServer",
            Self::AutoFederation => "AutoFederation",
            Self::DirectPartner => "DirectPartner",
            Self::EdgeProxyGenerated => "EdgeProxyGenerated",
            Self::InternetUser => "InternetUser",
        }
    }

    /// Whether another organisation stands behind a message of this source; only that can be an admitted peer.
    pub const fn is_federated(self) -> bool {
        match self {
            Self::AuthorizedServer | Self::AutoFederation | Self::DirectPartner => true,
            Self::EdgeProxyGenerated | Self::InternetUser => false,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::AuthorizedServer,
            Self::AutoFederation,
            Self::DirectPartner,
            Self::EdgeProxyGenerated,
            Self::InternetUser,
        ]
        .into_iter()
        .find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

/// Through which network a message came.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Network {
    /// Another organisation.
    #[default]
    Federation,
    /// A public messaging service.
    PublicCloud,
}

impl Network {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Federation => "federation",
            Self::PublicCloud => "publiccloud",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Federation, Self::PublicCloud].into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

/// The content of the trust header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trust<'a> {
    /// How the edge knew the peer.
    pub source: SourceType,
    /// The edge's own name.
    pub edge: &'a str,
    /// Whether the sender counts as verified.
    pub verified: bool,
    /// Through which network it came.
    pub network: Network,
    /// The name that the peer has proven.
    pub remote: &'a str,
}

impl<'a> Trust<'a> {
    /// Writes the header value: five parameters in their order.
    pub fn write(&self, into: &mut String) {
        let _ = write!(
            into,
            "ms-source-type={};ms-ep-fqdn={};{USER}={};ms-source-network={};ms-remote-fqdn={}",
            self.source.as_str(),
            self.edge,
            word(self.verified),
            self.network.as_str(),
            self.remote
        );
    }

    /// Reads a header value; `None` if it is not one an edge of ours would write.
    pub fn read(value: &'a str) -> Option<Self> {
        let (mut source, mut edge, mut verified, mut remote) = (None, None, None, None);
        let mut network = Network::default();
        for part in value.split(';') {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if is("ms-source-type") {
                source = Some(SourceType::parse(value)?);
            } else if is("ms-ep-fqdn") {
                edge = Some(value);
            } else if is(USER) {
                verified = Some(value.eq_ignore_ascii_case(VERIFIED));
            } else if is("ms-source-network") {
                network = Network::parse(value)?;
            } else if is("ms-remote-fqdn") {
                remote = Some(value);
            }
        }
        let (source, edge, verified) = (source?, edge?, verified?);
        Some(Self { source, edge, verified, network, remote: remote.unwrap_or_default() })
    }
}

/// What `ms-asserted-verification-level` says of the sender: `None` where it says nothing that can be read.
pub fn read_assertion(value: &str) -> Option<bool> {
    value.split(';').find_map(|part| {
        let (name, value) = part.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case(USER) {
            return None;
        }
        let value = value.trim();
        let verified = value.eq_ignore_ascii_case(VERIFIED);
        (verified || value.eq_ignore_ascii_case(UNVERIFIED)).then_some(verified)
    })
}

/// The value of `ms-asserted-verification-level`.
pub const fn assertion(verified: bool) -> &'static str {
    if verified { "ms-source-verified-user=verified" } else { "ms-source-verified-user=unverified" }
}

const fn word(verified: bool) -> &'static str {
    if verified { VERIFIED } else { UNVERIFIED }
}

const USER: &str = "ms-source-verified-user";
const VERIFIED: &str = "verified";
const UNVERIFIED: &str = "unverified";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_reads_back_as_written_and_nothing_else_is_trust() {
        let trust = Trust {
            source: SourceType::DirectPartner,
            edge: "edge.push.example.net",
            verified: true,
            network: Network::PublicCloud,
            remote: "edge.contoso.com",
        };
        let mut text = String::new();
        trust.write(&mut text);
        assert_eq!(
            text,
            "ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;ms-source-verified-user=verified;\
             ms-source-network=publiccloud;ms-remote-fqdn=edge.contoso.com"
        );
        assert_eq!(Trust::read(&text), Some(trust));
        for text in ["", "ms-source-type=Friend;ms-ep-fqdn=e;ms-source-verified-user=verified", "yes", "ms-ep-fqdn=e"] {
            assert_eq!(Trust::read(text), None, "{text}");
        }
    }

    #[test]
    fn an_assertion_is_one_of_two_words_or_nothing() {
        for (text, expected) in [
            (assertion(true), Some(true)),
            (assertion(false), Some(false)),
            ("MS-Source-Verified-User = VERIFIED", Some(true)),
            ("level=9;ms-source-verified-user=unverified", Some(false)),
            ("ms-source-verified-user=certainly", None),
            ("verified", None),
            ("", None),
        ] {
            assert_eq!(read_assertion(text), expected, "{text}");
        }
    }
}
