//! Why a connection ended.

use std::io;
use std::sync::Arc;

use reveille_sip::FrameError;
use rustls::AlertDescription;

use crate::names::PeerCertificate;
use crate::tls::{HandshakeRefusal, speaks_of_certificate};

/// Why a connection ended.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CloseReason {
    /// A role of this server closed it.
    #[error("closed by this server: {why}")]
    Asked {
        /// In a few words.
        why: &'static str,
    },
    /// A UDP remote was forgotten to make room, or for its silence.
    #[error("forgotten after a silence")]
    Forgotten,
    /// Where messages end is in doubt.
    #[error("the byte stream is not SIP any more: {0}")]
    Framing(FrameError),
    /// Nothing was read or written for long.
    #[error("idle for too long")]
    Idle,
    /// The network failed.
    #[error("the connection failed: {detail}")]
    Io {
        /// What kind of failure.
        kind: io::ErrorKind,
        /// What the operating system says.
        detail: String,
    },
    /// A message began and did not end.
    #[error("a message did not arrive whole in time")]
    MessageTimedOut,
    /// RFC 5626 §4.4.1: the peer answered pings before and has ceased to.
    #[error("the peer does not answer pings any more")]
    NoPong,
    /// The peer never sent a byte.
    #[error("the peer never sent anything")]
    NothingCame,
    /// The peer ended the connection with a TLS alert.
    #[error("the peer sent the TLS alert {alert:?}")]
    PeerAlert {
        /// Which one.
        alert: AlertDescription,
    },
    /// The peer ended the connection.
    #[error("closed by the peer")]
    PeerClosed,
    /// The peer stopped reading.
    #[error("the peer does not read: {bytes_max} bytes are waiting")]
    QueueFull {
        /// The bound that was reached.
        bytes_max: usize,
    },
    /// A newer connection to the same next hop has taken its place.
    #[error("another connection has taken its place")]
    Retired,
    /// This server stops.
    #[error("this server stops")]
    Stopping,
    /// The TLS layer failed after the handshake.
    #[error("TLS failed: {detail}")]
    Tls {
        /// What the TLS library says.
        detail: String,
    },
    /// The peer broke the rules of WebSocket, or their bounds.
    #[error("the WebSocket failed: {detail}")]
    WebSocket {
        /// What the peer is told (RFC 6455 §7.4.1).
        code: u16,
        /// What exactly.
        detail: String,
    },
}

impl CloseReason {
    /// A short constant name, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Asked { .. } => "asked",
            Self::Forgotten => "forgotten",
            Self::Framing(_) => "framing",
            Self::Idle => "idle",
            Self::Io { .. } => "io",
            Self::MessageTimedOut => "message-timed-out",
            Self::NoPong => "no-pong",
            Self::NothingCame => "nothing-came",
            Self::PeerAlert { .. } => "peer-alert",
            Self::PeerClosed => "peer-closed",
            Self::QueueFull { .. } => "queue-full",
            Self::Retired => "retired",
            Self::Stopping => "stopping",
            Self::Tls { .. } => "tls",
            Self::WebSocket { .. } => "websocket",
        }
    }

    /// The refusal that this really is, as the end of an outbound connection on which the peer never said anything: with
    /// TLS 1.3 its opinion of `ours`, our certificate, comes after our handshake (RFC 8446 §4.4.2), and some say it by
    /// dropping the connection.
    pub fn as_refusal(&self, ours: Option<&Arc<PeerCertificate>>) -> Option<HandshakeRefusal> {
        match self {
            Self::PeerAlert { alert } if speaks_of_certificate(*alert) => {
                Some(HandshakeRefusal::PeerRejectedOurs { alert: *alert, ours: ours.cloned() })
            }
            Self::PeerClosed => ours.map(|ours| HandshakeRefusal::of_silence(Some(ours.clone()))),
            Self::Io { kind: io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe, .. } => {
                ours.map(|ours| HandshakeRefusal::of_silence(Some(ours.clone())))
            }
            _ => None,
        }
    }

    /// Whether what is queued may still be written.
    pub(crate) fn flushes(&self) -> bool {
        match self {
            Self::Asked { .. } | Self::Framing(_) | Self::Idle | Self::PeerClosed | Self::Retired | Self::Stopping => {
                true
            }
            Self::Forgotten
            | Self::Io { .. }
            | Self::MessageTimedOut
            | Self::NoPong
            | Self::NothingCame
            | Self::PeerAlert { .. }
            | Self::QueueFull { .. }
            | Self::Tls { .. }
            | Self::WebSocket { .. } => false,
        }
    }

    pub(crate) fn of_io(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(AlertDescription::CloseNotify)) => Self::PeerClosed,
            Some(rustls::Error::AlertReceived(alert)) => Self::PeerAlert { alert: *alert },
            Some(tls) => Self::Tls { detail: tls.to_string() },
            // RFC 8446 §6.1 wants close_notify first; every message says its length, so nothing can be cut off unseen.
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::PeerClosed,
            None => Self::Io { kind: error.kind(), detail: error.to_string() },
        }
    }
}
