//! `ms-edge-proxy-message-trust`: what the edge says inward about a message from outside (lync.md §3.4).
//!
//! Stripped from everything that comes in, stamped on what goes inward, and believed only from a host that is
//! configured as our edge.

use std::fmt::Write as _;

/// How the edge knew the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SourceType {
    /// A hosting provider.
    AuthorizedServer,
    /// An allowed domain without a ProxyFqdn, or one that was discovered.
    AutoFederation,
    /// An allowed domain with its ProxyFqdn.
    DirectPartner,
}

impl SourceType {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AuthorizedServer => "AuthorizedServer",
            Self::AutoFederation => "AutoFederation",
            Self::DirectPartner => "DirectPartner",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::AuthorizedServer, Self::AutoFederation, Self::DirectPartner]
            .into_iter()
            .find(|kind| kind.as_str().eq_ignore_ascii_case(text))
    }
}

/// The header's content.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trust<'a> {
    /// How the edge knew the peer.
    pub source: SourceType,
    /// The edge's own name.
    pub edge: &'a str,
    /// Whether the sender counts as verified.
    pub verified: bool,
    /// A name out of the peer's certificate.
    pub remote: &'a str,
}

impl<'a> Trust<'a> {
    /// Writes the header value: five parameters in their order.
    pub fn write(&self, into: &mut String) {
        let verified = if self.verified { "verified" } else { "unverified" };
        let _ = write!(
            into,
            "ms-source-type={};ms-ep-fqdn={};ms-source-verified-user={verified};ms-source-network=federation;\
             ms-remote-fqdn={}",
            self.source.as_str(),
            self.edge,
            self.remote
        );
    }

    /// Reads a header value; `None` if it is not one an edge of ours would write.
    pub fn read(value: &'a str) -> Option<Self> {
        let (mut source, mut edge, mut verified, mut remote) = (None, None, None, None);
        for part in value.split(';') {
            let (name, value) = part.split_once('=')?;
            let (name, value) = (name.trim(), value.trim());
            let is = |other: &str| name.eq_ignore_ascii_case(other);
            if is("ms-source-type") {
                source = Some(SourceType::parse(value)?);
            } else if is("ms-ep-fqdn") {
                edge = Some(value);
            } else if is("ms-source-verified-user") {
                verified = Some(value.eq_ignore_ascii_case("verified"));
            } else if is("ms-remote-fqdn") {
                remote = Some(value);
            }
        }
        Some(Self { source: source?, edge: edge?, verified: verified?, remote: remote.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_reads_back_as_written_and_nothing_else_is_trust() {
        let trust = Trust {
            source: SourceType::DirectPartner,
            edge: "edge.push.example.net",
            verified: true,
            remote: "edge.contoso.com",
        };
        let mut text = String::new();
        trust.write(&mut text);
        assert_eq!(Trust::read(&text), Some(trust));
        for text in ["", "ms-source-type=Friend;ms-ep-fqdn=e;ms-source-verified-user=verified", "yes", "ms-ep-fqdn=e"] {
            assert_eq!(Trust::read(text), None, "{text}");
        }
    }
}
