//! An edge at work with mutual TLS on loopback, servers behind and beyond it, and partners without manners.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use reveille_core::settings::{
    AccessEdgeConfiguration, AllowedDomain, BlockedDomain, HostingProvider, Setting, SettingChange, Snapshot,
};
use reveille_core::{Clock, SipDomain, Timestamp, TokenKey};
use reveille_edge::{Config, Edge, Limits, Served};
use reveille_sim::phone::RawSip;
use reveille_sip::{Message, Method, Name, RequestBuilder};
use reveille_sip_net::{Addresses, ClientAuth, ListenLimits, Listener, ResolveError, Resolver, Srv, StaticResolver};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) use reveille_sim::office::{Beyond, Office};

/// Far longer than anything here takes; only a broken test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The edge under test.
pub(crate) const EDGE: &str = "edge.push.example.net";
/// The server behind it, for the domain `push.example.net`.
pub(crate) const HOUSE: &str = "house.push.example.net";

/// Another server behind it, for the domain `corp.example.net`.
pub(crate) const CORP: &str = "home.corp.example.net";

/// The system's time.
struct Wall;

impl Clock for Wall {
    #[allow(clippy::disallowed_methods, reason = "a test may look at the clock on the wall")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(since.as_millis() as u64)
    }
}

/// The edge, and the server behind it.
pub(crate) struct Border {
    pub(crate) edge: Arc<Edge>,
    pub(crate) office: Office,
    pub(crate) house: Beyond,
    /// The server of the other domain.
    pub(crate) corp: Beyond,
    pub(crate) external: SocketAddr,
    internal: SocketAddr,
    resolver: Arc<dyn Resolver>,
    limits: Limits,
    settings: watch::Sender<Arc<Snapshot>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Border {
    pub(crate) async fn start(settings: Snapshot, resolver: StaticResolver) -> Self {
        Self::asking(settings, Arc::new(resolver)).await
    }

    pub(crate) async fn asking(settings: Snapshot, resolver: Arc<dyn Resolver>) -> Self {
        // What a test leaves unanswered need not hold up its end.
        let limits = Limits { drain: Duration::from_millis(50), ..Limits::default() };
        Self::limited(settings, resolver, limits).await
    }

    pub(crate) async fn limited(settings: Snapshot, resolver: Arc<dyn Resolver>, limits: Limits) -> Self {
        let office = Office::open();
        let house = Beyond::start(&office, HOUSE, loopback());
        let corp = Beyond::start(&office, CORP, loopback());
        Self::among((office, house, corp), (loopback(), loopback()), settings, resolver, limits, None)
    }

    /// The edge ends, and another of its name starts at its place, with this key.
    pub(crate) async fn anew(self, key: Option<TokenKey>) -> Self {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("the edge stops").unwrap();
        let settings = Snapshot::clone(&self.settings.borrow());
        let others = (self.office, self.house, self.corp);
        Self::among(others, (self.external, self.internal), settings, self.resolver, self.limits, key)
    }

    fn among(
        (office, house, corp): (Office, Beyond, Beyond),
        (outside, inside): (SocketAddr, SocketAddr),
        settings: Snapshot,
        resolver: Arc<dyn Resolver>,
        limits: Limits,
        token_key: Option<TokenKey>,
    ) -> Self {
        let served = |name, server: &Beyond| Served { name: domain(name), address: server.address };
        let domains = [("push.example.net", served(HOUSE, &house)), ("corp.example.net", served(CORP, &corp))];
        let config = Config {
            name: domain(EDGE),
            inside: vec![domain("console.push.example.net")],
            domains: HashMap::from(domains.map(|(name, served)| (domain(name), served))),
            limits,
            av: None,
            token_key,
        };
        let (settings, watched) = watch::channel(Arc::new(settings));
        let edge = Edge::new(config, watched, Arc::clone(&resolver), Arc::new(Wall));
        let listen = |at, limits| Listener::tls(at, office.server(EDGE, ClientAuth::Required), limits).unwrap();
        let message = reveille_sip::Limits::between_organisations();
        let outer = ListenLimits { message, ..ListenLimits::default() };
        let (external, internal) = (listen(outside, outer), listen(inside, ListenLimits::default()));
        let (outside, inside) = (external.local_addr(), internal.local_addr());
        let client = || Arc::new(office.client(EDGE));
        let stop = CancellationToken::new();
        let running = Arc::clone(&edge).run(external, internal, client(), client(), stop.clone());
        let task = tokio::spawn(running);
        Self { edge, office, house, corp, external: outside, internal: inside, resolver, limits, settings, stop, task }
    }

    /// A partner that shows a certificate with this name.
    pub(crate) async fn partner(&self, name: &str) -> RawSip {
        RawSip::tls(self.external, &self.office.client(name), EDGE).await.unwrap()
    }

    /// A server of our own with this name, at the inner side.
    pub(crate) async fn insider(&self, name: &str) -> RawSip {
        RawSip::tls(self.internal, &self.office.client(name), EDGE).await.unwrap()
    }

    /// Changes the settings while it runs.
    pub(crate) fn change(&self, setting: Setting) {
        let next = with(&self.settings.borrow(), [setting]);
        self.settings.send_replace(Arc::new(next));
    }

    /// Another process changes them: the edge does not know before it looks into the file.
    pub(crate) fn change_unseen(&self, setting: Setting) {
        let sender = self.settings.clone();
        let next = Arc::new(with(&self.settings.borrow(), [setting]));
        self.edge.refresh_by(move || drop(sender.send_replace(Arc::clone(&next))));
    }

    pub(crate) fn remove(&self, setting: &Setting) {
        let at = Timestamp::from_millis(1);
        let next = self.settings.borrow().with(&SettingChange::Remove(setting.key()), "tester", at).unwrap();
        self.settings.send_replace(Arc::new(next));
    }

    /// The latest refusal's stable word.
    pub(crate) fn latest_refusal(&self) -> Option<&'static str> {
        self.edge.refusals().last().map(|refused| refused.reason)
    }

    /// Tells the edge to stop, without waiting for it.
    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.expect("the edge stops").unwrap();
        self.corp.end().await;
        self.house.stop().await;
    }
}

pub(crate) fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// A loopback address on which nobody uses port 5061: partners are reached on no other.
pub(crate) fn partner_address() -> SocketAddr {
    loop {
        let (b, c) = (rand::random_range(16..250), rand::random_range(1..250));
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, b, c, 1)), 5061);
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

pub(crate) fn domain(text: &str) -> SipDomain {
    text.parse().unwrap()
}

pub(crate) fn allowed(name: &str, proxy: Option<&str>) -> Setting {
    Setting::AllowedDomain(AllowedDomain { proxy_fqdn: proxy.map(domain), ..AllowedDomain::new(domain(name)) })
}

pub(crate) fn blocked(name: &str) -> Setting {
    Setting::BlockedDomain(BlockedDomain { identity: domain(name), comment: String::new() })
}

pub(crate) fn provider(proxy: &str, enabled: bool) -> Setting {
    Setting::HostingProvider(HostingProvider { enabled, ..HostingProvider::new("LyncOnline", domain(proxy)) })
}

pub(crate) fn federation(on: bool) -> Setting {
    Setting::AccessEdgeConfiguration(AccessEdgeConfiguration { allow_federated_users: on, ..Default::default() })
}

/// Federation with more of its switches.
pub(crate) fn access_edge(change: impl FnOnce(&mut AccessEdgeConfiguration)) -> Setting {
    let mut record = AccessEdgeConfiguration { allow_federated_users: true, ..Default::default() };
    change(&mut record);
    Setting::AccessEdgeConfiguration(record)
}

pub(crate) fn settings(rows: impl IntoIterator<Item = Setting>) -> Snapshot {
    with(&Snapshot::default(), std::iter::once(federation(true)).chain(rows))
}

fn with(snapshot: &Snapshot, rows: impl IntoIterator<Item = Setting>) -> Snapshot {
    rows.into_iter().fold(snapshot.clone(), |snapshot, setting| {
        snapshot.with(&SettingChange::Put(setting), "tester", Timestamp::from_millis(1)).unwrap()
    })
}

/// The resolver's record of a domain's federation service.
pub(crate) fn srv(resolver: StaticResolver, name: &str, target: &str, port: u16) -> StaticResolver {
    let record = Srv { priority: 0, weight: 0, port, target: target.into(), ttl: 60 };
    resolver.service(&format!("_sipfederationtls._tcp.{name}"), record)
}

/// A MESSAGE between two domains; its branch and Call-ID are made of `number`.
pub(crate) fn request(from: &str, to: &str, number: u32) -> Bytes {
    request_with(from, to, number, 70, &[])
}

pub(crate) fn request_with(from: &str, to: &str, number: u32, hops: u8, more: &[(Name, &str)]) -> Bytes {
    let mut out = BytesMut::new();
    let mut request = RequestBuilder::new(&mut out, Method::Message, &format!("sip:push@{to}"));
    request
        .header(Name::Via, format_args!("SIP/2.0/TLS peer.{from};branch=z9hG4bK{number}"))
        .header(Name::MaxForwards, format_args!("{hops}"))
        .header(Name::From, format_args!("<sip:mcx@{from}>;tag=1"))
        .header(Name::To, format_args!("<sip:push@{to}>"))
        .header(Name::CallId, format_args!("call-{number}"))
        .header(Name::CSeq, format_args!("{number} MESSAGE"));
    for (name, value) in more {
        request.header(*name, *value);
    }
    request.content("text/plain", b"hello").finish().unwrap();
    drop(request);
    out.freeze()
}

/// Status and diagnosis of an answer, for the outside and for the inside.
pub(crate) fn told(answer: &Message) -> (u16, Option<&str>, Option<&str>) {
    let id = |name| answer.header(name).map(|value| value.split(';').next().unwrap_or_default());
    (answer.status().unwrap(), id(Name::MsDiagnosticsPublic), id(Name::MsDiagnostics))
}

pub(crate) fn call_id(message: &Message) -> &str {
    message.call_id().unwrap()
}

/// What a resolver promises.
pub(crate) type Found<'a, T> = Pin<Box<dyn Future<Output = Result<T, ResolveError>> + Send + 'a>>;

/// Name servers that take their time: each look-up of a service waits for a permit.
pub(crate) struct Slow {
    table: StaticResolver,
    asked: Semaphore,
    permits: Semaphore,
}

impl Slow {
    pub(crate) fn new(table: StaticResolver) -> Arc<Self> {
        Arc::new(Self { table, asked: Semaphore::new(0), permits: Semaphore::new(0) })
    }

    /// Waits until a look-up is under way.
    pub(crate) async fn asked(&self) {
        timeout(PATIENCE, self.asked.acquire()).await.expect("a look-up in time").unwrap().forget();
    }

    /// Whether another look-up is under way.
    pub(crate) fn is_asked_again(&self) -> bool {
        self.asked.available_permits() > 0
    }

    /// Lets `count` look-ups end.
    pub(crate) fn answer(&self, count: usize) {
        self.permits.add_permits(count);
    }
}

impl Resolver for Slow {
    fn srv<'a>(&'a self, owner: &'a str) -> Found<'a, Vec<Srv>> {
        Box::pin(async move {
            self.asked.add_permits(1);
            self.permits.acquire().await.unwrap().forget();
            self.table.srv(owner).await
        })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Found<'a, Addresses> {
        self.table.addresses(host)
    }
}
