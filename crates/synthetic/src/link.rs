//! The connection to a TURN server: datagrams, or messages cut out of a stream (RFC 8489 §6.2).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::{Buf as _, BytesMut};
use reveille_sip_net::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;

/// Bytes of a STUN header, after which its length counts.
const HEADER: usize = 20;
/// Bytes of one message, more than which no relay has to say here.
const MESSAGE_MAX: usize = 4096;

/// A connection to a TURN server.
pub(crate) enum Link {
    /// UDP, connected to the server's address.
    Datagrams(UdpSocket),
    /// TCP or TLS, with what has been read and not been used.
    Stream(Box<Wire>, BytesMut),
}

impl Link {
    /// Datagrams to one address.
    pub(crate) async fn datagrams(to: SocketAddr) -> io::Result<Self> {
        let socket = socket_toward(to).await?;
        socket.connect(to).await?;
        Ok(Self::Datagrams(socket))
    }

    /// A stream that was opened.
    pub(crate) fn stream(wire: Wire) -> Self {
        Self::Stream(Box::new(wire), BytesMut::new())
    }

    /// Whether what is sent arrives, or the connection is lost.
    pub(crate) const fn is_reliable(&self) -> bool {
        matches!(self, Self::Stream(..))
    }

    pub(crate) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagrams(socket) => socket.send(message).await.map(drop),
            Self::Stream(wire, _) => match &mut **wire {
                Wire::Plain(stream) => stream.write_all(message).await,
                Wire::Tls(stream) => {
                    stream.write_all(message).await?;
                    stream.flush().await
                }
            },
        }
    }

    /// The next message. May be given up and called again.
    pub(crate) async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Datagrams(socket) => {
                let mut buffer = vec![0; MESSAGE_MAX];
                let count = socket.recv(&mut buffer).await?;
                buffer.truncate(count);
                Ok(buffer)
            }
            Self::Stream(wire, buffer) => loop {
                if let Some(message) = cut(buffer)? {
                    return Ok(message);
                }
                let count = match &mut **wire {
                    Wire::Plain(stream) => stream.read_buf(buffer).await?,
                    Wire::Tls(stream) => stream.read_buf(buffer).await?,
                };
                if count == 0 {
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server has closed the connection"));
                }
            },
        }
    }
}

/// A socket of the same family as an address, on any port.
pub(crate) async fn socket_toward(address: SocketAddr) -> io::Result<UdpSocket> {
    match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await,
    }
}

/// One STUN message from the front of what was read, if it is whole.
fn cut(buffer: &mut BytesMut) -> io::Result<Option<Vec<u8>>> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    // RFC 8489 §5: the first two bits of a STUN message are zero; RFC 8656 §12.4: those of channel data are not, and
    // no channel was bound.
    if head[0] & 0xc0 != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "what the server sends is no STUN message"));
    }
    let length = HEADER + usize::from(u16::from_be_bytes([head[2], head[3]]));
    if length > MESSAGE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the server sends a message of {length} bytes"),
        ));
    }
    if buffer.len() < length {
        return Ok(None);
    }
    let message = buffer[..length].to_vec();
    buffer.advance(length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_wherever_the_stream_breaks() {
        let mut whole = vec![0, 1, 0, 4];
        whole.extend([7; 20]);
        let two = [whole.clone(), whole.clone()].concat();
        for at in 0..two.len() {
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for part in [&two[..at], &two[at..]] {
                buffer.extend_from_slice(part);
                while let Some(message) = cut(&mut buffer).unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, [whole.clone(), whole.clone()], "cut at {at}");
        }
        for bad in [&[0x40, 0, 0, 4][..], &[0, 1, 0xff, 0xff], b"HTTP/1.1 400"] {
            assert!(cut(&mut BytesMut::from(bad)).is_err(), "{bad:?}");
        }
    }
}
