//! What carries SIP.

use std::fmt;

/// What carries SIP here. The `Display` form is that of Via (RFC 3261 §20.42).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// UDP.
    Udp,
    /// WebSocket (RFC 7118).
    Ws,
    /// WebSocket over TLS (RFC 7118).
    Wss,
}

impl Transport {
    /// Whether the transport delivers, so that nothing need be sent twice (RFC 3261 §17).
    pub fn is_reliable(self) -> bool {
        match self {
            Self::Tcp | Self::Tls | Self::Ws | Self::Wss => true,
            Self::Udp => false,
        }
    }

    /// Whether the way is enciphered.
    pub fn is_secure(self) -> bool {
        match self {
            Self::Tls | Self::Wss => true,
            Self::Tcp | Self::Udp | Self::Ws => false,
        }
    }

    /// The word in Via: `TLS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Udp => "UDP",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    /// RFC 3261 §19.1.2, for WebSocket RFC 7118: the port if none is given.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Tcp | Self::Udp => 5060,
            Self::Tls => 5061,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
