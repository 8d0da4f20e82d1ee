//! Why a peer or its request was turned away: the sentence, whose fault it is, and the command that changes it.

use reveille_core::diagnosis::{Diagnosis, Failure};
use reveille_core::{Reason, SipDomain};

/// Why the border, or the house behind it, refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The body could not be read, or is against the rules.
    #[error("{0}")]
    BadBody(String),
    /// A From without a domain that could be proven.
    #[error("the From address names no domain that a certificate could prove")]
    BadFrom,
    /// The certificate is for somebody else.
    #[error("the certificate presented does not name {wanted}, which it must to speak for {domain}")]
    CertificateNamesAnother {
        /// Whom the peer wanted to speak for.
        domain: SipDomain,
        /// What its certificate had to hold.
        wanted: SipDomain,
    },
    /// On the block list.
    #[error("{domain} is blocked")]
    DomainBlocked {
        /// The domain.
        domain: SipDomain,
    },
    /// Not on the allow list.
    #[error("{domain} is not an allowed domain")]
    DomainNotAllowed {
        /// The domain.
        domain: SipDomain,
    },
    /// Off as a whole.
    #[error("federation is switched off on this Access Edge")]
    FederationOff,
    /// The trust header came from elsewhere.
    #[error("the message claims the trust of an edge, but came from a host that is not configured as one")]
    ForgedTrust,
    /// An edge of ours sent something without its trust header.
    #[error("the message came without the trust header that an edge adds")]
    NoTrust,
    /// Too much at once.
    #[error("this server can take nothing more at the moment")]
    Overloaded,
    /// The next hop does not answer.
    #[error("the server for {domain} could not be reached: {why}")]
    PeerUnreachable {
        /// Whose server.
        domain: SipDomain,
        /// The stage and its sentence.
        why: String,
    },
    /// One push request, refused by itself.
    #[error("the push request was refused: {}", reason.sentence())]
    Request {
        /// Why.
        reason: Reason,
    },
    /// The SRV record leads into another domain.
    #[error(
        "the SRV record of {domain} leads to {target}, which is neither in {domain} nor an enabled hosting provider"
    )]
    SrvNamesAnother {
        /// The domain.
        domain: SipDomain,
        /// Where the record leads.
        target: SipDomain,
    },
    /// There is no usable SRV record.
    #[error("no SRV record _sipfederationtls._tcp.{domain}: {why}")]
    SrvNotFound {
        /// The domain.
        domain: SipDomain,
        /// What the name server said.
        why: String,
    },
    /// The journal cannot keep anything.
    #[error("the journal cannot take anything at the moment")]
    StoreFull,
    /// Nobody here serves it.
    #[error("{domain} is not served here")]
    UnknownDestination {
        /// The domain.
        domain: SipDomain,
    },
    /// Neither push request nor feedback.
    #[error("the content type is not taken here")]
    UnsupportedType,
    /// Bigger than taken.
    #[error("{0}")]
    TooLarge(String),
    /// Looped.
    #[error("the message has passed too many hops")]
    TooManyHops,
}

impl Refusal {
    /// The row of the diagnosis table.
    pub const fn failure(&self) -> Failure {
        match self {
            Self::BadBody(_) | Self::BadFrom | Self::UnsupportedType | Self::TooLarge(_) => Failure::BadBody,
            Self::CertificateNamesAnother { .. } => Failure::CertificateNamesAnother,
            Self::DomainBlocked { .. } => Failure::DomainBlocked,
            Self::DomainNotAllowed { .. } => Failure::DomainNotAllowed,
            Self::FederationOff => Failure::FederationOff,
            Self::ForgedTrust | Self::NoTrust => Failure::ForgedTrust,
            Self::Overloaded => Failure::Overloaded,
            Self::PeerUnreachable { .. } | Self::TooManyHops => Failure::PeerUnreachable,
            Self::Request { reason } => match reason {
                Reason::Throttled => Failure::Throttled,
                Reason::AppNotGranted => Failure::AppNotGranted,
                Reason::NoSuchApp => Failure::NoSuchApp,
                _ => Failure::BadBody,
            },
            Self::SrvNamesAnother { .. } => Failure::SrvNamesAnother,
            Self::SrvNotFound { .. } => Failure::SrvNotFound,
            Self::StoreFull => Failure::StoreFull,
            Self::UnknownDestination { .. } => Failure::NotOurDomain,
        }
    }

    /// Whose fault it is, whether repeating helps, and the number that travels.
    pub const fn diagnosis(&self) -> Diagnosis {
        self.failure().diagnosis()
    }

    /// The command that would change this answer, with its values in place.
    pub fn advice(&self) -> String {
        let advice = self.diagnosis().advice;
        match self {
            Self::DomainBlocked { domain } | Self::DomainNotAllowed { domain } => {
                advice.replace("DOMAIN", domain.as_str())
            }
            _ => advice.to_owned(),
        }
    }

    /// The stable word for metrics and status pages.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::BadBody(_) => "bad-body",
            Self::BadFrom => "bad-from",
            Self::CertificateNamesAnother { .. } => "certificate-names-another",
            Self::DomainBlocked { .. } => "domain-blocked",
            Self::DomainNotAllowed { .. } => "domain-not-allowed",
            Self::FederationOff => "federation-off",
            Self::ForgedTrust => "forged-trust",
            Self::NoTrust => "no-trust",
            Self::Overloaded => "overloaded",
            Self::PeerUnreachable { .. } => "peer-unreachable",
            Self::Request { reason } => reason.as_str(),
            Self::SrvNamesAnother { .. } => "srv-names-another",
            Self::SrvNotFound { .. } => "srv-not-found",
            Self::StoreFull => "store-full",
            Self::TooLarge(_) => "too-large",
            Self::TooManyHops => "too-many-hops",
            Self::UnknownDestination { .. } => "unknown-destination",
            Self::UnsupportedType => "unsupported-type",
        }
    }
}
