//! What a connection that is idle costs. In a process of its own, whose memory it measures.
//!
//! REVEILLE_IDLE=8000 measures with so many connections instead of 500.

mod door;

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reveille_sip_net::{ClientAuth, Identity, ListenLimits, Listener, TlsClient, TlsServer, TrustRoots};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpStream;

use door::{Open, loopback, within};

/// A server and a client that trust each other, both with certificates.
fn both_sides() -> (Arc<TlsServer>, TlsClient) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("a root").pem();
    let issuer = Issuer::new(params, key);
    let roots = TrustRoots::from_pem(pem.as_bytes()).expect("a root");
    let identity = |name: &str| {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let pem = params.signed_by(&key, &issuer).expect("a certificate").pem();
        Identity::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes()).expect("an identity")
    };
    let server = TlsServer::new(&identity("edge.example"), ClientAuth::Required, &roots).expect("a server");
    (Arc::new(server), TlsClient::new(Some(&identity("partner.example")), &roots))
}

/// Bytes of memory that this process has now.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[tokio::test]
#[allow(clippy::print_stderr, reason = "the figure is what the measurement is for")]
async fn an_idle_tls_connection_costs_few_bytes() {
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).expect("all that may be had");
    let count: usize = std::env::var("REVEILLE_IDLE").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    let (server, client) = both_sides();
    let listener = Listener::tls(loopback(), server, ListenLimits::default()).expect("a port");
    let address = listener.local_addr();
    let mut open = Open::new(listener);
    let mut kept: Vec<TcpStream> = Vec::new();
    // The first ones pay for what all share.
    let warm = 100;
    let mut before = 0;
    for number in 0..warm + count {
        if number == warm {
            before = resident_bytes();
        }
        let stream = within(TcpStream::connect(address)).await.expect("a connection");
        let (stream, _) = within(client.connect(stream, "edge.example")).await.expect("a handshake");
        within(open.flows.recv()).await.expect("a flow");
        // The client's own state is not the server's cost; its socket stays open.
        kept.push(stream.into_inner().0);
    }
    let each = resident_bytes().saturating_sub(before) / count as u64;
    eprintln!("{count} idle TLS connections: {each} bytes each");
    assert!(each <= IDLE_BYTES_MAX, "{each} bytes for each of {count} idle connections");
    drop(kept);
    open.close().await;
}

/// What ARCHITECTURE.md states.
const IDLE_BYTES_MAX: u64 = 24 * 1024;
