//! Opening a connection, and saying why there is none.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::address::Address;
use super::error::RemoteError;
use super::{Live, root_of, tls};

pub(super) async fn open(address: &Address, tls: Option<&Arc<rustls::ClientConfig>>) -> Result<Live, RemoteError> {
    match (address, tls) {
        (Address::Socket(path), _) => {
            let stream = UnixStream::connect(path).await.map_err(|why| why_no_socket(path, &why))?;
            speak(address, stream).await
        }
        (Address::Https { host, port }, Some(tls)) => {
            let stream = TcpStream::connect((host.as_str(), *port))
                .await
                .map_err(|why| RemoteError::NotReached { address: address.to_string(), why: why.to_string() })?;
            let name = ServerName::try_from(host.clone()).map_err(|_| RemoteError::NotReached {
                address: address.to_string(),
                why: format!("{host} is no name"),
            })?;
            let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
            let stream = stream.map_err(|why| tls::why_not(address, host, &why))?;
            speak(address, stream).await
        }
        (Address::Https { .. }, None) => unreachable!("Remote::new makes a TLS configuration for https"),
    }
}

async fn speak(
    address: &Address,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<Live, RemoteError> {
    let opened = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await;
    let (sender, connection) =
        opened.map_err(|why| RemoteError::Broken { address: address.to_string(), why: root_of(&why) })?;
    let mut driver = JoinSet::new();
    driver.spawn(async {
        // How it ended is what the request under way is told.
        let _ = connection.await;
    });
    Ok(Live { sender, _driver: driver })
}

fn why_no_socket(path: &Path, why: &io::Error) -> RemoteError {
    let path = path.display().to_string();
    match why.kind() {
        io::ErrorKind::NotFound => RemoteError::NoSocket { path },
        io::ErrorKind::ConnectionRefused => RemoteError::NobodyListens { path },
        io::ErrorKind::PermissionDenied => RemoteError::SocketClosedToUs { path },
        _ => RemoteError::NotReached { address: path, why: why.to_string() },
    }
}
