//! The way through a proxy: CONNECT makes a tunnel to the provider (RFC 9110 §9.3.6), in which TLS is between us and the
//! provider as without one. The proxy sees names and sizes, and neither tokens nor keys.

use std::fmt;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A proxy of the organisation, and as whom we come to it. `Debug` shows no password.
#[derive(Clone, Eq, PartialEq)]
pub struct Proxy {
    host: Box<str>,
    port: u16,
    /// The credentials of `Proxy-Authorization`, as they stand there.
    basic: Option<Box<str>>,
}

impl Proxy {
    /// A proxy that asks for nothing.
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port, basic: None }
    }

    /// With user and password, `user:password` as in RFC 7617 §2; line ends around it do not count.
    #[must_use]
    pub fn with_credentials(mut self, user_and_password: &str) -> Self {
        self.basic = Some(STANDARD.encode(user_and_password.trim_end_matches(['\r', '\n'])).into());
        self
    }

    /// Its name.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Asks for a tunnel to `authority` on a fresh connection to the proxy.
    pub(super) async fn tunnel(&self, stream: &mut TcpStream, authority: &str) -> Result<(), ProxyFault> {
        let credentials =
            self.basic.as_ref().map(|basic| format!("Proxy-Authorization: Basic {basic}\r\n")).unwrap_or_default();
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{credentials}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let head = head(stream).await?;
        let status = status(&head).ok_or(ProxyFault::NotHttp)?;
        match status {
            // Whatever it says about a body does not count (RFC 9110 §9.3.6).
            200..=299 => Ok(()),
            407 => Err(ProxyFault::Credentials { given: self.basic.is_some() }),
            status => Err(ProxyFault::Refused { status }),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Why a proxy gives no tunnel.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyFault {
    #[error("it wants {} user name and password (407)", if *given { "another" } else { "a" })]
    Credentials { given: bool },
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it does not answer as a proxy does")]
    NotHttp,
    #[error("it refuses the tunnel with status {status}")]
    Refused { status: u16 },
}

/// Reads the answer up to its empty line. Nothing can follow: in a tunnel the client speaks first.
async fn head(stream: &mut TcpStream) -> Result<Vec<u8>, ProxyFault> {
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_MAX || stream.read_buf(&mut head).await? == 0 {
            return Err(ProxyFault::NotHttp);
        }
        // An answer that has bytes behind its head, as a refusal with a page does.
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            head.truncate(end + 4);
        }
    }
    Ok(head)
}

/// The status of an answer's first line.
fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let rest = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "))?;
    let (digits, behind) = rest.split_at_checked(3)?;
    if !matches!(behind.first(), None | Some(b' ')) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// More than any proxy says before the tunnel begins.
const HEAD_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What we sent and what came of it, where the proxy answers `answer` and closes.
    async fn talk(proxy: &Proxy, answer: &'static str) -> (String, Result<(), ProxyFault>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            let (mut guest, _) = listener.accept().await.unwrap();
            let asked = head(&mut guest).await.unwrap();
            guest.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(asked).unwrap()
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        let outcome = proxy.tunnel(&mut stream, "api.push.apple.com:443").await;
        (served.await.unwrap(), outcome)
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_by_name_and_with_our_credentials() {
        let plain = Proxy::new("proxy.example.net", 3128);
        let (asked, outcome) = talk(&plain, "HTTP/1.1 200 Connection established\r\nContent-Length: 5\r\n\r\n").await;
        assert_eq!(asked, "CONNECT api.push.apple.com:443 HTTP/1.1\r\nHost: api.push.apple.com:443\r\n\r\n");
        outcome.unwrap();
        let known = plain.with_credentials("Aladdin:open sesame\n");
        let (asked, outcome) = talk(&known, "HTTP/1.0 200\r\n\r\n").await;
        assert!(asked.contains("\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"), "{asked}");
        outcome.unwrap();
        assert_eq!(format!("{known:?}"), "Proxy { host: \"proxy.example.net\", port: 3128, .. }");
    }

    #[tokio::test]
    async fn each_refusal_is_a_sentence_of_its_own() {
        let (stranger, known) = (Proxy::new("p", 1), Proxy::new("p", 1).with_credentials("a:b"));
        for (proxy, answer, sentence) in [
            (
                &stranger,
                "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
                "it wants a user name and password (407)",
            ),
            (&known, "HTTP/1.1 407 No\r\n\r\n<html>", "it wants another user name and password (407)"),
            (
                &known,
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!!",
                "it refuses the tunnel with status 403",
            ),
            (&known, "SSH-2.0-OpenSSH\r\n\r\n", "it does not answer as a proxy does"),
            (&known, "HTTP/1.1 20\r\n\r\n", "it does not answer as a proxy does"),
            (&known, "HTTP/1.1 2000 OK\r\n\r\n", "it does not answer as a proxy does"),
            (&known, "", "it does not answer as a proxy does"),
        ] {
            let (_, outcome) = talk(proxy, answer).await;
            assert_eq!(outcome.unwrap_err().to_string(), sentence, "{answer}");
        }
    }
}
