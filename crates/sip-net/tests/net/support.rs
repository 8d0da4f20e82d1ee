//! Authorities, certificates, a handler that tells what it saw, and raw peers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType,
    SerialNumber, date_time_ymd,
};
use reveille_sip::{Fault, Message};
use reveille_sip_net::{
    BadMessage, ClientAuth, CloseReason, ConnectError, Flow, Handler, HandshakeRefusal, Identity, ListenLimits,
    Listener, Parcel, Senders, Target, TlsServer, Transport, TrustRoots,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes; only a broken test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Issues certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    /// Its own certificate and those above it short of the root; goes with what it issues.
    chain: String,
}

/// What a certificate should look like; the rest is usual.
#[derive(Default)]
pub(crate) struct Wish {
    pub(crate) dns: Vec<&'static str>,
    pub(crate) sip_uri: Option<&'static str>,
    pub(crate) years: Option<(i32, i32)>,
    pub(crate) purposes: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) serial: u8,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a root").pem();
        Self { issuer: Issuer::new(params, key), pem, chain: String::new() }
    }

    /// An authority that this one vouches for; its serial number is like those of other certificates.
    pub(crate) fn under(&self, name: &str, serial: u8) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(SerialNumber::from_slice(&[42, serial]));
        let key = KeyPair::generate().expect("a key");
        let pem = params.signed_by(&key, &self.issuer).expect("an authority").pem();
        Self { issuer: Issuer::new(params, key), chain: pem.clone() + &self.chain, pem }
    }

    pub(crate) fn roots(&self) -> TrustRoots {
        TrustRoots::from_pem(self.pem.as_bytes()).expect("a root")
    }

    pub(crate) fn issue(&self, wish: &Wish) -> Identity {
        let (chain, key) = self.issue_pem(wish);
        Identity::from_pem(chain.as_bytes(), key.as_bytes()).expect("an identity")
    }

    /// Chain and key.
    pub(crate) fn issue_pem(&self, wish: &Wish) -> (String, String) {
        let mut params = CertificateParams::default();
        let subject = wish.dns.first().copied().or(wish.sip_uri).unwrap_or("nobody");
        params.distinguished_name.push(DnType::CommonName, subject);
        let dns = wish.dns.iter().map(|name| SanType::DnsName((*name).try_into().expect("a name")));
        let uris = wish.sip_uri.iter().map(|uri| SanType::URI((*uri).try_into().expect("a URI")));
        params.subject_alt_names = dns.chain(uris).collect();
        let (from, to) = wish.years.unwrap_or((2020, 2090));
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        params.extended_key_usages.clone_from(&wish.purposes);
        params.serial_number = Some(SerialNumber::from_slice(&[42, wish.serial]));
        let key = KeyPair::generate().expect("a key");
        let pem = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        (pem + &self.chain, key.serialize_pem())
    }

    /// An identity for one DNS name.
    pub(crate) fn named(&self, name: &'static str) -> Identity {
        self.issue(&Wish { dns: vec![name], ..Wish::default() })
    }

    /// A list that takes back the certificate with that serial.
    pub(crate) fn revoking(&self, serial: u8) -> String {
        self.list(&[serial], (2021, 2090)).pem().expect("PEM")
    }

    /// A list that takes back the certificates with these serials, made and to be followed in these years.
    pub(crate) fn list(&self, serials: &[u8], (made, due): (i32, i32)) -> CertificateRevocationList {
        let revoked = |serial: &u8| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&[42, *serial]),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(made, 1, 1),
            next_update: date_time_ymd(due, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("a list")
    }
}

/// What a handler saw.
#[derive(Debug)]
pub(crate) enum Seen {
    Opened(Arc<Flow>),
    Batch(Arc<Flow>, Vec<Message>),
    Bad(Fault),
    Closed(CloseReason),
    Refused(HandshakeRefusal),
}

/// Tells everything to a channel; answers requests when asked to.
pub(crate) struct Witness {
    seen: mpsc::UnboundedSender<Seen>,
    answers: bool,
}

impl Witness {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Seen>) {
        Self::with(false)
    }

    pub(crate) fn answering() -> (Arc<Self>, mpsc::UnboundedReceiver<Seen>) {
        Self::with(true)
    }

    fn with(answers: bool) -> (Arc<Self>, mpsc::UnboundedReceiver<Seen>) {
        let (seen, sight) = mpsc::unbounded_channel();
        (Arc::new(Self { seen, answers }), sight)
    }

    fn tell(&self, seen: Seen) {
        let _ = self.seen.send(seen);
    }
}

impl Handler for Witness {
    fn opened(&self, flow: &Arc<Flow>) {
        self.tell(Seen::Opened(flow.clone()));
    }

    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        if self.answers {
            for _ in batch.iter().filter(|message| message.is_request()) {
                let _ = flow.send(ok());
            }
        }
        self.tell(Seen::Batch(flow.clone(), std::mem::take(batch)));
    }

    fn bad(&self, flow: &Arc<Flow>, bad: BadMessage) {
        bad.answer(flow);
        self.tell(Seen::Bad(bad.fault));
    }

    fn closed(&self, _flow: &Arc<Flow>, why: &CloseReason) {
        self.tell(Seen::Closed(why.clone()));
    }

    fn refused(&self, _remote: SocketAddr, refusal: &HandshakeRefusal) {
        self.tell(Seen::Refused(refusal.clone()));
    }
}

/// Panics over message 13, and over nothing else.
pub(crate) struct Superstitious(Arc<Witness>);

impl Superstitious {
    pub(crate) fn answering() -> (Arc<Self>, mpsc::UnboundedReceiver<Seen>) {
        let (witness, seen) = Witness::answering();
        (Arc::new(Self(witness)), seen)
    }
}

impl Handler for Superstitious {
    fn opened(&self, flow: &Arc<Flow>) {
        self.0.opened(flow);
    }

    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        assert!(!numbers(batch).contains(&13), "it cannot be handled");
        self.0.messages(flow, batch);
    }

    fn closed(&self, flow: &Arc<Flow>, why: &CloseReason) {
        self.0.closed(flow, why);
    }
}

/// The fates of parcels.
#[derive(Debug, PartialEq)]
pub(crate) enum Fate {
    Sent(u64),
    Failed(u64, ConnectError),
}

pub(crate) struct Fates(mpsc::UnboundedSender<Fate>);

impl Fates {
    pub(crate) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Fate>) {
        let (told, fates) = mpsc::unbounded_channel();
        (Arc::new(Self(told)), fates)
    }
}

impl Senders for Fates {
    fn failed(&self, token: u64, error: &ConnectError) {
        let _ = self.0.send(Fate::Failed(token, error.clone()));
    }

    fn sent(&self, token: u64, _flow: &Arc<Flow>) {
        let _ = self.0.send(Fate::Sent(token));
    }
}

/// A listener at work.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(
        listener: Listener,
        (handler, seen): (Arc<impl Handler>, mpsc::UnboundedReceiver<Seen>),
    ) -> Self {
        let stop = CancellationToken::new();
        let address = listener.local_addr();
        let task = tokio::spawn(listener.run(handler, stop.clone()));
        Self { address, seen, stop, task }
    }

    pub(crate) fn tcp(limits: ListenLimits) -> Self {
        Self::start(Listener::tcp(loopback(), limits).expect("a port"), Witness::answering())
    }

    pub(crate) fn tls(server: Arc<TlsServer>, limits: ListenLimits) -> Self {
        Self::start(Listener::tls(loopback(), server, limits).expect("a port"), Witness::answering())
    }

    pub(crate) async fn next(&mut self) -> Seen {
        within(self.seen.recv()).await.expect("the handler lives")
    }

    pub(crate) async fn opened(&mut self) -> Arc<Flow> {
        loop {
            if let Seen::Opened(flow) = self.next().await {
                return flow;
            }
        }
    }

    pub(crate) async fn refused(&mut self) -> HandshakeRefusal {
        loop {
            if let Seen::Refused(refusal) = self.next().await {
                return refusal;
            }
        }
    }

    pub(crate) async fn closed(&mut self) -> CloseReason {
        loop {
            if let Seen::Closed(why) = self.next().await {
                return why;
            }
        }
    }

    /// Messages in their order, and in how many batches they came.
    pub(crate) async fn messages(&mut self, count: usize) -> (Vec<Message>, usize) {
        let (mut messages, mut batches) = (Vec::new(), 0);
        while messages.len() < count {
            if let Seen::Batch(_, batch) = self.next().await {
                batches += 1;
                messages.extend(batch);
            }
        }
        (messages, batches)
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        within(self.task).await.expect("the listener ends well");
    }
}

pub(crate) fn server(identity: &Identity, client_auth: ClientAuth, roots: &TrustRoots) -> Arc<TlsServer> {
    Arc::new(TlsServer::new(identity, client_auth, roots).expect("a server"))
}

pub(crate) fn target(name: &str, address: SocketAddr, transport: Transport) -> Target {
    Target::at(name, address, transport)
}

pub(crate) fn parcel(number: u64) -> Parcel {
    Parcel::new(number, request(number))
}

/// A sound MESSAGE whose CSeq is `number`.
pub(crate) fn request(number: u64) -> Bytes {
    Bytes::from(format!(
        "MESSAGE sip:bob@contoso.com SIP/2.0\r\nVia: SIP/2.0/TLS a.example;rport;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@contoso.com>;tag=1\r\nTo: <sip:bob@contoso.com>\r\n\
         Call-ID: c{number}\r\nCSeq: {number} MESSAGE\r\nContent-Length: 5\r\n\r\nhello"
    ))
}

pub(crate) fn ok() -> Bytes {
    Bytes::from_static(
        b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS a.example;branch=z9hG4bK1\r\nFrom: <sip:alice@contoso.com>;tag=1\r\n\
          To: <sip:bob@contoso.com>;tag=2\r\nCall-ID: c\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n",
    )
}

pub(crate) fn numbers(messages: &[Message]) -> Vec<u32> {
    messages.iter().map(|message| message.cseq().expect("a CSeq").number).collect()
}

pub(crate) fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it happens in time")
}

/// A peer without any of our code.
pub(crate) struct Raw<S = TcpStream>(pub(crate) S);

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(within(TcpStream::connect(address)).await.expect("a connection"))
    }
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Raw<S> {
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within(self.0.write_all(bytes)).await.expect("room to write");
        within(self.0.flush()).await.expect("room to write");
    }

    pub(crate) async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        within(self.0.read_exact(&mut bytes)).await.expect("bytes to read");
        bytes
    }

    /// Everything until the peer ends the connection, in whichever way.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = within(self.0.read_to_end(&mut bytes)).await;
        bytes
    }
}
