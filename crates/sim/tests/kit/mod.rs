//! What the tests of both simulators need: signatures, and an HTTP/2 client that others wrote.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use h2::client::SendRequest;
use reveille_sim::certs::{ApnsKey, Ca, Identity, Leaf};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority and a certificate for loopback.
pub(crate) fn loopback() -> (Ca, Identity) {
    let ca = Ca::new("Simulator test authority").unwrap();
    let identity = ca.issue(Leaf::new("localhost", &["localhost", "127.0.0.1"])).unwrap();
    (ca, identity)
}

pub(crate) async fn tls(addr: SocketAddr, ca: &Ca, alpn: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    let connector = TlsConnector::from(Arc::new(ca.client_config(alpn).unwrap()));
    let tcp = TcpStream::connect(addr).await?;
    connector.connect(ServerName::from(addr.ip()), tcp).await
}

/// An HTTP/2 connection by the `h2` crate.
pub(crate) struct Client {
    pub(crate) requests: SendRequest<Bytes>,
    /// Ends with the connection; its error tells of GOAWAY.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr, ca: &Ca) -> Self {
        Self::try_connect(addr, ca).await.unwrap()
    }

    pub(crate) async fn try_connect(addr: SocketAddr, ca: &Ca) -> std::io::Result<Self> {
        let stream = tls(addr, ca, &[b"h2"]).await?;
        let mut builder = h2::client::Builder::new();
        builder.initial_max_send_streams(1);
        let (requests, connection) = builder.handshake(stream).await.map_err(std::io::Error::other)?;
        Ok(Self { requests, connection: tokio::spawn(connection) })
    }

    /// Sends a request and waits for its answer; an error is the stream's or the connection's.
    pub(crate) async fn send(&self, request: http::Request<()>, body: &[u8]) -> Result<Reply, h2::Error> {
        self.begin(request, body).await?.reply().await
    }

    /// Sends a request; its answer is awaited later.
    pub(crate) async fn begin(&self, request: http::Request<()>, body: &[u8]) -> Result<Pending, h2::Error> {
        let mut requests = self.requests.clone().ready().await?;
        let (response, mut stream) = requests.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true)?;
        }
        Ok(Pending { response, stream })
    }
}

pub(crate) struct Pending {
    pub(crate) response: h2::client::ResponseFuture,
    pub(crate) stream: h2::SendStream<Bytes>,
}

impl Pending {
    pub(crate) async fn reply(self) -> Result<Reply, h2::Error> {
        let (head, mut body) = self.response.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: bytes })
    }
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// `authorization` for APNs.
pub(crate) fn bearer(key: &ApnsKey, team_id: &str, key_id: &str, iat: u64) -> String {
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.p8_pem.as_bytes()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der()).unwrap();
    let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"ES256","kid":"{key_id}"}}"#));
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"iss":"{team_id}","iat":{iat}}}"#));
    let signed = format!("{header}.{claims}");
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A JWT signed with the private key of a Google key file.
pub(crate) fn assertion(key_file: &str, claims: &Value) -> String {
    let file: Value = serde_json::from_str(key_file).unwrap();
    let pem = file["private_key"].as_str().unwrap();
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let pair = rsa::KeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}
