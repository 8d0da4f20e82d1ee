//! Why a TLS handshake did not succeed, told apart so that somebody can mend it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use rustls::AlertDescription;
use x509_parser::time::ASN1Time;

use super::alert;
use super::quiet::Quiet;
use crate::names::PeerCertificate;

/// Why a handshake failed, in either direction: as accepting side the certificate `shown` is the client's, as connecting
/// side the server's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HandshakeRefusal {
    /// The key shown does not fit the certificate, or a signature in the chain is wrong.
    #[error("a signature made for {} is wrong", .shown.subject)]
    BadSignature {
        /// The certificate shown.
        shown: Arc<PeerCertificate>,
    },
    /// The connection ended without a word, right after the peer had seen our certificate. This is how peers look that
    /// do not trust us and send no alert (lync.md §3.2: event 1047, Winsock 10054).
    #[error("the peer dropped the connection without a word after it had seen our certificate, {}", .ours.subject)]
    DroppedOurs {
        /// The certificate that we showed.
        ours: Arc<PeerCertificate>,
    },
    /// A certificate of the chain has ended.
    #[error("the certificate of {subject} expired on {}", Day(*.not_after))]
    Expired {
        /// Of the certificate which expired: the one shown, or one above it.
        subject: String,
        /// Last second of validity, Unix time.
        not_after: i64,
        /// The certificate shown.
        shown: Arc<PeerCertificate>,
    },
    /// The connection ended in the middle of the handshake, without a word.
    #[error("the peer closed the connection during the TLS handshake")]
    HungUp,
    /// A revocation list that speaks for the chain has run out, and this server is told to refuse then.
    #[error("the revocation list for {} ran out on {}", .shown.issuer, Day(*.next_update))]
    ListRanOut {
        /// When the next one was due, Unix time.
        next_update: i64,
        /// The certificate shown.
        shown: Arc<PeerCertificate>,
    },
    /// A revocation list that speaks for the chain is not good.
    #[error("the revocation list for {} cannot be used: {detail}", .shown.issuer)]
    ListUnusable {
        /// What is wrong with it.
        detail: String,
        /// The certificate shown.
        shown: Arc<PeerCertificate>,
    },
    /// RFC 5922 §7.1: the chain is good and the certificate speaks for somebody else.
    #[error("the certificate names {}, not {wanted}", List(.offered))]
    NamesAnother {
        /// The name that was asked for.
        wanted: String,
        /// The names that the certificate holds.
        offered: Vec<String>,
        /// The certificate shown.
        shown: Arc<PeerCertificate>,
    },
    /// A certificate is required and the client showed none.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// No TLS version, cipher suite or signature scheme that both sides know.
    #[error("the peer and this server have no TLS parameters in common: {detail}")]
    NoCommonGround {
        /// Which parameter.
        detail: String,
    },
    /// The certificate may not be used for this, for instance an authority's own certificate.
    #[error("the certificate of {} may not be used to identify a SIP domain", .shown.subject)]
    NotForThisPurpose {
        /// The certificate shown.
        shown: Arc<PeerCertificate>,
    },
    /// What came is not TLS.
    #[error("the peer does not speak TLS on this port")]
    NotTls,
    /// A certificate of the chain has not begun.
    #[error("the certificate of {subject} is not valid before {}", Day(*.not_before))]
    NotYetValid {
        /// Of the certificate which has not begun: the one shown, or one above it.
        subject: String,
        /// First second of validity, Unix time.
        not_before: i64,
        /// The certificate shown.
        shown: Arc<PeerCertificate>,
    },
    /// Anything else; `detail` is the TLS library's sentence.
    #[error("the TLS handshake failed: {detail}")]
    Other {
        /// What the TLS library says.
        detail: String,
    },
    /// The other side did not like the certificate that we showed, or missed one.
    #[error("{} (alert {})", alert::complaint(*.alert), alert::name(*.alert))]
    PeerRejectedOurs {
        /// What it said.
        alert: AlertDescription,
        /// The certificate that we showed, if we showed one.
        ours: Option<Arc<PeerCertificate>>,
    },
    /// The authority took a certificate of the chain back.
    #[error("the certificate of {subject} with serial number {serial} was revoked")]
    Revoked {
        /// Of the certificate which was revoked: the one shown, or one above it.
        subject: String,
        /// Of the certificate which was revoked, hexadecimal.
        serial: String,
        /// The certificate shown.
        shown: Arc<PeerCertificate>,
    },
    /// The handshake took too long.
    #[error("the TLS handshake did not finish in time")]
    TimedOut,
    /// No trusted root has issued the chain.
    #[error(
        "the certificate of {} was issued by {issuer}, which is not trusted here (SHA-256 {})",
        .shown.subject, .shown.sha256_fingerprint
    )]
    UnknownIssuer {
        /// The authority missing from the trusted roots.
        issuer: String,
        /// The certificate shown.
        shown: Arc<PeerCertificate>,
    },
    /// The certificate cannot be read, or uses algorithms that are not supported.
    #[error("the certificate presented cannot be used: {detail}")]
    Unusable {
        /// In which way.
        detail: String,
        /// The certificate shown, if it can be read.
        shown: Option<Arc<PeerCertificate>>,
    },
}

/// Whose mistake a failure is.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Blame {
    /// Something between the two.
    Network,
    /// This server, or how it is configured.
    Ours,
    /// The other side.
    Peer,
}

/// Which side ended the handshake.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RefusedBy {
    /// Neither: it did not come to that.
    Nobody,
    /// The other side: it said so, or dropped the connection.
    Peer,
    /// This server.
    Us,
}

impl HandshakeRefusal {
    /// Which side refused the other.
    pub fn refused_by(&self) -> RefusedBy {
        match self {
            Self::DroppedOurs { .. } | Self::PeerRejectedOurs { .. } => RefusedBy::Peer,
            Self::HungUp | Self::TimedOut => RefusedBy::Nobody,
            Self::NoCommonGround { .. } | Self::Other { .. } => RefusedBy::Nobody,
            Self::BadSignature { .. }
            | Self::Expired { .. }
            | Self::ListRanOut { .. }
            | Self::ListUnusable { .. }
            | Self::NamesAnother { .. }
            | Self::NoCertificate
            | Self::NotForThisPurpose { .. }
            | Self::NotTls
            | Self::NotYetValid { .. }
            | Self::Revoked { .. }
            | Self::UnknownIssuer { .. }
            | Self::Unusable { .. } => RefusedBy::Us,
        }
    }

    /// The certificate that the refusal is about: the peer's, or ours if the peer refused.
    pub fn certificate(&self) -> Option<&Arc<PeerCertificate>> {
        match self {
            Self::BadSignature { shown }
            | Self::Expired { shown, .. }
            | Self::ListRanOut { shown, .. }
            | Self::ListUnusable { shown, .. }
            | Self::NamesAnother { shown, .. }
            | Self::NotForThisPurpose { shown }
            | Self::NotYetValid { shown, .. }
            | Self::Revoked { shown, .. }
            | Self::UnknownIssuer { shown, .. } => Some(shown),
            Self::DroppedOurs { ours } => Some(ours),
            Self::PeerRejectedOurs { ours, .. } => ours.as_ref(),
            Self::Unusable { shown, .. } => shown.as_ref(),
            Self::HungUp
            | Self::NoCertificate
            | Self::NoCommonGround { .. }
            | Self::NotTls
            | Self::Other { .. }
            | Self::TimedOut => None,
        }
    }

    /// Whose mistake it most likely is.
    pub fn blame(&self) -> Blame {
        match self {
            Self::BadSignature { .. }
            | Self::Expired { .. }
            | Self::NamesAnother { .. }
            | Self::NoCertificate
            | Self::NoCommonGround { .. }
            | Self::NotForThisPurpose { .. }
            | Self::NotTls
            | Self::NotYetValid { .. }
            | Self::Other { .. }
            | Self::Revoked { .. }
            | Self::Unusable { .. } => Blame::Peer,
            // Some could be mended on the other side; but what can be changed here is our part.
            Self::DroppedOurs { .. }
            | Self::ListRanOut { .. }
            | Self::ListUnusable { .. }
            | Self::PeerRejectedOurs { .. }
            | Self::UnknownIssuer { .. } => Blame::Ours,
            Self::HungUp | Self::TimedOut => Blame::Network,
        }
    }

    /// Whether trying again soon, with nothing changed, may succeed.
    pub fn may_pass(&self) -> bool {
        match self {
            // A connection that is only dropped may have been dropped by something in between.
            Self::DroppedOurs { .. } | Self::HungUp | Self::TimedOut => true,
            Self::BadSignature { .. }
            | Self::Expired { .. }
            | Self::ListRanOut { .. }
            | Self::ListUnusable { .. }
            | Self::NamesAnother { .. }
            | Self::NoCertificate
            | Self::NoCommonGround { .. }
            | Self::NotForThisPurpose { .. }
            | Self::NotTls
            | Self::NotYetValid { .. }
            | Self::Other { .. }
            | Self::PeerRejectedOurs { .. }
            | Self::Revoked { .. }
            | Self::UnknownIssuer { .. }
            | Self::Unusable { .. } => false,
        }
    }

    /// What a person may do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::BadSignature { .. } => "ask the peer to check that its key belongs to its certificate",
            Self::DroppedOurs { .. } => {
                "most likely the peer does not trust the authority that issued our certificate, or expects another name \
                 in it: ask its administrator to look at its log"
            }
            Self::Expired { .. } => "the owner of the certificate has to renew it",
            Self::HungUp => "look at the peer's log: it gave no reason",
            Self::ListRanOut { .. } => {
                "get the authority's current list, or let lists that ran out count on: when_lists_run_out = \"alarm\""
            }
            Self::ListUnusable { .. } => "get the authority's current list again",
            Self::NamesAnother { .. } => "correct the name this peer is reached by, or have its certificate name it",
            Self::NoCertificate => "the peer has to be configured with a client certificate",
            Self::NoCommonGround { .. } => {
                "the peer has to offer TLS 1.2 or 1.3 with a current cipher suite, and a certificate with a current key"
            }
            Self::NotForThisPurpose { .. } => "the peer needs a certificate for TLS server or client authentication",
            Self::NotTls => "the peer has to use TLS, or another port",
            Self::NotYetValid { .. } => "compare the clocks of both servers",
            Self::Other { .. } => "look at both logs",
            Self::PeerRejectedOurs { alert, .. } => alert::remedy(*alert),
            Self::Revoked { .. } => "the peer has to get a new certificate",
            Self::TimedOut => "check whether a firewall between both lets port 5061 through in both directions",
            Self::UnknownIssuer { .. } => "add the issuer to the trusted roots if it deserves trust",
            Self::Unusable { .. } => "the peer has to get another certificate",
        }
    }

    /// A short constant name, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::BadSignature { .. } => "bad-signature",
            Self::DroppedOurs { .. } => "dropped-ours",
            Self::Expired { .. } => "expired",
            Self::HungUp => "hung-up",
            Self::ListRanOut { .. } => "list-ran-out",
            Self::ListUnusable { .. } => "list-unusable",
            Self::NamesAnother { .. } => "names-another",
            Self::NoCertificate => "no-certificate",
            Self::NoCommonGround { .. } => "no-common-ground",
            Self::NotForThisPurpose { .. } => "not-for-this-purpose",
            Self::NotTls => "not-tls",
            Self::NotYetValid { .. } => "not-yet-valid",
            Self::Other { .. } => "other",
            Self::PeerRejectedOurs { .. } => "peer-rejected-ours",
            Self::Revoked { .. } => "revoked",
            Self::TimedOut => "timed-out",
            Self::UnknownIssuer { .. } => "unknown-issuer",
            Self::Unusable { .. } => "unusable",
        }
    }

    /// One line for the log, with everything that helps to recognise the certificate; a bounded number for each address.
    /// `name` is the one asked for, as connecting side.
    pub(crate) fn log(&self, remote: SocketAddr, name: Option<&str>) {
        let Some(unwritten) = QUIET.may_write(remote.ip(), Instant::now()) else { return };
        let shown = self.certificate().map(|certificate| &**certificate);
        tracing::info!(
            peer.address = %remote,
            peer.name = name,
            reason = self.label(),
            refused_by = self.refused_by().as_str(),
            blame = ?self.blame(),
            certificate.subject = shown.map(|it| it.subject.as_str()),
            certificate.issuer = shown.map(|it| it.issuer.as_str()),
            certificate.serial = shown.map(|it| it.serial_hex.as_str()),
            certificate.not_before = shown.map(|it| tracing::field::display(Day(it.not_before))),
            certificate.not_after = shown.map(|it| tracing::field::display(Day(it.not_after))),
            certificate.sha256 = shown.map(|it| it.sha256_fingerprint.as_str()),
            advice = self.advice(),
            // Refusals of this address that came too fast to be written; the metric has them all.
            unwritten = (unwritten > 0).then_some(unwritten),
            "TLS handshake refused: {self}"
        );
    }
}

impl RefusedBy {
    /// As a word: `us`, `peer`, `nobody`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Peer => "peer",
            Self::Us => "us",
        }
    }
}

static QUIET: LazyLock<Quiet> = LazyLock::new(Quiet::new);

/// Unix seconds as a person reads them.
struct Day(i64);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ASN1Time::from_timestamp(self.0) {
            Ok(time) => time.fmt(f),
            Err(_) => write!(f, "{} seconds after 1970", self.0),
        }
    }
}

struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("nobody") } else { f.write_str(&self.0.join(", ")) }
    }
}
