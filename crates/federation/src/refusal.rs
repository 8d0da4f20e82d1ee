//! Why a peer or its request was turned away: the sentence, whose fault it is, and the command that changes it.

use std::time::Duration;

use reveille_core::diagnosis::{Diagnosis, Failure, Fault};
use reveille_core::{Reason, SipDomain};

/// Why the border, or the house behind it, refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No address.
    #[error("{host}, where {domain} is reached, has no address: {why}")]
    AddressNotFound {
        /// The domain that a message was for.
        domain: SipDomain,
        /// The host that its record names.
        host: SipDomain,
        /// What the name server said.
        why: String,
        /// What may be done, if it is our name server that cannot tell.
        remedy: Option<&'static str>,
    },
    /// `UseSourceVerification`, read strictly.
    #[error("{domain} does not say whether its user is verified, which it must here")]
    AssertionMissing {
        /// The domain.
        domain: SipDomain,
    },
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
    /// Not something that partners ask of each other.
    #[error("{method} requests do not cross this border")]
    MethodNotFederated {
        /// The method.
        method: Box<str>,
    },
    /// Within a dialog, and without the Route that this edge has given its two ends; or with that of others.
    #[error("the request is within a dialog that its sender does not have through this edge")]
    NoSuchDialog,
    /// The domain is served here, and nobody of that name takes requests there.
    #[error("nobody is called {user} at {domain}: push requests go to sip:push@{domain}")]
    NoSuchUser {
        /// Who was asked for.
        user: String,
        /// The domain.
        domain: SipDomain,
    },
    /// A server inside wrote the name of a domain into From that is not its own.
    #[error("this server does not serve {domain}, and may not speak for it")]
    NotItsDomain {
        /// The domain in From.
        domain: SipDomain,
    },
    /// An edge of ours sent something without its trust header.
    #[error("the message came without the trust header that an edge adds")]
    NoTrust,
    /// Our own people speak from inside.
    #[error("{domain} lives behind this edge, and nobody outside may speak for it")]
    OwnDomain {
        /// The domain.
        domain: SipDomain,
    },
    /// Too much at once.
    #[error("this server can take nothing more at the moment")]
    Overloaded,
    /// Too much of one partner at once.
    #[error("too much of {domain} is under way: {what}")]
    PartnerBusy {
        /// The partner's domain.
        domain: SipDomain,
        /// Which bound was reached, with its figure.
        what: String,
    },
    /// Beyond its rate.
    #[error("{domain} may send {per_second} messages a second, and sends more")]
    PartnerThrottled {
        /// The partner's domain.
        domain: SipDomain,
        /// What it may send.
        per_second: u32,
    },
    /// On the watch list.
    #[error("{domain} has written to more than {most} addresses and is on the watch list")]
    PartnerWatched {
        /// The partner's domain.
        domain: SipDomain,
        /// How many addresses were allowed.
        most: u32,
    },
    /// Its circuit is open.
    #[error("the server for {domain} failed a moment ago and is not asked yet: {why}")]
    PeerPaused {
        /// Whose server.
        domain: SipDomain,
        /// What it failed with.
        why: String,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// It does not take our certificate.
    #[error("the server for {domain} does not accept this edge: {why}")]
    PeerRejectsUs {
        /// Whose server.
        domain: SipDomain,
        /// The stage and its sentence.
        why: String,
    },
    /// The next hop does not answer.
    #[error("the server for {domain} could not be reached: {why}")]
    PeerUnreachable {
        /// Whose server.
        domain: SipDomain,
        /// The stage and its sentence.
        why: String,
    },
    /// We do not take its certificate.
    #[error("the server for {domain} is not trusted: {why}")]
    PeerUntrusted {
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
    #[error("the server for {domain} is not found through its SRV record _sipfederationtls._tcp.{domain}: {why}")]
    SrvNotFound {
        /// The domain.
        domain: SipDomain,
        /// What the name server said.
        why: String,
        /// What may be done, if it is our name server that cannot tell.
        remedy: Option<&'static str>,
    },
    /// Before the end.
    #[error("this server is about to stop")]
    Stopping,
    /// The journal cannot keep anything.
    #[error("the journal cannot take anything at the moment")]
    StoreFull,
    /// The near-full server keeps its last places for calls.
    #[error("this server is nearly full and takes {what} no more at the moment")]
    Shed {
        /// Which class.
        what: &'static str,
    },
    /// Nobody here serves it.
    #[error("{domain} is not served here")]
    UnknownDestination {
        /// The domain.
        domain: SipDomain,
    },
    /// Not a SIP URI.
    #[error("the Request-URI is not a sip: or sips: address")]
    UnknownScheme,
    /// Neither push request nor feedback.
    #[error("the content type is not taken here")]
    UnsupportedType,
    /// Bigger than taken.
    #[error("{0}")]
    TooLarge(String),
    /// Its header leaves no room for what the way adds.
    #[error("the header of the message is too long to be passed on: {fields} fields, {bytes} bytes")]
    HeaderTooLong {
        /// How many it has.
        fields: usize,
        /// How long it is, with first and empty line.
        bytes: usize,
    },
    /// Here again, as it was.
    #[error("the message has come back to this edge as it left")]
    Looped,
    /// Too far.
    #[error("the message has passed too many hops")]
    TooManyHops,
    /// An extension that the sender wants of every proxy.
    #[error("the extensions that Proxy-Require names are not supported here")]
    UnsupportedExtension,
}

impl Refusal {
    /// The row of the diagnosis table.
    pub const fn failure(&self) -> Failure {
        match self {
            Self::AddressNotFound { .. } => Failure::AddressNotFound,
            Self::AssertionMissing { .. } => Failure::AssertionMissing,
            Self::BadBody(_)
            | Self::BadFrom
            | Self::HeaderTooLong { .. }
            | Self::TooLarge(_)
            | Self::UnsupportedExtension
            | Self::UnsupportedType => Failure::BadBody,
            Self::CertificateNamesAnother { .. } => Failure::CertificateNamesAnother,
            Self::DomainBlocked { .. } => Failure::DomainBlocked,
            Self::DomainNotAllowed { .. } => Failure::DomainNotAllowed,
            Self::FederationOff => Failure::FederationOff,
            Self::ForgedTrust | Self::NoTrust => Failure::ForgedTrust,
            Self::MethodNotFederated { .. } => Failure::MethodNotFederated,
            Self::NoSuchDialog => Failure::NoSuchDialog,
            Self::NoSuchUser { .. } => Failure::NoSuchUser,
            Self::NotItsDomain { .. } => Failure::NotItsDomain,
            Self::OwnDomain { .. } => Failure::OwnDomain,
            Self::Overloaded | Self::Shed { .. } => Failure::Overloaded,
            Self::PartnerBusy { .. } => Failure::PartnerBusy,
            Self::PartnerThrottled { .. } => Failure::Throttled,
            Self::PartnerWatched { .. } => Failure::PartnerWatched,
            Self::PeerPaused { .. } => Failure::PeerPaused,
            Self::PeerRejectsUs { .. } => Failure::PeerRejectsUs,
            Self::PeerUnreachable { .. } => Failure::PeerUnreachable,
            Self::PeerUntrusted { .. } => Failure::PeerUntrusted,
            Self::Request { reason } => match reason {
                Reason::Throttled => Failure::Throttled,
                Reason::AppNotGranted => Failure::AppNotGranted,
                Reason::ClockSkew => Failure::ClockSkew,
                Reason::OutcomeUnknown => Failure::CallMayHaveRung,
                Reason::PayloadTooLarge => Failure::PayloadTooLarge,
                Reason::HandleKeyGone => Failure::HandleKeyGone,
                Reason::HandleNotYours => Failure::HandleNotYours,
                Reason::NoSuchApp => Failure::NoSuchApp,
                _ => Failure::BadBody,
            },
            Self::SrvNamesAnother { .. } => Failure::SrvNamesAnother,
            Self::SrvNotFound { .. } => Failure::SrvNotFound,
            Self::Stopping => Failure::Stopping,
            Self::StoreFull => Failure::StoreFull,
            Self::Looped | Self::TooManyHops => Failure::TooManyHops,
            Self::UnknownScheme => Failure::UnknownScheme,
            Self::UnknownDestination { .. } => Failure::NotOurDomain,
        }
    }

    /// Whose fault it is, whether repeating helps, and the number that travels.
    pub const fn diagnosis(&self) -> Diagnosis {
        let diagnosis = self.failure().diagnosis();
        match self {
            // Not the other organisation's fault, and nothing that it could mend.
            Self::AddressNotFound { remedy: Some(advice), .. } | Self::SrvNotFound { remedy: Some(advice), .. } => {
                Diagnosis { fault: Fault::Configuration, advice, ..diagnosis }
            }
            _ => diagnosis,
        }
    }

    /// The sentence for another organisation. Which names our settings ask for, and what our name servers and the servers
    /// of third parties have said, is not for whoever holds a certificate.
    pub fn outside(&self) -> String {
        match self {
            Self::CertificateNamesAnother { domain, wanted } if wanted != domain => {
                format!("the certificate presented is not that of the server that speaks for {domain}")
            }
            Self::AddressNotFound { domain, .. } | Self::SrvNotFound { domain, .. } => {
                format!("the server for {domain} is not found")
            }
            Self::PeerPaused { domain, .. }
            | Self::PeerRejectsUs { domain, .. }
            | Self::PeerUnreachable { domain, .. }
            | Self::PeerUntrusted { domain, .. } => format!("the server for {domain} cannot be reached"),
            Self::StoreFull => "this server cannot take anything at the moment".to_owned(),
            other => other.to_string(),
        }
    }

    /// The command that would change this answer, with its values in place.
    pub fn advice(&self) -> String {
        let advice = self.diagnosis().advice;
        match self {
            Self::DomainBlocked { domain }
            | Self::DomainNotAllowed { domain }
            | Self::PartnerWatched { domain, .. } => advice.replace("DOMAIN", domain.as_str()),
            Self::BadFrom => "write the sender's domain into From, as in sip:alice@contoso.com".to_owned(),
            _ => advice.to_owned(),
        }
    }

    /// When to come back, for those that a little patience helps.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::PartnerBusy { .. } | Self::PartnerThrottled { .. } | Self::Shed { .. } => {
                Some(Duration::from_secs(1))
            }
            // Rounded up, so that whoever obeys does not come too early.
            Self::PeerPaused { retry_after, .. } => Some(Duration::from_secs(retry_after.as_secs() + 1)),
            Self::Overloaded | Self::Stopping | Self::StoreFull => Some(Duration::from_secs(5)),
            Self::AddressNotFound { .. }
            | Self::AssertionMissing { .. }
            | Self::BadBody(_)
            | Self::BadFrom
            | Self::CertificateNamesAnother { .. }
            | Self::DomainBlocked { .. }
            | Self::DomainNotAllowed { .. }
            | Self::FederationOff
            | Self::ForgedTrust
            | Self::MethodNotFederated { .. }
            | Self::NoSuchDialog
            | Self::NoSuchUser { .. }
            | Self::NotItsDomain { .. }
            | Self::NoTrust
            | Self::OwnDomain { .. }
            | Self::PartnerWatched { .. }
            | Self::PeerRejectsUs { .. }
            | Self::PeerUnreachable { .. }
            | Self::PeerUntrusted { .. }
            | Self::Request { .. }
            | Self::SrvNamesAnother { .. }
            | Self::SrvNotFound { .. }
            | Self::TooLarge(_)
            | Self::HeaderTooLong { .. }
            | Self::Looped
            | Self::TooManyHops
            | Self::UnsupportedExtension
            | Self::UnknownDestination { .. }
            | Self::UnknownScheme
            | Self::UnsupportedType => None,
        }
    }

    /// The stable word for metrics and status pages.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::AddressNotFound { .. } => "address-not-found",
            Self::AssertionMissing { .. } => "assertion-missing",
            Self::BadBody(_) => "bad-body",
            Self::BadFrom => "bad-from",
            Self::CertificateNamesAnother { .. } => "certificate-names-another",
            Self::DomainBlocked { .. } => "domain-blocked",
            Self::DomainNotAllowed { .. } => "domain-not-allowed",
            Self::FederationOff => "federation-off",
            Self::ForgedTrust => "forged-trust",
            Self::MethodNotFederated { .. } => "method-not-federated",
            Self::NoSuchDialog => "no-such-dialog",
            Self::NoSuchUser { .. } => "no-such-user",
            Self::NotItsDomain { .. } => "not-its-domain",
            Self::NoTrust => "no-trust",
            Self::Overloaded => "overloaded",
            Self::OwnDomain { .. } => "own-domain",
            Self::PartnerBusy { .. } => "partner-busy",
            Self::PartnerThrottled { .. } => "partner-throttled",
            Self::PartnerWatched { .. } => "partner-watched",
            Self::PeerPaused { .. } => "peer-paused",
            Self::PeerRejectsUs { .. } => "peer-rejects-us",
            Self::PeerUntrusted { .. } => "peer-untrusted",
            Self::PeerUnreachable { .. } => "peer-unreachable",
            Self::Request { reason } => reason.as_str(),
            Self::SrvNamesAnother { .. } => "srv-names-another",
            Self::SrvNotFound { .. } => "srv-not-found",
            Self::Shed { .. } => "shed",
            Self::Stopping => "stopping",
            Self::StoreFull => "store-full",
            Self::TooLarge(_) => "too-large",
            Self::HeaderTooLong { .. } => "header-too-long",
            Self::Looped => "looped",
            Self::TooManyHops => "too-many-hops",
            Self::UnsupportedExtension => "unsupported-extension",
            Self::UnknownDestination { .. } => "unknown-destination",
            Self::UnknownScheme => "unknown-scheme",
            Self::UnsupportedType => "unsupported-type",
        }
    }
}
