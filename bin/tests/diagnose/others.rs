//! What answers at the partner's address in place of its edge: a door that slams, a web server, a SIP server that knows
//! nothing of push, and nobody at all.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reveille_sim::certs::Identity;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How long a client may be silent before its connection is given up.
const PATIENCE: Duration = Duration::from_secs(15);
/// What a web server says to what it does not understand.
const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Somebody who listens, for as long as this is not stopped.
pub(crate) struct Others {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    at: SocketAddr,
}

impl Others {
    /// Drops whoever connects.
    pub(crate) fn drop_connections(at: &str) -> Result<Self> {
        Self::listen(at, drop)
    }

    /// A web server without TLS.
    pub(crate) fn web(at: &str) -> Result<Self> {
        Self::listen(at, |mut stream| {
            let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(BAD_REQUEST));
        })
    }

    /// A web server with TLS and a certificate that is in order.
    pub(crate) fn web_over_tls(at: &str, identity: &Identity) -> Result<Self> {
        Self::over_tls(at, identity, |mut stream| {
            let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(BAD_REQUEST));
        })
    }

    /// A server with a certificate that is in order, who takes whatever he is sent and says nothing.
    pub(crate) fn silent(at: &str, identity: &Identity) -> Result<Self> {
        Self::over_tls(at, identity, |mut stream| while let Ok(1..) = stream.read(&mut [0; 4096]) {})
    }

    /// A SIP server with a certificate that is in order, who answers 200 to whatever it is asked.
    pub(crate) fn agreeable(at: &str, identity: &Identity) -> Result<Self> {
        Self::over_tls(at, identity, |mut stream| {
            let (mut read, mut buffer) = (String::new(), [0; 4096]);
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                read.push_str(&String::from_utf8_lossy(&buffer[..count]));
                while let Some(length) = whole(&read) {
                    let request: String = read.drain(..length).collect();
                    if stream.write_all(ok(&request).as_bytes()).and_then(|()| stream.flush()).is_err() {
                        return;
                    }
                }
            }
        })
    }

    fn over_tls(
        at: &str,
        identity: &Identity,
        serve: impl Fn(StreamOwned<ServerConnection, TcpStream>) + Send + 'static,
    ) -> Result<Self> {
        let config: Arc<ServerConfig> = Arc::new(identity.server_config(&[])?);
        Self::listen(at, move |stream| {
            if let Ok(tls) = ServerConnection::new(Arc::clone(&config)) {
                serve(StreamOwned::new(tls, stream));
            }
        })
    }

    /// Serves one connection after the other.
    fn listen(at: &str, serve: impl Fn(TcpStream) + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind(at)?;
        let (at, over) = (listener.local_addr()?, Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if told.load(Ordering::Relaxed) {
                    return;
                }
                if stream.set_read_timeout(Some(PATIENCE)).is_ok() {
                    serve(stream);
                }
            }
        });
        Ok(Self { over, thread, at })
    }

    pub(crate) fn stop(self) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        // It looks up when somebody comes.
        drop(TcpStream::connect(self.at)?);
        self.thread.join().ok().context("it ends")
    }
}

/// The bytes of the first request in `read`, once it is whole.
fn whole(read: &str) -> Option<usize> {
    let head = read.find("\r\n\r\n")? + 4;
    let length =
        read[..head].lines().find_map(|line| line.strip_prefix("Content-Length:"))?.trim().parse::<usize>().ok()?;
    Some(head + length).filter(|length| *length <= read.len())
}

/// The answer that says yes to everything (RFC 3261 §8.2.6.2: these fields are the request's).
fn ok(request: &str) -> String {
    let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let is_kept = |line: &&str| kept.iter().any(|name| line.starts_with(name));
    let lines: Vec<&str> = request.lines().filter(is_kept).collect();
    format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n"))
}

/// An address at which nothing is answered, not even that nobody is there: a listener whose queue is full.
pub(crate) struct Nobody {
    _listener: tokio::net::TcpListener,
    _queue: Vec<TcpStream>,
}

impl Nobody {
    pub(crate) fn at(at: &str) -> Result<Self> {
        let at: SocketAddr = at.parse()?;
        let _runtime = tokio::runtime::Handle::current().enter();
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(at)?;
        let listener = socket.listen(0)?;
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_millis(300)) {
            queue.push(stream);
            ensure!(queue.len() < 64, "the queue at {at} is never full");
        }
        Ok(Self { _listener: listener, _queue: queue })
    }
}
