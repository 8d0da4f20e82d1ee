//! Flow tokens (RFC 5626 §5.2): a connection's name in Record-Route and Path, that nobody can forge.

use std::net::{IpAddr, SocketAddr};

use crate::flow::{Flow, Transport};

/// Why a token leads nowhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// Not made by this process, or changed since. RFC 5626 §5.3.1: 403.
    #[error("the flow token is none of ours")]
    Forged,
    /// The connection has closed. RFC 5626 §5.3.1: 430.
    #[error("the connection that the flow token names is closed")]
    Gone,
}

impl TokenError {
    /// The status of a request that brings such a token.
    pub fn status(self) -> u16 {
        match self {
            Self::Forged => 403,
            Self::Gone => 430,
        }
    }
}

/// What a token names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Named {
    /// A connection, which has a number.
    Connection(u64),
    /// A UDP remote, which is its address: nothing ever closes.
    Remote(SocketAddr),
}

impl Named {
    pub(super) fn of(flow: &Flow) -> Self {
        match flow.transport() {
            Transport::Udp => Self::Remote(flow.reaches()),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => Self::Connection(flow.id().as_u64()),
        }
    }

    /// As text that may stand in the user part of a URI.
    pub(super) fn write(self) -> String {
        match self {
            Self::Connection(number) => format!("c{number:x}"),
            Self::Remote(remote) => match remote.ip().to_canonical() {
                IpAddr::V4(ip) => format!("u{:08x}{:04x}", ip.to_bits(), remote.port()),
                IpAddr::V6(ip) => format!("u{:032x}{:04x}", ip.to_bits(), remote.port()),
            },
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let (kind, digits) = text.split_at_checked(1)?;
        match kind {
            "c" => u64::from_str_radix(digits, 16).ok().map(Self::Connection),
            "u" => {
                let (ip, port) = digits.split_at_checked(digits.len().checked_sub(4)?)?;
                let ip: IpAddr = match ip.len() {
                    8 => u32::from_str_radix(ip, 16).ok()?.to_be_bytes().into(),
                    32 => u128::from_str_radix(ip, 16).ok()?.to_be_bytes().into(),
                    _ => return None,
                };
                Some(Self::Remote(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_were_written() {
        for named in [
            Named::Connection(0),
            Named::Connection(u64::MAX),
            Named::Remote(([192, 0, 2, 255], 5060).into()),
            Named::Remote("[2001:db8::7]:65535".parse().expect("an address")),
        ] {
            let text = named.write();
            assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{text}");
            assert_eq!(Named::read(&text), Some(named));
        }
        for broken in ["", "c", "u", "u13c4", "x1", "u00zz000013c4"] {
            assert_eq!(Named::read(broken), None, "{broken}");
        }
    }
}
