//! A tiny registrar for the tests of the phone: it challenges, binds, and delivers what a test gives it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use reveille_sip::auth::{Algorithm, Credentials, Ha1, Server};
use reveille_sip::{Message, Method, Millis, Name, RequestBuilder, ResponseBuilder};
use reveille_sip_net::{
    CloseReason, Flow, Handler, ListenLimits, Listener, RequestError, Requests, TlsServer, Transport,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes; only a broken test waits for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
pub(super) const PASSWORD: &str = "a secret";

/// A registrar on loopback.
pub(super) struct Registrar {
    pub(super) address: SocketAddr,
    pub(super) desk: Arc<Desk>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Its state.
pub(super) struct Desk {
    server: Server,
    requests: Arc<Requests>,
    conduct: Mutex<Conduct>,
    seen: Mutex<Vec<Seen>>,
    seen_count: watch::Sender<usize>,
    flows: Mutex<Vec<Arc<Flow>>>,
}

/// What it does with a request.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Conduct {
    Friendly,
    /// Wants bodies to be covered.
    AuthInt,
    /// Gives the next nonce with each grant.
    NextNonce,
    /// Calls the first nonce stale.
    StaleOnce,
    /// Refuses those whom it knows, and says why.
    Refuse(u16),
    Silent,
}

/// One request as it came.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) request: Message,
    pub(super) algorithm: Option<Algorithm>,
}

impl Seen {
    pub(super) fn header(&self, name: Name) -> &str {
        self.request.header(name).unwrap_or_default()
    }
}

impl Registrar {
    pub(super) fn tcp() -> Self {
        Self::on(|address, limits| Listener::tcp(address, limits).unwrap())
    }

    pub(super) fn tls(server: &Arc<TlsServer>) -> Self {
        Self::on(|address, limits| Listener::tls(address, Arc::clone(server), limits).unwrap())
    }

    fn on(bind: impl Fn(SocketAddr, ListenLimits) -> Listener) -> Self {
        let listener = bind(([127, 0, 0, 1], 0).into(), ListenLimits::default());
        let address = listener.local_addr();
        let desk = Arc::new(Desk {
            server: Server::new("contoso.com", &Algorithm::ALL, &[7; 32], Millis(60_000)),
            requests: Requests::new(),
            conduct: Mutex::new(Conduct::Friendly),
            seen: Mutex::default(),
            seen_count: watch::Sender::new(0),
            flows: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let task = tokio::spawn(listener.run(Arc::clone(&desk) as Arc<dyn Handler>, stop.clone()));
        Self { address, desk, stop, task }
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("an end").expect("no panic");
    }
}

impl Desk {
    pub(super) fn conduct(&self, conduct: Conduct) {
        *self.conduct.lock() = conduct;
    }

    /// Requests of one method so far.
    pub(super) fn seen(&self, method: Method<'_>) -> Vec<Seen> {
        self.seen.lock().iter().filter(|seen| seen.request.method() == Some(method)).cloned().collect()
    }

    pub(super) async fn wait_seen(&self, count: usize) {
        let mut counted = self.seen_count.subscribe();
        timeout(PATIENCE, counted.wait_for(|so_far| *so_far >= count)).await.expect("in time").unwrap();
    }

    /// The connection opened last.
    pub(super) fn flow(&self) -> Arc<Flow> {
        Arc::clone(self.flows.lock().last().expect("a connection"))
    }

    /// Waits until the connection opened last is gone.
    pub(super) async fn gone(&self) {
        let flow = self.flow();
        timeout(PATIENCE, flow.closed()).await.expect("an end");
    }

    /// Sends a MESSAGE to the phone and tells the status of its answer.
    pub(super) async fn deliver(&self, call_id: &str, text: &str) -> Result<u16, RequestError> {
        let flow = self.flow();
        let ticket = self.requests.open(rand::random())?;
        let mut out = BytesMut::new();
        RequestBuilder::new(&mut out, Method::Message, "sip:bob@127.0.0.1")
            .header(Name::Via, format_args!("SIP/2.0/{} {};branch={}", flow.transport(), flow.local(), ticket.branch()))
            .header(Name::MaxForwards, "70")
            .header(Name::From, "\"Alice\" <sip:alice@contoso.com>;tag=1")
            .header(Name::To, "<sip:bob@contoso.com>")
            .header(Name::CallId, call_id)
            .header(Name::CSeq, "1 MESSAGE")
            .content("text/plain", text.as_bytes())
            .finish()
            .expect("a message");
        let answer = ticket.over(&flow, out.freeze(), PATIENCE).await?;
        Ok(answer.status().unwrap())
    }

    fn take(&self, flow: &Flow, request: &Message) {
        let values = request.headers(Name::Authorization).chain(request.headers(Name::ProxyAuthorization));
        let credentials = values.filter_map(|value| Credentials::parse(value).ok()).next();
        let algorithm = credentials.as_ref().map(|credentials| credentials.algorithm);
        let count = {
            let mut seen = self.seen.lock();
            seen.push(Seen { request: request.clone(), algorithm });
            seen.len()
        };
        let conduct = *self.conduct.lock();
        if conduct != Conduct::Silent {
            let proven = credentials.is_some_and(|credentials| self.proven(request, &credentials));
            match (proven, conduct) {
                (false, _) => self.challenge(flow, request, false),
                (true, Conduct::StaleOnce) => {
                    self.conduct(Conduct::Friendly);
                    self.challenge(flow, request, true);
                }
                (true, Conduct::Refuse(status)) => respond(flow, request, status, |response| {
                    response.header(Name::Warning, "399 home \"not today\"");
                }),
                (true, Conduct::NextNonce) => {
                    let nonce = self.server.nonce(Millis(1), rand::random());
                    grant(flow, request, Some(&format!("nextnonce=\"{nonce}\"")));
                }
                (true, _) => grant(flow, request, None),
            }
        }
        self.seen_count.send_replace(count);
    }

    fn proven(&self, request: &Message, credentials: &Credentials<'_>) -> bool {
        let stored = Ha1::of_password(credentials.algorithm, "bob", "contoso.com", PASSWORD);
        let method = request.method().unwrap();
        credentials.username == "bob"
            && Some(&*credentials.uri) == request.request_uri()
            && self.server.verify(credentials, method.as_str(), request.body_bytes(), &stored, Millis(1)).is_ok()
    }

    /// The weakest digest stands first, so that the phone has to choose.
    fn challenge(&self, flow: &Flow, request: &Message, stale: bool) {
        let nonce = self.server.nonce(Millis(1), rand::random());
        let auth_int = *self.conduct.lock() == Conduct::AuthInt;
        let mut challenges: Vec<_> = self.server.challenges(&nonce, stale).collect();
        challenges.reverse();
        challenges.iter_mut().for_each(|one| (one.qop_auth, one.qop_auth_int) = (!auth_int, auth_int));
        let register = request.method() == Some(Method::Register);
        let (status, name) = if register { (401, Name::WwwAuthenticate) } else { (407, Name::ProxyAuthenticate) };
        respond(flow, request, status, |response| {
            for challenge in &challenges {
                response.header(name, format_args!("{challenge}"));
            }
        });
    }
}

impl Handler for Desk {
    fn opened(&self, flow: &Arc<Flow>) {
        self.flows.lock().push(Arc::clone(flow));
    }

    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for message in batch.drain(..) {
            if message.is_request() {
                self.take(flow, &message);
            } else {
                self.requests.on_response(message);
            }
        }
    }

    fn closed(&self, flow: &Arc<Flow>, _why: &CloseReason) {
        self.requests.flow_gone(flow.id());
    }
}

/// Yes to REGISTER, among the bindings of another device; 202 to a message, unless it is for nobody. `info` is what the
/// client is told about its proof.
fn grant(flow: &Flow, request: &Message, info: Option<&str>) {
    let register = request.method() == Some(Method::Register);
    let name = if register { "Authentication-Info" } else { "Proxy-Authentication-Info" };
    let status = match request.request_uri() {
        _ if register => 200,
        Some("sip:nobody@contoso.com") => 404,
        _ => 202,
    };
    respond(flow, request, status, |response| {
        if let Some(info) = info {
            response.other_header(name, info);
        }
        if register && request.expires() != Some(0) {
            let contact = request.header(Name::Contact).unwrap();
            response
                .header(Name::Contact, "<sip:bob@192.0.2.1>;+sip.instance=\"<urn:uuid:other>\";expires=77")
                .header(Name::Contact, format_args!("{contact};expires=600"))
                .header(Name::FeatureCaps, "*;+sip.pns=\"apns\"");
        }
    });
}

fn respond(flow: &Flow, request: &Message, status: u16, more: impl FnOnce(&mut ResponseBuilder<'_>)) {
    assert_ne!(flow.transport(), Transport::Udp);
    let mut out = BytesMut::new();
    let mut response = ResponseBuilder::to(&mut out, request, status);
    more(response.to_tag("desk"));
    response.finish().expect("a response");
    drop(response);
    let _ = flow.send(out.freeze());
}
