//! A home at work on loopback, clients without manners of their own, and whoever plays its edge.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use reveille_core::settings::Snapshot;
use reveille_core::{Aor, Clock, Timestamp, TokenKey};
use reveille_home::{Config, Home, Listeners, User, Users};
use reveille_sim::office::{Beyond, Office};
use reveille_sim::phone::RawSip;
use reveille_sip::auth::{Algorithm, Challenge, Covered, Ha1, answer};
use reveille_sip::{Limits, Message, Name, NameAddr, parse_datagram};
use reveille_sip_net::{ClientAuth, Flow, ListenLimits, Listener, Target, Transport};
use reveille_store::SqliteHome;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes; only a broken test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The users, each with his name as password.
const USERS: [&str; 3] = ["alice", "bob", "mallory"];

struct Wall;

impl Clock for Wall {
    #[allow(clippy::disallowed_methods, reason = "a test may look at the clock on the wall")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(since.as_millis() as u64)
    }
}

/// A home, and its edge as the test plays it.
pub(crate) struct Rig {
    pub(crate) tcp: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) edge: Edge,
    internal: SocketAddr,
    office: Office,
    folder: PathBuf,
    stop: CancellationToken,
    home: JoinHandle<()>,
    _settings: watch::Sender<Arc<Snapshot>>,
}

/// What the edge hears from home, and its own way in.
pub(crate) struct Edge {
    pub(crate) inward: RawSip,
    hears: Beyond,
}

impl Edge {
    /// The next message from home, and where to answer it.
    pub(crate) async fn next(&mut self) -> (Arc<Flow>, Message) {
        self.hears.next().await
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::keyed(None).await
    }

    /// A home that signs its tokens with this key.
    pub(crate) async fn keyed(token_key: Option<TokenKey>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let unique = format!("reveille-home-calls-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&folder).unwrap();
        let office = Office::open();
        let (stop, limits, any) = (CancellationToken::new(), ListenLimits::default(), ([127, 0, 0, 1], 0).into());

        let hears = Beyond::start(&office, "edge.contoso.com", any);

        let tcp = Listener::tcp(any, limits).unwrap();
        // So short that whoever is silent between two datagrams is forgotten.
        let brief = ListenLimits { idle_timeout: Duration::from_millis(1), ..limits };
        let udp = Listener::udp(tcp.local_addr(), brief).unwrap();
        let tls = Listener::tls(any, office.server("home.contoso.com", ClientAuth::Optional), limits).unwrap();
        let internal = Listener::tls(any, office.server("home.contoso.com", ClientAuth::Required), limits).unwrap();
        let (tcp_at, tls_at, internal_at) = (tcp.local_addr(), tls.local_addr(), internal.local_addr());
        let config = Config {
            name: "home.contoso.com".parse().unwrap(),
            site: "x".into(),
            grace: Duration::from_secs(2),
            edge: Target::at("edge.contoso.com", hears.address, Transport::Tls),
            edge_also: Vec::new(),
            also_named: Vec::new(),
            trusted_proxies: vec!["proxy.contoso.com".parse().unwrap()],
            digests: vec![Algorithm::Md5, Algorithm::Sha256],
            token_key,
        };
        let aor = |user: &str| Aor::new(user, "contoso.com".parse().unwrap()).unwrap();
        let users = USERS.map(|user| (aor(user), User::with_password(&aor(user), user)));
        let users = Users::new("contoso.com".parse().unwrap(), users);
        let store = Arc::new(SqliteHome::open(&folder.join("home.db")).unwrap());
        let (settings, watched) = watch::channel(Arc::new(Snapshot::default()));
        let home = Home::new(config, users, store, watched, Arc::new(Wall)).unwrap();
        let client = Arc::new(office.client("home.contoso.com"));
        let listeners = Listeners { clients: vec![tcp, udp, tls], internal };
        let home = tokio::spawn(home.run(listeners, client, stop.clone()));
        let inward = RawSip::tls(internal_at, &office.client("edge.contoso.com"), "home.contoso.com").await.unwrap();
        let (internal, edge) = (internal_at, Edge { inward, hears });
        Self { tcp: tcp_at, tls: tls_at, edge, internal, office, folder, stop, home, _settings: settings }
    }

    /// A proxy that has authenticated its users itself, speaking for one of them.
    pub(crate) async fn proxy(&self, user: &'static str) -> Client {
        let tls = self.office.client("proxy.contoso.com");
        Client::over(RawSip::tls(self.internal, &tls, "home.contoso.com").await.unwrap(), user, "TLS")
    }

    /// A client of one user over TCP, which has not registered.
    pub(crate) async fn client(&self, user: &'static str) -> Client {
        Client::over(RawSip::tcp(self.tcp).await.unwrap(), user, "TCP")
    }

    /// The same over UDP.
    pub(crate) async fn datagram_client(&self, user: &'static str) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.tcp).await.unwrap();
        let local = socket.local_addr().unwrap();
        Client { link: Link::Datagrams(socket), local, user, transport: "UDP", via: String::new(), branch: 0 }
    }

    /// The same over TLS.
    pub(crate) async fn secure_client(&self, user: &'static str) -> Client {
        let tls = self.office.nobody();
        Client::over(RawSip::tls(self.tls, &tls, "home.contoso.com").await.unwrap(), user, "TLS")
    }

    /// Stops home; it must end by itself.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        timeout(PATIENCE, self.home).await.expect("home ends in time").unwrap();
        self.edge.hears.stop().await;
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// What a client speaks over.
enum Link {
    Stream(Box<RawSip>),
    Datagrams(UdpSocket),
}

/// One connection of one user's client.
pub(crate) struct Client {
    link: Link,
    local: SocketAddr,
    pub(crate) user: &'static str,
    transport: &'static str,
    /// The Via of the latest request, for CANCEL and ACK.
    pub(crate) via: String,
    branch: u32,
}

impl Client {
    fn over(raw: RawSip, user: &'static str, transport: &'static str) -> Self {
        let local = raw.local();
        Self { link: Link::Stream(Box::new(raw)), local, user, transport, via: String::new(), branch: 0 }
    }

    /// Where this client says that it is reached.
    pub(crate) fn contact(&self) -> String {
        format!("sip:{}@{};transport={}", self.user, self.local, self.transport.to_lowercase())
    }

    /// Writes a request with these header fields; Via and Max-Forwards come by themselves.
    pub(crate) fn request(&mut self, method: &str, uri: &str, fields: &str) -> String {
        self.branch += 1;
        let (local, branch) = (self.local, self.branch);
        self.via = format!("SIP/2.0/{} {local};branch=z9hG4bK{}{branch}x{}", self.transport, self.user, local.port());
        format!("{method} {uri} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\n{fields}Content-Length: 0\r\n\r\n", self.via)
    }

    pub(crate) async fn send(&mut self, text: &str) {
        match &mut self.link {
            Link::Stream(raw) => raw.send(text, PATIENCE).await.unwrap(),
            Link::Datagrams(socket) => assert_eq!(socket.send(text.as_bytes()).await.unwrap(), text.len()),
        }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Message {
        match &mut self.link {
            Link::Stream(raw) => raw.next(PATIENCE).await.unwrap(),
            Link::Datagrams(socket) => {
                let mut datagram = vec![0; 65_536];
                let length = timeout(PATIENCE, socket.recv(&mut datagram)).await.expect("a datagram in time").unwrap();
                parse_datagram(datagram[..length].to_vec().into(), &Limits::default()).unwrap()
            }
        }
    }

    /// The next message, which must be this: `INVITE`, or a status; 100 is passed over.
    pub(crate) async fn expect(&mut self, what: &str) -> Message {
        loop {
            let message = self.next().await;
            let said = said(&message);
            if said != "100" || what == "100" {
                assert_eq!(said, what, "{} got:\n{}", self.user, text(&message));
                return message;
            }
        }
    }

    /// Sends a request, answers the challenge, and gives the next message that is not 100.
    pub(crate) async fn ask(&mut self, method: &str, uri: &str, fields: &str) -> Message {
        let first = self.request(method, uri, fields);
        self.send(&first).await;
        let challenged = loop {
            let message = self.next().await;
            if message.status() != Some(100) {
                break message;
            }
        };
        let (name, proof) = match challenged.status() {
            Some(401) => (Name::WwwAuthenticate, "Authorization"),
            Some(407) => (Name::ProxyAuthenticate, "Proxy-Authorization"),
            _ => return challenged,
        };
        if method == "INVITE" {
            self.ack_refusal(uri, &challenged).await;
        }
        let credentials = self.prove(&challenged, name, method, uri);
        let again =
            self.request(method, uri, &format!("{fields}{proof}: {credentials}\r\n")).replace("CSeq: 1 ", "CSeq: 2 ");
        self.send(&again).await;
        loop {
            let message = self.next().await;
            if message.status() != Some(100) {
                return message;
            }
        }
    }

    pub(crate) fn prove(&self, response: &Message, name: Name, method: &str, uri: &str) -> String {
        let challenge = Challenge::parse(response.header(name).unwrap()).unwrap();
        let ha1 = Ha1::of_password(challenge.algorithm, self.user, &challenge.realm, self.user);
        answer(&challenge, self.user, &ha1, Covered { method, uri, body: b"" }, "cnonce", 1).unwrap()
    }

    /// The ACK of a refusal (RFC 3261 §17.1.1.3).
    pub(crate) async fn ack_refusal(&mut self, uri: &str, refusal: &Message) {
        let ack = format!(
            "ACK {uri} SIP/2.0\r\nVia: {}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} ACK\r\nContent-Length: 0\r\n\r\n",
            self.via,
            refusal.header(Name::From).unwrap(),
            refusal.header(Name::To).unwrap(),
            refusal.call_id().unwrap(),
            refusal.cseq().unwrap().number,
        );
        self.send(&ack).await;
    }

    /// Registers this connection as a device of the user.
    pub(crate) async fn register(&mut self, device: &str, more: &str) -> Message {
        let user = self.user;
        let contact = format!("<{}{more}>;+sip.instance=\"<urn:uuid:{device}>\"", self.contact());
        self.register_as(&format!("{contact}\r\nSupported: outbound"), &format!("reg-{user}-{device}")).await
    }

    /// The same with a whole Contact.
    pub(crate) async fn register_as(&mut self, contact: &str, call_id: &str) -> Message {
        let user = self.user;
        let fields = format!(
            "From: <sip:{user}@contoso.com>;tag=r\r\nTo: <sip:{user}@contoso.com>\r\nCall-ID: {call_id}\r\n\
             CSeq: 1 REGISTER\r\nContact: {contact}\r\nExpires: 600\r\n"
        );
        let answer = self.ask("REGISTER", "sip:contoso.com", &fields).await;
        assert_eq!(answer.status(), Some(200), "{}", text(&answer));
        answer
    }

    /// Calls somebody; answers what comes first after the challenge.
    pub(crate) async fn call(&mut self, to: &str, call_id: &str, more: &str) -> Message {
        let fields = self.dialog_fields(to, call_id, more);
        self.ask("INVITE", to, &fields).await
    }

    pub(crate) fn dialog_fields(&self, to: &str, call_id: &str, more: &str) -> String {
        format!(
            "From: <sip:{}@contoso.com>;tag={}\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <{}>\r\n{more}",
            self.user,
            self.user,
            self.contact()
        )
    }

    /// Answers a request, as a callee does who puts himself into a dialog.
    pub(crate) async fn answer(&mut self, request: &Message, status: u16, more: &str) {
        let text = response(request, status, self.user, &format!("Contact: <{}>\r\n{more}", self.contact()));
        self.send(&text).await;
    }

    /// A request within the dialog that `answer` has made, as its caller sends it.
    pub(crate) fn within(&mut self, method: &str, answer: &Message, cseq: u32) -> String {
        let routes: Vec<&str> = answer.values(Name::RecordRoute).collect();
        let routes: String = routes.iter().rev().map(|route| format!("Route: {route}\r\n")).collect();
        let target = answer.address(Name::Contact).unwrap().uri_text().to_owned();
        let fields = format!(
            "{routes}From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n",
            answer.header(Name::From).unwrap(),
            answer.header(Name::To).unwrap(),
            answer.call_id().unwrap(),
        );
        self.request(method, &target, &fields)
    }

    /// The same, as the callee sends it who got `invite`.
    pub(crate) fn back(&mut self, method: &str, invite: &Message, cseq: u32) -> String {
        let routes: String = invite.values(Name::RecordRoute).map(|route| format!("Route: {route}\r\n")).collect();
        let target = invite.address(Name::Contact).unwrap().uri_text().to_owned();
        let fields = format!(
            "{routes}From: {};tag={}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n",
            invite.header(Name::To).unwrap(),
            self.user,
            invite.header(Name::From).unwrap(),
            invite.call_id().unwrap(),
        );
        self.request(method, &target, &fields)
    }
}

/// A response to a request, with its Vias and Record-Routes.
pub(crate) fn response(request: &Message, status: u16, tag: &str, more: &str) -> String {
    let vias: String = request.headers(Name::Via).map(|via| format!("Via: {via}\r\n")).collect();
    let record: String = request.headers(Name::RecordRoute).map(|value| format!("Record-Route: {value}\r\n")).collect();
    let to = request.header(Name::To).unwrap();
    let tagged = NameAddr::parse(to).unwrap().tag().is_some();
    let to = if tagged { to.to_owned() } else { format!("{to};tag={tag}") };
    format!(
        "SIP/2.0 {status} Whatever\r\n{vias}{record}From: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n{more}Content-Length: 0\r\n\r\n",
        request.header(Name::From).unwrap(),
        request.call_id().unwrap(),
        request.header(Name::CSeq).unwrap(),
    )
}

/// Method or status.
pub(crate) fn said(message: &Message) -> String {
    match (message.method(), message.status()) {
        (Some(method), _) => method.as_str().to_owned(),
        (None, status) => status.unwrap_or_default().to_string(),
    }
}

pub(crate) fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.as_bytes()).into_owned()
}
