//! Mutual TLS among servers of one test: an authority that all of them trust, and a server that tells what came.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use reveille_sip::{Message, ResponseBuilder};
use reveille_sip_net::{ClientAuth, Flow, Handler, Identity, ListenLimits, Listener, TlsClient, TlsServer, TrustRoots};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::certs::{Ca, Leaf};

/// Issues certificates that everybody here trusts. What it makes fits together, so nothing of it fails.
#[derive(Debug)]
pub struct Office {
    ca: Ca,
    roots: TrustRoots,
}

impl Office {
    /// With an authority of its own.
    pub fn open() -> Self {
        Self::of("Test authority")
    }

    /// With an authority of its own that has this name.
    pub fn of(authority: &str) -> Self {
        let ca = Ca::new(authority).expect("an authority can be made");
        let roots = TrustRoots::from_pem(ca.pem().as_bytes()).expect("an authority is a root");
        Self { ca, roots }
    }

    /// A certificate for one host, and its key.
    pub fn identity(&self, name: &str) -> Identity {
        let made = self.ca.issue(Leaf::new(name, &[name])).expect("a certificate can be made");
        Identity::from_pem(made.chain_pem().as_bytes(), made.key_pem().as_bytes()).expect("they belong together")
    }

    /// A client that shows a certificate with this name.
    pub fn client(&self, name: &str) -> TlsClient {
        TlsClient::new(Some(&self.identity(name)), &self.roots)
    }

    /// A client that shows no certificate.
    pub fn nobody(&self) -> TlsClient {
        TlsClient::new(None, &self.roots)
    }

    /// A server that shows a certificate with this name.
    pub fn server(&self, name: &str, auth: ClientAuth) -> Arc<TlsServer> {
        Arc::new(TlsServer::new(&self.identity(name), auth, &self.roots).expect("its certificate can serve"))
    }
}

/// A server that tells what came, and answers only when the test does.
#[derive(Debug)]
pub struct Beyond {
    /// Where it listens.
    pub address: SocketAddr,
    came: mpsc::UnboundedReceiver<(Arc<Flow>, Message)>,
    stop: CancellationToken,
    /// `None` once it has stopped.
    task: Option<JoinHandle<()>>,
}

struct Tell(mpsc::UnboundedSender<(Arc<Flow>, Message)>);

impl Handler for Tell {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for message in batch.drain(..) {
            let _ = self.0.send((Arc::clone(flow), message));
        }
    }
}

impl Beyond {
    /// A server that shows a certificate with this name, and wants one.
    pub fn start(office: &Office, name: &str, at: SocketAddr) -> Self {
        Self::listening(office.server(name, ClientAuth::Required), at)
    }

    fn listening(server: Arc<TlsServer>, at: SocketAddr) -> Self {
        let listener = Listener::tls(at, server, ListenLimits::default()).expect("a free port");
        let (told, came) = mpsc::unbounded_channel();
        let (address, stop) = (listener.local_addr(), CancellationToken::new());
        let task = tokio::spawn(listener.run(Arc::new(Tell(told)), stop.clone()));
        Self { address, came, stop, task: Some(task) }
    }

    /// The same, which wants certificates of another authority than its own is from.
    pub fn trusting(office: &Office, authority: &Office, name: &str, at: SocketAddr) -> Self {
        let server = TlsServer::new(&office.identity(name), ClientAuth::Required, &authority.roots);
        Self::listening(Arc::new(server.expect("its certificate can serve")), at)
    }

    /// The next message, and where to answer it. Panics if none comes for long.
    pub async fn next(&mut self) -> (Arc<Flow>, Message) {
        timeout(PATIENCE, self.came.recv()).await.expect("a message in time").expect("the server runs")
    }

    /// Answers the next message with this status. Panics if none comes for long.
    pub async fn answer(&mut self, status: u16) -> Message {
        let (flow, message) = self.next().await;
        let mut out = BytesMut::new();
        ResponseBuilder::to(&mut out, &message, status).to_tag("beyond").finish().expect("a response");
        flow.send(out.freeze()).expect("the connection is there");
        message
    }

    /// Nothing has come that was not asked for.
    pub fn saw_nothing(&mut self) -> bool {
        self.came.try_recv().is_err()
    }

    /// It stops, and nobody listens at its address any more. Panics if it does not end by itself.
    pub async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            timeout(PATIENCE, task).await.expect("it stops").expect("it ends well");
        }
    }

    /// The end of it, as [`Self::stop`].
    pub async fn end(mut self) {
        self.stop().await;
    }
}

/// Far longer than anything here takes; only a broken test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
