//! A loop around the h2 crate: one connection, one thread, one body for all, nothing kept, no verdict looked at but
//! its status. `cargo xtask peers` runs it beside what others wrote.
//!
//! Needs APNS_ADDRESS, APNS_CA (file), APNS_TOPIC, APNS_JWT, APNS_BODY (file), COUNT and IN_FLIGHT. Prints one JSON
//! object: how many were accepted, and the seconds and the processor's microseconds that it took.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::client::SendRequest;
use http::{HeaderValue, Request};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(send_all())
}

async fn send_all() -> Result<()> {
    let (count, in_flight): (usize, usize) = (need("COUNT")?.parse()?, need("IN_FLIGHT")?.parse()?);
    let mut connection = connect().await?;
    let body = Bytes::from(std::fs::read(need("APNS_BODY")?)?);
    let template = template()?;
    // The first answer shows that we are let in, and raises the provider's limit of streams.
    ensure!(
        push(&mut connection, &template, &body, 0).await?.await?.status() == 200,
        "the first push was not accepted"
    );

    let (begun, cpu) = (Instant::now(), cpu_us()?);
    let (mut sent, mut accepted) = (0, 0);
    let mut answers = FuturesUnordered::new();
    while accepted < count {
        while sent < count && answers.len() < in_flight {
            sent += 1;
            answers.push(push(&mut connection, &template, &body, sent).await?);
        }
        let answer = answers.next().await.context("an answer is awaited")??;
        ensure!(answer.status() == 200, "a push was answered {}", answer.status());
        accepted += 1;
    }
    let told = serde_json::json!({
        "accepted": accepted, "seconds": begun.elapsed().as_secs_f64(), "cpu_us": cpu_us()? - cpu,
    });
    writeln!(std::io::stdout(), "{told}")?;
    Ok(())
}

async fn connect() -> Result<SendRequest<Bytes>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(need("APNS_CA")?)? {
        roots.add(certificate?)?;
    }
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let address: SocketAddr = need("APNS_ADDRESS")?.parse()?;
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from("localhost")?, stream).await?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    // It ends with the process.
    tokio::spawn(connection);
    Ok(sender)
}

/// What all requests have in common.
fn template() -> Result<Request<()>> {
    let mut authorization = HeaderValue::try_from(format!("bearer {}", need("APNS_JWT")?))?;
    authorization.set_sensitive(true);
    Ok(Request::post("https://localhost/")
        .header("authorization", authorization)
        .header("apns-topic", need("APNS_TOPIC")?)
        .header("apns-push-type", "alert")
        .header("apns-priority", "10")
        .header("apns-expiration", "0")
        .body(())?)
}

/// Begins one push, as soon as the provider has room for it.
async fn push(
    connection: &mut SendRequest<Bytes>,
    template: &Request<()>,
    body: &Bytes,
    number: usize,
) -> Result<h2::client::ResponseFuture> {
    let mut request = template.clone();
    *request.uri_mut() = format!("https://localhost/3/device/{number:064x}").parse()?;
    std::future::poll_fn(|context| connection.poll_ready(context)).await?;
    let (answer, mut stream) = connection.send_request(request, false)?;
    stream.send_data(body.clone(), true)?;
    Ok(answer)
}

/// What this process has used of a processor, in microseconds: it has one thread (proc(5), schedstat).
fn cpu_us() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    let nanoseconds: u64 = text.split(' ').next().context("schedstat is empty")?.parse()?;
    Ok(nanoseconds / 1000)
}

fn need(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("the environment variable {name} is not set"))
}
