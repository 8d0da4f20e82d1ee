//! Where a server is asked: a socket of this machine, or an `https://` URL.

use std::fmt;
use std::path::PathBuf;

use hyper::Uri;

/// Where a server is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    /// A unix socket of this machine. The server knows by it which user asks.
    Socket(PathBuf),
    /// Another machine's admin API, or this one's over TLS.
    Https {
        /// The name that its certificate must hold.
        host: String,
        /// 443 unless the URL says otherwise.
        port: u16,
    },
}

/// Why a URL names no admin API.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressError {
    /// In clear.
    #[error("{url} is not encrypted, and a password or token would be sent along: begin it with https://")]
    InClear {
        /// What was given.
        url: String,
    },
    /// No URL.
    #[error("{url} is not the URL of a server: it looks like https://reveille.contoso.com:8443")]
    NotAUrl {
        /// What was given.
        url: String,
    },
    /// It goes on after the host.
    #[error("{url} goes on behind the host with {path}: give only https://HOST:PORT, the paths below it are known")]
    WithPath {
        /// What was given.
        url: String,
        /// What is too much.
        path: String,
    },
}

impl Address {
    /// The server at `https://HOST[:PORT]`.
    pub fn of_url(url: &str) -> Result<Self, AddressError> {
        let not_a_url = || AddressError::NotAUrl { url: without_userinfo(url) };
        let uri: Uri = url.parse().map_err(|_| not_a_url())?;
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") => return Err(AddressError::InClear { url: without_userinfo(url) }),
            _ => return Err(not_a_url()),
        }
        let authority = uri.authority().ok_or_else(not_a_url)?;
        // A password in a URL would be seen by every user of the machine.
        if authority.as_str().contains('@') {
            return Err(not_a_url());
        }
        if !matches!(uri.path_and_query().map(|it| it.as_str()), None | Some("/" | "")) {
            return Err(AddressError::WithPath { url: url.to_owned(), path: uri.path().to_owned() });
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        Ok(Self::Https { host: host.to_owned(), port: authority.port_u16().unwrap_or(443) })
    }

    /// What stands in the Host header.
    pub(super) fn host(&self) -> String {
        match self {
            // The server takes this name on its socket only; a page of a browser cannot reach that.
            Self::Socket(_) => "localhost".into(),
            Self::Https { host, port: 443 } => bracketed(host),
            Self::Https { host, port } => format!("{}:{port}", bracketed(host)),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Https { .. } => write!(f, "https://{}", self.host()),
        }
    }
}

/// RFC 3986 §3.2.2: an IPv6 address stands in brackets.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn without_userinfo(url: &str) -> String {
    match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => format!("{}…@{}", &url[..scheme + 3], &url[at + 1..]),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port_under_tls_and_nothing_else() {
        let https = |host: &str, port| Ok(Address::Https { host: host.into(), port });
        for (url, expected) in [
            ("https://reveille.contoso.com:8443", https("reveille.contoso.com", 8443)),
            ("https://reveille.contoso.com/", https("reveille.contoso.com", 443)),
            ("https://[::1]:8443", https("::1", 8443)),
            ("http://reveille.contoso.com", Err("is not encrypted")),
            ("reveille.contoso.com", Err("looks like https://")),
            ("ftp://reveille.contoso.com", Err("looks like https://")),
            ("https://admin:secret-9@contoso.com", Err("looks like https://")),
            ("https://contoso.com/admin/v1", Err("goes on behind the host with /admin/v1")),
        ] {
            match (Address::of_url(url), expected) {
                (Ok(read), Ok(expected)) => assert_eq!(read, expected, "{url}"),
                (Err(said), Err(part)) => {
                    assert!(said.to_string().contains(part) && !said.to_string().contains("secret-9"), "{url}: {said}");
                }
                (read, expected) => panic!("{url}: {read:?} and not {expected:?}"),
            }
        }
        assert_eq!(Address::of_url("https://[::1]:8443").unwrap().to_string(), "https://[::1]:8443");
    }
}
