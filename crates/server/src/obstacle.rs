//! What the operating system refuses at the start, in a sentence that says what mends it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;

/// Why an address cannot be listened on.
pub(crate) struct Unheard<'a>(pub(crate) SocketAddr, pub(crate) &'a io::Error);

/// Ports below this one are not everybody's (ip(7), `ip_unprivileged_port_start`).
const FREE_PORTS_FROM: u16 = 1024;

impl fmt::Display for Unheard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address, error) = self;
        let port = address.port();
        match error.kind() {
            ErrorKind::AddrInUse => {
                write!(f, "{address} is in use by another program; this names it: ss -lntup 'sport = :{port}'")
            }
            ErrorKind::AddrNotAvailable => {
                write!(f, "{address} is no address of this machine; this shows those it has: ip address")
            }
            ErrorKind::PermissionDenied if port < FREE_PORTS_FROM => write!(
                f,
                "{address} cannot be listened on: a port below {FREE_PORTS_FROM} needs the right to it, \
                 AmbientCapabilities=CAP_NET_BIND_SERVICE in a unit of systemd"
            ),
            _ => write!(f, "{address} cannot be listened on: {error}"),
        }
    }
}

/// Why a file cannot be read.
pub(crate) struct Unread<'a>(pub(crate) &'a Path, pub(crate) &'a io::Error);

impl fmt::Display for Unread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, error) = self;
        write!(f, "the file {} cannot be read: {error}", path.display())?;
        match error.kind() {
            ErrorKind::PermissionDenied => {
                f.write_str("; give it, and its folders, to the user or group that reveille runs as")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_says_what_to_do() {
        let high: SocketAddr = "192.0.2.1:5061".parse().expect("an address");
        let low: SocketAddr = "192.0.2.1:443".parse().expect("an address");
        for (address, kind, words) in [
            (high, ErrorKind::AddrInUse, "in use by another program; this names it: ss -lntup 'sport = :5061'"),
            (high, ErrorKind::AddrNotAvailable, "192.0.2.1:5061 is no address of this machine"),
            (low, ErrorKind::PermissionDenied, "CAP_NET_BIND_SERVICE"),
            (high, ErrorKind::PermissionDenied, "192.0.2.1:5061 cannot be listened on: permission denied"),
        ] {
            let said = Unheard(address, &kind.into()).to_string();
            assert!(said.contains(words), "{said}");
        }
        let file = Path::new("edge.key");
        for (kind, words) in [
            (ErrorKind::PermissionDenied, "give it, and its folders, to the user"),
            (ErrorKind::NotFound, "the file edge.key cannot be read: entity not found"),
        ] {
            let said = Unread(file, &kind.into()).to_string();
            assert!(said.contains(words), "{said}");
        }
    }
}
